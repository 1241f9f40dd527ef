//! What is leakproof beyond `pg_proc.proleakproof`: `data/leakproof.tsv`, one written argument a line.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use crate::sql::catalog::Oid;

/// Stands for every enum type (`anyenum`): both operands of the same enum, or one of them an untyped literal.
pub const ANY_ENUM: Oid = 3500;

/// The built-in types that the file names, with their OIDs (`pg_type.dat`).
const TYPES: &[(&str, Oid)] = &[
    ("int8", 20),
    ("int2", 21),
    ("int4", 23),
    ("text", 25),
    ("float8", 701),
    ("int4[]", 1007),
    ("text[]", 1009),
    ("varchar[]", 1015),
    ("int8[]", 1016),
    ("varchar", 1043),
    ("date", 1082),
    ("timestamp", 1114),
    ("timestamptz", 1184),
    ("numeric", 1700),
    ("uuid[]", 2951),
    ("anyenum", ANY_ENUM),
    ("jsonb", 3802),
];

static LEAKPROOF: LazyLock<Leakproof> = LazyLock::new(|| Leakproof::parse(include_str!("data/leakproof.tsv")).unwrap_or_default());

/// Whether the operator by that name on those types (domains as their base, an enum as [`ANY_ENUM`]) is leakproof
/// by our list. An operand of an untyped literal counts as the type that PostgreSQL gives it: the other one's for
/// comparisons, text for `jsonb -> 'key'`. A nondeterministic collation is the caller's to refuse.
pub fn leakproof_operator(name: &str, left: Oid, right: Oid) -> bool {
    LEAKPROOF.operators.has(name, &[left, right])
}

/// Whether LIKE and its kin are leakproof by our list, given that the right operand is a constant which
/// [`well_formed_pattern`] accepts, there is no ESCAPE, and the left one's collation is deterministic.
pub fn leakproof_pattern(name: &str, left: Oid, right: Oid) -> bool {
    LEAKPROOF.patterns.has(name, &[left, right])
}

/// Whether the function by that name on those types is leakproof by our list.
pub fn leakproof_function(name: &str, arguments: &[Oid]) -> bool {
    LEAKPROOF.functions.has(name, arguments)
}

/// Whether a LIKE pattern does not end in a lone escape, which is an error on the rows it gets to.
pub fn well_formed_pattern(pattern: &str) -> bool {
    pattern.chars().rev().take_while(|c| *c == '\\').count() % 2 == 0
}

#[derive(Debug, Default)]
struct Leakproof {
    operators: Signatures,
    patterns: Signatures,
    functions: Signatures,
}

#[derive(Debug, Default)]
struct Signatures(HashMap<&'static str, HashSet<Vec<Oid>>>);

impl Signatures {
    fn has(&self, name: &str, arguments: &[Oid]) -> bool {
        self.0.get(name).is_some_and(|signatures| signatures.contains(arguments))
    }
}

impl Leakproof {
    /// `None` when a line is not in the format: then nothing is leakproof by our list.
    fn parse(text: &'static str) -> Option<Self> {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut fields = line.split('\t');
            let (kind, name, types, argument) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            if argument.is_empty() || fields.next().is_some() {
                return None;
            }
            let signatures = match kind {
                "operator" => &mut all.operators,
                "pattern" => &mut all.patterns,
                "function" => &mut all.functions,
                _ => return None,
            };
            let oids = types.split(',').map(oid).collect::<Option<Vec<_>>>()?;
            if !signatures.0.entry(name).or_default().insert(oids) {
                return None;
            }
        }
        Some(all)
    }
}

fn oid(name: &str) -> Option<Oid> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Oid = 25;
    const NUMERIC: Oid = 1700;
    const JSONB: Oid = 3802;

    #[test]
    fn the_file_parses_and_a_line_out_of_format_empties_it() {
        assert!(Leakproof::parse(include_str!("data/leakproof.tsv")).is_some());
        for text in
            ["operator\t=\tnumeric,numeric\t", "operator\t=\tnumber\tx", "op\t=\ttext,text\tx", "function\tf\ttext\tx\ty", "function\tf"]
        {
            assert!(Leakproof::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_argued_for_is_leakproof_and_its_neighbours_are_not() {
        assert!(leakproof_operator("=", NUMERIC, NUMERIC));
        assert!(leakproof_operator("=", 23, NUMERIC));
        assert!(leakproof_operator("->>", JSONB, TEXT));
        assert!(leakproof_operator("=", ANY_ENUM, ANY_ENUM));
        assert!(leakproof_function("lower", &[TEXT]));
        assert!(leakproof_pattern("~~", TEXT, TEXT));
        assert!(!leakproof_operator("~~", TEXT, TEXT));
        assert!(!leakproof_operator("<", ANY_ENUM, ANY_ENUM));
        assert!(!leakproof_operator("=", 701, NUMERIC));
        assert!(!leakproof_operator("->>", 114, TEXT));
        assert!(!leakproof_operator("@>", JSONB, JSONB));
        for name in ["+", "-", "*", "/", "||", "~", "~*"] {
            for (left, right) in [(23, 23), (TEXT, TEXT), (NUMERIC, NUMERIC)] {
                assert!(!leakproof_operator(name, left, right), "{name}");
            }
        }
        assert!(!leakproof_function("lower", &[TEXT, TEXT]));
        assert!(!leakproof_function("abs", &[23]));
    }

    #[test]
    fn a_pattern_may_not_end_in_a_lone_escape() {
        for (pattern, good) in
            [("a%", true), ("", true), ("a\\", false), ("a\\\\", true), ("\\\\\\", false), ("\\%", true), ("%\\_x", true)]
        {
            assert_eq!(well_formed_pattern(pattern), good, "{pattern}");
        }
    }
}
