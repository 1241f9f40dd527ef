//! What a client reads when the source is no longer what the policy was compiled against: the relations by their alias names, what
//! happened, and no name that only the source knows.

use crate::{
    error::Report,
    policy::{ExposedRelation, TenantRule},
    source::ServerError,
};

/// The answer to an error that speaks of what the policy needs and not of what the client wrote; `None` for every other error.
pub(super) fn told(error: &ServerError, client_text: &str, position: Option<usize>, relations: &[&ExposedRelation]) -> Option<Report> {
    // What stands in the client's text is the client's.
    if position.is_some() || relations.is_empty() {
        return None;
    }
    let names: Vec<String> = relations.iter().map(|relation| format!("{}.{}", relation.schema, relation.name)).collect();
    let what = match &*error.sqlstate {
        "42703" if needed(error, client_text, relations) => "a column that the policy needs is not there any more",
        "42501" => "the source refuses to show it",
        // Rules that the source itself has for the relation: their texts are its own.
        "42P17" | "42704" | "P0001" | "P0002" | "P0003" | "P0004" | "XX000" | "XX001" | "XX002" if !mentions_client(error, client_text) => {
            "the source cannot read it"
        }
        _ => return None,
    };
    let message = format!("{} cannot be read: {what}", names.join(", "));
    Some(
        Report::error(error.sqlstate.to_string(), message)
            .hint("the source has changed since the policy was loaded: tell who runs pgwicket"),
    )
}

/// Whether a missing column is one that the policy needs and does not expose. A client that wrote that very name is told of it as of
/// any other name that is nowhere.
fn needed(error: &ServerError, client_text: &str, relations: &[&ExposedRelation]) -> bool {
    let written = |name: &str| client_text.to_lowercase().contains(&name.to_lowercase());
    let Some(name) = error.message.strip_prefix("column ").and_then(|rest| rest.strip_suffix(" does not exist")) else { return true };
    let name = name.trim_matches('"');
    let exposed = relations.iter().any(|relation| relation.columns.iter().any(|column| *column.name == *name));
    let of_tenant =
        relations.iter().any(|relation| matches!(&relation.tenant, TenantRule::Column { name: tenant, .. } if **tenant == *name));
    let filtered = relations.iter().any(|relation| relation.filter.is_some());
    !exposed && (of_tenant || filtered) && !written(name)
}

/// Whether the error quotes what the client wrote, and nothing else.
fn mentions_client(error: &ServerError, client_text: &str) -> bool {
    let mut quoted = error.message.split('"').skip(1).step_by(2).peekable();
    quoted.peek().is_some() && quoted.all(|name| client_text.contains(name))
}
