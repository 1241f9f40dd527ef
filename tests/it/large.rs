//! Values of many megabytes: those of rows pass in bounded memory, and their evidence is right; messages and statements that are too
//! long are refused in words, and the connection goes on.
//!
//! `PGWICKET_LARGE=900 cargo test --test it large::` passes a value of 900 MiB (it takes 4 GB of memory, most of it the source's).

use std::time::Instant;

use pgwicket::journal::{self, End, Filter, Kept, OutcomeRecord, ParameterRecord};
use sha2::{Digest as _, Sha256};

use crate::support::{Cluster, Database, Message, Pgwicket, Wire, number, run};

const POLICY: &str = r#"
sources:
  app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable, statement_timeout: 10min }
schemas:
  desk:
    source: app_postgres
    relations:
      files: { from: public.files, tenant_column: tenant_id, columns: [id, body], primary_key: [id] }
      digested: { from: public.files, tenant_column: tenant_id, columns: [id, body], primary_key: [id], evidence: digest }
      limited: { from: public.files, tenant_column: tenant_id, columns: [id, body], primary_key: [id], max_bytes: 1MiB }
agents:
  support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: [desk] }
"#;

/// MiB of the value in an ordinary run.
const LARGE: u64 = 100;
/// MiB that pgwicket may grow by while it passes.
const GROWTH: u64 = 48;

/// A database with one large value, and how long it is.
fn source() -> (Database, u64) {
    let length = number("PGWICKET_LARGE").unwrap_or(LARGE) << 20;
    let source = Cluster::empty("large_reader");
    source.sql(&format!(
        "do $$ begin create role large_reader login password 'correct horse battery'; exception when duplicate_object or unique_violation then null; end $$; \
         create table files (id int primary key, tenant_id text, body text); grant select on files to large_reader; \
         insert into files values (1, 'acme', repeat('x', {length})), (2, 'acme', 'short')"
    ));
    (source, length)
}

/// The answer up to ReadyForQuery: length and digest of its rows' messages, everything else whole.
fn read(wire: &mut Wire) -> (u64, [u8; 32], Vec<Message>) {
    let (mut bytes, mut digest, mut others) = (0, Sha256::new(), Vec::new());
    loop {
        let mut body = Vec::new();
        let tag = wire.receive_in_pieces(|tag, piece| {
            if tag == b'D' {
                bytes += piece.len() as u64;
                digest.update(piece);
            } else {
                body.extend_from_slice(piece);
            }
        });
        let tag = tag.unwrap();
        if tag != b'D' {
            others.push(Message { tag, body: body.split_off(5) });
        }
        if tag == b'Z' {
            return (bytes, digest.finalize().into(), others);
        }
    }
}

fn error(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.tag == b'E').map(|error| format!("{} {}", error.field('C').unwrap(), error.field('M').unwrap()))
}

fn outcome(pgwicket: &Pgwicket, text: &str) -> OutcomeRecord {
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    let statement = listing.statements.into_iter().find(|statement| statement.decision.client_text == text.as_bytes()).unwrap();
    let End::Outcome(outcome) = statement.end else { panic!("{:?}", statement.end) };
    *outcome
}

/// Runs a statement by the extended protocol, its result in this format.
fn extended(wire: &mut Wire, text: &str, format: u8) {
    wire.send(b'P', format!("\0{text}\0\0\0").as_bytes()).unwrap();
    wire.send(b'B', &[0, 0, 0, 0, 0, 0, 0, 1, 0, format]).unwrap();
    wire.send(b'D', b"P\0").unwrap();
    wire.send(b'E', b"\0\0\0\0\0").unwrap();
    wire.send(b'S', b"").unwrap();
}

#[test]
fn a_large_value_passes_in_bounded_memory_and_its_evidence_is_right() {
    let (source, length) = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let mut wire = pgwicket.login().wire().unwrap();
    let small = "select body from files where id = 2";
    assert_eq!(error(&wire.simple(small).unwrap()), None);
    let before = pgwicket.peak_memory();
    let texts =
        ["select body from files where id = 1", "select body from digested where id = 1", "select id, body from files order by id desc"];
    for (way, text) in texts.into_iter().enumerate() {
        let started = Instant::now();
        match way {
            0 => wire.send(b'Q', format!("{text}\0").as_bytes()).unwrap(),
            binary => extended(&mut wire, text, u8::from(binary == 1)),
        }
        let (bytes, digest, others) = read(&mut wire);
        eprintln!("{} MiB in {:?}; pgwicket's peak {} MiB, before {before} MiB", bytes >> 20, started.elapsed(), pgwicket.peak_memory());
        assert_eq!(error(&others), None);
        assert!(bytes > length);
        let outcome = outcome(&pgwicket, text);
        assert_eq!((outcome.status_name(), outcome.bytes, outcome.rows), ("completed", bytes, if way == 2 { 2 } else { 1 }));
        assert_eq!(outcome.rows_digest.unwrap().0, digest, "the digest is over the very bytes that passed");
        // The policy keeps 16 MiB of a statement's rows unless it says otherwise.
        let kept = if way == 1 { (Kept::Digest, 0) } else { (Kept::Capped, 16 << 20) };
        assert_eq!((outcome.kept, outcome.kept_bytes), kept);
    }
    assert!(pgwicket.peak_memory() < before + GROWTH, "{} MiB at its peak, {before} MiB before", pgwicket.peak_memory());
    run(pgwicket.command().args(["evidence", "verify", "--journal"]).arg(pgwicket.journal())).ok();
    let journal: u64 = pgwicket.journal_files().iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(journal < 40 << 20, "{journal} bytes of journal");
}

#[test]
fn a_large_value_that_is_limited_canceled_or_left_is_evidence_of_that() {
    let (source, length) = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let mut wire = pgwicket.login().wire().unwrap();
    // Over the policy's bytes: an error in place of the row.
    let limited = "select body from limited where id = 1";
    wire.send(b'Q', format!("{limited}\0").as_bytes()).unwrap();
    let (bytes, _, others) = read(&mut wire);
    assert!(error(&others).is_some_and(|error| error.starts_with("53400 ")), "{others:?}");
    assert_eq!(bytes, 0, "nothing of a row that is over the limit is passed on");
    assert_eq!(outcome(&pgwicket, limited).status_name(), "limit");
    // COPY has its own bound.
    let copied = "copy (select body from files where id = 1) to stdout";
    wire.send(b'Q', format!("{copied}\0").as_bytes()).unwrap();
    assert!(error(&read(&mut wire).2).is_some_and(|error| error.starts_with("54000 ")));
    // A client that goes away in the middle of the row.
    let left = "select body from files where id = 1 and id < 2";
    let mut leaving = pgwicket.login().wire().unwrap();
    leaving.send(b'Q', format!("{left}\0").as_bytes()).unwrap();
    while leaving.receive().unwrap().tag != b'T' {}
    drop(leaving);
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    let gone = loop {
        let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
        let found = listing.statements.into_iter().find(|statement| statement.decision.client_text == left.as_bytes());
        if let Some(End::Outcome(outcome)) = found.map(|statement| statement.end) {
            break outcome;
        }
        assert!(Instant::now() < deadline, "no outcome of a client that left");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    assert_eq!((gone.status_name(), gone.rows), ("client_gone", 0));
    assert!(gone.bytes < length, "not all of it passed");
    assert_eq!(error(&wire.simple("select body from files where id = 2").unwrap()), None);
    run(pgwicket.command().args(["evidence", "verify", "--journal"]).arg(pgwicket.journal())).ok();
}

#[test]
fn what_is_too_long_is_refused_in_words_and_the_connection_goes_on() {
    let (source, _) = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let mut wire = pgwicket.login().wire().unwrap();
    let goes_on = |wire: &mut Wire| assert_eq!(error(&wire.simple("select body from files where id = 2").unwrap()), None);
    goes_on(&mut wire);
    let before = pgwicket.peak_memory();
    let text = |length: usize| format!("select body from files where body = '{}'", "y".repeat(length));
    let over = |bytes: usize| Some(format!("54000 message of {bytes} bytes is over the limit of {} bytes", 64 << 20));
    // A Query message over what is kept.
    let long = text(200 << 20);
    assert_eq!(error(&wire.simple(&long).unwrap()), over(long.len() + 1));
    goes_on(&mut wire);
    // A Parse, with what follows it up to Sync passed over.
    wire.send(b'P', format!("\0{long}\0\0\0").as_bytes()).unwrap();
    wire.send(b'B', b"\0\0\0\0\0\0\0\0").unwrap();
    wire.send(b'E', b"\0\0\0\0\0").unwrap();
    wire.send(b'S', b"").unwrap();
    let refused = wire.until_ready().unwrap();
    assert_eq!(refused.iter().filter(|message| message.tag == b'E').count(), 1);
    assert_eq!(error(&refused), over(long.len() + 4));
    goes_on(&mut wire);
    drop(long);
    // A parameter.
    let bind = |wire: &mut Wire, length: usize| {
        wire.send(b'P', b"\0select id from files where body = $1\0\0\0").unwrap();
        let value = vec![b'y'; length];
        wire.send(b'B', &[b"\0\0\0\0\0\x01", &u32::try_from(length).unwrap().to_be_bytes()[..], &value, b"\0\0"].concat()).unwrap();
        wire.send(b'E', b"\0\0\0\0\0").unwrap();
        wire.send(b'S', b"").unwrap();
        wire.until_ready().unwrap()
    };
    assert_eq!(error(&bind(&mut wire, 70 << 20)), over((70 << 20) + 12));
    goes_on(&mut wire);
    assert!(pgwicket.peak_memory() < before + GROWTH, "what is refused is not kept: {} MiB", pgwicket.peak_memory());
    // A statement that is longer than is parsed.
    let message = error(&wire.simple(&text(2 << 20)).unwrap()).unwrap();
    assert!(message.starts_with("54000 statement of ") && message.contains("is over the limit of 1048576 bytes"), "{message}");
    goes_on(&mut wire);
    // In a block, either makes it a failed one.
    wire.simple("begin").unwrap();
    assert_eq!(wire.simple(&text(70 << 20)).unwrap().last().unwrap().body, b"E");
    assert_eq!(wire.simple("rollback").unwrap().last().unwrap().body, b"I");
    // What is within the bounds is used, and is evidence.
    assert_eq!(error(&bind(&mut wire, 60 << 20)), None);
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    let of_it = |statement: &&journal::Statement| statement.decision.client_text == b"select id from files where body = $1";
    let decision = &listing.statements.iter().find(of_it).unwrap().decision;
    let lengths: Vec<Option<usize>> =
        decision.parameters.iter().map(|given: &ParameterRecord| given.value.as_ref().map(Vec::len)).collect();
    assert_eq!(lengths, [Some(60 << 20)]);
    eprintln!("a parameter of 60 MiB: peak {} MiB, before {before} MiB", pgwicket.peak_memory());
    assert!(pgwicket.peak_memory() < before + 5 * 64, "{} MiB", pgwicket.peak_memory());
    run(pgwicket.command().args(["evidence", "verify", "--journal"]).arg(pgwicket.journal())).ok();
}
