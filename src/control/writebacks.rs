//! `/v1/control/external-writebacks`: the contract of workers that are not ours. They poll approved proposals, apply them with
//! their own SQL and report. Names and shapes are theirs; `docs/PROPOSALS.md` tells them.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue};
use utoipa::ToSchema;

use super::{
    decide::{DecisionAnswer, DecisionBody, decide},
    failure::Failure,
    guard::Caller,
    input::{Body, Query, proposal_id},
    key::Scope,
    proposals::statuses,
    server::Shared,
    sources::{source_id, source_of_id},
    view::moment,
};
use crate::{
    policy::{AppliedBy, PolicySet},
    proposal::{Cell, Decision, Outcome, RowChange, Status, Target, Value},
    store::{Filter, Holder, PageRequest, Record, Report},
    types::{ProposalId, SourceName},
};

/// The longest error or metadata that a report may carry. Unit: bytes.
const LONGEST_NOTE: usize = 16 * 1024;

/// Which proposals.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the parameters; `Query` reads them")]
struct PollParams {
    /// `src_…`; default every source.
    source_id: Option<String>,
    /// Taken and not looked at: one pgwicket is one project.
    project_id: Option<String>,
    /// One or more statuses, comma-separated; default `approved`.
    status: Option<String>,
    /// `true`: this worker applies all items of one proposal in one transaction. Others get no proposal of several rows.
    transactions: Option<bool>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Proposals, 1 to 200; default 100. A page of large ones is shorter.
    limit: Option<u32>,
    /// How long a worker's key holds what it gets, in seconds; 1 to 3600, default 300.
    lease: Option<u64>,
}

/// Row changes to apply, oldest proposal of the page last.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changes {
    ok: bool,
    proposals: Vec<ChangeItem>,
    /// The cursor of the next page; null after the last.
    next: Option<String>,
    /// Approved proposals that are not handed out: the policy in force does not accept their approvals, or they are of several rows
    /// and this worker does not say that it applies them in one transaction.
    withheld: Vec<Withheld>,
}

/// A proposal that is not handed out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Withheld {
    proposal_id: String,
    reason: String,
}

/// One row change. All items of one `proposal_id` belong into one transaction and one report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeItem {
    proposal_id: String,
    status: String,
    /// 0 and up, in the order of the proposal.
    change_index: usize,
    /// How many items the proposal has.
    change_count: usize,
    source_id: String,
    /// `postgres`
    source_kind: &'static str,
    /// `insert`, `update`, `delete`
    operation: &'static str,
    /// Schema in the source.
    external_schema: String,
    /// Table in the source.
    external_table: String,
    /// New values by column, in their text form or null. A column under `defaults` is not among them.
    #[schema(value_type = Object)]
    changes: Map<String, JsonValue>,
    /// The row's primary key.
    #[schema(value_type = Object)]
    primary_key: Map<String, JsonValue>,
    /// Null for a relation without tenants.
    tenant_column: Option<String>,
    /// The tenant whose row it is, or will be: a guard for updates and deletes, a value for inserts.
    tenant_id: Option<String>,
    /// The column that changes with every update of a row.
    conflict_column: Option<String>,
    /// Its value as it was read; empty without a conflict column.
    #[schema(value_type = Object)]
    conflict: Map<String, JsonValue>,
    /// Every column that a statement of this item may name: those of `changes` and `defaults`, and the guards.
    allowed_columns: Vec<String>,
    /// Of these the ones that say which row is meant, and are never written by an update: key, tenant, conflict column.
    guard_columns: Vec<String>,
    /// The same for every attempt at this change; different for each change.
    idempotency_key: String,
    /// Values as they were read: a guard, NULL-safe.
    #[schema(value_type = Object)]
    before: Map<String, JsonValue>,
    /// Type of each column above, as the source names it.
    #[schema(value_type = Object)]
    types: Map<String, JsonValue>,
    /// Columns that get their own default.
    defaults: Vec<String>,
    /// SHA-256 of the approved content.
    digest: String,
    evidence_id: String,
    /// When it was approved.
    approved_at: Option<String>,
}

/// How applying a proposal ended.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ApplyResult {
    /// `applied`, `conflict`, `failed`
    status: String,
    /// As the item had it.
    idempotency_key: Option<String>,
    /// What the source said of the commit.
    external_commit_metadata: Option<CommitMetadata>,
    /// Why it failed or what conflicted: text or an object.
    #[schema(value_type = Option<Object>)]
    error: Option<JsonValue>,
}

/// What the source said of the commit, and anything else.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct CommitMetadata {
    /// Rows that were changed.
    affected_rows: Option<u64>,
    /// What was done.
    operation: Option<String>,
    /// Anything else the worker wants to be kept.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    other: Map<String, JsonValue>,
}

/// What is known of the proposal now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Known {
    ok: bool,
    proposal_id: String,
    status: String,
    /// Whether this report was the first.
    recorded: bool,
}

/// Row changes of approved proposals. To a worker's key they are handed out: it holds each for `lease` seconds, or until it
/// reports, and no other worker gets it meanwhile. It gets what it holds again.
#[utoipa::path(get, path = "/v1/control/external-writebacks/proposals", tag = "external-writebacks", params(PollParams),
    security(("key" = ["worker"]), ("key" = ["proposals:read"])), responses((status = 200, body = Changes)))]
pub(super) async fn poll(State(shared): State<Shared>, caller: Caller, RawQuery(query): RawQuery) -> Result<Json<Changes>, Failure> {
    caller.require(&[Scope::Worker, Scope::ProposalsRead])?;
    let query = Query::of(query.as_deref());
    let api = &shared.api;
    let policy = api.policy.load_full();
    let source = query.text("source_id").map(|id| source_of_id(&policy, id)).transpose()?.map(|source| &source.name);
    let mut statuses = match statuses(query.text("status"))? {
        given if given.is_empty() => vec![Status::Approved],
        given => given,
    };
    // Who may read proposals anyway reads them all, and holds none.
    let worker = !caller.has(Scope::ProposalsRead);
    let sources = if worker { workers_sources(&caller, &policy, source)? } else { source.cloned().into_iter().collect() };
    let lease: u64 = query.parsed("lease", "a whole number of seconds")?.unwrap_or(300);
    if worker {
        if statuses != [Status::Approved] {
            let message = "a worker's key reads what is approved, and nothing else; reading more takes the scope proposals:read";
            return Err(Failure::forbidden("SCOPE_MISSING", message));
        }
        // What it holds already is among these.
        statuses.push(Status::Applying);
    }
    let filter = Filter { statuses, sources, ..Filter::default() };
    let limit: u32 = query.parsed("limit", "a whole number")?.unwrap_or(100);
    let page = PageRequest { limit: limit.clamp(1, 200), cursor: query.text("cursor").map(Into::into), ..PageRequest::default() };
    let page = api.store.list(&filter, &page).await?;
    let now = shared.now();
    let occasion = policy.occasion(api.store.id(), now);
    let in_transactions: bool = query.parsed("transactions", "true or false")?.unwrap_or(false);
    let (mut proposals, mut withheld) = (Vec::new(), Vec::new());
    for record in page.records {
        let approved = policy.approved(&record.content, &record.approvals, &occasion);
        match approved {
            Err(why) if record.status == Status::Approved => {
                withheld.push(Withheld { proposal_id: record.id().to_string(), reason: why.to_string() });
            }
            Ok(()) if record.content.proposal().changes.len() > 1 && !in_transactions => {
                let reason =
                    "it has several rows, which belong into one transaction: ask with transactions=true when this worker does that";
                withheld.push(Withheld { proposal_id: record.id().to_string(), reason: reason.to_owned() });
            }
            Ok(()) if worker => {
                let lease = Duration::from_secs(lease.clamp(1, 3600));
                if let Some(claim) = api.store.take(record.id(), caller.id(), lease, now).await? {
                    proposals.extend(items(&claim.record, Status::Approved));
                }
            }
            Err(_) if worker => {}
            Ok(()) | Err(_) => proposals.extend(items(&record, record.status_at(now))),
        }
    }
    Ok(Json(Changes { ok: true, proposals, next: page.next.map(Into::into), withheld }))
}

/// The sources whose approved changes a worker's key gets: its own, as far as the policy leaves them to workers of others.
fn workers_sources(caller: &Caller, policy: &PolicySet, asked: Option<&SourceName>) -> Result<Vec<SourceName>, Failure> {
    if let Some(asked) = asked {
        may_apply(caller, policy, asked)?;
        return Ok(vec![asked.clone()]);
    }
    let own: Vec<SourceName> = caller.sources().iter().filter(|source| may_apply(caller, policy, source).is_ok()).cloned().collect();
    match (own.is_empty(), caller.sources().first()) {
        (false, _) => Ok(own),
        (true, Some(source)) => may_apply(caller, policy, source).map(|()| own),
        (true, None) => Err(Failure::forbidden(
            "SOURCE_NOT_THIS_KEYS",
            "this key is for no source; make one with `pgwicket keys create --scope worker --source NAME`",
        )),
    }
}

/// Refuses a key that is for other sources, and a source that `pgwicket worker` applies to.
fn may_apply(caller: &Caller, policy: &PolicySet, source: &SourceName) -> Result<(), Failure> {
    if !caller.sources().contains(source) {
        return Err(Failure::forbidden("SOURCE_NOT_THIS_KEYS", "this key is for other sources"));
    }
    match policy.sources.get(source).map(|source| source.worker) {
        Some(AppliedBy::External) => Ok(()),
        Some(AppliedBy::Ours) => {
            let message =
                format!("`pgwicket worker` applies what is approved for {source}: `worker: external` of the source says otherwise");
            Err(Failure::conflict("APPLIED_BY_OURS", message))
        }
        None => Err(Failure::not_found("the policy has no such source")),
    }
}

/// Approve, as `/v1/control/proposals/{id}/approve`; the digest may be left out.
#[utoipa::path(post, path = "/v1/control/external-writebacks/proposals/{proposal_id}/approve", tag = "external-writebacks",
    params(("proposal_id" = String, Path)), request_body = DecisionBody, security(("key" = ["proposals:approve"])),
    responses((status = 200, body = DecisionAnswer)))]
pub(super) async fn approve(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Json<DecisionAnswer>, Failure> {
    decide(&shared, &caller, proposal_id(&id)?, Decision::Approve, body, false).await
}

/// Reject, as `/v1/control/proposals/{id}/reject`; the digest may be left out.
#[utoipa::path(post, path = "/v1/control/external-writebacks/proposals/{proposal_id}/reject", tag = "external-writebacks",
    params(("proposal_id" = String, Path)), request_body = DecisionBody, security(("key" = ["proposals:approve"])),
    responses((status = 200, body = DecisionAnswer)))]
pub(super) async fn reject(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Json<DecisionAnswer>, Failure> {
    decide(&shared, &caller, proposal_id(&id)?, Decision::Reject, body, false).await
}

/// Report how applying a proposal ended. The same report again changes nothing; another outcome is refused.
#[utoipa::path(post, path = "/v1/control/external-writebacks/proposals/{proposal_id}/apply-result", tag = "external-writebacks",
    params(("proposal_id" = String, Path)), request_body = ApplyResult, security(("key" = ["worker"])),
    responses((status = 200, body = Known)))]
pub(super) async fn apply_result(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<ApplyResult>,
) -> Result<Json<Known>, Failure> {
    caller.require(&[Scope::Worker])?;
    let id = proposal_id(&id)?;
    let api = &shared.api;
    let record = shared.record(id).await?;
    let policy = api.policy.load_full();
    may_apply(&caller, &policy, &record.content.proposal().target.source)?;
    let report = report(&caller, &record, body)?;
    let recorded = record.result.is_none();
    let outcome = report.outcome;
    let record = api.store.report(id, Holder::Worker(caller.id().into()), &report, shared.now()).await?;
    tracing::info!(proposal = %id, status = %outcome.status(), recorded, key = caller.id(), "apply result");
    Ok(Json(Known { ok: true, proposal_id: id.to_string(), status: record.status.to_string(), recorded }))
}

fn report(caller: &Caller, record: &Record, body: ApplyResult) -> Result<Report, Failure> {
    let outcome = match body.status.as_str() {
        "applied" => Outcome::Applied,
        "conflict" => Outcome::Conflict,
        "failed" => Outcome::Failed,
        _ => return Err(Failure::bad_request("`status` is none of applied, conflict, failed")),
    };
    let (id, count) = (record.id(), record.content.proposal().changes.len());
    let known = |key: &str| key == id.to_string() || (0..count).any(|index| key == idempotency_key(id, index, count));
    if body.idempotency_key.as_deref().is_some_and(|key| !known(key)) {
        return Err(Failure::conflict("IDEMPOTENCY_KEY_MISMATCH", "`idempotency_key` is not one of this proposal's"));
    }
    let metadata = body.external_commit_metadata;
    let affected_rows = metadata.as_ref().and_then(|metadata| metadata.affected_rows);
    if let Some(rows) = affected_rows.filter(|rows| outcome == Outcome::Applied && *rows != count as u64) {
        let message = format!(
            "{rows} affected rows are reported and the proposal has {count} changes: all of them belong into one transaction and one report"
        );
        return Err(Failure::conflict("AFFECTED_ROWS_MISMATCH", message));
    }
    let error = body.error.and_then(|error| match error {
        JsonValue::Null => None,
        JsonValue::String(text) => Some(text),
        other @ (JsonValue::Bool(_) | JsonValue::Number(_) | JsonValue::Array(_) | JsonValue::Object(_)) => Some(other.to_string()),
    });
    let metadata = metadata.and_then(|metadata| serde_json::to_string(&metadata).ok());
    if [&error, &metadata].into_iter().flatten().any(|text| text.len() > LONGEST_NOTE) {
        return Err(Failure::bad_request(format!("`error` or `external_commit_metadata` is longer than {LONGEST_NOTE} bytes")));
    }
    Ok(Report {
        outcome,
        reporter: format!("{} ({})", caller.name(), caller.id()).into(),
        idempotency_key: body.idempotency_key.map(Into::into),
        affected_rows,
        metadata: metadata.map(Into::into),
        error: error.map(Into::into),
        differences: None,
    })
}

/// The same for every attempt at one change: the proposal's id, with the place of the change when there are several.
fn idempotency_key(id: ProposalId, index: usize, count: usize) -> String {
    if count == 1 { id.to_string() } else { format!("{id}:{index}") }
}

fn items(record: &Record, status: Status) -> Vec<ChangeItem> {
    let proposal = record.content.proposal();
    let target = &proposal.target;
    let digest = record.content.digest().to_string();
    let count = proposal.changes.len();
    let item = |(index, change): (usize, &RowChange)| ChangeItem {
        proposal_id: proposal.id.to_string(),
        status: status.to_string(),
        change_index: index,
        change_count: count,
        source_id: source_id(&target.source),
        source_kind: "postgres",
        operation: change.operation.word(),
        external_schema: target.real_schema.to_string(),
        external_table: target.real_name.to_string(),
        changes: values(change.after.iter().filter(|cell| cell.value != Value::Default)),
        primary_key: values(change.key.iter()),
        tenant_column: target.tenant.as_ref().map(|guard| guard.column.to_string()),
        tenant_id: target.tenant.as_ref().map(|guard| guard.tenant.to_string()),
        conflict_column: change.conflict.as_ref().map(|cell| cell.column.to_string()),
        conflict: values(change.conflict.iter()),
        allowed_columns: allowed_columns(change, target),
        guard_columns: guards(change, target).map(str::to_owned).collect(),
        idempotency_key: idempotency_key(proposal.id, index, count),
        before: values(change.before.iter()),
        types: types(change, record),
        defaults: change.after.iter().filter(|cell| cell.value == Value::Default).map(|cell| cell.column.to_string()).collect(),
        digest: digest.clone(),
        evidence_id: proposal.evidence.to_string(),
        approved_at: record.decided_at.map(moment),
    };
    proposal.changes.iter().enumerate().map(item).collect()
}

/// The columns that say which row is meant.
fn guards<'a>(change: &'a RowChange, target: &'a Target) -> impl Iterator<Item = &'a str> {
    let key = change.key.iter().map(|cell| &*cell.column);
    key.chain(target.tenant.iter().map(|guard| &*guard.column)).chain(change.conflict.iter().map(|cell| &*cell.column))
}

/// Guards first, each column once.
fn allowed_columns(change: &RowChange, target: &Target) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for column in guards(change, target).chain(change.after.iter().map(|cell| &*cell.column)) {
        if !columns.iter().any(|known| known == column) {
            columns.push(column.to_owned());
        }
    }
    columns
}

fn values<'a>(cells: impl Iterator<Item = &'a Cell>) -> Map<String, JsonValue> {
    cells.map(|cell| (cell.column.to_string(), cell.value.text().map_or(JsonValue::Null, JsonValue::from))).collect()
}

fn types(change: &RowChange, record: &Record) -> Map<String, JsonValue> {
    let cells = [&change.key, &change.before, &change.after].into_iter().flatten().chain(&change.conflict);
    let cells = cells.map(|cell| (cell.column.to_string(), JsonValue::from(&*cell.type_name)));
    let tenant = record.content.proposal().target.tenant.as_ref();
    cells.chain(tenant.map(|guard| (guard.column.to_string(), JsonValue::from(&*guard.type_name)))).collect()
}
