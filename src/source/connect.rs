//! Reaching a source: its URL, hosts and sockets.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_postgres::config::{Config, Host, LoadBalanceHosts, SslMode, SslNegotiation};

use crate::{
    policy::{Source, SourceTls},
    sql::catalog::CatalogSnapshot,
    types::Secret,
    wire::Socket,
};

use super::{
    Connection, SourceError,
    error::Step,
    startup,
    target::{self, Target},
    tls,
};

/// How long each step of reaching a source may take, unless the URL has `connect_timeout`.
const STEP: Duration = Duration::from_secs(5);

/// What is needed to reach a source, known before a policy is compiled.
#[derive(Debug, Clone, Copy)]
pub struct SourceAddress<'a> {
    /// The connection URL of the read-only credential.
    pub url: &'a Secret,
    /// TLS to the source.
    pub tls: SourceTls,
    /// PEM of the roots to trust instead of the system's.
    pub root_certificates: Option<&'a [u8]>,
    /// `statement_timeout` of the sessions; zero is none.
    pub statement_timeout: Duration,
    /// `lock_timeout` of the sessions; zero is none.
    pub lock_timeout: Duration,
    /// `idle_in_transaction_session_timeout` of the sessions; zero is none.
    pub idle_in_transaction_timeout: Duration,
}

impl<'a> From<&'a Source> for SourceAddress<'a> {
    fn from(source: &'a Source) -> Self {
        Self {
            url: &source.url,
            tls: source.tls,
            root_certificates: source.root_certificates.as_deref(),
            statement_timeout: source.statement_timeout,
            lock_timeout: source.lock_timeout,
            idle_in_transaction_timeout: source.idle_in_transaction_timeout,
        }
    }
}

/// One place to connect to.
#[derive(Clone)]
pub(super) struct Endpoint {
    place: Place,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    step: Duration,
}

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Opens the socket, with TLS when it is asked for.
    pub(super) async fn open(&self) -> Result<Socket, SourceError> {
        let failed = SourceError::step(Step::Connect);
        let stream = match &self.place {
            Place::Unix(path) => {
                let stream = within(self.step, Step::Connect, UnixStream::connect(path)).await?.map_err(failed)?;
                return Ok(Socket::Unix(stream));
            }
            Place::Tcp(address) => within(self.step, Step::Connect, TcpStream::connect(address)).await?.map_err(&failed)?,
        };
        stream.set_nodelay(true).map_err(&failed)?;
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(&failed)?;
        match &self.tls {
            Some((config, name)) => within(self.step, Step::Tls, tls::start(stream, config, name)).await?,
            None => Ok(Socket::Tcp(stream)),
        }
    }
}

/// Bounds a step in time.
pub(super) async fn within<T>(limit: Duration, step: Step, work: impl Future<Output = T>) -> Result<T, SourceError> {
    timeout(limit, work).await.map_err(|_elapsed| SourceError::connect(step, "timed out"))
}

/// Makes connections to one source.
pub(super) struct Connector {
    pub(super) config: Config,
    tls: Option<Arc<ClientConfig>>,
    pub(super) step: Duration,
    pub(super) startup: Vec<(&'static str, String)>,
    target: Target,
    /// The catalog that says in which schemas names are looked up, when there are any besides `pg_catalog`.
    pub(super) resolving: Option<Arc<CatalogSnapshot>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the URL and the roots.
    pub(super) fn new(address: &SourceAddress<'_>) -> Result<Self, SourceError> {
        // The parser's own words may quote the URL.
        let (url, target) = target::split(address.url.expose());
        let config: Config =
            url.parse().map_err(|_quoted: tokio_postgres::Error| configuration("the URL is not a postgresql:// URL that can be read"))?;
        check(&config, address.tls)?;
        let startup = startup::parameters(&config, address)?;
        let step = config.get_connect_timeout().copied().filter(|limit| !limit.is_zero()).unwrap_or(STEP);
        let target = target.map_or_else(|| Target::of(&config), |named| Target::named(&named))?;
        Ok(Self { tls: tls::client_config(address.tls, address.root_certificates)?, config, step, startup, target, resolving: None })
    }

    /// The same, for sessions that run governed statements: they find the operators of the source's reviewed extensions.
    pub(super) fn resolving(mut self, catalog: &Arc<CatalogSnapshot>) -> Self {
        let resolution = catalog.extensions.resolution();
        if !resolution.path().is_empty() {
            self.startup.iter_mut().filter(|(name, _)| *name == "search_path").for_each(|(_, path)| *path = resolution.search_path());
            self.resolving = Some(Arc::clone(catalog));
        }
        self
    }

    /// Connects to the first host that can be used and is what `target_session_attrs` asks for.
    pub(super) async fn connect(&self) -> Result<Connection, SourceError> {
        let mut last = configuration("the URL names no host");
        for wanted in self.target.in_turn() {
            for endpoint in self.endpoints().await {
                let connected = match endpoint {
                    Ok(endpoint) => startup::start(self, endpoint, *wanted).await,
                    Err(error) => Err(error),
                };
                match connected {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    /// The places to connect to, in the order in which they are tried.
    pub(super) async fn endpoints(&self) -> Vec<Result<Endpoint, SourceError>> {
        let mut endpoints = Vec::new();
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let endpoint = |place, tls| Endpoint { place, tls, step: self.step };
            match host {
                // As in libpq, TLS is for TCP: a unix socket does not leave the host.
                Host::Unix(directory) => endpoints.push(Ok(endpoint(Place::Unix(directory.join(format!(".s.PGSQL.{port}"))), None))),
                Host::Tcp(name) => match self.resolve(index, name, port).await {
                    Ok((addresses, tls)) => {
                        endpoints.extend(addresses.into_iter().map(|address| Ok(endpoint(Place::Tcp(address), tls.clone()))));
                    }
                    Err(error) => endpoints.push(Err(error)),
                },
            }
        }
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            rand::seq::SliceRandom::shuffle(endpoints.as_mut_slice(), &mut rand::rng());
        }
        endpoints
    }

    async fn resolve(
        &self,
        index: usize,
        name: &str,
        port: u16,
    ) -> Result<(Vec<SocketAddr>, Option<(Arc<ClientConfig>, ServerName<'static>)>), SourceError> {
        let tls = match &self.tls {
            Some(config) => {
                let name = ServerName::try_from(name.to_owned()).map_err(|_invalid| configuration("the host name cannot be one"))?;
                Some((Arc::clone(config), name))
            }
            None => None,
        };
        if let Some(address) = self.config.get_hostaddrs().get(index) {
            return Ok((vec![SocketAddr::new(*address, port)], tls));
        }
        let found = within(self.step, Step::Resolve, lookup_host((name, port))).await?.map_err(SourceError::step(Step::Resolve))?;
        Ok((found.collect(), tls))
    }
}

/// Refuses a URL that asks for what pgwicket does not do, or contradicts the policy.
fn check(config: &Config, tls: SourceTls) -> Result<(), SourceError> {
    if config.get_options().is_some() {
        return Err(configuration("the URL must not have `options`; pgwicket sets what its sessions need"));
    }
    match (config.get_ssl_mode(), tls) {
        (SslMode::Require, SourceTls::Disable) => {
            return Err(configuration("the URL has sslmode=require, the policy ssl: disable"));
        }
        (SslMode::Disable, SourceTls::Require | SourceTls::VerifyCa | SourceTls::VerifyFull) => {
            return Err(configuration("the URL has sslmode=disable, the policy asks for TLS"));
        }
        _ => {}
    }
    if config.get_ssl_negotiation() == SslNegotiation::Direct {
        return Err(configuration("sslnegotiation=direct is not supported"));
    }
    if config.get_hosts().is_empty() {
        return Err(configuration("the URL names no host"));
    }
    Ok(())
}

pub(super) fn configuration(message: &str) -> SourceError {
    SourceError::Configuration(message.into())
}
