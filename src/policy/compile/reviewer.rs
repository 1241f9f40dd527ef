//! Reviewers: who decides on proposals, and by which key.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{VerifyingKey, pkcs8::DecodePublicKey as _};

use super::Compiler;
use crate::{
    policy::{
        Bundle, Reviewer,
        decode::Spanned,
        problem::{Place, shown, suggest},
        review_document::{DeploymentText, KeyReference, ReviewerDocument},
    },
    types::{AgentName, ReviewerName},
};

pub(super) fn compile(compiler: &mut Compiler<'_>, bundle: &Bundle) -> BTreeMap<ReviewerName, Arc<Reviewer>> {
    let mut reviewers = BTreeMap::new();
    for (name, document) in bundle.document.reviewers.iter() {
        if let Some(reviewer) = reviewer(compiler, bundle, name, document) {
            reviewers.insert(reviewer.name.clone(), Arc::new(reviewer));
        }
    }
    one_key_each(compiler, bundle, &reviewers);
    reviewers
}

fn reviewer(compiler: &mut Compiler<'_>, bundle: &Bundle, name: &Spanned<String>, document: &ReviewerDocument) -> Option<Reviewer> {
    let parsed: Option<ReviewerName> = name.value.parse().ok();
    if parsed.is_none() {
        compiler
            .problems
            .error(&name.at, format!("{} cannot be a reviewer's name", shown(&name.value)))
            .hint("1 to 63 bytes, no control characters");
    }
    let key = match &document.key {
        None => None,
        Some(KeyReference::Literal(text)) => public_key(compiler, text, &text.at),
        Some(KeyReference::Reference(reference)) => {
            let text = compiler.resolve(&reference.value, &reference.at);
            text.and_then(|text| public_key(compiler, text.expose(), &reference.at))
        }
    };
    let agents = document.agents.iter().flatten().filter_map(|agent| own_agent(compiler, bundle, agent)).collect();
    let principals = document.principals.iter().flatten().map(|principal| principal.value.as_str().into()).collect();
    if document.key.is_some() && key.is_none() {
        // Without the key an unsigned decision would count.
        return None;
    }
    Some(Reviewer { name: parsed?, key, agents, principals })
}

/// The policy's name for where it is in force.
pub(super) fn deployment(compiler: &mut Compiler<'_>, bundle: &Bundle) -> Option<Box<str>> {
    let document = bundle.document.deployment.as_ref()?;
    let name = match document {
        DeploymentText::Literal(text) => text.value.clone(),
        DeploymentText::Reference(reference) => match compiler.resolve(&reference.value, &reference.at) {
            Some(name) => name.expose().trim().to_owned(),
            // A name that no policy can have: what was decided under a real one does not count where the name is not known.
            None => return Some("(unknown)".into()),
        },
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 63 || !name.bytes().all(fits) {
        compiler
            .problems
            .error(document.at(), format!("{} cannot be a deployment's name", shown(&name)))
            .hint("1 to 63 letters, digits, `.`, `_` and `-`, e.g. `production`");
        return None;
    }
    Some(name.into())
}

fn own_agent(compiler: &mut Compiler<'_>, bundle: &Bundle, agent: &Spanned<String>) -> Option<AgentName> {
    let known = || bundle.document.agents.names().map(|name| name.value.as_str());
    if !known().any(|name| name == agent.value) {
        let hint = suggest(agent, known()).or_else(|| Some("define it under `agents`".to_owned()));
        compiler.problems.error(&agent.at, format!("there is no agent {}", shown(agent))).hint = hint;
    }
    agent.parse().ok()
}

/// `ed25519:` and base64 of the 32 bytes, or a PEM `SubjectPublicKeyInfo`.
fn public_key(compiler: &mut Compiler<'_>, text: &str, at: &Place) -> Option<[u8; 32]> {
    let text = text.trim();
    let key = match text.strip_prefix("ed25519:") {
        Some(base64) => {
            let bytes = STANDARD.decode(base64.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
        }
        None => VerifyingKey::from_public_key_pem(text).ok(),
    };
    if text.contains("PRIVATE KEY") {
        compiler
            .problems
            .error(at, "a private key where a public one is expected")
            .hint("the policy holds the public key only; treat this private key as known to others and make a new pair");
        return None;
    }
    let Some(key) = key.filter(|key| !key.is_weak()) else {
        compiler
            .problems
            .error(at, "not an Ed25519 public key")
            .hint("expected `ed25519:` and 44 characters of base64, or a PEM public key; `pgwicket keys generate` makes a pair");
        return None;
    };
    Some(key.to_bytes())
}

/// Two names with one key would let one person be two.
fn one_key_each(compiler: &mut Compiler<'_>, bundle: &Bundle, reviewers: &BTreeMap<ReviewerName, Arc<Reviewer>>) {
    let mut seen: BTreeMap<[u8; 32], &ReviewerName> = BTreeMap::new();
    for reviewer in reviewers.values() {
        let Some(key) = reviewer.key else { continue };
        if let Some(earlier) = seen.insert(key, &reviewer.name) {
            let place = bundle.document.reviewers.names().find(|name| name.value == reviewer.name.as_str());
            let at = place.map_or(&bundle.whole, |name| &name.at);
            compiler
                .problems
                .error(at, format!("`{}` and `{earlier}` have the same key", reviewer.name))
                .hint("a quorum counts people: give each their own key");
        }
    }
}
