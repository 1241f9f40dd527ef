//! References from a policy to what it must not hold itself: secrets and files. `config` resolves them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    decode::{Decode, Spanned, text, text_schema},
    problem::{Place, Problems},
    yaml::Node,
};
use crate::types::Secret;

/// Where a secret or a file's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`, relative to the policy file that names it.
    File {
        /// The policy file, as it was named to the loader.
        policy: Arc<str>,
        /// The path as written.
        path: String,
    },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File { path, .. } => write!(f, "file:{path}"),
        }
    }
}

/// What `config` read for each reference, or why it could not (in words, no secret).
pub type Resolved = BTreeMap<Reference, Result<Secret, String>>;

/// A secret given by reference.
#[derive(Debug, Clone)]
pub(super) struct SecretReference(pub(super) Spanned<Reference>);

/// A stored SCRAM verifier: by reference, or as it is (it is not the password).
#[derive(Debug, Clone)]
pub(super) enum VerifierReference {
    /// By reference.
    Reference(SecretReference),
    /// As it is.
    Literal(Spanned<Secret>),
}

/// A file given by path.
#[derive(Debug, Clone)]
pub(super) struct FileReference(pub(super) Spanned<Reference>);

/// `env:NAME` or `file:PATH`.
pub(super) fn reference(text: &str, at: &Place) -> Option<Reference> {
    let name_fits = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(name) = text.strip_prefix("env:") {
        return name_fits(name).then(|| Reference::Environment(name.to_owned()));
    }
    let path = text.strip_prefix("file:").filter(|path| !path.is_empty())?;
    Some(Reference::File { policy: Arc::clone(&at.file), path: path.to_owned() })
}

impl Decode for SecretReference {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a secret reference", problems)?;
        let found = reference(text, &node.at);
        if found.is_none() {
            // The value itself is never shown: it may be the secret.
            problems
                .error(&node.at, "a secret must be given by reference, not as it is")
                .hint("write `env:NAME` (letters, digits, _) or `file:PATH` (relative to this file)");
        }
        Some(Self(Spanned { value: found?, at: node.at.clone() }))
    }
}

impl Decode for VerifierReference {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a SCRAM verifier", problems)?;
        if text.starts_with("SCRAM-SHA-256$") {
            return Some(Self::Literal(Spanned { value: Secret::new(text), at: node.at.clone() }));
        }
        let Some(found) = reference(text, &node.at) else {
            problems
                .error(&node.at, "neither a stored SCRAM verifier nor a reference to one")
                .hint("write `env:NAME`, `file:PATH`, or the verifier `SCRAM-SHA-256$4096:…` (a password belongs in `scram: env:NAME`)");
            return None;
        };
        Some(Self::Reference(SecretReference(Spanned { value: found, at: node.at.clone() })))
    }
}

impl Decode for FileReference {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a file path", problems)?;
        let path = text.strip_prefix("file:").unwrap_or(text);
        if path.contains("-----BEGIN") {
            problems.error(&node.at, "a PEM text where a file path is expected").hint("put it into a file and write `file:PATH`");
            return None;
        }
        file(path, node, problems).map(Self)
    }
}

/// The file of a path that was written at `node`.
pub(super) fn file(path: &str, node: &Node, problems: &mut Problems) -> Option<Spanned<Reference>> {
    if path.is_empty() {
        problems.error(&node.at, "nothing where a file path is expected").hint("write `file:PATH`, relative to this file");
        return None;
    }
    let value = Reference::File { policy: Arc::clone(&node.at.file), path: path.to_owned() };
    Some(Spanned { value, at: node.at.clone() })
}

text_schema!(SecretReference, "SecretReference", { "type": "string", "pattern": "^(env:[A-Za-z0-9_]+|file:.+)$" });
text_schema!(VerifierReference, "VerifierReference", { "type": "string", "pattern": "^(env:[A-Za-z0-9_]+|file:.+|SCRAM-SHA-256\\$.+)$" });
text_schema!(FileReference, "FileReference", { "type": "string", "minLength": 1 });
