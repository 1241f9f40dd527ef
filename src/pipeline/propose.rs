//! A write: its rows are read as they are and as they would be, and stored as a proposal. Nothing is written.

use std::rc::Rc;

use super::{
    binding::recorded,
    draft::Bound,
    open::Open,
    plan::Plan,
    reply,
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, Proposed, Report, WriteError},
    govern::{DraftRow, WriteDraft},
    journal::Status,
    policy::{Limits, OnWrite},
    proposal::{Content, Proposal, Proposer, RowChange, Verb},
    source::Setting,
    sql::without_tokens,
    store::{Created, OpenBounds, StoreError},
    types::ProposalId,
};

/// How often FROM or USING may match each row that one proposal may change, before the read is given up.
const MATCHES: u64 = 20;

impl<I: Interrupts> Session<I> {
    /// A write, top to bottom: its rows are read, what they would become is stored, and the client is told.
    pub(super) async fn propose(&mut self, plan: &Rc<Plan>, draft: &WriteDraft, bound: &Bound) -> Result<(), Failure> {
        let notice = draft.relation().writes.as_ref().is_some_and(|writes| writes.on_write == OnWrite::Notice);
        if notice && draft.has_returning() {
            return Err(WriteError::Returning.into());
        }
        let most = draft.max_rows().saturating_mul(MATCHES);
        let (mut open, rows) = self.read_write(plan, bound, most, || WriteError::Draft(draft.too_many())).await?;
        let stored = match self.changes(plan, draft, &rows, bound, &mut open).await {
            Ok(changes) => self.store_proposal(plan, draft, changes, &open).await,
            Err(failure) => Err(failure),
        };
        let stored = match stored {
            Ok(proposed) => Ok(proposed),
            Err(Failure::Error(error)) => Err(error),
            Err(failure) => {
                self.close_unforwarded(open, &failure);
                return Err(failure);
            }
        };
        self.answer_write(draft, notice, stored, open).await
    }

    /// The outcome is recorded, then the client is told: an error, or what the policy has for clients that cannot bear one.
    async fn answer_write(&mut self, draft: &WriteDraft, notice: bool, stored: Result<Proposed, Error>, open: Open) -> Result<(), Failure> {
        let verb = draft.verb();
        let failure = match stored {
            Ok(proposed) if notice => {
                let rows = proposed.rows;
                self.outcome(open, Status::Completed).await?;
                let report = Error::from(WriteError::Proposed(proposed)).report();
                self.notice(&Report { severity: crate::error::Severity::Notice, sqlstate: "00000".into(), ..report });
                reply::command_complete(self.client.outgoing(), &tag(verb, rows));
                return Ok(());
            }
            Err(Error::Write(WriteError::Nothing)) if notice => {
                self.outcome(open, Status::Completed).await?;
                reply::command_complete(self.client.outgoing(), &tag(verb, 0));
                return Ok(());
            }
            Ok(proposed) => Error::from(WriteError::Proposed(proposed)),
            Err(error) => error,
        };
        let report = failure.report();
        // That it was stored quotes nothing.
        let message = self.kept_message(&report.message, !matches!(failure, Error::Write(WriteError::Proposed(_)))).into_owned();
        self.outcome(open, Status::Failed { sqlstate: &report.sqlstate, message: &message }).await?;
        Err(failure.into())
    }

    /// What the rows would become; each new value is one of its column's type, and each row one that the policy lets be made.
    async fn changes(
        &mut self,
        plan: &Plan,
        draft: &WriteDraft,
        rows: &[DraftRow],
        bound: &Bound,
        open: &mut Open,
    ) -> Result<Vec<RowChange>, Failure> {
        let changes = draft.changes(rows, self.who.principal.tenant.as_ref()).map_err(WriteError::Draft)?;
        let given: Vec<Option<&[u8]>> = bound.parameters().iter().collect();
        for check in draft.checks_of_values(&changes, rows, &given).map_err(WriteError::Draft)? {
            self.asked(check, open).await?;
        }
        if changes.is_empty() {
            return Err(WriteError::Nothing.into());
        }
        // What has a key may have been applied: then it is that proposal.
        let repeated = self.said("pgwicket.idempotency_key", plan.text(), "idempotency_key").is_some();
        for check in draft.checks(&changes, self.who.principal.tenant.as_ref(), repeated).map_err(WriteError::Draft)? {
            if !self.asked(check.statement, open).await?.is_empty() {
                return Err(WriteError::Draft(check.broken).into());
            }
        }
        Ok(changes)
    }

    async fn store_proposal(&mut self, plan: &Plan, draft: &WriteDraft, changes: Vec<RowChange>, open: &Open) -> Result<Proposed, Failure> {
        let tenant = self.who.principal.tenant.clone();
        let store = self.lane.store().clone();
        let now = jiff::Timestamp::now().as_millisecond();
        let ttl = draft.relation().writes.as_ref().map_or(0, |writes| i64::try_from(writes.ttl.as_millis()).unwrap_or(i64::MAX));
        let proposal = Proposal {
            id: ProposalId::new(u64::try_from(now).unwrap_or_default(), rand::random()),
            created_at: now,
            expires_at: now.saturating_add(ttl),
            deployment: Some(self.policy.occasion(store.id(), now).deployment),
            proposer: Proposer {
                agent: self.who.principal.agent.clone(),
                tenant: self.who.principal.tenant.clone(),
                subject: self.who.principal.subject.clone(),
                attributes: self.who.principal.attributes.clone(),
            },
            run: self.who.principal.run.clone(),
            evidence: open.ticket.id(),
            policy: self.policy.digest,
            verb: draft.verb(),
            statement: recorded(plan.text()).into(),
            reason: self.said("pgwicket.reason", plan.text(), "reason"),
            time_zone: self.derived.upstream.value(Setting::TimeZone).into(),
            idempotency_key: self.said("pgwicket.idempotency_key", plan.text(), "idempotency_key"),
            target: draft.target(tenant.as_ref()).map_err(WriteError::Draft)?,
            changes,
        };
        let settle = self.policy.settlement(&proposal, now);
        let agent = self.policy.agents.get(&self.who.principal.agent);
        let limits = agent.map(|agent| agent.limits.clone()).unwrap_or_default();
        let bounds = OpenBounds { proposals: limits.open_proposals, bytes: limits.open_proposal_bytes };
        // Whether a proposal was stored that is given up here nobody was told: a repeat of the same write is stored once.
        let stored = self.hear(store.create_within(Content::of(proposal), settle, bounds, now)).await?;
        let Created { record, repeated } = stored.map_err(|error| unstored(&error, &limits))?;
        let stored = record.content.proposal();
        tracing::info!(
            proposal = %stored.id, agent = %stored.proposer.agent, rows = stored.changes.len(), repeated, status = %record.status, "proposal"
        );
        Ok(Proposed { id: stored.id, status: record.status, rows: stored.changes.len() as u64, evidence: stored.evidence, repeated })
    }

    /// A tag of a comment of the statement, else the setting.
    fn said(&self, setting: &str, text: &str, tag: &str) -> Option<Box<str>> {
        let set = || self.settings.value(setting).filter(|value| !value.is_empty()).map(Into::into);
        let said: Option<Box<str>> = super::comment::tag(text, tag).map(Into::into).or_else(set);
        said.map(|said| without_tokens(&said).into())
    }
}

/// A proposal that is not known to be stored is not said to be.
fn unstored(error: &StoreError, limits: &Limits) -> Error {
    let too_many = |what: String, setting| {
        let raised_by = limits.raised_by.as_deref().unwrap_or("whoever writes the policy").into();
        WriteError::TooManyOpen { what: what.into(), setting, raised_by }.into()
    };
    if let StoreError::TooManyOpen(most) = error {
        return too_many(format!("{most} proposals of this agent wait or are being applied"), "open_proposals");
    }
    if let StoreError::TooMuchOpen(most) = error {
        let what = format!("with it, the proposals of this agent that wait or are being applied would hold more than {most} bytes");
        return too_many(what, "open_proposal_bytes");
    }
    if let StoreError::KeyReused(proposal) = error {
        return WriteError::KeyReused(*proposal).into();
    }
    tracing::error!(%error, "a proposal was not stored");
    WriteError::Unstored.into()
}

/// The command tag of a write that changed so many rows.
fn tag(verb: Verb, rows: u64) -> String {
    match verb {
        Verb::Insert | Verb::Upsert => format!("INSERT 0 {rows}"),
        Verb::Update => format!("UPDATE {rows}"),
        Verb::Delete => format!("DELETE {rows}"),
        Verb::Merge => format!("MERGE {rows}"),
    }
}
