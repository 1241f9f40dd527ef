//! Why a server does not start.

use std::io;

use crate::{control::ControlTlsError, frontend::TlsError, journal::JournalError, store::StoreError};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The operating system refused a thread, a signal or an event loop.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// The metrics recorder.
    #[error("cannot record metrics: {0}")]
    Metrics(String),
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The control API's certificate or its key.
    #[error(transparent)]
    ControlTls(#[from] ControlTlsError),
    /// One of their files.
    #[error("{0}")]
    ControlFile(String),
    /// The evidence journal.
    #[error("evidence journal: {0}")]
    Journal(#[from] JournalError),
    /// The store of proposals.
    #[error("proposal store: {0}")]
    Store(#[from] StoreError),
    /// The policy: every finding, one a line.
    #[error("the policy cannot be put in force:\n{0}")]
    Policy(String),
}
