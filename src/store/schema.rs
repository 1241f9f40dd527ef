//! The store's versions, and the way from one to the next.

use std::sync::Arc;

use super::{
    StoreError,
    backend::{Database, Fault, execute, number, rows, text, values},
    moves::unreadable,
};
use crate::types::{Digest, StoreId};

/// The texts, in order: the first makes version 1. A text that was released never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
];

/// Brings the store to the newest version, in one transaction; of several processes one does it and the others find it done.
pub(super) async fn migrate(database: &Database) -> Result<(), Fault> {
    let mut work = database.begin().await?;
    work.migrate_alone().await?;
    execute(work.connection(), "CREATE TABLE IF NOT EXISTS store_versions (version BIGINT NOT NULL PRIMARY KEY)", values![]).await?;
    let found = rows(work.connection(), "SELECT COALESCE(MAX(version), 0) AS version FROM store_versions", values![]).await?;
    let found = found.first().map_or(Ok(0), |row| number(row, "version"))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known }.into());
    }
    for (version, text) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        work.script(text).await?;
        execute(work.connection(), "INSERT INTO store_versions (version) VALUES ($1)", values![version]).await?;
    }
    work.commit().await
}

/// What tells this store from every other, made when it is first asked for.
pub(super) async fn id(database: Arc<Database>, random: [u8; 32]) -> Result<StoreId, Fault> {
    let kept = kept_secret(database, "deployment", random).await?;
    Ok(StoreId(kept.first_chunk().copied().map_or(0, u64::from_be_bytes)))
}

/// The value that is kept under this name, which is `random` from now on where there was none.
pub(super) async fn kept_secret(database: Arc<Database>, name: &'static str, random: [u8; 32]) -> Result<[u8; 32], Fault> {
    let mut work = database.begin().await?;
    let keep = "INSERT INTO store_secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    execute(work.connection(), keep, values![name, Digest(random).to_string()]).await?;
    let found = rows(work.connection(), "SELECT value FROM store_secrets WHERE name = $1", values![name]).await?;
    let value = found.first().map(|row| text(row, "value")).transpose()?.and_then(|value| value.parse::<Digest>().ok());
    work.commit().await?;
    value.map(|value| value.0).ok_or_else(|| unreadable("a kept secret"))
}
