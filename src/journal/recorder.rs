//! Takes the rows of one statement as they pass: counts, digest, and the rows the policy keeps.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{
    error::JournalError,
    field::{Tag, put, put_integer, put_parts},
    lane::Lane,
};
use crate::{policy::EvidenceRows, types::EvidenceId};

/// Kept bytes that make a Rows entry.
pub(super) const CHUNK: usize = 256 * 1024;
/// Kept bytes that fit in the outcome itself.
pub(super) const INLINE: usize = 64 * 1024;
/// Fewer bytes are not worth compressing.
const COMPRESS: usize = 256;

/// Records the rows of one statement. Made by [`Lane::recorder`], consumed by [`Lane::outcome`].
pub struct Recorder {
    pub(super) id: EvidenceId,
    keep: EvidenceRows,
    hasher: Sha256,
    rows: u64,
    bytes: u64,
    kept: u64,
    pub(super) chunks: u64,
    pub(super) buffer: Vec<u8>,
    sampling: Sampling,
}

/// Where a sample is within the message stream.
#[derive(Debug, Default)]
struct Sampling {
    taken: u64,
    header: [u8; 5],
    header_length: usize,
    body_left: usize,
}

impl Recorder {
    pub(super) fn new(id: EvidenceId, keep: EvidenceRows, buffer: Vec<u8>) -> Self {
        Self { id, keep, hasher: Sha256::new(), rows: 0, bytes: 0, kept: 0, chunks: 0, buffer, sampling: Sampling::default() }
    }

    /// Rows recorded so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of DataRow messages recorded so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes of the result: DataRow messages as they came, in order, complete or in pieces, nothing
    /// else; `rows_completed` of them end within these bytes. Writes a Rows entry when enough has gathered.
    pub fn record(&mut self, lane: &mut Lane, data_rows: &[u8], rows_completed: u64) -> Result<(), JournalError> {
        self.hasher.update(data_rows);
        self.rows += rows_completed;
        self.bytes += data_rows.len() as u64;
        let mut keep = data_rows.get(..self.wanted(data_rows)).unwrap_or_default();
        while !keep.is_empty() {
            let room = CHUNK.saturating_sub(self.buffer.len()).min(keep.len());
            let (now, later) = keep.split_at(room);
            self.buffer.extend_from_slice(now);
            self.kept += room as u64;
            keep = later;
            if self.buffer.len() >= CHUNK {
                lane.rows(self)?;
                self.buffer.clear();
                self.chunks += 1;
            }
        }
        Ok(())
    }

    /// How many of the first of these bytes are kept.
    fn wanted(&mut self, bytes: &[u8]) -> usize {
        match self.keep {
            EvidenceRows::Digest => 0,
            EvidenceRows::Full { max_bytes } => usize::try_from(max_bytes.saturating_sub(self.kept)).unwrap_or(usize::MAX).min(bytes.len()),
            EvidenceRows::Sample { rows } => self.sampling.advance(bytes, rows),
        }
    }

    /// The fields of the outcome that tell of the rows.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let kept = match self.keep {
            EvidenceRows::Full { .. } if self.kept == self.bytes => 1,
            EvidenceRows::Full { .. } => 2,
            EvidenceRows::Digest => 3,
            EvidenceRows::Sample { .. } => 4,
        };
        put(out, Tag::RowsDigest, &self.hasher.clone().finalize());
        put(out, Tag::RowsKept, &[kept]);
        put_integer(out, Tag::KeptBytes, self.kept);
        put_integer(out, Tag::Chunk, self.chunks);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("id", &self.id).field("rows", &self.rows).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Sampling {
    /// Walks messages until `rows` of them have passed; answers how many of these bytes that takes.
    fn advance(&mut self, bytes: &[u8], rows: u64) -> usize {
        let mut at = 0;
        while self.taken < rows && at < bytes.len() {
            if self.header_length < 5 {
                let Some((place, byte)) = self.header.get_mut(self.header_length).zip(bytes.get(at)) else { break };
                *place = *byte;
                self.header_length += 1;
                at += 1;
                let [_, length @ ..] = self.header;
                self.body_left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
            }
            if self.header_length == 5 {
                let step = self.body_left.min(bytes.len() - at);
                self.body_left -= step;
                at += step;
                if self.body_left == 0 {
                    self.header_length = 0;
                    self.taken += 1;
                }
            }
        }
        at
    }
}

/// Compresses kept rows; one a lane, so that nothing is allocated for a statement.
pub(super) struct Compressor {
    table: lz4_flex::block::CompressTable,
    output: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { table: lz4_flex::block::CompressTable::large(), output: Vec::new() }
    }

    /// Puts kept rows in an entry, compressed when that is smaller.
    pub(super) fn put(&mut self, rows: &[u8], out: &mut Vec<u8>) {
        if rows.is_empty() {
            return;
        }
        if rows.len() >= COMPRESS {
            let most = lz4_flex::block::get_maximum_output_size(rows.len());
            if self.output.len() < most {
                self.output.resize(most, 0);
            }
            let size = lz4_flex::block::compress_into_with_table(rows, &mut self.output, &mut self.table).unwrap_or(usize::MAX);
            let length = u32::try_from(rows.len()).unwrap_or(u32::MAX).to_be_bytes();
            if let Some(compressed) = self.output.get(..size).filter(|compressed| compressed.len() + 4 < rows.len()) {
                return put_parts(out, Tag::RowsLz4, &[&length, compressed]);
            }
        }
        put(out, Tag::RowsPlain, rows);
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}
