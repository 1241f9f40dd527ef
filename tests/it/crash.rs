//! kill -9 at random moments under load: what a client was told had happened is in the evidence, and the chain holds.
//!
//! `scripts/crash --rounds 200` runs many rounds through `PGWICKET_CRASH_ROUNDS`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pgwicket::journal::{self, End, Filter};

use crate::support::{Cluster, Login, Pgwicket};

/// Rounds in an ordinary test run.
const ROUNDS: u32 = 20;

/// Clients that load pgwicket in each round.
const CLIENTS: u32 = 4;

/// A statement whose CommandComplete a client saw.
struct Acknowledged {
    text: String,
    /// Unknown when the kill came between CommandComplete and ParameterStatus.
    evidence: Option<String>,
    rows: u64,
}

#[test]
fn what_a_client_was_told_survives_kill_9() {
    let rounds = std::env::var("PGWICKET_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut pgwicket = Pgwicket::start(&Cluster::desk());
    let (mut acknowledged, mut torn) = (Vec::new(), 0);
    for round in 0..rounds {
        acknowledged.extend(load_until_killed(&mut pgwicket, round));
        torn += u32::from(has_torn_tail(&pgwicket.journal()));
        pgwicket.restart();
        assert_chain_holds(&pgwicket.journal());
    }
    pgwicket.kill();
    assert!(acknowledged.len() > rounds as usize, "the load was no load: {} statements in {rounds} rounds", acknowledged.len());
    assert_all_recorded(&pgwicket.journal(), &acknowledged);
    eprintln!("{rounds} rounds of kill -9, {} statements acknowledged, none lost, {torn} torn tails repaired", acknowledged.len());
}

#[test]
fn a_torn_tail_is_reported_then_moved_aside_and_said_so() {
    let mut pgwicket = Pgwicket::start(&Cluster::desk());
    let acknowledged = load_until_killed(&mut pgwicket, 0);
    // A kill in the middle of a write leaves half an entry: here, the beginning of the file once more, cut short.
    let written = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg") && fs::metadata(path).unwrap().len() > 100;
    let segment = pgwicket.journal_files().into_iter().rfind(written).unwrap();
    let half = fs::read(&segment).unwrap()[..40].to_vec();
    File::options().append(true).open(&segment).unwrap().write_all(&half).unwrap();
    assert!(has_torn_tail(&pgwicket.journal()), "a half entry at the end was not reported");
    pgwicket.restart();
    let report = assert_chain_holds(&pgwicket.journal());
    assert!(!report.notes.is_empty(), "the repair left no trace");
    pgwicket.kill();
    assert_all_recorded(&pgwicket.journal(), &acknowledged);
}

/// Whether the journal ends in half an entry; nothing else may be wrong with it.
fn has_torn_tail(journal: &Path) -> bool {
    let report = journal::verify(journal, &[]).unwrap();
    let (torn, wrong): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.reason.contains("the next start moves it aside"));
    assert!(wrong.is_empty(), "after kill -9: {wrong:?}");
    !torn.is_empty()
}

fn assert_chain_holds(journal: &Path) -> journal::Report {
    let report = journal::verify(journal, &[]).unwrap();
    assert!(report.findings.is_empty(), "after the restart: {:?}", report.findings);
    report
}

fn assert_all_recorded(journal: &Path, acknowledged: &[Acknowledged]) {
    let listing = journal::statements(journal, &Filter::default()).unwrap();
    assert!(!listing.damaged);
    let recorded: HashMap<&[u8], &journal::Statement> =
        listing.statements.iter().map(|statement| (statement.decision.client_text.as_slice(), statement)).collect();
    for statement in acknowledged {
        let Some(found) = recorded.get(statement.text.as_bytes()) else { panic!("acknowledged, but without evidence: {}", statement.text) };
        if let Some(id) = &statement.evidence {
            assert_eq!(*id, found.id.to_string(), "{}", statement.text);
        }
        let End::Outcome(outcome) = &found.end else { panic!("acknowledged, but {:?}: {}", found.end, statement.text) };
        assert_eq!((outcome.status_name(), outcome.rows), ("completed", statement.rows), "{}", statement.text);
    }
}

/// Clients read as fast as they can; after a random while, kill -9.
fn load_until_killed(pgwicket: &mut Pgwicket, round: u32) -> Vec<Acknowledged> {
    let stop = Arc::new(AtomicBool::new(false));
    let loaded = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (login, stop, loaded) = (pgwicket.login(), Arc::clone(&stop), Arc::clone(&loaded));
            thread::spawn(move || read_until(&login, &stop, &loaded, round, client))
        })
        .collect();
    // The random moment is one under load: not before every client has read something.
    let deadline = Instant::now() + Duration::from_secs(30);
    while loaded.load(Ordering::Relaxed) < CLIENTS && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_micros(rand::random_range(0..150_000)));
    pgwicket.kill();
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

fn read_until(login: &Login, stop: &AtomicBool, loaded: &AtomicU32, round: u32, client: u32) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let Ok(mut wire) = login.wire() else { return acknowledged };
    for number in 0.. {
        // Each text is unique, so that evidence can be found even when its id did not arrive.
        let text = format!("select '{round}-{client}-{number}' as mark, id, subject, meta from tickets where id = {}", number % 500);
        if stop.load(Ordering::Relaxed) || wire.send(b'Q', format!("{text}\0").as_bytes()).is_err() {
            break;
        }
        let (mut complete, mut evidence, mut rows) = (false, None, 0);
        while let Ok(message) = wire.receive() {
            match message.tag {
                b'D' => rows += 1,
                b'C' => complete = true,
                b'S' if message.strings()[0] == "pgwicket.evidence_id" => evidence = Some(message.strings()[1].clone()),
                b'E' => panic!("{text}: {:?}", message.field('M')),
                b'Z' => break,
                _ => {}
            }
        }
        if complete {
            if acknowledged.is_empty() {
                loaded.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged.push(Acknowledged { text, evidence, rows });
        }
    }
    acknowledged
}
