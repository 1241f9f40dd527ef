//! What an API key decided, and undoing it once the key is revoked.

use std::sync::Arc;

use super::{
    Decided, StoreError,
    backend::{Database, Fault, execute, number, rows, text, values},
    moves::{self, Note, parsed, status, unreadable},
};
use crate::{
    proposal::{Event, Status},
    types::ProposalId,
};

/// Decisions in one answer.
const MOST: usize = 10_000;

/// The decisions of a key on proposals that are not applied, newest first.
pub(super) async fn decisions(database: Arc<Database>, key: Arc<str>) -> Result<Vec<Decided>, Fault> {
    let mut connection = database.reader().await?;
    let statement = format!(
        "SELECT a.proposal_id, a.decision, a.at, p.status FROM approvals a JOIN proposals p ON p.id = a.proposal_id \
         WHERE a.form = 'key' AND a.proof = $1 AND p.status <> 'applied' ORDER BY a.proposal_id DESC LIMIT {MOST}"
    );
    let mut found = Vec::new();
    for row in rows(&mut connection, statement, values![&*key]).await? {
        found.push(Decided {
            proposal: parsed(&text(&row, "proposal_id")?)?,
            decision: text(&row, "decision")?.parse().map_err(|()| unreadable("a decision"))?,
            status: status(&text(&row, "status")?)?,
            at: number(&row, "at")?,
        });
    }
    Ok(found)
}

/// Puts an approved proposal back to wait for a decision; false when a worker has begun, or it is not approved.
pub(super) async fn reopen(database: Arc<Database>, id: ProposalId, reason: Arc<str>, now: i64) -> Result<bool, Fault> {
    let mut work = database.begin().await?;
    let mut locked = match moves::lock(&mut work, id).await {
        Ok(locked) => locked,
        Err(Fault::Store(StoreError::NotFound(_))) => return Ok(false),
        Err(fault) => return Err(fault),
    };
    if locked.status != Status::Approved || locked.attempts > 0 {
        return Ok(false);
    }
    let note = Note { at: now, actor: "operator".into(), text: Some(&reason) };
    moves::advance(&mut work, &mut locked, Event::Reopen, &note).await?;
    execute(work.connection(), "UPDATE proposals SET decided_at = NULL WHERE id = $1", values![id.to_string()]).await?;
    work.commit().await?;
    Ok(true)
}
