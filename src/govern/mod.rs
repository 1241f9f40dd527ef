//! Turns a statement, an agent and the policy into one that may be forwarded, or a [`Refusal`].
//! May use: `types`, `sql`, `policy`. Never: I/O, clocks, randomness, logging, `source`.
//! Invariant: nothing changes a statement after this room; only this room makes a [`GovernedStatement`],
//! and only from text that the verifier passed.

mod refusal;
mod statement;

pub use refusal::{Refusal, RefusalCode};
pub use statement::{Appended, AppendedValue, GovernedStatement, SessionValue};

use std::sync::Arc;

use crate::{
    policy::{Agent, PolicySet},
    sql::catalog::Oid,
};

/// What is governed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The statement, one, as the client sent it. Must be a read: `sql::classify` has said `Statement::Read`.
    pub text: &'a str,
    /// Parameter types the client declared at Parse (0: not given).
    pub declared_types: &'a [Oid],
    /// Who asks.
    pub agent: &'a Agent,
    /// The policy in force.
    pub policy: &'a PolicySet,
    /// The session's virtual `search_path`: alias schema names, in order.
    pub search_path: &'a [Box<str>],
}

/// Governs one read. Pure: equal requests give equal answers.
pub fn govern(request: &Request<'_>) -> Result<Arc<GovernedStatement>, Refusal> {
    Err(Refusal::unsupported(format!("statement of {} bytes", request.text.len())))
}
