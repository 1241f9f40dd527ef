//! How many may be connected: over the whole process while they say who they are, in sessions, and per agent.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::refused::Refused;
use crate::{types::AgentName, wire::network};

/// One address holds this part of the places for those who have not authenticated.
const SHARES: usize = 4;

/// Connections counted against their bounds.
#[derive(Debug)]
pub struct Admission {
    max_handshakes: usize,
    max_sessions: usize,
    handshakes: Mutex<Handshakes>,
    sessions: AtomicUsize,
    agents: Mutex<HashMap<AgentName, usize>>,
}

/// Connections that have not authenticated yet, in all and by address.
#[derive(Debug, Default)]
struct Handshakes {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection that has not authenticated yet; counted until dropped.
#[derive(Debug)]
pub struct HandshakePermit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

/// An authenticated connection; counted until dropped.
#[derive(Debug)]
pub struct SessionPermit {
    admission: Arc<Admission>,
    agent: AgentName,
}

impl Admission {
    /// Bounds for the whole process. Units: connections.
    pub fn new(max_handshakes: usize, max_sessions: usize) -> Arc<Self> {
        let sessions = AtomicUsize::new(0);
        Arc::new(Self { max_handshakes, max_sessions, handshakes: Mutex::default(), sessions, agents: Mutex::default() })
    }

    /// Admits a connection that was just accepted; `None` over the bound, and it should be closed unanswered. One address holds
    /// a quarter of all places at most, so that nobody keeps everybody else out. `address`: `None` over a unix socket, which has
    /// the system's own rights.
    pub fn handshake(self: &Arc<Self>, address: Option<IpAddr>) -> Option<HandshakePermit> {
        let address = address.map(network);
        let mut handshakes = self.handshakes.lock();
        let of_address = address.map_or(0, |address| handshakes.by_address.get(&address).copied().unwrap_or(0));
        if handshakes.all >= self.max_handshakes || of_address >= self.max_handshakes.div_ceil(SHARES) {
            return None;
        }
        handshakes.all += 1;
        if let Some(address) = address {
            handshakes.by_address.insert(address, of_address + 1);
        }
        Some(HandshakePermit { admission: Arc::clone(self), address })
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
        let mut handshakes = self.admission.handshakes.lock();
        handshakes.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(of_address) = handshakes.by_address.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                handshakes.by_address.remove(&address);
            }
        }
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

        let handshake = admission.handshake(None);
        assert!(handshake.is_some() && admission.handshake(None).is_none());
        drop(handshake);
        assert!(admission.handshake(None).is_some());
    }

    /// Without the share of an address the second client of another address finds no place.
    #[test]
    fn one_address_does_not_keep_the_others_out() {
        let admission = Admission::new(8, 2);
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let silent: Vec<_> = std::iter::from_fn(|| admission.handshake(address("10.0.0.1"))).take(100).collect();
        assert_eq!(silent.len(), 2, "a quarter");
        assert!(admission.handshake(address("::ffff:10.0.0.1")).is_none(), "the same address");
        let others: Vec<_> = (1..5).map(|number| admission.handshake(address(&format!("2001:db8:{number}::1")))).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(admission.handshake(address("2001:db8:1::2")).is_some() && admission.handshake(None).is_some());
        drop((silent, others));
        assert!(admission.handshakes.lock().by_address.is_empty());
        assert_eq!(admission.handshakes.lock().all, 0);
    }
}
