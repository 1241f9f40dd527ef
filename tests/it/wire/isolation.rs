//! An agent's transaction takes no part in the conflicts of others, and holds nothing that others wait for without bound.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{AGENT, Cluster, Database, Login, PASSWORD, Pgwicket, Wire, block_on, run};

fn asked(wire: &mut Wire, text: &str) -> Option<String> {
    wire.simple(text).unwrap().iter().find(|message| message.tag == b'E').and_then(|error| error.field('C'))
}

/// Two writers and a reader whose reads and writes form a cycle: where all three are serializable, PostgreSQL fails one of them.
fn conflict(reader: &mut Wire, writers: &Login) -> Vec<Option<String>> {
    block_on(async {
        let (first, second) = (writers.connect().await, writers.connect().await);
        let failed = |error: tokio_postgres::Error| error.code().map(|code| code.code().to_owned());
        let begin = "begin isolation level serializable";
        first.batch_execute(&format!("{begin}; select sum(id) from skew; update skew set n = n + 1 where id = 1")).await.unwrap();
        second.batch_execute(&format!("{begin}; update skew set n = n + 1 where id = 2")).await.unwrap();
        let mut outcomes = vec![second.batch_execute("commit").await.err().and_then(failed)];
        for text in ["begin isolation level serializable", "select sum(n) from skew", "select count(*) from skew"] {
            outcomes.push(asked(reader, text));
        }
        outcomes.push(first.batch_execute("commit").await.err().and_then(failed));
        outcomes.push(asked(reader, "commit"));
        outcomes
    })
}

const POLICY: &str = r#"
sources:
  app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable }
schemas:
  desk:
    source: app_postgres
    relations:
      skew: { from: public.skew, tenant_column: tenant_id, columns: [id, n], primary_key: [id] }
agents:
  support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: [desk] }
"#;

/// A table, the role that pgwicket reads it as, and one that writes it.
fn source() -> Database {
    let source = Cluster::empty("isolation_reader");
    for role in ["isolation_reader", "isolation_writer"] {
        source.sql(&format!(
            "do $$ begin create role {role} login password '{PASSWORD}'; exception when duplicate_object or unique_violation then null; end $$"
        ));
    }
    source.sql(
        "create table skew (id int primary key, tenant_id text not null, n int not null); alter table skew owner to isolation_writer; \
         grant select on skew to isolation_reader; insert into skew select g, 'acme', 0 from generate_series(1, 2) g",
    );
    source
}

#[test]
fn a_serializable_reader_fails_nobody_and_is_failed_by_nobody() {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let writers = source.login("isolation_writer");
    let beside = conflict(&mut writers.wire().unwrap(), &writers);
    assert!(beside.contains(&Some("40001".to_owned())), "PostgreSQL itself finds a cycle in it: {beside:?}");
    let mut agent = pgwicket.login().wire().unwrap();
    assert_eq!(conflict(&mut agent, &writers), vec![None; 6]);
}

#[test]
fn serializable_at_startup_is_told_of_at_once() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let options = [("default_transaction_isolation", "serializable"), ("options", "-c default_transaction_isolation=serializable")];
    for (name, value) in options {
        let mut wire = Wire::open(pgwicket.login().port).unwrap();
        let mut startup = vec![0, 3, 0, 0];
        startup.extend(format!("user\0{AGENT}\0database\0app\0{name}\0{value}\0\0").as_bytes());
        wire.send_untagged(&startup).unwrap();
        wire.authenticate(PASSWORD).unwrap();
        let greeting = wire.until_ready().unwrap();
        let notice = greeting.iter().find(|message| message.tag == b'N').and_then(|notice| notice.field('M'));
        assert_eq!(notice.as_deref(), Some("isolation level serializable is answered by repeatable read"), "{name}");
    }
}

/// DDL of a production writer, and how long it took.
fn altered(source: &Database, column: &str) -> thread::JoinHandle<Duration> {
    let mut alter = source.psql();
    alter.args(["-q", "-c", &format!("alter table skew add column {column} int")]);
    thread::spawn(move || {
        let start = Instant::now();
        run(&mut alter).ok();
        start.elapsed()
    })
}

#[test]
fn what_others_wait_for_is_held_for_a_bounded_time() {
    let source = source();
    let policy = POLICY.replace("ssl: disable", "ssl: disable, transaction_timeout: 2s");
    let pgwicket = Pgwicket::start_with(&source, &policy);
    let mut agent = pgwicket.login().wire().unwrap();
    let busy = Duration::from_millis(500)..Duration::from_secs(20);

    // Idle in a block, with a cursor and a savepoint.
    assert_eq!(
        asked(&mut agent, "begin isolation level repeatable read; declare c cursor for select n from skew; fetch c; savepoint a"),
        None
    );
    assert!(busy.contains(&altered(&source, "one").join().unwrap()));
    for text in ["fetch c", "select count(*) from skew", "rollback to a", "select 1"] {
        assert_eq!(asked(&mut agent, text).as_deref(), Some("25P04"), "{text}");
    }
    assert_eq!(asked(&mut agent, "commit; select count(*) from skew"), None);

    // Never idle for long.
    assert_eq!(asked(&mut agent, "begin; select count(*) from skew"), None);
    let writer = altered(&source, "two");
    let start = Instant::now();
    let ended = loop {
        thread::sleep(Duration::from_millis(50));
        if let Some(code) = asked(&mut agent, "select 1") {
            break code;
        }
        assert!(start.elapsed() < busy.end, "it goes on");
    };
    assert_eq!(ended, "25P04");
    assert!(busy.contains(&writer.join().unwrap()));
    assert_eq!(asked(&mut agent, "rollback"), None);

    // At work in one statement.
    let writer = {
        let login = pgwicket.login();
        let at_work =
            thread::spawn(move || asked(&mut login.wire().unwrap(), "select count(*) from skew, generate_series(1, 100000000000) g"));
        thread::sleep(Duration::from_millis(500));
        let writer = altered(&source, "three");
        assert_eq!(at_work.join().unwrap().as_deref(), Some("25P04"));
        writer
    };
    assert!(busy.contains(&writer.join().unwrap()));

    // In a batch without an end: there is no block, but locks all the same.
    agent.send(b'P', b"\0select n from skew\0\0\0").unwrap();
    agent.send(b'B', &[0; 8]).unwrap();
    agent.send(b'E', b"\0\0\0\0\x01").unwrap();
    agent.send(b'H', b"").unwrap();
    assert_eq!(asked_for(&mut agent, b's'), None);
    assert!(busy.contains(&altered(&source, "four").join().unwrap()));
    assert_eq!(asked_for(&mut agent, b'E').as_deref(), Some("25P04"));
    agent.send(b'S', b"").unwrap();
    agent.until_ready().unwrap();
    assert_eq!(asked(&mut agent, "select count(*) from skew"), None);
    assert!(pgwicket.log().contains("a transaction was open for too long"));
}

/// Reads up to a message of this kind; the SQLSTATE that it has.
fn asked_for(wire: &mut Wire, tag: u8) -> Option<String> {
    loop {
        let message = wire.receive().unwrap();
        if message.tag == tag {
            return message.field('C').filter(|_| tag == b'E');
        }
    }
}
