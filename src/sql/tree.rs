//! A statement as a uniform tree, built from every field of `pg_query`'s own nodes.
//!
//! The tree is made by serialising PostgreSQL's parse tree, so it holds each field of each node by
//! construction: a walker over it cannot forget one. Positions compare equal to any other position,
//! so `==` means "the same statement, written elsewhere". Reading a field that a node does not have
//! is an error, not an absence: a misspelt name in a check refuses the statement.

use std::fmt;

use serde::{
    Serialize,
    ser::{self, SerializeSeq, SerializeStruct},
};

/// A node, a list or a leaf.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// An absent node.
    Null,
    /// A flag.
    Bool(bool),
    /// A number: a constant, or an enum of the grammar.
    Int(i64),
    /// A name, an operator, a constant's text.
    Text(Box<str>),
    /// A position in the text; equal to every other.
    Position(Position),
    /// A list.
    List(Vec<Tree>),
    /// A node.
    Node(Box<Node>),
}

/// A byte offset into the text, or -1. Equal to every other: where a node stands is not what it says.
#[derive(Debug, Clone, Copy)]
pub struct Position(pub i64);

impl PartialEq for Position {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A node of the grammar: its kind and all its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The grammar's name for it, as `pg_query` spells it (`SelectStmt`, `AExpr`, ...).
    pub kind: &'static str,
    /// Every field in the grammar's order.
    pub fields: Vec<(&'static str, Tree)>,
}

/// A check asked a node for a field it does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {kind} has no field {field} of that shape")]
pub struct Misread {
    /// The node's kind.
    pub kind: &'static str,
    /// What was asked for.
    pub field: &'static str,
}

static NULL: Tree = Tree::Null;

/// Kinds of expressions that hold values, tests of these, and types by which they are read, and name and compare nothing of their own.
const PLAIN: &[&str] = &[
    "AArrayExpr",
    "AConst",
    "BitString",
    "Boolean",
    "BoolExpr",
    "BooleanTest",
    "CaseExpr",
    "CaseWhen",
    "CoalesceExpr",
    "Float",
    "Integer",
    "MinMaxExpr",
    "NamedArgExpr",
    "NullTest",
    "String",
    "TypeCast",
    "TypeName",
];

impl Node {
    /// Whether this is a kind that is nothing but its parts: it calls no function, compares nothing, and names nothing but a type.
    pub fn is_plain(&self) -> bool {
        PLAIN.contains(&self.kind)
    }

    /// The field of that name.
    pub fn field(&self, field: &'static str) -> Result<&Tree, Misread> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, tree)| tree).ok_or(Misread { kind: self.kind, field })
    }

    /// A field that is a node, or `None` when absent.
    pub fn node(&self, field: &'static str) -> Result<Option<&Node>, Misread> {
        match self.field(field)? {
            Tree::Node(node) => Ok(Some(node)),
            Tree::Null => Ok(None),
            Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) | Tree::List(_) => Err(Misread { kind: self.kind, field }),
        }
    }

    /// A field that is a list.
    pub fn list(&self, field: &'static str) -> Result<&[Tree], Misread> {
        let Tree::List(items) = self.field(field)? else { return Err(Misread { kind: self.kind, field }) };
        Ok(items)
    }

    /// A field that is text.
    pub fn text(&self, field: &'static str) -> Result<&str, Misread> {
        let Tree::Text(text) = self.field(field)? else { return Err(Misread { kind: self.kind, field }) };
        Ok(text)
    }

    /// A field that is a number.
    pub fn int(&self, field: &'static str) -> Result<i64, Misread> {
        let Tree::Int(value) = self.field(field)? else { return Err(Misread { kind: self.kind, field }) };
        Ok(*value)
    }

    /// A field that is a flag.
    pub fn flag(&self, field: &'static str) -> Result<bool, Misread> {
        let Tree::Bool(value) = self.field(field)? else { return Err(Misread { kind: self.kind, field }) };
        Ok(*value)
    }

    /// Where the node stands, as a byte offset into the text.
    pub fn location(&self) -> Option<usize> {
        match self.field("location") {
            Ok(Tree::Position(position)) => usize::try_from(position.0).ok(),
            Ok(_) | Err(_) => None,
        }
    }

    /// The strings of a name list (`funcname`, `names`, operator names, `fields` up to a star).
    pub fn names(&self, field: &'static str) -> Result<Vec<&str>, Misread> {
        self.list(field)?.iter().map(|item| item.string().ok_or(Misread { kind: self.kind, field })).collect()
    }
}

impl Tree {
    /// The node here, if it is one.
    pub fn as_node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) | Self::Position(_) | Self::List(_) => None,
        }
    }

    /// The node here, if it is one of that kind.
    pub fn of_kind(&self, kind: &str) -> Option<&Node> {
        self.as_node().filter(|node| node.kind == kind)
    }

    /// The text of a `String` node.
    pub fn string(&self) -> Option<&str> {
        self.of_kind("String").and_then(|node| node.text("sval").ok())
    }

    /// The items of a list; a lone node is a list of one (the grammar uses both).
    pub fn items(&self) -> &[Tree] {
        match self {
            Self::List(items) => items,
            Self::Null => &[],
            Self::Node(node) if node.kind == "List" => node.list("items").unwrap_or_default(),
            Self::Node(_) | Self::Bool(_) | Self::Int(_) | Self::Text(_) | Self::Position(_) => std::slice::from_ref(self),
        }
    }

    /// Calls `visit` on every node below and including this one, parents first.
    pub fn each<'t>(&'t self, visit: &mut dyn FnMut(&'t Node)) {
        match self {
            Self::List(items) => items.iter().for_each(|item| item.each(visit)),
            Self::Node(node) => node.each(visit),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) | Self::Position(_) => {}
        }
    }

    /// An absent node.
    pub fn null() -> &'static Tree {
        &NULL
    }
}

impl Node {
    /// Calls `visit` on this node and every node below it, parents first.
    pub fn each<'t>(&'t self, visit: &mut dyn FnMut(&'t Node)) {
        visit(self);
        self.fields.iter().for_each(|(_, tree)| tree.each(visit));
    }
}

/// Fields that say where, not what.
const POSITIONS: [&str; 12] = [
    "location",
    "arg_location",
    "conninfo_location",
    "list_end",
    "list_start",
    "name_location",
    "payload_location",
    "rexpr_list_end",
    "rexpr_list_start",
    "stmt_len",
    "stmt_location",
    "token_location",
];

/// The tree of a statement's node. `None` when `pg_query` has a value in it that its own nodes do not have.
pub fn tree(node: &pg_query::Node) -> Option<Tree> {
    of(node).ok()
}

/// The tree of anything `pg_query` parsed.
pub(super) fn of(value: &impl Serialize) -> Result<Tree, BuildError> {
    value.serialize(Builder)
}

/// `pg_query` produced a value that its own nodes do not have (bytes, maps): the statement is refused.
#[derive(Debug)]
pub(super) struct BuildError;

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unexpected value in the parse tree")
    }
}

impl std::error::Error for BuildError {}

impl ser::Error for BuildError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Builder;

struct ListBuilder(Vec<Tree>);

struct NodeBuilder(Node);

impl SerializeSeq for ListBuilder {
    type Ok = Tree;
    type Error = BuildError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BuildError> {
        self.0.push(value.serialize(Builder)?);
        Ok(())
    }

    fn end(self) -> Result<Tree, BuildError> {
        Ok(Tree::List(self.0))
    }
}

impl SerializeStruct for NodeBuilder {
    type Ok = Tree;
    type Error = BuildError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), BuildError> {
        let mut tree = value.serialize(Builder)?;
        if let (Tree::Int(value), true) = (&tree, POSITIONS.contains(&key)) {
            tree = Tree::Position(Position(*value));
        }
        self.0.fields.push((key, tree));
        Ok(())
    }

    fn end(mut self) -> Result<Tree, BuildError> {
        // `Node { node }` is the grammar's "any node" box; what is inside is the node.
        if self.0.kind == "Node" && self.0.fields.len() == 1 {
            return Ok(self.0.fields.pop().map_or(Tree::Null, |(_, tree)| tree));
        }
        Ok(Tree::Node(Box::new(self.0)))
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Tree, BuildError> {
            i64::try_from(value).map(Tree::Int).map_err(|_| BuildError)
        })*
    };
}

impl ser::Serializer for Builder {
    type Ok = Tree;
    type Error = BuildError;
    type SerializeSeq = ListBuilder;
    type SerializeStruct = NodeBuilder;
    type SerializeTuple = ser::Impossible<Tree, BuildError>;
    type SerializeTupleStruct = ser::Impossible<Tree, BuildError>;
    type SerializeTupleVariant = ser::Impossible<Tree, BuildError>;
    type SerializeMap = ser::Impossible<Tree, BuildError>;
    type SerializeStructVariant = ser::Impossible<Tree, BuildError>;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_bool(self, value: bool) -> Result<Tree, BuildError> {
        Ok(Tree::Bool(value))
    }

    fn serialize_str(self, value: &str) -> Result<Tree, BuildError> {
        Ok(Tree::Text(value.into()))
    }

    fn serialize_char(self, value: char) -> Result<Tree, BuildError> {
        Ok(Tree::Text(value.to_string().into()))
    }

    fn serialize_none(self) -> Result<Tree, BuildError> {
        Ok(Tree::Null)
    }

    fn serialize_unit(self) -> Result<Tree, BuildError> {
        Ok(Tree::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Tree, BuildError> {
        value.serialize(Self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Tree, BuildError> {
        value.serialize(Self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Tree, BuildError> {
        value.serialize(Self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ListBuilder, BuildError> {
        Ok(ListBuilder(Vec::with_capacity(len.unwrap_or(0))))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<NodeBuilder, BuildError> {
        Ok(NodeBuilder(Node { kind: name, fields: Vec::with_capacity(len) }))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<Tree, BuildError> {
        Ok(Tree::Node(Box::new(Node { kind: name, fields: Vec::new() })))
    }

    fn serialize_f32(self, _: f32) -> Result<Tree, BuildError> {
        Err(BuildError)
    }

    fn serialize_f64(self, _: f64) -> Result<Tree, BuildError> {
        Err(BuildError)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Tree, BuildError> {
        Err(BuildError)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Tree, BuildError> {
        Err(BuildError)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, BuildError> {
        Err(BuildError)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, BuildError> {
        Err(BuildError)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, BuildError> {
        Err(BuildError)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, BuildError> {
        Err(BuildError)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, BuildError> {
        Err(BuildError)
    }
}
