//! How applying a proposal ended: said once, by whoever may.

use std::sync::Arc;

use super::{
    Holder, Record, Report, StoreError,
    backend::{Database, Fault, Work, execute, values},
    moves::{self, Locked, Note},
    read,
};
use crate::{
    proposal::{Event, Outcome, Status},
    types::ProposalId,
};

pub(super) async fn report(
    database: Arc<Database>,
    id: ProposalId,
    holder: Arc<Holder>,
    report: Arc<Report>,
    now: i64,
) -> Result<Record, Fault> {
    let mut work = database.begin().await?;
    let mut locked = moves::lock(&mut work, id).await?;
    match read::outcome(locked.status) {
        Some(known) if known == report.outcome => return read::found(work.connection(), id).await,
        Some(known) => return Err(StoreError::Disagrees { proposal: id, known }.into()),
        None => may_report(&locked, &holder)?,
    }
    let actor = match *holder {
        Holder::Token(_) => format!("worker {}", report.reporter),
        Holder::Worker(_) => format!("reporter {}", report.reporter),
    };
    write(&mut work, &mut locked, &report, actor, now).await?;
    let record = read::found(work.connection(), id).await?;
    work.commit().await?;
    Ok(record)
}

/// Whoever holds it: also past the end of the lease, while nobody else has taken it.
fn may_report(locked: &Locked, holder: &Holder) -> Result<(), StoreError> {
    match holder {
        Holder::Token(token) if locked.holds(*token) => Ok(()),
        Holder::Token(_) => Err(StoreError::LeaseLost(locked.id)),
        Holder::Worker(name) if locked.status == Status::Applying && locked.worker.as_ref() == Some(name) => Ok(()),
        Holder::Worker(_) => Err(StoreError::NotHeld(locked.id)),
    }
}

/// Ends a proposal that cannot be handed out.
pub(super) async fn close(work: &mut Work<'_>, locked: &mut Locked, outcome: Outcome, reason: &str, now: i64) -> Result<(), Fault> {
    let report = Report {
        outcome,
        reporter: "store".into(),
        idempotency_key: None,
        affected_rows: Some(0),
        metadata: None,
        error: Some(reason.into()),
        differences: None,
    };
    write(work, locked, &report, "store".into(), now).await
}

async fn write(work: &mut Work<'_>, locked: &mut Locked, report: &Report, actor: String, now: i64) -> Result<(), Fault> {
    let note = Note { at: now, actor, text: report.error.as_deref() };
    moves::advance(work, locked, Event::Report(report.outcome), &note).await?;
    let applied_at = (report.outcome == Outcome::Applied).then_some(now);
    execute(
        work.connection(),
        "UPDATE proposals SET reporter = $2, report_key = $3, affected_rows = $4, metadata = $5, report_error = $6, differences = $7, \
         reported_at = $8, applied_at = $9, lease_until = NULL WHERE id = $1",
        values![
            locked.id.to_string(),
            &*report.reporter,
            report.idempotency_key.as_deref(),
            report.affected_rows.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
            report.metadata.as_deref(),
            report.error.as_deref(),
            report.differences.as_deref(),
            now,
            applied_at,
        ],
    )
    .await
    .map(drop)
}
