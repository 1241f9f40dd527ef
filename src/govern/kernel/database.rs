//! Names that begin with the database: `current.schema.relation` is `schema.relation`, and no other database can be named.

use std::collections::BTreeSet;

use super::{Form, Replacement, Scope, walk};
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

/// A constant that names a relation.
fn with_text(node: &Node, field: &'static str, database: &str, found: &mut Unqualified) -> Option<Tree> {
    let constant = node.field(field).ok()?.of_kind("AConst")?;
    let value = constant.field("val").ok()?;
    let written = value.string()?;
    let name = without_database(written, database)?;
    let at = constant.location()?;
    found.texts.push(Replacement { at, form: Form::Word, sql: format!("'{}'", name.replace('\'', "''")) });
    let string = with_field(value.as_node()?, "sval", Tree::Text(name.into()));
    let constant = with_field(constant, "val", string);
    Some(with_field(node, field, constant))
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
