//! The one map from every room's errors to SQLSTATE and client text.
//! May use: every room at or below it. Absent on purpose: secrets, names that policy hides, what the log keeps.
//! Invariant: no `_` arm over our own enums, so a new error must choose its SQLSTATE here.

use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;

use crate::{
    govern::Refusal,
    journal::JournalError,
    source::SourceError,
    sql::{ParseError, Refused, RefusedKind},
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
    /// The read returned too much to propose.
    #[error("write not executed: the rows are too large for one proposal")]
    TooLarge,
    /// RETURNING, where the client is told of success.
    #[error("RETURNING cannot be answered: the write is stored as a proposal, and no row is written now")]
    Returning,
    /// The idempotency key stands for another change.
    #[error("write not executed: the idempotency key was used for another change, proposal {0}")]
    KeyReused(ProposalId),
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
    /// READ WRITE asked for.
    #[error("cannot set transaction read-write mode: pgwicket only reads")]
    ReadWrite,
    /// A second source in one transaction.
    #[error("a transaction reads one source, and this one has begun on another")]
    OtherSource,
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
    /// Over the policy's bound.
    #[error("parameter \"{name}\" can be set to at most \"{bound}\" here")]
    OverBound {
        /// The setting.
        name: &'static str,
        /// The bound as SHOW prints it.
        bound: Box<str>,
    },
    /// It would let a transaction write.
    #[error("cannot set transaction read-write mode: pgwicket only reads")]
    ReadWrite,
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
    /// A portal of that name exists.
    #[error("portal \"{0}\" already exists")]
    DuplicatePortal(Box<str>),
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
    /// The policy no longer lets this connection in as it is.
    #[error("terminating connection because the policy changed for \"{0}\"")]
    PolicyChanged(Box<str>),
    /// A command that has no place inside a transaction block.
    #[error("{0} cannot run inside a transaction block")]
    InBlock(&'static str),
}

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

    /// What the client reads.
    pub fn report(&self) -> Report {
        match self {
            Self::Refused(refusal) => refused(refusal),
            Self::Kind(kind) => refused_kind(kind),
            Self::Parse(error) => parse(error),
            Self::Journal(error) => journal(error),
            Self::Source(error) => source(error),
            Self::Server(report) => (**report).clone(),
            Self::Transaction(error) => transaction(error),
            Self::Setting(error) => setting(error),
            Self::Session(error) => session(error),
            Self::Protocol(error) => protocol(error),
            Self::Write(error) => write(error),
        }
    }
}

fn refused(refusal: &Refusal) -> Report {
    Report {
        severity: Severity::Error,
        sqlstate: refusal.code.sqlstate().into(),
        message: refusal.message.clone().into(),
        detail: refusal.detail.clone().map(Into::into),
        hint: refusal.hint.clone().map(Into::into),
        position: refusal.position,
    }
}

fn write(error: &WriteError) -> Report {
    let (sqlstate, hint) = match error {
        WriteError::Draft(refusal) => return refused(refusal),
        WriteError::Proposed(proposed) => {
            let Proposed { id, status, rows, evidence, .. } = proposed;
            let detail = format!("{{\"proposal_id\":\"{id}\",\"status\":\"{status}\",\"rows\":{rows},\"evidence_id\":\"{evidence}\"}}");
            let hint = format!("ask for its status: SELECT status FROM pgwicket.proposals WHERE proposal_id = '{id}'");
            return Report { detail: Some(detail.into()), hint: Some(hint.into()), ..Report::error("25006", error.to_string()) };
        }
        WriteError::Nothing => ("P0002", "check the WHERE clause with a SELECT: only rows you can see can be changed"),
        WriteError::TooLarge => ("54000", "propose fewer rows at a time"),
        WriteError::Returning => ("0A000", "leave RETURNING out"),
        WriteError::KeyReused(_) => ("22023", "SET pgwicket.idempotency_key to a new value for a new change, or RESET it"),
        WriteError::Unstored | WriteError::Unlisted => ("58000", "try again later: a repeat of the same write is stored once"),
    };
    Report::error(sqlstate, error.to_string()).hint(hint)
}

fn refused_kind(refused: &Refused) -> Report {
    let verb = &refused.verb;
    match refused.kind {
        RefusedKind::Write => Report::error("25006", format!("cannot execute {verb} in a read-only transaction"))
            .hint("nothing is written here: a plain INSERT, UPDATE, DELETE or MERGE that the policy allows is stored as a proposal"),
        RefusedKind::Administration => Report::error("42501", format!("permission denied: {verb} is not allowed here"))
            .hint("agents read the relations listed in pgwicket.relations; schema, roles and server stay as they are"),
        RefusedKind::Unsupported => Report::error("0A000", format!("{verb} is not supported"))
            .hint("send a SELECT or VALUES statement over the relations listed in pgwicket.relations"),
    }
}

fn parse(error: &ParseError) -> Report {
    match error {
        ParseError::Syntax { message, position } => Report { position: *position, ..Report::error("42601", message.clone()) },
        ParseError::TooComplex => Report::error("54001", "statement is nested too deeply")
            .hint("split it: fewer nested subqueries, chained operators or joins in one statement"),
        ParseError::Multiple { statements } => {
            Report::error("0A000", format!("a message holds one statement, this one holds {statements}"))
                .hint("send each statement in a message of its own")
        }
    }
}

fn journal(_error: &JournalError) -> Report {
    Report::error("58030", "could not record evidence, so the statement was not answered")
        .hint("nothing is wrong with the statement: tell the operator of pgwicket, or try again later")
}

fn source(error: &SourceError) -> Report {
    let unavailable = "the source may be starting or restarting: try again later";
    match error {
        SourceError::Configuration(_) | SourceError::Unfit(_) | SourceError::Unpinned(_) => {
            Report::error("08004", "the source cannot be used as it is configured").hint("tell the operator of pgwicket")
        }
        SourceError::Connect { .. } | SourceError::Startup(_) => Report::error("08006", "the source cannot be reached").hint(unavailable),
        SourceError::BackingOff { retry_in, .. } => Report::error("08006", "the source cannot be reached")
            .hint(format!("the next attempt to reach it is in {} ms", retry_in.as_millis().max(1))),
        SourceError::Lost(_) => Report::error("08006", "the connection to the source was lost").hint("try again"),
        SourceError::Terminated(_) => Report::error("57P01", "the source ended the connection").hint(unavailable),
        SourceError::Protocol(_) => Report::error("08P01", "the source answered out of turn").hint("tell the operator of pgwicket"),
        SourceError::PoolTimeout { waited } => {
            Report::error("53300", format!("no connection to the source became free within {}", seconds(*waited)))
                .hint("try again, or run fewer statements at once")
        }
        SourceError::Draining => Report::error("57P01", "pgwicket is shutting down").hint("connect again"),
        SourceError::NotPrepared => Report::error("XX000", "statement is not prepared at the source"),
        SourceError::Bind(reason) => Report::error("08P01", *reason),
        SourceError::Setting(name) => Report::error("22023", format!("invalid value for parameter \"{name}\"")),
    }
}

fn transaction(error: &TransactionError) -> Report {
    let (sqlstate, hint) = match error {
        TransactionError::Failed => ("25P02", Some("send ROLLBACK, or ROLLBACK TO a savepoint")),
        TransactionError::NoBlock(_) => ("25P01", None),
        TransactionError::NoSavepoint(_) => ("3B001", None),
        TransactionError::TooLate => ("25001", None),
        TransactionError::ReadWrite => ("25006", Some("leave READ WRITE out: every transaction here is READ ONLY")),
        TransactionError::OtherSource => ("0A000", Some("commit first, then read the other source")),
        TransactionError::TooManySavepoints => ("54000", Some("release savepoints that are no longer needed")),
    };
    Report { hint: hint.map(Into::into), ..Report::error(sqlstate, error.to_string()) }
}

fn setting(error: &SettingError) -> Report {
    let (sqlstate, hint) = match error {
        SettingError::Unknown(_) => ("42704", Some("SHOW ALL lists the settings")),
        SettingError::Forbidden(_) => ("42501", Some("SHOW ALL lists the settings that can be changed here")),
        SettingError::Fixed(_) => ("55P02", None),
        SettingError::Invalid { .. } => ("22023", None),
        SettingError::OverBound { .. } => ("42501", Some("the policy sets the bound")),
        SettingError::ReadWrite => ("25006", Some("every transaction here is READ ONLY")),
    };
    Report { hint: hint.map(Into::into), ..Report::error(sqlstate, error.to_string()) }
}

fn session(error: &SessionError) -> Report {
    let (severity, sqlstate, hint) = match error {
        SessionError::NoStatement(_) => (Severity::Error, "26000", None),
        SessionError::DuplicateStatement(_) => (Severity::Error, "42P05", None),
        SessionError::NoPortal(_) => (Severity::Error, "34000", None),
        SessionError::DuplicatePortal(_) => (Severity::Error, "42P03", None),
        SessionError::PortalDone(_) => (Severity::Error, "55000", None),
        SessionError::TooMany(_) => (Severity::Error, "54000", Some("close those that are no longer needed")),
        SessionError::ResultChanged => (Severity::Error, "0A000", Some("prepare the statement again: the policy changed")),
        SessionError::ParameterCount { .. } | SessionError::ResultFormats { .. } => (Severity::Error, "08P01", None),
        SessionError::NoParameter => (Severity::Error, "42P02", Some("send parameters by the extended query protocol")),
        SessionError::RowLimit(_) => (Severity::Error, "53400", Some("add LIMIT, a narrower WHERE, or aggregate")),
        SessionError::ByteLimit(_) => (Severity::Error, "53400", Some("select fewer columns, add LIMIT, or aggregate")),
        SessionError::Canceled => (Severity::Error, "57014", None),
        SessionError::TimedOut => (Severity::Error, "57014", Some("narrow the statement so that it does less work")),
        SessionError::ShuttingDown => (Severity::Fatal, "57P01", None),
        SessionError::PolicyChanged(_) => (Severity::Fatal, "57P01", Some("connect again")),
        SessionError::InBlock(_) => (Severity::Error, "25001", None),
    };
    Report { hint: hint.map(Into::into), ..Report::new(severity, sqlstate, error.to_string()) }
}

fn protocol(error: &ProtocolError) -> Report {
    let (severity, sqlstate) = match error {
        ProtocolError::UnknownTag(_) => (Severity::Fatal, "08P01"),
        ProtocolError::FunctionCall => (Severity::Error, "0A000"),
        ProtocolError::Malformed(_) => (Severity::Error, "08P01"),
        ProtocolError::TooLong { .. } => (Severity::Fatal, "54000"),
        ProtocolError::NotUtf8 => (Severity::Error, "22021"),
        ProtocolError::FormatCode(_) => (Severity::Error, "22023"),
    };
    Report::new(severity, sqlstate, error.to_string())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::RefusalCode;

    /// Every error a client can read, one line each: severity, SQLSTATE, message.
    #[test]
    fn each_error_has_its_sqlstate() {
        let kind = |kind| Error::Kind(Refused { verb: "UPDATE".to_owned(), kind });
        let errors: Vec<Error> = vec![
            Refusal::new(RefusalCode::UndefinedTable, "relation \"x\" does not exist").into(),
            kind(RefusedKind::Write),
            kind(RefusedKind::Administration),
            kind(RefusedKind::Unsupported),
            Error::Parse(ParseError::Syntax { message: "syntax error at end of input".to_owned(), position: Some(1) }),
            Error::Parse(ParseError::TooComplex),
            Error::Parse(ParseError::Multiple { statements: 2 }),
            JournalError::TooLarge { bytes: 1 }.into(),
            SourceError::Unfit("secret".into()).into(),
            SourceError::Lost(std::io::ErrorKind::UnexpectedEof).into(),
            SourceError::PoolTimeout { waited: Duration::from_millis(1500) }.into(),
            SourceError::Draining.into(),
            TransactionError::Failed.into(),
            TransactionError::NoBlock("SAVEPOINT").into(),
            TransactionError::NoSavepoint("a".into()).into(),
            TransactionError::TooLate.into(),
            TransactionError::ReadWrite.into(),
            TransactionError::OtherSource.into(),
            SettingError::Unknown("x".into()).into(),
            SettingError::Forbidden("work_mem".into()).into(),
            SettingError::Fixed("server_version").into(),
            SettingError::Invalid { name: "TimeZone", value: "x".into() }.into(),
            SettingError::OverBound { name: "statement_timeout", bound: "5s".into() }.into(),
            SessionError::NoStatement("".into()).into(),
            SessionError::NoStatement("a".into()).into(),
            SessionError::DuplicateStatement("a".into()).into(),
            SessionError::NoPortal("a".into()).into(),
            SessionError::DuplicatePortal("a".into()).into(),
            SessionError::ResultChanged.into(),
            SessionError::NoParameter.into(),
            SessionError::RowLimit(10).into(),
            SessionError::ByteLimit(10).into(),
            SessionError::Canceled.into(),
            SessionError::TimedOut.into(),
            SessionError::ShuttingDown.into(),
            SessionError::PolicyChanged("a".into()).into(),
            SessionError::InBlock("DISCARD ALL").into(),
            ProtocolError::UnknownTag(b'!').into(),
            ProtocolError::FunctionCall.into(),
            ProtocolError::Malformed("invalid message format").into(),
            ProtocolError::TooLong { body: 2, limit: 1 }.into(),
            ProtocolError::NotUtf8.into(),
            ProtocolError::FormatCode(7).into(),
        ];
        let line = |error: &Error| {
            let report = error.report();
            format!("{:?} {} {}", report.severity, report.sqlstate, report.message)
        };
        let table = errors.iter().map(line).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(table, @r#"
        Error 42P01 relation "x" does not exist
        Error 25006 cannot execute UPDATE in a read-only transaction
        Error 42501 permission denied: UPDATE is not allowed here
        Error 0A000 UPDATE is not supported
        Error 42601 syntax error at end of input
        Error 54001 statement is nested too deeply
        Error 0A000 a message holds one statement, this one holds 2
        Error 58030 could not record evidence, so the statement was not answered
        Error 08004 the source cannot be used as it is configured
        Error 08006 the connection to the source was lost
        Error 53300 no connection to the source became free within 1.5 s
        Error 57P01 pgwicket is shutting down
        Error 25P02 current transaction is aborted, commands ignored until end of transaction block
        Error 25P01 SAVEPOINT can only be used in transaction blocks
        Error 3B001 savepoint "a" does not exist
        Error 25001 SET TRANSACTION ISOLATION LEVEL must be called before any query
        Error 25006 cannot set transaction read-write mode: pgwicket only reads
        Error 0A000 a transaction reads one source, and this one has begun on another
        Error 42704 unrecognized configuration parameter "x"
        Error 42501 permission denied to set parameter "work_mem"
        Error 55P02 parameter "server_version" cannot be changed
        Error 22023 invalid value for parameter "TimeZone": "x"
        Error 42501 parameter "statement_timeout" can be set to at most "5s" here
        Error 26000 unnamed prepared statement does not exist
        Error 26000 prepared statement "a" does not exist
        Error 42P05 prepared statement "a" already exists
        Error 34000 portal "a" does not exist
        Error 42P03 portal "a" already exists
        Error 0A000 cached plan must not change result type
        Error 42P02 there is no parameter $1
        Error 53400 statement returned more than the 10 rows that the policy allows
        Error 53400 statement returned more than the 10 bytes that the policy allows
        Error 57014 canceling statement due to user request
        Error 57014 canceling statement due to statement timeout
        Fatal 57P01 terminating connection due to administrator command
        Fatal 57P01 terminating connection because the policy changed for "a"
        Error 25001 DISCARD ALL cannot run inside a transaction block
        Fatal 08P01 invalid frontend message type 33
        Error 0A000 function call messages are not supported
        Error 08P01 invalid message format
        Fatal 54000 message of 2 bytes is over the limit of 1 bytes
        Error 22021 invalid byte sequence for encoding "UTF8"
        Error 22023 unsupported format code: 7
        "#);
    }
}
