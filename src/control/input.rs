//! Bodies and queries of requests.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::types::ProposalId;

/// A JSON body. No body at all is an empty object.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let too_large = rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE;
            if too_large {
                Failure::new(rejection.status(), "BODY_TOO_LARGE", "the body is too large")
            } else {
                Failure::bad_request("the body cannot be read")
            }
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| Failure::bad_request(format!("the body is not what is expected: {error}")))
    }
}

/// The parameters after `?`.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// Refuses what is none of these: a filter with a typing error would list too much.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                Err(Failure::bad_request(format!("no parameter {name:?}; use some of: {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// A parameter's text, empty as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter of a kind.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| text.parse().map_err(|_invalid| Failure::bad_request(format!("`{name}` is not {what}")));
        self.text(name).map(parse).transpose()
    }
}

/// The proposal id of a path.
pub(super) fn proposal_id(text: &str) -> Result<ProposalId, Failure> {
    text.parse().map_err(|_invalid| Failure::not_found("there is no such proposal: ids are `prop_` and 26 characters"))
}
