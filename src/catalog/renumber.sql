DO $renumber$
DECLARE f record;
BEGIN
  FOR f IN
    SELECT fktable AS t, fkcols[1] AS c, pktable AS p FROM pg_catalog.pg_get_catalog_foreign_keys()
    WHERE pkcols = '{oid}' AND NOT is_array AND pg_catalog.cardinality(fkcols) = 1
      AND pktable IN (SELECT catalog FROM pgwicket_renumber.numbers)
      AND fktable::pg_catalog.oid NOT IN (SELECT oid FROM pg_catalog.pg_class WHERE relisshared)
  LOOP
    EXECUTE pg_catalog.format('UPDATE %s x SET %I = r.new FROM pgwicket_renumber.numbers r WHERE r.catalog = %s AND x.%I = r.old',
      f.t, f.c, f.p::pg_catalog.oid, f.c);
  END LOOP;
  FOR f IN SELECT DISTINCT catalog AS p FROM pgwicket_renumber.numbers LOOP
    EXECUTE pg_catalog.format('UPDATE %s x SET oid = r.new FROM pgwicket_renumber.numbers r WHERE r.catalog = %s AND x.oid = r.old',
      f.p::pg_catalog.regclass, f.p);
    UPDATE pg_catalog.pg_depend d SET objid = r.new FROM pgwicket_renumber.numbers r
      WHERE r.catalog = f.p AND d.classid = f.p AND d.objid = r.old;
    UPDATE pg_catalog.pg_depend d SET refobjid = r.new FROM pgwicket_renumber.numbers r
      WHERE r.catalog = f.p AND d.refclassid = f.p AND d.refobjid = r.old;
    UPDATE pg_catalog.pg_description d SET objoid = r.new FROM pgwicket_renumber.numbers r
      WHERE r.catalog = f.p AND d.classoid = f.p AND d.objoid = r.old;
  END LOOP;
END $renumber$;
DROP SCHEMA pgwicket_renumber CASCADE;
