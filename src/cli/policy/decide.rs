//! What pgwicket would do with a statement of an agent, without a database.

use std::sync::Arc;

use anyhow::bail;

use crate::{
    error::Report,
    govern::{GovernedStatement, Request},
    pipeline::{First, first_statement},
    policy::{Agent, PolicySet},
    sql::Statement,
    types::AgentName,
};

/// What happens to a statement.
pub(super) enum Decision {
    /// It is forwarded as this.
    Governed(Arc<GovernedStatement>),
    /// What this reads is stored as a proposal.
    Proposed(Arc<GovernedStatement>),
    /// It is answered without the source.
    Local(&'static str),
    /// It is refused.
    Refused(Box<Report>),
}

/// Decides as a session that has just begun would: by the function that decides there.
pub(super) fn decide(policy: &PolicySet, agent: &Agent, text: &str) -> Decision {
    let search_path: Vec<Box<str>> = agent.schemas.iter().map(|schema| schema.name.clone()).collect();
    let request = Request { text, declared_types: &[], agent, policy, search_path: &search_path, database: agent.name.as_str() };
    match first_statement(&request) {
        Ok(First::Forward(governed)) => Decision::Governed(governed),
        Ok(First::Write(write)) => Decision::Proposed(Arc::clone(write.read())),
        Ok(First::Local(statement)) => Decision::Local(answered_here(&statement)),
        Err(error) => Decision::Refused(Box::new(error.report())),
    }
}

fn answered_here(statement: &Statement) -> &'static str {
    match statement {
        Statement::Begin { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint(_)
        | Statement::Release(_)
        | Statement::RollbackTo(_)
        | Statement::SetTransaction(_)
        | Statement::SetSessionCharacteristics(_) => "transaction control: the session runs its own read-only transaction on the source",
        Statement::Empty => "nothing to run",
        Statement::Explain(_) => "a plan that says nothing",
        Statement::Read
        | Statement::Write
        | Statement::Copy(_)
        | Statement::Declare(_)
        | Statement::Refused(_)
        | Statement::Set { .. }
        | Statement::Reset(_)
        | Statement::ResetAll
        | Statement::Show(_)
        | Statement::ShowAll
        | Statement::DiscardAll
        | Statement::DiscardPart(_)
        | Statement::Prepare(_)
        | Statement::Execute(_)
        | Statement::Deallocate(_)
        | Statement::Fetch(_)
        | Statement::Close(_)
        | Statement::CloseAll
        | Statement::Unlisten => "a session setting: pgwicket's virtual session answers it, the source never sees it",
    }
}

/// The agent of that name, or an error that lists those there are.
pub(super) fn agent<'a>(policy: &'a PolicySet, name: &str) -> anyhow::Result<&'a Agent> {
    if let Some(agent) = policy.agents.values().find(|agent| agent.name.as_str() == name) {
        return Ok(agent);
    }
    let known: Vec<&str> = policy.agents.keys().map(AgentName::as_str).collect();
    bail!("the policy has no agent {name}; it has {}", known.join(", "))
}
