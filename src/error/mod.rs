//! The one map from every room's errors to SQLSTATE and client text.
//! May use: every room at or below it. Absent on purpose: secrets, names that policy hides, what the log keeps.
//! Invariant: no `_` arm over our own enums, so a new error must choose its SQLSTATE here.

mod answer;

use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;

use crate::{
    catalog::CatalogError,
    govern::Refusal,
    journal::JournalError,
    source::SourceError,
    sql::{ParseError, Refused},
    types::{EvidenceId, ProposalId},
    wire::MessageWriter,
};

/// Anything that ends a statement, or a connection, with an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Govern refused the statement.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The statement is refused by its kind.
    #[error("{} is refused", .0.verb)]
    Kind(Refused),
    /// The text is not one statement.
    #[error("not one statement")]
    Parse(ParseError),
    /// The evidence could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The source could not be asked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source answered with an error, already made safe to read.
    #[error("{}", .0.message)]
    Server(Box<Report>),
    /// Transaction control.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// A session setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Prepared statements, portals, limits and interruptions.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A message that breaks the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A write, which is never executed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The virtual catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Why a write was not executed, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It was stored.
    #[error("write not executed: stored as proposal {} for review", .0.id)]
    Proposed(Proposed),
    /// It would change nothing.
    #[error("write not executed: no row would change, so there is nothing to propose")]
    Nothing,
    /// What was read cannot be proposed.
    #[error(transparent)]
    Draft(Refusal),
    /// More proposals are named than can be taken back at once.
    #[error("too many proposals to take back at once")]
    TooMany,
    /// A proposal has gone too far to be taken back.
    #[error("not canceled: {0}")]
    NotCanceled(Box<str>),
    /// The read returned too much to propose.
    #[error("write not executed: the rows are too large for one proposal")]
    TooLarge,
    /// RETURNING, where the client is told of success.
    #[error("RETURNING cannot be answered: the write is stored as a proposal, and no row is written now")]
    Returning,
    /// The idempotency key stands for another change.
    #[error("write not executed: the idempotency key was used for another change, proposal {0}")]
    KeyReused(ProposalId),
    /// The agent has as much open as it may.
    #[error("write not executed: {what}, and no more may be")]
    TooManyOpen {
        /// What there is too much of.
        what: Box<str>,
        /// The limit's name in the policy.
        setting: &'static str,
        /// Who can raise it.
        raised_by: Box<str>,
    },
    /// The store did not say that it has it.
    #[error("write not executed, and not known to be stored: the proposal store did not answer")]
    Unstored,
    /// The store did not answer.
    #[error("the proposals cannot be read: the proposal store did not answer")]
    Unlisted,
}

/// A stored proposal, as its proposer is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its id.
    pub id: ProposalId,
    /// Where it stands: `pending`, unless a rule settled it, or it is a repeat.
    pub status: crate::proposal::Status,
    /// Rows it changes.
    pub rows: u64,
    /// The evidence of the read that took the before-images.
    pub evidence: EvidenceId,
    /// It was stored before.
    pub repeated: bool,
}

/// Why transaction control is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The block has failed.
    #[error("current transaction is aborted, commands ignored until end of transaction block")]
    Failed,
    /// SAVEPOINT, RELEASE, ROLLBACK TO outside a block.
    #[error("{0} can only be used in transaction blocks")]
    NoBlock(&'static str),
    /// No savepoint of that name.
    #[error("savepoint \"{0}\" does not exist")]
    NoSavepoint(Box<str>),
    /// Modes changed after the first statement.
    #[error("SET TRANSACTION ISOLATION LEVEL must be called before any query")]
    TooLate,
    /// READ WRITE after the first statement of a READ ONLY transaction.
    #[error("transaction read-write mode must be set before any query")]
    ReadWriteTooLate,
    /// READ WRITE after a savepoint of a READ ONLY transaction.
    #[error("cannot set transaction read-write mode inside a read-only transaction")]
    ReadOnlyOutside,
    /// A second source in one transaction.
    #[error("a transaction reads one source, and this one has begun on another")]
    OtherSource,
    /// It was open for too long.
    #[error("the transaction was ended: it was open at the source for {} s, the longest that the policy allows", .0.as_secs_f64())]
    TooOld(Duration),
    /// Savepoints without bound.
    #[error("too many savepoints in one transaction")]
    TooManySavepoints,
}

/// Why a setting stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such setting.
    #[error("unrecognized configuration parameter \"{0}\"")]
    Unknown(Box<str>),
    /// It exists in PostgreSQL, and is not a client's to change here.
    #[error("permission denied to set parameter \"{0}\"")]
    Forbidden(Box<str>),
    /// It can only be shown.
    #[error("parameter \"{0}\" cannot be changed")]
    Fixed(&'static str),
    /// Not a value it takes.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: Box<str>,
    },
    /// A number out of its range.
    #[error("{value} is outside the valid range for parameter \"{name}\" ({range})")]
    Range {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: Box<str>,
        /// `least .. most`
        range: Box<str>,
    },
    /// Not `on` or `off` in any spelling.
    #[error("parameter \"{0}\" requires a Boolean value")]
    NotBoolean(&'static str),
    /// A time zone with seconds in its offset.
    #[error("time zone \"{0}\" appears to use leap seconds")]
    LeapSeconds(Box<str>),
    /// The server's own, which no session changes.
    #[error("parameter \"{name}\" cannot be changed{how}")]
    Server {
        /// The setting.
        name: &'static str,
        /// When it can be.
        how: &'static str,
    },
    /// Only a superuser sees it.
    #[error("must be superuser or have privileges of pg_read_all_settings to examine \"{0}\"")]
    Hidden(&'static str),
    /// Another value would change what statements mean.
    #[error("parameter \"{name}\" can only be \"{value}\" here")]
    Steady {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// A list where one value is wanted.
    #[error("SET {0} takes only one argument")]
    OneArgument(Box<str>),
    /// Not a name of a client's own setting.
    #[error("invalid configuration parameter name \"{0}\"")]
    Name(Box<str>),
    /// More settings of the client's own than a session may have.
    #[error("too many settings of your own: a session may have {0}")]
    TooMany(usize),
    /// They hold too much.
    #[error("settings of your own are too large: all of a session's hold {0} bytes at most")]
    TooLarge(usize),
}

/// What goes wrong in a session besides the statement itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No prepared statement of that name; empty is the unnamed one.
    #[error("{}", if .0.is_empty() { "unnamed prepared statement does not exist".into() } else { format!("prepared statement \"{}\" does not exist", .0) })]
    NoStatement(Box<str>),
    /// A prepared statement of that name exists.
    #[error("prepared statement \"{0}\" already exists")]
    DuplicateStatement(Box<str>),
    /// No portal of that name.
    #[error("portal \"{0}\" does not exist")]
    NoPortal(Box<str>),
    /// No cursor of that name.
    #[error("cursor \"{0}\" does not exist")]
    NoCursor(Box<str>),
    /// A cursor WITH HOLD that is open no more, though the client did not close it.
    #[error("cursor \"{name}\" does not exist any more: {why}")]
    CursorClosed {
        /// Its name.
        name: Box<str>,
        /// Why.
        why: CursorEnd,
    },
    /// An option of COPY.
    #[error("{message}")]
    CopyOption {
        /// Five characters.
        sqlstate: &'static str,
        /// What is wrong with it.
        message: Box<str>,
    },
    /// A portal or cursor of that name exists.
    #[error("cursor \"{0}\" already exists")]
    DuplicatePortal(Box<str>),
    /// PREPARE of what is answered here.
    #[error("only SELECT, VALUES, INSERT, UPDATE, DELETE and MERGE can be prepared by PREPARE")]
    NotPreparable,
    /// EXECUTE with another number of values than the statement has parameters.
    #[error("wrong number of parameters for prepared statement \"{statement}\"")]
    ValueCount {
        /// Which.
        statement: Box<str>,
        /// What it has.
        needed: usize,
        /// What the text gives.
        given: usize,
    },
    /// EXECUTE with a value of a type that is not assigned to its parameter's.
    #[error("parameter ${number} of type {from} cannot be coerced to the expected type {to}")]
    Coercion {
        /// Which, from 1.
        number: usize,
        /// The value's type.
        from: &'static str,
        /// The parameter's.
        to: &'static str,
    },
    /// A declared type that is not built in.
    #[error("type \"{0}\" does not exist")]
    NoType(Box<str>),
    /// A portal of a statement without rows, executed a second time.
    #[error("portal \"{0}\" cannot be run")]
    PortalDone(Box<str>),
    /// More prepared statements or portals than a session may hold.
    #[error("too many {0} in one session")]
    TooMany(&'static str),
    /// A prepared statement's result changed under a newer policy.
    #[error("cached plan must not change result type")]
    ResultChanged,
    /// Bind with another number of values than the statement has parameters.
    #[error("bind message supplies {given} parameters, but prepared statement \"{statement}\" requires {needed}")]
    ParameterCount {
        /// What the message holds.
        given: usize,
        /// What the statement has.
        needed: usize,
        /// Its name.
        statement: Box<str>,
    },
    /// Bind with another number of result formats than the statement has columns.
    #[error("bind message has {given} result formats but query has {needed} columns")]
    ResultFormats {
        /// What the message holds.
        given: usize,
        /// What the statement has.
        needed: usize,
    },
    /// A parameter in a simple Query message.
    #[error("there is no parameter $1")]
    NoParameter,
    /// More rows than the policy allows.
    #[error("statement returned more than the {0} rows that the policy allows")]
    RowLimit(u64),
    /// More bytes than the policy allows.
    #[error("statement returned more than the {0} bytes that the policy allows")]
    ByteLimit(u64),
    /// CancelRequest.
    #[error("canceling statement due to user request")]
    Canceled,
    /// `statement_timeout`
    #[error("canceling statement due to statement timeout")]
    TimedOut,
    /// The server goes away.
    #[error("terminating connection due to administrator command")]
    ShuttingDown,
    /// Nobody vouches for the client's certificate any more.
    #[error(
        "terminating connection because its client certificate is over, was revoked, or is of an authority that is not trusted any more"
    )]
    CertificateEnded,
    /// The policy no longer lets this connection in as it is.
    #[error("terminating connection because the policy changed for \"{0}\"")]
    PolicyChanged(Box<str>),
    /// A command that has no place inside a transaction block.
    #[error("{0} cannot run inside a transaction block")]
    InBlock(&'static str),
    /// The session token is not taken, or is over.
    #[error("the session token is refused: {}", .0.0)]
    Token(TokenRefused),
}

/// Why a cursor is open no more, though the client did not close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorEnd {
    /// The client asked nothing for this long, and the cursor kept a connection.
    #[error("it was closed after {:.0} s in which nothing was asked", .0.as_secs_f64())]
    Idle(Duration),
    /// The session was bound to somebody else.
    #[error("it was closed when the session was bound anew")]
    Rebound,
    /// It was declared under an older policy.
    #[error("it was closed because the policy changed")]
    PolicyChanged,
    /// The connection that held it is gone.
    #[error("the connection to the source that held it is gone")]
    Lost,
}

/// Why a token is not taken, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefused(pub Box<str>);

/// A message that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A tag that no client may send now. The connection cannot go on.
    #[error("invalid frontend message type {0}")]
    UnknownTag(u8),
    /// The fast-path function call interface.
    #[error("function call messages are not supported")]
    FunctionCall,
    /// Too short, or counts that contradict each other.
    #[error("{0}")]
    Malformed(&'static str),
    /// Over the size that a message may have.
    #[error("message of {body} bytes is over the limit of {limit} bytes")]
    TooLong {
        /// What the length field says.
        body: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Over the size of message that is kept; its bytes were passed over, and the connection goes on.
    #[error("message of {body} bytes is over the limit of {limit} bytes")]
    PassedOver {
        /// What the length field says.
        body: usize,
        /// What is kept.
        limit: usize,
    },
    /// Text that is not UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    NotUtf8,
    /// A format code that is neither text nor binary.
    #[error("unsupported format code: {0}")]
    FormatCode(i16),
}

/// How grave a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The connection ends.
    Fatal,
    /// The statement ends.
    Error,
    /// Sent beside an answer.
    Warning,
    /// Sent beside an answer.
    Notice,
}

/// What the client reads: an ErrorResponse or a NoticeResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How grave.
    pub severity: Severity,
    /// Five characters.
    pub sqlstate: Cow<'static, str>,
    /// Lower case, no full stop.
    pub message: Cow<'static, str>,
    /// More, when it helps.
    pub detail: Option<Cow<'static, str>>,
    /// What to do instead.
    pub hint: Option<Cow<'static, str>>,
    /// 1-based character position in the client's text.
    pub position: Option<usize>,
}

impl Report {
    /// A report without detail, hint and position.
    pub fn new(severity: Severity, sqlstate: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity, sqlstate: sqlstate.into(), message: message.into(), detail: None, hint: None, position: None }
    }

    /// An ERROR.
    pub fn error(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Error, sqlstate, message)
    }

    /// A NOTICE.
    pub fn notice(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Notice, "00000", message)
    }

    /// A WARNING.
    pub fn warning(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Warning, sqlstate, message)
    }

    /// Adds what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the message.
    pub fn write(&self, out: &mut BytesMut) {
        let (tag, severity) = match self.severity {
            Severity::Fatal => (b'E', "FATAL"),
            Severity::Error => (b'E', "ERROR"),
            Severity::Warning => (b'N', "WARNING"),
            Severity::Notice => (b'N', "NOTICE"),
        };
        let mut writer = MessageWriter::new(out, tag).byte(b'S').string(severity).byte(b'V').string(severity);
        writer = writer.byte(b'C').string(&self.sqlstate).byte(b'M').string(&self.message);
        if let Some(detail) = &self.detail {
            writer = writer.byte(b'D').string(detail);
        }
        if let Some(hint) = &self.hint {
            writer = writer.byte(b'H').string(hint);
        }
        if let Some(position) = self.position {
            writer = writer.byte(b'P').string(&position.to_string());
        }
        writer.byte(0).finish();
    }
}

impl Error {
    /// The five characters.
    pub fn sqlstate(&self) -> Cow<'static, str> {
        self.report().sqlstate
    }
}

#[cfg(test)]
mod tests;
