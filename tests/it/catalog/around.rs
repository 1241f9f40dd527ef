//! Statements around a read of the catalog: plans, cursors, COPY.

use super::{Canary, error, rows};
use crate::support::Message;

const RELATIONS: [&str; 9] = [
    "pg_catalog.pg_class",
    "pg_catalog.pg_attribute",
    "pg_catalog.pg_type",
    "pg_catalog.pg_namespace",
    "pg_catalog.pg_constraint",
    "pg_catalog.pg_database",
    "pg_catalog.pg_roles",
    "information_schema.tables",
    "information_schema.columns",
];

#[test]
fn what_is_read_through_a_cursor_or_a_copy_is_what_a_select_reads() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let mut ask = |text: &str| {
        let reply = wire.simple(text).unwrap();
        canary.check(text, &reply);
        assert_eq!(error(&reply), None, "{text}");
        reply
    };
    for relation in RELATIONS {
        let read = sorted(rows(&ask(&format!("select * from {relation}"))));
        assert!(!read.is_empty(), "{relation}");
        ask(&format!("begin; declare c scroll cursor for select * from {relation}; select count(*) from tickets"));
        let forward = rows(&ask("fetch all c"));
        assert!(rows(&ask("fetch backward all c")).iter().rev().eq(&forward), "{relation}");
        assert_eq!(sorted(forward), read, "{relation}");
        ask("commit");
        ask(&format!("declare c cursor with hold for select * from {relation}"));
        ask("select count(*) from tickets");
        assert_eq!(sorted(rows(&ask("fetch all c"))), read, "{relation}");
        ask("close c");
        let copied = ask(&format!("copy (select * from {relation}) to stdout"));
        assert_eq!(copied.iter().filter(|message| message.tag == b'd').count(), read.len(), "{relation}");
        let copied = ask(&format!("copy (select count(*) from {relation}) to stdout with (format binary)"));
        assert!(copied.iter().any(|message| message.tag == b'd'), "{relation}");
    }
}

#[test]
fn a_plan_over_the_catalog_names_nothing() {
    let canary = Canary::start_with(", allow_explain: true");
    let mut wire = canary.wire();
    for relation in RELATIONS {
        for explain in ["explain", "explain (verbose)", "explain (costs off)", "explain (verbose, format json)"] {
            let text = format!("{explain} select * from {relation}");
            let reply = wire.simple(&text).unwrap();
            canary.check(&text, &reply);
            assert_eq!(error(&reply), None, "{text}");
            let plan: String = rows(&reply).into_iter().flatten().flatten().collect();
            assert!(plan.contains("Scan") || plan.contains("Result"), "{text}: {plan}");
            assert!(!plan.contains("pg_") && !plan.contains("_schema"), "{text}: {plan}");
        }
    }
    let text = "begin; explain select * from pg_class; select count(*) from tickets; explain select * from tickets; commit";
    let reply = wire.simple(text).unwrap();
    canary.check(text, &reply);
    assert_eq!(tags(&reply), ["BEGIN", "EXPLAIN", "SELECT 1", "EXPLAIN", "COMMIT"]);
    let reply = wire.simple("explain analyze select * from pg_class").unwrap();
    assert!(error(&reply).is_some_and(|error| error.starts_with("0A000")), "{reply:?}");
}

fn sorted(mut rows: Vec<Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
    rows.sort();
    rows
}

fn tags(reply: &[Message]) -> Vec<String> {
    reply.iter().filter(|message| message.tag == b'C').map(|message| message.strings()[0].clone()).collect()
}
