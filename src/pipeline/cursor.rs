//! SQL cursors: DECLARE opens a governed read at the source, FETCH returns some of it, each with evidence of its own.

use std::{rc::Rc, sync::Arc};

use super::{
    appended::Values,
    bind::{Formats, Parameters},
    cursors::{Cursor, Hold, Spent},
    draft::Bound,
    open::Open,
    plan::{Action, Plan},
    prepared::PortalNumber,
    queue::{Expected, Reply, Tell},
    reply,
    session::{Interrupts, Session},
    transaction::Status,
    upstream::Failure,
};
use crate::{
    error::{CursorEnd, Error, SessionError, TransactionError},
    govern::GovernedStatement,
    source::{BindParameters, SourceError, TransactionCommand},
    sql::{Declare, Fetch},
};

/// How a FETCH of the extended protocol runs: in which portal, with which result formats, and how many rows at a time.
#[derive(Debug)]
pub(super) struct FetchPortal {
    pub(super) number: PortalNumber,
    pub(super) formats: Rc<[i16]>,
    pub(super) max_rows: u32,
}

impl<I: Interrupts> Session<I> {
    /// DECLARE in the simple protocol. Outside a block it is committed before the client is told: what the cursor holds is
    /// computed by that, which may fail.
    pub(super) async fn declare_simply(&mut self, plan: &Rc<Plan>) -> Result<(), Failure> {
        if self.transaction.block().is_some() {
            return self.declare(plan, &Bound::default(), Tell::Client).await;
        }
        self.declare(plan, &Bound::default(), Tell::Nobody).await?;
        self.sync_upstream().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        reply::command_complete(self.client.outgoing(), "DECLARE CURSOR");
        Ok(())
    }

    /// DECLARE: binds the governed read to a cursor at the source. Nothing is returned yet, and the decision is recorded.
    pub(super) async fn declare(&mut self, plan: &Rc<Plan>, bound: &Bound, tell: Tell) -> Result<(), Failure> {
        let Action::Declare(declare, governed) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        self.check_declare(declare)?;
        self.ask_source(plan).await?;
        if let Err(failure) = self.ready_for(governed).await {
            return Err(self.unreached(plan, failure));
        }
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        let number = self.cursors.number();
        // PostgreSQL lets a simple plan go back when nothing is said: here every plan can.
        let scroll = declare.scroll.unwrap_or(true);
        let statement = governed.declared(number, scroll, declare.hold).ok_or(SourceError::NotPrepared)?;
        let Some(upstream) = &mut self.upstream else { return Err(SourceError::NotPrepared.into()) };
        let loan = upstream.loan;
        if declare.hold {
            upstream.lease.keep()?;
        }
        self.formats.0.clone_from(&bound.formats);
        let formats = Rc::from([]);
        let mut open = self.decide_as(plan, plan.text(), statement.text(), Some((bound.parameters(), &formats)))?;
        open.tell = tell;
        self.forward_around(&statement, bound, open)?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        let described = plan.description().ok_or(SourceError::NotPrepared)?;
        let level = self.transaction.block().map_or(0, |block| block.savepoints().count());
        let hold = if declare.hold { Hold::Pending } else { Hold::No };
        let cursor =
            Cursor { number, plan: Rc::clone(plan), described, binary: declare.binary, hold, loan, level, spent: Spent::default() };
        self.cursors.put(&declare.name, cursor);
        Ok(())
    }

    /// Queues a statement around a governed read: bound as the client bound it, and executed to its end.
    pub(super) fn forward_around(&mut self, statement: &Arc<GovernedStatement>, bound: &Bound, open: Open) -> Result<(), Error> {
        let portal = self.names.new_portal("")?;
        let Self { upstream: Some(upstream), queue, who, settings, evidence, derived, transaction, own, .. } = self else {
            return Err(SourceError::NotPrepared.into());
        };
        upstream.lease.prepare_unnamed_under(statement, &bound.analysed(statement, derived));
        let values = Values { who, settings, derived, evidence, transaction, own };
        let queued = values.with(statement.appended(), |appended| {
            let bind = BindParameters {
                client_formats: &bound.formats,
                client_values: &bound.values,
                client_count: bound.count,
                appended,
                result_formats: &[],
            };
            upstream.lease.bind(statement, "", &bind)
        });
        queue.push(Expected::Prepared(portal));
        if let Err(error) = queued {
            let error = Error::from(error);
            self.close_failed(open, Some(&error));
            return Err(error);
        }
        queue.push(Expected::Bound(portal, Tell::Nobody));
        self.queue_execute(portal, Some(open), 0);
        Ok(())
    }

    fn check_declare(&self, declare: &Declare) -> Result<(), Error> {
        if self.transaction.block().is_none() && !declare.hold {
            return Err(TransactionError::NoBlock("DECLARE CURSOR").into());
        }
        if self.names.has_portal(&declare.name) {
            return Err(SessionError::DuplicatePortal(declare.name.as_str().into()).into());
        }
        Ok(self.cursors.check(&declare.name)?)
    }

    /// FETCH and MOVE in the simple protocol, which tells the columns.
    pub(super) async fn fetch_simply(&mut self, text: &str, fetch: &Fetch) -> Result<(), Failure> {
        let cursor = self.readable_cursor(&fetch.name)?;
        let description = Rc::clone(&cursor.described);
        let formats = if cursor.binary { Rc::from([1]) } else { Rc::from([]) };
        let portal = FetchPortal { number: self.names.new_portal("")?, formats, max_rows: 0 };
        let mut open = self.begin_fetch(text, &fetch.name, &cursor, &portal.formats).await?;
        if !fetch.step.moves {
            description.write_row(&portal.formats, &mut open.columns);
        }
        self.queue_fetch(&cursor, fetch, &portal, open);
        Ok(self.drain().await?)
    }

    /// FETCH and MOVE in the extended protocol.
    pub(super) async fn fetch(&mut self, text: &str, fetch: &Fetch, portal: &FetchPortal) -> Result<(), Failure> {
        let cursor = self.readable_cursor(&fetch.name)?;
        let open = self.begin_fetch(text, &fetch.name, &cursor, &portal.formats).await?;
        self.queue_fetch(&cursor, fetch, portal, open);
        Ok(self.drain().await?)
    }

    /// Execute of a cursor as the portal that it is: what comes next of it, in text.
    pub(super) async fn execute_cursor(&mut self, name: &str, max_rows: u32) -> Result<(), Failure> {
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        self.refresh()?;
        self.transaction.check()?;
        let cursor = self.readable_cursor(name)?;
        let number = self.names.new_portal("")?;
        let count = if max_rows == 0 { "ALL".to_owned() } else { max_rows.to_string() };
        let text = format!("FETCH {count} FROM {}", super::settings::print_identifiers(&[name]));
        let open = self.begin_fetch(&text, name, &cursor, &Rc::from([])).await?;
        let Self { upstream: Some(upstream), queue, .. } = self else { return Err(SourceError::NotPrepared.into()) };
        upstream.lease.execute_cursor(cursor.number, i32::try_from(max_rows).unwrap_or(0));
        upstream.unsynced = true;
        queue.push(Expected::Executed(number, Some(Box::new(open))));
        Ok(self.drain().await?)
    }

    /// The cursor of that name. One that is held was decided on at some time before: under another policy it is read no more.
    fn readable_cursor(&mut self, name: &str) -> Result<Cursor, SessionError> {
        for loan in self.cursors.end_older(self.policy.digest) {
            self.discard(loan);
        }
        self.sweep_kept();
        self.cursors.find(name).cloned()
    }

    /// Takes up the connection that has the cursor, and records the decision to read more of it.
    async fn begin_fetch(&mut self, text: &str, name: &str, cursor: &Cursor, formats: &Rc<[i16]>) -> Result<Open, Failure> {
        let Cursor { number, plan, loan, described: description, .. } = cursor;
        let Some(governed) = plan.governed() else { return Err(SourceError::NotPrepared.into()) };
        if formats.len() > 1 && formats.len() != description.columns() {
            return Err(SessionError::ResultFormats { given: formats.len(), needed: description.columns() }.into());
        }
        self.need_upstream(governed.source()).await?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        self.check_loan(name, *loan)?;
        self.formats.0.clear();
        let codes: Vec<u8> = formats.iter().flat_map(|code| code.to_be_bytes()).collect();
        description.result_formats(Formats::new(&codes), &mut self.formats.1);
        let spent = self.cursors.spent(*number).unwrap_or_default();
        let mut open = self.decide_as(plan, text, text, Some((Parameters::default(), formats)))?;
        open.of_cursor(*number, spent);
        Ok(open)
    }

    /// Refuses to look for a cursor on another connection than the one it was declared on.
    fn check_loan(&mut self, name: &str, loan: u64) -> Result<(), SessionError> {
        if self.upstream.as_ref().is_none_or(|upstream| upstream.loan != loan) {
            self.cursors.end_on(loan, CursorEnd::Lost);
        }
        self.cursors.find(name).map(drop)
    }

    fn queue_fetch(&mut self, cursor: &Cursor, fetch: &Fetch, portal: &FetchPortal, open: Open) {
        let Self { upstream: Some(upstream), queue, formats, .. } = self else { return };
        let FetchPortal { number, max_rows, .. } = portal;
        let place = (&*number.upstream_name(), i32::try_from(*max_rows).unwrap_or(0));
        upstream.lease.fetch(cursor.number, fetch.step, &formats.1, place);
        upstream.unsynced = true;
        queue.push(Expected::Prepared(*number));
        queue.push(Expected::Bound(*number, Tell::Nobody));
        queue.push(Expected::Executed(*number, Some(Box::new(open))));
    }

    /// What Describe of a FETCH answers: the cursor's columns, if there is one by now.
    pub(super) fn describe_fetch(&mut self, fetch: &Fetch, formats: Option<Rc<[i16]>>) {
        let described = self.cursors.find(&fetch.name).ok().filter(|_| !fetch.step.moves).map(|cursor| Rc::clone(&cursor.described));
        self.reply_in_turn(Reply::Columns(described, formats));
    }

    /// What Describe of a cursor as a portal answers.
    pub(super) fn describe_cursor(&mut self, name: &str) {
        let described = self.cursors.find(name).map(|cursor| Rc::clone(&cursor.described));
        self.reply_in_turn(Reply::Columns(described.ok(), None));
    }

    /// CLOSE. One that was closed for the client before is closed.
    pub(super) async fn close_cursor(&mut self, name: &str) -> Result<&'static str, Failure> {
        if self.names.has_portal(name) {
            self.close_portal(name);
            self.drain().await?;
            return Ok("CLOSE CURSOR");
        }
        let Cursor { number, plan, loan, hold, .. } = match self.cursors.find(name) {
            Ok(cursor) => cursor.clone(),
            Err(SessionError::CursorClosed { .. }) => {
                self.cursors.remove(name);
                return Ok("CLOSE CURSOR");
            }
            Err(none) => return Err(none.into()),
        };
        let source = plan.governed().map(|governed| governed.source().clone()).ok_or(SourceError::NotPrepared)?;
        let reached = if self.transaction.status() == Status::Failed {
            Err(TransactionError::Failed.into())
        } else {
            self.need_upstream(&source).await
        };
        match reached {
            Ok(()) if self.upstream.as_ref().is_some_and(|upstream| upstream.loan == loan) => self.close_at_source(number).await?,
            // It cannot be told to the source now: the connection goes when nothing else holds it.
            Err(Failure::Error(Error::Transaction(_))) if hold != Hold::No => self.discard(loan),
            Ok(()) | Err(Failure::Error(Error::Transaction(_))) => {}
            Err(failure) => return Err(failure),
        }
        self.cursors.remove(name);
        self.sweep_kept();
        Ok("CLOSE CURSOR")
    }

    /// Outside a block, the batch goes on: what was declared in it is not committed by this.
    async fn close_at_source(&mut self, number: u32) -> Result<(), Failure> {
        let Self { upstream: Some(upstream), queue, .. } = self else { return Err(SourceError::NotPrepared.into()) };
        upstream.lease.control(TransactionCommand::Close(number));
        upstream.unsynced = true;
        queue.push(Expected::Controlled);
        self.drain().await?;
        if self.skipping { Err(Failure::PassedOver) } else { Ok(()) }
    }

    /// CLOSE ALL: portals of the extended protocol, too.
    pub(super) async fn close_all(&mut self) -> Result<&'static str, Failure> {
        for name in self.names.portal_names() {
            self.close_portal(&name);
        }
        self.drain().await?;
        for name in self.cursors.names() {
            self.close_cursor(&name).await?;
        }
        self.cursors.forget_ends();
        Ok("CLOSE CURSOR ALL")
    }
}
