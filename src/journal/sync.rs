//! The thread that makes a lane's entries durable, and the lane's figures.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use metrics::{Histogram, histogram};
use tokio::sync::watch;

use super::{error::JournalError, segment};

/// Figures of a lane since its process opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneStatus {
    /// Entries written.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Appends and syncs that failed.
    pub errors: u64,
    /// Bytes written but not yet synced: what a power loss could take.
    pub unsynced_bytes: u64,
}

/// Reads a lane's figures from any thread.
#[derive(Debug, Clone)]
pub struct Gauge(pub(super) Arc<Figures>);

impl Gauge {
    /// The figures now.
    pub fn status(&self) -> LaneStatus {
        let synced = self.0.synced_bytes.load(Ordering::Relaxed);
        let bytes = self.0.bytes.load(Ordering::Relaxed);
        LaneStatus {
            entries: self.0.entries.load(Ordering::Relaxed),
            bytes,
            errors: self.0.errors.load(Ordering::Relaxed),
            unsynced_bytes: bytes.saturating_sub(synced),
        }
    }
}

/// What lane and sync thread tell each other. Only the lane adds entries and bytes.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) errors: AtomicU64,
    /// Sequence of the last entry written; stored after everything about it.
    pub(super) written: AtomicU64,
    synced_bytes: AtomicU64,
    failed: AtomicBool,
}

/// Pause between attempts to write a lane again after a failed sync.
const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// How far a lane is durable.
#[derive(Debug, Clone)]
struct Synced {
    sequence: u64,
    failed: Option<Arc<str>>,
}

enum Wake {
    /// Someone waits.
    Now,
    /// The lane goes on in this file.
    File(Arc<File>),
    /// Sync for the last time.
    Stop,
}

/// The lane's end of its sync thread.
#[derive(Debug)]
pub(super) struct Syncer {
    wake: mpsc::Sender<Wake>,
    synced: watch::Receiver<Synced>,
    thread: Option<thread::JoinHandle<()>>,
    figures: Arc<Figures>,
}

impl Syncer {
    /// Starts the thread. `sequence` is already durable.
    pub(super) fn start(
        directory: &Path,
        lane: u16,
        file: Arc<File>,
        sequence: u64,
        interval: Duration,
        figures: Arc<Figures>,
    ) -> Result<Self, JournalError> {
        let head_path = directory.join(HEAD);
        let head = segment::writing().create(true).truncate(false).open(&head_path).map_err(JournalError::io("open", &head_path))?;
        let (wake, woken) = mpsc::channel();
        let (publish, synced) = watch::channel(Synced { sequence, failed: None });
        let directory = directory.to_path_buf();
        let seconds = histogram!("pgwicket_journal_sync_seconds");
        let worker = Worker { woken, publish, seconds, figures: figures.clone(), files: vec![file], head, directory, interval, sequence };
        let thread = thread::Builder::new()
            .name(format!("journal-{lane}"))
            .spawn(move || worker.run())
            .map_err(JournalError::io("start the sync thread of", &head_path))?;
        Ok(Self { wake, synced, thread: Some(thread), figures })
    }

    /// The lane goes on in another file.
    pub(super) fn rotated(&self, new: Arc<File>) {
        self.tell(Wake::File(new));
    }

    /// Whether a sync failed since the lane was last whole. The thread makes it whole again by itself; until then nothing may be written.
    pub(super) fn failed(&self) -> Option<JournalError> {
        if !self.figures.failed.load(Ordering::Acquire) {
            return None;
        }
        let reason = self.synced.borrow().failed.clone().unwrap_or_else(|| "the last sync failed, see the log".into());
        Some(JournalError::Sync { reason })
    }

    /// Waits until the entry with this sequence number is durable. Borrows nothing.
    pub(super) fn durable(&self, sequence: u64) -> impl Future<Output = Result<(), JournalError>> + use<> {
        let mut synced = self.synced.clone();
        if synced.borrow().sequence < sequence {
            self.tell(Wake::Now);
        }
        async move {
            let gone = |_| JournalError::Sync { reason: "the sync thread stopped".into() };
            let state = synced.wait_for(|state| state.sequence >= sequence || state.failed.is_some()).await.map_err(gone)?;
            match &state.failed {
                Some(reason) if state.sequence < sequence => Err(JournalError::Sync { reason: reason.clone() }),
                _ => Ok(()),
            }
        }
    }

    /// Syncs and ends the thread.
    pub(super) fn stop(&mut self) {
        self.tell(Wake::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's sync thread panicked");
        }
    }

    fn tell(&self, wake: Wake) {
        if self.wake.send(wake).is_err() {
            tracing::error!("the journal's sync thread is gone");
            self.figures.failed.store(true, Ordering::Release);
        }
    }
}

/// The file that says how far a lane was known to be durable: a lane that ends before it has lost entries.
pub(super) const HEAD: &str = "head";

/// The sequence number in a lane's head file; 0 when there is none yet, or when a power loss kept its content from the disk.
/// What cannot be read, or says something else, is an error: it must not pass for a lane of which nothing was durable.
pub(super) fn read_head(lane_directory: &Path) -> Result<u64, JournalError> {
    let path = lane_directory.join(HEAD);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(JournalError::io("read", &path)(error)),
    };
    if text.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
    number.ok_or(JournalError::Head { path })
}

struct Worker {
    woken: mpsc::Receiver<Wake>,
    publish: watch::Sender<Synced>,
    figures: Arc<Figures>,
    /// Oldest first; the last is the current one.
    files: Vec<Arc<File>>,
    head: File,
    directory: PathBuf,
    interval: Duration,
    sequence: u64,
    seconds: Histogram,
}

impl Worker {
    fn run(mut self) {
        let (mut stop, mut tried) = (false, Instant::now());
        while !stop {
            let failed = self.figures.failed.load(Ordering::Acquire);
            let mut next = self.woken.recv_timeout(if failed { self.interval.min(HEAL_PAUSE) } else { self.interval });
            // Read before the channel is drained: the file of every entry counted here is known below.
            let mut reached = self.reached();
            while !matches!(next, Err(mpsc::RecvTimeoutError::Timeout)) && !stop {
                match next {
                    Ok(Wake::File(file)) => self.files.push(file),
                    Ok(Wake::Stop) | Err(_) => stop = true,
                    Ok(Wake::Now) => {}
                }
                next = self.woken.recv_timeout(Duration::ZERO);
            }
            if stop {
                // The lane writes no more and no message is left.
                reached = self.reached();
            }
            if self.figures.failed.load(Ordering::Acquire) && (stop || tried.elapsed() >= HEAL_PAUSE) {
                tried = Instant::now();
                self.heal();
            }
            if reached.0 > self.sequence && !self.figures.failed.load(Ordering::Acquire) {
                self.sync(reached.0, reached.1);
                tried = Instant::now();
            }
        }
    }

    /// After a failed sync the kernel may call pages clean that never reached the disk: writes every unsynced file again from what the
    /// page cache holds, and syncs. The lane writes nothing meanwhile.
    fn heal(&self) {
        for file in &self.files {
            if let Err(error) = write_again(file) {
                return tracing::warn!(%error, directory = %self.directory.display(), "the journal cannot be written again yet");
            }
        }
        self.publish.send_modify(|state| state.failed = None);
        self.figures.failed.store(false, Ordering::Release);
    }

    /// Sequence of the last entry written, and bytes written until it at least.
    fn reached(&self) -> (u64, u64) {
        (self.figures.written.load(Ordering::Acquire), self.figures.bytes.load(Ordering::Relaxed))
    }

    fn sync(&mut self, written: u64, bytes: u64) {
        let started = Instant::now();
        let synced = self.sync_files();
        self.seconds.record(started.elapsed());
        match synced {
            Ok(()) => {
                self.sequence = written;
                self.figures.synced_bytes.store(bytes, Ordering::Relaxed);
                if let Err(error) = self.head.write_all_at(format!("{written:020}\n").as_bytes(), 0) {
                    tracing::warn!(%error, "the journal's head file cannot be written");
                }
                self.publish.send_modify(|state| state.sequence = written);
            }
            Err(error) => {
                tracing::error!(%error, directory = %self.directory.display(), "the journal cannot be synced");
                self.figures.errors.fetch_add(1, Ordering::Relaxed);
                // The lane must know before anyone who waits does.
                self.figures.failed.store(true, Ordering::Release);
                let reason: Arc<str> = error.to_string().into();
                self.publish.send_modify(|state| state.failed = Some(reason));
            }
        }
    }

    fn sync_files(&mut self) -> io::Result<()> {
        for file in &self.files {
            sync_linked(file)?;
        }
        if self.files.len() > 1 {
            File::open(&self.directory)?.sync_all()?;
            let current = self.files.pop();
            self.files.clear();
            self.files.extend(current);
        }
        Ok(())
    }
}

/// Syncs a file that must still have a name: evidence in a deleted file is no evidence.
fn sync_linked(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() == 0 {
        return Err(io::Error::other("the segment file was deleted"));
    }
    file.sync_data()
}

fn write_again(file: &File) -> io::Result<()> {
    let mut piece = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let length = file.read_at(&mut piece, offset)?;
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        file.write_all_at(bytes, offset)?;
        offset += length as u64;
    }
    sync_linked(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_failed_sync_everything_is_written_again_before_the_lane_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        std::fs::write(&path, b"entries").unwrap();
        let file = Arc::new(File::options().read(true).write(true).open(&path).unwrap());
        let figures = Arc::new(Figures::default());
        let often = Duration::from_millis(10);
        let mut syncer = Syncer::start(directory.path(), 0, file.clone(), 1, often, figures.clone()).unwrap();
        assert!(syncer.failed().is_none());
        figures.failed.store(true, Ordering::Release);
        assert!(matches!(syncer.failed(), Some(JournalError::Sync { .. })));
        let before = file.metadata().unwrap().modified().unwrap();
        let began = Instant::now();
        while syncer.failed().is_some() {
            assert!(began.elapsed() < Duration::from_secs(20), "the thread heals by itself");
            thread::yield_now();
        }
        assert!(file.metadata().unwrap().modified().unwrap() > before, "nothing was written");
        assert_eq!(std::fs::read(&path).unwrap(), b"entries");
        figures.written.store(2, Ordering::Release);
        syncer.durable(2).await.unwrap();
        syncer.stop();
        assert_eq!(read_head(directory.path()).unwrap(), 2);
    }

    #[tokio::test]
    async fn a_lane_that_waits_for_the_disk_does_not_stop_another() {
        let directory = tempfile::tempdir().unwrap();
        let start = |lane| {
            let path = directory.path().join(format!("{lane}"));
            let file = Arc::new(File::options().create(true).truncate(true).write(true).open(path).unwrap());
            let figures = Arc::new(Figures::default());
            (Syncer::start(directory.path(), lane, file, 0, Duration::from_hours(1), figures.clone()).unwrap(), figures)
        };
        let (mut waiting, _) = start(0);
        let (mut other, figures) = start(1);
        let waits = tokio::time::timeout(Duration::from_millis(50), waiting.durable(1));
        figures.written.store(1, Ordering::Release);
        other.durable(1).await.unwrap();
        assert!(waits.await.is_err(), "nothing was written to this lane");
        waiting.stop();
        other.stop();
    }
}
