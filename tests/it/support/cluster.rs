//! PostgreSQL: one cluster for the test process, databases as the tests want them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
};

use super::{
    PASSWORD, free_port, guardian, repository, run,
    servers::{programs, server_program},
    unique,
};

/// A running PostgreSQL, superuser `postgres`: trusted on its socket, SCRAM on TCP.
#[derive(Debug)]
pub(crate) struct Cluster {
    directory: PathBuf,
    port: u16,
    /// What it is started with.
    options: String,
    /// The file that its clock is read from, when it is moved by hand.
    clock: Option<PathBuf>,
}

/// A database of the cluster, dropped with it.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    cluster: &'static Cluster,
    pub(crate) name: String,
    /// The role that pgwicket connects as.
    reader: &'static str,
}

/// All at once: roles belong to the cluster, and two scripts may not alter one role at a time.
static REFERENCES: LazyLock<[Database; 3]> = LazyLock::new(|| ["rls", "copy", "plain"].map(Cluster::reference));

/// Tickets in the tests' support desk; `scripts/demo` has 200 000.
const TICKETS: u32 = 20_000;

/// The role of `scripts/demo-data.sql`.
const READER: &str = "pgwicket_reader";

impl Cluster {
    /// The one of this process, started by its first user.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Cluster> = LazyLock::new(|| Cluster::start("-c synchronous_commit=off"));
        &SHARED
    }

    /// One of the caller's own, which it may restart: what is committed stays.
    pub(crate) fn own() -> &'static Self {
        Box::leak(Box::new(Self::start("-c synchronous_commit=on")))
    }

    /// One of the caller's own, whose clock stands at this time (UTC, as libfaketime reads it) until it is moved.
    pub(crate) fn with_clock(time: &str) -> &'static Self {
        let mut made = Self::place("-c synchronous_commit=off -c timezone=UTC");
        made.clock = Some(made.directory.join("clock"));
        made.set_clock(time);
        made.make();
        Box::leak(Box::new(made))
    }

    /// Moves the clock of a server that was started with one; in one step, so that no backend reads half of it.
    pub(crate) fn set_clock(&self, time: &str) {
        let file = self.clock.as_ref().unwrap();
        let next = file.with_extension("next");
        fs::write(&next, time).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(next, file).unwrap();
    }

    /// Stops it as a crash does, and starts it again.
    pub(crate) fn restart(&self) {
        self.stop("immediate");
        self.start_again();
    }

    /// Stops it, `fast` as an operator does or `immediate` as a crash does.
    pub(crate) fn stop(&self, mode: &str) {
        let postmaster = self.postmaster();
        self.control(&["-m", mode, "stop"]);
        guardian::forget_server(postmaster);
    }

    /// Starts it as it was.
    pub(crate) fn start_again(&self) {
        self.control(&["-o", &self.options, "start"]);
        guardian::stop_server_at_end(self.postmaster());
    }

    /// Makes a primary of a standby.
    pub(crate) fn promote(&self) {
        self.control(&["promote"]);
    }

    /// A hot standby of it, which follows.
    pub(crate) fn standby(&self) -> &'static Self {
        let standby = Self::place("-c synchronous_commit=on");
        let mut copy = server_program("pg_basebackup");
        copy.arg("-h").arg(&self.directory).args([
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-D",
        ]);
        run(copy.arg(standby.directory.join("data"))).ok();
        standby.start_again();
        Box::leak(Box::new(standby))
    }

    /// Waits for what it is told to do. Its own output must not hold our pipe open: the server would inherit it.
    fn control(&self, arguments: &[&str]) {
        let mut control = match &self.clock {
            None => server_program("pg_ctl"),
            Some(clock) => {
                // Behind the change of user: the library makes shared memory of its own as whoever loads it.
                let mut control = server_program("/usr/bin/env");
                control.arg(format!("LD_PRELOAD={}", faketime().display())).arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
                control.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "TZ=UTC"]).arg(programs().join("pg_ctl"));
                control
            }
        };
        control.arg("-D").arg(self.directory.join("data")).arg("-l").arg(self.log()).args(["-w", "-s"]).args(arguments);
        let status = control.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "pg_ctl {arguments:?}: {}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    fn postmaster(&self) -> u32 {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }

    /// An empty database in this cluster, where pgwicket is to be this role.
    pub(crate) fn empty_here(&'static self, reader: &'static str) -> Database {
        Database { reader, ..self.database(&format!("it_empty_{}", unique()), "template1") }
    }

    /// The support desk that every test may read and none may change.
    pub(crate) fn desk() -> Database {
        static DESK: LazyLock<Database> = LazyLock::new(Cluster::fresh_desk);
        DESK.clone()
    }

    /// What `support_agent` must see, by a role with row-level security and column grants (`reference.sql`).
    pub(crate) fn row_level_security() -> Database {
        REFERENCES[0].clone()
    }

    /// What `support_agent` must see, in tables that hold nothing else (`reference.sql`).
    pub(crate) fn tenant_copy() -> Database {
        REFERENCES[1].clone()
    }

    /// Views that filter by tenant and nothing more (`reference.sql`): what leaks without a fence.
    pub(crate) fn plain_views() -> Database {
        REFERENCES[2].clone()
    }

    /// A support desk of the caller's own.
    pub(crate) fn fresh_desk() -> Database {
        static TEMPLATE: LazyLock<Database> = LazyLock::new(|| {
            let template = Cluster::shared().database("desk_template", "template1");
            let script = repository("scripts/demo-data.sql");
            let variables = ["-v".to_owned(), format!("tickets={TICKETS}"), "-v".to_owned(), format!("reader_password={PASSWORD}")];
            run(template.psql().arg("-q").args(variables).arg("-f").arg(script)).ok();
            template
        });
        Self::shared().database(&format!("desk_{}", unique()), &TEMPLATE.name)
    }

    /// An empty database of the caller's own.
    pub(crate) fn fresh(name: &str) -> Database {
        Self::shared().database(&format!("{name}_{}", unique()), "template0")
    }

    /// A copy of a database that nobody is connected to.
    pub(crate) fn copy_of(template: &Database) -> Database {
        Self::shared().database(&format!("{}_{}", template.name, unique()), &template.name)
    }

    /// An empty database, where pgwicket is to be this role.
    pub(crate) fn empty(reader: &'static str) -> Database {
        Self::shared().empty_here(reader)
    }

    fn reference(mode: &str) -> Database {
        let database = Self::fresh_desk();
        let variables = [
            "-v".to_owned(),
            format!("mode={mode}"),
            "-v".to_owned(),
            format!("password={PASSWORD}"),
            "-v".to_owned(),
            "tenant=acme".to_owned(),
        ];
        run(database.psql().arg("-q").args(variables).arg("-f").arg(repository("tests/it/support/reference.sql"))).ok();
        database
    }

    fn database(&'static self, name: &str, template: &str) -> Database {
        let maintenance = Database { cluster: self, name: "postgres".to_owned(), reader: READER };
        maintenance.sql(&format!("create database {name} template {template}"));
        Database { cluster: self, name: name.to_owned(), reader: READER }
    }

    fn start(settings: &str) -> Self {
        let made = Self::place(settings);
        made.make();
        made
    }

    fn make(&self) {
        run(server_program("initdb")
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"]))
        .ok();
        self.start_again();
    }

    /// A directory and a port for one.
    fn place(settings: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("pgwicket-it-").tempdir().unwrap().keep();
        guardian::remove_at_end(&directory);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        if super::program::running_as_root() {
            run(Command::new("chown").arg("postgres").arg(&directory)).ok();
        }
        let port = free_port();
        let options = format!(
            "-p {port} -k {} -c listen_addresses=127.0.0.1 -c fsync=off {settings} -c full_page_writes=off -c max_wal_size=128MB \
             -c max_connections=200 -c shared_buffers=256MB -c autovacuum=off -c log_statement=all -c log_line_prefix='%m %p %d %u '",
            directory.display()
        );
        Self { directory, port, options, clock: None }
    }

    /// Its major version.
    pub(crate) fn version(&'static self) -> u32 {
        let maintenance = Database { cluster: self, name: "postgres".to_owned(), reader: READER };
        maintenance.sql("show server_version_num").trim().parse::<u32>().unwrap() / 10_000
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("postgresql.log")
    }
}

/// The library that stands between a program and the clock, of Debian's package `libfaketime`.
fn faketime() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|library| library.exists()).unwrap_or_else(|| panic!("libfaketime is not there: scripts/test installs it"))
}

impl Database {
    /// `psql` as the superuser; stops at the first error.
    pub(crate) fn psql(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", &self.cluster.port.to_string(), "-d", &self.name, "-h"]);
        command.arg(&self.cluster.directory).env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }

    /// Runs statements as the superuser; their rows, unaligned.
    pub(crate) fn sql(&self, text: &str) -> String {
        run(self.psql().args(["-q", "-A", "-t", "-c", text])).ok()
    }

    /// Lets nobody connect, ends who is, and lets them in again after a while.
    pub(crate) fn away_for(&self, pause: std::time::Duration) {
        let maintenance = Self { name: "postgres".to_owned(), ..self.clone() };
        let name = &self.name;
        maintenance.sql(&format!("alter database {name} allow_connections false"));
        maintenance.sql(&format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{name}'"));
        std::thread::sleep(pause);
        maintenance.sql(&format!("alter database {name} allow_connections true"));
    }

    /// Connection parameters of a role with [`PASSWORD`], over TCP.
    pub(crate) fn login(&self, role: &str) -> super::Login {
        super::Login { port: self.cluster.port, user: role.to_owned(), database: self.name.clone() }
    }

    /// The URL of a role over the socket, where it is trusted: for processes that connect very often.
    pub(crate) fn socket_url(&self, role: &str) -> String {
        let directory = self.cluster.directory.display().to_string().replace('/', "%2F");
        format!("postgresql://{role}@{directory}:{}/{}", self.cluster.port, self.name)
    }

    /// The same database of another server.
    pub(crate) fn on(&self, cluster: &'static Cluster) -> Self {
        Self { cluster, ..self.clone() }
    }

    /// The URL that the policy reads from `APP_POSTGRES_URL`.
    pub(crate) fn source_url(&self) -> String {
        self.login(self.reader).url()
    }

    /// The cluster it is in.
    pub(crate) fn cluster(&self) -> &'static Cluster {
        self.cluster
    }
}
