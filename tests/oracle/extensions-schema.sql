-- Tables with columns of extension types: people, their filtered half, pairs. Tenants acme and globex.
--
-- psql -v schema=…   the schema that the extensions are in; `public` or one of their own

\set ON_ERROR_STOP on
set client_min_messages = warning;
create schema if not exists :"schema";
create extension citext schema :"schema";
create extension ltree schema :"schema";
create extension hstore schema :"schema";
create extension pg_trgm schema :"schema";
grant usage on schema :"schema" to public;
set search_path = public, :"schema";

create domain public.mail as citext check (value <> '');
create type public.contact as (address citext, since date);
create table public.people (
  id integer primary key,
  tenant_id text not null,
  email citext not null,
  work mail,
  place ltree,
  traits hstore,
  note text,
  code varchar(20),
  mails citext[],
  places ltree[],
  contact contact,
  updated_at timestamptz not null default '2026-01-01 00:00+00',
  unique (tenant_id, email)
);
insert into public.people (id, tenant_id, email, work, place, traits, note, code, mails, places, contact)
select n, case when n % 3 = 0 then 'globex' else 'acme' end,
  (array['Ada', 'ada2', 'BOB', 'bob2', 'Cy', 'cY2', 'hidden', 'Hidden2', 'HIDDEN3', 'Ünal'])[1 + n % 10] || '-' || (n / 10) || '@Example.com',
  case when n % 4 > 0 then (array['Office', 'office', 'HOME'])[1 + n % 3]::citext end,
  ((array['Top.Science', 'Top.Science.Astronomy', 'Top.Hobbies', 'top.science', 'Top'])[1 + n % 5])::ltree,
  hstore(array['color', 'Size', 'n'], array[(array['Red', 'red', 'BLUE'])[1 + n % 3], case when n % 2 = 0 then 'L' end, n::text]),
  (array['A quick brown fox', 'the lazy dog', 'A Quick Brown Fix', null])[1 + n % 4],
  'C-' || n % 7,
  array[(array['x', 'X', 'y'])[1 + n % 3], 'Z']::citext[],
  array['Top.Science', 'Top.Hobbies.Music']::ltree[],
  row((array['P@x', 'p@X', 'q@x'])[1 + n % 3], '2026-01-01'::date + n)::contact
from generate_series(1, 60) n;

-- As in the report: what hides is written in another case.
create table public.marks (id integer primary key, tenant_id text not null, c citext, d text, t text);
insert into public.marks values (1, 'acme', 'Hidden', 'a', 'Hidden'), (2, 'acme', 'hidden', 'b', 'hidden'), (3, 'acme', 'shown', 'c', 'shown'),
  (4, 'acme', 'Other', 'd', null), (5, 'globex', 'HIDDEN', 'e', 'HIDDEN'), (6, 'globex', 'shown', 'f', 'shown'), (7, 'acme', null, 'g', 'x');
create table public.words (id integer primary key, tenant_id text not null, word citext unique, place ltree, n integer);
insert into public.words values (1, 'acme', 'Alpha', 'Top', 1), (2, 'acme', 'BETA', 'Top.Science', 2), (3, 'globex', 'gamma', 'Top', 3);
