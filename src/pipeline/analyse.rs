//! What the source makes of a statement: its parameters and columns, which are those of now. The source's schema changes while it is
//! served, so what was said of a text before holds only as long as PostgreSQL runs what it had made of it then.

use std::{rc::Rc, time::Instant};

use super::{
    plan::Plan,
    prepared::{PortalNumber, Prepared, Reading},
    queue::{Asked, Expected},
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{error::SessionError, source::SourceError};

/// Times that a statement is analysed anew because its columns are others than they were a moment ago.
const MOST_CHANGES: usize = 8;

impl<I: Interrupts> Session<I> {
    /// A Parse by the client: PostgreSQL reads the literals now, under the settings of now, and says at once what is wrong
    /// with them. One that is `kept` has the columns that it has now, or none.
    pub(super) async fn analyse_plan(&mut self, plan: Rc<Plan>, kept: bool) -> Result<Prepared, Failure> {
        let (analysed, since) = (self.derived.analysed(), Instant::now());
        let mut asked_in = None;
        if let Some(statement) = plan.governed()
            && (kept || !plan.is_analysed(analysed.at(statement)))
        {
            self.ask_source(&plan).await?;
            plan.analysed(analysed.at(statement));
            asked_in = Some(self.batches);
        }
        let described = plan.description();
        Ok(Prepared { plan, scope: self.derived.scope, analysed, since, described, told: kept, asked_in })
    }

    /// Asks the source what a statement's parameters and columns are, once for every session of the lane. Here the
    /// source's own errors about the text come out, as they do at PostgreSQL's Parse.
    pub(super) async fn describe_plan(&mut self, plan: &Rc<Plan>) -> Result<(), Failure> {
        if plan.description().is_some() { Ok(()) } else { self.ask_source(plan).await }
    }

    /// As [`Self::describe_plan`], whatever was known: the source's schema may have changed.
    pub(super) async fn ask_source(&mut self, plan: &Rc<Plan>) -> Result<(), Failure> {
        let Some(statement) = plan.governed() else { return Ok(()) };
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        if let Err(failure) = self.need_upstream(statement.source()).await {
            return Err(self.unreached(plan, failure));
        }
        let portal = self.names.new_portal("")?;
        if let Some(upstream) = &mut self.upstream {
            // What a connection holds of it may be out of date.
            upstream.lease.prepare_unnamed(statement);
            upstream.lease.describe_statement(statement)?;
            self.queue.push(Expected::Prepared(portal));
            self.queue.push(Expected::Parameters(Rc::clone(plan), Asked::Parse));
        }
        self.drain().await?;
        if self.skipping { Err(Failure::PassedOver) } else { Ok(()) }
    }

    /// Makes sure that a prepared statement is held at its source with the columns that it has: where it is analysed there anew, the
    /// source is asked for them first. A client that knows it by other columns is told so, as by PostgreSQL. Whether it was analysed.
    pub(super) async fn hold(
        &mut self,
        name: &str,
        prepared: Prepared,
        portal: PortalNumber,
        since: Option<Instant>,
    ) -> Result<(Prepared, Reading, bool), Failure> {
        let mut prepared = prepared;
        let plan = Rc::clone(&prepared.plan);
        if !prepared.told {
            // The client knows none. Another session may have found that it is another one.
            prepared.described = plan.description();
        }
        let Some(statement) = plan.governed() else { return Err(SourceError::NotPrepared.into()) };
        if let Err(failure) = self.ready_for(statement).await {
            return Err(self.unreached(&plan, failure));
        }
        // In a block, an error of what is out of date would end it: what was held before the client's own Parse will not do.
        let since = since.or_else(|| self.is_in_transaction().then_some(prepared.since));
        let in_block = self.is_in_transaction();
        let mut parsed = false;
        for _ in 0..MOST_CHANGES {
            let reading = prepared.reading(since.filter(|_| !parsed));
            let (Some(upstream), Some(wanted)) = (&mut self.upstream, reading.wanted(statement)) else {
                return Err(SourceError::NotPrepared.into());
            };
            let anew = upstream.lease.prepare_as(statement, wanted);
            self.queue.push(Expected::Prepared(portal));
            if !anew {
                return Ok((prepared, reading, parsed));
            }
            parsed = true;
            if statement.is_parsed_each_time() && (prepared.told || !in_block) {
                // Not worth an exchange each time: that it has other columns is found on the way.
                upstream.lease.describe_statement(statement)?;
                let shape = reading.described.unwrap_or_default();
                self.queue.push(Expected::Parameters(Rc::clone(&plan), Asked::Bind(portal, shape)));
                if !prepared.told && !in_block {
                    self.repeat.keep_from(portal);
                }
                return Ok((prepared, reading, parsed));
            }
            upstream.lease.describe_statement(statement)?;
            self.queue.push(Expected::Parameters(Rc::clone(&plan), Asked::Parse));
            self.drain().await?;
            if self.skipping {
                return Err(Failure::PassedOver);
            }
            let now = plan.description();
            if now.as_ref().map(|now| now.shape()) == prepared.described.as_ref().map(|known| known.shape()) {
                continue;
            }
            // The connection holds it as having the description that was asked for.
            if let Some(upstream) = &mut self.upstream {
                upstream.lease.forget_statements();
            }
            if prepared.told {
                return Err(SessionError::ResultChanged.into());
            }
            prepared.described = now;
            self.names.put_statement(name, prepared.clone());
        }
        Err(SessionError::ResultChanged.into())
    }

    /// A prepared statement whose description the client is told: that of now, and it stays.
    pub(super) async fn told_of(&mut self, name: &str) -> Result<Prepared, Failure> {
        let mut prepared = self.current_plan(name).await?;
        if prepared.told || prepared.plan.governed().is_none() {
            return Ok(prepared);
        }
        if prepared.asked_in != Some(self.batches) {
            self.ask_source(&Rc::clone(&prepared.plan)).await?;
            prepared.described = prepared.plan.description();
        }
        prepared.told = true;
        self.names.put_statement(name, prepared.clone());
        Ok(prepared)
    }
}
