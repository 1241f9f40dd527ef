//! A value that PostgreSQL does not take for a column is refused when it is proposed, with PostgreSQL's SQLSTATE: types that no assignment
//! converts, labels, lengths, ranges, checks of domains. And what PostgreSQL takes is stored.

use crate::support::{AGENT, Cluster, Pgwicket, Wire, run};

const SOURCE: &str = "
do $$ begin
  create role assigning_reader login password 'correct horse battery';
exception when duplicate_object or unique_violation then null; -- a test beside this one was first
end $$;
create type mood as enum ('sad', 'happy');
create domain email as text not null constraint secret_rule check (value like '%@%');
create domain short as varchar(3);
create domain positive as numeric(4, 2) constraint hidden_rule check (value > 0);
create type pair as (n int, m mood);
create table k (
  id int primary key, name text, m mood, moods mood[], em email, s short, p positive, vc varchar(5), nu numeric(4, 2), n int, sm smallint,
  f float8, b boolean, ts timestamptz, d date, j jsonb, tags text[], ir int4range, pr pair, iv interval, vcs varchar(3)[], bits bit(3));
insert into k (id, name, em) select i, 'name' || i, i || '@x' from generate_series(1, 5) i;
update k set tags = '{a,b}', j = '[1]' where id = 4;
update k set tags = '[2:3]={a,b}' where id = 5;
grant usage on schema public to assigning_reader;
grant select on k to assigning_reader;
";

const COLUMNS: &str = "name, m, moods, em, s, p, vc, nu, n, sm, f, b, ts, d, j, tags, ir, pr, iv, vcs, bits";

/// What is assigned, and the SQLSTATE; 25006 is a stored proposal.
const ASSIGNED: &[(&str, &str)] = &[
    ("m = name", "42804"),
    ("m = 'ha' || 'ppy'", "42804"),
    ("m = lower('HAPPY')", "42804"),
    ("m = (select 'happy'::text)", "42804"),
    ("m = coalesce(null, 'happy')", "42804"),
    ("m = 5", "42804"),
    ("m = 'angry'", "22P02"),
    ("m = 'happy'", "25006"),
    ("m = null", "25006"),
    ("m = default", "25006"),
    ("m = moods[1]", "25006"),
    ("moods = '{sad,happy}'", "25006"),
    ("moods = '{sad,angry}'", "22P02"),
    ("moods = tags", "42804"),
    ("moods = array['sad']", "42804"),
    ("em = 'nobody'", "23514"),
    ("em = name", "23514"),
    ("em = null", "23502"),
    ("em = 'a@b'", "25006"),
    ("em = name || '@x'", "25006"),
    ("em = id", "23514"),
    ("s = 'abcd'", "22001"),
    ("s = 'abc'", "25006"),
    ("p = -1", "23514"),
    ("p = 123456", "22003"),
    ("p = 1.5", "25006"),
    ("p = name", "42804"),
    ("vc = 'toolong'", "22001"),
    ("vc = 'four'", "25006"),
    ("vc = name || 'x'", "22001"),
    ("vc = id", "25006"),
    ("nu = 1234", "22003"),
    ("nu = '1.5'", "25006"),
    ("nu = name", "42804"),
    ("nu = 1.5::float8", "25006"),
    ("n = 2.5", "25006"),
    ("n = 3000000000", "22003"),
    ("n = 'x'", "22P02"),
    ("n = b", "42804"),
    ("sm = 40000", "22003"),
    ("sm = id", "25006"),
    ("f = nu", "25006"),
    ("f = name", "42804"),
    ("b = 'yes'", "25006"),
    ("b = 1", "42804"),
    ("ts = name", "42804"),
    ("ts = 'nonsense'", "22007"),
    ("ts = d", "25006"),
    ("ts = now()", "25006"),
    ("d = ts", "25006"),
    ("d = 5", "42804"),
    // No cast at all.
    ("d = id", "42804"),
    ("j = id", "42804"),
    ("ir = tags", "42804"),
    ("d = id::date", "42846"),
    ("j = name", "42804"),
    ("j = '{'", "22P02"),
    ("j = to_jsonb(name)", "25006"),
    ("tags = name", "42804"),
    ("tags = array[name]", "25006"),
    ("tags = array[1, 2]", "25006"),
    ("ir = name", "42804"),
    ("ir = '[1,5)'", "25006"),
    ("ir = int4range(1, 5)", "25006"),
    ("pr = row(1, 'sad')", "25006"),
    ("pr = '(1,sad)'", "25006"),
    ("pr = '(1,angry)'", "22P02"),
    ("pr = name", "42804"),
    ("iv = '1 day'", "25006"),
    ("iv = 5", "42804"),
    ("name = m", "25006"),
    ("name = j", "25006"),
    ("name = b", "25006"),
    ("(name, m) = ('x', 'happy')", "25006"),
    ("(name, m) = (select 'x'::text, name)", "42804"),
];

fn served() -> Pgwicket {
    let source = Cluster::empty("assigning_reader");
    run(source.psql().args(["-q", "-c", SOURCE])).ok();
    let policy = format!(
        "sources: {{app: {{kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable}}}}\nschemas:\n  desk:\n    source: app\n    relations:\n      k:\n        from: public.k\n        single_tenant: true\n        columns: [id, {COLUMNS}]\n        primary_key: [id]\n        writes: {{update: [{COLUMNS}], insert: [id, {COLUMNS}]}}\nagents:\n  {AGENT}: {{auth: {{scram: \"env:SUPPORT_AGENT_PASSWORD\"}}, tenant: acme, schemas: [desk]}}\n"
    );
    Pgwicket::start_with(&source, &policy)
}

/// The SQLSTATE of a statement, and all that is told.
fn told(wire: &mut Wire, statement: &str) -> (String, String) {
    let reply = wire.simple(statement).unwrap();
    let error = reply.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{statement} succeeds"));
    (error.field('C').unwrap(), error.strings().concat())
}

#[test]
fn what_postgresql_does_not_assign_is_not_proposed() {
    let pgwicket = served();
    let mut wire = pgwicket.login().wire().unwrap();
    let mut wrong = Vec::new();
    for (assigned, expected) in ASSIGNED {
        let mut statements = vec![format!("update k set {assigned} where id = 1")];
        if !assigned.starts_with('(') && !assigned.contains("default") {
            let (column, value) = assigned.split_once(" = ").unwrap();
            let (names, values) =
                if column == "em" { ("id, em", format!("100, {value}")) } else { ("id, em, X", format!("100, 'a@b', {value}")) };
            let names = names.replace('X', column);
            let from_row = ["name", "moods", "tags", "n", "b", "m", "id", "j", "nu", "d", "ts"];
            let reads = from_row.iter().any(|column| value.split(|c: char| !c.is_alphanumeric()).any(|word| word == *column));
            statements.push(format!("insert into k ({names}) select {values} from k where id = 1"));
            if !reads || value.contains('\'') {
                let reads = value.split(|c: char| !(c.is_alphanumeric() || c == '\'')).any(|word| from_row.contains(&word));
                if !reads {
                    statements.push(format!("insert into k ({names}) values ({values})"));
                }
            }
            statements.push(format!("merge into k using (values (1)) v (i) on k.id = v.i when matched then update set {assigned}"));
        }
        for statement in statements {
            let (sqlstate, words) = told(&mut wire, &statement);
            if sqlstate != *expected || words.contains("secret_rule") || words.contains("hidden_rule") {
                wrong.push(format!("{statement}\n  {expected} expected: {words}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    let (_, words) = told(&mut wire, "update k set m = name");
    assert!(words.contains("column \"m\" is of type mood but expression is of type text"), "{words}");
}

#[test]
fn what_is_written_is_read_whether_or_not_a_row_gets_it() {
    let pgwicket = served();
    let mut wire = pgwicket.login().wire().unwrap();
    for (statement, expected) in [
        ("update k set m = 'angry' where false", "22P02"),
        ("update k set m = 'happy' where false", "P0002"),
        ("update k set moods = '{sad,angry}' where id = 99", "22P02"),
        ("update k set pr = '(1,angry)' where false", "22P02"),
        ("update k set vc = 'toolong' where false", "22001"),
        ("update k set vc = 1234567 where false", "22001"),
        ("update k set tags = '{toolong}' where false", "P0002"),
        ("update k set vcs = '{toolong}' where false", "22001"),
        ("update k set vcs = array[name] where id = 1", "22001"),
        ("update k set vcs = '{abc}' where id = 1", "25006"),
        ("update k set bits = '1010' where false", "22026"),
        ("update k set bits = '101' where id = 1", "25006"),
        // What a domain checks, it checks of rows; what it is made of is read.
        ("update k set em = 'nobody' where false", "P0002"),
        ("update k set s = 'abcd' where false", "22001"),
        ("update k set p = 123456 where false", "22003"),
        ("update k set p = 'x' where false", "22P02"),
        ("prepare p as update k set m = $1 where false; execute p ('angry')", "22P02"),
        ("prepare p as update k set vc = $1 where false; execute p ('toolong')", "22001"),
        ("prepare p as update k set m = $1 where false; execute p ('sad')", "P0002"),
        ("prepare p as update k set m = $1 where false; execute p (null)", "P0002"),
    ] {
        let (sqlstate, words) = told(&mut wire, statement);
        assert_eq!(sqlstate, expected, "{statement}: {words}");
        drop(wire.simple("deallocate all").unwrap());
    }
}

#[test]
fn a_part_of_a_column_is_assigned_as_postgresql_would_or_not_at_all() {
    let pgwicket = served();
    let mut wire = pgwicket.login().wire().unwrap();
    for (statement, expected) in [
        ("update k set tags[1] = 'x' where id = 1", "25006"),
        ("update k set tags[3] = name where id = 1", "25006"),
        ("update k set tags[name] = 'x' where id = 1", "42804"),
        ("update k set n = 1, j['a'] = '1' where id = 1", "25006"),
        ("update k set j[0] = '1' where id = 1", "25006"),
        ("update k set j['a'] = 5 where id = 1", "42804"),
        ("update k set j['a'] = id where id = 1", "42804"),
        ("update k set vcs[1] = 'abcd' where id = 1", "22001"),
        // Another value than PostgreSQL's, or an error of its own: not proposed.
        ("update k set tags[null] = 'x' where id = 1", "0A000"),
        ("update k set tags[5000] = 'x' where id = 4", "0A000"),
        ("update k set tags[0] = 'x' where id = 4", "0A000"),
        ("update k set tags[2] = 'x' where id = 5", "0A000"),
        ("update k set tags[1][1] = 'x' where id = 1", "0A000"),
        ("update k set tags[1:2] = '{x,y}' where id = 1", "0A000"),
        ("update k set j['a']['b'] = '1' where id = 1", "0A000"),
        ("update k set j[3] = '1' where id = 4", "0A000"),
        ("update k set pr.n = 1 where id = 1", "0A000"),
        ("update k set moods[1] = 'sad' where id = 1", "0A000"),
        ("insert into k (id, em, tags[1]) values (100, 'a@b', 'x')", "0A000"),
        ("merge into k using (values (1)) v (i) on k.id = v.i when matched then update set tags[1] = 'x'", "0A000"),
        ("insert into k (id, em) values (1, 'a@b') on conflict (id) do update set tags[1] = 'x'", "0A000"),
    ] {
        let (sqlstate, words) = told(&mut wire, statement);
        assert_eq!(sqlstate, expected, "{statement}: {words}");
        assert!(expected != "0A000" || words.contains("assign the whole value"), "{words}");
    }
}

#[test]
fn a_parameter_is_of_the_type_that_the_client_declares() {
    let pgwicket = served();
    let mut wire = pgwicket.login().wire().unwrap();
    for (statement, expected) in [
        ("prepare p (text) as update k set m = $1 where id = 1; execute p ('happy')", "42804"),
        ("prepare p as update k set m = $1 where id = 1; execute p ('happy')", "25006"),
        ("prepare p as update k set em = $1 where id = 1; execute p ('nobody')", "23514"),
        ("prepare p (int) as update k set name = $1 where id = 1; execute p (7)", "25006"),
        ("prepare p (int) as insert into k (id, em, m) values (101, 'a@b', $1); execute p (7)", "42804"),
    ] {
        let (sqlstate, words) = told(&mut wire, statement);
        assert_eq!(sqlstate, expected, "{statement}: {words}");
        drop(wire.simple("deallocate all").unwrap());
    }
}
