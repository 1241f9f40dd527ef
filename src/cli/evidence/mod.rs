//! `pgwicket evidence`: list, show, verify and anchor the journal. Reads only, also while a proxy writes.

mod print;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::{
    journal::{self, Anchor, Clock, Filter, Report},
    types::EvidenceId,
};

/// Read and verify the evidence of statements
#[derive(Debug, Args)]
pub(super) struct Evidence {
    /// The journal's directory
    #[arg(long, global = true, value_name = "DIR", env = "PGWICKET_JOURNAL", default_value = "pgwicket-journal")]
    journal: PathBuf,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List statements, newest first
    List(List),
    /// Show all that is known of one statement
    Show {
        /// Its evidence id, as `SHOW pgwicket.evidence_id` gave it
        #[arg(value_name = "EV_ID")]
        id: EvidenceId,
        /// Print the rows that came back, too
        #[arg(long)]
        rows: bool,
    },
    /// Check every hash, every link and every kept row; exit code 1 when anything is wrong
    Verify {
        /// Anchors that `evidence anchor` printed earlier: what they name must still be there
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
    },
    /// Verify, then print the end of every lane, to be kept where the proxy's host cannot change it
    Anchor,
}

#[derive(Debug, Args)]
struct List {
    /// At most so many; 0 is all
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Not older: a time (2026-01-31T12:00:00Z) or an age (90m, 2h, 3d)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Of this agent only
    #[arg(long)]
    agent: Option<String>,
    /// Of this tenant only
    #[arg(long)]
    tenant: Option<String>,
    /// With this decision only
    #[arg(long)]
    decision: Option<DecisionKind>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DecisionKind {
    /// Sent to the source
    Forwarded,
    /// Answered by pgwicket itself
    Local,
    /// Refused
    Refused,
}

impl Evidence {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match &self.action {
            Action::List(list) => self.list(list),
            Action::Show { id, rows } => self.show(*id, *rows),
            Action::Verify { anchor } => self.verify(anchor.as_deref()),
            Action::Anchor => self.anchor(),
        }
    }

    fn list(&self, list: &List) -> anyhow::Result<ExitCode> {
        let filter = Filter {
            limit: list.limit,
            since: list.since.as_deref().map(since).transpose()?.unwrap_or(0),
            agent: list.agent.clone(),
            tenant: list.tenant.clone(),
            decision: list.decision.and_then(|kind| Some(kind.to_possible_value()?.get_name().to_owned())),
        };
        let listing = journal::statements(&self.journal, &filter)?;
        super::print(&if self.json { print::list_json(&listing) } else { print::list(&listing) });
        if listing.damaged {
            bail!("parts of the journal cannot be read; run pgwicket evidence verify");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, id: EvidenceId, rows: bool) -> anyhow::Result<ExitCode> {
        let Some((statement, kept)) = journal::statement(&self.journal, id)? else {
            bail!("{id} is not in the journal {}", self.journal.display());
        };
        let kept = rows.then_some(kept);
        super::print(&if self.json {
            print::statement_json(&statement, kept.as_deref())
        } else {
            print::statement(&statement, kept.as_deref())
        });
        Ok(ExitCode::SUCCESS)
    }

    fn verify(&self, anchor: Option<&Path>) -> anyhow::Result<ExitCode> {
        let anchors = anchor.map(read_anchors).transpose()?.unwrap_or_default();
        let report = self.report(&anchors)?;
        super::print(&if self.json { print::report_json(&report) } else { print::report(&report) });
        Ok(exit_code(&report))
    }

    fn report(&self, anchors: &[Anchor]) -> anyhow::Result<Report> {
        let report = journal::verify(&self.journal, anchors)?;
        if report.lanes == 0 && anchors.is_empty() {
            bail!("there is no journal in {}", self.journal.display());
        }
        Ok(report)
    }

    fn anchor(&self) -> anyhow::Result<ExitCode> {
        let report = self.report(&[])?;
        if !report.findings.is_empty() {
            super::print(&print::report(&report));
        } else if self.json {
            super::print(&print::report_json(&report));
        } else {
            super::print(&print::heads(&report));
        }
        Ok(exit_code(&report))
    }
}

fn exit_code(report: &Report) -> ExitCode {
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "the command's own input, named on its command line, not configuration")]
fn read_anchors(path: &Path) -> anyhow::Result<Vec<Anchor>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.parse().with_context(|| format!("in {}", path.display()))).collect()
}

/// Microseconds since the Unix epoch, from a time or an age.
fn since(text: &str) -> anyhow::Result<u64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(u64::try_from(time.as_microsecond()).unwrap_or(0));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).map(|days| u128::from(days) * 86_400_000_000);
    let age = days.or_else(|| text.parse::<SignedDuration>().ok().map(|age| age.unsigned_abs().as_micros()));
    let age = age.with_context(|| format!("--since {text} is neither a time (2026-01-31T12:00:00Z) nor an age (90m, 2h, 3d)"))?;
    Ok(Clock::system().microseconds().saturating_sub(u64::try_from(age).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_an_age() {
        assert_eq!(since("1970-01-01T00:00:01Z").unwrap(), 1_000_000);
        let now = Clock::system().microseconds();
        for (text, seconds) in [("90m", 5400), ("2h", 7200), ("3d", 259_200), ("1h 30m", 5400)] {
            assert!(since(text).unwrap().abs_diff(now - seconds * 1_000_000) < 5_000_000, "{text}");
        }
        assert!(since("yesterday").is_err());
    }
}
