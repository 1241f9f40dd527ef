//! One expression in a qual position: leakproof, or a doubt. And how its columns resolve.

use std::collections::HashMap;

use pg_query::protobuf::{AExprKind, SubLinkType};

use super::{
    level::{Analysis, Ctes},
    shapes::{self, BOOL, INT4, INT8, NUMERIC, TEXT, Type, Value, leakproof},
};
use crate::{
    policy::ExposedRelation,
    sql::{
        Misread, Node, Tree, allow,
        catalog::{CatalogSnapshot, Oid},
    },
};

/// A column as a level sees it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: Box<str>,
    pub(super) value: Value,
    /// Its name in the source, when it is a relation's own unmasked column.
    pub(super) real: Option<Box<str>>,
    /// Masked: reading it runs the mask, which is not leakproof.
    pub(super) leaky: bool,
    pub(super) deterministic: bool,
}

/// An entry of a level's range table.
#[derive(Debug)]
pub(super) struct Rte {
    pub(super) name: Option<Box<str>>,
    /// `None`: not known by name.
    pub(super) columns: Option<Vec<Column>>,
    /// Whether columns not known by name are computed from hidden rows' neighbours.
    pub(super) governed: bool,
    /// The number of the governed occurrence, when quals on it may be copied inside its fence.
    pub(super) occurrence: Option<usize>,
    /// On the nullable side of an outer join of this level.
    pub(super) nullable: bool,
}

impl Rte {
    /// A subquery or CTE.
    pub(super) fn query(name: Option<Box<str>>, columns: Option<Vec<Column>>) -> Self {
        Self { name, governed: columns.is_none(), columns, occurrence: None, nullable: false }
    }

    /// A function, or rows of pgwicket itself.
    pub(super) fn function(name: Option<Box<str>>) -> Self {
        Self { name, columns: None, governed: false, occurrence: None, nullable: false }
    }

    /// Out of sight behind a join's alias.
    pub(super) fn hide(&mut self) {
        self.name = None;
        self.columns = Some(Vec::new());
    }
}

/// What an expression can see.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) rtes: &'a [Rte],
    /// Columns merged by USING.
    pub(super) merged: &'a [Box<str>],
    pub(super) outer: Option<&'a View<'a>>,
}

/// Which relations an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refs {
    None,
    /// Only this entry of the level's own range table.
    One(usize),
    Many,
}

impl Refs {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, refs) | (refs, Self::None) => refs,
            (Self::One(a), Self::One(b)) if a == b => self,
            (Self::One(_) | Self::Many, Self::One(_) | Self::Many) => Self::Many,
        }
    }
}

/// A column reference, resolved.
#[derive(Debug, Clone, Copy)]
struct Found {
    value: Value,
    refs: Refs,
    leaky: bool,
    deterministic: bool,
    outer: bool,
}

const UNRESOLVED: Found =
    Found { value: Value { of: Type::Opaque, governed: true }, refs: Refs::Many, leaky: false, deterministic: false, outer: false };

impl View<'_> {
    fn resolve(&self, node: &Node) -> Result<Found, Misread> {
        let fields = node.list("fields")?;
        Ok(match fields {
            [only] => only.string().map_or(UNRESOLVED, |name| self.column(name)),
            [relation, column] => match (relation.string(), column.string()) {
                (Some(relation), Some(column)) => self.qualified(relation, column),
                _ => UNRESOLVED,
            },
            _ => UNRESOLVED,
        })
    }

    fn column(&self, name: &str) -> Found {
        let mut matches = self.rtes.iter().enumerate().flat_map(|(place, rte)| {
            rte.columns.iter().flatten().filter(|column| *column.name == *name).map(move |column| (place, column))
        });
        match (matches.next(), matches.next()) {
            (Some((place, column)), None) => Found::of(place, column),
            (Some((_, first)), Some((_, second))) => self.merged_column(name, first, second, matches.next().is_none()),
            (None, _) => {
                let unknown = self.rtes.iter().any(|rte| rte.columns.is_none() || rte.name.as_deref() == Some(name));
                match self.outer {
                    Some(outer) if !unknown => Found { refs: Refs::Many, outer: true, ..outer.column(name) },
                    None if unknown => {
                        let governed = self.rtes.iter().any(|rte| rte.governed);
                        Found { value: Value { of: Type::Opaque, governed }, ..UNRESOLVED }
                    }
                    Some(_) | None => UNRESOLVED,
                }
            }
        }
    }

    fn merged_column(&self, name: &str, first: &Column, second: &Column, only_two: bool) -> Found {
        let merged = only_two && self.merged.iter().any(|known| **known == *name) && first.value.of == second.value.of;
        if !merged {
            return UNRESOLVED;
        }
        Found {
            value: Value { of: first.value.of, governed: first.value.governed || second.value.governed },
            refs: Refs::Many,
            leaky: first.leaky || second.leaky,
            deterministic: first.deterministic && second.deterministic,
            outer: false,
        }
    }

    fn qualified(&self, relation: &str, name: &str) -> Found {
        let Some((place, rte)) = self.rtes.iter().enumerate().find(|(_, rte)| rte.name.as_deref() == Some(relation)) else {
            return self.outer.map_or(UNRESOLVED, |outer| Found { refs: Refs::Many, outer: true, ..outer.qualified(relation, name) });
        };
        match &rte.columns {
            None => Found { value: Value { of: Type::Opaque, governed: rte.governed }, ..UNRESOLVED },
            Some(columns) => columns.iter().find(|column| *column.name == *name).map_or(UNRESOLVED, |column| Found::of(place, column)),
        }
    }

    /// The columns of `*` or `t.*`; `None` when not known.
    pub(super) fn star(&self, node: &Node) -> Result<Option<Vec<Column>>, Misread> {
        let fields = node.list("fields")?;
        let wanted = match fields {
            [_] => None,
            [relation, _] => relation.string(),
            _ => return Ok(None),
        };
        if wanted.is_none() && !self.merged.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::new();
        for rte in self.rtes.iter().filter(|rte| wanted.is_none() || rte.name.as_deref() == wanted) {
            match &rte.columns {
                Some(known) => columns.extend(known.iter().cloned().map(|column| Column { real: None, ..column })),
                None => return Ok(None),
            }
        }
        Ok((wanted.is_none() || !columns.is_empty()).then_some(columns))
    }
}

impl Found {
    fn of(place: usize, column: &Column) -> Self {
        Self { value: column.value, refs: Refs::One(place), leaky: column.leaky, deterministic: column.deterministic, outer: false }
    }
}

/// The analysis as it goes.
#[derive(Debug)]
pub(super) struct Analyzer<'a> {
    pub(super) catalog: &'a CatalogSnapshot,
    pub(super) occurrences: &'a HashMap<usize, (usize, Option<&'a ExposedRelation>)>,
    pub(super) found: Analysis,
    declared: &'a [Oid],
    uses: HashMap<i64, usize>,
}

impl<'a> Analyzer<'a> {
    pub(super) fn new(
        select: &Node,
        catalog: &'a CatalogSnapshot,
        declared: &'a [Oid],
        occurrences: &'a HashMap<usize, (usize, Option<&'a ExposedRelation>)>,
    ) -> Self {
        let mut uses = HashMap::new();
        select.each(&mut |node| {
            if node.kind == "ParamRef" {
                *uses.entry(node.int("number").unwrap_or_default()).or_default() += 1;
            }
        });
        Self { catalog, occurrences, found: Analysis::default(), declared, uses }
    }

    pub(super) fn doubt(&mut self, why: impl Into<String>) {
        let why = why.into();
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

    /// Whether an expression holds an aggregate of this level or a window function: no qual over it goes below them.
    pub(super) fn is_over_groups(&self, tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
        let Some(node) = tree.as_node() else {
            return tree.items().iter().try_fold(false, |found, item| {
                Ok(found || (!matches!(tree, Tree::List(l) if l.is_empty()) && self.is_over_groups(item, view)?))
            });
        };
        if node.kind == "SubLink" {
            return Ok(false);
        }
        if node.kind == "FuncCall" && (is_aggregate(node)? || node.node("over")?.is_some()) {
            // An aggregate whose arguments are all of an outer level belongs to that level.
            let (mut own, mut outer) = (true, false);
            let mut misread = None;
            node.each(&mut |inner| {
                if inner.kind == "ColumnRef" {
                    match view.resolve(inner) {
                        Ok(found) => outer |= found.outer,
                        Err(error) => misread = Some(error),
                    }
                }
                own &= inner.kind != "SubLink";
            });
            return misread.map_or(Ok(own && !outer), Err);
        }
        node.fields
            .iter()
            .map(|(_, field)| field)
            .filter(|field| matches!(field, Tree::Node(_) | Tree::List(_)))
            .try_fold(false, |found, field| Ok(found || self.is_over_groups(field, view)?))
    }

    /// The type of an expression in a safe position, where it is easily known.
    pub(super) fn type_only(&self, tree: &Tree, view: &View<'_>) -> Result<Value, Misread> {
        let governed = self.is_governed(tree, view)?;
        let of = match tree.as_node() {
            Some(node) if node.kind == "ColumnRef" => view.resolve(node)?.value.of,
            Some(node) if node.kind == "FuncCall" && is_aggregate(node)? && node.node("over")?.is_none() => {
                self.aggregate_type(node, view)?
            }
            Some(_) if !governed => self.constant_type(tree)?,
            Some(_) | None => Type::Opaque,
        };
        Ok(Value { of, governed })
    }

    fn aggregate_type(&self, node: &Node, view: &View<'_>) -> Result<Type, Misread> {
        let argument = match node.list("args")? {
            [only] => self.type_only(only, view)?.of,
            _ => Type::Opaque,
        };
        Ok(match (node.names("funcname")?.last().copied(), argument) {
            (Some("count"), _) => Type::Known(INT8),
            (Some("min" | "max"), known) => known,
            (Some("sum"), Type::Known(INT4 | shapes::INT2)) => Type::Known(INT8),
            (Some("sum" | "avg"), Type::Known(INT8 | NUMERIC)) | (Some("avg"), Type::Known(INT4 | shapes::INT2)) => Type::Known(NUMERIC),
            _ => Type::Opaque,
        })
    }

    /// Whether an expression reads a governed column, here or further out, or a subquery.
    fn is_governed(&self, tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
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
        if !self.is_governed(tree, view)? {
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
            tree => {
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
            tree => self.expression(tree, view, ctes)?,
        };
        let right = node.field("rexpr")?;
        let (rights, read) = self.all(right.items(), view, ctes)?;
        refs = refs.and(read);
        let each = |operator: &str| rights.iter().all(|right| self.compares(operator, left, *right));
        let leakproof = if is(AExprKind::AexprOp) || is(AExprKind::AexprLike) || is(AExprKind::AexprIlike) {
            each(name) || self.pattern(name, left, node, view)? || self.json(name, left, &rights)
        } else if is(AExprKind::AexprDistinct) || is(AExprKind::AexprNotDistinct) || is(AExprKind::AexprNullif) {
            each("=")
        } else if is(AExprKind::AexprIn) {
            each(name) && self.one_array(left, &rights)
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

    /// The constants of an IN list become one array when they share a type with each other; then that type decides.
    fn one_array(&self, left: Value, rights: &[Value]) -> bool {
        let constants = rights.iter().filter(|right| !right.governed).map(|right| right.of);
        let integers = |of: Type| matches!(of, Type::Known(shapes::INT2 | INT4 | INT8));
        let mut constants = constants.filter(|of| *of != Type::Unknown);
        let Some(first) = constants.next() else { return true };
        constants.all(|of| of == first || (integers(of) && integers(first) && integers(left.of)))
            && (rights.iter().all(|right| right.of != Type::Unknown) || first == left.of)
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

    /// `jsonb -> 'key'` and its kin: PostgreSQL prefers text for an untyped literal there.
    fn json(&self, name: &str, left: Value, rights: &[Value]) -> bool {
        let key = if matches!(name, "#>" | "#>>" | "?|" | "?&") { shapes::TEXT_ARRAY } else { TEXT };
        left.of == Type::Known(shapes::JSONB)
            && matches!(rights, [Value { of: Type::Unknown, governed: false }])
            && matches!(name, "->" | "->>" | "#>" | "#>>" | "?" | "?|" | "?&")
            && allow::leakproof_operator(name, shapes::JSONB, key)
    }

    fn sublink(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let unread = Misread { kind: "SubLink", field: "subselect" };
        let outputs = self.query(node.node("subselect")?.ok_or(unread)?, Some(view), ctes, false)?;
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
            let before = self.found.doubts.len();
            let (values, refs) = self.all(node.list("args")?, view, ctes)?;
            let types: Option<Vec<Oid>> =
                values.iter().map(|value| if let Type::Known(oid) = value.of { Some(oid) } else { None }).collect();
            if self.found.doubts.len() == before && types.is_some_and(|types| allow::leakproof_function(name, &types)) {
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

    /// The type a cast names, when it is built in and has no modifier.
    fn cast_target(&self, node: &Node) -> Result<Type, Misread> {
        let Some(name) = node.node("type_name")? else { return Ok(Type::Opaque) };
        let names = name.names("names")?;
        if !name.list("typmods")?.is_empty() || !matches!(names.as_slice(), [_] | ["pg_catalog", _]) {
            return Ok(Type::Opaque);
        }
        let base = names.last().copied().unwrap_or_default();
        let wanted = if name.list("array_bounds")?.is_empty() { base.to_owned() } else { format!("_{base}") };
        let found = self.catalog.types.iter().find(|(_, known)| known.schema == "pg_catalog" && known.name == wanted);
        Ok(found.map_or(Type::Opaque, |(oid, _)| Type::Known(*oid)))
    }

    /// The type of an expression over no governed column.
    fn constant_type(&self, tree: &Tree) -> Result<Type, Misread> {
        let Some(node) = tree.as_node() else { return Ok(Type::Opaque) };
        Ok(match node.kind {
            "AConst" => constant_type(node)?,
            "ParamRef" => self.parameter_type(node.int("number")?),
            "TypeCast" => self.cast_target(node)?,
            "SqlValueFunction" => shapes::clock(node.int("op")?),
            "FuncCall" => match (node.names("funcname")?.last().copied(), node.list("args")?) {
                (Some("now" | "transaction_timestamp" | "statement_timestamp" | "clock_timestamp"), []) => Type::Known(shapes::TIMESTAMPTZ),
                (Some("date_trunc"), [_, second]) => self.constant_type(second)?,
                _ => Type::Opaque,
            },
            "AExpr" if node.int("kind")? == i64::from(AExprKind::AexprOp as i32) => {
                let (left, right) = (self.constant_type(node.field("lexpr")?)?, self.constant_type(node.field("rexpr")?)?);
                shapes::arithmetic(node.names("name")?.last().copied().unwrap_or_default(), left, right)
            }
            "AArrayExpr" => {
                let elements = node.list("elements")?.iter().map(|item| self.constant_type(item)).collect::<Result<Vec<_>, _>>()?;
                let of = shapes::common(elements);
                let element = if of == Type::Unknown { Type::Known(TEXT) } else { of };
                let array = self.catalog.types.iter().find(|(_, known)| known.array && Type::Known(known.base) == element);
                array.map_or(Type::Opaque, |(oid, _)| Type::Known(*oid))
            }
            _ => Type::Opaque,
        })
    }

    /// A parameter used twice without a declared type takes its type from its first use: not known here.
    fn parameter_type(&self, number: i64) -> Type {
        let declared =
            usize::try_from(number - 1).ok().and_then(|place| self.declared.get(place)).copied().filter(|oid| *oid != 0 && *oid != 705);
        match declared {
            Some(oid) => Type::Known(oid),
            None if self.uses.get(&number) == Some(&1) => Type::Unknown,
            None => Type::Opaque,
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
fn is_aggregate(node: &Node) -> Result<bool, Misread> {
    let names = node.names("funcname")?;
    let name = names.last().copied().unwrap_or_default();
    let arguments = node.list("args")?.len();
    let by_name = matches!(allow::function(name, arguments), allow::FunctionRule::Allowed(_, allow::Kind::Aggregate));
    Ok(node.flag("agg_star")? || by_name)
}

fn constant_type(node: &Node) -> Result<Type, Misread> {
    if node.flag("isnull")? {
        return Ok(Type::Unknown);
    }
    let Some(value) = node.node("val")? else { return Ok(Type::Opaque) };
    Ok(match value.kind {
        "Integer" => Type::Known(INT4),
        "Float" if value.text("fval")?.parse::<i64>().is_ok() => Type::Known(INT8),
        "Float" if value.text("fval")?.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Type::Known(NUMERIC),
        "Boolean" => Type::Known(BOOL),
        "String" => Type::Unknown,
        _ => Type::Opaque,
    })
}

/// The name PostgreSQL gives an output column, where it is simple (parse_target.c, `FigureColname`).
pub(super) fn output_name(tree: &Tree) -> Box<str> {
    let name = match tree.as_node() {
        Some(node) if node.kind == "ColumnRef" => node.list("fields").ok().and_then(|fields| fields.last()).and_then(Tree::string),
        Some(node) if node.kind == "FuncCall" => node.list("funcname").ok().and_then(|names| names.last()).and_then(Tree::string),
        Some(_) | None => None,
    };
    name.unwrap_or("?column?").into()
}
