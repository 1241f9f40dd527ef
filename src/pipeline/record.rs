//! What is recorded and told when a statement ends, well or not.

use std::borrow::Cow;

use super::{
    binding::recorded,
    describe::Description,
    open::{Open, Stopped},
    queue::Tell,
    reply,
    session::{Ended, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, ProtocolError, Report, SessionError, Severity, TransactionError},
    journal::{BoundParameters, Columns, Decision, JournalError, Outcome, Position, Refused, Route, Status},
    policy::Durability,
    sql::without_tokens,
};

/// What evidence has in the place of an error's message, which may quote a parameter.
const REDACTED: &str = "(redacted, as the policy says of parameters)";

/// How the source ended a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending<'a> {
    /// The body of its CommandComplete.
    Complete(&'a [u8]),
    /// PortalSuspended, of what has no portal on this side that would go on.
    Suspended,
    /// There was nothing to run, or its rows were cut off.
    Empty,
}

impl<I: Interrupts> Session<I> {
    /// What a decision says of the session and the text, as evidence keeps it, before anything is decided.
    pub(super) fn undecided<'a>(&'a self, text: &'a str) -> Decision<'a> {
        Decision {
            principal: &self.who.principal,
            session: &self.who.session,
            application_name: self.settings.value("application_name").unwrap_or_default(),
            traceparent: None,
            source: None,
            relations: &[],
            client_text: text.as_bytes(),
            fingerprint: "",
            parameters: BoundParameters::default(),
            governed_text: None,
            policy_epoch: self.policy.epoch,
            policy_digest: self.policy.digest,
            route: Route::Source,
        }
    }

    /// The source completed a statement: the outcome is recorded, and only then is the client told.
    pub(super) async fn complete(&mut self, open: Open, ending: Ending<'_>) -> Result<(), Error> {
        let mut open = open;
        let (rows, columns) = (open.recorder.rows(), open.columns.split());
        let verb = if open.cursor.is_some() { "FETCH" } else { "SELECT" };
        let (copy, explain, tell) = (open.copy.take(), open.explain.take(), open.tell);
        let stopped = open.stopped.clone();
        let error = stopped.as_ref().and_then(Stopped::error);
        if let Some(error) = error {
            self.close_failed(open, Some(&error));
            return Err(error);
        }
        let status = if stopped.is_some() { Status::Truncated } else { Status::Completed };
        let position = self.close_with(open, status)?;
        self.durable(position).await?;
        if !columns.is_empty() {
            self.client.outgoing().unsplit(columns);
        }
        if let Some(mut copy) = copy {
            if stopped.is_some() {
                truncated(rows).write(self.client.outgoing());
            }
            copy.end(self.client.outgoing());
            reply::command_complete(self.client.outgoing(), &format!("COPY {rows}"));
            return Ok(());
        }
        if let Some((plan, columns)) = explain {
            plan.end(columns, self.client.outgoing());
            reply::command_complete(self.client.outgoing(), "EXPLAIN");
            return Ok(());
        }
        let out = self.client.outgoing();
        match (stopped, ending) {
            (Some(_), _) => {
                truncated(rows).write(out);
                reply::command_complete(out, &format!("{verb} {rows}"));
            }
            (None, _) if tell == Tell::Nobody => {}
            (None, Ending::Complete(tag)) => reply::with_body(out, b'C', tag),
            (None, Ending::Suspended) => reply::bare(out, b's'),
            (None, Ending::Empty) => reply::bare(out, b'I'),
        }
        Ok(())
    }

    /// Records how a statement ended, as durably as the policy asks.
    pub(super) async fn outcome(&mut self, open: Open, status: Status<'_>) -> Result<(), Error> {
        let position = self.close_with(open, status)?;
        Ok(self.durable(position).await?)
    }

    /// Records an outcome.
    fn close_with(&mut self, mut open: Open, status: Status<'_>) -> Result<Position, JournalError> {
        self.count_fetched(&mut open);
        let duration = open.started.elapsed();
        self.lane.figures().ended(duration, open.recorder.rows(), open.recorder.bytes());
        if let Some(running) = &open.running {
            running.returned(open.recorder.rows(), open.recorder.bytes());
        }
        let description = open.plan.description();
        let outcome = Outcome {
            status,
            duration: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            columns: Columns {
                row_description: description.as_deref().map_or(&[][..], Description::row_body),
                result_formats: open.formats.as_deref(),
            },
        };
        self.lane.journal().outcome(open.ticket, open.recorder, &outcome)
    }

    /// Counts what a FETCH returned so far among what its cursor did.
    pub(super) fn count_fetched(&mut self, open: &mut Open) {
        if let Some(number) = open.cursor {
            let more = open.count();
            self.cursors.spend(number, more);
        }
    }

    async fn durable(&self, position: Position) -> Result<(), JournalError> {
        if self.agent.durability == Durability::Strict {
            let durable = self.lane.journal().durable(position);
            durable.await?;
        }
        Ok(())
    }

    /// Records the outcome of a statement that the client learns nothing more of; a journal that cannot write is
    /// told to the operator, and to the client by the next statement.
    fn close_quietly(&mut self, open: Open, status: Status<'_>) {
        let id = open.ticket.id();
        if let Err(error) = self.close_with(open, status) {
            tracing::error!(evidence = %id, %error, "could not record an outcome");
        }
    }

    /// A portal that was closed or replaced before its end, or never executed.
    pub(super) fn close_early(&mut self, open: Open) {
        let status = if open.recorder.rows() > 0 { Status::Completed } else { Status::NotExecuted };
        self.close_quietly(open, status);
    }

    /// A statement that failed with this error; or, without one, never ran because another failed before it.
    pub(super) fn close_failed(&mut self, open: Open, failure: Option<&Error>) {
        let Some(failure) = failure else { return self.close_quietly(open, Status::NotExecuted) };
        let report = failure.report();
        let status = if matches!(failure, Error::Session(SessionError::Canceled)) {
            Status::Canceled
        } else if matches!(failure, Error::Session(SessionError::RowLimit(_) | SessionError::ByteLimit(_))) {
            Status::Limit
        } else {
            let message = self.kept_message(&report.message, true);
            return self.close_quietly(open, Status::Failed { sqlstate: &report.sqlstate, message: &message });
        };
        self.close_quietly(open, status);
    }

    /// The words of an error as evidence keeps them. `of_values`: they may quote a parameter, whoever says them.
    pub(super) fn kept_message<'a>(&self, message: &'a str, of_values: bool) -> Cow<'a, str> {
        if of_values && !self.agent.evidence_parameters { Cow::Borrowed(REDACTED) } else { without_tokens(message) }
    }

    /// A statement that was decided on and could not be forwarded.
    pub(super) fn close_unforwarded(&mut self, open: Open, failure: &Failure) {
        match failure {
            Failure::Error(error) => self.close_failed(open, Some(error)),
            Failure::PassedOver => self.close_quietly(open, Status::NotExecuted),
            Failure::Ended(Ended::Gone) => self.close_quietly(open, Status::ClientGone),
            Failure::Ended(Ended::Fatal(report)) => {
                self.close_quietly(open, Status::Failed { sqlstate: &report.sqlstate, message: &report.message });
            }
        }
    }

    /// The connection ends: every open statement gets its outcome, and the source stops working for it.
    pub(super) fn abandon(&mut self, status: Status<'_>) {
        for open in self.take_open() {
            self.close_quietly(open, status);
        }
        // Dropped while it works, it cancels and closes itself.
        self.upstream = None;
        self.aside = None;
        self.kept.clear();
    }

    /// A message is refused: what came before it is settled first, and if that failed, this one is passed over.
    pub(super) async fn refuse(&mut self, failure: Failure, text: Option<&str>) -> Result<(), Ended> {
        self.refuse_as(failure, text, false).await
    }

    /// As [`Self::refuse`], with values in hand.
    pub(super) async fn refuse_bound(&mut self, failure: Failure, text: Option<&str>) -> Result<(), Ended> {
        self.refuse_as(failure, text, true).await
    }

    async fn refuse_as(&mut self, failure: Failure, text: Option<&str>, of_values: bool) -> Result<(), Ended> {
        let error = match failure {
            Failure::Error(error) => error,
            Failure::PassedOver => return self.was_not_run(text).await,
            Failure::Ended(ended) => return Err(ended),
        };
        self.drain().await?;
        if is_undecided(&error) {
            self.was_not_run(text).await?;
        }
        if self.skipping {
            return Ok(());
        }
        let recorded = match text.filter(|_| is_undecided(&error)) {
            Some(text) => self.record_refusal(text, &error, of_values),
            None => Ok(()),
        };
        match recorded {
            Ok(()) => self.fail(&error),
            Err(journal) => self.fail(&journal.into()),
        }
        let report = error.report();
        if report.severity == Severity::Fatal { Err(Ended::Fatal(Box::new(report))) } else { Ok(()) }
    }

    /// A message that could not be decoded. `ends_batch`: it is one that ReadyForQuery answers.
    pub async fn refuse_message(&mut self, error: ProtocolError, ends_batch: bool) -> Result<(), Ended> {
        let report = Error::from(error.clone()).report();
        if report.severity == Severity::Fatal {
            return Err(Ended::Fatal(Box::new(report)));
        }
        if self.skipping {
            return Ok(());
        }
        self.refuse(Failure::Error(error.into()), None).await?;
        if ends_batch { self.sync().await } else { Ok(()) }
    }

    /// The connection is over: every open statement gets its outcome, and the client the last word if it can hear it.
    pub async fn end(mut self, ended: Ended) {
        match ended {
            Ended::Gone => self.abandon(Status::ClientGone),
            Ended::Fatal(report) => {
                self.abandon(Status::Failed { sqlstate: &report.sqlstate, message: &report.message });
                Report { severity: Severity::Fatal, ..*report }.write(self.client.outgoing());
                // The client may be gone already.
                drop(self.client.flush().await);
            }
        }
    }

    /// A refusal is evidence too.
    fn record_refusal(&mut self, text: &str, error: &Error, of_values: bool) -> Result<(), JournalError> {
        let report = error.report();
        let message = self.kept_message(&report.message, of_values);
        let refused = Refused { sqlstate: &report.sqlstate, message: &message };
        let entry = self.lane.journal().refusal(&self.undecided(&recorded(text)), &refused)?;
        self.evidence.note(entry.id);
        self.lane.figures().refused();
        tracing::info!(evidence = %entry.id, agent = %self.who.principal.agent, sqlstate = &*report.sqlstate, decision = "refused", "statement");
        Ok(())
    }

    /// Tells the client of an error: the transaction block, if there is one, has failed, and what follows up to Sync
    /// is passed over.
    pub(super) fn fail(&mut self, error: &Error) {
        let report = error.report();
        if report.severity != Severity::Fatal {
            let position = report.position.map(|position| position + self.characters_before);
            Report { position, ..report }.write(self.client.outgoing());
        }
        self.skipping = true;
        self.transaction.fail();
        if let Some(mark) = self.unsynced_settings.take() {
            self.settings.restore(&mark);
        }
    }
}

/// Whether this is the end of a statement that was not decided on, and asked for what somebody has to answer for: what the policy or
/// the parser refuses, a setting or a token that is not taken, what is tried in a failed transaction.
fn is_undecided(error: &Error) -> bool {
    match error {
        Error::Refused(_) | Error::Kind(_) | Error::Parse(_) | Error::Setting(_) => true,
        Error::Transaction(error) => *error == TransactionError::Failed,
        Error::Session(error) => matches!(error, SessionError::Token(_) | SessionError::InBlock(_)),
        Error::Journal(_) | Error::Source(_) | Error::Server(_) | Error::Protocol(_) | Error::Write(_) | Error::Catalog(_) => false,
    }
}

fn truncated(rows: u64) -> Report {
    Report::warning("01000", format!("result truncated after {rows} rows"))
        .hint("the policy limits how much one statement returns: add LIMIT, a narrower WHERE, or aggregate")
}
