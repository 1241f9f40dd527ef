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
    types::{AgentName, ProposalId, TenantId},
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
    let same = |before: &&Approval| before.decision != Decision::Cancel && who(&before.decider) == who(&approval.decider);
    let before = record.approvals.iter().find(same);
    if let Some(before) = before.filter(|before| !before.revoked) {
        return repeat(&locked, record.clone(), before, &approval);
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
    if before.is_some() {
        // Made by a key that was revoked since: it does not stand in the way of a decision that counts.
        let forget = "DELETE FROM approvals WHERE proposal_id = $1 AND decider = $2";
        execute(work.connection(), forget, values![id.to_string(), actor(&approval.decider)]).await?;
    }
    keep(&mut work, id, &approval).await?;
    let mut all = record.approvals;
    all.retain(|known| who(&known.decider) != who(&approval.decider));
    all.push((*approval).clone());
    match approved(&all, digest, quorum) {
        Ok(()) => conclude(&mut work, &mut locked, &approval, Event::Approve, now).await?,
        Err(ApprovalError::Rejected) => conclude(&mut work, &mut locked, &approval, Event::Reject, now).await?,
        Err(ApprovalError::Quorum { .. }) => {
            let note = Note { at: now, actor: actor(&approval.decider), text: approval.reason.as_deref() };
            moves::record(&mut work, id, Some(Status::Pending), Status::Pending, &note).await?;
        }
        Err(ApprovalError::OtherContent) => return Err(StoreError::OtherContent(id).into()),
        Err(ApprovalError::Canceled) => return Err(refused(&locked, Decision::Cancel)),
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
        Decider::Proposer { agent } => ("proposer", agent.as_str(), None),
    };
    // Who approved may take it back, too.
    let decider = match approval.decision {
        Decision::Approve | Decision::Reject => actor(&approval.decider),
        Decision::Cancel => format!("cancel by {}", actor(&approval.decider)),
    };
    execute(
        work.connection(),
        "INSERT INTO approvals (proposal_id, decider, position, form, name, proof, decision, digest, reason, at, valid_until) \
         SELECT $1, $2, COALESCE(MAX(position), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10 FROM approvals WHERE proposal_id = $1",
        values![
            id.to_string(),
            decider,
            form,
            name,
            proof.as_deref(),
            approval.decision.word(),
            approval.digest.to_string(),
            approval.reason.as_deref(),
            approval.at,
            approval.until,
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
        Decider::Signature { .. } | Decider::ApiKey { .. } | Decider::Proposer { .. } => None,
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
        let decider = Decider::Proposer { agent: agent.clone() };
        let digest = read::digest(&mut work, id).await?;
        let taken_back = Approval { decision: Decision::Cancel, decider, digest, reason: None, at: now, until: None, revoked: false };
        moved += u64::from(canceled(&mut work, locked, &taken_back, now).await?);
    }
    work.commit().await?;
    Ok(moved)
}

pub(super) async fn cancel_by(database: Arc<Database>, id: ProposalId, decision: Arc<Approval>, now: i64) -> Result<Record, Fault> {
    let mut work = database.begin().await?;
    let locked = moves::lock(&mut work, id).await?;
    canceled(&mut work, locked, &decision, now).await?;
    let record = read::found(work.connection(), id).await?;
    work.commit().await?;
    Ok(record)
}

/// False when it was canceled before. The decision is kept beside those that approved: a worker refuses what has one.
async fn canceled(work: &mut Work<'_>, mut locked: Locked, decision: &Approval, now: i64) -> Result<bool, Fault> {
    let id = locked.id;
    if locked.status == Status::Canceled {
        return Ok(false);
    }
    if locked.status == Status::Approved && locked.attempts > 0 {
        return Err(StoreError::Begun(id).into());
    }
    if locked.status == Status::Pending && locked.expires_at <= now {
        locked.status = Status::Expired; // for the words of the refusal; it is written down in its turn
    }
    let note = Note { at: now, actor: actor(&decision.decider), text: decision.reason.as_deref() };
    moves::advance(work, &mut locked, Event::Cancel, &note).await?;
    keep(work, id, decision).await?;
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

/// The same decision again. It is refused where the proposal has ended otherwise in the meantime.
fn repeat(locked: &Locked, record: Record, before: &Approval, approval: &Approval) -> Result<Record, Fault> {
    if before.digest != approval.digest {
        return Err(StoreError::OtherContent(record.id()).into());
    }
    match before.decider.reviewer() {
        Some(reviewer) if before.decision != approval.decision => {
            let (proposal, reviewer) = (record.id(), reviewer.clone());
            Err(StoreError::AlreadyDecided { proposal, reviewer, decision: before.decision }.into())
        }
        _ if ended_otherwise(locked.status, approval.decision) => Err(refused(locked, approval.decision)),
        _ => Ok(record),
    }
}

/// Whether a proposal that somebody decided on so has ended by what somebody else said, or nobody in time.
fn ended_otherwise(status: Status, decision: Decision) -> bool {
    match status {
        Status::Canceled | Status::Expired => true,
        Status::Rejected => decision != Decision::Reject,
        Status::Pending | Status::Approved | Status::Applying | Status::Applied | Status::Conflict | Status::Failed => false,
    }
}

fn refused(locked: &Locked, decision: Decision) -> Fault {
    let event = match decision {
        Decision::Approve => Event::Approve,
        Decision::Reject => Event::Reject,
        Decision::Cancel => Event::Cancel,
    };
    locked.after(event).err().unwrap_or_else(|| StoreError::NotFound(locked.id).into())
}

/// Who decided, whatever the proof: one person counts once.
fn who(decider: &Decider) -> (&'static str, &str) {
    match decider {
        Decider::Signature { reviewer, .. } | Decider::ApiKey { reviewer, .. } => ("reviewer", reviewer.as_str()),
        Decider::Rule { rule } => ("rule", rule),
        Decider::Proposer { agent } => ("agent", agent.as_str()),
    }
}

fn actor(decider: &Decider) -> String {
    let (kind, name) = who(decider);
    format!("{kind} {name}")
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
