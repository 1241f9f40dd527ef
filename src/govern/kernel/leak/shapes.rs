//! Types as far as they are known, and the operators that are leakproof for them.

use super::collation::Collation;
use crate::sql::{
    allow,
    catalog::{CatalogSnapshot, Oid, Operator},
};

/// `bool`, `int8`, `int2`, `int4`, `text`, … in `pg_type`.
pub(super) const BOOL: Oid = 16;
pub(super) const NAME: Oid = 19;
pub(super) const INT8: Oid = 20;
pub(super) const INT2: Oid = 21;
pub(super) const INT4: Oid = 23;
pub(super) const TEXT: Oid = 25;
pub(super) const FLOAT8: Oid = 701;
pub(super) const TEXT_ARRAY: Oid = 1009;
pub(super) const VARCHAR: Oid = 1043;
pub(super) const JSONB: Oid = 3802;
pub(super) const DATE: Oid = 1082;
pub(super) const TIMESTAMP: Oid = 1114;
pub(super) const TIMESTAMPTZ: Oid = 1184;
pub(super) const INTERVAL: Oid = 1186;
pub(super) const NUMERIC: Oid = 1700;
pub(super) const ANYENUM: Oid = 3500;

/// What is known of an expression's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// This type (below every domain).
    Known(Oid),
    /// A quoted literal, NULL, or a parameter without declared type: takes the other operand's type
    /// (func.c, `oper`: an unknown operand is assumed to be of the other's type when such an operator exists).
    Unknown,
    /// Not known.
    Opaque,
}

/// What is known of an expression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    /// Its type.
    pub(super) of: Type,
    /// Its collation.
    pub(super) collation: Collation,
    /// Whether it is computed from a governed column.
    pub(super) governed: bool,
    /// Whether it is a constant when the statement is planned.
    pub(super) folded: bool,
}

impl Value {
    /// A value that nothing is known of.
    pub(super) const OPAQUE: Self = Self { of: Type::Opaque, collation: Collation::Unknown, governed: true, folded: false };

    /// A constant of that type.
    pub(super) fn constant(of: Type) -> Self {
        Self { folded: true, ..Self::computed(of, false) }
    }

    /// What a function gives, with the collation of its type.
    pub(super) fn computed(of: Type, governed: bool) -> Self {
        Self { of, collation: Collation::of_type(of), governed, folded: false }
    }

    /// A truth value.
    pub(super) fn truth(governed: bool) -> Self {
        Self::computed(Type::Known(BOOL), governed)
    }
}

/// Whether `left operator right` is leakproof for every operator that PostgreSQL could resolve it to.
pub(super) fn leakproof(catalog: &CatalogSnapshot, operator: &str, left: Value, right: Value) -> bool {
    if left.collation.and(right.collation) == Collation::Unknown {
        return false;
    }
    let Some((left, right)) = operands(catalog, left, right) else { return false };
    let wanted = Operator { name: operator.to_owned(), left, right };
    catalog.leakproof_operators.contains(&wanted)
        || allow::leakproof_operator(operator, left, right)
        || catalog.extensions.resolution().leakproof(operator, left, right)
}

/// The operand types PostgreSQL resolves to, where that is certain.
fn operands(catalog: &CatalogSnapshot, left: Value, right: Value) -> Option<(Oid, Oid)> {
    match (left.of, right.of) {
        (Type::Known(left_type), Type::Known(right_type)) => {
            let (a, b) = (canonical(catalog, left_type), canonical(catalog, right_type));
            // An integer beside a numeric or a float is cast, which raises on no integer; a constant numeric beside a float is cast as
            // the statement is planned (func.c prefers the operator that needs one cast).
            if widens(b, a, right.folded) {
                return Some((a, a));
            }
            if widens(a, b, left.folded) {
                return Some((b, b));
            }
            Some((a, b))
        }
        (Type::Known(known), Type::Unknown) | (Type::Unknown, Type::Known(known)) => {
            let known = canonical(catalog, known);
            Some((known, known))
        }
        // Two untyped literals are compared as text.
        (Type::Unknown, Type::Unknown) => Some((TEXT, TEXT)),
        (Type::Opaque, _) | (_, Type::Opaque) => None,
    }
}

fn widens(from: Oid, to: Oid, folded: bool) -> bool {
    matches!((from, to), (INT2 | INT4 | INT8, NUMERIC | FLOAT8)) || (folded && (from, to) == (NUMERIC, FLOAT8))
}

/// `varchar` compares as `text` (binary coercible, no function runs); every enum by the `anyenum` operators.
fn canonical(catalog: &CatalogSnapshot, oid: Oid) -> Oid {
    let oid = catalog.base_type(oid);
    match catalog.types.get(&oid) {
        _ if oid == VARCHAR => TEXT,
        Some(known) if known.kind == 'e' => ANYENUM,
        Some(_) | None => oid,
    }
}

/// The type that several branches (CASE, COALESCE) come to, where that is certain and the casts to it raise on no value.
pub(super) fn common(types: impl IntoIterator<Item = Type>) -> Type {
    const WIDER: [Oid; 4] = [INT2, INT4, INT8, NUMERIC];
    let rank = |oid: Oid| WIDER.iter().position(|known| *known == oid);
    types.into_iter().fold(Type::Unknown, |so_far, next| match (so_far, next) {
        (Type::Unknown, other) | (other, Type::Unknown) => other,
        (Type::Known(a), Type::Known(b)) if a == b => so_far,
        (Type::Known(TEXT), Type::Known(VARCHAR)) | (Type::Known(VARCHAR), Type::Known(TEXT)) => Type::Known(TEXT),
        (Type::Known(a), Type::Known(b)) if rank(a).is_some() && rank(b).is_some() => {
            if rank(a) < rank(b) {
                next
            } else {
                so_far
            }
        }
        (Type::Known(_) | Type::Opaque, Type::Known(_) | Type::Opaque) => Type::Opaque,
    })
}

/// The result of arithmetic over no governed column, for the few shapes that stand beside date columns.
pub(super) fn arithmetic(operator: &str, left: Type, right: Type) -> Type {
    use Type::{Known, Opaque, Unknown};
    match (operator, left, right) {
        ("+" | "-", Known(TIMESTAMPTZ), Known(INTERVAL)) => Known(TIMESTAMPTZ),
        ("+" | "-", Known(TIMESTAMP | DATE), Known(INTERVAL)) => Known(TIMESTAMP),
        ("+" | "-", Known(DATE), Known(INT4)) => Known(DATE),
        ("*", Known(INTERVAL), Known(INT4 | FLOAT8)) | ("*", Known(INT4 | FLOAT8), Known(INTERVAL)) => Known(INTERVAL),
        ("+" | "-" | "*" | "/", Known(INT2 | INT4 | INT8 | NUMERIC), Known(NUMERIC))
        | ("+" | "-" | "*" | "/", Known(NUMERIC), Known(INT2 | INT4 | INT8)) => Known(NUMERIC),
        ("+" | "-" | "*" | "/", Known(INT2 | INT4 | INT8 | NUMERIC | FLOAT8), Known(FLOAT8))
        | ("+" | "-" | "*" | "/", Known(FLOAT8), Known(INT2 | INT4 | INT8 | NUMERIC)) => Known(FLOAT8),
        ("+" | "-" | "*" | "/" | "%", Known(INT4), Known(INT4)) => Known(INT4),
        ("+" | "-" | "*" | "/" | "%", Known(INT8), Known(INT4 | INT8)) | ("+" | "-" | "*" | "/" | "%", Known(INT4), Known(INT8)) => {
            Known(INT8)
        }
        ("||", Known(TEXT), Known(TEXT) | Unknown) | ("||", Unknown, Known(TEXT)) => Known(TEXT),
        _ => Opaque,
    }
}

/// What `current_date`, `current_user` and their like give.
pub(super) fn of_keyword(op: i64) -> Type {
    use pg_query::protobuf::SqlValueFunctionOp as Op;
    let names =
        [Op::SvfopCurrentRole, Op::SvfopCurrentUser, Op::SvfopUser, Op::SvfopSessionUser, Op::SvfopCurrentCatalog, Op::SvfopCurrentSchema];
    if names.iter().any(|known| op == i64::from(*known as i32)) { Type::Known(NAME) } else { clock(op) }
}

/// `current_date` and the other SQL clocks.
pub(super) fn clock(op: i64) -> Type {
    use pg_query::protobuf::SqlValueFunctionOp as Op;
    let is = |wanted: Op| op == i64::from(wanted as i32);
    if is(Op::SvfopCurrentDate) {
        Type::Known(DATE)
    } else if is(Op::SvfopCurrentTimestamp) {
        Type::Known(TIMESTAMPTZ)
    } else if is(Op::SvfopLocaltimestamp) {
        Type::Known(TIMESTAMP)
    } else {
        Type::Opaque
    }
}
