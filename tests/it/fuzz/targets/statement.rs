//! From a client's text to the text that is sent.

use std::sync::{Arc, LazyLock};

use pgwicket::{
    govern::{GovernedStatement, Request, Template, govern},
    policy::{Agent, PolicySet},
    sql::{Shape, Statement, classify},
};

use super::{policy, sent};

static POLICY: LazyLock<PolicySet> = LazyLock::new(|| policy::compiled(policy::SUPPORT).unwrap());

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not a read, or refused.
    Refused,
    /// It may be sent.
    Accepted,
}

/// No text makes the way to the source panic or run out of stack; what comes out is one SELECT over governed relations.
pub(crate) fn run(bytes: &[u8]) -> Fate {
    let text = String::from_utf8_lossy(bytes);
    let text = text.split('\0').next().unwrap_or_default();
    let read = classify(text).is_ok_and(|statement| statement == Statement::Read);
    let decided = decide(text);
    // Governing asks for a read; what is none must not pass even when it is not asked first.
    assert!(read || decided.is_none(), "not a read, and governed: {text}");
    let Some(statement) = decided else { return Fate::Refused };
    check(text, &statement);
    let again = decide(text).unwrap();
    assert_eq!(statement.text(), again.text(), "decided twice, otherwise the second time");
    let mut shape = Shape::default();
    if shape.read(text)
        && let Some(template) = Template::of(&statement, text, &shape)
        && let Some(filled) = template.fill(text, &shape.slots)
    {
        check(text, &filled);
    }
    Fate::Accepted
}

fn check(text: &str, statement: &GovernedStatement) {
    let unsound = if statement.source().as_str().starts_with("pgwicket_catalog_") {
        sent::unsound_in_the_catalog(statement.text())
    } else {
        sent::unsound(statement.text(), statement.client_parameters(), statement.appended().len())
    };
    if let Some(why) = unsound {
        panic!("{why}\n  asked: {text}\n  sent:  {}", statement.text());
    }
}

pub(crate) fn decide(text: &str) -> Option<Arc<GovernedStatement>> {
    let agent: &Agent = &POLICY.agents[&"support_agent".parse().unwrap()];
    let search_path: Vec<Box<str>> = agent.schemas.iter().map(|schema| schema.name.clone()).collect();
    govern(&Request { text, declared_types: &[], agent, policy: &POLICY, search_path: &search_path, database: "db" }).ok()
}
