//! The least and the greatest of an expression, which PostgreSQL may look for by an index.
//!
//! Without GROUP BY, `min(expression)` becomes `SELECT expression … WHERE expression IS NOT NULL ORDER BY expression LIMIT 1`
//! (planagg.c, `build_minmax_path`). The added condition is the index's own where one index serves the whole relation. Of a partitioned
//! table, an inheritance tree or a UNION ALL one part may have the index and another not: there the condition is a filter, beside the
//! tenant predicate, and the expression runs on rows of everybody. What a relation of the source consists of may change, so it is not
//! asked: the argument is in a qual position.

use super::{expression::Analyzer, level::Ctes, resolve::View};
use crate::sql::{Misread, Node, Tree};

/// The aggregates of `pg_catalog` that have a sort operator (`pg_aggregate.aggsortop`).
const SORTED: &[&str] = &["min", "max", "bool_and", "bool_or", "every"];

impl Analyzer<'_> {
    /// Looks at the arguments of such aggregates at this level.
    pub(super) fn extremes(&mut self, select: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(), Misread> {
        let groups = select.list("group_clause")?;
        // GROUP BY () and its kin group by nothing, as a level without GROUP BY does.
        if !groups.is_empty() && groups.iter().all(|group| group.of_kind("GroupingSet").is_none()) {
            return Ok(());
        }
        for clause in ["target_list", "having_clause", "sort_clause", "distinct_clause"] {
            self.extremes_in(select.field(clause)?, view, ctes)?;
        }
        Ok(())
    }

    fn extremes_in(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(), Misread> {
        match tree {
            // Its levels are looked at by themselves.
            Tree::Node(node) if node.kind == "SubLink" => self.extremes_in(node.field("testexpr")?, view, ctes),
            Tree::Node(node) if node.kind == "FuncCall" && is_sorted(node)? => {
                node.list("args")?.iter().try_for_each(|argument| self.qual(argument, view, ctes).map(|_| ()))
            }
            Tree::Node(node) => node.fields.iter().try_for_each(|(_, field)| self.extremes_in(field, view, ctes)),
            Tree::List(items) => items.iter().try_for_each(|item| self.extremes_in(item, view, ctes)),
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => Ok(()),
        }
    }
}

/// Whether a call may be of an aggregate with a sort operator: one of the list, or one that is not built in. With FILTER, ORDER BY or
/// OVER it is never looked for by an index (`preprocess_minmax_aggregates`).
fn is_sorted(node: &Node) -> Result<bool, Misread> {
    let plain = *node.field("agg_filter")? == Tree::Null && *node.field("over")? == Tree::Null && node.list("agg_order")?.is_empty();
    Ok(plain
        && match node.names("funcname")?.as_slice() {
            [name] | ["pg_catalog", name] => SORTED.contains(name),
            _ => true,
        })
}
