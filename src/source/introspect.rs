//! Reading a source's catalog, and what its credential could do besides reading. Comes before the policy is compiled.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use super::{Look, extensions, look, rules, shapes};
use crate::sql::{
    catalog::{CatalogSnapshot, Column, Function, Oid, Operator, Relation, Type},
    views,
};

use super::{
    Connection, SourceAddress, SourceError,
    connect::{Connector, within},
    error::Step,
    simple::Row,
};

/// How long reading the catalog may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Findings of one kind listed at most.
const LISTED: usize = 10;

/// What introspection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// The catalog.
    pub catalog: CatalogSnapshot,
    /// What the credential could do besides reading.
    pub credential: CredentialReport,
    /// The look that finds the catalog as it was read.
    pub look: Look,
}

/// What a credential could do besides reading. Names real objects: for the operator, never for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialReport {
    /// The role.
    pub role: String,
    /// Each thing it could do, in words; empty for a read-only role.
    pub problems: Vec<String>,
}

impl CredentialReport {
    /// The warnings to log when the policy has `allow_writable_credential`.
    ///
    /// # Errors
    /// [`SourceError::Unfit`] when there are any and the policy does not.
    pub fn check(&self, allow_writable_credential: bool) -> Result<&[String], SourceError> {
        if self.problems.is_empty() || allow_writable_credential {
            return Ok(&self.problems);
        }
        let problems = self.problems.join("; ");
        Err(SourceError::Unfit(
            format!(
                "its credential {} is not read-only: {problems} (use a role that may only SELECT, or set allow_writable_credential)",
                self.role
            )
            .into(),
        ))
    }
}

/// Connects and reads the catalog.
///
/// # Errors
/// As connecting; [`SourceError::Startup`] when a catalog query is refused.
pub async fn introspect(address: &SourceAddress<'_>) -> Result<Introspection, SourceError> {
    let mut connection = Connector::new(address)?.connect().await?;
    within(LIMIT, Step::Introspect, read(&mut connection)).await?
}

async fn read(connection: &mut Connection) -> Result<Introspection, SourceError> {
    connection.query(&format!("SET statement_timeout = {}", LIMIT.as_millis())).await?;
    // One snapshot for all, so that relations, columns and types agree.
    connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let mut relations = relations(connection.query(RELATIONS).await?)?;
    add_columns(&mut relations, connection.query(COLUMNS).await?)?;
    let mut catalog = CatalogSnapshot {
        server_version: connection.server.version,
        relations: relations.into_values().collect(),
        types: types(connection.query(TYPES).await?)?,
        leakproof_operators: rows(connection.query(LEAKPROOF_OPERATORS).await?, |cells| {
            Some(Operator { name: cells.text()?, left: cells.parsed()?, right: cells.parsed()? })
        })?,
        ordering_operators: Some(rows(connection.query(ORDERING_OPERATORS).await?, Cells::text)?),
        functions: rows(connection.query(FUNCTIONS).await?, |cells| {
            Some(Function {
                schema: cells.text()?,
                name: cells.text()?,
                arguments: cells.text()?,
                volatility: cells.parsed()?,
                returns: cells.parsed()?,
            })
        })?,
        shapes: shapes::read(connection).await?,
        extensions: extensions::read(connection).await?,
        rules: Some(rules::read(connection).await?),
    };
    let definitions = rows(connection.query(VIEWS).await?, |cells| Some((cells.text()?, cells.text()?, cells.text()?)))?;
    views::mark_stored(&mut catalog, &definitions);
    let credential = credential(connection).await?;
    let look = look::read(connection).await?;
    connection.query("COMMIT").await?;
    Ok(Introspection { catalog, credential, look })
}

async fn credential(connection: &mut Connection) -> Result<CredentialReport, SourceError> {
    let role = rows(connection.query("SELECT current_user").await?, Cells::text)?.pop().unwrap_or_default();
    let found: Vec<(String, String)> = rows(connection.query(PROBLEMS).await?, |cells| Some((cells.text()?, cells.text()?)))?;
    let mut by_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (kind, object) in found {
        by_kind.entry(kind).or_default().push(object);
    }
    let problems = by_kind
        .into_iter()
        .map(|(kind, objects)| {
            let listed = objects.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            match objects.len().checked_sub(LISTED) {
                Some(more) if more > 0 => format!("{kind} {listed} and {more} more"),
                Some(_) | None => format!("{kind} {listed}").trim_end().to_owned(),
            }
        })
        .collect();
    Ok(CredentialReport { role, problems })
}

fn relations(found: Vec<Row>) -> Result<BTreeMap<Oid, Relation>, SourceError> {
    let found = rows(found, |cells| {
        let oid = cells.parsed()?;
        let relation = Relation {
            schema: cells.text()?,
            name: cells.text()?,
            kind: cells.parsed()?,
            columns: Vec::new(),
            primary_key: Vec::new(),
            readable: cells.truth()?,
        };
        Some((oid, relation))
    })?;
    Ok(found.into_iter().collect())
}

/// Adds the columns, which come in attribute order, and from them the primary keys.
fn add_columns(relations: &mut BTreeMap<Oid, Relation>, found: Vec<Row>) -> Result<(), SourceError> {
    let mut keys: BTreeMap<Oid, BTreeMap<usize, String>> = BTreeMap::new();
    let found = rows(found, |cells| {
        let oid: Oid = cells.parsed()?;
        let column = Column {
            name: cells.text()?,
            type_oid: cells.parsed()?,
            type_name: cells.text()?,
            not_null: cells.truth()?,
            readable: cells.truth()?,
            deterministic_collation: cells.truth()?,
            collation: Some(cells.parsed()?),
            stored: cells.truth()?,
        };
        let place_in_key: usize = cells.parsed()?;
        Some((oid, column, place_in_key))
    })?;
    for (oid, column, place_in_key) in found {
        if place_in_key > 0 {
            keys.entry(oid).or_default().insert(place_in_key, column.name.clone());
        }
        if let Some(relation) = relations.get_mut(&oid) {
            relation.columns.push(column);
        }
    }
    for (oid, key) in keys {
        if let Some(relation) = relations.get_mut(&oid) {
            relation.primary_key = key.into_values().collect();
        }
    }
    Ok(())
}

fn types(found: Vec<Row>) -> Result<BTreeMap<Oid, Type>, SourceError> {
    let found = rows(found, |cells| {
        let oid = cells.parsed()?;
        let found =
            Type { schema: cells.text()?, name: cells.text()?, kind: cells.parsed()?, base: cells.parsed()?, array: cells.truth()? };
        Some((oid, found))
    })?;
    Ok(found.into_iter().collect())
}

/// Reads each row by `read`, which takes its cells from left to right.
pub(super) fn rows<T>(found: Vec<Row>, read: impl Fn(&mut Cells) -> Option<T>) -> Result<Vec<T>, SourceError> {
    let read_row = |row: Row| read(&mut Cells(row.into_iter())).ok_or(SourceError::Protocol("a catalog row that cannot be read"));
    found.into_iter().map(read_row).collect()
}

pub(super) struct Cells(std::vec::IntoIter<Option<String>>);

impl Cells {
    pub(super) fn text(&mut self) -> Option<String> {
        self.0.next()?
    }

    pub(super) fn parsed<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        serde_json::from_str(&self.text()?).ok()
    }

    pub(super) fn truth(&mut self) -> Option<bool> {
        self.text().map(|value| value == "t")
    }
}

/// `r` ordinary, `p` partitioned and `f` foreign tables, `v` views, `m` materialised views of user schemas.
const RELATIONS: &str = "
SELECT c.oid, n.nspname, c.relname, c.relkind,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY n.nspname, c.relname";

/// Columns of views are looked at apart: what a foreign table shows, by itself or as a part of another table, is computed elsewhere.
const COLUMNS: &str = "
WITH RECURSIVE above_foreign(oid) AS (
    SELECT i.inhparent FROM pg_inherits i JOIN pg_class f ON f.oid = i.inhrelid WHERE f.relkind = 'f'
  UNION
    SELECT i.inhparent FROM pg_inherits i JOIN above_foreign a ON a.oid = i.inhrelid
)
SELECT a.attrelid, a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT'),
       coalesce(l.collisdeterministic, true), a.attcollation,
       a.attgenerated <> 'v' AND c.relkind IN ('r', 'p', 'm') AND NOT EXISTS (SELECT FROM above_foreign WHERE above_foreign.oid = c.oid),
       coalesce(array_position(k.conkey, a.attnum), 0)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY a.attrelid, a.attnum";

/// The definitions of views, with every name outside `pg_catalog` qualified.
const VIEWS: &str = "
SELECT n.nspname, c.relname, pg_get_viewdef(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND pg_get_viewdef(c.oid) IS NOT NULL
ORDER BY 1, 2";

/// The built-in types, those that columns use, those below them, and arrays of these.
const TYPES: &str = "
WITH RECURSIVE used(oid) AS (
    SELECT oid FROM pg_type WHERE oid < 16384
  UNION
    SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT below.oid FROM used JOIN pg_type t ON t.oid = used.oid,
         LATERAL (VALUES (t.typbasetype), (t.typelem), (t.typarray)) below(oid)
    WHERE below.oid <> 0
)
SELECT t.oid, n.nspname, t.typname, t.typtype,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END,
       t.typcategory = 'A' AND t.typelem <> 0
FROM used JOIN pg_type t ON t.oid = used.oid JOIN pg_namespace n ON n.oid = t.typnamespace";

/// Of every access method and operator class, whoever made it.
const ORDERING_OPERATORS: &str = "
SELECT DISTINCT o.oprname FROM pg_amop m JOIN pg_operator o ON o.oid = m.amopopr WHERE m.amoppurpose = 'o' ORDER BY 1";

const LEAKPROOF_OPERATORS: &str = "
SELECT o.oprname, o.oprleft, o.oprright
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
WHERE p.proleakproof AND o.oid < 16384 AND o.oprnamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
ORDER BY 1, 2, 3";

const FUNCTIONS: &str = "
SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.provolatile, p.prorettype
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind <> 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
ORDER BY 1, 2, 3";

/// A row for each thing the role could do besides reading: what, and to which object.
const PROBLEMS: &str = "
SELECT 'is a superuser', '' FROM pg_roles WHERE rolname = current_user AND rolsuper
UNION ALL
SELECT 'has BYPASSRLS', '' FROM pg_roles WHERE rolname = current_user AND rolbypassrls
UNION ALL
SELECT 'is a member of', rolname::text FROM pg_roles
WHERE rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program', 'pg_read_server_files')
  AND pg_has_role(oid, 'MEMBER')
UNION ALL
SELECT 'may write or owns', format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
       OR has_any_column_privilege(c.oid, 'INSERT, UPDATE') OR pg_has_role(c.relowner, 'MEMBER'))
UNION ALL
SELECT 'may create in schema', quote_ident(nspname) FROM pg_namespace
WHERE nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(oid, 'CREATE')
UNION ALL
SELECT 'may create in database', current_database() WHERE has_database_privilege(current_database(), 'CREATE')
ORDER BY 1, 2";
