//! Proposals as JSON, for reviewers and their programs. Values are the text forms of their types; times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use crate::{
    policy::PolicySet,
    proposal::{Approval, Cell, Decider, Decision, RowChange, Value},
    store::{ProposalEvent, Record, Reported},
    types::StoreId,
};

/// A moment as text.
pub(super) fn moment(unix_milliseconds: i64) -> String {
    Timestamp::from_millisecond(unix_milliseconds).map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()).unwrap_or_default()
}

/// A proposal in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProposalSummary {
    /// `prop_…`
    pub proposal_id: String,
    /// `pending`, `approved`, `applying`, `applied`, `conflict`, `failed`, `rejected`, `expired`, `canceled`
    pub status: String,
    /// Who proposes.
    pub agent: String,
    /// The tenant that the agent acts for.
    pub tenant: Option<String>,
    /// The person or program behind the agent, as its token says.
    pub principal: Option<String>,
    /// What else the token says.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The agent's unit of work.
    pub run: Option<String>,
    /// The source by its name in the policy.
    pub source: String,
    /// `schema.relation`, as agents know it.
    pub relation: String,
    /// What the agent wrote: `insert`, `update`, `delete`, `upsert`, `merge`.
    pub verb: String,
    /// How many rows change.
    pub rows: usize,
    /// Why, in the agent's words.
    pub reason: Option<String>,
    /// The evidence of the read that took the before-images.
    pub evidence_id: String,
    /// SHA-256 of the content: what a decision binds to.
    pub digest: String,
    /// Who approved so far.
    pub approved_by: Vec<String>,
    /// Proposals on the same rows.
    pub conflicts_with: Vec<String>,
    /// When it was stored.
    pub created_at: String,
    /// When a pending one expires.
    pub expires_at: String,
    /// Where it was proposed.
    #[serde(default)]
    pub deployment: Option<String>,
    /// The last change.
    pub updated_at: String,
}

/// A proposal with everything that is known of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProposalDetail {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: ProposalSummary,
    /// The stored content, byte for byte: `digest` is its SHA-256.
    pub content: String,
    /// What the agent wrote.
    pub statement: String,
    /// The row changes.
    pub changes: Vec<ChangeView>,
    /// The decisions, oldest first.
    pub approvals: Vec<ApprovalView>,
    /// Who may decide, and how many it takes, under the policy in force; `None` with `not_approvable`.
    pub needs: Option<NeedsView>,
    /// Why nobody may approve it.
    pub not_approvable: Option<String>,
    /// Its moves, oldest first.
    pub events: Vec<EventView>,
    /// How applying it ended.
    pub result: Option<ResultView>,
    /// The settlement rule that approved it.
    pub settled_by: Option<String>,
    /// How often a worker gave it back or lost it.
    pub attempts: u64,
    /// Why the last attempt ended.
    pub last_error: Option<String>,
    /// The worker that holds or last held it.
    pub worker: Option<String>,
    /// The digest of the policy it was made under.
    pub policy_digest: String,
    /// The key the agent gave.
    pub idempotency_key: Option<String>,
}

/// One row, before and after.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// `insert`, `update`, `delete`
    pub operation: String,
    /// Its primary key.
    pub key: Vec<CellView>,
    /// Values as they were read.
    pub before: Vec<CellView>,
    /// The conflict column as it was read.
    pub conflict: Option<CellView>,
    /// New values.
    pub after: Vec<CellView>,
}

/// A column's value.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CellView {
    /// The column.
    pub column: String,
    /// Its type in the source.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The text form, or null.
    pub value: Option<String>,
    /// Whether it is the column's own default, known when it is applied.
    #[serde(default)]
    pub default: bool,
}

/// A decision.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// `approve`, `reject`, `cancel`
    pub decision: String,
    /// The reviewer's, rule's or agent's name.
    pub by: String,
    /// `signature`, `api_key`, `rule`, `proposer`
    pub how: String,
    /// When an approval ends.
    #[serde(default)]
    pub until: Option<String>,
    /// Whether the API key that carried it was revoked since: then it counts for nothing.
    #[serde(default)]
    pub revoked: bool,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: String,
}

/// Who may decide.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NeedsView {
    /// Any of these.
    pub reviewers: Vec<String>,
    /// So many of them.
    pub quorum: usize,
    /// The deployment that a decision is for: what is signed names it.
    pub deployment: String,
    /// The latest end that an approval may have which is made now. Unit: milliseconds since the Unix epoch.
    pub until: i64,
}

/// A move.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// When.
    pub at: String,
    /// Who.
    pub actor: String,
    /// Where it stood.
    pub from: Option<String>,
    /// Where it stands after.
    pub to: String,
    /// Reason or error.
    pub note: Option<String>,
}

/// How applying it ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ResultView {
    /// `applied`, `conflict`, `failed`
    pub status: String,
    /// Who says so.
    pub reporter: String,
    /// Rows that the source changed.
    pub affected_rows: Option<u64>,
    /// What else the reporter said.
    #[schema(value_type = Object)]
    pub metadata: Option<Json>,
    /// The source's error.
    pub error: Option<String>,
    /// What was found instead.
    #[schema(value_type = Object)]
    pub differences: Option<Json>,
    /// When.
    pub at: String,
}

pub(super) fn summary(record: &Record, now: i64) -> ProposalSummary {
    let proposal = record.content.proposal();
    let target = &proposal.target;
    let approving = record.approvals.iter().filter(|approval| approval.decision == Decision::Approve);
    ProposalSummary {
        proposal_id: proposal.id.to_string(),
        status: record.status_at(now).to_string(),
        agent: proposal.proposer.agent.to_string(),
        tenant: proposal.proposer.tenant.as_ref().map(ToString::to_string),
        principal: proposal.proposer.subject.as_ref().map(ToString::to_string),
        attributes: proposal.proposer.attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        run: proposal.run.as_ref().map(ToString::to_string),
        source: target.source.to_string(),
        relation: format!("{}.{}", target.schema, target.relation),
        verb: proposal.verb.to_string(),
        rows: proposal.changes.len(),
        reason: proposal.reason.as_ref().map(ToString::to_string),
        evidence_id: proposal.evidence.to_string(),
        digest: record.content.digest().to_string(),
        approved_by: approving.map(by).collect(),
        conflicts_with: record.conflicts_with.iter().map(ToString::to_string).collect(),
        created_at: moment(proposal.created_at),
        expires_at: moment(proposal.expires_at),
        deployment: proposal.deployment.as_ref().map(ToString::to_string),
        updated_at: moment(record.updated_at),
    }
}

pub(super) fn detail(record: &Record, events: &[ProposalEvent], policy: &PolicySet, store: StoreId, now: i64) -> ProposalDetail {
    let proposal = record.content.proposal();
    let needs = policy.approvals_needed(proposal);
    ProposalDetail {
        summary: summary(record, now),
        content: record.content.text().to_owned(),
        statement: proposal.statement.to_string(),
        changes: proposal.changes.iter().map(change).collect(),
        approvals: record.approvals.iter().map(approval).collect(),
        not_approvable: needs.as_ref().err().map(ToString::to_string),
        needs: needs.ok().map(|needs| NeedsView {
            reviewers: needs.reviewers.iter().map(ToString::to_string).collect(),
            quorum: needs.quorum,
            deployment: policy.occasion(store, now).deployment.to_string(),
            until: policy.latest_end(now),
        }),
        events: events.iter().map(event).collect(),
        result: record.result.as_ref().map(result),
        settled_by: record.settled_by.as_ref().map(ToString::to_string),
        attempts: record.attempts,
        last_error: record.last_error.as_ref().map(ToString::to_string),
        worker: record.worker.as_ref().map(ToString::to_string),
        policy_digest: proposal.policy.to_string(),
        idempotency_key: proposal.idempotency_key.as_ref().map(ToString::to_string),
    }
}

fn change(change: &RowChange) -> ChangeView {
    let cells = |cells: &[Cell]| cells.iter().map(cell).collect();
    ChangeView {
        operation: change.operation.to_string(),
        key: cells(&change.key),
        before: cells(&change.before),
        conflict: change.conflict.as_ref().map(cell),
        after: cells(&change.after),
    }
}

fn cell(cell: &Cell) -> CellView {
    CellView {
        column: cell.column.to_string(),
        type_name: cell.type_name.to_string(),
        value: cell.value.text().map(str::to_owned),
        default: cell.value == Value::Default,
    }
}

fn by(approval: &Approval) -> String {
    match &approval.decider {
        Decider::Signature { reviewer, .. } | Decider::ApiKey { reviewer, .. } => reviewer.to_string(),
        Decider::Rule { rule } => format!("rule {rule}"),
        Decider::Proposer { agent } => format!("agent {agent}"),
    }
}

fn approval(approval: &Approval) -> ApprovalView {
    let how = match approval.decider {
        Decider::Signature { .. } => "signature",
        Decider::ApiKey { .. } => "api_key",
        Decider::Rule { .. } => "rule",
        Decider::Proposer { .. } => "proposer",
    };
    ApprovalView {
        decision: approval.decision.word().to_owned(),
        by: by(approval),
        how: how.to_owned(),
        reason: approval.reason.as_ref().map(ToString::to_string),
        at: moment(approval.at),
        until: approval.until.map(moment),
        revoked: approval.revoked,
    }
}

fn event(event: &ProposalEvent) -> EventView {
    EventView {
        at: moment(event.at),
        actor: event.actor.to_string(),
        from: event.from.map(|status| status.to_string()),
        to: event.to.to_string(),
        note: event.note.as_ref().map(ToString::to_string),
    }
}

fn result(reported: &Reported) -> ResultView {
    let report = &reported.report;
    // What does not read as JSON is shown as text.
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_not_json| Json::from(text));
    ResultView {
        status: report.outcome.status().to_string(),
        reporter: report.reporter.to_string(),
        affected_rows: report.affected_rows,
        metadata: report.metadata.as_deref().map(json),
        error: report.error.as_ref().map(ToString::to_string),
        differences: report.differences.as_deref().map(json),
        at: moment(reported.at),
    }
}
