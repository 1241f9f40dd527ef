//! Whether a stored proposal may be applied: its approvals, and the policy in force, held against its exact content.
//!
//! Nothing here trusts the store. The digest is that of the text that was read back, a signature must be its reviewer's
//! over that digest, and target, tenant, columns and row count must be what the policy lets this agent propose.

use std::collections::BTreeSet;

use super::{Agent, ExposedRelation, ForeignGuard, NotApproved, Occasion, PolicySet, Receipts, RowCheck, TenantRule, Writes};
use crate::{
    proposal::{Approval, Cell, Content, Decider, Operation, Proposal, RowChange, Value},
    types::{Digest, TenantId},
};

/// A change that was approved and that the policy allows. Only [`PolicySet::permit`] makes one, and the source's door for
/// writes accepts nothing else.
#[derive(Debug, Clone)]
pub struct ApprovedChange {
    content: Content,
    digest: Digest,
    approved_by: Box<str>,
    receipts: Receipts,
    guards: Guards,
}

/// What the source is held to besides the change's own guards, by the policy in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// The row filter: what is touched has to pass it.
    pub filter: Option<Box<str>>,
    /// What is made has to pass it as well.
    pub checked: bool,
    /// Schemas that the filter's operators are looked up in, besides `pg_catalog`.
    pub path: Vec<Box<str>>,
    /// Foreign keys whose new references have to be the agent's to make.
    pub foreign: Vec<ForeignGuard>,
}

/// Why a proposal is not applied, whatever the store says of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The decisions do not suffice.
    #[error("it is not approved: {0}")]
    NotApproved(#[from] NotApproved),
    /// The policy in force would not let it be proposed.
    #[error("the policy in force does not allow it: {0}")]
    Policy(&'static str),
}

impl ApprovedChange {
    /// The proposal.
    pub fn proposal(&self) -> &Proposal {
        self.content.proposal()
    }

    /// The digest of its content, recomputed.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Who approved, for the receipt: reviewers' names, or `rule` and the rule.
    pub fn approved_by(&self) -> &str {
        &self.approved_by
    }

    /// What the source is held to besides.
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// Whether it may be applied without a receipt table.
    pub fn receipts(&self) -> Receipts {
        self.receipts
    }
}

impl PolicySet {
    /// The permit to apply `content`, on which these decisions were made, here and now.
    ///
    /// # Errors
    /// Why not; the proposal is then not applied.
    pub fn permit(&self, content: Content, approvals: &[Approval], occasion: &Occasion) -> Result<ApprovedChange, NotPermitted> {
        self.approved(&content, approvals, occasion)?;
        let (agent, relation, writes) = self.allowed(content.proposal()).map_err(NotPermitted::Policy)?;
        let resolution = self.sources.get(&relation.source).map(|source| source.catalog.extensions.resolution());
        let guards = Guards {
            filter: relation.filter.as_ref().map(|filter| filter.text.clone()),
            checked: writes.check == RowCheck::Filter,
            path: resolution.map(|resolution| resolution.path().to_vec()).unwrap_or_default(),
            foreign: self.foreign_guards(agent, relation),
        };
        Ok(ApprovedChange { digest: content.digest(), approved_by: deciders(approvals), receipts: writes.receipts, guards, content })
    }

    /// Whether the policy lets this agent propose it, with the target it names.
    fn allowed(&self, proposal: &Proposal) -> Result<(&Agent, &ExposedRelation, &Writes), &'static str> {
        let agent = self.agents.get(&proposal.proposer.agent).ok_or("there is no such agent")?;
        let target = &proposal.target;
        let schema = agent.schemas.iter().find(|schema| schema.name == target.schema).ok_or("the agent has no such schema")?;
        let relation = schema.relations.get(&target.relation).ok_or("the schema has no such relation")?;
        if (&relation.source, &relation.real_schema, &relation.real_name) != (&target.source, &target.real_schema, &target.real_name) {
            return Err("the relation is another table by now");
        }
        let tenant = match (&relation.tenant, &target.tenant) {
            (TenantRule::Column { name, .. }, Some(guard)) if *name == guard.column => Some(guard),
            (TenantRule::Single, None) => None,
            (TenantRule::Column { .. } | TenantRule::Single, _) => return Err("the tenant guard is not the relation's"),
        };
        if let (Some(bound), Some(guard)) = (&agent.tenant, tenant)
            && *bound != guard.tenant
        {
            return Err("the tenant is not the agent's");
        }
        let writes = relation.writes.as_ref().ok_or("the relation is not written to")?;
        if proposal.changes.is_empty() || proposal.changes.len() as u64 > writes.max_rows {
            return Err("the number of rows is not within writes.max_rows");
        }
        let mut rows = BTreeSet::new();
        for change in &proposal.changes {
            well_formed(change, relation, writes, tenant.map(|guard| (&*guard.column, &guard.tenant)))?;
            if change.operation != Operation::Insert && !rows.insert(key_texts(change)) {
                return Err("a row is changed twice");
            }
        }
        Ok((agent, relation, writes))
    }
}

/// `rule` and the rule that settled it, or the reviewers.
fn deciders(approvals: &[Approval]) -> Box<str> {
    let name = |approval: &Approval| match &approval.decider {
        Decider::Rule { rule } => format!("rule {rule}"),
        Decider::Signature { reviewer, .. } | Decider::ApiKey { reviewer, .. } => reviewer.to_string(),
        Decider::Proposer { agent } => agent.to_string(),
    };
    approvals.iter().map(name).collect::<Vec<_>>().join(", ").into()
}

fn key_texts(change: &RowChange) -> Vec<&str> {
    change.key.iter().filter_map(|cell| cell.value.text()).collect()
}

/// Whether a change has the guards of its operation and writes only what may be written.
fn well_formed(
    change: &RowChange,
    relation: &ExposedRelation,
    writes: &Writes,
    tenant: Option<(&str, &TenantId)>,
) -> Result<(), &'static str> {
    match change.operation {
        Operation::Insert => {
            let theirs = |cell: &&Cell| tenant.is_none_or(|(column, _)| *cell.column != *column);
            let given = change.key.iter().chain(&change.after);
            if let Some((column, tenant)) = tenant
                && given.clone().any(|cell| *cell.column == *column && cell.value != Value::Text(tenant.as_str().into()))
            {
                return Err("a new row has another tenant");
            }
            if writes.insert.is_empty() || given.filter(theirs).any(|cell| !writes.insert.contains(&cell.column)) {
                return Err("a new row has a column that is not in writes.insert");
            }
        }
        Operation::Update => {
            guarded(change, relation, writes)?;
            if change.after.is_empty() || change.after.iter().any(|cell| !writes.update.contains(&cell.column)) {
                return Err("an update assigns a column that is not in writes.update");
            }
            if change.after.iter().any(|cell| !change.before.iter().any(|before| before.column == cell.column)) {
                return Err("an assigned column has no before-image");
            }
        }
        Operation::Delete => {
            guarded(change, relation, writes)?;
            if !writes.delete || !change.after.is_empty() || change.before.is_empty() {
                return Err("a row may not be deleted, or not in this form");
            }
        }
    }
    if twice(&change.before) || twice(&change.after) || twice(&change.key) { Err("a column is named twice") } else { Ok(()) }
}

/// Whether the whole key, the before-images and the conflict column are values to compare with.
fn guarded(change: &RowChange, relation: &ExposedRelation, writes: &Writes) -> Result<(), &'static str> {
    let key: BTreeSet<&str> = change.key.iter().map(|cell| &*cell.column).collect();
    let wanted: BTreeSet<&str> = relation.primary_key.iter().map(|column| &**column).collect();
    if wanted.is_empty() || key != wanted || change.key.iter().any(|cell| cell.value.text().is_none()) {
        return Err("the key is not the relation's primary key");
    }
    if change.before.iter().chain(&change.conflict).any(|cell| cell.value == Value::Default) {
        return Err("a before-image is not a value");
    }
    if change.conflict.as_ref().map(|cell| &cell.column) != writes.conflict_column.as_ref() {
        return Err("the conflict column is not the relation's");
    }
    Ok(())
}

fn twice(cells: &[Cell]) -> bool {
    cells.iter().map(|cell| &cell.column).collect::<BTreeSet<_>>().len() != cells.len()
}
