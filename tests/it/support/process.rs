//! A process that a test runs, with its log.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{failure_logs, guardian, run};

/// A process; killed when dropped, its log kept when the test fails.
#[derive(Debug)]
pub(super) struct Process {
    command: Command,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts it; its output is appended to this file.
    pub(super) fn start(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        guardian::kill_at_end(child.id());
        Self { command, log: log.to_owned(), child }
    }

    /// Kills it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        let pid = self.child.id();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        guardian::forget(pid);
    }

    /// Starts it again, as it was.
    pub(super) fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        guardian::kill_at_end(self.child.id());
    }

    /// Sends a signal, e.g. `STOP`.
    pub(super) fn signal(&self, name: &str) {
        run(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()])).ok();
    }

    /// How it ended, if it has.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.status() {
                guardian::forget(self.child.id());
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill();
        }
        if std::thread::panicking() {
            let kept = failure_logs().join(self.log.file_name().unwrap());
            if fs::copy(&self.log, &kept).is_ok() {
                eprintln!("a process's log is in {}", kept.display());
            }
        }
    }
}
