//! Who connects, proven by tokens and certificates; and one connection that acts for one tenant after the other.

mod host;
mod issuer;
mod kept;
mod observer;
mod rebound;
mod threats;

use std::{path::Path, process::Command};

use serde_json::json;
use tokio_postgres::Client;

use self::issuer::{AUDIENCE, ISSUER, Key, Published, claims};
use crate::support::{Cluster, Login, PASSWORD, Pgwicket, Wire, block_on, certificate, run, support_policy};

/// The support agent with this proof in the place of its password and tenant.
fn policy(auth: &str, more: &str) -> String {
    let usual = "    auth: { scram: \"env:SUPPORT_AGENT_PASSWORD\" }\n    tenant: acme\n";
    let policy = support_policy();
    assert!(policy.contains(usual));
    policy.replacen(usual, &format!("    auth: {auth}\n{more}"), 1)
}

fn rules(keys: &str, more: &str) -> String {
    format!("{{ issuer: \"{ISSUER}\", audience: {AUDIENCE}, {keys}{more} }}")
}

/// psql over TLS, with a token as its password; what it printed, or its error.
fn psql(login: &Login, token: &str, text: &str) -> Result<String, String> {
    let mut command = login.psql();
    command.env("PGPASSWORD", token).env("PGSSLMODE", "require").args(["-At", "-c", text]);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

const ORGS: &str = "select string_agg(distinct left(subject, 4), ',') is not null, current_setting('pgwicket.tenant') from tickets";

#[test]
fn a_token_as_password_binds_tenant_principal_run_and_attributes() {
    let directory = tempfile::tempdir().unwrap();
    let keys = [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")].map(|(id, algorithm)| Key::make(directory.path(), id, algorithm));
    let published = Published::start(&keys.iter().collect::<Vec<_>>());
    let mapping = ", require: { scope: support }, claims: { tenant: org, principal: email, run: job, attributes: { region: geo } }";
    let rules = rules(&format!("keys: \"{}\"", published.url()), mapping);
    let flags = certificate(directory.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy(&format!("{{ token: {rules} }}"), ""), &flags);
    let login = pgwicket.login();
    let usual = [("scope", json!(["reader", "support"])), ("email", json!("ada@example")), ("job", json!("run-7")), ("geo", json!("eu-1"))];
    let with = |name: &'static str, value| claims(&[&usual[..], &[(name, value)]].concat());
    for key in &keys {
        for tenant in ["acme", "globex"] {
            let token = key.token(&with("org", json!(tenant)));
            assert_eq!(psql(&login, &token, ORGS), Ok(format!("t|{tenant}")), "{}", key.id);
        }
    }
    let shown = "select current_setting('pgwicket.run'), current_setting('pgwicket.evidence_id')";
    let shown = psql(&login, &keys[0].token(&claims(&usual)), &format!("select 1; {shown}")).unwrap();
    let evidence = shown.rsplit('|').next().unwrap();
    assert!(shown.contains("run-7|ev_"), "{shown}");
    let entry = run(pgwicket.command().args(["evidence", "show", "--json", "--journal"]).arg(pgwicket.journal()).arg(evidence)).ok();
    for part in ["ada@example", "region=eu-1", "run-7", "acme"] {
        assert!(entry.contains(part), "{part}: {entry}");
    }
    // What is missing, empty, over, or another's, refuses the connection and says why.
    for (claims, words) in [
        (with("org", json!("")), "claim \"org\" is missing or empty"),
        (with("job", json!(null)), "claim \"job\" is missing or empty"),
        (with("scope", json!("reader")), "claim \"scope\" is not what the policy asks for"),
        (with("exp", json!(1_000_000)), "expired"),
        (with("aud", json!("somebody else")), "audience"),
        (with("iss", json!("https://evil.example")), "issuer"),
    ] {
        let refused = psql(&login, &keys[1].token(&claims), "select 1").unwrap_err();
        assert!(refused.contains("the token is refused") && refused.contains(words), "{words}: {refused}");
    }
    for token in ["", "not a token", PASSWORD, &"a.".repeat(9000)] {
        assert!(psql(&login, token, "select 1").is_err());
    }
    // A key that nobody published; then it is: the set is read again because of the token, and not more often than that.
    let fresh = Key::make(directory.path(), "fresh", "EdDSA");
    let token = fresh.token(&claims(&usual));
    assert!(psql(&login, &token, "select 1").unwrap_err().contains("no such key"));
    published.publish(&[&fresh]);
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(psql(&login, &token, "select 1"), Ok("1".to_owned()));
    assert!(psql(&login, &keys[0].token(&claims(&usual)), "select 1").unwrap_err().contains("no such key"), "it was taken back");
    // The issuer is away: the keys that are known go on, and clients with other keys do not make it be asked each time.
    published.withdraw();
    let reads = published.reads();
    for _ in 0..5 {
        assert!(psql(&login, &keys[0].token(&claims(&usual)), "select 1").is_err());
        assert_eq!(psql(&login, &token, "select 1"), Ok("1".to_owned()));
    }
    assert!(published.reads() <= reads + 2, "{} reads", published.reads() - reads);
    assert!(!pgwicket.log().contains("eyJ"), "a token is in the log");
}

#[test]
fn oauthbearer_as_postgresql_18_speaks_it() {
    let directory = tempfile::tempdir().unwrap();
    let key = Key::make(directory.path(), "one", "EdDSA");
    let published = Published::start(&[&key]);
    let rules = rules(&format!("keys: \"{}\"", published.url()), ", method: oauthbearer, claims: { tenant: org }");
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy(&format!("{{ token: {rules} }}"), ""));
    let start = |response: &str| {
        let mut wire = Wire::open(pgwicket.login().port).unwrap();
        let body = [&[0, 3, 0, 0][..], b"user\0support_agent\0database\0support\0\0"].concat();
        wire.send_raw(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).unwrap();
        wire.send_raw(&body).unwrap();
        let offered = wire.receive().unwrap();
        assert_eq!((offered.tag, &offered.body[..]), (b'R', &b"\0\0\0\x0aOAUTHBEARER\0\0"[..]));
        let length = u32::try_from(response.len()).unwrap().to_be_bytes();
        wire.send(b'p', &[b"OAUTHBEARER\0", &length[..], response.as_bytes()].concat()).unwrap();
        wire
    };
    let token = key.token(&claims(&[]));
    let mut wire = start(&format!("n,,\u{1}host=localhost\u{1}auth=Bearer {token}\u{1}\u{1}"));
    let greeting = wire.until_ready().unwrap();
    assert_eq!((greeting[0].tag, &greeting[0].body[..]), (b'R', &[0, 0, 0, 0][..]), "no SASLFinal: the server has nothing to say");
    let rows = wire.simple("select current_setting('pgwicket.tenant')").unwrap();
    assert!(rows.iter().any(|message| message.tag == b'D' && message.body.ends_with(b"acme")));
    // Without a token, or with one that is refused, the client is told where tokens come from, and then refused.
    let other = Key::make(directory.path(), "other", "EdDSA").token(&claims(&[]));
    for value in [String::new(), format!("Bearer {other}"), "Bearer nonsense".to_owned()] {
        let mut wire = start(&format!("n,,\u{1}auth={value}\u{1}\u{1}"));
        let told = wire.receive().unwrap();
        let text = String::from_utf8_lossy(&told.body[4..]).into_owned();
        assert_eq!((told.tag, told.body[3]), (b'R', 11), "{text}");
        assert!(text.contains("invalid_token") && text.contains("https://idp.example/.well-known/openid-configuration"), "{text}");
        wire.send(b'p', &[1]).unwrap();
        assert_eq!(wire.receive().unwrap().field('C').as_deref(), Some("28000"));
    }
    for response in [
        "",
        "n,,",
        "n,,\u{1}",
        "p=tls,,\u{1}auth=Bearer x\u{1}\u{1}",
        "n,a=bob,\u{1}auth=Bearer x\u{1}\u{1}",
        "n,,\u{1}auth=Basic x\u{1}\u{1}",
        "n,,\u{1}auth=Bearer x\u{1}auth=Bearer y\u{1}\u{1}",
    ] {
        assert_eq!(start(response).receive().unwrap().field('C').as_deref(), Some("08P01"), "{response:?}");
    }
}

#[test]
fn a_client_certificate_is_one_agents() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (pem, issuer) = authority();
    std::fs::write(path("ca.pem"), pem).unwrap();
    issue(&issuer, directory.path(), "support", "support-bot", "spiffe://corp/support");
    issue(&issuer, directory.path(), "other", "other-bot", "spiffe://corp/other");
    issue(&authority().1, directory.path(), "forged", "support-bot", "spiffe://corp/support");
    let mut flags = certificate(directory.path()).to_vec();
    flags.extend(["--tls-client-ca".to_owned(), path("ca.pem").display().to_string()]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let policy = policy("{ certificate: { alternative_name: \"spiffe://corp/support\" } }", "    tenant: acme\n");
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy, &flags);
    let connect = |user: &str, certificate: Option<&str>| {
        let login = pgwicket.login_as(user);
        let mut command: Command = login.psql();
        command.env("PGSSLMODE", "require").args(["-At", "-c", "select current_setting('pgwicket.tenant')"]);
        if let Some(name) = certificate {
            command.env("PGSSLCERT", path(&format!("{name}.pem"))).env("PGSSLKEY", path(&format!("{name}.key")));
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(connect("support_agent", Some("support")), (true, "acme\n".to_owned()));
    let (ok, words) = connect("support_agent", None);
    assert!(!ok && words.contains("connection requires a valid client certificate"), "{words}");
    let (ok, words) = connect("support_agent", Some("other"));
    assert!(!ok && words.contains("certificate authentication failed for user \"support_agent\""), "{words}");
    assert!(!connect("support_agent", Some("forged")).0, "another authority's");
    assert_eq!(connect("globex_agent", Some("support")), (true, "globex\n".to_owned()), "a password's agent shows a certificate to no end");
    assert_eq!(connect("globex_agent", None), (true, "globex\n".to_owned()));
}

/// A client whose certificate is over could go on for ever with tickets of the time before. Without `NoServerSessionStorage` and
/// `send_tls13_tickets` in `ServerTls` the second connection is a resumed one.
#[test]
fn no_tls_session_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let flags = certificate(directory.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &support_policy(), &flags);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = directory.path().join(format!("session{version}"));
        let connect = |more: [&std::ffi::OsStr; 2]| {
            let mut command = Command::new("openssl");
            command.args(["s_client", "-starttls", "postgres", version, "-connect"]).arg(format!("127.0.0.1:{}", pgwicket.login().port));
            run(command.args(more).stdin(std::process::Stdio::null())).stdout
        };
        let first = connect(["-sess_out".as_ref(), session.as_ref()]);
        assert!(first.contains("New, TLSv1."), "{version}: {first}");
        // Of TLS 1.3 a client has no session without a ticket.
        if session.exists() {
            let second = connect(["-sess_in".as_ref(), session.as_ref()]);
            assert!(second.contains("New, TLSv1.") && !second.contains("Reused"), "{version}: {second}");
        }
        assert!(!first.contains("TLS session ticket:"), "{version}: {first}");
    }
}

/// Revoked, expired, or of an authority that is trusted no more: a certificate lets nobody in, and ends the session that it let in.
#[test]
fn sessions_end_with_their_certificate_and_its_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (pem, issuer) = authority();
    let list = |file: &str, serials: &[u64], in_force: bool| {
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_hours(24);
        let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let parameters = rcgen::CertificateRevocationListParams {
            this_update: (now - 2 * day).into(),
            next_update: (if in_force { now + day } else { now - day }).into(),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        std::fs::write(path(file), parameters.signed_by(&issuer).unwrap().pem().unwrap()).unwrap();
    };
    std::fs::write(path("ca.pem"), &pem).unwrap();
    list("crl.pem", &[99], true);
    issue_numbered(&issuer, directory.path(), ("support", "support-bot", "spiffe://corp/support"), 7);
    let mut flags = certificate(directory.path()).to_vec();
    flags.extend(["--tls-client-ca".to_owned(), path("ca.pem").display().to_string()]);
    flags.extend(["--tls-client-crl".to_owned(), path("crl.pem").display().to_string()]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let policy = policy("{ certificate: { alternative_name: \"uri:spiffe://corp/support\" } }", "    tenant: acme\n");
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy, &flags);
    let connect = |text: &str| {
        let mut command: Command = pgwicket.login_as("support_agent").psql();
        command.env("PGSSLMODE", "require").env("PGSSLCERT", path("support.pem")).env("PGSSLKEY", path("support.key"));
        command.args(["-At", "-c", text]);
        command
    };
    let answers = || connect("select 1").output().unwrap().status.success();
    // A session that is idle between two statements: psql waits for its input.
    let session = || {
        let mut command = connect("");
        command
            .args(["-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, b"select 'stands';\n").unwrap();
        let mut line = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        assert_eq!(&line, b"stands\n");
        (child, input)
    };
    let ends = |(child, mut input): (std::process::Child, std::process::ChildStdin), why: &str| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        // It may be closed already.
        drop(std::io::Write::write_all(&mut input, b"select 'goes on';\n"));
        drop(input);
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!words.contains("goes on") && words.contains("client certificate"), "{why}: {words}");
    };
    assert!(answers(), "in force");
    let open = session();
    list("crl.pem", &[7], true);
    pgwicket.signal("HUP");
    ends(open, "revoked");
    assert!(!answers(), "revoked");
    // A list that is past its next update says nothing: nobody is let in by it.
    list("crl.pem", &[99], false);
    pgwicket.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!answers(), "the list is over");
    list("crl.pem", &[99], true);
    pgwicket.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(answers(), "in force again");
    let open = session();
    // A reload that changes nothing ends nobody.
    pgwicket.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (mut child, mut input) = open;
    std::io::Write::write_all(&mut input, b"select 'stands';\n").unwrap();
    let mut line = [0; 7];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(&line, b"stands\n");
    std::fs::write(path("ca.pem"), authority().0).unwrap();
    pgwicket.signal("HUP");
    ends((child, input), "another authority");
    assert!(!answers(), "another authority");
}

/// An authority: its certificate as PEM, and what signs.
fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    (parameters.self_signed(&key).unwrap().pem(), rcgen::Issuer::new(parameters, key))
}

/// Writes `NAME.pem` and `NAME.key`.
fn issue(issuer: &rcgen::Issuer<'_, rcgen::KeyPair>, directory: &Path, name: &str, common_name: &str, uri: &str) {
    issue_numbered(issuer, directory, (name, common_name, uri), rand::random());
}

fn issue_numbered(issuer: &rcgen::Issuer<'_, rcgen::KeyPair>, directory: &Path, (name, common_name, uri): (&str, &str, &str), serial: u64) {
    use std::os::unix::fs::PermissionsExt as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.serial_number = Some(serial.into());
    parameters.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    parameters.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    std::fs::write(directory.join(format!("{name}.pem")), parameters.signed_by(&key, issuer).unwrap().pem()).unwrap();
    let file = directory.join(format!("{name}.key"));
    std::fs::write(&file, key.serialize_pem()).unwrap();
    // libpq refuses a key that others may read.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_session_token_rebinds_a_pooled_connection_between_transactions() {
    let directory = tempfile::tempdir().unwrap();
    let key = Key::make(directory.path(), "one", "ES256");
    let published = Published::start(&[&key]);
    let session = rules(&format!("keys: \"{}\"", published.url()), ", claims: { tenant: org, run: job }, clock_skew: 0s");
    let policy = policy("{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }", &format!("    session_token: {session}\n"));
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let token = |tenant: &str| key.token(&claims(&[("org", json!(tenant)), ("job", json!(format!("job-{tenant}")))]));
    let bind = |tenant: &str| format!("set pgwicket.session_token = '{}'", token(tenant));
    block_on(async {
        let client = pgwicket.login().connect().await;
        let count = "select count(*)::text from tickets";
        assert_eq!(failed(&client, count).await, "42501", "bound to nothing");
        assert_eq!(one(&client, "select 'no relation'").await, "no relation");
        assert_eq!(one(&client, "select count(*)::text from pgwicket.proposals").await, "0");
        let prepared = "select count(*)::text from tickets where id > $1";
        let mut counts = Vec::new();
        for tenant in ["acme", "globex", "acme"] {
            client.batch_execute(&bind(tenant)).await.unwrap();
            assert_eq!(one(&client, "show pgwicket.tenant").await, tenant);
            assert_eq!(one(&client, "show pgwicket.run").await, format!("job-{tenant}"));
            assert_eq!(one(&client, "show pgwicket.session_token").await, "");
            let row = client.query_one(prepared, &[&0_i64]).await.unwrap();
            assert_eq!(row.get::<_, String>(0), one(&client, count).await, "a prepared statement reads the tenant that is bound now");
            counts.push(row.get::<_, String>(0));
        }
        assert_eq!(counts[0], counts[2]);
        assert_ne!(counts[0], counts[1]);
        // A write is the bound tenant's, and its proposals are not seen by the next.
        assert_eq!(failed(&client, "update tickets set priority = 'bound' where id = 42").await, "25006");
        assert_eq!(one(&client, "select count(*)::text from pgwicket.proposals").await, "1");
        client.batch_execute(&bind("globex")).await.unwrap();
        assert_eq!(one(&client, "select count(*)::text from pgwicket.proposals").await, "0");
        // A cursor that is held is not read by the next, whose name for it may be the same.
        for end in [bind("acme"), bind("globex"), "reset all".to_owned(), "discard all".to_owned()] {
            client.batch_execute(&bind("globex")).await.unwrap();
            client.batch_execute("declare c cursor with hold for select id::text from tickets order by id").await.unwrap();
            assert_ne!(one(&client, "fetch c").await, "");
            client.batch_execute(&end).await.unwrap();
            assert_eq!(failed(&client, "fetch c").await, "34000", "{end}");
        }
        client.batch_execute(&bind("globex")).await.unwrap();
        // Not inside a transaction, of whatever kind; and a bind that is refused there leaves nothing bound either. What was said
        // for one tenant is gone with it, and no rollback brings it back.
        for (open, refused) in [
            ("begin", bind("acme")),
            ("begin; savepoint s", bind("acme")),
            ("select 1", format!("set local pgwicket.session_token = '{}'", token("acme"))),
            ("select 1", format!("select 1; {}", bind("acme"))),
            ("select 1", format!("begin; {}; commit", bind("acme"))),
            ("begin", "reset pgwicket.session_token".to_owned()),
        ] {
            client.batch_execute(&bind("globex")).await.unwrap();
            client.batch_execute("set pgwicket.reason = 'globex private'; set pgwicket.idempotency_key = 'order-1'").await.unwrap();
            client.batch_execute(open).await.unwrap();
            assert_eq!(failed(&client, &refused).await, "25001", "{refused}");
            client.batch_execute("rollback").await.unwrap();
            assert_eq!(failed(&client, count).await, "42501", "{open}; {refused}");
            let said = "select current_setting('pgwicket.tenant') || current_setting('pgwicket.reason') || current_setting('pgwicket.idempotency_key')";
            assert_eq!(one(&client, said).await, "", "{open}; {refused}");
        }
        client.batch_execute(&bind("globex")).await.unwrap();
        // A token that is not taken unbinds, so that nobody goes on as somebody else.
        assert_eq!(failed(&client, "set pgwicket.session_token = 'nonsense'").await, "28000");
        assert_eq!((one(&client, "show pgwicket.tenant").await, failed(&client, count).await), (String::new(), "42501".to_owned()));
        for end in [
            "discard all",
            "reset all",
            "reset pgwicket.session_token",
            "set pgwicket.session_token = ''",
            "set pgwicket.session_token to default",
        ] {
            client.batch_execute(&bind("acme")).await.unwrap();
            assert_ne!(one(&client, count).await, "0");
            client.batch_execute(end).await.unwrap();
            assert_eq!(failed(&client, count).await, "42501", "{end}");
            assert_eq!((one(&client, "show pgwicket.tenant").await, one(&client, "show pgwicket.run").await), Default::default(), "{end}");
        }
        // It ends with the token.
        let soon = key.token(&claims(&[("job", json!("j")), ("exp", json!(jiff::Timestamp::now().as_second() + 2))]));
        client.batch_execute(&format!("set pgwicket.session_token = '{soon}'")).await.unwrap();
        assert_ne!(one(&client, count).await, "0");
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert_eq!(failed(&client, count).await, "28000");
        // Where the policy's rules change, what a token said under the old ones is said no more.
        client.batch_execute(&bind("acme")).await.unwrap();
        assert_ne!(one(&client, count).await, "0");
        let epoch = one(&client, "show pgwicket.policy_epoch").await;
        std::fs::write(pgwicket.policies().join("policy.yaml"), policy.replace(", run: job }, clock", " }, clock")).unwrap();
        while one(&client, "show pgwicket.policy_epoch").await == epoch {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(failed(&client, count).await, "42501", "other rules");
        client.batch_execute(&bind("acme")).await.unwrap();
        assert_ne!(one(&client, count).await, "0");
        // Who has no such tokens in the policy cannot set one; a token in a text is kept nowhere.
        let other = pgwicket.login_as("globex_agent").connect().await;
        assert_eq!(failed(&other, &bind("acme")).await, "42501");
        assert_eq!(failed(&other, &format!("{} nonsense", bind("acme"))).await, "42601");
    });
    let files = pgwicket.journal_files();
    let kept = |file: &std::path::PathBuf| std::fs::read(file).unwrap().windows(8).any(|window| window.starts_with(b"eyJhbGci"));
    assert!(!files.iter().any(kept), "a token is in the journal");
    assert!(!pgwicket.log().contains("eyJhbGci"), "a token is in the log");
}

async fn one(client: &Client, text: &str) -> String {
    let messages = client.simple_query(text).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        tokio_postgres::SimpleQueryMessage::CommandComplete(_) | tokio_postgres::SimpleQueryMessage::RowDescription(_) | _ => None,
    });
    row.unwrap()
}

async fn failed(client: &Client, text: &str) -> String {
    client.simple_query(text).await.unwrap_err().code().unwrap().code().to_owned()
}
