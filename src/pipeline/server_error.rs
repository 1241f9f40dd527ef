//! Makes the source's errors safe to read: no code position, no name that only the source knows.

use crate::{
    error::Report,
    govern::GovernedStatement,
    policy::{Agent, ExposedRelation},
    source::ServerError,
};

/// What the client reads of an error of the source.
///
/// The position points into the governed text, so it is left out: the caller maps it. A fenced or leakproof statement fails only on
/// the agent's own rows (SECURITY.md, "Upstream errors"), so its message and the detail of a data error are its own to read.
pub(super) fn safe(error: &ServerError, statement: Option<&GovernedStatement>, agent: &Agent) -> Report {
    let relations = statement.map_or(&[][..], GovernedStatement::relations);
    let types = statement.map_or(&[][..], |statement| agent.visible.type_names(statement.source()));
    let exposed: Vec<&ExposedRelation> = relations.iter().filter_map(|name| exposed(agent, name)).collect();
    let data = error.sqlstate.starts_with("22");
    let with_types = |text: &str| types.iter().fold(text.to_owned(), |text, (real, told)| replaced(&text, real, told));
    // A read meets no check but a domain's; its message ends with the constraint's name, in whatever language.
    let check = &*error.sqlstate == "23514";
    let message = if check { "value violates a check constraint of its domain".to_owned() } else { with_types(&error.message) };
    let message = if data { message } else { aliased(&message, &exposed) };
    let clean = |text: &str| exposed.iter().all(|relation| !names(text, relation));
    let detail = error.detail.as_deref().filter(|detail| data && clean(detail));
    let hint = error.hint.as_deref().filter(|hint| (data || explains(&error.sqlstate)) && clean(hint));
    Report {
        detail: detail.map(|detail| with_types(detail).into()),
        hint: match &*error.sqlstate {
            "42703" => columns(&exposed).map(Into::into),
            _ => hint.map(|hint| with_types(hint).into()),
        },
        ..Report::error(error.sqlstate.to_string(), message)
    }
}

/// Whether the error says that the source changed under a statement it had prepared.
pub(super) fn is_stale_plan(error: &ServerError) -> bool {
    &*error.sqlstate == "0A000" && error.message.contains("cached plan must not change result type")
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

fn columns(relations: &[&ExposedRelation]) -> Option<String> {
    let lists = relations.iter().map(|relation| {
        let columns: Vec<&str> = relation.columns.iter().map(|column| &*column.name).collect();
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
}
