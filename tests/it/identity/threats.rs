//! docs/security/THREATS.md: each line names the tests that hold it, and they exist.

use std::{fs, path::Path};

use crate::support::repository;

/// The text of every Rust file below a directory.
fn rust(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            rust(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&entry).unwrap());
        }
    }
}

#[test]
fn every_threat_names_tests_that_exist() {
    let threats = fs::read_to_string(repository("docs/security/THREATS.md")).unwrap();
    let mut code = String::new();
    for directory in ["src", "tests/it"] {
        rust(&repository(directory), &mut code);
    }
    let exists = |name: &str| code.contains(&format!("fn {name}("));
    assert!(!exists("no_such_test_as_this_one"));
    let rows: Vec<Vec<&str>> = threats
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| it "))
        .map(|line| line.trim_matches('|').split('|').collect())
        .collect();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let named: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || row[0].trim() == "root", "no test: {row:?}");
        for name in named {
            assert!(exists(name), "{name} is not a test");
        }
    }
}
