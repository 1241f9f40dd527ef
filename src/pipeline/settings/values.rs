//! Reads and prints the values of settings by PostgreSQL's rules.

use super::{
    definitions::{Definition, Kind},
    number,
    zone::{NoZone, time_zone},
};
use crate::{error::SettingError, sql, types::RunId};

/// What a value is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    /// What the setting is now.
    pub(super) current: &'a str,
    /// The agent's bound of `statement_timeout`.
    pub(super) bound: u64,
    /// The agent.
    pub(super) agent: &'a str,
}

/// The canonical form of `value`, or why it is refused.
pub(super) fn check(definition: &'static Definition, value: &str, held: Held<'_>) -> Result<Box<str>, SettingError> {
    let Held { current, bound, agent } = held;
    let invalid = || SettingError::Invalid { name: definition.name, value: shortened(value) };
    if value.contains('\0') {
        return Err(invalid());
    }
    match definition.kind {
        Kind::Fixed => Err(SettingError::Fixed(definition.name)),
        Kind::Server(how) => Err(SettingError::Server { name: definition.name, how }),
        Kind::Superuser | Kind::Hidden => Err(SettingError::Forbidden(definition.name.into())),
        Kind::Steady if is_default(value, definition.default) => Ok(definition.default.into()),
        Kind::Steady => Err(SettingError::Steady { name: definition.name, value: definition.default }),
        Kind::ApplicationName => {
            let printable = |byte: u8| if (32..127).contains(&byte) { char::from(byte) } else { '?' };
            Ok(truncated(value, 63).bytes().map(printable).collect::<String>().into())
        }
        Kind::Run if value.is_empty() || value.parse::<RunId>().is_ok() => Ok(value.into()),
        Kind::Text if value.len() <= 1024 && !value.chars().any(char::is_control) => Ok(value.into()),
        Kind::Run | Kind::Text => Err(invalid()),
        Kind::Word(words) => words.iter().find(|word| word.eq_ignore_ascii_case(value)).map(|word| (*word).into()).ok_or_else(invalid),
        Kind::OneOf(words) => one_of(words, value).map(Into::into).ok_or_else(invalid),
        Kind::Boolean => boolean(value).map(|on| on_off(on).into()).ok_or(SettingError::NotBoolean(definition.name)),
        Kind::Number { least, most, unit, whole } => match number::read(value, unit, whole) {
            Some(number) if (least..=most).contains(&number) => Ok(number::print(number, unit).into()),
            Some(number) => Err(SettingError::Range {
                name: definition.name,
                value: in_unit(number, unit).into(),
                range: format!("{least} .. {most}").into(),
            }),
            None => Err(invalid()),
        },
        Kind::Duration => milliseconds(value).map(|ms| print_milliseconds(ms).into()).ok_or_else(invalid),
        Kind::BoundedDuration => match milliseconds(value).ok_or_else(invalid)? {
            0 => Ok(print_milliseconds(bound).into()),
            // The caller tells the client that it is cut.
            ms if bound != 0 && ms > bound => Ok(print_milliseconds(bound).into()),
            ms => Ok(print_milliseconds(ms).into()),
        },
        Kind::DateStyle => date_style(value, current).map(Into::into).ok_or_else(invalid),
        Kind::TimeZone => time_zone(value).map(Into::into).map_err(|why| match why {
            NoZone::Unknown => invalid(),
            NoZone::LeapSeconds => SettingError::LeapSeconds(shortened(value)),
        }),
        Kind::Encoding => {
            let folded: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            if ["utf8", "unicode"].contains(&folded.to_ascii_lowercase().as_str()) { Ok("UTF8".into()) } else { Err(invalid()) }
        }
        Kind::AlwaysOn => {
            if boolean(value) == Some(true) {
                Ok("on".into())
            } else {
                Err(SettingError::Fixed(definition.name))
            }
        }
        Kind::Identifiers => {
            if value.len() <= 4096 && identifiers(value).is_some() {
                Ok(value.into())
            } else {
                Err(invalid())
            }
        }
        Kind::Role => {
            if definition.name == "role" && value.eq_ignore_ascii_case("none") {
                Ok("none".into())
            } else if value == agent {
                Ok(agent.into())
            } else {
                Err(SettingError::Forbidden(definition.name.into()))
            }
        }
    }
}

/// A number with the unit that it counts in.
fn in_unit(number: f64, unit: &str) -> String {
    if unit.is_empty() { number.to_string() } else { format!("{number} {unit}") }
}

/// What goes with a value that is over the bound: the bound as SHOW prints it.
pub(super) fn cut(definition: &Definition, value: &str, bound: u64) -> Option<String> {
    let over = definition.kind == Kind::BoundedDuration && bound != 0 && milliseconds(value).is_some_and(|asked| asked > bound);
    over.then(|| print_milliseconds(bound))
}

/// Whether a value is the default in another spelling.
fn is_default(value: &str, default: &str) -> bool {
    let (value, flag) = (value.trim(), boolean(default));
    value.eq_ignore_ascii_case(default) || (flag.is_some() && flag == boolean(value))
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A word of a list with commas between. Those that have `on` and `off` take the other spellings of a flag, too.
fn one_of(words: &'static str, value: &str) -> Option<&'static str> {
    let find = |wanted: &str| words.split(',').find(|word| word.eq_ignore_ascii_case(wanted));
    find(value).or_else(|| find(on_off(boolean(value)?)))
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

/// A list of identifiers: quoted ones as they are, others folded to lower case. `None`: it is none (`SplitIdentifierString`).
pub(super) fn identifiers(list: &str) -> Option<Vec<Box<str>>> {
    let mut names: Vec<Box<str>> = Vec::new();
    let mut rest = list.trim_start();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (name, after) = quoted_identifier(quoted)?;
            names.push(name.into());
            rest = after;
        } else {
            let end = rest.find(|character: char| character == ',' || character.is_ascii_whitespace()).unwrap_or(rest.len());
            let (name, after) = rest.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
            names.push(name.to_lowercase().into());
            rest = after;
        }
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// A list of names as SHOW prints it: quoted where the name would not read back.
pub(in crate::pipeline) fn print_identifiers(names: &[impl AsRef<str>]) -> String {
    let printed = names
        .iter()
        .map(AsRef::as_ref)
        .map(|name| if sql::is_plain_identifier(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) });
    printed.collect::<Vec<_>>().join(", ")
}

/// The name up to its closing quote, and what follows.
fn quoted_identifier(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return text.get(at + 1..).map(|rest| (name, rest));
        }
    }
    None
}

pub(super) fn boolean(value: &str) -> Option<bool> {
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
    let (mut style_given, mut order_given) = (None, None);
    for word in value.split(',') {
        let word = word.trim().to_ascii_lowercase();
        let (named, ordered) = match word.as_str() {
            "iso" => (Some("ISO"), None),
            "sql" => (Some("SQL"), None),
            word if word.starts_with("postgres") => (Some("Postgres"), None),
            "german" => {
                if order_given.is_none() {
                    order = "DMY";
                }
                (Some("German"), None)
            }
            "ymd" => (None, Some("YMD")),
            "dmy" => (None, Some("DMY")),
            word if word.starts_with("euro") => (None, Some("DMY")),
            "mdy" | "us" => (None, Some("MDY")),
            word if word.starts_with("noneuro") => (None, Some("MDY")),
            "default" => {
                (style, order) = (style_given.unwrap_or("ISO"), order_given.unwrap_or("MDY"));
                (None, None)
            }
            _ => return None,
        };
        // Two that disagree are none.
        if named.is_some_and(|named| style_given.is_some_and(|given| given != named))
            || ordered.is_some_and(|ordered| order_given.is_some_and(|given| given != ordered))
        {
            return None;
        }
        (style_given, order_given) = (named.or(style_given), ordered.or(order_given));
        (style, order) = (style_given.unwrap_or(style), order_given.unwrap_or(order));
    }
    Some(format!("{style}, {order}"))
}

fn truncated(value: &str, bytes: usize) -> &str {
    value.get(..value.floor_char_boundary(bytes)).unwrap_or_default()
}

pub(super) fn shortened(value: &str) -> Box<str> {
    truncated(value, 100).into()
}
