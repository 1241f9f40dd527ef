//! The verifier against rewriters that are wrong on purpose.

use pg_query::protobuf::Token;
use proptest::prelude::*;

use super::*;
use crate::govern::{client_parameters, rewrite::rewrite, tests::with};

const STATEMENTS: [&str; 15] = [
    "select subject from t where id = $1 and amount between 1 and 5",
    "select * from t join c on c.id = t.customer_id left join f using (id) where 'x' ~ c.name and t.id = 5",
    "with recursive x as (select * from t), y as (select * from x) select y.*, (select max(id) from c) from y",
    "select count(*) from t where exists (select 1 from c where c.id = t.customer_id and 1/c.id > 0) group by status having count(*) > 1",
    "select current_user, s.t.subject from s.t, lateral (select * from g where g.id = t.id) l order by 1",
    "(select id from t where 'x' ~ subject) union all (table g) except select id from c limit 3",
    "select \"Odd \"\"name\"\"\".id from \"Odd \"\"name\"\"\" where id in (1, 2, 3)",
    "select x.a from t as x(a, b), c as y where x.a = y.id and x.b::int > 3",
    "select * from pgwicket.columns where relation = 't'",
    "select db.s.t.id, db.s.t.*, x.id from db.s.t, db.s.c as x where db.s.t.id = x.id",
    "select db.pg_catalog.lower(db.s.t.subject)::db.pg_catalog.varchar, db.pg_catalog.now() from db.s.t",
    "select * from current_date, localtimestamp as l(at), t where t.created_at > l.at",
    "select * from version(), current_schema() as a, lateral current_user as b(c), current_setting('TimeZone')",
    "select 'open'::status, cast($1 as s.status) from t where status = any($2::s.status[]) and subject::status is not null",
    "select t.id from t tablesample bernoulli (50) repeatable (7), c as d tablesample system (50) where 'x' ~ d.name",
];

/// Runs `then` with what is expected of a statement and what the honest rewriter makes of it.
fn honest<T>(text: &str, then: impl FnOnce(&Expectation, &str) -> T) -> T {
    with(text, &[], |request| {
        let mut tree = parse(text).unwrap().unwrap();
        let unqualified = unqualified(text, &mut tree, request.database).unwrap();
        let expected = expect(request, &tree, &unqualified, client_parameters(&tree, &[]).unwrap()).unwrap();
        let rewritten = rewrite(text, &expected.replacements).unwrap();
        then(&expected, &rewritten.text)
    })
}

/// The tokens that carry meaning: comments, parentheses and the optional AS aside, names unquoted and folded.
fn meaning(text: &str) -> Option<Vec<String>> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let kept = tokens.iter().filter(|token| {
        !matches!(token.token(), Token::SqlComment | Token::CComment | Token::Ascii40 | Token::Ascii41 | Token::As | Token::Ascii59)
    });
    kept.map(|token| {
        let spelled = text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)?;
        let quoted = spelled.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Some(quoted.map_or_else(|| spelled.to_ascii_lowercase(), |inside| inside.replace("\"\"", "\"")))
    })
    .collect()
}

/// The text with token `at` treated as a careless or hostile rewriter would.
fn broken(text: &str, at: usize, other: usize, how: usize) -> Option<String> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let span = |at: usize| {
        let token = tokens.get(at % tokens.len())?;
        Some(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)
    };
    let (one, two) = (span(at)?, span(other)?);
    let replaced = |with: &str| format!("{}{with}{}", &text[..one.start], &text[one.end..]);
    Some(match how % 14 {
        0 => replaced(""),
        1 => replaced(&format!("{0} {0}", &text[one.clone()])),
        2 => replaced(&text[two]),
        3 => replaced("secret"),
        4 => replaced("\"real_c\""),
        5 => replaced("$9"),
        6 => replaced("'globex'"),
        7 => replaced("1"),
        8 => format!("{} OR true {}", &text[..one.end], &text[one.end..]),
        9 => text[..one.end].to_owned(),
        10 => format!("{text}; DELETE FROM \"public\".\"real_t\""),
        11 => format!("{text} UNION ALL SELECT * FROM \"public\".\"real_t\""),
        12 => format!("{} -- {}", &text[..one.end], &text[one.end..]),
        _ => format!("{} , * {}", &text[..one.end], &text[one.end..]),
    })
}

#[test]
fn the_honest_rewriter_passes_and_the_client_text_itself_does_not() {
    for text in STATEMENTS {
        honest(text, |expected, sent| {
            assert_eq!(&*expected.verify(sent).unwrap().into_text(), sent, "{text}");
            assert!(expected.verify(text).is_err(), "{text}");
        });
    }
}

#[test]
fn each_part_of_a_governed_relation_is_needed() {
    let without = |text: &str, part: &str| {
        honest(text, |expected, sent| {
            assert!(sent.contains(part), "{part} not in {sent}");
            assert!(expected.verify(&sent.replacen(part, " ", 1)).is_err(), "{part} left out of {sent}");
        });
    };
    let leaky = "select * from t where 1/amount > 0 and id = 7";
    for part in [
        " OFFSET 0",
        "WHERE \"tenant_id\" = $1 AND ",
        " AND ((\"id\") = (7))",
        "CASE WHEN pg_catalog.now() IS NULL THEN \"subject\" ELSE \"subject\" END AS \"subject\", ",
        "CASE WHEN pg_catalog.now() IS NULL THEN \"subject\" ELSE \"subject\" END AS ",
        "AS \"t\"",
        "\"public\".",
    ] {
        without(leaky, part);
    }
    without("select * from c", " AND (deleted_at is null)");
    without("select * from c", "NULL::\"pg_catalog\".\"text\" AS ");
    without("select * from f", " OFFSET 0");
    // A fence that is not asked for, or a conjunct that the statement does not have, is not passed either.
    honest("select * from t where id = 7", |expected, sent| {
        assert!(expected.verify(&sent.replacen("= $1)", "= $1 OFFSET 0)", 1)).is_err());
        assert!(expected.verify(&sent.replacen("= $1)", "= $1 AND id = 8)", 1)).is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn whatever_a_rewriter_does_wrong_is_refused(which in 0..STATEMENTS.len(), at in 0..400_usize, other in 0..400_usize, how in 0..14_usize) {
        honest(STATEMENTS[which], |expected, sent| {
            let Some(text) = broken(sent, at, other, how) else { return Ok(()) };
            let passed = expected.verify(&text).is_ok();
            prop_assert!(!passed || meaning(&text) == meaning(sent), "passed: {text}\nfor: {sent}");
            Ok(())
        })?;
    }
}

/// What a rewriter that means harm would put in place of a part: dropped and widened predicates, other columns, tables,
/// parameters and aliases, more relations, fences taken away or moved, comments and Unicode that hide a part.
const HOSTILE: &[(&str, &str)] = &[
    (" WHERE \"tenant_id\" = $", " WHERE true OR \"tenant_id\" = $"),
    ("\"tenant_id\" = $", "\"tenant_id\" >= $"),
    ("\"tenant_id\" = $", "\"tenant_id\" IS DISTINCT FROM $"),
    ("\"tenant_id\" = $", "\"tenant_id\" = ANY (ARRAY['acme', 'globex']) OR 'x' = $"),
    ("\"tenant_id\" = $", "NOT \"tenant_id\" = $"),
    ("\"tenant_id\" = $", "\"tenant_id\" OPERATOR(public.=) $"),
    ("\"tenant_id\" = $", "\"tenant_id\" = 'globex' AND '' <> $"),
    ("\"tenant_id\" = $", "\"id\"::text = $"),
    ("\"tenant_id\" = $1", "\"tenant_id\" = $2"),
    ("\"tenant_id\" = $2", "\"tenant_id\" = $1"),
    ("\"tenant_id\" = $1", "\"tenant_id\" = $11"),
    ("\"tenant_id\" = $1", "\"tenant_id\" = $1::int"),
    ("\"tenant_id\" = ", "\"tenant\u{200b}_id\" = "),
    ("\"tenant_id\" = ", "\"tenant_\u{456}d\" = "),
    ("\"tenant_id\" = ", "\"TENANT_ID\" = "),
    (" WHERE \"tenant_id\"", " /* WHERE */ -- \n, pg_catalog.pg_class WHERE \"tenant_id\""),
    (" WHERE \"tenant_id\"", " NATURAL JOIN public.real_c WHERE \"tenant_id\""),
    (" WHERE \"tenant_id\"", " TABLESAMPLE SYSTEM (50) WHERE \"tenant_id\""),
    (" WHERE \"tenant_id\"", " AS x WHERE \"tenant_id\""),
    ("FROM \"public\".", "FROM ONLY \"public\"."),
    ("FROM \"public\".", "FROM public.\"real_g\", \"public\"."),
    ("FROM \"public\".", "FROM "),
    ("FROM \"public\".", "FROM \"pg_temp\"."),
    ("FROM \"public\".", "FROM \"Public\"."),
    ("FROM \"public\".", "FROM postgres.\"public\"."),
    ("FROM \"public\".", "FROM \"\u{440}ublic\"."),
    ("\"real_t\"", "\"real_t2\""),
    ("\"real_t\"", "\"real_c\""),
    ("CASE WHEN pg_catalog.now() IS NULL THEN \"id\" ELSE \"id\" END AS \"id\"", "\"id\""),
    ("CASE WHEN pg_catalog.now() IS NULL THEN", "CASE WHEN true THEN"),
    ("CASE WHEN pg_catalog.now() IS NULL THEN", "CASE WHEN public.now() IS NULL THEN"),
    ("pg_catalog.now() IS NULL", "now() IS NULL"),
    ("pg_catalog.now() IS NULL", "pg_catalog.now() IS NOT NULL"),
    ("IS NULL THEN \"id\"", "IS NULL THEN \"tenant_id\""),
    ("ELSE \"id\" END", "ELSE \"tenant_id\" END"),
    (" ELSE \"id\" END", " END"),
    ("END AS \"id\"", "END AS \"subject\""),
    ("(SELECT CASE", "(SELECT DISTINCT CASE"),
    ("(SELECT CASE", "(SELECT \"tenant_id\", CASE"),
    ("(SELECT CASE", "(SELECT \"real_t\".*, CASE"),
    ("(SELECT CASE", "(SELECT pg_sleep(1), CASE"),
    ("(SELECT \"id\"", "(SELECT DISTINCT \"id\""),
    ("(SELECT \"id\"", "(SELECT \"tenant_id\", \"id\""),
    ("(SELECT \"id\"", "(SELECT \"secret\" AS \"id\""),
    ("(SELECT \"id\"", "(SELECT \"id\" AS \"Id\""),
    ("(SELECT \"id\"", "(SELECT \"real_t\".*, \"id\""),
    ("(SELECT \"id\"", "(SELECT pg_sleep(1), \"id\""),
    ("(SELECT \"id\"", "(WITH x AS (DELETE FROM public.real_t RETURNING 1) SELECT \"id\""),
    ("(SELECT \"id\"", "(SELECT ALL * FROM (SELECT \"id\""),
    ("\"subject\"", "\"internal\" AS \"subject\""),
    ("\"subject\", ", ""),
    (" OFFSET 0)", ")"),
    (" OFFSET 0)", " OFFSET 1)"),
    (" OFFSET 0)", " OFFSET 0 LIMIT 10)"),
    (" OFFSET 0)", " LIMIT ALL)"),
    (" OFFSET 0)", " OFFSET NULL)"),
    (" OFFSET 0)", " OFFSET (SELECT 0))"),
    (" OFFSET 0)", " ORDER BY 1 OFFSET 0)"),
    (" OFFSET 0)", " OFFSET 0 FOR SHARE)"),
    (" OFFSET 0)", " UNION ALL SELECT * FROM public.real_t OFFSET 0)"),
    (" OFFSET 0)", " AND 'x' ~ \"subject\" OFFSET 0)"),
    (" AND (deleted_at is null)", ""),
    (" AND (deleted_at is null)", " OR (deleted_at is null)"),
    (" AND (deleted_at is null)", " AND (deleted_at is not null)"),
    (" AND ((\"id\") = (5))", " AND ((\"id\") = (6))"),
    (" AND ((\"id\") = (5))", " OR ((\"id\") = (5))"),
    (" AND ((\"id\") = (5))", " AND ((\"id\") < (5))"),
    (") AS \"t\"", ") AS \"c\""),
    (") AS \"t\"", ") AS \"t\"(\"subject\", \"id\")"),
    (") AS \"t\"", ") AS \"t\", pg_catalog.pg_authid"),
    (") AS \"c\"", ") AS \"c\" CROSS JOIN public.real_c AS \"d\""),
    ("NULL::\"pg_catalog\".\"text\" AS \"phone\"", "\"phone\""),
    ("'***' || ", ""),
    (" > 4 THEN 4 ", " > 4 THEN 40 "),
    ("\"relation\"", "\"schema\""),
    ("\"public\".\"status\"", "\"hr\".\"salary\""),
    ("\"public\".\"status\"", "\"public\".\"kind\""),
    ("\"public\".\"status\"", "\"pg_temp\".\"status\""),
    ("\"public\".\"status\"", "\"status\""),
    ("\"public\".\"status\"", "status"),
    ("\"public\".\"status\"", "\"public\".\"Status\""),
    ("\"public\".\"status\"", "\"public\".\"_status\""),
    ("\"public\".\"status\"", "\"public.status\""),
    ("\"public\".\"status\"", "\"db\".\"public\".\"status\""),
    ("\"public\".\"status\"", "\"public\".\"status\"(1)"),
    ("\"public\".\"status\"", "\"public\".\"status\"[][]"),
    ("\"public\".\"status\"", "\"public\".\"status\"%TYPE"),
    ("\"public\".\"status\"", "pg_catalog.regclass"),
    ("\"public\".\"status\"", "\"public\".\"status\"::pg_catalog.text"),
    ("'open'::\"public\".\"status\"", "'open'"),
    ("'open'::\"public\".\"status\"", "'shut'::\"public\".\"status\""),
    ("'open'::\"public\".\"status\"", "(SELECT \"secret\" FROM public.real_t LIMIT 1)::\"public\".\"status\""),
    ("\"public\".\"status\"[]", "\"public\".\"status\""),
    (" AS MATERIALIZED (", " AS ("),
    (" AS MATERIALIZED (", " AS NOT MATERIALIZED ("),
    (" AS MATERIALIZED (", "(x) AS MATERIALIZED ("),
    ("(WITH \"pgwicket\"", "(WITH RECURSIVE \"pgwicket\""),
    (" SELECT * FROM \"pgwicket\")", " SELECT * FROM \"public\".\"real_t\")"),
    (" SELECT * FROM \"pgwicket\")", " SELECT * FROM \"public\".\"pgwicket\")"),
    (" SELECT * FROM \"pgwicket\")", " SELECT * FROM \"pgwicket\" TABLESAMPLE SYSTEM (50))"),
    ("WHERE pg_catalog.random() < '0.5'", "WHERE pg_catalog.random() < '0.9'"),
    ("WHERE pg_catalog.random() <", "WHERE true OR pg_catalog.random() <"),
    ("WHERE pg_catalog.random() <", "WHERE random() <"),
    ("WHERE pg_catalog.random() <", "WHERE public.random() <"),
    ("WHERE pg_catalog.random() <", "WHERE pg_catalog.setseed(0.5) IS NOT NULL AND pg_catalog.random() <"),
    ("ROW(\"id\")", "ROW(\"subject\")"),
    ("ROW(\"id\")", "ROW(\"id\", \"tenant_id\")"),
    ("ROW(\"id\")", "ROW(ctid)"),
    ("::pg_catalog.int8) & 4294967295) < 2147483648", "::pg_catalog.int8) & 4294967295) <= 2147483648"),
    ("::pg_catalog.int8) & 4294967295) < 2147483648", "::pg_catalog.int8) & 4294967295) < 4294967296"),
    ("'4619567317775286272'::pg_catalog.int8", "'7'::pg_catalog.int8"),
    ("'4619567317775286272'::pg_catalog.int8", "(SELECT count(*) FROM public.real_t)"),
    (" AS \"pgwicket\" WHERE ", " AS \"pgwicket\" TABLESAMPLE SYSTEM (50) WHERE "),
];

#[test]
fn no_hostile_rewriter_gets_past_the_verifier() {
    let mut tried = 0;
    for text in STATEMENTS {
        honest(text, |expected, sent| {
            for (part, other) in HOSTILE {
                // At the first place, at the last, and at all of them.
                let last = sent.rfind(part).map(|at| format!("{}{other}{}", &sent[..at], &sent[at + part.len()..]));
                for changed in [sent.replacen(part, other, 1), last.unwrap_or_else(|| sent.to_owned()), sent.replace(part, other)] {
                    if changed != sent {
                        tried += 1;
                        assert!(expected.verify(&changed).is_err(), "passed: {changed}\nfor: {sent}");
                    }
                }
            }
            for other in [
                format!("{sent} UNION ALL SELECT * FROM public.real_t"),
                format!("SELECT * FROM ({sent}) AS x"),
                format!("{sent} FOR UPDATE"),
                format!("EXPLAIN ANALYZE {sent}"),
                format!("{sent}; SELECT 1"),
                format!("SELECT 1; {sent}"),
                format!("COPY ({sent}) TO STDOUT"),
                format!("/* {sent}"),
                format!("-- {sent}"),
                format!("$$ {sent} $$"),
                String::new(),
                "SELECT".to_owned(),
            ] {
                tried += 1;
                assert!(expected.verify(&other).is_err(), "passed: {other}\nfor: {sent}");
            }
        });
    }
    assert!(tried > 400, "{tried} texts tried");
}
