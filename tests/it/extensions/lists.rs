//! The reviewed lists against what is installed: every member of each extension is on its list, as it is, on every version of
//! PostgreSQL that the tests run on. `pgvector` and `PostGIS` are looked at where they are installed (`scripts/lib.sh`).

use std::sync::Arc;

use pgwicket::{
    policy::SourceTls,
    source::{SourceAddress, introspect},
    sql::{
        allow::{REVIEWED, reviewed_extension},
        catalog::CatalogSnapshot,
    },
    types::Secret,
};

use crate::support::{Cluster, Database, block_on};

/// The catalog as the reader sees it.
pub(super) fn catalog(source: &Database) -> Arc<CatalogSnapshot> {
    let url = Secret::new(source.login("pgwicket_reader").url());
    let address = SourceAddress {
        url: &url,
        tls: SourceTls::Disable,
        root_certificates: None,
        statement_timeout: std::time::Duration::from_secs(20),
        lock_timeout: std::time::Duration::from_secs(5),
        idle_in_transaction_timeout: std::time::Duration::from_secs(20),
    };
    Arc::new(block_on(introspect(&address)).unwrap().catalog)
}

#[test]
fn every_member_of_an_installed_extension_was_reviewed_as_it_is() {
    let source = Cluster::fresh_desk();
    let available = source.sql("select name from pg_available_extensions");
    let installed: Vec<&str> = REVIEWED.into_iter().filter(|name| available.lines().any(|line| line == *name)).collect();
    assert!(installed.len() >= 4, "{installed:?}");
    for name in &installed {
        source.sql(&format!(
            "create schema ext_{name}; create extension {name} schema ext_{name}; grant usage on schema ext_{name} to public"
        ));
    }
    let catalog = catalog(&source);
    let resolution = catalog.extensions.resolution();
    assert_eq!(resolution.unused().collect::<Vec<_>>(), []);
    assert_eq!(resolution.path().len(), installed.len());
    for extension in &catalog.extensions.installed {
        let list = reviewed_extension(&extension.name).unwrap();
        for function in &extension.functions {
            let known = list.function(&function.name, &function.arguments);
            let known = known.unwrap_or_else(|| panic!("{}: {}({})", extension.name, function.name, function.arguments));
            assert_eq!(known.volatility, function.volatility, "{}: {}({})", extension.name, function.name, function.arguments);
        }
        for operator in &extension.operators {
            let known = list.operator(&operator.name, &operator.arguments).map(|(volatility, _)| volatility);
            assert_eq!(known, Some(operator.volatility), "{}: {}({})", extension.name, operator.name, operator.arguments);
        }
        for of in extension.types.values() {
            assert!(list.has_type(&of.name), "{}: {}", extension.name, of.name);
        }
    }
}
