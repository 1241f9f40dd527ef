//! The virtual catalog: what clients ask of it, and that it names nothing but what the policy exposes.

mod around;
mod compare;
mod names;
mod server;
mod types;

use crate::support::{Cluster, Database, Message, Pgwicket, Wire, repository, run};

/// A source in which everything hidden is called canary, and pgwicket in front of it.
pub(super) struct Canary {
    pub(super) pgwicket: Pgwicket,
    pub(super) source: Database,
}

impl Canary {
    pub(super) fn start() -> Self {
        Self::start_with("")
    }

    /// With further fields of its agent.
    pub(super) fn start_with(fields: &str) -> Self {
        let source = Cluster::empty("canary_reader");
        run(source.psql().arg("-q").arg("-f").arg(repository("tests/catalog/canary.sql"))).ok();
        let policy = std::fs::read_to_string(repository("tests/catalog/canary.yaml")).unwrap();
        let policy = policy.replacen("schemas: [public] }", &format!("schemas: [public]{fields} }}"), 1);
        Self { pgwicket: Pgwicket::start_with(&source, &policy), source }
    }

    pub(super) fn wire(&self) -> Wire {
        self.pgwicket.login().wire().unwrap()
    }

    /// Fails when a reply names something hidden: of the source, of the hosts, or of the catalog's own server.
    #[track_caller]
    pub(super) fn check(&self, asked: &str, reply: &[Message]) {
        let hidden = ["canary", self.source.name.as_str(), "pgwicket-it-", "/usr/lib/postgresql", "pgwicket_draft", "pgwicket_catalog_"];
        for message in reply {
            let text = String::from_utf8_lossy(&message.body);
            let found = hidden.iter().find(|hidden| text.contains(**hidden));
            // A client may read its own words in an error.
            assert!(
                found.is_none_or(|found| message.tag == b'E' && asked.contains(*found)),
                "{found:?} in {} {text}\nasked: {asked}",
                char::from(message.tag)
            );
        }
    }
}

/// The error of a reply, as SQLSTATE and message.
pub(super) fn error(reply: &[Message]) -> Option<String> {
    let message = reply.iter().find(|message| message.tag == b'E')?;
    Some(format!("{} {}", message.field('C').unwrap(), message.field('M').unwrap()))
}

/// The rows of a reply in text.
pub(super) fn rows(reply: &[Message]) -> Vec<Vec<Option<String>>> {
    reply.iter().filter(|message| message.tag == b'D').map(|message| row(&message.body)).collect()
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    (0..u16::from_be_bytes([body[0], body[1]]))
        .map(|_| {
            let (length, after) = rest.split_first_chunk::<4>().unwrap();
            let length = i32::from_be_bytes(*length);
            let (value, after) = after.split_at(usize::try_from(length).unwrap_or(0));
            rest = after;
            (length >= 0).then(|| String::from_utf8_lossy(value).into_owned())
        })
        .collect()
}
