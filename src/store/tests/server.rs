//! A PostgreSQL for tests and benchmarks of the store: standard library and `tempfile` only, so that both can include it.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A running server, stopped and removed with this value. Role `store`, password `secret`, may make databases.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// With more lines for postgresql.conf.
    pub(crate) fn start(configuration: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("pgwicket-store-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { directory, port };
        fs::set_permissions(server.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if running_as_root() {
            let passwd = fs::File::open("/etc/passwd").map(std::io::read_to_string).unwrap().unwrap();
            let line = passwd.lines().find(|line| line.starts_with("postgres:")).unwrap();
            chown(server.path(), line.split(':').nth(2).unwrap().parse().ok(), line.split(':').nth(3).unwrap().parse().ok()).unwrap();
        }
        let locale = ["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"];
        run(program("initdb").arg("-D").arg(server.data()).args(locale));
        let socket = server.path().display();
        let settings =
            format!("port = {port}\nunix_socket_directories = '{socket}'\nlisten_addresses = '127.0.0.1'\nmax_connections = 100\n");
        fs::write(server.data().join("postgresql.auto.conf"), settings + configuration).unwrap();
        server.boot();
        server.sql("create role store login createdb password 'secret'");
        server
    }

    /// Starts it again after [`Self::stop`].
    pub(crate) fn boot(&self) {
        let mut start = program("pg_ctl");
        start.arg("-D").arg(self.data()).arg("-l").arg(self.path().join("log")).args(["-w", "-s", "start"]);
        // The server inherits what it is given; a pipe of ours would stay open with it.
        assert!(start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    }

    /// `mode` is `pg_ctl`'s: `fast` says goodbye, `immediate` does not.
    pub(crate) fn stop(&self, mode: &str) {
        run(program("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-s", "-m", mode, "stop"]));
    }

    /// The URL of a new database.
    pub(crate) fn database(&self, name: &str) -> String {
        self.sql(&format!("create database {name} owner store"));
        format!("postgresql://store:secret@127.0.0.1:{}/{name}", self.port)
    }

    fn sql(&self, text: &str) {
        let mut psql = Command::new(format!("{PROGRAMS}/psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", text]);
        run(psql.arg("-h").arg(self.path()).arg("-p").arg(self.port.to_string()));
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        program("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-s", "-m", "immediate", "stop"]).output().unwrap();
    }
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

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
