//! The beginning and the end of a connection: what startup takes, and a client that sends nothing more.

use std::time::{Duration, Instant};

use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::line;
use crate::support::{AGENT, Cluster, Login, Pgwicket, block_on};

/// Options of the startup message, and the setting that shows what became of them.
const OPTIONS: &[(&str, &str)] = &[
    ("-c default_transaction_read_only=off", "default_transaction_read_only"),
    ("-c default_transaction_read_only=off", "transaction_read_only"),
    ("-c lock_timeout=2s", "lock_timeout"),
    ("-c idle_in_transaction_session_timeout=60000", "idle_in_transaction_session_timeout"),
    ("-c jit=off", "jit"),
    ("-c client_min_messages=WARNING", "client_min_messages"),
    ("-c work_mem=32MB --enable-seqscan=off", "work_mem"),
    ("--enable-seqscan=f", "enable_seqscan"),
    ("-c timezone=europe/paris", "timezone"),
    (r#"-c search_path=a,"B",\ c"#, "search_path"),
    ("-c statement_timeout=4000", "statement_timeout"),
    ("-c extra_float_digits=2", "extra_float_digits"),
    ("-c my.var=x", "my.var"),
    ("-c nope=1", "jit"),
    ("-c timezone=Nowhere", "jit"),
    ("-c shared_buffers=1GB", "jit"),
    ("-c log_statement=all", "jit"),
    ("-c work_mem=1", "jit"),
    ("-c jit=maybe", "jit"),
    ("-c session_authorization=postgres", "jit"),
    ("-c is_superuser=on", "jit"),
    ("-c server_version=9", "jit"),
];

#[test]
fn startup_takes_what_set_takes() {
    let (postgresql, pgwicket) = (Cluster::tenant_copy().login(AGENT), Pgwicket::start(&Cluster::desk()));
    for (options, setting) in OPTIONS {
        let expected = block_on(shown(&postgresql, options, setting));
        assert_eq!(block_on(shown(&pgwicket.login(), options, setting)), expected, "{options}");
    }
    for (options, code) in [
        ("-c role=postgres", "42501"),
        ("-c session_authorization=globex_agent", "42501"),
        ("-c row_security=off", "55P02"),
        ("-c standard_conforming_strings=off", "55P02"),
        ("-c pgwicket.tenant=globex", "55P02"),
        ("-c pgwicket.nope=x", "42704"),
        ("-c xmlbinary=hex", "42501"),
    ] {
        assert_eq!(block_on(shown(&pgwicket.login(), options, "jit")), format!("refused with {code}"), "{options}");
    }
}

/// What SHOW answers in a session that began so, or why there is none.
async fn shown(login: &Login, options: &str, setting: &str) -> String {
    let (client, connection) = match login.config().options(options).connect(NoTls).await {
        Ok(connected) => connected,
        Err(error) => return format!("refused with {}", error.code().map_or("nothing", |code| code.code())),
    };
    tokio::spawn(connection);
    let rows = client.simple_query(&format!("show {setting}")).await.unwrap();
    let value = rows.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None });
    value.unwrap_or_default().to_owned()
}

#[test]
fn a_timeout_over_the_bound_is_cut_and_told() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let bound = lines(&wire.simple("show statement_timeout").unwrap())[1].clone();
    let answer = lines(&wire.simple("set statement_timeout = '2h'; show statement_timeout").unwrap());
    assert!(answer[0].starts_with("NoticeResponse NOTICE 00000 statement_timeout is set to"), "{answer:?}");
    assert!(answer.contains(&bound), "{answer:?}");
    assert_eq!(block_on(shown(&pgwicket.login(), "-c statement_timeout=2h", "statement_timeout")), bound.split('"').nth(1).unwrap());
}

fn lines(messages: &[crate::support::Message]) -> Vec<String> {
    messages.iter().filter_map(line).collect()
}

#[test]
fn a_client_that_shuts_its_sending_side_is_answered() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let texts = ["select 1", "select count(*) from tickets a, tickets b where a.id < 300 and b.subject <> a.subject"];
    for login in [Cluster::tenant_copy().login(AGENT), pgwicket.login()] {
        for text in texts {
            let mut wire = login.wire().unwrap();
            wire.simple("set search_path = external_support").unwrap();
            wire.send(b'Q', format!("{text}\0").as_bytes()).unwrap();
            wire.stop_sending().unwrap();
            let answer = wire.until_ready().unwrap();
            assert!(answer.iter().any(|message| message.tag == b'D'), "{text}: {:?}", lines(&answer));
            assert!(wire.receive().is_err(), "the connection ends after its last answer");
        }
    }
}

/// A client may say goodbye behind its last statement, and read what it is told all the same.
#[test]
fn what_comes_before_a_goodbye_is_answered() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    for login in [Cluster::tenant_copy().login(AGENT), pgwicket.login()] {
        let mut wire = login.wire().unwrap();
        wire.send_raw(b"Q\0\0\0\x0dselect 1\0Q\0\0\0\x0dselect 2\0X\0\0\0\x04").unwrap();
        for expected in ["1", "2"] {
            let answer = wire.until_ready().unwrap();
            let row = answer.iter().find(|message| message.tag == b'D').unwrap();
            assert!(row.body.ends_with(expected.as_bytes()), "{:?}", lines(&answer));
        }
        assert!(wire.receive().is_err(), "the connection ends after its last answer");
    }
}

/// A client that is gone looks the same until something is written to it; what it asked for ends soon after.
#[test]
fn what_a_vanished_client_asked_for_ends() {
    let source = Cluster::desk();
    let pgwicket = Pgwicket::start(&source);
    let mut wire = pgwicket.login().wire().unwrap();
    wire.send(b'Q', b"select count(*) as vanished from external_support.tickets a, external_support.tickets b, external_support.tickets c where a.subject || b.subject || c.subject = 'x'\0").unwrap();
    let running = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and query like '%as vanished%' and pid <> pg_backend_pid()";
    let wait = |wanted: &str| {
        let began = Instant::now();
        while source.sql(running).trim() != wanted {
            assert!(began.elapsed() < Duration::from_secs(20), "not {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("1");
    drop(wire);
    wait("0");
}
