//! Names of text search configurations. The source looks such a name up in its own catalog, where hidden names are: so a name is
//! written out and on the list of those that every PostgreSQL has, or it is a parameter, whose value is held against the list at
//! Bind. A number would be an OID, and a column could be one.

use std::{collections::BTreeSet, iter};

use super::{Refusal, RefusalCode};
use crate::sql::{Node, Tree, catalog::Oid, character};

/// `regconfig` in `pg_type`.
const REGCONFIG: Oid = 3734;

/// The configurations of `pg_catalog` (snowball's, and `simple`); `estonian` came with 18.
const CONFIGURATIONS: [&str; 30] = [
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "simple",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

/// What a refusal says of a name.
const LONGEST_NAME: usize = 100;

/// Whether a configuration by that name, with or without its schema, is one that every PostgreSQL has.
fn is_configuration(name: &str) -> bool {
    let name = name.trim();
    let schema = name.get(..11).filter(|schema| schema.eq_ignore_ascii_case("pg_catalog."));
    let name = schema.map_or(name, |schema| name.get(schema.len()..).unwrap_or_default());
    CONFIGURATIONS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The answer to every other name, whether the source has it or not.
fn unknown_configuration(name: &str) -> Refusal {
    let shown = name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or_default();
    Refusal::new(RefusalCode::UndefinedObject, format!("text search configuration \"{shown}\" does not exist"))
        .hint("use one of PostgreSQL's own: simple, english, …")
}

/// Passes a statement whose configurations are written out or parameters. Answers where it names the type `regconfig` for one.
pub(super) fn check(text: &str, tree: &Tree) -> Result<BTreeSet<usize>, Refusal> {
    let mut calls = Vec::new();
    tree.each(&mut |node| {
        if node.kind == "FuncCall" {
            calls.push(node);
        }
    });
    let mut places = BTreeSet::new();
    for call in calls {
        // What is no call that can be read is refused.
        let (_, _) = (call.names("funcname")?, call.list("args")?);
        let Some(first) = configuration_of(call) else { continue };
        let at = |refusal: Refusal| match call.location() {
            Some(byte) => refusal.at(character(text, byte)),
            None => refusal,
        };
        places.extend(configuration(first, tree).map_err(at)?);
    }
    Ok(places)
}

/// The argument of a call that is a configuration.
pub(super) fn configuration_of(call: &Node) -> Option<&Tree> {
    let names = call.names("funcname").ok()?;
    let arguments = call.list("args").ok()?;
    let ([name] | ["pg_catalog", name], Some(first)) = (names.as_slice(), arguments.first()) else { return None };
    takes_configuration(name, arguments).then_some(first)
}

/// Whether the first of these arguments is a configuration.
fn takes_configuration(name: &str, arguments: &[Tree]) -> bool {
    match (name, arguments) {
        ("to_tsvector" | "to_tsquery" | "plainto_tsquery" | "phraseto_tsquery" | "websearch_to_tsquery", [_, _])
        | ("json_to_tsvector" | "jsonb_to_tsvector", [_, _, _])
        | ("ts_headline", [_, _, _, _]) => true,
        // A document, a query and options; or a configuration before the first two.
        ("ts_headline", [_, second, _]) => !is_query(second),
        _ => false,
    }
}

/// Whether an expression is a `tsquery` whatever the columns are.
fn is_query(tree: &Tree) -> bool {
    const MAKERS: [&str; 6] = ["to_tsquery", "plainto_tsquery", "phraseto_tsquery", "websearch_to_tsquery", "tsquery_phrase", "ts_rewrite"];
    let last = |node: &Node, field| node.names(field).ok().and_then(|names| names.last().map(|name| (*name).to_owned()));
    match tree.as_node() {
        Some(node) if node.kind == "FuncCall" => last(node, "funcname").is_some_and(|name| MAKERS.contains(&name.as_str())),
        Some(node) if node.kind == "TypeCast" => {
            let name = node.node("type_name").ok().flatten();
            name.is_some_and(|name| {
                last(name, "names").as_deref() == Some("tsquery") && name.list("array_bounds").is_ok_and(<[Tree]>::is_empty)
            })
        }
        Some(_) | None => false,
    }
}

/// Passes one configuration; answers the place of the type it is cast to.
fn configuration(tree: &Tree, statement: &Tree) -> Result<Option<usize>, Refusal> {
    let Some(cast) = tree.of_kind("TypeCast") else { return named(tree, statement).map(|()| None) };
    let Some(name) = cast.node("type_name")? else { return Err(computed()) };
    let plain =
        name.list("array_bounds")?.is_empty() && name.list("typmods")?.is_empty() && !name.flag("setof")? && !name.flag("pct_type")?;
    if !plain || !matches!(name.names("names")?.as_slice(), ["regconfig"] | ["pg_catalog", "regconfig"]) {
        return Err(computed());
    }
    named(cast.field("arg")?, statement)?;
    Ok(name.location())
}

fn named(tree: &Tree, statement: &Tree) -> Result<(), Refusal> {
    let Some(node) = tree.as_node() else { return Err(computed()) };
    match node.kind {
        "AConst" => match node.field("val")?.string() {
            Some(name) if is_configuration(name) => Ok(()),
            Some(name) => Err(unknown_configuration(name)),
            None if node.flag("isnull")? => Ok(()),
            None => Err(computed()),
        },
        // Where it stood a second time, a literal beside it would be looked up as it is.
        "ParamRef" => {
            let number = node.int("number")?;
            let mut uses = 0;
            statement.each(&mut |node| uses += usize::from(node.kind == "ParamRef" && node.int("number") == Ok(number)));
            if uses == 1 {
                return Ok(());
            }
            Err(Refusal::unsupported("a parameter that is a text search configuration and stands in another place too")
                .hint("give the configuration a parameter of its own"))
        }
        _ => Err(computed()),
    }
}

fn computed() -> Refusal {
    Refusal::unsupported("a text search configuration that is computed")
        .hint("write its name: to_tsvector('english', body), ts_headline('english', body, query, options)")
}

/// What a client gave for parameters of the type `regconfig`: names on the list, in text or as OIDs that no user's object has.
pub fn check_values<'v>(
    types: &[Oid],
    format: impl Fn(usize) -> i16,
    values: impl Iterator<Item = Option<&'v [u8]>>,
) -> Result<(), Refusal> {
    const FIRST_OF_USERS: u32 = 16_384;
    for (place, (of, value)) in types.iter().zip(values.chain(iter::repeat(None))).enumerate() {
        let Some(value) = value.filter(|_| *of == REGCONFIG) else { continue };
        if format(place) == 1 {
            let oid = value.try_into().map_or(u32::MAX, u32::from_be_bytes);
            if oid >= FIRST_OF_USERS {
                return Err(unknown_configuration(&oid.to_string()));
            }
            continue;
        }
        let name = String::from_utf8_lossy(value);
        if !is_configuration(&name) {
            return Err(unknown_configuration(&name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::tests::governed;

    #[test]
    fn a_configuration_is_written_out_and_on_the_list() {
        for text in [
            "select to_tsvector('english', subject) from t",
            "select id from t where to_tsvector('English', subject) @@ plainto_tsquery('pg_catalog.simple', $1)",
            "select to_tsvector('english'::regconfig, subject) from t",
            "select to_tsvector(cast($1 as pg_catalog.regconfig), subject), websearch_to_tsquery($2, $3) from t",
            "select to_tsvector(subject) @@ to_tsquery('a & b') from t",
            "select ts_headline('english', subject, to_tsquery('a')), ts_headline(subject, to_tsquery('simple', 'a'), 'StartSel=<') from t",
            "select ts_headline(subject, 'a'::tsquery), ts_headline('german', subject, $1, 'StartSel=<') from t",
            "select jsonb_to_tsvector('simple', meta, '[\"string\"]'), jsonb_to_tsvector(meta, '\"all\"') from t",
            "select to_tsvector(null, subject) from t",
        ] {
            assert!(!governed(text).starts_with("REFUSED"), "{text}: {}", governed(text));
        }
        for (text, code) in [
            ("select to_tsvector('hidden.cfg', 'x')", "42704"),
            ("select to_tsvector('nowhere', 'x')", "42704"),
            ("select to_tsvector('public.english', 'x')", "42704"),
            ("select to_tsvector('16999', 'x')", "42704"),
            ("select to_tsvector('hidden.cfg'::regconfig, 'x')", "42704"),
            ("select pg_catalog.to_tsvector('hidden.cfg', meta) from t", "42704"),
            ("select plainto_tsquery('hidden.cfg', 'x'), 1", "42704"),
            ("select phraseto_tsquery('hidden.cfg', 'x')", "42704"),
            ("select websearch_to_tsquery('hidden.cfg', 'x')", "42704"),
            ("select to_tsquery('hidden.cfg', 'x')", "42704"),
            ("select json_to_tsvector('hidden.cfg', '{}', '\"all\"')", "42704"),
            ("select jsonb_to_tsvector('hidden.cfg', meta, '\"all\"') from t", "42704"),
            ("select ts_headline('hidden.cfg', 'x', 'x')", "42704"),
            ("select ts_headline('hidden.cfg', subject, to_tsquery('x')) from t", "42704"),
            ("select ts_headline('hidden.cfg', 'x', 'x', 'MaxWords=2')", "42704"),
            ("select id from t order by to_tsvector('hidden.cfg', subject)", "42704"),
            ("select to_tsvector(16999, 'x')", "0A000"),
            ("select to_tsvector(id, subject) from t", "0A000"),
            ("select to_tsvector((select 16999), 'x')", "0A000"),
            ("select to_tsvector(coalesce('hidden.cfg', $1), 'x')", "0A000"),
            ("select to_tsvector(case when true then 'hidden.cfg' else $1 end, 'x')", "0A000"),
            ("select to_tsvector($1, 'x'), coalesce('hidden.cfg', $1)", "0A000"),
            ("select ts_headline(id, subject, 'a') from t", "0A000"),
            ("select 'english'::regconfig from t", "0A000"),
            ("select to_tsvector(subject::regconfig, 'x') from t", "0A000"),
            ("select length('english'::regconfig::text), to_tsvector('english', subject) from t", "0A000"),
        ] {
            let answer = governed(text);
            assert!(answer.starts_with(&format!("REFUSED {code}")), "{text}: {answer}");
        }
        assert_eq!(
            governed("select to_tsvector('hidden.cfg', 'x')").replace("hidden.cfg", "*"),
            governed("select to_tsvector('nowhere', 'x')").replace("nowhere", "*")
        );
    }

    #[test]
    fn a_parameter_names_what_the_list_has() {
        let check = |format, value: &[u8]| check_values(&[25, REGCONFIG], |_| format, [Some(&b"x"[..]), Some(value)].into_iter()).is_ok();
        for name in ["english", "English", "pg_catalog.simple", " simple "] {
            assert!(check(0, name.as_bytes()), "{name}");
        }
        for name in ["hidden.cfg", "", "public.english", "16999", "\"English\"", "english.simple", "\u{2028}"] {
            assert!(!check(0, name.as_bytes()), "{name}");
        }
        assert!(check(1, &3748_u32.to_be_bytes()) && !check(1, &16_999_u32.to_be_bytes()) && !check(1, b"x"));
    }
}
