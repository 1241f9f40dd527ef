//! Before a handler runs: request id, time limit, rate limit, and whose key it is.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts, uri::Authority},
    middleware::Next,
    response::Response,
};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use parking_lot::Mutex;

use super::{
    failure::Failure,
    key::{Scope, bearer, key_hash},
    server::Shared,
};
use crate::{
    store::ApiKey,
    types::{Digest, ReviewerName, SourceName},
    wire::network,
};

/// Longest a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many times more an address may ask than a key: several keys work from one machine.
const KEYS_OF_AN_ADDRESS: u32 = 4;
/// Requests between two sweeps of the limiters' memory.
const SWEEP: u32 = 4096;

/// Keys that are remembered as genuine.
const GENUINE: usize = 1024;

/// Who asks too often is told to wait.
#[derive(Debug)]
pub(super) struct Limits {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    /// Requests without a key that is known to be genuine: they use up nobody else's share, also not that of a reviewer behind
    /// the same address.
    strangers: DefaultKeyedRateLimiter<IpAddr>,
    /// Digests of keys that were genuine when they were last looked at; what they may do is looked up each time.
    genuine: Mutex<VecDeque<Digest>>,
    keys: DefaultKeyedRateLimiter<Box<str>>,
    asked: AtomicU32,
}

impl Limits {
    /// `per_key`: requests a second that a key may make; twice as many at once.
    pub(super) fn new(per_key: NonZeroU32) -> Self {
        let quota = |rate: NonZeroU32| Quota::per_second(rate).allow_burst(rate.saturating_add(rate.get()));
        let per_address = || quota(per_key.saturating_mul(NonZeroU32::MIN.saturating_add(KEYS_OF_AN_ADDRESS - 1)));
        Self {
            addresses: RateLimiter::keyed(per_address()),
            strangers: RateLimiter::keyed(per_address()),
            genuine: Mutex::default(),
            keys: RateLimiter::keyed(quota(per_key)),
            asked: AtomicU32::new(0),
        }
    }

    /// `key`: the digest of the key that came with the request.
    fn address(&self, address: IpAddr, key: Option<Digest>) -> Result<(), Failure> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.addresses.retain_recent();
            self.strangers.retain_recent();
            self.keys.retain_recent();
        }
        let known = key.is_some_and(|key| self.genuine.lock().contains(&key));
        admitted(if known { &self.addresses } else { &self.strangers }, &network(address))
    }

    fn genuine(&self, key: Digest) {
        let mut genuine = self.genuine.lock();
        if !genuine.contains(&key) {
            if genuine.len() >= GENUINE {
                genuine.pop_front();
            }
            genuine.push_back(key);
        }
    }

    fn key(&self, id: &str) -> Result<(), Failure> {
        admitted(&self.keys, &id.into())
    }
}

fn admitted<K: Clone + std::hash::Hash + Eq>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Failure> {
    limiter.check_key(key).map_err(|until| Failure::too_many(until.wait_time_from(DefaultClock::default().now()).as_secs() + 1))
}

/// Who asks: the holder of an API key.
#[derive(Debug)]
pub(super) struct Caller {
    key: ApiKey,
}

impl Caller {
    /// Refuses a key without any of these scopes.
    pub(super) fn require(&self, scopes: &[Scope]) -> Result<(), Failure> {
        if scopes.iter().any(|scope| self.key.scopes.iter().any(|given| **given == *scope.word())) {
            return Ok(());
        }
        let wanted: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
        Err(Failure::forbidden("SCOPE_MISSING", format!("this key lacks the scope {}", wanted.join(" or "))))
    }

    /// Whether the key has a scope.
    pub(super) fn has(&self, scope: Scope) -> bool {
        self.key.scopes.iter().any(|given| **given == *scope.word())
    }

    /// The sources that a worker's key is for.
    pub(super) fn sources(&self) -> &[SourceName] {
        &self.key.sources
    }

    /// The reviewer whose decisions the key carries.
    pub(super) fn reviewer(&self) -> Result<&ReviewerName, Failure> {
        let message = "this key is no reviewer's; make one with `pgwicket keys create --reviewer NAME`";
        self.key.reviewer.as_ref().ok_or_else(|| Failure::forbidden("NO_REVIEWER", message))
    }

    /// The key's id.
    pub(super) fn id(&self) -> &str {
        &self.key.id
    }

    /// What the key is for.
    pub(super) fn name(&self) -> &str {
        &self.key.name
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let unknown = || {
            let message = "no valid API key; send `authorization: Bearer pgw_…`, made with `pgwicket keys create`";
            Failure::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
        };
        let digest = given_key(&parts.headers).ok_or_else(unknown)?;
        let key = shared.api.store.key_by_hash(digest).await?.ok_or_else(unknown)?;
        shared.limits.genuine(digest);
        shared.limits.key(&key.id)?;
        Ok(Self { key })
    }
}

/// The digest of the key that a request carries.
fn given_key(headers: &HeaderMap) -> Option<Digest> {
    let header = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
    header.and_then(bearer).map(key_hash)
}

/// Over plain HTTP, refuses a request to a host that this server does not go by: a page in somebody's browser whose name was made
/// to lead here (DNS rebinding) would read what needs no key. Over TLS the certificate says so.
pub(super) async fn host(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Failure> {
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if shared.tls || named.is_none_or(|named| is_own(named, &shared.hosts)) {
        return Ok(next.run(request).await);
    }
    let message = "this server does not go by that name; use its address, or start it with --control-host NAME";
    Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, "UNKNOWN_HOST", message))
}

/// Whether `host`, with or without a port, is an address, this machine's own name for itself, or one of `hosts`.
fn is_own(host: &str, hosts: &[String]) -> bool {
    let uri: Result<Authority, _> = host.parse();
    let Ok(authority) = uri else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Refuses an address that asks too often, whatever key it gives, and one whose key could be read on the way.
pub(super) async fn limit(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Failure> {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        if !shared.remote && !address.ip().to_canonical().is_loopback() {
            let message = "this server has no TLS, so it takes API keys from its own machine only; start it with --control-tls-cert or --allow-plaintext";
            return Err(Failure::forbidden("TLS_REQUIRED", message));
        }
        shared.limits.address(address.ip(), given_key(request.headers()))?;
    }
    Ok(next.run(request).await)
}

/// Around everything: gives the request its id and time limit, and failures their body.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let timed_out = |_| axum::response::IntoResponse::into_response(Failure::unavailable("TIMEOUT", "the request took too long"));
    let mut response = tokio::time::timeout(TIMEOUT, next.run(request)).await.unwrap_or_else(timed_out);
    if let Some(failure) = response.extensions_mut().remove::<Failure>().or_else(|| foreign(&response)) {
        tracing::debug!(request = %id, status = failure.status.as_u16(), code = failure.code, "request refused");
        response = failure.render(&id);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer of the HTTP library itself, in our form.
fn foreign(response: &Response) -> Option<Failure> {
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || response.status().as_u16() < 400 {
        return None;
    }
    Some(match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "the body is too large"),
        status if status.is_client_error() => Failure::new(status, "BAD_REQUEST", "the request cannot be read"),
        status => Failure::new(status, "FAILED", "the request failed"),
    })
}

/// The caller's `x-request-id` when it is a plain word, otherwise one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let plain = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    given.filter(plain).map_or_else(|| format!("req_{:016x}", rand::random::<u64>()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_when_it_asks_too_often_and_strangers_use_up_no_share_of_a_key() {
        let limits = Limits::new(NonZeroU32::MIN);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let key = Digest([1; 32]);
        assert!((0..8).all(|_| limits.address(address("10.0.0.1"), Some(key)).is_ok()), "a key that is not known yet");
        let refused = limits.address(address("::ffff:10.0.0.1"), None).unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
        assert!(limits.address(address("10.0.0.2"), None).is_ok());
        limits.genuine(key);
        assert!((0..8).all(|_| limits.address(address("10.0.0.1"), Some(key)).is_ok()));
        assert!(limits.address(address("10.0.0.1"), Some(key)).is_err(), "a key's own share ends, too");
        for other in 0..u8::MAX {
            limits.genuine(Digest([other; 32]));
            limits.genuine(Digest([other; 32]));
        }
        assert_eq!(limits.genuine.lock().len(), 255);
        assert!(limits.key("a").is_ok() && limits.key("a").is_ok() && limits.key("a").is_err() && limits.key("b").is_ok());
    }

    #[test]
    fn a_plain_server_answers_to_addresses_and_to_names_it_was_given() {
        let hosts = ["pgwicket.internal".to_owned()];
        for own in ["127.0.0.1:6433", "10.0.0.5", "[::1]:6433", "localhost", "LOCALHOST:80", "PGwicket.internal:6433"] {
            assert!(is_own(own, &hosts), "{own}");
        }
        for foreign in
            ["evil.example", "evil.example:6433", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b", "pgwicket.internal.evil"]
        {
            assert!(!is_own(foreign, &hosts), "{foreign}");
        }
    }
}
