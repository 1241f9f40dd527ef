//! Writes the governed text: the client's own bytes, with the replacements spliced in and comments taken out.
//!
//! Nothing trusts this. What it makes is passed by the verifier, or not sent.

use pg_query::protobuf::{ScanToken, Token};

use super::kernel::{Form, Replacement};

/// The governed text, and which of its stretches are the client's: `(start, client start, length)` in bytes.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) text: String,
    pub(super) kept: Vec<(usize, usize, usize)>,
}

/// `None` when the tokens at a replacement are not what its form says.
pub(super) fn rewrite(text: &str, replacements: &[Replacement]) -> Option<Rewritten> {
    let tokens: Vec<Span> = pg_query::scan_tokens(text).ok()?.iter().map(Span::of).collect::<Option<_>>()?;
    let mut cuts: Vec<(usize, usize, &str)> = Vec::new();
    for token in tokens.iter().filter(|token| token.is_comment()) {
        cuts.push((token.start, token.end, " "));
    }
    let code: Vec<Span> = tokens.into_iter().filter(|token| !token.is_comment()).collect();
    for replacement in replacements {
        let first = code.iter().position(|token| token.start == replacement.at)?;
        let end = end_of(&code, first, replacement.form)?;
        let (first, end) = if replacement.form == Form::Relation { with_only(&code, first, end) } else { (first, end) };
        // `TABLE t` is the grammar's `SELECT * FROM t`.
        let before = first.checked_sub(1).and_then(|before| code.get(before));
        let table = before.filter(|token| replacement.form == Form::Relation && token.kind == Token::Table);
        let start = match replacement.form {
            Form::Sample => before.filter(|token| token.kind == Token::Tablesample)?.start,
            Form::Relation | Form::Call | Form::Word | Form::SchemaPrefix | Form::DatabasePrefix | Form::TypeName | Form::Column => {
                table.or_else(|| code.get(first))?.start
            }
        };
        // Comments inside a replaced stretch go with it.
        cuts.retain(|(comment, _, _)| !(start..end).contains(comment));
        if table.is_some() {
            cuts.push((start, start, "SELECT * FROM "));
        }
        cuts.push((start, end, &replacement.sql));
    }
    let last = code.iter().rposition(|token| token.kind != Token::Ascii59).and_then(|last| code.get(last))?.end;
    cuts.retain(|(start, _, _)| *start < last);
    cuts.sort_by_key(|(start, _, _)| *start);

    let mut written = Rewritten { text: String::with_capacity(text.len() + 256), kept: Vec::new() };
    let mut at = 0;
    for (start, end, sql) in cuts {
        written.keep(text, at, start)?;
        written.text.push_str(sql);
        at = end;
    }
    written.keep(text, at, last.max(at))?;
    Some(written)
}

impl Rewritten {
    fn keep(&mut self, text: &str, start: usize, end: usize) -> Option<()> {
        let kept = text.get(start..end)?;
        self.kept.push((self.text.len(), start, kept.len()));
        self.text.push_str(kept);
        Some(())
    }
}

/// A token, by bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    kind: Token,
}

impl Span {
    fn of(token: &ScanToken) -> Option<Self> {
        Some(Self { start: usize::try_from(token.start).ok()?, end: usize::try_from(token.end).ok()?, kind: token.token() })
    }

    fn is_comment(&self) -> bool {
        matches!(self.kind, Token::SqlComment | Token::CComment)
    }
}

/// Where the stretch that starts with token `first` ends.
fn end_of(code: &[Span], first: usize, form: Form) -> Option<usize> {
    let kind = |place: usize| code.get(place).map(|token| token.kind);
    match form {
        Form::Word => code.get(first).map(|token| token.end),
        Form::SchemaPrefix => {
            let name = name_end(code, first);
            (kind(name + 1)? == Token::Ascii46).then(|| code.get(name + 2).map(|token| token.start))?
        }
        Form::DatabasePrefix => {
            let name = name_end(code, first);
            (kind(name + 1)? == Token::Ascii46).then_some(())?;
            let name = name_end(code, name + 2);
            (kind(name + 1)? == Token::Ascii46).then(|| code.get(name + 2).map(|token| token.start))?
        }
        Form::TypeName | Form::Column => code.get(qualified_end(code, first)).map(|token| token.end),
        Form::Relation => {
            let mut last = qualified_end(code, first);
            if kind(last + 1) == Some(Token::Ascii42) {
                last += 1;
            }
            code.get(last).map(|token| token.end)
        }
        Form::Call => code.get(parentheses_end(code, qualified_end(code, first) + 1)?).map(|token| token.end),
        Form::Sample => {
            let arguments = parentheses_end(code, qualified_end(code, first) + 1)?;
            let seeded = kind(arguments + 1) == Some(Token::Repeatable);
            let last = if seeded { parentheses_end(code, arguments + 2)? } else { arguments };
            code.get(last).map(|token| token.end)
        }
    }
}

/// The token that closes the parenthesis which token `first` opens.
fn parentheses_end(code: &[Span], first: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, token) in code.iter().enumerate().skip(first) {
        if token.kind == Token::Ascii40 {
            depth += 1;
        } else if token.kind == Token::Ascii41 {
            depth = depth.checked_sub(1)?;
        }
        if depth == 0 {
            return (token.kind == Token::Ascii41).then_some(place);
        }
    }
    None
}

/// The last token of a name with what qualifies it.
fn qualified_end(code: &[Span], first: usize) -> usize {
    let mut last = name_end(code, first);
    while code.get(last + 1).is_some_and(|token| token.kind == Token::Ascii46) {
        last = name_end(code, last + 2);
    }
    last
}

/// The stretch with `ONLY` before the name, and with the parentheses that may be around it then.
fn with_only(code: &[Span], first: usize, end: usize) -> (usize, usize) {
    let kind = |place: Option<usize>| place.and_then(|place| code.get(place)).map(|token| token.kind);
    if kind(first.checked_sub(1)) == Some(Token::Only) {
        return (first - 1, end);
    }
    let within = kind(first.checked_sub(1)) == Some(Token::Ascii40) && kind(first.checked_sub(2)) == Some(Token::Only);
    let close = code.iter().find(|token| token.start >= end).filter(|token| within && token.kind == Token::Ascii41);
    close.map_or((first, end), |close| (first - 2, close.end))
}

/// The last token of a name: `U&"…" UESCAPE '…'` is three.
fn name_end(code: &[Span], first: usize) -> usize {
    if code.get(first + 1).is_some_and(|token| token.kind == Token::Uescape) { first + 2 } else { first }
}
