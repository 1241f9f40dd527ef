//! A secret that cannot be printed.

use std::fmt;

/// A password, key or connection URL. `Debug` prints stars; there is no `Display`, no `Serialize`, no `Deref`.
///
/// ```compile_fail,E0277
/// println!("{}", pgwicket::types::Secret::new("hunter2"));
/// ```
/// ```compile_fail,E0277
/// serde_json::to_string(&pgwicket::types::Secret::new("hunter2"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret read by `config`.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the one place that must send it (a handshake, a hash). Never log what this returns.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}
