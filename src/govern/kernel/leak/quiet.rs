//! Subqueries in a condition that raise no error of their own.
//!
//! PostgreSQL runs a subquery that reads no outer column once, when the first row reaches it, and counts it as
//! free when it orders the conditions of a scan: `amount = 7777 and id > (select id from documents)` comes before
//! the tenant predicate. "More than one row", a negative LIMIT or a division in the subquery's own select list then
//! tell that somebody's row has that amount, though every row the subquery reads is the agent's. So a subquery in a
//! condition is leakproof only when nothing in it can raise, whatever it reads.

use pg_query::protobuf::{SetOperation, SubLinkType};

use super::{
    expression::Analyzer,
    level::{Ctes, is_star},
    resolve::{Refs, View},
    shapes::{self, Type, Value, leakproof},
};
use crate::{
    policy::ExposedRelation,
    sql::{Misread, Node, Tree},
};

impl Analyzer<'_> {
    /// Whether a subquery in a condition raises nothing but what its own conditions raise, which are looked at apart.
    pub(super) fn is_quiet(&mut self, sublink: &Node, select: &Node) -> Result<bool, Misread> {
        // LIMIT 1 is one row, LIMIT 2 is not: another number is another decision.
        select.each(&mut |node| self.found.looked_at_values |= node.field("limit_count").is_ok_and(|limit| *limit != Tree::Null));
        let scalar = sublink.int("sub_link_type")? == i64::from(SubLinkType::ExprSublink as i32);
        Ok(self.level_is_quiet(select)? && (!scalar || gives_one_row(select)?))
    }

    /// What such an aggregate gives: counting raises nothing, the least and the greatest compare, sums of integers are of a type that holds
    /// more of them than there can be rows (`int4_sum`, `int8_avg_accum`); other sums may overflow.
    pub(super) fn quiet_aggregate(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let tree = Tree::Node(Box::new(node.clone()));
        let name = node.names("funcname")?.last().copied().unwrap_or_default();
        for argument in node.list("args")? {
            let (value, _) = self.expression(argument, view, ctes)?;
            let quiet = match name {
                "count" => true,
                "min" | "max" => leakproof(self.catalog, "<", value, value),
                _ => matches!(value.of, Type::Known(shapes::INT2 | shapes::INT4 | shapes::INT8)),
            };
            if !quiet {
                self.doubt(format!("{name}(…) in a subquery of a condition, over a type that it may fail on"));
            }
        }
        Ok((self.type_only(&tree, view)?, Refs::Many))
    }

    /// Sorting and grouping in a subquery of a condition compare its columns.
    pub(super) fn sorts(&mut self, select: &Node, view: &View<'_>) -> Result<(), Misread> {
        let mut columns = Vec::new();
        for clause in ["distinct_clause", "group_clause", "sort_clause"] {
            select.field(clause)?.each(&mut |node| {
                if node.kind == "ColumnRef" {
                    columns.push(node);
                }
            });
        }
        let by_place = |tree: &Tree| tree.of_kind("AConst").is_some();
        let whole = select.list("distinct_clause")?.contains(&Tree::Null)
            || select.list("group_clause")?.iter().any(by_place)
            || select
                .list("sort_clause")?
                .iter()
                .any(|sort| sort.of_kind("SortBy").is_some_and(|sort| sort.field("node").is_ok_and(by_place)));
        if whole {
            // DISTINCT, and ordinals: every output.
            select.field("target_list")?.each(&mut |node| {
                if node.kind == "ColumnRef" {
                    columns.push(node);
                }
            });
        }
        for column in columns {
            let value = view.resolve(column)?.value;
            if !leakproof(self.catalog, "<", value, value) || !leakproof(self.catalog, "=", value, value) {
                self.doubt("sorting or grouping in a subquery of a condition, by what is not known to compare leakproof");
            }
        }
        Ok(())
    }

    fn level_is_quiet(&self, select: &Node) -> Result<bool, Misread> {
        let absent = ["with_clause", "having_clause"];
        if absent.iter().any(|field| select.field(field) != Ok(Tree::null())) || !select.list("window_clause")?.is_empty() {
            return Ok(false);
        }
        if select.int("op")? != i64::from(SetOperation::SetopNone as i32) || !select.list("values_lists")?.is_empty() {
            return Ok(false);
        }
        for clause in ["distinct_clause", "group_clause"] {
            if !select.list(clause)?.iter().all(is_plain) {
                return Ok(false);
            }
        }
        for sort in select.list("sort_clause")? {
            match sort.of_kind("SortBy") {
                Some(sort) if is_plain(sort.field("node")?) => {}
                Some(_) | None => return Ok(false),
            }
        }
        for limit in ["limit_offset", "limit_count"] {
            let limit = select.field(limit)?;
            if *limit != Tree::Null && count(limit)?.is_none() {
                return Ok(false);
            }
        }
        for target in select.list("target_list")?.iter().filter_map(Tree::as_node) {
            let value = target.field("val")?;
            let aggregate = value.as_node().map_or(Ok(false), is_quiet_aggregate)?;
            if !is_plain(value) && !is_star(value) && !aggregate {
                return Ok(false);
            }
        }
        select.list("from_clause")?.iter().try_fold(true, |quiet, item| Ok(quiet && self.item_is_quiet(item)?))
    }

    /// A relation, a quiet derived table, or a join of these. A CTE may run here for the first time; a function may raise.
    fn item_is_quiet(&self, item: &Tree) -> Result<bool, Misread> {
        let Some(node) = item.as_node() else { return Ok(false) };
        match node.kind {
            "RangeVar" => Ok(match node.location().and_then(|at| self.occurrences.get(&at)) {
                Some((_, Some(relation))) => relation_is_quiet(relation),
                Some((_, None)) => true,
                None => false,
            }),
            "RangeSubselect" => node.node("subquery")?.map_or(Ok(false), |query| self.level_is_quiet(query)),
            "JoinExpr" => Ok(self.item_is_quiet(node.field("larg")?)? && self.item_is_quiet(node.field("rarg")?)?),
            _ => Ok(false),
        }
    }
}

/// Whether reading a relation raises nothing: not its row filter, and not what a view or another server does for it. A view whose
/// conditions are not known to raise nothing has no stored column, and a foreign table has none either.
fn relation_is_quiet(relation: &ExposedRelation) -> bool {
    relation.filter.as_ref().is_none_or(|filter| filter.leakproof) && relation.columns.iter().any(|column| column.stored)
}

/// An aggregate without GROUP BY gives one row, LIMIT 1 at most one; else a second row is an error.
fn gives_one_row(select: &Node) -> Result<bool, Misread> {
    let limited = matches!(count(select.field("limit_count")?)?, Some(0 | 1));
    let mut aggregated = select.list("group_clause")?.is_empty() && !select.list("target_list")?.is_empty();
    for target in select.list("target_list")?.iter().filter_map(Tree::as_node) {
        aggregated &= target.field("val")?.as_node().map_or(Ok(false), is_quiet_aggregate)?;
    }
    Ok(limited || aggregated)
}

/// A column, a constant, or nothing (plain DISTINCT).
fn is_plain(tree: &Tree) -> bool {
    *tree == Tree::Null || (tree.of_kind("ColumnRef").is_some() && !is_star(tree)) || tree.of_kind("AConst").is_some()
}

/// A whole number of rows, not negative.
fn count(tree: &Tree) -> Result<Option<i64>, Misread> {
    let Some(constant) = tree.of_kind("AConst") else { return Ok(None) };
    let value = constant.field("val")?.of_kind("Integer").map(|value| value.int("ival")).transpose()?;
    Ok(value.filter(|rows| *rows >= 0))
}

/// An aggregate of a column that may raise nothing, as the column's type decides ([`Analyzer::quiet_aggregate`]).
pub(super) fn is_quiet_aggregate(node: &Node) -> Result<bool, Misread> {
    if node.kind != "FuncCall" {
        return Ok(false);
    }
    let named = matches!(
        node.names("funcname")?.as_slice(),
        ["count" | "min" | "max" | "sum" | "avg"] | ["pg_catalog", "count" | "min" | "max" | "sum" | "avg"]
    );
    let bare = node.list("agg_order")?.is_empty() && *node.field("agg_filter")? == Tree::Null && *node.field("over")? == Tree::Null;
    Ok(named && bare && node.list("args")?.iter().all(is_plain))
}
