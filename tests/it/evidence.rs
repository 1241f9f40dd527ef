//! Evidence as an agent and an auditor meet it: every statement has an id, and the id leads to what happened.

use pgwicket::journal::{self, End, Filter, Statement, Verdict};

use crate::support::{Cluster, Message, PASSWORD, Pgwicket, run};

#[test]
fn the_id_arrives_before_ready_and_by_show() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let answer = wire.simple("select id, subject from tickets where id = 11").unwrap();
    let tags: Vec<char> = answer.iter().map(|message| char::from(message.tag)).filter(|tag| *tag != 'N').collect();
    assert_eq!(tags, ['T', 'D', 'C', 'S', 'Z']);
    let id = evidence_id(&answer);
    let shown = wire.simple("show pgwicket.evidence_id").unwrap();
    let row = shown.iter().find(|message| message.tag == b'D').unwrap();
    assert!(String::from_utf8_lossy(&row.body).ends_with(&id), "{row:?} is not {id}");
    let statement = recorded(&pgwicket, &id);
    assert_eq!(statement.decision.agent, "support_agent");
    assert_eq!(statement.decision.tenant.as_deref(), Some("acme"));
    assert_eq!(statement.decision.relations, ["external_support.tickets"]);
    assert_eq!(statement.decision.application_name, "wire");
    assert_eq!(statement.decision.client_text, b"select id, subject from tickets where id = 11");
    assert!(statement.decision.governed_text.unwrap().contains("\"public\".\"tickets\""));
    let End::Outcome(outcome) = statement.end else { panic!("{:?}", statement.end) };
    assert_eq!((outcome.status_name(), outcome.rows), ("completed", 1));
}

#[test]
fn the_rows_that_came_back_are_kept() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let answer = wire.simple("select * from orders where id < 200 order by id").unwrap();
    let rows: Vec<u8> = answer.iter().filter(|message| message.tag == b'D').flat_map(as_sent).collect();
    let (_, kept) = journal::statement(&pgwicket.journal(), evidence_id(&answer).parse().unwrap()).unwrap().unwrap();
    assert_eq!(kept, rows, "the evidence holds other bytes than the client got");
}

#[test]
fn a_refusal_and_a_failure_are_evidence_too() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    for (text, sqlstate) in [
        ("update orders set paid = true", "25006"),
        ("drop table tickets", "42501"),
        ("copy tickets from stdin", "25006"),
        ("select * from nowhere", "42P01"),
        ("select pg_read_file('/etc/passwd')", "42501"),
    ] {
        let answer = wire.simple(text).unwrap();
        let error = answer.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{text} was not refused"));
        assert_eq!(error.field('C').as_deref(), Some(sqlstate), "{text}");
        let statement = recorded(&pgwicket, &evidence_id(&answer));
        assert_eq!(statement.decision.client_text, text.as_bytes());
        let Verdict::Refused { sqlstate: recorded, .. } = statement.decision.verdict else {
            panic!("{text}: {:?}", statement.decision.verdict)
        };
        assert_eq!(recorded, sqlstate);
    }
    let failed = wire.simple("select 1 / (id - 1) from tickets where id = 1").unwrap();
    let End::Outcome(outcome) = recorded(&pgwicket, &evidence_id(&failed)).end else { panic!() };
    assert_eq!((outcome.status_name(), outcome.sqlstate.as_deref()), ("failed", Some("22012")));
}

#[test]
fn the_command_line_lists_shows_and_verifies() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    let id = evidence_id(&wire.simple("select id, phone from customers where id = 12").unwrap());
    let evidence = |arguments: &[&str]| run(pgwicket.command().arg("evidence").args(arguments).arg("--journal").arg(pgwicket.journal()));
    assert!(evidence(&["list"]).ok().contains(&id));
    let shown = evidence(&["show", "--rows", &id]).ok();
    assert!(shown.contains("select id, phone from customers where id = 12") && shown.contains("***"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&evidence(&["show", "--json", &id]).ok()).unwrap();
    assert!(json.to_string().contains(&id));
    evidence(&["verify"]).ok();
}

#[test]
fn a_statement_whose_evidence_cannot_be_written_fails() {
    let pgwicket = Pgwicket::start_with_files_limited_to(&Cluster::desk(), 256);
    let mut wire = pgwicket.login().wire().unwrap();
    for _ in 0..20_000 {
        let answer = wire.simple("select * from documents where id < 20").unwrap();
        if let Some(error) = answer.iter().find(|message| message.tag == b'E') {
            assert_eq!(error.field('C').as_deref(), Some("58030"), "{:?}", error.field('M'));
            let again = wire.simple("select id from tickets where id = 1").unwrap();
            assert!(!again.iter().any(|message| message.tag == b'C'), "answered without evidence: {again:?}");
            return;
        }
    }
    panic!("the journal never filled");
}

#[test]
fn secrets_stay_in() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut wire = pgwicket.login().wire().unwrap();
    for text in ["select email from customers limit 3", "show all", "select 1 / 0", "select * from nowhere", "selekt"] {
        let answer = wire.simple(text).unwrap();
        assert!(answer.iter().all(|message| !message.strings().concat().contains(PASSWORD)), "{text}");
    }
    drop(crate::support::Wire::connect(pgwicket.login().port, "support_agent", "a wrong password", "support").unwrap_err());
    let literal = wire.simple("select id from tickets where subject = 'a literal that logs must not hold'").unwrap();
    assert!(literal.iter().any(|message| message.tag == b'C'));
    let log = pgwicket.log();
    for secret in [PASSWORD, &PASSWORD.replace(' ', "%20"), "a wrong password", "a literal that logs must not hold"] {
        assert!(!log.contains(secret), "the log holds {secret:?}");
    }
    for file in pgwicket.journal_files() {
        let content = std::fs::read(&file).unwrap();
        assert!(!content.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()), "{} holds a secret", file.display());
    }
}

fn evidence_id(answer: &[Message]) -> String {
    let status =
        answer.iter().filter(|message| message.tag == b'S').map(Message::strings).find(|strings| strings[0] == "pgwicket.evidence_id");
    status.unwrap_or_else(|| panic!("no evidence id in {answer:?}"))[1].clone()
}

fn recorded(pgwicket: &Pgwicket, id: &str) -> Statement {
    let listing = journal::statements(&pgwicket.journal(), &Filter::default()).unwrap();
    listing.statements.into_iter().find(|statement| statement.id.to_string() == id).unwrap_or_else(|| panic!("no evidence {id}"))
}

fn as_sent(message: &Message) -> Vec<u8> {
    let mut bytes = vec![message.tag];
    bytes.extend(u32::try_from(message.body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(&message.body);
    bytes
}
