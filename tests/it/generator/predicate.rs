//! Conditions: leakproof ones, leaky ones, subqueries of every kind.

use super::{Column, Generator, columns::Ty};

impl Generator {
    /// A condition over the scope.
    pub(super) fn predicate(&mut self, scope: &[Column], depth: usize) -> String {
        let (left, right) = (depth + 1, depth + 1);
        match self.structure.below(100) {
            0..15 if depth < 4 => format!("({} and {})", self.predicate(scope, left), self.predicate(scope, right)),
            15..24 if depth < 4 => format!("({} or {})", self.predicate(scope, left), self.predicate(scope, right)),
            24..29 if depth < 4 => format!("not ({})", self.predicate(scope, left)),
            29..41 if depth < 3 && self.size < 7 => self.subquery(scope, depth + 1),
            41..45 => {
                let (value, ty) = self.expression(scope);
                format!("case when {} then {value} else {} end = {}", self.atom(scope), self.constant(ty), self.constant(ty))
            }
            45..48 => self.row_comparison(scope),
            48..52 => self.between_columns(scope),
            _ => self.atom(scope),
        }
    }

    fn atom(&mut self, scope: &[Column]) -> String {
        let (value, ty) = self.expression(scope);
        if ty == Ty::Bool {
            return match self.structure.below(5) {
                0 => format!("({value}) is not true"),
                1 => format!("({value}) = {}", self.constant(ty)),
                _ => format!("({value})"),
            };
        }
        let comparison = *self.structure.pick(&["=", "=", "<>", "<", ">", "<=", ">="]);
        match self.structure.below(12) {
            0 => format!("{value} is not null"),
            1 => format!("{value} is null"),
            2 => format!("{value} in ({}, {}, {})", self.constant(ty), self.constant(ty), self.constant(ty)),
            3 => format!("{value} between {} and {}", self.constant(ty), self.constant(ty)),
            4 => format!("{value} is distinct from {}", self.constant(ty)),
            5 => format!("{value} not in ({}, {})", self.constant(ty), self.constant(ty)),
            6 if ty == Ty::Int => format!("{value} {comparison} any (array[{}, {}])", self.number(), self.constant(ty)),
            6 if ty == Ty::Text => format!("{value} like {}", self.constant(ty)),
            7 => format!("{} {comparison} {value}", self.constant(ty)),
            8 if ty == Ty::Int => format!("{value} = {}.5", self.number()),
            _ => format!("{value} {comparison} {}", self.constant(ty)),
        }
    }

    fn row_comparison(&mut self, scope: &[Column]) -> String {
        let (one, first) = self.expression(scope);
        let (two, second) = self.expression(scope);
        let comparison = *self.structure.pick(&["=", "<", ">=", "<>", "is distinct from"]);
        format!("({one}, {two}) {comparison} ({}, {})", self.constant(first), self.constant(second))
    }

    fn between_columns(&mut self, scope: &[Column]) -> String {
        let (value, ty) = self.expression(scope);
        let other = self.of_type(ty, scope);
        let comparison = *self.structure.pick(&["=", "<", ">=", "<>", "is not distinct from"]);
        format!("{value} {comparison} {other}")
    }

    /// A condition with a subquery, usually correlated.
    fn subquery(&mut self, scope: &[Column], depth: usize) -> String {
        let (value, ty) = self.expression(scope);
        let outer = if self.structure.chance(75) { scope } else { &[] };
        let comparison = *self.structure.pick(&["=", "<", ">=", "<>"]);
        match self.structure.below(10) {
            0 | 1 => format!("exists ({})", self.query(None, outer, depth + 1).text),
            2 => format!("not exists ({})", self.query(None, outer, depth + 1).text),
            3 | 4 => format!("{value} in ({})", self.query(Some(&[ty]), outer, depth + 1).text),
            5 => format!("{value} not in ({})", self.query(Some(&[ty]), outer, depth + 1).text),
            6 => format!("{value} {comparison} any ({})", self.query(Some(&[ty]), outer, depth + 1).text),
            7 => format!("{value} {comparison} all ({})", self.query(Some(&[ty]), outer, depth + 1).text),
            8 => {
                let (other, second) = self.expression(scope);
                format!("({value}, {other}) in ({})", self.query(Some(&[ty, second]), outer, depth + 1).text)
            }
            _ => {
                let scalar = self.scalar(ty, outer, depth);
                format!("{value} {comparison} {scalar}")
            }
        }
    }

    /// A scalar subquery; now and then one that may have two rows.
    pub(super) fn scalar(&mut self, ty: Ty, outer: &[Column], depth: usize) -> String {
        let (from, inner) = self.from(outer, depth + 1);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth + 1);
        let value = self.of_type(ty, &inner);
        if matches!(ty, Ty::Int | Ty::Numeric | Ty::Text | Ty::Date | Ty::Timestamp) && self.structure.chance(60) {
            let aggregate = *self.structure.pick(&["max", "min"]);
            return format!("(select {aggregate}({value}) from {from}{condition})");
        }
        if self.structure.chance(12) {
            let id = inner.first().map_or_else(|| "1".to_owned(), |column| column.text.clone());
            return format!("(select {value} from {from} where {id} = {})", self.constant(Ty::Int));
        }
        let limit = *self.structure.pick(&[" limit 1", " fetch first row only"]);
        format!("(select {value} from {from}{condition} order by 1{limit})")
    }

    /// ` where …`, usually.
    pub(super) fn filter(&mut self, scope: &[Column], depth: usize) -> String {
        if self.structure.chance(75) { format!(" where {}", self.predicate(scope, depth)) } else { String::new() }
    }
}
