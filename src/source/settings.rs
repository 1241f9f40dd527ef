//! The session settings a client may change that must hold at the source, since the source formats the rows.

use std::rc::Rc;

use hashbrown::HashSet;

use super::SourceError;

/// One such setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `TimeZone`
    TimeZone,
    /// `DateStyle`
    DateStyle,
    /// `IntervalStyle`
    IntervalStyle,
    /// `extra_float_digits`
    ExtraFloatDigits,
    /// `bytea_output`
    ByteaOutput,
    /// `search_path`: only a catalog's sessions have another than the pinned one.
    SearchPath,
    /// `pgwicket.agent`: what a catalog says the session's user is.
    Agent,
    /// `pgwicket.database`: what a catalog says the database is.
    Database,
}

impl Setting {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::TimeZone,
        Self::DateStyle,
        Self::IntervalStyle,
        Self::ExtraFloatDigits,
        Self::ByteaOutput,
        Self::SearchPath,
        Self::Agent,
        Self::Database,
    ];

    /// Those that say how values are written, which each session at a source starts with.
    pub const FORMATS: [Self; 5] = [Self::TimeZone, Self::DateStyle, Self::IntervalStyle, Self::ExtraFloatDigits, Self::ByteaOutput];

    /// Its name as PostgreSQL spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeZone => "TimeZone",
            Self::DateStyle => "DateStyle",
            Self::IntervalStyle => "IntervalStyle",
            Self::ExtraFloatDigits => "extra_float_digits",
            Self::ByteaOutput => "bytea_output",
            Self::SearchPath => "search_path",
            Self::Agent => "pgwicket.agent",
            Self::Database => "pgwicket.database",
        }
    }

    /// The setting of that name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name().eq_ignore_ascii_case(name))
    }

    /// What every connection starts with: PostgreSQL's built-in default, except UTC for GMT's name.
    pub fn default_value(self) -> &'static str {
        match self {
            Self::TimeZone => "UTC",
            Self::DateStyle => "ISO, MDY",
            Self::IntervalStyle => "postgres",
            Self::ExtraFloatDigits => "1",
            Self::ByteaOutput => "hex",
            Self::SearchPath => "pg_catalog",
            Self::Agent | Self::Database => "",
        }
    }

    /// Whether `value` is made only of what any valid value is made of. The source decides whether it is valid.
    fn allows(self, value: &str) -> bool {
        let letters = |more: &[u8]| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte));
        let longest = match self {
            Self::SearchPath => 64 << 10,
            Self::Agent | Self::Database => 1024,
            Self::TimeZone => 255,
            Self::DateStyle | Self::IntervalStyle | Self::ExtraFloatDigits | Self::ByteaOutput => 64,
        };
        (1..=longest).contains(&value.len())
            && match self {
                // Names, in any letters; they travel as bound values.
                Self::SearchPath | Self::Agent | Self::Database => !value.contains('\0'),
                Self::TimeZone => letters(b"_+-/:.,<>"),
                Self::DateStyle => letters(b", "),
                Self::IntervalStyle => letters(b"_"),
                Self::ExtraFloatDigits => letters(b"-+"),
                Self::ByteaOutput => letters(b""),
            }
    }
}

/// A value for each [`Setting`]. The sessions of a lane share one copy of equal ones ([`KnownSettings`]), so that finding a
/// connection already set, or a statement analysed under them, is one pointer comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    values: [Box<str>; 8],
}

impl Default for Settings {
    fn default() -> Self {
        Self { values: Setting::ALL.map(|setting| setting.default_value().into()) }
    }
}

impl Settings {
    /// These settings with one of them changed.
    ///
    /// # Errors
    /// [`SourceError::Setting`] when the value holds a character that no valid value has.
    pub fn with(&self, setting: Setting, value: &str) -> Result<Self, SourceError> {
        if !setting.allows(value) {
            return Err(SourceError::Setting(setting.name()));
        }
        let mut values = self.values.clone();
        if let Some(place) = values.get_mut(setting as usize) {
            *place = value.into();
        }
        Ok(Self { values })
    }

    /// The value of one of them.
    pub fn value(&self, setting: Setting) -> &str {
        self.values.get(setting as usize).map_or("", |value| value)
    }
}

/// Settings that are not in use are forgotten when there are more than this. Unit: settings.
const KNOWN: usize = 1024;

/// The settings that the sessions of a lane use now: one copy of equal ones.
#[derive(Debug, Default)]
pub struct KnownSettings(HashSet<Rc<Settings>>);

impl KnownSettings {
    /// The one copy of these settings.
    pub fn share(&mut self, settings: Settings) -> Rc<Settings> {
        if let Some(known) = self.0.get(&settings) {
            return Rc::clone(known);
        }
        if self.0.len() >= KNOWN {
            self.0.retain(|known| Rc::strong_count(known) > 1);
        }
        let settings = Rc::new(settings);
        self.0.insert(Rc::clone(&settings));
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_are_one_while_they_are_in_use() {
        let mut known = KnownSettings::default();
        let of = |zone: usize| Settings::default().with(Setting::TimeZone, &format!("A{zone}")).unwrap();
        let first = known.share(of(0));
        for zone in 1..3 * KNOWN {
            known.share(of(zone));
        }
        assert!(Rc::ptr_eq(&first, &known.share(of(0))));
        assert!(known.0.len() <= KNOWN);
    }

    #[test]
    fn a_setting_takes_what_postgresql_takes_and_no_quoting() {
        let settings = Settings::default();
        for (setting, value) in [
            (Setting::TimeZone, "America/Port-au-Prince"),
            (Setting::TimeZone, "<-03>3"),
            (Setting::DateStyle, "SQL, DMY"),
            (Setting::IntervalStyle, "iso_8601"),
            (Setting::ExtraFloatDigits, "-15"),
            (Setting::ByteaOutput, "escape"),
        ] {
            assert_eq!(settings.with(setting, value).unwrap().value(setting), value);
        }
        for value in ["", "UTC'", "UTC\0", "$1", "a\\b", "Zürich", &"x".repeat(256)] {
            assert_eq!(settings.with(Setting::TimeZone, value), Err(SourceError::Setting("TimeZone")));
        }
        assert_eq!(Setting::named("DATESTYLE"), Some(Setting::DateStyle));
        assert_eq!(Setting::named("role"), None);
    }
}
