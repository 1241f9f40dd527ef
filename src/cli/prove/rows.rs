//! Probes of rows: what an agent sees is its tenant's rows, all of them and no other, whichever way it asks.

use super::{
    finding::{Finding, KEYS, ROWS, Severity},
    reference::{alias_name, foreign_rows, identifier, key_list, key_names, literal, materialised, plain_list, real_name},
    session::{Probe, Run, shortened},
};
use crate::policy::ExposedRelation;

/// Rows compared value by value at most.
const COMPARED: u64 = 200;
/// Rows of other tenants that are asked for.
const SAMPLED: usize = 5;

/// Rows and keys of every relation.
pub(super) async fn probe(run: &mut Run<'_>, probe: &mut Probe<'_>) -> anyhow::Result<()> {
    for relation in probe.relations.clone() {
        let Some(rows) = materialised(&relation, probe.tenant(), "r") else {
            let why = format!("the policy binds {} to no tenant", probe.scope);
            run.findings.skip(&ROWS, &probe.subject(&relation), why, "give the agent a `tenant`");
            continue;
        };
        let alias = alias_name(&relation);
        let counted = format!("WITH {rows} SELECT count(*) FROM r");
        run.agree(probe, &ROWS, &relation, &format!("SELECT count(*) FROM {alias}"), &counted).await?;
        if let Some(key) = key_names(&relation) {
            let limit = relation.max_rows.unwrap_or(COMPARED).min(COMPARED);
            let columns = plain_list(&relation);
            for order in ["ASC", "DESC"] {
                let key = key.iter().map(|name| format!("{name} {order}")).collect::<Vec<_>>().join(", ");
                let rest = format!("ORDER BY {key} LIMIT {limit}");
                let direct = format!("WITH {rows} SELECT {columns} FROM r {rest}");
                run.agree(probe, &ROWS, &relation, &format!("SELECT {columns} FROM {alias} {rest}"), &direct).await?;
            }
        } else {
            run.findings.inconclusive(&ROWS, &probe.scope, format!("{alias} exposes no whole primary key: its rows were only counted"));
        }
        watch_foreign(run, probe, &relation).await?;
        keys(run, probe, &relation).await?;
    }
    Ok(())
}

/// From now on no value of these rows may come out.
async fn watch_foreign(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation) -> anyhow::Result<()> {
    let Some(condition) = foreign_rows(relation, probe.tenant()) else { return Ok(()) };
    let Some(known) = run.policy.sources.get(&relation.source) else { return Ok(()) };
    let Some(real) = known.catalog.relation(&relation.real_schema, &relation.real_name) else { return Ok(()) };
    let names: Vec<String> = real.columns.iter().filter(|column| column.readable).map(|column| column.name.clone()).collect();
    let columns = names.iter().map(|name| format!("{}::text", identifier(name))).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {columns} FROM {}{condition} LIMIT {SAMPLED}", real_name(relation));
    for row in run.reference(&relation.source, &sql).await?.unwrap_or_default() {
        for (name, value) in names.iter().zip(row) {
            if let Some(value) = value {
                probe.watch(&value, || format!("a value of {name} of another tenant's row of {}", real_name(relation)));
            }
        }
    }
    Ok(())
}

/// Other tenants' keys find nothing.
async fn keys(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation) -> anyhow::Result<()> {
    let Some(condition) = foreign_rows(relation, probe.tenant()) else { return Ok(()) };
    let Some(key) = key_list(relation) else {
        run.findings.skip(
            &KEYS,
            &probe.subject(relation),
            "it exposes no whole primary key",
            "expose the key, or name one in `primary_key`",
        );
        return Ok(());
    };
    let sampled = format!("SELECT {key} FROM {}{condition} ORDER BY {key} LIMIT {SAMPLED}", real_name(relation));
    let found = run.reference(&relation.source, &sampled).await?.unwrap_or_default();
    if found.is_empty() {
        run.findings.skip(&KEYS, &probe.subject(relation), "the source has no row of another tenant in it", "add rows of a second tenant");
    }
    for row in found {
        let same = relation
            .primary_key
            .iter()
            .zip(&row)
            .filter_map(|(name, value)| value.as_ref().map(|value| (identifier(name), literal(value))));
        let same: Vec<(String, String)> = same.collect();
        let equal = same.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(" AND ");
        let within = same.iter().map(|(name, value)| format!("{name} IN ({value})")).collect::<Vec<_>>().join(" AND ");
        for condition in [&equal, &within] {
            one_key(run, probe, relation, condition).await?;
        }
    }
    Ok(())
}

async fn one_key(run: &mut Run<'_>, probe: &mut Probe<'_>, relation: &ExposedRelation, condition: &str) -> anyhow::Result<()> {
    let sql = format!("SELECT * FROM {} WHERE {condition}", alias_name(relation));
    let answer = run.ask(probe, &sql).await?;
    if answer.error.is_some() {
        let why = format!("{}: {}", answer.outcome(), shortened(&sql));
        run.findings.inconclusive(&KEYS, &probe.scope, why);
        return Ok(());
    }
    // A key that the policy names need not be unique over tenants.
    let own = materialised(relation, probe.tenant(), "r").unwrap_or_default();
    let direct = run.reference(&relation.source, &format!("WITH {own} SELECT FROM r WHERE {condition}")).await?;
    if answer.rows.len() == direct.map_or(0, |rows| rows.len()) {
        run.findings.pass(&KEYS, &probe.scope);
        return Ok(());
    }
    let what = format!("a row came back by a key of another tenant: {}", shortened(&sql));
    let fix = "report it as a vulnerability (SECURITY.md); until it is fixed, take the relation out of the policy".to_owned();
    let place = run.place(relation);
    run.findings
        .fail(&probe.scope, Finding { check: &KEYS, severity: Severity::Error, subject: probe.subject(relation), what, fix, place });
    Ok(())
}
