-- What sqlsmith is shown in place of pgwicket, whose catalogs it could not read: the alias relations as views (it samples
-- and writes to tables), and of functions and types those of the reviewed lists.
-- psql -v functions='{…}' -v types='{…}', over data.sql with side=copy
\set ON_ERROR_STOP on
set client_min_messages = warning;
alter schema s rename to held;
create schema s;
create view s.t as select * from held.t offset 0;
create view s.c as select * from held.c offset 0;
create view s.m as select * from held.m offset 0;
create view s.g as select * from held.g offset 0;
-- In a schema that sqlsmith reads no relations from, and before pg_catalog in its search path.
create view information_schema.allowed_type as select * from pg_catalog.pg_type where typname = any (:'types'::text[]) or typname ~ '^_' or typtype = 'e';
create view information_schema.pg_proc as
  select * from pg_catalog.pg_proc p
  where proname = any (:'functions'::text[]) and pronamespace = 'pg_catalog'::regnamespace
    and not exists (select from unnest(array_append(string_to_array(proargtypes::text, ' ')::oid[], prorettype)) used (type)
                    where not exists (select from information_schema.allowed_type t where t.oid = used.type));
revoke all on all tables in schema held from support_agent;
grant usage on schema s, information_schema to support_agent;
grant select on all tables in schema s, information_schema to support_agent;
select format('alter role support_agent in database %I set search_path = information_schema, pg_catalog', current_database()) \gexec
