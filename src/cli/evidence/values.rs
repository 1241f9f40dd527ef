//! Values of kept rows as text: PostgreSQL's text format as it is, its binary format for the common types.

use std::fmt::Write as _;

use jiff::{SignedDuration, civil};

use super::super::visible::visible;

/// A value for people: decoded when the type is known, else hexadecimal with a note.
pub(super) fn show(type_oid: u32, format: i16, value: &[u8]) -> String {
    if format == 0 {
        return String::from_utf8_lossy(value).into_owned();
    }
    binary(type_oid, value).unwrap_or_else(|| format!("{} (binary, type {type_oid})", hex(value)))
}

/// The value without what could drive a terminal or deceive an eye.
pub(super) fn tame(text: &str) -> String {
    visible(text)
}

fn hex(value: &[u8]) -> String {
    let mut out = "\\x".to_owned();
    for byte in value {
        out.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?')));
    }
    out
}

fn binary(type_oid: u32, value: &[u8]) -> Option<String> {
    Some(match type_oid {
        16 => if *value.first()? == 0 { "f" } else { "t" }.to_owned(),
        17 => hex(value),
        18 | 19 | 25 | 114 | 142 | 705 | 1042 | 1043 => std::str::from_utf8(value).ok()?.to_owned(),
        20 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(value.try_into().ok()?).to_string(),
        700 => float(f32::from_be_bytes(value.try_into().ok()?)),
        701 => float(f64::from_be_bytes(value.try_into().ok()?)),
        1082 => date(i32::from_be_bytes(value.try_into().ok()?))?,
        1114 => timestamp(i64::from_be_bytes(value.try_into().ok()?), "")?,
        1184 => timestamp(i64::from_be_bytes(value.try_into().ok()?), "+00")?,
        1700 => numeric(value)?,
        2950 => uuid(value)?,
        3802 => std::str::from_utf8(value.strip_prefix(&[1])?).ok()?.to_owned(),
        1000 | 1005 | 1007 | 1009 | 1015 | 1016 | 1021 | 1022 | 1115 | 1182 | 1185 | 1231 | 2951 | 3807 => array(value)?,
        _ => return None,
    })
}

fn float(value: impl Into<f64> + std::fmt::Display + Copy) -> String {
    let wide: f64 = value.into();
    if wide.is_nan() {
        "NaN".to_owned()
    } else if wide.is_infinite() {
        if wide > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        value.to_string()
    }
}

const EPOCH: civil::Date = civil::date(2000, 1, 1);

fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some("infinity".to_owned()),
        i32::MIN => Some("-infinity".to_owned()),
        days => EPOCH
            .checked_add(SignedDuration::from_hours(i64::from(days) * 24))
            .ok()
            .filter(|date| date.year() > 0)
            .map(|date| date.to_string()),
    }
}

fn timestamp(microseconds: i64, zone: &str) -> Option<String> {
    match microseconds {
        i64::MAX => Some("infinity".to_owned()),
        i64::MIN => Some("-infinity".to_owned()),
        microseconds => {
            let time = EPOCH.to_datetime(civil::time(0, 0, 0, 0)).checked_add(SignedDuration::from_micros(microseconds)).ok()?;
            (time.year() > 0).then(|| format!("{}{zone}", time.to_string().replace('T', " ")))
        }
    }
}

fn uuid(value: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(value.try_into().ok()?);
    let digits = format!("{number:032x}");
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    Some([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

fn take2(bytes: &mut &[u8]) -> Option<i16> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(i16::from_be_bytes(*head))
}

fn take4(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

/// `numeric`: base-10000 digits with the weight of the first and the number of decimals to show.
fn numeric(mut value: &[u8]) -> Option<String> {
    let (count, weight) = (take2(&mut value)?, i32::from(take2(&mut value)?));
    let (sign, scale) = (take2(&mut value)?.cast_unsigned(), usize::try_from(take2(&mut value)?).ok()?);
    let mut digits = Vec::new();
    for _ in 0..count {
        digits.push(take2(&mut value)?);
    }
    let mut out = match sign {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let digit = |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    if weight < 0 {
        out.push('0');
    }
    for place in 0..=weight {
        let digit = digit(place);
        write!(out, "{digit:0width$}", width = if place == 0 { 0 } else { 4 }).ok()?;
    }
    if scale > 0 {
        let mut decimals = String::new();
        let mut place = weight + 1;
        while decimals.len() < scale {
            // A place before the first digit is a zero that is not stored.
            write!(decimals, "{:04}", if place < 0 { 0 } else { digit(place) }).ok()?;
            place += 1;
        }
        out.push('.');
        out.push_str(decimals.get(..scale)?);
    }
    Some(out)
}

/// An array in PostgreSQL's text form; one dimension, and more as nested braces.
fn array(mut value: &[u8]) -> Option<String> {
    let (dimensions, _has_nulls, element) = (take4(&mut value)?, take4(&mut value)?, take4(&mut value)?.cast_unsigned());
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let (length, _lower_bound) = (usize::try_from(take4(&mut value)?).ok()?, take4(&mut value)?);
        lengths.push(length);
    }
    if lengths.is_empty() {
        return Some("{}".to_owned());
    }
    let mut out = String::new();
    elements(&lengths, element, &mut value, &mut out)?;
    Some(out)
}

fn elements(lengths: &[usize], element: u32, value: &mut &[u8], out: &mut String) -> Option<()> {
    let (length, inner) = lengths.split_first()?;
    out.push('{');
    for index in 0..*length {
        if index > 0 {
            out.push(',');
        }
        if !inner.is_empty() {
            elements(inner, element, value, out)?;
            continue;
        }
        match usize::try_from(take4(value)?) {
            Ok(size) => {
                let (item, rest) = value.split_at_checked(size)?;
                *value = rest;
                out.push_str(&quoted(&binary(element, item)?));
            }
            Err(_) => out.push_str("NULL"),
        }
    }
    out.push('}');
    Some(())
}

fn quoted(item: &str) -> String {
    let plain = !item.is_empty()
        && !item.eq_ignore_ascii_case("null")
        && !item.contains(|character: char| matches!(character, '{' | '}' | ',' | '"' | '\\') || character.is_whitespace());
    if plain { item.to_owned() } else { format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// The binary forms are what PostgreSQL 15's `*_send` functions give; the texts are its own.
    #[test]
    fn binary_values_read_as_postgres_prints_them() {
        let cases = [
            (16, "01", "t"),
            (21, "ffff", "-1"),
            (23, "0000002a", "42"),
            (20, "8000000000000000", "-9223372036854775808"),
            (700, "3fc00000", "1.5"),
            (701, "7ff0000000000000", "Infinity"),
            (17, "00ff", "\\x00ff"),
            (25, "c3a9", "é"),
            (2950, "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            (1082, "00000000", "2000-01-01"),
            (1082, "7fffffff", "infinity"),
            (1114, "0000000000000000", "2000-01-01 00:00:00"),
            (1184, "fffffffffffe7960", "1999-12-31 23:59:59.9+00"),
            (1700, "0003 0002 0000 0002 0001 0929 1a85", "123456789.00"),
            (1700, "0002 0000 4000 0002 0001 1388", "-1.50"),
            (1700, "0001 fffe 0000 0007 0064", "0.0000010"),
            (1700, "0000 0000 0000 0000", "0"),
            (1700, "0001 0001 0000 0000 0001", "10000"),
            (1700, "0000 0000 c000 0000", "NaN"),
            (3802, "01 7b7d", "{}"),
            (1007, "00000001 00000001 00000017 00000003 00000001 00000004 00000001 ffffffff 00000004 00000003", "{1,NULL,3}"),
            (1009, "00000001 00000000 00000019 00000002 00000001 00000003 612062 00000000", "{\"a b\",\"\"}"),
            (1007, "00000000 00000000 00000017", "{}"),
        ];
        for (type_oid, value, text) in cases {
            assert_eq!(show(type_oid, 1, &bytes(value)), text, "type {type_oid} {value}");
        }
        assert_eq!(show(600, 1, &[1, 2]), "\\x0102 (binary, type 600)");
        assert_eq!(show(23, 1, &[1, 2]), "\\x0102 (binary, type 23)");
        assert_eq!(show(1700, 0, b"12.50"), "12.50");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(tame("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
    }
}
