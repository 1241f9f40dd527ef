//! What policies say and what is answered: every case is data.

use std::{collections::BTreeMap, sync::Arc};

mod approvals;
mod catalog_rules;
mod files;
mod filter;
mod permit;
mod visible;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::{
    sql::{
        catalog::{Attribute, CatalogSnapshot, Column, Function, Oid, Operator, Relation, Shapes, Type, TypeShape},
        extensions::Extensions,
    },
    types::{PolicyEpoch, Secret, SourceName},
};

/// `schema.name kind: column type [!not null] [-unreadable] [~nondeterministic], … / key`
const RELATIONS: &str = "
public.tickets r: id 20!, tenant_id 25!, subject 1043, status 90000, amount 1700, deleted_at 1184, meta 3802, hidden 25-, size 23, level 90001, nick 25~ / id
public.accounts r: id 2950!, org 23, name 25 / id
public.shared r: code 25!, label 25, tenant_ci 25~, price 1700 / code
public.everyone v: id 20, tenant_id 25 /
public.secrets r: id 20-, value 25- / id
public.names r: id 20!, place 2205, found 90010, all_found 90011 / id
";

fn column(text: &str) -> Column {
    let (name, kind) = text.trim().split_once(' ').unwrap();
    let oid = kind.trim_end_matches(['!', '-', '~']).parse().unwrap();
    let names = [(20, "bigint"), (23, "integer"), (25, "text"), (1043, "character varying(80)"), (1700, "numeric"), (2950, "uuid")];
    Column {
        name: name.to_owned(),
        type_oid: oid,
        type_name: names.iter().find(|(known, _)| *known == oid).map_or("other", |(_, name)| name).to_owned(),
        not_null: kind.contains('!'),
        readable: !kind.contains('-'),
        deterministic_collation: !kind.contains('~'),
        collation: Some(if matches!(oid, 25 | 1043) { 100 } else { 0 }),
        stored: true,
    }
}

fn relation(line: &str) -> Relation {
    let (head, rest) = line.split_once(": ").unwrap();
    let (columns, key) = rest.split_once('/').unwrap();
    let (name, kind) = head.split_once(' ').unwrap();
    let (schema, name) = name.split_once('.').unwrap();
    let columns: Vec<Column> = columns.split(',').map(column).collect();
    Relation {
        schema: schema.to_owned(),
        name: name.to_owned(),
        kind: kind.chars().next().unwrap(),
        readable: columns.iter().all(|column| column.readable),
        columns,
        primary_key: key.split_whitespace().map(str::to_owned).collect(),
    }
}

/// A composite type that holds a regclass, and its array.
fn shapes() -> BTreeMap<Oid, TypeShape> {
    let attribute = Attribute { name: "place".to_owned(), type_oid: 2205, type_name: "regclass".to_owned() };
    let found = visible::type_shape("found", 'c', 90_011);
    let array = TypeShape { element: 90_010, category: 'A', ..visible::type_shape("_found", 'b', 0) };
    [(90_010, TypeShape { attributes: vec![attribute], ..found }), (90_011, array)].into()
}

pub(super) fn catalog() -> CatalogSnapshot {
    let base = |name: &str| Type { schema: "pg_catalog".to_owned(), name: name.to_owned(), kind: 'b', base: 0, array: false };
    let mut types: BTreeMap<_, _> =
        [(16, "bool"), (20, "int8"), (23, "int4"), (25, "text"), (1700, "numeric"), (2205, "regclass"), (2950, "uuid")]
            .map(|(oid, name)| (oid, base(name)))
            .into();
    types.insert(90_000, Type { kind: 'e', ..base("ticket_status") });
    types.insert(90_001, Type { kind: 'd', base: 23, ..base("level") });
    let own = |kind, name: &str| Type { schema: "public".to_owned(), kind, ..base(name) };
    types.extend([(90_010, own('c', "found")), (90_011, Type { base: 90_010, array: true, ..own('b', "_found") })]);
    let operators = |left: u32, right: u32| ["=", "<>", "<", "<=", ">", ">="].map(|name| Operator { name: name.to_owned(), left, right });
    let function = |name: &str, arguments: &str, volatility| Function {
        schema: "public".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        volatility,
        returns: 25,
    };
    CatalogSnapshot {
        shapes: Shapes { types: shapes(), ..Shapes::default() },
        server_version: 150_018,
        extensions: Extensions::default(),
        rules: Some(Vec::new()),
        relations: RELATIONS.trim().lines().map(relation).collect(),
        types,
        ordering_operators: None,
        leakproof_operators: [(20, 20), (20, 23), (23, 23), (25, 25), (16, 16), (1184, 1184)]
            .into_iter()
            .flat_map(|(l, r)| operators(l, r))
            .collect(),
        functions: vec![
            function("similarity", "text, text", 'i'),
            function("rank", "a integer, b text", 'i'),
            function("overloaded", "integer", 'i'),
            function("overloaded", "text", 'i'),
            function("touch", "", 'v'),
        ],
    }
}

fn bundle(files: &[(&str, &str)]) -> Bundle {
    Bundle::parse(files.iter().map(|(name, text)| PolicyFile { name: (*name).into(), text: (*text).to_owned() }).collect())
}

fn resolved() -> Resolved {
    let known = [("URL", "postgresql://reader:pw@db/app"), ("PW", "agent password"), ("KEY", "0123456789abcdef0123"), ("SHORT", "short")];
    let mut resolved: Resolved =
        known.map(|(name, value)| (Reference::Environment(name.to_owned()), Ok(Secret::new(value)))).into_iter().collect();
    resolved.insert(Reference::Environment("GONE".to_owned()), Err("the environment variable GONE is not set".to_owned()));
    resolved
}

fn catalogs() -> BTreeMap<SourceName, Arc<CatalogSnapshot>> {
    BTreeMap::from([("db".parse().unwrap(), Arc::new(catalog()))])
}

fn compile_files(files: &[(&str, &str)]) -> Result<Compiled, PolicyErrors> {
    compile(&bundle(files), Inputs { resolved: &resolved(), catalogs: &catalogs() }, PolicyEpoch(7))
}

/// A whole policy around the text of one relation.
fn with_relation(relation: &str) -> String {
    let relation: Vec<String> = relation.lines().map(|line| format!("        {line}")).collect();
    let relation = relation.join("\n");
    format!(
        "sources: {{db: {{kind: postgres, url: \"env:URL\", ssl: disable}}}}\nmask_key: \"env:KEY\"\nschemas:\n  desk:\n    source: db\n    relations:\n      r:\n{relation}\nagents: {{bot: {{auth: {{scram: \"env:PW\"}}, tenant: \"1\", schemas: [desk]}}}}\n"
    )
}

/// Every finding of a policy, errors and warnings, one a line.
fn findings(text: &str) -> String {
    list(&match compile_files(&[("p.yaml", text)]) {
        Ok(compiled) => compiled.warnings,
        Err(errors) => errors.0,
    })
}

fn list(problems: &[Problem]) -> String {
    if problems.is_empty() { "fine".to_owned() } else { problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") }
}

fn filter(expression: &str) -> String {
    let text =
        with_relation(&format!("from: public.tickets\ntenant_column: tenant_id\ncolumns: [id]\nwhere: {}", serde_json::json!(expression)));
    match compile_files(&[("p.yaml", &text)]) {
        Err(errors) => errors.0.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; "),
        Ok(compiled) => {
            let agent = compiled.policy.agents.values().next().unwrap();
            let relation = agent.schemas[0].relations.values().next().unwrap();
            let filter = relation.filter.as_ref().unwrap();
            format!("{} {}", if filter.leakproof { "leakproof:" } else { "fenced:" }, filter.text)
        }
    }
}

#[test]
fn a_policy_becomes_what_it_says() {
    let compiled = compile_files(&[("p.yaml", &with_relation(
        "from: public.tickets\ntenant_column: tenant_id\ncolumns: [subject, id, level]\nmasks: {subject: {last: 4}}\nmax_rows: 10\non_limit: truncate\nevidence: {sample: {rows: 3}}",
    ))])
    .unwrap();
    assert!(compiled.warnings.is_empty());
    let policy = compiled.policy;
    assert_eq!(policy.epoch, PolicyEpoch(7));
    let agent = policy.agents.values().next().unwrap();
    let relation = &agent.schemas[0].relations["r"];
    let columns: Vec<_> =
        relation.columns.iter().map(|column| (&*column.name, column.type_oid, column.base_type_oid, column.mask.clone())).collect();
    assert_eq!(columns, [("subject", 1043, 1043, Some(Mask::Last(4))), ("id", 20, 20, None), ("level", 90_001, 23, None)]);
    assert_eq!(relation.tenant, TenantRule::Column { name: "tenant_id".into(), type_oid: 25, type_name: "text".into() });
    assert_eq!(relation.primary_key, ["id".into()]);
    assert_eq!((relation.max_rows, relation.on_limit, relation.evidence), (Some(10), OnLimit::Truncate, EvidenceRows::Sample { rows: 3 }));
    assert_eq!(agent.statement_timeout, std::time::Duration::from_secs(30));
}

#[test]
fn a_check_goes_on_without_secrets_and_catalogs_where_serving_does_not() {
    let text = with_relation("from: public.tickets\ntenant_column: tenant_id\ncolumns: [id, subject]\nmasks: {subject: hash}")
        .replace("env:", "env:NO_");
    let bundle = bundle(&[("p.yaml", &text)]);
    let (nothing, none) = (Resolved::new(), BTreeMap::new());
    let (policy, problems) = check(&bundle, Inputs { resolved: &nothing, catalogs: &catalogs() });
    assert!(policy.is_some());
    assert_snapshot!(list(&problems), @r"
    p.yaml:1:37: warning: `env:NO_URL` cannot be resolved: it was not read; serving needs it
    p.yaml:2:11: warning: `env:NO_KEY` cannot be resolved: it was not read; serving needs it
    p.yaml:12:30: warning: `env:NO_PW` cannot be resolved: it was not read; serving needs it
    ");
    let (policy, problems) = check(&bundle, Inputs { resolved: &nothing, catalogs: &none });
    assert!(policy.is_none() && clean(&problems));
    let refused = compile(&bundle, Inputs { resolved: &nothing, catalogs: &none }, PolicyEpoch(1)).unwrap_err();
    assert_snapshot!(list(&refused.0), @r"
    p.yaml:1:37: error: `env:NO_URL` cannot be resolved: it was not read
    p.yaml:12:30: error: `env:NO_PW` cannot be resolved: it was not read
    ");
}

#[test]
fn a_short_mask_key_is_refused() {
    let text = with_relation("from: public.tickets\ntenant_column: tenant_id\ncolumns: [id, subject]\nmasks: {subject: hash}");
    assert_snapshot!(findings(&text.replace("env:KEY", "env:SHORT")), @r"
    p.yaml:2:11: error: the mask key is shorter than 16 bytes
      hint: use a random key, for example from `openssl rand -hex 32`
    ");
    assert_snapshot!(findings(&text.replace("mask_key: \"env:KEY\"\n", "")), @r#"
    p.yaml:10:17: error: a `hash` mask needs a key
      hint: give `mask_key: "env:NAME"` in the schema or at the top of a file
    "#);
}

#[test]
fn the_digest_is_over_names_and_texts() {
    let digest = |files: &[(&str, &str)]| bundle(files).digest;
    assert_eq!(digest(&[("a", "1"), ("b", "2")]), digest(&[("b", "2"), ("a", "1")]));
    assert_ne!(digest(&[("a", "1"), ("b", "2")]), digest(&[("a", "1b"), ("", "2")]));
    assert_ne!(digest(&[("a", "1")]), digest(&[("b", "1")]));
}

proptest! {
    #[test]
    fn no_text_breaks_the_loader(text in "\\PC{0,200}") {
        drop(compile_files(&[("p.yaml", &text)]));
    }

    #[test]
    fn no_piece_of_a_policy_breaks_the_loader(pieces in prop::collection::vec(prop::sample::select(&[
        "sources:", "schemas:", "agents:", "\n", "  ", "    ", "- ", "[", "]", "{", "}", ", ", ": ", "&a ", "*a ", "<<: ", "!t ", "\"", "'", "|", ">",
        "db", "kind", "postgres", "url", "env:URL", "relations", "columns", "from", "public.tickets", "where", "null", "~", "1", "---\n", "#", "\t", "\u{feff}",
        "masks", "hash", "auth", "scram", "tenant", "% ", "? ",
    ][..]), 0..60)) {
        drop(compile_files(&[("p.yaml", &pieces.concat())]));
    }

    #[test]
    fn no_filter_breaks_the_compiler_or_leaves_its_parentheses(expression in "[a-z0-9 ()'\"<>=.,;*/$-]{0,40}") {
        let outcome = filter(&expression);
        if let Some(text) = outcome.strip_prefix("leakproof: ").or_else(|| outcome.strip_prefix("fenced: ")) {
            prop_assert!(crate::sql::parse_select(&format!("SELECT 1 FROM t WHERE x = 1 AND ({text}) AND y = 2")).is_some(), "{}", text);
        }
    }
}
