//! sqlx: its pool, its prepared statements, its types, its `describe`.

use std::fmt::Write as _;

use futures_util::TryStreamExt as _;
use sqlx::{
    Column as _, Connection as _, Executor as _, PgConnection, PgPool, Row as _, SqlSafeStr as _, Statement as _, TypeInfo as _,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};

use crate::support::{Login, PASSWORD};

/// What it saw, one line a step.
pub(super) fn transcript(login: &Login) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options =
            PgConnectOptions::new().host("127.0.0.1").port(login.port).username(&login.user).password(PASSWORD).database(&login.database);
        let pool = PgPoolOptions::new().max_connections(3).connect_with(options.clone()).await.unwrap();
        let mut out = String::new();
        typed(&pool, &mut out).await;
        prepared(&pool, &mut out).await;
        refused(&pool, &mut out).await;
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        described(&mut connection, &mut out).await;
        out
    })
}

fn row(row: &PgRow) -> String {
    let names = row.columns().iter().map(|column| format!("{}:{}", column.name(), column.type_info().name()));
    names.collect::<Vec<_>>().join(",")
}

async fn typed(pool: &PgPool, out: &mut String) {
    type Ticket = (i64, String, Option<i16>, Vec<Option<String>>);
    let found: Vec<Ticket> =
        sqlx::query_as("select id, subject, rating::int2, tags from tickets where id < 40 and tags is not null order by id")
            .fetch_all(pool)
            .await
            .unwrap();
    for found in found {
        writeln!(out, "typed {found:?}").unwrap();
    }
    let kinds = sqlx::query("select 1::int4 as a, 2.5::float8 as b, true as c, null::text as d, 'é'::text as e, '\\x01'::bytea as f")
        .fetch_one(pool)
        .await
        .unwrap();
    let values = (
        kinds.get::<i32, _>(0),
        kinds.get::<f64, _>(1),
        kinds.get::<bool, _>(2),
        kinds.get::<Option<String>, _>(3),
        kinds.get::<Vec<u8>, _>("f"),
    );
    writeln!(out, "kinds {} {values:?}", row(&kinds)).unwrap();
    let mut stream = sqlx::query_as::<_, (i64,)>("select id from tickets where id < 80 order by id").fetch(pool);
    while let Some((id,)) = stream.try_next().await.unwrap() {
        writeln!(out, "streamed {id}").unwrap();
    }
}

async fn prepared(pool: &PgPool, out: &mut String) {
    for id in [1, 2, 3, 4, 10, 11_i64] {
        let found = sqlx::query("select id, subject, customer_id from tickets where id = $1 or id = any($2) order by id")
            .bind(id)
            .bind(vec![12_i64, 13])
            .fetch_all(pool)
            .await
            .unwrap();
        let subjects: Vec<String> = found.iter().map(|row| row.get("subject")).collect();
        writeln!(out, "prepared {id} {} {subjects:?}", row(&found[0])).unwrap();
    }
    let mut transaction = pool.begin().await.unwrap();
    let (isolation,): (String,) =
        sqlx::query_as("select current_setting('transaction_read_only')").fetch_one(&mut *transaction).await.unwrap();
    writeln!(out, "in a transaction {isolation}").unwrap();
    transaction.rollback().await.unwrap();
    let several = pool.fetch_all(sqlx::raw_sql("select 1; select id from tickets where id = 12")).await.unwrap();
    writeln!(out, "several {}", several.len()).unwrap();
}

async fn refused(pool: &PgPool, out: &mut String) {
    for text in [
        "select internal_notes from tickets",
        "selekt",
        "select 1 / (id - 1) from tickets where id = 1",
        "update tickets set priority = 'sqlx' where id = 42",
        "insert into tickets (id, subject) values (900001, 'x')",
        "delete from tickets where id = 42",
    ] {
        let error = sqlx::query(text).execute(pool).await.unwrap_err();
        writeln!(out, "refused {text} {:?}", error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned)))
            .unwrap();
    }
    let (count,): (i64,) = sqlx::query_as("select count(*) from tickets where id < 50").fetch_one(pool).await.unwrap();
    writeln!(out, "goes on {count}").unwrap();
}

/// What a statement says of itself before it runs.
async fn described(connection: &mut PgConnection, out: &mut String) {
    for text in [
        "select id, subject, rating from tickets where id = $1",
        "select c.id, count(t.id) from customers c left join tickets t on t.customer_id = c.id group by c.id",
    ] {
        let described = connection.prepare(text.into_sql_str()).await.unwrap();
        let columns: Vec<String> =
            described.columns().iter().map(|column| format!("{}:{}", column.name(), column.type_info().name())).collect();
        writeln!(out, "described {text} {columns:?}").unwrap();
    }
}
