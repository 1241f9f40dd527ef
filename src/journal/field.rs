//! Payload encoding: a list of fields, each `tag (1 byte) | length (LEB128) | value`.
//!
//! Integers are big-endian without leading zero bytes. Readers skip tags they do not know. A tag never changes its
//! meaning; numbers are never reused.

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The tags of format version 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Tag {
            $($(#[$doc])* $name = $number,)*
        }

        impl Tag {
            /// The tag with this number, if the format has one.
            pub(crate) fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

tags! {
    /// 16 bytes.
    EvidenceId = 1,
    /// Microseconds since the Unix epoch.
    Time = 2,
    /// Sequence number of a Shared entry of the same segment whose fields belong here.
    Shared = 3,
    /// Text.
    Agent = 10,
    /// Text.
    Tenant = 11,
    /// Text.
    Run = 12,
    /// Text.
    Session = 13,
    /// Text.
    ApplicationName = 14,
    /// Text: the `traceparent` of a sqlcommenter comment.
    TraceParent = 15,
    /// Text: who acts, as a token says.
    Subject = 16,
    /// Text, repeated: `name=value`, what else a token says.
    Attribute = 17,
    /// Text.
    Source = 20,
    /// Text, repeated: alias name.
    Relation = 21,
    /// Bytes as the client sent them.
    ClientText = 22,
    /// Text.
    Fingerprint = 23,
    /// Text.
    GovernedText = 24,
    /// Integer.
    PolicyEpoch = 25,
    /// 32 bytes.
    PolicyDigest = 26,
    /// 1 byte: 1 forwarded to the source, 2 refused, 3 answered by pgwicket itself.
    Verdict = 30,
    /// Five characters.
    SqlState = 31,
    /// Text.
    Message = 32,
    /// Repeated: type oid (4) | format (2) | 0 and the value, or 1 for NULL.
    Parameter = 33,
    /// Count (4) | SHA-256 over the fields that were not kept.
    ParametersRedacted = 34,
    /// 1 byte, see `Status`.
    Status = 40,
    /// Integer.
    RowCount = 41,
    /// Integer: bytes of all DataRow messages.
    ByteCount = 42,
    /// Integer, microseconds.
    Duration = 43,
    /// Repeated: type oid (4) | format (2) | name.
    Column = 44,
    /// SHA-256 over all DataRow messages.
    RowsDigest = 45,
    /// Kept DataRow messages: uncompressed length (4) | LZ4 block.
    RowsLz4 = 46,
    /// Kept DataRow messages as they are.
    RowsPlain = 47,
    /// 1 byte: 1 all rows, 2 all up to the byte cap, 3 none, 4 the first rows.
    RowsKept = 48,
    /// Integer: bytes of DataRow messages kept, in Rows entries and here.
    KeptBytes = 49,
    /// Integer: number of Rows entries before this one, of the same statement.
    Chunk = 50,
    /// Integer.
    LaneNumber = 70,
    /// Integer, from 1.
    SegmentNumber = 71,
    /// 16 random bytes, the same in all segments of a lane.
    ChainId = 72,
    /// Text: version of the writer.
    Writer = 73,
    /// Integer.
    ProcessId = 74,
    /// Integer: bytes moved aside.
    DroppedBytes = 80,
    /// SHA-256 over the bytes moved aside.
    DroppedDigest = 81,
    /// Text: name of the file they were moved to.
    DroppedFile = 82,
}

/// Appends a field.
pub(super) fn put(buffer: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    put_parts(buffer, tag, &[value]);
}

/// Appends a field whose value is in several parts.
pub(super) fn put_parts(buffer: &mut Vec<u8>, tag: Tag, parts: &[&[u8]]) {
    buffer.push(tag as u8);
    let mut length = parts.iter().map(|part| part.len()).sum::<usize>();
    while length > 0x7f {
        buffer.push(low_byte(length) | 0x80);
        length >>= 7;
    }
    buffer.push(low_byte(length));
    for part in parts {
        buffer.extend_from_slice(part);
    }
}

/// Appends an integer field.
pub(super) fn put_integer(buffer: &mut Vec<u8>, tag: Tag, value: u64) {
    let bytes = value.to_be_bytes();
    let zeros = (value.leading_zeros() / 8) as usize;
    put(buffer, tag, bytes.get(zeros..).unwrap_or_default());
}

/// Appends a field if there is a value.
pub(super) fn put_option(buffer: &mut Vec<u8>, tag: Tag, value: Option<&str>) {
    if let Some(value) = value {
        put(buffer, tag, value.as_bytes());
    }
}

fn low_byte(length: usize) -> u8 {
    u8::try_from(length & 0x7f).unwrap_or(0)
}

/// The fields of a payload. Ends at the first malformed one; [`Fields::malformed`] says so.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    malformed: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, malformed: false }
    }

    /// Whether the payload ended within a field.
    pub(super) fn malformed(&self) -> bool {
        self.malformed
    }

    fn take(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, mut rest) = self.rest.split_first()?;
        let mut length = 0usize;
        for shift in (0..35).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let (value, rest) = rest.split_at_checked(length)?;
                self.rest = rest;
                return Some((*tag, value));
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            (self.malformed, self.rest) = (true, &[]);
        }
        field
    }
}

/// Reads an integer field; `None` when it is longer than eight bytes.
pub(super) fn integer(value: &[u8]) -> Option<u64> {
    (value.len() <= 8).then(|| value.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_come_back_as_they_were_put(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8), number: u64) {
            let mut buffer = Vec::new();
            for value in &values {
                put(&mut buffer, Tag::Message, value);
            }
            put_integer(&mut buffer, Tag::Time, number);
            let mut fields = Fields::new(&buffer);
            for value in &values {
                prop_assert_eq!(fields.next(), Some((Tag::Message as u8, value.as_slice())));
            }
            prop_assert_eq!(fields.next().and_then(|(_, value)| integer(value)), Some(number));
            prop_assert_eq!(fields.next(), None);
            prop_assert!(!fields.malformed());
            let mut cut = Fields::new(&buffer[..buffer.len() - usize::from(number > 0)]);
            cut.by_ref().for_each(drop);
            prop_assert_eq!(cut.malformed(), number > 0);
        }
    }
}
