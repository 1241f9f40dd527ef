//! Leases: who applies what, and until when.

use std::{sync::Arc, time::Duration};

use sqlx::any::AnyRow;

use super::{
    Claim, StoreError,
    backend::{Database, Fault, Work, execute, number, optional_text, rows, values},
    moves::{self, LOCKED, Locked, Note},
    read, report,
};
use crate::{
    proposal::{Event, Outcome, Status},
    types::{ProposalId, SourceName},
};

/// What became of one look for work.
enum Look {
    /// A claim.
    Taken(Box<Claim>),
    /// A proposal that could not be handed out was closed: look again.
    Closed,
    /// There is nothing.
    Nothing,
}

pub(super) async fn claim(
    database: Arc<Database>,
    worker: Arc<str>,
    sources: Arc<[SourceName]>,
    lease: Duration,
    now: i64,
) -> Result<Option<Claim>, Fault> {
    // The millisecond picks who comes first, so that a busy source does not starve the others.
    let first = usize::try_from(now).unwrap_or(0).checked_rem(sources.len()).unwrap_or(0);
    for source in sources.iter().cycle().skip(first).take(sources.len()) {
        loop {
            match look(&database, &worker, source, lease, now).await? {
                Look::Taken(claim) => return Ok(Some(*claim)),
                Look::Closed => {}
                Look::Nothing => break,
            }
        }
    }
    Ok(None)
}

/// One proposal, if it may be handed out, or is held by this worker.
pub(super) async fn take(
    database: Arc<Database>,
    id: ProposalId,
    worker: Arc<str>,
    lease: Duration,
    now: i64,
) -> Result<Option<Claim>, Fault> {
    let mut work = database.begin().await?;
    let locked = moves::lock(&mut work, id).await?;
    let lives = locked.lease_until.is_some_and(|until| until > now);
    if locked.status == Status::Applying && lives {
        if locked.worker.as_deref() != Some(&*worker) {
            return Ok(None);
        }
        let longer = "UPDATE proposals SET lease_until = $2 WHERE id = $1";
        execute(work.connection(), longer, values![id.to_string(), after(now, lease)]).await?;
        let record = read::found(work.connection(), id).await?;
        work.commit().await?;
        return Ok(Some(Claim { record, worker: (&*worker).into(), token: locked.lease_token }));
    }
    let held = "SELECT COUNT(*) AS others FROM proposal_rows r JOIN row_states s ON s.row_name = r.row_name \
         WHERE r.proposal_id = $1 AND s.held_by <> $1";
    let others = rows(work.connection(), held, values![id.to_string()]).await?;
    let is_free = others.first().map(|row| number(row, "others")).transpose()?.unwrap_or(0) == 0;
    if !matches!(locked.status, Status::Approved | Status::Applying) || !is_free {
        return Ok(None);
    }
    match hand_out(work, locked, &worker, lease, now).await? {
        Look::Taken(claim) => Ok(Some(*claim)),
        Look::Closed | Look::Nothing => Ok(None),
    }
}

async fn look(database: &Database, worker: &str, source: &SourceName, lease: Duration, now: i64) -> Result<Look, Fault> {
    let mut work = database.begin().await?;
    match candidate(&mut work, source, now).await? {
        Some(locked) => hand_out(work, locked, worker, lease, now).await,
        None => Ok(Look::Nothing),
    }
}

/// Gives a locked candidate to a worker.
async fn hand_out(mut work: Work<'_>, mut locked: Locked, worker: &str, lease: Duration, now: i64) -> Result<Look, Fault> {
    if locked.status == Status::Applying {
        lose_lease(&mut work, &mut locked, now).await?;
    }
    moves::lock_rows(&mut work, locked.id).await?;
    let rows = rows_of(&mut work, locked.id).await?;
    // What a worker has tried may be in the source already: only a worker can tell, by its receipt.
    if let (0, Some(by)) = (locked.attempts, overtaken(&rows)?) {
        return overtake(work, locked, &by, now).await;
    }
    let mine = locked.id.to_string();
    for row in &rows {
        if optional_text(row, "held_by")?.is_some_and(|holder| *holder != *mine) {
            return Err(Fault::Lost("another worker took a proposal on the same row".into()));
        }
    }
    let hold = "UPDATE row_states SET held_by = $1 WHERE row_name IN (SELECT row_name FROM proposal_rows WHERE proposal_id = $1)";
    execute(work.connection(), hold, values![&*mine]).await?;
    let note = Note { at: now, actor: format!("worker {worker}"), text: None };
    moves::advance(&mut work, &mut locked, Event::Claim, &note).await?;
    let (token, until) = (locked.lease_token + 1, after(now, lease));
    let take = "UPDATE proposals SET worker = $2, lease_token = $3, lease_until = $4 WHERE id = $1";
    execute(work.connection(), take, values![&*mine, worker, token, until]).await?;
    match read::found(work.connection(), locked.id).await {
        Ok(record) => {
            work.commit().await?;
            Ok(Look::Taken(Box::new(Claim { record, worker: worker.into(), token })))
        }
        Err(Fault::Store(StoreError::Malformed { problem, .. })) => {
            report::close(&mut work, &mut locked, Outcome::Failed, &problem.to_string(), now).await?;
            work.commit().await?;
            Ok(Look::Closed)
        }
        Err(fault) => Err(fault),
    }
}

/// The oldest that may be handed out, locked: first one whose lease ran out, since it holds its rows.
async fn candidate(work: &mut Work<'_>, source: &SourceName, now: i64) -> Result<Option<Locked>, Fault> {
    let lost = format!(
        "SELECT {LOCKED} FROM proposals p WHERE p.status = 'applying' AND p.source = $1 AND p.lease_until <= $2 \
         ORDER BY p.lease_until LIMIT 1{}",
        work.locking_free("p")
    );
    // A proposal that holds its own rows has been tried and comes back. Counted, so that no planner makes a join over all
    // rows of it.
    let ready = format!(
        "SELECT {LOCKED} FROM proposals p WHERE p.status = 'approved' AND p.source = $1 AND p.retry_at <= $2 AND 0 = \
         (SELECT COUNT(*) FROM proposal_rows r JOIN row_states s ON s.row_name = r.row_name WHERE r.proposal_id = p.id AND s.held_by <> p.id) \
         ORDER BY p.id LIMIT 1{}",
        work.locking_free("p")
    );
    for statement in [lost, ready] {
        if let Some(row) = rows(work.connection(), statement, values![source.as_str(), now]).await?.first() {
            return Locked::read(row).map(Some);
        }
    }
    Ok(None)
}

async fn rows_of(work: &mut Work<'_>, id: ProposalId) -> Result<Vec<AnyRow>, Fault> {
    let statement = "SELECT s.held_by, s.applied_by, s.generation - r.generation AS applied_since FROM proposal_rows r \
         JOIN row_states s ON s.row_name = r.row_name WHERE r.proposal_id = $1";
    rows(work.connection(), statement, values![id.to_string()]).await
}

/// The proposal that was applied to one of these rows in the meantime.
fn overtaken(rows: &[AnyRow]) -> Result<Option<Box<str>>, Fault> {
    for row in rows {
        if number(row, "applied_since")? != 0 {
            return Ok(Some(optional_text(row, "applied_by")?.unwrap_or_default()));
        }
    }
    Ok(None)
}

async fn overtake(mut work: Work<'_>, mut locked: Locked, by: &str, now: i64) -> Result<Look, Fault> {
    let reason = format!("{by} changed one of its rows and was applied first; propose it again against what is there now");
    report::close(&mut work, &mut locked, Outcome::Conflict, &reason, now).await?;
    work.commit().await?;
    Ok(Look::Closed)
}

async fn lose_lease(work: &mut Work<'_>, locked: &mut Locked, now: i64) -> Result<(), Fault> {
    let lost = format!("the lease of worker {} ran out", locked.worker.as_deref().unwrap_or_default());
    back(work, locked, &lost, 0, &Note { at: now, actor: "store".into(), text: Some(&lost) }).await
}

pub(super) async fn extend(database: Arc<Database>, id: ProposalId, token: i64, lease: Duration, now: i64) -> Result<(), Fault> {
    let mut work = database.begin().await?;
    let statement = "UPDATE proposals SET lease_until = $3 WHERE id = $1 AND lease_token = $2 AND status = 'applying'";
    match execute(work.connection(), statement, values![id.to_string(), token, after(now, lease)]).await? {
        0 => Err(StoreError::LeaseLost(id).into()),
        _ => work.commit().await,
    }
}

pub(super) async fn release(
    database: Arc<Database>,
    id: ProposalId,
    token: i64,
    error: Arc<str>,
    retry_at: i64,
    now: i64,
) -> Result<(), Fault> {
    let mut work = database.begin().await?;
    let mut locked = moves::lock(&mut work, id).await?;
    if !locked.holds(token) {
        return Err(StoreError::LeaseLost(id).into());
    }
    let actor = format!("worker {}", locked.worker.as_deref().unwrap_or_default());
    back(&mut work, &mut locked, &error, retry_at, &Note { at: now, actor, text: Some(&error) }).await?;
    work.commit().await
}

async fn back(work: &mut Work<'_>, locked: &mut Locked, error: &str, retry_at: i64, note: &Note<'_>) -> Result<(), Fault> {
    moves::advance(work, locked, Event::Release, note).await?;
    locked.attempts += 1;
    execute(
        work.connection(),
        "UPDATE proposals SET attempts = $2, last_error = $3, retry_at = $4, lease_until = NULL WHERE id = $1",
        values![locked.id.to_string(), locked.attempts, error, retry_at],
    )
    .await
    .map(drop)
}

fn after(now: i64, lease: Duration) -> i64 {
    now.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}
