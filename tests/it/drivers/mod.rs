//! Real clients: each program of `tests/drivers` runs on PostgreSQL directly, over a copy that holds the
//! tenant's rows only, and through pgwicket. What it saw must be the same, line by line.
//!
//! One difference is documented and kept out of the programs: an enum travels as `text` (its OID would be
//! the source's own), so a driver that looks at type OIDs sees `text` where PostgreSQL says `ticket_status`.

mod tokio_reads;

use std::{fs::File, process::Command};

use crate::support::{AGENT, Cluster, Login, Pgwicket, repository, run};

#[test]
fn psql_sees_what_a_tenant_only_copy_shows() {
    compare(|login| {
        let directory = tempfile::tempdir().unwrap();
        let transcript = directory.path().join("transcript");
        // Errors where they happen: standard error goes into the same file.
        let file = File::create(&transcript).unwrap();
        let mut psql = Command::new("psql");
        login.environment(&mut psql);
        psql.args(["-X", "-a", "-f"]).arg("reads.sql").current_dir(repository("tests/drivers/psql"));
        let status = psql.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        assert!(status.success());
        std::fs::read_to_string(transcript).unwrap()
    });
}

#[test]
fn psycopg_in_text_sees_what_a_tenant_only_copy_shows() {
    compare(|login| python(login, &["psycopg_reads.py", "text"]));
}

#[test]
fn psycopg_in_binary_sees_what_a_tenant_only_copy_shows() {
    compare(|login| python(login, &["psycopg_reads.py", "binary"]));
}

#[test]
fn asyncpg_sees_what_a_tenant_only_copy_shows() {
    compare(|login| python(login, &["asyncpg_reads.py"]));
}

#[test]
fn node_postgres_sees_what_a_tenant_only_copy_shows() {
    compare(|login| {
        let mut node = Command::new("node");
        node.args(["--no-deprecation", "reads.js"]).current_dir(repository("tests/drivers/node"));
        login.environment(&mut node);
        run(&mut node).ok()
    });
}

#[test]
fn tokio_postgres_sees_what_a_tenant_only_copy_shows() {
    compare(tokio_reads::transcript);
}

fn python(login: &Login, arguments: &[&str]) -> String {
    let mut python = Command::new(repository(".venv/bin/python"));
    python.args(arguments).current_dir(repository("tests/drivers/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    login.environment(&mut python);
    run(&mut python).ok()
}

#[track_caller]
fn compare(program: impl Fn(&Login) -> String) {
    let expected = program(&Cluster::tenant_copy().login(AGENT));
    assert!(expected.lines().count() > 50, "the program did next to nothing:\n{expected}");
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let seen = program(&pgwicket.login());
    let (missing, unexpected) = (less(&expected, &seen), less(&seen, &expected));
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "only directly ({}):\n{}\n\nonly through pgwicket ({}):\n{}",
        missing.len(),
        missing.join("\n"),
        unexpected.len(),
        unexpected.join("\n")
    );
    assert_eq!(expected, seen, "the same lines in another order");
}

/// The lines of the first text that the second does not have, or not as often.
fn less<'a>(first: &'a str, second: &str) -> Vec<&'a str> {
    let mut rest: Vec<&str> = second.lines().collect();
    first.lines().filter(|line| rest.iter().position(|other| other == line).map(|at| rest.swap_remove(at)).is_none()).collect()
}
