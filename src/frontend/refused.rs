//! What ends a connection before it has a session, with its SQLSTATE and text.

use bytes::BytesMut;

use crate::{
    auth::{ScramError, TokenError},
    wire::MessageWriter,
};

/// A refusal before the session, always FATAL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("startup packet is not UTF-8")]
    NotUtf8,
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    ProtocolVersion { major: u32, minor: u32 },
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    #[error("startup option \"{word}\" is not allowed")]
    Option { word: String },
    #[error("replication connections are not supported")]
    Replication,
    #[error("invalid value for parameter \"client_encoding\": \"{value}\"")]
    Encoding { value: String },
    #[error("connections without TLS are refused from other machines")]
    Plaintext,
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    #[error("expected SASL response, got message type {tag}")]
    UnexpectedMessage { tag: u8 },
    #[error("password authentication failed for user \"{user}\"")]
    WrongProof { user: String },
    #[error("{0}")]
    Scram(ScramError),
    #[error("the token is refused: {0}")]
    Token(TokenError),
    #[error("connection requires a valid client certificate")]
    NoCertificate,
    #[error("certificate authentication failed for user \"{user}\"")]
    WrongCertificate { user: String },
    #[error("sorry, too many clients already")]
    TooManyConnections,
    #[error("too many connections for agent \"{agent}\"")]
    TooManyOfAgent { agent: String },
    #[error("canceling authentication due to timeout")]
    Timeout,
    #[error("pgwicket is starting up: no policy is in force yet")]
    Starting,
    #[error("pgwicket is shutting down")]
    Draining,
}

impl Refused {
    /// A packet or message that breaks the protocol.
    pub(super) fn malformed(what: &'static str) -> Self {
        Self::Malformed(what)
    }

    /// The five characters of `errcodes.txt`.
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            // protocol_violation
            Self::Malformed(_) | Self::Mechanism | Self::UnexpectedMessage { .. } | Self::Scram(ScramError::Malformed(_)) => "08P01",
            // character_not_in_repertoire
            Self::NotUtf8 => "22021",
            // feature_not_supported
            Self::ProtocolVersion { .. } | Self::Replication | Self::Option { .. } | Self::Scram(ScramError::Unsupported(_)) => "0A000",
            // invalid_parameter_value
            Self::Encoding { .. } => "22023",
            // invalid_authorization_specification
            Self::NoUser
            | Self::Plaintext
            | Self::Scram(ScramError::Downgrade | ScramError::BindingMismatch)
            | Self::Token(_)
            | Self::NoCertificate
            | Self::WrongCertificate { .. } => "28000",
            // invalid_password
            Self::WrongProof { .. } | Self::Scram(ScramError::WrongProof) => "28P01",
            // too_many_connections
            Self::TooManyConnections | Self::TooManyOfAgent { .. } => "53300",
            // query_canceled, as PostgreSQL answers here
            Self::Timeout => "57014",
            // cannot_connect_now
            Self::Starting | Self::Draining => "57P03",
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Scram(ScramError::Malformed(what)) => Some(format!("malformed SCRAM message: {what}")),
            Self::Scram(ScramError::Downgrade) => Some(
                "the client supports SCRAM channel binding but thinks the server does not, and this server does: \
                 something between them may have changed the handshake"
                    .to_owned(),
            ),
            Self::Malformed(_)
            | Self::NotUtf8
            | Self::ProtocolVersion { .. }
            | Self::NoUser
            | Self::Option { .. }
            | Self::Replication
            | Self::Encoding { .. }
            | Self::Plaintext
            | Self::Mechanism
            | Self::UnexpectedMessage { .. }
            | Self::WrongProof { .. }
            | Self::Scram(_)
            | Self::Token(_)
            | Self::NoCertificate
            | Self::WrongCertificate { .. }
            | Self::TooManyConnections
            | Self::TooManyOfAgent { .. }
            | Self::Timeout
            | Self::Starting
            | Self::Draining => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Option { .. } => "write options as -c name=value or --name=value",
            Self::Replication => "connect without the replication parameter",
            Self::NotUtf8 | Self::Encoding { .. } => "only UTF8 is spoken here: connect with client_encoding=UTF8",
            Self::Plaintext => "connect with sslmode=require or stronger",
            Self::WrongProof { .. } => "check the user and password of the connection string",
            Self::Token(TokenError::NoKeys) => "tell the operator of pgwicket: the issuer's keys cannot be read",
            Self::Token(_) => "get a new token for this audience and connect again; pass it as the password, over TLS",
            Self::NoCertificate => "connect with sslcert and sslkey, over TLS",
            Self::WrongCertificate { .. } => "the certificate is another agent's: check user and sslcert of the connection string",
            Self::TooManyConnections | Self::TooManyOfAgent { .. } => "close connections that are not in use, or retry later",
            Self::Starting | Self::Draining => "retry the connection in a few seconds",
            Self::Malformed(_)
            | Self::ProtocolVersion { .. }
            | Self::NoUser
            | Self::Mechanism
            | Self::UnexpectedMessage { .. }
            | Self::Scram(_)
            | Self::Timeout => return None,
        };
        Some(hint.to_owned())
    }

    /// A failed exchange; a wrong proof names the user, as PostgreSQL does.
    pub(super) fn scram(error: ScramError, user: &str) -> Self {
        if error == ScramError::WrongProof { Self::WrongProof { user: user.to_owned() } } else { Self::Scram(error) }
    }

    /// Queues the ErrorResponse.
    pub(super) fn write(&self, outgoing: &mut BytesMut) {
        let mut message = MessageWriter::new(outgoing, b'E').byte(b'S').string("FATAL").byte(b'V').string("FATAL");
        message = message.byte(b'C').string(self.sqlstate()).byte(b'M').string(&self.to_string());
        if let Some(detail) = self.detail() {
            message = message.byte(b'D').string(&detail);
        }
        if let Some(hint) = self.hint() {
            message = message.byte(b'H').string(&hint);
        }
        message.byte(0).finish();
    }
}
