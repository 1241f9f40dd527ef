//! What verification answers: findings, counts, and anchors to keep elsewhere.

use std::{fmt, path::PathBuf, str::FromStr};

use super::entry::HASH;
use crate::types::{Digest, EvidenceId};

/// What verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, in journal order. The first of a lane is the cause; later ones may follow from it.
    pub findings: Vec<Finding>,
    /// What is worth knowing but not wrong.
    pub notes: Vec<String>,
    /// Lanes read.
    pub lanes: u64,
    /// Segment files read.
    pub segments: u64,
    /// Entries whose hash holds.
    pub entries: u64,
    /// Statements that were decided on, refused ones included.
    pub statements: u64,
    /// Refused statements.
    pub refused: u64,
    /// Statements whose process stopped before their outcome.
    pub interrupted: u64,
    /// Statements without outcome whose process may still be running.
    pub running: u64,
    /// Rows recomputed and matched with their digest.
    pub rows: u64,
    /// The end of each lane, to be kept elsewhere.
    pub heads: Vec<Anchor>,
}

/// Something wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Lane number.
    pub lane: u16,
    /// The segment file, or the lane's directory.
    pub file: PathBuf,
    /// Sequence number of the entry in its lane, when one is meant.
    pub entry: Option<u64>,
    /// Where the entry starts in the file.
    pub offset: Option<u64>,
    /// The statement, when it can be read.
    pub id: Option<EvidenceId>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {} {}", self.lane, self.file.display())?;
        if let Some(entry) = self.entry {
            write!(f, " entry {entry}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " byte {offset}")?;
        }
        if let Some(id) = self.id {
            write!(f, " {id}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// An entry's place and hash, kept where the journal's writer cannot reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Lane number.
    pub lane: u16,
    /// Sequence number of the entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {} sequence {} sha256 {}", self.lane, self.sequence, self.hash)
    }
}

/// A line that is not an anchor.
#[derive(Debug, thiserror::Error)]
#[error("not an anchor (lane N sequence N sha256 HEX): {0}")]
pub struct InvalidAnchor(String);

impl FromStr for Anchor {
    type Err = InvalidAnchor;

    fn from_str(text: &str) -> Result<Self, InvalidAnchor> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let parsed = || {
            let ["lane", lane, "sequence", sequence, "sha256", digits] = words.as_slice() else { return None };
            let mut hash = [0; HASH];
            for (index, byte) in hash.iter_mut().enumerate() {
                *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
            }
            (digits.len() == 2 * HASH).then_some(())?;
            Some(Self { lane: lane.parse().ok()?, sequence: sequence.parse().ok()?, hash: Digest(hash) })
        };
        parsed().ok_or_else(|| InvalidAnchor(text.to_owned()))
    }
}
