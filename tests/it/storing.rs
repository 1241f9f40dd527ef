//! kill -9 of the proxy while it stores proposals: what a client was told is stored, nothing is stored twice, and a write
//! that was not answered can be sent again.
//!
//! `scripts/crash --storing --rounds 1000` runs many rounds through `PGWICKET_STORING_ROUNDS`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pgwicket::{
    journal::{self, Verdict},
    proposal::Status,
    store::{Filter, Location, PageRequest, Record, Store},
    types::Secret,
};

use crate::support::{Cluster, Database, Login, PASSWORD, Pgwicket};

/// Rounds in an ordinary test run.
const ROUNDS: u32 = 8;
/// Clients that write in each round.
const CLIENTS: u32 = 3;

/// Texts that were acknowledged, each with its proposal; and those that were sent and not answered.
#[derive(Default)]
struct Told {
    stored: Vec<(String, String)>,
    unanswered: Vec<String>,
}

#[test]
fn kill_9_while_storing_in_sqlite() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let location = Location::Sqlite(pgwicket.store());
    kill_and_compare(pgwicket, &location, "Sqlite");
}

#[test]
fn kill_9_while_storing_in_postgresql() {
    let (_database, url) = store_database();
    let pgwicket = Pgwicket::start_with_store(&Cluster::desk(), &url);
    kill_and_compare(pgwicket, &Location::Postgres(Secret::new(&*url)), "Postgres");
}

/// Reads go on, and no write is said to be stored, while the store is away; then it works again.
#[test]
fn a_store_that_is_away_is_said_so_and_comes_back() {
    let (database, url) = store_database();
    let pgwicket = Pgwicket::start_with_store(&Cluster::desk(), &url);
    let mut wire = pgwicket.login().wire().unwrap();
    let mut write = |number: u32| {
        let answer = wire.simple(&format!("update tickets set subject = 'away-{number}' where id = 40")).unwrap();
        answer.iter().find(|message| message.tag == b'E').and_then(|error| error.field('C')).unwrap()
    };
    assert_eq!(write(1), "25006");
    let role = url.split("//").nth(1).unwrap().split(':').next().unwrap().to_owned();
    database.sql(&format!("alter role {role} nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"));
    assert_eq!(write(2), "58000", "the store is away");
    let mut reader = pgwicket.login().wire().unwrap();
    let answer = reader.simple("select id from tickets where id = 40").unwrap();
    assert!(answer.iter().any(|message| message.tag == b'D'), "reads need no store");
    database.sql(&format!("alter role {role} login"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while write(2) != "25006" {
        assert!(Instant::now() < deadline, "the store is back, and nothing is stored");
        thread::sleep(Duration::from_millis(50));
    }
}

fn kill_and_compare(mut pgwicket: Pgwicket, location: &Location, name: &str) {
    let rounds = crate::support::number("PGWICKET_STORING_ROUNDS").map_or(ROUNDS, |rounds| u32::try_from(rounds).unwrap());
    let started = Instant::now();
    let mut told = Told::default();
    let mut repeated = 0_u32;
    for round in 0..rounds {
        let seen = load_until_killed(&mut pgwicket, round);
        pgwicket.restart();
        // What was not answered is sent again, twice: stored or not, it is one proposal.
        let mut wire = pgwicket.login().wire().unwrap();
        for text in &seen.unanswered {
            let ids = [(); 2].map(|()| proposal_of(&wire.simple(text).unwrap()).unwrap());
            assert_eq!(ids[0], ids[1], "{text}");
            told.stored.push((text.clone(), ids[0].clone()));
            repeated += 1;
        }
        told.stored.extend(seen.stored);
    }
    let report = journal::verify(&pgwicket.journal(), &[]).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    pgwicket.kill();
    let stored = all(location);
    let mut by_text: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in &stored {
        by_text.entry(&record.content.proposal().statement).or_default().push(record);
    }
    for (text, id) in &told.stored {
        let found = by_text.get(text.as_str()).unwrap_or_else(|| panic!("told and not stored: {text}"));
        let ids: Vec<String> = found.iter().map(|record| record.content.proposal().id.to_string()).collect();
        assert_eq!(ids, std::slice::from_ref(id), "{text}");
        assert_eq!(found[0].status, Status::Pending);
    }
    let evidence = journal::statements(&pgwicket.journal(), &journal::Filter::default()).unwrap();
    let decided: HashMap<String, &journal::Statement> =
        evidence.statements.iter().map(|statement| (statement.id.to_string(), statement)).collect();
    for record in &stored {
        let proposal = record.content.proposal();
        let statement = decided.get(&proposal.evidence.to_string()).unwrap_or_else(|| panic!("{} has no evidence", proposal.id));
        assert!(matches!(statement.decision.verdict, Verdict::Forwarded), "{:?}", statement.decision.verdict);
        assert_eq!(statement.decision.client_text, proposal.statement.as_bytes());
    }
    assert!(told.stored.len() >= rounds as usize, "the load was no load");
    eprintln!(
        "| {name} | {rounds} | {} s | {} proposals told, {repeated} sent again | none lost, none twice, {} stored, each with its evidence |",
        started.elapsed().as_secs(),
        told.stored.len(),
        stored.len(),
    );
}

fn load_until_killed(pgwicket: &mut Pgwicket, round: u32) -> Told {
    let stop = Arc::new(AtomicBool::new(false));
    let loaded = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (login, stop, loaded) = (pgwicket.login(), Arc::clone(&stop), Arc::clone(&loaded));
            thread::spawn(move || write_until(&login, &stop, &loaded, round, client))
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while loaded.load(Ordering::Relaxed) < CLIENTS && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_micros(rand::random_range(0..60_000)));
    pgwicket.kill();
    stop.store(true, Ordering::Relaxed);
    let mut told = Told::default();
    for client in clients {
        let seen = client.join().unwrap();
        told.stored.extend(seen.stored);
        told.unanswered.extend(seen.unanswered);
    }
    told
}

fn write_until(login: &Login, stop: &AtomicBool, loaded: &AtomicU32, round: u32, client: u32) -> Told {
    let mut told = Told::default();
    let Ok(mut wire) = login.wire() else { return told };
    for number in 0.. {
        let text = format!("update tickets set subject = '{round}-{client}-{number}' where id = {}", [40, 41, 42, 43, 44][number % 5]);
        if stop.load(Ordering::Relaxed) || wire.send(b'Q', format!("{text}\0").as_bytes()).is_err() {
            break;
        }
        let mut id = None;
        let finished = loop {
            match wire.receive() {
                Ok(message) if message.tag == b'E' => id = proposal_of(&[message]),
                Ok(message) if message.tag == b'Z' => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        match id {
            Some(id) => {
                told.stored.push((text, id));
                if number == 0 {
                    loaded.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => told.unanswered.push(text),
        }
        if !finished {
            break;
        }
    }
    told
}

/// The proposal that an answer names.
fn proposal_of(answer: &[crate::support::Message]) -> Option<String> {
    let error = answer.iter().find(|message| message.tag == b'E')?;
    let detail: serde_json::Value = serde_json::from_str(&error.field('D')?).ok()?;
    Some(detail["proposal_id"].as_str()?.to_owned())
}

fn all(location: &Location) -> Vec<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(location).await.unwrap();
        let mut request = PageRequest { limit: 1000, cursor: None, ..PageRequest::default() };
        let mut found = Vec::new();
        loop {
            let page = store.list(&Filter::default(), &request).await.unwrap();
            found.extend(page.records);
            match page.next {
                Some(cursor) => request.cursor = Some(cursor),
                None => return found,
            }
        }
    })
}

/// A database for a store, and the URL of its owner.
fn store_database() -> (Database, String) {
    let database = Cluster::empty("unused");
    let role = format!("store_{}", database.name);
    database.sql(&format!("create role {role} login password '{PASSWORD}'; alter database {} owner to {role}", database.name));
    let url = database.login(&role).url();
    (database, url)
}
