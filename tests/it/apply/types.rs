//! Every type survives: from text to text and back, byte for byte, and a concurrent change of it is seen.

use pgwicket::source::{Difference, Divergence, Ending};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{Bench, WORKER, proposal, update};

/// Type, two values of it in the form of its output function.
const TYPES: &[(&str, &str, &str)] = &[
    ("smallint", "-32768", "32767"),
    ("integer", "-2147483648", "0"),
    ("bigint", "9223372036854775807", "-9223372036854775808"),
    ("numeric", "0.10000000000000000001", "-99999999999999999999999999999999999999.5"),
    ("numeric", "1.0", "1.00"),
    ("numeric", "NaN", "Infinity"),
    ("numeric(10,2)", "12345678.90", "-0.01"),
    ("real", "-0", "0"),
    ("real", "1e-45", "3.4028235e+38"),
    ("double precision", "-0", "0"),
    ("double precision", "NaN", "-Infinity"),
    ("double precision", "0.1", "0.30000000000000004"),
    ("money", "$1,234.50", "-$0.01"),
    ("boolean", "t", "f"),
    ("text", "", "a'b\"c\\d\n%s $1 ü €"),
    ("text", "x", "x "),
    ("varchar(5)", "ab", "ab "),
    ("char(5)", "ab   ", "abc  "),
    ("\"char\"", "x", "y"),
    ("name", "n1", "n2"),
    ("bytea", "\\x", "\\x00ff27"),
    ("date", "4713-01-01 BC", "infinity"),
    ("time", "00:00:00", "23:59:59.999999"),
    ("timetz", "04:05:06.789-08", "04:05:06.789+00"),
    ("timestamp", "2026-01-02 03:04:05.000001", "-infinity"),
    ("timestamptz", "2026-01-02 03:04:05.000001+00", "0001-01-01 00:00:00+00 BC"),
    ("interval", "1 year 2 mons -3 days +04:05:06.000007", "1 mon"),
    ("interval", "1 day", "24:00:00"),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"),
    ("json", "{\"b\": 1,  \"a\":2}", "{\"b\": 1, \"a\":2}"),
    ("jsonb", "{\"a\": 1.0}", "{\"a\": 1.00}"),
    ("xml", "<a>1</a>", "<a>1</a> "),
    ("inet", "10.0.0.1", "10.0.0.1/8"),
    ("cidr", "10.0.0.0/8", "2001:db8::/32"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    ("bit(3)", "101", "000"),
    ("varbit", "", "1"),
    ("point", "(1,2)", "(1,-0)"),
    ("line", "{1,2,3}", "{1,2,4}"),
    ("lseg", "[(0,0),(1,1)]", "[(0,0),(1,2)]"),
    ("box", "(1,1),(0,0)", "(2,1),(0,0)"),
    ("path", "((0,0),(1,1))", "[(0,0),(1,1)]"),
    ("polygon", "((0,0),(1,1),(1,0))", "((0,0),(1,1),(2,0))"),
    ("circle", "<(0,0),1>", "<(0,0),2>"),
    ("tsvector", "'a':1A 'b':2", "'a':1"),
    ("tsquery", "'a' & !'b'", "'a' | 'b'"),
    ("int4range", "[1,5)", "empty"),
    ("tstzrange", "[\"2026-01-01 00:00:00+00\",)", "(,)"),
    ("int4multirange", "{[1,3),[5,8)}", "{}"),
    ("integer[]", "{1,NULL,3}", "[0:1]={1,2}"),
    ("text[]", "{a,\"b,c\",NULL,\"NULL\",\"\"}", "{}"),
    ("numeric[]", "{{1.0,2},{3,4}}", "{{1.00,2},{3,4}}"),
    ("mood", "glad", "very sad"),
    ("mood[]", "{glad}", "{\"very sad\"}"),
    ("positive", "1", "2"),
    ("pair", "(,)", "(1,\"a b\")"),
    ("pair[]", "{\"(1,a)\"}", "{\"(,)\"}"),
    ("oid", "4294967295", "0"),
    ("jsonpath", "$.\"a\"", "$.\"b\""),
    ("text collate same_letters", "abc", "ABC"),
    ("ext.citext", "Hidden", "hidden"),
    ("ext.citext[]", "{a,B}", "{A,B}"),
    ("ext.ltree", "Top.A", "Top.a"),
    ("ext.ltree[]", "{Top,Top.A}", "{Top}"),
    ("ext.lquery", "Top.*{1}", "Top.*{2}"),
    ("ext.hstore", "\"a\"=>\"1\"", "\"a\"=>NULL"),
    ("mail", "Ada@x", "ada@x"),
];

#[tokio::test]
async fn every_type_is_applied_and_guarded_to_the_letter() {
    let columns: Vec<String> = TYPES.iter().enumerate().map(|(place, (name, ..))| format!("c{place} {name}")).collect();
    let names: Vec<String> = (0..TYPES.len()).map(|place| format!("c{place}")).collect();
    let bench = Bench::new(
        &format!(
            "create schema ext; create extension citext schema ext; create extension ltree schema ext; create extension hstore schema ext; \
             create domain mail as ext.citext check (value OPERATOR(ext.<>) ''); \
             create type mood as enum ('glad', 'very sad'); create domain positive as integer check (value > 0); \
             create type pair as (a integer, b text); \
             create collation same_letters (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             create table types (id int primary key, tenant text not null, {}); insert into types values (1, 'acme')",
            columns.join(", ")
        ),
        &format!(
            "      types: {{ from: public.types, tenant_column: tenant, columns: [id, {0}], writes: {{ update: [{0}] }} }}",
            names.join(", ")
        ),
    );
    let mut applier = bench.applier();
    let reader = reader(&bench).await;
    for ((type_name, one, other), column) in TYPES.iter().zip(&names) {
        let steps = [(None, Some(*one)), (Some(*one), Some(*other)), (Some(*other), Some(*one)), (Some(*one), None), (None, Some(*one))];
        for (before, after) in steps {
            let what = format!("{type_name}: {before:?} to {after:?}");
            let content = proposal("types", vec![update("1", column, before, after)]);
            bench.applied(&mut applier, &content, &what).await;
            assert_eq!(value(&reader, column).await.as_deref(), after, "{what}");
        }
        let content = proposal("types", vec![update("1", column, Some(one), None)]);
        for found in [Some(*other), None] {
            let now = found.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")));
            bench.database.sql(&format!("update types set {column} = {now}"));
            let content =
                if found.is_none() { proposal("types", vec![update("1", column, Some(one), Some(other))]) } else { content.clone() };
            let expected = Difference {
                change: 0,
                what: Divergence::Column { column: column.as_str().into(), expected: Some((*one).into()), found: found.map(Into::into) },
            };
            let ending = bench.apply(&mut applier, &content).await.unwrap();
            assert_eq!(ending, Ending::Conflict { differences: vec![expected] }, "{type_name}: {one} became {found:?}");
        }
    }
}

/// A reader with the settings under which before-images are read.
async fn reader(bench: &Bench) -> Client {
    let (client, connection) = bench.database.login(WORKER).config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set extra_float_digits = 1; set bytea_output = 'hex'")
        .await
        .unwrap();
    client
}

async fn value(reader: &Client, column: &str) -> Option<String> {
    let answer = reader.simple_query(&format!("select {column} from types where id = 1")).await.unwrap();
    let row = answer.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None });
    row.unwrap().get(0).map(str::to_owned)
}
