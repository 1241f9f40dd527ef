//! Policy files → one document: every file parsed, all joined, nothing decided yet.

use std::{collections::BTreeSet, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    decode::{Decode, Named},
    document::PolicyDocument,
    identity_document::KeysText,
    problem::{Place, Problem, Problems},
    reference::{Reference, VerifierReference},
    review_document::{CedarText, DeploymentText, KeyReference},
    yaml,
};
use crate::types::Digest;

/// A policy file as `config` read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its name for people and for the digest: the path below the policy directory.
    pub name: Arc<str>,
    /// Its text.
    pub text: String,
}

/// Every policy file, parsed and joined. What is wrong so far is kept and comes out of `check` and `compile`.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(super) document: PolicyDocument,
    pub(super) problems: Problems,
    pub(super) digest: Digest,
    pub(super) whole: Place,
}

impl Bundle {
    /// Parses and joins the files.
    pub fn parse(mut files: Vec<PolicyFile>) -> Self {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut problems = Problems::default();
        let mut document = PolicyDocument {
            deployment: None,
            mask_key: None,
            sources: Named::default(),
            schemas: Named::default(),
            agents: Named::default(),
            reviewers: Named::default(),
            approvals: None,
        };
        for file in &files {
            let Some(root) = yaml::parse(&file.name, &file.text, &mut problems).filter(|root| !root.is_null()) else { continue };
            if let Some(part) = PolicyDocument::decode(&root, &mut problems) {
                join(&mut document, part, &mut problems);
            }
        }
        let whole = Place { file: files.first().map_or_else(|| "policy".into(), |file| Arc::clone(&file.name)), line: 0, column: 0 };
        Self { document, problems, digest: digest(&files), whole }
    }

    /// What is wrong with the form of the files, before anything is resolved or compiled.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.clone().sorted()
    }

    /// Everything the policy refers to: `config` reads these.
    pub fn references(&self) -> BTreeSet<Reference> {
        let document = &self.document;
        let mut found: BTreeSet<Reference> = document.mask_key.iter().map(|key| key.0.value.clone()).collect();
        if let Some(DeploymentText::Reference(name)) = &document.deployment {
            found.insert(name.value.clone());
        }
        for (_, source) in document.sources.iter() {
            found.insert(source.url.0.value.clone());
            found.extend(source.ssl_root_cert.iter().map(|file| file.0.value.clone()));
        }
        found.extend(document.schemas.iter().filter_map(|(_, schema)| Some(schema.mask_key.as_ref()?.0.value.clone())));
        for (_, agent) in document.agents.iter() {
            found.extend(agent.auth.scram.value().iter().map(|secret| secret.0.value.clone()));
            if let Some(VerifierReference::Reference(verifier)) = agent.auth.scram_verifier.value() {
                found.insert(verifier.0.value.clone());
            }
            for token in [&agent.auth.token, &agent.session_token].into_iter().filter_map(|token| token.value()) {
                found.extend(token.secret.value().map(|secret| secret.0.value.clone()));
                if let Some(KeysText::File(file)) = token.keys.value().map(|keys| &keys.value) {
                    found.insert(file.value.clone());
                }
            }
        }
        for (_, reviewer) in document.reviewers.iter() {
            if let Some(KeyReference::Reference(key)) = &reviewer.key {
                found.insert(key.value.clone());
            }
        }
        for rule in document.approvals.iter().flat_map(|approvals| approvals.settlement.iter().flatten()) {
            if let CedarText::File(file) = &rule.cedar {
                found.insert(file.value.clone());
            }
        }
        found
    }

    /// The digest over the files, which the compiled policy will have.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Where a source is defined.
    pub fn place_of_source(&self, name: &str) -> Option<&Place> {
        self.document.sources.iter().find(|(found, _)| found.value == name).map(|(found, _)| &found.at)
    }

    /// What a source's URL refers to.
    pub fn url_reference(&self, source: &str) -> Option<&Reference> {
        self.document.sources.iter().find(|(found, _)| found.value == source).map(|(_, source)| &source.url.0.value)
    }

    /// Where a relation is defined, by alias names.
    pub fn place_of_relation(&self, schema: &str, relation: &str) -> Option<&Place> {
        let (_, schema) = self.document.schemas.iter().find(|(found, _)| found.value == schema)?;
        schema.relations.iter().find(|(found, _)| found.value == relation).map(|(found, _)| &found.at)
    }

    /// Where an agent is defined.
    pub fn place_of_agent(&self, name: &str) -> Option<&Place> {
        self.document.agents.iter().find(|(found, _)| found.value == name).map(|(found, _)| &found.at)
    }

    /// The names of the sources.
    pub fn source_names(&self) -> Vec<&str> {
        self.document.sources.names().map(|name| name.value.as_str()).collect()
    }
}

fn join(document: &mut PolicyDocument, part: PolicyDocument, problems: &mut Problems) {
    document.sources.join(part.sources, "source", problems);
    document.schemas.join(part.schemas, "schema", problems);
    document.agents.join(part.agents, "agent", problems);
    document.reviewers.join(part.reviewers, "reviewer", problems);
    if let Some(approvals) = part.approvals {
        match &document.approvals {
            Some(earlier) => {
                problems
                    .error(&approvals.at, format!("`approvals` is given twice, first at {}", earlier.at))
                    .hint("the order of its rules counts: keep them in one file");
            }
            None => document.approvals = Some(approvals),
        }
    }
    if let Some(deployment) = part.deployment {
        match &document.deployment {
            Some(earlier) => {
                problems
                    .error(deployment.at(), format!("`deployment` is given twice, first at {}", earlier.at()))
                    .hint("keep one of the two");
            }
            None => document.deployment = Some(deployment),
        }
    }
    if let Some(key) = part.mask_key {
        match &document.mask_key {
            Some(earlier) => {
                problems
                    .error(&key.0.at, format!("`mask_key` is given twice, first at {}", earlier.0.at))
                    .hint("keep one of the two, or give schemas their own `mask_key`");
            }
            None => document.mask_key = Some(key),
        }
    }
}

/// SHA-256 over the files in order: name length, name, text length, text (lengths as 8 bytes, big-endian).
fn digest(files: &[PolicyFile]) -> Digest {
    let mut hash = Sha256::new();
    for file in files {
        for part in [file.name.as_bytes(), file.text.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    Digest(hash.finalize().into())
}
