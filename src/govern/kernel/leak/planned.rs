//! Whether a statement over parameters answers alike under a generic and a custom plan.
//!
//! PostgreSQL plans a prepared statement for the values of its parameters, or once for all values, whichever costs less
//! (`choose_custom_plan`, plancache.c), and everybody's rows decide the cost. A plan for the values folds what stands over them: `100/$1`
//! raises its error though no row gets there, and what a NULL makes false is not planned, so that what stands beside it raises none. Both
//! kinds of plan answer alike where nothing can raise an error but the outermost select list, GROUP BY and ORDER BY, of parts without a
//! parameter: these run on the same rows either way. Any other statement is planned for its values each time.

use super::{
    expression::Analyzer,
    level::{Ctes, is_star},
    reads::is_answered,
    resolve::View,
    shapes::{self, Type},
};
use crate::sql::{Misread, Node, Tree};

impl Analyzer<'_> {
    /// Looks at what a level computes on rows that passed: its conditions are looked at where they stand.
    pub(super) fn planned(&mut self, select: &Node, view: &View<'_>, ctes: &Ctes, outermost: bool) -> Result<(), Misread> {
        if self.trying || self.found.by_plan {
            return Ok(());
        }
        for field in ["target_list", "distinct_clause", "group_clause", "window_clause", "sort_clause", "limit_offset", "limit_count"] {
            let clause = select.field(field)?;
            let limit = field.starts_with("limit");
            for part in if limit { std::slice::from_ref(clause) } else { clause.items() } {
                if outermost && !holds_parameter(part) {
                    continue;
                }
                self.found.by_plan |= match root(part)? {
                    Some(number) if limit => !self.is_number(number)?,
                    Some(expression) => !self.is_total(expression, view, ctes)?,
                    None => true,
                };
            }
        }
        if !outermost {
            let sorted = self.attempt(|this| this.sorts(select, view))?;
            self.found.by_plan |= !sorted;
        }
        Ok(())
    }

    /// Notes a part of the statement whose errors come by plan, unless it is proven to raise none.
    pub(super) fn planned_part(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(), Misread> {
        if !self.trying && !self.found.by_plan {
            self.found.by_plan = !self.is_total(tree, view, ctes)?;
        }
        Ok(())
    }

    /// Notes what is folded as the statement is planned, where folding may raise an error: in a part that a plan for values leaves out, it
    /// is not folded. A literal with its type is read as the statement is analysed.
    pub(super) fn planned_constant(&mut self, tree: &Tree) -> Result<(), Misread> {
        self.found.by_plan |= !is_literal(tree)?;
        Ok(())
    }

    fn is_total(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<bool, Misread> {
        if *tree == Tree::Null || is_star(tree) {
            return Ok(true);
        }
        self.attempt(|this| this.within((true, false), |this| this.qual(tree, view, ctes)).map(|_| ()))
    }

    /// Whether the analysis goes through without a doubt and without a look at a constant's value; nothing of it stays.
    fn attempt(&mut self, prove: impl FnOnce(&mut Self) -> Result<(), Misread>) -> Result<bool, Misread> {
        let (doubts, raised) = (self.found.doubts.clone(), self.raised);
        let looked = std::mem::replace(&mut self.found.looked_at_values, false);
        let trying = std::mem::replace(&mut self.trying, true);
        let proven = prove(self);
        let total = self.raised == raised && !self.found.looked_at_values;
        (self.found.doubts, self.raised, self.found.looked_at_values, self.trying) = (doubts, raised, looked, trying);
        proven.map(|()| total)
    }

    /// A LIMIT or OFFSET that is read as it stands; a negative one is an error under every plan that runs it.
    fn is_number(&self, tree: &Tree) -> Result<bool, Misread> {
        Ok(match tree {
            Tree::Null => true,
            Tree::Node(node) if node.kind == "AConst" => true,
            Tree::Node(node) if node.kind == "ParamRef" => {
                matches!(self.parameter_type(node.int("number")?), Type::Unknown | Type::Known(shapes::INT2 | shapes::INT4 | shapes::INT8))
            }
            Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => false,
        })
    }
}

/// The expression of a clause's part; `None` for a part that is not read here.
fn root(part: &Tree) -> Result<Option<&Tree>, Misread> {
    Ok(match part.as_node() {
        Some(node) if node.kind == "ResTarget" => Some(node.field("val")?),
        Some(node) if node.kind == "SortBy" => Some(node.field("node")?),
        Some(node) if matches!(node.kind, "GroupingSet" | "WindowDef") => None,
        Some(_) => Some(part),
        // Plain DISTINCT, no LIMIT.
        None => (*part == Tree::Null).then_some(part),
    })
}

/// Whether an expression holds a parameter: the client's own, or a value of the virtual session, which travels as one.
pub(super) fn holds_parameter(tree: &Tree) -> bool {
    let mut holds = false;
    tree.each(&mut |node| {
        holds |= match node.kind {
            "ParamRef" | "SqlValueFunction" => true,
            "FuncCall" => node.names("funcname").map_or(true, |names| is_answered(&names, node)),
            // Its parts are looked at themselves.
            _ => false,
        };
    });
    holds
}

/// A constant, with or without the type that it is read as, or an array of these.
fn is_literal(tree: &Tree) -> Result<bool, Misread> {
    let Some(node) = tree.as_node() else { return Ok(false) };
    match node.kind {
        "AConst" => Ok(true),
        "TypeCast" => {
            let bare = node.node("type_name")?.map_or(Ok(false), |name| name.list("typmods").map(<[Tree]>::is_empty))?;
            let constant = node.field("arg")?.of_kind("AConst");
            let read = constant
                .map_or(Ok(false), |constant| Ok::<_, Misread>(constant.flag("isnull")? || constant.field("val")?.string().is_some()))?;
            Ok(bare && read)
        }
        "AArrayExpr" => node.list("elements")?.iter().try_fold(true, |all, element| Ok(all && is_literal(element)?)),
        _ => Ok(false),
    }
}
