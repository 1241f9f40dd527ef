//! Whether a text is a verified one with integers of its WHERE clauses turned into parameters, and nothing else.

use pg_query::protobuf::{AExprKind, BoolExprType};

use crate::sql::{Node, Tree, parse_select};

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A conjunct of a WHERE clause.
    Conjunct,
    /// An operand of a comparison that is one.
    Operand,
    /// Anywhere else: GROUP BY and the select list would no longer match each other.
    Elsewhere,
}

/// Whether `text` is `verified` with each of `values` standing once as the parameter `$first`, `$first + 1`, …
/// where `verified` has that integer, compared with something in a conjunct of a WHERE clause.
pub(in crate::govern) fn is_lifted(verified: &str, text: &str, first: usize, values: &[i64]) -> bool {
    let (Some(verified), Some(text)) = (parse_select(verified), parse_select(text)) else { return false };
    let mut lift = Lift { first, values, seen: vec![false; values.len()] };
    lift.node(&verified, &text, Place::Elsewhere) && lift.seen.iter().all(|seen| *seen)
}

struct Lift<'a> {
    first: usize,
    values: &'a [i64],
    seen: Vec<bool>,
}

impl Lift<'_> {
    fn tree(&mut self, before: &Tree, after: &Tree, place: Place) -> bool {
        match (before, after) {
            (Tree::Node(before), Tree::Node(after)) if place == Place::Operand && before.kind == "AConst" && after.kind == "ParamRef" => {
                self.constant(before, after)
            }
            (Tree::Node(before), Tree::Node(after)) => self.node(before, after, place),
            (Tree::List(before), Tree::List(after)) => {
                before.len() == after.len() && before.iter().zip(after).all(|(before, after)| self.tree(before, after, place))
            }
            (Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) | Tree::Node(_) | Tree::List(_), _) => {
                before == after
            }
        }
    }

    fn node(&mut self, before: &Node, after: &Node, place: Place) -> bool {
        before.kind == after.kind
            && before.fields.len() == after.fields.len()
            && before.fields.iter().zip(&after.fields).all(|((name, before_field), (other, after_field))| {
                name == other && self.tree(before_field, after_field, place_of(before, name, place))
            })
    }

    fn constant(&mut self, before: &Node, after: &Node) -> bool {
        let value = before.node("val").ok().flatten().filter(|value| value.kind == "Integer").and_then(|value| value.int("ival").ok());
        let number =
            after.int("number").ok().and_then(|number| usize::try_from(number).ok()).and_then(|number| number.checked_sub(self.first));
        let Some(place) = number else { return false };
        let fresh = self.seen.get_mut(place).is_some_and(|seen| !std::mem::replace(seen, true));
        fresh && value.is_some() && value == self.values.get(place).copied()
    }
}

fn place_of(node: &Node, field: &str, place: Place) -> Place {
    let and = || node.int("boolop").is_ok_and(|op| op == i64::from(BoolExprType::AndExpr as i32));
    match (node.kind, field) {
        ("SelectStmt", "where_clause") => Place::Conjunct,
        ("BoolExpr", "args") if place == Place::Conjunct && and() => Place::Conjunct,
        ("AExpr", "lexpr" | "rexpr") if place == Place::Conjunct && compares(node) => Place::Operand,
        // Every other field leads elsewhere.
        _ => Place::Elsewhere,
    }
}

fn compares(node: &Node) -> bool {
    let kind = node.int("kind").is_ok_and(|kind| kind == i64::from(AExprKind::AexprOp as i32));
    kind && node.names("name").is_ok_and(|names| matches!(names.as_slice(), ["=" | "<>" | "<" | ">" | "<=" | ">="]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_integers_of_comparisons_in_where_are_lifted() {
        let before = "select 5, id = 5 from t where id = 5 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5";
        let passes = |after: &str, values: &[i64]| is_lifted(before, after, 3, values);
        assert!(passes("select 5, id = 5 from t where id = $3 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[5]));
        assert!(passes("select 5, id = 5 from t where id = $4 and (a < $3 and b + 7 > $5) and (c = 8 or d = 9) limit 5", &[6, 5, 0]));
        for (after, values) in [
            ("select 5, id = 5 from t where id = $3 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[6][..]),
            ("select 5, id = 5 from t where id = $4 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[5]),
            ("select 5, id = 5 from t where id = $3 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[5, 6]),
            ("select $3, id = 5 from t where id = 5 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[5]),
            ("select 5, id = $3 from t where id = 5 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[5]),
            ("select 5, id = 5 from t where id = 5 and (a < 6 and b + $3 > 0) and (c = 8 or d = 9) limit 5", &[7]),
            ("select 5, id = 5 from t where id = 5 and (a < 6 and b + 7 > 0) and (c = $3 or d = 9) limit 5", &[8]),
            ("select 5, id = 5 from t where id = 5 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit $3", &[5]),
            ("select 5, id = 5 from u where id = $3 and (a < 6 and b + 7 > 0) and (c = 8 or d = 9) limit 5", &[5]),
            (before, &[]),
        ] {
            assert_eq!(passes(after, values), after == before, "{after}");
        }
    }
}
