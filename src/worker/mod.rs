//! Applies approved proposals: claims one from the store, holds it against the policy, applies it through the source's door
//! for writes, reports how it ended.
//! May use: `error`, `source`, `store`, `policy`, `proposal`, `types`. Never: `pipeline`, `govern`, SQL of an agent, values in a log.
//! Invariant: nothing is applied without a permit of the policy in force, which is asked for again at every attempt; and
//! what is reported as a conflict or as failed was written down in the source first, so that no other worker applies it.

mod backoff;
mod clock;
mod handle;
mod report;
mod run;
mod seal;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    policy::{PolicySet, SourceTls},
    source::SourceAddress,
    store::Store,
    types::{Secret, SourceName},
};

pub use run::{Stop, run};

/// A source that this worker writes to.
#[derive(Debug, Clone)]
pub struct WriteSource {
    /// Its name in the policy.
    pub name: SourceName,
    /// The connection URL of the write credential.
    pub url: Secret,
    /// TLS to it.
    pub tls: SourceTls,
    /// PEM of the roots to trust instead of the system's.
    pub root_certificates: Option<Vec<u8>>,
    /// `statement_timeout` of the sessions.
    pub statement_timeout: Duration,
    /// `lock_timeout` of the sessions.
    pub lock_timeout: Duration,
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name: in leases, receipts and reports.
    pub name: Box<str>,
    /// Proposals that it applies at once; each has a connection to its source.
    pub concurrency: usize,
    /// How long a claim lasts without a sign of life.
    pub lease: Duration,
    /// How often an idle worker looks for work.
    pub poll: Duration,
    /// The wait before a second attempt, and the longest wait between attempts.
    pub retry: (Duration, Duration),
    /// Attempts after which a proposal that the source cannot take is given up.
    pub attempts: u64,
    /// Schema of the receipt table, in every source.
    pub receipts_schema: Box<str>,
}

/// All that a worker works with.
#[derive(Debug)]
pub struct Workshop {
    /// Where proposals come from, and reports go to.
    pub store: Store,
    /// The policy in force.
    pub policy: Arc<ArcSwap<PolicySet>>,
    /// The sources it writes to.
    pub sources: Vec<WriteSource>,
    /// How it works.
    pub options: WorkerOptions,
}

impl<'a> From<&'a WriteSource> for SourceAddress<'a> {
    fn from(source: &'a WriteSource) -> Self {
        Self {
            url: &source.url,
            tls: source.tls,
            root_certificates: source.root_certificates.as_deref(),
            statement_timeout: source.statement_timeout,
            lock_timeout: source.lock_timeout,
            idle_in_transaction_timeout: source.statement_timeout.saturating_mul(2),
        }
    }
}
