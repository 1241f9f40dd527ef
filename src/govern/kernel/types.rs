//! Casts to a type of the source: to an enum that the virtual catalog shows, by the name it is shown under, and to a type of a
//! reviewed extension, by that name or by its own.
//!
//! Nothing but the cast's type name is accepted here, with or without array bounds; every other place that names a type (column
//! definitions of functions, XMLTABLE) has built-in types only. Domains are left out: their checks are code of the source's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Form, Replacement, Scope, identifier, unverified, walk};
use crate::{
    govern::{Refusal, Request},
    policy::Source,
    sql::{
        Node, Tree, allow,
        catalog::{Oid, Type, TypeShape},
        extensions::ResolvedType,
    },
    types::SourceName,
};

/// The type names of a statement that stand for types of the source, by their place in the client's text.
#[derive(Debug, Default)]
pub(super) struct SourceTypes(BTreeMap<usize, SourceType>);

#[derive(Debug)]
struct SourceType {
    source: SourceName,
    /// As the client wrote it.
    written: Vec<Box<str>>,
    /// Schema and name at the source.
    real: [Box<str>; 2],
    /// Whether the value is converted when the statement runs, and not when it is parsed or bound.
    converts: bool,
}

impl SourceTypes {
    /// Those that casts name. What is not among them, the gate refuses, whether it is hidden or nowhere.
    /// `source` is that of the relations, if there are any.
    pub(super) fn named(request: &Request<'_>, tree: &Tree, source: Option<&SourceName>) -> Result<Self, Refusal> {
        let mut uses: HashMap<i64, usize> = HashMap::new();
        let mut casts = Vec::new();
        tree.each(&mut |node| match node.kind {
            "ParamRef" => *uses.entry(node.int("number").unwrap_or_default()).or_default() += 1,
            "TypeCast" => casts.push(node),
            // Other nodes are neither.
            _ => {}
        });
        let mut found = Self::default();
        for cast in casts {
            let Some(name) = cast.node("type_name")? else { continue };
            let Some((at, of)) = source_type(request, source, cast, name, &uses)? else { continue };
            if found.0.insert(at, of).is_some() {
                return Err(unverified("two types at one place"));
            }
        }
        Ok(found)
    }

    /// The tree with the real names, qualified.
    pub(super) fn rewritten(&self, tree: &Tree) -> Result<Tree, Refusal> {
        let mut tree = tree.clone();
        let mut seen = BTreeSet::new();
        let mut visit = |node: &Node, _: &Scope| -> Result<Option<Tree>, Refusal> {
            if node.kind != "TypeName" {
                return Ok(None);
            }
            let Some((at, of)) = node.location().and_then(|at| self.0.get_key_value(&at)) else { return Ok(None) };
            if !seen.insert(*at) || node.names("names")?.iter().ne(of.written.iter().map(|part| &**part).collect::<Vec<_>>().iter()) {
                return Err(unverified("two types at one place"));
            }
            let string = |part: &str| Tree::Node(Box::new(Node { kind: "String", fields: vec![("sval", Tree::Text(part.into()))] }));
            let fields = node.fields.iter().map(|(field, tree)| match *field {
                "names" => (*field, Tree::List(of.real.iter().map(|part| string(part)).collect())),
                _ => (*field, tree.clone()),
            });
            Ok(Some(Tree::Node(Box::new(Node { kind: node.kind, fields: fields.collect() }))))
        };
        walk(&mut tree, &Scope::default(), &mut visit)?;
        if seen.len() == self.0.len() { Ok(tree) } else { Err(unverified("a type that was not found again")) }
    }

    /// Where the client's text must change for it.
    pub(super) fn replacements(&self) -> impl Iterator<Item = Replacement> {
        let written = |of: &SourceType| of.real.iter().map(|part| identifier(part)).collect::<Vec<_>>().join(".");
        self.0.iter().map(move |(at, of)| Replacement { at: *at, form: Form::TypeName, sql: written(of) })
    }

    /// The sources they belong to.
    pub(super) fn sources(&self) -> impl Iterator<Item = &SourceName> {
        self.0.values().map(|of| &of.source)
    }

    /// Where they stand in the client's text.
    pub(super) fn places(&self) -> BTreeSet<usize> {
        self.0.keys().copied().collect()
    }

    /// Where those stand whose value is converted as the statement runs: that may fail.
    pub(super) fn converting(&self) -> BTreeSet<usize> {
        self.0.iter().filter(|(_, of)| of.converts).map(|(at, _)| *at).collect()
    }
}

fn source_type(
    request: &Request<'_>,
    preferred: Option<&SourceName>,
    cast: &Node,
    name: &Node,
    uses: &HashMap<i64, usize>,
) -> Result<Option<(usize, SourceType)>, Refusal> {
    let written = name.names("names")?;
    let (schema, wanted) = match written.as_slice() {
        [name] => (None, *name),
        [schema, name] if *schema != "pg_catalog" => (Some(*schema), *name),
        _ => return Ok(None),
    };
    if name.flag("setof")? || name.flag("pct_type")? {
        return Ok(None);
    }
    let Some((source, oid)) = request.agent.visible.type_named(schema, wanted, request.search_path) else {
        let found = if schema.is_none() { extension_type(request, preferred, wanted) } else { None };
        return found.map(|(source, of)| extension(request, (source, of), cast, name, uses)).transpose();
    };
    let catalog = request.policy.sources.get(source).map(|source| &source.catalog);
    if let Some(of) = catalog.and_then(|catalog| catalog.extensions.resolution().type_of(oid)) {
        // A column of the result goes by the type's last name: the source's own.
        return if *of.name == *wanted { extension(request, (source, (oid, of)), cast, name, uses).map(Some) } else { Ok(None) };
    }
    let Some(shape) = catalog.and_then(|catalog| catalog.shapes.types.get(&oid)) else { return Ok(None) };
    if shape.kind != 'e' || !name.list("typmods")?.is_empty() {
        return Ok(None);
    }
    let built_in = |known: &Type| known.schema == "pg_catalog" && known.name == wanted;
    if schema.is_none() && catalog.is_some_and(|catalog| catalog.types.values().any(built_in)) {
        return Ok(None);
    }
    let array = !name.list("array_bounds")?.is_empty();
    let known = Known { request, uses, oids: [oid, shape.array], array };
    let converts = !known.is_direct(cast.field("arg")?);
    // A column of the result goes by the type's last name: the source's own. And a cast that the source defines by a function
    // of its own would run that function.
    if shape.name != wanted || (converts && shape.cast_by_function) {
        return Ok(None);
    }
    let at = name.location().ok_or_else(|| unverified("a type without a place"))?;
    Ok(Some((at, SourceType { source: source.clone(), written: boxed(&written), real: real(shape), converts })))
}

/// A type of an extension by its own name: at the source of the statement's relations, or at the first that has it.
fn extension_type<'a>(
    request: &Request<'a>,
    preferred: Option<&SourceName>,
    name: &str,
) -> Option<(&'a SourceName, (Oid, &'a ResolvedType))> {
    if allow::cast_type(name).is_ok() {
        return None;
    }
    let sources = request.agent.schemas.iter().map(|schema| &schema.source);
    let mut sources = sources.filter(|source| preferred.is_none_or(|preferred| preferred == *source));
    sources.find_map(|source| {
        let known: &'a Source = request.policy.sources.get(source)?;
        Some((&known.name, known.catalog.extensions.resolution().type_named(name)?))
    })
}

/// A cast to a type of an extension. How its values are converted was reviewed; that may fail on a value, as the check of a
/// modifier may.
fn extension(
    request: &Request<'_>,
    (source, (oid, of)): (&SourceName, (Oid, &ResolvedType)),
    cast: &Node,
    name: &Node,
    uses: &HashMap<i64, usize>,
) -> Result<(usize, SourceType), Refusal> {
    let known = Known { request, uses, oids: [oid, of.array], array: !name.list("array_bounds")?.is_empty() };
    let converts = !name.list("typmods")?.is_empty() || !known.is_direct(cast.field("arg")?);
    let at = name.location().ok_or_else(|| unverified("a type without a place"))?;
    let real = [of.schema.clone(), of.name.clone()];
    Ok((at, SourceType { source: source.clone(), written: boxed(&name.names("names")?), real, converts }))
}

fn boxed(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn real(shape: &TypeShape) -> [Box<str>; 2] {
    [shape.schema.as_str().into(), shape.name.as_str().into()]
}

/// What a cast is to, and what its parameters are.
struct Known<'a> {
    request: &'a Request<'a>,
    uses: &'a HashMap<i64, usize>,
    /// The type and its array.
    oids: [Oid; 2],
    array: bool,
}

impl Known<'_> {
    /// Whether PostgreSQL reads the value as the type itself, by the type's input function and before any row: a string, NULL, a
    /// parameter that the cast gives its type, or an array written out of these (`coerce_type`, `transformArrayExpr`).
    fn is_direct(&self, value: &Tree) -> bool {
        let Some(node) = value.as_node() else { return false };
        match node.kind {
            "AConst" => node.flag("isnull") == Ok(true) || node.field("val").is_ok_and(|value| value.string().is_some()),
            "ParamRef" => node.int("number").is_ok_and(|number| self.takes_its_type(number)),
            "AArrayExpr" if self.array => {
                node.list("elements").is_ok_and(|elements| elements.iter().all(|element| self.is_direct(element)))
            }
            _ => false,
        }
    }

    fn takes_its_type(&self, number: i64) -> bool {
        let declared = usize::try_from(number - 1).ok().and_then(|place| self.request.declared_types.get(place)).copied();
        match declared.filter(|oid| *oid != 0 && *oid != 705) {
            Some(oid) => self.oids.contains(&oid),
            None => self.uses.get(&number) == Some(&1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::{
        RefusalCode, govern,
        tests::{STATUS, TEXT, fenced, governed, with},
    };

    #[test]
    fn a_cast_to_an_enum_that_the_client_sees_is_to_the_real_one() {
        for (text, sent) in [
            ("select 'open'::status", r#"select 'open'::"public"."status""#),
            ("select 'open'::s.status, $1 :: s . status", r#"select 'open'::"public"."status", $1 :: "public"."status""#),
            (
                "select cast($1 as \"s\".\"status\"), cast($2 as STATUS[])",
                r#"select cast($1 as "public"."status"), cast($2 as "public"."status"[])"#,
            ),
            (
                "select status 'open', null::status[3], '{}'::s.status array",
                r#"select "public"."status" 'open', null::"public"."status"[3], '{}'::"public"."status" array"#,
            ),
            ("select U&\"sta!0074us\" uescape '!' 'open'", r#"select "public"."status" 'open'"#),
            ("select 'open'/* a */::/* b */s/* c */./* d */status/* e */", r#"select 'open' :: "public"."status""#),
            (
                "select 'open'::kind, $1::s.kind[], array['a', null, $2]::kind[]",
                r#"select 'open'::"public"."kind", $1::"public"."kind"[], array['a', null, $2]::"public"."kind"[]"#,
            ),
            (
                "select max(x::text::status) from (values ('open'::status)) v(x)",
                r#"select max(x::text::"public"."status") from (values ('open'::"public"."status")) v(x)"#,
            ),
        ] {
            assert_eq!(governed(text), sent, "{text}");
        }
        assert!(
            governed(
                "select id from t where status = any(array[$1]::status[]) and id in (select id from c where 'open'::status is not null)"
            )
            .ends_with(r#"AS "c" where 'open'::"public"."status" is not null)"#)
        );
    }

    #[test]
    fn an_unqualified_type_is_looked_for_in_the_search_path() {
        let text = "select 'open'::status";
        let code = |path: &[Box<str>]| {
            with(text, &[], |request| govern(&Request { search_path: path, ..*request }).map_err(|refusal| refusal.code))
        };
        assert!(code(&["nowhere".into(), "s".into()]).is_ok());
        assert_eq!(code(&[]).unwrap_err(), RefusalCode::UndefinedObject);
        assert_eq!(code(&["public".into()]).unwrap_err(), RefusalCode::UndefinedObject);
    }

    #[test]
    fn a_cast_to_an_enum_is_leakproof_where_it_is_done_before_any_row_is_read() {
        for text in [
            "select * from t where status = 'open'::status",
            "select * from t where status = $1::status and id = 1",
            "select * from t where status in ($1::status, 'open'::s.status)",
            "select * from t where status = any($1::status[])",
            "select * from t where status = any('{open}'::status[]) or status is distinct from null::status",
            "select * from t where status <> all(array[$1, 'open']::status[])",
            "select subject::status from t",
            "select * from t where status::status = 'open'",
            "select * from t where $1::status is null and id = 1",
        ] {
            assert_eq!(fenced(text), None, "{text}");
        }
        for text in [
            "select * from t where subject::status = 'open'",
            "select * from t where status = subject::status",
            "select * from t where status = 'open'::text::status",
            "select * from t where status = lower('OPEN')::status",
            "select * from t where status = $1::text::status",
            "select * from t where subject = $1 and status = $1::status",
            "select * from t where status = any(array[subject]::status[])",
            "select * from t where status = any(string_to_array('a', 'b')::status[])",
            "select * from (select 'x'::text::status as y from t) x",
            "select * from t where id = 1 and 'x'::text::status = 'open'",
            "select * from t where exists (select 1 from c where c.name::status = 'open')",
            "select * from t join c on c.name::status = t.status",
            "select status from t group by status having status::text::status = 'open'",
        ] {
            assert!(fenced(text).is_some(), "{text}: {}", governed(text));
        }
        let declared = |oid| with("select * from t where status = $1::status", &[oid], |request| govern(request).unwrap().fenced());
        assert_eq!([0, 705, STATUS, STATUS + 1, TEXT].map(declared), [false, false, false, true, true]);
        let sent = governed("select * from t where status = $1::status and 'x' ~ subject");
        assert!(sent.contains(r#"AND (("status") = (($1)::"public"."status")) OFFSET 0"#), "{sent}");
    }

    #[test]
    fn any_other_type_is_refused_hidden_or_nowhere() {
        for (text, refusal) in [
            ("select 'x'::public.status", "REFUSED 42704 type \"status\" is not available"),
            ("select 'x'::hr.salary", "REFUSED 42704 type \"salary\" is not available"),
            ("select 'x'::hr.nowhere", "REFUSED 42704 type \"nowhere\" is not available"),
            ("select 'x'::salary", "REFUSED 42704 type \"salary\" is not available: it is not a built-in type"),
            ("select 'x'::nowhere", "REFUSED 42704 type \"nowhere\" is not available: it is not a built-in type"),
            ("select 'x'::pg_catalog.status", "REFUSED 42704"),
            ("select 'x'::pg_temp.status", "REFUSED 42704"),
            ("select 'x'::other.s.status", "REFUSED 0A000 cross-database references are not implemented: other.s.status"),
            ("select 'x'::\"Status\"", "REFUSED 42704"),
            ("select 'x'::\"s.status\"", "REFUSED 42704"),
            ("select 'x'::_status", "REFUSED 42704"),
            ("select 'x'::s._status", "REFUSED 42704"),
            ("select 'x'::status(1)", "REFUSED 42704"),
            ("select null::setof status", "REFUSED 0A000"),
            ("select null::t", "REFUSED 42704"),
            ("select 'x'::code", "REFUSED 42704"),
            ("select (select 'x'::s.code)", "REFUSED 42704"),
            ("select kind::text::kind from m", "REFUSED 42704"),
            ("select * from jsonb_to_recordset('[]') as r(a status)", "REFUSED 42704"),
            ("select * from xmltable('/a' passing '<a/>' columns x s.status path 'b')", "REFUSED 42704"),
            ("select status('open')", "REFUSED 42883"),
        ] {
            let answer = governed(text);
            assert!(answer.starts_with(refusal), "{text}: {answer}");
        }
    }
}
