//! Evidence: the append-only, hash-chained journal of every statement; its entries, files, recovery, verification.
//! May use: `types`, `policy` ([`EvidenceRows`](crate::policy::EvidenceRows) and durability only), files, threads.
//! Absent on purpose: SQL semantics, sockets, clients, an index. Texts, parameters and rows are bytes here.
//! Invariants: an entry is written whole by one `write(2)` before its call returns; nothing is ever written after a
//! half entry; what cannot be written is an error, never a silence. `docs/EVIDENCE.md` has the format byte by byte.

mod clock;
mod decision;
mod entry;
mod error;
mod field;
mod lane;
mod outcome;
mod read;
mod record;
mod recorder;
mod recover;
mod report;
mod segment;
mod shared;
mod sync;
mod verify;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use decision::{BoundParameters, Decision, Refused, Route};
pub use error::JournalError;
pub use lane::{JournalConfig, Lane, Position, RefusalEntry, Ticket};
pub use outcome::{Columns, Outcome, Status};
pub use read::{End, Filter, Listing, Statement, statement, statements};
pub use record::{ColumnRecord, DecisionRecord, Kept, OutcomeRecord, ParameterRecord, Row, Verdict, split_data_row};
pub use recorder::Recorder;
pub use report::{Anchor, Finding, InvalidAnchor, Report};
pub use sync::{Gauge, LaneStatus};
pub use verify::verify;
