//! Settings of the client's own, `my.var`: kept, shown, without effect. Their names and values are bounded.

use super::{Values, values::shortened};
use crate::error::SettingError;

/// Names of one session at most.
const NAMES: usize = 256;
/// Bytes of a name at most.
const LONGEST_NAME: usize = 128;
/// Bytes of all values of one session at most.
const BYTES: usize = 256 << 10;

/// Whether a name that PostgreSQL does not know may be a client's own: it has a dot, and is not pgwicket's.
pub(super) fn is_custom(name: &str) -> bool {
    name.contains('.') && !name.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("pgwicket."))
}

/// Refuses a name that PostgreSQL refuses, and one more than the bound.
pub(super) fn check_name(name: &str, known: usize) -> Result<(), SettingError> {
    let starts = |character: char| character.is_alphabetic() || character == '_';
    let goes_on = |character: char| starts(character) || character.is_ascii_digit() || character == '$';
    let valid = |part: &str| part.starts_with(starts) && part.chars().all(goes_on);
    if name.len() > LONGEST_NAME || !name.split('.').all(valid) {
        return Err(SettingError::Name(shortened(name)));
    }
    if known < NAMES { Ok(()) } else { Err(SettingError::TooMany(NAMES)) }
}

/// Refuses a value that would make a session's own settings larger than the bound.
pub(super) fn check_value(kept: &[&Values], name: &str, value: &str) -> Result<(), SettingError> {
    let others = kept.iter().flat_map(|values| values.iter()).filter(|(known, _)| ***known != *name);
    let bytes: usize = others.filter(|(known, _)| is_custom(known)).map(|(_, value)| value.len()).sum();
    if bytes.saturating_add(value.len()) <= BYTES { Ok(()) } else { Err(SettingError::TooLarge(BYTES)) }
}
