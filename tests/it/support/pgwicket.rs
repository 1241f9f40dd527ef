//! The built `pgwicket`, served from a directory of its own.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use super::{AGENT, Database, Login, PASSWORD, failure_logs, free_port, guardian, process::Process, repository};

/// A running `pgwicket serve`; killed when dropped, its log kept when the test fails.
#[derive(Debug)]
pub(crate) struct Pgwicket {
    directory: PathBuf,
    port: u16,
    control_port: u16,
    source: Database,
    process: Process,
}

/// What not every test gives.
#[derive(Debug, Default)]
struct Extras {
    /// KiB that a file it writes may hold.
    file_limit: Option<u32>,
    /// Further flags of `serve`.
    flags: Vec<String>,
    /// Further environment variables.
    variables: Vec<(String, String)>,
}

impl Pgwicket {
    /// Serves `policies/support.yaml` over this source.
    pub(crate) fn start(source: &Database) -> Self {
        Self::start_with(source, &support_policy())
    }

    /// Serves a policy of the test's own over this source.
    pub(crate) fn start_with(source: &Database, policy: &str) -> Self {
        Self::launch(source, policy, &Extras::default())
    }

    /// Serves `policies/support.yaml`; no file it writes may grow past so many KiB.
    pub(crate) fn start_with_files_limited_to(source: &Database, kibibytes: u32) -> Self {
        Self::launch(source, &support_policy(), &Extras { file_limit: Some(kibibytes), ..Extras::default() })
    }

    /// Serves `policies/support.yaml` with further flags.
    pub(crate) fn start_with_flags(source: &Database, flags: &[&str]) -> Self {
        Self::launch(
            source,
            &support_policy(),
            &Extras { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..Extras::default() },
        )
    }

    /// Serves `policies/support.yaml`, with its proposals in this PostgreSQL.
    pub(crate) fn start_with_store(source: &Database, url: &str) -> Self {
        let variables = vec![("PGWICKET_DATABASE_URL".to_owned(), url.to_owned())];
        Self::launch(source, &support_policy(), &Extras { variables, ..Extras::default() })
    }

    /// Serves `policies/support.yaml` with further environment variables.
    pub(crate) fn start_with_variables(source: &Database, variables: &[(&str, &str)]) -> Self {
        Self::start_with_policy_and_variables(source, &support_policy(), variables)
    }

    /// Serves a policy of the test's own with further environment variables.
    pub(crate) fn start_with_policy_and_variables(source: &Database, policy: &str, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::launch(source, policy, &Extras { variables, ..Extras::default() })
    }

    /// The directory of its catalog's server.
    pub(crate) fn catalog(&self) -> PathBuf {
        self.directory.join("catalog")
    }

    /// The SQLite file of its proposals.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.join("state.db")
    }

    /// Serves a policy of the test's own, with further flags.
    pub(crate) fn start_with_policy_and_flags(source: &Database, policy: &str, flags: &[&str]) -> Self {
        Self::launch(source, policy, &Extras { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..Extras::default() })
    }

    fn launch(source: &Database, policy: &str, extras: &Extras) -> Self {
        let directory = tempfile::Builder::new().prefix("pgwicket-it-").tempdir().unwrap().keep();
        guardian::remove_at_end(&directory);
        // Where tests run as root, the catalog's PostgreSQL is another user, who has to get to its directory.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(directory.join("policies")).unwrap();
        fs::write(directory.join("policies/policy.yaml"), policy).unwrap();
        let (port, control_port) = (free_port(), free_port());
        let process = Process::start(command(&directory, port, control_port, source, extras), &directory.join("pgwicket.log"));
        let mut served = Self { directory, port, control_port, source: source.clone(), process };
        served.wait_until_ready();
        served
    }

    /// Sends a signal, e.g. `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again over the same journal, on the same port.
    pub(crate) fn restart(&mut self) {
        self.process.start_again();
        self.wait_until_ready();
    }

    /// Asks it to end, as an operator does.
    pub(crate) fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.process.ended()
    }

    /// Resident memory now, in MiB.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory so far, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub(crate) fn control_port(&self) -> u16 {
        self.control_port
    }

    /// Every file of the journal.
    pub(crate) fn journal_files(&self) -> Vec<PathBuf> {
        let files = |directory: PathBuf| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let (directories, mut found): (Vec<_>, Vec<_>) = files(self.journal()).into_iter().partition(|path| path.is_dir());
        found.extend(directories.into_iter().flat_map(files));
        found.sort();
        found
    }

    /// How the usual agent logs in.
    pub(crate) fn login(&self) -> Login {
        self.login_as(AGENT)
    }

    /// How this agent logs in.
    pub(crate) fn login_as(&self, agent: &str) -> Login {
        Login { port: self.port, user: agent.to_owned(), database: "support".to_owned() }
    }

    /// The policy directory.
    pub(crate) fn policies(&self) -> PathBuf {
        self.directory.join("policies")
    }

    /// The journal directory.
    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    /// Another `pgwicket` command with the same environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwicket"));
        command.envs(environment(&self.source));
        command
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.process.status() {
                panic!("pgwicket ended with {status}:\n{}", self.log());
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            assert!(Instant::now() < deadline, "pgwicket is not ready after 30 s:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pgwicket {
    fn drop(&mut self) {
        // Its own log is kept by its process.
        if std::thread::panicking() {
            drop(fs::copy(self.source.cluster().log(), failure_logs().join("postgresql.log")));
            return;
        }
        self.process.kill();
        guardian::remove_soon(&self.directory);
    }
}

/// The policy that most tests serve.
pub(crate) fn support_policy() -> String {
    fs::read_to_string(repository("policies/support.yaml")).unwrap()
}

/// What `policies/support.yaml` refers to.
pub(super) fn environment(source: &Database) -> BTreeMap<String, String> {
    let passwords = ["SUPPORT_AGENT_PASSWORD", "GLOBEX_AGENT_PASSWORD", "MASK_KEY"].map(|name| (name.to_owned(), PASSWORD.to_owned()));
    passwords.into_iter().chain([("APP_POSTGRES_URL".to_owned(), source.source_url())]).collect()
}

fn command(directory: &Path, port: u16, control_port: u16, source: &Database, extras: &Extras) -> Command {
    let mut serve = match extras.file_limit {
        None => Command::new(env!("CARGO_BIN_EXE_pgwicket")),
        // With SIGXFSZ ignored, a write past the limit is an error that the program sees.
        Some(kibibytes) => {
            let mut shell = Command::new("bash");
            shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$@\""), "bash", env!("CARGO_BIN_EXE_pgwicket")]);
            shell
        }
    };
    serve
        .envs(environment(source))
        .env("PATH", super::servers::path())
        .envs(extras.variables.iter().cloned())
        .arg("serve")
        .arg("--policies")
        .arg(directory.join("policies"));
    serve
        .arg("--journal")
        .arg(directory.join("journal"))
        .arg("--store")
        .arg(directory.join("state.db"))
        .arg("--catalog")
        .arg(directory.join("catalog"))
        .args(["--listen", &format!("127.0.0.1:{port}")]);
    serve.args(["--control-listen", &format!("127.0.0.1:{control_port}")]).args(&extras.flags);
    serve
}
