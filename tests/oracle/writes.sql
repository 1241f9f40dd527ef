-- Writes over the support desk: what pgwicket proposes must be what PostgreSQL does to a tenant-only copy of tickets
-- (ids below 1000, key on id). Each changes at most 25 rows. A case named `refused-…` is refused by PostgreSQL, too.

-- name: one-row-by-key
update tickets set priority = 'high' where id = 42;

-- name: expressions-become-values
update tickets set amount = amount * 1.1 + 5, subject = upper(subject) || '!' where id in (10, 11, 12, 13, 14);

-- name: null-and-back
update tickets set assignee = null, amount = null where id between 20 and 24;

-- name: array-and-json
update tickets set tags = array_append(tags, 'x y,"z"'), meta = meta || '{"n": 1.10, "s": "\u00e9"}' where id between 30 and 33;

-- name: an-alias
update tickets as t set subject = t.subject || t.id where t.id = 100;

-- name: a-qualified-name
update external_support.tickets set subject = 'q' where tickets.id = 100;

-- name: numeric-is-rounded-as-assigned
update tickets set amount = 1.005 where id = 101;

-- name: an-integer-for-a-numeric
update tickets set amount = 7 where id = 101;

-- name: a-string-for-an-enum
update tickets set status = 'closed' where id in (102, 103);

-- name: an-enum-cast
update tickets set status = 'closed'::ticket_status where id in (102, 103) and status <> 'closed'::external_support.ticket_status;

-- name: an-enum-cast-in-an-expression
update tickets set status = (case when priority = 'low' then 'new' else 'closed' end)::ticket_status, subject = 'x'::text where id between 30 and 33;

-- name: an-enum-cast-in-an-insert
insert into tickets (id, subject, status, priority, customer_id) values (900031, 'x', cast('open' as ticket_status), 'low', 1), (900032, 'y', 'new'::external_support.ticket_status, 'low', 1);

-- name: an-enum-cast-in-a-merge
merge into tickets t using (values (104, 'closed'::ticket_status)) v (id, s) on t.id = v.id when matched then update set status = v.s;

-- name: refused-enum-cast-of-no-label
update tickets set status = 'nonsense'::ticket_status where id = 102;

-- name: an-enum-from-a-column
update tickets set status = (select status from tickets x where x.id = 104) where id in (102, 103);

-- name: from-another-relation
update tickets set subject = c.name from customers c where c.id = tickets.customer_id and tickets.id between 110 and 114;

-- name: from-a-join-with-several-matches-of-one-value
update tickets set priority = 'low' from orders o where o.customer_id = tickets.customer_id and tickets.id between 120 and 129;

-- name: from-values
update tickets t set amount = v.a from (values (130, 1.5), (131, 2.5)) v (i, a) where v.i = t.id;

-- name: a-subquery-as-value
update tickets set amount = (select max(x.amount) from tickets x where x.customer_id = tickets.customer_id and x.id < 1000) where id between 140 and 149;

-- name: several-columns-from-a-row
update tickets set (subject, priority) = ('s', 'p') where id = 150;

-- name: several-columns-from-a-subquery
update tickets set (subject, assignee) = (select c.name, c.plan from customers c where c.id = tickets.customer_id) where id between 150 and 154;

-- name: several-columns-from-an-empty-subquery
update tickets set (assignee, amount) = (select c.name, 1 from customers c where c.id = -1) where id = 160;

-- name: a-cte
with big as (select id from tickets where amount > 100 and id < 200 order by id limit 5) update tickets set priority = 'big' where id in (select id from big);

-- name: a-cte-named-like-the-relation
with tickets as (select 161 as id) update tickets set priority = 'cte' where id = 161;

-- name: a-correlated-exists
update tickets set priority = 'has order' where exists (select from orders o where o.ticket_id = tickets.id) and id < 60;

-- name: a-window-in-from
update tickets t set amount = r.n from (select id, row_number() over (order by id desc) as n from tickets where id between 200 and 210) r where r.id = t.id;

-- name: the-same-value
update tickets set priority = priority where id = 42;

-- name: a-leaky-condition
update tickets set priority = 'x' where id < 30 and 'x' ~ secret;

-- name: json-path-and-cast
update tickets set amount = coalesce((meta ->> 'attempts')::numeric, 0) where id between 220 and 224;

-- name: case-and-coalesce
update tickets set priority = case when amount > 100 then 'high' else coalesce(assignee, 'none') end where id between 230 and 239;

-- name: text-that-looks-like-sql
update tickets set subject = '''; drop table tickets; --', assignee = E'tab\there\nnewline' where id = 240;

-- name: unicode-and-quotes
update tickets set subject = U&'\00e9\0301' || '"' || $q$it's$q$ where id = 240;

-- name: delete-by-key
delete from tickets where id = 42;

-- name: delete-by-condition
delete from tickets where id between 300 and 320 and amount is not null;

-- name: delete-using
delete from tickets t using customers c where c.id = t.customer_id and t.id between 330 and 339;

-- name: delete-with-a-cte
with old as (select id from tickets where id < 400 order by created_at limit 3) delete from tickets using old where old.id = tickets.id;

-- name: insert-values
insert into tickets (id, subject, status, priority, customer_id, amount) values (900001, 'new', 'open', 'low', 1, 12.345);

-- name: insert-rows
insert into tickets (id, subject, amount) values (900001, 'a', 1), (900002, 'b', null), (900003, upper('c'), 2 + 3);

-- name: insert-from-select
insert into tickets (id, subject, status, priority, customer_id) select id + 900000, name, 'open', plan, id from customers where id between 1 and 20;

-- name: insert-from-values-with-order
insert into tickets (id, subject) select * from (values (900009, 'z'), (900008, 'y')) v order by 1;

-- name: insert-strings-for-every-type
insert into tickets (id, subject, status, amount) select '900010', 'x', 'open', '1.5';

-- name: insert-with-a-cte
with c as (select id, name from customers where id < 10) insert into tickets (id, subject) select id + 900100, name from c;

-- name: insert-from-a-union
insert into tickets (id, subject) select 900201, 'a' union all select 900202, 'b';

-- name: upsert-that-inserts
insert into tickets (id, subject) values (900301, 'n') on conflict (id) do update set subject = excluded.subject;

-- name: upsert-that-updates
insert into tickets (id, subject) values (42, 'n') on conflict (id) do update set subject = tickets.subject || excluded.subject, priority = 'upserted';

-- name: upsert-both
insert into tickets (id, subject, amount) values (41, 'n', 1), (42, 'm', 2), (900302, 'o', 3) on conflict (id) do update set amount = coalesce(tickets.amount, 0) + excluded.amount;

-- name: upsert-with-a-condition
insert into tickets as t (id, subject) values (41, 'n'), (42, 'm') on conflict (id) do update set subject = excluded.subject where t.id > 41;

-- name: upsert-do-nothing
insert into tickets (id, subject) values (42, 'n'), (900303, 'o') on conflict (id) do nothing;

-- name: upsert-do-nothing-without-a-target
insert into tickets (id, subject) values (42, 'n'), (900304, 'o') on conflict do nothing;

-- name: upsert-from-select
insert into tickets (id, subject) select id, name from customers where id in (1, 2, 3, 4) on conflict (id) do update set subject = 'was ' || tickets.subject;

-- name: refused-a-name-alone-in-an-upsert
insert into tickets (id, subject) values (42, 'n') on conflict (id) do update set subject = subject || '?' where amount is null or amount >= 0;

-- name: merge-updates-and-inserts
merge into tickets t using (values (42, 'm'), (900401, 'n')) v (i, s) on t.id = v.i when matched then update set subject = v.s when not matched then insert (id, subject) values (v.i, v.s);

-- name: merge-takes-the-first-clause-that-holds
merge into tickets t using customers c on t.customer_id = c.id and t.id between 500 and 510 when matched and t.amount is null then delete when matched and t.amount > 50 then update set priority = 'merged', assignee = c.plan when matched then do nothing;

-- name: merge-deletes
merge into tickets using (select id from customers where id < 20) c on tickets.id = c.id when matched then delete;

-- name: merge-inserts-with-a-condition
merge into tickets t using (values (900501, 'a'), (900502, 'b')) v (i, s) on t.id = v.i when not matched and v.s > 'a' then insert (id, subject, amount) values (v.i, v.s, 1.239);

-- name: merge-with-a-cte
with v as (select 42 as i) merge into tickets t using v on t.id = v.i when matched then update set amount = coalesce(t.amount, 0) + 1;

-- name: refused-division
update tickets set amount = 1 / (id - 42) where id = 42;

-- name: refused-cast
update tickets set amount = subject::numeric where id = 42;

-- name: refused-two-rows-from-a-subquery
update tickets set subject = (select name from customers where id < 10) where id = 42;

-- name: refused-upsert-twice
insert into tickets (id, subject) values (42, 'a'), (42, 'b') on conflict (id) do update set subject = excluded.subject;

-- name: refused-merge-twice
merge into tickets t using (values (42, 'a'), (42, 'b')) v (i, s) on t.id = v.i when matched then update set subject = v.s;

-- name: refused-column
update tickets set nothing = 1 where id = 42;

-- name: refused-column-in-where
delete from tickets where nothing = 1;

-- name: refused-count
insert into tickets (id, subject) values (1);

-- name: refused-two-assignments
update tickets set subject = 'a', subject = 'b' where id = 42;

-- name: refused-text-to-an-enum
update tickets set status = subject where id = 42;

-- name: refused-joined-text-to-an-enum
update tickets set status = 'op' || 'en' where id = 42;

-- name: refused-case-of-strings-to-an-enum
update tickets set status = case when id = 42 then 'open' else 'closed' end where id = 42;

-- name: refused-label
update tickets set status = 'nonsense' where id = 42;

-- name: refused-text-to-json
update tickets set meta = subject where id = 42;

-- name: refused-text-to-an-array
update tickets set tags = subject where id = 42;

-- name: refused-text-to-a-number
update tickets set amount = subject where id = 42;

-- name: refused-truth-to-a-number
update tickets set amount = id > 5 where id = 42;

-- name: refused-number-to-json
update tickets set meta = 5 where id = 42;

-- name: refused-a-subquery-of-text
update tickets set amount = (select max(priority) from tickets) where id = 42;

-- name: refused-a-row-of-text
update tickets set (amount, subject) = (select subject, subject from tickets where id = 42) where id = 42;

-- name: refused-overflow
update tickets set amount = 99999999999.5 where id = 42;

-- name: refused-values-of-text-to-an-enum
insert into tickets (id, subject, status) values (902, 'a', 'open'), (903, 'b', lower('OPEN'));

-- name: refused-values-label
insert into tickets (id, subject, status) values (902, 'a', 'nonsense');

-- name: refused-select-of-text-to-an-enum
insert into tickets (id, subject, status) select 902, 'a', priority from tickets where id = 42;

-- name: refused-union-of-strings-to-an-enum
insert into tickets (id, subject, status) select 902, 'a', 'open' union select 903, 'b', 'open';

-- name: refused-upsert-of-text-to-an-enum
insert into tickets (id, subject) values (42, 'a') on conflict (id) do update set status = excluded.subject;

-- name: refused-merge-of-text-to-an-enum
merge into tickets t using (values (42, 'open')) v (i, s) on t.id = v.i when matched then update set status = v.s;

-- name: refused-merge-insert-of-text-to-an-enum
merge into tickets t using (values (902, 'open')) v (i, s) on t.id = v.i when not matched then insert (id, subject, status) values (v.i, 'a', v.s);

-- name: numbers-and-times-to-text
update tickets set subject = id, assignee = created_at where id = 42;

-- name: numbers-to-another-number
update tickets set amount = 1.25::float8 + id::int where id = 42;

-- name: an-enum-to-text
update tickets set subject = status, priority = status where id = 42;

-- name: json-to-text
update tickets set subject = meta, assignee = tags where id = 42;

-- name: an-array-of-another-length
update tickets set tags = array[priority::varchar(20), 'x'] where id = 42;

-- name: strings-of-every-type
update tickets set status = 'open', amount = '12.5', tags = '{a,b}', meta = '{"a": 1}' where id = 42;

-- name: a-label-by-upsert
insert into tickets (id, subject, status) values (42, 'a', 'pending') on conflict (id) do update set status = excluded.status, subject = 'x' || excluded.subject;
