//! Proposals and what belongs to them: decisions, leases, reports, settlement counters, API keys; SQLite or PostgreSQL.
//! May use: `types`, `proposal`, sqlx. Never: a clock (`now` is an argument), policy, the source, logging of content.
//! Invariant: whatever is more than one step is one transaction, and every move of a proposal is one that
//! [`Status::after`](crate::proposal::Status::after) has and is written to its events with it; a process that dies at any
//! point leaves a legal state.
//! Invariant: of two proposals that were open on one row at the same time at most one is handed out to be applied.
//!
//! A [`Store`] may be called from any runtime. Its work runs on one thread of its own, where its sockets live; a caller waits
//! for the result only. A caller that goes away does not stop what it began.

mod backend;
mod create;
mod decide;
mod error;
mod keys;
mod lease;
mod listen;
mod moves;
mod read;
mod record;
mod report;
mod schema;
mod seal;
mod thread;
mod undo;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

pub use self::error::StoreError;
pub use self::listen::Approvals;
pub use self::record::{
    Acting, ApiKey, Claim, Created, Decided, Filter, Holder, NewKey, OpenBounds, Page, PageRequest, ProposalEvent, Record, Report, Reported,
};
use self::thread::Thread;
use crate::{
    proposal::{Approval, Content, Settle},
    types::{AgentName, Digest, ProposalId, Secret, SourceName, StoreId},
};

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Location {
    /// A SQLite file, made when it is missing; of a directory the file `pgwicket-state.db` in it.
    Sqlite(PathBuf),
    /// A PostgreSQL by its URL: schema `pgwicket` of that database.
    Postgres(Secret),
}

/// The store. A clone is the same store.
#[derive(Clone)]
pub struct Store {
    thread: Arc<Thread>,
}

impl Store {
    /// Opens it, brings it to this program's version, and starts its thread. Several processes may do so at once.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        Ok(Self { thread: Arc::new(Thread::start(location.clone()).await?) })
    }

    /// What tells this store from every other: made with it, and read when it was opened.
    pub fn id(&self) -> StoreId {
        self.thread.id()
    }

    /// Whether it can be reached.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.thread.call(read::check).await
    }

    /// A random value that stays the same over restarts and over all that share the store; `random` where none was kept yet.
    pub async fn kept_secret(&self, name: &'static str, random: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.thread.call(move |db| schema::kept_secret(db, name, random)).await
    }

    /// Tells when something was approved, by whichever process. A PostgreSQL does; of SQLite nothing is ever heard.
    pub fn approvals(&self) -> Approvals {
        self.thread.listen()
    }

    /// Stores a proposal as pending, or as approved when `settle` says so; asked inside the transaction, with the counters
    /// that it then increases.
    ///
    /// A repeat changes nothing and gives what is stored. Without an idempotency key that is an open proposal with the same
    /// change of the same agent for the same tenant; with one, the open or applied proposal under this key, whose change has to be the same
    /// ([`StoreError::KeyReused`]).
    pub async fn create(&self, content: Content, settle: Option<Arc<dyn Settle>>, now: i64) -> Result<Created, StoreError> {
        self.create_within(content, settle, OpenBounds { proposals: u64::MAX, bytes: u64::MAX }, now).await
    }

    /// As [`Self::create`], where the agent has room left: of its proposals for this tenant that are open.
    pub async fn create_within(
        &self,
        content: Content,
        settle: Option<Arc<dyn Settle>>,
        bounds: OpenBounds,
        now: i64,
    ) -> Result<Created, StoreError> {
        let content = Arc::new(content);
        self.thread.call(move |db| create::create(db, Arc::clone(&content), settle.clone(), bounds, now)).await
    }

    /// One proposal.
    pub async fn proposal(&self, id: ProposalId) -> Result<Option<Record>, StoreError> {
        self.thread.call(move |db| read::proposal(db, id)).await
    }

    /// A page of proposals, newest first.
    pub async fn list(&self, filter: &Filter, page: &PageRequest) -> Result<Page, StoreError> {
        let asked = Arc::new((filter.clone(), page.clone()));
        self.thread.call(move |db| read::list(db, Arc::clone(&asked))).await
    }

    /// The moves of a proposal, oldest first.
    pub async fn events(&self, id: ProposalId) -> Result<Vec<ProposalEvent>, StoreError> {
        self.thread.call(move |db| read::events(db, id)).await
    }

    /// A reviewer decides. One rejection rejects; `quorum` distinct approvals approve. The same decision again changes
    /// nothing; of a proposal that was taken back or decided otherwise it is refused. The caller has checked the signature or key and the right to decide.
    pub async fn decide(&self, id: ProposalId, approval: Approval, quorum: usize, now: i64) -> Result<Record, StoreError> {
        let approval = Arc::new(approval);
        self.thread.call(move |db| decide::decide(db, id, Arc::clone(&approval), quorum, now)).await
    }

    /// Their proposer, the agent acting for the same tenant, takes them back, all or none; returns how many were not canceled
    /// before. Refused once a worker has tried one.
    pub async fn cancel(&self, ids: &[ProposalId], agent: &AgentName, acting: &Acting, now: i64) -> Result<u64, StoreError> {
        let (ids, agent, acting): (Arc<[ProposalId]>, _, _) = (ids.into(), agent.clone(), acting.clone());
        self.thread.call(move |db| decide::cancel(db, Arc::clone(&ids), agent.clone(), acting.clone(), now)).await
    }

    /// A reviewer takes it back; again changes nothing. The caller has checked the decision, and the right to make it.
    pub async fn cancel_by(&self, id: ProposalId, decision: Approval, now: i64) -> Result<Record, StoreError> {
        let decision = Arc::new(decision);
        self.thread.call(move |db| decide::cancel_by(db, id, Arc::clone(&decision), now)).await
    }

    /// Proposals of these sources that were canceled after they were approved, and of which no source knows so far.
    pub async fn unsealed(&self, sources: &[SourceName]) -> Result<Vec<Record>, StoreError> {
        let sources: Arc<[SourceName]> = sources.into();
        self.thread.call(move |db| seal::unsealed(db, Arc::clone(&sources))).await
    }

    /// The source of a canceled proposal knows that it is not to be applied.
    pub async fn sealed(&self, id: ProposalId, now: i64) -> Result<(), StoreError> {
        self.thread.call(move |db| seal::sealed(db, id, now)).await
    }

    /// Moves every pending proposal whose time is over; returns how many. To be called now and then.
    pub async fn expire(&self, now: i64) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let moved = self.thread.call(move |db| decide::expire(db, now)).await?;
            all += moved;
            if moved == 0 {
                return Ok(all);
            }
        }
    }

    /// Hands out the oldest approved proposal of one of these sources that may be applied now, or one whose lease ran out.
    ///
    /// Not one that shares a row with a proposal that a worker holds or has tried. One that shares a row with a proposal that
    /// was applied since it was stored becomes `conflict` here, unless a worker has tried it already.
    pub async fn claim(&self, worker: &str, sources: &[SourceName], lease: Duration, now: i64) -> Result<Option<Claim>, StoreError> {
        let (worker, sources): (Arc<str>, Arc<[SourceName]>) = (worker.into(), sources.into());
        self.thread.call(move |db| lease::claim(db, Arc::clone(&worker), Arc::clone(&sources), lease, now)).await
    }

    /// Hands out this proposal, if it may be applied now; to the worker that holds it already, its lease lasts from `now` on. As
    /// [`Self::claim`] otherwise.
    pub async fn take(&self, id: ProposalId, worker: &str, lease: Duration, now: i64) -> Result<Option<Claim>, StoreError> {
        let worker: Arc<str> = worker.into();
        self.thread.call(move |db| lease::take(db, id, Arc::clone(&worker), lease, now)).await
    }

    /// The lease lasts from `now` on. One that ran out may still be extended while nobody took over.
    pub async fn extend(&self, claim: &Claim, lease: Duration, now: i64) -> Result<(), StoreError> {
        let (id, token) = (claim.record.id(), claim.token);
        self.thread.call(move |db| lease::extend(db, id, token, lease, now)).await
    }

    /// The worker gives it back, to be tried again from `retry_at` on. It keeps its rows: no other proposal on them is handed
    /// out before its outcome is known.
    pub async fn release(&self, claim: &Claim, error: &str, retry_at: i64, now: i64) -> Result<(), StoreError> {
        let (id, token, error): (_, _, Arc<str>) = (claim.record.id(), claim.token, error.into());
        self.thread.call(move |db| lease::release(db, id, token, Arc::clone(&error), retry_at, now)).await
    }

    /// How applying it ended. The same outcome again changes nothing; another is [`StoreError::Disagrees`]. Only whoever holds it
    /// may say so first.
    pub async fn report(&self, id: ProposalId, holder: Holder, report: &Report, now: i64) -> Result<Record, StoreError> {
        let (holder, report) = (Arc::new(holder), Arc::new(report.clone()));
        self.thread.call(move |db| report::report(db, id, Arc::clone(&holder), Arc::clone(&report), now)).await
    }

    /// Stores an API key; one with the same secret is returned as it is.
    pub async fn create_key(&self, key: &NewKey, now: i64) -> Result<ApiKey, StoreError> {
        let key = Arc::new(key.clone());
        self.thread.call(move |db| keys::create(db, Arc::clone(&key), now)).await
    }

    /// Every API key, newest first, revoked ones too.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.thread.call(keys::list).await
    }

    /// The key with this SHA-256 of its secret, unless it is revoked.
    pub async fn key_by_hash(&self, secret_hash: Digest) -> Result<Option<ApiKey>, StoreError> {
        self.thread.call(move |db| keys::by_hash(db, secret_hash)).await
    }

    /// Ends a key; `None` when there is none with this id. A revoked key stays as it was revoked.
    pub async fn revoke_key(&self, id: &str, now: i64) -> Result<Option<ApiKey>, StoreError> {
        let id: Arc<str> = id.into();
        self.thread.call(move |db| keys::revoke(db, Arc::clone(&id), now)).await
    }

    /// What a key decided on proposals that are not applied, newest first; the newest 10 000.
    pub async fn decisions_of_key(&self, id: &str) -> Result<Vec<Decided>, StoreError> {
        let id: Arc<str> = id.into();
        self.thread.call(move |db| undo::decisions(db, Arc::clone(&id))).await
    }

    /// Puts an approved proposal back to wait for a decision; false when it is not approved, or a worker has begun.
    pub async fn reopen(&self, id: ProposalId, reason: &str, now: i64) -> Result<bool, StoreError> {
        let reason: Arc<str> = reason.into();
        self.thread.call(move |db| undo::reopen(db, id, Arc::clone(&reason), now)).await
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store(..)")
    }
}

#[cfg(test)]
mod tests;
