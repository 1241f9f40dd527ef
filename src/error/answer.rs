//! What the client reads of each error.

use std::time::Duration;

use super::{Error, Proposed, ProtocolError, Report, SessionError, SettingError, Severity, TransactionError, WriteError};
use crate::{
    catalog::CatalogError,
    govern::Refusal,
    journal::JournalError,
    source::SourceError,
    sql::{ParseError, Refused, RefusedKind},
};

impl Error {
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
            Self::Catalog(error) => catalog(error),
        }
    }
}

fn catalog(error: &CatalogError) -> Report {
    const OWN: &str = "SELECT * FROM pgwicket.relations and pgwicket.columns say what there is";
    match error {
        CatalogError::Off => Report::error("0A000", "the system catalogs are switched off here").hint(OWN),
        CatalogError::NoProgram | CatalogError::NoUser(_) => {
            Report::error("0A000", "the system catalogs are not available: no PostgreSQL server program can be run where pgwicket runs")
                .hint(format!("its operator can install PostgreSQL 15 to 18 there, or set PGWICKET_CATALOG_URL; {OWN}"))
        }
        CatalogError::Start(_) | CatalogError::Make(_) => {
            Report::error("57P03", "the system catalogs are not available at the moment").hint(format!("retry later; {OWN}"))
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
        WriteError::TooManyOpen { setting, raised_by, .. } => {
            let hint = format!(
                "wait until some are decided and applied, or take some back (DELETE FROM pgwicket.proposals WHERE …); {raised_by} can raise `limits.{setting}` of this agent"
            );
            return Report::error("53400", error.to_string()).hint(hint);
        }
        WriteError::Nothing => ("P0002", "check the WHERE clause with a SELECT: only rows you can see can be changed"),
        WriteError::TooMany => ("54000", "name fewer in the WHERE"),
        WriteError::NotCanceled(_) => (
            "55000",
            "none was taken back; name those that are pending, or approved and not yet tried: SELECT proposal_id, status FROM pgwicket.proposals",
        ),
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
        RefusedKind::Unsupported if verb.starts_with("EXECUTE") => Report::error("0A000", format!("{verb} is not supported")).hint(
            "compute the values in the prepared statement itself, or with a SELECT before, and give constants: EXECUTE name (7, 'x')",
        ),
        RefusedKind::Unsupported => Report::error("0A000", format!("{verb} is not supported"))
            .hint("send a SELECT or VALUES statement over the relations listed in pgwicket.relations"),
    }
}

fn parse(error: &ParseError) -> Report {
    match error {
        ParseError::Syntax { message, position } => Report { position: *position, ..Report::error("42601", message.clone()) },
        ParseError::TooManyTokens => Report::error("54000", error.to_string())
            .hint("give a long list as one array parameter: = any($1); send many rows in several statements"),
        ParseError::TooLong { .. } => Report::error("54000", error.to_string()).hint("give long values as bind parameters"),
        ParseError::TooComplex => Report::error("54001", "statement is nested too deeply").hint(
            "split it: fewer nested subqueries, joins and parts of UNION ALL in one statement; concat(a, b, …) instead of a || b || …",
        ),
        ParseError::Multiple => Report::error("42601", "cannot insert multiple commands into a prepared statement"),
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
        SourceError::Terminated(error) => Report::error(ended_by(&error.sqlstate), "the source ended the connection").hint(unavailable),
        SourceError::Protocol(_) => Report::error("08P01", "the source answered out of turn").hint("tell the operator of pgwicket"),
        SourceError::PoolTimeout { waited } => {
            Report::error("53300", format!("no connection to the source became free within {}", seconds(*waited)))
                .hint("try again, or run fewer statements at once")
        }
        SourceError::Kept { .. } => Report::error("53300", "no connection to the source can be spared for a cursor WITH HOLD")
            .hint("close such cursors when they are done, or declare this one in a transaction block, without HOLD"),
        SourceError::Draining => Report::error("57P01", "pgwicket is shutting down").hint("connect again"),
        SourceError::NotPrepared => Report::error("XX000", "statement is not prepared at the source"),
        SourceError::Bind(reason) => Report::error("08P01", *reason),
        SourceError::Setting(name) => Report::error("22023", format!("invalid value for parameter \"{name}\"")),
    }
}

/// Why a source ends a session, where a client's driver acts on it: idle for too long, a crash, a database dropped.
fn ended_by(sqlstate: &str) -> &'static str {
    match sqlstate {
        "25P03" => "25P03",
        "57P02" => "57P02",
        "57P04" => "57P04",
        "57P05" => "57P05",
        _ => "57P01",
    }
}

fn transaction(error: &TransactionError) -> Report {
    let (sqlstate, hint) = match error {
        TransactionError::Failed => ("25P02", Some("send ROLLBACK, or ROLLBACK TO a savepoint")),
        TransactionError::NoBlock(_) => ("25P01", None),
        TransactionError::NoSavepoint(_) => ("3B001", None),
        TransactionError::TooLate | TransactionError::ReadWriteTooLate | TransactionError::ReadOnlyOutside => ("25001", None),
        TransactionError::OtherSource => ("0A000", Some("commit first, then read the other source")),
        TransactionError::TooOld(_) => ("25P04", Some("read less at a time, and end transactions soon: others wait for what they hold")),
        TransactionError::TooManySavepoints => ("54000", Some("release savepoints that are no longer needed")),
    };
    Report { hint: hint.map(Into::into), ..Report::error(sqlstate, error.to_string()) }
}

fn setting(error: &SettingError) -> Report {
    let (sqlstate, hint) = match error {
        SettingError::Unknown(_) => ("42704", Some("SHOW ALL lists the settings")),
        SettingError::Forbidden(_) => ("42501", Some("SHOW ALL lists the settings that can be changed here")),
        SettingError::Fixed(_) | SettingError::Server { .. } => ("55P02", None),
        SettingError::Invalid { .. }
        | SettingError::Range { .. }
        | SettingError::NotBoolean(_)
        | SettingError::LeapSeconds(_)
        | SettingError::OneArgument(_) => ("22023", None),
        SettingError::Hidden(_) => ("42501", None),
        SettingError::Steady { .. } => ("42501", Some("another value would change what a statement means: write it into the statement")),
        SettingError::Name(_) => ("42602", Some("a name is two or more identifiers with dots between, as in my.var")),
        SettingError::TooMany(_) | SettingError::TooLarge(_) => ("54000", Some("these settings have no effect here: leave them out")),
    };
    let detail = match error {
        SettingError::LeapSeconds(_) => Some("PostgreSQL does not support leap seconds."),
        SettingError::Invalid { name: "search_path", .. } => Some("List syntax is invalid."),
        SettingError::Unknown(_)
        | SettingError::Forbidden(_)
        | SettingError::Fixed(_)
        | SettingError::Invalid { .. }
        | SettingError::Range { .. }
        | SettingError::NotBoolean(_)
        | SettingError::Server { .. }
        | SettingError::Hidden(_)
        | SettingError::Steady { .. }
        | SettingError::OneArgument(_)
        | SettingError::Name(_)
        | SettingError::TooMany(_)
        | SettingError::TooLarge(_) => None,
    };
    Report { detail: detail.map(Into::into), hint: hint.map(Into::into), ..Report::error(sqlstate, error.to_string()) }
}

fn session(error: &SessionError) -> Report {
    let (severity, sqlstate, hint) = match error {
        SessionError::NoStatement(_) => (Severity::Error, "26000", None),
        SessionError::DuplicateStatement(_) => (Severity::Error, "42P05", None),
        SessionError::NotPreparable | SessionError::ValueCount { .. } => (Severity::Error, "42601", None),
        SessionError::Coercion { .. } => (Severity::Error, "42804", Some("You will need to rewrite or cast the expression.")),
        SessionError::NoType(_) => (Severity::Error, "42704", Some("declare a built-in type, or none")),
        SessionError::NoPortal(_) | SessionError::NoCursor(_) => (Severity::Error, "34000", None),
        SessionError::CursorClosed { .. } => (Severity::Error, "34000", Some("declare it again")),
        SessionError::CopyOption { sqlstate, .. } => (Severity::Error, *sqlstate, None),
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
        SessionError::CertificateEnded => (Severity::Fatal, "57P01", Some("connect again with a certificate that is in force")),
        SessionError::PolicyChanged(_) => (Severity::Fatal, "57P01", Some("connect again")),
        SessionError::InBlock(_) => (Severity::Error, "25001", None),
        SessionError::Token(_) => {
            (Severity::Error, "28000", Some("this connection is bound to nothing now: SET pgwicket.session_token to a new token"))
        }
    };
    let mut detail = None;
    if let SessionError::ValueCount { needed, given, .. } = error {
        detail = Some(format!("Expected {needed} parameters but got {given}.").into());
    }
    Report { detail, hint: hint.map(Into::into), ..Report::new(severity, sqlstate, error.to_string()) }
}

fn protocol(error: &ProtocolError) -> Report {
    let (severity, sqlstate) = match error {
        ProtocolError::UnknownTag(_) => (Severity::Fatal, "08P01"),
        ProtocolError::FunctionCall => (Severity::Error, "0A000"),
        ProtocolError::Malformed(_) => (Severity::Error, "08P01"),
        ProtocolError::TooLong { .. } => (Severity::Fatal, "54000"),
        ProtocolError::PassedOver { .. } => {
            return Report::error("54000", error.to_string())
                .hint("send less at once: fewer or shorter bind parameters, a shorter statement");
        }
        ProtocolError::NotUtf8 => (Severity::Error, "22021"),
        ProtocolError::FormatCode(_) => (Severity::Error, "22023"),
    };
    Report::new(severity, sqlstate, error.to_string())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
