//! `pgwicket serve`.

use std::{
    io::{self, IsTerminal as _},
    num::NonZeroU32,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::{catalog::CatalogLocation, store::StoreLocation};
use crate::app::{self, ServeOptions, TlsFiles};

/// Serve agents: policy from files, evidence to a journal
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Directory of policy files (*.yaml), or one file; read again on SIGHUP and when a file changes
    #[arg(long, value_name = "DIR", env = "PGWICKET_POLICIES")]
    policies: PathBuf,
    /// Where clients connect; give it more than once for more addresses
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6432")]
    listen: Vec<String>,
    /// Also listen at a unix socket in this directory
    #[arg(long, value_name = "DIR")]
    unix_socket_dir: Option<PathBuf>,
    /// Where /healthz, /readyz, /metrics and the control API are served
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6433")]
    control_listen: String,
    /// PEM file of the control API's TLS certificate chain
    #[arg(long, value_name = "FILE", requires = "control_tls_key")]
    control_tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "control_tls_cert")]
    control_tls_key: Option<PathBuf>,
    /// Requests a second that one API key may make; four times as many from one address
    #[arg(long, value_name = "N", default_value = "50")]
    control_rate_limit: NonZeroU32,
    /// A name that the control API goes by over plain HTTP, besides its addresses and localhost; give it more than once for more
    #[arg(long, value_name = "NAME")]
    control_host: Vec<String>,
    /// Directory of the evidence journal, made when missing
    #[arg(long, value_name = "DIR", env = "PGWICKET_JOURNAL", default_value = "pgwicket-journal")]
    journal: PathBuf,
    #[command(flatten)]
    store: StoreLocation,
    #[command(flatten)]
    catalog: CatalogLocation,
    /// Threads that serve connections [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    lanes: Option<u16>,
    /// PEM file of the TLS certificate chain, read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM certificates that vouch for client certificates, for agents with `auth: { certificate: … }`; read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// PEM revocation lists of these authorities, more than once for more; each authority of a chain needs one that is in force;
    /// read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_client_ca")]
    tls_client_crl: Vec<PathBuf>,
    /// Take connections without TLS from other machines; what they send can be read on the way
    #[arg(long)]
    allow_plaintext: bool,
    /// Client sessions at most
    #[arg(long, value_name = "N", default_value_t = 2000)]
    max_connections: usize,
    /// Seconds a client may take to authenticate
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    authentication_timeout: u64,
    /// Seconds a client may take nothing of the rows it asked for, before its connection ends and the source's is free again
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    write_timeout: u64,
    /// Seconds that sessions may finish their statement or transaction in at shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_timeout: u64,
    /// Form of the log on stderr; SQL text and its values are never in it
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or filters as `pgwicket::frontend=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        start_log(self.log_format, &self.log)?;
        app::keep_private();
        app::serve(self.options())?;
        Ok(ExitCode::SUCCESS)
    }

    fn options(self) -> ServeOptions {
        ServeOptions {
            policies: self.policies,
            listen: self.listen,
            unix_socket_directory: self.unix_socket_dir,
            control_listen: self.control_listen,
            control_tls: (self.control_tls_cert.zip(self.control_tls_key)).map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_authorities: None,
                client_revocations: Vec::new(),
            }),
            control_rate_limit: self.control_rate_limit,
            control_hosts: self.control_host,
            journal: self.journal,
            store: self.store.location(),
            catalog: self.catalog.place(),
            lanes: self.lanes.map(usize::from),
            tls: (self.tls_cert.zip(self.tls_key)).map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_authorities: self.tls_client_ca,
                client_revocations: self.tls_client_crl,
            }),
            allow_plaintext: self.allow_plaintext,
            max_connections: self.max_connections,
            authentication_timeout: Duration::from_secs(self.authentication_timeout),
            write_timeout: Duration::from_secs(self.write_timeout),
            drain_timeout: Duration::from_secs(self.drain_timeout),
        }
    }
}

pub(super) fn start_log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("--log is not a filter such as `info` or `pgwicket::frontend=debug`")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
