//! Time zones as PostgreSQL reads them: hours, an interval, a name of its list, or a POSIX specification.

use std::{collections::HashMap, sync::LazyLock};

/// The names of `pg_timezone_names`, without those of a machine's own (`posix/…`, `localtime`).
const NAMES: &str = include_str!("time-zones.txt");

static BY_LOWER_CASE: LazyLock<HashMap<String, &'static str>> =
    LazyLock::new(|| NAMES.lines().map(|name| (name.to_ascii_lowercase(), name)).collect());

/// Longer specifications are refused. Unit: bytes.
const LONGEST: usize = 255;

/// Hours of an offset at most (`getsecs` of PostgreSQL's localtime.c).
const HOURS: u64 = 167;

/// Why a value is no zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoZone {
    /// It names none.
    Unknown,
    /// Its offset has seconds, which PostgreSQL takes for a zone with leap seconds.
    LeapSeconds,
}

/// The zone's name as SHOW prints it.
pub(super) fn time_zone(value: &str) -> Result<String, NoZone> {
    let zone = read(value).ok_or(NoZone::Unknown)?;
    // Only a specification can have such an offset: offsets that are numbers or intervals are not looked at.
    let written = zone.eq_ignore_ascii_case(value);
    if written && has_seconds(&zone) { Err(NoZone::LeapSeconds) } else { Ok(zone) }
}

/// Whether the standard offset of a POSIX specification has seconds.
fn has_seconds(zone: &str) -> bool {
    if BY_LOWER_CASE.contains_key(&zone.to_ascii_lowercase()) {
        return false;
    }
    let digits = abbreviation(zone).map_or("", |(_, rest)| rest).trim_start_matches(['-', '+']);
    let offset = digits.split(|character: char| !character.is_ascii_digit() && character != ':').next().unwrap_or_default();
    offset.split(':').nth(2).is_some_and(|seconds| seconds.bytes().any(|digit| digit != b'0'))
}

fn read(value: &str) -> Option<String> {
    if value.len() > LONGEST {
        return None;
    }
    if let Some(rest) = value.get(..8).filter(|word| word.eq_ignore_ascii_case("interval")).and_then(|_| value.get(8..)) {
        return offset(interval(rest)?);
    }
    // `strtod` takes blanks before a number and none after it.
    if let Ok(hours) = value.trim_start().parse::<f64>() {
        let seconds = (hours * 3600.0).trunc();
        return if seconds.abs() < 1e6 { offset(format!("{seconds:.0}").parse().ok()?) } else { None };
    }
    BY_LOWER_CASE.get(&value.to_ascii_lowercase()).map(|name| (*name).to_owned()).or_else(|| posix(value))
}

/// `<+05:30>-05:30`: a zone so many seconds east of UTC.
fn offset(east: i64) -> Option<String> {
    let size = east.unsigned_abs();
    if size / 3600 > HOURS {
        return None;
    }
    let mut text = format!("{:02}", size / 3600);
    if !size.is_multiple_of(3600) {
        text = format!("{text}:{:02}", size / 60 % 60);
    }
    if !size.is_multiple_of(60) {
        text = format!("{text}:{:02}", size % 60);
    }
    Some(if east < 0 { format!("<-{text}>+{text}") } else { format!("<+{text}>-{text}") })
}

/// What follows INTERVAL, `'…' [HOUR [TO MINUTE]]`, which is east of UTC, in seconds.
fn interval(rest: &str) -> Option<i64> {
    let (text, fields) = rest.trim().strip_prefix('\'')?.rsplit_once('\'')?;
    let fields = fields.trim().to_ascii_lowercase();
    match fields.as_str() {
        "" => seconds(text, 1),
        "hour" => seconds(text, 3600).map(|seconds| seconds - seconds % 3600),
        "hour to minute" => seconds(text, 60).map(|seconds| seconds - seconds % 60),
        _ => None,
    }
}

/// Hours, minutes and seconds: `-08:00`, `5 hours 30 min`, `8 hours ago`. A number without a unit counts in `bare` seconds.
fn seconds(text: &str, bare: i32) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let mut words = text.split_ascii_whitespace().peekable();
    words.next_if(|word| *word == "@");
    let (mut total, mut any) = (0_i64, false);
    while let Some(word) = words.next() {
        if word == "ago" && any && words.peek().is_none() {
            return Some(-total);
        }
        any = true;
        let (sign, digits) = match word.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, word.strip_prefix('+').unwrap_or(word)),
        };
        if digits.contains(':') {
            let mut parts = digits.split(':').map(whole);
            let (hours, minutes, rest) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
            if parts.next().is_some() || minutes > 59 || rest > 59 {
                return None;
            }
            total += sign * (hours * 3600 + minutes * 60 + rest);
            continue;
        }
        let end = digits.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(digits.len());
        let (number, glued) = digits.split_at_checked(end)?;
        let unit =
            if glued.is_empty() { words.next_if(|next| next.starts_with(|first: char| first.is_ascii_alphabetic())) } else { Some(glued) };
        let size = match unit {
            Some("h" | "hour" | "hours" | "hr" | "hrs") => 3600,
            Some("m" | "min" | "mins" | "minute" | "minutes") => 60,
            Some("s" | "sec" | "secs" | "second" | "seconds") => 1,
            None => bare,
            Some(_) => return None,
        };
        let (number, part) = number.split_once('.').unwrap_or((number, "0"));
        let part: f64 = format!("0.{part}").parse().ok()?;
        let part: i64 = format!("{:.0}", (part * f64::from(size)).trunc()).parse().ok()?;
        total += sign * (whole(number)? * i64::from(size) + part);
    }
    any.then_some(total)
}

fn whole(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 7 || !digits.bytes().all(|byte| byte.is_ascii_digit()) { None } else { digits.parse().ok() }
}

/// `EST5EDT,M3.2.0,M11.1.0`, which PostgreSQL keeps in upper case (`tzparse`).
fn posix(value: &str) -> Option<String> {
    // What the source takes of it (`source::Setting`).
    if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-/:<>.,".contains(&byte)) {
        return None;
    }
    let upper = value.to_ascii_uppercase();
    let (_, rest) = abbreviation(&upper)?;
    let rest = after_offset(rest)?;
    if !rest.is_empty() {
        let (name, mut rest) = abbreviation(rest)?;
        if name.is_empty() {
            return None;
        }
        if !rest.is_empty() && !rest.starts_with(',') {
            rest = after_offset(rest)?;
        }
        if !rest.is_empty() {
            let rules = rest.strip_prefix(',')?;
            let rest = after_rule(rules)?.strip_prefix(',')?;
            if !after_rule(rest)?.is_empty() {
                return None;
            }
        }
    }
    Some(upper)
}

/// A zone's abbreviation, quoted by `<>` or not, and what follows it.
fn abbreviation(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>');
    }
    let end = text.find(|character: char| character.is_ascii_digit() || ",-+".contains(character)).unwrap_or(text.len());
    text.split_at_checked(end)
}

/// `[+-]hh[:mm[:ss]]`
fn after_offset(text: &str) -> Option<&str> {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut rest = after_number(text, 0, HOURS)?;
    for most in [59, 60] {
        let Some(next) = rest.strip_prefix(':') else { break };
        rest = after_number(next, 0, most)?;
    }
    Some(rest)
}

/// `Jn`, `n`, `Mm.w.d`, and a time of day.
fn after_rule(text: &str) -> Option<&str> {
    let rest = if let Some(day) = text.strip_prefix('J') {
        after_number(day, 1, 365)?
    } else if let Some(month) = text.strip_prefix('M') {
        let week = after_number(month, 1, 12)?.strip_prefix('.')?;
        after_number(after_number(week, 1, 5)?.strip_prefix('.')?, 0, 6)?
    } else {
        after_number(text, 0, 365)?
    };
    match rest.strip_prefix('/') {
        Some(time) => after_offset(time),
        None => Some(rest),
    }
}

fn after_number(text: &str, least: u64, most: u64) -> Option<&str> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    let number: u64 = digits.parse().ok()?;
    (least..=most).contains(&number).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as PostgreSQL 15 answers `SET timezone` and `SHOW timezone`.
    #[test]
    fn a_zone_is_read_and_printed_as_postgresql_does() {
        for (value, shown) in [
            ("Europe/Paris", Some("Europe/Paris")),
            ("europe/PARIS", Some("Europe/Paris")),
            ("utc", Some("UTC")),
            ("etc/gmt+5", Some("Etc/GMT+5")),
            ("-7", Some("<-07>+07")),
            ("5.5", Some("<+05:30>-05:30")),
            (" 5", Some("<+05>-05")),
            ("0", Some("<+00>-00")),
            ("+05:30", Some("+05:30")),
            ("04:30:00", Some("04:30:00")),
            ("foo5", Some("FOO5")),
            ("<-07>+07", Some("<-07>+07")),
            ("est5edt,m3.2.0,m11.1.0/3", Some("EST5EDT,M3.2.0,M11.1.0/3")),
            ("PST8PDT", Some("PST8PDT")),
            ("pst8", Some("PST8")),
            ("INTERVAL '-08:00' HOUR TO MINUTE", Some("<-08>+08")),
            ("interval '90' hour to minute", Some("<+01:30>-01:30")),
            ("interval '5' hour", Some("<+05>-05")),
            ("interval '5.5' hour", Some("<+05>-05")),
            ("-7.25", Some("<-07:15>+07:15")),
            ("interval '5 hours 30 min'", Some("<+05:30>-05:30")),
            ("interval '8 hours ago'", Some("<-08>+08")),
            ("168", None),
            ("inf", None),
            ("nan", None),
            ("interval '1 day'", None),
            ("interval", None),
            ("Nowhere/X", None),
            ("PST", None),
            ("Europe/Paris ", None),
            ("", None),
            ("<x>", None),
            ("EST5EDT,M13.2.0,M11.1.0", None),
            ("EST5EDT,M3.2.0", None),
            ("'; drop", None),
        ] {
            assert_eq!(time_zone(value).ok().as_deref(), shown, "{value}");
        }
        assert_eq!(time_zone("04:30:06"), Err(NoZone::LeapSeconds));
        assert_eq!(time_zone("<x>5:00:01y"), Err(NoZone::LeapSeconds));
        assert_eq!(time_zone("interval '00:00:30'").as_deref(), Ok("<+00:00:30>-00:00:30"));
    }
}
