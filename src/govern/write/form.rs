//! Expressions in one form, so that two writings of one meaning are equal: how PostgreSQL prints an index's expression, and how a client
//! writes it in a conflict target.

use pg_query::protobuf::{AExprKind, BoolExprType, NullTestType};

use crate::sql::{Node, Tree};

const OPERATOR: i64 = AExprKind::AexprOp as i64;
const LIKE: i64 = AExprKind::AexprLike as i64;
const ILIKE: i64 = AExprKind::AexprIlike as i64;
const IN: i64 = AExprKind::AexprIn as i64;
const ANY: i64 = AExprKind::AexprOpAny as i64;
const ALL: i64 = AExprKind::AexprOpAll as i64;
const BETWEEN: i64 = AExprKind::AexprBetween as i64;
const AND: i64 = BoolExprType::AndExpr as i64;
const OR: i64 = BoolExprType::OrExpr as i64;
const IS_NOT_NULL: i64 = NullTestType::IsNotNull as i64;

/// What a form is made under.
#[derive(Clone, Copy)]
pub(super) struct Forms<'a> {
    /// The name by which the statement knows the relation.
    pub(super) relation: &'a str,
    /// Whether a column is of a type that is text for functions of text.
    pub(super) is_text: &'a dyn Fn(&str) -> bool,
}

/// A condition: what must hold for it to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conjunct {
    form: String,
    columns: Vec<String>,
    /// Of `column operator constant`.
    compared: Option<Compared>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Compared {
    column: String,
    operator: String,
    constants: Vec<String>,
}

/// Whether one condition holds wherever another does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Implied {
    Yes,
    No,
    /// Perhaps: it takes more than is looked at here.
    Doubt,
}

/// Whether all of `wanted` hold wherever all of `given` do.
pub(super) fn implied(wanted: &[Conjunct], given: &[Conjunct]) -> Implied {
    let mut all = Implied::Yes;
    for want in wanted {
        if given.iter().any(|has| follows(want, has)) {
            continue;
        }
        if !given.iter().flat_map(|has| &has.columns).any(|column| want.columns.contains(column)) {
            return Implied::No;
        }
        all = Implied::Doubt;
    }
    all
}

fn follows(want: &Conjunct, has: &Conjunct) -> bool {
    if want.form == has.form {
        return true;
    }
    let Some(has) = &has.compared else { return false };
    // A comparison is never true of NULL.
    if want.form == format!("notnull({})", column(&has.column)) {
        return true;
    }
    let Some(want) = &want.compared else { return false };
    if want.column != has.column {
        return false;
    }
    let number = |compared: &Compared| compared.constants.first().and_then(|constant| constant.parse::<i64>().ok());
    match (&*want.operator, &*has.operator) {
        ("=", "=") => has.constants.iter().all(|constant| want.constants.contains(constant)),
        (">" | ">=" | "<" | "<=", _) if has.constants.len() == 1 => {
            let (Some(bound), Some(value)) = (number(want), number(has)) else { return false };
            match (&*want.operator, &*has.operator) {
                (">", "=" | ">=") => value > bound,
                ("<", "=" | "<=") => value < bound,
                (">", ">") | (">=", "=" | ">" | ">=") => value >= bound,
                ("<", "<") | ("<=", "=" | "<" | "<=") => value <= bound,
                (_, _) => false,
            }
        }
        (_, _) => false,
    }
}

fn column(name: &str) -> String {
    format!("column({name})")
}

impl Forms<'_> {
    /// The parts of a condition that all must hold.
    pub(super) fn conjuncts(&self, tree: &Tree) -> Vec<Conjunct> {
        if let Some(node) = tree.of_kind("BoolExpr")
            && node.int("boolop") == Ok(AND)
        {
            return node.list("args").unwrap_or_default().iter().flat_map(|part| self.conjuncts(part)).collect();
        }
        if let Some((lower, upper)) = self.between(tree) {
            return vec![lower, upper];
        }
        vec![self.conjunct(tree)]
    }

    fn conjunct(&self, tree: &Tree) -> Conjunct {
        Conjunct { form: self.of(tree), columns: self.columns(tree), compared: self.compared(tree) }
    }

    fn columns(&self, tree: &Tree) -> Vec<String> {
        let mut columns = Vec::new();
        tree.each(&mut |node| columns.extend((node.kind == "ColumnRef").then(|| self.column_name(node)).flatten()));
        columns
    }

    /// One form of an expression.
    pub(super) fn of(&self, tree: &Tree) -> String {
        match tree {
            Tree::Null => "-".to_owned(),
            Tree::Bool(value) => value.to_string(),
            Tree::Int(value) => value.to_string(),
            Tree::Text(text) => format!("{text:?}"),
            Tree::Position(_) => String::new(),
            Tree::List(items) => format!("[{}]", items.iter().map(|item| self.of(item)).collect::<Vec<_>>().join(",")),
            Tree::Node(node) => self.node(node),
        }
    }

    fn node(&self, node: &Node) -> String {
        let known = match node.kind {
            "ColumnRef" => self.column_name(node).map(|name| column(&name)),
            "AConst" => constant(node).map(|text| format!("constant({text:?})")),
            "TypeCast" => self.cast(node),
            "AExpr" => self.operator(node),
            "BoolExpr" => self.boolean(node),
            "NullTest" if node.int("nulltesttype") == Ok(IS_NOT_NULL) => {
                node.field("arg").ok().map(|arg| format!("notnull({})", self.of(arg)))
            }
            "FuncCall" => {
                function(node).map(|name| format!("call({name},{})", node.field("args").map_or(String::new(), |args| self.of(args))))
            }
            _ => None,
        };
        known.unwrap_or_else(|| {
            let fields = node.fields.iter().map(|(name, tree)| format!("{name}:{}", self.of(tree))).collect::<Vec<_>>();
            format!("{}({})", node.kind, fields.join(","))
        })
    }

    fn column_name(&self, node: &Node) -> Option<String> {
        match node.names("fields").ok()?.as_slice() {
            [name] => Some((*name).to_owned()),
            [relation, name] if *relation == self.relation => Some((*name).to_owned()),
            _ => None,
        }
    }

    /// A constant is what its neighbours make of it; a cast of text to text changes nothing.
    fn cast(&self, node: &Node) -> Option<String> {
        let arg = node.field("arg").ok()?;
        let inner = self.of(arg);
        let to_text = matches!(node.node("type_name").ok()??.names("names").ok()?.last(), Some(&"text" | &"varchar" | &"bpchar"));
        let nothing = inner.starts_with("constant(")
            || arg.of_kind("AArrayExpr").is_some()
            || (arg.of_kind("TypeCast").is_some() && inner.starts_with("AArrayExpr"))
            || (to_text && arg.of_kind("ColumnRef").and_then(|node| self.column_name(node)).is_some_and(|name| (self.is_text)(&name)));
        nothing.then_some(inner)
    }

    fn operator(&self, node: &Node) -> Option<String> {
        let name = *node.names("name").ok()?.last()?;
        let (left, right) = (node.field("lexpr").ok()?, node.field("rexpr").ok()?);
        match node.int("kind").ok()? {
            OPERATOR | LIKE | ILIKE if *left == Tree::Null && name == "-" => {
                let inner = self.of(right);
                let digits = inner.strip_prefix("constant(\"")?.strip_suffix("\")")?;
                Some(format!("constant(\"-{digits}\")"))
            }
            OPERATOR | LIKE | ILIKE => {
                let (left, right) = (self.of(left), self.of(right));
                let truth = |wanted: &str| format!("constant({wanted:?})");
                Some(match name {
                    "=" if right == truth("true") => left,
                    "=" if left == truth("true") => right,
                    "=" if right == truth("false") => format!("not({left})"),
                    "=" | "<>" if right < left => format!("{name}({right},{left})"),
                    _ => format!("{name}({left},{right})"),
                })
            }
            kind @ (IN | ANY | ALL) => {
                let mut items: Vec<String> = elements(right)?.iter().map(|item| self.of(item)).collect();
                items.sort();
                items.dedup();
                let word = match (name, kind) {
                    ("=", IN | ANY) => "any",
                    ("<>", IN | ALL) => "none",
                    (_, _) => return None,
                };
                Some(format!("{word}({},{})", self.of(left), items.join(",")))
            }
            _ => None,
        }
    }

    fn boolean(&self, node: &Node) -> Option<String> {
        let mut parts: Vec<String> = node.list("args").ok()?.iter().map(|part| self.of(part)).collect();
        parts.sort();
        let word = match node.int("boolop").ok()? {
            AND => "and",
            OR => "or",
            _ => "not",
        };
        Some(format!("{word}({})", parts.join(",")))
    }

    fn between(&self, tree: &Tree) -> Option<(Conjunct, Conjunct)> {
        let node = tree.of_kind("AExpr").filter(|node| node.int("kind") == Ok(BETWEEN))?;
        let value = node.field("lexpr").ok()?;
        let [lower, upper] = node.field("rexpr").ok()?.items() else { return None };
        let bound = |operator: &str, bound: &Tree| Conjunct {
            form: format!("{operator}({},{})", self.of(value), self.of(bound)),
            columns: self.columns(tree),
            compared: self.comparison(operator, value, std::slice::from_ref(bound)),
        };
        Some((bound(">=", lower), bound("<=", upper)))
    }

    fn compared(&self, tree: &Tree) -> Option<Compared> {
        let node = tree.of_kind("AExpr")?;
        let name = *node.names("name").ok()?.last()?;
        let (left, right) = (node.field("lexpr").ok()?, node.field("rexpr").ok()?);
        match node.int("kind").ok()? {
            OPERATOR => {
                let turned = match name {
                    "<" => ">",
                    ">" => "<",
                    "<=" => ">=",
                    ">=" => "<=",
                    same => same,
                };
                let straight = self.comparison(name, left, std::slice::from_ref(right));
                straight.or_else(|| self.comparison(turned, right, std::slice::from_ref(left)))
            }
            IN | ANY if name == "=" => self.comparison("=", left, elements(right)?),
            _ => None,
        }
    }

    fn comparison(&self, operator: &str, value: &Tree, constants: &[Tree]) -> Option<Compared> {
        let name = self.of(value).strip_prefix("column(")?.strip_suffix(')')?.to_owned();
        let constants = constants.iter().map(|item| {
            let form = self.of(item);
            Some(form.strip_prefix("constant(\"")?.strip_suffix("\")")?.to_owned())
        });
        let constants = constants.collect::<Option<Vec<_>>>()?;
        matches!(operator, "=" | "<" | "<=" | ">" | ">=" | "<>").then(|| Compared {
            column: name,
            operator: operator.to_owned(),
            constants,
        })
    }
}

/// The elements of a list or of an array that is written out.
fn elements(tree: &Tree) -> Option<&[Tree]> {
    match tree {
        Tree::Node(node) if node.kind == "TypeCast" => elements(node.field("arg").ok()?),
        Tree::Node(node) if node.kind == "AArrayExpr" => node.list("elements").ok(),
        Tree::Node(node) if node.kind == "List" => node.list("items").ok(),
        Tree::List(items) => Some(items),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) | Tree::Node(_) => None,
    }
}

/// A function's name, without the schema that all functions here are of; nothing when more than arguments is written.
fn function(node: &Node) -> Option<String> {
    match node.names("funcname").ok()?.as_slice() {
        [name] | ["pg_catalog", name] => Some((*name).to_owned()),
        _ => None,
    }
}

fn constant(node: &Node) -> Option<String> {
    let value = node.field("val").ok()?;
    let inner = match value {
        Tree::Node(inner) => inner,
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) | Tree::List(_) => return None,
    };
    let leaf = inner.fields.iter().find(|(name, _)| matches!(*name, "ival" | "fval" | "sval" | "boolval"));
    match leaf.map(|(_, tree)| tree) {
        Some(Tree::Int(value)) => Some(value.to_string()),
        Some(Tree::Bool(value)) => Some(value.to_string()),
        Some(Tree::Text(text)) => Some(text.to_string()),
        Some(Tree::Null | Tree::Position(_) | Tree::List(_) | Tree::Node(_)) | None => None,
    }
}
