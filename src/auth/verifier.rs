//! What a server keeps instead of a password (RFC 5802, section 3), in PostgreSQL's stored form.

use std::{borrow::Cow, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// `scram_iterations`, PostgreSQL's default and RFC 7677's minimum.
pub(super) const ITERATIONS: u32 = 4096;

/// Salt and keys of one login. `Debug` prints none of them.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Box<[u8]>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// What tells one verifier from another before any proof: iterations, and the salt's length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) iterations: u32,
    pub(super) salt: usize,
}

impl Default for Form {
    /// PostgreSQL's own.
    fn default() -> Self {
        Self { iterations: ITERATIONS, salt: 16 }
    }
}

/// A text that is not PostgreSQL's stored form. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a stored verifier of the form SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")]
pub struct InvalidVerifier;

impl Verifier {
    /// Derives the keys from a password, as PostgreSQL does for `CREATE ROLE ... PASSWORD`: about 4096 HMACs.
    pub fn derive(password: &str, salt: &[u8]) -> Self {
        Self::derive_with(password, salt, ITERATIONS)
    }

    fn derive_with(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(prepared(password).as_bytes(), salt, iterations, &mut salted);
        let client_key = hmac_sha256(&salted, &[b"Client Key"]);
        let server_key = hmac_sha256(&salted, &[b"Server Key"]);
        Self { iterations, salt: salt.into(), stored_key: Sha256::digest(client_key).into(), server_key }
    }

    /// A verifier from keys that no password gave: what an unknown user's proof is checked against.
    pub(super) fn mock(iterations: u32, salt: &[u8], stored_key: [u8; 32], server_key: [u8; 32]) -> Self {
        Self { iterations, salt: salt.into(), stored_key, server_key }
    }

    /// What a client sees of it that is not derived from its name.
    pub(super) fn form(&self) -> Form {
        Form { iterations: self.iterations, salt: self.salt.len() }
    }

    /// PBKDF2 iterations, which the client repeats.
    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt in base 64, as the server-first message has it.
    pub(super) fn salt(&self) -> String {
        BASE64.encode(&self.salt)
    }

    /// Whether `proof` is that of a client who knows the password, over this `AuthMessage`. Constant time.
    pub(super) fn accepts(&self, proof: &[u8; 32], auth_message: &str) -> bool {
        let mut client_key = hmac_sha256(&self.stored_key, &[auth_message.as_bytes()]);
        client_key.iter_mut().zip(proof).for_each(|(key, proof)| *key ^= proof);
        Sha256::digest(client_key).as_slice().ct_eq(&self.stored_key).into()
    }

    /// The server's own proof over this `AuthMessage`.
    pub(super) fn server_signature(&self, auth_message: &str) -> String {
        BASE64.encode(hmac_sha256(&self.server_key, &[auth_message.as_bytes()]))
    }

    /// PostgreSQL's stored form, for `pgwicket scram-verifier`. As secret as `pg_authid.rolpassword` is.
    pub fn to_stored_form(&self) -> String {
        let Self { iterations, stored_key, server_key, .. } = self;
        format!("SCRAM-SHA-256${iterations}:{}${}:{}", self.salt(), BASE64.encode(stored_key), BASE64.encode(server_key))
    }
}

impl FromStr for Verifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let key = |text: &str| -> Option<[u8; 32]> { BASE64.decode(text).ok()?.try_into().ok() };
        let parse = || {
            let (cost, keys) = text.trim().strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
            let (iterations, salt) = cost.split_once(':')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            let iterations = iterations.parse().ok().filter(|n| (1..=i32::MAX.unsigned_abs()).contains(n))?;
            let salt = BASE64.decode(salt).ok().filter(|salt| (1..=128).contains(&salt.len()))?;
            Some(Self { iterations, salt: salt.into(), stored_key: key(stored_key)?, server_key: key(server_key)? })
        };
        parse().ok_or(InvalidVerifier)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(****)")
    }
}

/// HMAC-SHA-256 with a 32-byte key over the parts as one message.
pub(super) fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a short key with zeros to the block size; doing it here leaves no length that could be wrong.
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `SASLprep` where it applies and the password as it is where it does not, as PostgreSQL's `pg_saslprep` callers do.
fn prepared(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        Ok(_) | Err(_) => Cow::Borrowed(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Password, salt and iterations of RFC 7677's example.
    #[test]
    fn the_stored_form_survives_and_refuses_anything_else() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let stored = Verifier::derive("pencil", &salt).to_stored_form();
        assert_eq!(
            stored,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(stored.parse::<Verifier>().unwrap().to_stored_form(), stored);
        for wrong in ["", "pencil", "md5abc", &stored[..stored.len() - 4], &stored.replace("4096", "0"), &stored.replace("4096", "-1")] {
            assert_eq!(wrong.parse::<Verifier>().map(|_| ()), Err(InvalidVerifier), "{wrong}");
        }
        assert_eq!(format!("{:?}", stored.parse::<Verifier>()), "Ok(Verifier(****))");
    }

    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        assert_eq!(prepared("I\u{AD}X"), "IX", "RFC 4013, example 1");
        assert_eq!(prepared("\u{2168}"), "IX", "RFC 4013, example 5");
        assert_eq!(prepared("\u{7}"), "\u{7}", "prohibited: taken as it is");
        assert_eq!(prepared("\u{AD}"), "\u{AD}", "nothing left: taken as it is");
    }
}
