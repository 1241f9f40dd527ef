//! File descriptors: a connection needs one, and the usual soft limit of 1024 is from another time.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but connections: journal, listeners, policy files, runtimes.
const OTHERS: u64 = 256;

/// Raises the soft limit as far as the hard one allows, and says so when that is not enough for the connections
/// that are to be admitted (a client's and, at worst, one to a source each).
pub(super) fn raise_limit(max_connections: usize) {
    let needed = (max_connections as u64).saturating_mul(2).saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    let enough = |current: Option<u64>| current.is_none_or(|current| current >= needed);
    if enough(limit.current) {
        return;
    }
    let wanted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    if raised.is_err() || !enough(Some(wanted)) {
        tracing::warn!(needed, available = wanted, "too few file descriptors for --max-connections (ulimit -n)");
    }
}
