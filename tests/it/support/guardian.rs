//! Cleans up after this test process, however it ends.
//!
//! A shell in a process group of its own (Ctrl-C does not reach it) reads what to undo from a pipe that
//! only this process holds. When the pipe closes, be it by exit, panic, SIGINT or kill -9, it undoes it.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex},
};

const SCRIPT: &str = r#"
pids=" " servers=" " directories=()
while read -r verb rest; do
  case $verb in
    kill) pids+="$rest " ;;
    forget) pids=${pids/" $rest "/" "} ;;
    server) servers+="$rest " ;;
    forget-server) servers=${servers/" $rest "/" "} ;;
    remove) directories+=("$rest") ;;
    remove-soon) for _ in {1..20}; do rm -rf "$rest" && break; sleep 0.5; done & ;;
  esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
for pid in $servers; do kill -QUIT "$pid" 2>/dev/null; done
for pid in $servers; do while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; done
for directory in "${directories[@]}"; do rm -rf "$directory"; done
"#;

struct Guardian {
    orders: ChildStdin,
    _shell: Child,
}

static GUARDIAN: LazyLock<Mutex<Guardian>> = LazyLock::new(|| {
    let mut shell = Command::new("bash").args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().unwrap();
    let orders = shell.stdin.take().unwrap();
    Mutex::new(Guardian { orders, _shell: shell })
});

fn order(line: &str) {
    let mut guardian = GUARDIAN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    guardian.orders.write_all(line.as_bytes()).unwrap();
}

/// Kill this process at the end.
pub(super) fn kill_at_end(pid: u32) {
    order(&format!("kill {pid}\n"));
}

/// It was reaped; its number may be another's by now.
pub(super) fn forget(pid: u32) {
    order(&format!("forget {pid}\n"));
}

/// This postmaster has ended.
pub(super) fn forget_server(pid: u32) {
    order(&format!("forget-server {pid}\n"));
}

/// Stop this postmaster at the end.
pub(super) fn stop_server_at_end(pid: u32) {
    order(&format!("server {pid}\n"));
}

/// Remove this directory at the end, after the servers.
pub(crate) fn remove_at_end(directory: &Path) {
    order(&format!("remove {}\n", directory.display()));
}

/// Remove this directory as soon as nobody writes to it: the process that it belonged to has just ended.
pub(super) fn remove_soon(directory: &Path) {
    order(&format!("remove-soon {}\n", directory.display()));
}
