//! A proposal as Cedar sees it.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr as _,
};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use super::{ColumnKind, Prepared, Row, SettlementRule, number};
use crate::proposal::{Cell, Counter, Proposal, RowChange, Value};

type Attributes = Vec<(String, RestrictedExpression)>;

/// `None` when something of it does not fit.
pub(super) fn prepare(rule: &SettlementRule, proposal: &Proposal, now_ms: i64) -> Option<Prepared> {
    let target = &proposal.target;
    let principal = uid("Agent", proposal.proposer.agent.as_str())?;
    let schema = uid("AliasSchema", &target.schema)?;
    let resource = uid("Relation", &format!("{}.{}", target.schema, target.relation))?;
    let amount = proposal.changes.iter().try_fold(0_i64, |sum, change| sum.checked_add(moved(rule, change)?))?;
    let common = common(proposal, now_ms, amount)?;
    let rows = proposal.changes.iter().map(|change| row(rule, change, &common)).collect::<Option<Vec<Row>>>()?;
    let entities = [
        Entity::new(principal.clone(), principal_attributes(proposal), HashSet::new()).ok()?,
        Entity::new_no_attrs(schema.clone(), HashSet::new()),
        Entity::new(resource.clone(), resource_attributes(proposal), HashSet::from([schema])).ok()?,
    ];
    let entities = Entities::from_entities(entities, Some(&rule.schema)).ok()?;
    Some(Prepared { principal, resource, entities, rows, amount })
}

/// What the rule has settled today with this proposal added. `None` when it does not fit.
pub(super) fn day(settled: Counter, rows: usize, amount: i64) -> Option<RestrictedExpression> {
    let long = |number: u64| i64::try_from(number).ok().map(RestrictedExpression::new_long);
    let fields = [
        ("count".to_owned(), long(settled.count.checked_add(1)?)?),
        ("rows".to_owned(), long(settled.rows.checked_add(rows as u64)?)?),
        ("sum".to_owned(), decimal(settled.sum.checked_add(amount)?)),
    ];
    RestrictedExpression::new_record(fields).ok()
}

fn common(proposal: &Proposal, now_ms: i64, amount: i64) -> Option<Attributes> {
    let now = jiff::Timestamp::from_millisecond(now_ms).ok()?;
    let clock = now.to_zoned(jiff::tz::TimeZone::UTC);
    let long = |number: i8| RestrictedExpression::new_long(number.into());
    Some(vec![
        ("verb".to_owned(), text(proposal.verb.word())),
        ("rows".to_owned(), RestrictedExpression::new_long(i64::try_from(proposal.changes.len()).ok()?)),
        ("reason".to_owned(), RestrictedExpression::new_bool(proposal.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty()))),
        ("sum".to_owned(), decimal(amount)),
        ("now".to_owned(), RestrictedExpression::new_datetime(clock.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())),
        ("hour".to_owned(), long(clock.hour())),
        ("weekday".to_owned(), long(clock.weekday().to_monday_one_offset())),
    ])
}

fn row(rule: &SettlementRule, change: &RowChange, common: &Attributes) -> Option<Row> {
    let defaults = change.after.iter().filter(|cell| cell.value == Value::Default);
    let mut attributes = common.clone();
    attributes.extend([
        ("changed".to_owned(), names(change.after.iter())),
        ("defaults".to_owned(), names(defaults)),
        ("key".to_owned(), record(rule, &change.key)?),
        ("before".to_owned(), record(rule, &change.before)?),
        ("after".to_owned(), record(rule, &change.after)?),
    ]);
    Some(Row { action: uid("Action", change.operation.word())?, context: Context::from_pairs(attributes).ok()? })
}

fn names<'a>(cells: impl Iterator<Item = &'a Cell>) -> RestrictedExpression {
    RestrictedExpression::new_set(cells.map(|cell| text(&cell.column)))
}

/// Columns with their values; NULL and DEFAULT have none. `None` when a value does not fit its column's kind.
fn record(rule: &SettlementRule, cells: &[Cell]) -> Option<RestrictedExpression> {
    let mut fields: Attributes = Vec::new();
    for cell in cells {
        let kind = *rule.columns.get(&cell.column)?;
        let Some(value) = cell.value.text() else { continue };
        let expression = match kind {
            ColumnKind::Long => RestrictedExpression::new_long(value.parse().ok()?),
            ColumnKind::Decimal => decimal(number::read(value)?),
            ColumnKind::Bool => RestrictedExpression::new_bool(boolean(value)?),
            ColumnKind::Text => text(value),
        };
        fields.push((cell.column.to_string(), expression));
    }
    RestrictedExpression::new_record(fields).ok()
}

/// By how much a row's sum column changes, whatever the direction. Unit: ten-thousandths.
fn moved(rule: &SettlementRule, change: &RowChange) -> Option<i64> {
    let Some(column) = &rule.sum_column else { return Some(0) };
    let amount = |cells: &[Cell]| match cells.iter().find(|cell| cell.column == *column).map(|cell| &cell.value) {
        None | Some(Value::Null) => Some(0),
        Some(Value::Text(value)) => number::read(value),
        // Nobody knows it before it is applied.
        Some(Value::Default) => None,
    };
    amount(&change.after)?.checked_sub(amount(&change.before)?)?.checked_abs()
}

fn principal_attributes(proposal: &Proposal) -> HashMap<String, RestrictedExpression> {
    let tenant = proposal.target.tenant.as_ref().map(|guard| ("tenant".to_owned(), text(guard.tenant.as_str())));
    let run = proposal.run.as_ref().map(|run| ("run".to_owned(), text(run.as_str())));
    tenant.into_iter().chain(run).collect()
}

fn resource_attributes(proposal: &Proposal) -> HashMap<String, RestrictedExpression> {
    let target = &proposal.target;
    [("schema", &*target.schema), ("name", &*target.relation), ("source", target.source.as_str())]
        .map(|(name, value)| (name.to_owned(), text(value)))
        .into()
}

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(EntityTypeName::from_str(kind).ok()?, EntityId::new(id)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn decimal(parts: i64) -> RestrictedExpression {
    RestrictedExpression::new_decimal(number::write(parts))
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    }
}
