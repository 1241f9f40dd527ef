//! A scratch server: databases and a role of the run's own, made and dropped again whatever happens.

use anyhow::{Context as _, bail};

use super::reference::{identifier, literal};
use crate::{
    policy::{Source, SourceTls},
    source::{Inspector, SourceAddress, SourceError},
    types::Secret,
};

/// Times that dropping is tried: sessions that were just ended may still be there.
const ATTEMPTS: usize = 3;

/// A scratch server, and what was made there.
#[derive(Debug)]
pub(super) struct Scratch {
    url: Secret,
    /// How TLS is done and how long statements may take: as the policy has it for the source that is imitated.
    settings: Settings,
    /// Begins the name of everything that is made.
    pub(super) name: String,
    password: Secret,
    /// What undoes what was done, in the order of the doing.
    undo: Vec<String>,
}

#[derive(Debug)]
struct Settings {
    tls: SourceTls,
    root_certificates: Option<Vec<u8>>,
}

impl Scratch {
    /// Makes nothing yet.
    pub(super) fn new(url: Secret, source: &Source) -> Self {
        let settings = Settings { tls: source.tls, root_certificates: source.root_certificates.clone() };
        let name = format!("pgwicket_prove_{:08x}", rand::random::<u32>());
        Self { url, settings, name, password: Secret::new(format!("{:032x}", rand::random::<u128>())), undo: Vec::new() }
    }

    /// Makes the role that pgwicket reads as: a login and nothing else.
    pub(super) async fn role(&mut self) -> anyhow::Result<()> {
        let mut administrator = self.session(&self.url).await?;
        let role = identifier(&self.name);
        self.undo.push(format!("DROP ROLE IF EXISTS {role}"));
        let sql = format!("CREATE ROLE {role} LOGIN PASSWORD {}", literal(self.password.expose()));
        administrator.rows(&sql).await.context("cannot make a role there")?;
        Ok(())
    }

    /// Makes a database, empty or a copy of one that nobody is connected to; a session in it that may write.
    pub(super) async fn database(&mut self, of: Option<&str>) -> anyhow::Result<(String, Inspector)> {
        let mut administrator = self.session(&self.url).await?;
        let database = format!("{}_{}", self.name, self.undo.len());
        self.undo.push(format!("DROP DATABASE IF EXISTS {}", identifier(&database)));
        let template = identifier(of.unwrap_or("template0"));
        let sql = format!("CREATE DATABASE {} TEMPLATE {template} ENCODING 'UTF8'", identifier(&database));
        administrator.rows(&sql).await.context("cannot make a database there")?;
        let url = with_database(&self.url, &database)?;
        Ok((database, self.session(&url).await?))
    }

    /// Where pgwicket finds a database, as the role of the run.
    pub(super) fn reader(&self, database: &str) -> anyhow::Result<Secret> {
        with_login(&with_database(&self.url, database)?, &self.name, &self.password)
    }

    /// Drops everything that was made, over a session of its own: the others may have been cut off in the middle.
    pub(super) async fn remove(&mut self) -> anyhow::Result<()> {
        for attempt in 1..=ATTEMPTS {
            let mut left = Vec::new();
            let mut administrator = self.session(&self.url).await?;
            while let Some(sql) = self.undo.pop() {
                match administrator.rows(&sql).await {
                    Ok(_) => {}
                    Err(error) if attempt == ATTEMPTS => bail!("{sql}: {error}; run it by hand"),
                    Err(_) => left.push(sql),
                }
            }
            left.reverse();
            self.undo = left;
        }
        Ok(())
    }

    async fn session(&self, url: &Secret) -> anyhow::Result<Inspector> {
        let none = std::time::Duration::ZERO;
        let address = SourceAddress {
            url,
            tls: self.settings.tls,
            root_certificates: self.settings.root_certificates.as_deref(),
            statement_timeout: none,
            lock_timeout: none,
            idle_in_transaction_timeout: none,
        };
        let connected: Result<Inspector, SourceError> = async { Inspector::connect(&address).await?.allow_writes().await }.await;
        connected.context("the scratch server")
    }
}

/// The URL with another database.
fn with_database(url: &Secret, database: &str) -> anyhow::Result<Secret> {
    let (scheme, authority, query) = parts(url)?;
    Ok(Secret::new(format!("{scheme}://{authority}/{database}{query}")))
}

/// The URL with another login.
fn with_login(url: &Secret, user: &str, password: &Secret) -> anyhow::Result<Secret> {
    let text = url.expose();
    let Some((scheme, rest)) = text.split_once("://") else { bail!("the scratch URL is not a postgresql:// URL") };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    Ok(Secret::new(format!("{scheme}://{user}:{}@{hosts}{path}", password.expose())))
}

/// Scheme, authority, and the query with its question mark.
fn parts(url: &Secret) -> anyhow::Result<(&str, &str, &str)> {
    let Some((scheme, rest)) = url.expose().split_once("://") else { bail!("the scratch URL is not a postgresql:// URL") };
    let (before, query) = rest.split_at_checked(rest.find('?').unwrap_or(rest.len())).unwrap_or((rest, ""));
    if ["user=", "password=", "dbname="].iter().any(|name| query.contains(name)) {
        bail!("the scratch URL has user, password or dbname after its `?`; write them before it");
    }
    Ok((scheme, before.split('/').next().unwrap_or_default(), query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_hosts_and_query() {
        let url = Secret::new("postgresql://me:p%40ss@[::1]:5433,db:5434/postgres?connect_timeout=3");
        let other = with_database(&url, "scratch").unwrap();
        assert_eq!(other.expose(), "postgresql://me:p%40ss@[::1]:5433,db:5434/scratch?connect_timeout=3");
        let reader = with_login(&other, "reader", &Secret::new("pw")).unwrap();
        assert_eq!(reader.expose(), "postgresql://reader:pw@[::1]:5433,db:5434/scratch?connect_timeout=3");
        assert_eq!(with_database(&Secret::new("postgres://me@db"), "x").unwrap().expose(), "postgres://me@db/x");
        assert!(with_database(&Secret::new("host=db user=me"), "x").is_err());
        assert!(with_database(&Secret::new("postgres://db/?user=me"), "x").is_err());
    }
}
