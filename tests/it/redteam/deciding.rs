//! What explains a policy decides as what serves it: every text of the coverage corpora, by `pgwicket policy test` without a database and by a
//! session that has just begun.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use pgwicket::journal::{self, End, Filter};
use serde_json::json;

use crate::support::{AGENT, Cluster, Message, Pgwicket, Wire, repository, statements};

#[test]
fn the_coverage_corpora_are_decided_alike() {
    let pgwicket = Pgwicket::start(&Cluster::fresh_desk());
    let of = |file: &str| statements(&fs::read_to_string(repository(file)).unwrap());
    let files = ["tests/oracle/statements.sql", "tests/oracle/leaks.sql", "tests/oracle/writes.sql"];
    let texts = files.into_iter().flat_map(of).map(|statement| statement.text);
    agree(&pgwicket, AGENT, texts.collect(), 200);
}

/// Decides each by both and finds no difference; at least so many of them.
fn agree(pgwicket: &Pgwicket, agent: &str, texts: Vec<String>, least: usize) {
    let texts: Vec<String> = texts.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let told = told(pgwicket, agent, &texts);
    let login = pgwicket.login_as(agent);
    let mut wire = login.wire().unwrap();
    let (mut decided, mut answers) = (0, BTreeMap::new());
    for (text, told) in texts.iter().zip(&told) {
        // Several statements are one Query and no prepared statement: what explains takes one.
        if told.as_deref().is_some_and(|told| told.ends_with("cannot insert multiple commands into a prepared statement")) {
            continue;
        }
        decided += 1;
        answers.insert(text, answer(&mut wire, text));
        if !is_as_new(&mut wire) {
            wire = login.wire().unwrap();
        }
    }
    let refused = refused(pgwicket);
    let mut wrong = Vec::new();
    for (text, told) in texts.iter().zip(&told) {
        let Some(answer) = answers.get(text) else { continue };
        let same = match told {
            Some(told) => answer.as_ref() == Some(told),
            None => !refused.contains(text.as_bytes()) || answer.as_deref().is_some_and(needs_the_source),
        };
        if !same {
            wrong.push(format!("{text}\n  explained: {told:?}\n  served:    {answer:?}"));
        }
    }
    assert!(decided >= least, "{decided} texts of {}", texts.len());
    assert!(wrong.is_empty(), "{} of {decided} are decided otherwise\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// What `pgwicket policy test` says of each: SQLSTATE and message of a refusal, nothing where it is allowed.
fn told(pgwicket: &Pgwicket, agent: &str, texts: &[String]) -> Vec<Option<String>> {
    // Not in the directory that is served: it is read again when it changes.
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::copy(pgwicket.policies().join("policy.yaml"), policies.join("policy.yaml")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = pgwicket.command();
        command.arg("policy").args(arguments).arg("--policies").arg(&policies).output().unwrap()
    };
    let saved = run(&["check", "--live", "--save-catalog"]);
    assert!(policies.join(".catalog").exists(), "{}", String::from_utf8_lossy(&[saved.stdout, saved.stderr].concat()));
    let wanted: Vec<_> = texts.iter().map(|text| json!({ "agent": agent, "sql": text, "expect": "allow" })).collect();
    let cases = directory.path().join("cases.yaml");
    fs::write(&cases, json!({ "tests": wanted }).to_string()).unwrap();
    let output = run(&["test", "--json", cases.to_str().unwrap()]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)));
    let outcomes = said["tests"].as_array().unwrap_or_else(|| panic!("{said}"));
    assert_eq!(outcomes.len(), texts.len());
    let refusal = |test: &serde_json::Value| {
        let wrong = test["wrong"].as_str()?;
        Some(wrong.split_once("it is refused: ").unwrap_or_else(|| panic!("{wrong}")).1.to_owned())
    };
    outcomes.iter().map(refusal).collect()
}

/// Of what type an expression is that a write assigns, its read says: no decision without the source knows it.
fn needs_the_source(answer: &str) -> bool {
    answer.starts_with("42804 column \"") && answer.contains("\" is of type ")
}

/// The error that a text is answered with.
fn answer(wire: &mut Wire, text: &str) -> Option<String> {
    let answer = wire.simple(text).ok()?;
    let error = answer.iter().find(|message| message.tag == b'E')?;
    Some(format!("{} {}", error.field('C')?, error.field('M')?))
}

/// Makes the session one that has just begun; `false`: it is of no more use.
fn is_as_new(wire: &mut Wire) -> bool {
    let done = |answer: &[Message]| answer.iter().all(|message| message.tag != b'E');
    wire.simple("rollback").is_ok() && wire.simple("discard all").is_ok_and(|answer| done(&answer))
}

/// The texts that were refused, by the evidence.
fn refused(pgwicket: &Pgwicket) -> BTreeSet<Vec<u8>> {
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    listing
        .statements
        .into_iter()
        .filter(|statement| matches!(statement.end, End::Refused))
        .map(|statement| statement.decision.client_text)
        .collect()
}
