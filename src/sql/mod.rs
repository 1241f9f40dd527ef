//! What SQL says: parsing by PostgreSQL's own grammar, names, scopes, the catalog snapshot.
//! May use: `types`. Never: I/O, clocks, randomness, logging, policy.
//! Invariant: nothing about a PostgreSQL statement is read from any parser but `pg_query`.

pub mod catalog;
mod classify;

pub use classify::{Isolation, ParseError, Refused, RefusedKind, Statement, TransactionModes, classify};
