//! Reads and prints the values of settings by PostgreSQL's rules.

use super::definitions::{Definition, Kind};
use crate::{error::SettingError, types::RunId};

/// The canonical form of `value`, or why it is refused. `current` is what the setting is now, `bound` the agent's timeout bound.
pub(super) fn check(definition: &'static Definition, value: &str, current: &str, bound: u64) -> Result<Box<str>, SettingError> {
    let invalid = || SettingError::Invalid { name: definition.name, value: shortened(value) };
    if value.contains('\0') {
        return Err(invalid());
    }
    match definition.kind {
        Kind::Fixed => Err(SettingError::Fixed(definition.name)),
        Kind::ApplicationName => {
            let printable = |byte: u8| if (32..127).contains(&byte) { char::from(byte) } else { '?' };
            Ok(truncated(value, 63).bytes().map(printable).collect::<String>().into())
        }
        Kind::Run if value.is_empty() || value.parse::<RunId>().is_ok() => Ok(value.into()),
        Kind::Text if value.len() <= 1024 && !value.chars().any(char::is_control) => Ok(value.into()),
        Kind::Run | Kind::Text => Err(invalid()),
        Kind::Word(words) => words.iter().find(|word| word.eq_ignore_ascii_case(value)).map(|word| (*word).into()).ok_or_else(invalid),
        Kind::Boolean => boolean(value).map(|on| if on { "on" } else { "off" }.into()).ok_or_else(invalid),
        Kind::Integer(least, most) => match value.trim().parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number.to_string().into()),
            Ok(_) | Err(_) => Err(invalid()),
        },
        Kind::Duration => milliseconds(value).map(|ms| print_milliseconds(ms).into()).ok_or_else(invalid),
        Kind::BoundedDuration => match milliseconds(value).ok_or_else(invalid)? {
            0 => Ok(print_milliseconds(bound).into()),
            ms if bound != 0 && ms > bound => {
                Err(SettingError::OverBound { name: definition.name, bound: print_milliseconds(bound).into() })
            }
            ms => Ok(print_milliseconds(ms).into()),
        },
        Kind::DateStyle => date_style(value, current).map(Into::into).ok_or_else(invalid),
        Kind::TimeZone => time_zone(value).map(Into::into).ok_or_else(invalid),
        Kind::Encoding => {
            let folded: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            if ["utf8", "unicode"].contains(&folded.to_ascii_lowercase().as_str()) { Ok("UTF8".into()) } else { Err(invalid()) }
        }
        Kind::ReadOnly => match boolean(value) {
            Some(true) => Ok("on".into()),
            Some(false) => Err(SettingError::ReadWrite),
            None => Err(invalid()),
        },
        Kind::AlwaysOn => {
            if boolean(value) == Some(true) {
                Ok("on".into())
            } else {
                Err(SettingError::Fixed(definition.name))
            }
        }
        Kind::Identifiers => {
            if value.len() <= 4096 {
                Ok(print_identifiers(&identifiers(value)).into())
            } else {
                Err(invalid())
            }
        }
        Kind::Role => {
            if value.eq_ignore_ascii_case("none") {
                Ok("none".into())
            } else {
                Err(SettingError::Forbidden("role".into()))
            }
        }
    }
}

/// A duration in milliseconds by PostgreSQL's units; without one it is milliseconds.
pub(super) fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let split = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(split)?;
    let number: f64 = number.trim().parse().ok()?;
    let factor = match unit.trim() {
        "us" => 0.001,
        "" | "ms" => 1.0,
        "s" => 1000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let product = (number * factor).round();
    if (0.0..=f64::from(i32::MAX)).contains(&product) { format!("{product:.0}").parse().ok() } else { None }
}

/// A duration as SHOW prints it: the largest unit that divides it.
pub(super) fn print_milliseconds(ms: u64) -> String {
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        if ms != 0 && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    if ms == 0 { "0".to_owned() } else { format!("{ms}ms") }
}

/// A list of identifiers: quoted ones as they are, others folded to lower case.
pub(super) fn identifiers(list: &str) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (name, after) = quoted_identifier(quoted);
            names.push(name.into());
            rest = after;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            names.push(rest.get(..end).unwrap_or_default().trim().to_lowercase().into());
            rest = rest.get(end..).unwrap_or_default();
        }
        rest = rest.trim_start().trim_start_matches(',').trim_start();
    }
    names.retain(|name| !name.is_empty());
    names
}

/// A list of names as SHOW prints it: quoted where the name would not read back.
pub(in crate::pipeline) fn print_identifiers(names: &[impl AsRef<str>]) -> String {
    let plain = |name: &str| {
        name.bytes()
            .enumerate()
            .all(|(at, byte)| byte.is_ascii_lowercase() || byte == b'_' || (at > 0 && (byte.is_ascii_digit() || byte == b'$')))
    };
    let printed = names
        .iter()
        .map(AsRef::as_ref)
        .map(|name| if plain(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) });
    printed.collect::<Vec<_>>().join(", ")
}

fn quoted_identifier(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return (name, text.get(at + 1..).unwrap_or_default());
        }
    }
    (name, "")
}

fn boolean(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    match value.as_str() {
        "" | "o" => None,
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        word if "true".starts_with(word) || "yes".starts_with(word) => Some(true),
        word if "false".starts_with(word) || "no".starts_with(word) => Some(false),
        _ => None,
    }
}

fn date_style(value: &str, current: &str) -> Option<String> {
    let (mut style, mut order) = current.split_once(", ").unwrap_or(("ISO", "MDY"));
    let mut order_given = false;
    for word in value.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "iso" => style = "ISO",
            "sql" => style = "SQL",
            word if word.starts_with("postgres") => style = "Postgres",
            "german" => {
                style = "German";
                if !order_given {
                    order = "DMY";
                }
            }
            "ymd" => (order, order_given) = ("YMD", true),
            "dmy" => (order, order_given) = ("DMY", true),
            word if word.starts_with("euro") => (order, order_given) = ("DMY", true),
            "mdy" | "us" => (order, order_given) = ("MDY", true),
            word if word.starts_with("noneuro") => (order, order_given) = ("MDY", true),
            "default" => (style, order) = ("ISO", "MDY"),
            _ => return None,
        }
    }
    Some(format!("{style}, {order}"))
}

/// A time zone's spelling is checked here; whether the source knows the name shows when it is first used.
fn time_zone(value: &str) -> Option<String> {
    let value = value.trim();
    if let Ok(hours) = value.parse::<i32>() {
        let (east, west) = if hours < 0 { ('-', '+') } else { ('+', '-') };
        return (hours.abs() <= 15).then(|| format!("<{east}{:02}>{west}{:02}", hours.abs(), hours.abs()));
    }
    let spelled =
        !value.is_empty() && value.len() <= 63 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-/:<>.,".contains(&byte));
    spelled.then(|| value.to_owned())
}

fn truncated(value: &str, bytes: usize) -> &str {
    value.get(..value.floor_char_boundary(bytes)).unwrap_or_default()
}

fn shortened(value: &str) -> Box<str> {
    truncated(value, 100).into()
}
