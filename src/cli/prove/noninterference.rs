//! Noninterference, run: two scratch copies that differ only in what an agent may not see, one stream of statements through
//! pgwicket over each, and every byte compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;

use super::{
    client::{Answer, Client},
    finding::{Finding, NONINTERFERENCE, Severity},
    generate::{Generator, Material},
    imitation::{CANARY, Filling, Side, tables},
    reference::{alias_name, identifier},
    scratch::Scratch,
    served::Served,
    session::{Run, shortened},
};
use crate::{
    policy::{Agent, ExposedRelation, Reference, Source},
    source::Inspector,
    types::Secret,
};

const ENUMS: &str = "
SELECT quote_ident(n.nspname), quote_ident(t.typname), n.nspname, t.typname, e.enumlabel
FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace ORDER BY t.oid, e.enumsortorder";

const EXTENSIONS: &str = "SELECT quote_ident(extname) FROM pg_extension WHERE extname <> 'plpgsql'";

/// Statements between two settings.
const SETTING: usize = 10;

/// What an agent sets along the way.
const SETTINGS: &[&str] = &[
    "SET TimeZone = 'Etc/GMT+12'",
    "SET DateStyle = 'SQL, DMY'",
    "SET extra_float_digits = -15",
    "SET IntervalStyle = 'sql_standard'",
    "SET bytea_output = 'escape'",
    "SET TimeZone = 'Pacific/Kiritimati'",
    "SET DateStyle = 'German'",
    "SET extra_float_digits = 0",
    "RESET ALL",
];

/// An agent and what is needed to be it.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) agent: &'a Agent,
    pub(super) scope: String,
    pub(super) password: Secret,
    pub(super) relations: Vec<Arc<ExposedRelation>>,
}

/// Both copies made and served, one agent's statements compared. What was made stays in `scratch` until it is removed.
/// The bytes that were received.
pub(super) async fn prove(
    run: &mut Run<'_>,
    subject: &Subject<'_>,
    scratch: &mut Scratch,
    source: &Source,
    policies: &Path,
) -> anyhow::Result<u64> {
    let Some(Reference::Environment(variable)) = run.bundle.url_reference(source.name.as_str()).cloned() else {
        run.findings.skip(
            &NONINTERFERENCE,
            &subject.scope,
            "the policy has the source's URL in a file",
            "refer to it as `env:NAME`, so that it can be replaced",
        );
        return Ok(0);
    };
    let enums = enums(run, source).await?;
    let extensions: Vec<String> =
        run.reference(&source.name, EXTENSIONS).await?.unwrap_or_default().into_iter().flatten().flatten().collect();
    let mut usable: Vec<Arc<ExposedRelation>> =
        subject.relations.iter().filter(|relation| relation.source == source.name).cloned().collect();
    // Made once and copied: the two differ in nothing that is not a row, not even in the numbers of their types.
    let (empty, mut session) = scratch.database(None).await?;
    let mut statements: Vec<String> = extensions.iter().map(|name| format!("CREATE EXTENSION IF NOT EXISTS {name}")).collect();
    statements.extend(tables(&source.catalog, &enums));
    for sql in statements {
        // What cannot be made is missed below, by whichever relation needs it.
        drop(session.rows(&sql).await);
    }
    drop(session);
    let mut served = Vec::new();
    for side in [Side::One, Side::Other] {
        let (database, mut session) = scratch.database(Some(&empty)).await?;
        let filling = Filling::new(subject.agent, &source.catalog, &enums, side);
        fill(run, subject, &mut session, &filling, &mut usable).await?;
        grant(&mut session, source, &scratch.name).await?;
        let variables = BTreeMap::from([(variable.clone(), scratch.reader(&database)?)]);
        served.push(Served::start(policies, &variables).await.context("over a scratch copy")?);
    }
    let [one, other] = served.as_slice() else { return Ok(0) };
    let mut clients = [client(one, subject).await?, client(other, subject).await?];
    let filling = Filling::new(subject.agent, &source.catalog, &enums, Side::One);
    let materials: Vec<Material> = usable
        .iter()
        .map(|relation| Material {
            relation: Arc::clone(relation),
            samples: filling.samples(relation),
            foreign: filling.strangers(relation),
        })
        .collect();
    for sql in stream(run, &materials) {
        let [first, second] = &mut clients;
        let (one, other) = (first.ask(&sql).await?, second.ask(&sql).await?);
        compare(run, subject, &sql, &one, &other);
        let (one, other) = (first.ask_prepared(&sql).await?, second.ask_prepared(&sql).await?);
        compare(run, subject, &sql, &one.whole, &other.whole);
    }
    Ok(clients.iter().map(|client| client.received).sum())
}

async fn client(served: &Served, subject: &Subject<'_>) -> anyhow::Result<Client> {
    Client::connect(served.port, subject.agent.name.as_str(), &subject.password).await
}

/// Labels by quoted type name.
async fn enums(run: &mut Run<'_>, source: &Source) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut enums: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in run.reference(&source.name, ENUMS).await?.unwrap_or_default() {
        if let [_, _, Some(schema), Some(name), Some(label)] = row.as_slice() {
            enums.entry(format!("{}.{}", identifier(schema), identifier(name))).or_default().push(label.clone());
        }
    }
    Ok(enums)
}

/// Fills the tables; a relation whose table cannot be filled is left out, and said so.
async fn fill(
    run: &mut Run<'_>,
    subject: &Subject<'_>,
    session: &mut Inspector,
    filling: &Filling<'_>,
    usable: &mut Vec<Arc<ExposedRelation>>,
) -> anyhow::Result<()> {
    let mut filled: BTreeMap<(Box<str>, Box<str>), bool> = BTreeMap::new();
    let mut kept = Vec::new();
    for relation in usable.drain(..) {
        let table = (relation.real_schema.clone(), relation.real_name.clone());
        let known = filled.get(&table).copied();
        let done = match (known, filling.insert(&relation)) {
            (Some(done), _) => done,
            (None, None) => false,
            (None, Some(sql)) => {
                let outcome = session.rows(&sql).await;
                if let Err(why) = &outcome {
                    let how = "nothing to do: columns of types that cannot be made up are not supported";
                    run.findings.skip(&NONINTERFERENCE, &format!("{}, {}", subject.scope, alias_name(&relation)), why.to_string(), how);
                }
                outcome.is_ok()
            }
        };
        filled.insert(table, done);
        if done {
            kept.push(relation);
        }
    }
    *usable = kept;
    Ok(())
}

/// The role of the run may read, as a source's role should, and nothing else.
async fn grant(session: &mut Inspector, source: &Source, role: &str) -> anyhow::Result<()> {
    let role = identifier(role);
    let schemas: BTreeSet<&str> = source.catalog.relations.iter().map(|real| real.schema.as_str()).collect();
    for schema in schemas {
        let schema = identifier(schema);
        session.rows(&format!("GRANT USAGE ON SCHEMA {schema} TO {role}")).await.context("the scratch copy")?;
        session.rows(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")).await.context("the scratch copy")?;
    }
    session.rows("ANALYZE").await.context("the scratch copy")?;
    Ok(())
}

/// What is asked of both: everything, the neighbours' keys, expressions that fail on some rows, statements that fail on none.
fn stream(run: &Run<'_>, materials: &[Material]) -> Vec<String> {
    let mut statements = Vec::new();
    for material in materials {
        let (relation, alias) = (&material.relation, alias_name(&material.relation));
        statements.push(format!("SELECT count(*) FROM {alias}"));
        let order: Vec<String> = relation.primary_key.iter().map(|name| identifier(name)).collect();
        if !order.is_empty() {
            statements.push(format!("SELECT * FROM {alias} ORDER BY {}", order.join(", ")));
            statements.push(format!("SELECT to_jsonb(t) FROM {alias} t ORDER BY {}", order.join(", ")));
        }
        for name in &relation.primary_key {
            let values = material.samples.iter().filter(|(column, _)| **column == **name).map(|(_, value)| value);
            statements.extend(
                values.map(|value| format!("SELECT * FROM {alias} WHERE {} = {}", identifier(name), super::reference::literal(value))),
            );
        }
    }
    let mut generator = Generator::new(materials, run.seed);
    let name = |at: usize| materials.get(at).map_or_else(String::new, |material| alias_name(&material.relation));
    for number in 0..run.statements.saturating_mul(2) {
        // What an agent sets may move its own answers, and no more.
        if let Some(setting) = SETTINGS.get(number / SETTING).filter(|_| number.is_multiple_of(SETTING)) {
            statements.push((*setting).to_owned());
        }
        let made = if number % 2 == 0 { generator.leak() } else { generator.statement() };
        statements.extend(made.map(|made| made.with(name)));
    }
    statements.push("RESET ALL".to_owned());
    for material in materials {
        statements.extend(scripts(&alias_name(&material.relation)));
    }
    statements
}

/// Cursors in both directions, whose plans are every tenant's, and a transaction that could conflict with others.
fn scripts(alias: &str) -> Vec<String> {
    let fetches = ["BACKWARD 1", "PRIOR", "FIRST", "RELATIVE -1"];
    let cursor = |fetch: &str| format!("BEGIN; DECLARE c CURSOR FOR SELECT * FROM {alias}; FETCH 2 FROM c; FETCH {fetch} FROM c; COMMIT");
    let mut scripts: Vec<String> = fetches.into_iter().flat_map(|fetch| [cursor(fetch), "ROLLBACK".to_owned()]).collect();
    scripts.push(format!("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM {alias}; SHOW transaction_isolation; COMMIT"));
    scripts.push("ROLLBACK".to_owned());
    scripts
}

fn compare(run: &mut Run<'_>, subject: &Subject<'_>, sql: &str, one: &Answer, other: &Answer) {
    if [one, other].iter().any(|answer| answer.sqlstate() == Some("57014")) {
        run.findings.inconclusive(&NONINTERFERENCE, &subject.scope, "the source's statement timeout");
        return;
    }
    let canary = !sql.contains(CANARY) && (one.holds(CANARY) || other.holds(CANARY));
    if !canary && (one.messages == other.messages || in_any_order(one) == in_any_order(other)) {
        run.findings.pass(&NONINTERFERENCE, &subject.scope);
        return;
    }
    let what = if canary {
        format!("a planted value of another tenant or a hidden column came out of: {}", shortened(sql))
    } else {
        format!("{} over one copy, {} over the other, or other bytes: {}", one.outcome(), other.outcome(), shortened(sql))
    };
    let fix = "report it as a vulnerability (SECURITY.md), with the seed of this run".to_owned();
    let place = run.bundle.place_of_agent(subject.agent.name.as_str()).cloned();
    let finding = Finding { check: &NONINTERFERENCE, severity: Severity::Error, subject: subject.scope.clone(), what, fix, place };
    run.findings.fail(&subject.scope, finding);
}

/// Rows without ORDER BY come as the plan has it.
fn in_any_order(answer: &Answer) -> Vec<(u8, Vec<u8>)> {
    let mut messages = answer.messages.clone();
    messages.sort();
    messages
}
