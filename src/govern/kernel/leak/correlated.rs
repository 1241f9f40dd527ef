//! Conditions that tie a level to an outer one: `l.part = p.id` in a scalar subquery over `l`.
//!
//! Such a level runs anew for each row of the outer one. Behind a fence it would read all of the tenant's rows each time, so a proven
//! comparison of a stored column with an outer column is copied inside, where it is a condition on an index. Nothing else is: an
//! expression over the outer column may raise, and inside a fence it runs beside rows of everybody.
//!
//! A subquery that PostgreSQL makes a join of (EXISTS, IN, a plain LATERAL) gets no copy: it could no longer be one
//! (`convert_EXISTS_sublink_to_join` wants a FROM that reads nothing from outside).

use pg_query::protobuf::{AExprKind, SubLinkType};

use super::{
    reads::is_aggregate,
    resolve::{Refs, View},
};
use crate::sql::{Misread, Node, Tree};

/// How often a level runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// Once, or as PostgreSQL likes: it may become part of the level around it.
    Once,
    /// Anew for each row of an outer level.
    ForEachRow,
}

/// PostgreSQL runs a scalar subquery for each outer row when it reads one.
pub(super) fn sublink_runs(sublink: &Node) -> Result<Runs, Misread> {
    let kind = sublink.int("sub_link_type")?;
    let scalar = [SubLinkType::ExprSublink, SubLinkType::ArraySublink].iter().any(|known| kind == i64::from(*known as i32));
    Ok(if scalar { Runs::ForEachRow } else { Runs::Once })
}

/// PostgreSQL runs a LATERAL subquery for each row to its left when it cannot flatten it (`is_simple_subquery`).
pub(super) fn lateral_runs(select: &Node) -> Result<Runs, Misread> {
    for limit in ["limit_count", "limit_offset"] {
        if *select.field(limit)? != Tree::Null {
            return Ok(Runs::ForEachRow);
        }
    }
    let mut aggregates = Ok(false);
    select.field("target_list")?.each(&mut |node| {
        if let (Ok(found), "FuncCall") = (&mut aggregates, node.kind) {
            match is_aggregate(node) {
                Ok(is) => *found |= is,
                Err(error) => aggregates = Err(error),
            }
        }
    });
    let groups = aggregates? || !select.list("group_clause")?.is_empty() || !select.list("distinct_clause")?.is_empty();
    Ok(if groups { Runs::ForEachRow } else { Runs::Once })
}

/// The entry of the level's own range table whose column a condition compares with a column of an outer level. The condition is proven: the
/// analysis has looked at both columns, and doubts neither.
pub(super) fn tied(tree: &Tree, view: &View<'_>) -> Result<Option<usize>, Misread> {
    let Some(node) = tree.of_kind("AExpr").filter(|node| node.int("kind") == Ok(i64::from(AExprKind::AexprOp as i32))) else {
        return Ok(None);
    };
    let (Some(left), Some(right)) = (node.field("lexpr")?.of_kind("ColumnRef"), node.field("rexpr")?.of_kind("ColumnRef")) else {
        return Ok(None);
    };
    let (left, right) = (view.resolve(left)?, view.resolve(right)?);
    let own = match (left.outer, right.outer) {
        (false, true) => left,
        (true, false) => right,
        (false, false) | (true, true) => return Ok(None),
    };
    Ok(match own.refs {
        Refs::One(place) => Some(place),
        Refs::None | Refs::Many => None,
    })
}

/// The relation and the column by which a reference to an outer level is written inside the fence of `real`, where PostgreSQL looks for a
/// relation's name first among that table alone, then outwards. `None` where the name would be another's, or there is none.
pub(super) fn outer_name<'v>(node: &Node, view: &'v View<'_>, real: &str) -> Option<[&'v str; 2]> {
    let fields: Vec<&str> = node.list("fields").ok()?.iter().map(Tree::string).collect::<Option<_>>()?;
    let (relation, column) = match fields.as_slice() {
        [column] => (None, *column),
        [relation, column] => (Some(*relation), *column),
        _ => return None,
    };
    let mut nearer: Vec<&str> = vec![real, "pgwicket"];
    let mut level = view;
    loop {
        nearer.extend(level.rtes.iter().filter_map(|rte| rte.name.as_deref()));
        level = level.outer?;
        let mut holding = level.rtes.iter().filter(|rte| relation.is_none_or(|relation| rte.name.as_deref() == Some(relation)));
        let mut found = holding.by_ref().flat_map(|rte| rte.columns.iter().flatten().map(move |known| (rte, known)));
        let mut named = found.by_ref().filter(|(_, known)| *known.name == *column);
        match (named.next(), named.next()) {
            (Some((rte, known)), None) => {
                let name = rte.name.as_deref().filter(|name| !nearer.contains(name))?;
                return Some([name, &known.name]);
            }
            (Some(_), Some(_)) => return None,
            (None, _) => {}
        }
    }
}
