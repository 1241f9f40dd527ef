//! The outside as a trait, so that tests pass a map.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::LONGEST;

/// Opening does not wait (`open(2)`).
const O_NONBLOCK: i32 = 0o4000;

/// Environment variables and files.
pub trait Environment {
    /// The value of a variable; `None` when it is not set or not Unicode.
    fn variable(&self, name: &str) -> Option<String>;
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The files directly in a directory.
    fn files(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// The directories directly in a directory, hidden ones left out.
    fn directories(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Writes a file as a whole, creating its directory.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
}

/// The process's own environment and file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

#[expect(clippy::disallowed_methods, reason = "this is the one door to the environment")]
impl Environment for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // A FIFO without a writer would hold up whoever opens it, and what is no file has no end.
        let file = fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut content = Vec::new();
        file.take(LONGEST as u64 + 1).read_to_end(&mut content)?;
        Ok(content)
    }

    fn files(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        entries(directory, false)
    }

    fn directories(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = entries(directory, true)?;
        found.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
        Ok(found)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, content)
    }
}

fn entries(directory: &Path, directories: bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() == directories {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
pub(super) use fixture::Fixture;

#[cfg(test)]
mod fixture {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Files and variables as a map.
    pub(in crate::config) struct Fixture {
        files: BTreeMap<PathBuf, String>,
        variables: BTreeMap<String, String>,
    }

    impl Fixture {
        pub(in crate::config) fn new(files: &[(&str, &str)]) -> Self {
            let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
            Self { files, variables: BTreeMap::new() }
        }

        pub(in crate::config) fn with_variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.to_owned(), value.to_owned());
            self
        }

        fn below<'a>(&'a self, directory: &'a Path) -> io::Result<Vec<&'a Path>> {
            let found: Vec<&Path> = self.files.keys().filter_map(|path| path.strip_prefix(directory).ok()).collect();
            if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
        }
    }

    impl Environment for Fixture {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).cloned()
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            self.files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn files(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
            let below = self.below(directory)?;
            Ok(below.iter().filter(|path| path.components().count() == 1).map(|path| directory.join(path)).collect())
        }

        fn directories(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
            let below = self.below(directory)?;
            let first = below.iter().filter(|path| path.components().count() > 1).filter_map(|path| path.components().next());
            Ok(first.map(|name| directory.join(name)).collect::<BTreeSet<_>>().into_iter().collect())
        }

        fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
