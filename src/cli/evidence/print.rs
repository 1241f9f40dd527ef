//! Evidence as tables for people and JSON for programs.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::values::{show, tame};
use crate::journal::{
    ColumnRecord, DecisionRecord, End, Kept, Listing, OutcomeRecord, ParameterRecord, Report, Statement, Verdict, split_data_row,
};

/// Characters of a statement's text in a list.
const TEXT: usize = 72;

/// Columns of the terminal that the facts about one statement take at most; what is longer is wrapped.
const WIDTH: u16 = 120;

pub(super) fn list(listing: &Listing) -> String {
    let mut table = table();
    table.set_header(["evidence id", "time", "agent", "tenant", "decision", "end", "rows", "ms", "statement"]);
    for statement in &listing.statements {
        let decision = &statement.decision;
        let (end, rows, duration) = ended(&statement.end);
        table.add_row([
            statement.id.to_string(),
            time(decision.time),
            tame(&decision.agent),
            tame(decision.tenant.as_deref().unwrap_or("")),
            verdict(&decision.verdict),
            end,
            rows,
            duration,
            shortened(&decision.client_text),
        ]);
    }
    format!("{table}\n{} statement{}\n", listing.statements.len(), if listing.statements.len() == 1 { "" } else { "s" })
}

pub(super) fn list_json(listing: &Listing) -> String {
    let statements: Vec<Value> = listing.statements.iter().map(|statement| object(statement, None)).collect();
    pretty(&Value::Array(statements))
}

pub(super) fn statement(statement: &Statement, rows: Option<&[u8]>) -> String {
    let mut facts = table();
    facts.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.add_row([name.to_owned(), value]);
        }
    };
    fact("evidence id", statement.id.to_string());
    decided(&statement.decision, &mut fact);
    fact("end", ended(&statement.end).0);
    let mut out = String::new();
    if let End::Outcome(outcome) = &statement.end {
        came_back(outcome, &mut fact);
        if let Some(rows) = rows {
            out = rows_table(outcome, rows);
        }
    }
    fact("journal", format!("lane {} entry {}", statement.lane, statement.sequence));
    format!("{facts}\n{out}")
}

pub(super) fn statement_json(statement: &Statement, rows: Option<&[u8]>) -> String {
    pretty(&object(statement, rows))
}

pub(super) fn report(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        line(&mut out, format_args!("DAMAGED {finding}"));
    }
    for note in &report.notes {
        line(&mut out, format_args!("note: {note}"));
    }
    out.push_str(&heads(report));
    line(
        &mut out,
        format_args!(
            "{} entries in {} segments of {} lanes; {} statements ({} refused, {} interrupted, {} running); {} rows match their digest",
            report.entries,
            report.segments,
            report.lanes,
            report.statements,
            report.refused,
            report.interrupted,
            report.running,
            report.rows
        ),
    );
    match report.findings.len() {
        0 => line(&mut out, format_args!("the journal holds")),
        count => line(&mut out, format_args!("the journal does NOT hold: {count} finding{}", if count == 1 { "" } else { "s" })),
    }
    out
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
    out.push('\n');
}

/// The end of each lane, a line each, as [`crate::journal::Anchor`] reads it.
pub(super) fn heads(report: &Report) -> String {
    let mut out = String::new();
    for head in &report.heads {
        line(&mut out, format_args!("{head}"));
    }
    out
}

pub(super) fn report_json(report: &Report) -> String {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "lane": finding.lane, "file": finding.file.display().to_string(), "entry": finding.entry, "offset": finding.offset,
            "evidence_id": finding.id.map(|id| id.to_string()), "reason": finding.reason,
        })
    });
    let heads = report.heads.iter().map(|head| json!({ "lane": head.lane, "sequence": head.sequence, "sha256": head.hash.to_string() }));
    pretty(&json!({
        "ok": report.findings.is_empty(),
        "findings": findings.collect::<Vec<_>>(),
        "notes": report.notes,
        "lanes": report.lanes, "segments": report.segments, "entries": report.entries, "statements": report.statements,
        "refused": report.refused, "interrupted": report.interrupted, "running": report.running, "rows": report.rows,
        "heads": heads.collect::<Vec<_>>(),
    }))
}

fn decided(decision: &DecisionRecord, fact: &mut impl FnMut(&str, String)) {
    fact("time", time(decision.time));
    fact("agent", tame(&decision.agent));
    fact("tenant", tame(decision.tenant.as_deref().unwrap_or("")));
    fact("run", tame(decision.run.as_deref().unwrap_or("")));
    fact("principal", tame(decision.subject.as_deref().unwrap_or("")));
    fact("attributes", tame(&decision.attributes.join(", ")));
    fact("session", tame(&decision.session));
    fact("application", tame(&decision.application_name));
    fact("trace", tame(decision.traceparent.as_deref().unwrap_or("")));
    fact("source", tame(decision.source.as_deref().unwrap_or("")));
    fact("relations", tame(&decision.relations.join(", ")));
    fact("statement", lines(&decision.client_text));
    fact("fingerprint", tame(&decision.fingerprint));
    for (index, parameter) in decision.parameters.iter().enumerate() {
        let value = parameter.value.as_ref().map(|value| show(parameter.type_oid, parameter.format, value));
        fact(&format!("parameter ${}", index + 1), tame(value.as_deref().unwrap_or("NULL")));
    }
    if let Some((count, digest)) = &decision.redacted {
        fact("parameters", format!("{count}, not kept; sha256 {digest}"));
    }
    fact("sent to the source", lines(decision.governed_text.as_deref().unwrap_or("").as_bytes()));
    let digest = decision.policy_digest.map(|digest| digest.to_string()).unwrap_or_default();
    fact("policy", format!("epoch {} sha256 {digest}", decision.policy_epoch));
    fact("decision", verdict(&decision.verdict));
    if let Verdict::Refused { message, .. } = &decision.verdict {
        fact("message", lines(message.as_bytes()));
    }
}

fn came_back(outcome: &OutcomeRecord, fact: &mut impl FnMut(&str, String)) {
    if let Some(sqlstate) = &outcome.sqlstate {
        fact("error", lines(format!("{sqlstate} {}", outcome.message.as_deref().unwrap_or("")).as_bytes()));
    }
    fact("duration", format!("{} ms", milliseconds(outcome.duration)));
    fact("rows", format!("{} in {} bytes", outcome.rows, outcome.bytes));
    fact("rows digest", outcome.rows_digest.map(|digest| format!("sha256 {digest}")).unwrap_or_default());
    fact("rows kept", format!("{} ({} bytes)", kept(outcome.kept), outcome.kept_bytes));
}

fn rows_table(outcome: &OutcomeRecord, mut messages: &[u8]) -> String {
    let mut table = table();
    table.set_header(outcome.columns.iter().map(|column| tame(&column.name)));
    let mut count = 0;
    while let Some((values, rest)) = split_data_row(messages) {
        let cell =
            |(index, value): (usize, Option<&[u8]>)| value.map_or("NULL".to_owned(), |value| tame(&value_text(outcome, index, value)));
        table.add_row(values.into_iter().enumerate().map(cell));
        messages = rest;
        count += 1;
    }
    let missing = if count == outcome.rows { String::new() } else { format!(" kept of {} that came back", outcome.rows) };
    format!("{table}\n{count} row{}{missing}\n", if count == 1 { "" } else { "s" })
}

fn value_text(outcome: &OutcomeRecord, index: usize, value: &[u8]) -> String {
    let column = outcome.columns.get(index);
    show(column.map_or(0, |column| column.type_oid), column.map_or(0, |column| column.format), value)
}

fn object(statement: &Statement, rows: Option<&[u8]>) -> Value {
    let decision = &statement.decision;
    let (sqlstate, message) = match &decision.verdict {
        Verdict::Refused { sqlstate, message } => (Some(sqlstate), Some(message)),
        Verdict::Unknown | Verdict::Forwarded | Verdict::Local => (None, None),
    };
    json!({
        "evidence_id": statement.id.to_string(), "lane": statement.lane, "entry": statement.sequence, "time": time(decision.time),
        "agent": decision.agent, "tenant": decision.tenant, "run": decision.run, "principal": decision.subject,
        "attributes": decision.attributes, "session": decision.session,
        "application_name": decision.application_name, "traceparent": decision.traceparent, "source": decision.source,
        "relations": decision.relations, "statement": String::from_utf8_lossy(&decision.client_text),
        "fingerprint": decision.fingerprint, "parameters": decision.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "parameters_redacted": decision.redacted.map(|(count, digest)| json!({ "count": count, "sha256": digest.to_string() })),
        "governed": decision.governed_text, "policy_epoch": decision.policy_epoch,
        "policy_digest": decision.policy_digest.map(|digest| digest.to_string()),
        "decision": verdict_word(&decision.verdict), "sqlstate": sqlstate, "message": message,
        "end": end_word(&statement.end), "outcome": outcome_object(&statement.end, rows),
    })
}

fn outcome_object(end: &End, rows: Option<&[u8]>) -> Value {
    let End::Outcome(outcome) = end else { return Value::Null };
    let mut value = json!({
        "time": time(outcome.time), "sqlstate": outcome.sqlstate, "message": outcome.message, "duration_us": outcome.duration,
        "row_count": outcome.rows, "byte_count": outcome.bytes, "columns": outcome.columns.iter().map(column).collect::<Vec<_>>(),
        "rows_sha256": outcome.rows_digest.map(|digest| digest.to_string()), "rows_kept": kept(outcome.kept), "kept_bytes": outcome.kept_bytes,
    });
    if let (Some(mut messages), Some(object)) = (rows, value.as_object_mut()) {
        let mut all = Vec::new();
        while let Some((values, rest)) = split_data_row(messages) {
            let row = values.into_iter().enumerate().map(|(index, value)| value.map(|value| value_text(outcome, index, value)));
            all.push(row.collect::<Vec<_>>());
            messages = rest;
        }
        object.insert("rows".to_owned(), json!(all));
    }
    value
}

fn parameter(parameter: &ParameterRecord) -> Value {
    let value = parameter.value.as_ref().map(|value| show(parameter.type_oid, parameter.format, value));
    json!({ "type": parameter.type_oid, "format": parameter.format, "value": value })
}

fn column(column: &ColumnRecord) -> Value {
    json!({ "name": column.name, "type": column.type_oid, "format": column.format })
}

/// How it ended, how many rows, how many milliseconds.
fn ended(end: &End) -> (String, String, String) {
    match end {
        End::Outcome(outcome) => {
            let word = match &outcome.sqlstate {
                Some(sqlstate) => format!("{} {sqlstate}", outcome.status_name()),
                None => outcome.status_name().to_owned(),
            };
            (word, outcome.rows.to_string(), milliseconds(outcome.duration))
        }
        End::Refused | End::Running | End::Interrupted => (end_word(end).to_owned(), String::new(), String::new()),
    }
}

fn end_word(end: &End) -> &'static str {
    match end {
        End::Outcome(outcome) => outcome.status_name(),
        End::Refused => "refused",
        End::Running => "running",
        End::Interrupted => "interrupted",
    }
}

fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Forwarded => "forwarded",
        Verdict::Local => "local",
        Verdict::Refused { .. } => "refused",
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refused { sqlstate, .. } => format!("refused {}", tame(sqlstate)),
        Verdict::Unknown | Verdict::Forwarded | Verdict::Local => verdict_word(verdict).to_owned(),
    }
}

fn kept(kept: Kept) -> &'static str {
    match kept {
        Kept::Unknown => "unknown",
        Kept::Full => "all",
        Kept::Capped => "truncated at the byte cap",
        Kept::Digest => "none, digest only",
        Kept::Sample => "sample",
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03}", microseconds / 1000, microseconds % 1000)
}

fn time(microseconds: u64) -> String {
    let time = i64::try_from(microseconds).ok().and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok());
    time.map_or_else(|| microseconds.to_string(), |time| format!("{time:.6}"))
}

/// Text on several lines, without other control characters.
fn lines(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().map(tame).collect::<Vec<_>>().join("\n")
}

fn shortened(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split_whitespace().map(tame).collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
