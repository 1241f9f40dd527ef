//! A PostgreSQL of a test's own.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    policy::{Source, SourceTls},
    source::SourceAddress,
    sql::catalog::CatalogSnapshot,
    types::Secret,
};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A running server, stopped and removed with this value: `reader` may read what the test makes, password `secret`.
pub(super) struct Server {
    directory: tempfile::TempDir,
    pub(super) port: u16,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with("scram-sha-256", "")
    }

    /// With an authentication method for TCP and more lines for postgresql.conf.
    pub(super) fn start_with(method: &str, configuration: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("pgwicket-source-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { directory, port };
        fs::set_permissions(server.path(), fs::Permissions::from_mode(0o755)).unwrap();
        own(server.path());
        run(program("initdb")
            .arg("-D")
            .arg(server.data())
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--auth-local=trust", &format!("--auth-host={method}")]));
        let common = "fsync = off\nmax_connections = 40\nshared_buffers = '32MB'\nlisten_addresses = '127.0.0.1'\n";
        let own = format!("port = {port}\nunix_socket_directories = '{}'\n", server.path().display());
        fs::write(server.data().join("postgresql.auto.conf"), format!("{common}{own}{configuration}")).unwrap();
        server.boot();
        server.sql("create role reader login password 'secret'");
        server
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn boot(&self) {
        let mut start = program("pg_ctl");
        start.arg("-D").arg(self.data()).arg("-l").arg(self.path().join("log")).args(["-w", "-s", "start"]);
        // The server inherits what it is given; a pipe of ours would stay open with it.
        assert!(start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    }

    /// `mode` is `pg_ctl`'s: `fast` says goodbye (57P01), `immediate` does not.
    pub(super) fn stop(&self, mode: &str) {
        run(program("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-s", "-m", mode, "stop"]));
    }

    /// Runs SQL as the superuser and returns psql's bare output.
    pub(super) fn sql(&self, text: &str) -> String {
        let mut psql = Command::new(format!("{PROGRAMS}/psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", text]);
        run(psql.arg("-h").arg(self.path()).arg("-p").arg(self.port.to_string()))
    }

    pub(super) fn url(&self) -> String {
        format!("postgresql://reader:secret@127.0.0.1:{}/postgres", self.port)
    }

    pub(super) fn unix_url(&self, user: &str) -> String {
        format!("postgresql:///postgres?host={}&port={}&user={user}", self.path().display(), self.port)
    }

    pub(super) fn source(&self) -> Source {
        source(&self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        program("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-s", "-m", "immediate", "stop"]).output().unwrap();
    }
}

/// Gives a file to the user the server runs as.
pub(super) fn own(path: &Path) {
    if running_as_root() {
        let passwd = fs::File::open("/etc/passwd").map(std::io::read_to_string).unwrap().unwrap();
        let line = passwd.lines().find(|line| line.starts_with("postgres:")).unwrap();
        chown(path, line.split(':').nth(2).unwrap().parse().ok(), line.split(':').nth(3).unwrap().parse().ok()).unwrap();
    }
}

/// A policy's source with that URL and no TLS.
pub(super) fn source(url: &str) -> Source {
    let catalog = CatalogSnapshot { server_version: 150_000, ..CatalogSnapshot::default() };
    Source {
        name: "test".parse().unwrap(),
        url: Secret::new(url),
        tls: SourceTls::Disable,
        root_certificates: None,
        pool_max: 2,
        pool_wait: Duration::from_millis(300),
        statement_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(2),
        idle_in_transaction_timeout: Duration::from_secs(30),
        transaction_timeout: Duration::ZERO,
        allow_writable_credential: false,
        worker: crate::policy::AppliedBy::Ours,
        catalog: Arc::new(catalog),
    }
}

/// How to reach it.
pub(super) fn address(source: &Source) -> SourceAddress<'_> {
    SourceAddress::from(source)
}

fn running_as_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0)
}

fn program(name: &str) -> Command {
    let path = format!("{PROGRAMS}/{name}");
    if !running_as_root() {
        return Command::new(path);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--", &path]).current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
