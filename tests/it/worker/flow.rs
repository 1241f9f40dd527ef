//! What a worker applies and what it refuses.

use std::time::{Duration, Instant};

use pgwicket::{
    proposal::{Approval, Decider, Decision, Status},
    source::{RECEIPTS_SCHEMA, migration},
};

use super::{Bank, Kind, Transfer, WORKER, content, moments::wait, now, yes};
use crate::support::run;

const KINDS: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

#[test]
fn an_approved_proposal_is_applied_once_and_its_rival_is_a_conflict() {
    for kind in KINDS {
        let bank = Bank::open(kind, 4);
        let amounts = bank.amounts();
        let first = bank.approved(&Transfer::between(&amounts, 1, 2, 100));
        let rival = bank.approved(&Transfer::between(&amounts, 2, 3, 50));
        let other = bank.approved(&Transfer::between(&amounts, 4, 3, 7));
        let mut worker = bank.worker("w", &[]);
        let (first, rival, other) = (bank.settled(first), bank.settled(rival), bank.settled(other));
        assert_eq!((first.status, rival.status), (Status::Applied, Status::Conflict), "{kind:?}: {rival:?}");
        assert_eq!(other.status, Status::Applied);
        assert_eq!(bank.amounts().into_values().collect::<Vec<_>>(), [1000, 900, 1100, 1007, 993]);
        let report = first.result.unwrap().report;
        assert_eq!((report.affected_rows, &*report.reporter, report.error), (Some(2), "w", None));
        let id = first.content.proposal().id;
        assert_eq!(
            bank.seen(&format!("select outcome, affected_rows, agent, approved_by, digest = '{}', evidence_id = '{}' from pgwicket_receipts.pgwicket_receipts where proposal_id = '{id}'", first.content.digest(), first.content.proposal().evidence)),
            "applied|2|bot|ana|t|t"
        );
        worker.signal("TERM");
        assert!(worker.ended().success());
        let log = worker.log();
        assert!(log.contains("applied") && log.contains("stopped"), "{log}");
        assert!(!log.contains("1100"), "a value is in the log: {log}");
    }
}

#[test]
fn a_worker_hears_of_an_approval_before_it_looks() {
    let bank = Bank::open(Kind::Postgres, 4);
    let store = bank.store_database.clone().unwrap();
    let listening =
        || store.sql("select count(*) from pg_stat_activity where datname = current_database() and query = 'LISTEN \"pgwicket_approved\"'");
    let listens = || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while listening().trim() != "1" {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let _worker = bank.worker("w", &["--poll", "60000"]);
    listens();
    let first = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    assert_eq!(bank.settled(first).status, Status::Applied);
    store.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%' and datname = current_database()");
    // While nobody hears, this is announced.
    let unheard = bank.approved(&Transfer::between(&bank.amounts(), 2, 3, 100));
    assert_eq!(bank.settled(unheard).status, Status::Applied);
    listens();
    let third = bank.approved(&Transfer::between(&bank.amounts(), 3, 4, 100));
    assert_eq!(bank.settled(third).status, Status::Applied);
}

#[test]
fn what_was_changed_forged_or_replayed_is_refused_and_said_so() {
    let bank = Bank::open(Kind::Postgres, 20);
    let store = bank.store_database.clone().unwrap();
    let amounts = bank.amounts();
    // A value of the stored content is changed after the approval.
    let tampered = bank.approved(&Transfer::between(&amounts, 1, 2, 100));
    store.sql(&format!("update pgwicket.proposals set content = replace(content, '\"900\"', '\"0\"') where id = '{tampered}'"));
    // An approval of another proposal is copied.
    let (copied, donor) = (content(&Transfer::between(&amounts, 3, 4, 100)), content(&Transfer::between(&amounts, 5, 6, 100)));
    for content in [&copied, &donor] {
        bank.block_on(bank.store.create(content.clone(), None, now())).unwrap();
    }
    bank.block_on(bank.store.decide(donor.proposal().id, yes("ana", donor.digest()), 1, now())).unwrap();
    let (copied, donor) = (copied.proposal().id, donor.proposal().id);
    store.sql(&format!(
        "update pgwicket.approvals set proposal_id = '{copied}' where proposal_id = '{donor}'; \
         update pgwicket.proposals set status = 'approved' where id = '{copied}'; \
         update pgwicket.proposals set status = 'pending' where id = '{donor}'"
    ));
    // Reviewers that may not, or that are not, and a signature of a reviewer without a key.
    let forged = |reviewer: &str, transfer: Transfer| {
        let content = content(&transfer);
        let (id, digest) = (content.proposal().id, content.digest());
        bank.block_on(async {
            bank.store.create(content, None, now()).await.unwrap();
            bank.store.decide(id, yes(reviewer, digest), 1, now()).await.unwrap();
        });
        id
    };
    let own = forged("ben", Transfer::between(&amounts, 7, 8, 1));
    let nobody = forged("eve", Transfer::between(&amounts, 9, 10, 1));
    let signed = content(&Transfer::between(&amounts, 11, 12, 1));
    let decider = Decider::Signature { reviewer: "ana".parse().unwrap(), signature: vec![1; 64].into() };
    let approval = Approval {
        decision: Decision::Approve,
        decider,
        digest: signed.digest(),
        reason: None,
        at: now(),
        until: Some(now() + 60_000),
        revoked: false,
    };
    let rule = content(&Transfer::between(&amounts, 13, 14, 1));
    let settled = Approval { decider: Decider::Rule { rule: "small".into() }, digest: rule.digest(), ..approval.clone() };
    for (content, approval) in [(&signed, approval), (&rule, settled)] {
        bank.block_on(async {
            bank.store.create(content.clone(), None, now()).await.unwrap();
            bank.store.decide(content.proposal().id, approval, 1, now()).await.unwrap();
        });
    }
    let good = bank.approved(&Transfer::between(&amounts, 15, 16, 5));
    let _worker = bank.worker("w", &[]);
    for (id, words) in [
        (tampered, "other content"),
        (copied, "other content"),
        (own, "ben may not decide"),
        (nobody, "eve may not decide"),
        (signed.proposal().id, "signature"),
        (rule.proposal().id, "no settlement rule small"),
    ] {
        let record = bank.settled(id);
        let error = record.result.as_ref().and_then(|result| result.report.error.as_deref()).unwrap_or_default();
        assert_eq!(record.status, Status::Failed, "{id} {words}: {record:?}");
        assert!(error.contains("not applied") && error.contains(words), "{words}: {error}");
    }
    assert_eq!(bank.settled(good).status, Status::Applied);
    assert_eq!(bank.seen("select count(*) from accounts where amount <> 1000"), "2");
    // An old one that was applied is handed out again: its receipt says that it was.
    store.sql(&format!("update pgwicket.proposals set status = 'approved', reported_at = null where id = '{good}'"));
    bank.settled(good);
    assert_eq!(bank.seen("select amount from accounts where id = 15"), "995");
}

#[test]
fn without_a_receipt_table_a_worker_says_what_to_do() {
    let bank = Bank::open(Kind::Sqlite, 2);
    bank.database.sql("drop table pgwicket_receipts.pgwicket_receipts");
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    let mut refused = bank.worker("refused", &[]);
    assert!(!refused.ended().success());
    let log = refused.log();
    assert!(log.contains("no table pgwicket_receipts") && log.contains("pgwicket worker migration"), "{log}");
    bank.set_policy(", receipts: none");
    let worker = bank.worker("without", &[]);
    let record = bank.settled(id);
    assert_eq!(record.status, Status::Applied);
    assert!(record.result.unwrap().report.metadata.unwrap().contains("\"receipt\":false"));
    assert!(worker.log().contains("guarded by the before-image alone"), "{}", worker.log());
    // What `migration` prints is what a worker needs.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgwicket"));
    let printed = run(command.args(["worker", "migration", "--role", WORKER])).ok();
    assert_eq!(printed, migration(RECEIPTS_SCHEMA, Some(WORKER)));
    bank.database.sql(&printed);
    bank.set_policy("");
    let _with = bank.worker("with", &[]);
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    assert_eq!(bank.settled(id).status, Status::Applied);
}

/// Whoever may create in the schema could have made the table first, with code in it that would run with the worker's rights.
#[test]
fn a_receipt_table_of_somebody_else_is_not_taken() {
    let bank = Bank::open(Kind::Sqlite, 2);
    let planted = "create function pwned() returns trigger language plpgsql as $$ begin update public.accounts set amount = 0; return new; end $$; \
         create trigger pwned after insert on pgwicket_receipts.pgwicket_receipts for each row execute function pwned()";
    bank.database.sql(planted);
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    let refused = bank.worker("refused", &[]);
    wait(|| refused.log().contains("it is not the one that `pgwicket worker migration` makes"));
    drop(refused);
    assert_eq!(bank.seen("select count(*) from accounts where amount <> 1000"), "0");
    // The migration does not take it either, nor one of another owner.
    let migrated =
        || run(bank.database.psql().args(["-q", "-v", "ON_ERROR_STOP=1", "-c", &migration(RECEIPTS_SCHEMA, Some(WORKER))])).stderr;
    assert!(migrated().contains("look at it and drop it first"));
    bank.database.sql(
        "drop trigger pwned on pgwicket_receipts.pgwicket_receipts; alter table pgwicket_receipts.pgwicket_receipts owner to pg_monitor",
    );
    assert!(migrated().contains("look at it and drop it first"));
    bank.database.sql("drop table pgwicket_receipts.pgwicket_receipts");
    bank.database.sql(&migration(RECEIPTS_SCHEMA, Some(WORKER)));
    let _worker = bank.worker("with", &[]);
    assert_eq!(bank.settled(id).status, Status::Applied);
}

#[test]
fn what_the_source_cannot_take_is_given_up_after_so_many_attempts() {
    let bank = Bank::open(Kind::Sqlite, 2);
    bank.database.sql(
        "create function deadlock() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = '40P01'; end $$; \
         create trigger deadlock before update on accounts for each row execute function deadlock()",
    );
    let id = bank.approved(&Transfer::between(&bank.amounts(), 1, 2, 100));
    let _worker = bank.worker("w", &["--attempts", "3"]);
    let record = bank.settled(id);
    assert_eq!((record.status, record.attempts), (Status::Failed, 2));
    let report = record.result.unwrap().report;
    assert!(report.error.unwrap().contains("given up after 3 attempts"));
    assert!(report.metadata.unwrap().contains("40P01"));
    assert_eq!(bank.seen("select outcome from pgwicket_receipts.pgwicket_receipts"), "failed");
}
