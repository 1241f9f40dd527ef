//! Which PostgreSQL the tests run: Debian's 15, or another version by `PGWICKET_TEST_POSTGRES` (`scripts/versions`).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use super::{guardian, program::running_as_root, repository, run};

/// Debian's.
const DEFAULT: &str = "/usr/lib/postgresql/15/bin";

/// Where the server's programs are. `PGWICKET_TEST_POSTGRES` is a major version of `tests/servers`, or a directory.
pub(super) fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var("PGWICKET_TEST_POSTGRES") {
        Err(_) => PathBuf::from(DEFAULT),
        Ok(version) if version.parse::<u32>().is_ok() => packaged(&version),
        Ok(directory) => PathBuf::from(directory),
    });
    &PROGRAMS
}

/// The programs of a package of `tests/servers`.
fn packaged(version: &str) -> PathBuf {
    let package = repository(format!("tests/servers/node_modules/postgresql-{version}/native"));
    assert!(package.is_dir(), "{} is not there: scripts/versions installs it", package.display());
    if !running_as_root() {
        return package.join("bin");
    }
    // The user that runs the server may have no way into the repository.
    let copy = tempfile::Builder::new().prefix("pgwicket-it-server-").tempdir().unwrap().keep();
    guardian::remove_at_end(&copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("cp").arg("-a").arg(&package).arg(&copy)).ok();
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(&copy)).ok();
    copy.join("native/bin")
}

/// A program of the server's package, run as `postgres` when we are root, which the server refuses to be.
pub(super) fn server_program(name: &str) -> Command {
    let program = programs().join(name);
    let mut command;
    if running_as_root() {
        command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/");
    command
}

/// `PATH` with that server in front: where pgwicket looks for one to keep its catalogs in.
pub(super) fn path() -> String {
    format!("{}:{}", programs().display(), std::env::var("PATH").unwrap_or_default())
}
