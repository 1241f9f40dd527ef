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
    /// The values in text form; `None` is NULL.
    pub values: Vec<Option<String>>,
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

/// A constant's text form, `Some(None)` for NULL.
#[expect(clippy::option_option, reason = "NULL is a constant; what is none is refused")]
fn constant(node: &Node) -> Result<Option<Option<String>>, Misread> {
    let of = |field: &'static str| node.field(field)?.as_node().map_or(Ok(None), constant);
    Ok(match node.kind {
        "AConst" if node.flag("isnull")? => Some(None),
        "AConst" => of("val")?,
        "Integer" => Some(Some(node.int("ival")?.to_string())),
        "Float" => Some(Some(node.text("fval")?.to_owned())),
        "String" => Some(Some(node.text("sval")?.to_owned())),
        "Boolean" => Some(Some(if node.flag("boolval")? { "t" } else { "f" }.to_owned())),
        "TypeCast" => of("arg")?,
        "AExpr" if *node.field("lexpr")? == Tree::Null && node.names("name")? == ["-"] => match of("rexpr")? {
            Some(Some(number)) if number.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
                Some(Some(format!("-{number}")))
            }
            Some(_) | None => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
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
        let values: Vec<_> = execute.values.iter().map(Option::as_deref).collect();
        assert_eq!(values, [Some("1"), Some("-2.5"), Some("x"), None, Some("t"), Some("2026-01-01"), Some("\n")]);
        assert!(matches!(classify("execute p (1 + 1)"), Ok(Statement::Refused(_))));
        assert!(matches!(classify("execute p (-null)"), Ok(Statement::Refused(_))));
        assert!(matches!(classify("execute p (pg_sleep(1))"), Ok(Statement::Refused(_))));
    }
}
