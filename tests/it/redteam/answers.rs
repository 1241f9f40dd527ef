//! The exact answer to each case that may be answered in several ways: `tests/redteam/answers.txt`, one line a case.
//!
//! What a case expects is a bound: which SQLSTATEs a correct proxy may give. What this one gives is recorded, so that a change
//! of it is looked at. `PGWICKET_RECORD=1 cargo test --test it redteam` writes the file anew, within the bounds.

use std::{collections::BTreeMap, fs};

use super::{
    case::{Case, Expected},
    session::Answer,
};
use crate::support::repository;

const FILE: &str = "tests/redteam/answers.txt";

/// The answers on record, and those of this run.
#[derive(Debug)]
pub(super) struct Answers {
    known: BTreeMap<String, String>,
    seen: BTreeMap<String, String>,
}

impl Answers {
    /// The ones on record; none when a new record is made.
    pub(super) fn read() -> Self {
        let text = if recording() { String::new() } else { fs::read_to_string(repository(FILE)).unwrap_or_default() };
        let known = text.lines().filter_map(|line| line.split_once(" => ")).map(|(case, answer)| (case.to_owned(), answer.to_owned()));
        Self { known: known.collect(), seen: BTreeMap::new() }
    }

    /// What is wrong with the answers to a case, if they are not the ones on record.
    pub(super) fn differ(&mut self, case: &Case, answers: &[Answer]) -> Option<String> {
        let open = case.expected.iter().any(|Expected(outcomes)| outcomes.len() > 1);
        if !open {
            return None;
        }
        let name = format!("{}/{}", case.class, case.id).replace('\n', "¶");
        let given = answers.iter().map(Answer::outcome).collect::<Vec<_>>().join(" ");
        let known = self.known.get(&name).filter(|known| **known != given);
        let finding = known.map(|known| format!("{name}: answers {given}, on record is {known} ({FILE})"));
        self.seen.insert(name, given);
        finding
    }

    /// Writes what was seen when that is asked for; otherwise says which cases have no record, and which records no case.
    pub(super) fn end(&self) -> Vec<String> {
        if recording() {
            let lines: String = self.seen.iter().flat_map(|(case, answer)| [case.as_str(), " => ", answer.as_str(), "\n"]).collect();
            fs::write(repository(FILE), lines).unwrap();
            return Vec::new();
        }
        let lacks = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>, what: &str| -> Vec<String> {
            one.keys().filter(|case| !other.contains_key(*case)).map(|case| format!("{case}: {what} {FILE}")).collect()
        };
        [lacks(&self.seen, &self.known, "has no line in"), lacks(&self.known, &self.seen, "is no case any more, but is in")].concat()
    }
}

fn recording() -> bool {
    std::env::var_os("PGWICKET_RECORD").is_some()
}
