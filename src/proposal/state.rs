//! The life of a proposal.

use std::{fmt, str::FromStr};

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for a decision.
    Pending,
    /// Waits for a worker.
    Approved,
    /// A worker holds it.
    Applying,
    /// The source has it. Final.
    Applied,
    /// A row was no longer as it was read. To be proposed again against what is there now.
    Conflict,
    /// The source refused it, or the worker gave up. To be proposed again.
    Failed,
    /// A reviewer said no. Final.
    Rejected,
    /// Nobody decided in time. Final.
    Expired,
    /// The proposer took it back. Final.
    Canceled,
}

/// How an attempt to apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every row, in one transaction.
    Applied,
    /// A row was not as it was read; nothing was changed.
    Conflict,
    /// The source refused; nothing was changed.
    Failed,
}

/// What happens to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The last approval that it needs, by a person or a rule.
    Approve,
    /// A rejection.
    Reject,
    /// Its time is over.
    Expire,
    /// The proposer takes it back.
    Cancel,
    /// An approval that it needs counts for nothing any more.
    Reopen,
    /// A worker takes it.
    Claim,
    /// A worker gives it back, or its lease ran out: to be tried again.
    Release,
    /// A worker says how it ended; a worker that polls reports without a claim.
    Report(Outcome),
}

/// A move that the life of a proposal does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a proposal that is {from} cannot be {move_name}")]
pub struct IllegalMove {
    /// Where it stands.
    pub from: Status,
    move_name: &'static str,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Approved,
        Self::Applying,
        Self::Applied,
        Self::Conflict,
        Self::Failed,
        Self::Rejected,
        Self::Expired,
        Self::Canceled,
    ];

    /// The status after an event; an event that cannot happen here is an error.
    pub fn after(self, event: Event) -> Result<Self, IllegalMove> {
        match (self, event) {
            (Self::Pending, Event::Approve) | (Self::Applying, Event::Release) => Ok(Self::Approved),
            (Self::Approved, Event::Reopen) => Ok(Self::Pending),
            (Self::Pending, Event::Reject) => Ok(Self::Rejected),
            (Self::Pending, Event::Expire) => Ok(Self::Expired),
            (Self::Pending | Self::Approved, Event::Cancel) => Ok(Self::Canceled),
            (Self::Approved, Event::Claim) => Ok(Self::Applying),
            (Self::Approved | Self::Applying, Event::Report(outcome)) => Ok(outcome.status()),
            (
                Self::Pending
                | Self::Approved
                | Self::Applying
                | Self::Applied
                | Self::Conflict
                | Self::Failed
                | Self::Rejected
                | Self::Expired
                | Self::Canceled,
                event,
            ) => Err(IllegalMove { from: self, move_name: event.past() }),
        }
    }

    /// Whether it may still be applied.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Applying)
    }

    /// The word for it in JSON, SQL and tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.word() == word).ok_or(())
    }
}

impl Outcome {
    /// The status it leads to.
    pub fn status(self) -> Status {
        match self {
            Self::Applied => Status::Applied,
            Self::Conflict => Status::Conflict,
            Self::Failed => Status::Failed,
        }
    }
}

impl Event {
    fn past(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
            Self::Expire => "expired",
            Self::Cancel => "canceled",
            Self::Reopen => "put back to wait for a decision",
            Self::Claim => "claimed by a worker",
            Self::Release => "released by a worker",
            Self::Report(Outcome::Applied) => "reported as applied",
            Self::Report(Outcome::Conflict) => "reported as a conflict",
            Self::Report(Outcome::Failed) => "reported as failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table: what is not in it is refused.
    #[test]
    fn every_move_that_is_not_listed_is_refused() {
        let listed = [
            (Status::Pending, Event::Approve, Status::Approved),
            (Status::Pending, Event::Reject, Status::Rejected),
            (Status::Pending, Event::Expire, Status::Expired),
            (Status::Pending, Event::Cancel, Status::Canceled),
            (Status::Approved, Event::Cancel, Status::Canceled),
            (Status::Approved, Event::Reopen, Status::Pending),
            (Status::Approved, Event::Claim, Status::Applying),
            (Status::Approved, Event::Report(Outcome::Applied), Status::Applied),
            (Status::Approved, Event::Report(Outcome::Conflict), Status::Conflict),
            (Status::Approved, Event::Report(Outcome::Failed), Status::Failed),
            (Status::Applying, Event::Release, Status::Approved),
            (Status::Applying, Event::Report(Outcome::Applied), Status::Applied),
            (Status::Applying, Event::Report(Outcome::Conflict), Status::Conflict),
            (Status::Applying, Event::Report(Outcome::Failed), Status::Failed),
        ];
        let outcomes = [Outcome::Applied, Outcome::Conflict, Outcome::Failed].map(Event::Report);
        let others = [Event::Approve, Event::Reject, Event::Expire, Event::Cancel, Event::Reopen, Event::Claim, Event::Release];
        for from in Status::ALL {
            for event in others.into_iter().chain(outcomes) {
                let expected = listed.iter().find(|(status, move_, _)| (*status, *move_) == (from, event)).map(|(_, _, to)| *to);
                assert_eq!(from.after(event).ok(), expected, "{from} {event:?}");
            }
            assert_eq!(from.word().parse(), Ok(from));
        }
        let refused = Status::Applied.after(Event::Cancel).unwrap_err();
        assert_eq!(refused.to_string(), "a proposal that is applied cannot be canceled");
    }
}
