//! INSERT … ON CONFLICT: the inserts and updates it would make now.

use pg_query::{
    Node, NodeEnum,
    protobuf::{InsertStmt, OnConflictAction, OnConflictClause, SelectStmt},
};

use super::{
    Action, Context, Draft, Layout, Met,
    arbiter::Arbiter,
    assigned::Assigned,
    draft::{fill, fill_types, is_default, skeleton, with},
    excluded::{Excluded, ORDER},
    insert::new_rows,
    literal::Literal,
    unread,
    update::{Outputs, assignments},
};
use crate::{
    govern::{Refusal, RefusalCode, kernel::identifier},
    sql,
};

/// The row that is there already.
const ROW: &str = "\"pgwicket_row\"";
/// The new row.
const NEW: &str = "\"excluded\"";

/// What an upsert asks for.
struct Upsert {
    arbiters: Vec<Arbiter>,
    targets: Vec<Node>,
    condition: Option<Node>,
    updates: bool,
}

/// The lateral subquery over the row that is there.
struct Existing {
    select: SelectStmt,
    /// The update of it, over the subquery's columns by number.
    update: Option<Action>,
    assigned: Vec<Assigned>,
    literals: Vec<Literal>,
    /// It changes what the arbiters compare.
    moves: bool,
}

/// The draft of an upsert.
///
/// The new rows are `excluded`, and the row that is there, with all that DO UPDATE makes of it, is a lateral subquery
/// over both: so a name alone is as ambiguous in it as PostgreSQL has it.
pub(super) fn draft(context: Context<'_>, mut insert: InsertStmt) -> Result<Draft, Refusal> {
    let clause = insert.on_conflict_clause.take().ok_or_else(|| unread("an INSERT without ON CONFLICT"))?;
    let clauses = insert.with_clause.take();
    let mut rows = new_rows(context, insert)?;
    if rows.width.is_some() {
        return Err(Refusal::unsupported("INSERT of * with ON CONFLICT").hint("name the columns in the SELECT"));
    }
    let updates = OnConflictAction::try_from(clause.action) == Ok(OnConflictAction::OnconflictUpdate);
    if updates && clause.infer.is_none() {
        return Err(Refusal::new(RefusalCode::Syntax, "ON CONFLICT DO UPDATE requires inference specification or constraint name")
            .hint("name the columns: ON CONFLICT (id) DO UPDATE …"));
    }
    let rules = context.known_rules()?;
    let mut arbiters = context.arbiters(clause.infer.as_deref(), updates, rules)?;
    // PostgreSQL looks at one after the other, and stops at a row that is in the way before it complains.
    let deferrable = arbiters.iter().position(|arbiter| arbiter.deferrable);
    arbiters.truncate(deferrable.unwrap_or(arbiters.len()));
    let OnConflictClause { target_list, where_clause, .. } = *clause;
    let upsert = Upsert { arbiters, targets: target_list, condition: where_clause.map(|node| *node), updates };
    let literals = std::mem::take(&mut rows.literals);
    let excluded = Excluded::new(context, rows)?;
    excluded.knows(upsert.arbiters.iter().flat_map(Context::deciding))?;
    for node in upsert.targets.iter().chain(&upsert.condition) {
        let tree = sql::tree(node).ok_or_else(|| unread("an assignment"))?;
        excluded.reads_known(context, &tree)?;
    }
    let groups: Vec<String> = if excluded.one { Vec::new() } else { context.groups(&upsert.arbiters)? };
    let updates = upsert.updates;
    let existing = existing(context, &excluded, upsert)?;
    let mut draft = outer(context, excluded, existing, &groups)?;
    draft.layout.literals.extend(literals);
    if let Some(met) = &mut draft.layout.met {
        (met.updates, met.deferrable) = (updates, deferrable.is_some());
    }
    with(&mut draft.select, clauses);
    Ok(draft)
}

impl Context<'_> {
    /// For each arbiter a number that rows of the statement share which are in each other's way.
    fn groups(&self, arbiters: &[Arbiter]) -> Result<Vec<String>, Refusal> {
        if arbiters.iter().any(|arbiter| arbiter.excludes) {
            return Err(Refusal::unsupported("several new rows under an exclusion constraint, with ON CONFLICT,")
                .hint("propose the rows in several statements"));
        }
        Ok(arbiters.iter().map(|arbiter| self.first_alike(arbiter, "\"pgwicket_new\"", ORDER)).collect())
    }
}

/// The lateral subquery over the row that is there, and the action over its columns by number.
fn existing(context: Context<'_>, excluded: &Excluded, upsert: Upsert) -> Result<Existing, Refusal> {
    let name = identifier(context.name);
    let hits: Vec<String> = upsert.arbiters.iter().map(|arbiter| format!("({})", context.in_the_way(arbiter, &name, NEW))).collect();
    let hit = if hits.is_empty() { "FALSE".to_owned() } else { hits.join(" OR ") };
    let mut outputs = Outputs::default();
    outputs.add("TRUE AS \"hit\"".to_owned());
    outputs.add("TRUE AS \"wanted\"".to_owned());
    let (mut values, mut typed, mut literals) = (Vec::new(), Vec::new(), Vec::new());
    let (mut update, mut moves) = (None, false);
    if upsert.updates {
        let assignments = assignments(context, upsert.targets, None)?;
        let columns: Vec<&str> = assignments.iter().map(|(column, _)| &**column).collect();
        moves = upsert.arbiters.iter().flat_map(Context::deciding).any(|deciding| columns.contains(&&**deciding));
        let mut action = outputs.before_image(context, &columns, |column| context.reference(column))?;
        for (column, value) in assignments {
            let output = match value.filter(|value| !is_default(value)) {
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
        update = Some(action);
    }
    let (assigned, typed) = outputs.types(typed);
    for (number, text) in outputs.texts.iter_mut().enumerate().skip(2) {
        *text = format!("{text} AS \"c{number}\"");
    }
    let from = format!("{}, LATERAL (SELECT {}) AS {NEW}", context.from(), excluded.all(context, &name));
    // One row is enough to keep a new row out; which one is updated must not be chance.
    let limit = if upsert.updates { "" } else { " LIMIT 1" };
    let mut select = skeleton(&format!("SELECT {} FROM {from} WHERE {hit}{limit}", outputs.texts.join(", ")))?;
    for (output, value) in values {
        fill(&mut select, output, value)?;
    }
    fill_types(&mut select, typed)?;
    if let (Some(condition), Some(NodeEnum::ResTarget(wanted))) =
        (upsert.condition, select.target_list.get_mut(1).and_then(|node| node.node.as_mut()))
    {
        wanted.val = Some(Box::new(condition));
    }
    Ok(Existing { select, update, assigned, literals, moves })
}

fn outer(context: Context<'_>, excluded: Excluded, existing: Existing, groups: &[String]) -> Result<Draft, Refusal> {
    let Existing { select: inner, update, mut assigned, literals, moves } = existing;
    let mut outputs = Outputs::default();
    let pattern = if excluded.patterns.len() > 1 { format!("{NEW}.\"pgwicket_pattern\"") } else { "0".to_owned() };
    let wanted = update.as_ref().map_or("NULL".to_owned(), |_| format!("CASE WHEN {ROW}.\"wanted\" THEN {} END", excluded.patterns.len()));
    let choice = outputs.add(format!("CASE WHEN {ROW}.\"hit\" THEN {wanted} ELSE {pattern} END"));
    let order = outputs.add(format!("{NEW}.{ORDER}"));
    let hit = outputs.add(format!("{ROW}.\"hit\""));
    let numbers = (0..groups.len()).map(|number| outputs.add(format!("{NEW}.\"pgwicket_group_{number}\""))).collect();
    let broken = excluded.broken.as_ref().map(|_| outputs.add(format!("{NEW}.\"pgwicket_broken\"")));
    let new: Vec<Option<usize>> = excluded.given.iter().map(|column| Some(outputs.add(format!("{NEW}.{}", identifier(column))))).collect();
    let mut actions =
        excluded.patterns.iter().map(|pattern| context.new_row(&excluded.given, pattern, &new)).collect::<Result<Vec<_>, Refusal>>()?;
    let required = excluded.required(context).into_iter().map(|column| {
        let place = context.place(&column, Some(outputs.add(format!("{NEW}.{}", identifier(&column)))))?;
        Ok(place)
    });
    let required = required.collect::<Result<Vec<_>, Refusal>>()?;
    if let Some(mut action) = update {
        // The columns of the subquery, by their numbers in it.
        let places = action.key.iter_mut().chain(&mut action.conflict).chain(&mut action.before).chain(&mut action.after);
        for output in places.filter_map(|place| place.output.as_mut()) {
            *output = outputs.add(format!("{ROW}.\"c{output}\""));
        }
        actions.push(action);
    }
    for assigned in &mut assigned {
        assigned.output = outputs.add(format!("{ROW}.\"c{}\"", assigned.output));
    }
    for (number, column) in excluded.typed.iter().enumerate() {
        assigned.push(Assigned { output: outputs.add(format!("{NEW}.\"pgwicket_type_{number}\"")), column: column.clone(), of: None });
    }
    let tenant = context.given_tenant(&excluded.given).and_then(|column| new.get(column).copied().flatten());
    let rows = excluded.layers(groups)?;
    let mut select =
        skeleton(&format!("SELECT {} FROM (SELECT) AS {NEW} LEFT JOIN LATERAL (SELECT) AS {ROW} ON TRUE", outputs.texts.join(", ")))?;
    let Some(NodeEnum::JoinExpr(join)) = select.from_clause.first_mut().and_then(|node| node.node.as_mut()) else {
        return Err(unread("a join"));
    };
    for (side, query) in [(join.larg.as_deref_mut(), rows), (join.rarg.as_deref_mut(), inner)] {
        let Some(NodeEnum::RangeSubselect(subselect)) = side.and_then(|node| node.node.as_mut()) else { return Err(unread("a join")) };
        subselect.subquery = Some(Box::new(super::draft::node(NodeEnum::SelectStmt(Box::new(query)))));
    }
    let met = Some(Met { order, hit, groups: numbers, broken, required, updates: false, deferrable: false, moves });
    Ok(Draft { select, layout: Layout { choice: Some(choice), actions, tenant, assigned, literals, met, ..Layout::default() } })
}
