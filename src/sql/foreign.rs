//! Whether an operator or a function is applied to a value of a type whose own operators are not resolved.
//!
//! `c = 'x'` on a column of `citext` that the session cannot find the operators of is text's `=`, by the implicit cast: another
//! answer, and no error. So such an operand is refused, in every spelling. This goes by names and not by scopes: a name that holds
//! such a value anywhere in the statement counts as one everywhere. It refuses too much and never too little.

use std::collections::BTreeSet;

use super::{Misread, Node, Tree};

/// Names come from names at most so many times.
const ROUNDS: usize = 64;

/// An operator, a function or a clause that would not be what it is where the type's own operators are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignUse {
    /// How it is written.
    pub what: String,
    /// A byte offset into the text.
    pub at: Option<usize>,
}

/// The first use of one of the columns `names`, or of what a function of one of the names gives, beside an operator, a function or a clause that compares. A cast to another type
/// ends it: `c::text = 'x'` says which operator is meant.
pub fn foreign_use(tree: &Tree, names: BTreeSet<Box<str>>) -> Result<Option<ForeignUse>, Misread> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut names = Names(names);
    for _ in 0..ROUNDS {
        let before = names.0.len();
        let mut misread = Ok(());
        tree.each(&mut |node| {
            if misread.is_ok() {
                misread = names.grow(node);
            }
        });
        misread?;
        if names.0.len() == before {
            break;
        }
    }
    let mut found = Ok(None);
    tree.each(&mut |node| {
        if matches!(found, Ok(None)) {
            found = names.compares(node);
        }
    });
    found
}

/// Functions that take a value of any type, so that no extension has its own of that name, and give nothing of that type.
const TAKES_ANY: [&str; 30] = [
    "array_dims",
    "array_length",
    "array_lower",
    "array_ndims",
    "array_position",
    "array_positions",
    "array_to_json",
    "array_upper",
    "cardinality",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "dense_rank",
    "format",
    "generate_subscripts",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "percent_rank",
    "rank",
    "row_number",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// As these, but they give such a value, or an array of them.
const GIVES_IT_BACK: [&str; 14] = [
    "any_value",
    "array_agg",
    "array_append",
    "array_cat",
    "array_prepend",
    "array_remove",
    "array_replace",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "mode",
    "nth_value",
    "unnest",
];

struct Names(BTreeSet<Box<str>>);

impl Names {
    fn add(&mut self, names: impl IntoIterator<Item = String>) {
        self.0.extend(names.into_iter().filter(|name| !name.is_empty()).map(Into::into));
    }

    /// Names that the node gives to what holds such a value.
    fn grow(&mut self, node: &Node) -> Result<(), Misread> {
        match node.kind {
            "ResTarget" if self.is_one(node.field("val")?)? => {
                let name = node.text("name")?.to_owned();
                if name.is_empty() { self.add(implied(node.field("val")?)) } else { self.add([name]) }
            }
            "SelectStmt" => self.grow_from_query(node)?,
            "RangeSubselect" if self.is_in(node.field("subquery")?)? => self.add(columns(node, "alias")?),
            "RangeVar" | "JoinExpr" => self.add(columns(node, "alias")?),
            "CommonTableExpr" if self.is_in(node.field("ctequery")?)? => {
                self.add(node.list("aliascolnames")?.iter().filter_map(Tree::string).map(str::to_owned));
            }
            "RangeFunction" if self.is_in(node.field("functions")?)? => {
                self.add(columns(node, "alias")?);
                let alias = node.node("alias")?.map(|alias| alias.text("aliasname").map(str::to_owned)).transpose()?;
                self.add(alias);
                let mut called = Vec::new();
                node.field("functions")?.each(&mut |inner| {
                    if inner.kind == "FuncCall" {
                        called.extend(inner.names("funcname").ok().and_then(|names| names.last().map(|name| (*name).to_owned())));
                    }
                });
                self.add(called);
            }
            // Other nodes give no names.
            _ => {}
        }
        Ok(())
    }

    /// The columns of a set operation go by the first arm's names; those of VALUES by numbers.
    fn grow_from_query(&mut self, select: &Node) -> Result<(), Misread> {
        let mut rows = false;
        for list in select.list("values_lists")? {
            rows |= self.is_one(list)?;
        }
        if rows {
            self.add((1..=64).map(|number| format!("column{number}")));
        }
        let arms = [select.node("larg")?, select.node("rarg")?];
        if arms.iter().flatten().count() == 2 && (self.gives(arms[0])? || self.gives(arms[1])?) {
            for arm in arms.into_iter().flatten() {
                let mut names = Vec::new();
                for target in arm.list("target_list")?.iter().filter_map(Tree::as_node) {
                    let name = target.text("name")?;
                    if name.is_empty() { names.extend(implied(target.field("val")?)) } else { names.push(name.to_owned()) }
                }
                self.add(names);
            }
        }
        Ok(())
    }

    /// Whether a query has such a value among its columns.
    fn gives(&self, select: Option<&Node>) -> Result<bool, Misread> {
        let Some(select) = select else { return Ok(false) };
        for target in select.list("target_list")?.iter().filter_map(Tree::as_node) {
            if self.is_one(target.field("val")?)? {
                return Ok(true);
            }
        }
        for list in select.list("values_lists")? {
            if self.is_one(list)? {
                return Ok(true);
            }
        }
        Ok(self.gives(select.node("larg")?)? || self.gives(select.node("rarg")?)?)
    }

    /// Whether such a value is named anywhere in it.
    fn is_in(&self, tree: &Tree) -> Result<bool, Misread> {
        let mut found = Ok(false);
        tree.each(&mut |node| {
            if matches!(found, Ok(false)) && node.kind == "ColumnRef" {
                found = self.is_column(node);
            }
        });
        found
    }

    /// A column of one of the names; `*` may hold one.
    fn is_column(&self, node: &Node) -> Result<bool, Misread> {
        let last = node.list("fields")?.last();
        Ok(last.is_some_and(|last| last.of_kind("AStar").is_some() || last.string().is_some_and(|name| self.0.contains(name))))
    }

    fn any(&self, trees: &[Tree]) -> Result<bool, Misread> {
        for tree in trees {
            if self.is_one(tree)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the expression's value is of such a type, or an array or a row with one.
    fn is_one(&self, tree: &Tree) -> Result<bool, Misread> {
        let node = match tree {
            Tree::Node(node) => node,
            Tree::List(items) => return self.any(items),
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => return Ok(false),
        };
        match node.kind {
            "ColumnRef" => Ok(node.list("fields")?.last().and_then(Tree::string).is_some_and(|name| self.0.contains(name))),
            "List" => self.any(node.list("items")?),
            "AArrayExpr" => self.any(node.list("elements")?),
            "CoalesceExpr" | "MinMaxExpr" | "RowExpr" => self.any(node.list("args")?),
            "CollateClause" | "NamedArgExpr" => self.is_one(node.field("arg")?),
            "AIndirection" => {
                let named = node.list("indirection")?.iter().filter_map(Tree::string).any(|name| self.0.contains(name));
                Ok(named || self.is_one(node.field("arg")?)?)
            }
            "CaseExpr" => {
                for when in node.list("args")?.iter().filter_map(Tree::as_node) {
                    if self.is_one(when.field("result")?)? {
                        return Ok(true);
                    }
                }
                self.is_one(node.field("defresult")?)
            }
            "FuncCall" => {
                let names = node.names("funcname")?;
                if is_added(&names) {
                    return Ok(names.last().is_some_and(|name| self.0.contains(*name)));
                }
                if !names.last().is_some_and(|name| GIVES_IT_BACK.contains(name)) {
                    return Ok(false);
                }
                for sort in node.list("agg_order")?.iter().filter_map(Tree::as_node) {
                    if self.is_one(sort.field("node")?)? {
                        return Ok(true);
                    }
                }
                self.any(node.list("args")?)
            }
            "SubLink" if is_value(node)? => self.gives(node.node("subselect")?),
            // A cast says which type is meant; what compares gives a boolean, and is refused where it stands.
            _ => Ok(false),
        }
    }

    /// The node, if it compares or calls something over such a value.
    fn compares(&self, node: &Node) -> Result<Option<ForeignUse>, Misread> {
        let what = match node.kind {
            "AExpr" if self.is_one(node.field("lexpr")?)? || self.is_one(node.field("rexpr")?)? => {
                Some(format!("operator {}", node.names("name")?.last().copied().unwrap_or("=")))
            }
            "CaseExpr" if *node.field("arg")? != Tree::Null => {
                let mut compared = self.is_one(node.field("arg")?)?;
                for when in node.list("args")?.iter().filter_map(Tree::as_node) {
                    compared |= self.is_one(when.field("expr")?)?;
                }
                compared.then(|| "CASE … WHEN".to_owned())
            }
            "SubLink" if *node.field("testexpr")? != Tree::Null => {
                let compared = self.is_one(node.field("testexpr")?)? || self.gives(node.node("subselect")?)?;
                compared.then(|| "a comparison with a subquery".to_owned())
            }
            "JoinExpr" if node.flag("is_natural")? => Some("NATURAL JOIN".to_owned()),
            "JoinExpr" => {
                let shared = node.list("using_clause")?.iter().filter_map(Tree::string).find(|name| self.0.contains(*name));
                shared.map(|name| format!("JOIN USING ({name})"))
            }
            "SortBy" if !node.list("use_op")?.is_empty() && self.is_one(node.field("node")?)? => Some("ORDER BY … USING".to_owned()),
            "FuncCall" => {
                let names = node.names("funcname")?;
                let name = names.last().copied().unwrap_or_default();
                // A function with a schema is found in that schema alone, here as anywhere.
                let any = TAKES_ANY.contains(&name) || GIVES_IT_BACK.contains(&name) || is_added(&names);
                let sorted = node.flag("agg_within_group")? && self.is_in(node.field("agg_order")?)?;
                let called = !any && (self.any(node.list("args")?)? || sorted);
                called.then(|| format!("function {name}"))
            }
            // Other nodes resolve no operator by the types of what is in them; sorting and grouping go by the type's own.
            _ => None,
        };
        Ok(what.map(|what| ForeignUse { what, at: node.location() }))
    }
}

/// A function that the policy adds.
fn is_added(names: &[&str]) -> bool {
    matches!(names, [schema, _] if *schema != "pg_catalog")
}

/// `(SELECT …)` and `ARRAY(SELECT …)`, which are values.
fn is_value(node: &Node) -> Result<bool, Misread> {
    use pg_query::protobuf::SubLinkType;
    let kind = node.int("sub_link_type")?;
    Ok([SubLinkType::ExprSublink, SubLinkType::ArraySublink].iter().any(|value| kind == i64::from(*value as i32)))
}

/// Column names in an alias.
fn columns(node: &Node, alias: &'static str) -> Result<Vec<String>, Misread> {
    let Some(alias) = node.node(alias)? else { return Ok(Vec::new()) };
    Ok(alias.list("colnames")?.iter().filter_map(Tree::string).map(str::to_owned).collect())
}

/// The names that PostgreSQL may give an output column without one (`FigureColname`).
fn implied(tree: &Tree) -> Vec<String> {
    let mut names: Vec<String> =
        ["?column?", "array", "case", "coalesce", "greatest", "least", "nullif", "row"].into_iter().map(str::to_owned).collect();
    tree.each(&mut |node| {
        let (field, last) = match node.kind {
            "ColumnRef" => ("fields", true),
            "FuncCall" => ("funcname", true),
            "AIndirection" => ("indirection", false),
            // Other nodes have a word of the grammar for a name.
            _ => return,
        };
        let found: Vec<&str> = node.list(field).unwrap_or_default().iter().filter_map(Tree::string).collect();
        let skip = if last { found.len().saturating_sub(1) } else { 0 };
        names.extend(found.into_iter().skip(skip).map(str::to_owned));
    });
    names
}
