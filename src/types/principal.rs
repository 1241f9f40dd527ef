//! Who a connection authenticated as.

use super::{AgentName, RunId, TenantId};

/// An authenticated agent with its trusted session bindings. Made by `auth` from the policy and the
/// proof the client gave, never from SQL, a parameter, `SET` or a startup option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The agent of the policy.
    pub agent: AgentName,
    /// The tenant whose rows it may see; `None` reaches single-tenant relations only.
    pub tenant: Option<TenantId>,
    /// The agent's own unit of work, when the policy or a token binds one.
    pub run: Option<RunId>,
    /// Who acts, as a token says; for evidence.
    pub subject: Option<Box<str>>,
    /// What else a token says, by names of the policy; for evidence.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}
