//! What is wrong with policy files: every finding with its place, all at once.

use std::{fmt, sync::Arc};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The policy does not compile.
    Error,
    /// The policy compiles; a person should look.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to the loader.
    pub file: Arc<str>,
    /// 1-based line; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// 1-based column in characters; 0 with line 0.
    pub column: usize,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop, no secret.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {severity}: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The findings of a load that did not compile, sorted by place. At least one is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors(pub Vec<Problem>);

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// A place in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named to the loader.
    pub file: Arc<str>,
    /// 1-based line.
    pub line: usize,
    /// 1-based column in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Where findings are gathered while a policy is read and compiled.
#[derive(Debug, Default, Clone)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes an error at a place.
    pub(super) fn error(&mut self, at: &Place, message: impl Into<String>) -> &mut Problem {
        self.push(at, Severity::Error, message.into())
    }

    /// Notes a warning at a place.
    pub(super) fn warn(&mut self, at: &Place, message: impl Into<String>) -> &mut Problem {
        self.push(at, Severity::Warning, message.into())
    }

    fn push(&mut self, at: &Place, severity: Severity, message: String) -> &mut Problem {
        let problem = Problem { file: Arc::clone(&at.file), line: at.line, column: at.column, severity, message, hint: None };
        self.0.push_mut(problem)
    }

    /// How many errors were noted so far.
    pub(super) fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// The findings by place, each once.
    pub(super) fn sorted(mut self) -> Vec<Problem> {
        self.0.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        self.0.dedup();
        self.0
    }
}

impl Problem {
    /// Says what to write instead.
    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

/// `did you mean x?`, or the list of what there is.
pub(super) fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const LISTED: usize = 20;
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= name.chars().count().max(wrong.chars().count()) / 3)
        .min();
    match near {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None if known.len() <= LISTED => Some(format!("use one of: {}", known.join(", "))),
        None => {
            Some(format!("use one of: {}, … ({} in all)", known.iter().take(LISTED).copied().collect::<Vec<_>>().join(", "), known.len()))
        }
    }
}

/// A value of the file as an error may show it: short, and never something that looks like it holds a secret.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.contains("://") || text.contains("SCRAM-SHA-256$") {
        return "this value".to_owned();
    }
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() > LONGEST { format!("`{}…`", clean.chars().take(LONGEST).collect::<String>()) } else { format!("`{clean}`") }
}
