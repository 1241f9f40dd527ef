//! The columns of `data.sql`, and what can be computed from each that never fails on the agent's own rows.

/// A type, as far as the generator needs to know: what it can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ty {
    Int,
    Numeric,
    Float,
    Text,
    Json,
    Texts,
    Ints,
    Timestamp,
    Date,
    Enum,
    Uuid,
    Bool,
}

/// What is known of a column's values in the agent's own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// Nothing: it is only compared.
    Any,
    /// 1 to 20.
    Amount,
    /// Even, 2 to 40.
    Twice,
    /// Halves from 0.5 to 9.5.
    Price,
    /// Digits.
    Digits,
    /// `{"k": 0..9, "a": [0..2, 2], "s": "0".."6"}`.
    Meta,
    /// Two texts of digits.
    Tags,
    /// Two positive integers.
    Nums,
    /// Days of 2024.
    At,
    /// Days of 2024.
    Day,
    /// 0.5 to 3.5.
    Score,
    /// A UUID.
    Uid,
    /// A boolean.
    Flag,
    /// An enum.
    Status,
    /// Four digits, no zero first.
    Code,
}

/// A relation's columns.
pub(super) type Relation = (&'static str, &'static [(&'static str, Ty, Domain)]);

/// What the policy exposes.
pub(super) const RELATIONS: &[Relation] = &[
    (
        "t",
        &[
            ("id", Ty::Int, Domain::Any),
            ("amount", Ty::Int, Domain::Amount),
            ("price", Ty::Numeric, Domain::Price),
            ("subject", Ty::Text, Domain::Digits),
            ("meta", Ty::Json, Domain::Meta),
            ("tags", Ty::Texts, Domain::Tags),
            ("at", Ty::Timestamp, Domain::At),
            ("status", Ty::Enum, Domain::Status),
            ("c_id", Ty::Int, Domain::Any),
            ("twice", Ty::Int, Domain::Twice),
        ],
    ),
    (
        "c",
        &[
            ("id", Ty::Int, Domain::Any),
            ("name", Ty::Text, Domain::Digits),
            ("score", Ty::Float, Domain::Score),
            ("n", Ty::Int, Domain::Amount),
            ("flag", Ty::Bool, Domain::Flag),
            ("uid", Ty::Uuid, Domain::Uid),
        ],
    ),
    (
        "m",
        &[
            ("id", Ty::Int, Domain::Any),
            ("t_id", Ty::Int, Domain::Any),
            ("day", Ty::Date, Domain::Day),
            ("nums", Ty::Ints, Domain::Nums),
            ("code", Ty::Text, Domain::Code),
        ],
    ),
    (
        "v",
        &[
            ("id", Ty::Int, Domain::Any),
            ("number", Ty::Int, Domain::Amount),
            ("share", Ty::Int, Domain::Amount),
            ("label", Ty::Text, Domain::Digits),
        ],
    ),
    ("g", &[("id", Ty::Int, Domain::Any), ("x", Ty::Int, Domain::Any), ("label", Ty::Text, Domain::Any)]),
];

/// Expressions over a column `{}`, `<i>` a small integer, each with its type. They fail on poison, or tell of it.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn computed(domain: Domain) -> &'static [(&'static str, Ty)] {
    match domain {
        Domain::Any => &[],
        Domain::Amount | Domain::Twice => &[
            ("<i>/({} - 7777)", Ty::Int),
            ("<i> % {}", Ty::Int),
            ("<i> / {}", Ty::Int),
            ("{} * 1000000", Ty::Int),
            ("{} + <i>", Ty::Int),
            ("- {}", Ty::Int),
            ("abs({})", Ty::Int),
            ("{}::int2", Ty::Int),
            ("int2({})", Ty::Int),
            ("({} << 3)", Ty::Int),
            ("sqrt({})::int", Ty::Int),
            ("mod(100, {})", Ty::Int),
            ("factorial({})::text", Ty::Text),
            ("chr({} + 64)", Ty::Text),
            ("repeat('x', {})", Ty::Text),
            ("make_date(2024, {} / 10 + 1, <i>)", Ty::Date),
            ("(date '2024-01-01' + {} * 100000)", Ty::Date),
            ("ln({} + 1)", Ty::Float),
            ("power(2, {} * 20)", Ty::Float),
            ("{} * 1.5", Ty::Numeric),
            ("array[{}, <i>]", Ty::Ints),
            ("(1 / {}) > 0", Ty::Bool),
            ("gcd({}, <i>)", Ty::Int),
            ("substr('abcdefghijklmnopqrstuvwxyz', 1, {})", Ty::Text),
            ("width_bucket({}, 0, 7777 - {}, 5)", Ty::Int),
        ],
        Domain::Price => &[
            ("sqrt({})", Ty::Numeric),
            ("ln({})", Ty::Numeric),
            ("log({})", Ty::Numeric),
            ("{}::int", Ty::Int),
            ("int2({})", Ty::Int),
            ("power({}, 0.5)", Ty::Numeric),
            ("<i> / {}", Ty::Numeric),
            ("{} % <i>", Ty::Numeric),
            ("{}::float8::float4::float8", Ty::Float),
            ("to_char({}, '999.99')", Ty::Text),
            ("round({})::int", Ty::Int),
            ("{}::text", Ty::Text),
        ],
        Domain::Score => &[
            ("{} * 10", Ty::Float),
            ("{}::int", Ty::Int),
            ("{}::numeric", Ty::Numeric),
            ("exp({})", Ty::Float),
            ("sqrt({})", Ty::Float),
            ("ln({})", Ty::Float),
            ("<i> / {}", Ty::Float),
            ("acos({} / 10)", Ty::Float),
            ("{}::float4", Ty::Float),
            ("to_timestamp({})", Ty::Timestamp),
        ],
        Domain::Digits | Domain::Code => &[
            ("{}::int", Ty::Int),
            ("int4({})", Ty::Int),
            ("cast({} as numeric)", Ty::Numeric),
            ("{}::float8", Ty::Float),
            ("'7' ~ {}", Ty::Bool),
            ("'x7' !~* {}", Ty::Bool),
            ("regexp_like('7', {})", Ty::Bool),
            ("'7' similar to {}", Ty::Bool),
            ("'12' like {}", Ty::Bool),
            ("{} like '1%'", Ty::Bool),
            // Ill-formed for values that only others have.
            ("{} like '(%\\'", Ty::Bool),
            ("{} like '*%\\'", Ty::Bool),
            ("{} not like '[%\\'", Ty::Bool),
            ("{} ilike 'X%\\'", Ty::Bool),
            ("{} like any (array['z%\\', '1%'])", Ty::Bool),
            ("regexp_replace('x7', {}, '')", Ty::Text),
            ("substring('x17' from {})", Ty::Text),
            ("lpad({}, {}::int % 5 + 1, '0')", Ty::Text),
            ("to_number({}, '999999')", Ty::Numeric),
            ("length({})", Ty::Int),
            ("lower({})", Ty::Text),
            ("{} || 'x'", Ty::Text),
            ("(case when {} ~ '^[0-9]+$' then 'open' else {} end)::st", Ty::Enum),
            ("cast(replace('lost', 'x', {}) as s.st)", Ty::Enum),
            ("left({}, <i>)", Ty::Text),
            ("substr({}, 1, length({}))", Ty::Text),
            ("('{{' || {} || '}}')::int[]", Ty::Ints),
            ("('[' || {} || ']')::jsonb", Ty::Json),
            ("date '2024-01-01' + {}::int", Ty::Date),
            ("decode(lpad({}, 4, '0'), 'hex')::text", Ty::Text),
            ("ascii({})", Ty::Int),
            ("chr(65 + {}::int % 20)", Ty::Text),
            ("10 / (length({}))", Ty::Int),
            ("({} collate \"C\")", Ty::Text),
            ("split_part({}, '1', <i>)", Ty::Text),
            ("'01:00'::interval * {}::int > interval '1 day'", Ty::Bool),
            ("starts_with({}, '1')", Ty::Bool),
        ],
        Domain::Meta => &[
            ("({}->>'k')::int", Ty::Int),
            ("({}->'k')::int", Ty::Int),
            ("({}->'k')::numeric", Ty::Numeric),
            ("jsonb_array_length({}->'a')", Ty::Int),
            ("({}->'a'->>0)::int", Ty::Int),
            ("({} #>> '{{a,1}}')::int", Ty::Int),
            ("<i> / ((jsonb_array_length({}->'a')))", Ty::Int),
            ("{} ? 'k'", Ty::Bool),
            ("{} @> '{{\"k\": 3}}'", Ty::Bool),
            ("{}->>'s'", Ty::Text),
            ("({}->>'s')::numeric", Ty::Numeric),
            ("'7' ~ ({}->>'s')", Ty::Bool),
            ("jsonb_path_query_first({}, 'strict $.k')", Ty::Json),
            ("jsonb_path_exists({}, '$.a[*] ? (@ > 1)')", Ty::Bool),
            ("{} - 'k'", Ty::Json),
            ("jsonb_set({}, '{{k}}', '5')", Ty::Json),
            ("{}->'a'", Ty::Json),
            ("jsonb_typeof({})", Ty::Text),
            ("{} @@ '$.k > 3'", Ty::Bool),
        ],
        Domain::Tags => &[
            ("{}[1]::int", Ty::Int),
            ("{}::int[]", Ty::Ints),
            ("<i> / array_length({}, 1)", Ty::Int),
            ("{}[1]", Ty::Text),
            ("array_append({}, 'z')", Ty::Texts),
            ("{} || 'z'::text", Ty::Texts),
            ("array_remove({}, '2')", Ty::Texts),
            ("array_position({}, '2')", Ty::Int),
            ("array_to_string({}, ',')", Ty::Text),
            ("'1' = any({})", Ty::Bool),
            ("'7' ~ any({})", Ty::Bool),
            ("{} && array['1']", Ty::Bool),
            ("{} @> array['2']", Ty::Bool),
            ("cardinality({})", Ty::Int),
        ],
        Domain::Nums => &[
            ("{}[1] / {}[2]", Ty::Int),
            ("<i> % {}[1]", Ty::Int),
            ("{}[1] * 1000000", Ty::Int),
            ("array_position({}, 3)", Ty::Int),
            ("{} || <i>", Ty::Ints),
            ("3 = any({})", Ty::Bool),
            ("<i> > all({})", Ty::Bool),
            ("{}::text[]", Ty::Texts),
            ("{}[1:1]", Ty::Ints),
            ("array_upper({}, 1)", Ty::Int),
        ],
        Domain::At => &[
            ("{} - timestamptz '2024-01-01' < interval '20 days'", Ty::Bool),
            ("date_trunc('day', {})", Ty::Timestamp),
            ("extract(epoch from {})::int", Ty::Int),
            ("extract(day from {})::int", Ty::Int),
            ("{}::date", Ty::Date),
            ("to_char({}, 'YYYY-MM-DD')", Ty::Text),
            ("{} + interval '1 day'", Ty::Timestamp),
            ("{} at time zone 'UTC' > '2024-01-20'", Ty::Bool),
            ("age({}, '2024-01-01') > interval '5 days'", Ty::Bool),
            ("date_bin('1 day', {}, '2024-01-01')", Ty::Timestamp),
        ],
        Domain::Day => &[
            ("{} - date '2024-01-01'", Ty::Int),
            ("{} + <i>", Ty::Date),
            ("{}::timestamptz", Ty::Timestamp),
            ("extract(doy from {})::int", Ty::Int),
            ("({} + interval '1 month') > '2024-04-05'", Ty::Bool),
            ("to_char({}, 'MM')", Ty::Text),
            ("daterange({}, '2024-06-01') @> date '2024-03-10'", Ty::Bool),
            ("{} >= timestamptz '2024-03-10'", Ty::Bool),
        ],
        Domain::Status => &[
            ("{}::text", Ty::Text),
            ("{} in ('open', 'closed')", Ty::Bool),
            ("{} = any('{{open,lost}}'::st[])", Ty::Bool),
            ("{}::text::st", Ty::Enum),
            ("{} = any(array[{}]::st[])", Ty::Bool),
            ("{} < st 'lost'", Ty::Bool),
        ],
        Domain::Uid => &[("{}::text", Ty::Text), ("('x' || left({}::text, 1))", Ty::Text)],
        Domain::Flag => &[("not {}", Ty::Bool), ("{}::int", Ty::Int), ("{}::text", Ty::Text)],
    }
}
