//! `docs/CLIENTS.md`: its rows are made by the tests that ran. `PGWICKET_CLIENTS=write` makes them anew; otherwise a row that is
//! missing, or not what ran, fails its test.

use std::{fs, sync::Mutex};

use crate::support::repository;

/// Tests run at the same time.
static FILE: Mutex<()> = Mutex::new(());

/// A client that was driven, and gave the same transcript on a tenant-only copy and through pgwicket.
pub(super) fn row(name: &str, version: &str, driven: &str, steps: usize) {
    let row = format!("| {name} | {version} | {driven} | {steps} steps, the same as on a tenant-only copy |");
    let _alone = FILE.lock().unwrap();
    let path = repository("docs/CLIENTS.md");
    let text = fs::read_to_string(&path).unwrap();
    if std::env::var_os("PGWICKET_CLIENTS").is_none() {
        assert!(text.contains(&row), "docs/CLIENTS.md lacks this row; PGWICKET_CLIENTS=write writes it:\n{row}");
        return;
    }
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| client |");
    let key = format!("| {name} |");
    let mut rows: Vec<&str> = text.lines().filter(is_row).filter(|line| !line.starts_with(&key)).collect();
    rows.push(&row);
    rows.sort_by_key(|row| row.to_lowercase());
    let (before, after) = text.split_once("|---|---|---|---|\n").unwrap();
    let after: Vec<&str> = after.lines().skip_while(is_row).collect();
    fs::write(&path, format!("{before}|---|---|---|---|\n{}\n{}\n", rows.join("\n"), after.join("\n"))).unwrap();
}

/// The version of a crate, by `Cargo.lock`.
pub(super) fn crate_version(name: &str) -> String {
    let lock = fs::read_to_string(repository("Cargo.lock")).unwrap();
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}
