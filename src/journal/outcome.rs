//! The outcome entry: how a statement ended and what came back, before the client is told so.

use super::{
    field::{Tag, put, put_integer, put_parts},
    recorder::Recorder,
};

/// How a statement ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// How.
    pub status: Status<'a>,
    /// From the decision to now, in microseconds.
    pub duration: u64,
    /// What the rows look like.
    pub columns: Columns<'a>,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<'a> {
    /// The source completed it.
    Completed,
    /// The source or pgwicket failed it.
    Failed {
        /// SQLSTATE.
        sqlstate: &'a str,
        /// Message text.
        message: &'a str,
    },
    /// The client canceled it.
    Canceled,
    /// The client's connection broke.
    ClientGone,
    /// It passed a limit of the policy and ended with an error.
    Limit,
    /// It passed a limit of the policy and ended normally, with a warning.
    Truncated,
    /// It was decided on but never reached the source.
    NotExecuted,
}

impl Status<'_> {
    /// The number in the format.
    pub(super) fn number(&self) -> u8 {
        match self {
            Self::Completed => 1,
            Self::Failed { .. } => 2,
            Self::Canceled => 3,
            Self::ClientGone => 4,
            Self::Limit => 5,
            Self::Truncated => 6,
            Self::NotExecuted => 7,
        }
    }
}

/// The columns of a result; `default()` is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns<'a> {
    /// The body of a RowDescription message (after type and length).
    pub row_description: &'a [u8],
    /// Result format codes by Bind's rule when a Bind set them; `None` keeps those of the description.
    pub result_formats: Option<&'a [i16]>,
}

impl Columns<'_> {
    /// One field a column.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut rest = self.row_description.get(2..).unwrap_or_default();
        let mut index = 0;
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let (name, after) = rest.split_at(end);
            // After the name's zero: table oid 4, attribute 2, type oid 4, size 2, modifier 4, format 2.
            let Some((fixed, after)) = after.get(1..).and_then(|after| after.split_first_chunk::<18>()) else { return };
            let [_, _, _, _, _, _, type_oid @ .., _, _, _, _, _, _, high, low] = fixed;
            let format = match self.result_formats {
                None => [*high, *low],
                Some([]) => [0, 0],
                Some([all]) => all.to_be_bytes(),
                Some(each) => each.get(index).copied().unwrap_or(0).to_be_bytes(),
            };
            put_parts(out, Tag::Column, &[type_oid, &format, name]);
            rest = after;
            index += 1;
        }
    }
}

impl Outcome<'_> {
    /// The fields of this run; its columns are put apart, since they repeat.
    pub(super) fn put(&self, recorder: &Recorder, out: &mut Vec<u8>) {
        put(out, Tag::Status, &[self.status.number()]);
        if let Status::Failed { sqlstate, message } = self.status {
            put(out, Tag::SqlState, sqlstate.as_bytes());
            put(out, Tag::Message, message.as_bytes());
        }
        put_integer(out, Tag::Duration, self.duration);
        put_integer(out, Tag::RowCount, recorder.rows());
        put_integer(out, Tag::ByteCount, recorder.bytes());
    }
}
