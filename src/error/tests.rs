//! Every error a client can read.

use std::time::Duration;

use super::*;
use crate::{govern::RefusalCode, sql::RefusedKind};

fn every_error() -> Vec<Error> {
    let kind = |kind| Error::Kind(Refused { verb: "UPDATE".to_owned(), kind });
    vec![
        Refusal::new(RefusalCode::UndefinedTable, "relation \"x\" does not exist").into(),
        kind(RefusedKind::Write),
        kind(RefusedKind::Administration),
        kind(RefusedKind::Unsupported),
        Error::Parse(ParseError::Syntax { message: "syntax error at end of input".to_owned(), position: Some(1) }),
        Error::Parse(ParseError::TooLong { bytes: 2_000_000 }),
        Error::Parse(ParseError::TooManyTokens),
        Error::Parse(ParseError::TooComplex),
        Error::Parse(ParseError::Multiple),
        JournalError::TooLarge { bytes: 1 }.into(),
        SourceError::Unfit("secret".into()).into(),
        SourceError::Lost(std::io::ErrorKind::UnexpectedEof).into(),
        SourceError::PoolTimeout { waited: Duration::from_millis(1500) }.into(),
        SourceError::Kept { most: 5 }.into(),
        SourceError::Draining.into(),
        TransactionError::Failed.into(),
        TransactionError::NoBlock("SAVEPOINT").into(),
        TransactionError::NoSavepoint("a".into()).into(),
        TransactionError::TooLate.into(),
        TransactionError::ReadWriteTooLate.into(),
        TransactionError::ReadOnlyOutside.into(),
        TransactionError::OtherSource.into(),
        TransactionError::TooOld(Duration::from_mins(1)).into(),
        SettingError::Unknown("x".into()).into(),
        SettingError::Forbidden("work_mem".into()).into(),
        SettingError::Fixed("server_version").into(),
        SettingError::Invalid { name: "TimeZone", value: "x".into() }.into(),
        SettingError::Range { name: "work_mem", value: "1".into(), range: "64 .. 2147483647".into() }.into(),
        SettingError::NotBoolean("jit").into(),
        SettingError::LeapSeconds("x".into()).into(),
        SettingError::Server { name: "port", how: " now" }.into(),
        SettingError::Hidden("data_directory").into(),
        SettingError::Steady { name: "xmlbinary", value: "base64" }.into(),
        SettingError::OneArgument("jit".into()).into(),
        SettingError::Name("a.1".into()).into(),
        SettingError::TooMany(256).into(),
        SettingError::TooLarge(1).into(),
        SessionError::NoStatement("".into()).into(),
        SessionError::NoStatement("a".into()).into(),
        SessionError::DuplicateStatement("a".into()).into(),
        SessionError::NoPortal("a".into()).into(),
        SessionError::CursorClosed { name: "a".into(), why: CursorEnd::Idle(Duration::from_mins(1)) }.into(),
        SessionError::DuplicatePortal("a".into()).into(),
        SessionError::Coercion { number: 1, from: "integer", to: "boolean" }.into(),
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
        ProtocolError::PassedOver { body: 2, limit: 1 }.into(),
        ProtocolError::NotUtf8.into(),
        ProtocolError::FormatCode(7).into(),
    ]
}

/// Every error a client can read, one line each: severity, SQLSTATE, message.
#[test]
fn each_error_has_its_sqlstate() {
    let errors = every_error();
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
    Error 54000 statement of 2000000 bytes is over the limit of 1048576 bytes
    Error 54000 statement has more than 150000 words and signs
    Error 54001 statement is nested too deeply
    Error 42601 cannot insert multiple commands into a prepared statement
    Error 58030 could not record evidence, so the statement was not answered
    Error 08004 the source cannot be used as it is configured
    Error 08006 the connection to the source was lost
    Error 53300 no connection to the source became free within 1.5 s
    Error 53300 no connection to the source can be spared for a cursor WITH HOLD
    Error 57P01 pgwicket is shutting down
    Error 25P02 current transaction is aborted, commands ignored until end of transaction block
    Error 25P01 SAVEPOINT can only be used in transaction blocks
    Error 3B001 savepoint "a" does not exist
    Error 25001 SET TRANSACTION ISOLATION LEVEL must be called before any query
    Error 25001 transaction read-write mode must be set before any query
    Error 25001 cannot set transaction read-write mode inside a read-only transaction
    Error 0A000 a transaction reads one source, and this one has begun on another
    Error 25P04 the transaction was ended: it was open at the source for 60 s, the longest that the policy allows
    Error 42704 unrecognized configuration parameter "x"
    Error 42501 permission denied to set parameter "work_mem"
    Error 55P02 parameter "server_version" cannot be changed
    Error 22023 invalid value for parameter "TimeZone": "x"
    Error 22023 1 is outside the valid range for parameter "work_mem" (64 .. 2147483647)
    Error 22023 parameter "jit" requires a Boolean value
    Error 22023 time zone "x" appears to use leap seconds
    Error 55P02 parameter "port" cannot be changed now
    Error 42501 must be superuser or have privileges of pg_read_all_settings to examine "data_directory"
    Error 42501 parameter "xmlbinary" can only be "base64" here
    Error 22023 SET jit takes only one argument
    Error 42602 invalid configuration parameter name "a.1"
    Error 54000 too many settings of your own: a session may have 256
    Error 54000 settings of your own are too large: all of a session's hold 1 bytes at most
    Error 26000 unnamed prepared statement does not exist
    Error 26000 prepared statement "a" does not exist
    Error 42P05 prepared statement "a" already exists
    Error 34000 portal "a" does not exist
    Error 34000 cursor "a" does not exist any more: it was closed after 60 s in which nothing was asked
    Error 42P03 cursor "a" already exists
    Error 42804 parameter $1 of type integer cannot be coerced to the expected type boolean
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
    Error 54000 message of 2 bytes is over the limit of 1 bytes
    Error 22021 invalid byte sequence for encoding "UTF8"
    Error 22023 unsupported format code: 7
    "#);
}
