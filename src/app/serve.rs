//! `pgwicket serve`: the parts put together, from start to drain.

use std::{future::Future, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::{JoinHandle, LocalSet},
    time,
};

use super::{
    ServeError, ServeOptions, TlsFiles,
    certificate::Certificate,
    descriptors, expiry,
    keeper::{Keeper, Reload},
    lane::{Lanes, Shared},
    monitor, watch as policy_watch,
};
use crate::{
    auth::{LoginSecret, Logins},
    catalog::Catalog,
    config::{self, Process},
    control::{self, Api, Control, ControlTls, Recorder},
    frontend::{Admission, Drain, DrainWatch, Front, Listener, Vouching},
    journal::{self, Clock, JournalConfig},
    policy::PolicySet,
    store::Store,
    types::{Digest, PolicyEpoch},
};

/// Connections that say who they are, at most. A cancel request is one of these for a moment.
const MAX_HANDSHAKES: usize = 1024;

/// How long sessions may take to say goodbye once the drain timeout is over.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a start waits for a store that does not answer, and between two looks at it.
const STORE_WAIT: Duration = Duration::from_secs(30);
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs a server until SIGTERM or SIGINT, and drains it.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    LocalSet::new().block_on(&runtime, run(options))
}

async fn run(options: ServeOptions) -> Result<(), ServeError> {
    descriptors::raise_limit(options.max_connections);
    let recorder = Recorder::install().map_err(|error| ServeError::Metrics(error.to_string()))?;
    let (drain, drain_watch) = DrainWatch::channel();
    let shared = shared(&options, drain_watch.clone());
    let certificate = options.tls.clone().map(|files| Certificate::new(files, Arc::clone(&shared.front)));
    certificate.as_ref().map_or(Ok(()), Certificate::load)?;

    let journals = journals(&options)?;
    let store = open_store(&options).await?;
    let lane_count = journals.len();
    let listeners = listeners(&options).await?;
    let control = bind_control(&options.control_listen).await?;
    let control_address = control.local_addr().map_or_else(|_unbound| options.control_listen.clone(), |address| address.to_string());
    let addresses: Vec<String> = listeners.iter().map(Listener::address).collect();

    let logins = Logins::none(LoginSecret::new(store.kept_secret("login", rand::random()).await?));
    let (policy, front, status) = (Arc::clone(&shared.policy), Arc::clone(&shared.front), Arc::clone(&shared.status));
    let mut keeper = Keeper::new(options.policies.clone(), policy, front, status, logins);
    let pending = first_policy(&mut keeper).await?;

    let mut closing = drain_watch;
    let serving = Control {
        status: Arc::clone(&shared.status),
        recorder: recorder.clone(),
        api: Api { store: store.clone(), policy: Arc::clone(&shared.policy) },
        rate_limit: options.control_rate_limit,
        allow_plaintext: options.allow_plaintext,
        tls: options.control_tls.as_ref().map(control_tls).transpose()?,
        hosts: options.control_hosts.clone(),
    };
    let control = tokio::task::spawn_local(control::serve(control, serving, async move {
        closing.reached(Drain::Closing).await;
    }));
    let catalog = Catalog::new(options.catalog.clone());
    let lanes = Arc::new(Lanes::start(journals, &store, &catalog, &shared).map_err(ServeError::Runtime)?);
    let acceptors: Vec<_> =
        listeners.into_iter().map(|listener| tokio::task::spawn_local(accept(listener, shared.front.clone(), lanes.clone()))).collect();
    let policies = options.policies.clone();
    let catalogs = Arc::new(Notify::new());
    let changed = Arc::clone(&catalogs);
    let watching = tokio::task::spawn_local(async move { policy_watch::watch(keeper, certificate, &policies, changed, pending).await });
    let expiring = tokio::task::spawn_local(expiry::expire(store.clone()));
    let monitoring = tokio::task::spawn_local(monitor::monitor(shared.clone(), recorder, catalogs));
    let scheme = if options.control_tls.is_some() { "https" } else { "http" };
    tracing::info!(
        "pgwicket {} listens at {}; control API, health, readiness and metrics at {scheme}://{control_address}; journal in {} ({lane_count} lanes); {}",
        env!("CARGO_PKG_VERSION"),
        addresses.join(", "),
        options.journal.display(),
        if options.tls.is_some() { "TLS on" } else { "no TLS: connections from this machine only, unless --allow-plaintext" },
    );

    stop_signal().await?;
    watching.abort();
    expiring.abort();
    monitoring.abort();
    shut_down(&options, &shared, &drain, acceptors, &lanes).await;
    if let Some(lanes) = Arc::into_inner(lanes) {
        lanes.stop();
    }
    catalog.stop().await;
    // The control server ends by the same watch; nothing depends on how.
    drop(time::timeout(GOODBYE, control).await);
    tracing::info!("stopped");
    Ok(())
}

fn shared(options: &ServeOptions, drain: DrainWatch) -> Shared {
    let nothing = PolicySet::empty(PolicyEpoch(0), Digest([0; 32]));
    let front = Front {
        logins: ArcSwapOption::empty(),
        tls: ArcSwapOption::empty(),
        vouching: Vouching::new(None),
        keyring: Arc::default(),
        cancels: Arc::default(),
        admission: Admission::new(MAX_HANDSHAKES, options.max_connections),
        drain,
        allow_plaintext: options.allow_plaintext,
        authentication_timeout: options.authentication_timeout,
        write_timeout: options.write_timeout,
    };
    Shared { policy: Arc::new(ArcSwap::from_pointee(nothing)), front: Arc::new(front), status: Arc::default(), surprise: Arc::default() }
}

/// Opens the store; one that starts or restarts at the same time is waited for.
async fn open_store(options: &ServeOptions) -> Result<Store, ServeError> {
    let deadline = time::Instant::now() + STORE_WAIT;
    loop {
        match Store::open(&options.store).await {
            Err(error) if error.is_retryable() && time::Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the proposal store");
                time::sleep(STORE_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

fn journals(options: &ServeOptions) -> Result<Vec<journal::Lane>, ServeError> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let count = u16::try_from(options.lanes.unwrap_or_else(cores).clamp(1, 256)).unwrap_or(1);
    let config = JournalConfig::new(&options.journal);
    let clock = Clock::system();
    Ok((0..count).map(|number| journal::Lane::open(&config, number, clock.clone())).collect::<Result<_, _>>()?)
}

async fn listeners(options: &ServeOptions) -> Result<Vec<Listener>, ServeError> {
    let mut listeners = Vec::new();
    let mut first_port = None;
    for text in &options.listen {
        for address in resolve(text).await? {
            let listener = Listener::tcp(address).map_err(|error| ServeError::Listen { address: address.to_string(), error })?;
            first_port.get_or_insert(address.port());
            listeners.push(listener);
        }
    }
    if let Some(directory) = &options.unix_socket_directory {
        listeners.push(unix_listener(directory, first_port.unwrap_or(6432))?);
    }
    Ok(listeners)
}

fn unix_listener(directory: &Path, port: u16) -> Result<Listener, ServeError> {
    Listener::unix(directory, port).map_err(|error| ServeError::Listen { address: directory.display().to_string(), error })
}

async fn resolve(text: &str) -> Result<Vec<SocketAddr>, ServeError> {
    let failed = |error| ServeError::Listen { address: text.to_owned(), error };
    Ok(tokio::net::lookup_host(text).await.map_err(failed)?.collect())
}

async fn bind_control(text: &str) -> Result<std::net::TcpListener, ServeError> {
    let bound = TcpListener::bind(text).await.and_then(TcpListener::into_std);
    bound.map_err(|error| ServeError::Listen { address: text.to_owned(), error })
}

fn control_tls(files: &TlsFiles) -> Result<ControlTls, ServeError> {
    let read = |path: &Path| config::bytes(&Process, path).map_err(|error| ServeError::ControlFile(error.to_string()));
    Ok(ControlTls::from_pem(&read(&files.certificate)?, &read(&files.key)?)?)
}

/// The first policy. A source that is away is no reason to stop: true when it is to be tried again.
async fn first_policy(keeper: &mut Keeper) -> Result<bool, ServeError> {
    match keeper.reload(Reload::Always).await {
        Ok(()) => Ok(false),
        Err(error) if error.is_transient() => {
            policy_watch::report(&error, true);
            Ok(true)
        }
        Err(error) => Err(ServeError::Policy(error.to_string())),
    }
}

async fn accept(listener: Listener, front: Arc<Front>, lanes: Arc<Lanes>) {
    loop {
        match listener.accept().await {
            Ok(incoming) => {
                metrics::counter!("pgwicket_connections_total").increment(1);
                // Over the bound there is nobody to answer: the connection is closed.
                match front.admission.handshake(incoming.address()) {
                    Some(permit) => lanes.dispatch(incoming, permit),
                    None => metrics::counter!("pgwicket_connections_refused_total", "sqlstate" => "none").increment(1),
                }
            }
            Err(error) if is_peers_fault(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client went away between its knock and our answer.
fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected | io::ErrorKind::InvalidInput
    )
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal() -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Runtime)?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

/// Stops accepting, lets sessions finish, ends the rest. A second signal skips the wait.
async fn shut_down(options: &ServeOptions, shared: &Shared, drain: &watch::Sender<Drain>, acceptors: Vec<JoinHandle<()>>, lanes: &Lanes) {
    tracing::info!(connections = lanes.connections(), "draining: no new connections, open ones may finish for {:?}", options.drain_timeout);
    shared.status.draining();
    for acceptor in acceptors {
        acceptor.abort();
        // Its listener must be gone before the drain is announced.
        drop(acceptor.await);
    }
    drain.send_replace(Drain::Draining);
    let finished = until(|| lanes.connections() == 0, options.drain_timeout);
    tokio::select! { () = finished => {}, _ = stop_signal() => tracing::info!("a second signal: not waiting any longer") }
    drain.send_replace(Drain::Closing);
    until(|| lanes.connections() == 0, GOODBYE).await;
}

/// Waits until something holds, at most so long.
fn until(holds: impl Fn() -> bool, longest: Duration) -> impl Future<Output = ()> {
    let polling = async move {
        while !holds() {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    async move { drop(time::timeout(longest, polling).await) }
}
