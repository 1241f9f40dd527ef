//! Policy tests as they are written: which statement of which agent is answered how.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    PolicyErrors, PolicyFile,
    compile::clean,
    decode::{Decode, Spanned, document, word},
    literal::{LiteralProposal, ProposalDocument},
    problem::{Place, Problems},
    yaml::{self, Node},
};

document! {
    /// A file of expected answers.
    struct CasesDocument ("a test file") {
        /// The cases.
        tests: Vec<Spanned<CaseDocument>>,
    }
}

document! {
    /// One statement and its expected answer.
    struct CaseDocument ("a test") {
        /// The rule it holds; default the statement itself.
        name: Option<String>,
        /// The agent who asks.
        agent: Spanned<String>,
        /// What it asks.
        sql: Spanned<String>,
        /// `allow`, `deny`, `rewrite` with the field of that name, or `propose` with a `proposal`.
        expect: Spanned<Expectation>,
        /// With `deny`: the SQLSTATE.
        sqlstate: Option<Spanned<String>>,
        /// With `deny`: a part of the message.
        message: Option<Spanned<String>>,
        /// With `rewrite`: the governed text, exactly.
        rewrite: Option<Spanned<String>>,
        /// With `allow` or `rewrite`: whether the statement is fenced.
        fenced: Option<Spanned<bool>>,
        /// With `propose`: the proposal that the statement would make.
        proposal: Option<Spanned<ProposalDocument>>,
        /// With `propose`: the settlement rule that approves it.
        settles: Option<Spanned<String>>,
        /// With `propose`: no rule settles it, and this many people must approve.
        needs_review: Option<Spanned<u64>>,
    }
}

/// What a test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// The statement is forwarded, or answered by pgwicket itself.
    Allow,
    /// It is refused.
    Deny,
    /// It is forwarded as a given text.
    Rewrite,
    /// It becomes a proposal, given here.
    Propose,
}

impl Decode for Expectation {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        word(node, &[("allow", Self::Allow), ("deny", Self::Deny), ("rewrite", Self::Rewrite), ("propose", Self::Propose)], problems)
    }
}

impl JsonSchema for Expectation {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Expectation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["allow", "deny", "rewrite", "propose"] })
    }
}

/// A policy test.
#[derive(Debug, Clone)]
pub struct PolicyCase {
    /// Where it stands.
    pub at: Place,
    /// The rule it holds.
    pub name: String,
    /// The agent who asks.
    pub agent: String,
    /// What it asks.
    pub sql: String,
    /// The expected answer.
    pub expected: Expected,
}

/// The expected answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Not refused.
    Allow {
        /// The governed text, exactly, when given.
        rewrite: Option<String>,
        /// Whether it is fenced, when given.
        fenced: Option<bool>,
    },
    /// Refused.
    Deny {
        /// The SQLSTATE, when given.
        sqlstate: Option<String>,
        /// A part of the message, when given.
        message: Option<String>,
    },
    /// Proposed, and approved so.
    Propose {
        /// The proposal.
        proposal: LiteralProposal,
        /// By this settlement rule, when given.
        settles: Option<String>,
        /// By so many people, when given.
        needs_review: Option<u64>,
    },
}

/// Reads test files: every case, or everything that is wrong.
pub fn cases(files: &[PolicyFile]) -> Result<Vec<PolicyCase>, PolicyErrors> {
    let mut problems = Problems::default();
    let mut cases = Vec::new();
    for file in files {
        let Some(root) = yaml::parse(&file.name, &file.text, &mut problems) else { continue };
        let Some(document) = CasesDocument::decode(&root, &mut problems) else { continue };
        cases.extend(document.tests.into_iter().filter_map(|case| compile(case, &mut problems)));
    }
    let problems = problems.sorted();
    if clean(&problems) { Ok(cases) } else { Err(PolicyErrors(problems)) }
}

fn compile(case: Spanned<CaseDocument>, problems: &mut Problems) -> Option<PolicyCase> {
    let before = problems.errors();
    let document = case.value;
    let expect = document.expect.value;
    let misplaced = |place: Option<&Place>, name: &str, problems: &mut Problems| {
        if let Some(at) = place {
            problems.error(at, format!("`{name}` says nothing with this `expect`")).hint("remove it, or change `expect`");
        }
    };
    if expect != Expectation::Propose {
        misplaced(document.proposal.as_ref().map(|field| &field.at), "proposal", problems);
        misplaced(document.settles.as_ref().map(|field| &field.at), "settles", problems);
        misplaced(document.needs_review.as_ref().map(|field| &field.at), "needs_review", problems);
    }
    if matches!(expect, Expectation::Deny | Expectation::Propose) {
        misplaced(document.fenced.as_ref().map(|field| &field.at), "fenced", problems);
    }
    if expect != Expectation::Deny {
        misplaced(document.sqlstate.as_ref().map(|field| &field.at), "sqlstate", problems);
        misplaced(document.message.as_ref().map(|field| &field.at), "message", problems);
    }
    match (expect, &document.rewrite) {
        (Expectation::Rewrite, None) => {
            problems.error(&document.expect.at, "`expect: rewrite` needs the field `rewrite`").hint("add the governed text: `rewrite: …`");
        }
        (Expectation::Allow | Expectation::Deny | Expectation::Propose, Some(rewrite)) => {
            misplaced(Some(&rewrite.at), "rewrite", problems);
        }
        (Expectation::Rewrite, Some(_)) | (Expectation::Allow | Expectation::Deny | Expectation::Propose, None) => {}
    }
    for state in document.sqlstate.iter().filter(|state| state.len() != 5 || !state.bytes().all(|b| b.is_ascii_alphanumeric())) {
        problems.error(&state.at, "a SQLSTATE has five digits and letters").hint("for example 42501");
    }
    let text = |field: Option<Spanned<String>>| field.map(|field| field.value.trim().to_owned());
    let expected = match expect {
        Expectation::Deny => Expected::Deny { sqlstate: text(document.sqlstate), message: text(document.message) },
        Expectation::Allow | Expectation::Rewrite => {
            Expected::Allow { rewrite: text(document.rewrite), fenced: document.fenced.map(|fenced| fenced.value) }
        }
        Expectation::Propose => {
            let Some(proposal) = document.proposal else {
                let error = problems.error(&document.expect.at, "`expect: propose` needs the field `proposal`");
                error.hint("add `proposal: { relation: …, changes: […] }` and `settles` or `needs_review`");
                return None;
            };
            if let (Some(_), Some(review)) = (&document.settles, &document.needs_review) {
                problems.error(&review.at, "`settles` and `needs_review` exclude each other").hint("keep one of the two");
            }
            Expected::Propose {
                proposal: LiteralProposal::of(proposal, problems)?,
                settles: text(document.settles),
                needs_review: document.needs_review.map(|quorum| quorum.value),
            }
        }
    };
    let sql = document.sql.value;
    let name = document.name.unwrap_or_else(|| sql.clone());
    (problems.errors() == before).then_some(PolicyCase { at: case.at, name, agent: document.agent.value, sql, expected })
}
