//! The decoders of this room as functions of bytes: what `fuzz/` and its corpus drive. No socket, no session.

use super::{message, startup};
use crate::{error::ProtocolError, wire};

/// A message that was read, and what can be counted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Its tag.
    pub tag: u8,
    /// How many parameters it says to hold (Bind), or types (Parse).
    pub said: usize,
    /// How many are there.
    pub found: usize,
}

/// The settings that the first packet of a connection (without its length field) asks for and the allow-list passes;
/// `None` when it is refused, or no StartupMessage.
pub fn startup_settings(packet: &[u8]) -> Option<Vec<(String, String)>> {
    match startup::decode(packet) {
        Ok(startup::Packet::Startup(message)) => startup::settle(message.parameters).ok().map(|startup| startup.settings),
        Ok(startup::Packet::Tls | startup::Packet::Gss | startup::Packet::Cancel { .. }) | Err(_) => None,
    }
}

/// Reads `bytes` as a session does, message after message, up to the first that breaks the protocol or is not whole.
pub fn messages(mut bytes: &[u8]) -> Vec<Decoded> {
    let mut read = Vec::new();
    while let Some((decoded, rest)) = next(bytes) {
        read.push(decoded);
        bytes = rest;
    }
    read
}

fn next(bytes: &[u8]) -> Option<(Decoded, &[u8])> {
    let limit = message::body_limit(*bytes.first()?).ok()?;
    let header = wire::header(bytes, limit).ok()??;
    let (whole, rest) = bytes.split_at_checked(header.total())?;
    let decoded: Result<_, ProtocolError> = message::decode(header.tag, whole.get(wire::Header::SIZE..)?);
    let (said, found) = match decoded.ok()? {
        message::Message::Bind(bind) => (bind.parameters.len(), bind.parameters.iter().count()),
        message::Message::Parse { types, .. } => (types.iter().count(), types.iter().count()),
        message::Message::Query(_)
        | message::Message::Describe(..)
        | message::Message::Execute { .. }
        | message::Message::Close(..)
        | message::Message::Flush
        | message::Message::Sync
        | message::Message::Terminate
        | message::Message::CopyRemains => (0, 0),
    };
    Some((Decoded { tag: header.tag, said, found }, rest))
}
