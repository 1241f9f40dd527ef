//! What writes become: the read that is sent, or the refusal.

use crate::govern::{
    propose,
    tests::{shortened, with},
};

/// What is sent, the kernel's derived tables in short; or the refusal.
fn drafted(text: &str) -> String {
    with(text, &[], |request| match propose(request) {
        Ok(draft) => short(draft.read().text()),
        Err(refusal) => format!("REFUSED {} {}", refusal.code.sqlstate(), refusal.message),
    })
}

fn short(text: &str) -> String {
    let mut text = shortened(text.to_owned()).replace("(SELECT opaque \"id\", ", "(SELECT \"id\", ");
    while let Some((start, rest)) = text.split_once("(SELECT \"id\", ") {
        let table = rest.split_once(" FROM \"public\".\"real_").map(|(_, rest)| &rest[..1]).unwrap();
        let (mut depth, mut end) = (1, 0);
        for (at, byte) in rest.bytes().enumerate() {
            depth += match byte {
                b'(' => 1,
                b')' => -1,
                _ => 0,
            };
            if depth == 0 {
                end = at;
                break;
            }
        }
        let fence = if rest[..end].ends_with(" OFFSET 0") { ", fenced" } else { "" };
        text = format!("{start}<{table}{fence}>{}", &rest[end + 1..]);
    }
    text
}

#[test]
fn an_update_reads_key_conflict_column_and_each_column_before_and_after() {
    for (text, expected) in [
        (
            "update t set status = 'high', amount = amount + 1 where id = 42",
            "SELECT t.id, t.created_at, t.status, t.amount, 'high'::pg_catalog.text, (amount + 1)::int, CASE WHEN false THEN amount + 1 END FROM <t> AS \"t\" WHERE id = 42",
        ),
        (
            "update s.t set amount = 1 where s.t.id = 1",
            "SELECT t.id, t.created_at, t.amount, 1::int FROM <t, fenced> AS \"t\" WHERE t.id = 1",
        ),
        (
            "update t as x set (amount, price) = (x.amount + 1, 2.5), meta = default from g where g.id = x.customer_id",
            "SELECT x.id, x.created_at, x.amount, x.price, x.meta, (x.amount + 1)::int, (2.5)::numeric(10, 2), CASE WHEN false THEN x.amount + 1 END FROM <t> x, <g> AS \"g\" WHERE g.id = x.customer_id",
        ),
        (
            "update t set (amount, subject) = (select g.id, g.x from g where g.id = t.customer_id)",
            "SELECT t.id, t.created_at, t.amount, t.subject, (SELECT v.c0 FROM (SELECT g.id, g.x FROM <g> AS \"g\" WHERE g.id = t.customer_id) v(c0, c1))::int, (SELECT v.c1 FROM (SELECT g.id, g.x FROM <g> AS \"g\" WHERE g.id = t.customer_id) v(c0, c1))::text, CASE WHEN false THEN (SELECT v.c0 FROM (SELECT g.id, g.x FROM <g> AS \"g\" WHERE g.id = t.customer_id) v(c0, c1)) END, CASE WHEN false THEN (SELECT v.c1 FROM (SELECT g.id, g.x FROM <g> AS \"g\" WHERE g.id = t.customer_id) v(c0, c1)) END FROM <t> AS \"t\"",
        ),
        (
            "with w as (select id from g) update t set amount = $2 where id in (select id from w) and id = $1 returning *",
            "WITH w AS (SELECT id FROM <g> AS \"g\") SELECT t.id, t.created_at, t.amount, $2::int FROM <t, fenced> AS \"t\" WHERE id IN (SELECT id FROM w) AND id = $1",
        ),
        (
            "with t as (select 1 as id) update t set amount = 1 where id = 1",
            "WITH t AS (SELECT 1 AS id) SELECT t.id, t.created_at, t.amount, 1::int FROM <t> AS \"t\" WHERE id = 1",
        ),
    ] {
        assert_eq!(drafted(text), expected, "{text}");
    }
}

#[test]
fn a_delete_reads_every_visible_column() {
    for (text, expected) in [
        (
            "delete from t where id = 1 or amount > 3",
            "SELECT t.id, t.created_at, t.subject, t.status, t.amount, t.price, t.tags, t.meta, t.customer_id FROM <t> AS \"t\" WHERE id = 1 OR amount > 3",
        ),
        (
            "delete from t as d using g where g.id = d.customer_id",
            "SELECT d.id, d.created_at, d.subject, d.status, d.amount, d.price, d.tags, d.meta, d.customer_id FROM <t> d, <g> AS \"g\" WHERE g.id = d.customer_id",
        ),
    ] {
        assert_eq!(drafted(text), expected, "{text}");
    }
}

#[test]
fn an_insert_evaluates_its_rows() {
    for (text, expected) in [
        (
            "insert into t (id, subject, status) values (1, 'x', 'open'), ($1, $2, default)",
            "VALUES (1::bigint, 'x'::text, 'open'::pg_catalog.text, 0), ($1::bigint, $2::text, NULL::pg_catalog.text, 1)",
        ),
        ("insert into t values (1, 'x')", "VALUES (1::bigint, 'x'::text)"),
        ("insert into t default values", "SELECT 1"),
        (
            "insert into t (id, subject) select id, x from g",
            "SELECT excluded.id::bigint, excluded.subject::text, CASE WHEN false THEN excluded.id END, CASE WHEN false THEN excluded.subject END FROM (SELECT id, x FROM <g> AS \"g\") excluded(id, subject)",
        ),
        (
            "insert into t (id, subject) select * from g",
            "SELECT excluded.id::bigint, excluded.subject::text, CASE WHEN false THEN excluded.id END, CASE WHEN false THEN excluded.subject END, excluded.* FROM (SELECT * FROM <g> AS \"g\") excluded(id, subject)",
        ),
        (
            "insert into t (id, subject) select $1, $2",
            "SELECT excluded.id::bigint, excluded.subject::text FROM (SELECT $1::bigint, $2::text) excluded(id, subject)",
        ),
    ] {
        assert_eq!(drafted(text), expected, "{text}");
    }
}

#[test]
fn an_upsert_is_the_inserts_and_updates_it_would_make() {
    let text =
        "insert into t (id, amount) values (1, 2) on conflict (id) do update set amount = t.amount + excluded.amount where t.amount < 10";
    let read = "SELECT CASE WHEN pgwicket_row.hit THEN CASE WHEN pgwicket_row.wanted THEN 1 END ELSE 0 END, excluded.pgwicket_order, pgwicket_row.hit, excluded.id, excluded.amount, pgwicket_row.c2, pgwicket_row.c3, pgwicket_row.c4, pgwicket_row.c5, pgwicket_row.c6 FROM (SELECT pgwicket_rows.id AS id, NULL::text AS subject, NULL::pg_catalog.text AS status, pgwicket_rows.amount AS amount, NULL::numeric(10, 2) AS price, NULL::timestamp with time zone AS created_at, NULL::pg_catalog._text AS tags, NULL::jsonb AS meta, NULL::bigint AS customer_id, pg_catalog.row_number() OVER () AS pgwicket_order FROM (VALUES (1::bigint, 2::int)) pgwicket_rows(id, amount)) excluded LEFT JOIN LATERAL (SELECT true AS hit, t.amount < 10 AS wanted, t.id AS c2, t.created_at AS c3, t.amount AS c4, (t.amount + excluded.amount)::int AS c5, CASE WHEN false THEN t.amount + excluded.amount END AS c6 FROM <t, fenced> AS \"t\", LATERAL (SELECT excluded.id, excluded.subject, excluded.status::\"public\".\"status\" AS status, excluded.amount, excluded.price, excluded.created_at, excluded.tags, excluded.meta, excluded.customer_id) excluded WHERE t.id = excluded.id) pgwicket_row ON true";
    assert_eq!(drafted(text), read);
    // New rows are told apart by each unique index, a default is what it is, and an index of some rows asks both rows.
    let read = drafted("insert into t (id, amount) values (1, 2), (2, default) on conflict do nothing");
    for part in [
        "CASE WHEN pgwicket_rows.pgwicket_pattern IN (1) THEN 7::int ELSE pgwicket_rows.amount END AS amount",
        "CASE WHEN pgwicket_new.id IS NOT NULL THEN pg_catalog.min(pgwicket_new.pgwicket_order) OVER (PARTITION BY pgwicket_new.id, ",
        "AS pgwicket_group_2",
        "LIMIT 1) pgwicket_row ON true",
    ] {
        assert!(read.contains(part), "{part}\n{read}");
    }
}

#[test]
fn a_merge_is_the_action_each_row_would_take() {
    for (text, expected) in [
        (
            "merge into t using g on t.id = g.id when matched and g.x = 'x' then delete when matched then update set subject = g.x when not matched then insert (id, subject) values (g.id, g.x)",
            "SELECT CASE WHEN t.id IS NOT NULL THEN CASE WHEN g.x = 'x' THEN 0 WHEN true THEN 1 END ELSE CASE WHEN true THEN 2 END END, t.id, t.created_at, t.subject, t.status, t.amount, t.price, t.tags, t.meta, t.customer_id, CASE WHEN t.id IS NOT NULL THEN CASE WHEN true THEN g.x::text END END, t.id, t.created_at, t.subject, CASE WHEN NOT t.id IS NOT NULL THEN CASE WHEN true THEN g.id::bigint END END, CASE WHEN NOT t.id IS NOT NULL THEN CASE WHEN true THEN g.x::text END END, CASE WHEN false THEN g.x END, CASE WHEN false THEN g.id END, CASE WHEN false THEN g.x END FROM <g> AS \"g\" LEFT JOIN <t> AS \"t\" ON t.id = g.id",
        ),
        (
            "merge into t as m using (values (1, 'a')) v(i, s) on m.id = v.i when not matched and v.s <> '' then insert (id, subject) values (v.i, v.s) when matched then do nothing",
            "SELECT CASE WHEN m.id IS NOT NULL THEN CASE WHEN true THEN NULL::int END ELSE CASE WHEN v.s <> '' THEN 0 END END, CASE WHEN NOT m.id IS NOT NULL THEN CASE WHEN v.s <> '' THEN v.i::bigint END END, CASE WHEN NOT m.id IS NOT NULL THEN CASE WHEN v.s <> '' THEN v.s::text END END, CASE WHEN false THEN v.i END, CASE WHEN false THEN v.s END FROM (VALUES (1, 'a')) v(i, s) LEFT JOIN <t, fenced> m ON m.id = v.i",
        ),
    ] {
        assert_eq!(drafted(text), expected, "{text}");
    }
}

const NO_INDEX: &str = "REFUSED 42P10 there is no unique or exclusion constraint matching the ON CONFLICT specification";

#[test]
fn a_conflict_target_means_the_index_that_postgresql_infers() {
    for text in [
        "insert into t (id) values (1) on conflict (id) do nothing",
        "insert into t (id) values (1) on conflict (id, (id)) do nothing",
        "insert into t (id, subject) values (1, 'x') on conflict (subject) do nothing",
        "insert into t (id) values (1) on conflict on constraint t_pkey do nothing",
        "insert into t (id) values (1) on conflict on constraint t_subject_key do nothing",
        "insert into t (id) values (1) on conflict (lower(subject)) where amount > 5 do nothing",
        "insert into t (id) values (1) on conflict (pg_catalog.lower(subject)) where status = 'open' and 5 < amount do nothing",
        "insert into t (id) values (1) on conflict (lower(subject)) where amount > 6 do nothing",
        "insert into t (id) values (1) on conflict (lower(subject)) where amount = 7 do nothing",
        "insert into t (id) values (1) on conflict (lower(subject)) where amount between 8 and 9 do nothing",
    ] {
        let read = drafted(text);
        assert!(!read.starts_with("REFUSED"), "{text}: {read}");
    }
}

#[test]
fn what_cannot_be_proposed_says_why() {
    for (text, expected) in [
        ("update t set id = 1", "REFUSED 42501 the policy does not let column \"id\" of s.t be changed"),
        ("update t set nothing = 1", "REFUSED 42703 column \"nothing\" of relation \"t\" does not exist"),
        ("update t set amount = 1, amount = 2", "REFUSED 42601 multiple assignments to same column \"amount\""),
        ("update t set tags[1:2] = '{x}'", "REFUSED 0A000 this assignment to a part of column \"tags\" is not supported"),
        ("update c set name = 'x'", "REFUSED 25006 the policy lets nothing be proposed in s.c"),
        ("update nothing set a = 1", "REFUSED 42P01 relation \"nothing\" does not exist"),
        ("update pgwicket.relations set relation = 'x'", "REFUSED 42501 the relations of schema pgwicket are read only"),
        (
            "update t set amount = pg_sleep(1)",
            "REFUSED 42501 function pg_sleep is not available: it holds an upstream connection without work",
        ),
        ("delete from c", "REFUSED 25006 the policy lets nothing be proposed in s.c"),
        ("insert into t (id, customer_id) values (1, 2)", "REFUSED 42501 the policy does not let column \"customer_id\" of s.t be given"),
        ("insert into t (id, id) values (1, 2)", "REFUSED 42701 column \"id\" specified more than once"),
        ("insert into t (id) values (1, 2)", "REFUSED 42601 INSERT has more expressions than target columns"),
        ("insert into t (id, subject) values (1)", "REFUSED 42601 INSERT has more target columns than expressions"),
        ("insert into t (id) values (1), (2), (3), (4)", "REFUSED 53400 more than 3 rows would change: one proposal may change 3 at most"),
        ("insert into t select * from g", "REFUSED 0A000 INSERT of * without column names is not supported"),
        ("insert into t (id) values (1) on conflict (amount) do nothing", NO_INDEX),
        ("insert into t (id) values (1) on conflict (id, subject) do nothing", NO_INDEX),
        ("insert into t (id) values (1) on conflict (lower(subject)) do nothing", NO_INDEX),
        ("insert into t (id) values (1) on conflict (lower(subject)) where status = 'open' do nothing", NO_INDEX),
        (
            "insert into t (id) values (1) on conflict (lower(subject)) where amount % 7 = 6 do nothing",
            "REFUSED 0A000 a conflict target whose WHERE is not seen to imply that of the index is not supported",
        ),
        ("insert into t (id) values (1) on conflict (id desc) do nothing", "REFUSED 42P10 ASC/DESC is not allowed in ON CONFLICT clause"),
        (
            "insert into t (id) values (1) on conflict on constraint real_t_subject do nothing",
            "REFUSED 42704 constraint \"real_t_subject\" for table \"t\" does not exist",
        ),
        ("update t set amount = 1 where current of c", "REFUSED 0A000 WHERE CURRENT OF is not supported"),
        (
            "merge into t using g on t.id = g.id when matched then delete returning t.id",
            "REFUSED 42601 syntax error at or near \"RETURNING\"",
        ),
        (
            "merge into t using g on t.id = g.id when matched then delete when matched then do nothing",
            "REFUSED 42601 unreachable WHEN clause specified after unconditional WHEN clause",
        ),
        ("merge into t using g on t.id = g.id when not matched by source then delete", "REFUSED 42601 syntax error at or near \"BY\""),
    ] {
        assert_eq!(drafted(text), expected, "{text}");
    }
}
