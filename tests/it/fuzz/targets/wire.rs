//! The first packet of a connection, and the messages of a session.

use pgwicket::frontend::decoding::{messages, startup_settings};

/// What a startup message holds besides settings; `client_encoding` has an answer of its own.
const NO_SETTINGS: &[&str] = &["user", "database", "options", "replication"];

/// No bytes make a decoder panic; what passes as a setting is one, for the session to take or refuse; what a message says to hold is there.
pub(crate) fn run(bytes: &[u8]) {
    for (name, value) in startup_settings(bytes).into_iter().flatten() {
        assert!(!NO_SETTINGS.contains(&name.as_str()) && !name.eq_ignore_ascii_case("client_encoding"), "{name:?} passed as a setting");
        assert!(name.len() + value.len() < bytes.len(), "a setting longer than what was sent: {name:?}");
    }
    let read = messages(bytes);
    assert!(read.len() <= bytes.len() / 5, "{} messages in {} bytes", read.len(), bytes.len());
    for message in read {
        assert_eq!(message.said, message.found, "{message:?}");
    }
}
