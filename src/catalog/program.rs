//! Finding PostgreSQL's programs, and who may run them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{CatalogError, PrivateServer};
use crate::sql::catalog::KNOWN_VERSIONS;

/// The versions that can hold a catalog: those that a source may have.
fn is_known(version: u32) -> bool {
    KNOWN_VERSIONS.contains(&version.saturating_mul(10_000))
}

/// Where `postgres` and `initdb` are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) directory: PathBuf,
    /// Major version.
    pub(super) version: u32,
}

/// The programs whose version is that of `wanted` (`server_version_num`), or the next newer, or the newest.
pub(super) fn find(private: &PrivateServer, wanted: u32) -> Result<Programs, CatalogError> {
    let directories = match &private.programs {
        Some(directory) => vec![directory.clone()],
        None => private.path.iter().cloned().chain(usual_places()).collect(),
    };
    let mut found: Vec<Programs> = directories.into_iter().filter_map(|directory| programs(&directory)).collect();
    found.sort_by_key(|programs| programs.version);
    found.dedup();
    let wanted = wanted / 10_000;
    let newer = found.iter().find(|programs| programs.version >= wanted);
    newer.or(found.last()).cloned().ok_or(CatalogError::NoProgram)
}

fn programs(directory: &Path) -> Option<Programs> {
    let server = directory.join("postgres");
    if !server.is_file() || !directory.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(server).arg("--version").env_clear().stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let number = said.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let version = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    is_known(version).then(|| Programs { directory: directory.to_path_buf(), version })
}

/// Debian's, Red Hat's and Homebrew's places, and that of a build from source.
fn usual_places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/usr/local/pgsql/bin"), PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
    for (parent, prefix, below) in
        [("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin"), ("/opt/homebrew/opt", "postgresql@", "bin")]
    {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        places.extend(entries.map(|entry| entry.path()).filter(|path| name_of(path).starts_with(prefix)).map(|path| path.join(below)));
    }
    places
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Who runs the server: the user of this process, or another one when that is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runner {
    /// Numbers of user and group, when they are not our own.
    pub(super) other: Option<(u32, u32)>,
}

impl Runner {
    pub(super) fn of(private: &PrivateServer) -> Result<Self, CatalogError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let number = |flag: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, &private.user]).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        match (number("-u"), number("-g")) {
            (Some(user), Some(group)) if user != 0 => Ok(Self { other: Some((user, group)) }),
            _ => Err(CatalogError::NoUser(private.user.clone())),
        }
    }

    /// A command as that user, which the system ends with us: SIGINT is PostgreSQL's fast shutdown.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=INT");
        if let Some((user, group)) = self.other {
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        }
        command.arg("--").arg(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}
