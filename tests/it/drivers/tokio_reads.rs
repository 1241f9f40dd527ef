//! tokio-postgres against PostgreSQL or pgwicket: the wire's own bytes, types, portals, cancel.

use std::{error::Error, fmt::Write as _, time::Duration};

use tokio_postgres::{
    Client, IsolationLevel, NoTls, Row, SimpleQueryMessage,
    types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};

use crate::support::{Login, Raw};

/// A parameter sent as these bytes, whatever its type.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl ToSql for Bytes {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What this client saw, one line a step.
pub(super) fn transcript(login: &Login) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut client, connection) = login.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut seen = String::new();
        bytes_out(&client, &mut seen).await;
        parameters(&client, &mut seen).await;
        simple(&client, &mut seen).await;
        pipelined(&client, &mut seen).await;
        errors(&client, &mut seen).await;
        portals(&mut client, &mut seen).await;
        transactions(&mut client, &mut seen).await;
        canceled(&client, &mut seen).await;
        seen
    })
}

const READS: &[&str] = &[
    "select id, subject, priority, customer_id, assignee, rating, amount, tags, meta, public_id, secret, created_at, updated_at from tickets where id < 30 order by id",
    "select * from customers where id < 30 order by id",
    "select * from orders where id < 30 order by id",
    "select * from documents where id < 30 order by id",
    "select status::text from tickets where id < 30 order by id",
    "select array_agg(status::text order by id) from tickets where id < 30",
    "select 1::int2, 2::int4, 3::int8, 1.5::float4, 'NaN'::float8, -1.10::numeric, true, 'x'::text, 'y'::varchar(3), 'z'::char(4), ''::text, null::text",
    "select date '2024-02-29', time '01:02:03.000004', timestamp 'infinity', timestamptz '2024-01-01 00:00:00+14', interval '1 mon 2 days 3.5 s'",
    "select '\\xdeadbeef'::bytea, '{\"a\": null}'::jsonb, '[1 ]'::json, array[1, null]::int8[], array[['a'], [null]]::text[], '{}'::uuid[]",
    "select '(1,2)'::point, int4range(1, 5), '10.0.0.0/8'::inet, '$1.50'::money, b'101'::bit(3), '<a/>'::xml, 'a b'::tsvector",
    "select t from (select id, subject from tickets where id < 3 order by id) t",
    "values (1, 'one'), (2, null)",
];

async fn bytes_out(client: &Client, seen: &mut String) {
    for statement in READS {
        match client.prepare(statement).await {
            Ok(prepared) => {
                let columns: Vec<String> =
                    prepared.columns().iter().map(|column| format!("{} {}", column.name(), column.type_())).collect();
                let rows = client.query(&prepared, &[]).await.map(|rows| rows.iter().map(raw).collect::<Vec<_>>());
                line(seen, statement, &format!("{columns:?} {}", said(rows)));
            }
            Err(error) => line(seen, statement, &said::<()>(Err(error))),
        }
    }
}

macro_rules! given {
    ($($value:expr),*) => { vec![$(Box::new($value) as Box<dyn ToSql + Sync>),*] };
}

async fn parameters(client: &Client, seen: &mut String) {
    let cases = [
        ("select $1::int2, $2::int4, $3::int8", given![1_i16, 2_i32, 3_i64]),
        ("select $1::float4, $2::float8, $3::bool", given![f32::NAN, -0.0_f64, true]),
        ("select $1::text, $2::varchar, $3::bytea", given!["žluť 🐎", "", &b"\x00\xff"[..]]),
        ("select $1::int4[], $2::text[]", given![&[Some(1), None][..], &["", "a,b"][..]]),
        ("select $1::text, $2::int4, $1 is null", given![None::<&str>, None::<i32>]),
        ("select $2::int4, $1::int4", given![1, 2]),
        ("select $1::uuid, $2::timestamptz", given![Bytes([7; 16].into()), Bytes([0, 0, 0, 0, 0, 0, 0, 9].into())]),
        ("select id, subject from tickets where id = $1", given![12_i64]),
        ("select id from tickets where id = any($1) and subject like $2 order by id", given![&[1_i64, 2, 3, 4][..], "%o%"]),
        ("select id from tickets where $1 and id < $2 order by id", given![true, 12_i64]),
        ("select count(*) from tickets where status = $1::text::ticket_status_that_is_not", given!["open"]),
        ("select id from tickets where tags @> $1 and id < 60 order by id", given![&["billing"][..]]),
        ("select id from orders where placed_on = $1 and id < 60 order by id", given![Bytes(8766_i32.to_be_bytes().into())]),
        (
            "select count(*), min(id) from tickets where created_at < $1 and rating = $2",
            given![Bytes(757_400_000_000_000_i64.to_be_bytes().into()), 3_i16],
        ),
        ("select id from tickets order by id limit $1 offset $2", given![3_i64, 2_i64]),
    ];
    for (statement, parameters) in cases {
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(AsRef::as_ref).collect();
        let prepared = client.prepare(statement).await;
        let types = prepared.as_ref().map(|prepared| prepared.params().to_vec()).unwrap_or_default();
        let rows = match prepared {
            Ok(prepared) => client.query(&prepared, &parameters).await.map(|rows| rows.iter().map(raw).collect::<Vec<_>>()),
            Err(error) => Err(error),
        };
        line(seen, statement, &format!("{types:?} {}", said(rows)));
    }
    let again = client.prepare("select subject from tickets where id = $1").await.unwrap();
    for id in 0..12_i64 {
        let row = client.query_opt(&again, &[&id]).await;
        line(seen, "one statement again", &said(row.map(|row| row.as_ref().map(raw))));
    }
}

async fn simple(client: &Client, seen: &mut String) {
    for statement in READS {
        let answer = client.simple_query(statement).await.map(|messages| messages.iter().map(message).collect::<Vec<_>>());
        line(seen, &format!("simple {statement}"), &said(answer));
    }
    for statement in ["", ";", "/* nothing */", "-- nothing", "select 1;", " ; select 1 ; "] {
        let answer = client.simple_query(statement).await.map(|messages| messages.iter().map(message).collect::<Vec<_>>());
        line(seen, &format!("simple {statement:?}"), &said(answer));
    }
}

async fn pipelined(client: &Client, seen: &mut String) {
    let (by_id, count) =
        (client.prepare("select subject from tickets where id = $1"), client.prepare("select count(*) from orders where quantity = $1"));
    let (by_id, count) = tokio::try_join!(by_id, count).unwrap();
    let (one, two, bad, last) = tokio::join!(
        client.query_one(&by_id, &[&1_i64]),
        client.query_one(&count, &[&2_i32]),
        client.query_one("select 1 / $1::int4", &[&0_i32]),
        client.query_one(&by_id, &[&4_i64]),
    );
    for answer in [one, two, bad, last] {
        line(seen, "pipelined", &said(answer.map(|row| raw(&row))));
    }
}

async fn errors(client: &Client, seen: &mut String) {
    let refused = [
        "select internal_notes from tickets",
        "select t.tenant_id from tickets t",
        "select * from nowhere",
        "select * from public.tickets",
        "selekt",
        "select 1 / (id - 1) from tickets where id = 1",
        "select no_such_function(id) from tickets",
        "update tickets set priority = 'high' where id = 42",
        "with gone as (delete from tickets returning *) select * from gone",
        "insert into tickets (id, subject) values (999999, 'x')",
        "select id from tickets where subject = 1",
        "select sum(subject) from tickets",
        "select id, count(*) from tickets",
        "select 'x'::int4",
        "select $1",
    ];
    for statement in refused {
        line(seen, &format!("error {statement}"), &said(client.query(statement, &[]).await.map(|rows| rows.len())));
        line(seen, &format!("simple error {statement}"), &said(client.simple_query(statement).await.map(|messages| messages.len())));
    }
    line(seen, "still there", &said(client.query_one("select count(*) from documents", &[]).await.map(|row| row.get::<_, i64>(0))));
}

async fn portals(client: &mut Client, seen: &mut String) {
    let transaction = client.transaction().await.unwrap();
    let first = transaction.bind("select id from tickets where id > $1 order by id", &[&50_i64]).await.unwrap();
    let second = transaction.bind("select title from documents order by id", &[]).await.unwrap();
    for (portal, rows) in [(&first, 2), (&second, 1), (&first, 3), (&second, 4), (&first, 1)] {
        let part = transaction.query_portal(portal, rows).await;
        line(seen, "two portals in turn", &said(part.map(|rows| rows.iter().map(raw).collect::<Vec<_>>())));
    }
    let all = transaction.bind("select id from orders where id < 20", &[]).await.unwrap();
    let drained = transaction.query_portal(&all, 0).await.map(|rows| rows.len());
    line(seen, "a portal to its end", &said(drained));
    line(seen, "and past it", &said(transaction.query_portal(&all, 5).await.map(|rows| rows.len())));
    transaction.commit().await.unwrap();
}

async fn transactions(client: &mut Client, seen: &mut String) {
    for isolation in [IsolationLevel::ReadCommitted, IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        let mut transaction = client.build_transaction().isolation_level(isolation).read_only(true).start().await.unwrap();
        let level = transaction.query_one("show transaction_isolation", &[]).await.map(|row| row.get::<_, String>(0));
        line(seen, "transaction", &said(level));
        let savepoint = transaction.savepoint("a").await.unwrap();
        line(seen, "inside a savepoint", &said(savepoint.query_one("select 1 / 0", &[]).await.map(|row| raw(&row))));
        line(seen, "after its error", &said(savepoint.query_one("select 1", &[]).await.map(|row| raw(&row))));
        savepoint.rollback().await.unwrap();
        line(seen, "after the savepoint", &said(transaction.query_one("select count(*) from orders", &[]).await.map(|row| raw(&row))));
        transaction.commit().await.unwrap();
    }
    for statement in [
        "begin",
        "select 1/0",
        "select 1",
        "commit",
        "begin",
        "savepoint a",
        "release b",
        "rollback to a",
        "rollback",
        "commit",
        "rollback to a",
        "begin read only",
        "end",
    ] {
        let answer = client.simple_query(statement).await.map(|messages| messages.iter().map(message).collect::<Vec<_>>());
        line(seen, &format!("by hand: {statement}"), &said(answer));
    }
}

async fn canceled(client: &Client, seen: &mut String) {
    let token = client.cancel_token();
    let endless = client.simple_query("select count(*) from tickets a, tickets b, tickets c where a.amount + b.amount + c.amount = 1");
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (answer, ()) = tokio::join!(endless, cancel);
    line(seen, "canceled", &said(answer.map(|messages| messages.len())));
    line(seen, "after the cancel", &said(client.query_one("select 1", &[]).await.map(|row| raw(&row))));
}

fn line(seen: &mut String, step: &str, what: &str) {
    writeln!(seen, "{step} => {}", what.replace('\n', " ")).unwrap();
}

/// An answer, or SQLSTATE and severity of the error: words may differ, codes may not.
fn said<T: std::fmt::Debug>(answer: Result<T, tokio_postgres::Error>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(error) => match error.as_db_error() {
            Some(refused) => format!("{} {}", refused.severity(), refused.code().code()),
            None => format!("client error: {error}"),
        },
    }
}

fn raw(row: &Row) -> String {
    let value = |column| row.get::<_, Option<Raw>>(column).map_or_else(|| "null".to_owned(), |Raw(bytes)| hex(&bytes));
    (0..row.len()).map(value).collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn message(message: &SimpleQueryMessage) -> String {
    match message {
        SimpleQueryMessage::Row(row) => (0..row.len()).map(|column| format!("{:?}", row.get(column))).collect::<Vec<_>>().join(" "),
        SimpleQueryMessage::RowDescription(columns) => {
            format!("columns {:?}", columns.iter().map(tokio_postgres::SimpleColumn::name).collect::<Vec<_>>())
        }
        SimpleQueryMessage::CommandComplete(rows) => format!("complete {rows}"),
        _ => "something new".to_owned(),
    }
}
