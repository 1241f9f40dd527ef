//! The SELECT of a draft: pgwicket's own text, parsed, with the client's nodes put into its open places.

use pg_query::{
    DeparseOptions, Node, NodeEnum,
    protobuf::{SelectStmt, WithClause},
};

use super::{Context, unread};
use crate::{
    govern::{Refusal, kernel::identifier},
    policy::ExposedColumn,
    sql,
};

/// A SELECT that pgwicket wrote.
#[expect(clippy::wildcard_enum_match_arm, reason = "anything else is a defect here, and refused")]
pub(super) fn skeleton(text: &str) -> Result<SelectStmt, Refusal> {
    match super::statement(text)? {
        NodeEnum::SelectStmt(select) => Ok(*select),
        _ => Err(unread("the draft is not a SELECT")),
    }
}

/// The text of a SELECT that was put together. What is printed must parse to what was meant: the printer is not trusted.
pub(super) fn print(select: &SelectStmt) -> Result<String, Refusal> {
    let node = NodeEnum::SelectStmt(Box::new(select.clone()));
    let meant = sql::tree(&Node { node: Some(node.clone()) }).ok_or_else(|| unread("the draft has no tree"))?;
    let text = node.deparse(DeparseOptions::default()).map_err(|_unprintable| unread("the draft cannot be printed"))?;
    match sql::parse(&text) {
        Ok(Some(tree)) if tree == meant => Ok(text),
        Ok(_) | Err(_) => Err(unread("the draft is not what was written")),
    }
}

/// Puts `expression` under the cast that is output number `output`.
pub(super) fn fill(select: &mut SelectStmt, output: usize, expression: Node) -> Result<(), Refusal> {
    let target = select.target_list.get_mut(output).and_then(|node| node.node.as_mut());
    let Some(NodeEnum::ResTarget(target)) = target else { return Err(unread("the draft lacks an output")) };
    fill_cast(target.val.as_deref_mut(), expression)
}

/// Puts each expression into the output that has its type.
pub(super) fn fill_types(select: &mut SelectStmt, values: Vec<(usize, Node)>) -> Result<(), Refusal> {
    for (output, value) in values {
        let target = select.target_list.get_mut(output).and_then(|node| node.node.as_mut());
        let Some(NodeEnum::ResTarget(target)) = target else { return Err(unread("the draft lacks an output")) };
        super::assigned::fill_type(target.val.as_deref_mut(), value)?;
    }
    Ok(())
}

/// Puts `expression` under a cast.
pub(super) fn fill_cast(cast: Option<&mut Node>, expression: Node) -> Result<(), Refusal> {
    match cast.and_then(|node| node.node.as_mut()) {
        Some(NodeEnum::TypeCast(cast)) => {
            cast.arg = Some(Box::new(expression));
            Ok(())
        }
        _ => Err(unread("the draft lacks a cast")),
    }
}

/// The client's WITH clause comes first in the SELECT's own.
pub(super) fn with(select: &mut SelectStmt, clause: Option<WithClause>) {
    select.with_clause = clause;
}

impl Context<'_> {
    /// The relation in FROM, under the name the statement gives it. Qualified, so that no CTE is meant.
    pub(super) fn from(&self) -> String {
        let only = if self.only { "ONLY " } else { "" };
        let real = format!("{only}{}.{}", identifier(&self.relation.schema), identifier(&self.relation.name));
        // Without an alias, `schema.relation.column` stays a name for the column.
        if self.aliased { format!("{real} AS {}", identifier(self.name)) } else { real }
    }

    /// A column of the relation.
    pub(super) fn reference(&self, column: &str) -> String {
        format!("{}.{}", identifier(self.name), identifier(column))
    }

    /// An open place for a value of that column.
    pub(super) fn open_place(&self, column: &ExposedColumn) -> Result<String, Refusal> {
        Ok(format!("CAST(NULL AS {})", self.cast(column)?))
    }
}

/// Whether a node is DEFAULT.
pub(super) fn is_default(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::SetToDefault(_)))
}

/// A node of the grammar.
pub(super) fn node(node: NodeEnum) -> Node {
    Node { node: Some(node) }
}
