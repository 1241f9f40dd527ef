//! What the store gives and takes.

use crate::{
    proposal::{Approval, Content, Decision, Outcome, Status},
    types::{AgentName, Digest, ProposalId, ReviewerName, SourceName, TenantId},
};

/// A proposal as it is stored. Unit of every time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What is proposed; never changes.
    pub content: Content,
    /// Where it stands. One that waits past its time is still pending here: ask [`Self::status_at`].
    pub status: Status,
    /// The decisions, oldest first.
    pub approvals: Vec<Approval>,
    /// Other proposals that were open on one of its rows when one of the two was stored; the newest 100.
    pub conflicts_with: Vec<ProposalId>,
    /// Those of the same agent acting for the same tenant, which alone the proposer may see; the newest 100.
    pub own_conflicts: Vec<ProposalId>,
    /// How often a worker gave it back or lost it.
    pub attempts: u64,
    /// Why the last attempt ended.
    pub last_error: Option<Box<str>>,
    /// How applying it ended.
    pub result: Option<Reported>,
    /// The settlement rule that approved it.
    pub settled_by: Option<Box<str>>,
    /// The last change of anything here but the lease.
    pub updated_at: i64,
    /// When it was approved or rejected.
    pub decided_at: Option<i64>,
    /// When it was reported as applied.
    pub applied_at: Option<i64>,
    /// The worker that holds or last held it.
    pub worker: Option<Box<str>>,
    /// Until when the worker holds it, while it is applying.
    pub lease_until: Option<i64>,
}

/// What [`super::Store::create`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The stored proposal.
    pub record: Record,
    /// It was there before: the same change, or the same idempotency key with the same change.
    pub repeated: bool,
}

/// Which proposals to list. An empty filter lists all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// In one of these; empty for any.
    pub statuses: Vec<Status>,
    /// Proposed by this agent.
    pub agent: Option<AgentName>,
    /// Proposed for this tenant, or by an agent that was bound to none: what one session may see of its own.
    pub acting: Option<Acting>,
    /// On rows of this tenant.
    pub tenant: Option<TenantId>,
    /// On one of these sources; empty for any.
    pub sources: Vec<SourceName>,
    /// On this relation: `schema.name` or the bare name, as agents know it.
    pub relation: Option<Box<str>>,
    /// With this text somewhere in its content (statement, reason, values, names), upper and lower case alike for ASCII.
    /// Read one by one, newest first: not for a hot path.
    pub text: Option<Box<str>>,
}

/// For whom an agent acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting(pub Option<TenantId>);

/// What one agent may have open for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBounds {
    /// Proposals.
    pub proposals: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// Who reports how applying ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Whoever has the lease with this token.
    Token(i64),
    /// Whoever holds it under this name.
    Worker(Box<str>),
}

/// How much to list, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many, 1 to 1000; outside of that the nearer bound.
    pub limit: u32,
    /// [`Page::next`] of the page before; `None` for the first.
    pub cursor: Option<Box<str>>,
    /// Bytes of content at most, or one proposal: a page of large ones is shorter.
    pub bytes: u64,
}

/// A page, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The proposals.
    pub records: Vec<Record>,
    /// Stored proposals in the range of the page whose content is malformed.
    pub malformed: Vec<ProposalId>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Box<str>>,
}

/// A worker's lease on a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The proposal, with its approvals, as it was when it was claimed.
    pub record: Record,
    /// Who holds it.
    pub worker: Box<str>,
    /// The fencing token: grows with each lease on the proposal.
    pub token: i64,
}

/// How an attempt to apply a proposal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How.
    pub outcome: Outcome,
    /// Who says so: a worker's name, or the API key's.
    pub reporter: Box<str>,
    /// The key the reporter gave.
    pub idempotency_key: Option<Box<str>>,
    /// Rows that the source changed.
    pub affected_rows: Option<u64>,
    /// What else the reporter says of the commit, a JSON text.
    pub metadata: Option<Box<str>>,
    /// The source's error, or why it was given up.
    pub error: Option<Box<str>>,
    /// Of a conflict: what was found instead, a JSON text.
    pub differences: Option<Box<str>>,
}

/// A report and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What was said.
    pub report: Report,
    /// Unit: milliseconds since the Unix epoch.
    pub at: i64,
}

/// One move of a proposal: its audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalEvent {
    /// Unit: milliseconds since the Unix epoch.
    pub at: i64,
    /// Who: `agent NAME`, `reviewer NAME`, `rule NAME`, `worker NAME`, `reporter NAME`, `operator` or `store`.
    pub actor: Box<str>,
    /// Where it stood; `None` when it was stored.
    pub from: Option<Status>,
    /// Where it stands after; the same for a decision that was not the last one needed.
    pub to: Status,
    /// Reason, error or what else there is to say.
    pub note: Option<Box<str>>,
}

/// An API key to be made. The secret itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What it is for, in the operator's words.
    pub name: Box<str>,
    /// What it may do. A scope has no space.
    pub scopes: Vec<Box<str>>,
    /// Whose decisions it carries.
    pub reviewer: Option<ReviewerName>,
    /// Sources that a worker's key is for.
    pub sources: Vec<SourceName>,
    /// SHA-256 of the secret.
    pub secret_hash: Digest,
}

/// A stored API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// `key_` and 16 hexadecimal digits; no secret.
    pub id: Box<str>,
    /// What it is for.
    pub name: Box<str>,
    /// What it may do.
    pub scopes: Vec<Box<str>>,
    /// Whose decisions it carries.
    pub reviewer: Option<ReviewerName>,
    /// Sources that a worker's key is for.
    pub sources: Vec<SourceName>,
    /// Unit: milliseconds since the Unix epoch.
    pub created_at: i64,
    /// When it ended. Unit: milliseconds since the Unix epoch.
    pub revoked_at: Option<i64>,
}

/// A decision that an API key carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// On which proposal.
    pub proposal: ProposalId,
    /// What.
    pub decision: Decision,
    /// Where the proposal stands.
    pub status: Status,
    /// Unit: milliseconds since the Unix epoch.
    pub at: i64,
}

impl Record {
    /// Its id.
    pub fn id(&self) -> ProposalId {
        self.content.proposal().id
    }

    /// Where it stands at a time: one that waits past its time has expired, even when nobody wrote that down yet.
    /// Unit: milliseconds since the Unix epoch.
    pub fn status_at(&self, now: i64) -> Status {
        if self.status == Status::Pending && self.content.proposal().expires_at <= now { Status::Expired } else { self.status }
    }
}

impl PageRequest {
    /// Bytes of content on a page, where nobody asks for less.
    pub const BYTES: u64 = 16 * 1024 * 1024;
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: 50, cursor: None, bytes: Self::BYTES }
    }
}
