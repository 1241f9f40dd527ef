//! Foreign keys of a relation that is written to, and which of the rows that they refer to an agent sees: a new reference to a row of
//! another tenant is none that PostgreSQL's own check refuses.

use super::{Agent, ExposedRelation, PolicySet, TenantRule};
use crate::sql::catalog::{CatalogSnapshot, Oid};

/// A foreign key whose referenced rows are not all the agent's to refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignGuard {
    /// The referencing columns.
    pub columns: Vec<Box<str>>,
    /// Schema of the referenced table.
    pub schema: Box<str>,
    /// The referenced table.
    pub name: Box<str>,
    /// The referenced columns, each with its type.
    pub foreign_columns: Vec<(Box<str>, Oid)>,
    /// A referenced row has to be among one of these.
    pub among: Vec<Among>,
    /// Whether the source's own credential may read what is asked.
    pub readable: bool,
}

/// Rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Among {
    /// Those of the tenant, by this column; its base type.
    pub tenant: Option<(Box<str>, Oid)>,
    /// Those that pass this row filter.
    pub filter: Option<Box<str>>,
}

impl PolicySet {
    /// The foreign keys of a relation that an agent's changes are held against.
    pub fn foreign_guards(&self, agent: &Agent, relation: &ExposedRelation) -> Vec<ForeignGuard> {
        let Some(source) = self.sources.get(&relation.source) else { return Vec::new() };
        let catalog = &source.catalog;
        let of_relation =
            catalog.shapes.foreign_keys.iter().filter(|key| *key.schema == *relation.real_schema && *key.relation == *relation.real_name);
        let guards = of_relation.filter_map(|key| {
            let among = self.among(agent, relation, (&key.foreign_schema, &key.foreign_relation), catalog);
            if among.iter().any(|rows| rows.tenant.is_none() && rows.filter.is_none()) {
                return None;
            }
            let real = catalog.relation(&key.foreign_schema, &key.foreign_relation)?;
            let column = |name: &String| {
                let column = real.columns.iter().find(|column| column.name == *name)?;
                Some((name.as_str().into(), column.type_oid))
            };
            Some(ForeignGuard {
                columns: key.columns.iter().map(|name| name.as_str().into()).collect(),
                schema: key.foreign_schema.as_str().into(),
                name: key.foreign_relation.as_str().into(),
                foreign_columns: key.foreign_columns.iter().map(column).collect::<Option<_>>()?,
                among,
                readable: real.readable,
            })
        });
        guards.collect()
    }

    /// The rows of a table that the agent may refer to: those it sees; of a table that it does not see, the tenant's, where another
    /// relation of the policy, or the name of the tenant's column, says which these are. Otherwise all.
    fn among(&self, agent: &Agent, relation: &ExposedRelation, (schema, name): (&str, &str), catalog: &CatalogSnapshot) -> Vec<Among> {
        let is_it =
            |other: &&ExposedRelation| other.source == relation.source && *other.real_schema == *schema && *other.real_name == *name;
        let exposed = |agent: &Agent| -> Vec<Among> {
            let relations = agent.schemas.iter().flat_map(|schema| schema.relations.values()).map(AsRef::as_ref).filter(is_it);
            let rows =
                relations.map(|other| Among { tenant: tenant(other), filter: other.filter.as_ref().map(|filter| filter.text.clone()) });
            rows.collect()
        };
        let own = exposed(agent);
        if !own.is_empty() {
            return own;
        }
        if let Some(rows) = self.agents.values().flat_map(|other| exposed(other)).find(|rows| rows.tenant.is_some()) {
            return vec![Among { filter: None, ..rows }];
        }
        let by_name = tenant(relation).and_then(|(column, _)| {
            let real = catalog.relation(schema, name)?;
            let found = real.columns.iter().find(|known| *known.name == *column)?;
            Some((column, catalog.base_type(found.type_oid)))
        });
        vec![Among { tenant: by_name, filter: None }]
    }
}

fn tenant(relation: &ExposedRelation) -> Option<(Box<str>, Oid)> {
    match &relation.tenant {
        TenantRule::Column { name, type_oid, .. } => Some((name.clone(), *type_oid)),
        TenantRule::Single => None,
    }
}
