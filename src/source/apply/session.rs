//! A connection with the write credential: its own settings, a primary server, and whether it has a receipt table.

#![expect(clippy::disallowed_types, reason = "this is the door for writes")]

use std::fmt;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Config,
    config::{SslMode, SslNegotiation},
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

use super::{
    ApplyOptions, Undecided,
    receipt::ReceiptTable,
    statement::{Statement, quoted},
};
use crate::{
    source::{
        Setting, SourceError,
        connect::{Connector, Endpoint, within},
        error::Step,
        startup::PINNED,
        tls,
    },
    wire::Socket,
};

/// A connection that may write.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) receipts: Option<ReceiptTable>,
    pub(super) worker: Box<str>,
    driver: JoinHandle<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("receipts", &self.receipts.is_some()).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects to the first host that takes writes.
pub(super) async fn open(connector: &Connector, options: &ApplyOptions) -> Result<Session, Undecided> {
    let mut last = Undecided::Source(SourceError::Configuration("the URL names no host".into()));
    for endpoint in connector.endpoints().await {
        let opened = match endpoint {
            Ok(endpoint) => start(connector, &endpoint, options).await,
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(session) => return Ok(session),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn start(connector: &Connector, endpoint: &Endpoint, options: &ApplyOptions) -> Result<Session, Undecided> {
    let socket = endpoint.open().await?;
    let (client, driver) = within(connector.step, Step::Authenticate, authenticate(&connector.config, socket)).await??;
    let mut session = Session { client, receipts: None, worker: options.worker.clone(), driver };
    within(connector.step, Step::Check, prepare(connector, options, &mut session)).await??;
    Ok(session)
}

/// Startup and authentication over a socket whose TLS, if any, stands already.
async fn authenticate(config: &Config, socket: Socket) -> Result<(Client, JoinHandle<()>), Undecided> {
    let mut config = config.clone();
    let end_point = tls::server_end_point(&socket);
    // With `Direct` the driver asks the server for nothing before it takes the stream for encrypted.
    let encrypted = socket.client_tls().is_some();
    config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable }).ssl_negotiation(SslNegotiation::Direct);
    config.application_name("pgwicket worker");
    let (client, connection) = config.connect_raw(socket, Standing { end_point }).await.map_err(refused)?;
    let driver = tokio::spawn(async move {
        // How it ended is what the client's next statement says.
        drop(connection.await);
    });
    Ok((client, driver))
}

/// The source's words, which name neither host nor password.
fn refused(error: tokio_postgres::Error) -> Undecided {
    match error.as_db_error() {
        Some(_) => error.into(),
        None => SourceError::connect(Step::Authenticate, "the server did not let the worker in").into(),
    }
}

/// Pins the settings by which values are read and written, and looks for what is needed.
async fn prepare(connector: &Connector, options: &ApplyOptions, session: &mut Session) -> Result<(), Undecided> {
    let pinned = PINNED.into_iter().filter(|(name, _)| !["default_transaction_read_only", "search_path"].contains(name));
    let formats = Setting::FORMATS.into_iter().map(|setting| (setting.name(), setting.default_value()));
    let timeouts = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    let bounds = connector.startup.iter().filter(|(name, _)| timeouts.contains(name)).map(|(name, value)| (*name, &**value));
    let settings: Vec<String> = pinned.chain(formats).chain(bounds).map(|(name, value)| format!("SET {name} = '{value}';")).collect();
    session.client.batch_execute(&settings.concat()).await?;
    // The tables' own triggers find what they name by the role's path. What this room names is looked for in pg_catalog first.
    let path = "SELECT pg_catalog.set_config('search_path', \
         pg_catalog.concat_ws(', ', 'pg_catalog', nullif(pg_catalog.current_setting('search_path'), '')), false)";
    Statement::new(path).query(&session.client).await?;
    let table = format!("{}.pgwicket_receipts", quoted(&options.receipts_schema));
    let mut look = Statement::new(
        "SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text, coalesce(pg_catalog.has_table_privilege(t, 'SELECT') AND pg_catalog.has_table_privilege(t, 'INSERT'), false)::pg_catalog.text, \
         coalesce(c.relkind <> 'r' OR c.relhasrules OR c.relhastriggers OR c.relrowsecurity, false)::pg_catalog.text \
         FROM pg_catalog.to_regclass(",
    );
    look.bind(Some(&table)).push("::pg_catalog.text) t LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t");
    let row = look.query(&session.client).await?.into_iter().next().unwrap_or_default();
    let mut truths = row.into_iter().map(|cell| cell.as_deref() == Some("true"));
    if truths.next().unwrap_or(true) {
        return Err(SourceError::Unfit("the server is a standby, which takes no writes".into()).into());
    }
    let is_usable = truths.next().unwrap_or(false);
    if truths.next().unwrap_or(false) {
        // Its triggers and rules would run with the worker's rights.
        let what = "the relation pgwicket_receipts is no plain table, or has triggers, rules or row security: it is not the one that `pgwicket worker migration` makes";
        return Err(SourceError::Unfit(what.into()).into());
    }
    session.receipts = is_usable.then(|| ReceiptTable::new(&options.receipts_schema));
    Ok(())
}

/// Hands the driver a socket on which TLS stands already.
struct Standing {
    end_point: Option<Vec<u8>>,
}

/// That socket, with what SCRAM binds to.
struct Encrypted {
    socket: Socket,
    end_point: Option<Vec<u8>>,
}

impl TlsConnect<Socket> for Standing {
    type Stream = Encrypted;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Encrypted, Self::Error>>;

    fn connect(self, socket: Socket) -> Self::Future {
        std::future::ready(Ok(Encrypted { socket, end_point: self.end_point }))
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point.clone().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
