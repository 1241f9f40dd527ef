//! Stored writes: what is proposed, its digest, its life, who approved it.
//! May use: `types`. Never: I/O, clocks, randomness; times and ids are arguments.
//! Invariant: a [`Proposal`] never changes once it is stored; what changes is its [`Status`], by [`Status::after`] alone.

mod approval;
mod change;
mod document;
mod settle;
mod state;

pub use approval::{Approval, ApprovalError, Decider, Decision, approved, decision_message};
pub use change::{Cell, Operation, Proposal, Proposer, RowChange, Target, TenantGuard, Value, Verb};
pub use document::{Content, MalformedContent};
pub use settle::{Counter, Settle, Settlement};
pub use state::{Event, IllegalMove, Outcome, Status};
