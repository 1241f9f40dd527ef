select 'tables ' || string_agg(format('%s.%s %s', table_schema, table_name,
         md5(query_to_xml(format('select * from %I.%I order by 1', table_schema, table_name), true, false, '')::text)), ', '
         order by table_schema, table_name)
  from information_schema.tables where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')
union all select 'sequences ' || string_agg(format('%s %s', sequencename, last_value), ', ') from pg_sequences
union all select 'large objects ' || string_agg(format('%s %s', oid, md5(lo_get(oid))), ', ' order by oid) from pg_largeobject_metadata
union all select 'relations ' || md5(string_agg(c::text, ',' order by c.oid))
  from (select oid, relname, relnamespace, relowner, relkind, relacl, reloptions, relrowsecurity from pg_class where oid >= 16384
        and relnamespace <> 'pg_toast'::regnamespace) c
union all select 'columns ' || md5(string_agg(concat(a.attrelid, a.attname, a.attacl), ',' order by attrelid, attnum)) from pg_attribute a where attrelid >= 16384
union all select 'functions ' || md5(string_agg(p::text, ',' order by p.oid)) from pg_proc p where oid >= 16384
union all select 'types ' || count(*) from pg_type where oid >= 16384
union all select 'schemas ' || string_agg(n::text, ',' order by n.oid) from pg_namespace n where nspname !~ '^pg_(toast|temp)'
union all select 'comments ' || md5(string_agg(d::text, ',' order by objoid, objsubid)) from pg_description d where objoid >= 16384
union all select 'extensions ' || string_agg(extname, ',' order by extname) from pg_extension
union all select 'settings of this database ' || string_agg(s::text, ',') from pg_db_role_setting s
  where setdatabase = (select oid from pg_database where datname = current_database())
union all select 'advisory locks ' || count(*) from pg_locks
  where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
union all select 'prepared transactions ' || count(*) from pg_prepared_xacts where database = current_database()
union all select 'replication slots ' || count(*) from pg_replication_slots where database = current_database() or slot_name like 'acme%'
union all select 'written files ' || count(*) from pg_ls_dir('/tmp') name where name like 'pgwicket-redteam%'
union all select 'publications ' || count(*) from pg_publication
