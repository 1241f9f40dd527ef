//! What every request passes: keys, scopes, limits, forms.

use super::*;

#[test]
fn the_open_routes_need_no_key_and_every_answer_has_its_form() {
    let bench = Bench::new();
    let get = |path: &str| bench.get("", path);
    assert_eq!(get("/healthz"), (200, json!({ "ok": true })));
    assert_eq!((get("/readyz").0, &get("/readyz").1["ok"]), (503, &json!(false)));
    assert_eq!(code(&get("/v1/x")), "404 NOT_FOUND");
    assert_eq!(code(&bench.post("", "/healthz", &json!({}))), "405 METHOD_NOT_ALLOWED");
    let answer = agent().get(format!("http://{}/v1/x", bench.address())).header("x-request-id", "r-1").call().unwrap();
    assert_eq!(answer.headers()["x-request-id"], "r-1");
    let odd = agent().get(format!("http://{}/v1/x", bench.address())).header("x-request-id", "r 1;").call().unwrap();
    assert!(odd.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert!(agent().get(format!("http://{}/metrics", bench.address())).call().unwrap().status().is_success());
}

/// Without `http1_only` behind `map` in `serve` the prefaces of HTTP/2 are answered, and such a connection has no clock.
#[test]
fn no_connection_stays_that_says_nothing_or_speaks_another_http() {
    use std::io::{Read as _, Write as _};
    let bench = Bench::new();
    let began = [
        &b""[..],
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        b"G",
    ];
    let open = began.map(|bytes| {
        let mut stream = std::net::TcpStream::connect(bench.address()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    });
    for (mut stream, bytes) in open.into_iter().zip(began) {
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let timed_out = ended.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        assert!(!timed_out, "{} stays", String::from_utf8_lossy(bytes));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
}

#[test]
fn without_a_key_of_the_right_scope_nothing_is_told() {
    let bench = Bench::new();
    bench.propose(1, 1);
    let path = "/v1/control/proposals";
    for bad in ["", "pgw_wrong", "nonsense"] {
        assert_eq!(code(&bench.get(bad, path)), "401 UNAUTHENTICATED");
    }
    let worker = bench.key("w", &[Scope::Worker], None);
    assert_eq!(code(&bench.get(&worker, path)), "403 SCOPE_MISSING");
    let reader = bench.key("r", &[Scope::ProposalsRead], None);
    assert_eq!(bench.get(&reader, path).0, 200);
    let keys = bench.runtime.block_on(bench.store.keys()).unwrap();
    bench.runtime.block_on(bench.store.revoke_key(&keys.iter().find(|key| *key.name == *"r").unwrap().id, 2)).unwrap();
    assert_eq!(code(&bench.get(&reader, path)), "401 UNAUTHENTICATED", "revoked");
}

#[test]
fn a_key_is_not_taken_in_plain_text_from_another_machine() {
    let bench = Bench::new();
    let key = bench.key("r", &[Scope::ProposalsRead], None);
    // The way to an address of this machine that is not a loopback one; a machine may have none.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
    let Ok(own) = probe.map(|address| address.ip()) else { return };
    let at = |path: &str| {
        let request =
            agent().get(format!("http://{own}:{}{path}", bench.address().port())).header("authorization", format!("Bearer {key}"));
        answer(request.call().unwrap())
    };
    assert_eq!(at("/healthz").0, 200);
    assert_eq!(code(&at("/v1/control/proposals")), "403 TLS_REQUIRED");
}

#[test]
fn who_asks_too_often_waits() {
    let bench = Bench::limited(1);
    let key = bench.key("r", &[Scope::ProposalsRead], None);
    let answers: Vec<Answer> = (0..4).map(|_| bench.get(&key, "/v1/control/proposals")).collect();
    assert_eq!(answers.iter().map(|answer| answer.0).collect::<Vec<_>>(), [200, 200, 429, 429]);
    assert_eq!((code(&answers[3]).as_str(), &answers[3].1["retryable"]), ("429 RATE_LIMITED", &json!(true)));
    assert_eq!(bench.get("", "/healthz").0, 200, "a probe is never limited");
}

#[test]
fn a_body_is_bounded_and_says_what_is_wrong_with_it() {
    let bench = Bench::new();
    let key = bench.key("b", &[Scope::ProposalsApprove], Some("bob"));
    let (id, digest) = bench.propose(1, 1);
    let path = format!("/v1/control/proposals/{id}/approve");
    assert_eq!(code(&bench.post(&key, &path, &json!({ "digest": digest, "reason": "x".repeat(300_000) }))), "413 BODY_TOO_LARGE");
    assert_eq!(code(&bench.post(&key, &path, &json!({ "digest": digest, "reason": "x".repeat(5_000) }))), "400 BAD_REQUEST");
    assert_eq!(code(&bench.post(&key, &path, &json!([1]))), "400 BAD_REQUEST");
    assert_eq!(code(&bench.post(&key, &path, &json!({}))), "400 BAD_REQUEST", "no digest");
    assert_eq!(code(&bench.post(&key, "/v1/control/proposals/prop_x/approve", &json!({}))), "404 NOT_FOUND");
    let reader = bench.key("r", &[Scope::ProposalsRead], None);
    assert_eq!(code(&bench.get(&reader, "/v1/control/proposals?statuss=pending")), "400 BAD_REQUEST");
    assert_eq!(code(&bench.get(&reader, "/v1/control/proposals?status=pendin")), "400 BAD_REQUEST");
    assert_eq!(code(&bench.get(&reader, "/v1/control/proposals?cursor=zzz")), "400 BAD_CURSOR");
}

#[test]
fn the_description_names_every_route() {
    let bench = Bench::new();
    let (status, api) = bench.get("", "/openapi.json");
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    assert_eq!((status, paths.len()), (200, 12), "{paths:?}");
    assert!(api["components"]["schemas"]["ChangeItem"]["properties"]["idempotency_key"].is_object());
    assert_eq!(api["components"]["securitySchemes"]["key"]["scheme"], "bearer");
}

/// Every route, and the scopes of which it takes any one.
const ROUTES: [(&str, &str, &[Scope]); 13] = [
    ("get", "/v1/control/proposals", &[Scope::ProposalsRead]),
    ("get", "/v1/control/proposals/{id}", &[Scope::ProposalsRead]),
    ("post", "/v1/control/proposals/{id}/approve", &[Scope::ProposalsApprove]),
    ("post", "/v1/control/proposals/{id}/reject", &[Scope::ProposalsApprove]),
    ("post", "/v1/control/proposals/{id}/cancel", &[Scope::ProposalsApprove]),
    ("get", "/v1/control/external-writebacks/proposals", &[Scope::Worker, Scope::ProposalsRead]),
    ("post", "/v1/control/external-writebacks/proposals/{proposal_id}/approve", &[Scope::ProposalsApprove]),
    ("post", "/v1/control/external-writebacks/proposals/{proposal_id}/reject", &[Scope::ProposalsApprove]),
    ("post", "/v1/control/external-writebacks/proposals/{proposal_id}/apply-result", &[Scope::Worker]),
    ("get", "/v1/control/external-sources", &[Scope::SourcesAdmin, Scope::Worker]),
    ("post", "/v1/control/external-sources", &[Scope::SourcesAdmin]),
    ("get", "/v1/control/external-sources/{id}", &[Scope::SourcesAdmin, Scope::Worker]),
    ("post", "/v1/control/external-sources/{id}/{action}", &[Scope::SourcesAdmin]),
];

/// The router, the description and this table say the same of every route; nothing that an agent has opens any.
#[test]
fn each_route_takes_its_scopes_and_nothing_that_an_agent_holds() {
    let bench = Bench::new();
    let api = bench.get("", "/openapi.json").1;
    let described: usize = api["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(described, ROUTES.len());
    let (id, digest) = bench.propose(1, 1);
    let keys = Scope::ALL.map(|scope| (scope, bench.key(scope.word(), &[scope], None)));
    // A password, tokens of an agent, a key's form around them, and other schemes.
    let agents = ["agent-password", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyb3NhIn0.c2ln", "pgw_agent-password", "pgw_", "SCRAM-SHA-256$4096:x"];
    for (method, path, scopes) in ROUTES {
        let operation = &api["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is not described");
        let mut said: Vec<&str> = operation["security"].as_array().unwrap().iter().map(|way| way["key"][0].as_str().unwrap()).collect();
        let mut expected: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
        said.sort_unstable();
        expected.sort_unstable();
        assert_eq!(said, expected, "{method} {path}");
        let asked = path.replace("{action}", "test").replace("{proposal_id}", &id);
        let asked = if path.contains("external-sources") { asked.replace("{id}", "src_app") } else { asked.replace("{id}", &id) };
        let ask = |key: &str| match method {
            "get" => bench.get(key, &asked),
            _ => bench.post(key, &asked, &json!({ "digest": digest, "status": "applied" })),
        };
        let documented = |answer: &Answer| {
            assert!(operation["responses"][answer.0.to_string()].is_object(), "{method} {path} answers {answer:?}, which is not described");
        };
        for agent in agents {
            let answer = ask(agent);
            assert_eq!(code(&answer), "401 UNAUTHENTICATED", "{method} {path}");
            documented(&answer);
        }
        for (scope, key) in &keys {
            let answer = ask(key);
            documented(&answer);
            let refused = answer.1["error"] == json!("SCOPE_MISSING");
            assert_eq!(refused, !scopes.contains(scope), "{method} {path} with {}: {answer:?}", scope.word());
        }
    }
    let stored = bench.runtime.block_on(bench.store.proposal(id.parse().unwrap())).unwrap().unwrap();
    assert!(stored.approvals.is_empty() && stored.status == crate::proposal::Status::Pending, "{stored:?}");
}

#[test]
fn sources_are_the_policys() {
    let bench = Bench::new();
    let admin = bench.key("a", &[Scope::SourcesAdmin], None);
    let (status, listed) = bench.get(&admin, "/v1/control/external-sources");
    assert_eq!((status, listed["sources"].as_array().unwrap().len()), (200, 3));
    let worker = bench.key("w", &[Scope::Worker], None);
    let (_, listed) = bench.get(&worker, "/v1/control/external-sources");
    assert_eq!(
        (listed["sources"].as_array().unwrap().len(), &listed["sources"][0]["name"]),
        (1, &json!("app")),
        "a worker's key sees its own"
    );
    assert_eq!(code(&bench.get(&worker, "/v1/control/external-sources/src_ours")), "403 SOURCE_NOT_THIS_KEYS");
    assert_eq!(code(&bench.get(&admin, "/v1/control/external-sources/src_x")), "404 NOT_FOUND");
    assert_eq!(code(&bench.post(&admin, "/v1/control/external-sources", &json!({}))), "409 MANAGED_BY_POLICY");
}

#[test]
fn with_a_certificate_it_speaks_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = ControlTls::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
    assert!(ControlTls::from_pem(b"", b"").is_err());
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let control = Control {
        status: Arc::default(),
        recorder: Recorder::local(),
        api: Api { store: bench.store.clone(), policy: Arc::clone(&bench.policy) },
        rate_limit: NonZeroU32::MIN,
        allow_plaintext: false,
        tls: Some(tls),
        hosts: Vec::new(),
    };
    bench.runtime.spawn(async move { serve(listener, control, std::future::pending()).await });
    let roots = ureq::tls::Certificate::from_der(made.cert.der()).to_owned();
    let config = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[roots]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let client: ureq::Agent = ureq::Agent::config_builder().tls_config(config).proxy(None).build().into();
    let mut answer = client.get(format!("https://localhost:{}/healthz", address.port())).call().unwrap();
    assert_eq!(answer.body_mut().read_to_string().unwrap(), "{\"ok\":true}");
}
