//! Files: their form, their bounds, their clashes, their places.

use insta::assert_snapshot;

use super::{compile_files, findings, list};

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
      hint: use one of: kind, url, ssl, ssl_root_cert, mode, pool, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, transaction_timeout, allow_writable_credential, worker
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
      hint: write `auth: { scram: "env:NAME" }`, or one of `scram_verifier`, `token`, `certificate`
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
      hint: write `auth: { scram: "env:NAME" }`, or one of `scram_verifier`, `token`, `certificate`
    p.yaml:21:18: error: unknown field `password` in auth
      hint: use one of: scram, scram_verifier, token, certificate
    "#);
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
      hint: write a mapping with some of: auth, tenant, session_token, schemas, functions, allow_explain, statement_timeout, max_connections, limits, durability, evidence_parameters
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
      hint: write a mapping with some of: deployment, mask_key, sources, schemas, agents, reviewers, approvals
    ");
    assert_snapshot!(findings(""), @r"
    p.yaml: error: the policy is empty
      hint: define `sources`, `schemas` and `agents`; see docs/POLICY.md
    ");
    assert_snapshot!(findings("sources: {}\nagents: {}\n\tx: 1"), @"p.yaml:3:2: error: not valid YAML: tabs disallowed within this context (block indentation)");
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
