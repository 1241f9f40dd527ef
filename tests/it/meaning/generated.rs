//! Generated writes. `PGWICKET_WRITES=n` runs so many, `PGWICKET_SEED=s` starts elsewhere.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Outcome, Place, Worker, statements::statement};
use crate::support::{block_on, number};

/// Statements of a plain `cargo test`.
const STATEMENTS: u64 = 1_500;
const WORKERS: usize = 4;

#[derive(Debug, Default)]
struct Totals {
    statements: u64,
    changed: u64,
    codes: BTreeMap<String, u64>,
    /// Statements with several errors, of which another is met first: by rows in one place, by kinds of change in the other.
    otherwise: u64,
    doubted: BTreeMap<String, u64>,
    findings: Vec<String>,
}

#[test]
fn generated_writes_leave_what_postgresql_leaves() {
    let place = Place::start(WORKERS);
    let (first, limit) = (number("PGWICKET_SEED").unwrap_or(1), number("PGWICKET_WRITES").unwrap_or(STATEMENTS));
    let (next, totals, began) = (AtomicU64::new(0), Mutex::new(Totals::default()), Instant::now());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (place, next, totals) = (&place, &next, &totals);
            scope.spawn(move || block_on(work(place, worker, first, limit, next, totals)));
        }
    });
    let totals = totals.into_inner().unwrap();
    eprintln!(
        "generated writes from seed {first}: {} statements, {} change rows, {:?} refused as PostgreSQL does, {} by another of their errors, {:?} in doubt, {} findings, {:.1?}",
        totals.statements,
        totals.changed,
        totals.codes,
        totals.otherwise,
        totals.doubted,
        totals.findings.len(),
        began.elapsed()
    );
    let shown: Vec<&str> = totals.findings.iter().take(25).map(String::as_str).collect();
    assert!(shown.is_empty(), "{} of {} statements\n\n{}", totals.findings.len(), totals.statements, shown.join("\n\n"));
    let doubted: u64 = totals.doubted.values().sum();
    assert!(doubted * 100 <= totals.statements * 4, "{doubted} of {} are refused in doubt: {:?}", totals.statements, totals.doubted);
    assert!(totals.otherwise * 100 <= totals.statements * 6, "{} of {} are refused for another error", totals.otherwise, totals.statements);
    assert!(totals.changed * 100 >= totals.statements * 25, "too few statements change anything: {}", totals.changed);
}

async fn work(place: &Place, number: usize, first: u64, limit: u64, next: &AtomicU64, totals: &Mutex<Totals>) {
    let mut worker = Worker::connect(place, number).await;
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        if place >= limit || totals.lock().unwrap().findings.len() > 60 {
            return;
        }
        let seed = first + place;
        let (table, text) = statement(seed);
        let untouched = worker.rows(table, &worker.copy).await;
        let (reference, through) = worker.both(table, &text).await;
        let mut totals = totals.lock().unwrap();
        totals.statements += 1;
        match (&reference, &through) {
            (Outcome::Rows(one), Outcome::Rows(other)) if one == other => totals.changed += u64::from(reference != untouched),
            (Outcome::Refused(one, _), Outcome::Refused(other, _)) if one == other => *totals.codes.entry(one.clone()).or_default() += 1,
            (Outcome::Refused(one, _), Outcome::Refused(other, _)) if several(one) && several(other) => totals.otherwise += 1,
            (_, Outcome::Refused(code, words)) if code == "0A000" => *totals.doubted.entry(words.clone()).or_default() += 1,
            (_, _) => totals.findings.push(format!("seed {seed}: {text}\n  PostgreSQL {reference:?}\n  pgwicket   {through:?}")),
        }
    }
}

/// Errors of values and constraints, several of which a statement of the generator may have at once.
fn several(code: &str) -> bool {
    matches!(code.get(..2), Some("22" | "23")) || matches!(code, "21000" | "42704" | "42P10" | "42501" | "428C9" | "55000")
}
