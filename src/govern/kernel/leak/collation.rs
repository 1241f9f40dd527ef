//! Collations of expressions, by PostgreSQL's rules (`parse_collate.c`).
//!
//! A comparison of text whose sides have two collations raises 42P22 when it meets its first row, whoever's that is. So a comparison
//! is leakproof only where the collation that it takes is known.

use super::shapes::Type;
use crate::sql::catalog::Oid;

/// `default` in `pg_collation`: gives way to every other (`merge_collation_state`).
pub(super) const DEFAULT: Oid = 100;

/// `C` in `pg_collation`: the one of `name` and of its arrays (`pg_type.typcollation`), which does not give way.
const C: Oid = 950;
/// `name` and `name[]` in `pg_type`.
const NAMES: [Oid; 2] = [19, 1003];

/// Types without collation: comparisons of these take none (`pg_type.typcollation` is 0). Every other type may have one.
const WITHOUT: &[Oid] = &[
    16, 17, 18, 20, 21, 23, 26, 114, 142, 600, 601, 602, 603, 604, 628, 650, 700, 701, 718, 774, 790, 829, 869, 1000, 1001, 1005, 1007,
    1016, 1021, 1022, 1082, 1083, 1114, 1115, 1182, 1184, 1185, 1186, 1187, 1231, 1266, 1560, 1562, 1700, 2950, 2951, 3614, 3615, 3802,
    3807, 3904, 3906, 3908, 3910, 3912, 3926,
];

/// What is known of an expression's collation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collation {
    /// It has none, and takes what stands beside it.
    None,
    /// This one, by its column or its type, and whether it is deterministic.
    Implicit(Oid, bool),
    /// Two that conflict, or not known.
    Unknown,
}

impl Collation {
    /// The database's own, which is deterministic.
    pub(super) const OWN: Self = Self::Implicit(DEFAULT, true);

    /// Of a column of that type.
    pub(super) fn of_column(of: Type, collation: Option<Oid>, deterministic: bool) -> Self {
        match collation {
            Some(0) => Self::None,
            Some(oid) => Self::Implicit(oid, deterministic),
            None if matches!(of, Type::Known(oid) if WITHOUT.contains(&oid)) => Self::None,
            None => Self::Unknown,
        }
    }

    /// Of a constant, a parameter or the result of a function of that type: its type's own.
    pub(super) fn of_type(of: Type) -> Self {
        match of {
            Type::Known(oid) if NAMES.contains(&oid) => Self::Implicit(C, true),
            Type::Known(oid) if WITHOUT.contains(&oid) || oid >= crate::sql::catalog::FIRST_NORMAL_OID => Self::None,
            Type::Known(_) | Type::Unknown => Self::OWN,
            Type::Opaque => Self::Unknown,
        }
    }

    /// Of an expression over both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::None, known) | (known, Self::None) => known,
            (Self::Implicit(one, _), Self::Implicit(two, _)) if one == two || two == DEFAULT => self,
            (Self::Implicit(DEFAULT, _), Self::Implicit(..)) => other,
            (Self::Implicit(..), Self::Implicit(..)) => Self::Unknown,
        }
    }

    /// Whether it is one under which LIKE raises nothing.
    pub(super) fn is_deterministic(self) -> bool {
        matches!(self, Self::Implicit(_, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_collations_conflict_unless_one_is_the_default() {
        let (c, icu) = (Collation::Implicit(950, true), Collation::Implicit(16_400, true));
        assert_eq!(c.and(icu), Collation::Unknown);
        assert_eq!(c.and(Collation::OWN), c);
        assert_eq!(Collation::OWN.and(icu), icu);
        assert_eq!(c.and(c), c);
        assert_eq!(Collation::None.and(c), c);
        assert_eq!(Collation::Unknown.and(Collation::None), Collation::Unknown);
        assert_eq!(Collation::of_column(Type::Known(25), None, true), Collation::Unknown);
        assert_eq!(Collation::of_column(Type::Known(23), None, true), Collation::None);
        // A `name`, such as current_user, beside a column with a collation of its own.
        assert_eq!(icu.and(Collation::of_type(Type::Known(19))), Collation::Unknown);
        assert_eq!(Collation::OWN.and(Collation::of_type(Type::Known(19))), c);
    }
}
