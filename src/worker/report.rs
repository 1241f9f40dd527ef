//! What a worker reports: the outcome, a reason that the proposer may read, and what only reviewers may.

use serde_json::{Value as Json, json};

use crate::{
    policy::{ApprovedChange, NotPermitted},
    proposal::{Outcome, Proposal, RowChange},
    source::{BETWEEN_ROWS, Difference, Divergence, Ending, Failure},
    store::Report,
};

/// The report of how applying a change ended. `receipt`: whether the source has a receipt of it.
pub(super) fn ended(worker: &str, change: &ApprovedChange, ending: &Ending, receipt: bool) -> Report {
    let proposal = change.proposal();
    let mut report = blank(worker, proposal, Outcome::Applied);
    let mut metadata = json!({ "worker": worker, "operation": proposal.verb.word(), "receipt": receipt });
    match ending {
        Ending::Applied { rows, before } => {
            report.affected_rows = Some(*rows);
            put(&mut metadata, "found_applied", before.then_some(true));
        }
        Ending::Conflict { differences } => {
            report.outcome = Outcome::Conflict;
            report.error = Some(conflict(differences).into());
            report.differences =
                Some(json!(differences.iter().map(|found| difference(proposal, found)).collect::<Vec<_>>()).to_string().into());
            put(&mut metadata, "rows_as_proposed", (!receipt && as_proposed(proposal, differences)).then_some(true));
        }
        Ending::Failed(failure) => failed(&mut report, &mut metadata, failure),
    }
    put(&mut metadata, "affected_rows", report.affected_rows);
    report.metadata = Some(metadata.to_string().into());
    report
}

/// The report of a proposal that is not applied since the policy in force does not permit it.
pub(super) fn refused(worker: &str, proposal: &Proposal, why: &NotPermitted) -> Report {
    let mut report = blank(worker, proposal, Outcome::Failed);
    report.error = Some(format!("not applied: {why}").into());
    report.metadata = Some(json!({ "worker": worker, "refused": true }).to_string().into());
    report
}

fn blank(worker: &str, proposal: &Proposal, outcome: Outcome) -> Report {
    Report {
        outcome,
        reporter: worker.into(),
        idempotency_key: Some(proposal.id.to_string().into()),
        affected_rows: None,
        metadata: None,
        error: None,
        differences: None,
    }
}

fn failed(report: &mut Report, metadata: &mut Json, failure: &Failure) {
    report.outcome = Outcome::Failed;
    report.error = Some(failure.reason.clone());
    put(metadata, "sqlstate", failure.sqlstate.as_deref());
    put(metadata, "source_message", failure.source_message.as_deref());
}

fn put(metadata: &mut Json, name: &str, value: Option<impl Into<Json>>) {
    if let (Some(fields), Some(value)) = (metadata.as_object_mut(), value) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// In words, without values: proposers read it.
fn conflict(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "a row was no longer as it was read when an earlier attempt looked".to_owned();
    }
    let mut columns: Vec<&str> = Vec::new();
    let (mut gone, mut taken) = (false, false);
    for found in differences {
        match &found.what {
            Divergence::Gone => gone = true,
            Divergence::Taken => taken = true,
            Divergence::Column { column, .. } if !columns.contains(&&**column) => columns.push(column),
            Divergence::Column { .. } => {}
        }
    }
    let changed = (!columns.is_empty()).then(|| format!("changed since they were read: {}", columns.join(", ")));
    let gone = gone.then(|| "a row is gone, or out of the proposer's reach".to_owned());
    let taken = taken.then(|| BETWEEN_ROWS.to_owned());
    [changed, gone, taken].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn difference(proposal: &Proposal, difference: &Difference) -> Json {
    let row = proposal.changes.get(difference.change);
    let key: serde_json::Map<String, Json> =
        row.into_iter().flat_map(|row| &row.key).map(|cell| (cell.column.to_string(), json!(cell.value.text()))).collect();
    match &difference.what {
        Divergence::Gone => json!({ "change": difference.change, "key": key, "what": "gone" }),
        Divergence::Taken => json!({ "change": difference.change, "key": key, "what": "taken" }),
        Divergence::Column { column, expected, found } => {
            json!({ "change": difference.change, "key": key, "what": "changed", "column": column, "expected": expected, "found": found })
        }
    }
}

/// Whether what differs differs by being as proposed: without a receipt, an attempt whose answer was lost looks like this.
fn as_proposed(proposal: &Proposal, differences: &[Difference]) -> bool {
    let proposed = |row: &RowChange, column: &str, found: Option<&str>| {
        row.after.iter().any(|cell| *cell.column == *column && cell.value.text() == found)
    };
    differences.iter().all(|difference| match &difference.what {
        Divergence::Column { column, found, .. } => {
            proposal.changes.get(difference.change).is_some_and(|row| proposed(row, column, found.as_deref()))
        }
        Divergence::Gone | Divergence::Taken => false,
    })
}
