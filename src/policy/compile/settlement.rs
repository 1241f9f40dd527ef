//! Settlement rules: Cedar policies, checked against the schema of the relations they are for.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
    sync::Arc,
};

use cedar_policy::{Effect, PolicySet as CedarPolicies, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::{Compiler, approvals};
use crate::policy::{
    Bundle, ExposedRelation, ExposedSchema, SettlementRule,
    decode::Spanned,
    model::names,
    problem::{Place, shown, suggest},
    reference::Reference,
    review_document::{CedarText, SettlementDocument},
    settlement::{ColumnKind, Columns, schema_text},
};

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    bundle: &Bundle,
    schemas: &BTreeMap<&str, Arc<ExposedSchema>>,
) -> Vec<Arc<SettlementRule>> {
    let rules = bundle.document.approvals.iter().flat_map(|approvals| approvals.settlement.iter().flatten());
    let mut seen = BTreeSet::new();
    let mut made = Vec::new();
    for rule in rules {
        if !seen.insert(rule.name.value.as_str()) {
            compiler
                .problems
                .error(&rule.name.at, format!("a second settlement rule {}", shown(&rule.name)))
                .hint("its name is in the record and counts by the day: give it another one");
        }
        made.extend(settlement_rule(compiler, bundle, schemas, rule).map(Arc::new));
    }
    made
}

fn settlement_rule(
    compiler: &mut Compiler<'_>,
    bundle: &Bundle,
    schemas: &BTreeMap<&str, Arc<ExposedSchema>>,
    rule: &Spanned<SettlementDocument>,
) -> Option<SettlementRule> {
    let name = &rule.name;
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        compiler
            .problems
            .error(&name.at, format!("{} cannot be a settlement rule's name", shown(name)))
            .hint("1 to 63 bytes, no control characters");
    }
    let relations = approvals::relations(compiler, bundle, &rule.relations, &rule.at);
    let exposed: Vec<&ExposedRelation> = schemas
        .values()
        .flat_map(|schema| schema.relations.values())
        .filter(|relation| relations.iter().any(|pattern| names(pattern, &relation.schema, &relation.name)))
        .map(Arc::as_ref)
        .collect();
    // Without a catalog the columns are not known, and neither is what a policy may say of them.
    let known = !exposed.is_empty();
    let columns = columns(&exposed);
    if known {
        check_sum_column(compiler, rule, &columns);
    }
    let (policies, cedar) = policies(compiler, rule)?;
    let schema = Schema::from_cedarschema_str(&schema_text(&columns));
    let schema = match schema {
        Ok((schema, _warnings)) => schema,
        Err(error) => {
            compiler.problems.error(&rule.at, format!("the columns of these relations make no Cedar schema: {error}"));
            return None;
        }
    };
    if known {
        validate(compiler, &schema, &policies, &cedar);
    }
    Some(SettlementRule {
        name: name.value.as_str().into(),
        relations,
        operations: approvals::operations(rule.operations.as_deref()),
        sum_column: rule.sum_column.as_ref().map(|column| column.value.as_str().into()),
        columns,
        schema,
        policies,
    })
}

/// The columns that agents see as they are.
fn columns(relations: &[&ExposedRelation]) -> Columns {
    let mut columns = Columns::new();
    let all = relations.iter().flat_map(|relation| &relation.columns);
    for column in all.filter(|column| column.mask.is_none()) {
        let kind = ColumnKind::of(column.base_type_oid);
        let entry = columns.entry(column.name.clone()).or_insert(kind);
        if *entry != kind {
            *entry = ColumnKind::Text;
        }
    }
    columns
}

fn check_sum_column(compiler: &mut Compiler<'_>, rule: &SettlementDocument, columns: &Columns) {
    let Some(column) = &rule.sum_column else { return };
    match columns.get(column.value.as_str()) {
        Some(ColumnKind::Long | ColumnKind::Decimal) => {}
        Some(ColumnKind::Bool | ColumnKind::Text) => {
            compiler
                .problems
                .error(&column.at, format!("{} cannot be summed", shown(column)))
                .hint("it must be smallint, integer, bigint or numeric, in each of the rule's relations that has it");
        }
        None => {
            let hint = suggest(column, columns.keys().map(AsRef::as_ref));
            compiler.problems.error(&column.at, format!("agents see no column {} in these relations", shown(column))).hint = hint;
        }
    }
}

/// Where Cedar text stands, so that its own places can be told.
struct Cedar {
    text: String,
    at: Place,
    /// The file it is all of.
    file: Option<Arc<str>>,
}

impl Cedar {
    /// A place in the text; inline text is told by the place of its field.
    fn place(&self, error: &dyn Diagnostic) -> (Place, String) {
        let label = error.labels().and_then(|mut labels| labels.next());
        let before = label.and_then(|label| self.text.get(..label.offset()));
        let Some(before) = before else { return (self.at.clone(), String::new()) };
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        match &self.file {
            Some(file) => (Place { file: Arc::clone(file), line, column }, String::new()),
            None => (self.at.clone(), format!(" (line {line}, column {column} of it)")),
        }
    }
}

fn policies(compiler: &mut Compiler<'_>, rule: &SettlementDocument) -> Option<(CedarPolicies, Cedar)> {
    let cedar = match &rule.cedar {
        CedarText::Literal(text) => Cedar { text: text.value.clone(), at: text.at.clone(), file: None },
        CedarText::File(reference) => {
            let file = match &reference.value {
                Reference::File { path, .. } => Some(path.as_str().into()),
                Reference::Environment(_) => None,
            };
            let text = compiler.resolve(&reference.value, &reference.at)?;
            Cedar { text: text.expose().to_owned(), at: reference.at.clone(), file }
        }
    };
    let policies = match CedarPolicies::from_str(&cedar.text) {
        Ok(policies) => policies,
        Err(errors) => {
            for error in errors.iter() {
                note(compiler, &cedar, error, "not valid Cedar");
            }
            return None;
        }
    };
    if policies.templates().next().is_some() {
        compiler
            .problems
            .error(&cedar.at, "a Cedar template in a settlement rule")
            .hint("write the principal or resource out instead of `?…`");
        return None;
    }
    if !policies.policies().any(|policy| policy.effect() == Effect::Permit) {
        compiler
            .problems
            .error(&cedar.at, "no `permit` policy: it would settle nothing")
            .hint("write `permit (principal, action, resource) when { … };`");
        return None;
    }
    Some((policies, cedar))
}

fn validate(compiler: &mut Compiler<'_>, schema: &Schema, policies: &CedarPolicies, cedar: &Cedar) {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    // Once each, and in the same order each time: Cedar finds them in none.
    let mut errors: Vec<_> = result.validation_errors().map(|error| (for_any_action(&error.to_string()), error)).collect();
    errors.sort_by(|(one, _), (other, _)| one.cmp(other));
    errors.dedup_by(|(one, _), (other, _)| one == other);
    for (_, error) in errors {
        note(compiler, cedar, error, "this settlement policy cannot be checked");
    }
    for warning in result.validation_warnings() {
        let (at, inside) = cedar.place(warning);
        compiler.problems.warn(&at, format!("{warning}{inside}"));
    }
}

fn note<E: Diagnostic + std::fmt::Display>(compiler: &mut Compiler<'_>, cedar: &Cedar, error: &E, what: &str) {
    let (at, inside) = cedar.place(error);
    let help = error.help().map(|help| help.to_string());
    compiler.problems.error(&at, format!("{what}: {}{inside}", for_any_action(&error.to_string()))).hint = help;
}

/// Cedar checks a policy for each action and says the same thing three times.
fn for_any_action(message: &str) -> String {
    let mut message = message.to_owned();
    for operation in approvals::ALL {
        message = message.replace(&format!(" for Action::\"{operation}\""), "");
    }
    message
}
