-- A source for the tests of settings: each type once, rows around the places where settings make a difference.
do $$ begin
  create role settings_reader login password 'correct horse battery';
exception when duplicate_object or unique_violation then null; -- a test beside this one was first
end $$;
create type mood as enum ('sad', 'happy');
create domain email as text check (value like '%@%');
create domain day as date;
create type pair as (n int, m mood);
create type visit as (n int, at timestamptz);
create table kinds (
  id int primary key, tenant_id text not null, name text, hid text, n int, big bigint, nu numeric(20, 4), b boolean, u uuid,
  vc varchar(20), bc char(10), ts timestamptz, ts2 timestamptz, lt timestamp, d date, dd day, tt time, tz timetz, iv interval,
  f float8, f4 float4, mo money, mo2 money, by bytea, j jsonb, js json, m mood, em email, ad inet, tags text[], fa float8[],
  da date[], ir int4range, dr daterange, p point, pr pair, vi visit, bits varbit);
insert into kinds
select i, case when i % 4 = 0 then 'globex' else 'acme' end, 'a' || i % 3, 'hidden' || i, i % 7, i::bigint * 1000000007, i / 7.0, i % 2 = 0,
  md5(i::text)::uuid, 'v' || i, 'c' || i, timestamptz '2024-05-31 12:00+00' + i * interval '95 minutes',
  timestamptz '2024-05-30 00:00+00' + i * interval '7 hours', timestamp '2024-05-31 12:00' + i * interval '95 minutes',
  date '2024-04-28' + i % 37, date '2024-04-28' + i % 37, time '00:30' + i * interval '47 minutes',
  timetz '00:30+02' + i * interval '47 minutes', i * interval '5 hours' - interval '3 days 01:02:03', i / 7.0, i / 3.0, i::money, (i % 5)::money,
  convert_to('ab' || i % 3, 'UTF8') || '\x00ff', jsonb_build_object('a', 'x' || i % 3, 'n', i), '{"k": 1}',
  (array['sad', 'happy'])[i % 2 + 1]::mood, i || '@x.example', ('10.0.0.' || i)::inet, array['x' || i % 3, 'y'], array[i / 7.0],
  array[date '2024-06-01' + i % 3], int4range(i % 5, i % 5 + 3), daterange(date '2024-05-30' + i % 5, date '2024-06-05'), point(i / 7.0, 1),
  row(i, 'sad')::pair, row(i, now())::visit, i::bit(12)::varbit
from generate_series(1, 60) i;
insert into kinds (id, tenant_id) values (61, 'acme');
insert into kinds (id, tenant_id, ts, lt, d, dd) values
  (62, 'acme', 'infinity', '-infinity', 'infinity', '-infinity'), (63, 'acme', '0044-03-15 10:00:00+00 BC', '0044-03-15 10:00 BC', '0044-03-15 BC', '0044-03-15 BC');
insert into kinds (id, tenant_id, ts) values (64, 'acme', now() - interval '5 days'), (65, 'acme', now() - interval '200 days');
analyze kinds;
grant usage on schema public to settings_reader;
grant select on kinds to settings_reader;
