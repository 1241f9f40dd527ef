//! `pgwicket proposals`: reviewers at a terminal, over the control API.
//!
//! What is shown and signed is read from the proposal's stored content, whose digest is computed here: the server is
//! believed in who did what when, not in what a reviewer says yes to.

mod client;
mod decide;
mod diff;
mod print;

use std::{fmt, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::Value;

use self::client::Server;
use crate::control::{ProposalAnswer, ProposalPage};

/// Read and decide on proposals, over the control API
#[derive(Debug, Args)]
pub(super) struct Proposals {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: ProposalsCommand,
}

#[derive(Debug, Subcommand)]
enum ProposalsCommand {
    /// List proposals, newest first
    List(List),
    /// Show a proposal: who wants to change what, and why
    Show(Show),
    /// Approve a proposal, after showing it
    Approve(decide::Decide),
    /// Reject a proposal
    Reject(decide::Decide),
    /// Take a proposal back, until a worker has begun to apply it
    Cancel(decide::Cancel),
}

#[derive(Debug, Args)]
struct List {
    /// Statuses, comma-separated; `any` for all
    #[arg(long, default_value = "pending")]
    status: String,
    /// Proposed by this agent
    #[arg(long)]
    agent: Option<String>,
    /// On rows of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// On this source
    #[arg(long)]
    source: Option<String>,
    /// `schema.relation`, as agents know it
    #[arg(long)]
    relation: Option<String>,
    /// With this text in it
    #[arg(long)]
    text: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
struct Show {
    /// `prop_…`
    id: String,
}

impl Proposals {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let server = self.server;
        match self.command {
            ProposalsCommand::List(command) => command.run(&server),
            ProposalsCommand::Show(command) => command.run(&server),
            ProposalsCommand::Approve(command) => command.run(&server, crate::proposal::Decision::Approve),
            ProposalsCommand::Reject(command) => command.run(&server, crate::proposal::Decision::Reject),
            ProposalsCommand::Cancel(command) => command.run(&server),
        }
    }
}

impl List {
    fn run(self, server: &Server) -> anyhow::Result<ExitCode> {
        let limit = self.limit.to_string();
        let query = [
            ("status", Some(&*self.status)),
            ("agent", self.agent.as_deref()),
            ("tenant", self.tenant.as_deref()),
            ("source", self.source.as_deref()),
            ("relation", self.relation.as_deref()),
            ("text", self.text.as_deref()),
            ("cursor", self.cursor.as_deref()),
            ("limit", Some(&*limit)),
        ];
        if server.json() {
            super::print(&format!("{:#}\n", server.get::<Value>("/v1/control/proposals", &query)?));
        } else {
            let page: ProposalPage = server.get("/v1/control/proposals", &query)?;
            let filters =
                query.iter().filter(|(name, value)| !matches!(*name, "cursor" | "limit") && value.is_some_and(|value| value != "any"));
            let filters: Vec<String> = filters.map(|(name, value)| format!("--{name} {}", value.unwrap_or_default())).collect();
            super::print(&print::list(&page, &filters, now()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn run(self, server: &Server) -> anyhow::Result<ExitCode> {
        if server.json() {
            super::print(&format!("{:#}\n", server.get::<Value>(&path(&self.id), &[])?));
        } else {
            let answer: ProposalAnswer = server.get(&path(&self.id), &[])?;
            super::print(&print::proposal(&answer.proposal, now(), print::colours())?);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn path(id: &str) -> String {
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/v1/control/proposals/{id}")
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
}

/// Milliseconds since the Unix epoch.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
