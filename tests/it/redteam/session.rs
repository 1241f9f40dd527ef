//! A client that plays a case and keeps every byte, sent and received.

use std::io::ErrorKind;

use super::case::{Case, Protocol};
use crate::support::{Login, Message, Wire};

/// What came back for one message or one script's `read`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// SQLSTATE and message of the first error.
    pub(super) error: Option<(String, String)>,
    /// The connection ended.
    pub(super) closed: bool,
    rows: Vec<Vec<u8>>,
    tags: Vec<String>,
}

/// A connection, and all that went over it since the case began.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    /// Connections that a script has put aside, and their keys.
    aside: Vec<Wire>,
    login: Login,
    sent: Vec<u8>,
    received: Vec<u8>,
    /// The state of the last ReadyForQuery.
    state: u8,
}

impl Answer {
    /// The SQLSTATE, `closed`, or `ok`.
    pub(super) fn outcome(&self) -> &str {
        match &self.error {
            Some((code, _)) => code,
            None if self.closed => "closed",
            None => "ok",
        }
    }

    /// Whether two servers answered the same, row order aside.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        let sorted = |answer: &Self| {
            let mut rows = answer.rows.clone();
            rows.sort();
            rows
        };
        self.outcome() == other.outcome() && self.tags == other.tags && (self.error.is_some() || sorted(self) == sorted(other))
    }
}

impl Session {
    /// A logged-in session.
    pub(super) fn login(login: &Login) -> Self {
        Self::over(login, login.wire().unwrap())
    }

    /// A connection that has said nothing.
    pub(super) fn open(login: &Login) -> Self {
        Self::over(login, Wire::open(login.port).unwrap())
    }

    fn over(login: &Login, wire: Wire) -> Self {
        Self { wire, aside: Vec::new(), login: login.clone(), sent: Vec::new(), received: Vec::new(), state: b'I' }
    }

    /// What was sent since the case began.
    pub(super) fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// What was received since the case began.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Forgets both.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.received.clear();
    }

    /// Sends the case; one answer for each of its steps, or each `read` of its script.
    pub(super) fn play(&mut self, case: &Case) -> Vec<Answer> {
        self.forget();
        match case.protocol {
            Protocol::Simple => case.steps.iter().map(|text| self.simple(text)).collect(),
            Protocol::Extended => case.steps.iter().map(|text| self.extended(text, &case.parameters)).collect(),
            Protocol::Wire => self.script(&case.steps.join("\n")),
        }
    }

    /// Whether the session still answers, outside of a transaction block.
    pub(super) fn works(&mut self) -> bool {
        if self.state != b'I' {
            self.simple("rollback");
        }
        let answer = self.simple("select count(*) from tickets where id = 3");
        self.forget();
        answer.outcome() == "ok" && self.state == b'I'
    }

    /// One Query message.
    pub(super) fn simple(&mut self, text: &str) -> Answer {
        self.send(b'Q', &[text.as_bytes(), b"\0"].concat());
        self.answer()
    }

    /// Parse, Bind for binary results, Describe, Execute, Sync.
    fn extended(&mut self, text: &str, parameters: &[String]) -> Answer {
        self.send(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat());
        let mut bind = b"\0\0\0\0".to_vec();
        bind.extend(u16::try_from(parameters.len()).unwrap().to_be_bytes());
        for parameter in parameters {
            bind.extend(u32::try_from(parameter.len()).unwrap().to_be_bytes());
            bind.extend(parameter.as_bytes());
        }
        bind.extend([0, 1, 0, 1]);
        self.send(b'B', &bind);
        self.send(b'D', b"P\0");
        self.send(b'E', b"\0\0\0\0\0");
        self.send(b'S', b"");
        self.answer()
    }

    /// Plays a script, one line a step (`tests/redteam/README.md`).
    fn script(&mut self, text: &str) -> Vec<Answer> {
        let mut answers = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let line = self.with_keys(line);
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "login" => {
                    let aside = std::mem::take(&mut self.aside);
                    *self = Self { aside, ..Self::login(&self.login) };
                }
                "aside" => {
                    let silent = Wire::open(self.login.port).unwrap();
                    self.aside.push(std::mem::replace(&mut self.wire, silent));
                }
                "back" => self.wire = self.aside.pop().unwrap(),
                "read" => answers.push(self.answer()),
                "byte" => {
                    let byte = self.wire.receive_byte();
                    let outcome = byte.map_or_else(|_| "closed".to_owned(), |byte| char::from(byte).to_string());
                    answers.push(Answer { error: Some((outcome, String::new())), ..Answer::default() });
                }
                "raw" => self.send_raw(&bytes(rest)),
                "start" => {
                    let body = bytes(rest);
                    self.send_raw(&[&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat());
                }
                tag if tag.len() == 1 => self.send(tag.as_bytes()[0], &bytes(rest)),
                other => panic!("no step {other}"),
            }
        }
        answers
    }

    /// `key:N` in a step is the cancel key of the connection put aside as the Nth; `other-secret:N`, `other-process:N` are
    /// that with one half wrong.
    fn with_keys(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (number, wire) in self.aside.iter().enumerate() {
            let Some([process, secret]) = wire.key() else { continue };
            for (name, process, secret) in
                [("key", process, secret), ("other-secret", process, secret ^ 1), ("other-process", process ^ 0x4000, secret)]
            {
                line = line.replace(&format!("{name}:{number}"), &format!("i32:{process} i32:{secret}"));
            }
        }
        line
    }

    fn send(&mut self, tag: u8, body: &[u8]) {
        self.sent.extend(body);
        // A server that has closed already is an answer, read later.
        drop(self.wire.send(tag, body));
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
        drop(self.wire.send_raw(bytes));
    }

    /// Everything up to ReadyForQuery, a request for authentication, or the end.
    fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let message = match self.wire.receive() {
                Ok(message) => message,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    answer.error = Some(("no answer".to_owned(), format!("{error} after {:?}", answer.error)));
                    return answer;
                }
                Err(_) => {
                    answer.closed = true;
                    return answer;
                }
            };
            self.received.push(message.tag);
            self.received.extend(u32::try_from(message.body.len() + 4).unwrap().to_be_bytes());
            self.received.extend(&message.body);
            if self.take(message, &mut answer) {
                return answer;
            }
        }
    }

    fn take(&mut self, message: Message, answer: &mut Answer) -> bool {
        match message.tag {
            b'E' if answer.error.is_none() => {
                answer.error = Some((message.field('C').unwrap_or_default(), message.field('M').unwrap_or_default()));
            }
            b'C' => answer.tags.push(message.strings()[0].clone()),
            b'Z' => {
                self.state = message.body[0];
                return true;
            }
            b'R' => return message.body.starts_with(&[0, 0, 0, 10]) || message.body.starts_with(&[0, 0, 0, 11]),
            b'D' | b'd' => answer.rows.push(message.body),
            _ => {}
        }
        false
    }
}

/// `"text\0"`, `hex:00ff`, `i16:-1`, `i32:7`, `fill:1000:41`, one after another.
fn bytes(parts: &str) -> Vec<u8> {
    let (mut found, mut rest) = (Vec::new(), parts.trim());
    while !rest.is_empty() {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').unwrap();
            found.extend(text.replace("\\0", "\0").replace("\\n", "\n").replace("\\q", "\"").into_bytes());
            rest = after.trim_start();
            continue;
        }
        (part, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = rest.trim_start();
        match part.split_once(':').unwrap() {
            ("hex", digits) => found.extend(hex(digits)),
            ("i16", number) => found.extend(number.parse::<i16>().unwrap().to_be_bytes()),
            ("i32", number) => found.extend(number.parse::<i32>().unwrap().to_be_bytes()),
            ("fill", both) => {
                let (count, byte) = both.split_once(':').unwrap();
                found.extend(std::iter::repeat_n(hex(byte)[0], count.parse().unwrap()));
            }
            (other, _) => panic!("no part {other}"),
        }
    }
    found
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
