//! Policy: the YAML document, its checks, and the compiled, immutable [`PolicySet`].
//! May use: `types`, `sql`, `proposal`. Never: I/O (files are read by `config`), clocks, randomness, logging.
//! Invariant: a [`PolicySet`] names only relations and columns that the introspected catalog has.

mod approvals;
mod bundle;
mod cases;
mod compile;
mod decode;
mod document;
mod foreign;
mod identity;
mod identity_document;
mod literal;
mod model;
mod permit;
mod problem;
mod reference;
mod review_document;
mod schema;
mod settlement;
#[cfg(test)]
mod tests;
mod visible;
mod yaml;

pub use approvals::{Approvers, NotApprovable, NotApproved, Occasion};
pub use bundle::{Bundle, PolicyFile};
pub use cases::{Expected, PolicyCase, cases};
pub use compile::{Compiled, Inputs, check, clean, compile, sources, sources_without_urls};
pub use foreign::{Among, ForeignGuard};
pub use identity::{CertificateName, KeySource, NameKind, TokenMethod, TokenRules};
pub use literal::LiteralProposal;
pub use model::{
    Agent, AgentAuth, AppliedBy, ApprovalRule, Durability, EvidenceRows, ExposedColumn, ExposedFunction, ExposedRelation, ExposedSchema,
    Limits, Mask, OnLimit, OnWrite, PolicySet, Receipts, Reviewer, RowCheck, RowFilter, RowLimit, Source, SourceTls, TenantRule, Writes,
};
pub use permit::{ApprovedChange, Guards, NotPermitted};
pub use problem::{Place, PolicyErrors, Problem, Severity};
pub use reference::{Reference, Resolved};
pub use schema::json_schema;
pub use settlement::SettlementRule;
pub use visible::{
    CATALOG_PREFIX, Place as VisiblePlace, Visible, VisibleColumn, VisibleForeignKey, VisibleRelation, VisibleSchema, VisibleType,
    VisibleTypeKind,
};
