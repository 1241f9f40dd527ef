//! Introspection: the catalog, and a credential that could do more than read.

use super::{
    super::{Introspection, SourceError, introspect},
    lane,
    server::{Server, address, source},
};

async fn read(url: &str) -> Introspection {
    introspect(&address(&source(url))).await.unwrap()
}

#[test]
fn the_catalog_is_read_as_the_reader_sees_it() {
    let server = Server::start();
    server.sql(
        "create schema app; grant usage on schema app to reader;
         create type app.mood as enum ('sad', 'ok'); create domain app.amount as numeric(10,2) check (value > 0);
         create type app.pair as (a int, b app.mood);
         create collation app.loose (provider = icu, locale = 'und', deterministic = false);
         create table app.notes (b int, a text collate app.loose not null, m app.mood[], x app.amount, p app.pair, secret text, primary key (a, b));
         alter table app.notes add gone int; alter table app.notes drop gone;
         create view app.seen as select b from app.notes; create table app.hidden (i int);
         create function app.half(int) returns int language sql immutable as 'select $1 / 2';
         create function app.no(int) returns int language sql as 'select 1'; revoke execute on function app.no from public;
         grant select (a, b, m, x, p) on app.notes to reader; grant select on app.seen to reader",
    );
    lane(async move {
        let Introspection { catalog, credential, .. } = read(&server.url()).await;
        assert!(catalog.server_version >= 150_000);
        assert!(catalog.ordering_operators.iter().flatten().any(|name| name == "<->"));
        let names: Vec<_> = catalog.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str(), r.kind, r.readable)).collect();
        assert_eq!(names.len(), 3);
        let notes = catalog.relation("app", "notes").unwrap();
        assert_eq!((notes.kind, notes.readable), ('r', false), "a column grant is not a table grant");
        assert_eq!(notes.primary_key, ["a", "b"]);
        let columns: Vec<_> = notes.columns.iter().map(|c| (c.name.as_str(), c.not_null, c.readable, c.deterministic_collation)).collect();
        let expected = [
            ("b", true, true, true),
            ("a", true, true, false),
            ("m", false, true, true),
            ("x", false, true, true),
            ("p", false, true, true),
        ];
        assert_eq!(columns[..5], expected);
        assert_eq!(columns[5], ("secret", false, false, true));
        assert!(catalog.relation("app", "seen").is_some_and(|seen| seen.readable && seen.kind == 'v'));
        let amount = notes.columns[3].type_oid;
        assert_eq!((notes.columns[3].type_name.as_str(), catalog.base_type(amount)), ("app.amount", 1700));
        let moods = &catalog.types[&notes.columns[2].type_oid];
        assert!(moods.array && catalog.types[&moods.base].kind == 'e', "{moods:?}");
        assert!(catalog.types.contains_key(&25) && catalog.types[&1009].base == 25);
        let leakproof = |name: &str, oid| catalog.leakproof_operators.iter().any(|o| o.name == name && o.left == oid && o.right == oid);
        assert!(leakproof("=", 23) && leakproof("<", 25) && !leakproof("=", 1700));
        assert_eq!(catalog.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["half"]);
        assert_eq!((credential.role.as_str(), &credential.problems), ("reader", &Vec::new()));
        assert_eq!(credential.check(false), Ok(&[][..]));
        let saved = serde_json::to_string(&catalog).unwrap();
        assert_eq!(serde_json::from_str::<crate::sql::catalog::CatalogSnapshot>(&saved).unwrap(), catalog);
    });
}

#[test]
fn a_column_is_stored_unless_something_computes_it() {
    let server = Server::start();
    server.sql(
        "create schema app; grant usage on schema app to reader; create type app.mood as enum ('sad', 'ok');
         create collation app.other (provider = icu, locale = 'und');
         create table app.base (id int primary key, c text collate app.other, v varchar(9), m app.mood, gone timestamptz, ok bool,
             twice int generated always as (id * 2) stored);
         create foreign data wrapper nowhere; create server s foreign data wrapper nowhere;
         create foreign table app.far (id int) server s;
         create table app.parts (id int) partition by list (id); create foreign table app.part partition of app.parts default server s;
         create materialized view app.kept as select id, 1 / id as q from app.base;
         create view app.plain as select id as number, c, twice, 1 / id as q from app.base
             where gone is null and m <> 'sad' and v in ('a', 'b') and not (id = 5 or id > 7) and ok;
         create view app.above as select number, q from app.plain;
         create view app.filtered as select id from app.base where 1 / id > 0;
         create view app.over_filtered as select id from app.filtered;
         create view app.joined as select b.id from app.base b join app.base d on d.id = b.id;
         create view app.grouped as select id from app.base group by id;
         create view app.limited as select id from app.base limit 5;
         create view app.united as select id from app.base union all select id from app.base;
         create view app.abroad as select id from app.far;
         create view app.cast as select id::text as id, c collate \"C\" as c from app.base",
    );
    lane(async move {
        let catalog = read(&server.url()).await.catalog;
        let stored =
            |name: &str| -> Vec<bool> { catalog.relation("app", name).unwrap().columns.iter().map(|column| column.stored).collect() };
        for name in ["base", "kept"] {
            assert!(stored(name).iter().all(|stored| *stored), "{name}");
        }
        assert_eq!(stored("plain"), [true, true, true, false]);
        assert_eq!(stored("above"), [true, false]);
        for name in ["far", "parts", "part", "filtered", "over_filtered", "joined", "grouped", "limited", "united", "abroad", "cast"] {
            assert!(!stored(name).iter().any(|stored| *stored), "{name}");
        }
        let base = catalog.relation("app", "base").unwrap();
        let collation = |name: &str| base.columns.iter().find(|column| column.name == name).unwrap().collation;
        assert_eq!((collation("id"), collation("v"), collation("m")), (Some(0), Some(100), Some(0)));
        assert!(collation("c").is_some_and(|oid| oid >= 16_384));
        // A snapshot saved before these were read knows neither, and nothing is taken as stored.
        let mut saved: serde_json::Value = serde_json::to_value(&catalog).unwrap();
        for column in saved["relations"].as_array_mut().unwrap().iter_mut().flat_map(|relation| relation["columns"].as_array_mut().unwrap())
        {
            let column = column.as_object_mut().unwrap();
            column.remove("stored");
            column.remove("collation");
        }
        let old: crate::sql::catalog::CatalogSnapshot = serde_json::from_value(saved).unwrap();
        assert!(old.relations.iter().flat_map(|relation| &relation.columns).all(|column| !column.stored && column.collation.is_none()));
    });
}

#[test]
fn a_database_that_is_not_utf_8_is_refused() {
    let server = Server::start();
    server.sql("create database other encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0");
    lane(async move {
        let url = server.url().replace("/postgres", "/other");
        let refused = introspect(&address(&source(&url))).await.map(|_| ()).unwrap_err();
        assert!(matches!(&refused, SourceError::Unfit(why) if why.contains("must be UTF8, this is LATIN1")), "{refused:?}");
    });
}

#[test]
fn a_credential_that_may_write_is_found_out() {
    let server = Server::start();
    server.sql(
        "create role wide bypassrls login password 'secret'; grant pg_write_all_data, pg_read_server_files to wide;
         create table one (i int); create table two (i int, j int);
         create role narrow login password 'secret'; grant update (j) on two to narrow; grant create on schema public to narrow;
         create role owner login password 'secret'; alter table one owner to owner; revoke all on one from owner;
         create role boss superuser login password 'secret'",
    );
    lane(async move {
        let problems = |role: &'static str| {
            let url = server.url().replace("reader", role);
            async move { read(&url).await.credential }
        };
        assert_eq!(problems("narrow").await.problems, ["may create in schema public", "may write or owns public.two"]);
        assert_eq!(problems("owner").await.problems, ["may write or owns public.one"]);
        let wide = problems("wide").await;
        assert_eq!(
            wide.problems,
            ["has BYPASSRLS", "is a member of pg_read_server_files, pg_write_all_data", "may write or owns public.one, public.two"]
        );
        assert!(matches!(wide.check(false), Err(SourceError::Unfit(why)) if why.contains("BYPASSRLS")));
        assert_eq!(wide.check(true).unwrap().len(), 3);
        assert!(problems("boss").await.problems.contains(&"is a superuser".to_owned()));
    });
}
