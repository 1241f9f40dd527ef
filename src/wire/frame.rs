//! Message framing: a tag byte, a 4-byte length that counts itself, the body.

use bytes::{BufMut as _, BytesMut};

/// A message's tag and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The tag byte.
    pub tag: u8,
    /// Bytes after the length field.
    pub body: usize,
}

impl Header {
    /// Bytes of tag and length field.
    pub const SIZE: usize = 5;

    /// Bytes of the whole message, tag included. Cannot wrap: `body` came from a positive `i32`.
    pub fn total(self) -> usize {
        Self::SIZE + self.body
    }
}

/// A length field that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Under the four bytes it counts itself, or negative.
    #[error("message length is under four bytes")]
    TooShort,
    /// Over what this peer may send here.
    #[error("message body of {body} bytes is over the limit of {limit} bytes")]
    TooLong {
        /// What the length field says.
        body: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// The header at the start of `buffer`, or `None` when fewer than five bytes are there.
pub fn header(buffer: &[u8], limit: usize) -> Result<Option<Header>, FrameError> {
    let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<5>() else { return Ok(None) };
    let length = i32::from_be_bytes([a, b, c, d]);
    let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4)).ok_or(FrameError::TooShort)?;
    if body > limit {
        return Err(FrameError::TooLong { body, limit });
    }
    Ok(Some(Header { tag, body }))
}

/// Writes one message into a buffer; the length field is filled in by [`MessageWriter::finish`].
#[derive(Debug)]
pub struct MessageWriter<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
}

impl<'a> MessageWriter<'a> {
    /// Starts a message.
    pub fn new(buffer: &'a mut BytesMut, tag: u8) -> Self {
        buffer.put_u8(tag);
        let start = buffer.len();
        buffer.put_i32(0);
        Self { buffer, start }
    }

    /// A byte.
    #[must_use]
    pub fn byte(self, value: u8) -> Self {
        self.buffer.put_u8(value);
        self
    }

    /// A 16-bit integer.
    #[must_use]
    pub fn int16(self, value: i16) -> Self {
        self.buffer.put_i16(value);
        self
    }

    /// A 32-bit integer.
    #[must_use]
    pub fn int32(self, value: i32) -> Self {
        self.buffer.put_i32(value);
        self
    }

    /// Raw bytes.
    #[must_use]
    pub fn bytes(self, value: &[u8]) -> Self {
        self.buffer.extend_from_slice(value);
        self
    }

    /// A zero-terminated string; a zero byte inside ends it early, as libpq would read it.
    #[must_use]
    pub fn string(self, value: &str) -> Self {
        let end = value.bytes().position(|byte| byte == 0).unwrap_or(value.len());
        self.buffer.extend_from_slice(value.as_bytes().get(..end).unwrap_or_default());
        self.buffer.put_u8(0);
        self
    }

    /// Fills in the length. Callers bound what they write; a message over 2 GiB cannot be built from bounded parts.
    pub fn finish(self) {
        let length = i32::try_from(self.buffer.len() - self.start).unwrap_or(i32::MAX);
        if let Some(field) = self.buffer.get_mut(self.start..self.start + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_cannot_be_is_refused_before_the_body() {
        assert_eq!(header(b"Q\0\0\0", 10), Ok(None));
        assert_eq!(header(&[b'Q', 0, 0, 0, 3], 10), Err(FrameError::TooShort));
        assert_eq!(header(&[b'Q', 0xff, 0xff, 0xff, 0xff], 10), Err(FrameError::TooShort));
        assert_eq!(header(&[b'Q', 0x7f, 0xff, 0xff, 0xff], 10), Err(FrameError::TooLong { body: 0x7fff_fffb, limit: 10 }));
        assert_eq!(header(&[b'Q', 0, 0, 0, 14], 10), Ok(Some(Header { tag: b'Q', body: 10 })));
    }

    #[test]
    fn a_written_message_reads_back() {
        let mut buffer = BytesMut::new();
        MessageWriter::new(&mut buffer, b'S').string("TimeZone").string("UTC").finish();
        let parsed = header(&buffer, 100).unwrap().unwrap();
        assert_eq!((parsed.tag, parsed.total()), (b'S', buffer.len()));
    }
}
