//! What pgwicket would do with a statement of an agent, without a database.

use std::sync::Arc;

use anyhow::bail;

use crate::{
    error::{Error, Report},
    govern::{GovernedStatement, Request, govern, propose},
    policy::{Agent, PolicySet},
    sql::{Statement, classify},
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

/// Decides as a session that has just begun would.
pub(super) fn decide(policy: &PolicySet, agent: &Agent, text: &str) -> Decision {
    let refused = |error: &Error| Decision::Refused(Box::new(error.report()));
    match classify(text) {
        Err(error) => refused(&Error::Parse(error)),
        Ok(Statement::Refused(kind)) => refused(&Error::Kind(kind)),
        // What is around a query decides nothing about it.
        Ok(Statement::Explain(explain)) => {
            explain.text.map_or(Decision::Local("a plan that says nothing"), |text| decide(policy, agent, &text))
        }
        Ok(Statement::Copy(copy)) => decide(policy, agent, &copy.text),
        Ok(Statement::Declare(declare)) => decide(policy, agent, &declare.text),
        Ok(kind @ (Statement::Read | Statement::Write)) => {
            let search_path: Vec<Box<str>> = agent.schemas.iter().map(|schema| schema.name.clone()).collect();
            let request = Request { text, declared_types: &[], agent, policy, search_path: &search_path, database: agent.name.as_str() };
            let decided = if kind == Statement::Read {
                govern(&request).map(Decision::Governed)
            } else {
                propose(&request).map(|draft| Decision::Proposed(Arc::clone(draft.read())))
            };
            decided.unwrap_or_else(|refusal| refused(&Error::Refused(refusal)))
        }
        Ok(
            Statement::Begin { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint(_)
            | Statement::Release(_)
            | Statement::RollbackTo(_)
            | Statement::SetTransaction(_)
            | Statement::SetSessionCharacteristics(_),
        ) => Decision::Local("transaction control: the session runs its own read-only transaction on the source"),
        Ok(Statement::Empty) => Decision::Local("nothing to run"),
        Ok(
            Statement::Set { .. }
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
            | Statement::Unlisten,
        ) => Decision::Local("a session setting: pgwicket's virtual session answers or refuses it, the source never sees it"),
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
