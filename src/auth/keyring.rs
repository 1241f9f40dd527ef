//! The keys of issuers that publish theirs. Somebody else reads them; here they are held, and asked for.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{Claimed, Keys, TokenError, token};
use crate::policy::{KeySource, TokenRules};

/// How long a client waits for keys that are read again because of its token.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sets of policies that are held as keys. A reload with another set parses it once; the oldest goes.
const SETS: usize = 64;

/// Keys by the URL they are read from, and those of the policy's own sets.
#[derive(Debug, Default)]
pub struct Keyring {
    published: DashMap<Box<str>, Arc<Published>>,
    /// By their text: a set is parsed once, and not for each token that somebody sends.
    sets: Mutex<VecDeque<(Box<str>, Arc<Keys>)>>,
}

/// The keys at one URL.
#[derive(Debug)]
pub struct Published {
    keys: ArcSwap<Keys>,
    read: watch::Sender<u64>,
    wanted: Notify,
}

impl Keyring {
    /// The keys at a URL, whether they were read or not.
    pub fn at(&self, url: &str) -> Arc<Published> {
        let new = || Arc::new(Published { keys: ArcSwap::from_pointee(Keys::default()), read: watch::channel(0).0, wanted: Notify::new() });
        Arc::clone(&self.published.entry(url.into()).or_insert_with(new))
    }

    /// Checks a token. Where it names a key that the issuer's did not have, they are read again first, if that has not just
    /// been done. `now` in seconds since the Unix epoch.
    pub async fn check(&self, token: &str, rules: &TokenRules, now: u64) -> Result<Claimed, TokenError> {
        match &rules.keys {
            KeySource::Secret(secret) => token::check(token, rules, &Keys::secret(secret.expose().as_bytes()), now),
            KeySource::Set(json) => token::check(token, rules, &self.set(json), now),
            KeySource::Url(url) => {
                let published = self.at(url);
                let mut read = published.read.subscribe();
                match token::check(token, rules, &published.keys.load(), now) {
                    Err(TokenError::UnknownKey) => {
                        published.wanted.notify_one();
                        // Not read again in time: the keys are as they were.
                        drop(timeout(PATIENCE, read.changed()).await);
                        let keys = published.keys.load();
                        if keys.count() == 0 { Err(TokenError::NoKeys) } else { token::check(token, rules, &keys, now) }
                    }
                    checked => checked,
                }
            }
        }
    }
}

impl Keyring {
    fn set(&self, json: &str) -> Arc<Keys> {
        let mut sets = self.sets.lock();
        if let Some((_, keys)) = sets.iter().find(|(text, _)| **text == *json) {
            return Arc::clone(keys);
        }
        if sets.len() >= SETS {
            sets.pop_front();
        }
        let keys = Arc::new(Keys::set(json).unwrap_or_default());
        sets.push_back((json.into(), Arc::clone(&keys)));
        keys
    }
}

impl Published {
    /// Keeps what was read.
    pub fn put(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
        self.read.send_modify(|count| *count += 1);
    }

    /// Tells who waits that reading has failed: the keys are as they were.
    pub fn unchanged(&self) {
        self.read.send_modify(|count| *count += 1);
    }

    /// Waits until somebody wants them read again.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}
