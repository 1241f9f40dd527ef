//! The HTTP side: health, readiness and metrics.
//! May use: `pipeline` and what is below it, `types`. Never: a client's SQL, sources, the journal's content.
//! Invariant: nothing here names a secret, a source's address, a tenant or a row.

mod metrics;
mod server;
mod status;

pub use metrics::Recorder;
pub use server::serve;
pub use status::{Readiness, SourceState, Status};
