//! The store's own thread: sqlx's sockets live on the runtime that made them, and a caller's lane must not wait for a disk.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    Approvals, Location, StoreError,
    backend::{Database, Fault},
    listen, schema,
};
use crate::types::StoreId;

/// How long one call may take before the caller is told to try again.
const CALL: Duration = Duration::from_secs(20);
/// How often work is begun again that lost against a concurrent transaction.
const TRIES: u32 = 10;

/// A thread with a runtime, and the database it talks to. Ends when it is dropped and its last call is done.
pub(super) struct Thread {
    runtime: Handle,
    database: Arc<Database>,
    id: StoreId,
    /// Dropped with this value: the thread's sign to end.
    _end: oneshot::Sender<()>,
}

impl Thread {
    pub(super) async fn start(location: Location) -> Result<Self, StoreError> {
        let (end, ended) = oneshot::channel::<()>();
        let (opened, opening) = oneshot::channel();
        let main = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(StoreError::Location(error.to_string().into())))),
            };
            runtime.block_on(async {
                match open(&location).await {
                    Ok((database, id)) => {
                        drop(opened.send(Ok((Handle::current(), Arc::clone(&database), id))));
                        drop(ended.await);
                        database.close().await;
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("pgwicket-store".into()).spawn(main);
        thread.map_err(|error| StoreError::Location(error.to_string().into()))?;
        let (runtime, database, id) = opening.await.ok().ok_or_else(ended_early)??;
        Ok(Self { runtime, database, id, _end: end })
    }

    /// The store's id, as it was when it was opened.
    pub(super) fn id(&self) -> StoreId {
        self.id
    }

    /// Listens on the thread.
    pub(super) fn listen(&self) -> Approvals {
        let _here = self.runtime.enter();
        listen::listen(&self.database)
    }

    /// Does `work` on the thread: again when it lost against another transaction.
    pub(super) async fn call<T, F, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send,
        W: Fn(Arc<Database>) -> F + Send + Sync + 'static,
    {
        let database = Arc::clone(&self.database);
        let task = async move {
            let mut tries = 0;
            loop {
                tries += 1;
                match work(Arc::clone(&database)).await {
                    Ok(done) => return Ok(done),
                    Err(Fault::Lost(_)) if tries < TRIES => sleep(Duration::from_millis(u64::from(tries * tries))).await,
                    Err(Fault::Lost(reason)) => return Err(StoreError::Unavailable(reason)),
                    Err(Fault::Store(error)) => return Err(error),
                }
            }
        };
        let done = self.runtime.spawn(async move { timeout(CALL, task).await }).await.ok().ok_or_else(ended_early)?;
        done.ok().ok_or_else(|| StoreError::Unavailable("it did not answer in time".into()))?
    }
}

async fn open(location: &Location) -> Result<(Arc<Database>, StoreId), StoreError> {
    let database = Arc::new(Database::connect(location).await?);
    let opened = match schema::migrate(&database).await {
        Ok(()) => schema::id(Arc::clone(&database), rand::random()).await,
        Err(fault) => Err(fault),
    };
    match opened {
        Ok(id) => Ok((database, id)),
        Err(fault) => {
            database.close().await;
            Err(fault.into())
        }
    }
}

fn ended_early() -> StoreError {
    StoreError::Unavailable("its thread has ended".into())
}
