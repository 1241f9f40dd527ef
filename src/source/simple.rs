//! A simple query in text format, for the room's own checks. Its text never comes from a client or a policy.

use crate::wire::{Header, MessageWriter};

use super::{Connection, ServerError, SourceError};

/// No message of an answer to the room's own queries is longer.
const MESSAGE_LIMIT: usize = 64 * 1024 * 1024;

/// A row in text form.
pub(super) type Row = Vec<Option<String>>;

impl Connection {
    /// Runs `sql` on an idle connection and returns its rows.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, SourceError> {
        MessageWriter::new(self.channel.outgoing(), b'Q').string(sql).finish();
        self.channel.flush().await.map_err(|error| SourceError::lost(&error))?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let head = self.channel.message(MESSAGE_LIMIT).await.map_err(|error| SourceError::lost(&error))?;
            let head = head.ok_or(SourceError::Lost(std::io::ErrorKind::UnexpectedEof))?;
            let message = self.channel.incoming().split_to(head.total());
            let body = message.get(Header::SIZE..).unwrap_or_default();
            match head.tag {
                b'D' => rows.push(row(body).ok_or(SourceError::Protocol("a malformed row"))?),
                b'E' => failure = Some(Box::new(ServerError::parse(body))),
                b'Z' => break,
                _ => {}
            }
            if failure.as_ref().is_some_and(|error| error.is_fatal()) {
                break;
            }
        }
        match failure {
            Some(error) => {
                self.poisoned = true;
                Err(SourceError::Startup(error))
            }
            None => Ok(rows),
        }
    }
}

fn row(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            row.push(None);
            rest = after;
        } else {
            let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            row.push(Some(String::from_utf8(value.to_vec()).ok()?));
            rest = after;
        }
    }
    Some(row)
}
