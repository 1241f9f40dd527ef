//! COPY … TO STDOUT: the query within, and the options as written.

use pg_query::protobuf::Token;

use super::{
    parse::{character, parse},
    tree::{Misread, Node, Tree},
};

/// `COPY (query) TO STDOUT`, or of a relation, which is a query in other words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The query.
    pub text: String,
    /// Characters of the statement before the query; `None` when it does not stand there in these words.
    pub before: Option<usize>,
    /// The options in order, by their names in lower case.
    pub options: Vec<(String, CopyOption)>,
}

/// The value of an option of COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOption {
    /// Only its name was written.
    Bare,
    /// A word, a string or a number.
    Text(String),
    /// `*`
    Star,
    /// A list of names.
    Names(Vec<String>),
}

/// What a COPY is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CopyKind {
    /// It reads, to the client.
    Out(Copy),
    /// It reads or writes a file or program of the server.
    File,
    /// Of a form that is not understood.
    Unknown,
}

/// Reads a COPY TO whose query, if there is one, changes nothing.
pub(super) fn copy(text: &str, node: &Node) -> Result<CopyKind, Misread> {
    if node.flag("is_program")? || !node.text("filename")?.is_empty() {
        return Ok(CopyKind::File);
    }
    let Some(options) = options(node)? else { return Ok(CopyKind::Unknown) };
    if let Some(relation) = node.node("relation")? {
        let text = select_of(relation, node)?;
        return Ok(CopyKind::Out(Copy { text, before: None, options }));
    }
    let Some((start, inner)) = query_within(text) else { return Ok(CopyKind::Unknown) };
    // The text was cut by its tokens; that it is the query within, its tree says.
    if !matches!(parse(inner), Ok(Some(tree)) if tree == *node.field("query")?) {
        return Ok(CopyKind::Unknown);
    }
    Ok(CopyKind::Out(Copy { text: inner.to_owned(), before: Some(character(text, start) - 1), options }))
}

/// What is between the first parenthesis and its partner.
fn query_within(text: &str) -> Option<(usize, &str)> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let (mut depth, mut start) = (0_usize, None);
    for token in &tokens {
        if token.token() == Token::Ascii40 {
            depth += 1;
            start = start.or_else(|| usize::try_from(token.end).ok());
        } else if token.token() == Token::Ascii41 {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                let end = usize::try_from(token.start).ok()?;
                return Some((start?, text.get(start?..end)?));
            }
        }
    }
    None
}

/// `SELECT columns FROM relation`
fn select_of(relation: &Node, node: &Node) -> Result<String, Misread> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = node.names("attlist")?.into_iter().map(quoted).collect();
    let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
    let parts = [relation.text("catalogname")?, relation.text("schemaname")?, relation.text("relname")?];
    let name: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).map(quoted).collect();
    Ok(format!("SELECT {columns} FROM {}", name.join(".")))
}

fn options(node: &Node) -> Result<Option<Vec<(String, CopyOption)>>, Misread> {
    let mut options = Vec::new();
    for item in node.list("options")? {
        let Some(option) = item.of_kind("DefElem") else { return Ok(None) };
        let Some(value) = value(option.field("arg")?)? else { return Ok(None) };
        options.push((option.text("defname")?.to_ascii_lowercase(), value));
    }
    Ok(Some(options))
}

fn value(tree: &Tree) -> Result<Option<CopyOption>, Misread> {
    let list = |items: &[Tree]| items.iter().map(|item| item.string().map(str::to_owned)).collect::<Option<Vec<_>>>();
    if let Tree::List(items) = tree {
        return Ok(list(items).map(CopyOption::Names));
    }
    let Some(node) = tree.as_node() else { return Ok(Some(CopyOption::Bare)) };
    Ok(match node.kind {
        "String" => Some(CopyOption::Text(node.text("sval")?.to_owned())),
        "Boolean" => Some(CopyOption::Text(node.flag("boolval")?.to_string())),
        "Integer" => Some(CopyOption::Text(node.int("ival")?.to_string())),
        "Float" => Some(CopyOption::Text(node.text("fval")?.to_owned())),
        "AStar" => Some(CopyOption::Star),
        "List" => list(node.list("items")?).map(CopyOption::Names),
        // Nothing else is a value of an option.
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Refused, RefusedKind, Statement, classify};

    #[test]
    fn a_copy_holds_the_query_within() {
        let Ok(Statement::Copy(copy)) = classify("copy (select 'é)' as \")\", (1)) to stdout with (format csv, header, force_quote *)")
        else {
            panic!()
        };
        assert_eq!((copy.text.as_str(), copy.before), ("select 'é)' as \")\", (1)", Some(6)));
        let options = [("format", CopyOption::Text("csv".into())), ("header", CopyOption::Bare), ("force_quote", CopyOption::Star)];
        assert_eq!(copy.options, options.map(|(name, value)| (name.to_owned(), value)));
        let Ok(Statement::Copy(copy)) = classify("copy \"a\"\"b\".t (id, \"X y\") to stdout csv header quote '!' force quote id") else {
            panic!()
        };
        assert_eq!(copy.text, "SELECT \"id\", \"X y\" FROM \"a\"\"b\".\"t\"");
        assert_eq!(copy.options.last(), Some(&("force_quote".to_owned(), CopyOption::Names(vec!["id".into()]))));
    }

    #[test]
    fn only_reads_to_the_client_are_copies() {
        let refused = |text: &str| match classify(text) {
            Ok(Statement::Refused(Refused { kind, .. })) => kind,
            other => panic!("{text}: {other:?}"),
        };
        for text in ["copy t from stdin", "copy (delete from t returning *) to stdout", "copy (select 1 into x) to stdout"] {
            assert_eq!(refused(text), RefusedKind::Write, "{text}");
        }
        for text in ["copy t to '/tmp/x'", "copy (select 1) to program 'cat'", "copy t to '/dev/stdout' csv"] {
            assert_eq!(refused(text), RefusedKind::Administration, "{text}");
        }
    }
}
