//! `pgwicket prove`: isolation, shown on the operator's own staging source and policy. It looks at the credential, starts
//! a pgwicket of its own, is each agent in turn, and holds what comes back against what the source says itself.

mod client;
mod credential;
mod effects;
mod finding;
mod generate;
mod hidden;
mod imitation;
mod noninterference;
mod reference;
mod report;
mod rows;
mod sarif;
mod scratch;
mod served;
mod session;
mod statements;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    client::Client,
    finding::{CHECKS, Check, Findings, NONINTERFERENCE, Severity},
    noninterference::Subject,
    report::Header,
    scratch::Scratch,
    served::Served,
    session::{Probe, Run},
};
use crate::{
    app::{self, LoadedPolicy},
    config::{self, Environment as _, Process},
    policy::{self, Agent, AgentAuth, ExposedRelation, Inputs, PolicySet},
    source::{self, SourceAddress},
    types::{PolicyEpoch, Secret},
};

/// Reads only, except in a scratch server that `--scratch-url` names. Run it against staging: its statements scan tables.
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// Directory of the policy files, or one file
    #[arg(long, value_name = "PATH", default_value = "policies", env = "PGWICKET_POLICIES")]
    policies: PathBuf,
    /// Only this agent; give it more than once for more of them [default: all]
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// Generated statements for each agent
    #[arg(long, value_name = "N", default_value_t = 500)]
    statements: usize,
    /// Seed of what is generated; the report has it [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the findings as SARIF 2.1.0 too
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// URL of a scratch server, `env:NAME`, whose role may create databases and roles: run noninterference there
    #[arg(long, value_name = "env:NAME", value_parser = variable)]
    scratch_url: Option<String>,
}

/// The name in `env:NAME`.
fn variable(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("env:").filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| "a URL is a secret: put it into an environment variable and write env:NAME".to_owned())
}

impl Prove {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = app::load_policy(&Process, &self.policies)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut scratch = None;
            // Whichever way this ends, what was started is dropped: the child ends and its directory goes.
            let ended = tokio::select! {
                code = self.prove(&loaded, &mut scratch) => code,
                _ = interrupt.recv() => Err(anyhow!("interrupted")),
                _ = terminate.recv() => Err(anyhow!("terminated")),
            };
            if let Some(scratch) = &mut scratch
                && let Err(error) = scratch.remove().await
            {
                super::report(&error.context("what the run made in the scratch server is still there"));
            }
            ended
        })
    }

    async fn prove(&self, loaded: &LoadedPolicy, scratch: &mut Option<Scratch>) -> anyhow::Result<ExitCode> {
        let policy = compiled(loaded).await?;
        let unknown: Vec<&String> = self.agent.iter().filter(|name| !policy.agents.keys().any(|known| known.as_str() == **name)).collect();
        if let Some(name) = unknown.first() {
            super::report(&anyhow!("the policy has no agent {name}"));
            return Ok(ExitCode::from(2));
        }
        let mut run = Run {
            policy: &policy,
            bundle: &loaded.bundle,
            directory: &loaded.directory,
            seed: self.seed.unwrap_or_else(|| rand::random_range(0..1_000_000)),
            statements: self.statements,
            findings: Findings::default(),
            inspectors: BTreeMap::new(),
        };
        for source in policy.sources.values() {
            credential::look(&mut run, source).await?;
        }
        let agents: Vec<&Arc<Agent>> = policy
            .agents
            .values()
            .filter(|agent| self.agent.is_empty() || self.agent.iter().any(|name| name == agent.name.as_str()))
            .collect();
        let received = self.probe(&mut run, &agents).await? + self.noninterference(&mut run, &agents, scratch).await?;
        let names = agents.iter().map(|agent| agent.name.as_str().to_owned()).collect();
        let header = Header::of(&run, self.policies.display().to_string(), names, received);
        self.write(&header, &run)?;
        Ok(if run.findings.count(Severity::Error) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Everything that goes through pgwicket. The bytes that agents received.
    async fn probe(&self, run: &mut Run<'_>, agents: &[&Arc<Agent>]) -> anyhow::Result<u64> {
        let served = match Served::start(&self.policies, &BTreeMap::new()).await {
            Ok(served) => served,
            Err(error) => {
                for check in probed() {
                    run.findings.skip(
                        check,
                        "every agent",
                        format!("{error:#}"),
                        "make `pgwicket serve` start with this policy and environment first",
                    );
                }
                return Ok(0);
            }
        };
        let mut received = 0;
        for agent in agents {
            let scope = scope(agent);
            let Some(password) = password(agent) else {
                let how = format!("set {} to its password", password_variable(agent));
                for check in probed() {
                    run.findings.skip(check, &scope, "the policy has only a verifier of the agent's password", &how);
                }
                continue;
            };
            let client = Client::connect(served.port, agent.name.as_str(), &password).await?;
            let mut probe = Probe { agent, scope, relations: relations(agent), client, canaries: Vec::new() };
            rows::probe(run, &mut probe).await?;
            hidden::probe(run, &mut probe).await?;
            effects::probe(run, &mut probe).await?;
            statements::probe(run, &mut probe).await?;
            received += probe.client.received;
        }
        Ok(received)
    }

    /// Noninterference for each agent, where there is a scratch server. The bytes that agents received.
    async fn noninterference(&self, run: &mut Run<'_>, agents: &[&Arc<Agent>], made: &mut Option<Scratch>) -> anyhow::Result<u64> {
        let check = &NONINTERFERENCE;
        let Some(variable) = &self.scratch_url else {
            let how = "give --scratch-url env:NAME: a server where its role may create databases and roles, and nothing else is kept";
            run.findings.skip(check, "every agent", "it needs a scratch server to plant rows in", how);
            return Ok(0);
        };
        let url = Process.variable(variable).with_context(|| format!("environment variable {variable} is not set"))?;
        let policy = run.policy;
        let Some(first) = policy.sources.values().next() else { return Ok(0) };
        let scratch = made.insert(Scratch::new(Secret::new(url), first));
        scratch.role().await?;
        let mut received = 0;
        for agent in agents {
            // One without a password was said not to be run before.
            let Some(password) = password(agent) else { continue };
            let subject = Subject { agent, scope: scope(agent), password, relations: relations(agent) };
            let sources: BTreeSet<_> = subject.relations.iter().map(|relation| relation.source.clone()).collect();
            for source in sources.iter().filter_map(|name| policy.sources.get(name)) {
                received += noninterference::prove(run, &subject, scratch, source, &self.policies).await?;
            }
        }
        Ok(received)
    }

    fn write(&self, header: &Header, run: &Run<'_>) -> anyhow::Result<()> {
        super::print(&report::text(header, &run.findings));
        let write = |path: &PathBuf, value: serde_json::Value| -> anyhow::Result<()> {
            let text = serde_json::to_string_pretty(&value).context("cannot write JSON")?;
            Ok(config::save(&Process, path, &format!("{text}\n"))?)
        };
        if let Some(path) = &self.json {
            write(path, report::json(header, &run.findings))?;
        }
        if let Some(path) = &self.sarif {
            write(path, sarif::sarif(&run.findings, run.directory))?;
        }
        Ok(())
    }
}

/// The policy, compiled against the catalogs that its sources have now.
async fn compiled(loaded: &LoadedPolicy) -> anyhow::Result<PolicySet> {
    let mut catalogs = BTreeMap::new();
    for source in policy::sources(&loaded.bundle, &loaded.resolved)? {
        let found = source::introspect(&SourceAddress::from(&source)).await;
        let found = found.with_context(|| format!("source {}", source.name.as_str()))?;
        catalogs.insert(source.name, Arc::new(found.catalog));
    }
    let inputs = Inputs { resolved: &loaded.resolved, catalogs: &catalogs };
    Ok(policy::compile(&loaded.bundle, inputs, PolicyEpoch(1))?.policy)
}

/// Every relation the agent sees, once.
fn relations(agent: &Agent) -> Vec<Arc<ExposedRelation>> {
    let mut seen = BTreeSet::new();
    let all = agent.schemas.iter().flat_map(|schema| schema.relations.values());
    all.filter(|relation| seen.insert((relation.schema.clone(), relation.name.clone()))).cloned().collect()
}

/// The agent's password: the policy's secret, or for one known by a verifier only, the operator's variable.
fn password(agent: &Agent) -> Option<Secret> {
    match &agent.auth {
        AgentAuth::ScramPassword(password) => Some(password.clone()),
        AgentAuth::ScramVerifier(_) | AgentAuth::Token(..) | AgentAuth::Certificate(_) => {
            Process.variable(&password_variable(agent)).map(Secret::new)
        }
    }
}

/// The checks that need an agent to log in, noninterference apart.
fn probed() -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().copied().filter(|check| check.id.starts_with("isolation/") && **check != NONINTERFERENCE)
}

fn scope(agent: &Agent) -> String {
    format!("agent {}", agent.name.as_str())
}

fn password_variable(agent: &Agent) -> String {
    let name = agent.name.as_str().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
    format!("PGWICKET_PROVE_PASSWORD_{}", name.collect::<String>())
}
