//! Numbers with PostgreSQL's units: `4MB`, `1.5h`, `0x10`.

/// A family of units: the smallest first, each with its size in the smallest.
type Units = [(&'static str, f64)];

const MEMORY: &Units = &[("B", 1.0), ("kB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("TB", 1_099_511_627_776.0)];
const TIME: &Units = &[("us", 1.0), ("ms", 1e3), ("s", 1e6), ("min", 6e7), ("h", 3.6e9), ("d", 8.64e10)];

/// The family of a setting's own unit, and the unit's size. `None`: it counts in nothing.
fn family(unit: &str) -> Option<(&'static Units, f64)> {
    let blocks = unit.strip_suffix("kB").and_then(|blocks| blocks.parse::<f64>().ok());
    if let Some(blocks) = blocks {
        return Some((MEMORY, blocks * 1024.0));
    }
    [MEMORY, TIME].into_iter().find_map(|units| units.iter().find(|(name, _)| *name == unit).map(|(_, size)| (units, *size)))
}

/// A number in the setting's own unit.
pub(super) fn read(value: &str, unit: &str, whole: bool) -> Option<f64> {
    let value = value.trim();
    let hexadecimal = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let (number, given) = if let Some(digits) = hexadecimal {
        let end = digits.find(|character: char| !character.is_ascii_hexdigit()).unwrap_or(digits.len());
        let (digits, given) = digits.split_at_checked(end)?;
        (f64::from(u32::from_str_radix(digits, 16).ok()?), given)
    } else {
        let is_number = |(at, character): (usize, char)| {
            let exponent = || matches!(value.as_bytes().get(at + 1), Some(b'0'..=b'9' | b'-' | b'+'));
            character.is_ascii_digit() || matches!(character, '.' | '-' | '+') || (matches!(character, 'e' | 'E') && exponent())
        };
        let end = value.char_indices().find(|place| !is_number(*place)).map_or(value.len(), |(at, _)| at);
        let (digits, given) = value.split_at_checked(end)?;
        (digits.parse::<f64>().ok()?, given)
    };
    let given = given.trim();
    let factor = if given.is_empty() {
        1.0
    } else {
        let (units, own) = family(unit)?;
        units.iter().find(|(name, _)| *name == given)?.1 / own
    };
    let number = number * factor;
    let number = if whole { number.round_ties_even() } else { number };
    number.is_finite().then_some(number)
}

/// A number as SHOW prints it: in the largest unit that divides it.
pub(super) fn print(number: f64, unit: &str) -> String {
    if number > 0.0
        && let Some((units, own)) = family(unit)
    {
        let size = number * own;
        if let Some((name, unit)) = units.iter().rev().find(|(_, unit)| (size / unit).fract() == 0.0) {
            return format!("{}{name}", size / unit);
        }
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as PostgreSQL 15 answers SET and SHOW.
    #[test]
    fn a_number_is_read_and_printed_as_postgresql_does() {
        for (value, unit, whole, shown) in [
            ("4096", "kB", true, Some("4MB")),
            ("64kB", "kB", true, Some("64kB")),
            (" 1 GB ", "kB", true, Some("1GB")),
            ("1.5GB", "8kB", true, Some("1536MB")),
            ("0x100", "kB", true, Some("256kB")),
            ("1e3", "", true, Some("1000")),
            ("-1", "B", true, Some("-1")),
            ("0", "ms", true, Some("0")),
            ("90", "s", true, Some("90s")),
            ("0.0025", "", false, Some("0.0025")),
            ("2ms", "ms", false, Some("2ms")),
            ("1 parsec", "ms", true, None),
            ("1ms", "", true, None),
            ("", "", true, None),
            ("nan", "", false, None),
        ] {
            assert_eq!(read(value, unit, whole).map(|number| print(number, unit)).as_deref(), shown, "{value} in {unit}");
        }
    }
}
