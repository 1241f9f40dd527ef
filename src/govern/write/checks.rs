//! What a proposal's rows are held against before it is stored: the row filter, for what the rows would be, and the rows that its foreign
//! keys refer to. Each is a statement of pgwicket's own over the source; values travel as one parameter, and nothing in the text is a
//! client's.

use serde_json::{Map, Value as Json, json};

use super::{WriteDraft, unread};
use crate::{
    govern::{Appended, AppendedValue, GovernedStatement, Refusal, RefusalCode, kernel::identifier},
    policy::{ForeignGuard, RowCheck, RowFilter, TenantRule},
    proposal::{Operation, RowChange, Value},
    sql::{Tree, allow, catalog::Oid, parse_select, rules::Fill},
    types::TenantId,
};

/// `jsonb` in `pg_type`.
pub(super) const JSONB: Oid = 3802;

/// A statement that returns a row for each change that breaks a rule, and what is then answered.
#[derive(Debug)]
pub struct Check {
    /// The statement.
    pub statement: GovernedStatement,
    /// What a row of it means.
    pub broken: Refusal,
}

/// A statement that is being written.
#[derive(Default)]
pub(super) struct Asked {
    /// One object for each change.
    rows: Vec<Map<String, Json>>,
    /// Names of the values in it.
    values: usize,
    /// The tenant is asked for as `$2`.
    pub(super) tenant: Option<Oid>,
}

impl WriteDraft {
    /// The statements that say whether these changes may be. What may be the repeat of an earlier statement is not held against the rows that
    /// are there.
    ///
    /// # Errors
    /// A value or type that cannot be written.
    pub fn checks(&self, changes: &[RowChange], tenant: Option<&TenantId>, repeated: bool) -> Result<Vec<Check>, Refusal> {
        let mut checks = Vec::new();
        let checked = self.relation.writes.as_ref().is_some_and(|writes| writes.check == RowCheck::Filter);
        if let Some(filter) = self.relation.filter.as_ref().filter(|_| checked) {
            let reads = columns_of(filter)?;
            let mut groups: Vec<Vec<&RowChange>> = Vec::new();
            for change in changes.iter().filter(|change| change.operation != Operation::Delete) {
                match groups.iter_mut().find(|group| group.first().is_some_and(|first| alike(first, change))) {
                    Some(group) => group.push(change),
                    None => groups.push(vec![change]),
                }
            }
            for group in groups {
                checks.extend(self.against_filter(&group, filter, &reads)?);
            }
        }
        if !repeated {
            checks.extend(self.against_rows(changes, tenant)?);
        }
        for guard in self.foreign.iter().filter(|guard| guard.readable) {
            checks.extend(self.against_key(changes, guard, tenant)?);
        }
        Ok(checks)
    }

    /// Whether the filter holds of what these changes make. `None`: it reads nothing that they change, or what only the source knows.
    fn against_filter(&self, group: &[&RowChange], filter: &RowFilter, reads: &[Box<str>]) -> Result<Option<Check>, Refusal> {
        let Some(first) = group.first() else { return Ok(None) };
        let update = first.operation == Operation::Update;
        if update && !first.after.iter().any(|cell| reads.contains(&cell.column)) {
            return Ok(None);
        }
        let mut asked = Asked::of(group.len());
        let (mut carried, mut values) = (Vec::new(), Vec::new());
        for column in reads {
            let name = identifier(column);
            let given = first.after.iter().find(|cell| cell.column == *column).map(|cell| &cell.value);
            let value = match given {
                Some(Value::Default) if update => return Ok(None),
                Some(Value::Text(_) | Value::Null) => {
                    let place = asked.add(group.iter().map(|change| after(change, column)));
                    carried.push(format!("v.{place}"));
                    format!("CAST(c.{place} AS {})", self.sql_type(self.type_of(column)?)?)
                }
                None if update => {
                    let place = format!("\"f{}\"", values.len());
                    carried.push(format!("r.{name} AS {place}"));
                    format!("c.{place}")
                }
                Some(Value::Default) | None => match self.unless_given(column, &mut asked)? {
                    Some(value) => value,
                    None => return Ok(None),
                },
            };
            values.push(format!("{value} AS {name}"));
        }
        let mut from = String::new();
        if update {
            let mut conditions = Vec::new();
            for (place, key) in first.key.iter().enumerate() {
                let value = asked.add(group.iter().map(|change| change.key.get(place).and_then(|cell| cell.value.text())));
                conditions.push(format!(
                    "r.{} = CAST(v.{value} AS {})",
                    identifier(&key.column),
                    self.sql_type(self.type_of(&key.column)?)?
                ));
            }
            if let TenantRule::Column { name, type_oid, .. } = &self.relation.tenant {
                asked.tenant = Some(*type_oid);
                conditions.push(format!("r.{} = $2", identifier(name)));
            }
            from = format!(" JOIN {} AS r ON {}", self.table(), conditions.join(" AND "));
        }
        let carried: String = carried.iter().fold(String::new(), |all, column| all + ", " + column);
        let inner = format!("SELECT v.\"n\"{carried} FROM {}{from} OFFSET 0", asked.recordset());
        let text = format!(
            "SELECT c.\"n\" FROM ({inner}) AS c WHERE (SELECT ({}) FROM (SELECT {}) AS \"x\") IS NOT TRUE",
            filter.text,
            values.join(", ")
        );
        let message = format!("new row violates the row filter of the policy for relation \"{}\"", self.relation.name);
        let broken = Refusal::new(RefusalCode::Denied, message)
            .hint("you could not see the row afterwards; a policy lets rows leave its filter with `check: none`");
        Ok(Some(Check { statement: self.asking(&text, asked), broken }))
    }

    /// What a column of a new row holds that is not given; `None`: only the source knows.
    pub(super) fn unless_given(&self, column: &str, asked: &mut Asked) -> Result<Option<String>, Refusal> {
        if let TenantRule::Column { name, type_oid, .. } = &self.relation.tenant
            && **name == *column
        {
            asked.tenant = Some(*type_oid);
            return Ok(Some("$2".to_owned()));
        }
        let Some(rules) = self.catalog.rules(&self.relation.real_schema, &self.relation.real_name) else { return Ok(None) };
        if rules.fills_in {
            return Ok(None);
        }
        let of_type = self.sql_type(self.type_of(column)?)?;
        Ok(match rules.column(column) {
            None => Some(format!("CAST(NULL AS {of_type})")),
            Some(rule) if rule.fill == Fill::Default => {
                rule.expression.as_deref().filter(|text| is_plain(text)).map(|text| format!("CAST({text} AS {of_type})"))
            }
            Some(_) => None,
        })
    }

    /// Whether the rows that new references name are among those that the agent may refer to.
    fn against_key(&self, changes: &[RowChange], guard: &ForeignGuard, tenant: Option<&TenantId>) -> Result<Option<Check>, Refusal> {
        let mut rows: Vec<Vec<&str>> = Vec::new();
        for change in changes.iter().filter(|change| change.operation != Operation::Delete) {
            if !change.after.iter().any(|cell| guard.columns.contains(&cell.column)) {
                continue;
            }
            let values: Option<Vec<&str>> = guard.columns.iter().map(|column| self.value_of(change, column, tenant)).collect();
            // A reference with a NULL in it refers to nothing; one that the source completes is held against its key when it is applied.
            rows.extend(values.filter(|values| !self.makes(changes, guard, values)));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let mut asked = Asked::of(rows.len());
        let mut conditions = Vec::new();
        for (place, (column, oid)) in guard.foreign_columns.iter().enumerate() {
            let value = asked.add(rows.iter().map(|row| row.get(place).copied()));
            conditions.push(format!("p.{} = CAST(v.{value} AS {})", identifier(column), self.sql_type(*oid)?));
        }
        let table = format!("{}.{}", identifier(&guard.schema), identifier(&guard.name));
        let mut among = Vec::new();
        for rows in &guard.among {
            let mut conditions = conditions.clone();
            if let Some((column, oid)) = &rows.tenant {
                if tenant.is_none() {
                    return Ok(None);
                }
                asked.tenant = Some(*oid);
                conditions.push(format!("p.{} = $2", identifier(column)));
            }
            let found = format!("SELECT p.* FROM {table} AS p WHERE {} OFFSET 0", conditions.join(" AND "));
            let filter = rows.filter.as_ref().map(|filter| format!(" WHERE ({filter})")).unwrap_or_default();
            among.push(format!("EXISTS (SELECT FROM ({found}) AS p{filter})"));
        }
        let text = format!("SELECT v.\"n\" FROM {} WHERE NOT ({})", asked.recordset(), among.join(" OR "));
        let message = format!("insert or update on table \"{}\" violates a foreign key constraint", self.relation.name);
        let broken = Refusal::new(RefusalCode::ForeignKey, message)
            .detail(format!("the row that ({}) refers to is not among those that you may refer to", guard.columns.join(", ")));
        Ok(Some(Check { statement: self.asking(&text, asked), broken }))
    }

    /// The value that a column has after a change, where that is known here; none for NULL.
    fn value_of<'c>(&self, change: &'c RowChange, column: &str, tenant: Option<&'c TenantId>) -> Option<&'c str> {
        let given = change.after.iter().chain(&change.key).find(|cell| *cell.column == *column);
        let is_tenant = matches!(&self.relation.tenant, TenantRule::Column { name, .. } if **name == *column);
        if is_tenant { tenant.map(TenantId::as_str) } else { given.and_then(|cell| cell.value.text()) }
    }

    /// Whether one of the new rows is the one that is referred to.
    fn makes(&self, changes: &[RowChange], guard: &ForeignGuard, values: &[&str]) -> bool {
        let same_table = *guard.schema == *self.relation.real_schema && *guard.name == *self.relation.real_name;
        let is_it = |change: &RowChange| {
            guard.foreign_columns.iter().zip(values).all(|((column, _), value)| {
                change.after.iter().chain(&change.key).any(|cell| cell.column == *column && cell.value.text() == Some(*value))
            })
        };
        same_table && changes.iter().filter(|change| change.operation == Operation::Insert).any(is_it)
    }

    pub(super) fn asking(&self, text: &str, asked: Asked) -> GovernedStatement {
        let rows = asked.rows.into_iter().zip(0..).map(|(mut row, number)| {
            row.insert("n".to_owned(), json!(number));
            Json::Object(row)
        });
        let rows = Json::Array(rows.collect()).to_string();
        let mut appended = vec![Appended { type_oid: JSONB, value: AppendedValue::Constant(rows.into()) }];
        appended.extend(asked.tenant.map(|type_oid| Appended { type_oid, value: AppendedValue::Tenant }));
        self.read.of_our_own(text, appended)
    }

    pub(super) fn table(&self) -> String {
        format!("{}.{}", identifier(&self.relation.real_schema), identifier(&self.relation.real_name))
    }

    pub(super) fn type_of(&self, column: &str) -> Result<Oid, Refusal> {
        let real = self.catalog.relation(&self.relation.real_schema, &self.relation.real_name);
        let found = real.and_then(|real| real.columns.iter().find(|known| *known.name == *column));
        found.map(|column| column.type_oid).ok_or_else(|| unread("the type of a column"))
    }

    pub(super) fn sql_type(&self, oid: Oid) -> Result<String, Refusal> {
        let known = self.catalog.types.get(&oid).ok_or_else(|| unread("the type of a column"))?;
        Ok(format!("{}.{}", identifier(&known.schema), identifier(&known.name)))
    }
}

impl Asked {
    /// For so many rows.
    pub(super) fn of(rows: usize) -> Self {
        Self { rows: vec![Map::new(); rows], ..Self::default() }
    }

    /// Adds a value to each row; its name.
    pub(super) fn add<'v>(&mut self, values: impl Iterator<Item = Option<&'v str>>) -> String {
        let name = format!("v{}", self.values);
        self.values += 1;
        for (row, value) in self.rows.iter_mut().zip(values) {
            row.insert(name.clone(), json!(value));
        }
        identifier(&name)
    }

    pub(super) fn recordset(&self) -> String {
        let columns: String = (0..self.values).fold(String::new(), |all, number| all + &format!(", \"v{number}\" pg_catalog.text"));
        format!("pg_catalog.jsonb_to_recordset($1) AS v (\"n\" pg_catalog.int4{columns})")
    }
}

/// Whether two changes give the same columns, and let the source fill in the same.
pub(super) fn alike(one: &RowChange, other: &RowChange) -> bool {
    let form = |change: &RowChange| {
        let mut columns: Vec<_> = change.after.iter().map(|cell| (cell.column.clone(), cell.value == Value::Default)).collect();
        columns.sort();
        columns
    };
    one.operation == other.operation && form(one) == form(other)
}

pub(super) fn after<'c>(change: &'c RowChange, column: &str) -> Option<&'c str> {
    change.after.iter().find(|cell| *cell.column == *column).and_then(|cell| cell.value.text())
}

/// The columns that a row filter reads.
pub(super) fn columns_of(filter: &RowFilter) -> Result<Vec<Box<str>>, Refusal> {
    let parsed = parse_select(&format!("SELECT WHERE ({})", filter.text)).ok_or_else(|| unread("the row filter"))?;
    let mut columns: Vec<Box<str>> = Vec::new();
    let mut whole = false;
    parsed.field("where_clause")?.each(&mut |node| {
        if node.kind == "ColumnRef" {
            match node.list("fields").ok().and_then(<[Tree]>::last).and_then(Tree::string) {
                Some(name) if columns.iter().any(|known| **known == *name) => {}
                Some(name) => columns.push(name.into()),
                None => whole = true,
            }
        }
    });
    if whole { Err(unread("the row filter")) } else { Ok(columns) }
}

/// Whether a default is made of constants and reviewed functions, and so the same wherever it is computed.
fn is_plain(text: &str) -> bool {
    let Some(select) = parse_select(&format!("SELECT {text}")) else { return false };
    let mut plain = true;
    select.each(&mut |node| {
        plain &= match node.kind {
            "FuncCall" => match (node.names("funcname").as_deref(), node.list("args")) {
                (Ok([name] | ["pg_catalog", name]), Ok(args)) => {
                    matches!(allow::function(name, args.len()), allow::FunctionRule::Allowed(..))
                }
                (_, _) => false,
            },
            "SelectStmt" | "ResTarget" | "AExpr" | "CollateClause" => true,
            // A column, a subquery, a clock, and whatever else is not known to be nothing but its parts.
            _ => node.is_plain(),
        };
    });
    plain
}
