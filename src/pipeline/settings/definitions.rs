//! The settings that exist for a client, and what each may be set to.

use std::{collections::BTreeMap, sync::LazyLock};

use super::values::shortened;
use crate::error::SettingError;

/// A setting.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) struct Definition {
    /// Name as PostgreSQL prints it.
    pub(in crate::pipeline) name: &'static str,
    /// Value of a new session; some are filled in by [`super::Settings::new`].
    pub(in crate::pipeline) default: &'static str,
    /// What it takes.
    pub(in crate::pipeline) kind: Kind,
    /// Told to the client by ParameterStatus when it changes.
    pub(in crate::pipeline) reported: bool,
    /// For SHOW ALL.
    pub(in crate::pipeline) description: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::pipeline) enum Kind {
    /// Only SHOW.
    Fixed,
    /// `application_name`: 63 bytes of printable ASCII, others told as `?`.
    ApplicationName,
    /// `pgwicket.run`: a run id, or nothing.
    Run,
    /// Up to 1024 bytes without control characters, or nothing.
    Text,
    /// One of these words, printed as here.
    Word(&'static [&'static str]),
    /// `on` or `off`.
    Boolean,
    /// One of these words, with commas between.
    OneOf(&'static str),
    /// A number in a range.
    Number {
        /// At least.
        least: f64,
        /// At most.
        most: f64,
        /// Of the value without a unit: `kB`, `8kB`, `ms`, …; empty when it has none.
        unit: &'static str,
        /// An integer.
        whole: bool,
    },
    /// No other value than its default: another one would change what a statement means, and is not carried to the source.
    Steady,
    /// The server's: only SHOW. What an error says after "cannot be changed".
    Server(&'static str),
    /// A superuser's to change.
    Superuser,
    /// A superuser's to look at.
    Hidden,
    /// Milliseconds with PostgreSQL's units.
    Duration,
    /// `statement_timeout`: a duration up to the agent's bound, where 0 means the bound.
    BoundedDuration,
    /// `DateStyle`
    DateStyle,
    /// `TimeZone`
    TimeZone,
    /// `client_encoding`: UTF8 in its spellings.
    Encoding,
    /// A flag that must keep the value `on`.
    AlwaysOn,
    /// `search_path`
    Identifiers,
    /// `role`, `session_authorization`: none, or the agent itself.
    Role,
}

const fn setting(name: &'static str, default: &'static str, kind: Kind, description: &'static str) -> Definition {
    Definition { name, default, kind, reported: false, description }
}

const fn reported(name: &'static str, default: &'static str, kind: Kind, description: &'static str) -> Definition {
    Definition { name, default, kind, reported: true, description }
}

const fn format(name: &'static str, default: &'static str, kind: Kind, reported: bool, description: &'static str) -> Definition {
    Definition { name, default, kind, reported, description }
}

const LEVELS: &[&str] = &["read committed", "repeatable read", "serializable", "read uncommitted"];
const MESSAGE_LEVELS: &[&str] = &["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error"];

/// The settings that mean something here.
const ALL: &[Definition] = &[
    reported("application_name", "", Kind::ApplicationName, "the name of the application, kept in evidence"),
    setting("block_size", "8192", Kind::Fixed, "size of a disk block"),
    format("bytea_output", "hex", Kind::Word(&["hex", "escape"]), false, "the output format for bytea"),
    reported("client_encoding", "UTF8", Kind::Encoding, "the client's character set encoding: UTF8"),
    setting("client_min_messages", "notice", Kind::Word(MESSAGE_LEVELS), "the least severe message sent to the client"),
    format("DateStyle", "ISO, MDY", Kind::DateStyle, true, "the display format for date and time values"),
    setting("default_transaction_deferrable", "off", Kind::Boolean, "the default deferrable status of new transactions"),
    setting("default_transaction_isolation", "read committed", Kind::Word(LEVELS), "the isolation level of each new transaction"),
    reported("default_transaction_read_only", "on", Kind::Boolean, "no effect here: a write becomes a proposal either way"),
    setting("escape_string_warning", "on", Kind::Boolean, "no effect here"),
    format(
        "extra_float_digits",
        "1",
        Kind::Number { least: -15.0, most: 3.0, unit: "", whole: true },
        false,
        "the number of digits displayed for floating-point values",
    ),
    setting("idle_in_transaction_session_timeout", "0", Kind::Duration, "the policy's bound applies as well"),
    setting("idle_session_timeout", "0", Kind::Duration, "the server's bound applies as well"),
    reported("in_hot_standby", "off", Kind::Fixed, "whether hot standby is active"),
    reported("integer_datetimes", "on", Kind::Fixed, "whether datetimes are integer based"),
    format(
        "IntervalStyle",
        "postgres",
        Kind::Word(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        true,
        "the display format for interval values",
    ),
    reported("is_superuser", "off", Kind::Fixed, "whether the current user is a superuser"),
    setting("jit", "on", Kind::Boolean, "no effect here"),
    setting("lc_collate", "C.UTF-8", Kind::Fixed, "the collation order locale"),
    setting("lc_ctype", "C.UTF-8", Kind::Fixed, "the character classification locale"),
    setting("lc_messages", "C", Kind::Word(&["C", "en_US.UTF-8", "C.UTF-8", "en_US.utf8"]), "the language of messages"),
    setting("lc_monetary", "C", Kind::Word(&["C", "en_US.UTF-8", "C.UTF-8", "en_US.utf8"]), "no effect here"),
    setting("lc_numeric", "C", Kind::Word(&["C", "en_US.UTF-8", "C.UTF-8", "en_US.utf8"]), "no effect here"),
    setting("lc_time", "C", Kind::Word(&["C", "en_US.UTF-8", "C.UTF-8", "en_US.utf8"]), "no effect here"),
    setting("lock_timeout", "0", Kind::Duration, "the policy's bound applies as well"),
    setting("max_identifier_length", "63", Kind::Fixed, "the maximum identifier length"),
    setting("max_index_keys", "32", Kind::Fixed, "the maximum number of index keys"),
    setting("pgwicket.agent", "", Kind::Fixed, "the agent this connection authenticated as"),
    reported("pgwicket.evidence_id", "", Kind::Fixed, "the evidence of the last statement that left some"),
    setting("pgwicket.idempotency_key", "", Kind::Text, "makes a repeated write the same proposal"),
    setting("pgwicket.policy_epoch", "", Kind::Fixed, "the version of the policy in force"),
    setting("pgwicket.reason", "", Kind::Text, "why: shown to the reviewer of what is proposed"),
    setting("pgwicket.run", "", Kind::Run, "the agent's own unit of work, kept in evidence"),
    setting("pgwicket.session_token", "", Kind::Fixed, "SET binds the connection to the token's tenant; it is never shown"),
    setting("pgwicket.tenant", "", Kind::Fixed, "the tenant this connection is bound to"),
    setting("plan_cache_mode", "auto", Kind::Word(&["auto", "force_generic_plan", "force_custom_plan"]), "no effect here"),
    setting("quote_all_identifiers", "off", Kind::Steady, "always off"),
    setting("role", "none", Kind::Role, "the current role"),
    setting("row_security", "on", Kind::AlwaysOn, "always on"),
    setting("search_path", "", Kind::Identifiers, "the alias schemas that unqualified names are looked up in"),
    reported("server_encoding", "UTF8", Kind::Fixed, "the server's character set encoding"),
    reported("server_version", "", Kind::Fixed, "the server version"),
    setting("server_version_num", "", Kind::Fixed, "the server version as an integer"),
    reported("session_authorization", "", Kind::Role, "the session user"),
    setting("ssl", "off", Kind::Fixed, "whether this connection uses TLS"),
    reported("standard_conforming_strings", "on", Kind::AlwaysOn, "always on"),
    setting("statement_timeout", "0", Kind::BoundedDuration, "the maximum duration of a statement, up to the policy's bound"),
    setting("synchronize_seqscans", "on", Kind::Boolean, "no effect here"),
    format("TimeZone", "UTC", Kind::TimeZone, true, "the time zone for displaying and interpreting time stamps"),
    setting("transaction_deferrable", "off", Kind::Fixed, "whether the current transaction is deferrable"),
    setting("transaction_isolation", "read committed", Kind::Fixed, "the current transaction's isolation level"),
    setting("transaction_read_only", "on", Kind::Fixed, "no effect here: a write becomes a proposal either way"),
    setting("xmloption", "content", Kind::Steady, "always content"),
];

/// The settings of PostgreSQL that have no effect here, one a line: name, type, unit, who may change it, least, most, words, default,
/// description. Taken from `pg_settings` of versions 15 and 18, as a new server has them.
const POSTGRESQL: &str = include_str!("postgresql.tsv");

/// Every setting by its name in lower case.
static DEFINITIONS: LazyLock<BTreeMap<String, Definition>> = LazyLock::new(|| {
    let listed = POSTGRESQL.lines().filter_map(listed);
    let all = listed.chain(ALL.iter().copied());
    all.map(|definition| (definition.name.to_ascii_lowercase(), definition)).collect()
});

/// Every setting, in the order of SHOW ALL.
pub(super) fn all() -> impl Iterator<Item = &'static Definition> {
    DEFINITIONS.values()
}

/// Those that the client is told of.
pub(super) fn told() -> impl Iterator<Item = &'static Definition> {
    ALL.iter().filter(|definition| definition.reported)
}

/// Refuses the reset of what cannot be set.
pub(super) fn settable(definition: &Definition) -> Result<(), SettingError> {
    match definition.kind {
        Kind::Fixed => Err(SettingError::Fixed(definition.name)),
        Kind::Server(how) => Err(SettingError::Server { name: definition.name, how }),
        Kind::Superuser | Kind::Hidden => Err(SettingError::Forbidden(definition.name.into())),
        Kind::ApplicationName
        | Kind::Run
        | Kind::Text
        | Kind::Word(_)
        | Kind::OneOf(_)
        | Kind::Number { .. }
        | Kind::Boolean
        | Kind::Duration
        | Kind::BoundedDuration
        | Kind::DateStyle
        | Kind::TimeZone
        | Kind::Encoding
        | Kind::AlwaysOn
        | Kind::Steady
        | Kind::Identifiers
        | Kind::Role => Ok(()),
    }
}

/// The setting of that name, in any case.
pub(in crate::pipeline) fn definition(name: &str) -> Result<&'static Definition, SettingError> {
    DEFINITIONS.get(&name.to_ascii_lowercase()).ok_or_else(|| SettingError::Unknown(shortened(name)))
}

/// A line of [`POSTGRESQL`].
fn listed(line: &'static str) -> Option<Definition> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let (name, kind, unit, context) = (next()?, next()?, next()?, next()?);
    let (least, most, words, default, description) = (next()?, next()?, next()?, next()?, next()?);
    let kind = match (context, kind) {
        ("user", "bool") => Kind::Boolean,
        ("user", "enum") => Kind::OneOf(words),
        ("user", "integer") => Kind::Number { least: least.parse().ok()?, most: most.parse().ok()?, unit, whole: true },
        ("user", "real") => Kind::Number { least: least.parse().ok()?, most: most.parse().ok()?, unit, whole: false },
        ("steady", _) => Kind::Steady,
        ("internal", _) => Kind::Fixed,
        ("postmaster", _) => Kind::Server(" without restarting the server"),
        ("sighup", _) => Kind::Server(" now"),
        ("backend" | "superuser-backend", _) => Kind::Server(" after connection start"),
        ("superuser", _) => Kind::Superuser,
        // What is known of nothing else is neither shown nor set.
        _ => Kind::Hidden,
    };
    Some(Definition { name, default, kind, reported: false, description })
}
