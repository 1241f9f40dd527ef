//! What introspection reads for the virtual catalog: OIDs, foreign keys, what types are made of.

use crate::sql::catalog::{Attribute, ForeignKey, Oid, OwnCast, RelationShape, Shapes, TypeShape};

use super::{
    Connection, SourceError,
    introspect::{Cells, rows},
};

/// Reads them, in the caller's transaction.
pub(super) async fn read(connection: &mut Connection) -> Result<Shapes, SourceError> {
    let relations = rows(connection.query(RELATIONS).await?, |cells| {
        Some(RelationShape { schema: cells.text()?, name: cells.text()?, oid: cells.parsed()?, numbers: cells.json()? })
    })?;
    let foreign_keys = rows(connection.query(FOREIGN_KEYS).await?, |cells| {
        Some(ForeignKey {
            schema: cells.text()?,
            relation: cells.text()?,
            columns: cells.json()?,
            foreign_schema: cells.text()?,
            foreign_relation: cells.text()?,
            foreign_columns: cells.json()?,
            on_update: cells.parsed()?,
            on_delete: cells.parsed()?,
        })
    })?;
    let types = rows(connection.query(TYPES).await?, |cells| Some((cells.parsed::<Oid>()?, shape(cells)?)))?;
    let casts = rows(connection.query(CASTS).await?, |cells| Some(OwnCast { source: cells.parsed()?, target: cells.parsed()? }))?;
    Ok(Shapes { relations, foreign_keys, types: types.into_iter().collect(), casts })
}

fn shape(cells: &mut Cells) -> Option<TypeShape> {
    Some(TypeShape {
        schema: cells.text()?,
        name: cells.text()?,
        kind: cells.parsed()?,
        base: cells.parsed()?,
        array: cells.parsed()?,
        element: cells.parsed()?,
        category: cells.parsed()?,
        delimiter: cells.parsed()?,
        standalone: cells.truth()?,
        labels: cells.json()?,
        attributes: cells.json::<Vec<(String, Oid, String)>>()?.into_iter().map(attribute).collect(),
        base_name: cells.text()?,
        base_modifier: cells.parsed()?,
        not_null: cells.truth()?,
        range: cells.json()?,
        cast_by_function: cells.truth()?,
        is_text: cells.truth()?,
    })
}

fn attribute((name, type_oid, type_name): (String, Oid, String)) -> Attribute {
    Attribute { name, type_oid, type_name }
}

const RELATIONS: &str = "
SELECT n.nspname, c.relname, c.oid,
       (SELECT coalesce(json_agg(a.attnum ORDER BY a.attnum), '[]') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 1, 2";

const FOREIGN_KEYS: &str = "
SELECT n.nspname, c.relname,
       (SELECT json_agg(a.attname ORDER BY k.place) FROM unnest(f.conkey) WITH ORDINALITY k(number, place)
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number),
       fn.nspname, fc.relname,
       (SELECT json_agg(a.attname ORDER BY k.place) FROM unnest(f.confkey) WITH ORDINALITY k(number, place)
        JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number),
       f.confupdtype, f.confdeltype
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class fc ON fc.oid = f.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0
ORDER BY 1, 2, f.conname";

/// Casts of the source's own that an assignment makes.
const CASTS: &str = "
SELECT castsource, casttarget FROM pg_cast WHERE castcontext IN ('i', 'a') AND (castsource >= 16384 OR casttarget >= 16384) ORDER BY 1, 2";

/// The types outside `pg_catalog` and `information_schema` that columns use, those within them, and their arrays.
const TYPES: &str = "
WITH RECURSIVE used(oid) AS (
    SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
  UNION
    SELECT below.oid FROM used JOIN pg_type t ON t.oid = used.oid
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    CROSS JOIN LATERAL (
        SELECT t.typbasetype UNION ALL SELECT t.typelem UNION ALL SELECT t.typarray
        UNION ALL SELECT r.rngsubtype UNION ALL SELECT r.rngtypid UNION ALL SELECT r.rngmultitypid
        UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) below(oid)
    WHERE below.oid >= 16384
)
SELECT t.oid, n.nspname, t.typname, t.typtype, t.typbasetype, t.typarray, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.typcategory, t.typdelim,
       t.typrelid = 0 OR c.relkind = 'c',
       (SELECT coalesce(json_agg(e.enumlabel ORDER BY e.enumsortorder), '[]') FROM pg_enum e WHERE e.enumtypid = t.oid),
       (SELECT coalesce(json_agg(json_build_array(a.attname, a.atttypid::int8, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum), '[]')
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       coalesce(format_type(nullif(t.typbasetype, 0), t.typtypmod), ''), t.typtypmod, t.typnotnull,
       coalesce((SELECT json_build_object('subtype', r.rngsubtype::int8, 'range', r.rngtypid::int8, 'multirange', r.rngmultitypid::int8,
                                          'built_in', r.rngcanonical::oid < 16384 AND r.rngsubopc < 16384)
                 FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)), 'null'),
       EXISTS (SELECT FROM pg_cast k WHERE k.casttarget IN (t.oid, t.typarray) AND k.castfunc <> 0),
       EXISTS (SELECT FROM pg_cast k WHERE k.castsource = t.oid AND k.casttarget = 'text'::regtype AND k.castmethod = 'b' AND k.castcontext = 'i')
FROM used JOIN pg_type t ON t.oid = used.oid JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
ORDER BY 1";
