//! Words every room shares: identifiers, the principal, secrets that cannot be printed.
//! May use: nothing of this crate. Never: I/O, clocks, randomness, logging.
//! Invariant: a name is parsed once; a secret has no way into a log, a `Debug` print or JSON.

mod id;
mod principal;
mod secret;

pub use id::{
    AgentName, Deployment, Digest, EvidenceId, InvalidName, PolicyEpoch, ProposalId, ReviewerName, RunId, SourceName, StoreId, TenantId,
};
pub use principal::Principal;
pub use secret::Secret;
