//! Names that begin with the database: `current.schema.relation` is `schema.relation`, and no other database can be named.

use std::collections::BTreeSet;

use super::{Form, Replacement, Scope, functions::each, walk};
use crate::{
    govern::{Refusal, RefusalCode},
    sql::{Node, Tree, character},
};

/// A statement without the database's name, and where the client's text has it.
#[derive(Debug, Default)]
pub(in crate::govern) struct Unqualified {
    /// Relations, by the place of their first token.
    pub(super) relations: BTreeSet<usize>,
    /// Columns, likewise.
    pub(super) columns: BTreeSet<usize>,
    /// Names written as text.
    pub(super) texts: Vec<Replacement>,
}

/// Takes the database's name out of the tree; another database's is refused.
pub(in crate::govern) fn unqualified(text: &str, tree: &mut Tree, database: &str) -> Result<Unqualified, Refusal> {
    let mut found = Unqualified::default();
    let mut read = Ok(());
    each(tree, &mut |node| {
        if read.is_ok() {
            read = function_or_type(text, node, database, &mut found);
        }
    });
    read?;
    let mut visit = |node: &Node, _: &Scope| -> Result<Option<Tree>, Refusal> {
        match node.kind {
            "RangeVar" => relation(text, node, database, &mut found),
            "ColumnRef" => column(text, node, database, &mut found),
            "TypeCast" => {
                let named = node.node("type_name")?.map(|named| named.names("names")).transpose()?.unwrap_or_default();
                let is_class = matches!(named.as_slice(), ["regclass"] | ["pg_catalog", "regclass"]);
                if is_class { Ok(with_text(node, "arg", database, &mut found)) } else { Ok(None) }
            }
            // Every other node names no relation.
            _ => Ok(None),
        }
    };
    walk(tree, &Scope::default(), &mut visit)?;
    Ok(found)
}

fn elsewhere(text: &str, name: &str, at: usize) -> Refusal {
    Refusal::new(RefusalCode::Unsupported, format!("cross-database references are not implemented: {name}")).at(character(text, at))
}

fn relation(text: &str, node: &Node, database: &str, found: &mut Unqualified) -> Result<Option<Tree>, Refusal> {
    let catalog = node.text("catalogname")?;
    if catalog.is_empty() {
        return Ok(None);
    }
    let at = node.location().ok_or_else(|| super::unverified("a relation without a place"))?;
    if catalog != database {
        let name = format!("\"{catalog}.{}.{}\"", node.text("schemaname")?, node.text("relname")?);
        return Err(elsewhere(text, &name, at));
    }
    found.relations.insert(at);
    Ok(Some(with_field(node, "catalogname", Tree::Text("".into()))))
}

fn column(text: &str, node: &Node, database: &str, found: &mut Unqualified) -> Result<Option<Tree>, Refusal> {
    let fields = node.list("fields")?;
    let [first, rest @ ..] = fields else { return Ok(None) };
    if fields.len() != 4 {
        return Ok(None);
    }
    let at = node.location().ok_or_else(|| super::unverified("a column without a place"))?;
    if first.string() != Some(database) {
        let name: Vec<&str> = fields.iter().map(|field| field.string().unwrap_or("*")).collect();
        return Err(elsewhere(text, &name.join("."), at));
    }
    found.columns.insert(at);
    Ok(Some(with_field(node, "fields", Tree::List(rest.to_vec()))))
}

/// Functions of `pg_catalog` that read the name of a relation in a text of theirs.
const READ_A_NAME: [&str; 16] = [
    "to_regclass",
    "has_table_privilege",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_sequence_privilege",
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
    "pg_relation_filenode",
    "pg_get_viewdef",
    "pg_get_indexdef",
    "pg_get_serial_sequence",
    "obj_description",
    "col_description",
    "row_security_active",
];

/// Takes the database's name out of `database.schema.function`, `database.schema.type`, and the texts that such functions read.
fn function_or_type(text: &str, node: &mut Node, database: &str, found: &mut Unqualified) -> Result<(), Refusal> {
    let field = match node.kind {
        "FuncCall" => "funcname",
        "TypeName" => "names",
        // Nothing else names a function or a type.
        _ => return Ok(()),
    };
    let names = node.names(field)?;
    if let [first, _, _] = names.as_slice() {
        let at = node.location().ok_or_else(|| super::unverified("a name without a place"))?;
        if *first != database {
            return Err(elsewhere(text, &names.join("."), at));
        }
        found.texts.push(Replacement { at, form: Form::SchemaPrefix, sql: String::new() });
        list_mut(node, field)?.remove(0);
    }
    let reads = match node.names(field)?.as_slice() {
        [name] | ["pg_catalog", name] => node.kind == "FuncCall" && READ_A_NAME.contains(name),
        _ => false,
    };
    if reads {
        for argument in list_mut(node, "args")? {
            if let Some(without) = constant_without(argument, database, found) {
                *argument = without;
            }
        }
    }
    Ok(())
}

fn list_mut<'n>(node: &'n mut Node, field: &'static str) -> Result<&'n mut Vec<Tree>, Refusal> {
    let found = node.fields.iter_mut().find(|(name, _)| *name == field);
    if let Some((_, Tree::List(items))) = found { Ok(items) } else { Err(super::unverified("a list that is none")) }
}

/// A constant that names a relation.
fn with_text(node: &Node, field: &'static str, database: &str, found: &mut Unqualified) -> Option<Tree> {
    let constant = constant_without(node.field(field).ok()?, database, found)?;
    Some(with_field(node, field, constant))
}

/// The constant without the database's name; nothing where it does not begin with it.
fn constant_without(tree: &Tree, database: &str, found: &mut Unqualified) -> Option<Tree> {
    let constant = tree.of_kind("AConst")?;
    let value = constant.field("val").ok()?;
    let written = value.string()?;
    let name = without_database(written, database)?;
    let at = constant.location()?;
    found.texts.push(Replacement { at, form: Form::Word, sql: format!("'{}'", name.replace('\'', "''")) });
    let string = with_field(value.as_node()?, "sval", Tree::Text(name.into()));
    Some(with_field(constant, "val", string))
}

/// `database.schema.relation` without its first part.
fn without_database<'n>(name: &'n str, database: &str) -> Option<&'n str> {
    let (first, rest) = if let Some(quoted) = name.strip_prefix('"') {
        let (first, rest) = quoted.split_once('"')?;
        (first.to_owned(), rest.strip_prefix('.')?)
    } else {
        let (first, rest) = name.split_once('.')?;
        (first.to_lowercase(), rest)
    };
    // A name of two parts begins with a schema.
    let more = rest.strip_prefix('"').map_or(rest, |quoted| quoted.split_once('"').map_or("", |(_, after)| after)).contains('.');
    (first == database && more).then_some(rest)
}

fn with_field(node: &Node, wanted: &str, value: Tree) -> Tree {
    let mut node = node.clone();
    if let Some((_, field)) = node.fields.iter_mut().find(|(name, _)| *name == wanted) {
        *field = value;
    }
    Tree::Node(Box::new(node))
}
