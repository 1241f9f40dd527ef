//! What PostgreSQL has no counterpart of: limits and evidence of cursors and copies.

use std::collections::HashMap;

use pgwicket::journal::{self, End, Filter};

use crate::support::{Cluster, Message, Pgwicket, support_policy};

#[test]
fn a_cursor_and_a_copy_keep_the_policys_limits() {
    let policy = support_policy().replacen("max_rows: 1000", "max_rows: 7", 1);
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let mut wire = pgwicket.login().wire().unwrap();
    let text = "begin; declare c scroll cursor for select id from tickets order by id; fetch 3 c; fetch prior c; move 2 c; fetch 3 c";
    let within = wire.simple(text).unwrap();
    assert_eq!((rows(&within, b'D'), error(&within)), (7, None), "MOVE returns nothing, so it costs nothing");
    let over = wire.simple("fetch c").unwrap();
    assert_eq!((rows(&over, b'D'), error(&over).as_deref()), (0, Some("53400")));
    let over = wire.simple("rollback; begin; declare c cursor for select id from tickets; fetch 5 c; fetch 5 c").unwrap();
    assert_eq!((rows(&over, b'D'), error(&over).as_deref()), (7, Some("53400")));
    let copied = wire.simple("rollback; copy (select id from tickets order by id) to stdout").unwrap();
    assert_eq!((rows(&copied, b'd'), error(&copied).as_deref()), (7, Some("53400")));
    assert_eq!(error(&wire.simple("copy (select id from tickets order by id limit 7) to stdout").unwrap()), None);
}

#[test]
fn a_portal_says_that_it_is_over_the_limit_when_it_is() {
    let policy = support_policy().replacen("max_rows: 1000", "max_rows: 7", 1);
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let mut wire = pgwicket.login().wire().unwrap();
    wire.send(b'P', b"\0select id from tickets order by id\0\0\0").unwrap();
    wire.send(b'B', &[0; 8]).unwrap();
    for _ in 0..2 {
        wire.send(b'E', b"\0\0\0\0\x05").unwrap();
    }
    wire.send(b'S', b"").unwrap();
    let answer = wire.until_ready().unwrap();
    assert_eq!((rows(&answer, b'D'), error(&answer).as_deref()), (7, Some("53400")));
}

#[test]
fn each_statement_of_a_message_and_each_fetch_is_evidence() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    wire.simple(
        "select id from tickets where id = 1; begin; declare c cursor for select id from tickets order by id; fetch 2 c; fetch 3 c; commit",
    )
    .unwrap();
    wire.simple("copy (select id from tickets where id < 12) to stdout").unwrap();
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    let counted = listing.statements.into_iter().map(|statement| {
        let End::Outcome(outcome) = statement.end else { panic!("{:?}", statement.end) };
        assert_eq!(outcome.status_name(), "completed");
        (String::from_utf8(statement.decision.client_text).unwrap(), outcome.rows)
    });
    let counted: HashMap<String, u64> = counted.collect();
    for (text, rows) in [
        ("select id from tickets where id = 1", 1),
        ("declare c cursor for select id from tickets order by id", 0),
        ("fetch 2 c", 2),
        ("fetch 3 c", 3),
        ("copy (select id from tickets where id < 12) to stdout", 6),
    ] {
        assert_eq!(counted.get(text), Some(&rows), "{text}: {counted:?}");
    }
    assert_eq!(counted.len(), 5);
}

pub(super) fn rows(answer: &[Message], tag: u8) -> usize {
    answer.iter().filter(|message| message.tag == tag).count()
}

pub(super) fn error(answer: &[Message]) -> Option<String> {
    answer.iter().find(|message| message.tag == b'E').and_then(|message| message.field('C'))
}
