//! The connection to a source that a session holds: for one statement, or for one transaction.

use std::{pin::pin, rc::Rc, time::Duration};

use tokio::time::Instant;

use super::{
    answer::READ_AHEAD,
    catalog::is_catalog,
    queue::Expected,
    session::{Ended, Interrupt, Interrupts, Session},
    transaction,
};
use crate::{
    error::{Error, SessionError, TransactionError},
    source::{Lease, Pool, Settings, TransactionCommand, TransactionStatus},
    types::SourceName,
};

/// Bytes queued for a source above which answers are read before more is queued: with both peers blocked on
/// writing, neither would read.
const QUEUED: usize = 32 << 10;

/// The connection to a source that a session holds.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) lease: Lease,
    pub(super) source: SourceName,
    /// Which of the session's loans it is: a cursor is read through the one it was declared on, and no other.
    pub(super) loan: u64,
    /// Something was queued since the last Sync.
    pub(super) unsynced: bool,
    /// It is not to be used again: what it has prepared is out of date.
    pub(super) discard: bool,
    /// BEGIN was sent; told of a catalog's only, a source's is in the block.
    pub(super) in_block: bool,
    /// When its transaction ends at the latest, by which bound. A catalog's has none: nobody else waits for it.
    pub(super) ends: Option<(Instant, Duration)>,
}

/// Why a message is not answered as it asks.
#[derive(Debug)]
pub(super) enum Failure {
    /// With this error.
    Error(Error),
    /// What came before it failed, so it is passed over like everything up to the next Sync.
    PassedOver,
    /// The connection is over.
    Ended(Ended),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl<I: Interrupts> Session<I> {
    /// Makes sure that a connection to this source is held, with the client's settings, in the client's transaction.
    pub(super) async fn need_upstream(&mut self, source: &SourceName) -> Result<(), Failure> {
        if is_catalog(source) {
            return self.need_catalog(source).await;
        }
        self.leave_catalog().await?;
        if let Some(block) = self.transaction.block() {
            match &block.upstream {
                transaction::Upstream::Begun(begun) if begun != source => return Err(TransactionError::OtherSource.into()),
                transaction::Upstream::Lost => return Err(TransactionError::Failed.into()),
                transaction::Upstream::Begun(_) | transaction::Upstream::NotBegun => {}
            }
        }
        if self.upstream.as_ref().is_some_and(|upstream| upstream.source != *source) {
            self.sync_upstream().await?;
            if self.skipping {
                return Err(Failure::PassedOver);
            }
            self.release_upstream();
        }
        match &mut self.upstream {
            Some(upstream) => upstream.lease.apply_settings(&self.derived.upstream),
            None => self.lease(source).await?,
        }
        if let Some(upstream) = &mut self.upstream {
            upstream.unsynced = true;
        }
        self.begin_upstream(source);
        self.bound_queue().await
    }

    /// Settles what is owed when much is queued.
    pub(super) async fn bound_queue(&mut self) -> Result<(), Failure> {
        if self.upstream.as_mut().is_some_and(|upstream| upstream.lease.queued_bytes() > QUEUED) {
            self.drain().await?;
            if self.skipping {
                return Err(Failure::PassedOver);
            }
        }
        Ok(())
    }

    async fn lease(&mut self, source: &SourceName) -> Result<(), Failure> {
        if let Some(mut kept) = self.take_up(source).await {
            kept.lease.apply_settings(&self.derived.upstream);
            kept.ends = self.transaction_ends_after(source);
            self.upstream = Some(kept);
            return Ok(());
        }
        let pool = self.lane.pool(source)?;
        let settings = Rc::clone(&self.derived.upstream);
        let lease = self.acquire(&pool, &settings).await?;
        self.upstream = Some(self.lent(lease, source));
        Ok(())
    }

    /// A connection that has just been lent.
    pub(super) fn lent(&mut self, lease: Lease, source: &SourceName) -> Upstream {
        self.loans += 1;
        let ends = self.transaction_ends_after(source);
        Upstream { lease, source: source.clone(), loan: self.loans, unsynced: false, discard: false, in_block: false, ends }
    }

    /// A connection of a pool, unless the client gives up first.
    pub(super) async fn acquire(&mut self, pool: &Pool, settings: &Rc<Settings>) -> Result<Lease, Failure> {
        Ok(self.hear(pool.acquire(settings)).await??)
    }

    /// Waits for what is not the source's answer, unless a cancel, the end of the server or of the client comes first: then it is dropped.
    pub(super) async fn hear<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = pin!(work);
        loop {
            let may_read = self.client.incoming().len() < READ_AHEAD;
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                interrupt = self.interrupts.interrupted() => return match interrupt {
                    Interrupt::Cancel => Err(SessionError::Canceled.into()),
                    Interrupt::Close => Err(Ended::Fatal(Box::new(Error::from(SessionError::ShuttingDown).report())).into()),
                },
                read = self.client.watch(true), if may_read => if read.is_err() {
                    return Err(Ended::Gone.into());
                },
            }
        }
    }

    /// The source follows the client into its transaction block, savepoints included.
    fn begin_upstream(&mut self, source: &SourceName) {
        let Self { transaction, upstream: Some(upstream), queue, .. } = self else { return };
        let Some(block) = transaction.block_mut().filter(|block| block.upstream == transaction::Upstream::NotBegun) else { return };
        block.upstream = transaction::Upstream::Begun(source.clone());
        let begin = TransactionCommand::Begin(block.modes.isolation);
        for command in std::iter::once(begin).chain(block.savepoints().map(TransactionCommand::Savepoint)) {
            upstream.lease.control(command);
            queue.push(Expected::Controlled);
        }
    }

    /// Runs a transaction command at the source, if the source is in the client's transaction.
    pub(super) async fn control(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        self.leave_catalog().await?;
        self.control_in_hand(command).await
    }

    /// As [`Self::control`], of the connection in hand. What failed before it, as a block that is rolled back has, is not its failure.
    pub(super) async fn control_in_hand(&mut self, command: TransactionCommand) -> Result<(), Failure> {
        let failed_before = self.skipping;
        let Some(upstream) = &mut self.upstream else { return Ok(()) };
        upstream.lease.control(command);
        upstream.unsynced = true;
        self.queue.push(Expected::Controlled);
        self.sync_upstream().await?;
        if self.skipping && !failed_before { Err(Failure::PassedOver) } else { Ok(()) }
    }

    /// Settles everything that is owed, without ending the batch.
    pub(super) async fn drain(&mut self) -> Result<(), Ended> {
        if self.queue.is_empty() {
            return Ok(());
        }
        if let Some(upstream) = &mut self.upstream {
            upstream.lease.flush_request();
        }
        self.settle().await
    }

    /// Ends the batch at the source, and settles everything that is owed.
    pub(super) async fn sync_upstream(&mut self) -> Result<(), Ended> {
        if let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.unsynced) {
            upstream.lease.sync();
            upstream.unsynced = false;
            self.queue.push(Expected::Ready);
        }
        self.settle().await
    }

    /// The source said ReadyForQuery.
    pub(super) fn upstream_ready(&mut self, status: TransactionStatus) {
        let of_source = self.upstream.as_ref().is_none_or(|upstream| !is_catalog(&upstream.source));
        let begun = of_source && self.transaction.block().is_some_and(|block| matches!(block.upstream, transaction::Upstream::Begun(_)));
        if status == TransactionStatus::Idle && begun {
            // Its BEGIN failed, or it ended the transaction by itself: nothing more can be read in it.
            if let Some(block) = self.transaction.block_mut() {
                block.lose();
            }
        }
        if status == TransactionStatus::Idle {
            self.release_upstream();
        }
    }
}
