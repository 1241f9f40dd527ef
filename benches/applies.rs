//! How many approved proposals a worker applies a second: policy, receipt, guarded UPDATE, report; over both stores, with one
//! source, all with fsync.
//!
//!     cargo bench --bench applies [-- 2000]
//!
//! Every proposal changes one row. Prints a Markdown table.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool, read by a script")]

#[path = "../src/store/tests/server.rs"]
#[expect(dead_code, reason = "the store's tests stop and start it")]
mod server;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use pgwicket::{
    app::load_policy,
    config::Process,
    policy::{self, Inputs, PolicySet, SourceTls},
    proposal::{
        Approval, Cell, Content, Decider, Decision, Operation, Proposal, Proposer, RowChange, Status, Target, TenantGuard, Value, Verb,
    },
    source::{SourceAddress, introspect, migration},
    store::{Filter, Location, PageRequest, Store},
    types::{Digest, EvidenceId, ProposalId, Secret},
    worker::{self, WorkerOptions, Workshop, WriteSource},
};
use tokio::{sync::watch, task::LocalSet, time};
use tokio_postgres::NoTls;

const NOW: i64 = 1_700_000_000_000;

/// An approval has to be of today. Unit: milliseconds since the Unix epoch.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

const POLICY: &str = "sources: { app: { kind: postgres, url: \"env:READ_URL\", ssl: disable } }
schemas: { bank: { source: app, relations: { accounts: { from: public.accounts, tenant_column: tenant, columns: [id, amount], writes: { update: [amount] } } } } }
agents: { bot: { auth: { scram: \"env:BOT_PASSWORD\" }, tenant: acme, schemas: [bank] } }
reviewers: { ana: {} }
approvals: { rules: [ { relations: [bank.*], reviewers: [ana] } ] }
";

fn main() {
    let count = std::env::args().skip(1).find_map(|count| count.parse().ok()).unwrap_or(2_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("policy.yaml"), POLICY).unwrap();
    let server = server::Server::start("shared_buffers = '256MB'\n");
    println!("| store | at once | proposals applied/s |");
    println!("|---|---|---|");
    for (place, concurrency) in [1, 4, 16].into_iter().enumerate() {
        for kind in ["SQLite", "PostgreSQL"] {
            let store = match kind {
                "SQLite" => Location::Sqlite(directory.path().join(format!("state{place}.db"))),
                _ => Location::Postgres(Secret::new(server.database(&format!("store{place}")))),
            };
            let source = Secret::new(server.database(&format!("{}{place}", kind.to_lowercase())));
            let rate = LocalSet::new().block_on(&runtime, measure(directory.path(), store, source, concurrency, count));
            println!("| {kind} | {concurrency} | {rate:.0} |");
        }
    }
}

async fn measure(policy: &Path, store: Location, source: Secret, concurrency: usize, count: u32) -> f64 {
    let (client, connection) = tokio_postgres::connect(source.expose(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let table = "create table accounts (id int primary key, tenant text not null, amount bigint not null)";
    let rows = format!("insert into accounts select id, 'acme', 1000 from generate_series(1, {count}) id");
    client.batch_execute(&format!("{table}; {rows}; {}", migration("public", Some("store")))).await.unwrap();
    let store = Store::open(&store).await.unwrap();
    for id in 1..=count {
        let content = Content::of(proposal(id));
        let (id, digest) = (content.proposal().id, content.digest());
        store.create(content, None, NOW).await.unwrap();
        let decider = Decider::ApiKey { reviewer: "ana".parse().unwrap(), key: "key_1".into() };
        store
            .decide(
                id,
                Approval { decision: Decision::Approve, decider, digest, reason: None, at: now(), until: None, revoked: false },
                1,
                NOW,
            )
            .await
            .unwrap();
    }
    let (stopping, stop) = watch::channel(false);
    let workshop = workshop(policy, store.clone(), source, concurrency).await;
    let began = Instant::now();
    let working = tokio::task::spawn_local(worker::run(Arc::new(workshop), stop));
    let open = Filter { statuses: vec![Status::Approved, Status::Applying], ..Filter::default() };
    while !store.list(&open, &PageRequest { limit: 1, cursor: None, ..PageRequest::default() }).await.unwrap().records.is_empty() {
        time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    stopping.send_replace(true);
    working.await.unwrap();
    let applied: i64 = client.query_one("select count(*) from accounts where amount = 1001", &[]).await.unwrap().get(0);
    assert_eq!(applied, i64::from(count));
    f64::from(count) / seconds
}

async fn workshop(policy: &Path, store: Store, url: Secret, concurrency: usize) -> Workshop {
    let timeout = Duration::from_secs(10);
    let source = WriteSource {
        name: "app".parse().unwrap(),
        url,
        tls: SourceTls::Disable,
        root_certificates: None,
        statement_timeout: timeout,
        lock_timeout: timeout,
    };
    let options = WorkerOptions {
        name: "bench".into(),
        concurrency,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(50),
        retry: (Duration::from_secs(1), Duration::from_secs(10)),
        attempts: 10,
        receipts_schema: "public".into(),
    };
    let policy = compiled(policy, &source).await;
    Workshop { store, policy: Arc::new(ArcSwap::from_pointee(policy)), sources: vec![source], options }
}

async fn compiled(path: &Path, source: &WriteSource) -> PolicySet {
    let loaded = load_policy(&Process, path).unwrap();
    let catalog = introspect(&SourceAddress::from(source)).await.unwrap().catalog;
    let catalogs = BTreeMap::from([(source.name.clone(), Arc::new(catalog))]);
    policy::check(&loaded.bundle, Inputs { resolved: &loaded.resolved, catalogs: &catalogs }).0.unwrap()
}

fn proposal(id: u32) -> Proposal {
    let cell =
        |column: &str, value: u32| Cell { column: column.into(), type_name: "bigint".into(), value: Value::Text(value.to_string().into()) };
    Proposal {
        id: ProposalId::new(NOW.unsigned_abs(), u128::from(id)),
        created_at: NOW,
        expires_at: NOW + 86_400_000,
        proposer: Proposer::new("bot".parse().unwrap(), None),
        run: None,
        evidence: EvidenceId::new(NOW.unsigned_abs(), u128::from(id)),
        policy: Digest([7; 32]),
        verb: Verb::Update,
        statement: format!("update accounts set amount = amount + 1 where id = {id}").into(),
        reason: None,
        deployment: None,
        time_zone: "UTC".into(),
        idempotency_key: None,
        target: Target {
            source: "app".parse().unwrap(),
            schema: "bank".into(),
            relation: "accounts".into(),
            real_schema: "public".into(),
            real_name: "accounts".into(),
            tenant: Some(TenantGuard { column: "tenant".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
        },
        changes: vec![RowChange {
            operation: Operation::Update,
            key: vec![cell("id", id)],
            before: vec![cell("amount", 1000)],
            conflict: None,
            after: vec![cell("amount", 1001)],
        }],
    }
}
