//! Which prepared statements a connection holds, by their text and parameter types: shared by every client
//! session that uses the connection, bounded, least recently used out first. What scans all of them happens only
//! when a Parse is on its way anyway.

use hashbrown::{Equivalent, HashMap};

use crate::sql::catalog::Oid;

/// Statements a connection holds at most.
const CAPACITY: usize = 512;
/// Bytes of text they have together at most, unless one alone has more: the server keeps several times that.
const TEXT_CAPACITY: usize = 4 * 1024 * 1024;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    text: Box<str>,
    types: Box<[Oid]>,
}

#[derive(Hash)]
struct KeyRef<'a> {
    text: &'a str,
    types: &'a [Oid],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.text == *key.text && *self.types == *key.types
    }
}

/// The number in a statement's server-side name; never used twice on a connection.
pub(super) type Number = u64;

#[derive(Debug)]
struct Entry {
    number: Number,
    name: Box<str>,
    /// The segment (messages up to a Sync) whose Parse made it, until that Parse is known to have succeeded.
    parsed_in: Option<u64>,
    used: u64,
}

/// The statements of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    held: HashMap<Key, Entry>,
    text_bytes: usize,
    uses: u64,
    last: Number,
}

/// What to queue so that a statement is held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preparation {
    /// Nothing: it is held, or its Parse is queued in this same segment.
    Held,
    /// A Parse under the name of this number, after a Close of what it displaces.
    Parse {
        /// The new statement.
        number: Number,
        /// The statements to close first.
        displaced: Vec<Number>,
    },
}

/// The server-side name of a statement.
pub(super) fn name(number: Number) -> String {
    format!("p{number}")
}

impl Statements {
    /// Notes that the statement is needed in `segment`.
    pub(super) fn prepare(&mut self, text: &str, types: &[Oid], segment: u64) -> Preparation {
        self.uses += 1;
        let mut displaced = Vec::new();
        if let Some(entry) = self.held.get_mut(&KeyRef { text, types }) {
            entry.used = self.uses;
            // The Parse of an earlier segment may yet be skipped by an error there, and this segment would run
            // without it; so it is parsed anew.
            if entry.parsed_in.is_none_or(|parsed_in| parsed_in == segment) {
                return Preparation::Held;
            }
            let unsure = entry.number;
            displaced.push(unsure);
            self.forget(unsure);
        }
        while (self.held.len() >= CAPACITY || self.text_bytes + text.len() > TEXT_CAPACITY)
            && let Some(oldest) = self.held.values().min_by_key(|entry| entry.used).map(|entry| entry.number)
        {
            self.forget(oldest);
            displaced.push(oldest);
        }
        self.last += 1;
        self.text_bytes += text.len();
        let entry = Entry { number: self.last, name: name(self.last).into(), parsed_in: Some(segment), used: self.uses };
        self.held.insert(Key { text: text.into(), types: types.into() }, entry);
        Preparation::Parse { number: self.last, displaced }
    }

    /// The server-side name of a statement that is held, or will be when what is queued has run.
    pub(super) fn name(&self, text: &str, types: &[Oid]) -> Option<&str> {
        self.held.get(&KeyRef { text, types }).map(|entry| &*entry.name)
    }

    /// The Parse of that number succeeded.
    pub(super) fn parsed(&mut self, number: Number) {
        if let Some(entry) = self.held.values_mut().find(|entry| entry.number == number) {
            entry.parsed_in = None;
        }
    }

    /// The Parse of that number failed, or was skipped.
    pub(super) fn forget(&mut self, number: Number) {
        let mut forgotten = 0;
        self.held.retain(|key, entry| {
            let keep = entry.number != number;
            forgotten += if keep { 0 } else { key.text.len() };
            keep
        });
        self.text_bytes -= forgotten;
    }

    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(preparation: &Preparation) -> Number {
        match preparation {
            Preparation::Parse { number, .. } => *number,
            Preparation::Held => panic!("held"),
        }
    }

    #[test]
    fn a_statement_is_parsed_once_and_known_by_text_and_types() {
        let mut statements = Statements::default();
        let first = number(&statements.prepare("select $1", &[23], 0));
        assert_eq!(statements.prepare("select $1", &[23], 0), Preparation::Held);
        assert_ne!(number(&statements.prepare("select $1", &[25], 0)), first);
        statements.parsed(first);
        assert_eq!(statements.prepare("select $1", &[23], 9), Preparation::Held);
        assert_eq!(statements.name("select $1", &[23]), Some("p1"));
    }

    #[test]
    fn a_parse_of_an_earlier_segment_that_may_yet_be_skipped_is_not_relied_on() {
        let mut statements = Statements::default();
        let first = number(&statements.prepare("select 1", &[], 0));
        let second = statements.prepare("select 1", &[], 1);
        assert_eq!(second, Preparation::Parse { number: first + 1, displaced: vec![first] });
        statements.forget(first);
        assert_eq!(statements.name("select 1", &[]), Some("p2"), "the older Parse's failure is not the newer one's");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut statements = Statements::default();
        for i in 0..CAPACITY {
            let number = number(&statements.prepare(&format!("select {i}"), &[], 0));
            statements.parsed(number);
        }
        assert_eq!(statements.prepare("select 0", &[], 1), Preparation::Held);
        assert_eq!(statements.prepare("select 'new'", &[], 1), Preparation::Parse { number: CAPACITY as u64 + 1, displaced: vec![2] });
        assert_eq!(statements.name("select 1", &[]), None);
        assert_eq!(statements.len(), CAPACITY);
        let long = "x".repeat(TEXT_CAPACITY);
        let Preparation::Parse { displaced, .. } = statements.prepare(&long, &[], 1) else { panic!("held") };
        assert_eq!((displaced.len(), statements.len()), (CAPACITY, 1), "long texts displace many");
        assert_eq!(statements.prepare(&long, &[], 1), Preparation::Held);
    }
}
