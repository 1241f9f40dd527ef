//! Many clients: idle ones cost little, active ones share few connections to the source and none starves, and limits hold.

use std::time::{Duration, Instant};

use crate::support::{Cluster, Pgwicket, Wire, block_on, support_policy};

/// Idle connections of an ordinary run. `PGWICKET_IDLE=10000` is the whole.
const IDLE: u64 = 1000;
/// What an idle connection may cost: 400 MB for 10 000. Unit: KiB.
const EACH: u64 = 40;

#[test]
fn idle_connections_cost_little() {
    let count = usize::try_from(crate::support::number("PGWICKET_IDLE").unwrap_or(IDLE)).unwrap();
    let policy = support_policy().replace("    tenant: acme\n", "    tenant: acme\n    max_connections: 20000\n");
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy, &["--max-connections", "20000"]);
    let read = |wire: &mut Wire| {
        let rows = wire.simple("select id from tickets where id = 42").unwrap();
        assert!(rows.iter().any(|message| message.tag == b'D'));
    };
    let mut first = pgwicket.login().wire().unwrap();
    read(&mut first);
    let before = pgwicket.resident_memory();
    let started = Instant::now();
    let mut idle: Vec<Wire> = (0..count).map(|_| pgwicket.login().wire().unwrap()).collect();
    // Each has been used once, as a pool's connections have.
    idle.iter_mut().for_each(read);
    let grown = (pgwicket.resident_memory() - before) * 1024;
    eprintln!(
        "{count} idle connections: {} MiB, {} KiB each; opened and used in {:?}",
        grown / 1024,
        grown / count as u64,
        started.elapsed()
    );
    assert!(grown / (count as u64) <= EACH, "{} KiB for an idle connection", grown / count as u64);
    read(&mut first);
}

#[test]
fn a_thousand_active_clients_share_a_pool_of_twenty_and_none_starves() {
    let policy = support_policy().replace("    tenant: acme\n", "    tenant: acme\n    max_connections: 2000\n");
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let slowest = block_on(async {
        let login = pgwicket.login();
        let mut clients = Vec::new();
        for _ in 0..1000 {
            clients.push(login.connect().await);
        }
        let work = clients.iter().map(async |client| {
            let mut slowest = Duration::ZERO;
            for _ in 0..3 {
                let started = Instant::now();
                let row = client.query_one("select id from tickets where id = $1", &[&42_i64]).await.unwrap();
                assert_eq!(row.get::<_, i64>(0), 42);
                slowest = slowest.max(started.elapsed());
            }
            slowest
        });
        futures_util::future::join_all(work).await.into_iter().max().unwrap()
    });
    eprintln!("slowest of 3000 statements: {slowest:?}");
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
}

#[test]
fn the_wait_for_a_connection_is_bounded_and_a_stalled_client_gives_its_own_back() {
    let policy = support_policy().replacen("pool: { max: 20 }", "pool: { max: 1, wait: 1s }", 1);
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy, &["--lanes", "1", "--write-timeout", "2"]);
    let login = pgwicket.login();
    let mut holder = login.wire().unwrap();
    holder.simple("begin").unwrap();
    holder.simple("select id from tickets where id = 42").unwrap();
    let mut other = login.wire().unwrap();
    let refused = other.simple("select id from tickets where id = 42").unwrap();
    let error = refused.iter().find(|message| message.tag == b'E').unwrap();
    assert_eq!(error.field('C').as_deref(), Some("53300"));
    assert!(error.field('M').unwrap().contains("no connection to the source became free"));
    // A client that is killed in its transaction, and one that does not read what it asked for.
    drop(holder);
    let read = |wire: &mut Wire| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wire.simple("select id from tickets where id = 42").unwrap().iter().any(|message| message.tag == b'D') {
            assert!(Instant::now() < deadline, "the connection is still held");
        }
    };
    read(&mut other);
    // It asks for millions of rows and reads none of them.
    let mut stalled = login.wire().unwrap();
    stalled.send(b'Q', b"select a.id, b.subject, a.subject from tickets a cross join tickets b\0").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    read(&mut other);
}

#[test]
fn limits_name_their_window_and_who_can_raise_it() {
    let limits = "    tenant: acme\n    limits: { statements_per_minute: 1000, rows_per_day: 30, concurrent_statements: 5, raised_by: dba@corp.example }\n";
    let policy = support_policy().replacen("    tenant: acme\n", limits, 1);
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    block_on(async {
        let client = pgwicket.login().connect().await;
        client.simple_query("select id from tickets limit 20").await.unwrap();
        let other = pgwicket.login().connect().await;
        other.simple_query("select id from tickets limit 20").await.unwrap();
        for text in ["select id from tickets limit 1", "select 1", "update tickets set priority = 'x' where id = 42"] {
            let error = client.simple_query(text).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "53400", "{text}");
            assert!(error.message().contains("30 rows a day"), "{}", error.message());
            assert!(error.detail().unwrap().contains("the window resets at"), "{error:?}");
            assert!(error.hint().unwrap().contains("dba@corp.example can raise `limits.rows_per_day`"), "{error:?}");
        }
        client.simple_query("show pgwicket.tenant").await.unwrap();
        let theirs = pgwicket.login_as("globex_agent").connect().await;
        theirs.simple_query("select id from tickets limit 20").await.unwrap();
    });
}
