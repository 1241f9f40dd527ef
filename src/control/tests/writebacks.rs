//! The contract of third-party workers.

use super::*;

const BASE: &str = "/v1/control/external-writebacks/proposals";

fn bench() -> (Bench, String, String) {
    let bench = Bench::new();
    let worker = bench.key("etl", &[Scope::Worker], None);
    let bob = bench.key("b", &[Scope::ProposalsApprove], Some("bob"));
    (bench, worker, bob)
}

#[test]
fn an_approved_change_is_handed_out_with_every_named_field() {
    let (bench, worker, bob) = bench();
    let (id, digest) = bench.propose(1, 1);
    bench.propose(2, 1);
    assert_eq!(bench.get(&worker, BASE).1["proposals"], json!([]), "pending ones are not");
    assert_eq!(bench.post(&bob, &format!("{BASE}/{id}/approve"), &json!({})).0, 200);
    let (status, body) = bench.get(&worker, &format!("{BASE}?project_id=p1&status=approved"));
    let mut item = body["proposals"][0].clone();
    assert!(item["approved_at"].take().is_string());
    assert_eq!((status, body["proposals"].as_array().unwrap().len()), (200, 1));
    assert_eq!(
        item,
        json!({
            "proposal_id": id, "status": "approved", "change_index": 0, "change_count": 1,
            "source_id": "src_app", "source_kind": "postgres", "operation": "update",
            "external_schema": "public", "external_table": "tickets",
            "changes": { "amount": "12.50" }, "primary_key": { "id": "100" }, "tenant_column": "tenant_id", "tenant_id": "acme",
            "conflict_column": "updated_at", "conflict": { "updated_at": "2026-01-01 00:00:00+00" },
            "allowed_columns": ["id", "tenant_id", "updated_at", "amount", "note"], "guard_columns": ["id", "tenant_id", "updated_at"],
            "idempotency_key": id,
            "before": { "amount": "10.00", "note": null },
            "types": { "id": "bigint", "amount": "numeric(10,2)", "note": "text", "updated_at": "timestamp with time zone", "tenant_id": "text" },
            "defaults": ["note"], "digest": digest, "evidence_id": EvidenceId::new(1, 1).to_string(), "approved_at": null,
        })
    );
    assert_eq!(code(&bench.get(&worker, &format!("{BASE}?source_id=src_other"))), "404 NOT_FOUND");
    assert_eq!(bench.get(&worker, BASE).1["proposals"].as_array().unwrap().len(), 1, "what it holds it gets again");
}

#[test]
fn a_report_is_idempotent_and_told_when_it_disagrees() {
    let (bench, worker, bob) = bench();
    let (id, _) = bench.propose(1, 1);
    let report = |body: Json| bench.post(&worker, &format!("{BASE}/{id}/apply-result"), &body);
    let applied = json!({ "status": "applied", "idempotency_key": id, "external_commit_metadata": { "affected_rows": 1, "operation": "update", "lsn": "0/1" } });
    assert_eq!(code(&report(applied.clone())), "409 NOT_HELD", "not approved yet");
    assert_eq!(bench.post(&bob, &format!("{BASE}/{id}/approve"), &json!({ "reason": "ok" })).0, 200);
    assert_eq!(code(&report(applied.clone())), "409 NOT_HELD", "not handed out yet");
    assert_eq!(bench.get(&worker, BASE).1["proposals"].as_array().unwrap().len(), 1);
    assert_eq!(code(&report(json!({ "status": "applied", "idempotency_key": "other" }))), "409 IDEMPOTENCY_KEY_MISMATCH");
    assert_eq!(
        code(&report(json!({ "status": "applied", "external_commit_metadata": { "affected_rows": 0 } }))),
        "409 AFFECTED_ROWS_MISMATCH"
    );
    assert_eq!(code(&report(json!({ "status": "done" }))), "400 BAD_REQUEST");
    let expected = |recorded: bool| (200, json!({ "ok": true, "proposal_id": id, "status": "applied", "recorded": recorded }));
    assert_eq!(report(applied.clone()), expected(true));
    assert_eq!(report(applied), expected(false), "again");
    let disagrees = report(json!({ "status": "conflict", "error": { "code": "x" } }));
    assert_eq!(code(&disagrees), "409 OUTCOME_DISAGREES");
    assert!(disagrees.1["message"].as_str().unwrap().contains("known as applied"), "{disagrees:?}");
    let reader = bench.key("r", &[Scope::ProposalsRead], None);
    let (_, body) = bench.get(&reader, &format!("/v1/control/proposals/{id}"));
    let result = &body["proposal"]["result"];
    assert_eq!((&result["status"], &result["affected_rows"], &result["metadata"]["lsn"]), (&json!("applied"), &json!(1), &json!("0/1")));
    assert!(result["reporter"].as_str().unwrap().starts_with("etl (key_"));
}

#[test]
fn a_proposal_of_several_rows_is_several_items_and_one_report() {
    let (bench, worker, bob) = bench();
    let (id, _) = bench.propose(1, 3);
    bench.post(&bob, &format!("{BASE}/{id}/approve"), &json!({}));
    let (_, unasked) = bench.get(&worker, BASE);
    assert_eq!(unasked["proposals"], json!([]), "a worker that does not say so might apply one of them alone");
    assert_eq!(unasked["withheld"][0]["proposal_id"], json!(id));
    assert!(unasked["withheld"][0]["reason"].as_str().unwrap().contains("transactions=true"), "{unasked}");
    let items = bench.get(&worker, &format!("{BASE}?transactions=true")).1["proposals"].as_array().unwrap().clone();
    let keys: Vec<&str> = items.iter().map(|item| item["idempotency_key"].as_str().unwrap()).collect();
    assert_eq!(keys, [format!("{id}:0"), format!("{id}:1"), format!("{id}:2")]);
    assert!(items.iter().enumerate().all(|(at, item)| item["proposal_id"] == json!(id) && item["change_index"] == json!(at)));
    let report = |rows: u64| {
        let body = json!({ "status": "applied", "idempotency_key": keys[0], "external_commit_metadata": { "affected_rows": rows } });
        bench.post(&worker, &format!("{BASE}/{id}/apply-result"), &body)
    };
    assert_eq!(code(&report(1)), "409 AFFECTED_ROWS_MISMATCH", "one row of three is not the proposal");
    assert_eq!(report(3).0, 200);
}

#[test]
fn what_the_policy_no_longer_accepts_is_withheld() {
    let (bench, worker, bob) = bench();
    let (id, _) = bench.propose(1, 1);
    bench.post(&bob, &format!("{BASE}/{id}/approve"), &json!({}));
    let nobody = PolicySet { sources: bench.policy.load().sources.clone(), ..PolicySet::empty(PolicyEpoch(2), Digest([1; 32])) };
    bench.policy.store(Arc::new(nobody));
    let (_, body) = bench.get(&worker, BASE);
    assert_eq!(body["proposals"], json!([]));
    assert_eq!(body["withheld"][0]["proposal_id"], json!(id));
    let report = bench.post(&worker, &format!("{BASE}/{id}/apply-result"), &json!({ "status": "applied" }));
    assert_eq!(code(&report), "409 NOT_HELD");
}

/// A worker's key is for its sources, which the policy has to leave to workers of others; it holds what it reports on, and reads
/// nothing else.
#[test]
fn a_workers_key_is_for_its_sources_and_holds_what_it_reports_on() {
    let (bench, worker, bob) = bench();
    let secret = |name: &str, sources: &[&str]| {
        let secret = key_secret(rand::random());
        let key = NewKey {
            name: name.into(),
            scopes: vec!["worker".into()],
            reviewer: None,
            sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
            secret_hash: key_hash(secret.expose()),
        };
        bench.runtime.block_on(bench.store.create_key(&key, 1)).unwrap();
        secret.expose().to_owned()
    };
    let (second, elsewhere, ours, none) = (secret("2", &["app"]), secret("e", &["others"]), secret("o", &["ours"]), secret("n", &[]));
    let (id, _) = bench.propose(1, 1);
    bench.post(&bob, &format!("{BASE}/{id}/approve"), &json!({}));
    let ask = |key: &str, query: &str| bench.get(key, &format!("{BASE}{query}"));
    let report = |key: &str, status: &str| bench.post(key, &format!("{BASE}/{id}/apply-result"), &json!({ "status": status }));
    let count = |answer: Answer| answer.1["proposals"].as_array().map_or(usize::MAX, Vec::len);
    assert_eq!(code(&ask(&none, "")), "403 SOURCE_NOT_THIS_KEYS");
    assert_eq!(code(&ask(&elsewhere, "?source_id=src_app")), "403 SOURCE_NOT_THIS_KEYS");
    assert_eq!(code(&ask(&ours, "")), "409 APPLIED_BY_OURS");
    assert_eq!(count(ask(&elsewhere, "")), 0);
    for status in ["pending", "rejected", "applied", "approved,failed", "applying"] {
        assert_eq!(code(&ask(&worker, &format!("?status={status}"))), "403 SCOPE_MISSING", "{status}");
    }
    for (key, refused) in [(&none, "403 SOURCE_NOT_THIS_KEYS"), (&elsewhere, "403 SOURCE_NOT_THIS_KEYS"), (&worker, "409 NOT_HELD")] {
        assert_eq!(code(&report(key, "applied")), refused);
        assert_eq!(code(&report(key, "failed")), refused);
    }
    assert_eq!((count(ask(&worker, "")), count(ask(&second, ""))), (1, 0), "one holds it");
    assert_eq!(code(&report(&second, "applied")), "409 NOT_HELD");
    assert_eq!(report(&worker, "applied").0, 200);
    assert_eq!(report(&worker, "applied").1["recorded"], json!(false));
    // Who reads proposals anyway holds none.
    let (id, _) = bench.propose(2, 1);
    bench.post(&bob, &format!("{BASE}/{id}/approve"), &json!({}));
    let reader = bench.key("r", &[Scope::ProposalsRead], None);
    assert_eq!((count(ask(&reader, "")), count(ask(&worker, "?lease=1"))), (1, 1));
    // Back to ours: nothing more is handed out, and nothing is reported.
    let mut policy = PolicySet { sources: bench.policy.load().sources.clone(), ..PolicySet::empty(PolicyEpoch(2), Digest([1; 32])) };
    let (name, source) = source("app", AppliedBy::Ours);
    policy.sources.insert(name, source);
    bench.policy.store(Arc::new(policy));
    assert_eq!(code(&ask(&worker, "")), "409 APPLIED_BY_OURS");
    assert_eq!(code(&bench.post(&worker, &format!("{BASE}/{id}/apply-result"), &json!({ "status": "applied" }))), "409 APPLIED_BY_OURS");
}
