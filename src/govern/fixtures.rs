//! What tests of this room share besides their policy: the rules of its table `t`.

use crate::sql::rules::{ColumnRule, Fill, IndexKind, IndexPart, TableRules, UniqueIndex};

/// The key of `t`, a unique index over its tenant and subject, one over an expression of some rows, and a default.
pub(super) fn rules() -> TableRules {
    let part = |column: Option<&str>, expression: Option<&str>| IndexPart {
        column: column.map(Into::into),
        expression: expression.map(Into::into),
        class: "any_ops".into(),
        default_class: true,
        collation: 100,
        collation_name: "default".into(),
        deterministic: true,
        operator: "=".into(),
        built_in: true,
    };
    let index = |name: &str, kind: IndexKind, predicate: Option<&str>, parts: Vec<IndexPart>| UniqueIndex {
        name: name.into(),
        kind,
        deferrable: false,
        nulls_equal: false,
        predicate: predicate.map(Into::into),
        parts,
    };
    TableRules {
        schema: "public".into(),
        name: "real_t".into(),
        columns: vec![ColumnRule { name: "amount".into(), expression: Some("7".into()), fill: Fill::Default }],
        fills_in: false,
        acts_before: false,
        checks: Vec::new(),
        indexes: vec![
            index("real_t_pkey", IndexKind::PrimaryKey, None, vec![part(Some("id"), None)]),
            index("real_t_subject", IndexKind::Unique, None, vec![part(Some("tenant_id"), None), part(Some("subject"), None)]),
            index("real_t_part", IndexKind::Index, Some("(amount > 5)"), vec![part(None, Some("lower(subject)"))]),
        ],
    }
}
