//! The derived table that stands for a relation: the allowed columns, the tenant's rows, the policy's filter.
//!
//! The text made here is what the verifier expects, so it is the definition of "governed".

use std::fmt::Write as _;

use crate::{
    govern::{Appended, AppendedValue, Refusal, RefusalCode, SessionValue},
    policy::{Agent, ExposedColumn, ExposedRelation, Mask, RowFilter, TenantRule},
    sql::{
        Tree, canonical,
        catalog::{CatalogSnapshot, FIRST_NORMAL_OID, Oid},
        parse_select,
    },
};

/// `text` in `pg_type`.
pub(in crate::govern) const TEXT: Oid = 25;
/// `jsonb` in `pg_type`.
const JSONB: Oid = 3802;

/// The parameters that follow the client's own.
#[derive(Debug)]
pub(in crate::govern) struct Parameters {
    client: usize,
    appended: Vec<Appended>,
}

impl Parameters {
    /// None yet, after the client's `client` parameters.
    pub(in crate::govern) fn after(client: usize) -> Self {
        Self { client, appended: Vec::new() }
    }

    /// The number (`$n`) under which `wanted` travels; an equal one is shared.
    pub(in crate::govern) fn number(&mut self, wanted: Appended) -> usize {
        let place = self.appended.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.appended.push(wanted);
            self.appended.len() - 1
        });
        self.client + place + 1
    }

    /// What was appended, in order.
    pub(in crate::govern) fn into_appended(self) -> Vec<Appended> {
        self.appended
    }
}

/// How a governed relation keeps the agent's expressions away from other rows.
#[derive(Debug, Clone, Copy)]
pub(in crate::govern) enum Fence<'a> {
    /// Every qual position of the statement is leakproof: the planner may flatten.
    Open,
    /// `OFFSET 0` over opaque columns, with these leakproof conjuncts copied inside (already printed, over real column names).
    Closed(&'a [String]),
}

impl<'a> Fence<'a> {
    fn closes(self) -> bool {
        matches!(self, Self::Closed(_))
    }

    fn copies(self) -> &'a [String] {
        match self {
            Self::Open => &[],
            Self::Closed(copies) => copies,
        }
    }
}

/// `"name"`, whatever is in it.
pub(in crate::govern) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, under `standard_conforming_strings = on`.
pub(in crate::govern) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether a relation hides rows; one that does not needs no fence.
pub(in crate::govern) fn hides_rows(relation: &ExposedRelation) -> bool {
    relation.filter.is_some() || matches!(relation.tenant, TenantRule::Column { .. })
}

/// `(SELECT … FROM … WHERE …)` for a relation, without alias.
pub(in crate::govern) fn derived(
    relation: &ExposedRelation,
    only: bool,
    catalog: &CatalogSnapshot,
    fence: Fence<'_>,
    parameters: &mut Parameters,
) -> Result<String, Refusal> {
    let close = if fence.closes() && hides_rows(relation) { " OFFSET 0" } else { "" };
    // A filter that is not leakproof must not see another tenant's rows: it runs above its own fence.
    let apart = relation.filter.as_ref().filter(|filter| !filter.leakproof && matches!(relation.tenant, TenantRule::Column { .. }));
    let output = |column: &ExposedColumn| match column.mask {
        None if apart.is_none() && !close.is_empty() => Ok(opaque(&column.name)),
        None | Some(_) => output(column, catalog, parameters),
    };
    let columns = relation.columns.iter().map(output).collect::<Result<Vec<_>, _>>()?.join(", ");
    let real = format!("{}{}.{}", if only { "ONLY " } else { "" }, identifier(&relation.real_schema), identifier(&relation.real_name));
    let tenant = match &relation.tenant {
        TenantRule::Single => None,
        TenantRule::Column { name, type_oid, .. } => {
            let number = parameters.number(Appended { type_oid: *type_oid, value: AppendedValue::Tenant });
            // Where names are looked up in further schemas, this one is not: a `varchar` has no operator of its own to be found first.
            let equal = if catalog.extensions.resolution().path().is_empty() { "=" } else { "OPERATOR(pg_catalog.=)" };
            Some(format!("{} {equal} ${number}", identifier(name)))
        }
    };
    let copies = fence.copies().iter().cloned();
    let filter = relation.filter.as_ref().map(|filter| format!("({})", filter.text));
    if let Some(rule) = apart {
        let inner = conjunction(tenant.into_iter().chain(copies));
        let outer = conjunction(filter.into_iter());
        let needed = read_by(relation, rule)?.iter().map(|name| opaque(name)).collect::<Vec<_>>().join(", ");
        return Ok(format!("(SELECT {columns} FROM (SELECT {needed} FROM {real}{inner} OFFSET 0) AS \"pgwicket\"{outer}{close})"));
    }
    let all = conjunction(tenant.into_iter().chain(filter).chain(copies));
    Ok(format!("(SELECT {columns} FROM {real}{all}{close})"))
}

fn conjunction(parts: impl Iterator<Item = String>) -> String {
    let joined = parts.collect::<Vec<_>>().join(" AND ");
    if joined.is_empty() { joined } else { format!(" WHERE {joined}") }
}

/// A column behind a fence: the same value, type, modifier and collation, and nothing that the planner can look through.
///
/// `OFFSET 0` keeps expressions above it from being run on rows below it, but not from being tried on the statistics of the column
/// below (selfuncs.c, `examine_simple_variable`, goes through every subquery that gives a column as it is). This is an expression,
/// which has no statistics, and one that no planner can fold: what `now()` gives is not known before the statement runs. It is
/// dropped where nothing reads the column, as the column would be.
fn opaque(name: &str) -> String {
    let name = identifier(name);
    format!("CASE WHEN pg_catalog.now() IS NULL THEN {name} ELSE {name} END AS {name}")
}

/// The real columns that a relation with a row filter of its own fence reads: those it shows, and those of the filter.
fn read_by(relation: &ExposedRelation, filter: &RowFilter) -> Result<Vec<Box<str>>, Refusal> {
    let unread = || Refusal::new(RefusalCode::Unverified, "the row filter of a relation cannot be read");
    let parsed = parse_select(&format!("SELECT WHERE ({})", filter.text)).ok_or_else(unread)?;
    let mut names: Vec<Box<str>> = relation.columns.iter().map(|column| column.name.clone()).collect();
    let mut whole = true;
    parsed.field("where_clause")?.each(&mut |node| {
        if node.kind == "ColumnRef" {
            match node.list("fields").ok().and_then(<[Tree]>::last).and_then(Tree::string) {
                Some(name) if names.iter().any(|known| **known == *name) => {}
                Some(name) => names.push(name.into()),
                None => whole = false,
            }
        }
    });
    if whole { Ok(names) } else { Err(unread()) }
}

fn output(column: &ExposedColumn, catalog: &CatalogSnapshot, parameters: &mut Parameters) -> Result<String, Refusal> {
    let name = identifier(&column.name);
    // A form that no setting of the agent's session moves, or its text would tell more of the value than the mask does.
    let text = || {
        let form = canonical::text_form(catalog, column.base_type_oid);
        let form = form.ok_or_else(|| Refusal::new(RefusalCode::Unverified, "a masked column's type has no canonical text"))?;
        Ok::<_, Refusal>(form.of(&name))
    };
    let value = match &column.mask {
        None => return Ok(name),
        Some(Mask::Null) => format!("NULL::{}", type_name(column, catalog)?),
        Some(Mask::Constant(value)) => {
            format!("CASE WHEN {name} IS NULL THEN NULL ELSE {}::{} END", literal(value), type_name(column, catalog)?)
        }
        Some(Mask::Last(count)) => {
            let text = text()?;
            format!("'***' || pg_catalog.\"right\"({text}, CASE WHEN pg_catalog.length({text}) > {count} THEN {count} ELSE 0 END)")
        }
        // A key alone in front would let whoever knows one digest extend it; the outer hash forbids that.
        Some(Mask::Hash(key)) => {
            let number = parameters.number(Appended { type_oid: TEXT, value: AppendedValue::MaskKey(key.clone()) });
            let hash =
                |inner: String| format!("pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(${number} || {inner}, 'UTF8')), 'hex')");
            hash(hash(text()?))
        }
    };
    Ok(format!("{value} AS {name}"))
}

fn type_name(column: &ExposedColumn, catalog: &CatalogSnapshot) -> Result<String, Refusal> {
    let found = catalog.types.get(&column.base_type_oid);
    let known = found.ok_or_else(|| Refusal::new(RefusalCode::Unverified, "the type of a masked column is not in the catalog snapshot"))?;
    Ok(format!("{}.{}", identifier(&known.schema), identifier(&known.name)))
}

/// `pgwicket.relations` for this agent.
pub(in crate::govern) fn own_relations(agent: &Agent) -> String {
    let rows = agent.schemas.iter().flat_map(|schema| schema.relations.values()).map(|relation| {
        let key = relation.primary_key.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
        let rows = relation.max_rows.map_or_else(|| "NULL".to_owned(), |rows| rows.to_string());
        format!(
            "({}, {}, ARRAY[{key}]::pg_catalog.text[], {rows}::pg_catalog.int8, {})",
            literal(&relation.schema),
            literal(&relation.name),
            relation.description.as_deref().map_or_else(|| "NULL::pg_catalog.text".to_owned(), literal)
        )
    });
    values("\"schema\", \"relation\", \"primary_key\", \"max_rows\", \"description\"", rows)
}

/// `pgwicket.columns` for this agent.
pub(in crate::govern) fn own_columns(agent: &Agent, catalog: &CatalogSnapshot) -> String {
    let rows = agent.schemas.iter().flat_map(|schema| schema.relations.values()).flat_map(|relation| {
        relation.columns.iter().zip(1..).map(move |(column, place)| {
            let mask = match &column.mask {
                None => "NULL::pg_catalog.text".to_owned(),
                Some(Mask::Null) => literal("null"),
                Some(Mask::Hash(_)) => literal("hash"),
                Some(Mask::Last(count)) => literal(&format!("last({count})")),
                Some(Mask::Constant(_)) => literal("constant"),
            };
            let shown = shown_type(column, catalog);
            let description = column.description.as_deref().map_or_else(|| "NULL::pg_catalog.text".to_owned(), literal);
            let (schema, name, column_name) = (literal(&relation.schema), literal(&relation.name), literal(&column.name));
            format!("({schema}, {name}, {place}, {column_name}, {}, {}, {mask}, {description})", literal(shown), !column.not_null)
        })
    });
    values("\"schema\", \"relation\", \"position\", \"column\", \"type\", \"nullable\", \"mask\", \"description\"", rows)
}

/// `pgwicket.proposals` of this agent, as they are when the statement runs.
pub(in crate::govern) fn own_proposals(parameters: &mut Parameters) -> String {
    const COLUMNS: [(&str, &str); 17] = [
        ("proposal_id", "text"),
        ("status", "text"),
        ("operation", "text"),
        ("schema", "text"),
        ("relation", "text"),
        ("rows", "int4"),
        ("changes", "jsonb"),
        ("reason", "text"),
        ("run", "text"),
        ("evidence_id", "text"),
        ("idempotency_key", "text"),
        ("conflicts_with", "jsonb"),
        ("decision_reasons", "jsonb"),
        ("created_at", "timestamptz"),
        ("expires_at", "timestamptz"),
        ("decided_at", "timestamptz"),
        ("applied_at", "timestamptz"),
    ];
    records(SessionValue::Proposals, &COLUMNS, parameters)
}

/// `pgwicket.proposal_changes` of this agent: a row for each column that a proposal changes.
pub(in crate::govern) fn own_changes(parameters: &mut Parameters) -> String {
    const COLUMNS: [(&str, &str); 8] = [
        ("proposal_id", "text"),
        ("change", "int4"),
        ("operation", "text"),
        ("key", "jsonb"),
        ("column", "text"),
        ("before", "text"),
        ("after", "text"),
        ("is_default", "bool"),
    ];
    records(SessionValue::ProposalChanges, &COLUMNS, parameters)
}

fn records(value: SessionValue, columns: &[(&str, &str)], parameters: &mut Parameters) -> String {
    let number = parameters.number(Appended { type_oid: JSONB, value: AppendedValue::Session(value) });
    let columns = columns.iter().map(|(name, of)| format!("{} pg_catalog.{of}", identifier(name))).collect::<Vec<_>>().join(", ");
    format!("(SELECT * FROM pg_catalog.jsonb_to_recordset(${number}) AS \"pgwicket\" ({columns}))")
}

/// The type as the agent meets it: what is not built in travels as text, and its name is the source's own business.
fn shown_type<'a>(column: &'a ExposedColumn, catalog: &'a CatalogSnapshot) -> &'a str {
    let masked = matches!(column.mask, Some(Mask::Hash(_) | Mask::Last(_)));
    if masked || column.base_type_oid >= FIRST_NORMAL_OID {
        "text"
    } else if column.type_oid >= FIRST_NORMAL_OID {
        catalog.types.get(&column.base_type_oid).map_or("text", |base| &base.name)
    } else {
        &column.type_name
    }
}

/// A derived table of literal rows; an agent without relations never gets here with a source, but stays valid SQL.
fn values(columns: &str, rows: impl Iterator<Item = String>) -> String {
    let mut text = String::from("(SELECT * FROM (VALUES ");
    for (place, row) in rows.enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        write!(text, "{comma}{row}").unwrap_or_default();
    }
    text + ") AS \"pgwicket\" (" + columns + "))"
}
