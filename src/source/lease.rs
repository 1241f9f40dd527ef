//! A connection on loan to one client session.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use tokio::{task::spawn_local, time::timeout};

use super::{Connection, SourceError, pool::Slot};

/// How long a connection waits for a cancel request that is under way before it is closed instead of reused.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// A connection on loan. Dropping it closes the connection; [`Lease::release`] gives it back.
#[derive(Debug)]
pub struct Lease {
    connection: Box<Connection>,
    slot: Slot,
}

impl Lease {
    pub(super) fn new(connection: Box<Connection>, slot: Slot) -> Self {
        Self { connection, slot }
    }

    /// Gives the connection back when it is idle, with nothing outstanding; closes it otherwise. Cancel tokens of this
    /// lease do nothing from here on; a cancel that is under way is waited for, by a local task, before the next session gets it.
    pub fn release(self) {
        let Self { mut connection, mut slot } = self;
        slot.end_keeping();
        if !connection.is_reusable() {
            // The connection first: its successor may only be made when it is gone.
            drop(connection);
            return;
        }
        if !connection.cancel.end_lease() {
            slot.give_back(connection);
            return;
        }
        spawn_local(async move {
            if timeout(CANCEL_WAIT, connection.cancel.settled()).await.is_ok() {
                slot.give_back(connection);
            }
        });
    }

    /// Asks the pool to do without this connection for as long as the session's cursors WITH HOLD are open on it.
    ///
    /// # Errors
    /// [`SourceError::Kept`] when the pool does without as many as it can.
    pub fn keep(&mut self) -> Result<(), SourceError> {
        self.slot.keep()
    }

    /// Whether nothing is outstanding, no transaction is open, and it can be used again.
    pub fn is_idle(&mut self) -> bool {
        self.connection.is_reusable()
    }

    /// Takes up a connection that was kept: cancel tokens from before do nothing from here on. `false`: the source has ended it.
    pub async fn take_up(&mut self) -> bool {
        let settled = !self.connection.cancel.end_lease() || timeout(CANCEL_WAIT, self.connection.cancel.settled()).await.is_ok();
        settled && self.connection.is_alive()
    }

    /// How long a client may leave a kept connection idle: as long as a transaction.
    pub fn idle_bound(&self) -> Option<Duration> {
        self.slot.idle_bound()
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
