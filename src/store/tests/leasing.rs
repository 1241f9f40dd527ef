//! Leases, fencing and reports.

use std::collections::BTreeSet;

use super::*;

on_both!(
    a_worker_gets_the_oldest_of_its_sources,
    many_workers_get_each_proposal_once,
    a_lease_that_ran_out_is_handed_out_again_and_the_old_one_is_fenced_off,
    a_lease_can_be_extended_while_nobody_took_over,
    what_is_given_back_waits_for_its_time,
    of_two_proposals_on_one_row_one_is_applied,
    what_a_worker_has_tried_keeps_its_rows,
    a_row_is_held_by_one_worker_however_many_race,
    a_report_is_kept_and_a_repeat_changes_nothing,
    only_who_holds_a_proposal_reports_on_it,
    the_moves_of_a_proposal_are_its_audit_trail,
);

async fn a_worker_gets_the_oldest_of_its_sources(bench: Arc<Bench>) {
    assert!(bench.claim(NOW).await.is_none());
    bench.propose(&["0"]).await;
    let (one, two) = (bench.approved(&["1"]).await, bench.approved(&["2"]).await);
    let mut elsewhere = proposal(&["1"]);
    elsewhere.target.source = source("other");
    let elsewhere = bench.store_new(elsewhere).await;
    bench.approve(&elsewhere).await;
    assert!(bench.store.claim("worker-1", &[], LEASE, NOW).await.unwrap().is_none());
    assert!(bench.store.claim("worker-1", &[source("third")], LEASE, NOW).await.unwrap().is_none());
    let claim = bench.claim(NOW).await.unwrap();
    assert_eq!((claim.record.id(), claim.token, &*claim.worker), (one.id(), 1, "worker-1"));
    assert_eq!((claim.record.status, claim.record.worker.as_deref()), (Status::Applying, Some("worker-1")));
    assert_eq!((claim.record.lease_until, claim.record.approvals.len()), (Some(NOW + 30_000), 1));
    assert_eq!(bench.claim(NOW).await.unwrap().record.id(), two.id());
    assert!(bench.claim(NOW).await.is_none());
    let both = [source("app"), source("other")];
    assert_eq!(bench.store.claim("worker-1", &both, LEASE, NOW).await.unwrap().unwrap().record.id(), elsewhere.id());
}

async fn many_workers_get_each_proposal_once(bench: Arc<Bench>) {
    let mut expected = BTreeSet::new();
    for number in 0..60 {
        expected.insert(bench.approved(&[&number.to_string()]).await.id());
    }
    let second = Store::open(&bench.location).await.unwrap();
    let tasks = (0..12).map(|number| {
        let store = if number % 2 == 0 { bench.store.clone() } else { second.clone() };
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while let Some(claim) = store.claim(&format!("worker-{number}"), &[source("app")], LEASE, NOW).await.unwrap() {
                claimed.push(claim.record.id());
            }
            claimed
        })
    });
    let mut claimed = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        claimed.extend(task.await.unwrap());
    }
    assert_eq!((claimed.len(), claimed.into_iter().collect::<BTreeSet<_>>()), (60, expected));
}

async fn a_lease_that_ran_out_is_handed_out_again_and_the_old_one_is_fenced_off(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let slow = bench.claim(NOW).await.unwrap();
    assert!(bench.claim(NOW + 29_999).await.is_none());
    let fast = bench.store.claim("worker-2", &[source("app")], LEASE, NOW + 30_000).await.unwrap().unwrap();
    assert_eq!((fast.record.id(), fast.record.attempts), (record.id(), 1));
    assert_eq!(fast.record.last_error.as_deref(), Some("the lease of worker worker-1 ran out"));
    assert!(fast.token > slow.token);
    let lost = StoreError::LeaseLost(record.id());
    let (now, applied) = (NOW + 30_001, outcome(Outcome::Applied));
    assert_eq!(bench.store.report(record.id(), Holder::Token(slow.token), &applied, now).await, Err(lost.clone()));
    assert_eq!(bench.store.extend(&slow, LEASE, now).await, Err(lost.clone()));
    assert_eq!(bench.store.release(&slow, "late", now, now).await, Err(lost));
    assert_eq!(bench.store.report(record.id(), Holder::Token(fast.token), &applied, now).await.unwrap().status, Status::Applied);
    // Both say the same, so there is nothing to argue about.
    assert_eq!(bench.store.report(record.id(), Holder::Token(slow.token), &applied, now).await.unwrap().status, Status::Applied);
}

async fn a_lease_can_be_extended_while_nobody_took_over(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let claim = bench.claim(NOW).await.unwrap();
    bench.store.extend(&claim, LEASE, NOW + 20_000).await.unwrap();
    assert!(bench.claim(NOW + 49_999).await.is_none());
    bench.store.extend(&claim, LEASE, NOW + 60_000).await.unwrap();
    assert!(bench.claim(NOW + 89_999).await.is_none());
    bench.store.report(record.id(), Holder::Token(claim.token), &outcome(Outcome::Applied), NOW + MINUTE * 2).await.unwrap();
    assert_eq!(bench.store.extend(&claim, LEASE, NOW).await, Err(StoreError::LeaseLost(record.id())));
}

async fn what_is_given_back_waits_for_its_time(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let claim = bench.claim(NOW).await.unwrap();
    bench.store.release(&claim, "the source\0 is down", NOW + 5_000, NOW).await.unwrap();
    let waiting = bench.store.proposal(record.id()).await.unwrap().unwrap();
    assert_eq!((waiting.status, waiting.attempts, waiting.lease_until), (Status::Approved, 1, None));
    assert_eq!(waiting.last_error.as_deref(), Some("the source\u{fffd} is down"));
    assert_eq!(bench.store.release(&claim, "twice", NOW, NOW).await, Err(StoreError::LeaseLost(record.id())));
    assert!(bench.claim(NOW + 4_999).await.is_none());
    let again = bench.claim(NOW + 5_000).await.unwrap();
    assert_eq!((again.token, again.record.attempts), (2, 1));
}

async fn of_two_proposals_on_one_row_one_is_applied(bench: Arc<Bench>) {
    let (one, two, apart) = (bench.approved(&["1", "2"]).await, bench.approved(&["2", "3"]).await, bench.approved(&["4"]).await);
    let claim = bench.claim(NOW).await.unwrap();
    assert_eq!(claim.record.id(), one.id());
    let other = bench.claim(NOW).await.unwrap();
    assert_eq!(other.record.id(), apart.id(), "the second waits while the first is being applied");
    assert!(bench.claim(NOW).await.is_none());
    let later = bench.propose(&["3"]).await;
    bench.store.report(one.id(), Holder::Token(claim.token), &outcome(Outcome::Applied), NOW).await.unwrap();
    let after = bench.approved(&["2"]).await;
    assert_eq!(bench.claim(NOW).await.unwrap().record.id(), after.id(), "stored when the first was applied already");
    let second = bench.store.proposal(two.id()).await.unwrap().unwrap();
    let reported = second.result.unwrap().report;
    assert_eq!((second.status, &*reported.reporter), (Status::Conflict, "store"));
    assert!(reported.error.unwrap().starts_with(&one.id().to_string()));
    bench.approve(&later).await;
    assert_eq!(bench.claim(NOW).await.unwrap().record.id(), later.id(), "a conflict changed nothing");
}

async fn what_a_worker_has_tried_keeps_its_rows(bench: Arc<Bench>) {
    let (one, two) = (bench.approved(&["1"]).await, bench.approved(&["1"]).await);
    let claim = bench.claim(NOW).await.unwrap();
    bench.store.release(&claim, "the connection broke while committing", NOW + 5_000, NOW).await.unwrap();
    assert!(bench.claim(NOW + 1_000).await.is_none(), "nobody knows yet what the source has");
    assert!(bench.store.take(two.id(), "key_1", LEASE, NOW + 1_000).await.unwrap().is_none(), "nor is it handed out by its id");
    // Somebody calls the second applied: the first is still handed out, for its receipt decides.
    bench.sql("UPDATE proposals SET status = 'applied' WHERE id = $1", &two.id().to_string()).await;
    let claim = bench.claim(NOW + 5_000).await.unwrap();
    assert_eq!(claim.record.id(), one.id());
    bench.store.report(one.id(), Holder::Token(claim.token), &outcome(Outcome::Failed), NOW).await.unwrap();
    let third = bench.approved(&["1"]).await;
    assert_eq!(bench.claim(NOW).await.unwrap().record.id(), third.id());
}

async fn a_row_is_held_by_one_worker_however_many_race(bench: Arc<Bench>) {
    // A chain: each shares a row with the next.
    for number in 0..30 {
        bench.approved(&[&format!("{number:02}"), &format!("{:02}", number + 1)]).await;
    }
    let second = Store::open(&bench.location).await.unwrap();
    let tasks = (0..10).map(|number| {
        let store = if number % 2 == 0 { bench.store.clone() } else { second.clone() };
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while let Some(claim) = store.claim(&format!("worker-{number}"), &[source("app")], LEASE, NOW).await.unwrap() {
                claimed.push(claim);
            }
            claimed
        })
    });
    let mut claims = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        claims.extend(task.await.unwrap());
    }
    let rows: Vec<Digest> = claims.iter().flat_map(|claim| claim.record.content.proposal().row_names()).collect();
    assert_eq!(rows.iter().map(|row| row.0).collect::<BTreeSet<_>>().len(), rows.len(), "no row twice");
    assert!(claims.len() >= 10);
    for claim in &claims {
        bench.store.report(claim.record.id(), Holder::Token(claim.token), &outcome(Outcome::Applied), NOW).await.unwrap();
    }
    // What is left shares a row with an applied one, or is free now.
    let mut applied = rows.len();
    while let Some(claim) = bench.claim(NOW).await {
        bench.store.report(claim.record.id(), Holder::Token(claim.token), &outcome(Outcome::Applied), NOW).await.unwrap();
        applied += claim.record.content.proposal().row_names().len();
    }
    assert!(applied <= 31, "31 rows, each changed once at most");
}

async fn a_report_is_kept_and_a_repeat_changes_nothing(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let claim = bench.claim(NOW).await.unwrap();
    let mut report = outcome(Outcome::Conflict);
    report.error = Some("a row was not as it was read".into());
    report.differences = Some("[{\"column\":\"priority\"}]".into());
    let first = bench.store.report(record.id(), Holder::Token(claim.token), &report, NOW + 1).await.unwrap();
    assert_eq!((first.status, first.applied_at, first.lease_until), (Status::Conflict, None, None));
    assert_eq!(first.result, Some(Reported { report: report.clone(), at: NOW + 1 }));
    report.affected_rows = Some(7);
    assert_eq!(bench.store.report(record.id(), Holder::Token(claim.token), &report, NOW + 2).await, Ok(first.clone()));
    assert_eq!(bench.store.report(record.id(), key("key_9"), &report, NOW + 2).await, Ok(first.clone()));
    for other in [Outcome::Applied, Outcome::Failed] {
        let disagrees = bench.store.report(record.id(), key("key_9"), &outcome(other), NOW + 3).await;
        assert_eq!(disagrees, Err(StoreError::Disagrees { proposal: record.id(), known: Outcome::Conflict }));
    }
    assert_eq!(bench.store.proposal(record.id()).await.unwrap(), Some(first));
    let pending = bench.propose(&["2"]).await;
    let refused = bench.store.report(pending.id(), key("key_9"), &report, NOW).await;
    assert_eq!(refused, Err(StoreError::NotHeld(pending.id())));
}

async fn only_who_holds_a_proposal_reports_on_it(bench: Arc<Bench>) {
    let (record, next) = (bench.approved(&["1"]).await, bench.approved(&["2"]).await);
    let report = async |holder: &str, now| bench.store.report(record.id(), key(holder), &outcome(Outcome::Applied), now).await;
    let not_held = Err(StoreError::NotHeld(record.id()));
    assert_eq!(report("key_1", NOW).await, not_held, "approved, and nobody's");
    let taken = bench.store.take(record.id(), "key_1", LEASE, NOW).await.unwrap().unwrap();
    assert_eq!(report("key_2", NOW).await, not_held, "another's");
    assert_eq!(bench.store.take(record.id(), "key_2", LEASE, NOW + 29_999).await, Ok(None));
    assert_eq!(bench.claim(NOW + 29_999).await.unwrap().record.id(), next.id(), "nor does our worker get it");
    let longer = bench.store.take(record.id(), "key_1", LEASE, NOW + 20_000).await.unwrap().unwrap();
    assert_eq!((longer.token, longer.record.lease_until), (taken.token, Some(NOW + 50_000)), "who holds it gets it again");
    let other = bench.store.take(record.id(), "key_2", LEASE, NOW + 50_000).await.unwrap().unwrap();
    assert!(other.token > taken.token && other.record.attempts == 1);
    assert_eq!(report("key_1", NOW + 50_001).await, not_held, "too late");
    assert_eq!(report("key_2", NOW + 50_001).await.unwrap().status, Status::Applied);
    assert_eq!(report("key_1", NOW + 50_002).await.unwrap().status, Status::Applied, "the same again");
}

fn key(name: &str) -> Holder {
    Holder::Worker(name.into())
}

async fn the_moves_of_a_proposal_are_its_audit_trail(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let claim = bench.claim(NOW + 1).await.unwrap();
    bench.store.release(&claim, "the source is down", NOW + 2, NOW + 2).await.unwrap();
    bench.claim(NOW + 3).await.unwrap();
    let claim = bench.store.claim("worker-2", &[source("app")], LEASE, NOW + MINUTE).await.unwrap().unwrap();
    bench.store.report(record.id(), Holder::Token(claim.token), &outcome(Outcome::Applied), NOW + MINUTE + 1).await.unwrap();
    let events = bench.store.events(record.id()).await.unwrap();
    let events: Vec<String> = events
        .iter()
        .map(|event| {
            let from = event.from.map_or("", Status::word);
            format!("+{} {}: {from} -> {} {}", event.at - NOW, event.actor, event.to, event.note.as_deref().unwrap_or_default())
        })
        .collect();
    let expected = [
        "+0 agent support_agent:  -> pending the customer waits",
        "+0 reviewer alice: pending -> approved seen",
        "+1 worker worker-1: approved -> applying ",
        "+2 worker worker-1: applying -> approved the source is down",
        "+3 worker worker-1: approved -> applying ",
        "+60000 store: applying -> approved the lease of worker worker-1 ran out",
        "+60000 worker worker-2: approved -> applying ",
        "+60001 worker worker-1: applying -> applied ",
    ];
    assert_eq!(events, expected);
}
