//! A statement whose decision is recorded and whose outcome is owed.

use std::{rc::Rc, time::Instant};

use bytes::BytesMut;

use super::{copy::CopyOut, cursors::Spent, explain::PlanOut, plan::Plan, queue::Tell, quota::Running};
use crate::{
    error::{Error, SessionError},
    journal::{JournalError, Lane, Recorder, Ticket},
    policy::{OnLimit, RowLimit},
};

/// A statement whose decision is recorded and whose outcome is owed.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) ticket: Ticket,
    pub(super) recorder: Recorder,
    pub(super) plan: Rc<Plan>,
    pub(super) started: Instant,
    pub(super) formats: Option<Rc<[i16]>>,
    pub(super) stopped: Option<Stopped>,
    /// RowDescription, for the client to get before the first row.
    pub(super) columns: BytesMut,
    /// Its rows are told as COPY tells them.
    pub(super) copy: Option<Box<CopyOut>>,
    /// Its rows are a plan, which is told in other words; with its column or without.
    pub(super) explain: Option<(Box<PlanOut>, bool)>,
    /// The cursor that its rows are of.
    pub(super) cursor: Option<u32>,
    /// Whether the client hears of its end from here.
    pub(super) tell: Tell,
    /// What the cursor returned before.
    spent: Spent,
    /// What of its own rows is counted among those the cursor returned.
    counted: Spent,
    limit: RowLimit,
    /// Counts it for its principal's limits.
    pub(super) running: Option<Running>,
    /// Bytes still to come of a row that comes in pieces.
    row_left: usize,
}

/// Why its rows are no longer passed on.
#[derive(Debug, Clone)]
pub(super) enum Stopped {
    /// The policy's limit, as an error.
    Limit(SessionError),
    /// The policy's limit, as a warning.
    Truncated,
    /// The evidence could not be written.
    Journal(JournalError),
}

/// How much of a run of rows is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// All of it.
    All,
    /// Its first bytes; the statement is over its limit from here on.
    First(usize),
    /// None, and the client is in the middle of a row: the connection cannot go on.
    Broken,
}

impl Open {
    pub(super) fn new(ticket: Ticket, recorder: Recorder, plan: Rc<Plan>, limit: RowLimit, formats: Option<Rc<[i16]>>) -> Self {
        let (columns, spent) = (BytesMut::new(), Spent::default());
        Self {
            ticket,
            recorder,
            plan,
            started: Instant::now(),
            formats,
            stopped: None,
            columns,
            copy: None,
            explain: None,
            cursor: None,
            tell: Tell::Client,
            spent,
            counted: Spent::default(),
            limit,
            running: None,
            row_left: 0,
        }
    }

    /// Counts it for its principal's limits, for as long as it is open.
    pub(super) fn counted(self, running: Option<Running>) -> Self {
        Self { running, ..self }
    }

    /// Its rows are those of a cursor: limits are for all that the cursor returns.
    pub(super) fn of_cursor(&mut self, number: u32, spent: Spent) {
        self.cursor = Some(number);
        self.spent = spent;
    }

    /// Its rows that are not counted yet among those the cursor returned; they are from here on.
    pub(super) fn count(&mut self) -> Spent {
        let all = Spent { rows: self.recorder.rows(), bytes: self.recorder.bytes() };
        let before = std::mem::replace(&mut self.counted, all);
        Spent { rows: all.rows - before.rows, bytes: all.bytes - before.bytes }
    }

    /// The cursor may have returned more while this one waited: all it returned, without what this one did.
    pub(super) fn go_on(&mut self, all: Spent) {
        self.spent = Spent { rows: all.rows - self.counted.rows.min(all.rows), bytes: all.bytes - self.counted.bytes.min(all.bytes) };
    }

    /// Records a run of rows and says how much of it the client gets. What is passed on is what is recorded.
    /// A row that comes in pieces is measured whole at its header: once begun, it is passed on to its end.
    pub(super) fn pass(&mut self, journal: &mut Lane, bytes: &[u8], rows: u64) -> Pass {
        if self.stopped.is_some() {
            return Pass::First(0);
        }
        if self.row_left > 0 {
            self.row_left = self.row_left.saturating_sub(bytes.len());
            return match self.recorder.record(journal, bytes, rows) {
                Ok(()) => Pass::All,
                Err(_) => Pass::Broken,
            };
        }
        let whole = if rows == 0 { row_size(bytes) } else { bytes.len() };
        let within_rows = self.limit.rows.is_none_or(|limit| self.rows() + rows.max(1) <= limit);
        let within_bytes = self.limit.bytes.is_none_or(|limit| self.bytes() + whole as u64 <= limit);
        let (length, rows) = if within_rows && within_bytes { (bytes.len(), rows) } else { self.cut(bytes) };
        let passed = bytes.get(..length).unwrap_or(bytes);
        if let Err(error) = self.recorder.record(journal, passed, rows) {
            self.stopped = Some(Stopped::Journal(error));
            return Pass::First(0);
        }
        if self.stopped.is_some() {
            return Pass::First(length);
        }
        self.row_left = whole - bytes.len();
        Pass::All
    }

    /// Whether the client is in the middle of a row, so that nothing else can be told.
    pub(super) fn is_within_row(&self) -> bool {
        self.row_left > 0 && self.copy.is_none() && self.explain.is_none()
    }

    fn rows(&self) -> u64 {
        self.spent.rows + self.recorder.rows()
    }

    fn bytes(&self) -> u64 {
        self.spent.bytes + self.recorder.bytes()
    }

    /// Finds the message boundary at which the limit is reached.
    fn cut(&mut self, bytes: &[u8]) -> (usize, u64) {
        let (mut length, mut rows) = (0, 0);
        let over_rows = |rows| self.limit.rows.is_some_and(|limit| self.rows() + rows >= limit);
        let over_bytes = |length: usize| self.limit.bytes.is_some_and(|limit| self.bytes() + length as u64 > limit);
        while let Some(rest) = bytes.get(length..).filter(|rest| !rest.is_empty()) {
            let next = length.saturating_add(row_size(rest));
            if next > bytes.len() || over_rows(rows) || over_bytes(next) {
                break;
            }
            (length, rows) = (next, rows + 1);
        }
        let total = self.rows() + rows;
        self.stopped = Some(match self.limit.on_limit {
            OnLimit::Truncate => Stopped::Truncated,
            OnLimit::Error if over_rows(rows) => Stopped::Limit(SessionError::RowLimit(self.limit.rows.unwrap_or(total))),
            OnLimit::Error => Stopped::Limit(SessionError::ByteLimit(self.limit.bytes.unwrap_or_default())),
        });
        (length, rows)
    }
}

/// The size of the DataRow message that starts here.
fn row_size(bytes: &[u8]) -> usize {
    let Some(&[_, a, b, c, d]) = bytes.first_chunk::<5>() else { return usize::MAX };
    (u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(1)
}

impl Stopped {
    /// The error it ends with, if it is one.
    pub(super) fn error(&self) -> Option<Error> {
        match self {
            Self::Limit(error) => Some(error.clone().into()),
            Self::Journal(error) => Some(error.clone().into()),
            Self::Truncated => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{Clock, Decision, JournalConfig, Outcome, Route, Status},
        pipeline::plan::Action,
        policy::EvidenceRows,
        sql::Statement,
        types::{Digest, PolicyEpoch, Principal},
    };

    fn opened(journal: &mut Lane, limit: RowLimit) -> Open {
        let principal = Principal { agent: "a".parse().unwrap(), tenant: None, run: None, subject: None, attributes: Vec::new() };
        let decision = Decision {
            principal: &principal,
            session: "s",
            application_name: "",
            traceparent: None,
            source: None,
            relations: &[],
            client_text: b"select",
            fingerprint: "",
            parameters: crate::journal::BoundParameters::default(),
            governed_text: None,
            policy_epoch: PolicyEpoch(1),
            policy_digest: Digest([0; 32]),
            route: Route::Source,
        };
        let ticket = journal.decision(&decision).unwrap();
        let recorder = journal.recorder(&ticket, EvidenceRows::Digest);
        let plan = Rc::new(Plan::new("select", &[], Action::Local(Statement::Empty)));
        Open::new(ticket, recorder, plan, limit, None)
    }

    fn closed(journal: &mut Lane, open: Open) -> (u64, u64) {
        let counted = (open.recorder.rows(), open.recorder.bytes());
        let outcome = Outcome { status: Status::Completed, duration: 0, columns: crate::journal::Columns::default() };
        journal.outcome(open.ticket, open.recorder, &outcome).unwrap();
        counted
    }

    #[test]
    fn a_limit_cuts_between_rows_and_never_within_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Lane::open(&JournalConfig::new(directory.path()), 0, Clock::system()).unwrap();
        let row = b"D\0\0\0\x07abc";
        let run = row.repeat(4);
        let limit = |rows, bytes, on_limit| RowLimit { rows, bytes, on_limit };

        let mut open = opened(&mut journal, limit(Some(5), None, OnLimit::Error));
        assert_eq!(open.pass(&mut journal, &run, 4), Pass::All);
        assert_eq!(open.pass(&mut journal, &run, 4), Pass::First(8));
        assert_eq!(open.pass(&mut journal, &run, 4), Pass::First(0));
        assert!(matches!(open.stopped, Some(Stopped::Limit(SessionError::RowLimit(5)))));
        assert_eq!(closed(&mut journal, open), (5, 40), "what is passed on is what is recorded");

        let mut open = opened(&mut journal, limit(None, Some(20), OnLimit::Truncate));
        assert_eq!(open.pass(&mut journal, &run, 4), Pass::First(16));
        assert!(matches!(open.stopped, Some(Stopped::Truncated)));
        assert_eq!(closed(&mut journal, open), (2, 16));

        let mut open = opened(&mut journal, limit(None, Some(20), OnLimit::Error));
        assert_eq!(open.pass(&mut journal, b"D\0\0\0\x17pie", 0), Pass::First(0), "a row in pieces is measured whole");
        assert!(matches!(open.stopped, Some(Stopped::Limit(SessionError::ByteLimit(20)))));
        assert_eq!(closed(&mut journal, open), (0, 0));

        let mut open = opened(&mut journal, limit(Some(1), Some(24), OnLimit::Error));
        assert_eq!(open.pass(&mut journal, b"D\0\0\0\x17pie", 0), Pass::All);
        assert!(open.is_within_row());
        assert_eq!(open.pass(&mut journal, &[b'x'; 16], 1), Pass::All);
        assert!(!open.is_within_row());
        assert_eq!(open.pass(&mut journal, &run, 4), Pass::First(0));
        assert_eq!(closed(&mut journal, open), (1, 24));
    }
}
