//! Probes of columns: what the policy does not expose cannot be named, and a mask cannot be seen through.

use super::{
    finding::{Check, Finding, HIDDEN, MASKS, Severity},
    reference::{alias_name, identifier, key_list, literal, own_rows, real_name},
    session::{Probe, Run, shortened},
};
use crate::policy::{ExposedRelation, Mask};

/// System columns, hidden in every relation.
const SYSTEM: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
/// Rows whose raw values are looked for.
const SAMPLED: u64 = 5;

/// Each must end in an error, `{c}` a hidden column and `{r}` the relation.
const NAMED: &[&str] = &[
    "SELECT {c} FROM {r} pgw",
    "SELECT pgw.{c} FROM {r} pgw",
    "SELECT (pgw).{c} FROM {r} pgw",
    "SELECT 1 FROM {r} pgw WHERE {c} IS NULL",
    "SELECT 1 FROM {r} pgw ORDER BY {c}",
    "SELECT count(*) FROM {r} pgw GROUP BY {c}",
    "SELECT max(pgw.{c}::text) FROM {r} pgw",
    "SELECT 1 FROM {r} pgw JOIN {r} other USING ({c})",
    "SELECT row_number() OVER (ORDER BY {c}) FROM {r} pgw",
    "SELECT (SELECT pgw.{c}::text LIMIT 1) FROM {r} pgw",
    "SELECT 1 FROM {r} pgw, LATERAL (SELECT pgw.{c}) l",
];

/// Each must show the exposed columns and no other.
const WHOLE: &[&str] = &[
    "SELECT * FROM {r} pgw LIMIT 5",
    "SELECT pgw.* FROM {r} pgw LIMIT 5",
    "SELECT * FROM (TABLE {r}) pgw LIMIT 5",
    "SELECT * FROM {r} pgw NATURAL JOIN (SELECT 1 AS pgw_one) one LIMIT 5",
];

/// Each shows whole rows as values: no hidden name, no hidden value.
const ROWS: &[&str] =
    &["SELECT pgw FROM {r} pgw LIMIT 5", "SELECT row_to_json(pgw) FROM {r} pgw LIMIT 5", "SELECT to_jsonb(pgw) FROM {r} pgw LIMIT 5"];

/// Hidden columns and masks of every relation.
pub(super) async fn probe(run: &mut Run<'_>, probe: &mut Probe<'_>) -> anyhow::Result<()> {
    for relation in probe.relations.clone() {
        let hidden = hidden_columns(run, &relation);
        watch(run, probe, &relation, &hidden, "a hidden value").await?;
        for column in hidden.iter().map(String::as_str).chain(SYSTEM.iter().copied()) {
            for form in NAMED {
                named(run, probe, &relation, column, form).await?;
            }
        }
        for form in WHOLE.iter().chain(ROWS) {
            whole(run, probe, &relation, &hidden, form).await?;
        }
        masks(run, probe, &relation).await?;
    }
    Ok(())
}

/// The real columns that the policy does not expose.
pub(super) fn hidden_columns(run: &Run<'_>, relation: &ExposedRelation) -> Vec<String> {
    let source = run.policy.sources.get(&relation.source);
    let real = source.and_then(|source| source.catalog.relation(&relation.real_schema, &relation.real_name));
    let exposed = |name: &str| relation.columns.iter().any(|column| *column.name == *name);
    real.map(|real| real.columns.iter().map(|column| column.name.clone()).filter(|name| !exposed(name)).collect()).unwrap_or_default()
}

/// From now on no value of these columns, in the agent's own rows, may come out.
async fn watch(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation, columns: &[String], what: &str) -> anyhow::Result<()> {
    let Some(own) = own_rows(relation, probe.tenant()) else { return Ok(()) };
    for column in columns {
        let name = identifier(column);
        let filter = if own.is_empty() { " WHERE " } else { " AND " };
        let sql = format!("SELECT {name}::text FROM {}{own}{filter}{name} IS NOT NULL LIMIT {SAMPLED}", real_name(relation));
        // A column that the credential cannot read has no value to look for.
        for value in run.reference(&relation.source, &sql).await?.unwrap_or_default().into_iter().flatten().flatten() {
            probe.watch(&value, || format!("{what} of {}.{column}", real_name(relation)));
        }
    }
    Ok(())
}

async fn named(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation, column: &str, form: &str) -> anyhow::Result<()> {
    let sql = form.replace("{r}", &alias_name(relation)).replace("{c}", &identifier(column));
    let answer = run.ask(probe, &sql).await?;
    if answer.error.is_some() {
        run.findings.pass(&HIDDEN, &probe.scope);
        return Ok(());
    }
    fail(run, probe, relation, &HIDDEN, format!("hidden column {column} can be named: {}", shortened(&sql)));
    Ok(())
}

async fn whole(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation, hidden: &[String], form: &str) -> anyhow::Result<()> {
    let sql = form.replace("{r}", &alias_name(relation));
    let answer = run.ask(probe, &sql).await?;
    if answer.error.is_some() {
        run.findings.tally(&HIDDEN, &probe.scope).refused += 1;
        return Ok(());
    }
    let keys = |value: &str| -> Vec<String> {
        let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value);
        parsed.map(|fields| fields.into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
    };
    let named = answer.rows.iter().flatten().flatten().flat_map(|value| keys(value));
    let shown: Vec<String> =
        answer.columns.iter().cloned().chain(if form.contains("json") { named.collect() } else { Vec::new() }).collect();
    match hidden.iter().find(|name| shown.contains(name)) {
        Some(column) => fail(run, probe, relation, &HIDDEN, format!("hidden column {column} comes out of: {}", shortened(&sql))),
        None => run.findings.pass(&HIDDEN, &probe.scope),
    }
    Ok(())
}

async fn masks(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation) -> anyhow::Result<()> {
    let masked: Vec<_> = relation.columns.iter().filter_map(|column| Some((column, column.mask.as_ref()?))).collect();
    if masked.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = masked.iter().map(|(column, _)| column.name.to_string()).collect();
    watch(run, probe, relation, &names, "the raw value").await?;
    let Some(own) = own_rows(relation, probe.tenant()) else { return Ok(()) };
    let Some(key) = key_list(relation) else {
        run.findings.inconclusive(&MASKS, &probe.scope, format!("{} exposes no whole primary key", alias_name(relation)));
        return Ok(());
    };
    for (column, mask) in masked {
        let name = identifier(&column.name);
        let sql = format!("SELECT {name}::text FROM {}{own} ORDER BY {key} LIMIT {SAMPLED}", real_name(relation));
        let raw = run.reference(&relation.source, &sql).await?.unwrap_or_default();
        let asked = format!("SELECT {name}::text FROM {} ORDER BY {key} LIMIT {SAMPLED}", alias_name(relation));
        let shown = run.ask(probe, &asked).await?.rows;
        let harmless = |value: &str| matches!(mask, Mask::Constant(constant) if **constant == *value);
        let seen = raw
            .iter()
            .flatten()
            .zip(shown.iter().flatten())
            .any(|(raw, shown)| raw.as_ref().is_some_and(|value| raw == shown && !harmless(value)));
        if seen {
            fail(run, probe, relation, &MASKS, format!("column {} comes out unmasked: {}", column.name, shortened(&asked)));
        } else {
            run.findings.pass(&MASKS, &probe.scope);
        }
        for value in raw.iter().flatten().flatten().filter(|value| !harmless(value)) {
            compared(run, probe, relation, &column.name, value).await?;
        }
    }
    Ok(())
}

/// A raw value must find no row by the masked column.
async fn compared(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation, column: &str, value: &str) -> anyhow::Result<()> {
    let sql = format!("SELECT 1 FROM {} WHERE {}::text = {}", alias_name(relation), identifier(column), literal(value));
    let answer = run.ask(probe, &sql).await?;
    if answer.error.is_none() && !answer.rows.is_empty() {
        // The value is the agent's own tenant's, and still not for a report.
        fail(run, probe, relation, &MASKS, format!("a raw value of {column} finds its row"));
    } else {
        run.findings.pass(&MASKS, &probe.scope);
    }
    Ok(())
}

fn fail(run: &mut Run<'_>, probe: &Probe<'_>, relation: &ExposedRelation, check: &'static Check, what: String) {
    let fix = "report it as a vulnerability (SECURITY.md); until it is fixed, take the relation out of the policy".to_owned();
    let place = run.place(relation);
    run.findings.fail(&probe.scope, Finding { check, severity: Severity::Error, subject: probe.subject(relation), what, fix, place });
}
