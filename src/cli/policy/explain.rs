//! `pgwicket policy explain --agent A "SQL"`: what a statement becomes, and why.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{
    Location,
    decide::{Decision, agent, decide},
    pretty::pretty,
    print_json, put,
};
use crate::{
    error::Report,
    govern::{Appended, AppendedValue, GovernedStatement, SessionValue},
    policy::{Agent, EvidenceRows, OnLimit},
};

/// Needs saved catalogs (`policy check --live --save-catalog`), no database.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    location: Location,
    /// The agent who asks
    #[arg(long, value_name = "NAME")]
    agent: String,
    /// The statement
    sql: String,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some((_, policy)) = self.location.compiled()? else { return Ok(ExitCode::FAILURE) };
        let agent = agent(&policy, &self.agent)?;
        let decision = decide(&policy, agent, &self.sql);
        if self.location.json {
            print_json(&as_json(agent, &decision))?;
        } else {
            crate::cli::print(&as_text(agent, &self.sql, &decision));
        }
        Ok(if matches!(decision, Decision::Refused(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn as_json(agent: &Agent, decision: &Decision) -> serde_json::Value {
    match decision {
        Decision::Local(why) => json!({ "decision": "local", "agent": agent.name.as_str(), "why": why }),
        Decision::Refused(report) => json!({ "decision": "refused", "agent": agent.name.as_str(), "sqlstate": report.sqlstate,
            "message": report.message, "detail": report.detail, "hint": report.hint, "position": report.position }),
        Decision::Governed(statement) | Decision::Proposed(statement) => json!({
            "decision": if matches!(decision, Decision::Proposed(_)) { "proposed" } else { "forwarded" }, "agent": agent.name.as_str(),
            "source": statement.source().as_str(), "sql": statement.text(), "fenced": statement.fenced(),
            "client_parameters": statement.client_parameters(),
            "appended": statement.appended().iter().map(|appended| value(appended, agent)).collect::<Vec<_>>(),
            "relations": statement.relations(), "rules": statement.rules(), "limit": limit(statement), "evidence": evidence(statement),
            "fingerprint": statement.fingerprint() }),
    }
}

fn as_text(agent: &Agent, sql: &str, decision: &Decision) -> String {
    let tenant = agent.tenant.as_ref().map_or("no tenant".to_owned(), |tenant| format!("tenant {tenant}"));
    let asked = format!("{} ({tenant}) asks\n\n{}\n\n", agent.name, indent(sql.trim()));
    match decision {
        Decision::Local(why) => format!("{asked}answered without the source\n\n    {why}\n"),
        Decision::Refused(report) => format!("{asked}REFUSED\n\n{}", refusal(report, sql)),
        Decision::Governed(statement) => format!("{asked}forwarded to {} as{}", statement.source(), forwarded(agent, statement)),
        Decision::Proposed(statement) => {
            let source = statement.source();
            format!(
                "{asked}not executed: stored as a proposal\n\nits before-images and new values are read from {source} by{}",
                forwarded(agent, statement)
            )
        }
    }
}

fn refusal(report: &Report, sql: &str) -> String {
    let mut out = format!("    ERROR {}: {}\n", report.sqlstate, report.message);
    if let Some((line, column, text)) = report.position.and_then(|position| locate(sql, position)) {
        let prefix = format!("LINE {line}: ");
        put(&mut out, format_args!("    {prefix}{text}\n    {}^\n", " ".repeat(prefix.chars().count() + column)));
    }
    for (label, text) in [("DETAIL", &report.detail), ("HINT", &report.hint)] {
        if let Some(text) = text {
            put(&mut out, format_args!("    {label}: {text}\n"));
        }
    }
    out
}

/// Line number, 0-based column and text of the line at a 1-based character position.
fn locate(sql: &str, position: usize) -> Option<(usize, usize, &str)> {
    let before: String = sql.chars().take(position.checked_sub(1)?).collect();
    let line = before.matches('\n').count();
    let column = before.chars().rev().take_while(|c| *c != '\n').count();
    Some((line + 1, column, sql.lines().nth(line)?))
}

fn forwarded(agent: &Agent, statement: &GovernedStatement) -> String {
    let mut out = format!("\n\n{}\n", indent(&pretty(statement.text())));
    for (index, appended) in statement.appended().iter().enumerate() {
        put(&mut out, format_args!("\n    ${} = {}", statement.client_parameters() + index + 1, value(appended, agent)));
    }
    let fence = if statement.fenced() {
        "fenced: other tenants' rows are cut off (OFFSET 0) before any condition of the statement runs, and no statistics of them are used"
    } else {
        "not fenced: the planner may use every index and join order"
    };
    put(&mut out, format_args!("\n\n{fence}\n\nwhy\n"));
    for rule in statement.rules() {
        put(&mut out, format_args!("  - {rule}\n"));
    }
    put(&mut out, format_args!("  - rows: {}\n  - evidence: {}\n", limit(statement), evidence(statement)));
    out
}

fn value(appended: &Appended, agent: &Agent) -> String {
    match &appended.value {
        AppendedValue::Tenant => {
            agent.tenant.as_ref().map_or("NULL (no tenant)".to_owned(), |tenant| format!("'{tenant}' (the agent's tenant)"))
        }
        AppendedValue::MaskKey(_) => "**** (the mask key)".to_owned(),
        AppendedValue::Constant(value) => format!("{value} (a constant of the text)"),
        AppendedValue::Session(value) => match value {
            SessionValue::User => format!("'{}' (current_user)", agent.name),
            SessionValue::Database => "the database name of the connection".to_owned(),
            SessionValue::Schema => "the first schema of the search path".to_owned(),
            SessionValue::BackendPid => "the connection's process id".to_owned(),
            SessionValue::Version => "pgwicket's version text".to_owned(),
            SessionValue::Proposals => "the agent's proposals".to_owned(),
            SessionValue::ProposalChanges => "the changes in the agent's proposals".to_owned(),
            SessionValue::Config { name, .. } => format!("the session's setting {name}, which it sets"),
            SessionValue::Setting { name, .. } => format!("the session's setting {name}"),
        },
    }
}

fn limit(statement: &GovernedStatement) -> String {
    let limit = statement.limit();
    let mut parts = Vec::new();
    parts.extend(limit.rows.map(|rows| format!("{rows} rows")));
    parts.extend(limit.bytes.map(|bytes| format!("{bytes} bytes")));
    let past = match limit.on_limit {
        OnLimit::Error => "past it the statement ends with 53400",
        OnLimit::Truncate => "past it the answer is truncated, with a warning",
    };
    if parts.is_empty() { "no limit".to_owned() } else { format!("at most {}; {past}", parts.join(" and ")) }
}

fn evidence(statement: &GovernedStatement) -> String {
    match statement.evidence() {
        EvidenceRows::Full { max_bytes } => format!("every row, up to {} MiB a statement", max_bytes >> 20),
        EvidenceRows::Digest => "a digest of the rows".to_owned(),
        EvidenceRows::Sample { rows } => format!("the first {rows} rows and a digest"),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
