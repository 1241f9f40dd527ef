//! pgwicket as an operator runs it: limits, reload, a source that goes away, drain, health.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Cluster, Message, Pgwicket, certificate, run, support_policy};

#[test]
fn a_row_limit_ends_the_statement_and_says_what_to_do() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let answer = wire.simple("select id from tickets").unwrap();
    let error = error(&answer).unwrap();
    assert_eq!(error.field('C').as_deref(), Some("53400"));
    assert!(error.field('H').is_some_and(|hint| hint.contains("LIMIT") || hint.contains("limit")), "{:?}", error.field('H'));
    assert!(rows(&answer) <= 1000);
    assert_eq!(rows(&wire.simple("select id from tickets order by id limit 1000").unwrap()), 1000, "the limit itself is allowed");
}

#[test]
fn truncation_is_never_silent() {
    let policy = support_policy().replacen("max_rows: 1000", "max_rows: 7\n        on_limit: truncate", 1);
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let answer = pgwicket.login().wire().unwrap().simple("select id from tickets order by id").unwrap();
    assert_eq!(rows(&answer), 7);
    let warning = answer.iter().find(|message| message.tag == b'N').expect("no WARNING");
    assert_eq!(warning.field('V').as_deref(), Some("WARNING"));
    assert!(warning.field('M').is_some_and(|text| text.contains("truncated") && text.contains('7')), "{:?}", warning.field('M'));
}

#[test]
fn a_policy_is_reloaded_and_a_bad_one_is_not() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let file = pgwicket.policies().join("policy.yaml");
    assert!(error(&wire.simple("select rating from tickets limit 1").unwrap()).is_none());
    fs::write(&file, support_policy().replacen("          - rating\n", "", 1)).unwrap();
    until("the column goes", || error(&wire.simple("select rating from tickets limit 1").unwrap()).is_some());
    fs::write(&file, "sources: {}\nnonsense: [").unwrap();
    until("the bad policy is reported", || pgwicket.log().to_lowercase().contains("policy") && pgwicket.log().contains("ERROR"));
    assert!(error(&wire.simple("select id from tickets limit 1").unwrap()).is_none(), "the good policy is gone");
    assert_eq!(error(&wire.simple("select rating from tickets limit 1").unwrap()).unwrap().field('C').as_deref(), Some("42703"));
    fs::write(&file, support_policy()).unwrap();
    until("the column is back", || error(&wire.simple("select rating from tickets limit 1").unwrap()).is_none());
}

/// Whoever opens a FIFO that nobody writes to waits for a writer.
#[test]
fn a_file_that_hangs_in_the_policy_directory_holds_nobody_up() {
    let mut pgwicket = Pgwicket::start(&Cluster::desk());
    let mut before = pgwicket.login().wire().unwrap();
    run(Command::new("mkfifo").arg(pgwicket.policies().join("waits.yaml"))).ok();
    pgwicket.signal("HUP");
    until("the FIFO is reported", || pgwicket.log().contains("waits.yaml"));
    for path in ["/healthz", "/readyz"] {
        let answer = http(pgwicket.control_port(), path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert_eq!(rows(&before.simple("select id from tickets limit 1").unwrap()), 1);
    assert_eq!(rows(&pgwicket.login().wire().unwrap().simple("select id from tickets limit 1").unwrap()), 1);
    pgwicket.terminate();
    assert!(pgwicket.ended().success(), "{}", pgwicket.log());
}

#[test]
fn a_source_that_drops_its_connections_is_reconnected() {
    let desk = Cluster::fresh_desk();
    let pgwicket = Pgwicket::start(&desk);
    let mut wire = pgwicket.login().wire().unwrap();
    let mut other = pgwicket.login().wire().unwrap();
    wire.simple("begin").unwrap();
    assert!(error(&wire.simple("select id from tickets limit 1").unwrap()).is_none());
    desk.sql(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and usename = 'pgwicket_reader'",
        desk.name
    ));
    let lost = wire.simple("select id from tickets limit 1").unwrap();
    let code = error(&lost).and_then(|error| error.field('C')).unwrap_or_default();
    assert!(["57P01", "08006", "08003"].contains(&code.as_str()), "{code}: {lost:?}");
    let after = wire.simple("rollback").unwrap();
    assert_eq!(after.last().unwrap().body, b"I", "{after:?}");
    until("the session works again", || error(&wire.simple("select id from tickets limit 1").unwrap()).is_none());
    until("the other session works", || error(&other.simple("select id from tickets limit 1").unwrap()).is_none());
}

#[test]
fn a_snapshot_is_the_sources_own() {
    let desk = Cluster::fresh_desk();
    let pgwicket = Pgwicket::start(&desk);
    let mut wire = pgwicket.login().wire().unwrap();
    let mut priority = |before: &[&str]| {
        for statement in before {
            assert!(error(&wire.simple(statement).unwrap()).is_none(), "{statement}");
        }
        let answer = wire.simple("select priority from tickets where id = 1").unwrap();
        String::from_utf8_lossy(&answer.iter().find(|message| message.tag == b'D').unwrap().body[6..]).into_owned()
    };
    desk.sql("update tickets set priority = 'first' where id = 1");
    assert_eq!(priority(&["begin isolation level repeatable read"]), "first");
    desk.sql("update tickets set priority = 'second' where id = 1");
    assert_eq!(priority(&[]), "first");
    assert_eq!(priority(&["commit"]), "second");
    assert_eq!(priority(&["begin"]), "second");
    desk.sql("update tickets set priority = 'third' where id = 1");
    assert_eq!(priority(&[]), "third", "read committed sees what was committed");
}

#[test]
fn shutdown_drains_what_is_under_way() {
    let desk = Cluster::desk();
    let mut pgwicket = Pgwicket::start(&desk);
    let login = pgwicket.login();
    let mut wire = login.wire().unwrap();
    let slow = thread::spawn(move || {
        wire.simple("select count(*) from tickets a join tickets b on a.amount < b.amount and a.rating = b.rating where a.id < 2500")
    });
    let running = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' \
        and query like '%a.amount < b.amount%' and pid <> pg_backend_pid()";
    until("the statement runs", || slow.is_finished() || desk.sql(running).trim() != "0");
    pgwicket.terminate();
    let answer = slow.join().unwrap().unwrap();
    assert_eq!(rows(&answer), 1, "{answer:?}");
    assert!(pgwicket.ended().success(), "{}", pgwicket.log());
    assert!(login.wire().is_err(), "it still accepts connections");
}

#[test]
fn a_slow_client_does_not_fill_memory() {
    let desk = Cluster::fresh_desk();
    desk.sql(
        "create table big as select id, repeat(md5(id::text), 30) as text, 'acme'::text as tenant_id from generate_series(1, 200000) id; \
         grant select on big to pgwicket_reader",
    );
    let policy = support_policy().replacen(
        "    relations:\n",
        "    relations:\n      big: { from: public.big, tenant_column: tenant_id, columns: [id, text], evidence: digest }\n",
        1,
    );
    let pgwicket = Pgwicket::start_with(&desk, &policy);
    let mut wire = pgwicket.login().wire().unwrap();
    wire.simple("select 1").unwrap();
    let before = pgwicket.resident_memory();
    wire.send(b'Q', b"select * from big\0").unwrap();
    thread::sleep(Duration::from_secs(2));
    let waiting = pgwicket.resident_memory();
    assert!(waiting < before + 32, "200 MB of rows that nobody reads: {before} MB before, {waiting} MB now");
    let answer = wire.until_ready().unwrap();
    assert_eq!(rows(&answer), 200_000);
    assert!(pgwicket.resident_memory() < before + 32);
}

#[test]
fn psql_binds_its_login_to_the_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let flags = certificate(directory.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let pgwicket = Pgwicket::start_with_flags(&Cluster::desk(), &flags);
    let mut psql = pgwicket.login().psql();
    psql.env("PGHOST", "localhost")
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", directory.path().join("certificate.pem"))
        .env("PGCHANNELBINDING", "require");
    psql.args(["-A", "-t", "-c", "select subject from tickets where id = 4", "-c", "\\conninfo"]);
    let said = run(&mut psql).ok();
    assert!(said.contains("#4\n") && said.contains("TLSv1.3"), "{said}");
}

#[test]
fn health_and_metrics_are_served() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    pgwicket.login().wire().unwrap().simple("select id from tickets limit 1").unwrap();
    for path in ["/healthz", "/readyz"] {
        let answer = http(pgwicket.control_port(), path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let metrics = http(pgwicket.control_port(), "/metrics");
    assert!(metrics.contains("pgwicket_statements"), "{metrics}");
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn rows(answer: &[Message]) -> usize {
    answer.iter().filter(|message| message.tag == b'D').count()
}

fn error(answer: &[Message]) -> Option<&Message> {
    answer.iter().find(|message| message.tag == b'E')
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 15 s: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
