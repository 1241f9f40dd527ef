//! Fields that repeat are written once a segment and referred to after that.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{
    entry::{Batch, Kind},
    error::JournalError,
    field::{Tag, put_integer},
};

/// Shared blocks of a segment at most; past it fields are written inline.
const CAPACITY: usize = 65_536;
/// Slots that remember blocks seen once.
const SEEN: usize = 4_096;
/// A block shorter than this is not worth a reference.
const WORTH: usize = 24;

/// What a block of fields becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inline,
    Known(u64),
    New,
}

/// The blocks that the current segment holds.
#[derive(Debug)]
pub(super) struct Dictionary {
    known: HashMap<[u8; 32], u64>,
    seen: Box<[u64]>,
    pending: Vec<([u8; 32], u64)>,
}

/// One block of an operation: its fields, and how the entry will hold them.
#[derive(Debug, Default)]
pub(super) struct Block {
    fields: Vec<u8>,
    reference: Option<u64>,
}

impl Block {
    /// Empties it for the next operation and answers where its fields go.
    pub(super) fn fields(&mut self) -> &mut Vec<u8> {
        self.fields.clear();
        self.fields.shrink_to(1 << 20);
        self.reference = None;
        &mut self.fields
    }

    /// Puts the fields, or the reference to them, in an entry.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self.reference {
            Some(sequence) => put_integer(out, Tag::Shared, sequence),
            None => out.extend_from_slice(&self.fields),
        }
    }
}

impl Dictionary {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), seen: vec![0; SEEN].into(), pending: Vec::new() }
    }

    /// A new segment began: it holds no blocks yet.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.pending.clear();
    }

    /// Decides how a block is held; a block seen for the second time gets a Shared entry in the batch.
    pub(super) fn place(&mut self, block: &mut Block, batch: &mut Batch) -> Result<(), JournalError> {
        if block.fields.len() < WORTH {
            return Ok(());
        }
        let digest: [u8; 32] = Sha256::digest(&block.fields).into();
        block.reference = match self.find(&digest) {
            Place::Inline => None,
            Place::Known(sequence) => Some(sequence),
            Place::New => {
                batch.begin(Kind::Shared).extend_from_slice(&block.fields);
                batch.finish()?;
                self.pending.push((digest, batch.sequence()));
                Some(batch.sequence())
            }
        };
        Ok(())
    }

    /// The batch was written.
    pub(super) fn commit(&mut self) {
        self.known.extend(self.pending.drain(..));
    }

    /// The batch was not written.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
    }

    fn find(&mut self, digest: &[u8; 32]) -> Place {
        if let Some(sequence) = self.known.get(digest) {
            return Place::Known(*sequence);
        }
        let Some((first, _)) = digest.split_first_chunk::<8>() else { return Place::Inline };
        let mark = u64::from_be_bytes(*first) | 1;
        let Some(slot) = usize::try_from(mark >> 52).ok().and_then(|slot| self.seen.get_mut(slot)) else { return Place::Inline };
        if *slot == mark && self.known.len() + self.pending.len() < CAPACITY {
            return Place::New;
        }
        *slot = mark;
        Place::Inline
    }
}
