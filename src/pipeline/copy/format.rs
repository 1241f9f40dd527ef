//! Rows as COPY writes them: `DataRow` messages become `CopyData`, as `CopyOneRowTo` of commands/copyto.c makes them.

use bytes::{BufMut as _, BytesMut};

use super::options::{ForceQuote, Format, Options, problem};
use crate::{
    error::SessionError,
    pipeline::{bind::Parameters, reply},
    wire::MessageWriter,
};

/// A row at most: it is held whole, since it is written with its length before it. Unit: bytes.
const MAX_ROW: usize = 64 << 20;

/// The signature, the flags and the length of the extension of a binary copy.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The writer of one COPY.
#[derive(Debug)]
pub(in crate::pipeline) struct CopyOut {
    options: Options,
    names: Vec<Box<str>>,
    forced: Vec<bool>,
    /// The beginning of a row that comes in pieces.
    partial: BytesMut,
    begun: bool,
}

impl CopyOut {
    /// A writer for rows of these columns.
    pub(super) fn new(options: Options, names: Vec<Box<str>>) -> Result<Self, SessionError> {
        let forced = match &options.force_quote {
            ForceQuote::None => vec![false; names.len()],
            ForceQuote::All => vec![true; names.len()],
            ForceQuote::Columns(wanted) => {
                if let Some(unknown) = wanted.iter().find(|wanted| !names.contains(wanted)) {
                    return Err(problem("42703", format!("column \"{unknown}\" does not exist")));
                }
                names.iter().map(|name| wanted.contains(name)).collect()
            }
        };
        Ok(Self { options, names, forced, partial: BytesMut::new(), begun: false })
    }

    /// The result format to ask the source for.
    pub(super) fn code(&self) -> i16 {
        i16::from(self.options.format == Format::Binary)
    }

    /// `CopyOutResponse` and what comes before the first row, once.
    pub(in crate::pipeline) fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let code = self.code();
        let count = i16::try_from(self.names.len()).unwrap_or(i16::MAX);
        let mut writer = MessageWriter::new(out, b'H').byte(u8::from(code == 1)).int16(count);
        for _ in &self.names {
            writer = writer.int16(code);
        }
        writer.finish();
        if self.options.header {
            let line = self.line(&self.names.iter().map(|name| Some(name.as_bytes())).collect::<Vec<_>>(), &[]);
            reply::with_body(out, b'd', &line);
        }
    }

    /// Writes a run of DataRow messages.
    pub(in crate::pipeline) fn rows(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), SessionError> {
        let first = !self.begun;
        self.begin(out);
        let mut header: &[u8] = if first && self.options.format == Format::Binary { BINARY_HEADER } else { &[] };
        let mut held = BytesMut::new();
        let mut rest = bytes;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(bytes);
            if data_row(&self.partial).is_some() {
                held = self.partial.split();
            }
            rest = &held;
        }
        while let Some((body, after)) = data_row(rest) {
            if self.options.format == Format::Binary {
                MessageWriter::new(out, b'd').bytes(std::mem::take(&mut header)).bytes(body).finish();
            } else {
                let line = self.line(&values(body), &self.forced);
                reply::with_body(out, b'd', &line);
            }
            rest = after;
        }
        if row_size(rest).is_some_and(|size| size > MAX_ROW) {
            return Err(problem("54000", "a row is too large for COPY: select it instead"));
        }
        if !header.is_empty() {
            // The row it goes with is still to come.
            reply::with_body(out, b'd', header);
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// What comes after the last row.
    pub(in crate::pipeline) fn end(&mut self, out: &mut BytesMut) {
        let first = !self.begun;
        self.begin(out);
        if self.options.format == Format::Binary {
            let header = if first { BINARY_HEADER } else { &[] };
            MessageWriter::new(out, b'd').bytes(header).int16(-1).finish();
        }
        reply::bare(out, b'c');
    }

    /// A line of values, its end included.
    fn line(&self, values: &[Option<&[u8]>], forced: &[bool]) -> BytesMut {
        let mut line = BytesMut::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                line.put_u8(self.options.delimiter);
            }
            match value {
                None => line.extend_from_slice(self.options.null.as_bytes()),
                Some(value) if self.options.format == Format::Csv => {
                    self.csv(value, forced.get(index) == Some(&true), values.len() == 1, &mut line);
                }
                Some(value) => self.text(value, &mut line),
            }
        }
        line.put_u8(b'\n');
        line
    }

    /// `CopyAttributeOutText`
    fn text(&self, value: &[u8], line: &mut BytesMut) {
        for byte in value {
            let escaped = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                b'\\' => b'\\',
                byte if *byte == self.options.delimiter => *byte,
                byte => {
                    line.put_u8(*byte);
                    continue;
                }
            };
            // A tab is `\t`, a delimiter or not: what splits at tabs finds none within a value.
            line.put_slice(&[b'\\', escaped]);
        }
    }

    /// `CopyAttributeOutCSV`
    fn csv(&self, value: &[u8], forced: bool, alone: bool, line: &mut BytesMut) {
        let Options { delimiter, quote, escape, null, .. } = &self.options;
        let special = |byte: &u8| byte == delimiter || byte == quote || matches!(byte, b'\n' | b'\r');
        let quoted = forced || value == null.as_bytes() || (alone && value == b"\\.") || value.iter().any(special);
        if !quoted {
            line.extend_from_slice(value);
            return;
        }
        line.put_u8(*quote);
        for byte in value {
            if byte == quote || byte == escape {
                line.put_u8(*escape);
            }
            line.put_u8(*byte);
        }
        line.put_u8(*quote);
    }
}

/// The body of the DataRow message that starts here, if all of it is here, and what follows.
fn data_row(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (message, after) = bytes.split_at_checked(row_size(bytes)?)?;
    Some((message.get(5..)?, after))
}

/// The size of the message that starts here.
fn row_size(bytes: &[u8]) -> Option<usize> {
    let (&[_, a, b, c, d], _) = bytes.split_first_chunk::<5>()?;
    usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?.checked_add(1)
}

/// The values of a DataRow message's body.
fn values(body: &[u8]) -> Vec<Option<&[u8]>> {
    let Some((count, values)) = body.split_first_chunk::<2>() else { return Vec::new() };
    Parameters::new(u16::from_be_bytes(*count).into(), values).iter().collect()
}
