//! EXPLAIN, where the policy allows it: the source's plan, rebuilt from what is known to be safe.
//!
//! The plan is asked for in JSON and taken apart. Of each node an allow-list of keys is kept; relations go by their alias
//! names; whatever holds an expression (conditions, output, sort keys) or names something of the source (indexes) is left
//! out, so neither a real name nor the tenant is in what remains.

use std::rc::Rc;

use bytes::BytesMut;
use serde_json::{Map, Value};

use super::{
    draft::Bound,
    plan::{Action, Plan},
    reply,
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{error::SessionError, journal::split_data_row, source::SourceError, sql::Explain};

/// A plan at most. Unit: bytes.
const MAX_PLAN: usize = 16 << 20;
/// Plans nest at most this deep in what is told.
const MAX_DEPTH: usize = 200;
/// `json` in `pg_type`.
const JSON: u32 = 114;
const TEXT: u32 = 25;

/// Keys whose values are words of PostgreSQL's own, flags or numbers.
const KEPT: [&str; 14] = [
    "Node Type",
    "Join Type",
    "Strategy",
    "Partial Mode",
    "Parent Relationship",
    "Command",
    "Scan Direction",
    "Parallel Aware",
    "Async Capable",
    "Inner Unique",
    "Single Copy",
    "Workers Planned",
    "Plan Rows",
    "Plan Width",
];
/// Keys that COSTS turns off with the others.
const COSTS: [&str; 2] = ["Startup Cost", "Total Cost"];

/// A relation's names: real schema and name, alias schema and name.
type Names = (Box<str>, Box<str>, Box<str>, Box<str>);

/// Takes a plan from the source and tells it to the client.
#[derive(Debug)]
pub(super) struct PlanOut {
    explain: Explain,
    relations: Vec<Names>,
    received: BytesMut,
}

impl PlanOut {
    /// Keeps a run of DataRow messages.
    pub(super) fn rows(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if self.received.len() + bytes.len() > MAX_PLAN {
            return Err(SessionError::ByteLimit(MAX_PLAN as u64));
        }
        self.received.extend_from_slice(bytes);
        Ok(())
    }

    /// Tells the plan. What cannot be read is left out.
    pub(super) fn end(&self, columns: bool, out: &mut BytesMut) {
        let value = split_data_row(&self.received).and_then(|(row, _)| row.first().copied().flatten());
        let plan = value.and_then(|text| serde_json::from_slice::<Value>(text).ok());
        let plan = plan.as_ref().and_then(|plan| plan.get(0)?.get("Plan"));
        let safe = plan.map_or_else(Map::new, |plan| self.node(plan, MAX_DEPTH));
        if columns {
            describe(&self.explain, &[], out);
        }
        write(&self.explain, &safe, out);
    }

    fn node(&self, node: &Value, depth: usize) -> Map<String, Value> {
        let mut safe = Map::new();
        let costs = COSTS.iter().filter(|_| self.explain.costs);
        for key in KEPT.iter().chain(costs).filter(|key| self.explain.costs || !key.starts_with("Plan ")) {
            if let Some(value) = node.get(*key).filter(|value| is_plain(value)) {
                safe.insert((*key).to_owned(), value.clone());
            }
        }
        let text = |key: &str| node.get(key).and_then(Value::as_str).unwrap_or_default();
        let named = self.relations.iter().find(|(schema, name, ..)| **schema == *text("Schema") && **name == *text("Relation Name"));
        if let Some((_, _, schema, name)) = named {
            safe.insert("Relation Name".to_owned(), Value::from(&**name));
            safe.insert("Schema".to_owned(), Value::from(&**schema));
        }
        let plans = node.get("Plans").and_then(Value::as_array).filter(|_| depth > 0);
        if let Some(plans) = plans {
            let plans = plans.iter().map(|plan| Value::Object(self.node(plan, depth - 1)));
            safe.insert("Plans".to_owned(), plans.collect());
        }
        safe
    }
}

/// Whether a value is a flag, a number or a few plain words.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() < 40 && text.chars().all(|letter| letter.is_ascii_alphabetic() || matches!(letter, ' ' | '-')),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Writes RowDescription of an EXPLAIN.
pub(super) fn describe(explain: &Explain, formats: &[i16], out: &mut BytesMut) {
    reply::one_column(out, "QUERY PLAN", if explain.json { JSON } else { TEXT }, formats);
}

/// Writes the rows.
fn write(explain: &Explain, plan: &Map<String, Value>, out: &mut BytesMut) {
    if explain.json {
        let plans = Value::from(vec![Value::from(Map::from_iter([("Plan".to_owned(), Value::Object(plan.clone()))]))]);
        let text = serde_json::to_string_pretty(&plans).unwrap_or_default();
        return reply::text_row(out, &[&text]);
    }
    lines(plan, 0, out);
}

/// As EXPLAIN prints a plan.
fn lines(plan: &Map<String, Value>, depth: usize, out: &mut BytesMut) {
    let text = |key: &str| plan.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut line = if depth == 0 { String::new() } else { format!("{}->  ", " ".repeat(6 * depth - 4)) };
    line.push_str(match text("Node Type") {
        "" => "Result",
        node => node,
    });
    if !text("Relation Name").is_empty() {
        line.extend([" on ", text("Schema"), ".", text("Relation Name")]);
    }
    if let [Some(start), Some(total), Some(rows), Some(width)] =
        ["Startup Cost", "Total Cost", "Plan Rows", "Plan Width"].map(|key| plan.get(key))
    {
        let cost = |value: &Value| format!("{:.2}", value.as_f64().unwrap_or_default());
        let costs = format!("  (cost={}..{} rows={rows} width={width})", cost(start), cost(total));
        line.push_str(&costs);
    }
    reply::text_row(out, &[&line]);
    for inner in plan.get("Plans").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        lines(inner, depth + 1, out);
    }
}

impl<I: Interrupts> Session<I> {
    /// One EXPLAIN. Everything before it has been settled. In the simple protocol the column is told, too.
    pub(super) async fn explain(&mut self, plan: &Rc<Plan>, bound: &Bound, columns: bool) -> Result<(), Failure> {
        let Action::Explain(explain, governed) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        self.describe_plan(plan).await?;
        if let Err(failure) = self.ready_for(governed).await {
            return Err(self.unreached(plan, failure));
        }
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        let statement = governed.explained().ok_or(SourceError::NotPrepared)?;
        self.formats.0.clone_from(&bound.formats);
        let formats = Rc::from([]);
        let mut open = self.decide_as(plan, plan.text(), statement.text(), Some((bound.parameters(), &formats)))?;
        let relations = governed.relations().iter().filter_map(|name| super::server_error::exposed(&self.agent, name));
        let relations = relations
            .map(|relation| (relation.real_schema.clone(), relation.real_name.clone(), relation.schema.clone(), relation.name.clone()));
        let relations = relations.collect();
        open.explain = Some((Box::new(PlanOut { explain: explain.clone(), relations, received: BytesMut::new() }), columns));
        self.forward_around(&statement, bound, open)?;
        Ok(self.drain().await?)
    }

    /// EXPLAIN of EXECUTE, by which a driver learns what may be NULL: a plan that says nothing.
    pub(super) fn explain_execute(&mut self, explain: &Explain, columns: bool) -> Result<(), Failure> {
        self.names.statement(&explain.statement)?;
        let plan = Map::from_iter([("Node Type".to_owned(), Value::from("Result"))]);
        let out = self.client.outgoing();
        if columns {
            describe(explain, &[], out);
        }
        write(explain, &plan, out);
        reply::command_complete(out, "EXPLAIN");
        Ok(())
    }
}
