//! A client that shows every message: blocking, plaintext, no cleverness.

use std::{
    io::{self, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

/// A message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// A logged-in connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    /// Of BackendKeyData: process id and secret.
    key: Option<[i32; 2]>,
}

impl Message {
    /// The zero-terminated strings of the body (ParameterStatus, CommandComplete).
    pub(crate) fn strings(&self) -> Vec<String> {
        self.body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    /// A field of an ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, code: char) -> Option<String> {
        self.strings().into_iter().find_map(|field| field.strip_prefix(code).map(str::to_owned))
    }
}

impl Wire {
    /// Connects and says nothing yet.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), key: None })
    }

    /// Connects and logs in by SCRAM-SHA-256.
    pub(crate) fn connect(port: u16, user: &str, password: &str, database: &str) -> io::Result<Self> {
        let mut wire = Self::open(port)?;
        let parameters = format!("user\0{user}\0database\0{database}\0application_name\0wire\0\0");
        let mut startup = vec![0, 3, 0, 0];
        startup.extend(parameters.as_bytes());
        wire.send_untagged(&startup)?;
        wire.authenticate(password)?;
        let greeting = wire.until_ready()?;
        let key = greeting.iter().find(|message| message.tag == b'K').and_then(|message| message.body.split_first_chunk::<4>());
        wire.key = key.and_then(|(id, secret)| Some([i32::from_be_bytes(*id), i32::from_be_bytes(secret.try_into().ok()?)]));
        Ok(wire)
    }

    /// The process id and the secret that cancel what this session runs.
    pub(crate) fn key(&self) -> Option<[i32; 2]> {
        self.key
    }

    /// A simple query: every message up to ReadyForQuery, which is the last.
    pub(crate) fn simple(&mut self, text: &str) -> io::Result<Vec<Message>> {
        self.send(b'Q', format!("{text}\0").as_bytes())?;
        self.until_ready()
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let mut message = vec![tag];
        message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
        self.stream.get_mut().write_all(&message)
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more comes.
    pub(crate) fn stop_sending(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// Receives one byte, as the answer to SSLRequest is.
    pub(crate) fn receive_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Receives one message.
    pub(crate) fn receive(&mut self) -> io::Result<Message> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Message { tag: header[0], body })
    }

    /// Receives one message and hands it on in pieces, its header first, each with the tag; which is the answer too.
    pub(crate) fn receive_in_pieces(&mut self, mut piece: impl FnMut(u8, &[u8])) -> io::Result<u8> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        piece(header[0], &header);
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4;
        let (mut left, mut buffer) = (length, vec![0; 1 << 16]);
        while left > 0 {
            let here = left.min(buffer.len());
            self.stream.read_exact(&mut buffer[..here])?;
            piece(header[0], &buffer[..here]);
            left -= here;
        }
        Ok(header[0])
    }

    /// Receives up to and with ReadyForQuery.
    pub(crate) fn until_ready(&mut self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            let message = self.receive()?;
            let last = message.tag == b'Z';
            messages.push(message);
            if last {
                return Ok(messages);
            }
        }
    }

    pub(crate) fn send_untagged(&mut self, body: &[u8]) -> io::Result<()> {
        let mut message = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        message.extend(body);
        self.stream.get_mut().write_all(&message)
    }

    pub(crate) fn authenticate(&mut self, password: &str) -> io::Result<()> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let message = self.receive()?;
            let kind = message.body.get(..4).map(|kind| kind[3]);
            let data = message.body.get(4..).unwrap_or_default();
            match (message.tag, kind) {
                (b'R', Some(10)) => {
                    let mut first = format!("{SCRAM_SHA_256}\0").into_bytes();
                    first.extend(u32::try_from(scram.message().len()).unwrap().to_be_bytes());
                    first.extend(scram.message());
                    self.send(b'p', &first)?;
                }
                (b'R', Some(11)) => {
                    scram.update(data)?;
                    let answer = scram.message().to_vec();
                    self.send(b'p', &answer)?;
                }
                (b'R', Some(12)) => scram.finish(data)?,
                (b'R', Some(0)) => return Ok(()),
                _ => return Err(io::Error::other(format!("login refused: {}", message.strings().join(" ")))),
            }
        }
    }
}
