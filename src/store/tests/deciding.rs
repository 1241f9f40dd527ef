//! Decisions by reviewers, proposers and time.

use super::*;

on_both!(
    one_approval_approves_and_one_rejection_rejects,
    a_quorum_is_of_distinct_people,
    a_reviewer_decides_once,
    a_decision_is_for_the_content_that_was_shown,
    a_signature_is_kept_as_it_was_given,
    what_waited_too_long_cannot_be_approved,
    only_its_proposer_cancels_proposals,
    a_reviewer_cancels_with_a_reason,
    what_a_revoked_key_approved_can_be_decided_again,
    reviewers_who_decide_at_once_are_all_counted,
);

async fn one_approval_approves_and_one_rejection_rejects(bench: Arc<Bench>) {
    let (one, two) = (bench.propose(&["1"]).await, bench.propose(&["2"]).await);
    let approved = bench.store.decide(one.id(), decision(&one, "alice", Decision::Approve), 1, NOW + 5).await.unwrap();
    assert_eq!((approved.status, approved.decided_at, approved.updated_at), (Status::Approved, Some(NOW + 5), NOW + 5));
    assert_eq!(approved.approvals, [decision(&one, "alice", Decision::Approve)]);
    let rejected = bench.store.decide(two.id(), decision(&two, "alice", Decision::Reject), 3, NOW).await.unwrap();
    assert_eq!((rejected.status, rejected.settled_by), (Status::Rejected, None));
    let refused = bench.store.decide(two.id(), decision(&two, "bob", Decision::Approve), 1, NOW).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: a proposal that is rejected cannot be approved");
    let events: Vec<_> = bench.store.events(two.id()).await.unwrap();
    assert_eq!((&*events[1].actor, events[1].from, events[1].to), ("reviewer alice", Some(Status::Pending), Status::Rejected));
    assert_eq!((events.len(), events[1].note.as_deref()), (2, Some("seen")));
    let missing = bench.store.decide(ProposalId::new(1, 1), decision(&two, "bob", Decision::Approve), 1, NOW).await;
    assert_eq!(missing, Err(StoreError::NotFound(ProposalId::new(1, 1))));
}

async fn a_quorum_is_of_distinct_people(bench: Arc<Bench>) {
    let record = bench.propose(&["1"]).await;
    let approve = async |reviewer: &str| {
        let approval = decision(&record, reviewer, Decision::Approve);
        let record = bench.store.decide(record.id(), approval, 2, NOW).await.unwrap();
        (record.status, record.approvals.len())
    };
    assert_eq!(approve("alice").await, (Status::Pending, 1));
    assert_eq!(approve("alice").await, (Status::Pending, 1));
    assert_eq!(approve("bob").await, (Status::Approved, 2));
    assert_eq!(approve("alice").await, (Status::Approved, 2), "asked again, long after");
    assert_eq!(bench.store.events(record.id()).await.unwrap().len(), 3);
}

async fn a_reviewer_decides_once(bench: Arc<Bench>) {
    let record = bench.propose(&["1"]).await;
    bench.store.decide(record.id(), decision(&record, "alice", Decision::Approve), 2, NOW).await.unwrap();
    let refused = bench.store.decide(record.id(), decision(&record, "alice", Decision::Reject), 2, NOW).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: alice has decided otherwise before (approve)");
    // By another key she is still the same person.
    let mut other = decision(&record, "alice", Decision::Approve);
    other.decider = Decider::ApiKey { reviewer: "alice".parse().unwrap(), key: "key_2".into() };
    assert_eq!(bench.store.decide(record.id(), other, 2, NOW).await.unwrap().status, Status::Pending);
}

async fn a_decision_is_for_the_content_that_was_shown(bench: Arc<Bench>) {
    let (one, two) = (bench.propose(&["1"]).await, bench.propose(&["2"]).await);
    let refused = bench.store.decide(one.id(), decision(&two, "alice", Decision::Approve), 1, NOW).await;
    assert_eq!(refused, Err(StoreError::OtherContent(one.id())));
    assert_eq!(bench.store.proposal(one.id()).await.unwrap(), Some(one));
}

async fn a_signature_is_kept_as_it_was_given(bench: Arc<Bench>) {
    let record = bench.propose(&["1"]).await;
    let signature: Box<[u8]> = (0..64).map(|byte| byte * 4).collect();
    let mut approval = decision(&record, "alice", Decision::Approve);
    approval.decider = Decider::Signature { reviewer: "alice".parse().unwrap(), signature };
    bench.store.decide(record.id(), approval.clone(), 1, NOW).await.unwrap();
    assert_eq!(bench.store.proposal(record.id()).await.unwrap().unwrap().approvals, [approval]);
}

async fn what_waited_too_long_cannot_be_approved(bench: Arc<Bench>) {
    let over = NOW + 10 * MINUTE;
    let (one, two, approved) = (bench.propose(&["1"]).await, bench.propose(&["2"]).await, bench.approved(&["3"]).await);
    assert_eq!(
        (one.status_at(over - 1), one.status_at(over), approved.status_at(over)),
        (Status::Pending, Status::Expired, Status::Approved)
    );
    let refused = bench.store.decide(one.id(), decision(&one, "alice", Decision::Approve), 1, over).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: a proposal that is expired cannot be approved");
    assert_eq!(bench.status(&one).await, Status::Expired, "and that is written down");
    assert_eq!(bench.store.expire(over - 1).await, Ok(0));
    assert_eq!(bench.store.expire(over).await, Ok(1));
    assert_eq!((bench.status(&two).await, bench.status(&approved).await), (Status::Expired, Status::Approved));
    for number in 0..520 {
        bench.propose(&[&format!("many {number}")]).await;
    }
    assert_eq!(bench.store.expire(over).await, Ok(520));
}

async fn only_its_proposer_cancels_proposals(bench: Arc<Bench>) {
    let (agent, other) = ("support_agent".parse().unwrap(), "other_agent".parse().unwrap());
    let (pending, approved) = (bench.propose(&["1"]).await, bench.approved(&["2"]).await);
    let both = [approved.id(), pending.id(), approved.id()];
    for record in [&pending, &approved] {
        assert_eq!(bench.store.cancel(&[record.id()], &other, &acme(), NOW).await, Err(StoreError::OtherAgent(record.id())));
        assert_eq!(bench.status(record).await, record.status);
    }
    assert_eq!(bench.store.cancel(&both, &agent, &acme(), NOW).await, Ok(2));
    assert_eq!(bench.store.cancel(&both, &agent, &acme(), NOW + 1).await, Ok(0));
    for record in [&pending, &approved] {
        assert_eq!(bench.status(record).await, Status::Canceled);
    }
    let proposer = bench.store.proposal(approved.id()).await.unwrap().unwrap().approvals.pop().unwrap();
    assert_eq!((proposer.decision, proposer.decider), (Decision::Cancel, Decider::Proposer { agent: agent.clone() }));
    assert_eq!(bench.store.unsealed(&[source("app")]).await.unwrap().len(), 1, "what nobody approved needs no seal");
    assert!(bench.claim(NOW).await.is_none());
    let (claimed, beside) = (bench.approved(&["3"]).await, bench.propose(&["5"]).await);
    let claim = bench.claim(NOW).await.unwrap();
    let refused = bench.store.cancel(&[beside.id(), claimed.id()], &agent, &acme(), NOW).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: a proposal that is applying cannot be canceled");
    assert_eq!(bench.status(&beside).await, Status::Pending, "all or none");
    bench.store.release(&claim, "the source is down", NOW, NOW).await.unwrap();
    assert_eq!(bench.store.cancel(&[claimed.id()], &agent, &acme(), NOW).await, Err(StoreError::Begun(claimed.id())));
    let late = bench.propose(&["4"]).await;
    let refused = bench.store.cancel(&[late.id()], &agent, &acme(), NOW + 10 * MINUTE).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: a proposal that is expired cannot be canceled");
}

async fn a_reviewer_cancels_with_a_reason(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let cancel = Approval { reason: Some("a duplicate".into()), ..decision(&record, "bob", Decision::Cancel) };
    let canceled = bench.store.cancel_by(record.id(), cancel.clone(), NOW).await.unwrap();
    assert_eq!(canceled.status, Status::Canceled);
    assert_eq!(canceled.approvals.last(), Some(&cancel), "kept beside the approval");
    assert_eq!(bench.store.cancel_by(record.id(), cancel, NOW).await.unwrap().approvals, canceled.approvals, "again");
    assert_eq!(bench.store.unsealed(&[source("app"), source("other")]).await.unwrap(), std::slice::from_ref(&canceled));
    bench.store.sealed(record.id(), NOW).await.unwrap();
    assert_eq!(bench.store.unsealed(&[source("app")]).await.unwrap(), []);
    // Nobody approves again what was taken back, or decided otherwise.
    let refused = bench.store.decide(record.id(), decision(&record, "alice", Decision::Approve), 1, NOW).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: a proposal that is canceled cannot be approved");
    let rejected = bench.propose(&["2"]).await;
    bench.store.decide(rejected.id(), decision(&rejected, "alice", Decision::Approve), 2, NOW).await.unwrap();
    bench.store.decide(rejected.id(), decision(&rejected, "bob", Decision::Reject), 2, NOW).await.unwrap();
    let refused = bench.store.decide(rejected.id(), decision(&rejected, "alice", Decision::Approve), 2, NOW).await.unwrap_err();
    assert_eq!(words(&refused), "prop_…: a proposal that is rejected cannot be approved");
    assert!(bench.store.decide(rejected.id(), decision(&rejected, "bob", Decision::Reject), 2, NOW).await.is_ok(), "the same again");
    let events = bench.store.events(record.id()).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!((&*last.actor, last.to, last.note.as_deref()), ("reviewer bob", Status::Canceled, Some("a duplicate")));
}

async fn what_a_revoked_key_approved_can_be_decided_again(bench: Arc<Bench>) {
    let new = |number| crate::store::NewKey {
        name: "bob's".into(),
        scopes: vec!["proposals:approve".into()],
        reviewer: Some("bob".parse().unwrap()),
        sources: Vec::new(),
        secret_hash: Digest([number; 32]),
    };
    let key = bench.store.create_key(&new(1), NOW).await.unwrap().id;
    let by = |record: &Record, key: &str| Approval {
        decider: Decider::ApiKey { reviewer: "bob".parse().unwrap(), key: key.into() },
        ..decision(record, "bob", Decision::Approve)
    };
    let (one, two, other) = (bench.propose(&["1"]).await, bench.propose(&["2"]).await, bench.approved(&["3"]).await);
    bench.store.decide(one.id(), by(&one, &key), 1, NOW).await.unwrap();
    bench.store.decide(two.id(), by(&two, &key), 2, NOW).await.unwrap();
    bench.store.revoke_key(&key, NOW).await.unwrap();
    let decided: Vec<_> = bench.store.decisions_of_key(&key).await.unwrap().into_iter().map(|it| (it.proposal, it.status)).collect();
    assert_eq!(decided.len(), 2, "{decided:?}");
    assert!(decided.contains(&(one.id(), Status::Approved)) && decided.contains(&(two.id(), Status::Pending)));
    // One of two does not count any more: another's makes it one, not two; bob's own, by another key, takes its place.
    let after = bench.store.decide(two.id(), decision(&two, "alice", Decision::Approve), 2, NOW).await.unwrap();
    assert_eq!((after.status, after.approvals.iter().filter(|it| it.revoked).count()), (Status::Pending, 1));
    let again = bench.store.create_key(&new(2), NOW).await.unwrap().id;
    let after = bench.store.decide(two.id(), by(&two, &again), 2, NOW).await.unwrap();
    assert_eq!((after.status, after.approvals.iter().filter(|it| it.revoked).count()), (Status::Approved, 0));
    // The approved one waits again, once; nobody else's is touched.
    assert_eq!(bench.store.reopen(one.id(), "revoked", NOW).await, Ok(true));
    assert_eq!(bench.store.reopen(one.id(), "revoked", NOW).await, Ok(false));
    assert_eq!((bench.status(&one).await, bench.status(&other).await), (Status::Pending, Status::Approved));
    let reopened = bench.store.proposal(one.id()).await.unwrap().unwrap();
    assert_eq!((reopened.decided_at, bench.store.events(one.id()).await.unwrap().len()), (None, 3));
    assert_eq!(bench.store.decide(one.id(), by(&one, &again), 1, NOW).await.unwrap().status, Status::Approved);
    let claim = bench.claim(NOW).await.unwrap();
    assert_eq!(bench.store.reopen(claim.record.id(), "revoked", NOW).await, Ok(false), "a worker has begun");
}

async fn reviewers_who_decide_at_once_are_all_counted(bench: Arc<Bench>) {
    let record = bench.propose(&["1"]).await;
    let tasks = (0..20).map(|number| {
        let (store, approval) = (bench.store.clone(), decision(&record, &format!("reviewer-{}", number % 10), Decision::Approve));
        let id = record.id();
        tokio::spawn(async move { store.decide(id, approval, 10, NOW).await.unwrap() })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let decided = bench.store.proposal(record.id()).await.unwrap().unwrap();
    assert_eq!((decided.status, decided.approvals.len()), (Status::Approved, 10));
}
