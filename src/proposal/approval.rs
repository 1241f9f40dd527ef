//! Who said yes or no to a proposal, and when that is enough.

use std::collections::BTreeSet;

use crate::types::{Digest, ProposalId, ReviewerName};

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No. One is enough.
    Reject,
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decider {
    /// A reviewer, by an Ed25519 signature over [`approval_message`].
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
        }
    }
}

impl Decider {
    /// The reviewer, unless a rule decided.
    pub fn reviewer(&self) -> Option<&ReviewerName> {
        match self {
            Self::Signature { reviewer, .. } | Self::ApiKey { reviewer, .. } => Some(reviewer),
            Self::Rule { .. } => None,
        }
    }
}

/// What a reviewer signs. The digest is that of the exact content that was shown.
pub fn approval_message(proposal: ProposalId, digest: Digest, decision: Decision) -> String {
    format!("pgwicket proposal decision, version 1\n{proposal}\n{digest}\n{}\n", decision.word())
}

/// Whether these decisions are enough: a settlement rule, or `quorum` distinct people, all on this content, none against.
/// The caller has checked each signature.
pub fn approved(approvals: &[Approval], digest: Digest, quorum: usize) -> Result<(), ApprovalError> {
    if approvals.iter().any(|approval| approval.decision == Decision::Reject) {
        return Err(ApprovalError::Rejected);
    }
    if approvals.iter().any(|approval| approval.digest != digest) {
        return Err(ApprovalError::OtherContent);
    }
    if approvals.iter().any(|approval| matches!(approval.decider, Decider::Rule { .. })) {
        return Ok(());
    }
    let given = approvals.iter().filter_map(|approval| approval.decider.reviewer()).collect::<BTreeSet<_>>().len();
    if given >= quorum.max(1) { Ok(()) } else { Err(ApprovalError::Quorum { given, quorum: quorum.max(1) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(reviewer: &str, decision: Decision, digest: u8) -> Approval {
        let decider = Decider::ApiKey { reviewer: reviewer.parse().unwrap(), key: "key_1".into() };
        Approval { decision, decider, digest: Digest([digest; 32]), reason: None, at: 0 }
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
        assert_eq!(approved(&[rule], digest, 2), Ok(()));
    }

    #[test]
    fn what_is_signed_names_proposal_digest_and_decision() {
        let message = approval_message(ProposalId::new(1, 2), Digest([0xab; 32]), Decision::Approve);
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!((lines[1].len(), lines[2].len(), lines[3]), (31, 64, "approve"));
    }
}
