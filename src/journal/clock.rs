//! The wall clock of the journal, and evidence ids.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

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

/// Makes evidence ids that grow within a lane even when the clock steps back. An agent reads its own: what is between two of them
/// says nothing of how many others were made, so they are no counter, and no generator whose state can be computed from them.
#[derive(Debug)]
pub(super) struct IdMaker {
    milliseconds: u64,
    unique: u128,
}

/// Bits beside the time.
const UNIQUE: u32 = 80;
/// Two ids of a millisecond are this many bits apart at most; how far is random in its size, too.
const STEP_BITS: u32 = 48;

impl IdMaker {
    pub(super) fn new(not_before: u64) -> Self {
        Self { milliseconds: not_before, unique: begun() }
    }

    /// The next id.
    pub(super) fn next(&mut self, microseconds: u64) -> EvidenceId {
        let now = microseconds / 1000;
        self.unique += step();
        if now > self.milliseconds {
            (self.milliseconds, self.unique) = (now, begun());
        } else if self.unique >> UNIQUE != 0 {
            (self.milliseconds, self.unique) = (self.milliseconds + 1, begun());
        }
        EvidenceId::new(self.milliseconds, self.unique)
    }
}

/// Where a millisecond begins: in the lower half, so that there is room above.
fn begun() -> u128 {
    rand::random::<u128>() >> (129 - UNIQUE)
}

fn step() -> u128 {
    let size = rand::random::<u32>() % STEP_BITS;
    1 + u128::from(rand::random::<u64>() >> (63 - size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_even_when_the_clock_steps_back() {
        let mut ids = IdMaker::new(0);
        let times = [5_000_000, 5_000_400, 5_001_000, 1_000, 5_001_000, 6_000_000];
        let made: Vec<_> = times.iter().map(|time| ids.next(*time)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        assert_eq!(made[5].unix_milliseconds(), 6_000);
    }

    /// What stands between two ids is not how many were made: those of one millisecond are no counter, and the next one does not
    /// follow from those that somebody has seen.
    #[test]
    fn ids_do_not_count() {
        let unique = |id: EvidenceId| u128::from_be_bytes(id.to_bytes()) & ((1 << UNIQUE) - 1);
        let apart = |between: usize| {
            let mut ids = IdMaker::new(0);
            let first = unique(ids.next(5_000_000));
            for _ in 0..between {
                ids.next(5_000_000);
            }
            unique(ids.next(5_000_000)) - first
        };
        let of = |between: usize| (0..200).map(|_| apart(between)).collect::<std::collections::BTreeSet<_>>();
        let (none, some) = (of(0), of(3));
        assert!(none.len() > 150 && none.last() > some.first(), "the ranges overlap");
        let mut one = IdMaker::new(0);
        let mut other = IdMaker::new(0);
        assert_ne!(one.next(5_000_000), other.next(5_000_000));
        assert!(one.next(5_000_000) < one.next(5_001_000));
    }
}
