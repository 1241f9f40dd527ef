//! Probes of side effects and catalogs: no statement changes the source, its sessions or its server, or reads its catalogs.

use super::{
    client::Answer,
    finding::{CATALOGS, Check, EFFECTS, Finding, Severity},
    hidden::hidden_columns,
    reference::{alias_name, identifier, key_list, literal, own_rows, plain_columns, real_name},
    session::{Probe, Run, shortened},
};
use crate::{policy::ExposedRelation, types::SourceName};

/// Each must be refused, or stored as a proposal. `{r}` the relation, `{t}` its real name, `{c}` a column, `{k}` one of its rows.
const WRITES: &[&str] = &[
    "UPDATE {r} SET {c} = {c} WHERE {k}",
    "DELETE FROM {r} WHERE {k}",
    "DELETE FROM {t}",
    "INSERT INTO {r} ({c}) SELECT {c} FROM {r} WHERE {k}",
    "MERGE INTO {r} a USING {r} b ON a.{c} = b.{c} WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM {r} WHERE {k} RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM {r} WHERE {k}",
    "SELECT 1; DELETE FROM {t}",
    "BEGIN READ WRITE; DELETE FROM {t}; COMMIT",
    "SELECT * INTO pgwicket_probe FROM {r}",
    "CREATE TABLE pgwicket_probe AS SELECT * FROM {r}",
    "SELECT * FROM {r} WHERE {k} FOR UPDATE",
    "SELECT * FROM {r} WHERE {k} FOR KEY SHARE",
    "TRUNCATE {t}",
    "LOCK TABLE {t} IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE {t} ADD COLUMN pgwicket_probe int",
    "CREATE INDEX pgwicket_probe ON {t} ({c})",
    "DROP TABLE {t}",
    "VACUUM {t}",
    "ANALYZE {t}",
    "COPY {r} FROM STDIN",
    "COPY {t} TO PROGRAM 'true'",
    "COPY {t} TO '/tmp/pgwicket_probe'",
    "GRANT SELECT ON {t} TO PUBLIC",
    "REFRESH MATERIALIZED VIEW {t}",
];

/// Each must be refused; they speak of no relation.
const REFUSED: &[&str] = &[
    "CREATE TABLE pgwicket_probe (a int)",
    "CREATE TEMPORARY TABLE pgwicket_probe (a int)",
    "CREATE SCHEMA pgwicket_probe",
    "CREATE FUNCTION pgwicket_probe() RETURNS int LANGUAGE sql AS 'select 1'",
    "CREATE ROLE pgwicket_probe",
    "CREATE DATABASE pgwicket_probe",
    "CREATE EXTENSION dblink",
    "ALTER SYSTEM SET work_mem = '64MB'",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET row_security = off",
    "SELECT set_config('session_replication_role', 'replica', false)",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT nextval('pgwicket_probe')",
    "SELECT setval('pgwicket_probe', 1)",
    "SELECT pg_sleep(30)",
    "SELECT pg_advisory_lock(774411)",
    "SELECT pg_try_advisory_lock_shared(774411)",
    "SELECT pg_notify('pgwicket_probe', 'x')",
    "NOTIFY pgwicket_probe",
    "LISTEN pgwicket_probe",
    "SELECT lo_create(774411)",
    "SELECT lo_from_bytea(774411, 'x')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT ('/etc/passwd').pg_read_file",
    "SELECT pg_ls_dir('/')",
    "SELECT query_to_xml('select 1', true, true, '')",
    "SELECT table_to_xml('pg_class', true, true, '')",
    "SELECT pg_logical_emit_message(false, 'pgwicket_probe', 'x')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_cancel_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT txid_current()",
    "SELECT dblink('dbname=postgres', 'select 1')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/pgwicket_probe'",
    "DO 'begin perform pg_sleep(30); end'",
    "CALL pgwicket_probe()",
    "PREPARE pgwicket_probe AS DELETE FROM pgwicket_probe",
    "PREPARE TRANSACTION 'pgwicket_probe'",
    "DECLARE pgwicket_probe CURSOR WITH HOLD FOR SELECT pg_sleep(30)",
    "LOAD 'plpgsql'",
    "CHECKPOINT",
    "SELECT 1 /* */; -- \n DROP SCHEMA public CASCADE",
];

/// Each must be refused or empty.
const CATALOG: &[&str] = &[
    "SELECT * FROM pg_catalog.pg_statistic LIMIT 5",
    "SELECT * FROM pg_statistic_ext_data LIMIT 5",
    "SELECT * FROM pg_stat_activity LIMIT 5",
    "SELECT * FROM pg_stat_statements LIMIT 5",
    "SELECT * FROM pg_locks LIMIT 5",
    "SELECT * FROM pg_authid LIMIT 5",
    "SELECT * FROM pg_shadow LIMIT 5",
    "SELECT * FROM pg_user_mappings LIMIT 5",
    "SELECT * FROM pg_file_settings LIMIT 5",
    "SELECT * FROM pg_hba_file_rules LIMIT 5",
    "SELECT * FROM pg_largeobject LIMIT 5",
    "SELECT pg_get_functiondef(1)",
    "SELECT pg_get_viewdef(1)",
    "SELECT pg_relation_size({l})",
    "SELECT {l}::regclass",
    "SELECT to_regclass({l})",
    "SELECT has_table_privilege({l}, 'select')",
    "SELECT * FROM {t} LIMIT 1",
];

/// Each may show what the agent sees anyway, and nothing that is hidden: these are answered by a database that pgwicket makes from
/// the policy (docs/CATALOG.md).
const DESCRIBING: &[&str] = &[
    "SELECT * FROM pg_stats LIMIT 5",
    "SELECT * FROM pg_stat_user_tables LIMIT 5",
    "SELECT pg_stat_get_live_tuples(1)",
    "SELECT relname FROM pg_class",
    "SELECT attname FROM pg_attribute",
    "SELECT column_name FROM information_schema.columns",
    "SELECT table_schema, table_name FROM information_schema.tables",
    "SELECT nspname FROM pg_namespace",
    "SELECT rolname FROM pg_roles",
    "SELECT datname FROM pg_database",
];

/// Names that every PostgreSQL has.
const OWN_WORDS: &str = "SELECT attname FROM pg_attribute WHERE attrelid < 16384 UNION SELECT relname FROM pg_class WHERE oid < 16384 \
     UNION SELECT nspname FROM pg_namespace WHERE oid < 16384 UNION SELECT typname FROM pg_type WHERE oid < 16384";

/// What of the source must be the same afterwards: what the probes would leave, then what others may change too.
const LEFT: &str = "
SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'pgwicket_probe%') + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'pgwicket_probe%')
  + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgwicket_probe%') + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgwicket_probe%')
  + (SELECT count(*) FROM pg_database WHERE datname LIKE 'pgwicket_probe%') + (SELECT count(*) FROM pg_attribute WHERE attname LIKE 'pgwicket_probe%')
  + (SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 774411) + (SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'pgwicket_probe%')
  + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 774411),
  (SELECT coalesce(string_agg(format('%s.%s=%s', schemaname, sequencename, last_value), ',' ORDER BY schemaname, sequencename), '') FROM pg_sequences)";

/// Side effects and catalogs.
pub(super) async fn probe(run: &mut Run<'_>, probe: &mut Probe<'_>) -> anyhow::Result<()> {
    let mut before = Vec::new();
    for relation in probe.relations.clone() {
        before.push(state(run, &relation).await?);
    }
    for sql in REFUSED {
        refused(run, probe, None, sql).await?;
    }
    for relation in probe.relations.clone() {
        let Some(column) = plain_columns(&relation).find(|column| !relation.primary_key.contains(&column.name)) else { continue };
        let row = one_row(run, probe, &relation).await?;
        for form in WRITES {
            let sql = form.replace("{r}", &alias_name(&relation)).replace("{t}", &real_name(&relation));
            refused(run, probe, Some(&relation), &sql.replace("{c}", &identifier(&column.name)).replace("{k}", &row)).await?;
        }
        catalogs(run, probe, &relation).await?;
    }
    for (relation, before) in probe.relations.clone().iter().zip(before) {
        let after = state(run, relation).await?;
        unchanged(run, probe, relation, &before, &after);
    }
    Ok(())
}

/// A condition for one of the agent's own rows.
async fn one_row(run: &mut Run<'_>, probe: &Probe<'_>, relation: &ExposedRelation) -> anyhow::Result<String> {
    let (Some(own), Some(key)) = (own_rows(relation, probe.tenant()), key_list(relation)) else { return Ok("false".to_owned()) };
    let sql = format!("SELECT {key} FROM {}{own} ORDER BY {key} LIMIT 1", real_name(relation));
    let row = run.reference(&relation.source, &sql).await?.unwrap_or_default().into_iter().next().unwrap_or_default();
    let parts =
        relation.primary_key.iter().zip(row).filter_map(|(name, value)| Some(format!("{} = {}", identifier(name), literal(&value?))));
    let condition = parts.collect::<Vec<_>>().join(" AND ");
    Ok(if condition.is_empty() { "false".to_owned() } else { condition })
}

async fn refused(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: Option<&ExposedRelation>, sql: &str) -> anyhow::Result<()> {
    let answer = run.ask(probe, sql).await?;
    // A string of statements may have opened a transaction.
    run.ask(probe, "ROLLBACK").await?;
    let proposed = answer.notices.iter().any(|notice| notice.contains("proposal"));
    if answer.error.is_some() || proposed {
        run.findings.pass(&EFFECTS, &probe.scope);
    } else {
        let subject = relation.map_or_else(|| probe.scope.clone(), |relation| probe.subject(relation));
        fail(run, probe, &EFFECTS, subject, &answer, sql);
    }
    Ok(())
}

async fn catalogs(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation) -> anyhow::Result<()> {
    let alias_is_real = alias_name(relation) == real_name(relation);
    let mut hidden = hidden_columns(run, relation);
    let shown = |name: &String| {
        let columns = probe.relations.iter().flat_map(|relation| &relation.columns).map(|column| &column.name);
        columns.chain(probe.relations.iter().flat_map(|relation| [&relation.name, &relation.schema])).any(|shown| **shown == **name)
    };
    hidden.extend([relation.real_schema.to_string(), relation.real_name.to_string()]);
    let own: Vec<String> = run.reference(&relation.source, OWN_WORDS).await?.unwrap_or_default().into_iter().flatten().flatten().collect();
    // A word of the catalogs' own tells nothing.
    hidden.retain(|name| !shown(name) && !own.contains(name));
    let names = |cell: &String| cell.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| hidden.iter().any(|name| name == word));
    for (forms, may_show) in [(CATALOG, false), (DESCRIBING, true)] {
        for form in forms {
            if alias_is_real && form.contains("{t}") {
                continue;
            }
            let sql = form.replace("{t}", &real_name(relation)).replace("{l}", &literal(&real_name(relation)));
            let answer = run.ask(probe, &sql).await?;
            let mut shown = answer.rows.iter().flatten().flatten();
            let holds = if may_show { !shown.any(names) } else { answer.error.is_some() || shown.next().is_none() };
            if holds {
                run.findings.pass(&CATALOGS, &probe.scope);
            } else {
                fail(run, probe, &CATALOGS, probe.subject(relation), &answer, &sql);
            }
        }
    }
    Ok(())
}

fn fail(run: &mut Run<'_>, probe: &Probe<'_>, check: &'static Check, subject: String, answer: &Answer, sql: &str) {
    let what = format!("answered with {} instead of a refusal: {}", answer.outcome(), shortened(sql));
    let fix = "report it as a vulnerability (SECURITY.md); until it is fixed, see that the credential cannot do it either".to_owned();
    let place = run.place_of_agent(probe);
    run.findings.fail(&probe.scope, Finding { check, severity: Severity::Error, subject, what, fix, place });
}

/// What probes would leave behind; what else may not change.
struct State {
    left: Option<u64>,
    sequences: Option<String>,
    rows: Option<String>,
}

async fn state(run: &mut Run<'_>, relation: &ExposedRelation) -> anyhow::Result<State> {
    let left = first_row(run, &relation.source, LEFT).await?;
    let rows = first_row(run, &relation.source, &format!("SELECT count(*) FROM {}", real_name(relation))).await?;
    let at = |row: &[Option<String>], place: usize| row.get(place).cloned().flatten();
    Ok(State { left: at(&left, 0).and_then(|count| count.parse().ok()), sequences: at(&left, 1), rows: at(&rows, 0) })
}

async fn first_row(run: &mut Run<'_>, source: &SourceName, sql: &str) -> anyhow::Result<Vec<Option<String>>> {
    Ok(run.reference(source, sql).await?.unwrap_or_default().into_iter().next().unwrap_or_default())
}

fn unchanged(run: &mut Run<'_>, probe: &Probe<'_>, relation: &ExposedRelation, before: &State, after: &State) {
    let (Some(left), Some(now)) = (before.left, after.left) else {
        run.findings.inconclusive(&EFFECTS, &probe.scope, "the source refused to say what probes left behind");
        return;
    };
    let (severity, what) = if now > left {
        (
            Severity::Error,
            "a probe left something behind in the source (a table, function, role, lock or large object named pgwicket_probe or 774411)",
        )
    } else if before.rows != after.rows {
        (Severity::Warning, "its row count changed while the probes ran: by others, or by a probe; run it while nobody writes")
    } else if before.sequences != after.sequences {
        (Severity::Warning, "a sequence moved while the probes ran: by others, or by a probe; run it while nobody writes")
    } else {
        run.findings.pass(&EFFECTS, &probe.scope);
        return;
    };
    let fix = "look at what changed, and report it as a vulnerability (SECURITY.md) if it was a probe".to_owned();
    let finding =
        Finding { check: &EFFECTS, severity, subject: probe.subject(relation), what: what.to_owned(), fix, place: run.place(relation) };
    run.findings.fail(&probe.scope, finding);
}
