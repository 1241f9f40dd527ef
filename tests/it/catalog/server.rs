//! The catalog's own server: where it comes from, how it ends, and life without it.

use std::{fs, process::Command, time::Duration};

use super::{error, rows};
use crate::support::{Cluster, Pgwicket};

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
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !servers(&directory).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the server outlived a kill -9");
        std::thread::sleep(Duration::from_millis(50));
    }
    pgwicket.restart();
    assert_eq!(ask(&pgwicket), first, "OIDs stay");
    // It crashes: it is started again.
    let pid = servers(&directory).pop().unwrap();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(300));
    let mut wire = pgwicket.login().wire().unwrap();
    let answered = (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(300));
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
