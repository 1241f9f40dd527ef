//! The pool: who gets a connection, what happens to one that breaks, cancel, replacement, shutdown.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{Pool, Settings, SourceError, TransactionCommand},
    acquire, answers, lane, queue, run,
    server::Server,
    statement, value,
};

const PID: &str = "select pg_backend_pid()";

#[test]
fn connections_are_shared_and_never_in_a_state() {
    let server = Server::start();
    lane(async move {
        let pool = Pool::new(Arc::new(server.source()), 1);
        first_come_first_served(&pool).await;
        what_is_not_idle_is_closed(&pool).await;
        a_closed_idle_connection_is_replaced(&server, &pool).await;
        a_dropped_lease_stops_its_statement(&server, &pool).await;
        a_killed_session_says_why(&server, &pool).await;
        a_cancel_hits_its_lease_only(&pool).await;
        a_replaced_source_is_reached_anew(&server, &pool).await;
        a_drained_pool_lends_no_more(&pool).await;
    });
}

async fn first_come_first_served(pool: &Pool) {
    let lease = acquire(pool).await;
    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    let mut tasks = Vec::new();
    for turn in 0..3 {
        let (pool, order) = (pool.clone(), Rc::clone(&order));
        tasks.push(spawn_local(async move {
            let lease = acquire(&pool).await;
            order.borrow_mut().push(turn);
            lease.release();
        }));
    }
    sleep(Duration::from_millis(20)).await;
    assert_eq!((pool.status().in_use, pool.status().waiting), (1, 3));
    lease.release();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.borrow(), [0, 1, 2]);
    assert_eq!(pool.status().connects, 1);
    let lease = acquire(pool).await;
    let before = Instant::now();
    assert!(matches!(pool.acquire(&Rc::default()).await, Err(SourceError::PoolTimeout { .. })));
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(pool.status().waiting, 0, "one that gave up does not wait");
    lease.release();
}

async fn what_is_not_idle_is_closed(pool: &Pool) {
    let mut lease = acquire(pool).await;
    let pid = value(&mut lease, PID).await;
    lease.control(TransactionCommand::Begin(None));
    lease.sync();
    answers(&mut lease).await.unwrap();
    lease.release();
    let mut lease = acquire(pool).await;
    let other = value(&mut lease, PID).await;
    assert_ne!(pid, other, "in a transaction");
    queue(&mut lease, &statement("select 1"));
    lease.release();
    let mut lease = acquire(pool).await;
    let pid = value(&mut lease, PID).await;
    assert_ne!(other, pid, "with something queued");
    queue(&mut lease, &statement(PID));
    lease.flush_request();
    lease.send().await;
    while lease.is_outstanding() {
        lease.next().await.unwrap();
    }
    lease.release();
    let mut lease = acquire(pool).await;
    assert_ne!(pid, value(&mut lease, PID).await, "in a transaction that only Sync ends, though all is answered");
    lease.release();
}

async fn a_closed_idle_connection_is_replaced(server: &Server, pool: &Pool) {
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader'");
    sleep(Duration::from_millis(50)).await;
    let before = pool.status().connects;
    let mut lease = acquire(pool).await;
    assert_eq!(value(&mut lease, "select 1").await, "1", "the client does not notice");
    assert_eq!(pool.status().connects, before + 1);
    lease.release();
}

async fn a_dropped_lease_stops_its_statement(server: &Server, pool: &Pool) {
    let mut lease = acquire(pool).await;
    queue(&mut lease, &statement("select pg_sleep(15)"));
    lease.sync();
    lease.send().await;
    sleep(Duration::from_millis(100)).await;
    drop(lease);
    let running = "select count(*) from pg_stat_activity where query like '%pg_sleep(15)%' and usename = 'reader' and state = 'active'";
    timeout(Duration::from_secs(5), async {
        while server.sql(running) != "0" {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
}

async fn a_killed_session_says_why(server: &Server, pool: &Pool) {
    let mut lease = acquire(pool).await;
    queue(&mut lease, &statement("select pg_sleep(15)"));
    lease.sync();
    lease.send().await;
    sleep(Duration::from_millis(100)).await;
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader'");
    match answers(&mut lease).await {
        Err(SourceError::Terminated(error)) => assert_eq!(&*error.sqlstate, "57P01"),
        other => panic!("{other:?}"),
    }
    lease.release();
    assert_eq!(pool.status().idle, 0);
}

async fn a_cancel_hits_its_lease_only(pool: &Pool) {
    let mut lease = acquire(pool).await;
    let token = lease.cancel_token();
    queue(&mut lease, &statement("select pg_sleep(15)"));
    lease.sync();
    let canceled = spawn_local(async move {
        sleep(Duration::from_millis(100)).await;
        token.cancel().await.map(|()| token)
    });
    assert_eq!(answers(&mut lease).await.unwrap(), ["prepared", "2", "57014", "I"]);
    lease.release();
    let mut lease = acquire(pool).await;
    let stale = canceled.await.unwrap().unwrap();
    queue(&mut lease, &statement("select 'mine', pg_sleep(0.3)"));
    lease.sync();
    let answered = spawn_local(async move { answers(&mut lease).await.map(|answers| (lease, answers)) });
    sleep(Duration::from_millis(50)).await;
    stale.cancel().await.unwrap();
    let (lease, answered) = answered.await.unwrap().unwrap();
    assert_eq!(answered[2], "mine,", "a token of an earlier lease does nothing");
    lease.release();
    // Many cancels that race the end of their statement: the next lease of the connection never pays for one.
    for round in 0..60_u64 {
        let mut lease = acquire(pool).await;
        let token = lease.cancel_token();
        queue(&mut lease, &statement("select pg_sleep(0.002)"));
        lease.sync();
        spawn_local(async move {
            sleep(Duration::from_micros(round * 60)).await;
            token.cancel().await
        });
        let found = answers(&mut lease).await.unwrap();
        lease.release();
        let mut lease = acquire(pool).await;
        assert_eq!(run(&mut lease, "select 'next', pg_sleep(0.001)").await[2], "next,", "round {round}, after {found:?}");
        lease.release();
    }
}

async fn a_replaced_source_is_reached_anew(server: &Server, pool: &Pool) {
    let mut lease = acquire(pool).await;
    let pid = value(&mut lease, PID).await;
    pool.replace(Arc::new(server.source()), 1);
    lease.release();
    let mut lease = acquire(pool).await;
    assert_eq!(value(&mut lease, PID).await, pid, "nothing changed");
    let changed = crate::policy::Source { statement_timeout: Duration::from_millis(150), ..server.source() };
    pool.replace(Arc::new(changed), 2);
    assert_eq!(value(&mut lease, "select 'to the end'").await, "to the end");
    lease.release();
    let mut lease = acquire(pool).await;
    assert_ne!(value(&mut lease, PID).await, pid);
    assert_eq!(run(&mut lease, "select pg_sleep(15)").await[2], "57014", "the new statement_timeout");
    lease.release();
}

async fn a_drained_pool_lends_no_more(pool: &Pool) {
    let lease = acquire(pool).await;
    let drained = spawn_local({
        let pool = pool.clone();
        async move { pool.drain().await }
    });
    sleep(Duration::from_millis(20)).await;
    assert!(!drained.is_finished());
    assert!(matches!(pool.acquire(&Rc::new(Settings::default())).await, Err(SourceError::Draining)));
    lease.release();
    timeout(Duration::from_secs(1), drained).await.unwrap().unwrap();
    assert_eq!((pool.status().idle, pool.status().in_use), (0, 0));
}

#[test]
fn a_source_that_goes_away_is_reached_again() {
    let server = Server::start();
    lane(async move {
        let pool = Pool::new(Arc::new(server.source()), 2);
        let mut lease = acquire(&pool).await;
        acquire(&pool).await.release();
        queue(&mut lease, &statement("select pg_sleep(15)"));
        lease.sync();
        lease.send().await;
        server.stop("immediate");
        assert!(matches!(answers(&mut lease).await, Err(SourceError::Terminated(_) | SourceError::Lost(_))));
        lease.release();
        assert!(matches!(pool.acquire(&Rc::default()).await, Err(SourceError::Connect { .. })));
        let before = Instant::now();
        let mut quick = 0;
        while before.elapsed() < Duration::from_secs(1) {
            match pool.acquire(&Rc::default()).await {
                Err(SourceError::BackingOff { retry_in, .. }) => quick += u32::from(retry_in < Duration::from_secs(6)),
                Err(SourceError::Connect { .. }) => {}
                other => panic!("{other:?}"),
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert!(quick > 50 && pool.status().failures < 12, "{quick} quick answers, {:?}", pool.status());
        server.boot();
        timeout(Duration::from_secs(10), async {
            while pool.acquire(&Rc::default()).await.map(super::Lease::release).is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        let mut lease = acquire(&pool).await;
        assert_eq!(value(&mut lease, "select 1").await, "1");
        lease.release();
    });
}
