//! The published keys of token issuers: read when the policy names them, read again as they rotate.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking, spawn_local},
    time::{self, Instant},
};

use crate::{
    auth::{Keyring, Keys},
    policy::{AgentAuth, KeySource, PolicySet},
};

/// How old keys become while their issuer answers; a key that it takes back is not taken here for longer.
const EVERY: Duration = Duration::from_mins(5);
/// How long keys are kept while their issuer does not answer.
const KEPT: Duration = Duration::from_hours(1);
/// The pause after keys could not be read, and the least between two reads, whatever clients send.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an issuer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A JWK set at most. Unit: bytes.
const LARGEST: u64 = 1 << 20;

/// One task for each URL of the policy in force.
#[derive(Debug)]
pub(super) struct Issuers {
    keyring: Arc<Keyring>,
    tasks: HashMap<Box<str>, JoinHandle<()>>,
}

impl Issuers {
    pub(super) fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, tasks: HashMap::new() }
    }

    /// Reads the keys that this policy names, and no others any more. Called within a `LocalSet`.
    pub(super) fn follow(&mut self, policy: &PolicySet) {
        let rules = policy.agents.values().flat_map(|agent| {
            let login = match &agent.auth {
                AgentAuth::Token(rules, _) => Some(rules),
                AgentAuth::ScramPassword(_) | AgentAuth::ScramVerifier(_) | AgentAuth::Certificate(_) => None,
            };
            login.into_iter().chain(&agent.session_token)
        });
        let named: BTreeSet<Box<str>> = rules
            .filter_map(|rules| match &rules.keys {
                KeySource::Url(url) => Some(url.clone()),
                KeySource::Secret(_) | KeySource::Set(_) => None,
            })
            .collect();
        self.tasks.retain(|url, task| {
            let kept = named.contains(url);
            if !kept {
                task.abort();
            }
            kept
        });
        for url in named {
            let keyring = Arc::clone(&self.keyring);
            self.tasks.entry(url.clone()).or_insert_with(|| spawn_local(keep(keyring, url)));
        }
    }
}

impl Drop for Issuers {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

/// Keeps the keys at one URL.
async fn keep(keyring: Arc<Keyring>, url: Box<str>) {
    let published = keyring.at(&url);
    let mut known_at = Instant::now();
    loop {
        let read = {
            let url = url.clone();
            spawn_blocking(move || read(&url)).await.unwrap_or_else(|error| Err(error.to_string()))
        };
        let next = match read {
            Ok(keys) => {
                tracing::info!(%url, keys = keys.count(), "issuer's keys read");
                published.put(keys);
                known_at = Instant::now();
                EVERY
            }
            Err(error) => {
                if known_at.elapsed() < KEPT {
                    tracing::warn!(%url, error, "issuer's keys not read; those known are kept");
                    published.unchanged();
                } else {
                    tracing::error!(%url, error, "issuer's keys not read for too long: none are known now");
                    published.put(Keys::default());
                }
                PAUSE
            }
        };
        let at = Instant::now();
        loop {
            tokio::select! {
                () = time::sleep_until(at + next) => break,
                () = published.wanted() => {
                    if at.elapsed() >= PAUSE {
                        break;
                    }
                    // They were read just now: whoever waits need not.
                    published.unchanged();
                }
            }
        }
    }
}

fn read(url: &str) -> Result<Keys, String> {
    // The policy says where the keys are; whoever answers there does not say that they are elsewhere.
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build().into();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("the answer is {}, and redirects are not followed", response.status()));
    }
    let text = response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(|error| error.to_string())?;
    Keys::set(&text).filter(|keys| keys.count() > 0).ok_or_else(|| "it is not a JWK set with a key to check signatures with".to_owned())
}
