//! Forms of values that no session setting moves: of a type's values as text (what masks work on), and of the constants
//! that a policy writes.
//!
//! PostgreSQL writes dates by `DateStyle`, timestamps by `TimeZone`, intervals by `IntervalStyle`, floats by `extra_float_digits`,
//! bytes by `bytea_output`, money by `lc_monetary`. Agents set these. What is on no list here has no such form.

use std::collections::BTreeSet;

use super::{
    builtin::Types,
    catalog::{CatalogSnapshot, FIRST_NORMAL_OID, Oid},
};

/// How values of a type become text that no setting moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// By a cast to text.
    Cast,
    /// `2024-06-01`, as under `DateStyle` ISO.
    Date,
    /// `2024-06-01 05:00:00`, as under `DateStyle` ISO.
    Timestamp,
    /// `2024-06-01 05:00:00+00`, as under `DateStyle` ISO and `TimeZone` UTC.
    TimestampTz,
    /// `\x6162`, as under `bytea_output` hex.
    Bytea,
    /// The bytes of the binary format, in hex, by that function. Equal only where values are; no digits for people.
    Binary(&'static str),
}

/// The form for a type of that source. `None`: there is none that is certain.
pub fn text_form(catalog: &CatalogSnapshot, oid: Oid) -> Option<TextForm> {
    match catalog.base_type(oid) {
        17 => Some(TextForm::Bytea),
        1082 => Some(TextForm::Date),
        1114 => Some(TextForm::Timestamp),
        1184 => Some(TextForm::TimestampTz),
        700 => Some(TextForm::Binary("float4send")),
        701 => Some(TextForm::Binary("float8send")),
        790 => Some(TextForm::Binary("cash_send")),
        1186 => Some(TextForm::Binary("interval_send")),
        base => parts(catalog, base).iter().all(|part| is_written_plainly(catalog, *part)).then_some(TextForm::Cast),
    }
}

impl TextForm {
    /// The expression for a column of that quoted name.
    pub fn of(self, column: &str) -> String {
        // JSON has its own form of dates and times, ISO 8601, which DateStyle does not reach.
        let iso = |value: &str| format!("(pg_catalog.to_jsonb({value}) OPERATOR(pg_catalog.#>>) '{{}}'::pg_catalog.text[])");
        let spaced = |value: &str| format!("pg_catalog.replace({}, 'T', ' ')", iso(value));
        match self {
            Self::Cast => format!("{column}::pg_catalog.text"),
            Self::Date => iso(column),
            Self::Timestamp => spaced(column),
            Self::TimestampTz => {
                let utc = spaced(&format!("pg_catalog.timezone('UTC', {column})"));
                format!("pg_catalog.regexp_replace({utc}, '([0-9])( BC)?$', '\\1+00\\2')")
            }
            Self::Bytea => format!("('\\x' || pg_catalog.encode({column}, 'hex'))"),
            Self::Binary(send) => format!("pg_catalog.encode(pg_catalog.{send}({column}), 'hex')"),
        }
    }
}

/// Types of `pg_catalog` whose text is the same under all settings, by OID. Where PostgreSQL's catalog calls an output function
/// immutable that is taken, but for those of floats, of what is made of floats, and of bytea, which read a setting all the same.
const PLAIN: &[Oid] = &[
    16,   // bool
    18,   // "char"
    19,   // name
    20,   // int8
    21,   // int2
    23,   // int4
    25,   // text
    26,   // oid
    114,  // json
    142,  // xml
    650,  // cidr
    774,  // macaddr8
    829,  // macaddr
    869,  // inet
    1042, // bpchar
    1043, // varchar
    1083, // time
    1266, // timetz: the zone is the value's own
    1560, // bit
    1562, // varbit
    1700, // numeric
    2950, // uuid
    3614, // tsvector
    3615, // tsquery
    3802, // jsonb
    4072, // jsonpath
];

/// Containers of `pg_catalog`, and the type of what is in them.
const CONTAINERS: &[(Oid, Oid)] = &[
    (3904, 23),   // int4range
    (3906, 1700), // numrange
    (3908, 1114), // tsrange
    (3910, 1184), // tstzrange
    (3912, 1082), // daterange
    (3926, 20),   // int8range
    (4451, 23),   // int4multirange
    (4532, 1700), // nummultirange
    (4533, 1114), // tsmultirange
    (4534, 1184), // tstzmultirange
    (4535, 1082), // datemultirange
    (4536, 20),   // int8multirange
];

/// Whether a part that is not made of others is written the same under all settings.
fn is_written_plainly(catalog: &CatalogSnapshot, oid: Oid) -> bool {
    let of_the_source = || {
        catalog.types.get(&oid).is_some_and(|known| known.kind == 'e')
            || is_text(catalog, oid)
            || Types::of(catalog).is_plain_extension(oid)
    };
    PLAIN.contains(&oid) || (oid >= FIRST_NORMAL_OID && of_the_source())
}

/// Whether values of a type of the source's own are text and no more (`citext`): PostgreSQL reads them as text where text is asked for.
pub fn is_text(catalog: &CatalogSnapshot, oid: Oid) -> bool {
    catalog.shapes.types.get(&oid).is_some_and(|shape| shape.is_text)
}

/// What a type is made of, however deep: the types that are made of no others.
fn parts(catalog: &CatalogSnapshot, oid: Oid) -> BTreeSet<Oid> {
    let (mut seen, mut parts) = (BTreeSet::new(), BTreeSet::new());
    let mut next = vec![oid];
    while let Some(oid) = next.pop() {
        if !seen.insert(oid) {
            continue;
        }
        let before = next.len();
        if let Some((_, element)) = CONTAINERS.iter().find(|(container, _)| *container == oid) {
            next.push(*element);
        } else if let Some(known) = catalog.types.get(&oid).filter(|known| known.array || known.kind == 'd') {
            next.push(known.base);
        } else if let Some(shape) = catalog.shapes.types.get(&oid) {
            next.extend([shape.base, shape.element].into_iter().filter(|oid| *oid != 0));
            next.extend(shape.range.iter().map(|range| range.subtype));
            next.extend(shape.attributes.iter().map(|attribute| attribute.type_oid));
        }
        if next.len() == before {
            parts.insert(oid);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::catalog::{Attribute, RangeShape, Type, TypeShape};

    const OWN: Oid = 90_000;

    fn known(name: &str, kind: char, base: Oid, array: bool) -> Type {
        Type { schema: "public".into(), name: name.into(), kind, base, array }
    }

    fn shape(kind: char) -> TypeShape {
        TypeShape {
            schema: "public".into(),
            name: "x".into(),
            kind,
            base: 0,
            array: 0,
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

    #[test]
    fn a_type_is_written_plainly_only_when_all_that_it_is_made_of_is() {
        let attribute = |type_oid| Attribute { name: "a".into(), type_oid, type_name: String::new() };
        let range = |subtype| Some(RangeShape { subtype, range: 0, multirange: 0, built_in: true });
        let mut catalog = CatalogSnapshot::default();
        catalog.types.extend([
            (1007, known("_int4", 'b', 23, true)),
            (1022, known("_float8", 'b', 701, true)),
            (1182, known("_date", 'b', 1082, true)),
            (OWN, known("mood", 'e', 0, false)),
            (OWN + 1, known("email", 'd', 25, false)),
            (OWN + 2, known("day", 'd', 1082, false)),
            (OWN + 3, known("citext", 'b', 0, false)),
            (OWN + 4, known("geometry", 'b', 0, false)),
            (OWN + 5, known("pair", 'c', 0, false)),
            (OWN + 6, known("visit", 'c', 0, false)),
            (OWN + 7, known("texts", 'r', 0, false)),
            (OWN + 8, known("floats", 'r', 0, false)),
            (OWN + 9, known("_visit", 'b', OWN + 6, true)),
        ]);
        catalog.shapes.types.extend([
            (OWN + 3, TypeShape { is_text: true, ..shape('b') }),
            (OWN + 4, shape('b')),
            (OWN + 5, TypeShape { attributes: vec![attribute(23), attribute(OWN)], ..shape('c') }),
            (OWN + 6, TypeShape { attributes: vec![attribute(23), attribute(1184)], ..shape('c') }),
            (OWN + 7, TypeShape { range: range(25), ..shape('r') }),
            (OWN + 8, TypeShape { range: range(701), ..shape('r') }),
        ]);
        let cast = [16, 23, 1007, 3904, 4451, OWN, OWN + 1, OWN + 3, OWN + 5, OWN + 7];
        for oid in cast {
            assert_eq!(text_form(&catalog, oid), Some(TextForm::Cast), "{oid}");
        }
        for oid in [600, 603, 1022, 1182, 3910, 3912, 4534, OWN + 4, OWN + 6, OWN + 8, OWN + 9, OWN + 10] {
            assert_eq!(text_form(&catalog, oid), None, "{oid}");
        }
        assert_eq!(text_form(&catalog, OWN + 2), Some(TextForm::Date));
        assert_eq!(text_form(&catalog, 1184), Some(TextForm::TimestampTz));
        assert_eq!(text_form(&catalog, 701), Some(TextForm::Binary("float8send")));
    }
}
