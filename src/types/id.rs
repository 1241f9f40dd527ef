//! Identifiers, each parsed once.

use std::{fmt, str::FromStr};

/// A name or identifier that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be 1 to {max} bytes without control characters")]
pub struct InvalidName {
    kind: &'static str,
    max: usize,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if text.is_empty() || text.len() > $max || text.chars().any(char::is_control) {
                    return Err(InvalidName { kind: $kind, max: $max });
                }
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name an agent logs in with (the `user` of its connection string).
    AgentName, "agent name", 63
);
name!(
    /// The name of a source in the policy.
    SourceName, "source name", 63
);
name!(
    /// The trusted tenant value, in the text form of the tenant column's type.
    TenantId, "tenant", 1024
);
name!(
    /// A person who decides on proposals, by the name in the policy.
    ReviewerName, "reviewer name", 63
);
name!(
    /// A store and the processes on it: the policy's own name for it, and an id that was made with the store. What was decided in
    /// one deployment counts in no other.
    Deployment, "deployment", 255
);
name!(
    /// The agent's own unit of work.
    RunId, "run id", 255
);

/// What tells one store from another: made once with it, and kept in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub u64);

impl Deployment {
    /// The deployment of a store, under the name that the policy has for it.
    pub fn new(name: Option<&str>, store: StoreId) -> Self {
        let store = format!("dep_{:016x}", store.0);
        Self(name.map_or_else(|| store.clone(), |name| format!("{name}/{store}")).into())
    }
}

/// The version of the policy in force: grows by one at each reload that took effect. Unit: reloads since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyEpoch(pub u64);

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl FromStr for Digest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { kind: "a digest (64 hex digits)", max: 64 };
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(invalid());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_no_digits| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

macro_rules! time_ordered {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// Makes an id from a clock reading (milliseconds since the Unix epoch) and 80 unique bits; the caller owns both.
            pub fn new(unix_milliseconds: u64, unique: u128) -> Self {
                Self((u128::from(unix_milliseconds) << 80) | (unique & ((1 << 80) - 1)))
            }

            /// The 16 bytes, big-endian so that bytes sort as ids do.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id that [`Self::to_bytes`] gave.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// Milliseconds since the Unix epoch at which it was made.
            pub fn unix_milliseconds(self) -> u64 {
                u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                for place in (0..26).rev() {
                    let digit = usize::try_from((self.0 >> (place * 5)) & 31).unwrap_or(0);
                    let letter = BASE32.get(digit).copied().unwrap_or(b'0');
                    fmt::Write::write_char(f, char::from(letter))?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let invalid = InvalidName { kind: concat!($kind, " (", $prefix, " and 26 base-32 digits)"), max: $prefix.len() + 26 };
                let digits = text.strip_prefix($prefix).filter(|digits| digits.len() == 26).ok_or_else(|| invalid.clone())?;
                let mut value: u128 = 0;
                for byte in digits.bytes() {
                    let digit = BASE32.iter().position(|b| *b == byte).ok_or_else(|| invalid.clone())?;
                    value = value.checked_mul(32).and_then(|v| v.checked_add(digit as u128)).ok_or_else(|| invalid.clone())?;
                }
                Ok(Self(value))
            }
        }
    };
}

time_ordered!(
    /// The identifier of one statement's evidence: 48 bits of milliseconds since the Unix epoch, then 80
    /// bits that are unique; printed `ev_` and 26 Crockford base-32 digits, so ids sort by time.
    EvidenceId, "ev_", "evidence id"
);
time_ordered!(
    /// The identifier of a proposal, made as an evidence id is; printed `prop_` and 26 digits.
    ProposalId, "prop_", "proposal id"
);

impl SourceName {
    /// A name of pgwicket's own making: a fixed prefix and hexadecimal digits, within the bounds of a source's name.
    pub fn from_parts(prefix: &'static str, digits: &str) -> Self {
        Self(format!("{prefix}{digits}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evidence_id_survives_printing_and_sorts_by_time() {
        let early = EvidenceId::new(1_700_000_000_000, 7);
        let late = EvidenceId::new(1_700_000_000_001, 0);
        assert_eq!(early.to_string().parse::<EvidenceId>(), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.unix_milliseconds(), 1_700_000_000_000);
        assert!("ev_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<EvidenceId>().is_err(), "130 bits do not fit");
        let proposal = ProposalId::new(1_700_000_000_000, 7);
        assert_eq!(proposal.to_string().parse::<ProposalId>(), Ok(proposal));
        assert!(early.to_string().parse::<ProposalId>().is_err(), "an evidence id is no proposal id");
    }
}
