//! Slots that claim and apply, one proposal at a time each, until they are told to stop.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    Workshop, backoff, clock,
    handle::{Appliers, Handled},
};
use crate::{
    policy::AppliedBy,
    store::{Approvals, Claim},
    types::SourceName,
};

/// The longest pause while the store or a source is away.
const AWAY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// Tells a worker to stop: what is claimed is finished, nothing more is claimed.
pub type Stop = watch::Receiver<bool>;

/// What the slots of a worker share.
struct Slots {
    workshop: Arc<Workshop>,
    /// Who holds it looks for work while there is none; the others wait for their turn.
    scout: Mutex<Approvals>,
    /// Sources that did not answer: how often in a row, and until when they are left alone.
    away: RefCell<HashMap<SourceName, (u64, Instant)>>,
    stop: Stop,
}

/// Works until `stop` is true and what was claimed is done. Runs within a `LocalSet`.
pub async fn run(workshop: Arc<Workshop>, stop: Stop) {
    let concurrency = workshop.options.concurrency.max(1);
    let slots = Rc::new(Slots { scout: Mutex::new(workshop.store.approvals()), workshop, away: RefCell::default(), stop });
    let mut running = JoinSet::new();
    for _ in 0..concurrency {
        running.spawn_local(Rc::clone(&slots).work());
    }
    let sealing = tokio::task::spawn_local({
        let workshop = Arc::clone(&slots.workshop);
        async move { workshop.seal_canceled().await }
    });
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended.map_err(|error| error.to_string()) {
            tracing::error!(%error, "a slot of the worker ended; it begins again");
            if !*slots.stop.borrow() {
                running.spawn_local(Rc::clone(&slots).work());
            }
        }
    }
    sealing.abort();
}

impl Slots {
    async fn work(self: Rc<Self>) {
        let mut appliers = Appliers::default();
        while let Some(claim) = self.next().await {
            let source = claim.record.content.proposal().target.source.clone();
            match self.workshop.handle(&claim, &mut appliers, self.stop.clone()).await {
                Handled::Away => self.is_away(source),
                Handled::Reported | Handled::Released => {
                    self.away.borrow_mut().remove(&source);
                }
                Handled::Lost => {}
            }
        }
    }

    /// The next proposal; `None` when it is time to stop.
    async fn next(&self) -> Option<Claim> {
        if *self.stop.borrow() {
            return None;
        }
        if let Ok(Some(claim)) = self.claim().await {
            return Some(claim);
        }
        let mut stop = self.stop.clone();
        let mut approvals = tokio::select! {
            turn = self.scout.lock() => turn,
            _ = stop.wait_for(|stop| *stop) => return None,
        };
        let mut failures = 0;
        loop {
            if *self.stop.borrow() {
                return None;
            }
            let pause = match self.claim().await {
                Ok(Some(claim)) => return Some(claim),
                Ok(None) => {
                    failures = 0;
                    backoff::near(self.workshop.options.poll)
                }
                Err(()) => {
                    failures += 1;
                    backoff::wait(AWAY, failures)
                }
            };
            tokio::select! {
                () = time::sleep(pause) => {}
                () = approvals.next() => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    async fn claim(&self) -> Result<Option<Claim>, ()> {
        let now = Instant::now();
        let answers = |name: &SourceName| self.away.borrow().get(name).is_none_or(|(_, until)| *until <= now);
        let policy = self.workshop.policy.load();
        let is_ours = |name: &SourceName| policy.sources.get(name).is_some_and(|source| source.worker == AppliedBy::Ours);
        let known = self.workshop.sources.iter().map(|source| &source.name);
        let sources: Vec<SourceName> = known.filter(|name| is_ours(name) && answers(name)).cloned().collect();
        drop(policy);
        if sources.is_empty() {
            return Ok(None);
        }
        let options = &self.workshop.options;
        let claimed = self.workshop.store.claim(&options.name, &sources, options.lease, clock::now()).await;
        claimed.map_err(|error| tracing::warn!(%error, "the store did not say whether there is work"))
    }

    fn is_away(&self, source: SourceName) {
        let mut away = self.away.borrow_mut();
        let failures = away.get(&source).map_or(0, |(failures, _)| failures + 1);
        away.insert(source, (failures, Instant::now() + backoff::wait(AWAY, failures)));
    }
}
