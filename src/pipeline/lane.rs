//! What the sessions of one thread share: policy, pools, journal, plans, figures. No locks: nothing here leaves its thread.

use std::{
    cell::{RefCell, RefMut},
    fmt,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use metrics::{Counter, Histogram, counter, histogram};

use super::plans::Plans;
use crate::{
    journal,
    policy::{PolicySet, Source},
    source::{Pool, PoolStatus, SourceError},
    store::Store,
    types::{PolicyEpoch, SourceName},
};

/// What the sessions of one thread share.
#[derive(Debug)]
pub struct Lane {
    policy: Arc<ArcSwap<PolicySet>>,
    /// How many lanes share a source's connections.
    lanes: usize,
    journal: RefCell<journal::Lane>,
    pools: RefCell<Pools>,
    plans: RefCell<Plans>,
    figures: Figures,
    store: Store,
}

/// What a lane holds now.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    /// The pools by source.
    pub pools: Vec<(SourceName, PoolStatus)>,
    /// Plans in the cache.
    pub plans: usize,
}

#[derive(Debug, Default)]
struct Pools {
    epoch: Option<PolicyEpoch>,
    by_source: HashMap<SourceName, Pool>,
}

/// Handles of the figures, found once.
pub(super) struct Figures {
    forwarded: Counter,
    refused: Counter,
    seconds: Histogram,
    rows: Counter,
    bytes: Counter,
}

impl Lane {
    /// A lane of a server that runs `lanes` of them; each gets its share of a source's connections.
    pub fn new(policy: Arc<ArcSwap<PolicySet>>, journal: journal::Lane, store: Store, lanes: usize) -> Self {
        Self {
            policy,
            lanes: lanes.max(1),
            journal: RefCell::new(journal),
            pools: RefCell::default(),
            plans: RefCell::default(),
            figures: Figures::new(),
            store,
        }
    }

    /// The policy in force now.
    pub fn policy(&self) -> Arc<PolicySet> {
        self.policy.load_full()
    }

    /// Whether this policy is still the one in force: one pointer comparison.
    pub(super) fn is_current(&self, policy: &Arc<PolicySet>) -> bool {
        Arc::ptr_eq(&self.policy.load(), policy)
    }

    /// The pool of a source. Pools follow the policy: a changed source is reached anew, a removed one no more.
    pub fn pool(&self, source: &SourceName) -> Result<Pool, SourceError> {
        let policy = self.policy.load();
        let mut pools = self.pools.borrow_mut();
        if pools.epoch != Some(policy.epoch) {
            pools.epoch = Some(policy.epoch);
            pools.by_source.retain(|name, _| policy.sources.contains_key(name));
            for (name, source) in &policy.sources {
                match pools.by_source.get(name) {
                    Some(pool) => pool.replace(Arc::clone(source), self.share(source)),
                    None => drop(pools.by_source.insert(name.clone(), Pool::new(Arc::clone(source), self.share(source)))),
                }
            }
        }
        pools.by_source.get(source).cloned().ok_or_else(|| SourceError::Configuration("the source left the policy".into()))
    }

    /// Lends nothing any more and waits until every connection is back; bounding the wait is the caller's.
    pub async fn drain(&self) {
        let pools: Vec<Pool> = self.pools.borrow().by_source.values().cloned().collect();
        for pool in pools {
            pool.drain().await;
        }
    }

    /// What the lane holds now.
    pub fn status(&self) -> LaneStatus {
        let pools = self.pools.borrow().by_source.iter().map(|(name, pool)| (name.clone(), pool.status())).collect();
        LaneStatus { pools, plans: self.plans.borrow().len() }
    }

    /// The journal. Never held over an await.
    pub(super) fn journal(&self) -> RefMut<'_, journal::Lane> {
        self.journal.borrow_mut()
    }

    /// The plan cache. Never held over an await.
    pub(super) fn plans(&self) -> RefMut<'_, Plans> {
        self.plans.borrow_mut()
    }

    /// Where proposals are kept.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The figures.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    fn share(&self, source: &Source) -> usize {
        (source.pool_max / self.lanes).max(1)
    }
}

impl Figures {
    fn new() -> Self {
        Self {
            forwarded: counter!("pgwicket_statements_total", "decision" => "forwarded"),
            refused: counter!("pgwicket_statements_total", "decision" => "refused"),
            seconds: histogram!("pgwicket_statement_seconds"),
            rows: counter!("pgwicket_rows_total"),
            bytes: counter!("pgwicket_row_bytes_total"),
        }
    }

    pub(super) fn refused(&self) {
        self.refused.increment(1);
    }

    pub(super) fn forwarded(&self) {
        self.forwarded.increment(1);
    }

    pub(super) fn ended(&self, duration: Duration, rows: u64, bytes: u64) {
        self.seconds.record(duration.as_secs_f64());
        self.rows.increment(rows);
        self.bytes.increment(bytes);
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}
