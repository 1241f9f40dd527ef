-- Reads over the support desk whose answers must equal PostgreSQL's own for a role with row-level security and
-- column grants: types, names and bytes. Each is one statement under a `-- name:` line, valid on PostgreSQL 15 with
-- search_path at the schema of the four relations, and deterministic: a total order or a single row, no clock, no
-- volatile function, at most a few hundred rows.

-- name: point-select
select id, subject, status, priority from tickets where id = 7771;

-- name: point-select-every-column
select * from tickets where id = 1234;

-- name: point-select-qualified
select external_support.tickets.id, tickets.subject from external_support.tickets where tickets.id = 140;

-- name: hidden-row-is-not-there
select * from tickets where id = 7777;

-- name: all-types-of-tickets
select id, subject, status, rating, amount, tags, meta, public_id, created_at from tickets order by id limit 25;

-- name: all-types-of-orders
select * from orders order by id limit 25;

-- name: all-types-of-customers
select * from customers order by id limit 25;

-- name: all-types-of-documents
select id, title, kind, revision, published_on, labels, length(body) as body_length from documents order by id limit 25;

-- name: masked-columns
select id, phone, credit_score, credit_score is null as hidden from customers where id in (1, 2, 3, 4, 10, 11) order by id;

-- name: masked-column-in-an-expression
select right(phone, 4) as tail, count(*) from customers where phone like '***1%' group by 1 order by 1, 2 limit 20;

-- name: masked-hash-is-stable
select count(distinct email) = count(*) as distinct_hashes, min(length(email)), max(length(email)) from customers;

-- name: column-aliases
select id ticket, subject as "Subject Line", amount as "amount", priority "order" from tickets order by id limit 3;

-- name: relation-alias-hides-name
select t.id from tickets as t where t.id < 30 order by t.id;

-- name: relation-alias-with-columns
select a, b, status from tickets as t(a, b) where a < 40 order by a;

-- name: output-name-shadows-column-in-order-by
select -id as id, subject from tickets order by id limit 5;

-- name: order-by-ordinal-desc-nulls
select rating, id from tickets order by 1 desc nulls last, 2 limit 15;

-- name: order-by-expression
select id, subject from tickets order by length(subject) desc, lower(subject), id limit 10;

-- name: order-by-using
select id from tickets order by id using > limit 5;

-- name: limit-offset
select id from tickets order by id limit 5 offset 10;

-- name: fetch-first-with-ties
select rating, count(*) from tickets group by rating order by rating nulls first fetch first 3 rows with ties;

-- name: limit-all-and-null
select count(*) from (select id from documents order by id limit all offset 0) d;

-- name: where-enum
select id, status from tickets where status = 'solved' order by id limit 10;

-- name: enum-order-is-declared-order
select status, count(*) from tickets group by status order by status;

-- name: enum-comparison
select count(*) from tickets where status > 'open' and status <= 'solved';

-- name: enum-min-max
select min(status), max(status) from tickets;

-- name: enum-in-list-and-text
select id, status::text || '!' as shout from tickets where status in ('new', 'closed') order by id limit 7;

-- name: numeric-comparison
select id, amount from tickets where amount > 4990 order by amount desc, id limit 10;

-- name: numeric-between-and-not
select count(*) from tickets where amount between 10.5 and 99.99 and not (amount between symmetric 60 and 50);

-- name: is-null-forms
select count(*) filter (where amount is null), count(*) filter (where amount isnull), count(*) filter (where amount notnull) from tickets;

-- name: is-distinct-from
select count(*) from tickets where rating is distinct from 3 and assignee is not distinct from null;

-- name: boolean-tests
select paid is true as p, paid is not true as np, (coupon = 'VIP') is unknown as u, count(*) from orders group by 1, 2, 3 order by 1, 2, 3;

-- name: like-ilike-similar
select count(*) filter (where subject like 'Refund%'), count(*) filter (where subject ilike '%FEATURE%'), count(*) filter (where subject similar to '(App|Export)%'), count(*) filter (where subject not like '%50!%%' escape '!') from tickets;

-- name: regex-operators
select count(*) filter (where subject ~ '^Über'), count(*) filter (where subject ~* 'PASSWORD'), count(*) filter (where subject !~ '#1'), count(*) filter (where subject !~* 'a') from tickets;

-- name: regex-in-where
select id, subject from tickets where subject ~ '#12?34?$' order by id limit 10;

-- name: in-list
select id, priority from tickets where id in (1, 2, 3, 10, 11, 7777) order by id;

-- name: not-in-list
select count(*) from tickets where priority not in ('low', 'normal') and id not in (1, 2);

-- name: any-array
select id from tickets where id = any (array[1, 3, 4, 7777, 13]) order by id;

-- name: all-array
select count(*) from orders where quantity > all (array[3, 5]);

-- name: any-subquery
select id, name from customers where id = any (select customer_id from tickets where amount > 4980) order by id limit 20;

-- name: all-subquery
select id, amount from tickets where amount >= all (select amount from tickets where amount is not null) order by id;

-- name: row-in-subquery
select count(*) from tickets where (customer_id, id) in (select customer_id, ticket_id from orders where ticket_id is not null);

-- name: row-comparison
select id, created_at from tickets where (priority, id) > ('normal', 19900) order by priority, id limit 5;

-- name: row-equality
select id from tickets where row(id, priority) = row(10, priority) or (id, priority) = (11, 'x') order by id;

-- name: scalar-subquery-in-select
select c.id, (select count(*) from tickets t where t.customer_id = c.id) as tickets from customers c order by c.id limit 12;

-- name: scalar-subquery-in-where
select count(*) from tickets where amount > (select avg(amount) from tickets);

-- name: scalar-subquery-in-order-by
select c.id from customers c order by (select coalesce(sum(o.total), 0) from orders o where o.customer_id = c.id) desc, c.id limit 6;

-- name: scalar-subquery-in-case
select id, case when (select bool_or(paid) from orders o where o.ticket_id = t.id) then 'paid' else 'none' end as state from tickets t order by id limit 15;

-- name: scalar-subquery-in-limit
select id from tickets order by id limit (select count(distinct status) from tickets) offset (select min(revision) from documents);

-- name: subquery-in-having
select customer_id, count(*) from tickets group by customer_id having count(*) > (select avg(n) * 1.3 from (select count(*) n from tickets group by customer_id) x) order by 2 desc, 1 limit 10;

-- name: subquery-in-group-by
select (select country from customers c where c.id = t.customer_id) as country, count(*) from tickets t where id < 2000 group by 1 order by 1;

-- name: subquery-in-function-argument
select coalesce((select max(rating) from tickets), 0) + abs((select min(id) from tickets)) as n;

-- name: array-subquery
select array(select id from tickets where customer_id = c.id order by id) as ids from customers c order by c.id limit 8;

-- name: exists
select count(*) from customers c where exists (select 1 from tickets t where t.customer_id = c.id and t.priority = 'urgent');

-- name: not-exists
select count(*) from tickets t where not exists (select from orders o where o.ticket_id = t.id);

-- name: exists-nested-twice
select count(*) from customers c where exists (select 1 from tickets t where t.customer_id = c.id and exists (select 1 from orders o where o.ticket_id = t.id and o.customer_id <> c.id));

-- name: not-in-subquery-with-null
select count(*) from tickets where id not in (select ticket_id from orders);

-- name: correlated-two-levels-up
select c.id, (select max((select count(*) from orders o where o.customer_id = c.id and o.ticket_id = t.id)) from tickets t where t.customer_id = c.id) as m from customers c order by c.id limit 8;

-- name: subquery-in-from
select p, n from (select priority as p, count(*) as n from tickets group by priority) s where n > 10 order by p;

-- name: subquery-in-from-nested
select * from (select * from (select id, amount * 2 as twice from tickets where id < 100) a where twice > 100) b order by id limit 10;

-- name: inner-join
select t.id, c.name from tickets t join customers c on c.id = t.customer_id order by t.id limit 10;

-- name: left-join
select c.id, t.id as ticket from customers c left join tickets t on t.customer_id = c.id and t.priority = 'urgent' order by c.id, t.id limit 15;

-- name: right-join
select t.id, o.id as "order" from orders o right join tickets t on o.ticket_id = t.id order by t.id, o.id limit 20;

-- name: full-join
select d.id, x.n from documents d full join (select generate_series(1, 30) as n) x on x.n = d.id order by coalesce(d.id, x.n), x.n limit 40;

-- name: cross-join
select a.id, b.id from (select id from documents order by id limit 3) a cross join (select id from documents order by id desc limit 2) b order by 1, 2;

-- name: comma-join
select t.id, o.total from tickets t, orders o where o.ticket_id = t.id and o.total > 8990 order by t.id, o.id limit 10;

-- name: self-join
select a.id, b.id from tickets a join tickets b on b.id = a.id + 1 where a.id < 50 order by a.id;

-- name: join-using
select customer_id, count(*) from tickets join orders using (customer_id) where customer_id < 40 group by customer_id order by customer_id;

-- name: join-using-star
select * from (select id, title from documents) d join (select id, kind from documents) k using (id) order by id limit 4;

-- name: join-using-alias
select j.customer_id, t.id, o.id from tickets t join orders o using (customer_id) as j where t.id < 200 and o.id < 200 order by 1, 2, 3;

-- name: natural-join
select * from (select id, kind from documents) a natural join (select id, revision from documents) b order by id limit 5;

-- name: natural-left-join-relations
select count(*) from tickets natural left join orders;

-- name: three-way-join
select c.country, count(distinct t.id), sum(o.total) from customers c join tickets t on t.customer_id = c.id join orders o on o.ticket_id = t.id group by c.country order by c.country;

-- name: parenthesised-join-tree
select count(*) from customers c left join (tickets t join orders o on o.ticket_id = t.id) on t.customer_id = c.id;

-- name: aliased-join
select j.* from (documents d join (values (1), (2), (20)) v(n) on v.n = d.id) as j(a, b, c, e, f, g, h, i) order by a;

-- name: join-on-inequality
select count(*) from documents a join documents b on a.id < b.id and a.kind = b.kind and a.revision = b.revision;

-- name: left-join-is-null
select count(*) from tickets t left join orders o on o.ticket_id = t.id where o.id is null;

-- name: lateral-subquery
select c.id, l.subject from customers c cross join lateral (select subject from tickets t where t.customer_id = c.id order by t.id limit 2) l where c.id < 60 order by c.id, l.subject;

-- name: lateral-left-join
select c.id, l.n from customers c left join lateral (select count(*) as n from orders o where o.customer_id = c.id having count(*) > 20) l on true order by c.id limit 10;

-- name: lateral-function
select t.id, tag from tickets t, unnest(t.tags) tag where t.id < 60 order by t.id, tag nulls last;

-- name: function-with-ordinality
select t.id, u.tag, u.position from tickets t cross join lateral unnest(t.tags) with ordinality as u(tag, position) where t.id < 60 order by t.id, u.position;

-- name: rows-from
select * from rows from (generate_series(1, 3), unnest(array['a', 'b'])) with ordinality as r(n, s, o) order by o;

-- name: generate-series-left-join
select d::date as day, count(o.id) from generate_series(timestamp '2024-01-01', timestamp '2024-01-10', interval '1 day') d left join orders o on o.placed_on = d::date group by 1 order by 1;

-- name: count-star-and-column
select count(*), count(assignee), count(distinct assignee), count(all rating) from tickets;

-- name: count-whole-row
select count(t), count(t.*), count(distinct t) from tickets t where id < 500;

-- name: aggregates-numeric
select sum(amount), round(avg(amount), 6) as mean, min(amount), max(amount) from tickets;

-- name: aggregates-statistics
select round(stddev(amount), 4), round(var_pop(amount), 4), round(corr(quantity, total::float8)::numeric, 6) from tickets, (select quantity, total from orders order by id limit 1) o where id < 1000;

-- name: aggregate-filter
select count(*) filter (where paid) as paid, sum(total) filter (where not paid) as open, avg(quantity) filter (where coupon = 'VIP') from orders;

-- name: aggregate-distinct-order-by
select string_agg(distinct priority, ', ' order by priority desc) from tickets;

-- name: array-agg-order-by
select customer_id, array_agg(id order by id desc) from tickets where customer_id < 40 group by customer_id order by customer_id;

-- name: json-agg
select jsonb_agg(jsonb_build_object('id', id, 'tags', tags) order by id) from tickets where id < 40;

-- name: json-object-agg
select json_object_agg(priority, n order by priority) from (select priority, count(*) n from tickets group by priority) s;

-- name: bool-aggregates
select bool_and(paid), bool_or(paid), every(quantity > 0), bit_or(quantity), bit_and(quantity) from orders;

-- name: ordered-set-aggregates
select percentile_cont(0.5) within group (order by quantity), percentile_disc(array[0.1, 0.9]) within group (order by total), mode() within group (order by plan) from orders, (select plan from customers order by id limit 1) p;

-- name: hypothetical-set-aggregates
select rank(5) within group (order by quantity), dense_rank(5) within group (order by quantity), round(percent_rank(5) within group (order by quantity)::numeric, 8) from orders;

-- name: group-by-having
select assignee, count(*) from tickets group by assignee having count(*) > 100 and min(id) > 0 order by assignee nulls first;

-- name: group-by-expression
select date_trunc('month', created_at) as month, count(*), sum(amount) from tickets group by date_trunc('month', created_at) order by month;

-- name: group-by-output-name
select left(subject, 6) as head, count(*) from tickets group by head order by head;

-- name: having-without-group-by
select count(*) from tickets having count(*) > 1;

-- name: having-on-grouped-column
select priority, count(*) from tickets group by priority having priority > 'm' order by priority;

-- name: grouping-sets
select priority, status, grouping(priority, status) as g, count(*) from tickets group by grouping sets ((priority, status), (priority), ()) order by g, priority, status;

-- name: rollup
select country, plan, count(*) from customers group by rollup (country, plan) order by country nulls last, plan nulls last;

-- name: cube
select kind, revision % 2 as odd, count(*), grouping(kind) from documents group by cube (kind, revision % 2) order by 1 nulls first, 2 nulls first, 4;

-- name: group-by-distinct-mixed
select kind, count(*) from documents group by distinct kind, rollup (kind), cube (kind) order by kind nulls last;

-- name: distinct
select distinct priority, rating from tickets order by priority, rating nulls first;

-- name: distinct-on
select distinct on (customer_id) customer_id, id, created_at from tickets where customer_id < 100 order by customer_id, created_at desc, id;

-- name: window-row-number
select id, row_number() over (partition by priority order by id) as n from tickets where id < 60 order by id;

-- name: window-rank-family
select id, revision, rank() over w, dense_rank() over w, percent_rank() over w, cume_dist() over w, ntile(4) over (order by revision, id) from documents where id < 60 window w as (order by revision) order by id;

-- name: window-lag-lead
select id, lag(amount) over w, lead(amount, 2, 0) over w, first_value(id) over w, last_value(id) over (w rows between unbounded preceding and unbounded following), nth_value(id, 3) over w from tickets where id < 80 window w as (order by id) order by id;

-- name: window-running-sum
select id, total, sum(total) over (order by id rows between 2 preceding and current row) as last3, sum(total) over (order by id) as running from orders where id < 60 order by id;

-- name: window-range-frame
select id, placed_on, count(*) over (order by placed_on range between interval '2 days' preceding and interval '1 day' following) from orders where id < 300 order by id limit 30;

-- name: window-groups-frame
select id, revision, sum(revision) over (order by revision groups between 1 preceding and 1 following exclude ties) from documents where id < 40 order by revision, id;

-- name: window-over-aggregate
select priority, count(*) as n, sum(count(*)) over (order by priority) as running, round(100.0 * count(*) / sum(count(*)) over (), 3) as share from tickets group by priority order by priority;

-- name: window-filter
select id, count(*) filter (where paid) over (order by id) as paid_so_far from orders where id < 50 order by id;

-- name: window-top-n-per-group
select * from (select id, customer_id, amount, row_number() over (partition by customer_id order by amount desc nulls last, id) as place from tickets where customer_id < 100) r where place <= 2 order by customer_id, place;

-- name: window-named-inherited
select id, sum(quantity) over (w order by id) from orders where id < 40 window w as (partition by paid) order by id;

-- name: cte-simple
with urgent as (select * from tickets where priority = 'urgent') select count(*), min(id), max(id) from urgent;

-- name: cte-twice-used
with t as (select customer_id, count(*) n from tickets group by 1) select a.customer_id, a.n from t a where a.n = (select max(n) from t) order by 1;

-- name: cte-chain
with a as (select id, amount from tickets where amount > 4900), b as (select id, amount * 2 as amount from a), c as (select * from b union all select * from a) select count(*), sum(amount) from c;

-- name: cte-materialized
with m as materialized (select id, total from orders), n as not materialized (select id from m where total > 8900) select count(*) from m join n using (id);

-- name: cte-shadows-relation
with tickets as (select id, 'shadow' as subject from documents where id < 10) select * from tickets order by id;

-- name: cte-inner-name-is-the-relation
with tickets as (select id, subject from tickets where id < 40) select * from tickets order by id;

-- name: cte-qualified-name-is-the-relation
with tickets as (select 1 as id) select count(*) from external_support.tickets;

-- name: cte-shadow-in-subquery-only
select (with tickets as (select 1 as id) select count(*) from tickets) as one, count(*) from tickets;

-- name: cte-scope-ends
select x.n, t.n from (with documents as (select 1 as id union all select 2) select count(*) n from documents) x, (select count(*) n from documents) t;

-- name: cte-earlier-not-later
with a as (select count(*) as n from orders), orders as (select 7 as id) select a.n, orders.id from a, orders;

-- name: cte-with-column-list
with t(a, b) as (select id, priority from tickets) select a, b from t where a < 30 order by a;

-- name: cte-nested-with
with outer_cte as (with inner_cte as (select id from documents where id < 20) select id * 10 as id from inner_cte) select * from outer_cte order by id;

-- name: cte-in-set-operation
(with x as (select 1 as n) select n from x) union all (with x as (select 2 as n) select n from x) order by n;

-- name: cte-unused
with never as (select 1 / 0 as boom from tickets) select count(*) from documents;

-- name: cte-recursive-counter
with recursive n(i) as (values (1) union all select i + 1 from n where i < 10) select sum(i), count(*) from n;

-- name: cte-recursive-over-relation
with recursive chain as (select id, customer_id, 1 as depth from tickets where id = 10 union all select t.id, t.customer_id, c.depth + 1 from chain c join tickets t on t.id = c.id * 2 where c.depth < 8) select * from chain order by depth;

-- name: cte-recursive-union-distinct
with recursive r(d) as (select 3 union select (d * 7) % 11 from r) select * from r order by d;

-- name: cte-recursive-forward-reference
with recursive b as (select n + 1 as n from a), a as (select 41 as n) select n from b;

-- name: cte-recursive-search-cycle
with recursive r(id, up) as (select 1, 2 union all select r.up, (r.up * 2) % 7 from r where r.up < 100) search breadth first by id set ord cycle id set looped using path select id, looped from r order by ord limit 12;

-- name: cte-recursive-shadows-relation
with recursive documents(id) as (select 1 union all select id + 1 from documents where id < 5) select count(*), max(id) from documents;

-- name: union
select priority from tickets union select plan from customers order by 1;

-- name: union-all
select 'ticket' as kind, count(*) from tickets union all select 'order', count(*) from orders union all select 'document', count(*) from documents order by 1;

-- name: intersect
select customer_id from tickets where priority = 'low' intersect select customer_id from orders where total > 8900 order by 1 limit 15;

-- name: intersect-all-except-all
select revision from documents where kind = 'faq' intersect all select revision from documents where kind = 'guide' except all select 1::smallint order by 1;

-- name: except
select id from customers except select customer_id from tickets order by 1 limit 15;

-- name: set-operation-precedence
select 1 as n union select 2 intersect select 3 union all (select 4 except select 4) order by n;

-- name: set-operation-with-limits
(select id from tickets order by id limit 2) union all (select id from orders order by id desc limit 2) order by id;

-- name: set-operation-in-subquery
select source, count(*) from (select 'a' as source, id from tickets where id < 100 union all select 'b', id from orders where id < 100) u group by source order by source;

-- name: set-operation-of-types
select 1 as v union all select 2.5 union all select quantity from orders where id = 10 order by v;

-- name: values
values (1, 'one'), (2, 'two'), (3, null);

-- name: values-in-from-joined
select v.label, count(t.id) from (values ('low', 'can wait'), ('urgent', 'now')) v(priority, label) left join tickets t on t.priority = v.priority group by v.label order by v.label;

-- name: values-in-in
select count(*) from tickets where priority in (values ('low'), ('high'));

-- name: values-with-subquery
values ((select count(*) from documents), (select min(id) from tickets));

-- name: select-without-from
select 1 as one, 'text' as t, null as nothing, true as yes, 1.50 as n, date '2024-02-29' as d;

-- name: select-empty-list
select from documents where id < 3;

-- name: table-less-where
select 'kept' as row where 1 = 1;

-- name: whole-row
select d from documents d where id = 10;

-- name: whole-row-of-relation-name
select documents from documents where id = 11;

-- name: whole-row-expanded
select (d).id, (d).title from (select d from documents d where id < 25) s order by 1;

-- name: whole-row-to-json
select row_to_json(t) from tickets t where id = 20;

-- name: whole-row-to-jsonb-minus
select to_jsonb(o) - 'receipt' - 'lines' from orders o where id = 21;

-- name: whole-row-as-text
select t::text from tickets t where id in (10, 11) order by id;

-- name: whole-row-compared
select count(*) from documents a join documents b on a = b;

-- name: whole-row-ordered
select id from documents d where id < 40 order by d desc;

-- name: whole-row-is-null
select count(*) filter (where t is null), count(*) filter (where t is not null) from customers c left join (select * from tickets where amount > 4990) t on t.customer_id = c.id;

-- name: whole-row-of-left-join
select c.id, o is null as none, o from customers c left join (select id, total from orders where total > 8990) o on o.id = c.id order by c.id limit 8;

-- name: whole-row-aggregated
select md5(string_agg(d::text, '|' order by id)) from documents d;

-- name: star-qualified
select t.*, c.name from tickets t join customers c on c.id = t.customer_id where t.id < 20 order by t.id;

-- name: star-of-schema-qualified
select documents.* from external_support.documents where id < 12 order by id;

-- name: row-constructor
select row(id, priority, amount), row(t.*) = row(t.*) as same from tickets t where id = 30;

-- name: row-expansion-of-subquery
select (r.s).*, q.s is not null as kept from (select row(1, 'a') as s) q, lateral (select d as s from documents d where id = 12) r;

-- name: case-searched
select case when amount is null then 'unknown' when amount < 1000 then 'small' when amount < 3000 then 'medium' else 'large' end as size, count(*) from tickets group by 1 order by 1;

-- name: case-simple
select id, case priority when 'urgent' then 1 when 'high' then 2 else 3 end as rank from tickets where id < 50 order by rank, id;

-- name: coalesce-nullif-greatest
select id, coalesce(assignee, 'nobody'), nullif(priority, 'low'), greatest(rating, 2), least(amount, 100, rating) from tickets where id < 40 order by id;

-- name: arithmetic
select id, quantity * total as gross, total / quantity as unit, total % 7 as modulo, quantity ^ 2 as square, -quantity as negative, |/ quantity::float8 as root, @ (-quantity) as absolute from orders where id < 15 order by id;

-- name: integer-division-and-overflow-free
select 7 / 2 as i, 7 / 2.0 as n, -7 / 2 as t, mod(-7, 3) as m, 5 & 3 as b, 5 # 3 as x, 1 << 4 as s, ~5 as c;

-- name: operator-precedence
select -2 ^ 2 as p, 2 + 3 * 4 as a, not true or true as b, (1 < 2) = true as c, 'a' || 'b' like 'ab' as d;

-- name: operator-qualified
select 3 operator(pg_catalog.+) 4 as seven, id operator(pg_catalog.=) 10 as ten from tickets where id operator(pg_catalog.<) 20 order by id;

-- name: rounding
select round(total), round(total, 1), trunc(total, 1), ceil(total), floor(total), sign(total), width_bucket(total, 0, 9000, 9) from orders where id < 20 order by id;

-- name: casts
select id::text, amount::int, rating::numeric(5, 2), priority::char(3), created_at::date, '{1,2}'::int[], cast(meta ->> 'attempts' as integer) from tickets where amount is not null and id < 30 order by id;

-- name: cast-of-text-column
select (meta ->> 'attempts')::int as attempts, count(*) from tickets group by 1 order by 1;

-- name: cast-in-where
select count(*) from tickets where (meta #>> '{browser,version}')::int > 120;

-- name: string-functions
select upper(name), lower(plan), initcap(plan), length(name), char_length(name), octet_length(name), reverse(plan), left(name, 3), right(name, 2) from customers where id < 25 order by id;

-- name: string-functions-search
select position('i' in subject), strpos(subject, '#'), split_part(subject, '#', 2), replace(subject, 'o', '0'), translate(subject, 'abc', 'ABC'), substring(subject from 3 for 4), substring(subject from '#(\d+)'), overlay(subject placing '**' from 2 for 2) from tickets where id < 20 order by id;

-- name: string-functions-trim-pad
select lpad(id::text, 6, '0'), rpad(plan, 8, '.'), btrim('  x '), ltrim('xxy', 'x'), trim(both '-' from '--a--'), repeat('ab', 2), chr(233), ascii('é'), to_hex(id), md5(plan) from customers where id < 15 order by id;

-- name: string-concatenation
select concat(name, ' <', company, '>'), concat_ws('/', plan, company, country), name || coalesce(company, '') as both, format('%s has %I and %L', name, plan, company) from customers where id < 30 order by id;

-- name: regex-functions
select regexp_replace(subject, '[0-9]+', 'N', 'g'), regexp_match(subject, '(\w+) #(\d+)'), regexp_split_to_array(subject, '\s+') from tickets where id < 20 order by id;

-- name: regex-functions-15
select regexp_count(subject, 'e'), regexp_instr(subject, 'o'), regexp_substr(subject, '\d+'), regexp_like(subject, '^r', 'i') from tickets where id < 20 order by id;

-- name: regex-to-rows
select id, m[1] as word from tickets, regexp_matches(subject, '[A-Z]\w+', 'g') m where id < 20 order by id, word;

-- name: string-to-rows
select id, part, n from documents, string_to_table(title, ' ') with ordinality s(part, n) where id < 12 order by id, n;

-- name: char-n-is-padded
select country, country = 'US ' as us, length(country), country || '|' as joined, octet_length(country::char(5)) from customers where id < 12 order by id;

-- name: dates
select placed_on, placed_on + 30 as due, placed_on - date '2024-01-01' as days, extract(year from placed_on) as y, extract(isodow from placed_on) as dow, date_part('week', placed_on) as w, to_char(placed_on, 'YYYY-MM-DD Dy') from orders where id < 30 order by id;

-- name: timestamps
select created_at at time zone 'UTC' as utc, created_at at time zone 'Asia/Tokyo' as tokyo, date_trunc('hour', created_at), updated_at - created_at as took, extract(epoch from updated_at - created_at) as seconds, age(updated_at, created_at) from tickets where id < 20 order by id;

-- name: timestamp-range-condition
select count(*) from tickets where created_at >= '2024-01-05' and created_at < timestamptz '2024-01-10 00:00:00+00';

-- name: date-compared-with-timestamp
select count(*) from tickets t join orders o on o.ticket_id = t.id where t.created_at < o.placed_on;

-- name: intervals
select id, delivery, delivery * 2 as twice, justify_hours(delivery) as justified, extract(day from delivery) as days, delivery > interval '3 days' as slow from orders where id < 30 order by id;

-- name: interval-aggregates
select sum(delivery), min(delivery), max(delivery), avg(delivery) from orders;

-- name: date-construction
select make_date(2024, 2, 29), make_timestamp(2024, 1, 2, 3, 4, 5.5), make_interval(days => 10, hours => 5), to_date('03 Feb 2024', 'DD Mon YYYY'), to_timestamp(0) at time zone 'UTC', date_bin('15 minutes', timestamp '2024-01-01 10:07', timestamp '2024-01-01');

-- name: overlaps-and-isfinite
select (date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', interval '1 day') as o, isfinite(date 'infinity') as f, count(*) from orders where isfinite(placed_on);

-- name: time-types
select time '10:20' + interval '50 minutes' as t, timetz '10:20+02' as z, date '2024-01-01' + time '03:04' as ts;

-- name: jsonb-operators
select meta -> 'browser' as b, meta ->> 'channel' as c, meta #> '{browser,name}' as n, meta #>> '{browser,version}' as v, meta - 'vip' as m from tickets where id < 20 order by id;

-- name: jsonb-contains
select count(*) filter (where meta @> '{"vip": true}'), count(*) filter (where meta ? 'channel'), count(*) filter (where meta ?| array['x', 'vip']), count(*) filter (where meta ?& array['vip', 'none']), count(*) filter (where '{"channel": "mail"}' <@ meta) from tickets;

-- name: jsonb-in-where
select id, meta from tickets where meta ->> 'channel' = 'phone' and (meta -> 'vip')::boolean order by id limit 8;

-- name: jsonb-path
select count(*) filter (where meta @? '$.browser ? (@.version > 110)'), count(*) filter (where meta @@ '$.attempts == 3') from tickets;

-- name: jsonb-path-functions
select jsonb_path_query_first(meta, '$.browser.name'), jsonb_path_exists(meta, '$.nothing'), jsonb_path_query_array(lines, '$[*].sku') from tickets t join orders o on o.ticket_id = t.id order by t.id, o.id limit 8;

-- name: jsonb-functions
select jsonb_typeof(meta -> 'vip'), jsonb_set(meta, '{browser,name}', '"x"'), jsonb_insert(lines, '{0}', '1'), jsonb_array_length(lines), jsonb_strip_nulls(meta), jsonb_pretty(meta -> 'browser') from tickets t join orders o on o.ticket_id = t.id order by t.id, o.id limit 4;

-- name: jsonb-each
select key, value, count(*) from tickets, jsonb_each(meta -> 'browser') group by key, value order by key, value limit 20;

-- name: jsonb-elements
select o.id, e.value, e.ordinality from orders o, jsonb_array_elements(o.lines) with ordinality e where o.id < 20 order by o.id, e.ordinality;

-- name: jsonb-to-record
select t.id, r.* from tickets t, jsonb_to_record(t.meta) as r(channel text, attempts int, vip boolean) where t.id < 25 order by t.id;

-- name: jsonb-to-recordset
select o.id, r.sku, r.count from orders o, lateral jsonb_to_recordset(jsonb_path_query_array(o.lines, '$[*] ? (@.sku != null)')) as r(sku text, count int) where o.id < 25 order by o.id;

-- name: jsonb-object-keys
select distinct k from tickets, jsonb_object_keys(meta) k order by k;

-- name: jsonb-concat-compare
select id, meta || '{"x": 1}' as m, meta = meta as same, meta > '{}' as bigger from tickets where id < 15 order by id;

-- name: json-build
select json_build_object('id', id, 'tags', to_json(tags), 'when', created_at), json_build_array(id, null, 'x'), array_to_json(tags) from tickets where id < 15 order by id;

-- name: jsonb-subscript
select meta['browser']['name'] as name, lines[0]['sku'] as sku from tickets t join orders o on o.ticket_id = t.id order by t.id, o.id limit 6;

-- name: arrays
select id, tags, tags[1], cardinality(tags), array_length(tags, 1), array_position(tags, 'billing'), tags || 'extra'::text, array_to_string(tags, '+', 'NULL') from tickets where id < 40 order by id;

-- name: array-slices
select id, item_codes[1:2], item_codes[:1], item_codes[2:], array_upper(item_codes, 1), array_ndims(item_codes) from orders where id < 30 order by id;

-- name: array-operators
select count(*) filter (where tags @> array['login']), count(*) filter (where tags && '{billing,mobile}'), count(*) filter (where tags <@ array['billing', 'x']), count(*) filter (where tags = '{}'), count(*) filter (where 'mobile' = any (tags)) from tickets;

-- name: array-contains-in-where
select id, tags from tickets where tags @> '{mobile,v3}' order by id limit 8;

-- name: array-aggregates-nested
select array_agg(item_codes order by id) from orders where item_codes <> '{}' and id < 30;

-- name: array-functions
select array_append(tags, 'z'), array_prepend('a', tags), array_cat(tags, tags), array_remove(tags, 'billing'), array_replace(tags, 'mobile', 'm'), string_to_array('a,b', ','), array_fill(0, array[2]) from tickets where id < 20 order by id;

-- name: array-constructor
select array[id, customer_id], array[[1, 2], [3, 4]], array[]::text[] from tickets where id < 15 order by id;

-- name: ranges
select int4range(1, 5) * int4range(3, 9) as both, daterange('2024-01-01', '2024-02-01') @> date '2024-01-31' as inside, numrange(1, 2) && numrange(2, 3) as meets, lower(tstzrange('2024-01-01Z', '2024-01-02Z')) as l, isempty('empty'::int4range), upper_inc(int4range(1, 5, '[]'));

-- name: ranges-over-rows
select count(*) from orders where daterange(date '2024-01-05', date '2024-02-05', '[]') @> placed_on;

-- name: range-aggregates
select range_agg(int4range(id, id + 3) order by id), range_merge(int4range(1, 2), int4range(5, 6)) from documents where id < 30;

-- name: multiranges
select r, lower(r) from unnest('{[1,3),[5,9)}'::int4multirange) r order by r;

-- name: bytea
select receipt, encode(receipt, 'hex') = encode(receipt, 'hex') as same, encode(receipt, 'base64'), length(receipt), get_byte(receipt, 0), substring(receipt from 1 for 2), sha256(receipt) from orders where id < 15 order by id;

-- name: uuid
select id, public_id from tickets where public_id = (select public_id from tickets where id = 13) or public_id < '00200000-0000-0000-0000-000000000000' order by public_id limit 10;

-- name: real-and-double
select id, weight, weight * 2 as twice, weight::numeric as exact, lifetime_value from orders o join customers c using (id) where id < 25 order by id;

-- name: geometry-and-network
select point(1, 2) <-> point(4, 6) as distance, box '((0,0),(2,2))' @> point '(1,1)' as inside, inet '10.1.2.3' << inet '10.0.0.0/8' as net, host(inet '10.1.2.3/24'), bit '1010' & bit '0110' as bits;

-- name: full-text-search
select id, ts_rank(to_tsvector('english', body), q) > 0 as ranked from documents, to_tsquery('english', 'refund & purchase') q where to_tsvector('english', body) @@ q order by id limit 8;

-- name: full-text-headline
select ts_headline('simple', title, plainto_tsquery('simple', 'policy')) from documents where to_tsvector('simple', title) @@ plainto_tsquery('simple', 'policy') order by id limit 5;

-- name: xml
select xmlelement(name ticket, xmlattributes(id as id), xmlforest(subject, priority))::text from tickets where id < 12 order by id;

-- name: quoted-identifiers
select "t"."id", "subject" as "The ""Subject""" from "external_support"."tickets" as "t" where "t"."id" = 10;

-- name: unicode-identifiers
select U&"\0069d", U&"s!0075bject" UESCAPE '!' as s from U&"tick\0065ts" where id = 10;

-- name: identifier-folding
SELECT ID, Subject AS MixedCase FROM Tickets WHERE Tickets.iD = 11;

-- name: identifier-over-long
select id as a_column_name_that_is_much_longer_than_the_sixty_three_bytes_that_postgresql_keeps from tickets where id = 12;

-- name: string-literals
select 'it''s' as a, E'tab\there' as b, $$dollar $ quoted$$ as c, $x$a $$ b$x$ as d, U&'\0041\+000042' as e, B'101' as f, X'1F' as g, 'two '
'parts' as h;

-- name: numeric-literals
select 1e3 as a, .5 as b, 5. as c, 1.5e-3 as d, 9223372036854775807 as e, 9223372036854775808 as f, -0 as g;

-- name: comments-everywhere
/* leading /* nested */ comment */ select -- to the end
  id /* inside */ , subject--
from/**/tickets/* from hidden */where id=10--tail
;

-- name: odd-white-space
select	id
,
subject from
tickets	where	id=	10	or(id)=11	order by(id)desc;

-- name: keywords-as-names
select t.id as select, t.priority as "from", 1 as "where" from tickets t where t.id = 10;

-- name: union-of-comments-and-semicolon
select '; drop table tickets; --' as s, '/* not a comment */' as c from documents where id = 10;

-- name: collate
select id, name from customers where id < 60 order by name collate "C", id;

-- name: between-dates-grouped-weekly
select date_trunc('week', placed_on)::date as week, count(*), sum(total), count(*) filter (where paid) from orders group by 1 order by 1 limit 12;

-- name: top-customers
select c.id, c.name, sum(o.total) as spent, rank() over (order by sum(o.total) desc) as place from customers c join orders o on o.customer_id = c.id group by c.id, c.name order by spent desc, c.id limit 10;

-- name: months-without-tickets
select m::date from generate_series(timestamp '2023-11-01', timestamp '2024-06-01', interval '1 month') m where not exists (select 1 from tickets t where date_trunc('month', t.created_at at time zone 'UTC') = m) order by m;

-- name: ratio-per-channel
select meta ->> 'channel' as channel, round(avg((status in ('solved', 'closed'))::int), 4) as done, round(100.0 * count(*) filter (where rating >= 4) / nullif(count(rating), 0), 2) as happy from tickets group by 1 order by 1;

-- name: median-per-group
select priority, percentile_cont(0.5) within group (order by amount) as median from tickets group by priority order by priority;

-- name: pivot
select c.country, sum(case when t.priority = 'urgent' then 1 else 0 end) as urgent, count(*) filter (where t.priority = 'low') as low from customers c join tickets t on t.customer_id = c.id group by c.country order by c.country;

-- name: first-and-last-order
select distinct on (o.customer_id) o.customer_id, first_value(o.id) over w as first, last_value(o.id) over w as last from orders o where o.customer_id < 60 window w as (partition by o.customer_id order by o.placed_on, o.id rows between unbounded preceding and unbounded following) order by o.customer_id;

-- name: gaps-and-islands
select min(id), max(id), count(*) from (select id, id - row_number() over (order by id) as island from tickets where id < 300) s group by island order by 1;

-- name: anti-join-three-ways
select (select count(*) from tickets t where not exists (select 1 from orders o where o.ticket_id = t.id)) as a, (select count(*) from tickets t left join orders o on o.ticket_id = t.id where o.ticket_id is null) as b, (select count(*) from (select id from tickets except select ticket_id from orders) x) as c;

-- name: update-of-a-name-in-a-string
select count(*) from documents where body like '%update public.secret set%' or title = 'delete from tickets';

-- name: only-is-the-table-without-its-heirs
select count(*), min(id) from only tickets;

-- name: only-in-parentheses-and-table
select t.id from only (tickets) as t where t.id < 60 order by 1;

-- name: table-in-a-union
(table only customers order by id limit 3) union all (table customers order by id desc limit 2) order by id;

-- name: a-schema-before-the-relation-everywhere
select external_support.tickets.status, count(external_support.tickets.id) as n, max(external_support.tickets.amount) over () as most
from external_support.tickets join external_support.customers on external_support.customers.id = external_support.tickets.customer_id
where external_support.tickets.id < 300 and exists (select 1 from external_support.orders where external_support.orders.customer_id = external_support.customers.id)
group by external_support.tickets.status, external_support.tickets.amount having max(external_support.tickets.id) > 20
order by external_support.tickets.status, external_support.tickets.amount, n;

-- name: a-schema-before-a-whole-relation
select external_support.customers.* from external_support.customers where (external_support.customers.id) in (1, 2, 3) order by external_support.customers.id;

-- name: enum-cast
select id, status from tickets where status = 'open'::ticket_status and id < 200 order by id;

-- name: enum-cast-qualified-and-quoted
select id, status from tickets where status <> cast('open' as "external_support"."ticket_status") and id < 60 order by id;

-- name: enum-cast-of-an-array
select status, count(*) from tickets where status = any('{open,closed}'::ticket_status[]) group by status order by status;

-- name: enum-cast-of-an-array-written-out
select count(*) from tickets where status in ('new'::ticket_status, 'closed') or status = any(array['open', null]::external_support.ticket_status[]);

-- name: enum-cast-in-the-select-list
select 'open'::ticket_status, ticket_status 'new' < 'open', null::ticket_status[], array['open', 'new']::ticket_status[], 'new'::external_support.ticket_status as s;

-- name: enum-cast-of-text
select id, (case when priority = 'high' then 'open' else 'closed' end)::ticket_status from tickets where id < 60 order by 2, 1;

-- name: enum-cast-of-text-in-a-condition
select id from tickets where (case when priority = 'high' then 'open' else 'closed' end)::ticket_status = status and id < 300 order by id;

-- name: enum-cast-of-itself
select id from tickets where status::ticket_status::text::ticket_status > 'open' and id < 100 order by id;
