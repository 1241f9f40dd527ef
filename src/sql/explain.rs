//! EXPLAIN: the query within, and how its plan is to be told.

use pg_query::protobuf::Token;

use super::{
    parse::{character, parse},
    tree::{Misread, Node, Tree},
};

/// Tokens before the query at most.
const OPTIONS: usize = 64;

/// `EXPLAIN query`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// The query within, as it was written; `None` for EXECUTE, whose plan is not told.
    pub text: Option<String>,
    /// The prepared statement that EXECUTE names.
    pub statement: String,
    /// Characters of the statement before the query.
    pub before: usize,
    /// `FORMAT JSON`; otherwise text.
    pub json: bool,
    /// `COSTS`
    pub costs: bool,
}

/// Reads an EXPLAIN whose query changes nothing. `None`: with an option that is not supported, or of something else.
pub(super) fn explain(text: &str, node: &Node) -> Result<Option<Explain>, Misread> {
    let mut explain = Explain { text: None, statement: String::new(), before: 0, json: false, costs: true };
    for item in node.list("options")? {
        let Some(option) = item.of_kind("DefElem") else { return Ok(None) };
        let value = option.field("arg")?.as_node().map(word).transpose()?.flatten();
        let off = matches!(value.as_deref(), Some("false" | "off" | "0"));
        match (option.text("defname")?, value.as_deref()) {
            ("costs", _) => explain.costs = !off,
            ("format", Some("json")) => explain.json = true,
            ("format", Some("text")) | ("verbose" | "summary", _) => {}
            // What would run the statement, or speak of the server.
            ("analyze" | "buffers" | "wal" | "timing" | "settings" | "generic_plan" | "memory" | "serialize", _) if off => {}
            _ => return Ok(None),
        }
    }
    let query = node.field("query")?;
    if let Some(execute) = query.of_kind("ExecuteStmt") {
        return Ok(Some(Explain { statement: execute.text("name")?.to_owned(), ..explain }));
    }
    if query.of_kind("SelectStmt").is_none() {
        return Ok(None);
    }
    Ok(query_within(text, query).map(|(start, inner)| Explain {
        text: Some(inner.to_owned()),
        before: character(text, start) - 1,
        ..explain
    }))
}

/// The rest of the text that is the query: the cut that its tree confirms.
fn query_within<'a>(text: &'a str, query: &Tree) -> Option<(usize, &'a str)> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let begins = |token: Token| matches!(token, Token::Select | Token::With | Token::Values | Token::Table | Token::Ascii40);
    let starts = tokens.iter().skip(1).take(OPTIONS).filter(|token| begins(token.token()));
    starts.filter_map(|token| usize::try_from(token.start).ok()).find_map(|start| {
        let inner = text.get(start..)?.trim_end_matches(|end: char| end.is_whitespace() || end == ';');
        matches!(parse(inner), Ok(Some(tree)) if tree == *query).then_some((start, inner))
    })
}

fn word(node: &Node) -> Result<Option<String>, Misread> {
    Ok(match node.kind {
        "String" => Some(node.text("sval")?.to_ascii_lowercase()),
        "Boolean" => Some(node.flag("boolval")?.to_string()),
        "Integer" => Some(node.int("ival")?.to_string()),
        // Nothing else is a value of an option here.
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::sql::{Statement, classify};

    #[test]
    fn an_explain_holds_the_query_within() {
        let explained = |text: &str| match classify(text) {
            Ok(Statement::Explain(explain)) => explain,
            other => panic!("{text}: {other:?}"),
        };
        let explain = explained("explain (verbose, format json, costs off) with x as (select 1) select * from x;");
        assert_eq!(explain.text.as_deref(), Some("with x as (select 1) select * from x"));
        assert_eq!((explain.before, explain.json, explain.costs), (42, true, false));
        assert_eq!(explained("explain (select 1)").text.as_deref(), Some("(select 1)"));
        assert_eq!(explained("explain verbose (select 1) union (select 2)").text.as_deref(), Some("(select 1) union (select 2)"));
        assert_eq!(explained("explain (verbose, format json) execute p(null)").text, None);
    }

    #[test]
    fn what_would_run_or_tell_more_is_refused() {
        for text in [
            "explain analyze select 1",
            "explain (analyze) select 1",
            "explain (settings) select 1",
            "explain (format xml) select 1",
            "explain delete from t",
            "explain create table x as select 1",
            "explain declare c cursor for select 1",
            "explain with x as (delete from t returning *) select * from x",
        ] {
            assert!(matches!(classify(text), Ok(Statement::Refused(_))), "{text}");
        }
    }
}
