//! The same statements on a PostgreSQL that holds a tenant-only copy and through pgwicket: the catalogs say the same.

use std::{fs::File, process::Command};

use crate::support::{AGENT, Cluster, Login, Pgwicket, repository};

#[test]
fn psql_sees_the_catalog_that_a_tenant_only_copy_has() {
    let expected = transcript(&Cluster::tenant_copy().login(AGENT));
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let seen = transcript(&pgwicket.login());
    let differ = |one: &[String], other: &[String]| one.iter().filter(|line| !other.contains(line)).cloned().collect::<Vec<_>>();
    let (missing, unexpected) = (differ(&expected, &seen), differ(&seen, &expected));
    assert!(expected.len() > 150, "{} lines", expected.len());
    assert!(missing.is_empty() && unexpected.is_empty(), "only directly: {missing:#?}\nonly through pgwicket: {unexpected:#?}");
}

/// What psql prints, less what docs/CATALOG.md says is otherwise.
fn transcript(login: &Login) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transcript");
    let file = File::create(&path).unwrap();
    let mut psql = Command::new("psql");
    login.environment(&mut psql);
    psql.args(["-X", "-a", "-f"]).arg(repository("tests/catalog/compare.sql"));
    assert!(psql.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap().success());
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<String> = text.lines().map(|line| alike(line, &login.database)).collect();
    // The copy has two indexes more, each described in three lines.
    let index = |line: &String| line.contains("_idx") || INDEXES.contains(&line.as_str());
    // A psql older than the server asks for columns that are gone (`\\l` of 15 on 17); a server's hints are not passed on.
    lines.into_iter().filter(|line| !index(line) && !line.starts_with("HINT:")).collect()
}

/// How psql describes the indexes of the copy that are no keys.
const INDEXES: [&str; 3] =
    ["amount|numeric(12,2)|yes|amount", "customer_id|bigint|yes|customer_id", "btree, for table \"external_support.tickets\""];

/// The line without the name of the database, and without who owns something.
fn alike(line: &str, database: &str) -> String {
    // The copy's foreign keys were not checked.
    let line = line.replace(" NOT VALID", "");
    let mut fields: Vec<&str> = line.split('|').map(|field| if field == database { "DATABASE" } else { field }).collect();
    if fields.len() == 4 && matches!(fields[2], "table" | "view" | "index") || fields.len() == 5 && fields[2] == "index" {
        fields[3] = "OWNER";
    } else if fields.len() == 2 && fields[0] == "external_support" {
        fields[1] = "OWNER";
    }
    fields.join("|")
}
