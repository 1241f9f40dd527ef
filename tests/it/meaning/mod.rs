//! Writes mean what PostgreSQL means: a statement that runs as a plain role on a tenant-only copy, and is taken back, leaves what the same
//! statement leaves that is proposed, approved and applied; or both are refused with one SQLSTATE.

mod cases;
mod generated;
mod statements;

use std::{path::PathBuf, time::Duration};

use pgwicket::{
    policy::{ApprovalRule, Occasion, PolicySet, Reviewer, SourceTls},
    proposal::{Approval, Decider, Decision, Operation},
    source::{Applier, ApplyOptions, Divergence, Ending, SourceAddress, migration},
    store::{Location, Store},
    types::{ProposalId, Secret},
};
use serde_json::Value as Json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{AGENT, Cluster, Database, Pgwicket, governed::policy_at, repository, run};

/// Tables, their columns that are put back, and those that are compared.
const TABLES: [(&str, &str, &str); 7] = [
    ("cat", "id, tenant_id, name", "id, name"),
    ("uniq", "id, tenant_id, n, code, active, email, note, kind, pad", "id, n, code, active, email, note, kind, pad"),
    // What a sequence gives is not compared: it goes on in both places.
    ("slugs", "id, tenant_id, slug, cat_id, val", "tenant_id, slug, cat_id, val, up, id is null"),
    ("acct", "id, tenant_id, tag, nd, val, arr, jb", "case when id < 100000 then id end, tag, nd, val, arr, jb"),
    ("def", "id, tenant_id, d, val, par", "id, d, val, par"),
    ("book", "id, tenant_id, during, val", "id, during, val"),
    ("items", "id, tenant_id, price, secret, name", "id, price, secret, name"),
];

/// The policy's relations; `b` stands for the worker's schema.
const RELATIONS: &str = "
      cat: { from: b.cat, tenant_column: tenant_id, columns: [id, name], evidence: digest, writes: { update: [name], insert: [id, name], delete: true, max_rows: 50 } }
      uniq: { from: b.uniq, tenant_column: tenant_id, columns: [id, n, code, active, email, note, kind, pad], evidence: digest,
        writes: { update: [n, code, active, email, note, kind, pad], insert: [id, n, code, active, email, note, kind, pad], delete: true, max_rows: 50 } }
      slugs: { from: b.slugs, tenant_column: tenant_id, columns: [id, tenant_id, slug, cat_id, val, up], evidence: digest,
        writes: { update: [id, cat_id, val, up], insert: [id, slug, cat_id, val, up], delete: true, max_rows: 50 } }
      acct: { from: b.acct, tenant_column: tenant_id, columns: [id, tag, nd, val, arr, jb], evidence: digest,
        writes: { update: [tag, nd, val, arr, jb], insert: [id, tag, nd, val, arr, jb], delete: true, max_rows: 50 } }
      def: { from: b.def, tenant_column: tenant_id, columns: [id, d, val, par], evidence: digest,
        writes: { update: [d, val, par], insert: [id, d, val, par], delete: true, max_rows: 50 } }
      book: { from: b.book, tenant_column: tenant_id, columns: [id, during, val], evidence: digest, writes: { update: [during, val], insert: [id, during, val], delete: true, max_rows: 50 } }
      gen: { from: b.gen, tenant_column: tenant_id, columns: [id, code, kind, up], evidence: digest, writes: { update: [code, kind] } }
      trig: { from: b.trig, tenant_column: tenant_id, columns: [id, code], evidence: digest, writes: { update: [code] } }
      loose: { from: b.items, tenant_column: tenant_id, columns: [id, price, secret, name], where: \"secret is not null and price < 1000\", evidence: digest,
        writes: { update: [price], check: none } }
      items: { from: b.items, tenant_column: tenant_id, columns: [id, price, secret, name], where: \"secret is not null and price < 1000\", evidence: digest,
        writes: { update: [price, secret, name], insert: [id, price, secret, name], delete: true, max_rows: 50 } }
";

/// A source, a copy of one tenant, and pgwicket over the source.
struct Place {
    source: Database,
    copy: Database,
    pgwicket: Pgwicket,
    policy: PolicySet,
    store: PathBuf,
}

/// What became of a statement.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    /// The rows of its table.
    Rows(Vec<String>),
    /// SQLSTATE and message.
    Refused(String, String),
}

impl Outcome {
    fn code(&self) -> Option<&str> {
        match self {
            Self::Rows(_) => None,
            Self::Refused(code, _) => Some(code),
        }
    }
}

impl Place {
    fn start(workers: usize) -> Self {
        // The cluster's roles come with the support desk.
        let (_desk, _copy) = (Cluster::desk(), Cluster::tenant_copy());
        let [source, copy] = ["source", "copy"].map(|side| {
            let database = Cluster::fresh(&format!("meaning_{side}"));
            let variables = ["-v".to_owned(), format!("side={side}"), "-v".to_owned(), format!("workers={workers}")];
            run(database.psql().arg("-q").args(variables).arg("-f").arg(repository("tests/it/meaning/schema.sql"))).ok();
            database
        });
        source.sql(&migration("public", Some("postgres")));
        let text = policy(workers);
        let pgwicket = Pgwicket::start_with(&source, &text);
        let mut policy = policy_at(&source, &pgwicket.policies());
        let ana = || "ana".parse().unwrap();
        policy.reviewers.insert(ana(), Reviewer { name: ana(), key: None, agents: Vec::new(), principals: Vec::new() }.into());
        policy.approvals.push(ApprovalRule {
            relations: (0..workers).map(|worker| format!("w{worker}.*").into()).collect(),
            operations: vec![Operation::Insert, Operation::Update, Operation::Delete],
            reviewers: vec![ana()],
            quorum: 1,
        });
        let store = pgwicket.store();
        Self { source, copy, pgwicket, policy, store }
    }
}

fn policy(workers: usize) -> String {
    const SOURCE: &str = "{ kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable, allow_writable_credential: true }";
    let schemas = (0..workers).map(|worker| {
        let relations = RELATIONS.replace(" b.", &format!(" b{worker}."));
        format!("  w{worker}:\n    source: app_postgres\n    relations:{relations}")
    });
    let agents = (0..workers).map(|worker| {
        format!("  agent_{worker}: {{ auth: {{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }}, tenant: acme, schemas: [w{worker}] }}\n")
    });
    let (schemas, agents) = (schemas.collect::<Vec<_>>().concat(), agents.collect::<Vec<_>>().concat());
    format!("sources: {{ app_postgres: {SOURCE} }}\nschemas:\n{schemas}agents:\n{agents}")
}

/// A worker's connections.
struct Worker<'a> {
    place: &'a Place,
    number: usize,
    copy: Client,
    agent: Client,
    owner: Client,
    applier: Applier,
    store: Store,
}

impl<'a> Worker<'a> {
    async fn connect(place: &'a Place, number: usize) -> Self {
        let copy = place.copy.login(AGENT).connect().await;
        copy.batch_execute(&format!("set search_path = w{number}, public; set datestyle = iso; set default_transaction_read_only = off"))
            .await
            .unwrap();
        let (owner, connection) = tokio_postgres::connect(&place.source.socket_url("postgres"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        owner.batch_execute(&format!("set session_replication_role = replica; set search_path = b{number}, public")).await.unwrap();
        let url = Secret::new(place.source.socket_url("postgres"));
        let address = SourceAddress {
            url: &url,
            tls: SourceTls::Disable,
            root_certificates: None,
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(30),
        };
        let options =
            ApplyOptions { receipts_schema: "public".into(), worker: format!("m{number}").into(), limit: Duration::from_secs(20) };
        Self {
            place,
            number,
            copy,
            agent: place.pgwicket.login_as(&format!("agent_{number}")).connect().await,
            owner,
            applier: Applier::new(&address, options).unwrap(),
            store: Store::open(&Location::Sqlite(place.store.clone())).await.unwrap(),
        }
    }

    /// What PostgreSQL makes of it, and what pgwicket does.
    async fn both(&mut self, table: &str, text: &str) -> (Outcome, Outcome) {
        (self.reference(table, text).await, self.through(table, text).await)
    }

    async fn reference(&self, table: &str, text: &str) -> Outcome {
        self.copy.batch_execute("begin").await.unwrap();
        let run = async {
            self.copy.simple_query(text).await?;
            self.copy.batch_execute("set constraints all immediate").await
        };
        let outcome = match run.await {
            Ok(()) => self.rows(table, &self.copy).await,
            Err(error) => refused(&error),
        };
        self.copy.batch_execute("rollback").await.unwrap();
        outcome
    }

    /// The proposal that a statement becomes.
    async fn proposed(&self, text: &str) -> ProposalId {
        let error = self.agent.simple_query(text).await.unwrap_err();
        let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_else(|| panic!("{text}: {error}"));
        serde_json::from_str::<Json>(detail).unwrap()["proposal_id"].as_str().unwrap().parse().unwrap()
    }

    async fn through(&mut self, table: &str, text: &str) -> Outcome {
        let Err(error) = self.agent.simple_query(text).await else { panic!("it was executed: {text}") };
        let stored = error.as_db_error().and_then(|error| error.detail()).filter(|detail| detail.starts_with('{'));
        let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
        match (&*code, stored) {
            ("P0002", _) => self.rows(table, &self.owner).await,
            ("25006", Some(detail)) => {
                let detail: Json = serde_json::from_str(detail).unwrap();
                self.apply(table, detail["proposal_id"].as_str().unwrap().parse().unwrap()).await
            }
            (_, _) => refused(&error),
        }
    }

    async fn apply(&mut self, table: &str, id: ProposalId) -> Outcome {
        let content = self.store.proposal(id).await.unwrap().unwrap().content;
        self.agent.batch_execute(&format!("delete from pgwicket.proposals where proposal_id = '{id}'")).await.unwrap();
        let decider = Decider::ApiKey { reviewer: "ana".parse().unwrap(), key: "key_1".into() };
        let proposal = content.proposal();
        let occasion = Occasion { deployment: proposal.deployment.clone().unwrap(), now: proposal.created_at };
        let (digest, at) = (content.digest(), occasion.now);
        let approval = Approval { decision: Decision::Approve, decider, digest, reason: None, at, until: None, revoked: false };
        let change = match self.place.policy.permit(content, &[approval], &occasion) {
            Ok(change) => change,
            Err(error) => return Outcome::Refused("permit".to_owned(), error.to_string()),
        };
        match self.applier.apply(&change).await.unwrap() {
            Ending::Applied { .. } => {
                let rows = self.rows(table, &self.owner).await;
                self.put_back(table).await;
                rows
            }
            Ending::Conflict { differences } if differences.iter().all(|found| found.what == Divergence::Taken) => {
                Outcome::Refused("23505".to_owned(), "taken".to_owned())
            }
            Ending::Conflict { differences } => Outcome::Refused("conflict".to_owned(), format!("{differences:?}")),
            Ending::Failed(failure) => {
                let words = format!("{}: {}", failure.reason, failure.source_message.as_deref().unwrap_or_default());
                Outcome::Refused(failure.sqlstate.as_deref().unwrap_or("failed").to_owned(), words)
            }
        }
    }

    async fn put_back(&self, table: &str) {
        let (_, columns, _) = TABLES.into_iter().find(|(name, ..)| *name == table).unwrap();
        let number = self.number;
        let text = format!(
            "begin; delete from {table}; insert into {table} ({columns}) overriding system value select {columns} from k{number}.{table}; commit"
        );
        self.owner.batch_execute(&text).await.unwrap();
    }

    /// The agent's rows.
    async fn rows(&self, table: &str, client: &Client) -> Outcome {
        let (_, _, compared) = TABLES.into_iter().find(|(name, ..)| *name == table).unwrap();
        let filter = if table == "items" { " and secret is not null and price < 1000" } else { "" };
        let text = format!("select ({compared})::text as row from {table} where tenant_id = 'acme'{filter} order by 1")
            .replace("select (", "select row(");
        let rows = client.simple_query(&text).await.unwrap();
        Outcome::Rows(
            rows.into_iter()
                .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0).map(str::to_owned) } else { None })
                .collect(),
        )
    }
}

fn refused(error: &tokio_postgres::Error) -> Outcome {
    let database = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    Outcome::Refused(database.code().code().to_owned(), database.message().to_owned())
}
