//! A second opinion on what is sent: written without the kernel, over tokens and over the printed form of `pg_query`'s own
//! nodes, for `policies/support.yaml`. What a governed relation looks like stands here by hand.

use std::{collections::BTreeSet, ops::Range};

use pg_query::{ParserOptions, parse, scan_tokens};

/// The head of each governed relation up to its real table, and the policy's row filter.
/// `$T` and `$K` stand for parameters that pgwicket appends.
const GOVERNED: &[(&str, &str)] = &[
    (
        r#"( SELECT "id" , "subject" , "status" , "priority" , "customer_id" , "assignee" , "rating" , "amount" , "tags" , "meta" , "public_id" , "secret" , "created_at" , "updated_at" FROM "public" . "tickets" WHERE "tenant_id" = $T"#,
        "AND ( deleted_at is null )",
    ),
    (
        r#"( SELECT "id" , "name" , pg_catalog . encode ( pg_catalog . sha256 ( pg_catalog . convert_to ( $T || pg_catalog . encode ( pg_catalog . sha256 ( pg_catalog . convert_to ( $T || "email" :: pg_catalog . text , 'UTF8' ) ) , 'hex' ) , 'UTF8' ) ) , 'hex' ) AS "email" , '***' || pg_catalog . "right" ( "phone" :: pg_catalog . text , CASE WHEN pg_catalog . length ( "phone" :: pg_catalog . text ) > 4 THEN 4 ELSE 0 END ) AS "phone" , "company" , "country" , "plan" , NULL :: "pg_catalog" . "int4" AS "credit_score" , "lifetime_value" , "created_at" FROM "public" . "customers" WHERE "tenant_id" = $T"#,
        "",
    ),
    (
        r#"( SELECT "id" , "customer_id" , "ticket_id" , "placed_on" , "quantity" , "weight" , "total" , "paid" , "delivery" , "coupon" , "item_codes" , "receipt" , "lines" FROM "public" . "orders" WHERE "tenant_id" = $T"#,
        "",
    ),
    (
        r#"( SELECT "id" , "title" , "kind" , "revision" , "published_on" , "labels" , "body" FROM "public" . "documents" WHERE "tenant_id" = $T"#,
        "",
    ),
];

/// What a copied condition may not hold: a way to another relation.
const NOT_IN_A_COPY: &[&str] = &["select", "values", "table", "with", "join", "exists", "offset"];

/// Functions that no agent may reach; the reviewed list denies many more.
const DENIED: &[&str] = &[
    "pg_sleep",
    "set_config",
    "query_to_xml",
    "table_to_xml",
    "database_to_xml",
    "cursor_to_xml",
    "schema_to_xml",
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_dir",
    "pg_stat_file",
    "lo_import",
    "lo_export",
    "lo_get",
    "lo_put",
    "lo_create",
    "lo_unlink",
    "lo_from_bytea",
    "loread",
    "lowrite",
    "nextval",
    "setval",
    "pg_notify",
    "pg_advisory_lock",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_logical_emit_message",
    "ts_stat",
    "ts_rewrite",
    "dblink",
    "pg_get_viewdef",
    "pg_relation_size",
    "has_table_privilege",
    "to_regclass",
    "regclassin",
    "currval",
    "inet_server_addr",
    "pg_backend_pid",
    "current_setting",
];

/// Why `text`, after the client's `client` parameters and with `appended` more, may not be sent.
pub(crate) fn unsound(text: &str, client: usize, appended: usize) -> Option<String> {
    let tree = match parse(text, ParserOptions::DEFAULT) {
        Err(error) => return Some(format!("does not parse: {error}")),
        Ok(tree) => format!("{:?}", tree.protobuf),
    };
    if tree.matches("RawStmt {").count() != 1 || !tree.contains("stmt: Some(Node { node: Some(SelectStmt(SelectStmt {") {
        return Some("is not one SELECT".to_owned());
    }
    let regions = regions(text, client, appended);
    let mut outside = String::new();
    let mut at = 0;
    for region in regions {
        outside += &text[at..region.start];
        outside += "(SELECT 1)";
        at = region.end;
    }
    outside += &text[at..];
    let Ok(tree) = parse(&outside, ParserOptions::DEFAULT) else {
        return Some(format!("does not parse outside of its regions: {outside}"));
    };
    let tree = format!("{:?}", tree.protobuf);
    for kind in
        ["InsertStmt(", "UpdateStmt(", "DeleteStmt(", "MergeStmt(", "LockingClause(", "IntoClause {", "RangeTableSample(", "RawStmt("]
    {
        if tree.contains(kind) {
            return Some(format!("holds a {kind}"));
        }
    }
    let ctes: BTreeSet<&str> = tree.split("ctename: ").skip(1).map(printed).collect();
    for relation in tree.split("RangeVar { ").skip(1) {
        let name = relation.strip_prefix("catalogname: \"\", schemaname: \"\", relname: ").map(printed);
        if name.is_none_or(|name| !ctes.contains(name)) {
            return Some(format!("reads {}", relation.chars().take(120).collect::<String>()));
        }
    }
    let denied = tree.split("funcname: [").skip(1).find_map(|call| {
        let names = call.split("}))").take(3).filter_map(|part| part.split("sval: ").nth(1)).map(printed);
        names.map(|name| name.trim_matches('"').to_owned()).find(|name| DENIED.contains(&name.as_str()))
    });
    denied.map(|name| format!("calls {name}"))
}

/// Why `text` may not be asked of the virtual catalog: it reads what is in no catalog.
pub(crate) fn unsound_in_the_catalog(text: &str) -> Option<String> {
    let tree = match parse(text, ParserOptions::DEFAULT) {
        Err(error) => return Some(format!("does not parse: {error}")),
        Ok(tree) => format!("{:?}", tree.protobuf),
    };
    if tree.matches("RawStmt {").count() != 1 || !tree.contains("stmt: Some(Node { node: Some(SelectStmt(SelectStmt {") {
        return Some("is not one SELECT".to_owned());
    }
    let schema = |relation: &str| relation.strip_prefix("catalogname: \"\", schemaname: ").map(|rest| printed(rest).to_owned());
    let known = ["\"\"", "\"pg_catalog\"", "\"information_schema\""];
    let others = tree.split("RangeVar { ").skip(1).find(|relation| schema(relation).is_none_or(|schema| !known.contains(&schema.as_str())));
    others.map(|relation| format!("reads {}", relation.chars().take(120).collect::<String>()))
}

/// A quoted string as `Debug` prints it, quotes included.
fn printed(text: &str) -> &str {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, letter)| {
        let ends = *letter == '"' && !escaped;
        escaped = *letter == '\\' && !escaped;
        ends
    });
    end.map_or(text, |(end, _)| &text[..=end])
}

/// Where governed relations stand.
fn regions(text: &str, client: usize, appended: usize) -> Vec<Range<usize>> {
    let Ok(tokens) = scan_tokens(text) else { return Vec::new() };
    let spans: Vec<Range<usize>> =
        tokens.iter().map(|token| usize::try_from(token.start).unwrap()..usize::try_from(token.end).unwrap()).collect();
    let words: Vec<&str> = spans.iter().map(|span| &text[span.clone()]).collect();
    let ours = |word: &str| {
        let number = word.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| (client + 1..=client + appended).contains(&number))
    };
    let matches = |at: usize, pattern: &str| -> Option<usize> {
        let mut end = at;
        for wanted in pattern.split(' ').filter(|wanted| !wanted.is_empty()) {
            let mut word = words.get(end)?;
            // `ONLY` of the client's stays with the relation.
            if wanted == r#""public""# && word.eq_ignore_ascii_case("only") {
                end += 1;
                word = words.get(end)?;
            }
            (if wanted == "$T" { ours(word) } else { wanted == *word }).then_some(())?;
            end += 1;
        }
        Some(end)
    };
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in 0..words.len() {
        let region = GOVERNED.iter().find_map(|(head, filter)| {
            // Without a fence the columns are as they are, behind one they are opaque; never one without the other.
            let plain = matches(at, head);
            let mut end = matches(plain.or_else(|| matches(at, &opaque(head)))?, filter)?;
            while let Some(inside) = matches(end, "AND (") {
                end = copy(&words, inside)?;
            }
            matches(if plain.is_some() { end } else { matches(end, "OFFSET 0")? }, ")")
        });
        if let Some(end) = region {
            found.push(spans[at].start..spans[end - 1].end);
        }
    }
    found
}

/// The head with every column that is not masked as it stands behind a fence.
fn opaque(head: &str) -> String {
    let (list, from) = head.strip_prefix("( SELECT ").and_then(|rest| rest.split_once(" FROM ")).unwrap();
    let items = list.split(" , ").map(|item| match item.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(name) if !name.contains('"') => format!("CASE WHEN pg_catalog . now ( ) IS NULL THEN {item} ELSE {item} END AS {item}"),
        _ => item.to_owned(),
    });
    format!("( SELECT {} FROM {from}", items.collect::<Vec<_>>().join(" , "))
}

/// Where a copied condition, whose parenthesis opened before `at`, ends.
fn copy(words: &[&str], mut at: usize) -> Option<usize> {
    let mut depth = 1;
    while depth > 0 {
        let word = words.get(at)?.to_ascii_lowercase();
        match word.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            other if NOT_IN_A_COPY.contains(&other) => return None,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}
