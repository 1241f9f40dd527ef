//! A proposal written out in a policy test, so that approval rules and settlement can be tested without a database.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    Agent, ExposedRelation, PolicySet, TenantRule,
    decode::{Decode, Named, Spanned, document, text},
    problem::{Problems, shown},
    yaml::{Node, Value as YamlValue},
};
use crate::{
    proposal::{Cell, Counter, Operation, Proposal, Proposer, RowChange, Target, TenantGuard, Value, Verb},
    types::{EvidenceId, ProposalId},
};

document! {
    /// A proposal that a statement would make.
    struct ProposalDocument ("a proposal") {
        /// `schema.relation`, alias names.
        relation: Spanned<String>,
        /// When it is made; default `2026-01-05T12:00:00Z`, a Monday.
        at: Option<Spanned<String>>,
        /// Why, in the agent's words.
        reason: Option<String>,
        /// What the settlement rule has settled for this agent today, before this proposal; default nothing.
        day: Option<DayDocument>,
        /// The rows.
        changes: Vec<ChangeDocument>,
    }
}

document! {
    /// What a settlement rule has settled today.
    struct DayDocument ("a day") {
        /// Proposals.
        count: Option<u64>,
        /// Rows.
        rows: Option<u64>,
        /// The sum.
        sum: Option<Spanned<String>>,
    }
}

document! {
    /// A row's change.
    struct ChangeDocument ("a change") {
        /// What happens to the row.
        operation: Operation,
        /// Its primary key.
        #[schemars(with = "Option<Named<Literal>>")]
        key: Named<Literal>,
        /// Values as they are.
        #[schemars(with = "Option<Named<Literal>>")]
        before: Named<Literal>,
        /// New values.
        #[schemars(with = "Option<Named<Literal>>")]
        after: Named<Literal>,
    }
}

/// A column's value: text, `null`, or `{default: true}`.
#[derive(Debug, Clone)]
pub(super) struct Literal(Value);

document! {
    /// `{default: true}`
    struct DefaultDocument ("a value") {
        /// The column's default.
        default: bool,
    }
}

impl Decode for Literal {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        if node.is_null() {
            return Some(Self(Value::Null));
        }
        if let YamlValue::Mapping(_) = node.value {
            if !DefaultDocument::decode(node, problems)?.default {
                problems.error(&node.at, "`default: false` is no value").hint("write the value itself, `null`, or `{default: true}`");
                return None;
            }
            return Some(Self(Value::Default));
        }
        text(node, "a value", problems).map(|text| Self(Value::Text(text.into())))
    }
}

impl JsonSchema for Literal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Literal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean", "null", "object"] })
    }
}

/// A proposal as a test gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteralProposal {
    relation: String,
    at: i64,
    reason: Option<Box<str>>,
    /// What the rule has settled today.
    pub settled: Counter,
    changes: Vec<LiteralChange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LiteralChange {
    operation: Operation,
    key: Vec<(String, Value)>,
    before: Vec<(String, Value)>,
    after: Vec<(String, Value)>,
}

impl LiteralProposal {
    pub(super) fn of(document: Spanned<ProposalDocument>, problems: &mut Problems) -> Option<Self> {
        let ProposalDocument { relation, at, reason, day, changes } = document.value;
        let moment = at.as_ref().map_or("2026-01-05T12:00:00Z", |at| at.value.as_str());
        let Ok(time) = moment.parse::<jiff::Timestamp>() else {
            let place = at.as_ref().map_or(&document.at, |at| &at.at);
            problems.error(place, format!("{} is no moment", shown(moment))).hint("write it as `2026-01-05T12:00:00Z`");
            return None;
        };
        if changes.is_empty() {
            problems.error(&document.at, "a proposal without changes").hint("add `changes: [{ operation: update, … }]`");
            return None;
        }
        let mut settled = Counter::default();
        if let Some(day) = day {
            settled.count = day.count.unwrap_or(0);
            settled.rows = day.rows.unwrap_or(0);
            if let Some(sum) = day.sum {
                let parts = super::settlement::ten_thousandths(&sum);
                if parts.is_none() {
                    problems.error(&sum.at, format!("{} is no sum", shown(&sum))).hint("write a number with at most 4 decimal places");
                }
                settled.sum = parts?;
            }
        }
        let cells = |named: &Named<Literal>| named.iter().map(|(name, literal)| (name.value.clone(), literal.0.clone())).collect();
        let change = |change: &ChangeDocument| LiteralChange {
            operation: change.operation,
            key: cells(&change.key),
            before: cells(&change.before),
            after: cells(&change.after),
        };
        let changes = changes.iter().map(change).collect();
        Some(Self { relation: relation.value, at: time.as_millisecond(), reason: reason.map(Into::into), settled, changes })
    }

    /// When it is made. Unit: milliseconds since the Unix epoch.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The proposal that `agent` would make with `statement`, or what does not fit the policy.
    pub fn proposal(&self, policy: &PolicySet, agent: &Agent, statement: &str) -> Result<Proposal, String> {
        let of_agent = agent.schemas.iter().flat_map(|schema| schema.relations.values());
        let relation = of_agent.clone().find(|relation| format!("{}.{}", relation.schema, relation.name) == self.relation);
        let relation = relation.ok_or_else(|| format!("agent {} sees no relation {}", agent.name, self.relation))?;
        let changes = self.changes.iter().map(|change| row(relation, change)).collect::<Result<Vec<RowChange>, String>>()?;
        let verb = match changes.first().map(|change| change.operation) {
            Some(first) if changes.iter().any(|change| change.operation != first) => Verb::Merge,
            Some(Operation::Insert) => Verb::Insert,
            Some(Operation::Delete) => Verb::Delete,
            Some(Operation::Update) | None => Verb::Update,
        };
        let tenant = match (&relation.tenant, &agent.tenant) {
            (TenantRule::Column { name, .. }, Some(tenant)) => {
                Some(TenantGuard { column: name.clone(), type_name: "".into(), tenant: tenant.clone() })
            }
            (TenantRule::Column { .. }, None) | (TenantRule::Single, _) => None,
        };
        Ok(Proposal {
            id: ProposalId::new(0, 0),
            created_at: self.at,
            expires_at: self.at,
            proposer: Proposer::new(agent.name.clone(), agent.tenant.clone()),
            run: None,
            evidence: EvidenceId::new(0, 0),
            policy: policy.digest,
            verb,
            statement: statement.into(),
            reason: self.reason.clone(),
            deployment: None,
            time_zone: "UTC".into(),
            idempotency_key: None,
            target: Target {
                source: relation.source.clone(),
                schema: relation.schema.clone(),
                relation: relation.name.clone(),
                real_schema: relation.real_schema.clone(),
                real_name: relation.real_name.clone(),
                tenant,
            },
            changes,
        })
    }
}

fn row(relation: &ExposedRelation, change: &LiteralChange) -> Result<RowChange, String> {
    let cell = |(name, value): &(String, Value)| {
        let column = relation.columns.iter().find(|column| *column.name == **name);
        let column = column.ok_or_else(|| format!("agents see no column {name} of {}.{}", relation.schema, relation.name))?;
        Ok(Cell { column: column.name.clone(), type_name: column.type_name.clone(), value: value.clone() })
    };
    let cells = |given: &[(String, Value)]| given.iter().map(cell).collect::<Result<Vec<Cell>, String>>();
    Ok(RowChange {
        operation: change.operation,
        key: cells(&change.key)?,
        before: cells(&change.before)?,
        conflict: None,
        after: cells(&change.after)?,
    })
}
