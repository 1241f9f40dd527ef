//! What is proposed.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::types::{AgentName, Deployment, Digest, EvidenceId, ProposalId, RunId, SourceName, TenantId};

/// What happens to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A new row.
    Insert,
    /// New values in a row.
    Update,
    /// A row goes.
    Delete,
}

/// What the agent wrote. An upsert or a MERGE has changes of several operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// `INSERT`
    Insert,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
    /// `INSERT … ON CONFLICT`
    Upsert,
    /// `MERGE`
    Merge,
}

macro_rules! words {
    ($type:ty, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// The word for it in JSON, SQL and tables.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $type {
            type Err = ();

            fn from_str(word: &str) -> Result<Self, ()> {
                match word { $($word => Ok(Self::$variant),)+ _ => Err(()) }
            }
        }
    };
}

words!(Operation, Insert = "insert", Update = "update", Delete = "delete");
words!(Verb, Insert = "insert", Update = "update", Delete = "delete", Upsert = "upsert", Merge = "merge");

/// A value of a column, lossless: the text that the type's own output function gives under the proposal's time zone, ISO
/// dates, hex bytea and shortest-exact floats.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// NULL
    Null,
    /// The text form.
    Text(Box<str>),
    /// The column's own default, known when it is applied.
    Default,
}

/// A column and a value of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The column; its name is the same in the source.
    pub column: Box<str>,
    /// The source's name for its type (`format_type`), e.g. `numeric(10,2)`.
    pub type_name: Box<str>,
    /// The value.
    pub value: Value,
}

/// One row, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowChange {
    /// What happens to it.
    pub operation: Operation,
    /// Its primary key, in key order. Of a new row those key columns that the statement gives.
    pub key: Vec<Cell>,
    /// The guard: of an update every assigned column as it was read, of a delete every visible column. Empty for an insert.
    pub before: Vec<Cell>,
    /// The value of the policy's conflict column as it was read.
    pub conflict: Option<Cell>,
    /// The new values; of an insert every given column, those of the key among them. Empty for a delete.
    pub after: Vec<Cell>,
}

/// The relation that is written to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The source.
    pub source: SourceName,
    /// Alias schema, as agents know it.
    pub schema: Box<str>,
    /// Alias name, as agents know it.
    pub relation: Box<str>,
    /// Schema in the source.
    pub real_schema: Box<str>,
    /// Name in the source.
    pub real_name: Box<str>,
    /// Which rows are the agent's tenant's; `None` for a single-tenant relation.
    pub tenant: Option<TenantGuard>,
}

/// Rows of this tenant only; a new row is this tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantGuard {
    /// The tenant column, in the source.
    pub column: Box<str>,
    /// Its type (`format_type`).
    pub type_name: Box<str>,
    /// The tenant, in the text form of the type.
    pub tenant: TenantId,
}

/// Who proposes, and as whom: an agent acts for a tenant, and for the person or program that a token or certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposer {
    /// The agent of the policy.
    pub agent: AgentName,
    /// The tenant that the session was bound to, also where the relation has a single tenant.
    pub tenant: Option<TenantId>,
    /// Who acts through the agent, as a token says.
    pub subject: Option<Box<str>>,
    /// What else the token says, by names of the policy.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// A write as it was proposed. Never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its id.
    pub id: ProposalId,
    /// Unit: milliseconds since the Unix epoch.
    pub created_at: i64,
    /// When a pending one expires. Unit: milliseconds since the Unix epoch.
    pub expires_at: i64,
    /// Where it was proposed; `None` in a content of before deployments had a name.
    pub deployment: Option<Deployment>,
    /// Who proposes.
    pub proposer: Proposer,
    /// The agent's unit of work.
    pub run: Option<RunId>,
    /// The evidence of the read that took the before-images.
    pub evidence: EvidenceId,
    /// The digest of the policy it was made under.
    pub policy: Digest,
    /// What the agent wrote.
    pub verb: Verb,
    /// The agent's text.
    pub statement: Box<str>,
    /// Why, in the agent's words.
    pub reason: Option<Box<str>>,
    /// The time zone that its times with time zone are written in; a time in it reads the same everywhere.
    pub time_zone: Box<str>,
    /// The key the agent gave to make a repeat recognisable.
    pub idempotency_key: Option<Box<str>>,
    /// Where.
    pub target: Target,
    /// The rows, one or more; a row at most once.
    pub changes: Vec<RowChange>,
}

impl Proposer {
    /// An agent that acts for a tenant, or for none, and for nobody that a token names.
    pub fn new(agent: AgentName, tenant: Option<TenantId>) -> Self {
        Self { agent, tenant, subject: None, attributes: Vec::new() }
    }
}

impl Value {
    /// The text form, unless it is NULL or a default.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Default => None,
        }
    }
}

impl Proposal {
    /// Says whether two proposals change the same rows in the same way: over agent, tenant, target and changes.
    pub fn change_digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        let mut put = |part: &str| {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        put(self.proposer.agent.as_str());
        put(self.proposer.tenant.as_ref().map_or("", TenantId::as_str));
        put(self.target.source.as_str());
        put(&self.target.real_schema);
        put(&self.target.real_name);
        put(self.target.tenant.as_ref().map_or("", |tenant| tenant.tenant.as_str()));
        for change in &self.changes {
            put(change.operation.word());
            let conflict = change.conflict.as_slice();
            for (part, cells) in [("key", &change.key[..]), ("before", &change.before), ("conflict", conflict), ("after", &change.after)] {
                put(part);
                for cell in cells {
                    put(&cell.column);
                    let (form, text) = match &cell.value {
                        Value::Null => ("null", ""),
                        Value::Text(text) => ("text", &**text),
                        Value::Default => ("default", ""),
                    };
                    put(form);
                    put(text);
                }
            }
        }
        Digest(hasher.finalize().into())
    }

    /// Names each row that exists and is changed: equal for two proposals on one row of one tenant. A new row has a name when
    /// its whole key is given. Two tenants' rows never share a name: what one proposes must not show to the other.
    pub fn row_names(&self) -> Vec<Digest> {
        let named =
            self.changes.iter().filter(|change| !change.key.is_empty() && change.key.iter().all(|cell| cell.value.text().is_some()));
        named.map(|change| self.row_name(change)).collect()
    }

    fn row_name(&self, change: &RowChange) -> Digest {
        let tenant = self.target.tenant.as_ref().map_or("", |guard| guard.tenant.as_str());
        let table = [self.target.source.as_str(), &*self.target.real_schema, &*self.target.real_name, tenant];
        let key = change.key.iter().flat_map(|cell| [&*cell.column, cell.value.text().unwrap_or_default()]);
        let mut hasher = Sha256::new();
        for part in table.into_iter().chain(key) {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }
}
