//! Cancelling what a lease runs. A cancel request names a server process, not a statement, so what matters here is
//! that it cannot reach the process when that already works for another client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    time::timeout,
};

use super::{SourceError, connect::Endpoint, error::Step};

/// How long a cancel request may take to be delivered.
const DELIVERY: Duration = Duration::from_secs(5);

/// Bits of the state that count cancels under way; the rest is the lease's number.
const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Whom a cancel request of a connection goes to, and which lease it is for.
#[derive(Debug)]
pub(super) struct CancelTarget {
    endpoint: Endpoint,
    process: i32,
    key: i32,
    state: AtomicU64,
    delivered: Notify,
}

impl CancelTarget {
    pub(super) fn new(endpoint: Endpoint, process: i32, key: i32) -> Self {
        Self { endpoint, process, key, state: AtomicU64::new(0), delivered: Notify::new() }
    }

    /// Ends the lease: its tokens do nothing from here on. Says whether a cancel is under way.
    pub(super) fn end_lease(&self) -> bool {
        let before = self.state.fetch_add(1 << COUNT_BITS, Ordering::AcqRel);
        before & COUNT_MASK > 0
    }

    /// Waits until no cancel is under way.
    pub(super) async fn settled(&self) {
        loop {
            let delivered = self.delivered.notified();
            if self.state.load(Ordering::Acquire) & COUNT_MASK == 0 {
                return;
            }
            delivered.await;
        }
    }
}

/// Cancels what one lease of a connection runs; after the lease it does nothing. May be sent to another thread.
#[derive(Debug, Clone)]
pub struct CancelToken {
    target: Arc<CancelTarget>,
    lease: u64,
}

impl CancelToken {
    pub(super) fn new(target: &Arc<CancelTarget>) -> Self {
        Self { target: Arc::clone(target), lease: target.state.load(Ordering::Acquire) >> COUNT_BITS }
    }

    /// Asks the source to cancel, and waits until the request has been acted upon (the source closes the
    /// connection that carried it). The statement may have ended before: then nothing happens.
    ///
    /// # Errors
    /// [`SourceError::Connect`] when the request could not be delivered.
    pub async fn cancel(&self) -> Result<(), SourceError> {
        let Some(_under_way) = UnderWay::begin(self) else { return Ok(()) };
        timeout(DELIVERY, self.deliver()).await.unwrap_or_else(|_elapsed| Err(SourceError::connect(Step::Cancel, "timed out")))
    }

    async fn deliver(&self) -> Result<(), SourceError> {
        let mut socket = self.target.endpoint.open().await?;
        let mut request = [0; 16];
        let words = [16, 80_877_102, self.target.process, self.target.key];
        for (place, word) in request.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        socket.write_all(&request).await.map_err(SourceError::step(Step::Cancel))?;
        socket.flush().await.map_err(SourceError::step(Step::Cancel))?;
        // The answer is the end of the stream, told by an error when the server does not end TLS politely.
        let mut nothing = [0; 64];
        while socket.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
        Ok(())
    }
}

/// A cancel under way, counted in the target's state for as long as it lives.
struct UnderWay<'a>(&'a CancelTarget);

impl<'a> UnderWay<'a> {
    fn begin(token: &'a CancelToken) -> Option<Self> {
        let state = &token.target.state;
        let one_more = |value: u64| (value >> COUNT_BITS == token.lease && value & COUNT_MASK < COUNT_MASK).then(|| value + 1);
        state.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Self(&token.target))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::AcqRel);
        self.0.delivered.notify_waiters();
    }
}
