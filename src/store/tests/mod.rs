//! The contract, each rule on both databases.

mod creating;
mod deciding;
mod keys;
mod leasing;
mod opening;
mod reading;
mod server;

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use self::server::Server;
use super::{
    Acting, Claim, Holder, Location, Record, Report, Reported, Store, StoreError,
    backend::{Database, execute, rows, text, values},
};
use crate::{
    proposal::{
        Approval, Cell, Content, Decider, Decision, Operation, Outcome, Proposal, Proposer, RowChange, Status, Target, TenantGuard, Value,
        Verb,
    },
    types::{Digest, EvidenceId, ProposalId, Secret, SourceName},
};

/// The time of every test's beginning: 2023-11-14, 22:13:20 UTC.
const NOW: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
const LEASE: Duration = Duration::from_secs(30);

/// A store of a test's own, on one of the databases.
struct Bench {
    store: Store,
    location: Location,
    directory: Option<tempfile::TempDir>,
    server: Option<Arc<Server>>,
}

/// Runs each case on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $case() { crate::store::tests::run(crate::store::tests::sqlite(), super::$case); })+
        }
        mod on_postgres {
            $(#[test] fn $case() { crate::store::tests::run(crate::store::tests::postgres(), super::$case); })+
        }
    };
}
use on_both;

fn run<F: Future<Output = ()>>(opened: impl Future<Output = Bench>, case: impl FnOnce(Arc<Bench>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { case(Arc::new(opened.await)).await });
}

async fn sqlite() -> Bench {
    let directory = tempfile::Builder::new().prefix("pgwicket store %").tempdir().unwrap();
    let location = Location::Sqlite(directory.path().to_owned());
    Bench { store: Store::open(&location).await.unwrap(), location, directory: Some(directory), server: None }
}

async fn postgres() -> Bench {
    let server = shared_server();
    let url = server.database(&format!("store_{}", unique()));
    let location = Location::Postgres(Secret::new(url));
    Bench { store: Store::open(&location).await.unwrap(), location, directory: None, server: Some(server) }
}

/// Of all tests that run now; the last one stops it.
fn shared_server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start("fsync = off\n"));
        *shared = Arc::downgrade(&server);
        server
    })
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Bench {
    /// Stores a proposal to change tickets, which must be new.
    async fn propose(&self, keys: &[&str]) -> Record {
        self.store_new(proposal(keys)).await
    }

    async fn store_new(&self, proposal: Proposal) -> Record {
        let created = self.store.create(Content::of(proposal), None, NOW).await.unwrap();
        assert!(!created.repeated);
        created.record
    }

    async fn approve(&self, record: &Record) -> Record {
        self.store.decide(record.id(), decision(record, "alice", Decision::Approve), 1, NOW).await.unwrap()
    }

    async fn approved(&self, keys: &[&str]) -> Record {
        let record = self.propose(keys).await;
        self.approve(&record).await
    }

    /// Handed out and reported on.
    async fn end(&self, record: &Record, ended: Outcome) {
        self.store.take(record.id(), "key_1", LEASE, NOW).await.unwrap().unwrap();
        self.store.report(record.id(), Holder::Worker("key_1".into()), &outcome(ended), NOW).await.unwrap();
    }

    async fn claim(&self, now: i64) -> Option<Claim> {
        self.store.claim("worker-1", &[source("app")], LEASE, now).await.unwrap()
    }

    /// Another store's location, which nobody has opened.
    fn fresh(&self) -> Location {
        match (&self.directory, &self.server) {
            (_, Some(server)) => Location::Postgres(Secret::new(server.database(&format!("store_{}", unique())))),
            (Some(directory), None) => Location::Sqlite(directory.path().join("fresh.db")),
            (None, None) => panic!("it is somewhere"),
        }
    }

    /// What somebody does who has the database.
    async fn sql(&self, statement: &str, value: &str) {
        let database = Database::connect(&self.location).await.unwrap();
        let mut work = database.begin().await.unwrap();
        assert_eq!(execute(work.connection(), statement, values![value]).await.unwrap(), 1);
        work.commit().await.unwrap();
        database.close().await;
    }

    async fn pragma(&self, name: &str) -> String {
        let database = Database::connect(&self.location).await.unwrap();
        let statement = format!("SELECT CAST({name} AS TEXT) AS value FROM pragma_{name}").replace("CAST(busy_timeout", "CAST(timeout");
        let found = rows(&mut database.reader().await.unwrap(), statement, values![]).await.unwrap();
        text(&found[0], "value").unwrap()
    }

    async fn status(&self, record: &Record) -> Status {
        self.store.proposal(record.id()).await.unwrap().unwrap().status
    }
}

/// The tenant that the proposals of [`proposal`] are for.
fn acme() -> Acting {
    Acting(Some("acme".parse().unwrap()))
}

fn source(name: &str) -> SourceName {
    name.parse().unwrap()
}

/// Sets the priority of these tickets; each proposal differs from every other.
fn proposal(keys: &[&str]) -> Proposal {
    let number = unique();
    let cell = |column: &str, text: &str| Cell { column: column.into(), type_name: "text".into(), value: Value::Text(text.into()) };
    let change = |key: &&str| RowChange {
        operation: Operation::Update,
        key: vec![cell("id", key)],
        before: vec![cell("priority", "low")],
        conflict: None,
        after: vec![cell("priority", &format!("high {number}"))],
    };
    Proposal {
        id: ProposalId::new(NOW.unsigned_abs(), u128::from(number)),
        created_at: NOW,
        expires_at: NOW + 10 * MINUTE,
        proposer: Proposer::new("support_agent".parse().unwrap(), Some("acme".parse().unwrap())),
        run: None,
        evidence: EvidenceId::new(NOW.unsigned_abs(), u128::from(number)),
        policy: Digest([7; 32]),
        verb: Verb::Update,
        statement: "update tickets set priority = 'high'".into(),
        reason: Some("the customer waits".into()),
        deployment: None,
        time_zone: "UTC".into(),
        idempotency_key: None,
        target: Target {
            source: source("app"),
            schema: "support".into(),
            relation: "tickets".into(),
            real_schema: "public".into(),
            real_name: "tickets".into(),
            tenant: Some(TenantGuard { column: "tenant_id".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
        },
        changes: keys.iter().map(change).collect(),
    }
}

/// The same change under another id, as when an agent sends its statement again.
fn again(proposal: &Proposal) -> Proposal {
    let number = u128::from(unique());
    Proposal { id: ProposalId::new(NOW.unsigned_abs(), number), ..proposal.clone() }
}

fn decision(record: &Record, reviewer: &str, decision: Decision) -> Approval {
    let decider = Decider::ApiKey { reviewer: reviewer.parse().unwrap(), key: "key_1".into() };
    Approval { decision, decider, digest: record.content.digest(), reason: Some("seen".into()), at: NOW, until: None, revoked: false }
}

fn outcome(outcome: Outcome) -> Report {
    Report {
        outcome,
        reporter: "worker-1".into(),
        idempotency_key: Some("apply-1".into()),
        affected_rows: Some(1),
        metadata: Some("{\"operation\":\"update\"}".into()),
        error: None,
        differences: None,
    }
}

/// An error's words, its proposals' ids left out.
fn words(error: &StoreError) -> String {
    let text = error.to_string();
    let id = |at: usize| text.get(at..at + 31).filter(|id| id.parse::<ProposalId>().is_ok());
    text.match_indices("prop_").filter_map(|(at, _)| id(at)).fold(text.clone(), |text, id| text.replace(id, "prop_…"))
}
