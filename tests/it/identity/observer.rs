//! The second observer of noninterference: what an agent may ask about itself (its proposals and their changes, settings, errors,
//! details, ids, statuses) is the same to the byte, whatever others propose, decide, settle and use up.

use std::{collections::BTreeMap, path::Path};

use pgwicket::{
    proposal::{Approval, Decider, Decision, Status},
    store::{Filter, Location, Store},
};
use serde_json::json;

use super::{Key, Published, claims, policy, rules};
use crate::support::{Cluster, Pgwicket, Wire};

/// Everything it sees of its proposals but the times.
const OWN: &str = "select proposal_id, status, operation, schema, relation, rows, changes::text, reason, run, evidence_id, idempotency_key, \
     conflicts_with::text, decision_reasons::text, created_at < expires_at, decided_at is null, applied_at is null \
     from pgwicket.proposals order by created_at, proposal_id";
const CHANGES: &str = "select * from pgwicket.proposal_changes order by proposal_id, change, \"column\"";

/// Writes, each of a kind that leaves something behind: settled by a rule, waiting, under a key, new rows, deletes, repeats, two on
/// a row, more than may be open.
const WRITES: [&str; 20] = [
    "update tickets set priority = 'low' where id = ROW1",
    "update tickets set status = 'closed' where id = ROW1 /* reason='mine' */",
    "set pgwicket.idempotency_key = 'order-1'",
    "update tickets set subject = 'keyed' where id = ROW2",
    "update tickets set subject = 'keyed' where id = ROW2",
    "update tickets set subject = 'otherwise' where id = ROW2",
    "reset pgwicket.idempotency_key",
    "insert into tickets (id, subject, status) values (990001, 'a new row', 'open')",
    "insert into tickets (id, subject, status) values (990001, 'another one of that id', 'open')",
    "delete from tickets where id = ROW2",
    "update tickets set status = 'closed' where id = ROW1 /* reason='mine' */",
    "delete from pgwicket.proposals where operation = 'delete'",
    // On a relation that holds no tenant's rows, everybody writes to the same ones.
    "update library set title = 'mine' where id = 1",
    "update library set title = 'mine' where id = 1",
    "update library set title = 'another' where id = 1",
    "set pgwicket.idempotency_key = 'library-1'",
    "update library set title = 'keyed' where id = 2",
    "reset pgwicket.idempotency_key",
    "delete from library where id = 3",
    "delete from pgwicket.proposals where relation = 'library' and operation = 'delete'",
];

/// A relation of no tenant's, beside the tenants'.
const LIBRARY: &str = "      library:
        from: public.documents
        single_tenant: true
        columns: [id, title]
        primary_key: [id]
        writes: { update: [title], delete: true }
      documents:
";

const QUESTIONS: [&str; 10] = [
    OWN,
    CHANGES,
    "show pgwicket.tenant",
    "show pgwicket.reason",
    "show pgwicket.idempotency_key",
    "show pgwicket.session_token",
    "show pgwicket.evidence_id",
    "select * from pgwicket.relations",
    "select count(*) from pgwicket.proposals where status = 'pending'",
    "delete from pgwicket.proposals where proposal_id = 'prop_00000000010000000000000001'",
];

/// One pgwicket with a store of its own, and who connects to it.
struct World {
    pgwicket: Pgwicket,
    store: Store,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(key: &Published) -> Self {
        let session = rules(&format!("keys: \"{}\"", key.url()), ", claims: { tenant: org }");
        let limits = "    limits: { open_proposals: 14 }\n";
        let policy = policy("{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }", &format!("    session_token: {session}\n{limits}"));
        let policy = policy.replace("context.day.count < 20", "context.day.count < 3").replacen("      documents:\n", LIBRARY, 1);
        let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(Store::open(&Location::Sqlite(pgwicket.store()))).unwrap();
        Self { pgwicket, store, runtime }
    }

    fn session(&self, token: &str) -> Wire {
        let mut wire = self.pgwicket.login().wire().unwrap();
        let answer = wire.simple(&format!("set pgwicket.session_token = '{token}'")).unwrap();
        assert!(answer.iter().all(|message| message.tag != b'E'), "{answer:?}");
        wire
    }

    /// What others do: all that the observer does, and then decisions, cancels and reports on theirs, and on nobody else's.
    fn disturb(&self, others: &mut [Wire], rows: &[(String, String)]) {
        for (wire, rows) in others.iter_mut().zip(rows) {
            for write in WRITES {
                wire.simple(&of(write, rows)).unwrap();
            }
            for number in 0..6 {
                // More than a day's settlements, and more than may be open.
                wire.simple(&of(&format!("update tickets set priority = 'low', subject = '{number}' where id = ROW1"), rows)).unwrap();
                wire.simple(&of("update tickets set priority = 'low' where id = ROW2", rows)).unwrap();
                wire.simple(&format!("update library set title = '{number}' where id = 1")).unwrap();
            }
        }
        self.runtime.block_on(async {
            let page =
                self.store.list(&Filter::default(), &pgwicket::store::PageRequest { limit: 1000, ..Default::default() }).await.unwrap();
            for record in page
                .records
                .into_iter()
                .filter(|record| record.content.proposal().proposer.tenant.as_ref().is_none_or(|tenant| tenant.as_str() != "acme"))
            {
                let now = jiff::Timestamp::now().as_millisecond();
                let decision = [Decision::Approve, Decision::Reject, Decision::Cancel][record.id().to_bytes()[15] as usize % 3];
                let decider = Decider::ApiKey { reviewer: "rosa".parse().unwrap(), key: "key_1".into() };
                let reason = Some("of another tenant".into());
                let digest = record.content.digest();
                let approval = Approval { decision, decider, digest, reason, at: now, until: None, revoked: false };
                match (record.status, decision) {
                    (Status::Pending, Decision::Approve | Decision::Reject) => drop(self.store.decide(record.id(), approval, 1, now).await),
                    (Status::Pending | Status::Approved, _) => drop(self.store.cancel_by(record.id(), approval, now).await),
                    _ => {}
                }
            }
        });
    }
}

/// A statement over these rows.
fn of(statement: &str, (one, two): &(String, String)) -> String {
    statement.replace("ROW1", one).replace("ROW2", two)
}

/// What the observer is told, ids by their first appearance.
fn observe(world: &World, wire: &mut Wire, rows: &(String, String), mut between: impl FnMut(&World)) -> Vec<String> {
    let mut names = BTreeMap::new();
    let mut told = Vec::new();
    let steps = WRITES.into_iter().flat_map(|write| std::iter::once(write).chain([OWN]));
    for (at, text) in steps.chain(QUESTIONS).enumerate() {
        if at % 6 == 0 {
            between(world);
        }
        let answer = wire.simple(&of(text, rows)).unwrap();
        let bytes = answer.iter().map(|message| format!("{} {}", char::from(message.tag), String::from_utf8_lossy(&message.body)));
        told.push(format!("{text}: {}", named(&bytes.collect::<Vec<_>>().join("\n"), &mut names)));
    }
    told
}

/// Ids are random: the first is 1, wherever it appears.
fn named(text: &str, names: &mut BTreeMap<String, usize>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, length)) = ["prop_", "ev_"].iter().filter_map(|prefix| rest.find(prefix).map(|at| (at, prefix.len() + 26))).min() {
        let Some(id) = rest.get(at..at + length).filter(|id| id.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())) else {
            out.push_str(&rest[..at + 3]);
            rest = &rest[at + 3..];
            continue;
        };
        let next = names.len() + 1;
        let number = *names.entry(id.to_owned()).or_insert(next);
        out = format!("{out}{}#{number}", &rest[..at]);
        rest = &rest[at + length..];
    }
    out + rest
}

fn key(directory: &Path) -> (Key, Published) {
    let key = Key::make(directory, "one", "ES256");
    let published = Published::start(&[&key]);
    (key, published)
}

#[test]
fn what_an_agent_is_told_of_itself_is_the_same_whatever_others_do() {
    let directory = tempfile::tempdir().unwrap();
    let (key, published) = key(directory.path());
    let token = |tenant: &str| key.token(&claims(&[("org", json!(tenant))]));
    let rows = |tenant: &str| {
        let own = format!(
            "select id from tickets where tenant_id = '{tenant}' and deleted_at is null and status <> 'closed' and priority <> 'low' order by id limit 2"
        );
        let ids: Vec<String> = Cluster::desk().sql(&own).lines().map(str::to_owned).collect();
        (ids[0].clone(), ids[1].clone())
    };
    let (mine, theirs) = (rows("acme"), rows("globex"));
    let quiet = World::new(&published);
    let alone = observe(&quiet, &mut quiet.session(&token("acme")), &mine, |_| {});
    for part in ["stored as proposal", "approved", "library", "the idempotency key was used for another change"] {
        assert!(alone.iter().any(|told| told.contains(part)), "{part}: {alone:#?}");
    }

    // The same agent for another tenant, on rows and keys of these names; and another agent.
    let busy = World::new(&published);
    let other_agent = Wire::connect(busy.pgwicket.login().port, "globex_agent", crate::support::PASSWORD, "pgwicket");
    let mut others = vec![busy.session(&token("globex"))];
    others.extend(other_agent);
    assert_eq!(others.len(), 2, "another agent connects");
    let elsewhere = [theirs.clone(), theirs];
    let beside = observe(&busy, &mut busy.session(&token("acme")), &mine, |world| world.disturb(&mut others, &elsewhere));
    for (alone, beside) in alone.iter().zip(&beside) {
        assert_eq!(alone, beside);
    }

    // The control: the same done by the observer's own agent for its own tenant is seen.
    let shared = World::new(&published);
    let mut others = [shared.session(&token("acme"))];
    let seen =
        observe(&shared, &mut shared.session(&token("acme")), &mine, |world| world.disturb(&mut others, std::slice::from_ref(&mine)));
    let differing = alone.iter().zip(&seen).filter(|(alone, seen)| alone != seen).count();
    assert!(differing > 10, "the observer sees {differing} differences");
}
