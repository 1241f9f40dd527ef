//! What an agent may ask about its own proposals, fetched when a statement asks.

use serde_json::{Value as Json, json};

use super::{
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::WriteError,
    govern::{AppendedValue, GovernedStatement, SessionValue},
    proposal::{Cell, RowChange, Value},
    store::{Acting, Filter, PageRequest, Record},
};

/// Proposals that an agent sees, the newest.
const SHOWN: u32 = 1000;
/// Bytes of their content, the newest. They are sent to a source with each statement that asks.
const SHOWN_BYTES: u64 = 4 * 1024 * 1024;

/// The rows of `pgwicket.proposals` and `pgwicket.proposal_changes`, as JSON arrays.
#[derive(Debug, Default)]
pub(super) struct Own {
    proposals: String,
    changes: String,
}

impl Own {
    pub(super) fn proposals(&self) -> &str {
        &self.proposals
    }

    pub(super) fn changes(&self) -> &str {
        &self.changes
    }

    /// Only what the statement asks for.
    fn of(records: &[Record], asked: (bool, bool), now: i64) -> Self {
        let array = |asked: bool, rows: &dyn Fn() -> Vec<Json>| if asked { Json::Array(rows()).to_string() } else { String::new() };
        Self {
            proposals: array(asked.0, &|| records.iter().map(|record| proposal(record, now)).collect()),
            changes: array(asked.1, &|| records.iter().flat_map(changes).collect()),
        }
    }
}

impl<I: Interrupts> Session<I> {
    /// Fetches the agent's own proposals, if the statement asks for them.
    pub(super) async fn know_own(&mut self, statement: &GovernedStatement) -> Result<(), Failure> {
        let asks = |wanted: SessionValue| {
            let is_it = |value: &AppendedValue| matches!(value, AppendedValue::Session(asked) if *asked == wanted);
            statement.appended().iter().any(|appended| is_it(&appended.value))
        };
        let asked = (asks(SessionValue::Proposals), asks(SessionValue::ProposalChanges));
        if asked == (false, false) {
            return Ok(());
        }
        let principal = &self.who.principal;
        let store = self.lane.store().clone();
        let acting = Some(Acting(principal.tenant.clone()));
        let filter = Filter { agent: Some(principal.agent.clone()), acting, ..Filter::default() };
        let shown = PageRequest { limit: SHOWN, cursor: None, bytes: SHOWN_BYTES };
        let page = self.hear(store.list(&filter, &shown)).await?.map_err(|error| {
            tracing::error!(%error, "proposals could not be listed");
            WriteError::Unlisted
        })?;
        self.own = Own::of(&page.records, asked, jiff::Timestamp::now().as_millisecond());
        Ok(())
    }
}

fn proposal(record: &Record, now: i64) -> Json {
    let proposal = record.content.proposal();
    let time = |milliseconds: i64| jiff::Timestamp::from_millisecond(milliseconds).ok().map(|time| time.to_string());
    let conflicts: Vec<String> = record.own_conflicts.iter().map(ToString::to_string).collect();
    json!({
        "proposal_id": proposal.id.to_string(),
        "status": record.status_at(now).word(),
        "operation": proposal.verb.word(),
        "schema": proposal.target.schema,
        "relation": proposal.target.relation,
        "rows": proposal.changes.len(),
        "changes": proposal.changes.iter().map(change).collect::<Vec<_>>(),
        "reason": proposal.reason,
        "run": proposal.run.as_ref().map(ToString::to_string),
        "evidence_id": proposal.evidence.to_string(),
        "idempotency_key": proposal.idempotency_key,
        "conflicts_with": conflicts,
        "decision_reasons": record.approvals.iter().filter_map(|approval| approval.reason.as_deref()).collect::<Vec<_>>(),
        "created_at": time(proposal.created_at),
        "expires_at": time(proposal.expires_at),
        "decided_at": record.decided_at.and_then(time),
        "applied_at": record.applied_at.and_then(time),
    })
}

fn changes(record: &Record) -> Vec<Json> {
    let proposal = record.content.proposal();
    let mut rows = Vec::new();
    for (number, change) in (1..).zip(&proposal.changes) {
        let columns = if change.after.is_empty() { &change.before } else { &change.after };
        for cell in columns {
            let before = change.before.iter().find(|before| before.column == cell.column);
            let after = change.after.iter().find(|after| after.column == cell.column);
            rows.push(json!({
                "proposal_id": proposal.id.to_string(),
                "change": number,
                "operation": change.operation.word(),
                "key": cells(&change.key),
                "column": cell.column,
                "before": before.and_then(|cell| cell.value.text()),
                "after": after.and_then(|cell| cell.value.text()),
                "is_default": cell.value == Value::Default,
            }));
        }
    }
    rows
}

fn change(change: &RowChange) -> Json {
    json!({
        "operation": change.operation.word(),
        "key": cells(&change.key),
        "before": cells(&change.before),
        "after": cells(&change.after),
    })
}

/// Values by column; a default is an object, which no value is.
fn cells(cells: &[Cell]) -> Json {
    let value = |cell: &Cell| match &cell.value {
        Value::Null => Json::Null,
        Value::Text(text) => Json::String(text.to_string()),
        Value::Default => json!({ "default": true }),
    };
    Json::Object(cells.iter().map(|cell| (cell.column.to_string(), value(cell))).collect())
}
