//! From an accepted socket to an [`Accepted`] connection: TLS, startup, authentication, within bounds and a time limit.

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Buf as _;
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use super::{
    Accepted, Admission, CancelRegistry, Drain, DrainWatch, HandshakePermit, ServerTls, SessionPermit,
    refused::Refused,
    startup::{self, Packet, StartupMessage},
    tls::ALPN,
    vouched::{Vouched, Vouching},
};
use crate::{
    auth::{Keyring, Logins},
    types::Principal,
    wire::{Channel, Header, MessageWriter, Socket},
};

/// Bytes of a cancel key before protocol 3.2, and since.
const SHORT_KEY: usize = 4;
const LONG_KEY: usize = 32;

/// The first byte of a TLS handshake: no packet of ours begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// How long a client that was refused may take to read why.
const PARTING: Duration = Duration::from_secs(2);

/// What every handshake of the process shares.
#[derive(Debug)]
pub struct Front {
    /// Who may log in; `None` until the first policy is in force.
    pub logins: ArcSwapOption<Logins>,
    /// The certificate, when there is one.
    pub tls: ArcSwapOption<ServerTls>,
    /// The same, for sessions that a client certificate let in.
    pub vouching: Vouching,
    /// Published keys of token issuers.
    pub keyring: Arc<Keyring>,
    /// Where cancel keys live.
    pub cancels: Arc<CancelRegistry>,
    /// Connection bounds.
    pub admission: Arc<Admission>,
    /// Says when the server drains.
    pub drain: DrainWatch,
    /// Take connections without TLS from other machines.
    pub allow_plaintext: bool,
    /// How long a client may take to authenticate.
    pub authentication_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_timeout: Duration,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum End {
    /// Nothing more to say: the client is gone, or has cancelled something.
    Quiet(&'static str),
    /// Told to the client.
    Refused(Refused),
    /// The network.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        // `Channel::message` reports a length that cannot be as invalid data.
        if error.kind() == io::ErrorKind::InvalidData {
            Self::Refused(Refused::malformed("invalid message length"))
        } else {
            Self::Io(error)
        }
    }
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Front {
    /// Takes a connection through TLS, startup and authentication. `None`: it ended, and was told why.
    pub async fn receive(&self, socket: Socket, peer: Option<SocketAddr>, permit: HandshakePermit) -> Option<Accepted> {
        let deadline = tokio::time::Instant::now() + self.authentication_timeout;
        let mut arrival =
            Arrival { front: self, peer, channel: Channel::new(socket), end_point: None, certificate: None, vouched: None, deadline };
        let mut asked = Asked::default();
        let outcome = loop {
            match arrival.first_packets(&mut asked).await {
                Ok(First::Startup(message)) => break arrival.admit(message).await,
                Ok(First::Tls(tls)) => match arrival.start_tls(&tls, asked.direct).await {
                    Ok(under_tls) => arrival = under_tls,
                    Err(reason) => {
                        tracing::debug!(peer = %Peer(peer), reason, "connection ended before a session");
                        return None;
                    }
                },
                Err(end) => break Err(end),
            }
        };
        drop(permit);
        match outcome {
            Ok(admitted) => Some(arrival.accepted(admitted)),
            Err(end) => {
                arrival.part(end).await;
                None
            }
        }
    }
}

/// A connection on its way in.
pub(super) struct Arrival<'a> {
    pub(super) front: &'a Front,
    peer: Option<SocketAddr>,
    pub(super) channel: Channel,
    pub(super) end_point: Option<Arc<[u8]>>,
    /// The client's certificate, which TLS has checked, and those that it came with.
    pub(super) certificate: Option<Vouched>,
    /// The certificate that the session is let in by.
    pub(super) vouched: Option<Vouched>,
    deadline: tokio::time::Instant,
}

/// Which encryption the client has asked for; each may be asked once.
#[derive(Default)]
struct Asked {
    tls: bool,
    gss: bool,
    /// TLS without asking first.
    direct: bool,
}

/// What comes out of the packets before a StartupMessage.
enum First {
    /// TLS was agreed: nothing but a handshake may follow.
    Tls(Arc<ServerTls>),
    Startup(StartupMessage),
}

struct Admitted {
    startup: startup::Startup,
    principal: Principal,
    permit: SessionPermit,
    /// Length of the cancel key. Unit: bytes.
    cancel_key: usize,
}

impl Arrival<'_> {
    /// Startup parameters, then the proof, then a place.
    async fn admit(&mut self, message: StartupMessage) -> Result<Admitted, End> {
        if message.negotiate {
            self.negotiate(message.minor, &message.protocol_options);
        }
        let cancel_key = if message.minor >= 2 { LONG_KEY } else { SHORT_KEY };
        let startup = startup::settle(message.parameters)?;
        if self.front.drain.now() != Drain::Serving {
            return Err(Refused::Draining.into());
        }
        self.require_privacy()?;
        let logins = self.front.logins.load_full().ok_or(Refused::Starting)?;
        if self.front.admission.is_full() {
            return Err(Refused::TooManyConnections.into());
        }
        let proven = self.authenticate(&logins, &startup.user).await?;
        let (principal, max_connections) = proven.principal;
        let permit = self.front.admission.session(&principal.agent, max_connections)?;
        if let Some(server_final) = proven.server_final {
            authentication(&mut self.channel, 12, |message| message.bytes(server_final.as_bytes()));
        }
        authentication(&mut self.channel, 0, |message| message);
        Ok(Admitted { startup, principal, permit, cancel_key })
    }

    /// Answers requests for encryption until the StartupMessage comes.
    async fn first_packets(&mut self, asked: &mut Asked) -> Result<First, End> {
        if let Some(tls) = self.direct_tls(asked).await? {
            return Ok(First::Tls(tls));
        }
        loop {
            match self.packet().await? {
                Packet::Startup(message) => return Ok(First::Startup(message)),
                Packet::Cancel { process_id, secret } => {
                    let found = self.front.cancels.cancel(process_id, &secret);
                    metrics::counter!("pgwicket_cancel_requests_total", "matched" => if found { "yes" } else { "no" }).increment(1);
                    return Err(End::Quiet("cancel request"));
                }
                Packet::Tls if !asked.tls => {
                    asked.tls = true;
                    let tls = self.front.tls.load_full().filter(|_| matches!(self.channel.socket(), Socket::Tcp(_)));
                    let Some(tls) = tls else {
                        self.reply(b'N').await?;
                        continue;
                    };
                    self.reply(b'S').await?;
                    return Ok(First::Tls(tls));
                }
                Packet::Gss if !asked.gss => {
                    asked.gss = true;
                    self.reply(b'N').await?;
                }
                Packet::Tls | Packet::Gss => return Err(Refused::malformed("encryption was asked for twice").into()),
            }
        }
    }

    /// Whether the client starts a TLS handshake at once, as libpq 17 may; the bytes stay with the socket.
    async fn direct_tls(&mut self, asked: &mut Asked) -> Result<Option<Arc<ServerTls>>, End> {
        let Socket::Tcp(stream) = self.channel.socket() else { return Ok(None) };
        let mut first = [0];
        if asked.tls || asked.gss || within(self.deadline, stream.peek(&mut first)).await?? == 0 || first != [TLS_HANDSHAKE] {
            return Ok(None);
        }
        (asked.tls, asked.direct) = (true, true);
        let tls = self.front.tls.load_full();
        tls.map(Some).ok_or(End::Quiet("a TLS handshake where there is no certificate"))
    }

    /// One packet without a tag: length, then body.
    async fn packet(&mut self) -> Result<Packet, End> {
        loop {
            let incoming = self.channel.incoming();
            if let Some((length, _)) = incoming.split_first_chunk::<4>() {
                let body = usize::try_from(i32::from_be_bytes(*length)).ok().and_then(|length| length.checked_sub(4));
                let body = body.filter(|body| (4..=startup::MAX_PACKET).contains(body));
                let body = body.ok_or(Refused::malformed("invalid length of startup packet"))?;
                if incoming.len() >= body + 4 {
                    incoming.advance(4);
                    return Ok(startup::decode(&incoming.split_to(body))?);
                }
            }
            self.fill().await?;
        }
    }

    /// The TLS handshake. A failure leaves nothing to talk over.
    async fn start_tls(self, tls: &ServerTls, direct: bool) -> Result<Self, &'static str> {
        let (socket, early) = self.channel.into_parts();
        if !early.is_empty() {
            // Whoever sent these could read the line; they must not count as sent under TLS (CVE-2021-23214).
            return Err("bytes before the TLS handshake");
        }
        let Socket::Tcp(stream) = socket else { return Err("TLS over something else than TCP") };
        let accepting = TlsAcceptor::from(tls.config()).accept(stream);
        let stream = within(self.deadline, accepting).await.map_err(|_timeout| "TLS handshake timed out")?;
        let stream = stream.map_err(|error| {
            tracing::info!(peer = %Peer(self.peer), %error, "TLS handshake failed");
            "TLS handshake failed"
        })?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err("direct TLS without ALPN");
        }
        let chain = stream.get_ref().1.peer_certificates().filter(|chain| !chain.is_empty());
        let owned = |chain: &[CertificateDer<'_>]| chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let certificate = chain.map(|chain| Vouched::new(owned(chain), &self.front.vouching));
        Ok(Self { channel: Channel::new(Socket::TlsServer(Box::new(stream))), end_point: tls.end_point(), certificate, ..self })
    }

    /// Whether nobody in between can read what the client sends.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.channel.socket(), Socket::TlsServer(_)) || is_local(self.peer)
    }

    /// Plaintext only where nobody is in between, unless the operator said otherwise.
    fn require_privacy(&self) -> Result<(), Refused> {
        if self.is_private() || self.front.allow_plaintext { Ok(()) } else { Err(Refused::Plaintext) }
    }

    /// `NegotiateProtocolVersion`: the version we speak, and the options that we do not know.
    fn negotiate(&mut self, minor: u32, options: &[String]) {
        let count = i32::try_from(options.len()).unwrap_or(i32::MAX);
        let message =
            MessageWriter::new(self.channel.outgoing(), b'v').int32((3 << 16) | i32::try_from(minor).unwrap_or_default()).int32(count);
        options.iter().fold(message, |message, option| message.string(option)).finish();
    }

    /// Sends what is queued and reads one `p` message.
    pub(super) async fn response(&mut self, most: usize) -> Result<Vec<u8>, End> {
        within(self.deadline, self.channel.flush()).await??;
        let message = within(self.deadline, self.channel.message(most)).await??;
        let header = message.ok_or(End::Quiet("client left during authentication"))?;
        if header.tag != b'p' {
            return Err(Refused::UnexpectedMessage { tag: header.tag }.into());
        }
        let mut message = self.channel.incoming().split_to(header.total());
        message.advance(Header::SIZE);
        Ok(message.to_vec())
    }

    async fn reply(&mut self, byte: u8) -> Result<(), End> {
        self.channel.outgoing().extend_from_slice(&[byte]);
        Ok(within(self.deadline, self.channel.flush()).await??)
    }

    async fn fill(&mut self) -> Result<(), End> {
        if within(self.deadline, self.channel.fill()).await?? == 0 { Err(End::Quiet("client left")) } else { Ok(()) }
    }

    /// Says why there is no session.
    async fn part(mut self, end: End) {
        match end {
            End::Quiet(reason) => tracing::debug!(peer = %Peer(self.peer), reason, "connection ended before a session"),
            End::Io(error) => tracing::debug!(peer = %Peer(self.peer), %error, "connection lost before a session"),
            End::Refused(refused) => {
                metrics::counter!("pgwicket_connections_refused_total", "sqlstate" => refused.sqlstate()).increment(1);
                tracing::info!(peer = %Peer(self.peer), sqlstate = refused.sqlstate(), reason = %refused, "connection refused");
                refused.write(self.channel.outgoing());
                // A client that does not read loses the message, not our time.
                drop(tokio::time::timeout(PARTING, self.channel.flush()).await);
            }
        }
        // A client that asked to cancel waits for the end, and libpq takes a cut line for a failure.
        drop(tokio::time::timeout(PARTING, self.channel.shutdown()).await);
    }

    fn accepted(mut self, admitted: Admitted) -> Accepted {
        self.channel.set_patience(self.front.write_timeout);
        let Admitted { startup, principal, permit, cancel_key } = admitted;
        let secret_key: Box<[u8]> = rand::random::<[u8; LONG_KEY]>().into_iter().take(cancel_key).collect();
        let (process_id, cancel) = self.front.cancels.register(&secret_key);
        Accepted {
            channel: self.channel,
            principal,
            parameters: startup.settings,
            database: startup.database,
            process_id,
            secret_key,
            cancel,
            drain: self.front.drain.clone(),
            peer: self.peer,
            permit,
            vouched: self.vouched,
        }
    }
}

/// An address for the log.
struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => fmt::Display::fmt(&address, f),
            None => f.write_str("unix socket"),
        }
    }
}

/// A unix socket, or an address of this machine that no other can use.
pub(super) fn is_local(peer: Option<SocketAddr>) -> bool {
    peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback())
}

async fn within<T>(deadline: tokio::time::Instant, future: impl Future<Output = T>) -> Result<T, Refused> {
    tokio::time::timeout_at(deadline, future).await.map_err(|_elapsed| Refused::Timeout)
}

/// Queues an authentication request of this kind.
pub(super) fn authentication<'a>(channel: &'a mut Channel, kind: i32, body: impl FnOnce(MessageWriter<'a>) -> MessageWriter<'a>) {
    body(MessageWriter::new(channel.outgoing(), b'R').int32(kind)).finish();
}
