//! MERGE: for each row of the join the action it would take now.

use pg_query::{
    Node, NodeEnum,
    protobuf::{CmdType, MergeMatchKind, MergeStmt, MergeWhenClause},
};

use super::{
    Action, Context, Draft, Layout,
    draft::{fill_cast, fill_types, is_default, skeleton, with},
    insert::Overriding,
    literal::Literal,
    unread,
    update::{Outputs, assignments},
};
use crate::{
    govern::{Refusal, RefusalCode},
    proposal::Operation,
};

/// A WHEN clause: its number among the actions (`None`: DO NOTHING), its condition, and for each value its output.
#[derive(Default)]
struct When {
    matched: bool,
    action: Option<usize>,
    condition: Option<Node>,
    values: Vec<(usize, Node)>,
    typed: Vec<(Box<str>, Node)>,
    literals: Vec<Literal>,
}

/// The draft of a MERGE.
pub(super) fn draft(context: Context<'_>, merge: MergeStmt) -> Result<Draft, Refusal> {
    let Some(key) = context.relation.primary_key.first() else {
        return Err(Refusal::unsupported("MERGE into a relation without a primary key that agents see"));
    };
    reachable(&merge)?;
    let hit = format!("{} IS NOT NULL", context.reference(key));
    let mut outputs = Outputs::default();
    let choice = outputs.add(String::new());
    let (mut whens, mut actions, mut tenant) = (Vec::new(), Vec::new(), None);
    for clause in merge.merge_when_clauses {
        let Some(NodeEnum::MergeWhenClause(clause)) = clause.node else { return Err(unread("a WHEN clause")) };
        whens.push(when(context, *clause, &hit, &mut outputs, &mut actions, &mut tenant)?);
    }
    let literals = whens.iter_mut().flat_map(|when| std::mem::take(&mut when.literals)).collect();
    let (assigned, typed) = outputs.types(whens.iter_mut().flat_map(|when| std::mem::take(&mut when.typed)).collect());
    let arm = |matched: bool| {
        let arms = whens.iter().filter(|when| when.matched == matched).map(|when| {
            let action = when.action.map_or("CAST(NULL AS pg_catalog.int4)".to_owned(), |action| action.to_string());
            format!(" WHEN TRUE THEN {action}")
        });
        let arms = arms.collect::<Vec<_>>().concat();
        if arms.is_empty() { "NULL".to_owned() } else { format!("CASE{arms} END") }
    };
    if let Some(text) = outputs.texts.get_mut(choice) {
        *text = format!("CASE WHEN {hit} THEN {} ELSE {} END", arm(true), arm(false));
    }
    let source = "(SELECT) AS \"pgwicket_source\"";
    let mut select = skeleton(&format!("SELECT {} FROM {source} LEFT JOIN {} ON TRUE", outputs.texts.join(", "), context.from()))?;
    let Some(NodeEnum::JoinExpr(join)) = select.from_clause.first_mut().and_then(|node| node.node.as_mut()) else {
        return Err(unread("a join"));
    };
    join.larg = merge.source_relation;
    join.quals = merge.join_condition;
    let mut arms = [(true, 0), (false, 0)];
    for when in whens {
        if let Some(condition) = &when.condition
            && let Some((matched, place)) = arms.iter().find(|(matched, _)| *matched == when.matched)
        {
            *condition_of_choice(output(&mut select.target_list, choice)?, *matched, *place)? = condition.clone();
        }
        arms.iter_mut().filter(|(matched, _)| *matched == when.matched).for_each(|(_, place)| *place += 1);
        for (number, value) in when.values {
            fill_guarded(output(&mut select.target_list, number)?, when.condition.as_ref(), value)?;
        }
    }
    fill_types(&mut select, typed)?;
    with(&mut select, merge.with_clause);
    Ok(Draft { select, layout: Layout { choice: Some(choice), actions, tenant, assigned, literals, ..Layout::default() } })
}

/// A clause without a condition is the last of its kind.
fn reachable(merge: &MergeStmt) -> Result<(), Refusal> {
    let mut last = Vec::new();
    for clause in &merge.merge_when_clauses {
        let Some(NodeEnum::MergeWhenClause(clause)) = &clause.node else { return Err(unread("a WHEN clause")) };
        if last.contains(&clause.match_kind) {
            let message = "unreachable WHEN clause specified after unconditional WHEN clause";
            return Err(Refusal::new(RefusalCode::Syntax, message));
        }
        if clause.condition.is_none() {
            last.push(clause.match_kind);
        }
    }
    Ok(())
}

fn when(
    context: Context<'_>,
    clause: MergeWhenClause,
    hit: &str,
    outputs: &mut Outputs,
    actions: &mut Vec<Action>,
    tenant: &mut Option<usize>,
) -> Result<When, Refusal> {
    let matched = match MergeMatchKind::try_from(clause.match_kind) {
        Ok(MergeMatchKind::MergeWhenMatched) => true,
        Ok(MergeMatchKind::MergeWhenNotMatchedByTarget) => false,
        Ok(MergeMatchKind::MergeWhenNotMatchedBySource | MergeMatchKind::Undefined) | Err(_) => {
            return Err(Refusal::unsupported("WHEN NOT MATCHED BY SOURCE").hint("propose an UPDATE or DELETE for those rows"));
        }
    };
    let overriding = Overriding::of(clause.r#override);
    let mut when = When { matched, condition: clause.condition.map(|node| *node), ..When::default() };
    let mut guarded = |column: &str, value: Option<Node>, when: &mut When| -> Result<Option<usize>, Refusal> {
        let Some(value) = value.filter(|value| !is_default(value)) else { return Ok(None) };
        when.literals.extend(context.literal(column, &value)?);
        if context.is_computed(column, &value)? {
            when.typed.push((column.into(), value.clone()));
        }
        let open = context.open_place(context.column(column)?)?;
        let not = if matched { "" } else { "NOT " };
        let number = outputs.add(format!("CASE WHEN {not}({hit}) THEN CASE WHEN TRUE THEN {open} END END"));
        when.values.push((number, value));
        Ok(Some(number))
    };
    let action = match CmdType::try_from(clause.command_type) {
        Ok(CmdType::CmdNothing) => return Ok(when),
        Ok(CmdType::CmdInsert) => {
            let columns = context.insert_columns(clause.target_list, clause.values.len())?;
            let kept = |column: &str, value: &Node| !is_default(value) && !context.is_overridden(column, overriding);
            let given: Vec<bool> = columns.iter().zip(&clause.values).map(|(column, value)| kept(column, value)).collect();
            let pattern: Vec<bool> = given.iter().map(|given| !given).collect();
            let mut places = Vec::new();
            for ((column, value), given) in columns.iter().zip(clause.values).zip(given) {
                if given {
                    context.insertable(column, overriding)?;
                }
                places.push(guarded(column, Some(value).filter(|_| given), &mut when)?);
            }
            *tenant = tenant.or(context.given_tenant(&columns).and_then(|column| places.get(column).copied().flatten()));
            context.new_row(&columns, &pattern, &places)?
        }
        Ok(CmdType::CmdUpdate) => {
            let assignments = assignments(context, clause.target_list, None)?;
            let mut after = Vec::new();
            let columns: Vec<Box<str>> = assignments.iter().map(|(column, _)| column.clone()).collect();
            for (column, value) in assignments {
                let output = guarded(&column, value, &mut when)?;
                after.push(context.place(&column, output)?);
            }
            let columns: Vec<&str> = columns.iter().map(|column| &**column).collect();
            let mut action = outputs.before_image(context, &columns, |column| context.reference(column))?;
            action.after = after;
            action
        }
        Ok(CmdType::CmdDelete) => {
            context.may_delete()?;
            let mut action = outputs.before_image(context, &context.visible(), |column| context.reference(column))?;
            action.operation = Operation::Delete;
            action
        }
        Ok(CmdType::CmdUnknown | CmdType::CmdSelect | CmdType::CmdUtility | CmdType::CmdMerge | CmdType::Undefined) | Err(_) => {
            return Err(unread("an action of MERGE"));
        }
    };
    when.action = Some(actions.len());
    actions.push(action);
    Ok(when)
}

fn output(targets: &mut [Node], number: usize) -> Result<&mut Node, Refusal> {
    match targets.get_mut(number).and_then(|node| node.node.as_mut()) {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref_mut().ok_or_else(|| unread("an output")),
        _ => Err(unread("an output")),
    }
}

/// The place of the `place`th condition in the choice's arm.
fn condition_of_choice(choice: &mut Node, matched: bool, place: usize) -> Result<&mut Node, Refusal> {
    let Some(NodeEnum::CaseExpr(case)) = &mut choice.node else { return Err(unread("the choice")) };
    let arm = if matched {
        match case.args.first_mut().and_then(|node| node.node.as_mut()) {
            Some(NodeEnum::CaseWhen(when)) => when.result.as_deref_mut(),
            _ => None,
        }
    } else {
        case.defresult.as_deref_mut()
    };
    case_condition(arm.ok_or_else(|| unread("the choice"))?, place)
}

fn case_condition(case: &mut Node, place: usize) -> Result<&mut Node, Refusal> {
    match case_when(case, place)? {
        (Some(condition), _) => Ok(condition),
        (None, _) => Err(unread("a condition")),
    }
}

/// Condition and result of a WHEN of a CASE.
fn case_when(case: &mut Node, place: usize) -> Result<(Option<&mut Node>, Option<&mut Node>), Refusal> {
    let Some(NodeEnum::CaseExpr(case)) = &mut case.node else { return Err(unread("a CASE")) };
    match case.args.get_mut(place).and_then(|node| node.node.as_mut()) {
        Some(NodeEnum::CaseWhen(when)) => Ok((when.expr.as_deref_mut(), when.result.as_deref_mut())),
        _ => Err(unread("a WHEN")),
    }
}

/// `CASE WHEN hit THEN CASE WHEN condition THEN CAST(value) END END`
fn fill_guarded(outer: &mut Node, condition: Option<&Node>, value: Node) -> Result<(), Refusal> {
    let (_, inner) = case_when(outer, 0)?;
    let (place, cast) = case_when(inner.ok_or_else(|| unread("a CASE"))?, 0)?;
    if let (Some(condition), Some(place)) = (condition, place) {
        *place = condition.clone();
    }
    fill_cast(cast, value)
}
