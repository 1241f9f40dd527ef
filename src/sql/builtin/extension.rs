//! Operators and functions of reviewed extensions, by the same rules: PostgreSQL looks through `pg_catalog` and then through the
//! schemas of the extensions.
//!
//! Only for extensions whose types become no other type without being asked to, or where the operands are of exactly the types
//! that the operator is for: then no cast can be what decides.

use super::{Meant, Routine, Types, UNKNOWN, Unresolved, Volatility, resolve::Candidate};
use crate::sql::{
    allow,
    catalog::Oid,
    extensions::{self, Extension},
};

/// Extensions whose types are read and written by functions that read no setting, look nothing up, and say the same always.
const PLAIN: [&str; 3] = ["hstore", "ltree", "vector"];
/// Those of them that have no implicit cast: the lists of `sql::allow` name their casts, all of which are to be asked for.
const WITHOUT_CASTS: [&str; 2] = ["hstore", "ltree"];

impl Types<'_> {
    /// Whether the text of a type's values is the same under all settings, both ways: one of an extension's that is so.
    pub fn is_plain_extension(&self, oid: Oid) -> bool {
        self.extension_of(oid).is_some_and(|extension| PLAIN.contains(&&*extension.name))
    }

    /// The operator, where an operand is of such an extension's type.
    pub(super) fn extension_operator(&self, name: &str, given: &[Oid]) -> Option<Result<Meant, Unresolved>> {
        let known = given.iter().copied().find(|oid| *oid != UNKNOWN)?;
        let extension = self.plain(given)?;
        let built_in = self.facts.operators.get(name).map_or(&[][..], Vec::as_slice);
        let Some(own) = self.routines(extension, name, true) else { return Some(Err(Unresolved::Ambiguous)) };
        let exact: Vec<Oid> = given.iter().map(|oid| if *oid == UNKNOWN { known } else { *oid }).collect();
        // `pg_catalog` is first in the path, but none of it takes exactly these.
        if let Some(routine) = own.iter().find(|routine| routine.arguments == exact) {
            return Some(self.meant(routine, exact.clone(), &exact));
        }
        Some(self.among(extension, built_in.iter().chain(&own), given))
    }

    /// The function, where an argument is of such an extension's type.
    pub(super) fn extension_function(&self, name: &str, given: &[Oid]) -> Option<Result<Meant, Unresolved>> {
        let extension = self.plain(given)?;
        let built_in = self.facts.functions.get(name).map_or(&[][..], Vec::as_slice);
        // Defaults and repeated arguments are not looked at here.
        if built_in.iter().any(|routine| routine.defaults > 0 || routine.variadic != 0) {
            return None;
        }
        let Some(own) = self.routines(extension, name, false) else { return Some(Err(Unresolved::Ambiguous)) };
        if let Some(routine) = own.iter().find(|routine| routine.arguments == given) {
            return Some(self.meant(routine, given.to_vec(), given));
        }
        Some(self.among(extension, built_in.iter().chain(&own), given))
    }

    fn among<'f>(&self, extension: &Extension, routines: impl Iterator<Item = &'f Routine>, given: &[Oid]) -> Result<Meant, Unresolved> {
        if !WITHOUT_CASTS.contains(&&*extension.name) {
            return Err(Unresolved::Ambiguous);
        }
        let of_arity = routines.filter(|routine| routine.arguments.len() == given.len());
        self.choose(of_arity.map(|routine| Candidate { routine, arguments: routine.arguments.clone() }).collect(), given)
    }

    /// The one extension whose types are among these. `None`: there is none, or another one beside it.
    fn plain(&self, given: &[Oid]) -> Option<&Extension> {
        let mut found = given.iter().filter_map(|oid| self.extension_of(*oid));
        let first = found.next()?;
        (PLAIN.contains(&&*first.name) && found.all(|other| other.name == first.name)).then_some(first)
    }

    /// The extension in the sessions' path that has the type, or the element of it.
    fn extension_of(&self, oid: Oid) -> Option<&Extension> {
        let oid = self.element(oid).unwrap_or(oid);
        self.catalog.extensions.resolution().type_of(oid)?;
        self.catalog.extensions.installed.iter().find(|extension| extension.types.contains_key(&oid))
    }

    /// Its operators or functions of a name. `None`: one of them is of a type that is not known here.
    fn routines(&self, extension: &Extension, name: &str, operators: bool) -> Option<Vec<Routine>> {
        let list = allow::reviewed_extension(&extension.name)?;
        let all = if operators { &extension.operators } else { &extension.functions };
        let mut found = Vec::new();
        for routine in all.iter().filter(|routine| routine.name == name) {
            if !operators && list.function(name, &routine.arguments).is_none_or(|known| !known.allowed) {
                return None;
            }
            found.push(self.routine(extension, routine)?);
        }
        Some(found)
    }

    fn routine(&self, extension: &Extension, routine: &extensions::Routine) -> Option<Routine> {
        let arguments = routine.arguments.split(',').filter(|name| *name != "-").map(|name| self.named(extension, name));
        let volatility = match routine.volatility {
            'i' => Volatility::Immutable,
            's' => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        let result = self.named(extension, &routine.result)?;
        Some(Routine { arguments: arguments.collect::<Option<_>>()?, result, volatility, defaults: 0, variadic: 0 })
    }

    /// A type of the extension, of `pg_catalog`, or an array of one, by `typname`.
    fn named(&self, extension: &Extension, name: &str) -> Option<Oid> {
        let own = |name: &str| extension.types.iter().find(|(_, of)| of.name == name);
        let array = || own(name.strip_prefix('_')?).map(|(_, of)| of.array);
        own(name).map(|(oid, _)| *oid).or_else(array).or_else(|| self.facts.type_named(name))
    }
}
