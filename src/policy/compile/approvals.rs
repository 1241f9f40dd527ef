//! Approval rules: who may approve what, and what nobody may.

use std::time::Duration;

use super::Compiler;
use crate::{
    policy::{
        ApprovalRule, Bundle, PolicySet,
        decode::Spanned,
        document::WritesDocument,
        model::names,
        problem::{shown, suggest},
        review_document::ApprovalRuleDocument,
    },
    proposal::Operation,
    types::ReviewerName,
};

/// Every operation.
pub(super) const ALL: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

pub(super) fn compile(compiler: &mut Compiler<'_>, bundle: &Bundle) -> Vec<ApprovalRule> {
    let rules = bundle.document.approvals.iter().flat_map(|approvals| approvals.rules.iter().flatten());
    rules.map(|rule| approval_rule(compiler, bundle, rule)).collect()
}

/// How long an approval counts.
pub(super) fn valid_for(compiler: &mut Compiler<'_>, bundle: &Bundle) -> Duration {
    let given = bundle.document.approvals.as_ref().and_then(|approvals| approvals.valid_for.as_ref());
    let Some(given) = given else { return PolicySet::APPROVALS_VALID_FOR };
    if given.value < Duration::from_mins(1) || given.value > Duration::from_hours(30 * 24) {
        compiler.problems.error(&given.at, "`valid_for` is not between 1min and 720h").hint(
            "an approval has to outlive the wait for a worker, and should not lie around for longer than a reviewer would stand by it",
        );
    }
    given.value
}

fn approval_rule(compiler: &mut Compiler<'_>, bundle: &Bundle, rule: &Spanned<ApprovalRuleDocument>) -> ApprovalRule {
    let reviewers: Vec<ReviewerName> = rule.reviewers.iter().filter_map(|name| known_reviewer(compiler, bundle, name)).collect();
    super::relation::duplicates(compiler, "reviewers", &rule.reviewers);
    if rule.reviewers.is_empty() {
        compiler.problems.error(&rule.at, "an approval rule without reviewers").hint("name at least one under `reviewers`");
    }
    let quorum = rule.quorum.as_ref().map_or(1, |quorum| quorum.value);
    if let Some(given) = &rule.quorum {
        if given.value == 0 {
            compiler
                .problems
                .error(&given.at, "`quorum: 0` would approve without anyone")
                .hint("write 1 or more; what needs no person belongs under `settlement`");
        } else if given.value > rule.reviewers.len() as u64 && !rule.reviewers.is_empty() {
            let message = format!("`quorum: {}` is more than the {} reviewers of this rule", given.value, rule.reviewers.len());
            compiler.problems.error(&given.at, message).hint("name more reviewers, or lower the quorum");
        }
    }
    ApprovalRule {
        relations: relations(compiler, bundle, &rule.relations, &rule.at),
        operations: operations(rule.operations.as_deref()),
        reviewers,
        quorum: usize::try_from(quorum).unwrap_or(usize::MAX),
    }
}

fn known_reviewer(compiler: &mut Compiler<'_>, bundle: &Bundle, name: &Spanned<String>) -> Option<ReviewerName> {
    let known = || bundle.document.reviewers.names().map(|name| name.value.as_str());
    if !known().any(|reviewer| reviewer == name.value) {
        let hint = suggest(name, known()).or_else(|| Some("define it under `reviewers`".to_owned()));
        compiler.problems.error(&name.at, format!("there is no reviewer {}", shown(name))).hint = hint;
    }
    name.parse().ok()
}

/// The patterns, each of which must name a relation that agents know.
pub(super) fn relations(
    compiler: &mut Compiler<'_>,
    bundle: &Bundle,
    patterns: &[Spanned<String>],
    at: &crate::policy::Place,
) -> Vec<Box<str>> {
    if patterns.is_empty() {
        compiler
            .problems
            .error(at, "a rule without relations")
            .hint("name at least one under `relations`: `schema.relation` or `schema.*`");
    }
    for pattern in patterns.iter().filter(|pattern| !exposed(bundle).any(|(schema, relation)| names(pattern, schema, relation))) {
        let known: Vec<String> = exposed(bundle).map(|(schema, relation)| format!("{schema}.{relation}")).collect();
        let hint = suggest(pattern, known.iter().map(String::as_str))
            .or_else(|| Some("write `schema.relation` or `schema.*` with alias names of `schemas`".to_owned()));
        compiler.problems.error(&pattern.at, format!("no relation is named {}", shown(pattern))).hint = hint;
    }
    patterns.iter().map(|pattern| pattern.value.as_str().into()).collect()
}

/// Operations as given, or all.
pub(super) fn operations(given: Option<&[Spanned<Operation>]>) -> Vec<Operation> {
    given.map_or_else(|| ALL.to_vec(), |given| given.iter().map(|operation| operation.value).collect())
}

/// Every relation by alias names.
fn exposed(bundle: &Bundle) -> impl Iterator<Item = (&str, &str)> {
    let schemas = bundle.document.schemas.iter();
    schemas.flat_map(|(schema, document)| document.relations.names().map(|relation| (schema.value.as_str(), relation.value.as_str())))
}

/// Warns of writes that nobody may approve: their proposals wait until they expire.
pub(super) fn uncovered(compiler: &mut Compiler<'_>, bundle: &Bundle) {
    for (schema, document) in bundle.document.schemas.iter() {
        for (relation, document) in document.relations.iter() {
            let Some(writes) = &document.writes else { continue };
            let covered = |operation: &Operation| covers(bundle, &schema.value, &relation.value, *operation);
            let open: Vec<&str> = allowed(writes).into_iter().filter(|operation| !covered(operation)).map(Operation::word).collect();
            if !open.is_empty() {
                compiler
                    .problems
                    .warn(&writes.at, format!("nobody may approve {} of `{}.{}`", open.join(", "), schema.value, relation.value))
                    .hint("such proposals wait until they expire: add a rule under `approvals`");
            }
        }
    }
}

fn allowed(writes: &WritesDocument) -> Vec<Operation> {
    let listed = |columns: &Option<Vec<Spanned<String>>>| columns.as_ref().is_some_and(|columns| !columns.is_empty());
    let allows = |operation: &Operation| match operation {
        Operation::Insert => listed(&writes.insert),
        Operation::Update => listed(&writes.update),
        Operation::Delete => writes.delete == Some(true),
    };
    ALL.into_iter().filter(allows).collect()
}

fn covers(bundle: &Bundle, schema: &str, relation: &str, operation: Operation) -> bool {
    let Some(approvals) = &bundle.document.approvals else { return false };
    let covers = |patterns: &[Spanned<String>], operations: Option<&[Spanned<Operation>]>| {
        let named = patterns.iter().any(|pattern| names(pattern, schema, relation));
        named && operations.is_none_or(|operations| operations.iter().any(|given| given.value == operation))
    };
    approvals.rules.iter().flatten().any(|rule| covers(&rule.relations, rule.operations.as_deref()))
        || approvals.settlement.iter().flatten().any(|rule| covers(&rule.relations, rule.operations.as_deref()))
}
