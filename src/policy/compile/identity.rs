//! How an agent proves itself.

use std::{sync::Arc, time::Duration};

use super::Compiler;
use crate::{
    policy::{
        AgentAuth, CertificateName, KeySource, NameKind, TokenMethod, TokenRules,
        decode::{Given, Named, Spanned},
        document::AuthDocument,
        identity_document::{CertificateDocument, KeysText, TokenDocument},
        problem::Place,
        reference::VerifierReference,
    },
    types::Secret,
};

/// How far an issuer's clock may be off unless the policy says otherwise, and at most.
const SKEW: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// RFC 7518, 3.2: a key of the size of the hash or larger. Unit: bytes.
const SHORTEST_SECRET: usize = 32;

pub(super) fn auth(compiler: &mut Compiler<'_>, auth: &Spanned<AuthDocument>) -> Option<AgentAuth> {
    let given = [given(&auth.scram), given(&auth.scram_verifier), given(&auth.token), given(&auth.certificate)];
    if given.iter().filter(|given| **given).count() != 1 {
        compiler
            .problems
            .error(&auth.at, "an agent proves itself in exactly one way")
            .hint("write `auth: { scram: \"env:NAME\" }`, or one of `scram_verifier`, `token`, `certificate`");
        return None;
    }
    if let Some(token) = auth.token.value() {
        let method = token.method.unwrap_or(TokenMethod::Password);
        return rules(compiler, token).map(|rules| AgentAuth::Token(rules, method));
    }
    if let Some(certificate) = auth.certificate.value() {
        return self::certificate(compiler, certificate).map(AgentAuth::Certificate);
    }
    scram(compiler, auth)
}

fn given<T>(field: &Given<T>) -> bool {
    !matches!(field, Given::Absent)
}

fn scram(compiler: &mut Compiler<'_>, auth: &AuthDocument) -> Option<AgentAuth> {
    let (secret, at, verifier) = match (auth.scram.value(), auth.scram_verifier.value()) {
        (Some(password), _) => (compiler.resolve(&password.0.value, &password.0.at), password.0.at.clone(), false),
        (None, Some(VerifierReference::Reference(verifier))) => {
            (compiler.resolve(&verifier.0.value, &verifier.0.at), verifier.0.at.clone(), true)
        }
        (None, Some(VerifierReference::Literal(verifier))) => (Some(verifier.value.clone()), verifier.at.clone(), true),
        // It was noted as wrong.
        (None, None) => return None,
    };
    let Some(secret) = secret else {
        // Only a check comes this far without the secret. An empty verifier lets nobody in.
        return (!compiler.serving()).then(|| AgentAuth::ScramVerifier(Secret::new("")));
    };
    if verifier && !is_verifier(secret.expose()) {
        compiler
            .problems
            .error(&at, "not a SCRAM verifier")
            .hint("expected SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as in pg_authid.rolpassword");
        return None;
    }
    if secret.expose().is_empty() {
        compiler.problems.error(&at, "the password is empty").hint("give the agent a password");
        return None;
    }
    Some(if verifier { AgentAuth::ScramVerifier(secret) } else { AgentAuth::ScramPassword(secret) })
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, keys of 32 bytes in base64.
fn is_verifier(text: &str) -> bool {
    let parts = || {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        Some((iterations.parse::<u32>().ok()?, salt, stored, server))
    };
    let base64 = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    parts().is_some_and(|(iterations, salt, stored, server)| {
        iterations > 0 && base64(salt) && [stored, server].iter().all(|key| key.len() == 44 && base64(key))
    })
}

/// The rules of tokens.
pub(super) fn rules(compiler: &mut Compiler<'_>, token: &Spanned<TokenDocument>) -> Option<Arc<TokenRules>> {
    let named = [Some(&token.issuer), Some(&token.audience)];
    let claims = token.claims.as_ref();
    let claimed = claims.into_iter().flat_map(|claims| [&claims.tenant, &claims.principal, &claims.run]).map(Option::as_ref);
    let attributes = claims.map(|claims| &claims.attributes);
    let others = [Some(&token.require), attributes].into_iter().flatten().flat_map(Named::iter).map(|(_, value)| Some(value));
    for text in named.into_iter().chain(claimed).chain(others).flatten().filter(|text| text.value.is_empty()) {
        compiler.problems.error(&text.at, "nothing where a name or value is expected").hint("write what the issuer's tokens have");
    }
    let clock_skew = token.clock_skew.unwrap_or(SKEW.0);
    if clock_skew > SKEW.1 {
        compiler.problems.error(&token.at, "`clock_skew` is at most 5min").hint("set the clocks, and leave `clock_skew` out");
    }
    let keys = keys(compiler, token)?;
    let text = |text: &Spanned<String>| -> Box<str> { text.value.as_str().into() };
    let pairs = |named: &Named<Spanned<String>>| named.iter().map(|(name, value)| (text(name), text(value))).collect();
    Some(Arc::new(TokenRules {
        issuer: text(&token.issuer),
        audience: text(&token.audience),
        keys,
        clock_skew,
        required: pairs(&token.require),
        tenant: claims.and_then(|claims| claims.tenant.as_ref()).map(text),
        principal: claims.and_then(|claims| claims.principal.as_ref()).map_or("sub".into(), text),
        run: claims.and_then(|claims| claims.run.as_ref()).map(text),
        attributes: attributes.map(pairs).unwrap_or_default(),
    }))
}

fn keys(compiler: &mut Compiler<'_>, token: &Spanned<TokenDocument>) -> Option<KeySource> {
    match (&token.keys, &token.secret) {
        (Given::Value(keys), Given::Absent) => match &keys.value {
            KeysText::Url(url) => Some(KeySource::Url(url.as_str().into())),
            KeysText::File(file) => {
                let set = compiler.resolve(&file.value, &file.at);
                match set {
                    Some(set) => key_set(compiler, set.expose(), &file.at),
                    None => unresolved(compiler),
                }
            }
        },
        (Given::Absent, Given::Value(reference)) => {
            let (reference, at) = (&reference.0.value, reference.0.at.clone());
            match compiler.resolve(reference, &at) {
                None => unresolved(compiler),
                Some(secret) if secret.expose().len() < SHORTEST_SECRET => {
                    compiler
                        .problems
                        .error(&at, "the secret is shorter than 32 bytes")
                        .hint("HS256 needs one as long as its hash: `openssl rand -hex 32`");
                    None
                }
                Some(secret) => Some(KeySource::Secret(secret)),
            }
        }
        (Given::Wrong, _) | (_, Given::Wrong) => None,
        (Given::Value(_), Given::Value(_)) | (Given::Absent, Given::Absent) => {
            compiler
                .problems
                .error(&token.at, "a token is checked with `keys` or with `secret`, one of the two")
                .hint("name the issuer's JWK set: `keys: \"https://…/jwks.json\"`");
            None
        }
    }
}

/// A check goes on without the secret; an empty set lets nobody in.
fn unresolved(compiler: &Compiler<'_>) -> Option<KeySource> {
    (!compiler.serving()).then(|| KeySource::Set("{\"keys\":[]}".into()))
}

fn key_set(compiler: &mut Compiler<'_>, text: &str, at: &Place) -> Option<KeySource> {
    let set: Option<serde_json::Value> = serde_json::from_str(text).ok();
    if set.is_some_and(|set| set.get("keys").is_some_and(serde_json::Value::is_array)) {
        return Some(KeySource::Set(text.into()));
    }
    compiler.problems.error(at, "not a JWK set").hint("expected JSON: {\"keys\": [{\"kty\": …}]}");
    None
}

/// What kind of name it is, and the name.
fn alternative_name(written: &str) -> (NameKind, &str) {
    for (prefix, kind) in [("dns:", NameKind::Dns), ("uri:", NameKind::Uri), ("email:", NameKind::Email)] {
        if let Some(name) = written.strip_prefix(prefix) {
            return (kind, name);
        }
    }
    let kind = match (written.contains("://"), written.contains('@')) {
        (true, _) => NameKind::Uri,
        (false, true) => NameKind::Email,
        (false, false) => NameKind::Dns,
    };
    (kind, written)
}

fn certificate(compiler: &mut Compiler<'_>, certificate: &Spanned<CertificateDocument>) -> Option<CertificateName> {
    let name = match (&certificate.common_name, &certificate.alternative_name) {
        (Some(name), None) if !name.value.is_empty() => CertificateName::CommonName(name.value.as_str().into()),
        (None, Some(name)) if !alternative_name(&name.value).1.is_empty() => {
            let (kind, text) = alternative_name(&name.value);
            CertificateName::AlternativeName(kind, text.into())
        }
        _ => {
            compiler
                .problems
                .error(&certificate.at, "a certificate is known by its common name or by an alternative name, one of the two")
                .hint("write `certificate: { common_name: … }` or `certificate: { alternative_name: \"spiffe://…\" }`");
            return None;
        }
    };
    Some(name)
}
