//! Lane directories and segment files: names, listing, and reading entry by entry.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::entry::{self, Entry, Malformed};

/// The first bytes of a segment file.
pub(super) const MAGIC: &[u8; 8] = b"PGWKTEV1";

/// The directory of a lane.
pub(super) fn lane_directory(journal: &Path, lane: u16) -> PathBuf {
    journal.join(format!("lane-{lane:04}"))
}

/// The file of a segment.
pub(super) fn segment_path(lane_directory: &Path, segment: u64) -> PathBuf {
    lane_directory.join(format!("{segment:08}.seg"))
}

/// Creates a lane's directory. Evidence holds rows, so it is its owner's alone.
pub(super) fn create_directory(lane_directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(lane_directory)
}

/// Options to open a file for writing, its owner's alone if it is new.
pub(super) fn writing() -> OpenOptions {
    let mut options = File::options();
    options.write(true).mode(0o600);
    options
}

/// The lanes of a journal, by number.
pub(super) fn lanes(journal: &Path) -> io::Result<Vec<(u16, PathBuf)>> {
    numbered(journal, |name| name.strip_prefix("lane-")?.parse().ok())
}

/// The segments of a lane, by number.
pub(super) fn segments(lane_directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    numbered(lane_directory, |name| name.strip_suffix(".seg")?.parse().ok())
}

fn numbered<N: Ord>(directory: &Path, number: impl Fn(&str) -> Option<N>) -> io::Result<Vec<(N, PathBuf)>> {
    let mut found = Vec::new();
    for item in fs::read_dir(directory)? {
        let item = item?;
        if let Some(number) = item.file_name().to_str().and_then(&number) {
            found.push((number, item.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a segment file from its start. A file that grows meanwhile is read as far as it goes.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: BufReader<File>,
    offset: u64,
    buffer: Vec<u8>,
}

/// What comes next in a segment file.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The file ends here, between entries.
    End,
    /// An entry whose own hash holds.
    Entry {
        /// Where it starts.
        offset: u64,
        /// The entry.
        entry: Entry<'a>,
    },
    /// No entry can be read here.
    Damaged {
        /// Where it should start.
        offset: u64,
        /// Why.
        reason: Malformed,
        /// What could be read of it.
        bytes: &'a [u8],
    },
}

impl SegmentReader {
    /// Opens a file and reads its magic; `None` when it has none (an empty, torn or foreign file).
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
        let mut magic = Vec::with_capacity(MAGIC.len());
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        Ok((magic == MAGIC).then(|| Self { file, offset: MAGIC.len() as u64, buffer: Vec::new() }))
    }

    /// Goes to where an entry is known to start.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        Ok(())
    }

    /// Reads the next entry. After damage the reader stays there.
    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        let offset = self.offset;
        self.buffer.clear();
        self.file.by_ref().take(4).read_to_end(&mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(Step::End);
        }
        let read = match entry::announced_length(&self.buffer) {
            Ok(length) => {
                // `take` bounds what a damaged length can make us read: the file's own size.
                self.file.by_ref().take(length as u64 - 4).read_to_end(&mut self.buffer)?;
                self.buffer.shrink_to(1 << 22);
                entry::parse(&self.buffer)
            }
            Err(reason) => Err(reason),
        };
        match read {
            Ok(entry) => {
                self.offset += entry.length as u64;
                Ok(Step::Entry { offset, entry })
            }
            Err(reason) => {
                self.file.seek(SeekFrom::Start(offset))?;
                Ok(Step::Damaged { offset, reason, bytes: &self.buffer })
            }
        }
    }

    /// After damage: finds the next entry that is whole and newer than `sequence`, and goes there.
    pub(super) fn resync(&mut self, sequence: u64) -> io::Result<Option<u64>> {
        let start = self.offset;
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_to_end(&mut rest)?;
        let newest = sequence.saturating_add(2 + (rest.len() / entry::OVERHEAD) as u64);
        for skip in 1..rest.len() {
            let Some(candidate) = rest.get(skip..) else { break };
            let plausible = matches!(candidate, [_, _, _, _, entry::VERSION, 1..=8, 0, 0, number @ ..]
                if number.first_chunk().is_some_and(|number| (sequence + 1..=newest).contains(&u64::from_be_bytes(*number))));
            if plausible && entry::parse(candidate).is_ok() {
                self.seek(start + skip as u64)?;
                return Ok(Some(self.offset));
            }
        }
        Ok(None)
    }
}
