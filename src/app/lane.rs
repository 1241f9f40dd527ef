//! Lanes: threads that serve connections, each with its own runtime and its own part of everything.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, mpsc},
    task::LocalSet,
    time::{self, Instant},
};

use crate::{
    catalog::Catalog,
    control::Status,
    frontend::{self, Front, HandshakePermit, Incoming},
    journal::{self, Gauge},
    pipeline::{self, Common, Quotas},
    policy::PolicySet,
    store::Store,
};

/// How often a lane's figures are published.
const PUBLISH: Duration = Duration::from_secs(1);

/// How long a failed journal write keeps the server unready; without statements nothing tells that it would work again.
const UNREADY: Duration = Duration::from_secs(30);

/// How long a lane waits at its end for connections that are still lent.
const CLOSE_POOLS: Duration = Duration::from_secs(2);

/// A lane's stack. A statement is decided by recursion over its tree, which the parser bounds; a build without optimisation needs some
/// 2 MiB for the deepest. Memory that is never touched costs nothing. Unit: bytes.
const STACK: usize = 8 << 20;

/// What every lane shares.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    /// The policy in force.
    pub(super) policy: Arc<ArcSwap<PolicySet>>,
    /// The way in.
    pub(super) front: Arc<Front>,
    /// What `/readyz` says.
    pub(super) status: Arc<Status>,
    /// An error that a source's changed catalog would explain.
    pub(super) surprise: Arc<Notify>,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Handle>);

/// A lane, seen from the acceptor.
#[derive(Debug)]
struct Handle {
    arrivals: mpsc::UnboundedSender<Arrival>,
    load: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

/// A connection on its way to a lane.
#[derive(Debug)]
struct Arrival {
    incoming: Incoming,
    permit: HandshakePermit,
    load: Load,
}

/// Counts a connection on its lane until dropped.
#[derive(Debug)]
struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts an authenticated connection in the figures until dropped.
struct OpenSession(metrics::Gauge);

impl OpenSession {
    fn count() -> Self {
        let gauge = metrics::gauge!("pgwicket_sessions");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Lanes {
    /// Starts one lane for each journal lane.
    pub(super) fn start(journals: Vec<journal::Lane>, store: &Store, catalog: &Catalog, shared: &Shared) -> io::Result<Self> {
        let common = Common {
            store: store.clone(),
            catalog: catalog.clone(),
            keyring: Arc::clone(&shared.front.keyring),
            quotas: Arc::<Quotas>::default(),
            budgets: Arc::default(),
            surprise: Arc::clone(&shared.surprise),
        };
        let start = |(number, journal): (usize, journal::Lane)| {
            let (sender, arrivals) = mpsc::unbounded_channel();
            let (shared, common) = (shared.clone(), common.clone());
            let load = Arc::new(AtomicUsize::new(0));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let body = move || {
                let gauge = journal.gauge();
                let lane = pipeline::Lane::new(Arc::clone(&shared.policy), journal, common);
                let serving = serve(number, gauge, lane, shared, arrivals);
                LocalSet::new().block_on(&runtime, serving);
            };
            let thread = thread::Builder::new().name(format!("lane-{number}")).stack_size(STACK).spawn(body)?;
            Ok(Handle { arrivals: sender, load, thread })
        };
        journals.into_iter().enumerate().map(start).collect::<io::Result<_>>().map(Self)
    }

    /// Gives a connection to the lane with the fewest.
    pub(super) fn dispatch(&self, incoming: Incoming, permit: HandshakePermit) {
        let Some(lane) = self.0.iter().min_by_key(|lane| lane.load.load(Ordering::Relaxed)) else { return };
        lane.load.fetch_add(1, Ordering::Relaxed);
        let arrival = Arrival { incoming, permit, load: Load(Arc::clone(&lane.load)) };
        if lane.arrivals.send(arrival).is_err() {
            tracing::error!("a lane has ended; a connection was dropped");
        }
    }

    /// Connections on any lane, those that have not authenticated included.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().map(|lane| lane.load.load(Ordering::Relaxed)).sum()
    }

    /// Ends every lane, with whatever it still holds, and waits until its journal is closed.
    pub(super) fn stop(self) {
        let (senders, threads): (Vec<_>, Vec<_>) = self.0.into_iter().map(|lane| (lane.arrivals, lane.thread)).unzip();
        drop(senders);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a lane ended by a panic");
            }
        }
    }
}

async fn serve(number: usize, gauge: Gauge, lane: pipeline::Lane, shared: Shared, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
    let lane = Rc::new(lane);
    let publishing = tokio::task::spawn_local(publish(number, Rc::clone(&lane), gauge, Arc::clone(&shared.status)));
    while let Some(arrival) = arrivals.recv().await {
        tokio::task::spawn_local(receive(arrival, Arc::clone(&shared.front), Rc::clone(&lane)));
    }
    publishing.abort();
    // Past this the connections are cut off anyway.
    drop(time::timeout(CLOSE_POOLS, lane.drain()).await);
}

async fn receive(arrival: Arrival, front: Arc<Front>, lane: Rc<pipeline::Lane>) {
    let Arrival { incoming, permit, load } = arrival;
    match incoming.register() {
        Ok((socket, peer)) => {
            if let Some(accepted) = front.receive(socket, peer, permit).await {
                metrics::counter!("pgwicket_sessions_total").increment(1);
                let _open = OpenSession::count();
                frontend::session::run(accepted, lane).await;
            }
        }
        Err(error) => tracing::warn!(%error, "an accepted connection cannot be used"),
    }
    drop(load);
}

/// Publishes a lane's figures, once a second.
async fn publish(number: usize, lane: Rc<pipeline::Lane>, gauge: Gauge, status: Arc<Status>) {
    let label = number.to_string();
    let plans = metrics::gauge!("pgwicket_lane_plans", "lane" => label.clone());
    let entries = metrics::counter!("pgwicket_journal_entries_total", "lane" => label.clone());
    let bytes = metrics::counter!("pgwicket_journal_bytes_total", "lane" => label.clone());
    let errors = metrics::counter!("pgwicket_journal_errors_total", "lane" => label.clone());
    let unsynced = metrics::gauge!("pgwicket_journal_unsynced_bytes", "lane" => label.clone());
    let mut ticks = time::interval(PUBLISH);
    let mut failures = Failures { count: gauge.status().errors, last: None };
    loop {
        ticks.tick().await;
        let journal = gauge.status();
        entries.absolute(journal.entries);
        bytes.absolute(journal.bytes);
        errors.absolute(journal.errors);
        unsynced.set(as_gauge(journal.unsynced_bytes));
        status.journal(number, failures.are_recent(journal.errors).then(|| format!("lane {number} could not be written, see the log")));

        let held = lane.status();
        plans.set(as_gauge(held.plans as u64));
        for (source, pool) in held.pools {
            let labels = [("source", source.to_string()), ("lane", label.clone())];
            metrics::gauge!("pgwicket_pool_idle", &labels).set(as_gauge(pool.idle as u64));
            metrics::gauge!("pgwicket_pool_in_use", &labels).set(as_gauge(pool.in_use as u64));
            metrics::gauge!("pgwicket_pool_kept", &labels).set(as_gauge(pool.kept as u64));
            metrics::gauge!("pgwicket_pool_waiting", &labels).set(as_gauge(pool.waiting as u64));
            metrics::counter!("pgwicket_pool_connects_total", &labels).absolute(pool.connects);
            metrics::counter!("pgwicket_pool_failures_total", &labels).absolute(pool.failures);
        }
    }
}

/// Failures of a lane's journal as its counter tells them.
struct Failures {
    count: u64,
    last: Option<Instant>,
}

impl Failures {
    fn are_recent(&mut self, count: u64) -> bool {
        if count > self.count {
            (self.count, self.last) = (count, Some(Instant::now()));
        }
        self.last.is_some_and(|last| last.elapsed() < UNREADY)
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating-point gauges only; these numbers stay far below 2^53")]
fn as_gauge(number: u64) -> f64 {
    number as f64
}
