//! What a policy says is the same under all settings of an agent's session: row filters choose the same rows, masks give the same text,
//! and an error of a filter tells no value that the agent does not see.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use serde_json::Value as Json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{AGENT, Cluster, Database, PASSWORD, Pgwicket, block_on, repository, run};

/// What an agent may set, alone and together; the first are the defaults.
const SETTINGS: &[&[&str]] = &[
    &[],
    &["timezone = 'Etc/GMT+12'"],
    &["timezone = 'Asia/Kolkata'", "datestyle = 'SQL, DMY'"],
    &["timezone = 'America/New_York'", "datestyle = 'German'", "intervalstyle = 'sql_standard'"],
    &["datestyle = 'Postgres, MDY'", "intervalstyle = 'iso_8601'", "extra_float_digits = -15", "bytea_output = 'escape'"],
    &["timezone = '<-03>3:15'", "datestyle = 'ISO, DMY'", "extra_float_digits = 3", "intervalstyle = 'postgres_verbose'"],
];

/// Filters that are taken: they choose what PostgreSQL chooses under its defaults, in UTC.
const TAKEN: &[&str] = &[
    "ts < '2024-06-01 05:00'",
    "ts >= timestamptz '2024-06-01T05:00:00+02'",
    "ts between '2024-06-01' and '2024-06-02 06:00'",
    "ts in ('2024-06-01 00:00', '2024-06-01 02:15', '2024-06-02 03:35:00+00')",
    "ts in ('2024-06-01 02:15')",
    "ts = any (array['2024-06-01 02:15', '2024-05-31 15:10']::timestamptz[])",
    "d <= '2024-05-01'",
    "dd > '2024-5-2'",
    "d = any (array['2024-06-01'::date, date '2024-05-03'])",
    "lt < '2024-06-01 05:00'",
    "lt >= timestamp '2024-06-01'",
    "ts > now() - interval '90 days' or n = 1",
    "now() - interval '1 month' < ts",
    "current_timestamp - '90 days'::interval < ts",
    "ts + interval '1 day' > '2024-06-03'",
    "interval '1 month 1 day' + ts > '2024-07-03'",
    "ts - ts2 > '20:00'",
    "(ts at time zone 'Asia/Kolkata')::date = '2024-06-01'",
    "date_trunc('day', ts at time zone 'UTC') = '2024-06-01'",
    "date_trunc('day', ts, 'Asia/Kolkata') > '2024-06-01'",
    "extract(hour from ts at time zone 'UTC') < 5",
    "extract(dow from d) = 1",
    "date_bin('1 day', ts, '2024-01-01') = '2024-06-02'",
    "coalesce(ts, '2024-06-02') > '2024-06-01 12:00'",
    "case when n > 3 then ts else '2024-06-01 01:00' end < '2024-06-01 05:00'",
    "case n when 3 then ts > '2024-06-01' when 4 then false end",
    "nullif(ts, '2024-06-01 02:15') is null",
    "ts is distinct from '2024-06-01 02:15'",
    "not (ts is not distinct from '2024-06-01 02:15')",
    "tt < '05:00'",
    "tz >= '12:00'",
    "iv > '1 day'",
    "iv = interval '2 hours' - interval '3 days 01:02:03' or iv > '-2 days'",
    "make_interval(0, 0, 0, 1, 6) < iv",
    "f > 0.5",
    "f::numeric > 0.5",
    "round(f) = 3",
    "f = '0.5' or f4 > 1",
    "mo = mo2",
    "by = '\\x61623000ff'",
    "encode(by, 'hex') like '616231%'",
    "n::text = '1'",
    "n in (1, 2.5, 3)",
    "big > 5000000000",
    "nu between 1 and 2.5",
    "b and not b is null",
    "b is true",
    "u = 'c4ca4238-a0b9-2382-0dcc-509a6f75849b'",
    "vc in ('v1', 'v2') or bc = 'c3'",
    "name like 'a%' and name !~ '[02]'",
    "lower(name) = 'a1' or length(name) > 5",
    "j ->> 'a' = 'x1'",
    "j @> '{\"a\": \"x2\"}'",
    "(j ->> 'n')::int > 30",
    "js ->> 'k' = '1'",
    "j @? '$.n ? (@ > 20)'",
    "m = 'happy'",
    "m::text = 'sad'",
    "m in ('happy', 'sad')",
    "em = '5@x.example' or em like '1%'",
    "ad << '10.0.0.0/29'",
    "ad::text like '%1/32'",
    "tags @> array['x1']",
    "'x2' = any (tags)",
    "name = any ('{a1,a2}')",
    "array_length(tags, 1) = 2",
    "ir && '[1,2)'",
    "lower(ir) > 1",
    "dr @> date '2024-06-01'",
    "dr @> '2024-06-01'::date and lower(dr) > '2024-05-31'",
    "array['2024-06-01'::date] = da",
    "name || n::text = 'a11'",
    "name || n = 'a11'",
    "concat(name, n) = 'a11'",
    "date(lt) = '2024-06-01'",
    "bits = b'000000000101'",
    "to_tsvector('english', name) @@ to_tsquery('english', 'a1')",
];

/// Filters that settings move, or that are not certain: refused, each at its line.
const REFUSED: &[&str] = &[
    "d <= '05/01/2024'",
    "ts < '01.06.2024 05:00'",
    "ts in ('2024-06-01', '06/02/2024')",
    "ts < 'today'",
    "ts = 'now'",
    "d = 'tomorrow'",
    "d = current_date",
    "lt < localtimestamp",
    "tt < localtime",
    "tz < current_time",
    "ts::date = '2024-06-01'",
    "ts::text like '2024%'",
    "ts::time < '05:00'",
    "ts::timestamp < '2024-06-01'",
    "d::text = '2024-06-01'",
    "dd::text = '2024-06-01'",
    "d::timestamptz < now()",
    "lt::timestamptz < now()",
    "ts < d",
    "ts < lt",
    "d > now()",
    "coalesce(ts, d) < now()",
    "case when b then ts else lt end < now()",
    "to_char(ts, 'YYYY') = '2024'",
    "to_char(nu, '9') = '1'",
    "to_date(name, 'YYYY') = d",
    "date_trunc('day', ts) = '2024-06-01'",
    "date_trunc('day', d) = '2024-06-01'",
    "extract(hour from ts) < 5",
    "date_part('hour', ts) < 5",
    "age(ts) > '1 day'",
    "age(ts, ts2) > '1 day'",
    "date(ts) = '2024-06-01'",
    "date('05/01/2024') = d",
    "make_timestamptz(2024, 6, 1, 0, 0, 0) < ts",
    "f::text = '0.14'",
    "f4::text = '1'",
    "f::varchar = '0.14'",
    "fa::text = '{1}'",
    "da::text = '{2024-06-01}'",
    "by::text = 'ab'",
    "iv::text = '1 day'",
    "iv < '-1 2:03'",
    "iv < '1-2'",
    "mo > '5'",
    "mo::numeric > 5",
    "mo = 5::money",
    "mo::text = '$5.00'",
    "p::text = '(1,1)'",
    "dr::text = 'empty'",
    "dr @> '[05/01/2024,05/02/2024)'::daterange",
    "da = '{05/01/2024}'",
    "ts = any ('{2024-06-01 05:00}')",
    "name::date = d",
    "name::interval = iv",
    "name || f = 'x'",
    "name || ts = 'x'",
    "concat(name, ts) = 'x'",
    "concat_ws('-', name, d) = 'x'",
    "format('%s', f) = 'x'",
    "array_to_string(array[f], ',') = 'x'",
    "quote_literal(f) = 'x'",
    "to_jsonb(ts) = '\"x\"'",
    "json_build_object('a', ts) ->> 'a' = 'x'",
    "to_tsvector(name) @@ to_tsquery('english', 'a')",
    "jsonb_path_exists_tz(j, '$.a ? (@.datetime() > \"2024-01-01\".datetime())')",
    "j @? '$.a ? (@.datetime() > \"2024-01-01\".datetime())'",
    "timezone('UTC', tz) > '05:00'",
    "pr::text = 'x' and vi::text = 'x'",
    "name = 5",
    "m = name",
];

/// Columns whose masks are as under the defaults before there was a canonical form: their text under `DateStyle` ISO, `TimeZone` UTC and so on.
const SAME: &[&str] = &[
    "name", "n", "big", "nu", "b", "u", "vc", "bc", "ts", "lt", "d", "dd", "tt", "tz", "by", "j", "js", "m", "em", "ad", "tags", "ir",
    "pr", "bits",
];

/// Columns whose hash is one of their binary form.
const BINARY: &[(&str, &str)] = &[("f", "float8send"), ("f4", "float4send"), ("iv", "interval_send"), ("mo", "cash_send")];

/// Columns that `last` and `hash` refuse.
const UNMASKED: &[&str] = &["fa", "da", "dr", "p", "vi"];

fn source() -> Database {
    let source = Cluster::empty("settings_reader");
    run(source.psql().arg("-q").arg("-f").arg(repository("tests/it/settings/source.sql"))).ok();
    source
}

/// A policy with these relations over `kinds`, a line or more each.
fn policy(relations: &str) -> String {
    format!(
        "sources: {{app: {{kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable}}}}\nmask_key: \"env:MASK_KEY\"\nschemas:\n  desk:\n    source: app\n    relations:\n{relations}agents:\n  {AGENT}: {{auth: {{scram: \"env:SUPPORT_AGENT_PASSWORD\"}}, tenant: acme, schemas: [desk]}}\n"
    )
}

fn filtered(filters: &[&str]) -> String {
    let mut relations = String::new();
    for (number, filter) in filters.iter().enumerate() {
        let filter = serde_json::json!(filter);
        writeln!(relations, "      r{number}: {{from: public.kinds, tenant_column: tenant_id, columns: [id, n, name], where: {filter}}}")
            .unwrap();
    }
    relations
}

/// The problems that `policy check --live` has with a policy, by line.
fn problems(pgwicket: &Pgwicket, policy: &str) -> Vec<(usize, String)> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("policy.yaml"), policy).unwrap();
    let output = pgwicket.command().args(["policy", "check", "--live", "--json", "--policies"]).arg(directory.path()).output().unwrap();
    let report: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let problems = report["problems"].as_array().unwrap().iter().filter(|problem| problem["severity"] == "error");
    problems.map(|problem| (usize::try_from(problem["line"].as_u64().unwrap()).unwrap(), problem["message"].to_string())).collect()
}

async fn set(client: &Client, settings: &[&str]) {
    client.batch_execute("reset all").await.unwrap();
    for setting in settings {
        client.batch_execute(&format!("set {setting}")).await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
    }
}

/// The rows of a statement, or its error.
async fn rows(client: &Client, statement: &str) -> String {
    match client.simple_query(statement).await {
        Err(error) => format!("{:?}", error.as_db_error()),
        Ok(messages) => {
            let rows = messages.iter().filter_map(|message| {
                let SimpleQueryMessage::Row(row) = message else { return None };
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join("|"))
            });
            rows.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn a_row_filter_chooses_the_same_rows_under_all_settings() {
    let source = source();
    let pgwicket = Pgwicket::start_with(&source, &policy(&filtered(TAKEN)));
    let wrong = block_on(async {
        let (client, mut wrong) = (pgwicket.login().connect().await, Vec::new());
        for (number, filter) in TAKEN.iter().enumerate() {
            let ids = |from: &str| format!("select string_agg(id::text, ',' order by id) from {from}");
            let owned = format!("kinds where tenant_id = 'acme' and ({filter})");
            let right = source.sql(&format!("set timezone = 'UTC'; {}", ids(&owned)));
            for settings in SETTINGS {
                set(&client, settings).await;
                let found = rows(&client, &ids(&format!("r{number}"))).await.replace("NULL", "");
                if found != right.trim() {
                    wrong.push(format!("{filter}\n  under {settings:?}: {found}\n  right: {right}"));
                }
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_row_filter_that_settings_move_is_refused_where_it_stands() {
    let pgwicket = Pgwicket::start_with(&source(), &policy(&filtered(&["true"])));
    let problems = problems(&pgwicket, &policy(&filtered(REFUSED)));
    let taken = REFUSED.iter().enumerate().filter(|(number, _)| !problems.iter().any(|(line, _)| *line == number + 7));
    let taken: Vec<&str> = taken.map(|(_, filter)| *filter).collect();
    assert!(taken.is_empty(), "taken: {taken:#?}");
    let other: Vec<_> = problems.iter().filter(|(_, message)| !message.contains("settings") && !message.contains("not certain")).collect();
    assert!(other.len() <= 2, "{other:#?}"); // a literal in a function's place, a value of another type
}

#[test]
fn a_mask_gives_the_same_under_all_settings() {
    let source = source();
    let masks = |columns: &[&str], mask: &str| columns.iter().map(|column| format!("{column}: {mask}")).collect::<Vec<_>>().join(", ");
    let binary: Vec<&str> = BINARY.iter().map(|(column, _)| *column).collect();
    let both = [SAME, &binary].concat();
    let relation = |name: &str, columns: &[&str], mask: &str| {
        let list = columns.join(", ");
        format!(
            "      {name}: {{from: public.kinds, tenant_column: tenant_id, columns: [id, {list}], masks: {{{}}}}}\n",
            masks(columns, mask)
        )
    };
    let constants = "      fixed: {from: public.kinds, tenant_column: tenant_id, columns: [id, ts, d, dd, iv, m, em], masks: {ts: {constant: \"2024-06-01 05:00\"}, d: {constant: \"2024-06-01\"}, dd: {constant: \"2024-06-01\"}, iv: {constant: \"1 day\"}, m: {constant: sad}, em: {constant: hidden}}}\n";
    let relations = format!("{}{}{constants}", relation("tails", SAME, "{last: 4}"), relation("hashes", &both, "hash"));
    let pgwicket = Pgwicket::start_with(&source, &policy(&relations));
    block_on(async {
        let client = pgwicket.login().connect().await;
        let hash = |inner: String| format!("encode(sha256(convert_to('{PASSWORD}' || {inner}, 'UTF8')), 'hex')");
        let texts = both.iter().map(|column| match BINARY.iter().find(|(known, _)| known == column) {
            None => format!("{column}::text"),
            Some((_, send)) => format!("encode({send}({column}), 'hex')"),
        });
        let hashed: Vec<String> = texts.map(|text| format!("coalesce({}, 'NULL')", hash(hash(text)))).collect();
        let tails: Vec<String> = SAME
            .iter()
            .map(|column| {
                format!("coalesce('***' || right({column}::text, case when length({column}::text) > 4 then 4 else 0 end), 'NULL')")
            })
            .collect();
        let right = |columns: &[String]| {
            source.sql(&format!("set timezone = 'UTC'; select id, {} from kinds where tenant_id = 'acme' order by id", columns.join(", ")))
        };
        let (right_hashes, right_tails) = (right(&hashed), right(&tails));
        assert!(right_tails.contains("***") && right_hashes.len() > 10_000);
        for settings in SETTINGS {
            set(&client, settings).await;
            assert_eq!(rows(&client, "select * from hashes order by id").await, right_hashes.trim(), "{settings:?}");
            assert_eq!(rows(&client, "select * from tails order by id").await, right_tails.trim(), "{settings:?}");
            let moments = "select distinct extract(epoch from ts), d - date '2024-06-01', dd - date '2024-06-01', extract(epoch from iv), m, em from fixed where ts is not null and iv is not null";
            assert_eq!(rows(&client, moments).await, "1717218000.000000|0|0|86400.000000|sad|hidden", "{settings:?}");
        }
    });
}

#[test]
fn a_mask_without_a_canonical_form_is_refused_where_it_stands() {
    let pgwicket = Pgwicket::start_with(&source(), &policy(&filtered(&["true"])));
    let masked = UNMASKED.iter().flat_map(|column| [(*column, "hash"), (*column, "{last: 4}")]);
    let masked = masked.chain(BINARY.iter().map(|(column, _)| (*column, "{last: 4}")));
    let masked = masked.chain([
        ("d", "{constant: \"05/01/2024\"}"),
        ("ts", "{constant: today}"),
        ("iv", "{constant: \"-1 2:03\"}"),
        ("mo", "{constant: \"5\"}"),
    ]);
    let masked: Vec<(&str, &str)> = masked.collect();
    let mut relations = String::new();
    for (number, (column, mask)) in masked.iter().enumerate() {
        writeln!(
            relations,
            "      r{number}: {{from: public.kinds, tenant_column: tenant_id, columns: [id, {column}], masks: {{{column}: {mask}}}}}"
        )
        .unwrap();
    }
    let problems = problems(&pgwicket, &policy(&relations));
    let taken: Vec<_> = masked.iter().enumerate().filter(|(number, _)| !problems.iter().any(|(line, _)| *line == number + 7)).collect();
    assert!(taken.is_empty(), "taken: {taken:#?}");
}

#[test]
fn an_error_of_a_row_filter_tells_no_value() {
    // Casts, divisions, patterns, functions over columns that the agent does not see.
    let failing = [
        "length(hid) > 3 and hid::int > 5",
        "1 / (n - 3) > 0",
        "name ~ ('(' || hid)",
        "substring(hid, 1, n - 3) <> 'x'",
        "('\"' || hid)::jsonb is null",
    ];
    let relations =
        filtered(&failing) + "      plain: {from: public.kinds, tenant_column: tenant_id, columns: [id, n, name], where: \"n >= 0\"}\n";
    let relations =
        relations.replace("columns: [id, n, name], where", "columns: [id, n, name], primary_key: [id], writes: {update: [name]}, where");
    let pgwicket = Pgwicket::start_with(&source(), &policy(&relations));
    let secrets = ["hidden", "invalid regular", "zero", "substring", "\"a0", "\"a1", "\"a2", "json"];
    for (number, filter) in failing.iter().enumerate() {
        for statement in [
            format!("select count(*) from r{number}"),
            format!("select id from r{number} where name = 'a1'"),
            format!("begin; declare c cursor for select * from r{number}; fetch all from c"),
            format!("copy (select * from r{number}) to stdout"),
            format!("update r{number} set name = 'x'"),
            format!("prepare p as select * from r{number}; execute p"),
        ] {
            let mut wire = pgwicket.login().wire().unwrap();
            let reply = wire.simple(&statement).unwrap();
            let error = reply.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{filter}: {statement} succeeds"));
            let told = error.strings().concat();
            assert!(error.field('C').unwrap().starts_with("22"), "{statement}: {told}");
            assert!(told.contains("row filter") && !secrets.iter().any(|secret| told.contains(secret)), "{statement}: {told}");
        }
    }
    // The agent's own errors stay its own where the filter raises none, and where no row was read.
    let mut wire = pgwicket.login().wire().unwrap();
    for (statement, words) in [
        ("select name::int from plain where id = 1", "\"a1\""),
        ("select id from r0 where n = 'x'", "\"x\""),
        ("select nothing from r0", "nothing"),
    ] {
        let reply = wire.simple(statement).unwrap();
        let told = reply.iter().find(|message| message.tag == b'E').unwrap().strings().concat();
        assert!(told.contains(words), "{statement}: {told}");
    }
}

#[test]
fn the_facts_about_built_in_routines_are_what_this_server_says() {
    let desk = Cluster::desk();
    let version = desk.cluster().version();
    let said = run(desk.psql().args(["-q", "-A", "-t", "-f"]).arg(repository("src/sql/builtin/facts.sql"))).ok();
    let said: BTreeSet<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let facts = fs::read_to_string(repository("src/sql/builtin/facts.tsv")).unwrap();
    let known: BTreeSet<&str> = facts
        .lines()
        .filter_map(|line| {
            let (versions, fact) = line.split_once('\t').unwrap();
            let (first, last) = versions.split_once('-').unwrap();
            (first.parse::<u32>().unwrap()..=last.parse::<u32>().unwrap()).contains(&version).then_some(fact)
        })
        .collect();
    let differing: Vec<_> = said.symmetric_difference(&known).take(20).collect();
    assert!(differing.is_empty() && said.len() > 2_000, "scripts/builtin-facts makes them anew: {differing:#?}");
}
