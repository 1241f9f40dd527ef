//! `pgwicket worker` as its own process, over both stores: what it applies, what it refuses, and that kill -9 changes nothing.

mod binding;
mod crash;
mod flow;
mod moments;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pgwicket::{
    proposal::{
        Approval, Cell, Content, Decider, Decision, Operation, Proposal, Proposer, RowChange, Status, Target, TenantGuard, Value, Verb,
    },
    source::migration,
    store::{Filter, Location, PageRequest, Record, Store, StoreError},
    types::{Digest, EvidenceId, ProposalId, Secret},
};
use tokio::runtime::Runtime;

use crate::support::{Cluster, Database, PASSWORD, Worker};

/// The role that applies.
const WORKER: &str = "money_worker";

/// The role that owns a PostgreSQL store.
const STORE: &str = "store_owner";

/// What every account begins with.
const OPENING: i64 = 1000;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// Accounts with money, a policy over them, a store of proposals, and workers.
pub(crate) struct Bank {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) kind: Kind,
    location: Location,
    /// The database of a PostgreSQL store.
    pub(crate) store_database: Option<Database>,
    pub(crate) directory: PathBuf,
    runtime: Runtime,
}

/// A transfer from one account to another, with the amounts as they were read.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    pub(crate) from: (u32, i64),
    pub(crate) to: (u32, i64),
    pub(crate) amount: i64,
}

impl Bank {
    /// A bank with so many accounts, in a database of the shared cluster.
    pub(crate) fn open(kind: Kind, accounts: u32) -> Self {
        Self::open_in(Cluster::empty(WORKER), kind, accounts)
    }

    /// A bank in this database.
    pub(crate) fn open_in(database: Database, kind: Kind, accounts: u32) -> Self {
        let database = with_role(database, WORKER);
        database.sql(&format!(
            "create table accounts (id int primary key, tenant text not null, amount bigint not null, check (amount >= 0)); \
             insert into accounts select id, 'acme', {OPENING} from generate_series(1, {accounts}) id; \
             insert into accounts values (0, 'globex', {OPENING}); \
             grant select, insert, update, delete on accounts to {WORKER}"
        ));
        database.sql(&migration(pgwicket::source::RECEIPTS_SCHEMA, Some(WORKER)));
        let directory = tempfile::Builder::new().prefix("pgwicket-it-bank-").tempdir().unwrap().keep();
        crate::support::remove_at_end(&directory);
        fs::create_dir(directory.join("policies")).unwrap();
        fs::write(directory.join("policies/policy.yaml"), policy("")).unwrap();
        let store_database = (kind == Kind::Postgres).then(|| {
            let store = with_role(Cluster::empty(STORE), STORE);
            store.sql(&format!("alter database {} owner to {STORE}", store.name));
            store
        });
        let location = match &store_database {
            Some(database) => Location::Postgres(Secret::new(database.socket_url(STORE))),
            None => Location::Sqlite(directory.join("state.db")),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(Store::open(&location)).unwrap();
        Self { database, store, kind, location, store_database, directory, runtime }
    }

    /// Replaces the policy; `writes` goes into the section of that name.
    pub(crate) fn set_policy(&self, writes: &str) {
        fs::write(self.directory.join("policies/policy.yaml"), policy(writes)).unwrap();
    }

    /// A worker process with further flags.
    pub(crate) fn worker(&self, name: &str, flags: &[&str]) -> Worker {
        let mut arguments: Vec<String> =
            ["--sources", "app=env:WRITE_URL", "--retry", "0.05", "--name", name, "--policies"].map(str::to_owned).into();
        arguments.push(self.directory.join("policies").display().to_string());
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        if !flags.contains(&"--poll") {
            arguments.extend(["--poll".to_owned(), "20".to_owned()]);
        }
        let store = match &self.location {
            Location::Sqlite(file) => ("PGWICKET_STORE", file.display().to_string()),
            Location::Postgres(url) => ("PGWICKET_DATABASE_URL", url.expose().to_owned()),
        };
        let environment = [store, ("WRITE_URL", self.database.socket_url(WORKER))];
        Worker::start(&self.directory.join(format!("{name}.log")), &arguments, &environment)
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Every account and its amount.
    pub(crate) fn amounts(&self) -> BTreeMap<u32, i64> {
        let rows = self.database.sql("select id, amount from accounts order by id");
        rows.lines().map(|line| line.split_once('|').unwrap()).map(|(id, amount)| (id.parse().unwrap(), amount.parse().unwrap())).collect()
    }

    /// Stores and approves a proposal.
    pub(crate) fn approved(&self, transfer: &Transfer) -> ProposalId {
        self.approved_all(std::slice::from_ref(transfer))[0]
    }

    /// As [`Self::approved`], all at once.
    pub(crate) fn approved_all(&self, transfers: &[Transfer]) -> Vec<ProposalId> {
        let made = transfers.iter().map(async |transfer| {
            let content = content(transfer);
            let (id, digest) = (content.proposal().id, content.digest());
            again(|| self.store.create(content.clone(), None, now())).await;
            again(|| self.store.decide(id, yes("ana", digest), 1, now())).await;
            id
        });
        self.block_on(futures_util::future::join_all(made))
    }

    /// Approved and at once taken back, by a reviewer.
    pub(crate) fn approved_and_canceled(&self, transfer: &Transfer) -> ProposalId {
        let content = content(transfer);
        let (id, digest) = (content.proposal().id, content.digest());
        let cancel = Approval { decision: Decision::Cancel, ..yes("ana", digest) };
        self.block_on(async {
            self.store.create(content, None, now()).await.unwrap();
            // Two are needed here, so that no worker takes it in between.
            self.store.decide(id, yes("ana", digest), 2, now()).await.unwrap();
            self.store.cancel_by(id, cancel, now()).await.unwrap();
        });
        self.store_database.as_ref().unwrap().sql(&format!("update pgwicket.proposals set decided_at = 1 where id = '{id}'"));
        id
    }

    pub(crate) fn record(&self, id: ProposalId) -> Record {
        self.block_on(again(|| self.store.proposal(id))).unwrap()
    }

    /// Waits until a proposal is neither approved nor applying.
    pub(crate) fn settled(&self, id: ProposalId) -> Record {
        let mut record = self.record(id);
        let deadline = Instant::now() + Duration::from_secs(30);
        while matches!(record.status, Status::Approved | Status::Applying) {
            assert!(Instant::now() < deadline, "{id} is still {} ({:?})", record.status, record.last_error);
            std::thread::sleep(Duration::from_millis(10));
            record = self.record(id);
        }
        record
    }

    /// Every proposal in one of these states.
    pub(crate) fn records(&self, statuses: &[Status]) -> Vec<Record> {
        let filter = Filter { statuses: statuses.to_vec(), ..Filter::default() };
        let mut request = PageRequest { limit: 1000, cursor: None, ..PageRequest::default() };
        let mut found = Vec::new();
        loop {
            let page = self.block_on(again(|| self.store.list(&filter, &request)));
            found.extend(page.records);
            match page.next {
                Some(cursor) => request.cursor = Some(cursor),
                None => return found,
            }
        }
    }

    /// What the superuser sees in the source.
    pub(crate) fn seen(&self, text: &str) -> String {
        self.database.sql(text).trim_end().to_owned()
    }
}

/// Asks the store until it is there: the matrix takes it away now and then.
async fn again<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

impl Transfer {
    /// Between two accounts, by the amounts that were read.
    pub(crate) fn between(amounts: &BTreeMap<u32, i64>, from: u32, to: u32, amount: i64) -> Self {
        Self { from: (from, amounts[&from]), to: (to, amounts[&to]), amount }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A reviewer's yes, by API key.
pub(crate) fn yes(reviewer: &str, digest: Digest) -> Approval {
    let decider = Decider::ApiKey { reviewer: reviewer.parse().unwrap(), key: "key_1".into() };
    Approval { decision: Decision::Approve, decider, digest, reason: None, at: now(), until: None, revoked: false }
}

/// The proposal of a transfer.
pub(crate) fn content(transfer: &Transfer) -> Content {
    static UNIQUE: AtomicU64 = AtomicU64::new(1);
    let unique = u128::from(UNIQUE.fetch_add(1, Ordering::Relaxed)) << 16 | u128::from(rand::random::<u16>());
    let at = now();
    let cell = |column: &str, type_name: &str, value: i64| Cell {
        column: column.into(),
        type_name: type_name.into(),
        value: Value::Text(value.to_string().into()),
    };
    let row = |(id, before): (u32, i64), by: i64| RowChange {
        operation: Operation::Update,
        key: vec![cell("id", "integer", id.into())],
        before: vec![cell("amount", "bigint", before)],
        conflict: None,
        after: vec![cell("amount", "bigint", before + by)],
    };
    Content::of(Proposal {
        id: ProposalId::new(at.unsigned_abs(), unique),
        created_at: at,
        expires_at: at + 3_600_000,
        proposer: Proposer::new("bot".parse().unwrap(), None),
        run: None,
        evidence: EvidenceId::new(at.unsigned_abs(), unique),
        policy: Digest([7; 32]),
        verb: Verb::Update,
        statement: "update accounts set amount = …".into(),
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
        changes: vec![row(transfer.from, -transfer.amount), row(transfer.to, transfer.amount)],
    })
}

/// Makes the role in the database's cluster, unless another test has.
fn with_role(database: Database, role: &str) -> Database {
    database.sql(&format!(
        "do $$ begin create role {role} login password '{PASSWORD}'; exception when duplicate_object or unique_violation then null; end $$"
    ));
    database
}

fn policy(writes: &str) -> String {
    format!(
        "sources: {{ app: {{ kind: postgres, url: \"env:READ_URL\", ssl: disable }} }}\n\
         schemas:\n  bank:\n    source: app\n    relations:\n      accounts:\n        from: public.accounts\n        \
         tenant_column: tenant\n        columns: [id, amount]\n        writes: {{ update: [amount]{writes} }}\n\
         agents: {{ bot: {{ auth: {{ scram: \"env:BOT_PASSWORD\" }}, tenant: acme, schemas: [bank] }} }}\n\
         reviewers: {{ ana: {{}}, ben: {{ agents: [bot] }} }}\n\
         approvals: {{ rules: [ {{ relations: [bank.*], reviewers: [ana, ben] }} ] }}\n"
    )
}
