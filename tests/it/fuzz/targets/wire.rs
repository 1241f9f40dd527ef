//! The first packet of a connection, and the messages of a session.

use pgwicket::frontend::decoding::{messages, startup_settings};

/// Settings that a client may give, in lower case; `pgwicket.*` beside them.
const SETTINGS: &[&str] =
    &["application_name", "datestyle", "timezone", "intervalstyle", "extra_float_digits", "search_path", "statement_timeout"];

/// No bytes make a decoder panic; what passes is on the list; what a message says to hold is there.
pub(crate) fn run(bytes: &[u8]) {
    for (name, _) in startup_settings(bytes).into_iter().flatten() {
        let lower = name.to_ascii_lowercase();
        assert!(SETTINGS.contains(&lower.as_str()) || lower.starts_with("pgwicket."), "startup setting {name:?} passed");
    }
    let read = messages(bytes);
    assert!(read.len() <= bytes.len() / 5, "{} messages in {} bytes", read.len(), bytes.len());
    for message in read {
        assert_eq!(message.said, message.found, "{message:?}");
    }
}
