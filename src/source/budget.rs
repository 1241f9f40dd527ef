//! The connections that a process may have to one source, shared by its lanes: `pool.max` is the promise of all of them together.
//!
//! A lane takes what it needs while there is any left. What becomes free is promised to the lane that waits with the fewest, and nobody
//! else takes it. A lane that has more than one that waits gives one up as soon as it is free. Nothing here waits or holds a connection:
//! it counts, and wakes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a lane has the only connection that it has before it gives it up to one that has none: making one anew takes longer than most
/// statements.
const SLICE: Duration = Duration::from_millis(100);

/// What the lanes share of one source.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<State>,
    /// Some lane waits, or there are more connections than the policy says. What is given back is looked at only then.
    pressed: AtomicBool,
}

#[derive(Debug)]
struct State {
    max: usize,
    kept: usize,
    next: usize,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    number: usize,
    open: usize,
    /// It may open so many more, whatever others ask for.
    promised: usize,
    waits: bool,
    wake: Arc<Notify>,
}

/// One lane's part. It ends with the last of its connections.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    number: usize,
    /// The lane is to look again: it may open one more, or is asked for one that is idle.
    pub(super) wake: Arc<Notify>,
}

impl Budget {
    /// At most `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        let state = State { max: max.max(1), kept: 0, next: 0, lanes: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), pressed: AtomicBool::new(false) })
    }

    /// Another lane has a part in it.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        let wake = Arc::new(Notify::new());
        let number = self.change(|state| {
            state.next += 1;
            state.lanes.push(Lane { number: state.next, open: 0, promised: 0, waits: false, wake: Arc::clone(&wake) });
            state.next
        });
        Arc::new(Share { budget: Arc::clone(self), number, wake })
    }

    /// The policy says otherwise now; who waits is let in.
    pub fn set_max(&self, max: usize) {
        self.change(|state| state.max = max.max(1));
    }

    /// Changes what is counted, and promises what is free then.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let made = change(&mut state);
        state.promise();
        let pressed = state.used() > state.max || state.lanes.iter().any(Lane::is_short);
        self.pressed.store(pressed, Ordering::Relaxed);
        made
    }
}

impl State {
    fn used(&self) -> usize {
        self.lanes.iter().map(|lane| lane.open + lane.promised).sum()
    }

    /// Promises what is free to lanes that wait, the one with the fewest first. A lane that has taken its promise and still waits is
    /// promised the next.
    fn promise(&mut self) {
        while self.used() < self.max {
            let Some(lane) = self.lanes.iter_mut().filter(|lane| lane.is_short()).min_by_key(|lane| lane.open) else { return };
            lane.promised += 1;
            lane.wake.notify_one();
        }
    }

    fn lane(&mut self, number: usize) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.number == number)
    }

    /// What the lanes have that wait, this one aside.
    fn short(&self, number: usize) -> impl Iterator<Item = usize> + '_ {
        self.lanes.iter().filter(move |lane| lane.number != number && lane.is_short()).map(|lane| lane.open)
    }
}

impl Lane {
    fn is_short(&self) -> bool {
        self.waits && self.promised == 0
    }
}

impl Share {
    /// Takes leave to open one more connection.
    pub(super) fn take(&self) -> bool {
        self.budget.change(|state| {
            let is_free = state.used() < state.max;
            let Some(lane) = state.lane(self.number).filter(|lane| is_free || lane.promised > 0) else { return false };
            lane.promised = lane.promised.saturating_sub(1);
            lane.open += 1;
            true
        })
    }

    /// A connection is closed, or was not made.
    pub(super) fn give(&self) {
        self.budget.change(|state| {
            if let Some(lane) = state.lane(self.number) {
                lane.open = lane.open.saturating_sub(1);
            }
        });
    }

    /// Whether sessions of this lane wait. One that begins to asks the others for what they have idle; one that does no more gives back
    /// what it was promised.
    pub(super) fn set_waiting(&self, waits: bool) {
        self.budget.change(|state| {
            let Some(lane) = state.lane(self.number) else { return };
            lane.waits = waits;
            if !waits {
                lane.promised = 0;
                return;
            }
            for other in state.lanes.iter().filter(|lane| lane.number != self.number && lane.open > 0) {
                other.wake.notify_one();
            }
        });
    }

    /// Whether the lane should give up a connection that is free and was made so long ago: there are more than the policy allows, or
    /// another lane waits that has fewer.
    pub(super) fn owes(&self, age: Duration) -> bool {
        if !self.budget.pressed.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.budget.state.lock();
        if state.used() > state.max {
            return true;
        }
        let Some(least) = state.short(self.number).min() else { return false };
        let mine = state.lane(self.number).map_or(0, |lane| lane.open);
        mine > least + 1 || (mine > least && least == 0 && age > SLICE)
    }

    /// Whether another lane waits: what is idle here is of use there.
    pub(super) fn is_asked(&self) -> bool {
        self.budget.pressed.load(Ordering::Relaxed) && self.budget.state.lock().short(self.number).next().is_some()
    }

    /// Counts a connection that a cursor keeps: half of all at most. The answer is how many that is, when there are so many already.
    pub(super) fn keep(&self) -> Result<(), usize> {
        let mut state = self.budget.state.lock();
        let most = (state.max / 2).max(1);
        if state.kept >= most {
            return Err(most);
        }
        state.kept += 1;
        Ok(())
    }

    /// No cursor keeps it any more.
    pub(super) fn end_keeping(&self) {
        let mut state = self.budget.state.lock();
        state.kept = state.kept.saturating_sub(1);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.change(|state| state.lanes.retain(|lane| lane.number != self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Duration = Duration::from_secs(1);

    #[test]
    fn the_promise_is_of_all_lanes_together() {
        let budget = Budget::new(3);
        let (one, two) = (budget.share(), budget.share());
        assert!(one.take() && one.take() && one.take());
        assert!(!one.take() && !two.take(), "three are three");
        assert!(!one.owes(OLD), "nobody waits");
        two.set_waiting(true);
        assert!(one.owes(OLD), "another lane has none and waits");
        one.give();
        assert!(!one.take(), "what became free is promised to the one that waits");
        assert!(two.take());
        assert!(!one.owes(OLD), "two and one is as even as three can be");
        budget.set_max(1);
        assert!(one.owes(OLD) && two.owes(OLD), "there are more than the policy says now");
    }

    #[test]
    fn what_is_promised_and_not_needed_goes_on() {
        let budget = Budget::new(1);
        let (one, two, three) = (budget.share(), budget.share(), budget.share());
        assert!(one.take());
        two.set_waiting(true);
        three.set_waiting(true);
        one.give();
        assert!(!one.take() && !three.take());
        two.set_waiting(false);
        assert!(!two.take() && three.take());
        three.give();
        drop(three);
        assert!(one.take());
    }

    #[test]
    fn a_lane_that_waits_asks_for_what_is_idle_elsewhere() {
        let budget = Budget::new(2);
        let (idle, busy) = (budget.share(), budget.share());
        assert!(idle.take() && idle.take() && !busy.take());
        assert!(!idle.is_asked());
        busy.set_waiting(true);
        assert!(idle.is_asked());
        idle.give();
        assert!(!idle.is_asked(), "it is promised one");
        assert!(busy.take());
    }

    #[test]
    fn the_last_connection_of_a_lane_is_its_own_for_a_while() {
        let budget = Budget::new(1);
        let (one, two) = (budget.share(), budget.share());
        assert!(one.take());
        two.set_waiting(true);
        assert!(!one.owes(Duration::ZERO) && one.owes(OLD));
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
