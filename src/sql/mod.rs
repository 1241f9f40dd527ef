//! What SQL says: parsing by PostgreSQL's own grammar, names, scopes, the catalog snapshot.
//! May use: `types`. Never: I/O, clocks, randomness, logging, policy.
//! Invariant: nothing about a PostgreSQL statement is read from any parser but `pg_query`.

pub mod allow;
pub mod builtin;
pub mod canonical;
pub mod catalog;
mod classify;
mod copy;
mod cursor;
mod explain;
pub mod extensions;
mod foreign;
pub mod literal;
mod moments;
mod parse;
mod prepared;
pub mod rules;
mod shape;
mod tree;
pub mod views;
mod withheld;

pub use classify::{Isolation, Refused, RefusedKind, Statement, TransactionModes, classify, classify_tree};
pub use copy::{Copy, CopyOption};
pub use cursor::{Declare, Direction, Fetch, FetchStep};
pub use explain::Explain;
pub use foreign::{ForeignUse, foreign_use};
pub use moments::{Literals, holds_time};
pub use parse::{ParseError, character, cut_identifiers, is_plain_identifier, parse, parse_select, statements};
pub use prepared::{Execute, Prepare, TypeReference, Value, ValueType};
pub use shape::Shape;
pub use tree::{Misread, Node, Tree, tree};
pub use withheld::{value_without_tokens, withheld, without_tokens};
