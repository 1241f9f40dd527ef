//! `pgwicket worker`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::{
    serve::{LogFormat, start_log},
    store::StoreLocation,
};
use crate::{
    app::{self, WorkOptions},
    config::{self, Process},
    source,
    types::{Secret, SourceName},
    worker::WorkerOptions,
};

/// Apply approved proposals, with a write credential that the proxy does not have
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Worker {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory of policy files (*.yaml), or one file; read again on SIGHUP
    #[arg(long, value_name = "DIR", env = "PGWICKET_POLICIES", required = true)]
    policies: Option<PathBuf>,
    /// What it writes to: source names of the policy, each with a reference to the URL of its write credential
    #[arg(long, value_name = "NAME=env:VARIABLE|file:PATH", value_delimiter = ',', required = true)]
    sources: Vec<String>,
    #[command(flatten)]
    store: StoreLocation,
    /// The name in leases, receipts and reports [default: host name and process id]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Proposals applied at once, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Seconds that a claim lasts without a sign of life of its worker
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    /// Milliseconds between looks for work while there is none; a PostgreSQL store tells of approvals before that
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    poll: u64,
    /// Seconds before a second attempt; doubles with each, up to 5 minutes
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    retry: f64,
    /// Attempts after which a proposal that the source cannot take (deadlocks, locks, timeouts) has failed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    attempts: u64,
    /// `statement_timeout` of its sessions, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    statement_timeout: u64,
    /// `lock_timeout` of its sessions, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lock_timeout: u64,
    /// Schema of the table `pgwicket_receipts` in the sources
    #[arg(long, value_name = "SCHEMA", default_value = source::RECEIPTS_SCHEMA)]
    receipts_schema: String,
    /// Seconds that what is claimed may be finished in at shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_timeout: u64,
    /// Form of the log on stderr; values are never in it
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or filters as `pgwicket::worker=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the DDL of the receipt table, to be run in each source
    Migration(Migration),
}

/// Print the DDL of the receipt table, to be run in each source
#[derive(Debug, Args)]
struct Migration {
    /// Schema of the table; give the worker the same as --receipts-schema
    #[arg(long, value_name = "SCHEMA", default_value = source::RECEIPTS_SCHEMA)]
    schema: String,
    /// The role that the worker connects as
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

impl Worker {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(Command::Migration(migration)) = &self.command {
            super::print(&source::migration(&migration.schema, migration.role.as_deref()));
            return Ok(ExitCode::SUCCESS);
        }
        start_log(self.log_format, &self.log)?;
        app::keep_private();
        app::work(&self.options()?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn options(self) -> anyhow::Result<WorkOptions> {
        let name = self.name.unwrap_or_else(|| format!("{}-{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id()));
        Ok(WorkOptions {
            policies: self.policies.context("--policies is missing")?,
            sources: self.sources.iter().map(|text| write_source(text)).collect::<anyhow::Result<_>>()?,
            store: self.store.location(),
            timeouts: (Duration::from_secs(self.statement_timeout), Duration::from_secs(self.lock_timeout)),
            drain_timeout: Duration::from_secs(self.drain_timeout),
            worker: WorkerOptions {
                name: name.into(),
                concurrency: self.concurrency.into(),
                lease: Duration::from_secs(self.lease),
                poll: Duration::from_millis(self.poll),
                retry: (Duration::from_secs_f64(self.retry), Duration::from_mins(5)),
                attempts: self.attempts,
                receipts_schema: self.receipts_schema.into(),
            },
        })
    }
}

/// `NAME=env:VARIABLE` or `NAME=file:PATH`, resolved.
fn write_source(text: &str) -> anyhow::Result<(SourceName, Secret)> {
    // What is not a reference is not repeated: it may be the credential itself.
    let Some((name, reference)) = text.split_once('=') else { bail!("--sources takes NAME=env:VARIABLE or NAME=file:PATH") };
    let name: SourceName = name.trim().parse().context("--sources")?;
    let secret = if let Some(variable) = reference.strip_prefix("env:") {
        config::secret_from_variable(&Process, variable)
    } else if let Some(path) = reference.strip_prefix("file:") {
        config::secret_from_file(&Process, &PathBuf::new(), path)
    } else {
        bail!("--sources: the URL of {name} must be given by reference, as {name}=env:VARIABLE or {name}=file:PATH");
    };
    secret.map(|secret| (name.clone(), secret)).map_err(|why| anyhow::anyhow!("--sources: {name}: {why}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_no_number| "not a number".to_owned())?;
    if (0.0..=300.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 300".to_owned()) }
}

fn name(text: &str) -> Result<String, String> {
    if (1..=128).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("1 to 128 bytes, no control characters".to_owned())
    }
}
