//! The shape of a statement: its text with plain literals taken out.
//!
//! Two texts of one shape have the same tokens in the same places, but for the digits of small integers and
//! the characters of plain strings; the grammar never looks at those, so their trees differ in those
//! constants only. Whatever might lex otherwise (escapes, prefixes, dollar quotes, nested comments) has no
//! shape, or stays in the text as it is.

use std::ops::Range;

/// Longer texts and texts with more literals are looked up as they are. Unit: bytes.
const MAX_TEXT: usize = 8192;
const MAX_SLOTS: usize = 64;
/// More digits might not fit an `int4`, and would be another token.
const MAX_DIGITS: usize = 9;

/// A shape, reusable as a buffer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The text with `?` for each slot and a space for each comment.
    pub key: String,
    /// Where the literals stand in the text, in bytes.
    pub slots: Vec<Range<usize>>,
}

impl Shape {
    /// Reads the shape of `text` into `self`; false when it has none.
    pub fn read(&mut self, text: &str) -> bool {
        self.key.clear();
        self.slots.clear();
        text.len() <= MAX_TEXT && self.scan(text).is_some() && self.slots.len() <= MAX_SLOTS
    }

    fn scan(&mut self, text: &str) -> Option<()> {
        let bytes = text.as_bytes();
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let (mut at, mut copied) = (0, 0);
        // Whether nothing but white space and comments stands after a string: another one may continue it.
        let mut after_string = false;
        while at < bytes.len() {
            let before = at.checked_sub(1).map_or(b' ', byte);
            let continues = std::mem::take(&mut after_string);
            match byte(at) {
                b'0'..=b'9' if !is_word(before) && before != b'.' => {
                    let digits = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
                    let after = byte(at + digits);
                    let plain = digits <= MAX_DIGITS && (digits == 1 || byte(at) != b'0') && !is_word(after) && after != b'.';
                    if plain {
                        self.slot(text, copied, at..at + digits)?;
                        copied = at + digits;
                    }
                    at += digits;
                    // The rest of a number, or of what began with digits, is no slot.
                    while !plain && (is_word(byte(at)) || byte(at) == b'.') {
                        at += 1;
                    }
                }
                b'\'' => {
                    if continues || is_word(before) || before == b'&' {
                        return None;
                    }
                    after_string = true;
                    let end = quoted(bytes, at, b'\'')?;
                    let inside = bytes.get(at + 1..end - 1)?;
                    if !inside.iter().any(|byte| matches!(byte, b'\'' | b'\\')) {
                        self.slot(text, copied, at..end)?;
                        copied = end;
                    }
                    at = end;
                }
                b'"' if before == b'&' => return None,
                b'"' => at = quoted(bytes, at, b'"')?,
                b'$' if !byte(at + 1).is_ascii_digit() => return None,
                b'-' if byte(at + 1) == b'-' => {
                    let end =
                        bytes.iter().skip(at).position(|byte| matches!(byte, b'\n' | b'\r')).map_or(bytes.len(), |length| at + length);
                    self.comment(text, copied, at)?;
                    (at, copied, after_string) = (end, end, continues);
                }
                b'/' if byte(at + 1) == b'*' => {
                    let length = text.get(at + 2..)?.find("*/")? + 4;
                    if text.get(at + 2..at + length - 1)?.contains("/*") {
                        return None;
                    }
                    self.comment(text, copied, at)?;
                    (at, copied, after_string) = (at + length, at + length, continues);
                }
                other => {
                    after_string = continues && (other.is_ascii_whitespace() || other == b'\x0b');
                    at += 1;
                }
            }
        }
        self.key.push_str(text.get(copied..)?);
        Some(())
    }

    fn slot(&mut self, text: &str, copied: usize, slot: Range<usize>) -> Option<()> {
        self.key.push_str(text.get(copied..slot.start)?);
        self.key.push_str(if text.as_bytes().get(slot.start) == Some(&b'\'') { "'?'" } else { "?" });
        self.slots.push(slot);
        Some(())
    }

    fn comment(&mut self, text: &str, copied: usize, at: usize) -> Option<()> {
        self.key.push_str(text.get(copied..at)?);
        self.key.push(' ');
        Some(())
    }
}

/// A byte of an identifier, a parameter, or of UTF-8 beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Where a quoted token that starts at `at` ends, doubled quotes inside.
fn quoted(bytes: &[u8], at: usize, quote: u8) -> Option<usize> {
    let mut end = at + 1;
    loop {
        end += bytes.iter().skip(end).position(|byte| *byte == quote)? + 1;
        if bytes.get(end) != Some(&quote) {
            return Some(end);
        }
        end += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Option<(String, Vec<&str>)> {
        let mut shape = Shape::default();
        shape.read(text).then(|| (shape.key.clone(), shape.slots.iter().map(|slot| &text[slot.clone()]).collect()))
    }

    #[test]
    fn plain_literals_are_slots_and_nothing_else_is() {
        for (text, key, slots) in [
            ("select a from t where id = 42", "select a from t where id = ?", vec!["42"]),
            ("select a1, $1, 'x' from t2 limit 5", "select a1, $1, '?' from t2 limit ?", vec!["'x'", "5"]),
            ("select 1.5, .5, 5., 1e5, 12345678901, 007, 1_0, 0x1", "select 1.5, .5, 5., 1e5, 12345678901, 007, 1_0, 0x1", vec![]),
            ("select 'it''s', 'a\\b', ''", "select 'it''s', 'a\\b', '?'", vec!["''"]),
            ("select \"a'1\" /* 'x' 1 */, 2 -- 3\n, 4", "select \"a'1\"  , ?  \n, ?", vec!["2", "4"]),
            ("select é1, x-1", "select é1, x-?", vec!["1"]),
        ] {
            assert_eq!(shape(text), Some((key.to_owned(), slots)), "{text}");
        }
        for text in [
            "select E'a'",
            "select U&'a'",
            "select $$a$$",
            "select $a$b$a$",
            "select 'a",
            "select /* /* */ */ 1",
            "select 'a'\n'b'",
            "select 'a' /* c */\n'b'",
            "select 'a' -- c\n\x0b'b'",
            "select n'a'",
            "select U&\"a\"",
        ] {
            assert_eq!(shape(text), None, "{text}");
        }
    }
}
