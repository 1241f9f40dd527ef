-- What PostgreSQL's own catalog says of built-in types, operators, casts and functions: one line each, fields between tabs.
-- src/sql/builtin/facts.tsv holds these lines of every version, with the versions in front (scripts/builtin-facts makes it).
SELECT concat_ws(E'\t', 'type', t.oid, t.typname, t.typcategory, t.typispreferred, t.typtype,
                 CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.typarray, i.provolatile, o.provolatile)
FROM pg_type t JOIN pg_proc i ON i.oid = t.typinput JOIN pg_proc o ON o.oid = t.typoutput
WHERE t.oid < 10000 AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm', 'p')
UNION ALL
SELECT concat_ws(E'\t', 'operator', r.oprname, r.oprleft, r.oprright, r.oprresult, p.provolatile)
FROM pg_operator r JOIN pg_proc p ON p.oid = r.oprcode
WHERE r.oid < 10000 AND r.oprnamespace = 'pg_catalog'::regnamespace AND r.oprresult < 10000
UNION ALL
SELECT concat_ws(E'\t', 'cast', c.castsource, c.casttarget, c.castcontext, c.castmethod, coalesce(p.provolatile, 'i'))
FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc
WHERE c.castsource < 10000 AND c.casttarget < 10000 AND c.oid < 16384
UNION ALL
SELECT concat_ws(E'\t', 'function', p.proname, coalesce(nullif(array_to_string(p.proargtypes, ','), ''), '-'), p.prorettype, p.provolatile,
                 p.pronargdefaults, p.provariadic)
FROM pg_proc p
WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
  AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid < 10000 AND p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze))
  AND NOT (2281 = ANY (p.proargtypes) OR 2275 = ANY (p.proargtypes) OR p.prorettype IN (2281, 2275, 2278, 2279))
ORDER BY 1
