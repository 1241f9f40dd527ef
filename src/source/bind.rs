//! Bind: the client's parameter bytes as they came, then the appended parameters.

use bytes::BytesMut;

use crate::wire::MessageWriter;

use super::SourceError;

/// `PQ_LARGE_MESSAGE_LIMIT` of libpq/libpq.h: no message of a frontend may be longer.
const MESSAGE_LIMIT: usize = 0x3fff_ffff;

/// What a Bind carries besides its names.
#[derive(Debug, Clone, Copy, Default)]
pub struct BindParameters<'a> {
    /// The client's parameter format codes: none, one for all, or one each.
    pub client_formats: &'a [i16],
    /// The client's values as they stand in its Bind: each a 4-byte length (-1 is NULL) and that many bytes.
    pub client_values: &'a [u8],
    /// How many values `client_values` holds.
    pub client_count: usize,
    /// The appended parameters' values in text form; `None` is NULL.
    pub appended: &'a [Option<&'a [u8]>],
    /// The client's result format codes: none, one for all, or one each.
    pub result_formats: &'a [i16],
}

impl BindParameters<'_> {
    /// Checks that the values are what they claim to be. The appended tenant is found by position: were there
    /// one value more in `client_values` than counted, the client would choose its tenant.
    pub(super) fn check(&self, client_parameters: usize, appended: usize) -> Result<(), SourceError> {
        if self.client_count != client_parameters {
            return Err(SourceError::Bind("the number of values is not the number of the statement's parameters"));
        }
        if self.appended.len() != appended {
            return Err(SourceError::Bind("the number of appended values is not the statement's"));
        }
        if u16::try_from(client_parameters + appended).is_err() {
            return Err(SourceError::Bind("a statement has at most 65535 parameters, those of the policy included"));
        }
        if self.client_formats.len() > 1 && self.client_formats.len() != self.client_count {
            return Err(SourceError::Bind("the number of format codes is not the number of parameters"));
        }
        if self.client_formats.iter().chain(self.result_formats).any(|code| !matches!(code, 0 | 1)) {
            return Err(SourceError::Bind("a format code is 0 (text) or 1 (binary)"));
        }
        let appended_bytes: usize = self.appended.iter().flatten().map(|value| value.len() + 4).sum();
        if self.client_values.len().saturating_add(appended_bytes) > MESSAGE_LIMIT / 2 {
            return Err(SourceError::Bind("the values are longer than a message may be"));
        }
        let mut rest = self.client_values;
        for _ in 0..self.client_count {
            rest = skip_value(rest).ok_or(SourceError::Bind("a value is cut short"))?;
        }
        if rest.is_empty() { Ok(()) } else { Err(SourceError::Bind("there are more values than counted")) }
    }

    /// Writes the message. [`Self::check`] has passed, so each count fits its field.
    pub(super) fn write(&self, outgoing: &mut BytesMut, portal: &str, statement: &str) {
        let mut message = MessageWriter::new(outgoing, b'B').string(portal).string(statement);
        let total = self.client_count + self.appended.len();
        if self.client_formats.contains(&1) {
            message = message.int16(count(total));
            for index in 0..self.client_count {
                let code = if self.client_formats.len() == 1 { self.client_formats.first() } else { self.client_formats.get(index) };
                message = message.int16(code.copied().unwrap_or(0));
            }
            for _ in self.appended {
                message = message.int16(0);
            }
        } else {
            message = message.int16(0);
        }
        message = message.int16(count(total)).bytes(self.client_values);
        for value in self.appended {
            message = match value {
                Some(value) => message.int32(i32::try_from(value.len()).unwrap_or(i32::MAX)).bytes(value),
                None => message.int32(-1),
            };
        }
        message = message.int16(count(self.result_formats.len()));
        for code in self.result_formats {
            message = message.int16(*code);
        }
        message.finish();
    }
}

/// A count in the wire's 16 bits, which PostgreSQL reads unsigned where it matters.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "counts over 65535 were refused by the check")]
fn count(value: usize) -> i16 {
    value as u16 as i16
}

fn skip_value(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*length) {
        -1 => Some(rest),
        length => rest.get(usize::try_from(length).ok()?..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parameters: &BindParameters<'_>) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        parameters.write(&mut buffer, "", "p1");
        buffer.get(5..).unwrap().to_vec()
    }

    #[test]
    fn the_clients_bytes_come_first_and_the_appended_in_text() {
        let parameters = BindParameters {
            client_values: b"\0\0\0\x01a\xff\xff\xff\xff",
            client_count: 2,
            appended: &[Some(b"acme")],
            ..Default::default()
        };
        assert_eq!(parameters.check(2, 1), Ok(()));
        assert_eq!(written(&parameters), b"\0p1\0\0\0\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x04acme\0\0");
    }

    #[test]
    fn one_binary_format_for_all_is_spelled_out_so_that_the_appended_stay_text() {
        let parameters = BindParameters {
            client_formats: &[1],
            client_values: b"\0\0\0\0\0\0\0\0",
            client_count: 2,
            appended: &[Some(b"t"), None],
            result_formats: &[1],
        };
        assert_eq!(parameters.check(2, 2), Ok(()));
        assert_eq!(written(&parameters), b"\0p1\0\0\x04\0\x01\0\x01\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\x01t\xff\xff\xff\xff\0\x01\0\x01");
    }

    #[test]
    fn a_client_cannot_move_the_tenant_by_its_own_values() {
        let check = |values: &[u8], count| {
            BindParameters { client_values: values, client_count: count, appended: &[Some(b"acme")], ..Default::default() }.check(1, 1)
        };
        assert!(check(b"\0\0\0\x01a", 1).is_ok());
        for (values, count) in [
            (&b"\0\0\0\x01a\0\0\0\x05other"[..], 1),
            (b"\0\0\0\x01a\0\0\0\x05other", 2),
            (b"", 0),
            (b"", 1),
            (b"\0\0\0\x02a", 1),
            (b"\x80\0\0\0a", 1),
            (b"\xff\xff\xff\xfea", 1),
            (b"\0\0\0\x01a\0", 1),
        ] {
            assert!(check(values, count).is_err(), "{values:?}");
        }
        let none = BindParameters { client_values: b"\0\0\0\x01a", client_count: 1, ..Default::default() };
        assert!(none.check(1, 1).is_err(), "the tenant is missing");
        let formats = BindParameters { client_formats: &[0, 1], client_values: b"\0\0\0\x01a", client_count: 1, ..Default::default() };
        assert!(formats.check(1, 0).is_err());
    }
}
