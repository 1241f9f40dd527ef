//! The Cedar schema that a rule's policies are checked against: made of the relations it is for.

use std::collections::BTreeMap;

use crate::sql::catalog::Oid;

/// How a column's value looks to Cedar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum ColumnKind {
    /// smallint, integer, bigint: `Long`
    Long,
    /// numeric: `decimal`
    Decimal,
    /// boolean: `Bool`
    Bool,
    /// Everything else, in its text form: `String`
    Text,
}

/// The columns of a rule's relations, by name.
pub(in crate::policy) type Columns = BTreeMap<Box<str>, ColumnKind>;

impl ColumnKind {
    /// The kind of a type below every domain.
    pub(in crate::policy) fn of(base_type: Oid) -> Self {
        match base_type {
            16 => Self::Bool,
            20 | 21 | 23 => Self::Long,
            1700 => Self::Decimal,
            _ => Self::Text,
        }
    }

    fn cedar(self) -> &'static str {
        match self {
            Self::Long => "Long",
            Self::Decimal => "decimal",
            Self::Bool => "Bool",
            Self::Text => "String",
        }
    }
}

/// The schema in Cedar's own notation. A column that two relations have with different types is text.
pub(in crate::policy) fn schema_text(columns: &Columns) -> String {
    let attributes: Vec<String> = columns.iter().map(|(name, kind)| format!("  {name:?}?: {},\n", kind.cedar())).collect();
    format!(
        r#"entity Agent = {{ tenant?: String, run?: String }};
entity AliasSchema;
entity Relation in [AliasSchema] = {{ schema: String, name: String, source: String }};
type Row = {{
{}}};
type Day = {{ count: Long, rows: Long, sum: decimal }};
action "insert", "update", "delete" appliesTo {{
  principal: [Agent],
  resource: [Relation],
  context: {{
    verb: String,
    rows: Long,
    reason: Bool,
    changed: Set<String>,
    defaults: Set<String>,
    key: Row,
    before: Row,
    after: Row,
    sum: decimal,
    now: datetime,
    hour: Long,
    weekday: Long,
    day: Day,
  }},
}};
"#,
        attributes.concat()
    )
}
