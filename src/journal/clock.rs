//! The wall clock of the journal, and evidence ids.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rand::Rng as _;

use crate::types::EvidenceId;

/// A wall clock. Tests pass their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "the journal's one reading of the clock")]
    pub fn system() -> Self {
        Self::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
    }

    /// A clock that answers microseconds since the Unix epoch.
    pub fn new(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Microseconds since the Unix epoch.
    pub fn microseconds(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Makes evidence ids that grow within a lane even when the clock steps back.
#[derive(Debug)]
pub(super) struct IdMaker {
    lane: u16,
    milliseconds: u64,
    counter: u32,
    noise: u64,
}

const COUNTER_BITS: u32 = 24;

impl IdMaker {
    pub(super) fn new(lane: u16, not_before: u64) -> Self {
        Self { lane, milliseconds: not_before, counter: 0, noise: rand::rng().next_u64() | 1 }
    }

    /// The next id: 80 unique bits are a counter (24), the lane (12) and noise (44).
    pub(super) fn next(&mut self, microseconds: u64) -> EvidenceId {
        let now = microseconds / 1000;
        self.counter += 1;
        if now > self.milliseconds {
            (self.milliseconds, self.counter) = (now, 0);
        } else if self.counter >> COUNTER_BITS != 0 {
            (self.milliseconds, self.counter) = (self.milliseconds + 1, 0);
        }
        // xorshift64: the noise need not be secret, only different between machines and restarts.
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        let unique = (u128::from(self.counter) << 56) | (u128::from(self.lane & 0xfff) << 44) | u128::from(self.noise & ((1 << 44) - 1));
        EvidenceId::new(self.milliseconds, unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_even_when_the_clock_steps_back() {
        let mut ids = IdMaker::new(3, 0);
        let times = [5_000_000, 5_000_400, 5_001_000, 1_000, 5_001_000, 6_000_000];
        let made: Vec<_> = times.iter().map(|time| ids.next(*time)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        assert_eq!(made[5].unix_milliseconds(), 6_000);
    }
}
