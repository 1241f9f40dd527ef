//! Which rule fences which statement, each with a neighbour that stays plain.

use crate::govern::tests::{fenced, governed, planned_each_time};

fn plain(texts: &[&str]) {
    for text in texts {
        assert_eq!(fenced(text), None, "{text}");
    }
}

fn doubted(why: &str, texts: &[&str]) {
    for text in texts {
        let doubts = fenced(text).unwrap_or_else(|| panic!("not fenced: {text}"));
        assert!(doubts.contains(why), "{text}: {doubts}");
    }
}

/// The rule: every operand of a condition is proven, not only those that read a governed column (`Analyzer::expression` has no arm that
/// passes what reads none).
#[test]
fn an_operand_without_a_column_is_proven_or_doubted() {
    plain(&[
        "select * from t where amount > 2 * 3 + 1",
        "select * from t where amount = $1",
        "select * from t where amount = $1::int",
        "select * from t where subject = lower('ABC') and price < round(10.55, 1)",
        "select * from t where subject = current_setting('application_name')",
        "select * from t where id = -1 and amount in (1, 2 + 3)",
    ]);
    doubted(
        "is not known to be leakproof",
        &[
            "select * from t where amount = 1 / $1",
            "select * from t where amount = $1 + 1",
            "select * from t where amount = 7777 and id = $1::text::int",
            "select * from t where amount = 7777 and 1 / (extract(year from now())::int - 2026) = 1",
            "select * from t where amount = 7777 and (id = 5 or now()::text::int = 1)",
            "select * from t where amount = 7777 and '2024'::text::timestamptz is null",
            "select * from t join c on c.id = t.customer_id and c.id > 5 / $1",
            "select * from t where amount = 7777 and random() < 0.5",
            "select * from t where amount = 7777 and id > (select count(*) from c where 1 / (extract(year from now()) - 2026) = 1)",
            "select * from t where amount = 7777 and exists (select 1 from g where 1 / $1 > 0)",
            "select * from t, g where t.amount = 1 / g.id",
            "select * from t, (values (1 / $1)) v",
        ],
    );
}

/// The rule: a clock and its bounded steps raise nothing (`total::steady`); a step without a bound may.
#[test]
fn steps_from_a_clock_have_bounds() {
    plain(&[
        "select * from t where created_at > now() - interval '7 days'",
        "select * from t where created_at > now() - interval '1 month 3 days' * 2",
        "select * from t where created_at >= current_date - 30",
        "select * from t where created_at >= date_trunc('month', now()) - interval '1 month'",
        "select * from t where created_at between current_date - interval '1 year' and current_timestamp",
        "select * from t where created_at > timestamptz '2024-01-01' + interval '1 day'",
        "select * from t where amount = extract(year from current_date) - 1",
        "select * from t where created_at >= now()::date",
    ]);
    doubted(
        "is not known to be leakproof",
        &[
            "select * from t where created_at > current_date + 2147483647",
            "select * from t where created_at > now() - interval '999999 years'",
            "select * from t where created_at > now() - interval '1 day' * 900000 * 900",
            "select * from t where created_at > now() - $1::interval",
            "select * from t where created_at > date_trunc('fortnight', now())",
            "select * from t where created_at > timestamptz '290000-01-01' + interval '9999 years'",
            "select * from t where amount = extract(microfortnight from current_date)",
            "select * from t where created_at > now() at time zone 'nowhere'",
        ],
    );
}

/// The rule: a comparison's collation is known (`Collation::and`); two that conflict raise on the first row.
#[test]
fn collations_that_conflict_are_doubted() {
    plain(&[
        "select * from k where ca = 'x' and cp < 'y' and own > ca",
        "select * from k where coalesce(ca, own) = 'x'",
        "select * from k join t on t.subject = k.cp",
        "select * from k where ca like 'x%' and lower(cp) like 'x%'",
        "select * from k where nd = 'x' and id in (select id from t where subject = 'x')",
        "select * from k where case when id = 1 then ca else own end = 'x'",
        "select * from k a join k b using (ca)",
    ]);
    doubted(
        "",
        &[
            "select * from k where ca < cp",
            "select * from k where cp > current_user",
            "select * from k where ca = any (array[session_user, cp])",
            "select * from k, t where (t.meta ->> k.cp) = k.ca",
            "select * from k a join k b on a.ca = b.cp",
            "select * from k where ca in ('x', cp)",
            "select * from k where ca = any(array[own, cp])",
            "select * from k where coalesce(ca, cp) = 'x'",
            "select * from k where case when id = 1 then ca else cp end = 'x'",
            "select * from k where nullif(ca, cp) is null",
            "select * from k where greatest(ca, cp) is null",
            "select * from k where ca between 'a' and cp",
            "select * from k where case ca when cp then true end",
            "select * from k where ca is distinct from cp",
            "select * from k where lower(coalesce(ca, cp)) = 'x'",
            "select * from k a join (select cp as ca from k) b using (ca)",
            "select * from k where ca in (select cp from k)",
            "select * from k where ca > (select max(cp) from k)",
            "select * from (select ca from k union all select cp from k) x where ca = 'x'",
            "select * from k where nd like 'x%'",
            "select * from k where lower(nd) like 'x%'",
            "select * from k where unread = 'x'",
            "select * from k where ca collate \"C\" = cp",
            "select * from t where id > (select min(id) from k group by unread limit 1)",
        ],
    );
}

/// The rule: a computed column is a doubt wherever it stands (`COMPUTED`), and no copy of it goes inside a fence.
#[test]
fn a_computed_column_is_an_expression() {
    plain(&["select id from v where id = 5", "select count(*) from v", "select n from w"]);
    doubted(
        "a column that a view, a generated column or a foreign table computes",
        &[
            "select id from v where n = 10",
            "select n from v",
            "select * from v",
            "select v from v",
            "select t.id, v.n from t left join v on v.id = t.id",
            "select (select max(n) from v) from t",
            "select * from t, w where t.amount = w.n",
        ],
    );
    let sent = governed("select id from v where n = 10 and id = 5");
    assert!(sent.contains(r#"WHERE "tenant_id" = $1 AND (("id") = (5)) OFFSET 0"#), "{sent}");
}

/// The rule: a column that a level hands on as it is has its statistics, whatever stands between (`targets`); what is computed has none.
#[test]
fn no_level_hides_the_statistics_of_a_column() {
    plain(&[
        "select * from (select id, price / amount as q from t limit 100) x where q > 3",
        "select * from (select id, row_number() over (order by price / amount) as r from t) x where r <= 10",
        "select * from (select status, sum(price) as s, count(*) as n from t group by 1) x where s / n > 5",
    ]);
    doubted(
        "is not known to be leakproof",
        &[
            "select count(*) from (select id, subject from t limit 100000) s where subject like 'a%\\'",
            "select count(*) from (select * from t order by id limit 100) s where subject like 'a%\\'",
            "with c as materialized (select id, subject from t) select count(*) from c where subject like 'a%\\'",
            "select count(*) from (select subject, row_number() over () from t) s where subject like 'a%\\'",
        ],
    );
}

/// The rule: a HAVING with an aggregate is tried on the statistics of the columns beside it (`within` with `after_grouping`).
#[test]
fn a_having_is_estimated_on_the_columns_it_groups_by() {
    plain(&[
        "select status, count(*) from t group by 1 having sum(price) / count(*) > 1 / 0.5 and status = 'open'",
        "select status from t group by 1 having count(*) > (select count(*) / count(*) from c)",
        "select subject from t group by 1 having count(*) > 5 / $1",
    ]);
    doubted(
        "is not known to be leakproof",
        &[
            "select subject, count(*) from t group by 1 having case when count(*) > 0 then subject like 'a%\\' end",
            "select subject from t group by 1 having (count(*) > 0 or subject like 'a%\\')",
            "select * from (select subject, count(*) > 0 and subject like 'a%\\' as b from t group by 1) x where b",
        ],
    );
}

/// The rule: a distance in a select list or an order may be an index's to compute (`distances`).
#[test]
fn a_distance_may_be_computed_by_an_index() {
    doubted(
        "a distance, by which an index may order rows",
        &[
            "select id from t order by point(amount, amount) <-> point '(0,0)'",
            "select id, point(amount, 1) <-> point '(0,0)' as d from t order by d",
            "select id from t order by point(amount, amount) ## lseg '[(0,0),(1,1)]'",
            "select id from t order by point(amount, amount) operator(pg_catalog.<->) point '(0,0)'",
            "select min(point(amount, amount) <-> point '(0,0)') from t",
        ],
    );
    plain(&["select id from t order by amount <> 5, price / amount, point(amount, amount) <@ box '((0,0),(1,1))'"]);
}

/// The rule: what is in a subquery of a condition runs when some row gets there (`lazy`), so it is proven by type.
#[test]
fn a_subquery_of_a_condition_is_in_a_qual_position_throughout() {
    plain(&[
        "select * from t where amount > (select avg(amount) from t)",
        "select * from t where id in (select customer_id from t where status = 'open' group by customer_id)",
        "select * from t where amount = (select amount from t order by created_at desc limit 1)",
    ]);
    doubted(
        "in a subquery of a condition",
        &[
            "select * from t where price > (select avg(price) from t)",
            "select * from t where id in (select distinct id from (select id, meta from t) x group by id, meta)",
            "select * from t where id in (select id from t order by meta limit 1)",
        ],
    );
}

/// The rule: where an error may come or not by how parameters are planned, the plan is for their values each time (`planned.rs`).
#[test]
fn no_error_comes_by_the_kind_of_a_plan() {
    for text in [
        "select * from t where id = $1",
        "select id, price / amount, sum(price) over () from t where id = $1 and subject like 'a%' order by price / amount limit $2",
        "select count(*) from t where amount between $1 and $2 and subject = any($3) or status in ($4, $5)",
        "select status, sum(price / amount) from t where created_at > now() - interval '1 day' and id <> $1 group by status",
        "select * from t join c on c.id = t.customer_id and c.id = $1 left join g on g.id = t.id",
        "select * from t where id in (select id from c where id > $1) and exists (select 1 from g where g.id = t.id)",
        "select coalesce(subject, $1), $2::int from t",
        "with x as (select id, amount from t) select price / 0 from t where id = $1",
        "select * from (select customer_id, count(*) as n, max(id) as m from t group by 1) x where n > $1",
        "select id from t where id = $1 union all select customer_id from t where amount = $2",
        "select * from t where amount > 1 / 0 and subject like 'a%\\'",
        "select sqrt($1)",
    ] {
        assert!(!planned_each_time(text), "{text}");
    }
    for text in [
        "select * from t where amount < 100 / $1",
        "select 100 / $1 from t where id = 5",
        "select price from t order by 100 / $1",
        "select count(*) from t group by 100 / $1",
        "select row_number() over (partition by 100 / $1) from t",
        "select count(*) filter (where id < 100 / $1) from t",
        "select distinct on (100 / $1) id from t",
        "select case when $1 = 1 then 1 else 1 / 0 end from t",
        "select (select count(*) from c where id = $1 and price / amount > 1) from t",
        "select * from t where id = $1 and amount > 1 / 0",
        "select * from t where id = $1 and created_at > '2024-01-01'::timestamptz(9)",
        "select * from t where id = $1 or price / amount > 1",
        "select * from t where id = $1 and exists (select 1 from c where 1 = 1 / 0)",
        "select * from (select id, price / amount as q from t limit 5) x where id = $1",
        "select * from (select id, sum(price) as s from t group by id) x where id = $1",
        "with x as materialized (select id, price / amount as q from t) select * from x where id = $1",
        "select status from t group by status having sum(price) / count(*) > $1",
        "select t.id from t, generate_series(1, 3, 0) x where t.id = $1",
        "select id from t where id = $1 union all select price from t",
        "select id from t limit 10 / $1",
        "select id from t limit $1::text::int",
        "select * from t where subject like $1",
        "select * from t where amount < 100 / current_setting('application_name')::int",
        "select length(current_user) / (length(current_user) - 5) from t",
    ] {
        assert!(planned_each_time(text), "{text}");
    }
}

/// The rule: what is left beside the tenant predicate unproven, for it runs on rows that hide none, holds no equality (`holds_no_equality`).
#[test]
fn an_equality_may_be_carried_to_another_relation() {
    plain(&[
        "select * from t, g where 1 / g.id > 0",
        "select * from t, g where (1 / g.id > 0 or g.x is null) and not (10 % g.id < 3)",
        "select * from t, generate_series(1, 3) f where 1 / f > 0 and case when 1 / f > 0 then true else false end",
    ]);
    for text in [
        "select * from t, g where 1 / g.id = 1",
        "select * from t, g where not (1 / g.id <> 1)",
        "select * from t, g where 1 / g.id in (1)",
        "select * from t, g where 1 / g.id = any (array[1])",
        "select * from t, g where 1 / g.id between 1 and 1",
        "select * from t, g where 1 / g.id is not distinct from 1",
        "select * from t, g where nullif(1 / g.id, 1) > 0",
        "select * from t, g where (1 / g.id, 2) >= (1, 2)",
        "select * from t, g where case 1 / g.id when 1 then true end",
        "select * from t, generate_series(1, 3) f where 1 / f = 1",
        "select * from t join (select 1 / id as amount from g) x using (amount)",
        "select * from t natural join g",
        "select * from t, (select 1 / id as q from g union select 2) x where q = 1",
    ] {
        assert!(fenced(text).is_some(), "{text}");
    }
    doubted("JOIN USING (n): its equality", &["select count(*) from v join (select amount as n from t) x using (n)"]);
}

/// The rule: an aggregate whose argument may be of an outer level makes no HAVING of it (`is_over_groups`).
#[test]
fn an_aggregate_of_an_outer_level_groups_nothing_here() {
    plain(&["select * from g, lateral (select t.id from t, unnest(array[1]) f group by t.id having count(*) > 5 / max(t.id)) s"]);
    doubted(
        "is not known to be leakproof",
        &["select * from g, lateral (select t.id from t, unnest(array[1]) f group by t.id having count(x) > 1 / t.id) s"],
    );
}

/// The rule: the least and the greatest of an expression may be looked for by an index that a part of the relation lacks (`extremes`).
#[test]
fn an_extreme_of_an_expression_is_in_a_qual_position() {
    plain(&[
        "select max(amount), min(created_at), bool_and(amount > 5) from t",
        "select status, max(10 / amount) from t group by status",
        "select max(10 / amount) filter (where amount > 0), sum(10 / amount) from t",
        "select max(10 / amount) over () from t",
    ]);
    doubted(
        "is not known to be leakproof",
        &[
            "select max(10 / amount) from t",
            "select pg_catalog.min(10 / amount) from t",
            "select bool_or(10 / amount > 1) from t",
            "select count(*) from t having every(10 / amount > 1)",
            "select max(10 / amount) from t group by ()",
            "select id, (select min(10 / amount) from t) from c",
        ],
    );
}

/// The rule: what raises by itself as it is read tells, in a subquery of a condition, that a row got there (`relation_is_quiet`).
#[test]
fn a_subquery_of_a_condition_reads_what_raises_nothing() {
    plain(&["select * from t where id > (select count(*) from c)", "select * from t where id > (select count(*) from v)"]);
    doubted("a subquery in a condition that may raise", &["select * from t where id > (select count(*) from w)"]);
}

/// What a level that runs for each outer row is tied to it by stands inside the fence, where it is a condition on an index.
#[test]
fn a_comparison_with_an_outer_column_is_copied_where_the_level_runs_for_each_of_its_rows() {
    let tied = r#" AND (("customer_id") = ("c"."id")) OFFSET 0"#;
    for text in [
        "select (select max(1/amount) from t where customer_id = c.id) from c where 'x' ~ c.name",
        "select * from c where id > (select max(1/t.amount) from t where t.customer_id = c.id)",
        "select array(select subject from t where customer_id = c.id and 'x' ~ subject) from c",
        "select (select count(*) from (select * from t where customer_id = c.id) x where 'x' ~ x.subject) from c",
        "select * from c cross join lateral (select * from t where customer_id = c.id and 'x' ~ subject order by 1 limit 3) x",
        "select * from c, lateral (select count(*) as n from t where customer_id = c.id and 'x' ~ subject) x",
    ] {
        let sent = governed(text);
        assert!(sent.contains(tied), "{text}: {sent}");
    }
    // The outer column is named by its relation, however the client names it.
    let sent = governed("select (select max(1/amount) from t where customer_id = x_id) from c as y(x_id) where 'x' ~ name");
    assert!(sent.contains(r#"(("customer_id") = ("y"."x_id")) OFFSET 0"#), "{sent}");
    for text in [
        // PostgreSQL makes joins of these.
        "select * from c where exists (select from t where customer_id = c.id and 'x' ~ subject)",
        "select * from c where 5 in (select amount from t where customer_id = c.id and 'x' ~ subject)",
        "select * from c, lateral (select * from t where customer_id = c.id and 'x' ~ subject) x",
        // Inside a fence an expression over an outer column runs beside rows of everybody.
        "select (select max(1/amount) from t where customer_id = c.id + 1) from c",
        "select (select max(1/amount) from t where customer_id = -c.id) from c",
        "select (select max(1/amount) from t where customer_id = c.name::int) from c",
        // A mask runs as a column is read.
        "select (select max(1/amount) from t where subject = c.email) from c",
        // The name is the table's own there, or a nearer level's.
        "select (select max(1/amount) from t where customer_id = real_t.id) from c as real_t where 'x' ~ real_t.name",
        "select (select (select max(1/amount) from t where customer_id = far) from g x) from c x(far) where 'x' ~ x.name",
    ] {
        let sent = governed(text);
        assert!(sent.contains(" OFFSET 0)"), "not fenced: {text}: {sent}");
        assert!(!sent.contains(r#"(("customer_id") ="#) && !sent.contains(r#"(("subject") ="#), "{text}: {sent}");
    }
    let sent = governed("select (select (select max(1/amount) from t where customer_id = far) from g y) from c x(far) where 'x' ~ x.name");
    assert!(sent.contains(r#"(("customer_id") = ("x"."far")) OFFSET 0"#), "two levels out: {sent}");
}
