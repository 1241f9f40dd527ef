//! The small messages that answer a client.

use bytes::BytesMut;

use crate::wire::MessageWriter;

/// `text`
const TEXT: u32 = 25;

/// A message without a body: ParseComplete `1`, BindComplete `2`, CloseComplete `3`, NoData `n`, EmptyQueryResponse `I`, PortalSuspended `s`.
pub(super) fn bare(out: &mut BytesMut, tag: u8) {
    MessageWriter::new(out, tag).finish();
}

/// A message of the source's, passed on.
pub(super) fn with_body(out: &mut BytesMut, tag: u8, body: &[u8]) {
    MessageWriter::new(out, tag).bytes(body).finish();
}

/// CommandComplete.
pub(super) fn command_complete(out: &mut BytesMut, tag: &str) {
    MessageWriter::new(out, b'C').string(tag).finish();
}

/// ParameterStatus.
pub(super) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    MessageWriter::new(out, b'S').string(name).string(value).finish();
}

/// ReadyForQuery.
pub(super) fn ready(out: &mut BytesMut, status: u8) {
    MessageWriter::new(out, b'Z').byte(status).finish();
}

/// RowDescription of text columns.
pub(super) fn text_columns(out: &mut BytesMut, names: &[&str], asked: &[i16]) {
    let mut writer = MessageWriter::new(out, b'T').int16(i16::try_from(names.len()).unwrap_or(0));
    for (index, name) in names.iter().enumerate() {
        let format = match asked {
            [all] => *all,
            each => each.get(index).copied().unwrap_or(0),
        };
        writer = writer.string(name).int32(0).int16(0).bytes(&TEXT.to_be_bytes()).int16(-1).int32(-1).int16(format);
    }
    writer.finish();
}

/// RowDescription of one column of this type.
pub(super) fn one_column(out: &mut BytesMut, name: &str, oid: u32, asked: &[i16]) {
    let writer = MessageWriter::new(out, b'T').int16(1).string(name).int32(0).int16(0).bytes(&oid.to_be_bytes());
    writer.int16(-1).int32(-1).int16(asked.first().copied().unwrap_or(0)).finish();
}

/// DataRow of text values.
pub(super) fn text_row(out: &mut BytesMut, values: &[&str]) {
    let mut writer = MessageWriter::new(out, b'D').int16(i16::try_from(values.len()).unwrap_or(0));
    for value in values {
        writer = writer.int32(i32::try_from(value.len()).unwrap_or(0)).bytes(value.as_bytes());
    }
    writer.finish();
}
