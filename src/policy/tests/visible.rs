//! What an agent sees, as the virtual catalog is made from it.

use std::sync::Arc;

use crate::{
    policy::{EvidenceRows, ExposedColumn, ExposedRelation, ExposedSchema, Mask, OnLimit, TenantRule, Visible},
    sql::catalog::{CatalogSnapshot, Oid, Type, TypeShape},
    types::Secret,
};

const STATE: Oid = 16_400;

fn catalog() -> Arc<CatalogSnapshot> {
    let mut catalog = CatalogSnapshot { server_version: 150_018, ..CatalogSnapshot::default() };
    let of_it = Type { schema: "real".into(), name: "state".into(), kind: 'e', base: 0, array: false };
    catalog.types.insert(STATE, of_it);
    let shape = TypeShape {
        schema: "real".into(),
        name: "state".into(),
        kind: 'e',
        base: 0,
        array: STATE + 1,
        element: 0,
        category: 'E',
        delimiter: ',',
        standalone: true,
        labels: vec!["open".into()],
        attributes: Vec::new(),
        base_name: String::new(),
        base_modifier: -1,
        not_null: false,
    };
    catalog.shapes.types.insert(STATE, shape.clone());
    let array = TypeShape { name: "_state".into(), kind: 'b', element: STATE, array: 0, category: 'A', labels: Vec::new(), ..shape };
    catalog.shapes.types.insert(STATE + 1, array);
    Arc::new(catalog)
}

fn schema(name: &str, source: &str, columns: &[(&str, Oid, Option<Mask>)]) -> Arc<ExposedSchema> {
    let column = |(name, oid, mask): &(&str, Oid, Option<Mask>)| ExposedColumn {
        name: (*name).into(),
        type_oid: *oid,
        base_type_oid: *oid,
        type_name: if *oid == 23 { "integer".into() } else { "real.state".into() },
        not_null: true,
        deterministic_collation: true,
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
    assert!(visible.shows_type(&source, STATE) && visible.is_enum(&source, STATE + 1) && !visible.shows_type(&source, STATE + 2));
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
