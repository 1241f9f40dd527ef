//! What an agent ought to see of a relation, computed on the source without pgwicket, and quoting.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::policy::{ExposedColumn, ExposedRelation, TenantRule};

/// `"name"`
pub(super) fn identifier(name: &str) -> String {
    escape_identifier(name)
}

/// `'text'`
pub(super) fn literal(text: &str) -> String {
    escape_literal(text).trim_start().to_owned()
}

/// `"schema"."relation"` as the source knows it.
pub(super) fn real_name(relation: &ExposedRelation) -> String {
    format!("{}.{}", identifier(&relation.real_schema), identifier(&relation.real_name))
}

/// `"schema"."relation"` as agents know it.
pub(super) fn alias_name(relation: &ExposedRelation) -> String {
    format!("{}.{}", identifier(&relation.schema), identifier(&relation.name))
}

/// The columns whose values an agent sees as they are.
pub(super) fn plain_columns(relation: &ExposedRelation) -> impl Iterator<Item = &ExposedColumn> {
    relation.columns.iter().filter(|column| column.mask.is_none())
}

/// Those columns' names, quoted, joined.
pub(super) fn plain_list(relation: &ExposedRelation) -> String {
    plain_columns(relation).map(|column| identifier(&column.name)).collect::<Vec<_>>().join(", ")
}

/// The primary key's columns, quoted; `None` when it is not there or a part of it is masked.
pub(super) fn key_names(relation: &ExposedRelation) -> Option<Vec<String>> {
    let plain = |name: &str| plain_columns(relation).any(|column| *column.name == *name);
    let whole = !relation.primary_key.is_empty() && relation.primary_key.iter().all(|name| plain(name));
    whole.then(|| relation.primary_key.iter().map(|name| identifier(name)).collect())
}

/// [`key_names`], joined.
pub(super) fn key_list(relation: &ExposedRelation) -> Option<String> {
    key_names(relation).map(|names| names.join(", "))
}

/// The rows of a tenant by the policy: ` WHERE …` over the real relation; `None` for an agent without a tenant.
pub(super) fn own_rows(relation: &ExposedRelation, tenant: Option<&str>) -> Option<String> {
    let mut conditions = Vec::new();
    if let TenantRule::Column { name, .. } = &relation.tenant {
        conditions.push(format!("{} = {}", identifier(name), literal(tenant?)));
    }
    conditions.extend(relation.filter.iter().map(|filter| format!("({})", filter.text)));
    Some(if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) })
}

/// The rows of the other tenants: ` WHERE …`; `None` where the policy knows no tenants.
pub(super) fn foreign_rows(relation: &ExposedRelation, tenant: Option<&str>) -> Option<String> {
    match &relation.tenant {
        TenantRule::Column { name, .. } => Some(format!(" WHERE {} IS DISTINCT FROM {}", identifier(name), literal(tenant?))),
        TenantRule::Single => None,
    }
}

/// `name AS MATERIALIZED (…)`: the tenant's rows, in plain columns, computed before anything else looks at them.
pub(super) fn materialised(relation: &ExposedRelation, tenant: Option<&str>, name: &str) -> Option<String> {
    Some(format!("{name} AS MATERIALIZED (SELECT {} FROM {}{})", plain_list(relation), real_name(relation), own_rows(relation, tenant)?))
}
