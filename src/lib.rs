//! pgwicket: the small door through which AI agents reach a production database.
//!
//! A proxy that speaks the Postgres wire protocol. What an agent sends is parsed by PostgreSQL's
//! own grammar, governed by a policy, verified, recorded as evidence and only then forwarded.
//! `docs/ARCHITECTURE.md` is the map; each room says in its `mod.rs` what it may use.

pub mod app;
pub mod auth;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod frontend;
pub mod govern;
pub mod journal;
pub mod pipeline;
pub mod policy;
pub mod proposal;
pub mod source;
pub mod sql;
pub mod store;
pub mod types;
pub mod wire;
pub mod worker;
