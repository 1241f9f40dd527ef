//! A source that reads nothing more, while a parameter of many megabytes is on its way to it: a cancel, a timeout, a client that is
//! gone and the end of the server are heard all the same.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use pgwicket::journal::{self, End, Filter};

use crate::support::{Cluster, Database, Message, Pgwicket, Wire, run};

const POLICY: &str = r#"
sources:
  app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable }
schemas:
  desk:
    source: app_postgres
    relations:
      notes: { from: public.notes, tenant_column: tenant_id, columns: [id, body], primary_key: [id], writes: { update: [body] } }
agents:
  support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: [desk] }
"#;

const TEXT: &str = "select id from notes where body = $1";
/// More than what two sockets keep between them.
const LARGE: usize = 48 << 20;

/// A session whose source does not read, with a large Bind on its way there.
struct Stalled {
    pgwicket: Pgwicket,
    wire: Wire,
    /// The source's process.
    backend: String,
}

impl Stalled {
    fn new(flags: &[&str], settings: &str) -> Self {
        let source = source();
        let pgwicket = Pgwicket::start_with_policy_and_flags(&source, POLICY, flags);
        let mut wire = pgwicket.login().wire().unwrap();
        wire.simple(&format!("{settings} begin")).unwrap();
        // The source knows the statement before it stands still.
        wire.send(b'P', format!("held\0{TEXT}\0\0\0").as_bytes()).unwrap();
        wire.send(b'B', b"\0held\0\0\0\0\x01\0\0\0\x01x\0\0").unwrap();
        wire.send(b'E', b"\0\0\0\0\0").unwrap();
        wire.send(b'S', b"").unwrap();
        wire.until_ready().unwrap();
        let backend = source.sql("select pid from pg_stat_activity where usename = 'stalled_reader' and state = 'idle in transaction'");
        let backend = backend.trim().to_owned();
        assert!(!backend.is_empty() && !backend.contains('\n'), "{backend:?}");
        run(Command::new("kill").args(["-STOP", &backend])).ok();
        let mut stalled = Self { pgwicket, wire, backend };
        stalled.bind();
        stalled
    }

    fn bind(&mut self) {
        let mut bind = b"\0held\0\0\0\0\x01".to_vec();
        bind.extend(u32::try_from(LARGE).unwrap().to_be_bytes());
        bind.resize(bind.len() + LARGE, b'x');
        bind.extend(b"\0\0");
        self.wire.send(b'B', &bind).unwrap();
        self.wire.send(b'E', b"\0\0\0\0\0").unwrap();
        self.wire.send(b'S', b"").unwrap();
    }

    /// How the statement ended by the evidence: its SQLSTATE or its status.
    fn evidence(&self) -> Option<String> {
        let listing = journal::statements(&self.pgwicket.journal(), &Filter::default()).unwrap();
        let of_it = listing.statements.iter().filter(|statement| statement.decision.client_text == TEXT.as_bytes());
        let End::Outcome(outcome) = &of_it.max_by_key(|statement| statement.sequence)?.end else { return None };
        Some(outcome.sqlstate.as_deref().unwrap_or(outcome.status_name()).to_owned())
    }

    /// What was answered: the SQLSTATE; then the session goes on with another connection.
    fn ended_with(&mut self, sqlstate: &str) {
        let answer = self.wire.until_ready().unwrap();
        self.ended_by(&answer, sqlstate, sqlstate);
    }

    /// That this answer is of that SQLSTATE, what comes after it, and what the evidence calls it.
    fn ended_by(&mut self, answer: &[Message], sqlstate: &str, evidence: &str) {
        let error = answer.iter().find(|message| message.tag == b'E').unwrap();
        assert_eq!(error.field('C').as_deref(), Some(sqlstate), "{error:?}");
        assert_eq!(answer.last().unwrap().body, b"E", "the transaction is lost");
        self.wire.simple("rollback").unwrap();
        let after = self.wire.simple("select id from notes limit 1").unwrap();
        assert!(after.iter().any(|message: &Message| message.tag == b'D'), "{after:?}");
        assert_eq!(self.evidence().as_deref(), Some(evidence));
    }
}

impl Drop for Stalled {
    /// Its server could not be stopped while it stands still.
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-CONT", &self.backend]).status());
    }
}

fn source() -> Database {
    let source = Cluster::own().empty_here("stalled_reader");
    source.sql(
        "create table notes as select id, 'acme'::text as tenant_id, 'note ' || id as body from generate_series(1, 20) id; \
         alter table notes add primary key (id); create role stalled_reader login password 'correct horse battery'; \
         grant select on notes to stalled_reader",
    );
    source
}

#[test]
fn a_cancel_ends_it() {
    let mut stalled = Stalled::new(&[], "");
    let [id, secret] = stalled.wire.key().unwrap();
    let port = stalled.pgwicket.login().port;
    let answered = AtomicBool::new(false);
    let answer = thread::scope(|scope| {
        // One that comes before the statement is not for it.
        scope.spawn(|| {
            while !answered.load(Ordering::Relaxed) {
                let mut request = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let parts = [16, 80_877_102, id, secret];
                request.write_all(&parts.map(i32::to_be_bytes).concat()).unwrap();
                // It is closed when it has been heard: none is on its way when the next statement comes.
                request.read_to_end(&mut Vec::new()).unwrap();
                thread::sleep(Duration::from_millis(200));
            }
        });
        let answer = stalled.wire.until_ready();
        answered.store(true, Ordering::Relaxed);
        answer
    });
    stalled.ended_by(&answer.unwrap(), "57014", "canceled");
}

#[test]
fn a_timeout_ends_it() {
    Stalled::new(&[], "set statement_timeout = '1s';").ended_with("57014");
}

#[test]
fn a_client_that_is_gone_ends_it() {
    let mut stalled = Stalled::new(&[], "");
    let port = stalled.pgwicket.login().port;
    // In its place a connection that says nothing.
    drop(std::mem::replace(&mut stalled.wire, Wire::open(port).unwrap()));
    let began = Instant::now();
    while stalled.evidence().as_deref() != Some("client_gone") {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}: {}", stalled.evidence(), stalled.pgwicket.log());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_end_of_the_server_ends_it() {
    let mut stalled = Stalled::new(&["--drain-timeout", "1"], "");
    stalled.pgwicket.terminate();
    assert!(stalled.pgwicket.ended().success(), "{}", stalled.pgwicket.log());
    assert_eq!(stalled.evidence().as_deref(), Some("57P01"));
}
