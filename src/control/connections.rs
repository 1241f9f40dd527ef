//! How many connections the control port holds, in all and of one address, and how long one may say nothing.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use crate::wire::network;

/// Connections in all. The port serves people and a few programs; the descriptors are for agents.
const MOST: usize = 128;
/// Connections of one address.
const MOST_OF_AN_ADDRESS: usize = 32;
/// How long a connection may take to send its first byte, and to complete a TLS handshake after it.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The connections that are open.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among them; free again when dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
}

/// Takes a connection while there is a place for it, waits for its first byte, and hands it on.
#[derive(Debug, Clone)]
pub(super) struct Bounded<A> {
    inner: A,
    open: Arc<Mutex<Open>>,
}

/// A connection and its place.
#[derive(Debug)]
pub(super) struct Held<S> {
    stream: S,
    _place: Place,
}

impl<A> Bounded<A> {
    pub(super) fn new(inner: A) -> Self {
        Self { inner, open: Arc::default() }
    }
}

impl Place {
    fn take(open: &Arc<Mutex<Open>>, address: IpAddr) -> Option<Self> {
        let mut counted = open.lock();
        let of_address = counted.by_address.get(&address).copied().unwrap_or(0);
        if counted.all >= MOST || of_address >= MOST_OF_AN_ADDRESS {
            return None;
        }
        counted.all += 1;
        counted.by_address.insert(address, of_address + 1);
        Some(Self { open: Arc::clone(open), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.open.lock();
        counted.all = counted.all.saturating_sub(1);
        if let Some(of_address) = counted.by_address.get_mut(&self.address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                counted.by_address.remove(&self.address);
            }
        }
    }
}

impl<A, S> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<TcpStream, S> + Clone + Send + 'static,
    A::Future: Send,
    A::Stream: Send,
    A::Service: Send,
    S: Send + 'static,
{
    type Stream = Held<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().map(|peer| Place::take(&self.open, network(peer.ip())));
        let inner = self.inner.clone();
        Box::pin(async move {
            let place = place?.ok_or_else(|| io::Error::new(io::ErrorKind::QuotaExceeded, "too many connections"))?;
            timeout(FIRST_BYTE, stream.peek(&mut [0])).await??;
            let (stream, service) = inner.accept(stream, service).await?;
            Ok((Held { stream, _place: place }, service))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_share_and_what_ends_is_free_again() {
        let open = Arc::default();
        let address = |last: usize| IpAddr::from([10, 0, 0, u8::try_from(last).unwrap()]);
        let first: Vec<_> = (0..MOST_OF_AN_ADDRESS).map(|_| Place::take(&open, address(1)).unwrap()).collect();
        assert!(Place::take(&open, address(1)).is_none());
        let others: Vec<_> =
            (2..5).flat_map(|last| (0..MOST_OF_AN_ADDRESS).map(move |_| address(last))).map(|a| Place::take(&open, a).unwrap()).collect();
        assert!(Place::take(&open, address(9)).is_none(), "in all");
        drop((first, others));
        assert!(open.lock().by_address.is_empty());
        assert!(Place::take(&open, address(1)).is_some());
    }
}
