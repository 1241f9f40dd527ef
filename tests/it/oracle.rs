//! The oracle: what `support_agent` reads through pgwicket is what PostgreSQL itself answers a role with
//! row-level security and column grants. Cases are data: `tests/oracle/*.sql`, one statement after another.

use std::fs;

use tokio_postgres::{
    Client, NoTls, SimpleQueryMessage,
    types::{Kind, ToSql, Type},
};

use crate::support::{AGENT, Cluster, Login, Pgwicket, Raw, Statement, repository, statements};

#[test]
fn reads_equal_those_of_a_role_with_row_level_security() {
    compare("tests/oracle/statements.sql", 150, &Cluster::row_level_security().login(AGENT));
}

#[test]
fn leaky_predicates_answer_as_a_tenant_only_copy_does() {
    compare("tests/oracle/leaks.sql", 10, &Cluster::tenant_copy().login(AGENT));
}

#[test]
fn the_oracle_is_one() {
    for (cases, reference) in
        [("tests/oracle/statements.sql", Cluster::row_level_security()), ("tests/oracle/leaks.sql", Cluster::tenant_copy())]
    {
        let statements = read(cases);
        let failed = statements
            .iter()
            .zip(answers(&reference.login(AGENT), &statements))
            .filter_map(|(statement, answer)| Some((&statement.name, answer.err()?)));
        assert_eq!(failed.collect::<Vec<_>>(), [], "statements of {cases} fail on PostgreSQL itself");
    }
}

/// The same leaks with their constants as parameters: bound text that the planner sees when it plans.
#[test]
fn leaks_behind_a_parameter_answer_as_a_tenant_only_copy_does() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (statement, parameters) in PARAMETERISED {
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
        let [direct, through] = [Cluster::tenant_copy().login(AGENT), pgwicket.login()].map(|login| {
            runtime.block_on(async {
                let (client, connection) = login.config().connect(NoTls).await.unwrap();
                tokio::spawn(connection);
                let rows = client.query(*statement, &parameters).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
                rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>()
            })
        });
        assert_eq!(direct, through, "{statement}");
    }
}

const PARAMETERISED: &[(&str, &[&str])] = &[
    ("select count(*) from tickets where amount = $1::text::numeric and $2::text ~ secret", &["7777", "x"]),
    ("select count(*) from tickets where amount = 7777 and secret like $1::text || secret", &["x"]),
    ("select count(*) from tickets where id = $1::text::int8 and (secret || $2::text)::int > 0", &["7777", "x"]),
    (
        "select count(*) from tickets t join customers c on c.id = t.customer_id and $1::text ~ t.secret where t.amount = $2::text::numeric",
        &["x", "7777"],
    ),
    ("select count(*) from (select id, amount, $1::text ~ secret as hit from tickets) t where amount = 7777 and hit", &["x"]),
    ("select count(*) from tickets where amount = 7777 and case when $1::text = 'x' then 'x' ~ secret else true end", &["x"]),
    (
        "select count(*) from customers c where exists (select from tickets t where t.customer_id = c.id and t.amount = 7777 and $1::text ~ t.secret)",
        &["x"],
    ),
];

/// The bait is real: without a fence, a planner that takes the tenant predicate to be dear gives the row away. (The
/// rest of the cases stand in positions that do not leak on PostgreSQL 15, so that they may not begin to.)
#[test]
fn the_leaks_do_leak_without_a_fence() {
    let statements = read("tests/oracle/leaks.sql");
    let answers = answers(&Cluster::plain_views().login(AGENT), &statements);
    let leaked = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(leaked >= 100, "{leaked} of {} cases of leaks.sql raise an error on plain views", statements.len());
}

/// An answer as both protocols give it: text rows with their column names, then binary rows with their types.
#[derive(Debug, PartialEq)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    types: Vec<String>,
    binary: Vec<Vec<Option<Vec<u8>>>>,
}

fn compare(cases: &str, at_least: usize, reference: &Login) {
    let statements = read(cases);
    assert!(statements.len() >= at_least, "{cases} holds {} statements", statements.len());
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let expected = answers(reference, &statements);
    let seen = answers(&pgwicket.login(), &statements);
    let differences =
        statements.iter().zip(expected).zip(seen).filter_map(|((statement, expected), seen)| difference(statement, &expected, &seen));
    let wrong: Vec<String> = differences.collect();
    assert!(wrong.is_empty(), "{} of {} statements differ\n\n{}", wrong.len(), statements.len(), wrong.join("\n\n"));
}

fn read(path: &str) -> Vec<Statement> {
    statements(&fs::read_to_string(repository(path)).unwrap())
}

/// Every answer, in one session.
fn answers(login: &Login, statements: &[Statement]) -> Vec<Result<Answer, String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = login.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for statement in statements {
            answers.push(ask(&client, &statement.text).await);
        }
        answers
    })
}

fn difference(statement: &Statement, expected: &Result<Answer, String>, seen: &Result<Answer, String>) -> Option<String> {
    let same = match (expected, seen) {
        (Ok(expected), Ok(seen)) => {
            let ordered = statement.text.to_lowercase().contains("order by");
            expected.columns == seen.columns
                && expected.types == seen.types
                && same_rows(&expected.rows, &seen.rows, ordered)
                && same_rows(&expected.binary, &seen.binary, ordered)
        }
        (Ok(_) | Err(_), _) => false, // cases are statements that work
    };
    let said = |answer: &Result<Answer, String>| answer.as_ref().map_or_else(Clone::clone, shortened);
    (!same).then(|| format!("{}: {}\n  direct:   {}\n  pgwicket: {}", statement.name, statement.text, said(expected), said(seen)))
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

async fn ask(client: &Client, statement: &str) -> Result<Answer, String> {
    let said = |error: tokio_postgres::Error| match error.as_db_error() {
        Some(refused) => format!("{} {}", refused.code().code(), refused.message()),
        None => format!("client error: {error}"),
    };
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    for message in client.simple_query(statement).await.map_err(said)? {
        if let SimpleQueryMessage::RowDescription(described) = &message {
            columns = described.iter().map(|column| column.name().to_owned()).collect();
        } else if let SimpleQueryMessage::Row(row) = &message {
            rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
        }
    }
    let prepared = client.prepare(statement).await.map_err(said)?;
    let types = prepared.columns().iter().map(|column| type_name(column.type_())).collect();
    let binary = client.query(&prepared, &[]).await.map_err(said)?;
    let bytes = |row: &tokio_postgres::Row| (0..row.len()).map(|column| row.get::<_, Option<Raw>>(column).map(|raw| raw.0)).collect();
    Ok(Answer { columns, rows, types, binary: binary.iter().map(bytes).collect() })
}

/// Types of the source that are not built in: a whole row is a record, an enum travels as text.
fn type_name(column: &Type) -> String {
    if matches!(column.kind(), Kind::Composite(_)) {
        "record".to_owned()
    } else if matches!(column.kind(), Kind::Enum(_)) {
        "text".to_owned()
    } else {
        column.name().to_owned()
    }
}
