//! An imitation of a source in a scratch database: the same tables, rows made up. The agent's own rows are the same on both
//! sides; other tenants' rows and hidden columns differ, and are chosen to make casts, divisions, regexes and json paths fail.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    generate::{Kind, kind},
    reference::{identifier, literal},
};
use crate::{
    policy::{Agent, ExposedRelation, Mask, TenantRule},
    sql::catalog::{CatalogSnapshot, Column, Relation},
    types::TenantId,
};

/// Rows of the agent's tenant in each table.
const OWN: usize = 40;
/// In every value that must not come out, where its type allows.
pub(super) const CANARY: &str = "pgwicketcanary";

/// One of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    One,
    Other,
}

/// What a table is to an agent.
#[derive(Debug, Default)]
struct Use<'a> {
    /// Columns that say whose a row is.
    tenant: BTreeSet<&'a str>,
    /// Columns whose values the agent's answers may depend on.
    seen: BTreeSet<&'a str>,
    /// Some relation shows every row.
    single: bool,
}

/// Statements that make the tables, in order. Some may fail: a type or an index that the scratch server does not know.
pub(super) fn tables(catalog: &CatalogSnapshot, enums: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    let schemas: BTreeSet<&str> = catalog
        .relations
        .iter()
        .map(|real| real.schema.as_str())
        .chain(catalog.types.values().map(|found| found.schema.as_str()))
        .collect();
    for schema in schemas.into_iter().filter(|schema| *schema != "pg_catalog" && *schema != "information_schema") {
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(schema)));
    }
    for (name, labels) in enums {
        let labels = labels.iter().map(|label| literal(label)).collect::<Vec<_>>().join(", ");
        statements.push(format!("CREATE TYPE {name} AS ENUM ({labels})"));
    }
    for found in catalog.types.values().filter(|found| found.kind == 'd' && found.schema != "information_schema") {
        if let Some(base) = catalog.types.get(&found.base) {
            let name = |schema: &str, name: &str| format!("{}.{}", identifier(schema), identifier(name));
            statements.push(format!("CREATE DOMAIN {} AS {}", name(&found.schema, &found.name), name(&base.schema, &base.name)));
        }
    }
    for real in &catalog.relations {
        statements.push(table(real));
        // An index is what lets a planner reach another tenant's row by its value.
        let name = real_table(real);
        statements.extend(real.columns.iter().map(|column| format!("CREATE INDEX ON {name} ({})", identifier(&column.name))));
    }
    statements
}

fn table(real: &Relation) -> String {
    let mut parts: Vec<String> = real
        .columns
        .iter()
        .map(|column| format!("{} {}{}", identifier(&column.name), column.type_name, if column.not_null { " NOT NULL" } else { "" }))
        .collect();
    if !real.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", real.primary_key.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", ")));
    }
    format!("CREATE TABLE {} ({})", real_table(real), parts.join(", "))
}

/// `"schema"."name"`
fn real_table(real: &Relation) -> String {
    format!("{}.{}", identifier(&real.schema), identifier(&real.name))
}

/// What fills the tables that an agent sees, on one side.
#[derive(Debug)]
pub(super) struct Filling<'a> {
    agent: &'a Agent,
    catalog: &'a CatalogSnapshot,
    enums: &'a BTreeMap<String, Vec<String>>,
    side: Side,
}

impl<'a> Filling<'a> {
    /// For an agent, on a side.
    pub(super) fn new(agent: &'a Agent, catalog: &'a CatalogSnapshot, enums: &'a BTreeMap<String, Vec<String>>, side: Side) -> Self {
        Self { agent, catalog, enums, side }
    }

    /// The INSERT for the table behind a relation.
    pub(super) fn insert(&self, relation: &ExposedRelation) -> Option<String> {
        let real = self.catalog.relation(&relation.real_schema, &relation.real_name)?;
        let rows = self.rows(relation)?.into_iter().map(|row| format!("({})", row.join(", "))).collect::<Vec<_>>().join(", ");
        Some(format!("INSERT INTO {} VALUES {rows}", real_table(real)))
    }

    /// Values that visible columns have, the agent's and the others': constants for statements.
    pub(super) fn samples(&self, relation: &ExposedRelation) -> Vec<(String, String)> {
        let Some(real) = self.catalog.relation(&relation.real_schema, &relation.real_name) else { return Vec::new() };
        let mut samples = Vec::new();
        for column in &real.columns {
            for number in [1, 2, 3] {
                samples.extend(self.own(real, column, number).map(|value| (column.name.clone(), value)));
                samples.extend(self.foreign(real, column, number).map(|value| (column.name.clone(), value)));
            }
        }
        samples
    }

    /// Rows of other tenants, as this side has them.
    pub(super) fn strangers(&self, relation: &ExposedRelation) -> Vec<Vec<(String, String)>> {
        let Some(real) = self.catalog.relation(&relation.real_schema, &relation.real_name) else { return Vec::new() };
        let row =
            |number: usize| real.columns.iter().filter_map(move |column| Some((column.name.clone(), self.foreign(real, column, number)?)));
        if self.used(real).single { Vec::new() } else { (0..40).map(|number| row(number).collect()).collect() }
    }

    fn rows(&self, relation: &ExposedRelation) -> Option<Vec<Vec<String>>> {
        let real = self.catalog.relation(&relation.real_schema, &relation.real_name)?;
        let used = self.used(real);
        let tenant = self.agent.tenant.as_ref().map(TenantId::as_str);
        let foreign = match self.side {
            Side::One => 60,
            Side::Other => 45,
        };
        let own = if used.single { OWN + 20 } else { OWN };
        let mut rows = Vec::new();
        for number in 0..own {
            let value = |column: &Column| {
                if used.tenant.contains(column.name.as_str()) && !used.single {
                    return tenant.map(str::to_owned);
                }
                let shown = used.seen.contains(column.name.as_str()) || real.primary_key.contains(&column.name);
                if shown { self.own(real, column, number) } else { self.foreign(real, column, number) }
            };
            rows.push(real.columns.iter().map(|column| cast(column, value(column))).collect());
        }
        for number in 0..if used.single { 0 } else { foreign } {
            let value = |column: &Column| {
                if used.tenant.contains(column.name.as_str()) { self.stranger(column, tenant) } else { self.foreign(real, column, number) }
            };
            rows.push(real.columns.iter().map(|column| cast(column, value(column))).collect());
        }
        Some(rows)
    }

    /// Every relation of the agent over this table counts: what one hides another may show.
    fn used(&self, real: &Relation) -> Use<'a> {
        let mut used = Use::default();
        let relations = self.agent.schemas.iter().flat_map(|schema| schema.relations.values());
        for relation in relations.filter(|relation| *relation.real_schema == *real.schema && *relation.real_name == *real.name) {
            match &relation.tenant {
                TenantRule::Column { name, .. } => drop(used.tenant.insert(name)),
                TenantRule::Single => used.single = true,
            }
            // A hash or a last digit shows something of the value, a constant whether there is one; NULL shows nothing.
            let shown = relation.columns.iter().filter(|column| !matches!(column.mask, Some(Mask::Null)));
            used.seen.extend(shown.map(|column| &*column.name));
            // Whether a row is there shows what the row filter reads.
            if let Some(filter) = &relation.filter {
                used.seen.extend(self.named_in(real, &filter.text));
            }
        }
        used
    }

    /// The columns that a row filter may read.
    fn named_in(&self, real: &Relation, filter: &str) -> Vec<&'a str> {
        let found = self.catalog.relation(&real.schema, &real.name);
        let names = found.into_iter().flat_map(|real| &real.columns).map(|column| column.name.as_str());
        names.filter(|name| filter.contains(name)).collect()
    }

    fn own(&self, real: &Relation, column: &Column, number: usize) -> Option<String> {
        let key = real.primary_key.contains(&column.name);
        if !key && !column.not_null && number.is_multiple_of(3) {
            return None;
        }
        let small = if key { number + 1 } else { number % 7 + 1 };
        Some(match kind(self.catalog.base_type(column.type_oid)) {
            Kind::Int | Kind::Numeric | Kind::Float | Kind::Text => small.to_string(),
            Kind::Json => format!("{{\"a\": {small}, \"k\": \"{number}\"}}"),
            Kind::Bool => number.is_multiple_of(2).to_string(),
            Kind::Date | Kind::Timestamp => format!("2024-{:02}-{:02}", number / 28 % 12 + 1, number % 28 + 1),
            Kind::Uuid => uuid(number),
            Kind::Other => return self.other(column, number),
        })
    }

    fn foreign(&self, real: &Relation, column: &Column, number: usize) -> Option<String> {
        let base = kind(self.catalog.base_type(column.type_oid));
        if real.primary_key.contains(&column.name) {
            // Some keys are in both copies, some in one.
            let far = if self.side == Side::Other && !number.is_multiple_of(2) { 3000 + number } else { 1000 + number };
            return Some(match base {
                Kind::Uuid => uuid(far),
                Kind::Date | Kind::Timestamp => format!("{}-01-01", 2000 + far),
                Kind::Int | Kind::Numeric | Kind::Float | Kind::Text | Kind::Json | Kind::Bool => far.to_string(),
                Kind::Other => return self.other(column, far),
            });
        }
        // One copy holds what makes expressions fail, the other only what does not: an error then comes out of one of them.
        if self.side == Side::Other {
            let canary = matches!(base, Kind::Text) && number.is_multiple_of(2);
            return if canary { Some(format!("{CANARY}1")) } else { self.own(real, column, number * 3 + 1) };
        }
        let canary = format!("{CANARY}0");
        let values: &[&str] = match base {
            Kind::Int => &["0", "1", "7777", "32767", "-32768", "3"],
            Kind::Numeric => &["0", "NaN", "-1", "9", "2"],
            Kind::Float => &["0", "NaN", "Infinity", "-1", "2"],
            Kind::Text => &[&canary, "(((", "0", "\\", "1e999999", "{\"a\":", "", "99999999999"],
            Kind::Json => &["\"x\"", "[]", "0", "null", "{\"a\": \"x\"}", "[\"(((\"]"],
            Kind::Bool => &["false", "true"],
            Kind::Date => &["infinity", "0044-03-15 BC", "-infinity", "2024-05-05", "5874897-01-01"],
            Kind::Timestamp => &["infinity", "0044-03-15 BC", "-infinity", "2024-05-05"],
            Kind::Uuid => return Some(uuid(5000 + number)),
            Kind::Other => return self.other(column, number + 1),
        };
        values.get((number * 3 + number / 8).checked_rem(values.len())?).map(|value| (*value).to_owned())
    }

    /// Another tenant, of the column's type.
    fn stranger(&self, column: &Column, tenant: Option<&str>) -> Option<String> {
        let number: i64 = tenant.and_then(|tenant| tenant.parse().ok()).unwrap_or(0);
        match kind(self.catalog.base_type(column.type_oid)) {
            Kind::Int | Kind::Numeric | Kind::Float => Some((number + 1).to_string()),
            Kind::Uuid => Some(uuid(99)),
            Kind::Text | Kind::Json | Kind::Bool | Kind::Date | Kind::Timestamp => Some("~other tenant".to_owned()),
            Kind::Other => self.other(column, 1),
        }
    }

    fn other(&self, column: &Column, number: usize) -> Option<String> {
        let found = self.catalog.types.get(&self.catalog.base_type(column.type_oid))?;
        if let Some(labels) = self.enums.get(&format!("{}.{}", identifier(&found.schema), identifier(&found.name))) {
            return labels.get(number.checked_rem(labels.len())?).cloned();
        }
        if found.array {
            return Some("{}".to_owned());
        }
        let value = match found.name.as_str() {
            "interval" => format!("{number} days"),
            "bytea" => format!("\\x{:04x}", number % 65_536),
            "time" | "timetz" => format!("{:02}:00:00", number % 24),
            "inet" | "cidr" => format!("10.0.{}.{}", number / 256 % 256, number % 256),
            "json" => format!("{{\"a\": {number}}}"),
            _ => number.to_string(),
        };
        Some(value)
    }
}

fn uuid(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

/// A value of the column's own type: an explicit cast cuts what is too long.
fn cast(column: &Column, value: Option<String>) -> String {
    match value {
        Some(value) => format!("CAST({} AS {})", literal(&value), column.type_name),
        None => "NULL".to_owned(),
    }
}
