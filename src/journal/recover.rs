//! Opening a lane: lock it, find its last whole entry, move a torn tail aside, refuse a broken chain.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{
    clock::Clock,
    entry::{Batch, Entry, HASH, Hash, Kind},
    error::JournalError,
    field::{Fields, Tag, integer, put, put_integer},
    lane::{Tail, create_segment},
    segment::{self, SegmentReader, Step},
    sync::read_head,
};
use crate::types::{Digest, EvidenceId};

/// A lane ready for its next entry; everything in it is durable.
pub(super) struct Recovered {
    pub(super) tail: Tail,
    pub(super) chain: [u8; 16],
    /// Milliseconds of the newest evidence id found.
    pub(super) newest: u64,
}

/// The lock file of a lane.
const LOCK: &str = "lock";

/// A lane's advisory locks, held until it is dropped: on its directory, which stays the same when somebody removes the lock file,
/// and on that file, which earlier versions and file systems that lock no directories go by.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: Option<File>,
    _file: File,
}

/// Takes the lane's lock. `evidence verify` may hold it for an instant, hence the patience.
pub(super) fn lock(directory: &Path) -> Result<Lock, JournalError> {
    let path = directory.join(LOCK);
    let taken = File::open(directory).map_err(JournalError::io("open", directory))?;
    let taken = take(&taken, directory)?.then_some(taken);
    let file = segment::writing().create(true).truncate(false).open(&path).map_err(JournalError::io("open", &path))?;
    if !take(&file, directory)? {
        return Err(JournalError::io("lock", &path)(ErrorKind::Unsupported.into()));
    }
    Ok(Lock { _directory: taken, _file: file })
}

/// Locks a file of the lane; false where the file system has no locks for it (NFS, of a directory).
fn take(file: &File, lane: &Path) -> Result<bool, JournalError> {
    for _ in 0..10 {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(30)),
            Err(TryLockError::Error(error)) if matches!(error.raw_os_error(), Some(EBADF | ENOLCK | EOPNOTSUPP)) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(JournalError::io("lock", lane)(error)),
        }
    }
    Err(JournalError::Locked { path: lane.to_path_buf() })
}

const EBADF: i32 = 9;
const ENOLCK: i32 = 37;
const EOPNOTSUPP: i32 = 95;

/// Whether a process holds the lane's lock.
pub(super) fn is_being_written(lane_directory: &Path) -> bool {
    [lane_directory.to_path_buf(), lane_directory.join(LOCK)].iter().any(|path| {
        let Ok(file) = File::open(path) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    })
}

/// Finds where a lane goes on.
pub(super) fn recover(directory: &Path, lane: u16, clock: &Clock, batch: &mut Batch) -> Result<Recovered, JournalError> {
    let mut segments = segment::segments(directory).map_err(JournalError::io("list", directory))?;
    let mut torn = Vec::new();
    while let Some((number, path)) = segments.pop() {
        let mut scan = Scan::new(&path, lane, number);
        if let Some((before, previous)) = segments.last() {
            scan.expect_previous(*before, previous)?;
        }
        scan.run()?;
        if scan.entries == 0 {
            torn.push(set_aside(&path, 0, clock)?);
            fs::remove_file(&path).map_err(JournalError::io("remove", &path))?;
            continue;
        }
        if scan.end < scan.file_length {
            torn.push(set_aside(&path, scan.end, clock)?);
        }
        let known = read_head(directory)?;
        if scan.sequence < known {
            return Err(scan.error(format!("entries up to {known} were durable, but the lane ends before")));
        }
        return scan.finish(directory, &segments, &torn, clock, batch);
    }
    if read_head(directory)? > 0 {
        return Err(JournalError::Chain {
            path: directory.to_path_buf(),
            entry: 1,
            offset: 0,
            reason: "entries were durable, but no segment file is left".to_owned(),
        });
    }
    batch.restart(0, [0; HASH]);
    let chain: [u8; 16] = rand::random();
    let (file, offset) = create_segment(directory, lane, 1, chain, clock.microseconds(), batch)?;
    let mut tail = Tail { segment: 1, file, offset, sequence: batch.sequence(), hash: batch.hash() };
    repair(&mut tail, directory, &torn, clock, batch)?;
    sync_all(directory, &[&tail.file])?;
    Ok(Recovered { tail, chain, newest: 0 })
}

/// Reads a lane's last segment and checks every entry and link.
struct Scan {
    path: PathBuf,
    lane: u16,
    number: u64,
    previous: Option<Hash>,
    hash: Hash,
    sequence: u64,
    entries: u64,
    end: u64,
    file_length: u64,
    chain: [u8; 16],
    newest: u64,
}

impl Scan {
    fn new(path: &Path, lane: u16, number: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            lane,
            number,
            previous: (number == 1).then_some([0; HASH]),
            hash: [0; HASH],
            sequence: 0,
            entries: 0,
            end: 0,
            file_length: 0,
            chain: [0; 16],
            newest: 0,
        }
    }

    /// The segment before must end with the hash that this one's first entry carries.
    fn expect_previous(&mut self, number: u64, path: &Path) -> Result<(), JournalError> {
        if number + 1 != self.number {
            return Err(self.error(format!("the segment before it is {number}: segments are missing")));
        }
        let mut file = File::open(path).map_err(JournalError::io("open", path))?;
        let mut hash = [0; HASH];
        let read = file.seek(SeekFrom::End(-32)).and_then(|_| file.read_exact(&mut hash));
        read.map_err(JournalError::io("read", path))?;
        self.previous = Some(hash);
        Ok(())
    }

    fn run(&mut self) -> Result<(), JournalError> {
        let path = self.path.clone();
        let io = || JournalError::io("read", &path);
        self.file_length = fs::metadata(&self.path).map_err(io())?.len();
        let Some(mut reader) = SegmentReader::open(&self.path).map_err(io())? else {
            // A file that could hold an entry after its magic was not cut within it by a crash.
            if self.file_length > segment::MAGIC.len() as u64 {
                return Err(self.error("the file does not begin as a segment".to_owned()));
            }
            return Ok(());
        };
        loop {
            match reader.step().map_err(io())? {
                Step::End => return Ok(()),
                Step::Entry { offset, entry } => {
                    self.end = offset;
                    self.take(&entry)?;
                    self.end = offset + entry.length as u64;
                }
                Step::Damaged { offset, reason, .. } => {
                    self.end = offset;
                    let reason = reason.to_string();
                    if reader.resync(self.sequence).map_err(io())?.is_some() {
                        return Err(self.error(format!("{reason}, and whole entries follow it")));
                    }
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<(), JournalError> {
        let first = self.entries == 0;
        if first != (entry.kind == Kind::Segment) {
            return Err(self.error("a segment begins with its Segment entry, and has one".to_owned()));
        }
        if first {
            self.take_first(entry)?;
        } else if entry.sequence != self.sequence + 1 || entry.previous != self.hash {
            return Err(self.error("the entry does not follow the one before it".to_owned()));
        }
        if let (Kind::Decision, Some((1, id))) = (entry.kind, Fields::new(entry.payload).next())
            && let Ok(id) = id.try_into()
        {
            self.newest = self.newest.max(EvidenceId::from_bytes(id).unix_milliseconds());
        }
        (self.sequence, self.hash) = (entry.sequence, entry.hash);
        self.entries += 1;
        Ok(())
    }

    fn take_first(&mut self, entry: &Entry<'_>) -> Result<(), JournalError> {
        if self.previous != Some(entry.previous) {
            return Err(self.error("the segment does not follow the one before it".to_owned()));
        }
        for (tag, value) in Fields::new(entry.payload) {
            match Tag::from_number(tag) {
                Some(Tag::LaneNumber) if integer(value) != Some(self.lane.into()) => {
                    return Err(self.error("the segment belongs to another lane".to_owned()));
                }
                Some(Tag::SegmentNumber) if integer(value) != Some(self.number) => {
                    return Err(self.error("the segment has another number than its file".to_owned()));
                }
                Some(Tag::ChainId) => self.chain = value.try_into().unwrap_or_default(),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn error(&self, reason: String) -> JournalError {
        JournalError::Chain { path: self.path.clone(), entry: self.sequence + 1, offset: self.end, reason }
    }

    /// Opens the segment for writing, records repairs, makes everything durable.
    fn finish(
        self,
        directory: &Path,
        before: &[(u64, PathBuf)],
        torn: &[Torn],
        clock: &Clock,
        batch: &mut Batch,
    ) -> Result<Recovered, JournalError> {
        let file = File::options().read(true).write(true).open(&self.path).map_err(JournalError::io("open", &self.path))?;
        let mut tail = Tail { segment: self.number, file: Arc::new(file), offset: self.end, sequence: self.sequence, hash: self.hash };
        repair(&mut tail, &self.path, torn, clock, batch)?;
        let previous = before.last().map(|(_, path)| File::open(path).map_err(JournalError::io("open", path))).transpose()?;
        let files: Vec<&File> = previous.iter().chain([&*tail.file]).collect();
        sync_all(directory, &files)?;
        Ok(Recovered { tail, chain: self.chain, newest: self.newest })
    }
}

/// Bytes that were moved aside.
struct Torn {
    name: String,
    bytes: u64,
    digest: Digest,
}

/// Copies what follows the last whole entry to a file beside the segment. The segment itself is cut later.
fn set_aside(path: &Path, from: u64, clock: &Clock) -> Result<Torn, JournalError> {
    let io = |action| JournalError::io(action, path);
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(io("open"))?;
    file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut bytes)).map_err(io("read"))?;
    let segment = path.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{segment}.torn-{}", clock.microseconds());
    let aside = path.with_file_name(&name);
    let write = |mut file: File| file.write_all(&bytes).and_then(|()| file.sync_all());
    segment::writing().create_new(true).open(&aside).and_then(write).map_err(JournalError::io("write", &aside))?;
    let torn = Torn { name, bytes: bytes.len() as u64, digest: Digest(Sha256::digest(&bytes).into()) };
    tracing::warn!(
        segment = %path.display(), offset = from, bytes = torn.bytes, digest = %torn.digest, moved_to = %aside.display(),
        "the journal's last entry is incomplete: moved aside, the lane goes on after its last whole entry"
    );
    Ok(torn)
}

/// Writes a Repair entry for each torn tail over its first bytes, then cuts the rest: the repair is never lost.
fn repair(tail: &mut Tail, path: &Path, torn: &[Torn], clock: &Clock, batch: &mut Batch) -> Result<(), JournalError> {
    batch.restart(tail.sequence, tail.hash);
    for torn in torn {
        let out = batch.begin(Kind::Repair);
        put_integer(out, Tag::Time, clock.microseconds());
        put_integer(out, Tag::DroppedBytes, torn.bytes);
        put(out, Tag::DroppedDigest, &torn.digest.0);
        put(out, Tag::DroppedFile, torn.name.as_bytes());
        batch.finish()?;
    }
    let io = |action| JournalError::io(action, path);
    tail.file.write_all_at(batch.bytes(), tail.offset).map_err(io("repair"))?;
    tail.offset += batch.bytes().len() as u64;
    (tail.sequence, tail.hash) = (batch.sequence(), batch.hash());
    tail.file.set_len(tail.offset).map_err(io("cut"))
}

fn sync_all(directory: &Path, files: &[&File]) -> Result<(), JournalError> {
    let parent = directory.parent().unwrap_or(directory);
    let sync = || {
        files.iter().try_for_each(|file| file.sync_all())?;
        File::open(directory)?.sync_all()?;
        File::open(parent)?.sync_all()
    };
    sync().map_err(JournalError::io("sync", directory))
}
