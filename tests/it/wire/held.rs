//! What PostgreSQL has no counterpart of: the connections that cursors WITH HOLD keep, how long, and what is recorded of them.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use pgwicket::journal::{self, End, Filter};

use super::limits::{error, rows};
use crate::support::{Cluster, Database, Message, Pgwicket, Wire, support_policy};

const DECLARE: &str = "declare c cursor with hold for select id from tickets order by id";

#[test]
fn every_fetch_of_a_held_cursor_is_evidence() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    for text in [DECLARE, "fetch 2 c", "fetch 3 c"] {
        assert_eq!(error(&wire.simple(text).unwrap()), None, "{text}");
    }
    // Execute of the portal that it is.
    wire.send(b'E', b"c\0\0\0\0\x04").unwrap();
    wire.send(b'S', b"").unwrap();
    assert_eq!(rows(&wire.until_ready().unwrap(), b'D'), 4);
    let failing = "declare d cursor with hold for select 1 / (id - id) from tickets";
    assert_eq!(error(&wire.simple(failing).unwrap()).as_deref(), Some("22012"));
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    let ended = listing.statements.into_iter().map(|statement| {
        let End::Outcome(outcome) = statement.end else { panic!("{:?}", statement.end) };
        let text = String::from_utf8(statement.decision.client_text).unwrap();
        (text, (outcome.status_name(), outcome.rows))
    });
    let ended: Vec<_> = ended.collect();
    let seen: HashMap<_, _> = ended.iter().cloned().collect();
    for (text, rows) in [(DECLARE, 0), ("fetch 2 c", 2), ("fetch 3 c", 3), ("FETCH 4 FROM c", 4)] {
        assert_eq!(seen.get(text), Some(&("completed", rows)), "{text}: {ended:?}");
    }
    assert!(ended.contains(&(failing.to_owned(), ("failed", 0))), "what fails as it is held is told of: {ended:?}");
}

#[test]
fn what_a_commit_computes_can_be_stopped() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let slow =
        "declare c cursor with hold for select count(*) from tickets a, tickets b, tickets c where a.amount + b.amount + c.amount = 1";
    wire.simple("set statement_timeout = '300ms'").unwrap();
    assert_eq!(error(&wire.simple(slow).unwrap()).as_deref(), Some("57014"));
    let answer = wire.simple(&format!("begin; {slow}")).unwrap();
    assert_eq!(error(&answer), None);
    let answer = wire.simple("commit").unwrap();
    assert_eq!((error(&answer).as_deref(), &*answer.last().unwrap().body), (Some("57014"), &b"I"[..]));
    wire.simple("reset statement_timeout").unwrap();
    let [process, secret] = wire.key().unwrap();
    let canceler = thread::spawn(move || {
        thread::sleep(Duration::from_millis(400));
        let mut other = Wire::open(pgwicket.login().port).unwrap();
        let words = [16, 80_877_102, process, secret];
        other.send_raw(&words.map(i32::to_be_bytes).concat()).unwrap();
        drop(other);
        pgwicket
    });
    assert_eq!(error(&wire.simple(slow).unwrap()).as_deref(), Some("57014"));
    let _pgwicket = canceler.join().unwrap();
    assert_eq!(error(&wire.simple("fetch c").unwrap()).as_deref(), Some("34000"));
    assert_eq!(error(&wire.simple("declare c cursor with hold for select id from tickets; fetch c").unwrap()), None);
}

#[test]
fn what_a_failed_commit_computed_is_left_to_nobody() {
    let policy = support_policy().replacen("pool: { max: 20 }", "pool: { max: 1 }", 1);
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy, &["--lanes", "1"]);
    for failing in 0..6 {
        let mut wire = pgwicket.login().wire().unwrap();
        assert_eq!(error(&wire.simple("begin").unwrap()), None);
        for number in 0..6 {
            let query = if number == failing { "select 1 / (id - id) from tickets" } else { "select id from tickets" };
            assert_eq!(error(&wire.simple(&format!("declare c{number} cursor with hold for {query}")).unwrap()), None);
        }
        assert_eq!(error(&wire.simple("commit").unwrap()).as_deref(), Some("22012"));
        for number in 0..6 {
            assert_eq!(error(&wire.simple(&format!("fetch c{number}")).unwrap()).as_deref(), Some("34000"));
        }
        // The next session gives its cursors the same names at the source.
        let mut next = pgwicket.login().wire().unwrap();
        for number in 0..8 {
            let text = format!("declare c{number} cursor with hold for select {number}; fetch c{number}");
            assert_eq!(error(&next.simple(&text).unwrap()), None);
        }
    }
}

#[test]
fn a_session_goes_on_with_what_it_keeps() {
    let desk = Cluster::fresh_desk();
    let pgwicket = Pgwicket::start(&desk);
    let mut wire = pgwicket.login().wire().unwrap();
    assert_eq!(error(&wire.simple(DECLARE).unwrap()), None);
    // A write is stored as a proposal, an error fails its statement, a refusal is one: none of it touches the cursor.
    for (text, code) in [
        ("update tickets set priority = 'high' where id = 42", Some("25006")),
        ("select 1 / (id - id) from tickets", Some("22012")),
        ("select nope from tickets", Some("42703")),
        ("drop table tickets", Some("42501")),
        ("begin; select 1 / (id - id) from tickets", Some("22012")),
        ("rollback", None),
        ("begin; savepoint a; fetch c; select 1 / 0; commit", Some("22012")),
        ("rollback to a; fetch c; commit", None),
        ("copy (select id from tickets where id < 9) to stdout", None),
        ("begin isolation level serializable, read only, deferrable; fetch c; commit and chain; fetch c; commit", None),
        ("set timezone = 'Asia/Tokyo'; fetch c; reset all; fetch c", None),
    ] {
        assert_eq!(error(&wire.simple(text).unwrap()).as_deref(), code, "{text}");
    }
    // Many cursors, closed in another order than they were declared in.
    for number in 0..50 {
        assert_eq!(error(&wire.simple(&format!("declare n{number} cursor with hold for select {number}")).unwrap()), None);
    }
    for number in (0..50).rev() {
        assert_eq!(rows(&wire.simple(&format!("fetch n{number}; close n{number}")).unwrap(), b'D'), 1);
    }
    assert_eq!(rows(&wire.simple("fetch c").unwrap(), b'D'), 1);
}

#[test]
fn held_cursors_keep_half_of_a_pool_at_most_and_give_it_back() {
    let desk = Cluster::fresh_desk();
    let policy = support_policy().replacen("pool: { max: 20 }", "pool: { max: 4, wait: 1s }", 1);
    let pgwicket = Pgwicket::start_with_policy_and_flags(&desk, &policy, &["--lanes", "1"]);
    let mut sessions: Vec<Wire> = (0..6).map(|_| pgwicket.login().wire().unwrap()).collect();
    for session in &mut sessions[..2] {
        assert_eq!(error(&session.simple(DECLARE).unwrap()), None);
        assert_eq!(
            error(&session.simple("declare d cursor with hold for select 1").unwrap()),
            None,
            "one connection for all of a session's"
        );
    }
    for refused in [2, 3] {
        assert_eq!(error(&sessions[refused].simple(DECLARE).unwrap()).as_deref(), Some("53300"));
        assert_eq!(error(&sessions[refused].simple("select 1 from tickets limit 1").unwrap()), None, "statements find the other half");
    }
    let begun = sessions[2].simple(&format!("begin; {}; fetch c; commit", DECLARE.replace(" with hold", ""))).unwrap();
    assert_eq!(error(&begun), None);
    assert_eq!(rows(&sessions[0].simple("fetch 3 c").unwrap(), b'D'), 3);
    // Each way to be done with them frees the place.
    let ways: [&dyn Fn(&mut Wire); 4] = [
        &|wire| drop(wire.simple("close c; close d").unwrap()),
        &|wire| drop(wire.simple("close all").unwrap()),
        &|wire| drop(wire.simple("discard all").unwrap()),
        &|wire| wire.send(b'X', b"").unwrap(),
    ];
    for way in ways {
        way(&mut sessions[0]);
        until("the place is free", || error(&sessions[2].simple(DECLARE).unwrap()).is_none());
        assert_eq!(error(&sessions[2].simple("close c; begin; rollback").unwrap()), None);
        sessions[0] = pgwicket.login().wire().unwrap();
        assert_eq!(error(&sessions[0].simple(&format!("{DECLARE}; declare d cursor with hold for select 1")).unwrap()), None);
    }
    // What was rolled back keeps nothing.
    drop(sessions);
    let mut session = pgwicket.login().wire().unwrap();
    for text in ["begin; {}; rollback", "{}; select 1/0", "begin; savepoint a; {}; rollback to a; commit"] {
        session.simple(&text.replace("{}", DECLARE)).unwrap();
    }
    until("nothing is held at the source", || held(&desk) == 0);
    let mut others: Vec<Wire> = (0..2).map(|_| pgwicket.login().wire().unwrap()).collect();
    for other in &mut others {
        assert_eq!(error(&other.simple(DECLARE).unwrap()), None);
        assert_eq!(rows(&other.simple("fetch 2 c").unwrap(), b'D'), 2);
    }
}

#[test]
fn a_held_cursor_is_closed_when_its_session_asks_nothing() {
    let desk = Cluster::fresh_desk();
    let policy =
        support_policy().replacen("statement_timeout: 30s", "statement_timeout: 30s\n    idle_in_transaction_session_timeout: 1s", 1);
    let pgwicket = Pgwicket::start_with(&desk, &policy);
    let mut wire = pgwicket.login().wire().unwrap();
    assert_eq!(error(&wire.simple(DECLARE).unwrap()), None);
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(400));
        assert_eq!(rows(&wire.simple("fetch c").unwrap(), b'D'), 1, "it is not idle");
    }
    thread::sleep(Duration::from_millis(1600));
    let answer = wire.simple("fetch c").unwrap();
    assert_eq!(error(&answer).as_deref(), Some("34000"));
    assert_eq!(message(&answer), "cursor \"c\" does not exist any more: it was closed after 1 s in which nothing was asked");
    assert_eq!(error(&wire.simple("select id from tickets limit 1").unwrap()), None);
    assert_eq!(error(&wire.simple("close c").unwrap()), None, "it is closed");
    assert_eq!(error(&wire.simple("close c").unwrap()).as_deref(), Some("34000"));
    // In a block it is the source's own timeout that ends it.
    assert_eq!(error(&wire.simple(&format!("{DECLARE}; begin; fetch c")).unwrap()), None);
    thread::sleep(Duration::from_millis(1600));
    assert!(error(&wire.simple("fetch c").unwrap()).is_some());
    wire.simple("rollback").unwrap();
    assert_eq!(
        message(&wire.simple("fetch c").unwrap()),
        "cursor \"c\" does not exist any more: the connection to the source that held it is gone"
    );
    assert_eq!(error(&wire.simple(&format!("{DECLARE}; fetch c")).unwrap()), None, "its name is free");
}

#[test]
fn a_held_cursor_ends_with_its_connection_and_with_its_policy() {
    let desk = Cluster::fresh_desk();
    let pgwicket = Pgwicket::start(&desk);
    let mut wire = pgwicket.login().wire().unwrap();
    assert_eq!(error(&wire.simple(DECLARE).unwrap()), None);
    desk.sql(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and usename = 'pgwicket_reader'",
        desk.name
    ));
    until("it is gone", || !message(&wire.simple("fetch 0 c").unwrap()).is_empty());
    assert_eq!(error(&wire.simple("select id from tickets limit 1").unwrap()), None, "the session goes on");
    assert_eq!(error(&wire.simple("fetch c").unwrap()).as_deref(), Some("34000"));

    assert_eq!(error(&wire.simple(DECLARE).unwrap()), None);
    assert_eq!(rows(&wire.simple("fetch c").unwrap(), b'D'), 1);
    let narrower = support_policy().replacen("where: \"deleted_at is null\"", "where: \"deleted_at is null and id > 100\"", 1);
    std::fs::write(pgwicket.policies().join("policy.yaml"), narrower).unwrap();
    until("the policy is read", || !message(&wire.simple("fetch 0 c").unwrap()).is_empty());
    assert_eq!(message(&wire.simple("fetch c").unwrap()), "cursor \"c\" does not exist any more: it was closed because the policy changed");
    assert_eq!(error(&wire.simple(&format!("{DECLARE}; fetch c; close c")).unwrap()), None);
    until("nothing is held at the source", || held(&desk) == 0);
}

#[test]
fn portals_of_one_cursor_share_its_limit() {
    let policy = support_policy().replacen("max_rows: 1000", "max_rows: 7", 1);
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let mut wire = pgwicket.login().wire().unwrap();
    assert_eq!(error(&wire.simple(DECLARE).unwrap()), None);
    assert_eq!(error(&wire.simple("begin").unwrap()), None);
    wire.send(b'P', b"f\0fetch 6 from c\0\0\0").unwrap();
    for portal in [b'p', b'q'] {
        wire.send(b'B', &[portal, 0, b'f', 0, 0, 0, 0, 0, 0, 0]).unwrap();
        wire.send(b'E', &[portal, 0, 0, 0, 0, 3]).unwrap();
    }
    wire.send(b'S', b"").unwrap();
    let answer = wire.until_ready().unwrap();
    assert_eq!((rows(&answer, b'D'), error(&answer)), (6, None));
    for portal in [b'p', b'q'] {
        wire.send(b'E', &[portal, 0, 0, 0, 0, 3]).unwrap();
    }
    wire.send(b'S', b"").unwrap();
    let answer = wire.until_ready().unwrap();
    assert_eq!((rows(&answer, b'D'), error(&answer).as_deref()), (1, Some("53400")), "what one has returned counts for the other");
}

/// Cursors WITH HOLD cannot be seen from outside, but their connections that wait can.
fn held(desk: &Database) -> usize {
    let text = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = 'pgwicket_reader' and query ~* 'cursor with hold'",
        desk.name
    );
    desk.sql(&text).trim().parse().unwrap()
}

fn message(answer: &[Message]) -> String {
    answer.iter().find(|message| message.tag == b'E').and_then(|message| message.field('M')).unwrap_or_default()
}

#[track_caller]
fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !happens() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
