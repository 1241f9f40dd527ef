//! What goes over one connection: preparing, binding, errors in a pipeline, rows in pieces, settings, transactions.

use std::{rc::Rc, sync::Arc};

use crate::{
    govern::{Appended, AppendedValue, GovernedStatement},
    sql::Isolation,
};

use super::{
    super::{BindParameters, Event, Pool, Setting, Settings, SourceError, TransactionCommand, Wanted},
    acquire, answers, idle, lane, queue, run,
    server::Server,
    statement, value,
};

#[test]
fn what_is_asked_is_answered_in_order() {
    let server = Server::start();
    server.sql("create table notes (id int primary key, tenant text, body text)");
    server
        .sql("insert into notes select i, case when i % 2 = 0 then 'acme' else 'other' end, repeat('x', i) from generate_series(1, 100) i");
    server.sql("grant select on notes to reader");
    lane(async move {
        let pool = Pool::new(Arc::new(server.source()), 1);
        preparing_is_once(&pool).await;
        a_statement_is_that_of_its_settings(&pool).await;
        appended_values_follow_the_clients(&pool).await;
        an_error_ends_its_segment_only(&pool).await;
        an_error_without_sync_waits_for_it(&pool).await;
        portals_suspend(&pool).await;
        transactions_are_read_only(&pool).await;
        settings_hold(&pool).await;
        settings_taken_back_are_made_again(&pool).await;
        the_least_used_statement_goes(&pool).await;
        a_message_limit_does_not_hold_rows_back(&pool).await;
        let status = pool.status();
        assert_eq!((status.idle, status.in_use), (1, 0), "every lease was given back in order: {status:?}");
    });
}

async fn preparing_is_once(pool: &Pool) {
    let mut lease = acquire(pool).await;
    let one = statement("select 1 as one");
    assert!(lease.prepare(&one));
    assert!(!lease.prepare(&statement("select 1 as one")), "known by its text");
    lease.describe_statement(&one).unwrap();
    lease.bind(&one, "", &BindParameters::default()).unwrap();
    lease.describe_portal("");
    lease.execute("", 0);
    lease.close_portal("");
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "prepared", "t", "T", "2", "T", "1", "SELECT 1", "3", "I"]);
    lease.release();
    let mut lease = acquire(pool).await;
    assert!(!lease.prepare(&one), "held for the next client");
    assert_eq!(lease.bind(&statement("select 2"), "", &BindParameters::default()), Err(SourceError::NotPrepared));
    lease.prepare_unnamed(&one);
    lease.bind(&one, "", &BindParameters::default()).unwrap();
    lease.execute("", 0);
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "prepared", "2", "1", "SELECT 1", "I"]);
    lease.release();
}

/// What a literal means was decided under the settings of its Parse, on whichever connection it runs.
async fn a_statement_is_that_of_its_settings(pool: &Pool) {
    let text = "select date '01/02/2024', (1.1::float8 / 3)::text";
    let american = Rc::new(Settings::default());
    let british = Rc::new(american.with(Setting::DateStyle, "ISO, DMY").and_then(|of| of.with(Setting::ExtraFloatDigits, "-10")).unwrap());
    for _ in 0..2 {
        for (settings, answer) in [(&american, "2024-01-02,0.3666666666666667"), (&british, "2024-02-01,0.36667")] {
            let mut lease = pool.acquire(settings).await.unwrap();
            assert_eq!(value(&mut lease, text).await, answer);
            lease.release();
        }
    }
    let mut lease = pool.acquire(&british).await.unwrap();
    let one = statement(text);
    for _ in 0..2 {
        lease.prepare_as(&one, Wanted { analysed: &american, described: 0, since: None });
        lease.bind(&one, "", &BindParameters::default()).unwrap();
        lease.execute("", 0);
        lease.sync();
        let answered = answers(&mut lease).await.unwrap();
        assert_eq!(answered[2], "2024-01-02,0.36667", "its literals are of its Parse, what is folded of its Bind");
    }
    lease.release();
}

async fn appended_values_follow_the_clients(pool: &Pool) {
    let mut lease = acquire(pool).await;
    let appended = vec![Appended { type_oid: 25, value: AppendedValue::Tenant }];
    let text = "select n.id from (select id from public.notes where tenant = $2) n where n.id < $1 order by 1 desc limit 2";
    let notes = GovernedStatement::for_tests(text, &[23, 25], appended);
    let parameters = BindParameters {
        client_formats: &[1],
        client_values: b"\0\0\0\x04\0\0\0\x0a",
        client_count: 1,
        appended: &[Some(b"acme")],
        result_formats: &[0],
    };
    lease.prepare(&notes);
    lease.bind(&notes, "", &parameters).unwrap();
    lease.execute("", 0);
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "2", "8;6", "SELECT 2", "I"]);
    let moved = BindParameters { client_values: b"\0\0\0\x04\0\0\0\x0a\0\0\0\x05other", ..parameters };
    assert!(matches!(lease.bind(&notes, "", &moved), Err(SourceError::Bind(_))));
    lease.release();
}

async fn an_error_ends_its_segment_only(pool: &Pool) {
    let mut lease = acquire(pool).await;
    let later = statement("select 'later'");
    queue(&mut lease, &statement("select 1 / (select 0)"));
    queue(&mut lease, &later);
    lease.sync();
    // Queued before the error is known: the Parse of `later` above is skipped, so it must not be relied on.
    assert!(lease.prepare(&later));
    lease.bind(&later, "", &BindParameters::default()).unwrap();
    lease.execute("", 0);
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "2", "22012", "I"]);
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "2", "later", "SELECT 1", "I"]);
    assert!(!lease.prepare(&later), "held by its second Parse");
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "I"]);
    assert_eq!(run(&mut lease, "select nothing").await, ["42703", "I"]);
    assert!(lease.prepare(&statement("select nothing")), "a Parse that failed is not held");
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["42703", "I"]);
    lease.release();
}

async fn an_error_without_sync_waits_for_it(pool: &Pool) {
    let mut lease = acquire(pool).await;
    queue(&mut lease, &statement("select 1 / (select 0)"));
    lease.flush_request();
    lease.send().await;
    while !matches!(lease.next().await.unwrap(), Event::Error(_)) {}
    queue(&mut lease, &statement("select 'skipped'"));
    assert!(!lease.is_outstanding());
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["I"]);
    assert_eq!(value(&mut lease, "select 'skipped'").await, "skipped");
    lease.release();
}

async fn portals_suspend(pool: &Pool) {
    let mut lease = acquire(pool).await;
    let series = statement("select i from generate_series(1, 5) i");
    lease.prepare(&series);
    lease.bind(&series, "c1", &BindParameters::default()).unwrap();
    lease.execute("c1", 2);
    lease.execute("c1", 2);
    lease.execute("c1", 2);
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "2", "1;2", "s", "3;4", "s", "5", "SELECT 1", "I"]);
    lease.release();
}

async fn transactions_are_read_only(pool: &Pool) {
    let mut lease = acquire(pool).await;
    lease.control(TransactionCommand::Begin(Some(Isolation::RepeatableRead)));
    queue(&mut lease, &statement("select current_setting('transaction_read_only'), current_setting('transaction_isolation')"));
    lease.control(TransactionCommand::Savepoint(1));
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["BEGIN", "prepared", "2", "on,repeatable read", "SELECT 1", "SAVEPOINT", "T"]);
    assert_eq!(run(&mut lease, "select 1 / (select 0)").await, ["prepared", "2", "22012", "E"], "held from before");
    lease.control(TransactionCommand::RollbackTo(1));
    lease.control(TransactionCommand::Release(1));
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["ROLLBACK", "RELEASE", "T"]);
    assert_eq!(run(&mut lease, "select nothing").await, ["42703", "E"]);
    lease.control(TransactionCommand::Commit);
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap(), ["ROLLBACK", "I"], "the tag tells what became of it");
    assert!(idle(&lease));
    assert_eq!(run(&mut lease, "insert into public.notes values (0)").await[1..], ["2", "25006", "I"]);
    lease.release();
}

async fn settings_hold(pool: &Pool) {
    let show = "select '2024-01-31 12:00+00'::timestamptz, '\\x01'::bytea, interval '1 day', 0.1::float4";
    let mut lease = acquire(pool).await;
    assert_eq!(value(&mut lease, show).await, "2024-01-31 12:00:00+00,\\x01,1 day,0.1");
    lease.release();
    let mut changed = Settings::default();
    for (setting, value) in [
        (Setting::TimeZone, "Asia/Tokyo"),
        (Setting::DateStyle, "SQL, DMY"),
        (Setting::IntervalStyle, "iso_8601"),
        (Setting::ExtraFloatDigits, "-3"),
        (Setting::ByteaOutput, "escape"),
    ] {
        changed = changed.with(setting, value).unwrap();
    }
    let mut lease = pool.acquire(&Rc::new(changed.clone())).await.unwrap();
    assert_eq!(value(&mut lease, show).await, "31/01/2024 21:00:00 JST,\\001,P1D,0.1");
    lease.release();
    let lease = pool.acquire(&Rc::new(changed)).await.unwrap();
    assert!(!lease.is_outstanding(), "equal settings queue nothing");
    lease.release();
    let unknown = Settings::default().with(Setting::TimeZone, "Nowhere/Town").unwrap();
    let mut lease = pool.acquire(&Rc::new(unknown)).await.unwrap();
    queue(&mut lease, &statement("select now()"));
    lease.sync();
    assert_eq!(answers(&mut lease).await, Err(SourceError::Setting("TimeZone")));
    lease.release();
    let mut lease = acquire(pool).await;
    assert_eq!(value(&mut lease, show).await, "2024-01-31 12:00:00+00,\\x01,1 day,0.1", "the connection that may be wrong is gone");
    lease.release();
}

async fn settings_taken_back_are_made_again(pool: &Pool) {
    let show = "select current_setting('TimeZone')";
    let tokyo = Rc::new(Settings::default().with(Setting::TimeZone, "Asia/Tokyo").unwrap());
    let mut lease = acquire(pool).await;
    lease.control(TransactionCommand::Begin(None));
    lease.sync();
    answers(&mut lease).await.unwrap();
    lease.apply_settings(&tokyo);
    assert_eq!(run(&mut lease, show).await[2], "Asia/Tokyo");
    lease.control(TransactionCommand::Rollback);
    lease.sync();
    answers(&mut lease).await.unwrap();
    assert_eq!(value(&mut lease, show).await, "UTC", "PostgreSQL took it back");
    lease.apply_settings(&tokyo);
    assert_eq!(value(&mut lease, show).await, "Asia/Tokyo");
    lease.release();
}

async fn the_least_used_statement_goes(pool: &Pool) {
    let mut lease = acquire(pool).await;
    for i in 0..600 {
        lease.prepare(&statement(&format!("select {i} as filler")));
    }
    lease.sync();
    assert_eq!(answers(&mut lease).await.unwrap().len(), 601);
    assert_eq!(lease.prepared_statements(), 512);
    assert_eq!(value(&mut lease, "select count(*) <= 512 from pg_prepared_statements").await, "t");
    // The Close of what is displaced is skipped by the error before it, and made up for later.
    queue(&mut lease, &statement("select 1 / (select 0)"));
    for i in 0..20 {
        lease.prepare(&statement(&format!("select {i} as skipped")));
    }
    lease.sync();
    answers(&mut lease).await.unwrap();
    assert_eq!(value(&mut lease, "select count(*) from pg_prepared_statements").await, lease.prepared_statements().to_string());
    lease.release();
}

async fn a_message_limit_does_not_hold_rows_back(pool: &Pool) {
    const SIZE: usize = 64 * 1024 * 1024;
    let mut lease = acquire(pool).await;
    queue(&mut lease, &statement(&format!("select repeat('x', n) from (values (1), ({SIZE}), (2), (70000)) v(n)")));
    lease.sync();
    lease.send().await;
    let (mut total, mut count, mut largest) = (0, 0, 0);
    loop {
        match lease.next().await.unwrap() {
            Event::Rows { bytes, rows } => {
                total += bytes.len();
                count += rows;
                largest = largest.max(bytes.len());
            }
            Event::Ready(_) => break,
            Event::Prepared | Event::Controlled { .. } | Event::Message { .. } | Event::Error(_) => {}
        }
    }
    assert_eq!((total, count), (SIZE + 1 + 2 + 70_000 + 4 * 11, 4));
    assert!(largest <= 256 * 1024, "a run of {largest} bytes");
    lease.release();
}

#[test]
fn a_pipeline_larger_than_every_buffer_does_not_stall() {
    let server = Server::start();
    lane(async move {
        let pool = Pool::new(Arc::new(server.source()), 1);
        let mut lease = acquire(&pool).await;
        let wide = statement("select repeat('y', 20000)");
        for _ in 0..2000 {
            queue(&mut lease, &wide);
            lease.sync();
        }
        for round in 0..2000 {
            assert_eq!(answers(&mut lease).await.unwrap().last().unwrap(), "I", "{round}");
        }
        assert_eq!(lease.queued_bytes(), 0);
        lease.release();
    });
}
