//! What the string literals of a statement may read besides their own characters when PostgreSQL analyses it.
//!
//! A literal of unknown type becomes a constant at that moment, by its type's input function. Input functions of dates,
//! times and intervals read settings; and the words `now`, `today`, `tomorrow` and `yesterday` (`RESERV` in `datetktbl`,
//! utils/adt/datetime.c) read the clock, in whatever a date or a time may stand: ranges, arrays, rows. The other reserved
//! words (`epoch`, `infinity`, `allballs`, `zulu`) are constants. `timetz` reads the clock without a word, too: what has no
//! offset of its own gets the zone's on the current day.

use pg_query::protobuf::SqlValueFunctionOp;

use super::{
    catalog::{CatalogSnapshot, Oid},
    tree::Tree,
};

/// The words that read the clock, in the order of the table.
const WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];
/// `time`, `timetz` and their arrays in `pg_type`: AT TIME ZONE makes the second of the first.
const TIMES: [Oid; 4] = [1083, 1183, 1266, 1270];
/// `CURRENT_TIME`, `CURRENT_TIME(n)`, `LOCALTIME` and `LOCALTIME(n)`, by their number in the grammar.
const TIME_FUNCTIONS: [i64; 4] = [
    SqlValueFunctionOp::SvfopCurrentTime as i64,
    SqlValueFunctionOp::SvfopCurrentTimeN as i64,
    SqlValueFunctionOp::SvfopLocaltime as i64,
    SqlValueFunctionOp::SvfopLocaltimeN as i64,
];
/// How deep types are looked into; deeper ones are taken to hold anything.
const MAX_DEPTH: usize = 16;

/// What the string literals of a statement may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Literals {
    /// There are none.
    None,
    /// Settings.
    Settings,
    /// The clock.
    Clock,
}

impl Literals {
    /// Those of a tree. `times`: whether values of `time` or `timetz` are in it though nothing in it says so.
    pub fn of(tree: &Tree, times: bool) -> Self {
        let (mut found, mut times) = (Self::None, times);
        let time = |name: &str| name.trim_start_matches('_') == "time" || name.contains("timetz");
        tree.each(&mut |node| match node.kind {
            "AConst" => {
                let value = node.field("val").ok().and_then(Tree::as_node).filter(|value| value.kind == "String");
                found = found.max(value.and_then(|value| value.text("sval").ok()).map_or(Self::None, Self::of_text));
            }
            "TypeName" => times |= node.names("names").is_ok_and(|names| names.last().is_some_and(|name| time(name))),
            "FuncCall" => {
                times |= node.names("funcname").is_ok_and(|names| names.last().is_some_and(|name| time(name) || *name == "make_time"));
            }
            "SqlValueFunction" => times |= node.int("op").is_ok_and(|op| TIME_FUNCTIONS.contains(&op)),
            // Other nodes hold no value of their own.
            _ => {}
        });
        if times && found == Self::Settings { Self::Clock } else { found }
    }

    /// Of one literal, by its value.
    pub fn of_text(value: &str) -> Self {
        if words(value).next().is_some() { Self::Clock } else { Self::Settings }
    }
}

/// The words of a literal that read the clock if a date or a time stands there, with their places.
fn words(value: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let letter = |at: usize| value.as_bytes().get(at).is_some_and(u8::is_ascii_alphabetic);
    let starts = (0..value.len()).filter(move |at| letter(*at) && !at.checked_sub(1).is_some_and(letter));
    starts.filter_map(move |at| {
        let is = |word: &&str| {
            let end = at + word.len();
            !letter(end) && value.as_bytes().get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
        };
        WORDS.into_iter().find(is).map(|word| (at, word))
    })
}

/// Whether values of this type hold a `time` or a `timetz`.
pub fn holds_time(catalog: &CatalogSnapshot, oid: Oid) -> bool {
    within(catalog, oid, MAX_DEPTH)
}

fn within(catalog: &CatalogSnapshot, oid: Oid, depth: usize) -> bool {
    if TIMES.contains(&oid) || depth == 0 {
        return true;
    }
    let Some(shape) = catalog.shapes.types.get(&oid) else { return false };
    let range = shape.range.iter().flat_map(|range| [range.subtype]);
    let below = [shape.base, shape.element].into_iter().chain(range).chain(shape.attributes.iter().map(|attribute| attribute.type_oid));
    below.filter(|below| *below != 0 && *below != oid).any(|below| within(catalog, below, depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    fn of(text: &str) -> Literals {
        Literals::of(&parse(text).unwrap().unwrap(), false)
    }

    #[test]
    fn the_words_of_the_clock_are_found_wherever_a_date_may_stand() {
        for text in [
            "select 'now'::timestamptz",
            "select date 'TODAY'",
            "select 1 where d > ' Tomorrow '",
            "select E'to\\x64ay'::date",
            "select U&'\\0074oday'::date",
            "select $$yesterday$$::date, $a$x$a$",
            "select 'to'\n'day'::date",
            "select '[today,tomorrow)'::daterange",
            "select '{yesterday,infinity}'::date[]",
            "select '(1,now)'::s.pair",
            "select 'today 04:05'::timestamp",
            "select 'now()'::timestamptz",
            "select '5now'::timestamptz",
            "select time with time zone '04:05'",
            "select current_time > '04:05'",
            "select '04:05'::timetz[]",
            "select a from t where exists (select from u where u.d in ('2024-01-01', 'today')) limit '1'",
        ] {
            assert_eq!(of(text), Literals::Clock, "{text}");
        }
    }

    #[test]
    fn what_is_no_such_word_reads_settings_at_most() {
        for text in [
            "select 'nowhere', 'todays', 'snow', 'a'",
            "select ts at time zone 'Asia/Tokyo' from t where d > current_date",
            "select '2024-01-01 04:05'",
            "select 'epoch'::date, 'infinity'::date",
            "select 'é'",
        ] {
            assert_eq!(of(text), Literals::Settings, "{text}");
        }
        for text in ["select now(), today from t", "select 1, 2.5, b'1', true, null, $1"] {
            assert_eq!(of(text), Literals::None, "{text}");
        }
        assert_eq!(
            Literals::of(&parse("select 'a'").unwrap().unwrap(), true),
            Literals::Clock,
            "a column of timetz may be compared with it"
        );
    }
}
