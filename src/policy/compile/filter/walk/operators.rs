//! Operators of a filter: which one PostgreSQL takes, whether settings move it, whether it may raise an error.

use super::{BEFORE, Operand, REFUSED, VARCHAR, Value, Walk};
use crate::{
    policy::{
        compile::filter::{
            rewrite::Edit,
            steady::{self, INTERVAL, TIMESTAMPTZ},
        },
        problem::shown,
    },
    sql::{
        Node, allow,
        builtin::{BOOL, Meant, TEXT, UNKNOWN},
        catalog::{Oid, Operator},
    },
};

impl Walk<'_, '_> {
    pub(super) fn operator(&mut self, node: &Node) -> Value {
        let names = node.names("name").unwrap_or_default();
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => return self.other("an operator outside pg_catalog"),
        };
        let kind = node.int("kind").unwrap_or_default();
        if !matches!(kind, 1..=9 | 11..=14) {
            return self.other("`similar to`");
        }
        let of_extension = self.catalog.extensions.resolution().operator(name);
        if of_extension && names.len() > 1 {
            return self.other("an operator with a schema, which an extension has by that name, too");
        }
        if !allow::operator(name) && !of_extension && !matches!(kind, 11..=14) {
            return self.other(&format!("the operator {}", shown(name)));
        }
        let left = self.field(node, "lexpr");
        let place = node.location().and_then(|place| place.checked_sub(BEFORE));
        match kind {
            7 | 11..=14 => {
                let items = self.values(node, "rexpr");
                let Some(left) = left else { return self.other("an empty expression") };
                if kind == 7 { self.one_of(name, &left, &items) } else { self.between(kind, &left, &items) }
            }
            _ => {
                let Some(right) = self.field(node, "rexpr") else { return self.other("an empty expression") };
                match (kind, left) {
                    (1, left) => self.apply(name, left.as_ref(), &right, place),
                    (_, None) => self.other("an empty expression"),
                    (2 | 3, Some(left)) => self.any_of(name, &left, &right),
                    (6, Some(left)) => {
                        let equal = self.apply("=", Some(&left), &right, None);
                        if equal.oid == REFUSED { equal } else { Value { oid: left.oid, leakproof: false, ..equal } }
                    }
                    (8 | 9, Some(left)) => {
                        let matched = self.apply(name, Some(&left), &right, None);
                        let leakproof = leakproof_pattern(name, left.operand, node);
                        matched.leakproof(leakproof)
                    }
                    (_, Some(left)) => {
                        let equal = self.apply("=", Some(&left), &right, None);
                        Value { leakproof: false, ..equal }
                    }
                }
            }
        }
    }

    /// One operator over one or two operands.
    pub(super) fn apply(&mut self, name: &str, left: Option<&Value>, right: &Value, place: Option<usize>) -> Value {
        if right.oid == REFUSED || left.is_some_and(|left| left.oid == REFUSED) {
            return Value::refused();
        }
        let shown = left.map_or(String::new(), |left| format!("{} ", self.type_name(left.oid)));
        let what = format!("`{shown}{name} {}`", self.type_name(right.oid));
        let Ok(meant) = self.types.operator(name, left.map(|left| left.oid), right.oid) else { return self.uncertain(&what) };
        let values: Vec<Value> = left.into_iter().chain([right]).cloned().collect();
        for (value, to) in values.iter().zip(&meant.arguments) {
            self.settle(value, *to);
        }
        let days = matches!((name, meant.arguments.as_slice()), ("+" | "-", [TIMESTAMPTZ, INTERVAL]) | ("+", [INTERVAL, TIMESTAMPTZ]));
        match place.filter(|_| days) {
            // Days and months are as long as the session's zone has them: so they are counted in UTC.
            Some(place) => drop(self.edits.insert(place, Edit::Utc { left: meant.arguments.first() == Some(&TIMESTAMPTZ) })),
            None if !steady::is_steady(self.catalog, name, &meant) => self.moved(&what, steady::advice(name, &meant.arguments)),
            None => {}
        }
        let leakproof = left.is_some_and(|left| self.leakproof(name, left.operand, right.operand));
        let parts: Vec<&Value> = values.iter().collect();
        Value::of(meant.result, &parts).partial(self.is_total(name, &values, &meant)).leakproof(leakproof)
    }

    /// Whether the operator raises no error on any values.
    fn is_total(&self, name: &str, values: &[Value], meant: &Meant) -> bool {
        let known = |oid: Oid| if self.catalog.types.get(&oid).is_some_and(|found| found.kind == 'e') { allow::ANY_ENUM } else { oid };
        let [left, right] = meant.arguments.as_slice() else { return false };
        let (left, right) = (known(*left), known(*right));
        let marked = self.catalog.leakproof_operators.contains(&Operator { name: name.to_owned(), left, right })
            || allow::leakproof_operator(name, left, right);
        // Two columns may have collations that do not go together.
        let collatable = |oid: Oid| matches!(oid, TEXT | 19 | 1042 | VARCHAR);
        let collides = values.iter().all(|value| value.column) && collatable(left) && collatable(right);
        marked && !collides && gentle(values, meant)
    }

    fn any_of(&mut self, name: &str, left: &Value, right: &Value) -> Value {
        if left.oid == REFUSED || right.oid == REFUSED {
            return Value::refused();
        }
        let element = if right.oid == UNKNOWN { Some(UNKNOWN) } else { self.types.element(right.oid) };
        let what = format!("`{} {name} any ({})`", self.type_name(left.oid), self.type_name(right.oid));
        let Some(element) = element else { return self.uncertain(&what) };
        let Ok(meant) = self.types.operator(name, Some(left.oid), element) else { return self.uncertain(&what) };
        let [to, of] = meant.arguments.as_slice() else { return self.uncertain(&what) };
        self.settle(left, *to);
        let Some(array) = self.types.array(*of) else { return self.uncertain(&what) };
        self.settle(right, array);
        if !steady::is_steady(self.catalog, name, &meant) {
            self.moved(&what, steady::advice(name, &meant.arguments));
        }
        let values = [left.clone(), Value { oid: *of, ..right.clone() }];
        Value::of(BOOL, &[left, right]).partial(self.is_total(name, &values, &meant))
    }

    /// IN: constants beside each other become one type, as PostgreSQL has it.
    fn one_of(&mut self, name: &str, left: &Value, items: &[Value]) -> Value {
        let constants: Vec<&Value> = items.iter().filter(|item| !item.column).collect();
        let oids: Vec<Oid> = std::iter::once(left.oid).chain(constants.iter().map(|item| item.oid)).collect();
        let common = if constants.len() > 1 && !oids.contains(&REFUSED) { self.types.common(&oids) } else { None };
        let mut found = Value::of(BOOL, &[left]).leakproof(true);
        found.total = left.total;
        for item in items {
            let one = match common.filter(|_| !item.column) {
                Some(common) if item.oid != common => {
                    self.settle(item, common);
                    let typed = Value { oid: common, literal: None, ..item.clone() };
                    let whole = self.apply(name, Some(left), &typed, None);
                    let leakproof = self.leakproof(name, left.operand, item.operand);
                    Value { leakproof, ..whole }
                }
                Some(_) | None => self.apply(name, Some(left), item, None),
            };
            if one.oid == REFUSED {
                return one;
            }
            found = Value {
                leakproof: found.leakproof && one.leakproof,
                total: found.total && one.total,
                column: found.column || one.column,
                ..found
            };
        }
        found
    }

    fn between(&mut self, kind: i64, left: &Value, items: &[Value]) -> Value {
        let names: &[&str] = match kind {
            11 => &[">=", "<="],
            12 => &["<", ">"],
            _ => &[">=", "<=", "<", ">"],
        };
        let mut found = Value::of(BOOL, &[left]);
        let mut leakproof = true;
        for item in items {
            for name in names {
                let one = self.apply(name, Some(left), item, None);
                if one.oid == REFUSED {
                    return one;
                }
                leakproof &= ["<=", ">=", "<", ">"].iter().all(|name| self.leakproof(name, left.operand, item.operand));
                found = Value { total: found.total && one.total, column: found.column || one.column, ..found };
            }
        }
        Value { leakproof, ..found }
    }

    /// Whether PostgreSQL has a leakproof operator for exactly these types, one side at least a constant.
    fn leakproof(&self, name: &str, left: Operand, right: Operand) -> bool {
        let (left, right) = match (left, right) {
            (Operand::Column(left), Operand::Untyped) => (left, left),
            (Operand::Untyped, Operand::Column(right)) => (right, right),
            (Operand::Column(left), Operand::Typed(right)) | (Operand::Typed(left), Operand::Column(right)) => (left, right),
            (Operand::Column(_) | Operand::Typed(_) | Operand::Untyped | Operand::Other, _) => return false,
        };
        let marked = self.catalog.leakproof_operators.contains(&Operator { name: name.to_owned(), left, right });
        marked || allow::leakproof_operator(name, left, right) || self.catalog.extensions.resolution().leakproof(name, left, right)
    }
}

/// LIKE with a constant pattern that cannot fail on a row.
fn leakproof_pattern(name: &str, left: Operand, node: &Node) -> bool {
    let constant = node.node("rexpr").ok().flatten().filter(|node| node.kind == "AConst");
    let pattern = constant.and_then(|constant| constant.node("val").ok().flatten()).and_then(|value| value.text("sval").ok());
    match (left, pattern) {
        (Operand::Column(left), Some(pattern)) => allow::well_formed_pattern(pattern) && allow::leakproof_pattern(name, left, TEXT),
        (Operand::Column(_) | Operand::Untyped | Operand::Typed(_) | Operand::Other, _) => false,
    }
}

/// Whether the operands become what the routine takes without an error.
pub(super) fn gentle(values: &[Value], meant: &Meant) -> bool {
    values
        .iter()
        .zip(&meant.arguments)
        .all(|(value, to)| value.literal.is_some() || value.oid == UNKNOWN || steady::is_total_cast(value.oid, *to))
}
