//! A proposal as the JSON text that is stored, shown to reviewers and digested.
//!
//! The digest is SHA-256 over exactly this text, so anyone who has the text can compute it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::change::{Cell, Proposal, Proposer, RowChange, Target, TenantGuard, Value};
use crate::types::{Digest, ProposalId};

/// The version of the form. Version 1 did not say for whom the agent acted, version 2 not in which deployment.
const VERSION: u32 = 3;

/// A proposal with the text it is stored as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    proposal: Proposal,
    text: Box<str>,
}

/// A text that is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored content is not a proposal: {reason}")]
pub struct MalformedContent {
    reason: String,
}

impl Content {
    /// The form of a proposal.
    pub fn of(proposal: Proposal) -> Self {
        // Strings and numbers only: there is nothing in it that JSON cannot hold.
        let text = serde_json::to_string(&ProposalDocument::of(&proposal)).unwrap_or_default();
        Self { proposal, text: text.into() }
    }

    /// Reads what [`Self::text`] gave. The text is kept as it is, so the digest is the stored one's.
    pub fn read(text: &str) -> Result<Self, MalformedContent> {
        let malformed = |reason: &dyn ToString| MalformedContent { reason: reason.to_string() };
        let document: ProposalDocument = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        if !(1..=VERSION).contains(&document.version) {
            return Err(malformed(&format!("version {}", document.version)));
        }
        let proposal = document.proposal().ok_or_else(|| malformed(&"an id, name or word of it is not one"))?;
        Ok(Self { proposal, text: text.into() })
    }

    /// As [`Self::read`], of the proposal with this id: one that was put in the place of another is none.
    pub fn read_of(id: ProposalId, text: &str) -> Result<Self, MalformedContent> {
        let content = Self::read(text)?;
        match content.proposal.id {
            own if own == id => Ok(content),
            other => Err(MalformedContent { reason: format!("it is that of {other}") }),
        }
    }

    /// The proposal.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text: what approvals bind to.
    pub fn digest(&self) -> Digest {
        Self::digest_of(&self.text)
    }

    /// The digest that a content of this text has.
    pub fn digest_of(text: &str) -> Digest {
        Digest(Sha256::digest(text.as_bytes()).into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposalDocument {
    version: u32,
    proposal_id: String,
    created_at: i64,
    expires_at: i64,
    #[serde(default)]
    deployment: Option<String>,
    agent: String,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    attributes: Vec<(String, String)>,
    run: Option<String>,
    evidence_id: String,
    policy_digest: String,
    verb: String,
    statement: String,
    reason: Option<String>,
    time_zone: String,
    idempotency_key: Option<String>,
    target: TargetDocument,
    changes: Vec<ChangeDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetDocument {
    source: String,
    schema: String,
    relation: String,
    real_schema: String,
    real_name: String,
    tenant: Option<TenantDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantDocument {
    column: String,
    #[serde(rename = "type")]
    type_name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeDocument {
    operation: String,
    key: Vec<CellDocument>,
    before: Vec<CellDocument>,
    conflict: Option<CellDocument>,
    after: Vec<CellDocument>,
}

/// `value` is the text form or null; `default: true` stands for the column's default.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellDocument {
    column: String,
    #[serde(rename = "type")]
    type_name: String,
    value: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    default: bool,
}

impl ProposalDocument {
    fn of(proposal: &Proposal) -> Self {
        let target = &proposal.target;
        let tenant = target.tenant.as_ref().map(|guard| TenantDocument {
            column: guard.column.to_string(),
            type_name: guard.type_name.to_string(),
            value: guard.tenant.to_string(),
        });
        Self {
            version: VERSION,
            proposal_id: proposal.id.to_string(),
            created_at: proposal.created_at,
            expires_at: proposal.expires_at,
            deployment: proposal.deployment.as_ref().map(ToString::to_string),
            agent: proposal.proposer.agent.to_string(),
            tenant: proposal.proposer.tenant.as_ref().map(ToString::to_string),
            subject: proposal.proposer.subject.as_ref().map(ToString::to_string),
            attributes: proposal.proposer.attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            run: proposal.run.as_ref().map(ToString::to_string),
            evidence_id: proposal.evidence.to_string(),
            policy_digest: proposal.policy.to_string(),
            verb: proposal.verb.to_string(),
            statement: proposal.statement.to_string(),
            reason: proposal.reason.as_ref().map(ToString::to_string),
            time_zone: proposal.time_zone.to_string(),
            idempotency_key: proposal.idempotency_key.as_ref().map(ToString::to_string),
            target: TargetDocument {
                source: target.source.to_string(),
                schema: target.schema.to_string(),
                relation: target.relation.to_string(),
                real_schema: target.real_schema.to_string(),
                real_name: target.real_name.to_string(),
                tenant,
            },
            changes: proposal.changes.iter().map(ChangeDocument::of).collect(),
        }
    }

    fn proposal(self) -> Option<Proposal> {
        let guard = |tenant: TenantDocument| {
            Some(TenantGuard { column: tenant.column.into(), type_name: tenant.type_name.into(), tenant: tenant.value.parse().ok()? })
        };
        let target = Target {
            source: self.target.source.parse().ok()?,
            schema: self.target.schema.into(),
            relation: self.target.relation.into(),
            real_schema: self.target.real_schema.into(),
            real_name: self.target.real_name.into(),
            tenant: match self.target.tenant {
                Some(tenant) => Some(guard(tenant)?),
                None => None,
            },
        };
        let proposer = Proposer {
            agent: self.agent.parse().ok()?,
            tenant: match self.tenant {
                Some(tenant) => Some(tenant.parse().ok()?),
                None if self.version == 1 => target.tenant.as_ref().map(|guard| guard.tenant.clone()),
                None => None,
            },
            subject: self.subject.map(Into::into),
            attributes: self.attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        };
        Some(Proposal {
            id: self.proposal_id.parse().ok()?,
            created_at: self.created_at,
            expires_at: self.expires_at,
            deployment: self.deployment.map(|deployment| deployment.parse()).transpose().ok()?,
            proposer,
            run: self.run.map(|run| run.parse()).transpose().ok()?,
            evidence: self.evidence_id.parse().ok()?,
            policy: self.policy_digest.parse().ok()?,
            verb: self.verb.parse().ok()?,
            statement: self.statement.into(),
            reason: self.reason.map(Into::into),
            time_zone: self.time_zone.into(),
            idempotency_key: self.idempotency_key.map(Into::into),
            target,
            changes: self.changes.into_iter().map(ChangeDocument::change).collect::<Option<_>>()?,
        })
    }
}

impl ChangeDocument {
    fn of(change: &RowChange) -> Self {
        let cells = |cells: &[Cell]| cells.iter().map(CellDocument::of).collect();
        Self {
            operation: change.operation.to_string(),
            key: cells(&change.key),
            before: cells(&change.before),
            conflict: change.conflict.as_ref().map(CellDocument::of),
            after: cells(&change.after),
        }
    }

    fn change(self) -> Option<RowChange> {
        let cells = |cells: Vec<CellDocument>| cells.into_iter().map(CellDocument::cell).collect();
        Some(RowChange {
            operation: self.operation.parse().ok()?,
            key: cells(self.key),
            before: cells(self.before),
            conflict: self.conflict.map(CellDocument::cell),
            after: cells(self.after),
        })
    }
}

impl CellDocument {
    fn of(cell: &Cell) -> Self {
        Self {
            column: cell.column.to_string(),
            type_name: cell.type_name.to_string(),
            value: cell.value.text().map(str::to_owned),
            default: cell.value == Value::Default,
        }
    }

    fn cell(self) -> Cell {
        let value = match (self.default, self.value) {
            (true, _) => Value::Default,
            (false, Some(text)) => Value::Text(text.into()),
            (false, None) => Value::Null,
        };
        Cell { column: self.column.into(), type_name: self.type_name.into(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        proposal::{Operation, Verb},
        types::{EvidenceId, ProposalId},
    };

    fn cell(column: &str, value: Value) -> Cell {
        Cell { column: column.into(), type_name: "numeric(10,2)".into(), value }
    }

    fn proposal() -> Proposal {
        let text = |text: &str| Value::Text(text.into());
        Proposal {
            id: ProposalId::new(1_700_000_000_000, 1),
            created_at: 1_700_000_000_000,
            expires_at: 1_700_000_600_000,
            deployment: Some("production/dep_1".parse().unwrap()),
            proposer: Proposer {
                agent: "support_agent".parse().unwrap(),
                tenant: Some("acme".parse().unwrap()),
                subject: Some("rosa".into()),
                attributes: vec![("team".into(), "night".into())],
            },
            run: Some("run-7".parse().unwrap()),
            evidence: EvidenceId::new(1_700_000_000_000, 2),
            policy: Digest([7; 32]),
            verb: Verb::Update,
            statement: "update tickets set amount = amount + 1".into(),
            reason: None,
            time_zone: "UTC".into(),
            idempotency_key: None,
            target: Target {
                source: "app".parse().unwrap(),
                schema: "support".into(),
                relation: "tickets".into(),
                real_schema: "public".into(),
                real_name: "tickets".into(),
                tenant: Some(TenantGuard { column: "tenant_id".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
            },
            changes: vec![RowChange {
                operation: Operation::Update,
                key: vec![cell("id", text("42"))],
                before: vec![cell("amount", text("0.10000000000000000001")), cell("note", Value::Null)],
                conflict: Some(cell("updated_at", text("2026-01-01 00:00:00+00"))),
                after: vec![cell("amount", text("")), cell("note", Value::Default)],
            }],
        }
    }

    #[test]
    fn a_proposal_survives_its_text() {
        let content = Content::of(proposal());
        let again = Content::read(content.text()).unwrap();
        assert_eq!((again.proposal(), again.digest()), (content.proposal(), content.digest()));
        let value: serde_json::Value = serde_json::from_str(content.text()).unwrap();
        assert_eq!(value["changes"][0]["before"][0]["value"], "0.10000000000000000001", "never through a float");
    }

    #[test]
    fn every_part_of_a_proposal_is_in_its_digest() {
        let (content, base) = (Content::of(proposal()), proposal());
        let changed = |change: fn(&mut Proposal)| {
            let mut other = base.clone();
            change(&mut other);
            Content::of(other).digest()
        };
        let others = [
            changed(|p| p.id = ProposalId::new(1, 1)),
            changed(|p| p.expires_at += 1),
            changed(|p| p.deployment = Some("staging/dep_1".parse().unwrap())),
            changed(|p| p.deployment = None),
            changed(|p| p.proposer.tenant = None),
            changed(|p| p.proposer.subject = Some("alice".into())),
            changed(|p| p.proposer.attributes.clear()),
            changed(|p| p.time_zone = "Europe/Berlin".into()),
            changed(|p| p.policy = Digest([8; 32])),
            changed(|p| p.target.tenant = None),
            changed(|p| p.target.real_name = "other".into()),
            changed(|p| p.changes[0].key[0].value = Value::Text("43".into())),
            changed(|p| p.changes[0].before[1].value = Value::Text("".into())),
            changed(|p| p.changes[0].conflict = None),
            changed(|p| p.changes[0].after[1].value = Value::Null),
            changed(|p| p.changes[0].operation = Operation::Insert),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(*other, content.digest(), "{number}");
        }
    }

    #[test]
    fn a_repeat_is_the_same_change_and_one_row_has_one_name() {
        let (one, mut two) = (proposal(), proposal());
        two.id = ProposalId::new(5, 5);
        two.created_at += 1;
        assert_eq!(one.change_digest(), two.change_digest());
        two.changes[0].after[0].value = Value::Text("1".into());
        assert_ne!(one.change_digest(), two.change_digest());
        assert_eq!(one.row_names(), two.row_names());
        two.changes[0].key[0].value = Value::Text("43".into());
        assert_ne!(one.row_names(), two.row_names());
    }

    #[test]
    fn what_is_no_proposal_is_said_so() {
        let content = Content::of(proposal());
        for broken in ["", "{}", "[]", &content.text().replace("\"version\":3", "\"version\":4"), &content.text().replace("prop_", "pr_")] {
            assert!(Content::read(broken).is_err(), "{broken}");
        }
        assert_eq!(Content::read_of(content.proposal().id, content.text()), Ok(content.clone()));
        assert!(Content::read_of(ProposalId::new(1, 1), content.text()).is_err());
    }
}
