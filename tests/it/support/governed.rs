//! Governing without a server: the policy compiled against a test's database, and what becomes of a statement.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pgwicket::{
    app::load_policy,
    config::{Environment, Process},
    govern::{GovernedStatement, Refusal, Request, govern},
    policy::{Bundle, Inputs, PolicyFile, PolicySet, check, clean, compile, sources},
    source::{SourceAddress, introspect},
    sql::catalog::CatalogSnapshot,
    types::{PolicyEpoch, SourceName},
};

use super::{Database, pgwicket::environment, repository};

/// The environment that a served pgwicket gets.
struct Given(BTreeMap<String, String>);

impl Environment for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Process.read(path)
    }

    fn files(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Process.files(directory)
    }

    fn directories(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Process.directories(directory)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        Process.write(path, content)
    }
}

/// `policies/support.yaml`, compiled against this database.
pub(crate) fn policy(source: &Database) -> PolicySet {
    policy_at(source, &repository("policies/support.yaml"))
}

/// The policy at a path, compiled against this database.
pub(crate) fn policy_at(source: &Database, path: &Path) -> PolicySet {
    let loaded = load_policy(&Given(environment(source)), path).unwrap();
    let catalogs = catalogs(source, path);
    compile(&loaded.bundle, Inputs { resolved: &loaded.resolved, catalogs: &catalogs }, PolicyEpoch(1)).unwrap().policy
}

/// The catalogs of the sources of the policy at a path.
pub(crate) fn catalogs(source: &Database, path: &Path) -> BTreeMap<SourceName, Arc<CatalogSnapshot>> {
    let loaded = load_policy(&Given(environment(source)), path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let catalogs = sources(&loaded.bundle, &loaded.resolved).unwrap().into_iter().map(|source| {
        let address = SourceAddress {
            url: &source.url,
            tls: source.tls,
            root_certificates: None,
            statement_timeout: source.statement_timeout,
            lock_timeout: source.lock_timeout,
            idle_in_transaction_timeout: source.idle_in_transaction_timeout,
        };
        (source.name.clone(), Arc::new(runtime.block_on(introspect(&address)).unwrap().catalog))
    });
    catalogs.collect()
}

/// Whether nothing is wrong with the text of a policy over these catalogs.
pub(crate) fn is_taken(text: &str, catalogs: &BTreeMap<SourceName, Arc<CatalogSnapshot>>) -> bool {
    let bundle = Bundle::parse(vec![PolicyFile { name: "policy.yaml".into(), text: text.to_owned() }]);
    let (_, problems) = check(&bundle, Inputs { resolved: &BTreeMap::new(), catalogs });
    clean(&problems)
}

/// What this agent's statement becomes.
pub(crate) fn governed(policy: &PolicySet, agent: &str, text: &str) -> Result<Arc<GovernedStatement>, Refusal> {
    let agent = &policy.agents[&agent.parse().unwrap()];
    let search_path: Vec<Box<str>> = agent.schemas.iter().map(|schema| schema.name.clone()).collect();
    govern(&Request { text, declared_types: &[], agent, policy, search_path: &search_path, database: "db" })
}
