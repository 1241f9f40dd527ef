//! The sections `reviewers` and `approvals` as they are written.

use std::time::Duration;

use super::{
    decode::{Decode, Spanned, document, text, text_schema},
    document::DurationText,
    problem::{Place, Problems},
    reference::{Reference, file, reference},
    yaml::Node,
};
use crate::proposal::Operation;

document! {
    /// A person who decides on proposals.
    struct ReviewerDocument ("a reviewer") {
        /// Ed25519 public key: `ed25519:BASE64`, or `file:PATH` / `env:NAME` of that or of a PEM public key. Decisions must
        /// be signed with it. Without one, an API key of this reviewer's name decides.
        key: Option<KeyReference>,
        /// Agents that are this person's own: what they propose it does not approve.
        agents: Option<Vec<Spanned<String>>>,
        /// Subjects of tokens (`claims.principal`) that are this person, besides the reviewer's own name: what is proposed as
        /// one of them this person does not approve.
        principals: Option<Vec<Spanned<String>>>,
    }
}

document! {
    /// How proposals are approved.
    struct ApprovalsDocument ("approvals") {
        /// Who may approve what. The first rule that names relation and operation counts.
        rules: Option<Vec<Spanned<ApprovalRuleDocument>>>,
        /// Rules that approve without a person. The first that permits counts.
        settlement: Option<Vec<Spanned<SettlementDocument>>>,
        /// How long an approval counts: a worker applies nothing on one that is over; default 24h.
        #[schemars(with = "Option<DurationText>")]
        valid_for: Option<Spanned<Duration>>,
    }
}

document! {
    /// Who may approve what.
    struct ApprovalRuleDocument ("an approval rule") {
        /// Relations by alias: `schema.relation` or `schema.*`.
        relations: Vec<Spanned<String>>,
        /// Operations; default all three.
        operations: Option<Vec<Spanned<Operation>>>,
        /// Reviewers, any of whom may approve or reject.
        reviewers: Vec<Spanned<String>>,
        /// How many distinct reviewers must approve; default 1.
        quorum: Option<Spanned<u64>>,
    }
}

document! {
    /// A rule that approves without a person.
    struct SettlementDocument ("a settlement rule") {
        /// Its name, in the record of what it settled.
        name: Spanned<String>,
        /// Relations by alias: `schema.relation` or `schema.*`.
        relations: Vec<Spanned<String>>,
        /// Operations; default all three.
        operations: Option<Vec<Spanned<Operation>>>,
        /// A number column whose changes are summed, for `context.sum` and `context.day.sum`.
        sum_column: Option<Spanned<String>>,
        /// Cedar policies, as text or as `file:PATH`. Every row must be permitted.
        cedar: CedarText,
    }
}

/// A reviewer's public key.
#[derive(Debug, Clone)]
pub(super) enum KeyReference {
    /// As it is: it is no secret.
    Literal(Spanned<String>),
    /// By reference.
    Reference(Spanned<Reference>),
}

/// The name of a deployment.
#[derive(Debug, Clone)]
pub(super) enum DeploymentText {
    /// As it is.
    Literal(Spanned<String>),
    /// By reference.
    Reference(Spanned<Reference>),
}

impl DeploymentText {
    /// Where it is written.
    pub(super) fn at(&self) -> &Place {
        match self {
            Self::Literal(text) => &text.at,
            Self::Reference(reference) => &reference.at,
        }
    }
}

impl Decode for DeploymentText {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "the name of a deployment", problems)?;
        let at = node.at.clone();
        if !text.starts_with("env:") && !text.starts_with("file:") {
            return Some(Self::Literal(Spanned { value: text.to_owned(), at }));
        }
        let found = reference(text, &node.at);
        if found.is_none() {
            problems.error(&node.at, "not a reference").hint("write the name as it is, `env:NAME` or `file:PATH`");
        }
        Some(Self::Reference(Spanned { value: found?, at }))
    }
}

/// Cedar policies.
#[derive(Debug, Clone)]
pub(super) enum CedarText {
    /// As they are.
    Literal(Spanned<String>),
    /// In a file.
    File(Spanned<Reference>),
}

impl Decode for KeyReference {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a public key", problems)?;
        if text.starts_with("ed25519:") {
            return Some(Self::Literal(Spanned { value: text.to_owned(), at: node.at.clone() }));
        }
        let found = reference(text, &node.at);
        if found.is_none() {
            problems
                .error(&node.at, "neither an Ed25519 public key nor a reference to one")
                .hint("write `ed25519:BASE64`, `file:alice.pub` or `env:NAME`; `pgwicket keys generate` makes a pair");
        }
        Some(Self::Reference(Spanned { value: found?, at: node.at.clone() }))
    }
}

impl Decode for CedarText {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "Cedar policies", problems)?;
        if let Some(path) = text.strip_prefix("file:") {
            return file(path, node, problems).map(Self::File);
        }
        Some(Self::Literal(Spanned { value: text.to_owned(), at: node.at.clone() }))
    }
}

impl Decode for Operation {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let words = [("insert", Self::Insert), ("update", Self::Update), ("delete", Self::Delete)];
        super::decode::word(node, &words, problems)
    }
}

text_schema!(KeyReference, "PublicKey", { "type": "string", "pattern": "^(env:[A-Za-z0-9_]+|file:.+|ed25519:[A-Za-z0-9+/]{43}=?)$" });
text_schema!(DeploymentText, "Deployment", { "type": "string", "minLength": 1 });
text_schema!(CedarText, "Cedar", { "type": "string", "minLength": 1 });
text_schema!(Operation, "Operation", { "type": "string", "enum": ["insert", "update", "delete"] });
