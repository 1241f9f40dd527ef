//! The source's schema changes while sessions ask, in every way: no answer names what only the source knows, bytes are of the type that
//! was described, and a simple query notices nothing of what PostgreSQL's does not notice.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    source,
    ways::{WAYS, said},
};
use crate::support::{Pgwicket, Wire};

const TEXTS: [&str; 7] = [
    "select b, id from desk.evolve where id = 2",
    "select c, b from desk.evolve order by id limit 2",
    "select n from desk.steady where id = 1",
    "select id from desk.parts order by id",
    "select kind, word from desk.kinds where kind = 'one'",
    "select id from desk.kinds where word = 'WORD'",
    "select e.b, s.n from desk.evolve e join desk.steady s on s.id = e.id",
];

/// What no simple query of PostgreSQL notices.
const UNNOTICED: [&str; 10] = [
    "alter table zzreal.zzevolve alter b type int using b::int",
    "alter table zzreal.zzevolve alter b type text",
    "alter table zzreal.zzevolve add zzmore int",
    "alter table zzreal.zzevolve drop zzmore",
    "create index zzindex on zzreal.zzevolve (b); drop index zzreal.zzindex",
    "alter table zzreal.zzparts detach partition zzreal.zzpart2",
    "alter table zzreal.zzparts attach partition zzreal.zzpart2 for values from (10) to (20)",
    "alter type zzreal.sort add value if not exists 'three'",
    "alter table zzreal.zzsteady enable row level security; alter table zzreal.zzsteady disable row level security",
    "analyze zzreal.zzevolve, zzreal.zzkinds",
];

/// What the policy cannot bear, or PostgreSQL's own queries notice, and how it is undone.
const DRIFTS: [[&str; 2]; 15] = [
    ["alter table zzreal.zzevolve rename b to zzb", "alter table zzreal.zzevolve rename zzb to b"],
    ["alter table zzreal.zzevolve rename zztenant to zzother", "alter table zzreal.zzevolve rename zzother to zztenant"],
    ["alter table zzreal.zzsteady rename zzhidden to zzother", "alter table zzreal.zzsteady rename zzother to zzhidden"],
    ["alter table zzreal.zzevolve rename to zznew", "alter table zzreal.zznew rename to zzevolve"],
    ["alter schema zzreal rename to zzschema", "alter schema zzschema rename to zzreal"],
    ["alter table zzreal.zzevolve drop c", "alter table zzreal.zzevolve add c text"],
    [
        "alter table zzreal.zzkinds alter kind type text using kind::text",
        "alter table zzreal.zzkinds alter kind type zzreal.sort using kind::zzreal.sort",
    ],
    ["alter table zzreal.zzkinds alter word type text", "alter table zzreal.zzkinds alter word type zzext.citext"],
    ["alter type zzreal.sort rename to kind2", "alter type zzreal.kind2 rename to sort"],
    ["alter type zzreal.sort rename value 'one' to 'zzone'", "alter type zzreal.sort rename value 'zzone' to 'one'"],
    ["alter extension citext set schema zzreal", "alter extension citext set schema zzext"],
    ["revoke select on zzreal.zzevolve from changing_reader", "grant select on zzreal.zzevolve to changing_reader"],
    ["revoke usage on schema zzreal from changing_reader", "grant usage on schema zzreal to changing_reader"],
    [
        "create policy zzfew on zzreal.zzsteady using (current_setting('zz.tenant') = 'x'); alter table zzreal.zzsteady enable row level security",
        "alter table zzreal.zzsteady disable row level security; drop policy zzfew on zzreal.zzsteady",
    ],
    [
        "alter table zzreal.zzsteady rename to zzold; create table zzreal.zzsteady (like zzreal.zzold); grant select on zzreal.zzsteady to changing_reader",
        "drop table zzreal.zzsteady; alter table zzreal.zzold rename to zzsteady",
    ],
];
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(120);
const SESSIONS: usize = 4;

/// Asks in every way until it is told to end; what each answer must be is looked at.
fn ask(mut wire: Wire, number: usize, ends: &AtomicBool, asked: &AtomicU64, unnoticed: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut turn = number;
    while !ends.load(Ordering::Relaxed) && wrong.len() < 4 {
        let (way, text) = (&WAYS[turn % WAYS.len()], TEXTS[turn % TEXTS.len()]);
        turn += 1;
        let batches: Vec<String> = way.before(text).into_iter().chain(way.batches(text)).collect();
        let mut answer: Vec<String> = batches.iter().flat_map(|batch| said(&mut wire, batch, true)).collect();
        asked.fetch_add(1, Ordering::Relaxed);
        // What is left of a batch that failed.
        for end in ["Query \"rollback\"", "Query \"deallocate all; close all\"", "Close S \"n\"\nClose S \"k\"\nSync"] {
            answer.extend(said(&mut wire, end, true));
        }
        if let Some(line) = answer.iter().find(|line| line.contains("zz") && !line.starts_with("DataRow")) {
            wrong.push(format!("{}: {text}: a name of the source's: {line}", way.name));
        }
        let simple = way.name.starts_with("simple") || way.name == "several in a message" || way.name == "copied";
        let fails = |line: &&String| line.starts_with("ErrorResponse") && !line.contains("\"V25P01\"") && !line.contains("C25P01");
        if let Some(line) = answer.iter().find(fails).filter(|_| unnoticed && simple) {
            wrong.push(format!("{}: {text}: {line}", way.name));
        }
        wrong.extend(misdescribed(&answer).map(|line| format!("{}: {text}: {line} in {answer:#?}", way.name)));
    }
    wrong
}

/// A value of `evolve.b` that is not of the type it was described by: digits in text, four bytes in the binary form of an integer.
fn misdescribed(answer: &[String]) -> Option<&String> {
    let mut described: Option<&str> = None;
    answer.iter().find(|line| {
        if let Some(columns) = line.strip_prefix("RowDescription b:") {
            described = columns.split(':').next();
        } else if line.starts_with("RowDescription") || line.starts_with("ReadyForQuery") {
            described = None;
        }
        let binary_integer = line.starts_with("DataRow \"\\0") || line.starts_with("DataRow \"\\x00");
        line.starts_with("DataRow") && described == Some("25") && binary_integer
    })
}

/// The sessions ask while this is done at the source, until all of it has been done and `done` returns.
fn under_load(unnoticed: bool, changes: impl Fn(&crate::support::Database, &Pgwicket)) {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, super::POLICY);
    let (ends, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let wrong: Vec<String> = thread::scope(|scope| {
        let wires = (0..SESSIONS).map(|_| pgwicket.login().wire().unwrap());
        let (ends, asked) = (&ends, &asked);
        let threads: Vec<_> =
            wires.enumerate().map(|(number, wire)| scope.spawn(move || ask(wire, 5 * number, ends, asked, unnoticed))).collect();
        changes(&source, &pgwicket);
        ends.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked.load(Ordering::Relaxed) > 50, "{asked:?}");
    assert!(!pgwicket.log().contains("panicked"), "{}", pgwicket.log());
}

/// Waits out what stands in the way of a change: a session in a block.
fn change(source: &crate::support::Database, text: &str) {
    source.sql(&format!("set lock_timeout = '20s'; {text}"));
    thread::sleep(PAUSE);
}

#[test]
fn no_simple_query_notices_under_load_what_postgresqls_does_not() {
    under_load(true, |source, _| {
        for _ in 0..3 {
            for text in UNNOTICED {
                change(source, text);
            }
        }
    });
}

#[test]
fn no_change_under_load_is_told_by_the_sources_names() {
    under_load(false, |source, pgwicket| {
        for [text, back] in DRIFTS {
            change(source, text);
            change(source, back);
        }
        let start = Instant::now();
        let mut wire = pgwicket.login().wire().unwrap();
        for text in TEXTS {
            while said(&mut wire, &format!("Query \"{text}\""), false).iter().any(|line| line.starts_with("ErrorResponse")) {
                assert!(start.elapsed() < super::NOTICED, "{text} is not answered again: {}", super::readyz(pgwicket));
                thread::sleep(PAUSE);
            }
        }
    });
}
