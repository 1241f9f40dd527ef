//! Keeps the policy in force: reads it, asks the sources for their catalogs, compiles, and puts it in force as a whole.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::oneshot, time::timeout};

use super::{LoadError, LoadedPolicy, drift, issuers::Issuers, load_policy};
use crate::{
    auth::{LoginError, Logins},
    config::Process,
    control::{SourceState, Status},
    frontend::Front,
    policy::{self, Inputs, PolicyErrors, PolicySet, Problem, Source},
    source::{self, SourceAddress, SourceError},
    sql::catalog::CatalogSnapshot,
    types::{PolicyEpoch, SourceName},
};

/// Keeps the policy in force.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    policy: Arc<ArcSwap<PolicySet>>,
    front: Arc<Front>,
    status: Arc<Status>,
    logins: Arc<Logins>,
    issuers: Issuers,
    epoch: PolicyEpoch,
    /// Reading that did not end in time.
    reading: Option<oneshot::Receiver<Result<LoadedPolicy, LoadError>>>,
}

/// How long reading the policy's files may take.
const READING: Duration = Duration::from_secs(10);

/// Why a policy was not put in force. The one before stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The files cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The policy is wrong: every finding, with its place.
    #[error("{0}")]
    Policy(#[from] PolicyErrors),
    /// An agent cannot log in.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Logins(Vec<LoginError>),
    /// A source does not answer or is not one to work with.
    #[error("source {name}: {error}")]
    Source {
        /// Which.
        name: SourceName,
        /// Why.
        error: SourceError,
    },
    /// The files are on a file system that does not answer.
    #[error("the policy's files could not be read within {} s", READING.as_secs())]
    Slow,
    /// No thread to read them.
    #[error("the policy's files could not be read: {0}")]
    Thread(std::io::Error),
    /// Compiling ended by a panic.
    #[error("compiling the policy failed: {0}")]
    Internal(tokio::task::JoinError),
}

impl ReloadError {
    /// What is wrong, one finding a line.
    pub(super) fn findings(&self) -> Vec<String> {
        match self {
            Self::Policy(errors) => errors.0.iter().map(in_a_line).collect(),
            Self::Logins(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Load(_) | Self::Source { .. } | Self::Internal(_) | Self::Slow | Self::Thread(_) => vec![self.to_string()],
        }
    }

    /// Whether trying again may help although no file changes.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Source { error, .. } => !matches!(error, SourceError::Configuration(_) | SourceError::Unfit(_)),
            Self::Slow | Self::Thread(_) => true,
            Self::Load(_) | Self::Policy(_) | Self::Logins(_) | Self::Internal(_) => false,
        }
    }
}

/// Which policies are worth putting in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// Any: the operator asked, or there is none yet. Catalogs are read again.
    Always,
    /// One whose files differ from those in force.
    WhenChanged,
}

impl Keeper {
    pub(super) fn new(path: PathBuf, policy: Arc<ArcSwap<PolicySet>>, front: Arc<Front>, status: Arc<Status>, logins: Logins) -> Self {
        let issuers = Issuers::new(Arc::clone(&front.keyring));
        Self { path, policy, front, status, logins: Arc::new(logins), issuers, epoch: PolicyEpoch(0), reading: None }
    }

    /// Loads the policy and puts it in force. Nothing changes unless all of it is right.
    pub(super) async fn reload(&mut self, which: Reload) -> Result<(), ReloadError> {
        let outcome = self.try_reload(which).await;
        if !matches!(outcome, Ok(None)) {
            let result = if outcome.is_ok() { "ok" } else { "error" };
            metrics::counter!("pgwicket_policy_reloads_total", "result" => result).increment(1);
        }
        for warning in outcome?.unwrap_or_default() {
            tracing::warn!("policy: {}", in_a_line(&warning));
        }
        Ok(())
    }

    /// The warnings of the policy put in force; `None` when it is the one in force already.
    async fn try_reload(&mut self, which: Reload) -> Result<Option<Vec<Problem>>, ReloadError> {
        let loaded = self.load().await?;
        let structure = Inputs { resolved: &loaded.resolved, catalogs: &BTreeMap::new() };
        let (_, problems) = policy::check(&loaded.bundle, structure);
        if !policy::clean(&problems) {
            return Err(PolicyErrors(problems).into());
        }
        if which == Reload::WhenChanged && self.epoch.0 > 0 && loaded.bundle.digest() == self.policy.load().digest {
            return Ok(None);
        }
        let mut catalogs = BTreeMap::new();
        for source in policy::sources(&loaded.bundle, &loaded.resolved)? {
            let catalog = self.catalog(&source).await?;
            // Told until a policy is in force that can bear it.
            let drifted = drift::drift(&self.policy.load(), &source.name, &catalog);
            #[expect(clippy::cast_precision_loss, reason = "no policy has 2^53 columns")]
            metrics::gauge!("pgwicket_source_drift", "source" => source.name.to_string()).set(drifted.len() as f64);
            self.status.drift(&source.name, drifted);
            catalogs.insert(source.name.clone(), catalog);
        }
        let epoch = PolicyEpoch(self.epoch.0 + 1);
        let before = Arc::clone(&self.logins);
        // Compiling and key derivation take their time; the acceptor shares this thread.
        let compile = move || -> Result<_, ReloadError> {
            let inputs = Inputs { resolved: &loaded.resolved, catalogs: &catalogs };
            let compiled = policy::compile(&loaded.bundle, inputs, epoch)?;
            let logins = before.renew(&compiled.policy).map_err(ReloadError::Logins)?;
            Ok((compiled, logins))
        };
        let (compiled, logins) = tokio::task::spawn_blocking(compile).await.map_err(ReloadError::Internal)??;
        self.put_in_force(compiled.policy, logins);
        Ok(Some(compiled.warnings))
    }

    /// Reads the files on a thread of their own: a file system that hangs must not hold up whoever shares this one. What was begun
    /// before is waited for first, so that there is one such thread at most.
    async fn load(&mut self) -> Result<LoadedPolicy, ReloadError> {
        if let Some(mut before) = self.reading.take()
            && timeout(READING, &mut before).await.is_err()
        {
            self.reading = Some(before);
            return Err(ReloadError::Slow);
        }
        let (read, mut reading) = oneshot::channel();
        let path = self.path.clone();
        let body = move || drop(read.send(load_policy(&Process, &path)));
        std::thread::Builder::new().name("policy-files".into()).spawn(body).map_err(ReloadError::Thread)?;
        match timeout(READING, &mut reading).await {
            Ok(Ok(loaded)) => Ok(loaded?),
            Ok(Err(_ended)) => Err(ReloadError::Slow),
            Err(_elapsed) => {
                self.reading = Some(reading);
                Err(ReloadError::Slow)
            }
        }
    }

    fn put_in_force(&mut self, policy: PolicySet, logins: Logins) {
        let sources: Vec<SourceName> = policy.sources.keys().cloned().collect();
        tracing::info!(
            epoch = policy.epoch.0,
            digest = %policy.digest,
            agents = policy.agents.len(),
            sources = sources.len(),
            "policy in force"
        );
        #[expect(clippy::cast_precision_loss, reason = "nobody reloads 2^53 times")]
        metrics::gauge!("pgwicket_policy_epoch").set(policy.epoch.0 as f64);
        self.epoch = policy.epoch;
        self.status.policy(policy.epoch, policy.digest, &sources);
        for source in &sources {
            metrics::gauge!("pgwicket_source_drift", "source" => source.to_string()).set(0.0);
        }
        self.issuers.follow(&policy);
        self.logins = Arc::new(logins);
        self.policy.store(Arc::new(policy));
        // After the policy: who logs in now finds itself in it.
        self.front.logins.store(Some(Arc::clone(&self.logins)));
    }

    /// The source's catalog, read now. A source that is away keeps the catalog it had, if it is still the same source.
    async fn catalog(&self, source: &Source) -> Result<Arc<CatalogSnapshot>, ReloadError> {
        let failed = |error| ReloadError::Source { name: source.name.clone(), error };
        match source::introspect(&SourceAddress::from(source)).await {
            Ok(found) => {
                self.status.source(&source.name, SourceState::Reachable);
                self.status.catalog_read(&source.name, &found.look.digest);
                self.status.filtered(&source.name, drift::aliases(&self.policy.load(), &source.name, &found.look.filtered));
                for problem in found.credential.check(source.allow_writable_credential).map_err(failed)? {
                    tracing::warn!(source = %source.name, "the credential is not read-only: {problem}");
                }
                Ok(Arc::new(found.catalog))
            }
            Err(error) => {
                self.status.source(&source.name, SourceState::Unreachable);
                let in_force = self.policy.load();
                match in_force.sources.get(&source.name).filter(|before| before.url == source.url) {
                    Some(before) => {
                        tracing::warn!(source = %source.name, %error, "the source does not answer; its last catalog is kept");
                        Ok(Arc::clone(&before.catalog))
                    }
                    None => Err(failed(error)),
                }
            }
        }
    }
}

/// A finding with its hint, for a log that has one line an event.
fn in_a_line(problem: &Problem) -> String {
    problem.to_string().replace("\n  ", "; ")
}
