//! A server whose clock is moved by hand, with the source and the tenants' own databases in it; and pgwicket before it.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use crate::support::{Cluster, Database, Login, Pgwicket, Wire};

/// Tenant and agent.
pub(super) const TENANTS: [(&str, &str); 2] = [("acme", "support_agent"), ("globex", "globex_agent")];

/// Where every round begins.
const BEGINNING: &str = "2026-03-07 12:00:00";

/// The row filter of `app.log`: the same under all settings, as a policy's has to be.
const FILTER: &str = "at < '2026-06-02 03:04+00' or day = '2026-04-03'";

/// `app.log` as the reference has it.
pub(super) const FILTERED: &str = "(select * from app.log where at < '2026-06-02 03:04+00' or day = '2026-04-03') as log";

const POLICY: &str = r#"
sources:
  app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable, pool: { max: 3 }, statement_timeout: 20s }
schemas:
  app:
    source: app_postgres
    relations:
      items: { from: base.items, tenant_column: tenant_id, columns: [id, name, at, lt, day, tm, iv, f, r, b, days, span], evidence: digest }
      log: { from: base.log, tenant_column: tenant_id, columns: [id, at, day], where: "FILTER", evidence: digest }
  ops:
    source: app_postgres
    relations:
      items: { from: base.parts, tenant_column: tenant_id, columns: [id, name, at, day], evidence: digest }
agents:
  support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: [app, ops] }
  globex_agent: { auth: { scram: "env:GLOBEX_AGENT_PASSWORD" }, tenant: globex, schemas: [app, ops] }
"#;

/// The tables, with the tenant's column or without; rows of a tenant differ from the other's.
const TABLES: &str = "
create table {items} (id int primary key, {tenant} name text, at timestamptz, lt timestamp, day date, tm time, iv interval, f float8, r float4,
    b bytea, days date[], span tstzrange);
create table {log} (id int primary key, {tenant} at timestamptz, day date);
create table {parts} (id int primary key, {tenant} name text, at timestamptz, day date);";

const ROWS: &str = "
insert into {items} select i, {value} (array['a', 'today', 'now', 'it''s'])[i % 4 + 1],
    timestamptz '2026-01-01 00:30+00' + i * interval '37 hours 11 minutes', timestamp '2026-01-01 00:30' + i * interval '37 hours 11 minutes',
    date '2024-01-02' + i * 13, time '00:15' + i * interval '17 minutes', i * interval '1 day 2:03:04' - interval '40 days',
    i / 3.0::float8, i / 7.0::float4, decode(to_hex(i + 4096), 'hex'), array[date '2024-01-02' + i, date '2026-03-04'],
    tstzrange(timestamptz '2026-01-01 00:30+00' + i * interval '37 hours', timestamptz '2026-03-01 00:00+00' + i * interval '37 hours')
  from generate_series({from}, {to}) i;
insert into {log} select i, {value} timestamptz '2026-06-01 00:00+00' + i * interval '53 minutes', date '2026-01-01' + i from generate_series({from}, {to}) i;
insert into {parts} select i, {value} 'part ' || i, timestamptz '2026-02-01 00:30+00' + i * interval '5 hours', date '2026-02-01' + i
  from generate_series({from}, {to}) i;";

/// Everything that a run stands on.
pub(super) struct World {
    cluster: &'static Cluster,
    copies: Vec<Database>,
    pgwicket: Pgwicket,
    /// The superuser, at the source and in the copies.
    superusers: RefCell<Vec<Wire>>,
}

impl World {
    pub(super) fn start() -> Self {
        let cluster = Cluster::with_clock(BEGINNING);
        let source = cluster.empty_here("reader");
        let role = |name: &str| format!("create role {name} login password '{}';", crate::support::PASSWORD);
        let roles: String = ["reader", "support_agent", "globex_agent"].map(role).concat();
        source.sql(&format!("{roles} create role overseer superuser login password '{}'", crate::support::PASSWORD));
        let mut tables = of("create schema base;", ["base.items", "base.log", "base.parts"], "tenant_id text not null,", "", (0, 0));
        for (number, (tenant, _)) in TENANTS.iter().enumerate() {
            tables += &rows(["base.items", "base.log", "base.parts"], &format!("'{tenant}',"), number);
        }
        source.sql(&(tables + "grant usage on schema base to reader; grant select on all tables in schema base to reader;"));
        let copies = TENANTS.iter().enumerate().map(|(number, (_, agent))| {
            let copy = cluster.empty_here("reader");
            let names = ["app.items", "app.log", "ops.items"];
            let tables = of("create schema app; create schema ops;", names, "", "", (0, 0)) + &rows(names, "", number);
            let grants = ["app", "ops"].map(|schema| {
                format!("grant usage on schema {schema} to {agent}; grant select on all tables in schema {schema} to {agent};")
            });
            copy.sql(&(tables + &grants.concat()));
            copy.sql(&format!("alter role {agent} set search_path = app, ops"));
            copy
        });
        let copies: Vec<Database> = copies.collect();
        let policy = POLICY.replace("FILTER", FILTER);
        let pgwicket = Pgwicket::start_with_policy_and_flags(&source, &policy, &["--lanes", "1"]);
        // Its first look at the source must not be ended by a round's beginning.
        let deadline = Instant::now() + Duration::from_secs(30);
        while pgwicket.login_as(TENANTS[0].1).wire().is_err() {
            assert!(Instant::now() < deadline, "{}", pgwicket.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let superusers = std::iter::once(&source).chain(&copies).map(|database| database.login("overseer").wire().unwrap()).collect();
        Self { cluster, copies, pgwicket, superusers: RefCell::new(superusers) }
    }

    /// The clock at the beginning, and connections to the source that know nothing.
    pub(super) fn reset(&self) {
        self.set_clock(BEGINNING);
        let end = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where usename = 'reader'";
        self.superusers.borrow_mut()[0].simple(end).unwrap();
    }

    pub(super) fn set_clock(&self, time: &str) {
        self.cluster.set_clock(time);
    }

    /// A change of the schema at the source and in the copies.
    pub(super) fn ddl(&self, text: &str) {
        for (number, superuser) in self.superusers.borrow_mut().iter_mut().enumerate() {
            let (items, parts) = if number == 0 { ("base.items", "base.parts") } else { ("app.items", "ops.items") };
            superuser.simple(&text.replace("{items}", items).replace("{parts}", parts)).unwrap();
        }
    }

    /// How a session logs in: through pgwicket, and to the tenant's own database.
    pub(super) fn logins(&self, session: usize) -> [Login; 2] {
        let (_, agent) = TENANTS[session % 2];
        [self.pgwicket.login_as(agent), self.copies[session % 2].login(agent)]
    }

    /// What pgwicket logged.
    pub(super) fn log(&self) -> String {
        self.pgwicket.log()
    }
}

/// Nobody: no message of a session names a user or a database.
pub(super) fn no_login() -> Login {
    Login { port: 0, user: String::new(), database: String::new() }
}

fn of(schemas: &str, names: [&str; 3], tenant: &str, value: &str, (from, to): (usize, usize)) -> String {
    named(&format!("{schemas}{TABLES}"), names, tenant, value, (from, to))
}

fn rows(names: [&str; 3], value: &str, tenant: usize) -> String {
    // A tenant's keys are its own: 1 to 60, or 101 to 160.
    named(ROWS, names, "", value, (1 + 100 * tenant, 60 + 100 * tenant))
}

fn named(text: &str, [items, log, parts]: [&str; 3], tenant: &str, value: &str, (from, to): (usize, usize)) -> String {
    let pairs = [("{items}", items), ("{log}", log), ("{parts}", parts), ("{tenant}", tenant), ("{value}", value)];
    let text = pairs.iter().fold(text.to_owned(), |text, (mark, with)| text.replace(mark, with));
    text.replace("{from}", &from.to_string()).replace("{to}", &to.to_string())
}
