\pset format unaligned
\pset footer off
\d tickets
\d customers
\d orders
\d documents
\d *tickets*
\d+ external_support.orders
\dt
\dt external_support.*
\dt tick*
\dv
\dm
\ds
\df
\di
\dn external*
\dD
\des
\dx
\dy
\dp nothing
\d nothing
\sf nothing
\l nothing
select table_name, column_name, ordinal_position, is_nullable, data_type, udt_schema, udt_name, character_maximum_length, numeric_precision, numeric_scale, datetime_precision from information_schema.columns where table_schema = 'external_support' order by 1, 3;
select table_name, table_type from information_schema.tables where table_schema = 'external_support' order by 1;
select constraint_type, table_name from information_schema.table_constraints where constraint_schema = 'external_support' and constraint_type <> 'CHECK' order by 1, 2;
select table_name, column_name, ordinal_position from information_schema.key_column_usage where table_schema = 'external_support' order by 1, 2;
select catalog_name, schema_name from information_schema.schemata where schema_name = 'external_support';
select 'tickets'::regclass, 'external_support.tickets'::regclass, to_regclass('nowhere');
select enumlabel from pg_enum e join pg_type t on t.oid = e.enumtypid where typname = 'ticket_status' order by enumsortorder;
select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute where attrelid = 'tickets'::regclass and attnum > 0 and not attisdropped order by attnum;
select has_table_privilege('tickets', 'select'), has_table_privilege(current_user, 'tickets', 'select'), has_schema_privilege('external_support', 'usage');
select pg_table_is_visible('tickets'::regclass), current_schemas(false);
-- Tab completion, as psql asks.
SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND (c.relname) LIKE 'tick%' AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace OPERATOR(pg_catalog.<>) (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog') ORDER BY 1;
SELECT attname, NULL::pg_catalog.text FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c WHERE c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped AND (attname) LIKE 's%' AND (c.relname) LIKE 'tickets' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1;
