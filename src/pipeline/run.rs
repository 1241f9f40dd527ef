//! One statement, door to door.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use super::{
    appended::Values,
    bind::Parameters,
    binding::{recorded, recorded_values},
    decide,
    describe::Description,
    draft::Bound,
    open::Open,
    plan::{Action, Plan},
    plans::Known,
    prepared::{PortalNumber, Reading},
    queue::{Asked, Expected, Reply, Tell},
    session::{Again, Ended, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, Report, SessionError},
    govern::{self, GovernedStatement, Request, Template},
    journal::{BoundParameters, Decision},
    policy::EvidenceRows,
    source::{BindParameters, SourceError},
    sql::{self, Statement, catalog::Oid},
};

/// Times that a statement runs again because the source has changed under it: once, unless it changes on and on.
const MOST_CHANGES: usize = 8;

/// Identifiers of one text that are told as cut, at most.
const MOST_CUT: usize = 100;

impl<I: Interrupts> Session<I> {
    /// One statement of the simple protocol, top to bottom. The extended protocol takes the same steps: Parse plans,
    /// Bind decides and forwards, Execute streams.
    async fn run(&mut self, text: &str) -> Result<(), Failure> {
        let plan = self.plan(text, &[])?; // classified and governed, or found decided before
        let statement = match plan.action() {
            Action::Forward(statement) => statement,
            Action::Write(write) if write.read().client_parameters() > 0 => return Err(SessionError::NoParameter.into()),
            Action::Write(_) => return self.write(&plan, &Bound::default()).await,
            Action::Declare(_, statement) if statement.client_parameters() > 0 => return Err(SessionError::NoParameter.into()),
            Action::Copy(..) => return self.copy(&plan).await,
            Action::Explain(_, statement) if statement.client_parameters() > 0 => return Err(SessionError::NoParameter.into()),
            Action::Explain(..) => return self.explain(&plan, &Bound::default(), true).await,
            Action::Local(Statement::Explain(explain)) => {
                return self.explain_execute(explain, true);
            }
            Action::Declare(..) => return self.declare_simply(&plan).await,
            Action::Local(Statement::Fetch(fetch)) => return self.fetch_simply(text, fetch).await,
            Action::Local(Statement::Execute(execute)) => return self.execute_named(execute).await,
            Action::Local(_) => return self.answer_here(&plan).await,
        };
        if statement.client_parameters() > 0 {
            return Err(SessionError::NoParameter.into());
        }
        if self.forward_once(&plan).await? { self.run_again(text).await } else { Ok(()) }
    }

    /// Forwards a read of the simple protocol, and settles it. True: it is to run again.
    async fn forward_once(&mut self, plan: &Rc<Plan>) -> Result<bool, Failure> {
        let open = self.decide(plan, None)?; // recorded before anything is forwarded
        self.again = if self.is_in_transaction() { Again::No } else { Again::May };
        let reading = self.reading(plan);
        let forwarded = self.forward(plan, open, Parameters::default(), &reading).await; // in the client's transaction, under the client's settings
        let settled = match forwarded {
            Ok(()) => self.sync_upstream().await.map_err(Failure::from), // rows to the client and into evidence; the outcome; then CommandComplete
            Err(failure) => Err(failure),
        };
        let again = std::mem::replace(&mut self.again, Again::No) == Again::Shall;
        settled.map(|()| again)
    }

    /// The source has changed under what it had prepared. PostgreSQL's simple query prepares nothing, so it does not notice: the
    /// statement is decided, described and recorded anew.
    async fn run_again(&mut self, text: &str) -> Result<(), Failure> {
        for _ in 0..MOST_CHANGES {
            let plan = self.plan(text, &[])?;
            if !matches!(plan.action(), Action::Forward(_)) || !self.forward_once(&plan).await? {
                return Ok(());
            }
        }
        Err(SessionError::ResultChanged.into())
    }

    /// A Query message.
    pub async fn query(&mut self, text: &str) -> Result<(), Ended> {
        self.drain().await?;
        if self.skipping {
            return Ok(());
        }
        self.arm();
        // As in PostgreSQL, a Query message ends the unnamed statement and portal.
        drop(self.names.remove_statement(""));
        if let Some(open) = self.names.remove_portal("").and_then(|portal| portal.open) {
            self.close_early(open);
        }
        self.note_cut_identifiers(text);
        match self.several(text) {
            Ok(None) => self.run_or_refuse(text).await?,
            Ok(Some(statements)) => self.run_several(text, &statements).await?,
            Err(error) => self.refuse(error.into(), Some(text)).await?,
        }
        self.sync().await
    }

    /// Tells of identifiers that are longer than PostgreSQL's: what is read is cut.
    pub(super) fn note_cut_identifiers(&mut self, text: &str) {
        for (written, read) in sql::cut_identifiers(text).iter().take(MOST_CUT) {
            let message = format!("identifier \"{written}\" will be truncated to \"{read}\"");
            self.notice(&Report { sqlstate: "42622".into(), ..Report::notice(message) });
        }
    }

    /// One statement of the simple protocol, its failure told.
    pub(super) async fn run_or_refuse(&mut self, text: &str) -> Result<(), Ended> {
        match self.run(text).await {
            Ok(()) => Ok(()),
            Err(failure) => self.refuse(failure, Some(text)).await,
        }
    }

    /// Classifies and governs a statement, unless this lane has done so before under the same policy, agent and search path.
    pub(super) fn plan(&mut self, text: &str, declared_types: &[Oid]) -> Result<Rc<Plan>, Error> {
        self.refresh()?;
        let found = self.lane.plans().find(self.derived.scope, text, declared_types);
        let plan = match found {
            Some(plan) => plan,
            None => self.new_plan(text, declared_types)?,
        };
        self.check_block(&plan)?;
        Ok(plan)
    }

    /// A plan from the template of the text's shape; or from the text itself, which may make a template.
    fn new_plan(&mut self, text: &str, declared_types: &[Oid]) -> Result<Rc<Plan>, Error> {
        let scope = self.derived.scope;
        let shaped = self.shape.read(text) && !self.shape.slots.is_empty();
        let known = if shaped { self.lane.plans().shape(scope, &self.shape.key, declared_types) } else { Known::Single };
        if let Known::Template(template, description) = &known
            && let Some(governed) = template.fill(text, &self.shape.slots)
        {
            return Ok(Rc::new(Plan::once(text, declared_types, governed, description)));
        }
        let plan = Rc::new(Plan::new(text, declared_types, self.decide_action(text, declared_types)?));
        let mut plans = self.lane.plans();
        plans.insert(scope, &plan);
        if let (Known::Nothing, Action::Forward(governed)) = (known, plan.action()) {
            plans.insert_template(
                scope,
                &self.shape.key,
                declared_types,
                Template::of(governed, text, &self.shape),
                plan.shared_description(),
            );
        }
        drop(plans);
        Ok(plan)
    }

    fn decide_action(&self, text: &str, declared_types: &[Oid]) -> Result<Action, Error> {
        let statement = sql::classify(text).map_err(Error::Parse)?;
        // In a failed block nothing is governed, so nothing is told that a live one would not tell.
        if decide::is_governed(&statement) {
            self.transaction.check()?;
        }
        decide::decide(&self.request(text, declared_types), statement)
    }

    /// The decision on the text of a plan by itself.
    pub(super) fn decide_again(&self, plan: &Plan) -> Option<Arc<GovernedStatement>> {
        govern::govern(&self.request(plan.text(), plan.declared_types())).ok()
    }

    fn request<'a>(&'a self, text: &'a str, declared_types: &'a [Oid]) -> Request<'a> {
        let search_path = &self.derived.search_path;
        Request { text, declared_types, agent: &self.agent, policy: &self.policy, search_path, database: &self.who.database }
    }

    /// A failed block takes nothing but what ends it.
    pub(super) fn check_block(&self, plan: &Plan) -> Result<(), Error> {
        let ends = |statement: &Statement| {
            matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackTo(_) | Statement::Empty)
        };
        match plan.action() {
            Action::Local(statement) if ends(statement) => Ok(()),
            Action::Local(_) | Action::Forward(_) | Action::Write(_) | Action::Declare(..) | Action::Copy(..) | Action::Explain(..) => {
                Ok(self.transaction.check()?)
            }
        }
    }

    /// Records the decision to forward, with the bound values as the source will get them.
    pub(super) fn decide(&mut self, plan: &Rc<Plan>, bound: Option<(Parameters<'_>, &Rc<[i16]>)>) -> Result<Open, Error> {
        let sent = plan.governed().map_or("", |statement| statement.text());
        self.decide_as(plan, plan.text(), sent, bound)
    }

    /// As [`Self::decide`], for a statement around or beside the plan's: `text` is the client's, `sent` goes to the source.
    pub(super) fn decide_as(
        &mut self,
        plan: &Rc<Plan>,
        text: &str,
        sent: &str,
        bound: Option<(Parameters<'_>, &Rc<[i16]>)>,
    ) -> Result<Open, Error> {
        let Some(statement) = plan.governed() else { return Err(SourceError::NotPrepared.into()) };
        self.check_binding(statement)?;
        self.settle_settings(plan, bound.map(|(values, _)| values))?;
        let running = match &self.derived.usage {
            Some(usage) => Some(usage.begin(&self.agent.name, &self.agent.limits)?),
            None => None,
        };
        let description = plan.description();
        let parameters = BoundParameters {
            types: description.as_deref().map_or(statement.parameter_types(), Description::parameter_types),
            formats: &self.formats.0,
            values: bound.map_or(&[][..], |(parameters, _)| parameters.bytes()),
            redact: !self.agent.evidence_parameters,
        };
        if let Some((values, _)) = bound {
            let format = |place: usize| self.formats.0.get(if self.formats.0.len() == 1 { 0 } else { place }).copied().unwrap_or(0);
            govern::check_configurations(parameters.types, format, values.iter())?;
        }
        let (text, sent) = (recorded(text), recorded(sent));
        let values = if parameters.redact { Cow::Borrowed(parameters.values) } else { recorded_values(parameters.values) };
        let parameters = BoundParameters { values: &values, ..parameters };
        let decision = Decision {
            source: Some(statement.source()),
            relations: statement.relations(),
            fingerprint: statement.fingerprint(),
            parameters: if bound.is_some() { parameters } else { BoundParameters::default() },
            governed_text: Some(&sent),
            traceparent: plan.traceparent(),
            ..self.undecided(&text)
        };
        let mut journal = self.lane.journal();
        let ticket = journal.decision(&decision)?;
        // The rows of a write's read are the values that were given, computed.
        let redacted = matches!(plan.action(), Action::Write(_)) && !self.agent.evidence_parameters;
        let rows = if redacted { EvidenceRows::Digest } else { statement.evidence() };
        let recorder = journal.recorder(&ticket, rows);
        drop(journal);
        self.evidence.note(ticket.id());
        self.lane.figures().forwarded();
        tracing::debug!(
            evidence = %ticket.id(), agent = %self.who.principal.agent, fingerprint = statement.fingerprint(),
            fenced = statement.fenced(), source = %statement.source(), decision = "forwarded", "statement"
        );
        let open = Open::new(ticket, recorder, Rc::clone(plan), statement.limit(), bound.map(|(_, formats)| Rc::clone(formats)));
        Ok(open.counted(running))
    }

    /// Everything that a statement needs at the source: what it asks of the store, and the connection.
    pub(super) async fn ready_for(&mut self, statement: &GovernedStatement) -> Result<(), Failure> {
        self.know_own(statement).await?;
        self.need_upstream(statement.source()).await
    }

    /// What was asked for and did not get as far as its decision, because the source was not there: evidence all the same.
    pub(super) fn unreached(&mut self, plan: &Rc<Plan>, failure: Failure) -> Failure {
        if !matches!(failure, Failure::Error(Error::Source(_))) {
            return failure;
        }
        match self.decide(plan, None) {
            Ok(open) => {
                self.close_unforwarded(open, &failure);
                failure
            }
            Err(error) => error.into(),
        }
    }

    /// How a statement of the simple protocol is prepared: in a block anew, as PostgreSQL does it, since an error of what is out of
    /// date would end the block; elsewhere by what the connection holds.
    pub(super) fn reading(&self, plan: &Plan) -> Reading {
        let anew = self.is_in_transaction() || plan.is_once() || matches!(plan.action(), Action::Copy(..));
        let described = plan.description().filter(|_| !anew).map(|description| description.shape());
        Reading { analysed: self.derived.analysed(), described, since: None }
    }

    /// Queues a statement of the simple protocol at the source.
    pub(super) async fn forward(
        &mut self,
        plan: &Rc<Plan>,
        open: Open,
        parameters: Parameters<'_>,
        reading: &Reading,
    ) -> Result<(), Failure> {
        self.formats.0.clear();
        self.formats.1.clear();
        let queued = match plan.governed() {
            Some(statement) => self.ready_for(statement).await,
            None => Ok(()),
        };
        let portal = self.names.new_portal("");
        let queued = queued.and_then(|()| {
            let portal = portal?;
            self.queue_bind(plan, portal, parameters, Tell::Nobody, reading)?;
            self.queue.push(Expected::Reply(Reply::Run(Rc::clone(plan))));
            Ok(portal)
        });
        match queued {
            Ok(portal) => self.queue_execute(portal, Some(open), 0),
            Err(failure) => {
                self.close_unforwarded(open, &failure);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Queues what binds a portal at the source, the formats being in `self.formats`. When nobody is told of the
    /// Bind it is the simple protocol's, which tells the columns instead.
    pub(super) fn queue_bind(
        &mut self,
        plan: &Rc<Plan>,
        portal: PortalNumber,
        parameters: Parameters<'_>,
        tell: Tell,
        reading: &Reading,
    ) -> Result<(), Error> {
        let Self { upstream: Some(upstream), queue, who, settings, evidence, derived, formats, transaction, own, .. } = self else {
            return Err(SourceError::NotPrepared.into());
        };
        let Some(statement) = plan.governed() else { return Ok(()) };
        let values = Values { who, settings, derived, evidence, transaction, own };
        // The extended protocol has made sure of it, and asked for its columns.
        if tell == Tell::Nobody {
            let parsed = match reading.wanted(statement) {
                Some(wanted) => upstream.lease.prepare_as(statement, wanted),
                None => upstream.lease.prepare_unnamed_under(statement, reading.analysed.at(statement)),
            };
            queue.push(Expected::Prepared(portal));
            // What PostgreSQL analyses anew may have other columns than it had. A COPY has asked.
            if parsed && !matches!(plan.action(), Action::Copy(..)) {
                upstream.lease.describe_statement(statement)?;
                queue.push(Expected::Parameters(Rc::clone(plan), Asked::Run(reading.described)));
            }
        }
        values.with(statement.appended(), |appended| {
            let bind = BindParameters {
                client_formats: &formats.0,
                client_values: parameters.bytes(),
                client_count: parameters.len(),
                appended,
                result_formats: &formats.1,
            };
            upstream.lease.bind(statement, &portal.upstream_name(), &bind)
        })?;
        queue.push(Expected::Bound(portal, tell));
        Ok(())
    }

    /// Queues Execute.
    pub(super) fn queue_execute(&mut self, portal: PortalNumber, open: Option<Open>, max_rows: u32) {
        if let Some(upstream) = &mut self.upstream {
            upstream.lease.execute(&portal.upstream_name(), i32::try_from(max_rows).unwrap_or(0));
            upstream.unsynced = true;
            self.queue.push(Expected::Executed(portal, open.map(Box::new)));
        }
    }
}
