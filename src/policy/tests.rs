//! What policies say and what is answered: every case is data.

use std::{collections::BTreeMap, sync::Arc};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::{
    sql::catalog::{CatalogSnapshot, Column, Function, Operator, Relation, Type},
    types::{PolicyEpoch, Secret, SourceName},
};

/// `schema.name kind: column type [!not null] [-unreadable] [~nondeterministic], … / key`
const RELATIONS: &str = "
public.tickets r: id 20!, tenant_id 25!, subject 1043, status 90000, amount 1700, deleted_at 1184, meta 3802, hidden 25-, size 23, level 90001, nick 25~ / id
public.accounts r: id 2950!, org 23, name 25 / id
public.shared r: code 25!, label 25, tenant_ci 25~, price 1700 / code
public.everyone v: id 20, tenant_id 25 /
public.secrets r: id 20-, value 25- / id
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

pub(super) fn catalog() -> CatalogSnapshot {
    let base = |name: &str| Type { schema: "pg_catalog".to_owned(), name: name.to_owned(), kind: 'b', base: 0, array: false };
    let mut types: BTreeMap<_, _> = [(16, "bool"), (20, "int8"), (23, "int4"), (25, "text"), (1700, "numeric"), (2950, "uuid")]
        .map(|(oid, name)| (oid, base(name)))
        .into();
    types.insert(90_000, Type { kind: 'e', ..base("ticket_status") });
    types.insert(90_001, Type { kind: 'd', base: 23, ..base("level") });
    let operators = |left: u32, right: u32| ["=", "<>", "<", "<=", ">", ">="].map(|name| Operator { name: name.to_owned(), left, right });
    let function = |name: &str, arguments: &str, volatility| Function {
        schema: "public".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        volatility,
    };
    CatalogSnapshot {
        server_version: 150_018,
        relations: RELATIONS.trim().lines().map(relation).collect(),
        types,
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
    assert_eq!(relation.tenant, TenantRule::Column { name: "tenant_id".into(), type_oid: 25 });
    assert_eq!(relation.primary_key, ["id".into()]);
    assert_eq!((relation.max_rows, relation.on_limit, relation.evidence), (Some(10), OnLimit::Truncate, EvidenceRows::Sample { rows: 3 }));
    assert_eq!(agent.statement_timeout, std::time::Duration::from_secs(30));
}

#[test]
fn a_filter_is_leakproof_only_by_known_shapes() {
    let all = |expressions: &[&str]| expressions.iter().map(|expression| filter(expression)).collect::<Vec<_>>().join("\n");
    assert_snapshot!(all(&[
        "deleted_at is null",
        "deleted_at is null -- only the living",
        "deleted_at is null /* a */ and id > 5",
        "id = 7 and not (size in (1, 2, 3))",
        "id = 9223372036854775807",
        "tenant_id <> 'x' and subject = 'y'",
        "level between 1 and 5",
        "nick = 'x'",
        "amount > 5",
        "status = 'open'",
        "subject like 'a%'",
        "subject like 'a\\\\'",
        "lower(subject) = 'x'",
        "deleted_at > now() - interval '7 days'",
        "deleted_at > '2020-01-01'::timestamptz",
        "id::text = '5'",
        "meta->>'kind' = 'x'",
        "id = size",
        "coalesce(size, 0) > 1",
        "true",
        "subject like 'a\\'",
    ]), @r"
    leakproof: deleted_at is null
    leakproof: deleted_at is null
    leakproof: deleted_at is null   and id > 5
    leakproof: id = 7 and not (size in (1, 2, 3))
    leakproof: id = 9223372036854775807
    leakproof: tenant_id <> 'x' and subject = 'y'
    leakproof: level between 1 and 5
    fenced: nick = 'x'
    leakproof: amount > 5
    leakproof: status = 'open'
    leakproof: subject like 'a%'
    leakproof: subject like 'a\\'
    fenced: lower(subject) = 'x'
    fenced: deleted_at > now() - interval '7 days'
    leakproof: deleted_at > '2020-01-01'::timestamptz
    fenced: id::text = '5'
    fenced: meta->>'kind' = 'x'
    fenced: id = size
    fenced: coalesce(size, 0) > 1
    leakproof: true
    fenced: subject like 'a\'
    ");
}

#[test]
fn a_filter_is_one_boolean_expression_over_this_relation() {
    let all = |expressions: &[&str]| expressions.iter().map(|e| format!("{e}\n    {}", filter(e))).collect::<Vec<_>>().join("\n");
    assert_snapshot!(all(&[
        "1",
        "size + 1",
        "true) or (true",
        "true; drop table x",
        "id, size",
        "id as x",
        "*",
        "all id",
        "distinct id",
        "id = 1 from pg_class",
        "id = 1 union select 2",
        "id in (select 1)",
        "exists (select 1)",
        "id = $1",
        "tickets.id = 1",
        "ctid is null",
        "tickets is null",
        "idd = 1",
        "pg_sleep(1) is null",
        "random() > 0.5",
        "clock_timestamp() > deleted_at",
        "current_user = 'x'",
        "count(*) > 1",
        "row_number() over () = 1",
        "public.f(id)",
        "id operator(public.=) 5",
        "subject::regclass is null",
        "subject similar to 'x'",
        "id = 0x1F",
        "id = 1_000",
        "hidden = 'x'",
        "",
        "-- nothing",
        "id = 1 /* open",
        "id =",
    ]), @r#"
    1
        `where` must not use a value that is not true or false
    size + 1
        `where` must not use a value that is not true or false
    true) or (true
        `where` is not an SQL expression: syntax error at or near ")"
    true; drop table x
        `where` is not an SQL expression: syntax error at or near ";"
    id, size
        `where` is more than one expression
    id as x
        `where` is not an SQL expression: syntax error at or near "as"
    *
        `where` is not an SQL expression: syntax error at or near "*"
    all id
        `where` is not an SQL expression: syntax error at or near "all"
    distinct id
        `where` is not an SQL expression: syntax error at or near "distinct"
    id = 1 from pg_class
        `where` is not an SQL expression: syntax error at or near "from"
    id = 1 union select 2
        `where` is not an SQL expression: syntax error at or near "union"
    id in (select 1)
        `where` must not use a subquery
    exists (select 1)
        `where` must not use a subquery
    id = $1
        `where` must not use a parameter
    tickets.id = 1
        `where` must not use a qualified name or `*`
    ctid is null
        `where` names `ctid`, which is no column of `public.tickets`
    tickets is null
        `where` names `tickets`, which is no column of `public.tickets`
    idd = 1
        `where` names `idd`, which is no column of `public.tickets`
    pg_sleep(1) is null
        `where` must not use the function `pg_sleep`: it holds an upstream connection without work
    random() > 0.5
        `where` must not use the function `random`: it is volatile, an aggregate or returns rows
    clock_timestamp() > deleted_at
        `where` must not use the function `clock_timestamp`: it is volatile, an aggregate or returns rows
    current_user = 'x'
        `where` must not use the session's user, role or schema
    count(*) > 1
        `where` must not use the function `count`: only plain calls of built-in functions can be
    row_number() over () = 1
        `where` must not use the function `row_number`: only plain calls of built-in functions can be
    public.f(id)
        `where` must not use the function `public.f`: only plain calls of built-in functions can be
    id operator(public.=) 5
        `where` must not use an operator outside pg_catalog
    subject::regclass is null
        `where` must not use a cast to `regclass`: it looks its text up in the source's own catalog, where hidden names are
    subject similar to 'x'
        `where` must not use `similar to`
    id = 0x1F
        `where` has the number `0x1F`, which older servers read differently
    id = 1_000
        `where` has the number `1_000`, which older servers read differently
    hidden = 'x'
        `where` needs the column `hidden`, which the source's credential may not read

        `where` is empty
    -- nothing
        `where` is empty
    id = 1 /* open
        `where` is not SQL: unterminated /* comment
    id =
        `where` is not an SQL expression: syntax error at end of input
    "#);
}

#[test]
fn every_error_is_reported_at_once_with_its_place() {
    assert_snapshot!(findings(r#"
sources:
  db: { kind: postgress, url: "postgresql://u:secret@h/d", ssl: required, pool: { max: many }, timeout: 5s, statement_timeout: 5 }
  other: { kind: postgres, url: env:GONE, mode: read-write, ssl_root_cert: "", allow_writable_credential: yes }
schemas:
  pg_desk: { source: db, relations: {} }
  desk:
    source: dbb
    relations:
      tickets:
        from: public.tickets
        tenant_colum: tenant_id
        columns: id
        max_rows: 0
        evidence: ful
        on_limit: { a: b }
      both: { from: tickets, tenant_column: a, single_tenant: true, columns: [a, a, b], masks: { c: hash, a: , b: { lst: 4 } } }
agents:
  bot: { auth: { scram: hunter2 }, tenant: , schemas: desk }
  bat: { auth: {}, schemas: [dask, desk, desk], max_connections: 0 }
  bit: { auth: { password: x, scram: env:PW, scram_verifier: env:PW }, schemas: [] }
reviewers: {}
approvals: {}
"#), @r#"
    p.yaml:3:15: error: `postgress` is none of postgres
      hint: did you mean `postgres`?
    p.yaml:3:31: error: a secret must be given by reference, not as it is
      hint: write `env:NAME` (letters, digits, _) or `file:PATH` (relative to this file)
    p.yaml:3:65: error: `required` is none of disable, require, verify-ca, verify-full
      hint: did you mean `require`?
    p.yaml:3:88: error: `many` is not a whole number
      hint: write digits only, for example 1000
    p.yaml:3:96: error: unknown field `timeout` in a source
      hint: use one of: kind, url, ssl, ssl_root_cert, mode, pool, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, allow_writable_credential
    p.yaml:3:128: error: `5` is not a duration
      hint: write a number with ms, s, min or h: `250ms`, `5s`
    p.yaml:4:33: error: `env:GONE` cannot be resolved: the environment variable GONE is not set
    p.yaml:4:49: error: `read-write` is none of read-only
      hint: use one of: read-only
    p.yaml:4:76: error: nothing where a file path is expected
      hint: write `file:PATH`, relative to this file
    p.yaml:4:107: error: `yes` is not true or false
      hint: write `true` or `false`
    p.yaml:6:3: error: schema name `pg_desk` is reserved
      hint: choose a name that is not pg_*, information_schema or pgwicket
    p.yaml:6:3: warning: schema `pg_desk` has no relations
    p.yaml:6:3: warning: no agent uses the schema `pg_desk`
    p.yaml:8:13: error: there is no source `dbb`
      hint: did you mean `db`?
    p.yaml:12:9: error: unknown field `tenant_colum` in a relation
      hint: did you mean `tenant_column`?
    p.yaml:13:18: error: a single value where a list is expected
      hint: write `[a, b]`, or one `- item` a line
    p.yaml:15:19: error: `ful` is none of full, digest, sample
      hint: did you mean `full`?
    p.yaml:16:19: error: a mapping where one of error, truncate is expected
    p.yaml:17:21: error: `tickets` is not `schema.relation`
      hint: name the schema, for example `public.tickets`; quote parts with odd characters: `public."My Table"`
    p.yaml:17:63: error: `single_tenant: true` and `tenant_column` exclude each other
      hint: write `tenant_column: column` for rows of tenants, or `single_tenant: true` when the relation holds no tenant's rows
    p.yaml:17:82: error: `a` is twice in `columns`
    p.yaml:17:98: error: `masks` names `c`, which is not in `columns`
      hint: use one of: a, a, b
    p.yaml:17:98: error: a `hash` mask needs a key
      hint: give `mask_key: "env:NAME"` in the schema or at the top of a file
    p.yaml:17:108: error: nothing where a mask is expected
    p.yaml:17:115: error: a mask is one of null, hash, last, constant
      hint: write `null`, `hash`, `{last: 4}` or `{constant: "text"}`
    p.yaml:17:117: error: unknown field `lst` in a mask
      hint: did you mean `last`?
    p.yaml:19:25: error: a secret must be given by reference, not as it is
      hint: write `env:NAME` (letters, digits, _) or `file:PATH` (relative to this file)
    p.yaml:19:42: error: nothing where text is expected
    p.yaml:19:55: error: a single value where a list is expected
      hint: write `[a, b]`, or one `- item` a line
    p.yaml:20:16: error: an agent proves itself in exactly one way
      hint: write `auth: { scram: "env:NAME" }` or `auth: { scram_verifier: … }`
    p.yaml:20:30: error: there is no schema `dask`
      hint: did you mean `desk`?
    p.yaml:20:36: error: agent `bat` has no tenant, but sees tenants' rows: desk.both
      hint: give the agent `tenant: …`, or leave the schema out
    p.yaml:20:42: error: `desk` is twice in `schemas`
    p.yaml:20:42: error: agent `bat` has no tenant, but sees tenants' rows: desk.both
      hint: give the agent `tenant: …`, or leave the schema out
    p.yaml:20:66: error: `max_connections: 0` would refuse every connection
      hint: write 1 or more, or remove the agent
    p.yaml:21:16: error: an agent proves itself in exactly one way
      hint: write `auth: { scram: "env:NAME" }` or `auth: { scram_verifier: … }`
    p.yaml:21:18: error: unknown field `password` in auth
      hint: use one of: scram, scram_verifier
    p.yaml:22:12: error: this section is not supported yet
      hint: remove it: this version refuses every write, so nothing needs review
    p.yaml:23:12: error: this section is not supported yet
      hint: remove it: this version refuses every write, so nothing needs review
    "#);
}

#[test]
fn the_catalog_decides_what_exists() {
    let at = |text: &str| findings(&with_relation(text));
    assert_snapshot!(at("from: public.ticket\ntenant_column: tenant_id\ncolumns: [id]"), @r"
    p.yaml:8:15: error: source `db` has no relation `public.ticket`
      hint: did you mean `public.tickets`?
    ");
    assert_snapshot!(at("from: public.tickets\ntenant_column: tennant\ncolumns: [idd, hidden]\nprimary_key: [subject]\nmasks: {idd: null}"), @r"
    p.yaml:9:24: error: `public.tickets` has no column `tennant`
      hint: use one of: id, tenant_id, subject, status, amount, deleted_at, meta, hidden, size, level, nick
    p.yaml:10:19: error: `public.tickets` has no column `idd`
      hint: did you mean `id`?
    p.yaml:10:24: error: the source's credential may not read `public.tickets.hidden`
      hint: grant select (hidden) on public.tickets to it, or remove the column
    p.yaml:11:23: error: primary key column `subject` is not exposed as it is
      hint: list it in `columns` without a mask, or remove `primary_key`
    p.yaml:11:23: error: the primary key of `public.tickets` is another one
      hint: write `primary_key: [id]`
    ");
    assert_snapshot!(at("from: public.everyone\ntenant_column: tenant_id\ncolumns: [id]\nprimary_key: [id]"), @r"
    p.yaml:8:15: warning: `public.everyone` is a view: its own definition and functions are trusted input
      hint: make sure it shows each tenant's rows under the tenant column, and calls nothing that writes
    p.yaml:9:24: warning: the tenant column may be NULL: such rows are nobody's and stay invisible
    ");
    assert_snapshot!(at("from: pg_catalog.pg_class\nsingle_tenant: true\ncolumns: [oid]"), @r"
    p.yaml:8:15: error: system schemas cannot be exposed
      hint: expose a relation of your own schemas
    ");
    assert_snapshot!(at("from: public.shared\ntenant_column: price\ncolumns: [code]"), @r"
    p.yaml:9:24: error: a tenant column of type numeric is not supported
      hint: it must be smallint, integer, bigint, text, varchar, char or uuid
    ");
    assert_snapshot!(at("from: public.shared\ntenant_column: tenant_ci\ncolumns: [code]"), @r#"
    p.yaml:9:24: error: the tenant column's collation is nondeterministic: different tenants could compare equal
      hint: give the column a deterministic collation, for example "C"
    "#);
    assert_snapshot!(at("from: public.secrets\nsingle_tenant: true\ncolumns: [id, value]"), @r"
    p.yaml:10:19: error: the source's credential may not read `public.secrets.id`
      hint: grant select (id) on public.secrets to it, or remove the column
    p.yaml:10:23: error: the source's credential may not read `public.secrets.value`
      hint: grant select (value) on public.secrets to it, or remove the column
    ");
    assert_snapshot!(at("from: public.tickets\ntenant_column: tenant_id\ncolumns: [id, subject]\nmasks: {id: hash}\nprimary_key: [id]"), @r"
    p.yaml:12:23: error: primary key column `id` is not exposed as it is
      hint: list it in `columns` without a mask, or remove `primary_key`
    ");
    assert_snapshot!(at("from: public.tickets\ntenant_column: tenant_id\ncolumns: [id, level]\nmasks: {level: {constant: none}}"), @r"
    p.yaml:11:17: error: the constant `none` is no value of column `level`, which is other
      hint: write a whole number that fits the column, or mask it with `null`
    ");
    assert_snapshot!(at("from: public.tickets\ntenant_column: tenant_id\ncolumns: [id]\nwrites: {update: [id, subject, gone, deleted_at], conflict_column: deleted_at, max_rows: 0}"), @r"
    p.yaml:11:17: warning: `writes` is checked only: proposals are not supported yet, every write is refused
    p.yaml:11:27: error: `id` is guarded and cannot be assigned
      hint: primary key, tenant column and conflict column say which row is changed: remove it from `update`
    p.yaml:11:40: error: `public.tickets` has no column `gone`
      hint: use one of: id, tenant_id, subject, status, amount, deleted_at, meta, hidden, size, level, nick
    p.yaml:11:46: error: `deleted_at` is guarded and cannot be assigned
      hint: primary key, tenant column and conflict column say which row is changed: remove it from `update`
    p.yaml:11:98: error: `max_rows: 0` would refuse every proposal
      hint: write 1 or more, or remove it
    ");
}

#[test]
fn a_tenants_relation_needs_an_agent_with_a_fitting_tenant() {
    let policy = |agents: &str| {
        findings(&format!(
            "sources: {{db: {{kind: postgres, url: \"env:URL\"}}}}\nschemas: {{desk: {{source: db, relations: {{accounts: {{from: public.accounts, tenant_column: org, columns: [id]}}, shared: {{from: public.shared, single_tenant: true, columns: [code]}}}}}}}}\nagents: {{a: {{auth: {{scram: env:PW}}, schemas: [desk], {agents}}}}}"
        ))
    };
    assert_snapshot!(policy("tenant: 7"), @"p.yaml:2:91: warning: the tenant column may be NULL: such rows are nobody's and stay invisible");
    assert_snapshot!(policy("tenant: acme"), @r"
    p.yaml:2:91: warning: the tenant column may be NULL: such rows are nobody's and stay invisible
    p.yaml:3:62: error: tenant `acme` cannot be a value of the tenant column of `desk.accounts`
      hint: it must be a whole number that fits the column
    ");
    assert_snapshot!(policy(""), @r"
    p.yaml:2:91: warning: the tenant column may be NULL: such rows are nobody's and stay invisible
    p.yaml:3:47: error: agent `a` has no tenant, but sees tenants' rows: desk.accounts
      hint: give the agent `tenant: …`, or leave the schema out
    ");
}

#[test]
fn an_agent_proves_itself_in_one_valid_way() {
    let auth = |auth: &str| {
        findings(&format!("sources: {{db: {{kind: postgres, url: env:URL}}}}\nschemas: {{}}\nagents: {{a: {{auth: {auth}, schemas: []}}}}"))
    };
    assert_snapshot!(auth("{scram: env:PW}"), @"fine");
    assert_snapshot!(auth("{scram: env:GONE}"), @"p.yaml:3:28: error: `env:GONE` cannot be resolved: the environment variable GONE is not set");
    assert_snapshot!(auth("{scram_verifier: env:PW}"), @r"
    p.yaml:3:37: error: not a SCRAM verifier
      hint: expected SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as in pg_authid.rolpassword
    ");
    assert_snapshot!(auth("{scram_verifier: hunter2}"), @r"
    p.yaml:3:37: error: neither a stored SCRAM verifier nor a reference to one
      hint: write `env:NAME`, `file:PATH`, or the verifier `SCRAM-SHA-256$4096:…` (a password belongs in `scram: env:NAME`)
    ");
    assert_snapshot!(auth("{scram_verifier: \"SCRAM-SHA-256$4096:AAAA$short:short\"}"), @r"
    p.yaml:3:37: error: not a SCRAM verifier
      hint: expected SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as in pg_authid.rolpassword
    ");
    assert_snapshot!(auth("{scram_verifier: \"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=\"}"), @"fine");
}

#[test]
fn a_function_is_added_by_its_exact_signature_and_with_its_overloads() {
    let functions = |list: &str| {
        let policy = with_relation("from: public.shared\nsingle_tenant: true\ncolumns: [code]");
        findings(&policy.replace("tenant: \"1\"", &format!("functions: [{list}]")))
    };
    assert_snapshot!(functions("\"public.similarity(text, TEXT)\", \"public.rank(integer, text)\""), @"fine");
    assert_snapshot!(functions("\"public.similarity(text)\", similarity, \"public.nothing()\", \"pg_catalog.pg_sleep(double precision)\""), @r"
    p.yaml:11:53: error: no source of this agent has a function `public.similarity(text)` it may execute
      hint: use one of: public.similarity(text, text)
    p.yaml:11:80: error: `similarity` is not a function's signature
      hint: write schema, name and argument types: `public.similarity(text, text)`
    p.yaml:11:92: error: no source of this agent has a function `public.nothing()` it may execute
      hint: check the schema, the name and EXECUTE rights
    p.yaml:11:112: error: functions of pg_catalog are decided by the reviewed list, not by policies
      hint: wrap what you need in a function of your own schema
    ");
    assert_snapshot!(functions("\"public.overloaded(integer)\""), @r"
    p.yaml:11:53: error: `public.overloaded(integer)` has an overload that a call could reach too: `public.overloaded(text)`
      hint: list the overload as well, or give the function you mean a name of its own
    ");
    assert_snapshot!(functions("\"public.overloaded(integer)\", \"public.overloaded(text)\", \"public.touch()\""), @"p.yaml:11:110: warning: `public.touch()` is VOLATILE: what it does besides answering is trusted input");
}

#[test]
fn files_are_compiled_as_one_and_name_both_places_of_a_clash() {
    let one = "sources: {db: {kind: postgres, url: env:URL}}\nmask_key: env:KEY\nagents: {a: {auth: {scram: env:PW}, schemas: []}}";
    let clash =
        |two: &str| list(&compile_files(&[("a.yaml", one), ("b.yaml", two)]).map_or_else(|errors| errors.0, |compiled| compiled.warnings));
    assert_snapshot!(clash("# nothing"), @"fine");
    assert_snapshot!(clash(one), @r"
    b.yaml:1:11: error: source `db` is defined twice, first at a.yaml:1:11
      hint: every file of the directory is compiled as one: rename one of the two, or keep one
    b.yaml:2:11: error: `mask_key` is given twice, first at a.yaml:2:11
      hint: keep one of the two, or give schemas their own `mask_key`
    b.yaml:3:10: error: agent `a` is defined twice, first at a.yaml:3:10
      hint: every file of the directory is compiled as one: rename one of the two, or keep one
    ");
    assert_snapshot!(clash("agents: {a: 1, a: 2}\nagents: {}"), @r"
    b.yaml:1:10: error: agent `a` is defined twice, first at a.yaml:3:10
      hint: every file of the directory is compiled as one: rename one of the two, or keep one
    b.yaml:1:13: error: a single value where an agent is expected
      hint: write a mapping with some of: auth, tenant, schemas, functions, allow_explain, statement_timeout, max_connections, durability, evidence_parameters
    b.yaml:1:16: error: duplicate key `a`, first given at b.yaml:1:10
      hint: keep one of the two
    b.yaml:2:1: error: duplicate key `agents`, first given at b.yaml:1:1
      hint: keep one of the two
    ");
}

#[test]
fn yaml_is_held_within_bounds() {
    assert_snapshot!(findings("sources: {db: [}"), @"p.yaml:1:16: error: not valid YAML: while parsing a node, did not find expected node content");
    assert_snapshot!(findings("sources: {}\n---\nschemas: {}"), @r"
    p.yaml:2:1: error: a second YAML document in one file
      hint: put it into its own file, or remove the `---`
    ");
    assert_snapshot!(findings("sources: !!map {}"), @r"
    p.yaml:1:10: error: YAML tags (`!…`) are not read
      hint: write the value without the tag
    ");
    assert_snapshot!(findings("schemas: {a: &a {source: db, relations: {}}, b: {<<: *a}}"), @r"
    p.yaml:1:50: error: merge keys (`<<`) are not read
      hint: write the fields out; an alias (`*name`) may repeat a whole value
    ");
    assert_snapshot!(findings("sources: &s {a: *s}"), @r"
    p.yaml:1:17: error: an alias inside the value it names
      hint: an alias may only repeat a value that is complete
    ");
    assert_snapshot!(findings(&format!("sources: {}", "[".repeat(40))), @r"
    p.yaml:1:41: error: nested too deeply
      hint: a policy never nests deeper than 32 levels
    ");
    let laughs = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))
    });
    assert_snapshot!(findings(&laughs), @r"
    p.yaml:5:45: error: more than 100000 values in one file (what aliases repeat is counted)
      hint: split the file
    ");
    assert_snapshot!(findings("- a list"), @r"
    p.yaml:1:1: error: a list where a policy is expected
      hint: write a mapping with some of: mask_key, sources, schemas, agents, reviewers, approvals
    ");
    assert_snapshot!(findings(""), @r"
    p.yaml: error: the policy is empty
      hint: define `sources`, `schemas` and `agents`; see docs/POLICY.md
    ");
    assert_snapshot!(findings("sources: {}\nagents: {}\n\tx: 1"), @"p.yaml:3:2: error: not valid YAML: tabs disallowed within this context (block indentation)");
}

#[test]
fn names_agents_write_are_checked() {
    let long = "n".repeat(64);
    let named = |schema: &str, relation: &str| {
        findings(&format!(
            "sources: {{db: {{kind: postgres, url: env:URL}}}}\nschemas: {{{schema}: {{source: db, relations: {{{relation}: {{from: public.shared, single_tenant: true, columns: [code]}}}}}}}}\nagents: {{a: {{auth: {{scram: env:PW}}, schemas: [{schema}]}}}}"
        ))
    };
    assert_snapshot!(named("information_schema", "r"), @r"
    p.yaml:2:11: error: schema name `information_schema` is reserved
      hint: choose a name that is not pg_*, information_schema or pgwicket
    ");
    assert_snapshot!(named("PG_x", "r"), @r"
    p.yaml:2:11: error: schema name `PG_x` is reserved
      hint: choose a name that is not pg_*, information_schema or pgwicket
    ");
    assert_snapshot!(named("pgwicket", "r"), @r"
    p.yaml:2:11: error: schema name `pgwicket` is reserved
      hint: choose a name that is not pg_*, information_schema or pgwicket
    ");
    assert_snapshot!(named("desk", &long), @r"
    p.yaml:2:42: error: relation name `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…` is longer than 63 bytes
      hint: PostgreSQL would cut it: choose a shorter name
    ");
    assert_snapshot!(named("Desk", "the relation"), @r#"
    p.yaml:2:11: warning: agents must write this name in double quotes: "Desk"
      hint: lower-case letters, digits and _ need no quotes
    p.yaml:2:42: warning: agents must write this name in double quotes: "the relation"
      hint: lower-case letters, digits and _ need no quotes
    "#);
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

#[test]
fn no_finding_shows_a_secret() {
    for text in [
        "sources: {db: {kind: \"postgres://u:hunter2@h\", url: \"postgres://u:hunter2@h\"}}",
        "agents: {a: {auth: {scram: hunter2}, schemas: []}}",
        "agents: {a: {auth: {scram_verifier: hunter2}, schemas: []}}",
        "mask_key: hunter2",
        "agents: {a: {auth: {password: hunter2}, schemas: []}}",
    ] {
        assert!(!findings(text).contains("hunter2"), "{}", findings(text));
    }
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
