//! `pgwicket worker`: the policy, the store and the write credentials put together, from start to drain.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::LocalSet,
    time,
};

use super::{LoadError, load_policy, saved_catalogs};
use crate::{
    config::{Environment, Process},
    policy::{self, AppliedBy, Inputs, PolicyErrors, PolicySet, Receipts},
    source::{self, Applier, SourceAddress, SourceError, Undecided},
    store::{Location, Store, StoreError},
    types::{Secret, SourceName},
    worker::{self, WorkerOptions, Workshop, WriteSource},
};

/// How long what is needed at the start may be away before the next try.
const RETRY: Duration = Duration::from_secs(2);

/// What `pgwicket worker` was asked to do.
#[derive(Debug, Clone)]
pub struct WorkOptions {
    /// Directory of the policy files, or one file.
    pub policies: PathBuf,
    /// The sources it writes to, each with the URL of its write credential.
    pub sources: Vec<(SourceName, Secret)>,
    /// Where proposals are.
    pub store: Location,
    /// `statement_timeout` and `lock_timeout` of its sessions.
    pub timeouts: (Duration, Duration),
    /// How long it may finish what it does at shutdown.
    pub drain_timeout: Duration,
    /// How it works.
    pub worker: WorkerOptions,
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The operating system refused a signal or an event loop.
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    /// The policy files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What the policy says.
    #[error("the policy cannot be used:\n{0}")]
    Policy(#[from] PolicyErrors),
    /// A source that the policy has and this worker has no catalog of.
    #[error(
        "source {0}: the policy has it and --sources does not, and there is no saved catalog of it; save one with `pgwicket policy check --live --save-catalog`"
    )]
    NoCatalog(SourceName),
    /// A source that --sources has and the policy does not.
    #[error("source {0}: --sources has it and the policy does not")]
    UnknownSource(SourceName),
    /// The credential of the proxy.
    #[error("source {0}: the URL is the one that the policy reads with; a worker needs a write credential of its own")]
    SharedCredential(SourceName),
    /// A source that somebody else's worker applies to.
    #[error("source {0}: the policy says `worker: external`, so this worker does not apply to it")]
    AppliedByOther(SourceName),
    /// A source that cannot be worked with.
    #[error("source {name}: {error}")]
    Source {
        /// Which.
        name: SourceName,
        /// Why.
        error: Box<Undecided>,
    },
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
}

impl WorkError {
    /// Whether it may pass by itself.
    fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Source { error, .. } => match &**error {
                Undecided::Source(error) => !matches!(error, SourceError::Configuration(_)),
                Undecided::NoReceiptTable => false,
                Undecided::Lost | Undecided::Timeout(_) | Undecided::Busy { .. } | Undecided::ReceiptVanished => true,
            },
            Self::Runtime(_)
            | Self::Load(_)
            | Self::Policy(_)
            | Self::NoCatalog(_)
            | Self::UnknownSource(_)
            | Self::AppliedByOther(_)
            | Self::SharedCredential(_) => false,
        }
    }
}

/// Works until SIGTERM or SIGINT, and finishes what it has claimed.
pub fn work(options: &WorkOptions) -> Result<(), WorkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WorkError::Runtime)?;
    LocalSet::new().block_on(&runtime, run(options))
}

async fn run(options: &WorkOptions) -> Result<(), WorkError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkError::Runtime)?;
    let (stopping, stop) = watch::channel(false);
    let working = async {
        let workshop = tokio::select! {
            opened = open(options) => opened?,
            () = told(&stop) => return Ok(()),
        };
        let sources: Vec<&str> = workshop.sources.iter().map(|source| source.name.as_str()).collect();
        tracing::info!(
            "pgwicket {} worker {} applies to {}; {} at once",
            env!("CARGO_PKG_VERSION"),
            workshop.options.name,
            sources.join(", "),
            workshop.options.concurrency
        );
        let reloading = tokio::task::spawn_local(reload(options.clone(), Arc::clone(&workshop)));
        worker::run(workshop, stop.clone()).await;
        reloading.abort();
        Ok(())
    };
    tokio::pin!(working);
    tokio::select! {
        ended = &mut working => return ended,
        _ = terminate.recv() => {},
        _ = interrupt.recv() => {},
    }
    tracing::info!("draining: what is claimed is finished, within {:?}", options.drain_timeout);
    stopping.send_replace(true);
    tokio::select! {
        ended = time::timeout(options.drain_timeout, &mut working) => match ended {
            Ok(ended) => ended?,
            Err(_elapsed) => tracing::warn!("not everything was finished; its leases run out and another worker goes on"),
        },
        _ = terminate.recv() => {},
        _ = interrupt.recv() => {},
    }
    tracing::info!("stopped");
    Ok(())
}

async fn told(stop: &worker::Stop) {
    // The sender outlives this, so there is no other end of waiting.
    drop(stop.clone().wait_for(|stop| *stop).await);
}

/// Opens everything; what is away is waited for.
async fn open(options: &WorkOptions) -> Result<Arc<Workshop>, WorkError> {
    loop {
        match try_open(options).await {
            Err(error) if error.is_transient() => {
                tracing::warn!("cannot work yet: {error}");
                time::sleep(RETRY).await;
            }
            other => return other.map(Arc::new),
        }
    }
}

async fn try_open(options: &WorkOptions) -> Result<Workshop, WorkError> {
    let (policy, sources) = load(options, &Process).await?;
    let store = Store::open(&options.store).await?;
    let workshop = Workshop { store, policy: Arc::new(ArcSwap::from_pointee(policy)), sources, options: options.worker.clone() };
    for source in &workshop.sources {
        look_for_receipts(&workshop, source).await?;
    }
    Ok(workshop)
}

/// Reads the policy against the catalogs of the sources, as the write credential sees them.
async fn load(options: &WorkOptions, environment: &dyn Environment) -> Result<(PolicySet, Vec<WriteSource>), WorkError> {
    let loaded = load_policy(environment, &options.policies)?;
    let known = policy::sources_without_urls(&loaded.bundle, &loaded.resolved)?;
    if let Some((name, _)) = options.sources.iter().find(|(name, _)| known.iter().all(|source| source.name != *name)) {
        return Err(WorkError::UnknownSource(name.clone()));
    }
    let saved = saved_catalogs(environment, &loaded, None)?;
    let (mut catalogs, mut sources) = (BTreeMap::new(), Vec::new());
    for source in known {
        let Some((name, url)) = options.sources.iter().find(|(name, _)| *name == source.name) else {
            let catalog = saved.get(&source.name).ok_or_else(|| WorkError::NoCatalog(source.name.clone()))?;
            catalogs.insert(source.name, Arc::clone(catalog));
            continue;
        };
        if *url == source.url {
            return Err(WorkError::SharedCredential(name.clone()));
        }
        if source.worker == AppliedBy::External {
            return Err(WorkError::AppliedByOther(name.clone()));
        }
        let source = WriteSource {
            name: name.clone(),
            url: url.clone(),
            tls: source.tls,
            root_certificates: source.root_certificates,
            statement_timeout: options.timeouts.0,
            lock_timeout: options.timeouts.1,
        };
        let found = source::introspect(&SourceAddress::from(&source)).await;
        let found = found.map_err(|error| WorkError::Source { name: name.clone(), error: Box::new(error.into()) })?;
        // The proxy reads with its own credential; this one needs what it writes.
        catalogs.insert(name.clone(), Arc::new(found.catalog.read_by_another()));
        sources.push(source);
    }
    let (policy, problems) = policy::check(&loaded.bundle, Inputs { resolved: &loaded.resolved, catalogs: &catalogs });
    match policy {
        Some(policy) if policy::clean(&problems) => Ok((policy, sources)),
        Some(_) | None => Err(PolicyErrors(problems).into()),
    }
}

/// Refuses to start where no proposal could be applied for want of a receipt table; says so where only some could.
async fn look_for_receipts(workshop: &Workshop, source: &WriteSource) -> Result<(), WorkError> {
    let failed = |error: Undecided| WorkError::Source { name: source.name.clone(), error: Box::new(error) };
    let mut applier: Applier = workshop.applier(source).map_err(|error| failed(error.into()))?;
    if applier.has_receipts().await.map_err(failed)? {
        return Ok(());
    }
    let policy = workshop.policy.load();
    let relations = policy.agents.values().flat_map(|agent| &agent.schemas).flat_map(|schema| schema.relations.values());
    let written = relations.filter(|relation| relation.source == source.name).filter_map(|relation| relation.writes.as_ref());
    let (without, with): (Vec<_>, Vec<_>) = written.partition(|writes| writes.receipts == Receipts::None);
    if without.is_empty() {
        return Err(failed(Undecided::NoReceiptTable));
    }
    tracing::warn!(
        source = %source.name,
        needing_it = with.len(),
        "there is no table pgwicket_receipts here: relations with `receipts: none` are guarded by the before-image alone, so an \
         answer that is lost at COMMIT ends as a conflict; the others wait for the table (`pgwicket worker migration`)"
    );
    Ok(())
}

/// Reads the policy again at SIGHUP. A bad one never replaces a good one.
async fn reload(options: WorkOptions, workshop: Arc<Workshop>) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "SIGHUP cannot be received; the policy is not reloaded"),
    };
    while hangup.recv().await.is_some() {
        match load(&options, &Process).await {
            Ok((policy, _)) => {
                tracing::info!(digest = %policy.digest, "SIGHUP: policy in force");
                workshop.policy.store(Arc::new(policy));
            }
            Err(error) => tracing::error!("SIGHUP: the policy stays as it was: {error}"),
        }
    }
}
