//! A connection to the source and the queue of typed messages: what can be asked of it, and nothing else.

use std::{collections::VecDeque, rc::Rc, sync::Arc, time::Instant};

use crate::{
    govern::GovernedStatement,
    sql::catalog::Oid,
    wire::{Channel, MessageWriter},
};

use super::{
    BindParameters, CancelToken, Setting, Settings, SourceError, TransactionCommand, TransactionStatus,
    cancel::CancelTarget,
    statements::{self, Number, Preparation, Statements, Under},
};

/// The portal that control and settings run in. Every other name, the empty one too, is the caller's.
const OWN_PORTAL: &str = "pgwicket";

/// One text for every setting, so that it is prepared once.
const SET_CONFIG: &str = "SELECT pg_catalog.set_config($1, $2, false)";
const TEXT: Oid = 25;

/// Unread bytes above which [`Connection::send`] leaves the rest of its work to [`Connection::next`].
const UNREAD: usize = 1024 * 1024;

/// What a queued message will be answered with, in the order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// No message: what was asked for is there already.
    Held,
    /// ParseComplete of a numbered statement, or (`None`) of the unnamed one; told to the caller or not.
    Parse { number: Option<Number>, told: bool },
    /// CloseComplete of a statement the room gave up.
    Discard(Number),
    /// An answer with this tag that nobody is told of.
    Step(u8),
    /// BindComplete.
    Bind,
    /// CloseComplete of a caller's portal.
    Close,
    /// ParameterDescription, then as [`Self::RowDescription`].
    DescribeStatement,
    /// RowDescription or NoData.
    RowDescription,
    /// DataRow, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CommandComplete of a transaction command.
    Control,
    /// The row and CommandComplete of a setting.
    Setting(Setting),
    /// ReadyForQuery.
    Sync,
    /// ReadyForQuery after settings that have a segment to themselves; nobody is told.
    OwnSync,
}

/// What was queued since the last Sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinceSync {
    /// Nothing.
    Nothing,
    /// Messages: even when all of them are answered, the source is in a transaction that only Sync ends.
    Messages,
    /// Messages that ended in an error. The source skips what follows, so nothing more is queued before the Sync.
    Error,
}

/// A connection to the source, reached only through a [`super::Lease`].
///
/// Messages are queued by the methods here, go out with [`Self::send`], and are answered by [`Self::next`] in the
/// order of the queue. After an ErrorResponse the answers up to the next Sync do not come, as the protocol has it.
#[derive(Debug)]
pub struct Connection {
    pub(super) channel: Channel,
    /// Bytes at the start of the incoming buffer that the last event lent out.
    pub(super) lent: usize,
    /// Bytes of a DataRow that are still to come, when it is passed on in pieces.
    pub(super) rest_of_row: usize,
    pub(super) expected: VecDeque<Expect>,
    pub(super) since_sync: SinceSync,
    pub(super) poisoned: bool,
    pub(super) status: TransactionStatus,
    pub(super) statements: Statements,
    /// What the unnamed statement is.
    pub(super) unnamed: Option<Unnamed>,
    /// The statement that was prepared last.
    ready: Option<Ready>,
    /// What the room's own statements are known under: they read no setting.
    own: Under,
    /// Statements whose Close was skipped by an error.
    pub(super) undiscarded: Vec<Number>,
    /// Syncs queued so far.
    pub(super) segment: u64,
    /// Syncs answered so far.
    pub(super) answered: u64,
    /// Whether it was made sure what names resolve to on it.
    pub(super) resolved: bool,
    /// The settings in force; `None` when a rollback may have taken some back.
    pub(super) settings: Option<Rc<Settings>>,
    /// Settings were applied in the transaction, or the segment, that is not over.
    pub(super) settings_revocable: bool,
    pub(super) cancel: Arc<CancelTarget>,
    pub(super) server: Server,
}

/// How a statement is to be prepared.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The settings that its literals are read under, whatever holds now.
    pub analysed: &'a Rc<Settings>,
    /// A digest of the description that it has been found to have. Under another one it is another statement.
    pub described: u64,
    /// What was parsed before this moment will not do.
    pub since: Option<Instant>,
}

/// A statement that may be described and bound, under its server-side name.
#[derive(Debug)]
struct Ready {
    statement: Arc<GovernedStatement>,
    /// `None`: it is the unnamed one.
    number: Option<Number>,
    name: String,
}

impl Ready {
    fn is(&self, statement: &Arc<GovernedStatement>) -> bool {
        let alike = || self.statement.text() == statement.text() && self.statement.parameter_types() == statement.parameter_types();
        Arc::ptr_eq(&self.statement, statement) || alike()
    }
}

/// The unnamed statement.
#[derive(Debug)]
pub(super) struct Unnamed {
    statement: Arc<GovernedStatement>,
    under: Under,
    /// The segment of its Parse.
    pub(super) segment: u64,
    /// Whether a portal was bound to it.
    bound: bool,
}

impl Unnamed {
    /// Whether it will do for the next run of this statement.
    fn is(&self, statement: &Arc<GovernedStatement>) -> bool {
        Arc::ptr_eq(&self.statement, statement) && !(self.bound && statement.is_planned_each_time())
    }
}

/// What the server said of itself at startup.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Server {
    /// `server_version_num`.
    pub(super) version: u32,
    /// `is_superuser`: whether the credential is one.
    pub(super) superuser: bool,
    /// `in_hot_standby`
    pub(super) standby: bool,
}

impl Connection {
    /// A connection that has been through startup and is idle.
    pub(super) fn new(channel: Channel, cancel: Arc<CancelTarget>, server: Server) -> Self {
        Self {
            channel,
            lent: 0,
            rest_of_row: 0,
            expected: VecDeque::with_capacity(32),
            since_sync: SinceSync::Nothing,
            poisoned: false,
            status: TransactionStatus::Idle,
            statements: Statements::default(),
            unnamed: None,
            ready: None,
            own: Under::one(&Rc::default()),
            undiscarded: Vec::new(),
            segment: 0,
            answered: 0,
            resolved: false,
            settings: Some(Rc::new(Settings::default())),
            settings_revocable: false,
            cancel,
            server,
        }
    }

    /// Makes sure that the statement is prepared here as if analysed now, and says whether a Parse was queued for it.
    /// Either way one [`super::Event::Prepared`] answers. To be called before each bind or describe of the statement:
    /// when it is held, this is a look-up.
    pub fn prepare(&mut self, statement: &Arc<GovernedStatement>) -> bool {
        let under = self.under(None, 0);
        self.hold(statement, under, None)
    }

    /// As [`Self::prepare`], for a statement that has been described before.
    pub fn prepare_as(&mut self, statement: &Arc<GovernedStatement>, wanted: Wanted<'_>) -> bool {
        let under = self.under(Some(wanted.analysed), wanted.described);
        self.hold(statement, under, wanted.since)
    }

    fn hold(&mut self, statement: &Arc<GovernedStatement>, under: Under, since: Option<Instant>) -> bool {
        if self.skips() {
            return false;
        }
        if statement.is_parsed_each_time() {
            // What it says depends on the moment of its Parse, so no Parse but its own will do. A statement that is parsed anew is planned
            // for its values (plancache.c plans the first five runs so).
            return self.parse_unnamed(statement, under);
        }
        let (number, parsed) = self.ensure(statement.text(), statement.parameter_types(), (&under, since), true);
        self.make_ready(statement, Some(number));
        parsed
    }

    /// As [`Self::prepare`], in the unnamed statement, for a text that is not expected to come again.
    pub fn prepare_unnamed(&mut self, statement: &Arc<GovernedStatement>) -> bool {
        let under = self.under(None, 0);
        !self.skips() && self.parse_unnamed(statement, under)
    }

    /// As [`Self::prepare_unnamed`], for a statement whose literals were read under these settings, whatever holds now.
    pub fn prepare_unnamed_under(&mut self, statement: &Arc<GovernedStatement>, analysed: &Rc<Settings>) -> bool {
        let under = self.under(Some(analysed), 0);
        !self.skips() && self.parse_unnamed(statement, under)
    }

    fn parse_unnamed(&mut self, statement: &Arc<GovernedStatement>, under: Under) -> bool {
        self.make_ready(statement, None);
        let held = self.unnamed.as_ref().is_some_and(|held| held.is(statement) && held.segment == self.segment && held.under == under);
        if held {
            self.expect(Expect::Held);
            return false;
        }
        self.analyse(&under, |connection| {
            connection.queue_parse("", statement.text(), statement.parameter_types());
            connection.expect(Expect::Parse { number: None, told: true });
        });
        self.unnamed = Some(Unnamed { statement: Arc::clone(statement), under, segment: self.segment, bound: false });
        true
    }

    /// Queues a Parse under the settings that it is to be analysed under.
    fn analyse(&mut self, under: &Under, parse: impl FnOnce(&mut Self)) {
        if Rc::ptr_eq(&under.analysed, &under.planned) {
            return parse(self);
        }
        self.set(&under.analysed);
        parse(self);
        self.set(&under.planned);
    }

    /// What a statement is known under that was analysed under these settings, or now. Where it is not known what holds now,
    /// that is something that nothing is known under.
    fn under(&self, analysed: Option<&Rc<Settings>>, described: u64) -> Under {
        let planned = self.settings.clone().unwrap_or_default();
        Under { analysed: Rc::clone(analysed.unwrap_or(&planned)), planned, described }
    }

    /// Forgets what is held: the source has changed under it. It is closed with the next Parse.
    pub fn forget_statements(&mut self) {
        self.undiscarded.extend(self.statements.forget_all());
        self.unnamed = None;
        self.ready = None;
    }

    /// Queues Describe of a prepared statement: answered by ParameterDescription, and RowDescription or NoData.
    ///
    /// # Errors
    /// [`SourceError::NotPrepared`] when no `prepare` came before.
    pub fn describe_statement(&mut self, statement: &Arc<GovernedStatement>) -> Result<(), SourceError> {
        if self.skips() {
            return Ok(());
        }
        let ready = self.ready.as_ref().filter(|ready| ready.is(statement)).ok_or(SourceError::NotPrepared)?;
        MessageWriter::new(self.channel.outgoing(), b'D').byte(b'S').string(&ready.name).finish();
        self.expect(Expect::DescribeStatement);
        Ok(())
    }

    /// Queues Bind of a prepared statement to `portal`: answered by BindComplete.
    ///
    /// # Errors
    /// [`SourceError::NotPrepared`] when no `prepare` came before; [`SourceError::Bind`] when the values are not
    /// exactly the statement's: nothing is queued then.
    pub fn bind(&mut self, statement: &Arc<GovernedStatement>, portal: &str, parameters: &BindParameters<'_>) -> Result<(), SourceError> {
        parameters.check(statement.client_parameters(), statement.appended().len())?;
        if self.skips() {
            return Ok(());
        }
        let ready = self.ready.as_ref().filter(|ready| ready.is(statement)).ok_or(SourceError::NotPrepared)?;
        if let (None, Some(unnamed)) = (ready.number, &mut self.unnamed) {
            unnamed.bound = true;
        }
        parameters.write(self.channel.outgoing(), portal, &ready.name);
        self.expect(Expect::Bind);
        Ok(())
    }

    /// Queues Describe of a portal: answered by RowDescription or NoData.
    pub fn describe_portal(&mut self, portal: &str) {
        self.queue_named(b'D', b'P', portal, Expect::RowDescription);
    }

    /// Queues Execute: answered by rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    /// `max_rows` 0 is no limit.
    pub fn execute(&mut self, portal: &str, max_rows: i32) {
        if !self.skips() {
            MessageWriter::new(self.channel.outgoing(), b'E').string(portal).int32(max_rows).finish();
            self.expect(Expect::Execute);
        }
    }

    /// Queues Close of a portal: answered by CloseComplete.
    pub fn close_portal(&mut self, portal: &str) {
        self.queue_named(b'C', b'P', portal, Expect::Close);
    }

    /// Queues Sync: answered by ReadyForQuery.
    pub fn sync(&mut self) {
        self.queue_sync(Expect::Sync);
    }

    /// Queues Flush: the source sends what it has so far. Not answered itself.
    pub fn flush_request(&mut self) {
        if !self.skips() {
            MessageWriter::new(self.channel.outgoing(), b'H').finish();
        }
    }

    /// Queues a transaction command: answered by one [`super::Event::Controlled`].
    pub fn control(&mut self, command: TransactionCommand) {
        self.run_own(&command.text(), &[], &[], Expect::Control);
    }

    /// Makes these settings hold for what is queued from here on. When they hold already, this is a comparison; a
    /// caller does it before each statement, since a rollback may have taken settings back. Nobody is told when they
    /// took.
    ///
    /// On an idle connection they get a segment to themselves, so that no error of a statement undoes them, and
    /// [`Self::next`] fails with [`SourceError::Setting`] when the source refuses a value. In a transaction such a
    /// refusal is an error of the segment.
    pub fn apply_settings(&mut self, settings: &Rc<Settings>) {
        if self.skips() || self.settings.as_ref().is_some_and(|held| Rc::ptr_eq(held, settings)) {
            return;
        }
        let alone = self.status == TransactionStatus::Idle && self.expected.is_empty() && self.since_sync == SinceSync::Nothing;
        let revocable = self.settings_revocable;
        self.set(settings);
        if alone && !self.expected.is_empty() {
            self.settings_revocable = revocable;
            self.queue_sync(Expect::OwnSync);
        }
    }

    /// Queues what makes these settings hold.
    fn set(&mut self, settings: &Rc<Settings>) {
        if self.settings.as_ref().is_some_and(|held| Rc::ptr_eq(held, settings)) {
            return;
        }
        let held = self.settings.replace(Rc::clone(settings));
        for setting in Setting::ALL {
            let value = settings.value(setting);
            let known = held.as_ref().map(|held| held.value(setting));
            // What no session of a source changes was not taken back either.
            let changed = known.map_or(Setting::FORMATS.contains(&setting) || value != setting.default_value(), |known| known != value);
            if changed {
                self.settings_revocable = true;
                self.run_own(SET_CONFIG, &[TEXT, TEXT], &[setting.name(), value], Expect::Setting(setting));
            }
        }
    }

    /// Sends what is queued. When the source sends much meanwhile, this returns before all has gone out, and
    /// [`Self::next`] sends the rest. A lost connection is told by [`Self::next`], which has the source's last words.
    pub async fn send(&mut self) {
        self.return_lent();
        if self.channel.send(UNREAD).await.is_err() {
            self.channel.outgoing().clear();
        }
    }

    /// Sends what the source takes without waiting; [`Self::next`] sends the rest, where the caller hears what else happens.
    pub fn send_now(&mut self) {
        self.return_lent();
        self.channel.send_now();
    }

    /// Whether a row has been handed over in part.
    pub fn is_within_row(&self) -> bool {
        self.rest_of_row > 0
    }

    /// Bytes queued and not yet sent: a caller that queues without end sends, and reads answers, in between.
    pub fn queued_bytes(&mut self) -> usize {
        self.channel.outgoing().len()
    }

    /// Whether answers are still to come.
    pub fn is_outstanding(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Whether what was queued since the last Sync failed: nothing more is taken before the next.
    pub fn awaits_sync(&self) -> bool {
        self.skips()
    }

    /// What the last ReadyForQuery said.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// `server_version_num` of the source.
    pub fn server_version(&self) -> u32 {
        self.server.version
    }

    /// How many prepared statements this connection holds.
    pub fn prepared_statements(&self) -> usize {
        self.statements.len()
    }

    /// A token that cancels what this lease runs, and nothing after it.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken::new(&self.cancel)
    }

    /// Whether another client session may have it.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.return_lent();
        !self.poisoned
            && self.status == TransactionStatus::Idle
            && self.expected.is_empty()
            && self.since_sync == SinceSync::Nothing
            && self.rest_of_row == 0
            && self.channel.outgoing().is_empty()
            && self.channel.incoming().is_empty()
    }

    pub(super) fn skips(&self) -> bool {
        self.since_sync == SinceSync::Error
    }

    pub(super) fn expect(&mut self, answer: Expect) {
        self.since_sync = SinceSync::Messages;
        self.expected.push_back(answer);
    }

    fn queue_sync(&mut self, answer: Expect) {
        MessageWriter::new(self.channel.outgoing(), b'S').finish();
        self.expected.push_back(answer);
        self.since_sync = SinceSync::Nothing;
        self.segment += 1;
    }

    fn run_own(&mut self, text: &str, types: &[Oid], values: &[&str], answer: Expect) {
        if self.skips() {
            return;
        }
        let own = self.own.clone();
        let (number, _) = self.ensure(text, types, (&own, None), false);
        // A portal of that name may be left from a command of the same transaction; closing none is no error.
        MessageWriter::new(self.channel.outgoing(), b'C').byte(b'P').string(OWN_PORTAL).finish();
        let mut bind = MessageWriter::new(self.channel.outgoing(), b'B').string(OWN_PORTAL).string(&statements::name(number)).int16(0);
        bind = bind.int16(i16::try_from(values.len()).unwrap_or(0));
        for value in values {
            bind = bind.int32(i32::try_from(value.len()).unwrap_or(0)).bytes(value.as_bytes());
        }
        bind.int16(0).finish();
        MessageWriter::new(self.channel.outgoing(), b'E').string(OWN_PORTAL).int32(0).finish();
        for answer in [Expect::Step(b'3'), Expect::Step(b'2'), answer] {
            self.expect(answer);
        }
    }

    /// Makes sure that a statement is held; its number, and whether a Parse was queued.
    fn ensure(&mut self, text: &str, types: &[Oid], (under, since): (&Under, Option<Instant>), told: bool) -> (Number, bool) {
        match self.statements.prepare(text, types, under, self.segment, since) {
            Preparation::Held(number) => {
                if told {
                    self.expect(Expect::Held);
                }
                (number, false)
            }
            Preparation::Parse { number, displaced } => {
                let mut undiscarded = std::mem::take(&mut self.undiscarded);
                for given_up in undiscarded.drain(..).chain(displaced) {
                    MessageWriter::new(self.channel.outgoing(), b'C').byte(b'S').string(&statements::name(given_up)).finish();
                    self.expect(Expect::Discard(given_up));
                }
                let parse = |connection: &mut Self| {
                    connection.queue_parse(&statements::name(number), text, types);
                    connection.expect(Expect::Parse { number: Some(number), told });
                };
                // The room's own statements, those that set settings among them, are analysed under whatever holds.
                if told {
                    self.statements.spare(number);
                    self.analyse(under, parse);
                } else {
                    parse(self);
                }
                (number, true)
            }
        }
    }

    fn make_ready(&mut self, statement: &Arc<GovernedStatement>, number: Option<Number>) {
        match &mut self.ready {
            Some(ready) if ready.number == number => ready.statement = Arc::clone(statement),
            ready => {
                let name = number.map(statements::name).unwrap_or_default();
                *ready = Some(Ready { statement: Arc::clone(statement), number, name });
            }
        }
    }

    pub(super) fn queue_parse(&mut self, name: &str, text: &str, types: &[Oid]) {
        let mut parse = MessageWriter::new(self.channel.outgoing(), b'P').string(name).string(text);
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the wire's count is 16 bits; bind refuses more")]
        let count = types.len() as u16 as i16;
        parse = parse.int16(count);
        for oid in types {
            parse = parse.int32(oid.cast_signed());
        }
        parse.finish();
    }

    fn queue_named(&mut self, tag: u8, kind: u8, name: &str, answer: Expect) {
        if !self.skips() {
            MessageWriter::new(self.channel.outgoing(), tag).byte(kind).string(name).finish();
            self.expect(answer);
        }
    }
}

impl Drop for Connection {
    /// Says goodbye when nothing is running; otherwise the source is told to stop working for nobody.
    fn drop(&mut self) {
        if self.expected.is_empty() {
            self.channel.outgoing().clear();
            MessageWriter::new(self.channel.outgoing(), b'X').finish();
            self.channel.send_now();
        } else if !self.poisoned
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let token = self.cancel_token();
            runtime.spawn(async move { token.cancel().await });
        }
    }
}
