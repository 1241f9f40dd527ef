//! The virtual catalog: real PostgreSQL databases that hold only empty relations, keys, types and comments made from the
//! policy. Statements about `pg_catalog` and `information_schema` run there, never at a source.
//! May use: `types`, `policy`, `source` (to reach its server), I/O, child processes. Never: a source's data, evidence, clients.
//! Invariant: nothing enters a catalog database but what a [`Visible`] holds.

mod error;
mod made;
mod private;
mod program;
mod renumber;
mod schema;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::Instant;

pub use error::CatalogError;

use crate::{
    policy::{PolicySet, Source, Visible},
    types::{Secret, SourceName},
};
use private::Private;

/// Where catalog databases live.
#[derive(Debug, Clone)]
pub enum CatalogPlace {
    /// Nowhere: catalog statements are refused.
    Off,
    /// On a PostgreSQL of our own, started when the first statement asks.
    Private(PrivateServer),
    /// On the server with this URL, of a superuser.
    Server(Secret),
}

/// A PostgreSQL of our own.
#[derive(Debug, Clone)]
pub struct PrivateServer {
    /// The directory of its data; made when missing. One process at a time.
    pub directory: PathBuf,
    /// Where `postgres` and `initdb` are; `None` is the usual places.
    pub programs: Option<PathBuf>,
    /// Directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// Who runs it when pgwicket runs as root, which PostgreSQL refuses to.
    pub user: String,
}

/// The catalogs, shared by every lane.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    place: CatalogPlace,
    on: bool,
    /// Held while one is made.
    state: tokio::sync::Mutex<State>,
    made: Made,
}

/// The catalogs that were made.
type Made = parking_lot::Mutex<HashMap<SourceName, Arc<Source>>>;

#[derive(Debug, Default)]
struct State {
    private: Option<Private>,
    /// Since when catalogs that are of no more use wait for their last readers to leave.
    unswept: Option<Instant>,
    /// Why the private server did not start, and when that was.
    failed: Option<(Instant, CatalogError)>,
}

/// How long a server that did not start, and a catalog that could not be dropped, are not tried again.
const PAUSE: Duration = Duration::from_secs(5);

impl Catalog {
    /// Catalogs at a place. Nothing is started yet; for a private server its programs are looked for.
    pub fn new(place: CatalogPlace) -> Self {
        let on = match &place {
            CatalogPlace::Off => false,
            CatalogPlace::Private(private) => program::find(private, 0).is_ok(),
            CatalogPlace::Server(_) => true,
        };
        Self(Arc::new(Shared { place, on, state: tokio::sync::Mutex::default(), made: Made::default() }))
    }

    /// Whether there is a server for catalogs: what a client is told of types may count on it.
    pub fn is_on(&self) -> bool {
        self.0.on
    }

    /// The catalog of what an agent sees, as a database to connect to; made now if it is not there. Those that `policy` has no
    /// agent for any more are dropped then, or once their last reader has left.
    ///
    /// # Errors
    /// [`CatalogError`]: there is no server, or it did not do as it was asked.
    pub async fn source(&self, visible: &Visible, policy: &PolicySet) -> Result<Arc<Source>, CatalogError> {
        let known = || self.0.made.lock().get(&visible.name).map(Arc::clone);
        let mut state = match self.0.state.try_lock() {
            Ok(state) => state,
            // Another is being made: one that is there is not held up.
            Err(_busy) => match known() {
                Some(made) => return Ok(made),
                None => self.0.state.lock().await,
            },
        };
        let state = &mut *state;
        let server = match &self.0.place {
            CatalogPlace::Off => return Err(CatalogError::Off),
            CatalogPlace::Server(url) => url.clone(),
            CatalogPlace::Private(wanted) => {
                if !state.private.as_mut().is_some_and(Private::is_running) {
                    self.0.made.lock().clear();
                    state.start(wanted, visible.server_version).await?;
                }
                state.private.as_ref().map(Private::url).ok_or(CatalogError::Off)?
            }
        };
        let own = matches!(self.0.place, CatalogPlace::Private(_));
        let found = known();
        let source = match &found {
            Some(made) => Arc::clone(made),
            None => Arc::new(made::make(&server, visible).await?),
        };
        if found.is_none() {
            self.0.made.lock().insert(visible.name.clone(), Arc::clone(&source));
        }
        if found.is_none() || state.unswept.is_some_and(|since| since.elapsed() > PAUSE) {
            state.sweep(&self.0.made, &server, policy, own).await;
        }
        Ok(source)
    }

    /// Forgets that a catalog was made: the server does not know it.
    pub fn forget(&self, name: &SourceName) {
        self.0.made.lock().remove(name);
    }

    /// Ends the private server.
    pub async fn stop(&self) {
        let private = self.0.state.lock().await.private.take();
        if let Some(private) = private {
            private.stop().await;
        }
    }
}

impl State {
    /// Drops what the policy has no agent for any more: of another's server only what this process has used.
    async fn sweep(&mut self, made: &Made, server: &Secret, policy: &PolicySet, own: bool) {
        let used = |name: &SourceName| policy.agents.values().any(|agent| agent.visible.name == *name);
        let unused = |name: &SourceName| !used(name) && (own || made.lock().contains_key(name));
        match made::sweep(server, own, unused).await {
            Ok(left) => {
                made.lock().retain(|name, _| used(name) || left.contains(name));
                self.unswept = (!left.is_empty()).then(Instant::now);
            }
            Err(error) => {
                tracing::warn!(%error, "catalogs that are of no more use were not dropped");
                self.unswept = Some(Instant::now());
            }
        }
    }

    async fn start(&mut self, wanted: &PrivateServer, server_version: u32) -> Result<(), CatalogError> {
        if let Some((_, error)) = self.failed.as_ref().filter(|(when, _)| when.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        self.private = None;
        match Private::start(wanted, server_version).await {
            Ok(private) => {
                self.failed = None;
                self.private = Some(private);
                Ok(())
            }
            Err(error) => {
                self.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}
