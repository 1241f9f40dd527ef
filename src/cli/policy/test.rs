//! `pgwicket policy test`: statements and their expected answers, for CI.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{
    Location,
    decide::{Decision, decide},
    json_problems, lines, print_json, put, table,
};
use crate::{
    config::{self, ConfigError, Process},
    policy::{Expected, LiteralProposal, PolicyCase, PolicyFile, PolicySet, cases},
    proposal::Proposal,
};

/// Needs saved catalogs (`policy check --live --save-catalog`), no database.
#[derive(Debug, Args)]
pub(super) struct Test {
    #[command(flatten)]
    location: Location,
    /// Test files; default every YAML file in `tests/` beside the policy
    files: Vec<PathBuf>,
}

struct Outcome<'a> {
    case: &'a PolicyCase,
    /// What was expected and what came instead; `None` when they agree.
    wrong: Option<String>,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some((loaded, policy)) = self.location.compiled()? else { return Ok(ExitCode::FAILURE) };
        let cases = match cases(&self.files(&loaded.directory)?) {
            Ok(cases) => cases,
            Err(errors) => {
                self.location.refuse(&json!({ "ok": false, "problems": json_problems(&errors.0) }), &lines(&errors.0))?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let outcomes: Vec<Outcome<'_>> = cases.iter().map(|case| Outcome { case, wrong: wrong(&policy, case) }).collect();
        let failed = outcomes.iter().filter(|outcome| outcome.wrong.is_some()).count();
        if self.location.json {
            print_json(&as_json(&outcomes, failed))?;
        } else {
            crate::cli::print(&as_text(&outcomes, failed));
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn files(&self, directory: &Path) -> Result<Vec<PolicyFile>, ConfigError> {
        if self.files.is_empty() {
            let texts = config::policy_texts(&Process, &directory.join("tests"))?;
            let named = |(name, text)| PolicyFile { name: format!("tests/{name}").into(), text };
            return Ok(texts.files.into_iter().map(named).collect());
        }
        let read = |path: &PathBuf| Ok(PolicyFile { name: path.display().to_string().into(), text: config::text(&Process, path)? });
        self.files.iter().map(read).collect()
    }
}

/// What is wrong with the answer; `None` when it is the expected one.
fn wrong(policy: &PolicySet, case: &PolicyCase) -> Option<String> {
    let Some(agent) = policy.agents.values().find(|agent| agent.name.as_str() == case.agent) else {
        return Some(format!("the policy has no agent {}", case.agent));
    };
    if let Expected::Propose { proposal, settles, needs_review } = &case.expected {
        return match proposal.proposal(policy, agent, &case.sql) {
            Ok(made) => wrong_approval(policy, &made, proposal, (settles.as_deref(), *needs_review)),
            Err(misfit) => Some(misfit),
        };
    }
    match (&case.expected, decide(policy, agent, &case.sql)) {
        (Expected::Deny { .. }, Decision::Governed(_) | Decision::Local(_)) => Some("expected a refusal, but it is allowed".to_owned()),
        (Expected::Deny { .. }, Decision::Proposed(_)) => Some("expected a refusal, but it would be stored as a proposal".to_owned()),
        (Expected::Allow { .. }, Decision::Refused(report)) => {
            Some(format!("expected it to be allowed, but it is refused: {} {}", report.sqlstate, report.message))
        }
        (Expected::Deny { sqlstate, message }, Decision::Refused(report)) => {
            if let Some(expected) = sqlstate.as_ref().filter(|expected| **expected != report.sqlstate) {
                return Some(format!("expected SQLSTATE {expected}, got {}: {}", report.sqlstate, report.message));
            }
            let part = message.as_ref().filter(|part| !report.message.contains(part.as_str()))?;
            Some(format!("expected a message with `{part}`, got: {}", report.message))
        }
        (Expected::Allow { rewrite: None, fenced: None }, Decision::Local(_)) | (Expected::Propose { .. }, _) => None,
        (Expected::Allow { .. }, Decision::Local(_)) => Some("it is not forwarded: pgwicket answers it itself".to_owned()),
        (Expected::Allow { rewrite, fenced }, Decision::Governed(statement) | Decision::Proposed(statement)) => {
            if let Some(expected) = rewrite.as_ref().filter(|expected| expected.as_str() != statement.text().trim()) {
                return Some(format!("expected the rewrite\n{expected}\ngot\n{}", statement.text().trim()));
            }
            let expected = fenced.filter(|expected| *expected != statement.fenced())?;
            Some(if expected { "expected it to be fenced, it is not" } else { "expected it not to be fenced, it is" }.to_owned())
        }
    }
}

/// What is wrong with how a proposal would be approved.
fn wrong_approval(
    policy: &PolicySet,
    proposal: &Proposal,
    literal: &LiteralProposal,
    (settles, needs_review): (Option<&str>, Option<u64>),
) -> Option<String> {
    let settling = policy.settlement(proposal, literal.at());
    let settled = settling.and_then(|settling| {
        let counters = vec![literal.settled; settling.rules().len()];
        settling.settle(&counters)
    });
    let by = settled.map(|settlement| settlement.rule);
    let review = policy.approvals_needed(proposal);
    let instead = || match (&by, &review) {
        (Some(rule), _) => format!("it is settled by {rule}"),
        (None, Ok(needed)) => format!("no rule settles it; it needs {} of {} reviewers", needed.quorum, needed.reviewers.len()),
        (None, Err(error)) => format!("no rule settles it, and {error}"),
    };
    if let Some(expected) = settles {
        return (by.as_deref() != Some(expected)).then(|| format!("expected it to be settled by {expected}, but {}", instead()));
    }
    let expected = needs_review?;
    let needed = review.as_ref().ok().filter(|_| by.is_none()).map(|needed| needed.quorum as u64);
    (needed != Some(expected)).then(|| format!("expected it to need {expected} approvals, but {}", instead()))
}

fn expectation(case: &PolicyCase) -> String {
    match &case.expected {
        Expected::Propose { settles: Some(rule), .. } => format!("settled by {rule}"),
        Expected::Propose { settles: None, needs_review: Some(quorum), .. } => format!("review by {quorum}"),
        Expected::Propose { settles: None, needs_review: None, .. } => "propose".to_owned(),
        Expected::Allow { rewrite: Some(_), .. } => "rewrite".to_owned(),
        Expected::Allow { rewrite: None, fenced } => match fenced {
            Some(true) => "allow, fenced".to_owned(),
            Some(false) => "allow, not fenced".to_owned(),
            None => "allow".to_owned(),
        },
        Expected::Deny { sqlstate, .. } => sqlstate.as_ref().map_or("deny".to_owned(), |state| format!("deny {state}")),
    }
}

fn as_text(outcomes: &[Outcome<'_>], failed: usize) -> String {
    let mut results = table(&["", "test", "agent", "expected", "at"]);
    for Outcome { case, wrong } in outcomes {
        let verdict = if wrong.is_some() { "FAIL" } else { "ok" };
        results.add_row([verdict, &case.name, &case.agent, &expectation(case), &case.at.to_string()]);
    }
    let mut out = format!("{results}\n");
    for Outcome { case, wrong } in outcomes {
        if let Some(wrong) = wrong {
            let indented: Vec<String> = format!("{}\n{wrong}", case.sql).lines().map(|line| format!("    {line}")).collect();
            put(&mut out, format_args!("\nFAIL {}: {}\n{}\n", case.at, case.name, indented.join("\n")));
        }
    }
    put(&mut out, format_args!("{} passed, {failed} failed\n", outcomes.len() - failed));
    out
}

fn as_json(outcomes: &[Outcome<'_>], failed: usize) -> serde_json::Value {
    let one = |outcome: &Outcome<'_>| {
        let case = outcome.case;
        json!({ "file": *case.at.file, "line": case.at.line, "name": case.name, "agent": case.agent, "sql": case.sql,
            "ok": outcome.wrong.is_none(), "wrong": outcome.wrong })
    };
    json!({ "ok": failed == 0, "passed": outcomes.len() - failed, "failed": failed, "tests": outcomes.iter().map(one).collect::<Vec<_>>() })
}
