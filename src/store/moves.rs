//! Steps that several transactions share: lock a proposal, move it, close it.

use super::{
    StoreError,
    backend::{Fault, Work, execute, number, optional_number, optional_text, rows, text, values},
};
use crate::{
    proposal::{Event, Status},
    types::ProposalId,
};

/// A proposal that this transaction has locked: what a move needs to know of it.
pub(super) struct Locked {
    pub(super) id: ProposalId,
    pub(super) status: Status,
    pub(super) agent: String,
    pub(super) acting_tenant: String,
    pub(super) expires_at: i64,
    pub(super) attempts: i64,
    pub(super) worker: Option<Box<str>>,
    pub(super) lease_token: i64,
    pub(super) lease_until: Option<i64>,
}

/// What [`lock`] reads.
pub(super) const LOCKED: &str =
    "p.id, p.status, p.agent, p.acting_tenant, p.expires_at, p.attempts, p.worker, p.lease_token, p.lease_until";

/// Who moves a proposal, when, and what there is to say.
pub(super) struct Note<'n> {
    pub(super) at: i64,
    pub(super) actor: String,
    pub(super) text: Option<&'n str>,
}

impl Locked {
    pub(super) fn read(row: &sqlx::any::AnyRow) -> Result<Self, Fault> {
        Ok(Self {
            id: parsed(&text(row, "id")?)?,
            status: status(&text(row, "status")?)?,
            agent: text(row, "agent")?,
            acting_tenant: text(row, "acting_tenant")?,
            expires_at: number(row, "expires_at")?,
            attempts: number(row, "attempts")?,
            worker: optional_text(row, "worker")?,
            lease_token: number(row, "lease_token")?,
            lease_until: optional_number(row, "lease_until")?,
        })
    }

    /// The status after an event, or the refusal.
    pub(super) fn after(&self, event: Event) -> Result<Status, Fault> {
        self.status.after(event).map_err(|refused| StoreError::Move { proposal: self.id, refused }.into())
    }

    /// Whether the lease is another's or over.
    pub(super) fn holds(&self, token: i64) -> bool {
        self.status == Status::Applying && self.lease_token == token
    }
}

/// Reads a proposal and keeps others from moving it until the transaction ends.
pub(super) async fn lock(work: &mut Work<'_>, id: ProposalId) -> Result<Locked, Fault> {
    let statement = format!("SELECT {LOCKED} FROM proposals p WHERE p.id = $1{}", work.locking("p"));
    let found = rows(work.connection(), statement, values![id.to_string()]).await?;
    found.first().map_or(Err(StoreError::NotFound(id).into()), Locked::read)
}

/// Writes a move and its event. What leaves the open states gives its rows up.
pub(super) async fn advance(work: &mut Work<'_>, locked: &mut Locked, event: Event, note: &Note<'_>) -> Result<(), Fault> {
    let to = locked.after(event)?;
    execute(
        work.connection(),
        "UPDATE proposals SET status = $2, updated_at = $3 WHERE id = $1",
        values![locked.id.to_string(), to.word(), note.at],
    )
    .await?;
    record(work, locked.id, Some(locked.status), to, note).await?;
    locked.status = to;
    if to.is_open() { Ok(()) } else { close(work, locked.id, to).await }
}

/// Writes an event.
pub(super) async fn record(work: &mut Work<'_>, id: ProposalId, from: Option<Status>, to: Status, note: &Note<'_>) -> Result<(), Fault> {
    execute(
        work.connection(),
        "INSERT INTO proposal_events (proposal_id, position, at, actor, from_status, to_status, note) \
         SELECT $1, COALESCE(MAX(position), 0) + 1, $2, $3, $4, $5, $6 FROM proposal_events WHERE proposal_id = $1",
        values![id.to_string(), note.at, &*note.actor, from.map(Status::word), to.word(), note.text],
    )
    .await
    .map(drop)
}

/// Locks the rows of a proposal, in the order in which every transaction does.
pub(super) async fn lock_rows(work: &mut Work<'_>, id: ProposalId) -> Result<(), Fault> {
    let statement = format!(
        "SELECT s.row_name FROM row_states s JOIN proposal_rows r ON r.row_name = s.row_name WHERE r.proposal_id = $1 ORDER BY s.row_name{}",
        work.locking("s")
    );
    rows(work.connection(), statement, values![id.to_string()]).await.map(drop)
}

async fn close(work: &mut Work<'_>, id: ProposalId, to: Status) -> Result<(), Fault> {
    lock_rows(work, id).await?;
    let mine = "row_name IN (SELECT row_name FROM proposal_rows WHERE proposal_id = $1)";
    if to == Status::Applied {
        let applied = format!("UPDATE row_states SET generation = generation + 1, applied_by = $1 WHERE {mine}");
        execute(work.connection(), applied, values![id.to_string()]).await?;
    }
    let free = format!("UPDATE row_states SET held_by = NULL WHERE {mine} AND held_by = $1");
    execute(work.connection(), free, values![id.to_string()]).await?;
    execute(work.connection(), "DELETE FROM proposal_rows WHERE proposal_id = $1", values![id.to_string()]).await.map(drop)
}

/// An id that is stored as text.
pub(super) fn parsed(id: &str) -> Result<ProposalId, Fault> {
    id.parse().ok().ok_or_else(|| unreadable("a proposal's id"))
}

/// A status that is stored as text.
pub(super) fn status(word: &str) -> Result<Status, Fault> {
    word.parse().map_err(|()| unreadable("a status"))
}

/// A stored word that is none.
pub(super) fn unreadable(what: &str) -> Fault {
    StoreError::Unreadable(what.into()).into()
}
