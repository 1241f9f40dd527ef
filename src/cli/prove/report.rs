//! The report: a table for people, JSON for programs.

use serde_json::{Value, json};

use super::{
    finding::{CHECKS, Finding, Findings, Severity, Tally},
    session::Run,
};
use crate::cli::policy::{put, table};

/// What a run was, beside what it found.
#[derive(Debug)]
pub(super) struct Header {
    /// SHA-256 over the policy files, in hex.
    pub(super) digest: String,
    /// The policy directory.
    pub(super) policies: String,
    /// Agents that were probed.
    pub(super) agents: Vec<String>,
    /// The seed of what was generated.
    pub(super) seed: u64,
    /// Bytes that agents received.
    pub(super) received: u64,
}

/// For people.
pub(super) fn text(header: &Header, found: &Findings) -> String {
    let mut lines = table(&["check", "for", "held", "findings", "refused", "open"]);
    for ((order, scope), tally) in &found.tallies {
        let id = CHECKS.get(*order).map_or("", |check| check.id);
        let number = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        lines.add_row([
            id.to_owned(),
            scope.clone(),
            tally.passed.to_string(),
            number(tally.failed),
            number(tally.refused),
            number(tally.inconclusive),
        ]);
    }
    let mut out = format!("{lines}\n");
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        for finding in found.list.iter().filter(|finding| finding.severity == severity) {
            out.push_str(&paragraph(finding));
        }
    }
    for ((order, scope), tally) in &found.tallies {
        if let Some(reason) = &tally.reason {
            let id = CHECKS.get(*order).map_or("", |check| check.id);
            put(
                &mut out,
                format_args!("\nopen: {id}, {scope}: {} without an answer, the first because of: {reason}\n", tally.inconclusive),
            );
        }
    }
    for missing in &found.not_run {
        put(&mut out, format_args!("\nnot run: {}, {}: {}\n  how: {}\n", missing.check.id, missing.scope, missing.why, missing.how));
    }
    put(&mut out, format_args!("\n{}\n", verdict(header, found)));
    out
}

fn paragraph(finding: &Finding) -> String {
    let place = finding.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
    format!(
        "\n{}: {}: {}{place}\n  {}\n  why: {}\n  fix: {}\n",
        finding.severity.word(),
        finding.check.id,
        finding.subject,
        finding.what,
        finding.check.why,
        finding.fix
    )
}

fn verdict(header: &Header, found: &Findings) -> String {
    let held: u64 = found.tallies.values().map(|tally| tally.passed).sum();
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{held} checks held, {} bytes looked at: {}, {}, {}, {} not run (seed {}, policy {})",
        header.received,
        counted(found.count(Severity::Error), "error"),
        counted(found.count(Severity::Warning), "warning"),
        counted(found.count(Severity::Note), "note"),
        counted(found.not_run.len(), "check"),
        header.seed,
        header.digest.get(..12).unwrap_or_default(),
    )
}

/// For programs; docs/security/PROVE.md has the shape.
pub(super) fn json(header: &Header, found: &Findings) -> Value {
    let checks: Vec<Value> = found.tallies.iter().map(|((order, scope), tally)| json_tally(*order, scope, tally)).collect();
    let findings: Vec<Value> = found.list.iter().map(json_finding).collect();
    let not_run = |missing: &super::finding::NotRun| json!({ "check": missing.check.id, "for": missing.scope, "why": missing.why, "how": missing.how });
    json!({
        "version": 1,
        "tool": { "name": "pgwicket prove", "version": env!("CARGO_PKG_VERSION") },
        "ok": found.count(Severity::Error) == 0,
        "policy": { "path": header.policies, "digest": header.digest },
        "agents": header.agents,
        "seed": header.seed,
        "bytes_received": header.received,
        "counts": { "error": found.count(Severity::Error), "warning": found.count(Severity::Warning), "note": found.count(Severity::Note) },
        "checks": checks,
        "findings": findings,
        "not_run": found.not_run.iter().map(not_run).collect::<Vec<_>>(),
    })
}

fn json_tally(order: usize, scope: &str, tally: &Tally) -> Value {
    let check = CHECKS.get(order);
    json!({
        "check": check.map(|check| check.id), "title": check.map(|check| check.title), "for": scope, "held": tally.passed, "failed": tally.failed,
        "refused": tally.refused, "open": tally.inconclusive, "reason": tally.reason,
    })
}

fn json_finding(finding: &Finding) -> Value {
    let place = finding.place.as_ref().map(|place| json!({ "file": *place.file, "line": place.line, "column": place.column }));
    json!({
        "check": finding.check.id, "severity": finding.severity.word(), "subject": finding.subject, "what": finding.what,
        "why": finding.check.why, "fix": finding.fix, "place": place,
    })
}

impl Header {
    /// Of a run over these agents.
    pub(super) fn of(run: &Run<'_>, policies: String, agents: Vec<String>, received: u64) -> Self {
        Self { digest: run.policy.digest.to_string(), policies, agents, seed: run.seed, received }
    }
}
