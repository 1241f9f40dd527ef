//! Where the commands find the store.

use std::path::PathBuf;

use clap::Args;

use crate::{store::Location, types::Secret};

/// The store of proposals and API keys: an embedded SQLite file, or a PostgreSQL that several processes share.
#[derive(Debug, Clone, Args)]
pub(super) struct StoreLocation {
    /// SQLite file of proposals and API keys, made when missing; not used when `PGWICKET_DATABASE_URL` is set
    #[arg(long, value_name = "FILE", env = "PGWICKET_STORE", default_value = "pgwicket-state.db")]
    store: PathBuf,
    /// PostgreSQL URL of the store, instead of a file; only by the environment, since a command line is not secret
    #[arg(long, env = "PGWICKET_DATABASE_URL", hide = true, hide_env_values = true)]
    database_url: Option<String>,
}

impl StoreLocation {
    /// The store that is meant.
    pub(super) fn location(self) -> Location {
        match self.database_url.filter(|url| !url.is_empty()) {
            Some(url) => Location::Postgres(Secret::new(&*url)),
            None => Location::Sqlite(self.store),
        }
    }
}
