//! What the source answers: rows in runs of raw bytes, everything else a message at a time, each checked against
//! the queue of what was asked.

use bytes::Buf as _;

use crate::wire::{Header, header};

use super::{
    Connection, ServerError, Setting, SourceError, TransactionStatus,
    connection::{Expect, SinceSync},
};

/// A DataRow up to this size is passed on whole.
const WHOLE_ROW: usize = 64 * 1024;
/// A message of another kind may have this many bytes: room for a RowDescription of 1600 columns or a long detail.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
/// PostgreSQL makes no longer row (`MaxAllocSize`).
const ROW_LIMIT: usize = 0x3fff_ffff;

/// An answer of the source. Borrowed bytes are whole messages, tag and length included, unless said otherwise.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A run of DataRow messages as they came. A row over 64 KiB comes in pieces, alone in its runs: the first run begins
    /// with its header, the following ones continue it.
    Rows {
        /// The messages' bytes.
        bytes: &'a [u8],
        /// Rows whose last byte is in this run.
        rows: u64,
    },
    /// A `prepare` is done, whether or not it took a Parse.
    Prepared,
    /// A `control` is done.
    Controlled {
        /// The command tag: `ROLLBACK` answers a COMMIT of a failed transaction.
        tag: &'a str,
    },
    /// BindComplete, CloseComplete, ParameterDescription, RowDescription, NoData, CommandComplete,
    /// EmptyQueryResponse or PortalSuspended.
    Message {
        /// Its tag.
        tag: u8,
        /// Its body, after the length field.
        body: &'a [u8],
    },
    /// An ErrorResponse. Of what was queued up to the next Sync, nothing more is answered.
    Error(Box<ServerError>),
    /// ReadyForQuery.
    Ready(TransactionStatus),
}

/// What is at the start of the buffer, before its bytes are lent.
struct Found {
    size: usize,
    kind: Kind,
}

enum Kind {
    Rows(u64),
    Prepared,
    Controlled,
    Message(u8),
    Error(Box<ServerError>),
    Ready(TransactionStatus),
}

enum Step {
    Event(Found),
    Again,
    Read,
}

impl Connection {
    /// The next answer, waiting for it and sending what is queued meanwhile. Cancel safe. When nothing is outstanding it
    /// waits until the source ends the connection.
    ///
    /// # Errors
    /// [`SourceError::Lost`], [`SourceError::Terminated`], [`SourceError::Protocol`], [`SourceError::Unpinned`] or
    /// [`SourceError::Setting`]: the connection is of no more use then.
    pub async fn next(&mut self) -> Result<Event<'_>, SourceError> {
        self.return_lent();
        loop {
            match self.step() {
                Ok(Step::Event(found)) => return Ok(self.lend(found)),
                Ok(Step::Again) => {}
                Ok(Step::Read) => self.read().await?,
                Err(error) => {
                    self.poisoned = true;
                    return Err(error);
                }
            }
        }
    }

    /// Whether an idle connection is still one, without waiting: the source may have closed it meanwhile.
    pub(super) fn is_alive(&mut self) -> bool {
        loop {
            match self.channel.fill_now() {
                None => return self.channel.incoming().is_empty(),
                Some(Ok(0) | Err(_)) => return false,
                Some(Ok(_)) => {}
            }
            loop {
                match self.step() {
                    Ok(Step::Again) => {}
                    Ok(Step::Read) => break,
                    Ok(Step::Event(_)) | Err(_) => return false,
                }
            }
        }
    }

    /// Gives back the bytes that the last event lent.
    pub(super) fn return_lent(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.channel.incoming().advance(lent);
    }

    async fn read(&mut self) -> Result<(), SourceError> {
        let lost = match self.channel.exchange().await {
            Ok(0) => SourceError::Lost(std::io::ErrorKind::UnexpectedEof),
            Ok(_) => return Ok(()),
            Err(error) => SourceError::lost(&error),
        };
        self.poisoned = true;
        Err(lost)
    }

    /// Looks at what is buffered and takes one step, without waiting.
    fn step(&mut self) -> Result<Step, SourceError> {
        if self.rest_of_row > 0 {
            return Ok(self.continue_row());
        }
        if self.expected.front() == Some(&Expect::Held) {
            self.expected.pop_front();
            return Ok(Step::Event(Found { size: 0, kind: Kind::Prepared }));
        }
        let incoming = self.channel.incoming();
        let Some(head) = header(incoming, ROW_LIMIT).map_err(|_error| SourceError::Protocol("a message length that cannot be"))? else {
            return Ok(Step::Read);
        };
        if head.tag == b'D' && !matches!(self.expected.front(), Some(Expect::Setting(_))) {
            return self.rows(head);
        }
        if head.body > MESSAGE_LIMIT {
            return Err(SourceError::Protocol("a message over 16 MiB that is not a row"));
        }
        if incoming.len() < head.total() {
            let missing = head.total() - incoming.len();
            incoming.reserve(missing);
            return Ok(Step::Read);
        }
        self.message(head)
    }

    fn rows(&mut self, first: Header) -> Result<Step, SourceError> {
        if self.expected.front() != Some(&Expect::Execute) {
            return Err(SourceError::Protocol("a row that no Execute asked for"));
        }
        let incoming = self.channel.incoming();
        let (mut size, mut rows) = (0, 0);
        while let Some(rest) = incoming.get(size..)
            && let Ok(Some(head)) = header(rest, ROW_LIMIT)
            && head.tag == b'D'
            && head.total() <= rest.len()
        {
            size += head.total();
            rows += 1;
        }
        if rows > 0 {
            return Ok(Step::Event(Found { size, kind: Kind::Rows(rows) }));
        }
        if first.total() <= WHOLE_ROW {
            let missing = first.total().saturating_sub(incoming.len());
            incoming.reserve(missing);
            return Ok(Step::Read);
        }
        let size = incoming.len();
        self.rest_of_row = first.total() - size;
        Ok(Step::Event(Found { size, kind: Kind::Rows(0) }))
    }

    fn continue_row(&mut self) -> Step {
        let size = self.channel.incoming().len().min(self.rest_of_row);
        if size == 0 {
            return Step::Read;
        }
        self.rest_of_row -= size;
        Step::Event(Found { size, kind: Kind::Rows(u64::from(self.rest_of_row == 0)) })
    }

    /// One whole message that is not a row for the caller.
    fn message(&mut self, head: Header) -> Result<Step, SourceError> {
        let kind = match head.tag {
            b'N' | b'A' => None,
            b'S' => self.parameter_status(head)?,
            b'E' => Some(Kind::Error(self.error(head)?)),
            b'Z' => self.ready(head)?.map(Kind::Ready),
            tag => self.answer(tag, head)?,
        };
        let size = head.total();
        if let Some(kind) = kind {
            return Ok(Step::Event(Found { size, kind }));
        }
        self.channel.incoming().advance(size);
        Ok(Step::Again)
    }

    /// A message that must be the answer to what is first in the queue.
    fn answer(&mut self, tag: u8, head: Header) -> Result<Option<Kind>, SourceError> {
        let unexpected = SourceError::Protocol("an answer to what was not asked");
        let front = *self.expected.front().ok_or_else(|| unexpected.clone())?;
        let (answered, kind) = match (front, tag) {
            (Expect::Parse { number, told }, b'1') => {
                if let Some(number) = number {
                    self.statements.parsed(number);
                }
                (true, told.then_some(Kind::Prepared))
            }
            (Expect::Step(expected), tag) if tag == expected => (true, None),
            (Expect::Discard(_), b'3') | (Expect::Setting(_), b'C') => (true, None),
            (Expect::Setting(_), b'D') => (false, None),
            (Expect::DescribeStatement, b't') => {
                if let Some(front) = self.expected.front_mut() {
                    *front = Expect::RowDescription;
                }
                (false, Some(Kind::Message(tag)))
            }
            (Expect::Bind, b'2')
            | (Expect::Close, b'3')
            | (Expect::RowDescription, b'T' | b'n')
            | (Expect::Execute, b'C' | b'I' | b's') => (true, Some(Kind::Message(tag))),
            (Expect::Control, b'C') => {
                if self.body(head) == b"ROLLBACK\0" {
                    self.revoke_settings();
                }
                (true, Some(Kind::Controlled))
            }
            _ => return Err(unexpected),
        };
        if answered {
            self.expected.pop_front();
        }
        Ok(kind)
    }

    /// Drops from the queue what the source skips after an error.
    fn error(&mut self, head: Header) -> Result<Box<ServerError>, SourceError> {
        let error = Box::new(ServerError::parse(self.body(head)));
        if error.is_fatal() {
            return Err(SourceError::Terminated(error));
        }
        self.revoke_settings();
        let mut refused = None;
        loop {
            match self.expected.front() {
                Some(Expect::Sync) => break,
                // What is queued behind would run without the settings it was queued with.
                Some(Expect::OwnSync) => return Err(SourceError::Setting(refused.map_or("", Setting::name))),
                Some(Expect::Parse { number: Some(number), .. }) => self.statements.forget(*number),
                Some(Expect::Parse { number: None, .. }) => {
                    self.unnamed.take_if(|unnamed| unnamed.segment == self.answered);
                }
                Some(Expect::Discard(number)) => self.undiscarded.push(*number),
                Some(Expect::Setting(setting)) => refused = refused.or(Some(*setting)),
                Some(_) => {}
                None => {
                    self.since_sync = SinceSync::Error;
                    break;
                }
            }
            self.expected.pop_front();
        }
        Ok(error)
    }

    fn ready(&mut self, head: Header) -> Result<Option<TransactionStatus>, SourceError> {
        let told = match self.expected.pop_front() {
            Some(Expect::Sync) => true,
            Some(Expect::OwnSync) => false,
            Some(_) | None => return Err(SourceError::Protocol("ReadyForQuery before the answers")),
        };
        self.answered += 1;
        let status = self.body(head).first().copied().and_then(TransactionStatus::from_byte);
        self.status = status.ok_or(SourceError::Protocol("an unknown transaction status"))?;
        if self.status == TransactionStatus::Idle && self.expected.is_empty() {
            self.settings_revocable = false;
        }
        Ok(told.then_some(self.status))
    }

    /// A setting that was made in what is now undone may be back at its former value.
    fn revoke_settings(&mut self) {
        if self.settings_revocable {
            self.settings = None;
        }
    }

    /// The sources of every parser's agreement with the server: were one to change, the same text would mean another.
    fn parameter_status(&mut self, head: Header) -> Result<Option<Kind>, SourceError> {
        let mut parts = self.body(head).split(|byte| *byte == 0);
        match (parts.next(), parts.next()) {
            (Some(b"standard_conforming_strings"), value) if value != Some(b"on") => {
                Err(SourceError::Unpinned("standard_conforming_strings"))
            }
            (Some(b"client_encoding"), value) if value != Some(b"UTF8") => Err(SourceError::Unpinned("client_encoding")),
            _ => Ok(None),
        }
    }

    fn body(&mut self, head: Header) -> &[u8] {
        self.channel.incoming().get(Header::SIZE..head.total()).unwrap_or_default()
    }

    /// Lends the bytes of what was found; the next call gives them back.
    fn lend(&mut self, found: Found) -> Event<'_> {
        self.lent = found.size;
        let bytes = self.channel.incoming().get(..found.size).unwrap_or_default();
        let body = bytes.get(Header::SIZE..).unwrap_or_default();
        match found.kind {
            Kind::Rows(rows) => Event::Rows { bytes, rows },
            Kind::Prepared => Event::Prepared,
            Kind::Controlled => Event::Controlled { tag: body.split_last().and_then(|(_, tag)| str::from_utf8(tag).ok()).unwrap_or("") },
            Kind::Message(tag) => Event::Message { tag, body },
            Kind::Error(error) => Event::Error(error),
            Kind::Ready(status) => Event::Ready(status),
        }
    }
}
