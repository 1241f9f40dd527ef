//! What can go wrong with the journal.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The journal could not record, or could not be opened. The statement must fail (58030).
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused: no space, a failing disk, missing rights.
    #[error("cannot {action} {path}: {reason}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// Another process holds the lane.
    #[error("journal lane {path} is in use by another process", path = .path.display())]
    Locked {
        /// The lane's directory.
        path: PathBuf,
    },
    /// The chain does not hold; nothing may be appended to it.
    #[error("journal chain is broken in {path} at entry {entry} (byte {offset}): {reason}; see docs/EVIDENCE.md, \"A broken chain\"", path = .path.display())]
    Chain {
        /// The segment file.
        path: PathBuf,
        /// Sequence number in the lane of the entry that does not hold.
        entry: u64,
        /// Where it starts in the file.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The file that says how far a lane was durable does not hold a number.
    #[error("{path} does not say how far the lane was durable; see docs/EVIDENCE.md, \"A broken chain\"", path = .path.display())]
    Head {
        /// The file.
        path: PathBuf,
    },
    /// An entry larger than the format can say.
    #[error("journal entry of {bytes} bytes is too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// `fdatasync` failed, so the last entries may not survive a power loss.
    #[error("journal data could not be made durable: {reason}")]
    Sync {
        /// The operating system's reason.
        reason: Arc<str>,
    },
    /// An earlier write failed and the lane could not be brought back to its last whole entry yet.
    #[error("journal lane {lane} is broken by an earlier error: {reason}")]
    Broken {
        /// Lane number.
        lane: u16,
        /// The earlier error.
        reason: Arc<str>,
    },
}

impl JournalError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |reason| Self::Io { action, path, reason: Arc::new(reason) }
    }
}
