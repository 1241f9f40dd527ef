//! Generated statements through pgwicket, held against the tenant's rows alone on the source.

use super::{
    finding::{Check, PLANNER, STATEMENTS},
    generate::{Generator, Material},
    reference::{alias_name, foreign_rows, identifier, materialised, own_rows, plain_columns, real_name},
    session::{Probe, Run},
};

/// Rows of each side whose values become constants.
const SAMPLED: u64 = 8;

/// Predicates that fail on some rows, and statements that fail on none.
pub(super) async fn probe(run: &mut Run<'_>, probe: &mut Probe<'_>) -> anyhow::Result<()> {
    let materials = materials(run, probe).await?;
    let mut generator = Generator::new(&materials, run.seed);
    for (check, count) in [(&PLANNER, run.statements), (&STATEMENTS, run.statements)] {
        let check: &'static Check = check;
        let mut left = count;
        // Some shapes need a key or a second relation that fits; they are tried again as another shape.
        for _ in 0..count.saturating_mul(4) {
            if left == 0 {
                break;
            }
            let made = if *check == PLANNER { generator.leak() } else { generator.statement() };
            let Some(made) = made else { continue };
            left -= 1;
            let asked = made.with(|at| materials.get(at).map_or_else(String::new, |material| alias_name(&material.relation)));
            let alone = made.reference(|at| format!("r{at}"));
            let mut used = made.relations.clone();
            used.sort_unstable();
            used.dedup();
            let tables = used.iter().filter_map(|at| materialised(&materials.get(*at)?.relation, probe.tenant(), &format!("r{at}")));
            let direct = format!("WITH {} {alone}", tables.collect::<Vec<_>>().join(", "));
            let Some(first) = made.relations.first().and_then(|at| materials.get(*at)) else { continue };
            run.agree(probe, check, &first.relation, &asked, &direct).await?;
        }
    }
    Ok(())
}

/// The agent's relations that have rows to look at, with constants from both sides of the fence.
async fn materials(run: &mut Run<'_>, probe: &Probe<'_>) -> anyhow::Result<Vec<Material>> {
    let mut materials: Vec<Material> = Vec::new();
    for relation in &probe.relations {
        // Relations of another source cannot be in one statement with these.
        if materials.first().is_some_and(|first| first.relation.source != relation.source) {
            continue;
        }
        let Some(own) = own_rows(relation, probe.tenant()) else { continue };
        let names: Vec<String> = plain_columns(relation).map(|column| column.name.to_string()).collect();
        let columns = names.iter().map(|name| format!("{}::text", identifier(name))).collect::<Vec<_>>().join(", ");
        let mut sides = [Vec::new(), Vec::new()];
        for (side, condition) in sides.iter_mut().zip([Some(own), foreign_rows(relation, probe.tenant())]) {
            let Some(condition) = condition else { continue };
            let sql = format!("SELECT {columns} FROM {}{condition} LIMIT {SAMPLED}", real_name(relation));
            for row in run.reference(&relation.source, &sql).await?.unwrap_or_default() {
                let values = names.iter().cloned().zip(row);
                side.push(values.filter_map(|(name, value)| Some((name, value.filter(|value| value.len() <= 100)?))).collect::<Vec<_>>());
            }
        }
        let [own, foreign] = sides;
        let samples = own.iter().chain(&foreign).flatten().cloned().collect();
        if !names.is_empty() {
            materials.push(Material { relation: relation.clone(), samples, foreign });
        }
    }
    Ok(materials)
}
