//! A session that asks in every way, and what it received.

use super::cases::Step;
use crate::support::{Login, Message, Wire};

/// An agent's session, and writers beside it.
#[derive(Debug)]
pub(super) struct Client {
    wire: Wire,
    writers: Vec<Wire>,
}

/// What a client received for a case, less what is unique to a statement's run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    messages: Vec<Message>,
    /// What went wrong for a writer beside it.
    pub(super) disturbed: Vec<String>,
}

impl Client {
    /// A session of an agent, and writers of the source's own.
    pub(super) fn start(login: &Login, writers: &[Login]) -> Self {
        Self { wire: login.wire().unwrap(), writers: writers.iter().map(|login| login.wire().unwrap()).collect() }
    }

    /// Plays the steps; a writer's are left out where there are no writers.
    pub(super) fn play(&mut self, steps: &[Step], ordered: bool) -> Answer {
        let mut answer = Answer::default();
        for step in steps {
            match step {
                Step::Simple(text) => answer.take(self.wire.simple(text).unwrap(), ordered),
                Step::Extended(text, values) => {
                    let given: Vec<Option<String>> = values.iter().cloned().map(Some).collect();
                    let messages = [vec![parse("", text, &[])], run_of("", &given)].concat();
                    answer.take(self.extended(&messages), ordered);
                }
                Step::Parse(text, types) => answer.take(self.extended(&[parse(NAMED, text, types)]), ordered),
                Step::Bind(values) => answer.take(self.extended(&run_of(NAMED, values)), ordered),
                Step::Close => answer.take(self.extended(&[(b'C', format!("S{NAMED}\0").into_bytes())]), ordered),
                Step::Writer(number, text) => {
                    if let Some(writer) = self.writers.get_mut(*number) {
                        let messages = writer.simple(text).unwrap();
                        let error = messages.iter().find(|message| message.tag == b'E');
                        answer.disturbed.extend(error.map(|error| format!("{text}: {}", said(error))));
                    }
                }
            }
        }
        // What a case left open.
        self.wire.simple("rollback").unwrap();
        for writer in &mut self.writers {
            writer.simple("rollback").unwrap();
        }
        answer
    }

    /// Messages and Sync; what came back.
    fn extended(&mut self, messages: &[(u8, Vec<u8>)]) -> Vec<Message> {
        for (tag, body) in messages {
            self.wire.send(*tag, body).unwrap();
        }
        self.wire.send(b'S', b"").unwrap();
        self.wire.until_ready().unwrap()
    }

    /// A SET, which a server may refuse.
    pub(super) fn set(&mut self, text: &str) -> bool {
        self.wire.simple(text).unwrap().iter().all(|message| message.tag != b'E')
    }
}

/// What a named statement is called.
const NAMED: &str = "p";

fn parse(name: &str, text: &str, types: &[u32]) -> (u8, Vec<u8>) {
    let count = u16::try_from(types.len()).unwrap().to_be_bytes();
    let types: Vec<u8> = types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
    (b'P', [name.as_bytes(), b"\0", text.as_bytes(), b"\0", &count, &types].concat())
}

/// Bind, Describe and Execute of a statement, as text.
fn run_of(name: &str, values: &[Option<String>]) -> Vec<(u8, Vec<u8>)> {
    let mut bind = [b"\0", name.as_bytes(), b"\0\0\0"].concat();
    bind.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        bind.extend(value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap()).to_be_bytes());
        bind.extend(value.iter().flat_map(|value| value.bytes()));
    }
    bind.extend([0, 0]);
    vec![(b'B', bind), (b'D', b"P\0".to_vec()), (b'E', vec![0; 5])]
}

fn said(error: &Message) -> String {
    format!("{} {}", error.field('C').unwrap_or_default(), error.field('M').unwrap_or_default())
}

impl Answer {
    fn take(&mut self, mut messages: Vec<Message>, ordered: bool) {
        messages.retain(|message| !(message.tag == b'S' && message.strings()[0] == "pgwicket.evidence_id"));
        if messages.iter().any(|message| message.tag == b'E') {
            // How many rows went before an error depends on the plan.
            messages.retain(|message| !matches!(message.tag, b'D' | b'd' | b'H' | b'T'));
        } else if !ordered {
            for tag in [b'D', b'd'] {
                if let Some(first) = messages.iter().position(|message| message.tag == tag) {
                    let rows = messages.iter().filter(|message| message.tag == tag).count();
                    messages[first..first + rows].sort_by(|one, other| one.body.cmp(&other.body));
                }
            }
        }
        self.messages.extend(messages);
    }

    /// SQLSTATE of the first error.
    pub(super) fn code(&self) -> Option<String> {
        self.messages.iter().find(|message| message.tag == b'E').and_then(|error| error.field('C'))
    }

    /// Rows and tags of commands: what must be as a copy has it.
    pub(super) fn results(&self) -> Vec<&Message> {
        self.messages.iter().filter(|message| matches!(message.tag, b'D' | b'd' | b'C')).collect()
    }

    /// Every byte.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.messages.iter().flat_map(|message| message.body.iter().copied().chain([0])).collect()
    }

    /// In a few words.
    pub(super) fn says(&self) -> String {
        let part = |message: &Message| match message.tag {
            b'E' => said(message),
            b'D' => String::from_utf8_lossy(message.body.get(2..).unwrap_or_default()).replace('\0', ""),
            b'd' => String::from_utf8_lossy(&message.body).trim().to_owned(),
            _ => String::new(),
        };
        let parts: Vec<String> = self.messages.iter().map(part).filter(|part| !part.is_empty()).take(6).collect();
        let disturbed = self.disturbed.iter().flat_map(|what| [" (a writer: ", what, ")"]).collect::<String>();
        format!("{}{disturbed}", parts.join(" | "))
    }
}
