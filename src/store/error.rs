//! What can go wrong with the store, in words for an agent, a reviewer and a worker.

use crate::{
    proposal::{Decision, IllegalMove, MalformedContent, Outcome},
    types::{ProposalId, ReviewerName},
};

/// Why the store did not do what was asked. Nothing was changed, unless [`Self::is_retryable`]: then it may or may not
/// have been, and asking again gives the same result once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such proposal.
    #[error("there is no proposal {0}")]
    NotFound(ProposalId),
    /// The life of a proposal does not have the move.
    #[error("{proposal}: {refused}")]
    Move {
        /// Which.
        proposal: ProposalId,
        /// The move.
        refused: IllegalMove,
    },
    /// The idempotency key stands for another change of this agent.
    #[error("the idempotency key was used for another change, proposal {0}; take a new key for a new change")]
    KeyReused(ProposalId),
    /// An agent has as many proposals open as it may.
    #[error("{0} proposals of this agent are open, and no more may be")]
    TooManyOpen(u64),
    /// An agent has as much open as it may.
    #[error("with this one the open proposals of this agent would hold more than {0} bytes")]
    TooMuchOpen(u64),
    /// A worker that does not hold it reports.
    #[error("{0}: this worker does not hold it; take it with the list of approved changes first")]
    NotHeld(ProposalId),
    /// A reviewer decides once.
    #[error("{proposal}: {reviewer} has decided otherwise before ({decision})", decision = decision.word())]
    AlreadyDecided {
        /// Which.
        proposal: ProposalId,
        /// Who.
        reviewer: ReviewerName,
        /// What it was.
        decision: Decision,
    },
    /// The decision is on another content than the stored one.
    #[error("{0}: the decision is for other content than what is stored; read the proposal again")]
    OtherContent(ProposalId),
    /// Only its proposer takes a proposal back.
    #[error("{0} was proposed by another agent, which alone may cancel it")]
    OtherAgent(ProposalId),
    /// A worker has tried it: what reached the source is known only when a worker reports.
    #[error("{0}: a worker has begun to apply it, so it cannot be canceled; wait for the outcome")]
    Begun(ProposalId),
    /// The worker was too slow: the lease ran out and another took over, or somebody reported.
    #[error("{0}: the lease on it was lost; whoever holds it now reports")]
    LeaseLost(ProposalId),
    /// Another outcome is known.
    #[error("{proposal}: it is known as {status}, the report says otherwise", status = known.status())]
    Disagrees {
        /// Which.
        proposal: ProposalId,
        /// The known one.
        known: Outcome,
    },
    /// The cursor of a page is not one this store gave.
    #[error("the cursor is not one that a page gave")]
    Cursor,
    /// What is stored is not what was stored.
    #[error("{proposal}: {problem}")]
    Malformed {
        /// Which.
        proposal: ProposalId,
        /// How it differs.
        problem: MalformedContent,
    },
    /// A stored word or number other than the content is none.
    #[error("the store holds a row that cannot be read: {0}")]
    Unreadable(Box<str>),
    /// The location cannot be used.
    #[error("the store cannot be opened: {0}")]
    Location(Box<str>),
    /// A newer pgwicket has written it.
    #[error("the store is of version {found}, this pgwicket knows up to {known}: use the newer pgwicket")]
    Newer {
        /// The store's version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// It cannot be reached, or is too busy.
    #[error("the store is not available, try again: {0}")]
    Unavailable(Box<str>),
    /// The database refused a statement.
    #[error("the store's database refused: {0}")]
    Database(Box<str>),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
