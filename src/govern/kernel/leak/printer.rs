//! Prints a leakproof conjunct over a relation's real columns, and proves the print by parsing it again.

use super::{
    correlated::outer_name,
    resolve::{Rte, View},
};
use crate::{
    govern::kernel::derived::{identifier, literal},
    sql::{Node, Tree, parse_select},
};

/// The conjunct as SQL over the real columns of a relation and its table's name, and over outer columns, in parentheses. `None` when it holds a shape that is not
/// printed here, or when the print does not parse to the conjunct itself: then it is simply not copied.
pub(super) fn conjunct(tree: &Tree, rte: (&Rte, &str), view: &View<'_>) -> Option<String> {
    let wanted = over_real_columns(tree, rte, view)?;
    let text = format!("({})", print(&wanted)?);
    let parsed = parse_select(&format!("SELECT WHERE {text}"))?;
    (*parsed.field("where_clause").ok()? == wanted).then_some(text)
}

/// The tree with each column reference naming the real column alone, an outer one with its relation.
fn over_real_columns(tree: &Tree, rte: (&Rte, &str), view: &View<'_>) -> Option<Tree> {
    Some(match tree {
        Tree::Node(node) if node.kind == "ColumnRef" => {
            let names =
                if view.resolve(node).ok()?.outer { outer_name(node, view, rte.1)?.to_vec() } else { vec![real_column(node, rte.0)?] };
            let string = |name: &&str| Tree::Node(Box::new(Node { kind: "String", fields: vec![("sval", Tree::Text((*name).into()))] }));
            let strings: Vec<Tree> = names.iter().map(string).collect();
            let fields = node.fields.iter().map(|(name, field)| match *name {
                "fields" => (*name, Tree::List(strings.clone())),
                _ => (*name, field.clone()),
            });
            Tree::Node(Box::new(Node { kind: node.kind, fields: fields.collect() }))
        }
        Tree::Node(node) => {
            let fields = node.fields.iter().map(|(name, field)| Some((*name, over_real_columns(field, rte, view)?)));
            Tree::Node(Box::new(Node { kind: node.kind, fields: fields.collect::<Option<_>>()? }))
        }
        Tree::List(items) => Tree::List(items.iter().map(|item| over_real_columns(item, rte, view)).collect::<Option<_>>()?),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => tree.clone(),
    })
}

/// The real column that a reference names, where no other has its name.
fn real_column<'r>(node: &Node, rte: &'r Rte) -> Option<&'r str> {
    let name = node.list("fields").ok()?.last()?.string()?;
    let mut columns = rte.columns.as_deref()?.iter().filter(|column| *column.name == *name);
    let real = columns.next()?.real.as_deref();
    real.filter(|_| columns.next().is_none())
}

fn print(tree: &Tree) -> Option<String> {
    let node = tree.as_node()?;
    Some(match node.kind {
        "ColumnRef" => {
            let names = node.list("fields").ok()?.iter().map(|field| field.string().map(identifier)).collect::<Option<Vec<_>>>()?;
            names.join(".")
        }
        "ParamRef" => format!("${}", node.int("number").ok()?),
        "AConst" => constant(node)?,
        "TypeCast" => cast(node)?,
        "BoolExpr" => boolean(node)?,
        "NullTest" => {
            let is_null = node.int("nulltesttype").ok()? == i64::from(pg_query::protobuf::NullTestType::IsNull as i32);
            format!("({}) IS {}NULL", print(node.field("arg").ok()?)?, if is_null { "" } else { "NOT " })
        }
        "AExpr" => operator(node)?,
        "AArrayExpr" => format!("ARRAY[{}]", list(node.field("elements").ok()?)?),
        "FuncCall" => {
            let names = node.names("funcname").ok()?;
            format!("{}({})", names.iter().map(|name| identifier(name)).collect::<Vec<_>>().join("."), list(node.field("args").ok()?)?)
        }
        "SqlValueFunction" => clock(node.int("op").ok()?)?.to_owned(),
        _ => return None,
    })
}

fn list(tree: &Tree) -> Option<String> {
    Some(tree.items().iter().map(print).collect::<Option<Vec<_>>>()?.join(", "))
}

fn constant(node: &Node) -> Option<String> {
    if node.flag("isnull").ok()? {
        return Some("NULL".to_owned());
    }
    let value = node.node("val").ok()??;
    Some(match value.kind {
        "Integer" => value.int("ival").ok()?.to_string(),
        "Float" => value.text("fval").ok()?.to_owned(),
        "Boolean" => value.flag("boolval").ok()?.to_string(),
        "String" => literal(value.text("sval").ok()?),
        _ => return None,
    })
}

fn cast(node: &Node) -> Option<String> {
    let name = node.node("type_name").ok()??;
    if !name.list("typmods").ok()?.is_empty() {
        return None;
    }
    let names = name.names("names").ok()?.iter().map(|part| identifier(part)).collect::<Vec<_>>().join(".");
    let bounds = "[]".repeat(name.list("array_bounds").ok()?.len());
    Some(format!("({})::{names}{bounds}", print(node.field("arg").ok()?)?))
}

fn boolean(node: &Node) -> Option<String> {
    use pg_query::protobuf::BoolExprType;
    let kind = node.int("boolop").ok()?;
    let parts = node.list("args").ok()?.iter().map(|part| print(part).map(|text| format!("({text})"))).collect::<Option<Vec<_>>>()?;
    Some(if kind == i64::from(BoolExprType::NotExpr as i32) {
        format!("NOT {}", parts.first()?)
    } else {
        parts.join(if kind == i64::from(BoolExprType::AndExpr as i32) { " AND " } else { " OR " })
    })
}

fn operator(node: &Node) -> Option<String> {
    use pg_query::protobuf::AExprKind as Kind;
    let names = node.names("name").ok()?;
    let name = names.last().copied()?;
    let kind = node.int("kind").ok()?;
    let is = |wanted: Kind| kind == i64::from(wanted as i32);
    let left = print(node.field("lexpr").ok()?)?;
    let right = node.field("rexpr").ok()?;
    let between = |words: &str| -> Option<String> {
        let [low, high] = right.items() else { return None };
        Some(format!("({left}) {words} ({}) AND ({})", print(low)?, print(high)?))
    };
    Some(if is(Kind::AexprOp) && names.len() == 1 {
        format!("({left}) {name} ({})", print(right)?)
    } else if is(Kind::AexprIn) {
        format!("({left}) {} ({})", if name == "=" { "IN" } else { "NOT IN" }, list(right)?)
    } else if is(Kind::AexprOpAny) {
        format!("({left}) {name} ANY ({})", print(right)?)
    } else if is(Kind::AexprBetween) {
        between("BETWEEN")?
    } else if is(Kind::AexprNotBetween) {
        between("NOT BETWEEN")?
    } else if is(Kind::AexprLike) {
        format!("({left}) {} ({})", if name == "~~" { "LIKE" } else { "NOT LIKE" }, print(right)?)
    } else if is(Kind::AexprIlike) {
        format!("({left}) {} ({})", if name == "~~*" { "ILIKE" } else { "NOT ILIKE" }, print(right)?)
    } else if is(Kind::AexprDistinct) {
        format!("({left}) IS DISTINCT FROM ({})", print(right)?)
    } else if is(Kind::AexprNotDistinct) {
        format!("({left}) IS NOT DISTINCT FROM ({})", print(right)?)
    } else {
        return None;
    })
}

fn clock(op: i64) -> Option<&'static str> {
    use pg_query::protobuf::SqlValueFunctionOp as Op;
    let is = |wanted: Op| op == i64::from(wanted as i32);
    if is(Op::SvfopCurrentDate) {
        Some("CURRENT_DATE")
    } else if is(Op::SvfopCurrentTimestamp) {
        Some("CURRENT_TIMESTAMP")
    } else if is(Op::SvfopLocaltimestamp) {
        Some("LOCALTIMESTAMP")
    } else {
        None
    }
}
