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
        Ok(Place { column: column.name.clone(), type_name: column.type_name.clone(), length: length(column, self), output })
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

/// Characters that the column takes.
fn length(column: &ExposedColumn, context: &Context<'_>) -> Option<usize> {
    let base = context.source.catalog.types.get(&column.base_type_oid)?;
    if !matches!(base.name.as_str(), "varchar" | "bpchar") {
        return None;
    }
    column.type_name.rsplit_once('(')?.1.strip_suffix(')')?.parse().ok()
}
