//! Several sessions over one small pool: each is answered as on a PostgreSQL of its own.

use std::fs;

use crate::{
    support::{AGENT, Cluster, Pgwicket, repository},
    wire::Script,
};

/// The kinds by name (`tests/wire/shared-state.pgt`), on every version: a session, then another one that says the same.
#[test]
fn what_another_session_said_decides_nothing() {
    let text = fs::read_to_string(repository("tests/wire/shared-state.pgt")).unwrap();
    let script = Script::parse(&text);
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let found = script.disagreements(&script.play(&Cluster::tenant_copy().login(AGENT), &pgwicket.login()));
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}
