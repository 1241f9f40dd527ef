//! A PostgreSQL of our own: small, reached by a unix socket in a private directory, ended with us.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, getegid, geteuid, kill_process, test_kill_process};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    CatalogError, PrivateServer,
    made::inspector,
    program::{self, Programs, Runner},
};
use crate::types::Secret;

/// How long a start may take; the first one makes the data directory.
const START: Duration = Duration::from_mins(1);
/// How long a stop may take before it is made harder.
const STOP: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// A socket's path has 107 bytes at most, the last of them `/.s.PGSQL.5432`.
const LONGEST_SOCKET_DIRECTORY: usize = 90;
/// Unit: bytes.
const LONGEST_PID_FILE: u64 = 4096;

/// Nothing of it is needed after a crash: it is all made again from the policy. So it writes little and waits for no disk.
const SETTINGS: [&str; 24] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=8MB",
    "work_mem=2MB",
    "maintenance_work_mem=8MB",
    "temp_file_limit=64MB",
    "max_locks_per_transaction=512",
    "max_parallel_workers=0",
    "max_parallel_workers_per_gather=0",
    "max_logical_replication_workers=0",
    "max_wal_senders=0",
    "wal_level=minimal",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_wal_size=16MB",
    "min_wal_size=4MB",
    "autovacuum=off",
    "jit=off",
    "huge_pages=off",
    "log_min_messages=warning",
    // A client's text is in the evidence, and nowhere else.
    "log_min_error_statement=panic",
    "timezone=UTC",
];

/// A running server.
#[derive(Debug)]
pub(super) struct Private {
    child: Child,
    sockets: PathBuf,
    /// Keeps other processes out of the directory.
    _lock: File,
}

impl Private {
    /// Starts the server, after ending one that a process before us left.
    pub(super) async fn start(wanted: &PrivateServer, server_version: u32) -> Result<Self, CatalogError> {
        let programs = program::find(wanted, server_version)?;
        let runner = Runner::of(wanted)?;
        let directory = prepare(&wanted.directory, &runner)?;
        let lock = lock(&directory)?;
        let data = directory.join(format!("data-{}", programs.version));
        end_leftover(&data, &runner).await;
        let sockets = sockets(&directory, &runner)?;
        match Self::run(&programs, &runner, &data, &sockets, lock).await {
            Ok(started) => Ok(started),
            Err((error, lock)) => {
                // What a crash left may not be startable, and nothing in it is worth keeping.
                tracing::warn!(%error, "the server of the virtual catalog is made anew");
                fs::remove_dir_all(&data).map_err(|error| failed("its data directory cannot be removed", &error))?;
                Self::run(&programs, &runner, &data, &sockets, lock).await.map_err(|(error, _)| error)
            }
        }
    }

    async fn run(programs: &Programs, runner: &Runner, data: &Path, sockets: &Path, lock: File) -> Result<Self, (CatalogError, File)> {
        match Self::launch(programs, runner, data, sockets).await {
            Ok(child) => Ok(Self { child, sockets: sockets.to_path_buf(), _lock: lock }),
            Err(error) => Err((error, lock)),
        }
    }

    async fn launch(programs: &Programs, runner: &Runner, data: &Path, sockets: &Path) -> Result<Child, CatalogError> {
        if !data.join("PG_VERSION").exists() {
            let (programs, runner, data) = (programs.clone(), runner.clone(), data.to_path_buf());
            // It takes a second or two, which this thread has better uses for.
            let made = spawn_blocking(move || initialize(&programs, &runner, &data)).await;
            made.unwrap_or_else(|ended| Err(CatalogError::Start(ended.to_string())))?;
        }
        let log = own_file(&data.with_extension("log")).map_err(|error| failed("its log cannot be written", &error))?;
        let mut command = runner.command(&programs.directory.join("postgres"));
        command.arg("-D").arg(data).arg("-k").arg(sockets);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().map_err(|error| failed("setpriv cannot be run", &error))?;
        let deadline = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(CatalogError::Start(format!("it ended with {status}, see {}", data.with_extension("log").display())));
            }
            match inspector(&url(sockets), "postgres").await {
                Ok(_) => return Ok(child),
                Err(error) if Instant::now() > deadline => return Err(CatalogError::Start(error.to_string())),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Whether it still runs.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The URL of its superuser.
    pub(super) fn url(&self) -> Secret {
        url(&self.sockets)
    }

    /// Ends it.
    pub(super) async fn stop(mut self) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
            // It may have ended meanwhile.
            kill_process(pid, signal).ok();
            let deadline = Instant::now() + STOP;
            while Instant::now() < deadline {
                if !self.is_running() {
                    return;
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The superuser is the only one who can reach the directory.
fn url(sockets: &Path) -> Secret {
    let host: String = form_urlencoded::byte_serialize(sockets.to_string_lossy().as_bytes()).collect();
    Secret::new(format!("postgresql://pgwicket@/postgres?host={}", host.replace('+', "%20")))
}

fn failed(what: &str, error: &io::Error) -> CatalogError {
    CatalogError::Start(format!("{what}: {error}"))
}

/// Makes the directory. It is ours, whoever runs the server: what we make in it as root, nobody else can put a link in the place
/// of. Only the directories of data and socket are the server's user's.
fn prepare(directory: &Path, runner: &Runner) -> Result<PathBuf, CatalogError> {
    fs::create_dir_all(directory).map_err(|error| failed("its directory cannot be made", &error))?;
    let directory = directory.canonicalize().map_err(|error| failed("its directory cannot be used", &error))?;
    // Another user has to get through to its own directories.
    let mode = if runner.other.is_some() { 0o711 } else { 0o700 };
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let ours = if runner.other.is_some() { lchown(&directory, Some(user), Some(group)) } else { Ok(()) };
    let ours = ours.and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(mode)));
    ours.map_err(|error| failed("its directory cannot be made private", &error))?;
    Ok(directory)
}

/// A directory of the server's user in one that is ours; a link that somebody left there is removed and not followed.
fn give(directory: &Path, runner: &Runner) -> io::Result<()> {
    if fs::symlink_metadata(directory).is_ok_and(|found| !found.is_dir()) {
        fs::remove_file(directory)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    runner.other.map_or(Ok(()), |(user, group)| lchown(directory, Some(user), Some(group)))
}

/// A file of our own in a directory that is ours, empty; whatever else has its name is removed and not followed.
fn own_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn lock(directory: &Path) -> Result<File, CatalogError> {
    let path = directory.join("lock");
    let is_link = fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file());
    let file = if is_link { own_file(&path) } else { OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path) };
    let file = file.map_err(|error| failed("its lock cannot be made", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            Err(CatalogError::Start(format!("{} is in use by another pgwicket: give each a directory of its own", directory.display())))
        }
    }
}

/// The directory of the socket: in the server's own, unless its path is too long for a socket's.
fn sockets(directory: &Path, runner: &Runner) -> Result<PathBuf, CatalogError> {
    let own_place = directory.join("socket");
    let place = if own_place.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY {
        Ok(own_place)
    } else {
        tempfile::Builder::new().prefix("pgwicket-catalog-").tempdir().map(tempfile::TempDir::keep)
    };
    let place = place.map_err(|error| failed("the directory of its socket cannot be made", &error))?;
    give(&place, runner).map_err(|error| failed("the directory of its socket cannot be made private", &error))?;
    Ok(place)
}

fn initialize(programs: &Programs, runner: &Runner, data: &Path) -> Result<(), CatalogError> {
    // A half-made one is of no use.
    drop(fs::remove_dir_all(data));
    give(data, runner).map_err(|error| failed("its data directory cannot be made", &error))?;
    let mut command = runner.command(&programs.directory.join("initdb"));
    command.arg("-D").arg(data).args(["-U", "pgwicket", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
    command.args(["--wal-segsize=1"]);
    let output = command.output().map_err(|error| failed("setpriv cannot be run", &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(CatalogError::Start(format!("initdb failed ({said}); the directory and all above it must be open to whoever runs PostgreSQL")))
}

/// Ends the server of a process before us that was killed.
async fn end_leftover(data: &Path, runner: &Runner) {
    let Some(pid) = leftover(data, runner) else { return };
    tracing::warn!("ending the server of the virtual catalog that an earlier process left");
    for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
        kill_process(pid, signal).ok();
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if test_kill_process(pid).is_err() || leftover(data, runner).is_none() {
                return;
            }
            sleep(PAUSE).await;
        }
    }
}

/// The process in `postmaster.pid`, if it is a server of that directory and of its user. The file is the server's user's: it may
/// be anything.
fn leftover(data: &Path, runner: &Runner) -> Option<Pid> {
    let path = data.join("postmaster.pid");
    fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let mut file = Vec::new();
    File::open(&path).ok()?.take(LONGEST_PID_FILE).read_to_end(&mut file).ok()?;
    let pid: i32 = str::from_utf8(&file).ok()?.lines().next()?.trim().parse().ok()?;
    let user = runner.other.map_or_else(|| geteuid().as_raw(), |(user, _)| user);
    fs::metadata(format!("/proc/{pid}")).ok().filter(|process| process.uid() == user)?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let wanted = data.to_string_lossy().into_owned();
    command.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()).then(|| Pid::from_raw(pid)).flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Whoever runs the server must not lead us, who may be root, to what is not its own.
    #[test]
    fn no_link_is_followed_in_the_servers_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (elsewhere, victim) = (directory.path().join("elsewhere"), directory.path().join("victim"));
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&victim, "root's").unwrap();
        let runner = Runner { other: None };
        let own = prepare(&directory.path().join("catalog"), &runner).unwrap();
        symlink(&elsewhere, own.join("socket")).unwrap();
        symlink(&victim, own.join("lock")).unwrap();
        symlink(&victim, own.join("data-15.log")).unwrap();
        let place = sockets(&own, &runner).unwrap();
        assert!(fs::symlink_metadata(&place).unwrap().is_dir());
        lock(&own).unwrap();
        own_file(&own.join("data-15.log")).unwrap();
        assert_eq!(fs::metadata(&victim).unwrap().len(), 6, "what was in it is there");
        assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
