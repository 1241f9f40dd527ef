//! The read of a write: run like any other, its rows kept here.

use std::{rc::Rc, sync::Arc};

use tokio::task::spawn_local;

use super::{
    answer::READ_AHEAD,
    appended::Values,
    bind::Parameters,
    interruption::{Insist, Interruption},
    open::Open,
    plan::{Action, Plan},
    prepared::Analysed,
    session::{Derived, Ended, Interrupt, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, SessionError, WriteError},
    govern::{DraftRow, GovernedStatement, Write},
    journal::split_data_row,
    source::{BindParameters, Event, ServerError, Setting, Settings, SourceError},
};

/// Row bytes that the read of one write may return. Unit: bytes.
const MAX_BYTES: usize = 16 << 20;
/// The portal the read runs in.
const PORTAL: &str = "pgwicket_draft";

/// What a write's Bind gave, until its Execute.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) formats: Vec<i16>,
    pub(super) values: Box<[u8]>,
    pub(super) count: usize,
    /// What the statement's literals are read under; `None`: what is set now.
    pub(super) analysed: Option<Analysed>,
}

impl Bound {
    /// The values.
    pub(super) fn parameters(&self) -> Parameters<'_> {
        Parameters::new(self.count, &self.values)
    }

    /// What the literals of this statement are read under.
    pub(super) fn analysed(&self, statement: &GovernedStatement, now: &Derived) -> Rc<Settings> {
        Rc::clone(self.analysed.as_ref().unwrap_or(&now.analysed()).at(statement))
    }
}

/// What happened first.
enum Woken<'a> {
    Event(Result<Event<'a>, SourceError>),
    Interrupt(Interrupt),
    TimedOut,
    /// A cancel was sent some time ago.
    StillAtWork(Insist),
    /// The transaction at the source has been open for as long as it may be.
    TooOld,
    /// The client sent something, or is gone.
    Client(bool),
}

impl<I: Interrupts> Session<I> {
    /// One write. Everything before it has been settled.
    pub(super) async fn write(&mut self, plan: &Rc<Plan>, bound: &Bound) -> Result<(), Failure> {
        let Action::Write(write) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        match &**write {
            Write::Proposal(draft) => self.propose(plan, draft, bound).await,
            Write::Withdrawal(_) => self.withdraw(plan, bound).await,
        }
    }

    /// Runs the read of a write and keeps its rows; they go into evidence and nowhere else. More than `most` are `too_many`.
    /// The evidence that it returns is still open. Everything before the write has been settled.
    pub(super) async fn read_write(
        &mut self,
        plan: &Rc<Plan>,
        bound: &Bound,
        most: u64,
        too_many: impl Fn() -> WriteError,
    ) -> Result<(Open, Vec<DraftRow>), Failure> {
        let Action::Write(write) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        let statement = write.read();
        self.ask_source(plan).await?;
        if let (Write::Proposal(draft), Some(description)) = (&**write, plan.description()) {
            draft.check_types(description.result_types(), &self.agent.visible).map_err(Error::Refused)?;
        }
        if let Err(failure) = self.ready_for(statement).await {
            return Err(self.unreached(plan, failure));
        }
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        self.formats.0.clone_from(&bound.formats);
        let mut open = self.decide(plan, Some((bound.parameters(), &Rc::from([]))))?; // recorded before anything is forwarded
        let most = i32::try_from(most.saturating_add(1)).unwrap_or(i32::MAX);
        match self.read_rows(statement, bound, most, &too_many, &mut open).await {
            Ok(rows) => Ok((open, rows)),
            Err(failure) => {
                self.close_unforwarded(open, &failure);
                Err(failure)
            }
        }
    }

    /// What the source answers to a statement of pgwicket's own: whether new values are of the types of their columns, whether rows may be
    /// made. Part of the same write.
    pub(super) async fn asked(&mut self, statement: GovernedStatement, open: &mut Open) -> Result<Vec<DraftRow>, Failure> {
        self.ready_for(&statement).await?;
        self.formats.0.clear();
        let none = || WriteError::Nothing;
        self.read_rows(&Arc::new(statement), &Bound::default(), 0, &none, open).await
    }

    async fn read_rows(
        &mut self,
        statement: &Arc<GovernedStatement>,
        bound: &Bound,
        most: i32,
        too_many: &impl Fn() -> WriteError,
        open: &mut Open,
    ) -> Result<Vec<DraftRow>, Failure> {
        let Self { upstream: Some(upstream), who, settings, derived, evidence, transaction, formats, own, lane, .. } = self else {
            return Err(SourceError::NotPrepared.into());
        };
        upstream.lease.apply_settings(&lane.share(exact(&derived.upstream)));
        // Anew each time, so that it is never out of date.
        upstream.lease.prepare_unnamed_under(statement, &bound.analysed(statement, derived));
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
        upstream.lease.execute(PORTAL, most);
        upstream.lease.close_portal(PORTAL);
        upstream.lease.sync();
        upstream.unsynced = false;
        upstream.lease.send_now();
        self.start_clock();
        let bytes = self.collect(too_many, open).await?;
        let mut rows = Vec::new();
        let mut rest = &bytes[..];
        while let Some((row, after)) = split_data_row(rest) {
            rows.push(row.into_iter().map(text).collect::<Result<DraftRow, Error>>()?);
            rest = after;
        }
        Ok(rows)
    }

    /// DataRow messages up to ReadyForQuery.
    async fn collect(&mut self, too_many: &impl Fn() -> WriteError, open: &mut Open) -> Result<Vec<u8>, Failure> {
        let mut collected = Vec::new();
        let mut failure: Option<Error> = None;
        let mut interruption = Interruption::default();
        loop {
            let Self { client, upstream: Some(upstream), interrupts, lane, timer, age, derived, .. } = self else {
                return Err(SourceError::NotPrepared.into());
            };
            let bounded = derived.statement_timeout > 0 && !interruption.is_under_way();
            let aged = upstream.ends.is_some();
            let may_read = client.incoming().len() < READ_AHEAD;
            let woken = tokio::select! {
                biased;
                event = upstream.lease.next() => Woken::Event(event),
                interrupt = interrupts.interrupted() => Woken::Interrupt(interrupt),
                () = timer.as_mut(), if bounded => Woken::TimedOut,
                () = age.as_mut(), if aged => Woken::TooOld,
                insist = interruption.again() => Woken::StillAtWork(insist),
                read = client.watch(true), if may_read => Woken::Client(read.is_ok()),
            };
            match woken {
                Woken::Event(Ok(Event::Rows { bytes, rows })) => {
                    if failure.is_none() && collected.len() + bytes.len() > MAX_BYTES {
                        failure = Some(WriteError::TooLarge.into());
                    } else if failure.is_none() {
                        collected.extend_from_slice(bytes);
                        failure = open.recorder.record(&mut lane.journal(), bytes, rows).err().map(Error::from);
                    }
                    if failure.is_none() || interruption.is_under_way() {
                        continue;
                    }
                    interruption.begin(SessionError::Canceled);
                }
                Woken::Event(Ok(Event::Error(error))) => {
                    failure = failure.or_else(|| Some(self.draft_error(open, &error, interruption.take())));
                    continue;
                }
                Woken::Event(Ok(Event::Ready(status))) => {
                    self.upstream_ready(status);
                    return failure.map_or(Ok(collected), |failure| Err(failure.into()));
                }
                Woken::Event(Ok(Event::Message { tag: b's', .. })) => {
                    failure = failure.or_else(|| Some(too_many().into()));
                    continue;
                }
                Woken::Event(Ok(Event::Prepared | Event::Controlled { .. } | Event::Message { .. })) | Woken::Client(true) => continue,
                Woken::Event(Err(error)) => return Err(self.lose_upstream(error).into()),
                Woken::Interrupt(Interrupt::Close) => {
                    return Err(Ended::Fatal(Box::new(Error::from(SessionError::ShuttingDown).report())).into());
                }
                Woken::Interrupt(Interrupt::Cancel) => interruption.begin(SessionError::Canceled),
                Woken::TooOld => return Err(self.end_in_hand().into()),
                // What a client that is gone asked for is not proposed.
                Woken::Client(false) => return Err(self.gone().into()),
                Woken::StillAtWork(Insist::Ask) => {}
                Woken::StillAtWork(Insist::GiveUp) => return Err(self.give_up(interruption.take()).into()),
                Woken::TimedOut => interruption.begin(SessionError::TimedOut),
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
        }
        let client = (open.plan.text(), None);
        Error::Server(Box::new(super::server_error::safe(error, open.plan.governed().map(AsRef::as_ref), &self.agent, client)))
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

fn text(value: Option<&[u8]>) -> Result<Option<Box<str>>, Error> {
    let text = |value| str::from_utf8(value).map(Into::into).map_err(|_not_utf8| SourceError::Protocol("a value that is not UTF-8").into());
    value.map(text).transpose()
}
