//! The room against real PostgreSQL servers. In the crate, since only tests in it can make a permit by hand.

mod lending;
mod reaching;
mod reading;
mod server;
mod sharing;
mod streaming;

use std::{rc::Rc, sync::Arc};

use crate::govern::GovernedStatement;

use super::{BindParameters, Event, Lease, Pool, Settings, SourceError, TransactionStatus};

/// Runs on a lane's kind of runtime.
fn lane(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn statement(text: &str) -> Arc<GovernedStatement> {
    GovernedStatement::for_tests(text, &[], Vec::new())
}

/// A connection under the settings that a session starts with: one copy of them, as a lane has.
async fn acquire(pool: &Pool) -> Lease {
    thread_local! {
        static SETTINGS: Rc<Settings> = Rc::default();
    }
    let settings = SETTINGS.with(Rc::clone);
    pool.acquire(&settings).await.unwrap()
}

/// Queues one parameterless statement up to its Execute.
fn queue(lease: &mut Lease, statement: &Arc<GovernedStatement>) {
    lease.prepare(statement);
    lease.bind(statement, "", &BindParameters::default()).unwrap();
    lease.execute("", 0);
}

/// What came up to ReadyForQuery, in short: `rows` are the text values of each row, joined by commas.
async fn answers(lease: &mut Lease) -> Result<Vec<String>, SourceError> {
    lease.send().await;
    let mut found = Vec::new();
    loop {
        let event = lease.next().await?;
        found.push(match event {
            Event::Rows { bytes, .. } => rows(bytes).join(";"),
            Event::Prepared => "prepared".to_owned(),
            Event::Controlled { tag } => tag.to_owned(),
            Event::Message { tag: b'C', body } => String::from_utf8_lossy(&body[..body.len() - 1]).into_owned(),
            Event::Message { tag, .. } => char::from(tag).to_string(),
            Event::Error(error) => error.sqlstate.to_string(),
            Event::Ready(status) => {
                found.push(char::from(status.byte()).to_string());
                return Ok(found);
            }
        });
    }
}

/// Runs one parameterless statement and returns what came, in short.
async fn run(lease: &mut Lease, text: &str) -> Vec<String> {
    queue(lease, &statement(text));
    lease.sync();
    answers(lease).await.unwrap()
}

/// The first row of a statement that gives one.
async fn value(lease: &mut Lease, text: &str) -> String {
    let answers = run(lease, text).await;
    assert_eq!(answers.last().map(String::as_str), Some("I"), "{answers:?}");
    answers[2].clone()
}

fn rows(mut bytes: &[u8]) -> Vec<String> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let length = i32::from_be_bytes(bytes[1..5].try_into().unwrap());
        let (message, rest) = bytes.split_at(1 + usize::try_from(length).unwrap());
        assert_eq!(message[0], b'D');
        bytes = rest;
        let mut cells = Vec::new();
        let mut body = &message[7..];
        while !body.is_empty() {
            let length = i32::from_be_bytes(body[..4].try_into().unwrap());
            let size = usize::try_from(length).unwrap_or(0);
            cells.push(if length < 0 { "NULL".into() } else { String::from_utf8_lossy(&body[4..4 + size]).into_owned() });
            body = &body[4 + size..];
        }
        rows.push(cells.join(","));
    }
    rows
}

fn idle(lease: &Lease) -> bool {
    lease.transaction_status() == TransactionStatus::Idle
}
