//! The reviewed extensions: what each of them brings, by name and types, in `data/extensions/`.
//!
//! A list is of the extension and not of a server: whether an installed version is the one that was reviewed, and whether its
//! schema holds anything besides, is for [`crate::sql::extensions`] to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// The extensions that were reviewed, by `pg_extension.extname`.
pub const REVIEWED: [&str; 6] = ["citext", "hstore", "ltree", "pg_trgm", "postgis", "vector"];

static LISTS: LazyLock<[ReviewedExtension; 6]> = LazyLock::new(|| {
    [
        include_str!("data/extensions/citext.tsv"),
        include_str!("data/extensions/hstore.tsv"),
        include_str!("data/extensions/ltree.tsv"),
        include_str!("data/extensions/pg_trgm.tsv"),
        include_str!("data/extensions/postgis.tsv"),
        include_str!("data/extensions/vector.tsv"),
    ]
    .map(|text| ReviewedExtension::parse(text).unwrap_or_default())
});

/// An operator or a function by its name and the names of its argument types, with a comma between (`-`: no operand, no argument).
type Signature = (&'static str, &'static str);

/// What an extension brings. A list that does not parse is empty: nothing of that extension is used.
#[derive(Debug, Default)]
pub struct ReviewedExtension {
    types: BTreeSet<&'static str>,
    casts: BTreeSet<Signature>,
    /// `provolatile` of its function, and whether it is leakproof by the list's own argument.
    operators: BTreeMap<Signature, (char, bool)>,
    functions: BTreeMap<Signature, ReviewedFunction>,
}

/// A function of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReviewedFunction {
    /// `provolatile`
    pub volatility: char,
    /// Whether a statement may call it.
    pub allowed: bool,
}

/// The list of an extension.
pub fn reviewed_extension(name: &str) -> Option<&'static ReviewedExtension> {
    REVIEWED.iter().position(|known| *known == name).and_then(|place| LISTS.get(place))
}

/// Whether some reviewed extension has an operator or a function of that name.
pub fn is_extension_name(name: &str) -> bool {
    LISTS.iter().any(|list| list.names_operator(name) || !list.functions_named(name).is_empty())
}

impl ReviewedExtension {
    /// Whether it has that type.
    pub fn has_type(&self, name: &str) -> bool {
        self.types.contains(name)
    }

    /// Whether it has that cast, by `typname`.
    pub fn has_cast(&self, from: &str, to: &str) -> bool {
        self.casts.contains(&(from, to))
    }

    /// An operator's `provolatile`, and whether it is leakproof by our argument.
    pub fn operator(&self, name: &str, operands: &str) -> Option<(char, bool)> {
        self.operators.get(&(name, operands)).copied()
    }

    /// A function by its name and arguments.
    pub fn function(&self, name: &str, arguments: &str) -> Option<ReviewedFunction> {
        self.functions.get(&(name, arguments)).copied()
    }

    /// The functions of a name.
    pub fn functions_named(&self, name: &str) -> Vec<ReviewedFunction> {
        self.functions.range((name, "")..).take_while(|((known, _), _)| *known == name).map(|(_, function)| *function).collect()
    }

    fn names_operator(&self, name: &str) -> bool {
        self.operators.range((name, "")..).next().is_some_and(|((known, _), _)| *known == name)
    }

    /// Nothing when a line is not in the format.
    fn parse(text: &'static str) -> Option<Self> {
        let mut list = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let new = match fields.as_slice() {
                ["type", name] => list.types.insert(name),
                ["cast", from, to] => list.casts.insert((from, to)),
                ["operator", name, operands, volatility, why] if !why.is_empty() => {
                    list.operators.insert((name, operands), (letter(volatility)?, *why != "-")).is_none()
                }
                ["function", name, arguments, volatility, verdict @ ("allow" | "deny")] => {
                    let function = ReviewedFunction { volatility: letter(volatility)?, allowed: *verdict == "allow" };
                    list.functions.insert((name, arguments), function).is_none()
                }
                _ => false,
            };
            if !new {
                return None;
            }
        }
        Some(list)
    }
}

fn letter(volatility: &str) -> Option<char> {
    match volatility {
        "i" => Some('i'),
        "s" => Some('s'),
        "v" => Some('v'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::allow::{FunctionRule, function};

    #[test]
    fn every_list_parses_and_a_line_out_of_format_empties_it() {
        for (name, list) in REVIEWED.iter().zip(LISTS.iter()) {
            assert!(!list.functions.is_empty(), "{name}");
        }
        for text in ["type", "operator\t=\ta,a\ti\t", "operator\t=\ta,a\tx\t-", "function\tf\t-\ti\tmaybe", "type\ta\ntype\ta"] {
            assert!(ReviewedExtension::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_name_is_in_or_out_whatever_its_arguments() {
        for list in LISTS.iter() {
            for (name, _) in list.functions.keys() {
                let verdicts: BTreeSet<bool> = list.functions_named(name).iter().map(|function| function.allowed).collect();
                assert_eq!(verdicts.len(), 1, "{name}");
            }
        }
    }

    #[test]
    fn what_takes_pointers_or_looks_at_tables_is_out() {
        for list in LISTS.iter() {
            for ((name, arguments), function) in &list.functions {
                let inside = arguments.split(',').any(|of| matches!(of, "internal" | "cstring" | "_cstring" | "oid" | "regclass"));
                assert!(!(inside && function.allowed), "{name}({arguments})");
            }
        }
        for (extension, name) in [
            ("pg_trgm", "set_limit"),
            ("postgis", "st_estimatedextent"),
            ("postgis", "st_findextent"),
            ("postgis", "populate_geometry_columns"),
            ("postgis", "postgis_extensions_upgrade"),
            ("postgis", "lockrow"),
            ("postgis", "st_fromflatgeobuftotable"),
            ("vector", "hnswhandler"),
        ] {
            let found = reviewed_extension(extension).unwrap().functions_named(name);
            assert!(!found.is_empty() && found.iter().all(|function| !function.allowed), "{name}");
        }
    }

    #[test]
    fn only_comparisons_are_leakproof() {
        for list in LISTS.iter() {
            for ((name, operands), (_, leakproof)) in &list.operators {
                assert!(!leakproof || matches!(*name, "=" | "<>" | "<" | "<=" | ">" | ">=" | "@>" | "<@"), "{name} {operands}");
            }
        }
    }

    /// A name of both is the built-in list's to decide; what it refuses, no extension lets in.
    #[test]
    fn a_built_in_functions_refusal_stands() {
        let mut shared = BTreeSet::new();
        for list in LISTS.iter() {
            for ((name, _), ours) in &list.functions {
                if matches!(function(name, 1), FunctionRule::Denied(_)) && ours.allowed {
                    shared.insert(*name);
                }
            }
        }
        assert_eq!(shared.into_iter().collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
