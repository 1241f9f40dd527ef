//! Sources.

use std::{sync::Arc, time::Duration};

use super::Compiler;
use crate::{
    policy::{
        AppliedBy, CATALOG_PREFIX, Source, SourceTls,
        decode::Spanned,
        document::{Mode, SourceDocument, SourceKind},
        problem::{Place, shown},
    },
    sql::catalog::{CatalogSnapshot, KNOWN_VERSIONS},
    types::{Secret, SourceName},
};

/// Fewer connections than the bound of `pool.max` is what an upstream can bear.
const POOL_MOST: u64 = 10_000;

/// One source; its catalog is empty when none was given.
pub(super) fn compile(compiler: &mut Compiler<'_>, name: &Spanned<String>, source: &SourceDocument) -> Option<Source> {
    let before = compiler.problems.errors();
    // There is one kind and one mode; a second one must choose here.
    let (SourceKind::Postgres, None | Some(Mode::ReadOnly)) = (source.kind, source.mode);
    let parsed: Option<SourceName> = name.value.parse().ok().filter(|_| !name.value.starts_with(CATALOG_PREFIX));
    if parsed.is_none() {
        compiler
            .problems
            .error(&name.at, format!("{} cannot be a source's name", shown(&name.value)))
            .hint("1 to 63 bytes, no control characters, not pgwicket's own pgwicket_catalog_…");
    }
    let url = compiler.resolve(&source.url.0.value, &source.url.0.at);
    if let Some(url) = &url {
        check_url(compiler, url, &source.url.0.at);
    }
    let root_certificates = source.ssl_root_cert.as_ref().and_then(|file| compiler.resolve(&file.0.value, &file.0.at));
    let pool_max = pool_max(compiler, source);
    let tls = source.ssl.unwrap_or(SourceTls::VerifyFull);
    if let (Some(file), SourceTls::Disable | SourceTls::Require) = (&source.ssl_root_cert, tls) {
        compiler
            .problems
            .error(&file.0.at, "`ssl_root_cert` is not used by this `ssl` mode")
            .hint("write `ssl: verify-full` or `verify-ca`, or remove it");
    }
    if source.transaction_timeout.is_some_and(|timeout| timeout.is_zero()) {
        compiler
            .problems
            .error(&source.url.0.at, "`transaction_timeout` of the source must be more than 0")
            .hint("a transaction without bound makes DDL and vacuum at the source wait without bound");
    }
    let name = parsed?;
    let catalog = compiler.catalog(&name);
    if let Some(other) = catalog.as_ref().map(|catalog| catalog.server_version).filter(|version| !KNOWN_VERSIONS.contains(version)) {
        compiler
            .problems
            .error(&source.url.0.at, format!("the source is PostgreSQL {}", other / 10_000))
            .hint("PostgreSQL 15 to 18 is needed: of another version it is not known on whose rows it evaluates what");
    }
    if compiler.problems.errors() > before || (url.is_none() && compiler.serving()) {
        return None;
    }
    let pool = source.pool.as_ref();
    let statement_timeout = source.statement_timeout.unwrap_or(Duration::from_secs(30));
    Some(Source {
        name,
        url: url.unwrap_or_else(|| Secret::new("")),
        tls,
        root_certificates: root_certificates.map(|pem| pem.expose().as_bytes().to_vec()),
        pool_max,
        pool_wait: pool.and_then(|pool| pool.wait).unwrap_or(Duration::from_secs(5)),
        statement_timeout,
        lock_timeout: source.lock_timeout.unwrap_or(Duration::from_secs(5)),
        idle_in_transaction_timeout: source.idle_in_transaction_session_timeout.unwrap_or(Duration::from_mins(1)),
        transaction_timeout: source.transaction_timeout.unwrap_or(statement_timeout.saturating_mul(2).max(Duration::from_mins(1))),
        allow_writable_credential: source.allow_writable_credential.unwrap_or(false),
        worker: source.worker.unwrap_or(AppliedBy::Ours),
        catalog: catalog.unwrap_or_else(|| Arc::new(CatalogSnapshot::default())),
    })
}

fn pool_max(compiler: &mut Compiler<'_>, source: &SourceDocument) -> usize {
    let Some(max) = source.pool.as_ref().and_then(|pool| pool.max.as_ref()) else { return 20 };
    if !(1..=POOL_MOST).contains(&max.value) {
        compiler.problems.error(&max.at, format!("`pool.max` must be 1 to {POOL_MOST}"));
    }
    usize::try_from(max.value).unwrap_or(usize::MAX)
}

fn check_url(compiler: &mut Compiler<'_>, url: &Secret, at: &Place) {
    let rest = ["postgresql://", "postgres://"].iter().find_map(|scheme| url.expose().trim().strip_prefix(scheme));
    if rest.is_none_or(|rest| rest.split(['@', '?']).all(str::is_empty)) {
        compiler
            .problems
            .error(at, "what this refers to is not a PostgreSQL URL")
            .hint("it should read postgresql://user:password@host:port/database");
    }
}
