//! The way in, spoken by a client on the other end of a real socket.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::{BufMut as _, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::{Accepted, Admission, DrainWatch, Front, Listener, ServerTls};
use crate::{
    auth::{LoginSecret, Logins},
    policy::{Agent, AgentAuth, Durability, Limits, PolicySet},
    types::{AgentName, Digest, PolicyEpoch, Secret},
    wire::{Channel, Header, Socket},
};

fn front(tls: Option<ServerTls>) -> Front {
    let name: AgentName = "ada".parse().unwrap();
    let agent = Agent {
        visible: Arc::default(),
        name: name.clone(),
        session_token: None,
        auth: AgentAuth::ScramPassword(Secret::new("pencil")),
        tenant: Some("acme".parse().unwrap()),
        schemas: Vec::new(),
        functions: Vec::new(),
        allow_explain: false,
        statement_timeout: Duration::from_secs(1),
        max_connections: 1,
        limits: Limits::default(),
        durability: Durability::Group,
        evidence_parameters: true,
    };
    let agents = BTreeMap::from([(name, Arc::new(agent))]);
    let policy = PolicySet { agents, ..PolicySet::empty(PolicyEpoch(1), Digest([0; 32])) };
    let logins = Logins::none(LoginSecret::new([1; 32])).renew(&policy).unwrap();
    Front {
        logins: ArcSwapOption::from_pointee(logins),
        tls: ArcSwapOption::from_pointee(tls),
        vouching: super::Vouching::new(None),
        keyring: Arc::default(),
        cancels: Arc::default(),
        admission: Admission::new(10, 10),
        drain: DrainWatch::channel().1,
        allow_plaintext: false,
        authentication_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(5),
    }
}

/// A connected client, and the outcome on the server's side.
async fn connect(front: &Arc<Front>) -> (TcpStream, JoinHandle<Option<Accepted>>) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = TcpStream::connect(listener.address()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap().register().unwrap();
    let front = Arc::clone(front);
    let permit = front.admission.handshake(None).unwrap();
    let serving = async move {
        let mut accepted = front.receive(socket, peer, permit).await?;
        // What the session does first.
        accepted.channel.flush().await.ok()?;
        Some(accepted)
    };
    (client, tokio::spawn(serving))
}

fn first_packet(code: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_u32(u32::try_from(body.len() + 8).unwrap());
    packet.put_u32(code);
    packet.extend_from_slice(body);
    packet
}

fn startup(body: &str) -> Vec<u8> {
    first_packet(3 << 16, body.replace('|', "\0").as_bytes())
}

const SSL_REQUEST: u32 = 80_877_103;

/// The next message from the server: tag and body.
async fn read(channel: &mut Channel) -> (u8, Vec<u8>) {
    let Some(header) = channel.message(100_000).await.unwrap() else { return (0, Vec::new()) };
    let message = channel.incoming().split_to(header.total());
    (header.tag, message[Header::SIZE..].to_vec())
}

async fn send(channel: &mut Channel, bytes: &[u8]) {
    channel.outgoing().extend_from_slice(bytes);
    channel.flush().await.unwrap();
}

fn error(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter(|field| matches!(field.first(), Some(b'C' | b'M')));
    fields.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).collect::<Vec<_>>().join(" ")
}

/// Authenticates by the driver's own SCRAM; the error when refused.
async fn log_in(channel: &mut Channel, mechanism: &str, password: &str, binding: ChannelBinding) -> Result<(), String> {
    let (tag, body) = read(channel).await;
    if tag != b'R' {
        return Err(error(&body));
    }
    assert_eq!(body[..4], [0, 0, 0, 10]);
    let mut scram = ScramSha256::new(password.as_bytes(), binding);
    let mut message = BytesMut::new();
    postgres_protocol::message::frontend::sasl_initial_response(mechanism, scram.message(), &mut message).unwrap();
    send(channel, &message).await;
    let (tag, body) = read(channel).await;
    if tag != b'R' {
        return Err(error(&body));
    }
    scram.update(&body[4..]).unwrap();
    message.clear();
    postgres_protocol::message::frontend::sasl_response(scram.message(), &mut message).unwrap();
    send(channel, &message).await;
    let (tag, body) = read(channel).await;
    if tag != b'R' {
        return Err(error(&body));
    }
    scram.finish(&body[4..]).unwrap();
    Ok(())
}

async fn plain(front: &Arc<Front>, startup_body: &str, password: &str) -> (Result<(), String>, Option<Accepted>) {
    let (client, server) = connect(front).await;
    let mut channel = Channel::new(Socket::Tcp(client));
    send(&mut channel, &startup(startup_body)).await;
    let outcome = log_in(&mut channel, "SCRAM-SHA-256", password, ChannelBinding::unsupported()).await;
    (outcome, server.await.unwrap())
}

/// What the server says to these first bytes, up to the end of the connection.
async fn answer(front: &Arc<Front>, bytes: &[u8]) -> Vec<u8> {
    let (mut client, server) = connect(front).await;
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut answer));
    // A reset is an end too: the server closed with our bytes unread.
    drop(read.await.unwrap());
    assert!(server.await.unwrap().is_none());
    answer
}

#[tokio::test]
async fn a_right_password_becomes_the_policys_principal() {
    let front = Arc::new(front(None));
    let (outcome, accepted) = plain(&front, "user|ada|database|shop|application_name|psql||", "pencil").await;
    assert_eq!(outcome, Ok(()));
    let accepted = accepted.unwrap();
    assert_eq!(accepted.principal.tenant, Some("acme".parse().unwrap()));
    assert_eq!((accepted.database.as_str(), &accepted.parameters), ("shop", &vec![("application_name".into(), "psql".into())]));
    assert!(front.cancels.cancel(accepted.process_id, &accepted.secret_key));

    let (second, _) = plain(&front, "user|ada||", "pencil").await;
    assert_eq!(second, Err("53300 too many connections for agent \"ada\"".into()));
    drop(accepted);
    assert!(plain(&front, "user|ada||", "pencil").await.1.is_some(), "the place is free again");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let front = Arc::new(front(None));
    let failed = |user: &str| Err(format!("28P01 password authentication failed for user \"{user}\""));
    assert_eq!(plain(&front, "user|ada||", "pen").await.0, failed("ada"));
    assert_eq!(plain(&front, "user|eve||", "pencil").await.0, failed("eve"));
}

#[tokio::test]
async fn the_bounds_speak_before_a_password_is_asked() {
    let front = Arc::new(front(None));
    let refused = async |body: &str| plain(&front, body, "pencil").await.0.unwrap_err();
    assert_eq!(refused("user|ada|replication|true||").await, "0A000 replication connections are not supported");
    assert_eq!(refused("user|ada|client_encoding|latin1||").await, "22023 invalid value for parameter \"client_encoding\": \"latin1\"");
    assert_eq!(refused("user||").await, "08P01 invalid startup packet layout: expected terminator as last byte");
    for first in [&[0, 0, 0, 3, 0, 0, 0, 0][..], &[0, 0, 0x27, 0x15, 0, 3, 0, 0], b"GET / HTTP/1.1\r\n", &first_packet(2 << 16, b"")] {
        let answer = answer(&front, first).await;
        assert_eq!(answer.first(), Some(&b'E'), "{first:?}");
    }
}

#[tokio::test]
async fn a_second_startup_message_is_refused() {
    let answer = answer(&Arc::new(front(None)), &[startup("user|ada||"), startup("user|eve||")].concat()).await;
    let error_at = answer.iter().position(|byte| *byte == b'E').unwrap();
    assert!(error(&answer[error_at + 5..]).starts_with("08P01"), "{answer:?}");
}

#[tokio::test]
async fn newer_protocols_are_told_what_is_spoken() {
    let (mut client, _server) = connect(&Arc::new(front(None))).await;
    client.write_all(&first_packet((3 << 16) + 2, b"user\0ada\0_pq_.x\0on\0\0")).await.unwrap();
    let (tag, body) = read(&mut Channel::new(Socket::Tcp(client))).await;
    assert_eq!((tag, body.as_slice()), (b'v', &b"\0\x03\0\x02\0\0\0\x01_pq_.x\0"[..]));
}

#[tokio::test]
async fn cancel_requests_are_never_answered() {
    let front = Arc::new(front(None));
    let (process_id, slot) = front.cancels.register(&[0, 0, 0, 7]);
    let ticket = slot.ticket();
    let request = |secret: i32| first_packet(80_877_102, &[process_id.to_be_bytes(), secret.to_be_bytes()].concat());
    assert!(answer(&front, &request(8)).await.is_empty() && !slot.is_requested(ticket));
    assert!(answer(&front, &request(7)).await.is_empty() && slot.is_requested(ticket));
}

fn certificate() -> (ServerTls, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let tls = ServerTls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), None).unwrap();
    (tls, certificate.der().to_vec())
}

/// A client under TLS that trusts exactly this certificate.
async fn under_tls(front: &Arc<Front>, certificate: &[u8]) -> (Channel, JoinHandle<Option<Accepted>>) {
    let (mut client, server) = connect(front).await;
    client.write_all(&first_packet(SSL_REQUEST, b"")).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'S');
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), client).await.unwrap();
    (Channel::new(Socket::TlsClient(Box::new(stream))), server)
}

#[tokio::test]
async fn under_tls_the_proof_is_bound_to_the_certificate() {
    let (tls, der) = certificate();
    let hash = crate::auth::tls_server_end_point(&der).unwrap();
    let front = Arc::new(front(Some(tls)));
    let log_in = async |mechanism: &str, binding| {
        let (mut channel, server) = under_tls(&front, &der).await;
        send(&mut channel, &startup("user|ada||")).await;
        let outcome = log_in(&mut channel, mechanism, "pencil", binding).await;
        (outcome, server.await.unwrap().is_some())
    };
    assert_eq!(log_in("SCRAM-SHA-256-PLUS", ChannelBinding::tls_server_end_point(hash)).await, (Ok(()), true));
    assert_eq!(log_in("SCRAM-SHA-256", ChannelBinding::unsupported()).await, (Ok(()), true));
    let elsewhere = log_in("SCRAM-SHA-256-PLUS", ChannelBinding::tls_server_end_point(vec![0; 32])).await;
    assert_eq!(elsewhere, (Err("28000 SCRAM channel binding check failed".into()), false));
    let downgraded = log_in("SCRAM-SHA-256", ChannelBinding::unrequested()).await;
    assert_eq!(downgraded, (Err("28000 SCRAM channel binding negotiation error".into()), false));
}

#[tokio::test]
async fn bytes_before_the_tls_handshake_end_the_connection() {
    let front = Arc::new(front(Some(certificate().0)));
    let injected = [first_packet(SSL_REQUEST, b""), startup("user|ada||")].concat();
    assert_eq!(answer(&front, &injected).await, b"S", "nothing after the S: CVE-2021-23214");
}

#[tokio::test]
async fn without_a_certificate_tls_is_declined_once() {
    let front = Arc::new(front(None));
    let asked = [first_packet(80_877_104, b""), first_packet(SSL_REQUEST, b""), first_packet(SSL_REQUEST, b"")].concat();
    let answer = answer(&front, &asked).await;
    assert_eq!(&answer[..3], b"NNE");
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let mut patient = front(None);
    patient.authentication_timeout = Duration::from_millis(50);
    let answer = answer(&Arc::new(patient), b"\0\0").await;
    assert!(error(&answer[5..]).starts_with("57014"));
}

#[test]
fn plaintext_from_another_machine_is_refused() {
    let local = |address: &str| super::handshake::is_local(Some(std::net::SocketAddr::new(address.parse().unwrap(), 1)));
    assert!(local("127.0.0.1") && local("::1") && local("::ffff:127.0.0.1") && !local("10.0.0.1"));
}
