//! A statement's way through pgwicket: classify, govern, record the decision, forward, stream and record the
//! rows, record the outcome, reply. `run` is the one function; the extended protocol takes its steps one by one.
//! May use: `auth` (checks of session tokens), `error`, `catalog`, `source`, `journal`, `store`, `govern`, `policy`, `proposal`, `sql`,
//! `types`, `wire`. Never: sockets it did not get, logins, files, decoding of rows.
//! Invariants: nothing is forwarded before its decision is recorded; `CommandComplete` is not told before the outcome
//! is; names, transactions and settings of a client stay on this side of the source.

mod age;
mod analyse;
mod answer;
mod appended;
mod bind;
mod binding;
mod catalog;
mod clock;
mod comment;
mod copy;
mod cursor;
mod cursors;
mod decide;
mod describe;
mod draft;
mod drift;
mod explain;
mod extended;
mod interruption;
mod kept;
mod lane;
mod local;
mod named;
mod open;
mod own;
mod plan;
mod plans;
mod prepared;
mod propose;
mod queue;
mod quota;
mod record;
mod repeat;
mod reply;
mod run;
mod script;
mod server_error;
mod session;
mod settings;
mod transaction;
mod upstream;
mod withdraw;

pub use bind::{Bind, Formats, Parameters};
pub use decide::{First, first_statement};
pub use lane::{Common, Lane, LaneStatus};
pub use quota::Quotas;
pub use session::{Ended, Interrupt, Interrupts, Session, Start};

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}
