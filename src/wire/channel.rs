//! A socket with the bytes read but not yet used, and the bytes queued but not yet sent.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{FrameError, Header, Socket, frame};

/// Read at most this much at once, so that one busy connection does not hold a large buffer.
const READ_CHUNK: usize = 64 * 1024;

/// A buffered connection. Nothing here waits but [`Channel::fill`], [`Channel::flush`] and [`Channel::write_through`].
#[derive(Debug)]
pub struct Channel {
    socket: Socket,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Channel {
    /// A channel with empty buffers.
    pub fn new(socket: Socket) -> Self {
        Self { socket, incoming: BytesMut::new(), outgoing: BytesMut::new() }
    }

    /// The socket, and what was read from it but not used (a caller that starts TLS must refuse such bytes).
    pub fn into_parts(self) -> (Socket, BytesMut) {
        (self.socket, self.incoming)
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Bytes read and not yet used.
    pub fn incoming(&mut self) -> &mut BytesMut {
        &mut self.incoming
    }

    /// Bytes queued for the peer.
    pub fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Reads what is there, waiting for at least one byte; 0 is the end of the stream. Cancel safe.
    pub async fn fill(&mut self) -> io::Result<usize> {
        if self.incoming.capacity() - self.incoming.len() < 4096 {
            self.incoming.reserve(READ_CHUNK);
        }
        self.socket.read_buf(&mut self.incoming).await
    }

    /// Waits until a whole message of at most `limit` body bytes is in [`Channel::incoming`]; `None` at a clean end of stream.
    pub async fn message(&mut self, limit: usize) -> io::Result<Option<Header>> {
        loop {
            match frame::header(&self.incoming, limit) {
                Ok(Some(header)) if self.incoming.len() >= header.total() => return Ok(Some(header)),
                Ok(Some(header)) => self.incoming.reserve(header.total() - self.incoming.len()),
                Ok(None) => {}
                Err(error @ (FrameError::TooShort | FrameError::TooLong { .. })) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            if self.fill().await? == 0 {
                return if self.incoming.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Sends all that is queued.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.outgoing.is_empty() {
            self.socket.write_all_buf(&mut self.outgoing).await?;
            self.outgoing.clear();
        }
        self.socket.flush().await
    }

    /// Sends all that is queued and then `bytes`, without copying a large `bytes` into the queue.
    pub async fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < 8192 {
            self.outgoing.extend_from_slice(bytes);
            return Ok(());
        }
        if !self.outgoing.is_empty() {
            self.socket.write_all_buf(&mut self.outgoing).await?;
        }
        self.socket.write_all(bytes).await
    }
}
