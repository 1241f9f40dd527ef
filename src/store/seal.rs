//! Canceled proposals of which the source is to be told, so that an approval that was taken back is worth nothing there either.

use std::sync::Arc;

use super::{
    Record, StoreError,
    backend::{Database, Fault, execute, rows, text, values},
    moves::parsed,
    read,
};
use crate::types::{ProposalId, SourceName};

/// Proposals in one answer.
const BATCH: usize = 20;

pub(super) async fn unsealed(database: Arc<Database>, sources: Arc<[SourceName]>) -> Result<Vec<Record>, Fault> {
    let mut connection = database.reader().await?;
    let mut found = Vec::new();
    for source in &*sources {
        let statement = format!(
            "SELECT id FROM proposals WHERE source = $1 AND status = 'canceled' AND decided_at IS NOT NULL AND sealed_at IS NULL \
             ORDER BY id LIMIT {BATCH}"
        );
        for row in rows(&mut connection, statement, values![source.as_str()]).await? {
            match read::found(&mut connection, parsed(&text(&row, "id")?)?).await {
                Ok(record) => found.push(record),
                // A content that cannot be read is applied by nobody.
                Err(Fault::Store(StoreError::Malformed { .. })) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(found)
}

pub(super) async fn sealed(database: Arc<Database>, id: ProposalId, now: i64) -> Result<(), Fault> {
    let mut work = database.begin().await?;
    execute(work.connection(), "UPDATE proposals SET sealed_at = $2 WHERE id = $1", values![id.to_string(), now]).await?;
    work.commit().await
}
