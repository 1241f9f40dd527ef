//! A write: its rows are read as they are and as they would be, and stored as a proposal. Nothing is written.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::{
    appended::Values,
    bind::Parameters,
    open::Open,
    plan::{Action, Plan},
    reply,
    session::{Ended, Interrupt, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, Proposed, Report, SessionError, WriteError},
    govern::{DraftRow, WriteDraft},
    journal::{Status, split_data_row},
    policy::OnWrite,
    proposal::{Content, Proposal, Verb},
    source::{BindParameters, Event, ServerError, Setting, Settings, SourceError},
    store::{Created, StoreError},
    types::ProposalId,
};

/// Row bytes that the read of one write may return. Unit: bytes.
const MAX_BYTES: usize = 16 << 20;
/// How often FROM or USING may match each row that one proposal may change, before the read is given up.
const MATCHES: u64 = 20;
/// The portal the read runs in.
const PORTAL: &str = "pgwicket_draft";

/// What a write's Bind gave, until its Execute.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) formats: Vec<i16>,
    pub(super) values: Box<[u8]>,
    pub(super) count: usize,
}

impl Bound {
    fn parameters(&self) -> Parameters<'_> {
        Parameters::new(self.count, &self.values)
    }
}

/// What happened first.
enum Woken<'a> {
    Event(Result<Event<'a>, SourceError>),
    Interrupt(Interrupt),
    TimedOut,
}

impl<I: Interrupts> Session<I> {
    /// One write, top to bottom. Everything before it has been settled.
    pub(super) async fn propose(&mut self, plan: &Rc<Plan>, bound: &Bound) -> Result<(), Failure> {
        let Action::Propose(draft) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        let notice = draft.relation().writes.as_ref().is_some_and(|writes| writes.on_write == OnWrite::Notice);
        if notice && draft.has_returning() {
            return Err(WriteError::Returning.into());
        }
        self.describe_plan(plan).await?;
        self.need_upstream(draft.read().source()).await?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        self.formats.0.clone_from(&bound.formats);
        let mut open = self.decide(plan, Some((bound.parameters(), &Rc::from([]))))?; // recorded before anything is forwarded
        let rows = match self.read_rows(draft, bound, &mut open).await {
            Ok(rows) => rows,
            Err(failure) => {
                self.close_unforwarded(open, &failure);
                return Err(failure);
            }
        };
        let stored = self.store_proposal(plan, draft, &rows, &open).await;
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
        self.outcome(open, Status::Failed { sqlstate: &report.sqlstate, message: &report.message }).await?;
        Err(failure.into())
    }

    /// Runs the draft's read and keeps its rows; they go into evidence and nowhere else.
    async fn read_rows(&mut self, draft: &WriteDraft, bound: &Bound, open: &mut Open) -> Result<Vec<DraftRow>, Failure> {
        let statement = draft.read();
        let Self { upstream: Some(upstream), who, settings, derived, evidence, transaction, formats, own, .. } = self else {
            return Err(SourceError::NotPrepared.into());
        };
        upstream.lease.apply_settings(&Rc::new(exact(&derived.upstream)));
        upstream.lease.prepare(statement);
        let values = Values { who, settings, derived, evidence, transaction, own };
        values.with(statement.appended(), |appended| {
            let bind = BindParameters {
                client_formats: &formats.0,
                client_values: &bound.values,
                client_count: bound.count,
                appended,
                result_formats: &[],
            };
            upstream.lease.bind(statement, PORTAL, &bind)
        })?;
        let limit = i32::try_from(draft.max_rows().saturating_mul(MATCHES).saturating_add(1)).unwrap_or(i32::MAX);
        upstream.lease.execute(PORTAL, limit);
        upstream.lease.close_portal(PORTAL);
        upstream.lease.sync();
        upstream.unsynced = false;
        upstream.lease.send().await;
        self.start_clock();
        let bytes = self.collect(draft, open).await?;
        let mut rows = Vec::new();
        let mut rest = &bytes[..];
        while let Some((row, after)) = split_data_row(rest) {
            rows.push(row.into_iter().map(text).collect::<Result<DraftRow, Error>>()?);
            rest = after;
        }
        Ok(rows)
    }

    /// DataRow messages up to ReadyForQuery.
    async fn collect(&mut self, draft: &WriteDraft, open: &mut Open) -> Result<Vec<u8>, Failure> {
        let mut collected = Vec::new();
        let mut failure: Option<Error> = None;
        let mut interrupted = None;
        loop {
            let Self { upstream: Some(upstream), interrupts, lane, timer, derived, .. } = self else {
                return Err(SourceError::NotPrepared.into());
            };
            let bounded = derived.statement_timeout > 0 && interrupted.is_none();
            let woken = tokio::select! {
                biased;
                event = upstream.lease.next() => Woken::Event(event),
                interrupt = interrupts.interrupted() => Woken::Interrupt(interrupt),
                () = timer.as_mut(), if bounded => Woken::TimedOut,
            };
            match woken {
                Woken::Event(Ok(Event::Rows { bytes, rows })) => {
                    if failure.is_none() && collected.len() + bytes.len() > MAX_BYTES {
                        failure = Some(WriteError::TooLarge.into());
                    } else if failure.is_none() {
                        collected.extend_from_slice(bytes);
                        failure = open.recorder.record(&mut lane.journal(), bytes, rows).err().map(Error::from);
                    }
                    if failure.is_none() || interrupted.is_some() {
                        continue;
                    }
                    interrupted = Some(SessionError::Canceled);
                }
                Woken::Event(Ok(Event::Error(error))) => {
                    failure = failure.or_else(|| Some(self.draft_error(open, &error, interrupted.take())));
                    continue;
                }
                Woken::Event(Ok(Event::Ready(status))) => {
                    self.upstream_ready(status);
                    return failure.map_or(Ok(collected), |failure| Err(failure.into()));
                }
                Woken::Event(Ok(Event::Message { tag: b's', .. })) => {
                    failure = failure.or(Some(WriteError::Draft(draft.too_many()).into()));
                    continue;
                }
                Woken::Event(Ok(Event::Prepared | Event::Controlled { .. } | Event::Message { .. })) => continue,
                Woken::Event(Err(error)) => return Err(self.lose_upstream(error).into()),
                Woken::Interrupt(Interrupt::Close) => {
                    return Err(Ended::Fatal(Box::new(Error::from(SessionError::ShuttingDown).report())).into());
                }
                Woken::Interrupt(Interrupt::Cancel) => interrupted = Some(SessionError::Canceled),
                Woken::TimedOut => interrupted = Some(SessionError::TimedOut),
            }
            let Some(upstream) = &mut self.upstream else { return Err(SourceError::NotPrepared.into()) };
            let token = upstream.lease.cancel_token();
            drop(spawn_local(async move { drop(token.cancel().await) }));
        }
    }

    /// What the client may read of an error of the draft's read.
    fn draft_error(&mut self, open: &Open, error: &ServerError, interrupted: Option<SessionError>) -> Error {
        if let Some(reason) = interrupted.filter(|_| &*error.sqlstate == "57014") {
            return reason.into();
        }
        if super::server_error::is_stale_plan(error) {
            self.lane.plans().forget(&open.plan);
            if let Some(upstream) = &mut self.upstream {
                upstream.discard = true;
            }
        }
        let relations = open.plan.governed().map_or(&[][..], |governed| governed.relations());
        Error::Server(Box::new(super::server_error::safe(error, relations, &self.agent)))
    }

    async fn store_proposal(&mut self, plan: &Plan, draft: &WriteDraft, rows: &[DraftRow], open: &Open) -> Result<Proposed, Error> {
        let tenant = self.who.principal.tenant.clone();
        let changes = draft.changes(rows, tenant.as_ref()).map_err(WriteError::Draft)?;
        if changes.is_empty() {
            return Err(WriteError::Nothing.into());
        }
        let store = self.lane.store().clone();
        let now = jiff::Timestamp::now().as_millisecond();
        let ttl = draft.relation().writes.as_ref().map_or(0, |writes| i64::try_from(writes.ttl.as_millis()).unwrap_or(i64::MAX));
        let proposal = Proposal {
            id: ProposalId::new(u64::try_from(now).unwrap_or_default(), rand::random()),
            created_at: now,
            expires_at: now.saturating_add(ttl),
            agent: self.who.principal.agent.clone(),
            run: self.who.principal.run.clone(),
            evidence: open.ticket.id(),
            policy: self.policy.digest,
            verb: draft.verb(),
            statement: plan.text().into(),
            reason: self.said("pgwicket.reason", plan.text(), "reason"),
            time_zone: self.derived.upstream.value(Setting::TimeZone).into(),
            idempotency_key: self.said("pgwicket.idempotency_key", plan.text(), "idempotency_key"),
            target: draft.target(tenant.as_ref()).map_err(WriteError::Draft)?,
            changes,
        };
        let settle = self.policy.settlement(&proposal, now);
        let Created { record, repeated } = store.create(Content::of(proposal), settle, now).await.map_err(|error| unstored(&error))?;
        let stored = record.content.proposal();
        tracing::info!(
            proposal = %stored.id, agent = %stored.agent, rows = stored.changes.len(), repeated, status = %record.status, "proposal"
        );
        Ok(Proposed { id: stored.id, status: record.status, rows: stored.changes.len() as u64, evidence: stored.evidence, repeated })
    }

    /// A tag of a comment of the statement, else the setting.
    fn said(&self, setting: &str, text: &str, tag: &str) -> Option<Box<str>> {
        let set = || self.settings.value(setting).filter(|value| !value.is_empty()).map(Into::into);
        super::comment::tag(text, tag).map(Into::into).or_else(set)
    }
}

/// What text forms depend on: the client's time zone and order of day and month decide what its own values mean; how values
/// are printed is the same for every proposal.
fn exact(client: &Settings) -> Settings {
    let order = client.value(Setting::DateStyle).rsplit_once(", ").map_or("MDY", |(_, order)| order);
    let zone = client.value(Setting::TimeZone);
    let settings =
        Settings::default().with(Setting::TimeZone, zone).and_then(|settings| settings.with(Setting::DateStyle, &format!("ISO, {order}")));
    // Both are values that the client's own settings hold already.
    settings.unwrap_or_default()
}

/// A proposal that is not known to be stored is not said to be.
fn unstored(error: &StoreError) -> Error {
    if let StoreError::KeyReused(proposal) = error {
        return WriteError::KeyReused(*proposal).into();
    }
    tracing::error!(%error, "a proposal was not stored");
    WriteError::Unstored.into()
}

fn text(value: Option<&[u8]>) -> Result<Option<Box<str>>, Error> {
    let text = |value| str::from_utf8(value).map(Into::into).map_err(|_not_utf8| SourceError::Protocol("a value that is not UTF-8").into());
    value.map(text).transpose()
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
