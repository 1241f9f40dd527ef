//! The HTTP side: health, readiness, metrics, and the control API for reviewers, workers and their programs.
//! May use: `pipeline` and what is below it, `types`. Never: a client's SQL, a connection to a source, the journal's content.
//! Invariant: the open routes name no secret, source address, tenant or row; everything else asks for an API key and a scope.
//! Invariant: a decision reaches the store only after the policy in force said that it counts.

mod connections;
mod decide;
mod description;
mod failure;
mod guard;
mod input;
mod key;
mod metrics;
mod proposals;
mod server;
mod sources;
mod status;
#[cfg(test)]
mod tests;
mod tls;
mod view;
mod writebacks;

pub use decide::{DecisionAnswer, DecisionBody};
pub use key::{Scope, key_hash, key_secret};
pub use metrics::Recorder;
pub use proposals::{ProposalAnswer, ProposalPage};
pub use server::{Api, Control, serve};
pub use status::{Readiness, SourceState, Status};
pub use tls::{ControlTls, ControlTlsError};
pub use view::{ApprovalView, CellView, ChangeView, EventView, NeedsView, ProposalDetail, ProposalSummary, ResultView};
