//! Expressions over no column that raise nothing when they run: folded as the statement is planned, or clocks and bounded steps from
//! them.
//!
//! PostgreSQL runs what it has not folded when the first row gets to it, be it the condition of a subquery, an operand or a limit:
//! an error there tells that somebody's row got there. Folded is what an immutable function makes of constants, and nothing else: no
//! parameter, no clock, no cast that reads a setting. An error of folding comes whatever the tables hold.

use pg_query::protobuf::{AExprKind, SqlValueFunctionOp};

use super::{
    expression::Analyzer,
    shapes::{self, BOOL, DATE, FLOAT8, INT2, INT4, INT8, INTERVAL, NUMERIC, TEXT, TIMESTAMP, TIMESTAMPTZ, Type, VARCHAR},
};
use crate::sql::{Misread, Node, Tree, catalog::Oid};

/// Functions of `pg_catalog` that are immutable in every form that takes numbers and text, with what they give.
const IMMUTABLE: &[(&str, Option<Oid>)] = &[
    ("abs", None),
    ("ascii", Some(INT4)),
    ("btrim", Some(TEXT)),
    ("ceil", None),
    ("ceiling", None),
    ("char_length", Some(INT4)),
    ("character_length", Some(INT4)),
    ("chr", Some(TEXT)),
    ("floor", None),
    ("initcap", Some(TEXT)),
    ("left", Some(TEXT)),
    ("length", Some(INT4)),
    ("lower", Some(TEXT)),
    ("lpad", Some(TEXT)),
    ("ltrim", Some(TEXT)),
    ("make_date", Some(DATE)),
    ("make_interval", Some(INTERVAL)),
    ("make_timestamp", Some(TIMESTAMP)),
    ("md5", Some(TEXT)),
    ("mod", None),
    ("power", None),
    ("replace", Some(TEXT)),
    ("reverse", Some(TEXT)),
    ("right", Some(TEXT)),
    ("round", None),
    ("rpad", Some(TEXT)),
    ("rtrim", Some(TEXT)),
    ("sign", None),
    ("split_part", Some(TEXT)),
    ("sqrt", None),
    ("strpos", Some(INT4)),
    ("substr", Some(TEXT)),
    ("substring", Some(TEXT)),
    ("trunc", None),
    ("upper", Some(TEXT)),
];

/// Parts of a time that every type with a date has.
const PARTS: &[&str] = &["year", "isoyear", "quarter", "month", "week", "day", "dow", "isodow", "doy", "epoch"];
/// What `date_trunc` cuts to.
const UNITS: &[&str] = &["second", "minute", "hour", "day", "week", "month", "quarter", "year"];
/// How far from today's date steps may lead. Unit: days; types reach from 4713 BC.
const FAR: f64 = 2_000_000.0;
/// A number that fits an `int4` with room to spare.
const SMALL: f64 = 1_000_000_000.0;

/// A value whose bounds are known.
#[derive(Debug, Clone, Copy)]
struct Steady {
    of: Oid,
    /// Of a time how far from today, of an interval how long, both in days; of a number how large.
    size: f64,
}

impl Analyzer<'_> {
    /// The type of what certainly is a constant when the statement is planned; `None` when it may not be one.
    pub(super) fn folded(&self, tree: &Tree) -> Result<Option<Type>, Misread> {
        let Some(node) = tree.as_node() else { return Ok(None) };
        match node.kind {
            "AConst" => self.constant_type(tree).map(Some),
            "TypeCast" => self.folded_cast(node),
            "AExpr" => self.folded_operator(node),
            "FuncCall" => self.folded_call(node),
            "AArrayExpr" => {
                for element in node.list("elements")? {
                    if self.folded(element)?.is_none() {
                        return Ok(None);
                    }
                }
                self.constant_type(tree).map(Some)
            }
            // Anything else is looked at part by part.
            _ => Ok(None),
        }
    }

    fn folded_cast(&self, node: &Node) -> Result<Option<Type>, Misread> {
        let name = node.node("type_name")?;
        if name.and_then(Node::location).is_some_and(|at| self.converting.contains(&at)) {
            return Ok(None);
        }
        let target = self.cast_target(node)?;
        let argument = node.field("arg")?;
        if is_text_or_null(argument)? {
            // Read by the type's input function as the statement is parsed.
            return Ok(Some(target));
        }
        let (Some(from), Type::Known(to)) = (self.folded(argument)?, target) else { return Ok(None) };
        let plain = |oid: Oid| matches!(oid, INT2 | INT4 | INT8 | NUMERIC | FLOAT8 | BOOL | TEXT | VARCHAR);
        Ok(match from {
            Type::Known(from)
                if from == to || (plain(from) && plain(to)) || matches!((from, to), (DATE, TIMESTAMP) | (TIMESTAMP, DATE)) =>
            {
                Some(target)
            }
            Type::Known(_) | Type::Unknown | Type::Opaque => None,
        })
    }

    fn folded_operator(&self, node: &Node) -> Result<Option<Type>, Misread> {
        let names = node.names("name")?;
        let ([name], true) = (names.as_slice(), node.int("kind")? == i64::from(AExprKind::AexprOp as i32)) else { return Ok(None) };
        let Some(right) = self.folded(node.field("rexpr")?)? else { return Ok(None) };
        if *node.field("lexpr")? == Tree::Null {
            let signed = matches!(right, Type::Known(INT2 | INT4 | INT8 | NUMERIC | FLOAT8 | INTERVAL)) && matches!(*name, "-" | "+");
            return Ok(signed.then_some(right));
        }
        let Some(left) = self.folded(node.field("lexpr")?)? else { return Ok(None) };
        // What moves a timestamptz reads the time zone.
        if [left, right].contains(&Type::Known(TIMESTAMPTZ)) {
            return Ok(None);
        }
        Ok(match shapes::arithmetic(name, left, right) {
            Type::Opaque => None,
            known @ (Type::Known(_) | Type::Unknown) => Some(known),
        })
    }

    fn folded_call(&self, node: &Node) -> Result<Option<Type>, Misread> {
        let Some((_, gives)) = built_in(node)?.and_then(|name| IMMUTABLE.iter().find(|(known, _)| *known == name)) else { return Ok(None) };
        let mut first = None;
        for argument in node.list("args")? {
            let argument = argument.of_kind("NamedArgExpr").map_or(Ok(argument), |named| named.field("arg"))?;
            match self.folded(argument)? {
                Some(of @ (Type::Unknown | Type::Known(INT2 | INT4 | INT8 | NUMERIC | FLOAT8 | TEXT | VARCHAR))) => {
                    first = first.or(Some(of));
                }
                Some(Type::Known(_) | Type::Opaque) | None => return Ok(None),
            }
        }
        Ok(Some(match (gives, first) {
            (Some(oid), _) => Type::Known(*oid),
            (None, Some(Type::Known(oid @ (NUMERIC | FLOAT8)))) => Type::Known(oid),
            (None, _) => Type::Opaque,
        }))
    }

    /// The type of a clock, or of a bounded step from one: total, whatever the clock says.
    pub(super) fn clockwork(&mut self, tree: &Tree) -> Result<Option<Type>, Misread> {
        let mut looked = false;
        let steady = steady(tree, &mut looked, 0)?;
        self.found.looked_at_values |= looked && steady.is_some();
        Ok(steady.map(|steady| Type::Known(steady.of)))
    }
}

/// `looked` is set when a constant's value decides.
fn steady(tree: &Tree, looked: &mut bool, depth: usize) -> Result<Option<Steady>, Misread> {
    let Some(node) = tree.as_node().filter(|_| depth < 8) else { return Ok(None) };
    let found = match node.kind {
        "SqlValueFunction" => clock(node.int("op")?).map(|of| Steady { of, size: 0.0 }),
        "AConst" => {
            *looked = true;
            let value = node.node("val")?.filter(|value| value.kind == "Integer").map(|value| value.int("ival")).transpose()?;
            #[expect(clippy::cast_precision_loss, reason = "an int4 fits")]
            value.map(|value| Steady { of: INT4, size: value.unsigned_abs() as f64 })
        }
        "TypeCast" => cast(node, looked, depth)?,
        "FuncCall" => call(node, looked, depth)?,
        "AExpr" if node.int("kind")? == i64::from(AExprKind::AexprOp as i32) && *node.field("lexpr")? != Tree::Null => {
            let left = steady(node.field("lexpr")?, looked, depth + 1)?;
            let right = steady(node.field("rexpr")?, looked, depth + 1)?;
            match (left, node.names("name")?.as_slice(), right) {
                (Some(left), [name], Some(right)) => step(left, name, right),
                _ => None,
            }
        }
        // Anything else has no bounds that are known here.
        _ => None,
    };
    Ok(found.filter(|found| found.size <= FAR.max(if is_time(found.of) || found.of == INTERVAL { 0.0 } else { SMALL * 10.0 })))
}

fn is_time(of: Oid) -> bool {
    matches!(of, DATE | TIMESTAMP | TIMESTAMPTZ)
}

fn clock(op: i64) -> Option<Oid> {
    use SqlValueFunctionOp as Op;
    let is = |wanted: Op| op == i64::from(wanted as i32);
    if is(Op::SvfopCurrentDate) {
        Some(DATE)
    } else if is(Op::SvfopCurrentTimestamp) || is(Op::SvfopCurrentTimestampN) {
        Some(TIMESTAMPTZ)
    } else if is(Op::SvfopLocaltimestamp) || is(Op::SvfopLocaltimestampN) {
        Some(TIMESTAMP)
    } else {
        None
    }
}

/// Two values with bounds, and what stands between them.
fn step(left: Steady, name: &str, right: Steady) -> Option<Steady> {
    let size = left.size + right.size;
    let small = size <= SMALL;
    match (left.of, name, right.of) {
        (TIMESTAMPTZ, "+" | "-", INTERVAL) => Some(Steady { of: TIMESTAMPTZ, size }),
        (DATE | TIMESTAMP, "+" | "-", INTERVAL) | (INTERVAL, "+", DATE) => Some(Steady { of: TIMESTAMP, size }),
        (INTERVAL, "+", of @ (TIMESTAMP | TIMESTAMPTZ)) => Some(Steady { of, size }),
        (DATE, "+" | "-", INT4) | (INT4, "+", DATE) => Some(Steady { of: DATE, size }),
        (INTERVAL, "+" | "-", INTERVAL) => Some(Steady { of: INTERVAL, size }),
        (INTERVAL, "*", INT4) | (INT4, "*", INTERVAL) => Some(Steady { of: INTERVAL, size: left.size * right.size }),
        (INT4, "+" | "-", INT4) if small => Some(Steady { of: INT4, size }),
        (NUMERIC, "+" | "-", INT4 | NUMERIC) | (INT4, "+" | "-", NUMERIC) => Some(Steady { of: NUMERIC, size }),
        (FLOAT8, "+" | "-", INT4 | FLOAT8) | (INT4, "+" | "-", FLOAT8) => Some(Steady { of: FLOAT8, size }),
        // Division, and whatever else there is, may raise.
        _ => None,
    }
}

fn cast(node: &Node, looked: &mut bool, depth: usize) -> Result<Option<Steady>, Misread> {
    let Some(name) = node.node("type_name")? else { return Ok(None) };
    let to = match name.names("names")?.as_slice() {
        [known] | ["pg_catalog", known] if name.list("array_bounds")?.is_empty() => match *known {
            "date" => DATE,
            "timestamp" => TIMESTAMP,
            "timestamptz" => TIMESTAMPTZ,
            "interval" => INTERVAL,
            "int4" => INT4,
            "numeric" => NUMERIC,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let bare = name.list("typmods")?.is_empty();
    let argument = node.field("arg")?;
    if let Some(text) = argument.of_kind("AConst").map(|constant| constant.field("val")).transpose()?.and_then(Tree::string) {
        *looked = true;
        let size = match to {
            INTERVAL if bare => span(text),
            // `interval '7' day`: whatever the unit is, it is not more than a year.
            INTERVAL => text.parse::<u32>().ok().map(|count| f64::from(count) * 366.0),
            DATE | TIMESTAMP | TIMESTAMPTZ if bare => is_modern(text).then_some(366.0 * 2000.0),
            _ => None,
        };
        return Ok(size.map(|size| Steady { of: to, size }));
    }
    let Some(from) = steady(argument, looked, depth + 1)?.filter(|_| bare) else { return Ok(None) };
    let converts = match (from.of, to) {
        (from, to) if is_time(from) && is_time(to) => true,
        (INT4 | NUMERIC | FLOAT8, INT4) => from.size <= SMALL,
        (INT4 | NUMERIC, NUMERIC) => true,
        _ => false,
    };
    Ok(converts.then_some(Steady { of: to, size: from.size + 1.0 }))
}

fn call(node: &Node, looked: &mut bool, depth: usize) -> Result<Option<Steady>, Misread> {
    let Some(name) = built_in(node)? else { return Ok(None) };
    let text = |tree: &Tree| {
        let value = tree.of_kind("AConst").and_then(|constant| constant.field("val").ok());
        value.and_then(Tree::string).map(str::to_ascii_lowercase)
    };
    match (name, node.list("args")?) {
        ("now" | "transaction_timestamp" | "statement_timestamp" | "clock_timestamp", []) => {
            Ok(Some(Steady { of: TIMESTAMPTZ, size: 0.0 }))
        }
        ("date_trunc", [unit, time]) => {
            *looked = true;
            let known = text(unit).is_some_and(|unit| UNITS.contains(&&*unit));
            let time = steady(time, looked, depth + 1)?.filter(|time| known && is_time(time.of));
            Ok(time.map(|time| Steady { of: if time.of == DATE { TIMESTAMPTZ } else { time.of }, size: time.size + 366.0 }))
        }
        ("extract" | "date_part", [part, time]) => {
            *looked = true;
            let known = text(part).filter(|part| PARTS.contains(&&**part));
            let time = steady(time, looked, depth + 1)?.filter(|time| is_time(time.of));
            let of = if name == "extract" { NUMERIC } else { FLOAT8 };
            Ok(known.zip(time).map(|(part, _)| Steady { of, size: if part == "epoch" { SMALL * 9.0 } else { 10_000.0 } }))
        }
        ("timezone", [zone, time]) => {
            *looked = true;
            let utc = text(zone).as_deref() == Some("utc");
            let time = steady(time, looked, depth + 1)?.filter(|_| utc);
            Ok(time.and_then(|time| match time.of {
                TIMESTAMPTZ => Some(Steady { of: TIMESTAMP, size: time.size + 2.0 }),
                TIMESTAMP => Some(Steady { of: TIMESTAMPTZ, size: time.size + 2.0 }),
                _ => None,
            }))
        }
        _ => Ok(None),
    }
}

/// The name of a plain call of a function that may be built in.
fn built_in(node: &Node) -> Result<Option<&str>, Misread> {
    let plain = node.field("over")? == &Tree::Null
        && node.field("agg_filter")? == &Tree::Null
        && !node.flag("func_variadic")?
        && !node.flag("agg_star")?
        && !node.flag("agg_distinct")?
        && node.list("agg_order")?.is_empty();
    Ok(match node.names("funcname")?.as_slice() {
        [name] | ["pg_catalog", name] if plain => Some(*name),
        _ => None,
    })
}

fn is_text_or_null(tree: &Tree) -> Result<bool, Misread> {
    let Some(constant) = tree.of_kind("AConst") else { return Ok(false) };
    Ok(constant.flag("isnull")? || constant.field("val")?.string().is_some())
}

/// How long `1 day`, `2 hours 30 minutes` and their like are at most, in days.
fn span(text: &str) -> Option<f64> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let mut days = 0.0;
    if words.is_empty() {
        return None;
    }
    for pair in words.chunks(2) {
        let [count, unit] = pair else { return None };
        let digits = count.trim_start_matches(['-', '+']);
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let unit = match unit.to_ascii_lowercase().trim_end_matches('s') {
            "sec" | "second" | "min" | "minute" | "hour" | "day" => 1.0,
            "week" => 7.0,
            "mon" | "month" => 31.0,
            "year" => 366.0,
            _ => return None,
        };
        days += f64::from(digits.parse::<u32>().ok()?) * unit;
    }
    Some(days)
}

/// `2024-01-31` and what may follow it: a year of four digits, which every type with a date has.
fn is_modern(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let dashes = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    let year = text.get(..4).and_then(|year| year.parse::<u32>().ok());
    let rest = text.get(10..).unwrap_or_default().bytes();
    digits(0..4)
        && dashes
        && digits(5..7)
        && digits(8..10)
        && year.is_some_and(|year| (1000..=4000).contains(&year))
        && rest.clone().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'T' | b':' | b'.' | b'+' | b'-' | b'Z' | b'z'))
}
