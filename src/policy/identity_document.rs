//! Tokens and certificates as they are written.

use super::{
    decode::{Decode, Given, Named, Spanned, document, text, text_schema, words},
    identity::TokenMethod,
    problem::Problems,
    reference::{Reference, SecretReference, file},
    yaml::Node,
};

document! {
    /// Tokens (JWT, RFC 7519) that are taken, and what their claims say.
    struct TokenDocument ("a token") {
        /// `iss` of the tokens.
        issuer: Spanned<String>,
        /// `aud` of the tokens: this one, or one of theirs.
        audience: Spanned<String>,
        /// Public keys of the issuer, a JWK set: `https://…` (read again as keys rotate) or `file:PATH`. RS256, ES256, ES384, `EdDSA`.
        #[schemars(with = "Option<KeysText>")]
        keys: Given<Spanned<KeysText>>,
        /// The secret of HS256 tokens, at least 32 bytes.
        #[schemars(with = "Option<SecretReference>")]
        secret: Given<SecretReference>,
        /// How far the issuer's clock may be off; default 30s.
        #[schemars(with = "Option<String>")]
        clock_skew: Option<std::time::Duration>,
        /// How a client hands it over: `password` (default) or `oauthbearer`. Without meaning for `session_token`.
        method: Option<TokenMethod>,
        /// Claims that must have this value, or hold it in a list.
        #[schemars(with = "Option<Named<String>>")]
        require: Named<Spanned<String>>,
        /// What claims say.
        claims: Option<Spanned<ClaimsDocument>>,
    }
}

document! {
    /// The claims that say who acts. One that is named here must be there, and not be empty.
    struct ClaimsDocument ("claims") {
        /// The claim that is the tenant.
        tenant: Option<Spanned<String>>,
        /// The claim that says who acts, for evidence; default `sub`.
        principal: Option<Spanned<String>>,
        /// The claim that is the run.
        run: Option<Spanned<String>>,
        /// Further claims for evidence, by a name of your choice.
        #[schemars(with = "Option<Named<String>>")]
        attributes: Named<Spanned<String>>,
    }
}

document! {
    /// The client certificate of an agent: one of the two, exactly.
    struct CertificateDocument ("a certificate") {
        /// The common name of its subject.
        common_name: Option<Spanned<String>>,
        /// One of its subject alternative names: `dns:NAME`, `uri:URI` or `email:ADDRESS`. Without a kind, what has `://` is a URI,
        /// what has `@` an address, anything else a DNS name.
        alternative_name: Option<Spanned<String>>,
    }
}

/// Where a JWK set is.
#[derive(Debug, Clone)]
pub(super) enum KeysText {
    /// Read from there, again and again.
    Url(String),
    /// In a file.
    File(Spanned<Reference>),
}

impl Decode for KeysText {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a JWK set", problems)?;
        if let Some(path) = text.strip_prefix("file:") {
            return file(path, node, problems).map(Self::File);
        }
        // Whoever is between us and a plain URL could hand out keys.
        let local = ["http://localhost", "http://127.0.0.1", "http://[::1]"]
            .iter()
            .any(|local| text.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
        if text.starts_with("https://") || local {
            return Some(Self::Url(text.to_owned()));
        }
        problems
            .error(&node.at, "keys come from `https://…` or `file:PATH`")
            .hint("name the issuer's `jwks_uri`, or a file with the JWK set");
        None
    }
}

text_schema!(KeysText, "Keys", { "type": "string", "pattern": "^(https://.+|http://(localhost|127.0.0.1|\\[::1\\]).*|file:.+)$" });
words!(TokenMethod, "TokenMethod", "password" => Self::Password, "oauthbearer" => Self::OAuthBearer);
