//! The Postgres wire as clients see it: accept, TLS, startup, authentication, then the session.
//! May use: `pipeline` and everything below it, `auth`, `wire`. Never: policy files, the environment.
//! Invariant: nothing of a client's SQL is read before [`Accepted`] exists, and only a proof that
//! `auth` checked makes one.

mod admission;
mod authenticate;
mod cancel;
pub mod decoding;
mod drain;
mod handshake;
mod listen;
mod message;
mod refused;
pub mod session;
mod startup;
mod tls;
mod vouched;

#[cfg(test)]
mod tests;

pub use admission::{Admission, HandshakePermit, SessionPermit};
pub use cancel::{CancelRegistry, CancelSlot, CancelTicket};
pub use drain::{Drain, DrainWatch};
pub use handshake::Front;
pub use listen::{Incoming, Listener, SocketFile};
pub use tls::{ClientAuthorities, ServerTls, TlsError};
pub use vouched::{Vouched, Vouching};

use std::net::SocketAddr;

use crate::{types::Principal, wire::Channel};

/// A connection that has authenticated: what the outer part of the frontend hands to the session.
///
/// `AuthenticationOk` is queued in the channel and not yet flushed; the session queues ParameterStatus,
/// BackendKeyData and ReadyForQuery behind it and flushes once.
#[derive(Debug)]
pub struct Accepted {
    /// The client. Its incoming buffer may already hold the first messages.
    pub channel: Channel,
    /// Who it is.
    pub principal: Principal,
    /// Startup settings in the order given, later ones winning; canonical names (`TimeZone`, `application_name`,
    /// `pgwicket.run`, ...), every one from the allow-list, `client_encoding` already checked and left out.
    pub parameters: Vec<(String, String)>,
    /// The database name of the startup message (the user name when it gave none).
    pub database: String,
    /// For BackendKeyData.
    pub process_id: i32,
    /// For BackendKeyData.
    pub secret_key: Box<[u8]>,
    /// Where every CancelRequest for this session arrive; dropping it forgets the key.
    pub cancel: CancelSlot,
    /// Says when the server drains.
    pub drain: DrainWatch,
    /// The peer's address; `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    /// Its place among the connections; keep it until the session ends.
    pub permit: SessionPermit,
    /// The client certificate that let it in, if one did.
    pub vouched: Option<Vouched>,
}
