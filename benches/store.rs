//! What the store does a second with 1 000 and with 100 000 proposals in it, on SQLite and on PostgreSQL (fsync on).
//!
//!     cargo bench --bench store [-- 1000 100000]
//!
//! Half of the stored proposals wait for a decision, half for a worker. Prints a Markdown table.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a measuring tool, read by a script")]

#[path = "../src/store/tests/server.rs"]
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgwicket::{
    proposal::{
        Approval, Cell, Content, Counter, Decider, Decision, Operation, Outcome, Proposal, Proposer, RowChange, Settle, Settlement, Status,
        Target, TenantGuard, Value, Verb,
    },
    store::{Filter, Location, PageRequest, Report, Store},
    types::{AgentName, Digest, EvidenceId, ProposalId, Secret, SourceName},
};

const NOW: i64 = 1_700_000_000_000;
const TASKS: u64 = 16;
const LEASE: Duration = Duration::from_mins(1);

/// Settles every proposal.
struct Always;

impl Settle for Always {
    fn rules(&self) -> Vec<Box<str>> {
        vec![]
    }

    fn settle(&self, _: &[Counter]) -> Option<Settlement> {
        Some(Settlement { rule: "always".into(), amount: 0 })
    }
}

fn main() {
    let sizes: Vec<u64> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 100_000] } else { sizes };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("| store | stored | create/s | page of 50, ms | page by agent and status, ms | decide, ms | claim + report/s |");
    println!("|---|---|---|---|---|---|---|");
    let directory = tempfile::tempdir().unwrap();
    let file = Location::Sqlite(directory.path().join("state.db"));
    runtime.block_on(measure("SQLite", &file, &sizes));
    let server = server::Server::start("shared_buffers = '256MB'\n");
    let url = Location::Postgres(Secret::new(server.database("bench")));
    runtime.block_on(measure("PostgreSQL", &url, &sizes));
    server.stop("fast");
}

async fn measure(name: &str, location: &Location, sizes: &[u64]) {
    let store = Store::open(location).await.unwrap();
    let mut next = 0;
    for &size in sizes {
        create(&store, next, size.saturating_sub(next)).await;
        next = next.max(size);
        let created = per_second(1_000, create(&store, next, 1_000)).await;
        next += 1_000;
        let page = median(51, async |_| drop(store.list(&Filter::default(), &PageRequest::default()).await.unwrap())).await;
        let filter = Filter { agent: Some(agent(3)), statuses: vec![Status::Pending], ..Filter::default() };
        let filtered = median(51, async |_| drop(store.list(&filter, &PageRequest::default()).await.unwrap())).await;
        let pending = Filter { statuses: vec![Status::Pending], ..Filter::default() };
        let pending = store.list(&pending, &PageRequest { limit: 200, cursor: None, ..PageRequest::default() }).await.unwrap().records;
        let decide = median(pending.len(), async |at: usize| {
            let (id, digest) = (pending[at].id(), pending[at].content.digest());
            let decider = Decider::ApiKey { reviewer: "alice".parse().unwrap(), key: "key_1".into() };
            let approval = Approval { decision: Decision::Approve, decider, digest, reason: None, at: NOW, until: None, revoked: false };
            store.decide(id, approval, 1, NOW).await.unwrap();
        })
        .await;
        let applied = per_second(480, apply(&store, 480)).await;
        println!("| {name} | {size} | {created:.0} | {page:.2} | {filtered:.2} | {decide:.2} | {applied:.0} |");
    }
}

/// Stores `count` proposals, several at a time; every other one is approved at once.
async fn create(store: &Store, first: u64, count: u64) {
    let tasks = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (first..first + count).filter(|number| number % TASKS == task) {
                let settle: Option<Arc<dyn Settle>> = if number % 2 == 0 { Some(Arc::new(Always)) } else { None };
                store.create(Content::of(proposal(number)), settle, NOW).await.unwrap();
            }
        })
    });
    finish(tasks.collect()).await;
}

/// Applies `count` proposals by several workers.
async fn apply(store: &Store, count: u64) {
    let tasks = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let (worker, source): (_, SourceName) = (format!("worker-{task}"), "app".parse().unwrap());
            for _ in 0..count / TASKS {
                let claim = store.claim(&worker, std::slice::from_ref(&source), LEASE, NOW).await.unwrap().unwrap();
                let report = Report {
                    outcome: Outcome::Applied,
                    reporter: worker.as_str().into(),
                    idempotency_key: None,
                    affected_rows: Some(1),
                    metadata: None,
                    error: None,
                    differences: None,
                };
                store.report(claim.record.id(), pgwicket::store::Holder::Token(claim.token), &report, NOW).await.unwrap();
            }
        })
    });
    finish(tasks.collect()).await;
}

async fn finish(tasks: Vec<tokio::task::JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap();
    }
}

async fn per_second(count: u32, work: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    work.await;
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// Unit: milliseconds.
async fn median(count: usize, work: impl AsyncFn(usize)) -> f64 {
    let mut times = Vec::new();
    for at in 0..count {
        let begun = Instant::now();
        work(at).await;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn agent(number: u64) -> AgentName {
    format!("agent-{}", number % 20).parse().unwrap()
}

fn proposal(number: u64) -> Proposal {
    let cell =
        |column: &str, text: String| Cell { column: column.into(), type_name: "numeric(10,2)".into(), value: Value::Text(text.into()) };
    Proposal {
        id: ProposalId::new(NOW.unsigned_abs() + number, u128::from(number)),
        created_at: NOW,
        expires_at: NOW + 86_400_000,
        proposer: Proposer::new(agent(number), None),
        run: None,
        evidence: EvidenceId::new(NOW.unsigned_abs(), u128::from(number)),
        policy: Digest([7; 32]),
        verb: Verb::Update,
        statement: format!("update accounts set balance = balance + 1 where id = {number}").into(),
        reason: None,
        deployment: None,
        time_zone: "UTC".into(),
        idempotency_key: None,
        target: Target {
            source: "app".parse().unwrap(),
            schema: "support".into(),
            relation: "accounts".into(),
            real_schema: "public".into(),
            real_name: "accounts".into(),
            tenant: Some(TenantGuard { column: "tenant_id".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
        },
        changes: vec![RowChange {
            operation: Operation::Update,
            key: vec![cell("id", number.to_string())],
            before: vec![cell("balance", format!("{number}.00"))],
            conflict: Some(cell("updated_at", "2026-01-01 00:00:00+00".into())),
            after: vec![cell("balance", format!("{}.00", number + 1))],
        }],
    }
}
