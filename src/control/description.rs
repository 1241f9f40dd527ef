//! What `/openapi.json` says of refusals: every status that a route may answer with.

use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder, path::Operation};

/// Statuses of every route below `/v1/control`, and what they mean.
const EVERYWHERE: [(&str, &str); 7] = [
    ("400", "a parameter, or the body, is not what is expected"),
    ("401", "no API key, or one that is none or was revoked"),
    ("403", "the key lacks the scope, is another reviewer's or of other sources, or came without TLS"),
    ("421", "the request is to a host name that is not this server's"),
    ("429", "too many requests; `retry-after` says when"),
    ("500", "the store failed, or holds what cannot be read"),
    ("503", "the store is not available, or did not answer in time"),
];
const NOT_FOUND: (&str, &str) = ("404", "there is no such proposal, source or action");
/// Of what changes something.
const CONFLICTS: [(&str, &str); 2] = [
    ("409", "it is not in a state for this, other content, decided otherwise before, or not this worker's"),
    ("413", "the body is too large"),
];

/// Adds them to each route.
pub(super) fn refusals(description: &mut OpenApi) {
    for (path, item) in &mut description.paths.paths {
        let hands_out = path.ends_with("/external-writebacks/proposals");
        let names_something = path.contains('{') || hands_out;
        if let Some(operation) = &mut item.get {
            add(operation, EVERYWHERE.iter().chain(names_something.then_some(&NOT_FOUND)));
            add(operation, CONFLICTS.iter().take(usize::from(hands_out)));
        }
        if let Some(operation) = &mut item.post {
            add(operation, EVERYWHERE.iter().chain(names_something.then_some(&NOT_FOUND)).chain(&CONFLICTS));
        }
    }
}

fn add<'a>(operation: &mut Operation, statuses: impl Iterator<Item = &'a (&'static str, &'static str)>) {
    for (status, meaning) in statuses {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let response = ResponseBuilder::new().description(*meaning).content("application/json", body).build();
        operation.responses.responses.entry((*status).to_owned()).or_insert_with(|| response.into());
    }
}
