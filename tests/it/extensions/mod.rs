//! Columns of extension types: `tests/oracle/extensions.sql` answers through pgwicket as on a PostgreSQL that holds this tenant's
//! rows and nothing else, wherever the extensions are; and where something else in their schema could be run in place of what was
//! reviewed, an operator is refused by name and never another type's.

mod filters;
mod lists;
mod vectors;

use std::fs;

use crate::support::{Cluster, Database, Message, Pgwicket, Wire, repository, run};

/// A policy over `extensions-schema.sql`, with this filter on `marks`.
fn policy(filter: &str) -> String {
    format!(
        "sources:
  app_postgres: {{ kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable }}
schemas:
  external_support:
    source: app_postgres
    relations:
      people:
        from: public.people
        tenant_column: tenant_id
        columns: [id, email, work, place, traits, note, code, mails, places, contact, updated_at]
        primary_key: [id]
        writes: {{ update: [email, work, place, traits, note, mails], insert: [id, email, place, traits, note], delete: true, max_rows: 100 }}
      marks:
        from: public.marks
        tenant_column: tenant_id
        columns: [id, c, d, t]
        primary_key: [id]
{filter}
        writes: {{ update: [c, d], insert: [id, c, d], delete: true, max_rows: 100 }}
      words:
        from: public.words
        tenant_column: tenant_id
        columns: [id, word, place, n]
        primary_key: [id]
        writes: {{ update: [n], insert: [id, word, place, n], max_rows: 100 }}
agents:
  support_agent: {{ auth: {{ scram: \"env:SUPPORT_AGENT_PASSWORD\" }}, tenant: acme, schemas: [external_support] }}
"
    )
}

/// A source with its extensions in this schema.
fn source(schema: &str) -> Database {
    let source = Cluster::fresh_desk();
    let script = repository("tests/oracle/extensions-schema.sql");
    run(source.psql().args(["-q", "-v", &format!("schema={schema}")]).arg("-f").arg(script)).ok();
    source.sql("grant select on all tables in schema public to pgwicket_reader; revoke create on schema public from public");
    source
}

/// What the tenant acme may see of it, and nothing else; `visible` is the filter on `marks`.
fn copy(schema: &str, visible: &str) -> Database {
    let copy = source(schema);
    copy.sql(&format!(
        "set search_path = public, \"{schema}\"; create schema external_support; grant usage on schema external_support to pgwicket_reader; \
         create table external_support.people as select id, email, work, place, traits, note, code, mails, places, contact, updated_at \
         from public.people where tenant_id = 'acme' order by id; \
         create table external_support.marks as select id, c, d, t from public.marks where tenant_id = 'acme' and ({visible}) order by id; \
         create table external_support.words as select id, word, place, n from public.words where tenant_id = 'acme'; \
         drop table public.people, public.marks, public.words; grant select on all tables in schema external_support to pgwicket_reader"
    ));
    copy
}

/// What is not said of the source's types: how the copy's sessions find them.
fn reference(copy: &Database, schema: &str) -> Wire {
    let mut wire = copy.login("pgwicket_reader").wire().unwrap();
    wire.simple(&format!("set search_path = external_support, \"{schema}\", public")).unwrap();
    wire
}

/// The rows, or the SQLSTATE.
fn answer(wire: &mut Wire, text: &str) -> Result<Vec<Vec<u8>>, String> {
    let answer = wire.simple(text).unwrap();
    match answer.iter().find(|message| message.tag == b'E') {
        Some(error) => Err(error.field('C').unwrap()),
        None => Ok(answer.into_iter().filter(|message| message.tag == b'D').map(|message| message.body).collect()),
    }
}

fn error(answer: &[Message]) -> Option<&Message> {
    answer.iter().find(|message| message.tag == b'E')
}

/// One statement a line.
fn cases() -> Vec<String> {
    let read = fs::read_to_string(repository("tests/oracle/extensions.sql")).unwrap();
    let cases: Vec<String> =
        read.lines().filter(|line| !line.starts_with("--")).map(|line| line.trim_end_matches(';').to_owned()).collect();
    assert!(cases.len() > 120);
    cases
}

/// Statements that fail on both sides, each for its own reason.
fn same(expected: &Result<Vec<Vec<u8>>, String>, seen: &Result<Vec<Vec<u8>>, String>) -> bool {
    expected == seen || (expected.is_err() && seen.is_err())
}

#[test]
fn extension_types_answer_as_on_postgresql_wherever_the_extensions_are() {
    for schema in ["public", "Ext 1"] {
        let (source, copy) = (source(schema), copy(schema, "true"));
        let pgwicket = Pgwicket::start_with(&source, &policy(""));
        let (mut direct, mut through) = (reference(&copy, schema), pgwicket.login().wire().unwrap());
        let mut wrong = Vec::new();
        let mut failed = 0;
        for text in cases() {
            let (expected, seen) = (answer(&mut direct, &text), answer(&mut through, &text));
            failed += usize::from(expected.is_err());
            if !same(&expected, &seen) {
                let shown = |answer: &Result<Vec<Vec<u8>>, String>| answer.as_ref().map(Vec::len).map_err(Clone::clone);
                let message = error(&through.simple(&text).unwrap()).and_then(|error| error.field('M'));
                wrong.push(format!("{text}\n  PostgreSQL {:?}, here {:?} {message:?}", shown(&expected), shown(&seen)));
            }
        }
        assert!(failed <= 8, "{failed} statements fail on PostgreSQL itself");
        assert!(wrong.is_empty(), "extensions in {schema}: {} differ\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// The control: a session that does not see the extensions' schema answers many of the cases otherwise, without an error. That is what
/// a source's session did before, and what the oracle is to find.
#[test]
fn the_cases_find_a_session_that_does_not_see_the_extensions() {
    let copy = copy("Ext 1", "true");
    let mut right = reference(&copy, "Ext 1");
    let mut blind = copy.login("pgwicket_reader").wire().unwrap();
    blind.simple("set search_path = pg_catalog, external_support").unwrap();
    let otherwise = |text: &String| {
        let (expected, seen) = (answer(&mut right, text), answer(&mut blind, text));
        seen.is_ok() && seen != expected
    };
    let silent = cases().iter().map(otherwise).filter(|silent| *silent).count();
    assert!(silent >= 25, "{silent} cases of extensions.sql differ in silence");
}

/// As in the report: a filter that hides by a column of citext.
#[test]
fn a_row_filter_over_an_extension_type_hides_what_it_hides_on_postgresql() {
    for filter in [
        "c <> 'hidden'",
        "c not in ('hidden', 'other')",
        "c is distinct from 'hidden'",
        "c not like 'hid%'",
        "not (c ~ 'hid')",
        "c <> 'hidden'::citext",
        "case c when 'hidden' then false else true end",
        "c not between 'hidden' and 'hidden'",
        "c <> all (array['hidden'])",
        "coalesce(c, 'x') <> 'hidden'",
        "nullif(c, 'hidden') is not null",
        "(c = 'hidden') is not true",
    ] {
        let source = source("public");
        let copy = copy("public", filter);
        let pgwicket = Pgwicket::start_with(&source, &policy(&format!("        where: \"{filter}\"")));
        let (mut direct, mut through) = (reference(&copy, "public"), pgwicket.login().wire().unwrap());
        let text = "select id, c from marks order by id";
        let expected = answer(&mut direct, text).unwrap();
        assert!(expected.len() < 5, "{filter} hides nothing");
        assert_eq!(Ok(expected), answer(&mut through, text), "{filter}");
    }
}

/// What can be run in place of a reviewed operator or function, put into the extensions' schema by somebody.
const INTRUDERS: [&str; 8] = [
    "create function public.never(citext, text) returns boolean language sql immutable as 'select true'; \
     create operator public.= (leftarg = citext, rightarg = text, function = public.never)",
    "create function public.never(varchar, varchar) returns boolean language sql immutable as 'select true'; \
     create operator public.% (leftarg = varchar, rightarg = varchar, function = public.never)",
    "create function public.lower(citext) returns text language sql immutable as $$select 'captured'$$",
    "create function public.similarity(text, varchar) returns real language sql immutable as 'select 1::real'",
    "create function public.nlevel(text) returns integer language sql immutable as 'select 1'",
    "create domain public.length as text",
    "create function public.made(xml) returns citext language sql immutable as $$select 'captured'::public.citext$$; \
     create cast (xml as citext) with function public.made(xml) as implicit",
    "revoke usage on schema public from public, pgwicket_reader",
];

/// Whatever somebody puts beside an extension: an answer is PostgreSQL's without it, or there is none.
#[test]
fn nothing_beside_an_extension_is_run_in_its_place() {
    let copy = copy("public", "true");
    let mut direct = reference(&copy, "public");
    let cases = cases();
    let expected: Vec<_> = cases.iter().map(|text| answer(&mut direct, text)).collect();
    for intruder in INTRUDERS {
        let source = source("public");
        let intruder = if intruder.starts_with("revoke") {
            format!(
                "create schema app; alter table public.people set schema app; \
            alter table public.marks set schema app; alter table public.words set schema app; grant usage on schema app to public; {intruder}"
            )
        } else {
            intruder.to_owned()
        };
        source.sql(&intruder);
        let policy = if intruder.contains("schema app") { policy("").replace("from: public.", "from: app.") } else { policy("") };
        let pgwicket = Pgwicket::start_with(&source, &policy);
        let mut through = pgwicket.login().wire().unwrap();
        let mut refused = 0;
        for (text, expected) in cases.iter().zip(&expected) {
            let seen = answer(&mut through, text);
            refused += usize::from(seen.is_err());
            assert!(seen.is_err() || same(expected, &seen), "{intruder}\n{text}\n  PostgreSQL {expected:?}, here {seen:?}");
        }
        assert!(refused > 60, "{refused}: {intruder}");
        for (text, what) in [
            ("select id from marks where c = 'x'", "operator ="),
            ("select id from marks where c in (select d from marks)", "a comparison with a subquery"),
            ("select case c when 'x' then 1 end from marks", "CASE"),
            ("select m.id from marks m join marks n using (c)", "JOIN USING (c)"),
            ("select max(c) from marks", "function max"),
            ("select nullif(x.k, 'x') from (select c as k from marks) x", "operator ="),
        ] {
            let answer = through.simple(text).unwrap();
            let message = error(&answer).unwrap_or_else(|| panic!("{intruder}: {text}")).field('M').unwrap();
            assert!(message.contains(what) && message.contains("citext") && !message.contains("public"), "{text}: {message}");
        }
        assert!(answer(&mut through, "select id, c, c::text = 'hidden' from marks order by c, id").is_ok());
    }
}

/// As that, at a source that is served already.
#[test]
fn what_somebody_puts_beside_an_extension_later_is_noticed() {
    let source = source("public");
    let pgwicket = Pgwicket::start_with(&source, &policy("        where: \"c <> 'hidden'\""));
    let mut through = pgwicket.login().wire().unwrap();
    let text = "select id from marks where c = 'SHOWN'";
    let before = answer(&mut through, text);
    assert_eq!(before.as_ref().map(Vec::len), Ok(1));
    source.sql(
        "create function public.never(citext, text) returns boolean language sql immutable as 'select true'; \
        create operator public.= (leftarg = citext, rightarg = text, function = public.never)",
    );
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(answer(&mut through, text).is_err());
    assert!(answer(&mut through, "select id from marks where c = d").is_err());
    source.sql("drop operator public.= (citext, text)");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while answer(&mut through, text) != before {
        assert!(std::time::Instant::now() < deadline, "the extension is not used again");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// A filter that would compare with another type's operator is an error of the policy, and says where the extension should be.
#[test]
fn a_filter_over_an_extension_that_is_not_used_is_refused_at_check() {
    let source = source("public");
    source.sql(INTRUDERS[2]);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("policy.yaml"), policy("        where: \"c <> 'hidden'\"")).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_pgwicket"));
    check.env("APP_POSTGRES_URL", source.login("pgwicket_reader").url()).env("SUPPORT_AGENT_PASSWORD", "a password of some length");
    check.args(["policy", "check", "--live", "--policies"]).arg(directory.path());
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for part in ["operator <> on `c` (citext)", "function lower", "alter extension citext set schema"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Which rows a write means is what PostgreSQL's operators say, and what it would store is what the type makes of it.
#[test]
fn a_write_means_the_rows_that_it_means_on_postgresql() {
    let source = source("public");
    let pgwicket = Pgwicket::start_with(&source, &policy(""));
    let mut wire = pgwicket.login().wire().unwrap();
    for (text, expected) in [
        ("update marks set d = 'z' where c = 'SHOWN'", "update 3 d c z"),
        ("update marks set c = upper(c) where c in ('OTHER')", "update 4 c Other OTHER"),
        ("update marks set d = case c when 'SHOWN' then 'yes' else 'no' end where id = 3", "update 3 d c yes"),
        ("update marks m set d = w.place::text from words w where w.word = 'beta' and m.c = 'other'", "update 4 d d Top.Science"),
        ("delete from marks where c between 'SHOWN' and 'SHOWN'", "delete 3"),
        (
            "merge into marks m using (values ('SHOWN', 'zz')) v(k, d) on m.c = v.k::citext when matched then update set d = v.d",
            "update 3 d c zz",
        ),
        ("insert into words (id, word, n) values (9, 'ALPHA', 7) on conflict (word) do update set n = excluded.n", "update 1 n 1 7"),
        ("insert into words (id, word, n) values (9, 'New', 7) on conflict (word) do nothing", "insert 9"),
        ("update people set place = 'Top' || place where email = 'ADA-1@example.com'", "update 10 place Top.Science Top.Top.Science"),
        ("update people set traits = traits || 'a=>1' where traits -> 'n' = '1'", "update 1 traits"),
    ] {
        let answer = wire.simple(text).unwrap();
        let refused = error(&answer).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(refused.field('C').as_deref(), Some("25006"), "{text}: {:?}", refused.field('M'));
        let seen = answer_text(
            &mut wire,
            "select c.operation || ' ' || coalesce(key->>'id', '') || coalesce(' ' || \"column\" || ' ' || before || ' ' || after, '') \
             from pgwicket.proposal_changes c join pgwicket.proposals p using (proposal_id) order by p.created_at desc limit 1",
        );
        assert!(seen.starts_with(expected), "{text}: {seen}");
    }
    for text in [
        "insert into words (id, word, n) values (9, 'ALPHA', 7) on conflict (word) do nothing",
        "update people set place = 'not a..path' where id = 1",
        "update people set place = 'Top' || 'Down' where id = 1",
    ] {
        let answer = wire.simple(text).unwrap();
        assert_ne!(error(&answer).and_then(|error| error.field('C')).as_deref(), Some("25006"), "{text}");
    }
}

fn answer_text(wire: &mut Wire, text: &str) -> String {
    let rows = answer(wire, text).unwrap();
    rows.first().map(|row| String::from_utf8_lossy(row.get(6..).unwrap_or_default()).into_owned()).unwrap_or_default()
}
