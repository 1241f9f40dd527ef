//! Text of agents, safe to look at: what could drive a terminal or deceive an eye is made visible.

/// The text with every character that is not seen as itself written as an escape: controls (colours, line breaks, tabs),
/// direction overrides, zero-width characters, blanks other than a space.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => out.extend(character.escape_default()),
            _ if deceives(character) => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

/// A value of a column: also where it begins and ends is seen.
pub(super) fn value(text: &str) -> String {
    let plain = visible(text);
    let doubtful = text.is_empty() || text.starts_with([' ', '\'']) || text.ends_with([' ', '\'']) || ["NULL", "DEFAULT"].contains(&text);
    if doubtful { format!("'{}'", plain.replace('\'', "''")) } else { plain }
}

/// The text on one line, cut.
pub(super) fn short(text: &str, characters: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let seen: String = visible(&line).chars().take(characters + 1).collect();
    if seen.chars().count() <= characters { seen } else { seen.chars().take(characters.saturating_sub(1)).chain(['…']).collect() }
}

fn deceives(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_agents_text_drives_the_terminal_or_the_eye() {
        assert_eq!(visible("a\u{1b}[2J\u{9b}31mb"), "a\\u{1b}[2J\\u{9b}31mb");
        assert_eq!(visible("one\ntwo\r\tthree\u{2028}four"), "one\\ntwo\\r\\tthree\\u{2028}four");
        assert_eq!(visible("abc\u{202e}txt.exe\u{2066}\u{200b}\u{feff}"), "abc\\u{202e}txt.exe\\u{2066}\\u{200b}\\u{feff}");
        assert_eq!(visible("a\u{a0}b\u{3000}c\u{e0041}"), "a\\u{a0}b\\u{3000}c\\u{e0041}");
        assert_eq!(visible("größe 名前 e\u{301} – “x”"), "größe 名前 e\u{301} – “x”", "letters of people stay");
    }

    #[test]
    fn a_value_shows_where_it_ends_and_is_never_taken_for_null() {
        for (given, seen) in
            [("open", "open"), ("", "''"), (" x ", "' x '"), ("NULL", "'NULL'"), ("'a'", "'''a'''"), ("it's", "it's"), ("a b", "a b")]
        {
            assert_eq!(value(given), seen);
        }
        assert_eq!(short("a\n  b\u{7}c", 20), "a b\\u{7}c");
        assert_eq!(short("abcdefgh", 5), "abcd…");
    }
}
