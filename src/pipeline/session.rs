//! The state of one client connection, and what it shares with its lane.

use std::{fmt::Write as _, future::Future, pin::Pin, rc::Rc, sync::Arc};

use tokio::time::{Instant, Sleep, sleep};

use super::{
    binding::Bound,
    cursors::Cursors,
    lane::Lane,
    local::cut_short,
    own::Own,
    plans::Scope,
    prepared::{Analysed, Names},
    queue::Queue,
    quota::Usage,
    repeat::Repeat,
    reply,
    settings::{self, Cut, Settings},
    transaction::{Status, Transaction},
    upstream::Upstream,
};
use crate::{
    error::{Error, Report, SessionError, Severity},
    policy::{Agent, Limits, PolicySet},
    source::{self, Setting},
    sql::Shape,
    types::{EvidenceId, Principal},
    wire::{Channel, MessageWriter},
};

/// What a session starts from.
#[derive(Debug)]
pub struct Start {
    /// The client.
    pub channel: Channel,
    /// Who it is.
    pub principal: Principal,
    /// Startup settings, allow-listed and in order.
    pub parameters: Vec<(String, String)>,
    /// The database name of the startup message.
    pub database: String,
    /// For BackendKeyData.
    pub process_id: i32,
    /// For BackendKeyData.
    pub secret_key: Box<[u8]>,
    /// Names the session in evidence.
    pub session: String,
}

/// What may interrupt a statement from outside its connection.
pub trait Interrupts {
    /// A statement starts: what came before it is no longer of interest.
    fn arm(&mut self);

    /// Waits for an interruption. Cancel safe.
    fn interrupted(&mut self) -> impl Future<Output = Interrupt>;
}

/// An interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// CancelRequest: the statement ends.
    Cancel,
    /// The server closes: the connection ends.
    Close,
}

/// The connection is over.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The client is gone, or can no longer be told anything.
    Gone,
    /// The client is told this last.
    Fatal(Box<Report>),
}

/// One client connection.
#[derive(Debug)]
pub struct Session<I> {
    pub(super) client: Channel,
    pub(super) lane: Rc<Lane>,
    pub(super) interrupts: I,
    pub(super) who: Who,
    pub(super) policy: Arc<PolicySet>,
    pub(super) agent: Arc<Agent>,
    pub(super) settings: Settings,
    pub(super) derived: Derived,
    pub(super) transaction: Transaction,
    pub(super) names: Names,
    pub(super) cursors: Cursors,
    pub(super) upstream: Option<Upstream>,
    /// The connection that is not in hand, while both a source and the catalog are used in one transaction.
    pub(super) aside: Option<Upstream>,
    /// Connections that cursors WITH HOLD keep while none of them is in hand.
    pub(super) kept: Vec<Upstream>,
    /// Connections taken so far.
    pub(super) loans: u64,
    pub(super) queue: Queue,
    /// After an error of the extended protocol: everything up to Sync is passed over.
    pub(super) skipping: bool,
    /// Settings as they were before the first SET since the last Sync, for an error to go back to.
    pub(super) unsynced_settings: Option<settings::Mark>,
    pub(super) evidence: Evidence,
    /// The agent's own proposals, as the last statement that asked for them found them.
    pub(super) own: Own,
    pub(super) timer: Pin<Box<Sleep>>,
    /// The end of the transaction at a source, at the latest.
    pub(super) age: Pin<Box<Sleep>>,
    pub(super) formats: (Vec<i16>, Vec<i16>),
    /// The result formats of the last Bind: the next one asks for the same, as a rule.
    pub(super) last_formats: Rc<[i16]>,
    /// A buffer for the shape of a text.
    pub(super) shape: Shape,
    /// Characters of a Query message before the statement that runs, for the positions in its errors.
    pub(super) characters_before: usize,
    /// A message has come since the last ReadyForQuery.
    pub(super) in_batch: bool,
    /// What a statement that can run again came to.
    pub(super) again: Again,
    /// What is said again, should the source refuse a Bind.
    pub(super) repeat: Repeat,
    /// Batches so far.
    pub(super) batches: u64,
    reported: Vec<(&'static str, Box<str>)>,
    reported_generation: u64,
}

/// Whether a statement runs again when what the source has prepared of it is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It does not: the client is told.
    No,
    /// It may: the client has been told nothing of it.
    May,
    /// It shall.
    Shall,
}

/// Who is connected. Only a session token changes it, between transactions.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) principal: Principal,
    /// Who it was when the connection was made.
    pub(super) login: Principal,
    /// A session token is in force.
    pub(super) bound: Option<Bound>,
    pub(super) database: String,
    pub(super) process_id: String,
    pub(super) version: String,
    pub(super) session: String,
    /// The run was bound at authentication, so `pgwicket.run` is not the client's to set.
    pub(super) bound_run: bool,
}

/// What follows from the settings and the policy, until one of them changes.
#[derive(Debug)]
pub(super) struct Derived {
    generation: u64,
    pub(super) scope: Scope,
    pub(super) search_path: Vec<Box<str>>,
    pub(super) upstream: Rc<source::Settings>,
    pub(super) catalog: Rc<source::Settings>,
    pub(super) statement_timeout: u64,
    pub(super) policy_epoch: String,
    /// The counts of an agent that has limits.
    pub(super) usage: Option<Arc<Usage>>,
}

/// The last evidence id, and whether the client was told.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    text: String,
    untold: bool,
}

impl Evidence {
    pub(super) fn note(&mut self, id: EvidenceId) {
        self.text.clear();
        // Writing to a String cannot fail.
        self.untold = write!(self.text, "{id}").is_ok();
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl<I: Interrupts> Session<I> {
    /// Greets a client: ParameterStatus, BackendKeyData and ReadyForQuery are queued behind `AuthenticationOk`.
    pub fn start(start: Start, lane: Rc<Lane>, interrupts: I) -> Result<Self, Box<(Channel, Error)>> {
        let policy = lane.policy();
        let Some(agent) = policy.agents.get(&start.principal.agent).cloned() else {
            return Err(Box::new((start.channel, SessionError::PolicyChanged(start.principal.agent.as_str().into()).into())));
        };
        let (settings, cuts) = match initial_settings(&start, &policy, &agent) {
            Ok(found) => found,
            Err(error) => return Err(Box::new((start.channel, error))),
        };
        let version = format!("PostgreSQL {}", settings.value("server_version").unwrap_or_default());
        let derived = Derived::new(&settings, &lane, &policy, &agent, (&start.principal, &start.database));
        let who = Who {
            database: start.database,
            process_id: start.process_id.to_string(),
            bound_run: start.principal.run.is_some(),
            login: start.principal.clone(),
            principal: start.principal,
            bound: None,
            version,
            session: start.session,
        };
        let mut session = Self {
            client: start.channel,
            lane,
            interrupts,
            who,
            policy,
            agent,
            settings,
            derived,
            transaction: Transaction::default(),
            names: Names::default(),
            cursors: Cursors::default(),
            upstream: None,
            aside: None,
            kept: Vec::new(),
            loans: 0,
            queue: Queue::default(),
            skipping: false,
            unsynced_settings: None,
            evidence: Evidence::default(),
            own: Own::default(),
            timer: Box::pin(sleep(std::time::Duration::ZERO)),
            age: Box::pin(sleep(std::time::Duration::ZERO)),
            formats: (Vec::new(), Vec::new()),
            last_formats: Rc::new([]),
            shape: Shape::default(),
            characters_before: 0,
            in_batch: false,
            again: Again::No,
            repeat: Repeat::default(),
            batches: 0,
            reported: Vec::new(),
            reported_generation: 0,
        };
        if !session.who.bound_run {
            session.who.principal.run = session.settings.value("pgwicket.run").and_then(|run| run.parse().ok());
        }
        session.report_settings();
        MessageWriter::new(session.client.outgoing(), b'K').int32(start.process_id).bytes(&start.secret_key).finish();
        session.note_isolation(session.default_isolation());
        for cut in &cuts {
            session.notice(&cut_short(cut));
        }
        let out = session.client.outgoing();
        reply::ready(out, b'I');
        Ok(session)
    }

    /// The client, for the reader of its messages.
    pub fn client(&mut self) -> &mut Channel {
        &mut self.client
    }

    /// What may interrupt it, for the reader of its messages.
    pub fn parts(&mut self) -> (&mut Channel, &mut I) {
        (&mut self.client, &mut self.interrupts)
    }

    /// Whether a transaction block is open.
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.status() != Status::Idle
    }

    /// Whether messages are passed over until Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Takes up a changed policy or changed settings. To be called before a statement is planned.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        if !self.lane.is_current(&self.policy) {
            self.policy = self.lane.policy();
            let agent = self.policy.agents.get(&self.who.principal.agent);
            // A session keeps the tenant it proved; where the policy now binds another one, it has to prove itself again.
            let Some(agent) = agent.filter(|agent| agent.tenant == self.agent.tenant && agent.auth.same_token_rules(&self.agent.auth))
            else {
                return Err(SessionError::PolicyChanged(self.who.principal.agent.as_str().into()).into());
            };
            let rebinds = agent.session_token == self.agent.session_token;
            self.agent = Arc::clone(agent);
            if !rebinds {
                // What a token said under other rules is said no more.
                self.unbind();
            }
        } else if self.derived.generation == self.settings.generation() {
            return Ok(());
        }
        let whose = (&self.who.principal, &*self.who.database);
        self.derived = Derived::new(&self.settings, &self.lane, &self.policy, &self.agent, whose);
        if !self.who.bound_run {
            self.who.principal.run = self.settings.value("pgwicket.run").and_then(|run| run.parse().ok());
        }
        Ok(())
    }

    /// The end of a batch: what changed, the last evidence id, ReadyForQuery.
    pub(super) fn ready(&mut self) {
        self.skipping = false;
        if self.transaction.status() == Status::Idle {
            self.settings.end_local();
        }
        self.in_batch = false;
        self.repeat.end();
        self.batches += 1;
        self.unsynced_settings = None;
        if self.reported_generation != self.settings.generation() {
            self.report_settings();
        }
        let out = self.client.outgoing();
        if std::mem::take(&mut self.evidence.untold) {
            reply::parameter_status(out, "pgwicket.evidence_id", &self.evidence.text);
        }
        reply::ready(out, self.transaction.status().byte());
    }

    /// Sends a warning or notice, if the client wants such.
    pub(super) fn notice(&mut self, report: &Report) {
        let wanted = match self.settings.value("client_min_messages").unwrap_or_default() {
            "error" => false,
            "warning" => report.severity == Severity::Warning,
            _ => true,
        };
        if wanted {
            report.write(self.client.outgoing());
        }
    }

    /// A batch starts: an older CancelRequest is not for it.
    pub(super) fn arm(&mut self) {
        if !std::mem::replace(&mut self.in_batch, true) {
            self.interrupts.arm();
        }
    }

    /// Starts the clock of `statement_timeout`.
    pub(super) fn start_clock(&mut self) {
        let timeout = self.derived.statement_timeout;
        if timeout > 0 {
            self.timer.as_mut().reset(Instant::now() + std::time::Duration::from_millis(timeout));
        }
    }

    fn report_settings(&mut self) {
        let Self { settings, reported, client, .. } = self;
        self.reported_generation = settings.generation();
        for (definition, value) in settings.reported() {
            match reported.iter_mut().find(|(name, _)| *name == definition.name) {
                Some((_, told)) if **told == *value => continue,
                Some((_, told)) => *told = value.into(),
                None => reported.push((definition.name, value.into())),
            }
            reply::parameter_status(client.outgoing(), definition.name, value);
        }
    }
}

impl Derived {
    /// What the literals of a statement that is analysed now are read under.
    pub(super) fn analysed(&self) -> Analysed {
        Analysed { upstream: Rc::clone(&self.upstream), catalog: Rc::clone(&self.catalog) }
    }

    fn new(settings: &Settings, lane: &Lane, policy: &PolicySet, agent: &Agent, (principal, database): (&Principal, &str)) -> Self {
        let known = |name: &str| name == "pgwicket" || agent.schemas.iter().any(|schema| *schema.name == *name);
        let mut search_path = settings.search_path();
        search_path.retain(|name| known(name));
        let scope = lane.plans().scope(&agent.name, policy.epoch, &search_path, database);
        let mut upstream = source::Settings::default();
        for setting in Setting::FORMATS {
            // A value with a character that no valid value has was refused by SET.
            if let Some(changed) = settings.value(setting.name()).and_then(|value| upstream.with(setting, value).ok()) {
                upstream = changed;
            }
        }
        Self {
            generation: settings.generation(),
            scope,
            catalog: lane.share(super::catalog::settings(&upstream, &search_path, agent.name.as_str(), database)),
            search_path,
            upstream: lane.share(upstream),
            statement_timeout: settings.statement_timeout(),
            policy_epoch: policy.epoch.0.to_string(),
            usage: (agent.limits != Limits::default()).then(|| lane.quotas().of(principal)),
        }
    }
}

fn initial_settings(start: &Start, policy: &PolicySet, agent: &Agent) -> Result<(Settings, Vec<Cut>), Error> {
    let source = agent.schemas.first().and_then(|schema| policy.sources.get(&schema.source));
    let number = source.map_or(150_000, |source| source.catalog.server_version);
    let version = format!("{}.{} (pgwicket {})", number / 10_000, number % 10_000, env!("CARGO_PKG_VERSION"));
    let schemas: Vec<&str> = agent.schemas.iter().map(|schema| &*schema.name).collect();
    let mut settings = Settings::new(&settings::Start {
        server_version: &version,
        server_version_number: number,
        agent: start.principal.agent.as_str(),
        tenant: start.principal.tenant.as_ref().map_or("", |tenant| tenant.as_str()),
        run: start.principal.run.as_ref().map_or("", |run| run.as_str()),
        search_path: &settings::print_identifiers(&schemas),
        statement_timeout: u64::try_from(agent.statement_timeout.as_millis()).unwrap_or(u64::MAX),
        tls: start.channel.socket().server_tls().is_some(),
    });
    let mut cuts = Vec::new();
    for (name, value) in &start.parameters {
        cuts.extend(settings.set_at_startup(name, value)?);
    }
    Ok((settings, cuts))
}
