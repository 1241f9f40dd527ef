//! Where clients knock: TCP addresses and a unix socket. Sockets leave here as plain ones, so that the lane
//! that serves a connection registers it with its own reactor.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::unix::{fs::FileTypeExt as _, net as unix},
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::wire::Socket;

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;

/// A peer that vanished is noticed after about two minutes.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(15)).with_retries(4);

/// One place to accept connections at.
#[derive(Debug)]
pub enum Listener {
    /// A TCP address.
    Tcp(TcpListener),
    /// A unix socket; its file is removed with the listener.
    Unix(UnixListener, SocketFile),
}

/// An accepted connection that no reactor knows yet.
#[derive(Debug)]
pub enum Incoming {
    /// Over TCP.
    Tcp(std::net::TcpStream, SocketAddr),
    /// Over a unix socket.
    Unix(unix::UnixStream),
}

/// The file of a unix socket, removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Someone may have removed it already; there is nobody to tell.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Listener {
    /// Listens at a TCP address.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }

    /// Listens at `.s.PGSQL.<port>` in a directory, where libpq looks for it. A socket that nobody answers at is replaced.
    pub fn unix(directory: &Path, port: u16) -> io::Result<Self> {
        let path = directory.join(format!(".s.PGSQL.{port}"));
        let stale = std::fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
        if stale && unix::UnixStream::connect(&path).is_err() {
            std::fs::remove_file(&path)?;
        }
        Ok(Self::Unix(UnixListener::bind(&path)?, SocketFile(path)))
    }

    /// The next connection. Cancel safe.
    pub async fn accept(&self) -> io::Result<Incoming> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let stream = stream.into_std()?;
                let raw = SockRef::from(&stream);
                raw.set_tcp_nodelay(true)?;
                raw.set_tcp_keepalive(&KEEPALIVE)?;
                Ok(Incoming::Tcp(stream, peer))
            }
            Self::Unix(listener, _) => Ok(Incoming::Unix(listener.accept().await?.0.into_std()?)),
        }
    }

    /// The address for people; a port the kernel chose is in it.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_unbound| "unknown".to_owned(), |address| address.to_string()),
            Self::Unix(_, file) => file.0.display().to_string(),
        }
    }
}

impl Incoming {
    /// The address of the client; `None` over a unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, peer) => Some(peer.ip()),
            Self::Unix(_) => None,
        }
    }

    /// Registers the socket with the reactor of the calling task's runtime.
    pub fn register(self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(stream, peer) => Ok((Socket::Tcp(TcpStream::from_std(stream)?), Some(peer))),
            Self::Unix(stream) => Ok((Socket::Unix(UnixStream::from_std(stream)?), None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".s.PGSQL.6432");
        drop(unix::UnixListener::bind(&path).unwrap());
        let live = Listener::unix(directory.path(), 6432).unwrap();
        assert!(Listener::unix(directory.path(), 6432).is_err());
        drop(live);
        assert!(!path.exists());
    }
}
