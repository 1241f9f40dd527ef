//! The framing of an entry and its hash.
//!
//! `length (4) | version (1) | kind (1) | zero (2) | sequence (8) | previous hash (32) | payload | hash (32)`, where
//! the length counts the whole entry and the hash is SHA-256 over everything before it. Big-endian.

use sha2::{Digest as _, Sha256};

use super::error::JournalError;

/// Version of the entry format.
pub(super) const VERSION: u8 = 1;
/// Bytes before the payload.
pub(super) const HEADER: usize = 48;
/// Bytes of a hash.
pub(super) const HASH: usize = 32;
/// Bytes of an entry without payload.
pub(super) const OVERHEAD: usize = HEADER + HASH;

/// SHA-256 of an entry.
pub(super) type Hash = [u8; HASH];

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first entry of a segment file.
    Segment = 1,
    /// A process began to write the lane.
    Open = 2,
    /// Fields that later entries of the segment refer to.
    Shared = 3,
    /// A statement was decided on.
    Decision = 4,
    /// Rows of a statement.
    Rows = 5,
    /// A statement ended.
    Outcome = 6,
    /// A torn tail was moved aside.
    Repair = 7,
    /// The process stopped in good order.
    Close = 8,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Segment,
            2 => Self::Open,
            3 => Self::Shared,
            4 => Self::Decision,
            5 => Self::Rows,
            6 => Self::Outcome,
            7 => Self::Repair,
            8 => Self::Close,
            _ => return None,
        })
    }
}

/// Whole entries, chained, for one write.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    start: usize,
    sequence: u64,
    previous: Hash,
    entries: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(4096), start: 0, sequence: 0, previous: [0; HASH], entries: 0 }
    }

    /// Forgets what it holds and continues after this entry. A large buffer is given back.
    pub(super) fn restart(&mut self, sequence: u64, previous: Hash) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        (self.start, self.sequence, self.previous, self.entries) = (0, sequence, previous, 0);
    }

    /// Bytes outside any entry: a file's magic.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Opens an entry and answers where its fields go.
    pub(super) fn begin(&mut self, kind: Kind) -> &mut Vec<u8> {
        self.start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend_from_slice(&[0, 0, 0, 0, VERSION, kind as u8, 0, 0]);
        self.bytes.extend_from_slice(&self.sequence.to_be_bytes());
        self.bytes.extend_from_slice(&self.previous);
        &mut self.bytes
    }

    /// Closes the entry that [`Self::begin`] opened.
    pub(super) fn finish(&mut self) -> Result<(), JournalError> {
        let bytes = self.bytes.len() - self.start + HASH;
        let Ok(length) = u32::try_from(bytes) else { return Err(JournalError::TooLarge { bytes }) };
        if let Some(place) = self.bytes.get_mut(self.start..self.start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        let hash: Hash = Sha256::digest(self.bytes.get(self.start..).unwrap_or_default()).into();
        self.bytes.extend_from_slice(&hash);
        self.previous = hash;
        self.entries += 1;
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sequence number of the last entry.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Hash of the last entry.
    pub(super) fn hash(&self) -> Hash {
        self.previous
    }

    /// Number of entries.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }
}

/// An entry as read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) previous: Hash,
    pub(super) payload: &'a [u8],
    pub(super) hash: Hash,
    /// Bytes of the whole entry.
    pub(super) length: usize,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// The bytes end before the entry does.
    #[error("the file ends within the entry")]
    Incomplete,
    /// The header says what no entry can be.
    #[error("the entry's header is damaged")]
    Header,
    /// The hash does not match.
    #[error("the entry's bytes do not match its hash")]
    Hash,
}

/// The length an entry's first bytes announce.
pub(super) fn announced_length(bytes: &[u8]) -> Result<usize, Malformed> {
    let announced = bytes.first_chunk::<4>().ok_or(Malformed::Incomplete)?;
    let length = u32::from_be_bytes(*announced) as usize;
    if length < OVERHEAD { Err(Malformed::Header) } else { Ok(length) }
}

/// Reads the entry at the start of `bytes` and checks its own hash (not its place in the chain).
pub(super) fn parse(bytes: &[u8]) -> Result<Entry<'_>, Malformed> {
    let length = announced_length(bytes)?;
    let whole = bytes.get(..length).ok_or(Malformed::Incomplete)?;
    let (hashed, hash) = whole.split_last_chunk::<HASH>().ok_or(Malformed::Incomplete)?;
    let computed: Hash = Sha256::digest(hashed).into();
    if computed != *hash {
        return Err(Malformed::Hash);
    }
    let (header, payload) = hashed.split_at_checked(HEADER).ok_or(Malformed::Header)?;
    let kind = match header {
        [_, _, _, _, VERSION, kind, 0, 0, ..] => Kind::from_number(*kind).ok_or(Malformed::Header)?,
        _ => return Err(Malformed::Header),
    };
    let sequence = header.get(8..).and_then(|rest| rest.first_chunk::<8>()).copied().map(u64::from_be_bytes).ok_or(Malformed::Header)?;
    let previous = *header.last_chunk::<HASH>().ok_or(Malformed::Header)?;
    Ok(Entry { kind, sequence, previous, payload, hash: *hash, length })
}
