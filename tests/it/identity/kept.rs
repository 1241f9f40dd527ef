//! What evidence and the store keep of what a client sends: no token, whatever it stands in, and no value that the policy redacts.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;

use super::{Key, Published, claims, policy, rules};
use crate::support::{Cluster, Message, Pgwicket, Wire, support_policy};

/// Everything that was written about what agents did, rows that they read aside.
fn kept(pgwicket: &Pgwicket) -> String {
    let mut kept = pgwicket.log();
    let listing = pgwicket::journal::statements(&pgwicket.journal(), &pgwicket::journal::Filter::default()).unwrap();
    assert!(listing.statements.len() > 5);
    kept.extend([format!("{:?}", listing.statements)]);
    for file in [pgwicket.store(), pgwicket.store().with_extension("db-wal")] {
        kept.push_str(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default()));
    }
    for statement in listing.statements {
        kept.push_str(&String::from_utf8_lossy(&statement.decision.client_text));
        for parameter in statement.decision.parameters {
            kept.push_str(&String::from_utf8_lossy(&parameter.value.unwrap_or_default()));
        }
    }
    kept
}

/// One statement of the extended protocol with one parameter.
fn bound(wire: &mut Wire, text: &str, value: &str) -> Vec<Message> {
    wire.send(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat()).unwrap();
    let length = i32::try_from(value.len()).unwrap().to_be_bytes();
    wire.send(b'B', &[&b"\0\0\0\0\0\x01"[..], &length, value.as_bytes(), b"\0\0"].concat()).unwrap();
    wire.send(b'E', b"\0\0\0\0\0").unwrap();
    wire.send(b'S', b"").unwrap();
    wire.until_ready().unwrap()
}

fn issuer(directory: &Path) -> (Key, Published) {
    let key = Key::make(directory, "one", "ES256");
    let published = Published::start(&[&key]);
    (key, published)
}

#[test]
fn a_token_is_kept_nowhere_whatever_it_stands_in() {
    let directory = tempfile::tempdir().unwrap();
    let (key, published) = issuer(directory.path());
    let session = rules(&format!("keys: \"{}\"", published.url()), ", claims: { tenant: org }");
    let policy = policy("{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }", &format!("    session_token: {session}\n"));
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let mut tokens = BTreeMap::new();
    let mut token = |place: &str| {
        let token = key.token(&claims(&[("org", json!("acme")), ("jti", json!(rand::random::<u128>().to_string()))]));
        tokens.insert(place.to_owned(), token.clone());
        token
    };
    for text in [
        "select 1 /* TOKEN */",
        "select 'TOKEN'::int",
        "select $$TOKEN$$::date",
        "copy (select U&'TOKEN'::int) to stdout",
        "prepare p as select E'TOKEN'::int",
        "prepare p(int) as select $1; execute p('TOKEN')",
        "declare c cursor for select 'TOKEN'::int",
        "select 'TOKEN",
        "set session characteristics as 'TOKEN'",
        "sett pgwicket.session_token = 'TOKEN'",
        "set pgwicket.session-token = 'TOKEN'",
        "set pgwicket.session_token = 'TOKEN' or else",
        "alter role support_agent set pgwicket.session_token = 'TOKEN'",
        "select set_config('pgwicket.session_token', 'TOKEN', false)",
        "update tickets set priority = 'high' where id = 42 /* reason='TOKEN' */",
        "update tickets set priority = 'higher' where id = 42 and subject <> 'TOKEN'",
        "update tickets set status = 'TOKEN' where id = 42",
    ] {
        let mut wire = pgwicket.login().wire().unwrap();
        let bind = format!("set pgwicket.session_token = '{}'", token(&format!("bind before {text}")));
        assert!(wire.simple(&bind).unwrap().iter().all(|message| message.tag != b'E'));
        wire.simple(&text.replace("TOKEN", &token(text))).unwrap();
    }
    for text in [
        "select $1::int",
        "select id from tickets where subject = $1",
        "select set_config('pgwicket.session_token', $1, false)",
        "update tickets set status = $1 where id = 42",
    ] {
        let mut wire = pgwicket.login().wire().unwrap();
        wire.simple(&format!("set pgwicket.session_token = '{}'", token(&format!("bind before {text}")))).unwrap();
        bound(&mut wire, text, &token(text));
    }
    let kept = kept(&pgwicket);
    for (place, token) in &tokens {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let claims = signed.split_once('.').unwrap().1;
        // The end of the claims is this token's alone.
        let parts = [&signature[20..60], &claims[claims.len() - 30..]];
        assert!(parts.iter().all(|part| !kept.contains(part)), "kept: {place}");
    }
    // The control: what is beside a token stays.
    assert!(kept.contains("(withheld)") && kept.contains("alter role support_agent set pgwicket.session_token"));
}

#[test]
fn what_is_redacted_is_in_no_error_of_the_evidence() {
    const SECRET: &str = "CARD-4111111111111111";
    let usual = "    tenant: acme\n";
    let redacted = support_policy().replacen(usual, "    tenant: acme\n    evidence_parameters: redact\n", 1);
    for (policy, is_redacted) in [(redacted, true), (support_policy(), false)] {
        let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
        let mut quoted = 0;
        for (text, around) in [
            ("select count(*) from tickets where id = $1", "VALUE"),
            ("select $1::date", "VALUE"),
            ("select $1::int4range", "[VALUE,2)"),
            ("select $1::int[]", "{VALUE}"),
            ("select $1::uuid", "VALUE"),
            ("select 'a' ~ $1", "VALUE("),
            ("select to_tsvector($1, 'x')", "VALUE"),
            ("select to_tsvector($1::regconfig, 'x')", "VALUE"),
            ("select date_trunc($1, now())", "VALUE"),
            ("select now() at time zone $1", "VALUE"),
            ("update tickets set status = $1 where id = 42", "VALUE"),
            ("update tickets set amount = $1 where id = 42", "VALUE"),
            ("insert into tickets (id, subject, status) values (990001, 'x', $1)", "VALUE"),
            ("select relname from pg_class where oid = $1", "VALUE"),
        ] {
            let mut wire = pgwicket.login().wire().unwrap();
            let answer = bound(&mut wire, text, &around.replace("VALUE", SECRET));
            let error = answer.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{text} is answered"));
            quoted += usize::from(error.field('M').unwrap().contains(SECRET));
        }
        // Those values are in the messages that the client gets: it is the redaction that keeps them out of evidence.
        assert!(quoted > 10, "{quoted}");
        let found = kept(&pgwicket).contains(SECRET);
        assert_eq!(found, !is_redacted, "redacted: {is_redacted}");
    }
}
