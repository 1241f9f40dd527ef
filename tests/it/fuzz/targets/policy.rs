//! Policy files.

use std::{collections::BTreeMap, sync::Arc};

use pgwicket::{
    govern::{Request, govern},
    policy::{Bundle, Inputs, PolicyFile, PolicySet, check},
    sql::catalog::CatalogSnapshot,
    types::Secret,
};

/// `policies/support.yaml` and what its source looks like.
pub(crate) const SUPPORT: &str = include_str!("../../../../policies/support.yaml");
const CATALOG: &str = include_str!("../../../../policies/.catalog/app_postgres.json");

/// Stands for every secret: a URL where one is asked for.
const SECRET: &str = "postgresql://reader:a-secret-of-a-test@localhost/app";

/// No text makes the reader or the compiler panic; a policy that compiles shows nothing the catalog does not have, and
/// every relation of it can be read.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some(policy) = compiled(&text) else { return };
    for agent in policy.agents.values() {
        for relation in agent.schemas.iter().flat_map(|schema| schema.relations.values()) {
            let catalog = &policy.sources[&relation.source].catalog;
            let known = catalog.relations.iter().find(|known| known.schema == *relation.real_schema && known.name == *relation.real_name);
            let known = known.unwrap_or_else(|| panic!("{} is of a relation that is not there", relation.name));
            for column in &relation.columns {
                assert!(known.columns.iter().any(|there| there.name == *column.name), "{}.{} is not there", relation.name, column.name);
            }
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let read = format!("select * from {}.{}", quoted(&relation.schema), quoted(&relation.name));
            let request = Request { text: &read, declared_types: &[], agent, policy: &policy, search_path: &[], database: "db" };
            let statement = govern(&request).unwrap_or_else(|refusal| panic!("{read}: {refusal:?}"));
            assert!(pg_query::parse(statement.text(), pg_query::ParserOptions::DEFAULT).is_ok(), "{}", statement.text());
        }
    }
}

/// A policy over the support desk's catalog, every secret given.
pub(crate) fn compiled(text: &str) -> Option<PolicySet> {
    let bundle = Bundle::parse(vec![PolicyFile { name: "policy.yaml".into(), text: text.to_owned() }]);
    let resolved = bundle.references().into_iter().map(|reference| (reference, Ok(Secret::new(SECRET)))).collect();
    let catalog: Arc<CatalogSnapshot> = shared_catalog();
    let catalogs: BTreeMap<_, _> =
        bundle.source_names().into_iter().filter_map(|name| Some((name.parse().ok()?, Arc::clone(&catalog)))).collect();
    let (policy, problems) = check(&bundle, Inputs { resolved: &resolved, catalogs: &catalogs });
    for problem in problems {
        assert!(!problem.to_string().contains(SECRET), "{problem}");
    }
    policy
}

fn shared_catalog() -> Arc<CatalogSnapshot> {
    static SHARED: std::sync::LazyLock<Arc<CatalogSnapshot>> =
        std::sync::LazyLock::new(|| Arc::new(serde_json::from_str(CATALOG).unwrap()));
    Arc::clone(&SHARED)
}
