//! Cases that were wrong once, and their kin: a table, a statement, and what PostgreSQL says of it.

use super::{Outcome, Place, Worker};
use crate::support::block_on;

/// `ok`: both leave the same rows.
const CASES: &[(&str, &str, &str)] = &[
    // Which index a target means.
    ("uniq", "42P10", "insert into uniq (id, active) values (50, true) on conflict (active) do update set note = 'hit'"),
    ("uniq", "42P10", "insert into uniq (id, n) values (2, 2) on conflict (id, n) do update set n = 3"),
    ("uniq", "42P10", "insert into uniq (id, n) values (2, 2) on conflict (id, n) do nothing"),
    ("uniq", "42P10", "insert into uniq (id, email) values (2, 'm1') on conflict (email) do nothing"),
    ("uniq", "42P10", "insert into uniq (id, email) values (50, 'm1') on conflict (email) where active do nothing"),
    (
        "uniq",
        "ok",
        "insert into uniq (id, email) values (50, 'm1') on conflict (email) where active and kind <> 'c' do update set n = excluded.n + uniq.n",
    ),
    (
        "uniq",
        "ok",
        "insert into uniq (id, email) values (50, 'm1') on conflict (email) where 'c' <> kind and active = true and n > 3 do update set n = 90",
    ),
    (
        "uniq",
        "ok",
        "insert into uniq (id, email, active) values (50, 'm1', false) on conflict (email) where kind <> 'c' and active do update set n = 90",
    ),
    ("uniq", "ok", "insert into uniq (id, note) values (50, 'n1') on conflict (lower(note)) do update set n = uniq.n + 1 where uniq.n < 5"),
    ("uniq", "ok", "insert into uniq (id, note) values (50, 'N1') on conflict (pg_catalog.lower(note)) do nothing"),
    ("uniq", "42P10", "insert into uniq (id, note) values (50, 'N1') on conflict (upper(note)) do nothing"),
    ("uniq", "42P10", "insert into uniq (id, note) values (50, 'N1') on conflict (note) do nothing"),
    ("uniq", "ok", "insert into uniq (id, n) values (2, 22) on conflict on constraint uniq_pkey do update set n = excluded.n"),
    ("uniq", "ok", "insert into uniq (id, code) values (52, 'a') on conflict on constraint uniq_code_key do update set n = excluded.n"),
    ("uniq", "42704", "insert into uniq (id, n) values (2, 22) on conflict on constraint uniq_email do nothing"),
    ("uniq", "42704", "insert into uniq (id, n) values (2, 22) on conflict on constraint nothing do nothing"),
    ("uniq", "42703", "insert into uniq (id, n) values (2, 22) on conflict (nothing) do nothing"),
    ("uniq", "42601", "insert into uniq (id, n) values (2, 22) on conflict do update set n = 3"),
    ("uniq", "ok", "insert into uniq (id, n) values (2, 22) on conflict (id, id) do update set n = excluded.n"),
    ("uniq", "ok", "insert into uniq (id, code) values (52, 'a') on conflict (code collate \"default\" text_ops) do nothing"),
    ("uniq", "42P10", "insert into uniq (id, code) values (52, 'a') on conflict (code collate \"C\") do nothing"),
    ("uniq", "42P10", "insert into uniq (id, code) values (52, 'a') on conflict (id desc) do nothing"),
    (
        "slugs",
        "ok",
        "insert into slugs (slug, val) values ('s1', 90), ('s70', 70) on conflict (tenant_id, slug) do update set val = excluded.val",
    ),
    (
        "slugs",
        "ok",
        "insert into slugs (tenant_id, slug, val) values ('acme', 's1', 90) on conflict (slug, tenant_id) do update set val = excluded.val + slugs.val",
    ),
    ("slugs", "ok", "insert into slugs (slug, val) values ('s1', 1) on conflict (up, val) do nothing"),
    ("acct", "ok", "insert into acct (id, tag, val) values (90, 't1', 3.456) on conflict (tag) do update set val = excluded.val"),
    ("acct", "ok", "insert into acct (id, tag, nd) values (90, 't90', null) on conflict (nd) do update set val = 9"),
    ("def", "55000", "insert into def (id, d) values (1, 1) on conflict (d) do nothing"),
    ("def", "55000", "insert into def (id, d) values (90, 90) on conflict do nothing"),
    ("def", "ok", "insert into def (id, d) values (1, 90) on conflict (id) do update set val = 90"),
    ("book", "ok", "insert into book (id, during, val) values (90, '[11,12)', 9) on conflict do nothing"),
    ("book", "ok", "insert into book (id, during, val) values (90, '[11,12)', 9) on conflict on constraint book_during_excl do nothing"),
    (
        "book",
        "42809",
        "insert into book (id, during, val) values (90, '[11,12)', 9) on conflict on constraint book_during_excl do update set val = 1",
    ),
    ("book", "42P10", "insert into book (id, during, val) values (90, '[11,12)', 9) on conflict (during) do nothing"),
    // Rows that are met twice.
    ("uniq", "ok", "insert into uniq (id, code) values (60, 'a'), (61, 'B') on conflict do nothing"),
    ("uniq", "ok", "insert into uniq (id, code) values (60, 'Q'), (60, 'R'), (61, 'Q'), (62, 'R') on conflict do nothing"),
    ("uniq", "ok", "insert into uniq (id, note) values (60, 'Qq'), (61, 'qQ') on conflict do nothing"),
    ("uniq", "21000", "insert into uniq (id, n) values (2, 1), (2, 2) on conflict (id) do update set n = excluded.n"),
    ("uniq", "21000", "insert into uniq (id, n) values (60, 1), (60, 2) on conflict (id) do update set n = excluded.n"),
    ("uniq", "ok", "insert into uniq (id, n) values (2, 1), (2, 50) on conflict (id) do update set n = excluded.n where excluded.n > 10"),
    (
        "uniq",
        "21000",
        "insert into uniq (id, n) values (2, 50), (2, 1) on conflict (id) do update set n = excluded.n where excluded.n > 10",
    ),
    ("uniq", "21000", "merge into uniq u using (values (2, 55), (2, 55)) v (i, x) on u.id = v.i when matched then update set n = v.x"),
    (
        "uniq",
        "ok",
        "merge into uniq u using (values (2, 55), (2, 5)) v (i, x) on u.id = v.i when matched and v.x > 10 then update set n = v.x when matched then do nothing",
    ),
    (
        "uniq",
        "21000",
        "merge into uniq u using (values (2, 55), (2, 5)) v (i, x) on u.id = v.i when matched and v.x > 10 then update set n = v.x when matched then delete",
    ),
    (
        "uniq",
        "23505",
        "merge into uniq u using (values (72, 55), (72, 5)) v (i, x) on u.id = v.i when not matched then insert (id, n) values (v.i, v.x)",
    ),
    ("uniq", "23505", "insert into uniq (id) values (60), (60)"),
    ("uniq", "23505", "insert into uniq (id) values (2)"),
    // What is checked of a new row before anything is in its way.
    ("uniq", "23514", "insert into uniq (id, n) values (2, -500) on conflict (id) do update set n = 5"),
    ("uniq", "23502", "insert into uniq (id, n) values (2, null) on conflict (id) do nothing"),
    ("cat", "23502", "insert into cat (id) values (2) on conflict (id) do update set name = 'x'"),
    // What `excluded` holds.
    (
        "uniq",
        "ok",
        "insert into uniq (id) values (2) on conflict (id) do update set n = excluded.n, kind = excluded.kind, active = excluded.active, code = coalesce(excluded.code, 'none')",
    ),
    ("uniq", "ok", "insert into uniq (id, n) values (2, default), (3, 33) on conflict (id) do update set n = excluded.n"),
    ("uniq", "42702", "insert into uniq (id, n) values (2, 5) on conflict (id) do update set n = n + 1"),
    (
        "slugs",
        "ok",
        "insert into slugs (slug) values ('s2') on conflict (tenant_id, slug) do update set val = excluded.val + length(excluded.up)",
    ),
    // Identity and generated columns.
    ("slugs", "428C9", "insert into slugs (id, slug) values (1, 's90')"),
    ("slugs", "ok", "insert into slugs (id, slug) values (default, 's90')"),
    ("slugs", "ok", "insert into slugs (id, slug) overriding system value values (777, 's90')"),
    ("slugs", "ok", "insert into slugs (id, slug) overriding user value values (777, 's90')"),
    ("slugs", "ok", "insert into slugs (id, slug) overriding user value select 5, 's' || g from generate_series(90, 91) g"),
    ("slugs", "428C9", "insert into slugs (id, slug) values (default, 's90'), (5, 's91')"),
    ("slugs", "428C9", "insert into slugs (slug, up) values ('s90', 'S90')"),
    ("slugs", "428C9", "insert into slugs (slug, up) overriding system value values ('s90', 'S90')"),
    ("slugs", "ok", "insert into slugs (slug, up) values ('s90', default)"),
    ("slugs", "428C9", "update slugs set up = 'x' where slug = 's1'"),
    ("slugs", "428C9", "update slugs set id = 5 where slug = 's1'"),
    ("slugs", "ok", "update slugs set val = 90, up = default where slug = 's1'"),
    (
        "slugs",
        "428C9",
        "merge into slugs s using (values ('s90')) v (x) on s.slug = v.x when not matched then insert (id, slug) values (5, v.x)",
    ),
    (
        "slugs",
        "ok",
        "merge into slugs s using (values ('s90')) v (x) on s.slug = v.x when not matched then insert (id, slug) overriding system value values (5, v.x)",
    ),
    ("acct", "ok", "insert into acct (id, tag, nd) values (777, 't90', 77)"),
    // What a row filter and a foreign key let be made.
    ("items", "42501", "insert into items (id, price) values (60, 5000)"),
    ("items", "42501", "insert into items (id) values (60)"),
    ("items", "42501", "insert into items (id, price, secret) values (60, 5, 'x'), (61, 5, null)"),
    ("items", "ok", "insert into items (id, price) values (60, 999), (61, 1)"),
    ("items", "42501", "update items set price = 5000 where id = 2"),
    ("items", "42501", "update items set secret = null where id in (1, 2)"),
    ("items", "ok", "update items set price = price + 1, secret = 'y' where id in (1, 2)"),
    (
        "items",
        "42501",
        "merge into items using (values (2), (60)) v (k) on v.k = items.id when matched then update set name = 'n' when not matched then insert (id, price) values (v.k, 1000)",
    ),
    ("slugs", "23503", "insert into slugs (slug, cat_id) values ('s90', 1001)"),
    ("slugs", "23503", "update slugs set cat_id = 1001 where slug = 's1'"),
    ("slugs", "23503", "update slugs set cat_id = 77 where slug = 's1'"),
    ("slugs", "ok", "update slugs set cat_id = null where slug = 's1'"),
    ("slugs", "ok", "update slugs set cat_id = 5 where slug = 's1'"),
    ("uniq", "ok", "merge into uniq u using (values (2, 1)) v (i, x) on u.id = v.i when matched then do nothing"),
    ("uniq", "22001", "insert into uniq (id, pad) values (2, 'too long') on conflict (id) do nothing"),
    // A literal that its column cannot hold, in an assignment that runs for no row.
    ("uniq", "22P02", "update uniq set kind = 'x', pad = 'p9  ' where false"),
    ("uniq", "22001", "update uniq set pad = 'too long' where false"),
    ("uniq", "22001", "insert into uniq (id) values (60) on conflict (id) do update set pad = 'too long'"),
    ("uniq", "22P02", "insert into uniq (id) values (2) on conflict (id) do update set kind = 'x' where false"),
    ("uniq", "22P02", "insert into uniq (id, kind) select 60, 'x' where false"),
    ("uniq", "22P02", "merge into uniq u using (values (60)) v (i) on u.id = v.i when matched then update set kind = 'x'"),
    (
        "uniq",
        "22001",
        "merge into uniq u using (values (2)) v (i) on u.id = v.i when not matched then insert (id, pad) values (60, 'too long')",
    ),
    ("uniq", "ok", "update uniq set pad = 'p       ' where false"),
    // Parts of columns.
    ("acct", "ok", "update acct set arr[1] = 70 where id in (1, 2)"),
    ("acct", "ok", "update acct set arr[5] = arr[1] + 1, arr[2] = null, jb['k'] = '{\"z\": 1.50}', jb['new'] = null where id < 4"),
    ("acct", "ok", "update acct set jb['k'] = to_jsonb(acct.id), jb['l'] = acct.jb['k'] where id = 3"),
    ("acct", "ok", "update acct set (arr[2], val) = (v.x, 2) from (values (2, 50)) v (k, x) where v.k = acct.id"),
    ("acct", "22P02", "update acct set arr[1] = 'x' where false"),
    ("acct", "42804", "update acct set arr[1] = tag where id = 1"),
    ("acct", "42804", "update acct set jb['k'] = 5 where id = 1"),
    ("acct", "42601", "update acct set arr = '{1}', arr[2] = 5 where id = 1"),
    // What is checked at the end of a statement.
    ("def", "ok", "update def set d = 7 - d"),
    ("def", "ok", "update def set d = d + 1"),
    ("def", "23505", "update def set d = 2 where id < 3"),
    ("def", "ok", "insert into def (id, par) values (60, 61), (61, 62), (62, 1)"),
    ("def", "23503", "insert into def (id, par) values (60, 61), (61, 63), (62, 1)"),
    ("def", "ok", "delete from def where id in (5, 6)"),
    ("def", "23503", "delete from def where id in (4, 5)"),
    (
        "def",
        "ok",
        "merge into def using (values (1), (60)) v (k) on v.k = def.id when matched then update set par = 60 when not matched then insert (id) values (v.k)",
    ),
    // A column twice, ONLY.
    ("uniq", "42701", "insert into uniq (id, id) values (1, 2)"),
    ("uniq", "42601", "update uniq set n = 1, n = 2"),
    ("uniq", "ok", "update only uniq set n = 50 where id = 1"),
    ("uniq", "ok", "delete from only uniq as u where u.id = 1"),
    ("uniq", "42601", "merge into uniq u using (values (2)) v (i) on u.id = v.i when matched then delete returning u.id"),
];

#[test]
fn a_write_means_what_postgresql_means() {
    let place = Place::start(1);
    let wrong = block_on(async {
        let mut worker = Worker::connect(&place, 0).await;
        let mut wrong = Vec::new();
        for (table, expected, text) in CASES {
            let (reference, through) = worker.both(table, text).await;
            let known = reference.code().unwrap_or("ok") == *expected;
            let same = match (&reference, &through) {
                (Outcome::Rows(one), Outcome::Rows(other)) => one == other,
                (one, other) => one.code() == other.code(),
            };
            if !(known && same) {
                wrong.push(format!("{text}\n  expected   {expected}\n  PostgreSQL {reference:?}\n  pgwicket   {through:?}"));
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{} of {} cases\n\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
}

/// What a row that the agent sees is in the way of is refused when it is proposed; what other rows are in the way of is stored.
const AT_ONCE: &[(&str, &str)] = &[
    ("insert into uniq (id) values (2)", "23505"),
    ("insert into uniq (id) values (1002)", "25006"),
    ("insert into uniq (id, code) values (60, 'a')", "23505"),
    ("insert into uniq (id, code) values (60, 'az')", "25006"),
    ("insert into uniq (id, code) values (60, null), (61, null)", "25006"),
    ("insert into uniq (id, code) values (60, 'Z'), (61, 'Z')", "23505"),
    ("insert into uniq (id, email) values (60, 'm1')", "23505"),
    ("insert into uniq (id, email, active) values (60, 'm1', false)", "25006"),
    ("insert into uniq (id, email, kind) values (60, 'm1', 'c')", "25006"),
    ("insert into uniq (id, note) values (60, 'n1')", "23505"),
    ("insert into uniq (id, code) values (2, 'q') on conflict (id) do update set code = 'a'", "23505"),
    ("insert into uniq (id, code) values (60, 'a') on conflict (id) do nothing", "23505"),
    ("update uniq set code = 'a' where id = 3", "23505"),
    ("update uniq set code = 'a' where id = 1", "25006"),
    ("update uniq set code = 'q' where id in (1, 2)", "23505"),
    ("update uniq set email = 'm1', kind = 'a' where id = 2", "23505"),
    ("update uniq set active = true where id = 3", "25006"),
    (
        "merge into uniq u using (values (60, 'a')) v (i, c) on u.id = v.i when not matched then insert (id, code) values (v.i, v.c)",
        "23505",
    ),
    ("merge into uniq u using (values (3, 'b'), (2, 'q')) v (i, c) on u.id = v.i when matched then update set code = v.c", "25006"),
    ("insert into slugs (slug) values ('s1')", "23505"),
    ("insert into acct (id, tag, nd) values (60, 't60', null)", "23505"),
    ("insert into acct (tag) values ('t1')", "23505"),
    ("insert into def (id, d) values (60, 1)", "23505"),
    ("insert into book (id, during, val) values (60, '[11,12)', 1)", "23P01"),
    ("insert into book (id, during, val) values (60, '[300,310)', 1), (61, '[305,320)', 1)", "23P01"),
    ("insert into book (id, during, val) values (60, '[1011,1012)', 1)", "25006"),
    ("insert into items (id, price) values (7, 1)", "25006"),
    ("insert into items (id, price) values (1, 1)", "23505"),
    ("update gen set kind = 'x' where id = 3", "25006"),
    ("update gen set code = 'c', kind = 'x' where id = 3", "25006"),
    ("update trig set code = 'a' where id = 2", "25006"),
    ("insert into uniq (id) values (2) /* idempotency_key='again' */", "25006"),
];

#[test]
fn a_row_that_the_agent_sees_is_in_the_way_at_once() {
    let place = Place::start(1);
    let wrong = block_on(async {
        let worker = Worker::connect(&place, 0).await;
        let mut wrong = Vec::new();
        for (text, expected) in AT_ONCE {
            let error = worker.agent.simple_query(text).await.unwrap_err();
            let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
            let told = error.as_db_error().map(ToString::to_string).unwrap_or_default();
            if code != *expected || told.contains("uniq_") || told.contains("_excl") {
                wrong.push(format!("{text}\n  {expected} expected: {error}: {told}"));
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{} of {}\n\n{}", wrong.len(), AT_ONCE.len(), wrong.join("\n\n"));
}

/// A write, what happens at the source before it is applied, and how it ends.
const MEANWHILE: &[(&str, &str, &str, &str)] = &[
    ("items", "delete from items where id = 2", "update items set secret = null where id = 2", "conflict"),
    ("items", "update items set name = 'n' where id = 2", "update items set price = 5000 where id = 2", "conflict"),
    ("items", "update items set name = 'n' where id = 2", "update items set price = 999 where id = 2", "ok"),
    (
        "items",
        "update items set name = 'n' where id = 2",
        "create function grow() returns trigger language plpgsql as 'begin new.price = 5000; return new; end'; \
         create trigger grow before insert or update on items for each row execute function grow()",
        "42501",
    ),
    ("items", "insert into items (id, price) values (60, 1)", "select", "42501"),
    ("slugs", "update slugs set cat_id = 5 where slug = 's1'", "update cat set tenant_id = 'globex' where id = 5", "23503"),
    ("slugs", "insert into slugs (slug, cat_id) values ('s90', 5)", "update cat set tenant_id = 'globex' where id = 5", "23503"),
    ("slugs", "insert into slugs (slug, cat_id) values ('s90', 4)", "update cat set tenant_id = 'globex' where id = 5", "ok"),
];

#[test]
fn what_is_applied_passes_the_row_filter_and_refers_to_own_rows() {
    let place = Place::start(1);
    block_on(async {
        let mut worker = Worker::connect(&place, 0).await;
        let loose = worker.through("items", "update loose set price = 5000 where id = 2").await;
        assert!(matches!(&loose, Outcome::Rows(rows) if rows.len() == 3), "a row may leave the filter with `check: none`: {loose:?}");
        for (table, text, meanwhile, expected) in MEANWHILE {
            let id = worker.proposed(text).await;
            worker.owner.batch_execute(meanwhile).await.unwrap();
            let outcome = worker.apply(table, id).await;
            assert_eq!(outcome.code().unwrap_or("ok"), *expected, "{text}: {outcome:?}");
            worker.put_back("cat").await;
            worker.put_back(table).await;
        }
    });
}
