//! Composition: puts the rooms together for the commands.
//! May use: everything but `cli`. Never: rules of its own.
//! Invariant: a bad policy never replaces a good one.

mod certificate;
mod descriptors;
mod drift;
mod error;
mod expiry;
mod issuers;
mod keeper;
mod lane;
mod monitor;
mod options;
mod policy;
mod serve;
mod watch;
mod work;

pub use descriptors::keep_private;
pub use error::ServeError;
pub use options::{ServeOptions, TlsFiles};
pub use policy::{LoadError, LoadedPolicy, catalog_path, load_policy, saved_catalogs, saved_form};
pub use serve::serve;
pub use work::{WorkError, WorkOptions, work};
