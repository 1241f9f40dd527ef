//! One expression in a qual position: leakproof, or a doubt.

use std::collections::{BTreeSet, HashMap};

use pg_query::protobuf::{AExprKind, SubLinkType};

use super::{
    level::{Analysis, Ctes},
    resolve::{Column, Refs, View},
    shapes::{self, BOOL, INT4, TEXT, Type, Value, leakproof},
};
use crate::{
    policy::ExposedRelation,
    sql::{
        Misread, Node, Tree, allow,
        catalog::{CatalogSnapshot, Oid},
    },
};

/// The analysis as it goes.
#[derive(Debug)]
pub(super) struct Analyzer<'a> {
    pub(super) catalog: &'a CatalogSnapshot,
    pub(super) occurrences: &'a HashMap<usize, (usize, Option<&'a ExposedRelation>)>,
    pub(super) found: Analysis,
    pub(super) declared: &'a [Oid],
    /// Type names of casts to a type of the source that convert as the statement runs.
    pub(super) converting: BTreeSet<usize>,
    pub(super) uses: HashMap<i64, usize>,
    /// How often a doubt was raised, the same one counted again.
    pub(super) raised: usize,
}

impl<'a> Analyzer<'a> {
    pub(super) fn new(
        select: &Node,
        catalog: &'a CatalogSnapshot,
        declared: &'a [Oid],
        converting: BTreeSet<usize>,
        occurrences: &'a HashMap<usize, (usize, Option<&'a ExposedRelation>)>,
    ) -> Self {
        let mut uses = HashMap::new();
        select.each(&mut |node| {
            if node.kind == "ParamRef" {
                *uses.entry(node.int("number").unwrap_or_default()).or_default() += 1;
            }
        });
        Self { catalog, occurrences, found: Analysis::default(), declared, converting, uses, raised: 0 }
    }

    pub(super) fn doubt(&mut self, why: impl Into<String>) {
        let why = why.into();
        self.raised += 1;
        if !self.found.doubts.contains(&why) {
            self.found.doubts.push(why);
        }
    }

    /// Safe position: only the subqueries inside are looked at, each with its own qual positions.
    pub(super) fn sweep(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(), Misread> {
        match tree {
            Tree::Node(node) if node.kind == "SubLink" => {
                self.sweep(node.field("testexpr")?, view, ctes)?;
                let unread = Misread { kind: "SubLink", field: "subselect" };
                self.query(node.node("subselect")?.ok_or(unread)?, Some(view), ctes, false).map(|_| ())
            }
            Tree::Node(node) => node.fields.iter().try_for_each(|(_, field)| self.sweep(field, view, ctes)),
            Tree::List(items) => items.iter().try_for_each(|item| self.sweep(item, view, ctes)),
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => Ok(()),
        }
    }

    /// A function in FROM that the policy adds may be a SQL function, whose body PostgreSQL can inline as quals.
    pub(super) fn only_reviewed(&mut self, item: &Tree) {
        let mut unreviewed = false;
        item.each(&mut |node| {
            if node.kind == "FuncCall" {
                let names = node.names("funcname").unwrap_or_default();
                unreviewed |= !matches!(names.as_slice(), [_] | ["pg_catalog", _]);
            }
        });
        if unreviewed {
            self.doubt("a function in FROM that is not built in");
        }
    }

    /// An expression in a qual position.
    pub(super) fn qual(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<Value, Misread> {
        self.expression(tree, view, ctes).map(|(value, _)| value)
    }

    /// As [`Self::qual`]: which relations it reads.
    pub(super) fn qual_refs(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<Refs, Misread> {
        self.expression(tree, view, ctes).map(|(_, refs)| refs)
    }

    fn expression(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let Some(node) = tree.as_node() else { return self.doubtful("an expression that is not understood", tree, view, ctes) };
        if node.kind == "ColumnRef" {
            let found = view.resolve(node)?;
            if found.leaky {
                self.doubt("a masked column in a condition");
            }
            return Ok((found.value, found.refs));
        }
        if !is_governed(tree, view)? {
            // A generic plan computes it when the first row gets there: before a row filter that costs more, its
            // failure would tell of a row that the filter hides. The tenant predicate costs least of all.
            if self.occurrences.values().any(|(_, relation)| relation.is_some_and(|relation| relation.filter.is_some()))
                && self.computes_a_parameter(tree)?
            {
                self.doubt("an expression over a parameter beside a row filter");
            }
            if self.converts(tree) {
                self.doubt("a cast to an enum that is computed as rows are read");
            }
            return Ok((Value { of: self.constant_type(tree)?, governed: false }, Refs::None));
        }
        let boolean = Value { of: Type::Known(BOOL), governed: true };
        match node.kind {
            "BoolExpr" => Ok((boolean, self.all(node.list("args")?, view, ctes)?.1)),
            "NullTest" | "BooleanTest" => Ok((boolean, self.expression(node.field("arg")?, view, ctes)?.1)),
            "CoalesceExpr" => {
                let (values, refs) = self.all(node.list("args")?, view, ctes)?;
                let of = shapes::common(values.iter().map(|value| value.of));
                if of == Type::Opaque {
                    self.doubt("COALESCE of different types");
                }
                Ok((Value { of, governed: true }, refs))
            }
            "CaseExpr" => self.case(node, view, ctes),
            "AExpr" => self.operator(node, view, ctes),
            "SubLink" => self.sublink(node, view, ctes),
            "FuncCall" => self.function(tree, node, view, ctes),
            "TypeCast" => self.cast(tree, node, view, ctes),
            other => self.doubtful(&format!("{other} over a column"), tree, view, ctes),
        }
    }

    /// Whether a parameter is more than read: `$1` alone, or cast where that is what gives it its type.
    fn computes_a_parameter(&self, tree: &Tree) -> Result<bool, Misread> {
        let plain = |tree: &Tree| tree.of_kind("ParamRef").map(|node| node.int("number")).transpose();
        let cast = tree.of_kind("TypeCast").map(|node| node.field("arg")).transpose()?.map(plain).transpose()?.flatten();
        if plain(tree)?.is_some() || cast.is_some_and(|number| self.parameter_type(number) == Type::Unknown) {
            return Ok(false);
        }
        let mut reads = false;
        tree.each(&mut |node| reads |= node.kind == "ParamRef");
        Ok(reads)
    }

    /// Whether a value is converted to a type of the source when the statement runs: never folded, since labels may change.
    fn converts(&self, tree: &Tree) -> bool {
        let mut converts = false;
        tree.each(&mut |node| {
            converts |= node.kind == "TypeName" && node.location().is_some_and(|at| self.converting.contains(&at));
        });
        converts
    }

    /// Records a doubt and still looks at the subqueries inside.
    fn doubtful(&mut self, why: &str, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        self.doubt(format!("{why} is not known to be leakproof"));
        self.sweep(tree, view, ctes)?;
        Ok((Value { of: Type::Opaque, governed: true }, Refs::Many))
    }

    fn all(&mut self, parts: &[Tree], view: &View<'_>, ctes: &Ctes) -> Result<(Vec<Value>, Refs), Misread> {
        let mut values = Vec::with_capacity(parts.len());
        let mut refs = Refs::None;
        for part in parts {
            let (value, read) = self.expression(part, view, ctes)?;
            values.push(value);
            refs = refs.and(read);
        }
        Ok((values, refs))
    }

    fn case(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let mut refs = Refs::None;
        let mut results = Vec::new();
        let subject = match node.field("arg")? {
            Tree::Null => None,
            tree @ (Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_)) => {
                let (value, read) = self.expression(tree, view, ctes)?;
                refs = refs.and(read);
                Some(value)
            }
        };
        for when in node.list("args")?.iter().filter_map(Tree::as_node) {
            let (condition, read) = self.expression(when.field("expr")?, view, ctes)?;
            if subject.is_some_and(|subject| !self.compares("=", subject, condition)) {
                self.doubt("CASE compares what is not known to compare leakproof");
            }
            let (result, also) = self.expression(when.field("result")?, view, ctes)?;
            refs = refs.and(read).and(also);
            results.push(result.of);
        }
        if *node.field("defresult")? != Tree::Null {
            let (result, read) = self.expression(node.field("defresult")?, view, ctes)?;
            refs = refs.and(read);
            results.push(result.of);
        }
        let of = shapes::common(results);
        if of == Type::Opaque {
            // Branches of different types are cast to a common one, by a cast that is not known here.
            self.doubt("CASE with branches of different types");
        }
        Ok((Value { of, governed: true }, refs))
    }

    fn compares(&self, operator: &str, left: Value, right: Value) -> bool {
        (!left.governed && !right.governed) || leakproof(self.catalog, operator, left, right)
    }

    fn operator(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let names = node.names("name")?;
        let name = names.last().copied().unwrap_or_default();
        let kind = node.int("kind")?;
        let is = |wanted: AExprKind| kind == i64::from(wanted as i32);
        let (left, mut refs) = match node.field("lexpr")? {
            Tree::Null => (Value { of: Type::Opaque, governed: false }, Refs::None),
            tree @ (Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_)) => {
                self.expression(tree, view, ctes)?
            }
        };
        let right = node.field("rexpr")?;
        let (rights, read) = self.all(right.items(), view, ctes)?;
        refs = refs.and(read);
        let each = |operator: &str| rights.iter().all(|right| self.compares(operator, left, *right));
        let leakproof = if is(AExprKind::AexprOp) || is(AExprKind::AexprLike) || is(AExprKind::AexprIlike) {
            each(name) || self.pattern(name, left, node, view)? || json(name, left, &rights)
        } else if is(AExprKind::AexprDistinct) || is(AExprKind::AexprNotDistinct) || is(AExprKind::AexprNullif) {
            each("=")
        } else if is(AExprKind::AexprIn) {
            each(name) && one_array(left, &rights)
        } else if is(AExprKind::AexprOpAny) || is(AExprKind::AexprOpAll) {
            rights.first().is_some_and(|right| self.elements(name, left, *right))
        } else if is(AExprKind::AexprBetween)
            || is(AExprKind::AexprNotBetween)
            || is(AExprKind::AexprBetweenSym)
            || is(AExprKind::AexprNotBetweenSym)
        {
            each(">=") && each("<=") && each("<") && each(">")
        } else {
            false
        };
        if !leakproof {
            self.doubt(format!("{name} on these operands is not known to be leakproof"));
        }
        let of = match name {
            "->" if left.of == Type::Known(shapes::JSONB) => Type::Known(shapes::JSONB),
            "->>" | "#>>" => Type::Known(TEXT),
            _ if is(AExprKind::AexprNullif) => left.of,
            "=" | "<>" | "<" | ">" | "<=" | ">=" | "~~" | "!~~" | "~~*" | "!~~*" | "@>" | "<@" | "&&" | "?" => Type::Known(BOOL),
            _ => Type::Opaque,
        };
        Ok((Value { of, governed: true }, refs))
    }

    /// `x op ANY (array)`: the element comparison decides.
    fn elements(&self, operator: &str, left: Value, right: Value) -> bool {
        let of = match right.of {
            Type::Unknown => Type::Unknown,
            Type::Known(array) => match self.catalog.types.get(&array) {
                Some(known) if known.array => Type::Known(known.base),
                Some(_) | None => Type::Opaque,
            },
            Type::Opaque => Type::Opaque,
        };
        self.compares(operator, left, Value { of, governed: right.governed })
    }

    /// LIKE and its kin with a constant pattern.
    fn pattern(&mut self, name: &str, left: Value, node: &Node, view: &View<'_>) -> Result<bool, Misread> {
        let Type::Known(of) = left.of else { return Ok(false) };
        let Some(constant) = node.field("rexpr")?.of_kind("AConst") else { return Ok(false) };
        let Some(pattern) = constant.field("val")?.string() else { return Ok(false) };
        let deterministic = match node.field("lexpr")?.of_kind("ColumnRef") {
            Some(column) => view.resolve(column)?.deterministic,
            None => false,
        };
        self.found.looked_at_values = true;
        Ok(deterministic && allow::leakproof_pattern(name, of, TEXT) && allow::well_formed_pattern(pattern))
    }

    fn sublink(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let unread = Misread { kind: "SubLink", field: "subselect" };
        let select = node.node("subselect")?.ok_or(unread)?;
        if !self.is_quiet(node, select)? {
            self.doubt("a subquery in a condition that may raise an error of its own");
        }
        let outputs = self.query(select, Some(view), ctes, false)?;
        let output = outputs.as_deref().and_then(<[Column]>::first);
        let kind = node.int("sub_link_type")?;
        let is = |wanted: SubLinkType| kind == i64::from(wanted as i32);
        let value = output.map_or(Value { of: Type::Opaque, governed: true }, |column| Value { governed: true, ..column.value });
        if is(SubLinkType::ExistsSublink) {
            return Ok((Value { of: Type::Known(BOOL), governed: true }, Refs::Many));
        }
        if is(SubLinkType::ExprSublink) {
            return Ok((value, Refs::Many));
        }
        if is(SubLinkType::AnySublink) || is(SubLinkType::AllSublink) {
            let (left, _) = self.expression(node.field("testexpr")?, view, ctes)?;
            let names = node.names("oper_name")?;
            if !self.compares(names.last().copied().unwrap_or("="), left, value) || output.is_some_and(|column| column.leaky) {
                self.doubt("a comparison with a subquery is not known to be leakproof");
            }
            return Ok((Value { of: Type::Known(BOOL), governed: true }, Refs::Many));
        }
        self.doubt("a subquery of this form in a condition");
        Ok((Value { of: Type::Opaque, governed: true }, Refs::Many))
    }

    fn function(&mut self, tree: &Tree, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let names = node.names("funcname")?;
        let name = names.last().copied().unwrap_or_default();
        let plain = node.field("over")? == &Tree::Null && node.field("agg_filter")? == &Tree::Null && !node.flag("func_variadic")?;
        let built_in = matches!(names.as_slice(), [_] | ["pg_catalog", _]);
        if plain && built_in && !is_aggregate(node)? {
            let before = self.raised;
            let (values, refs) = self.all(node.list("args")?, view, ctes)?;
            let types: Option<Vec<Oid>> =
                values.iter().map(|value| if let Type::Known(oid) = value.of { Some(oid) } else { None }).collect();
            if self.raised == before && types.is_some_and(|types| allow::leakproof_function(name, &types)) {
                let of = match name {
                    "lower" | "upper" => Type::Known(TEXT),
                    "length" | "char_length" | "character_length" | "octet_length" => Type::Known(INT4),
                    _ => Type::Opaque,
                };
                return Ok((Value { of, governed: true }, refs));
            }
        }
        self.doubtful(&format!("{name}(…)"), tree, view, ctes)
    }

    /// Casts that run no function: to the type it has, and `varchar` to `text`.
    fn cast(&mut self, tree: &Tree, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let target = self.cast_target(node)?;
        let (value, refs) = self.expression(node.field("arg")?, view, ctes)?;
        match (value.of, target) {
            (Type::Known(from), Type::Known(to)) if from == to || (from == shapes::VARCHAR && to == TEXT) => {
                Ok((Value { of: target, ..value }, refs))
            }
            _ => self.doubtful("a cast of a column", tree, view, ctes),
        }
    }

    /// Whether a second copy leaves the types of its parameters as they were.
    pub(super) fn copyable(&self, tree: &Tree) -> bool {
        let mut copyable = true;
        tree.each(&mut |node| {
            if node.kind == "ParamRef" {
                copyable &= self.parameter_type(node.int("number").unwrap_or_default()) != Type::Opaque;
            }
            copyable &= node.kind != "SubLink";
        });
        copyable
    }
}

/// Whether a call is an aggregate: by its syntax, or by name.
pub(super) fn is_aggregate(node: &Node) -> Result<bool, Misread> {
    let names = node.names("funcname")?;
    let name = names.last().copied().unwrap_or_default();
    let arguments = node.list("args")?.len();
    let by_name = matches!(allow::function(name, arguments), allow::FunctionRule::Allowed(_, allow::Kind::Aggregate));
    Ok(node.flag("agg_star")? || by_name)
}

/// Whether an expression holds an aggregate of this level or a window function: no qual over it goes below them.
pub(super) fn is_over_groups(tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
    let node = match tree {
        Tree::Node(node) => node,
        Tree::List(items) => return any(items.iter(), |item| is_over_groups(item, view)),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => return Ok(false),
    };
    if node.kind == "SubLink" {
        return Ok(false);
    }
    if node.kind == "FuncCall" && (is_aggregate(node)? || node.node("over")?.is_some()) {
        // An aggregate whose arguments are all of an outer level belongs to that level.
        let (mut own, mut misread) = (true, None);
        node.each(&mut |inner| match inner.kind {
            "SubLink" => own = false,
            "ColumnRef" => match view.resolve(inner) {
                Ok(found) => own &= !found.outer,
                Err(error) => misread = Some(error),
            },
            // Only what reads a row says whose aggregate it is.
            _ => {}
        });
        return misread.map_or(Ok(own), Err);
    }
    any(node.fields.iter().map(|(_, field)| field), |field| is_over_groups(field, view))
}

fn any<'t>(trees: impl Iterator<Item = &'t Tree>, mut holds: impl FnMut(&'t Tree) -> Result<bool, Misread>) -> Result<bool, Misread> {
    for tree in trees {
        if holds(tree)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an expression reads a governed column, here or further out, or a subquery.
pub(super) fn is_governed(tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
    let (mut governed, mut misread) = (false, None);
    tree.each(&mut |node| match node.kind {
        "SubLink" => governed = true,
        "ColumnRef" => match view.resolve(node) {
            Ok(found) => governed |= found.value.governed || found.leaky,
            Err(error) => misread = Some(error),
        },
        _ => {}
    });
    misread.map_or(Ok(governed), Err)
}

/// The constants of an IN list become one array when they share a type with each other; then that type decides.
fn one_array(left: Value, rights: &[Value]) -> bool {
    let constants = rights.iter().filter(|right| !right.governed).map(|right| right.of);
    let integers = |of: Type| matches!(of, Type::Known(shapes::INT2 | INT4 | shapes::INT8));
    let mut constants = constants.filter(|of| *of != Type::Unknown);
    let Some(first) = constants.next() else { return true };
    constants.all(|of| of == first || (integers(of) && integers(first) && integers(left.of)))
        && (rights.iter().all(|right| right.of != Type::Unknown) || first == left.of)
}

/// `jsonb -> 'key'` and its kin: PostgreSQL prefers text for an untyped literal there.
fn json(name: &str, left: Value, rights: &[Value]) -> bool {
    let key = if matches!(name, "#>" | "#>>" | "?|" | "?&") { shapes::TEXT_ARRAY } else { TEXT };
    left.of == Type::Known(shapes::JSONB)
        && matches!(rights, [Value { of: Type::Unknown, governed: false }])
        && matches!(name, "->" | "->>" | "#>" | "#>>" | "?" | "?|" | "?&")
        && allow::leakproof_operator(name, shapes::JSONB, key)
}
