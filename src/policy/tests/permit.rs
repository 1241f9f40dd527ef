//! The permit to apply: an approved proposal that the policy in force would not let be proposed gets none.

use super::{compile_files, list};
use crate::{
    policy::{NotPermitted, Occasion, PolicySet},
    proposal::{Approval, Cell, Content, Decider, Decision, Operation, Proposal, Proposer, RowChange, Target, TenantGuard, Value, Verb},
    types::{Deployment, Digest, EvidenceId, ProposalId, StoreId},
};

const POLICY: &str = "sources: {db: {kind: postgres, url: \"env:URL\", ssl: disable}}
schemas: {desk: {source: db, relations: {r: {from: public.tickets, tenant_column: tenant_id, columns: [id, subject, amount, size],
  writes: {update: [subject, amount], insert: [id, subject], delete: true, conflict_column: size, max_rows: 2}}}}}
agents: {bot: {auth: {scram: env:PW}, tenant: \"1\", schemas: [desk]}}
reviewers: {alice: {}}
approvals: {rules: [{relations: [desk.*], reviewers: [alice]}]}
";

fn cell(column: &str, value: &str) -> Cell {
    Cell { column: column.into(), type_name: "text".into(), value: Value::Text(value.into()) }
}

fn change(operation: Operation) -> RowChange {
    let (key, before, after) = (vec![cell("id", "7")], vec![cell("subject", "a")], vec![cell("subject", "b")]);
    let conflict = Some(cell("size", "3"));
    match operation {
        Operation::Update => RowChange { operation, key, before, conflict, after },
        Operation::Delete => RowChange { operation, key, before, conflict, after: vec![] },
        Operation::Insert => RowChange { operation, key, before: vec![], conflict: None, after },
    }
}

fn proposal(changes: Vec<RowChange>) -> Proposal {
    Proposal {
        id: ProposalId::new(1, 1),
        created_at: 0,
        expires_at: 1,
        proposer: Proposer::new("bot".parse().unwrap(), Some("1".parse().unwrap())),
        run: None,
        evidence: EvidenceId::new(1, 1),
        policy: Digest([0; 32]),
        verb: Verb::Merge,
        statement: "merge".into(),
        reason: None,
        deployment: None,
        time_zone: "UTC".into(),
        idempotency_key: None,
        target: Target {
            source: "db".parse().unwrap(),
            schema: "desk".into(),
            relation: "r".into(),
            real_schema: "public".into(),
            real_name: "tickets".into(),
            tenant: Some(TenantGuard { column: "tenant_id".into(), type_name: "integer".into(), tenant: "1".parse().unwrap() }),
        },
        changes,
    }
}

/// What makes a proposal one that was never proposed.
type Edit = fn(&mut Proposal);

/// Why the policy gives no permit for what alice approved; empty when it does.
fn refused(policy: &PolicySet, proposal: Proposal) -> String {
    let content = Content::of(proposal);
    let decider = Decider::ApiKey { reviewer: "alice".parse().unwrap(), key: "key_1".into() };
    let approval =
        Approval { decision: Decision::Approve, decider, digest: content.digest(), reason: None, at: 0, until: None, revoked: false };
    match policy.permit(content, &[approval], &Occasion { deployment: Deployment::new(None, StoreId(1)), now: 0 }) {
        Ok(_) => String::new(),
        Err(NotPermitted::Policy(why)) => why.to_owned(),
        Err(other) => other.to_string(),
    }
}

#[test]
fn a_permit_is_for_what_the_policy_lets_be_proposed() {
    let policy = compile_files(&[("p.yaml", POLICY)]).unwrap_or_else(|errors| panic!("{}", list(&errors.0))).policy;
    for operation in [Operation::Insert, Operation::Update, Operation::Delete] {
        assert_eq!(refused(&policy, proposal(vec![change(operation)])), "", "{operation}");
    }
    let base = || proposal(vec![change(Operation::Update)]);
    let edits: [(&str, Edit); 17] = [
        ("there is no such agent", |p| p.proposer.agent = "eve".parse().unwrap()),
        ("the agent has no such schema", |p| p.target.schema = "other".into()),
        ("the relation is another table by now", |p| p.target.real_name = "payroll".into()),
        ("the relation is another table by now", |p| p.target.source = "other".parse().unwrap()),
        ("the tenant guard is not the relation's", |p| p.target.tenant = None),
        ("the tenant guard is not the relation's", |p| p.target.tenant.as_mut().unwrap().column = "id".into()),
        ("the tenant is not the agent's", |p| p.target.tenant.as_mut().unwrap().tenant = "2".parse().unwrap()),
        ("the number of rows is not within writes.max_rows", |p| p.changes.clear()),
        ("a row is changed twice", |p| p.changes.push(change(Operation::Delete))),
        ("the key is not the relation's primary key", |p| p.changes[0].key.clear()),
        ("the key is not the relation's primary key", |p| p.changes[0].key[0].column = "subject".into()),
        ("the key is not the relation's primary key", |p| p.changes[0].key[0].value = Value::Null),
        ("a before-image is not a value", |p| p.changes[0].before[0].value = Value::Default),
        ("the conflict column is not the relation's", |p| p.changes[0].conflict = None),
        ("an update assigns a column that is not in writes.update", |p| p.changes[0].after[0].column = "tenant_id".into()),
        ("an assigned column has no before-image", |p| p.changes[0].before.clear()),
        ("a column is named twice", |p| p.changes[0].after.push(cell("subject", "c"))),
    ];
    for (why, edit) in edits {
        let mut edited = base();
        edit(&mut edited);
        let refused = refused(&policy, edited);
        // Approval rules speak first where a name is not one of theirs.
        assert!(refused == why || refused.starts_with("it is not approved"), "{why}: {refused}");
    }
    let inserted = |cells: Vec<Cell>| proposal(vec![RowChange { after: cells, ..change(Operation::Insert) }]);
    assert_eq!(refused(&policy, inserted(vec![cell("tenant_id", "2")])), "a new row has another tenant");
    assert_eq!(refused(&policy, inserted(vec![cell("tenant_id", "1")])), "");
    assert_eq!(refused(&policy, inserted(vec![cell("amount", "1")])), "a new row has a column that is not in writes.insert");
    let mut many = base();
    many.changes = (0..3).map(|id| RowChange { key: vec![cell("id", &id.to_string())], ..change(Operation::Update) }).collect();
    assert_eq!(refused(&policy, many), "the number of rows is not within writes.max_rows");
}

#[test]
fn nothing_is_permitted_that_nobody_approved() {
    let policy = compile_files(&[("p.yaml", POLICY)]).unwrap_or_else(|errors| panic!("{}", list(&errors.0))).policy;
    let content = Content::of(proposal(vec![change(Operation::Update)]));
    let error = policy.permit(content, &[], &Occasion { deployment: Deployment::new(None, StoreId(1)), now: 0 }).unwrap_err().to_string();
    assert!(error.starts_with("it is not approved"), "{error}");
}
