//! Composition: puts the rooms together for the commands.
//! May use: everything but `cli`. Never: rules of its own.
//! Invariant: a bad policy never replaces a good one.

mod policy;

pub use policy::{LoadError, LoadedPolicy, catalog_path, load_policy, saved_catalogs, saved_form};
