-- Over the data of tests/it/generator/data.sql: the judge, a role that can read what the policy allows and the two columns
-- that its conditions need, and nothing else: no other column, no catalog, no function that does more than compute.
-- psql -v side=poison|pure   pure: the same tables with the agent's rows alone
\set ON_ERROR_STOP on
set client_min_messages = warning;

update base.t set hidden = :'side' || 'CANARY' || id;
update base.c set hidden = :'side' || 'CANARY' || id;
update base.m set hidden = case :'side' when 'pure' then 1 else 2054847098 end;
update base.t set subject = 'CANARY' || subject where tenant_id <> 'acme' and id % 5 = 0;
update base.c set name = 'CANARY' || name where tenant_id <> 'acme' and id % 5 = 0;
update base.m set code = 'CANARY' || code where tenant_id <> 'acme' and id % 5 = 0;
select :'side' = 'pure' as pure \gset
\if :pure
  delete from base.t where tenant_id <> 'acme' or deleted_at is not null;
  delete from base.c where tenant_id <> 'acme';
  delete from base.m where tenant_id <> 'acme';
\endif
-- Where a name that was not resolved would lead.
create schema s;
create table s.t as select * from base.t;
create table public.c as select id, 'CANARY' as name from base.c;

grant usage on schema base, s to attack_judge;
grant select (id, amount, price, subject, meta, tags, at, status, c_id, twice, ca, cp, tenant_id, deleted_at) on base.t to attack_judge;
grant select (id, name, score, n, flag, uid, tenant_id) on base.c to attack_judge;
grant select (id, t_id, day, nums, code, tenant_id) on base.m to attack_judge;
grant select (id, number, share, label, tenant_id) on base.v to attack_judge;
grant select (id, x, label) on base.g to attack_judge;

-- Everything of the catalogs, and whatever is volatile or speaks of the server, its files, settings, names or sessions.
revoke select on all tables in schema pg_catalog, information_schema from public;
do $$
declare
  function regprocedure;
begin
  for function in
    select oid from pg_proc
    where pronamespace = 'pg_catalog'::regnamespace and prokind in ('f', 'w', 'a')
      and (provolatile = 'v' and proname not in ('random', 'random_normal', 'gen_random_uuid', 'uuidv4', 'uuidv7', 'clock_timestamp', 'timeofday')
        or proname ~ '^(pg_|has_|lo_|lo[a-z]+|to_reg|txid_|inet_|current_|session_|version|nextval|setval|currval|lastval|row_security|col_desc|obj_desc|shobj|query_to|cursor_to|table_to|schema_to|database_to|ts_stat|ts_rewrite|acl|makeacl|binary_upgrade|getpgusername|getdatabaseencoding|brin_|gin_|xmlvalidate|regclass|currtid)')
      and proname not in ('lower', 'log', 'log10', 'pg_typeof', 'pg_column_size', 'pg_size_pretty', 'pg_size_bytes', 'pg_client_encoding', 'lower_inc', 'lower_inf', 'loctest')
  loop
    execute format('revoke execute on function %s from public', function);
  end loop;
end $$;
select format('alter database %I set %s', current_database(), setting)
  from unnest(array['statement_timeout = ''250ms''', 'default_transaction_read_only = on', 'search_path = pg_catalog', 'work_mem = ''16MB''']) setting \gexec
vacuum analyze;
