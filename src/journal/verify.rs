//! Verification: every entry's hash, the chain over segments, every statement's rows, against anchors kept elsewhere.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{
    entry::{Entry, HASH, HEADER, Hash, Kind, Malformed},
    error::JournalError,
    field::{Fields, Tag, integer},
    record::{self, Kept, OutcomeRecord, SharedBlocks, Verdict},
    recover::is_being_written,
    report::{Anchor, Finding, Report},
    segment::{self, SegmentReader, Step},
    sync::read_head,
};
use crate::types::{Digest, EvidenceId};

/// Verifies a journal, also while it is being written.
pub fn verify(journal: &Path, anchors: &[Anchor]) -> Result<Report, JournalError> {
    let mut report = Report::default();
    let lanes = segment::lanes(journal).map_err(JournalError::io("list", journal))?;
    for anchor in anchors {
        if !lanes.iter().any(|(lane, _)| *lane == anchor.lane) {
            let reason = "an anchor was taken of this lane, but it is gone".to_owned();
            report.findings.push(Finding { lane: anchor.lane, file: journal.to_path_buf(), entry: None, offset: None, id: None, reason });
        }
    }
    for (lane, directory) in lanes {
        report.lanes += 1;
        let anchors = anchors.iter().filter(|anchor| anchor.lane == lane).copied().collect();
        Check::new(lane, directory, anchors, &mut report).run()?;
    }
    Ok(report)
}

/// The end of a range of lost entries before the next readable one is found.
const UNKNOWN: u64 = u64::MAX;

/// A statement whose outcome is still to come.
struct Pending {
    hasher: Sha256,
    bytes: u64,
    chunks: u64,
    rows: RowCounter,
    /// Some of its rows cannot be read, which has been said.
    damaged: bool,
}

/// The verification of one lane.
struct Check<'r> {
    report: &'r mut Report,
    lane: u16,
    directory: PathBuf,
    path: PathBuf,
    anchors: Vec<Anchor>,
    sequence: u64,
    hash: Hash,
    chain: Option<Vec<u8>>,
    open: HashMap<EvidenceId, Pending>,
    shared: SharedBlocks,
    /// Entries that cannot be read: what refers to them is not wrong for that.
    unreadable: Vec<std::ops::RangeInclusive<u64>>,
    /// The last entry could not be read, so the next one need not follow the last one that could.
    after_damage: bool,
    being_written: bool,
}

impl<'r> Check<'r> {
    fn new(lane: u16, directory: PathBuf, anchors: Vec<Anchor>, report: &'r mut Report) -> Self {
        let being_written = is_being_written(&directory);
        Self {
            report,
            lane,
            path: directory.clone(),
            directory,
            anchors,
            sequence: 0,
            hash: [0; HASH],
            chain: None,
            open: HashMap::new(),
            shared: SharedBlocks::new(),
            unreadable: Vec::new(),
            after_damage: false,
            being_written,
        }
    }

    fn run(mut self) -> Result<(), JournalError> {
        // Read first: a writer moves it on while we read.
        let durable = match read_head(&self.directory) {
            Ok(durable) => durable,
            Err(damaged @ JournalError::Head { .. }) => {
                self.find(None, None, None, damaged.to_string());
                0
            }
            Err(error) => return Err(error),
        };
        let segments = segment::segments(&self.directory).map_err(JournalError::io("list", &self.directory))?;
        let last = segments.last().map_or(0, |(number, _)| *number);
        let mut expected = 1;
        for (number, path) in segments {
            self.path = path;
            if number != expected {
                self.find(None, None, None, format!("segments {expected} to {} are missing", number - 1));
                self.lose(self.sequence + 1, UNKNOWN);
            }
            expected = number + 1;
            let io = JournalError::io("read", &self.path);
            self.segment(number, number == last).map_err(io)?;
        }
        self.report_end(durable);
        Ok(())
    }

    fn segment(&mut self, number: u64, last: bool) -> io::Result<()> {
        self.report.segments += 1;
        self.shared.clear();
        let Some(mut reader) = SegmentReader::open(&self.path.clone())? else {
            if !(last && self.being_written) {
                self.find(Some(self.sequence + 1), Some(0), None, "the file does not begin as a segment".to_owned());
                self.lose(self.sequence + 1, UNKNOWN);
            }
            return Ok(());
        };
        let mut first = true;
        loop {
            match reader.step()? {
                Step::End => return Ok(()),
                Step::Entry { offset, entry } => {
                    self.entry(&entry, offset, first.then_some(number));
                    first = false;
                }
                Step::Damaged { offset, reason, bytes } => {
                    let id = bytes.get(HEADER..).and_then(record::evidence_id);
                    if !self.damage(&mut reader, offset, reason, id, last)? {
                        return Ok(());
                    }
                    first = false;
                }
            }
        }
    }

    /// Says what cannot be read; answers whether reading goes on after it.
    fn damage(
        &mut self,
        reader: &mut SegmentReader,
        offset: u64,
        reason: Malformed,
        id: Option<EvidenceId>,
        last: bool,
    ) -> io::Result<bool> {
        let entry = self.sequence + 1;
        let resumed = reader.resync(self.sequence)?;
        if resumed.is_none() && last && self.being_written {
            self.report.notes.push(format!("lane {}: entry {entry} is being written", self.lane));
            return Ok(false);
        }
        let mut next = UNKNOWN;
        if let (Some(_), Step::Entry { offset, entry }) = (resumed, reader.step()?) {
            next = entry.sequence - 1;
            reader.seek(offset)?;
        }
        self.lose(entry, next);
        let extent = match next {
            UNKNOWN => "; nothing after it in this file can be read".to_owned(),
            next if next > entry => format!("; entries {entry} to {next} cannot be read"),
            _ => String::new(),
        };
        let torn = if reason == Malformed::Incomplete && last && resumed.is_none() { " (the next start moves it aside)" } else { "" };
        self.find(Some(entry), Some(offset), id, format!("{reason}{torn}{extent}"));
        Ok(resumed.is_some())
    }

    /// Entries of this range cannot be read: what follows or refers to them is not wrong for that.
    fn lose(&mut self, first: u64, last: u64) {
        self.unreadable.push(first..=last);
        self.open.values_mut().for_each(|pending| pending.damaged = true);
        self.after_damage = true;
    }

    fn entry(&mut self, entry: &Entry<'_>, offset: u64, first_of: Option<u64>) {
        self.report.entries += 1;
        let id = record::evidence_id(entry.payload);
        let mut wrong = Vec::new();
        if !self.after_damage && (entry.sequence != self.sequence + 1 || entry.previous != self.hash) {
            wrong.push("it does not follow the entry before it".to_owned());
        }
        if let Some(range) = self.unreadable.last_mut().filter(|range| *range.end() == UNKNOWN) {
            *range = *range.start()..=entry.sequence.saturating_sub(1);
        }
        self.after_damage = false;
        (self.sequence, self.hash) = (entry.sequence, entry.hash);
        if self.anchors.iter().any(|anchor| anchor.sequence == entry.sequence && anchor.hash.0 != entry.hash) {
            wrong.push("its hash is not the one that was anchored: the lane was rewritten".to_owned());
        }
        let mut fields = Fields::new(entry.payload);
        for (tag, value) in fields.by_ref() {
            if tag == Tag::Shared as u8 && !self.resolves(integer(value)) {
                wrong.push("it refers to fields that its segment does not hold".to_owned());
            }
        }
        if fields.malformed() {
            wrong.push("its fields are malformed".to_owned());
        }
        wrong.extend(self.meaning(entry, id, first_of));
        for reason in wrong {
            self.find(Some(entry.sequence), Some(offset), id, reason);
        }
    }

    fn resolves(&self, sequence: Option<u64>) -> bool {
        sequence
            .is_some_and(|sequence| self.shared.contains_key(&sequence) || self.unreadable.iter().any(|range| range.contains(&sequence)))
    }

    /// Checks what the entry says against what came before; answers what is wrong.
    fn meaning(&mut self, entry: &Entry<'_>, id: Option<EvidenceId>, first_of: Option<u64>) -> Option<String> {
        if let Some(number) = first_of {
            return self.first(entry, number);
        }
        match (entry.kind, id) {
            (Kind::Segment, _) => Some("a Segment entry in the middle of a file".to_owned()),
            (Kind::Shared, _) => {
                self.shared.insert(entry.sequence, entry.payload.to_vec());
                None
            }
            (Kind::Open | Kind::Close, _) => {
                self.report.interrupted += self.open.drain().count() as u64;
                None
            }
            (Kind::Repair, _) => {
                self.repair(entry);
                None
            }
            (Kind::Decision, Some(id)) => self.decision(entry, id),
            (Kind::Rows, Some(id)) => self.rows(entry, id),
            (Kind::Outcome, Some(id)) => self.outcome(entry, id),
            (Kind::Decision | Kind::Rows | Kind::Outcome, None) => Some("it has no evidence id".to_owned()),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a reader skips fields that are not its own")]
    fn first(&mut self, entry: &Entry<'_>, number: u64) -> Option<String> {
        if entry.kind != Kind::Segment {
            return Some("a segment begins with its Segment entry".to_owned());
        }
        for (tag, value) in record::expand(entry.payload, &self.shared) {
            let holds = match tag {
                Tag::LaneNumber => integer(value) == Some(self.lane.into()),
                Tag::SegmentNumber => integer(value) == Some(number),
                Tag::ChainId => self.chain.get_or_insert_with(|| value.to_vec()) == value,
                _ => true,
            };
            if !holds {
                return Some(format!("the segment is of another place: its {tag:?} does not match"));
            }
        }
        None
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a reader skips fields that are not its own")]
    fn repair(&mut self, entry: &Entry<'_>) {
        let (mut bytes, mut file) = (0, String::new());
        for (tag, value) in record::expand(entry.payload, &self.shared) {
            match tag {
                Tag::DroppedBytes => bytes = integer(value).unwrap_or(0),
                Tag::DroppedFile => file = String::from_utf8_lossy(value).into_owned(),
                _ => {}
            }
        }
        let kept = if fs::exists(self.directory.join(&file)).unwrap_or(false) { "" } else { ", which is gone" };
        self.report
            .notes
            .push(format!("lane {}: entry {}: a torn tail of {bytes} bytes was moved to {file}{kept}", self.lane, entry.sequence));
    }

    fn decision(&mut self, entry: &Entry<'_>, id: EvidenceId) -> Option<String> {
        self.report.statements += 1;
        if matches!(record::DecisionRecord::decode(entry.payload, &self.shared).verdict, Verdict::Refused { .. }) {
            self.report.refused += 1;
            return None;
        }
        let pending = Pending { hasher: Sha256::new(), bytes: 0, chunks: 0, rows: RowCounter::default(), damaged: false };
        self.open.insert(id, pending).map(|_| "a second decision with this id".to_owned())
    }

    fn rows(&mut self, entry: &Entry<'_>, id: EvidenceId) -> Option<String> {
        let excused = !self.unreadable.is_empty();
        let Some(pending) = self.open.get_mut(&id) else { return (!excused).then(|| "rows without a decision".to_owned()) };
        let Some(rows) = record::rows(entry.payload) else { return Some("its rows do not decompress".to_owned()) };
        pending.hasher.update(&rows);
        pending.bytes += rows.len() as u64;
        pending.rows.take(&rows);
        let chunk = Fields::new(entry.payload).find(|(tag, _)| *tag == Tag::Chunk as u8).and_then(|(_, value)| integer(value));
        let in_order = chunk == Some(pending.chunks) || pending.damaged;
        pending.chunks += 1;
        (!in_order).then(|| "rows out of order".to_owned())
    }

    fn outcome(&mut self, entry: &Entry<'_>, id: EvidenceId) -> Option<String> {
        let excused = !self.unreadable.is_empty();
        let Some(mut pending) = self.open.remove(&id) else { return (!excused).then(|| "an outcome without a decision".to_owned()) };
        let outcome = OutcomeRecord::decode(entry.payload, &self.shared);
        let Some(rows) = record::rows(entry.payload) else { return Some("its rows do not decompress".to_owned()) };
        if pending.damaged {
            return None;
        }
        pending.hasher.update(&rows);
        pending.bytes += rows.len() as u64;
        pending.rows.take(&rows);
        if pending.chunks != outcome.chunks || pending.bytes != outcome.kept_bytes {
            return Some("rows are missing or too many".to_owned());
        }
        match outcome.kept {
            Kept::Full => {
                let digest = Digest(pending.hasher.finalize().into());
                if outcome.rows_digest != Some(digest) {
                    return Some("the rows do not match their digest".to_owned());
                }
                if (outcome.rows, outcome.bytes) != (pending.rows.count, pending.bytes) {
                    return Some("the rows do not match their count".to_owned());
                }
                self.report.rows += pending.rows.count;
                None
            }
            Kept::Capped | Kept::Sample => (pending.bytes > outcome.bytes).then(|| "more rows are kept than came back".to_owned()),
            Kept::Digest => (pending.bytes > 0).then(|| "rows are kept that should not be".to_owned()),
            Kept::Unknown => Some("it does not say which rows are kept".to_owned()),
        }
    }

    fn report_end(mut self, durable: u64) {
        self.path.clone_from(&self.directory);
        let (sequence, lost) = (self.sequence, self.unreadable.iter().any(|range| *range.end() == UNKNOWN));
        if sequence < durable && !lost {
            self.find(
                None,
                None,
                None,
                format!("it ends at entry {sequence}, but entries up to {durable} were durable: its last entries are gone"),
            );
        }
        let missing: Vec<u64> = self.anchors.iter().map(|anchor| anchor.sequence).filter(|anchored| *anchored > sequence).collect();
        for anchored in missing {
            self.find(Some(anchored), None, None, format!("it was anchored, but the lane ends at entry {sequence}"));
        }
        let open = self.open.len() as u64;
        *(if self.being_written { &mut self.report.running } else { &mut self.report.interrupted }) += open;
        self.report.heads.push(Anchor { lane: self.lane, sequence, hash: Digest(self.hash) });
    }

    fn find(&mut self, entry: Option<u64>, offset: Option<u64>, id: Option<EvidenceId>, reason: String) {
        self.report.findings.push(Finding { lane: self.lane, file: self.path.clone(), entry, offset, id, reason });
    }
}

/// Counts DataRow messages in a stream that comes in pieces.
#[derive(Default)]
struct RowCounter {
    count: u64,
    header: Vec<u8>,
    left: usize,
}

impl RowCounter {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                self.left -= step;
                bytes = bytes.get(step..).unwrap_or_default();
                self.count += u64::from(self.left == 0);
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.header.push(*byte);
            bytes = rest;
            if let [_, length @ ..] = self.header.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                self.count += u64::from(self.left == 0);
                self.header.clear();
            }
        }
    }
}
