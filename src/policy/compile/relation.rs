//! Alias schemas and their relations, held against the catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Compiler, filter, names, tenant, writes};
use crate::{
    policy::{
        Bundle, EvidenceRows, ExposedColumn, ExposedRelation, ExposedSchema, Mask, OnLimit, TenantRule,
        decode::{Given, Spanned},
        document::{EvidenceDocument, MaskDocument, RelationDocument, SchemaDocument},
        problem::{Place, shown, suggest},
        reference::SecretReference,
    },
    sql::{
        allow,
        canonical::{self, TextForm},
        catalog::{CatalogSnapshot, Column, Oid, Relation},
        literal,
    },
    types::{Secret, SourceName},
};

/// Bytes of rows that evidence keeps of one statement unless the policy says otherwise.
const EVIDENCE_BYTES: u64 = 16 << 20;
/// Rows that `evidence: sample` keeps unless the policy says otherwise.
const SAMPLE_ROWS: u64 = 10;

/// One alias schema. Relations that could not be compiled are left out (and noted).
pub(super) fn schema(
    compiler: &mut Compiler<'_>,
    bundle: &Bundle,
    name: &Spanned<String>,
    schema: &SchemaDocument,
) -> Option<ExposedSchema> {
    let usable = names::check_schema(compiler, &name.value, &name.at);
    let document = &bundle.document;
    if !document.sources.names().any(|source| source.value == schema.source.value) {
        let known = document.sources.names().map(|source| source.value.as_str());
        let hint = suggest(&schema.source, known).or_else(|| Some("define it under `sources`".to_owned()));
        compiler.problems.error(&schema.source.at, format!("there is no source {}", shown(&schema.source))).hint = hint;
    }
    if schema.relations.names().next().is_none() {
        compiler.problems.warn(&name.at, format!("schema `{}` has no relations", name.value));
    }
    let source: Option<SourceName> = schema.source.parse().ok();
    let catalog = source.as_ref().and_then(|source| compiler.catalog(source));
    let mask_key = schema.mask_key.as_ref().or(document.mask_key.as_ref());
    let source = source?;
    let mut relations = BTreeMap::new();
    for (alias, relation) in schema.relations.iter() {
        let context = Context { schema: &name.value, source: &source, catalog: catalog.as_deref(), mask_key };
        if let Some(relation) = compile(compiler, &context, alias, relation) {
            relations.insert(alias.value.as_str().into(), Arc::new(relation));
        }
    }
    usable.then(|| ExposedSchema { name: name.value.as_str().into(), source, relations })
}

struct Context<'a> {
    schema: &'a str,
    source: &'a SourceName,
    catalog: Option<&'a CatalogSnapshot>,
    mask_key: Option<&'a SecretReference>,
}

/// What is being compiled, and the real relation when there is a catalog.
pub(super) struct Real<'a> {
    pub(super) document: &'a RelationDocument,
    catalog: &'a CatalogSnapshot,
    pub(super) relation: &'a Relation,
}

fn compile(
    compiler: &mut Compiler<'_>,
    context: &Context<'_>,
    alias: &Spanned<String>,
    document: &Spanned<RelationDocument>,
) -> Option<ExposedRelation> {
    names::check_alias(compiler, "relation", &alias.value, &alias.at);
    let filter_form = document.filter.as_ref().map(|text| filter::parse(compiler, text));
    check_form(compiler, document);
    check_mask_keys(compiler, context, document);
    let real = real(compiler, context, document)?;
    let columns = columns(compiler, context, &real);
    let tenant = tenant_rule(compiler, &real);
    let primary_key = primary_key(compiler, &real);
    let writes = writes::writes(compiler, &real, &primary_key);
    let filter = match filter_form {
        None => None,
        Some(parsed) => Some(filter::resolve(compiler, &parsed?, document.filter.as_ref()?, real.relation, real.catalog)?),
    };
    Some(ExposedRelation {
        schema: context.schema.into(),
        name: alias.value.as_str().into(),
        source: context.source.clone(),
        real_schema: real.relation.schema.as_str().into(),
        real_name: real.relation.name.as_str().into(),
        columns,
        tenant: tenant?,
        filter,
        primary_key,
        max_rows: document.max_rows.as_ref().map(|rows| rows.value),
        max_bytes: document.max_bytes.map(|bytes| bytes.0),
        on_limit: document.on_limit.unwrap_or(OnLimit::Error),
        evidence: evidence(document.evidence),
        description: document.description.as_deref().map(Into::into),
        writes,
    })
}

fn evidence(document: Option<EvidenceDocument>) -> EvidenceRows {
    match document {
        None => EvidenceRows::Full { max_bytes: EVIDENCE_BYTES },
        Some(EvidenceDocument::Full { max_bytes }) => EvidenceRows::Full { max_bytes: max_bytes.map_or(EVIDENCE_BYTES, |bytes| bytes.0) },
        Some(EvidenceDocument::Digest) => EvidenceRows::Digest,
        Some(EvidenceDocument::Sample { rows }) => EvidenceRows::Sample { rows: rows.unwrap_or(SAMPLE_ROWS) },
    }
}

/// What can be said without the catalog.
fn check_form(compiler: &mut Compiler<'_>, document: &Spanned<RelationDocument>) {
    const BOTH: &str =
        "write `tenant_column: column` for rows of tenants, or `single_tenant: true` when the relation holds no tenant's rows";
    let (column, single) = (&document.tenant_column, &document.single_tenant);
    if matches!(column, Given::Wrong) || matches!(single, Given::Wrong) {
        return check_columns(compiler, document);
    }
    match (column.value(), single.value()) {
        (Some(_), Some(single)) if single.value => {
            compiler.problems.error(&single.at, "`single_tenant: true` and `tenant_column` exclude each other").hint(BOTH);
        }
        (None, None) => {
            compiler.problems.error(&document.at, "whose rows are these? neither `tenant_column` nor `single_tenant` is given").hint(BOTH);
        }
        (None, Some(single)) if !single.value => {
            compiler.problems.error(&single.at, "`single_tenant: false` needs a `tenant_column`").hint(BOTH);
        }
        (Some(_) | None, _) => {}
    }
    check_columns(compiler, document);
}

fn check_columns(compiler: &mut Compiler<'_>, document: &Spanned<RelationDocument>) {
    if document.columns.is_empty() {
        compiler
            .problems
            .error(&document.at, "no columns: agents could see nothing of this relation")
            .hint("list the columns agents may see");
    }
    duplicates(compiler, "columns", &document.columns);
    duplicates(compiler, "primary_key", document.primary_key.as_deref().unwrap_or_default());
    for rows in document.max_rows.iter().filter(|rows| rows.value == 0) {
        compiler.problems.error(&rows.at, "`max_rows: 0` would refuse every row").hint("write 1 or more, or remove it");
    }
    let exposed: Vec<&str> = document.columns.iter().map(|column| column.value.as_str()).collect();
    let keys =
        [("masks", document.masks.names().collect::<Vec<_>>()), ("column_descriptions", document.column_descriptions.names().collect())];
    for (section, keys) in keys {
        for key in keys.into_iter().filter(|key| !exposed.contains(&key.value.as_str())) {
            let message = format!("`{section}` names {}, which is not in `columns`", shown(&key.value));
            compiler.problems.error(&key.at, message).hint = suggest(&key.value, exposed.iter().copied());
        }
    }
}

pub(super) fn duplicates(compiler: &mut Compiler<'_>, section: &str, list: &[Spanned<String>]) {
    for (index, item) in list.iter().enumerate() {
        if list.iter().take(index).any(|earlier| earlier.value == item.value) {
            compiler.problems.error(&item.at, format!("{} is twice in `{section}`", shown(&item.value)));
        }
    }
}

fn check_mask_keys(compiler: &mut Compiler<'_>, context: &Context<'_>, document: &RelationDocument) {
    for (column, mask) in document.masks.iter() {
        if *mask == MaskDocument::Hash && context.mask_key.is_none() {
            compiler
                .problems
                .error(&column.at, "a `hash` mask needs a key")
                .hint("give `mask_key: \"env:NAME\"` in the schema or at the top of a file");
        }
        if *mask == MaskDocument::Last(0) {
            compiler
                .problems
                .error(&column.at, "`last: 0` shows nothing")
                .hint("write `null` or `{constant: \"***\"}`, or a number of characters");
        }
    }
}

/// The real relation, when there is a catalog that has it.
fn real<'a>(compiler: &mut Compiler<'_>, context: &Context<'a>, document: &'a Spanned<RelationDocument>) -> Option<Real<'a>> {
    let from = &document.from;
    let Some((schema, name)) = names::qualified(from) else {
        compiler
            .problems
            .error(&from.at, format!("{} is not `schema.relation`", shown(from)))
            .hint("name the schema, for example `public.tickets`; quote parts with odd characters: `public.\"My Table\"`");
        return None;
    };
    if schema.starts_with("pg_") || schema == "information_schema" {
        compiler.problems.error(&from.at, "system schemas cannot be exposed").hint("expose a relation of your own schemas");
        return None;
    }
    let catalog = context.catalog?;
    let Some(relation) = catalog.relation(&schema, &name) else {
        let known: Vec<String> = catalog.relations.iter().map(|relation| format!("{}.{}", relation.schema, relation.name)).collect();
        let hint = suggest(&format!("{schema}.{name}"), known.iter().map(String::as_str));
        compiler.problems.error(&from.at, format!("source `{}` has no relation {}", context.source, shown(from))).hint = hint;
        return None;
    };
    match relation.kind {
        'r' | 'p' | 'f' => {}
        'v' | 'm' => compiler
            .problems
            .warn(&from.at, format!("{} is a view: its own definition and functions are trusted input", shown(from)))
            .hint("make sure it shows each tenant's rows under the tenant column, and calls nothing that writes"),
        kind => compiler.problems.error(&from.at, format!("relations of kind `{kind}` cannot be exposed")).hint("expose a table or a view"),
    }
    if relation.columns.iter().any(|column| column.collation.is_none()) {
        let message = format!(
            "the saved catalog of source `{}` does not say what of {} is stored: its statements are fenced",
            context.source,
            shown(from)
        );
        compiler.problems.warn(&from.at, message).hint("save it again: pgwicket policy check --live --save-catalog");
    }
    Some(Real { document, catalog, relation })
}

impl<'a> Real<'a> {
    /// A column by its name in the policy; noted when it is missing or unreadable.
    pub(super) fn column(&self, compiler: &mut Compiler<'_>, name: &str, at: &Place) -> Option<&'a Column> {
        let Some(column) = self.relation.columns.iter().find(|column| column.name == name) else {
            let message = format!("`{}.{}` has no column {}", self.relation.schema, self.relation.name, shown(name));
            let known = self.relation.columns.iter().map(|column| column.name.as_str());
            compiler.problems.error(at, message).hint = suggest(name, known);
            return None;
        };
        if !column.readable && !self.relation.readable {
            let table = format!("{}.{}", self.relation.schema, self.relation.name);
            compiler
                .problems
                .error(at, format!("the source's credential may not read `{table}.{name}`"))
                .hint(format!("grant select ({name}) on {table} to it, or remove the column"));
        }
        Some(column)
    }
}

fn columns(compiler: &mut Compiler<'_>, context: &Context<'_>, real: &Real<'_>) -> Vec<ExposedColumn> {
    let mut exposed = Vec::new();
    for name in &real.document.columns {
        let Some(column) = real.column(compiler, &name.value, &name.at) else { continue };
        let base = real.catalog.base_type(column.type_oid);
        check_type(compiler, real.catalog, base, name);
        check_operators(compiler, real.catalog, column, name);
        let mask = real.document.masks.named(&name.value).and_then(|mask| compile_mask(compiler, context, mask, column, real));
        exposed.push(ExposedColumn {
            name: column.name.as_str().into(),
            type_oid: column.type_oid,
            base_type_oid: base,
            type_name: column.type_name.as_str().into(),
            not_null: column.not_null,
            deterministic_collation: column.deterministic_collation,
            collation: column.collation,
            stored: column.stored,
            mask,
            description: real.document.column_descriptions.named(&name.value).map(|text| text.as_str().into()),
        });
    }
    exposed
}

/// An untyped literal beside a `regclass` is looked up in the source's own catalog, where hidden names are; so is one in a row.
fn check_type(compiler: &mut Compiler<'_>, catalog: &CatalogSnapshot, base: Oid, name: &Spanned<String>) {
    let parts = parts(catalog, base).into_iter().filter_map(|oid| catalog.types.get(&oid));
    let mut built_in = parts.filter(|known| known.schema == "pg_catalog" && matches!(known.kind, 'b' | 'p' | 'c'));
    if let Some((known, class)) = built_in.find_map(|known| Some((known, allow::cast_type(&known.name).err()?))) {
        compiler
            .problems
            .error(&name.at, format!("columns of type {} cannot be exposed: {}", known.name, class.reason))
            .hint("leave the column out, or expose a view that casts it to text");
    }
}

/// The operators of a type that is not an extension's in the sessions' path are refused to agents.
fn check_operators(compiler: &mut Compiler<'_>, catalog: &CatalogSnapshot, column: &Column, name: &Spanned<String>) {
    let Some(foreign) = catalog.foreign(column.type_oid) else { return };
    let shown = shown(&name.value);
    let resolution = catalog.extensions.resolution();
    let unused = foreign.extension.and_then(|extension| resolution.unused().find(|(unused, _)| *unused == extension));
    let Some((extension, unused)) = unused else {
        compiler
            .problems
            .warn(
                &name.at,
                format!("type {} of {shown} is neither built in nor of a reviewed extension: its operators are refused", foreign.name),
            )
            .hint("agents can select it and cast it to text; docs/EXTENSIONS.md has the reviewed extensions");
        return;
    };
    let message =
        format!("the operators of {shown} are refused: extension {extension} in schema {} is not used: {}", unused.schema, unused.why);
    let hint = format!("move it into a schema of its own: create schema extensions; alter extension {extension} set schema extensions");
    compiler.problems.warn(&name.at, message).hint(format!("{hint} (docs/EXTENSIONS.md)"));
}

/// A type and what it is made of, however deep.
fn parts(catalog: &CatalogSnapshot, oid: Oid) -> BTreeSet<Oid> {
    let mut parts = BTreeSet::new();
    let mut next = vec![oid];
    while let Some(oid) = next.pop() {
        if let Some(shape) = catalog.shapes.types.get(&oid).filter(|_| parts.insert(oid)) {
            let range = shape.range.as_ref().map(|of| of.subtype);
            next.extend([shape.base, shape.element].into_iter().filter(|oid| *oid != 0).chain(range));
            next.extend(shape.attributes.iter().map(|attribute| attribute.type_oid));
        } else {
            parts.insert(oid);
        }
    }
    parts
}

fn compile_mask(compiler: &mut Compiler<'_>, context: &Context<'_>, mask: &MaskDocument, column: &Column, real: &Real<'_>) -> Option<Mask> {
    let at = &real.document.masks.names().find(|key| key.value == column.name)?.at.clone();
    check_text_form(compiler, mask, column, at, real);
    Some(match mask {
        MaskDocument::Null => Mask::Null,
        MaskDocument::Last(count) => Mask::Last(u32::try_from(*count).unwrap_or(u32::MAX)),
        MaskDocument::Constant(text) => Mask::Constant(constant(compiler, text, column, at, real).into()),
        MaskDocument::Hash => {
            let key = &context.mask_key?.0;
            // A check goes on without the key: it travels as a bind parameter, the statement's text is the same.
            let secret = compiler.resolve(&key.value, &key.at).unwrap_or_else(|| Secret::new(""));
            if compiler.serving() && secret.expose().len() < 16 {
                compiler
                    .problems
                    .error(&key.at, "the mask key is shorter than 16 bytes")
                    .hint("use a random key, for example from `openssl rand -hex 32`");
            }
            Mask::Hash(secret)
        }
    })
}

/// Of a text that settings move, an agent would see another part, or have another hash, with each setting.
fn check_text_form(compiler: &mut Compiler<'_>, mask: &MaskDocument, column: &Column, at: &Place, real: &Real<'_>) {
    let form = canonical::text_form(real.catalog, column.type_oid);
    let (word, fits) = match mask {
        MaskDocument::Null | MaskDocument::Constant(_) => return,
        MaskDocument::Hash => ("hash", form.is_some()),
        MaskDocument::Last(_) => ("last", form.is_some_and(|form| !matches!(form, TextForm::Binary(_)))),
    };
    if !fits {
        let message =
            format!("`{word}` cannot mask {}: how {} is written depends on the session's settings", shown(&column.name), column.type_name);
        compiler.problems.error(at, message).hint("mask it with `null` or a constant, or expose a view that casts it");
    }
}

/// A constant that cannot be a value of the column would fail every statement: caught where its type is simple. It is the same
/// value for all sessions.
fn constant(compiler: &mut Compiler<'_>, text: &str, column: &Column, at: &Place, real: &Real<'_>) -> String {
    let base = real.catalog.base_type(column.type_oid);
    let misfit = match base {
        16 => (!matches!(text, "true" | "false" | "t" | "f")).then_some("true or false"),
        1700 | 700 | 701 => text.parse::<f64>().is_err().then_some("a number"),
        simple @ (20 | 21 | 23 | 2950) => tenant::misfit(text, simple),
        _ => None,
    };
    if let Some(expected) = misfit {
        let message = format!("the constant {} is no value of column `{}`, which is {}", shown(text), column.name, column.type_name);
        compiler.problems.error(at, message).hint(format!("write {expected}, or mask it with `null`"));
    }
    let of_the_source = real.catalog.types.get(&base).is_some_and(|known| known.kind == 'e') || canonical::is_text(real.catalog, base);
    if of_the_source {
        return text.to_owned();
    }
    match literal::canonical(base, text) {
        Ok(text) => text,
        Err(moved) => {
            let message = format!("the constant {} of column `{}`, which is {}, {}", shown(text), column.name, column.type_name, moved.why);
            compiler.problems.error(at, message).hint(format!("{}, or mask it with `null`", moved.hint));
            text.to_owned()
        }
    }
}

fn tenant_rule(compiler: &mut Compiler<'_>, real: &Real<'_>) -> Option<TenantRule> {
    let Some(name) = real.document.tenant_column.value() else {
        return real.document.single_tenant.value().filter(|single| single.value).map(|_| TenantRule::Single);
    };
    let column = real.column(compiler, &name.value, &name.at)?;
    let base_type = real.catalog.base_type(column.type_oid);
    if !tenant::fits_column(base_type) {
        compiler
            .problems
            .error(&name.at, format!("a tenant column of type {} is not supported", column.type_name))
            .hint(format!("it must be {}", tenant::COLUMN_TYPES));
        return None;
    }
    if !column.deterministic_collation {
        compiler
            .problems
            .error(&name.at, "the tenant column's collation is nondeterministic: different tenants could compare equal")
            .hint("give the column a deterministic collation, for example \"C\"");
        return None;
    }
    if !column.not_null {
        compiler.problems.warn(&name.at, "the tenant column may be NULL: such rows are nobody's and stay invisible");
    }
    Some(TenantRule::Column { name: column.name.as_str().into(), type_oid: base_type, type_name: column.type_name.as_str().into() })
}

/// The key agents may rely on: as given (and true), else the table's own when it is exposed unmasked.
fn primary_key(compiler: &mut Compiler<'_>, real: &Real<'_>) -> Vec<Box<str>> {
    let exposed = |name: &str| real.document.columns.iter().any(|column| column.value == name) && real.document.masks.named(name).is_none();
    let own = &real.relation.primary_key;
    let Some(given) = &real.document.primary_key else {
        let all = own.iter().all(|name| exposed(name));
        return if all { own.iter().map(|name| name.as_str().into()).collect() } else { Vec::new() };
    };
    for name in given {
        if real.column(compiler, &name.value, &name.at).is_some() && !exposed(&name.value) {
            compiler
                .problems
                .error(&name.at, format!("primary key column {} is not exposed as it is", shown(&name.value)))
                .hint("list it in `columns` without a mask, or remove `primary_key`");
        }
    }
    let mut sorted: (Vec<&str>, Vec<&str>) =
        (given.iter().map(|name| name.value.as_str()).collect(), own.iter().map(String::as_str).collect());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    if let (false, Some(first)) = (own.is_empty() || sorted.0 == sorted.1, given.first()) {
        let message = format!("the primary key of `{}.{}` is another one", real.relation.schema, real.relation.name);
        compiler.problems.error(&first.at, message).hint(format!("write `primary_key: [{}]`", own.join(", ")));
    }
    given.iter().map(|name| name.value.as_str().into()).collect()
}
