//! Storing a proposal: what it repeats, what it conflicts with, whether a rule settles it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Created, OpenBounds, Record, StoreError,
    backend::{Database, Fault, Value, Work, execute, number, placeholders, rows, text, values},
    decide,
    moves::{self, Note, parsed},
    read::{self, CONFLICTS},
};
use crate::{
    proposal::{Approval, Content, Counter, Decider, Decision, Event, Proposal, Proposer, Settle, Settlement, Status},
    types::{ProposalId, TenantId},
};

/// Unit: milliseconds.
const DAY: i64 = 86_400_000;
/// Rows in one statement.
const ROWS: usize = 500;

pub(super) async fn create(
    database: Arc<Database>,
    content: Arc<Content>,
    settle: Option<Arc<dyn Settle>>,
    bounds: OpenBounds,
    now: i64,
) -> Result<Created, Fault> {
    let proposal = content.proposal();
    let mut work = database.begin().await?;
    if let Some(record) = repeated(&mut work, proposal, now).await? {
        work.commit().await?;
        return Ok(Created { record, repeated: true });
    }
    within(&mut work, &content, bounds, now).await?;
    if !insert(&mut work, &content, now).await? {
        return match read::find(work.connection(), proposal.id).await? {
            // The caller did not hear that it was stored, and by now it is over.
            Some(record) => Ok(Created { record, repeated: true }),
            None => Err(Fault::Lost("the same proposal was being stored".into())),
        };
    }
    let created = Note { at: now, actor: format!("agent {}", proposal.proposer.agent), text: proposal.reason.as_deref() };
    moves::record(&mut work, proposal.id, None, Status::Pending, &created).await?;
    let mut names: Vec<String> = proposal.row_names().iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    claim_rows(&mut work, proposal.id, &names).await?;
    flag_conflicts(&mut work, proposal, &names, now).await?;
    if let Some(settle) = settle {
        settle_it(&mut work, &content, &*settle, now).await?;
    }
    let record = read::found(work.connection(), proposal.id).await?;
    work.commit().await?;
    Ok(Created { record, repeated: false })
}

/// Refuses a proposal for which its agent has no room left: what one has open costs reviewers, workers and everybody's store.
async fn within(work: &mut Work<'_>, content: &Content, bounds: OpenBounds, now: i64) -> Result<(), Fault> {
    let proposer = &content.proposal().proposer;
    let (agent, tenant) = (proposer.agent.as_str(), acting_tenant(proposer));
    work.lock_name(&format!("open proposals of {agent} for {tenant}")).await?;
    let statement = "SELECT COUNT(*) AS proposals, CAST(COALESCE(SUM(content_bytes), 0) AS BIGINT) AS bytes FROM proposals \
         WHERE agent = $1 AND acting_tenant = $2 AND (status IN ('approved', 'applying') OR (status = 'pending' AND expires_at > $3)) \
         AND status IN ('pending', 'approved', 'applying')";
    let found = rows(work.connection(), statement, values![agent, tenant, now]).await?;
    let Some(row) = found.first() else { return Ok(()) };
    let count = |column| number(row, column).map(|count| u64::try_from(count).unwrap_or(0));
    if count("proposals")? >= bounds.proposals {
        return Err(StoreError::TooManyOpen(bounds.proposals).into());
    }
    if count("bytes")?.saturating_add(content.text().len() as u64) > bounds.bytes {
        return Err(StoreError::TooMuchOpen(bounds.bytes).into());
    }
    Ok(())
}

/// What is stored already of this agent for this tenant under this key, or with this change.
async fn repeated(work: &mut Work<'_>, proposal: &Proposal, now: i64) -> Result<Option<Record>, Fault> {
    let (agent, tenant) = (proposal.proposer.agent.as_str(), acting_tenant(&proposal.proposer));
    let change = proposal.change_digest().to_string();
    let (condition, value) = match &proposal.idempotency_key {
        Some(key) => {
            ("idempotency_key = $3 AND idempotency_key IS NOT NULL AND status IN ('pending', 'approved', 'applying', 'applied')", &**key)
        }
        None => ("change_digest = $3 AND idempotency_key IS NULL AND status IN ('pending', 'approved', 'applying')", &*change),
    };
    let statement = format!("SELECT id, change_digest FROM proposals WHERE agent = $1 AND acting_tenant = $2 AND {condition}");
    let found = rows(work.connection(), statement, values![agent, tenant, value]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let id = parsed(&text(row, "id")?)?;
    let mut locked = moves::lock(work, id).await?;
    if locked.status == Status::Pending && locked.expires_at <= now {
        decide::expire_one(work, &mut locked, now).await?;
        return Ok(None);
    }
    if text(row, "change_digest")? != change {
        return Err(StoreError::KeyReused(id).into());
    }
    read::find(work.connection(), id).await
}

/// False when the same one has come in between.
async fn insert(work: &mut Work<'_>, content: &Content, now: i64) -> Result<bool, Fault> {
    let (proposal, target) = (content.proposal(), &content.proposal().target);
    let statement = "INSERT INTO proposals (id, content, change_digest, idempotency_key, agent, tenant, source, alias_schema, relation, \
         status, expires_at, updated_at, acting_tenant, content_bytes) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING";
    let values = values![
        proposal.id.to_string(),
        content.text(),
        proposal.change_digest().to_string(),
        proposal.idempotency_key.as_deref(),
        proposal.proposer.agent.as_str(),
        target.tenant.as_ref().map(|guard| guard.tenant.as_str()),
        target.source.as_str(),
        &*target.schema,
        &*target.relation,
        Status::Pending.word(),
        proposal.expires_at,
        now,
        acting_tenant(&proposal.proposer),
        i64::try_from(content.text().len()).unwrap_or(i64::MAX),
    ];
    Ok(execute(work.connection(), statement, values).await? == 1)
}

/// Ties the proposal to its rows as they stand. The upsert locks each row, in order, so that nobody applies to one in between.
async fn claim_rows(work: &mut Work<'_>, id: ProposalId, names: &[String]) -> Result<(), Fault> {
    for chunk in names.chunks(ROWS) {
        let tuples: Vec<String> = (1..=chunk.len()).map(|at| format!("(${at}, 0)")).collect();
        let upsert = format!(
            "INSERT INTO row_states (row_name, generation) VALUES {} ON CONFLICT (row_name) DO UPDATE SET generation = row_states.generation",
            tuples.join(", ")
        );
        execute(work.connection(), upsert, chunk.iter().map(|name| name.as_str().into()).collect()).await?;
        let tie = format!(
            "INSERT INTO proposal_rows (row_name, proposal_id, generation) SELECT row_name, $1, generation FROM row_states WHERE row_name IN ({})",
            placeholders(2, chunk.len())
        );
        execute(work.connection(), tie, id_and(id, chunk)).await?;
    }
    Ok(())
}

/// Names every open proposal on one of the rows, and this one there: the newest of the same proposer, and the newest of all,
/// so that what others propose pushes none out that the proposer may see. Plain statements: a planner without statistics makes
/// a slow join of them.
async fn flag_conflicts(work: &mut Work<'_>, proposal: &Proposal, names: &[String], now: i64) -> Result<(), Fault> {
    let (id, proposer) = (proposal.id, &proposal.proposer);
    let mut all = BTreeSet::new();
    let mut own = BTreeSet::new();
    for chunk in names.chunks(ROWS) {
        let of_all = format!(
            "SELECT DISTINCT proposal_id FROM proposal_rows WHERE proposal_id <> $1 AND row_name IN ({}) ORDER BY proposal_id DESC LIMIT {CONFLICTS}",
            placeholders(2, chunk.len())
        );
        let of_own = format!(
            "SELECT DISTINCT r.proposal_id FROM proposal_rows r JOIN proposals p ON p.id = r.proposal_id WHERE r.proposal_id <> $1 \
             AND p.agent = $2 AND p.acting_tenant = $3 AND r.row_name IN ({}) ORDER BY r.proposal_id DESC LIMIT {CONFLICTS}",
            placeholders(4, chunk.len())
        );
        for row in rows(work.connection(), of_all, id_and(id, chunk)).await? {
            all.insert(text(&row, "proposal_id")?);
        }
        let scope = [proposer.agent.as_str().into(), acting_tenant(proposer).into()];
        let mut values = id_and(id, chunk);
        values.splice(1..1, scope);
        for row in rows(work.connection(), of_own, values).await? {
            own.insert(text(&row, "proposal_id")?);
        }
    }
    let newest = |ids: BTreeSet<String>| ids.into_iter().rev().take(CONFLICTS);
    let others: BTreeSet<String> = newest(all).chain(newest(own)).collect();
    for other in &others {
        // One whose time was over is in nobody's way, though nobody wrote that down.
        let both = "INSERT INTO proposal_conflicts (proposal_id, other_id) SELECT $1, id FROM proposals WHERE id = $2 AND (status <> 'pending' OR expires_at > $3) \
             UNION ALL SELECT id, $1 FROM proposals WHERE id = $2 AND (status <> 'pending' OR expires_at > $3)";
        execute(work.connection(), both, values![id.to_string(), other.as_str(), now]).await?;
    }
    Ok(())
}

/// The tenant that the proposer acts for, as the store has it.
pub(super) fn acting_tenant(proposer: &Proposer) -> &str {
    proposer.tenant.as_ref().map_or("", TenantId::as_str)
}

fn id_and(id: ProposalId, names: &[String]) -> Vec<Value> {
    std::iter::once(id.to_string().into()).chain(names.iter().map(|name| name.as_str().into())).collect()
}

/// Asks the policy, with counters that nobody else changes meanwhile.
async fn settle_it(work: &mut Work<'_>, content: &Content, settle: &dyn Settle, now: i64) -> Result<(), Fault> {
    let proposal = content.proposal();
    let (rules, day) = (settle.rules(), now.div_euclid(DAY));
    let mut sorted: Vec<&str> = rules.iter().map(|rule| &**rule).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut known = BTreeMap::new();
    for rule in sorted {
        known.insert(rule, counter(work, rule, &proposal.proposer, day).await?);
    }
    let counters: Vec<Counter> = rules.iter().map(|rule| known.get(&**rule).copied().unwrap_or_default()).collect();
    match settle.settle(&counters) {
        Some(settlement) => approve(work, content, &settlement, day, now).await,
        None => Ok(()),
    }
}

/// Reads a counter; the upsert locks it.
async fn counter(work: &mut Work<'_>, rule: &str, proposer: &Proposer, day: i64) -> Result<Counter, Fault> {
    let statement = "INSERT INTO settlement_counters (rule_id, agent, acting_tenant, day, proposals, changed_rows, total) \
         VALUES ($1, $2, $3, $4, 0, 0, 0) ON CONFLICT (rule_id, agent, acting_tenant, day) DO UPDATE SET proposals = settlement_counters.proposals \
         RETURNING proposals, changed_rows, total";
    let found = rows(work.connection(), statement, values![rule, proposer.agent.as_str(), acting_tenant(proposer), day]).await?;
    let Some(row) = found.first() else { return Ok(Counter::default()) };
    let count = |column| number(row, column).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Counter { count: count("proposals")?, rows: count("changed_rows")?, sum: number(row, "total")? })
}

async fn approve(work: &mut Work<'_>, content: &Content, settlement: &Settlement, day: i64, now: i64) -> Result<(), Fault> {
    let proposal = content.proposal();
    // A rule that it did not name before has no row yet.
    let counter = counter(work, &settlement.rule, &proposal.proposer, day).await?;
    let rows = i64::try_from(proposal.changes.len()).unwrap_or(i64::MAX);
    execute(
        work.connection(),
        "UPDATE settlement_counters SET proposals = proposals + 1, changed_rows = changed_rows + $5, total = $6 \
         WHERE rule_id = $1 AND agent = $2 AND acting_tenant = $3 AND day = $4",
        values![
            &*settlement.rule,
            proposal.proposer.agent.as_str(),
            acting_tenant(&proposal.proposer),
            day,
            rows,
            counter.sum.saturating_add(settlement.amount)
        ],
    )
    .await?;
    let decider = Decider::Rule { rule: settlement.rule.clone() };
    let approval =
        Approval { decision: Decision::Approve, decider, digest: content.digest(), reason: None, at: now, until: None, revoked: false };
    decide::keep(work, proposal.id, &approval).await?;
    let mut locked = moves::lock(work, proposal.id).await?;
    decide::conclude(work, &mut locked, &approval, Event::Approve, now).await
}
