//! `/v1/control/external-sources`: the sources of the policy. They are made and changed in policy files only.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    failure::{ErrorBody, Failure},
    guard::Caller,
    key::Scope,
    server::Shared,
    status::SourceState,
};
use crate::{
    policy::{PolicySet, Source},
    types::SourceName,
};

/// A source.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceView {
    /// `src_` and the name.
    source_id: String,
    /// Its name in the policy.
    name: String,
    /// `postgres`
    kind: &'static str,
    /// `read-only`
    mode: &'static str,
    /// `reachable`, `unreachable`, `unknown`
    state: &'static str,
    /// Relations that agents may see of it, by alias.
    relations: Vec<String>,
}

/// Every source.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceList {
    ok: bool,
    sources: Vec<SourceView>,
}

/// One source.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceAnswer {
    ok: bool,
    source: SourceView,
}

/// The id of a source.
pub(super) fn source_id(name: &SourceName) -> String {
    format!("src_{name}")
}

/// The source of an id.
pub(super) fn source_of_id<'a>(policy: &'a PolicySet, id: &str) -> Result<&'a Source, Failure> {
    let found = id.strip_prefix("src_").and_then(|name| policy.sources.values().find(|source| source.name.as_str() == name));
    found.map(AsRef::as_ref).ok_or_else(|| Failure::not_found("there is no source of this id: ids are `src_` and the name in the policy"))
}

/// Every source.
#[utoipa::path(get, path = "/v1/control/external-sources", tag = "external-sources",
    security(("key" = ["sources:admin"]), ("key" = ["worker"])), responses((status = 200, body = SourceList)))]
pub(super) async fn list(State(shared): State<Shared>, caller: Caller) -> Result<Json<SourceList>, Failure> {
    caller.require(&[Scope::SourcesAdmin, Scope::Worker])?;
    let policy = shared.api.policy.load_full();
    let shown = policy.sources.values().filter(|source| may_see(&caller, source));
    Ok(Json(SourceList { ok: true, sources: shown.map(|source| view(&shared, &policy, source)).collect() }))
}

/// One source.
#[utoipa::path(get, path = "/v1/control/external-sources/{id}", tag = "external-sources", params(("id" = String, Path)),
    security(("key" = ["sources:admin"]), ("key" = ["worker"])), responses((status = 200, body = SourceAnswer)))]
pub(super) async fn show(State(shared): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<SourceAnswer>, Failure> {
    caller.require(&[Scope::SourcesAdmin, Scope::Worker])?;
    let policy = shared.api.policy.load_full();
    let source = source_of_id(&policy, &id)?;
    if !may_see(&caller, source) {
        return Err(Failure::forbidden("SOURCE_NOT_THIS_KEYS", "this key is for other sources"));
    }
    Ok(Json(SourceAnswer { ok: true, source: view(&shared, &policy, source) }))
}

/// Refused: sources are policy files.
#[utoipa::path(post, path = "/v1/control/external-sources", tag = "external-sources", security(("key" = ["sources:admin"])),
    responses((status = 409, body = ErrorBody)))]
pub(super) async fn create(caller: Caller) -> Result<(), Failure> {
    caller.require(&[Scope::SourcesAdmin])?;
    Err(managed())
}

/// Refused: sources are policy files. `action` is one of test, inspect, import, generate, doctor, disable.
#[utoipa::path(post, path = "/v1/control/external-sources/{id}/{action}", tag = "external-sources",
    params(("id" = String, Path), ("action" = String, Path)), security(("key" = ["sources:admin"])), responses((status = 409, body = ErrorBody)))]
pub(super) async fn act(State(shared): State<Shared>, caller: Caller, Path((id, action)): Path<(String, String)>) -> Result<(), Failure> {
    caller.require(&[Scope::SourcesAdmin])?;
    source_of_id(&shared.api.policy.load_full(), &id)?;
    if !["test", "inspect", "import", "generate", "doctor", "disable"].contains(&action.as_str()) {
        return Err(Failure::not_found("no such action: use one of test, inspect, import, generate, doctor, disable"));
    }
    Err(managed())
}

/// A worker's key sees the sources that it is for.
fn may_see(caller: &Caller, source: &Source) -> bool {
    caller.has(Scope::SourcesAdmin) || caller.sources().contains(&source.name)
}

fn managed() -> Failure {
    let message = "sources are defined by policy files: change the policy, and look at it with `pgwicket policy check --live`";
    Failure::conflict("MANAGED_BY_POLICY", message)
}

fn view(shared: &Shared, policy: &PolicySet, source: &Source) -> SourceView {
    let mut relations: Vec<String> = policy
        .agents
        .values()
        .flat_map(|agent| &agent.schemas)
        .flat_map(|schema| schema.relations.values())
        .filter(|relation| relation.source == source.name)
        .map(|relation| format!("{}.{}", relation.schema, relation.name))
        .collect();
    relations.sort_unstable();
    relations.dedup();
    let state = match shared.status.readiness().sources.get(source.name.as_str()) {
        Some(SourceState::Reachable) => "reachable",
        Some(SourceState::Unreachable) => "unreachable",
        None => "unknown",
    };
    SourceView { source_id: source_id(&source.name), name: source.name.to_string(), kind: "postgres", mode: "read-only", state, relations }
}
