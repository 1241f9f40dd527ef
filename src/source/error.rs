//! What goes wrong between pgwicket and a source, and the source's own ErrorResponse, parsed.

use std::{fmt, io, time::Duration};

/// A step of reaching a source; each has its own time bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Resolving the host name.
    Resolve,
    /// Opening the TCP or unix socket.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Startup and authentication.
    Authenticate,
    /// Checking the server and the pinned session.
    Check,
    /// Reading the catalog.
    Introspect,
    /// Delivering a cancel request.
    Cancel,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the host name",
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Authenticate => "authentication",
            Self::Check => "checking the session",
            Self::Introspect => "reading the catalog",
            Self::Cancel => "delivering the cancel request",
        })
    }
}

/// Why a source did not do what it was asked. Never holds the URL or the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The URL, the roots or their combination cannot be used.
    #[error("source configuration: {0}")]
    Configuration(Box<str>),
    /// The source was not reached, or the handshake failed.
    #[error("source unreachable: {step} failed: {reason}")]
    Connect {
        /// Where.
        step: Step,
        /// Why, without addresses.
        reason: Box<str>,
    },
    /// The source answered the startup with an ErrorResponse.
    #[error("the source refused the connection: {0}")]
    Startup(Box<ServerError>),
    /// The source or its credential is not one pgwicket works with: too old, may write, does not keep what is pinned.
    #[error("the source is not used: {0}")]
    Unfit(Box<str>),
    /// The connection was lost while in use.
    #[error("the connection to the source was lost ({0})")]
    Lost(io::ErrorKind),
    /// The source ended the session with a FATAL error: shutdown, a timeout, `pg_terminate_backend`.
    #[error("the source ended the connection: {0}")]
    Terminated(Box<ServerError>),
    /// The source sent what the protocol does not allow here. The connection is closed.
    #[error("the source broke the protocol: {0}")]
    Protocol(&'static str),
    /// The source changed a setting that must not change. The connection is closed.
    #[error("the source changed {0}, which pgwicket pins")]
    Unpinned(&'static str),
    /// No connection became free in time.
    #[error("no connection to the source became free within {waited:?}")]
    PoolTimeout {
        /// How long was waited.
        waited: Duration,
    },
    /// Cursors WITH HOLD keep as many connections as the pool can do without.
    #[error("cursors keep {most} connections to the source, and no more")]
    Kept {
        /// How many.
        most: usize,
    },
    /// The last attempt to connect failed; the next is not due yet.
    #[error("{cause}; next attempt in {retry_in:?}")]
    BackingOff {
        /// When it is worth trying again.
        retry_in: Duration,
        /// Why the last attempt failed.
        cause: Box<Self>,
    },
    /// The pool is shutting down.
    #[error("pgwicket is shutting down")]
    Draining,
    /// The statement was not prepared on this connection first.
    #[error("the statement is not prepared on this connection")]
    NotPrepared,
    /// Bind parameters that do not fit the statement.
    #[error("bind parameters: {0}")]
    Bind(&'static str),
    /// A session setting's value that is outside the allow-list, or that the source refuses.
    #[error("invalid value for parameter \"{0}\"")]
    Setting(&'static str),
}

impl SourceError {
    pub(super) fn connect(step: Step, reason: impl fmt::Display) -> Self {
        Self::Connect { step, reason: reason.to_string().into() }
    }

    /// From an I/O error of a handshake step; only the kind is kept, since texts may name addresses.
    pub(super) fn step(step: Step) -> impl Fn(io::Error) -> Self {
        move |error| Self::connect(step, error.kind())
    }

    /// From an I/O error of a connection in use.
    pub(super) fn lost(error: &io::Error) -> Self {
        Self::Lost(error.kind())
    }
}

/// An ErrorResponse of the source. What a client may read of it is decided elsewhere: fields that name
/// the source's objects or code (schema, table, column, constraint, file, line, routine) are not even kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never localised.
    pub severity: Box<str>,
    /// Five characters.
    pub sqlstate: Box<str>,
    /// Primary message.
    pub message: Box<str>,
    /// Detail.
    pub detail: Option<Box<str>>,
    /// Hint.
    pub hint: Option<Box<str>>,
    /// 1-based character position in the governed text.
    pub position: Option<usize>,
}

impl ServerError {
    /// Reads the body of an ErrorResponse or NoticeResponse; what is malformed is left empty.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut error = Self { severity: "ERROR".into(), sqlstate: "XX000".into(), ..Self::default() };
        for field in body.split(|byte| *byte == 0) {
            let Some((tag, value)) = field.split_first() else { break };
            let text = String::from_utf8_lossy(value);
            match tag {
                b'V' => error.severity = text.into(),
                b'C' if value.len() == 5 && value.is_ascii() => error.sqlstate = text.into(),
                b'M' => error.message = text.into(),
                b'D' => error.detail = Some(text.into()),
                b'H' => error.hint = Some(text.into()),
                b'P' => error.position = text.parse().ok(),
                _ => {}
            }
        }
        error
    }

    /// Whether the session ends with it.
    pub fn is_fatal(&self) -> bool {
        matches!(&*self.severity, "FATAL" | "PANIC")
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.sqlstate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_response_keeps_what_speaks_of_the_statement_and_drops_what_names_the_source() {
        let error = ServerError::parse(b"SFEHLER\0VERROR\0C22012\0Mdivision by zero\0P8\0Fint.c\0L841\0Rint4div\0ttickets\0\0");
        assert_eq!((&*error.severity, &*error.sqlstate, &*error.message), ("ERROR", "22012", "division by zero"));
        assert_eq!((error.position, error.detail, error.hint), (Some(8), None, None));
        assert!(!ServerError::parse(b"").is_fatal());
        assert_eq!(&*ServerError::parse(b"VFATAL\0Ctoo long\0\0").sqlstate, "XX000");
    }
}
