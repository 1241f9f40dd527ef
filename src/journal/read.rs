//! Reading evidence back: the newest statements, one statement with its rows. Never writes, never waits for a writer.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{
    entry::{Entry, Kind},
    error::JournalError,
    record::{self, DecisionRecord, OutcomeRecord, SharedBlocks, Verdict},
    recover::is_being_written,
    segment::{self, SegmentReader, Step},
};
use crate::types::EvidenceId;

/// A statement as the journal knows it.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its id.
    pub id: EvidenceId,
    /// The lane it is in.
    pub lane: u16,
    /// Sequence number of its decision.
    pub sequence: u64,
    /// What was asked and decided.
    pub decision: DecisionRecord,
    /// How it ended.
    pub end: End,
}

/// How a statement ended.
#[derive(Debug, Clone)]
pub enum End {
    /// It has an outcome.
    Outcome(Box<OutcomeRecord>),
    /// It was refused; a refusal has no outcome.
    Refused,
    /// Its process is still running.
    Running,
    /// Its process stopped before the outcome; the client never saw it complete.
    Interrupted,
}

/// Which statements to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At most so many, the newest; 0 is no limit.
    pub limit: usize,
    /// Not older, microseconds since the Unix epoch.
    pub since: u64,
    /// Of this agent only.
    pub agent: Option<String>,
    /// Of this tenant only.
    pub tenant: Option<String>,
    /// With this end only: `forwarded`, `local`, `refused`.
    pub decision: Option<String>,
}

impl Filter {
    fn takes(&self, decision: &DecisionRecord) -> bool {
        let verdict = match decision.verdict {
            Verdict::Forwarded => "forwarded",
            Verdict::Local => "local",
            Verdict::Refused { .. } => "refused",
            Verdict::Unknown => "unknown",
        };
        decision.time >= self.since
            && self.agent.as_ref().is_none_or(|agent| *agent == decision.agent)
            && self.tenant.as_ref().is_none_or(|tenant| decision.tenant.as_ref() == Some(tenant))
            && self.decision.as_ref().is_none_or(|wanted| wanted == verdict)
    }
}

/// Statements, and whether parts of the journal could not be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub statements: Vec<Statement>,
    /// Some entries could not be read: `verify` says which.
    pub damaged: bool,
}

/// Lists the newest statements over all lanes.
pub fn statements(journal: &Path, filter: &Filter) -> Result<Listing, JournalError> {
    let mut listing = Listing::default();
    for (lane, directory) in segment::lanes(journal).map_err(JournalError::io("list", journal))? {
        list_lane(lane, &directory, filter, &mut listing)?;
    }
    listing.statements.sort_by_key(|statement| std::cmp::Reverse(statement.id));
    if filter.limit > 0 {
        listing.statements.truncate(filter.limit);
    }
    Ok(listing)
}

/// Reads a lane's segments from the newest back, until enough is found.
fn list_lane(lane: u16, directory: &Path, filter: &Filter, listing: &mut Listing) -> Result<(), JournalError> {
    // Outcomes whose decision is in an older segment.
    let mut outcomes: HashMap<EvidenceId, Box<OutcomeRecord>> = HashMap::new();
    let mut open_end = if is_being_written(directory) { End::Running } else { End::Interrupted };
    let mut taken = 0;
    for (_, path) in segment::segments(directory).map_err(JournalError::io("list", directory))?.into_iter().rev() {
        // Ids grow within a lane, so this is in the order of the file, too.
        let mut found: BTreeMap<EvidenceId, Statement> = BTreeMap::new();
        let (mut began, mut opened, mut first) = (u64::MAX, 0, None);
        let visited = visit(&path, |entry, shared| {
            match (entry.kind, record::evidence_id(entry.payload)) {
                (Kind::Segment, _) => began = record::time(entry.payload),
                (Kind::Open, _) => opened = entry.sequence,
                (Kind::Outcome, Some(id)) => {
                    if let Some(statement) = found.get_mut(&id) {
                        statement.end = End::Outcome(Box::new(OutcomeRecord::decode(entry.payload, shared)));
                    } else if first.is_none_or(|first| id < first) {
                        outcomes.insert(id, Box::new(OutcomeRecord::decode(entry.payload, shared)));
                    }
                }
                (Kind::Decision, Some(id)) => {
                    first.get_or_insert(id);
                    let decision = DecisionRecord::decode(entry.payload, shared);
                    let end = match (&decision.verdict, outcomes.remove(&id)) {
                        (_, Some(outcome)) => End::Outcome(outcome),
                        (Verdict::Refused { .. }, None) => End::Refused,
                        (Verdict::Forwarded | Verdict::Local | Verdict::Unknown, None) => End::Interrupted,
                    };
                    if filter.takes(&decision) {
                        found.insert(id, Statement { id, lane, sequence: entry.sequence, decision, end });
                        if filter.limit > 0 && found.len() > filter.limit {
                            found.pop_first();
                        }
                    }
                }
                (Kind::Shared | Kind::Rows | Kind::Outcome | Kind::Decision | Kind::Repair | Kind::Close, _) => {}
            }
            ControlFlow::Continue(())
        });
        listing.damaged |= visited.map_err(JournalError::io("read", &path))?;
        taken += found.len();
        for mut statement in found.into_values() {
            if matches!(statement.end, End::Interrupted) && statement.sequence > opened {
                statement.end = open_end.clone();
            }
            listing.statements.push(statement);
        }
        if opened > 0 {
            open_end = End::Interrupted;
        }
        if (filter.limit > 0 && taken >= filter.limit) || began < filter.since {
            break;
        }
    }
    Ok(())
}

/// One statement with the rows that were kept: DataRow messages, the last of which may be cut.
pub fn statement(journal: &Path, id: EvidenceId) -> Result<Option<(Statement, Vec<u8>)>, JournalError> {
    for (lane, directory) in segment::lanes(journal).map_err(JournalError::io("list", journal))? {
        let segments = segment::segments(&directory).map_err(JournalError::io("list", &directory))?;
        for (index, (_, path)) in segments.iter().enumerate().rev() {
            let mut found = None;
            let visited = visit(path, |entry, shared| {
                if entry.kind == Kind::Decision && record::evidence_id(entry.payload) == Some(id) {
                    let decision = DecisionRecord::decode(entry.payload, shared);
                    found = Some(Statement { id, lane, sequence: entry.sequence, decision, end: End::Interrupted });
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            visited.map_err(JournalError::io("read", path))?;
            if let Some(mut statement) = found {
                let rows = follow(&mut statement, &directory, segments.get(index..).unwrap_or_default())?;
                return Ok(Some((statement, rows)));
            }
        }
    }
    Ok(None)
}

/// Reads on from a decision to its outcome.
fn follow(statement: &mut Statement, directory: &Path, segments: &[(u64, PathBuf)]) -> Result<Vec<u8>, JournalError> {
    let mut rows = Vec::new();
    if matches!(statement.decision.verdict, Verdict::Refused { .. }) {
        statement.end = End::Refused;
        return Ok(rows);
    }
    let mut ended = None;
    for (_, path) in segments {
        let visited = visit(path, |entry, shared| {
            if entry.kind == Kind::Open && entry.sequence > statement.sequence {
                ended = Some(End::Interrupted);
            } else if record::evidence_id(entry.payload) == Some(statement.id) && entry.kind != Kind::Decision {
                rows.extend(record::rows(entry.payload).unwrap_or_default());
                if entry.kind == Kind::Outcome {
                    ended = Some(End::Outcome(Box::new(OutcomeRecord::decode(entry.payload, shared))));
                }
            }
            if ended.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        visited.map_err(JournalError::io("read", path))?;
        if ended.is_some() {
            break;
        }
    }
    statement.end = ended.unwrap_or(if is_being_written(directory) { End::Running } else { End::Interrupted });
    Ok(rows)
}

/// Shows each readable entry of a segment; answers whether some could not be read.
fn visit(path: &Path, mut see: impl FnMut(&Entry<'_>, &SharedBlocks) -> ControlFlow<()>) -> io::Result<bool> {
    let mut shared = SharedBlocks::new();
    let Some(mut reader) = SegmentReader::open(path)? else { return Ok(true) };
    let (mut damaged, mut sequence) = (false, 0);
    loop {
        match reader.step()? {
            Step::End => return Ok(damaged),
            Step::Entry { entry, .. } => {
                sequence = entry.sequence;
                if entry.kind == Kind::Shared {
                    shared.insert(entry.sequence, entry.payload.to_vec());
                }
                if see(&entry, &shared).is_break() {
                    return Ok(damaged);
                }
            }
            Step::Damaged { .. } => {
                if reader.resync(sequence)?.is_none() {
                    // A tail that is still being written is no damage worth a word here.
                    return Ok(damaged);
                }
                damaged = true;
            }
        }
    }
}
