//! `pgwicket policy`: check, explain, test and schema. Exit code 0 is fine, 1 means findings, 2 a wrong command line.

mod check;
mod decide;
mod explain;
mod pretty;
mod test;

use std::{fmt, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::{
    app::{self, LoadedPolicy},
    config::Process,
    policy::{self, Inputs, PolicySet, Problem, Severity},
};

/// Check policies, see what they do, hold them by tests
#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say everything that is wrong with the policy files
    Check(check::Check),
    /// Show what a statement of an agent becomes, and why
    Explain(explain::Explain),
    /// Run the policy's own tests: expected allow, deny and rewrite
    Test(test::Test),
    /// Print the JSON Schema of policy files, for editors
    Schema,
}

/// Where the policy is.
#[derive(Debug, Args)]
struct Location {
    /// Directory of the policy files, or one file
    #[arg(long, value_name = "PATH", default_value = "policies", env = "PGWICKET_POLICIES")]
    policies: PathBuf,
    /// Saved catalog to use for every source, instead of `.catalog/<source>.json` beside the policy
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Policy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            PolicyCommand::Check(command) => command.run(),
            PolicyCommand::Explain(command) => command.run(),
            PolicyCommand::Test(command) => command.run(),
            PolicyCommand::Schema => {
                print_json(&policy::json_schema())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Location {
    fn load(&self) -> anyhow::Result<LoadedPolicy> {
        Ok(app::load_policy(&Process, &self.policies)?)
    }

    /// The policy, compiled offline against the saved catalogs; `None` after saying why there is none.
    fn compiled(&self) -> anyhow::Result<Option<(LoadedPolicy, PolicySet)>> {
        let loaded = self.load()?;
        let catalogs = app::saved_catalogs(&Process, &loaded, self.catalog.as_deref())?;
        let (set, problems) = policy::check(&loaded.bundle, Inputs { resolved: &loaded.resolved, catalogs: &catalogs });
        if let Some(set) = set {
            return Ok(Some((loaded, set)));
        }
        let errors: Vec<Problem> = problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        if errors.is_empty() {
            let missing = loaded.bundle.source_names().into_iter().filter(|name| !catalogs.keys().any(|known| known.as_str() == *name));
            let missing: Vec<&str> = missing.collect();
            let message = format!("no saved catalog of {}", missing.join(", "));
            let hint = "save one with `pgwicket policy check --live --save-catalog`";
            self.refuse(&json!({ "ok": false, "error": message, "hint": hint }), &format!("{message}\n  hint: {hint}\n"))?;
        } else {
            self.refuse(&json!({ "ok": false, "problems": json_problems(&errors) }), &lines(&errors))?;
        }
        Ok(None)
    }

    fn refuse(&self, for_programs: &Value, for_people: &str) -> anyhow::Result<()> {
        if self.json {
            return print_json(for_programs);
        }
        super::print(for_people);
        Ok(())
    }
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    super::print(&format!("{text}\n"));
    Ok(())
}

fn lines(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        put(&mut out, format_args!("{problem}\n"));
    }
    out
}

pub(in crate::cli) fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
}

fn json_problems(problems: &[Problem]) -> Vec<Value> {
    let one = |problem: &Problem| {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        json!({ "file": *problem.file, "line": problem.line, "column": problem.column, "severity": severity,
            "message": problem.message, "hint": problem.hint })
    };
    problems.iter().map(one).collect()
}

pub(in crate::cli) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}
