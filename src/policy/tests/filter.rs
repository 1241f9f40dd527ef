//! `where:`: what may stand in it, and what of it is leakproof.

use insta::assert_snapshot;

use super::filter;

#[test]
fn a_filter_is_leakproof_only_by_known_shapes() {
    let all = |expressions: &[&str]| expressions.iter().map(|expression| filter(expression)).collect::<Vec<_>>().join("\n");
    assert_snapshot!(all(&[
        "deleted_at is null",
        "deleted_at is null -- only the living",
        "deleted_at is null /* a */ and id > 5",
        "id = 7 and not (size in (1, 2, 3))",
        "id = 9223372036854775807",
        "tenant_id <> 'x' and subject = 'y'",
        "level between 1 and 5",
        "nick = 'x'",
        "amount > 5",
        "status = 'open'",
        "subject like 'a%'",
        "subject like 'a\\\\'",
        "lower(subject) = 'x'",
        "deleted_at > now() - interval '7 days'",
        "deleted_at > '2020-01-01'::timestamptz",
        "id::text = '5'",
        "meta->>'kind' = 'x'",
        "id = size",
        "coalesce(size, 0) > 1",
        "true",
        "subject like 'a\\'",
    ]), @r"
    leakproof: deleted_at is null
    leakproof: deleted_at is null
    leakproof: deleted_at is null   and id > 5
    leakproof: id = 7 and not (size in (1, 2, 3))
    leakproof: id = 9223372036854775807
    leakproof: tenant_id <> 'x' and subject = 'y'
    leakproof: level between 1 and 5
    fenced: nick = 'x'
    leakproof: amount > 5
    leakproof: status = 'open'
    leakproof: subject like 'a%'
    leakproof: subject like 'a\\'
    fenced: lower(subject) = 'x'
    fenced: deleted_at > pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', now()) - '7 days'::interval)
    leakproof: deleted_at > '2020-01-01 00:00:00+00'::timestamptz
    fenced: id::text = '5'
    fenced: meta->>'kind' = 'x'
    fenced: id = size
    fenced: coalesce(size, 0) > 1
    leakproof: true
    fenced: subject like 'a\'
    ");
}

#[test]
fn a_filter_is_one_boolean_expression_over_this_relation() {
    let all = |expressions: &[&str]| expressions.iter().map(|e| format!("{e}\n    {}", filter(e))).collect::<Vec<_>>().join("\n");
    assert_snapshot!(all(&[
        "1",
        "size + 1",
        "true) or (true",
        "true; drop table x",
        "id, size",
        "id as x",
        "*",
        "all id",
        "distinct id",
        "id = 1 from pg_class",
        "id = 1 union select 2",
        "id in (select 1)",
        "exists (select 1)",
        "id = $1",
        "tickets.id = 1",
        "ctid is null",
        "tickets is null",
        "idd = 1",
        "pg_sleep(1) is null",
        "random() > 0.5",
        "clock_timestamp() > deleted_at",
        "current_user = 'x'",
        "count(*) > 1",
        "row_number() over () = 1",
        "public.f(id)",
        "id operator(public.=) 5",
        "subject::regclass is null",
        "subject similar to 'x'",
        "id = 0x1F",
        "id = 1_000",
        "hidden = 'x'",
        "",
        "-- nothing",
        "id = 1 /* open",
        "id =",
    ]), @r#"
    1
        `where` must not use a value that is not true or false
    size + 1
        `where` must not use a value that is not true or false
    true) or (true
        `where` is not an SQL expression: syntax error at or near ")"
    true; drop table x
        `where` is not an SQL expression: syntax error at or near ";"
    id, size
        `where` is more than one expression
    id as x
        `where` is not an SQL expression: syntax error at or near "as"
    *
        `where` is not an SQL expression: syntax error at or near "*"
    all id
        `where` is not an SQL expression: syntax error at or near "all"
    distinct id
        `where` is not an SQL expression: syntax error at or near "distinct"
    id = 1 from pg_class
        `where` is not an SQL expression: syntax error at or near "from"
    id = 1 union select 2
        `where` is not an SQL expression: syntax error at or near "union"
    id in (select 1)
        `where` must not use a subquery
    exists (select 1)
        `where` must not use a subquery
    id = $1
        `where` must not use a parameter
    tickets.id = 1
        `where` must not use a qualified name or `*`
    ctid is null
        `where` names `ctid`, which is no column of `public.tickets`
    tickets is null
        `where` names `tickets`, which is no column of `public.tickets`
    idd = 1
        `where` names `idd`, which is no column of `public.tickets`
    pg_sleep(1) is null
        `where` must not use the function `pg_sleep`: it holds an upstream connection without work
    random() > 0.5
        `where` must not use the function `random`: it is volatile, an aggregate or returns rows
    clock_timestamp() > deleted_at
        `where` must not use the function `clock_timestamp`: it is volatile, an aggregate or returns rows
    current_user = 'x'
        `where` must not use the session's user, role or schema
    count(*) > 1
        `where` must not use the function `count`: only plain calls of built-in functions can be
    row_number() over () = 1
        `where` must not use the function `row_number`: only plain calls of built-in functions can be
    public.f(id)
        `where` must not use the function `public.f`: only plain calls of built-in functions can be
    id operator(public.=) 5
        `where` must not use an operator outside pg_catalog
    subject::regclass is null
        `where` must not use a cast to `regclass`: it looks its text up in the source's own catalog, where hidden names are
    subject similar to 'x'
        `where` must not use `similar to`
    id = 0x1F
        `where` has the number `0x1F`, which older servers read differently
    id = 1_000
        `where` has the number `1_000`, which older servers read differently
    hidden = 'x'
        `where` needs the column `hidden`, which the source's credential may not read

        `where` is empty
    -- nothing
        `where` is empty
    id = 1 /* open
        `where` is not SQL: unterminated /* comment
    id =
        `where` is not an SQL expression: syntax error at end of input
    "#);
}
