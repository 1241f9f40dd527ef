//! The connection to the virtual catalog: beside the one to a source, since a client asks the catalog in the middle of a
//! transaction too. The session works with one of the two at a time; the other is put aside, with nothing outstanding.

use std::{mem, rc::Rc, sync::Arc};

use tokio::task::spawn_local;

use super::{
    queue::Expected,
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{
    catalog::CatalogError,
    error::{CursorEnd, SessionError},
    policy::CATALOG_PREFIX,
    source::{self, Setting, TransactionCommand, TransactionStatus},
    types::SourceName,
};

/// Whether a statement's source is the virtual catalog.
pub(super) fn is_catalog(source: &SourceName) -> bool {
    source.as_str().starts_with(CATALOG_PREFIX)
}

/// The settings of a catalog's session: those of a source's, and what the catalog says of the session itself.
pub(super) fn settings(of_source: &source::Settings, search_path: &[Box<str>], agent: &str, database: &str) -> source::Settings {
    let path: Vec<String> = search_path.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    // An empty path is a name that no schema has.
    let path = if path.is_empty() { "\"\"".to_owned() } else { path.join(", ") };
    let values = [(Setting::SearchPath, path.as_str()), (Setting::Agent, agent), (Setting::Database, database)];
    let mut settings = of_source.clone();
    for (setting, value) in values {
        // A startup message holds no byte that a setting cannot.
        if let Ok(changed) = settings.with(setting, value) {
            settings = changed;
        }
    }
    settings
}

impl<I: Interrupts> Session<I> {
    fn holds_catalog(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| is_catalog(&upstream.source))
    }

    /// Makes sure that the connection in hand is one to the catalog, with the client's search path.
    pub(super) async fn need_catalog(&mut self, name: &SourceName) -> Result<(), Failure> {
        if self.upstream.is_some() && !self.holds_catalog() {
            self.put_aside().await?;
        }
        self.leave_failed_catalog(name).await?;
        if self.upstream.is_none() {
            self.upstream = self.take_up(name).await;
        }
        if self.upstream.is_none() {
            let (lane, visible) = (Rc::clone(&self.lane), Arc::clone(&self.agent.visible));
            // Beside the session: what was begun is of use to the next who asks, though this one gives up.
            let made = spawn_local(async move { lane.catalog_source(&visible).await });
            let source = self.hear(made).await?.map_err(|_ended| CatalogError::Off)??;
            let pool = self.lane.catalog_pool(&source);
            let settings = Rc::clone(&self.derived.catalog);
            let acquired = self.acquire(&pool, &settings).await;
            if let Err(Failure::Error(error)) = &acquired {
                tracing::warn!(%error, "the virtual catalog cannot be reached");
                self.lane.forget_catalog(name);
            }
            self.upstream = Some(self.lent(acquired?, name));
        }
        let in_block = self.transaction.block().is_some();
        let Self { upstream: Some(upstream), queue, derived, .. } = self else { return Err(SessionError::Canceled.into()) };
        upstream.lease.apply_settings(&derived.catalog);
        upstream.unsynced = true;
        if in_block && !mem::replace(&mut upstream.in_block, true) {
            // Portals live as long as the client's transaction.
            upstream.lease.control(TransactionCommand::Begin(None));
            queue.push(Expected::Controlled);
        }
        self.bound_queue().await
    }

    /// A transaction that failed there is over: nothing there depends on it, but cursors that are held.
    async fn leave_failed_catalog(&mut self, name: &SourceName) -> Result<(), Failure> {
        let Some(upstream) = &self.upstream else { return Ok(()) };
        let (loan, other) = (upstream.loan, upstream.source != *name);
        if !other && upstream.lease.transaction_status() != TransactionStatus::Failed {
            return Ok(());
        }
        self.cursors.end_transaction_on(loan);
        if other || !self.cursors.held_on(loan) {
            self.upstream = None;
            self.cursors.end_on(loan, CursorEnd::Lost);
            return Ok(());
        }
        let ended = self.control_in_hand(TransactionCommand::Rollback).await;
        self.release_upstream();
        ended
    }

    /// Takes up the connection to the source again, if the catalog's is in hand.
    pub(super) async fn leave_catalog(&mut self) -> Result<(), Failure> {
        if self.holds_catalog() { self.put_aside().await } else { Ok(()) }
    }

    /// Puts the connection in hand aside, everything that it owes settled, and takes up the other one.
    async fn put_aside(&mut self) -> Result<(), Failure> {
        let failed_before = self.skipping;
        self.sync_upstream().await?;
        if self.skipping && !failed_before {
            return Err(Failure::PassedOver);
        }
        // In a block that is over here, the catalog's is still to be ended as that was.
        let in_block = self.upstream.as_ref().is_some_and(|upstream| upstream.in_block);
        if self.transaction.block().is_none() && !in_block {
            self.release_upstream();
        }
        mem::swap(&mut self.upstream, &mut self.aside);
        Ok(())
    }

    /// The client's transaction is over: so is the catalog's. It ends as the client's does, for the cursors that are to be held.
    pub(super) async fn end_catalog(&mut self, committed: bool) -> Result<(), Failure> {
        self.leave_catalog().await?;
        let Some(catalog) = self.aside.take() else { return Ok(()) };
        let status = catalog.lease.transaction_status();
        if status == TransactionStatus::Failed {
            self.cursors.end_transaction_on(catalog.loan);
        }
        if status == TransactionStatus::Idle || (status == TransactionStatus::Failed && !self.cursors.held_on(catalog.loan)) {
            // Dropped: a connection whose transaction failed is closed, one that is idle has been given back already.
            self.cursors.end_on(catalog.loan, CursorEnd::Lost);
            return Ok(());
        }
        let source = self.upstream.replace(catalog);
        let commits = committed && status == TransactionStatus::InTransaction;
        let ended = self.control_in_hand(if commits { TransactionCommand::Commit } else { TransactionCommand::Rollback }).await;
        self.release_upstream();
        self.upstream = source;
        ended
    }
}
