//! What the kernel gives and keeps of this process: file descriptors (a connection needs one, and the usual soft limit of 1024 is
//! from another time), and that nobody looks into it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Descriptors for everything but connections: journal, listeners, policy files, runtimes.
const OTHERS: u64 = 256;

/// Keeps what is in this process from others: no core dump is written, and no other process of the same user reads its memory,
/// its environment or its descriptors (`/proc/<pid>/…`), or attaches a debugger.
pub fn keep_private() {
    let kept = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }));
    if let Err(error) = kept {
        tracing::warn!(%error, "the process's memory and environment stay readable to others of its user");
    }
}

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
