//! Whether a stored proposal may be applied: its approvals, and the policy in force, held against its exact content.
//!
//! Nothing here trusts the store. The digest is that of the text that was read back, a signature must be its reviewer's
//! over that digest, and target, tenant, columns and row count must be what the policy lets this agent propose.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, VerifyingKey};

use super::{ExposedRelation, PolicySet, Receipts, Reviewer, TenantRule, Writes};
use crate::{
    proposal::{
        Approval, ApprovalError, Cell, Content, Decider, Decision, Operation, Proposal, RowChange, Value, approval_message, approved,
    },
    types::{Digest, ProposalId, ReviewerName, TenantId},
};

/// A change that was approved and that the policy allows. Only [`PolicySet::permit`] makes one, and the source's door for
/// writes accepts nothing else.
#[derive(Debug, Clone)]
pub struct ApprovedChange {
    content: Content,
    digest: Digest,
    approved_by: Box<str>,
    receipts: Receipts,
}

/// Why a proposal is not applied, whatever the store says of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// The decisions do not suffice.
    #[error(transparent)]
    Approvals(#[from] ApprovalError),
    /// Somebody who may not.
    #[error("{reviewer} approved, and {why}")]
    Reviewer {
        /// Who.
        reviewer: ReviewerName,
        /// Why that does not count.
        why: &'static str,
    },
    /// A settlement rule that is not.
    #[error("it was settled by the rule {0}, which the policy in force does not have")]
    Rule(Box<str>),
    /// Nobody may approve it.
    #[error("no approval rule of the policy names {operation} on {relation}")]
    NoRule {
        /// The operation.
        operation: Operation,
        /// `schema.relation`, alias names.
        relation: Box<str>,
    },
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

    /// Whether it may be applied without a receipt table.
    pub fn receipts(&self) -> Receipts {
        self.receipts
    }
}

impl PolicySet {
    /// The permit to apply `content`, on which these decisions were made.
    ///
    /// # Errors
    /// Why not; the proposal is then not applied.
    pub fn permit(&self, content: Content, approvals: &[Approval]) -> Result<ApprovedChange, NotApproved> {
        let (proposal, digest) = (content.proposal(), content.digest());
        approved(approvals, digest, 1)?;
        let approved_by = self.deciders(proposal, digest, approvals)?;
        let writes = self.allowed(proposal).map_err(NotApproved::Policy)?;
        let receipts = writes.receipts;
        Ok(ApprovedChange { digest, approved_by, receipts, content })
    }

    /// Checks each decision, then counts people under the rule of every operation.
    fn deciders(&self, proposal: &Proposal, digest: Digest, approvals: &[Approval]) -> Result<Box<str>, NotApproved> {
        let mut people = BTreeSet::new();
        for approval in approvals {
            match &approval.decider {
                Decider::Rule { rule } => {
                    return if false { Ok(format!("rule {rule}").into()) } else { Err(NotApproved::Rule(rule.clone())) };
                }
                Decider::Signature { reviewer, signature } => {
                    let known = self.reviewer(proposal, reviewer)?;
                    if !signed(known, proposal.id, digest, signature) {
                        return Err(NotApproved::Reviewer {
                            reviewer: reviewer.clone(),
                            why: "the signature is not that reviewer's over this content",
                        });
                    }
                    people.insert(reviewer);
                }
                Decider::ApiKey { reviewer, .. } => {
                    if self.reviewer(proposal, reviewer)?.key.is_some() {
                        return Err(NotApproved::Reviewer {
                            reviewer: reviewer.clone(),
                            why: "the policy asks for that reviewer's signature",
                        });
                    }
                    people.insert(reviewer);
                }
            }
        }
        let operations: BTreeSet<Operation> = proposal.changes.iter().map(|change| change.operation).collect();
        for operation in operations {
            self.quorum(proposal, operation, &people)?;
        }
        Ok(people.iter().map(|reviewer| reviewer.as_str()).collect::<Vec<_>>().join(", ").into())
    }

    fn quorum(&self, proposal: &Proposal, operation: Operation, people: &BTreeSet<&ReviewerName>) -> Result<(), NotApproved> {
        let target = &proposal.target;
        let rule = self.approval_rule(&target.schema, &target.relation, operation);
        let rule =
            rule.ok_or_else(|| NotApproved::NoRule { operation, relation: format!("{}.{}", target.schema, target.relation).into() })?;
        let given = people.iter().filter(|reviewer| rule.reviewers.contains(reviewer)).count();
        let quorum = rule.quorum.max(1);
        if given >= quorum { Ok(()) } else { Err(ApprovalError::Quorum { given, quorum }.into()) }
    }

    /// The reviewer, who is not the proposer's own.
    fn reviewer(&self, proposal: &Proposal, name: &ReviewerName) -> Result<&Reviewer, NotApproved> {
        let refused = |why| NotApproved::Reviewer { reviewer: name.clone(), why };
        let reviewer = self.reviewers.get(name).ok_or_else(|| refused("the policy has no such reviewer"))?;
        if reviewer.agents.contains(&proposal.agent) {
            return Err(refused("the agent that proposed is that reviewer's own"));
        }
        Ok(reviewer)
    }

    /// Whether the policy lets this agent propose it, with the target it names.
    fn allowed(&self, proposal: &Proposal) -> Result<&Writes, &'static str> {
        let agent = self.agents.get(&proposal.agent).ok_or("there is no such agent")?;
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
        Ok(writes)
    }
}

fn signed(reviewer: &Reviewer, id: ProposalId, digest: Digest, signature: &[u8]) -> bool {
    let key = reviewer.key.as_ref().and_then(|key| VerifyingKey::from_bytes(key).ok());
    let signature = Signature::from_slice(signature).ok();
    let message = approval_message(id, digest, Decision::Approve);
    key.zip(signature).is_some_and(|(key, signature)| key.verify_strict(message.as_bytes(), &signature).is_ok())
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
