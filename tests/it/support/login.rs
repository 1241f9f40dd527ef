//! How a client reaches a server: the same shape for PostgreSQL and for pgwicket, so that one program fits both.

use std::{error::Error, process::Command};

use tokio_postgres::{
    Client, NoTls,
    types::{FromSql, Type},
};

use super::{PASSWORD, Wire};

/// A value as it came, whatever its type.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Runs to the end, on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Host 127.0.0.1, password [`PASSWORD`].
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
}

impl Login {
    /// As a URL.
    pub(crate) fn url(&self) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("postgresql://{}:{password}@127.0.0.1:{}/{}", self.user, self.port, self.database)
    }

    /// `psql` with these parameters; stops at the first error.
    pub(crate) fn psql(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-v", "ON_ERROR_STOP=1"]);
        self.environment(&mut command);
        command
    }

    /// The parameters as libpq's environment variables, which every driver's program is given.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", &self.user);
        command.env("PGDATABASE", &self.database).env("PGPASSWORD", PASSWORD).env("PGSSLMODE", "prefer");
    }

    /// A tokio-postgres configuration.
    pub(crate) fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(&self.user).password(PASSWORD).dbname(&self.database);
        config
    }

    /// A tokio-postgres client, on the runtime that this is called on.
    pub(crate) async fn connect(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A connection that shows every message.
    pub(crate) fn wire(&self) -> std::io::Result<Wire> {
        Wire::connect(self.port, &self.user, PASSWORD, &self.database)
    }
}
