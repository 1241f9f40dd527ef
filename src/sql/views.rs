//! Which columns of a view are plain columns of a table, and so stored.
//!
//! PostgreSQL flattens a view into the statement that reads it. A column that the view computes is then an expression which may run on
//! any row of the tables below, and the view's own WHERE stands beside the conditions of the statement. A view is plain when it shows
//! columns of one table as they are, under conditions that raise on no value; only then are its columns stored ones.

use std::collections::BTreeMap;

use pg_query::protobuf::{AExprKind, BoolExprType, SetOperation};

use super::{
    Node, Tree, allow,
    catalog::{CatalogSnapshot, Column, Operator, Relation},
    parse_select,
};

/// How many views may stand on each other.
const DEPTH: usize = 16;

const BOOL: u32 = 16;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const VARCHAR: u32 = 1043;

/// Marks the stored columns of the views whose `(schema, name, definition)` is given, as `pg_get_viewdef` prints it with nothing but
/// `pg_catalog` in the search path.
pub fn mark_stored(catalog: &mut CatalogSnapshot, definitions: &[(String, String, String)]) {
    let plain: BTreeMap<(&str, &str), Plain> = definitions
        .iter()
        .filter_map(|(schema, name, definition)| Some(((schema.as_str(), name.as_str()), Plain::read(&parse_select(definition)?)?)))
        .collect();
    // Views over views: each round goes one further up.
    for _ in 0..DEPTH {
        let marked: Vec<(usize, Vec<bool>)> = catalog
            .relations
            .iter()
            .enumerate()
            .filter(|(_, view)| view.kind == 'v')
            .filter_map(|(place, view)| Some((place, plain.get(&(view.schema.as_str(), view.name.as_str()))?.stored(catalog, view)?)))
            .collect();
        let mut changed = false;
        for (place, stored) in marked {
            let Some(view) = catalog.relations.get_mut(place) else { continue };
            for (column, stored) in view.columns.iter_mut().zip(stored) {
                changed |= column.stored != stored;
                column.stored = stored;
            }
        }
        if !changed {
            return;
        }
    }
}

/// A view over one relation, with nothing but a select list and conditions.
struct Plain {
    schema: String,
    relation: String,
    /// The column below that each output is; `None` for an expression.
    outputs: Vec<Option<String>>,
    condition: Tree,
}

impl Plain {
    fn read(select: &Node) -> Option<Self> {
        let absent = ["with_clause", "having_clause", "limit_offset", "limit_count", "into_clause"];
        let empty = ["distinct_clause", "group_clause", "window_clause", "sort_clause", "values_lists", "locking_clause"];
        let plain = select.int("op").ok()? == i64::from(SetOperation::SetopNone as i32)
            && absent.iter().all(|field| select.field(field) == Ok(Tree::null()))
            && empty.iter().all(|field| select.list(field).is_ok_and(<[Tree]>::is_empty));
        let [from] = select.list("from_clause").ok()? else { return None };
        let from = from.of_kind("RangeVar").filter(|_| plain)?;
        let (schema, relation) = (from.text("schemaname").ok()?, from.text("relname").ok()?);
        if schema.is_empty() || !from.text("catalogname").ok()?.is_empty() {
            return None;
        }
        let output = |target: &Tree| Some(column_name(target.of_kind("ResTarget")?.field("val").ok()?).map(str::to_owned));
        Some(Self {
            schema: schema.to_owned(),
            relation: relation.to_owned(),
            outputs: select.list("target_list").ok()?.iter().map(output).collect::<Option<_>>()?,
            condition: select.field("where_clause").ok()?.clone(),
        })
    }

    /// Which columns of `view` are stored; `None` when that cannot be said of any.
    fn stored(&self, catalog: &CatalogSnapshot, view: &Relation) -> Option<Vec<bool>> {
        let below = catalog.relation(&self.schema, &self.relation)?;
        if self.outputs.len() != view.columns.len() {
            return None;
        }
        let condition = Condition { catalog, below };
        if self.condition != Tree::Null && !condition.is_total(&self.condition) {
            return None;
        }
        // A view below that is not plain itself has no stored column.
        let column = |name: &Option<String>| name.as_deref().and_then(|name| condition.column(name)).is_some_and(|column| column.stored);
        Some(self.outputs.iter().map(column).collect())
    }
}

/// `column` or `relation.column`, and nothing around it.
fn column_name(tree: &Tree) -> Option<&str> {
    let fields = tree.of_kind("ColumnRef")?.list("fields").ok()?;
    if fields.len() > 2 { None } else { fields.last()?.string() }
}

/// Conditions of a view, over the relation below it.
struct Condition<'a> {
    catalog: &'a CatalogSnapshot,
    below: &'a Relation,
}

/// An operand of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Column(u32),
    Constant(u32),
}

impl Condition<'_> {
    fn column(&self, name: &str) -> Option<&Column> {
        self.below.columns.iter().find(|column| column.name == name)
    }

    fn is_total(&self, tree: &Tree) -> bool {
        let Some(node) = tree.as_node() else { return false };
        match node.kind {
            "BoolExpr" => {
                let known = [BoolExprType::AndExpr, BoolExprType::OrExpr, BoolExprType::NotExpr];
                known.iter().any(|kind| node.int("boolop") == Ok(i64::from(*kind as i32)))
                    && node.list("args").is_ok_and(|args| args.iter().all(|arg| self.is_total(arg)))
            }
            "NullTest" => node.field("arg").is_ok_and(|arg| self.operand(arg).is_some()),
            "BooleanTest" => node.field("arg").is_ok_and(|arg| self.is_total(arg)),
            "ColumnRef" => self.operand(tree) == Some(Operand::Column(BOOL)),
            "AExpr" => self.comparison(node).unwrap_or(false),
            // Whatever else stands there is not known.
            _ => false,
        }
    }

    fn comparison(&self, node: &Node) -> Option<bool> {
        let kind = node.int("kind").ok()?;
        let names = node.names("name").ok()?;
        let [name] = names.as_slice() else { return None };
        let Operand::Column(left) = self.operand(node.field("lexpr").ok()?)? else { return None };
        let right = node.field("rexpr").ok()?;
        let rights: Vec<&Tree> = if kind == i64::from(AExprKind::AexprOp as i32) {
            vec![right]
        } else if kind == i64::from(AExprKind::AexprOpAny as i32) || kind == i64::from(AExprKind::AexprOpAll as i32) {
            // An array of varchar is printed as one that is cast to text[], which runs nothing.
            let array = right.of_kind("TypeCast").and_then(|cast| cast.field("arg").ok()).unwrap_or(right);
            array.of_kind("AArrayExpr")?.list("elements").ok()?.iter().collect()
        } else {
            return None;
        };
        Some(rights.into_iter().all(|right| match self.operand(right) {
            Some(Operand::Constant(right)) => self.compares(name, left, right),
            Some(Operand::Column(_)) | None => false,
        }))
    }

    fn compares(&self, name: &str, left: u32, right: u32) -> bool {
        let is_enum = |oid| self.catalog.types.get(&oid).is_some_and(|known| known.kind == 'e');
        if left == right && is_enum(left) {
            return allow::leakproof_operator(name, allow::ANY_ENUM, allow::ANY_ENUM);
        }
        let text = |oid| if oid == VARCHAR { TEXT } else { oid };
        let (left, right) = (text(left), text(right));
        let wanted = Operator { name: name.to_owned(), left, right };
        let built_in = self.catalog.types.get(&left).is_some_and(|known| known.kind == 'b');
        built_in && (self.catalog.leakproof_operators.contains(&wanted) || allow::leakproof_operator(name, left, right))
    }

    /// A stored column, or a constant, and its type.
    fn operand(&self, tree: &Tree) -> Option<Operand> {
        let node = tree.as_node()?;
        match node.kind {
            "ColumnRef" => {
                let column = self.column(column_name(tree)?).filter(|column| column.stored)?;
                Some(Operand::Column(column.type_oid))
            }
            "AConst" => {
                let value = node.node("val").ok()??;
                match value.kind {
                    "Integer" => Some(Operand::Constant(INT4)),
                    "Boolean" => Some(Operand::Constant(BOOL)),
                    // Another constant is written with its type.
                    _ => None,
                }
            }
            "TypeCast" => {
                let to = self.named(node.node("type_name").ok()??)?;
                let value = node.field("arg").ok()?;
                if value.of_kind("AConst").is_some_and(|constant| constant.field("val").is_ok_and(|value| value.string().is_some())) {
                    return Some(Operand::Constant(to));
                }
                // `(kind)::text` of a varchar runs nothing.
                (self.operand(value)? == Operand::Column(VARCHAR) && to == TEXT).then_some(Operand::Column(TEXT))
            }
            // Whatever else stands there is not known.
            _ => None,
        }
    }

    /// A built-in type or an enum by its name, without modifier.
    fn named(&self, name: &Node) -> Option<u32> {
        let names = name.names("names").ok()?;
        let plain = name.list("typmods").ok()?.is_empty() && name.list("array_bounds").ok()?.is_empty();
        let (schema, known) = match names.as_slice() {
            [known] if plain => ("pg_catalog", *known),
            [schema, known] if plain => (*schema, *known),
            _ => return None,
        };
        let mut found = self.catalog.types.iter().filter(|(_, of)| of.schema == schema && of.name == known);
        found.find(|(_, of)| schema == "pg_catalog" || of.kind == 'e').map(|(oid, _)| *oid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::catalog::Type;

    fn relation(name: &str, kind: char, columns: &[(&str, u32)]) -> Relation {
        let column = |(name, type_oid): &(&str, u32)| Column {
            name: (*name).to_owned(),
            type_oid: *type_oid,
            type_name: String::new(),
            not_null: false,
            readable: true,
            deterministic_collation: true,
            collation: Some(0),
            stored: kind == 'r',
        };
        let columns = columns.iter().map(column).collect();
        Relation { schema: "s".to_owned(), name: name.to_owned(), kind, columns, primary_key: Vec::new(), readable: true }
    }

    /// Which columns of a view over `s.t (id int4, note text, ok bool)` are stored.
    fn stored(definition: &str) -> String {
        let of = |name: &str| Type { schema: "pg_catalog".to_owned(), name: name.to_owned(), kind: 'b', base: 0, array: false };
        let same = |oid| Operator { name: "=".to_owned(), left: oid, right: oid };
        let mut catalog = CatalogSnapshot {
            relations: vec![
                relation("v", 'v', &[("a", INT4), ("b", TEXT)]),
                relation("t", 'r', &[("id", INT4), ("note", TEXT), ("ok", BOOL)]),
            ],
            types: [(INT4, of("int4")), (TEXT, of("text")), (BOOL, of("bool"))].into(),
            ordering_operators: None,
            leakproof_operators: vec![same(INT4), same(TEXT)],
            ..CatalogSnapshot::default()
        };
        mark_stored(&mut catalog, &[("s".to_owned(), "v".to_owned(), definition.to_owned())]);
        catalog.relations[0].columns.iter().map(|column| if column.stored { '+' } else { '-' }).collect()
    }

    #[test]
    fn a_view_that_shows_columns_as_they_are_is_plain() {
        for (definition, wanted) in [
            ("select id, note from s.t", "++"),
            ("select t.id, t.note from s.t", "++"),
            ("select x.id as a, x.note || 'x' as b from s.t x", "+-"),
            ("select id, note from s.t where ok and not (id = 5) and note = 'x'::text and id is not null", "++"),
            ("select id, note from s.t where id = any (array[1, 2])", "++"),
            ("select id, note from s.t where 1 / id > 0", "--"),
            ("select id, note from s.t where note like 'x%'", "--"),
            ("select id, note from s.t where id = 5 or note::int = 5", "--"),
            ("select id, note from s.t where id > 5", "--"),
            ("select id, note from s.t where id = (select 1)", "--"),
            ("select id, note from t", "--"),
            ("select id, note from s.nowhere", "--"),
            ("select id from s.t", "--"),
            ("select distinct id, note from s.t", "--"),
            ("select id, note from s.t limit 5", "--"),
            ("select id, note from s.t group by id, note", "--"),
            ("select id, note from s.t tablesample system (5)", "--"),
            ("select t.id, t.note from s.t, s.t u", "--"),
            ("with t as (select 1) select id, note from s.t", "--"),
            ("select id, note from s.t union all select id, note from s.t", "--"),
            ("no sql", "--"),
        ] {
            assert_eq!(stored(definition), wanted, "{definition}");
        }
    }
}
