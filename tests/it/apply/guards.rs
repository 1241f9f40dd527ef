//! What is a conflict, what is refused, and that nothing is applied twice.

use pgwicket::{
    proposal::{Cell, Operation, Value},
    source::{Difference, Divergence, Ending, Undecided},
};

use super::{Bench, Change, approval, cell, here, proposal, update};

const DDL: &str = "create table accounts (id int primary key, tenant text not null, email text unique, amount numeric not null default 7, \
     note text, version int not null default 1, check (amount >= 0)); \
     insert into accounts values (1, 'acme', 'a', 100), (2, 'acme', 'b', 100), (3, 'globex', 'c', 100)";

const RELATION: &str = "      accounts: { from: public.accounts, tenant_column: tenant, columns: [id, email, amount, note, version], \
     writes: { update: [email, amount, note], insert: [id, email, amount, note], delete: true } }";

fn bench() -> Bench {
    Bench::new(DDL, RELATION)
}

fn insert(cells: &[(&str, &str)]) -> Change {
    let after: Vec<Cell> = cells.iter().map(|(column, value)| cell(column, Some(value))).collect();
    let key = after.iter().filter(|cell| &*cell.column == "id").cloned().collect();
    Change { operation: Operation::Insert, key, before: Vec::new(), conflict: None, after }
}

fn delete(id: &str, before: &[(&str, Option<&str>)]) -> Change {
    let before = before.iter().map(|(column, value)| cell(column, *value)).collect();
    Change { operation: Operation::Delete, key: vec![cell("id", Some(id))], before, conflict: None, after: Vec::new() }
}

#[tokio::test]
async fn the_second_of_two_proposals_from_one_before_image_is_a_conflict() {
    let bench = bench();
    let mut applier = bench.applier();
    let first = proposal("accounts", vec![update("1", "amount", Some("100"), Some("110"))]);
    let second = proposal("accounts", vec![update("1", "amount", Some("100"), Some("120"))]);
    bench.applied(&mut applier, &first, "the first").await;
    let what = Divergence::Column { column: "amount".into(), expected: Some("100".into()), found: Some("110".into()) };
    let conflict = Ending::Conflict { differences: vec![Difference { change: 0, what }] };
    assert_eq!(bench.apply(&mut applier, &second).await, Ok(conflict));
    assert_eq!(bench.seen("select amount from accounts where id = 1"), "110");
    // What was decided stays decided, although the row is as it was again.
    bench.database.sql("update accounts set amount = 100 where id = 1");
    assert_eq!(bench.apply(&mut applier, &second).await, Ok(Ending::Conflict { differences: vec![] }));
    assert_eq!(bench.apply(&mut applier, &first).await, Ok(Ending::Applied { rows: 1, before: true }));
    assert_eq!(bench.seen("select amount from accounts where id = 1"), "100");
    assert_eq!(
        bench.seen("select outcome, affected_rows, agent, approved_by, worker from pgwicket_receipts order by 1"),
        "applied|1|bot|ana|w1\nconflict|0|bot|ana|w1"
    );
}

#[tokio::test]
async fn a_row_of_another_tenant_is_not_there() {
    let bench = bench();
    let mut applier = bench.applier();
    let gone = |change| Ok(Ending::Conflict { differences: vec![Difference { change, what: Divergence::Gone }] });
    let theirs = proposal("accounts", vec![update("3", "amount", Some("100"), Some("0"))]);
    assert_eq!(bench.apply(&mut applier, &theirs).await, gone(0));
    let theirs = proposal("accounts", vec![delete("3", &[("amount", Some("100"))])]);
    assert_eq!(bench.apply(&mut applier, &theirs).await, gone(0));
    let nowhere = proposal("accounts", vec![update("9", "amount", Some("100"), Some("0"))]);
    assert_eq!(bench.apply(&mut applier, &nowhere).await, gone(0));
    // A taken key is a conflict that tells nothing of whose row it is.
    let taken = proposal("accounts", vec![insert(&[("id", "3"), ("email", "z")])]);
    assert_eq!(
        bench.apply(&mut applier, &taken).await,
        Ok(Ending::Conflict { differences: vec![Difference { change: 0, what: Divergence::Taken }] })
    );
    let new = proposal("accounts", vec![insert(&[("id", "4"), ("email", "d")])]);
    bench.applied(&mut applier, &new, "insert").await;
    assert_eq!(bench.seen("select tenant, amount from accounts order by id"), "acme|100\nacme|100\nglobex|100\nacme|7");
}

#[tokio::test]
async fn all_rows_or_none() {
    let bench = bench();
    let mut applier = bench.applier();
    let transfer = vec![update("1", "amount", Some("100"), Some("50")), update("2", "amount", Some("99"), Some("150"))];
    let what = Divergence::Column { column: "amount".into(), expected: Some("99".into()), found: Some("100".into()) };
    let conflict = Ending::Conflict { differences: vec![Difference { change: 1, what }] };
    assert_eq!(bench.apply(&mut applier, &proposal("accounts", transfer)).await, Ok(conflict));
    let overdraft = vec![update("1", "amount", Some("100"), Some("-1")), update("2", "amount", Some("100"), Some("201"))];
    let Ok(Ending::Failed(failure)) = bench.apply(&mut applier, &proposal("accounts", overdraft)).await else { panic!() };
    assert_eq!((failure.sqlstate.as_deref(), &*failure.reason), (Some("23514"), "a check of the source refuses it (SQLSTATE 23514)"));
    assert!(failure.source_message.unwrap().contains("accounts_amount_check"));
    assert_eq!(bench.seen("select string_agg(amount::text, ' ' order by id) from accounts"), "100 100 100");
    // A row makes room for another: what goes goes first.
    let swap = vec![insert(&[("id", "0"), ("email", "a")]), delete("1", &[("email", Some("a")), ("note", None)])];
    bench.applied(&mut applier, &proposal("accounts", swap), "swap").await;
    let mut many: Vec<Change> = (10..60).map(|id| insert(&[("id", &id.to_string()), ("email", &format!("m{id}"))])).collect();
    for change in &mut many {
        change.after.push(Cell { value: Value::Default, ..cell("amount", None) });
    }
    bench.applied(&mut applier, &proposal("accounts", many), "many").await;
    assert_eq!(bench.seen("select count(*), sum(amount) from accounts where id >= 10"), "50|350");
}

#[tokio::test]
async fn a_trigger_that_decides_otherwise_is_a_failure_and_a_deferred_constraint_is_checked() {
    let bench = bench();
    let mut applier = bench.applier();
    bench.database.sql(
        "create function no() returns trigger language plpgsql as $$ begin return null; end $$; \
         create trigger no before update on accounts for each row when (old.id = 2) execute function no(); \
         create table parents (id int primary key); insert into parents values (1); \
         alter table accounts add parent int references parents deferrable initially deferred; \
         create function adopt() returns trigger language plpgsql as $$ begin new.parent = 5; return new; end $$; \
         create trigger adopt before update on accounts for each row when (old.id = 1) execute function adopt()",
    );
    let kept = proposal("accounts", vec![update("2", "note", None, Some("x"))]);
    let Ok(Ending::Failed(failure)) = bench.apply(&mut applier, &kept).await else { panic!() };
    assert!(failure.reason.contains("a trigger or a rule"), "{failure:?}");
    let orphan = proposal("accounts", vec![update("1", "note", None, Some("x"))]);
    let Ok(Ending::Failed(failure)) = bench.apply(&mut applier, &orphan).await else { panic!() };
    assert_eq!(failure.sqlstate.as_deref(), Some("23503"));
    assert_eq!(bench.seen("select count(*) from accounts where note is not null"), "0");
}

#[tokio::test]
async fn a_held_lock_is_no_verdict_and_a_missing_receipt_table_is_said() {
    let bench = bench();
    let mut applier = bench.applier();
    let content = proposal("accounts", vec![update("1", "note", None, Some("x"))]);
    let (blocker, connection) = bench.database.login(super::WORKER).config().connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    blocker.batch_execute("begin; update accounts set amount = 1 where id = 1").await.unwrap();
    let busy = bench.apply(&mut applier, &content).await.unwrap_err();
    assert!(matches!(&busy, Undecided::Busy { sqlstate, .. } if &**sqlstate == "55P03"), "{busy:?}");
    assert!(busy.source_answered());
    blocker.batch_execute("rollback").await.unwrap();
    bench.applied(&mut applier, &content, "after the lock").await;
    bench.database.sql("drop table pgwicket_receipts");
    let mut fresh = bench.applier();
    assert!(!fresh.has_receipts().await.unwrap());
    assert_eq!(bench.apply(&mut fresh, &content).await, Err(Undecided::NoReceiptTable));
}

#[tokio::test]
async fn what_was_given_up_is_never_applied_and_a_tampered_repeat_is_seen() {
    let bench = bench();
    let mut applier = bench.applier();
    let content = proposal("accounts", vec![update("1", "note", None, Some("x"))]);
    let change = bench.policy.permit(content.clone(), &[approval(&content)], &here()).unwrap();
    let failure = pgwicket::source::Failure::given_up(5, &Undecided::Lost);
    assert_eq!(applier.give_up(&change, failure.clone()).await, Ok(Ending::Failed(failure)));
    assert!(matches!(bench.apply(&mut applier, &content).await, Ok(Ending::Failed(_))));
    assert_eq!(bench.seen("select count(*) from accounts where note is not null"), "0");
    let mut other = content.proposal().clone();
    other.changes[0].after[0].value = Value::Text("y".into());
    let other = pgwicket::proposal::Content::of(other);
    let Ok(Ending::Failed(failure)) = bench.apply(&mut applier, &other).await else { panic!() };
    assert!(failure.reason.contains("other content"), "{failure:?}");
}

/// What a table's own triggers name is found as it is for the source's other clients; what fails in one is told as that.
#[tokio::test]
async fn ordinary_triggers_work_and_their_failures_are_theirs() {
    let bench = Bench::new(
        &format!(
            "{DDL}; create table audit (row_id int, who text); \
         create function audit_f() returns trigger language plpgsql as $$ begin insert into audit values (new.id, current_user); return new; end $$; \
         create trigger audit_t after update on accounts for each row execute function audit_f()"
        ),
        RELATION,
    );
    let mut applier = bench.applier();
    let noted = |text| proposal("accounts", vec![update("1", "note", None, Some(text))]);
    bench.applied(&mut applier, &noted("audited"), "an audit trigger").await;
    assert_eq!(bench.seen("select row_id, who from audit"), format!("1|{}", super::WORKER));
    for (body, sqlstate) in
        [("insert into nowhere values (new.id)", "42P01"), ("perform 1 / 0", "22012"), ("raise exception 'no'", "P0001")]
    {
        bench
            .database
            .sql(&format!("create or replace function audit_f() returns trigger language plpgsql as $$ begin {body}; return new; end $$"));
        let change = proposal("accounts", vec![update("2", "note", None, Some(sqlstate))]);
        let Ok(Ending::Failed(failure)) = bench.apply(&mut applier, &change).await else { panic!("{body}") };
        assert_eq!(failure.sqlstate.as_deref(), Some(sqlstate));
        assert!(
            failure.reason.contains("a trigger or function of the source failed") && !failure.reason.contains("policy"),
            "{}",
            failure.reason
        );
    }
    bench.database.sql("drop trigger audit_t on accounts; alter table accounts drop column note cascade");
    let Ok(Ending::Failed(failure)) = bench.apply(&mut applier, &proposal("accounts", vec![update("2", "note", None, Some("gone"))])).await
    else {
        panic!("the column is gone")
    };
    assert!(failure.reason.contains("no longer as the policy knows it"), "{}", failure.reason);
}
