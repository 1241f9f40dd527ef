//! How a client reaches a server: the same shape for PostgreSQL and for pgwicket, so that one program fits both.

use std::process::Command;

use super::{PASSWORD, Wire};

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

    /// A connection that shows every message.
    pub(crate) fn wire(&self) -> std::io::Result<Wire> {
        Wire::connect(self.port, &self.user, PASSWORD, &self.database)
    }
}
