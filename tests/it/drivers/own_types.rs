//! Types that are not built in, by real clients: enums, domains, composite types, ranges, multiranges and arrays of these, over a
//! source whose every row the agent may see. Its reader and an agent must see the same, numbers of types included.

use std::{error::Error, fmt::Write as _};

use sqlx::{
    Executor as _, Row as _, SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _,
    postgres::{PgArgumentBuffer, PgConnectOptions, PgHasArrayType, PgPoolOptions, PgTypeInfo, PgValueRef},
};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, private::BytesMut, to_sql_checked};

use super::{compare_on, python, same_on, table};
use crate::support::{Cluster, Database, Login, PASSWORD, Pgwicket, Raw, repository, run};

/// The source, who reads it directly, and pgwicket over it.
pub(super) fn servers() -> (Login, Pgwicket) {
    let source: Database = Cluster::own().empty_here("types_reader");
    run(source.psql().arg("-q").arg("-f").arg(repository("tests/drivers/types/source.sql"))).ok();
    let policy = std::fs::read_to_string(repository("tests/drivers/types/policy.yaml")).unwrap();
    (source.login("types_reader"), Pgwicket::start_with(&source, &policy))
}

#[test]
fn psycopg_in_text_fetches_registers_and_sends_types_of_the_source() {
    same_on(servers(), |login| python(login, &["psycopg_types.py", "text"]));
}

#[test]
fn psycopg_in_binary_fetches_registers_and_sends_types_of_the_source() {
    same_on(servers(), |login| python(login, &["psycopg_types.py", "binary"]));
}

#[test]
fn asyncpg_introspects_and_gives_codecs_to_types_of_the_source() {
    same_on(servers(), |login| python(login, &["asyncpg_types.py"]));
}

#[test]
fn a_value_that_a_domain_does_not_take_names_no_constraint() {
    let (_, pgwicket) = servers();
    let mut wire = pgwicket.login().wire().unwrap();
    let reply = wire.simple("select id from things where prices = '{-1}'").unwrap();
    let error = reply.iter().find(|message| message.tag == b'E').unwrap();
    assert_eq!(error.field('C').as_deref(), Some("23514"));
    assert!(!error.strings().concat().contains("price_is_positive"), "{:?}", error.strings());
}

#[test]
fn tokio_postgres_looks_types_of_the_source_up() {
    let steps = compare_on(servers(), by_tokio_postgres);
    let driven = "enums, domains, composites, ranges, arrays of them: looked up, decoded, sent";
    table::row("tokio-postgres, own types", &table::crate_version("tokio-postgres"), driven, steps);
}

#[test]
fn sqlx_reads_and_sends_enums_and_looks_types_of_the_source_up() {
    let steps = compare_on(servers(), by_sqlx);
    let driven = "enums as types of a program, arrays of them; other types looked up";
    table::row("sqlx, own types", &table::crate_version("sqlx"), driven, steps);
}

const COLUMNS: [&str; 13] =
    ["mood", "past", "price", "prices", "label", "home", "places", "visit", "size", "open", "opens", "spans", "feeling"];

/// A value sent as its binary form, whatever its type.
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

/// An enum, as `postgres-derive` would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mood(String);

fn is_mood(of: &Type) -> bool {
    of.name() == "mood" && matches!(of.kind(), Kind::Enum(labels) if labels.iter().any(|label| label == "happy"))
}

impl<'a> FromSql<'a> for Mood {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(of: &Type) -> bool {
        is_mood(of)
    }
}

impl ToSql for Mood {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        is_mood(of)
    }

    to_sql_checked!();
}

fn by_tokio_postgres(login: &Login) -> String {
    crate::support::block_on(async {
        let client = login.connect().await;
        client.batch_execute("set search_path = shop").await.unwrap();
        let mut seen = String::new();
        for column in COLUMNS {
            let prepared = client.prepare(&format!("select {column} from things order by id")).await.unwrap();
            let of = prepared.columns()[0].type_();
            writeln!(seen, "{column} is {} {}.{} {:?}", of.oid(), of.schema(), of.name(), of.kind()).unwrap();
            for row in client.query(&prepared, &[]).await.unwrap() {
                writeln!(seen, "{column} {:02x?}", row.get::<_, Option<Raw>>(0).map(|raw| raw.0)).unwrap();
            }
            // What a parameter beside it is.
            let beside = client.prepare(&format!("select id from things where {column} = $1")).await.unwrap();
            writeln!(seen, "beside {column} {:?}", beside.params()).unwrap();
        }
        for row in client.query("select mood, past from things order by id", &[]).await.unwrap() {
            let (mood, past) = (row.get::<_, Option<Mood>>(0), row.get::<_, Option<Vec<Option<Mood>>>>(1));
            writeln!(seen, "typed {mood:?} {past:?}").unwrap();
        }
        let happy = Mood("happy".to_owned());
        let several = vec![Mood("sad".to_owned()), happy.clone()];
        let mut found = |rows: Result<Vec<tokio_postgres::Row>, tokio_postgres::Error>, what: &str| {
            let said = match rows {
                Ok(rows) => format!("{:?}", rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>()),
                Err(error) => format!("{:?}", error.code()),
            };
            writeln!(seen, "{what} {said}").unwrap();
        };
        found(client.query("select id from things where mood = $1", &[&happy]).await, "an enum");
        found(client.query("select id from things where mood = any($1) order by id", &[&several]).await, "enums");
        found(client.query("select id from things where mood = $1", &[&Mood("nothing".to_owned())]).await, "no label");
        // A row is sent as it came.
        for column in COLUMNS {
            let row = client.query_one(&format!("select {column} from things where id = 1"), &[]).await.unwrap();
            let bytes = Bytes(row.get::<_, Raw>(0).0);
            found(client.query(&format!("select id from things where {column} = $1 order by id"), &[&bytes]).await, column);
        }
        seen
    })
}

impl sqlx::Type<sqlx::Postgres> for Mood {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("mood")
    }
}

impl PgHasArrayType for Mood {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("mood")
    }
}

impl<'r> sqlx::Decode<'r, sqlx::Postgres> for Mood {
    fn decode(value: PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(Self(<&str as sqlx::Decode<sqlx::Postgres>>::decode(value)?.to_owned()))
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for Mood {
    fn encode_by_ref(&self, out: &mut PgArgumentBuffer) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        <&str as sqlx::Encode<sqlx::Postgres>>::encode(&self.0, out)
    }
}

fn by_sqlx(login: &Login) -> String {
    crate::support::block_on(async {
        let options = PgConnectOptions::new().host("127.0.0.1").port(login.port).username(&login.user).password(PASSWORD);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.database(&login.database)).await.unwrap();
        sqlx::raw_sql("set search_path = shop").execute(&pool).await.unwrap();
        let mut seen = String::new();
        // sqlx knows no multiranges.
        for column in COLUMNS.iter().filter(|column| **column != "opens") {
            let text = sqlx::AssertSqlSafe(format!("select {column} from things order by id"));
            for row in sqlx::query(text).fetch_all(&pool).await.unwrap() {
                let value = row.try_get_raw(0).unwrap();
                let bytes = (!value.is_null()).then(|| value.as_bytes().unwrap().to_vec());
                writeln!(seen, "{column} {} {:?} {bytes:02x?}", value.type_info().name(), value.type_info().kind()).unwrap();
            }
        }
        for column in COLUMNS.iter().filter(|column| **column != "opens") {
            let text = sqlx::AssertSqlSafe(format!("select id from things where {column} is not distinct from $1"));
            let described = pool.prepare(text.into_sql_str()).await.unwrap();
            writeln!(seen, "beside {column} {:?}", described.parameters()).unwrap();
        }
        let typed = "select mood, past from things order by id";
        for (mood, past) in sqlx::query_as::<_, (Option<Mood>, Option<Vec<Option<Mood>>>)>(typed).fetch_all(&pool).await.unwrap() {
            writeln!(seen, "typed {mood:?} {past:?}").unwrap();
        }
        let happy = Mood("happy".to_owned());
        let one = sqlx::query_as("select id from things where mood = $1").bind(&happy).fetch_all(&pool).await;
        let among = sqlx::query_as("select id from things where mood = any($1) order by id");
        let among = among.bind(vec![Mood("sad".to_owned()), happy]).fetch_all(&pool).await;
        let wrong = sqlx::query_as("select id from things where mood = $1").bind(Mood("nothing".to_owned())).fetch_all(&pool).await;
        for (what, found) in [("an enum", one), ("enums", among), ("no label", wrong)] {
            let found: Result<Vec<(i64,)>, String> =
                found.map_err(|error| error.as_database_error().map_or(error.to_string(), |error| error.code().unwrap().into_owned()));
            writeln!(seen, "{what} {found:?}").unwrap();
        }
        seen
    })
}
