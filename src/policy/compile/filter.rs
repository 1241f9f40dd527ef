//! `where:` of a relation: one boolean SQL expression over the relation's own columns. It is pasted into
//! every governed statement, so everything it may hold is listed here and all else is refused.

use super::Compiler;
use crate::{
    policy::{
        RowFilter,
        decode::Spanned,
        problem::{Place, shown, suggest},
    },
    sql::{
        self, Node, ParseError, Tree, allow,
        catalog::{CatalogSnapshot, Column, Oid, Operator, Relation},
    },
};

/// A filter that is one expression of the grammar; its columns and types are still to be resolved.
pub(super) struct Parsed {
    text: String,
    expression: Tree,
}

/// Parses the text: one expression, comments removed, nothing around it.
pub(super) fn parse(compiler: &mut Compiler<'_>, written: &Spanned<String>) -> Option<Parsed> {
    const SHAPE: &str = "write one boolean expression over the relation's columns, for example `deleted_at is null and status <> 'spam'`";
    let text = match strip_comments(written) {
        Ok(text) if text.is_empty() => {
            compiler.problems.error(&written.at, "`where` is empty").hint(SHAPE);
            return None;
        }
        Ok(text) => text,
        Err(message) => {
            compiler.problems.error(&written.at, format!("`where` is not SQL: {message}")).hint(SHAPE);
            return None;
        }
    };
    if let Some(literal) = new_literal(&text) {
        let message = format!("`where` has the number {}, which older servers read differently", shown(literal));
        compiler.problems.error(&written.at, message).hint("write plain decimal digits");
        return None;
    }
    // Alone it must be a single unnamed select item: nothing closes a parenthesis it did not open. In
    // parentheses it must be a condition: that is how it is used.
    let alone = sql::parse(&format!("SELECT {text}\n")).map(|tree| tree.as_ref().is_some_and(is_single_expression));
    let condition = sql::parse(&format!("SELECT 1 WHERE ({text}\n)"));
    match (alone, condition) {
        (Ok(true), Ok(Some(Tree::Node(select)))) => {
            let expression = select.field("where_clause").ok()?.clone();
            Some(Parsed { text, expression })
        }
        (Err(ParseError::Syntax { message, .. }), _) | (_, Err(ParseError::Syntax { message, .. })) => {
            compiler.problems.error(&written.at, format!("`where` is not an SQL expression: {message}")).hint(SHAPE);
            None
        }
        (Ok(_) | Err(ParseError::TooLong { .. } | ParseError::TooComplex | ParseError::Multiple), _) => {
            compiler.problems.error(&written.at, "`where` is more than one expression").hint(SHAPE);
            None
        }
    }
}

fn is_single_expression(tree: &Tree) -> bool {
    let Some(select) = tree.of_kind("SelectStmt") else { return false };
    let empty = select.fields.iter().all(|(name, value)| match value {
        Tree::Null | Tree::Bool(false) | Tree::Position(_) | Tree::Int(_) => true,
        Tree::List(items) => *name == "target_list" || items.is_empty(),
        Tree::Bool(true) | Tree::Text(_) | Tree::Node(_) => false,
    });
    let unnamed = |item: &Tree| {
        let target = item.of_kind("ResTarget")?;
        Some(target.text("name").ok()?.is_empty() && target.list("indirection").ok()?.is_empty())
    };
    let targets = select.list("target_list").unwrap_or_default();
    empty && targets.len() == 1 && targets.iter().all(|item| unnamed(item) == Some(true))
}

/// The binding must not be asked for the tokens of a text that has none (it reads a null pointer): the
/// semicolon after the text sees to it, and a line break before it ends a comment.
fn tokens(text: &str) -> Result<Vec<pg_query::protobuf::ScanToken>, String> {
    let mut tokens = pg_query::scan_tokens(&format!("{text}\n;")).map_err(|error| scanner_words(&error.to_string()))?;
    tokens.pop();
    Ok(tokens)
}

/// `unterminated quoted string`, without the text it was found in.
fn scanner_words(message: &str) -> String {
    let message = message.strip_prefix("Error scanning: ").unwrap_or(message);
    message.split(" at or near").next().unwrap_or_default().to_owned()
}

fn strip_comments(text: &str) -> Result<String, String> {
    let tokens = tokens(text)?;
    let mut kept = text.to_owned();
    for token in tokens.iter().rev() {
        let comment = [pg_query::protobuf::Token::SqlComment as i32, pg_query::protobuf::Token::CComment as i32];
        if let (true, Ok(start), Ok(end)) = (comment.contains(&token.token), usize::try_from(token.start), usize::try_from(token.end)) {
            kept.replace_range(start..end, " ");
        }
    }
    Ok(kept.trim().to_owned())
}

/// `0x1F`, `1_000`: numbers since PostgreSQL 16; before, an alias or an error.
fn new_literal(text: &str) -> Option<&str> {
    let tokens = tokens(text).ok()?;
    let texts = tokens.iter().filter_map(|token| text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?));
    texts.into_iter().find(|token| {
        let digits = token
            .strip_prefix('0')
            .and_then(|rest| rest.chars().next())
            .is_some_and(|c| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'));
        token.starts_with(|c: char| c.is_ascii_digit()) && (token.contains('_') || digits)
    })
}

/// Holds the expression against the relation's columns; decides whether it is leakproof.
pub(super) fn resolve(
    compiler: &mut Compiler<'_>,
    parsed: &Parsed,
    written: &Spanned<String>,
    relation: &Relation,
    catalog: &CatalogSnapshot,
) -> Option<RowFilter> {
    let before = compiler.problems.errors();
    let mut walk = Walk { compiler, at: &written.at, relation, catalog };
    if never_boolean(&parsed.expression) {
        walk.refuse("a value that is not true or false");
    }
    let leakproof = walk.condition(&parsed.expression);
    (compiler.problems.errors() == before).then(|| RowFilter { text: parsed.text.as_str().into(), leakproof })
}

/// Whether the expression surely gives something else than true or false, so that every statement would fail.
fn never_boolean(expression: &Tree) -> bool {
    let Some(node) = expression.as_node() else { return true };
    match node.kind {
        "AConst" => !matches!(constant(node), Operand::Typed(BOOL)),
        "AArrayExpr" => true,
        "AExpr" => {
            let name = node.names("name").unwrap_or_default().last().map(|name| (*name).to_owned()).unwrap_or_default();
            node.int("kind") == Ok(1) && matches!(name.as_str(), "+" | "-" | "*" | "/" | "%" | "^" | "||" | "->" | "->>" | "#>" | "#>>")
        }
        _ => false,
    }
}

struct Walk<'a, 'b> {
    compiler: &'a mut Compiler<'b>,
    at: &'a Place,
    relation: &'a Relation,
    catalog: &'a CatalogSnapshot,
}

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

const BOOL: Oid = 16;
const INT8: Oid = 20;
const INT4: Oid = 23;
const TEXT: Oid = 25;
const VARCHAR: Oid = 1043;

impl Walk<'_, '_> {
    fn refuse(&mut self, what: &str) {
        self.compiler
            .problems
            .error(self.at, format!("`where` must not use {what}"))
            .hint("use columns of this relation, constants, comparisons, in, between, like, is null, and, or, not, and reviewed functions");
    }

    /// A boolean expression: every part is checked; true when every part is leakproof.
    fn condition(&mut self, tree: &Tree) -> bool {
        let Some(node) = tree.as_node() else {
            self.refuse("an empty expression");
            return false;
        };
        match node.kind {
            "BoolExpr" => self.each(node, "args"),
            "NullTest" | "BooleanTest" => self.operand_of(node, "arg") != Operand::Other,
            "AExpr" => self.operator(node),
            "ColumnRef" => self.operand(tree) == Operand::Column(BOOL),
            "AConst" => self.operand(tree) == Operand::Typed(BOOL),
            _ => {
                self.operand(tree);
                false
            }
        }
    }

    fn each(&mut self, node: &Node, field: &'static str) -> bool {
        let mut leakproof = true;
        for item in node.list(field).unwrap_or_default() {
            leakproof &= self.condition(item);
        }
        leakproof
    }

    fn operand_of(&mut self, node: &Node, field: &'static str) -> Operand {
        match node.field(field) {
            Ok(tree) => self.operand(tree),
            Err(_) => Operand::Other,
        }
    }

    /// A value: checked, and named as far as its type is plain.
    fn operand(&mut self, tree: &Tree) -> Operand {
        let Some(node) = tree.as_node() else { return Operand::Other };
        match node.kind {
            "ColumnRef" => self.column(node),
            "AConst" => constant(node),
            "TypeCast" => self.cast(node),
            "AExpr" | "BoolExpr" | "NullTest" | "BooleanTest" => {
                self.condition(tree);
                Operand::Other
            }
            "List" => self.parts(node, &["items"]),
            "AArrayExpr" => self.parts(node, &["elements"]),
            "CoalesceExpr" => self.parts(node, &["args"]),
            "CaseExpr" => self.parts(node, &["arg", "args", "defresult"]),
            "CaseWhen" => self.parts(node, &["expr", "result"]),
            "SqlvalueFunction" | "SqlValueFunction" => self.value_function(node),
            "FuncCall" => self.call(node),
            "SubLink" => self.other("a subquery"),
            "ParamRef" => self.other("a parameter"),
            kind => self.other(&format!("this form ({kind})")),
        }
    }

    fn other(&mut self, what: &str) -> Operand {
        self.refuse(what);
        Operand::Other
    }

    fn parts(&mut self, node: &Node, fields: &[&'static str]) -> Operand {
        for field in fields {
            for item in node.field(field).map(Tree::items).unwrap_or_default() {
                self.operand(item);
            }
        }
        Operand::Other
    }

    fn column(&mut self, node: &Node) -> Operand {
        let names = node.names("fields").unwrap_or_default();
        let [name] = names.as_slice() else {
            self.refuse("a qualified name or `*`");
            return Operand::Other;
        };
        let Some(column) = self.relation.columns.iter().find(|column| column.name == *name) else {
            let known = self.relation.columns.iter().map(|column| column.name.as_str());
            let message = format!("`where` names {}, which is no column of `{}.{}`", shown(name), self.relation.schema, self.relation.name);
            self.compiler.problems.error(self.at, message).hint = suggest(name, known);
            return Operand::Other;
        };
        if !column.readable && !self.relation.readable {
            let message = format!("`where` needs the column {}, which the source's credential may not read", shown(name));
            self.compiler.problems.error(self.at, message).hint("grant select on it, or leave it out");
        }
        self.plain(column)
    }

    /// A column whose type's own comparisons are known to be exact; anything unusual is `Other`.
    fn plain(&self, column: &Column) -> Operand {
        if !column.deterministic_collation {
            return Operand::Other;
        }
        let base = self.catalog.base_type(column.type_oid);
        let is_enum = self.catalog.types.get(&base).is_some_and(|found| found.kind == 'e');
        Operand::Column(if is_enum {
            allow::ANY_ENUM
        } else if base == VARCHAR {
            TEXT
        } else {
            base
        })
    }

    /// A call of a reviewed function that answers the same for the whole statement.
    fn call(&mut self, node: &Node) -> Operand {
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
                for argument in arguments {
                    self.operand(argument);
                }
                Operand::Other
            }
            allow::FunctionRule::Allowed(..) => {
                self.other(&format!("the function `{shown}`: it is volatile, an aggregate or returns rows"))
            }
            allow::FunctionRule::Virtual(_) => self.other(&format!("the function `{shown}`: a filter is the same for every session")),
            allow::FunctionRule::Denied(class) => self.other(&format!("the function `{shown}`: {}", class.reason)),
            allow::FunctionRule::Unknown => self.other(&format!("the function `{shown}`, which is not on the reviewed list")),
        }
    }

    fn cast(&mut self, node: &Node) -> Operand {
        let value = self.operand_of(node, "arg");
        let Some(type_name) = node.node("type_name").ok().flatten() else { return self.other("a cast without a type") };
        let names = type_name.names("names").unwrap_or_default();
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => return self.other("a type outside pg_catalog"),
        };
        if let Err(class) = allow::cast_type(name) {
            return self.other(&format!("a cast to {}: {}", shown(name), class.reason));
        }
        let Some(oid) = TYPES.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid) else { return Operand::Other };
        let plain = type_name.list("typmods").is_ok_and(<[Tree]>::is_empty) && type_name.list("array_bounds").is_ok_and(<[Tree]>::is_empty);
        // A cast of a constant is done once, before any row is seen.
        if plain && matches!(value, Operand::Untyped | Operand::Typed(_)) { Operand::Typed(oid) } else { Operand::Other }
    }

    fn value_function(&mut self, node: &Node) -> Operand {
        // SVFOP_CURRENT_DATE (1) to SVFOP_LOCALTIMESTAMP_N (9); what follows names roles and schemas of the source.
        match node.int("op") {
            Ok(1..=9) => Operand::Other,
            Ok(_) | Err(_) => self.other("the session's user, role or schema"),
        }
    }

    fn operator(&mut self, node: &Node) -> bool {
        let names = node.names("name").unwrap_or_default();
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => {
                self.refuse("an operator outside pg_catalog");
                return false;
            }
        };
        let left = self.operand_of(node, "lexpr");
        let kind = node.int("kind").unwrap_or_default();
        if !matches!(kind, 1..=9 | 11..=14) {
            self.refuse("`similar to`");
            return false;
        }
        if !allow::operator(name) && !matches!(kind, 11..=14) {
            self.refuse(&format!("the operator {}", shown(name)));
            return false;
        }
        let right: Vec<Operand> = match node.field("rexpr") {
            Ok(list) if matches!(kind, 7 | 11..=14) => list.items().iter().map(|item| self.operand(item)).collect(),
            Ok(one) => vec![self.operand(one)],
            Err(_) => Vec::new(),
        };
        match kind {
            1 | 7 => right.iter().all(|right| self.leakproof(name, left, *right)),
            8 | 9 => Self::leakproof_pattern(name, left, node),
            11 | 12 => right.iter().all(|right| ["<=", ">=", "<", ">"].iter().all(|name| self.leakproof(name, left, *right))),
            _ => false,
        }
    }

    /// Whether PostgreSQL has a leakproof operator for exactly these types, one side at least a constant.
    fn leakproof(&self, name: &str, left: Operand, right: Operand) -> bool {
        let (left, right) = match (left, right) {
            (Operand::Column(left), Operand::Untyped) => (left, left),
            (Operand::Untyped, Operand::Column(right)) => (right, right),
            (Operand::Column(left), Operand::Typed(right)) | (Operand::Typed(left), Operand::Column(right)) => (left, right),
            (Operand::Column(_) | Operand::Typed(_) | Operand::Untyped | Operand::Other, _) => return false,
        };
        let marked = self.catalog.leakproof_operators.contains(&Operator { name: name.to_owned(), left, right });
        marked || allow::leakproof_operator(name, left, right)
    }

    /// LIKE with a constant pattern that cannot fail on a row.
    fn leakproof_pattern(name: &str, left: Operand, node: &Node) -> bool {
        let constant = node.node("rexpr").ok().flatten().filter(|node| node.kind == "AConst");
        let pattern = constant.and_then(|constant| constant.node("val").ok().flatten()).and_then(|value| value.text("sval").ok());
        match (left, pattern) {
            (Operand::Column(left), Some(pattern)) => allow::well_formed_pattern(pattern) && allow::leakproof_pattern(name, left, TEXT),
            (Operand::Column(_) | Operand::Untyped | Operand::Typed(_) | Operand::Other, _) => false,
        }
    }
}

fn constant(node: &Node) -> Operand {
    let Ok(Some(value)) = node.node("val") else { return Operand::Untyped };
    match value.kind {
        "Integer" => Operand::Typed(INT4),
        "Boolean" => Operand::Typed(BOOL),
        "String" => Operand::Untyped,
        "Float" if value.text("fval").is_ok_and(|digits| digits.parse::<i64>().is_ok()) => Operand::Typed(INT8),
        _ => Operand::Other,
    }
}

/// Types whose constants keep a comparison leakproof, by the names the grammar gives them.
const TYPES: &[(&str, Oid)] = &[
    ("bool", BOOL),
    ("int2", 21),
    ("int4", INT4),
    ("int8", INT8),
    ("float4", 700),
    ("float8", 701),
    ("numeric", 1700),
    ("text", TEXT),
    ("varchar", TEXT),
    ("uuid", 2950),
    ("date", 1082),
    ("time", 1083),
    ("timestamp", 1114),
    ("timestamptz", 1184),
    ("interval", 1186),
    ("jsonb", 3802),
];
