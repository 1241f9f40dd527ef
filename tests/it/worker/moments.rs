//! kill -9 and SIGSTOP at moments that are held still: in the transaction, and between COMMIT and the report.

use std::time::{Duration, Instant};

use pgwicket::proposal::Status;
use tokio_postgres::{Client, NoTls};

use super::{Bank, Kind, STORE, Transfer, WORKER};
use crate::support::Database;

#[test]
fn a_worker_killed_in_the_transaction_leaves_nothing_and_the_next_applies() {
    let bank = Bank::open(Kind::Postgres, 2);
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    let blocker = client(&bank, &bank.database, WORKER);
    bank.block_on(blocker.batch_execute("begin; select from accounts where id = 2 for update")).unwrap();
    let mut first = bank.worker("first", &["--lease", "1"]);
    wait(|| waiting(&bank) > 0);
    first.kill();
    bank.block_on(blocker.batch_execute("commit")).unwrap();
    assert_eq!(bank.amounts()[&1], 1000);
    let _second = bank.worker("second", &["--lease", "1"]);
    let record = bank.settled(id);
    assert_eq!((record.status, record.attempts, record.worker.as_deref()), (Status::Applied, 1, Some("second")));
    assert_eq!((bank.amounts()[&1], bank.amounts()[&2]), (900, 1100));
}

#[test]
fn a_worker_killed_between_commit_and_report_has_applied_and_the_next_says_so() {
    let bank = Bank::open(Kind::Postgres, 2);
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    let store = bank.store_database.clone().unwrap();
    let row = client(&bank, &bank.database, WORKER);
    bank.block_on(row.batch_execute("begin; select from accounts where id = 2 for update")).unwrap();
    let mut first = bank.worker("first", &["--lease", "1"]);
    wait(|| waiting(&bank) > 0);
    // The store stands still before the source goes on.
    let proposals = client(&bank, &store, STORE);
    bank.block_on(proposals.batch_execute("begin; lock table pgwicket.proposals")).unwrap();
    bank.block_on(row.batch_execute("commit")).unwrap();
    wait(|| bank.seen("select outcome from pgwicket_receipts.pgwicket_receipts") == "applied");
    first.kill();
    bank.block_on(proposals.batch_execute("commit")).unwrap();
    assert_eq!(bank.record(id).status, Status::Applying);
    let _second = bank.worker("second", &["--lease", "1"]);
    let record = bank.settled(id);
    assert_eq!((record.status, record.worker.as_deref()), (Status::Applied, Some("second")));
    assert!(record.result.unwrap().report.metadata.unwrap().contains("\"found_applied\":true"));
    assert_eq!((bank.amounts()[&1], bank.amounts()[&2]), (900, 1100));
}

#[test]
fn a_worker_whose_store_is_away_stops_when_it_is_told_to_and_the_next_says_what_it_did() {
    let bank = Bank::open(Kind::Postgres, 2);
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    let store = bank.store_database.clone().unwrap();
    let row = client(&bank, &bank.database, WORKER);
    bank.block_on(row.batch_execute("begin; select from accounts where id = 2 for update")).unwrap();
    let mut first = bank.worker("first", &["--lease", "1", "--drain-timeout", "300"]);
    wait(|| waiting(&bank) > 0);
    let away = Duration::from_secs(10);
    std::thread::scope(|scope| {
        let began = Instant::now();
        scope.spawn(|| store.away_for(away));
        let gone = format!(
            "select not datallowconn and not exists (select from pg_stat_activity where datname = d.datname) from pg_database d where datname = '{}'",
            store.name
        );
        wait(|| bank.seen(&gone) == "t");
        bank.block_on(row.batch_execute("commit")).unwrap();
        wait(|| first.log().contains("it is tried again"));
        first.signal("TERM");
        first.ended();
        assert!(began.elapsed() < away, "it waited for its store");
    });
    assert_eq!(bank.record(id).status, Status::Applying);
    let _second = bank.worker("second", &["--lease", "1"]);
    let record = bank.settled(id);
    assert_eq!((record.status, record.worker.as_deref()), (Status::Applied, Some("second")));
    assert!(record.result.unwrap().report.metadata.unwrap().contains("\"found_applied\":true"));
    assert_eq!((bank.amounts()[&1], bank.amounts()[&2]), (900, 1100));
}

#[test]
fn a_worker_that_slept_through_its_lease_does_not_apply_again() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let bank = Bank::open(kind, 2);
        let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
        let blocker = client(&bank, &bank.database, WORKER);
        bank.block_on(blocker.batch_execute("begin; select from accounts where id = 1 for update")).unwrap();
        let first = bank.worker("first", &["--lease", "1"]);
        wait(|| waiting(&bank) > 0);
        first.signal("STOP");
        // Its receipt is written and not committed: the second waits for it, and gives the proposal back meanwhile.
        let second = bank.worker("second", &["--lease", "1", "--lock-timeout", "1"]);
        wait(|| second.log().contains("not decided yet"));
        bank.block_on(blocker.batch_execute("commit")).unwrap();
        first.signal("CONT");
        let record = bank.settled(id);
        assert_eq!(record.status, Status::Applied, "{kind:?} {record:?}");
        assert_eq!((bank.amounts()[&1], bank.amounts()[&2]), (900, 1100));
        assert_eq!(bank.seen("select count(*) from pgwicket_receipts.pgwicket_receipts"), "1");
    }
}

/// A connection of the test's own.
fn client(bank: &Bank, database: &Database, role: &str) -> Client {
    let config = database.login(role).config();
    bank.block_on(async {
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    })
}

/// Sessions of workers that wait for a row.
fn waiting(bank: &Bank) -> u32 {
    bank.seen("select count(*) from pg_stat_activity where application_name = 'pgwicket worker' and wait_event_type = 'Lock' and datname = current_database()")
        .parse()
        .unwrap()
}

pub(super) fn wait(until: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !until() {
        assert!(Instant::now() < deadline, "it did not come to pass within 30 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
