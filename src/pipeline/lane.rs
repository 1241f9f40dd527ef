//! What the sessions of one thread share: policy, pools, journal, plans, figures. No locks: nothing here leaves its thread.

use std::{
    cell::{RefCell, RefMut},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use hashbrown::HashMap;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::Notify;

use super::{plans::Plans, quota::Quotas};
use crate::{
    auth::Keyring,
    catalog::{Catalog, CatalogError},
    journal,
    policy::{PolicySet, Source, Visible},
    source::{Budget, KnownSettings, Pool, PoolStatus, Settings, SourceError},
    store::Store,
    types::{PolicyEpoch, SourceName},
};

/// What the sessions of one thread share.
#[derive(Debug)]
pub struct Lane {
    policy: Arc<ArcSwap<PolicySet>>,
    journal: RefCell<journal::Lane>,
    pools: RefCell<Pools>,
    catalog_pools: RefCell<HashMap<SourceName, Pool>>,
    plans: RefCell<Plans>,
    settings: RefCell<KnownSettings>,
    figures: Figures,
    common: Common,
}

/// What every lane of a process shares besides the policy.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where proposals go.
    pub store: Store,
    /// The databases that catalog statements run on.
    pub catalog: Catalog,
    /// Published keys of token issuers.
    pub keyring: Arc<Keyring>,
    /// What principals have used.
    pub quotas: Arc<Quotas>,
    /// How many connections there may be to each source, over all lanes.
    pub budgets: Arc<DashMap<SourceName, Arc<Budget>>>,
    /// An error that a source's changed catalog would explain.
    pub surprise: Arc<Notify>,
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
    /// A lane of a server; what it may have of a source's connections is counted with the other lanes' ([`Common`]).
    pub fn new(policy: Arc<ArcSwap<PolicySet>>, journal: journal::Lane, common: Common) -> Self {
        Self {
            policy,
            journal: RefCell::new(journal),
            pools: RefCell::default(),
            catalog_pools: RefCell::default(),
            plans: RefCell::default(),
            settings: RefCell::default(),
            figures: Figures::new(),
            common,
        }
    }

    /// Published keys of token issuers.
    pub(super) fn keyring(&self) -> &Keyring {
        &self.common.keyring
    }

    /// An error came that a changed catalog would explain: the sources are looked at soon.
    pub(super) fn surprised(&self) {
        self.common.surprise.notify_one();
    }

    /// What principals have used.
    pub(super) fn quotas(&self) -> &Quotas {
        &self.common.quotas
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
            self.leave_catalogs(&policy);
            pools.by_source.retain(|name, _| policy.sources.contains_key(name));
            for (name, source) in &policy.sources {
                match pools.by_source.get(name) {
                    Some(pool) => pool.replace(Arc::clone(source), source.pool_max),
                    None => drop(pools.by_source.insert(name.clone(), Pool::sharing(Arc::clone(source), self.budget(source)))),
                }
            }
        }
        pools.by_source.get(source).cloned().ok_or_else(|| SourceError::Configuration("the source left the policy".into()))
    }

    /// Whether there is a virtual catalog that clients may ask about types.
    pub(super) fn has_catalog(&self) -> bool {
        self.common.catalog.is_on()
    }

    /// The database that holds the catalog of what an agent sees.
    pub(super) async fn catalog_source(&self, visible: &Visible) -> Result<Arc<Source>, CatalogError> {
        let policy = self.policy();
        self.leave_catalogs(&policy);
        let found = self.common.catalog.source(visible, &policy).await;
        if let Err(error) = &found {
            tracing::warn!(%error, "a statement over the catalog cannot be answered");
        }
        found
    }

    /// Closes the idle connections to catalogs that no agent has any more: only what nobody reads can be dropped.
    fn leave_catalogs(&self, policy: &PolicySet) {
        self.catalog_pools.borrow_mut().retain(|name, _| policy.agents.values().any(|agent| agent.visible.name == *name));
    }

    /// The pool of a catalog.
    pub(super) fn catalog_pool(&self, source: &Arc<Source>) -> Pool {
        let mut pools = self.catalog_pools.borrow_mut();
        if let Some(pool) = pools.get(&source.name) {
            pool.replace(Arc::clone(source), source.pool_max);
            return pool.clone();
        }
        let pool = Pool::sharing(Arc::clone(source), self.budget(source));
        pools.insert(source.name.clone(), pool.clone());
        pool
    }

    /// A catalog could not be reached: it is looked for anew.
    pub(super) fn forget_catalog(&self, name: &SourceName) {
        self.common.catalog.forget(name);
    }

    /// Lends nothing any more and waits until every connection is back; bounding the wait is the caller's.
    pub async fn drain(&self) {
        let mut pools: Vec<Pool> = self.pools.borrow().by_source.values().cloned().collect();
        pools.extend(self.catalog_pools.borrow().values().cloned());
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

    /// The one copy of these settings.
    pub(super) fn share(&self, settings: Settings) -> Rc<Settings> {
        self.settings.borrow_mut().share(settings)
    }

    /// Where proposals are kept.
    pub(super) fn store(&self) -> &Store {
        &self.common.store
    }

    /// The figures.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    fn budget(&self, source: &Source) -> Arc<Budget> {
        let budget = Arc::clone(self.common.budgets.entry(source.name.clone()).or_insert_with(|| Budget::new(source.pool_max)).value());
        budget.set_max(source.pool_max);
        budget
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
