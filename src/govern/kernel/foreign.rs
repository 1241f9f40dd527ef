//! Refuses what would run another type's operator on a column: one of a type that is neither built in nor a reviewed extension's.

use std::collections::BTreeSet;

use super::Refusal;
use crate::{
    govern::RefusalCode,
    policy::{ExposedColumn, ExposedFunction, ExposedRelation, Mask},
    sql::{Tree, catalog::CatalogSnapshot, character, extensions::ForeignType, foreign_use},
};

/// Columns that a refusal names at most.
const SAID: usize = 4;

/// Refuses the first such use. `text` is the client's, `tree` what was read of it.
pub(super) fn refuse<'a>(
    text: &str,
    tree: &Tree,
    relations: impl Iterator<Item = &'a ExposedRelation>,
    functions: &[ExposedFunction],
    catalog: &CatalogSnapshot,
) -> Result<(), Refusal> {
    let mut names: BTreeSet<Box<str>> = BTreeSet::new();
    let mut whose: Vec<(String, ForeignType<'_>)> = Vec::new();
    for function in functions {
        let overloads = catalog.functions.iter().filter(|known| *known.schema == *function.schema && *known.name == *function.name);
        for foreign in overloads.filter_map(|known| catalog.foreign(known.returns)) {
            names.insert(function.name.clone());
            whose.push((format!("function {}.{}", function.schema, function.name), foreign));
        }
    }
    for column in relations.flat_map(|relation| &relation.columns).filter(|column| is_of_its_type(column)) {
        if let Some(foreign) = catalog.foreign(column.type_oid) {
            names.insert(column.name.clone());
            names.extend(catalog.foreign_attributes(column.type_oid));
            whose.push((format!("column \"{}\"", column.name), foreign));
        }
    }
    let Some(found) = foreign_use(tree, names)? else { return Ok(()) };
    let said = whose.iter().take(SAID).map(|(of, foreign)| match foreign.extension {
        Some(extension) => format!("{of} is of extension {extension}, whose operators are not available through this source"),
        None => format!("the type of {of} has operators that were not reviewed"),
    });
    let message = format!("{} is not available here: {}", found.what, said.collect::<Vec<_>>().join("; "));
    let refusal = Refusal::new(RefusalCode::UndefinedFunction, message)
        .detail("another type's operator or function would be run in its place, and answer otherwise")
        .hint("cast to say what is meant, for example column::text = 'x'; or ask who runs this database (docs/EXTENSIONS.md)");
    Err(match found.at {
        Some(byte) => refusal.at(character(text, byte)),
        None => refusal,
    })
}

/// Some masks are text.
fn is_of_its_type(column: &ExposedColumn) -> bool {
    match &column.mask {
        None | Some(Mask::Null | Mask::Constant(_)) => true,
        Some(Mask::Hash(_) | Mask::Last(_)) => false,
    }
}
