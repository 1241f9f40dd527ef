//! The catalog of a source as it was introspected: plain data, also saved as JSON for offline checks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{extensions::Extensions, rules::TableRules};

/// A PostgreSQL object identifier.
pub type Oid = u32;

/// The `server_version_num` of the servers that are spoken to. An older one reads some literals otherwise than the parser, and when a newer
/// one evaluates an expression on whose rows is not known (docs/security/EVALUATION.md).
pub const KNOWN_VERSIONS: std::ops::RangeInclusive<u32> = 150_000..=189_999;

/// The first OID that is not assigned by PostgreSQL itself (`FirstNormalObjectId`, access/transam.h).
pub const FIRST_NORMAL_OID: Oid = 16_384;

/// What pgwicket knows of a source: made by introspection, or read from a saved snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSnapshot {
    /// `server_version_num`, e.g. `150018`.
    pub server_version: u32,
    /// Every ordinary, partitioned and foreign table, view and materialised view outside the system schemas.
    pub relations: Vec<Relation>,
    /// Every type that a column of `relations` uses, and every built-in type; by OID.
    pub types: BTreeMap<Oid, Type>,
    /// The operators whose function is `proleakproof`, built-in ones only.
    pub leakproof_operators: Vec<Operator>,
    /// Names of the operators by which an index of some access method can order rows (`pg_amop.amoppurpose` is `o`); `None` in a snapshot
    /// saved before they were read.
    #[serde(default)]
    pub ordering_operators: Option<Vec<String>>,
    /// Functions outside `pg_catalog` that the credential may execute (policies may allow them by signature).
    pub functions: Vec<Function>,
    /// What only the virtual catalog needs; empty in a snapshot saved before there was one.
    #[serde(default)]
    pub shapes: Shapes,
    /// The reviewed extensions; none in a snapshot saved before they were read: what uses their types is then refused.
    #[serde(default)]
    pub extensions: Extensions,
    /// What tables do by themselves; not known in a snapshot saved before this was read.
    #[serde(default)]
    pub rules: Option<Vec<TableRules>>,
}

/// What the virtual catalog shows of a source besides relations and their columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shapes {
    /// OIDs of relations and numbers of columns.
    pub relations: Vec<RelationShape>,
    /// Foreign keys between relations of the snapshot.
    pub foreign_keys: Vec<ForeignKey>,
    /// What types outside `pg_catalog` are made of, by OID.
    pub types: BTreeMap<Oid, TypeShape>,
    /// Casts that PostgreSQL makes by itself, to or from types of the source's own.
    #[serde(default)]
    pub casts: Vec<OwnCast>,
}

/// A cast of `pg_cast` that an assignment makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCast {
    /// `castsource`
    pub source: Oid,
    /// `casttarget`
    pub target: Oid,
}

/// By which numbers the source's RowDescription speaks of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationShape {
    /// Schema name.
    pub schema: String,
    /// Relation name.
    pub name: String,
    /// `pg_class.oid`
    pub oid: Oid,
    /// `attnum` of each of [`Relation::columns`], in their order.
    pub numbers: Vec<i16>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Schema of the referencing relation.
    pub schema: String,
    /// The referencing relation.
    pub relation: String,
    /// Its columns, in the key's order.
    pub columns: Vec<String>,
    /// Schema of the referenced relation.
    pub foreign_schema: String,
    /// The referenced relation.
    pub foreign_relation: String,
    /// Its columns, in the key's order.
    pub foreign_columns: Vec<String>,
    /// `confupdtype`: `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default.
    pub on_update: char,
    /// `confdeltype`
    pub on_delete: char,
}

/// What a type is made of.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeShape {
    /// Schema of the type.
    pub schema: String,
    /// `typname`
    pub name: String,
    /// `typtype`, as [`Type::kind`].
    pub kind: char,
    /// `typbasetype` of a domain, otherwise 0.
    pub base: Oid,
    /// `typarray`, 0 when there is no array of it.
    pub array: Oid,
    /// `typelem` of an array type, otherwise 0.
    pub element: Oid,
    /// `typcategory`
    pub category: char,
    /// `typdelim`
    pub delimiter: char,
    /// Whether it is a type of its own and not a relation's rows.
    pub standalone: bool,
    /// Labels of an enum, in their order.
    pub labels: Vec<String>,
    /// Attributes of a composite type, or columns of the relation whose rows it is.
    pub attributes: Vec<Attribute>,
    /// `format_type(typbasetype, typtypmod)` of a domain.
    pub base_name: String,
    /// `typtypmod` of a domain, otherwise -1.
    pub base_modifier: i32,
    /// `typnotnull`
    pub not_null: bool,
    /// Of a range or multirange type; none in a snapshot saved before these were shown.
    #[serde(default)]
    pub range: Option<RangeShape>,
    /// Whether the source casts something to it, or to its array, by a function (`pg_cast.castfunc`); taken to be so when not known.
    #[serde(default = "yes")]
    pub cast_by_function: bool,
    /// Whether its values are text where text is asked for (an implicit cast to `text` that does nothing); not so in a snapshot
    /// saved before this was read.
    #[serde(default)]
    pub is_text: bool,
}

/// A range type, and the multirange type over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeShape {
    /// `rngsubtype`
    pub subtype: Oid,
    /// `rngtypid`
    pub range: Oid,
    /// `rngmultitypid`
    pub multirange: Oid,
    /// Whether no function of the source's own works on its values: `rngcanonical` and `rngsubopc` are none or built in.
    pub built_in: bool,
}

/// An attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// `atttypid`
    pub type_oid: Oid,
    /// `format_type(atttypid, atttypmod)`
    pub type_name: String,
}

/// A relation of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Schema name, as stored (already folded).
    pub schema: String,
    /// Relation name, as stored.
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: char,
    /// Columns in attribute order, dropped ones left out.
    pub columns: Vec<Column>,
    /// Primary-key column names in key order; empty when there is none.
    pub primary_key: Vec<String>,
    /// Whether the credential may read every column (`has_table_privilege(.., 'SELECT')`).
    pub readable: bool,
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the column, by its name in the snapshot")]
pub struct Column {
    /// Column name, as stored.
    pub name: String,
    /// `atttypid`.
    pub type_oid: Oid,
    /// `format_type(atttypid, atttypmod)`, for people.
    pub type_name: String,
    /// `attnotnull`.
    pub not_null: bool,
    /// Whether the credential may read this column.
    pub readable: bool,
    /// `pg_collation.collisdeterministic` of the column's collation; true when it has none.
    #[serde(default = "yes")]
    pub deterministic_collation: bool,
    /// `attcollation`, 0 when the type has none; not known in a snapshot saved before it was read.
    #[serde(default)]
    pub collation: Option<Oid>,
    /// Whether its values are stored as they are: not computed by a view, by a generated column or by a server behind a foreign table.
    /// Computed ones may fail on a row that nobody asked for. False in a snapshot saved before it was read.
    #[serde(default)]
    pub stored: bool,
}

fn yes() -> bool {
    true
}

/// A type of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Type {
    /// Schema of the type.
    pub schema: String,
    /// `typname`.
    pub name: String,
    /// `typtype`: `b` base, `c` composite, `d` domain, `e` enum, `p` pseudo, `r` range, `m` multirange.
    pub kind: char,
    /// For a domain its base type, for an array its element type; otherwise 0.
    pub base: Oid,
    /// Whether it is a true array type (`typcategory = 'A'` and `typelem <> 0`).
    pub array: bool,
}

/// An operator by name and argument types.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Operator {
    /// `oprname`, e.g. `=`.
    pub name: String,
    /// `oprleft`, 0 for a prefix operator.
    pub left: Oid,
    /// `oprright`.
    pub right: Oid,
}

/// A function by qualified name and argument types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Schema of the function.
    pub schema: String,
    /// `proname`.
    pub name: String,
    /// `pg_get_function_identity_arguments`, for people and for matching a policy's signature.
    pub arguments: String,
    /// `provolatile`.
    pub volatility: char,
    /// `prorettype`; 0 in a snapshot saved before it was read.
    #[serde(default)]
    pub returns: Oid,
}

impl CatalogSnapshot {
    /// The relation of that schema and name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.schema == schema && relation.name == name)
    }

    /// The same catalog for a policy whose reads another credential does: what this one may read says nothing.
    #[must_use]
    pub fn read_by_another(mut self) -> Self {
        for relation in &mut self.relations {
            relation.readable = true;
            relation.columns.iter_mut().for_each(|column| column.readable = true);
        }
        self
    }

    /// The type below every domain over it.
    pub fn base_type(&self, mut oid: Oid) -> Oid {
        for _ in 0..32 {
            match self.types.get(&oid) {
                Some(t) if t.kind == 'd' => oid = t.base,
                Some(_) | None => return oid,
            }
        }
        oid
    }
}
