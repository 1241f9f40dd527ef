//! The walk over a filter: what each part is, whether it may be there, and whether a setting moves it.

mod operators;

use std::collections::BTreeSet;

use super::{
    rewrite::{Edit, Edits},
    steady::{self, INTERVAL, TIMESTAMPTZ},
};
use crate::{
    policy::{
        compile::Compiler,
        problem::{Place, shown, suggest},
    },
    sql::{
        self, Node, Tree, allow,
        builtin::{BOOL, Cast, TEXT, Types, UNKNOWN, Volatility},
        canonical::{self, TextForm},
        catalog::{CatalogSnapshot, Oid, Relation},
        literal,
    },
};

/// What stands before the text when it is parsed.
const BEFORE: usize = "SELECT 1 WHERE (".len();

const INT8: Oid = 20;
const INT4: Oid = 23;
const NUMERIC: Oid = 1700;
const VARCHAR: Oid = 1043;
const BIT: Oid = 1560;
const JSONPATH: Oid = 4072;
const REGCONFIG: Oid = 3734;
/// The type of what was refused already: nothing more is said of it.
const REFUSED: Oid = 0;

/// What an operand is, as far as leakproofness goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// A column whose comparisons by its base type are what PostgreSQL's catalog says.
    Column(Oid),
    /// A string or NULL literal: it takes the type of the other side.
    Untyped,
    /// A literal of a known type.
    Typed(Oid),
    /// Anything else: allowed, not leakproof.
    Other,
}

/// What is known of a part.
#[derive(Debug, Clone)]
pub(super) struct Value {
    oid: Oid,
    operand: Operand,
    /// As a condition: whether every part is leakproof.
    pub(super) leakproof: bool,
    /// Whether it raises no error on any row. What reads no column says nothing of a row.
    pub(super) total: bool,
    /// Whether it reads a column.
    column: bool,
    /// A string literal without a type: where it stands, and its text.
    literal: Option<(usize, String)>,
}

impl Value {
    fn other(oid: Oid) -> Self {
        Self { oid, operand: Operand::Other, leakproof: false, total: true, column: false, literal: None }
    }

    fn refused() -> Self {
        Self::other(REFUSED)
    }

    /// Of that type, made of these parts.
    fn of(oid: Oid, parts: &[&Self]) -> Self {
        let column = parts.iter().any(|part| part.column);
        Self { total: parts.iter().all(|part| part.total), column, ..Self::other(oid) }
    }

    fn leakproof(self, leakproof: bool) -> Self {
        Self { leakproof, total: self.total || leakproof, ..self }
    }

    /// The same, where an error can come of what is done with the parts.
    fn partial(self, total: bool) -> Self {
        Self { total: !self.column || (self.total && total), ..self }
    }
}

pub(super) struct Walk<'a, 'b> {
    compiler: &'a mut Compiler<'b>,
    at: &'a Place,
    relation: &'a Relation,
    catalog: &'a CatalogSnapshot,
    types: Types<'a>,
    edits: Edits,
}

/// Whether a constant is true or false.
pub(super) fn is_boolean(node: &Node) -> bool {
    constant(node).operand == Operand::Typed(BOOL)
}

impl<'a, 'b> Walk<'a, 'b> {
    pub(super) fn over(compiler: &'a mut Compiler<'b>, at: &'a Place, relation: &'a Relation, catalog: &'a CatalogSnapshot) -> Self {
        Self { compiler, at, relation, catalog, types: Types::of(catalog), edits: Edits::new() }
    }

    /// The whole expression.
    pub(super) fn filter(&mut self, expression: &Tree) -> Value {
        let value = self.value(expression);
        self.settle(&value, BOOL);
        value
    }

    /// Another type's operator would let rows through that the filter hides.
    pub(super) fn foreign(&mut self, expression: &Tree) {
        let mut names = BTreeSet::new();
        let mut first = None;
        for column in &self.relation.columns {
            if let Some(of) = self.catalog.foreign(column.type_oid) {
                names.insert(column.name.as_str().into());
                first = first.or(Some((column, of)));
            }
        }
        let (Some((column, of)), Ok(Some(found))) = (first, sql::foreign_use(expression, names)) else { return };
        let why = of.extension.and_then(|name| self.catalog.extensions.resolution().unused().find(|(unused, _)| *unused == name));
        let why = match why {
            Some((name, unused)) => format!("extension {name} in schema {} is not used: {}", unused.schema, unused.why),
            None => format!("type {} is neither built in nor of a reviewed extension", of.name),
        };
        let message = format!("`where` has {} on {} ({}), which would be another type's: {why}", found.what, shown(&column.name), of.name);
        let hint = match of.extension {
            Some(name) => format!("cast the column to text, or move it: alter extension {name} set schema … (docs/EXTENSIONS.md)"),
            None => "cast the column to text (docs/EXTENSIONS.md)".to_owned(),
        };
        self.compiler.problems.error(self.at, message).hint(hint);
    }

    /// What is to be written otherwise.
    pub(super) fn into_edits(self) -> Edits {
        self.edits
    }

    pub(super) fn refuse(&mut self, what: &str) {
        self.compiler
            .problems
            .error(self.at, format!("`where` must not use {what}"))
            .hint("use columns of this relation, constants, comparisons, in, between, like, is null, and, or, not, and reviewed functions");
    }

    fn other(&mut self, what: &str) -> Value {
        self.refuse(what);
        Value::refused()
    }

    /// Something that gives another result under other settings.
    fn moved(&mut self, what: &str, hint: &str) {
        let message = format!("`where` depends on the session's settings, which agents change: {what}");
        self.compiler.problems.error(self.at, message).hint(hint);
    }

    /// Something of which it is not certain what PostgreSQL makes of it.
    fn uncertain(&mut self, what: &str) -> Value {
        let message = format!("`where` has {what}: not certain which of PostgreSQL's functions it means");
        self.compiler.problems.error(self.at, message).hint("cast the operands to built-in types that fit each other");
        Value::refused()
    }

    fn type_name(&self, oid: Oid) -> String {
        let own = || self.catalog.types.get(&oid).map(|known| known.name.as_str());
        match self.types.element(oid) {
            _ if oid == UNKNOWN => "a literal".to_owned(),
            Some(element) => format!("{}[]", self.type_name(element)),
            None => self.types.facts().type_name(oid).or_else(own).unwrap_or("another type").to_owned(),
        }
    }

    fn value(&mut self, tree: &Tree) -> Value {
        let Some(node) = tree.as_node() else {
            return self.other("an empty expression");
        };
        match node.kind {
            "ColumnRef" => self.column(node),
            "AConst" => constant(node),
            "TypeCast" => self.cast(node),
            "AExpr" => self.operator(node),
            "BoolExpr" => self.all(node),
            "NullTest" => self.test(node, false),
            "BooleanTest" => self.test(node, true),
            "AArrayExpr" => self.array(node),
            "CoalesceExpr" => {
                let values = self.values(node, "args");
                self.alike(&values)
            }
            "CaseExpr" => self.case(node),
            "SqlvalueFunction" | "SqlValueFunction" => self.clock(node),
            "FuncCall" => self.call(node),
            "SubLink" => self.other("a subquery"),
            "ParamRef" => self.other("a parameter"),
            kind => self.other(&format!("this form ({kind})")),
        }
    }

    fn values(&mut self, node: &Node, field: &'static str) -> Vec<Value> {
        node.field(field).map(Tree::items).unwrap_or_default().iter().map(|item| self.value(item)).collect()
    }

    fn field(&mut self, node: &Node, field: &'static str) -> Option<Value> {
        node.field(field).ok().filter(|tree| **tree != Tree::Null).map(|tree| self.value(tree))
    }

    /// AND, OR, NOT.
    fn all(&mut self, node: &Node) -> Value {
        let values = self.values(node, "args");
        for value in &values {
            self.settle(value, BOOL);
        }
        let parts: Vec<&Value> = values.iter().collect();
        Value::of(BOOL, &parts).leakproof(values.iter().all(|value| value.leakproof))
    }

    fn test(&mut self, node: &Node, boolean: bool) -> Value {
        let Some(value) = self.field(node, "arg") else { return self.other("an empty expression") };
        if boolean {
            self.settle(&value, BOOL);
        }
        Value::of(BOOL, &[&value]).leakproof(value.operand != Operand::Other)
    }

    fn array(&mut self, node: &Node) -> Value {
        let values = self.values(node, "elements");
        let found = self.alike(&values);
        let array = if found.oid == REFUSED { Some(REFUSED) } else { self.types.array(found.oid) };
        match array {
            Some(oid) => Value { oid, ..found },
            None => self.uncertain("an array"),
        }
    }

    /// Values that become one type.
    fn alike(&mut self, values: &[Value]) -> Value {
        if values.iter().any(|value| value.oid == REFUSED) {
            return Value::refused();
        }
        let oids: Vec<Oid> = values.iter().map(|value| value.oid).collect();
        let Some(common) = self.types.common(&oids) else { return self.uncertain("values of types that do not fit each other") };
        for value in values {
            self.settle(value, common);
        }
        let parts: Vec<&Value> = values.iter().collect();
        Value::of(common, &parts).partial(oids.iter().all(|oid| *oid == UNKNOWN || steady::is_total_cast(*oid, common)))
    }

    fn case(&mut self, node: &Node) -> Value {
        let tested = self.field(node, "arg");
        let (mut results, mut parts) = (Vec::new(), Vec::new());
        for when in node.field("args").map(Tree::items).unwrap_or_default() {
            let Some(when) = when.of_kind("CaseWhen") else { return self.other("this form of CASE") };
            let Some(condition) = self.field(when, "expr") else { return self.other("this form of CASE") };
            match &tested {
                None => {
                    self.settle(&condition, BOOL);
                    parts.push(condition);
                }
                Some(tested) => parts.push(self.apply("=", Some(tested), &condition, None)),
            }
            results.extend(self.field(when, "result"));
        }
        results.extend(self.field(node, "defresult"));
        let found = self.alike(&results);
        if found.oid == REFUSED || parts.iter().any(|part| part.oid == REFUSED) {
            return Value::refused();
        }
        let all: Vec<&Value> = parts.iter().chain([&found]).collect();
        Value::of(found.oid, &all)
    }

    fn column(&mut self, node: &Node) -> Value {
        let names = node.names("fields").unwrap_or_default();
        let [name] = names.as_slice() else {
            return self.other("a qualified name or `*`");
        };
        let Some(column) = self.relation.columns.iter().find(|column| column.name == *name) else {
            let known = self.relation.columns.iter().map(|column| column.name.as_str());
            let message = format!("`where` names {}, which is no column of `{}.{}`", shown(name), self.relation.schema, self.relation.name);
            self.compiler.problems.error(self.at, message).hint = suggest(name, known);
            return Value::refused();
        };
        if !column.readable && !self.relation.readable {
            let message = format!("`where` needs the column {}, which the source's credential may not read", shown(name));
            self.compiler.problems.error(self.at, message).hint("grant select on it, or leave it out");
        }
        let base = self.catalog.base_type(column.type_oid);
        let is_enum = self.catalog.types.get(&base).is_some_and(|found| found.kind == 'e');
        // A column whose type's own comparisons are known to be exact; anything unusual is `Other`.
        let operand = if !column.deterministic_collation {
            Operand::Other
        } else if is_enum {
            Operand::Column(allow::ANY_ENUM)
        } else if base == VARCHAR {
            Operand::Column(TEXT)
        } else {
            Operand::Column(base)
        };
        let oid = if canonical::is_text(self.catalog, base) { TEXT } else { base };
        Value { oid, operand, column: true, ..Value::other(oid) }.leakproof(operand == Operand::Column(BOOL))
    }

    /// What a value is used as: a literal is read as that type, another value becomes it.
    fn settle(&mut self, value: &Value, to: Oid) {
        if value.oid == REFUSED || to == REFUSED {
            return;
        }
        if let Some((place, text)) = &value.literal {
            self.read(*place, text, to);
        } else if value.oid != UNKNOWN {
            match self.types.implicit(value.oid, to) {
                Some(Volatility::Immutable) => {}
                Some(Volatility::Stable | Volatility::Volatile) => {
                    let what = format!("{} becomes {}", self.type_name(value.oid), self.type_name(to));
                    self.moved(&what, steady::cast_advice(value.oid, to));
                }
                None if to == BOOL => self.refuse("a value that is not true or false"),
                None => {
                    let what = format!("{} where {} is needed", self.type_name(value.oid), self.type_name(to));
                    self.uncertain(&what);
                }
            }
        }
    }

    /// A literal, read as a type.
    fn read(&mut self, place: usize, text: &str, to: Oid) {
        if to == JSONPATH && literal::makes_dates(text) {
            return self.moved("a path that makes dates or their text", "compare the text that `->>` gives");
        }
        // Looked up in pg_catalog, the only schema of the session's search path.
        let configuration = to == REGCONFIG && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        match literal::canonical(to, text) {
            Ok(same) if same == text => {}
            Ok(canonical) => drop(self.edits.insert(place, Edit::Constant(canonical))),
            Err(_) if configuration || self.types.reads(to) == Volatility::Immutable => {}
            Err(moved) => {
                let what = format!("the constant {}, a {}, {}", shown(text), self.type_name(to), moved.why);
                self.moved(&what, moved.hint);
            }
        }
    }

    fn cast(&mut self, node: &Node) -> Value {
        let Some(type_name) = node.node("type_name").ok().flatten() else { return self.other("a cast without a type") };
        let names = type_name.names("names").unwrap_or_default();
        if let Some(value) = self.cast_to_text_kind(node, type_name, &names) {
            return value;
        }
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => return self.other("a type outside pg_catalog"),
        };
        let extension = self.catalog.extensions.resolution().type_named(name).map(|(oid, _)| oid);
        let extension = extension.filter(|oid| names.len() == 1 && self.types.is_plain_extension(*oid));
        if let (Err(class), None) = (allow::cast_type(name), extension) {
            return self.other(&format!("a cast to {}: {}", shown(name), class.reason));
        }
        let is_array = !type_name.list("array_bounds").is_ok_and(<[Tree]>::is_empty);
        let found = self.types.facts().type_named(name).or(extension);
        let Some(to) = found.and_then(|oid| if is_array { self.types.array(oid) } else { Some(oid) }) else {
            return self.uncertain(&format!("a cast to {}", shown(name)));
        };
        // The elements of an array that is written out are cast one by one (`transformTypeCast`).
        let written = node.node("arg").ok().flatten().filter(|arg| arg.kind == "AArrayExpr");
        if let (Some(array), Some(element)) = (written, self.types.element(to)) {
            let values = self.values(array, "elements");
            let known = values.iter().all(|value| value.oid != REFUSED);
            let total = values.iter().fold(known, |total, value| known && self.cast_to(value, element) && total);
            let parts: Vec<&Value> = values.iter().collect();
            return if known { Value::of(to, &parts).partial(total) } else { Value::refused() };
        }
        let Some(value) = self.field(node, "arg") else { return self.other("an empty expression") };
        if value.oid == REFUSED {
            return Value::refused();
        }
        let plain = type_name.list("typmods").is_ok_and(<[Tree]>::is_empty) && !is_array;
        // A cast of a constant is done once, before any row is seen.
        let constant = plain && matches!(value.operand, Operand::Untyped | Operand::Typed(_));
        let total = self.cast_to(&value, to);
        let known = if to == VARCHAR { TEXT } else { to };
        let operand = if constant && TYPES.contains(&known) { Operand::Typed(known) } else { Operand::Other };
        Value { operand, ..Value::of(to, &[&value]) }.partial(plain && total).leakproof(operand == Operand::Typed(BOOL))
    }

    /// `'x'::citext`: a literal as a type of an extension that is text and no more.
    fn cast_to_text_kind(&self, node: &Node, type_name: &Node, names: &[&str]) -> Option<Value> {
        let plain = ["typmods", "array_bounds"].iter().all(|field| type_name.list(field).is_ok_and(<[Tree]>::is_empty));
        let literal = node.node("arg").ok().flatten().filter(|arg| arg.kind == "AConst").map(constant);
        literal.filter(|value| plain && value.operand == Operand::Untyped)?;
        let resolution = self.catalog.extensions.resolution();
        let (oid, _) = match names {
            [name] if allow::cast_type(name).is_err() => resolution.type_named(name)?,
            [schema, name] => resolution.type_named(name).filter(|(_, of)| *of.schema == **schema)?,
            _ => return None,
        };
        canonical::is_text(self.catalog, oid).then(|| Value { operand: Operand::Typed(oid), ..Value::other(TEXT) })
    }

    /// Checks a cast; says whether it raises no error.
    fn cast_to(&mut self, value: &Value, to: Oid) -> bool {
        if let Some((place, text)) = &value.literal {
            self.read(*place, text, to);
            return true;
        }
        let steady = match self.types.explicit(value.oid, to) {
            Some(Cast::Same) => true,
            Some(Cast::Function(volatility)) => volatility == Volatility::Immutable,
            Some(Cast::Text) => {
                canonical::text_form(self.catalog, value.oid) == Some(TextForm::Cast) && self.types.reads(to) == Volatility::Immutable
            }
            None => {
                let what = format!("a cast of {} to {}", self.type_name(value.oid), self.type_name(to));
                self.uncertain(&what);
                true
            }
        };
        if !steady {
            let what = format!("the cast of {} to {}", self.type_name(value.oid), self.type_name(to));
            self.moved(&what, steady::cast_advice(value.oid, to));
        }
        steady::is_total_cast(value.oid, to) || (to == TEXT && self.types.explicit(value.oid, to) == Some(Cast::Text))
    }

    /// `now()` in its grammatical forms.
    fn clock(&mut self, node: &Node) -> Value {
        // SVFOP_CURRENT_DATE (1) to SVFOP_LOCALTIMESTAMP_N (9); what follows names roles and schemas of the source.
        match node.int("op") {
            Ok(4 | 5) => Value::other(TIMESTAMPTZ),
            Ok(1) => {
                self.moved("current_date is the day in the session's TimeZone", "write `(now() at time zone 'UTC')::date`");
                Value::refused()
            }
            Ok(2 | 3 | 6..=9) => {
                self.moved("the local time is the one in the session's TimeZone", "write `now() at time zone 'UTC'`");
                Value::refused()
            }
            Ok(_) | Err(_) => self.other("the session's user, role or schema"),
        }
    }

    /// A call of a reviewed function that answers the same for the whole statement.
    fn call(&mut self, node: &Node) -> Value {
        let names = node.names("funcname").unwrap_or_default();
        let shown = names.join(".");
        let arguments = node.list("args").unwrap_or_default();
        let plain = ["agg_within_group", "agg_star", "agg_distinct", "func_variadic"].iter().all(|flag| node.flag(flag) == Ok(false))
            && node.list("agg_order").is_ok_and(<[Tree]>::is_empty)
            && ["agg_filter", "over"].iter().all(|field| matches!(node.node(field), Ok(None)));
        let ([name] | ["pg_catalog", name], true) = (names.as_slice(), plain) else {
            return self.other(&format!("the function `{shown}`: only plain calls of built-in functions can be"));
        };
        match allow::function(name, arguments.len()) {
            allow::FunctionRule::Allowed(class, allow::Kind::Normal) if class.name != "random" && *name != "clock_timestamp" => {
                let values = self.values(node, "args");
                self.called(name, &values)
            }
            allow::FunctionRule::Allowed(..) => {
                self.other(&format!("the function `{shown}`: it is volatile, an aggregate or returns rows"))
            }
            allow::FunctionRule::Virtual(_) => self.other(&format!("the function `{shown}`: a filter is the same for every session")),
            allow::FunctionRule::Denied(class) => self.other(&format!("the function `{shown}`: {}", class.reason)),
            allow::FunctionRule::Unknown if names.len() == 1 && self.catalog.extensions.resolution().function(name) == Some('i') => {
                let values = self.values(node, "args");
                self.called(name, &values)
            }
            allow::FunctionRule::Unknown => self.other(&format!("the function `{shown}`, which is not on the reviewed list")),
        }
    }

    fn called(&mut self, name: &str, values: &[Value]) -> Value {
        let given: Vec<Oid> = values.iter().map(|value| value.oid).collect();
        if given.contains(&REFUSED) {
            return Value::refused();
        }
        // `date('…')` is a cast of the literal.
        if given == [UNKNOWN] && self.types.facts().type_named(name).is_some() {
            let message = format!("`where` must not use the function `{name}` on a literal");
            self.compiler.problems.error(self.at, message).hint(format!("write `{name} '…'`, the literal with its type"));
            return Value::refused();
        }
        let written = || given.iter().map(|oid| self.type_name(*oid)).collect::<Vec<_>>().join(", ");
        let what = format!("`{name}({})`", written());
        let Ok(meant) = self.types.function(name, &given) else { return self.uncertain(&what) };
        for (value, to) in values.iter().zip(&meant.arguments) {
            self.settle(value, *to);
        }
        if !steady::is_steady(self.catalog, name, &meant) {
            self.moved(&what, steady::advice(name, &meant.arguments));
        }
        let parts: Vec<&Value> = values.iter().collect();
        let total = allow::leakproof_function(name, &meant.arguments) && operators::gentle(values, &meant);
        Value::of(meant.result, &parts).partial(total)
    }
}

fn constant(node: &Node) -> Value {
    let typed = |oid| Value { operand: Operand::Typed(oid), ..Value::other(oid) }.leakproof(oid == BOOL);
    let untyped = Value { operand: Operand::Untyped, ..Value::other(UNKNOWN) };
    let Ok(Some(value)) = node.node("val") else { return untyped };
    match value.kind {
        "Integer" => typed(INT4),
        "Boolean" => typed(BOOL),
        "String" => {
            let place = node.location().and_then(|place| place.checked_sub(BEFORE));
            Value { literal: place.zip(value.text("sval").ok().map(str::to_owned)), ..untyped }
        }
        "Float" if value.text("fval").is_ok_and(|digits| digits.parse::<i64>().is_ok()) => typed(INT8),
        "BitString" => Value::other(BIT),
        _ => Value::other(NUMERIC),
    }
}

/// Types whose constants keep a comparison leakproof.
const TYPES: &[Oid] = &[BOOL, 21, INT4, INT8, 700, 701, NUMERIC, TEXT, 2950, 1082, 1083, 1114, TIMESTAMPTZ, INTERVAL, 3802];
