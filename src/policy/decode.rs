//! YAML tree → typed document. One declaration of a type gives its fields, its reader and its JSON Schema.
//! A reader notes what is wrong and goes on, so that one run shows everything.

use std::{borrow::Cow, collections::BTreeMap, ops::Deref, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    problem::{Place, Problems, shown, suggest},
    yaml::{Node, Value},
};

/// Reads a value from the tree.
pub(super) trait Decode: Sized {
    /// The value; `None` once an error is noted.
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self>;

    /// The value of a field that is not there; `None` when the field is required.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        // What could not be read is noted, the rest of the file is still looked at.
        Some(T::decode(node, problems))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A field that may be left out, and whether what was written could be read: so that what is wrong is not
/// reported a second time as missing.
#[derive(Debug, Clone)]
pub(super) enum Given<T> {
    /// Left out.
    Absent,
    /// Written, but wrong (and noted).
    Wrong,
    /// Written.
    Value(T),
}

impl<T> Given<T> {
    /// What was written, when it could be read.
    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }
}

impl<T: Decode> Decode for Given<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(T::decode(node, problems).map_or(Self::Wrong, Self::Value))
    }

    fn absent() -> Option<Self> {
        Some(Self::Absent)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) at: Place,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(Self { value: T::decode(node, problems)?, at: node.at.clone() })
    }
}

/// A mapping whose keys are names, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(Vec<(Spanned<String>, Option<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// The entries that could be read.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Spanned<String>, &T)> {
        self.0.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// The names, also of entries that could not be read.
    pub(super) fn names(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The entry of that name, if it could be read.
    pub(super) fn named(&self, name: &str) -> Option<&T> {
        self.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    /// Adds the entries of another file; a name both have is an error.
    pub(super) fn join(&mut self, other: Self, what: &str, problems: &mut Problems) {
        for (name, value) in other.0 {
            match self.0.iter().find(|(earlier, _)| earlier.value == name.value) {
                Some((earlier, _)) => {
                    problems
                        .error(&name.at, format!("{what} `{}` is defined twice, first at {}", name.value, earlier.at))
                        .hint("every file of the directory is compiled as one: rename one of the two, or keep one");
                }
                None => self.0.push((name, value)),
            }
        }
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            if !node.is_null() {
                problems
                    .error(&node.at, format!("{} where names with values are expected", node.kind()))
                    .hint("write `name: …` lines below");
            }
            return node.is_null().then(Self::default);
        };
        let read = |(key, value): &(Node, Node)| {
            let name = Spanned { value: key.text().to_owned(), at: key.at.clone() };
            (name, T::decode(value, problems))
        };
        Some(Self(entries.iter().map(read).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::List(items) = &node.value else {
            problems.error(&node.at, format!("{} where a list is expected", node.kind())).hint("write `[a, b]`, or one `- item` a line");
            return None;
        };
        Some(items.iter().filter_map(|item| T::decode(item, problems)).collect())
    }
}

/// The text of a scalar that is not null.
pub(super) fn text<'a>(node: &'a Node, expected: &str, problems: &mut Problems) -> Option<&'a str> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text),
        Value::Scalar { .. } | Value::List(_) | Value::Mapping(_) => {
            problems.error(&node.at, format!("{} where {expected} is expected", node.kind()));
            None
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        text(node, "text", problems).map(str::to_owned)
    }
}

impl Decode for bool {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        match text(node, "true or false", problems)? {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                problems.error(&node.at, format!("{} is not true or false", shown(other))).hint("write `true` or `false`");
                None
            }
        }
    }
}

impl Decode for u64 {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a whole number", problems)?;
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        if number.is_none() {
            problems.error(&node.at, format!("{} is not a whole number", shown(text))).hint("write digits only, for example 1000");
        }
        number
    }
}

/// A number and a unit: `5s`.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    if unit.is_empty() && number == 0 {
        return Some(0);
    }
    units.iter().find(|(name, _)| *name == unit.trim()).and_then(|(_, factor)| number.checked_mul(*factor))
}

impl Decode for Duration {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        // PostgreSQL's timeouts are 32-bit milliseconds.
        const LONGEST: u64 = i32::MAX as u64;
        let text = text(node, "a duration", problems)?;
        let milliseconds = quantity(text, &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000)]).filter(|ms| *ms <= LONGEST);
        if milliseconds.is_none() {
            problems
                .error(&node.at, format!("{} is not a duration", shown(text)))
                .hint("write a number with ms, s, min or h: `250ms`, `5s`");
        }
        milliseconds.map(Self::from_millis)
    }
}

/// A number of bytes: `16MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

impl Decode for Bytes {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = text(node, "a size", problems)?;
        let bytes = quantity(text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]);
        if bytes.is_none() {
            problems.error(&node.at, format!("{} is not a size", shown(text))).hint("write a number with B, KiB, MiB or GiB: `16MiB`");
        }
        bytes.map(Self)
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let text = text(node, &format!("one of {}", names.join(", ")), problems)?;
    let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    if found.is_none() {
        let error = problems.error(&node.at, format!("{} is none of {}", shown(text), names.join(", ")));
        error.hint = suggest(text, names);
    }
    found
}

/// The fields of a mapping while it is read.
pub(super) struct Fields<'a> {
    node: &'a Node,
    what: &'static str,
    entries: &'a [(Node, Node)],
}

impl<'a> Fields<'a> {
    /// Opens a mapping and notes the fields it may not have.
    pub(super) fn open(node: &'a Node, what: &'static str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            problems
                .error(&node.at, format!("{} where {what} is expected", node.kind()))
                .hint(format!("write a mapping with some of: {}", known.join(", ")));
            return None;
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text())) {
            problems.error(&key.at, format!("unknown field {} in {what}", shown(key.text()))).hint =
                suggest(key.text(), known.iter().copied());
        }
        Some(Self { node, what, entries })
    }

    /// One field's value.
    pub(super) fn take<T: Decode>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        match self.entries.iter().find(|(key, _)| key.text() == name) {
            Some((_, value)) => T::decode(value, problems),
            None => T::absent().or_else(|| {
                problems.error(&self.node.at, format!("{} needs the field `{name}`", self.what)).hint(format!("add `{name}: …`"));
                None
            }),
        }
    }
}

/// Declares a part of the document: a type, its reader, its JSON Schema.
macro_rules! document {
    ($(#[$doc:meta])* struct $name:ident ($what:literal) { $($(#[$field_doc:meta])* $field:ident $(as $key:literal)? : $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(in crate::policy) struct $name {
            $($(#[$field_doc])* $(#[schemars(rename = $key)])? pub(in crate::policy) $field: $type,)*
        }

        impl $crate::policy::decode::Decode for $name {
            fn decode(node: &$crate::policy::yaml::Node, problems: &mut $crate::policy::problem::Problems) -> Option<Self> {
                let known = [$($crate::policy::decode::key!($field $($key)?)),*];
                let fields = $crate::policy::decode::Fields::open(node, $what, &known, problems)?;
                $(let $field = fields.take::<$type>($crate::policy::decode::key!($field $($key)?), problems);)*
                Some(Self { $($field: $field?),* })
            }
        }
    };
}

macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// The JSON Schema of a type that is written as a text.
macro_rules! text_schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

/// A type that is one of a few words.
macro_rules! words {
    ($type:ty, $name:literal, $($word:literal => $value:expr),+) => {
        impl $crate::policy::decode::Decode for $type {
            fn decode(node: &$crate::policy::yaml::Node, problems: &mut $crate::policy::problem::Problems) -> Option<Self> {
                $crate::policy::decode::word(node, &[$(($word, $value)),+], problems)
            }
        }

        $crate::policy::decode::text_schema!($type, $name, { "type": "string", "enum": [$($word),+] });
    };
}

pub(super) use {document, key, text_schema, words};

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        <BTreeMap<String, T>>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <BTreeMap<String, T>>::json_schema(generator)
    }
}

text_schema!(Bytes, "Bytes", { "type": ["string", "integer"], "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$|^0$" });
