//! What a connection is bound to after a bind that was refused, however it was written; and what a new binding finds.

use serde_json::json;

use super::{Key, Published, claims, policy, rules};
use crate::support::{Cluster, Message, Pgwicket, Wire};

struct Desk {
    pgwicket: Pgwicket,
    key: Key,
    _published: Published,
    _directory: tempfile::TempDir,
}

impl Desk {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::make(directory.path(), "one", "ES256");
        let published = Published::start(&[&key]);
        let session = rules(&format!("keys: \"{}\"", published.url()), ", claims: { tenant: org }");
        let policy = policy("{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }", &format!("    session_token: {session}\n"));
        Self { pgwicket: Pgwicket::start_with(&Cluster::desk(), &policy), key, _published: published, _directory: directory }
    }

    fn token(&self, tenant: &str) -> String {
        self.key.token(&claims(&[("org", json!(tenant))]))
    }

    fn bound_to(&self, tenant: &str) -> Wire {
        let mut wire = self.pgwicket.login().wire().unwrap();
        assert_eq!(error(&wire.simple(&bind(&self.token(tenant))).unwrap()), None);
        wire
    }
}

fn bind(token: &str) -> String {
    format!("set pgwicket.session_token = '{token}'")
}

fn error(answer: &[Message]) -> Option<String> {
    answer.iter().find(|message| message.tag == b'E').and_then(|message| message.field('C'))
}

/// The value of a setting; `Err` with the SQLSTATE.
fn shown(wire: &mut Wire, name: &str) -> Result<String, String> {
    let answer = wire.simple(&format!("show {name}")).unwrap();
    let row = answer.iter().find(|message| message.tag == b'D');
    row.map(|row| String::from_utf8_lossy(&row.body[6..]).into_owned()).ok_or_else(|| error(&answer).unwrap())
}

#[test]
fn a_bind_that_is_refused_leaves_nothing_bound_however_it_is_written() {
    let desk = Desk::start();
    let token = desk.token("globex");
    let bind = bind(&token);
    for (before, refused) in [
        ("begin; select 1 / 0", bind.clone()),
        ("begin; select 1 / 0", "set pgwicket.session_token = ''".to_owned()),
        ("begin; select 1 / 0", "reset pgwicket.session_token".to_owned()),
        ("select 1", format!("select 1 / 0; {bind}")),
        ("select 1", format!("select set_config('pgwicket.session_token', '{token}', false)")),
        ("begin", format!("select set_config('pgwicket.session_token', '{token}', true)")),
        ("select 1", format!("set pgwicket.session_tokens = '{token}'")),
        ("select 1", format!("set pgwicket.session-token = '{token}'")),
        ("select 1", format!("sett pgwicket.session_token = '{token}'")),
        ("select 1", format!("set pgwiket.token to = '{token}'")),
        ("select 1", format!("{bind} for me")),
    ] {
        let mut wire = desk.bound_to("acme");
        wire.simple(before).unwrap();
        assert!(error(&wire.simple(&refused).unwrap()).is_some(), "{refused}");
        wire.simple("rollback").unwrap();
        let read = wire.simple("select count(*) from tickets").unwrap();
        assert_eq!(error(&read).as_deref(), Some("42501"), "{before}; {refused}");
        assert_eq!(shown(&mut wire, "pgwicket.tenant"), Ok(String::new()), "{before}; {refused}");
    }
    // In a pipeline, after what failed: the source and pgwicket pass it over, and so it binds nothing.
    let mut wire = desk.bound_to("acme");
    for text in ["select 1 / 0", &bind] {
        wire.send(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat()).unwrap();
        wire.send(b'B', b"\0\0\0\0\0\0\0\0").unwrap();
        wire.send(b'E', b"\0\0\0\0\0").unwrap();
    }
    wire.send(b'S', b"").unwrap();
    assert!(error(&wire.until_ready().unwrap()).is_some());
    assert_eq!(error(&wire.simple("select count(*) from tickets").unwrap()).as_deref(), Some("42501"));
    // The control: what asks for nothing of the kind unbinds nothing when it is refused.
    let mut wire = desk.bound_to("acme");
    // A token may be data, too: what was decided on and ended with an error meant to bind nothing.
    let (stored, failed) = (format!("update tickets set subject = '{token}' where id = 42"), format!("select '{token}'::int"));
    for refused in
        ["select session_token from tickets", "set pgwicket.tenant = 'globex'", "select 1 / 0", "selekt 'token'", &stored, &failed]
    {
        assert!(error(&wire.simple(refused).unwrap()).is_some(), "{refused}");
        assert_eq!(error(&wire.simple("select count(*) from tickets").unwrap()), None, "{refused}");
    }
}

/// A forged token, a setting that is not to be had, and what is tried in a failed transaction are in evidence, as any refusal is.
#[test]
fn what_was_tried_and_not_decided_on_is_evidence_too() {
    let desk = Desk::start();
    let token = desk.token("acme");
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let tried = [
        ("28000", bind(&forged)),
        ("42501", "set session authorization postgres".to_owned()),
        ("42704", "select current_setting('tried.one')".to_owned()),
        ("22023", "select set_config('timezone', 'tried two', false)".to_owned()),
        ("25001", format!("begin; {}", bind(&token))),
        ("25P02", "select pg_read_file('tried three')".to_owned()),
        ("25P02", "copy tickets to program 'tried four'".to_owned()),
    ];
    let mut wire = desk.pgwicket.login().wire().unwrap();
    for (sqlstate, text) in &tried {
        assert_eq!(error(&wire.simple(text).unwrap()).as_deref(), Some(*sqlstate), "{text}");
    }
    let listing = pgwicket::journal::statements(&desk.pgwicket.journal(), &pgwicket::journal::Filter::default()).unwrap();
    let kept: Vec<(String, String)> = listing
        .statements
        .iter()
        .filter_map(|statement| match &statement.decision.verdict {
            pgwicket::journal::Verdict::Refused { sqlstate, .. } => {
                Some((sqlstate.clone(), String::from_utf8_lossy(&statement.decision.client_text).into_owned()))
            }
            pgwicket::journal::Verdict::Unknown | pgwicket::journal::Verdict::Forwarded | pgwicket::journal::Verdict::Local => None,
        })
        .collect();
    for (sqlstate, text) in &tried {
        let begins = text.trim_start_matches("begin; ").split('\'').next().unwrap();
        let found = kept.iter().filter(|(kept_state, kept)| kept_state == sqlstate && kept.starts_with(begins)).count();
        assert_eq!(found, 1, "{text}: {kept:#?}");
    }
    assert!(!kept.iter().any(|(_, text)| text.contains(&token[..40])), "a token: {kept:#?}");
}

#[test]
fn a_new_binding_finds_nothing_that_was_said_under_the_one_before() {
    let desk = Desk::start();
    let mut wire = desk.bound_to("acme");
    for said in [
        "set pgwicket.reason = 'said for acme'",
        "set pgwicket.idempotency_key = 'said for acme'",
        "set pgwicket.run = 'acme-run'",
        "set my.customer = 'said for acme'",
        "select set_config('my.other', 'said for acme', false)",
        "select count(*) from tickets",
    ] {
        assert_eq!(error(&wire.simple(said).unwrap()), None, "{said}");
    }
    assert_eq!(shown(&mut wire, "my.customer").as_deref(), Ok("said for acme"), "the control");
    assert!(shown(&mut wire, "pgwicket.evidence_id").unwrap().starts_with("ev_"), "the control");
    wire.simple(&bind(&desk.token("globex"))).unwrap();
    for name in ["reason", "idempotency_key", "run", "evidence_id"] {
        assert_eq!(shown(&mut wire, &format!("pgwicket.{name}")), Ok(String::new()), "{name}");
    }
    for name in ["my.customer", "my.other"] {
        assert_eq!(shown(&mut wire, name), Err("42704".to_owned()), "{name}");
    }
    // What PostgreSQL has as settings is the application's, and stays.
    wire.simple("set timezone = 'Asia/Tokyo'").unwrap();
    wire.simple(&bind(&desk.token("acme"))).unwrap();
    assert_eq!(shown(&mut wire, "timezone").as_deref(), Ok("Asia/Tokyo"));
}
