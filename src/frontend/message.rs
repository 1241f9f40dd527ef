//! Decodes what a client sends after authentication. Never panics, never trusts a count or a length.

use crate::{
    error::ProtocolError,
    pipeline::{Bind, Formats, Parameters, Target},
    sql::catalog::Oid,
};

/// The body of a Query, Parse or Bind message at most: 64 MiB. Unit: bytes.
pub(super) const LARGE_MESSAGE: usize = 64 << 20;
/// Such a message may be this long to be passed over; PostgreSQL takes none that is longer (`PQ_LARGE_MESSAGE_LIMIT`).
pub(super) const LONGEST_MESSAGE: usize = 0x3fff_fffe;

/// The body of any other message at most: names are under this by far. Unit: bytes.
pub(super) const SMALL_MESSAGE: usize = 64 << 10;

/// A message from the client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Message<'a> {
    /// `Q`
    Query(&'a str),
    /// `P`
    Parse {
        /// Statement name; empty is the unnamed one.
        name: &'a str,
        /// The statement.
        text: &'a str,
        /// Declared parameter types, four bytes each.
        types: Types<'a>,
    },
    /// `B`
    Bind(Bind<'a>),
    /// `D`
    Describe(Target, &'a str),
    /// `E`
    Execute {
        /// Portal name; empty is the unnamed one.
        portal: &'a str,
        /// Rows at most; 0 is all.
        max_rows: u32,
    },
    /// `C`
    Close(Target, &'a str),
    /// `H`
    Flush,
    /// `S`
    Sync,
    /// `X`
    Terminate,
    /// `d`, `c`, `f`: left over from a COPY that was refused; PostgreSQL ignores them as well.
    CopyRemains,
}

/// Declared parameter types as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types<'a>(&'a [u8]);

impl Types<'_> {
    /// The type OIDs in order, 0 where the server is to infer.
    pub(super) fn iter(self) -> impl Iterator<Item = Oid> {
        self.0.chunks_exact(4).map(|oid| oid.try_into().map_or(0, Oid::from_be_bytes))
    }
}

/// How long the body of a message with this tag may be. A tag that no message has is refused before its body is
/// waited for.
pub(super) fn body_limit(tag: u8) -> Result<usize, ProtocolError> {
    match tag {
        b'Q' | b'P' | b'B' => Ok(LARGE_MESSAGE),
        b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'd' | b'c' | b'f' | b'F' => Ok(SMALL_MESSAGE),
        other => Err(ProtocolError::UnknownTag(other)),
    }
}

/// Decodes one message.
pub(super) fn decode(tag: u8, body: &[u8]) -> Result<Message<'_>, ProtocolError> {
    let mut reader = Reader { rest: body };
    let message = match tag {
        b'Q' => Message::Query(reader.string()?),
        b'P' => Message::Parse { name: reader.string()?, text: reader.string()?, types: reader.types()? },
        b'B' => Message::Bind(reader.bind()?),
        b'D' => Message::Describe(reader.target("invalid DESCRIBE message subtype")?, reader.string()?),
        b'E' => Message::Execute { portal: reader.string()?, max_rows: reader.max_rows()? },
        b'C' => Message::Close(reader.target("invalid CLOSE message subtype")?, reader.string()?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'd' | b'c' | b'f' => return Ok(Message::CopyRemains),
        b'F' => return Err(ProtocolError::FunctionCall),
        other => return Err(ProtocolError::UnknownTag(other)),
    };
    if reader.rest.is_empty() { Ok(message) } else { Err(ProtocolError::Malformed("invalid message format")) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    const SHORT: ProtocolError = ProtocolError::Malformed("insufficient data left in message");

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Self::SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Self::SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn count(&mut self) -> Result<usize, ProtocolError> {
        self.array().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
    }

    fn string(&mut self) -> Result<&'a str, ProtocolError> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(ProtocolError::Malformed("invalid string in message"))?;
        let text = self.take(end)?;
        self.take(1)?;
        str::from_utf8(text).map_err(|_invalid| ProtocolError::NotUtf8)
    }

    fn target(&mut self, wrong: &'static str) -> Result<Target, ProtocolError> {
        match self.array()? {
            [b'S'] => Ok(Target::Statement),
            [b'P'] => Ok(Target::Portal),
            [_] => Err(ProtocolError::Malformed(wrong)),
        }
    }

    /// Zero and negative limits mean no limit, as in PostgreSQL.
    fn max_rows(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(|bytes| u32::try_from(i32::from_be_bytes(bytes)).unwrap_or(0))
    }

    fn types(&mut self) -> Result<Types<'a>, ProtocolError> {
        let count = self.count()?;
        self.take(count * 4).map(Types)
    }

    fn formats(&mut self) -> Result<Formats<'a>, ProtocolError> {
        let count = self.count()?;
        let formats = Formats::new(self.take(count * 2)?);
        match formats.iter().find(|code| !matches!(code, 0 | 1)) {
            Some(code) => Err(ProtocolError::FormatCode(code)),
            None => Ok(formats),
        }
    }

    fn parameters(&mut self) -> Result<Parameters<'a>, ProtocolError> {
        let count = self.count()?;
        let start = self.rest;
        for _ in 0..count {
            let length = i32::from_be_bytes(self.array()?);
            if length != -1 {
                self.take(usize::try_from(length).map_err(|_negative| Self::SHORT)?)?;
            }
        }
        let used = start.len() - self.rest.len();
        start.get(..used).map(|bytes| Parameters::new(count, bytes)).ok_or(Self::SHORT)
    }

    fn bind(&mut self) -> Result<Bind<'a>, ProtocolError> {
        let bind = Bind {
            portal: self.string()?,
            statement: self.string()?,
            formats: self.formats()?,
            parameters: self.parameters()?,
            results: self.formats()?,
        };
        if bind.formats.len() > 1 && bind.formats.len() != bind.parameters.len() {
            return Err(ProtocolError::Malformed("bind message has another number of parameter formats than of parameters"));
        }
        Ok(bind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_tag_is_refused_before_its_body() {
        for tag in [0, b'R', b'p', b'z', 0xff] {
            assert_eq!(body_limit(tag), Err(ProtocolError::UnknownTag(tag)));
        }
        assert_eq!(body_limit(b'S'), Ok(SMALL_MESSAGE));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(tag in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _decoded = decode(tag, &body);
        }

        #[test]
        fn a_mutated_bind_never_lies_about_its_values(at in 0_usize..40, with in any::<u8>()) {
            let mut body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\0".to_vec();
            if let Some(byte) = body.get_mut(at) { *byte = with; }
            if let Ok(Message::Bind(bind)) = decode(b'B', &body) {
                prop_assert_eq!(bind.parameters.iter().count(), bind.parameters.len());
                let total: usize = bind.parameters.iter().map(|value| 4 + value.map_or(0, <[u8]>::len)).sum();
                prop_assert_eq!(total, bind.parameters.bytes().len());
            }
        }
    }

    #[test]
    fn a_bind_is_read_whole() {
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\0";
        let Ok(Message::Bind(bind)) = decode(b'B', body) else { panic!("not decoded") };
        assert_eq!((bind.portal, bind.statement), ("p", "s"));
        assert_eq!(bind.parameters.iter().collect::<Vec<_>>(), [Some(&b"abc"[..]), None]);
        assert_eq!((bind.formats.of(0), bind.formats.of(1), bind.results.of(5)), (1, 1, 0));
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        assert_eq!(decode(b'F', b"").unwrap_err(), ProtocolError::FunctionCall);
        assert_eq!(decode(b'!', b"").unwrap_err(), ProtocolError::UnknownTag(b'!'));
        assert_eq!(decode(b'p', b"late password\0").unwrap_err(), ProtocolError::UnknownTag(b'p'));
        assert_eq!(decode(b'Q', b"select '\xff'\0").unwrap_err(), ProtocolError::NotUtf8);
        assert_eq!(decode(b'Q', b"select 1").unwrap_err(), ProtocolError::Malformed("invalid string in message"));
        assert_eq!(decode(b'Q', b"select 1\0; drop\0").unwrap_err(), ProtocolError::Malformed("invalid message format"));
        assert_eq!(decode(b'D', b"X\0").unwrap_err(), ProtocolError::Malformed("invalid DESCRIBE message subtype"));
        assert_eq!(decode(b'B', b"\0\0\0\x01\0\x02\0\0\0\0").unwrap_err(), ProtocolError::FormatCode(2));
        assert_eq!(decode(b'P', b"\0select 1\0\xff\xff").unwrap_err(), ProtocolError::Malformed("insufficient data left in message"));
        assert!(decode(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff").is_err(), "a value longer than its message");
        assert!(decode(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0").is_err(), "only -1 is NULL");
    }
}
