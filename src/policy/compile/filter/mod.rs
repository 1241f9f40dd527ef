//! `where:` of a relation: one boolean SQL expression over the relation's own columns. It is pasted into
//! every governed statement, so everything it may hold is listed here and all else is refused. It runs in the agent's
//! session, so nothing in it may depend on a setting of that session.

mod rewrite;
mod steady;
mod walk;

use super::Compiler;
use crate::{
    policy::{RowFilter, decode::Spanned, problem::shown},
    sql::{
        self, ParseError, Tree,
        catalog::{CatalogSnapshot, Relation},
    },
};
use walk::Walk;

/// A filter that is one expression of the grammar; its columns and types are still to be resolved.
pub(super) struct Parsed {
    text: String,
    expression: Tree,
}

/// Parses the text: one expression, comments removed, nothing around it.
pub(super) fn parse(compiler: &mut Compiler<'_>, written: &Spanned<String>) -> Option<Parsed> {
    const SHAPE: &str = "write one boolean expression over the relation's columns, for example `deleted_at is null and status <> 'spam'`";
    let text = match strip_comments(written) {
        Ok(text) if text.is_empty() => {
            compiler.problems.error(&written.at, "`where` is empty").hint(SHAPE);
            return None;
        }
        Ok(text) => text,
        Err(message) => {
            compiler.problems.error(&written.at, format!("`where` is not SQL: {message}")).hint(SHAPE);
            return None;
        }
    };
    if let Some(literal) = new_literal(&text) {
        let message = format!("`where` has the number {}, which older servers read differently", shown(literal));
        compiler.problems.error(&written.at, message).hint("write plain decimal digits");
        return None;
    }
    // Alone it must be a single unnamed select item: nothing closes a parenthesis it did not open. In
    // parentheses it must be a condition: that is how it is used.
    let alone = sql::parse(&format!("SELECT {text}\n")).map(|tree| tree.as_ref().is_some_and(is_single_expression));
    let condition = sql::parse(&format!("SELECT 1 WHERE ({text}\n)"));
    match (alone, condition) {
        (Ok(true), Ok(Some(Tree::Node(select)))) => {
            let expression = select.field("where_clause").ok()?.clone();
            Some(Parsed { text, expression })
        }
        (Err(ParseError::Syntax { message, .. }), _) | (_, Err(ParseError::Syntax { message, .. })) => {
            compiler.problems.error(&written.at, format!("`where` is not an SQL expression: {message}")).hint(SHAPE);
            None
        }
        (Ok(_) | Err(ParseError::TooLong { .. } | ParseError::TooManyTokens | ParseError::TooComplex | ParseError::Multiple), _) => {
            compiler.problems.error(&written.at, "`where` is more than one expression").hint(SHAPE);
            None
        }
    }
}

fn is_single_expression(tree: &Tree) -> bool {
    let Some(select) = tree.of_kind("SelectStmt") else { return false };
    let empty = select.fields.iter().all(|(name, value)| match value {
        Tree::Null | Tree::Bool(false) | Tree::Position(_) | Tree::Int(_) => true,
        Tree::List(items) => *name == "target_list" || items.is_empty(),
        Tree::Bool(true) | Tree::Text(_) | Tree::Node(_) => false,
    });
    let unnamed = |item: &Tree| {
        let target = item.of_kind("ResTarget")?;
        Some(target.text("name").ok()?.is_empty() && target.list("indirection").ok()?.is_empty())
    };
    let targets = select.list("target_list").unwrap_or_default();
    empty && targets.len() == 1 && targets.iter().all(|item| unnamed(item) == Some(true))
}

/// The binding must not be asked for the tokens of a text that has none (it reads a null pointer): the
/// semicolon after the text sees to it, and a line break before it ends a comment.
fn tokens(text: &str) -> Result<Vec<pg_query::protobuf::ScanToken>, String> {
    let mut tokens = pg_query::scan_tokens(&format!("{text}\n;")).map_err(|error| scanner_words(&error.to_string()))?;
    tokens.pop();
    Ok(tokens)
}

/// `unterminated quoted string`, without the text it was found in.
fn scanner_words(message: &str) -> String {
    let message = message.strip_prefix("Error scanning: ").unwrap_or(message);
    message.split(" at or near").next().unwrap_or_default().to_owned()
}

fn strip_comments(text: &str) -> Result<String, String> {
    let tokens = tokens(text)?;
    let mut kept = text.to_owned();
    for token in tokens.iter().rev() {
        let comment = [pg_query::protobuf::Token::SqlComment as i32, pg_query::protobuf::Token::CComment as i32];
        if let (true, Ok(start), Ok(end)) = (comment.contains(&token.token), usize::try_from(token.start), usize::try_from(token.end)) {
            kept.replace_range(start..end, " ");
        }
    }
    Ok(kept.trim().to_owned())
}

/// `0x1F`, `1_000`: numbers since PostgreSQL 16; before, an alias or an error.
fn new_literal(text: &str) -> Option<&str> {
    let tokens = tokens(text).ok()?;
    let texts = tokens.iter().filter_map(|token| text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?));
    texts.into_iter().find(|token| {
        let digits = token
            .strip_prefix('0')
            .and_then(|rest| rest.chars().next())
            .is_some_and(|c| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'));
        token.starts_with(|c: char| c.is_ascii_digit()) && (token.contains('_') || digits)
    })
}

/// Holds the expression against the relation's columns; decides whether it is leakproof and total, and writes it as every
/// session reads it.
pub(super) fn resolve(
    compiler: &mut Compiler<'_>,
    parsed: &Parsed,
    written: &Spanned<String>,
    relation: &Relation,
    catalog: &CatalogSnapshot,
) -> Option<RowFilter> {
    let before = compiler.problems.errors();
    let mut walk = Walk::over(compiler, &written.at, relation, catalog);
    if never_boolean(&parsed.expression) {
        walk.refuse("a value that is not true or false");
    }
    let found = walk.filter(&parsed.expression);
    walk.foreign(&parsed.expression);
    let edits = walk.into_edits();
    if compiler.problems.errors() != before {
        return None;
    }
    let text = if edits.is_empty() { Some(parsed.text.clone()) } else { rewrite::rewritten(&parsed.text, &edits) };
    let Some(text) = text else {
        let hint = "write constants with their types and zones: `timestamptz '2024-06-01 05:00:00+00'`";
        compiler.problems.error(&written.at, "`where` cannot be written so that every session reads it alike").hint(hint);
        return None;
    };
    if !found.total {
        let hint = "`policy explain` shows it; a filter of comparisons with constants raises no error";
        compiler.problems.warn(&written.at, "`where` may fail on a row: errors over this relation will not tell what failed").hint(hint);
    }
    let changed = (!edits.is_empty()).then(|| parsed.text.as_str().into());
    Some(RowFilter { text: text.as_str().into(), written: changed, leakproof: found.leakproof, total: found.total })
}

/// Whether the expression surely gives something else than true or false, so that every statement would fail.
fn never_boolean(expression: &Tree) -> bool {
    let Some(node) = expression.as_node() else { return true };
    match node.kind {
        "AConst" => !walk::is_boolean(node),
        "AArrayExpr" => true,
        "AExpr" => {
            let name = node.names("name").unwrap_or_default().last().map(|name| (*name).to_owned()).unwrap_or_default();
            node.int("kind") == Ok(1) && matches!(name.as_str(), "+" | "-" | "*" | "/" | "%" | "^" | "||" | "->" | "->>" | "#>" | "#>>")
        }
        _ => false,
    }
}
