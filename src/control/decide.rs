//! A decision of a reviewer: who it is, whether it counts, then the store.

use axum::Json;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    failure::Failure,
    guard::Caller,
    key::Scope,
    server::Shared,
    view::{ProposalSummary, summary},
};
use crate::{
    proposal::{Approval, Decider, Decision},
    store::Record,
    types::{Digest, ProposalId, ReviewerName},
};

/// The longest reason. Unit: bytes.
const LONGEST_REASON: usize = 4096;

/// What a reviewer says.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DecisionBody {
    /// The digest of the content that was looked at.
    pub digest: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who decides; default the reviewer of the API key.
    pub reviewer: Option<String>,
    /// Ed25519 signature over the decision message, in base64. Needed when the policy has a key of the reviewer.
    pub signature: Option<String>,
    /// When an approval ends, in milliseconds since the Unix epoch; at most `approvals.valid_for` of the policy from now, which is
    /// the default. With a signature it is the end that was signed.
    pub until: Option<i64>,
}

/// What became of a proposal.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DecisionAnswer {
    /// Always true.
    pub ok: bool,
    /// The proposal.
    pub proposal: ProposalSummary,
}

/// Decides on a proposal, as the caller. `digest_needed`: the caller must say what it looked at.
pub(super) async fn decide(
    shared: &Shared,
    caller: &Caller,
    id: ProposalId,
    decision: Decision,
    body: DecisionBody,
    digest_needed: bool,
) -> Result<Json<DecisionAnswer>, Failure> {
    caller.require(&[Scope::ProposalsApprove])?;
    let api = &shared.api;
    let record = shared.record(id).await?;
    let digest = digest(&body, &record, digest_needed)?;
    let reason = reason(body.reason.as_deref())?;
    let now = shared.now();
    let policy = api.policy.load_full();
    let until = match (decision, &body.signature) {
        (Decision::Approve, Some(_)) => body.until,
        (Decision::Approve, None) => Some(body.until.unwrap_or_else(|| policy.latest_end(now))),
        (Decision::Reject | Decision::Cancel, _) => None,
    };
    let decider = decider(caller, body)?;
    let approval = Approval { decision, decider, digest, reason, at: now, until, revoked: false };
    policy.check_decision(&record.content, &approval, &policy.occasion(api.store.id(), now))?;
    let record = match decision {
        Decision::Approve | Decision::Reject => {
            let quorum = policy.approvals_needed(record.content.proposal()).map_err(crate::policy::NotApproved::from)?.quorum;
            api.store.decide(id, approval, quorum, now).await?
        }
        Decision::Cancel => api.store.cancel_by(id, approval, now).await?,
    };
    tracing::info!(proposal = %id, decision = decision.word(), status = %record.status, key = caller.id(), "decision");
    Ok(DecisionAnswer::of(&record, now))
}

impl DecisionAnswer {
    /// What became of it.
    pub(super) fn of(record: &Record, now: i64) -> Json<Self> {
        Json(Self { ok: true, proposal: summary(record, now) })
    }
}

fn digest(body: &DecisionBody, record: &Record, needed: bool) -> Result<Digest, Failure> {
    let stored = record.content.digest();
    let Some(text) = &body.digest else {
        return if needed { Err(Failure::bad_request("`digest` is missing: say which content you decide on")) } else { Ok(stored) };
    };
    let given: Digest = text.parse().map_err(|_invalid| Failure::bad_request("`digest` is not 64 hex digits"))?;
    if given == stored {
        return Ok(stored);
    }
    Err(Failure::conflict("DIGEST_MISMATCH", "the digest is not that of the stored content; read the proposal again"))
}

fn reason(text: Option<&str>) -> Result<Option<Box<str>>, Failure> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) if text.len() > LONGEST_REASON => Err(Failure::bad_request(format!("`reason` is longer than {LONGEST_REASON} bytes"))),
        text => Ok(text.map(Into::into)),
    }
}

/// Whose decision it is: a signature proves it by itself, an API key carries its own reviewer's only.
fn decider(caller: &Caller, body: DecisionBody) -> Result<Decider, Failure> {
    let named: Option<ReviewerName> = match body.reviewer {
        Some(name) => Some(name.parse().map_err(|_invalid| Failure::bad_request("`reviewer` is no reviewer's name"))?),
        None => None,
    };
    if let Some(signature) = body.signature {
        let reviewer = named.or_else(|| caller.reviewer().ok().cloned());
        let reviewer = reviewer.ok_or_else(|| Failure::bad_request("`reviewer` is missing: say whose signature it is"))?;
        let signature = STANDARD.decode(signature.trim()).map_err(|_invalid| Failure::bad_request("`signature` is not base64"))?;
        return Ok(Decider::Signature { reviewer, signature: signature.into() });
    }
    let reviewer = caller.reviewer()?.clone();
    if named.is_some_and(|named| named != reviewer) {
        return Err(Failure::forbidden("NO_REVIEWER", "this key is another reviewer's; a decision of that one must be signed"));
    }
    Ok(Decider::ApiKey { reviewer, key: caller.id().into() })
}
