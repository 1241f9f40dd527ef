//! One byte stream: TCP, unix socket, or TLS over TCP in either role.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A connected byte stream.
#[derive(Debug)]
pub enum Socket {
    /// TCP without TLS.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS, we are the server.
    TlsServer(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS, we are the client.
    TlsClient(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Socket {
    /// The TLS session's state, when there is one and we are the server.
    pub fn server_tls(&self) -> Option<&rustls::ServerConnection> {
        match self {
            Self::TlsServer(stream) => Some(stream.get_ref().1),
            Self::Tcp(_) | Self::Unix(_) | Self::TlsClient(_) => None,
        }
    }

    /// The TLS session's state, when there is one and we are the client.
    pub fn client_tls(&self) -> Option<&rustls::ClientConnection> {
        match self {
            Self::TlsClient(stream) => Some(stream.get_ref().1),
            Self::Tcp(_) | Self::Unix(_) | Self::TlsServer(_) => None,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::TlsServer(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::TlsClient(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::TlsServer(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::TlsClient(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsServer(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::TlsClient(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsServer(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::TlsClient(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
