//! Why a catalog statement cannot be answered.

use crate::source::SourceError;

/// Why a catalog statement cannot be answered. What a client reads of it is chosen by `error`; the rest is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// It is switched off.
    #[error("the virtual catalog is switched off")]
    Off,
    /// There is no PostgreSQL to run.
    #[error("no PostgreSQL was found to hold the virtual catalog")]
    NoProgram,
    /// PostgreSQL refuses to run as root, and there is nobody else to run it.
    #[error("PostgreSQL cannot run as root: user {0} is not there, or setpriv is not")]
    NoUser(String),
    /// The private server could not be started.
    #[error("the server of the virtual catalog did not start: {0}")]
    Start(String),
    /// The server refused what makes a catalog.
    #[error("the virtual catalog could not be made: {0}")]
    Make(SourceError),
}
