-- The planner leak (docs/SECURITY.md, "The planner leak, and the fence") in every form we know. Each statement raises an
-- error on a row that the agent may not see, and on no other: on a copy that holds acme's rows alone it succeeds.
-- Through pgwicket it must answer what that copy answers. The bait: ticket 7777 is globex's, its amount is 7777 where
-- acme's amounts stay below 5000, and its secret '(((' is no regular expression and no number. Acme's
-- ticket 380 is deleted, so the policy's row filter hides it.
-- Format: see statements.sql.

-- name: where-regex
select count(*) from tickets where amount = 7777 and 'x' ~ secret;

-- name: where-regex-first
select count(*) from tickets where 'x' ~ secret and amount = 7777;

-- name: where-regex-star
select * from tickets where amount = 7777 and 'x' ~* secret order by id;

-- name: where-not-regex
select id from tickets where amount = 7777 and not ('x' !~ secret) order by id;

-- name: where-or
select id from tickets where (amount = 7777 and 'x' ~ secret) or id = 10 order by id;

-- name: where-similar-to
select count(*) from tickets where id = 7777 and 'x' similar to secret;

-- name: where-regex-function
select count(*) from tickets where id = 7777 and regexp_replace('x', secret, '') = 'x';

-- name: where-regexp-like
select count(*) from tickets where id = 7777 and regexp_like('x', secret);

-- name: where-cast-text-to-int
select count(*) from tickets where amount = 7777 and secret::int = 1;

-- name: where-cast-text-to-numeric-call
select count(*) from tickets where amount = 7777 and cast(secret as numeric) > 0;

-- name: where-cast-text-to-date
select count(*) from tickets where amount = 7777 and secret::date > '2024-01-01';

-- name: where-cast-text-to-uuid
select count(*) from tickets where id = 7777 and secret::uuid = public_id;

-- name: where-cast-text-to-jsonb
select count(*) from tickets where id = 7777 and secret::jsonb = '{}';

-- name: where-cast-text-to-timestamptz
select count(*) from tickets where id = 7777 and secret::timestamptz = created_at;

-- name: where-cast-text-to-int-array
select count(*) from tickets where id = 7777 and secret::int[] = '{1}';

-- name: where-cast-text-to-bytea
select count(*) from tickets where id = 7777 and decode(secret, 'hex') = '\x00';

-- name: where-cast-by-function
select count(*) from tickets where id = 7777 and int4(secret::numeric) = 1;

-- name: where-cast-numeric-to-smallint
select count(*) from tickets where (amount * 5)::int2 < 0;

-- name: where-division-by-zero
select count(*) from tickets where 1 / (amount - 7777) > 5;

-- name: where-division-by-zero-integer
select count(*) from tickets where 1 / (id - 7777) > 5;

-- name: where-modulo-zero
select count(*) from tickets where 10 % (id - 7777) = 11;

-- name: where-division-of-a-deleted-row
select count(*) from tickets where 1 / (id - 380) > 5;

-- name: where-sqrt-negative
select count(*) from tickets where sqrt(7776 - amount) < 0;

-- name: where-ln-of-zero
select count(*) from tickets where ln(7777 - amount) < 0;

-- name: where-log-negative
select count(*) from tickets where log(7776 - amount) < 0;

-- name: where-power-of-negative
select count(*) from tickets where power(7776.5 - amount, 0.5) < 0;

-- name: where-exp-overflow
select count(*) from tickets where exp(case when amount > 7000 then 1000 else 1 end::float8) > 10;

-- name: where-acos-out-of-range
select count(*) from tickets where acos(amount::float8 / 7000) < 0;

-- name: where-integer-overflow
select count(*) from tickets where (id::int4 + 2147480000) < 0 and id < 7778 and id > 7776;

-- name: where-bigint-overflow
select count(*) from tickets where id * (case when id = 7777 then 9223372036854775807 else 1 end) < 0;

-- name: where-abs-overflow
select count(*) from tickets where abs((case when id = 7777 then -2147483648 else id end)::int4) < 0;

-- name: where-numeric-overflow
select count(*) from tickets where amount::numeric(5, 2) < 0 and amount > 7000;

-- name: where-substring-negative-length
select count(*) from tickets where id = 7777 and substring(secret, 1, length(secret) - 4) = 'x';

-- name: where-repeat-too-large
select count(*) from tickets where id = 7777 and length(repeat(secret, 1000000000)) = 1;

-- name: where-concat-doubling
select count(*) from tickets where id = 7777 and length(lpad(secret, 1100000000)) = 3;

-- name: where-chr-of-zero
select count(*) from tickets where chr((id - 7777)::int) = 'x' and id between 7777 and 7778;

-- name: where-to-date
select count(*) from tickets where amount = 7777 and to_date(secret, 'YYYY-MM-DD') = date '2024-01-01';

-- name: where-to-timestamp
select count(*) from tickets where amount = 7777 and to_timestamp(secret, 'YYYY') = created_at;

-- name: where-to-number
select count(*) from tickets where amount = 7777 and to_number(secret, '999') = 1;

-- name: where-make-date
select count(*) from tickets where make_date(2024, 1, case when id = 7777 then 32 else 1 end) < date '2000-01-01';

-- name: where-date-trunc-unit
select count(*) from tickets where id = 7777 and date_trunc(secret, created_at) = created_at;

-- name: where-extract-by-date-part
select count(*) from tickets where id = 7777 and date_part(secret, created_at) = 1;

-- name: where-at-time-zone
select count(*) from tickets where id = 7777 and created_at at time zone secret = '2024-01-01';

-- name: where-timestamp-out-of-range
select count(*) from tickets where created_at + (case when id = 7777 then 300000 else 0 end) * interval '1 year' < '2000-01-01';

-- name: where-interval-cast
select count(*) from tickets where id = 7777 and secret::interval = interval '1 day';

-- name: where-like-escape-at-end
select count(*) from tickets where id = 7777 and subject like left(subject, 3) || '\';

-- name: where-like-escape-clause
select count(*) from tickets where id = 7777 and subject like 'x' escape secret;

-- name: where-position-in-array
select count(*) from tickets where id = 7777 and array_position(array[array[secret]], secret) = 1;

-- name: where-array-dimensions
select count(*) from tickets where id = 7777 and array_fill(1, array[-length(secret)]) = '{}';

-- name: where-width-bucket
select count(*) from tickets where width_bucket(5, 1, 10, (id - 7777)::int) = 999999999 and id between 7777 and 7780;

-- name: where-jsonb-path-error
select count(*) from tickets where id = 7777 and jsonb_path_query_first(meta, 'strict $.nothing') is not null;

-- name: where-jsonb-path-text
select count(*) from tickets where id = 7777 and meta @? secret::jsonpath;

-- name: where-jsonb-cast
select count(*) from tickets where id = 7777 and (meta -> 'channel')::int = 1;

-- name: where-jsonb-text-cast
select count(*) from tickets where id = 7777 and (meta ->> 'channel')::int = 1;

-- name: where-jsonb-each-of-scalar
select count(*) from tickets where id = 7777 and exists (select 1 from jsonb_each(meta -> 'vip'));

-- name: where-jsonb-insert
select count(*) from tickets where id = 7777 and jsonb_insert(meta, '{vip}', '1') = '{}';

-- name: where-tsquery
select count(*) from tickets where id = 7777 and to_tsquery('simple', secret || ' &') @@ to_tsvector('simple', subject);

-- name: where-network
select count(*) from tickets where id = 7777 and secret::inet << '10.0.0.0/8';

-- name: where-range-bounds
select count(*) from tickets where int8range(7776, case when id = 7777 then 1 else 9000 end) @> 1::int8;

-- name: where-enum-text
select count(*) from tickets where id = 7777 and enum_range(status, 'new') is not null and 'x' ~ secret;

-- name: where-convert
select count(*) from tickets where id = 7777 and convert_from(decode(replace(public_id::text, '-', ''), 'hex'), 'UTF8') = 'x';

-- name: where-xml
select count(*) from tickets where id = 7777 and xmlparse(content '<' || secret) is not null;

-- name: where-case-hides-the-error
select count(*) from tickets where case when amount = 7777 then 'x' ~ secret else false end;

-- name: where-coalesce-nullif
select count(*) from tickets where coalesce(1 / nullif(amount - 7777, 1), 1) > 5;

-- name: where-in-list-of-expressions
select count(*) from tickets where 7 in (1 / (id - 7777), 3);

-- name: where-any-array-of-expressions
select count(*) from tickets where 7 = any (array[1 / (id - 7777), 3]);

-- name: where-between-expressions
select count(*) from tickets where 7 between 1 / (id - 7777) and 8;

-- name: where-is-null-of-error
select count(*) from tickets where (1 / (id - 7777)) is null;

-- name: where-boolean-test-of-error
select count(*) from tickets where ('x' ~ secret and amount = 7777) is unknown;

-- name: where-row-comparison
select count(*) from tickets where (amount, 1 / (id - 7777)) = (7777, 5);

-- name: where-whole-row-cast
select count(*) from tickets t where id = 7777 and (t::text)::int = 1;

-- name: where-record-text-regex
select count(*) from tickets t where amount = 7777 and 'x' ~ substring(t::text from '[(]{3}');

-- name: where-scalar-subquery
select count(*) from tickets where 1 / (id - (select 7777)) > 5;

-- name: where-parameterised-constant
select count(*) from tickets where 1 / (id - ('7777'::text)::int8) > 5;

-- name: masked-column-length
select count(*) from customers where 1 / (length(phone) - 11) > 5;

-- name: masked-column-cast
select count(*) from customers where 1 / (case when email like '%@%' then 0 else 1 end) > 5;

-- name: inner-join-on
select count(*) from tickets t join customers c on c.id = t.customer_id and t.amount = 7777 and 'x' ~ t.secret;

-- name: inner-join-on-division
select count(*) from tickets t join documents d on d.id = 1 / (t.id - 7777);

-- name: left-join-on-nullable-side
select count(*) from documents d left join tickets t on t.id = d.id and t.amount = 7777 and 'x' ~ t.secret;

-- name: left-join-on-nullable-side-division
select count(t.id) from documents d left join tickets t on t.id = d.id * 11 and 1 / (t.id - 7777) = 5;

-- name: left-join-on-preserved-side
select count(*) from tickets t left join documents d on d.id = t.id and t.amount = 7777 and 'x' ~ t.secret;

-- name: left-join-then-where
select count(*) from documents d left join tickets t on t.customer_id = d.id where t.amount = 7777 and 'x' ~ t.secret;

-- name: right-join-on
select count(*) from tickets t right join documents d on d.id = t.id and t.amount = 7777 and 'x' ~ t.secret;

-- name: full-join-subquery-where
select count(*) from documents d full join (select * from tickets where amount = 7777 and 'x' ~ secret) t on t.id = d.id;

-- name: comma-join-where
select count(*) from tickets t, customers c where c.id = t.customer_id and t.amount = 7777 and 'x' ~ t.secret;

-- name: join-using-where
select count(*) from tickets join orders using (customer_id) where amount = 7777 and 'x' ~ secret;

-- name: self-join-where
select count(*) from tickets a join tickets b using (id) where a.amount = 7777 and 'x' ~ b.secret;

-- name: cross-relation-error
select count(*) from tickets t join customers c on c.id = t.customer_id where t.amount = 7777 and c.name ~ t.secret;

-- name: exists-inside
select count(*) from documents d where exists (select 1 from tickets t where t.amount = 7777 and 'x' ~ t.secret);

-- name: exists-correlated
select count(*) from customers c where exists (select 1 from tickets t where t.customer_id = c.id and t.amount = 7777 and 'x' ~ t.secret);

-- name: not-exists-correlated
select count(*) from customers c where not exists (select 1 from tickets t where t.customer_id = c.id and 1 / (t.id - 7777) > 5);

-- name: in-subquery
select count(*) from documents where id in (select id from tickets where amount = 7777 and 'x' ~ secret);

-- name: in-subquery-select-list
select count(*) from documents where id in (select 1 / (id - 7777) from tickets where id > 7770);

-- name: not-in-subquery
select count(*) from documents where id not in (select 1000 / (id - 7777) from tickets where id between 7777 and 7779);

-- name: any-subquery
select count(*) from documents where id = any (select 1 / (id - 7777) from tickets);

-- name: scalar-subquery-aggregate
select (select max(1 / (id - 7777)) from tickets where id > 7000) as m;

-- name: scalar-subquery-correlated
select d.id, (select count(*) from tickets t where t.customer_id = d.id and t.amount = 7777 and 'x' ~ t.secret) as n from documents d order by d.id limit 5;

-- name: having-without-aggregate
select amount from tickets group by amount, secret having amount = 7777 and 'x' ~ secret;

-- name: having-division
select id from tickets group by id having 1 / (id - 7777) > 5;

-- name: having-with-aggregate
select customer_id from tickets group by customer_id having count(*) > 0 and 1 / (customer_id % 10 - 7) > 5;

-- name: aggregate-argument-under-where
select count(*) from (select sum(1 / (id - 7777)) as s from tickets group by id) x where s > 5;

-- name: aggregate-filter
select count(*) filter (where 1 / (id - 7777) > 5) from tickets;

-- name: group-by-expression
select 1 / (id - 7777) as g, count(*) from tickets where id > 7770 group by 1 order by 1;

-- name: distinct-expression
select distinct 1 / (id - 7777) as g from tickets order by 1;

-- name: order-by-expression
select id from tickets where id between 7770 and 7790 order by 1 / (id - 7777), id;

-- name: outermost-select-list
select id, 1 / (id - 7777) as q from tickets where id between 7770 and 7790 order by id;

-- name: nested-select-list
select count(*) from (select 'x' ~ secret as hit, amount from tickets) t where amount = 7777 and hit;

-- name: nested-select-list-twice
select count(*) from (select * from (select 1 / (id - 7777) as q, id from tickets) a) b where q > 5;

-- name: nested-select-list-left-join
select count(*) from documents d left join (select id, 1 / (id - 7777) as q from tickets) t on t.id = d.id and t.q = 5;

-- name: nested-with-limit
select count(*) from (select 1 / (id - 7777) as q from tickets where id > 7770 limit 100000) t where q > 5;

-- name: nested-with-offset
select count(*) from (select 1 / (id - 7777) as q from tickets offset 0) t where q > 5;

-- name: nested-with-distinct
select count(*) from (select distinct 1 / (id - 7777) as q from tickets) t where q > 5;

-- name: nested-with-group-by
select count(*) from (select amount, secret, count(*) from tickets group by amount, secret) t where amount = 7777 and 'x' ~ secret;

-- name: cte
with t as (select * from tickets) select count(*) from t where amount = 7777 and 'x' ~ secret;

-- name: cte-not-materialized
with t as not materialized (select id, amount, secret from tickets) select count(*) from t where amount = 7777 and 'x' ~ secret;

-- name: cte-materialized
with t as materialized (select 1 / (id - 7777) as q from tickets) select count(*) from t where q > 5;

-- name: cte-chain
with a as (select amount, secret from tickets), b as (select * from a where amount = 7777) select count(*) from b where 'x' ~ secret;

-- name: cte-used-twice
with t as (select * from tickets where amount = 7777) select count(*) from t a join t b using (id) where 'x' ~ a.secret;

-- name: cte-recursive
with recursive r as (select id, 1 as depth from tickets where id = 7776 union all select t.id, r.depth + 1 from r join tickets t on t.id = r.id + 1 and 1 / (t.id - 7777) < 5 where r.depth < 5) select * from r order by id;

-- name: cte-shadowing
with tickets as (select * from tickets) select count(*) from tickets where amount = 7777 and 'x' ~ secret;

-- name: union-all-branch
select count(*) from (select amount, secret from tickets union all select total, coupon from orders) u where amount = 7777 and 'x' ~ secret;

-- name: union-branch
select 'a' as v from tickets where amount = 7777 and 'x' ~ secret union select 'b' order by 1;

-- name: except-branch
select id from documents where id < 3 except select id from tickets where amount = 7777 and 'x' ~ secret order by 1;

-- name: intersect-branch
select count(*) from (select 1 / (id - 7777) as q from tickets intersect select 5) i;

-- name: window-partition
select count(*) from (select amount, secret, row_number() over (partition by amount, secret order by id) as n from tickets) w where amount = 7777 and 'x' ~ secret;

-- name: window-order
select count(*) from (select rank() over (order by 1 / (id - 7777)) as r from tickets) w where r < 0;

-- name: window-argument
select count(*) from (select sum(1 / (id - 7777)) over (order by id) as s from tickets) w where s < -100;

-- name: lateral
select count(*) from documents d cross join lateral (select 1 / (t.id - 7777) as q from tickets t where t.customer_id = d.id) l where q > 5;

-- name: lateral-where
select count(*) from tickets t, lateral (select 'x' ~ t.secret as hit) l where t.amount = 7777 and l.hit;

-- name: lateral-function
select count(*) from tickets t, lateral generate_series(1, 1 / (t.id - 7777)) g where t.id > 7770;

-- name: lateral-regexp-matches
select count(*) from tickets t, lateral regexp_matches('x', t.secret) m where t.amount = 7777;

-- name: lateral-jsonb-elements
select count(*) from tickets t, lateral jsonb_array_elements(t.meta -> 'browser') e where t.amount = 7777;

-- name: set-returning-in-select-list
select count(*) from (select generate_series(1, 1 / (id - 7777)) from tickets) s;

-- name: values-correlated
select count(*) from tickets t where exists (select 1 from (values (1 / (t.id - 7777))) v(q) where v.q > 5);

-- name: case-in-select-list-under-where
select count(*) from (select case when id = 7777 then 1 / (id - 7777) else 0 end as q from tickets) s where q > 5;

-- name: limit-expression
select count(*) from (select 1 from documents limit (select count(*) from tickets where 1 / (id - 7777) > 5)) x;

-- name: indexed-column-then-error
select id from tickets where customer_id = 17 and 1 / (id - 7777) > 5 order by id;

-- name: primary-key-then-error
select id from tickets where id = 7777 and 1 / (id - 7777) = 1;

-- name: primary-key-alone-sees-nothing
select count(*) from tickets where id = 7777;

-- name: row-count-of-another-tenant
select count(*) from tickets where amount = 7777;

-- name: other-tenants-orders
select count(*) from orders where 1 / (id % 10 - 7) > 5;

-- name: other-tenants-documents
select count(*) from documents where 1 / (case when body like '%Owner: globex%' then 0 else 1 end) > 5;

-- name: other-tenants-customers-cast
select count(*) from customers where (case when id % 10 >= 5 then name else '1' end)::int > 5;

-- Each of these reads only the agent's own rows in a subquery that must fail, or must not run at all: PostgreSQL runs it
-- when the first row reaches the condition, which it counts as free and puts before the tenant predicate.
-- (Its own row-level security answers these with the error: compare with the copy.)

-- name: initplan-more-than-one-row
select count(*) from tickets where amount = 7777 and id > (select id from documents);

-- name: initplan-more-than-one-row-text
select count(*) from tickets where amount = 7777 and secret > (select title from documents);

-- name: initplan-more-than-one-row-of-a-function
select count(*) from tickets where amount = 7777 and rating <> (select 1 from generate_series(1, 2));

-- name: initplan-negated
select count(*) from tickets where amount = 7777 and not (rating = (select revision from documents));

-- name: initplan-negative-limit
select count(*) from tickets where amount = 7777 and id > (select id from documents limit -1);

-- name: initplan-exists-beside-a-column
select count(*) from tickets where amount = 7777 and (id < 5 or exists (select 1 from documents limit -1));

-- name: initplan-division-in-having
select count(*) from tickets where amount = 7777 and id > (select max(id) from documents having count(*) > 1 / (count(*) - count(*)));

-- name: initplan-of-a-cte
with d as materialized (select id from documents limit -1) select count(*) from tickets where amount = 7777 and id > (select max(id) from d);

-- name: initplan-in-a-left-join
select count(*) from documents d left join tickets t on t.amount = 7777 and t.id > (select id from documents);

-- name: subplan-function-in-from
select count(*) from tickets t where exists (select from generate_series(1, 1 / (t.id - 7777)) g where g < 0);

-- name: subplan-order-by
select count(*) from tickets t where id > 7770 and (select d.id from documents d order by 1 / (t.id - 7777), d.id limit 1) < 0;

-- name: subplan-limit
select count(*) from tickets t where id between 7775 and 7779 and exists (select 1 from documents d limit 1 / abs(t.id - 7777) + 1 offset 1000);

-- name: subplan-group-by
select count(*) from tickets t where id > 7770 and (select count(*) from documents d group by 1 / (t.id - 7777)) < 0;

-- name: subplan-having
select count(*) from tickets t where id > 7770 and (select count(*) from documents having count(*) > 1000 / (t.id - 7777)) < 0;

-- name: where-cast-text-to-enum
select count(*) from tickets where amount = 7777 and secret::ticket_status = 'open';

-- name: where-cast-text-to-enum-first
select count(*) from tickets where cast(secret as external_support.ticket_status) is null and id = 7777;

-- name: where-cast-to-an-array-of-an-enum
select count(*) from tickets where amount = 7777 and status = any(array[secret]::ticket_status[]);

-- name: join-on-a-cast-to-an-enum
select count(*) from documents d left join tickets t on t.id = d.id and t.amount = 7777 and t.secret::ticket_status = t.status;

-- name: subquery-select-list-cast-to-an-enum
select count(*) from (select amount, secret::ticket_status as s from tickets) t where amount = 7777 and s = 'open';

-- name: exists-cast-to-an-enum
select count(*) from customers c where exists (select from tickets t where t.customer_id = c.id and t.amount = 7777 and t.secret::ticket_status = 'new');

-- name: case-cast-to-an-enum
select count(*) from tickets where amount = 7777 and (case when id > 0 then secret else 'open' end)::ticket_status = 'open'::ticket_status;
