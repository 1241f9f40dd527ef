//! The extended protocol, a message at a time. Each is planned, decided and queued; the answers are settled for a
//! whole batch at once.

use std::{rc::Rc, time::Instant};

use bytes::BytesMut;

use super::{
    Target,
    bind::Bind,
    cursor::FetchPortal,
    describe::Description,
    draft::Bound,
    explain, local,
    open::Open,
    plan::{Action, Plan},
    prepared::{Analysed, Portal, PortalNumber, Prepared},
    queue::{Expected, Reply, Tell},
    reply,
    session::{Ended, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::SessionError,
    source::SourceError,
    sql::{Statement, catalog::Oid},
};

impl<I: Interrupts> Session<I> {
    /// A Parse message.
    pub async fn parse(&mut self, name: &str, text: &str, types: &[Oid]) -> Result<(), Ended> {
        if self.skipping {
            return self.was_not_run(Some(text)).await;
        }
        self.arm();
        match self.try_parse(name, text, types).await {
            Ok(()) => Ok(()),
            Err(failure) => self.refuse(failure, Some(text)).await,
        }
    }

    async fn try_parse(&mut self, name: &str, text: &str, types: &[Oid]) -> Result<(), Failure> {
        if name.is_empty() {
            drop(self.names.remove_statement(name));
        }
        self.note_cut_identifiers(text);
        let plan = self.plan(text, types)?;
        if let Action::Local(Statement::Show(name)) = plan.action() {
            self.settings.shown(name)?;
        }
        let prepared = self.analyse_plan(plan, !name.is_empty()).await?;
        self.names.check_statement(name)?;
        self.names.put_statement(name, prepared);
        self.reply_in_turn(Reply::Parsed(name.into()));
        Ok(())
    }

    /// A Bind message.
    pub async fn bind(&mut self, bind: &Bind<'_>) -> Result<(), Ended> {
        let text = |session: &Self| session.names.statement(bind.statement).ok().map(|prepared| Rc::clone(&prepared.plan));
        if self.skipping {
            let text = text(self);
            return self.was_not_run(text.as_ref().map(|plan| plan.text())).await;
        }
        self.arm();
        match self.try_bind(bind).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                let text = text(self);
                self.refuse_bound(failure, text.as_ref().map(|plan| plan.text())).await
            }
        }
    }

    pub(super) async fn try_bind(&mut self, bind: &Bind<'_>) -> Result<(), Failure> {
        let asked = Rc::clone(&self.names.statement(bind.statement)?.plan);
        if let Some(execute) = Self::named(&asked) {
            return self.bind_named(execute, bind).await;
        }
        let needed = asked.governed().map_or(0, |statement| statement.client_parameters());
        if bind.parameters.len() != needed {
            return Err(SessionError::ParameterCount { given: bind.parameters.len(), needed, statement: bind.statement.into() }.into());
        }
        let prepared = self.current_plan(bind.statement).await?;
        if self.cursors.has(bind.portal) {
            return Err(SessionError::DuplicatePortal(bind.portal.into()).into());
        }
        let number = self.names.new_portal(bind.portal)?;
        let level = self.transaction.block().map_or(0, |block| block.savepoints().count());
        let Action::Forward(_) = prepared.plan.action() else {
            let formats = self.asked_formats(bind);
            let Prepared { plan, described, analysed, .. } = prepared;
            let bound = keep_bound(&plan, described.as_deref(), bind, analysed);
            self.put_portal(bind.portal, Portal { number, plan, formats, described, open: None, done: false, bound, level });
            self.queue_or_reply_bound(number);
            return Ok(());
        };
        let since = self.repeat.is_again().then(Instant::now);
        let (prepared, reading, parsed) = self.hold(bind.statement, prepared, number, since).await?;
        if !parsed && !self.is_in_transaction() {
            self.repeat.keep_from(number);
        }
        let Prepared { plan, described: Some(description), .. } = prepared else { return Err(SourceError::NotPrepared.into()) };
        if bind.results.len() > 1 && bind.results.len() != description.columns() {
            return Err(SessionError::ResultFormats { given: bind.results.len(), needed: description.columns() }.into());
        }
        description.parameter_formats(bind.formats, &mut self.formats.0);
        description.result_formats(bind.results, &mut self.formats.1);
        let formats = self.asked_formats(bind);
        let open = self.decide(&plan, Some((bind.parameters, &formats)))?;
        if let Err(error) = self.queue_bind(&plan, number, bind.parameters, Tell::Client, &reading) {
            self.close_failed(open, Some(&error));
            return Err(error.into());
        }
        self.put_portal(
            bind.portal,
            Portal { number, plan, formats, described: Some(description), open: Some(open), done: false, bound: None, level },
        );
        Ok(())
    }

    fn asked_formats(&mut self, bind: &Bind<'_>) -> Rc<[i16]> {
        if !bind.results.iter().eq(self.last_formats.iter().copied()) {
            self.last_formats = bind.results.iter().collect();
        }
        Rc::clone(&self.last_formats)
    }

    /// The plan of a prepared statement, planned again when policy or search path changed since.
    pub(super) async fn current_plan(&mut self, name: &str) -> Result<Prepared, Failure> {
        self.refresh()?;
        let prepared = self.names.statement(name)?.clone();
        let plan = &prepared.plan;
        if prepared.scope == self.derived.scope || plan.governed().is_none() {
            self.check_block(plan)?;
            return Ok(prepared);
        }
        let again = self.plan(plan.text(), plan.declared_types())?;
        let again = if prepared.analysed.same_path(&self.derived.analysed()) {
            // The policy is another one. What the literals mean is not the policy's.
            self.describe_plan(&again).await?;
            let described = again.description();
            Prepared { plan: again, scope: self.derived.scope, described, ..prepared.clone() }
        } else {
            self.analyse_plan(again, prepared.told).await?
        };
        let same = match (&prepared.described, &again.described) {
            (Some(before), Some(after)) => !prepared.told || before.same_result(after),
            _ => true,
        };
        if !same {
            return Err(SessionError::ResultChanged.into());
        }
        self.names.put_statement(name, again.clone());
        Ok(again)
    }

    fn put_portal(&mut self, name: &str, portal: Portal) {
        if let Some(open) = self.names.put_portal(name, portal).and_then(|displaced| displaced.open) {
            self.close_early(open);
        }
    }

    fn queue_or_reply_bound(&mut self, number: PortalNumber) {
        if self.queue.is_empty() {
            reply::bare(self.client.outgoing(), b'2');
        } else {
            self.queue.push(Expected::Reply(Reply::Bound(number)));
        }
    }

    /// A Describe message.
    pub async fn describe(&mut self, target: Target, name: &str) -> Result<(), Ended> {
        if self.skipping {
            return Ok(());
        }
        self.arm();
        match self.try_describe(target, name).await {
            Ok(()) => Ok(()),
            Err(failure) => self.refuse(failure, None).await,
        }
    }

    async fn try_describe(&mut self, target: Target, name: &str) -> Result<(), Failure> {
        let reply = match target {
            Target::Statement => {
                let Prepared { plan, described, .. } = self.names.statement(name)?.clone();
                if let Some(execute) = Self::named(&plan) {
                    return Ok(self.describe_named(execute)?);
                }
                if let Action::Local(Statement::Fetch(fetch)) = plan.action() {
                    self.reply_in_turn(Reply::NoParameters);
                    self.describe_fetch(fetch, None);
                    return Ok(());
                }
                if returns_rows(&plan) {
                    let prepared = self.told_of(name).await?;
                    Reply::Statement(prepared.plan, prepared.described)
                } else {
                    Reply::Statement(plan, described)
                }
            }
            Target::Portal => {
                if self.cursors.has(name) {
                    self.transaction.check()?;
                    self.describe_cursor(name);
                    return Ok(());
                }
                let portal = self.names.portal(name)?;
                let (plan, formats, described) = (Rc::clone(&portal.plan), Rc::clone(&portal.formats), portal.described.clone());
                if let Action::Local(Statement::Fetch(fetch)) = plan.action() {
                    self.describe_fetch(fetch, Some(formats));
                    return Ok(());
                }
                if returns_rows(&plan) {
                    self.check_block(&plan)?;
                }
                Reply::Portal(plan, described, Some(formats))
            }
        };
        self.reply_in_turn(reply);
        Ok(())
    }

    /// An Execute message.
    pub async fn execute(&mut self, name: &str, max_rows: u32) -> Result<(), Ended> {
        // Asked before: what fails in the batch may take the portal with it.
        let plan = self.names.portal(name).ok().map(|portal| Rc::clone(&portal.plan));
        let text = plan.as_ref().map(|plan| plan.text());
        if self.skipping {
            return self.was_not_run(text).await;
        }
        self.arm();
        match self.try_execute(name, max_rows).await {
            Ok(()) => Ok(()),
            Err(failure) => self.refuse_bound(failure, text).await,
        }
    }

    async fn try_execute(&mut self, name: &str, max_rows: u32) -> Result<(), Failure> {
        if self.cursors.has(name) {
            return self.execute_cursor(name, max_rows).await;
        }
        let portal = self.names.portal(name)?;
        let plan = Rc::clone(&portal.plan);
        if !matches!(plan.action(), Action::Forward(_)) {
            self.drain().await?;
            if self.skipping {
                return Err(Failure::PassedOver);
            }
            self.check_block(&plan)?;
            let portal = self.names.portal(name)?;
            let (number, done) = (portal.number, std::mem::replace(&mut portal.done, true));
            let (bound, formats) = (portal.bound.take(), Rc::clone(&portal.formats));
            if let Some(open) = portal.open.take() {
                return self.go_on(number, open, max_rows).await;
            }
            if let (false, Action::Local(Statement::Fetch(fetch))) = (done, plan.action()) {
                return self.fetch(plan.text(), fetch, &FetchPortal { number, formats, max_rows }).await;
            }
            if let (false, Action::Copy(..)) = (done, plan.action()) {
                return self.copy(&plan).await;
            }
            if let (false, Action::Local(Statement::Explain(explain))) = (done, plan.action()) {
                return self.explain_execute(explain, false);
            }
            return match bound {
                Some(bound) if !done && matches!(plan.action(), Action::Explain(..)) => self.explain(&plan, &bound, false).await,
                Some(bound) if !done && matches!(plan.action(), Action::Declare(..)) => self.declare(&plan, &bound, Tell::Client).await,
                Some(bound) if !done => self.write(&plan, &bound).await,
                Some(_) | None if done => self.execute_again(&plan, name),
                Some(_) | None => self.execute_here(&plan).await,
            };
        }
        // In a failed block the portal keeps its rows: after a ROLLBACK TO it goes on.
        self.check_block(&plan)?;
        let portal = self.names.portal(name)?;
        let (number, open) = (portal.number, portal.open.take());
        if let Some(statement) = plan.governed()
            && self.upstream.as_ref().is_some_and(|upstream| upstream.source != *statement.source())
            && let Err(failure) = self.need_upstream(statement.source()).await
        {
            if let Some(open) = open {
                self.close_early(open);
            }
            return Err(failure);
        }
        self.queue_execute(number, open, max_rows);
        Ok(())
    }

    /// Execute of a FETCH that returned a part of its rows.
    async fn go_on(&mut self, number: PortalNumber, open: Open, max_rows: u32) -> Result<(), Failure> {
        let mut open = open;
        let source = open.plan.governed().map(|governed| governed.source().clone()).ok_or(SourceError::NotPrepared)?;
        if let Err(failure) = self.need_upstream(&source).await {
            self.close_early(open);
            return Err(failure);
        }
        let spent = open.cursor.and_then(|cursor| self.cursors.spent(cursor));
        open.go_on(spent.unwrap_or_default());
        self.queue_execute(number, Some(open), max_rows);
        Ok(self.drain().await?)
    }

    /// A Close message. Closing what is not there is no error.
    pub async fn close(&mut self, target: Target, name: &str) -> Result<(), Ended> {
        if self.skipping {
            return Ok(());
        }
        match target {
            Target::Statement => {
                let removed = self.names.remove_statement(name);
                self.reply_in_turn(Reply::ClosedStatement(name.into(), removed));
            }
            Target::Portal => {
                // An Execute before it may leave rows in the portal, so it is settled first.
                self.drain().await?;
                if self.skipping {
                    return Ok(());
                }
                if self.cursors.has(name) {
                    if let Err(failure) = self.close_cursor(name).await {
                        return self.refuse(failure, None).await;
                    }
                } else {
                    self.close_portal(name);
                }
                self.reply_in_turn(Reply::ClosedPortal);
            }
        }
        Ok(())
    }

    /// Closes a portal, here and at the source.
    pub(super) fn close_portal(&mut self, name: &str) {
        let Some(portal) = self.names.remove_portal(name) else { return };
        let at_source = matches!(portal.plan.action(), Action::Forward(_) | Action::Local(Statement::Fetch(_)));
        if let Some(upstream) = self.upstream.as_mut().filter(|_| at_source) {
            upstream.lease.close_portal(&portal.number.upstream_name());
            upstream.unsynced = true;
            self.queue.push(Expected::Closed);
        }
        if let Some(open) = portal.open {
            self.close_early(open);
        }
    }

    /// A Flush message: everything asked so far is answered.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        self.drain().await
    }

    /// A Sync message: the batch ends.
    pub async fn sync(&mut self) -> Result<(), Ended> {
        self.take_back_declared();
        self.sync_upstream().await?;
        if !self.is_in_transaction() {
            self.end_portals();
            self.release_upstream();
            self.end_cursors(!self.skipping);
        }
        self.ready();
        Ok(())
    }

    /// ROLLBACK TO: the portals that were made since the savepoint are over, those before it go on.
    pub(super) fn end_portals_above(&mut self, depth: usize) {
        let left: Vec<_> = self.names.take_portals_above(depth).into_iter().filter_map(|portal| portal.open).collect();
        for open in left {
            self.close_early(open);
        }
    }

    /// The transaction is over, and its portals with it.
    pub(super) fn end_portals(&mut self) {
        let left: Vec<_> = self.names.take_portals().filter_map(|portal| portal.open).collect();
        for open in left {
            self.close_early(open);
        }
    }
}

/// What a write's Execute will need: nothing runs before it.
fn keep_bound(plan: &Plan, description: Option<&Description>, bind: &Bind<'_>, analysed: Analysed) -> Option<Box<Bound>> {
    let (Action::Write(_) | Action::Declare(..) | Action::Explain(..), Some(description)) = (plan.action(), description) else {
        return None;
    };
    let (values, count) = (bind.parameters.bytes().into(), bind.parameters.len());
    let mut bound = Bound { formats: Vec::new(), values, count, analysed: Some(analysed) };
    description.parameter_formats(bind.formats, &mut bound.formats);
    Some(Box::new(bound))
}

/// Whether it returns rows; a failed block describes nothing that does.
fn returns_rows(plan: &Plan) -> bool {
    matches!(plan.action(), Action::Forward(_) | Action::Local(Statement::Show(_) | Statement::ShowAll))
}

/// What Describe of a statement answers.
pub(super) fn describe_statement(plan: &Plan, description: Option<&Description>, out: &mut BytesMut) {
    match plan.action() {
        Action::Local(statement) => {
            reply::with_body(out, b't', &[0, 0]);
            local::describe(statement, &[], out);
        }
        Action::Forward(_) => {
            if let Some(description) = description {
                out.extend_from_slice(description.parameters());
                description.write_row(&[], out);
            }
        }
        Action::Explain(explain, _) => {
            if let Some(description) = description {
                out.extend_from_slice(description.parameters());
            }
            explain::describe(explain, &[], out);
        }
        Action::Write(_) | Action::Declare(..) | Action::Copy(..) => {
            if let Some(description) = description {
                out.extend_from_slice(description.parameters());
            }
            reply::bare(out, b'n');
        }
    }
}

/// What Describe of a portal answers.
pub(super) fn describe_portal(plan: &Plan, description: Option<&Description>, formats: &[i16], out: &mut BytesMut) {
    match plan.action() {
        Action::Local(statement) => local::describe(statement, formats, out),
        Action::Explain(explain, _) => explain::describe(explain, formats, out),
        Action::Write(_) | Action::Declare(..) | Action::Copy(..) => reply::bare(out, b'n'),
        Action::Forward(_) => {
            if let Some(description) = description {
                description.write_row(formats, out);
            }
        }
    }
}
