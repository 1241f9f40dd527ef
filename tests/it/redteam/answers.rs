//! The exact answer to each case that may be answered in several ways: `tests/redteam/answers.txt`, one line a case.
//!
//! What a case expects is a bound: which SQLSTATEs a correct proxy may give. What this one gives is recorded, so that a change
//! of it is looked at. `PGWICKET_RECORD=1 cargo test --test it redteam` writes the file anew, within the bounds. What another
//! version of PostgreSQL than 15 answers otherwise is in `answers-VERSION.txt`.

use std::{collections::BTreeMap, fs};

use super::{
    case::{Case, Expected},
    session::Answer,
};
use crate::support::repository;

const FILE: &str = "tests/redteam/answers.txt";

/// The version that [`FILE`] speaks of.
const VERSION: u32 = 15;

/// The answers on record, and those of this run.
#[derive(Debug)]
pub(super) struct Answers {
    version: u32,
    known: BTreeMap<String, String>,
    seen: BTreeMap<String, String>,
}

impl Answers {
    /// The ones on record for a major version of PostgreSQL.
    pub(super) fn read(version: u32) -> Self {
        let mut known = read(FILE);
        known.extend(own(version).map(|file| read(&file)).unwrap_or_default());
        Self { version, known, seen: BTreeMap::new() }
    }

    /// What is wrong with the answers to a case, if they are not the ones on record.
    pub(super) fn differ(&mut self, case: &Case, answers: &[Answer]) -> Option<String> {
        let open = case.expected.iter().any(|Expected(outcomes)| outcomes.len() > 1);
        if !open {
            return None;
        }
        let name = format!("{}/{}", case.class, case.id).replace('\n', "¶");
        let given = answers.iter().map(Answer::outcome).collect::<Vec<_>>().join(" ");
        let known = self.known.get(&name).filter(|known| **known != given && !recording());
        let finding = known.map(|known| format!("{name}: answers {given}, on record is {known} ({FILE}, PostgreSQL {})", self.version));
        self.seen.insert(name, given);
        finding
    }

    /// Writes what was seen when that is asked for; otherwise says which cases have no record, and which records no case.
    pub(super) fn end(&self) -> Vec<String> {
        if recording() {
            let usual = if own(self.version).is_some() { read(FILE) } else { BTreeMap::new() };
            let lines = self.seen.iter().filter(|(case, answer)| usual.get(*case) != Some(answer));
            let lines: String = lines.flat_map(|(case, answer)| [case.as_str(), " => ", answer.as_str(), "\n"]).collect();
            fs::write(repository(own(self.version).as_deref().unwrap_or(FILE)), lines).unwrap();
            return Vec::new();
        }
        let lacks = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>, what: &str| -> Vec<String> {
            one.keys().filter(|case| !other.contains_key(*case)).map(|case| format!("{case}: {what} {FILE}")).collect()
        };
        [lacks(&self.seen, &self.known, "has no line in"), lacks(&self.known, &self.seen, "is no case any more, but is in")].concat()
    }
}

/// The file of a version that answers some cases otherwise.
fn own(version: u32) -> Option<String> {
    (version != VERSION).then(|| format!("tests/redteam/answers-{version}.txt"))
}

fn read(file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository(file)).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(" => ")).map(|(case, answer)| (case.to_owned(), answer.to_owned())).collect()
}

fn recording() -> bool {
    std::env::var_os("PGWICKET_RECORD").is_some()
}
