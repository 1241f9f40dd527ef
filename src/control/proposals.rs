//! `/v1/control/proposals`: what reviewers read and decide.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    decide::{DecisionAnswer, DecisionBody, decide},
    failure::Failure,
    guard::Caller,
    input::{Body, Query, proposal_id},
    key::Scope,
    server::Shared,
    view::{ProposalDetail, ProposalSummary, detail, summary},
};
use crate::{
    proposal::{Decision, Status},
    store::{Filter, PageRequest},
};

/// Which proposals, and how many.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the parameters; `Query` reads them")]
struct ListParams {
    /// One or more statuses, comma-separated; default `pending`, what waits for a decision. `any` for all.
    status: Option<String>,
    /// Proposed by this agent.
    agent: Option<String>,
    /// On rows of this tenant.
    tenant: Option<String>,
    /// On this source.
    source: Option<String>,
    /// `schema.relation` or the bare name, as agents know it.
    relation: Option<String>,
    /// With this text in its content.
    text: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// 1 to 200; default 50.
    limit: Option<u32>,
}

/// A page of proposals, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProposalPage {
    /// Always true.
    pub ok: bool,
    /// The proposals.
    pub proposals: Vec<ProposalSummary>,
    /// The cursor of the next page; null after the last.
    pub next: Option<String>,
    /// Stored proposals of this range whose content cannot be read.
    pub malformed: Vec<String>,
}

/// One proposal.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProposalAnswer {
    /// Always true.
    pub ok: bool,
    /// The proposal.
    pub proposal: ProposalDetail,
}

/// List proposals, newest first.
#[utoipa::path(get, path = "/v1/control/proposals", tag = "proposals", params(ListParams), security(("key" = ["proposals:read"])),
    responses((status = 200, body = ProposalPage)))]
pub(super) async fn list(State(shared): State<Shared>, caller: Caller, RawQuery(query): RawQuery) -> Result<Json<ProposalPage>, Failure> {
    caller.require(&[Scope::ProposalsRead])?;
    let query = Query::of(query.as_deref());
    query.only(&["status", "agent", "tenant", "source", "relation", "text", "cursor", "limit"])?;
    let filter = Filter {
        statuses: match query.text("status") {
            None => vec![Status::Pending],
            Some("any") => Vec::new(),
            Some(given) => statuses(Some(given))?,
        },
        agent: query.parsed("agent", "an agent's name")?,
        acting: None,
        tenant: query.parsed("tenant", "a tenant")?,
        sources: query.parsed("source", "a source's name")?.into_iter().collect(),
        relation: query.text("relation").map(Into::into),
        text: query.text("text").map(Into::into),
    };
    let limit: u32 = query.parsed("limit", "a whole number")?.unwrap_or(50);
    let page = PageRequest { limit: limit.clamp(1, 200), cursor: query.text("cursor").map(Into::into), ..PageRequest::default() };
    let page = shared.api.store.list(&filter, &page).await?;
    let now = shared.now();
    Ok(Json(ProposalPage {
        ok: true,
        proposals: page.records.iter().map(|record| summary(record, now)).collect(),
        next: page.next.map(Into::into),
        malformed: page.malformed.iter().map(ToString::to_string).collect(),
    }))
}

pub(super) fn statuses(text: Option<&str>) -> Result<Vec<Status>, Failure> {
    let known = || Status::ALL.map(Status::word).join(", ");
    let words = text.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|()| Failure::bad_request(format!("`status` is none of {}", known())))).collect()
}

/// One proposal, whole.
#[utoipa::path(get, path = "/v1/control/proposals/{id}", tag = "proposals", params(("id" = String, Path)), security(("key" = ["proposals:read"])),
    responses((status = 200, body = ProposalAnswer)))]
pub(super) async fn show(State(shared): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<ProposalAnswer>, Failure> {
    caller.require(&[Scope::ProposalsRead])?;
    let id = proposal_id(&id)?;
    let api = &shared.api;
    let record = shared.record(id).await?;
    let events = api.store.events(id).await?;
    Ok(Json(ProposalAnswer { ok: true, proposal: detail(&record, &events, &api.policy.load(), api.store.id(), shared.now()) }))
}

/// Approve a proposal. The same decision again changes nothing.
#[utoipa::path(post, path = "/v1/control/proposals/{id}/approve", tag = "proposals", params(("id" = String, Path)), request_body = DecisionBody,
    security(("key" = ["proposals:approve"])), responses((status = 200, body = DecisionAnswer)))]
pub(super) async fn approve(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Json<DecisionAnswer>, Failure> {
    decide(&shared, &caller, proposal_id(&id)?, Decision::Approve, body, true).await
}

/// Reject a proposal. One rejection is enough.
#[utoipa::path(post, path = "/v1/control/proposals/{id}/reject", tag = "proposals", params(("id" = String, Path)), request_body = DecisionBody,
    security(("key" = ["proposals:approve"])), responses((status = 200, body = DecisionAnswer)))]
pub(super) async fn reject(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Json<DecisionAnswer>, Failure> {
    decide(&shared, &caller, proposal_id(&id)?, Decision::Reject, body, true).await
}

/// Take a pending or approved proposal back, until a worker has begun. For reviewers who may decide on it, and for the
/// proposer's own; signed by those who have a key. The digest may be left out.
#[utoipa::path(post, path = "/v1/control/proposals/{id}/cancel", tag = "proposals", params(("id" = String, Path)), request_body = DecisionBody,
    security(("key" = ["proposals:approve"])), responses((status = 200, body = DecisionAnswer)))]
pub(super) async fn cancel(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<DecisionBody>,
) -> Result<Json<DecisionAnswer>, Failure> {
    decide(&shared, &caller, proposal_id(&id)?, Decision::Cancel, body, false).await
}
