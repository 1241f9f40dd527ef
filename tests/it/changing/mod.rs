//! A source whose schema changes while it is served.

mod compared;
mod load;
mod ways;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Cluster, Database, Message, PASSWORD, Pgwicket, Wire};

const POLICY: &str = r#"
sources:
  app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable }
schemas:
  desk:
    source: app_postgres
    relations:
      evolve: { from: zzreal.zzevolve, tenant_column: zztenant, columns: [id, b, c], primary_key: [id] }
      parts: { from: zzreal.zzparts, tenant_column: zztenant, columns: [id] }
      kinds: { from: zzreal.zzkinds, tenant_column: zztenant, columns: [id, kind, word] }
      steady: { from: zzreal.zzsteady, tenant_column: zztenant, columns: [id, n], primary_key: [id], where: "zzhidden is null" }
agents:
  support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: [desk] }
"#;

/// How long a change may take to be noticed.
const NOTICED: Duration = Duration::from_secs(30);

fn source() -> Database {
    let source = Cluster::empty("changing_reader");
    source.sql(&format!(
        "do $$ begin create role changing_reader login password '{PASSWORD}'; exception when duplicate_object or unique_violation then null; end $$; \
         create schema zzreal; grant usage on schema zzreal to changing_reader; \
         create table zzreal.zzevolve (id int primary key, zztenant text not null, b text, c text); \
         create table zzreal.zzsteady (id int primary key, zztenant text not null, n int, zzhidden int); \
         create table zzreal.zzparts (id int, zztenant text not null default 'acme') partition by range (id); \
         create table zzreal.zzpart1 partition of zzreal.zzparts for values from (0) to (10); \
         create table zzreal.zzpart2 partition of zzreal.zzparts for values from (10) to (20); \
         create type zzreal.sort as enum ('one', 'two'); create schema zzext; create extension citext schema zzext; grant usage on schema zzext to changing_reader; \
         create table zzreal.zzkinds (id int, zztenant text not null default 'acme', kind zzreal.sort, word zzext.citext); \
         insert into zzreal.zzparts values (1), (11); insert into zzreal.zzkinds values (1, 'acme', 'one', 'Word'); \
         insert into zzreal.zzevolve select g, 'acme', g, 'c' || g from generate_series(1, 3) g; \
         insert into zzreal.zzsteady select g, 'acme', g from generate_series(1, 3) g; \
         grant select on all tables in schema zzreal to changing_reader"
    ));
    source
}

fn readyz(pgwicket: &Pgwicket) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", pgwicket.control_port())).unwrap();
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until `/readyz` says so.
fn until(pgwicket: &Pgwicket, what: &str, says: impl Fn(&str) -> bool) {
    let start = Instant::now();
    while !says(&readyz(pgwicket)) {
        assert!(start.elapsed() < NOTICED, "{what}: {}", readyz(pgwicket));
        thread::sleep(Duration::from_millis(100));
    }
}

fn code(answer: &[Message]) -> Option<String> {
    answer.iter().find(|message| message.tag == b'E').and_then(|error| error.field('C'))
}

/// The type of the first column, as described, and the first value.
fn first(answer: &[Message]) -> (u32, Vec<u8>) {
    let columns = &answer.iter().find(|message| message.tag == b'T').unwrap().body;
    let name = columns[2..].iter().position(|byte| *byte == 0).unwrap() + 3;
    let oid = u32::from_be_bytes(columns[name + 6..name + 10].try_into().unwrap());
    let row = answer.iter().find(|message| message.tag == b'D').unwrap();
    let length = usize::try_from(i32::from_be_bytes(row.body[2..6].try_into().unwrap())).unwrap();
    (oid, row.body[6..6 + length].to_vec())
}

/// Every way to ask. No answer names what only the source knows.
fn asked(wire: &mut Wire, text: &str) -> Vec<Message> {
    let mut all = Vec::new();
    let cursor = format!("begin; declare c cursor for {text}; fetch all c");
    for text in [text.to_owned(), format!("copy ({text}) to stdout"), cursor, "rollback".to_owned()] {
        all.extend(wire.simple(&text).unwrap());
    }
    for name in ["", "named"] {
        wire.send(b'C', format!("S{name}\0").as_bytes()).unwrap();
        wire.send(b'P', format!("{name}\0{text}\0\0\0").as_bytes()).unwrap();
        wire.send(b'D', format!("S{name}\0").as_bytes()).unwrap();
        wire.send(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()).unwrap();
        wire.send(b'E', b"\0\0\0\0\0").unwrap();
        wire.send(b'S', b"").unwrap();
        all.extend(wire.until_ready().unwrap());
    }
    // An evidence id may spell anything.
    for message in all.iter().filter(|message| message.tag != b'S') {
        assert!(!String::from_utf8_lossy(&message.body).contains("zz"), "{text}: {:?}", message.strings());
    }
    all
}

#[test]
fn a_simple_query_does_not_notice_what_postgresqls_does_not() {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let mut wires: Vec<Wire> = (0..3).map(|_| pgwicket.login().wire().unwrap()).collect();
    let text = "select b, id from desk.evolve where id = 2";
    for wire in &mut wires {
        assert_eq!(first(&wire.simple(text).unwrap()), (25, b"2".to_vec()));
        asked(wire, text);
    }
    for (change, of_type, value) in [
        ("alter table zzreal.zzevolve alter b type int using b::int", 23, "2"),
        ("alter table zzreal.zzevolve alter b type numeric(6, 2)", 1700, "2.00"),
        ("alter table zzreal.zzevolve add more int; alter table zzreal.zzevolve alter b type text", 25, "2.00"),
    ] {
        source.sql(change);
        for wire in &mut wires {
            for _ in 0..2 {
                let answer = wire.simple(text).unwrap();
                assert_eq!(code(&answer), None, "{change}");
                assert_eq!(first(&answer), (of_type, value.as_bytes().to_vec()), "{change}");
            }
        }
    }
}

#[test]
fn what_a_policy_cannot_bear_is_told_by_alias_names() {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let mut wire = pgwicket.login().wire().unwrap();
    let asks = [
        "select b, id from desk.evolve order by id",
        "select n from desk.steady where id = 1",
        "select e.b, s.n from desk.evolve e join desk.steady s on s.id = e.id",
    ];
    for text in asks {
        asked(&mut wire, text);
    }
    for (change, back, drift) in [
        (
            "alter table zzreal.zzevolve rename zztenant to zzother",
            "alter table zzreal.zzevolve rename zzother to zztenant",
            "desk.evolve: the column that tells",
        ),
        ("alter table zzreal.zzsteady rename zzhidden to zzmore", "alter table zzreal.zzsteady rename zzmore to zzhidden", ""),
        (
            "alter table zzreal.zzevolve rename b to zzb",
            "alter table zzreal.zzevolve rename zzb to b",
            "desk.evolve.b: the column is not there",
        ),
        (
            "alter table zzreal.zzevolve rename to zznew",
            "alter table zzreal.zznew rename to zzevolve",
            "desk.evolve: the relation is not there",
        ),
        ("revoke select on zzreal.zzevolve from changing_reader", "grant select on zzreal.zzevolve to changing_reader", "may not be read"),
        ("revoke usage on schema zzreal from changing_reader", "grant usage on schema zzreal to changing_reader", "may not be read"),
        ("alter schema zzreal rename to zzschema", "alter schema zzschema rename to zzreal", "desk.steady: the relation is not there"),
    ] {
        source.sql(change);
        for text in asks {
            asked(&mut wire, text);
        }
        if !drift.is_empty() {
            until(&pgwicket, change, |answer| answer.contains(drift));
            assert!(!readyz(&pgwicket).contains("zz"), "{}", readyz(&pgwicket));
        }
        for text in asks {
            asked(&mut wire, text);
        }
        source.sql(back);
        until(&pgwicket, back, |answer| answer.contains("\"drift\":[]"));
        let start = Instant::now();
        while code(&wire.simple(asks[2]).unwrap()).is_some() {
            assert!(start.elapsed() < NOTICED, "{back}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    source.sql("alter table zzreal.zzevolve drop c cascade");
    let missing = wire.simple("select c from desk.evolve").unwrap();
    let error = missing.iter().find(|message| message.tag == b'E').unwrap();
    assert!(error.field('H').is_some_and(|hint| hint.contains("id, b") && !hint.contains("b, c")), "{:?}", error.strings());
}

#[test]
fn rules_of_the_source_filter_and_are_told_of() {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let mut wire = pgwicket.login().wire().unwrap();
    asked(&mut wire, "select id from desk.steady");
    source.sql("create policy zzfew on zzreal.zzsteady using (id < 2); alter table zzreal.zzsteady enable row level security");
    let rows = |answer: &[Message]| answer.iter().filter(|message| message.tag == b'D').count();
    assert_eq!(rows(&wire.simple("select id from desk.steady").unwrap()), 1);
    until(&pgwicket, "row security", |answer| answer.contains("\"row_security\":[\"desk.steady\"]"));
    source
        .sql("drop policy zzfew on zzreal.zzsteady; create policy zzbad on zzreal.zzsteady using (current_setting('zz.tenant')::int = id)");
    let refused = asked(&mut wire, "select id from desk.steady");
    assert_eq!(code(&refused).as_deref(), Some("42704"));
}
