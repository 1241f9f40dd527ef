//! Rows that a proposal would be in the way of: of keys, unique values and exclusion constraints, PostgreSQL refuses the statement at once.
//! It is told here of rows that the agent sees, and of none else; what other rows are in the way, the worker finds.

use super::{
    Context, WriteDraft,
    checks::{Asked, Check, after, alike, columns_of},
};
use crate::{
    govern::{Refusal, RefusalCode, kernel::identifier},
    policy::TenantRule,
    proposal::{Operation, RowChange, Value},
    sql::rules::Fill,
    types::TenantId,
};

/// An index that keeps two rows apart.
#[derive(Debug)]
pub(super) struct Apart {
    /// The columns that decide, the tenant's aside.
    columns: Vec<Box<str>>,
    /// The condition that the row `r` of the table is in the way of the new row `c`.
    there: String,
    /// The condition that the new row `d` is in the way of `c`.
    new: String,
    excludes: bool,
}

impl Context<'_> {
    /// What keeps two rows of the relation apart.
    pub(super) fn apart(&self) -> Vec<Apart> {
        // What a trigger does before, only the source knows.
        let rules = self.rules.filter(|rules| !rules.fills_in && !rules.acts_before);
        let seen = rules.map(|rules| self.seen(rules)).unwrap_or_default();
        let apart = seen.iter().filter(|arbiter| arbiter.is_of_all()).map(|arbiter| {
            let mut columns: Vec<Box<str>> = Context::deciding(arbiter).cloned().collect();
            columns.sort();
            columns.dedup();
            Apart { columns, there: arbiter.over(None), new: arbiter.over(Some("d")), excludes: arbiter.excludes }
        });
        apart.collect()
    }
}

impl WriteDraft {
    /// The statements that say whether a row that the agent sees, or one of the others, is in the way of what these changes make.
    pub(super) fn against_rows(&self, changes: &[RowChange], tenant: Option<&TenantId>) -> Result<Vec<Check>, Refusal> {
        let mut checks = Vec::new();
        if matches!(self.relation.tenant, TenantRule::Column { .. }) && tenant.is_none() {
            return Ok(checks);
        }
        let mut groups: Vec<&RowChange> = Vec::new();
        for change in changes.iter().filter(|change| change.operation != Operation::Delete) {
            if !groups.iter().any(|first| alike(first, change)) {
                groups.push(change);
            }
        }
        for first in groups {
            for apart in &self.apart {
                checks.extend(self.against_row(apart, first, changes)?);
            }
        }
        Ok(checks)
    }

    /// Whether a row is in the way of the changes that are like this one. `None`: they make nothing that the index is over, or what only
    /// the source knows.
    fn against_row<'c>(&self, apart: &Apart, first: &RowChange, changes: &'c [RowChange]) -> Result<Option<Check>, Refusal> {
        let update = first.operation == Operation::Update;
        if update && !first.after.iter().any(|cell| apart.columns.contains(&cell.column)) {
            return Ok(None);
        }
        let mut asked = Asked::of(changes.len());
        let member = asked.add(changes.iter().map(|change| alike(first, change).then_some("t")));
        let (mut carried, mut values) = (Vec::new(), Vec::new());
        for column in &apart.columns {
            let name = identifier(column);
            let given = first.after.iter().find(|cell| cell.column == *column).map(|cell| &cell.value);
            let value = match given {
                Some(Value::Default) if update => return Ok(None),
                Some(Value::Text(_) | Value::Null) => {
                    let place = asked.add(changes.iter().map(|change| after(change, column).filter(|_| alike(first, change))));
                    carried.push(format!("v.{place}"));
                    format!("CAST(n.{place} AS {})", self.sql_type(self.type_of(column)?)?)
                }
                // Computed anew, of what may change.
                None if update && self.is_generated(column) => return Ok(None),
                None if update => {
                    let place = format!("\"f{}\"", values.len());
                    carried.push(format!("t.{name} AS {place}"));
                    format!("n.{place}")
                }
                Some(Value::Default) | None => match self.unless_given(column, &mut asked)? {
                    Some(value) => value,
                    None => return Ok(None),
                },
            };
            values.push(format!("{value} AS {name}"));
        }
        let touches = changes.iter().any(|change| change.operation != Operation::Insert);
        let mut key = Vec::new();
        for column in self.relation.primary_key.iter().filter(|_| touches) {
            let text = |change: &'c RowChange| change.key.iter().find(|cell| cell.column == *column)?.value.text();
            let place =
                asked.add(changes.iter().map(|change| Some(change).filter(|change| change.operation != Operation::Insert).and_then(text)));
            key.push((identifier(column), place, self.sql_type(self.type_of(column)?)?));
        }
        // The same row, `row` of the table and the one of the values.
        let same = |row: &str, values: &str| {
            let pairs = key.iter().map(|(column, place, of)| format!("{row}.{column} = CAST({values}.{place} AS {of})"));
            pairs.collect::<Vec<_>>().join(" AND ")
        };
        let tenants = match &self.relation.tenant {
            TenantRule::Column { name, type_oid, .. } => {
                asked.tenant = Some(*type_oid);
                Some(identifier(name))
            }
            TenantRule::Single => None,
        };
        let of_tenant = |row: &str| tenants.as_ref().map(|name| format!(" AND {row}.{name} = $2")).unwrap_or_default();
        let records = asked.recordset();
        let join = if update { format!(" JOIN {} AS t ON {}{}", self.table(), same("t", "v"), of_tenant("t")) } else { String::new() };
        let carried: String = carried.iter().fold(String::new(), |all, column| all + ", " + column);
        let new = format!("SELECT v.\"n\"{carried} FROM {records}{join} WHERE v.{member} = 't' OFFSET 0");
        let values: String = values.iter().fold(String::new(), |all, value| all + ", " + value);
        // What the statement itself changes or takes away is another row then.
        let others = if touches { format!(" AND NOT EXISTS (SELECT FROM {records} WHERE {})", same("r", "v")) } else { String::new() };
        // A row of a table that inherits has an index of its own.
        let kind = self.catalog.relation(&self.relation.real_schema, &self.relation.real_name).map(|real| real.kind);
        let only = if kind == Some('r') { "ONLY " } else { "" };
        let rows = format!("FROM {only}{} AS r WHERE {}{}{others}", self.table(), apart.there, of_tenant("r"));
        let rows = match &self.relation.filter {
            None => format!("SELECT {rows}"),
            Some(filter) => {
                let read = columns_of(filter)?.iter().map(|column| format!("r.{}", identifier(column))).collect::<Vec<_>>().join(", ");
                format!("SELECT FROM (SELECT {read} {rows} OFFSET 0) AS r WHERE ({})", filter.text)
            }
        };
        let text = format!(
            "WITH c AS MATERIALIZED (SELECT n.\"n\" AS \"pgwicket_n\"{values} FROM ({new}) AS n) SELECT c.\"pgwicket_n\" FROM c \
             WHERE EXISTS ({rows}) OR EXISTS (SELECT FROM c AS d WHERE d.\"pgwicket_n\" < c.\"pgwicket_n\" AND {})",
            apart.new
        );
        Ok(Some(Check { statement: self.asking(&text, asked), broken: self.in_the_way(apart) }))
    }

    fn is_generated(&self, column: &str) -> bool {
        let rules = self.catalog.rules(&self.relation.real_schema, &self.relation.real_name);
        rules.is_some_and(|rules| rules.column(column).is_some_and(|rule| rule.fill == Fill::Generated))
    }

    fn in_the_way(&self, apart: &Apart) -> Refusal {
        let (code, what) = if apart.excludes {
            (RefusalCode::Exclusion, "conflicting key value violates an exclusion constraint")
        } else {
            (RefusalCode::Unique, "duplicate key value violates a unique constraint")
        };
        let columns = apart.columns.join(", ");
        Refusal::new(code, format!("{what} of relation \"{}\"", self.relation.name))
            .detail(format!("a row that you see, or another of the new rows, is in its way by ({columns})"))
            .hint("look at that row with a SELECT; change it by an UPDATE, or use INSERT … ON CONFLICT")
    }
}
