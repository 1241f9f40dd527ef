//! The policy files as they are written. The names here are the names in the YAML.

use std::time::Duration;

use super::{
    AppliedBy, Durability, OnLimit, OnWrite, Receipts, RowCheck, SourceTls,
    decode::{Bytes, Decode, Given, Named, Spanned, document, text, text_schema, word, words},
    identity_document::{CertificateDocument, TokenDocument},
    problem::Problems,
    reference::{FileReference, SecretReference, VerifierReference},
    review_document::{ApprovalsDocument, DeploymentText, ReviewerDocument},
    yaml::{Node, Value},
};

document! {
    /// A pgwicket policy file. Every file of the directory is compiled as one.
    struct PolicyDocument ("a policy") {
        /// The name of where this policy is in force, e.g. `production`: as it is, `env:NAME` or `file:PATH`. What was decided
        /// under another name counts for nothing.
        deployment: Option<DeploymentText>,
        /// The key of every `hash` mask whose schema has none of its own.
        mask_key: Option<SecretReference>,
        /// The databases, by a name of your choice.
        #[schemars(with = "Option<Named<SourceDocument>>")]
        sources: Named<SourceDocument>,
        /// What agents see, by alias schema.
        #[schemars(with = "Option<Named<SchemaDocument>>")]
        schemas: Named<SchemaDocument>,
        /// Who may connect, by login name.
        #[schemars(with = "Option<Named<AgentDocument>>")]
        agents: Named<AgentDocument>,
        /// Who decides on proposals, by a name of your choice.
        #[schemars(with = "Option<Named<ReviewerDocument>>")]
        reviewers: Named<ReviewerDocument>,
        /// How proposals are approved; in one file of the policy.
        approvals: Option<Spanned<ApprovalsDocument>>,
    }
}

document! {
    /// A source database, reached with a read-only credential.
    struct SourceDocument ("a source") {
        /// What it is.
        kind: SourceKind,
        /// The connection URL of the read-only credential: `env:NAME` or `file:PATH`.
        url: SecretReference,
        /// TLS to the source; default `verify-full`.
        ssl: Option<SourceTls>,
        /// PEM file of the roots to trust instead of the system's.
        ssl_root_cert: Option<FileReference>,
        /// The only mode there is.
        mode: Option<Mode>,
        /// Upstream connections.
        pool: Option<PoolDocument>,
        /// Longest a statement may run; default 30s, 0 is no limit.
        #[schemars(with = "Option<DurationText>")]
        statement_timeout: Option<Duration>,
        /// Longest a statement may wait for a lock; default 5s.
        #[schemars(with = "Option<DurationText>")]
        lock_timeout: Option<Duration>,
        /// Longest an open transaction may stay idle; default 60s.
        #[schemars(with = "Option<DurationText>")]
        idle_in_transaction_session_timeout: Option<Duration>,
        /// Longest a transaction may be open at the source, whatever it does; default 60s, or twice `statement_timeout` if that is longer.
        #[schemars(with = "Option<DurationText>")]
        transaction_timeout: Option<Duration>,
        /// Take a credential that could write, with a warning; default false.
        allow_writable_credential: Option<bool>,
        /// Who applies what was approved: `ours` (default), `pgwicket worker`; or `external`, a worker over the control API.
        worker: Option<AppliedBy>,
    }
}

document! {
    /// Upstream connections of one pgwicket process.
    struct PoolDocument ("a pool") {
        /// At most this many; default 20.
        max: Option<Spanned<u64>>,
        /// Longest a statement waits for one; default 5s.
        #[schemars(with = "Option<DurationText>")]
        wait: Option<Duration>,
    }
}

document! {
    /// A schema as agents see it; all its relations live in one source.
    struct SchemaDocument ("a schema") {
        /// The name of a source.
        source: Spanned<String>,
        /// The key of `hash` masks in this schema.
        mask_key: Option<SecretReference>,
        /// Relations by alias name.
        relations: Named<Spanned<RelationDocument>>,
    }
}

document! {
    /// A table or view as agents see it.
    struct RelationDocument ("a relation") {
        /// The real relation: `schema.name`, names as PostgreSQL stores them.
        from: Spanned<String>,
        /// The column that says whose row it is. This or `single_tenant: true` is required.
        #[schemars(with = "Option<Spanned<String>>")]
        tenant_column: Given<Spanned<String>>,
        /// The relation holds no tenant's rows.
        #[schemars(with = "Option<Spanned<bool>>")]
        single_tenant: Given<Spanned<bool>>,
        /// The columns agents may see, in this order.
        columns: Vec<Spanned<String>>,
        /// A row filter: one boolean SQL expression over the real columns.
        filter as "where": Option<Spanned<String>>,
        /// Columns that name one row; default the table's own primary key when it is exposed.
        primary_key: Option<Vec<Spanned<String>>>,
        /// Rows a statement over this relation may return; default no limit.
        max_rows: Option<Spanned<u64>>,
        /// Bytes a statement over this relation may return; default no limit.
        max_bytes: Option<Bytes>,
        /// Past a limit: `error` (default) or `truncate` with a warning.
        on_limit: Option<OnLimit>,
        /// How rows are kept in evidence; default `full`.
        evidence: Option<EvidenceDocument>,
        /// What the relation is, for agents.
        description: Option<String>,
        /// What columns are, for agents.
        #[schemars(with = "Option<Named<String>>")]
        column_descriptions: Named<String>,
        /// Columns whose value agents must not see: `null`, `hash`, `{last: 4}`, `{constant: text}`.
        #[schemars(with = "Option<Named<MaskDocument>>")]
        masks: Named<MaskDocument>,
        /// What may be proposed.
        writes: Option<Spanned<WritesDocument>>,
    }
}

document! {
    /// What agents may propose to change. What is not here cannot be proposed.
    struct WritesDocument ("writes") {
        /// Columns an UPDATE may assign.
        update: Option<Vec<Spanned<String>>>,
        /// Columns an INSERT may give. The tenant column is filled in.
        insert: Option<Vec<Spanned<String>>>,
        /// Whether a DELETE may be proposed; default false.
        delete: Option<bool>,
        /// The column that changes with every update of a row, e.g. `updated_at`.
        conflict_column: Option<Spanned<String>>,
        /// Rows one proposal may change; default 100.
        max_rows: Option<Spanned<u64>>,
        /// How long a proposal waits for a decision; default 24h.
        #[schemars(with = "Option<DurationText>")]
        ttl: Option<Duration>,
        /// What the client gets: `error` (default), or `notice` for clients that cannot bear an error.
        on_write: Option<OnWrite>,
        /// Whether a worker needs a receipt table in the source: `required` (default) or `none`.
        receipts: Option<Receipts>,
        /// What new rows and new values are held against: the row filter, `filter` (default), or `none`, where rows may leave it.
        check: Option<RowCheck>,
    }
}

document! {
    /// Who may connect, and what it may see.
    struct AgentDocument ("an agent") {
        /// How it proves itself.
        auth: Spanned<AuthDocument>,
        /// The tenant whose rows it sees. Left out where a token's claim says it.
        #[schemars(with = "Option<ScalarText>")]
        tenant: Given<Spanned<String>>,
        /// Tokens that bind one of its connections to a tenant: `SET pgwicket.session_token = '…'`.
        #[schemars(with = "Option<TokenDocument>")]
        session_token: Given<Spanned<TokenDocument>>,
        /// Alias schemas, in `search_path` order.
        schemas: Vec<Spanned<String>>,
        /// Functions of the source it may call besides the reviewed ones: `schema.name(type, …)`.
        functions: Option<Vec<Spanned<String>>>,
        /// May use EXPLAIN; default false. Without effect so far: EXPLAIN is not supported.
        allow_explain: Option<Spanned<bool>>,
        /// Longest a statement of this agent may run; default the source's.
        #[schemars(with = "Option<DurationText>")]
        statement_timeout: Option<Duration>,
        /// Connections at the same time; default 100.
        max_connections: Option<Spanned<u64>>,
        /// What it may ask for in a window of time, for each tenant that it acts for.
        limits: Option<Spanned<LimitsDocument>>,
        /// When evidence counts as durable: `group` (default) or `strict`.
        durability: Option<Durability>,
        /// Bind parameters in evidence: `full` (default) or `redact`.
        evidence_parameters: Option<EvidenceParameters>,
    }
}

document! {
    /// What an agent may ask for in a window of time. What is left out has no limit.
    struct LimitsDocument ("limits") {
        /// Statements in a minute of the clock.
        statements_per_minute: Option<Spanned<u64>>,
        /// Statements that run at the same time.
        concurrent_statements: Option<Spanned<u64>>,
        /// Rows in a day (UTC).
        rows_per_day: Option<Spanned<u64>>,
        /// Bytes of rows in a day (UTC).
        bytes_per_day: Option<Spanned<Bytes>>,
        /// Proposals that are open at the same time; default 1000.
        open_proposals: Option<Spanned<u64>>,
        /// Bytes that open proposals hold; default 64MiB.
        open_proposal_bytes: Option<Spanned<Bytes>>,
        /// Who can raise them: a name or address for the message of the error.
        raised_by: Option<Spanned<String>>,
    }
}

document! {
    /// How an agent proves itself: in one of these ways.
    struct AuthDocument ("auth") {
        /// SCRAM-SHA-256 with this password.
        #[schemars(with = "Option<SecretReference>")]
        scram: Given<SecretReference>,
        /// SCRAM-SHA-256 with PostgreSQL's stored verifier.
        #[schemars(with = "Option<VerifierReference>")]
        scram_verifier: Given<VerifierReference>,
        /// A token (JWT): over TLS, in the password field or by OAUTHBEARER.
        #[schemars(with = "Option<TokenDocument>")]
        token: Given<Spanned<TokenDocument>>,
        /// A client certificate that the server's `--tls-client-ca` vouches for.
        #[schemars(with = "Option<CertificateDocument>")]
        certificate: Given<Spanned<CertificateDocument>>,
    }
}

/// `kind` of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// PostgreSQL 15 to 18.
    Postgres,
}

/// `mode` of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Reads only.
    ReadOnly,
}

/// `evidence_parameters` of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvidenceParameters {
    /// As they are.
    Full,
    /// Count and digest.
    Redact,
}

words!(SourceKind, "SourceKind", "postgres" => Self::Postgres);
words!(Mode, "Mode", "read-only" => Self::ReadOnly);
words!(EvidenceParameters, "EvidenceParameters", "full" => Self::Full, "redact" => Self::Redact);
words!(AppliedBy, "AppliedBy", "ours" => Self::Ours, "external" => Self::External);
words!(OnLimit, "OnLimit", "error" => Self::Error, "truncate" => Self::Truncate);
words!(OnWrite, "OnWrite", "error" => Self::Error, "notice" => Self::Notice);
words!(RowCheck, "RowCheck", "filter" => Self::Filter, "none" => Self::None);
words!(Receipts, "Receipts", "required" => Self::Required, "none" => Self::None);
words!(Durability, "Durability", "group" => Self::Group, "strict" => Self::Strict);
words!(SourceTls, "SourceTls",
    "disable" => Self::Disable, "require" => Self::Require, "verify-ca" => Self::VerifyCa, "verify-full" => Self::VerifyFull);

/// `evidence` of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvidenceDocument {
    /// `full` or `{full: {max_bytes: 16MiB}}`
    Full {
        /// Cap, when given.
        max_bytes: Option<Bytes>,
    },
    /// `digest`
    Digest,
    /// `sample` or `{sample: {rows: 10}}`
    Sample {
        /// Rows, when given.
        rows: Option<u64>,
    },
}

document! {
    /// `{full: …}` or `{sample: …}`
    struct EvidenceOptions ("evidence") {
        /// Keep all rows, up to a cap.
        full: Option<FullOptions>,
        /// Keep the first rows.
        sample: Option<SampleOptions>,
    }
}

document! {
    /// Options of `full`.
    struct FullOptions ("full") {
        /// Bytes of rows kept for one statement; default 16MiB.
        max_bytes: Bytes,
    }
}

document! {
    /// Options of `sample`.
    struct SampleOptions ("sample") {
        /// Rows kept for one statement; default 10.
        rows: u64,
    }
}

impl Decode for EvidenceDocument {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Value::Scalar { .. } = node.value {
            let words = [("full", Self::Full { max_bytes: None }), ("digest", Self::Digest), ("sample", Self::Sample { rows: None })];
            return word(node, &words, problems);
        }
        let options = EvidenceOptions::decode(node, problems)?;
        match (options.full, options.sample) {
            (Some(full), None) => Some(Self::Full { max_bytes: Some(full.max_bytes) }),
            (None, Some(sample)) => Some(Self::Sample { rows: Some(sample.rows) }),
            (Some(_), Some(_)) | (None, None) => {
                problems
                    .error(&node.at, "evidence is one of full, digest, sample")
                    .hint("write `evidence: full`, or `evidence: {sample: {rows: 10}}`");
                None
            }
        }
    }
}

/// How a column is masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MaskDocument {
    /// `null`
    Null,
    /// `hash`
    Hash,
    /// `{last: n}`
    Last(u64),
    /// `{constant: text}`
    Constant(String),
}

document! {
    /// `{last: n}` or `{constant: text}`
    struct MaskOptions ("a mask") {
        /// `***` and the last n characters.
        last: Option<u64>,
        /// Always this text.
        constant: Option<String>,
    }
}

impl Decode for MaskDocument {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        const HOW: &str = "write `null`, `hash`, `{last: 4}` or `{constant: \"text\"}`";
        // An empty value is more likely forgotten than meant.
        if node.is_null() && !node.text().is_empty() {
            return Some(Self::Null);
        }
        if let Value::Mapping(_) = node.value {
            let options = MaskOptions::decode(node, problems)?;
            return match (options.last, options.constant) {
                (Some(last), None) => Some(Self::Last(last)),
                (None, Some(constant)) => Some(Self::Constant(constant)),
                (Some(_), Some(_)) | (None, None) => {
                    problems.error(&node.at, "a mask is one of null, hash, last, constant").hint(HOW);
                    None
                }
            };
        }
        if text(node, "a mask", problems)? == "hash" {
            return Some(Self::Hash);
        }
        problems.error(&node.at, format!("{} is no mask", super::problem::shown(node.text()))).hint(HOW);
        None
    }
}

/// Text that may look like a number, for the JSON Schema.
#[derive(Debug)]
struct ScalarText;

/// A duration as text, for the JSON Schema.
#[derive(Debug)]
pub(super) struct DurationText;

text_schema!(DurationText, "Duration", { "type": ["string", "integer"], "pattern": "^[0-9]+ ?(ms|s|min|h)$|^0$", "maximum": 0, "minimum": 0 });
text_schema!(ScalarText, "Text", { "type": ["string", "integer"] });
text_schema!(EvidenceDocument, "Evidence", {
    "anyOf": [
        { "type": "string", "enum": ["full", "digest", "sample"] },
        { "type": "object", "additionalProperties": false, "required": ["full"], "properties": { "full": {
            "type": "object", "additionalProperties": false, "required": ["max_bytes"],
            "properties": { "max_bytes": { "type": ["string", "integer"], "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$|^0$" } } } } },
        { "type": "object", "additionalProperties": false, "required": ["sample"], "properties": { "sample": {
            "type": "object", "additionalProperties": false, "required": ["rows"],
            "properties": { "rows": { "type": "integer", "minimum": 0 } } } } }
    ]
});
text_schema!(MaskDocument, "Mask", {
    "anyOf": [
        { "type": "null" },
        { "type": "string", "const": "hash" },
        { "type": "object", "additionalProperties": false, "required": ["last"], "properties": { "last": { "type": "integer", "minimum": 1 } } },
        { "type": "object", "additionalProperties": false, "required": ["constant"],
          "properties": { "constant": { "type": ["string", "number", "boolean"] } } }
    ]
});
