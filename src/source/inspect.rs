//! An operator's own session on a database: what `pgwicket prove` looks at a source with, and fills a scratch database by.

use std::time::Duration;

use super::{
    Connection, SourceAddress, SourceError,
    connect::{Connector, within},
    error::Step,
    simple::Row,
};

/// Longest one statement may take, whatever the policy's `statement_timeout` is.
const LIMIT: Duration = Duration::from_mins(5);

/// A session of the operator's. It is read-only and pinned as every session of pgwicket is, and never serves a client.
#[derive(Debug)]
pub struct Inspector(Connection);

impl Inspector {
    /// Connects as pgwicket itself does: same credential, same TLS, same settings.
    ///
    /// # Errors
    /// As connecting.
    pub async fn connect(address: &SourceAddress<'_>) -> Result<Self, SourceError> {
        Connector::new(address)?.connect().await.map(Self)
    }

    /// Lets this session write: for a scratch database that the caller made, with a credential of its own.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn allow_writes(mut self) -> Result<Self, SourceError> {
        self.rows("SET default_transaction_read_only = off").await?;
        Ok(self)
    }

    /// Runs the operator's own text; the rows in text form. The session stays usable after an error of the server.
    ///
    /// # Errors
    /// [`SourceError::Startup`] with what the server answered, [`SourceError::Lost`] when the connection is gone.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, SourceError> {
        within(LIMIT, Step::Introspect, self.0.query(sql)).await?
    }
}
