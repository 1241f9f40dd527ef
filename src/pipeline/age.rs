//! How long a transaction may be open at a source. What it holds there, others wait for: DDL for its locks, vacuum for its
//! snapshot. A transaction is as old as the loan of its connection: an idle connection goes back to the pool.

use std::time::Duration;

use tokio::{task::spawn_local, time::Instant};

use super::{
    open::Open,
    session::{Ended, Interrupts, Session},
    upstream::Upstream,
};
use crate::{
    error::{CursorEnd, Error, SessionError, TransactionError},
    source::SourceError,
    types::SourceName,
};

impl<I: Interrupts> Session<I> {
    /// When a transaction that begins now at this source ends at the latest.
    pub(super) fn transaction_ends_after(&mut self, source: &SourceName) -> Option<(Instant, Duration)> {
        let bound = self.policy.sources.get(source)?.transaction_timeout;
        let ends = (!bound.is_zero()).then(|| (Instant::now() + bound, bound))?;
        self.age.as_mut().reset(ends.0);
        Some(ends)
    }

    /// When the open transaction ends at the latest, if there is one at a source.
    pub fn transaction_ends(&self) -> Option<Instant> {
        let ends = |upstream: &Upstream| upstream.ends.map(|(end, _)| end);
        self.upstream.iter().chain(&self.aside).filter_map(ends).min()
    }

    /// The transaction at the source is over, while the client is silent. Within a batch it is told at once; between batches the
    /// next statement is told.
    pub fn end_old_transaction(&mut self) -> Result<(), Ended> {
        if self.in_batch || self.aside.as_ref().is_some_and(|aside| aside.ends.is_some()) {
            return self.too_old();
        }
        self.end_in_hand();
        Ok(())
    }

    /// The transaction at the source is over, while something is owed to the client.
    pub(super) fn too_old(&mut self) -> Result<(), Ended> {
        if let Some((_, bound)) = self.aside.as_ref().and_then(|aside| aside.ends) {
            // The catalog answers now; nothing of the source is owed.
            if let Some(upstream) = self.aside.take() {
                self.end_at_source(&upstream, bound);
            }
            return Ok(());
        }
        let error = self.end_in_hand();
        self.broken(&error)
    }

    /// The connection in hand is given up, and the transaction in it.
    pub(super) fn end_in_hand(&mut self) -> Error {
        let bound = self.upstream.as_ref().and_then(|upstream| upstream.ends).map(|(_, bound)| bound).unwrap_or_default();
        if let Some(upstream) = self.upstream.take() {
            self.end_at_source(&upstream, bound);
        }
        TransactionError::TooOld(bound).into()
    }

    /// The source says nothing though it was asked to stop, again and again.
    pub(super) fn deaf(&mut self) -> Result<(), Ended> {
        let reason = self.queue.interruption.take();
        let error = self.give_up(reason);
        self.broken(&error)
    }

    /// The connection in hand is given up: what ran ends for the reason why it was to stop.
    pub(super) fn give_up(&mut self, reason: Option<SessionError>) -> Error {
        let lost = self.lose_upstream(SourceError::Lost(std::io::ErrorKind::TimedOut));
        reason.map_or(lost, Error::from)
    }

    fn end_at_source(&mut self, upstream: &Upstream, bound: Duration) {
        tracing::warn!(
            agent = %self.who.principal.agent, source = upstream.source.as_str(), seconds = bound.as_secs(),
            "a transaction was open for too long, and was ended"
        );
        let token = upstream.lease.cancel_token();
        // A server that computes does not see that the connection is gone.
        drop(spawn_local(async move { drop(token.cancel().await) }));
        self.cursors.end_on(upstream.loan, CursorEnd::Lost);
        if let Some(block) = self.transaction.block_mut() {
            block.expire(bound);
        }
    }

    /// What was owed is not coming: the connection that it was asked on is gone, because of this.
    pub(super) fn broken(&mut self, error: &Error) -> Result<(), Ended> {
        let within_row = self.queue.front_open().is_some_and(Open::is_within_row);
        let portal = self.queue.front_portal();
        let parsed = self.queue.parsing();
        self.undo(portal, Some(error));
        self.queue.expected.clear();
        let recorded = parsed.map_or(Ok(()), |plan| self.decide(&plan, None).map(|open| self.close_failed(open, Some(error))));
        if within_row {
            return Err(Ended::Gone);
        }
        if !self.queue.passing_over {
            self.fail(recorded.as_ref().err().unwrap_or(error));
        }
        Ok(())
    }
}
