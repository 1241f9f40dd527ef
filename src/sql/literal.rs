//! Constants of a policy, in a form that no session setting moves.
//!
//! PostgreSQL reads `05/01/2024` by `DateStyle`, `2024-05-01 05:00` of type timestamptz by `TimeZone`, `-1 2:00` of type interval
//! by `IntervalStyle`, `$5` by `lc_monetary`, `today` by the clock in `TimeZone`. What is taken here reads the same under all of them.

use super::catalog::Oid;

const DATE: Oid = 1082;
const TIME: Oid = 1083;
const TIMESTAMP: Oid = 1114;
const TIMESTAMPTZ: Oid = 1184;
const INTERVAL: Oid = 1186;
const TIMETZ: Oid = 1266;
const MONEY: Oid = 790;

/// Why a constant is not taken: what it is, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Ends the sentence "the constant 'x' …".
    pub why: String,
    /// What to write instead.
    pub hint: &'static str,
}

/// Built-in types whose input function reads no setting (`provolatile` is `i`), and which no function of the source's own reads.
const STEADY: &[Oid] = &[
    16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 600, 601, 602, 603, 604, 628, 650, 700, 701, 718, 774, 829, 869, 1042, 1043, 1560, 1562, 1700,
    2950, 3614, 3615, 3802, 4072, // and arrays and ranges of some of them:
    1000, 1001, 1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1231, 2951, 3807, 3904, 3906, 3926, 4451, 4532, 4536,
];

/// The text of a constant of a built-in type, as every session reads it. What has no zone and needs one is in UTC.
///
/// # Errors
/// [`Moved`] when sessions may read it differently, or when it is not certain that they do not.
pub fn canonical(oid: Oid, text: &str) -> Result<String, Moved> {
    const DATES: &str = "write the year first: '2024-06-01'";
    const STAMPS: &str = "write the year first, and the zone as an offset: '2024-06-01 05:00:00+00' (without a zone it is UTC)";
    const TIMES: &str = "write '05:00' or '05:00:00'";
    let moved = |why: &str, hint| Moved { why: why.to_owned(), hint };
    let is = text.trim();
    match oid {
        DATE => endless(is).or_else(|| date(is)).ok_or_else(|| moved("may be read as another date under another DateStyle", DATES)),
        TIMESTAMP => endless(is).or_else(|| stamp(is, Zone::Refused)).ok_or_else(|| {
            moved("may be read as another time under another DateStyle", "write the year first and no zone: '2024-06-01 05:00:00'")
        }),
        TIMESTAMPTZ => endless(is)
            .or_else(|| stamp(is, Zone::Wanted))
            .ok_or_else(|| moved("may be read as another time under another TimeZone or DateStyle", STAMPS)),
        TIME => time(is, Zone::Refused).ok_or_else(|| moved("may be read as another time", TIMES)),
        TIMETZ => time(is, Zone::Wanted).ok_or_else(|| moved("may be read as another time under another TimeZone", "write '05:00:00+00'")),
        INTERVAL if is_steady_interval(is) => Ok(text.to_owned()),
        INTERVAL => Err(moved(
            "may be read as another interval under another IntervalStyle",
            "write each part without a sign, '1 day 2 hours', and subtract it instead",
        )),
        MONEY => Err(moved("is read by lc_monetary", "expose a view that casts it to numeric, and compare that")),
        _ if STEADY.contains(&oid) => Ok(text.to_owned()),
        _ => Err(moved("is of a type whose constants may be read differently under other settings", "build it of simpler typed parts")),
    }
}

/// Whether a JSON path makes dates of text, or text of dates: PostgreSQL does that by settings in some versions.
pub fn makes_dates(path: &str) -> bool {
    let squeezed: String = path.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    ["datetime(", "date(", "time(", "time_tz(", "timestamp(", "timestamp_tz(", "string("].iter().any(|method| squeezed.contains(method))
        || squeezed.contains("/*")
        || squeezed.contains('\\')
}

/// What has no digits and is the same everywhere.
fn endless(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    matches!(lower.as_str(), "infinity" | "-infinity" | "epoch").then_some(lower)
}

/// What is to be made of a zone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// There is none in such a value; PostgreSQL would pass over one in silence.
    Refused,
    /// Without one it is UTC.
    Wanted,
}

/// `2024-06-01`
fn date(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str, least: usize, most: usize| (least..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || !digits(year, 4, 6) || !digits(month, 1, 2) || !digits(day, 1, 2) {
        return None;
    }
    let (number, month, day): (u32, u32, u32) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let leap = number.is_multiple_of(4) && (!number.is_multiple_of(100) || number.is_multiple_of(400));
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    (number > 0 && (1..=last).contains(&day)).then(|| format!("{year}-{month:02}-{day:02}"))
}

/// `2024-06-01 05:00:00.5+02`, `2024-06-01T05:00Z`, `2024-06-01`
fn stamp(text: &str, zone: Zone) -> Option<String> {
    let end = text.find([' ', 'T', 't']).unwrap_or(text.len());
    let (day, rest) = text.split_at_checked(end)?;
    let clock = match rest.get(1..) {
        None if zone == Zone::Wanted => "00:00:00+00".to_owned(),
        None => "00:00:00".to_owned(),
        Some(clock) => time(clock.trim_start(), zone)?,
    };
    Some(format!("{} {clock}", date(day)?))
}

/// `05:00:00.5+02`
fn time(text: &str, zone: Zone) -> Option<String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (clock, offset) = text.split_at_checked(end)?;
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, fraction)| (whole, Some(fraction)));
    let parts: Vec<&str> = whole.split(':').collect();
    let two = |part: &str, below: u32| part.len() == 2 && part.parse::<u32>().is_ok_and(|number| number < below);
    let well = match parts.as_slice() {
        [hour, minute] => two(hour, 24) && two(minute, 60) && fraction.is_none(),
        [hour, minute, second] => two(hour, 24) && two(minute, 60) && two(second, 60),
        _ => false,
    };
    if !well || fraction.is_some_and(|digits| digits.is_empty() || digits.len() > 6) {
        return None;
    }
    let offset = match (offset.trim_start(), zone) {
        ("", Zone::Wanted) => "+00".to_owned(),
        ("", Zone::Refused) => String::new(),
        (_, Zone::Refused) => return None,
        (offset, Zone::Wanted) if offset.eq_ignore_ascii_case("z") || offset.eq_ignore_ascii_case("utc") => "+00".to_owned(),
        (offset, Zone::Wanted) => {
            let digits = offset.strip_prefix(['+', '-'])?;
            let (hour, minute) = digits.split_at_checked(2)?;
            let minute = minute.strip_prefix(':').unwrap_or(minute);
            if !two(hour, 16) || !(minute.is_empty() || two(minute, 60)) {
                return None;
            }
            let sign = offset.get(..1)?;
            if minute.is_empty() { format!("{sign}{hour}") } else { format!("{sign}{hour}:{minute}") }
        }
    };
    let seconds = if parts.len() == 2 { ":00" } else { "" };
    Some(format!("{clock}{seconds}{offset}"))
}

/// Whether `IntervalStyle` does not matter: `sql_standard` spreads a sign in front over what follows, so there is none, or nothing follows.
fn is_steady_interval(text: &str) -> bool {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b':' | b'.' | b'@'));
    let Some(rest) = text.strip_prefix('-') else { return plain(text) && !text.is_empty() };
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit = digits.trim_start();
    digits.len() < rest.len() && !unit.is_empty() && unit.bytes().all(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_taken_only_as_every_session_reads_it() {
        for (oid, text, expected) in [
            (DATE, "2024-06-01", Some("2024-06-01")),
            (DATE, " 2024-6-1 ", Some("2024-06-01")),
            (DATE, "2024-02-30", None),
            (DATE, "2023-02-29", None),
            (DATE, "2000-02-29", Some("2000-02-29")),
            (DATE, "1900-02-29", None),
            (DATE, "0000-01-01", None),
            (DATE, "05/01/2024", None),
            (DATE, "01-02-2003", None),
            (DATE, "24-06-01", None),
            (DATE, "20240601", None),
            (DATE, "2024-06-01 05:00", None),
            (DATE, "today", None),
            (DATE, "Infinity", Some("infinity")),
            (TIMESTAMP, "2024-06-01 05:00", Some("2024-06-01 05:00:00")),
            (TIMESTAMP, "2024-06-01T05:00:00.25", Some("2024-06-01 05:00:00.25")),
            (TIMESTAMP, "2024-06-01", Some("2024-06-01 00:00:00")),
            (TIMESTAMP, "2024-06-01 05:00+02", None),
            (TIMESTAMPTZ, "2024-06-01 05:00", Some("2024-06-01 05:00:00+00")),
            (TIMESTAMPTZ, "2024-06-01", Some("2024-06-01 00:00:00+00")),
            (TIMESTAMPTZ, "2024-06-01T05:00:00Z", Some("2024-06-01 05:00:00+00")),
            (TIMESTAMPTZ, "2024-06-01 05:00:00.123456 -0330", Some("2024-06-01 05:00:00.123456-03:30")),
            (TIMESTAMPTZ, "2024-06-01 05:00+05:45", Some("2024-06-01 05:00:00+05:45")),
            (TIMESTAMPTZ, "2024-06-01 05:00 Europe/Berlin", None),
            (TIMESTAMPTZ, "2024-06-01 05:00 CEST", None),
            (TIMESTAMPTZ, "2024-06-01 25:00", None),
            (TIMESTAMPTZ, "2024-06-01 05:00:60", None),
            (TIMESTAMPTZ, "2024-06-01 05:00:00.1234567", None),
            (TIMESTAMPTZ, "2024-06-01 05:00+99", None),
            (TIMESTAMPTZ, "now", None),
            (TIMESTAMPTZ, "epoch", Some("epoch")),
            (TIME, "05:00", Some("05:00:00")),
            (TIME, "5 PM", None),
            (TIME, "now", None),
            (TIMETZ, "05:00:01", Some("05:00:01+00")),
            (INTERVAL, "7 days", Some("7 days")),
            (INTERVAL, "1 day 02:03:04.5", Some("1 day 02:03:04.5")),
            (INTERVAL, "P1Y2M", Some("P1Y2M")),
            (INTERVAL, "7 days ago", Some("7 days ago")),
            (INTERVAL, "-7 days", Some("-7 days")),
            (INTERVAL, "-1 2:03:04", None),
            (INTERVAL, "-1 day 2 hours", None),
            (INTERVAL, "1-2", None),
            (INTERVAL, "-1", None),
            (INTERVAL, "", None),
            (MONEY, "5", None),
            (25, "05/01/2024", Some("05/01/2024")),
            (1007, "{1,2}", Some("{1,2}")),
            (1182, "{2024-06-01}", None),
            (3912, "[2024-06-01,2024-07-01)", None),
            (90_000, "x", None),
        ] {
            assert_eq!(canonical(oid, text).ok().as_deref(), expected, "{oid} {text}");
        }
    }
}
