//! The proof of who a client is, over the wire: SCRAM, a token in the password field or by OAUTHBEARER, a certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use serde_json::json;

use super::{
    handshake::{Arrival, End, authentication},
    refused::Refused,
};
use crate::{
    auth::{Binding, Challenge, Claimed, Logins, MAX_TOKEN, Mechanism, Method, ScramError, TokenError},
    policy::{TokenMethod, TokenRules},
    types::Principal,
};

/// A SASL message of SCRAM, at most. PostgreSQL: `PG_MAX_SASL_MESSAGE_LENGTH`. Unit: bytes.
const MAX_SASL_MESSAGE: usize = 1024;
/// A message with a token, at most. Unit: bytes.
const MAX_TOKEN_MESSAGE: usize = MAX_TOKEN + 1024;
/// The mechanism of RFC 7628.
const OAUTHBEARER: &str = "OAUTHBEARER";

/// A client that has proven who it is.
pub(super) struct Proven {
    /// Who, and how many connections it may hold.
    pub(super) principal: (Principal, usize),
    /// What SCRAM's server says last.
    pub(super) server_final: Option<String>,
}

impl Arrival<'_> {
    /// Asks for the proof that this user has to give, and checks it.
    pub(super) async fn authenticate(&mut self, logins: &Logins, user: &str) -> Result<Proven, End> {
        match logins.method_of(user) {
            Method::Scram => self.scram(logins, user).await,
            Method::Token(rules, method) => {
                if !self.is_private() {
                    return Err(Refused::Plaintext.into());
                }
                let claimed = match method {
                    TokenMethod::Password => self.password(&rules).await?,
                    TokenMethod::OAuthBearer => self.bearer(&rules).await?,
                };
                let principal = logins.principal_of_token(user, claimed).ok_or_else(|| Refused::scram(ScramError::WrongProof, user))?;
                Ok(Proven { principal, server_final: None })
            }
            Method::Certificate => {
                let certificate = self.certificate.take().ok_or(Refused::NoCertificate)?;
                let wrong = || Refused::WrongCertificate { user: user.to_owned() };
                let principal = logins.principal_of_certificate(user, certificate.leaf()).ok_or_else(wrong)?;
                self.vouched = Some(certificate);
                Ok(Proven { principal, server_final: None })
            }
        }
    }

    async fn scram(&mut self, logins: &Logins, user: &str) -> Result<Proven, End> {
        let end_point = self.end_point.clone();
        let binding = Binding { end_point: end_point.as_deref() };
        authentication(&mut self.channel, 10, |message| {
            let message = if binding.end_point.is_some() { message.string(Mechanism::ScramSha256Plus.name()) } else { message };
            message.string(Mechanism::ScramSha256.name()).byte(0)
        });
        let refused = |error| Refused::scram(error, user);

        let initial = self.response(MAX_SASL_MESSAGE).await?;
        let (mechanism, response) = initial_response(&initial)?;
        let mechanism = Mechanism::chosen(mechanism, binding).ok_or(Refused::Mechanism)?;
        let nonce = BASE64.encode(rand::random::<[u8; 18]>());
        let challenge = Challenge::begin(mechanism, response, binding, logins.verifier_of(user), &nonce).map_err(refused)?;

        authentication(&mut self.channel, 11, |message| message.bytes(challenge.server_first().as_bytes()));
        let last = self.response(MAX_SASL_MESSAGE).await?;
        let proof = challenge.verify(&last).map_err(refused)?;
        let principal = logins.principal(user, &proof).ok_or_else(|| refused(ScramError::WrongProof))?;
        Ok(Proven { principal, server_final: Some(proof.server_final) })
    }

    /// The token as password: `AuthenticationCleartextPassword`, which only a private connection is asked for.
    async fn password(&mut self, rules: &TokenRules) -> Result<Claimed, End> {
        authentication(&mut self.channel, 3, |message| message);
        let message = self.response(MAX_TOKEN_MESSAGE).await?;
        let token = message.strip_suffix(&[0]).and_then(|token| std::str::from_utf8(token).ok());
        let token = token.filter(|token| !token.contains('\0')).ok_or(Refused::malformed("malformed password message"))?;
        Ok(self.check(token, rules).await.map_err(Refused::Token)?)
    }

    /// SASL OAUTHBEARER as PostgreSQL 18 has it: <https://www.postgresql.org/docs/18/sasl-authentication.html>
    async fn bearer(&mut self, rules: &TokenRules) -> Result<Claimed, End> {
        authentication(&mut self.channel, 10, |message| message.string(OAUTHBEARER).byte(0));
        let initial = self.response(MAX_TOKEN_MESSAGE).await?;
        let (mechanism, response) = initial_response(&initial)?;
        if mechanism != OAUTHBEARER {
            return Err(Refused::Mechanism.into());
        }
        let token = bearer_token(response)?;
        // No token at all is how a client asks where to get one.
        let checked = if token.is_empty() { Err(TokenError::Malformed) } else { self.check(token, rules).await };
        let error = match checked {
            Ok(claimed) => return Ok(claimed),
            Err(error) => error,
        };
        // RFC 7628, 3.2.2 and 3.2.3: the client is told where tokens come from, answers with one %x01, and is refused.
        let discovery = format!("{}/.well-known/openid-configuration", rules.issuer.trim_end_matches('/'));
        let status = json!({ "status": "invalid_token", "openid-configuration": discovery, "scope": "" }).to_string();
        authentication(&mut self.channel, 11, |message| message.bytes(status.as_bytes()));
        if self.response(MAX_SASL_MESSAGE).await? != [1] {
            return Err(Refused::malformed("malformed OAUTHBEARER message").into());
        }
        Err(Refused::Token(error).into())
    }

    async fn check(&self, token: &str, rules: &TokenRules) -> Result<Claimed, TokenError> {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        self.front.keyring.check(token, rules, now).await
    }
}

/// `n,,` and pairs between %x01 (RFC 7628, 3.1), of which `auth=Bearer …` counts.
fn bearer_token(response: &[u8]) -> Result<&str, Refused> {
    let malformed = || Refused::malformed("malformed OAUTHBEARER message");
    let text = std::str::from_utf8(response).map_err(|_position| malformed())?;
    let (header, pairs) = text.split_once('\u{1}').ok_or_else(malformed)?;
    // No channel binding, which the mechanism does not have, and nobody else's identity.
    if !matches!(header, "n,," | "y,,") || !pairs.ends_with("\u{1}\u{1}") {
        return Err(malformed());
    }
    let mut values = pairs.trim_end_matches('\u{1}').split('\u{1}').filter_map(|pair| pair.strip_prefix("auth="));
    let value = values.next().ok_or_else(malformed)?;
    if values.next().is_some() {
        return Err(malformed());
    }
    if value.is_empty() {
        return Ok("");
    }
    let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_start_matches(' ')) } else { Err(malformed()) }
}

/// `SASLInitialResponse`: mechanism, length of the response, the response.
fn initial_response(body: &[u8]) -> Result<(&str, &[u8]), Refused> {
    let malformed = || Refused::malformed("malformed SASL initial response");
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let (name, rest) = body.split_at(end);
    let (length, response) = rest.split_first_chunk::<5>().ok_or_else(malformed)?;
    let [_, length @ ..] = *length;
    if usize::try_from(i32::from_be_bytes(length)) != Ok(response.len()) {
        return Err(malformed());
    }
    Ok((std::str::from_utf8(name).map_err(|_position| malformed())?, response))
}
