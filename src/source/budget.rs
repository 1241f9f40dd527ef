//! The connections that a process may have to one source, shared by its lanes: `pool.max` is the promise of all of them together.
//!
//! A lane takes what it needs while there is any left. When there is none, a lane that waits gets what another has idle; and a lane that
//! has more than its part gives one up as soon as it is free. Nothing here waits or holds a connection: it counts, and wakes.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What the lanes share of one source.
#[derive(Debug)]
pub struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    max: usize,
    open: usize,
    kept: usize,
    lanes: Vec<Weak<Share>>,
}

/// One lane's part.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    counts: Mutex<Counts>,
    /// The lane is to look again: it may take one more, or is asked for one that is idle.
    pub(super) wake: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    open: usize,
    idle: usize,
    waiting: usize,
}

impl Budget {
    /// At most `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { max: max.max(1), open: 0, kept: 0, lanes: Vec::new() })))
    }

    /// Another lane has a part in it.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        let share = Arc::new(Share { budget: Arc::clone(self), counts: Mutex::default(), wake: Notify::new() });
        let mut state = self.0.lock();
        state.lanes.retain(|lane| lane.strong_count() > 0);
        state.lanes.push(Arc::downgrade(&share));
        share
    }

    /// The policy says otherwise now; who waits looks again.
    pub fn set_max(&self, max: usize) {
        let waiting = {
            let mut state = self.0.lock();
            if state.max == max.max(1) {
                return;
            }
            state.max = max.max(1);
            state.waiting()
        };
        for lane in waiting {
            lane.wake.notify_one();
        }
    }
}

impl State {
    fn lanes(&self) -> impl Iterator<Item = Arc<Share>> + '_ {
        self.lanes.iter().filter_map(Weak::upgrade)
    }

    fn waiting(&self) -> Vec<Arc<Share>> {
        self.lanes().filter(|lane| lane.counts.lock().waiting > 0).collect()
    }

    /// What a lane may hold while others wait.
    fn fair(&self) -> usize {
        let wanting = self.lanes().filter(|lane| lane.counts.lock().wants()).count();
        (self.max / wanting.max(1)).max(1)
    }
}

impl Counts {
    fn wants(self) -> bool {
        self.waiting > 0 || self.open > self.idle
    }
}

impl Share {
    /// Takes leave to open one more connection.
    pub(super) fn take(&self) -> bool {
        let mut state = self.budget.0.lock();
        if state.open >= state.max {
            return false;
        }
        state.open += 1;
        self.counts.lock().open += 1;
        true
    }

    /// A connection is closed; the lane that waits with the fewest may open one.
    pub(super) fn give(&self) {
        let next = {
            let mut state = self.budget.0.lock();
            state.open = state.open.saturating_sub(1);
            let mut counts = self.counts.lock();
            counts.open = counts.open.saturating_sub(1);
            drop(counts);
            state.waiting().into_iter().min_by_key(|lane| lane.counts.lock().open)
        };
        if let Some(lane) = next {
            lane.wake.notify_one();
        }
    }

    /// What the lane holds idle, and how many sessions of it wait. One that waits asks the others for what they have idle.
    pub(super) fn note(&self, idle: usize, waiting: usize) {
        let began = {
            let mut counts = self.counts.lock();
            let began = waiting > counts.waiting;
            (counts.idle, counts.waiting) = (idle, waiting);
            began
        };
        if !began {
            return;
        }
        let asked = {
            let state = self.budget.0.lock();
            state.lanes().filter(|lane| !std::ptr::eq(&raw const **lane, self)).max_by_key(|lane| lane.counts.lock().idle)
        };
        if let Some(lane) = asked.filter(|lane| lane.counts.lock().idle > 0) {
            lane.wake.notify_one();
        }
    }

    /// Whether the lane should give up a connection that is free: there are more than the policy allows, or another lane waits that has
    /// less than its part while this one has more.
    pub(super) fn owes(&self) -> bool {
        let state = self.budget.0.lock();
        if state.open > state.max {
            return true;
        }
        let others = state.waiting().into_iter().filter(|lane| !std::ptr::eq(&raw const **lane, self));
        let least = others.map(|lane| lane.counts.lock().open).min();
        let mine = self.counts.lock().open;
        let fair = state.fair();
        least.is_some_and(|least| state.open >= state.max && mine > least && (mine > fair || least == 0))
    }

    /// Whether another lane waits: what is idle here is of use there.
    pub(super) fn is_asked(&self) -> bool {
        let state = self.budget.0.lock();
        state.open >= state.max && state.waiting().iter().any(|lane| !std::ptr::eq(&raw const **lane, self))
    }

    /// Counts a connection that a cursor keeps: half of all at most. The answer is how many that is, when there are so many already.
    pub(super) fn keep(&self) -> Result<(), usize> {
        let mut state = self.budget.0.lock();
        let most = (state.max / 2).max(1);
        if state.kept >= most {
            return Err(most);
        }
        state.kept += 1;
        Ok(())
    }

    /// No cursor keeps it any more.
    pub(super) fn end_keeping(&self) {
        let mut state = self.budget.0.lock();
        state.kept = state.kept.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_is_of_all_lanes_together() {
        let budget = Budget::new(3);
        let (one, two) = (budget.share(), budget.share());
        assert!(one.take() && one.take() && one.take());
        assert!(!one.take() && !two.take(), "three are three");
        two.note(0, 1);
        assert!(one.owes(), "another lane has none and waits");
        one.give();
        assert!(two.take() && !one.take());
        two.note(0, 0);
        assert!(!one.owes(), "nobody waits");
        budget.set_max(1);
        assert!(one.owes() && two.owes(), "there are more than the policy says now");
    }

    #[test]
    fn a_lane_that_waits_asks_for_what_is_idle_elsewhere() {
        let budget = Budget::new(2);
        let (idle, busy) = (budget.share(), budget.share());
        assert!(idle.take() && idle.take() && !busy.take());
        idle.note(2, 0);
        assert!(!idle.is_asked());
        busy.note(0, 1);
        assert!(idle.is_asked());
        idle.give();
        assert!(busy.take());
    }

    #[test]
    fn cursors_keep_half_of_all_at_most() {
        let budget = Budget::new(4);
        let (one, two) = (budget.share(), budget.share());
        assert_eq!((one.keep(), two.keep(), one.keep()), (Ok(()), Ok(()), Err(2)));
        two.end_keeping();
        assert_eq!(one.keep(), Ok(()));
    }
}
