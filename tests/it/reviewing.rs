//! From a write to a changed row, by people and programs that know the commands and the HTTP contract only.

use std::process::Command;

use serde_json::Value as Json;

use crate::support::{Cluster, Database, Pgwicket, repository, run, support_policy};

/// alice signs, bob decides by API key; two rows or more need both.
const REVIEW: &str = "
reviewers:
  alice: { key: \"KEY\" }
  bob: {}
approvals:
  rules:
    - { relations: [external_support.*], operations: [delete], reviewers: [alice, bob], quorum: 2 }
    - { relations: [external_support.*], reviewers: [alice, bob] }
  settlement:
    - name: small_amounts
      relations: [external_support.tickets]
      operations: [update]
      sum_column: amount
      cedar: |
        permit(principal, action, resource)
        when { context.changed == [\"amount\"] && context.day.sum.lessThanOrEqual(decimal(\"5.0\")) };
";

/// What a ticket has besides what agents may give.
const DEFAULTS: &str = "alter table tickets alter priority set default 'low', alter customer_id set default 1, alter tags set default '{}',
    alter meta set default '{}', alter public_id set default gen_random_uuid(), alter secret set default '',
    alter created_at set default now(), alter updated_at set default now()";

struct Story {
    pgwicket: Pgwicket,
    source: Database,
    signing_key: std::path::PathBuf,
}

impl Story {
    fn begin() -> Self {
        let source = Cluster::fresh_desk();
        source.sql(DEFAULTS);
        let directory = tempfile::Builder::new().prefix("pgwicket-keys-").tempdir().unwrap().keep();
        crate::support::remove_at_end(&directory);
        let signing_key = directory.join("alice.pem");
        let made = run(Command::new(env!("CARGO_BIN_EXE_pgwicket")).args(["keys", "generate"]).arg(&signing_key)).ok();
        let key = made.trim().trim_start_matches("key: ").trim_matches('"').to_owned();
        let pgwicket = Pgwicket::start_with(&source, &policy(&REVIEW.replace("KEY", &key)));
        Self { pgwicket, source, signing_key }
    }

    /// The URL of a credential that may write, of this story's own.
    fn writer(&self) -> String {
        let role = format!("writer_{}", self.pgwicket.control_port());
        let password = crate::support::PASSWORD;
        self.source
            .sql(&format!("create role {role} login password '{password}'; grant select, insert, update, delete on tickets to {role}"));
        self.source.login(&role).url()
    }

    /// A ticket of the agent's tenant.
    fn ticket(&self, number: usize) -> String {
        let own = "select id from tickets where tenant_id = 'acme' and deleted_at is null and amount is not null order by id";
        self.source.sql(&format!("{own} offset {number} limit 1")).trim().to_owned()
    }

    /// What psql gets for a write: the JSON of its DETAIL.
    fn propose(&self, text: &str) -> Json {
        let output = self.pgwicket.login().psql().args(["-c", text]).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let detail = words.lines().find_map(|line| line.strip_prefix("DETAIL:")).unwrap_or_else(|| panic!("{text}: {words}"));
        serde_json::from_str(detail.trim()).unwrap()
    }

    fn seen_by_agent(&self, text: &str) -> String {
        run(self.pgwicket.login().psql().args(["-At", "-c", text])).ok().trim().to_owned()
    }

    fn api_key(&self, arguments: &[&str]) -> String {
        let mut command = self.pgwicket.command();
        run(command.args(["keys", "create", "--store"]).arg(self.pgwicket.store()).args(arguments)).ok().trim().to_owned()
    }

    fn proposals(&self, key: &str, arguments: &[&str]) -> Command {
        let mut command = self.pgwicket.command();
        command.arg("proposals").args(arguments);
        command.env("PGWICKET_URL", self.url()).env("PGWICKET_API_KEY", key);
        command
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.pgwicket.control_port())
    }
}

/// The support desk with other reviewers than its own.
fn policy(review: &str) -> String {
    let whole = support_policy();
    let (desk, _) = whole.split_once("\nreviewers:").unwrap_or((&whole, ""));
    let desk = desk.replacen("    kind: postgres\n", "    kind: postgres\n    worker: external\n", 1);
    format!("{desk}{review}")
}

fn id(proposal: &Json) -> &str {
    proposal["proposal_id"].as_str().unwrap()
}

#[test]
fn a_write_is_shown_signed_applied_by_anothers_worker_and_seen() {
    let story = Story::begin();
    let (one, two) = (story.ticket(0), story.ticket(1));
    let before = story.source.sql(&format!("select amount from tickets where id = {one}"));
    let set = "priority = 'escalated', amount = amount + 1.25";
    let update = story.propose(&format!("update tickets set {set} where id in ({one}, {two}) /* reason='asked%20by%20phone' */"));
    let insert = story.propose("insert into tickets (id, subject, status) values (990001, 'from \u{202e}outside', 'open')");
    let bob = story.api_key(&["--name", "bob", "--reviewer", "bob"]);
    let reader = story.api_key(&["--name", "alice reads", "--scope", "proposals:read,proposals:approve"]);

    let listed = run(&mut story.proposals(&bob, &["list"])).ok();
    assert!(listed.contains(id(&update)) && listed.contains("update 2 rows of external_support.tickets"), "{listed}");
    let shown = run(&mut story.proposals(&reader, &["show", id(&update)])).ok();
    assert!(
        shown.contains(&format!("~ update id = {one}"))
            && shown.contains(&format!("{} → ", before.trim()))
            && shown.contains("→ escalated"),
        "{shown}"
    );
    assert!(shown.contains(update["evidence_id"].as_str().unwrap()) && !shown.contains('\u{1b}'), "{shown}");
    let shown = run(&mut story.proposals(&reader, &["show", id(&insert)])).ok();
    assert!(shown.contains("+ insert id = 990001") && shown.contains("from \\u{202e}outside"), "{shown}");

    let unsigned = story.proposals(&reader, &["approve", id(&update), "--yes"]).output().unwrap();
    assert!(!unsigned.status.success() && String::from_utf8_lossy(&unsigned.stderr).contains("NO_REVIEWER"), "{unsigned:?}");
    let unasked = story.proposals(&bob, &["approve", id(&update)]).output().unwrap();
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("say --yes"), "{unasked:?}");
    let key = story.signing_key.to_str().unwrap();
    let signed = ["approve", id(&update), "--yes", "--key", key, "--reviewer", "alice", "--reason", "checked"];
    let approved = run(&mut story.proposals(&reader, &signed)).ok();
    assert_eq!(approved, format!("{} is approved, approved by alice\n", id(&update)));
    run(&mut story.proposals(&bob, &["approve", id(&insert), "--yes"])).ok();

    let answers = external_worker(&story);
    let outcome = |proposal: &Json| -> Vec<(String, u64, String)> {
        let of = answers.iter().filter(|answer| answer["proposal_id"] == proposal["proposal_id"]);
        let word =
            |answer: &Json| answer["answer"]["error"].as_str().map_or_else(|| answer["answer"]["recorded"].to_string(), str::to_owned);
        of.map(|answer| (answer["reported"].as_str().unwrap().to_owned(), answer["http"].as_u64().unwrap(), word(answer))).collect()
    };
    for proposal in [&update, &insert] {
        let expected = [("applied", 200, "true"), ("applied", 200, "false"), ("failed", 409, "OUTCOME_DISAGREES")];
        let expected = expected.map(|(reported, http, word)| (reported.to_owned(), http, word.to_owned()));
        assert_eq!(outcome(proposal), expected, "{answers:?}");
    }
    assert_eq!(story.source.sql("select count(*) from tickets where priority = 'escalated'").trim(), "2");
    assert_eq!(story.source.sql("select tenant_id, subject from tickets where id = 990001").trim(), "acme|from \u{202e}outside");
    let status = format!("select status from pgwicket.proposals where proposal_id = '{}'", id(&update));
    assert_eq!(story.seen_by_agent(&status), "applied");
}

/// Applies what is approved; every answer that it got.
fn external_worker(story: &Story) -> Vec<Json> {
    let worker = story.api_key(&["--name", "another's worker", "--scope", "worker", "--source", "app_postgres"]);
    let mut python = Command::new(repository(".venv/bin/python"));
    python.arg(repository("tests/drivers/python/external_worker.py")).arg(story.url()).env("PYTHONDONTWRITEBYTECODE", "1");
    python.env("PGWICKET_API_KEY", worker).env("TARGET_URL", story.writer());
    run(&mut python).ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_row_that_changed_meanwhile_is_a_conflict_and_stays() {
    let story = Story::begin();
    let row = story.ticket(0);
    let update = story.propose(&format!("update tickets set priority = 'late' where id = {row}"));
    let bob = story.api_key(&["--name", "bob", "--reviewer", "bob"]);
    run(&mut story.proposals(&bob, &["approve", id(&update), "--yes"])).ok();
    story.source.sql(&format!("update tickets set priority = 'first', updated_at = updated_at + interval '1 s' where id = {row}"));
    let answers = external_worker(&story);
    assert_eq!(answers.iter().map(|answer| answer["http"].as_u64().unwrap()).collect::<Vec<_>>(), [200, 200, 409]);
    assert_eq!(answers[0]["answer"]["status"], "conflict");
    assert_eq!(story.source.sql(&format!("select priority from tickets where id = {row}")).trim(), "first");
    let shown = run(&mut story.proposals(&bob, &["show", id(&update)])).ok();
    assert!(shown.contains("conflict") && shown.contains("change 0 met 0 rows"), "{shown}");
}

#[test]
fn small_amounts_are_settled_up_to_the_days_sum_and_two_people_let_a_row_go() {
    let story = Story::begin();
    let settled = story.propose(&format!("update tickets set amount = amount + 3 where id = {}", story.ticket(0)));
    assert_eq!(settled["status"], "approved", "{settled}");
    let over = story.propose(&format!("update tickets set amount = amount + 3 where id = {}", story.ticket(1)));
    assert_eq!(over["status"], "pending", "the day's sum would be 6: {over}");
    let bob = story.api_key(&["--name", "bob", "--reviewer", "bob"]);
    let shown = run(&mut story.proposals(&bob, &["show", id(&settled)])).ok();
    assert!(shown.contains("rule small_amounts") && shown.contains("by the policy"), "{shown}");

    let delete = story.propose(&format!("delete from tickets where id = {}", story.ticket(2)));
    let first = run(&mut story.proposals(&bob, &["approve", id(&delete), "--yes"])).ok();
    assert_eq!(first, format!("{} is pending, approved by bob\n", id(&delete)));
    let key = story.signing_key.to_str().unwrap();
    let second = ["approve", id(&delete), "--yes", "--key", key, "--reviewer", "alice"];
    let second = run(&mut story.proposals(&bob, &second)).ok();
    assert_eq!(second, format!("{} is approved, approved by bob, alice\n", id(&delete)));
    let canceled = run(&mut story.proposals(&bob, &["cancel", id(&delete), "--reason", "wrong row"])).ok();
    assert_eq!(canceled, format!("{} is canceled, approved by bob, alice\n", id(&delete)));
    let rejected = run(&mut story.proposals(&bob, &["reject", id(&over), "--yes", "--reason", "too much"])).ok();
    assert_eq!(rejected, format!("{} is rejected\n", id(&over)));
    let status = format!("select status from pgwicket.proposals where proposal_id = '{}'", id(&over));
    assert_eq!(story.seen_by_agent(&status), "rejected");
}
