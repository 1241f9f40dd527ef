//! Where `serve` keeps the virtual catalog.

use std::{env::split_paths, path::PathBuf};

use clap::Args;

use crate::{
    catalog::{CatalogPlace, PrivateServer},
    config::{Environment as _, Process},
    types::Secret,
};

/// The virtual catalog: a small PostgreSQL of pgwicket's own, or another server.
#[derive(Debug, Clone, Args)]
pub(super) struct CatalogLocation {
    /// Directory of the PostgreSQL that answers statements about the system catalogs; started when the first one asks. Not used
    /// when `PGWICKET_CATALOG_URL` is set
    #[arg(long, value_name = "DIR", env = "PGWICKET_CATALOG", default_value = "pgwicket-catalog")]
    catalog: PathBuf,
    /// Directory of the programs `postgres` and `initdb` [default: PATH, then the usual places]
    #[arg(long, value_name = "DIR", env = "PGWICKET_CATALOG_BIN")]
    catalog_bin: Option<PathBuf>,
    /// Who runs it when pgwicket runs as root, which PostgreSQL refuses to
    #[arg(long, value_name = "USER", env = "PGWICKET_CATALOG_USER", default_value = "postgres")]
    catalog_user: String,
    /// Refuse statements about the system catalogs
    #[arg(long)]
    no_catalog: bool,
    /// PostgreSQL URL of a superuser of a server for catalogs; only by the environment, since a command line is not secret
    #[arg(long, env = "PGWICKET_CATALOG_URL", hide = true, hide_env_values = true)]
    catalog_url: Option<String>,
}

impl CatalogLocation {
    /// The place that is meant.
    pub(super) fn place(self) -> CatalogPlace {
        if self.no_catalog {
            return CatalogPlace::Off;
        }
        if let Some(url) = self.catalog_url.filter(|url| !url.is_empty()) {
            return CatalogPlace::Server(Secret::new(&*url));
        }
        let path = Process.variable("PATH").unwrap_or_default();
        CatalogPlace::Private(PrivateServer {
            directory: self.catalog,
            programs: self.catalog_bin,
            path: split_paths(&path).collect(),
            user: self.catalog_user,
        })
    }
}
