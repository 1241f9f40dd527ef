//! The example policies: each is fine, keeps its own tests, and fits the JSON Schema's fields.

use std::process::{Command, Output};

use crate::support::repository;

const EXAMPLES: [&str; 2] = ["policies", "policies/pgbench"];

fn policy(arguments: &[&str]) -> Output {
    // No secret is set: checks, explanations and tests do without.
    Command::new(env!("CARGO_BIN_EXE_pgwicket")).arg("policy").args(arguments).current_dir(repository("")).env_clear().output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_example_policy_compiles_against_its_saved_catalog() {
    for example in EXAMPLES {
        let output = policy(&["check", "--policies", example]);
        assert!(output.status.success() && text(&output).contains("saved catalog"), "{example}: {}", text(&output));
        assert!(!text(&output).contains("structure only"), "{example}: {}", text(&output));
    }
}

#[test]
fn every_example_policy_keeps_its_promises() {
    for example in EXAMPLES {
        let output = policy(&["test", "--policies", example]);
        assert!(output.status.success(), "{example}: {}", text(&output));
    }
}

#[test]
fn a_failing_promise_is_a_finding_and_a_wrong_command_line_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let cases = directory.path().join("cases.yaml");
    std::fs::write(&cases, "tests: [{agent: support_agent, sql: drop table tickets, expect: allow}]\n").unwrap();
    let output = policy(&["test", cases.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("expected it to be allowed, but it is refused: 42501"), "{}", text(&output));
    assert_eq!(policy(&["explain", "select 1"]).status.code(), Some(2));
    assert_eq!(policy(&["explain", "--agent", "support_agent", "drop table tickets"]).status.code(), Some(1));
}

#[test]
fn an_explanation_shows_what_is_sent_and_why() {
    let output = policy(&["explain", "--agent", "support_agent", "select id from tickets where subject ~ 'refund'"]);
    let text = text(&output);
    for part in
        ["\"public\".\"tickets\"", "\"tenant_id\" = $1", "(deleted_at is null)", "$1 = 'acme'", "OFFSET 0", "fenced", "at most 1000 rows"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
