//! Reading proposals: one, a page, the moves of one.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Filter, Page, PageRequest, ProposalEvent, Record, Report, Reported, StoreError,
    backend::{Database, Fault, Value, Work, number, optional_number, optional_text, placeholders, rows, text, values},
    moves::{parsed, status, unreadable},
};
use crate::{
    proposal::{Approval, Content, Decider, MalformedContent, Outcome, Status},
    types::{Digest, ProposalId, TenantId},
};

/// What a [`Record`] is read from.
const COLUMNS: &str = "p.id, p.content, p.status, p.settled_by, p.updated_at, p.decided_at, p.applied_at, p.attempts, p.last_error, \
    p.worker, p.lease_until, p.reporter, p.report_key, p.affected_rows, p.metadata, p.report_error, p.differences, p.reported_at";

/// Conflicts that a record names.
pub(super) const CONFLICTS: usize = 100;

pub(super) async fn check(database: Arc<Database>) -> Result<(), Fault> {
    let mut connection = database.reader().await?;
    rows(&mut connection, "SELECT version FROM store_versions", values![]).await.map(drop)
}

pub(super) async fn proposal(database: Arc<Database>, id: ProposalId) -> Result<Option<Record>, Fault> {
    let mut connection = database.reader().await?;
    find(&mut connection, id).await
}

/// One record, on a connection or inside a transaction.
pub(super) async fn find(connection: &mut AnyConnection, id: ProposalId) -> Result<Option<Record>, Fault> {
    let found = rows(connection, format!("SELECT {COLUMNS} FROM proposals p WHERE p.id = $1"), values![id.to_string()]).await?;
    let (mut records, malformed) = records(connection, &found).await?;
    match malformed.into_iter().next() {
        Some((proposal, problem)) => Err(StoreError::Malformed { proposal, problem }.into()),
        None => Ok(records.pop()),
    }
}

/// The digest of the content that is stored under an id.
pub(super) async fn digest(work: &mut Work<'_>, id: ProposalId) -> Result<Digest, Fault> {
    let found = rows(work.connection(), "SELECT content FROM proposals WHERE id = $1", values![id.to_string()]).await?;
    let text = found.first().map(|row| text(row, "content")).transpose()?.ok_or(StoreError::NotFound(id))?;
    Ok(Content::digest_of(&text))
}

/// One record that has to be there.
pub(super) async fn found(connection: &mut AnyConnection, id: ProposalId) -> Result<Record, Fault> {
    find(connection, id).await?.ok_or_else(|| StoreError::NotFound(id).into())
}

/// One statement for each status: each is a short walk along an index, whatever else is stored.
pub(super) async fn list(database: Arc<Database>, asked: Arc<(Filter, PageRequest)>) -> Result<Page, Fault> {
    let (filter, page) = &*asked;
    let limit = usize::try_from(page.limit.clamp(1, 1000)).unwrap_or(1);
    let before = match &page.cursor {
        Some(cursor) => Some(cursor.parse::<ProposalId>().ok().ok_or(StoreError::Cursor)?),
        None => None,
    };
    let mut connection = database.reader().await?;
    let mut statuses: Vec<Option<Status>> = filter.statuses.iter().copied().map(Some).collect();
    if statuses.is_empty() {
        statuses.push(None);
    }
    let mut found = BTreeMap::new();
    for status in statuses {
        let (statement, values) = listing(filter, status, before, limit + 1);
        for row in rows(&mut connection, statement, values).await? {
            found.insert(text(&row, "id")?, count(number(&row, "content_bytes")?));
        }
    }
    // The contents are read when it is known how many of them fit.
    let mut bytes = 0_u64;
    let fits = |(at, size): (usize, u64)| {
        bytes = bytes.saturating_add(size);
        at == 0 || (at < limit && bytes <= page.bytes)
    };
    let all = found.len();
    let fitting = found.values().rev().copied().enumerate().map(fits).take_while(|fits| *fits).count();
    let ids: Vec<String> = found.into_keys().rev().take(fitting).collect();
    let next = ids.last().filter(|_| all > fitting).map(|id| id.as_str().into());
    let statement = format!("SELECT {COLUMNS} FROM proposals p WHERE p.id IN ({}) ORDER BY p.id DESC", placeholders(1, ids.len()));
    let page = match ids.len() {
        0 => Vec::new(),
        _ => rows(&mut connection, statement, ids.iter().map(|id| id.as_str().into()).collect()).await?,
    };
    let (records, malformed) = records(&mut connection, &page).await?;
    Ok(Page { records, malformed: malformed.into_iter().map(|(proposal, _)| proposal).collect(), next })
}

fn listing(filter: &Filter, status: Option<Status>, before: Option<ProposalId>, limit: usize) -> (String, Vec<Value>) {
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    let mut condition = |text: &str, value: Value| {
        values.push(value);
        conditions.push(text.replace('?', &format!("${}", values.len())));
    };
    if let Some(status) = status {
        condition("p.status = ?", status.word().into());
    }
    if let Some(agent) = &filter.agent {
        condition("p.agent = ?", agent.as_str().into());
    }
    if let Some(acting) = &filter.acting {
        condition("p.acting_tenant = ?", acting.0.as_ref().map_or("", TenantId::as_str).into());
    }
    if let Some(tenant) = &filter.tenant {
        condition("p.tenant = ?", tenant.as_str().into());
    }
    if let Some(relation) = &filter.relation {
        match relation.split_once('.') {
            Some(_) => condition("p.alias_schema || '.' || p.relation = ?", (&**relation).into()),
            None => condition("p.relation = ?", (&**relation).into()),
        }
    }
    if let Some(text) = &filter.text {
        let escaped = text.to_ascii_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        condition("lower(p.content) LIKE ? ESCAPE '\\'", format!("%{escaped}%").into());
    }
    if let Some(before) = before {
        condition("p.id < ?", before.to_string().into());
    }
    if !filter.sources.is_empty() {
        conditions.push(format!("p.source IN ({})", placeholders(values.len() + 1, filter.sources.len())));
        values.extend(filter.sources.iter().map(|source| source.as_str().into()));
    }
    let conditions = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    (format!("SELECT p.id, p.content_bytes FROM proposals p{conditions} ORDER BY p.id DESC LIMIT {limit}"), values)
}

pub(super) async fn events(database: Arc<Database>, id: ProposalId) -> Result<Vec<ProposalEvent>, Fault> {
    let mut connection = database.reader().await?;
    let statement = "SELECT at, actor, from_status, to_status, note FROM proposal_events WHERE proposal_id = $1 ORDER BY position";
    let found = rows(&mut connection, statement, values![id.to_string()]).await?;
    let event = |row: &AnyRow| {
        Ok(ProposalEvent {
            at: number(row, "at")?,
            actor: text(row, "actor")?.into(),
            from: optional_text(row, "from_status")?.map(|word| status(&word)).transpose()?,
            to: status(&text(row, "to_status")?)?,
            note: optional_text(row, "note")?,
        })
    };
    found.iter().map(event).collect()
}

/// Records, and what is no record.
type Records = (Vec<Record>, Vec<(ProposalId, MalformedContent)>);

/// The records of these rows, in their order.
async fn records(connection: &mut AnyConnection, found: &[AnyRow]) -> Result<Records, Fault> {
    let ids = found.iter().map(|row| text(row, "id")).collect::<Result<Vec<_>, _>>()?;
    let mut approvals = approvals(connection, &ids).await?;
    let mut conflicts = conflicts(connection, &ids).await?;
    let (mut records, mut malformed) = (Vec::new(), Vec::new());
    for (row, id) in found.iter().zip(&ids) {
        let proposal = parsed(id)?;
        let content = match Content::read_of(proposal, &text(row, "content")?) {
            Ok(content) => content,
            Err(problem) => {
                malformed.push((proposal, problem));
                continue;
            }
        };
        let approvals = approvals.remove(id).unwrap_or_default();
        let conflicts = conflicts.remove(id).unwrap_or_default();
        records.push(record(row, content, approvals, conflicts)?);
    }
    Ok((records, malformed))
}

fn record(row: &AnyRow, content: Content, approvals: Vec<Approval>, conflicts: Conflicts) -> Result<Record, Fault> {
    let status = status(&text(row, "status")?)?;
    Ok(Record {
        content,
        status,
        approvals,
        conflicts_with: conflicts.all,
        own_conflicts: conflicts.own,
        attempts: count(number(row, "attempts")?),
        last_error: optional_text(row, "last_error")?,
        result: reported(row, status)?,
        settled_by: optional_text(row, "settled_by")?,
        updated_at: number(row, "updated_at")?,
        decided_at: optional_number(row, "decided_at")?,
        applied_at: optional_number(row, "applied_at")?,
        worker: optional_text(row, "worker")?,
        lease_until: optional_number(row, "lease_until")?,
    })
}

fn reported(row: &AnyRow, status: Status) -> Result<Option<Reported>, Fault> {
    let (Some(outcome), Some(reporter), Some(at)) =
        (outcome(status), optional_text(row, "reporter")?, optional_number(row, "reported_at")?)
    else {
        return Ok(None);
    };
    let report = Report {
        outcome,
        reporter,
        idempotency_key: optional_text(row, "report_key")?,
        affected_rows: optional_number(row, "affected_rows")?.map(count),
        metadata: optional_text(row, "metadata")?,
        error: optional_text(row, "report_error")?,
        differences: optional_text(row, "differences")?,
    };
    Ok(Some(Reported { report, at }))
}

/// The outcome that a status stands for.
pub(super) fn outcome(status: Status) -> Option<Outcome> {
    [Outcome::Applied, Outcome::Conflict, Outcome::Failed].into_iter().find(|outcome| outcome.status() == status)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

async fn approvals(connection: &mut AnyConnection, ids: &[String]) -> Result<BTreeMap<String, Vec<Approval>>, Fault> {
    let mut approvals: BTreeMap<String, Vec<Approval>> = BTreeMap::new();
    let statement = "SELECT a.proposal_id, a.form, a.name, a.proof, a.decision, a.digest, a.reason, a.at, a.valid_until, \
         CASE WHEN a.form = 'key' THEN (SELECT k.revoked_at FROM api_keys k WHERE k.id = a.proof) END AS revoked_at FROM approvals a";
    for row in of_proposals(connection, statement, ids, "ORDER BY proposal_id, position").await? {
        approvals.entry(text(&row, "proposal_id")?).or_default().push(approval(&row)?);
    }
    Ok(approvals)
}

fn approval(row: &AnyRow) -> Result<Approval, Fault> {
    let (name, proof) = (text(row, "name")?, optional_text(row, "proof")?.unwrap_or_default());
    let reviewer = || name.parse().ok().ok_or_else(|| unreadable("a reviewer's name"));
    let decider = match text(row, "form")?.as_str() {
        "signature" => Decider::Signature { reviewer: reviewer()?, signature: bytes(&proof)? },
        "key" => Decider::ApiKey { reviewer: reviewer()?, key: proof },
        "rule" => Decider::Rule { rule: name.into() },
        "proposer" => Decider::Proposer { agent: name.parse().ok().ok_or_else(|| unreadable("an agent's name"))? },
        _ => return Err(unreadable("the form of a decision")),
    };
    Ok(Approval {
        decision: text(row, "decision")?.parse().map_err(|()| unreadable("a decision"))?,
        decider,
        digest: text(row, "digest")?.parse().ok().ok_or_else(|| unreadable("a decision's digest"))?,
        reason: optional_text(row, "reason")?,
        at: number(row, "at")?,
        until: optional_number(row, "valid_until")?,
        revoked: optional_number(row, "revoked_at")?.is_some(),
    })
}

fn bytes(hexadecimal: &str) -> Result<Box<[u8]>, Fault> {
    let digits = |at| hexadecimal.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..hexadecimal.len()).step_by(2).map(digits).collect::<Option<_>>().ok_or_else(|| unreadable("a signature"))
}

/// What a proposal is in the way of, each list with a bound of its own.
#[derive(Default)]
struct Conflicts {
    all: Vec<ProposalId>,
    own: Vec<ProposalId>,
}

async fn conflicts(connection: &mut AnyConnection, ids: &[String]) -> Result<BTreeMap<String, Conflicts>, Fault> {
    let mut conflicts: BTreeMap<String, Conflicts> = BTreeMap::new();
    let statement = "SELECT c.proposal_id, c.other_id, CASE WHEN o.agent = p.agent AND o.acting_tenant = p.acting_tenant THEN 1 ELSE 0 END AS own \
         FROM proposal_conflicts c JOIN proposals p ON p.id = c.proposal_id JOIN proposals o ON o.id = c.other_id";
    for row in of_proposals(connection, statement, ids, "ORDER BY c.proposal_id, c.other_id DESC").await? {
        let Conflicts { all, own } = conflicts.entry(text(&row, "proposal_id")?).or_default();
        let other = parsed(&text(&row, "other_id")?)?;
        if all.len() < CONFLICTS {
            all.push(other);
        }
        if own.len() < CONFLICTS && number(&row, "own")? == 1 {
            own.push(other);
        }
    }
    Ok(conflicts)
}

async fn of_proposals(connection: &mut AnyConnection, select: &str, ids: &[String], order: &str) -> Result<Vec<AnyRow>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = format!("{select} WHERE proposal_id IN ({}) {order}", placeholders(1, ids.len()));
    rows(connection, statement, ids.iter().map(|id| id.as_str().into()).collect()).await
}
