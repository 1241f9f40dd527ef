//! The HTTP server.

use std::{future::Future, io, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Recorder, Status};

#[derive(Clone)]
struct Shared {
    status: Arc<Status>,
    recorder: Recorder,
}

/// The error body of every control route.
#[derive(Debug, Serialize)]
struct ErrorBody {
    ok: bool,
    error: &'static str,
    message: String,
    request_id: String,
    retryable: bool,
}

/// Serves until `shutdown` ends, then finishes what is in flight.
pub async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    recorder: Recorder,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(Shared { status, recorder })).with_graceful_shutdown(shutdown).await
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "ok": true }))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = shared.status.readiness();
    let code = if readiness.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.recorder.render()).into_response()
}

async fn not_found(headers: HeaderMap, uri: Uri) -> Response {
    let message = format!("no route {}, see /healthz, /readyz and /metrics", shortened(uri.path()));
    failure(StatusCode::NOT_FOUND, "NOT_FOUND", message, &headers)
}

async fn method_not_allowed(headers: HeaderMap, method: Method, uri: Uri) -> Response {
    let message = format!("{} is not allowed on {}", shortened(method.as_str()), shortened(uri.path()));
    failure(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message, &headers)
}

fn failure(code: StatusCode, error: &'static str, message: String, headers: &HeaderMap) -> Response {
    let body = ErrorBody { ok: false, error, message, request_id: request_id(headers), retryable: false };
    (code, Json(body)).into_response()
}

/// The caller's `x-request-id` when it is a plain word, otherwise one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let plain = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    given.filter(plain).map_or_else(|| format!("req_{:016x}", rand::random::<u64>()), str::to_owned)
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn exchange(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::default(), Recorder::local(), std::future::pending()));
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn every_path_answers_in_its_form() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: r-1\r\nconnection: close\r\n\r\n");
        assert!(exchange(&get("/healthz")).await.ends_with("{\"ok\":true}"));
        let unready = exchange(&get("/readyz")).await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.contains("\"ok\":false"), "{unready}");
        assert!(exchange(&get("/metrics")).await.starts_with("HTTP/1.1 200"));
        let unknown = exchange(&get("/v1/x")).await;
        let body = "{\"ok\":false,\"error\":\"NOT_FOUND\",\"message\":\"no route /v1/x, see /healthz, /readyz and /metrics\",\"request_id\":\"r-1\",\"retryable\":false}";
        assert!(unknown.starts_with("HTTP/1.1 404") && unknown.ends_with(body), "{unknown}");
        let post = get("/healthz").replace("GET", "POST");
        assert!(exchange(&post).await.starts_with("HTTP/1.1 405"));
    }
}
