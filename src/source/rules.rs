//! What introspection reads of the tables' own rules: defaults, generated columns, unique and exclusion indexes.

use std::collections::BTreeMap;

use crate::sql::rules::{ColumnRule, Fill, IndexKind, TableRules, UniqueIndex};

use super::{
    Connection, SourceError,
    introspect::{Cells, rows},
};

/// Reads them, in the caller's transaction.
pub(super) async fn read(connection: &mut Connection) -> Result<Vec<TableRules>, SourceError> {
    let mut found: BTreeMap<(String, String), TableRules> = BTreeMap::new();
    for (schema, name, column) in rows(connection.query(COLUMNS).await?, column)? {
        found.entry((schema, name)).or_default().columns.push(column);
    }
    for (schema, name, fills_in, acts_before, checks) in
        rows(connection.query(TABLES).await?, |cells| Some((cells.text()?, cells.text()?, cells.truth()?, cells.truth()?, cells.json()?)))?
    {
        let rules = found.entry((schema, name)).or_default();
        (rules.fills_in, rules.acts_before, rules.checks) = (fills_in, acts_before, checks);
    }
    for (schema, name, index) in rows(connection.query(INDEXES).await?, index)? {
        found.entry((schema, name)).or_default().indexes.push(index);
    }
    let named = found.into_iter().map(|((schema, name), rules)| TableRules { schema, name, ..rules });
    Ok(named.collect())
}

fn column(cells: &mut Cells) -> Option<(String, String, ColumnRule)> {
    let (schema, relation, name) = (cells.text()?, cells.text()?, cells.text()?);
    let expression = cells.text().filter(|text| !text.is_empty());
    let (identity, generated) = (cells.text()?, cells.text()?);
    let fill = match (&*identity, &*generated) {
        ("a", _) => Fill::IdentityAlways,
        ("d", _) => Fill::IdentityByDefault,
        (_, "") => Fill::Default,
        (_, _) => Fill::Generated,
    };
    Some((schema, relation, ColumnRule { name, expression, fill }))
}

fn index(cells: &mut Cells) -> Option<(String, String, UniqueIndex)> {
    let (schema, relation, name) = (cells.text()?, cells.text()?, cells.text()?);
    let kind = match &*cells.text()? {
        "x" => IndexKind::Exclusion,
        "p" => IndexKind::PrimaryKey,
        "u" => IndexKind::Unique,
        _ => IndexKind::Index,
    };
    let (deferrable, nulls_equal) = (cells.truth()?, cells.truth()?);
    let predicate = cells.text().filter(|text| !text.is_empty());
    Some((schema, relation, UniqueIndex { name, kind, deferrable, nulls_equal, predicate, parts: cells.json()? }))
}

const COLUMNS: &str = "
SELECT n.nspname, c.relname, a.attname,
       coalesce(pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attgenerated = '' AND a.attidentity = '' THEN pg_get_expr(t.typdefaultbin, 0) END),
       a.attidentity, a.attgenerated
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'f', 'v') AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND (d.adbin IS NOT NULL OR a.attidentity <> '' OR a.attgenerated <> '' OR t.typtype = 'd' AND t.typdefaultbin IS NOT NULL)
ORDER BY n.nspname, c.relname, a.attnum";

/// A row trigger before INSERT (`tgtype` 1, 2 and 4), or a rule; any trigger before INSERT or UPDATE (2; 4 or 16); and the checks that hold of all rows.
const TABLES: &str = "
SELECT n.nspname, c.relname,
       c.relhasrules AND c.relkind <> 'v' OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7),
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 2 = 2 AND t.tgtype & 20 <> 0),
       (SELECT coalesce(json_agg(pg_get_expr(k.conbin, k.conrelid) ORDER BY k.conname), '[]') FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND (c.relhastriggers OR c.relhasrules OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'))
ORDER BY n.nspname, c.relname";

/// Equality of a unique index is that of its operator family; an exclusion constraint names its operators.
const INDEXES: &str = "
SELECT n.nspname, c.relname, coalesce(k.conname, ic.relname),
       CASE WHEN k.conexclop IS NOT NULL OR i.indisexclusion THEN 'x' ELSE coalesce(k.contype::text, '') END,
       NOT i.indimmediate, i.indnullsnotdistinct, pg_get_expr(i.indpred, i.indrelid),
       (SELECT json_agg(json_build_object(
            'column', a.attname,
            'expression', CASE WHEN i.indkey[place - 1] = 0 THEN pg_get_indexdef(i.indexrelid, place, false) END,
            'class', oc.opcname, 'default_class', oc.opcdefault,
            'collation', i.indcollation[place - 1]::int8, 'collation_name', coalesce(l.collname, ''),
            'deterministic', coalesce(l.collisdeterministic, true),
            'operator', coalesce(o.oprname, ''), 'built_in', coalesce(o.oid < 16384, false)) ORDER BY place)
        FROM generate_series(1, i.indnkeyatts) place
        JOIN pg_opclass oc ON oc.oid = i.indclass[place - 1]
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place - 1] AND a.attnum <> 0
        LEFT JOIN pg_collation l ON l.oid = i.indcollation[place - 1]
        LEFT JOIN pg_amop m ON m.amopfamily = oc.opcfamily AND m.amopmethod = 403 AND m.amopstrategy = 3
             AND m.amoplefttype = oc.opcintype AND m.amoprighttype = oc.opcintype
        LEFT JOIN pg_operator o ON o.oid = coalesce(k.conexclop[place], m.amopopr))
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class ic ON ic.oid = i.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
WHERE (i.indisunique OR i.indisexclusion) AND i.indisvalid AND c.relkind IN ('r', 'p', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY n.nspname, c.relname, i.indexrelid";
