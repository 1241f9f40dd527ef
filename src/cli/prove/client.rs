//! An agent as it really is: a plain client of the wire that keeps every byte it receives.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, bail};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    types::Secret,
    wire::{Channel, Header, MessageWriter, Socket},
};

/// No message is longer.
const MESSAGE_LIMIT: usize = 256 << 20;
/// Longest an answer may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// A logged-in agent.
#[derive(Debug)]
pub(super) struct Client {
    channel: Channel,
    port: u16,
    user: String,
    password: Secret,
    /// Bytes received so far.
    pub(super) received: u64,
}

/// Everything that came back to one statement.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Column names of the last RowDescription.
    pub(super) columns: Vec<String>,
    /// Values in text form.
    pub(super) rows: Vec<Vec<Option<String>>>,
    /// SQLSTATE and message of the ErrorResponse.
    pub(super) error: Option<(String, String)>,
    /// Texts of the notices.
    pub(super) notices: Vec<String>,
    /// Every message, tag and body; the evidence id, unique to each statement, is left out.
    pub(super) messages: Vec<(u8, Vec<u8>)>,
}

/// What came back by the extended protocol.
#[derive(Debug)]
pub(super) struct Prepared {
    /// All of it; the rows in text form come first, then the ones in binary form.
    pub(super) whole: Answer,
    /// How many rows came in text form.
    pub(super) text: usize,
    /// How many rows came in binary form.
    pub(super) binary: usize,
}

impl Answer {
    /// The SQLSTATE, when it is an error.
    pub(super) fn sqlstate(&self) -> Option<&str> {
        self.error.as_ref().map(|(code, _)| code.as_str())
    }

    /// Whether these bytes are anywhere in it.
    pub(super) fn holds(&self, value: &str) -> bool {
        let value = value.as_bytes();
        self.messages.iter().any(|(_, body)| body.windows(value.len()).any(|window| window == value))
    }

    /// In a few words, for a finding; never a row.
    pub(super) fn outcome(&self) -> String {
        match &self.error {
            Some((code, _)) => format!("error {code}"),
            None => format!("{} row{}", self.rows.len(), if self.rows.len() == 1 { "" } else { "s" }),
        }
    }

    fn take(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'S' if body.starts_with(b"pgwicket.evidence_id\0") => return,
            b'T' => self.columns = columns(body).unwrap_or_default(),
            b'D' => self.rows.extend(row(body)),
            b'E' => self.error = Some((field(body, b'C'), field(body, b'M'))),
            b'N' => self.notices.push(field(body, b'M')),
            _ => {}
        }
        self.messages.push((tag, body.to_vec()));
    }
}

impl Client {
    /// Connects to pgwicket on this host and logs in.
    pub(super) async fn connect(port: u16, user: &str, password: &Secret) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context("cannot reach the pgwicket that was started")?;
        stream.set_nodelay(true)?;
        let channel = Channel::new(Socket::Tcp(stream));
        let mut client = Self { channel, port, user: user.to_owned(), password: password.clone(), received: 0 };
        timeout(PATIENCE, client.log_in()).await.context("login took too long")??;
        Ok(client)
    }

    /// A statement by the simple protocol. A connection that pgwicket ends is an answer; the next statement has a new one.
    pub(super) async fn ask(&mut self, sql: &str) -> anyhow::Result<Answer> {
        MessageWriter::new(self.channel.outgoing(), b'Q').string(sql).finish();
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut answer = Answer::default();
        let ended = match timeout(PATIENCE, self.receive(&mut answer)).await {
            Ok(ended) => ended.is_err(),
            Err(_elapsed) => true,
        };
        if ended {
            answer.error.get_or_insert_with(|| ("08006".to_owned(), "the connection ended".to_owned()));
            let received = self.received;
            *self = Self::connect(self.port, &self.user.clone(), &self.password.clone()).await?;
            self.received += received;
        }
        Ok(answer)
    }

    /// The same statement by the extended protocol, in one round trip: its rows in text, and again in binary form.
    pub(super) async fn ask_prepared(&mut self, sql: &str) -> anyhow::Result<Prepared> {
        let out = self.channel.outgoing();
        MessageWriter::new(out, b'P').string("").string(sql).int16(0).finish();
        for format in [0, 1] {
            // Portal, statement, no parameters, one format for every column.
            MessageWriter::new(out, b'B').string("").string("").int16(0).int16(0).int16(1).int16(format).finish();
            MessageWriter::new(out, b'D').byte(b'P').string("").finish();
            MessageWriter::new(out, b'E').string("").int32(0).finish();
        }
        MessageWriter::new(out, b'S').finish();
        let answer = self.answer().await?;
        // Each Bind is answered by BindComplete, and the second one's rows are the binary ones.
        let second = answer.messages.iter().enumerate().filter(|(_, (tag, _))| *tag == b'2').nth(1).map(|(at, _)| at);
        let described = |(tag, _): &(u8, Vec<u8>)| *tag == b'D';
        let text = answer.messages.iter().take(second.unwrap_or(usize::MAX)).filter(|message| described(message)).count();
        let binary = answer.rows.len() - text;
        Ok(Prepared { whole: answer, text, binary })
    }

    async fn receive(&mut self, answer: &mut Answer) -> anyhow::Result<()> {
        self.channel.flush().await?;
        loop {
            let (tag, body) = self.message().await?;
            // Data for a COPY is never sent.
            if tag == b'G' {
                MessageWriter::new(self.channel.outgoing(), b'f').string("no data").finish();
                self.channel.flush().await?;
            }
            answer.take(tag, &body);
            if tag == b'Z' {
                return Ok(());
            }
        }
    }

    async fn message(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let Some(head) = self.channel.message(MESSAGE_LIMIT).await? else { bail!("the connection ended") };
        let message = self.channel.incoming().split_to(head.total());
        self.received += message.len() as u64;
        Ok((head.tag, message.get(Header::SIZE..).unwrap_or_default().to_vec()))
    }

    async fn log_in(&mut self) -> anyhow::Result<()> {
        let parameters = format!("user\0{}\0database\0pgwicket\0application_name\0pgwicket prove\0\0", self.user);
        let length = u32::try_from(parameters.len() + 8).context("the agent's name is too long")?;
        let out = self.channel.outgoing();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&[0, 3, 0, 0]);
        out.extend_from_slice(parameters.as_bytes());
        let mut scram = ScramSha256::new(self.password.expose().as_bytes(), ChannelBinding::unsupported());
        loop {
            self.channel.flush().await?;
            let (tag, body) = self.message().await?;
            let (kind, data) = body.split_at_checked(4).unwrap_or_default();
            match (tag, kind) {
                (b'R', [0, 0, 0, 10]) => {
                    let first = scram.message().to_vec();
                    let length = u32::try_from(first.len())?.to_be_bytes();
                    MessageWriter::new(self.channel.outgoing(), b'p').string(SCRAM_SHA_256).bytes(&length).bytes(&first).finish();
                }
                (b'R', [0, 0, 0, 11]) => {
                    scram.update(data)?;
                    MessageWriter::new(self.channel.outgoing(), b'p').bytes(scram.message()).finish();
                }
                (b'R', [0, 0, 0, 12]) => scram.finish(data)?,
                (b'E', _) => bail!("pgwicket refused agent {}: {}", self.user, field(&body, b'M')),
                (b'Z', _) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A field of an ErrorResponse or NoticeResponse.
fn field(body: &[u8], code: u8) -> String {
    let found = body.split(|byte| *byte == 0).find_map(|field| field.split_first().filter(|(first, _)| **first == code));
    found.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

fn columns(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        names.push(String::from_utf8_lossy(rest.get(..end)?).into_owned());
        // table, attribute, type, size, modifier, format
        rest = rest.get(end + 1 + 18..)?;
    }
    Some(names)
}

fn row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_null) => values.push(None),
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length)?;
                values.push(Some(String::from_utf8_lossy(value).into_owned()));
                rest = after;
            }
        }
    }
    Some(values)
}
