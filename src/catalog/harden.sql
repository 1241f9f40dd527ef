-- What a new catalog database gets before anything else: views in the place of the shared catalogs, settings and activity, that
-- show what the session itself says; functions that speak of roles, databases and settings, likewise. The originals stay under
-- names that begin with pgwicket_, which no statement of a client reaches, and nobody but the superuser reads them. They stay in
-- pg_catalog: what lists the relations of other schemas lists the client's.
SET allow_system_table_mods = on;

CREATE FUNCTION pg_catalog.pgwicket_setting(text) RETURNS text LANGUAGE internal STABLE STRICT AS 'show_config_by_name';
CREATE FUNCTION pg_catalog.pgwicket_agent() RETURNS name LANGUAGE sql STABLE
  RETURN pg_catalog.pgwicket_setting('pgwicket.agent')::pg_catalog.name;
CREATE FUNCTION pg_catalog.pgwicket_shown(text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN pg_catalog.lower($1) = ANY (ARRAY[
  'application_name', 'array_nulls', 'backslash_quote', 'block_size', 'bytea_output', 'check_function_bodies', 'client_encoding',
  'client_min_messages', 'constraint_exclusion', 'datestyle', 'default_table_access_method', 'default_tablespace',
  'default_text_search_config', 'default_toast_compression', 'default_transaction_deferrable', 'default_transaction_isolation',
  'default_transaction_read_only', 'escape_string_warning', 'extra_float_digits', 'in_hot_standby', 'integer_datetimes',
  'intervalstyle', 'lc_collate', 'lc_ctype', 'lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time', 'lock_timeout',
  'max_function_args', 'max_identifier_length', 'max_index_keys', 'plan_cache_mode', 'quote_all_identifiers', 'row_security', 'search_path',
  'segment_size', 'server_encoding', 'server_version', 'server_version_num', 'standard_conforming_strings', 'statement_timeout',
  'synchronize_seqscans', 'timezone', 'transform_null_equals', 'transaction_deferrable', 'transaction_isolation', 'transaction_read_only', 'wal_block_size',
  'xmlbinary', 'xmloption']);

CREATE PROCEDURE pg_catalog.pgwicket_hide(hidden text, shown text) LANGUAGE plpgsql AS $hide$
DECLARE
  relation pg_catalog.regclass := pg_catalog.format('pg_catalog.%I', hidden)::pg_catalog.regclass;
  row_type pg_catalog.oid := (SELECT reltype FROM pg_catalog.pg_class WHERE oid = relation);
BEGIN
  EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM PUBLIC', relation);
  UPDATE pg_catalog.pg_type SET typname = 'pgwicket_' || typname
    WHERE oid IN (row_type, (SELECT typarray FROM pg_catalog.pg_type WHERE oid = row_type));
  UPDATE pg_catalog.pg_class SET relname = 'pgwicket_' || relname WHERE oid = relation;
  EXECUTE pg_catalog.format('CREATE VIEW pg_catalog.%I AS %s', hidden, shown);
  EXECUTE pg_catalog.format('GRANT SELECT ON pg_catalog.%I TO PUBLIC', hidden);
END $hide$;

DO $views$
DECLARE
  reader text := (SELECT oid::text FROM pg_catalog.pg_authid WHERE rolname = 'pgwicket_client');
  owner text := (SELECT oid::text FROM pg_catalog.pg_authid WHERE rolname = 'pgwicket');
  here text := (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database());
  nothing text;
BEGIN
  CALL pg_catalog.pgwicket_hide('pg_database', pg_catalog.format($q$
    SELECT p.* FROM pg_catalog.pgwicket_pg_database d, LATERAL pg_catalog.jsonb_populate_record(d, pg_catalog.jsonb_build_object(
      'oid', 5, 'datname', pg_catalog.pgwicket_setting('pgwicket.database'), 'datdba', %s, 'datacl', NULL,
      'dattablespace', 1663, 'datconnlimit', -1)) p
    WHERE d.oid = %s$q$, owner, here));
  CALL pg_catalog.pgwicket_hide('pg_roles', pg_catalog.format($q$
    SELECT p.* FROM pg_catalog.pgwicket_pg_roles r, LATERAL pg_catalog.jsonb_populate_record(r, pg_catalog.jsonb_build_object(
      'rolname', CASE r.oid WHEN %1$s THEN pg_catalog.pgwicket_agent() ELSE r.rolname END, 'rolsuper', false, 'rolcreaterole', false,
      'rolcreatedb', false, 'rolreplication', false, 'rolbypassrls', false, 'rolconnlimit', -1, 'rolconfig', NULL,
      'rolcanlogin', r.oid = %1$s)) p
    WHERE r.oid IN (%1$s, %2$s)$q$, reader, owner));
  -- The owner of what the client sees is a user, as it is where the relations are.
  CALL pg_catalog.pgwicket_hide('pg_user', pg_catalog.format($q$
    SELECT p.* FROM (VALUES (%1$s, pg_catalog.pgwicket_agent()), (%2$s, 'pgwicket'::name)) w(oid, name),
      LATERAL pg_catalog.jsonb_populate_record(NULL::pg_catalog.pgwicket_pg_user, pg_catalog.jsonb_build_object(
      'usename', w.name, 'usesysid', w.oid, 'usecreatedb', false, 'usesuper', false, 'userepl', false, 'usebypassrls', false,
      'passwd', '********')) p$q$, reader, owner));
  CALL pg_catalog.pgwicket_hide('pg_tablespace', pg_catalog.format($q$
    SELECT p.* FROM pg_catalog.pgwicket_pg_tablespace t, LATERAL pg_catalog.jsonb_populate_record(t, pg_catalog.jsonb_build_object(
      'spcowner', %s, 'spcacl', NULL, 'spcoptions', NULL)) p
    WHERE t.oid IN (1663, 1664)$q$, owner));
  CALL pg_catalog.pgwicket_hide('pg_settings', $q$
    SELECT p.* FROM pg_catalog.pgwicket_pg_settings s, LATERAL pg_catalog.jsonb_populate_record(s, pg_catalog.jsonb_build_object(
      'sourcefile', NULL, 'sourceline', NULL, 'source', 'default')) p
    WHERE pg_catalog.pgwicket_shown(s.name)$q$);
  FOREACH nothing IN ARRAY ARRAY['pg_group', 'pg_auth_members', 'pg_db_role_setting', 'pg_shdepend', 'pg_shdescription',
      'pg_shseclabel', 'pg_subscription', 'pg_stat_activity', 'pg_stat_database', 'pg_stat_ssl', 'pg_stat_gssapi',
      'pg_stat_replication', 'pg_replication_slots', 'pg_locks', 'pg_cursors', 'pg_prepared_statements', 'pg_prepared_xacts',
      'pg_available_extensions', 'pg_available_extension_versions']
  LOOP
    CALL pg_catalog.pgwicket_hide(nothing, pg_catalog.format('SELECT * FROM pg_catalog.%I WHERE false', 'pgwicket_' || nothing));
  END LOOP;

END $views$;

-- A function of the server itself runs by its number, whatever pg_proc says of it: so the originals move, and others take their names.
CREATE PROCEDURE pg_catalog.pgwicket_replace(replaced text, arguments text, result text, shown text) LANGUAGE plpgsql AS $replace$
DECLARE
  original pg_catalog.oid;
  strict_too text;
BEGIN
  original := pg_catalog.format('pg_catalog.%I(%s)', replaced, arguments)::pg_catalog.regprocedure;
  strict_too := CASE WHEN (SELECT proisstrict FROM pg_catalog.pg_proc WHERE oid = original) AND arguments <> '' THEN ' STRICT' ELSE '' END;
  UPDATE pg_catalog.pg_proc SET proname = 'pgwicket_' || proname WHERE oid = original;
  EXECUTE pg_catalog.format('CREATE FUNCTION pg_catalog.%I(%s) RETURNS %s LANGUAGE sql STABLE%s RETURN %s',
    replaced, arguments, result, strict_too, shown);
END $replace$;

DO $functions$
DECLARE
  reader text := (SELECT oid::text FROM pg_catalog.pg_authid WHERE rolname = 'pgwicket_client');
  owner text := (SELECT oid::text FROM pg_catalog.pg_authid WHERE rolname = 'pgwicket');
  setting text := 'CASE WHEN pg_catalog.pgwicket_shown($1) THEN pg_catalog.pgwicket_setting($1) END';
  asked record;
  shown text;
BEGIN
  CALL pg_catalog.pgwicket_replace('pg_get_userbyid', 'oid', 'name', pg_catalog.format(
    $q$CASE $1 WHEN %s THEN pg_catalog.pgwicket_agent() WHEN %s THEN 'pgwicket'::name WHEN 10 THEN 'pgwicket'::name
       ELSE ('unknown (OID=' || $1::text || ')')::name END$q$, reader, owner));
  -- Not of what the server's databases share: their names and its roles'.
  CALL pg_catalog.pgwicket_replace('pg_describe_object', 'oid, oid, int4', 'text',
    $q$CASE WHEN NOT (SELECT c.relisshared FROM pg_catalog.pg_class c WHERE c.oid = $1) THEN pg_catalog.pgwicket_pg_describe_object($1, $2, $3) END$q$);
  CALL pg_catalog.pgwicket_replace('shobj_description', 'oid, name', 'text', 'NULL::text');
  CALL pg_catalog.pgwicket_replace('pg_database_size', 'oid', 'int8', '0::int8');
  CALL pg_catalog.pgwicket_replace('pg_database_size', 'name', 'int8', '0::int8');
  CALL pg_catalog.pgwicket_replace('pg_tablespace_size', 'oid', 'int8', '0::int8');
  CALL pg_catalog.pgwicket_replace('pg_tablespace_size', 'name', 'int8', '0::int8');
  CALL pg_catalog.pgwicket_replace('pg_tablespace_location', 'oid', 'text', $q$''::text$q$);
  CALL pg_catalog.pgwicket_replace('current_setting', 'text', 'text', setting);
  CALL pg_catalog.pgwicket_replace('current_setting', 'text, bool', 'text', setting);
  CALL pg_catalog.pgwicket_replace('current_database', '', 'name', $q$pg_catalog.pgwicket_setting('pgwicket.database')::name$q$);
  -- Privileges are asked about by the name of the session's user, who is no role of this server: its own are the reader's.
  FOR asked IN
    SELECT p.proname AS name, p.proargtypes[0] = 'name'::pg_catalog.regtype AS by_name,
           pg_catalog.oidvectortypes(p.proargtypes) AS arguments, p.pronargs AS count
    FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname ~ '^has_.*_privilege$'
      AND p.proname NOT IN ('has_database_privilege', 'has_tablespace_privilege', 'has_parameter_privilege')
      AND p.pronargs = (CASE p.proname WHEN 'has_column_privilege' THEN 4 ELSE 3 END)
  LOOP
    shown := pg_catalog.format('CASE WHEN $1 = %s THEN pg_catalog.%I(%s) END',
      CASE WHEN asked.by_name THEN 'pg_catalog.pgwicket_agent()' ELSE reader END, asked.name,
      CASE asked.count WHEN 4 THEN '$2, $3, $4' ELSE '$2, $3' END);
    CALL pg_catalog.pgwicket_replace(asked.name, asked.arguments, 'bool', shown);
  END LOOP;
  FOR asked IN
    SELECT p.proname AS name, pg_catalog.oidvectortypes(p.proargtypes) AS arguments, p.pronargs AS count
    FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname IN ('has_database_privilege', 'has_tablespace_privilege')
  LOOP
    shown := pg_catalog.format($q$pg_catalog.lower($%s) = 'connect'$q$, asked.count);
    CALL pg_catalog.pgwicket_replace(asked.name, asked.arguments, 'bool', shown);
  END LOOP;
  FOR asked IN
    SELECT pg_catalog.oidvectortypes(p.proargtypes) AS arguments, p.pronargs AS count,
           p.proargtypes[p.pronargs - 2] = 'name'::pg_catalog.regtype AS by_name
    FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname = 'pg_has_role'
  LOOP
    shown := pg_catalog.format('$%s = %s', asked.count - 1, CASE WHEN asked.by_name THEN 'pg_catalog.pgwicket_agent()' ELSE reader END);
    CALL pg_catalog.pgwicket_replace('pg_has_role', asked.arguments, 'bool', shown);
  END LOOP;
END $functions$;

-- The standard's views call the original, by its number; a function without arguments is inlined there.
CREATE OR REPLACE FUNCTION pg_catalog.pgwicket_current_database() RETURNS name LANGUAGE sql STABLE
  RETURN pg_catalog.pgwicket_setting('pgwicket.database')::pg_catalog.name;
CREATE OR REPLACE VIEW information_schema.enabled_roles AS
  SELECT pg_catalog.pgwicket_agent()::information_schema.sql_identifier AS role_name;
-- The original reads the encoding in pg_database; here it is UTF-8.
CREATE OR REPLACE FUNCTION information_schema._pg_char_octet_length(typid oid, typmod int4) RETURNS int4
  LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURNS NULL ON NULL INPUT
  RETURN CASE WHEN $1 IN (25, 1042, 1043) THEN CASE WHEN $2 = -1 THEN CAST(2^30 AS int4)
    ELSE information_schema._pg_char_max_length($1, $2) * 4 END END;
DROP PROCEDURE pg_catalog.pgwicket_hide(text, text);
DROP PROCEDURE pg_catalog.pgwicket_replace(text, text, text, text);
