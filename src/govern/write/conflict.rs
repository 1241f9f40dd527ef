//! INSERT … ON CONFLICT: the inserts and updates it would make now.

use pg_query::{
    Node, NodeEnum,
    protobuf::{InferClause, InsertStmt, OnConflictAction, OnConflictClause, SelectStmt},
};

use super::{
    Action, Context, Draft, Layout,
    assigned::Assigned,
    draft::{fill, fill_types, is_default, skeleton, with},
    insert::{NewRows, new_rows},
    unread,
    update::{Outputs, assignments},
};
use crate::govern::{Refusal, RefusalCode, kernel::identifier};

/// The row that is there already.
const ROW: &str = "\"pgwicket_row\"";

/// The draft of an upsert.
///
/// The new rows are `excluded`, and the row that is there, with all that DO UPDATE makes of it, is a lateral subquery
/// over both: so a name alone is as ambiguous in it as PostgreSQL has it.
pub(super) fn draft(context: Context<'_>, mut insert: InsertStmt) -> Result<Draft, Refusal> {
    let clause = insert.on_conflict_clause.take().ok_or_else(|| unread("an INSERT without ON CONFLICT"))?;
    let clauses = insert.with_clause.take();
    let rows = new_rows(context, insert)?;
    if rows.width.is_some() {
        return Err(Refusal::unsupported("INSERT of * with ON CONFLICT").hint("name the columns in the SELECT"));
    }
    let keys = conflict_columns(context, clause.infer.as_deref(), &rows.columns)?;
    let does_update = OnConflictAction::try_from(clause.action) == Ok(OnConflictAction::OnconflictUpdate);
    if does_update && keys.is_empty() {
        return Err(Refusal::new(RefusalCode::Syntax, "ON CONFLICT DO UPDATE requires inference specification or constraint name")
            .hint("name the columns: ON CONFLICT (id) DO UPDATE …"));
    }
    let OnConflictClause { target_list, where_clause, .. } = *clause;
    let (inner, update, assigned) = existing(context, &keys, &rows.columns, target_list, where_clause.map(|node| *node), does_update)?;
    let mut draft = outer(context, rows, inner, update, assigned)?;
    with(&mut draft.select, clauses);
    Ok(draft)
}

/// The lateral subquery over the row that is there, and the action over its columns by number.
fn existing(
    context: Context<'_>,
    keys: &[Box<str>],
    given: &[Box<str>],
    targets: Vec<Node>,
    condition: Option<Node>,
    does_update: bool,
) -> Result<(SelectStmt, Option<Action>, Vec<Assigned>), Refusal> {
    let mut outputs = Outputs::default();
    outputs.add("TRUE AS \"hit\"".to_owned());
    outputs.add("TRUE AS \"wanted\"".to_owned());
    let (mut values, mut typed) = (Vec::new(), Vec::new());
    let mut update = None;
    if does_update {
        let assignments = assignments(context, targets)?;
        let columns: Vec<&str> = assignments.iter().map(|(column, _)| &**column).collect();
        let mut action = outputs.before_image(context, &columns, |column| context.reference(column))?;
        for (column, value) in assignments {
            let output = match value.filter(|value| !is_default(value)) {
                None => None,
                Some(value) => {
                    if context.is_computed(&column, &value)? {
                        typed.push((column.clone(), value.clone()));
                    }
                    values.push((outputs.texts.len(), value));
                    Some(outputs.add(context.open_place(context.column(&column)?)?))
                }
            };
            action.after.push(context.place(&column, output)?);
        }
        update = Some(action);
    }
    let (assigned, typed) = outputs.types(typed);
    for (number, text) in outputs.texts.iter_mut().enumerate().skip(2) {
        *text = format!("{text} AS \"c{number}\"");
    }
    let equal = |key: &str| format!("{} = \"excluded\".{}", context.reference(key), identifier(key));
    let hit = if keys.is_empty() { "FALSE".to_owned() } else { keys.iter().map(|key| equal(key)).collect::<Vec<_>>().join(" AND ") };
    let excluded = given.iter().map(|column| format!("\"excluded\".{}", identifier(column))).collect::<Vec<_>>().join(", ");
    let from = format!("{}, LATERAL (SELECT {excluded}) AS \"excluded\"", context.from());
    let mut select = skeleton(&format!("SELECT {} FROM {from} WHERE {hit}", outputs.texts.join(", ")))?;
    for (output, value) in values {
        fill(&mut select, output, value)?;
    }
    fill_types(&mut select, typed)?;
    if let (Some(condition), Some(NodeEnum::ResTarget(wanted))) =
        (condition, select.target_list.get_mut(1).and_then(|node| node.node.as_mut()))
    {
        wanted.val = Some(Box::new(condition));
    }
    Ok((select, update, assigned))
}

fn outer(
    context: Context<'_>,
    rows: NewRows,
    inner: SelectStmt,
    update: Option<Action>,
    mut assigned: Vec<Assigned>,
) -> Result<Draft, Refusal> {
    let mut outputs = Outputs::default();
    let pattern = if rows.patterns.len() > 1 { "\"excluded\".\"pgwicket_pattern\"" } else { "0" };
    let wanted = update.as_ref().map_or("NULL".to_owned(), |_| format!("CASE WHEN {ROW}.\"wanted\" THEN {} END", rows.patterns.len()));
    let choice = outputs.add(format!("CASE WHEN {ROW}.\"hit\" THEN {wanted} ELSE {pattern} END"));
    let new: Vec<Option<usize>> =
        rows.columns.iter().map(|column| Some(outputs.add(format!("\"excluded\".{}", identifier(column))))).collect();
    let mut actions =
        rows.patterns.iter().map(|pattern| context.new_row(&rows.columns, pattern, &new)).collect::<Result<Vec<_>, Refusal>>()?;
    if let Some(mut action) = update {
        // The columns of the subquery, by their numbers in it.
        let places = action.key.iter_mut().chain(&mut action.conflict).chain(&mut action.before).chain(&mut action.after);
        for output in places.filter_map(|place| place.output.as_mut()) {
            *output = outputs.add(format!("{ROW}.\"c{output}\""));
        }
        actions.push(action);
    }
    let mut names: Vec<String> = rows.columns.iter().map(|column| identifier(column)).collect();
    if rows.patterns.len() > 1 {
        names.push("\"pgwicket_pattern\"".to_owned());
    }
    for assigned in &mut assigned {
        assigned.output = outputs.add(format!("{ROW}.\"c{}\"", assigned.output));
    }
    for (number, column) in rows.typed.iter().enumerate() {
        let name = format!("\"pgwicket_type_{number}\"");
        assigned.push(Assigned { output: outputs.add(format!("\"excluded\".{name}")), column: column.clone() });
        names.push(name);
    }
    let names = if names.is_empty() { "\"pgwicket_nothing\"".to_owned() } else { names.join(", ") };
    let mut select = skeleton(&format!(
        "SELECT {} FROM (SELECT) AS \"excluded\" ({names}) LEFT JOIN LATERAL (SELECT) AS {ROW} ON TRUE",
        outputs.texts.join(", ")
    ))?;
    let Some(NodeEnum::JoinExpr(join)) = select.from_clause.first_mut().and_then(|node| node.node.as_mut()) else {
        return Err(unread("a join"));
    };
    for (side, query) in [(join.larg.as_deref_mut(), rows.select), (join.rarg.as_deref_mut(), inner)] {
        let Some(NodeEnum::RangeSubselect(subselect)) = side.and_then(|node| node.node.as_mut()) else { return Err(unread("a join")) };
        subselect.subquery = Some(Box::new(super::draft::node(NodeEnum::SelectStmt(Box::new(query)))));
    }
    let tenant = context.given_tenant(&rows.columns).and_then(|column| new.get(column).copied().flatten());
    Ok(Draft { select, layout: Layout { choice: Some(choice), actions, tenant, width: None, assigned } })
}

/// The columns that say which row is there already, all of them given. Without a conflict target the primary key's,
/// where the statement gives it.
fn conflict_columns(context: Context<'_>, infer: Option<&InferClause>, given: &[Box<str>]) -> Result<Vec<Box<str>>, Refusal> {
    let Some(infer) = infer else {
        let key = &context.relation.primary_key;
        return Ok(if key.iter().all(|column| given.contains(column)) { key.clone() } else { Vec::new() });
    };
    if !infer.conname.is_empty() || infer.where_clause.is_some() {
        return Err(Refusal::unsupported("this conflict target").hint("name the columns: ON CONFLICT (id) …"));
    }
    let mut columns: Vec<Box<str>> = Vec::new();
    for element in &infer.index_elems {
        let name = match &element.node {
            Some(NodeEnum::IndexElem(element)) if element.expr.is_none() => &element.name,
            _ => return Err(Refusal::unsupported("an expression as conflict target").hint("name the columns: ON CONFLICT (id) …")),
        };
        let column = context.column(name)?;
        if column.mask.is_some() {
            return Err(Refusal::new(
                RefusalCode::Denied,
                format!("column \"{name}\" is masked and cannot say which row is there already"),
            ));
        }
        if !given.contains(&column.name) {
            return Err(Refusal::unsupported(format!("a conflict on \"{name}\", which the statement does not give,"))
                .hint("give the column a value"));
        }
        columns.push(column.name.clone());
    }
    Ok(columns)
}
