//! What is proposed is what PostgreSQL would do: each write of `tests/oracle/writes.sql` runs on a tenant-only copy and
//! through pgwicket, and the proposal's changes, applied to the rows before, must give the rows after.

use std::{collections::BTreeMap, fs};

use serde_json::Value as Json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{AGENT, Cluster, Pgwicket, Statement, block_on, repository, statements};

/// Rows by id, a column each as text.
type Rows = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// Tickets as they were and as they are after a write, less what did not change.
#[derive(Debug, PartialEq)]
struct Effect {
    before: Rows,
    after: Rows,
}

#[test]
fn what_is_proposed_is_what_postgresql_would_do() {
    let statements = statements(&fs::read_to_string(repository("tests/oracle/writes.sql")).unwrap());
    assert!(statements.len() >= 60, "{} statements", statements.len());
    let copy = Cluster::tenant_copy();
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let (agent, desk) = (pgwicket.login(), Cluster::desk());
    let wrong: Vec<String> = block_on(async {
        let (reference, through) = (copy.login(AGENT).connect().await, agent.connect().await);
        let mut wrong = Vec::new();
        for statement in &statements {
            let expected = effect(&reference, statement).await;
            let proposed = propose(&through, &statement.text).await;
            wrong.extend(difference(statement, expected, proposed));
        }
        wrong
    });
    assert!(wrong.is_empty(), "{} of {} statements differ\n\n{}", wrong.len(), statements.len(), wrong.join("\n\n"));
    let counted = "select count(*) filter (where priority = 'high'), count(*), coalesce(max(id), 0) < 900000 from public.tickets";
    assert_eq!(desk.sql(counted), Cluster::fresh_desk().sql(counted), "the source was written to");
}

fn difference(statement: &Statement, expected: Result<Effect, String>, proposed: Result<Json, String>) -> Option<String> {
    let Statement { name, text } = statement;
    let refused = name.starts_with("refused-");
    match (expected, proposed) {
        (Ok(_), _) if refused => Some(format!("{name}: PostgreSQL does it\n{text}")),
        (Err(_), Err(_)) if refused => None,
        (Err(error), _) if !refused => Some(format!("{name}: PostgreSQL refuses it: {error}\n{text}")),
        (Err(expected), Ok(proposed)) => Some(format!("{name}: stored, where PostgreSQL says {expected}\n{proposed}")),
        (Ok(Effect { before, after }), Err(error)) if error.starts_with("P0002") && before.is_empty() && after.is_empty() => None,
        (Ok(_) | Err(_), Err(error)) => Some(format!("{name}: {error}\n{text}")),
        (Ok(expected), Ok(proposed)) => {
            let after = applied(&expected.before, &proposed);
            let differs = after.as_ref() != Ok(&expected.after);
            differs.then(|| format!("{name}\n{text}\nproposed {proposed}\n  gives {after:?}\n  not   {:?}", expected.after))
        }
    }
}

/// What PostgreSQL does, taken back.
async fn effect(client: &Client, statement: &Statement) -> Result<Effect, String> {
    const STAGE: &str = "rollback; begin read write; set local TimeZone = 'UTC';
        create temp table tickets on commit drop as select * from external_support.tickets where id < 1000;
        alter table tickets add primary key (id);
        create temp table earlier on commit drop as table tickets;
        set local search_path = pg_temp, external_support, public";
    client.batch_execute(STAGE).await.unwrap();
    // The copy's own relation goes by its schema there; here it is the one to be written to.
    let text = statement.text.replace("external_support.tickets", "pg_temp.tickets");
    let done = client.simple_query(&text).await.map(drop).map_err(|error| words(&error));
    let found = match done {
        Ok(()) => Ok(Effect {
            before: rows(client, "select * from earlier except select * from tickets").await,
            after: rows(client, "select * from tickets except select * from earlier").await,
        }),
        Err(error) => Err(error),
    };
    client.batch_execute("rollback").await.unwrap();
    found
}

/// The changes of the proposal that a write became.
async fn propose(client: &Client, text: &str) -> Result<Json, String> {
    let Err(error) = client.simple_query(text).await else { return Err("it was executed".to_owned()) };
    let database = error.as_db_error().ok_or_else(|| error.to_string())?;
    if database.code().code() != "25006" {
        return Err(words(&error));
    }
    let detail: Json = serde_json::from_str(database.detail().ok_or_else(|| words(&error))?).unwrap();
    let id = detail["proposal_id"].as_str().unwrap();
    let asked = format!("select changes from pgwicket.proposals where proposal_id = '{id}'");
    let answer = client.simple_query(&asked).await.unwrap();
    let changes = answer.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None });
    Ok(serde_json::from_str(changes.unwrap_or_else(|| panic!("{id} is not listed"))).unwrap())
}

/// The rows a proposal leaves, of those that change: a row that ends as it was is not among them.
fn applied(before: &Rows, changes: &Json) -> Result<Rows, String> {
    let mut after = Rows::new();
    let mut gone = before.clone();
    for change in changes.as_array().unwrap() {
        let id = change["key"]["id"].as_str().unwrap_or_default().to_owned();
        let (old, new) = (change["before"].as_object().unwrap(), change["after"].as_object().unwrap());
        let known = gone.remove(&id);
        for (column, value) in old {
            if let Some(seen) = known.as_ref().and_then(|row| row.get(column))
                && *seen != text(value)
            {
                return Err(format!("the before-image of {id}.{column} is {value}, the row has {seen:?}"));
            }
        }
        let values = new.iter().map(|(column, value)| (column.clone(), text(value)));
        match (change["operation"].as_str().unwrap(), known) {
            ("delete", Some(_)) => {}
            ("insert", None) => drop(after.insert(id, values.filter(|(_, value)| value.is_some()).collect())),
            ("update", Some(mut row)) => {
                row.extend(values);
                after.insert(id, row);
            }
            // A row that PostgreSQL leaves as it is shows no difference: then the new values are the old ones.
            ("update", None) if new.iter().all(|(column, value)| old.get(column) == Some(value)) => {}
            (operation, _) => return Err(format!("{operation} of {id}, where PostgreSQL does another thing")),
        }
    }
    if gone.is_empty() { Ok(after) } else { Err(format!("{:?} change and are not proposed", gone.keys())) }
}

fn text(value: &Json) -> Option<String> {
    value.as_str().map(str::to_owned)
}

async fn rows(client: &Client, text: &str) -> Rows {
    let mut rows = Rows::new();
    for message in client.simple_query(text).await.unwrap() {
        if let SimpleQueryMessage::Row(row) = message {
            let values = row.columns().iter().enumerate().map(|(at, column)| (column.name().to_owned(), row.get(at).map(str::to_owned)));
            // A new row in the copy has no defaults: what the statement does not give is NULL.
            let values: BTreeMap<String, Option<String>> = values.collect();
            rows.insert(values["id"].clone().unwrap(), values);
        }
    }
    for (id, row) in &mut rows {
        if id.len() == 6 {
            row.retain(|_, value| value.is_some());
        }
    }
    rows
}

fn words(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| format!("{} {}", error.code().code(), error.message()))
}
