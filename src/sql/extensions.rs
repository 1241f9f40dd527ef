//! The reviewed extensions of a source: what is installed, and which of their schemas a session may resolve names in.
//!
//! PostgreSQL itself finds the operator of `c = 'x'`, of `IN`, of `CASE x WHEN`, of `JOIN USING`: by the types of the operands, among
//! the operators of the schemas in `search_path`. So the sessions of a source have `pg_catalog` in it and, after that, the schemas
//! of its reviewed extensions, each only while nothing else in that schema could be found in place of what was reviewed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use super::{
    allow,
    catalog::{CatalogSnapshot, Oid, Operator},
};

/// What a source has of the reviewed extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// Those installed, by name.
    pub installed: Vec<Extension>,
    /// The schemas they are in.
    pub schemas: Vec<ExtensionSchema>,
    #[serde(skip)]
    resolution: Memo,
}

/// An installed extension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// `extname`
    pub name: String,
    /// `extversion`
    pub version: String,
    /// Its schema.
    pub schema: String,
    /// Its base types, by OID.
    pub types: BTreeMap<Oid, ExtensionType>,
    /// Its operators; the arguments are those of the operator.
    pub operators: Vec<Routine>,
    /// Its functions.
    pub functions: Vec<Routine>,
    /// Members that are in another schema, and casts of its types that are not members: what they are, in words.
    pub astray: Vec<String>,
}

/// A base type of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionType {
    /// `typname`
    pub name: String,
    /// `typarray`
    pub array: Oid,
}

/// A function or an operator of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routine {
    /// Its name.
    pub name: String,
    /// The names of its argument types, with a comma between; `-` for none.
    pub arguments: String,
    /// `provolatile`
    pub volatility: char,
    /// The name of its result's type; empty in a snapshot that was saved before it was read.
    #[serde(default)]
    pub result: String,
}

/// A schema that a reviewed extension is in, and what else is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionSchema {
    /// Its name.
    pub name: String,
    /// Whether the credential has USAGE on it: PostgreSQL passes over a schema without it, and says nothing.
    pub usable: bool,
    /// Names of operators that no reviewed extension brought.
    pub operators: Vec<String>,
    /// Names of such functions.
    pub functions: Vec<String>,
    /// Names of such types that can be called like a function: all but composite ones.
    pub types: Vec<String>,
}

impl ExtensionSchema {
    /// What in it could be found in place of a reviewed or built-in function or operator, in words.
    pub fn intruder(&self) -> Option<String> {
        if !self.usable {
            return Some("the credential has no USAGE on that schema".to_owned());
        }
        let operator = self.operators.iter().find(|name| allow::operator(name) || allow::is_extension_name(name));
        let called = |name: &&String| allow::is_callable(name) || allow::is_extension_name(name);
        let function = self.functions.iter().find(called).map(|name| format!("function {name}"));
        let named = self.types.iter().find(called).map(|name| format!("type {name}"));
        let found = operator.map(|name| format!("operator {name}")).or(function).or(named);
        found.map(|what| format!("the schema also holds {what}, which the extension did not bring and which could be run in its place"))
    }
}

impl Extension {
    /// What in it was not reviewed and could be found in place of what was, in words.
    fn unreviewed(&self) -> Option<String> {
        let Some(list) = allow::reviewed_extension(&self.name) else { return Some("it was not reviewed".to_owned()) };
        if let Some(what) = self.astray.first() {
            return Some(what.clone());
        }
        let version = |what: String| format!("version {} has {what}, which was not reviewed", self.version);
        let operator = self.operators.iter().find(|of| list.operator(&of.name, &of.arguments).is_none_or(|known| known.0 != of.volatility));
        if let Some(operator) = operator {
            return Some(version(format!("operator {}({})", operator.name, operator.arguments)));
        }
        let known = |of: &Routine| list.function(&of.name, &of.arguments).is_some_and(|known| known.volatility == of.volatility);
        let callable = |name: &str| allow::is_callable(name) || !list.functions_named(name).is_empty();
        let function = self.functions.iter().find(|of| !known(of) && callable(&of.name));
        function.map(|function| version(format!("function {}({})", function.name, function.arguments)))
    }
}

/// What may be resolved by name, and what may not and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Schemas, in the order in which names are looked up after `pg_catalog`.
    path: Vec<Box<str>>,
    types: BTreeMap<Oid, ResolvedType>,
    /// Functions that may be called, and the most volatile of each name.
    functions: BTreeMap<Box<str>, char>,
    operators: BTreeSet<Box<str>>,
    leakproof: BTreeSet<Operator>,
    /// Functions of the extensions that may not be called, and functions and types beside them in the path.
    closed: BTreeSet<Box<str>>,
    /// Extensions that are not used.
    unused: BTreeMap<Box<str>, Unused>,
    /// Their types, with the name of the extension.
    unused_types: BTreeMap<Oid, Box<str>>,
}

/// A type of an extension that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedType {
    /// Real schema.
    pub schema: Box<str>,
    /// Real name.
    pub name: Box<str>,
    /// The OID of its array.
    pub array: Oid,
}

/// Why an extension is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// The schema it is in. Real: for the operator, never for a client.
    pub schema: Box<str>,
    /// Why. Names real objects, too.
    pub why: String,
}

impl Extensions {
    /// What was read of a source.
    pub fn new(installed: Vec<Extension>, schemas: Vec<ExtensionSchema>) -> Self {
        Self { installed, schemas, resolution: Memo::default() }
    }

    /// What may be resolved; worked out once.
    pub fn resolution(&self) -> &Arc<Resolution> {
        self.resolution.0.get_or_init(|| Arc::new(self.resolve()))
    }

    fn resolve(&self) -> Resolution {
        let mut resolution = Resolution::default();
        for extension in &self.installed {
            let schema = self.schemas.iter().find(|schema| schema.name == extension.schema);
            let intruder = schema.map_or_else(|| Some("its schema was not read".to_owned()), ExtensionSchema::intruder);
            // One extension that is not as reviewed spoils the schema for those beside it.
            let mut beside = self.installed.iter().filter(|other| other.schema == extension.schema);
            let unreviewed = beside.find_map(|other| Some(format!("extension {}: {}", other.name, other.unreviewed()?)));
            match intruder.or(unreviewed) {
                Some(why) => {
                    let numbers = extension.types.iter().flat_map(|(oid, of)| [*oid, of.array]);
                    resolution.unused_types.extend(numbers.map(|oid| (oid, extension.name.as_str().into())));
                    let unused = Unused { schema: extension.schema.as_str().into(), why };
                    resolution.unused.insert(extension.name.as_str().into(), unused);
                }
                None => resolution.take(extension),
            }
        }
        for schema in self.schemas.iter().filter(|schema| resolution.path.iter().any(|known| **known == *schema.name)) {
            resolution.closed.extend(schema.functions.iter().chain(&schema.types).map(|name| name.as_str().into()));
        }
        resolution
    }
}

impl Resolution {
    fn take(&mut self, extension: &Extension) {
        if self.path.iter().all(|known| **known != *extension.schema) {
            self.path.push(extension.schema.as_str().into());
        }
        let Some(list) = allow::reviewed_extension(&extension.name) else { return };
        let by_name: BTreeMap<&str, Oid> = extension.types.iter().map(|(oid, of)| (of.name.as_str(), *oid)).collect();
        for (oid, of) in &extension.types {
            let resolved = ResolvedType { schema: extension.schema.as_str().into(), name: of.name.as_str().into(), array: of.array };
            self.types.insert(*oid, resolved);
        }
        for operator in &extension.operators {
            self.operators.insert(operator.name.as_str().into());
            let leakproof = list.operator(&operator.name, &operator.arguments).is_some_and(|(_, leakproof)| leakproof);
            let sides = operator.arguments.split_once(',').and_then(|(left, right)| Some((*by_name.get(left)?, *by_name.get(right)?)));
            if let Some((left, right)) = sides.filter(|_| leakproof) {
                self.leakproof.insert(Operator { name: operator.name.clone(), left, right });
            }
        }
        for function in &extension.functions {
            let name: Box<str> = function.name.as_str().into();
            if list.function(&function.name, &function.arguments).is_some_and(|known| known.allowed) {
                let volatility = self.functions.entry(name).or_insert('i');
                // `i` before `s` before `v`.
                *volatility = (*volatility).max(function.volatility);
            } else {
                self.closed.insert(name);
            }
        }
    }

    /// The sessions' `search_path`.
    pub fn search_path(&self) -> String {
        let quoted = |schema: &str| format!(", \"{}\"", schema.replace('"', "\"\""));
        self.path.iter().fold("pg_catalog".to_owned(), |path, schema| path + &quoted(schema))
    }

    /// Schemas in the path besides `pg_catalog`.
    pub fn path(&self) -> &[Box<str>] {
        &self.path
    }

    /// Whether an operator of that name is an extension's.
    pub fn operator(&self, name: &str) -> bool {
        self.operators.contains(name)
    }

    /// The volatility of an extension's function that may be called.
    pub fn function(&self, name: &str) -> Option<char> {
        self.functions.get(name).copied()
    }

    /// Whether something of that name stands in the path and must not be run: `(x).name` could be a call of it.
    pub fn is_closed(&self, name: &str) -> bool {
        self.closed.contains(name) && !self.functions.contains_key(name)
    }

    /// Whether an operator on types of an extension is leakproof by our argument.
    pub fn leakproof(&self, name: &str, left: Oid, right: Oid) -> bool {
        !self.leakproof.is_empty() && self.leakproof.contains(&Operator { name: name.to_owned(), left, right })
    }

    /// A type of an extension in the path.
    pub fn type_of(&self, oid: Oid) -> Option<&ResolvedType> {
        self.types.get(&oid)
    }

    /// The type of an extension that this is an array of.
    pub fn element(&self, array: Oid) -> Option<Oid> {
        self.types.iter().find(|(_, of)| of.array == array).map(|(oid, _)| *oid)
    }

    /// Such a type by its name.
    pub fn type_named(&self, name: &str) -> Option<(Oid, &ResolvedType)> {
        self.types.iter().find(|(_, of)| *of.name == *name).map(|(oid, of)| (*oid, of))
    }

    /// Extensions that are not used, and why.
    pub fn unused(&self) -> impl Iterator<Item = (&str, &Unused)> {
        self.unused.iter().map(|(name, unused)| (&**name, unused))
    }
}

/// A type whose operators a session does not resolve as PostgreSQL does where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignType<'a> {
    /// Its name.
    pub name: &'a str,
    /// The reviewed extension that brought it.
    pub extension: Option<&'a str>,
}

impl CatalogSnapshot {
    /// The base type in `oid`, however deep, that is neither built in nor an extension's in the path.
    pub fn foreign(&self, oid: Oid) -> Option<ForeignType<'_>> {
        let resolution = self.extensions.resolution();
        let (mut seen, mut next) = (BTreeSet::new(), vec![oid]);
        while let Some(oid) = next.pop() {
            if oid < super::catalog::FIRST_NORMAL_OID || resolution.types.contains_key(&oid) || !seen.insert(oid) {
                continue;
            }
            let unused = resolution.unused_types.get(&oid).map(|extension| &**extension);
            let Some(shape) = self.shapes.types.get(&oid) else {
                // A snapshot that was saved before shapes were read.
                let known = self.types.get(&oid);
                match known.filter(|known| known.base != 0 || matches!(known.kind, 'e' | 'c')) {
                    Some(known) if known.base != 0 => next.push(known.base),
                    Some(_) => {}
                    None => return Some(ForeignType { name: known.map_or("another type", |known| &known.name), extension: unused }),
                }
                continue;
            };
            if shape.kind == 'b' && shape.element == 0 {
                return Some(ForeignType { name: &shape.name, extension: unused });
            }
            next.extend([shape.base, shape.element].into_iter().filter(|oid| *oid != 0));
            next.extend(shape.range.as_ref().map(|of| of.subtype));
            next.extend(shape.attributes.iter().map(|attribute| attribute.type_oid));
        }
        None
    }

    /// The names of the attributes of a type, and of what it is made of, that are of such types.
    pub fn foreign_attributes(&self, oid: Oid) -> Vec<Box<str>> {
        let (mut names, mut seen, mut next) = (Vec::new(), BTreeSet::new(), vec![oid]);
        while let Some(shape) = next.pop().filter(|oid| seen.insert(*oid)).map(|oid| self.shapes.types.get(&oid)) {
            let Some(shape) = shape else { continue };
            next.extend([shape.base, shape.element].into_iter().filter(|oid| *oid != 0));
            for attribute in &shape.attributes {
                next.push(attribute.type_oid);
                if self.foreign(attribute.type_oid).is_some() {
                    names.push(attribute.name.as_str().into());
                }
            }
        }
        names
    }
}

/// Worked out on demand; says nothing about what it was worked out from.
#[derive(Debug, Clone, Default)]
struct Memo(OnceLock<Arc<Resolution>>);

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}
