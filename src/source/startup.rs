//! From a socket to an idle session: startup, authentication, and the check that what pgwicket pins holds.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use postgres_protocol::authentication::{
    md5_hash,
    sasl::{self, ScramSha256},
};
use tokio_postgres::config::{ChannelBinding, Config};

use crate::{
    sql::catalog::KNOWN_VERSIONS,
    wire::{Channel, Header, MessageWriter, Socket},
};

use super::{
    Connection, ServerError, Setting, SourceAddress, SourceError,
    cancel::CancelTarget,
    connect::{Connector, Endpoint, configuration, within},
    connection::Server,
    error::Step,
    target::Wanted,
    tls,
};

/// No message of a startup is longer.
const MESSAGE_LIMIT: usize = 64 * 1024;

/// What is pinned in every session, whatever the role's or the database's own settings say; checked at connect.
/// A source with reviewed extensions has their schemas in `search_path` as well ([`Connector::resolving`]).
/// The first group is SECURITY.md's; the second are the other settings by which the server reads a text, starts a transaction, or plans
/// a statement, otherwise than governed: under `force_generic_plan` nothing is planned for its values (`is_planned_each_time`).
pub(super) const PINNED: [(&str, &str); 12] = [
    ("default_transaction_read_only", "on"),
    ("search_path", "pg_catalog"),
    ("standard_conforming_strings", "on"),
    ("row_security", "on"),
    ("client_encoding", "UTF8"),
    ("transform_null_equals", "off"),
    ("backslash_quote", "safe_encoding"),
    ("array_nulls", "on"),
    ("xmloption", "content"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("plan_cache_mode", "auto"),
];

/// The parameters of the startup message.
pub(super) fn parameters(config: &Config, address: &SourceAddress<'_>) -> Result<Vec<(&'static str, String)>, SourceError> {
    let user = config.get_user().ok_or_else(|| configuration("the URL names no user"))?;
    let mut parameters = vec![
        ("user", user.to_owned()),
        ("database", config.get_dbname().unwrap_or(user).to_owned()),
        ("application_name", "pgwicket".to_owned()),
    ];
    parameters.extend(PINNED.map(|(name, value)| (name, value.to_owned())));
    parameters.extend(Setting::FORMATS.map(|setting| (setting.name(), setting.default_value().to_owned())));
    let timeouts = [
        ("statement_timeout", address.statement_timeout),
        ("lock_timeout", address.lock_timeout),
        ("idle_in_transaction_session_timeout", address.idle_in_transaction_timeout),
    ];
    // PostgreSQL counts these in milliseconds, in 31 bits.
    parameters.extend(timeouts.map(|(name, limit)| (name, limit.as_millis().min(0x7fff_ffff).to_string())));
    Ok(parameters)
}

/// Opens the endpoint and makes an idle, checked session of it.
pub(super) async fn start(connector: &Connector, endpoint: Endpoint, wanted: Wanted) -> Result<Connection, SourceError> {
    let socket = endpoint.open().await?;
    let greeting = within(connector.step, Step::Authenticate, greet(connector, socket)).await??;
    let cancel = CancelTarget::new(endpoint, greeting.process, greeting.key);
    let mut connection = Connection::new(greeting.channel, Arc::new(cancel), greeting.server);
    if !wanted.is(greeting.server.standby) {
        return Err(SourceError::connect(Step::Check, "the server is not what target_session_attrs asks for"));
    }
    within(connector.step, Step::Check, check(connector, &mut connection)).await??;
    Ok(connection)
}

/// Refuses a server of a version that is not known, a database that is not UTF-8, and a server (or a pooler before it) that dropped what the startup message pinned.
async fn check(connector: &Connector, connection: &mut Connection) -> Result<(), SourceError> {
    let names = PINNED.map(|(name, _)| format!(", pg_catalog.current_setting('{name}')")).concat();
    let rows = connection
        .query(&format!("SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_encoding'){names}"))
        .await?;
    let mut values = rows.into_iter().next().unwrap_or_default().into_iter().map(Option::unwrap_or_default);
    connection.server.version = values.next().and_then(|version| version.parse().ok()).unwrap_or(0);
    if !KNOWN_VERSIONS.contains(&connection.server.version) {
        let version = connection.server.version;
        return Err(SourceError::Unfit(format!("PostgreSQL 15 to 18 is needed, this is server_version_num {version}").into()));
    }
    // What is taken as leakproof (`lower`, LIKE) counts on stored text being well formed, and so does this proxy.
    if let Some(encoding) = values.next().filter(|encoding| encoding != "UTF8") {
        return Err(SourceError::Unfit(format!("the database's encoding must be UTF8, this is {encoding}").into()));
    }
    for ((name, pinned), value) in PINNED.into_iter().zip(values) {
        let asked = connector.startup.iter().find(|(asked, _)| *asked == name);
        let pinned = asked.map_or(pinned, |(_, value)| value);
        if value != pinned {
            return Err(SourceError::Unfit(format!("the session does not keep {name} = {pinned}").into()));
        }
    }
    Ok(())
}

struct Greeting {
    channel: Channel,
    process: i32,
    key: i32,
    server: Server,
}

/// Sends the startup message, authenticates, and reads up to the first ReadyForQuery.
async fn greet(connector: &Connector, socket: Socket) -> Result<Greeting, SourceError> {
    let end_point = tls::server_end_point(&socket);
    let encrypted = socket.client_tls().is_some();
    let mut login = Login { config: &connector.config, encrypted, end_point, scram: Scram::None, bound: false };
    let mut greeting = Greeting { channel: Channel::new(socket), process: 0, key: 0, server: Server::default() };
    startup_message(greeting.channel.outgoing(), &connector.startup);
    let mut authenticated = false;
    loop {
        greeting.channel.flush().await.map_err(SourceError::step(Step::Authenticate))?;
        let head = greeting.channel.message(MESSAGE_LIMIT).await.map_err(SourceError::step(Step::Authenticate))?;
        let head = head.ok_or_else(|| SourceError::connect(Step::Authenticate, "the server closed the connection"))?;
        let message = greeting.channel.incoming().split_to(head.total());
        let body = message.get(Header::SIZE..).unwrap_or_default();
        match (head.tag, authenticated) {
            (b'R', false) => authenticated = login.answer(body, greeting.channel.outgoing())?,
            (b'E', _) => return Err(SourceError::Startup(Box::new(ServerError::parse(body)))),
            (b'N', _) => {}
            (b'S', true) => greeting.parameter_status(body),
            (b'K', true) => {
                let mut words = body.as_chunks::<4>().0.iter().map(|word| i32::from_be_bytes(*word));
                greeting.process = words.next().unwrap_or(0);
                greeting.key = words.next().unwrap_or(0);
            }
            (b'Z', true) => return Ok(greeting),
            _ => return Err(SourceError::Protocol("a message that does not belong to a startup")),
        }
    }
}

impl Greeting {
    fn parameter_status(&mut self, body: &[u8]) {
        if body == b"is_superuser\0on\0" {
            self.server.superuser = true;
        } else if body == b"in_hot_standby\0on\0" {
            self.server.standby = true;
        }
    }
}

fn startup_message(outgoing: &mut BytesMut, parameters: &[(&'static str, String)]) {
    let body: usize = parameters.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    outgoing.put_i32(i32::try_from(body + 9).unwrap_or(i32::MAX));
    outgoing.put_i32(196_608);
    for (name, value) in parameters {
        outgoing.extend_from_slice(name.as_bytes());
        outgoing.put_u8(0);
        outgoing.extend_from_slice(value.as_bytes());
        outgoing.put_u8(0);
    }
    outgoing.put_u8(0);
}

struct Login<'a> {
    config: &'a Config,
    encrypted: bool,
    end_point: Option<Vec<u8>>,
    scram: Scram,
    /// SCRAM was bound to the TLS channel.
    bound: bool,
}

/// How far SCRAM is: the server proves itself too, and may not leave that out.
enum Scram {
    None,
    Running(Box<ScramSha256>),
    Proven,
}

impl Login<'_> {
    /// Answers one Authentication message; true when the server is satisfied.
    fn answer(&mut self, body: &[u8], outgoing: &mut BytesMut) -> Result<bool, SourceError> {
        let (kind, data) = body.split_first_chunk::<4>().ok_or(SourceError::Protocol("an authentication message without a kind"))?;
        match (i32::from_be_bytes(*kind), &mut self.scram) {
            (0, Scram::None | Scram::Proven) => {
                if self.config.get_channel_binding() == ChannelBinding::Require && !self.bound {
                    return Err(refused("the server did not use channel binding, which the URL requires"));
                }
                return Ok(true);
            }
            (3, Scram::None) if self.encrypted => {
                MessageWriter::new(outgoing, b'p').bytes(self.password()?).byte(0).finish();
            }
            (3, Scram::None) => return Err(refused("the server asks for a cleartext password without TLS")),
            (5, Scram::None) => {
                let salt = *data.first_chunk::<4>().ok_or(SourceError::Protocol("an MD5 request without a salt"))?;
                let hash = md5_hash(self.config.get_user().unwrap_or_default().as_bytes(), self.password()?, salt);
                MessageWriter::new(outgoing, b'p').string(&hash).finish();
            }
            (10, Scram::None) => self.begin_scram(data, outgoing)?,
            (11, Scram::Running(scram)) => {
                scram.update(data).map_err(|_error| refused("SCRAM failed"))?;
                MessageWriter::new(outgoing, b'p').bytes(scram.message()).finish();
            }
            (12, Scram::Running(scram)) => {
                scram.finish(data).map_err(|_error| refused("the server did not prove that it knows the password"))?;
                self.scram = Scram::Proven;
            }
            (0, Scram::Running(_)) => return Err(refused("the server ended SCRAM before it proved itself")),
            _ => {
                return Err(refused(
                    "the server asks for an authentication method that is not supported (cleartext under TLS, md5, SCRAM)",
                ));
            }
        }
        Ok(false)
    }

    fn begin_scram(&mut self, mechanisms: &[u8], outgoing: &mut BytesMut) -> Result<(), SourceError> {
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
        let wanted = self.config.get_channel_binding() != ChannelBinding::Disable;
        let (mechanism, binding) = match self.end_point.take().filter(|_| wanted) {
            Some(hash) if offers(sasl::SCRAM_SHA_256_PLUS) => {
                self.bound = true;
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))
            }
            // Says that we could have: a server that could too learns that someone in between took the offer away.
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(refused("the server offers no SASL mechanism that is supported (SCRAM-SHA-256)"));
        }
        let scram = ScramSha256::new(self.password()?, binding);
        let first = scram.message();
        let length = i32::try_from(first.len()).unwrap_or(i32::MAX);
        MessageWriter::new(outgoing, b'p').string(mechanism).int32(length).bytes(first).finish();
        self.scram = Scram::Running(Box::new(scram));
        Ok(())
    }

    fn password(&self) -> Result<&[u8], SourceError> {
        self.config.get_password().ok_or_else(|| refused("the server asks for a password, the URL has none"))
    }
}

fn refused(reason: &str) -> SourceError {
    SourceError::connect(Step::Authenticate, reason)
}
