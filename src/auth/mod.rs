//! Proofs of who a client is, server side: SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, tokens, client certificates; and the logins a
//! policy makes.
//! May use: `types`, `policy` (its types). Never: sockets, files, the clock.
//! Invariant: a [`Principal`](crate::types::Principal) leaves this room only after its proof was checked; an
//! agent that does not exist goes through the same messages and the same work as one whose password is wrong.

mod binding;
mod certificate;
mod keyring;
mod login;
mod scram;
mod token;
mod verifier;

pub use binding::tls_server_end_point;
pub use keyring::{Keyring, Published};
pub use login::{LoginError, LoginSecret, Logins, Method};
pub use scram::{Binding, Challenge, Mechanism, Proof, ScramError};
pub use token::{Claimed, Keys, MAX_TOKEN, TokenError};
pub use verifier::{InvalidVerifier, Verifier};
