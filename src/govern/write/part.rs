//! `SET a[i] = x`, `SET j['k'] = x`: the whole value that PostgreSQL makes of the one that is there, as an expression over it. Where an
//! expression would make another one, the row says so, and nothing is proposed.

use pg_query::{Node, NodeEnum, protobuf::a_const::Val};

use super::{Context, WriteDraft, assigned::is_open, draft::fill, unread};
use crate::{
    govern::{Refusal, RefusalCode},
    policy::ExposedColumn,
    sql::{
        allow,
        catalog::{FIRST_NORMAL_OID, Oid},
    },
};

/// `int4`, `text` and `jsonb` in `pg_type`.
const INT4: Oid = 23;
const TEXT: Oid = 25;
const JSONB: Oid = 3802;
/// How many places of an array may be left empty before a new one.
const MOST_EMPTY: u32 = 1_000;
/// Where the array begins and ends.
const FIRST: &str = "pg_catalog.array_lower(\"a\", 1)";
const LAST: &str = "pg_catalog.array_upper(\"a\", 1)";

/// What assignments to parts of columns need beside the values.
#[derive(Default)]
pub(super) struct Parts {
    /// What has to be of a type.
    pub(super) typed: Vec<(Box<str>, Oid, Node)>,
    /// Whether the value would be another one than PostgreSQL's.
    pub(super) doubted: Vec<(Box<str>, Node)>,
}

impl Context<'_> {
    /// The whole value of a column whose part at `places` is assigned; `whole` is what it holds before.
    pub(super) fn with_part(&self, name: &str, places: &[Node], whole: Node, value: Node, parts: &mut Parts) -> Result<Node, Refusal> {
        let column = self.column(name)?;
        let places = places.iter().map(|place| element(name, place)).collect::<Result<Vec<_>, _>>()?;
        let types = &self.source.catalog.types;
        let base = types.get(&column.type_oid).ok_or_else(|| unread("a column of an unknown type"))?;
        match places.as_slice() {
            _ if column.type_oid == JSONB => self.with_key(name, &places, whole, value, parts),
            [place] if base.array && column.type_oid < FIRST_NORMAL_OID => {
                self.with_element(column, base.base, place.clone(), whole, value, parts)
            }
            _ => Err(not_here(name)),
        }
    }

    fn with_element(
        &self,
        column: &ExposedColumn,
        element: Oid,
        place: Node,
        whole: Node,
        value: Node,
        parts: &mut Parts,
    ) -> Result<Node, Refusal> {
        let known = self.source.catalog.types.get(&element).ok_or_else(|| unread("an array of an unknown type"))?;
        let (of, array) = match known.name.as_str() {
            "varchar" => ("text".to_owned(), "_text".to_owned()),
            // What stands for them is text, which has no trailing blanks.
            "bpchar" | "bit" => return Err(not_here(&column.name)),
            name if allow::cast_type(name).is_ok() => (name.to_owned(), format!("_{name}")),
            _ => return Err(not_here(&column.name)),
        };
        for (oid, node) in [(INT4, &place), (element, &value)] {
            if self.is_computed_as(column, oid, node)? {
                parts.typed.push((column.name.clone(), oid, node.clone()));
            }
        }
        let casts = [format!("pg_catalog.\"{array}\""), "pg_catalog.int4".to_owned(), format!("pg_catalog.\"{of}\"")];
        let doubt = format!(
            "CASE WHEN \"i\" IS NULL OR pg_catalog.array_ndims(\"a\") > 1 THEN TRUE \
             WHEN pg_catalog.array_ndims(\"a\") IS NULL THEN FALSE \
             WHEN \"i\" > {LAST} THEN \"i\" - {LAST} > {MOST_EMPTY} ELSE {FIRST} <> 1 OR \"i\" < {FIRST} END"
        );
        let made = format!(
            "CASE WHEN \"i\" IS NULL OR pg_catalog.array_ndims(\"a\") > 1 THEN NULL \
             WHEN pg_catalog.array_ndims(\"a\") IS NULL THEN pg_catalog.array_fill(\"x\", ARRAY[1], ARRAY[\"i\"]) \
             WHEN \"i\" > {LAST} + {MOST_EMPTY} OR \"i\" < {FIRST} THEN NULL \
             WHEN \"i\" > {LAST} THEN pg_catalog.array_append(pg_catalog.array_cat(\"a\", \
               pg_catalog.array_fill(CAST(NULL AS pg_catalog.\"{of}\"), ARRAY[\"i\" - {LAST} - 1])), \"x\") \
             ELSE pg_catalog.array_cat(pg_catalog.array_append(\"a\"[:\"i\" - 1], \"x\"), \"a\"[\"i\" + 1:]) END"
        );
        let given = [("a", whole), ("i", place), ("x", value)];
        let given: Vec<(&str, &str, Node)> =
            given.into_iter().zip(&casts).map(|((name, node), cast)| (name, cast.as_str(), node)).collect();
        parts.doubted.push((column.name.clone(), over(&doubt, &given)?));
        over(&made, &given)
    }

    fn with_key(&self, name: &str, places: &[Node], whole: Node, value: Node, parts: &mut Parts) -> Result<Node, Refusal> {
        let constant = |node: &Node| match &node.node {
            Some(NodeEnum::AConst(constant)) => constant.val.clone(),
            _ => None,
        };
        for place in places {
            match constant(place) {
                Some(Val::Fval(_) | Val::Boolval(_) | Val::Bsval(_)) => {
                    let message = "subscript of jsonb must be coercible to either integer or text";
                    return Err(Refusal::new(RefusalCode::DatatypeMismatch, message));
                }
                Some(Val::Ival(_) | Val::Sval(_)) => {}
                None if is_open(place, self.declared) => {}
                None => parts.typed.push((name.into(), TEXT, place.clone())),
            }
        }
        if self.is_computed_as(self.column(name)?, JSONB, &value)? {
            parts.typed.push((name.into(), JSONB, value.clone()));
        }
        let keys: Vec<String> = (1..=places.len()).map(|number| format!("p{number}")).collect();
        let quoted: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
        let (Some((last, parents)), Some(first)) = (quoted.split_last(), places.first()) else { return Err(not_here(name)) };
        let (empty, new) = match constant(first) {
            Some(Val::Ival(_)) => ("[]", format!("{last} <> '0'")),
            Some(Val::Sval(_)) => ("{}", "FALSE".to_owned()),
            _ => ("{}", "TRUE".to_owned()),
        };
        let (parent, base, new) = if parents.is_empty() {
            ("\"a\"".to_owned(), format!("COALESCE(\"a\", CAST('{empty}' AS pg_catalog.jsonb))"), new)
        } else {
            (format!("(\"a\" #> ARRAY[{}])", parents.join(", ")), "\"a\"".to_owned(), "TRUE".to_owned())
        };
        let nulls = quoted.iter().map(|key| format!("{key} IS NULL")).collect::<Vec<_>>().join(" OR ");
        let length = format!("pg_catalog.jsonb_array_length({parent})");
        // PostgreSQL makes what is missing on the way, and fills arrays up; jsonb_set does not.
        let doubt = format!(
            "CASE WHEN {nulls} THEN TRUE WHEN {parent} IS NULL THEN {new} \
             WHEN pg_catalog.jsonb_typeof({parent}) = 'object' THEN FALSE WHEN pg_catalog.jsonb_typeof({parent}) <> 'array' THEN TRUE \
             WHEN {last} ~ '^[0-9]{{1,9}}$' THEN CAST({last} AS pg_catalog.int4) > {length} \
             WHEN {last} ~ '^-[0-9]{{1,9}}$' THEN CAST({last} AS pg_catalog.int4) < -{length} ELSE TRUE END"
        );
        let made =
            format!("pg_catalog.jsonb_set({base}, ARRAY[{}], COALESCE(\"x\", CAST('null' AS pg_catalog.jsonb)), TRUE)", quoted.join(", "));
        let mut given = vec![("a", "pg_catalog.jsonb", whole), ("x", "pg_catalog.jsonb", value)];
        given.extend(keys.iter().zip(places).map(|(key, place)| (key.as_str(), "pg_catalog.text", place.clone())));
        parts.doubted.push((name.into(), over(&doubt, &given)?));
        over(&made, &given)
    }
}

impl WriteDraft {
    /// 0A000 for a row whose new value would be another one than PostgreSQL's.
    pub(super) fn is_not_doubted(&self, row: &super::DraftRow) -> Result<(), Refusal> {
        let doubted = self.layout.doubted.iter().find(|(output, _)| row.get(*output).and_then(Option::as_deref) != Some("f"));
        doubted.map_or(Ok(()), |(_, column)| Err(not_here(column)))
    }
}

/// The place of an element.
fn element(column: &str, place: &Node) -> Result<Node, Refusal> {
    let Some(NodeEnum::AIndices(place)) = &place.node else { return Err(not_here(column)) };
    place.uidx.as_deref().filter(|_| !place.is_slice).cloned().ok_or_else(|| not_here(column))
}

/// An expression of pgwicket's own over values of the client's, each of them under a name and as a type.
fn over(expression: &str, given: &[(&str, &str, Node)]) -> Result<Node, Refusal> {
    let casts = given.iter().map(|(_, of, _)| format!("CAST(NULL AS {of})")).collect::<Vec<_>>().join(", ");
    let names = given.iter().map(|(name, ..)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let mut value = Context::expression(&format!("(SELECT {expression} FROM (SELECT {casts}) AS \"pgwicket_part\" ({names}))"))?;
    if let Some(NodeEnum::SubLink(link)) = &mut value.node
        && let Some(NodeEnum::SelectStmt(outer)) = link.subselect.as_deref_mut().and_then(|node| node.node.as_mut())
        && let Some(NodeEnum::RangeSubselect(inner)) = outer.from_clause.first_mut().and_then(|node| node.node.as_mut())
        && let Some(NodeEnum::SelectStmt(inner)) = inner.subquery.as_deref_mut().and_then(|node| node.node.as_mut())
    {
        for (output, (.., node)) in given.iter().enumerate() {
            fill(inner, output, node.clone())?;
        }
        return Ok(value);
    }
    Err(unread("a part of a column"))
}

/// 0A000 with what to write instead.
pub(super) fn not_here(column: &str) -> Refusal {
    Refusal::unsupported(format!("this assignment to a part of column \"{column}\"")).hint(format!(
        "assign the whole value: SET {column} = … (an array: array_replace, ||, slices; jsonb: jsonb_set(coalesce({column}, '{{}}'), '{{key}}', …); \
         a composite value: its text form)"
    ))
}
