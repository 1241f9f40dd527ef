//! OIDs by choice: what DDL made under the server's next free numbers gets those that a [`Visible`] gives it.

use crate::{
    policy::{Visible, VisibleTypeKind},
    sql::catalog::FIRST_NORMAL_OID,
};

use super::schema::{literal, quoted};

/// Changes every reference to a number, by the server's own list of what refers to what.
pub(super) const SQL: &str = include_str!("renumber.sql");

/// Where what has no number of its own goes, out of the way of a source's numbers; and where types wait.
const ASIDE: u32 = 0x5800_0000;
const WAITING: u32 = 0x5c00_0000;

/// Statements that take the types made so far out of the way.
pub(super) fn aside() -> String {
    statements(&format!(
        "SELECT 'pg_type'::regclass, oid, {ASIDE} + row_number() OVER (ORDER BY oid) FROM pg_type WHERE oid >= {FIRST_NORMAL_OID}"
    ))
}

/// Statements that give composite types the numbers that they have at their source. One may have the number now that
/// another is to have, so they wait elsewhere first.
pub(super) fn types(visible: &Visible) -> String {
    if !visible.types.iter().any(|made| matches!(made.kind, VisibleTypeKind::Composite(_))) {
        return String::new();
    }
    let waiting = format!(
        "SELECT 'pg_type'::regclass, t.oid, {WAITING} + row_number() OVER (ORDER BY t.oid) FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
         WHERE t.oid >= {FIRST_NORMAL_OID} AND t.oid < {ASIDE} AND (t.typtype = 'c' OR e.typtype = 'c')"
    );
    let mut rows = Vec::new();
    for made in visible.types.iter().filter(|made| matches!(made.kind, VisibleTypeKind::Composite(_))) {
        let name = literal(&format!("{}.{}", quoted(&made.schema), quoted(&made.name)));
        rows.push(format!("('pg_type'::regclass, {name}::regtype, {})", made.oid));
        // The relation behind it, whose number no client is told.
        let relation = 0x5000_0000 + (made.oid & 0x0fff_ffff);
        rows.push(format!("('pg_class'::regclass, (SELECT typrelid FROM pg_type WHERE oid = {name}::regtype), {relation})"));
        if let Some((array, _)) = &made.array {
            rows.push(format!("('pg_type'::regclass, (SELECT typarray FROM pg_type WHERE oid = {name}::regtype), {array})"));
        }
    }
    format!("{}{}", statements(&waiting), statements(&format!("VALUES {}", rows.join(",\n"))))
}

/// Statements that give schemas, relations, row types, keys and indexes their numbers.
pub(super) fn relations(visible: &Visible) -> String {
    let mut rows = Vec::new();
    for schema in &visible.schemas {
        rows.push(format!("('pg_namespace'::regclass, {}::regnamespace, {})", literal(&quoted(&schema.name)), schema.oid));
        for relation in &schema.relations {
            let name = literal(&format!("{}.{}", quoted(&schema.name), quoted(&relation.name)));
            let [class, row, row_array] = relation.oids;
            rows.push(format!("('pg_class'::regclass, {name}::regclass, {class})"));
            let row_type = format!("(SELECT reltype FROM pg_class WHERE oid = {name}::regclass)");
            rows.push(format!("('pg_type'::regclass, {row_type}, {row})"));
            rows.push(format!("('pg_type'::regclass, (SELECT typarray FROM pg_type WHERE oid = {row_type}), {row_array})"));
            if !relation.primary_key.is_empty() {
                let [constraint, index] = relation.key_oids;
                let of_key =
                    |field: &str| format!("(SELECT {field} FROM pg_constraint WHERE conrelid = {name}::regclass AND contype = 'p')");
                rows.push(format!("('pg_constraint'::regclass, {}, {constraint})", of_key("oid")));
                rows.push(format!("('pg_class'::regclass, {}, {index})", of_key("conindid")));
            }
            for key in &relation.foreign_keys {
                let of_key =
                    format!("(SELECT oid FROM pg_constraint WHERE conrelid = {name}::regclass AND conname = {})", literal(&key.name));
                rows.push(format!("('pg_constraint'::regclass, {of_key}, {})", key.oid));
            }
        }
    }
    if rows.is_empty() { String::new() } else { statements(&format!("VALUES {}", rows.join(",\n"))) }
}

/// Statements that renumber: `rows` is a query of catalog, old and new number.
fn statements(rows: &str) -> String {
    format!(
        "CREATE SCHEMA pgwicket_renumber;
         CREATE TABLE pgwicket_renumber.numbers (catalog oid NOT NULL, old oid NOT NULL, new oid NOT NULL);
         INSERT INTO pgwicket_renumber.numbers {rows};\n{SQL}"
    )
}
