//! A source that goes away and comes back: what clients are told meanwhile, that they go on without connecting again, and that
//! no statement is missing from the evidence. Standbys, and a URL with several hosts.

use std::{
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

const READ: &str = "select body from notes where id = 7";
/// What a text by each way of asking is while the source is away, besides reads.
const OTHERS: [&str; 3] = [
    "update notes set body = 'x' where id = 7",
    "declare c cursor with hold for select id from notes",
    "prepare p as select id from notes",
];
const PARSED: &str = "select id from notes where body = $1";
/// The server works on this for hours.
const ENDLESS: &str = "select count(*) from notes a, notes b, notes c, notes d where a.id + b.id + c.id + d.id = 1";

fn source() -> Database {
    let source = Cluster::own().empty_here("outage_reader");
    source.sql(
        "create table notes as select id, 'acme'::text as tenant_id, 'note ' || id as body from generate_series(1, 2000) id; \
         alter table notes add primary key (id); create role outage_reader login password 'correct horse battery'; \
         grant select on notes to outage_reader",
    );
    source
}

/// A client that counts its reads, so that the evidence can be counted against it.
struct Client {
    wire: Wire,
    reads: usize,
}

impl Client {
    fn new(pgwicket: &Pgwicket) -> Self {
        Self { wire: pgwicket.login().wire().unwrap(), reads: 0 }
    }

    /// A statement by a Query message: SQLSTATE, if it failed, and the transaction status.
    fn ask(&mut self, text: &str) -> String {
        self.reads += usize::from(text == READ);
        seen(&self.wire.simple(text).unwrap())
    }

    /// A statement that is prepared already.
    fn run_prepared(&mut self, value: &str) -> String {
        self.reads += 1;
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        self.wire.send(b'B', &[b"\0kept\0\0\0\0\x01", &length[..], value.as_bytes(), b"\0\0"].concat()).unwrap();
        self.wire.send(b'E', b"\0\0\0\0\0").unwrap();
        self.wire.send(b'S', b"").unwrap();
        seen(&self.wire.until_ready().unwrap())
    }

    fn goes_on(&mut self) {
        until("the session goes on", || self.ask(READ) == "1 I");
    }
}

fn seen(reply: &[Message]) -> String {
    let code = reply.iter().find(|message| message.tag == b'E').and_then(|error| error.field('C'));
    let rows = reply.iter().filter(|message| message.tag == b'D').count();
    format!("{} {}", code.unwrap_or_else(|| rows.to_string()), char::from(reply.last().unwrap().body[0]))
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Every read that was asked has its decision and its outcome, and the chain holds.
#[track_caller]
fn evidence_is_whole(pgwicket: &Pgwicket, text: &str, reads: usize) {
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    let of_it: Vec<_> = listing.statements.iter().filter(|statement| statement.decision.client_text == text.as_bytes()).collect();
    assert_eq!(of_it.len(), reads, "{text}");
    for statement in of_it {
        let End::Outcome(outcome) = &statement.end else { panic!("{:?} has no outcome", statement.decision) };
        let code = outcome.sqlstate.as_deref();
        assert!(matches!(code, None | Some("57P01" | "57P02" | "08006" | "25P02")), "{code:?}");
        assert_eq!(code.is_none(), outcome.status_name() == "completed");
    }
    run(pgwicket.command().args(["evidence", "verify", "--journal"]).arg(pgwicket.journal())).ok();
}

/// A restart that clients in every state live through.
fn restarted(mode: &str) {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let [mut idle, mut prepared, mut block, mut in_statement, mut later] = std::array::from_fn(|_| Client::new(&pgwicket));
    assert_eq!(idle.ask(READ), "1 I");
    prepared.wire.send(b'P', b"kept\0select body from notes where id = $1\0\0\0").unwrap();
    assert_eq!(prepared.run_prepared("7"), "1 I");
    assert_eq!(block.ask("begin"), "0 T");
    assert_eq!(block.ask(READ), "1 T");
    let busy = thread::spawn(move || {
        let seen = in_statement.ask(ENDLESS);
        (in_statement, seen)
    });
    let running = "select count(*) from pg_stat_activity where query like '%d.id%' and state = 'active' and usename = 'outage_reader'";
    until("it runs", || source.sql(running) == "1\n");
    source.cluster().stop(mode);

    let (mut in_statement, ended) = busy.join().unwrap();
    // An immediate shutdown says nothing: the connection is cut.
    let expected: &[&str] = if mode == "fast" { &["57P01 I"] } else { &["08006 I", "57P01 I", "57P02 I"] };
    assert!(expected.contains(&ended.as_str()), "in a statement: {ended}");
    let lost = block.ask(READ);
    assert!(["57P01 E", "57P02 E", "08006 E"].contains(&lost.as_str()), "in a block: {lost}");
    assert_eq!(block.ask("select 1"), "25P02 E");
    assert_eq!(block.ask("rollback"), "0 I");
    // Nobody is there: each is told so, in its own way of asking, and keeps its connection.
    for _ in 0..3 {
        assert_eq!(idle.ask(READ), "08006 I");
        assert_eq!(prepared.run_prepared("7"), "08006 I");
        assert_eq!(in_statement.ask(READ), "08006 I");
        assert_eq!(block.ask("begin"), "0 T");
        assert_eq!(block.ask(READ), "08006 E");
        assert_eq!(block.ask("rollback"), "0 I");
    }
    for text in OTHERS {
        assert_eq!(idle.ask(text), "08006 I", "{text}");
    }
    idle.wire.send(b'P', format!("\0{PARSED}\0\0\0").as_bytes()).unwrap();
    idle.wire.send(b'S', b"").unwrap();
    assert_eq!(seen(&idle.wire.until_ready().unwrap()), "08006 I");
    // What needs no source is answered, and who comes now is let in.
    assert_eq!(later.ask("show pgwicket.tenant"), "1 I");
    assert_eq!(later.ask("select relname from pg_class where relname = 'notes'"), "1 I");
    let mut new = Client::new(&pgwicket);
    assert_eq!(new.ask(READ), "08006 I");

    source.cluster().start_again();
    for client in [&mut idle, &mut block, &mut in_statement, &mut later, &mut new] {
        client.goes_on();
    }
    until("the prepared statement goes on", || prepared.run_prepared("7") == "1 I");
    assert_eq!(block.ask("begin"), "0 T");
    assert_eq!(block.ask(READ), "1 T");
    assert_eq!(block.ask("commit"), "0 I");

    let reads = [&idle, &block, &in_statement, &later, &new].map(|client| client.reads).iter().sum();
    evidence_is_whole(&pgwicket, READ, reads);
    evidence_is_whole(&pgwicket, "select body from notes where id = $1", prepared.reads);
    for text in OTHERS.into_iter().chain([PARSED, ENDLESS]) {
        // Of a PREPARE, what is prepared.
        evidence_is_whole(&pgwicket, text.strip_prefix("prepare p as ").unwrap_or(text), 1);
    }
}

#[test]
fn a_fast_restart_of_the_source_is_told_and_outlived() {
    restarted("fast");
}

#[test]
fn an_immediate_restart_of_the_source_is_told_and_outlived() {
    restarted("immediate");
}

/// The URL of both, the first one first.
fn of_both(source: &Database, other: &'static Cluster, target: &str) -> String {
    let (first, second) = (source.login("outage_reader"), source.on(other).login("outage_reader"));
    let url = first.url();
    let host = format!("127.0.0.1:{}", first.port);
    format!("{}?target_session_attrs={target}&connect_timeout=2", url.replace(&host, &format!("{host},127.0.0.1:{}", second.port)))
}

fn sessions(source: &Database) -> String {
    source.sql("select count(*) > 0 from pg_stat_activity where usename = 'outage_reader'").trim().to_owned()
}

#[test]
fn clients_go_on_when_the_standby_takes_over() {
    let source = source();
    let standby = source.cluster().standby();
    let other = source.on(standby);
    until("the standby follows", || other.sql("select count(*) from notes") == "2000\n");
    let url = of_both(&source, standby, "primary");
    let pgwicket = Pgwicket::start_with_policy_and_variables(&source, POLICY, &[("APP_POSTGRES_URL", &url)]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::new(&pgwicket)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(READ), "1 I");
    }
    assert_eq!([sessions(&source), sessions(&other)], ["t", "f"], "the primary is used");
    source.cluster().stop("immediate");
    assert_eq!(clients[0].ask(READ), "08006 I", "the standby is no primary");
    standby.promote();
    for client in &mut clients {
        client.goes_on();
    }
    assert_eq!(sessions(&other), "t");
    evidence_is_whole(&pgwicket, READ, clients.iter().map(|client| client.reads).sum());
}

#[test]
fn reads_go_to_a_standby_where_it_is_preferred_and_to_the_primary_without_one() {
    let source = source();
    let standby = source.cluster().standby();
    let other = source.on(standby);
    until("the standby follows", || other.sql("select count(*) from notes") == "2000\n");
    let url = of_both(&source, standby, "prefer-standby");
    let pgwicket = Pgwicket::start_with_policy_and_variables(&source, POLICY, &[("APP_POSTGRES_URL", &url)]);
    let mut client = Client::new(&pgwicket);
    assert_eq!(client.ask(READ), "1 I");
    assert_eq!([sessions(&source), sessions(&other)], ["f", "t"], "the standby is used");
    standby.stop("fast");
    client.goes_on();
    assert_eq!(sessions(&source), "t", "there is no standby");
}
