//! The source's door for writes, against a real PostgreSQL: what is applied, what is a conflict, what is refused.

mod guards;
mod types;

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use pgwicket::{
    policy::{ApprovalRule, PolicySet, Reviewer, SourceTls},
    proposal::{Approval, Cell, Content, Decider, Decision, Operation, Proposal, Proposer, RowChange, Target, TenantGuard, Value, Verb},
    source::{Applier, ApplyOptions, Ending, SourceAddress, Undecided, migration},
    types::{Digest, EvidenceId, ProposalId, Secret},
};

use crate::support::{Cluster, Database, PASSWORD, governed::policy_at};

/// The role that applies.
const WORKER: &str = "apply_worker";

/// A database with a table of the test's own, a policy over it, and the write credential.
struct Bench {
    database: Database,
    policy: PolicySet,
}

/// A change that is to be proposed.
struct Change {
    operation: Operation,
    key: Vec<Cell>,
    before: Vec<Cell>,
    conflict: Option<Cell>,
    after: Vec<Cell>,
}

impl Bench {
    /// `ddl` makes the tables; `relations` is the `relations` section of the policy, at its indentation.
    fn new(ddl: &str, relations: &str) -> Self {
        let database = Cluster::empty(WORKER);
        database.sql(&format!(
            "do $$ begin create role {WORKER} login password '{PASSWORD}'; exception when duplicate_object or unique_violation then null; end $$; {ddl}; \
             grant select, insert, update, delete on all tables in schema public to {WORKER}; \
             grant usage on all sequences in schema public to {WORKER}"
        ));
        database.sql(&migration("public", Some(WORKER)));
        let directory = tempfile::tempdir().unwrap();
        let policy = format!(
            "sources: {{ app: {{ kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable, allow_writable_credential: true }} }}\n\
             schemas:\n  desk:\n    source: app\n    relations:\n{relations}\n\
             agents: {{ bot: {{ auth: {{ scram: \"env:MASK_KEY\" }}, tenant: acme, schemas: [desk] }} }}\n"
        );
        fs::write(directory.path().join("policy.yaml"), policy).unwrap();
        // It has a runtime of its own, which may not run within the test's.
        let mut policy = thread::scope(|scope| scope.spawn(|| policy_at(&database, directory.path())).join().unwrap());
        policy.reviewers.insert(
            "ana".parse().unwrap(),
            Reviewer { name: "ana".parse().unwrap(), key: None, agents: Vec::new(), principals: Vec::new() }.into(),
        );
        policy.approvals.push(ApprovalRule {
            relations: vec!["desk.*".into()],
            operations: vec![Operation::Insert, Operation::Update, Operation::Delete],
            reviewers: vec!["ana".parse().unwrap()],
            quorum: 1,
        });
        Self { database, policy }
    }

    fn applier(&self) -> Applier {
        let url = Secret::new(self.database.source_url());
        let address = SourceAddress {
            url: &url,
            tls: SourceTls::Disable,
            root_certificates: None,
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(30),
        };
        let options = ApplyOptions { receipts_schema: "public".into(), worker: "w1".into(), limit: Duration::from_secs(20) };
        Applier::new(&address, options).unwrap()
    }

    /// What the superuser sees.
    fn seen(&self, text: &str) -> String {
        self.database.sql(text).trim_end().to_owned()
    }

    async fn apply(&self, applier: &mut Applier, content: &Content) -> Result<Ending, Undecided> {
        let change = self.policy.permit(content.clone(), &[approval(content)], &here()).unwrap();
        applier.apply(&change).await
    }

    async fn applied(&self, applier: &mut Applier, content: &Content, what: &str) {
        let ending = self.apply(applier, content).await;
        assert!(matches!(ending, Ok(Ending::Applied { before: false, .. })), "{what}: {ending:?}");
    }
}

/// A proposal of these changes to `desk.<relation>`.
fn proposal(relation: &str, changes: Vec<Change>) -> Content {
    static UNIQUE: AtomicU64 = AtomicU64::new(1);
    let unique = u128::from(UNIQUE.fetch_add(1, Ordering::Relaxed));
    let changes = changes.into_iter().map(|change| {
        let Change { operation, key, before, conflict, after } = change;
        RowChange { operation, key, before, conflict, after }
    });
    let changes: Vec<RowChange> = changes.collect();
    Content::of(Proposal {
        id: ProposalId::new(1_700_000_000_000, unique),
        created_at: 1_700_000_000_000,
        expires_at: i64::MAX,
        proposer: Proposer::new("bot".parse().unwrap(), None),
        run: None,
        evidence: EvidenceId::new(1_700_000_000_000, unique),
        policy: Digest([7; 32]),
        verb: Verb::Update,
        statement: "…".into(),
        reason: None,
        idempotency_key: None,
        deployment: None,
        time_zone: "UTC".into(),
        target: Target {
            source: "app".parse().unwrap(),
            schema: "desk".into(),
            relation: relation.into(),
            real_schema: "public".into(),
            real_name: relation.into(),
            tenant: Some(TenantGuard { column: "tenant".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
        },
        changes,
    })
}

/// Ana's yes.
fn here() -> pgwicket::policy::Occasion {
    pgwicket::policy::Occasion { deployment: pgwicket::types::Deployment::new(None, pgwicket::types::StoreId(1)), now: 0 }
}

fn approval(content: &Content) -> Approval {
    let decider = Decider::ApiKey { reviewer: "ana".parse().unwrap(), key: "key_1".into() };
    Approval { decision: Decision::Approve, decider, digest: content.digest(), reason: None, at: 0, until: None, revoked: false }
}

fn cell(column: &str, value: Option<&str>) -> Cell {
    let value = value.map_or(Value::Null, |text| Value::Text(text.into()));
    Cell { column: column.into(), type_name: "text".into(), value }
}

/// `set column = after` on the row of that id.
fn update(id: &str, column: &str, before: Option<&str>, after: Option<&str>) -> Change {
    Change {
        operation: Operation::Update,
        key: vec![cell("id", Some(id))],
        before: vec![cell(column, before)],
        conflict: None,
        after: vec![cell(column, after)],
    }
}
