//! PREPARE and EXECUTE: the statement within, and the values given to it.

use pg_query::protobuf::Token;

use super::{
    parse::parse,
    tree::{Misread, Node, Tree},
};

/// `PREPARE name (types) AS statement`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    /// The name.
    pub name: String,
    /// The declared types of the parameters, of `pg_catalog`.
    pub types: Vec<TypeReference>,
    /// The statement within, as it was written.
    pub text: String,
}

/// A type of `pg_catalog` by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeReference {
    /// `typname` of the type, or of the elements of an array.
    pub name: String,
    /// Whether an array of it is meant.
    pub array: bool,
}

/// `EXECUTE name (values)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    /// The name.
    pub name: String,
    /// The values.
    pub values: Vec<Value>,
}

/// A constant that is given to a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its text form; `None` is NULL.
    pub text: Option<String>,
    /// What it is.
    pub of: ValueType,
}

/// The type of a constant, as the grammar reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// A string or NULL: read as the parameter's type.
    Unknown,
    /// `1`
    Integer,
    /// `1.5`
    Numeric,
    /// `true`
    Boolean,
    /// A string cast to a text type.
    Text,
}

/// Reads a PREPARE. `None`: in a form that is not supported.
pub(super) fn prepare(text: &str, node: &Node) -> Result<Option<Prepare>, Misread> {
    let mut types = Vec::new();
    for item in node.list("argtypes")? {
        let Some(of) = item.of_kind("TypeName") else { return Ok(None) };
        let name = match of.names("names")?.as_slice() {
            [name] | ["pg_catalog", name] => (*name).to_owned(),
            _ => return Ok(None),
        };
        types.push(TypeReference { name, array: !of.list("array_bounds")?.is_empty() });
    }
    let Some(inner) = statement_within(text) else { return Ok(None) };
    // The text was cut by its tokens; that it is the statement within, its tree says.
    let same = matches!(parse(inner), Ok(Some(tree)) if tree == *node.field("query")?);
    Ok(same.then(|| Prepare { name: node.text("name").unwrap_or_default().to_owned(), types, text: inner.to_owned() }))
}

/// What follows the first AS: neither a name nor a list of types has one.
fn statement_within(text: &str) -> Option<&str> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let after = tokens.iter().find(|token| token.token() == Token::As)?;
    let inner = text.get(usize::try_from(after.end).ok()?..)?.trim();
    Some(inner.strip_suffix(';').unwrap_or(inner))
}

/// Reads an EXECUTE. `None`: a value is not a constant.
pub(super) fn execute(node: &Node) -> Result<Option<Execute>, Misread> {
    let values: Option<Vec<_>> =
        node.list("params")?.iter().map(|item| item.as_node().and_then(|node| constant(node).ok().flatten())).collect();
    Ok(values.map(|values| Execute { name: node.text("name").unwrap_or_default().to_owned(), values }))
}

/// A constant with its type.
fn constant(node: &Node) -> Result<Option<Value>, Misread> {
    let of = |field: &'static str| node.field(field)?.as_node().map_or(Ok(None), constant);
    let value = |text: String, of| Some(Value { text: Some(text), of });
    Ok(match node.kind {
        "AConst" if node.flag("isnull")? => Some(Value { text: None, of: ValueType::Unknown }),
        "AConst" => of("val")?,
        "Integer" => value(node.int("ival")?.to_string(), ValueType::Integer),
        "Float" => {
            let written = node.text("fval")?;
            let digits = written.bytes().all(|byte| byte.is_ascii_digit());
            value(written.to_owned(), if digits { ValueType::Integer } else { ValueType::Numeric })
        }
        "String" => value(node.text("sval")?.to_owned(), ValueType::Unknown),
        "Boolean" => value(if node.flag("boolval")? { "t" } else { "f" }.to_owned(), ValueType::Boolean),
        "TypeCast" => cast(node, of("arg")?)?,
        "AExpr" if *node.field("lexpr")? == Tree::Null && node.names("name")? == ["-"] => match of("rexpr")? {
            Some(Value { text: Some(number), of: of @ (ValueType::Integer | ValueType::Numeric) }) if !number.starts_with('-') => {
                value(format!("-{number}"), of)
            }
            Some(_) | None => None,
        },
        _ => None,
    })
}

/// A constant under a cast. What another type would make of it is not known here, but for a string, which is read as the type.
fn cast(node: &Node, inner: Option<Value>) -> Result<Option<Value>, Misread> {
    let Some(inner) = inner else { return Ok(None) };
    let Some(wanted) = node.node("type_name")? else { return Ok(None) };
    let plain = wanted.list("array_bounds")?.is_empty() && wanted.list("typmods")?.is_empty();
    let names = wanted.names("names")?;
    let of = match names.as_slice() {
        ["int2" | "int4" | "int8"] | ["pg_catalog", "int2" | "int4" | "int8"] => ValueType::Integer,
        ["numeric" | "float4" | "float8"] | ["pg_catalog", "numeric" | "float4" | "float8"] => ValueType::Numeric,
        ["bool"] | ["pg_catalog", "bool"] => ValueType::Boolean,
        ["text" | "varchar"] | ["pg_catalog", "text" | "varchar"] => ValueType::Text,
        _ => ValueType::Unknown,
    };
    let same = inner.of == of || (inner.of == ValueType::Integer && of == ValueType::Numeric);
    Ok(match (inner.of, of) {
        // NULL is NULL of every type.
        _ if inner.text.is_none() => Some(inner),
        (ValueType::Unknown, _) if plain || of == ValueType::Unknown => Some(Value { of, ..inner }),
        _ if same && plain => Some(Value { of, ..inner }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::ValueType;
    use crate::sql::{Statement, classify};

    #[test]
    fn prepare_holds_the_statement_within() {
        let Ok(Statement::Prepare(prepare)) = classify("prepare \"a as b\" (int, text[]) as /* x */ select $1 as one;") else { panic!() };
        assert_eq!((prepare.name.as_str(), prepare.text.as_str()), ("a as b", "/* x */ select $1 as one"));
        let types: Vec<_> = prepare.types.iter().map(|of| (of.name.as_str(), of.array)).collect();
        assert_eq!(types, [("int4", false), ("text", true)]);
        assert!(matches!(classify("prepare p as delete from t where id = $1"), Ok(Statement::Prepare(_))));
        assert!(matches!(classify("prepare p (public.x) as select $1"), Ok(Statement::Refused(_))));
    }

    #[test]
    fn execute_takes_constants() {
        let Ok(Statement::Execute(execute)) = classify("execute p (1, -2.5, 'x', null, true, '2026-01-01'::date, E'\\n')") else {
            panic!()
        };
        let values: Vec<_> = execute.values.iter().map(|value| value.text.as_deref()).collect();
        assert_eq!(values, [Some("1"), Some("-2.5"), Some("x"), None, Some("t"), Some("2026-01-01"), Some("\n")]);
        let types: Vec<_> = execute.values.iter().map(|value| value.of).collect();
        let expected = [ValueType::Integer, ValueType::Numeric, ValueType::Unknown, ValueType::Unknown, ValueType::Boolean];
        assert_eq!(types.get(..5), Some(&expected[..]));
        assert!(matches!(classify("execute p (2.5::int)"), Ok(Statement::Refused(_))));
        assert!(matches!(classify("execute p (1 + 1)"), Ok(Statement::Refused(_))));
        assert!(matches!(classify("execute p (-null)"), Ok(Statement::Refused(_))));
        assert!(matches!(classify("execute p (pg_sleep(1))"), Ok(Statement::Refused(_))));
    }
}
