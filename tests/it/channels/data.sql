-- What the statements of `cases.txt` run over. Own rows are acme's, the same everywhere; none of them makes a statement fail: own `cp` and
-- `cn` are NULL, so that no operator of theirs is called.
--
-- psql -v side=without|with|copy -v port=PORT
--   without   a source that holds acme's rows alone
--   with      the same, and globex' rows, rows that row filters hide, other hidden values, and objects that no policy names
--   copy      acme's rows alone, for an agent that asks PostgreSQL itself (mod.rs makes its relations)
-- Everything is analysed: what an estimator may look at, it may.

\set ON_ERROR_STOP on
set client_min_messages = warning;
set timezone = 'UTC';
select :'side' = 'with' as others, current_setting('server_version_num')::int >= 180000 as eighteen \gset

-- The sources are copies of one database that has these already, so that each has one OID in all of them.
select to_regtype('public.st') is null as untyped \gset
\if :untyped
create type public.st as enum ('open', 'closed', 'lost');
create collation public.level2 (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create extension postgres_fdw;
\endif
\if :{?types_only}
\q
\endif

create schema base;
create table base.t (id int primary key, tenant_id text not null, amount int, kind text, subject text, secret text, hid text,
  price numeric, ca text collate "C", cp text collate "en-x-icu", cn text collate public.level2, ts timestamptz, d date, f float8,
  j jsonb, tags text[], b bytea, ch char(12), st public.st, iv interval, r int4range);
create index on base.t (amount);
create index on base.t (subject);
create index on base.t (kind);
create index on base.t (lower(subject));
create index on base.t ((secret || kind));
create index on base.t (amount) where kind = 'spam';
create statistics base.pairs (ndistinct, dependencies, mcv) on subject, kind from base.t;
create statistics base.expressions on (upper(subject)), (subject || '!') from base.t;
insert into base.t
  select i, 'acme', i * 10, 'ok', 'subj ' || i, '7' || i, 'hid ' || i, i * 1.5, 'c' || i, null, null,
         timestamptz '2024-06-01 00:00+00' + i * interval '1 hour', date '2024-01-01' + i, i / 4.0, jsonb_build_object('k', i),
         array[i::text, '2'], convert_to('s' || i, 'UTF8'), 's' || i, 'open', i * interval '1 hour', int4range(i, i + 5)
  from generate_series(1, 40) i;
\if :others
insert into base.t
  select 1000 + i, 'globex', case i when 1 then 7777 else 5000 + i end, 'ok', 'abcdefg', '(((1000', 'x', case i when 1 then numeric '1e400' when 2 then 'NaN' else -1 end, 'x',
         'y', 'abc', 'infinity', 'infinity', 'infinity', case i when 1 then '{"abc": "x"}'::jsonb else '["zz"]' end, '{(,x}', 'abcdefg', 'abcdefg', 'lost', interval '1 year', 'empty'
  from generate_series(1, 101) i;
\endif

-- The same columns in a large table: other tenants' values fill the histogram, too.
create table base.big (like base.t including indexes);
alter table base.big alter subject set statistics 1000, alter secret set statistics 1, alter kind set statistics 10;
create sequence base.ids start 900001;
alter table base.big alter id set default nextval('base.ids');
insert into base.big select * from base.t where tenant_id = 'acme';
\if :others
insert into base.big
  select 1000 + i, 'globex', case i when 1 then 7777 else 5000 + i end, 'k' || i % 7, 'abcdefg' || case when i % 3 = 0 then '' else i::text end,
         '(((' || i, 'x', -1, 'x' || i, 'y' || i, 'abc' || i, 'infinity', 'infinity', 'infinity', case i when 1 then '{"abc": "x"}'::jsonb else '["zz"]' end, '{(,x}', 'abcdefg', 'abcdefg', 'lost',
         interval '1 year', 'empty'
  from generate_series(1, 4000) i;
\endif

create table base.part (like base.t) partition by range (amount);
create table base.part_low partition of base.part for values from (minvalue) to (1000);
create table base.part_high partition of base.part default;
create index on base.part (amount);
insert into base.part select * from base.t;

create table base.parent (like base.t);
create table base.child () inherits (base.parent);
create index on base.parent (amount);
create index on base.child (amount);
insert into base.parent select * from base.t where id <= 20;
insert into base.child select * from base.t where id > 20;

create view base.plain as select * from base.t;
create view base.again as select * from base.plain;
create materialized view base.kept as select * from base.t;

select format('create server loop foreign data wrapper postgres_fdw options (host %L, port %L, dbname %L)', '127.0.0.1', :'port', current_database()) \gexec
select format('create user mapping for public server loop options (user %L, password %L)', 'pgwicket_reader', :'password') \gexec
create foreign table base.away (id int, tenant_id text, amount int, kind text, subject text, secret text, ca text collate "C", cp text collate "en-x-icu")
  server loop options (schema_name 'base', table_name 't');

-- An index that orders by distance computes it of every row.
create table base.near (id int primary key, tenant_id text not null, p point);
create index on base.near using gist (p);
insert into base.near select i, 'acme', point(i, i) from generate_series(1, 40) i;
\if :others
insert into base.near values (1001, 'globex', point(1e308, 1e308));
\endif

-- So many rows of others that a plan of its own is worth it for each value of a parameter.
create table base.costly (id int primary key, tenant_id text not null, amount int);
create index on base.costly (amount);
insert into base.costly select i, 'acme', i from generate_series(1, 10) i;
\if :others
insert into base.costly select 1000 + i, 'globex', i from generate_series(1, 60000) i;
\endif

-- Columns that are computed: an expression of the view's, on anybody's rows.
create table base.det (id int primary key, tenant_id text not null, payload text, total int, qty int, ca text collate "C", cp text collate "en-x-icu");
create index on base.det (total);
insert into base.det select i, 'acme', i::text, i * 100, i, 'c', null from generate_series(1, 40) i;
\if :others
insert into base.det select 1000 + i, 'globex', 'globex secret payload ' || i, case i when 1 then 7777 else 0 end, 0, 'x', 'y' from generate_series(1, 101) i;
\endif
create view base.computed as
  select b.id, b.tenant_id, b.subject, d.total, d.payload::int as n, d.total / d.qty as unit, d.payload::int > 3 as flag,
         (select 100 / d.qty) as deep, case when d.qty < 1000 then 1000 / d.qty end as guarded
  from base.t b join base.det d using (id);
create view base.nested as select id, tenant_id, subject, n + 1 as n, unit * 2 as unit, total from base.computed;
create view base.mixed as select id, tenant_id, total, total = 7777 and ca < cp as both_of, ca || 'x' as one_of from base.det;
create foreign table base.faraway (id int, tenant_id text, subject text, total int, n int, unit int) server loop options (schema_name 'base', table_name 'computed');
\if :eighteen
create table base.made (id int primary key, tenant_id text not null, total int, qty int, unit int generated always as (total / qty) virtual,
  double int generated always as (total * 2) stored);
\else
create table base.made (id int primary key, tenant_id text not null, total int, qty int, unit int generated always as (total / nullif(qty, 0)) stored,
  double int generated always as (total * 2) stored);
\endif
create index on base.made (total);
insert into base.made (id, tenant_id, total, qty) select id, tenant_id, total, qty from base.det;

-- What row filters read. Rows that the filters hide, under the settings of whoever wrote the policy, are in one twin only.
create table base.clock (id int primary key, tenant_id text not null, ts timestamptz, d date, lt timestamp, iv interval, f float8, b bytea, kind text,
  subject text, m money, t time, tags text[]);
create index on base.clock (subject);
insert into base.clock
  select i, 'acme', timestamptz '2024-05-30 00:00+00' + i * interval '1 hour', date '2024-05-01' - i, timestamp '2024-05-30' + i * interval '1 hour',
         i * interval '1 minute', i / 3.0, decode(lpad(to_hex(i), 2, '0'), 'hex'), 'ok', 'subj ' || i, i, time '01:00' + i * interval '1 minute', '{ok}'
  from generate_series(1, 20) i;
\if :others
insert into base.clock
  select 100 + i, 'acme', timestamptz '2024-06-01 00:00+00' + (i + 5) * interval '1 hour', date '2024-05-01' + i, timestamp '2024-06-01 06:00' + i * interval '1 hour',
         i * interval '1 day' + interval '1 month', 1000.0 + 1 / (i + 2.0), '\x5c5c', 'spam', 'subj 3', -i, time '13:00', '{spam}'
  from generate_series(1, 20) i;
\endif

-- Hidden values that a filter reads, and fails on in one twin.
create table base.strict (id int primary key, tenant_id text not null, hid text, hidn int, subject text);
insert into base.strict select i, 'acme', (i + 100)::text, i, 'subj ' || i from generate_series(1, 20) i;
\if :others
update base.strict set hid = 'hidden' || id, hidn = 0 where id > 15;
\endif

-- A filter that reads them fails on another tenant's.
create table base.others (id int primary key, tenant_id text not null, hid text, subject text);
insert into base.others select i, 'acme', (i + 5)::text, 'subj ' || i from generate_series(1, 20) i;
\if :others
insert into base.others select 100 + i, 'globex', '%\', 'subj ' || i from generate_series(1, 20) i;
\endif

-- Values that masks hide: the parts that no mask shows differ.
create table base.masked (id int primary key, tenant_id text not null, d date, ts timestamptz, lt timestamp, iv interval, f float8, f4 real, b bytea, m money, t text, n numeric,
  tz timetz, da date[], fa float8[], r tstzrange, st public.st, bits bit(8), net inet, j jsonb);
insert into base.masked
  select i, 'acme', date '2024-01-01' + i, timestamptz '2024-01-01 00:00+00' + i * interval '1 hour', timestamp '2024-01-01' + i * interval '1 hour',
         i * interval '25 hours', 1 / 3.0::float8 + i, 1 / 3.0::real + i, decode('5c' || lpad(to_hex(i), 2, '0'), 'hex'), i, 'text ' || i, i + 0.25, '10:00+00',
         array[date '2024-01-01' + i], array[i / 3.0], tstzrange('2024-01-01', '2024-02-01'), 'open', (i + 64)::bit(8), '10.0.0.1', jsonb_build_object('k', i)
  from generate_series(1, 20) i;
create table base.hashed as select * from base.masked;
\if :others
-- The last four characters of the ISO form are the same, what stands before them is not.
update base.masked set d = d + interval '4 years', ts = ts + interval '4 years', lt = lt + interval '4 years';
\endif

-- What a policy never names.
\if :others
create schema hidden;
create text search configuration hidden.cfg (copy = simple);
create text search dictionary hidden.dict (template = simple);
create collation hidden.coll (locale = 'C');
create function hidden.f(int) returns int language sql as 'select 1';
create operator hidden.### (function = int4pl, leftarg = int, rightarg = int);
create sequence hidden.seq;
create type hidden.ty as enum ('a');
grant usage on schema hidden to public;
\endif
create table base.g (id int primary key, x int, label text);
insert into base.g select i, i % 7, 'g' || i from generate_series(1, 8) i;

-- Of an inheritance tree one table has the index by which the least is found, the other is sorted.
create table base.roof (id int primary key, tenant_id text not null, amount int, kind text);
create table base.room () inherits (base.roof);
create index on base.roof ((10 / amount));
create index on base.roof ((10 / amount > 0));
insert into base.roof select i, 'acme', i * 10, 'ok' from generate_series(1, 5000) i;
insert into base.room select 5000 + i, 'acme', i * 10, 'ok' from generate_series(1, 40) i;
\if :others
insert into base.room values (9001, 'globex', 0, 'ok');
\endif
create table base.split (id int, tenant_id text not null, amount int) partition by range (id);
create table base.split_low partition of base.split for values from (minvalue) to (5001);
create table base.split_high partition of base.split for values from (5001) to (maxvalue);
create index on base.split_low ((10 / amount));
insert into base.split select id, tenant_id, amount from base.roof;

-- A view whose own condition fails on the agent's own rows.
create view base.failing as select id, tenant_id, amount from base.t where 1 / (amount - 10) >= 0;
create domain base.few as int check (value < 5);
create table base.domained (id int primary key, tenant_id text not null, few base.few, amount int);
insert into base.domained select i, 'acme', 1, i * 10 from generate_series(1, 40) i;
\if :others
insert into base.domained values (1001, 'globex', 2, 7777);
\endif

grant usage on schema base to pgwicket_reader;
grant select on all tables in schema base to pgwicket_reader;
refresh materialized view base.kept;
vacuum analyze;
analyze base.away;
select format('alter database %I set %s', current_database(), setting)
  from unnest(array['timezone = ''UTC''', 'statement_timeout = ''5s''', 'jit = off']) setting \gexec
