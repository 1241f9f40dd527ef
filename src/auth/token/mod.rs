//! Tokens: JWT (RFC 7519) signed with HS256, RS256, ES256, ES384 or `EdDSA`, held to the rules of the policy (RFC 8725).

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    policy::TokenRules,
    types::{RunId, TenantId},
};

/// A token at most. Unit: bytes.
pub const MAX_TOKEN: usize = 16 << 10;
/// What one claim may say at most. Unit: bytes.
const MAX_CLAIM: usize = 1024;
/// The shortest RSA key (NIST SP 800-131A). Unit: bytes of its modulus.
const MIN_RSA_MODULUS: usize = 256;
/// Keys of one name in a set at most: each is a signature to check.
const SAME_NAME: usize = 4;
/// What `typ` may say: nothing, a plain JWT, or an access token (RFC 9068, 2.1). Tokens of other kinds, such as ID tokens that say
/// so, logout tokens and security events, are for somebody else (RFC 8725, 3.11 and 3.12).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// What a token that was checked says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The tenant, where the rules name a claim for it.
    pub tenant: Option<TenantId>,
    /// Who acts.
    pub subject: Box<str>,
    /// The run, where the rules name a claim for it.
    pub run: Option<RunId>,
    /// What else evidence keeps: names of the policy and what the claims say.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// Until when it is taken: `exp` and what clocks may differ by. Unit: seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Why a token is not taken. None of it tells more than whoever made the token knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JWT at all.
    #[error("it is not a signed JWT")]
    Malformed,
    /// The issuer's keys do not have the one that it names.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// The issuer's keys are not known.
    #[error("the issuer's keys could not be read")]
    NoKeys,
    /// Not signed by the issuer, or changed since.
    #[error("its signature is not the issuer's")]
    Signature,
    /// `typ`
    #[error("it is a token of another kind")]
    Kind,
    /// `iss`
    #[error("it is of another issuer")]
    Issuer,
    /// `aud`
    #[error("it is for another audience")]
    Audience,
    /// `exp`
    #[error("it has expired")]
    Expired,
    /// `nbf`, `iat`
    #[error("it is not valid yet")]
    NotYet,
    /// A claim is missing, empty, or no text.
    #[error("its claim \"{0}\" is missing or empty")]
    Claim(Box<str>),
    /// A claim does not say what the policy asks for.
    #[error("its claim \"{0}\" is not what the policy asks for")]
    Required(Box<str>),
}

/// The keys of one issuer.
#[derive(Default)]
pub struct Keys(Vec<Key>);

struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    verifies: DecodingKey,
}

impl Keys {
    /// The secret of HS256.
    pub fn secret(secret: &[u8]) -> Self {
        Self(vec![Key { id: None, algorithm: Algorithm::HS256, verifies: DecodingKey::from_secret(secret) }])
    }

    /// A JWK set (RFC 7517); what is not a key to check signatures with is left out. `None`: no JWK set.
    pub fn set(json: &str) -> Option<Self> {
        let set: Value = serde_json::from_str(json).ok()?;
        let keys = set.get("keys")?.as_array()?;
        // One by one: a key of a kind that nobody here knows must not cost the others.
        let known = keys.iter().filter_map(|key| serde_json::from_value::<JwkSet>(serde_json::json!({ "keys": [key] })).ok());
        Some(Self(known.flat_map(|set| set.keys).filter_map(|key| self::key(&key)).collect()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token may mean: those of the name it says, or the only one that may have it. The order of a set says nothing.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<&Key>, TokenError> {
        let fitting = || self.0.iter().filter(|key| key.algorithm == algorithm);
        let named: Vec<&Key> = fitting().filter(|key| id.is_some() && key.id.as_deref() == id).take(SAME_NAME + 1).collect();
        if !named.is_empty() {
            return if named.len() > SAME_NAME { Err(TokenError::UnknownKey) } else { Ok(named) };
        }
        // Keys that have no name stand for any, when there is one of them only.
        let mut nameless = fitting().filter(|key| id.is_none() || key.id.is_none());
        let only = nameless.next().filter(|_| nameless.next().is_none());
        only.map(|key| vec![key]).ok_or(TokenError::UnknownKey)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// The key with the one algorithm that it is for: what the token's header says never chooses (RFC 8725, 3.1).
#[expect(clippy::wildcard_enum_match_arm, reason = "a key of another kind, symmetric ones among them, is not taken")]
fn key(jwk: &Jwk) -> Option<Key> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    if jwk.common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if modulus(&rsa.n) < MIN_RSA_MODULUS => return None,
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => (Algorithm::ES256, KeyAlgorithm::ES256),
            EllipticCurve::P384 => (Algorithm::ES384, KeyAlgorithm::ES384),
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => (Algorithm::EdDSA, KeyAlgorithm::EdDSA),
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|named| named != name) {
        return None;
    }
    let id = jwk.common.key_id.as_deref().map(Into::into);
    Some(Key { id, algorithm, verifies: DecodingKey::from_jwk(jwk).ok()? })
}

/// The length of a modulus in base64url. Unit: bytes, leading zeros left out.
fn modulus(base64: &str) -> usize {
    URL_SAFE_NO_PAD.decode(base64).map_or(0, |bytes| bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count())
}

/// Checks a token. `now` in seconds since the Unix epoch.
pub(super) fn check(token: &str, rules: &TokenRules, keys: &Keys, now: u64) -> Result<Claimed, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_error| TokenError::Malformed)?;
    // Extensions that have to be understood (RFC 7515, 4.1.11), and none is.
    if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() {
        return Err(TokenError::Malformed);
    }
    let named_type = header.typ.as_deref().map(str::to_ascii_lowercase);
    if named_type.is_some_and(|named| !TYPES.contains(&named.strip_prefix("application/").unwrap_or(&named))) {
        return Err(TokenError::Kind);
    }
    let keys = keys.find(header.kid.as_deref(), header.alg)?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[&rules.audience]);
    validation.set_issuer(&[&rules.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // The clock is the caller's.
    validation.validate_exp = false;
    let mut decoded = Err(TokenError::UnknownKey);
    for key in keys {
        decoded = jsonwebtoken::decode::<Claims>(token, &key.verifies, &validation).map_err(|error| refusal(error.kind()));
        // Another key may be of the same name, while an issuer changes from one to the next.
        if !matches!(decoded, Err(TokenError::Signature)) {
            break;
        }
    }
    let Claims(claims) = decoded?.claims;
    // The library takes a list of issuers with the right one in it.
    if claims.get("iss").and_then(Value::as_str) != Some(&*rules.issuer) {
        return Err(TokenError::Issuer);
    }
    let expires_at = in_time(&claims, rules.clock_skew, now)?;
    required(&claims, &rules.required)?;
    let named = |name: &str| said(&claims, name).ok_or_else(|| TokenError::Claim(name.into()));
    let parsed = |name: &str| TokenError::Claim(name.into());
    let tenant = rules.tenant.as_deref().map(|name| named(name)?.parse::<TenantId>().map_err(|_invalid| parsed(name))).transpose()?;
    let run = rules.run.as_deref().map(|name| named(name)?.parse::<RunId>().map_err(|_invalid| parsed(name))).transpose()?;
    let attribute = |(name, claim): &(Box<str>, Box<str>)| Ok((name.clone(), named(claim)?));
    Ok(Claimed {
        tenant,
        subject: named(&rules.principal)?,
        run,
        attributes: rules.attributes.iter().map(attribute).collect::<Result<_, TokenError>>()?,
        expires_at: expires_at.saturating_add(rules.clock_skew.as_secs()),
    })
}

/// Claims, each once: of two with one name another reader might take the other (RFC 7519, 4).
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Map<String, Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a claim is there twice"));
                    }
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Each).map(Claims)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else is wrong with a token, it is none")]
fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => TokenError::Claim(name.as_str().into()),
        _ => TokenError::Malformed,
    }
}

/// `exp`, `nbf`, `iat`; returns the first.
fn in_time(claims: &Map<String, Value>, skew: Duration, now: u64) -> Result<u64, TokenError> {
    // NumericDate may have a fraction (RFC 7519, 2).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, and a time before 1970 is 0")]
    let seconds = |value: &Value| value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64));
    let at = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or_else(|| TokenError::Claim(name.into())),
    };
    let expires_at = at("exp")?.ok_or_else(|| TokenError::Claim("exp".into()))?;
    if expires_at.saturating_add(skew.as_secs()) <= now {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        if at(name)?.is_some_and(|from| from > now.saturating_add(skew.as_secs())) {
            return Err(TokenError::NotYet);
        }
    }
    Ok(expires_at)
}

fn required(claims: &Map<String, Value>, required: &[(Box<str>, Box<str>)]) -> Result<(), TokenError> {
    for (name, wanted) in required {
        let fits = |value: &Value| scalar(value).is_some_and(|text| text == *wanted);
        let found = claims.get(&**name).is_some_and(|claim| claim.as_array().map_or_else(|| fits(claim), |values| values.iter().any(fits)));
        if !found {
            return Err(TokenError::Required(name.clone()));
        }
    }
    Ok(())
}

/// What a claim says, when it is one text or number and not empty; `true` is nobody's name.
fn said(claims: &Map<String, Value>, name: &str) -> Option<Box<str>> {
    let text = claims.get(name).filter(|value| !value.is_boolean()).and_then(scalar)?;
    (!text.trim().is_empty() && text.len() <= MAX_CLAIM && !text.chars().any(char::is_control)).then_some(text)
}

fn scalar(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string().into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
