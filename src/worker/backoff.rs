//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt as _;

/// The wait after so many failures in a row, counted from 0: doubles from the first to the longest, and is somewhere in its
/// upper half, so that workers that failed together do not come back together.
pub(super) fn wait((first, longest): (Duration, Duration), failures: u64) -> Duration {
    let doublings = u32::try_from(failures.min(20)).unwrap_or(20);
    let full = first.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// A duration near this one.
pub(super) fn near(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.75..=1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let bounds = (Duration::from_secs(1), Duration::from_mins(1));
        for (failures, full) in [(0, 1), (1, 2), (5, 32), (6, 60), (u64::MAX, 60)] {
            let wait = wait(bounds, failures).as_secs_f64();
            assert!(wait >= f64::from(full) / 2.0 && wait <= f64::from(full), "{failures}: {wait}");
        }
    }
}
