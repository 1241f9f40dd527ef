//! What `/readyz` says, told by whoever knows.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;

use crate::types::{Digest, PolicyEpoch, SourceName};

/// What the server knows of itself. Shared by the parts that learn and the handler that tells.
#[derive(Debug, Default)]
pub struct Status(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    policy: Option<(PolicyEpoch, Digest)>,
    sources: BTreeMap<SourceName, SourceState>,
    catalogs: BTreeMap<SourceName, CatalogState>,
    journal_errors: BTreeMap<usize, String>,
    draining: bool,
}

/// What is known of a source's catalog, in alias names.
#[derive(Debug, Default)]
struct CatalogState {
    /// Of the catalog that was read last.
    digest: Box<str>,
    drift: Vec<String>,
    filtered: Vec<String>,
}

/// Whether a source answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// It was asked and answered.
    Reachable,
    /// It did not answer, or refused the connection.
    Unreachable,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// Whether clients are served fully.
    pub ok: bool,
    /// Epoch of the policy in force.
    pub policy_epoch: Option<u64>,
    /// Its digest.
    pub policy_digest: Option<String>,
    /// Each source.
    pub sources: BTreeMap<String, SourceState>,
    /// Where a source is no longer what the policy in force needs: alias names, and what is wrong.
    pub drift: Vec<String>,
    /// Relations, by alias names, whose rows the source filters by row-level security of its own, too.
    pub row_security: Vec<String>,
    /// `writable`, or what is wrong with the first lane that is not.
    pub journal: String,
    /// `writable`, or what is wrong with where proposals are kept.
    pub store: String,
    /// Whether the server is going away.
    pub draining: bool,
}

impl Status {
    /// A policy is in force; sources it does not name are forgotten.
    pub fn policy(&self, epoch: PolicyEpoch, digest: Digest, sources: &[SourceName]) {
        let mut state = self.0.lock();
        state.policy = Some((epoch, digest));
        state.sources.retain(|name, _| sources.contains(name));
        state.catalogs.retain(|name, _| sources.contains(name));
        state.catalogs.values_mut().for_each(|catalog| catalog.drift.clear());
    }

    /// A source's catalog was read: the digest of a look that finds it so.
    pub fn catalog_read(&self, name: &SourceName, digest: &str) {
        self.0.lock().catalogs.entry(name.clone()).or_default().digest = digest.into();
    }

    /// Whether a look found another catalog than the one that was read last.
    pub fn is_other_catalog(&self, name: &SourceName, digest: &str) -> bool {
        let state = self.0.lock();
        state.catalogs.get(name).is_some_and(|catalog| !catalog.digest.is_empty() && *catalog.digest != *digest)
    }

    /// Where a source is no longer what the policy in force needs, by alias names.
    pub fn drift(&self, name: &SourceName, drift: Vec<String>) {
        self.0.lock().catalogs.entry(name.clone()).or_default().drift = drift;
    }

    /// The relations that the source filters, by alias names. True when that is news.
    pub fn filtered(&self, name: &SourceName, filtered: Vec<String>) -> bool {
        let mut state = self.0.lock();
        let catalog = state.catalogs.entry(name.clone()).or_default();
        let news = catalog.filtered != filtered;
        catalog.filtered = filtered;
        news
    }

    /// A source answered, or did not. True when that is news.
    pub fn source(&self, name: &SourceName, source: SourceState) -> bool {
        self.0.lock().sources.insert(name.clone(), source) != Some(source)
    }

    /// A lane's journal can be written, or why not.
    pub fn journal(&self, lane: usize, error: Option<String>) {
        let mut state = self.0.lock();
        match error {
            Some(error) => state.journal_errors.insert(lane, error),
            None => state.journal_errors.remove(&lane),
        };
    }

    /// The server is going away.
    pub fn draining(&self) {
        self.0.lock().draining = true;
    }

    /// The whole of it.
    pub fn readiness(&self) -> Readiness {
        let state = self.0.lock();
        let reachable = state.sources.values().all(|source| *source == SourceState::Reachable);
        Readiness {
            ok: state.policy.is_some() && reachable && state.journal_errors.is_empty() && !state.draining,
            policy_epoch: state.policy.map(|(epoch, _)| epoch.0),
            policy_digest: state.policy.map(|(_, digest)| digest.to_string()),
            sources: state.sources.iter().map(|(name, source)| (name.to_string(), *source)).collect(),
            drift: state.catalogs.values().flat_map(|catalog| catalog.drift.iter().cloned()).collect(),
            row_security: state.catalogs.values().flat_map(|catalog| catalog.filtered.iter().cloned()).collect(),
            journal: state.journal_errors.values().next().cloned().unwrap_or_else(|| "writable".to_owned()),
            store: "writable".to_owned(),
            draining: state.draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_policy_sources_and_journal() {
        let status = Status::default();
        let source: SourceName = "app".parse().unwrap();
        assert!(!status.readiness().ok, "no policy yet");
        status.policy(PolicyEpoch(1), Digest([0; 32]), std::slice::from_ref(&source));
        assert!(status.source(&source, SourceState::Reachable) && status.readiness().ok);
        assert!(!status.source(&source, SourceState::Reachable), "no news");
        status.journal(0, Some("no space left on device".into()));
        assert!(!status.readiness().ok);
        status.journal(0, None);
        assert!(status.source(&source, SourceState::Unreachable) && !status.readiness().ok);
        status.policy(PolicyEpoch(2), Digest([0; 32]), &[]);
        assert!(status.readiness().ok, "the policy no longer names that source");
        status.draining();
        assert!(!status.readiness().ok);
    }
}
