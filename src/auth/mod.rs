//! Proofs of who a client is: SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, server side, and the logins a policy makes.
//! May use: `types`, `policy` (its types). Never: sockets, files, the clock.
//! Invariant: a [`Principal`](crate::types::Principal) leaves this room only after its proof was checked; an
//! agent that does not exist goes through the same messages and the same work as one whose password is wrong.

mod binding;
mod login;
mod scram;
mod verifier;

pub use binding::tls_server_end_point;
pub use login::{LoginError, Logins, ProcessSecret};
pub use scram::{Binding, Challenge, Mechanism, Proof, ScramError};
pub use verifier::{InvalidVerifier, Verifier};
