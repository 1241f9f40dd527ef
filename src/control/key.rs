//! API keys: what one looks like, what it may do.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::types::{Digest, Secret};

/// What a secret begins with.
const PREFIX: &str = "pgw_";

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read proposals.
    ProposalsRead,
    /// Approve, reject and cancel proposals, as the reviewer of the key.
    ProposalsApprove,
    /// Read approved proposals and report how applying them ended.
    Worker,
    /// Read sources.
    SourcesAdmin,
    /// Read evidence.
    EvidenceRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::ProposalsRead, Self::ProposalsApprove, Self::Worker, Self::SourcesAdmin, Self::EvidenceRead];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ProposalsRead => "proposals:read",
            Self::ProposalsApprove => "proposals:approve",
            Self::Worker => "worker",
            Self::SourcesAdmin => "sources:admin",
            Self::EvidenceRead => "evidence:read",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.word() == word);
        found.ok_or_else(|| format!("no scope; use one of: {}", Self::ALL.map(Self::word).join(", ")))
    }
}

/// The secret of a key, from 32 random bytes: `pgw_` and 43 characters.
pub fn key_secret(random: [u8; 32]) -> Secret {
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What is stored of a secret. It is looked up by this, so how long a lookup takes tells nothing of a secret.
pub fn key_hash(secret: &str) -> Digest {
    Digest(Sha256::digest(secret.as_bytes()).into())
}

/// The secret in an `Authorization` header.
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, secret) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && secret.starts_with(PREFIX)).then_some(secret.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_prefix_and_stored_as_its_hash() {
        let secret = key_secret([7; 32]);
        assert_eq!(secret.expose().len(), 47);
        assert_eq!(bearer(&format!("bearer {}", secret.expose())), Some(secret.expose()));
        assert_eq!(bearer("Basic pgw_x"), None);
        assert_eq!(bearer("Bearer other"), None);
        assert_eq!(key_hash("pgw_x").to_string().len(), 64);
        for scope in Scope::ALL {
            assert_eq!(scope.word().parse(), Ok(scope));
        }
    }
}
