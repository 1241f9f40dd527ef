//! The command line: one file a command, this one the tree.
//! May use: everything. Never: rules of its own; a command reads its arguments, calls a room and prints.
//! Invariant: exit code 0 is success, 1 a failure that the command reports, 2 a wrong command line.

mod catalog;
mod evidence;
mod keys;
mod policy;
mod proposals;
mod prove;
mod scram_verifier;
mod serve;
mod store;
mod visible;
mod worker;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// The small door through which AI agents reach a production database.
#[derive(Debug, Parser)]
#[command(name = "pgwicket", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve agents: policy from files, evidence to a journal
    Serve(Box<serve::Serve>),
    /// Apply approved proposals, with a write credential that the proxy does not have
    Worker(Box<worker::Worker>),
    /// Read and decide on proposals, over the control API
    Proposals(Box<proposals::Proposals>),
    /// API keys of the control API, and key pairs that sign decisions
    Keys(keys::Keys),
    /// Read and verify the evidence of statements
    Evidence(evidence::Evidence),
    /// Check policies, explain what they do to a statement, run their tests
    Policy(policy::Policy),
    /// Prove isolation on your own staging source: credential, probes, noninterference
    Prove(prove::Prove),
    /// Print a stored SCRAM-SHA-256 verifier for an agent's `auth.scram_verifier`
    ScramVerifier(scram_verifier::ScramVerifier),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Worker(command) => command.run(),
        Command::Proposals(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Evidence(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Prove(command) => command.run(),
        Command::ScramVerifier(command) => command.run(),
    };
    outcome.unwrap_or_else(|error| {
        report(&error);
        ExitCode::FAILURE
    })
}

/// Prints for the person or program that asked. A reader that went away (`| head`) is no error.
fn print(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
}

/// Tells a person something that is not the answer: on stderr.
fn note(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// An error with its causes, on one line of stderr.
fn report(error: &anyhow::Error) {
    drop(writeln!(io::stderr(), "pgwicket: {error:#}"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }
}
