//! Twins: sources that differ in what an agent may not see, a pgwicket before each, and a copy that holds what it may see.

use std::{collections::BTreeSet, fmt::Write as _, fs, sync::Mutex};

use super::relations::{Relation, relations};
use crate::support::{AGENT, Cluster, Database, Login, PASSWORD, Pgwicket, governed, repository, run};

/// A name, and settings.
type Profile = (&'static str, &'static [&'static str]);

/// How a source's planner is led: the roles that pgwicket reads as have these settings.
pub(super) const PROFILES: &[Profile] = &[
    ("usual", &[]),
    (
        "eager",
        &["seq_page_cost = 20", "random_page_cost = 0.1", "cpu_operator_cost = 0.05", "enable_seqscan = off", "enable_hashjoin = off"],
    ),
    ("scans", &["enable_indexscan = off", "enable_bitmapscan = off", "enable_indexonlyscan = off", "enable_nestloop = off"]),
    (
        "parallel",
        &["parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0", "min_parallel_index_scan_size = 0"],
    ),
    (
        "written",
        &["from_collapse_limit = 1", "join_collapse_limit = 1", "enable_mergejoin = off", "enable_material = off", "enable_memoize = off"],
    ),
    ("generic", &["plan_cache_mode = force_generic_plan", "jit = on", "jit_above_cost = 0", "enable_sort = off", "enable_hashagg = off"]),
];

/// The twins.
pub(super) struct Places {
    pub(super) without: Pgwicket,
    pub(super) with: Pgwicket,
    pub(super) copy: Login,
    /// The twins themselves, as pgwicket reads them.
    pub(super) sources: [Login; 2],
    /// Writers of other tenants, where there are any.
    pub(super) writers: Vec<Login>,
    /// One case with writers at a time.
    pub(super) writing: Mutex<()>,
    /// Relations that the policy's compiler does not take.
    pub(super) refused: BTreeSet<String>,
    pub(super) version: u32,
}

impl Places {
    pub(super) fn start() -> Self {
        // The cluster's roles come with the support desk.
        let _desk = Cluster::desk();
        let _copy = Cluster::tenant_copy();
        let types = Cluster::fresh("channels");
        fill(&types, "without", true);
        let [without, with, copy] = ["without", "with", "copy"].map(|side| {
            let database = Cluster::copy_of(&types);
            fill(&database, side, false);
            database
        });
        roles(&[&without, &with]);
        let (taken, refused) = taken(&without);
        for relation in &taken {
            if let Some(text) = &relation.copied {
                copy.sql(&if relation.name == "g" { format!("create schema s; {text}") } else { text.clone() });
            }
        }
        copy.sql(&format!(
            "grant usage on schema s to {AGENT}; grant select on all tables in schema s to {AGENT}; analyze;
             alter role {AGENT} in database {} set search_path = s; alter role {AGENT} in database {0} set default_transaction_read_only = on",
            copy.name
        ));
        let policy = policy(&taken, PROFILES);
        let serve = |source: &Database| {
            let urls: Vec<(String, String)> =
                PROFILES[1..].iter().map(|(name, _)| (variable(name), source.login(&reader(name)).url())).collect();
            let urls: Vec<(&str, &str)> = urls.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
            Pgwicket::start_with_policy_and_variables(source, &policy, &urls)
        };
        Self {
            without: serve(&without),
            with: serve(&with),
            copy: copy.login(AGENT),
            sources: [&without, &with].map(|source| source.login("pgwicket_reader")),
            writers: vec![with.login("channels_writer"); 2],
            writing: Mutex::new(()),
            refused,
            version: with.cluster().version(),
        }
    }
}

/// The agent whose source is led so.
pub(super) fn agent(profile: &str) -> String {
    format!("agent_{profile}")
}

/// The environment's variable with the URL of a profile's source; the first is what every test's source has.
fn variable(profile: &str) -> String {
    if profile == PROFILES[0].0 { "APP_POSTGRES_URL".to_owned() } else { format!("URL_{}", profile.to_uppercase()) }
}

fn reader(profile: &str) -> String {
    format!("channels_{profile}")
}

fn fill(database: &Database, side: &str, types_only: bool) {
    let mut variables = vec![format!("side={side}"), format!("port={}", database.login("").port), format!("password={PASSWORD}")];
    if types_only {
        variables.push("types_only=1".to_owned());
    }
    let set = variables.iter().flat_map(|variable| ["-v", variable.as_str()]);
    run(database.psql().arg("-q").args(set).arg("-f").arg(repository("tests/it/channels/data.sql"))).ok();
}

/// A role for each profile, and one that writes.
fn roles(sources: &[&Database]) {
    for (profile, settings) in PROFILES {
        let role = reader(profile);
        let mut text = format!(
            "do $$ begin if to_regrole('{role}') is null then create role {role} login password '{PASSWORD}' in role pgwicket_reader; end if; end $$;"
        );
        for (source, setting) in sources.iter().flat_map(|source| settings.iter().map(move |setting| (source, setting))) {
            writeln!(text, "alter role {role} in database {} set {setting};", source.name).unwrap();
        }
        sources[0].sql(&text);
    }
    sources[0].sql(&format!(
        "do $$ begin if to_regrole('channels_writer') is null then create role channels_writer login superuser password '{PASSWORD}'; end if; end $$"
    ));
}

/// The relations that the policy's compiler takes, and the names of those that it does not.
fn taken(source: &Database) -> (Vec<Relation>, BTreeSet<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    let all = relations();
    fs::write(&path, policy(&all[..1], &PROFILES[..1])).unwrap();
    let catalogs = governed::catalogs(source, &path);
    let (taken, refused): (Vec<Relation>, Vec<Relation>) =
        all.into_iter().partition(|relation| governed::is_taken(&policy(std::slice::from_ref(relation), &PROFILES[..1]), &catalogs));
    (taken, refused.into_iter().map(|relation| relation.name).collect())
}

/// The policy over these relations, with an agent for each of these profiles.
fn policy(relations: &[Relation], profiles: &[Profile]) -> String {
    let mut text = String::from("mask_key: \"env:MASK_KEY\"\nsources:\n");
    for (profile, _) in profiles {
        writeln!(
            text,
            "  {profile}: {{ kind: postgres, url: \"env:{}\", ssl: disable, pool: {{ max: 4 }}, statement_timeout: 5s }}",
            variable(profile)
        )
        .unwrap();
    }
    text.push_str("schemas:\n");
    for (profile, _) in profiles {
        writeln!(text, "  {profile}:\n    source: {profile}\n    relations:").unwrap();
        for relation in relations {
            writeln!(text, "      {}: {{ {} }}", relation.name, relation.written).unwrap();
        }
    }
    text.push_str("agents:\n");
    for (profile, _) in profiles {
        writeln!(text, "  {}: {{ auth: {{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }}, tenant: acme, schemas: [{profile}] }}", agent(profile))
            .unwrap();
    }
    text
}
