//! Secrets in what a client sends: what is cut out of it before it is recorded.
//!
//! No word takes a text out of evidence. What is cut out is a secret by its place (a literal of a SET, unless the setting is known
//! to hold none) or by its looks (a JSON Web Token); everything else stays, and the digest of the whole says what was there.

use std::{borrow::Cow, ops::Range};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::{memchr, memchr_iter, memchr2, memchr2_iter};
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
    let mut seen = Vec::new();
    tokens(text.as_bytes(), &mut seen);
    if has_escapes(text.as_bytes()) || is_broken(text.as_bytes(), &seen) {
        disguised(text, &mut secrets);
    }
    secrets.append(&mut seen);
    cut(text, secrets)
}

/// A message or a value, without what looks like a token. What a line break hides is cut out with all around it.
pub fn without_tokens(text: &str) -> Cow<'_, str> {
    let mut secrets = Vec::new();
    tokens(text.as_bytes(), &mut secrets);
    if is_broken(text.as_bytes(), &secrets) {
        secrets.push(0..text.len());
    }
    cut(text, secrets)
}

/// As [`without_tokens`], for a value of any bytes. `None`: nothing is to be cut out.
pub fn value_without_tokens(value: &[u8]) -> Option<Vec<u8>> {
    let mut secrets = Vec::new();
    tokens(value, &mut secrets);
    if is_broken(value, &secrets) {
        secrets.push(0..value.len());
    }
    (!secrets.is_empty()).then(|| {
        let mut out = kept(value, secrets);
        out.extend_from_slice(note(value).as_bytes());
        out
    })
}

fn cut(text: &str, secrets: Vec<Range<usize>>) -> Cow<'_, str> {
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    // Ranges begin and end at characters of ASCII, or where a lexer says.
    let out = String::from_utf8(kept(text.as_bytes(), secrets)).unwrap_or_default();
    Cow::Owned(out + &note(text.as_bytes()))
}

fn kept(bytes: &[u8], mut secrets: Vec<Range<usize>>) -> Vec<u8> {
    secrets.sort_by_key(|secret| (secret.start, secret.end));
    let (mut out, mut copied) = (Vec::with_capacity(bytes.len()), 0);
    for secret in secrets {
        // Two that overlap are cut out as one.
        if secret.start >= copied {
            out.extend_from_slice(bytes.get(copied..secret.start).unwrap_or_default());
            out.extend_from_slice(WITHHELD.as_bytes());
        }
        copied = copied.max(secret.end);
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    out
}

fn note(whole: &[u8]) -> String {
    let digest = Digest(Sha256::digest(whole).into());
    format!("\n-- withheld: what is or looks like a token; SHA-256 of the whole text: {digest}")
}

/// Whether a word of the text begins as SET does: a look that costs little, since every text gets it, and most have none (`OFFSET 0`, which
/// each fence has, is none).
fn has_set(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    memchr2_iter(b't', b'T', bytes).any(|at| {
        let before = at.checked_sub(2).and_then(|start| bytes.split_at_checked(start));
        before.is_some_and(|(before, set)| {
            set.get(..3).is_some_and(|set| set.eq_ignore_ascii_case(b"set")) && !before.last().is_some_and(is_word)
        })
    })
}

/// Whether a literal of the text may say something by escapes.
fn has_escapes(bytes: &[u8]) -> bool {
    let unicode = |at: usize| matches!(bytes.get(at.wrapping_sub(1)), Some(b'u' | b'U')) && bytes.get(at + 1) == Some(&b'\'');
    memchr(b'\\', bytes).is_some() || memchr_iter(b'&', bytes).any(unicode)
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

/// Whether there is more of a token when lines are joined. `seen`: what there is as it stands.
fn is_broken(bytes: &[u8], seen: &[Range<usize>]) -> bool {
    if memchr2(b'\n', b'\r', bytes).is_none() || !memchr_iter(b'.', bytes).any(|dot| begins_before(bytes.get(..dot).unwrap_or_default())) {
        return false;
    }
    let mut joined = Vec::new();
    tokens(&squeezed(bytes), &mut joined);
    let length = |ranges: &[Range<usize>]| ranges.iter().map(Range::len).sum::<usize>();
    length(&joined) > length(seen)
}

/// Whether what ends here may begin a token, when lines and the parts of a literal are joined.
fn begins_before(bytes: &[u8]) -> bool {
    let mut next = 0;
    for byte in bytes.iter().rev().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'\'') {
        if byte == b'e' && matches!(next, b'y' | b'w') {
            return true;
        }
        if !is_base64url(byte) {
            return false;
        }
        next = byte;
    }
    false
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The bytes with their lines joined, and with the parts of one literal joined.
fn squeezed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for piece in bytes.chunk_by(|one, next| one.is_ascii_whitespace() == next.is_ascii_whitespace()) {
        if piece.iter().any(|byte| is_line_end(*byte)) {
            continue;
        }
        let continues = out.last() == Some(&b'\'') && piece.first() == Some(&b'\'');
        out.truncate(out.len() - usize::from(continues));
        out.extend_from_slice(piece.get(usize::from(continues)..).unwrap_or_default());
    }
    out
}

/// The literals whose value looks like a token.
fn disguised(text: &str, secrets: &mut Vec<Range<usize>>) {
    let Ok(tokens) = pg_query::scan_tokens(text) else { return };
    let place = |at: i32| usize::try_from(at).unwrap_or(0);
    let written = |at: usize| tokens.get(at).and_then(|token| text.get(place(token.start)..place(token.end))).unwrap_or_default();
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token.token(), Token::Sconst | Token::Usconst) {
            continue;
        }
        let escape = match tokens.get(at + 1).map(pg_query::protobuf::ScanToken::token) {
            Some(Token::Uescape) => written(at + 2).chars().nth(1).unwrap_or('\\'),
            _ => '\\',
        };
        let mut found = Vec::new();
        self::tokens(&squeezed(value(written(at), escape).as_bytes()), &mut found);
        if !found.is_empty() {
            secrets.push(place(token.start)..place(token.end));
        }
    }
}

/// What a literal says, as far as a token may be in it: its escapes are read.
fn value(literal: &str, escape: char) -> String {
    let (unicode, escapes) = (literal.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("u&")), literal.starts_with(['e', 'E']));
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        if !(character == escape && (unicode || escapes)) {
            out.push(character);
            continue;
        }
        let (prefix, radix, most) = match rest.chars().next() {
            Some('+') if unicode => (1, 16, 6),
            _ if unicode => (0, 16, 4),
            Some('x') => (1, 16, 2),
            Some('u') => (1, 16, 4),
            Some('U') => (1, 16, 8),
            Some('0'..='7') => (0, 8, 3),
            _ => (0, 16, 0),
        };
        let digits: String = rest.chars().skip(prefix).take(most).take_while(|digit| digit.is_digit(radix)).collect();
        if let Some(meant) = u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32) {
            out.push(meant);
            rest = rest.get(prefix + digits.len()..).unwrap_or_default();
        }
    }
    out
}

/// Whatever looks like a JSON Web Token in compact form (RFC 7519): parts in base64url with dots between them, the first an object.
fn tokens(bytes: &[u8], secrets: &mut Vec<Range<usize>>) {
    let part = |from: usize| from + bytes.get(from..).unwrap_or_default().iter().take_while(|byte| is_base64url(**byte)).count();
    let is_dot = |at: usize| bytes.get(at) == Some(&b'.');
    let mut from = 0;
    for dot in memchr_iter(b'.', bytes) {
        // Of a token that was found.
        let Some(before) = bytes.get(from..dot) else { continue };
        let claims = part(dot + 1);
        if claims == dot + 1 {
            continue;
        }
        // What stands before a token may be of its letters: `jwt_eyJ…`.
        let length = before.iter().rev().take_while(|byte| is_base64url(**byte)).count();
        let run = before.get(before.len() - length..).unwrap_or_default();
        let mut places = run.windows(2).enumerate().filter(|(_, two)| matches!(*two, b"ey" | b"ew")).map(|(place, _)| place);
        if let Some(place) = places.find(|place| is_header(run.get(*place..).unwrap_or_default(), is_dot(claims))) {
            from = claims;
            while is_dot(from) {
                from = part(from + 1);
            }
            secrets.push(dot - length + place..from);
        }
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether this is an object in base64url, by its first and its last character; of three parts, `{"` at its beginning is enough.
fn is_header(part: &[u8], of_three: bool) -> bool {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let decoded = |range: Range<usize>| LENIENT.decode(part.get(range).unwrap_or_default()).unwrap_or_default();
    let first = decoded(0..part.len().min(4));
    let begins = matches!(*first, [b'{', b'"' | b' ' | b'\t' | b'\n' | b'\r', ..]);
    let last = decoded((part.len().saturating_sub(1) & !3)..part.len());
    let ends = last.iter().rev().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    begins && (ends || (of_three && part.starts_with(b"eyJ")))
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
            "select 'eyJ', 'eyJhbGciOiJFZERTQSJ9', 'eyJ.x', 'eyJ..', 'eyJhbGciOiJFZERTQSJ9.'",
            "select k.key, they.eye from new.key k, they where they.key = k.ey.x and E'\\x65' = U&'\\0065'",
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

    #[test]
    fn values_and_messages_lose_their_tokens_and_nothing_else() {
        let of = |text: &str| without_tokens(text).split('\n').next().unwrap_or_default().to_owned();
        assert_eq!(
            of(&format!("invalid input syntax for type integer: \"{JWT}\"")),
            "invalid input syntax for type integer: \"(withheld)\""
        );
        let broken = format!("{}\n{}", JWT.get(..30).unwrap(), JWT.get(30..).unwrap());
        assert_eq!(of(&format!("invalid: {broken}")), "(withheld)");
        assert_eq!(of(&format!("Bearer {JWT} and more")), "Bearer (withheld) and more");
        assert_eq!(without_tokens("no token, they.key or new.x"), "no token, they.key or new.x");
        assert_eq!(value_without_tokens(b"\0\xffey.\xff"), None);
        let value = value_without_tokens(&[b"\0\xff", JWT.as_bytes(), b"\xff"].concat()).unwrap();
        assert!(value.starts_with(b"\0\xff(withheld)\xff\n-- withheld: "));
        assert!(value_without_tokens(broken.as_bytes()).unwrap().starts_with(b"(withheld)\n-- "));
    }

    #[test]
    fn only_a_word_that_begins_as_set_does_is_read_further() {
        for text in ["set a = b", "select 1;SeT a", "/**/set", "select pg_catalog.set_config('a', 'b', true)", "\"set_config\"(1)", "\nset"]
        {
            assert!(has_set(text), "{text}");
        }
        for text in ["select 1 OFFSET 0", "select asset, x_set from t", "se t", "s", "et", "", "dataset.ésetting"] {
            assert!(!has_set(text), "{text}");
        }
    }

    /// Nothing here grows with the square of what somebody sends.
    #[test]
    fn a_text_that_begins_a_token_at_every_place_is_read_once() {
        for text in ["eyJ".repeat(1 << 18), "eyJ".repeat(1 << 18) + ".x", "ey.".repeat(1 << 18)] {
            assert_eq!(recorded(&text), text);
        }
    }
}
