//! One lane: its own chain in its own files, written by one thread.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    clock::{Clock, IdMaker},
    decision::{Decision, Refused},
    entry::{Batch, Hash, Kind},
    error::JournalError,
    field::{Tag, put, put_integer},
    outcome::Outcome,
    recorder::{Compressor, INLINE, Recorder},
    recover::{self, Recovered},
    segment,
    shared::{Block, Dictionary},
    sync::{Figures, Gauge, Syncer},
};
use crate::{policy::EvidenceRows, types::EvidenceId};

/// Where the journal is and how it is kept.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The journal's directory; made when missing.
    pub directory: PathBuf,
    /// A segment file of at least this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// How often written entries are made durable.
    pub group_commit: Duration,
}

impl JournalConfig {
    /// The defaults: 256 MiB segments, durable every 200 ms.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), segment_bytes: 256 << 20, group_commit: Duration::from_millis(200) }
    }
}

/// A place in a lane: the sequence number of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// An open statement: its decision is recorded, its outcome is owed.
#[derive(Debug)]
#[must_use = "a decision without outcome reads as interrupted"]
pub struct Ticket {
    id: EvidenceId,
}

impl Ticket {
    /// The statement's evidence id.
    pub fn id(&self) -> EvidenceId {
        self.id
    }
}

/// A refusal that is recorded; nothing is owed.
#[derive(Debug, Clone, Copy)]
pub struct RefusalEntry {
    /// The statement's evidence id.
    pub id: EvidenceId,
    /// Where it is, for [`Lane::durable`].
    pub position: Position,
}

/// A lane of the journal, owned by one thread; one process at a time.
#[derive(Debug)]
pub struct Lane {
    number: u16,
    directory: PathBuf,
    segment_bytes: u64,
    clock: Clock,
    ids: IdMaker,
    chain: [u8; 16],
    tail: Tail,
    batch: Batch,
    dictionary: Dictionary,
    blocks: [Block; 2],
    compressor: Compressor,
    spare: Vec<Vec<u8>>,
    figures: Arc<Figures>,
    syncer: Syncer,
    broken: Option<Arc<str>>,
    /// Held for its lock.
    _lock: recover::Lock,
}

/// Where the next entry goes.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: u64,
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) hash: Hash,
}

/// Recorders whose buffers a lane keeps.
const SPARE: usize = 64;

impl Lane {
    /// Opens a lane, creating it when missing; repairs a torn tail, refuses a broken chain.
    pub fn open(config: &JournalConfig, number: u16, clock: Clock) -> Result<Self, JournalError> {
        let directory = segment::lane_directory(&config.directory, number);
        segment::create_directory(&directory).map_err(JournalError::io("create", &directory))?;
        let lock = recover::lock(&directory)?;
        let mut batch = Batch::new();
        let Recovered { tail, chain, newest } = recover::recover(&directory, number, &clock, &mut batch)?;
        let figures = Arc::new(Figures::default());
        let syncer = Syncer::start(&directory, number, tail.file.clone(), tail.sequence, config.group_commit, figures.clone())?;
        let mut lane = Self {
            number,
            directory,
            segment_bytes: config.segment_bytes,
            ids: IdMaker::new(newest),
            clock,
            chain,
            tail,
            batch,
            dictionary: Dictionary::new(),
            blocks: <[Block; 2]>::default(),
            compressor: Compressor::new(),
            spare: Vec::new(),
            figures,
            syncer,
            broken: None,
            _lock: lock,
        };
        lane.prepare()?;
        let out = lane.batch.begin(Kind::Open);
        put_integer(out, Tag::Time, lane.clock.microseconds());
        put(out, Tag::Writer, env!("CARGO_PKG_VERSION").as_bytes());
        put_integer(out, Tag::ProcessId, std::process::id().into());
        lane.finish()?;
        Ok(lane)
    }

    /// Records a decision to run a statement. On return it survives a kill of the process.
    pub fn decision(&mut self, decision: &Decision<'_>) -> Result<Ticket, JournalError> {
        Ok(Ticket { id: self.decide(decision, None)? })
    }

    /// Records a refusal: a decision that has no outcome.
    pub fn refusal(&mut self, decision: &Decision<'_>, refused: &Refused<'_>) -> Result<RefusalEntry, JournalError> {
        let id = self.decide(decision, Some(refused))?;
        Ok(RefusalEntry { id, position: Position(self.tail.sequence) })
    }

    /// Starts recording the rows of a statement.
    pub fn recorder(&mut self, ticket: &Ticket, keep: EvidenceRows) -> Recorder {
        Recorder::new(ticket.id, keep, self.spare.pop().unwrap_or_default())
    }

    /// Records how a statement ended. A lane never mixes two statements: the recorder must be the ticket's.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is used up: one outcome a decision")]
    pub fn outcome(&mut self, ticket: Ticket, mut recorder: Recorder, outcome: &Outcome<'_>) -> Result<Position, JournalError> {
        let id = ticket.id;
        debug_assert_eq!(id, recorder.id, "the recorder belongs to another statement");
        if recorder.buffer.len() > INLINE {
            self.rows(&recorder)?;
            recorder.chunks += 1;
            recorder.buffer.clear();
        }
        self.prepare()?;
        let time = self.clock.microseconds();
        let [columns, _] = &mut self.blocks;
        outcome.columns.put(columns.fields());
        self.dictionary.place(columns, &mut self.batch)?;
        let out = self.batch.begin(Kind::Outcome);
        put(out, Tag::EvidenceId, &id.to_bytes());
        put_integer(out, Tag::Time, time);
        outcome.put(&recorder, out);
        columns.put(out);
        recorder.put(out);
        self.compressor.put(&recorder.buffer, out);
        self.finish()?;
        if self.spare.len() < SPARE {
            recorder.buffer.clear();
            recorder.buffer.shrink_to(INLINE);
            self.spare.push(recorder.buffer);
        }
        Ok(Position(self.tail.sequence))
    }

    /// Waits until an entry survives a power loss. The future borrows nothing: drop any borrow of the lane, then await.
    pub fn durable(&self, position: Position) -> impl Future<Output = Result<(), JournalError>> + use<> {
        self.syncer.durable(position.0)
    }

    /// Reads the lane's figures from any thread.
    pub fn gauge(&self) -> Gauge {
        Gauge(self.figures.clone())
    }

    /// Writes the rows a recorder has gathered.
    pub(super) fn rows(&mut self, recorder: &Recorder) -> Result<(), JournalError> {
        self.prepare()?;
        let out = self.batch.begin(Kind::Rows);
        put(out, Tag::EvidenceId, &recorder.id.to_bytes());
        put_integer(out, Tag::Chunk, recorder.chunks);
        self.compressor.put(&recorder.buffer, out);
        self.finish()
    }

    fn decide(&mut self, decision: &Decision<'_>, refused: Option<&Refused<'_>>) -> Result<EvidenceId, JournalError> {
        self.prepare()?;
        let time = self.clock.microseconds();
        let id = self.ids.next(time);
        let [session, statement] = &mut self.blocks;
        decision.put_session(session.fields());
        decision.put_statement(statement.fields());
        self.dictionary.place(session, &mut self.batch)?;
        self.dictionary.place(statement, &mut self.batch)?;
        let out = self.batch.begin(Kind::Decision);
        put(out, Tag::EvidenceId, &id.to_bytes());
        put_integer(out, Tag::Time, time);
        session.put(out);
        statement.put(out);
        decision.put_run(refused, out);
        self.finish()?;
        Ok(id)
    }

    /// Makes sure that the next entry may follow the last one.
    fn prepare(&mut self) -> Result<(), JournalError> {
        self.dictionary.forget();
        if let Some(reason) = &self.broken {
            if let Err(error) = self.tail.cut() {
                return Err(JournalError::Broken { lane: self.number, reason: format!("{reason}; {error}").into() });
            }
            self.broken = None;
        }
        if let Some(error) = self.syncer.failed() {
            return Err(error);
        }
        if self.tail.offset >= self.segment_bytes {
            self.rotate()?;
        }
        self.batch.restart(self.tail.sequence, self.tail.hash);
        Ok(())
    }

    /// Closes the last entry of the batch and writes it: one `write(2)` at the lane's end.
    fn finish(&mut self) -> Result<(), JournalError> {
        self.batch.finish()?;
        let bytes = self.batch.bytes();
        if let Err(error) = self.tail.file.write_all_at(bytes, self.tail.offset) {
            self.failed(&error);
            if let Err(error) = self.tail.cut() {
                self.broken = Some(error.to_string().into());
            }
            return Err(JournalError::io("append to", &segment::segment_path(&self.directory, self.tail.segment))(error));
        }
        self.tail.offset += bytes.len() as u64;
        self.written();
        self.dictionary.commit();
        Ok(())
    }

    /// The batch is in the file: it is the tail now.
    fn written(&mut self) {
        self.tail.sequence = self.batch.sequence();
        self.tail.hash = self.batch.hash();
        let add = |figure: &std::sync::atomic::AtomicU64, more: u64| {
            figure.store(figure.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&self.figures.entries, self.batch.entries());
        add(&self.figures.bytes, self.batch.bytes().len() as u64);
        self.figures.written.store(self.tail.sequence, Ordering::Release);
    }

    fn failed(&self, error: &dyn std::fmt::Display) {
        tracing::error!(lane = self.number, %error, "the journal cannot be written");
        self.figures.errors.fetch_add(1, Ordering::Relaxed);
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        self.batch.restart(self.tail.sequence, self.tail.hash);
        let segment = self.tail.segment + 1;
        let created = create_segment(&self.directory, self.number, segment, self.chain, self.clock.microseconds(), &mut self.batch);
        let (file, offset) = created.inspect_err(|error| self.failed(error))?;
        self.tail.file = file.clone();
        self.syncer.rotated(file);
        (self.tail.segment, self.tail.offset) = (segment, offset);
        self.written();
        self.dictionary.clear();
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let closed = self.prepare().and_then(|()| {
            let time = self.clock.microseconds();
            put_integer(self.batch.begin(Kind::Close), Tag::Time, time);
            self.finish()
        });
        if let Err(error) = closed {
            tracing::warn!(lane = self.number, %error, "the journal lane could not be closed in good order");
        }
        self.syncer.stop();
    }
}

impl Tail {
    /// Cuts the file back to its last whole entry.
    fn cut(&self) -> std::io::Result<()> {
        self.file.set_len(self.offset)
    }
}

/// Creates a segment file with its first entry; answers the file and where the next entry goes.
pub(super) fn create_segment(
    directory: &Path,
    lane: u16,
    segment: u64,
    chain: [u8; 16],
    time: u64,
    batch: &mut Batch,
) -> Result<(Arc<File>, u64), JournalError> {
    let path = segment::segment_path(directory, segment);
    let file = segment::writing().create_new(true).read(true).open(&path).map_err(JournalError::io("create", &path))?;
    batch.raw(segment::MAGIC);
    let out = batch.begin(Kind::Segment);
    put_integer(out, Tag::Time, time);
    put_integer(out, Tag::LaneNumber, lane.into());
    put_integer(out, Tag::SegmentNumber, segment);
    put(out, Tag::ChainId, &chain);
    put(out, Tag::Writer, env!("CARGO_PKG_VERSION").as_bytes());
    batch.finish()?;
    let written = file.write_all_at(batch.bytes(), 0);
    if written.is_err() {
        fs::remove_file(&path).map_err(JournalError::io("remove", &path))?;
    }
    written.map_err(JournalError::io("append to", &path))?;
    Ok((Arc::new(file), batch.bytes().len() as u64))
}
