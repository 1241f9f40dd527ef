//! How many may be connected: over the whole process while they say who they are, in sessions, and per agent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::refused::Refused;
use crate::types::AgentName;

/// Connections counted against their bounds.
#[derive(Debug)]
pub struct Admission {
    max_handshakes: usize,
    max_sessions: usize,
    handshakes: AtomicUsize,
    sessions: AtomicUsize,
    agents: Mutex<HashMap<AgentName, usize>>,
}

/// A connection that has not authenticated yet; counted until dropped.
#[derive(Debug)]
pub struct HandshakePermit(Arc<Admission>);

/// An authenticated connection; counted until dropped.
#[derive(Debug)]
pub struct SessionPermit {
    admission: Arc<Admission>,
    agent: AgentName,
}

impl Admission {
    /// Bounds for the whole process. Units: connections.
    pub fn new(max_handshakes: usize, max_sessions: usize) -> Arc<Self> {
        let (handshakes, sessions) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { max_handshakes, max_sessions, handshakes, sessions, agents: Mutex::default() })
    }

    /// Admits a connection that was just accepted; `None` over the bound, and it should be closed unanswered.
    pub fn handshake(self: &Arc<Self>) -> Option<HandshakePermit> {
        take(&self.handshakes, self.max_handshakes).then(|| HandshakePermit(Arc::clone(self)))
    }

    /// Whether a session could be admitted now. Asked before a proof, so that a full server does no hashing.
    pub(super) fn is_full(&self) -> bool {
        self.sessions.load(Ordering::Relaxed) >= self.max_sessions
    }

    /// Admits an agent that proved itself.
    pub(super) fn session(self: &Arc<Self>, agent: &AgentName, max_of_agent: usize) -> Result<SessionPermit, Refused> {
        if !take(&self.sessions, self.max_sessions) {
            return Err(Refused::TooManyConnections);
        }
        let mut agents = self.agents.lock();
        let connected = agents.entry(agent.clone()).or_default();
        if *connected >= max_of_agent {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::TooManyOfAgent { agent: agent.to_string() });
        }
        *connected += 1;
        Ok(SessionPermit { admission: Arc::clone(self), agent: agent.clone() })
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

fn take(counter: &AtomicUsize, max: usize) -> bool {
    counter.try_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1)).is_ok()
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.admission.sessions.fetch_sub(1, Ordering::Relaxed);
        let mut agents = self.admission.agents.lock();
        if let Some(connected) = agents.get_mut(&self.agent) {
            *connected -= 1;
            if *connected == 0 {
                agents.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_total_and_per_agent() {
        let (ada, bob): (AgentName, AgentName) = ("ada".parse().unwrap(), "bob".parse().unwrap());
        let admission = Admission::new(1, 2);
        let one = admission.session(&ada, 1).unwrap();
        assert!(matches!(admission.session(&ada, 1), Err(Refused::TooManyOfAgent { .. })));
        assert_eq!(admission.sessions(), 1, "a refused one does not count");
        let two = admission.session(&bob, 9).unwrap();
        assert!(admission.is_full() && matches!(admission.session(&bob, 9), Err(Refused::TooManyConnections)));
        drop((one, two));
        assert!(admission.session(&ada, 1).is_ok() && admission.agents.lock().is_empty());

        let handshake = admission.handshake();
        assert!(handshake.is_some() && admission.handshake().is_none());
        drop(handshake);
        assert!(admission.handshake().is_some());
    }
}
