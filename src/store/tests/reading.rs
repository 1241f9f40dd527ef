//! Lists and what is malformed in them.

use super::*;
use crate::store::{Filter, PageRequest};

on_both!(pages_are_newest_first_and_end, a_filter_is_all_of_its_conditions, a_malformed_content_is_said_and_blocks_nothing,);

async fn pages_are_newest_first_and_end(bench: Arc<Bench>) {
    let mut expected = Vec::new();
    for number in 0..7 {
        expected.insert(0, bench.propose(&[&number.to_string()]).await.id());
    }
    let mut page = PageRequest { limit: 3, cursor: None, ..PageRequest::default() };
    let mut pages = Vec::new();
    loop {
        let found = bench.store.list(&Filter::default(), &page).await.unwrap();
        pages.push(found.records.iter().map(Record::id).collect::<Vec<_>>());
        // What comes in between is newer than every page that follows.
        bench.propose(&["0"]).await;
        page.cursor = found.next;
        if page.cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(pages.concat(), expected);
    let all = bench.store.list(&Filter::default(), &PageRequest::default()).await.unwrap();
    assert_eq!((all.records.len(), all.next), (10, None));
    let wrong = PageRequest { limit: 3, cursor: Some("1; drop table proposals".into()), ..PageRequest::default() };
    assert_eq!(bench.store.list(&Filter::default(), &wrong).await, Err(StoreError::Cursor));
}

async fn a_filter_is_all_of_its_conditions(bench: Arc<Bench>) {
    let one = bench.propose(&["1"]).await;
    let two = bench.approved(&["2"]).await;
    let mut other = proposal(&["3"]);
    other.proposer.agent = "other_agent".parse().unwrap();
    other.statement = "update refunds set amount = '100%_\\ Done'".into();
    other.target.relation = "refunds".into();
    other.target.source = source("billing");
    other.target.tenant = None;
    let three = bench.store_new(other).await;
    let four = bench.propose(&["4"]).await;
    bench.store.cancel(&[four.id()], &"support_agent".parse().unwrap(), &acme(), NOW).await.unwrap();
    let list = async |filter: Filter| {
        let page = bench.store.list(&filter, &PageRequest { limit: 2, cursor: None, ..PageRequest::default() }).await.unwrap();
        let position = |record: &Record| [&one, &two, &three, &four].iter().position(|known| known.id() == record.id()).unwrap() + 1;
        (page.records.iter().map(position).collect::<Vec<_>>(), page.next.is_some())
    };
    let any = Filter::default;
    assert_eq!(list(any()).await, (vec![4, 3], true));
    assert_eq!(list(Filter { statuses: vec![Status::Approved], ..any() }).await, (vec![2], false));
    assert_eq!(list(Filter { statuses: vec![Status::Pending, Status::Approved], ..any() }).await, (vec![3, 2], true));
    let mine = Filter { agent: Some("support_agent".parse().unwrap()), ..any() };
    assert_eq!(list(mine.clone()).await, (vec![4, 2], true));
    assert_eq!(list(Filter { statuses: vec![Status::Pending], ..mine }).await, (vec![1], false));
    assert_eq!(list(Filter { tenant: Some("acme".parse().unwrap()), statuses: vec![Status::Pending], ..any() }).await, (vec![1], false));
    assert_eq!(list(Filter { tenant: Some("globex".parse().unwrap()), ..any() }).await, (vec![], false));
    assert_eq!(list(Filter { sources: vec![source("billing")], ..any() }).await, (vec![3], false));
    for relation in ["refunds", "support.refunds"] {
        assert_eq!(list(Filter { relation: Some(relation.into()), ..any() }).await, (vec![3], false));
    }
    assert_eq!(list(Filter { relation: Some("billing.refunds".into()), ..any() }).await, (vec![], false));
    for (text, found) in [("REFUNDS", vec![3]), ("100%_", vec![3]), ("%", vec![3]), ("a%t = '", vec![]), ("\\\\ done", vec![3])] {
        assert_eq!(list(Filter { text: Some(text.into()), ..any() }).await, (found, false), "{text}");
    }
}

async fn a_malformed_content_is_said_and_blocks_nothing(bench: Arc<Bench>) {
    let (broken, fine) = (bench.approved(&["1"]).await, bench.approved(&["2"]).await);
    bench.sql("UPDATE proposals SET content = '{}' WHERE id = $1", &broken.id().to_string()).await;
    let error = bench.store.proposal(broken.id()).await.unwrap_err();
    assert!(words(&error).starts_with("prop_…: the stored content is not a proposal: "), "{error}");
    let page = bench.store.list(&Filter::default(), &PageRequest::default()).await.unwrap();
    assert_eq!((page.records, page.malformed), (vec![fine.clone()], vec![broken.id()]));
    assert_eq!(bench.claim(NOW).await.unwrap().record.id(), fine.id());
    let swapped = bench.approved(&["3"]).await;
    let with = format!("UPDATE proposals SET content = (SELECT content FROM proposals WHERE id = '{}') WHERE id = $1", fine.id());
    bench.sql(&with, &swapped.id().to_string()).await;
    let error = bench.store.proposal(swapped.id()).await.unwrap_err();
    assert_eq!(words(&error), "prop_…: the stored content is not a proposal: it is that of prop_…");
    let events = bench.store.events(broken.id()).await.unwrap();
    assert_eq!(events.last().unwrap().to, Status::Failed);
}
