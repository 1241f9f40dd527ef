//! Policy: the YAML document, its checks, and the compiled, immutable [`PolicySet`].
//! May use: `types`, `sql`. Never: I/O (files are read by `config`), clocks, randomness, logging.
//! Invariant: a [`PolicySet`] names only relations and columns that the introspected catalog has.

mod model;

pub use model::{
    Agent, AgentAuth, Durability, EvidenceRows, ExposedColumn, ExposedFunction, ExposedRelation, ExposedSchema, Mask, OnLimit, PolicySet,
    RowFilter, RowLimit, Source, SourceTls, TenantRule,
};
