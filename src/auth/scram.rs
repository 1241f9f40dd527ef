//! The server side of one SCRAM exchange (RFC 5802, RFC 7677): messages in, messages out, no I/O.
//!
//! [`Challenge::begin`] takes the client-first message and answers with the server-first one;
//! [`Challenge::verify`] consumes the challenge, so a proof can be tried once.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use subtle::ConstantTimeEq as _;

use super::Verifier;

/// The SASL mechanisms offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`
    ScramSha256,
    /// `SCRAM-SHA-256-PLUS`: bound to the TLS connection.
    ScramSha256Plus,
}

/// Why an exchange ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The message breaks the grammar of RFC 5802.
    #[error("malformed SCRAM message")]
    Malformed(&'static str),
    /// The message asks for something PostgreSQL does not do either.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client can bind to the TLS connection, was told we cannot, and we can: someone is in between.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The client bound to another TLS connection than this one.
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    /// The proof is wrong, or the login does not exist.
    #[error("password authentication failed")]
    WrongProof,
}

/// What the connection offers for channel binding.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// `tls-server-end-point` data of the server's certificate; `None` without TLS, or when the certificate's
    /// algorithm has none. PLUS was offered exactly when this is there.
    pub end_point: Option<&'a [u8]>,
}

/// A server-first message that waits for its answer.
#[derive(Debug)]
pub struct Challenge {
    verifier: Arc<Verifier>,
    genuine: bool,
    /// What the client-final message must carry as `c=`.
    expected_binding: String,
    /// What it must carry as `r=`.
    nonce: String,
    /// `client-first-message-bare,server-first-message`
    auth_message: String,
    server_first: String,
}

/// A login that was proven: the server-final message to send.
#[derive(Debug)]
pub struct Proof {
    /// The server's own proof.
    pub server_final: String,
}

impl Mechanism {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// The mechanism of that name, if this connection offered it.
    pub fn chosen(name: &str, binding: Binding<'_>) -> Option<Self> {
        [Self::ScramSha256, Self::ScramSha256Plus]
            .into_iter()
            .find(|mechanism| mechanism.name() == name && (*mechanism == Self::ScramSha256 || binding.end_point.is_some()))
    }
}

impl Challenge {
    /// Reads the client-first message. `genuine` is false for a verifier that stands for an unknown user;
    /// `server_nonce` is at least 18 random bytes as printable text without commas.
    ///
    /// The user name inside the message is ignored, as PostgreSQL ignores it: the startup message has named the user.
    pub fn begin(
        mechanism: Mechanism,
        message: &[u8],
        binding: Binding<'_>,
        (verifier, genuine): (Arc<Verifier>, bool),
        server_nonce: &str,
    ) -> Result<Self, ScramError> {
        let message = text(message)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed("no channel binding flag"))?;
        let (authorization, bare) = rest.split_once(',').ok_or(ScramError::Malformed("no authorization identity field"))?;
        check_flag(mechanism, flag, binding)?;
        if !authorization.is_empty() {
            return Err(ScramError::Unsupported("client uses authorization identity, but it is not supported"));
        }
        let client_nonce = client_nonce(bare)?;

        let mut bound = format!("{flag},,").into_bytes();
        if mechanism == Mechanism::ScramSha256Plus {
            bound.extend_from_slice(binding.end_point.unwrap_or_default());
        }
        let nonce = format!("{client_nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={},i={}", verifier.salt(), verifier.iterations());
        let auth_message = format!("{bare},{server_first}");
        Ok(Self { verifier, genuine, expected_binding: BASE64.encode(bound), nonce, auth_message, server_first })
    }

    /// The server-first message.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Reads the client-final message and checks the proof.
    pub fn verify(self, message: &[u8]) -> Result<Proof, ScramError> {
        let message = text(message)?;
        // The proof is the last attribute; what is before it, unknown extensions included, is signed.
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let mut attributes = without_proof.split(',');
        let bound = attribute(attributes.next(), "c=")?;
        let nonce = attribute(attributes.next(), "r=")?;
        if !attributes.all(is_extension) {
            return Err(ScramError::Malformed("unexpected attribute"));
        }
        if !bool::from(bound.as_bytes().ct_eq(self.expected_binding.as_bytes())) {
            return Err(ScramError::BindingMismatch);
        }
        if nonce != self.nonce {
            return Err(ScramError::Malformed("nonce does not match"));
        }
        let proof = BASE64.decode(proof).ok().and_then(|proof| <[u8; 32]>::try_from(proof).ok());
        let proof = proof.ok_or(ScramError::Malformed("proof is not 32 bytes in base 64"))?;

        let auth_message = format!("{},{without_proof}", self.auth_message);
        // Both are computed before either is asked, so that an unknown user costs what a wrong password costs.
        let accepted = self.verifier.accepts(&proof, &auth_message);
        if !(accepted & self.genuine) {
            return Err(ScramError::WrongProof);
        }
        Ok(Proof { server_final: format!("v={}", self.verifier.server_signature(&auth_message)) })
    }
}

/// RFC 5802, section 6: which channel binding flag goes with which mechanism and offer.
fn check_flag(mechanism: Mechanism, flag: &str, binding: Binding<'_>) -> Result<(), ScramError> {
    match (flag, mechanism) {
        ("y", Mechanism::ScramSha256) if binding.end_point.is_some() => Err(ScramError::Downgrade),
        ("n" | "y", Mechanism::ScramSha256) => Ok(()),
        ("p=tls-server-end-point", Mechanism::ScramSha256Plus) if binding.end_point.is_some() => Ok(()),
        (flag, Mechanism::ScramSha256Plus) if flag.starts_with("p=") => {
            Err(ScramError::Unsupported("unsupported SCRAM channel-binding type, use tls-server-end-point"))
        }
        (_, Mechanism::ScramSha256Plus) => Err(ScramError::Malformed("SCRAM-SHA-256-PLUS without channel binding data")),
        (_, Mechanism::ScramSha256) => Err(ScramError::Malformed("channel binding flag does not fit SCRAM-SHA-256")),
    }
}

/// The nonce of a client-first-message-bare.
fn client_nonce(bare: &str) -> Result<&str, ScramError> {
    let mut attributes = bare.split(',');
    let first = attributes.next();
    if first.is_some_and(|attribute| attribute.starts_with("m=")) {
        return Err(ScramError::Unsupported("client requires an unsupported SCRAM extension"));
    }
    attribute(first, "n=")?;
    let nonce = attribute(attributes.next(), "r=")?;
    if nonce.is_empty() || !nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(ScramError::Malformed("nonce is empty or not printable"));
    }
    if !attributes.all(is_extension) {
        return Err(ScramError::Malformed("unexpected attribute"));
    }
    Ok(nonce)
}

fn attribute<'a>(attribute: Option<&'a str>, name: &'static str) -> Result<&'a str, ScramError> {
    attribute.and_then(|attribute| attribute.strip_prefix(name)).ok_or(ScramError::Malformed(name))
}

/// `attr-val` of RFC 5802: one letter, `=`, a value.
fn is_extension(attribute: &str) -> bool {
    matches!(attribute.as_bytes(), [letter, b'=', _, ..] if letter.is_ascii_alphabetic())
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    let text = std::str::from_utf8(message).ok().filter(|text| !text.contains('\0'));
    text.ok_or(ScramError::Malformed("not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_BINDING: Binding<'_> = Binding { end_point: None };
    const BOUND: Binding<'_> = Binding { end_point: Some(b"certificate hash") };
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FINAL: &[u8] =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn pencil() -> (Arc<Verifier>, bool) {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        (Arc::new(Verifier::derive("pencil", &salt)), true)
    }

    fn begin(message: &[u8], binding: Binding<'_>) -> Result<Challenge, ScramError> {
        Challenge::begin(Mechanism::ScramSha256, message, binding, pencil(), SERVER_NONCE)
    }

    #[test]
    fn the_exchange_of_rfc_7677_passes() {
        let challenge = begin(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", NO_BINDING).unwrap();
        assert_eq!(challenge.server_first(), "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let proof = challenge.verify(CLIENT_FINAL).unwrap();
        assert_eq!(proof.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_right_proof_of_an_unknown_user_is_wrong() {
        let (verifier, _) = pencil();
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let challenge = Challenge::begin(Mechanism::ScramSha256, first, NO_BINDING, (verifier, false), SERVER_NONCE).unwrap();
        assert_eq!(challenge.verify(CLIENT_FINAL).unwrap_err(), ScramError::WrongProof);
    }

    #[test]
    fn a_changed_final_message_is_refused() {
        let verify = |from: &str, to: &str| {
            let message = std::str::from_utf8(CLIENT_FINAL).unwrap().replace(from, to);
            begin(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", NO_BINDING).unwrap().verify(message.as_bytes()).unwrap_err()
        };
        assert_eq!(verify("p=dH", "p=dG"), ScramError::WrongProof);
        assert_eq!(verify("biws", "eSws"), ScramError::BindingMismatch);
        assert_eq!(verify("k0,", "k1,"), ScramError::Malformed("nonce does not match"));
        assert_eq!(verify(",p=", ",x=1,p="), ScramError::WrongProof, "an extension is signed too");
        assert_eq!(verify(",p=", ",,p="), ScramError::Malformed("unexpected attribute"));
        assert_eq!(verify("dVQ=", "dVQ"), ScramError::Malformed("proof is not 32 bytes in base 64"));
    }

    #[test]
    fn channel_binding_cannot_be_downgraded_or_invented() {
        let plus = |message: &[u8], binding| Challenge::begin(Mechanism::ScramSha256Plus, message, binding, pencil(), SERVER_NONCE);
        assert_eq!(begin(b"y,,n=,r=abc", BOUND).unwrap_err(), ScramError::Downgrade);
        assert!(begin(b"y,,n=,r=abc", NO_BINDING).is_ok(), "we did not offer PLUS");
        assert!(begin(b"n,,n=,r=abc", BOUND).is_ok(), "the client cannot bind");
        assert!(matches!(begin(b"p=tls-server-end-point,,n=,r=abc", NO_BINDING), Err(ScramError::Malformed(_))));
        assert!(matches!(plus(b"p=tls-server-end-point,,n=,r=abc", NO_BINDING), Err(ScramError::Unsupported(_))));
        assert!(matches!(plus(b"p=tls-unique,,n=,r=abc", BOUND), Err(ScramError::Unsupported(_))));
        assert!(matches!(plus(b"n,,n=,r=abc", BOUND), Err(ScramError::Malformed(_))));
        let bound = plus(b"p=tls-server-end-point,,n=,r=abc", BOUND).unwrap();
        assert_eq!(bound.expected_binding, BASE64.encode("p=tls-server-end-point,,certificate hash"));
        assert_eq!(Mechanism::chosen("SCRAM-SHA-256-PLUS", NO_BINDING), None);
        assert_eq!(Mechanism::chosen("SCRAM-SHA-1", BOUND), None);
    }

    #[test]
    fn what_postgresql_refuses_is_refused() {
        for message in ["", "n", "n,", "n,,", "n,,n=a", "n,,r=a", "n,,n=a,r=", "n,,n=a,r=a,", "n,,n=a,r=a b", "x,,n=a,r=a", "n,,n=a,r=\0"] {
            assert!(matches!(begin(message.as_bytes(), NO_BINDING), Err(ScramError::Malformed(_))), "{message:?}");
        }
        assert!(matches!(begin(b"n,a=root,n=a,r=a", NO_BINDING), Err(ScramError::Unsupported(_))));
        assert!(matches!(begin(b"n,,m=x,n=a,r=a", NO_BINDING), Err(ScramError::Unsupported(_))));
        assert!(matches!(begin(b"n,,n=\xff,r=a", NO_BINDING), Err(ScramError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_pass(first in proptest::collection::vec(any::<u8>(), 0..80), last in proptest::collection::vec(any::<u8>(), 0..120)) {
            drop(begin(&first, BOUND));
            let challenge = begin(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", NO_BINDING).unwrap();
            prop_assert!(challenge.verify(&last).is_err());
        }

        #[test]
        fn no_attribute_text_makes_it_panic_or_pass(last in "[crp=,a-zA-Z0-9+/%]{0,120}") {
            let challenge = begin(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", NO_BINDING).unwrap();
            prop_assert!(challenge.verify(last.as_bytes()).is_err());
        }
    }
}
