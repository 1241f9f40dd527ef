//! What PostgreSQL's own catalog says of built-in types, operators, casts and functions, by major version, and by PostgreSQL's
//! rules which of them an expression means. The facts are answers of real servers (`facts.sql`, `scripts/builtin-facts`).
//! May use: `sql::catalog`. Never: a source.
//! Invariant: what is not in the facts is not resolved, and what is not resolved is the caller's to refuse.

mod extension;
mod resolve;

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

pub use resolve::{Cast, Meant, Types, Unresolved};

use super::catalog::Oid;

/// The type of a literal that has none yet, and of NULL.
pub const UNKNOWN: Oid = 705;
/// `text`
pub const TEXT: Oid = 25;
/// `bool`
pub const BOOL: Oid = 16;

static VERSIONS: LazyLock<BTreeMap<u32, Facts>> = LazyLock::new(|| versions(include_str!("facts.tsv")));
static NONE: LazyLock<Facts> = LazyLock::new(Facts::default);

/// The facts for a `server_version_num`. Of a version that is newer than all that are known, those of the newest.
pub fn facts(server_version: u32) -> &'static Facts {
    let major = server_version / 10_000;
    let known = VERSIONS.range(..=major).next_back().or_else(|| VERSIONS.first_key_value());
    known.map_or(&*NONE, |(_, facts)| facts)
}

/// How an answer depends on more than the arguments (`provolatile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    /// On nothing, PostgreSQL says.
    Immutable,
    /// On settings, the clock or the catalog.
    Stable,
    /// On anything.
    Volatile,
}

/// What is known of one major version.
#[derive(Debug, Default)]
pub struct Facts {
    types: HashMap<Oid, TypeFact>,
    operators: HashMap<&'static str, Vec<Routine>>,
    functions: HashMap<&'static str, Vec<Routine>>,
    casts: HashMap<(Oid, Oid), CastFact>,
}

/// A built-in type.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypeFact {
    pub(super) name: &'static str,
    pub(super) category: char,
    pub(super) preferred: bool,
    /// The element of an array type, else 0.
    pub(super) element: Oid,
    /// The array over it, else 0.
    pub(super) array: Oid,
    /// Of the input function.
    pub(super) reads: Volatility,
}

/// A built-in operator or function. A prefix operator has one argument.
#[derive(Debug)]
pub(super) struct Routine {
    pub(super) arguments: Vec<Oid>,
    pub(super) result: Oid,
    pub(super) volatility: Volatility,
    pub(super) defaults: usize,
    /// What the last argument repeats, 0 when it does not.
    pub(super) variadic: Oid,
}

/// A cast between built-in types.
#[derive(Debug, Clone, Copy)]
pub(super) struct CastFact {
    /// `i` implicit, `a` in assignments, `e` explicit
    pub(super) context: char,
    /// `f` by a function, `b` none needed, `i` by the text form
    pub(super) method: char,
    pub(super) volatility: Volatility,
}

/// Each version's facts; a line out of format leaves everything out, so that nothing is resolved.
fn versions(text: &'static str) -> BTreeMap<u32, Facts> {
    let mut versions = BTreeMap::new();
    for line in text.lines() {
        let Some((first, last, fact)) = header(line) else { return BTreeMap::new() };
        for version in first..=last {
            if versions.entry(version).or_insert_with(Facts::default).add(fact).is_none() {
                return BTreeMap::new();
            }
        }
    }
    versions
}

fn header(line: &'static str) -> Option<(u32, u32, &'static str)> {
    let (versions, fact) = line.split_once('\t')?;
    let (first, last) = versions.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < 100).then_some((first, last, fact))
}

impl Facts {
    fn add(&mut self, fact: &'static str) -> Option<()> {
        let fields: Vec<&'static str> = fact.split('\t').collect();
        match fields.as_slice() {
            ["type", oid, name, category, preferred, _kind, element, array, reads, _writes] => {
                let fact = TypeFact {
                    name,
                    category: one(category)?,
                    preferred: *preferred == "t",
                    element: element.parse().ok()?,
                    array: array.parse().ok()?,
                    reads: volatility(reads)?,
                };
                self.types.insert(oid.parse().ok()?, fact);
            }
            ["operator", name, left, right, result, volatile] => {
                let arguments = [left, right].into_iter().filter(|oid| **oid != "0").map(|oid| oid.parse().ok()).collect::<Option<_>>()?;
                let result = result.parse().ok()?;
                let routine = Routine { arguments, result, volatility: volatility(volatile)?, defaults: 0, variadic: 0 };
                self.operators.entry(name).or_default().push(routine);
            }
            ["cast", source, target, context, method, volatile] => {
                let fact = CastFact { context: one(context)?, method: one(method)?, volatility: volatility(volatile)? };
                self.casts.insert((source.parse().ok()?, target.parse().ok()?), fact);
            }
            ["function", name, arguments, result, volatile, defaults, variadic] => {
                let arguments = arguments.split(',').filter(|oid| *oid != "-").map(|oid| oid.parse().ok()).collect::<Option<_>>()?;
                let (result, defaults, variadic) = (result.parse().ok()?, defaults.parse().ok()?, variadic.parse().ok()?);
                let routine = Routine { arguments, result, volatility: volatility(volatile)?, defaults, variadic };
                self.functions.entry(name).or_default().push(routine);
            }
            _ => return None,
        }
        Some(())
    }

    /// The built-in type of that `typname`.
    pub fn type_named(&self, name: &str) -> Option<Oid> {
        self.types.iter().find(|(_, fact)| fact.name == name).map(|(oid, _)| *oid)
    }

    /// `typname` of a built-in type.
    pub fn type_name(&self, oid: Oid) -> Option<&'static str> {
        self.types.get(&oid).map(|fact| fact.name)
    }
}

fn one(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn volatility(text: &str) -> Option<Volatility> {
    Some(match text {
        "i" => Volatility::Immutable,
        "s" => Volatility::Stable,
        "v" => Volatility::Volatile,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_in_their_format() {
        assert_eq!(VERSIONS.keys().copied().collect::<Vec<_>>(), [15, 16, 17, 18]);
        let fifteen = facts(150_018);
        assert_eq!(fifteen.type_named("timestamptz"), Some(1184));
        assert!(fifteen.operators.len() > 70 && fifteen.functions.len() > 1_600 && fifteen.casts.len() > 200);
        assert!(!fifteen.functions.contains_key("date_add") && facts(160_000).functions.contains_key("date_add"));
        assert!(facts(190_000).functions.contains_key("date_add") && facts(140_000).type_named("text") == Some(TEXT));
        assert!(versions("15-18\tcast\t1\t2\ti\tb\ti\nnonsense").is_empty());
        assert!(versions("15-18\tcast\t1\t2\ti\tb\tx").is_empty());
    }
}
