-- A source whose columns are of types of its own. Every row is acme's, so that the reader sees directly what pgwicket shows.
create schema shop;
create type shop.mood as enum ('sad', 'ok', 'happy');
create domain shop.price as numeric(8, 2) constraint price_is_positive check (value >= 0);
create domain shop.label as text;
create type shop.place as (street text, number int4, mood shop.mood);
create type shop.visit as (at shop.place, note text, tags text[], paid numeric);
create type shop.size as (width int4, height float8, label text);
create type shop.span as range (subtype = time, multirange_type_name = shop.spans);
create type shop.moods as range (subtype = shop.mood);
create table shop.things (
  id int8 primary key,
  tenant_id text not null,
  mood shop.mood,
  past shop.mood[],
  price shop.price,
  prices shop.price[],
  label shop.label,
  home shop.place,
  places shop.place[],
  visit shop.visit,
  size shop.size,
  open shop.span,
  opens shop.spans,
  spans shop.span[],
  feeling shop.moods
);
insert into shop.things values
  (1, 'acme', 'happy', '{sad,NULL,ok}', 9.5, '{1,NULL,2.25}', 'first', ('Main "St", 1', 5, 'ok'), array[('a', null, null), null]::shop.place[],
   (('b', 2, 'sad'), null, '{x,NULL}', 1.10), (3, 2.5, 'a,b'), '[08:00,12:30)', '{[08:00,12:00),(13:00,)}', array['empty', '(,09:00]']::shop.span[], '[sad,ok]'),
  (2, 'acme', null, '{}', null, null, '', null, '{}', null, null, 'empty', '{}', null, 'empty'),
  (3, 'acme', 'sad', null, 0, '{}', null, (null, null, null), null, (null, '', '{}', 'NaN'), (null, 0, ''), '(,)', null, '{}', '(ok,)');
create role types_reader login password 'correct horse battery';
grant usage on schema shop to types_reader;
grant select on shop.things to types_reader;
