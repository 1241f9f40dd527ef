-- What the generator's statements run over. The agent's own rows are the same in every database, and none of them makes
-- any generated expression fail; the rows it may not see are poison: casts, divisions, regexes, roots, overflows, JSON
-- and array functions fail on them, or pass conditions that no row of its own does. Some are its own, deleted.
-- Keep the columns in step with policy.yaml and columns.rs.
--
-- psql -v side=one|two|rls|copy
--   one, two  the source, with one poison and with another; hidden columns differ too
--   rls       the source with the first poison, and what the policy says said by PostgreSQL's own means: row-level security and
--             column grants for support_agent, behind views of the alias names
--   copy      the agent's rows alone, under the alias names, for support_agent itself

\set ON_ERROR_STOP on
set client_min_messages = warning;
set timezone = 'UTC';
select :'side' = 'copy' as copy, :'side' = 'rls' as rls, case :'side' when 'one' then 1 when 'rls' then 1 when 'two' then 2 else 0 end as poison \gset

-- Databases that are compared byte for byte are copies of one that has it already, so that it has one OID in all of them.
select to_regtype('public.st') is null as untyped \gset
\if :untyped
create type public.st as enum ('open', 'closed', 'lost');
\endif
\if :{?types_only}
\q
\endif
create schema base;
create table base.t (id bigint primary key, tenant_id text not null, amount int, price numeric, subject text, meta jsonb, tags text[],
  at timestamptz, status public.st, c_id bigint, deleted_at timestamptz, hidden text,
  ca text collate "C" default 'c', cp text collate "en-x-icu", twice int generated always as (amount % 1000 * 2) stored);
create table base.c (id bigint primary key, tenant_id text not null, name text, score float8, n int, flag bool, uid uuid, hidden text);
-- Rows in a table of its own that inherits, rows in partitions, and columns that a view computes: they fail on poison.
create table base.c_old (primary key (id)) inherits (base.c);
create table base.m (id bigint primary key, tenant_id text not null, t_id bigint, day date, nums int[], code text, hidden int) partition by hash (id);
create table base.m_0 partition of base.m for values with (modulus 3, remainder 0);
create table base.m_1 partition of base.m for values with (modulus 3, remainder 1);
create table base.m_2 partition of base.m for values with (modulus 3, remainder 2);
create view base.v as select id, tenant_id, name::int as number, 20 / n as share, lower(name) as label, hidden from base.c;
create table base.g (id bigint primary key, x int, label text);

insert into base.t
  select i, 'acme', i % 20 + 1, i % 10 + 0.5, case when i % 11 > 0 then (i % 30)::text end,
         jsonb_build_object('k', i % 10, 'a', jsonb_build_array(i % 3, 2), 's', (i % 7)::text), array[(i % 3)::text, '2'],
         timestamptz '2024-01-01' + i % 50 * interval '1 day', (array['open', 'closed']::public.st[])[i % 2 + 1],
         case when i % 13 > 0 then i % 20 + 1 end, null, 'own ' || :poison
  from generate_series(1, 40) i;
insert into base.c
  select i, 'acme', i::text, i % 4 + 0.5, i % 5 + 1, i % 2 = 0, md5((i % 7)::text)::uuid, 'own ' || :poison from generate_series(1, 20) i;
insert into base.m
  select i, 'acme', i, date '2024-03-01' + i % 20, array[i % 4 + 1, 3], (1000 + i % 9)::text, :poison from generate_series(1, 30) i;
insert into base.g select i, i % 7, 'g' || i from generate_series(1, 8) i;

with moved as (delete from only base.c where id % 3 = 0 returning *) insert into base.c_old select * from moved order by id;

\if :copy
\else
-- The agent's own `cp` is NULL: nothing is compared with it.
alter table base.t alter cp set default 'p';
select case :poison when 1 then 4 else 3 end as kinds, case :poison when 1 then 400 else 270 end as rows \gset
insert into base.t
  select 1000 + i, case when i % 10 = 0 then 'acme' when i % 3 = 0 then 'initech' else 'globex' end,
         (case :poison when 1 then array[7777, 2147483647, 7777, -5] else array[-2147483648, 0, 7777] end)[i % :kinds + 1],
         (case :poison when 1 then array[-1, 'NaN', 0, 1e300] else array['-Infinity', -1, 0]::numeric[] end)[i % :kinds + 1],
         (case :poison when 1 then array['(((', 'x', E'\\', '{'] else array['*', '99999999999999999999', ''] end)[i % :kinds + 1],
         (case :poison when 1 then array['["x"]', '"k"', '{"k": "zz", "a": 5, "s": "("}', 'null'] else array['7', '{"k": 99999999999, "a": {}}', '[[1]]'] end)
           [i % :kinds + 1]::jsonb,
         (case :poison when 1 then array['{(,x}', '{{1,2},{3,4}}', '{}', '{NULL}'] else array['{{x}}', '{*}', '{99999999999}'] end)[i % :kinds + 1]::text[],
         (case :poison when 1 then array['infinity', '-infinity', '294276-12-31', '4713-01-01 BC'] else array['-infinity', 'infinity', '2024-01-03'] end)
           [i % :kinds + 1]::timestamptz,
         (array['lost', 'open', 'closed']::public.st[])[i % 3 + 1], i % 25, case when i % 10 = 0 then now() end, 'other ' || :poison || i
  from generate_series(1, :rows) i;
insert into base.c
  select 1000 + i, case when i % 3 = 0 then 'initech' else 'globex' end,
         (case :poison when 1 then array['[', '(((', E'\\', 'x'] else array['*', '', '1e400'] end)[i % :kinds + 1],
         (case :poison when 1 then array['1e308', 'infinity', 'nan', '-1'] else array['-1e308', '-infinity', '0'] end)[i % :kinds + 1]::float8,
         (case :poison when 1 then array[0, 2147483647, 0, -1] else array[0, -2147483648, 6] end)[i % :kinds + 1], i % 3 = 0,
         md5((i % 9)::text)::uuid, 'other ' || :poison || i
  from generate_series(1, :rows / 2) i;
insert into base.m
  select 1000 + i, case when i % 3 = 0 then 'initech' else 'globex' end, i % 45,
         (case :poison when 1 then array['infinity', '-infinity', '5874897-12-31', '2024-03-05'] else array['-infinity', 'infinity', '4713-01-01 BC'] end)
           [i % :kinds + 1]::date,
         (case :poison when 1 then array['{0,1}', '{}', '{{1,0},{0,1}}', '{2147483647,0}'] else array['{{0}}', '{0,0}', '{-2147483648,-1}'] end)[i % :kinds + 1]::int[],
         (case :poison when 1 then array['(', 'zz', E'\\', ''] else array['*', '[', 'xyz'] end)[i % :kinds + 1], i
  from generate_series(1, :rows / 2) i;
with moved as (delete from only base.c where id > 1000 and id % 2 = 0 returning *) insert into base.c_old select * from moved order by id;
\endif

-- What an estimator may look at: values of everybody, of expressions too, in samples of all sizes.
alter table base.t alter subject set statistics 1000, alter amount set statistics 10;
alter table base.c alter name set statistics 1, alter n set statistics 500;
alter table base.m alter code set statistics 200;
create index on base.t (lower(subject));
create index on base.t (amount) where status = 'open';
create statistics base.t_mcv (mcv, dependencies) on subject, status from base.t;
create statistics base.t_expression on (upper(subject)), (subject || 'x') from base.t;
create index on base.t (amount);
create index on base.t (c_id);
create index on base.t (subject);
create index on base.t (price);
create index on base.t (at);
create index on base.t (status);
create index on base.c (n);
create index on base.c (name);
create index on base.c (uid);
create index on base.m (t_id);
create index on base.m (day);
create index on base.m (code);
create index on base.c_old (n);
create index on base.c_old (name);
-- Of one part alone.
create index on base.c_old (upper(name));
create index on base.m_1 (left(code, 1));
create index on base.m_2 ((t_id + 1)) where day > date '2024-03-05';

\if :rls
create schema s;
create view s.t with (security_invoker = true) as select id, amount, price, subject, meta, tags, at, status, c_id, twice, ca, cp from base.t;
create view s.c with (security_invoker = true) as select id, name, score, n, flag, uid from base.c;
create view s.m with (security_invoker = true) as select id, t_id, day, nums, code from base.m;
create view s.v with (security_invoker = true) as select id, name::int as number, 20 / n as share, lower(name) as label from base.c;
create view s.g with (security_invoker = true) as select id, x, label from base.g;
create policy tenant on base.t for select to support_agent using (tenant_id = 'acme' and deleted_at is null);
create policy tenant on base.c for select to support_agent using (tenant_id = 'acme');
create policy tenant on base.m for select to support_agent using (tenant_id = 'acme');
alter table base.t enable row level security;
alter table base.t force row level security;
alter table base.c enable row level security;
alter table base.c force row level security;
alter table base.m enable row level security;
alter table base.m force row level security;
grant usage on schema base to support_agent;
grant select (id, amount, price, subject, meta, tags, at, status, c_id, twice, ca, cp) on base.t to support_agent;
grant select (id, name, score, n, flag, uid) on base.c to support_agent;
grant select (id, t_id, day, nums, code) on base.m to support_agent;
grant select (id, x, label) on base.g to support_agent;
\elif :copy
create schema s;
create table s.t as select id, amount, price, subject, meta, tags, at, status, c_id, twice, ca, cp from base.t order by id;
create table s.c as select id, name, score, n, flag, uid from base.c order by id;
create table s.m as select id, t_id, day, nums, code from base.m order by id;
create table s.v as select id, number, share, label from base.v order by id;
create table s.g as select id, x, label from base.g order by id;
alter table s.t add primary key (id);
alter table s.c add primary key (id);
alter table s.m add primary key (id);
alter table s.v add primary key (id);
alter table s.g add primary key (id);
drop schema base cascade;
\else
grant usage on schema base to pgwicket_reader;
grant select on all tables in schema base to pgwicket_reader;
\endif
-- Who asks PostgreSQL itself has the session that an agent has behind pgwicket.
select :'side' in ('copy', 'rls') as direct \gset
\if :direct
-- Where the virtual catalog shows it.
alter type public.st set schema s;
grant usage on schema s to support_agent;
grant select on all tables in schema s to support_agent;
select format('alter role support_agent in database %I set search_path = s', current_database()) \gexec
select format('alter role support_agent in database %I set default_transaction_read_only = on', current_database()) \gexec
\endif
analyze;

-- Make the planner want every index and every condition early; keep the tests' servers quiet.
select format('alter database %I set %s', current_database(), setting)
  from unnest(array['seq_page_cost = 20', 'random_page_cost = 0.1', 'cpu_operator_cost = 0.05', 'timezone = ''UTC''', 'statement_timeout = ''2s''',
                    'log_statement = none', 'max_parallel_workers_per_gather = 0', 'jit = off', 'log_min_messages = fatal',
                    'log_min_error_statement = panic']) setting \gexec
-- One twin's planner is led another way: what an agent receives may not depend on the plan.
select :'side' = 'two' as two \gset
\if :two
select format('alter database %I set %s', current_database(), setting)
  from unnest(array['enable_nestloop = off', 'enable_bitmapscan = off', 'join_collapse_limit = 1', 'from_collapse_limit = 1', 'enable_material = off',
                    'enable_memoize = off']) setting \gexec
\endif
