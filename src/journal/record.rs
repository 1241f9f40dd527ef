//! Entries as readers see them: owned, decoded, with shared fields put back in place.

use std::collections::HashMap;

use super::{
    decision::{FORWARDED, LOCAL, REFUSED},
    field::{Fields, Tag, integer},
};
use crate::types::{Digest, EvidenceId};

/// The Shared entries of a segment by sequence number.
pub(super) type SharedBlocks = HashMap<u64, Vec<u8>>;

/// The fields of an entry, those it refers to in place of the references. Fields with unknown tags are left out.
pub(super) fn expand<'a>(payload: &'a [u8], shared: &'a SharedBlocks) -> Vec<(Tag, &'a [u8])> {
    let mut all = Vec::new();
    for (tag, value) in Fields::new(payload) {
        match Tag::from_number(tag) {
            Some(Tag::Shared) => {
                let block = integer(value).and_then(|sequence| shared.get(&sequence)).map_or(&[][..], Vec::as_slice);
                all.extend(Fields::new(block).filter_map(|(tag, value)| Some((Tag::from_number(tag)?, value))));
            }
            Some(tag) => all.push((tag, value)),
            None => {}
        }
    }
    all
}

/// The evidence id of an entry, which is its first field.
pub(super) fn evidence_id(payload: &[u8]) -> Option<EvidenceId> {
    let (tag, value) = Fields::new(payload).next()?;
    (tag == Tag::EvidenceId as u8).then(|| value.try_into().ok().map(EvidenceId::from_bytes))?
}

/// The time field of an entry; 0 when it has none.
pub(super) fn time(payload: &[u8]) -> u64 {
    Fields::new(payload).find(|(tag, _)| *tag == Tag::Time as u8).and_then(|(_, value)| integer(value)).unwrap_or(0)
}

/// A decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Microseconds since the Unix epoch.
    pub time: u64,
    /// The agent.
    pub agent: String,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Its run.
    pub run: Option<String>,
    /// Who acts, as a token said.
    pub subject: Option<String>,
    /// What else a token said: `name=value`.
    pub attributes: Vec<String>,
    /// The session.
    pub session: String,
    /// `application_name` of the session.
    pub application_name: String,
    /// `traceparent` of a sqlcommenter comment.
    pub traceparent: Option<String>,
    /// The source.
    pub source: Option<String>,
    /// Alias names.
    pub relations: Vec<String>,
    /// What the client sent, as bytes.
    pub client_text: Vec<u8>,
    /// Fingerprint of the client's text.
    pub fingerprint: String,
    /// What was sent to the source.
    pub governed_text: Option<String>,
    /// Epoch of the policy.
    pub policy_epoch: u64,
    /// Digest of the policy.
    pub policy_digest: Option<Digest>,
    /// What was decided.
    pub verdict: Verdict,
    /// The client's parameters.
    pub parameters: Vec<ParameterRecord>,
    /// Number and digest of parameters that were not kept.
    pub redacted: Option<(u32, Digest)>,
}

/// What was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The entry does not say, or says what this version does not know.
    #[default]
    Unknown,
    /// Forwarded to the source.
    Forwarded,
    /// Answered by pgwicket itself.
    Local,
    /// Refused.
    Refused {
        /// SQLSTATE.
        sqlstate: String,
        /// Message.
        message: String,
    },
}

/// A bind parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterRecord {
    /// Type oid, 0 when unknown.
    pub type_oid: u32,
    /// 0 text, 1 binary.
    pub format: i16,
    /// The bytes; `None` is NULL.
    pub value: Option<Vec<u8>>,
}

/// An outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// Microseconds since the Unix epoch.
    pub time: u64,
    /// The number of the status in the format.
    pub status: u8,
    /// SQLSTATE of a failure.
    pub sqlstate: Option<String>,
    /// Message of a failure.
    pub message: Option<String>,
    /// Microseconds.
    pub duration: u64,
    /// Rows that came back.
    pub rows: u64,
    /// Bytes of their DataRow messages.
    pub bytes: u64,
    /// The columns.
    pub columns: Vec<ColumnRecord>,
    /// SHA-256 over all DataRow messages.
    pub rows_digest: Option<Digest>,
    /// Which rows are kept.
    pub kept: Kept,
    /// Bytes of the kept ones.
    pub kept_bytes: u64,
    /// Rows entries before this one.
    pub chunks: u64,
}

impl OutcomeRecord {
    /// The status as a word.
    pub fn status_name(&self) -> &'static str {
        match self.status {
            1 => "completed",
            2 => "failed",
            3 => "canceled",
            4 => "client_gone",
            5 => "limit",
            6 => "truncated",
            7 => "not_executed",
            _ => "unknown",
        }
    }
}

/// Which rows are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kept {
    /// The entry does not say.
    #[default]
    Unknown,
    /// All.
    Full,
    /// All up to the byte cap; the last one may be cut.
    Capped,
    /// None, by policy.
    Digest,
    /// The first ones, by policy.
    Sample,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRecord {
    /// Name.
    pub name: String,
    /// Type oid.
    pub type_oid: u32,
    /// 0 text, 1 binary.
    pub format: i16,
}

impl DecisionRecord {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a reader skips fields that are not its own")]
    pub(super) fn decode(payload: &[u8], shared: &SharedBlocks) -> Self {
        let mut record = Self::default();
        let (mut verdict, mut sqlstate, mut message) = (0, String::new(), String::new());
        for (tag, value) in expand(payload, shared) {
            match tag {
                Tag::Time => record.time = integer(value).unwrap_or(0),
                Tag::Agent => record.agent = text(value),
                Tag::Tenant => record.tenant = Some(text(value)),
                Tag::Run => record.run = Some(text(value)),
                Tag::Subject => record.subject = Some(text(value)),
                Tag::Attribute => record.attributes.push(text(value)),
                Tag::Session => record.session = text(value),
                Tag::ApplicationName => record.application_name = text(value),
                Tag::TraceParent => record.traceparent = Some(text(value)),
                Tag::Source => record.source = Some(text(value)),
                Tag::Relation => record.relations.push(text(value)),
                Tag::ClientText => record.client_text = value.to_vec(),
                Tag::Fingerprint => record.fingerprint = text(value),
                Tag::GovernedText => record.governed_text = Some(text(value)),
                Tag::PolicyEpoch => record.policy_epoch = integer(value).unwrap_or(0),
                Tag::PolicyDigest => record.policy_digest = value.try_into().ok().map(Digest),
                Tag::Verdict => verdict = value.first().copied().unwrap_or(0),
                Tag::SqlState => sqlstate = text(value),
                Tag::Message => message = text(value),
                Tag::Parameter => record.parameters.extend(parameter(value)),
                Tag::ParametersRedacted => record.redacted = redacted(value),
                _ => {}
            }
        }
        record.verdict = match verdict {
            FORWARDED => Verdict::Forwarded,
            REFUSED => Verdict::Refused { sqlstate, message },
            LOCAL => Verdict::Local,
            _ => Verdict::Unknown,
        };
        record
    }
}

impl OutcomeRecord {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a reader skips fields that are not its own")]
    pub(super) fn decode(payload: &[u8], shared: &SharedBlocks) -> Self {
        let mut record = Self::default();
        for (tag, value) in expand(payload, shared) {
            match tag {
                Tag::Time => record.time = integer(value).unwrap_or(0),
                Tag::Status => record.status = value.first().copied().unwrap_or(0),
                Tag::SqlState => record.sqlstate = Some(text(value)),
                Tag::Message => record.message = Some(text(value)),
                Tag::Duration => record.duration = integer(value).unwrap_or(0),
                Tag::RowCount => record.rows = integer(value).unwrap_or(0),
                Tag::ByteCount => record.bytes = integer(value).unwrap_or(0),
                Tag::Column => record.columns.extend(column(value)),
                Tag::RowsDigest => record.rows_digest = value.try_into().ok().map(Digest),
                Tag::KeptBytes => record.kept_bytes = integer(value).unwrap_or(0),
                Tag::Chunk => record.chunks = integer(value).unwrap_or(0),
                Tag::RowsKept => {
                    record.kept = match value {
                        [1] => Kept::Full,
                        [2] => Kept::Capped,
                        [3] => Kept::Digest,
                        [4] => Kept::Sample,
                        _ => Kept::Unknown,
                    }
                }
                _ => {}
            }
        }
        record
    }
}

/// The kept rows that an entry holds; `None` when they do not decompress to the length they announce.
pub(super) fn rows(payload: &[u8]) -> Option<Vec<u8>> {
    for (tag, value) in Fields::new(payload) {
        if tag == Tag::RowsPlain as u8 {
            return Some(value.to_vec());
        }
        if tag == Tag::RowsLz4 as u8 {
            let (length, block) = value.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length) as usize;
            // A chunk is never longer than this, so a forged length cannot take the reader's memory.
            let rows = (length <= super::recorder::CHUNK).then(|| lz4_flex::block::decompress(block, length))?.ok()?;
            return (rows.len() == length).then_some(rows);
        }
    }
    Some(Vec::new())
}

/// The values of a row; `None` is NULL.
pub type Row<'a> = Vec<Option<&'a [u8]>>;

/// A DataRow message's values, and the bytes after it. `None` when no whole message is left.
pub fn split_data_row(messages: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let (_, rest) = messages.split_first()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let (message, after) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let mut body = message.get(6..).unwrap_or_default();
    let mut values = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let (value, rest) = rest.split_at_checked(length)?;
            values.push(Some(value));
            body = rest;
        } else {
            values.push(None);
            body = rest;
        }
    }
    Some((values, after))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Type oid, format and the rest of a parameter or column field.
fn typed(value: &[u8]) -> Option<(u32, i16, &[u8])> {
    let (oid, rest) = value.split_first_chunk::<4>()?;
    let (format, rest) = rest.split_first_chunk::<2>()?;
    Some((u32::from_be_bytes(*oid), i16::from_be_bytes(*format), rest))
}

fn parameter(value: &[u8]) -> Option<ParameterRecord> {
    let (type_oid, format, rest) = typed(value)?;
    let (null, bytes) = rest.split_first()?;
    Some(ParameterRecord { type_oid, format, value: (*null == 0).then(|| bytes.to_vec()) })
}

fn column(value: &[u8]) -> Option<ColumnRecord> {
    let (type_oid, format, name) = typed(value)?;
    Some(ColumnRecord { name: text(name), type_oid, format })
}

fn redacted(value: &[u8]) -> Option<(u32, Digest)> {
    let (count, digest) = value.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*count), Digest(digest.try_into().ok()?)))
}
