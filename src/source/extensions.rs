//! The reviewed extensions at a source: what they brought, what else is in their schemas, and whether that is still so.
//!
//! These statements count on a session that looks names up in `pg_catalog` alone.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::sql::{
    allow,
    catalog::Oid,
    extensions::{Extension, ExtensionSchema, ExtensionType, Extensions, Routine},
};

use super::{
    Connection, SourceError,
    introspect::{Cells, rows},
};

/// Reads them, in the caller's transaction.
pub(super) async fn read(connection: &mut Connection) -> Result<Extensions, SourceError> {
    let mut installed = installed(connection).await?;
    for extension in &mut installed {
        let of = literal(&extension.name);
        let types = rows(connection.query(&TYPES.replace("{}", &of)).await?, |cells| {
            Some((cells.parsed::<Oid>()?, ExtensionType { name: cells.text()?, array: cells.parsed()? }))
        })?;
        extension.types = types.into_iter().collect::<BTreeMap<_, _>>();
        extension.operators = rows(connection.query(&OPERATORS.replace("{}", &of)).await?, routine)?;
        extension.functions = rows(connection.query(&FUNCTIONS.replace("{}", &of)).await?, routine)?;
        extension.astray = rows(connection.query(&ASTRAY.replace("{}", &of)).await?, Cells::text)?;
    }
    let schemas = if installed.is_empty() { Vec::new() } else { schemas(connection).await? };
    Ok(Extensions::new(installed, schemas))
}

/// Whether the schemas in the path still hold nothing that could be run in place of what was reviewed, and the extensions in them
/// are those that were read.
///
/// # Errors
/// [`SourceError::Unfit`] when they do not.
pub(super) async fn check(connection: &mut Connection, known: &Extensions) -> Result<(), SourceError> {
    let path = known.resolution().path();
    let in_path = |schema: &str| path.iter().any(|known| **known == *schema);
    connection.query("SET search_path = pg_catalog").await?;
    let now = schemas(connection).await?;
    let installed = installed(connection).await?;
    // To what the startup message said.
    connection.query("RESET search_path").await?;
    for schema in path {
        let found = now.iter().find(|now| *now.name == **schema);
        let why = found.map_or_else(|| Some("no reviewed extension is there any more".to_owned()), ExtensionSchema::intruder);
        if let Some(why) = why {
            return Err(unfit(schema, &why));
        }
    }
    for extension in known.installed.iter().filter(|extension| in_path(&extension.schema)) {
        let same = |now: &&Extension| now.name == extension.name && now.version == extension.version && now.schema == extension.schema;
        if !installed.iter().any(|now| same(&now)) {
            return Err(unfit(&extension.schema, &format!("extension {} is another than it was", extension.name)));
        }
    }
    match installed.iter().find(|now| in_path(&now.schema) && known.installed.iter().all(|known| known.name != now.name)) {
        Some(new) => Err(unfit(&new.schema, &format!("extension {} was not there before", new.name))),
        None => Ok(()),
    }
}

fn unfit(schema: &str, why: &str) -> SourceError {
    SourceError::Unfit(
        format!(
            "names are looked up in schema {schema}, and {why} (remove it or move the extension into a schema of its own, then reload the \
             policy: docs/EXTENSIONS.md)"
        )
        .into(),
    )
}

async fn installed(connection: &mut Connection) -> Result<Vec<Extension>, SourceError> {
    rows(connection.query(&INSTALLED.replace("{}", &reviewed())).await?, |cells| {
        Some(Extension { name: cells.text()?, version: cells.text()?, schema: cells.text()?, ..Extension::default() })
    })
}

async fn schemas(connection: &mut Connection) -> Result<Vec<ExtensionSchema>, SourceError> {
    rows(connection.query(&SCHEMAS.replace("{}", &reviewed())).await?, |cells| {
        Some(ExtensionSchema {
            name: cells.text()?,
            usable: cells.truth()?,
            operators: cells.json()?,
            functions: cells.json()?,
            types: cells.json()?,
        })
    })
}

fn routine(cells: &mut Cells) -> Option<Routine> {
    Some(Routine { name: cells.text()?, arguments: cells.text()?, volatility: cells.parsed()?, result: cells.text()? })
}

/// `'citext', 'hstore', …`
fn reviewed() -> String {
    allow::REVIEWED.iter().fold(String::new(), |mut list, name| {
        let comma = if list.is_empty() { "" } else { ", " };
        write!(list, "{comma}{}", literal(name)).unwrap_or_default();
        list
    })
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

const INSTALLED: &str = "
SELECT e.extname, e.extversion, n.nspname
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname IN ({})
ORDER BY 1";

const TYPES: &str = "
SELECT t.oid, t.typname, t.typarray
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
WHERE e.extname = {} AND t.typtype = 'b' AND t.typcategory <> 'A'
ORDER BY 1";

const OPERATORS: &str = "
SELECT o.oprname, coalesce(l.typname, '-') || ',' || coalesce(r.typname, '-'), p.provolatile, t.typname
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_operator o ON d.classid = 'pg_operator'::regclass AND o.oid = d.objid
JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_type t ON t.oid = o.oprresult
LEFT JOIN pg_type l ON l.oid = o.oprleft LEFT JOIN pg_type r ON r.oid = o.oprright
WHERE e.extname = {}
ORDER BY 1, 2";

const FUNCTIONS: &str = "
SELECT p.proname, coalesce(a.types, '-'), p.provolatile, CASE WHEN p.proretset THEN '' ELSE r.typname END
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
JOIN pg_type r ON r.oid = p.prorettype
CROSS JOIN LATERAL (SELECT string_agg(t.typname, ',' ORDER BY u.place) AS types
    FROM unnest(p.proargtypes) WITH ORDINALITY u(oid, place) JOIN pg_type t ON t.oid = u.oid) a
WHERE e.extname = {}
ORDER BY 1, 2";

/// Members that are not in the extension's schema, operators that run a function which is not a member, casts of its types by others.
const ASTRAY: &str = "
WITH member AS (
    SELECT d.classid, d.objid, e.extnamespace
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    WHERE e.extname = {}
)
SELECT 'its function ' || p.proname || ' is in another schema' FROM member m JOIN pg_proc p ON p.oid = m.objid
WHERE m.classid = 'pg_proc'::regclass AND p.pronamespace <> m.extnamespace
UNION ALL
SELECT 'its operator ' || o.oprname || ' is in another schema' FROM member m JOIN pg_operator o ON o.oid = m.objid
WHERE m.classid = 'pg_operator'::regclass AND o.oprnamespace <> m.extnamespace
UNION ALL
SELECT 'its type ' || t.typname || ' is in another schema' FROM member m JOIN pg_type t ON t.oid = m.objid
WHERE m.classid = 'pg_type'::regclass AND t.typnamespace <> m.extnamespace
UNION ALL
SELECT 'its operator ' || o.oprname || ' runs a function that it did not bring' FROM member m JOIN pg_operator o ON o.oid = m.objid
WHERE m.classid = 'pg_operator'::regclass AND o.oprcode >= 16384
  AND NOT EXISTS (SELECT FROM member f WHERE f.classid = 'pg_proc'::regclass AND f.objid = o.oprcode)
UNION ALL
SELECT 'a cast between ' || s.typname || ' and ' || t.typname || ' was made by somebody else'
FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource JOIN pg_type t ON t.oid = c.casttarget
WHERE EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid IN (c.castsource, c.casttarget))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = c.oid
                  AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
ORDER BY 1 LIMIT 10";

/// The schemas of the reviewed extensions, and the names in them that no reviewed extension brought. Left out is what has the very
/// signature of something in `pg_catalog`, which is looked through first (as `gen_random_uuid()` of pgcrypto).
const SCHEMAS: &str = "
WITH extension AS (
    SELECT oid, extnamespace FROM pg_extension WHERE extname IN ({})
), member AS (
    SELECT d.classid, d.objid FROM extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
)
SELECT n.nspname, has_schema_privilege(n.oid, 'USAGE'),
    (SELECT coalesce(json_agg(DISTINCT o.oprname), '[]') FROM pg_operator o WHERE o.oprnamespace = n.oid
     AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_operator'::regclass AND m.objid = o.oid)
     AND NOT EXISTS (SELECT FROM pg_operator b WHERE b.oprnamespace = 'pg_catalog'::regnamespace
                     AND (b.oprname, b.oprleft, b.oprright) = (o.oprname, o.oprleft, o.oprright))),
    (SELECT coalesce(json_agg(DISTINCT p.proname), '[]') FROM pg_proc p WHERE p.pronamespace = n.oid
     AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
     AND NOT EXISTS (SELECT FROM pg_proc b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND p.pronargdefaults = 0 AND p.provariadic = 0
                     AND (b.proname, b.proargtypes) = (p.proname, p.proargtypes))),
    (SELECT coalesce(json_agg(DISTINCT t.typname), '[]') FROM pg_type t WHERE t.typnamespace = n.oid AND t.typrelid = 0 AND t.typcategory <> 'A'
     AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid))
FROM pg_namespace n WHERE n.oid IN (SELECT extnamespace FROM extension)
ORDER BY 1";
