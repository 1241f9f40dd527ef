//! One promise for all lanes: how they share it when each wants all of it.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::policy::Source;

use super::{
    super::{Budget, Pool},
    acquire, lane,
    server::Server,
    value,
};

/// Sessions of a lane that ask at once.
const SESSIONS: usize = 12;
/// Statements of each: many, so that what connecting takes is little beside them.
const STATEMENTS: usize = 300;

/// Runs every session of both lanes to its end. How many statements each lane had run when the first of them was through, and how many
/// connections were made.
async fn contend(server: &Server, max: usize) -> ([usize; 2], u64) {
    let source = Arc::new(Source { pool_wait: Duration::from_secs(30), ..server.source() });
    let budget = Budget::new(max);
    let pools = [Pool::sharing(Arc::clone(&source), Arc::clone(&budget)), Pool::sharing(source, budget)];
    let (ran, first) = (Rc::new([Cell::new(0), Cell::new(0)]), Rc::new(Cell::new(None)));
    let sessions = pools.iter().enumerate().flat_map(|(number, pool)| (0..SESSIONS).map(move |_| (number, pool.clone())));
    let work = sessions.map(async |(number, pool)| {
        for _ in 0..STATEMENTS {
            let mut lease = acquire(&pool).await;
            assert_eq!(value(&mut lease, "select 1").await, "1");
            lease.release();
            ran[number].set(ran[number].get() + 1);
            if ran[number].get() == SESSIONS * STATEMENTS && first.get().is_none() {
                first.set(Some([ran[0].get(), ran[1].get()]));
            }
        }
    });
    timeout(Duration::from_mins(1), join_all(work)).await.unwrap();
    (first.get().unwrap(), pools.iter().map(|pool| pool.status().connects).sum())
}

#[test]
fn lanes_that_each_want_all_share_alike_and_keep_their_connections() {
    let server = Server::start();
    lane(async move {
        for max in [2, 3, 4, 5, 9] {
            let (ran, connects) = contend(&server, max).await;
            let most = SESSIONS * STATEMENTS;
            assert!(ran.iter().all(|ran| *ran >= most / 3), "{max} connections: {ran:?} statements when one lane was through");
            // Each lane's part, what the first lane has to give up, and what is made anew when the other is through.
            assert!(connects <= 3 * max as u64, "{max} connections: {connects} were made");
        }
    });
}
