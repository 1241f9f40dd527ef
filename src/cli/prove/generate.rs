//! Generated statements over whatever a policy exposes: by the types of its columns, the same for the same seed.
//!
//! They have a total order or none that matters, and what can fail is only where every row is looked at, so that the
//! answer depends on rows and not on a plan.

use std::sync::Arc;

use super::reference::{identifier, literal, plain_columns};
use crate::{
    policy::{ExposedColumn, ExposedRelation},
    sql::catalog::Oid,
};

/// A seeded stream of choices (splitmix64): the same on every machine and in every version.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; zero for zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed.checked_rem(bound as u64).and_then(|rest| usize::try_from(rest).ok()).unwrap_or(0)
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// What can be done with a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Numeric,
    Float,
    Text,
    Json,
    Bool,
    Date,
    Timestamp,
    Uuid,
    /// It is looked at, not computed with.
    Other,
}

/// The kind of a base type (`pg_type.dat`).
pub(super) fn kind(oid: Oid) -> Kind {
    match oid {
        20 | 21 | 23 => Kind::Int,
        1700 => Kind::Numeric,
        700 | 701 => Kind::Float,
        25 | 1042 | 1043 => Kind::Text,
        3802 => Kind::Json,
        16 => Kind::Bool,
        1082 => Kind::Date,
        1114 | 1184 => Kind::Timestamp,
        2950 => Kind::Uuid,
        _ => Kind::Other,
    }
}

/// A relation with constants to compare with: some of its own rows' values, some of other tenants'.
#[derive(Debug, Clone)]
pub(super) struct Material {
    pub(super) relation: Arc<ExposedRelation>,
    /// By column name.
    pub(super) samples: Vec<(String, String)>,
    /// Rows of other tenants, each by column name.
    pub(super) foreign: Vec<Vec<(String, String)>>,
}

/// A statement in which the relations are still open: `\u{1}` and the number of the relation.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    text: String,
    /// What the reference is asked instead, where PostgreSQL would be free to try what fails on rows that are not meant.
    staged: Option<String>,
    /// The relations, by their place in the materials.
    pub(super) relations: Vec<usize>,
}

impl Statement {
    /// The text with a name for each relation.
    pub(super) fn with(&self, name: impl Fn(usize) -> String) -> String {
        self.filled(&self.text, name)
    }

    /// What the reference is asked.
    pub(super) fn reference(&self, name: impl Fn(usize) -> String) -> String {
        self.filled(self.staged.as_ref().unwrap_or(&self.text), name)
    }

    fn filled(&self, text: &str, name: impl Fn(usize) -> String) -> String {
        self.relations.iter().fold(text.to_owned(), |text, relation| text.replace(&place(*relation), &name(*relation)))
    }

    fn new(text: String, relations: Vec<usize>) -> Self {
        Self { text, staged: None, relations }
    }
}

fn place(relation: usize) -> String {
    format!("\u{1}{relation}\u{1}")
}

/// Makes statements over some relations.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    materials: &'a [Material],
    random: Random,
}

/// Expressions that fail on some values, by kind; `{c}` the column, `{v}` a value of it.
fn leaky(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Int => &[
            "10 / ({c} - {v}) > 0",
            "{c} * 1000000000000 > 0",
            "{c}::int2 > 0",
            "chr({c}::int) > 'a'",
            "10 % ({c} - {v}) > 0",
            "sqrt(({c} - {v})::float8) >= 0",
        ],
        Kind::Numeric => {
            &["10 / ({c} - {v}) > 0", "{c}::int2 > 0", "ln({c}) > 0", "exp({c} * 1000) > 0", "sqrt({c} - {v}) > 0", "{c}::int > 0"]
        }
        Kind::Float => {
            &["10 / ({c} - {v}) > 0", "{c}::int > 0", "ln({c}::float8) > 0", "power({c}::float8, 500) > 0", "{c}::numeric::int2 > 0"]
        }
        Kind::Text => &[
            "{c}::int > 0",
            "{c}::numeric > 0",
            "'x' ~ {c}",
            "{c}::date > '2000-01-01'",
            "{c}::jsonb IS NOT NULL",
            "{c}::uuid IS NOT NULL",
            "'x' LIKE {c}",
            "10 / (length({c}) - length({v})) > 0",
            "{c}::interval > '1 day'",
            // An estimator tries a pattern on every tenant's most common values.
            "{c} LIKE {v} || '\\'",
            "{c} ILIKE {v} || '\\'",
            "({c} LIKE {v} || '\\') IS TRUE",
            "{c} LIKE ANY (ARRAY[{v} || '\\'])",
        ],
        Kind::Json => &[
            "({c} ->> 0)::int > 0",
            "({c} ->> 'a')::int > 0",
            "{c}::text::int > 0",
            "{c}::int > 0",
            "jsonb_array_length({c}) > 0",
            "10 / (length({c}::text) - length({v}::text)) > 0",
        ],
        Kind::Bool => &["10 / {c}::int > 0", "10 / (1 - {c}::int) > 0"],
        Kind::Date => {
            &["10 / ({c} - {v}::date) > 0", "{c} + 2000000000 > '2000-01-01'", "extract(year FROM {c})::int2::text::date IS NOT NULL"]
        }
        Kind::Timestamp => {
            &["{c} + interval '290000 years' > '2000-01-01'", "10 / extract(epoch FROM {c} - {v}) > 0", "extract(epoch FROM {c})::int > 0"]
        }
        Kind::Uuid => &["{c}::text::int > 0", "left({c}::text, 8)::int > 0"],
        Kind::Other => {
            &["{c}::text::int > 0", "'x' ~ {c}::text", "{c}::text::jsonb IS NOT NULL", "10 / (length({c}::text) - length({v}::text)) > 0"]
        }
    }
}

/// Predicates that fail on (nearly) every row that is looked at, and cost the planner one operator: no more than a tenant's
/// predicate, so that nothing but a fence keeps them behind it.
fn cheap(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Int => &[
            "({c} / 0) IS NOT NULL",
            "({c} % 0) IS NULL",
            "({c} + 9223372036854775807) IS NOT NULL",
            "({c} * 9223372036854775807) IS NULL",
            // What reads no governed column costs nothing in the order of conditions, and runs when a row gets there.
            "{c} > (SELECT 1 / (extract(year FROM now())::int - extract(year FROM now())::int))",
            "coalesce({c} > 1 / (extract(year FROM now())::int - extract(year FROM now())::int), false)",
        ],
        Kind::Numeric => &["({c} / 0) IS NOT NULL", "({c} / 0) IS NULL", "width_bucket({c}, 1, 1, 1) IS NULL", "{c}::int2 IS NOT NULL"],
        Kind::Float => &["({c} / 0) IS NOT NULL", "({c} / 0) IS NULL", "exp({c}) IS NULL", "{c}::int2 IS NOT NULL"],
        Kind::Text => &[
            "repeat({c}, 2147483647) IS NOT NULL",
            "substr({c}, 1, -1) IS NULL",
            "split_part({c}, ',', 0) IS NULL",
            "regexp_replace({c}, '(', '') IS NOT NULL",
            "decode({c}, 'nothing') IS NULL",
            "{c}::jsonb IS NOT NULL",
            "{c}::int IS NOT NULL",
            "'x' ~ {c}",
            "'x' LIKE {c}",
            "'x' ~* {c}",
            "{c} LIKE {v} || '\\'",
            "{c} NOT ILIKE {v} || '\\'",
            "({c} COLLATE \"C\") < ({c} COLLATE \"POSIX\")",
            "{c} > (SELECT now()::text::int::text)",
        ],
        Kind::Json => &[
            "{c}::bool",
            "{c}::int IS NULL",
            "({c} - 1) IS NULL",
            "jsonb_array_length({c}) IS NOT NULL",
            "jsonb_path_exists({c}, 'strict $.pgwicket')",
            "jsonb_path_query_first({c}, 'strict $[7]') IS NULL",
        ],
        Kind::Date => &[
            "({c} + 2147483647) IS NOT NULL",
            "({c} - 2147483647) IS NULL",
            "coalesce({c} > current_date + 2147483647, false)",
            "{c} > (SELECT current_date + 2147483647)",
        ],
        Kind::Timestamp => &[
            "({c} + interval '290000 years') IS NOT NULL",
            "({c} - interval '290000 years') IS NULL",
            "date_trunc('nothing', {c}) IS NULL",
            "({c} AT TIME ZONE 'nowhere') IS NULL",
            "coalesce({c} > now() + interval '290000 years', false)",
        ],
        Kind::Uuid => &["{c}::text::int IS NULL"],
        Kind::Bool | Kind::Other => &[],
    }
}

/// Predicates that never fail.
fn calm(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Int | Kind::Numeric | Kind::Float | Kind::Date | Kind::Timestamp => {
            &["{c} > {v}", "{c} <= {v}", "{c} = {v}", "{c} <> {v}", "{c} BETWEEN {v} AND {w}", "{c} IN ({v}, {w})", "{c} IS NOT NULL"]
        }
        Kind::Text => &[
            "{c} = {v}",
            "{c} > {v}",
            "{c} LIKE 'a%'",
            "upper({c}) = upper({v})",
            "length({c}) > 5",
            "{c} IN ({v}, {w})",
            "{c} IS NULL",
            "{c} || 'x' > {v}",
        ],
        Kind::Json => &["{c} ->> 'a' IS NULL", "{c} @> {v}", "{c} = {v}", "{c} ? 'a'", "jsonb_typeof({c}) = 'object'"],
        Kind::Bool => &["{c}", "NOT {c}", "{c} IS NOT TRUE"],
        Kind::Uuid => &["{c} = {v}", "{c} > {v}", "{c} IN ({v}, {w})"],
        Kind::Other => &["{c} IS NULL", "{c} IS NOT NULL", "{c}::text = {v}", "length({c}::text) > 3"],
    }
}

impl<'a> Generator<'a> {
    /// A stream of its own for each seed.
    pub(super) fn new(materials: &'a [Material], seed: u64) -> Self {
        Self { materials, random: Random::new(seed) }
    }

    /// A statement with an expression that fails on some values, over every row of one relation.
    pub(super) fn leak(&mut self) -> Option<Statement> {
        let (at, material) = self.relation()?;
        if self.random.below(2) == 0
            && let Some(pinned) = self.pinned(at, material)
        {
            return Some(pinned);
        }
        let column = self.column(material)?;
        let fails = self.expression(material, column, leaky(kind(column.base_type_oid)))?;
        let first = self.predicate(material)?;
        let name = identifier(&column.name);
        let known = self.value(material, column);
        let r = place(at);
        let form = self.random.below(6);
        let text = match form {
            0 => format!("SELECT count(*) FROM {r} t WHERE {fails}"),
            1 => format!("SELECT count(*) FROM {r} t WHERE {first} AND {fails}"),
            2 if kind(column.base_type_oid) != Kind::Json => {
                format!("SELECT count(*) FROM {r} t WHERE {name}::text = {known}::text AND {fails}")
            }
            3 => format!("SELECT count(*) FROM (SELECT ({fails}) AS x FROM {r} t) q WHERE q.x"),
            4 => format!("SELECT count(*), sum(CASE WHEN {fails} THEN 1 ELSE 0 END) FROM {r} t"),
            _ => format!("SELECT count(*) FROM {r} t GROUP BY ({fails}) ORDER BY 1"),
        };
        Some(Statement::new(text, vec![at]))
    }

    /// A statement that never fails.
    pub(super) fn statement(&mut self) -> Option<Statement> {
        match self.random.below(9) {
            0 => self.rows(),
            1 => self.aggregate(),
            2 => self.joined(),
            3 => self.subquery(),
            4 => self.window(),
            5 => self.set_operation(),
            6 => self.nested(),
            7 => self.correlated(),
            _ => self.outer(),
        }
    }

    /// One row of another tenant is singled out, as by an index, and then an expression of its own values may fail: where it
    /// does, it was looked at.
    fn pinned(&mut self, at: usize, material: &'a Material) -> Option<Statement> {
        let row = self.random.pick(&material.foreign)?;
        let alone = Material { relation: Arc::clone(&material.relation), samples: row.clone(), foreign: Vec::new() };
        // bigint, integer, smallint, text, uuid: their equality is leakproof, so that pgwicket, too, tries it first.
        let comparable = |column: &&ExposedColumn| matches!(column.type_oid, 20 | 21 | 23 | 25 | 2950);
        let key = |column: &&ExposedColumn| material.relation.primary_key.contains(&column.name);
        let given = |column: &&ExposedColumn| row.iter().any(|(name, _)| **name == *column.name);
        let anchors: Vec<&ExposedColumn> = plain_columns(&material.relation).filter(comparable).filter(given).collect();
        let keys: Vec<&ExposedColumn> = anchors.iter().copied().filter(key).collect();
        let anchor = if keys.is_empty() || self.random.below(3) == 0 { self.random.pick(&anchors) } else { self.random.pick(&keys) }?;
        let column = self.column(material)?;
        let base = kind(column.base_type_oid);
        let forms = if self.random.below(3) == 0 { leaky(base) } else { cheap(base) };
        let fails = self.expression(&alone, column, forms)?;
        let found = self.filled(&alone, anchor, "{c} = {v}", &identifier(&anchor.name));
        let r = place(at);
        let text = format!("SELECT count(*) FROM {r} t WHERE {found} AND {fails}");
        let staged = format!("SELECT count(*) FROM (SELECT * FROM {r} t WHERE {found} OFFSET 0) t WHERE {fails}");
        Some(Statement { text, staged: Some(staged), relations: vec![at] })
    }

    fn rows(&mut self) -> Option<Statement> {
        let (at, material) = self.relation()?;
        let (key, condition) = (order(material)?, self.condition(material)?);
        let columns: Vec<String> = (0..3).filter_map(|_| Some(format!("t.{}", identifier(&self.column(material)?.name)))).collect();
        let text = format!(
            "SELECT {} FROM {} t WHERE {condition} ORDER BY {key} LIMIT 20 OFFSET {}",
            columns.join(", "),
            place(at),
            self.random.below(5)
        );
        Some(Statement::new(text, vec![at]))
    }

    fn aggregate(&mut self) -> Option<Statement> {
        let (at, material) = self.relation()?;
        let (column, condition) = (self.column(material)?, self.condition(material)?);
        let name = identifier(&column.name);
        let aggregates = summaries(kind(column.base_type_oid)).iter().map(|form| form.replace("{c}", &name)).collect::<Vec<_>>().join(", ");
        let text = format!("SELECT {aggregates} FROM {} t WHERE {condition}", place(at));
        Some(Statement::new(text, vec![at]))
    }

    /// Two relations, one by its key, so that no row is found many times.
    fn pair(&mut self) -> Option<(usize, &'a Material, usize, &'a Material, String)> {
        let (left, one) = self.relation()?;
        let (right, other) = self.relation()?;
        let [key] = &*one.relation.primary_key else { return None };
        let key = plain_columns(&one.relation).find(|column| column.name == *key)?;
        let fitting: Vec<&ExposedColumn> = plain_columns(&other.relation)
            .filter(|column| kind(column.base_type_oid) == kind(key.base_type_oid) && kind(key.base_type_oid) != Kind::Other)
            .collect();
        let column = self.random.pick(&fitting)?;
        Some((left, one, right, other, format!("l.{} = r.{}", identifier(&key.name), identifier(&column.name))))
    }

    fn joined(&mut self) -> Option<Statement> {
        let (left, one, right, other, on) = self.pair()?;
        let (first, second) = (self.qualified(one, "l")?, self.qualified(other, "r")?);
        let join = self.random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"])?;
        let text = format!("SELECT count(*) FROM {} l {join} {} r ON {on} AND {second} WHERE {first}", place(left), place(right));
        Some(Statement::new(text, vec![left, right]))
    }

    fn subquery(&mut self) -> Option<Statement> {
        let (left, one, right, other, _) = self.pair()?;
        let [key] = &*one.relation.primary_key else { return None };
        let key = identifier(key);
        let (first, second) = (self.qualified(one, "l")?, self.qualified(other, "r")?);
        let text = format!(
            "SELECT count(*), (SELECT count(*) FROM {other} r WHERE {second}) FROM {one} l WHERE l.{key} IN (SELECT l.{key} FROM {one} l WHERE {first})",
            one = place(left),
            other = place(right)
        );
        Some(Statement::new(text, vec![left, right]))
    }

    fn correlated(&mut self) -> Option<Statement> {
        let (left, one, right, other, on) = self.pair()?;
        let (first, second) = (self.qualified(one, "l")?, self.qualified(other, "r")?);
        let not = self.random.pick(&["", "NOT "])?;
        let text = format!(
            "SELECT count(*) FROM {} r WHERE {second} AND {not}EXISTS (SELECT FROM {} l WHERE {on} AND {first})",
            place(right),
            place(left)
        );
        Some(Statement::new(text, vec![left, right]))
    }

    fn outer(&mut self) -> Option<Statement> {
        let (left, one, right, _, on) = self.pair()?;
        let first = self.qualified(one, "l")?;
        let text = format!(
            "SELECT count(*), count(x.n) FROM {} r LEFT JOIN LATERAL (SELECT 1 AS n FROM {} l WHERE {on} AND {first}) x ON true",
            place(right),
            place(left)
        );
        Some(Statement::new(text, vec![left, right]))
    }

    fn window(&mut self) -> Option<Statement> {
        let (at, material) = self.relation()?;
        let (key, condition, column) = (order(material)?, self.condition(material)?, self.column(material)?);
        let name = if kind(column.base_type_oid) == Kind::Other {
            format!("{}::text", identifier(&column.name))
        } else {
            identifier(&column.name)
        };
        let text = format!(
            "SELECT q.n, q.m, q.same FROM (SELECT row_number() OVER (ORDER BY {key}) AS n, count(*) OVER (PARTITION BY {name}) AS m, \
             {name} IS NOT DISTINCT FROM lag({name}) OVER (ORDER BY {key}) AS same FROM {} t WHERE {condition}) q WHERE q.n <= 30 ORDER BY q.n",
            place(at)
        );
        Some(Statement::new(text, vec![at]))
    }

    fn set_operation(&mut self) -> Option<Statement> {
        let (at, material) = self.relation()?;
        let column = identifier(&self.column(material)?.name);
        let (first, second) = (self.condition(material)?, self.condition(material)?);
        let operation = self.random.pick(&["UNION", "EXCEPT", "INTERSECT", "UNION ALL"])?;
        let r = place(at);
        let text = format!(
            "SELECT count(*), min(x) FROM (SELECT {column}::text AS x FROM {r} t WHERE {first} {operation} SELECT {column}::text FROM {r} t WHERE {second}) q"
        );
        Some(Statement::new(text, vec![at]))
    }

    fn nested(&mut self) -> Option<Statement> {
        let (at, material) = self.relation()?;
        let (first, second) = (self.condition(material)?, self.condition(material)?);
        let group = identifier(&self.column(material)?.name);
        let r = place(at);
        let text = format!(
            "SELECT count(*), max(q.m) FROM (WITH w AS (SELECT * FROM {r} t WHERE {first}) SELECT {group}::text AS g, count(*) AS m FROM w WHERE {second} GROUP BY {group}::text HAVING count(*) > 0) q"
        );
        Some(Statement::new(text, vec![at]))
    }

    fn relation(&mut self) -> Option<(usize, &'a Material)> {
        let at = self.random.below(self.materials.len());
        self.materials.get(at).map(|material| (at, material))
    }

    fn column(&mut self, material: &'a Material) -> Option<&'a ExposedColumn> {
        let columns: Vec<&ExposedColumn> = plain_columns(&material.relation).collect();
        self.random.pick(&columns).copied()
    }

    fn predicate(&mut self, material: &'a Material) -> Option<String> {
        let column = self.column(material)?;
        self.expression(material, column, calm(kind(column.base_type_oid)))
    }

    /// One or two predicates.
    fn condition(&mut self, material: &'a Material) -> Option<String> {
        let first = self.predicate(material)?;
        match self.random.below(4) {
            0 => Some(format!("({first}) AND ({})", self.predicate(material)?)),
            1 => Some(format!("({first}) OR ({})", self.predicate(material)?)),
            2 => Some(format!("NOT ({first})")),
            _ => Some(first),
        }
    }

    /// A predicate under a table alias.
    fn qualified(&mut self, material: &'a Material, alias: &str) -> Option<String> {
        let column = self.column(material)?;
        let form = *self.random.pick(calm(kind(column.base_type_oid)))?;
        Some(self.filled(material, column, form, &format!("{alias}.{}", identifier(&column.name))))
    }

    fn expression(&mut self, material: &Material, column: &ExposedColumn, forms: &[&'static str]) -> Option<String> {
        let form = *self.random.pick(forms)?;
        Some(self.filled(material, column, form, &identifier(&column.name)))
    }

    fn filled(&mut self, material: &Material, column: &ExposedColumn, form: &str, name: &str) -> String {
        let (value, other) = (self.value(material, column), self.value(material, column));
        // The values go in last: they may hold what looks like a place.
        form.replace("{c}", name).replace("{w}", "\u{2}").replace("{v}", &value).replace('\u{2}', &other)
    }

    /// A constant that the column may be compared with.
    fn value(&mut self, material: &Material, column: &ExposedColumn) -> String {
        let samples: Vec<&str> =
            material.samples.iter().filter(|(name, _)| **name == *column.name).map(|(_, value)| value.as_str()).collect();
        let sample = self.random.pick(&samples).copied();
        match kind(column.base_type_oid) {
            Kind::Int | Kind::Numeric | Kind::Float => {
                let plain = |value: &&str| value.bytes().all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte));
                sample.filter(plain).map_or_else(|| self.random.below(20).to_string(), |value| format!("({value})"))
            }
            Kind::Text | Kind::Other => literal(sample.unwrap_or("a")),
            Kind::Json => format!("{}::jsonb", literal(sample.unwrap_or("{}"))),
            Kind::Bool => "true".to_owned(),
            Kind::Date => format!("{}::date", literal(sample.unwrap_or("2024-05-05"))),
            Kind::Timestamp => format!("{}::timestamptz", literal(sample.unwrap_or("2024-05-05 00:00:00+00"))),
            Kind::Uuid => format!("{}::uuid", literal(sample.unwrap_or("00000000-0000-0000-0000-000000000007"))),
        }
    }
}

/// A total order of the rows, when the key is exposed.
fn order(material: &Material) -> Option<String> {
    super::reference::key_list(&material.relation)
}

fn summaries(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Int | Kind::Numeric => &["count({c})", "sum({c})", "min({c})", "max({c})", "count(DISTINCT {c})"],
        Kind::Float | Kind::Date | Kind::Timestamp => &["count({c})", "min({c})", "max({c})", "count(DISTINCT {c})"],
        Kind::Text => &["count({c})", "min({c})", "max({c})", "sum(length({c}))"],
        Kind::Bool => &["count({c})", "bool_and({c})", "bool_or({c})"],
        Kind::Json | Kind::Uuid | Kind::Other => &["count({c})", "min({c}::text)", "count(DISTINCT {c}::text)"],
    }
}
