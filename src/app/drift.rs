//! Where a source is no longer what the policy in force was compiled from, in alias names: an operator's page may be read by many.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    policy::{ExposedRelation, PolicySet, TenantRule},
    sql::catalog::CatalogSnapshot,
    types::SourceName,
};

/// What the policy cannot bear: relations, columns and types that it needs and the catalog does not have.
pub(super) fn drift(policy: &PolicySet, source: &SourceName, catalog: &CatalogSnapshot) -> Vec<String> {
    relations(policy, source).into_iter().flat_map(|(alias, relation)| missing(&alias, &relation, catalog)).collect()
}

/// The alias names of these relations of the source.
pub(super) fn aliases(policy: &PolicySet, source: &SourceName, real: &[(String, String)]) -> Vec<String> {
    let known =
        |relation: &ExposedRelation| real.iter().any(|(schema, name)| **schema == *relation.real_schema && **name == *relation.real_name);
    relations(policy, source).into_iter().filter(|(_, relation)| known(relation)).map(|(alias, _)| alias).collect()
}

/// Every relation that somebody sees, by its alias name.
fn relations(policy: &PolicySet, source: &SourceName) -> BTreeMap<String, Arc<ExposedRelation>> {
    let schemas = policy.agents.values().flat_map(|agent| &agent.schemas).filter(|schema| schema.source == *source);
    let relations = schemas.flat_map(|schema| schema.relations.values());
    relations.map(|relation| (format!("{}.{}", relation.schema, relation.name), Arc::clone(relation))).collect()
}

fn missing(alias: &str, relation: &ExposedRelation, catalog: &CatalogSnapshot) -> Vec<String> {
    let real = catalog.relations.iter().find(|real| real.schema == *relation.real_schema && real.name == *relation.real_name);
    let Some(real) = real else { return vec![format!("{alias}: the relation is not there")] };
    let mut found = Vec::new();
    for column in &relation.columns {
        match real.columns.iter().find(|real| real.name == *column.name) {
            None => found.push(format!("{alias}.{}: the column is not there", column.name)),
            Some(real) if !real.readable => found.push(format!("{alias}.{}: the column may not be read", column.name)),
            Some(real) if real.type_oid != column.type_oid => found.push(format!("{alias}.{}: the column has another type", column.name)),
            Some(_) => {}
        }
    }
    if let TenantRule::Column { name, .. } = &relation.tenant
        && !real.columns.iter().any(|real| real.name == **name && real.readable)
    {
        found.push(format!("{alias}: the column that tells tenants apart is not there, or may not be read"));
    }
    found
}
