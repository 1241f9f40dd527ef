//! Turns a statement, an agent and the policy into one that may be forwarded, or a [`Refusal`].
//! May use: `types`, `sql`, `proposal`, `policy`. Never: I/O, clocks, randomness, logging, `source`.
//! Invariant: nothing changes a statement after this room; only this room makes a [`GovernedStatement`],
//! and only from text that the verifier passed.

mod catalog;
#[cfg(test)]
mod fixtures;
mod gate;
mod kernel;
mod names;
mod refusal;
mod rewrite;
mod statement;
mod template;
mod text_search;
mod write;

pub use refusal::{Refusal, RefusalCode};
pub use statement::{Appended, AppendedValue, ConfigArgument, GovernedStatement, SessionValue, cursor_name};
pub use template::Template;
pub use text_search::check_values as check_configurations;
pub use write::{Check, DraftRow, Write, WriteDraft, propose};

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    policy::{Agent, EvidenceRows, ExposedRelation, OnLimit, PolicySet, RowLimit},
    sql::{
        ParseError, Tree, allow,
        catalog::{CatalogSnapshot, Oid},
        parse,
    },
};

/// A Bind message counts its parameters in 16 bits.
const MAX_PARAMETERS: usize = 65_535;

/// What is kept in evidence of a statement that reads no relation. Unit: bytes.
const UNGOVERNED_EVIDENCE: u64 = 1 << 20;

/// What is governed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The statement, one, as the client sent it. Must be a read: `sql::classify` has said `Statement::Read`.
    pub text: &'a str,
    /// Parameter types the client declared at Parse (0: not given).
    pub declared_types: &'a [Oid],
    /// Who asks.
    pub agent: &'a Agent,
    /// The policy in force.
    pub policy: &'a PolicySet,
    /// The session's virtual `search_path`: alias schema names, in order.
    pub search_path: &'a [Box<str>],
    /// The session's database, by the name that the client connected with.
    pub database: &'a str,
}

/// Governs one read. Pure: equal requests give equal answers.
pub fn govern(request: &Request<'_>) -> Result<Arc<GovernedStatement>, Refusal> {
    decide(request, true).map(Arc::new)
}

/// Parse, rewrite and verify with the reviewed lists aside: how much of a corpus the structure takes.
/// What it returns is a report, not a permit.
pub fn structure(request: &Request<'_>) -> Result<String, Refusal> {
    decide(request, false).map(|statement| statement.text().to_owned())
}

fn decide(request: &Request<'_>, lists: bool) -> Result<GovernedStatement, Refusal> {
    let mut tree = read(request.text)?;
    let mut unqualified = kernel::unqualified(request.text, &mut tree, request.database)?;
    let client = client_parameters(&tree, request.declared_types)?;
    // The gate knows the server by the agent's first source; all sources are checked when there are several.
    let catalogs =
        request.agent.schemas.iter().filter_map(|schema| request.policy.sources.get(&schema.source)).map(|source| &*source.catalog);
    kernel::qualify(&mut tree, request.agent, &catalogs, &mut unqualified);
    for catalog in catalogs.clone() {
        gate::Gate { text: request.text, agent: request.agent, catalog, lists }.kinds(&tree)?;
        older_server(request.text, catalog.server_version)?;
        declared_types(request, catalog)?;
    }
    let configurations = match text_search::check(request.text, &tree) {
        // No database has it for an agent, the catalog's own neither.
        Err(refusal) if refusal.code == RefusalCode::UndefinedObject && lists => return Err(refusal),
        checked => checked,
    };
    kernel::check_configs(&tree)?;
    if catalog::is_asked(&tree, configurations.as_ref().unwrap_or(&BTreeSet::new()))? {
        return catalog::decide(request, &tree, &unqualified, client, lists);
    }
    let expected = kernel::expect(request, &tree, &unqualified, client)?;
    let mut types = expected.types.clone();
    if lists {
        types.append(&mut configurations?);
    }
    gate::Gate { text: request.text, agent: request.agent, catalog: &expected.source.catalog, lists }.names(
        &tree,
        &expected.relations,
        &types,
    )?;
    let rewritten = rewrite::rewrite(request.text, &expected.replacements).unwrap_or_default();
    let verified = expected.verify(&rewritten.text)?;
    let rules = rules(&expected);
    let parameters = expected.parameters;
    let mut parameter_types = request.declared_types.to_vec();
    parameter_types.resize(client, 0);
    let appended = parameters.into_appended();
    if client + appended.len() > MAX_PARAMETERS {
        return Err(Refusal::new(
            RefusalCode::Unsupported,
            format!("more than {} parameters are not supported", MAX_PARAMETERS - appended.len()),
        ));
    }
    parameter_types.extend(appended.iter().map(|parameter| parameter.type_oid));
    Ok(GovernedStatement {
        literals: verified.literals(),
        text: verified.into_text(),
        source: expected.source.name.clone(),
        client_parameters: client,
        parameter_types,
        appended,
        relations: expected.relations.iter().map(|relation| format!("{}.{}", relation.schema, relation.name).into()).collect(),
        limit: limit(&expected.relations),
        evidence: evidence(&expected.relations),
        fenced: expected.fenced,
        fingerprint: fingerprint(request.text),
        epoch: request.policy.epoch,
        policy_digest: request.policy.digest,
        rules,
        kept: rewritten.kept,
        by_plan: expected.by_plan,
        looked_at_values: expected.looked_at_values,
        copies: expected.copies.len(),
    })
}

fn fingerprint(text: &str) -> Box<str> {
    pg_query::fingerprint(text, pg_query::ParserOptions::DEFAULT, pg_query::FingerprintOptions::default())
        .map_or_else(|_| "".into(), |print| print.hex.into())
}

fn read(text: &str) -> Result<Tree, Refusal> {
    match parse(text) {
        Ok(Some(tree)) if tree.of_kind("SelectStmt").is_some() => Ok(tree),
        Ok(_) => Err(Refusal::unsupported("anything but one SELECT or VALUES")),
        Err(error) => Err(error.into()),
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Syntax { message, position } => Self { position, ..Self::new(RefusalCode::Syntax, message) },
            ParseError::TooLong { .. } | ParseError::TooManyTokens | ParseError::TooComplex => Self::too_complex(),
            ParseError::Multiple => Self::unsupported("more than one statement at once").hint("send them one after the other"),
        }
    }
}

/// How many parameters are the client's: the highest it names or declares.
fn client_parameters(tree: &Tree, declared: &[Oid]) -> Result<usize, Refusal> {
    let mut highest = i64::try_from(declared.len()).unwrap_or(i64::MAX);
    let mut lowest = 1;
    tree.each(&mut |node| {
        if node.kind == "ParamRef" {
            let number = node.int("number").unwrap_or_default();
            highest = highest.max(number);
            lowest = lowest.min(number);
        }
    });
    let refusal = || Refusal::new(RefusalCode::Syntax, "there is no parameter of that number").hint("number parameters from $1");
    let highest = usize::try_from(highest).ok().filter(|highest| *highest <= MAX_PARAMETERS && lowest >= 1);
    highest.ok_or_else(refusal)
}

/// Numeric literals that PostgreSQL 16 introduced mean something else, or nothing, before it.
fn older_server(text: &str, version: u32) -> Result<(), Refusal> {
    use pg_query::protobuf::Token;
    if version >= 160_000 {
        return Ok(());
    }
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    let newer = tokens.iter().filter(|token| matches!(token.token(), Token::Iconst | Token::Fconst | Token::Param)).any(|token| {
        let (start, end) = (usize::try_from(token.start).unwrap_or(0), usize::try_from(token.end).unwrap_or(0));
        text.get(start..end).is_none_or(|literal| {
            !literal.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-' | b'$'))
        })
    });
    if newer { Err(Refusal::unsupported("this form of numeric literal").hint("write it in plain decimal digits")) } else { Ok(()) }
}

/// A parameter of a type that looks its text up in the source's catalog would tell of hidden names. Of the source's own types
/// those may be declared that the virtual catalog shows and that look nothing up.
fn declared_types(request: &Request<'_>, catalog: &CatalogSnapshot) -> Result<(), Refusal> {
    let reads = |oid| request.agent.schemas.iter().any(|schema| request.agent.visible.reads_type(&schema.source, oid));
    for oid in request.declared_types.iter().filter(|oid| **oid != 0 && **oid != 705) {
        let known = catalog.types.get(oid).filter(|known| known.schema == "pg_catalog" && allow::cast_type(&known.name).is_ok());
        if known.is_none() && !reads(*oid) {
            let message = format!("a parameter cannot be declared with type {oid}");
            return Err(Refusal::new(RefusalCode::UndefinedObject, message).hint("declare a built-in type, or none"));
        }
    }
    Ok(())
}

/// The tightest limit of the relations; past it, an error where one of them asks for an error.
fn limit(relations: &[Arc<ExposedRelation>]) -> RowLimit {
    let limited = relations.iter().filter(|relation| relation.max_rows.is_some() || relation.max_bytes.is_some());
    let truncate = limited.clone().all(|relation| relation.on_limit == OnLimit::Truncate);
    RowLimit {
        rows: limited.clone().filter_map(|relation| relation.max_rows).min(),
        bytes: limited.clone().filter_map(|relation| relation.max_bytes).min(),
        on_limit: if truncate && limited.count() > 0 { OnLimit::Truncate } else { OnLimit::Error },
    }
}

/// The fullest record that one of the relations asks for.
fn evidence(relations: &[Arc<ExposedRelation>]) -> EvidenceRows {
    let rank = |rows: &EvidenceRows| match rows {
        EvidenceRows::Full { max_bytes } => (2, *max_bytes),
        EvidenceRows::Sample { rows } => (1, *rows),
        EvidenceRows::Digest => (0, 0),
    };
    relations.iter().map(|relation| relation.evidence).max_by_key(rank).unwrap_or(EvidenceRows::Full { max_bytes: UNGOVERNED_EVIDENCE })
}

/// What applied, in words.
fn rules(expected: &kernel::Expectation) -> Vec<String> {
    use crate::policy::TenantRule;
    let mut rules = Vec::new();
    for relation in &expected.relations {
        let name = format!("{}.{}", relation.schema, relation.name);
        let columns = relation.columns.len();
        let tenant = match relation.tenant {
            TenantRule::Column { .. } => "the tenant's rows only",
            TenantRule::Single => "single tenant: all rows",
        };
        rules.push(format!("{name}: {columns} allowed columns, {tenant}"));
        if let Some(filter) = &relation.filter {
            rules.push(format!("{name}: the policy's row filter applies"));
            if let Some(written) = &filter.written {
                rules.push(format!(
                    "{name}: the row filter runs as `{}`, so that no setting moves it; the policy has `{written}`",
                    filter.text
                ));
            }
            if !filter.total {
                rules.push(format!("{name}: the row filter may fail on a row, so errors at run time keep their values to themselves"));
            }
        }
        for column in relation.columns.iter().filter(|column| column.mask.is_some()) {
            rules.push(format!("{name}.{} is masked", column.name));
        }
    }
    if expected.fenced {
        rules.extend(expected.doubts.iter().map(|doubt| format!("fenced: {doubt}")));
        rules.extend(expected.copies.iter().map(|copy| format!("copied inside the fence: {copy}")));
    } else if !expected.doubts.is_empty() {
        rules.push("not fenced: no relation hides rows".to_owned());
    } else if !expected.relations.is_empty() {
        rules.push("not fenced: every condition is leakproof".to_owned());
    }
    rules
}

#[cfg(test)]
mod tests;
