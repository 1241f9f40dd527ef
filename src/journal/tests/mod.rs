//! What the journal promises, tried on real files and real processes.

mod processes;
mod reading;
mod recovery;
mod tampering;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Anchor, BoundParameters, Clock, Columns, Decision, JournalConfig, Lane, Outcome, Refused, Report, Route, Status,
    segment::{self, SegmentReader, Step},
    verify,
};
use crate::{
    policy::EvidenceRows,
    types::{Digest, EvidenceId, PolicyEpoch, Principal},
};

/// What `decide` needs to own.
struct Fixture {
    principal: Principal,
    relations: Vec<Box<str>>,
}

impl Fixture {
    fn new() -> Self {
        let principal = Principal {
            agent: "support_agent".parse().unwrap(),
            tenant: Some("acme".parse().unwrap()),
            run: Some("run-7".parse().unwrap()),
            subject: Some("ada@example".into()),
            attributes: vec![("region".into(), "eu".into())],
        };
        Self { principal, relations: vec!["external_support.tickets".into()] }
    }

    fn decision<'a>(&'a self, text: &'a str, governed: &'a str) -> Decision<'a> {
        Decision {
            principal: &self.principal,
            session: "s-1",
            application_name: "psql",
            traceparent: None,
            source: None,
            relations: &self.relations,
            client_text: text.as_bytes(),
            fingerprint: "0123456789abcdef",
            parameters: BoundParameters { types: &[23], formats: &[], values: b"\0\0\0\x0242", redact: false },
            governed_text: Some(governed),
            policy_epoch: PolicyEpoch(3),
            policy_digest: Digest([7; 32]),
            route: Route::Source,
        }
    }

    /// A whole statement with these DataRow messages.
    fn run(&self, lane: &mut Lane, text: &str, rows: &[Vec<u8>], keep: EvidenceRows) -> EvidenceId {
        let ticket = lane.decision(&self.decision(text, &format!("governed {text}"))).unwrap();
        let id = ticket.id();
        let mut recorder = lane.recorder(&ticket, keep);
        for row in rows {
            recorder.record(lane, row, 1).unwrap();
        }
        let description = row_description(&[("id", 23), ("subject", 25)]);
        let columns = Columns { row_description: &description, result_formats: Some(&[]) };
        lane.outcome(ticket, recorder, &Outcome { status: Status::Completed, duration: 812, columns }).unwrap();
        id
    }

    fn refuse(&self, lane: &mut Lane, text: &str) -> EvidenceId {
        let decision = Decision { governed_text: None, ..self.decision(text, "") };
        lane.refusal(&decision, &Refused { sqlstate: "25006", message: "cannot execute UPDATE" }).unwrap().id
    }
}

const FULL: EvidenceRows = EvidenceRows::Full { max_bytes: 1 << 30 };

fn config(directory: &Path) -> JournalConfig {
    JournalConfig { group_commit: Duration::from_millis(20), ..JournalConfig::new(directory) }
}

fn open(directory: &Path) -> Lane {
    Lane::open(&config(directory), 0, Clock::system()).unwrap()
}

fn row_description(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0; 7]);
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&[0; 8]);
    }
    body
}

/// A DataRow message of text values.
fn data_row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            None => body.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }
    let mut message = vec![b'D'];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend(body);
    message
}

fn ticket_row(id: usize) -> Vec<u8> {
    data_row(&[Some(&id.to_string()), Some("printer on fire")])
}

/// Sequence and extent of each entry of a file.
type Extents = Vec<(u64, std::ops::Range<u64>)>;

/// Segment files in order, with the sequence and extent of each entry.
fn layout(directory: &Path) -> Vec<(PathBuf, Extents)> {
    let lane = segment::lane_directory(directory, 0);
    let read = |path: PathBuf| {
        let mut reader = SegmentReader::open(&path).unwrap().unwrap();
        let mut entries = Vec::new();
        while let Step::Entry { offset, entry } = reader.step().unwrap() {
            entries.push((entry.sequence, offset..offset + entry.length as u64));
        }
        (path, entries)
    };
    segment::segments(&lane).unwrap().into_iter().map(|(_, path)| read(path)).collect()
}

fn verified(directory: &Path, anchors: &[Anchor]) -> Report {
    verify(directory, anchors).unwrap()
}

fn assert_clean(directory: &Path) -> Report {
    let report = verified(directory, &[]);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    report
}
