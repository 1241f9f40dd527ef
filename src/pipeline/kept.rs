//! Connections that cursors WITH HOLD keep between transactions: such a cursor's rows are in the server process that computed
//! them. A kept connection is idle, with nothing outstanding; a statement on its source takes it up again.

use std::time::Duration;

use super::{
    catalog::is_catalog,
    queue::Expected,
    session::{Interrupts, Session},
    upstream::Upstream,
};
use crate::{error::CursorEnd, source::TransactionCommand, types::SourceName};

impl<I: Interrupts> Session<I> {
    /// Gives the connection back; the pool closes it when it is not idle. One that holds cursors is kept.
    pub(super) fn release_upstream(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            self.let_go(upstream);
        }
    }

    fn let_go(&mut self, upstream: Upstream) {
        let mut upstream = upstream;
        if !self.cursors.held_on(upstream.loan) {
            if !upstream.discard {
                upstream.lease.release();
            }
            return;
        }
        if !upstream.lease.is_idle() {
            return self.cursors.end_on(upstream.loan, CursorEnd::Lost);
        }
        // The source is in no transaction: what was declared in the last one is held now, unless that failed.
        let committed = !self.skipping && self.transaction.block().is_none();
        // A COMMIT that fails at one cursor leaves those it computed before open at the source: nobody else may meet them.
        upstream.discard |= !committed && self.cursors.pending_on(upstream.loan) > 1;
        self.cursors.settle(upstream.loan, committed);
        upstream.in_block = false;
        if self.cursors.held_on(upstream.loan) {
            self.kept.push(upstream);
        } else if !upstream.discard {
            upstream.lease.release();
        }
    }

    /// Closes what is in hand and what is aside: a transaction that could not be ended goes with its connection.
    pub(super) fn drop_upstreams(&mut self) {
        for upstream in self.upstream.take().into_iter().chain(self.aside.take()) {
            self.cursors.end_on(upstream.loan, CursorEnd::Lost);
        }
    }

    /// The connection to this source that cursors keep, if the source has not ended it.
    pub(super) async fn take_up(&mut self, source: &SourceName) -> Option<Upstream> {
        let place = self.kept.iter().position(|kept| kept.source == *source)?;
        let mut kept = self.kept.swap_remove(place);
        if kept.lease.take_up().await {
            return Some(kept);
        }
        tracing::warn!(source = source.as_str(), "lost an upstream connection that cursors kept");
        self.cursors.end_on(kept.loan, CursorEnd::Lost);
        None
    }

    /// Lets go of what no cursor keeps any more.
    pub(super) fn sweep_kept(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        for upstream in std::mem::take(&mut self.kept) {
            self.let_go(upstream);
        }
    }

    /// The transaction is over: cursors WITH HOLD stay when it was committed, the others are gone, at the source too.
    pub(super) fn end_cursors(&mut self, committed: bool) {
        if !self.cursors.is_empty() {
            self.cursors.end(committed);
        }
        self.sweep_kept();
    }

    /// A batch that failed on this side must not commit what it declared: the source, which saw no error, is told.
    pub(super) fn take_back_declared(&mut self) {
        if !self.skipping || self.is_in_transaction() || self.cursors.is_empty() {
            return;
        }
        let Self { upstream: Some(upstream), cursors, queue, .. } = self else { return };
        if upstream.unsynced && cursors.pending_on(upstream.loan) > 0 && !upstream.lease.awaits_sync() {
            upstream.lease.control(TransactionCommand::Rollback);
            queue.push(Expected::Controlled);
        }
    }

    /// ROLLBACK TO the savepoint at this depth. The catalog has no savepoints: what was declared there goes with its connection.
    pub(super) fn roll_cursors_back_to(&mut self, depth: usize) {
        for loan in self.cursors.rollback_to(depth) {
            let mut upstreams = self.upstream.iter().chain(&self.aside).chain(&self.kept);
            if upstreams.any(|upstream| upstream.loan == loan && is_catalog(&upstream.source)) {
                self.discard(loan);
            }
        }
    }

    /// This connection is not to be used by another session.
    pub(super) fn discard(&mut self, loan: u64) {
        let upstreams = self.upstream.iter_mut().chain(&mut self.aside).chain(&mut self.kept);
        upstreams.filter(|upstream| upstream.loan == loan).for_each(|upstream| upstream.discard = true);
    }

    /// Closes every cursor at once, held or not, and the connections that held some: nothing of them can be read any more.
    pub(super) fn forget_cursors(&mut self, why: CursorEnd) {
        for loan in self.cursors.end_all(why) {
            self.discard(loan);
        }
        self.sweep_kept();
    }

    /// How long the client may ask nothing before cursors WITH HOLD are closed; `None`: as long as it likes.
    pub fn idle_bound(&self) -> Option<Duration> {
        self.kept.iter().filter_map(|kept| kept.lease.idle_bound()).min()
    }

    /// The client has asked nothing for this long: what it keeps is taken from it.
    pub fn end_idle_cursors(&mut self, after: Duration) {
        for kept in std::mem::take(&mut self.kept) {
            tracing::info!(
                agent = %self.who.principal.agent, source = kept.source.as_str(), seconds = after.as_secs(),
                "cursors WITH HOLD were closed: their session asked nothing"
            );
            // Dropped, the connection is closed, and what it held with it.
            self.cursors.end_on(kept.loan, CursorEnd::Idle(after));
        }
    }
}
