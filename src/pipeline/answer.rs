//! How the source's answers settle what the client is owed.

use std::{pin::pin, rc::Rc};

use tokio::task::spawn_local;

use super::{
    catalog::is_catalog,
    describe::{Description, Terms},
    interruption::Insist,
    open::{Open, Stopped},
    plan::{Action, Plan},
    prepared::PortalNumber,
    queue::{Asked, Expected, Passed, Reply, Tell},
    record::Ending,
    reply,
    session::{Again, Ended, Interrupt, Interrupts, Session},
};
use crate::{
    error::{CursorEnd, Error, Report, SessionError},
    govern::GovernedStatement,
    journal::Status,
    source::{CancelToken, Event, ServerError, SourceError, TransactionStatus},
};

/// Bytes read ahead from a client while the source works, at most.
pub(super) const READ_AHEAD: usize = 64 << 10;
/// Bytes queued for a client above which they are sent before more is read from the source.
const WRITE_BEHIND: usize = 64 << 10;

/// An answer of the source, rows passed on.
enum Answer {
    Prepared,
    Controlled,
    Bound,
    Closed,
    Parameters(Box<[u8]>),
    Row(Option<Box<[u8]>>),
    Complete(CommandTag),
    Empty,
    Suspended,
    Error(Box<ServerError>),
    Ready(TransactionStatus),
    Unexpected,
}

/// The body of a CommandComplete of a read, kept on the stack: `SELECT`, a number and a zero byte are never longer.
struct CommandTag {
    bytes: [u8; 32],
    length: usize,
}

impl CommandTag {
    fn of(body: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let length = body.len().min(bytes.len() - 1);
        for (place, byte) in bytes.iter_mut().zip(body.iter().take(length)) {
            *place = *byte;
        }
        Self { bytes, length }
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Why no answer came.
enum Broken {
    Source(SourceError),
    TooOld,
    /// It was asked to end what it does, and says nothing.
    Deaf,
    Gone,
    Closing,
}

/// What happened first.
enum Woken<'a> {
    Event(Result<Event<'a>, SourceError>),
    Interrupt(Interrupt),
    TimedOut,
    TooOld,
    /// A cancel was sent some time ago.
    StillAtWork(Insist),
    /// The client sent something, or is gone.
    Client(bool),
}

impl<I: Interrupts> Session<I> {
    /// Sends what is queued and settles everything that is owed. Afterwards [`Session::skipping`] says whether
    /// something failed.
    pub(super) async fn settle(&mut self) -> Result<(), Ended> {
        if let Some(upstream) = &mut self.upstream {
            upstream.lease.send_now();
        }
        self.start_clock();
        while let Some(front) = self.queue.expected.front_mut() {
            if let Expected::Reply(_) = front {
                match self.queue.expected.pop_front() {
                    Some(Expected::Reply(reply)) if self.queue.passing_over => self.unsay(reply),
                    Some(Expected::Reply(reply)) => self.reply(&reply),
                    _ => {}
                }
                continue;
            }
            if let Expected::Executed(portal, open @ None) = front {
                let resumed = self.names.portal_numbered(*portal).and_then(|portal| portal.open.take());
                *open = resumed.map(Box::new);
            }
            match self.answer().await {
                Ok(answer) => self.take(answer).await?,
                Err(Broken::Source(error)) => self.lost(error)?,
                Err(Broken::TooOld) => self.too_old()?,
                Err(Broken::Deaf) => self.deaf()?,
                Err(Broken::Gone) => return Err(self.gone()),
                Err(Broken::Closing) => {
                    let report = Error::from(SessionError::ShuttingDown).report();
                    self.abandon(Status::Failed { sqlstate: &report.sqlstate, message: &report.message });
                    return Err(Ended::Fatal(Box::new(report)));
                }
            }
        }
        self.queue.passing_over = false;
        self.queue.interruption.take();
        Ok(())
    }

    /// Says at once what needs no answer of the source, or when its turn comes.
    pub(super) fn reply_in_turn(&mut self, reply: Reply) {
        if self.queue.is_empty() { self.reply(&reply) } else { self.queue.push(Expected::Reply(reply)) }
    }

    fn reply(&mut self, reply: &Reply) {
        let out = self.client.outgoing();
        match reply {
            Reply::Parsed(_) => reply::bare(out, b'1'),
            Reply::Bound(_) => reply::bare(out, b'2'),
            Reply::ClosedStatement(..) | Reply::ClosedPortal => reply::bare(out, b'3'),
            Reply::Columns(description, formats) => match description {
                Some(description) => description.write_row(formats.as_deref().unwrap_or_default(), out),
                None => reply::bare(out, b'n'),
            },
            Reply::NoParameters => reply::with_body(out, b't', &[0, 0]),
            Reply::Statement(plan, description) => super::extended::describe_statement(plan, description.as_deref(), out),
            Reply::Portal(plan, description, formats) => {
                super::extended::describe_portal(plan, description.as_deref(), formats.as_deref().unwrap_or_default(), out);
            }
            Reply::Run(plan) => super::extended::describe_portal(plan, plan.description().as_deref(), &[], out),
        }
    }

    /// The next answer that is not rows; rows go to the client and into evidence on the way.
    async fn answer(&mut self) -> Result<Answer, Broken> {
        loop {
            let Self { client, lane, interrupts, upstream, aside, queue, timer, age, derived, transaction, .. } = self;
            let aged = upstream.iter().chain(&*aside).any(|upstream| upstream.ends.is_some());
            let Some(upstream) = upstream else { return Err(Broken::Source(SourceError::Lost(std::io::ErrorKind::NotConnected))) };
            let bounded = derived.statement_timeout > 0 && !queue.interruption.is_under_way();
            let may_read = client.incoming().len() < READ_AHEAD;
            let between_messages = !upstream.lease.is_within_row();
            let token = upstream.lease.cancel_token();
            let woken = tokio::select! {
                biased;
                event = upstream.lease.next() => Woken::Event(event),
                interrupt = interrupts.interrupted() => Woken::Interrupt(interrupt),
                () = timer.as_mut(), if bounded => Woken::TimedOut,
                () = age.as_mut(), if aged => Woken::TooOld,
                insist = queue.interruption.again() => Woken::StillAtWork(insist),
                read = client.watch(between_messages), if may_read => Woken::Client(read.is_ok()),
            };
            let cancel = match woken {
                Woken::Event(Ok(Event::Rows { bytes, rows })) => match queue.pass(lane, bytes, rows) {
                    Passed::Some(passed) => {
                        let through = !queue.transformed(passed, client.outgoing());
                        if through {
                            queue.tell_columns(client.outgoing());
                        }
                        let write = async {
                            if through {
                                client.write_through(passed).await?;
                            }
                            if client.outgoing().len() > WRITE_BEHIND { client.flush().await } else { Ok(()) }
                        };
                        let stops = async {
                            tokio::select! {
                                () = timer.as_mut(), if bounded => SessionError::TimedOut,
                                () = age.as_mut(), if aged => SessionError::Canceled,
                                () = std::future::pending::<()>() => SessionError::Canceled,
                            }
                        };
                        if let Some(reason) = written(write, interrupts, stops, &token).await? {
                            queue.interruption.begin(reason);
                        }
                        queue.must_cancel(transaction.block().is_some())
                    }
                    Passed::None => false,
                    Passed::Broken => return Err(Broken::Gone),
                    Passed::Unexpected => return Ok(Answer::Unexpected),
                },
                Woken::Event(Ok(event)) => return Ok(owned(event)),
                Woken::Event(Err(error)) => return Err(Broken::Source(error)),
                Woken::Interrupt(Interrupt::Cancel) => {
                    queue.interruption.begin(SessionError::Canceled);
                    true
                }
                Woken::TimedOut => {
                    queue.interruption.begin(SessionError::TimedOut);
                    true
                }
                Woken::TooOld => return Err(Broken::TooOld),
                Woken::StillAtWork(Insist::Ask) => true,
                Woken::StillAtWork(Insist::GiveUp) => return Err(Broken::Deaf),
                Woken::Interrupt(Interrupt::Close) => return Err(Broken::Closing),
                Woken::Client(true) => false,
                Woken::Client(false) => return Err(Broken::Gone),
            };
            if cancel {
                // Beside the reading: what the source still sends has to be read while the request is on its way.
                drop(spawn_local(async move { drop(token.cancel().await) }));
            }
        }
    }

    /// Settles the front of the queue with its answer.
    async fn take(&mut self, answer: Answer) -> Result<(), Ended> {
        if let Answer::Error(error) = answer {
            return self.failed_upstream(&error).await;
        }
        let Some(front) = self.queue.expected.pop_front() else { return Ok(()) };
        let silent = self.queue.passing_over;
        match (front, answer) {
            (Expected::Prepared(_), Answer::Prepared) | (Expected::Controlled, Answer::Controlled) | (Expected::Closed, Answer::Closed) => {
            }
            (Expected::Parameters(plan, asked), Answer::Parameters(body)) => {
                self.queue.expected.push_front(Expected::Row(plan, asked, body));
            }
            (Expected::Row(plan, asked, parameters), Answer::Row(row)) => {
                let read = plan.governed().map_or(Ok(Description::default()), |governed| {
                    Description::read(&parameters, row.as_deref(), governed.client_parameters(), self.terms(governed))
                });
                match read {
                    Ok(description) => {
                        let shape = description.shape();
                        let mistaken = matches!(asked, Asked::Run(Some(held)) if held != shape);
                        let other = match asked {
                            Asked::Bind(portal, counted_on) if counted_on != shape => Some(portal),
                            Asked::Bind(..) | Asked::Parse | Asked::Run(_) => None,
                        };
                        if plan.describe(description) {
                            self.lane.surprised();
                        }
                        // The connection holds it as having another description.
                        if let Some(upstream) = self.upstream.as_mut().filter(|_| mistaken) {
                            upstream.lease.forget_statements();
                        }
                        if let Some(portal) = other.filter(|_| !silent) {
                            self.other_columns(portal);
                        }
                    }
                    Err(_) => return self.lost(SourceError::Protocol("a description that cannot be read")),
                }
            }
            (Expected::Bound(number, tell), Answer::Bound) => {
                if silent {
                    self.unbind_portal(number, None);
                } else if tell == Tell::Client {
                    reply::bare(self.client.outgoing(), b'2');
                }
            }
            (Expected::Executed(portal, open), Answer::Suspended) => self.suspended(portal, open).await,
            (Expected::Executed(_, Some(open)), Answer::Complete(tag)) => self.completed(*open, Ending::Complete(tag.body())).await,
            (Expected::Executed(_, Some(open)), Answer::Empty) => self.completed(*open, Ending::Empty).await,
            // A portal that was complete already: no rows, nothing read, no new evidence.
            (Expected::Executed(_, None), Answer::Complete(tag)) => {
                if !silent {
                    reply::with_body(self.client.outgoing(), b'C', tag.body());
                }
            }
            (Expected::Ready, Answer::Ready(status)) => self.upstream_ready(status),
            (front, _) => {
                self.queue.expected.push_front(front);
                return self.lost(SourceError::Protocol("an answer out of turn"));
            }
        }
        Ok(())
    }

    /// What is bound has other columns than the client or we count on; what the source says of it is passed over.
    fn other_columns(&mut self, portal: PortalNumber) {
        if self.repeat.begin(Some(portal)) {
            self.skipping = true;
        } else {
            self.fail(&SessionError::ResultChanged.into());
        }
        self.queue.passing_over = true;
    }

    async fn suspended(&mut self, portal: PortalNumber, open: Option<Box<Open>>) {
        let in_hand = self.names.portal_numbered(portal).is_some();
        // A cursor that is executed as a portal: each Execute of it has its own evidence.
        let ends = |open: &Open| (open.cursor.is_some() && !in_hand) || open.stopped.as_ref().is_some_and(|why| why.error().is_some());
        let open = match open {
            Some(open) if ends(&open) => return self.completed(*open, Ending::Suspended).await,
            open => open,
        };
        if !self.queue.passing_over {
            reply::bare(self.client.outgoing(), b's');
        }
        let Some(mut open) = open else { return };
        self.count_fetched(&mut open);
        match self.names.portal_numbered(portal) {
            Some(portal) => portal.open = Some(*open),
            None => self.close_early(*open),
        }
    }

    async fn completed(&mut self, open: Open, ending: Ending<'_>) {
        if self.queue.passing_over {
            return self.close_early(open);
        }
        self.queue.interruption.take();
        self.start_clock();
        if let Err(error) = self.complete(open, ending).await {
            self.fail(&error);
            self.queue.passing_over = true;
        }
    }

    /// The source answered with an error: of what was asked up to the next Sync, nothing more comes.
    async fn failed_upstream(&mut self, error: &ServerError) -> Result<(), Ended> {
        let reason = if &*error.sqlstate == "57014" { self.queue.interruption.take() } else { None };
        let stopped = self.queue.front_open().and_then(|open| open.stopped.clone());
        let failure = match (&stopped, reason) {
            (Some(Stopped::Truncated), None) if &*error.sqlstate == "57014" => {
                // Cut off by us on purpose: it ends well.
                if let Some(Expected::Executed(_, Some(open))) = self.queue.expected.pop_front() {
                    self.completed(*open, Ending::Empty).await;
                }
                self.undo(None, None);
                return Ok(());
            }
            (Some(stopped), None) if stopped.error().is_some() => stopped.error(),
            (_, Some(reason)) => Some(reason.into()),
            (_, None) => None,
        };
        // Nothing of it was told, since the source refuses the Bind.
        let stale = super::server_error::is_stale_plan(error);
        let again = self.again == Again::May && stale;
        let failure = failure.unwrap_or_else(|| self.safe(error));
        let portal = self.queue.front_portal();
        // A text that the source refuses at Parse is evidence too, though no statement of it ever ran.
        let parsed = self.queue.parsing().or_else(|| self.holding());
        let repeats = stale && self.repeat.begin(portal);
        self.undo(portal, Some(&failure));
        let recorded = parsed.map_or(Ok(()), |plan| self.decide(&plan, None).map(|open| self.close_failed(open, Some(&failure))));
        if again && recorded.is_ok() {
            self.again = Again::Shall;
        } else if repeats && recorded.is_ok() {
            // Up to the Sync nothing more runs, and then all of it from here on.
            self.skipping = true;
        } else if !self.queue.passing_over {
            self.fail(recorded.as_ref().err().unwrap_or(&failure));
        }
        Ok(())
    }

    /// The connection to the source is of no more use.
    fn lost(&mut self, error: SourceError) -> Result<(), Ended> {
        let error = self.lose_upstream(error);
        self.broken(&error)
    }

    /// Gives up the connection to the source, and the transaction in it.
    pub(super) fn lose_upstream(&mut self, error: SourceError) -> Error {
        let error = Error::from(error);
        tracing::warn!(source = self.upstream.as_ref().map(|upstream| upstream.source.as_str()), %error, "lost an upstream connection");
        if let Some(upstream) = self.upstream.take() {
            self.cursors.end_on(upstream.loan, CursorEnd::Lost);
        }
        if let Some(block) = self.transaction.block_mut() {
            block.lose();
        }
        error
    }

    /// The client is gone: whatever runs for it ends, and the evidence says so.
    pub(super) fn gone(&mut self) -> Ended {
        self.abandon(Status::ClientGone);
        Ended::Gone
    }

    /// Takes back what was owed up to the next ReadyForQuery; statements of `portal` failed with `failure`, the
    /// others never ran.
    pub(super) fn undo(&mut self, portal: Option<PortalNumber>, failure: Option<&Error>) {
        let keep = usize::from(matches!(self.queue.expected.back(), Some(Expected::Ready)));
        while self.queue.expected.len() > keep {
            let Some(last) = self.queue.expected.remove(self.queue.expected.len() - 1 - keep) else { return };
            match last {
                Expected::Reply(Reply::Bound(number)) | Expected::Bound(number, _) => {
                    self.unbind_portal(number, failure.filter(|_| portal == Some(number)));
                }
                Expected::Reply(reply) => self.unsay(reply),
                Expected::Executed(number, Some(open)) => self.close_failed(*open, failure.filter(|_| portal == Some(number))),
                Expected::Prepared(_)
                | Expected::Controlled
                | Expected::Parameters(..)
                | Expected::Row(..)
                | Expected::Executed(_, None)
                | Expected::Closed
                | Expected::Ready => {}
            }
        }
    }

    /// What a reply would have told did not happen.
    fn unsay(&mut self, reply: Reply) {
        match reply {
            Reply::Parsed(name) => drop(self.names.remove_statement(&name)),
            Reply::ClosedStatement(name, Some(prepared)) => self.names.put_statement(&name, prepared),
            Reply::Bound(number) => self.unbind_portal(number, None),
            Reply::ClosedStatement(_, None)
            | Reply::ClosedPortal
            | Reply::NoParameters
            | Reply::Statement(..)
            | Reply::Columns(..)
            | Reply::Portal(..)
            | Reply::Run(_) => {}
        }
    }

    fn unbind_portal(&mut self, number: PortalNumber, failure: Option<&Error>) {
        if let Some(open) = self.names.remove_portal_numbered(number).and_then(|portal| portal.open) {
            self.close_failed(open, failure);
        }
    }

    /// What the client may read of an error of the source.
    fn safe(&mut self, error: &ServerError) -> Error {
        let plan = self.queue.expected.iter().find_map(|expected| match expected {
            Expected::Executed(_, Some(open)) => Some(Rc::clone(&open.plan)),
            Expected::Parameters(plan, _) | Expected::Row(plan, ..) => Some(Rc::clone(plan)),
            Expected::Bound(number, _) | Expected::Prepared(number) | Expected::Executed(number, None) => {
                self.names.portal_numbered(*number).map(|portal| Rc::clone(&portal.plan))
            }
            Expected::Reply(_) | Expected::Controlled | Expected::Closed | Expected::Ready => None,
        });
        let plan = plan.or_else(|| self.holding());
        if let Some(plan) = &plan
            && super::server_error::is_stale_plan(error)
        {
            self.lane.plans().forget(plan);
            self.lane.surprised();
            if let Some(upstream) = &mut self.upstream {
                upstream.lease.forget_statements();
            }
        }
        if matches!(&*error.sqlstate, "0A000" | "42501" | "42703" | "42P01" | "42704") {
            self.lane.surprised();
        }
        let statement = plan.as_ref().and_then(|plan| plan.governed()).map(AsRef::as_ref);
        let position = plan.as_ref().and_then(|plan| self.position(plan, error.position?));
        let report = super::server_error::safe(error, statement, &self.agent, (plan.as_ref().map_or("", |plan| plan.text()), position));
        let written = plan.as_ref().filter(|plan| matches!(plan.action(), Action::Write(_)));
        let report = match written {
            Some(plan) => super::server_error::of_an_assignment(report, plan.text()),
            None => report,
        };
        let message = self.cursors.named_in(&report.message).map_or(report.message, Into::into);
        Error::Server(Box::new(Report { message, position, ..report }))
    }

    /// Where a character position in the text that was sent stands in the client's, when it does. A text that was not decided on itself, but
    /// filled into another's decision, is decided on for that.
    fn position(&self, plan: &Plan, position: usize) -> Option<usize> {
        let again = || {
            let Action::Forward(sent) = plan.action() else { return None };
            let decided = self.decide_again(plan)?;
            decided.map_position(plan.text(), sent.position_in(&decided, position)?)
        };
        plan.map_position(position).or_else(again)
    }

    /// The DECLARE whose rows the source computes now, if it commits a cursor WITH HOLD.
    fn holding(&self) -> Option<Rc<Plan>> {
        let commits = matches!(self.queue.expected.front(), Some(Expected::Controlled | Expected::Ready));
        self.cursors.pending_plan().filter(|_| commits)
    }

    /// In which terms the client is told of a statement's parameters and columns.
    fn terms<'a>(&'a self, governed: &'a GovernedStatement) -> Terms<'a> {
        if is_catalog(governed.source()) {
            Terms::Catalog
        } else if self.lane.has_catalog() {
            Terms::Shown { visible: &self.agent.visible, source: governed.source(), relations: governed.relations() }
        } else {
            Terms::BuiltIn
        }
    }

    /// Every statement that is open, wherever it is kept.
    pub(super) fn take_open(&mut self) -> Vec<Open> {
        let owed = self.queue.take_open();
        owed.into_iter().chain(self.names.take_portals().filter_map(|portal| portal.open)).collect()
    }
}

/// Writes to the client. A cancel, a timeout and the end of the server are heard meanwhile: the source stops at once, though the client
/// has yet to take what was begun, and why it stopped is answered.
async fn written<I: Interrupts>(
    write: impl Future<Output = std::io::Result<()>>,
    interrupts: &mut I,
    stops: impl Future<Output = SessionError>,
    token: &CancelToken,
) -> Result<Option<SessionError>, Broken> {
    let (mut write, mut stops) = (pin!(write), pin!(stops));
    let mut reason = None;
    loop {
        let stopped = tokio::select! {
            biased;
            written = &mut write => return written.map(|()| reason).map_err(|_gone| Broken::Gone),
            interrupt = interrupts.interrupted(), if reason.is_none() => match interrupt {
                Interrupt::Cancel => SessionError::Canceled,
                Interrupt::Close => return Err(Broken::Closing),
            },
            stopped = &mut stops, if reason.is_none() => stopped,
        };
        reason = Some(stopped);
        let token = token.clone();
        drop(spawn_local(async move { drop(token.cancel().await) }));
    }
}

fn owned(event: Event<'_>) -> Answer {
    match event {
        Event::Prepared => Answer::Prepared,
        Event::Controlled { .. } => Answer::Controlled,
        Event::Error(error) => Answer::Error(error),
        Event::Ready(status) => Answer::Ready(status),
        Event::Rows { .. } => Answer::Unexpected,
        Event::Message { tag, body } => match tag {
            b'2' => Answer::Bound,
            b'3' => Answer::Closed,
            b't' => Answer::Parameters(body.into()),
            b'T' => Answer::Row(Some(body.into())),
            b'n' => Answer::Row(None),
            b'C' => Answer::Complete(CommandTag::of(body)),
            b'I' => Answer::Empty,
            b's' => Answer::Suspended,
            _ => Answer::Unexpected,
        },
    }
}
