//! The same statement in other spellings, and statements with tokens out of place.

use pg_query::protobuf::{KeywordKind, Token};

use crate::generator::Random;

/// A token: its bytes, and what it is.
#[derive(Debug, Clone)]
struct Word {
    text: String,
    token: Token,
    keyword: KeywordKind,
}

fn words(text: &str) -> Vec<Word> {
    // The binding makes a slice of a null pointer of no tokens.
    if text.trim().is_empty() {
        return Vec::new();
    }
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    let word = |token: &pg_query::protobuf::ScanToken| {
        let span = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
        Some(Word { text: text.get(span)?.to_owned(), token: token.token(), keyword: token.keyword_kind() })
    };
    tokens.iter().filter_map(word).collect()
}

const SPACES: &[&str] = &[
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "\r\n",
    "\x0b",
    "\x0c",
    "  ",
    " /**/ ",
    "/* a /* b */ c */",
    " -- x\n",
    "/*'*/",
    "/*\"*/",
    " --'\n",
    "/* $$ */",
    "--\r",
    "\u{a0}",
    "\u{2003}",
    "\u{feff}",
    "/*;*/",
    "",
];

/// Another spelling of `text`: white space, comments, letter case, quoting of names, forms of literals.
pub(super) fn respelled(text: &str, random: &mut Random) -> String {
    let mut spelled = String::new();
    let loud = *random.pick(&[5, 20, 60]);
    let words = words(text);
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            spelled += if random.chance(loud) { *random.pick::<&str>(SPACES) } else { " " };
        }
        spelled += &if random.chance(loud) { other_form(word, random) } else { word.text.clone() };
    }
    if random.chance(10) {
        spelled += *random.pick::<&str>(&[";", " ; ", ";--", ";/* */", "; ;"]);
    }
    spelled
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what has no other form stays as it is")]
fn other_form(word: &Word, random: &mut Random) -> String {
    let text = &word.text;
    match word.token {
        Token::Ident if !text.starts_with(['"', 'U', 'u']) => name(text, random),
        Token::Sconst if text.starts_with('\'') => string(&text[1..text.len() - 1].replace("''", "'"), random),
        Token::Iconst => number(text, random),
        _ if word.keyword == KeywordKind::UnreservedKeyword && random.chance(30) => name(text, random),
        _ if word.keyword != KeywordKind::NoKeyword => {
            text.chars().map(|letter| if random.chance(50) { letter.to_ascii_uppercase() } else { letter }).collect()
        }
        _ => text.clone(),
    }
}

/// An unquoted name, another way.
fn name(text: &str, random: &mut Random) -> String {
    let folded = text.to_ascii_lowercase();
    match random.below(8) {
        0 => format!("\"{folded}\""),
        1 => text.to_ascii_uppercase(),
        2 => format!("U&\"{}\"", escaped(&folded, '\\')),
        3 => format!("U&\"{}\" UESCAPE '!'", escaped(&folded, '!')),
        4 => format!("u&\"{folded}\""),
        5 => format!("\"{}\"", folded.to_ascii_uppercase()),
        6 => format!("{folded}{}", random.pick::<&str>(&["\u{200b}", "ı", "$", "_", "\u{301}"])),
        _ => text.to_owned(),
    }
}

fn escaped(text: &str, escape: char) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or_else(String::new, |letter| format!("{escape}{:04x}", u32::from(letter)));
    first + letters.as_str()
}

fn string(inside: &str, random: &mut Random) -> String {
    let quoted = inside.replace('\'', "''");
    match random.below(10) {
        0 => format!("E'{}'", quoted.replace('\\', "\\\\")),
        1 => format!("e'{}\\x41'", quoted.replace('\\', "\\\\")),
        2 => format!("U&'{}'", quoted.replace('\\', "\\\\")),
        3 => format!("U&'{}!0041' UESCAPE '!'", quoted.replace('!', "!!")),
        4 if !inside.contains('$') => format!("$${inside}$$"),
        5 if !inside.contains('$') => format!("$a${inside}$a$"),
        6 => format!("'{quoted}'\n'x'"),
        7 => format!("N'{quoted}'"),
        8 => format!("B'{}'", random.below(2)),
        _ => format!("'{quoted}\\'"),
    }
}

fn number(text: &str, random: &mut Random) -> String {
    match random.below(9) {
        0 => format!("{text}.0"),
        1 => format!("{text}e0"),
        2 => format!("0{text}"),
        3 => format!("{text}."),
        4 => format!("0x{text}"),
        5 => format!("{text}_0"),
        6 => format!("+{text}"),
        7 => format!("{text}00000000000000000000"),
        _ => format!(".{text}"),
    }
}

/// What a read is made of, and what it should not be.
const SOUP: &str = r#"t.id t.amount t.subject t.meta t.tags t c c.name id tenant_id hidden * t.* s.t.id 1 0 'x' '1' 2.5e3 1_000 0x1F $1
  null true ( ) ( ) [ ] , . .. :: ::int ::text ::regclass ::name := => and or not is in between like similar to collate "C" at time zone
  operator( pg_catalog. any all array row case when then else end cast as distinct from where select union group by having order limit
  offset over filter within lateral join on using natural with values table exists coalesce nullif xmlelement current_user grouping for
  update into tablesample rows only ; -- /* */ $$ E'\\' U& pg_class base.t isnull notnull overlaps"#;
/// Letters of operators.
const SIGNS: &[u8] = b"+-*/<>=~!@#%^&|`?";

/// Tokens in no order, operators that nobody declared among them, after the beginning of a read.
pub(super) fn soup(random: &mut Random) -> String {
    let tokens: Vec<&str> = SOUP.split_whitespace().collect();
    let mut words = vec!["select".to_owned()];
    let most = *random.pick(&[3, 6, 12]);
    for _ in 0..=random.below(most) {
        let operator = (0..=random.below(3)).map(|_| char::from(*random.pick(SIGNS))).collect::<String>();
        words.push(if random.chance(25) { operator } else { (*random.pick(&tokens)).to_owned() });
    }
    words.push((*random.pick::<&str>(&["from t", "from s.t, c", "from t where id = 1", "from c join t on t.c_id = c.id", ""])).to_owned());
    words.join(if random.chance(90) { " " } else { "" })
}

/// Tokens deleted, doubled, moved, or taken from another statement: mostly in the place of one of their kind.
pub(super) fn mutated(text: &str, other: &str, random: &mut Random) -> String {
    let (mut changed, donor) = (words(text), words(other));
    for _ in 0..=random.below(3) {
        if changed.is_empty() || donor.is_empty() {
            break;
        }
        let at = random.below(changed.len());
        match random.below(12) {
            0 => drop(changed.remove(at)),
            1 => changed.insert(at, changed[at].clone()),
            2 => {
                let to = random.below(changed.len());
                changed.swap(at, to);
            }
            3 => changed[at] = random.pick(&donor).clone(),
            4 => {
                let start = random.below(donor.len());
                let part = donor[start..(start + 1 + random.below(12)).min(donor.len())].to_vec();
                changed.splice(at..at, part);
            }
            5 => drop(changed.drain(at..(at + 1 + random.below(6)).min(changed.len()))),
            _ => {
                let of_its_kind: Vec<&Word> = donor.iter().filter(|word| kind(word) == kind(&changed[at])).collect();
                if !of_its_kind.is_empty() {
                    changed[at] = (*random.pick(&of_its_kind)).clone();
                }
            }
        }
    }
    changed.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// What the grammar takes in the same places, roughly.
#[expect(clippy::wildcard_enum_match_arm, reason = "most tokens are of no kind but their own")]
fn kind(word: &Word) -> u8 {
    match word.token {
        Token::Sconst | Token::Iconst | Token::Fconst | Token::Param | Token::NullP | Token::TrueP => 1,
        Token::Ident => 2,
        Token::Op
        | Token::Ascii60
        | Token::Ascii61
        | Token::Ascii62
        | Token::Ascii43
        | Token::Ascii45
        | Token::Ascii42
        | Token::Ascii47 => 3,
        Token::And | Token::Or => 4,
        Token::Join | Token::Left | Token::Natural | Token::Cross => 5,
        Token::Union | Token::Except | Token::Intersect => 6,
        _ if word.keyword == KeywordKind::UnreservedKeyword => 2,
        _ => 0,
    }
}
