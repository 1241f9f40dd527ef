//! CancelRequest: which session a key belongs to, and how the session hears of it.
//!
//! The session is the only one that knows what runs upstream, so it does the cancelling: it takes a
//! [`CancelTicket`] when a statement starts and waits for [`CancelSlot::requested`] beside the upstream
//! read. A request that comes between two statements is thereby forgotten, as PostgreSQL forgets it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;

/// Sessions by process id, one for the process.
#[derive(Debug, Default)]
pub struct CancelRegistry {
    sessions: Mutex<HashMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: Box<[u8]>,
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Signal {
    requests: AtomicU64,
    arrived: Notify,
}

/// A session's place in the registry. Dropping it forgets the key.
#[derive(Debug)]
pub struct CancelSlot {
    registry: Arc<CancelRegistry>,
    process_id: i32,
    signal: Arc<Signal>,
}

/// The moment a statement started: only requests after it count.
#[derive(Debug, Clone, Copy)]
pub struct CancelTicket(u64);

impl CancelRegistry {
    /// Registers a session under a fresh process id, which clients see: a random one, so that it does not count the sessions of others.
    /// `secret` is from the operating system's generator.
    pub fn register(self: &Arc<Self>, secret: &[u8]) -> (i32, CancelSlot) {
        let signal = Arc::new(Signal::default());
        let mut sessions = self.sessions.lock();
        let process_id = loop {
            let candidate = rand::random::<i32>() & i32::MAX;
            if candidate != 0 && !sessions.contains_key(&candidate) {
                break candidate;
            }
        };
        sessions.insert(process_id, Entry { secret: secret.into(), signal: Arc::clone(&signal) });
        (process_id, CancelSlot { registry: Arc::clone(self), process_id, signal })
    }

    /// Delivers a CancelRequest; whether the key was right is never told to the peer.
    pub fn cancel(&self, process_id: i32, secret: &[u8]) -> bool {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.get(&process_id) else { return false };
        if !bool::from(entry.secret.ct_eq(secret)) {
            return false;
        }
        entry.signal.requests.fetch_add(1, Ordering::Release);
        entry.signal.arrived.notify_waiters();
        true
    }

    /// Sessions registered now.
    pub fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }
}

impl CancelSlot {
    /// Marks the start of a statement.
    pub fn ticket(&self) -> CancelTicket {
        CancelTicket(self.signal.requests.load(Ordering::Acquire))
    }

    /// Waits for a request made after `ticket`. Cancel safe; never ends when there is none.
    pub async fn requested(&self, ticket: CancelTicket) {
        loop {
            // Created before the count is read: `notify_waiters` wakes every future that exists by then.
            let arrived = self.signal.arrived.notified();
            if self.is_requested(ticket) {
                return;
            }
            arrived.await;
        }
    }

    /// Whether a request was made after `ticket`.
    pub fn is_requested(&self, ticket: CancelTicket) -> bool {
        self.signal.requests.load(Ordering::Acquire) != ticket.0
    }
}

impl Drop for CancelSlot {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.process_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_only_the_session_of_its_key_and_only_what_runs() {
        let registry = Arc::new(CancelRegistry::default());
        let (one, slot_one) = registry.register(&[11; 32]);
        let (_, slot_two) = registry.register(&[22; 32]);
        let before = slot_one.ticket();
        let other = slot_two.ticket();
        assert!(!registry.cancel(one, &[22; 32]), "another session's secret");
        assert!(!registry.cancel(one ^ 1, &[11; 32]), "no such session");
        assert!(!slot_one.is_requested(before));
        assert!(!registry.cancel(one, &[11; 4]), "a part of the secret");
        assert!(registry.cancel(one, &[11; 32]));
        slot_one.requested(before).await;
        assert!(!slot_one.is_requested(slot_one.ticket()), "the next statement is not cancelled by an old request");
        assert!(!slot_two.is_requested(other));
        drop(slot_one);
        assert!(!registry.cancel(one, &[11; 32]), "the key died with its session");
        assert_eq!(registry.sessions(), 1);
    }

    #[test]
    fn a_process_id_counts_nothing() {
        let registry = Arc::new(CancelRegistry::default());
        let slots: Vec<_> = (0..100).map(|_| registry.register(&[1; 4])).collect();
        let ids: Vec<i32> = slots.iter().map(|(id, _)| *id).collect();
        assert!(ids.iter().all(|id| *id > 0));
        // Of random ids about half are lower than the one before; of those that count, none is.
        assert!(ids.windows(2).filter(|pair| pair[1] < pair[0]).count() > 20, "{ids:?}");
    }

    #[tokio::test]
    async fn a_waiting_session_is_woken() {
        let registry = Arc::new(CancelRegistry::default());
        let (process_id, slot) = registry.register(&[7; 4]);
        let ticket = slot.ticket();
        let waiting = tokio::spawn(async move { slot.requested(ticket).await });
        tokio::task::yield_now().await;
        assert!(registry.cancel(process_id, &[7; 4]));
        assert!(waiting.await.is_ok());
    }
}
