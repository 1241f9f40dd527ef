//! What an expression reads: governed rows, groups of rows that passed, or none.

use super::resolve::View;
use crate::{
    govern::kernel::session,
    sql::{Misread, Node, Tree, allow},
};

/// Whether the virtual session answers a call, by a parameter.
pub(super) fn is_answered(names: &[&str], node: &Node) -> bool {
    names.last().is_some_and(|name| session::answers(name, node.list("args").map_or(0, <[Tree]>::len)))
}

/// Whether a call is an aggregate: by its syntax, or by name.
pub(super) fn is_aggregate(node: &Node) -> Result<bool, Misread> {
    let names = node.names("funcname")?;
    let name = names.last().copied().unwrap_or_default();
    let arguments = node.list("args")?.len();
    let by_name = matches!(allow::function(name, arguments), allow::FunctionRule::Allowed(_, allow::Kind::Aggregate));
    Ok(node.flag("agg_star")? || by_name)
}

/// Whether an expression holds an aggregate of this level or a window function: no qual over it goes below them.
pub(super) fn is_over_groups(tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
    let node = match tree {
        Tree::Node(node) => node,
        Tree::List(items) => return any(items.iter(), |item| is_over_groups(item, view)),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => return Ok(false),
    };
    if node.kind == "SubLink" {
        return Ok(false);
    }
    if node.kind == "FuncCall" && (is_aggregate(node)? || node.node("over")?.is_some()) {
        // An aggregate whose arguments are all of an outer level belongs to that level.
        let (mut own, mut misread) = (true, None);
        node.each(&mut |inner| match inner.kind {
            "SubLink" => own = false,
            "ColumnRef" => match view.resolve(inner) {
                // What is not resolved may be of an outer level.
                Ok(found) => own &= found.known && !found.outer,
                Err(error) => misread = Some(error),
            },
            // Only what reads a row says whose aggregate it is.
            _ => {}
        });
        return misread.map_or(Ok(own), Err);
    }
    any(node.fields.iter().map(|(_, field)| field), |field| is_over_groups(field, view))
}

fn any<'t>(trees: impl Iterator<Item = &'t Tree>, mut holds: impl FnMut(&'t Tree) -> Result<bool, Misread>) -> Result<bool, Misread> {
    for tree in trees {
        if holds(tree)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an expression reads nothing but values of rows that passed: aggregates of this level, and columns of what hides no row.
///
/// A subquery is one when `subqueries` says so and what it is compared with is one; its own conditions are looked at apart. Of the
/// grammar's expressions those are named that are nothing but their parts; any other is not known to be.
pub(super) fn is_passed(tree: &Tree, view: &View<'_>, subqueries: bool) -> Result<bool, Misread> {
    let all = |mut trees: std::slice::Iter<'_, Tree>| trees.try_fold(true, |all, tree| Ok(all && is_passed(tree, view, subqueries)?));
    let node = match tree {
        Tree::Node(node) => node,
        Tree::List(items) => return all(items.iter()),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => return Ok(true),
    };
    let parts = |parts: &[&'static str]| {
        parts.iter().try_fold(true, |passed, part| Ok::<_, Misread>(passed && is_passed(node.field(part)?, view, subqueries)?))
    };
    match node.kind {
        "SubLink" => Ok(subqueries && parts(&["testexpr"])?),
        "ColumnRef" => {
            let found = view.resolve(node)?;
            Ok(found.known && !found.value.governed && !found.leaky && !found.computed && !found.outer)
        }
        "FuncCall" if is_aggregate(node)? || node.node("over")?.is_some() => is_over_groups(tree, view),
        "FuncCall" => parts(&["args", "agg_order", "agg_filter"]),
        "AConst" | "ParamRef" | "SqlValueFunction" => Ok(true),
        "AExpr" => parts(&["lexpr", "rexpr"]),
        "BoolExpr" | "CoalesceExpr" | "MinMaxExpr" | "RowExpr" => parts(&["args"]),
        "NullTest" | "BooleanTest" | "TypeCast" | "CollateClause" | "NamedArgExpr" => parts(&["arg"]),
        "AArrayExpr" => parts(&["elements"]),
        "CaseExpr" => parts(&["arg", "args", "defresult"]),
        "CaseWhen" => parts(&["expr", "result"]),
        "AIndirection" => parts(&["arg", "indirection"]),
        "AIndices" => parts(&["lidx", "uidx"]),
        // An expression that is not known may be more than its parts.
        _ => Ok(false),
    }
}

/// Operators that are no equality of any type, nor the negator of one: PostgreSQL makes nothing of them but themselves.
const NO_EQUALITY: &[&str] = &[
    "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "^", "||", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*", "->", "->>", "#>", "#>>",
    "@>", "<@", "&&", "?", "?|", "?&", "@@",
];

/// Whether an expression certainly holds no equality that PostgreSQL could read out of it: no `=` and what is made of one (IN, ANY, rows,
/// DISTINCT FROM, NULLIF, BETWEEN, a CASE with an operand), and no function whose body PostgreSQL could put in its place.
pub(super) fn holds_no_equality(tree: &Tree) -> Result<bool, Misread> {
    let (mut none, mut misread) = (true, None);
    tree.each(&mut |node| {
        let holds = match node.kind {
            "AExpr" => is_no_equality(node),
            "CaseExpr" => node.field("arg").map(|operand| *operand == Tree::Null),
            "ColumnRef" | "ParamRef" | "SqlValueFunction" => Ok(true),
            "FuncCall" => node.names("funcname").map(|names| matches!(names.as_slice(), [_] | ["pg_catalog", _])),
            // What is not known to be nothing but its parts may hold one.
            _ => Ok(node.is_plain()),
        };
        match holds {
            Ok(holds) => none &= holds,
            Err(error) => misread = Some(error),
        }
    });
    misread.map_or(Ok(none), Err)
}

fn is_no_equality(node: &Node) -> Result<bool, Misread> {
    use pg_query::protobuf::AExprKind as Kind;
    let kind = node.int("kind")?;
    let plain = [Kind::AexprOp, Kind::AexprLike, Kind::AexprIlike].iter().any(|known| kind == i64::from(*known as i32));
    Ok(plain && matches!(node.names("name")?.as_slice(), [name] if NO_EQUALITY.contains(name)))
}

/// Whether an expression reads a governed column, here or further out, or a subquery.
pub(super) fn is_governed(tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
    let (mut governed, mut misread) = (false, None);
    tree.each(&mut |node| match node.kind {
        "SubLink" => governed = true,
        "ColumnRef" => match view.resolve(node) {
            Ok(found) => governed |= found.value.governed || found.leaky,
            Err(error) => misread = Some(error),
        },
        _ => {}
    });
    misread.map_or(Ok(governed), Err)
}
