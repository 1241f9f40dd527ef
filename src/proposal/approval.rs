//! Who said yes or no to a proposal, and when that is enough.

use std::{collections::BTreeSet, str::FromStr};

use crate::types::{AgentName, Deployment, Digest, ProposalId, ReviewerName};

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No. One is enough.
    Reject,
    /// It is taken back, also after it was approved.
    Cancel,
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decider {
    /// A reviewer, by an Ed25519 signature over [`decision_message`].
    Signature {
        /// Whose key it is.
        reviewer: ReviewerName,
        /// The signature, 64 bytes (RFC 8032).
        signature: Box<[u8]>,
    },
    /// A reviewer, by the API key that carried the decision.
    ApiKey {
        /// Whose key it is.
        reviewer: ReviewerName,
        /// The key's id.
        key: Box<str>,
    },
    /// A settlement rule of the policy.
    Rule {
        /// The rule's id.
        rule: Box<str>,
    },
    /// The proposer, who takes back what it proposed.
    Proposer {
        /// The agent.
        agent: AgentName,
    },
}

/// One decision on a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Yes or no.
    pub decision: Decision,
    /// Who.
    pub decider: Decider,
    /// The digest of the content that was decided on.
    pub digest: Digest,
    /// Why.
    pub reason: Option<Box<str>>,
    /// When. Unit: milliseconds since the Unix epoch.
    pub at: i64,
    /// When an approval ends: from then on it lets nothing be applied. `None` for what does not end, and where the policy alone
    /// says how long an approval counts. Unit: milliseconds since the Unix epoch.
    pub until: Option<i64>,
    /// Whether the API key that carried it was revoked since.
    pub revoked: bool,
}

/// Why approvals are not enough to apply a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// Somebody approved other content.
    #[error("an approval is for other content than this proposal's")]
    OtherContent,
    /// It was rejected.
    #[error("it was rejected")]
    Rejected,
    /// It was taken back.
    #[error("it was canceled")]
    Canceled,
    /// Too few people.
    #[error("{given} of {quorum} approvals")]
    Quorum {
        /// Distinct people who approved.
        given: usize,
        /// How many are needed.
        quorum: usize,
    },
}

impl Decision {
    /// The word for it in JSON, SQL and tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Cancel => "cancel",
        }
    }
}

impl FromStr for Decision {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Approve, Self::Reject, Self::Cancel].into_iter().find(|known| known.word() == word).ok_or(())
    }
}

impl Decider {
    /// The reviewer, unless a rule decided or the proposer.
    pub fn reviewer(&self) -> Option<&ReviewerName> {
        match self {
            Self::Signature { reviewer, .. } | Self::ApiKey { reviewer, .. } => Some(reviewer),
            Self::Rule { .. } | Self::Proposer { .. } => None,
        }
    }
}

/// What a reviewer signs: in which deployment, on which proposal and exact content, what, and until when it counts (milliseconds
/// since the Unix epoch; a rejection and a cancel have no end).
pub fn decision_message(deployment: &Deployment, proposal: ProposalId, digest: Digest, decision: Decision, until: Option<i64>) -> String {
    let until = until.map_or_else(|| "always".to_owned(), |until| until.to_string());
    format!("pgwicket proposal decision, version 2\n{deployment}\n{proposal}\n{digest}\n{}\n{until}\n", decision.word())
}

/// Whether these decisions are enough: a settlement rule, or `quorum` distinct people, all on this content, none against. What
/// came by a key that was revoked since counts for nothing. The caller has checked each signature.
pub fn approved(approvals: &[Approval], digest: Digest, quorum: usize) -> Result<(), ApprovalError> {
    if approvals.iter().any(|approval| approval.decision == Decision::Cancel) {
        return Err(ApprovalError::Canceled);
    }
    if approvals.iter().any(|approval| approval.decision == Decision::Reject) {
        return Err(ApprovalError::Rejected);
    }
    if approvals.iter().any(|approval| approval.digest != digest) {
        return Err(ApprovalError::OtherContent);
    }
    if approvals.iter().any(|approval| matches!(approval.decider, Decider::Rule { .. })) {
        return Ok(());
    }
    let counted = approvals.iter().filter(|approval| !approval.revoked);
    let given = counted.filter_map(|approval| approval.decider.reviewer()).collect::<BTreeSet<_>>().len();
    if given >= quorum.max(1) { Ok(()) } else { Err(ApprovalError::Quorum { given, quorum: quorum.max(1) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(reviewer: &str, decision: Decision, digest: u8) -> Approval {
        let decider = Decider::ApiKey { reviewer: reviewer.parse().unwrap(), key: "key_1".into() };
        Approval { decision, decider, digest: Digest([digest; 32]), reason: None, at: 0, until: None, revoked: false }
    }

    #[test]
    fn one_person_counts_once_and_content_must_be_the_same() {
        let digest = Digest([1; 32]);
        let (alice, bob) = (by("alice", Decision::Approve, 1), by("bob", Decision::Approve, 1));
        assert_eq!(approved(&[], digest, 0), Err(ApprovalError::Quorum { given: 0, quorum: 1 }));
        assert_eq!(approved(&[alice.clone(), alice.clone()], digest, 2), Err(ApprovalError::Quorum { given: 1, quorum: 2 }));
        assert_eq!(approved(&[alice.clone(), bob.clone()], digest, 2), Ok(()));
        assert_eq!(approved(&[alice.clone(), by("bob", Decision::Approve, 2)], digest, 1), Err(ApprovalError::OtherContent));
        assert_eq!(approved(&[alice, bob, by("carol", Decision::Reject, 1)], digest, 2), Err(ApprovalError::Rejected));
        let rule = Approval { decider: Decider::Rule { rule: "small".into() }, ..by("x", Decision::Approve, 1) };
        assert_eq!(approved(std::slice::from_ref(&rule), digest, 2), Ok(()));
        let revoked = Approval { revoked: true, ..by("bob", Decision::Approve, 1) };
        let alice = by("alice", Decision::Approve, 1);
        assert_eq!(approved(&[alice, revoked], digest, 2), Err(ApprovalError::Quorum { given: 1, quorum: 2 }));
        let proposer = Decider::Proposer { agent: "bot".parse().unwrap() };
        let canceled = Approval { decider: proposer, ..by("x", Decision::Cancel, 1) };
        assert_eq!(approved(&[rule, canceled], digest, 1), Err(ApprovalError::Canceled));
    }

    #[test]
    fn what_is_signed_names_deployment_proposal_digest_decision_and_end() {
        let deployment = "production/dep_1".parse().unwrap();
        let message = |decision, until| decision_message(&deployment, ProposalId::new(1, 2), Digest([0xab; 32]), decision, until);
        let approve = message(Decision::Approve, Some(1_700_000_000_000));
        let lines: Vec<&str> = approve.lines().collect();
        assert_eq!((lines.len(), lines[1], lines[2].len(), lines[3].len()), (6, "production/dep_1", 31, 64));
        assert_eq!((lines[4], lines[5]), ("approve", "1700000000000"));
        assert!(message(Decision::Cancel, None).ends_with("\ncancel\nalways\n"));
    }
}
