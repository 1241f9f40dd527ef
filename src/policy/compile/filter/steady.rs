//! What of built-in routines is the same under all settings of a session, and what to write instead of the rest.

use crate::sql::{
    builtin::{Meant, TEXT, UNKNOWN, Volatility},
    canonical::{self, TextForm},
    catalog::{CatalogSnapshot, Oid},
};

const DATE: Oid = 1082;
pub(super) const TIMESTAMPTZ: Oid = 1184;
pub(super) const INTERVAL: Oid = 1186;

/// Whether a function or operator that PostgreSQL calls immutable or stable gives the same under all settings.
pub(super) fn is_steady(catalog: &CatalogSnapshot, name: &str, meant: &Meant) -> bool {
    match meant.volatility {
        // Marked immutable, and reads TimeZone for the days and months between its arguments (timestamptz_age).
        Volatility::Immutable => !(name == "age" && meant.arguments == [TIMESTAMPTZ, TIMESTAMPTZ]),
        Volatility::Stable if WRITERS.contains(&name) && meant.takes_any => {
            meant.arguments.iter().all(|oid| canonical::text_form(catalog, *oid) == Some(TextForm::Cast))
        }
        Volatility::Stable => STEADY.iter().any(|(known, arguments)| *known == name && meant.arguments == *arguments),
        Volatility::Volatile => false,
    }
}

/// Stable, because of the clock or of names of zones; no setting of a session is in it.
const STEADY: &[(&str, &[Oid])] = &[
    ("now", &[]),
    ("transaction_timestamp", &[]),
    ("statement_timestamp", &[]),
    ("date_trunc", &[TEXT, TIMESTAMPTZ, TEXT]),
    ("textcat", &[TEXT, TEXT]),
];

/// Stable, because they write their arguments as text: as steady as that is. Operators are here by their names.
const WRITERS: &[&str] =
    &["||", "concat", "concat_ws", "format", "array_to_string", "quote_literal", "quote_nullable", "to_json", "to_jsonb"];

/// What to write instead of a routine that is moved.
pub(super) fn advice(name: &str, arguments: &[Oid]) -> &'static str {
    match name {
        "date_trunc" | "date_part" | "extract" => {
            "name the zone: `date_trunc('day', created_at at time zone 'UTC')`, `extract(hour from created_at at time zone 'UTC')`"
        }
        "age" => "subtract: `now() - created_at > interval '7 days'`",
        "to_char" | "to_date" | "to_number" | "to_timestamp" => {
            "compare the value itself with a constant of its type, or take a part of it: `extract(year from created_at at time zone 'UTC')`"
        }
        "make_timestamptz" => "write a constant with its zone: `timestamptz '2024-06-01 05:00:00+00'`",
        "timezone" => "keep it as timestamptz and compare it with a constant that has a zone",
        "to_tsvector" | "to_tsquery" | "plainto_tsquery" | "phraseto_tsquery" | "websearch_to_tsquery" => {
            "name the configuration: `to_tsvector('english', subject)`"
        }
        _ if WRITERS.contains(&name) => "write the arguments as text yourself, in a form of your own",
        "date" | "time" | "timestamp" | "timetz" => "name the zone: `(created_at at time zone 'UTC')::date`",
        _ if arguments.contains(&TIMESTAMPTZ) => {
            "write the other side with its zone too: `day at time zone 'UTC'`, or `timestamptz '2024-06-01 05:00:00+00'`"
        }
        _ => "use an expression over the value itself, or expose a view that computes it",
    }
}

/// What to write instead of a cast that is moved.
pub(super) fn cast_advice(from: Oid, to: Oid) -> &'static str {
    match (from, to) {
        (TIMESTAMPTZ, _) if to != TEXT => "name the zone: `(created_at at time zone 'UTC')::date`",
        (_, TIMESTAMPTZ) => "name the zone: `day at time zone 'UTC'`",
        (17, _) => "write `encode(value, 'hex')`",
        (DATE | 1114 | TIMESTAMPTZ | INTERVAL, _) => "compare the value itself with a constant of its type",
        (UNKNOWN, _) => "write a constant of the type",
        _ => "compare the value itself, or expose a view that casts it",
    }
}

/// Whether a cast raises no error on any value.
pub(super) fn is_total_cast(from: Oid, to: Oid) -> bool {
    const NUMBERS: [Oid; 4] = [21, 23, 20, 1700];
    const TEXTS: [Oid; 3] = [TEXT, 1043, 1042];
    let place = |oid: Oid| NUMBERS.iter().position(|known| *known == oid);
    let widens = place(from).zip(place(to)).is_some_and(|(from, to)| from <= to);
    let floats = matches!((from, to), (21 | 23 | 20 | 700 | 701, 701) | (21 | 23 | 20 | 700, 700));
    from == to || widens || floats || (TEXTS.contains(&from) && TEXTS.contains(&to))
}
