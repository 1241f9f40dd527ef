//! UPDATE: key, conflict column and every assigned column as they are, every assigned expression as a value.

use pg_query::{
    Node, NodeEnum,
    protobuf::{SubLink, UpdateStmt},
};

use super::{
    Action, Context, Draft, Layout, Place,
    assigned::{Assigned, TYPE_ONLY},
    draft::{fill, fill_types, is_default, node, skeleton, with},
    insert,
    part::{Parts, not_here},
    unread,
};
use crate::{
    govern::{Refusal, RefusalCode, kernel::identifier},
    proposal::Operation,
    sql::rules::Fill,
};

/// The draft of an UPDATE.
pub(super) fn draft(context: Context<'_>, update: UpdateStmt) -> Result<Draft, Refusal> {
    let mut parts = Parts::default();
    let assignments = assignments(context, update.target_list, Some(&mut parts))?;
    let columns: Vec<&str> = assignments.iter().map(|(column, _)| &**column).collect();
    let mut outputs = Outputs::default();
    let mut action = outputs.before_image(context, &columns, |column| context.reference(column))?;
    let (mut values, mut typed, mut literals) = (Vec::new(), Vec::new(), Vec::new());
    for (column, value) in assignments {
        let output = match value {
            None => None,
            Some(value) => {
                literals.extend(context.literal(&column, &value)?);
                if context.is_computed(&column, &value)? {
                    typed.push((column.clone(), value.clone()));
                }
                values.push((outputs.texts.len(), value));
                Some(outputs.add(context.open_place(context.column(&column)?)?))
            }
        };
        action.after.push(context.place(&column, output)?);
    }
    let (mut assigned, mut typed) = outputs.types(typed);
    for (column, of, value) in parts.typed {
        let output = outputs.add(TYPE_ONLY.to_owned());
        assigned.push(Assigned { output, column, of: Some(of) });
        typed.push((output, value));
    }
    let doubted = parts.doubted.into_iter().map(|(column, value)| {
        values.push((outputs.texts.len(), value));
        (outputs.add("CAST(NULL AS pg_catalog.bool)".to_owned()), column)
    });
    let doubted = doubted.collect();
    let mut select = skeleton(&format!("SELECT {} FROM {}", outputs.texts.join(", "), context.from()))?;
    for (output, value) in values {
        fill(&mut select, output, value)?;
    }
    fill_types(&mut select, typed)?;
    select.from_clause.extend(update.from_clause);
    select.where_clause = update.where_clause;
    with(&mut select, update.with_clause);
    Ok(Draft { select, layout: Layout { actions: vec![action], assigned, literals, doubted, ..Layout::default() } })
}

/// The outputs of a draft, as text.
#[derive(Default)]
pub(super) struct Outputs {
    pub(super) texts: Vec<String>,
}

impl Outputs {
    pub(super) fn add(&mut self, text: String) -> usize {
        self.texts.push(text);
        self.texts.len() - 1
    }

    /// An output for the type of each of these values; and by its number the value that belongs there.
    pub(super) fn types(&mut self, values: Vec<(Box<str>, Node)>) -> (Vec<Assigned>, Vec<(usize, Node)>) {
        let each = values.into_iter().map(|(column, value)| {
            let output = self.add(TYPE_ONLY.to_owned());
            (Assigned { output, column, of: None }, (output, value))
        });
        each.unzip()
    }

    /// An update's key, conflict column and `columns` as they are; the new values are still to come.
    pub(super) fn before_image(
        &mut self,
        context: Context<'_>,
        columns: &[&str],
        reference: impl Fn(&str) -> String,
    ) -> Result<Action, Refusal> {
        let mut read = |column: &str| -> Result<Place, Refusal> { context.place(column, Some(self.add(reference(column)))) };
        let key = context.relation.primary_key.iter().map(|column| read(column)).collect::<Result<Vec<_>, _>>()?;
        let conflict = context.writes.conflict_column.as_deref().map(&mut read).transpose()?;
        let before = columns.iter().map(|column| read(column)).collect::<Result<Vec<_>, _>>()?;
        Ok(Action { operation: Operation::Update, key, before, conflict, after: Vec::new() })
    }
}

/// A column and its expression (`None`: DEFAULT).
pub(super) type Assignment = (Box<str>, Option<Node>);

/// The assignments, all of them allowed; to parts of columns where `parts` takes what they need.
pub(super) fn assignments(context: Context<'_>, targets: Vec<Node>, mut parts: Option<&mut Parts>) -> Result<Vec<Assignment>, Refusal> {
    let mut assignments: Vec<Assignment> = Vec::new();
    let mut in_part: Vec<String> = Vec::new();
    for target in targets {
        let Some(NodeEnum::ResTarget(target)) = target.node else { return Err(unread("an assignment")) };
        context.column(&target.name)?;
        if !context.writes.update.iter().any(|column| **column == *target.name) {
            return Err(context.not_assignable(&target.name));
        }
        let known = assignments.iter().position(|(column, _)| **column == *target.name);
        let again = !target.indirection.is_empty() && in_part.contains(&target.name);
        if known.is_some() && !again {
            return Err(Refusal::new(RefusalCode::Syntax, format!("multiple assignments to same column \"{}\"", target.name)));
        }
        let value = value(*target.val.ok_or_else(|| unread("an assignment without a value"))?)?;
        match context.rules.and_then(|rules| rules.column(&target.name)).map(|rule| rule.fill) {
            Some(Fill::Generated) if !is_default(&value) => return Err(insert::generated(&target.name)),
            Some(Fill::IdentityAlways) if !is_default(&value) => return Err(insert::identity(&target.name)),
            Some(Fill::Default | Fill::IdentityAlways | Fill::IdentityByDefault | Fill::Generated) | None => {}
        }
        if !target.indirection.is_empty() {
            let Some(parts) = parts.as_deref_mut().filter(|_| !is_default(&value)) else { return Err(not_here(&target.name)) };
            let before = known.map(|place| assignments.remove(place)).and_then(|(_, value)| value);
            let before = before.map_or_else(|| Context::expression(&context.reference(&target.name)), Ok)?;
            let whole = context.with_part(&target.name, &target.indirection, before, value, parts)?;
            in_part.push(target.name.clone());
            assignments.push((target.name.into(), Some(whole)));
            continue;
        }
        assignments.push((target.name.into(), Some(value).filter(|value| !is_default(value))));
    }
    Ok(assignments)
}

/// One column's value of `(a, b) = (…)`; any other value as it is.
fn value(value: Node) -> Result<Node, Refusal> {
    let reference = match value.node {
        Some(NodeEnum::MultiAssignRef(reference)) => reference,
        other => return Ok(Node { node: other }),
    };
    let number = usize::try_from(reference.colno).ok().and_then(|number| number.checked_sub(1)).ok_or_else(|| unread("a column number"))?;
    let columns = usize::try_from(reference.ncolumns).unwrap_or(0);
    match reference.source.and_then(|source| source.node) {
        Some(NodeEnum::RowExpr(row)) if row.args.len() == columns => {
            row.args.into_iter().nth(number).ok_or_else(|| unread("a row of values"))
        }
        Some(NodeEnum::RowExpr(_)) => Err(Refusal::new(RefusalCode::Syntax, "number of columns does not match number of values")),
        Some(NodeEnum::SubLink(link)) => one_column(*link, number, columns),
        _ => Err(Refusal::unsupported("this source of a multiple-column assignment").hint("assign the columns one by one")),
    }
}

/// `(SELECT "v"."c2" FROM (the client's subquery) AS "v" ("c1", "c2"))`: still at most one row, still NULL for none.
fn one_column(link: SubLink, number: usize, columns: usize) -> Result<Node, Refusal> {
    let names: Vec<String> = (0..columns).map(|column| identifier(&format!("c{column}"))).collect();
    let wanted = names.get(number).ok_or_else(|| unread("a column number"))?;
    let names = names.join(", ");
    let mut select = skeleton(&format!("SELECT (SELECT \"v\".{wanted} FROM (SELECT) AS \"v\" ({names}))"))?;
    let target = select.target_list.pop().and_then(|node| node.node);
    let Some(NodeEnum::ResTarget(target)) = target else { return Err(unread("a subquery")) };
    let mut value = target.val.ok_or_else(|| unread("a subquery"))?;
    if let Some(NodeEnum::SubLink(outer)) = &mut value.node
        && let Some(NodeEnum::SelectStmt(outer)) = outer.subselect.as_deref_mut().and_then(|node| node.node.as_mut())
        && let Some(NodeEnum::RangeSubselect(inner)) = outer.from_clause.first_mut().and_then(|node| node.node.as_mut())
    {
        inner.subquery = link.subselect;
        return Ok(*value);
    }
    Err(unread("a subquery"))
}

impl Context<'_> {
    fn not_assignable(&self, column: &str) -> Refusal {
        let names = self.writes.update.join(", ");
        let refusal = Refusal::new(
            RefusalCode::Denied,
            format!("the policy does not let column \"{column}\" of {}.{} be changed", self.relation.schema, self.relation.name),
        );
        refusal.hint(if names.is_empty() { "an UPDATE cannot be proposed here".to_owned() } else { format!("these can: {names}") })
    }

    /// The node of a text that pgwicket wrote: an expression.
    pub(super) fn expression(text: &str) -> Result<Node, Refusal> {
        let target = skeleton(&format!("SELECT {text}"))?.target_list.pop().and_then(|node| node.node);
        let Some(NodeEnum::ResTarget(target)) = target else { return Err(unread("an expression")) };
        target.val.and_then(|value| value.node).map(node).ok_or_else(|| unread("an expression"))
    }
}
