//! One row that the agent may not see is singled out by a comparison that an index answers, and one operator fails on it: as
//! cheap as a tenant's predicate, so that nothing but a fence keeps a planner from trying it first.

use super::{Generator, columns::Ty};

/// A relation, comparisons that no row of the agent's own passes (a column, its type, values), and predicates over it.
type Bait = (&'static str, &'static [(&'static str, Ty, &'static [&'static str])], &'static [&'static str]);

const BAITS: &[Bait] = &[
    (
        "t",
        &[
            ("id", Ty::Int, &["1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1010", "1011", "1030", "1269"]),
            ("amount", Ty::Int, &["7777", "2147483647", "-5", "-2147483648", "0"]),
            ("subject", Ty::Text, &["(((", "x", "\\", "{", "*", "99999999999999999999"]),
            ("c_id", Ty::Int, &["0", "22", "23", "24"]),
            ("at", Ty::Timestamp, &["infinity", "-infinity", "294276-12-31"]),
            ("status", Ty::Enum, &["lost"]),
        ],
        &[
            "(x.amount / 0) is not null",
            "(x.amount % 0) is null",
            "(x.amount + 2147483647) is not null",
            "(x.amount * 2147483647) is null",
            "(- x.amount) is not null",
            "x.amount::int2 is not null",
            "chr(x.amount) is not null",
            "(x.price / 0) is not null",
            "x.price::int is not null",
            "sqrt(x.price) is not null",
            "ln(x.price) is not null",
            "width_bucket(x.price, 1, 1, 1) is null",
            "x.subject::int is not null",
            "x.subject::numeric is null",
            "x.subject::jsonb is not null",
            "x.subject::uuid is null",
            "'x' ~ x.subject",
            "'x' !~* x.subject",
            "x.subject ~ '('",
            "'x' like x.subject",
            "substr(x.subject, 1, -1) is null",
            "substring(x.subject from 2 for -3) is not null",
            "repeat(x.subject, 2147483647) is not null",
            "split_part(x.subject, ',', 0) is null",
            "regexp_replace(x.subject, '(', '') is not null",
            "decode(x.subject, 'hex') is not null",
            "decode(x.subject, 'nothing') is null",
            "date_trunc(x.subject, x.at) is null",
            "x.at at time zone x.subject is null",
            "x.at + interval '290000 years' is not null",
            "x.meta::int is not null",
            "(x.meta -> 'k')::int is not null",
            "jsonb_array_length(x.meta) is not null",
            "jsonb_path_exists(x.meta, 'strict $.nowhere')",
            "jsonb_path_query_first(x.meta, 'strict $[5]') is null",
            "(x.meta - 1) is not null",
            "x.tags::int[] is not null",
            "x.tags[1]::int is not null",
            "(x.tags || '{{{a}}}'::text[]) is null",
            "array_position(x.tags, '2') is null",
            // Patterns that are ill-formed for one value only: an estimator meets it among the most common ones.
            "x.subject like '(%\\'",
            "x.subject like '*\\'",
            "x.subject not like '(((\\'",
            "x.subject ilike 'X\\'",
            "(x.subject like '{%\\') is true",
            "x.subject like any (array['(%\\', '*\\'])",
            "lower(x.subject) like 'x\\'",
            "x.subject like '(%!' escape '!'",
            // What reads no governed column, and is computed when a row gets there.
            "x.id > (select count(*) from s.g h where 1 / (h.x - h.x) = 1)",
            "x.id > (select 1 / (extract(year from now())::int - extract(year from now())::int))",
            // No equality: PostgreSQL would hold it against the pinned constant once, before any row.
            "x.subject >= (select h.label from s.g h)",
            "coalesce(x.at > now() + interval '294000 years', false)",
            "coalesce(x.id > 1 / (extract(year from now())::int - extract(year from now())::int), false)",
            "coalesce(x.subject > now()::text::int::text, false)",
            // Columns of two collations.
            "x.ca < x.cp",
            "x.ca = x.cp",
            "x.ca || x.cp > 'x'",
            "(x.ca, x.id) < (x.cp, x.id)",
            "upper(x.ca || x.cp) = 'X'",
        ],
    ),
    (
        "c",
        &[
            ("id", Ty::Int, &["1001", "1002", "1003", "1004", "1005", "1006", "1130"]),
            ("n", Ty::Int, &["0", "2147483647", "-1", "-2147483648"]),
            ("name", Ty::Text, &["[", "(((", "\\", "x", "*", "1e400"]),
        ],
        &[
            "(x.n / 0) is not null",
            "(x.n + 2147483647) is null",
            "(- x.n) is not null",
            "x.name::int is not null",
            "x.name::float8 is not null",
            "'x' ~ x.name",
            "substr(x.name, 1, -1) is null",
            "(x.score / 0) is not null",
            "(x.score * 1e308) is null",
            "exp(x.score) is null",
            "x.score::int is not null",
            "sqrt(x.score) is null",
            "x.uid::text::int is null",
            "x.name like '[%\\'",
            "x.name not ilike '(%\\'",
            "x.name like '1e4%\\'",
            "x.n > (select count(*) from s.g h where 1 / (h.x - h.x) = 1)",
            "coalesce(x.n > 1 / (extract(year from now())::int - extract(year from now())::int), false)",
        ],
    ),
    (
        "m",
        &[
            ("id", Ty::Int, &["1001", "1002", "1003", "1004", "1005", "1130"]),
            ("t_id", Ty::Int, &["31", "32", "40", "44"]),
            ("code", Ty::Text, &["(", "zz", "\\", "*", "["]),
            ("day", Ty::Date, &["infinity", "-infinity", "5874897-12-31"]),
        ],
        &[
            "(x.day + 2147483647) is not null",
            "(x.day - date '2024-01-01') is null",
            "x.day::timestamptz is null",
            "(x.nums[1] / 0) is not null",
            "(x.nums[1] / x.nums[2]) is null",
            "(x.nums || '{{{1}}}'::int[]) is null",
            "array_position(x.nums, 3) is null",
            "x.code::int is not null",
            "'x' ~ x.code",
            "x.code like E'\\\\'",
            "substring(x.code from '(') is null",
            "substr(x.code, 1, -1) is null",
            "x.code like 'z%\\'",
            "x.code like 'xyz\\'",
            "x.id > (select h.x from s.g h)",
            "coalesce(x.day > current_date + 2147483647, false)",
            "x.day > (select current_date + 2147483647)",
        ],
    ),
    // What the view computes fails on these rows, whatever it is compared with.
    (
        "v",
        &[("id", Ty::Int, &["1001", "1002", "1003", "1004", "1006", "1130"])],
        &[
            "x.number > 0",
            "x.number is not null",
            "x.number = any (array[1, 2])",
            "x.share between 1 and 20",
            "(x.share, x.id) > (0, 0)",
            "coalesce(x.share, x.number) <> 3",
            "x.label::int > 0",
            "x.label like '[%\\'",
            "x.number in (select h.x from s.g h)",
        ],
    ),
];

/// A statement, and the same one in steps.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) text: String,
    pub(super) staged: String,
    pub(super) ordered: bool,
}

impl Generator {
    /// A statement of the kind.
    pub(super) fn pinned(&mut self) -> Pinned {
        let (relation, anchors, predicates) = *self.structure.pick(BAITS);
        let (column, ty, values) = *self.structure.pick(anchors);
        let value = *self.literals.pick(values);
        let anchor = format!("x.{column} = {}", self.anchored(ty, value));
        let fails = *self.structure.pick(predicates);
        let direct = (format!("s.{relation} x"), format!("{anchor} and {fails}"));
        // Of the agent's own rows PostgreSQL may try either first; no row is left for the second when it is asked in steps.
        let staged = (format!("(select * from s.{relation} x where {anchor} offset 0) x"), fails.to_owned());
        let form = self.structure.below(8);
        let written = |(from, condition): (String, String)| match form {
            0 => format!("select x.id from {from} where {condition} order by 1"),
            1 => format!("select count(*) from (select * from {from} where {condition}) x"),
            2 => format!("select count(*) from s.g y where exists (select from {from} where {condition})"),
            3 => format!("select y.id, (select count(*) from {from} where {condition}) from s.g y"),
            4 => format!("select count(x.id) from s.g y left join {from} on {condition}"),
            5 => format!("select count(*) from s.g y join {from} on {condition} and y.x >= 0"),
            _ => format!("select count(*) from {from} where {condition}"),
        };
        Pinned { text: written(direct), staged: written(staged), ordered: form == 0 }
    }

    /// The value as a constant, in the extended protocol now and then as a parameter.
    fn anchored(&mut self, ty: Ty, value: &str) -> String {
        let parameter = self.structure.chance(70);
        if let Some(parameters) = self.parameters.as_mut().filter(|_| parameter) {
            // No cast: it would make the comparison dearer than what fails.
            parameters.push((if ty == Ty::Int { 20 } else { 0 }, value.to_owned()));
            return format!("${}", parameters.len());
        }
        if ty == Ty::Int { value.to_owned() } else { format!("'{value}'") }
    }
}
