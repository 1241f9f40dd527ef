//! What an error of the source means for a change: it is refused, or it is worth another try.

use std::time::Duration;

use tokio_postgres::error::{DbError, Severity};

use crate::source::SourceError;

/// What a proposer reads of a rule between rows, whichever rule it is and whoever's rows they are.
pub(crate) const BETWEEN_ROWS: &str = "a key, unique value, range or reference of it does not fit the rows at the source";

/// Why the source refused a change, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The source's SQLSTATE, when it is the source that refused.
    pub sqlstate: Option<Box<str>>,
    /// What may be told to the proposer: no value, no name of the source.
    pub reason: Box<str>,
    /// The source's own words, for reviewers and operators: they may name values of other rows.
    pub source_message: Option<Box<str>>,
}

/// Why it is not known, or not yet decided, whether a change is applied. To be tried again: the receipt tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The source was not reached.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The connection was lost, perhaps after COMMIT was sent.
    #[error("the connection to the source was lost")]
    Lost,
    /// The attempt took too long.
    #[error("the source did not answer within {0:?}")]
    Timeout(Duration),
    /// The source could not do it now: a deadlock, a lock that is held, a restart.
    #[error("the source could not do it now ({sqlstate}): {message}")]
    Busy {
        /// Its SQLSTATE.
        sqlstate: Box<str>,
        /// Its words, for operators.
        message: Box<str>,
    },
    /// There is no receipt table, and the policy asks for one.
    #[error(
        "there is no table pgwicket_receipts that the worker's role may read and insert into (print its DDL with `pgwicket worker migration`; name its schema by --receipts-schema where it is another, `public` before; or set `receipts: none` in the policy)"
    )]
    NoReceiptTable,
    /// A receipt that was there is not.
    #[error("a receipt that was there a moment ago is gone")]
    ReceiptVanished,
}

impl Undecided {
    /// Whether the source answered: then giving the change up can be written there.
    pub fn source_answered(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::ReceiptVanished => true,
            Self::Source(_) | Self::Lost | Self::Timeout(_) | Self::NoReceiptTable => false,
        }
    }
}

impl From<tokio_postgres::Error> for Undecided {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self::Busy { sqlstate: error.code().code().into(), message: error.message().into() },
            None => Self::Lost,
        }
    }
}

impl Failure {
    /// The refusal that an error is, or that it is worth another try.
    pub(super) fn of(error: tokio_postgres::Error) -> Result<Self, Undecided> {
        match error.as_db_error() {
            Some(refusal) if !is_passing(refusal) => Ok(Self::refused(refusal)),
            Some(_) | None => Err(error.into()),
        }
    }

    /// A trigger or a rule of the source kept a row from being changed, or changed more than it.
    pub(super) fn suppressed() -> Self {
        let reason = "the source did not change exactly the one row: a trigger or a rule of it decides otherwise";
        Self { sqlstate: None, reason: reason.into(), source_message: None }
    }

    /// Why it was given up.
    pub fn given_up(attempts: u64, last: &Undecided) -> Self {
        let sqlstate = match last {
            Undecided::Busy { sqlstate, .. } => Some(sqlstate.clone()),
            Undecided::Source(_) | Undecided::Lost | Undecided::Timeout(_) | Undecided::NoReceiptTable | Undecided::ReceiptVanished => None,
        };
        let reason = format!("given up after {attempts} attempts: the source could not do it");
        Self { sqlstate, reason: reason.into(), source_message: Some(last.to_string().into()) }
    }

    /// A failure that only a reviewer may read in full.
    pub(super) fn other_content() -> Self {
        let reason = "the source has a receipt of this proposal for other content: the stored proposal was changed after it was applied";
        Self { sqlstate: None, reason: reason.into(), source_message: None }
    }

    /// The source knows that it was taken back.
    pub(super) fn canceled() -> Self {
        let reason = "it was canceled after it was approved, and the source has a receipt of that: the stored status was changed since";
        Self { sqlstate: None, reason: reason.into(), source_message: None }
    }

    /// A row would not pass the row filter of the policy.
    pub(super) fn outside() -> Self {
        let reason = "a row would leave the row filter of the policy (SQLSTATE 42501)";
        Self { sqlstate: Some("42501".into()), reason: reason.into(), source_message: None }
    }

    /// A row would refer to one that the agent does not see.
    pub(super) fn refers_elsewhere() -> Self {
        let reason = format!("{BETWEEN_ROWS} (SQLSTATE 23503)");
        let message = "a foreign key would refer to a row that the proposer may not refer to: another tenant's, or outside the row filter";
        Self { sqlstate: Some("23503".into()), reason: reason.into(), source_message: Some(message.into()) }
    }

    /// What an earlier attempt had found.
    pub(super) fn earlier() -> Self {
        Self { sqlstate: None, reason: "an earlier attempt had failed for good".into(), source_message: None }
    }

    pub(super) fn is_unique_violation(&self) -> bool {
        self.sqlstate.as_deref() == Some("23505")
    }

    fn refused(error: &DbError) -> Self {
        let sqlstate = error.code().code();
        let reason = match (sqlstate, sqlstate.get(..2).unwrap_or_default()) {
            _ if in_function(error) => "a trigger or function of the source failed on it: what it does is the source's own",
            ("23502", _) => "a column must not be null",
            ("23503" | "23505" | "23P01", _) => BETWEEN_ROWS,
            ("23514", _) => "a check of the source refuses it",
            ("42501", _) => "the worker's role lacks a privilege for it",
            ("428C9", _) => "the source generates the value of a column that it gives",
            (_, "22") => "a value is none of its column",
            (_, "42") => "the table or a column is no longer as the policy knows it",
            (_, "P0") => "a trigger of the source refuses it",
            _ => "the source refused it",
        };
        let message = [Some(error.message()), error.detail()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        Self {
            sqlstate: Some(sqlstate.into()),
            reason: format!("{reason} (SQLSTATE {sqlstate})").into(),
            source_message: Some(message.into()),
        }
    }
}

/// Whether it was raised inside of a function of the source: its context then names the function, and that of a value that is
/// none of its type the parameter.
fn in_function(error: &DbError) -> bool {
    let outermost = error.where_().and_then(|context| context.lines().last()).unwrap_or_default();
    let names_parameter = outermost.split('$').skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    !outermost.is_empty() && !names_parameter
}

/// Whether the same change may succeed a moment later, or on another server.
fn is_passing(error: &DbError) -> bool {
    let sqlstate = error.code().code();
    let class = sqlstate.get(..2).unwrap_or_default();
    let fatal = matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    // 25006: a standby; 55P03: a lock that is held; 0A000 cannot pass, but a plan that a migration made stale says so.
    fatal || matches!(class, "08" | "40" | "53" | "57" | "58" | "XX") || matches!(sqlstate, "25006" | "55P03" | "55006" | "25P02")
}
