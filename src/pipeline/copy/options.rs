//! The options of COPY TO, checked as PostgreSQL checks them (`ProcessCopyOptions` in commands/copy.c).

use crate::{error::SessionError, sql::CopyOption};

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) format: Format,
    pub(super) delimiter: u8,
    pub(super) null: Box<str>,
    pub(super) header: bool,
    pub(super) quote: u8,
    pub(super) escape: u8,
    pub(super) force_quote: ForceQuote,
}

/// `FORMAT`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    #[default]
    Text,
    Csv,
    Binary,
}

/// `FORCE_QUOTE`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum ForceQuote {
    #[default]
    None,
    All,
    Columns(Vec<Box<str>>),
}

/// An option that may be given, with the one value that changes nothing.
#[derive(Debug)]
struct Utf8OrOff;

/// What was given, before it is known what belongs together.
#[derive(Debug, Default)]
struct Given {
    format: Option<Format>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<bool>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<ForceQuote>,
    encoding: Option<Utf8OrOff>,
    freeze: Option<Utf8OrOff>,
}

impl Options {
    /// The options as written, or what is wrong with them.
    pub(super) fn read(written: &[(String, CopyOption)]) -> Result<Self, SessionError> {
        let mut given = Given::default();
        for (name, value) in written {
            given.take(name, value)?;
        }
        given.checked()
    }
}

impl Given {
    fn take(&mut self, name: &str, value: &CopyOption) -> Result<(), SessionError> {
        match name {
            "format" => once(&mut self.format, format(&text(name, value)?)?),
            "delimiter" => once(&mut self.delimiter, text(name, value)?),
            "null" => once(&mut self.null, text(name, value)?),
            "header" => once(&mut self.header, header(value)?),
            "quote" => once(&mut self.quote, text(name, value)?),
            "escape" => once(&mut self.escape, text(name, value)?),
            "force_quote" => once(&mut self.force_quote, force_quote(value)?),
            "encoding" => once(&mut self.encoding, encoding(&text(name, value)?)?),
            "freeze" if boolean(name, value)? => Err(only_from("FREEZE")),
            "freeze" => once(&mut self.freeze, Utf8OrOff),
            "force_not_null" | "force_null" | "default" | "on_error" | "log_verbosity" | "reject_limit" => Err(only_from(name)),
            _ => Err(problem("42601", format!("option \"{name}\" not recognized"))),
        }
    }

    fn checked(self) -> Result<Options, SessionError> {
        let format = self.format.unwrap_or_default();
        let csv = format == Format::Csv;
        for (option, is_given) in [("DELIMITER", self.delimiter.is_some()), ("NULL", self.null.is_some())] {
            if format == Format::Binary && is_given {
                return Err(problem("42601", format!("cannot specify {option} in BINARY mode")));
            }
        }
        let delimiter = self.delimiter.unwrap_or_else(|| if csv { "," } else { "\t" }.to_owned());
        let null = self.null.unwrap_or_else(|| if csv { "" } else { "\\N" }.to_owned());
        let delimiter = one_byte("delimiter", &delimiter)?;
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(problem("22023", "COPY delimiter cannot be newline or carriage return"));
        }
        if null.contains(['\n', '\r']) {
            return Err(problem("22023", "COPY null representation cannot use newline or carriage return"));
        }
        if !csv && (delimiter == b'\\' || delimiter == b'.' || delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit()) {
            return Err(problem("22023", format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
        }
        let header = self.header.unwrap_or_default();
        if format == Format::Binary && header {
            return Err(problem("0A000", "cannot specify HEADER in BINARY mode"));
        }
        let only_csv = [("quote", self.quote.is_some()), ("escape", self.escape.is_some()), ("force quote", self.force_quote.is_some())];
        if let Some((option, _)) = only_csv.into_iter().find(|(_, is_given)| *is_given && !csv) {
            return Err(problem("0A000", format!("COPY {option} available only in CSV mode")));
        }
        let quote = one_byte("quote", self.quote.as_deref().unwrap_or("\""))?;
        if csv && delimiter == quote {
            return Err(problem("22023", "COPY delimiter and quote must be different"));
        }
        let escape = self.escape.as_deref().map_or(Ok(quote), |escape| one_byte("escape", escape))?;
        if null.as_bytes().contains(&delimiter) {
            return Err(problem("0A000", "COPY delimiter must not appear in the NULL specification"));
        }
        if csv && null.as_bytes().contains(&quote) {
            return Err(problem("0A000", "CSV quote character must not appear in the NULL specification"));
        }
        let force_quote = self.force_quote.unwrap_or_default();
        Ok(Options { format, delimiter, null: null.into(), header, quote, escape, force_quote })
    }
}

pub(super) fn problem(sqlstate: &'static str, message: impl Into<Box<str>>) -> SessionError {
    SessionError::CopyOption { sqlstate, message: message.into() }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), SessionError> {
    if place.replace(value).is_some() { Err(problem("42601", "conflicting or redundant options")) } else { Ok(()) }
}

fn only_from(option: &str) -> SessionError {
    problem("0A000", format!("COPY {} available only using COPY FROM", option.replace('_', " ")))
}

fn text(name: &str, value: &CopyOption) -> Result<String, SessionError> {
    match value {
        CopyOption::Text(text) => Ok(text.clone()),
        CopyOption::Bare => Err(problem("42601", format!("{name} requires a parameter"))),
        CopyOption::Star => Ok("*".to_owned()),
        CopyOption::Names(names) => Ok(names.join(".")),
    }
}

fn format(name: &str) -> Result<Format, SessionError> {
    match name {
        "text" => Ok(Format::Text),
        "csv" => Ok(Format::Csv),
        "binary" => Ok(Format::Binary),
        other => Err(problem("22023", format!("COPY format \"{other}\" not recognized"))),
    }
}

fn boolean(name: &str, value: &CopyOption) -> Result<bool, SessionError> {
    match value {
        CopyOption::Bare => Ok(true),
        CopyOption::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(problem("42601", format!("{name} requires a Boolean value"))),
        },
        CopyOption::Star | CopyOption::Names(_) => Err(problem("42601", format!("{name} requires a Boolean value"))),
    }
}

fn header(value: &CopyOption) -> Result<bool, SessionError> {
    if matches!(value, CopyOption::Text(text) if text.eq_ignore_ascii_case("match")) {
        return Err(problem("0A000", "cannot use \"match\" with HEADER in COPY TO"));
    }
    boolean("header", value).map_err(|_not_one| problem("42601", "header requires a Boolean value or \"match\""))
}

fn force_quote(value: &CopyOption) -> Result<ForceQuote, SessionError> {
    match value {
        CopyOption::Star => Ok(ForceQuote::All),
        CopyOption::Names(names) => Ok(ForceQuote::Columns(names.iter().map(|name| name.as_str().into()).collect())),
        CopyOption::Bare | CopyOption::Text(_) => {
            Err(problem("22023", "argument to option \"force_quote\" must be a list of column names"))
        }
    }
}

fn encoding(name: &str) -> Result<Utf8OrOff, SessionError> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    if plain.eq_ignore_ascii_case("utf8") || plain.eq_ignore_ascii_case("unicode") {
        return Ok(Utf8OrOff);
    }
    Err(problem("0A000", format!("COPY in encoding \"{name}\" is not supported: everything here is UTF8")))
}

fn one_byte(option: &str, text: &str) -> Result<u8, SessionError> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(problem("0A000", format!("COPY {option} must be a single one-byte character"))),
    }
}
