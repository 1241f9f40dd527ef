//! The doors to a source: reaching PostgreSQL, pooled read-only sessions, typed messages that carry governed
//! statements only, rows as raw bytes, cancel, introspection, an operator's own session; and, with a credential of its own, approved changes.
//! May use: `types`, `sql`, `policy`, `proposal`, `govern`, `wire`, I/O. Local to one lane: nothing here but a [`CancelToken`] crosses threads.
//! Never: who the client is, evidence, decoding of rows, SQL of a client that is not in a [`crate::govern::GovernedStatement`],
//! a write that is not in a [`crate::policy::ApprovedChange`].
//! Invariant: an answer is matched with what was asked; a connection whose answers do not match, or that is not idle
//! when its lease ends, is closed and never serves another client.

mod apply;
mod bind;
mod budget;
mod cancel;
mod connect;
mod connection;
mod cursor;
mod error;
mod extensions;
mod inspect;
mod introspect;
mod lease;
mod look;
mod pool;
mod receive;
mod rules;
mod settings;
mod shapes;
mod simple;
mod startup;
mod statements;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;

pub(crate) use apply::BETWEEN_ROWS;
pub use apply::{Applier, ApplyOptions, Difference, Divergence, Ending, Failure, RECEIPTS_SCHEMA, Undecided, migration};
pub use bind::BindParameters;
pub use budget::Budget;
pub use cancel::CancelToken;
pub use connect::SourceAddress;
pub use connection::{Connection, Wanted};
pub use error::{ServerError, SourceError, Step};
pub use inspect::Inspector;
pub use introspect::{CredentialReport, Introspection, introspect};
pub use lease::Lease;
pub use look::{Look, look};
pub use pool::{Pool, PoolStatus};
pub use receive::Event;
pub use settings::{KnownSettings, Setting, Settings};
pub use transaction::{TransactionCommand, TransactionStatus};
