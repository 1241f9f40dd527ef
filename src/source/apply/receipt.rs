//! Receipts: a row in the source for each proposal that was decided there, written in the transaction that applies it.

#![expect(clippy::disallowed_types, reason = "this is the door for writes")]

use tokio_postgres::Client;

use super::{
    Ending, Failure,
    statement::{Statement, quoted},
};
use crate::{
    policy::ApprovedChange,
    proposal::{Content, Outcome, Proposal},
    types::{Digest, ProposalId},
};

/// The outcome of a proposal that was taken back after it was approved.
const CANCELED: &str = "canceled";

/// The receipt table of a source.
#[derive(Debug, Clone)]
pub(super) struct ReceiptTable {
    insert: Box<str>,
    select: Box<str>,
}

/// A receipt.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) digest: String,
    outcome: String,
    rows: u64,
}

/// The schema of the receipt table, where nobody says otherwise: nothing else is in it, and nobody else makes anything there.
pub const RECEIPTS_SCHEMA: &str = "pgwicket_receipts";

/// The DDL of the receipt table in `schema`, for `role`, as `pgwicket worker migration` prints it.
pub fn migration(schema: &str, role: Option<&str>) -> String {
    let table = format!("{}.pgwicket_receipts", quoted(schema));
    let role = role.map_or_else(|| "WORKER_ROLE".to_owned(), quoted);
    let (name, schema) = (schema, quoted(schema));
    let schema_literal = format!("'{}'", name.replace('\'', "''"));
    let literal = format!("'{}'", table.replace('\'', "''"));
    format!(
        "-- pgwicket's receipts: one row for each proposal that a worker decided here, in the transaction that applied it.
-- Run as the schema's owner. {role} is the role that `pgwicket worker` connects as.
-- A table of this name that somebody else has made, or that runs code of its own, is not taken for the receipts.
DO $pgwicket$
BEGIN
    IF {schema_literal} = '{RECEIPTS_SCHEMA}' AND EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = {schema_literal} AND pg_catalog.pg_get_userbyid(n.nspowner) <> current_user) THEN
        RAISE EXCEPTION 'there is a schema % already, which is another''s: look at it and drop it first', {schema_literal};
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({literal}) AND (c.relkind <> 'r' OR c.relhasrules OR c.relhastriggers OR c.relrowsecurity OR pg_catalog.pg_get_userbyid(c.relowner) <> current_user)) THEN
        RAISE EXCEPTION 'there is a relation % already, which is another''s or has triggers, rules or row security: look at it and drop it first', {literal};
    END IF;
END
$pgwicket$;
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {table} (
    idempotency_key text PRIMARY KEY,
    proposal_id text NOT NULL,
    digest text NOT NULL,
    outcome text NOT NULL,
    affected_rows bigint NOT NULL,
    agent text NOT NULL,
    evidence_id text NOT NULL,
    approved_by text NOT NULL,
    worker text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
-- A table that an older pgwicket made knows no canceled ones.
ALTER TABLE {table} DROP CONSTRAINT IF EXISTS pgwicket_receipts_outcome_check;
ALTER TABLE {table} ADD CONSTRAINT pgwicket_receipts_outcome_check CHECK (outcome IN ('applied', 'conflict', 'failed', 'canceled'));
REVOKE ALL ON {table} FROM PUBLIC;
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, INSERT ON {table} TO {role};
"
    )
}

impl ReceiptTable {
    pub(super) fn new(schema: &str) -> Self {
        let table = format!("{}.pgwicket_receipts", quoted(schema));
        Self {
            insert: format!(
                "INSERT INTO {table} (idempotency_key, proposal_id, digest, outcome, affected_rows, agent, evidence_id, approved_by, worker) VALUES ("
            )
            .into(),
            select: format!("SELECT digest, outcome, affected_rows::pg_catalog.text FROM {table} WHERE idempotency_key = ").into(),
        }
    }

    /// Writes the receipt; false when there is one. Waits for another worker that is about to write it.
    pub(super) async fn insert(
        &self,
        client: &Client,
        change: &ApprovedChange,
        outcome: Outcome,
        worker: &str,
    ) -> Result<bool, tokio_postgres::Error> {
        let rows = if outcome == Outcome::Applied { change.proposal().changes.len() } else { 0 };
        self.write(client, (change.proposal(), change.digest()), (outcome.status().word(), rows, change.approved_by()), worker).await
    }

    /// Writes that a proposal is not to be applied any more, since it was canceled; false when there is a receipt of it.
    pub(super) async fn cancel(&self, client: &Client, content: &Content, worker: &str) -> Result<bool, tokio_postgres::Error> {
        self.write(client, (content.proposal(), content.digest()), (CANCELED, 0, ""), worker).await
    }

    async fn write(
        &self,
        client: &Client,
        (proposal, digest): (&Proposal, Digest),
        (outcome, rows, approved_by): (&str, usize, &str),
        worker: &str,
    ) -> Result<bool, tokio_postgres::Error> {
        let (id, digest, evidence) = (proposal.id.to_string(), digest.to_string(), proposal.evidence.to_string());
        let rows = rows.to_string();
        let values = [&id, &id, &digest, outcome, &rows, proposal.proposer.agent.as_str(), &evidence, approved_by, worker];
        let mut statement = Statement::new(&*self.insert);
        for (place, value) in values.into_iter().enumerate() {
            statement.push(if place == 0 { "" } else { ", " }).bind(Some(value));
        }
        statement.push(") ON CONFLICT (idempotency_key) DO NOTHING");
        Ok(statement.execute(client).await? == 1)
    }

    /// The receipt of a proposal.
    pub(super) async fn read(&self, client: &Client, id: ProposalId) -> Result<Option<Receipt>, tokio_postgres::Error> {
        let id = id.to_string();
        let mut statement = Statement::new(&*self.select);
        statement.bind(Some(&id));
        let row = statement.query(client).await?.into_iter().next();
        Ok(row.map(|row| {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || cells.next().unwrap_or_default();
            Receipt { digest: next(), outcome: next(), rows: next().parse().unwrap_or(0) }
        }))
    }
}

impl Receipt {
    /// How the proposal of this digest ended.
    pub(super) fn ending(self, digest: Digest) -> Ending {
        if self.digest != digest.to_string() {
            return Ending::Failed(Failure::other_content());
        }
        match &*self.outcome {
            "applied" => Ending::Applied { rows: self.rows, before: true },
            "conflict" => Ending::Conflict { differences: Vec::new() },
            CANCELED => Ending::Failed(Failure::canceled()),
            _ => Ending::Failed(Failure::earlier()),
        }
    }
}
