//! The Postgres wire as both sides speak it: sockets, buffered channels, message framing, message writers.
//! May use: `types`. Never: SQL, policy, who is connected.
//! Invariant: length arithmetic never wraps (CVE-2024-27304 class); a length under 4 or over the caller's
//! bound is an error before a byte of the body is buffered.

mod channel;
mod frame;
mod network;
mod socket;

pub use channel::Channel;
pub use frame::{FrameError, Header, MessageWriter, header};
pub use network::network;
pub use socket::Socket;
