//! What the catalog, the tenant and the names of a policy must agree on.

use insta::assert_snapshot;

use super::{findings, with_relation};

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
    assert_snapshot!(at("from: public.names\nsingle_tenant: true\ncolumns: [id, place]"), @r"
    p.yaml:10:23: error: columns of type regclass cannot be exposed: it looks its text up in the source's own catalog, where hidden names are
      hint: leave the column out, or expose a view that casts it to text
    ");
    assert_snapshot!(at("from: public.names\nsingle_tenant: true\ncolumns: [found, all_found]"), @r"
    p.yaml:10:19: error: columns of type regclass cannot be exposed: it looks its text up in the source's own catalog, where hidden names are
      hint: leave the column out, or expose a view that casts it to text
    p.yaml:10:26: error: columns of type regclass cannot be exposed: it looks its text up in the source's own catalog, where hidden names are
      hint: leave the column out, or expose a view that casts it to text
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
    p.yaml:11:17: warning: nobody may approve update of `desk.r`
      hint: such proposals wait until they expire: add a rule under `approvals`
    p.yaml:11:27: error: `id` is guarded and cannot be assigned
      hint: primary key, tenant column and conflict column say which row is changed: remove it from `update`
    p.yaml:11:31: error: `subject` is in `update` and not in `columns`
      hint: agents propose changes to what they see: list it in `columns`, or remove it here
    p.yaml:11:40: error: `public.tickets` has no column `gone`
      hint: use one of: id, tenant_id, subject, status, amount, deleted_at, meta, hidden, size, level, nick
    p.yaml:11:46: error: `deleted_at` is in `update` and not in `columns`
      hint: agents propose changes to what they see: list it in `columns`, or remove it here
    p.yaml:11:46: error: `deleted_at` is guarded and cannot be assigned
      hint: primary key, tenant column and conflict column say which row is changed: remove it from `update`
    p.yaml:11:76: error: `deleted_at` is in `conflict_column` and not in `columns`
      hint: agents propose changes to what they see: list it in `columns`, or remove it here
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
fn what_has_no_effect_yet_is_warned_about() {
    let policy = with_relation("from: public.shared\nsingle_tenant: true\ncolumns: [code]").replace("tenant: \"1\"", "allow_explain: true");
    assert_snapshot!(findings(&policy), @"p.yaml:11:56: warning: `allow_explain`: the estimates of EXPLAIN speak of all rows, those of other tenants too");
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
