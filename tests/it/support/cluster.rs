//! PostgreSQL 15: one cluster for the test process, databases as the tests want them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{PASSWORD, free_port, guardian, repository, run, unique};

/// A running PostgreSQL, superuser `postgres`: trusted on its socket, SCRAM on TCP.
#[derive(Debug)]
pub(crate) struct Cluster {
    directory: PathBuf,
    port: u16,
}

/// A database of the cluster, dropped with it.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    cluster: &'static Cluster,
    pub(crate) name: String,
}

/// Tickets in the tests' support desk; `scripts/demo` has 200 000.
const TICKETS: u32 = 20_000;

impl Cluster {
    /// The one of this process, started by its first user, with the support desk as a template.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        static FILLED: OnceLock<()> = OnceLock::new();
        let cluster = SHARED.get_or_init(Self::start);
        FILLED.get_or_init(|| {
            let desk = cluster.empty_database("desk");
            let script = repository("scripts/demo-data.sql");
            run(desk
                .psql()
                .args(["-q", "-v", &format!("tickets={TICKETS}"), "-v", &format!("reader_password={PASSWORD}"), "-f"])
                .arg(script))
            .ok();
        });
        cluster
    }

    /// The support desk that every test may read and none may change.
    pub(crate) fn desk() -> Database {
        Database { cluster: Self::shared(), name: "desk".to_owned() }
    }

    /// A support desk of the caller's own.
    pub(crate) fn fresh_desk() -> Database {
        let cluster = Self::shared();
        let name = format!("desk_{}", unique());
        run(cluster.maintenance().psql().args(["-q", "-c", &format!("create database {name} template desk")])).ok();
        Database { cluster, name }
    }

    fn maintenance(&'static self) -> Database {
        Database { cluster: self, name: "postgres".to_owned() }
    }

    fn empty_database(&'static self, name: &str) -> Database {
        run(self.maintenance().psql().args(["-q", "-c", &format!("create database {name}")])).ok();
        Database { cluster: self, name: name.to_owned() }
    }

    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("pgwicket-it-").tempdir().unwrap().keep();
        guardian::remove_at_end(&directory);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        if super::program::running_as_root() {
            run(Command::new("chown").arg("postgres").arg(&directory)).ok();
        }
        let port = free_port();
        let data = directory.join("data");
        run(server_program("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"]))
        .ok();
        let options = format!(
            "-p {port} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
             -c max_connections=200 -c shared_buffers=256MB -c autovacuum=off -c log_statement=all -c log_line_prefix='%m %p %d %u '",
            directory.display()
        );
        // pg_ctl's own output must not hold our pipe open: the server would inherit it.
        let mut start = server_program("pg_ctl");
        start.arg("-D").arg(&data).arg("-l").arg(directory.join("postgresql.log")).args(["-w", "-s", "-o", &options, "start"]);
        let status = start.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap();
        assert!(status.success(), "PostgreSQL did not start: {}", fs::read_to_string(directory.join("postgresql.log")).unwrap_or_default());
        let postmaster = fs::read_to_string(data.join("postmaster.pid")).unwrap();
        guardian::stop_server_at_end(postmaster.lines().next().unwrap().parse().unwrap());
        Self { directory, port }
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("postgresql.log")
    }
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

    /// Connection parameters of a role with [`PASSWORD`], over TCP.
    pub(crate) fn login(&self, role: &str) -> super::Login {
        super::Login { port: self.cluster.port, user: role.to_owned(), database: self.name.clone() }
    }

    /// The URL that the policy reads from `APP_POSTGRES_URL`.
    pub(crate) fn source_url(&self) -> String {
        self.login("pgwicket_reader").url()
    }

    /// The cluster it is in.
    pub(crate) fn cluster(&self) -> &'static Cluster {
        self.cluster
    }
}

/// A program of the server's package, run as `postgres` when we are root, which the server refuses to be.
fn server_program(name: &str) -> Command {
    let binaries = std::env::var("PGWICKET_TEST_POSTGRES").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
    let program = Path::new(&binaries).join(name);
    let mut command;
    if super::program::running_as_root() {
        command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/");
    command
}
