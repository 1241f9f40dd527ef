//! Who a token or a certificate speaks for, as compiled.

use std::time::Duration;

use crate::types::Secret;

/// Tokens that are taken, and what their claims say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// `iss`
    pub issuer: Box<str>,
    /// `aud`: this one, or one of theirs.
    pub audience: Box<str>,
    /// What signatures are checked with.
    pub keys: KeySource,
    /// How far the issuer's clock may be off.
    pub clock_skew: Duration,
    /// Claims, by name, that must have this value or hold it in a list.
    pub required: Vec<(Box<str>, Box<str>)>,
    /// The claim that is the tenant.
    pub tenant: Option<Box<str>>,
    /// The claim that says who acts.
    pub principal: Box<str>,
    /// The claim that is the run.
    pub run: Option<Box<str>>,
    /// Names and claims of what evidence keeps besides.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The secret of HS256.
    Secret(Secret),
    /// A JWK set (RFC 7517) as JSON.
    Set(Box<str>),
    /// A JWK set that is read from there.
    Url(Box<str>),
}

/// How a client hands its token over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMethod {
    /// As its password: every client can.
    Password,
    /// SASL OAUTHBEARER (RFC 7628), as libpq 18 speaks it.
    OAuthBearer,
}

/// The client certificate of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of its subject.
    CommonName(Box<str>),
    /// One of its subject alternative names, which has to be of this kind.
    AlternativeName(NameKind, Box<str>),
}

/// What a subject alternative name names (RFC 5280, 4.2.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// `dNSName`
    Dns,
    /// `uniformResourceIdentifier`
    Uri,
    /// `rfc822Name`
    Email,
}
