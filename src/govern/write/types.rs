//! Which type a new value is read as.

use super::{Context, Place, unread};
use crate::{
    govern::{Refusal, RefusalCode, kernel::identifier},
    policy::ExposedColumn,
    sql::{allow, catalog::FIRST_NORMAL_OID},
};

impl Context<'_> {
    /// The exposed column of that name.
    pub(super) fn column(&self, name: &str) -> Result<&ExposedColumn, Refusal> {
        self.relation.columns.iter().find(|column| *column.name == *name).ok_or_else(|| {
            let names: Vec<&str> = self.relation.columns.iter().map(|column| &*column.name).collect();
            Refusal::new(RefusalCode::UndefinedColumn, format!("column \"{name}\" of relation \"{}\" does not exist", self.relation.name))
                .hint(format!("its columns are {}", names.join(", ")))
        })
    }

    /// A column at an output.
    pub(super) fn place(&self, column: &str, output: Option<usize>) -> Result<Place, Refusal> {
        let column = self.column(column)?;
        Ok(Place { column: column.name.clone(), type_name: column.type_name.clone(), limit: self.limit(column), output })
    }

    /// The type below every domain, with its modifier, as `format_type` has it.
    fn base_name<'c>(&'c self, column: &'c ExposedColumn) -> &'c str {
        let (mut oid, mut name) = (column.type_oid, &*column.type_name);
        for _ in 0..32 {
            match self.source.catalog.shapes.types.get(&oid).filter(|shape| shape.kind == 'd') {
                Some(shape) => (oid, name) = (shape.base, &shape.base_name),
                None => break,
            }
        }
        name
    }

    /// How long a value of the column may be.
    fn limit(&self, column: &ExposedColumn) -> Option<Limit> {
        let base = self.source.catalog.types.get(&column.base_type_oid)?;
        let unit = match base.name.as_str() {
            "varchar" | "bpchar" => Unit::Characters,
            "varbit" => Unit::Bits { exactly: false },
            "bit" => Unit::Bits { exactly: true },
            _ => return None,
        };
        let of = self.base_name(column);
        let most = of.rsplit_once('(')?.1.strip_suffix(')')?.parse().ok()?;
        Some(Limit { unit, most, of: of.into() })
    }

    /// Whether it is an array of values that may be so long and no longer.
    pub(super) fn is_limited_array(&self, column: &ExposedColumn) -> bool {
        let types = &self.source.catalog.types;
        let element = types.get(&column.base_type_oid).filter(|known| known.array).and_then(|known| types.get(&known.base));
        let limited = element.is_some_and(|known| matches!(known.name.as_str(), "varchar" | "bpchar" | "bit" | "varbit"));
        limited && column.base_type_oid < FIRST_NORMAL_OID && self.base_name(column).contains('(')
    }

    /// The type a new value is cast to: the column's own, without a length that would cut it off. A type of a reviewed extension
    /// goes by its own name, which the kernel makes the real one. Text for any other type that is not built in, since the text
    /// form is what travels.
    pub(super) fn cast(&self, column: &ExposedColumn) -> Result<String, Refusal> {
        if let Some(of) = self.extension_of(column) {
            return Ok(of);
        }
        let base = self.source.catalog.types.get(&column.base_type_oid).ok_or_else(|| unread("a column of an unknown type"))?;
        let built_in = column.base_type_oid < FIRST_NORMAL_OID && base.schema == "pg_catalog" && allow::cast_type(&base.name).is_ok();
        Ok(match base.name.as_str() {
            _ if !built_in => "pg_catalog.text".to_owned(),
            "varchar" | "bpchar" => "pg_catalog.text".to_owned(),
            "bit" | "varbit" => "pg_catalog.varbit".to_owned(),
            _ if column.type_oid == column.base_type_oid && !base.array => column.type_name.to_string(),
            // A modifier rounds; of characters and bits it would cut off.
            _ if self.base_name(column).contains('(') && !self.is_limited_array(column) => self.base_name(column).to_owned(),
            name => format!("pg_catalog.\"{name}\""),
        })
    }

    /// `"vector"(3)`, `"citext"[]`: PostgreSQL checks a modifier as it assigns.
    pub(super) fn extension_of(&self, column: &ExposedColumn) -> Option<String> {
        let resolution = self.source.catalog.extensions.resolution();
        let known = self.source.catalog.types.get(&column.base_type_oid)?;
        if known.array {
            return resolution.type_of(known.base).map(|of| format!("{}[]", identifier(&of.name)));
        }
        let of = resolution.type_of(column.base_type_oid)?;
        let modifier = column.type_name.find('(').filter(|_| column.type_oid == column.base_type_oid && column.type_name.ends_with(')'));
        let modifier = modifier.and_then(|start| column.type_name.get(start..)).unwrap_or_default();
        Some(format!("{}{modifier}", identifier(&of.name)))
    }
}

/// How long a value may be.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    unit: Unit,
    most: usize,
    /// The type that says so.
    of: Box<str>,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Characters,
    Bits { exactly: bool },
}

impl Limit {
    /// As an assignment in PostgreSQL: too long is an error, unless only spaces are cut off.
    pub(super) fn takes(&self, text: &str) -> Result<(), Refusal> {
        let Self { unit, most, of } = self;
        match unit {
            Unit::Characters if text.trim_end_matches(' ').chars().count() > *most => {
                Err(Refusal::new(RefusalCode::TooLong, format!("value too long for type {of}")))
            }
            Unit::Bits { .. } if !text.bytes().all(|bit| matches!(bit, b'0' | b'1')) => Ok(()), // in hexadecimal: the source reads it
            Unit::Bits { exactly: true } if text.len() != *most => {
                Err(Refusal::new(RefusalCode::Length, format!("bit string length {} does not match type {of}", text.len())))
            }
            Unit::Bits { exactly: false } if text.len() > *most => {
                Err(Refusal::new(RefusalCode::TooLong, format!("bit string too long for type {of}")))
            }
            Unit::Characters | Unit::Bits { .. } => Ok(()),
        }
    }
}
