//! Makes the source's errors safe to read: no code position, no name that only the source knows.

use crate::{
    error::Report,
    govern::GovernedStatement,
    policy::{Agent, ExposedRelation},
    source::ServerError,
    sql::parse,
};

/// What the client reads of an error of the source.
///
/// The position points into the governed text, so it is left out: the caller maps it. A fenced or leakproof statement fails only on
/// the agent's own rows (SECURITY.md, "Upstream errors"), so its message and the detail of a data error are its own to read, unless a
/// row filter may have raised it, which reads what the agent does not see. `client` is the client's text, and where in it the error
/// stands: one that stands there was found before any row was read.
pub(super) fn safe(error: &ServerError, statement: Option<&GovernedStatement>, agent: &Agent, client: (&str, Option<usize>)) -> Report {
    let (client_text, position) = client;
    let relations = statement.map_or(&[][..], GovernedStatement::relations);
    let types = statement.map_or(&[][..], |statement| agent.visible.type_names(statement.source()));
    let exposed: Vec<&ExposedRelation> = relations.iter().filter_map(|name| exposed(agent, name)).collect();
    if let Some(report) = exposed.iter().filter(|_| position.is_none()).find_map(|relation| of_the_filter(error, relation)) {
        return report;
    }
    if let Some(told) = statement.and_then(|_| super::drift::told(error, client_text, position, &exposed)) {
        return told;
    }
    let data = error.sqlstate.starts_with("22");
    // The source may have changed since its types and relations were read, so names may stand there that nobody knows yet.
    let known = |name: &str| {
        let alias = |relation: &&ExposedRelation| {
            name.strip_prefix(&*relation.schema).is_some_and(|rest| rest.strip_prefix('.') == Some(&*relation.name))
        };
        client_text.contains(name) || types.iter().any(|(_, told)| told == name) || exposed.iter().any(alias)
    };
    let with_types = |text: &str| types.iter().fold(text.to_owned(), |text, (real, told)| replaced(&text, real, told));
    // A read meets no check but a domain's; its message ends with the constraint's name, in whatever language.
    let message = if &*error.sqlstate == "23514" {
        "value violates a check constraint of its domain".to_owned()
    } else if data {
        data_message(&error.message, types, with_types, |text| without_unknown(text, &known))
    } else if is_of_the_client(error) {
        error.message.to_string()
    } else {
        without_unknown(&aliased(&outside_quotes(&error.message, types, with_types), &exposed), &known)
    };
    let clean = |text: &str| exposed.iter().all(|relation| !names(text, relation));
    let detail = error.detail.as_deref().filter(|detail| data && clean(detail));
    let hint = error.hint.as_deref().filter(|hint| (data || explains(&error.sqlstate)) && clean(hint));
    Report {
        detail: detail.map(|detail| data_message(detail, types, with_types, str::to_owned).into()),
        hint: match &*error.sqlstate {
            "42703" if error.message.starts_with("could not identify column") => Some(OF_A_ROW.into()),
            "42703" => columns(&exposed, &error.message).map(Into::into),
            _ => hint.map(|hint| with_types(hint).into()),
        },
        ..Report::error(error.sqlstate.to_string(), message)
    }
}

/// 42804 for a value of a write that nothing makes of its column's type: where the client casts nothing, the cast that there is not is that of
/// the write's own read.
pub(super) fn of_an_assignment(report: Report, client_text: &str) -> Report {
    let types = report.message.strip_prefix("cannot cast type ").and_then(|types| types.split_once(" to "));
    let Some((from, to)) = types.filter(|_| report.sqlstate == "42846") else { return report };
    let mut casts = false;
    match parse(client_text) {
        Ok(Some(tree)) => tree.each(&mut |node| casts |= node.kind == "TypeCast"),
        Ok(None) | Err(_) => return report,
    }
    if casts {
        return report;
    }
    let message = format!("a column is of type {to} but expression is of type {from}");
    Report { hint: Some("You will need to rewrite or cast the expression.".into()), ..Report::error("42804", message) }
}

/// What is told of an error that the row filter of a relation may have raised. `None`: the filter raises none, or the error says nothing of
/// a value. A mask's own expression raises none: it only writes a value as text.
fn of_the_filter(error: &ServerError, relation: &ExposedRelation) -> Option<Report> {
    // Connections, features, subqueries of several rows, transactions, resources, state, operators: no message of these has a value.
    const NO_VALUE: [&str; 10] = ["08", "0A", "21", "25", "40", "53", "54", "55", "57", "58"];
    let total = relation.filter.as_ref().is_none_or(|filter| filter.total);
    if total || NO_VALUE.iter().any(|class| error.sqlstate.starts_with(class)) {
        return None;
    }
    let message =
        format!("the row filter of {}.{} or the statement failed on a row: what failed is not told", relation.schema, relation.name);
    let hint = "check the statement's casts, divisions and patterns; if it has none, the policy's author has to mend the filter";
    Some(Report::error(error.sqlstate.to_string(), message).hint(hint))
}

/// Whether the error says that the source changed under a statement it had prepared.
pub(super) fn is_stale_plan(error: &ServerError) -> bool {
    &*error.sqlstate == "0A000" && error.message.contains("cached plan must not change result type")
}

/// What an error says of a value, with the types' names as the client knows them, and the value as it is: a value that spells the real
/// name of something must not come back otherwise than one that does not.
fn data_message(
    message: &str,
    types: &[(String, String)],
    with_types: impl Fn(&str) -> String,
    without_unknown: impl Fn(&str) -> String,
) -> String {
    const ENUM: &str = "invalid input value for enum ";
    let told = message.strip_prefix(ENUM).and_then(|rest| {
        types.iter().find_map(|(real, told)| Some(format!("{ENUM}{told}: \"{}", rest.strip_prefix(real)?.strip_prefix(": \"")?)))
    });
    let unknown = || {
        let (_, value) = message.strip_prefix(ENUM)?.split_once(": \"")?;
        Some(format!("{ENUM}{UNKNOWN}: \"{value}"))
    };
    let value = message.find('"').zip(message.rfind('"'));
    told.or_else(unknown).unwrap_or_else(|| {
        match value.and_then(|(first, last)| Some((message.split_at_checked(first)?, message.split_at_checked(last)?))) {
            Some(((before, _), (_, after))) => {
                let value = message.get(before.len()..message.len() - after.len()).unwrap_or_default();
                format!("{}{value}{}", without_unknown(&with_types(before)), without_unknown(&with_types(after)))
            }
            None => without_unknown(&with_types(message)),
        }
    })
}

/// As [`data_message`] for what an error says of the statement: PostgreSQL quotes names that the client wrote, and no type's name, but one
/// that is quoted in itself or that is gone.
fn outside_quotes(message: &str, types: &[(String, String)], with_types: impl Fn(&str) -> String) -> String {
    let (quoted, plain): (Vec<_>, Vec<_>) = types.iter().partition(|(real, _)| real.contains('"'));
    let mended = quoted.iter().fold(message.to_owned(), |text, (real, told)| replaced(&text, real, told));
    let parts: Vec<&str> = mended.split('"').collect();
    if message.starts_with("type \"") || parts.len().is_multiple_of(2) {
        return with_types(message);
    }
    let unquoted = |text: &str| plain.iter().fold(text.to_owned(), |text, (real, told)| replaced(&text, real, told));
    let parts = parts.iter().enumerate().map(|(number, part)| if number % 2 == 0 { unquoted(part) } else { (*part).to_owned() });
    parts.collect::<Vec<_>>().join("\"")
}

/// Whether a message names what the client wrote and nothing else, so that nothing in it is a name of the source's.
fn is_of_the_client(error: &ServerError) -> bool {
    let no_column = &*error.sqlstate == "42703" && error.message.ends_with(" does not exist") && !error.message.contains(" of relation ");
    no_column || (&*error.sqlstate == "42P01" && error.message.contains("FROM-clause entry for table"))
}

/// Errors whose hint speaks of the statement, not of the source.
fn explains(sqlstate: &str) -> bool {
    matches!(sqlstate, "55000" | "42883" | "42725" | "42804" | "42846" | "42803" | "42P18" | "42601" | "42P20")
}

/// The relation of that alias name.
pub(super) fn exposed<'a>(agent: &'a Agent, name: &str) -> Option<&'a ExposedRelation> {
    agent.schemas.iter().find_map(|schema| {
        let relation = name.strip_prefix(&*schema.name)?.strip_prefix('.')?;
        schema.relations.get(relation).map(AsRef::as_ref)
    })
}

/// A whole row of a relation is one of a subquery here, whose columns have no names outside of it.
const OF_A_ROW: &str = "name the column within the subquery: (SELECT i.name FROM items i …) instead of (SELECT i FROM items i …).name";

/// The columns that there are, without the one that is missing.
fn columns(relations: &[&ExposedRelation], message: &str) -> Option<String> {
    let lists = relations.iter().map(|relation| {
        let missing = |name: &str| message.contains(&format!("\"{name}\"")) || message.contains(&format!(".{name} "));
        let columns: Vec<&str> = relation.columns.iter().map(|column| &*column.name).filter(|name| !missing(name)).collect();
        format!("{}.{} has the columns {}", relation.schema, relation.name, columns.join(", "))
    });
    let lists: Vec<String> = lists.collect();
    (!lists.is_empty()).then(|| lists.join("; "))
}

/// Whether a text speaks of the real relation by a name the agent does not know it by.
fn names(text: &str, relation: &ExposedRelation) -> bool {
    let unknown = |real: &str, alias: &str| real != alias && replaced(text, real, alias) != text;
    unknown(&relation.real_name, &relation.name) || unknown(&format!("{}.{}", relation.real_schema, relation.real_name), "")
}

fn aliased(message: &str, relations: &[&ExposedRelation]) -> String {
    relations.iter().fold(message.to_owned(), |message, relation| {
        let alias = format!("{}.{}", relation.schema, relation.name);
        let message = replaced(&message, &format!("{}.{}", relation.real_schema, relation.real_name), &alias);
        if relation.real_name == relation.name { message } else { replaced(&message, &relation.real_name, &relation.name) }
    })
}

/// What stands for a name that is not the client's to read.
const UNKNOWN: &str = "(not shown)";

/// Leaves out every `schema.name`, quoted or not, that is not known. PostgreSQL writes so what its session would not find by the name alone.
fn without_unknown(text: &str, known: &dyn Fn(&str) -> bool) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = dotted_name(rest);
        let inside = result.ends_with(|character: char| character.is_alphanumeric() || matches!(character, '_' | '.' | '$'));
        if length > 0 && !inside {
            let (name, after) = rest.split_at(length);
            result.push_str(if known(name) { name } else { UNKNOWN });
            rest = after;
            continue;
        }
        // A value in quotes is passed over as a whole.
        let step = if rest.starts_with('"') { quoted_part(rest) } else { 0 };
        let step = if step > 0 { step } else { rest.chars().next().map_or(0, char::len_utf8) };
        let (passed, after) = rest.split_at(step);
        result.push_str(passed);
        rest = after;
    }
    result
}

/// Bytes of the name at the start of the text, if it has two parts or more.
fn dotted_name(text: &str) -> usize {
    let mut end = name_part(text);
    let mut parts = usize::from(end > 0);
    while let Some(after) = text.get(end..).and_then(|rest| rest.strip_prefix('.')).filter(|_| parts > 0) {
        let part = name_part(after);
        if part == 0 {
            break;
        }
        (end, parts) = (end + 1 + part, parts + 1);
    }
    if parts > 1 { end } else { 0 }
}

/// Bytes of one part of a name.
fn name_part(text: &str) -> usize {
    if text.starts_with('"') {
        return quoted_part(text);
    }
    if text.starts_with(|first: char| !(first.is_alphabetic() || first == '_')) {
        return 0;
    }
    text.find(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | '$'))).unwrap_or(text.len())
}

/// Bytes of the quoted name or value at the start; 0 when it does not end.
fn quoted_part(text: &str) -> usize {
    let mut end = 1;
    while let Some(more) = text.get(end..).and_then(|rest| rest.find('"')) {
        end += more + 1;
        if !text.get(end..).is_some_and(|rest| rest.starts_with('"')) {
            return end;
        }
        end += 1;
    }
    0
}

/// Replaces whole words only, so that a name inside another name stays.
fn replaced(text: &str, word: &str, with: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let part = |character: char| character.is_alphanumeric() || character == '_' || character == '.';
    while let Some((before, after)) = rest.split_once(word) {
        result.push_str(before);
        let inside = result.ends_with(part) || after.starts_with(part);
        result.push_str(if inside { word } else { with });
        rest = after;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_replaced() {
        assert_eq!(replaced("relation \"tickets\" of tickets_old", "tickets", "t"), "relation \"t\" of tickets_old");
        assert_eq!(replaced("relation \"public.tickets\"", "public.tickets", "s.t"), "relation \"s.t\"");
        assert_eq!(replaced("", "x", "y"), "");
    }

    #[test]
    fn a_name_that_nobody_knows_is_not_told() {
        let known = |name: &str| name == "desk.t" || name == "s.f";
        for (message, expected) in [
            ("operator does not exist: new.kind = new.\"Kind\"", "operator does not exist: (not shown) = (not shown)"),
            ("relation \"desk.t\" has no desk.t", "relation \"desk.t\" has no desk.t"),
            ("function s.f(integer, new.kind[]) does not exist", "function s.f(integer, (not shown)[]) does not exist"),
            ("division by zero at 1.5 of 2.", "division by zero at 1.5 of 2."),
            ("a \"x.y\" b", "a \"x.y\" b"),
            ("\"A b\".\"c\" is gone", "(not shown) is gone"),
            ("an open \"quote x.y", "an open \"quote (not shown)"),
        ] {
            assert_eq!(without_unknown(message, &known), expected);
        }
    }

    #[test]
    fn a_value_comes_back_as_it_was_sent_whatever_it_spells() {
        let types = [("real.mood".to_owned(), "mood".to_owned()), ("\"Real\".\"Mood\"".to_owned(), "Mood".to_owned())];
        let told = |message: &str| {
            let with_types = |text: &str| types.iter().fold(text.to_owned(), |text, (real, told)| replaced(&text, real, told));
            data_message(message, &types, with_types, |text| without_unknown(text, &|_| false))
        };
        for (message, expected) in [
            ("invalid input value for enum real.mood: \"real.mood\"", "invalid input value for enum mood: \"real.mood\""),
            ("invalid input value for enum \"Real\".\"Mood\": \"x\"", "invalid input value for enum Mood: \"x\""),
            ("invalid input syntax for type integer: \"real.mood\"", "invalid input syntax for type integer: \"real.mood\""),
            ("invalid value \"a\" real.mood \"b\" for \"YYYY\"", "invalid value \"a\" real.mood \"b\" for \"YYYY\""),
            ("value \"7\" is out of range for type real.mood", "value \"7\" is out of range for type mood"),
            ("no value of real.mood", "no value of mood"),
            ("invalid input value for enum new.kind: \"new.kind\"", "invalid input value for enum (not shown): \"new.kind\""),
            ("invalid input value for enum \"New\".\"Kind\": \"x\"", "invalid input value for enum (not shown): \"x\""),
            ("value \"a.b\" is out of range for type new.kind", "value \"a.b\" is out of range for type (not shown)"),
            ("one quote \"real.mood", "one quote \"mood"),
            ("", ""),
        ] {
            assert_eq!(told(message), expected);
        }
        let told = |message: &str| {
            outside_quotes(message, &types, |text| types.iter().fold(text.to_owned(), |text, (real, told)| replaced(&text, real, told)))
        };
        for (message, expected) in [
            ("operator does not exist: \"Real\".\"Mood\" = real.mood", "operator does not exist: Mood = mood"),
            ("window \"real.mood\" does not exist", "window \"real.mood\" does not exist"),
            ("column \"real.mood\" is of type real.mood but \"x\"", "column \"real.mood\" is of type mood but \"x\""),
            ("recursive query \"q\"x\" column 1 has type real.mood", "recursive query \"q\"x\" column 1 has type mood"),
            ("type \"real.mood\" does not exist", "type \"mood\" does not exist"),
        ] {
            assert_eq!(told(message), expected);
        }
    }
}
