//! Reaching a source: authentication, TLS, what is pinned, what is refused.

use std::{fs, os::unix::fs::PermissionsExt as _, rc::Rc, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::spawn_local,
};

use crate::{
    policy::{
        Source,
        SourceTls::{self, Require, VerifyCa, VerifyFull},
    },
    types::Secret,
};

use super::{
    super::{Pool, Settings, SourceError, Step},
    acquire, lane,
    server::{Server, own, source},
    value,
};

/// What connecting to it comes to.
async fn reach(source: Source) -> Result<(), SourceError> {
    let pool = Pool::new(Arc::new(source), 1);
    let mut lease = pool.acquire(&Rc::new(Settings::default())).await?;
    assert_eq!(value(&mut lease, "select 1").await, "1");
    Ok(())
}

fn with_url(url: &str) -> Source {
    source(url)
}

fn reason(found: Result<(), SourceError>) -> String {
    found.unwrap_err().to_string()
}

#[test]
fn a_session_is_pinned_whatever_the_role_says() {
    let server = Server::start();
    server.sql("alter role reader set default_transaction_read_only = off");
    server.sql("alter role reader set search_path = 'public'");
    server.sql("alter role reader set standard_conforming_strings = off");
    server.sql("alter role reader set row_security = off");
    server.sql("alter role reader set client_encoding = 'LATIN1'");
    server.sql("alter role reader set TimeZone = 'Asia/Tokyo'");
    server.sql("alter role reader set statement_timeout = 1");
    lane(async move {
        let pool = Pool::new(Arc::new(server.source()), 1);
        let mut lease = acquire(&pool).await;
        let names = ["default_transaction_read_only", "search_path", "standard_conforming_strings", "row_security", "client_encoding"];
        let more =
            ["TimeZone", "DateStyle", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "application_name"];
        let shown = names.iter().chain(&more).map(|name| format!("current_setting('{name}')")).collect::<Vec<_>>().join(", ");
        assert_eq!(value(&mut lease, &format!("select {shown}")).await, "on,pg_catalog,on,on,UTF8,UTC,ISO, MDY,20s,2s,30s,pgwicket");
        assert!(lease.server_version() >= 150_000);
        lease.release();
    });
}

#[test]
fn only_a_reader_is_let_in_and_no_secret_gets_out() {
    let server = Server::start();
    server.sql("create role boss superuser login password 'secret'");
    let port = server.port;
    lane(async move {
        assert_eq!(reach(server.source()).await, Ok(()));
        assert_eq!(reach(with_url(&server.unix_url("reader"))).await, Ok(()));
        let boss = format!("postgresql://boss:secret@127.0.0.1:{port}/postgres");
        assert_eq!(reason(reach(with_url(&boss)).await), "the source is not used: its credential is a superuser");
        assert_eq!(reach(Source { allow_writable_credential: true, ..with_url(&boss) }).await, Ok(()));
        let several = format!("postgresql://reader:secret@127.0.0.1:1,127.0.0.1:{port}/postgres");
        assert_eq!(reach(with_url(&several)).await, Ok(()), "the next host");
        for (url, expected) in [
            (format!("postgresql://reader:wr0ng@127.0.0.1:{port}/postgres"), "password authentication failed for user \"reader\" (28P01)"),
            (format!("postgresql://reader@127.0.0.1:{port}/postgres"), "asks for a password, the URL has none"),
            (format!("postgresql://reader:wr0ng@127.0.0.1:{port}/postgres?options=-crole%3Dx"), "must not have `options`"),
            (format!("postgresql://reader:wr0ng@127.0.0.1:{port}/postgres?sslmode=require"), "the policy ssl: disable"),
            (format!("postgresql://reader:wr0ng@127.0.0.1:{port}x/postgres"), "not a postgresql:// URL that can be read"),
            ("postgresql://reader:wr0ng@127.0.0.1:1/postgres".into(), "connecting failed: connection refused"),
            (format!("postgresql://127.0.0.1:{port}/postgres"), "names no user"),
            (format!("{}&target_session_attrs=read-only", server.unix_url("reader")), "target_session_attrs"),
        ] {
            let source = with_url(&url);
            let found = reason(reach(source).await);
            assert!(found.contains(expected) && !found.contains("wr0ng"), "{url}: {found}");
        }
    });
}

#[test]
fn md5_is_answered_and_a_cleartext_password_is_for_tls_only() {
    let server = Server::start_with("md5", "password_encryption = md5\n");
    lane(async move {
        assert_eq!(reach(server.source()).await, Ok(()));
        fs::write(server.data().join("pg_hba.conf"), "local all postgres trust\nhost all all all password\n").unwrap();
        server.sql("select pg_reload_conf()");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(reason(reach(server.source()).await).contains("cleartext password without TLS"));
    });
}

#[test]
fn tls_trusts_as_the_policy_says() {
    let server = Server::start_with("scram-sha-256", "");
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let roots = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    for (name, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = server.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        own(&path);
    }
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    lane(async move {
        let tls = |tls, host: &str, roots: Option<&str>, more: &str| Source {
            tls,
            root_certificates: roots.map(|pem| pem.as_bytes().to_vec()),
            url: Secret::new(format!("postgresql://reader:secret@{host}:{}/postgres{more}", server.port)),
            ..server.source()
        };
        let without = reason(reach(tls(Require, "localhost", None, "")).await);
        assert!(without.contains("does not offer TLS"), "{without}");
        server.sql("alter system set ssl = on");
        server.sql("select pg_reload_conf()");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        for (found, expected) in [
            (reach(tls(Require, "127.0.0.1", None, "?channel_binding=require")).await, None),
            (reach(tls(VerifyCa, "127.0.0.1", Some(&roots), "")).await, None),
            (reach(tls(VerifyFull, "localhost", Some(&roots), "")).await, None),
            (reach(tls(VerifyFull, "127.0.0.1", Some(&roots), "")).await, Some("not valid for name")),
            (reach(tls(VerifyFull, "localhost", Some(&stranger), "")).await, Some("invalid peer certificate")),
            (reach(tls(VerifyCa, "localhost", Some(&stranger), "")).await, Some("invalid peer certificate")),
            (reach(tls(VerifyCa, "localhost", None, "")).await, Some("")),
            (reach(tls(VerifyFull, "localhost", Some("no certificate"), "")).await, Some("no root certificate")),
        ] {
            match expected {
                None => assert_eq!(found, Ok(())),
                Some(expected) => {
                    let found = reason(found);
                    assert!(found.contains(expected), "{found}");
                }
            }
        }
        let pool = Pool::new(Arc::new(tls(Require, "127.0.0.1", None, "")), 1);
        let mut lease = acquire(&pool).await;
        assert_eq!(value(&mut lease, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").await, "t");
        assert_eq!(value(&mut lease, "select length(repeat('x', 3000000))").await, "3000000");
        let token = lease.cancel_token();
        super::queue(&mut lease, &super::statement("select pg_sleep(15)"));
        lease.sync();
        spawn_local(async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            token.cancel().await
        });
        assert_eq!(super::answers(&mut lease).await.unwrap()[2], "57014", "a cancel goes over TLS too");
        lease.release();
    });
}

/// A server of a few scripted answers.
async fn impostor(answers: &'static [&'static [u8]]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4096];
        for answer in answers {
            if stream.read(&mut asked).await.unwrap_or(0) == 0 {
                return;
            }
            stream.write_all(answer).await.unwrap();
        }
        while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {}
    });
    port
}

/// What a server that is not one, or not a good one, answers, and what is made of it.
const SCRIPTS: &[(&[&[u8]], &str)] = &[
    (&[b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", b"R\0\0\0\x08\0\0\0\0"], "before it proved itself"),
    (&[b"R\0\0\0\x08\0\0\0\x07"], "not supported"),
    (&[b"R\0\0\0\x03"], "authentication failed: invalid data"),
    (&[b"Z\0\0\0\x05I"], "does not belong to a startup"),
    (&[b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", b"D\0\0\0\x10\0\x01\0\0\0\x06140023Z\0\0\0\x05I"], "PostgreSQL 15 to 18 is needed"),
    (&[b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", b"D\0\0\0\x10\0\x01\0\0\0\x06190000Z\0\0\0\x05I"], "PostgreSQL 15 to 18 is needed"),
    (&[b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", b"D\0\0\0\x1a\0\x02\0\0\0\x06150001\0\0\0\x06LATIN1Z\0\0\0\x05I"], "encoding must be UTF8"),
    (&[b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", b"D\0\0\0\x1f\0\x03\0\0\0\x06150001\0\0\0\x04UTF8\0\0\0\x03offZ\0\0\0\x05I"], "does not keep"),
    (&[], "timed out"),
];

#[test]
fn an_impostor_gets_nothing() {
    lane(async {
        let at =
            |port: u16, tls| Source { tls, ..with_url(&format!("postgresql://reader:secret@127.0.0.1:{port}/postgres?connect_timeout=2")) };
        let port = impostor(&[b"SE\0\0\0\x0aVFATAL\0\0"]).await;
        assert!(reason(reach(at(port, Require)).await).contains("bytes before the handshake"));
        let port = impostor(&[b"N"]).await;
        assert!(reason(reach(at(port, Require)).await).contains("does not offer TLS"));
        for (answers, expected) in SCRIPTS.iter().copied() {
            let port = impostor(answers).await;
            let found = reach(at(port, SourceTls::Disable)).await.unwrap_err();
            assert!(found.to_string().contains(expected), "{found}");
            if let SourceError::Connect { step, .. } = found {
                assert_eq!(step, Step::Authenticate);
            }
        }
    });
}
