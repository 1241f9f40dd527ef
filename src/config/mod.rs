//! The only reader of files and environment variables. It returns text and secrets, and decides nothing.
//! May use: `types`. Never: YAML, JSON, policy rules, a global configuration.
//! Invariant: what was read as a secret leaves as a [`Secret`]; an error never holds a content, only names.

mod environment;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use environment::{Environment, Process};

use crate::types::Secret;

/// The largest file that is read. Unit: bytes.
const LONGEST: usize = 64 << 20;

/// The files of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTexts {
    /// The directory that holds them; `file:` references and saved catalogs are relative to it.
    pub directory: PathBuf,
    /// File names (below the directory) and texts, by name.
    pub files: Vec<(String, String)>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory that cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// What was to be read.
        path: String,
        /// The system's words.
        why: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}: {why}")]
    Unwritable {
        /// What was to be written.
        path: String,
        /// The system's words.
        why: io::Error,
    },
    /// A file that is not UTF-8 or too large.
    #[error("cannot read {path}: {why}")]
    NotText {
        /// What was to be read.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A directory without policy files.
    #[error("no policy files (*.yaml, *.yml) in {path}{}", subdirectories(below))]
    NoPolicy {
        /// The directory.
        path: String,
        /// Its subdirectories.
        below: Vec<String>,
    },
}

fn subdirectories(below: &[String]) -> String {
    if below.is_empty() { String::new() } else { format!("; a subdirectory is a policy of its own: {}", below.join(", ")) }
}

/// The policy files directly in a directory (subdirectories hold other things: saved catalogs, tests, other
/// policies), or the one file that `path` is.
pub fn policy_texts(environment: &dyn Environment, path: &Path) -> Result<PolicyTexts, ConfigError> {
    if is_yaml(path) {
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(PolicyTexts { directory, files: vec![(name, text(environment, path)?)] });
    }
    let unreadable = |why| ConfigError::Unreadable { path: path.display().to_string(), why };
    let mut files = Vec::new();
    for file in environment.files(path).map_err(unreadable)?.into_iter().filter(|file| is_yaml(file)) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.push((name, text(environment, &file)?));
    }
    if files.is_empty() {
        let below = environment.directories(path).map_err(unreadable)?;
        let below = below.iter().map(|path| path.display().to_string()).collect();
        return Err(ConfigError::NoPolicy { path: path.display().to_string(), below });
    }
    files.sort();
    Ok(PolicyTexts { directory: path.to_path_buf(), files })
}

fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A file's text.
pub fn text(environment: &dyn Environment, path: &Path) -> Result<String, ConfigError> {
    let content = String::from_utf8(bytes(environment, path)?).ok();
    content.ok_or_else(|| ConfigError::NotText { path: path.display().to_string(), why: "it is not UTF-8" })
}

/// A file's bytes.
pub fn bytes(environment: &dyn Environment, path: &Path) -> Result<Vec<u8>, ConfigError> {
    let content = environment.read(path).map_err(|why| ConfigError::Unreadable { path: path.display().to_string(), why })?;
    if content.len() > LONGEST {
        return Err(ConfigError::NotText { path: path.display().to_string(), why: "it is larger than 64 MiB" });
    }
    Ok(content)
}

/// A file's text, or `None` when there is no such file.
pub fn text_if_present(environment: &dyn Environment, path: &Path) -> Result<Option<String>, ConfigError> {
    match text(environment, path) {
        Err(ConfigError::Unreadable { why, .. }) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Writes a file, creating its directory.
pub fn save(environment: &dyn Environment, path: &Path, content: &str) -> Result<(), ConfigError> {
    environment.write(path, content.as_bytes()).map_err(|why| ConfigError::Unwritable { path: path.display().to_string(), why })
}

/// Writes a new file for its owner only. Never over one that is there.
pub fn save_secret(path: &Path, content: &str) -> Result<(), ConfigError> {
    use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let unwritable = |why| ConfigError::Unwritable { path: path.display().to_string(), why };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)
}

/// The secret in an environment variable, or why there is none.
pub fn secret_from_variable(environment: &dyn Environment, name: &str) -> Result<Secret, String> {
    match environment.variable(name) {
        Some(value) if value.is_empty() => Err(format!("the environment variable {name} is empty")),
        Some(value) => Ok(Secret::new(value)),
        None => Err(format!("the environment variable {name} is not set")),
    }
}

/// The secret in a file, without the line break at its end, or why there is none.
pub fn secret_from_file(environment: &dyn Environment, directory: &Path, path: &str) -> Result<Secret, String> {
    let content = text(environment, &directory.join(path)).map_err(|error| error.to_string())?;
    let content = content.strip_suffix('\n').map_or(content.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if content.is_empty() { Err(format!("the file {path} is empty")) } else { Ok(Secret::new(content)) }
}

#[cfg(test)]
mod tests {
    use super::{environment::Fixture, *};

    #[test]
    fn a_directory_is_its_own_yaml_files_and_nothing_below() {
        let environment = Fixture::new(&[
            ("p/b.yaml", "b"),
            ("p/a.yml", "a"),
            ("p/notes.md", "no"),
            ("p/.hidden.yaml", "no"),
            ("p/tests/cases.yaml", "no"),
        ]);
        let texts = policy_texts(&environment, Path::new("p")).unwrap();
        assert_eq!(texts.files, [("a.yml".to_owned(), "a".to_owned()), ("b.yaml".to_owned(), "b".to_owned())]);
        let one = policy_texts(&environment, Path::new("p/b.yaml")).unwrap();
        assert_eq!((one.directory.as_path(), one.files.len()), (Path::new("p"), 1));
    }

    #[test]
    fn a_missing_or_empty_place_says_what_was_looked_for() {
        let environment = Fixture::new(&[("p/below/a.yaml", ""), ("bin.yaml", "\u{0}")]);
        let error = |path: &str| policy_texts(&environment, Path::new(path)).unwrap_err().to_string();
        assert_eq!(error("p"), "no policy files (*.yaml, *.yml) in p; a subdirectory is a policy of its own: p/below");
        assert!(error("q").starts_with("cannot read q: "), "{}", error("q"));
    }

    #[test]
    fn secrets_come_from_variables_and_files_and_are_never_empty() {
        let environment = Fixture::new(&[("p/key", "s3cret\n"), ("p/none", "\n")]).with_variable("A", "x").with_variable("E", "");
        assert_eq!(secret_from_variable(&environment, "A").unwrap().expose(), "x");
        assert_eq!(secret_from_variable(&environment, "E").unwrap_err(), "the environment variable E is empty");
        assert_eq!(secret_from_variable(&environment, "B").unwrap_err(), "the environment variable B is not set");
        assert_eq!(secret_from_file(&environment, Path::new("p"), "key").unwrap().expose(), "s3cret");
        assert_eq!(secret_from_file(&environment, Path::new("p"), "none").unwrap_err(), "the file none is empty");
        assert!(secret_from_file(&environment, Path::new("p"), "gone").unwrap_err().starts_with("cannot read p/gone: "));
    }
}
