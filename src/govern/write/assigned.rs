//! Whether a value may be assigned to its column, as PostgreSQL decides it: by types. The source says what type an expression has, in
//! the description of the draft's read.

use pg_query::{Node, NodeEnum, protobuf::a_const::Val};

use super::{Context, WriteDraft, draft::is_default, unread};
use crate::{
    govern::{Refusal, RefusalCode},
    policy::{ExposedColumn, Visible},
    sql::{
        builtin::{BOOL, Types, UNKNOWN},
        catalog::{CatalogSnapshot, FIRST_NORMAL_OID, Oid},
    },
};

/// An output that has the type of what is assigned to a column, and no value.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    pub(super) output: usize,
    pub(super) column: Box<str>,
    /// What it has to be, where that is not what the column is: a part of its value, or where that stands.
    pub(super) of: Option<Oid>,
}

/// Such an output, its expression still to be filled in: PostgreSQL drops the expression before any row is read.
pub(super) const TYPE_ONLY: &str = "CASE WHEN FALSE THEN NULL END";

/// Computed values in one VALUES list, each of which has an output for its type.
pub(super) const MOST_COMPUTED: usize = 500;

/// Puts `expression` into an output that has only its type.
pub(super) fn fill_type(output: Option<&mut Node>, expression: Node) -> Result<(), Refusal> {
    let Some(NodeEnum::CaseExpr(case)) = output.and_then(|node| node.node.as_mut()) else { return Err(unread("the draft lacks a type")) };
    let Some(NodeEnum::CaseWhen(when)) = case.args.first_mut().and_then(|node| node.node.as_mut()) else {
        return Err(unread("the draft lacks a type"));
    };
    when.result = Some(Box::new(expression));
    Ok(())
}

/// The oid of a value whose type is plain; `None`: the source has to say.
enum Plain {
    /// It takes the column's type: a string, NULL, a parameter that has no type of its own, DEFAULT.
    Open,
    /// It has this one.
    Typed(Oid),
    /// The source has to say.
    Computed,
}

fn plain(value: &Node, declared: &[Oid]) -> Plain {
    match &value.node {
        Some(NodeEnum::ParamRef(parameter)) => {
            let place = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
            match place.and_then(|place| declared.get(place)) {
                Some(oid) if *oid != 0 && *oid != UNKNOWN => Plain::Typed(*oid),
                Some(_) | None => Plain::Open,
            }
        }
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            None | Some(Val::Sval(_)) => Plain::Open,
            Some(Val::Ival(_)) => Plain::Typed(23),
            Some(Val::Fval(value)) if value.fval.parse::<i64>().is_ok() => Plain::Typed(20),
            Some(Val::Fval(_)) => Plain::Typed(1700),
            Some(Val::Boolval(_)) => Plain::Typed(BOOL),
            Some(Val::Bsval(_)) => Plain::Typed(1560),
        },
        _ if is_default(value) => Plain::Open,
        Some(_) | None => Plain::Computed,
    }
}

/// Whether a value takes the type of the column that it is assigned to.
pub(super) fn is_open(value: &Node, declared: &[Oid]) -> bool {
    matches!(plain(value, declared), Plain::Open)
}

impl Context<'_> {
    /// Whether the source has to say of what type a value for the column is; refused when it is known to be of a wrong one.
    pub(super) fn is_computed(&self, column: &str, value: &Node) -> Result<bool, Refusal> {
        let column = self.column(column)?;
        let typed = match (plain(value, self.declared), self.excluded(value)) {
            (Plain::Open, _) => return Ok(false),
            (Plain::Typed(oid), _) => oid,
            (Plain::Computed, Some(excluded)) => self.column(&excluded)?.type_oid,
            (Plain::Computed, None) => return Ok(true),
        };
        check(&self.source.catalog, column, column.type_oid, typed, None)?;
        Ok(false)
    }

    /// The same of a value that has to be of another type than the column's.
    pub(super) fn is_computed_as(&self, column: &ExposedColumn, to: Oid, value: &Node) -> Result<bool, Refusal> {
        match plain(value, self.declared) {
            Plain::Open => Ok(false),
            Plain::Typed(oid) => check(&self.source.catalog, column, to, oid, None).map(|()| false),
            Plain::Computed => Ok(true),
        }
    }

    /// `excluded.column`, which is of the column's own type.
    fn excluded(&self, value: &Node) -> Option<String> {
        let Some(NodeEnum::ColumnRef(reference)) = &value.node else { return None };
        let part = |node: &Node| match &node.node {
            Some(NodeEnum::String(part)) => Some(part.sval.clone()),
            _ => None,
        };
        match reference.fields.iter().map(part).collect::<Option<Vec<_>>>()?.as_slice() {
            [table, column] if table == "excluded" && self.name != "excluded" => Some(column.clone()),
            _ => None,
        }
    }
}

impl WriteDraft {
    /// 42804 where a value is of a type that PostgreSQL does not make the column's own in an assignment. `types` are those of the read's
    /// outputs, as the source describes them.
    ///
    /// # Errors
    /// The refusal.
    pub fn check_types(&self, types: &[Oid], visible: &Visible) -> Result<(), Refusal> {
        for assigned in &self.layout.assigned {
            let oid = types.get(assigned.output).ok_or_else(|| unread("the type of a value"))?;
            let column = self.relation.columns.iter().find(|column| column.name == assigned.column);
            let column = column.ok_or_else(|| unread("a column"))?;
            check(&self.catalog, column, assigned.of.unwrap_or(column.type_oid), *oid, Some((visible, self)))?;
        }
        Ok(())
    }
}

fn check(
    catalog: &CatalogSnapshot,
    column: &ExposedColumn,
    to: Oid,
    oid: Oid,
    seen: Option<(&Visible, &WriteDraft)>,
) -> Result<(), Refusal> {
    if Types::of(catalog).assigns(oid, to) {
        return Ok(());
    }
    // The client's own name of the column's type; of another type of the source's own only what the catalog shows.
    let told = |oid: Oid| match seen {
        _ if oid < FIRST_NORMAL_OID => built_in_name(catalog, oid),
        Some((visible, draft)) if visible.shows_type(draft.read.source(), oid) => {
            catalog.types.get(&oid).map_or_else(|| "another type".to_owned(), |known| known.name.clone())
        }
        Some(_) | None => "another type".to_owned(),
    };
    if to != column.type_oid {
        let message = format!("a part of column \"{}\" requires type {} but expression is of type {}", column.name, told(to), told(oid));
        return Err(Refusal::new(RefusalCode::DatatypeMismatch, message).hint("You will need to rewrite or cast the expression."));
    }
    let of = if column.type_oid < FIRST_NORMAL_OID { column.type_name.to_string() } else { told(column.type_oid) };
    let message = format!("column \"{}\" is of type {of} but expression is of type {}", column.name, told(oid));
    Err(Refusal::new(RefusalCode::DatatypeMismatch, message).hint("You will need to rewrite or cast the expression."))
}

/// As `format_type` has it.
fn built_in_name(catalog: &CatalogSnapshot, oid: Oid) -> String {
    let types = Types::of(catalog);
    if let Some(element) = types.element(oid) {
        return format!("{}[]", built_in_name(catalog, element));
    }
    let name = types.facts().type_name(oid).unwrap_or("another type");
    let said = match name {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "varchar" => "character varying",
        "bpchar" => "character",
        "varbit" => "bit varying",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        other => other,
    };
    said.to_owned()
}
