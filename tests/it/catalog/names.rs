//! What real clients ask, replayed; and everything there is to read, read.

use serde_json::Value;

use super::{Canary, error, rows};
use crate::support::{Cluster, Message, Wire, repository};

/// Statements of the corpus that fail, and why: PostgreSQL answers them the same way where nothing has that name.
const FAILS: [(&str, &str); 1] = [("\\sf f", "42883 function \"f\" does not exist")];

#[test]
fn what_clients_ask_is_answered_and_names_nothing_hidden() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let corpus = std::fs::read_to_string(repository("tests/catalog/queries.jsonl")).unwrap();
    let mut failed = Vec::new();
    for line in corpus.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let (text, trigger) = (entry["sql"].as_str().unwrap(), entry["trigger"].as_str().unwrap());
        let reply = if entry["protocol"] == "simple" { wire.simple(text).unwrap() } else { extended(&mut wire, text) };
        canary.check(text, &reply);
        let renamed = Cluster::shared().version() >= 17 && RENAMED.contains(&trigger);
        let expected = FAILS.iter().find(|(known, _)| *known == trigger).map(|(_, error)| *error);
        let seen = error(&reply).filter(|error| !(renamed && error.starts_with("42703")));
        if seen.as_deref() != expected && !(seen.is_none() && expected.is_some()) {
            failed.push(format!("{} {trigger}: {}\n{text}", entry["client"], seen.unwrap_or_default()));
        }
    }
    assert!(corpus.lines().count() > 200, "the corpus is not there");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// What psql 15 asks for by columns that PostgreSQL 17 has renamed: it fails on such a server itself.
const RENAMED: [&str; 3] = ["\\l", "\\l+", "\\dO"];

/// Parse, Describe, Bind with NULLs, Execute, Sync.
fn extended(wire: &mut Wire, text: &str) -> Vec<Message> {
    let parameters = (1..100).take_while(|number| text.contains(&format!("${number}"))).count();
    wire.send(b'P', format!("\0{text}\0\0\0").as_bytes()).unwrap();
    wire.send(b'D', b"S\0").unwrap();
    let mut bind = b"\0\0\0\0".to_vec();
    bind.extend(u16::try_from(parameters).unwrap().to_be_bytes());
    bind.extend(b"\xff\xff\xff\xff".repeat(parameters));
    bind.extend(b"\0\0");
    wire.send(b'B', &bind).unwrap();
    wire.send(b'E', b"\0\0\0\0\0").unwrap();
    wire.send(b'S', b"").unwrap();
    wire.until_ready().unwrap()
}

#[test]
fn no_relation_of_the_catalog_names_anything_hidden() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let all = wire
        .simple(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'v') and n.nspname in ('pg_catalog', 'information_schema')",
        )
        .unwrap();
    assert_eq!(error(&all), None);
    let (mut read, mut refused) = (0, Vec::new());
    for relation in rows(&all) {
        let [Some(schema), Some(name)] = relation.as_slice() else { panic!("{relation:?}") };
        let text = format!("select * from {schema}.{name}");
        let reply = wire.simple(&text).unwrap();
        canary.check(&text, &reply);
        match error(&reply) {
            None => read += 1,
            Some(_) => refused.push(name.clone()),
        }
    }
    assert!(read > 150, "{read} relations were read; refused: {refused:?}");
    for name in ["pg_authid", "pg_shadow", "pg_statistic", "pg_user_mapping", "pg_largeobject", "pg_hba_file_rules", "pg_file_settings"] {
        assert!(refused.iter().any(|refused| refused == name), "{name} was read");
    }
}

#[test]
fn what_speaks_of_the_server_or_does_something_is_refused() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    for (text, expected) in [
        ("select pg_sleep(1) from pg_class", "42501"),
        ("select lo_create(0) from pg_class", "42501"),
        ("select pg_read_file('/etc/passwd') from pg_class", "42501"),
        ("select ('/etc/passwd').pg_read_file from pg_class", "42501"),
        ("select relname.pg_read_file from pg_class relname", "42501"),
        ("select set_config('statement_timeout', '0', false) from pg_class", "42501"),
        ("select set_config(relname, '0', false) from pg_class", "42501"),
        ("select pg_notify('a', 'b') from pg_class", "42501"),
        ("select pg_terminate_backend(1) from pg_class", "42501"),
        ("select query_to_xml('select 1', true, true, '') from pg_class", "42501"),
        ("select nextval('x') from pg_class", "42501"),
        ("select 'canary_reader'::regrole from pg_class", "42704"),
        ("select to_regrole('canary_reader') from pg_class", "42501"),
        ("select * from pg_toast.pg_database", "42P01"),
        ("select * from pg_catalog.pg_authid", "42501"),
        ("select pg_toast.pgwicket_setting('data_directory') from pg_class", "42883"),
        ("select * into temp x from pg_class", "25006"),
        ("select * from pg_class for update", "25006"),
        ("select 1 from pg_class, tickets", "0A000"),
        ("select 'tickets'::regclass from tickets", "0A000"),
        ("with t as (select * from pg_class) select * from t join public.customers c on true", "0A000"),
        ("select * from nowhere.pg_catalog.pg_class", "0A000"),
        ("select 'canary_schema.canary_tickets'::regclass", if Cluster::shared().version() < 16 { "3F000" } else { "42P01" }),
        ("select * from pg_ls_dir('.') where 'pg_class'::regclass is not null", "42501"),
    ] {
        let reply = wire.simple(text).unwrap();
        canary.check(text, &reply);
        let seen = error(&reply).unwrap_or_else(|| format!("answered: {:?}", rows(&reply)));
        assert!(seen.starts_with(expected), "{text}: {seen}");
    }
    for (text, expected) in [
        ("select current_setting('data_' || 'directory')", None),
        ("select pg_get_userbyid(10)", Some("pgwicket")),
        ("select to_regclass('canary_schema.canary_tickets')", None),
        ("select datname from pg_database", Some("support")),
        ("select rolname from pg_roles where rolcanlogin", Some("support_agent")),
        ("select current_database() from pg_database", Some("support")),
        ("select catalog_name from information_schema.schemata limit 1", Some("support")),
        ("select count(*) from pg_stat_activity", Some("0")),
        ("select count(*) from pg_prepared_statements", Some("0")),
        ("select spcname || pg_tablespace_location(oid) from pg_tablespace where oid = 1663", Some("pg_default")),
        ("select has_table_privilege(current_user, 'tickets', 'select')", Some("t")),
        ("select shobj_description(oid, 'pg_database') from pg_database", None),
        ("select string_agg(rolname, ' ' order by 1) from pg_roles", Some("pgwicket support_agent")),
        ("select name from pg_settings where name like '%dir%' or name like '%file%' or setting like '/%'", None),
    ] {
        let reply = wire.simple(text).unwrap();
        canary.check(text, &reply);
        assert_eq!(error(&reply), None, "{text}");
        let seen = rows(&reply).first().and_then(|row| row[0].clone());
        assert_eq!(seen.as_deref(), expected, "{text}");
    }
}

#[test]
fn the_catalog_shows_keys_types_and_comments_of_the_policy_and_no_more() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let mut one = |text: &str| {
        let reply = wire.simple(text).unwrap();
        canary.check(text, &reply);
        assert_eq!(error(&reply), None, "{text}");
        rows(&reply).into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("; ")
    };
    let columns = "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute where attnum > 0 and attrelid = ";
    assert_eq!(
        one(&format!("{columns} 'tickets'::regclass order by attnum")),
        "id bigint t; subject text t; state ticket_state t; states ticket_state[] f; price amount f; customer_id bigint f; \
         updated_at timestamp(3) with time zone f"
    );
    assert_eq!(one(&format!("{columns} 'customers'::regclass order by attnum")), "id bigint t; name character varying(40) t; home place f");
    assert_eq!(
        // PostgreSQL 18 lists NOT NULL there as well.
        one(
            "select conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n' order by 1"
        ),
        "customers_pkey PRIMARY KEY (id); tickets_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers(id) ON DELETE CASCADE; \
         tickets_pkey PRIMARY KEY (id)"
    );
    assert_eq!(
        one("select obj_description('tickets'::regclass), col_description('tickets'::regclass, 2)"),
        "what customers ask for in the customer's words"
    );
    assert_eq!(
        one("select relname, relkind from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') order by 1"),
        "customers r; open_tickets v; tickets r"
    );
    assert_eq!(one("select string_agg(enumlabel, ' ' order by enumsortorder) from pg_enum"), "open pending closed");
    assert_eq!(one("select count(*) from pg_trigger"), "0");
    assert_eq!(one("select count(*) from pg_attrdef"), "0");
    assert_eq!(one("select count(*) from pg_policy"), "0");
    // The search path decides how names are looked up and written.
    assert_eq!(one("select 'tickets'::regclass"), "tickets");
    assert_eq!(one("set search_path = pg_catalog"), "");
    assert_eq!(one("select 'public.tickets'::regclass"), "public.tickets");
    assert_eq!(one("select to_regclass('tickets') is null, pg_table_is_visible('public.tickets'::regclass)"), "t f");
    assert_eq!(one("select current_schemas(true)"), "{pg_catalog}");
}

#[test]
fn the_catalog_is_asked_in_the_middle_of_a_transaction() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let mut say = |text: &str| {
        let reply = wire.simple(text).unwrap();
        canary.check(text, &reply);
        let status = char::from(reply.last().unwrap().body[0]);
        let rows = rows(&reply).into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
        format!("{status} {}", error(&reply).unwrap_or_else(|| rows.join("; ")))
    };
    assert_eq!(say("begin isolation level repeatable read"), "T ");
    assert_eq!(say("select count(*) from tickets"), "T 2");
    assert_eq!(say("select 'tickets'::regclass"), "T tickets");
    assert_eq!(say("savepoint a"), "T ");
    assert_eq!(say("select 'nowhere'::regclass"), "E 42P01 relation \"nowhere\" does not exist");
    assert_eq!(
        say("select 'tickets'::regclass"),
        "E 25P02 current transaction is aborted, commands ignored until end of transaction block"
    );
    assert_eq!(say("rollback to a"), "T ");
    assert_eq!(say("select count(*) from tickets"), "T 2");
    assert_eq!(say("select 'customers'::regclass"), "T customers");
    assert_eq!(say("select count(*) from customers"), "T 1");
    assert_eq!(say("commit"), "I ");
    assert_eq!(say("begin"), "T ");
    assert_eq!(say("select 'tickets'::regclass"), "T tickets");
    assert_eq!(say("select 1 / 0"), "E 22012 division by zero");
    assert_eq!(say("rollback"), "I ");
    assert_eq!(say("select 'tickets'::regclass; select count(*) from tickets; select 'customers'::regclass"), "I tickets; 2; customers");
    assert_eq!(say("select relname from pg_class where relname = 'tickets'"), "I tickets");
}
