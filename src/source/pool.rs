//! The pool of one lane: connections lent to one client session at a time, first come first served. How many there may be is counted
//! over all lanes ([`Budget`]).

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    task::spawn_local,
    time::{Instant, interval, timeout},
};

use crate::policy::Source;

use super::{
    Budget, Lease, Settings, SourceAddress, SourceError,
    budget::Share,
    connect::{Connector, within},
    connection::Connection,
    error::Step,
    extensions,
};

/// The wait after the first failure to connect; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest such wait, before jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A connection is not lent again when it is older than this: what a server keeps for a session grows, and a name may lead to another
/// host meanwhile.
const GREATEST_AGE: Duration = Duration::from_hours(1);
/// A connection that nobody asked for in this time is closed.
const IDLE: Duration = Duration::from_mins(5);
/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// How old may be what is known of the schemas in which names are looked up, when a connection is lent.
const RESOLVING: Duration = Duration::from_secs(1);

/// Connections to one source, local to one lane. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Pool(Rc<Shared>);

/// What a pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// Connections that wait for a session.
    pub idle: usize,
    /// Connections that are lent, or being made.
    pub in_use: usize,
    /// Of those in use, the ones that cursors WITH HOLD keep.
    pub kept: usize,
    /// Sessions that wait for a connection.
    pub waiting: usize,
    /// Connections made so far.
    pub connects: u64,
    /// Attempts to connect that failed so far.
    pub failures: u64,
}

#[derive(Debug)]
struct Shared {
    state: RefCell<State>,
    freed: Notify,
    budget: Arc<Budget>,
    share: Arc<Share>,
}

#[derive(Debug)]
struct State {
    source: Arc<Source>,
    connector: Option<Rc<Connector>>,
    /// Grows when the source is replaced; connections of an older one are not lent again.
    generation: u64,
    open: usize,
    kept: usize,
    /// The one that was given back last comes last.
    idle: Vec<(Box<Connection>, Slot, Instant)>,
    /// It is looked after, by a local task.
    tended: bool,
    /// What the other lanes were told last: whether somebody waits here.
    said_waiting: bool,
    waiters: VecDeque<oneshot::Sender<Grant>>,
    draining: bool,
    failed: Option<Failed>,
    /// When it was last made sure what names resolve to.
    resolved: Option<Instant>,
    connects: u64,
    failures: u64,
}

/// The failures to connect since the last success.
#[derive(Debug)]
struct Failed {
    wait: Duration,
    retry_at: Instant,
    cause: SourceError,
}

#[derive(Debug)]
enum Grant {
    Connection(Box<Connection>, Slot),
    /// Leave to make a connection.
    Slot(Slot),
}

enum Turn {
    Now(Grant),
    Wait(oneshot::Receiver<Grant>, Duration),
}

/// One of the pool's `max` places; dropping it lets the next session in. Idle connections have one too, so it must
/// not keep the pool alive.
#[derive(Debug)]
pub(super) struct Slot {
    shared: Weak<Shared>,
    share: Arc<Share>,
    generation: u64,
    made: Instant,
    /// Cursors WITH HOLD keep its connection.
    kept: bool,
}

impl Pool {
    /// A pool of at most `max` connections, none of them made yet, that no other lane has a part in.
    #[cfg(test)]
    pub(crate) fn new(source: Arc<Source>, max: usize) -> Self {
        Self::sharing(source, Budget::new(max))
    }

    /// A pool of connections that are counted with those of other lanes, none of them made yet.
    pub fn sharing(source: Arc<Source>, budget: Arc<Budget>) -> Self {
        let state = State {
            source,
            connector: None,
            generation: 0,
            open: 0,
            kept: 0,
            idle: Vec::new(),
            tended: false,
            said_waiting: false,
            waiters: VecDeque::new(),
            draining: false,
            failed: None,
            resolved: None,
            connects: 0,
            failures: 0,
        };
        let share = budget.share();
        Self(Rc::new(Shared { state: RefCell::new(state), freed: Notify::new(), budget, share }))
    }

    /// A connection with these settings queued, for one statement or one transaction.
    ///
    /// # Errors
    /// [`SourceError::PoolTimeout`] after the policy's `pool_wait`; [`SourceError::BackingOff`] at once while the
    /// source is away; what connecting failed with; [`SourceError::Draining`] at shutdown.
    pub async fn acquire(&self, settings: &Rc<Settings>) -> Result<Lease, SourceError> {
        self.tend();
        loop {
            let grant = match self.0.turn()? {
                Turn::Now(grant) => grant,
                Turn::Wait(turn, longest) => match timeout(longest, turn).await {
                    Ok(granted) => granted.map_err(|_dropped| SourceError::Draining)?,
                    Err(_elapsed) => return Err(SourceError::PoolTimeout { waited: longest }),
                },
            };
            let (mut connection, slot) = match grant {
                Grant::Connection(connection, slot) => (connection, slot),
                Grant::Slot(slot) => (self.0.connect().await?, slot),
            };
            if connection.is_alive() && self.0.resolves(&mut connection).await? {
                connection.apply_settings(settings);
                return Ok(Lease::new(connection, slot));
            }
        }
    }

    /// What the pool is doing.
    pub fn status(&self) -> PoolStatus {
        let state = self.0.state.borrow();
        PoolStatus {
            idle: state.idle.len(),
            in_use: state.open.saturating_sub(state.idle.len()),
            kept: state.kept,
            waiting: state.waiters.iter().filter(|waiter| !waiter.is_closed()).count(),
            connects: state.connects,
            failures: state.failures,
        }
    }

    /// Takes what a reloaded policy says of the source. When it is to be reached otherwise than before, the
    /// connections there are serve their leases to the end and no other.
    pub fn replace(&self, source: Arc<Source>, max: usize) {
        self.0.budget.set_max(max);
        let idle = {
            let mut state = self.0.state.borrow_mut();
            let same = reached_alike(&state.source, &source);
            state.source = source;
            if same {
                return;
            }
            state.generation += 1;
            state.connector = None;
            state.failed = None;
            mem::take(&mut state.idle)
        };
        drop(idle);
    }

    /// Sees to it that somebody looks after the pool for as long as it is there: closes what is idle for long or asked for by another
    /// lane, and makes connections for those who wait when another lane has given one up.
    fn tend(&self) {
        if mem::replace(&mut self.0.state.borrow_mut().tended, true) {
            return;
        }
        let (pool, share) = (Rc::downgrade(&self.0), Arc::clone(&self.0.share));
        drop(spawn_local(async move {
            let mut sweep = interval(SWEEP);
            loop {
                tokio::select! {
                    () = share.wake.notified() => {}
                    _ = sweep.tick() => {}
                }
                let Some(pool) = pool.upgrade() else { return };
                pool.look_after();
            }
        }));
    }

    /// Lends nothing any more, closes what is idle, and waits for what is lent. Bounding the wait is the caller's;
    /// a second call waits again.
    pub async fn drain(&self) {
        let (idle, waiters) = {
            let mut state = self.0.state.borrow_mut();
            state.draining = true;
            let taken = (mem::take(&mut state.idle), mem::take(&mut state.waiters));
            self.0.say_waiting(&mut state);
            taken
        };
        drop((idle, waiters));
        loop {
            let freed = self.0.freed.notified();
            if self.0.state.borrow().open == 0 {
                return;
            }
            freed.await;
        }
    }
}

impl Shared {
    /// What a session that asks now gets: a connection, leave to make one, or a place in the queue.
    fn turn(self: &Rc<Self>) -> Result<Turn, SourceError> {
        let mut state = self.state.borrow_mut();
        if state.draining {
            return Err(SourceError::Draining);
        }
        if let Some((connection, slot, _)) = state.idle.pop() {
            return Ok(Turn::Now(Grant::Connection(connection, slot)));
        }
        while state.waiters.front().is_some_and(oneshot::Sender::is_closed) {
            state.waiters.pop_front();
        }
        if state.waiters.is_empty() && self.share.take() {
            if let Err(error) = state.check_backoff() {
                self.share.give();
                return Err(error);
            }
            return Ok(Turn::Now(Grant::Slot(state.open_slot(self))));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters.push_back(sender);
        self.say_waiting(&mut state);
        Ok(Turn::Wait(receiver, state.source.pool_wait))
    }

    /// Tells the other lanes whether somebody waits here, where that has changed.
    fn say_waiting(&self, state: &mut State) {
        let waits = state.waiters.iter().any(|waiter| !waiter.is_closed());
        if mem::replace(&mut state.said_waiting, waits) != waits {
            self.share.set_waiting(waits);
        }
    }

    /// Closes what has been idle for long, or is of use in another lane; lets in who waits where there is room.
    fn look_after(self: &Rc<Self>) {
        let closed: Vec<_> = {
            let mut state = self.state.borrow_mut();
            let now = Instant::now();
            let mut closed: Vec<_> = state.idle.extract_if(.., |(_, slot, since)| now - *since > IDLE || slot.is_old()).collect();
            if closed.is_empty() && self.share.is_asked() && !state.idle.is_empty() {
                closed.push(state.idle.remove(0));
            }
            closed
        };
        drop(closed);
        self.let_in();
    }

    /// Makes room for those who wait, as far as there is any.
    fn let_in(self: &Rc<Self>) {
        loop {
            {
                let mut state = self.state.borrow_mut();
                self.say_waiting(&mut state);
                if state.draining || !state.said_waiting || !self.share.take() {
                    return;
                }
            }
            let slot = self.state.borrow_mut().open_slot(self);
            // A session that gave up meanwhile hands the slot on as it is dropped.
            match self.next_waiter() {
                Some(waiter) => drop(waiter.send(Grant::Slot(slot))),
                None => return,
            }
        }
    }

    async fn connect(&self) -> Result<Box<Connection>, SourceError> {
        self.state.borrow().check_backoff()?;
        let connected = self.try_connect().await;
        let mut state = self.state.borrow_mut();
        match connected {
            Ok(connection) => {
                state.connects += 1;
                state.failed = None;
                Ok(Box::new(connection))
            }
            Err(error) => {
                state.failures += 1;
                state.back_off(&error);
                Err(error)
            }
        }
    }

    async fn try_connect(&self) -> Result<Connection, SourceError> {
        let (connector, writable) = {
            let mut state = self.state.borrow_mut();
            let connector = match &state.connector {
                Some(connector) => Rc::clone(connector),
                None => Rc::new(Connector::new(&SourceAddress::from(&*state.source))?.resolving(&state.source.catalog)),
            };
            state.connector = Some(Rc::clone(&connector));
            (connector, state.source.allow_writable_credential)
        };
        let connection = connector.connect().await?;
        if connection.server.superuser && !writable {
            return Err(SourceError::Unfit("its credential is a superuser".into()));
        }
        Ok(connection)
    }

    /// Whether names still resolve on it as they did when the policy was compiled; false when the connection is lost.
    async fn resolves(&self, connection: &mut Connection) -> Result<bool, SourceError> {
        let (catalog, step) = match &self.state.borrow().connector {
            Some(connector) => match &connector.resolving {
                Some(catalog) => (Arc::clone(catalog), connector.step),
                None => return Ok(true),
            },
            None => return Ok(true),
        };
        // What one connection found holds for all; each looks once, since it may have reached another host.
        let fresh = self.state.borrow().resolved.is_some_and(|looked| looked.elapsed() < RESOLVING);
        if connection.resolved && fresh {
            return Ok(true);
        }
        match within(step, Step::Check, extensions::check(connection, &catalog.extensions)).await? {
            Ok(()) => {
                connection.resolved = true;
                self.state.borrow_mut().resolved = Some(Instant::now());
                Ok(true)
            }
            Err(SourceError::Lost(_) | SourceError::Terminated(_)) => Ok(false),
            Err(SourceError::Startup(error)) if error.is_fatal() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next session in the queue that still waits.
    fn next_waiter(&self) -> Option<oneshot::Sender<Grant>> {
        let mut state = self.state.borrow_mut();
        let mut found = None;
        while let Some(waiter) = state.waiters.pop_front() {
            if !waiter.is_closed() {
                found = Some(waiter);
                break;
            }
        }
        self.say_waiting(&mut state);
        found
    }
}

impl State {
    fn open_slot(&mut self, shared: &Rc<Shared>) -> Slot {
        self.open += 1;
        let share = Arc::clone(&shared.share);
        Slot { shared: Rc::downgrade(shared), share, generation: self.generation, made: Instant::now(), kept: false }
    }

    fn check_backoff(&self) -> Result<(), SourceError> {
        let now = Instant::now();
        match &self.failed {
            Some(failed) if failed.retry_at > now => {
                Err(SourceError::BackingOff { retry_in: failed.retry_at - now, cause: Box::new(failed.cause.clone()) })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Doubles the wait; attempts that ran side by side and failed together count once.
    fn back_off(&mut self, cause: &SourceError) {
        let now = Instant::now();
        let wait = match &self.failed {
            Some(failed) if failed.retry_at > now => return,
            Some(failed) => (failed.wait * 2).min(LONGEST_WAIT),
            None => FIRST_WAIT,
        };
        let jitter = rand::random_range(0.5..1.0);
        self.failed = Some(Failed { wait, retry_at: now + wait.mul_f64(jitter), cause: cause.clone() });
    }
}

impl Slot {
    /// Counts its connection among those that cursors keep: half of the pool at most, so that statements find the other half.
    pub(super) fn keep(&mut self) -> Result<(), SourceError> {
        let Some(shared) = self.shared.upgrade().filter(|_| !self.kept) else { return Ok(()) };
        self.share.keep().map_err(|most| SourceError::Kept { most })?;
        shared.state.borrow_mut().kept += 1;
        self.kept = true;
        Ok(())
    }

    /// No cursor keeps it any more.
    pub(super) fn end_keeping(&mut self) {
        if mem::take(&mut self.kept) {
            self.share.end_keeping();
            if let Some(shared) = self.shared.upgrade() {
                shared.state.borrow_mut().kept -= 1;
            }
        }
    }

    fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Whether its connection is too old to be lent again.
    fn is_old(&self) -> bool {
        self.age() > GREATEST_AGE
    }

    /// How long a session may hold its connection without asking anything.
    pub(super) fn idle_bound(&self) -> Option<Duration> {
        let bound = self.shared.upgrade()?.state.borrow().source.idle_in_transaction_timeout;
        (!bound.is_zero()).then_some(bound)
    }

    /// Hands an idle connection to the next session, or keeps it for later.
    pub(super) fn give_back(self, mut connection: Box<Connection>) {
        let Some(shared) = self.shared.upgrade() else { return };
        {
            let state = shared.state.borrow();
            if state.draining || self.generation != state.generation || self.is_old() || self.share.owes(self.age()) {
                drop(state);
                drop(connection);
                return;
            }
        }
        let mut slot = self;
        while let Some(waiter) = shared.next_waiter() {
            match waiter.send(Grant::Connection(connection, slot)) {
                Ok(()) | Err(Grant::Slot(_)) => return,
                Err(Grant::Connection(refused, its_slot)) => (connection, slot) = (refused, its_slot),
            }
        }
        shared.state.borrow_mut().idle.push((connection, slot, Instant::now()));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.end_keeping();
        // It goes to the lane that waits with the fewest; that may be this one.
        self.share.give();
        if let Some(shared) = self.shared.upgrade() {
            shared.state.borrow_mut().open -= 1;
            shared.freed.notify_waiters();
            shared.let_in();
        }
    }
}

/// Whether connections made for one serve the other.
fn reached_alike(one: &Source, other: &Source) -> bool {
    one.url == other.url
        && one.tls == other.tls
        && one.root_certificates == other.root_certificates
        && one.statement_timeout == other.statement_timeout
        && one.lock_timeout == other.lock_timeout
        && one.idle_in_transaction_timeout == other.idle_in_transaction_timeout
        && one.allow_writable_credential == other.allow_writable_credential
        // What a connection has prepared is of the catalog that it was prepared over.
        && one.catalog == other.catalog
}
