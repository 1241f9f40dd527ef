//! The types of expressions, as far as they are certain.

use pg_query::protobuf::AExprKind;

use super::{
    collation::Collation,
    expression::Analyzer,
    reads::{is_aggregate, is_governed},
    resolve::View,
    shapes::{self, BOOL, INT4, INT8, NUMERIC, TEXT, Type, Value},
};
use crate::sql::{Misread, Node, Tree};

impl Analyzer<'_> {
    /// The type of an expression in a safe position, where it is easily known.
    pub(super) fn type_only(&self, tree: &Tree, view: &View<'_>) -> Result<Value, Misread> {
        let governed = is_governed(tree, view)?;
        Ok(match tree.as_node() {
            Some(node) if node.kind == "ColumnRef" => view.resolve(node)?.value,
            Some(node) if node.kind == "FuncCall" && is_aggregate(node)? && node.node("over")?.is_none() => {
                let of = self.aggregate_type(node, view)?;
                let collation = match node.list("args")? {
                    [only] if Collation::of_type(of) != Collation::None => self.type_only(only, view)?.collation,
                    _ => Collation::of_type(of),
                };
                Value { collation, ..Value::computed(of, governed) }
            }
            Some(_) if !governed => Value::computed(self.constant_type(tree)?, false),
            Some(_) | None => Value { governed, ..Value::OPAQUE },
        })
    }

    fn aggregate_type(&self, node: &Node, view: &View<'_>) -> Result<Type, Misread> {
        let argument = match node.list("args")? {
            [only] => self.type_only(only, view)?.of,
            _ => Type::Opaque,
        };
        Ok(match (node.names("funcname")?.last().copied(), argument) {
            (Some("count"), _) | (Some("sum"), Type::Known(INT4 | shapes::INT2)) => Type::Known(INT8),
            (Some("min" | "max"), known) => known,
            (Some("sum" | "avg"), Type::Known(INT8 | NUMERIC)) | (Some("avg"), Type::Known(INT4 | shapes::INT2)) => Type::Known(NUMERIC),
            _ => Type::Opaque,
        })
    }

    /// The type a cast names, when it is built in or an enum of the source, and has no modifier.
    pub(super) fn cast_target(&self, node: &Node) -> Result<Type, Misread> {
        let Some(name) = node.node("type_name")? else { return Ok(Type::Opaque) };
        let names = name.names("names")?;
        let array = !name.list("array_bounds")?.is_empty();
        if !name.list("typmods")?.is_empty() {
            return Ok(Type::Opaque);
        }
        match names.as_slice() {
            [_] | ["pg_catalog", _] => {}
            // The real name, which the kernel has put there: a type of an extension, or an enum that the client can see.
            [schema, name] => {
                let extension = self.catalog.extensions.resolution().type_named(name).filter(|(_, of)| *of.schema == **schema);
                if let Some((oid, of)) = extension {
                    return Ok(Type::Known(if array { of.array } else { oid }));
                }
                let mut shapes = self.catalog.shapes.types.iter();
                let found = shapes.find(|(_, shape)| shape.kind == 'e' && shape.schema == *schema && shape.name == *name);
                return Ok(found.map_or(Type::Opaque, |(oid, shape)| Type::Known(if array { shape.array } else { *oid })));
            }
            _ => return Ok(Type::Opaque),
        }
        let base = names.last().copied().unwrap_or_default();
        let wanted = if array { format!("_{base}") } else { base.to_owned() };
        let found = self.catalog.types.iter().find(|(_, known)| known.schema == "pg_catalog" && known.name == wanted);
        Ok(found.map_or(Type::Opaque, |(oid, _)| Type::Known(*oid)))
    }

    /// The type of an expression over no governed column.
    pub(super) fn constant_type(&self, tree: &Tree) -> Result<Type, Misread> {
        let Some(node) = tree.as_node() else { return Ok(Type::Opaque) };
        Ok(match node.kind {
            "AConst" => constant_type(node)?,
            "ParamRef" => self.parameter_type(node.int("number")?),
            "TypeCast" => self.cast_target(node)?,
            "SqlValueFunction" => shapes::clock(node.int("op")?),
            "FuncCall" => match (node.names("funcname")?.last().copied(), node.list("args")?) {
                (Some("now" | "transaction_timestamp" | "statement_timestamp" | "clock_timestamp"), []) => Type::Known(shapes::TIMESTAMPTZ),
                (Some("date_trunc"), [_, second]) => self.constant_type(second)?,
                _ => Type::Opaque,
            },
            "AExpr" if node.int("kind")? == i64::from(AExprKind::AexprOp as i32) => {
                let (left, right) = (self.constant_type(node.field("lexpr")?)?, self.constant_type(node.field("rexpr")?)?);
                shapes::arithmetic(node.names("name")?.last().copied().unwrap_or_default(), left, right)
            }
            "AArrayExpr" => {
                let elements = node.list("elements")?.iter().map(|item| self.constant_type(item)).collect::<Result<Vec<_>, _>>()?;
                let of = shapes::common(elements);
                self.array_of(of)
            }
            _ => Type::Opaque,
        })
    }

    /// The array type over an element type.
    pub(super) fn array_of(&self, element: Type) -> Type {
        let element = if element == Type::Unknown { Type::Known(TEXT) } else { element };
        let array = self.catalog.types.iter().find(|(_, known)| known.array && Type::Known(known.base) == element);
        array.map_or(Type::Opaque, |(oid, _)| Type::Known(*oid))
    }

    /// A parameter used twice without a declared type takes its type from its first use: not known here.
    pub(super) fn parameter_type(&self, number: i64) -> Type {
        let declared =
            usize::try_from(number - 1).ok().and_then(|place| self.declared.get(place)).copied().filter(|oid| *oid != 0 && *oid != 705);
        match declared {
            Some(oid) => Type::Known(oid),
            None if self.uses.get(&number) == Some(&1) => Type::Unknown,
            None => Type::Opaque,
        }
    }
}

fn constant_type(node: &Node) -> Result<Type, Misread> {
    if node.flag("isnull")? {
        return Ok(Type::Unknown);
    }
    let Some(value) = node.node("val")? else { return Ok(Type::Opaque) };
    Ok(match value.kind {
        "Integer" => Type::Known(INT4),
        "Float" if value.text("fval")?.parse::<i64>().is_ok() => Type::Known(INT8),
        "Float" if value.text("fval")?.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Type::Known(NUMERIC),
        "Boolean" => Type::Known(BOOL),
        "String" => Type::Unknown,
        _ => Type::Opaque,
    })
}
