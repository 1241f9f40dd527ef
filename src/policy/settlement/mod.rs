//! Settlement rules: Cedar policies that approve a proposal without a person. `docs/POLICY.md` has the context they see.
//!
//! A rule is asked once for each row, and every row must be permitted. Whatever does not fit (an evaluation error, a
//! number out of range, a column that the rule does not know) is not settled: a person decides.

mod context;
mod number;
mod schema;

use std::{fmt, sync::Arc};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet as CedarPolicies, Request, Schema};

use super::{PolicySet, model::names};
use crate::proposal::{Counter, Operation, Proposal, Settle, Settlement};

pub(super) use number::read as ten_thousandths;
pub(super) use schema::{ColumnKind, Columns, schema_text};

/// A rule that approves without a person. Made by compiling a policy.
pub struct SettlementRule {
    pub(super) name: Box<str>,
    /// `schema.relation` or `schema.*`, alias names.
    pub(super) relations: Vec<Box<str>>,
    pub(super) operations: Vec<Operation>,
    pub(super) sum_column: Option<Box<str>>,
    pub(super) columns: Columns,
    pub(super) schema: Schema,
    pub(super) policies: CedarPolicies,
}

impl SettlementRule {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is for a proposal's relation and all of its operations.
    pub fn covers(&self, proposal: &Proposal) -> bool {
        let target = &proposal.target;
        self.relations.iter().any(|pattern| names(pattern, &target.schema, &target.relation))
            && proposal.changes.iter().all(|change| self.operations.contains(&change.operation))
    }

    /// Whether it would permit a proposal at `now_ms` (milliseconds since the Unix epoch) if it had settled nothing that day.
    pub fn permits_alone(&self, proposal: &Proposal, now_ms: i64) -> bool {
        self.prepare(proposal, now_ms).is_some_and(|prepared| prepared.permitted(self, Counter::default()))
    }

    fn prepare(&self, proposal: &Proposal, now_ms: i64) -> Option<Prepared> {
        if !self.covers(proposal) || proposal.changes.is_empty() {
            return None;
        }
        context::prepare(self, proposal, now_ms)
    }
}

impl fmt::Debug for SettlementRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettlementRule").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A proposal as one rule sees it, all but what was settled before.
struct Prepared {
    principal: EntityUid,
    resource: EntityUid,
    entities: Entities,
    /// One for each row.
    rows: Vec<Row>,
    /// What it adds to the rule's sum. Unit: ten-thousandths.
    amount: i64,
}

struct Row {
    action: EntityUid,
    context: Context,
}

impl Prepared {
    /// Every row is permitted, and nothing failed: an error could be that of a forbid.
    fn permitted(&self, rule: &SettlementRule, settled: Counter) -> bool {
        let authorizer = Authorizer::new();
        let day = context::day(settled, self.rows.len(), self.amount);
        self.rows.iter().all(|row| {
            let context = day.clone().and_then(|day| row.context.clone().merge([("day".to_owned(), day)]).ok());
            let request = context.and_then(|context| {
                let (principal, resource) = (self.principal.clone(), self.resource.clone());
                Request::new(principal, row.action.clone(), resource, context, Some(&rule.schema)).ok()
            });
            request.is_some_and(|request| {
                let answer = authorizer.is_authorized(&request, &rule.policies, &self.entities);
                answer.decision() == Decision::Allow && answer.diagnostics().errors().next().is_none()
            })
        })
    }
}

/// The rules that may settle one proposal, in the policy's order.
struct Settling(Vec<(Arc<SettlementRule>, Prepared)>);

impl Settle for Settling {
    fn rules(&self) -> Vec<Box<str>> {
        self.0.iter().map(|(rule, _)| rule.name.clone()).collect()
    }

    fn settle(&self, counters: &[Counter]) -> Option<Settlement> {
        let permitted = |((rule, prepared), counter): (&(Arc<SettlementRule>, Prepared), &Counter)| {
            let settlement = || Settlement { rule: rule.name.clone(), amount: prepared.amount };
            prepared.permitted(rule, *counter).then(settlement)
        };
        self.0.iter().zip(counters).find_map(permitted)
    }
}

impl PolicySet {
    /// What may settle a proposal now (`now_ms`: milliseconds since the Unix epoch); `None` when no rule is for it.
    pub fn settlement(&self, proposal: &Proposal, now_ms: i64) -> Option<Arc<dyn Settle>> {
        let prepared = |rule: &Arc<SettlementRule>| Some((Arc::clone(rule), rule.prepare(proposal, now_ms)?));
        let rules: Vec<_> = self.settlements.iter().filter_map(prepared).collect();
        if rules.is_empty() { None } else { Some(Arc::new(Settling(rules))) }
    }
}
