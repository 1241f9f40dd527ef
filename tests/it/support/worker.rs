//! A `pgwicket worker` process.

use std::{
    path::Path,
    process::{Command, ExitStatus},
};

use super::process::Process;

/// A worker process; killed when dropped, its log kept when the test fails.
#[derive(Debug)]
pub(crate) struct Worker(Process);

impl Worker {
    /// Starts `pgwicket worker` with these arguments and environment; its log goes to this file.
    pub(crate) fn start(log: &Path, arguments: &[String], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwicket"));
        command.arg("worker").args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        Self(Process::start(command, log))
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again, as it was.
    pub(crate) fn start_again(&mut self) {
        self.0.start_again();
    }

    /// Sends a signal, e.g. `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        self.0.signal(name);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.0.ended()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.0.log()
    }
}
