//! Statements about the catalog: answered by the virtual catalog, which holds alias names only, and never by a source.

use std::collections::BTreeSet;

use super::{
    GovernedStatement, MAX_PARAMETERS, Refusal, Request, fingerprint, gate,
    kernel::{self, Scope},
    rewrite,
};
use crate::{
    policy::{EvidenceRows, OnLimit, RowLimit},
    sql::{Node, Tree, allow},
};

/// Whether a statement needs the catalog. One that reads relations of the policy beside it is refused: the one lives here, the
/// other at a source.
pub(super) fn is_asked(tree: &Tree, configurations: &BTreeSet<usize>) -> Result<bool, Refusal> {
    let read = relations(tree)?;
    let by_name = read.catalog.first().cloned().or_else(|| named(tree, configurations));
    match (by_name, read.others.first()) {
        (Some(catalog), Some(other)) => Err(Refusal::unsupported(format!("one statement over {other} and the catalog ({catalog})"))
            .hint("ask the catalog in a statement of its own, and use what it answers as values")),
        (Some(_), None) => Ok(true),
        (None, _) => Ok(false),
    }
}

/// Governs a statement over the catalog.
pub(super) fn decide(
    request: &Request<'_>,
    tree: &Tree,
    unqualified: &kernel::Unqualified,
    client: usize,
    lists: bool,
) -> Result<GovernedStatement, Refusal> {
    let expected = kernel::expect_catalog(request, tree, unqualified, client)?;
    gate::Gate { text: request.text, agent: request.agent, catalog: &expected.source.catalog, lists }.catalog_names(tree)?;
    let rewritten = rewrite::rewrite(request.text, &expected.replacements).unwrap_or_default();
    let verified = expected.verify(&rewritten.text)?;
    let appended = expected.parameters.into_appended();
    if client + appended.len() > MAX_PARAMETERS {
        return Err(Refusal::unsupported(format!("more than {} parameters", MAX_PARAMETERS - appended.len())));
    }
    let mut parameter_types = request.declared_types.to_vec();
    parameter_types.resize(client, 0);
    parameter_types.extend(appended.iter().map(|parameter| parameter.type_oid));
    Ok(GovernedStatement {
        literals: verified.literals(),
        text: verified.into_text(),
        source: request.agent.visible.name.clone(),
        client_parameters: client,
        parameter_types,
        appended,
        relations: relations(tree)?.catalog,
        limit: RowLimit { rows: None, bytes: None, on_limit: OnLimit::Error },
        // What the policy says can be told again; a digest shows that nothing else was.
        evidence: EvidenceRows::Digest,
        fenced: false,
        fingerprint: fingerprint(request.text),
        epoch: request.policy.epoch,
        policy_digest: request.policy.digest,
        rules: vec!["answered by the virtual catalog, which holds the names that this agent's policy exposes".to_owned()],
        kept: rewritten.kept,
        by_plan: false,
        looked_at_values: true,
        copies: 0,
    })
}

/// The relations that are not CTEs, by where they live.
#[derive(Debug, Default)]
struct Read {
    catalog: Vec<Box<str>>,
    others: Vec<Box<str>>,
}

fn relations(tree: &Tree) -> Result<Read, Refusal> {
    let mut read = Read::default();
    let mut visit = |node: &Node, scope: &Scope| -> Result<Option<Tree>, Refusal> {
        if node.kind == "RangeVar" {
            let (schema, name) = (node.text("schemaname")?, node.text("relname")?);
            if schema.is_empty() && scope.has(name) {
                return Ok(None);
            }
            let schema = if schema.is_empty() && allow::catalog_relation(name) { "pg_catalog" } else { schema };
            let known = match schema {
                "pg_catalog" => allow::catalog_relation(name),
                "information_schema" => true,
                _ => false,
            };
            let list = if known { &mut read.catalog } else { &mut read.others };
            let written = if schema.is_empty() { name.into() } else { format!("{schema}.{name}").into() };
            if !list.contains(&written) {
                list.push(written);
            }
        }
        Ok(None)
    };
    kernel::walk(&mut tree.clone(), &Scope::default(), &mut visit)?;
    Ok(read)
}

/// A function or type that only the catalog can answer. The type of a text search configuration that is written out is not one.
fn named(tree: &Tree, configurations: &BTreeSet<usize>) -> Option<Box<str>> {
    let mut found = None;
    tree.each(&mut |node| {
        if node.kind == "TypeName" && node.location().is_some_and(|at| configurations.contains(&at)) {
            return;
        }
        let names = match node.kind {
            "FuncCall" => node.names("funcname"),
            "TypeName" => node.names("names"),
            _ => return,
        };
        let Ok(names) = names else { return };
        let name: Option<&str> = match (node.kind, names.as_slice()) {
            (_, ["information_schema", name]) => Some(name),
            ("FuncCall", [name] | ["pg_catalog", name]) => {
                let arguments = node.list("args").map_or(0, <[Tree]>::len);
                let virtual_here = kernel::answers(name, arguments) && !kernel::is_open_setting(node);
                (allow::catalog_function(name, arguments).is_some() && !virtual_here).then_some(name)
            }
            ("TypeName", [name] | ["pg_catalog", name]) if allow::catalog_type(name) && *name != "record" => Some(name),
            _ => None,
        };
        if found.is_none() {
            found = name.map(Into::into);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::{govern, tests::policy};

    fn decided(text: &str) -> String {
        let policy = policy();
        let agent = policy.agents.values().next().unwrap();
        let search_path: Vec<Box<str>> = agent.schemas.iter().map(|schema| schema.name.clone()).collect();
        let request = Request { text, declared_types: &[], agent, policy: &policy, search_path: &search_path, database: "db" };
        match govern(&request) {
            Ok(statement) if *statement.source() == agent.visible.name => format!("catalog: {}", statement.text()),
            Ok(_) => "source".to_owned(),
            Err(refusal) => refusal.code.sqlstate().to_owned(),
        }
    }

    #[test]
    fn what_asks_the_catalog_goes_there_whole_and_nothing_else_does() {
        for (text, decision) in [
            ("select oid from pg_class /* all */", "catalog: select oid from pg_class"),
            ("select 't'::regclass", "catalog: select 't'::regclass"),
            ("select pg_get_userbyid(10)", "catalog: select pg_get_userbyid(10)"),
            ("select * from information_schema.tables", "catalog: select * from information_schema.tables"),
            ("select current_user from pg_class", "catalog: select (SELECT $1::pg_catalog.name AS \"current_user\") from pg_class"),
            ("select current_setting('a' || relname) from pg_class", "catalog: select current_setting('a' || relname) from pg_class"),
            ("select set_config('jit', 'off', false)", "source"),
            ("select set_config('work_mem', '1', false)", "source"),
            ("select 1 where set_config('work_mem', '1', false) = '1'", "42501"),
            (
                "select oid from db.pg_catalog.pg_class, current_user",
                "catalog: select oid from pg_catalog.pg_class, (SELECT (SELECT $1::pg_catalog.name AS \"current_user\") AS \"current_user\") AS \"current_user\"",
            ),
            (
                "select db.pg_catalog.pg_class.oid from db.pg_catalog.pg_class",
                "catalog: select pg_catalog.pg_class.oid from pg_catalog.pg_class",
            ),
            ("select oid from other.pg_catalog.pg_class", "0A000"),
            ("select 'db.s.t'::regclass", "catalog: select 's.t'::regclass"),
            ("select '\"db\".s.\"t.x\"'::regclass", "catalog: select 's.\"t.x\"'::regclass"),
            ("select 'db.t'::regclass", "catalog: select 'db.t'::regclass"),
            ("select * from version()", "source"),
            ("select version() over ()", "42809"),
            ("with pg_class as (select 1) select * from pg_class", "source"),
            ("with x as (select * from pg_class) select * from x", "catalog: with x as (select * from pg_class) select * from x"),
            ("select id from t", "source"),
            ("select 1", "source"),
            ("select * from t, pg_class", "0A000"),
            ("select 't'::regclass from t", "0A000"),
            ("select (select count(*) from pg_class) from t", "0A000"),
            ("select * from pg_authid", "42501"),
            ("select * from pg_catalog.pg_authid", "42501"),
            ("select * from pg_nothing", "42P01"),
            ("select pg_sleep(1) from pg_class", "42501"),
            ("select ('x').pg_read_file from pg_class", "42501"),
            ("select 'a'::regrole from pg_class", "42704"),
            ("select pg_toast.f() from pg_class", "42883"),
            ("select 1 operator(public.+) 1 from pg_class", "42883"),
        ] {
            assert_eq!(decided(text), decision, "{text}");
        }
    }
}
