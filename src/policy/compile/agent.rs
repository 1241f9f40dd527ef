//! Agents: who may connect, what they see, and whether both fit together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Compiler, identity, names, tenant};
use crate::{
    policy::{
        Agent, Bundle, Durability, ExposedFunction, ExposedSchema, Limits, TenantRule, Visible,
        decode::{Given, Spanned},
        document::{AgentDocument, EvidenceParameters},
        identity_document::TokenDocument,
        problem::{shown, suggest},
    },
    sql::catalog::Function,
    types::{AgentName, TenantId},
};

/// Connections of one agent unless the policy says otherwise.
const CONNECTIONS: u64 = 100;

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    bundle: &Bundle,
    schemas: &BTreeMap<&str, Arc<ExposedSchema>>,
    name: &Spanned<String>,
    agent: &AgentDocument,
) -> Option<Agent> {
    let parsed: Option<AgentName> = name.value.parse().ok();
    if parsed.is_none() {
        compiler
            .problems
            .error(&name.at, format!("{} cannot be an agent's name", shown(&name.value)))
            .hint("1 to 63 bytes, no control characters");
    }
    let auth = identity::auth(compiler, &agent.auth);
    let session_token = agent.session_token.value().map(|token| identity::rules(compiler, token));
    let tenant = tenant(compiler, agent);
    let exposed = exposed(compiler, bundle, schemas, agent);
    let claimed = [&agent.auth.token, &agent.session_token].into_iter().filter_map(|token| token.value()).any(says_tenant);
    if let (Some(login), Some(session)) = (agent.auth.token.value(), agent.session_token.value())
        && says_tenant(login)
        && says_tenant(session)
    {
        compiler
            .problems
            .error(&session.at, "the tenant comes from the login's token and from the session's")
            .hint("leave `tenant` out of one's `claims`");
    }
    if claimed && agent.tenant.value().is_some() {
        compiler
            .problems
            .error(&agent.auth.at, "the tenant comes from a token's claim and from `tenant`, which may differ")
            .hint("leave one of the two out");
    }
    if !claimed {
        check_tenant(compiler, bundle, agent, &name.value);
    }
    let functions = agent.functions.iter().flatten().filter_map(|function| self::function(compiler, bundle, agent, function)).collect();
    for connections in agent.max_connections.iter().filter(|connections| connections.value == 0) {
        compiler
            .problems
            .error(&connections.at, "`max_connections: 0` would refuse every connection")
            .hint("write 1 or more, or remove the agent");
    }
    for allow in agent.allow_explain.iter().filter(|allow| allow.value) {
        compiler.problems.warn(&allow.at, "`allow_explain`: the estimates of EXPLAIN speak of all rows, those of other tenants too");
    }
    let statement_timeout = agent.statement_timeout.unwrap_or_else(|| source_timeout(bundle, &exposed));
    let visible = Arc::new(Visible::of(&exposed, |source| compiler.catalog(source)));
    Some(Agent {
        visible,
        name: parsed?,
        auth: auth?,
        tenant,
        session_token: match session_token {
            Some(rules) => Some(rules?),
            None => None,
        },
        schemas: exposed,
        functions,
        allow_explain: agent.allow_explain.as_ref().is_some_and(|allow| allow.value),
        statement_timeout,
        max_connections: usize::try_from(agent.max_connections.as_ref().map_or(CONNECTIONS, |given| given.value)).unwrap_or(usize::MAX),
        limits: limits(compiler, agent),
        durability: agent.durability.unwrap_or(Durability::Group),
        evidence_parameters: agent.evidence_parameters.is_none_or(|given| given == EvidenceParameters::Full),
    })
}

fn limits(compiler: &mut Compiler<'_>, agent: &AgentDocument) -> Limits {
    let Some(given) = &agent.limits else { return Limits::default() };
    let mut limit = |name: &str, given: &Option<Spanned<u64>>| {
        let given = given.as_ref()?;
        if given.value == 0 {
            let message = format!("`{name}: 0` would refuse every statement");
            compiler.problems.error(&given.at, message).hint("write 1 or more, or remove the agent");
        }
        Some(given.value)
    };
    let open_bytes = given.open_proposal_bytes.as_ref().map(|bytes| Spanned { value: bytes.value.0, at: bytes.at.clone() });
    let usual = Limits::default();
    let bytes = given.bytes_per_day.as_ref().map(|bytes| Spanned { value: bytes.value.0, at: bytes.at.clone() });
    Limits {
        statements_per_minute: limit("statements_per_minute", &given.statements_per_minute),
        concurrent_statements: limit("concurrent_statements", &given.concurrent_statements),
        rows_per_day: limit("rows_per_day", &given.rows_per_day),
        bytes_per_day: limit("bytes_per_day", &bytes),
        open_proposals: limit("open_proposals", &given.open_proposals).unwrap_or(usual.open_proposals),
        open_proposal_bytes: limit("open_proposal_bytes", &open_bytes).unwrap_or(usual.open_proposal_bytes),
        raised_by: given.raised_by.as_ref().map(|who| who.value.as_str().into()),
    }
}

fn says_tenant(token: &Spanned<TokenDocument>) -> bool {
    token.claims.as_ref().is_some_and(|claims| claims.tenant.is_some())
}

/// The shortest `statement_timeout` of the agent's sources.
fn source_timeout(bundle: &Bundle, schemas: &[Arc<ExposedSchema>]) -> Duration {
    let of = |schema: &Arc<ExposedSchema>| {
        let source = bundle.document.sources.named(schema.source.as_str());
        source.and_then(|source| source.statement_timeout).unwrap_or(Duration::from_secs(30))
    };
    schemas.iter().map(of).filter(|timeout| !timeout.is_zero()).min().unwrap_or(Duration::ZERO)
}

fn tenant(compiler: &mut Compiler<'_>, agent: &AgentDocument) -> Option<TenantId> {
    let given = agent.tenant.value()?;
    let parsed = given.parse().ok();
    if parsed.is_none() {
        compiler.problems.error(&given.at, "a tenant is 1 to 1024 bytes without control characters").hint("or leave `tenant` out");
    }
    parsed
}

fn exposed(
    compiler: &mut Compiler<'_>,
    bundle: &Bundle,
    schemas: &BTreeMap<&str, Arc<ExposedSchema>>,
    agent: &AgentDocument,
) -> Vec<Arc<ExposedSchema>> {
    let mut exposed = Vec::new();
    for (index, name) in agent.schemas.iter().enumerate() {
        if agent.schemas.iter().take(index).any(|earlier| earlier.value == name.value) {
            compiler.problems.error(&name.at, format!("{} is twice in `schemas`", shown(name)));
        }
        if !bundle.document.schemas.names().any(|schema| schema.value == name.value) {
            let known = bundle.document.schemas.names().map(|schema| schema.value.as_str());
            let hint = suggest(name, known).or_else(|| Some("define it under `schemas`".to_owned()));
            compiler.problems.error(&name.at, format!("there is no schema {}", shown(name))).hint = hint;
        }
        exposed.extend(schemas.get(name.value.as_str()).cloned());
    }
    exposed
}

/// Relations of tenants need an agent with a tenant, and one that is a value of their tenant columns.
fn check_tenant(compiler: &mut Compiler<'_>, bundle: &Bundle, agent: &AgentDocument, name: &str) {
    for schema_name in &agent.schemas {
        let Some(schema) = bundle.document.schemas.named(&schema_name.value) else { continue };
        if matches!(agent.tenant, Given::Wrong) {
            continue;
        }
        let Some(given) = agent.tenant.value() else {
            let of_tenants = schema.relations.iter().filter(|(_, relation)| relation.tenant_column.value().is_some());
            let aliases: Vec<String> = of_tenants.map(|(alias, _)| format!("{}.{}", schema_name.value, alias.value)).collect();
            if !aliases.is_empty() {
                compiler
                    .problems
                    .error(&schema_name.at, format!("agent `{name}` has no tenant, but sees tenants' rows: {}", aliases.join(", ")))
                    .hint("give the agent `tenant: …`, or leave the schema out");
            }
            continue;
        };
        let catalog = schema.source.parse().ok().and_then(|source| compiler.catalog(&source));
        let Some(catalog) = catalog else { continue };
        for (alias, relation) in schema.relations.iter() {
            let Some(rule) = column_rule(&catalog, relation) else { continue };
            let TenantRule::Column { type_oid, .. } = &rule else { continue };
            let cut = (!rule.keeps(&given.value)).then_some("a text that the column keeps to the last blank");
            if let Some(expected) = tenant::misfit(&given.value, *type_oid).or(cut) {
                let message =
                    format!("tenant {} cannot be a value of the tenant column of `{}.{}`", shown(given), schema_name.value, alias.value);
                compiler.problems.error(&given.at, message).hint(format!("it must be {expected}"));
            }
        }
    }
}

fn column_rule(catalog: &crate::sql::catalog::CatalogSnapshot, relation: &crate::policy::document::RelationDocument) -> Option<TenantRule> {
    let (schema, name) = names::qualified(&relation.from)?;
    let wanted = &relation.tenant_column.value()?.value;
    let column = catalog.relation(&schema, &name)?.columns.iter().find(|column| column.name == *wanted)?;
    Some(TenantRule::Column {
        name: column.name.as_str().into(),
        type_oid: catalog.base_type(column.type_oid),
        type_name: column.type_name.as_str().into(),
    })
}

/// A function by its exact signature; every overload that a call with as many arguments could reach must be listed.
fn function(compiler: &mut Compiler<'_>, bundle: &Bundle, agent: &AgentDocument, written: &Spanned<String>) -> Option<ExposedFunction> {
    let Some((schema, name, arguments)) = names::signature(written) else {
        compiler
            .problems
            .error(&written.at, format!("{} is not a function's signature", shown(written)))
            .hint("write schema, name and argument types: `public.similarity(text, text)`");
        return None;
    };
    if schema == "pg_catalog" || schema == "information_schema" {
        compiler
            .problems
            .error(&written.at, "functions of pg_catalog are decided by the reviewed list, not by policies")
            .hint("wrap what you need in a function of your own schema");
        return None;
    }
    let found = ExposedFunction { schema: schema.as_str().into(), name: name.as_str().into(), arguments: arguments.len() };
    let sources: Vec<_> =
        agent.schemas.iter().filter_map(|schema| bundle.document.schemas.named(&schema.value)?.source.parse().ok()).collect();
    let catalogs: Vec<_> = sources.iter().filter_map(|source| compiler.catalog(source)).collect();
    if catalogs.len() < sources.len() || catalogs.is_empty() {
        return Some(found);
    }
    let candidates: Vec<&Function> = catalogs
        .iter()
        .flat_map(|catalog| &catalog.functions)
        .filter(|function| function.schema == schema && function.name == name)
        .collect();
    let Some(exact) = candidates.iter().find(|function| same_arguments(function, &arguments)) else {
        let known: Vec<String> =
            candidates.iter().map(|function| format!("{}.{}({})", function.schema, function.name, function.arguments)).collect();
        let error =
            compiler.problems.error(&written.at, format!("no source of this agent has a function {} it may execute", shown(written)));
        error.hint = Some(if known.is_empty() {
            "check the schema, the name and EXECUTE rights".to_owned()
        } else {
            format!("use one of: {}", known.join(", "))
        });
        return None;
    };
    if exact.volatility == 'v' {
        compiler.problems.warn(&written.at, format!("{} is VOLATILE: what it does besides answering is trusted input", shown(written)));
    }
    check_overloads(compiler, agent, written, &candidates, arguments.len());
    Some(found)
}

fn check_overloads(compiler: &mut Compiler<'_>, agent: &AgentDocument, written: &Spanned<String>, candidates: &[&Function], count: usize) {
    let listed: Vec<_> = agent.functions.iter().flatten().filter_map(|function| names::signature(function)).collect();
    for other in candidates.iter().filter(|function| names::split_arguments(&function.arguments).len() == count) {
        let is_listed = listed
            .iter()
            .any(|(schema, name, arguments)| *schema == other.schema && *name == other.name && same_arguments(other, arguments));
        if !is_listed {
            let signature = format!("{}.{}({})", other.schema, other.name, other.arguments);
            compiler
                .problems
                .error(&written.at, format!("{} has an overload that a call could reach too: `{signature}`", shown(written)))
                .hint("list the overload as well, or give the function you mean a name of its own");
        }
    }
}

/// Catalogs may hold argument names before the types.
fn same_arguments(function: &Function, wanted: &[String]) -> bool {
    let have = names::split_arguments(&function.arguments);
    have.len() == wanted.len() && have.iter().zip(wanted).all(|(have, want)| have == want || have.ends_with(&format!(" {want}")))
}
