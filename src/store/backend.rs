//! Everything in which SQLite and PostgreSQL differ, and the few words in which the rest of the room speaks to either.

use std::{
    fs::{OpenOptions, Permissions},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Any, AnyConnection, AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _, Transaction,
    any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow},
    pool::PoolConnection,
    query::Query,
};
use tokio::sync::{Mutex, MutexGuard};

use super::{Location, StoreError, listen::CHANNEL};
use crate::types::Secret;

/// How long a call waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Per connection. WAL and FULL: what was answered survives a power cut. SQLite waits for other processes, not for us (`writer`).
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";
/// Per connection. A statement that hangs, or a process that stopped inside a transaction, does not hold others up for long.
/// Every statement of this room is a short walk along indexes: a planner without statistics (a store that grew fast, or
/// without autovacuum) must not think otherwise.
const POSTGRES_SETTINGS: &str = "SET search_path TO pgwicket; SET statement_timeout = '15s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '30s'; SET default_transaction_isolation = 'read committed'; \
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// The advisory lock that processes take while they migrate.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7740290914461221)";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// A pool, and what kind of database it leads to.
pub(super) struct Database {
    pool: sqlx::AnyPool,
    kind: Kind,
    location: Location,
    /// The file of SQLite, as it was opened.
    file: Option<OpenedFile>,
    /// SQLite has one writer at a time: those of this process queue here, in order, instead of polling its lock.
    writer: Mutex<()>,
}

/// A file, and which one of those that may come to stand at its path it is. SQLite goes on in a file that was removed, and what it
/// stores there is lost.
struct OpenedFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenedFile {
    fn of(path: PathBuf) -> Result<Self, StoreError> {
        let found = std::fs::metadata(&path).map_err(|error| StoreError::Location(format!("{}: {error}", path.display()).into()))?;
        Ok(Self { device: found.dev(), inode: found.ino(), path })
    }

    /// Whether it is still the file at its path, with its log beside it.
    fn check(&self) -> Result<(), StoreError> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) && Path::new(&log).exists() => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Unavailable("its file was removed or replaced while it was in use: restart pgwicket".into())),
        }
    }
}

/// A writing transaction; rolled back unless it is committed.
pub(super) struct Work<'d> {
    transaction: Transaction<'static, Any>,
    kind: Kind,
    file: Option<&'d OpenedFile>,
    _writer: Option<MutexGuard<'d, ()>>,
}

/// Why work stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// Said to the caller.
    Store(StoreError),
    /// Another transaction was in the way: to be begun again.
    Lost(Box<str>),
}

/// A value for a placeholder.
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

/// Values for `$1`, `$2`, …
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::backend::Value::from($value)),*] };
}
pub(super) use values;

impl Database {
    pub(super) async fn connect(location: &Location) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (kind, url, settings, connections) = match location {
            Location::Sqlite(path) => (Kind::Sqlite, sqlite_url(path)?, SQLITE_SETTINGS, 4),
            Location::Postgres(url) => (Kind::Postgres, url.expose().to_owned(), POSTGRES_SETTINGS, 8),
        };
        // A URL's own errors may quote it, password and all.
        let options: AnyConnectOptions = url
            .parse()
            .ok()
            .ok_or_else(|| StoreError::Location("its URL is not one; it looks like postgresql://user@host/database".into()))?;
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(Duration::from_mins(10))
            .after_connect(move |connection, _| Box::pin(async move { connection.execute(sqlx::raw_sql(settings)).await.map(drop) }));
        let pool = pool.connect_with(options.disable_statement_logging()).await.map_err(Fault::from)?;
        let file = match location {
            Location::Sqlite(path) => Some(OpenedFile::of(sqlite_file(path)?)?),
            Location::Postgres(_) => None,
        };
        Ok(Self { pool, kind, location: location.clone(), file, writer: Mutex::new(()) })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// The URL of a PostgreSQL.
    pub(super) fn postgres_url(&self) -> Option<Secret> {
        match &self.location {
            Location::Sqlite(_) => None,
            Location::Postgres(url) => Some(url.clone()),
        }
    }

    /// A connection to read with.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Any>, Fault> {
        let connection = self.pool.acquire().await?;
        self.file.as_ref().map_or(Ok(()), OpenedFile::check)?;
        Ok(connection)
    }

    /// Begins a writing transaction.
    pub(super) async fn begin(&self) -> Result<Work<'_>, Fault> {
        let (writer, begin) = match self.kind {
            Kind::Sqlite => (Some(self.writer.lock().await), "BEGIN IMMEDIATE"),
            Kind::Postgres => (None, "BEGIN"),
        };
        let transaction = self.pool.begin_with(begin).await?;
        self.file.as_ref().map_or(Ok(()), OpenedFile::check)?;
        Ok(Work { transaction, kind: self.kind, file: self.file.as_ref(), _writer: writer })
    }
}

impl Work<'_> {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    pub(super) async fn commit(self) -> Result<(), Fault> {
        self.transaction.commit().await?;
        // What went into a file that is there no more is not acknowledged.
        Ok(self.file.map_or(Ok(()), OpenedFile::check)?)
    }

    /// The end of a SELECT that locks what it reads, waiting for others. SQLite's writer is alone.
    pub(super) fn locking(&self, table: &str) -> String {
        match self.kind {
            Kind::Sqlite => String::new(),
            Kind::Postgres => format!(" FOR NO KEY UPDATE OF {table}"),
        }
    }

    /// As [`Self::locking`], passing over what others hold.
    pub(super) fn locking_free(&self, table: &str) -> String {
        match self.kind {
            Kind::Sqlite => String::new(),
            Kind::Postgres => format!(" FOR NO KEY UPDATE OF {table} SKIP LOCKED"),
        }
    }

    /// Tells who listens that a proposal was approved, when this transaction is committed.
    pub(super) async fn announce_approval(&mut self) -> Result<(), Fault> {
        match self.kind {
            Kind::Sqlite => Ok(()),
            Kind::Postgres => rows(self.connection(), "SELECT pg_notify($1, '')::text AS told", values![CHANNEL]).await.map(drop),
        }
    }

    /// Keeps others who lock the same name waiting until the transaction ends. SQLite's writer is alone.
    pub(super) async fn lock_name(&mut self, name: &str) -> Result<(), Fault> {
        match self.kind {
            Kind::Sqlite => Ok(()),
            Kind::Postgres => {
                let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7740290914461222))::text AS locked";
                rows(self.connection(), lock, values![name]).await.map(drop)
            }
        }
    }

    /// Makes sure that only this process migrates, and that there is a schema to do it in.
    pub(super) async fn migrate_alone(&mut self) -> Result<(), Fault> {
        if self.kind == Kind::Postgres {
            rows(self.connection(), MIGRATION_LOCK, values![]).await?;
            // Even IF NOT EXISTS asks for the right to create schemas.
            if rows(self.connection(), "SELECT 1 FROM pg_namespace WHERE nspname = 'pgwicket'", values![]).await?.is_empty() {
                execute(self.connection(), "CREATE SCHEMA pgwicket", values![]).await?;
            }
        }
        Ok(())
    }

    /// Runs a migration's text.
    pub(super) async fn script(&mut self, text: &str) -> Result<(), Fault> {
        let bytes_text = match self.kind {
            Kind::Sqlite => "TEXT",
            Kind::Postgres => "TEXT COLLATE \"C\"",
        };
        let text = text.replace("BYTES_TEXT", bytes_text);
        self.transaction.execute(sqlx::raw_sql(AssertSqlSafe(text))).await?;
        Ok(())
    }
}

/// Runs a statement; returns how many rows it changed.
pub(super) async fn execute(connection: &mut AnyConnection, text: impl Into<String>, values: Vec<Value>) -> Result<u64, Fault> {
    Ok(bound(text, values).execute(connection).await?.rows_affected())
}

/// Runs a statement; returns its rows.
pub(super) async fn rows(connection: &mut AnyConnection, text: impl Into<String>, values: Vec<Value>) -> Result<Vec<AnyRow>, Fault> {
    Ok(bound(text, values).fetch_all(connection).await?)
}

/// The text of a column.
pub(super) fn text(row: &AnyRow, column: &str) -> Result<String, Fault> {
    Ok(row.try_get(column)?)
}

/// The text of a column that may be NULL.
pub(super) fn optional_text(row: &AnyRow, column: &str) -> Result<Option<Box<str>>, Fault> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(Into::into))
}

/// The number of a column.
pub(super) fn number(row: &AnyRow, column: &str) -> Result<i64, Fault> {
    Ok(row.try_get(column)?)
}

/// The number of a column that may be NULL.
pub(super) fn optional_number(row: &AnyRow, column: &str) -> Result<Option<i64>, Fault> {
    Ok(row.try_get(column)?)
}

/// `$3, $4, $5` for `first` 3 and `count` 3.
pub(super) fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// Every text here is this room's own; what others said travels in `values`.
fn bound(text: impl Into<String>, values: Vec<Value>) -> Query<'static, Any, AnyArguments> {
    values.into_iter().fold(sqlx::query(AssertSqlSafe(text.into())), |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
    })
}

fn sqlite_file(path: &Path) -> Result<PathBuf, StoreError> {
    let path = if path.is_dir() { path.join("pgwicket-state.db") } else { path.to_owned() };
    std::path::absolute(&path).map_err(|error| StoreError::Location(format!("{}: {error}", path.display()).into()))
}

fn sqlite_url(path: &Path) -> Result<String, StoreError> {
    let path = sqlite_file(path)?;
    let unusable = |error: std::io::Error| StoreError::Location(format!("{}: {error}", path.display()).into());
    // SQLite gives its other files the mode of this one.
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unusable)?;
    // A file that its owner opened to a group, and to nobody else, stays so: a worker that runs as another user.
    let mode = file.metadata().map_err(unusable)?.permissions().mode() & 0o777;
    if mode != 0o600 && mode != 0o660 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unusable)?;
    }
    let text = path.to_str().ok_or_else(|| StoreError::Location("its path is not UTF-8".into()))?;
    let encoded = text.bytes().map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    Ok(format!("sqlite://{}", encoded.collect::<Vec<_>>().concat()))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        // PostgreSQL has no zero byte in a text. None of ours has one; an error's words might.
        Self::Text(Some(text.replace('\0', "\u{fffd}")))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Text(None), Self::from)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.as_deref().into()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Lost(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let reason: Box<str> = error.to_string().into();
        if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_)) {
            return Self::Store(StoreError::Unreadable(reason));
        }
        if matches!(error, sqlx::Error::Configuration(_)) {
            return Self::Store(StoreError::Location(reason));
        }
        let Some(code) = error.as_database_error().map(|error| error.code().unwrap_or_default()) else {
            return Self::Store(StoreError::Unavailable(reason));
        };
        let unavailable = match code.parse::<u32>() {
            // SQLite's codes are short; the low byte is the kind: busy, locked.
            Ok(number) if code.len() < 5 && matches!(number & 0xff, 5 | 6) => return Self::Lost(reason),
            // Read-only, I/O error, disk full, cannot open.
            Ok(number) if code.len() < 5 => matches!(number & 0xff, 8 | 10 | 13 | 14),
            // PostgreSQL: serialisation failure, deadlock, lock timeout.
            _ if matches!(&*code, "40001" | "40P01" | "55P03") => return Self::Lost(reason),
            // It takes no connections, starts, stops, was told to stop this, is read-only after a failover, lost the connection, is full.
            _ => ["55000", "57P0", "57014", "25P03", "25006", "08", "53"].iter().any(|class| code.starts_with(class)),
        };
        Self::Store(if unavailable { StoreError::Unavailable(reason) } else { StoreError::Database(reason) })
    }
}
