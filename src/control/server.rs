//! The HTTP server: which routes there are, and how connections are served.

use std::{fmt, future::Future, io, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use serde_json::json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ControlTls, Recorder, Status,
    connections::Bounded,
    description,
    failure::Failure,
    guard::{Limits, finish, host, limit},
    proposals, sources, writebacks,
};
use crate::{
    policy::PolicySet,
    store::{Record, Store},
    types::ProposalId,
};

/// Longest body of a request. Unit: bytes.
const LONGEST_BODY: usize = 256 * 1024;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request. Unit: bytes.
const LONGEST_HEAD: usize = 32 * 1024;
/// How long requests in flight may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// What the server serves.
#[derive(Debug)]
pub struct Control {
    /// What `/readyz` says.
    pub status: Arc<Status>,
    /// What `/metrics` says.
    pub recorder: Recorder,
    /// What the routes below `/v1/control` need.
    pub api: Api,
    /// Requests a second that one API key may make; four times as many from one address; twice as many at once.
    pub rate_limit: NonZeroU32,
    /// Take API keys over plain HTTP from other machines.
    pub allow_plaintext: bool,
    /// The certificate; without it plain HTTP.
    pub tls: Option<ControlTls>,
    /// Names, besides addresses and `localhost`, that plain HTTP requests may be to.
    pub hosts: Vec<String>,
}

/// What the routes below `/v1/control` need.
#[derive(Clone)]
pub struct Api {
    /// Proposals and API keys.
    pub store: Store,
    /// Who may decide.
    pub policy: Arc<ArcSwap<PolicySet>>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api(..)")
    }
}

/// What handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) status: Arc<Status>,
    pub(super) recorder: Recorder,
    pub(super) limits: Arc<Limits>,
    /// Whether a key may come over this connection from another machine.
    pub(super) remote: bool,
    /// Whether connections are encrypted.
    pub(super) tls: bool,
    pub(super) hosts: Arc<[String]>,
    pub(super) api: Api,
}

impl Shared {
    /// Milliseconds since the Unix epoch.
    #[expect(clippy::unused_self, reason = "handlers ask the time here and nowhere else")]
    pub(super) fn now(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }

    /// The proposal of this id.
    pub(super) async fn record(&self, id: ProposalId) -> Result<Record, Failure> {
        let found = self.api.store.proposal(id).await?;
        found.ok_or_else(|| Failure::not_found(format!("there is no proposal {id}")))
    }
}

/// Serves until `shutdown` ends, then finishes what is in flight.
pub async fn serve(listener: std::net::TcpListener, control: Control, shutdown: impl Future<Output = ()> + 'static) -> io::Result<()> {
    let handle = Handle::new();
    let Control { status, recorder, api, rate_limit, allow_plaintext, tls, hosts } = control;
    let remote = allow_plaintext || tls.is_some();
    let limits = Arc::new(Limits::new(rate_limit));
    let shared = Shared { status, recorder, limits, remote, tls: tls.is_some(), hosts: hosts.into(), api };
    let service = router(shared).into_make_service_with_connect_info::<SocketAddr>();
    let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(LONGEST_HEAD);
    // HTTP/1 only: nobody needs another, and to tell them apart a connection would wait for bytes without a clock. Said after `map`,
    // which forgets it.
    let running = async move {
        match tls {
            Some(tls) => {
                let config = RustlsConfig::from_config(tls.config());
                server.map(|acceptor| Bounded::new(RustlsAcceptor::new(config).acceptor(acceptor))).http1_only().serve(service).await
            }
            None => server.map(Bounded::new).http1_only().serve(service).await,
        }
    };
    let stopping = async move {
        shutdown.await;
        handle.graceful_shutdown(Some(DRAIN));
        std::future::pending::<()>().await;
    };
    tokio::select! { ended = running => ended, () = stopping => Ok(()) }
}

/// The description of the API, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(
    info(title = "pgwicket control API", description = "Proposals: read, decide, report. See docs/PROPOSALS.md.", license(name = "Apache-2.0")),
    modifiers(&Key),
)]
struct Description;

struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("an API key, `pgw_…`")).build();
        openapi.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

fn api_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(proposals::list))
        .routes(routes!(proposals::show))
        .routes(routes!(proposals::approve))
        .routes(routes!(proposals::reject))
        .routes(routes!(proposals::cancel))
        .routes(routes!(writebacks::poll))
        .routes(routes!(writebacks::approve))
        .routes(routes!(writebacks::reject))
        .routes(routes!(writebacks::apply_result))
        .routes(routes!(sources::list, sources::create))
        .routes(routes!(sources::show))
        .routes(routes!(sources::act))
}

/// Every route.
pub(super) fn router(shared: Shared) -> Router {
    let (api, mut description) = api_routes().split_for_parts();
    description::refusals(&mut description);
    api.route_layer(middleware::from_fn_with_state(shared.clone(), limit))
        .route("/healthz", get(async || Json(json!({ "ok": true }))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(async move || Json(description)))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(shared.clone(), host))
        .layer(middleware::from_fn(finish))
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let mut readiness = shared.status.readiness();
    if let Err(error) = shared.api.store.check().await {
        readiness.ok = false;
        readiness.store = error.to_string();
    }
    let code = if readiness.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.recorder.render()).into_response()
}

async fn not_found(uri: Uri) -> Failure {
    Failure::not_found(format!("no route {}, see /openapi.json, /healthz, /readyz and /metrics", shortened(uri.path())))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let message = format!("{} is not allowed on {}", shortened(method.as_str()), shortened(uri.path()));
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
