//! Real clients: each program of `tests/drivers` runs on PostgreSQL directly, over a copy that holds the
//! tenant's rows only, and through pgwicket. What it saw must be the same, line by line.
//!
//! One difference is documented and kept out of the programs: the copy's enum stands in another schema than the alias schema that
//! pgwicket shows it in, so these programs cast it. In [`own_types`] both are the same.

mod negotiation;
mod own_types;
mod sqlx_reads;
mod table;
mod tokio_reads;

use std::{fs::File, process::Command};

use crate::support::{AGENT, Cluster, Login, Pgwicket, repository, run};

#[test]
fn psql_sees_what_a_tenant_only_copy_shows() {
    let steps = compare(|login| {
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
    table::row("psql", &psql_version(), "reads, variables, `\\gset`, `\\gexec`, `\\crosstabview`, formats, transactions, errors", steps);
}

#[test]
fn psql_on_a_terminal_completes_watches_and_is_interrupted_as_on_a_tenant_only_copy() {
    let steps = compare(|login| python(login, &["psql_terminal.py"]));
    let driven = "completion by TAB, `\\watch`, `\\gdesc`, `\\copy`, `FETCH_COUNT`, Ctrl-C, on a pseudo-terminal";
    table::row("psql on a terminal", &psql_version(), driven, steps);
}

#[test]
fn psycopg_in_text_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["psycopg_reads.py", "text"]));
}

#[test]
fn psycopg_in_binary_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["psycopg_reads.py", "binary"]));
}

#[test]
fn psycopg2_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["psycopg2_reads.py"]));
}

#[test]
fn asyncpg_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["asyncpg_reads.py"]));
}

#[test]
fn sqlalchemy_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["sqlalchemy_orm.py"]));
}

#[test]
fn django_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["django_orm.py"]));
}

#[test]
fn ibis_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["ibis_reads.py"]));
}

#[test]
fn pgcli_sees_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["pgcli_session.py"]));
}

#[test]
fn dbd_pg_and_dbix_class_see_what_a_tenant_only_copy_shows() {
    same(|login| {
        let mut perl = Command::new("/usr/bin/perl");
        perl.arg("reads.pl").current_dir(repository("tests/drivers/perl"));
        login.environment(&mut perl);
        run(&mut perl).ok()
    });
}

#[test]
fn pandas_and_adbc_see_what_a_tenant_only_copy_shows() {
    same(|login| python(login, &["frames.py"]));
}

#[test]
fn node_postgres_sees_what_a_tenant_only_copy_shows() {
    same(|login| {
        let mut node = Command::new("node");
        node.args(["--no-deprecation", "reads.js"]).current_dir(repository("tests/drivers/node"));
        login.environment(&mut node);
        run(&mut node).ok()
    });
}

#[test]
fn slonik_sees_what_a_tenant_only_copy_shows() {
    same(|login| orm(login, "slonik"));
}

#[test]
fn typeorm_sees_what_a_tenant_only_copy_shows() {
    same(|login| orm(login, "typeorm"));
}

#[test]
fn drizzle_sees_what_a_tenant_only_copy_shows() {
    same(|login| orm(login, "drizzle"));
}

#[test]
fn pgjdbc_sees_what_a_tenant_only_copy_shows() {
    let steps = compare(|login| {
        let mut java = Command::new("java");
        // A source file is compiled and run in one go.
        java.args(["-cp", "/usr/share/java/postgresql.jar", "Reads.java"]).current_dir(repository("tests/drivers/java"));
        login.environment(&mut java);
        run(&mut java).ok()
    });
    let jar = std::fs::canonicalize("/usr/share/java/postgresql.jar").unwrap();
    let names = std::fs::read_dir(jar.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let version =
        names.filter_map(|name| Some(name.strip_prefix("postgresql-")?.strip_suffix(".jar")?.to_owned())).find(|name| name.contains('.'));
    let driven = "DatabaseMetaData, prepared statements, fetch size, batches, savepoints, arrays, COPY out, errors";
    let version = version.unwrap();
    table::row("pgjdbc", version.rsplit_once('.').unwrap().0, driven, steps);
}

#[test]
fn tokio_postgres_sees_what_a_tenant_only_copy_shows() {
    let steps = compare(tokio_reads::transcript);
    let driven = "types, text and binary, prepared statements, pipelining, portals, transactions, cancel, errors";
    table::row("tokio-postgres", &table::crate_version("tokio-postgres"), driven, steps);
}

#[test]
fn sqlx_sees_what_a_tenant_only_copy_shows() {
    let steps = compare(sqlx_reads::transcript);
    table::row(
        "sqlx",
        &table::crate_version("sqlx"),
        "pool, types, prepared statements, streams, transactions, several statements, errors",
        steps,
    );
}

/// The distribution's; its patch release is not ours to pin.
fn psql_version() -> String {
    let version = run(Command::new("psql").arg("--version")).ok();
    let version = version.split(' ').find(|word| word.starts_with(|first: char| first.is_ascii_digit())).unwrap();
    version.split_once('.').map_or(version, |(major, _)| major).to_owned()
}

fn orm(login: &Login, name: &str) -> String {
    let mut node = Command::new("node");
    node.args(["--no-deprecation", "orms.mjs", name]).current_dir(repository("tests/drivers/node-orms"));
    login.environment(&mut node);
    run(&mut node).ok()
}

fn python(login: &Login, arguments: &[&str]) -> String {
    let mut python = Command::new(repository(".venv/bin/python"));
    python.args(arguments).current_dir(repository("tests/drivers/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    login.environment(&mut python);
    run(&mut python).ok()
}

/// Compares what a program saw, which says first of which clients it is.
#[track_caller]
fn same(program: impl Fn(&Login) -> String) {
    same_on(desk(), program);
}

/// As [`same`], on servers of the test's own.
#[track_caller]
fn same_on(servers: (Login, Pgwicket), program: impl Fn(&Login) -> String) {
    let transcript = std::cell::RefCell::new(String::new());
    let steps = compare_on(servers, |login| {
        let seen = program(login);
        transcript.borrow_mut().clone_from(&seen);
        seen
    });
    let transcript = transcript.into_inner();
    let clients: Vec<serde_json::Value> = transcript
        .lines()
        .filter(|line| line.starts_with("{\"step\": \"client\"") || line.starts_with("{\"step\":\"client\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!clients.is_empty(), "the program does not say which client it is");
    for client in clients {
        let text = |name: &str| client[name].as_str().unwrap().to_owned();
        table::row(&text("client"), &text("version"), &text("driven"), steps);
    }
}

/// A tenant-only copy, and pgwicket over all of it.
fn desk() -> (Login, Pgwicket) {
    (Cluster::tenant_copy().login(AGENT), Pgwicket::start(&Cluster::desk()))
}

/// Runs a program on a tenant-only copy and through pgwicket; how many lines both gave.
#[track_caller]
fn compare(program: impl Fn(&Login) -> String) -> usize {
    compare_on(desk(), program)
}

/// Runs a program on PostgreSQL and through pgwicket; how many lines both gave.
#[track_caller]
fn compare_on((direct, pgwicket): (Login, Pgwicket), program: impl Fn(&Login) -> String) -> usize {
    let expected = program(&direct);
    assert!(expected.lines().count() > 50, "the program did next to nothing:\n{expected}");
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
    expected.lines().count()
}

/// The lines of the first text that the second does not have, or not as often.
fn less<'a>(first: &'a str, second: &str) -> Vec<&'a str> {
    let mut rest: Vec<&str> = second.lines().collect();
    first.lines().filter(|line| rest.iter().position(|other| other == line).map(|at| rest.swap_remove(at)).is_none()).collect()
}
