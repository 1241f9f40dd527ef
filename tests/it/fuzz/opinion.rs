//! The second opinion itself: it takes what is governed and nothing else.

use super::targets::sent::unsound;

const GOVERNED: &str = r#"(SELECT CASE WHEN pg_catalog.now() IS NULL THEN "id" ELSE "id" END AS "id", CASE WHEN pg_catalog.now() IS NULL THEN "title" ELSE "title" END AS "title", CASE WHEN pg_catalog.now() IS NULL THEN "kind" ELSE "kind" END AS "kind", CASE WHEN pg_catalog.now() IS NULL THEN "revision" ELSE "revision" END AS "revision", CASE WHEN pg_catalog.now() IS NULL THEN "published_on" ELSE "published_on" END AS "published_on", CASE WHEN pg_catalog.now() IS NULL THEN "labels" ELSE "labels" END AS "labels", CASE WHEN pg_catalog.now() IS NULL THEN "body" ELSE "body" END AS "body" FROM "public"."documents" WHERE "tenant_id" = $2 AND (("id") = ($1)) OFFSET 0)"#;

#[test]
fn the_second_opinion_bites() {
    let opinion = |text: &str| unsound(&text.replace("GOVERNED", GOVERNED), 1, 1);
    for text in [
        "select * from GOVERNED AS d where id = $1",
        "with c as (select * from GOVERNED d) select * from c, GOVERNED x where c.id = x.id",
        "select 1",
    ] {
        assert_eq!(opinion(text), None, "{text}");
    }
    for text in [
        "select * from \"public\".\"documents\"",
        "select * from documents",
        "select * from GOVERNED d, pg_class",
        "with c as (select 1) select * from c, \"C\"",
        "select * from GOVERNED d; select 1",
        "select * from GOVERNED d for update",
        "select * into x from GOVERNED d",
        "with x as (delete from documents returning 1) select * from x",
        "delete from documents",
        "select pg_sleep(1)",
        "select pg_catalog.pg_read_file('x')",
        "",
        "select",
        "select (",
    ] {
        assert_eq!(opinion(text).is_none(), text == "select", "{text}: {:?}", opinion(text));
    }
    for (part, other) in [
        (" WHERE \"tenant_id\" = $2", ""),
        ("= $2", "= $1"),
        ("= $2", "= 'acme'"),
        ("= $2", "= $2 OR true"),
        ("AS \"title\", ", ""),
        ("CASE WHEN pg_catalog.now() IS NULL THEN \"title\" ELSE \"title\" END AS \"title\"", "\"title\""),
        ("THEN \"title\" ELSE", "THEN \"draft_notes\" ELSE"),
        ("ELSE \"title\" END", "ELSE \"draft_notes\" END"),
        ("now() IS NULL THEN \"title\"", "now() IS NOT NULL THEN \"title\""),
        ("AS \"id\", ", "AS \"id\", \"draft_notes\", "),
        (" OFFSET 0", ""),
        ("\"public\".", ""),
        ("($1))", "(SELECT 1))"),
        (" OFFSET 0", " LIMIT 5"),
    ] {
        let changed = GOVERNED.replacen(part, other, 1);
        assert_ne!(changed, GOVERNED);
        assert!(opinion(&format!("select * from {changed} d")).is_some(), "{changed}");
    }
}
