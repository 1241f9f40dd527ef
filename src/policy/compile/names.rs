//! Names: aliases agents will write, and names of the real database.

use super::Compiler;
use crate::policy::problem::{Place, shown};

/// PostgreSQL's longest identifier in bytes (`NAMEDATALEN` - 1).
const LONGEST: usize = 63;

/// Notes what is wrong with a name agents will write; true when it can be used.
pub(super) fn check_alias(compiler: &mut Compiler<'_>, what: &str, name: &str, at: &Place) -> bool {
    let before = compiler.problems.errors();
    if name.is_empty() || name.chars().any(char::is_control) {
        compiler.problems.error(at, format!("{what} name {} is empty or has control characters", shown(name)));
    }
    if name.len() > LONGEST {
        compiler
            .problems
            .error(at, format!("{what} name {} is longer than {LONGEST} bytes", shown(name)))
            .hint("PostgreSQL would cut it: choose a shorter name");
    }
    if compiler.problems.errors() == before && needs_quotes(name) {
        let quoted = format!("agents must write this name in double quotes: \"{}\"", name.replace('"', "\"\""));
        compiler.problems.warn(at, quoted).hint("lower-case letters, digits and _ need no quotes");
    }
    compiler.problems.errors() == before
}

/// Notes an alias schema name that belongs to someone else; true when it can be used.
pub(super) fn check_schema(compiler: &mut Compiler<'_>, name: &str, at: &Place) -> bool {
    let lower = name.to_lowercase();
    if lower.starts_with("pg_") || lower == "information_schema" || lower == "pgwicket" {
        compiler
            .problems
            .error(at, format!("schema name {} is reserved", shown(name)))
            .hint("choose a name that is not pg_*, information_schema or pgwicket");
        return false;
    }
    check_alias(compiler, "schema", name, at)
}

fn needs_quotes(name: &str) -> bool {
    let first = name.bytes().next().is_none_or(|b| b.is_ascii_digit());
    first || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// `schema.name`, each part as stored or in double quotes.
pub(super) fn qualified(text: &str) -> Option<(String, String)> {
    let (schema, rest) = part(text.trim())?;
    let (name, rest) = part(rest.strip_prefix('.')?)?;
    (rest.is_empty()).then_some((schema, name))
}

/// One part of a qualified name, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', '"', '(']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let fits = !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control());
        return fits.then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// A function's signature: schema, name and argument types, white space made single.
pub(super) fn signature(text: &str) -> Option<(String, String, Vec<String>)> {
    let (name, arguments) = text.trim().strip_suffix(')')?.rsplit_once('(')?;
    let (schema, name) = qualified(name)?;
    Some((schema, name, split_arguments(arguments)))
}

/// Argument types of a signature, white space made single, lower case.
pub(super) fn split_arguments(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    let tidy = |part: &String| spelled_out(&part.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
    parts.iter().map(tidy).filter(|part| !part.is_empty()).collect()
}

/// A type by the name that PostgreSQL prints (`format_type`), arrays too.
fn spelled_out(written: &str) -> String {
    let (element, array) = written.split_once('[').map_or((written, ""), |(element, _)| (element.trim_end(), "[]"));
    let name = match element {
        "int" | "int4" => "integer",
        "int8" => "bigint",
        "int2" => "smallint",
        "bool" => "boolean",
        "float8" | "float" => "double precision",
        "float4" => "real",
        "decimal" => "numeric",
        "varchar" => "character varying",
        "char" | "bpchar" => "character",
        "timestamptz" => "timestamp with time zone",
        "timestamp" => "timestamp without time zone",
        "timetz" => "time with time zone",
        "time" => "time without time zone",
        "varbit" => "bit varying",
        other => other,
    };
    format!("{name}{array}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_stored_and_quotes_hold_what_they_hold() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(qualified("public.tickets"), pair("public", "tickets"));
        assert_eq!(qualified("public.Tickets"), pair("public", "Tickets"));
        assert_eq!(qualified("\"my.schema\".\"a \"\"b\"\"\""), pair("my.schema", "a \"b\""));
        for wrong in ["tickets", "", ".", "a.", ".b", "a.b.c", "a b.c", "\"a.b", "a.b(c)", "\"\".a"] {
            assert_eq!(qualified(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_signature_is_read_with_its_argument_types() {
        let (schema, name, arguments) = signature("public.similarity(text,  Text)").unwrap();
        assert_eq!((schema.as_str(), name.as_str()), ("public", "similarity"));
        assert_eq!(arguments, ["text", "text"]);
        assert_eq!(signature("public.f()").unwrap().2, Vec::<String>::new());
        let spelled = signature("public.f(int, INT4[], timestamptz, varchar, bool)").unwrap().2;
        assert_eq!(spelled, ["integer", "integer[]", "timestamp with time zone", "character varying", "boolean"]);
        assert_eq!(signature("public.f(timestamp  with time zone)").unwrap().2, ["timestamp with time zone"]);
        assert_eq!(signature("similarity(text)"), None);
        assert_eq!(signature("public.similarity"), None);
    }
}
