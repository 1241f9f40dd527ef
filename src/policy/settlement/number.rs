//! Cedar's decimal: a whole number of ten-thousandths in 64 bits.

/// Ten-thousandths in one.
pub(super) const ONE: i64 = 10_000;

/// Reads the text form of an integer or `numeric`. `None` when it does not fit, or is `NaN` or infinite.
pub(in crate::policy) fn read(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 4 || !plain(whole) || !plain(fraction) {
        return None;
    }
    let parts: i128 = format!("{whole}{fraction:0<4}").parse().ok()?;
    i64::try_from(if negative { -parts } else { parts }).ok()
}

/// The form that Cedar reads.
pub(super) fn write(parts: i64) -> String {
    let sign = if parts < 0 { "-" } else { "" };
    let (whole, fraction) = (parts.unsigned_abs() / ONE.unsigned_abs(), parts.unsigned_abs() % ONE.unsigned_abs());
    format!("{sign}{whole}.{fraction:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_exact_or_refused() {
        for (text, parts) in [
            ("0", Some(0)),
            ("12", Some(120_000)),
            ("-0.5", Some(-5_000)),
            ("1.23450000", Some(12_345)),
            ("922337203685477.5807", Some(i64::MAX)),
            ("-922337203685477.5808", Some(i64::MIN)),
            ("922337203685477.5808", None),
            ("0.00001", None),
            ("NaN", None),
            ("Infinity", None),
            ("1e5", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("--1", None),
        ] {
            assert_eq!(read(text), parts, "{text}");
            if let Some(parts) = parts {
                assert_eq!(read(&write(parts)), Some(parts));
            }
        }
        assert_eq!(write(-5_000), "-0.5000");
    }
}
