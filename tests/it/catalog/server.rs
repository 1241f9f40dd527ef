//! The catalog's own server: where it comes from, how it ends, and life without it.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{error, rows};
use crate::support::{Cluster, Pgwicket, Wire, run, support_policy};

const ASK: &str = "select oid from pg_class where relname = 'tickets'";

/// Process ids of servers whose data is under this directory.
fn servers(directory: &str) -> Vec<String> {
    let listed = Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let of_it = |line: &&str| line.contains("/postgres -D") && line.contains(directory);
    listed.lines().filter(of_it).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn the_server_ends_with_us_however_we_end_and_numbers_stay() {
    let mut pgwicket = Pgwicket::start(&Cluster::desk());
    let directory = pgwicket.catalog().canonicalize().unwrap_or_else(|_| pgwicket.catalog()).display().to_string();
    let ask = |pgwicket: &Pgwicket| {
        let reply = pgwicket.login().wire().unwrap().simple(ASK).unwrap();
        assert_eq!(error(&reply), None);
        rows(&reply)
    };
    assert!(servers(&directory).is_empty(), "it is started by the first who asks");
    let first = ask(&pgwicket);
    assert_eq!(servers(&directory).len(), 1);
    pgwicket.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !servers(&directory).is_empty() {
        assert!(Instant::now() < deadline, "the server outlived a kill -9");
        thread::sleep(Duration::from_millis(50));
    }
    pgwicket.restart();
    assert_eq!(ask(&pgwicket), first, "OIDs stay");
    // It crashes: it is started again.
    let pid = servers(&directory).pop().unwrap();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    thread::sleep(Duration::from_millis(300));
    let mut wire = pgwicket.login().wire().unwrap();
    let answered = (0..20).any(|_| {
        thread::sleep(Duration::from_millis(300));
        error(&wire.simple(ASK).unwrap()).is_none()
    });
    assert!(answered, "{}", pgwicket.log());
    pgwicket.terminate();
    pgwicket.ended();
    assert!(servers(&directory).is_empty(), "it ends with us");
    // Data that cannot be used is made anew, to the same numbers.
    fs::remove_file(
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path().join("global/pg_control")).find(|file| file.exists()).unwrap(),
    )
    .unwrap();
    pgwicket.restart();
    assert_eq!(ask(&pgwicket), first);
}

#[test]
fn without_a_server_everything_else_works() {
    for (flags, code) in [(&["--no-catalog"][..], "0A000"), (&["--catalog-bin", "/nonexistent"], "0A000")] {
        let pgwicket = Pgwicket::start_with_flags(&Cluster::desk(), flags);
        let mut wire = pgwicket.login().wire().unwrap();
        let reply = wire.simple(ASK).unwrap();
        assert!(error(&reply).unwrap().starts_with(code), "{:?}", error(&reply));
        let reply = wire.simple("select status from tickets limit 1").unwrap();
        assert_eq!(error(&reply), None);
    }
}

#[test]
fn another_server_may_hold_the_catalog() {
    let shared = Cluster::own();
    let url = shared.empty_here("postgres").socket_url("postgres");
    let first = Pgwicket::start_with_variables(&Cluster::desk(), &[("PGWICKET_CATALOG_URL", &url)]);
    let second = Pgwicket::start_with_variables(&Cluster::desk(), &[("PGWICKET_CATALOG_URL", &url)]);
    let ask = |pgwicket: &Pgwicket| {
        let reply = pgwicket.login().wire().unwrap().simple(ASK).unwrap();
        assert_eq!(error(&reply), None, "{}", pgwicket.log());
        rows(&reply)
    };
    assert_eq!(ask(&first), ask(&second), "OIDs are the same in each process");
    let own = Pgwicket::start(&Cluster::desk());
    assert_eq!(ask(&first), ask(&own), "and on each server");
    let mut wire = first.login().wire().unwrap();
    let names = rows(&wire.simple("select datname from pg_database union all select rolname from pg_roles").unwrap());
    let names: Vec<String> = names.into_iter().flatten().flatten().collect();
    assert_eq!(names, ["support", "pgwicket", "support_agent"], "nothing of the server shows");
}

#[test]
fn a_catalog_that_no_agent_has_any_more_is_dropped() {
    let policy = |columns: &str| support_policy().replacen("labels, body]", columns, 1);
    for shared in [false, true] {
        let server = Cluster::own();
        let url = server.empty_here("postgres").socket_url("postgres");
        let variables = [("PGWICKET_CATALOG_URL", url.as_str())];
        let pgwicket = Pgwicket::start_with_variables(&Cluster::desk(), if shared { &variables } else { &[] });
        let catalogs = || {
            let names = "select datname from pg_database where datname ~ '^pgwicket_(catalog|draft)_' order by 1";
            let mut psql = Command::new("psql");
            if shared {
                psql.args(["-X", "-A", "-t", "-d", &url, "-c", names]);
            } else {
                psql.args(["-X", "-A", "-t", "-U", "pgwicket", "-d", "postgres", "-c", names, "-h"]).arg(pgwicket.catalog().join("socket"));
            }
            run(&mut psql).ok().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut wires: Vec<Wire> = (0..6).map(|_| pgwicket.login().wire().unwrap()).collect();
        let columns = "select count(*) from pg_attribute where attrelid = 'documents'::regclass and attnum > 0";
        let ask = |wire: &mut Wire| rows(&wire.simple(columns).unwrap()).first().and_then(|row| row[0].clone());
        for wire in &mut wires {
            assert_eq!(ask(wire).as_deref(), Some("7"));
        }
        let first = catalogs();
        assert_eq!(first.len(), 1);
        if shared {
            // Another process's, and what it is making.
            run(Command::new("psql").args([
                "-X",
                "-q",
                "-d",
                &url,
                "-c",
                "create database pgwicket_draft_00",
                "-c",
                "create database pgwicket_catalog_00_00",
            ]))
            .ok();
        } else {
            let mut draft = Command::new("psql");
            draft.args(["-X", "-q", "-U", "pgwicket", "-d", "postgres", "-c", "create database pgwicket_draft_00", "-h"]);
            run(draft.arg(pgwicket.catalog().join("socket"))).ok();
        }
        // A transaction holds on to the first.
        wires[0].simple("begin").unwrap();
        assert_eq!(ask(&mut wires[0]).as_deref(), Some("7"));
        fs::write(pgwicket.policies().join("policy.yaml"), policy("labels]")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while ask(&mut wires[1]).as_deref() != Some("6") {
            assert!(Instant::now() < deadline, "the new policy's catalog does not show");
            thread::sleep(Duration::from_millis(100));
        }
        assert!(catalogs().contains(&first[0]), "it has a reader");
        wires[0].simple("rollback").unwrap();
        let others = usize::from(shared) * 2;
        while catalogs().len() > 1 + others {
            assert!(Instant::now() < deadline, "the old catalog stays: {:?}", catalogs());
            for wire in &mut wires {
                assert_eq!(ask(wire).as_deref(), Some("6"));
            }
            thread::sleep(Duration::from_millis(200));
        }
        assert!(!catalogs().contains(&first[0]));
        // Back again: it is made anew.
        fs::write(pgwicket.policies().join("policy.yaml"), policy("labels, body]")).unwrap();
        while ask(&mut wires[2]).as_deref() != Some("7") {
            assert!(Instant::now() < deadline, "the first policy's catalog does not show");
            thread::sleep(Duration::from_millis(100));
        }
        assert!(catalogs().contains(&first[0]), "the same objects have the same catalog");
    }
}
