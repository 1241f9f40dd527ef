//! The new rows of an upsert as PostgreSQL has them in `excluded`: with defaults, and with what is computed of other columns.

use pg_query::{NodeEnum, protobuf::SelectStmt};

use super::{
    Context,
    draft::skeleton,
    formula::{Filled, Formula},
    insert::NewRows,
    unread,
};
use crate::{
    govern::{Refusal, kernel::identifier},
    policy::VisibleTypeKind,
    sql::Tree,
};

/// The place of a row among the new ones.
pub(super) const ORDER: &str = "\"pgwicket_order\"";
const NEW: &str = "\"pgwicket_new\"";

/// The new rows.
pub(super) struct Excluded {
    rows: SelectStmt,
    /// The columns that the statement gives, in its order.
    pub(super) given: Vec<Box<str>>,
    pub(super) patterns: Vec<Vec<bool>>,
    pub(super) typed: Vec<Box<str>>,
    /// Every exposed column that has a value here, and the expression for it over the rows.
    valued: Vec<(Box<str>, String)>,
    /// Columns that are computed of others.
    generated: Vec<(Box<str>, String)>,
    /// Columns whose value only the source knows, and those that take one that no row has.
    unknown: Vec<Box<str>>,
    fresh: Vec<Box<str>>,
    /// Whether a check of the table is broken.
    pub(super) broken: Option<String>,
    /// There is one row, however many the source has.
    pub(super) one: bool,
}

impl Excluded {
    /// The rows of a statement with all that the table adds.
    pub(super) fn new(context: Context<'_>, rows: NewRows) -> Result<Self, Refusal> {
        let rules = context.known_rules()?;
        let one = rows.select.values_lists.len() == 1 || (rows.columns.is_empty() && rows.select.values_lists.is_empty());
        let mut excluded = Self {
            given: rows.columns,
            patterns: rows.patterns,
            typed: rows.typed,
            rows: rows.select,
            valued: Vec::new(),
            generated: Vec::new(),
            unknown: Vec::new(),
            fresh: Vec::new(),
            broken: None,
            one,
        };
        for column in &context.relation.columns {
            let name = identifier(&column.name);
            let place = excluded.given.iter().position(|given| **given == *column.name);
            let defaults = place.map_or_else(Vec::new, |place| excluded.defaulted(place));
            let all = place.is_none() || defaults.len() == excluded.patterns.len();
            let given = format!("\"pgwicket_rows\".{name}");
            if place.is_some() && defaults.is_empty() {
                excluded.valued.push((column.name.clone(), given));
                continue;
            }
            if context.is_tenant(&column.name) {
                continue; // it is that of the row that is there
            }
            let filled = if column.mask.is_some() { Filled::Unknown } else { context.filled(rules, column) };
            let of_type = context.cast(column)?;
            let value = match filled {
                Filled::Null => format!("CAST(NULL AS {of_type})"),
                Filled::By(formula) => format!("CAST({} AS {of_type})", formula.over(|_| String::new())),
                Filled::Generated(formula) => {
                    let over = formula.over(|name| context.side(NEW, name));
                    excluded.generated.push((column.name.clone(), format!("CAST({over} AS {of_type})")));
                    continue;
                }
                Filled::Fresh => {
                    excluded.fresh.push(column.name.clone());
                    format!("CAST(NULL AS {of_type})")
                }
                Filled::Unknown => {
                    excluded.unknown.push(column.name.clone());
                    format!("CAST(NULL AS {of_type})")
                }
            };
            let value = if all {
                value
            } else {
                let numbers = defaults.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                format!("CASE WHEN \"pgwicket_rows\".\"pgwicket_pattern\" IN ({numbers}) THEN {value} ELSE {given} END")
            };
            excluded.valued.push((column.name.clone(), value));
        }
        excluded.broken = excluded.checks(context);
        Ok(excluded)
    }

    /// The patterns under which a given column is DEFAULT.
    fn defaulted(&self, place: usize) -> Vec<usize> {
        let patterns = self.patterns.iter().enumerate();
        patterns.filter(|(_, pattern)| pattern.get(place) == Some(&true)).map(|(number, _)| number).collect()
    }

    /// Whether one of the table's checks fails, of those that read what is known of the new row.
    fn checks(&self, context: Context<'_>) -> Option<String> {
        let known = |formula: &Formula| formula.columns.iter().all(|name| !self.unknown.contains(name) && !self.fresh.contains(name));
        let rules = context.known_rules().ok()?;
        let formulas = rules.checks.iter().filter_map(|text| context.formula(text).ok()).filter(known);
        let broken: Vec<String> = formulas.map(|formula| format!("({}) IS FALSE", formula.over(|name| context.side(NEW, name)))).collect();
        (!broken.is_empty()).then(|| broken.join(" OR "))
    }

    /// Refused where one of these decides a conflict and has a value that only the source knows.
    pub(super) fn knows<'a>(&self, mut columns: impl Iterator<Item = &'a Box<str>>) -> Result<(), Refusal> {
        // A value that no row has is in no row's way: NULL stands for it.
        columns.find(|column| self.unknown.contains(column)).map_or(Ok(()), |column| Err(unknown(column)))
    }

    /// Refused where a client's expression reads a column of `excluded` that has no value before the row is written.
    pub(super) fn reads_known(&self, context: Context<'_>, tree: &Tree) -> Result<(), Refusal> {
        let mut read = Ok(());
        let mut without_value = self.unknown.iter().chain(&self.fresh);
        tree.each(&mut |node| {
            if node.kind != "ColumnRef" || context.name == "excluded" || read.is_err() {
                return;
            }
            let found = match node.list("fields").unwrap_or_default() {
                [relation, column] if relation.string() == Some("excluded") => {
                    without_value.clone().find(|known| column.string().is_none_or(|name| ***known == *name))
                }
                [whole] if whole.string() == Some("excluded") => without_value.next(),
                _ => None,
            };
            read = found.map_or(Ok(()), |column| Err(unknown(column)));
        });
        read
    }

    /// The columns of `excluded` in the scope of DO UPDATE: all that the agent sees.
    pub(super) fn all(&self, context: Context<'_>, there: &str) -> String {
        let columns = context.relation.columns.iter().map(|column| {
            let name = identifier(&column.name);
            let valued = self.valued.iter().chain(&self.generated).any(|(known, _)| *known == column.name);
            // A value of an enum has travelled as its text so far.
            let own = context.visible.types.iter().find(|known| known.oid == column.base_type_oid);
            match own.filter(|known| matches!(known.kind, VisibleTypeKind::Enum(_))) {
                Some(known) if valued => {
                    format!("CAST(\"excluded\".{name} AS {}.{}) AS {name}", identifier(&known.schema), identifier(&known.name))
                }
                Some(_) | None if valued => format!("\"excluded\".{name}"),
                Some(_) | None => format!("{there}.{name}"),
            }
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The columns that must have a value, and do not get one when the row is written.
    pub(super) fn required(&self, context: Context<'_>) -> Vec<Box<str>> {
        let known = |name: &str| {
            self.valued.iter().chain(&self.generated).any(|(known, _)| **known == *name)
                && !self.unknown.iter().chain(&self.fresh).any(|unknown| **unknown == *name)
        };
        let filled = context.rules.is_none_or(|rules| rules.fills_in);
        let columns = context.relation.columns.iter().filter(|column| column.not_null && column.mask.is_none() && known(&column.name));
        if filled { Vec::new() } else { columns.map(|column| column.name.clone()).collect() }
    }

    /// The rows, with each row's place and what it shares with others.
    pub(super) fn layers(self, groups: &[String]) -> Result<SelectStmt, Refusal> {
        let mut names: Vec<String> = self.given.iter().map(|column| identifier(column)).collect();
        let mut kept: Vec<String> = Vec::new();
        if self.patterns.len() > 1 {
            names.push("\"pgwicket_pattern\"".to_owned());
            kept.push("\"pgwicket_pattern\"".to_owned());
        }
        for number in 0..self.typed.len() {
            let name = format!("\"pgwicket_type_{number}\"");
            names.push(name.clone());
            kept.push(name);
        }
        let names = if names.is_empty() { "\"pgwicket_nothing\"".to_owned() } else { names.join(", ") };
        let valued = self.valued.iter().map(|(column, value)| format!("{value} AS {}", identifier(column)));
        let first = valued.chain(kept.iter().map(|name| format!("\"pgwicket_rows\".{name}")));
        let first = first.chain([format!("pg_catalog.row_number() OVER () AS {ORDER}")]).collect::<Vec<_>>().join(", ");
        let mut text = format!("SELECT {first} FROM (SELECT) AS \"pgwicket_rows\" ({names})");
        kept.push(ORDER.to_owned());
        kept.extend(self.valued.iter().map(|(column, _)| identifier(column)));
        let carried = |kept: &[String]| kept.iter().map(|name| format!("{NEW}.{name}")).collect::<Vec<_>>().join(", ");
        if !self.generated.is_empty() {
            let computed = self.generated.iter().map(|(column, value)| format!("{value} AS {}", identifier(column))).collect::<Vec<_>>();
            text = format!("SELECT {}, {} FROM ({text}) AS {NEW}", carried(&kept), computed.join(", "));
            kept.extend(self.generated.iter().map(|(column, _)| identifier(column)));
        }
        if !groups.is_empty() || self.broken.is_some() {
            let groups = groups.iter().enumerate().map(|(number, group)| format!("{group} AS \"pgwicket_group_{number}\""));
            let broken = self.broken.iter().map(|broken| format!("{broken} AS \"pgwicket_broken\""));
            let last = groups.chain(broken).collect::<Vec<_>>().join(", ");
            text = format!("SELECT {}, {last} FROM ({text}) AS {NEW}", carried(&kept));
        }
        let mut select = skeleton(&text)?;
        innermost(&mut select, self.rows)?;
        Ok(select)
    }
}

fn unknown(column: &str) -> Refusal {
    Refusal::unsupported(format!("an upsert that depends on the default of \"{column}\""))
        .hint("give the column a value: its default is known only when the row is written")
}

/// Puts the rows where they belong.
fn innermost(select: &mut SelectStmt, rows: SelectStmt) -> Result<(), Refusal> {
    let from = select.from_clause.first_mut().and_then(|node| node.node.as_mut());
    let Some(NodeEnum::RangeSubselect(subselect)) = from else { return Err(unread("the rows of an INSERT")) };
    if subselect.alias.as_ref().is_some_and(|alias| alias.aliasname == "pgwicket_rows") {
        subselect.subquery = Some(Box::new(super::draft::node(NodeEnum::SelectStmt(Box::new(rows)))));
        return Ok(());
    }
    match subselect.subquery.as_deref_mut().and_then(|node| node.node.as_mut()) {
        Some(NodeEnum::SelectStmt(inner)) => innermost(inner, rows),
        _ => Err(unread("the rows of an INSERT")),
    }
}
