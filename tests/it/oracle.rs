//! The oracle: what `support_agent` reads through pgwicket is what PostgreSQL itself answers a role with
//! row-level security and column grants. Cases are data: `tests/oracle/*.sql`, one statement after another.

use std::{error::Error, fs};

use tokio_postgres::{
    Client, NoTls, SimpleQueryMessage,
    types::{FromSql, Type},
};

use crate::support::{AGENT, Cluster, Login, Pgwicket, repository};

#[test]
fn reads_equal_those_of_a_role_with_row_level_security() {
    compare("tests/oracle/statements.sql", 150, &Cluster::row_level_security().login(AGENT));
}

#[test]
fn leaky_predicates_answer_as_a_tenant_only_copy_does() {
    compare("tests/oracle/leaks.sql", 10, &Cluster::tenant_copy().login(AGENT));
}

/// An answer as both protocols give it: text rows with their column names, then binary rows with their types.
#[derive(Debug, PartialEq)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    types: Vec<String>,
    binary: Vec<Vec<Option<Vec<u8>>>>,
}

struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn compare(cases: &str, at_least: usize, reference: &Login) {
    let text = fs::read_to_string(repository(cases)).unwrap();
    let statements = pg_query::split_with_parser(&text).unwrap();
    assert!(statements.len() >= at_least, "{cases} holds {} statements", statements.len());
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wrong: Vec<String> = runtime.block_on(async {
        let (direct, through) = (connect(reference).await, connect(&pgwicket.login()).await);
        let mut wrong = Vec::new();
        for statement in &statements {
            let expected = ask(&direct, statement).await;
            let seen = ask(&through, statement).await;
            wrong.extend(difference(statement, &expected, &seen));
        }
        wrong
    });
    assert!(wrong.is_empty(), "{} of {} statements differ\n\n{}", wrong.len(), statements.len(), wrong.join("\n\n"));
}

fn difference(statement: &str, expected: &Result<Answer, String>, seen: &Result<Answer, String>) -> Option<String> {
    let statement = statement.trim();
    match (expected, seen) {
        (Ok(expected), Ok(seen)) => {
            let ordered = statement.to_lowercase().contains("order by");
            let same = expected.columns == seen.columns
                && expected.types == seen.types
                && same_rows(&expected.rows, &seen.rows, ordered)
                && same_rows(&expected.binary, &seen.binary, ordered);
            (!same).then(|| format!("{statement}\n  direct:   {}\n  pgwicket: {}", shortened(expected), shortened(seen)))
        }
        (Err(expected), Err(seen)) if expected == seen => None,
        (expected, seen) => {
            let said = |answer: &Result<Answer, String>| answer.as_ref().map_or_else(Clone::clone, shortened);
            Some(format!("{statement}\n  direct:   {}\n  pgwicket: {}", said(expected), said(seen)))
        }
    }
}

fn same_rows<T: Ord + Clone>(expected: &[T], seen: &[T], ordered: bool) -> bool {
    if ordered {
        return expected == seen;
    }
    let sorted = |rows: &[T]| {
        let mut rows = rows.to_vec();
        rows.sort();
        rows
    };
    sorted(expected) == sorted(seen)
}

fn shortened(answer: &Answer) -> String {
    let rows: Vec<_> = answer.rows.iter().take(3).collect();
    format!("{:?} {:?} {} rows {rows:?}", answer.columns, answer.types, answer.rows.len())
}

async fn connect(login: &Login) -> Client {
    let (client, connection) = login.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &Client, statement: &str) -> Result<Answer, String> {
    let said = |error: tokio_postgres::Error| match error.as_db_error() {
        Some(refused) => format!("{} {}", refused.code().code(), refused.message()),
        None => format!("client error: {error}"),
    };
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    for message in client.simple_query(statement).await.map_err(said)? {
        match message {
            SimpleQueryMessage::RowDescription(described) => columns = described.iter().map(|column| column.name().to_owned()).collect(),
            SimpleQueryMessage::Row(row) => rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()),
            _ => {}
        }
    }
    let prepared = client.prepare(statement).await.map_err(said)?;
    let types = prepared.columns().iter().map(|column| type_name(column.type_())).collect();
    let binary = client.query(&prepared, &[]).await.map_err(said)?;
    let bytes = |row: &tokio_postgres::Row| (0..row.len()).map(|column| row.get::<_, Option<Raw>>(column).map(|raw| raw.0)).collect();
    Ok(Answer { columns, rows, types, binary: binary.iter().map(bytes).collect() })
}

/// Types of the source that are not built in travel as their text form.
fn type_name(column: &Type) -> String {
    if column.schema() == "pg_catalog" { column.name().to_owned() } else { "text".to_owned() }
}
