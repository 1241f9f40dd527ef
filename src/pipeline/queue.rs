//! What the client is still owed, in the order of its messages.

use std::{collections::VecDeque, rc::Rc};

use bytes::BytesMut;

use super::{
    describe::Description,
    interruption::Interruption,
    lane::Lane,
    open::{Open, Pass, Stopped},
    plan::Plan,
    prepared::{PortalNumber, Prepared},
};

/// What is owed, in the order of the client's messages.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) expected: VecDeque<Expected>,
    /// Why a cancel was sent.
    pub(super) interruption: Interruption,
    /// A statement failed here while the source goes on: what it still answers is passed over.
    pub(super) passing_over: bool,
}

/// One thing that is owed.
#[derive(Debug)]
pub(super) enum Expected {
    /// The source has nothing to say to it: it waits for its turn.
    Reply(Reply),
    /// A statement is prepared at the source.
    Prepared(PortalNumber),
    /// A transaction command is done.
    Controlled,
    /// ParameterDescription, then as [`Self::Row`].
    Parameters(Rc<Plan>, Asked),
    /// RowDescription or NoData.
    Row(Rc<Plan>, Asked, Box<[u8]>),
    /// BindComplete.
    Bound(PortalNumber, Tell),
    /// Rows and what ends them. `None` runs on with what an Execute before it left in the portal.
    Executed(PortalNumber, Option<Box<Open>>),
    /// CloseComplete of a portal; the client has been told.
    Closed,
    /// ReadyForQuery; the client is told by the batch.
    Ready,
}

/// Whether the client hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// It does.
    Client,
    /// It does not.
    Nobody,
}

/// Why a statement is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// By Parse: nothing runs.
    Parse,
    /// On the way to its run: what the source analyses anew is held as having the description with this digest.
    Run(Option<u64>),
    /// On the way to a run of the extended protocol, which counts on the description with this digest.
    Bind(PortalNumber, u64),
}

/// A reply of our own.
#[derive(Debug)]
pub(super) enum Reply {
    /// ParseComplete; undone by forgetting the statement.
    Parsed(Box<str>),
    /// CloseComplete; undone by keeping the statement.
    ClosedStatement(Box<str>, Option<Prepared>),
    /// CloseComplete of a portal.
    ClosedPortal,
    /// BindComplete of a portal that is not at the source; undone by forgetting it.
    Bound(PortalNumber),
    /// ParameterDescription of a statement without parameters.
    NoParameters,
    /// What Describe of a statement answers.
    Statement(Rc<Plan>, Option<Rc<Description>>),
    /// The columns of a cursor, or that there are none.
    Columns(Option<Rc<Description>>, Option<Rc<[i16]>>),
    /// What Describe of a portal answers.
    Portal(Rc<Plan>, Option<Rc<Description>>, Option<Rc<[i16]>>),
    /// The columns of a statement of the simple protocol, as the source describes it on the way.
    Run(Rc<Plan>),
}

/// What of a run of rows goes to the client.
pub(super) enum Passed<'a> {
    Some(&'a [u8]),
    None,
    Broken,
    Unexpected,
}

impl Queue {
    /// Records a run of rows for the statement in front, and says what of it goes to the client.
    pub(super) fn pass<'a>(&mut self, lane: &Lane, bytes: &'a [u8], rows: u64) -> Passed<'a> {
        let Some(Expected::Executed(_, Some(open))) = self.expected.front_mut() else { return Passed::Unexpected };
        if self.passing_over || open.stopped.is_some() {
            return Passed::None;
        }
        let pass = open.pass(&mut lane.journal(), bytes, rows);
        match pass {
            Pass::All => Passed::Some(bytes),
            Pass::First(length) => Passed::Some(bytes.get(..length).unwrap_or_default()),
            Pass::Broken => Passed::Broken,
        }
    }

    /// Tells the columns of the statement in front before its first row, if they were kept for that.
    pub(super) fn tell_columns(&mut self, out: &mut BytesMut) {
        if let Some(Expected::Executed(_, Some(open))) = self.expected.front_mut()
            && !open.columns.is_empty()
        {
            out.unsplit(open.columns.split());
        }
    }

    /// Takes rows that are told in another form: those of a COPY or of a plan. `false`: they are told as they are.
    pub(super) fn transformed(&mut self, rows: &[u8], out: &mut BytesMut) -> bool {
        let Some(Expected::Executed(_, Some(open))) = self.expected.front_mut() else { return false };
        let taken = match (&mut open.copy, &mut open.explain) {
            (Some(copy), _) => copy.rows(rows, out),
            (None, Some((plan, _))) => plan.rows(rows),
            (None, None) => return false,
        };
        if let Err(error) = taken {
            open.stopped = Some(Stopped::Limit(error));
        }
        true
    }

    /// Whether the source has to be stopped, now that a run of rows was passed on.
    pub(super) fn must_cancel(&self, in_block: bool) -> bool {
        let Some(Expected::Executed(_, Some(open))) = self.expected.front() else { return false };
        match &open.stopped {
            None => false,
            // A cancel would fail what follows, or the client's transaction: the rest is read and passed over instead.
            Some(Stopped::Truncated) => !in_block && matches!(self.expected.get(1), Some(Expected::Ready)),
            Some(Stopped::Limit(_) | Stopped::Journal(_)) => true,
        }
    }

    /// Adds what is owed next.
    pub(super) fn push(&mut self, expected: Expected) {
        self.expected.push_back(expected);
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.expected.is_empty()
    }

    /// The portal that the front works for.
    pub(super) fn front_portal(&self) -> Option<PortalNumber> {
        self.expected.iter().find_map(|expected| match expected {
            Expected::Prepared(portal) | Expected::Bound(portal, _) | Expected::Executed(portal, _) => Some(*portal),
            Expected::Reply(_)
            | Expected::Controlled
            | Expected::Parameters(..)
            | Expected::Row(..)
            | Expected::Closed
            | Expected::Ready => None,
        })
    }

    /// The statement in front, if its rows are what comes next.
    pub(super) fn front_open(&self) -> Option<&Open> {
        if let Some(Expected::Executed(_, Some(open))) = self.expected.front() { Some(open) } else { None }
    }

    /// The plan that a Parse, and nothing after it, waits for.
    pub(super) fn parsing(&self) -> Option<Rc<Plan>> {
        self.expected.iter().find_map(|expected| {
            if let Expected::Parameters(plan, Asked::Parse) | Expected::Row(plan, Asked::Parse, _) = expected {
                return Some(Rc::clone(plan));
            }
            None
        })
    }

    /// Takes out every statement whose rows are awaited, and all else with them.
    pub(super) fn take_open(&mut self) -> Vec<Open> {
        let owed = self.expected.drain(..);
        owed.filter_map(|expected| if let Expected::Executed(_, open) = expected { open.map(|open| *open) } else { None }).collect()
    }
}
