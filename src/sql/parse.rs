//! Text to tree, by PostgreSQL's own grammar.

use std::ops::Range;

use pg_query::protobuf::{KeywordKind, Token};

use super::tree::{self, Node, Tree};

/// Statements longer than this are refused before parsing. Unit: bytes.
const MAX_TEXT: usize = 1 << 20;
/// Statements of more words and signs than this are refused before a tree is made of them, which takes up to 800 bytes for each. An IN
/// list of the 65 535 parameters that a Bind can hold has 131 070.
const MAX_TOKENS: usize = 150_000;
/// Bytes that the lexer may look at for comment openings.
const MAX_COMMENT_COST: usize = 4 << 20;

/// Why a text is not one statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// PostgreSQL's grammar refuses it.
    #[error("{message}")]
    Syntax {
        /// PostgreSQL's own words.
        message: String,
        /// 1-based character position.
        position: Option<usize>,
    },
    /// Longer than is parsed.
    #[error("statement of {bytes} bytes is over the limit of {MAX_TEXT} bytes")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Deeper than the parser's bounds.
    #[error("statement is too complex")]
    TooComplex,
    /// More words and signs than are parsed.
    #[error("statement has more than {MAX_TOKENS} words and signs")]
    TooManyTokens,
    /// More than one statement where one is asked for: a prepared statement.
    #[error("more than one statement")]
    Multiple,
}

/// Where each statement in `text` stands, comments before it included. The text is parsed whole: an error anywhere is one of all.
pub fn statements(text: &str) -> Result<Vec<Range<usize>>, ParseError> {
    let parsed = parse_all(text)?;
    let statements = &parsed.protobuf.stmts;
    let mut ranges: Vec<Range<usize>> = Vec::with_capacity(statements.len());
    for statement in statements {
        let start = usize::try_from(statement.stmt_location).map_err(|_negative| ParseError::TooComplex)?;
        let end = match usize::try_from(statement.stmt_len) {
            Ok(length) if length > 0 => start + length,
            // The last one runs on to the end.
            Ok(_) | Err(_) => text.len(),
        };
        // What stands before it, but for the semicolon that ended its predecessor.
        let from = ranges.last().map_or(0, |before| before.end);
        let between = text.get(from..start).ok_or(ParseError::TooComplex)?;
        let skipped = between.len() - between.trim_start_matches(|character: char| character == ';' || character.is_whitespace()).len();
        ranges.push(from + skipped..end);
    }
    Ok(ranges)
}

fn parse_all(text: &str) -> Result<pg_query::ParseResult, ParseError> {
    if text.len() > MAX_TEXT {
        return Err(ParseError::TooLong { bytes: text.len() });
    }
    if comment_cost(text) > MAX_COMMENT_COST {
        return Err(ParseError::TooComplex);
    }
    // A tree takes more than a thousand times the bytes of a text like `1,1,1`: what is short cannot have too many words.
    if text.len() > MAX_TOKENS && pg_query::scan_tokens(text).is_ok_and(|tokens| tokens.len() > MAX_TOKENS) {
        return Err(ParseError::TooManyTokens);
    }
    pg_query::parse(text, pg_query::ParserOptions::DEFAULT).map_err(|error| describe(text, &error))
}

/// The one statement in `text`, or `None` when there is none.
pub fn parse(text: &str) -> Result<Option<Tree>, ParseError> {
    let parsed = parse_all(text)?;
    match parsed.protobuf.stmts.as_slice() {
        [] => Ok(None),
        [statement] => match statement.stmt.as_ref().map(tree::of) {
            Some(Ok(tree)) => Ok(Some(tree)),
            Some(Err(_)) | None => Err(ParseError::TooComplex),
        },
        [_, _, ..] => Err(ParseError::Multiple),
    }
}

/// What the lexer spends on comment openings, in bytes looked at. At each `/*` it reads the whole run of operator
/// characters behind it and gives it back (scan.l, `xcstart`), so nested openings in one run cost the square of
/// their number: 20 000 of them are seconds.
fn comment_cost(text: &str) -> usize {
    const OPERATOR: &[u8] = b"~!@#^&|`?+-*/%<>=";
    let runs = text.as_bytes().split(|byte| !OPERATOR.contains(byte)).filter(|run| run.len() > 3);
    let costs = runs.map(|run| run.windows(2).filter(|pair| pair == b"/*").count().saturating_mul(run.len()));
    costs.fold(0, usize::saturating_add)
}

/// The one SELECT in `text`, as pgwicket itself wrote it.
pub fn parse_select(text: &str) -> Option<Node> {
    match parse(text) {
        Ok(Some(Tree::Node(node))) if node.kind == "SelectStmt" => Some(*node),
        Ok(_) | Err(_) => None,
    }
}

fn describe(text: &str, error: &pg_query::Error) -> ParseError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's other errors all end in a refusal")]
    match error {
        pg_query::Error::Decode(_) => ParseError::TooComplex,
        pg_query::Error::Parse(message)
            if ["stack depth", "memory exhausted", "nested too deeply"].iter().any(|words| message.contains(words)) =>
        {
            ParseError::TooComplex
        }
        pg_query::Error::Parse(message) => ParseError::Syntax { message: message.clone(), position: position(text, message) },
        pg_query::Error::Conversion(_) => ParseError::Syntax { message: "statement contains a zero byte".to_owned(), position: None },
        other => ParseError::Syntax { message: other.to_string(), position: None },
    }
}

/// The parser's binding drops the position. The grammar stops at the first token that cannot follow, so
/// the shortest prefix of tokens that fails with the same words ends with that token.
fn position(text: &str, message: &str) -> Option<usize> {
    if !message.contains("at or near") {
        return None;
    }
    let tokens = pg_query::scan_tokens(text).ok()?;
    let fails = |last: usize| -> bool {
        let end = tokens.get(last).and_then(|token| usize::try_from(token.end).ok()).unwrap_or(0);
        let Some(prefix) = text.get(..end) else { return false };
        matches!(pg_query::parse(prefix, pg_query::ParserOptions::DEFAULT), Err(pg_query::Error::Parse(same)) if same == message)
    };
    let (mut low, mut high) = (0, tokens.len().checked_sub(1)?);
    while low < high {
        let middle = low + (high - low) / 2;
        if fails(middle) { high = middle } else { low = middle + 1 }
    }
    let start = usize::try_from(tokens.get(low)?.start).ok()?;
    fails(low).then(|| character(text, start))
}

/// Whether a name reads back as itself without quotes (`quote_identifier`): no upper case, and no word that means something else.
pub fn is_plain_identifier(name: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| byte.is_ascii_lowercase() || byte == b'_' || (at > 0 && byte.is_ascii_digit());
    if name.is_empty() || !name.bytes().enumerate().all(fits) {
        return false;
    }
    let Ok(tokens) = pg_query::scan_tokens(name) else { return false };
    let plain = |kind: KeywordKind| matches!(kind, KeywordKind::NoKeyword | KeywordKind::UnreservedKeyword);
    matches!(tokens.as_slice(), [token] if plain(token.keyword_kind()))
}

/// `NAMEDATALEN` of PostgreSQL, less one. Unit: bytes.
const IDENTIFIER: usize = 63;

/// The identifiers of a text that PostgreSQL's lexer cuts, each as it is written and as it is read, in order.
pub fn cut_identifiers(text: &str) -> Vec<(String, String)> {
    // Most texts have no run of letters that long, and are not read for it.
    let long = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).any(|run| run.len() > IDENTIFIER);
    if !long && !text.split('"').any(|run| run.len() > IDENTIFIER) {
        return Vec::new();
    }
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    let names = tokens.iter().filter(|token| token.token() == Token::Ident).filter_map(|token| {
        let written = text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)?;
        let name = match written.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?.replace("\"\"", "\""),
            None => written.to_ascii_lowercase(),
        };
        let cut = name.get(..name.floor_char_boundary(IDENTIFIER))?.to_owned();
        (cut != name).then_some((name, cut))
    });
    names.collect()
}

/// The 1-based character position of a byte offset.
pub fn character(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < byte).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_says_where() {
        let at = |text: &str| match parse(text) {
            Err(ParseError::Syntax { position, message }) => (position, message),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("selec 1"), (Some(1), "syntax error at or near \"selec\"".to_owned()));
        assert_eq!(at("select 'é' from +").0, Some(17));
        assert_eq!(at("select 1 from t where x = = 2 and y = = 3").0, Some(27));
        assert_eq!(at("select (").0, None);
    }

    #[test]
    fn one_text_holds_one_statement() {
        assert_eq!(parse("select 1; select 2"), Err(ParseError::Multiple));
        assert_eq!(parse(" ; -- nothing\n;"), Ok(None));
        assert!(parse("select 1;").unwrap().is_some());
        let nested = |depth: usize| format!("select {}{} 1", "/*".repeat(depth), "*/".repeat(depth));
        assert!(parse(&nested(500)).is_ok_and(|tree| tree.is_some()));
        assert_eq!(parse(&nested(50_000)), Err(ParseError::TooComplex));
        assert_eq!(parse(&format!("select {}1", "1,".repeat(500_000))), Err(ParseError::TooManyTokens));
        assert!(parse(&format!("select 1 where 1 in ({}1)", "1,".repeat(20_000))).is_ok());
        assert_eq!(parse(&format!("select {}", "/*".repeat(50_000))), Err(ParseError::TooComplex));
        let deep = format!("select {}1{}", "(select ".repeat(200), ")".repeat(200));
        assert_eq!(parse(&deep), Err(ParseError::TooComplex));
    }

    #[test]
    fn a_text_is_cut_between_statements_only() {
        let cut = |text: &'static str| statements(text).unwrap().into_iter().map(|range| &text[range]).collect::<Vec<_>>();
        assert_eq!(cut(" ;; -- nothing"), Vec::<&str>::new());
        assert_eq!(
            cut("select ';' ; /* a;b */ select $$;$$;\n--x\n begin;; commit -- y;"),
            ["select ';' ", "/* a;b */ select $$;$$", "--x\n begin", "commit -- y;"]
        );
        assert_eq!(cut("select 'é';select 2;"), ["select 'é'", "select 2"]);
        assert!(statements("select 1; selec 2").is_err());
    }

    #[test]
    fn trees_are_equal_wherever_they_stand() {
        assert_eq!(parse("select a from b where c=1"), parse("select  a\nfrom b /* x */ where ((c = 1))"));
        assert_ne!(parse("select a from b where c=1"), parse("select a from b where c=2"));
        assert_ne!(parse("select a from only b"), parse("select a from b"));
    }
}
