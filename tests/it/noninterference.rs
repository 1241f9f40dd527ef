//! Noninterference: two databases that differ only in what the agent may not see answer it with the same bytes.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use crate::support::{Cluster, Database, Login, Message, Pgwicket, Wire, repository, statements, support_policy};

/// Everything that `support_agent` of acme must not see, changed, added to and taken from.
const CHANGES: &str = "
    update tickets set internal_notes = 'changed ' || id;
    update customers set ssn = 'changed', name = case tenant_id when 'acme' then name else 'nobody' end;
    update orders set margin = -margin;
    update documents set draft_notes = null, body = case tenant_id when 'acme' then body else 'changed' end;
    update tickets set subject = 'changed', amount = id, secret = '(((' , tags = '{changed}', meta = '{}', rating = null,
           status = 'new', created_at = now(), public_id = gen_random_uuid() where tenant_id <> 'acme' or deleted_at is not null;
    update orders set total = 0, quantity = 0, lines = '7', coupon = 'changed' where tenant_id <> 'acme';
    delete from orders where tenant_id = 'globex' and id % 3 = 0;
    insert into tickets select id + 1000000, 'globex', 'more', 'open', 'low', 5, null, 1, 4711, '{}', '{}', gen_random_uuid(), ')', null, now(), now(), null
      from generate_series(1, 5000) id;
    analyze";

/// Statements beyond the oracle's, errors among them.
const MORE: &[&str] = &[
    "select * from tickets where id = 7777",
    "select * from tickets where id = 1000001",
    "select 1 / (amount - 4711) from tickets where id = 1000001",
    "select secret::int from tickets where id = 1",
    "select count(*), sum(id), max(amount), min(created_at) from tickets",
    "select internal_notes from tickets",
    "select * from pgwicket.relations",
    "select * from pgwicket.columns",
    "explain select * from tickets",
    "select * from pg_stats",
    "select reltuples from pg_class where relname = 'tickets'",
    "select tableoid, ctid, xmin from tickets where id = 1",
    "select * from tickets tablesample bernoulli (50) repeatable (7) order by id",
    "select count(*), sum(id) from tickets tablesample system (3.5) repeatable (-0.25)",
    "select t.id, c.id from tickets t tablesample system (30) repeatable (1) join customers c tablesample bernoulli (60) repeatable (1) on c.id = t.customer_id order by 1",
    "select count(*) from tickets tablesample system (20) repeatable (9) where 1 / (amount - 4711) > -2",
    "select 'public.ticket_status'::ticket_status",
    "select count(*) from tickets where amount = 4711 and secret::ticket_status is null",
    "select count(*) from tickets where status = 'new'::ticket_status and 'x' ~ secret",
];

/// What an estimator may look at, on both sources: statistics of all sizes, of several columns, of expressions, of indexes on expressions.
const STATISTICS: &str = "
    alter table tickets alter subject set statistics 1000, alter secret set statistics 1, alter priority set statistics 10000;
    alter table orders alter total set statistics 500, alter coupon set statistics 2;
    create statistics tickets_pairs (ndistinct, dependencies, mcv) on subject, priority, status from tickets;
    create statistics tickets_expressions on (upper(subject)), (secret || 'x') from tickets;
    create index on tickets (lower(subject));
    create index on tickets ((secret || priority));
    create index on tickets (amount) where deleted_at is null;
    analyze";

/// How the sources' planners are led, both alike.
const PLANS: &[&[&str]] = &[
    &["seq_page_cost = 20", "random_page_cost = 0.1", "cpu_operator_cost = 0.05", "enable_seqscan = off", "enable_hashjoin = off"],
    &["enable_indexscan = off", "enable_bitmapscan = off", "enable_indexonlyscan = off", "enable_nestloop = off", "enable_sort = off"],
    &["from_collapse_limit = 1", "join_collapse_limit = 1", "enable_mergejoin = off", "enable_material = off", "enable_memoize = off"],
    &[
        "max_parallel_workers_per_gather = 1",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "min_parallel_index_scan_size = 0",
        "jit_above_cost = 0",
        "jit_inline_above_cost = -1",
    ],
    &["plan_cache_mode = force_generic_plan", "enable_hashagg = off", "default_statistics_target = 3", "work_mem = 64"],
];

/// What one session says: settings that change, cursors in both directions, isolation levels, statements that are prepared and run until
/// PostgreSQL chooses between their plans, and the errors of all these.
const SESSION: &[&str] = &[
    "set timezone = 'Pacific/Kiritimati'",
    "set datestyle = 'SQL, DMY'",
    "set extra_float_digits = -10",
    "set intervalstyle = 'sql_standard'",
    "select id, created_at, updated_at, created_at::date, meta, tags from tickets where id < 50 order by id",
    "select created_at::text, now() - created_at > interval '1 day' from tickets where id = 1",
    "select count(*) from tickets where created_at > '02/01/2024'",
    "select count(*) from tickets where secret like 'chan%\\'",
    "select count(*) from tickets where subject like 'chan%\\' or subject ~ '('",
    "select count(*) from tickets where amount = 4711 and id > (select id from orders)",
    "select count(*) from tickets where amount = 4711 and coalesce(created_at > now() + interval '294000 years', false)",
    "reset all",
    "begin isolation level serializable",
    "declare a scroll cursor for select id, subject from tickets order by id",
    "declare b cursor for select id from tickets where amount between 10 and 400 order by id",
    "declare c no scroll cursor for select count(*) from tickets group by priority order by 1",
    "declare d cursor with hold for select t.id from tickets t join customers c on c.id = t.customer_id order by t.id",
    "fetch 3 from a",
    "fetch backward 2 from a",
    "fetch last from a",
    "fetch absolute -2 from a",
    "move backward all in a",
    "fetch 2 from b",
    "savepoint s",
    "fetch backward 1 from b",
    "rollback to s",
    "fetch 1 from c",
    "show transaction_isolation",
    "commit",
    "fetch 2 from d",
    "close d",
    "begin transaction isolation level repeatable read, read only",
    "select count(*), max(id) from tickets",
    "select 1 / (id - id) from tickets where id = 1",
    "commit",
    "prepare p (int) as select count(*) from tickets where amount > 4000 and id < 100 / $1",
    "execute p(1)",
    "execute p(1)",
    "execute p(1)",
    "execute p(1)",
    "execute p(1)",
    "execute p(1)",
    "execute p(0)",
    "prepare q (text) as select count(*) from tickets where secret like $1",
    "execute q('chan%')",
    "execute q('chan%')",
    "execute q('chan%')",
    "execute q('chan%')",
    "execute q('chan%')",
    "execute q('chan%')",
    "execute q('chan%\\')",
    "deallocate all",
    "copy (select id, subject from tickets where id < 20 order by id) to stdout with (format csv, header)",
    "copy (select count(*) from tickets where secret like 'chan%\\') to stdout",
    "explain select count(*) from tickets where subject like 'chan%'",
    "update tickets set status = 'nonsense' where id = 1",
    "update tickets set priority = 'low' where secret::int = 4711 and id < 0",
];

/// Other tenants' clients that share one lane and its three connections with the agent.
const STORM: usize = 4;

/// What they do: read, fail, hold a transaction, change their session, propose.
const NOISE: &[&str] = &[
    "select * from tickets order by id desc limit 50",
    "select 1 / (amount - amount) from tickets",
    "begin",
    "set local TimeZone = 'Asia/Tokyo'",
    "set DateStyle = 'German'",
    "select secret::int from tickets",
    "rollback",
    "update tickets set subject = 'noise' where id = (select min(id) from tickets)",
    "select count(*) from tickets a join tickets b using (priority) where a.id < 2000 and b.id < 300",
    "prepare p as select subject from tickets where id = $1",
    "deallocate all",
    "select * from nowhere",
];

#[test]
fn what_an_agent_may_not_see_changes_no_byte_it_receives() {
    let (one, other) = (Cluster::fresh_desk(), Cluster::fresh_desk());
    other.sql(CHANGES);
    let cases = cases();
    compare(&cases, &received(&one, &cases), &received(&other, &cases));
}

/// The same in a session of settings, cursors, isolation levels and prepared statements, with statistics that hold others' values, and
/// whichever way the sources plan.
#[test]
fn nor_does_what_the_planner_knows_and_how_it_plans() {
    let (one, other) = (Cluster::fresh_desk(), Cluster::fresh_desk());
    other.sql(CHANGES);
    let cases: Vec<String> = SESSION.iter().chain(MORE).map(|text| (*text).to_owned()).collect();
    for source in [&one, &other] {
        source.sql(STATISTICS);
    }
    for plan in PLANS {
        for source in [&one, &other] {
            source.sql(&format!("alter database {} reset all", source.name));
            for setting in *plan {
                source.sql(&format!("alter database {} set {setting}", source.name));
            }
        }
        let [first, second] = [&one, &other].map(|source| received(source, &cases));
        compare(&cases, &first, &second);
    }
}

/// The same while others storm the same connections: once with none, once with many, on sources that differ.
#[test]
fn nor_do_other_tenants_clients_on_the_same_pool() {
    let (one, other) = (Cluster::fresh_desk(), Cluster::fresh_desk());
    other.sql(CHANGES);
    let cases = cases();
    let policy = support_policy().replacen("pool: { max: 20 }", "pool: { max: 3, wait: 30s }", 1);
    let start = |source: &Database| Pgwicket::start_with_policy_and_flags(source, &policy, &["--lanes", "1"]);
    let calm = start(&one);
    let expected = answers(&mut calm.login().wire().unwrap(), &cases);
    let stormed = start(&other);
    let (stop, noise) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let storm: Vec<_> = (0..STORM)
        .map(|_| {
            let (login, stop, noise) =
                (Login { user: "globex_agent".to_owned(), ..stormed.login() }, Arc::clone(&stop), Arc::clone(&noise));
            thread::spawn(move || {
                let mut wire = login.wire().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for text in NOISE {
                        wire.simple(text).unwrap();
                        noise.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let seen = answers(&mut stormed.login().wire().unwrap(), &cases);
    stop.store(true, Ordering::Relaxed);
    for client in storm {
        client.join().unwrap();
    }
    assert!(noise.load(Ordering::Relaxed) > 100, "the storm was no storm");
    compare(&cases, &expected, &seen);
}

fn cases() -> Vec<String> {
    let mut cases: Vec<String> = MORE.iter().map(|text| (*text).to_owned()).collect();
    for file in ["tests/oracle/statements.sql", "tests/oracle/leaks.sql"] {
        cases.extend(read(file));
    }
    cases
}

fn read(file: &str) -> Vec<String> {
    statements(&fs::read_to_string(repository(file)).unwrap()).into_iter().map(|statement| statement.text).collect()
}

fn compare(cases: &[String], first: &[Vec<Message>], second: &[Vec<Message>]) {
    let wrong: Vec<&String> =
        cases.iter().zip(first.iter().zip(second)).filter(|(_, (one, other))| one != other).map(|(case, _)| case).collect();
    assert!(wrong.is_empty(), "{} of {} answers differ: {wrong:#?}", wrong.len(), cases.len());
}

fn received(source: &Database, cases: &[String]) -> Vec<Vec<Message>> {
    let pgwicket = Pgwicket::start(source);
    answers(&mut pgwicket.login().wire().unwrap(), cases)
}

/// Every message of every answer, less what is unique to a statement's run; rows sorted where no order was asked for.
fn answers(wire: &mut Wire, cases: &[String]) -> Vec<Vec<Message>> {
    let answer = |text: &String| {
        let mut messages = wire.simple(text).unwrap();
        messages.retain(|message| !(message.tag == b'S' && message.strings()[0] == "pgwicket.evidence_id"));
        if !text.to_lowercase().contains("order by") {
            let rows = messages.iter().filter(|message| message.tag == b'D').count();
            if let Some(first) = messages.iter().position(|message| message.tag == b'D') {
                messages[first..first + rows].sort_by(|one, other| one.body.cmp(&other.body));
            }
        }
        messages
    };
    cases.iter().map(answer).collect()
}
