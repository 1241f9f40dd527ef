//! The types of a source that an agent sees, and under which names.

use super::{Builder, VisibleType, VisibleTypeKind, quoted};
use crate::{
    sql::{
        allow,
        catalog::{CatalogSnapshot, FIRST_NORMAL_OID, Oid, TypeShape},
    },
    types::SourceName,
};

/// Types within types at most.
const DEPTH: usize = 16;

impl Builder {
    /// Makes a type visible, with what it is made of. False: it is shown as `text`.
    pub(super) fn show(
        &mut self,
        source: &SourceName,
        schema: &str,
        relations: &[&str],
        catalog: &CatalogSnapshot,
        oid: Oid,
        depth: usize,
    ) -> bool {
        if oid < FIRST_NORMAL_OID || self.written.contains_key(&(source.clone(), oid)) {
            return true;
        }
        let Some(shape) = catalog.shapes.types.get(&oid).filter(|_| depth < DEPTH) else { return false };
        let mut below = |oid| self.show(source, schema, relations, catalog, oid, depth + 1);
        if shape.element != 0 {
            let of_it = catalog.shapes.types.get(&shape.element).is_some_and(|element| element.array == oid);
            // With its elements comes the array.
            return of_it && below(shape.element) && self.written.contains_key(&(source.clone(), oid));
        }
        if shape.kind == 'm' {
            // With its range comes the multirange.
            return shape.range.as_ref().is_some_and(|of| below(of.range)) && self.written.contains_key(&(source.clone(), oid));
        }
        let multirange = shape.range.as_ref().and_then(|of| Some((of.multirange, catalog.shapes.types.get(&of.multirange)?)));
        let complete = match shape.kind {
            'e' | 'b' => true,
            'd' => below(shape.base),
            'r' => multirange.is_some() && shape.range.as_ref().is_some_and(|of| below(of.subtype)),
            'c' => shape.standalone && shape.attributes.iter().all(|attribute| below(attribute.type_oid)),
            _ => false,
        };
        let taken = multirange.is_some_and(|(oid, _)| self.taken.contains(&("pg_type", oid)));
        if !complete || taken || !self.taken.insert(("pg_type", oid)) {
            return false;
        }
        let Some(kind) = self.kind(source, shape) else { return false };
        let plain = self.is_plain(source, catalog, shape);
        self.make((source, schema, relations), shape, (oid, kind), plain);
        if let Some((oid, shape)) = multirange.filter(|(oid, _)| self.taken.insert(("pg_type", *oid))) {
            self.make((source, schema, relations), shape, (oid, VisibleTypeKind::Multirange), plain);
        }
        true
    }

    /// Whether its text is read by functions of the server and of reviewed extensions alone, which look nothing up.
    fn is_plain(&self, source: &SourceName, catalog: &CatalogSnapshot, shape: &TypeShape) -> bool {
        let below = |oid: Oid| match catalog.types.get(&oid).filter(|_| oid < FIRST_NORMAL_OID) {
            Some(known) => known.schema == "pg_catalog" && allow::cast_type(&known.name).is_ok(),
            None => self.plain.get(source).is_some_and(|plain| plain.contains(&oid)),
        };
        match shape.kind {
            'e' => true,
            // The input functions of the reviewed extensions look nothing up.
            'b' => catalog.extensions.resolution().type_named(&shape.name).is_some_and(|(_, of)| *of.schema == *shape.schema),
            'c' => shape.attributes.iter().all(|attribute| below(attribute.type_oid)),
            'r' => shape.range.as_ref().is_some_and(|of| of.built_in && below(of.subtype)),
            _ => false,
        }
    }

    fn make(
        &mut self,
        (source, schema, relations): (&SourceName, &str, &[&str]),
        shape: &TypeShape,
        (oid, kind): (Oid, VisibleTypeKind),
        plain: bool,
    ) {
        let array = Some(shape.array).filter(|array| *array != 0 && self.taken.insert(("pg_type", *array)));
        let free = |name: &str, types: &[VisibleType]| {
            !relations.contains(&name)
                && !types.iter().any(|known| {
                    *known.schema == *schema && (known.name == name || known.array.as_ref().is_some_and(|(_, array)| array == name))
                })
        };
        let name = (0..=u16::MAX).map(|n| if n == 0 { shape.name.clone() } else { format!("{}_{n}", shape.name) });
        let name = name.into_iter().find(|name| free(name, &self.types)).unwrap_or_default();
        let array_name = (1..64).map(|n| format!("{}{name}", "_".repeat(n))).find(|name| free(name, &self.types)).unwrap_or_default();
        let written = format!("{}.{}", quoted(schema), quoted(&name));
        let numbers = || std::iter::once(oid).chain(array);
        self.shown.entry(source.clone()).or_default().extend(numbers());
        if plain {
            self.plain.entry(source.clone()).or_default().extend(numbers());
        }
        if let Some(array) = array {
            self.written.insert((source.clone(), array), format!("{written}[]"));
        }
        self.written.insert((source.clone(), oid), written);
        let array = array.map(|array| (array, array_name));
        self.types.push(VisibleType { schema: schema.into(), name, oid, array, kind });
    }

    fn kind(&self, source: &SourceName, shape: &TypeShape) -> Option<VisibleTypeKind> {
        Some(match shape.kind {
            'e' => VisibleTypeKind::Enum(shape.labels.clone()),
            'b' => VisibleTypeKind::Base(shape.category, shape.delimiter),
            'r' => shape.range.as_ref().map(|of| VisibleTypeKind::Range { subtype: of.subtype, multirange: of.multirange })?,
            'd' => VisibleTypeKind::Domain { base: shape.base, modifier: shape.base_modifier, not_null: shape.not_null },
            'c' => {
                let written = |oid, name: &str| self.type_name(source, oid, name);
                VisibleTypeKind::Composite(
                    shape
                        .attributes
                        .iter()
                        .map(|attribute| (attribute.name.clone(), written(attribute.type_oid, &attribute.type_name)))
                        .collect(),
                )
            }
            _ => return None,
        })
    }

    /// As `format_type` prints the types of a source, whose sessions look names up in `pg_catalog` only.
    pub(super) fn spoken(&self, source: &SourceName, catalog: &CatalogSnapshot) -> Vec<(String, String)> {
        let spellings = |name: &str| [name.to_owned(), quoted(name)];
        let mut spoken = Vec::new();
        for (oid, shape) in &catalog.shapes.types {
            let made = self.types.iter().find(|made| made.oid == *oid && self.written.contains_key(&(source.clone(), *oid)));
            let told = made.map_or_else(|| "another type".to_owned(), |made| made.name.clone());
            for schema in spellings(&shape.schema) {
                for name in spellings(&shape.name) {
                    spoken.push((format!("{schema}.{name}"), told.clone()));
                }
            }
        }
        spoken
    }

    pub(super) fn type_name(&self, source: &SourceName, oid: Oid, name: &str) -> String {
        if oid < FIRST_NORMAL_OID {
            return name.to_owned();
        }
        self.written.get(&(source.clone(), oid)).cloned().unwrap_or_else(|| "text".to_owned())
    }
}
