//! Noninterference: two databases that differ only in what the agent may not see answer it with the same bytes.

use std::fs;

use crate::support::{Cluster, Database, Message, Pgwicket, repository, statements};

/// Everything that `support_agent` of acme must not see, changed, added to and taken from.
const CHANGES: &str = "
    update tickets set internal_notes = 'changed ' || id;
    update customers set ssn = 'changed', name = case tenant_id when 'acme' then name else 'nobody' end;
    update orders set margin = -margin;
    update documents set draft_notes = null, body = case tenant_id when 'acme' then body else 'changed' end;
    update tickets set subject = 'changed', amount = id, secret = '(((' , tags = '{changed}', meta = '{}', rating = null,
           status = 'new', created_at = now(), public_id = gen_random_uuid() where tenant_id <> 'acme' or deleted_at is not null;
    update orders set total = 0, quantity = 0, lines = '7', coupon = 'changed' where tenant_id <> 'acme';
    delete from orders where tenant_id = 'globex' and id % 3 = 0;
    insert into tickets select id + 1000000, 'globex', 'more', 'open', 'low', 5, null, 1, 4711, '{}', '{}', gen_random_uuid(), ')', null, now(), now(), null
      from generate_series(1, 5000) id;
    analyze";

/// Statements beyond the oracle's, errors among them.
const MORE: &[&str] = &[
    "select * from tickets where id = 7777",
    "select * from tickets where id = 1000001",
    "select 1 / (amount - 4711) from tickets where id = 1000001",
    "select secret::int from tickets where id = 1",
    "select count(*), sum(id), max(amount), min(created_at) from tickets",
    "select internal_notes from tickets",
    "select * from pgwicket.relations",
    "select * from pgwicket.columns",
    "explain select * from tickets",
    "select * from pg_stats",
    "select reltuples from pg_class where relname = 'tickets'",
    "select tableoid, ctid, xmin from tickets where id = 1",
];

#[test]
fn what_an_agent_may_not_see_changes_no_byte_it_receives() {
    let (one, other) = (Cluster::fresh_desk(), Cluster::fresh_desk());
    other.sql(CHANGES);
    let mut cases: Vec<String> = MORE.iter().map(|text| (*text).to_owned()).collect();
    for file in ["tests/oracle/statements.sql", "tests/oracle/leaks.sql"] {
        cases.extend(statements(&fs::read_to_string(repository(file)).unwrap()).into_iter().map(|statement| statement.text));
    }
    let (first, second) = (received(&one, &cases), received(&other, &cases));
    let wrong: Vec<&String> =
        cases.iter().zip(first.iter().zip(&second)).filter(|(_, (one, other))| one != other).map(|(case, _)| case).collect();
    assert!(wrong.is_empty(), "{} of {} answers differ: {wrong:#?}", wrong.len(), cases.len());
}

/// Every message of every answer, less what is unique to a statement's run; rows sorted where no order was asked for.
fn received(source: &Database, cases: &[String]) -> Vec<Vec<Message>> {
    let pgwicket = Pgwicket::start(source);
    let mut wire = pgwicket.login().wire().unwrap();
    let answer = |text: &String| {
        let mut messages = wire.simple(text).unwrap();
        messages.retain(|message| !(message.tag == b'S' && message.strings()[0] == "pgwicket.evidence_id"));
        if !text.to_lowercase().contains("order by") {
            let rows = messages.iter().filter(|message| message.tag == b'D').count();
            if let Some(first) = messages.iter().position(|message| message.tag == b'D') {
                messages[first..first + rows].sort_by(|one, other| one.body.cmp(&other.body));
            }
        }
        messages
    };
    cases.iter().map(answer).collect()
}
