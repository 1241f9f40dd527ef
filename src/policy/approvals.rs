//! Who may decide on a proposal, and whether the decisions that were made are enough to apply it.
//! The control API asks before it stores a decision; a worker asks again before it touches the source.

use std::{collections::BTreeSet, time::Duration};

use ed25519_dalek::{Signature, VerifyingKey};

use super::PolicySet;
use crate::{
    proposal::{Approval, ApprovalError, Content, Decider, Decision, Operation, Proposal, Proposer, approved, decision_message},
    types::{Deployment, ReviewerName, StoreId},
};

/// How far the clocks of a reviewer, a proxy and a worker may be apart. Unit: milliseconds.
const SKEW: i64 = 5 * 60 * 1000;

/// Where and when decisions are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// The deployment in which they have to be made.
    pub deployment: Deployment,
    /// Unit: milliseconds since the Unix epoch.
    pub now: i64,
}

/// Who may decide on a proposal, and how many it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    /// The reviewers, any of whom may approve or reject. Never the proposer's own.
    pub reviewers: Vec<ReviewerName>,
    /// How many distinct ones must approve, at least 1.
    pub quorum: usize,
}

/// Why nobody can approve a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApprovable {
    /// No rule is for it.
    #[error("no approval rule of the policy is for {operation} of {relation}")]
    NoRule {
        /// `schema.relation`, alias names.
        relation: String,
        /// The operation.
        operation: Operation,
    },
    /// The rules ask for more people than there are.
    #[error("{quorum} approvals are needed and {reviewers} reviewers may give one (a proposer's own reviewer may not)")]
    TooFew {
        /// Reviewers who may.
        reviewers: usize,
        /// How many are needed.
        quorum: usize,
    },
}

/// Why a decision does not count, or decisions are not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// Nobody may approve it.
    #[error(transparent)]
    NotApprovable(#[from] NotApprovable),
    /// Not enough, or against.
    #[error(transparent)]
    Decisions(#[from] ApprovalError),
    /// The person may not.
    #[error("{0} may not decide on this proposal")]
    NotReviewer(ReviewerName),
    /// The person has a key, and the decision no signature of it.
    #[error("{0} has a key in the policy: the decision must be signed with it")]
    Unsigned(ReviewerName),
    /// The signature is not over this proposal, digest and decision, or by another key.
    #[error("the signature is not {0}'s over this decision")]
    BadSignature(ReviewerName),
    /// It belongs to another deployment.
    #[error("it was proposed in deployment {0}, and this is another")]
    OtherDeployment(Deployment),
    /// The approval has ended.
    #[error("the approval by {0} has ended: approve it again")]
    Over(String),
    /// The approval has no end, or one that is too far away.
    #[error("an approval must say when it ends, within {0:?} (`approvals.valid_for` of the policy)")]
    TooLong(Duration),
    /// The API key that carried the decision was revoked since.
    #[error("the API key by which {0} approved it was revoked")]
    RevokedKey(ReviewerName),
    /// A proposer approves nothing.
    #[error("a proposer decides nothing but to take its own proposal back")]
    ByProposer,
    /// A settlement rule that the policy does not have for this proposal.
    #[error("the policy has no settlement rule {0} for this proposal")]
    NoSettlement(String),
    /// A settlement rule that does not permit this proposal.
    #[error("settlement rule {0} does not permit this proposal")]
    NotSettled(String),
}

impl PolicySet {
    /// Who may decide: the reviewers that the rules of every operation in the proposal name, less the proposer's own; as many
    /// as the rule that asks for most.
    pub fn approvals_needed(&self, proposal: &Proposal) -> Result<Approvers, NotApprovable> {
        let target = &proposal.target;
        let mut quorum = 1;
        let mut reviewers: Option<Vec<ReviewerName>> = None;
        let operations: BTreeSet<Operation> = proposal.changes.iter().map(|change| change.operation).collect();
        for operation in operations {
            let rule = self.approval_rule(&target.schema, &target.relation, operation);
            let relation = || format!("{}.{}", target.schema, target.relation);
            let rule = rule.ok_or_else(|| NotApprovable::NoRule { relation: relation(), operation })?;
            quorum = quorum.max(rule.quorum);
            let before = reviewers.take().unwrap_or_else(|| rule.reviewers.clone());
            reviewers = Some(before.into_iter().filter(|name| rule.reviewers.contains(name)).collect());
        }
        let reviewers: Vec<_> = reviewers.unwrap_or_default().into_iter().filter(|name| !self.is_own(name, proposal)).collect();
        if reviewers.len() < quorum {
            Err(NotApprovable::TooFew { reviewers: reviewers.len(), quorum })
        } else {
            Ok(Approvers { reviewers, quorum })
        }
    }

    /// Where and when decisions are looked at under this policy.
    pub fn occasion(&self, store: StoreId, now: i64) -> Occasion {
        Occasion { deployment: Deployment::new(self.deployment.as_deref(), store), now }
    }

    /// Whether one decision counts: its maker may decide, signed if it must be, or is a rule that permits; it is made in this
    /// deployment, and an approval is not over.
    pub fn check_decision(&self, content: &Content, approval: &Approval, occasion: &Occasion) -> Result<(), NotApproved> {
        if approval.digest != content.digest() {
            return Err(ApprovalError::OtherContent.into());
        }
        let proposal = content.proposal();
        if let Some(other) = proposal.deployment.as_ref().filter(|deployment| **deployment != occasion.deployment) {
            return Err(NotApproved::OtherDeployment(other.clone()));
        }
        if approval.decision == Decision::Approve {
            self.check_end(approval, occasion.now)?;
        }
        let reviewer = match &approval.decider {
            Decider::Rule { rule } => return self.check_settlement(proposal, rule, approval.at),
            Decider::Proposer { agent } if approval.decision == Decision::Cancel && *agent == proposal.proposer.agent => return Ok(()),
            Decider::Proposer { .. } => return Err(NotApproved::ByProposer),
            Decider::Signature { reviewer, .. } | Decider::ApiKey { reviewer, .. } => reviewer,
        };
        let may = match approval.decision {
            Decision::Approve | Decision::Reject => self.approvals_needed(proposal).is_ok_and(|who| who.reviewers.contains(reviewer)),
            Decision::Cancel => self.may_cancel(reviewer, proposal),
        };
        let Some(known) = self.reviewers.get(reviewer).filter(|_| may) else {
            // Says why when it is not about the person.
            self.approvals_needed(proposal)?;
            return Err(NotApproved::NotReviewer(reviewer.clone()));
        };
        if approval.revoked {
            return Err(NotApproved::RevokedKey(reviewer.clone()));
        }
        match (&approval.decider, known.key) {
            (Decider::Signature { signature, .. }, Some(key)) => {
                let until = approval.until.filter(|_| approval.decision == Decision::Approve);
                let message = decision_message(&occasion.deployment, proposal.id, approval.digest, approval.decision, until);
                let genuine = Signature::from_slice(signature)
                    .and_then(|signature| VerifyingKey::from_bytes(&key)?.verify_strict(message.as_bytes(), &signature));
                genuine.map_err(|_not_genuine| NotApproved::BadSignature(reviewer.clone()))
            }
            (Decider::Signature { .. }, None) => Err(NotApproved::BadSignature(reviewer.clone())),
            (Decider::ApiKey { .. } | Decider::Rule { .. } | Decider::Proposer { .. }, Some(_)) => {
                Err(NotApproved::Unsigned(reviewer.clone()))
            }
            (Decider::ApiKey { .. } | Decider::Rule { .. } | Decider::Proposer { .. }, None) => Ok(()),
        }
    }

    /// The latest end that an approval may have which is made now. Unit: milliseconds since the Unix epoch.
    pub fn latest_end(&self, now: i64) -> i64 {
        now.saturating_add(i64::try_from(self.approvals_valid_for.as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether an approval has not ended, and ends within the policy's time. A signature covers its own end; what has none ends
    /// by the time at which it was made.
    fn check_end(&self, approval: &Approval, now: i64) -> Result<(), NotApproved> {
        let until = match (approval.until, &approval.decider) {
            (Some(until), _) => until,
            (None, Decider::Signature { .. }) => return Err(NotApproved::TooLong(self.approvals_valid_for)),
            (None, Decider::ApiKey { .. } | Decider::Rule { .. } | Decider::Proposer { .. }) => self.latest_end(approval.at),
        };
        if until > self.latest_end(now).saturating_add(SKEW) {
            return Err(NotApproved::TooLong(self.approvals_valid_for));
        }
        if until <= now {
            let by = match &approval.decider {
                Decider::Rule { rule } => format!("rule {rule}"),
                Decider::Proposer { agent } => agent.to_string(),
                Decider::Signature { reviewer, .. } | Decider::ApiKey { reviewer, .. } => reviewer.to_string(),
            };
            return Err(NotApproved::Over(by));
        }
        Ok(())
    }

    /// Whether these decisions let a proposal be applied, here and now, under this policy: each counts, they are enough, and
    /// nobody rejected it or took it back.
    pub fn approved(&self, content: &Content, approvals: &[Approval], occasion: &Occasion) -> Result<(), NotApproved> {
        // Whether somebody was allowed to say no is not asked: no is no.
        if approvals.iter().any(|approval| approval.decision != Decision::Approve) {
            let refused = approved(approvals, content.digest(), usize::MAX);
            return Err(refused.err().unwrap_or(ApprovalError::Canceled).into());
        }
        for approval in approvals {
            self.check_decision(content, approval, occasion)?;
        }
        let settled = approvals.iter().any(|approval| matches!(approval.decider, Decider::Rule { .. }));
        let quorum = if settled { 1 } else { self.approvals_needed(content.proposal())?.quorum };
        Ok(approved(approvals, content.digest(), quorum)?)
    }

    /// A rule's approval is believed when the rule would permit the proposal as the first one of its day: what it settled
    /// before is the store's knowledge.
    fn check_settlement(&self, proposal: &Proposal, rule: &str, at: i64) -> Result<(), NotApproved> {
        let known = self.settlements.iter().find(|known| known.name() == rule && known.covers(proposal));
        let known = known.ok_or_else(|| NotApproved::NoSettlement(rule.to_owned()))?;
        if known.permits_alone(proposal, at) { Ok(()) } else { Err(NotApproved::NotSettled(rule.to_owned())) }
    }

    /// Whether a reviewer may stop a proposal that nobody has begun to apply: whoever may decide on it, and the proposer's own.
    pub fn may_cancel(&self, reviewer: &ReviewerName, proposal: &Proposal) -> bool {
        let decides = || self.approvals_needed(proposal).is_ok_and(|who| who.reviewers.contains(reviewer));
        self.reviewers.contains_key(reviewer) && (self.is_own(reviewer, proposal) || decides())
    }

    /// Whether a reviewer is the one who proposed: the agent, an agent of the reviewer's, or the person that the agent's
    /// token named.
    fn is_own(&self, reviewer: &ReviewerName, proposal: &Proposal) -> bool {
        let Proposer { agent, subject, .. } = &proposal.proposer;
        // One person, however an issuer writes it: who is taken for the proposer in doubt loses one vote.
        let same = |one: &str, other: &str| one.trim().to_lowercase() == other.trim().to_lowercase();
        let is_named = |name: &str| same(reviewer.as_str(), name);
        let known = self.reviewers.get(reviewer);
        is_named(agent.as_str())
            || subject.as_deref().is_some_and(is_named)
            || known.is_some_and(|known| {
                let is_principal = |subject: &str| known.principals.iter().any(|principal| same(principal, subject));
                known.agents.contains(agent) || subject.as_deref().is_some_and(is_principal)
            })
    }
}
