//! The reviewed lists: which functions, operators and types of `pg_catalog` a statement may use, and what is
//! leakproof beyond PostgreSQL's own mark. Data files under `data/`, each class with its reason; parsed once.
//! May use: nothing but `std`. Never: the source's catalog, the policy (which may add functions by signature).
//! Invariant: what is on no list is refused; a list that does not parse is empty.
//!
//! Functions have more spellings than a call. PostgreSQL reads `(x).f` and `t.f` as `f(x)` and `f(t)` when no
//! column has that name: `select ('/etc/passwd').pg_read_file` reads a file. So a field selection, and a column
//! reference whose name is not a known column, must pass [`attribute`]. The lists also count on this: no value of
//! a `reg*` type is ever in an expression. An unknown literal beside one (`coalesce(x, 'hidden.table')`) would be
//! looked up in the source's catalog; hence `pg_typeof` is out, and parameters and columns need [`cast_type`] too.

mod catalog;
mod extension;
mod leakproof;
mod list;

use std::sync::LazyLock;

pub use catalog::{catalog_attribute, catalog_function, catalog_relation, catalog_type};
pub use extension::{REVIEWED, ReviewedExtension, ReviewedFunction, is_extension_name, reviewed_extension};
pub use leakproof::{ANY_ENUM, leakproof_function, leakproof_operator, leakproof_pattern, well_formed_pattern};
pub use list::{Class, Kind};
use list::{List, Verdict};

static FUNCTIONS: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("data/functions.txt")).unwrap_or_default());
static OPERATORS: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("data/operators.txt")).unwrap_or_default());
static TYPES: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("data/types.txt")).unwrap_or_default());

static UNKNOWN_TYPE: Class = Class {
    name: "unknown",
    reason: "it is not a built-in type on the reviewed list",
    hint: Some("cast to text or another built-in type"),
    verdict: Verdict::Deny,
    kind: Kind::Normal,
};

/// What is done with a call of a function of `pg_catalog`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionRule {
    /// It may be called.
    Allowed(&'static Class, Kind),
    /// The virtual session answers it, never the source.
    Virtual(&'static Class),
    /// It is refused; the class says why.
    Denied(&'static Class),
    /// It is on no list: refused, unless the policy adds it by schema, name and signature.
    Unknown,
}

/// The rule for a call by that name, unqualified or qualified with `pg_catalog`, as stored (already folded).
pub fn function(name: &str, arguments: usize) -> FunctionRule {
    rule(FUNCTIONS.class(name, Some(arguments)))
}

/// Whether `.name` after an expression, or after a relation that has no such column, may be sent: `Err` when
/// PostgreSQL could read it as a call of a function that is not allowed, or as a cast to a type that is not
/// (`(x).regclass` is `x::regclass`: `FuncNameAsType` in `parse_func.c`).
pub fn attribute(name: &str) -> Result<(), &'static Class> {
    let element = name.strip_prefix('_').unwrap_or(name);
    if let Some(class) = TYPES.class(element, None).filter(|class| class.verdict != Verdict::Allow) {
        return Err(class);
    }
    match function(name, 1) {
        FunctionRule::Allowed(..) | FunctionRule::Unknown => Ok(()),
        FunctionRule::Virtual(class) | FunctionRule::Denied(class) => Err(class),
    }
}

/// Whether a call by that name alone gets past the list, whatever its arguments: another function of that name would be run in its place.
pub fn is_callable(name: &str) -> bool {
    (0..=3).any(|arguments| matches!(function(name, arguments), FunctionRule::Allowed(..) | FunctionRule::Virtual(_)))
}

/// Whether an operator of `pg_catalog` by that name may be used.
pub fn operator(name: &str) -> bool {
    OPERATORS.class(name, None).is_some_and(|class| class.verdict == Verdict::Allow)
}

/// Whether a cast, a column definition list, a RETURNING clause, a parameter or a column may be of the
/// `pg_catalog` type by that `typname`. Array types are as their element type, also spelled `_int4`.
pub fn cast_type(name: &str) -> Result<(), &'static Class> {
    let element = name.strip_prefix('_').unwrap_or(name);
    match TYPES.class(element, None) {
        Some(class) if class.verdict == Verdict::Allow => Ok(()),
        Some(class) => Err(class),
        None => Err(&UNKNOWN_TYPE),
    }
}

fn rule(class: Option<&'static Class>) -> FunctionRule {
    match class {
        None => FunctionRule::Unknown,
        Some(class) => match class.verdict {
            Verdict::Allow => FunctionRule::Allowed(class, class.kind),
            Verdict::Virtual => FunctionRule::Virtual(class),
            Verdict::Deny => FunctionRule::Denied(class),
        },
    }
}

#[cfg(test)]
mod tests;
