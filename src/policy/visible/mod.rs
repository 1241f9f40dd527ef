//! The database as an agent sees it: what its virtual catalog is made from. It holds alias names, exposed columns and
//! nothing else of a source but the names, labels and OIDs of the types of those columns.
//!
//! Types keep the OIDs they have in the source, so that what a row or a parameter description says of a type holds in the
//! catalog. Relations, keys and row types get OIDs of their own from their alias names: the same after each restart and
//! in each process.

mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{ExposedColumn, ExposedRelation, ExposedSchema, Mask};
use crate::{
    sql::catalog::{CatalogSnapshot, ForeignKey, Oid},
    types::SourceName,
};

/// What the name of a catalog begins with; no source of a policy has such a name.
pub const CATALOG_PREFIX: &str = "pgwicket_catalog_";

/// Changes with what is made of a [`Visible`], so that an older catalog is not taken for a new one.
const FORMAT: &str = "2";

/// OIDs of what has none in a source: above what counters reach soon, and positive in 32 bits.
const FIRST_OWN_OID: u32 = 0x6000_0000;
const OWN_OIDS: u32 = 0x1f00_0000;

/// The visible objects of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// Names the catalog made from it: equal objects, equal names.
    pub name: SourceName,
    /// `server_version_num` that the session tells; the catalog's server should be of that version.
    pub server_version: u32,
    /// The alias schemas.
    pub schemas: Vec<VisibleSchema>,
    /// Types outside `pg_catalog`, those within others first.
    pub types: Vec<VisibleType>,
    /// Which types of a source are among them.
    shown: BTreeMap<SourceName, BTreeSet<Oid>>,
    /// Those whose values are read by the server's own functions alone, which look nothing up.
    plain: BTreeMap<SourceName, BTreeSet<Oid>>,
    /// Where a relation of a source stands here.
    places: BTreeMap<(SourceName, Oid), Vec<Place>>,
    /// What a source calls its types in a message, and what the agent may read instead.
    spoken: BTreeMap<SourceName, Vec<(String, String)>>,
}

/// An alias schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleSchema {
    /// Alias name.
    pub name: Box<str>,
    /// OID of the schema.
    pub oid: Oid,
    /// Relations by alias name.
    pub relations: Vec<VisibleRelation>,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleRelation {
    /// Alias name.
    pub name: Box<str>,
    /// `v` a view, materialised or not; `r` a table of any kind.
    pub kind: char,
    /// OIDs: the relation's, its row type's, that type's array's.
    pub oids: [Oid; 3],
    /// The exposed columns.
    pub columns: Vec<VisibleColumn>,
    /// Primary key by column names; empty when there is none, or not all of it is exposed.
    pub primary_key: Vec<Box<str>>,
    /// OIDs of the key's constraint and index.
    pub key_oids: [Oid; 2],
    /// Foreign keys whose both ends are exposed.
    pub foreign_keys: Vec<VisibleForeignKey>,
    /// The policy's description.
    pub description: Option<Box<str>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleColumn {
    /// Name.
    pub name: Box<str>,
    /// The type as it is written in DDL.
    pub type_name: String,
    /// NOT NULL
    pub not_null: bool,
    /// The policy's description.
    pub description: Option<Box<str>>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleForeignKey {
    /// Name, made of alias names.
    pub name: String,
    /// OID of the constraint.
    pub oid: Oid,
    /// Its columns.
    pub columns: Vec<Box<str>>,
    /// Alias schema and name of the referenced relation.
    pub references: (Box<str>, Box<str>),
    /// The referenced columns.
    pub foreign_columns: Vec<Box<str>>,
    /// `confupdtype`, `confdeltype`
    pub actions: [char; 2],
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleType {
    /// The alias schema it is shown in.
    pub schema: Box<str>,
    /// Name.
    pub name: String,
    /// OID, the source's.
    pub oid: Oid,
    /// OID and name of its array type.
    pub array: Option<(Oid, String)>,
    /// What it is.
    pub kind: VisibleTypeKind,
}

/// What a type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisibleTypeKind {
    /// An enum, with its labels.
    Enum(Vec<String>),
    /// A domain.
    Domain {
        /// OID of the type it is over.
        base: Oid,
        /// `typtypmod`
        modifier: i32,
        /// `typnotnull`
        not_null: bool,
    },
    /// A composite type: names and types of its attributes.
    Composite(Vec<(String, String)>),
    /// A range type.
    Range {
        /// OID of what its bounds are.
        subtype: Oid,
        /// OID of the multirange type over it, which comes next.
        multirange: Oid,
    },
    /// A multirange type.
    Multirange,
    /// A type of an extension, shown as a kind of text: `typcategory` and `typdelim`.
    Base(char, char),
}

/// Where a relation of a source stands in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Alias names, `schema.relation`.
    pub relation: Box<str>,
    /// OID in the catalog.
    pub oid: Oid,
    /// The number here of a column that has this number at the source.
    pub numbers: BTreeMap<i16, i16>,
}

impl Default for Visible {
    fn default() -> Self {
        Self::of(&[], |_| None)
    }
}

impl Visible {
    /// What an agent with these schemas sees. `catalog` knows the catalog of each source.
    pub fn of(schemas: &[Arc<ExposedSchema>], catalog: impl Fn(&SourceName) -> Option<Arc<CatalogSnapshot>>) -> Self {
        let mut builder = Builder::default();
        let mut visible = Vec::new();
        let mut server_version = None;
        for schema in schemas {
            let catalog = catalog(&schema.source).unwrap_or_default();
            server_version = server_version.or(Some(catalog.server_version));
            let names: Vec<&str> = schema.relations.keys().map(AsRef::as_ref).collect();
            for relation in schema.relations.values() {
                for column in relation.columns.iter().filter(|column| column.type_of_source()) {
                    builder.show(&schema.source, &schema.name, &names, &catalog, column.type_oid, 0);
                }
            }
            visible.push((schema, catalog));
        }
        let spoken = visible.iter().map(|(schema, catalog)| (schema.source.clone(), builder.spoken(&schema.source, catalog))).collect();
        let schemas: Vec<VisibleSchema> = visible.iter().map(|(schema, catalog)| builder.schema(schema, catalog, schemas)).collect();
        let mut made = Self {
            name: SourceName::from_parts(CATALOG_PREFIX, ""),
            server_version: server_version.unwrap_or_default(),
            schemas,
            types: builder.types,
            shown: builder.shown,
            plain: builder.plain,
            places: builder.places,
            spoken,
        };
        let digest = Sha256::digest(format!("{FORMAT} {:?} {:?} {:?}", made.server_version / 10_000, made.schemas, made.types));
        let number = digest.first_chunk().map_or(0, |first| u128::from_be_bytes(*first));
        made.name = SourceName::from_parts(CATALOG_PREFIX, &format!("{number:032x}"));
        made
    }

    /// Whether the catalog shows a type of a source, under the OID that it has there.
    pub fn shows_type(&self, source: &SourceName, oid: Oid) -> bool {
        self.shown.get(source).is_some_and(|shown| shown.contains(&oid))
    }

    /// Whether a text of a client may be read as that type of a source: an enum, a composite or range type of plain types, an
    /// array of one. No domain, whose checks would run, and nothing that looks names up.
    pub fn reads_type(&self, source: &SourceName, oid: Oid) -> bool {
        self.plain.get(source).is_some_and(|plain| plain.contains(&oid))
    }

    /// The enum, or the type of an extension, that a client means by a name, written with the schema the catalog shows it in or found by the search path, as the
    /// catalog would find it; the source it is of, and its OID.
    pub fn type_named(&self, schema: Option<&str>, name: &str, search_path: &[Box<str>]) -> Option<(&SourceName, Oid)> {
        self.types.iter().find(|known| known.name == name)?;
        let type_in = |schema: &str| self.types.iter().find(|known| *known.schema == *schema && known.name == name);
        let has = |wanted: &str| {
            let rows = |known: &VisibleSchema| *known.name == *wanted && known.relations.iter().any(|relation| *relation.name == *name);
            type_in(wanted).is_some() || self.schemas.iter().any(rows)
        };
        let schema = schema.or_else(|| search_path.iter().map(AsRef::as_ref).find(|schema| has(schema)))?;
        let found = type_in(schema).filter(|known| matches!(known.kind, VisibleTypeKind::Enum(_) | VisibleTypeKind::Base(..)))?;
        self.shown.iter().find(|(_, shown)| shown.contains(&found.oid)).map(|(source, _)| (source, found.oid))
    }

    /// What a source calls its types in a message, and what the agent may read instead.
    pub fn type_names(&self, source: &SourceName) -> &[(String, String)] {
        self.spoken.get(source).map_or(&[], Vec::as_slice)
    }

    /// Where the catalog shows a column of a source, by the source's OID and number: only for one of `relations` (alias names),
    /// and only when one alone can be meant.
    pub fn place(&self, source: &SourceName, oid: Oid, number: i16, relations: &[Box<str>]) -> Option<(Oid, i16)> {
        let places = self.places.get(&(source.clone(), oid))?;
        let mut named = places.iter().filter(|place| relations.contains(&place.relation));
        let (place, None) = (named.next()?, named.next()) else { return None };
        place.numbers.get(&number).map(|number| (place.oid, *number))
    }
}

impl ExposedColumn {
    /// Whether it is shown in the type it has at the source; some masks are text.
    fn type_of_source(&self) -> bool {
        match &self.mask {
            None | Some(Mask::Null | Mask::Constant(_)) => true,
            Some(Mask::Hash(_) | Mask::Last(_)) => false,
        }
    }
}

#[derive(Debug, Default)]
struct Builder {
    types: Vec<VisibleType>,
    shown: BTreeMap<SourceName, BTreeSet<Oid>>,
    plain: BTreeMap<SourceName, BTreeSet<Oid>>,
    /// OIDs in use, by catalog: a type of a second source may have the OID of one of the first.
    taken: BTreeSet<(&'static str, Oid)>,
    /// How a type is written: by source and OID.
    written: BTreeMap<(SourceName, Oid), String>,
    places: BTreeMap<(SourceName, Oid), Vec<Place>>,
}

impl Builder {
    fn schema(&mut self, schema: &ExposedSchema, catalog: &CatalogSnapshot, all: &[Arc<ExposedSchema>]) -> VisibleSchema {
        let relations = schema.relations.values().map(|relation| self.relation(relation, catalog, all)).collect();
        VisibleSchema { name: schema.name.clone(), oid: self.own_oid("pg_namespace", &[&schema.name]), relations }
    }

    fn relation(&mut self, relation: &ExposedRelation, catalog: &CatalogSnapshot, all: &[Arc<ExposedSchema>]) -> VisibleRelation {
        let kind = match catalog.relation(&relation.real_schema, &relation.real_name).map(|real| real.kind) {
            Some('v' | 'm') => 'v',
            Some(_) | None => 'r',
        };
        let names = [&*relation.schema, &*relation.name];
        let oids = [("pg_class", "relation"), ("pg_type", "row"), ("pg_type", "rows")]
            .map(|(catalog, what)| self.own_oid(catalog, &[what, names[0], names[1]]));
        let key_oids =
            [("pg_constraint", "key"), ("pg_class", "index")].map(|(catalog, what)| self.own_oid(catalog, &[what, names[0], names[1]]));
        self.place(relation, catalog, oids[0]);
        let foreign_keys = if kind == 'r' { self.foreign_keys(relation, catalog, all) } else { Vec::new() };
        let columns = relation.columns.iter().map(|column| VisibleColumn {
            name: column.name.clone(),
            type_name: if column.type_of_source() {
                self.type_name(&relation.source, column.type_oid, &column.type_name)
            } else {
                "text".to_owned()
            },
            not_null: column.not_null && column.mask != Some(Mask::Null),
            description: column.description.clone(),
        });
        let columns: Vec<VisibleColumn> = columns.collect();
        let primary_key = if kind == 'r' && is_key(relation) { relation.primary_key.clone() } else { Vec::new() };
        VisibleRelation {
            name: relation.name.clone(),
            kind,
            oids,
            columns,
            primary_key,
            key_oids,
            foreign_keys,
            description: relation.description.clone(),
        }
    }

    fn place(&mut self, relation: &ExposedRelation, catalog: &CatalogSnapshot, oid: Oid) {
        let shapes = &catalog.shapes.relations;
        let shape = shapes.iter().find(|shape| *shape.schema == *relation.real_schema && *shape.name == *relation.real_name);
        let (Some(shape), Some(real)) = (shape, catalog.relation(&relation.real_schema, &relation.real_name)) else { return };
        let number = |name: &str| real.columns.iter().position(|column| column.name == name).and_then(|at| shape.numbers.get(at).copied());
        let numbers = (1_i16..).zip(&relation.columns).filter_map(|(here, column)| Some((number(&column.name)?, here))).collect();
        let place = Place { relation: format!("{}.{}", relation.schema, relation.name).into(), oid, numbers };
        self.places.entry((relation.source.clone(), shape.oid)).or_default().push(place);
    }

    fn foreign_keys(
        &mut self,
        relation: &ExposedRelation,
        catalog: &CatalogSnapshot,
        all: &[Arc<ExposedSchema>],
    ) -> Vec<VisibleForeignKey> {
        let mut keys: Vec<VisibleForeignKey> = Vec::new();
        let of_it = |key: &&ForeignKey| *key.schema == *relation.real_schema && *key.relation == *relation.real_name;
        for key in catalog.shapes.foreign_keys.iter().filter(of_it) {
            let Some(target) = referenced(relation, key, all) else { continue };
            let Some(columns) = exposed(relation, &key.columns) else { continue };
            let Some(foreign_columns) = exposed(target, &key.foreign_columns) else { continue };
            let stem = format!("{}_{}", relation.name, columns.join("_"));
            let name = (0..=u16::MAX).map(|n| if n == 0 { format!("{stem}_fkey") } else { format!("{stem}_fkey{n}") });
            let name = name.into_iter().find(|name| keys.iter().all(|known| known.name != *name)).unwrap_or_default();
            keys.push(VisibleForeignKey {
                oid: self.own_oid("pg_constraint", &["foreign", &relation.schema, &relation.name, &name]),
                name,
                columns,
                references: (target.schema.clone(), target.name.clone()),
                foreign_columns,
                actions: [key.on_update, key.on_delete],
            });
        }
        keys
    }

    /// An OID from names; the next one where two names meet.
    fn own_oid(&mut self, catalog: &'static str, names: &[&str]) -> Oid {
        let digest = Sha256::digest(format!("{catalog} {names:?}"));
        let number = digest.first_chunk().map_or(0, |first: &[u8; 4]| u32::from_be_bytes(*first));
        let mut oid = FIRST_OWN_OID + number % OWN_OIDS;
        while !self.taken.insert((catalog, oid)) {
            oid += 1;
        }
        oid
    }
}

/// The relation that a key points to: by the names of its columns it must be that table's primary key as exposed, which is
/// what a foreign key in the catalog can point to. In the same schema first.
fn referenced<'a>(relation: &ExposedRelation, key: &ForeignKey, all: &'a [Arc<ExposedSchema>]) -> Option<&'a ExposedRelation> {
    let mut columns: Vec<&str> = key.foreign_columns.iter().map(AsRef::as_ref).collect();
    columns.sort_unstable();
    let points_to = |target: &&ExposedRelation| {
        let mut own: Vec<&str> = target.primary_key.iter().map(AsRef::as_ref).collect();
        own.sort_unstable();
        target.source == relation.source
            && *target.real_schema == *key.foreign_schema
            && *target.real_name == *key.foreign_relation
            && is_key(target)
            && own == columns
    };
    let in_schema = |schema: &'a Arc<ExposedSchema>| schema.relations.values().map(AsRef::as_ref).find(points_to);
    let own = all.iter().find(|schema| schema.name == relation.schema).and_then(in_schema);
    own.or_else(|| all.iter().find_map(in_schema))
}

/// Whether its primary key can be shown: every column of it exposed as it is.
fn is_key(relation: &ExposedRelation) -> bool {
    !relation.primary_key.is_empty() && exposed_names(relation, &relation.primary_key)
}

fn exposed_names(relation: &ExposedRelation, names: &[Box<str>]) -> bool {
    names.iter().all(|name| relation.columns.iter().any(|column| column.name == *name && column.mask.is_none()))
}

/// The columns of those names, if every one is exposed as it is.
fn exposed(relation: &ExposedRelation, names: &[String]) -> Option<Vec<Box<str>>> {
    let names: Vec<Box<str>> = names.iter().map(|name| name.as_str().into()).collect();
    exposed_names(relation, &names).then_some(names)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
