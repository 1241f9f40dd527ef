//! Proposals of a megabyte: what an agent may have open is bounded, and so is what a list of them loads.

use std::time::{Duration, Instant};

use crate::support::{Cluster, Pgwicket, run, support_policy};

/// Unit: bytes.
const SUBJECT: usize = 1_000_000;

fn insert(number: usize) -> String {
    format!("insert into tickets (id, subject, status) values ({}, '{}', 'open')", 995_000 + number, "x".repeat(SUBJECT))
}

#[test]
fn proposals_of_a_megabyte_are_bounded_and_move_nobody_else() {
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &support_policy());
    let mut agent = pgwicket.login().wire().unwrap();
    let mut stored = 0;
    let refused = loop {
        let answer = agent.simple(&insert(stored)).unwrap();
        let error = answer.iter().find(|message| message.tag == b'E').unwrap();
        if error.field('C').as_deref() != Some("25006") {
            break error.clone();
        }
        stored += 1;
        assert!(stored < 100, "64 MiB hold fewer: each has its value in the statement and in the row");
    };
    assert_eq!(refused.field('C').as_deref(), Some("53400"), "{refused:?}");
    assert!(refused.field('M').unwrap().contains("67108864 bytes"), "{refused:?}");
    assert!(refused.field('H').unwrap().contains("limits.open_proposal_bytes"), "{refused:?}");
    assert!(stored > 20, "{stored} fit");

    // What is read of them fits, whoever asks; the newest first.
    let before = pgwicket.peak_memory();
    let mut other = pgwicket.login_as("globex_agent").wire().unwrap();
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let answer = agent.simple("select count(*) from pgwicket.proposals").unwrap();
        let row = answer.iter().find(|message| message.tag == b'D').unwrap();
        let count: usize = String::from_utf8_lossy(&row.body[6..]).parse().unwrap();
        assert!((1..=4).contains(&count), "{count} of {stored}");
        let began = Instant::now();
        other.simple("select 1").unwrap();
        longest = longest.max(began.elapsed());
    }
    let mut made = pgwicket.command();
    made.args(["keys", "create", "--name", "reads", "--scope", "proposals:read", "--store"]).arg(pgwicket.store());
    let key = run(&mut made).ok();
    let mut cursor = String::new();
    let (mut listed, mut pages) = (0, 0);
    loop {
        let url = format!("http://127.0.0.1:{}/v1/control/proposals?limit=200{cursor}", pgwicket.control_port());
        let mut answer = ureq::get(url).header("authorization", format!("Bearer {}", key.trim())).call().unwrap();
        let page: serde_json::Value = answer.body_mut().with_config().limit(64 << 20).read_json().unwrap();
        listed += page["proposals"].as_array().unwrap().len();
        pages += 1;
        assert!(page["proposals"].as_array().unwrap().len() <= 9, "a page ends where 16 MiB do");
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, stored);
    let grown = pgwicket.peak_memory() - before;
    assert!(
        grown < 200,
        "{stored} proposals of {SUBJECT} bytes; {pages} pages; {grown} MiB on top of {before}; a neighbour waited {longest:?}"
    );
}
