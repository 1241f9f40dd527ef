//! What a caller is told when a request fails: one body, upper-snake-case codes, one HTTP status each.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    policy::{NotApprovable, NotApproved},
    proposal::ApprovalError,
    store::StoreError,
};

/// The error body of every route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// Always false.
    ok: bool,
    /// An upper-snake-case code to branch on.
    error: String,
    /// What went wrong, in words.
    message: String,
    /// Names the request in the log; also in the header `x-request-id`.
    request_id: String,
    /// Whether the same request may succeed later.
    retryable: bool,
}

/// Why a request fails. Rendered once the request id is known.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    retryable: bool,
    /// Unit: seconds.
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retryable: false, retry_after: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// Too many requests; unit of `after`: seconds.
    pub(super) fn too_many(after: u64) -> Self {
        let message = format!("too many requests, try again in {after} s");
        Self { retryable: true, retry_after: Some(after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message) }
    }

    /// The answer of a request that has this id.
    pub(super) fn render(self, request_id: &str) -> Response {
        let body = ErrorBody {
            ok: false,
            error: self.code.to_owned(),
            message: self.message,
            request_id: request_id.to_owned(),
            retryable: self.retryable,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert("retry-after", after.into());
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let conflict = |code| Self::conflict(code, message.clone());
        match error {
            StoreError::NotFound(_) => Self::not_found(message),
            StoreError::Move { .. } => conflict("ILLEGAL_MOVE"),
            StoreError::KeyReused(_) => conflict("IDEMPOTENCY_KEY_REUSED"),
            StoreError::AlreadyDecided { .. } => conflict("ALREADY_DECIDED"),
            StoreError::OtherContent(_) => conflict("DIGEST_MISMATCH"),
            StoreError::OtherAgent(_) => Self::forbidden("NOT_THE_PROPOSER", message),
            StoreError::Begun(_) => conflict("APPLY_BEGUN"),
            StoreError::LeaseLost(_) => conflict("LEASE_LOST"),
            StoreError::NotHeld(_) => conflict("NOT_HELD"),
            StoreError::TooManyOpen(_) | StoreError::TooMuchOpen(_) => conflict("TOO_MANY_OPEN"),
            StoreError::Disagrees { .. } => conflict("OUTCOME_DISAGREES"),
            StoreError::Cursor => Self::new(StatusCode::BAD_REQUEST, "BAD_CURSOR", message),
            StoreError::Malformed { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "PROPOSAL_MALFORMED", message),
            StoreError::Unavailable(_) => Self::unavailable("STORE_UNAVAILABLE", "the store is not available, try again"),
            // What the database said is the log's.
            StoreError::Unreadable(_) | StoreError::Location(_) | StoreError::Newer { .. } | StoreError::Database(_) => {
                tracing::error!(%error, "the store failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORE_FAILED", "the store failed; its words are in the log")
            }
        }
    }
}

impl From<NotApproved> for Failure {
    fn from(error: NotApproved) -> Self {
        let message = error.to_string();
        match error {
            NotApproved::NotApprovable(NotApprovable::NoRule { .. }) => Self::forbidden("NO_APPROVAL_RULE", message),
            NotApproved::NotApprovable(NotApprovable::TooFew { .. }) => Self::forbidden("TOO_FEW_REVIEWERS", message),
            NotApproved::Decisions(ApprovalError::OtherContent) => Self::conflict("DIGEST_MISMATCH", message),
            NotApproved::Decisions(ApprovalError::Rejected | ApprovalError::Canceled | ApprovalError::Quorum { .. }) => {
                Self::conflict("NOT_APPROVED", message)
            }
            NotApproved::NotReviewer(_) | NotApproved::ByProposer => Self::forbidden("NOT_A_REVIEWER", message),
            NotApproved::Unsigned(_) => Self::forbidden("SIGNATURE_REQUIRED", message),
            NotApproved::BadSignature(_) => Self::forbidden("BAD_SIGNATURE", message),
            NotApproved::OtherDeployment(_) => Self::conflict("OTHER_DEPLOYMENT", message),
            NotApproved::Over(_) => Self::conflict("APPROVAL_OVER", message),
            NotApproved::TooLong(_) => Self::new(StatusCode::BAD_REQUEST, "APPROVAL_TOO_LONG", message),
            NotApproved::RevokedKey(_) => Self::forbidden("KEY_REVOKED", message),
            NotApproved::NoSettlement(_) | NotApproved::NotSettled(_) => Self::forbidden("NOT_SETTLED", message),
        }
    }
}
