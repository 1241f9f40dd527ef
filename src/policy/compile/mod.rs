//! Bundle + secrets + catalogs → [`PolicySet`], or everything that is wrong.

mod agent;
mod approvals;
mod filter;
mod identity;
mod names;
mod relation;
mod reviewer;
mod settlement;
mod source;
mod tenant;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Bundle, ExposedSchema, PolicyErrors, PolicySet, Problem, Severity, Source,
    problem::{Place, Problems},
    reference::{Reference, Resolved},
};
use crate::{
    sql::catalog::CatalogSnapshot,
    types::{PolicyEpoch, Secret, SourceName},
};

/// A policy that compiled, and what a person should look at.
#[derive(Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: PolicySet,
    /// Warnings, by place.
    pub warnings: Vec<Problem>,
}

/// What the outside gave.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What `config` read for the references.
    pub resolved: &'a Resolved,
    /// The catalog of each source, as introspected or saved.
    pub catalogs: &'a BTreeMap<SourceName, Arc<CatalogSnapshot>>,
}

/// Compiles for serving: every reference must be resolved, every source must have its catalog.
pub fn compile(bundle: &Bundle, inputs: Inputs<'_>, epoch: PolicyEpoch) -> Result<Compiled, PolicyErrors> {
    let (policy, problems) = run(bundle, inputs, epoch, Purpose::Serve);
    match policy {
        Some(policy) => Ok(Compiled { policy, warnings: problems }),
        None => Err(PolicyErrors(problems)),
    }
}

/// Checks without serving: what cannot be resolved here is a warning, sources without a catalog are checked by
/// structure only. The policy comes out when nothing is wrong and every catalog was there; it explains and
/// tests statements, but an agent whose secret is missing cannot log in with it.
pub fn check(bundle: &Bundle, inputs: Inputs<'_>) -> (Option<PolicySet>, Vec<Problem>) {
    run(bundle, inputs, PolicyEpoch(0), Purpose::Check)
}

/// The sources as they are to be connected to, their catalogs still empty: for introspection.
pub fn sources(bundle: &Bundle, resolved: &Resolved) -> Result<Vec<Source>, PolicyErrors> {
    sources_for(bundle, resolved, Purpose::Serve)
}

/// As [`sources`], for whoever has a URL of its own: one that cannot be resolved here is empty.
pub fn sources_without_urls(bundle: &Bundle, resolved: &Resolved) -> Result<Vec<Source>, PolicyErrors> {
    sources_for(bundle, resolved, Purpose::Check)
}

fn sources_for(bundle: &Bundle, resolved: &Resolved, purpose: Purpose) -> Result<Vec<Source>, PolicyErrors> {
    let inputs = Inputs { resolved, catalogs: &BTreeMap::new() };
    let mut compiler = Compiler { inputs, purpose, problems: Problems::default() };
    let sources: Vec<Source> =
        bundle.document.sources.iter().filter_map(|(name, source)| source::compile(&mut compiler, name, source)).collect();
    if compiler.problems.errors() > 0 { Err(PolicyErrors(compiler.problems.sorted())) } else { Ok(sources) }
}

fn run(bundle: &Bundle, inputs: Inputs<'_>, epoch: PolicyEpoch, purpose: Purpose) -> (Option<PolicySet>, Vec<Problem>) {
    let mut compiler = Compiler { inputs, purpose, problems: bundle.problems.clone() };
    let document = &bundle.document;
    let mut sources = BTreeMap::new();
    for (name, source) in document.sources.iter() {
        if let Some(source) = source::compile(&mut compiler, name, source) {
            sources.insert(source.name.clone(), Arc::new(source));
        }
    }
    let schemas: BTreeMap<&str, Arc<ExposedSchema>> = document
        .schemas
        .iter()
        .filter_map(|(name, schema)| Some((name.value.as_str(), Arc::new(relation::schema(&mut compiler, bundle, name, schema)?))))
        .collect();
    let mut agents = BTreeMap::new();
    for (name, agent) in document.agents.iter() {
        if let Some(agent) = agent::compile(&mut compiler, bundle, &schemas, name, agent) {
            agents.insert(agent.name.clone(), Arc::new(agent));
        }
    }
    let reviewers = reviewer::compile(&mut compiler, bundle);
    let approvals = approvals::compile(&mut compiler, bundle);
    let approvals_valid_for = approvals::valid_for(&mut compiler, bundle);
    let deployment = reviewer::deployment(&mut compiler, bundle);
    let settlements = settlement::compile(&mut compiler, bundle, &schemas);
    approvals::uncovered(&mut compiler, bundle);
    emptiness(&mut compiler, bundle);
    let complete = sources.keys().all(|name| inputs.catalogs.contains_key(name));
    if purpose == Purpose::Serve && !complete {
        compiler.problems.error(&bundle.whole, "not every source has a catalog").hint("introspect the sources first");
    }
    let policy = (compiler.problems.errors() == 0 && complete).then_some(PolicySet {
        epoch,
        digest: bundle.digest,
        sources,
        agents,
        reviewers,
        approvals,
        settlements,
        approvals_valid_for,
        deployment,
    });
    (policy, compiler.problems.sorted())
}

fn emptiness(compiler: &mut Compiler<'_>, bundle: &Bundle) {
    let document = &bundle.document;
    let nothing = document.sources.names().next().is_none() && document.agents.names().next().is_none();
    let nothing = nothing && document.reviewers.names().next().is_none() && document.approvals.is_none();
    if nothing && compiler.problems.errors() == 0 {
        compiler.problems.error(&bundle.whole, "the policy is empty").hint("define `sources`, `schemas` and `agents`; see docs/POLICY.md");
    } else if document.agents.names().next().is_none() && compiler.problems.errors() == 0 {
        compiler.problems.warn(&bundle.whole, "no agents: nobody can connect").hint("define `agents`");
    }
    let used: BTreeSet<&str> = document.agents.iter().flat_map(|(_, agent)| agent.schemas.iter().map(|name| name.value.as_str())).collect();
    for name in document.schemas.names().filter(|name| !used.contains(name.value.as_str())) {
        compiler.problems.warn(&name.at, format!("no agent uses the schema `{}`", name.value));
    }
}

/// What the compiled policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    Check,
}

struct Compiler<'a> {
    inputs: Inputs<'a>,
    purpose: Purpose,
    problems: Problems,
}

impl Compiler<'_> {
    /// The value of a reference. In a check a missing one is only a warning, and `None`.
    fn resolve(&mut self, reference: &Reference, at: &Place) -> Option<Secret> {
        let why = match self.inputs.resolved.get(reference) {
            Some(Ok(secret)) => return Some(secret.clone()),
            Some(Err(why)) => why.clone(),
            None => "it was not read".to_owned(),
        };
        let message = format!("`{reference}` cannot be resolved: {why}");
        match self.purpose {
            Purpose::Serve => self.problems.error(at, message),
            Purpose::Check => self.problems.warn(at, format!("{message}; serving needs it")),
        };
        None
    }

    /// Whether a missing secret ends the compilation of what needs it.
    fn serving(&self) -> bool {
        self.purpose == Purpose::Serve
    }

    fn catalog(&self, source: &SourceName) -> Option<Arc<CatalogSnapshot>> {
        self.inputs.catalogs.get(source).cloned()
    }
}

/// Whether nothing in `problems` is an error.
pub fn clean(problems: &[Problem]) -> bool {
    problems.iter().all(|problem| problem.severity != Severity::Error)
}
