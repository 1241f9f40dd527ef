//! Reviewers, approval rules and settlement: what is wrong with them, and what they decide.

use insta::assert_snapshot;

use super::{compile_files, findings, list};
use crate::{
    policy::{Occasion, PolicyFile, PolicySet, cases},
    proposal::{Approval, Content, Counter, Decider, Decision, Proposal, decision_message},
    types::{Deployment, StoreId},
};

const KEY: [u8; 32] = [7; 32];

fn public_key() -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(ed25519_dalek::SigningKey::from_bytes(&KEY).verifying_key().to_bytes())
}

/// A policy with a writable relation `desk.r` and these sections.
fn with(sections: &str) -> String {
    format!(
        "sources: {{db: {{kind: postgres, url: \"env:URL\", ssl: disable}}}}\nschemas: {{desk: {{source: db, relations: {{r: {{from: public.tickets, tenant_column: tenant_id, columns: [id, subject, amount, size], writes: {{update: [subject, amount, size], delete: true}}}}, s: {{from: public.shared, single_tenant: true, columns: [code, price]}}}}}}}}\nagents: {{bot: {{auth: {{scram: env:PW}}, tenant: \"1\", schemas: [desk]}}}}\n{sections}"
    )
}

fn policy(sections: &str) -> PolicySet {
    compile_files(&[("p.yaml", &with(sections))]).unwrap_or_else(|errors| panic!("{}", list(&errors.0))).policy
}

fn proposal(policy: &PolicySet, text: &str) -> (Proposal, Counter) {
    let file = format!("tests: [{{agent: bot, sql: update r, expect: propose, proposal: {text}}}]");
    let cases = cases(&[PolicyFile { name: "t.yaml".into(), text: file }]).unwrap();
    let crate::policy::Expected::Propose { proposal, .. } = &cases[0].expected else { panic!() };
    let agent = policy.agents.values().next().unwrap();
    (proposal.proposal(policy, agent, "update r").unwrap(), proposal.settled)
}

#[test]
fn what_is_wrong_with_reviewers_and_rules_is_said_with_its_place() {
    assert_snapshot!(findings(&with("reviewers:\n  alice: {key: \"ed25519:AAAA\", agents: [bott]}\n  bob: {key: alice}\n  carol: {key: env:GONE}\n  dave: {key: env:PW}\n  eve: {kee: x}\napprovals:\n  rules:\n    - {relations: [desk.rr, other.*], reviewers: [alice, alicia, alice], quorum: 4}\n    - {relations: [], operations: [upsert], reviewers: [], quorum: 0}\n    - {reviewers: [bob]}\n")), @r"
    p.yaml:2:140: warning: nobody may approve update, delete of `desk.r`
      hint: such proposals wait until they expire: add a rule under `approvals`
    p.yaml:5:16: error: not an Ed25519 public key
      hint: expected `ed25519:` and 44 characters of base64, or a PEM public key; `pgwicket keys generate` makes a pair
    p.yaml:5:41: error: there is no agent `bott`
      hint: did you mean `bot`?
    p.yaml:6:14: error: neither an Ed25519 public key nor a reference to one
      hint: write `ed25519:BASE64`, `file:alice.pub` or `env:NAME`; `pgwicket keys generate` makes a pair
    p.yaml:7:16: error: `env:GONE` cannot be resolved: the environment variable GONE is not set
    p.yaml:8:15: error: not an Ed25519 public key
      hint: expected `ed25519:` and 44 characters of base64, or a PEM public key; `pgwicket keys generate` makes a pair
    p.yaml:9:9: error: unknown field `kee` in a reviewer
      hint: did you mean `key`?
    p.yaml:12:20: error: no relation is named `desk.rr`
      hint: did you mean `desk.r`?
    p.yaml:12:29: error: no relation is named `other.*`
      hint: use one of: desk.r, desk.s
    p.yaml:12:58: error: there is no reviewer `alicia`
      hint: did you mean `alice`?
    p.yaml:12:66: error: `alice` is twice in `reviewers`
    p.yaml:12:82: error: `quorum: 4` is more than the 3 reviewers of this rule
      hint: name more reviewers, or lower the quorum
    p.yaml:13:7: error: an approval rule without reviewers
      hint: name at least one under `reviewers`
    p.yaml:13:7: error: a rule without relations
      hint: name at least one under `relations`: `schema.relation` or `schema.*`
    p.yaml:13:36: error: `upsert` is none of insert, update, delete
      hint: did you mean `insert`?
    p.yaml:13:68: error: `quorum: 0` would approve without anyone
      hint: write 1 or more; what needs no person belongs under `settlement`
    p.yaml:14:7: error: an approval rule needs the field `relations`
      hint: add `relations: …`
    ");
    assert_snapshot!(findings(&with("")), @r"
    p.yaml:2:140: warning: nobody may approve update, delete of `desk.r`
      hint: such proposals wait until they expire: add a rule under `approvals`
    ");
    assert_snapshot!(findings(&with("reviewers: {alice: {}}\napprovals: {rules: [{relations: [desk.*], operations: [update], reviewers: [alice]}]}")), @r"
    p.yaml:2:140: warning: nobody may approve delete of `desk.r`
      hint: such proposals wait until they expire: add a rule under `approvals`
    ");
    let key = public_key();
    assert_snapshot!(findings(&with(&format!("reviewers: {{alice: {{key: \"ed25519:{key}\"}}, bob: {{key: \"ed25519:{key}\"}}}}\napprovals: {{rules: [{{relations: [desk.*], reviewers: [alice]}}]}}"))).replace(&key, "KEY"), @r"
    p.yaml:4:83: error: `bob` and `alice` have the same key
      hint: a quorum counts people: give each their own key
    ");
    let twice = "approvals: {rules: []}";
    let errors = compile_files(&[("a.yaml", &with(twice)), ("b.yaml", twice)]).unwrap_err();
    assert_snapshot!(list(&errors.0), @r"
    a.yaml:2:140: warning: nobody may approve update, delete of `desk.r`
      hint: such proposals wait until they expire: add a rule under `approvals`
    b.yaml:1:12: error: `approvals` is given twice, first at a.yaml:4:12
      hint: the order of its rules counts: keep them in one file
    ");
}

#[test]
fn cedar_is_checked_against_the_columns_of_its_relations() {
    let rule = |cedar: &str, more: &str| {
        let cedar = serde_json::json!(cedar);
        findings(&with(&format!(
            "approvals: {{settlement: [{{name: small, relations: [desk.r], operations: [update, delete]{more}, cedar: {cedar}}}]}}"
        )))
    };
    assert_snapshot!(rule("permit(principal, action, resource) when { context.after has amount && context.after.amount.lessThan(decimal(\"50.0\")) };", ", sum_column: amount"), @"fine");
    assert_snapshot!(rule("permit(principal, action, resource) when { context.after.amount < 50 };", ""), @r"
    p.yaml:4:98: error: this settlement policy cannot be checked: for policy `policy0`, unable to guarantee safety of access to optional attribute `after.amount` in context (line 1, column 44 of it)
      hint: try testing for the attribute's presence with `context.after has amount && ..`
    p.yaml:4:98: error: this settlement policy cannot be checked: for policy `policy0`, unexpected type: expected Long but saw decimal (line 1, column 44 of it)
    ");
    assert_snapshot!(rule("permit(principal, action, resource)\nwhen { context.amuont };", ""), @r"
    p.yaml:4:98: error: this settlement policy cannot be checked: for policy `policy0`, attribute `amuont` in context not found (line 2, column 8 of it)
      hint: did you mean `after`?
    ");
    assert_snapshot!(rule("permit(principal, action resource);", ""), @"p.yaml:4:98: error: not valid Cedar: unexpected token `resource` (line 1, column 26 of it)");
    assert_snapshot!(rule("forbid(principal, action, resource);", ""), @r"
    p.yaml:4:98: error: no `permit` policy: it would settle nothing
      hint: write `permit (principal, action, resource) when { … };`
    ");
    assert_snapshot!(rule("permit(principal == ?principal, action, resource);", ""), @r"
    p.yaml:4:98: error: a Cedar template in a settlement rule
      hint: write the principal or resource out instead of `?…`
    ");
    assert_snapshot!(rule("permit(principal, action == Action::\"truncate\", resource);", ""), @r#"
    p.yaml:4:98: error: this settlement policy cannot be checked: for policy `policy0`, unrecognized action `Action::"truncate"` (line 1, column 29 of it)
      hint: did you mean `Action::"update"`?
    p.yaml:4:98: warning: for policy `policy0`, unable to find an applicable action given the policy scope constraints (line 1, column 1 of it)
    p.yaml:4:98: warning: for policy `policy0`, policy is impossible: the policy expression evaluates to false for all valid requests (line 1, column 1 of it)
    "#);
    assert_snapshot!(rule("permit(principal, action, resource);", ", sum_column: subject"), @r"
    p.yaml:4:103: error: `subject` cannot be summed
      hint: it must be smallint, integer, bigint or numeric, in each of the rule's relations that has it
    ");
    assert_snapshot!(rule("permit(principal, action, resource);", ", sum_column: amont"), @r"
    p.yaml:4:103: error: agents see no column `amont` in these relations
      hint: did you mean `amount`?
    ");
}

/// `policy test` shares this path; here each condition is looked at alone.
#[test]
fn a_rule_settles_what_every_row_permits_within_its_day() {
    let cedar = r#"
        permit(principal == Agent::"bot", action == Action::"update", resource == Relation::"desk.r")
        when { context.changed == ["amount"] && context.before has amount && context.after has amount
            && context.after.amount.lessThan(decimal("100.0")) && context.rows <= 2
            && context.day.count <= 3 && context.day.sum.lessThanOrEqual(decimal("60.0"))
            && context.hour >= 8 && context.hour < 18 && context.weekday <= 5 && resource in AliasSchema::"desk"
            && principal has tenant && principal.tenant == "1" && context.now > datetime("2026-01-01") };
        forbid(principal, action, resource) when { context.before has amount && context.before.amount == decimal("13.0") };
    "#;
    let sections = format!(
        "reviewers: {{alice: {{}}}}\napprovals: {{rules: [{{relations: [desk.*], reviewers: [alice]}}], settlement: [{{name: never, relations: [desk.*], operations: [insert], cedar: \"permit(principal, action, resource);\"}}, {{name: small, relations: [desk.r], operations: [update], sum_column: amount, cedar: {}}}]}}",
        serde_json::json!(cedar)
    );
    let policy = policy(&sections);
    let settled = |text: &str| {
        let (proposal, counter) = proposal(&policy, text);
        let Some(settling) = policy.settlement(&proposal, proposal.created_at) else { return "no rule".to_owned() };
        let by = settling.settle(&vec![counter; settling.rules().len()]);
        let name = settling.rules().join(",");
        by.map_or(format!("{name}: no"), |settlement| format!("{} {}", settlement.rule, settlement.amount))
    };
    let row = |before: &str, after: &str| {
        format!("{{operation: update, key: {{id: 1}}, before: {{amount: {before}}}, after: {{amount: {after}}}}}")
    };
    let one = |before: &str, after: &str, more: &str| settled(&format!("{{relation: desk.r, changes: [{}]{more}}}", row(before, after)));
    assert_eq!(one("10", "20.50", ""), "small 105000");
    assert_eq!(one("20.50", "10", ""), "small 105000", "the sum is what moves, whatever the direction");
    assert_eq!(one("60", "120", ""), "small: no", "after");
    assert_eq!(one("13.00", "14", ""), "small: no", "a forbid");
    assert_eq!(one("10", "null", ""), "small: no", "NULL has no attribute");
    assert_eq!(one("10", "{default: true}", ""), "no rule", "nobody knows a default's amount");
    assert_eq!(one("10", "20.00001", ""), "no rule", "does not fit a decimal");
    assert_eq!(one("10", "NaN", ""), "no rule");
    assert_eq!(one("10", "20", ", day: {count: 2, sum: \"50\"}"), "small 100000");
    assert_eq!(one("10", "20", ", day: {count: 3, sum: \"50\"}"), "small: no", "the fourth");
    assert_eq!(one("10", "20", ", day: {count: 2, sum: \"50.0001\"}"), "small: no", "over the sum");
    assert_eq!(one("10", "20", ", at: \"2026-01-05T18:00:00Z\""), "small: no", "hour");
    assert_eq!(one("10", "20", ", at: \"2026-01-04T12:00:00Z\""), "small: no", "a Sunday");
    let rows = |rows: &[String]| settled(&format!("{{relation: desk.r, changes: [{}]}}", rows.join(", ")));
    assert_eq!(rows(&[row("1", "2"), row("3", "5")]), "small 30000");
    assert_eq!(rows(&[row("1", "2"), row("13", "14")]), "small: no", "every row");
    assert_eq!(rows(&[row("1", "2"), row("3", "4"), row("5", "6")]), "small: no", "rows");
    assert_eq!(settled("{relation: desk.r, changes: [{operation: delete, key: {id: 1}, before: {amount: 1}}]}"), "no rule", "operation");
    assert_eq!(
        settled("{relation: desk.s, changes: [{operation: update, key: {code: a}, before: {price: 1}, after: {price: 2}}]}"),
        "no rule"
    );
}

/// Unit: milliseconds.
const DAY: i64 = 86_400_000;

fn here() -> Occasion {
    Occasion { deployment: Deployment::new(Some("production"), StoreId(1)), now: 0 }
}

/// Whoever can write to the store can put rows of another deployment into it, and keep an old approval for when it suits.
#[test]
fn a_decision_is_for_one_deployment_and_ends() {
    let policy = policy(&format!(
        "deployment: production\nreviewers: {{alice: {{key: \"ed25519:{}\"}}, bob: {{}}}}\napprovals: {{rules: [{{relations: [desk.*], reviewers: [alice, bob]}}], valid_for: 2h}}",
        public_key()
    ));
    let (hour, home) = (DAY / 24, StoreId(1));
    let mut update =
        proposal(&policy, "{relation: desk.r, changes: [{operation: update, key: {id: 1}, before: {size: 1}, after: {size: 2}}]}").0;
    update.deployment = Some(policy.occasion(home, 0).deployment);
    let content = Content::of(update);
    let signed = |deployment: &Deployment, decision, over: Option<i64>, until: Option<i64>| {
        use ed25519_dalek::Signer as _;
        let message = decision_message(deployment, content.proposal().id, content.digest(), decision, over);
        let signature = ed25519_dalek::SigningKey::from_bytes(&KEY).sign(message.as_bytes());
        let decider = Decider::Signature { reviewer: "alice".parse().unwrap(), signature: signature.to_bytes().into() };
        Approval { decision, decider, digest: content.digest(), reason: None, at: 0, until, revoked: false }
    };
    let of = |approval: &Approval, store, now| {
        policy.approved(&content, std::slice::from_ref(approval), &policy.occasion(store, now)).map_err(|error| error.to_string())
    };
    let here = policy.occasion(home, 0).deployment;
    let other = Deployment::new(Some("staging"), home);
    assert_eq!(here.as_str(), "production/dep_0000000000000001");
    let good = signed(&here, Decision::Approve, Some(hour), Some(hour));
    assert_eq!(of(&good, home, 0), Ok(()));
    assert_eq!(of(&good, home, hour - 1), Ok(()));
    assert_eq!(of(&good, home, hour).unwrap_err(), "the approval by alice has ended: approve it again");
    assert!(of(&good, StoreId(2), 0).unwrap_err().starts_with("it was proposed in deployment production/dep_0000000000000001"));
    let refused = |approval: Approval| of(&approval, home, 0).unwrap_err();
    let bad = "the signature is not alice's over this decision";
    assert_eq!(refused(signed(&other, Decision::Approve, Some(hour), Some(hour))), bad, "signed in staging");
    assert_eq!(refused(signed(&here, Decision::Approve, Some(1), Some(hour))), bad, "another end than was signed");
    let long = "an approval must say when it ends, within 7200s (`approvals.valid_for` of the policy)";
    assert_eq!(refused(signed(&here, Decision::Approve, Some(3 * hour), Some(3 * hour))), long);
    assert_eq!(refused(signed(&here, Decision::Approve, None, None)), long, "without an end");
    let key = |until, at, revoked| {
        let decider = Decider::ApiKey { reviewer: "bob".parse().unwrap(), key: "key_1".into() };
        Approval { decision: Decision::Approve, decider, digest: content.digest(), reason: None, at, until, revoked }
    };
    assert_eq!(of(&key(Some(hour), 0, false), home, 0), Ok(()));
    assert_eq!(of(&key(None, 0, false), home, 2 * hour - 1), Ok(()), "made before approvals said their end");
    assert!(of(&key(None, 0, false), home, 2 * hour).unwrap_err().contains("has ended"));
    assert!(of(&key(Some(hour), 0, false), home, hour).unwrap_err().contains("has ended"));
    assert_eq!(of(&key(Some(hour), 0, true), home, 0).unwrap_err(), "the API key by which bob approved it was revoked");
    let canceled = [good, signed(&here, Decision::Cancel, None, None)];
    assert_eq!(policy.approved(&content, &canceled, &policy.occasion(home, 0)).unwrap_err().to_string(), "it was canceled");
    let cancel =
        |approval: &Approval| policy.check_decision(&content, approval, &policy.occasion(home, 0)).map_err(|error| error.to_string());
    assert_eq!(cancel(&canceled[1]), Ok(()));
    let unsigned = Decider::ApiKey { reviewer: "alice".parse().unwrap(), key: "key_1".into() };
    assert!(cancel(&Approval { decider: unsigned, ..canceled[1].clone() }).unwrap_err().contains("must be signed"));
    let approve_as_cancel = signed(&here, Decision::Approve, None, None);
    assert_eq!(cancel(&Approval { decision: Decision::Cancel, ..approve_as_cancel }).unwrap_err(), bad);
    let proposer = Decider::Proposer { agent: content.proposal().proposer.agent.clone() };
    let by_proposer = Approval { decider: proposer, ..key(Some(hour), 0, false) };
    assert_eq!(cancel(&by_proposer).unwrap_err(), "a proposer decides nothing but to take its own proposal back");
    assert_eq!(cancel(&Approval { decision: Decision::Cancel, ..by_proposer }), Ok(()));
}

#[test]
fn a_decision_counts_when_its_maker_may_make_it_and_signed_it() {
    let key = public_key();
    let policy = policy(&format!(
        "reviewers: {{alice: {{key: \"ed25519:{key}\"}}, bob: {{}}, carol: {{agents: [bot]}}, dave: {{}}}}\napprovals: {{rules: [{{relations: [desk.r], operations: [update], reviewers: [alice, bob, carol], quorum: 2}}, {{relations: [desk.*], reviewers: [alice, carol]}}]}}"
    ));
    let (update, _) =
        proposal(&policy, "{relation: desk.r, changes: [{operation: update, key: {id: 1}, before: {size: 1}, after: {size: 2}}]}");
    let needed = policy.approvals_needed(&update).unwrap();
    assert_eq!((needed.quorum, needed.reviewers.len()), (2, 2), "carol's agent proposes");
    let both = "{relation: desk.r, changes: [{operation: update, key: {id: 1}, before: {size: 1}, after: {size: 2}}, {operation: delete, key: {id: 2}}]}";
    let refused = policy.approvals_needed(&proposal(&policy, both).0).unwrap_err();
    assert_eq!(refused.to_string(), "2 approvals are needed and 1 reviewers may give one (a proposer's own reviewer may not)");

    let content = Content::of(update);
    let digest = content.digest();
    let approval = |decider, decision| Approval { decision, decider, digest, reason: None, at: 0, until: None, revoked: false };
    let by_key = |name: &str| Decider::ApiKey { reviewer: name.parse().unwrap(), key: "key_1".into() };
    let signed = |decision, over: Decision| {
        use ed25519_dalek::Signer as _;
        let until = (over == Decision::Approve).then_some(DAY);
        let message = decision_message(&here().deployment, content.proposal().id, digest, over, until);
        let signature = ed25519_dalek::SigningKey::from_bytes(&KEY).sign(message.as_bytes());
        let decider = Decider::Signature { reviewer: "alice".parse().unwrap(), signature: signature.to_bytes().into() };
        Approval { until: (decision == Decision::Approve).then_some(DAY), ..approval(decider, decision) }
    };
    let check = |approval: &Approval| policy.check_decision(&content, approval, &here()).map_err(|error| error.to_string());
    assert_eq!(check(&approval(by_key("bob"), Decision::Approve)), Ok(()));
    assert_eq!(check(&signed(Decision::Approve, Decision::Approve)), Ok(()));
    let refused = |approval: Approval| check(&approval).unwrap_err();
    assert_eq!(refused(signed(Decision::Approve, Decision::Reject)), "the signature is not alice's over this decision");
    assert_eq!(refused(approval(by_key("alice"), Decision::Approve)), "alice has a key in the policy: the decision must be signed with it");
    assert_eq!(refused(approval(by_key("carol"), Decision::Approve)), "carol may not decide on this proposal");
    assert_eq!(refused(approval(by_key("dave"), Decision::Approve)), "dave may not decide on this proposal");
    assert_eq!(refused(approval(by_key("eve"), Decision::Reject)), "eve may not decide on this proposal");
    assert_eq!(
        refused(approval(Decider::Rule { rule: "small".into() }, Decision::Approve)),
        "the policy has no settlement rule small for this proposal"
    );
    let other = Approval { digest: crate::types::Digest([1; 32]), ..approval(by_key("bob"), Decision::Approve) };
    assert_eq!(refused(other), "an approval is for other content than this proposal's");

    let (alice, bob) = (signed(Decision::Approve, Decision::Approve), approval(by_key("bob"), Decision::Approve));
    assert_eq!(policy.approved(&content, &[alice.clone(), bob.clone()], &here()), Ok(()));
    assert!(policy.approved(&content, std::slice::from_ref(&alice), &here()).is_err(), "one of two");
    assert!(policy.approved(&content, &[alice, bob, signed(Decision::Reject, Decision::Reject)], &here()).is_err(), "rejected");
}

/// A token names the person behind an agent: that person never approves, by its own name or by another that the policy knows.
#[test]
fn a_person_does_not_approve_what_it_proposed_through_an_agent() {
    let policy = policy(
        "reviewers: {rosa: {}, bob: {principals: [\"b.miller@corp.example\"]}, carol: {}}\napprovals: {rules: [{relations: [desk.*], reviewers: [rosa, bob, carol]}]}",
    );
    let update = "{relation: desk.r, changes: [{operation: update, key: {id: 1}, before: {size: 1}, after: {size: 2}}]}";
    let may_approve = |subject: Option<&str>| {
        let mut proposal = proposal(&policy, update).0;
        proposal.proposer.subject = subject.map(Into::into);
        let content = Content::of(proposal);
        let counts = |name: &&str| {
            let decider = Decider::ApiKey { reviewer: name.parse().unwrap(), key: "key_1".into() };
            let approval = Approval {
                decision: Decision::Approve,
                decider,
                digest: content.digest(),
                reason: None,
                at: 0,
                until: None,
                revoked: false,
            };
            policy.approved(&content, &[approval], &here()).is_ok()
        };
        ["rosa", "bob", "carol"].into_iter().filter(counts).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(may_approve(None), "rosa bob carol");
    assert_eq!(may_approve(Some("rosa")), "bob carol");
    assert_eq!(may_approve(Some("b.miller@corp.example")), "rosa carol");
    // However an issuer writes the name: who may be the proposer loses a vote, and nobody gains one.
    assert_eq!(may_approve(Some("Rosa")), "bob carol");
    assert_eq!(may_approve(Some("B.Miller@Corp.Example ")), "rosa carol");
    assert_eq!(may_approve(Some("rosa.other")), "rosa bob carol");
}

#[test]
fn a_settlement_is_believed_when_its_rule_would_permit() {
    let policy = policy(
        "approvals: {settlement: [{name: small, relations: [desk.r], operations: [update], cedar: \"permit(principal, action, resource) when { context.rows == 1 && context.day.count == 1 };\"}]}",
    );
    let row = "{operation: update, key: {id: 1}, before: {size: 1}, after: {size: 2}}";
    let settled = |rows: &str| {
        let content = Content::of(proposal(&policy, &format!("{{relation: desk.r, changes: [{rows}]}}")).0);
        let decider = Decider::Rule { rule: "small".into() };
        let approval =
            Approval { decision: Decision::Approve, decider, digest: content.digest(), reason: None, at: 0, until: None, revoked: false };
        policy.approved(&content, &[approval], &here()).map_err(|error| error.to_string())
    };
    assert_eq!(settled(row), Ok(()));
    assert_eq!(settled(&format!("{row}, {row}")), Err("settlement rule small does not permit this proposal".to_owned()));
}
