//! The statements: one row each, every value a parameter in text form, so that the source's own input functions read what
//! its output functions wrote.

#![expect(clippy::disallowed_types, reason = "this is the door for writes")]

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::{
    Client,
    types::{Format, IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    policy::{ForeignGuard, Guards},
    proposal::{Cell, Operation, RowChange, Target, Value},
};

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    text: String,
    parameters: Vec<Text<'a>>,
    /// It says of each row whether it passes the row filter.
    says: bool,
}

/// A parameter in text form; the source infers its type from where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) Option<&'a str>);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl<'a> Statement<'a> {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), parameters: Vec::new(), says: false }
    }

    /// Appends text.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a parameter.
    pub(super) fn bind(&mut self, value: Option<&'a str>) -> &mut Self {
        self.parameters.push(Text(value));
        let place = self.parameters.len().to_string();
        self.push("$").push(&place)
    }

    /// Appends a value, or the word for a column's own default.
    fn value(&mut self, value: &'a Value) -> &mut Self {
        match value {
            Value::Text(text) => self.bind(Some(text)),
            Value::Null => self.bind(None),
            Value::Default => self.push("DEFAULT"),
        }
    }

    /// Appends `WHERE` key and tenant.
    fn of_row(&mut self, target: &'a Target, row: &'a RowChange) -> &mut Self {
        let tenant = target.tenant.iter().map(|guard| (&*guard.column, Some(guard.tenant.as_str())));
        let key = row.key.iter().map(|cell| (&*cell.column, cell.value.text()));
        for (place, (column, value)) in key.chain(tenant).enumerate() {
            self.push(if place == 0 { " WHERE " } else { " AND " }).push(&quoted(column)).push(" = ").bind(value);
        }
        self
    }

    /// Appends the guard: every before-image, and the conflict column, to the letter.
    fn as_it_was(&mut self, row: &'a RowChange) -> &mut Self {
        for cell in row.before.iter().chain(&row.conflict) {
            self.push(" AND ")
                .push(&text_form(&cell.column))
                .push(" IS NOT DISTINCT FROM ")
                .bind(cell.value.text())
                .push("::pg_catalog.text");
        }
        self
    }

    /// Appends the row filter of the policy: a row that the agent does not reach is not touched.
    fn within(&mut self, guards: &Guards) -> &mut Self {
        if let Some(filter) = &guards.filter {
            self.push(" AND (").push(filter).push(")");
        }
        self
    }

    /// Has it say of each row that it makes whether it passes the row filter.
    fn checked(&mut self, guards: &Guards) -> &mut Self {
        if let Some(filter) = guards.filter.as_ref().filter(|_| guards.checked) {
            self.push(" RETURNING CASE WHEN (").push(filter).push(") THEN 't' ELSE 'f' END::pg_catalog.text");
            self.says = true;
        }
        self
    }

    /// Runs it; rows affected, and whether all of them pass the row filter.
    pub(super) async fn run(&self, client: &Client) -> Result<(u64, bool), tokio_postgres::Error> {
        if !self.says {
            return self.execute(client).await.map(|rows| (rows, true));
        }
        let rows = self.query(client).await?;
        let passed = rows.iter().flatten().all(|said| said.as_deref() == Some("t"));
        Ok((rows.len() as u64, passed))
    }

    /// Runs it; rows affected.
    pub(super) async fn execute(&self, client: &Client) -> Result<u64, tokio_postgres::Error> {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            self.parameters.iter().map(|text| (text as &(dyn ToSql + Sync), Type::UNKNOWN)).collect();
        client.execute_typed(&self.text, &parameters).await
    }

    /// Runs it; its rows, every column of which is text.
    pub(super) async fn query(&self, client: &Client) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            self.parameters.iter().map(|text| (text as &(dyn ToSql + Sync), Type::UNKNOWN)).collect();
        let rows = client.query_typed(&self.text, &parameters).await?;
        rows.iter().map(|row| (0..row.len()).map(|column| row.try_get(column)).collect()).collect()
    }
}

/// A new row. The tenant column is the tenant's, whatever the change says.
pub(super) fn insert_statement<'a>(target: &'a Target, row: &'a RowChange, guards: &Guards) -> Statement<'a> {
    let tenant = target.tenant.as_ref();
    let given = |cell: &&Cell| tenant.is_none_or(|guard| guard.column != cell.column);
    let key = row.key.iter().filter(|cell| row.after.iter().all(|after| after.column != cell.column));
    let cells: Vec<&Cell> = key.chain(&row.after).filter(given).collect();
    let mut columns: Vec<String> = cells.iter().map(|cell| quoted(&cell.column)).collect();
    columns.extend(tenant.map(|guard| quoted(&guard.column)));
    let mut statement = Statement::new(format!("INSERT INTO {} ", table(target)));
    if columns.is_empty() {
        statement.push("DEFAULT VALUES").checked(guards);
        return statement;
    }
    // A proposal has a value for a column that the source numbers only where the agent wrote OVERRIDING SYSTEM VALUE.
    statement.push("(").push(&columns.join(", ")).push(") OVERRIDING SYSTEM VALUE VALUES (");
    for (place, cell) in cells.into_iter().enumerate() {
        statement.push(if place == 0 { "" } else { ", " }).value(&cell.value);
    }
    if let Some(guard) = tenant {
        statement.push(if columns.len() == 1 { "" } else { ", " }).bind(Some(guard.tenant.as_str()));
    }
    statement.push(")").checked(guards);
    statement
}

/// New values in the row, if it is as it was.
pub(super) fn update_statement<'a>(target: &'a Target, row: &'a RowChange, guards: &Guards) -> Statement<'a> {
    let mut statement = Statement::new(format!("UPDATE {} SET ", table(target)));
    for (place, cell) in row.after.iter().enumerate() {
        statement.push(if place == 0 { "" } else { ", " }).push(&quoted(&cell.column)).push(" = ").value(&cell.value);
    }
    statement.of_row(target, row).as_it_was(row).within(guards).checked(guards);
    statement
}

/// The row goes, if it is as it was.
pub(super) fn delete_statement<'a>(target: &'a Target, row: &'a RowChange, guards: &Guards) -> Statement<'a> {
    let mut statement = Statement::new(format!("DELETE FROM {}", table(target)));
    statement.of_row(target, row).as_it_was(row).within(guards);
    statement
}

/// The guarded columns as they are now.
pub(super) fn read_statement<'a>(target: &'a Target, row: &'a RowChange, guards: &Guards) -> Statement<'a> {
    let columns: Vec<String> = row.before.iter().chain(&row.conflict).map(|cell| text_form(&cell.column)).collect();
    let mut statement = Statement::new(format!("SELECT {} FROM {}", columns.join(", "), table(target)));
    statement.of_row(target, row).within(guards);
    statement
}

/// Whether what a change refers to by a foreign key is the agent's to refer to: no row, unless it is not. `None`: it refers to nothing.
pub(super) fn reference_statement<'a>(
    target: &'a Target,
    row: &'a RowChange,
    guard: &'a ForeignGuard,
    tenant: Option<&'a str>,
) -> Option<Statement<'a>> {
    let touches = row.after.iter().any(|cell| guard.columns.contains(&cell.column));
    if row.operation == Operation::Delete || !touches {
        return None;
    }
    // The row as it is by now, where its key says which it is; a new row whose key the source makes is told by its values.
    let keyed = !row.key.is_empty() && row.key.iter().all(|cell| cell.value.text().is_some()) && row.operation == Operation::Update;
    let mut statement = Statement::new(if keyed { "SELECT 'x'::pg_catalog.text FROM " } else { "SELECT 'x'::pg_catalog.text" });
    if keyed {
        statement.push(&table(target)).push(" AS pgwicket_child").of_row(target, row).push(" AND ");
    } else {
        statement.push(" WHERE ");
    }
    for (place, rows) in guard.among.iter().enumerate() {
        statement.push(if place == 0 { "" } else { " AND " }).push("NOT EXISTS (SELECT FROM (SELECT p.* FROM ");
        statement.push(&quoted(&guard.schema)).push(".").push(&quoted(&guard.name)).push(" AS p WHERE TRUE");
        for (column, (foreign, _)) in guard.columns.iter().zip(&guard.foreign_columns) {
            statement.push(" AND p.").push(&quoted(foreign)).push(" = ");
            if keyed {
                statement.push("pgwicket_child.").push(&quoted(column));
                continue;
            }
            let own = target.tenant.as_ref().filter(|own| own.column == *column).map(|own| own.tenant.as_str());
            let given = row.after.iter().chain(&row.key).find(|cell| cell.column == *column).and_then(|cell| cell.value.text());
            statement.bind(Some(own.or(given)?));
        }
        if let Some((column, _)) = &rows.tenant {
            statement.push(" AND p.").push(&quoted(column)).push(" = ").bind(Some(tenant?));
        }
        statement.push(" OFFSET 0) AS p");
        if let Some(filter) = &rows.filter {
            statement.push(" WHERE (").push(filter).push(")");
        }
        statement.push(")");
    }
    if keyed {
        for column in &guard.columns {
            statement.push(" AND pgwicket_child.").push(&quoted(column)).push(" IS NOT NULL");
        }
    }
    Some(statement)
}

/// A column by its type's output function, NULL as NULL. `IS NULL` would take a row of NULLs for NULL, a cast to text trims
/// `char(n)` and is not there for every type; and a collation may call different texts equal.
fn text_form(column: &str) -> String {
    let column = quoted(column);
    format!("(CASE WHEN {column} IS NOT DISTINCT FROM NULL THEN NULL ELSE pg_catalog.format('%s', {column}) END) COLLATE pg_catalog.\"C\"")
}

fn table(target: &Target) -> String {
    format!("{}.{}", quoted(&target.real_schema), quoted(&target.real_name))
}

/// An identifier, to the letter.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
