//! The DDL of a catalog: what a [`Visible`] says, and nothing else.

use std::fmt::Write as _;

use crate::{
    policy::{Visible, VisibleForeignKey, VisibleRelation, VisibleType, VisibleTypeKind},
    sql::catalog::Oid,
};

/// Changes with the statements made here.
pub(super) const FORMAT: &str = "3";

/// Statements that make schemas and types, one text.
pub(super) fn types(visible: &Visible) -> String {
    let mut out = String::from("SET pgwicket.agent = ''; SET pgwicket.database = '';\nDROP SCHEMA public;\n");
    for schema in &visible.schemas {
        let name = quoted(&schema.name);
        line(&mut out, format_args!("CREATE SCHEMA {name} AUTHORIZATION pgwicket;\nGRANT USAGE ON SCHEMA {name} TO pgwicket_client;"));
    }
    for made in &visible.types {
        define_type(&mut out, made);
    }
    out
}

/// Statements that make relations, keys, comments and grants, one text.
pub(super) fn relations(visible: &Visible) -> String {
    let mut out = String::new();
    let each = || visible.schemas.iter().flat_map(|schema| schema.relations.iter().map(move |relation| (&*schema.name, relation)));
    for (schema, relation) in each() {
        define_relation(&mut out, schema, relation);
    }
    // Both ends must be there.
    for (schema, relation) in each() {
        for key in &relation.foreign_keys {
            foreign_key(&mut out, schema, relation, key);
        }
    }
    out
}

/// Statements that define the views once more: what is stored of a view holds its OID, which has changed.
pub(super) fn views(visible: &Visible) -> String {
    let mut out = String::new();
    for schema in &visible.schemas {
        for relation in schema.relations.iter().filter(|relation| relation.kind == 'v') {
            define_view(&mut out, &schema.name, relation);
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    writeln!(out, "{text}").ok();
}

fn define_type(out: &mut String, made: &VisibleType) {
    let name = literal(&made.name);
    let schema = literal(&quoted(&made.schema));
    let array = made.array.as_ref().map_or(0, |(array, _)| *array);
    let common = format!(
        "'oid', {}, 'typname', {name}, 'typnamespace', {schema}::regnamespace::oid, 'typowner', 'pgwicket'::regrole::oid, 'typarray', {array}, 'typacl', NULL",
        made.oid
    );
    match &made.kind {
        VisibleTypeKind::Enum(labels) => {
            insert_type(
                out,
                25,
                &format!(
                    "{common}, 'typlen', 4, 'typbyval', true, 'typtype', 'e', 'typcategory', 'E', 'typispreferred', false, 'typinput', \
                     'enum_in', 'typoutput', 'enum_out', 'typreceive', 'enum_recv', 'typsend', 'enum_send', 'typalign', 'i', \
                     'typstorage', 'p', 'typcollation', 0"
                ),
            );
            for (place, label) in (1_u32..).zip(labels) {
                // Labels are found by type and place; their own OIDs are even, as those of labels in order are.
                let oid = (0x4000_0000 | (made.oid.wrapping_mul(4096) & 0x3fff_ffff)).wrapping_add(place * 2);
                line(out, format_args!("INSERT INTO pg_catalog.pg_enum VALUES ({oid}, {}, {place}, {});", made.oid, literal(label)));
            }
        }
        VisibleTypeKind::Domain { base, modifier, not_null } => insert_type(
            out,
            *base,
            &format!(
                "{common}, 'typtype', 'd', 'typbasetype', {base}, 'typtypmod', {modifier}, 'typnotnull', {not_null}, 'typinput', \
                 'domain_in', 'typreceive', 'domain_recv', 'typmodin', '-', 'typmodout', '-', 'typanalyze', '-', 'typsubscript', '-', \
                 'typelem', 0, 'typispreferred', false, 'typrelid', 0"
            ),
        ),
        VisibleTypeKind::Composite(attributes) => {
            let attributes: Vec<String> = attributes.iter().map(|(name, of)| format!("{} {of}", quoted(name))).collect();
            line(
                out,
                format_args!(
                    "CREATE TYPE {0}.{1} AS ({2});\nALTER TYPE {0}.{1} OWNER TO pgwicket;",
                    quoted(&made.schema),
                    quoted(&made.name),
                    attributes.join(", ")
                ),
            );
            return;
        }
        VisibleTypeKind::Range { subtype, multirange } => define_range(out, &common, made.oid, *subtype, *multirange),
        VisibleTypeKind::Multirange => insert_type(out, 4532, &common),
        VisibleTypeKind::Base(category, delimiter) => insert_type(
            out,
            25,
            &format!(
                "{common}, 'typcategory', {}, 'typdelim', {}, 'typispreferred', false",
                literal(&category.to_string()),
                literal(&delimiter.to_string())
            ),
        ),
    }
    if let Some((array, array_name)) = &made.array {
        insert_type(
            out,
            1009,
            &format!(
                "'oid', {array}, 'typname', {}, 'typnamespace', {schema}::regnamespace::oid, 'typowner', 'pgwicket'::regrole::oid, \
                 'typelem', {of}, 'typarray', 0, 'typacl', NULL, 'typalign', (SELECT CASE typalign WHEN 'd' THEN 'd' ELSE 'i' END FROM \
                 pg_catalog.pg_type WHERE oid = {of}), 'typcollation', (SELECT typcollation FROM \
                 pg_catalog.pg_type WHERE oid = {of})",
                literal(array_name),
                of = made.oid
            ),
        );
    }
}

/// Like `numrange`, over another type. What an enum's and a row's default operators are declared for is pseudo types.
fn define_range(out: &mut String, common: &str, oid: Oid, subtype: Oid, multirange: Oid) {
    insert_type(out, 3906, common);
    line(
        out,
        format_args!(
            "INSERT INTO pg_catalog.pg_range SELECT {oid}, {subtype}, {multirange}, t.typcollation, coalesce((SELECT c.oid FROM \
             pg_catalog.pg_opclass c WHERE c.opcmethod = 403 AND c.opcdefault AND c.opcintype = CASE t.typtype WHEN 'e' THEN 3500 WHEN 'c' \
             THEN 2249 WHEN 'd' THEN t.typbasetype ELSE t.oid END), 0), '-', '-' FROM pg_catalog.pg_type t WHERE t.oid = {subtype};"
        ),
    );
}

/// A row of `pg_type` like that of another type, but for these fields: the one way to choose its OID.
fn insert_type(out: &mut String, like: u32, fields: &str) {
    line(
        out,
        format_args!(
            "INSERT INTO pg_catalog.pg_type SELECT (jsonb_populate_record(t, jsonb_build_object({fields}))).* FROM pg_catalog.pg_type t WHERE oid = {like};"
        ),
    );
}

fn define_view(out: &mut String, schema: &str, relation: &VisibleRelation) {
    let columns: Vec<String> =
        relation.columns.iter().map(|column| format!("NULL::{} AS {}", column.type_name, quoted(&column.name))).collect();
    let name = format!("{}.{}", quoted(schema), quoted(&relation.name));
    line(out, format_args!("CREATE OR REPLACE VIEW {name} AS SELECT {} WHERE false;", columns.join(", ")));
}

fn define_relation(out: &mut String, schema: &str, relation: &VisibleRelation) {
    let name = format!("{}.{}", quoted(schema), quoted(&relation.name));
    let what = if relation.kind == 'v' { "VIEW" } else { "TABLE" };
    if relation.kind == 'v' {
        define_view(out, schema, relation);
    } else {
        let mut parts: Vec<String> = relation
            .columns
            .iter()
            .map(|column| format!("{} {}{}", quoted(&column.name), column.type_name, if column.not_null { " NOT NULL" } else { "" }))
            .collect();
        if !relation.primary_key.is_empty() {
            parts.push(format!("CONSTRAINT {} PRIMARY KEY ({})", quoted(&key_name(relation)), list(&relation.primary_key)));
        }
        line(out, format_args!("CREATE TABLE {name} ({});", parts.join(", ")));
    }
    line(out, format_args!("ALTER {what} {name} OWNER TO pgwicket;\nGRANT SELECT ON {name} TO pgwicket_client;"));
    if let Some(description) = &relation.description {
        line(out, format_args!("COMMENT ON {what} {name} IS {};", literal(description)));
    }
    for column in &relation.columns {
        if let Some(description) = &column.description {
            line(out, format_args!("COMMENT ON COLUMN {name}.{} IS {};", quoted(&column.name), literal(description)));
        }
    }
}

/// The name of a primary key's constraint and index, as PostgreSQL would make it.
fn key_name(relation: &VisibleRelation) -> String {
    format!("{}_pkey", relation.name)
}

fn foreign_key(out: &mut String, schema: &str, relation: &VisibleRelation, key: &VisibleForeignKey) {
    let action = |action: char| match action {
        'r' => "RESTRICT",
        'c' => "CASCADE",
        'n' => "SET NULL",
        'd' => "SET DEFAULT",
        _ => "NO ACTION",
    };
    let [update, delete] = key.actions;
    line(
        out,
        format_args!(
            "ALTER TABLE {}.{} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}.{} ({}) ON UPDATE {} ON DELETE {};",
            quoted(schema),
            quoted(&relation.name),
            quoted(&key.name),
            list(&key.columns),
            quoted(&key.references.0),
            quoted(&key.references.1),
            list(&key.foreign_columns),
            action(update),
            action(delete)
        ),
    );
}

fn list(names: &[Box<str>]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, under `standard_conforming_strings = on`.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
