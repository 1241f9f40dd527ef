//! kill -9 of workers at random moments, over and over, with worse in between: every approved proposal is applied exactly
//! once or in conflict, and no money is lost or made.
//!
//! `scripts/crash --proposals --rounds 1000` runs many rounds through `PGWICKET_PROPOSAL_ROUNDS`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::{Duration, Instant},
};

use pgwicket::{proposal::Status, store::Record, types::ProposalId};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{Bank, Kind, OPENING, Transfer, WORKER};
use crate::support::{Cluster, Worker};

/// Rounds in an ordinary test run.
const ROUNDS: u32 = 30;

/// Accounts; proposals take two each.
const ACCOUNTS: u32 = 400;

/// Workers at a time; a round kills one.
const WORKERS: usize = 3;

/// Proposals that wait for a worker, at least.
const BACKLOG: usize = 40;

/// Proposals made in a round, at most.
const MADE: usize = 8;

#[test]
fn exactly_once_over_sqlite() {
    rounds(Kind::Sqlite);
}

#[test]
fn exactly_once_over_postgresql() {
    rounds(Kind::Postgres);
}

fn rounds(kind: Kind) {
    let rounds = std::env::var("PGWICKET_PROPOSAL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut matrix = Matrix::new(kind);
    let began = Instant::now();
    for round in 1..=rounds {
        matrix.round();
        if round % 100 == 0 {
            eprintln!("{kind:?}: {round} rounds in {} s", began.elapsed().as_secs());
        }
    }
    matrix.finish();
    let seconds = began.elapsed().as_secs();
    eprintln!("| {kind:?} | {rounds} | {seconds} s | {} |", matrix.tally);
}

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    sleeps: u32,
    source_restarts: u32,
    lost_connections: u32,
    store_outages: u32,
    proposals: usize,
    applied: usize,
    conflicts: usize,
    /// Took more than one attempt.
    interrupted: usize,
    /// Were applied by a worker that did not live to say so.
    found_applied: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, sleeps, source_restarts, lost_connections, store_outages, .. } = self;
        let Self { proposals, applied, conflicts, interrupted, found_applied, .. } = self;
        write!(
            f,
            "{kills} kill -9, {sleeps} slept through a lease, {source_restarts} source crashes, {lost_connections} lost connections, \
             {store_outages} store outages | {proposals} proposals: {applied} applied, {conflicts} conflicts; {interrupted} took more \
             than one attempt, {found_applied} were applied by a worker that could not say so"
        )
    }
}

struct Matrix {
    bank: Bank,
    workers: Vec<Worker>,
    transfers: HashMap<ProposalId, Transfer>,
    tally: Tally,
}

impl Matrix {
    fn new(kind: Kind) -> Self {
        let bank = Bank::open_in(Cluster::own().empty_here(WORKER), kind, ACCOUNTS);
        // Transactions that last: between two rows, and before COMMIT.
        bank.database.sql(
            "create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(random() * 0.01); return null; end $$; \
             create trigger dawdle after update on accounts for each row execute function dawdle(); \
             create constraint trigger dawdle_late after update on accounts deferrable initially deferred for each row execute function dawdle()",
        );
        let flags = ["--lease", "2", "--concurrency", "4", "--lock-timeout", "1", "--log", "warn"];
        let workers = (0..WORKERS).map(|number| bank.worker(&format!("w{number}"), &flags)).collect();
        Self { bank, workers, transfers: HashMap::new(), tally: Tally::default() }
    }

    fn round(&mut self) {
        self.propose();
        std::thread::sleep(Duration::from_millis(rand::random_range(20..120)));
        match rand::random_range(0..200) {
            0..4 => self.sleep_through_a_lease(),
            4 => self.crash_the_source(),
            5..9 => self.lose_connections(),
            9..12 => self.store_outage(),
            _ => {}
        }
        let victim = rand::random_range(0..WORKERS);
        self.workers[victim].kill();
        self.tally.kills += 1;
        self.workers[victim].start_again();
    }

    /// Keeps the workers busy. Nine of ten proposals are on accounts of their own, the tenth has a rival.
    fn propose(&mut self) {
        let open = self.bank.records(&[Status::Approved, Status::Applying]);
        if open.len() >= BACKLOG {
            return;
        }
        let taken = |record: &Record| {
            let transfer = &self.transfers[&record.content.proposal().id];
            [transfer.from.0, transfer.to.0]
        };
        let mut busy: BTreeSet<u32> = open.iter().flat_map(taken).collect();
        let amounts = self.bank.amounts();
        let mut transfers = Vec::new();
        for _ in 0..MADE {
            let rival = rand::random_range(0..10) == 0;
            let mut account = || loop {
                let id = rand::random_range(1..=ACCOUNTS);
                if rival || busy.insert(id) {
                    break id;
                }
            };
            let (from, to) = (account(), account());
            let amount = rand::random_range(1..=10);
            if from == to || amounts[&from] < amount {
                continue;
            }
            transfers.push(Transfer::between(&amounts, from, to, amount));
        }
        self.transfers.extend(self.bank.approved_all(&transfers).into_iter().zip(transfers));
    }

    fn sleep_through_a_lease(&mut self) {
        let sleeper = &self.workers[rand::random_range(0..WORKERS)];
        sleeper.signal("STOP");
        std::thread::sleep(Duration::from_millis(2500));
        sleeper.signal("CONT");
        std::thread::sleep(Duration::from_millis(rand::random_range(0..30)));
        self.tally.sleeps += 1;
    }

    fn crash_the_source(&mut self) {
        self.bank.database.cluster().restart();
        self.tally.source_restarts += 1;
    }

    fn lose_connections(&mut self) {
        self.bank.database.sql(&format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{WORKER}'"));
        self.tally.lost_connections += 1;
    }

    fn store_outage(&mut self) {
        let pause = Duration::from_millis(rand::random_range(100..1500));
        match (&self.bank.store_database, self.bank.kind) {
            (Some(database), Kind::Postgres) => database.away_for(pause),
            (_, Kind::Sqlite) | (None, _) => {
                let file = self.bank.directory.join("state.db");
                self.bank.block_on(async {
                    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
                    connection.execute("pragma busy_timeout = 10000; begin exclusive").await.unwrap();
                    tokio::time::sleep(pause).await;
                    connection.execute("commit").await.unwrap();
                });
            }
        }
        self.tally.store_outages += 1;
    }

    /// Lets the workers finish, then holds the books against each other.
    fn finish(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !self.bank.records(&[Status::Approved, Status::Applying]).is_empty() {
            assert!(Instant::now() < deadline, "still open: {:?}", self.bank.records(&[Status::Approved, Status::Applying]).first());
            std::thread::sleep(Duration::from_millis(50));
        }
        let records = self.bank.records(&[]);
        assert_eq!(records.len(), self.transfers.len());
        let expected = self.expected(&records);
        let amounts = self.bank.amounts();
        assert_eq!(amounts.values().sum::<i64>(), OPENING * i64::from(ACCOUNTS + 1), "money was lost or made");
        assert_eq!(amounts, expected, "a transfer was applied twice, or not at all");
        let receipts = self.bank.seen("select proposal_id from pgwicket_receipts.pgwicket_receipts where outcome = 'applied'");
        let receipts: BTreeSet<&str> = receipts.lines().collect();
        let applied: BTreeSet<String> = records
            .iter()
            .filter(|record| record.status == Status::Applied)
            .map(|record| record.content.proposal().id.to_string())
            .collect();
        assert_eq!(receipts, applied.iter().map(String::as_str).collect(), "receipts and reports differ");
    }

    /// The accounts by what the store says was applied: each transfer once.
    fn expected(&mut self, records: &[Record]) -> BTreeMap<u32, i64> {
        let mut amounts: BTreeMap<u32, i64> = (0..=ACCOUNTS).map(|id| (id, OPENING)).collect();
        self.tally.proposals = records.len();
        for record in records {
            self.tally.interrupted += usize::from(record.attempts > 0);
            let report = &record.result.as_ref().unwrap().report;
            match record.status {
                Status::Applied => {
                    let transfer = &self.transfers[&record.content.proposal().id];
                    *amounts.get_mut(&transfer.from.0).unwrap() -= transfer.amount;
                    *amounts.get_mut(&transfer.to.0).unwrap() += transfer.amount;
                    self.tally.applied += 1;
                    self.tally.found_applied += usize::from(report.metadata.as_ref().is_some_and(|text| text.contains("found_applied")));
                }
                Status::Conflict => self.tally.conflicts += 1,
                other @ (Status::Pending
                | Status::Approved
                | Status::Applying
                | Status::Failed
                | Status::Rejected
                | Status::Expired
                | Status::Canceled) => panic!("{} is {other}: {report:?}", record.content.proposal().id),
            }
        }
        amounts
    }
}
