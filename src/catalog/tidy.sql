-- What nothing is ever stored in needs no overflow storage, and what never changes no triggers. `relhastriggers` stays: psql looks for
-- foreign keys where it is set.
DELETE FROM pg_catalog.pg_attribute WHERE attrelid IN
  (SELECT oid FROM pg_catalog.pg_class WHERE oid >= 16384 AND relname ~ '^pg_toast_' AND relnamespace = 'pg_toast'::pg_catalog.regnamespace);
DELETE FROM pg_catalog.pg_index WHERE indexrelid IN
  (SELECT oid FROM pg_catalog.pg_class WHERE oid >= 16384 AND relname ~ '^pg_toast_' AND relnamespace = 'pg_toast'::pg_catalog.regnamespace);
DELETE FROM pg_catalog.pg_class WHERE oid >= 16384 AND relname ~ '^pg_toast_' AND relnamespace = 'pg_toast'::pg_catalog.regnamespace;
UPDATE pg_catalog.pg_class SET reltoastrelid = 0 WHERE oid >= 1073741824;
DELETE FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND objid IN
  (SELECT oid FROM pg_catalog.pg_trigger);
DELETE FROM pg_catalog.pg_trigger;
