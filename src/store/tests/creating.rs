//! What is stored, what is a repeat, what a rule settles.

use super::*;
use crate::{
    proposal::{Counter, Settle, Settlement},
    store::{Created, Filter, PageRequest},
};

on_both!(
    a_proposal_is_stored_as_it_is,
    a_repeat_is_the_same_proposal,
    an_idempotency_key_stands_for_one_change,
    twenty_tasks_store_one_proposal_once,
    proposals_on_one_row_name_each_other,
    a_limit_a_day_holds_over_concurrent_proposals,
    what_is_kept_for_an_agent_is_kept_for_the_tenant_it_acts_for,
    a_rule_counts_by_agent_and_day,
    what_an_agent_has_open_is_bounded_for_each_tenant,
    a_page_ends_where_its_bytes_do,
);

async fn a_proposal_is_stored_as_it_is(bench: Arc<Bench>) {
    let content = Content::of(proposal(&["1", "2"]));
    let record = bench.store.create(content.clone(), None, NOW).await.unwrap().record;
    assert_eq!((&record.content, record.status, record.attempts), (&content, Status::Pending, 0));
    assert_eq!((record.approvals.len(), record.conflicts_with.len(), record.result.is_none()), (0, 0, true));
    assert_eq!(bench.store.proposal(content.proposal().id).await.unwrap(), Some(record));
    let events = bench.store.events(content.proposal().id).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((&*events[0].actor, events[0].from, events[0].to, events[0].at), ("agent support_agent", None, Status::Pending, NOW));
    assert_eq!(bench.store.proposal(ProposalId::new(1, 1)).await, Ok(None));
}

async fn a_repeat_is_the_same_proposal(bench: Arc<Bench>) {
    let first = bench.propose(&["1"]).await;
    let repeat = Content::of(again(first.content.proposal()));
    let created = bench.store.create(repeat.clone(), None, NOW + 1).await.unwrap();
    assert_eq!(created, Created { record: first.clone(), repeated: true });
    let approved = bench.approve(&first).await;
    let created = bench.store.create(repeat.clone(), None, NOW + 2).await.unwrap();
    assert_eq!(created, Created { record: approved, repeated: true });
    // Another agent's is another one.
    let mut other = again(first.content.proposal());
    other.proposer.agent = "other_agent".parse().unwrap();
    bench.store_new(other).await;
    // Once it is over, the same change is a new proposal.
    bench.end(&first, Outcome::Failed).await;
    assert!(!bench.store.create(repeat, None, NOW + 3).await.unwrap().repeated);
    // One that nobody decided in time is over, too.
    let second = bench.propose(&["2"]).await;
    let repeat = Content::of(again(second.content.proposal()));
    let late = bench.store.create(repeat.clone(), None, NOW + 10 * MINUTE).await.unwrap();
    assert_eq!((late.repeated, late.record.id()), (false, repeat.proposal().id));
    assert_eq!(bench.status(&second).await, Status::Expired);
}

async fn an_idempotency_key_stands_for_one_change(bench: Arc<Bench>) {
    let keyed = |proposal: Proposal| Content::of(Proposal { idempotency_key: Some("refund-7".into()), ..proposal });
    let first = keyed(proposal(&["1"]));
    let record = bench.store.create(first.clone(), None, NOW).await.unwrap().record;
    let created = bench.store.create(keyed(again(first.proposal())), None, NOW).await.unwrap();
    assert_eq!(created, Created { record: record.clone(), repeated: true });
    let other = keyed(proposal(&["1"]));
    assert_eq!(bench.store.create(other.clone(), None, NOW).await, Err(StoreError::KeyReused(record.id())));
    // The same change under another key, or none, is meant as another one.
    let unkeyed = Proposal { idempotency_key: None, ..again(first.proposal()) };
    assert!(!bench.store.create(Content::of(unkeyed), None, NOW).await.unwrap().repeated);
    // A key does its work once: applied, it stays taken.
    bench.approve(&record).await;
    bench.end(&record, Outcome::Applied).await;
    let created = bench.store.create(keyed(again(first.proposal())), None, NOW).await.unwrap();
    assert_eq!((created.repeated, created.record.status), (true, Status::Applied));
    assert_eq!(bench.store.create(other, None, NOW).await, Err(StoreError::KeyReused(record.id())));
}

async fn twenty_tasks_store_one_proposal_once(bench: Arc<Bench>) {
    let first = proposal(&["1"]);
    let tasks = (0..20).map(|_| {
        let (store, content) = (bench.store.clone(), Content::of(again(&first)));
        tokio::spawn(async move { store.create(content, None, NOW).await.unwrap() })
    });
    let mut created = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        created.push(task.await.unwrap());
    }
    assert_eq!(created.iter().filter(|created| !created.repeated).count(), 1);
    assert!(created.iter().all(|one| one.record == created[0].record));
}

async fn proposals_on_one_row_name_each_other(bench: Arc<Bench>) {
    let one = bench.propose(&["1", "2"]).await;
    let two = bench.propose(&["2", "3"]).await;
    let apart = bench.propose(&["4"]).await;
    let three = bench.propose(&["1", "3"]).await;
    let conflicts = async |record: &Record| bench.store.proposal(record.id()).await.unwrap().unwrap().conflicts_with;
    assert_eq!(three.conflicts_with, [two.id(), one.id()]);
    assert_eq!(conflicts(&one).await, [three.id(), two.id()]);
    assert_eq!(conflicts(&two).await, [three.id(), one.id()]);
    assert_eq!(conflicts(&apart).await, []);
    // What is over is in nobody's way.
    for record in [&one, &two, &three] {
        bench.store.cancel(&[record.id()], &"support_agent".parse().unwrap(), &acme(), NOW).await.unwrap();
    }
    assert_eq!(bench.propose(&["1", "2", "3"]).await.conflicts_with, []);
    let late = bench.store.create(Content::of(proposal(&["4"])), None, NOW + 10 * MINUTE).await.unwrap();
    assert_eq!(late.record.conflicts_with, [], "its time was over, whether or not that was written down");
}

/// Settles up to `count` proposals and `sum` a day.
struct Limit {
    count: u64,
    sum: i64,
}

impl Settle for Limit {
    fn rules(&self) -> Vec<Box<str>> {
        vec!["small".into(), "other".into()]
    }

    fn settle(&self, counters: &[Counter]) -> Option<Settlement> {
        let [small, other] = counters else { panic!("one counter a rule") };
        assert_eq!(*other, Counter::default());
        assert_eq!((small.rows, small.sum), (2 * small.count, 30_000 * i64::try_from(small.count).unwrap()));
        (small.count < self.count && small.sum + 30_000 <= self.sum).then(|| Settlement { rule: "small".into(), amount: 30_000 })
    }
}

async fn a_limit_a_day_holds_over_concurrent_proposals(bench: Arc<Bench>) {
    let second = Store::open(&bench.location).await.unwrap();
    let tasks = (0..20).map(|number: i64| {
        let store = if number % 2 == 0 { bench.store.clone() } else { second.clone() };
        let (key, other) = (number.to_string(), format!("other {number}"));
        let content = Content::of(proposal(&[&key, &other]));
        tokio::spawn(async move { store.create(content, Some(Arc::new(Limit { count: 7, sum: i64::MAX })), NOW).await.unwrap() })
    });
    let mut approved = 0;
    for task in tasks.collect::<Vec<_>>() {
        let record = task.await.unwrap().record;
        let rule = (record.status == Status::Approved).then_some("small");
        assert_eq!((record.settled_by.as_deref(), record.approvals.len()), (rule, usize::from(rule.is_some())));
        if record.status == Status::Approved {
            approved += 1;
            assert_eq!((record.decided_at, &record.approvals[0].digest), (Some(NOW), &record.content.digest()));
            assert_eq!(record.approvals[0].decider, Decider::Rule { rule: "small".into() });
        }
    }
    assert_eq!(approved, 7);
}

/// One agent on one connection for many tenants: what it proposes for one is unknown to it while it acts for another, whatever
/// the two have in common. Without the tenant in the conditions of `create` each part of this fails.
async fn what_is_kept_for_an_agent_is_kept_for_the_tenant_it_acts_for(bench: Arc<Bench>) {
    let acting = |tenant: &str, proposal: Proposal| {
        let tenant = Some(tenant.parse().unwrap());
        Proposal { proposer: Proposer { tenant, ..proposal.proposer.clone() }, ..proposal }
    };
    // A relation of a single tenant: agents of all tenants change the same rows.
    let shared = |proposal: Proposal| Proposal { target: Target { tenant: None, ..proposal.target.clone() }, ..proposal };
    let keyed = |proposal: Proposal| Proposal { idempotency_key: Some("order-1001".into()), ..proposal };
    let create = async |proposal: Proposal| bench.store.create(Content::of(proposal), None, NOW).await.unwrap();

    let one = proposal(&["1"]);
    let first = create(shared(one.clone())).await;
    let other = create(acting("globex", shared(again(&one)))).await;
    assert!(!other.repeated, "the same change for another tenant is another proposal");
    let third = create(acting("globex", shared(proposal(&["1"])))).await;
    assert_eq!(third.record.own_conflicts, [other.record.id()]);
    assert_eq!(third.record.conflicts_with.len(), 2, "a reviewer sees all that is on the row");
    let first = bench.store.proposal(first.record.id()).await.unwrap().unwrap();
    assert_eq!((first.own_conflicts, first.conflicts_with.len()), (vec![], 2));

    create(keyed(proposal(&["2"]))).await;
    let keyed_by_the_other = create(acting("globex", keyed(proposal(&["3"])))).await;
    assert!(!keyed_by_the_other.repeated, "an idempotency key stands for one change of one tenant");

    // A new row under a key that another tenant proposes, too: neither stands in the other's way before the source says so.
    let insert = |tenant: &str, number: u64| {
        let mut inserted = acting(tenant, proposal(&["70001"]));
        inserted.changes[0].operation = Operation::Insert;
        inserted.changes[0].after[0].value = Value::Text(number.to_string().into());
        inserted.target.tenant = inserted.target.tenant.map(|guard| TenantGuard { tenant: tenant.parse().unwrap(), ..guard });
        inserted
    };
    create(insert("acme", 1)).await;
    assert_eq!(create(insert("globex", 2)).await.record.conflicts_with, []);

    let filter = Filter { acting: Some(Acting(Some("globex".parse().unwrap()))), ..Filter::default() };
    let seen = bench.store.list(&filter, &PageRequest::default()).await.unwrap();
    assert_eq!(seen.records.len(), 4);
    assert!(seen.records.iter().all(|record| record.content.proposal().proposer.tenant == Some("globex".parse().unwrap())));
    let agent = "support_agent".parse().unwrap();
    let canceled = bench.store.cancel(&[third.record.id()], &agent, &acme(), NOW).await;
    assert_eq!(canceled, Err(StoreError::OtherAgent(third.record.id())));

    let settled = async |tenant: &str| {
        let settle: Arc<dyn Settle> = Arc::new(Limit { count: 1, sum: 60_000 });
        let proposal = acting(tenant, proposal(&["8", "9"]));
        bench.store.create(Content::of(proposal), Some(settle), NOW).await.unwrap().record.status
    };
    assert_eq!([settled("acme").await, settled("acme").await], [Status::Approved, Status::Pending]);
    assert_eq!(settled("globex").await, Status::Approved, "what a rule settled for one tenant is not counted for another");
}

async fn a_rule_counts_by_agent_and_day(bench: Arc<Bench>) {
    let settle = async |agent: &str, now: i64| {
        let mut content = proposal(&["1", "2"]);
        content.proposer.agent = agent.parse().unwrap();
        bench.store.create(Content::of(content), Some(Arc::new(Limit { count: 9, sum: 60_000 })), now).await.unwrap().record.status
    };
    let (today, tomorrow) = (NOW, NOW + 2 * 60 * MINUTE);
    assert_eq!([settle("a", today).await, settle("a", today).await], [Status::Approved; 2]);
    assert_eq!([settle("a", today).await, settle("b", today).await], [Status::Pending, Status::Approved]);
    assert_eq!(settle("a", tomorrow).await, Status::Approved);
    // A repeat is not counted.
    let content = Content::of(proposal(&["7", "8"]));
    for _ in 0..3 {
        let settle: Arc<dyn Settle> = Arc::new(Limit { count: 9, sum: 60_000 });
        bench.store.create(content.clone(), Some(settle), tomorrow).await.unwrap();
    }
    let mut last = proposal(&["9", "10"]);
    last.expires_at = tomorrow + MINUTE;
    let settle: Arc<dyn Settle> = Arc::new(Limit { count: 9, sum: 60_000 });
    assert_eq!(bench.store.create(Content::of(last), Some(settle), tomorrow).await.unwrap().record.status, Status::Approved);
}

async fn what_an_agent_has_open_is_bounded_for_each_tenant(bench: Arc<Bench>) {
    let long = |tenant: &str, keys: &[&str]| {
        let mut proposal = proposal(keys);
        proposal.proposer.tenant = Some(tenant.parse().unwrap());
        proposal.statement = "x".repeat(10_000).into();
        Content::of(proposal)
    };
    let create = async |content: Content, proposals, bytes, now| {
        bench.store.create_within(content, None, crate::store::OpenBounds { proposals, bytes }, now).await.map(|created| created.record)
    };
    let first = create(long("acme", &["1"]), 3, 25_000, NOW).await.unwrap();
    create(long("acme", &["2"]), 3, 25_000, NOW).await.unwrap();
    assert_eq!(create(long("acme", &["3"]), 3, 25_000, NOW).await, Err(StoreError::TooMuchOpen(25_000)));
    create(Content::of(proposal(&["4"])), 3, 25_000, NOW).await.unwrap();
    assert_eq!(create(Content::of(proposal(&["5"])), 3, 25_000, NOW).await, Err(StoreError::TooManyOpen(3)));
    create(long("globex", &["6"]), 3, 25_000, NOW).await.unwrap();
    // A repeat takes no room, and what is over gives its room back.
    let again = bench.store.create_within(first.content.clone(), None, crate::store::OpenBounds { proposals: 0, bytes: 0 }, NOW).await;
    assert!(again.unwrap().repeated);
    bench.store.decide(first.id(), decision(&first, "alice", Decision::Reject), 1, NOW).await.unwrap();
    create(long("acme", &["7"]), 3, 25_000, NOW).await.unwrap();
    create(long("acme", &["8"]), 3, 25_000, NOW + 10 * MINUTE).await.unwrap();
    // Those who race do not pass it together.
    let racing = (0..20).map(|number| {
        let (store, content) = (bench.store.clone(), long("initech", &[&number.to_string()]));
        tokio::spawn(
            async move { store.create_within(content, None, crate::store::OpenBounds { proposals: 5, bytes: u64::MAX }, NOW).await },
        )
    });
    let mut stored = 0;
    for task in racing.collect::<Vec<_>>() {
        stored += u64::from(task.await.unwrap().is_ok());
    }
    assert_eq!(stored, 5);
}

async fn a_page_ends_where_its_bytes_do(bench: Arc<Bench>) {
    for number in 0..6 {
        let mut proposal = proposal(&[&number.to_string()]);
        proposal.statement = "x".repeat(10_000).into();
        bench.store_new(proposal).await;
    }
    let mut request = PageRequest { limit: 100, cursor: None, bytes: 25_000 };
    let mut pages = Vec::new();
    let mut ids = Vec::new();
    loop {
        let page = bench.store.list(&Filter::default(), &request).await.unwrap();
        pages.push(page.records.len());
        ids.extend(page.records.iter().map(Record::id));
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, [2, 2, 2]);
    assert!(ids.is_sorted_by(|one, other| one > other) && ids.len() == 6, "newest first, each once");
    request = PageRequest { cursor: None, bytes: 1, ..request };
    assert_eq!(bench.store.list(&Filter::default(), &request).await.unwrap().records.len(), 1, "never none");
}
