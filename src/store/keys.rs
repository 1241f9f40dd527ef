//! API keys, by the hash of their secret.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, any::AnyRow};

use super::{
    ApiKey, NewKey,
    backend::{Database, Fault, execute, number, optional_number, optional_text, rows, text, values},
    moves::unreadable,
};
use crate::types::{Digest, ReviewerName, SourceName};

const COLUMNS: &str = "id, name, scopes, reviewer, sources, created_at, revoked_at";

pub(super) async fn create(database: Arc<Database>, key: Arc<NewKey>, now: i64) -> Result<ApiKey, Fault> {
    let id = id(key.secret_hash);
    let mut work = database.begin().await?;
    execute(
        work.connection(),
        "INSERT INTO api_keys (id, name, scopes, reviewer, secret_hash, created_at, sources) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        values![&*id, &*key.name, key.scopes.join(" "), key.reviewer.as_ref().map(ReviewerName::as_str), key.secret_hash.to_string(), now, names(&key.sources)],
    )
    .await?;
    let stored = by_id(work.connection(), &id).await?;
    work.commit().await?;
    stored.ok_or_else(|| unreadable("an API key"))
}

pub(super) async fn list(database: Arc<Database>) -> Result<Vec<ApiKey>, Fault> {
    let mut connection = database.reader().await?;
    let statement = format!("SELECT {COLUMNS} FROM api_keys ORDER BY created_at DESC, id");
    rows(&mut connection, statement, values![]).await?.iter().map(key).collect()
}

pub(super) async fn by_hash(database: Arc<Database>, secret_hash: Digest) -> Result<Option<ApiKey>, Fault> {
    let mut connection = database.reader().await?;
    let statement = format!("SELECT {COLUMNS} FROM api_keys WHERE secret_hash = $1 AND revoked_at IS NULL");
    rows(&mut connection, statement, values![secret_hash.to_string()]).await?.first().map(key).transpose()
}

pub(super) async fn revoke(database: Arc<Database>, id: Arc<str>, now: i64) -> Result<Option<ApiKey>, Fault> {
    let mut work = database.begin().await?;
    let statement = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    execute(work.connection(), statement, values![&*id, now]).await?;
    let stored = by_id(work.connection(), &id).await?;
    work.commit().await?;
    Ok(stored)
}

async fn by_id(connection: &mut AnyConnection, id: &str) -> Result<Option<ApiKey>, Fault> {
    let statement = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1");
    rows(connection, statement, values![id]).await?.first().map(key).transpose()
}

/// From the hash, by another hash: the same secret is the same key, and the id says nothing about either.
fn id(secret_hash: Digest) -> String {
    let name = Digest(Sha256::new().chain_update("pgwicket key id").chain_update(secret_hash.0).finalize().into()).to_string();
    format!("key_{}", name.get(..16).unwrap_or(&name))
}

/// As a JSON array: a name may have any character but a control one.
fn names(sources: &[SourceName]) -> Option<String> {
    let names: Vec<&str> = sources.iter().map(SourceName::as_str).collect();
    if names.is_empty() { None } else { serde_json::to_string(&names).ok() }
}

fn sources(text: Option<Box<str>>) -> Option<Vec<SourceName>> {
    let Some(text) = text else { return Some(Vec::new()) };
    let names: Vec<String> = serde_json::from_str(&text).ok()?;
    names.into_iter().map(|name| name.parse().ok()).collect()
}

fn key(row: &AnyRow) -> Result<ApiKey, Fault> {
    let reviewer = optional_text(row, "reviewer")?;
    Ok(ApiKey {
        id: text(row, "id")?.into(),
        name: text(row, "name")?.into(),
        scopes: text(row, "scopes")?.split_whitespace().map(Into::into).collect(),
        reviewer: reviewer.map(|name| name.parse()).transpose().ok().ok_or_else(|| unreadable("a reviewer's name"))?,
        sources: sources(optional_text(row, "sources")?).ok_or_else(|| unreadable("the sources of an API key"))?,
        created_at: number(row, "created_at")?,
        revoked_at: optional_number(row, "revoked_at")?,
    })
}
