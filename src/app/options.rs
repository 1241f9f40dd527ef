//! What `pgwicket serve` was asked to do.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use crate::{catalog::CatalogPlace, store::Location};

/// The settings of a server, complete: defaults are the command line's.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Directory of the policy files, or one file.
    pub policies: PathBuf,
    /// `host:port` to listen at, one or more.
    pub listen: Vec<String>,
    /// Directory for a unix socket `.s.PGSQL.<port of the first address>`.
    pub unix_socket_directory: Option<PathBuf>,
    /// `host:port` of health, readiness, metrics and the control API.
    pub control_listen: String,
    /// PEM files of the control API's certificate chain and its key.
    pub control_tls: Option<TlsFiles>,
    /// Requests a second that one API key may make.
    pub control_rate_limit: NonZeroU32,
    /// Names, besides addresses and `localhost`, that the control API goes by over plain HTTP.
    pub control_hosts: Vec<String>,
    /// Directory of the evidence journal.
    pub journal: PathBuf,
    /// Proposals and API keys.
    pub store: Location,
    /// Where the virtual catalog lives.
    pub catalog: CatalogPlace,
    /// Threads that serve; `None` is one a core.
    pub lanes: Option<usize>,
    /// PEM files of the certificate chain and its key.
    pub tls: Option<TlsFiles>,
    /// Take connections without TLS from other machines.
    pub allow_plaintext: bool,
    /// Sessions at most.
    pub max_connections: usize,
    /// How long a client may take to authenticate.
    pub authentication_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// How long sessions may finish what they do at shutdown.
    pub drain_timeout: Duration,
}

/// PEM files of a certificate chain and its key.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Who vouches for client certificates; without it none is asked for.
    pub client_authorities: Option<PathBuf>,
    /// Revocation lists of these authorities.
    pub client_revocations: Vec<PathBuf>,
}
