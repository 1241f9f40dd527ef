//! A decision for every text of a shape: the governed text with the literals' places open.
//!
//! Sound because texts of one shape have trees that differ in those constants only (`sql::shape`), the
//! decision looked at none of their values, and the governed text holds each of them once, where the client
//! wrote it. Constants that the grammar or the planner reads as more than a value (ordinals of GROUP BY and
//! ORDER BY, type modifiers) must be the same as when the template was made.
//!
//! Where every open place is an integer compared in a WHERE clause, the integers travel as parameters of type
//! `int4` instead: the comparison resolves to the same operator, and the source parses the text once.

use std::{ops::Range, sync::Arc};

use super::{Appended, AppendedValue, GovernedStatement, kernel, text_search};
use crate::sql::{Literals, Node, Shape, Tree, parse};

/// A governed text with open places.
#[derive(Debug)]
pub struct Template {
    statement: Arc<GovernedStatement>,
    /// Stretches of the governed text, each followed by the slot of that number.
    pieces: Vec<(Box<str>, usize)>,
    tail: Box<str>,
    /// Slots that must hold this text.
    pinned: Vec<(usize, Box<str>)>,
    /// The text with a parameter for each slot that is not pinned, and those slots in order.
    lifted: Option<(Box<str>, Vec<usize>)>,
}

/// `int4` in `pg_type`.
const INT4: u32 = 23;
/// Parameters that a lifted text may have at most; more would weigh more than they save.
const MAX_LIFTED: usize = 16;

impl Template {
    /// A template of the decision on `text`; `None` when another value might be decided otherwise.
    pub fn of(statement: &Arc<GovernedStatement>, text: &str, shape: &Shape) -> Option<Self> {
        let copied_constants = statement.fenced && statement.copies > 0;
        if statement.looked_at_values || copied_constants || shape.slots.is_empty() {
            return None;
        }
        let free = free_constants(text)?;
        let mut pinned = Vec::new();
        for (number, slot) in shape.slots.iter().enumerate() {
            if !free.contains(&slot.start) {
                pinned.push((number, text.get(slot.clone())?.into()));
            }
        }
        let mut pieces = Vec::new();
        let mut written = 0;
        for (number, slot) in shape.slots.iter().enumerate() {
            let at = statement.governed_offset(slot)?;
            pieces.push((statement.text.get(written..at)?.into(), number));
            written = at + slot.len();
        }
        let tail = statement.text.get(written..)?.into();
        let mut template = Self { statement: Arc::clone(statement), pieces, tail, pinned, lifted: None };
        // A statement that tells of its plan gets no parameters that it does not have.
        template.lifted = if statement.by_plan { None } else { template.lift(text, shape) };
        Some(template)
    }

    /// The lifted text, if the verifier passes it as what was decided.
    fn lift(&self, text: &str, shape: &Shape) -> Option<(Box<str>, Vec<usize>)> {
        let pinned = |number: usize| self.pinned.iter().any(|(pinned, _)| *pinned == number);
        let first = self.statement.parameter_types.len() + 1;
        let mut lifted = String::with_capacity(self.statement.text.len());
        let (mut slots, mut values) = (Vec::new(), Vec::new());
        for (piece, number) in &self.pieces {
            let value = text.get(shape.slots.get(*number)?.clone())?;
            lifted.push_str(piece);
            if pinned(*number) {
                lifted.push_str(value);
            } else {
                lifted.push('$');
                lifted.push_str(&(first + slots.len()).to_string());
                slots.push(*number);
                values.push(value.parse::<i64>().ok()?);
            }
        }
        lifted.push_str(&self.tail);
        let passed = !slots.is_empty() && slots.len() <= MAX_LIFTED && kernel::is_lifted(&self.statement.text, &lifted, first, &values);
        passed.then(|| (lifted.into(), slots))
    }

    /// The governed statement for another text of the shape; `None` when a pinned constant differs.
    pub fn fill(&self, text: &str, slots: &[Range<usize>]) -> Option<Arc<GovernedStatement>> {
        let slot = |number: usize| slots.get(number).and_then(|slot| text.get(slot.clone()));
        if slots.len() != self.pieces.len() || self.pinned.iter().any(|(number, wanted)| slot(*number) != Some(&**wanted)) {
            return None;
        }
        if let Some((lifted, numbers)) = &self.lifted {
            let constants = numbers
                .iter()
                .map(|number| slot(*number).map(|value| Appended { type_oid: INT4, value: AppendedValue::Constant(value.into()) }));
            let constants = constants.collect::<Option<Vec<_>>>()?;
            return Some(Arc::new(self.statement.with_constants(lifted.clone(), constants.into_iter())));
        }
        let mut filled = self.statement.with_text("".into());
        let mut governed = String::with_capacity(self.statement.text.len() + 32);
        for (piece, number) in &self.pieces {
            governed.push_str(piece);
            let value = slot(*number)?;
            governed.push_str(value);
            if value.starts_with('\'') {
                filled.literals = filled.literals.max(Literals::of_text(value));
            }
        }
        governed.push_str(&self.tail);
        filled.text = governed.into();
        Some(Arc::new(filled))
    }
}

/// Byte offsets of the constants that are values and nothing more.
fn free_constants(text: &str) -> Option<Vec<usize>> {
    let tree = parse(text).ok()??;
    let mut free = Vec::new();
    collect(&tree, false, &mut free);
    Some(free)
}

fn collect(tree: &Tree, pinned: bool, free: &mut Vec<usize>) {
    match tree {
        Tree::List(items) => items.iter().for_each(|item| collect(item, pinned, free)),
        Tree::Node(node) if node.kind == "AConst" => {
            if let (false, Some(at)) = (pinned, node.location()) {
                free.push(at);
            }
        }
        // The name of a configuration was held against a list.
        Tree::Node(node) if text_search::configuration_of(node).is_some() => {
            let arguments = node.list("args").unwrap_or_default();
            arguments.iter().skip(1).for_each(|argument| collect(argument, false, free));
            node.fields.iter().filter(|(name, _)| *name != "args").for_each(|(_, field)| collect(field, false, free));
        }
        Tree::Node(node) => node.fields.iter().for_each(|(name, field)| collect(field, pins(node, name), free)),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => {}
    }
}

/// Whether a constant directly in this field is an ordinal or a modifier, not a value.
fn pins(node: &Node, field: &str) -> bool {
    matches!((node.kind, field), ("SortBy", "node") | ("SelectStmt", "group_clause" | "distinct_clause") | ("GroupingSet", "content"))
        || node.kind == "TypeName"
        || node.kind == "CollateClause"
}
