//! What `policy explain` and `policy test` say of a statement is what a session does with it: one function decides for both, and every
//! statement of the red-team corpus and of the clients' catalog queries is asked of both.

use pgwicket::{
    govern::Request,
    pipeline::{First, first_statement},
    policy::{Agent, PolicySet},
    sql::statements,
};

use crate::{
    redteam,
    support::{AGENT, Cluster, Login, Message, PASSWORD, Pgwicket, Wire, governed, repository},
};

/// What looked otherwise in the tools than in a session once.
const KINDS: &[&str] = &[
    "explain select 1",
    "explain (analyze, format json) select id from tickets",
    "explain select internal_notes from tickets",
    "copy tickets to stdout (format csv, delimiter 'ab')",
    "copy tickets to stdout (format parquet)",
    "copy (select id from tickets where id = $1) to stdout",
    "copy (select internal_notes from tickets) to stdout",
    "declare c cursor for select 1",
    "declare c cursor with hold for select internal_notes from tickets",
    "prepare p as select internal_notes from tickets",
    "prepare p as show all",
    "execute nothing",
    "deallocate nothing",
    "close nothing",
    "fetch nothing",
    "savepoint a",
    "rollback to a",
    "set timezone = 'Nowhere'",
    "set work_mem = '1'",
    "set nope = 1",
    "show nope",
    "reset server_version",
    "select current_setting('nope')",
    "select set_config('timezone', 'Nowhere', false)",
    "select set_config('application_name', 'x', false)",
    "select set_config('a.b', subject, false) from tickets",
    "begin read write",
    "update tickets set id = 1",
    "update tickets set priority = 'low' where id = 1",
];

/// SQLSTATEs that pgwicket gives before anything is forwarded, and a source's answer to a read does not.
const OURS: [&str; 6] = ["42501", "25006", "54001", "54000", "42704", "55P02"];

#[test]
fn the_tools_decide_what_a_session_does() {
    let source = Cluster::desk();
    let pgwicket = Pgwicket::start(&source);
    let policy = governed::policy(&source);
    let agent = policy.agents.values().find(|agent| agent.name.as_str() == AGENT).unwrap();
    let queries = std::fs::read_to_string(repository("tests/catalog/queries.jsonl")).unwrap();
    let queries = queries.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["sql"].as_str().unwrap().to_owned());
    let texts: Vec<String> = KINDS.iter().map(|text| (*text).to_owned()).chain(redteam::texts()).chain(queries).collect();
    let login = pgwicket.login();
    let (mut wire, mut wrong, mut asked) = (connect(&login), Vec::new(), 0);
    for text in texts.iter().filter(|text| !text.contains('\0') && matches!(statements(text).map(|found| found.len()), Ok(0 | 1) | Err(_)))
    {
        asked += 1;
        let said = decided(&policy, agent, text, &login.database);
        let answered = wire.simple(text).ok().map(|messages| error(&messages));
        let done = match answered {
            Some(done) => done,
            None => Some("closed".to_owned()),
        };
        let agree = match &said {
            Said::Refused(code) => done.as_deref() == Some(code),
            Said::Write => done.as_deref().is_some_and(|code| code != "42501" && code != "0A000"),
            Said::Allowed => !done.as_deref().is_some_and(|code| OURS.contains(&code)),
        };
        if !agree {
            wrong.push(format!("{text}\n  the tools: {said:?}, a session: {done:?}"));
        }
        // Each is a session's first statement.
        if wire.simple("rollback").is_err() || wire.simple("discard all").is_err() {
            wire = connect(&login);
        }
    }
    assert!(asked > 1000, "{asked} statements are not the corpora");
    assert!(wrong.is_empty(), "{} of {asked} statements\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Debug)]
enum Said {
    Refused(String),
    Write,
    Allowed,
}

fn decided(policy: &PolicySet, agent: &Agent, text: &str, database: &str) -> Said {
    let search_path: Vec<Box<str>> = agent.schemas.iter().map(|schema| schema.name.clone()).collect();
    match first_statement(&Request { text, declared_types: &[], agent, policy, search_path: &search_path, database }) {
        // A parameter has no value in the simple protocol.
        Ok(First::Forward(governed)) if governed.client_parameters() > 0 => Said::Refused("42P02".to_owned()),
        Ok(First::Forward(_) | First::Local(_)) => Said::Allowed,
        Ok(First::Write(_)) => Said::Write,
        Err(error) => Said::Refused(error.report().sqlstate.to_string()),
    }
}

fn connect(login: &Login) -> Wire {
    Wire::connect(login.port, &login.user, PASSWORD, &login.database).unwrap()
}

fn error(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.tag == b'E').and_then(|message| message.field('C'))
}
