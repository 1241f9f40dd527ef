//! What other processes of the same user see of a proxy and of a worker: nothing that is secret.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::support_policy;

/// `nobody`: who is not root, and owns nothing.
const NOBODY: u32 = 65_534;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// As somebody who is not root, where this is root: root reads everything.
fn as_nobody(command: &mut Command) -> &mut Command {
    if fs::metadata("/proc/self").unwrap().uid() == 0 { command.uid(NOBODY).gid(NOBODY) } else { command }
}

#[test]
fn the_environment_and_memory_of_proxy_and_worker_are_their_own() {
    let directory = tempfile::Builder::new().prefix("pgwicket-host-").tempdir_in("/tmp").unwrap();
    let program = directory.path().join("pgwicket");
    // The build's own directory may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_pgwicket"), &program).unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::write(directory.path().join("policies/policy.yaml"), support_policy()).unwrap();
    run_as_owner(directory.path());
    let policies = directory.path().join("policies").display().to_string();
    let state = directory.path().join("state.db").display().to_string();
    let journal = directory.path().join("journal").display().to_string();
    let url = "postgresql://writer:SECRET-OF-THE-HOST@127.0.0.1:9/none";
    let ports = ["--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0"];
    let worker = ["worker", "--sources", "app_postgres=env:WRITE_URL", "--policies", &policies];
    let proxy = ["serve", "--policies", &policies, "--journal", &journal, "--no-catalog"];
    for (arguments, more) in [(&worker[..], &[][..]), (&proxy[..], &ports[..])] {
        let mut command = Command::new(&program);
        command.args(arguments).args(more).current_dir(directory.path()).stderr(Stdio::null()).stdout(Stdio::null());
        command.env_clear().env("WRITE_URL", url).env("APP_POSTGRES_URL", url.replace("writer", "reader")).env("PGWICKET_STORE", &state);
        command.env("MASK_KEY", "0123456789abcdef0123456789abcdef").env("SUPPORT_AGENT_PASSWORD", "x").env("BILLING_AGENT_PASSWORD", "x");
        let mut process = Killed(as_nobody(&mut command).spawn().unwrap());
        let id = process.0.id();
        let seen = |file: &str| as_nobody(Command::new("cat").arg(format!("/proc/{id}/{file}"))).output().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while seen("environ").status.success() {
            assert!(Instant::now() < deadline, "{} shows its environment to its user", arguments[0]);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(process.0.try_wait().unwrap().is_none(), "{} has ended", arguments[0]);
        assert!(!seen("mem").status.success() && !seen("maps").status.success(), "memory");
        let limits = String::from_utf8(seen("limits").stdout).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{limits}");
    }
    // The control: what does not do so shows it.
    let mut command = Command::new("sleep");
    let shown = Killed(as_nobody(command.arg("60").env("WRITE_URL", url)).spawn().unwrap());
    let environ = as_nobody(Command::new("cat").arg(format!("/proc/{}/environ", shown.0.id()))).output().unwrap();
    assert!(String::from_utf8_lossy(&environ.stdout).contains("SECRET-OF-THE-HOST"));
}

/// The directory, and all in it, is that of who the processes run as.
fn run_as_owner(directory: &std::path::Path) {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let chown = Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(directory).status().unwrap();
    assert!(chown.success());
}
