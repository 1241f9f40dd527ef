//! Making the database of one catalog, and how lanes reach it.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{CatalogError, renumber, schema};
use crate::{
    policy::{CATALOG_PREFIX, Source, SourceTls, Visible},
    source::{Inspector, SourceAddress, SourceError},
    sql::catalog::CatalogSnapshot,
    types::{Secret, SourceName},
};

/// What every catalog gets first.
const HARDEN: &str = include_str!("harden.sql");
/// What every catalog gets last.
const TIDY: &str = include_str!("tidy.sql");

/// Who reads catalogs, and who owns what is in them.
const READER: &str = "pgwicket_client";
const OWNER: &str = "pgwicket";

/// Longest that a statement over the catalog may run.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections that one process makes to one catalog at most.
const CONNECTIONS: usize = 16;

/// How often a catalog is begun.
const ATTEMPTS: u32 = 4;

/// Makes the catalog if it is not there, and says how to read it. `server` is the URL of a superuser.
pub(super) async fn make(server: &Secret, visible: &Visible) -> Result<Source, CatalogError> {
    let database = database_name(&visible.name);
    let mut admin = inspector(server, "").await.map_err(CatalogError::Make)?;
    let password = password(server);
    run(&mut admin, &roles(&password)).await?;
    let there = run(&mut admin, &format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = '{database}'")).await?;
    if there.is_empty() {
        build(server, &mut admin, visible, &database).await?;
    }
    let reader = on_database(server, &database, Some((READER, &password)))?;
    Ok(source(visible, &reader))
}

/// Drops the catalogs that are of no more use, and of a server of our `own` what an earlier process left half made or made by
/// other texts. What somebody still reads stays; those are answered.
pub(super) async fn sweep(server: &Secret, own: bool, unused: impl Fn(&SourceName) -> bool) -> Result<Vec<SourceName>, SourceError> {
    let mut admin = inspector(server, "").await?;
    let names = "SELECT datname FROM pg_catalog.pg_database WHERE datname ~ '^pgwicket_(catalog_[0-9a-f]+_|draft_)[0-9a-f]+$'";
    let mut left = Vec::new();
    for database in admin.rows(names).await?.into_iter().flatten().flatten() {
        let name = database.rsplit_once('_').and_then(|(name, _)| name.parse::<SourceName>().ok());
        let name = name.filter(|_| database.starts_with(CATALOG_PREFIX));
        let of_this = name.as_ref().is_some_and(|name| database == database_name(name));
        let is_unused = if of_this { name.as_ref().is_some_and(&unused) } else { own };
        if is_unused && admin.rows(&format!("DROP DATABASE {database}")).await.is_err() {
            left.extend(name);
        }
    }
    Ok(left)
}

/// A database is made under another name, and gets its own when it is complete.
async fn build(server: &Secret, admin: &mut Inspector, visible: &Visible, database: &str) -> Result<(), CatalogError> {
    for _ in 1..ATTEMPTS {
        match draft(server, admin, visible, database).await {
            Err(error) if is_taken(&error) => {}
            made => return made,
        }
    }
    draft(server, admin, visible, database).await
}

/// Whether a number was taken: what DDL makes gets the server's next free number for a moment, which may be the one that a type is to have.
/// The next attempt gets other numbers.
fn is_taken(error: &CatalogError) -> bool {
    matches!(error, CatalogError::Make(SourceError::Startup(error)) if &*error.sqlstate == "23505")
}

async fn draft(server: &Secret, admin: &mut Inspector, visible: &Visible, database: &str) -> Result<(), CatalogError> {
    let draft = format!("pgwicket_draft_{:016x}", rand::random::<u64>());
    run(admin, &format!("CREATE DATABASE {draft} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")).await?;
    let built = fill(server, visible, &draft).await;
    let named = match built {
        Ok(()) => admin.rows(&format!("ALTER DATABASE {draft} RENAME TO {database}")).await.map(drop).map_err(CatalogError::Make),
        Err(error) => Err(error),
    };
    if let Err(error) = named {
        // Another process may have been faster.
        drop(admin.rows(&format!("DROP DATABASE IF EXISTS {draft}")).await);
        let there = run(admin, &format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = '{database}'")).await?;
        return if there.is_empty() { Err(error) } else { Ok(()) };
    }
    Ok(())
}

async fn fill(server: &Secret, visible: &Visible, database: &str) -> Result<(), CatalogError> {
    let url = on_database(server, database, None)?;
    let mut session = inspector(&url, "").await.map_err(CatalogError::Make)?;
    let texts = [
        HARDEN.to_owned(),
        renumber::aside(),
        schema::types(visible),
        renumber::types(visible),
        schema::relations(visible),
        renumber::relations(visible),
        schema::views(visible),
        TIDY.to_owned(),
    ];
    for text in texts.iter().filter(|text| !text.is_empty()) {
        run(&mut session, text).await?;
    }
    Ok(())
}

async fn run(session: &mut Inspector, sql: &str) -> Result<Vec<Vec<Option<String>>>, CatalogError> {
    session.rows(sql).await.map_err(CatalogError::Make)
}

/// Made by another version of these texts, it is another catalog.
fn database_name(name: &SourceName) -> String {
    let texts = Sha256::digest(format!("{HARDEN}{TIDY}{}{}", schema::FORMAT, renumber::SQL));
    let number = texts.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
    format!("{name}_{number:08x}")
}

/// A superuser's own session on the server.
pub(super) async fn inspector(url: &Secret, database: &str) -> Result<Inspector, SourceError> {
    let url = if database.is_empty() { url.clone() } else { with_database(url, database, None)? };
    let tls = tls(&url);
    let url = without_tls(&url);
    let address = SourceAddress {
        url: &url,
        tls,
        root_certificates: None,
        statement_timeout: Duration::from_mins(2),
        lock_timeout: Duration::from_secs(10),
        idle_in_transaction_timeout: Duration::ZERO,
    };
    Inspector::connect(&address).await?.allow_writes().await
}

fn roles(password: &str) -> String {
    format!(
        "DO $$ BEGIN
           IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{OWNER}') THEN CREATE ROLE {OWNER} NOLOGIN; END IF;
           IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{READER}') THEN
             CREATE ROLE {READER} LOGIN PASSWORD '{password}';
           END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
}

/// The reader's password: who may not read the superuser's URL cannot know it, and every process with that URL does.
fn password(server: &Secret) -> String {
    let digest = Sha256::digest(format!("pgwicket reader {}", server.expose()));
    let halves =
        digest.first_chunk().zip(digest.last_chunk()).map(|(first, last)| (u128::from_be_bytes(*first), u128::from_be_bytes(*last)));
    let (first, last) = halves.unwrap_or_default();
    format!("{first:032x}{last:032x}")
}

fn on_database(server: &Secret, database: &str, who: Option<(&str, &str)>) -> Result<Secret, CatalogError> {
    with_database(server, database, who).map_err(CatalogError::Make)
}

/// The URL with another database, and another user.
fn with_database(url: &Secret, database: &str, who: Option<(&str, &str)>) -> Result<Secret, SourceError> {
    let unreadable = || SourceError::Configuration("the catalog's URL must read postgresql://user:password@host:port/database".into());
    let (scheme, rest) = url.expose().trim().split_once("://").ok_or_else(unreadable)?;
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let (authority, _) = place.split_once('/').unwrap_or((place, ""));
    let (user, host) = authority.rsplit_once('@').ok_or_else(unreadable)?;
    let user = who.map_or_else(|| user.to_owned(), |(name, password)| format!("{name}:{password}"));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Secret::new(format!("{scheme}://{user}@{host}/{database}{query}")))
}

/// What the URL's `sslmode` says; `prefer` and the like, which do not say that it is TLS, are none.
fn tls(url: &Secret) -> SourceTls {
    let mode = url.expose().split_once('?').and_then(|(_, query)| query.split('&').find_map(|pair| pair.strip_prefix("sslmode=")));
    match mode {
        Some("require") => SourceTls::Require,
        Some("verify-ca") => SourceTls::VerifyCa,
        Some("verify-full") => SourceTls::VerifyFull,
        Some(_) | None => SourceTls::Disable,
    }
}

fn without_tls(url: &Secret) -> Secret {
    let Some((place, query)) = url.expose().split_once('?') else { return url.clone() };
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("sslmode=")).collect();
    Secret::new(format!("{place}?{}", rest.join("&")))
}

fn source(visible: &Visible, url: &Secret) -> Source {
    Source {
        name: visible.name.clone(),
        url: without_tls(url),
        tls: tls(url),
        root_certificates: None,
        pool_max: CONNECTIONS,
        pool_wait: Duration::from_secs(5),
        statement_timeout: STATEMENT_TIMEOUT,
        lock_timeout: Duration::from_secs(5),
        idle_in_transaction_timeout: Duration::from_mins(10),
        transaction_timeout: Duration::ZERO,
        allow_writable_credential: false,
        worker: crate::policy::AppliedBy::Ours,
        catalog: Arc::new(CatalogSnapshot::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_place_and_says_its_tls_once() {
        let url = Secret::new("postgresql://admin:pw@db:5433/postgres?sslmode=verify-full&connect_timeout=3");
        let reader = with_database(&url, "c", Some(("reader", "secret"))).unwrap();
        assert_eq!(reader.expose(), "postgresql://reader:secret@db:5433/c?sslmode=verify-full&connect_timeout=3");
        assert_eq!(
            (tls(&reader), without_tls(&reader).expose()),
            (SourceTls::VerifyFull, "postgresql://reader:secret@db:5433/c?connect_timeout=3")
        );
        assert_eq!(tls(&Secret::new("postgresql://a@/b?host=%2Ftmp")), SourceTls::Disable);
        assert!(with_database(&Secret::new("nonsense"), "c", None).is_err());
        assert_ne!(password(&url), password(&Secret::new("another")));
    }
}
