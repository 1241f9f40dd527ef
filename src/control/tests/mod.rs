//! The API over a real socket, on a real store.

mod decisions;
mod doors;
mod writebacks;

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc};

use arc_swap::ArcSwap;
use ed25519_dalek::SigningKey;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    policy::{AppliedBy, ApprovalRule, PolicySet, Reviewer, Source, SourceTls},
    proposal::{Cell, Content, Operation, Proposal, Proposer, RowChange, Target, TenantGuard, Value, Verb},
    store::{Location, NewKey, Store},
    types::{Digest, EvidenceId, PolicyEpoch, ProposalId, Secret, SourceName},
};

/// A server of its own with a store of its own.
pub(super) struct Bench {
    runtime: Runtime,
    address: SocketAddr,
    pub(super) store: Store,
    pub(super) policy: Arc<ArcSwap<PolicySet>>,
    _directory: tempfile::TempDir,
}

/// An answer: status and body.
pub(super) type Answer = (u16, Json);

impl Bench {
    pub(super) fn new() -> Self {
        Self::limited(1000)
    }

    pub(super) fn limited(rate: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = runtime.block_on(Store::open(&Location::Sqlite(directory.path().join("state.db")))).unwrap();
        let policy = Arc::new(ArcSwap::from_pointee(policy()));
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let control = Control {
            status: Arc::default(),
            recorder: Recorder::local(),
            api: Api { store: store.clone(), policy: Arc::clone(&policy) },
            rate_limit: NonZeroU32::new(rate).unwrap(),
            allow_plaintext: false,
            tls: None,
            hosts: Vec::new(),
        };
        runtime.spawn(async move { serve(listener, control, std::future::pending()).await });
        Self { runtime, address, store, policy, _directory: directory }
    }

    /// A key with these scopes; its secret.
    pub(super) fn key(&self, name: &str, scopes: &[Scope], reviewer: Option<&str>) -> String {
        let secret = key_secret(rand::random());
        let key = NewKey {
            name: name.into(),
            scopes: scopes.iter().map(|scope| scope.word().into()).collect(),
            reviewer: reviewer.map(|name| name.parse().unwrap()),
            sources: if scopes.contains(&Scope::Worker) { vec!["app".parse().unwrap()] } else { Vec::new() },
            secret_hash: key_hash(secret.expose()),
        };
        self.runtime.block_on(self.store.create_key(&key, 1)).unwrap();
        secret.expose().to_owned()
    }

    /// Stores a proposal of `rows` rows; its id and digest.
    pub(super) fn propose(&self, number: u64, rows: usize) -> (String, String) {
        let content = Content::of(proposal(number, rows));
        let (id, digest) = (content.proposal().id.to_string(), content.digest().to_string());
        self.runtime.block_on(self.store.create(content, None, 1_000)).unwrap();
        (id, digest)
    }

    pub(super) fn get(&self, key: &str, path: &str) -> Answer {
        let request = agent().get(format!("http://{}{path}", self.address)).header("authorization", format!("Bearer {key}"));
        answer(request.call().unwrap())
    }

    pub(super) fn post(&self, key: &str, path: &str, body: &Json) -> Answer {
        let request = agent().post(format!("http://{}{path}", self.address)).header("authorization", format!("Bearer {key}"));
        answer(request.send_json(body).unwrap())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-request-id"));
    (status, response.body_mut().read_json().unwrap())
}

/// The code of a refusal.
pub(super) fn code(answer: &Answer) -> String {
    assert!(answer.1["ok"] == json!(false) && answer.1["request_id"].is_string() && answer.1["retryable"].is_boolean(), "{answer:?}");
    format!("{} {}", answer.0, answer.1["error"].as_str().unwrap())
}

pub(super) fn alices_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// alice signs, bob has an API key, carol's agent is the proposer.
fn policy() -> PolicySet {
    let reviewer = |name: &str, key: Option<[u8; 32]>, agents: &[&str]| {
        let agents = agents.iter().map(|agent| agent.parse().unwrap()).collect();
        (name.parse().unwrap(), Arc::new(Reviewer { name: name.parse().unwrap(), key, agents, principals: Vec::new() }))
    };
    let reviewers = [
        reviewer("alice", Some(alices_key().verifying_key().to_bytes()), &[]),
        reviewer("bob", None, &[]),
        reviewer("carol", None, &["bot"]),
    ];
    let rule = ApprovalRule {
        relations: vec!["desk.tickets".into()],
        operations: vec![Operation::Update],
        reviewers: ["alice", "bob", "carol"].map(|name| name.parse().unwrap()).into(),
        quorum: 1,
    };
    let sources = [source("app", AppliedBy::External), source("ours", AppliedBy::Ours), source("others", AppliedBy::External)];
    PolicySet {
        sources: sources.into(),
        reviewers: reviewers.into(),
        approvals: vec![rule],
        ..PolicySet::empty(PolicyEpoch(1), Digest([0; 32]))
    }
}

fn source(name: &str, worker: AppliedBy) -> (SourceName, Arc<Source>) {
    let second = std::time::Duration::from_secs(1);
    let source = Source {
        name: name.parse().unwrap(),
        url: Secret::new(""),
        tls: SourceTls::Disable,
        root_certificates: None,
        pool_max: 1,
        pool_wait: second,
        statement_timeout: second,
        lock_timeout: second,
        idle_in_transaction_timeout: second,
        transaction_timeout: second,
        allow_writable_credential: false,
        worker,
        catalog: Arc::default(),
    };
    (source.name.clone(), Arc::new(source))
}

pub(super) fn proposal(number: u64, rows: usize) -> Proposal {
    let cell = |column: &str, type_name: &str, value: Value| Cell { column: column.into(), type_name: type_name.into(), value };
    let text = |text: &str| Value::Text(text.into());
    let row = |row: usize| RowChange {
        operation: Operation::Update,
        key: vec![cell("id", "bigint", text(&(number * 100 + row as u64).to_string()))],
        before: vec![cell("amount", "numeric(10,2)", text("10.00")), cell("note", "text", Value::Null)],
        conflict: Some(cell("updated_at", "timestamp with time zone", text("2026-01-01 00:00:00+00"))),
        after: vec![cell("amount", "numeric(10,2)", text("12.50")), cell("note", "text", Value::Default)],
    };
    Proposal {
        id: ProposalId::new(1_700_000_000_000 + number, number.into()),
        created_at: 1_700_000_000_000,
        expires_at: 9_000_000_000_000,
        proposer: Proposer::new("bot".parse().unwrap(), Some("acme".parse().unwrap())),
        run: None,
        evidence: EvidenceId::new(1, 1),
        policy: Digest([0; 32]),
        verb: Verb::Update,
        statement: "update tickets set amount = 12.5".into(),
        reason: None,
        deployment: None,
        time_zone: "UTC".into(),
        idempotency_key: None,
        target: Target {
            source: "app".parse().unwrap(),
            schema: "desk".into(),
            relation: "tickets".into(),
            real_schema: "public".into(),
            real_name: "tickets".into(),
            tenant: Some(TenantGuard { column: "tenant_id".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
        },
        changes: (0..rows).map(row).collect(),
    }
}
