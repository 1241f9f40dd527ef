//! Whatever happens to the source's schema between two statements, each is answered as on a PostgreSQL of its own: the same columns, the
//! same bytes, and the same error where there is one. Sessions and connections know the statements from before.
//! `PGWICKET_CHANGES`: so many of the changes.

use super::{
    source,
    ways::{WAYS, Way, said},
};
use crate::support::{Cluster, Database, Pgwicket, Wire, number};

/// Two statements of one shape, and one over what is attached, dropped, and of types of the source's own.
const TEXTS: [&str; 5] = [
    "select b, id from desk.evolve where id = 2",
    "select b from desk.evolve where id = 3 and 'x' <> c",
    "select c, b, id from desk.evolve order by id limit 2",
    "select count(*), max(b::text) from desk.evolve where id > 1",
    "select id from desk.parts order by id",
];

/// At the source, and in the copy. They go back and forth, so that what one connection holds is right again while another's is not.
const CHANGES: [&str; 17] = [
    "alter table {evolve} alter b type int using b::int",
    "alter table {evolve} alter b type numeric(6, 2)",
    "alter table {evolve} alter b type int using b::int",
    "alter table {evolve} alter b type text",
    "alter table {evolve} alter b type varchar(20)",
    "alter table {evolve} alter b type int using b::int",
    "alter table {evolve} add more int",
    "create index more_index on {evolve} (b); analyze {evolve}",
    "alter table {evolve} drop more",
    "alter table {evolve} alter c type bytea using c::bytea",
    "alter table {evolve} alter c type text using convert_from(c, 'UTF8')",
    "alter table {evolve} alter b type bigint",
    "alter table {parts} detach partition {part}",
    "alter table {parts} attach partition {part} for values from (10) to (20)",
    "drop table {part}",
    "alter table {evolve} alter b type text",
    "alter table {evolve} alter id type bigint",
];

/// What the tenant may see, in a schema of the alias's name.
fn copy() -> Database {
    let copy = Cluster::empty("changing_reader");
    copy.sql(
        "create schema desk; grant usage on schema desk to changing_reader; \
         create table desk.evolve (id int primary key, b text, c text); create table desk.parts (id int) partition by range (id); \
         create table desk.part1 partition of desk.parts for values from (0) to (10); create table desk.part2 partition of desk.parts for values from (10) to (20); \
         insert into desk.evolve select g, g, 'c' || g from generate_series(1, 3) g; insert into desk.parts values (1), (11); \
         grant select on all tables in schema desk to changing_reader",
    );
    copy
}

/// A session, through pgwicket and directly.
struct Session {
    wires: [Wire; 2],
}

impl Session {
    fn say(&mut self, batches: &[String]) -> [Vec<String>; 2] {
        let [through, direct] = &mut self.wires;
        let all = |wire: &mut Wire| batches.iter().flat_map(|batch| said(wire, batch, false)).collect();
        [all(through), all(direct)]
    }
}

#[test]
fn every_way_to_ask_is_answered_as_by_postgresql_whatever_has_changed() {
    let (source, copy) = (source(), copy());
    let pgwicket = Pgwicket::start_with_policy_and_flags(&source, super::POLICY, &["--lanes", "1"]);
    let fresh = || Session { wires: [pgwicket.login().wire().unwrap(), copy.login("changing_reader").wire().unwrap()] };
    let mut wrong: Vec<String> = Vec::new();
    // Connections that know everything: each held by a session in a block while the others ask.
    let mut holders: Vec<Wire> = (0..3).map(|_| pgwicket.login().wire().unwrap()).collect();
    let most = number("PGWICKET_CHANGES").map_or(CHANGES.len(), |most| usize::try_from(most).unwrap());
    for change in CHANGES.into_iter().take(most) {
        for wire in &mut holders {
            said(wire, "Query \"begin\"", false);
            for text in TEXTS {
                said(wire, &format!("Parse \"\" \"{text}\"\nBind \"\" \"\" / /\nExecute \"\" 0\nSync"), false);
            }
        }
        for wire in &mut holders {
            said(wire, "Query \"commit\"", false);
            for text in TEXTS {
                said(wire, &format!("Query \"{text}\""), false);
            }
        }
        let ways: Vec<(&Way, &str)> = WAYS.iter().flat_map(|way| TEXTS.map(|text| (way, text))).collect();
        let prepares = |(way, text): &(&Way, &str)| {
            let before = way.before(text);
            (!before.is_empty()).then(|| {
                let mut session = fresh();
                session.say(&before);
                session
            })
        };
        let mut sessions: Vec<Option<Session>> = ways.iter().map(prepares).collect();
        let of = |real: bool| {
            let names = [("evolve", "zzevolve"), ("parts", "zzparts"), ("part", "zzpart2")];
            names.iter().fold(change.to_owned(), |text, (name, zz)| {
                let name_here = if *name == "part" { "part2" } else { name };
                text.replace(&format!("{{{name}}}"), &if real { format!("zzreal.{zz}") } else { format!("desk.{name_here}") })
            })
        };
        source.sql(&of(true));
        copy.sql(&of(false));
        for (session, (way, text)) in sessions.iter_mut().zip(&ways) {
            let [through, direct] = session.get_or_insert_with(fresh).say(&way.batches(text));
            *session = None;
            if through != direct {
                wrong.push(format!("{change}\n{}: {text}\n  PostgreSQL {direct:#?}\n  pgwicket {through:#?}", way.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong[..wrong.len().min(6)].join("\n\n"));
}
