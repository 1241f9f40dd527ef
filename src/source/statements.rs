//! Which prepared statements a connection holds: shared by every client session that uses the connection, bounded,
//! least recently used out first. What scans all of them happens only when a Parse is on its way anyway.
//!
//! A statement is known by all that PostgreSQL reads while it analyses and plans it: the text, the parameter types, the
//! settings at its Parse (which turned its literals into constants), and the settings at its Bind (under which the
//! planner folded what is marked immutable and reads a setting all the same). Settings are compared by their place in
//! memory: a lane keeps one copy of equal ones. And it is known by its description, since the source's schema changes:
//! as long as PostgreSQL runs a statement, the description is that of its Parse.

use std::{
    hash::{Hash, Hasher},
    ptr,
    rc::Rc,
    time::Instant,
};

use hashbrown::{Equivalent, HashMap};

use super::Settings;
use crate::sql::catalog::Oid;

/// Statements a connection holds at most.
const CAPACITY: usize = 512;
/// Bytes of text they have together at most, unless one alone has more: the server keeps several times that.
const TEXT_CAPACITY: usize = 4 * 1024 * 1024;

/// The settings that a statement was analysed and planned under, and what came out.
#[derive(Debug, Clone)]
pub(super) struct Under {
    /// Those at its Parse.
    pub(super) analysed: Rc<Settings>,
    /// Those at its Binds.
    pub(super) planned: Rc<Settings>,
    /// The caller's digest of its description.
    pub(super) described: u64,
}

impl Under {
    /// The same at Parse and Bind.
    pub(super) fn one(settings: &Rc<Settings>) -> Self {
        Self { analysed: Rc::clone(settings), planned: Rc::clone(settings), described: 0 }
    }
}

impl PartialEq for Under {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.analysed, &other.analysed) && Rc::ptr_eq(&self.planned, &other.planned) && self.described == other.described
    }
}

impl Eq for Under {}

impl Hash for Under {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ptr::hash(Rc::as_ptr(&self.analysed), state);
        ptr::hash(Rc::as_ptr(&self.planned), state);
        self.described.hash(state);
    }
}

/// What a statement is known by. It keeps its settings alive, so that no others come to lie in their place.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    text: Box<str>,
    types: Box<[Oid]>,
    under: Under,
}

#[derive(Hash)]
struct KeyRef<'a> {
    text: &'a str,
    types: &'a [Oid],
    under: &'a Under,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.text == *key.text && *self.types == *key.types && *self.under == key.under
    }
}

/// The number in a statement's server-side name; never used twice on a connection.
pub(super) type Number = u64;

#[derive(Debug)]
struct Entry {
    number: Number,
    /// The segment (messages up to a Sync) whose Parse made it, until that Parse is known to have succeeded.
    parsed_in: Option<u64>,
    /// When its Parse was queued.
    parsed_at: Instant,
    used: u64,
}

/// The statements of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    held: HashMap<Key, Entry>,
    text_bytes: usize,
    uses: u64,
    last: Number,
    spared: Number,
}

/// What to queue so that a statement is held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preparation {
    /// Nothing: it is held under this number, or its Parse is queued in this same segment.
    Held(Number),
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
    /// Notes that the statement is needed in `segment`, from a Parse that is not older than `since`.
    pub(super) fn prepare(&mut self, text: &str, types: &[Oid], under: &Under, segment: u64, since: Option<Instant>) -> Preparation {
        self.uses += 1;
        let mut displaced = Vec::new();
        if let Some(entry) = self.held.get_mut(&KeyRef { text, types, under }) {
            entry.used = self.uses;
            // The Parse of an earlier segment may yet be skipped by an error there, and this segment would run
            // without it; so it is parsed anew.
            let is_new = since.is_none_or(|since| entry.parsed_at >= since);
            if is_new && entry.parsed_in.is_none_or(|parsed_in| parsed_in == segment) {
                return Preparation::Held(entry.number);
            }
            let unsure = entry.number;
            displaced.push(unsure);
            self.forget(unsure);
        }
        while (self.held.len() >= CAPACITY || self.text_bytes + text.len() > TEXT_CAPACITY)
            && let Some(oldest) = self.oldest()
        {
            self.forget(oldest);
            displaced.push(oldest);
        }
        self.last += 1;
        self.text_bytes += text.len();
        let entry = Entry { number: self.last, parsed_in: Some(segment), parsed_at: Instant::now(), used: self.uses };
        self.held.insert(Key { text: text.into(), types: types.into(), under: under.clone() }, entry);
        Preparation::Parse { number: self.last, displaced }
    }

    /// This statement is about to be used: what is prepared for its sake does not displace it.
    pub(super) fn spare(&mut self, number: Number) {
        self.spared = number;
    }

    fn oldest(&self) -> Option<Number> {
        let others = self.held.values().filter(|entry| entry.number != self.spared);
        others.min_by_key(|entry| entry.used).map(|entry| entry.number)
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

    /// Forgets all of them: their numbers.
    pub(super) fn forget_all(&mut self) -> Vec<Number> {
        self.text_bytes = 0;
        self.held.drain().map(|(_, entry)| entry.number).collect()
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
            Preparation::Held(_) => panic!("held"),
        }
    }

    fn under() -> Under {
        Under::one(&Rc::default())
    }

    #[test]
    fn a_statement_is_parsed_once_and_known_by_text_and_types() {
        let (mut statements, under) = (Statements::default(), under());
        let first = number(&statements.prepare("select $1", &[23], &under, 0, None));
        assert_eq!(statements.prepare("select $1", &[23], &under, 0, None), Preparation::Held(first));
        assert_ne!(number(&statements.prepare("select $1", &[25], &under, 0, None)), first);
        statements.parsed(first);
        assert_eq!(statements.prepare("select $1", &[23], &under, 9, None), Preparation::Held(first));
    }

    #[test]
    fn a_statement_of_other_settings_is_another() {
        let (mut statements, utc) = (Statements::default(), under());
        let tokyo = under();
        let mixed = Under { analysed: Rc::clone(&utc.analysed), planned: Rc::clone(&tokyo.planned), described: 0 };
        let changed = Under { described: 1, ..utc.clone() };
        let numbers =
            [&utc, &tokyo, &mixed, &changed].map(|under| number(&statements.prepare("select date '01/02/2024'", &[], under, 0, None)));
        assert_eq!(numbers, [1, 2, 3, 4]);
        for (under, number) in [&utc, &tokyo, &mixed, &changed].into_iter().zip(numbers) {
            assert_eq!(statements.prepare("select date '01/02/2024'", &[], under, 0, None), Preparation::Held(number));
        }
    }

    #[test]
    fn what_was_parsed_before_a_moment_is_not_held_after_it() {
        let (mut statements, under) = (Statements::default(), under());
        let first = number(&statements.prepare("select 1", &[], &under, 0, None));
        let since = Some(Instant::now());
        let second = statements.prepare("select 1", &[], &under, 0, since);
        assert_eq!(second, Preparation::Parse { number: first + 1, displaced: vec![first] });
        assert_eq!(statements.prepare("select 1", &[], &under, 0, since), Preparation::Held(first + 1));
        assert_eq!(statements.forget_all(), [first + 1]);
        assert_eq!((statements.len(), statements.text_bytes), (0, 0));
    }

    #[test]
    fn a_parse_of_an_earlier_segment_that_may_yet_be_skipped_is_not_relied_on() {
        let (mut statements, under) = (Statements::default(), under());
        let first = number(&statements.prepare("select 1", &[], &under, 0, None));
        let second = statements.prepare("select 1", &[], &under, 1, None);
        assert_eq!(second, Preparation::Parse { number: first + 1, displaced: vec![first] });
        statements.forget(first);
        let held = Preparation::Held(first + 1);
        assert_eq!(statements.prepare("select 1", &[], &under, 1, None), held, "the older Parse's failure is not the newer one's");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (mut statements, under) = (Statements::default(), under());
        for i in 0..CAPACITY {
            let number = number(&statements.prepare(&format!("select {i}"), &[], &under, 0, None));
            statements.parsed(number);
        }
        assert_eq!(statements.prepare("select 0", &[], &under, 1, None), Preparation::Held(1));
        let new = statements.prepare("select 'new'", &[], &under, 1, None);
        assert_eq!(new, Preparation::Parse { number: CAPACITY as u64 + 1, displaced: vec![2] });
        assert_eq!(statements.len(), CAPACITY);
        let long = "x".repeat(TEXT_CAPACITY);
        let Preparation::Parse { displaced, number } = statements.prepare(&long, &[], &under, 1, None) else { panic!("held") };
        assert_eq!((displaced.len(), statements.len()), (CAPACITY, 1), "long texts displace many");
        assert_eq!(statements.prepare(&long, &[], &under, 1, None), Preparation::Held(number));
    }
}
