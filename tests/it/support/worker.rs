//! A `pgwicket worker` process.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{failure_logs, guardian, run};

/// A worker process; killed when dropped, its log kept when the test fails.
#[derive(Debug)]
pub(crate) struct Worker {
    command: Command,
    log: PathBuf,
    child: Child,
}

impl Worker {
    /// Starts `pgwicket worker` with these arguments and environment; its log goes to this file.
    pub(crate) fn start(log: &Path, arguments: &[String], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwicket"));
        command.arg("worker").args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        guardian::kill_at_end(child.id());
        Self { command, log: log.to_owned(), child }
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let pid = self.child.id();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        guardian::forget(pid);
    }

    /// Starts it again, as it was.
    pub(crate) fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        guardian::kill_at_end(self.child.id());
    }

    /// Sends a signal, e.g. `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        run(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()])).ok();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                guardian::forget(self.child.id());
                return status;
            }
            assert!(Instant::now() < deadline, "the worker did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill();
        }
        if std::thread::panicking() {
            let kept = failure_logs().join(self.log.file_name().unwrap());
            if fs::copy(&self.log, &kept).is_ok() {
                eprintln!("a worker's log is in {}", kept.display());
            }
        }
    }
}
