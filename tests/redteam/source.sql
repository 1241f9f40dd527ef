-- The source that the red-team cases are run against. What agent acme must not receive is a canary: every value of
-- another tenant and of a hidden column holds one of the marks below, and every hidden name begins with zzhid.
--   text    CANARY           int4  2054847098 (7a7a7a7a)         int8  8825501086245354106 (7a7a7a7a7a7a7a7a)
--   numeric 2054847098.77    date  7777-07-07                    uuid  ca11a7ca-11a7-ca11-a7ca-11a7ca11a7ca
--   acme's own texts hold ACMEOWN: what agent globex must not receive.
-- psql -v password=… -v copy=off|on   on: only what acme may see, in tables of the alias names, for tenant-only cases

\set ON_ERROR_STOP on
set client_min_messages = warning;
create schema zzhid_real;
create schema zzhid_ext;
create extension citext schema zzhid_ext;
create extension ltree schema zzhid_ext;
create extension hstore schema zzhid_ext;
grant usage on schema zzhid_ext to public;

create type zzhid_real.mood as enum ('calm', 'angry');
create type zzhid_real.zzhid_grade as enum ('CANARY');
create type zzhid_real.zzhid_pair as (word text, number int);
create text search configuration zzhid_real.zzhid_cfg (copy = pg_catalog.simple);
create function zzhid_real.zzhid_check(value text) returns boolean language sql
  as $$ select set_config('application_name', 'CANARY-domain', false) is not null $$;
create domain zzhid_real.zzhid_domain as text check (zzhid_real.zzhid_check(value));

create table zzhid_real.tickets (
  id bigint primary key, tenant_id text not null, subject text, body text, amount numeric, quantity int, score real,
  secret text, email text, mood zzhid_real.mood, public_id uuid, meta jsonb, tags text[], placed_on date,
  zzhid_note text not null, zzhid_cost int not null, zzhid_when date not null, deleted_at timestamptz
);
create table zzhid_real.orders (
  id bigint primary key, tenant_id text not null, ticket_id bigint, label text, total numeric, pieces int, zzhid_margin int not null
);
create table zzhid_real.labels (
  id bigint primary key, tenant_id text not null, word zzhid_ext.citext, place zzhid_ext.ltree, traits zzhid_ext.hstore, zzhid_cost int not null
);
-- Every third row is acme's; of those, every thirtieth is deleted, which the policy's filter hides.
insert into zzhid_real.tickets
  select i, case when mine then 'acme' else 'globex' end,
    case when shown then 'ACMEOWN subject ' || i else 'CANARY subject ' || i end,
    case when shown then 'ACMEOWN body' else 'CANARY body' end,
    case when shown then i % 100 + 0.5 else 2054847098.77 end,
    case when shown then i % 7 + 1 else 2054847098 end,
    case when shown then i % 5 else 2054847098 end,
    case when shown then 'pass' || i else 'CANARY(((' end,
    case when shown then 'ACMEOWN' || i || '@acme.example' else 'CANARY@globex.example' end,
    (case when i % 2 = 0 then 'calm' else 'angry' end)::zzhid_real.mood,
    case when shown then ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid else 'ca11a7ca-11a7-ca11-a7ca-11a7ca11a7ca' end,
    case when shown then jsonb_build_object('n', i, 'kind', 'ACMEOWN') else '{"CANARY": "CANARY", "n": "CANARY"}' end,
    case when shown then array['ACMEOWN', 'tag' || i % 3] else '{CANARY}' end,
    case when shown then date '2024-01-01' + (i % 300)::int else '7777-07-07' end,
    'CANARY note', 2054847098, '7777-07-07', case when mine and not shown then now() end
  from (select i, i % 3 = 0 as mine, i % 3 = 0 and i % 90 <> 0 as shown from generate_series(1, 180) i) rows;
insert into zzhid_real.orders
  select i, case when i % 3 = 0 then 'acme' else 'globex' end, i, case when i % 3 = 0 then 'ACMEOWN order' else 'CANARY order' end,
    case when i % 3 = 0 then i else 2054847098.77 end, case when i % 3 = 0 then i % 9 else 2054847098 end, 2054847098
  from generate_series(1, 120) i;
-- Of acme's, the filter hides every fifteenth by a word in another case, and every ninth by a place.
insert into zzhid_real.labels
  select i, case when mine then 'acme' else 'globex' end,
    (case when not mine then 'CANARY word' when i % 15 = 0 then 'HiDDeN' else (array['Word', 'wORD', 'ACMEOWN'])[i % 9 / 3 + 1] end)::zzhid_ext.citext,
    (case when not mine then 'CANARY.Place' when i % 9 = 0 then 'Secret.CANARY' else 'Top.A' || i % 4 end)::zzhid_ext.ltree,
    (case when shown then 'kind=>ACMEOWN, n=>' || i else 'kind=>CANARY, CANARY=>1' end)::zzhid_ext.hstore, 2054847098
  from (select i, i % 3 = 0 as mine, i % 3 = 0 and i % 15 <> 0 and i % 9 <> 0 as shown from generate_series(1, 120) i) rows;
create index on zzhid_real.tickets (amount);
create index on zzhid_real.tickets (tenant_id);
create statistics zzhid_real.zzhid_stats (mcv) on tenant_id, secret from zzhid_real.tickets;

select :'copy' = 'on' as copy \gset
\if :copy
  create schema desk;
  create type desk.mood as enum ('calm', 'angry');
  create table desk.tickets as
    select id, subject, body, amount, quantity, score, secret, '***' as email, mood::text as mood, public_id, meta, tags, placed_on
    from zzhid_real.tickets where tenant_id = 'acme' and deleted_at is null order by id;
  create table desk.orders as select id, ticket_id, label, total, pieces from zzhid_real.orders where tenant_id = 'acme' order by id;
  create table desk.labels as select id, word, place, traits from zzhid_real.labels where tenant_id = 'acme' and id % 15 <> 0 and id % 9 <> 0 order by id;
  alter table desk.labels add primary key (id);
  alter table desk.tickets add primary key (id);
  alter table desk.orders add primary key (id);
  alter extension citext set schema desk;
  alter extension ltree set schema desk;
  alter extension hstore set schema desk;
  drop schema zzhid_ext;
  drop schema zzhid_real cascade;
  create role redteam_copy login password :'password';
  grant usage on schema desk to redteam_copy;
  grant select on all tables in schema desk to redteam_copy;
  alter role redteam_copy set search_path = desk;
\else
  -- Decoys: real relations where an unresolved name would lead.
  create schema desk;
  create schema pgwicket;
  create type desk.mood as enum ('CANARY');
  create type public.mood as enum ('CANARY');
  create type public.grade as enum ('CANARY');
  create table desk.tickets as select * from zzhid_real.tickets where tenant_id <> 'acme';
  create table public.tickets as table desk.tickets;
  create table public.orders as select * from zzhid_real.orders where tenant_id <> 'acme';
  create table pgwicket.relations as select 'CANARY' as name;
  create table zzhid_real.zzhid_vault as select 'CANARY vault' as word, 2054847098 as number;
  create table public.zzhid_vault as table zzhid_real.zzhid_vault;
  create view public.zzhid_view as select * from zzhid_real.tickets;
  create materialized view public.zzhid_matview as select * from zzhid_real.tickets;
  create sequence public.zzhid_sequence start 2054847098 maxvalue 4054847098;
  select nextval('public.zzhid_sequence');
  create table public.zzhid_log (line text);
  select lo_from_bytea(424242, 'CANARY large object');
  comment on column zzhid_real.tickets.zzhid_note is 'CANARY comment';

  -- Functions, operators and casts of the source that anyone may use.
  create function public.zzhid_all() returns setof zzhid_real.tickets language sql security definer
    as 'select * from zzhid_real.tickets';
  create function public.zzhid_write() returns int language plpgsql security definer
    as $$ begin insert into public.zzhid_log values ('written'); return 1; end $$;
  create function public.lower(text) returns text language sql as $$ select 'CANARY lower' $$;
  create function public.secret(zzhid_real.tickets) returns text language sql as $$ select 'CANARY secret' $$;
  create function public.zzhid_sum(int, int) returns int language sql as 'select 2054847098';
  create operator public.+ (leftarg = int, rightarg = int, function = public.zzhid_sum);
  create operator public.### (leftarg = int, rightarg = int, function = public.zzhid_sum);
  create aggregate public.zzhid_concat(text) (sfunc = textcat, stype = text, initcond = 'CANARY');
  create procedure public.zzhid_procedure() language sql as $$ insert into public.zzhid_log values ('called') $$;

  -- A credential far wider than it should be: what stops a write or a read here is pgwicket, nothing else.
  select not exists (select from pg_roles where rolname = 'redteam_reader') as absent \gset
  \if :absent
    create role redteam_reader login password :'password' in role pg_read_all_data, pg_write_all_data, pg_monitor,
      pg_read_server_files, pg_write_server_files, pg_execute_server_program, pg_signal_backend, pg_checkpoint;
  \endif
  grant usage on schema zzhid_real, desk, pgwicket, public to redteam_reader;
  grant select, update on large object 424242 to redteam_reader;
  grant create on schema public to redteam_reader;
  do $$ begin execute format('grant create, temporary on database %I to redteam_reader', current_database()); end $$;
\endif
analyze;
