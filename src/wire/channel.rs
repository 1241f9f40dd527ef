//! A socket with the bytes read but not yet used, and the bytes queued but not yet sent.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _},
    time::{Instant, sleep_until, timeout},
};

use super::{FrameError, Header, MessageWriter, Socket, frame};

/// Read at most this much at once, so that one busy connection does not hold a large buffer.
const READ_CHUNK: usize = 64 * 1024;

/// How often a peer that sends nothing more is asked whether it is there.
const PROBE: Duration = Duration::from_millis(500);

/// A buffered connection. Nothing here waits but the `async` functions.
#[derive(Debug)]
pub struct Channel {
    socket: Socket,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Bytes were handed to the socket since its last flush: a TLS socket may still hold them.
    unflushed: bool,
    /// How long the peer may take nothing.
    patience: Option<Duration>,
    /// Nothing more comes from the peer; when it is asked next whether it is still there.
    ended: Option<Instant>,
}

impl Channel {
    /// A channel with empty buffers.
    pub fn new(socket: Socket) -> Self {
        Self { socket, incoming: BytesMut::new(), outgoing: BytesMut::new(), unflushed: false, patience: None, ended: None }
    }

    /// From now on a peer that takes nothing for so long is given up: [`io::ErrorKind::TimedOut`].
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
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

    /// Reads what the peer sends while something else is waited for; an error once it is gone. A peer that has only shut its sending
    /// side still takes answers: it looks the same as one that is gone until something is written to it. So it is asked from time to
    /// time by a message that says nothing new, where one may stand. Cancel safe.
    pub async fn watch(&mut self, between_messages: bool) -> io::Result<()> {
        let mut next = if let Some(next) = self.ended {
            next
        } else {
            if self.fill().await? > 0 {
                return Ok(());
            }
            Instant::now() + PROBE
        };
        loop {
            self.ended = Some(next);
            sleep_until(next).await;
            next = Instant::now() + PROBE;
            if let Some(Err(error)) = self.fill_now() {
                return Err(error);
            }
            if between_messages {
                MessageWriter::new(&mut self.outgoing, b'S').string("server_encoding").string("UTF8").finish();
                self.ended = Some(next);
                poll_fn(|cx| self.poll_send(cx)).await?;
            }
        }
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
        let Self { socket, outgoing, patience, .. } = self;
        within(*patience, async {
            if !outgoing.is_empty() {
                socket.write_all_buf(outgoing).await?;
                outgoing.clear();
            }
            socket.flush().await
        })
        .await
    }

    /// Says that nothing more comes; under TLS the peer can tell it from a line that was cut.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }

    /// Sends all that is queued and then `bytes`, without copying a large `bytes` into the queue.
    pub async fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < 8192 {
            self.outgoing.extend_from_slice(bytes);
            return Ok(());
        }
        let Self { socket, outgoing, patience, .. } = self;
        within(*patience, async {
            if !outgoing.is_empty() {
                socket.write_all_buf(outgoing).await?;
            }
            socket.write_all(bytes).await
        })
        .await
    }

    /// As [`Channel::fill`], and meanwhile sends what is queued: two peers with full buffers never wait on each
    /// other. An error of sending is not told here: reading says how the connection ended. Cancel safe.
    pub async fn exchange(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(_)) = self.poll_send(cx) {
                self.outgoing.clear();
            }
            self.poll_fill(cx)
        })
        .await
    }

    /// Sends all that is queued, reading meanwhile what the peer sends. Returns early, with the rest still queued
    /// for [`Channel::exchange`], at the end of the stream or when `unread` bytes wait to be used. Cancel safe.
    pub async fn send(&mut self, unread: usize) -> io::Result<()> {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(sent) = self.poll_send(cx) {
                    return Poll::Ready(sent);
                }
                if self.incoming.len() >= unread {
                    return Poll::Ready(Ok(()));
                }
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Reads what is there without waiting; `None` when nothing is.
    pub fn fill_now(&mut self) -> Option<io::Result<usize>> {
        match self.poll_fill(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => Some(read),
            Poll::Pending => None,
        }
    }

    /// Sends what the socket takes without waiting, for a farewell nobody waits for. Says whether all was taken.
    pub fn send_now(&mut self) -> bool {
        matches!(self.poll_send(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        pin!(self.fill()).poll(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.outgoing) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.outgoing.advance(written);
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                other @ (Poll::Ready(Err(_)) | Poll::Pending) => return other,
            }
        }
        self.outgoing.clear();
        Poll::Ready(Ok(()))
    }
}

/// Bounds a write; what it is of is a fraction of a second's work for a peer that reads at all.
async fn within(patience: Option<Duration>, write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match patience {
        Some(patience) => timeout(patience, write).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())),
        None => write.await,
    }
}
