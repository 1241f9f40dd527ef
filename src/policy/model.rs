//! The compiled policy: what `govern`, `pipeline` and `source` read. Immutable once made.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{CertificateName, SettlementRule, TokenMethod, TokenRules, Visible};
use crate::{
    proposal::Operation,
    sql::catalog::{CatalogSnapshot, Oid},
    types::{AgentName, Digest, PolicyEpoch, ReviewerName, Secret, SourceName, TenantId},
};

/// Every policy file compiled as one against the catalogs of its sources.
#[derive(Debug)]
pub struct PolicySet {
    /// Which load this is.
    pub epoch: PolicyEpoch,
    /// SHA-256 over the policy files in path order (each: path length, path, text length, text).
    pub digest: Digest,
    /// The sources by name.
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    /// The agents by login name.
    pub agents: BTreeMap<AgentName, Arc<Agent>>,
    /// The reviewers by name.
    pub reviewers: BTreeMap<ReviewerName, Arc<Reviewer>>,
    /// Who may approve what, in the policy's order: the first rule that names relation and operation counts.
    pub approvals: Vec<ApprovalRule>,
    /// What is approved without a person, in the policy's order: the first rule that permits counts.
    pub settlements: Vec<Arc<SettlementRule>>,
    /// How long an approval counts at most.
    pub approvals_valid_for: Duration,
    /// The policy's own name for where it is in force.
    pub deployment: Option<Box<str>>,
}

/// A person who decides on proposals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewer {
    /// The name, also that of the reviewer's API keys.
    pub name: ReviewerName,
    /// Ed25519 public key (RFC 8032, 32 bytes): a decision must be signed with it. Without one an API key of that name decides.
    pub key: Option<[u8; 32]>,
    /// Agents that are this person's own: what they propose it does not approve.
    pub agents: Vec<AgentName>,
    /// Subjects of tokens that are this person, besides its own name: what is proposed as one of them it does not approve.
    pub principals: Vec<Box<str>>,
}

/// Who may approve a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// `schema.relation` or `schema.*`, alias names.
    pub relations: Vec<Box<str>>,
    /// Operations it is for.
    pub operations: Vec<Operation>,
    /// Who may decide.
    pub reviewers: Vec<ReviewerName>,
    /// How many distinct people must approve, at least 1.
    pub quorum: usize,
}

impl PolicySet {
    /// How long an approval counts where the policy does not say.
    pub const APPROVALS_VALID_FOR: Duration = Duration::from_hours(24);

    /// A policy that lets nobody in.
    pub fn empty(epoch: PolicyEpoch, digest: Digest) -> Self {
        Self {
            epoch,
            digest,
            sources: BTreeMap::new(),
            agents: BTreeMap::new(),
            reviewers: BTreeMap::new(),
            approvals: Vec::new(),
            settlements: Vec::new(),
            approvals_valid_for: Self::APPROVALS_VALID_FOR,
            deployment: None,
        }
    }

    /// The rule for one operation on a relation, by alias names. `None`: nobody may approve it.
    pub fn approval_rule(&self, schema: &str, relation: &str, operation: Operation) -> Option<&ApprovalRule> {
        self.approvals
            .iter()
            .find(|rule| rule.operations.contains(&operation) && rule.relations.iter().any(|pattern| names(pattern, schema, relation)))
    }
}

/// Whether `schema.relation` or `schema.*` names a relation.
pub(super) fn names(pattern: &str, schema: &str, relation: &str) -> bool {
    pattern.split_once('.').is_some_and(|(known, name)| known == schema && (name == "*" || name == relation))
}

/// A source database.
#[derive(Debug)]
pub struct Source {
    /// Its name in the policy.
    pub name: SourceName,
    /// The connection URL of the read-only credential.
    pub url: Secret,
    /// TLS to the source.
    pub tls: SourceTls,
    /// PEM file contents of the roots to trust instead of the system's.
    pub root_certificates: Option<Vec<u8>>,
    /// Upstream connections at most, over the whole process.
    pub pool_max: usize,
    /// How long a statement waits for an upstream connection.
    pub pool_wait: Duration,
    /// `statement_timeout` of the upstream sessions; zero is none.
    pub statement_timeout: Duration,
    /// `lock_timeout` of the upstream sessions.
    pub lock_timeout: Duration,
    /// `idle_in_transaction_session_timeout` of the upstream sessions.
    pub idle_in_transaction_timeout: Duration,
    /// Longest a transaction may be open, whatever it does; zero is none, which no policy says.
    pub transaction_timeout: Duration,
    /// Take a credential that could write, with a warning.
    pub allow_writable_credential: bool,
    /// Who applies what was approved.
    pub worker: AppliedBy,
    /// What introspection found.
    pub catalog: Arc<CatalogSnapshot>,
}

/// Who applies what was approved for a source: one kind of worker, so that no two do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppliedBy {
    /// `pgwicket worker`.
    Ours,
    /// A worker of somebody else's, over the control API.
    External,
}

/// libpq's `sslmode`, less the modes that fall back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceTls {
    /// No TLS.
    Disable,
    /// TLS, certificate not checked.
    Require,
    /// TLS, certificate chain checked.
    VerifyCa,
    /// TLS, chain and host name checked.
    VerifyFull,
}

/// An agent and all it may see.
#[derive(Debug)]
pub struct Agent {
    /// Login name.
    pub name: AgentName,
    /// How it proves itself.
    pub auth: AgentAuth,
    /// The tenant the policy binds it to.
    pub tenant: Option<TenantId>,
    /// Tokens that bind a connection to a tenant after it was made.
    pub session_token: Option<Arc<TokenRules>>,
    /// Alias schemas in the policy's order, which is also the default virtual `search_path`.
    pub schemas: Vec<Arc<ExposedSchema>>,
    /// Functions outside the reviewed list that this agent may call.
    pub functions: Vec<ExposedFunction>,
    /// `EXPLAIN` allowed (off by default; costs speak of other tenants' rows).
    pub allow_explain: bool,
    /// `statement_timeout` the agent may set at most; also its default.
    pub statement_timeout: Duration,
    /// Client connections of this agent at most.
    pub max_connections: usize,
    /// What it may ask for in a window of time.
    pub limits: Limits,
    /// When an outcome counts as durable.
    pub durability: Durability,
    /// Whether bind parameters are kept in evidence as they are; otherwise only their count and digest.
    pub evidence_parameters: bool,
    /// The database as the agent sees it, for the virtual catalog.
    pub visible: Arc<Visible>,
}

/// What an agent may ask for in a window of time, for each tenant that it acts for. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Statements in a minute of the clock.
    pub statements_per_minute: Option<u64>,
    /// Statements that run at the same time.
    pub concurrent_statements: Option<u64>,
    /// Rows in a day (UTC). The statement that passes it ends; the next is refused.
    pub rows_per_day: Option<u64>,
    /// Bytes of rows in a day (UTC), as the wire has them.
    pub bytes_per_day: Option<u64>,
    /// Proposals that are open at the same time.
    pub open_proposals: u64,
    /// Bytes that open proposals hold.
    pub open_proposal_bytes: u64,
    /// Who can raise them, for the message.
    pub raised_by: Option<Box<str>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statements_per_minute: None,
            concurrent_statements: None,
            rows_per_day: None,
            bytes_per_day: None,
            open_proposals: 1000,
            open_proposal_bytes: 64 * 1024 * 1024,
            raised_by: None,
        }
    }
}

/// How an agent proves itself.
#[derive(Debug, Clone)]
pub enum AgentAuth {
    /// SCRAM-SHA-256 with a password held as a secret reference.
    ScramPassword(Secret),
    /// SCRAM-SHA-256 with PostgreSQL's stored form `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    ScramVerifier(Secret),
    /// A token, and how it is handed over.
    Token(Arc<TokenRules>, TokenMethod),
    /// A client certificate.
    Certificate(CertificateName),
}

impl AgentAuth {
    /// Whether a token says the same under both; true of two logins without one.
    pub fn same_token_rules(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one, _), Self::Token(two, _)) => one == two,
            (Self::Token(..), _) | (_, Self::Token(..)) => false,
            (Self::ScramPassword(_) | Self::ScramVerifier(_) | Self::Certificate(_), _) => true,
        }
    }
}

/// Journal durability (DESIGN.md, "Evidence").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives kill -9; power loss is bounded by the group-commit interval.
    Group,
    /// `fdatasync` before `CommandComplete`.
    Strict,
}

/// A schema as agents see it. All relations of one schema live in one source.
#[derive(Debug)]
pub struct ExposedSchema {
    /// Alias name.
    pub name: Box<str>,
    /// The source behind it.
    pub source: SourceName,
    /// Relations by alias name.
    pub relations: BTreeMap<Box<str>, Arc<ExposedRelation>>,
}

/// A relation as agents see it.
#[derive(Debug)]
pub struct ExposedRelation {
    /// Alias schema.
    pub schema: Box<str>,
    /// Alias name.
    pub name: Box<str>,
    /// The source behind it.
    pub source: SourceName,
    /// Real schema.
    pub real_schema: Box<str>,
    /// Real relation name.
    pub real_name: Box<str>,
    /// The allowed columns, in policy order.
    pub columns: Vec<ExposedColumn>,
    /// Which rows are a tenant's.
    pub tenant: TenantRule,
    /// The policy's own row filter.
    pub filter: Option<RowFilter>,
    /// Primary key by exposed column names; empty when not (all) exposed.
    pub primary_key: Vec<Box<str>>,
    /// Rows a statement that reads this relation may return at most.
    pub max_rows: Option<u64>,
    /// Row bytes (DataRow messages) a statement may return at most.
    pub max_bytes: Option<u64>,
    /// What happens past a limit.
    pub on_limit: OnLimit,
    /// How rows are kept in evidence.
    pub evidence: EvidenceRows,
    /// What the relation is, for agents.
    pub description: Option<Box<str>>,
    /// What may be proposed; `None` is nothing.
    pub writes: Option<Writes>,
}

/// What agents may propose to change in a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writes {
    /// Columns an UPDATE may assign; empty: no UPDATE. Never a key, tenant, conflict or masked column.
    pub update: Vec<Box<str>>,
    /// Columns an INSERT may give, the primary key's among them where agents give it; empty: no INSERT. The tenant column
    /// is not among them: it is the principal's.
    pub insert: Vec<Box<str>>,
    /// Whether DELETE may be proposed.
    pub delete: bool,
    /// The exposed column that changes with every update of a row.
    pub conflict_column: Option<Box<str>>,
    /// Rows one proposal may change.
    pub max_rows: u64,
    /// How long a proposal waits for a decision.
    pub ttl: Duration,
    /// What the client is told.
    pub on_write: OnWrite,
    /// Whether a worker may apply without a receipt table in the source.
    pub receipts: Receipts,
    /// What new rows and new values are held against.
    pub check: RowCheck,
}

/// What the rows that a proposal makes are held against. What it touches always has to pass the row filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowCheck {
    /// The row filter: a row does not leave it.
    Filter,
    /// Nothing: a row may leave the filter.
    None,
}

/// What a client is told when its write was stored as a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWrite {
    /// An error, 25006: nothing was written.
    Error,
    /// CommandComplete and a NOTICE, for clients that cannot bear an error.
    Notice,
}

/// How a worker makes sure that it applies once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// By a row in `pgwicket_receipts`, in the same transaction.
    Required,
    /// By the before-image alone.
    None,
}

/// A column as agents see it.
#[derive(Debug)]
pub struct ExposedColumn {
    /// Name, the same in the source.
    pub name: Box<str>,
    /// Type in the source (`atttypid`).
    pub type_oid: Oid,
    /// The type below every domain.
    pub base_type_oid: Oid,
    /// `format_type`, for people.
    pub type_name: Box<str>,
    /// `attnotnull`.
    pub not_null: bool,
    /// False for a nondeterministic collation.
    pub deterministic_collation: bool,
    /// Its collation, 0 for none; `None` when the catalog snapshot does not know.
    pub collation: Option<Oid>,
    /// Whether its values are stored and not computed as rows are read.
    pub stored: bool,
    /// How its value is hidden.
    pub mask: Option<Mask>,
    /// What the column is, for agents.
    pub description: Option<Box<str>>,
}

/// How a column's value is hidden. NULL stays NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// Always NULL, of the column's own type.
    Null,
    /// Keyed SHA-256 of the text form, in hex; the key travels as a bind parameter. Type text.
    Hash(Secret),
    /// `***` and the last n characters of the text form (`***` alone when it has n or fewer). Type text.
    Last(u32),
    /// This text, cast to the column's type.
    Constant(Box<str>),
}

/// Which rows of a relation are a tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRule {
    /// Rows whose column equals the principal's tenant.
    Column {
        /// The real column; it need not be exposed.
        name: Box<str>,
        /// Base type of the column, the declared type of the bind parameter.
        type_oid: Oid,
        /// `format_type`, for people.
        type_name: Box<str>,
    },
    /// The relation holds no tenant's rows (`single_tenant: true`).
    Single,
}

impl TenantRule {
    /// Whether a value of the column is this tenant to the letter: `char(n)` does not tell trailing blanks apart, and a length cuts them off,
    /// so that one tenant would be another.
    pub fn keeps(&self, tenant: &str) -> bool {
        const BPCHAR: Oid = 1042;
        const VARCHAR: Oid = 1043;
        let Self::Column { type_oid: of_type @ (BPCHAR | VARCHAR), type_name, .. } = self else { return true };
        let length = type_name.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')?.parse::<usize>().ok());
        let cut = length.is_some_and(|length| tenant.chars().count() > length);
        !cut && (*of_type != BPCHAR || !tenant.ends_with(' '))
    }
}

/// The policy's own predicate over the real relation's columns, checked at compile time: one boolean
/// expression, columns of this relation only, functions and operators of the reviewed list, no subquery, nothing
/// that a setting of the session moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFilter {
    /// The expression as it runs, comments stripped.
    pub text: Box<str>,
    /// As the policy has it, where a constant or an expression is written otherwise to mean the same in every session.
    pub written: Option<Box<str>>,
    /// Whether every part is leakproof; if not, it runs above a fence that holds the tenant predicate.
    pub leakproof: bool,
    /// Whether it raises no error on any row; if not, what an error says of values is not told.
    pub total: bool,
}

/// A function outside the reviewed list that a policy allows by exact name and signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedFunction {
    /// Real schema.
    pub schema: Box<str>,
    /// Function name.
    pub name: Box<str>,
    /// Number of arguments.
    pub arguments: usize,
}

/// A statement's row or byte limit, from the tightest relation it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLimit {
    /// Rows at most.
    pub rows: Option<u64>,
    /// Bytes of DataRow messages at most.
    pub bytes: Option<u64>,
    /// What happens past it.
    pub on_limit: OnLimit,
}

/// What happens past a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLimit {
    /// The statement ends with 53400.
    Error,
    /// It ends normally, with a WARNING that says truncated and after how many rows.
    Truncate,
}

/// How rows are kept in evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceRows {
    /// All rows, compressed, up to this many bytes; then digest and a truncation mark.
    Full {
        /// Byte cap per statement.
        max_bytes: u64,
    },
    /// The digest only.
    Digest,
    /// The first n rows, and the digest.
    Sample {
        /// Rows kept.
        rows: u64,
    },
}
