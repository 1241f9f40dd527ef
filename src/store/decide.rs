//! Decisions on a proposal that waits: by reviewers, by its proposer, by time.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Acting, Record, StoreError,
    backend::{Database, Fault, Work, execute, rows, values},
    moves::{self, LOCKED, Locked, Note},
    read,
};
use crate::{
    proposal::{Approval, ApprovalError, Decider, Decision, Event, Status, approved},
    types::{AgentName, ProposalId, ReviewerName, TenantId},
};

/// Proposals that one transaction expires.
const BATCH: usize = 500;

pub(super) async fn decide(
    database: Arc<Database>,
    id: ProposalId,
    approval: Arc<Approval>,
    quorum: usize,
    now: i64,
) -> Result<Record, Fault> {
    let mut work = database.begin().await?;
    let mut locked = moves::lock(&mut work, id).await?;
    let record = read::found(work.connection(), id).await?;
    if let Some(before) = record.approvals.iter().find(|before| who(&before.decider) == who(&approval.decider)) {
        return repeat(record.clone(), before, &approval);
    }
    if locked.status == Status::Pending && locked.expires_at <= now {
        expire_one(&mut work, &mut locked, now).await?;
        work.commit().await?;
        return Err(refused(&locked, approval.decision));
    }
    if locked.status != Status::Pending {
        return Err(refused(&locked, approval.decision));
    }
    let digest = record.content.digest();
    if approval.digest != digest {
        return Err(StoreError::OtherContent(id).into());
    }
    keep(&mut work, id, &approval).await?;
    let mut all = record.approvals;
    all.push((*approval).clone());
    match approved(&all, digest, quorum) {
        Ok(()) => conclude(&mut work, &mut locked, &approval, Event::Approve, now).await?,
        Err(ApprovalError::Rejected) => conclude(&mut work, &mut locked, &approval, Event::Reject, now).await?,
        Err(ApprovalError::Quorum { .. }) => {
            let note = Note { at: now, actor: actor(&approval.decider), text: approval.reason.as_deref() };
            moves::record(&mut work, id, Some(Status::Pending), Status::Pending, &note).await?;
        }
        Err(ApprovalError::OtherContent) => return Err(StoreError::OtherContent(id).into()),
    }
    let record = read::found(work.connection(), id).await?;
    work.commit().await?;
    Ok(record)
}

/// Writes a decision down.
pub(super) async fn keep(work: &mut Work<'_>, id: ProposalId, approval: &Approval) -> Result<(), Fault> {
    let (form, name, proof) = match &approval.decider {
        Decider::Signature { reviewer, signature } => ("signature", reviewer.as_str(), Some(hexadecimal(signature))),
        Decider::ApiKey { reviewer, key } => ("key", reviewer.as_str(), Some(key.to_string())),
        Decider::Rule { rule } => ("rule", &**rule, None),
    };
    execute(
        work.connection(),
        "INSERT INTO approvals (proposal_id, decider, position, form, name, proof, decision, digest, reason, at) \
         SELECT $1, $2, COALESCE(MAX(position), 0) + 1, $3, $4, $5, $6, $7, $8, $9 FROM approvals WHERE proposal_id = $1",
        values![
            id.to_string(),
            actor(&approval.decider),
            form,
            name,
            proof.as_deref(),
            approval.decision.word(),
            approval.digest.to_string(),
            approval.reason.as_deref(),
            approval.at,
        ],
    )
    .await
    .map(drop)
}

/// The decision that ends the waiting.
pub(super) async fn conclude(work: &mut Work<'_>, locked: &mut Locked, approval: &Approval, event: Event, now: i64) -> Result<(), Fault> {
    let note = Note { at: now, actor: actor(&approval.decider), text: approval.reason.as_deref() };
    moves::advance(work, locked, event, &note).await?;
    let rule = match &approval.decider {
        Decider::Rule { rule } => Some(&**rule),
        Decider::Signature { .. } | Decider::ApiKey { .. } => None,
    };
    execute(
        work.connection(),
        "UPDATE proposals SET decided_at = $2, settled_by = $3 WHERE id = $1",
        values![locked.id.to_string(), now, rule],
    )
    .await?;
    if locked.status == Status::Approved { work.announce_approval().await } else { Ok(()) }
}

/// Takes every one of them back, or none. Locked in the order of their ids, as every transaction that locks several does.
pub(super) async fn cancel(
    database: Arc<Database>,
    ids: Arc<[ProposalId]>,
    agent: AgentName,
    acting: Acting,
    now: i64,
) -> Result<u64, Fault> {
    let tenant = acting.0.as_ref().map_or("", TenantId::as_str);
    let mut work = database.begin().await?;
    let sorted: BTreeSet<ProposalId> = ids.iter().copied().collect();
    let mut moved = 0;
    for id in sorted {
        let locked = moves::lock(&mut work, id).await?;
        if locked.agent != agent.as_str() || locked.acting_tenant != tenant {
            return Err(StoreError::OtherAgent(id).into());
        }
        let note = Note { at: now, actor: format!("agent {agent}"), text: None };
        moved += u64::from(canceled(&mut work, locked, &note).await?);
    }
    work.commit().await?;
    Ok(moved)
}

pub(super) async fn cancel_by(
    database: Arc<Database>,
    id: ProposalId,
    reviewer: ReviewerName,
    reason: Option<Arc<str>>,
    now: i64,
) -> Result<Record, Fault> {
    let mut work = database.begin().await?;
    let locked = moves::lock(&mut work, id).await?;
    let note = Note { at: now, actor: format!("reviewer {reviewer}"), text: reason.as_deref() };
    canceled(&mut work, locked, &note).await?;
    let record = read::found(work.connection(), id).await?;
    work.commit().await?;
    Ok(record)
}

/// False when it was canceled before.
async fn canceled(work: &mut Work<'_>, mut locked: Locked, note: &Note<'_>) -> Result<bool, Fault> {
    let id = locked.id;
    if locked.status == Status::Canceled {
        return Ok(false);
    }
    if locked.status == Status::Approved && locked.attempts > 0 {
        return Err(StoreError::Begun(id).into());
    }
    if locked.status == Status::Pending && locked.expires_at <= note.at {
        locked.status = Status::Expired; // for the words of the refusal; it is written down in its turn
    }
    moves::advance(work, &mut locked, Event::Cancel, note).await?;
    Ok(true)
}

/// One batch of those whose time is over.
pub(super) async fn expire(database: Arc<Database>, now: i64) -> Result<u64, Fault> {
    let mut work = database.begin().await?;
    let statement = format!(
        "SELECT {LOCKED} FROM proposals p WHERE p.status = 'pending' AND p.expires_at <= $1 ORDER BY p.expires_at LIMIT {BATCH}{}",
        work.locking_free("p")
    );
    let mut expired = 0;
    for row in rows(work.connection(), statement, values![now]).await? {
        expire_one(&mut work, &mut Locked::read(&row)?, now).await?;
        expired += 1;
    }
    work.commit().await?;
    Ok(expired)
}

/// Writes down that a pending proposal's time is over.
pub(super) async fn expire_one(work: &mut Work<'_>, locked: &mut Locked, now: i64) -> Result<(), Fault> {
    let note = Note { at: now, actor: "store".into(), text: Some("nobody decided in time") };
    moves::advance(work, locked, Event::Expire, &note).await
}

fn repeat(record: Record, before: &Approval, approval: &Approval) -> Result<Record, Fault> {
    if before.digest != approval.digest {
        return Err(StoreError::OtherContent(record.id()).into());
    }
    match before.decider.reviewer() {
        Some(reviewer) if before.decision != approval.decision => {
            let (proposal, reviewer) = (record.id(), reviewer.clone());
            Err(StoreError::AlreadyDecided { proposal, reviewer, decision: before.decision }.into())
        }
        _ => Ok(record),
    }
}

fn refused(locked: &Locked, decision: Decision) -> Fault {
    let event = match decision {
        Decision::Approve => Event::Approve,
        Decision::Reject => Event::Reject,
    };
    locked.after(event).err().unwrap_or_else(|| StoreError::NotFound(locked.id).into())
}

/// Who decided, whatever the proof: one person counts once.
fn who(decider: &Decider) -> (bool, &str) {
    match decider {
        Decider::Signature { reviewer, .. } | Decider::ApiKey { reviewer, .. } => (true, reviewer.as_str()),
        Decider::Rule { rule } => (false, rule),
    }
}

fn actor(decider: &Decider) -> String {
    match who(decider) {
        (true, name) => format!("reviewer {name}"),
        (false, name) => format!("rule {name}"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
