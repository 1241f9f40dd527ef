//! Which names are CTEs where: PostgreSQL's rules, and the one walk that follows them.
//!
//! `WITH` (`parse_cte.c`, `transformWithClause`): without RECURSIVE a CTE sees the ones before it; with
//! RECURSIVE every CTE of the clause sees every other and itself. The body sees all. A nested SELECT
//! sees what encloses it. A CTE hides a relation only where the name is written unqualified
//! (`parse_relation.c`, `parserOpenTable` after `scanNameSpaceForCTE`).

use crate::sql::{Misread, Node, Tree};

/// The CTE names in scope.
#[derive(Debug, Clone, Default)]
pub(in crate::govern) struct Scope {
    names: Vec<Box<str>>,
}

impl Scope {
    /// Whether an unqualified name is a CTE here.
    pub(in crate::govern) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| **known == *name)
    }
}

/// What [`walk`] does at a node: `Ok(Some(tree))` puts that in its place and does not go below it.
pub(in crate::govern) type Visit<'v, E> = dyn FnMut(&Node, &Scope) -> Result<Option<Tree>, E> + 'v;

/// Visits every node with the CTEs in scope there, parents first, and replaces what `visit` says. Every
/// field of every node is walked; a `WITH` clause before the other fields of its SELECT.
pub(in crate::govern) fn walk<E: From<Misread>>(tree: &mut Tree, scope: &Scope, visit: &mut Visit<'_, E>) -> Result<(), E> {
    match tree {
        Tree::List(items) => items.iter_mut().try_for_each(|item| walk(item, scope, visit)),
        Tree::Node(node) => {
            if let Some(replacement) = visit(node, scope)? {
                *tree = replacement;
                return Ok(());
            }
            if node.kind == "SelectStmt" { walk_select(node, scope, visit) } else { walk_fields(node, "", scope, visit) }
        }
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => Ok(()),
    }
}

fn walk_fields<E: From<Misread>>(node: &mut Node, except: &str, scope: &Scope, visit: &mut Visit<'_, E>) -> Result<(), E> {
    node.fields.iter_mut().filter(|(name, _)| *name != except).try_for_each(|(_, field)| walk(field, scope, visit))
}

fn walk_select<E: From<Misread>>(node: &mut Node, outer: &Scope, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let mut inner = outer.clone();
    if let Some(with) = node.node("with_clause")? {
        let recursive = with.flag("recursive")?;
        let names = cte_names(with)?;
        if recursive {
            inner.names.extend(names.iter().cloned());
        }
        let Some(Tree::Node(with)) = node.fields.iter_mut().find(|(name, _)| *name == "with_clause").map(|(_, field)| field) else {
            return Err(Misread { kind: "SelectStmt", field: "with_clause" }.into());
        };
        if let Some(replacement) = visit(with, &inner)? {
            // Nothing replaces a WITH clause; a visitor that wants to is wrong.
            drop(replacement);
            return Err(Misread { kind: "WithClause", field: "ctes" }.into());
        }
        let Some(Tree::List(ctes)) = with.fields.iter_mut().find(|(name, _)| *name == "ctes").map(|(_, field)| field) else {
            return Err(Misread { kind: "WithClause", field: "ctes" }.into());
        };
        for (cte, name) in ctes.iter_mut().zip(names) {
            walk(cte, &inner, visit)?;
            if !recursive {
                inner.names.push(name);
            }
        }
    }
    walk_fields(node, "with_clause", &inner, visit)
}

/// The names a `WITH` clause defines, in order.
pub(in crate::govern) fn cte_names(with: &Node) -> Result<Vec<Box<str>>, Misread> {
    let unread = Misread { kind: "WithClause", field: "ctes" };
    with.list("ctes")?
        .iter()
        .map(|cte| cte.of_kind("CommonTableExpr").ok_or_else(|| unread.clone()).and_then(|cte| cte.text("ctename").map(Into::into)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    /// The base relations a text reads, in the walk's order.
    fn base(text: &str) -> String {
        let mut tree = parse(text).unwrap().unwrap();
        let mut found = Vec::new();
        let mut visit = |node: &Node, scope: &Scope| -> Result<Option<Tree>, Misread> {
            if node.kind == "RangeVar" && (!node.text("schemaname")?.is_empty() || !scope.has(node.text("relname")?)) {
                found.push(node.text("relname")?.to_owned());
            }
            Ok(None)
        };
        walk(&mut tree, &Scope::default(), &mut visit).unwrap();
        found.join(" ")
    }

    #[test]
    fn a_cte_hides_a_relation_exactly_where_postgresql_says() {
        for (text, relations) in [
            ("with t as (select 1) select * from t", ""),
            ("with t as (select * from t) select * from t", "t"),
            ("with recursive t as (select * from t) select * from t", ""),
            ("with a as (select * from b), b as (select * from a) select * from a, b", "b"),
            ("with recursive a as (select * from b), b as (select 1) select * from a", ""),
            ("with t as (select 1) select * from s.t", "t"),
            ("select * from t where x in (with t as (select 1) select * from t)", "t"),
            ("select * from (with t as (select 1) select * from t) x, t", "t"),
            ("with t as (select 1) select (select max(x) from t), y from u join lateral (select * from t) z on true", "u"),
            ("(with t as (select 1) select * from t) union select * from t", "t"),
            ("with t as (select 1) (select * from t) union select * from t", ""),
            ("with t as (with u as (select 1) select * from u) select * from t, u", "u"),
            ("with \"T\" as (select 1) select * from t, \"T\"", "t"),
        ] {
            assert_eq!(base(text), relations, "{text}");
        }
    }
}
