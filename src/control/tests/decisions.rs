//! Reviewers read and decide.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::Signer as _;

use super::*;
use crate::proposal::{Decision, decision_message};

/// alice's signature in this deployment; `until` of an approval.
fn signed(bench: &Bench, id: &str, digest: &str, decision: Decision, until: Option<i64>) -> String {
    let deployment = bench.policy.load().occasion(bench.store.id(), 0).deployment;
    let message = decision_message(&deployment, id.parse().unwrap(), digest.parse().unwrap(), decision, until);
    STANDARD.encode(alices_key().sign(message.as_bytes()).to_bytes())
}

#[test]
fn a_list_is_filtered_and_paged() {
    let bench = Bench::new();
    let key = bench.key("r", &[Scope::ProposalsRead], None);
    let ids: Vec<String> = (1..=5).map(|number| bench.propose(number, 1).0).collect();
    let listed = |query: &str| {
        let (status, page) = bench.get(&key, &format!("/v1/control/proposals?{query}"));
        assert_eq!(status, 200, "{page}");
        let found: Vec<String> =
            page["proposals"].as_array().unwrap().iter().map(|p| p["proposal_id"].as_str().unwrap().to_owned()).collect();
        (found, page["next"].as_str().map(str::to_owned))
    };
    let (first, next) = listed("limit=2");
    assert_eq!(first, [ids[4].clone(), ids[3].clone()], "newest first");
    let (second, _) = listed(&format!("limit=2&cursor={}", next.unwrap()));
    assert_eq!(second, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(listed("status=pending,approved&agent=bot&relation=desk.tickets&tenant=acme&source=app").0.len(), 5);
    assert_eq!(listed("status=applied").0.len(), 0);
    assert_eq!(listed("agent=other").0.len(), 0);
}

#[test]
fn a_proposal_is_shown_whole_with_the_text_its_digest_is_over() {
    let bench = Bench::new();
    let key = bench.key("r", &[Scope::ProposalsRead], None);
    let (id, digest) = bench.propose(1, 2);
    let (status, body) = bench.get(&key, &format!("/v1/control/proposals/{id}"));
    let proposal = &body["proposal"];
    assert_eq!((status, &proposal["status"], &proposal["rows"]), (200, &json!("pending"), &json!(2)));
    assert_eq!(Content::read(proposal["content"].as_str().unwrap()).unwrap().digest().to_string(), digest);
    assert_eq!((&proposal["needs"]["reviewers"], &proposal["needs"]["quorum"]), (&json!(["alice", "bob"]), &json!(1)));
    assert!(proposal["needs"]["deployment"].as_str().unwrap().starts_with("dep_") && proposal["needs"]["until"].is_i64());
    assert_eq!(
        proposal["changes"][0]["before"][0],
        json!({ "column": "amount", "type": "numeric(10,2)", "value": "10.00", "default": false })
    );
    assert_eq!(proposal["events"][0]["actor"], "agent bot");
    assert_eq!(code(&bench.get(&key, &format!("/v1/control/proposals/{}", ProposalId::new(9, 9)))), "404 NOT_FOUND");
}

#[test]
fn an_api_key_decides_as_its_reviewer_and_once() {
    let bench = Bench::new();
    let scopes = [Scope::ProposalsApprove];
    let (bob, carol, dave) = (bench.key("b", &scopes, Some("bob")), bench.key("c", &scopes, Some("carol")), bench.key("d", &scopes, None));
    let (id, digest) = bench.propose(1, 1);
    let approve = |key: &str, body: Json| bench.post(key, &format!("/v1/control/proposals/{id}/approve"), &body);
    assert_eq!(code(&approve(&dave, json!({ "digest": digest }))), "403 NO_REVIEWER");
    assert_eq!(code(&approve(&carol, json!({ "digest": digest }))), "403 NOT_A_REVIEWER", "her own agent proposed it");
    assert_eq!(code(&approve(&bob, json!({ "digest": "0".repeat(64) }))), "409 DIGEST_MISMATCH");
    assert_eq!(code(&approve(&bob, json!({ "digest": digest, "reviewer": "alice" }))), "403 NO_REVIEWER");
    let (status, body) = approve(&bob, json!({ "digest": digest, "reason": "fine" }));
    assert_eq!((status, &body["proposal"]["status"], &body["proposal"]["approved_by"]), (200, &json!("approved"), &json!(["bob"])));
    assert_eq!(approve(&bob, json!({ "digest": digest })).0, 200, "again");
    let reject = bench.post(&bob, &format!("/v1/control/proposals/{id}/reject"), &json!({ "digest": digest }));
    assert_eq!(code(&reject), "409 ALREADY_DECIDED");
    let canceled = bench.post(&bob, &format!("/v1/control/proposals/{id}/cancel"), &json!({ "reason": "on second thought" }));
    assert_eq!((canceled.0, &canceled.1["proposal"]["status"]), (200, &json!("canceled")));
}

#[test]
fn a_reviewer_with_a_key_must_sign_exactly_this() {
    let bench = Bench::new();
    let (alice, anyone) = (bench.key("a", &[Scope::ProposalsApprove], Some("alice")), bench.key("x", &[Scope::ProposalsApprove], None));
    let (id, digest) = bench.propose(1, 1);
    let (other, other_digest) = bench.propose(2, 1);
    let until = jiff::Timestamp::now().as_millisecond() + 60_000;
    let post = |key: &str, what: &str, body: Json| bench.post(key, &format!("/v1/control/proposals/{id}/{what}"), &body);
    let approve = |key: &str, body: Json| post(key, "approve", body);
    assert_eq!(code(&approve(&alice, json!({ "digest": digest }))), "403 SIGNATURE_REQUIRED");
    let with = |signature: String| json!({ "digest": digest, "reviewer": "alice", "signature": signature, "until": until });
    let sign = |decision, until| signed(&bench, &id, &digest, decision, until);
    let replay = signed(&bench, &other, &other_digest, Decision::Approve, Some(until));
    assert_eq!(code(&approve(&alice, with(replay))), "403 BAD_SIGNATURE", "a replay");
    assert_eq!(code(&approve(&alice, with(sign(Decision::Reject, Some(until))))), "403 BAD_SIGNATURE");
    assert_eq!(code(&approve(&alice, with(sign(Decision::Approve, Some(until + 1))))), "403 BAD_SIGNATURE", "another end");
    assert_eq!(code(&approve(&alice, with("AAAA".to_owned()))), "403 BAD_SIGNATURE");
    let long = until + 48 * 3_600_000;
    let too_long = json!({ "digest": digest, "signature": sign(Decision::Approve, Some(long)), "until": long });
    assert_eq!(code(&approve(&alice, too_long)), "400 APPROVAL_TOO_LONG");
    let over = json!({ "digest": digest, "signature": sign(Decision::Approve, Some(1)), "until": 1 });
    assert_eq!(code(&approve(&alice, over)), "409 APPROVAL_OVER");
    let answer = approve(&anyone, with(sign(Decision::Approve, Some(until))));
    assert_eq!((answer.0, &answer.1["proposal"]["status"]), (200, &json!("approved")), "the signature is the proof");
    let stored = || bench.runtime.block_on(bench.store.proposal(id.parse().unwrap())).unwrap().unwrap();
    let policy = bench.policy.load();
    let here = policy.occasion(bench.store.id(), until - 60_000);
    assert_eq!(policy.approved(&stored().content, &stored().approvals, &here), Ok(()));

    assert_eq!(code(&post(&alice, "cancel", json!({}))), "403 SIGNATURE_REQUIRED", "who signs its yes signs its no");
    assert_eq!(code(&post(&alice, "cancel", with(sign(Decision::Approve, Some(until))))), "403 BAD_SIGNATURE");
    let canceled = post(&anyone, "cancel", with(sign(Decision::Cancel, None)));
    assert_eq!((canceled.0, &canceled.1["proposal"]["status"]), (200, &json!("canceled")));
    assert_eq!(post(&anyone, "cancel", with(sign(Decision::Cancel, None))).0, 200, "again");
    let again = approve(&anyone, with(sign(Decision::Approve, Some(until))));
    assert_eq!(code(&again), "409 ILLEGAL_MOVE", "what was canceled is not approved again");
    let why = policy.approved(&stored().content, &stored().approvals, &here).unwrap_err();
    assert_eq!(why.to_string(), "it was canceled", "whatever the store's status says");
}

/// A proposal of another deployment, copied into this store with its approval.
#[test]
fn a_proposal_of_another_deployment_is_not_decided_on() {
    let bench = Bench::new();
    let bob = bench.key("b", &[Scope::ProposalsApprove, Scope::ProposalsRead], Some("bob"));
    let stored = |deployment: &str, number| {
        let content = Content::of(Proposal { deployment: Some(deployment.parse().unwrap()), ..proposal(number, 1) });
        let (id, digest) = (content.proposal().id.to_string(), content.digest().to_string());
        bench.runtime.block_on(bench.store.create(content, None, 1_000)).unwrap();
        bench.post(&bob, &format!("/v1/control/proposals/{id}/approve"), &json!({ "digest": digest }))
    };
    assert_eq!(code(&stored("staging/dep_1", 1)), "409 OTHER_DEPLOYMENT");
    let here = bench.policy.load().occasion(bench.store.id(), 0).deployment;
    assert_eq!(stored(here.as_str(), 2).0, 200);
}
