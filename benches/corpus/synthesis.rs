//! A policy that exposes every relation a statement names, with every column name the statement uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::tally::Outcome;
use pgwicket::{
    govern::{RefusalCode, Request, govern, structure},
    policy::{
        Agent, AgentAuth, Durability, EvidenceRows, ExposedColumn, ExposedRelation, ExposedSchema, Limits, OnLimit, PolicySet, Source,
        SourceTls, TenantRule,
    },
    sql::{Node, Tree, catalog::CatalogSnapshot},
    types::{AgentName, Digest, PolicyEpoch, Secret, SourceName, TenantId},
};

const TEXT: u32 = 25;
/// The alias schema of names without one.
const HOME: &str = "corpus";

/// The policy for one statement.
pub(crate) struct Synthesis {
    policy: PolicySet,
    agent: Arc<Agent>,
    /// How many relations the statement names (those it names as CTEs too).
    pub(crate) relations: usize,
    /// Whether it reads PostgreSQL's own catalog.
    pub(crate) names_the_catalog: bool,
}

/// The names a statement uses.
#[derive(Debug, Default)]
struct Names {
    /// Schema (empty: none) and name.
    relations: BTreeSet<(String, String)>,
    columns: BTreeSet<String>,
    common_tables: BTreeSet<String>,
}

impl Names {
    fn of(tree: &Tree) -> Self {
        let mut names = Self::default();
        tree.each(&mut |node| names.note(node));
        names
    }

    fn note(&mut self, node: &Node) {
        let text = |field| node.text(field).unwrap_or_default().to_owned();
        match node.kind {
            "RangeVar" => {
                self.relations.insert((text("schemaname"), text("relname")));
            }
            "CommonTableExpr" => {
                self.common_tables.insert(text("ctename"));
            }
            "ColumnRef" => {
                let fields = node.list("fields").unwrap_or_default();
                self.columns.extend(fields.last().and_then(Tree::string).map(str::to_owned));
            }
            "JoinExpr" => {
                let using = node.list("using_clause").unwrap_or_default();
                self.columns.extend(using.iter().filter_map(Tree::string).map(str::to_owned));
            }
            _ => {}
        }
    }

    /// Names of relations are whole rows where they stand as a column.
    fn columns(&self) -> Vec<&str> {
        let is_relation = |name: &str| self.relations.iter().any(|(_, relation)| relation == name);
        let mut columns: Vec<_> = self.columns.iter().map(String::as_str).filter(|name| !is_relation(name)).collect();
        if !columns.contains(&"id") {
            columns.push("id");
        }
        columns
    }

    fn names_the_catalog(&self) -> bool {
        self.relations.iter().any(|(schema, name)| {
            name.starts_with("pg_") || matches!(schema.as_str(), "pg_catalog" | "information_schema" | "pg_toast" | "pg_temp")
        })
    }
}

impl Synthesis {
    /// The policy for a parsed statement.
    #[expect(clippy::expect_used, reason = "the names are literals of this file")]
    pub(crate) fn of(tree: &Tree) -> Self {
        let names = Names::of(tree);
        let source: SourceName = "corpus".parse().expect("a name");
        let columns = names.columns();
        let mut schemas: BTreeMap<&str, ExposedSchema> = BTreeMap::new();
        for (schema, name) in &names.relations {
            let schema = if schema.is_empty() { HOME } else { schema };
            let relation = relation(schema, name, &columns, &source);
            schemas
                .entry(schema)
                .or_insert_with(|| ExposedSchema { name: schema.into(), source: source.clone(), relations: BTreeMap::new() })
                .relations
                .insert(name.as_str().into(), Arc::new(relation));
        }
        let agent = Arc::new(agent("corpus".parse().expect("a name"), "acme".parse().expect("a name"), schemas));
        let policy = PolicySet {
            sources: BTreeMap::from([(source.clone(), Arc::new(self::source(source)))]),
            agents: BTreeMap::from([(agent.name.clone(), Arc::clone(&agent))]),
            ..PolicySet::empty(PolicyEpoch(1), Digest([0; 32]))
        };
        let base = names.relations.iter().filter(|(schema, name)| !schema.is_empty() || !names.common_tables.contains(name));
        Self { policy, agent, relations: base.count(), names_the_catalog: names.names_the_catalog() }
    }

    /// Governs the statement, with the allow-lists or with them aside; a refusal as the class of its message.
    pub(crate) fn govern(&self, text: &str, lists: bool) -> Outcome {
        let search_path = [HOME.into()];
        let request =
            Request { text, declared_types: &[], agent: &self.agent, policy: &self.policy, search_path: &search_path, database: "db" };
        let outcome = if lists { govern(&request).map(|_| ()) } else { structure(&request).map(|_| ()) };
        let Err(refusal) = outcome else { return Outcome::Accepted };
        let reason = format!("{} {}", refusal.code.sqlstate(), general(&refusal.message, lists));
        if refusal.code == RefusalCode::UndefinedFunction { Outcome::Undefined(reason) } else { Outcome::Refused(reason) }
    }
}

/// A message without the names in it, so that like refusals count together.
fn general(message: &str, keep_names: bool) -> String {
    if keep_names {
        return message.to_owned();
    }
    message.split('"').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "\"…\"" }).collect()
}

fn relation(schema: &str, name: &str, columns: &[&str], source: &SourceName) -> ExposedRelation {
    let column = |name: &&str| ExposedColumn {
        name: (*name).into(),
        type_oid: TEXT,
        base_type_oid: TEXT,
        type_name: "text".into(),
        not_null: false,
        deterministic_collation: true,
        collation: Some(100),
        stored: true,
        mask: None,
        description: None,
    };
    ExposedRelation {
        schema: schema.into(),
        name: name.into(),
        source: source.clone(),
        real_schema: "public".into(),
        real_name: name.into(),
        columns: columns.iter().map(column).collect(),
        tenant: TenantRule::Column { name: "tenant_id".into(), type_oid: TEXT, type_name: "text".into() },
        filter: None,
        primary_key: Vec::new(),
        max_rows: None,
        max_bytes: None,
        on_limit: OnLimit::Error,
        evidence: EvidenceRows::Digest,
        description: None,
        writes: None,
    }
}

fn agent(name: AgentName, tenant: TenantId, schemas: BTreeMap<&str, ExposedSchema>) -> Agent {
    Agent {
        visible: Arc::default(),
        name,
        session_token: None,
        auth: AgentAuth::ScramPassword(Secret::new("unused")),
        tenant: Some(tenant),
        schemas: schemas.into_values().map(Arc::new).collect(),
        functions: Vec::new(),
        allow_explain: false,
        statement_timeout: Duration::ZERO,
        max_connections: 1,
        limits: Limits::default(),
        durability: Durability::Group,
        evidence_parameters: false,
    }
}

fn source(name: SourceName) -> Source {
    Source {
        name,
        url: Secret::new("postgresql://unused"),
        tls: SourceTls::Disable,
        root_certificates: None,
        pool_max: 1,
        pool_wait: Duration::ZERO,
        statement_timeout: Duration::ZERO,
        lock_timeout: Duration::ZERO,
        idle_in_transaction_timeout: Duration::ZERO,
        transaction_timeout: Duration::ZERO,
        allow_writable_credential: false,
        worker: pgwicket::policy::AppliedBy::Ours,
        catalog: Arc::new(CatalogSnapshot { server_version: 150_000, ..CatalogSnapshot::default() }),
    }
}
