//! `pgwicket scram-verifier`: the stored form of a password, so that a policy need not reference the password.

use std::{
    io::{self, Read as _},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::auth::Verifier;

/// The password is read from standard input, or from an environment variable; never from an argument, which
/// every user of the machine could read.
#[derive(Debug, Args)]
pub(super) struct ScramVerifier {
    /// Read the password from this environment variable instead of standard input
    #[arg(long, value_name = "NAME")]
    password_env: Option<String>,
}

impl ScramVerifier {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let password = match self.password_env {
            Some(name) => environment(&name)?,
            None => standard_input()?,
        };
        ensure!(!password.is_empty(), "the password is empty");
        let salt: [u8; 16] = rand::random();
        super::print(&format!("{}\n", Verifier::derive(&password, &salt).to_stored_form()));
        Ok(ExitCode::SUCCESS)
    }
}

#[expect(clippy::disallowed_methods, reason = "the command's own input, named on its command line, not configuration")]
fn environment(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name} is not set to UTF-8 text"))
}

/// The first line, without its end.
fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().take(4096).read_to_string(&mut text).context("cannot read the password from standard input")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
