//! The whole story of a write, with the programs that people run: psql's protocol, `pgwicket keys`, `pgwicket proposals`,
//! `pgwicket worker`; and that evidence, proposal, decision and receipt name each other.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use pgwicket::journal;
use serde_json::Value as Json;

use crate::support::{Cluster, Database, PASSWORD, Pgwicket, Wire, Worker, run, support_policy};

/// One reviewer signs, the other decides by an API key.
struct Stage {
    pgwicket: Pgwicket,
    desk: Database,
    writer: String,
    keys: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let desk = Cluster::fresh_desk();
        let writer = format!("writer_of_{}", desk.name);
        desk.sql(&format!("create role {writer} login password '{PASSWORD}'; grant select, insert, update, delete on tickets to {writer}"));
        let ddl = run(Command::new(env!("CARGO_BIN_EXE_pgwicket")).args(["worker", "migration", "--role", &writer])).ok();
        desk.sql(&ddl);
        let keys = tempfile::tempdir().unwrap();
        let key = keys.path().join("rosa");
        run(Command::new(env!("CARGO_BIN_EXE_pgwicket")).args(["keys", "generate"]).arg(&key)).ok();
        let policy = support_policy().replacen("  rosa: {}\n", &format!("  rosa: {{ key: \"file:{}.pub\" }}\n", key.display()), 1);
        let pgwicket = Pgwicket::start_with(&desk, &policy);
        Self { pgwicket, desk, writer, keys }
    }

    /// The secret of a new API key.
    fn api_key(&self, reviewer: &str) -> String {
        let made = self.command(&["keys", "create", "--name", reviewer, "--reviewer", reviewer], "");
        made.lines().last().unwrap().trim().to_owned()
    }

    fn command(&self, arguments: &[&str], api_key: &str) -> String {
        run(self.prepared(arguments, api_key)).ok()
    }

    fn prepared(&self, arguments: &[&str], api_key: &str) -> &'static mut Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgwicket"));
        command.args(arguments).env("PGWICKET_STORE", self.pgwicket.store()).env("PGWICKET_API_KEY", api_key);
        command.env("PGWICKET_URL", format!("http://127.0.0.1:{}", self.pgwicket.control_port()));
        Box::leak(Box::new(command))
    }

    fn worker(&self) -> Worker {
        let arguments = ["--sources", "app_postgres=env:WRITE_URL", "--poll", "20", "--name", "story", "--policies"];
        let policies = self.pgwicket.policies().display().to_string();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).chain([policies]).collect();
        let environment =
            [("PGWICKET_STORE", self.pgwicket.store().display().to_string()), ("WRITE_URL", self.desk.login(&self.writer).url())];
        Worker::start(&self.keys.path().join("worker.log"), &arguments, &environment)
    }
}

#[test]
fn propose_show_approve_apply_and_the_agent_sees_it() {
    let stage = Stage::new();
    let mut wire = stage.pgwicket.login().wire().unwrap();
    // How the client wants times printed changes nothing of what is compared: updated_at guards each change.
    wire.simple("set TimeZone = 'Asia/Tokyo'").unwrap();
    wire.simple("set DateStyle = 'German, DMY'").unwrap();
    let update = propose(
        &mut wire,
        "update tickets set meta = jsonb_build_object('at', '03.04.2024 10:00'::timestamptz), amount = 77.70, assignee = null where id = 42 /* reason='agreed' */",
    );
    let spare = "select id from tickets t where tenant_id = 'acme' and deleted_at is null and id > 100 \
                 and not exists (select from orders o where o.ticket_id = t.id) order by id limit 1";
    let spare = stage.desk.sql(spare).trim().to_owned();
    let delete = propose(&mut wire, &format!("delete from tickets where id = {spare}"));
    let update_id = update["proposal_id"].as_str().unwrap();
    let delete_id = delete["proposal_id"].as_str().unwrap();
    let before = stage.desk.sql("select amount from tickets where id = 42");

    let (rosa, sam) = (stage.api_key("rosa"), stage.api_key("sam"));
    let listed = stage.command(&["proposals", "list"], &sam);
    assert!(listed.contains(update_id) && listed.contains(delete_id), "{listed}");
    let shown = stage.command(&["proposals", "show", update_id], &sam);
    for part in ["id = 42", "→ 77.70", "→ NULL", "support_agent", "acme", "agreed", update["evidence_id"].as_str().unwrap()] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
    // Rosa has a key: without her signature her API key decides nothing.
    let unsigned = run(stage.prepared(&["proposals", "approve", update_id, "--yes"], &rosa));
    assert_ne!(unsigned.code, Some(0), "an unsigned decision of a reviewer with a key counted");
    let key = stage.keys.path().join("rosa").display().to_string();
    stage.command(&["proposals", "approve", update_id, "--yes", "--key", &key, "--reason", "seen"], &rosa);
    // A DELETE needs both; one person is one.
    stage.command(&["proposals", "approve", delete_id, "--yes", "--key", &key], &rosa);
    stage.command(&["proposals", "approve", delete_id, "--yes", "--key", &key], &rosa);
    assert_eq!(status(&mut wire, delete_id), "pending");
    assert_eq!(stage.desk.sql("select amount from tickets where id = 42"), before, "nothing is written before a worker comes");

    let _worker = stage.worker();
    until(&mut wire, update_id, "applied");
    assert_eq!(stage.desk.sql("select amount, assignee is null from tickets where id = 42").trim(), "77.70|t");
    let at = "select (meta ->> 'at')::timestamptz at time zone 'UTC' from tickets where id = 42";
    assert_eq!(stage.desk.sql(at).trim(), "2024-04-03 01:00:00", "ten o'clock in Tokyo, the third of April");
    assert_eq!(status(&mut wire, delete_id), "pending");
    stage.command(&["proposals", "approve", delete_id, "--yes"], &sam);
    until(&mut wire, delete_id, "applied");
    assert_eq!(stage.desk.sql(&format!("select count(*) from tickets where id = {spare}")).trim(), "0");

    // Each names the others.
    let receipt = stage.desk.sql(&format!(
        "select evidence_id, digest, outcome, affected_rows, agent, approved_by from pgwicket_receipts.pgwicket_receipts where proposal_id = '{update_id}'"
    ));
    let proposal: Json = serde_json::from_str(&stage.command(&["proposals", "show", update_id, "--json"], &sam)).unwrap();
    let found = proposal.to_string();
    let receipt: Vec<&str> = receipt.trim().split('|').collect();
    assert_eq!(receipt[0], update["evidence_id"]);
    assert!(found.contains(receipt[1]) && found.contains("seen"), "{found}");
    assert_eq!(&receipt[2..], ["applied", "1", "support_agent", "rosa"]);
    let evidence = update["evidence_id"].as_str().unwrap().parse().unwrap();
    let (statement, _) = journal::statement(&stage.pgwicket.journal(), evidence).unwrap().unwrap();
    let journal::End::Outcome(outcome) = &statement.end else { panic!("{:?}", statement.end) };
    assert!(format!("{outcome:?}").contains(update_id), "the evidence does not name the proposal: {outcome:?}");
    kept_to_itself(&stage, &[&rosa, &sam]);
}

#[test]
fn of_two_changes_to_what_was_read_once_the_second_is_a_conflict() {
    let stage = Stage::new();
    let mut wire = stage.pgwicket.login().wire().unwrap();
    let first = propose(&mut wire, "update tickets set amount = coalesce(amount, 0) + 10 where id = 44");
    let second = propose(&mut wire, "update tickets set amount = coalesce(amount, 0) + 20 where id = 44");
    let settled = propose(&mut wire, "update tickets set priority = 'low' where id = 40");
    assert_eq!(settled["status"], "approved", "by the rule of the policy");
    let sam = stage.api_key("sam");
    for proposal in [&first, &second] {
        stage.command(&["proposals", "approve", proposal["proposal_id"].as_str().unwrap(), "--yes"], &sam);
    }
    let expected = stage.desk.sql("select coalesce(amount, 0) + 10 from tickets where id = 44");
    let _workers = [stage.worker(), stage.worker()];
    until(&mut wire, first["proposal_id"].as_str().unwrap(), "applied");
    until(&mut wire, second["proposal_id"].as_str().unwrap(), "conflict");
    until(&mut wire, settled["proposal_id"].as_str().unwrap(), "applied");
    assert_eq!(stage.desk.sql("select amount from tickets where id = 44"), expected, "the second overwrote the first");
    let again = propose(&mut wire, "update tickets set amount = coalesce(amount, 0) + 20 where id = 44");
    assert_ne!(again["proposal_id"], second["proposal_id"], "proposed again, against what is there now");
    let rejected = again["proposal_id"].as_str().unwrap();
    stage.command(&["proposals", "reject", rejected, "--yes", "--reason", "once was enough"], &sam);
    assert_eq!(status(&mut wire, rejected), "rejected");
}

/// No log holds a secret.
fn kept_to_itself(stage: &Stage, secrets: &[&str]) {
    let log = stage.pgwicket.log() + &std::fs::read_to_string(Path::new(&stage.keys.path().join("worker.log"))).unwrap();
    for secret in secrets.iter().copied().chain([PASSWORD]) {
        assert!(!log.contains(secret), "a secret is in a log");
    }
}

fn propose(wire: &mut Wire, text: &str) -> Json {
    let answer = wire.simple(text).unwrap();
    let error = answer.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{text} was executed"));
    assert_eq!(error.field('C').as_deref(), Some("25006"), "{text}: {:?}", error.field('M'));
    serde_json::from_str(&error.field('D').unwrap()).unwrap()
}

fn status(wire: &mut Wire, id: &str) -> String {
    let answer = wire.simple(&format!("select status from pgwicket.proposals where proposal_id = '{id}'")).unwrap();
    let row = answer.iter().find(|message| message.tag == b'D').unwrap();
    String::from_utf8(row.body[6..].to_vec()).unwrap()
}

fn until(wire: &mut Wire, id: &str, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = status(wire, id);
        if status == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{id} is {status}, not {wanted}");
        thread::sleep(Duration::from_millis(30));
    }
}
