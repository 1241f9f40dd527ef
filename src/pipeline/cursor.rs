//! SQL cursors: DECLARE opens a governed read at the source, FETCH returns some of it, each with evidence of its own.

use std::{rc::Rc, sync::Arc};

use hashbrown::HashMap;

use super::{
    appended::Values,
    bind::{Formats, Parameters},
    draft::Bound,
    open::Open,
    plan::{Action, Plan},
    queue::{Expected, Reply, Tell},
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, SessionError, TransactionError},
    govern::{GovernedStatement, cursor_name},
    source::{BindParameters, SourceError, TransactionCommand},
    sql::{Declare, Fetch},
};

/// Cursors of one session at most.
const CURSORS: usize = 1_000;

/// A cursor that is open at the source.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    number: u32,
    /// The DECLARE.
    plan: Rc<Plan>,
    binary: bool,
    /// How many savepoints there were when it was declared.
    level: usize,
    /// What each FETCH returned, together, so far.
    spent: Spent,
}

/// Rows and bytes that count towards a limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// The open cursors of a transaction, by the names the client gave them.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    open: HashMap<Box<str>, Cursor>,
    last: u32,
}

impl Cursors {
    /// Whether one of that name is open.
    pub(super) fn has(&self, name: &str) -> bool {
        self.open.contains_key(name)
    }

    /// The transaction is over.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// ROLLBACK TO the savepoint at this depth: what was declared after it is gone.
    pub(super) fn rollback_to(&mut self, depth: usize) {
        self.open.retain(|_, cursor| cursor.level <= depth);
    }

    /// RELEASE of the savepoint at this depth: what was declared after it belongs to what is around it.
    pub(super) fn release(&mut self, depth: usize) {
        self.open.values_mut().for_each(|cursor| cursor.level = cursor.level.min(depth));
    }

    /// A FETCH returned this much.
    pub(super) fn spend(&mut self, number: u32, more: Spent) {
        if let Some(cursor) = self.open.values_mut().find(|cursor| cursor.number == number) {
            cursor.spent.rows += more.rows;
            cursor.spent.bytes += more.bytes;
        }
    }

    /// A message of the source with the client's names of its cursors.
    pub(super) fn named_in(&self, message: &str) -> Option<String> {
        let named = self.open.iter().find(|(_, cursor)| message.contains(&format!("\"{}\"", cursor_name(cursor.number))));
        named.map(|(name, cursor)| message.replace(&cursor_name(cursor.number), name))
    }

    fn find(&self, name: &str) -> Result<&Cursor, SessionError> {
        self.open.get(name).ok_or_else(|| SessionError::NoCursor(name.into()))
    }
}

impl<I: Interrupts> Session<I> {
    /// DECLARE: binds the governed read to a cursor at the source. Nothing is returned yet, and the decision is recorded.
    pub(super) async fn declare(&mut self, plan: &Rc<Plan>, bound: &Bound) -> Result<(), Failure> {
        let Action::Declare(declare, governed) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        self.check_declare(declare)?;
        self.describe_plan(plan).await?;
        self.ready_for(governed).await?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        self.cursors.last += 1;
        let number = self.cursors.last;
        let statement = governed.declared(number, declare.scroll).ok_or(SourceError::NotPrepared)?;
        self.formats.0.clone_from(&bound.formats);
        let formats = Rc::from([]);
        let open = self.decide_as(plan, plan.text(), statement.text(), Some((bound.parameters(), &formats)))?;
        self.forward_around(&statement, bound, open)?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        let level = self.transaction.block().map_or(0, |block| block.savepoints().count());
        let cursor = Cursor { number, plan: Rc::clone(plan), binary: declare.binary, level, spent: Spent::default() };
        self.cursors.open.insert(declare.name.as_str().into(), cursor);
        Ok(())
    }

    /// Queues a statement around a governed read: bound as the client bound it, and executed to its end.
    pub(super) fn forward_around(&mut self, statement: &Arc<GovernedStatement>, bound: &Bound, open: Open) -> Result<(), Error> {
        let portal = self.names.new_portal("")?;
        let Self { upstream: Some(upstream), queue, who, settings, evidence, derived, transaction, own, .. } = self else {
            return Err(SourceError::NotPrepared.into());
        };
        upstream.lease.prepare_unnamed(statement);
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
        if self.transaction.block().is_none() {
            return Err(TransactionError::NoBlock("DECLARE CURSOR").into());
        }
        if self.cursors.has(&declare.name) || self.names.has_portal(&declare.name) {
            return Err(SessionError::DuplicatePortal(declare.name.as_str().into()).into());
        }
        if self.cursors.open.len() >= CURSORS { Err(SessionError::TooMany("cursors").into()) } else { Ok(()) }
    }

    /// FETCH and MOVE. `formats` are those of a Bind; in the simple protocol there is none, and the columns are told.
    pub(super) async fn fetch(&mut self, text: &str, fetch: &Fetch, formats: Option<Rc<[i16]>>) -> Result<(), Failure> {
        let Cursor { number, plan, binary, spent, .. } = self.cursors.find(&fetch.name)?.clone();
        let (Some(governed), Some(description)) = (plan.governed(), plan.description()) else {
            return Err(SourceError::NotPrepared.into());
        };
        let tells = formats.is_none() && !fetch.step.moves;
        let formats = formats.unwrap_or_else(|| if binary { Rc::from([1]) } else { Rc::from([]) });
        if formats.len() > 1 && formats.len() != description.columns() {
            return Err(SessionError::ResultFormats { given: formats.len(), needed: description.columns() }.into());
        }
        self.need_upstream(governed.source()).await?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        self.formats.0.clear();
        let codes: Vec<u8> = formats.iter().flat_map(|code| code.to_be_bytes()).collect();
        description.result_formats(Formats::new(&codes), &mut self.formats.1);
        let portal = self.names.new_portal("")?;
        let mut open = self.decide_as(&plan, text, text, Some((Parameters::default(), &formats)))?;
        open.of_cursor(number, spent);
        if tells {
            description.write_row(&formats, &mut open.columns);
        }
        self.queue_fetch(number, fetch, portal, open);
        Ok(self.drain().await?)
    }

    fn queue_fetch(&mut self, number: u32, fetch: &Fetch, portal: super::prepared::PortalNumber, open: Open) {
        let Self { upstream: Some(upstream), queue, formats, .. } = self else { return };
        upstream.lease.fetch(number, fetch.step, &formats.1);
        upstream.unsynced = true;
        queue.push(Expected::Prepared(portal));
        queue.push(Expected::Bound(portal, Tell::Nobody));
        queue.push(Expected::Executed(portal, Some(Box::new(open))));
    }

    /// What Describe of a FETCH answers: the cursor's columns, if there is one by now.
    pub(super) fn describe_fetch(&mut self, fetch: &Fetch, formats: Option<Rc<[i16]>>) {
        let plan = self.cursors.find(&fetch.name).ok().filter(|_| !fetch.step.moves).map(|cursor| Rc::clone(&cursor.plan));
        self.reply_in_turn(Reply::Columns(plan, formats));
    }

    /// What Describe of a cursor as a portal answers.
    pub(super) fn describe_cursor(&mut self, name: &str) -> bool {
        let plan = self.cursors.find(name).map(|cursor| Rc::clone(&cursor.plan));
        let is_one = plan.is_ok();
        if let Ok(plan) = plan {
            self.reply_in_turn(Reply::Columns(Some(plan), None));
        }
        is_one
    }

    /// CLOSE.
    pub(super) async fn close_cursor(&mut self, name: &str) -> Result<&'static str, Failure> {
        if self.names.has_portal(name) {
            self.close_portal(name);
            self.drain().await?;
            return Ok("CLOSE CURSOR");
        }
        let number = self.cursors.find(name)?.number;
        self.control(TransactionCommand::Close(number)).await?;
        self.cursors.open.remove(name);
        Ok("CLOSE CURSOR")
    }

    /// CLOSE ALL: portals of the extended protocol, too.
    pub(super) async fn close_all(&mut self) -> Result<&'static str, Failure> {
        for name in self.names.portal_names() {
            self.close_portal(&name);
        }
        self.drain().await?;
        let names: Vec<Box<str>> = self.cursors.open.keys().cloned().collect();
        for name in names {
            self.close_cursor(&name).await?;
        }
        Ok("CLOSE CURSOR ALL")
    }
}
