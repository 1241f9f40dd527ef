//! Relation names: the agent's alias schemas and nothing else.

use std::sync::Arc;

use super::{Refusal, RefusalCode, kernel::Scope};
use crate::{
    policy::{Agent, ExposedRelation},
    sql::Node,
};

/// The alias schema in which pgwicket describes itself.
pub(super) const OWN_SCHEMA: &str = "pgwicket";

/// What a name in FROM stands for.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A CTE in scope.
    Cte,
    /// A relation of the policy.
    Exposed(Arc<ExposedRelation>),
    /// `pgwicket.relations`
    OwnRelations,
    /// `pgwicket.columns`
    OwnColumns,
    /// `pgwicket.proposals`
    OwnProposals,
    /// `pgwicket.proposal_changes`
    OwnChanges,
}

/// Resolves a `RangeVar`. A name that the policy does not expose answers as a name that is nowhere.
pub(super) fn resolve(node: &Node, scope: &Scope, agent: &Agent, search_path: &[Box<str>]) -> Result<Target, Refusal> {
    let (catalog, schema, name) = (node.text("catalogname")?, node.text("schemaname")?, node.text("relname")?);
    if !catalog.is_empty() {
        // The database's own name is gone.
        let message = format!("cross-database references are not implemented: \"{catalog}.{schema}.{name}\"");
        return Err(Refusal::new(RefusalCode::Unsupported, message).hint("write schema.relation"));
    }
    if schema.is_empty() && scope.has(name) {
        return Ok(Target::Cte);
    }
    match (schema, name) {
        (OWN_SCHEMA, "relations") => return Ok(Target::OwnRelations),
        (OWN_SCHEMA, "columns") => return Ok(Target::OwnColumns),
        (OWN_SCHEMA, "proposals") => return Ok(Target::OwnProposals),
        (OWN_SCHEMA, "proposal_changes") => return Ok(Target::OwnChanges),
        (_, _) => {}
    }
    let in_schema = |wanted: &str| agent.schemas.iter().find(|known| *known.name == *wanted).and_then(|known| known.relations.get(name));
    let found = if schema.is_empty() { search_path.iter().find_map(|schema| in_schema(schema)) } else { in_schema(schema) };
    found.cloned().map(Target::Exposed).ok_or_else(|| undefined(schema, name, agent))
}

/// Catalogs of PostgreSQL that no ordinary role reads.
const UNREADABLE: [(&str, &str); 12] = [
    ("table", "pg_authid"),
    ("table", "pg_largeobject"),
    ("table", "pg_statistic"),
    ("table", "pg_statistic_ext_data"),
    ("table", "pg_user_mapping"),
    ("view", "pg_backend_memory_contexts"),
    ("view", "pg_config"),
    ("view", "pg_file_settings"),
    ("view", "pg_hba_file_rules"),
    ("view", "pg_ident_file_mappings"),
    ("view", "pg_shadow"),
    ("view", "pg_shmem_allocations"),
];

fn undefined(schema: &str, name: &str, agent: &Agent) -> Refusal {
    let written = if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") };
    if matches!(schema, "" | "pg_catalog")
        && let Some((kind, _)) = UNREADABLE.iter().find(|(_, known)| *known == name)
    {
        return Refusal::new(RefusalCode::Denied, format!("permission denied for {kind} {name}"));
    }
    let refusal = Refusal::new(RefusalCode::UndefinedTable, format!("relation \"{written}\" does not exist"));
    if matches!(schema, "pg_catalog" | "information_schema") || (schema.is_empty() && name.starts_with("pg_")) {
        return refusal.hint(
            "this part of the system catalogs is not shown; SELECT * FROM pgwicket.relations and pgwicket.columns say what you may read",
        );
    }
    let elsewhere = agent.schemas.iter().find(|known| known.relations.contains_key(name));
    match elsewhere {
        Some(known) => refusal.hint(format!("there is {}.{name}", known.name)),
        None => refusal.hint("SELECT * FROM pgwicket.relations lists what you may read"),
    }
}

impl From<crate::sql::Misread> for Refusal {
    fn from(misread: crate::sql::Misread) -> Self {
        Self::new(RefusalCode::Unverified, format!("the statement's tree was not read: {misread}"))
    }
}
