//! What an agent sees, as the virtual catalog is made from it.

use std::sync::Arc;

use crate::{
    policy::{EvidenceRows, ExposedColumn, ExposedRelation, ExposedSchema, Mask, OnLimit, TenantRule, Visible, VisibleTypeKind},
    sql::catalog::{Attribute, CatalogSnapshot, Oid, RangeShape, Type, TypeShape},
    types::Secret,
};

const STATE: Oid = 16_400;
const SPAN: Oid = 16_410;
const CANONICAL: Oid = 16_420;
const DOMAIN: Oid = 16_430;
const PAIR: Oid = 16_440;
const CHECKED: Oid = 16_450;
const LOOKS: Oid = 16_460;

pub(super) fn type_shape(name: &str, kind: char, array: Oid) -> TypeShape {
    TypeShape {
        schema: "real".into(),
        name: name.into(),
        kind,
        base: 0,
        array,
        element: 0,
        category: 'U',
        delimiter: ',',
        standalone: true,
        labels: Vec::new(),
        attributes: Vec::new(),
        base_name: String::new(),
        base_modifier: -1,
        not_null: false,
        range: None,
        cast_by_function: false,
        is_text: false,
    }
}

fn catalog() -> Arc<CatalogSnapshot> {
    let mut catalog = CatalogSnapshot { server_version: 150_018, ..CatalogSnapshot::default() };
    let of_it = Type { schema: "real".into(), name: "state".into(), kind: 'e', base: 0, array: false };
    catalog.types.insert(STATE, of_it);
    let shape = TypeShape { labels: vec!["open".into()], category: 'E', ..type_shape("state", 'e', STATE + 1) };
    catalog.shapes.types.insert(STATE, shape.clone());
    let array = TypeShape { name: "_state".into(), kind: 'b', element: STATE, array: 0, category: 'A', labels: Vec::new(), ..shape };
    catalog.shapes.types.insert(STATE + 1, array);
    let built_in = |name: &str| Type { schema: "pg_catalog".into(), name: name.into(), kind: 'b', base: 0, array: false };
    catalog.types.extend([(23, built_in("int4")), (2205, built_in("regclass"))]);
    let range = |subtype, oid, built_in| Some(RangeShape { subtype, range: oid, multirange: oid + 2, built_in });
    let attribute = |oid| Attribute { name: "a".into(), type_oid: oid, type_name: "real.state".into() };
    let composite =
        |name, oids: &[Oid]| TypeShape { attributes: oids.iter().copied().map(attribute).collect(), ..type_shape(name, 'c', 0) };
    let multirange = type_shape("spans", 'm', 0);
    catalog.shapes.types.extend([
        (SPAN, TypeShape { range: range(STATE, SPAN, true), ..type_shape("span", 'r', SPAN + 1) }),
        (SPAN + 2, TypeShape { range: range(STATE, SPAN, true), ..multirange.clone() }),
        (CANONICAL, TypeShape { range: range(23, CANONICAL, false), ..type_shape("canonical", 'r', 0) }),
        (CANONICAL + 2, TypeShape { range: range(23, CANONICAL, false), name: "canonicals".into(), ..multirange }),
        (DOMAIN, TypeShape { base: 23, base_name: "integer".into(), ..type_shape("number", 'd', 0) }),
        (PAIR, composite("pair", &[23, STATE + 1, SPAN])),
        (CHECKED, composite("checked", &[23, DOMAIN])),
        (LOOKS, composite("looks", &[2205])),
    ]);
    Arc::new(catalog)
}

#[test]
fn what_reads_text_by_functions_of_the_source_or_looks_it_up_is_not_read_for_a_client() {
    let columns = [SPAN + 2, CANONICAL, PAIR, CHECKED, LOOKS, DOMAIN].map(|oid| ("c", oid, None));
    let visible = Visible::of(&[schema("desk", "one", &columns)], |_| Some(catalog()));
    let source = "one".parse().unwrap();
    let told = |oid: Oid| (visible.shows_type(&source, oid), visible.reads_type(&source, oid));
    assert_eq!([STATE, STATE + 1, SPAN, SPAN + 1, SPAN + 2, PAIR].map(told), [(true, true); 6]);
    assert_eq!([CANONICAL, CANONICAL + 2, DOMAIN, CHECKED, LOOKS].map(told), [(true, false); 5]);
    let ranges: Vec<_> = visible.types.iter().filter(|made| matches!(made.kind, VisibleTypeKind::Range { .. })).collect();
    assert_eq!(ranges.len(), 2);
    assert_eq!(visible.types.iter().filter(|made| made.kind == VisibleTypeKind::Multirange).count(), 2);
}

fn schema(name: &str, source: &str, columns: &[(&str, Oid, Option<Mask>)]) -> Arc<ExposedSchema> {
    let column = |(name, oid, mask): &(&str, Oid, Option<Mask>)| ExposedColumn {
        name: (*name).into(),
        type_oid: *oid,
        base_type_oid: *oid,
        type_name: if *oid == 23 { "integer".into() } else { "real.state".into() },
        not_null: true,
        deterministic_collation: true,
        collation: Some(0),
        stored: true,
        mask: mask.clone(),
        description: None,
    };
    let relation = ExposedRelation {
        schema: name.into(),
        name: "tickets".into(),
        source: source.parse().unwrap(),
        real_schema: "real".into(),
        real_name: "hidden".into(),
        columns: columns.iter().map(column).collect(),
        tenant: TenantRule::Single,
        filter: None,
        primary_key: vec!["id".into()],
        max_rows: None,
        max_bytes: None,
        on_limit: OnLimit::Error,
        evidence: EvidenceRows::Digest,
        description: None,
        writes: None,
    };
    let relations = [("tickets".into(), Arc::new(relation))].into();
    Arc::new(ExposedSchema { name: name.into(), source: source.parse().unwrap(), relations })
}

fn shown(visible: &Visible) -> Vec<String> {
    let relations = visible.schemas.iter().flat_map(|schema| schema.relations.iter().map(move |relation| (&schema.name, relation)));
    relations
        .flat_map(|(schema, relation)| {
            let key = relation.primary_key.join(",");
            relation.columns.iter().map(move |column| {
                let null = if column.not_null { "!" } else { "" };
                format!("{schema}.{}.{} {}{null} /{key}", relation.name, column.name, column.type_name)
            })
        })
        .collect()
}

#[test]
fn a_catalog_holds_alias_names_and_types_as_they_are_read() {
    let columns = [("id", 23, None), ("state", STATE, None), ("states", STATE + 1, None), ("code", 23, Some(Mask::Last(2)))];
    let visible = Visible::of(&[schema("desk", "one", &columns)], |_| Some(catalog()));
    assert_eq!(
        shown(&visible),
        [
            "desk.tickets.id integer! /id",
            "desk.tickets.state \"desk\".\"state\"! /id",
            "desk.tickets.states \"desk\".\"state\"[]! /id",
            "desk.tickets.code text! /id"
        ]
    );
    let source = "one".parse().unwrap();
    assert!(visible.shows_type(&source, STATE) && visible.reads_type(&source, STATE + 1) && !visible.shows_type(&source, STATE + 2));
    let found_as = |schema, name, path: &[&str]| {
        visible
            .type_named(schema, name, &path.iter().map(|name| (*name).into()).collect::<Vec<_>>())
            .map(|(source, oid)| (source.to_string(), oid))
    };
    for (schema, name, path, found) in [
        (Some("desk"), "state", &[][..], true),
        (None, "state", &["desk"], true),
        (None, "state", &["nowhere", "desk"], true),
        (None, "state", &[], false),
        (None, "state", &["real"], false),
        (Some("real"), "state", &["desk"], false),
        (Some("desk"), "State", &["desk"], false),
        (Some("desk"), "_state", &["desk"], false),
        (None, "tickets", &["desk"], false),
        (Some("desk"), "hidden", &["desk"], false),
    ] {
        assert_eq!(found_as(schema, name, path), found.then(|| ("one".to_owned(), STATE)), "{schema:?} {name} {path:?}");
    }
    let names = visible.type_names(&source);
    assert!(names.contains(&("real.state".to_owned(), "state".to_owned())));
    let dump = format!("{:?} {:?}", visible.schemas, visible.types);
    assert!(!dump.contains("real") && !dump.contains("hidden"), "{dump}");
    assert_eq!(visible, Visible::of(&[schema("desk", "one", &columns)], |_| Some(catalog())), "the same again, OIDs too");
}

#[test]
fn a_masked_key_is_none_and_a_mask_that_nulls_may_be_null() {
    let columns = [("id", 23, Some(Mask::Hash(Secret::new("k")))), ("n", 23, Some(Mask::Null))];
    let visible = Visible::of(&[schema("desk", "one", &columns)], |_| Some(catalog()));
    assert_eq!(shown(&visible), ["desk.tickets.id text! /", "desk.tickets.n integer /"]);
}

#[test]
fn of_two_sources_types_with_one_number_the_second_is_text() {
    let columns = [("state", STATE, None)];
    let visible = Visible::of(&[schema("a", "one", &columns), schema("b", "two", &columns)], |_| Some(catalog()));
    assert_eq!(shown(&visible), ["a.tickets.state \"a\".\"state\"! /", "b.tickets.state text! /"]);
    assert!(!visible.shows_type(&"two".parse().unwrap(), STATE));
}
