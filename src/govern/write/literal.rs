//! Values that are read as what their columns hold: by the source, under the type's own input function. A literal is read whether or not
//! a row gets it, as PostgreSQL reads it when it parses the statement.

use pg_query::{Node, NodeEnum, protobuf::a_const::Val};
use serde_json::{Map, Value as Json};

use super::{Context, DraftRow, Place, WriteDraft, assigned, checks::JSONB, unread};
use crate::{
    govern::{Appended, AppendedValue, GovernedStatement, Refusal, RefusalCode},
    policy::ExposedColumn,
    proposal::{RowChange, Value},
    sql::catalog::{FIRST_NORMAL_OID, Oid},
};

/// Parameters of one statement at most, well under PostgreSQL's 65 535.
const MOST_VALUES: usize = 20_000;

/// A value that takes its column's type.
#[derive(Debug, Clone)]
pub(super) struct Literal {
    place: Place,
    /// The source's own type that it is read as, below every domain: what a domain checks, it checks of rows.
    own: Option<Oid>,
    array: bool,
    written: Written,
}

#[derive(Debug, Clone)]
enum Written {
    Text(Box<str>),
    /// The client's parameter of this place.
    Parameter(usize),
}

impl Context<'_> {
    /// A literal whose column's type the draft's own cast does not read.
    pub(super) fn literal(&self, name: &str, value: &Node) -> Result<Option<Literal>, Refusal> {
        let column = self.column(name)?;
        let place = self.place(name, None)?;
        let own = Some(column.base_type_oid).filter(|_| self.is_text_form(column) && column.base_type_oid >= FIRST_NORMAL_OID);
        let array = self.is_limited_array(column);
        if own.is_none() && place.limit.is_none() && !array {
            return Ok(None);
        }
        let written = match &value.node {
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(Val::Sval(text)) => Written::Text(text.sval.as_str().into()),
                Some(Val::Ival(number)) => Written::Text(number.ival.to_string().into()),
                Some(Val::Fval(number)) => Written::Text(number.fval.as_str().into()),
                Some(Val::Boolval(_) | Val::Bsval(_)) | None => return Ok(None),
            },
            Some(NodeEnum::ParamRef(parameter)) if assigned::is_open(value, self.declared) => {
                let place = usize::try_from(parameter.number).ok().and_then(|number| number.checked_sub(1));
                Written::Parameter(place.ok_or_else(|| unread("a parameter"))?)
            }
            Some(_) | None => return Ok(None),
        };
        Ok(Some(Literal { place, own, array, written }))
    }
}

impl WriteDraft {
    /// Statements that return nothing, and have the source read each new value of a type that the draft does not read as that type: labels
    /// of enums, checks of domains, lengths within arrays. `given` are the values of the client's parameters.
    ///
    /// # Errors
    /// A value that is refused without asking.
    pub fn checks_of_values(
        &self,
        changes: &[RowChange],
        rows: &[DraftRow],
        given: &[Option<&[u8]>],
    ) -> Result<Vec<GovernedStatement>, Refusal> {
        let (mut values, mut arrays) = (Vec::new(), Vec::new());
        for literal in &self.layout.literals {
            let text = match &literal.written {
                Written::Text(text) => Some(&**text),
                Written::Parameter(place) => given.get(*place).copied().flatten().and_then(|bytes| str::from_utf8(bytes).ok()),
            };
            let Some(text) = text else { continue };
            literal.place.limit.iter().try_for_each(|limit| limit.takes(text))?;
            if let Some(type_oid) = literal.own {
                add(&mut values, type_oid, text);
            }
            if literal.array {
                add(&mut arrays, &*literal.place.type_name, text);
            }
        }
        // A new row of an upsert is read as a row of the table, whatever is in its way.
        let new = rows.iter().filter(|_| self.layout.met.is_some()).flat_map(|row| {
            let places = self.layout.actions.first().map_or(&[][..], |action| &action.after);
            places.iter().map(|place| place.cell(row))
        });
        let new = new.collect::<Result<Vec<_>, _>>()?;
        for cell in changes.iter().flat_map(|change| &change.after).chain(&new) {
            let column = self.relation.columns.iter().find(|column| column.name == cell.column).ok_or_else(|| unread("a column"))?;
            match cell.value.text() {
                Some(text) if column.type_oid >= FIRST_NORMAL_OID => add(&mut values, column.type_oid, text),
                Some(text) if self.limited_arrays.contains(&column.name) => add(&mut arrays, &*column.type_name, text),
                None if cell.value == Value::Null && self.takes_no_null(column.type_oid) => return Err(no_null(column)),
                Some(_) | None => {}
            }
        }
        if values.len().max(arrays.len()) > MOST_VALUES {
            let message = format!("more than {MOST_VALUES} different values of the source's own types in one proposal");
            return Err(Refusal::new(RefusalCode::Limit, message).hint("propose the rows in several statements"));
        }
        let mut statements = Vec::new();
        if !values.is_empty() {
            let values = values.into_iter().map(|(type_oid, text)| Appended { type_oid, value: AppendedValue::Constant(text.into()) });
            statements.push(self.read.reading_values(values.collect()));
        }
        if !arrays.is_empty() {
            statements.push(self.reading_arrays(&arrays));
        }
        Ok(statements)
    }

    /// Has the source read arrays as their columns' types, the length of their elements included.
    fn reading_arrays(&self, arrays: &[(&str, &str)]) -> GovernedStatement {
        let mut types: Vec<&str> = arrays.iter().map(|(of, _)| *of).collect();
        types.sort_unstable();
        types.dedup();
        let columns = types.iter().enumerate().map(|(number, of)| format!("\"c{number}\" {of}")).collect::<Vec<_>>().join(", ");
        let rows = arrays.iter().map(|(of, text)| {
            let number = types.iter().position(|known| known == of).unwrap_or_default();
            Json::Object(Map::from_iter([(format!("c{number}"), Json::String((*text).to_owned()))]))
        });
        let rows = Json::Array(rows.collect()).to_string();
        let text = format!("SELECT FROM pg_catalog.jsonb_to_recordset($1) AS v ({columns})");
        self.read.of_our_own(&text, vec![Appended { type_oid: JSONB, value: AppendedValue::Constant(rows.into()) }])
    }

    fn takes_no_null(&self, mut oid: Oid) -> bool {
        for _ in 0..32 {
            match self.catalog.shapes.types.get(&oid) {
                Some(shape) if shape.kind == 'd' && shape.not_null => return true,
                Some(shape) if shape.kind == 'd' => oid = shape.base,
                Some(_) | None => return false,
            }
        }
        false
    }
}

fn add<'v, T: PartialEq>(values: &mut Vec<(T, &'v str)>, of: T, text: &'v str) {
    if !values.iter().any(|(known, value)| *known == of && *value == text) {
        values.push((of, text));
    }
}

fn no_null(column: &ExposedColumn) -> Refusal {
    Refusal::new(RefusalCode::NotNull, format!("column \"{}\" is of a domain that does not allow null values", column.name))
}
