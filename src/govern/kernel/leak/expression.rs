//! One expression in a qual position: leakproof, or a doubt.

use std::collections::{BTreeSet, HashMap};

use pg_query::protobuf::{AExprKind, SubLinkType};

use super::{
    collation::Collation,
    correlated::{Runs, sublink_runs},
    level::{Analysis, Ctes, is_star},
    quiet::is_quiet_aggregate,
    reads::{is_aggregate, is_answered, is_passed},
    resolve::{Column, Refs, View},
    shapes::{self, BOOL, INT4, NAME, TEXT, Type, Value, leakproof},
};
use crate::{
    policy::ExposedRelation,
    sql::{
        Misread, Node, Tree, allow,
        catalog::{CatalogSnapshot, Oid},
    },
};

/// What is computed as rows are read may be computed on any row, wherever it stands.
const COMPUTED: &str = "a column that a view, a generated column or a foreign table computes";

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
    /// In a subquery of a condition: it runs when some row gets there.
    pub(super) lazy: bool,
    /// How often the level at hand runs.
    pub(super) runs: Runs,
    /// Trying whether an expression is proven: nothing of the analysis stays.
    pub(super) trying: bool,
    /// In a condition that runs on groups of rows that passed; only what it reads of the rows themselves is tried on statistics.
    pub(super) after_grouping: bool,
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
        Self {
            catalog,
            occurrences,
            found: Analysis::default(),
            declared,
            converting,
            uses,
            raised: 0,
            lazy: false,
            runs: Runs::Once,
            trying: false,
            after_grouping: false,
        }
    }

    /// Runs `then` in another kind of place.
    pub(super) fn within<T>(
        &mut self,
        (lazy, after_grouping): (bool, bool),
        then: impl FnOnce(&mut Self) -> Result<T, Misread>,
    ) -> Result<T, Misread> {
        let before = (std::mem::replace(&mut self.lazy, lazy), std::mem::replace(&mut self.after_grouping, after_grouping));
        let found = then(self);
        (self.lazy, self.after_grouping) = before;
        found
    }

    /// The level of a subquery, which runs so often.
    pub(super) fn subquery(
        &mut self,
        (select, runs): (&Node, Runs),
        outer: Option<&View<'_>>,
        ctes: &Ctes,
    ) -> Result<Option<Vec<Column>>, Misread> {
        let before = std::mem::replace(&mut self.runs, runs);
        let found = self.query(select, outer, ctes, false);
        self.runs = before;
        found
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
                let select = node.node("subselect")?.ok_or(unread)?;
                let runs = sublink_runs(node)?;
                self.within((self.lazy, false), |this| this.subquery((select, runs), Some(view), ctes)).map(|_| ())
            }
            Tree::Node(node) if node.kind == "ColumnRef" => {
                let computed = if is_star(tree) { view.has_computed() } else { view.resolve(node)?.computed };
                if computed {
                    self.doubt(COMPUTED);
                }
                Ok(())
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

    pub(super) fn expression(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let Some(node) = tree.as_node() else { return self.doubtful("an expression that is not understood", tree, view, ctes) };
        if self.after_grouping && is_passed(tree, view, true)? {
            self.planned_part(tree, view, ctes)?;
            self.sweep(tree, view, ctes)?;
            return Ok((self.type_only(tree, view)?, Refs::None));
        }
        if let Some(of) = self.folded(tree)? {
            self.planned_constant(tree)?;
            return Ok((Value::constant(of), Refs::None));
        }
        if let Some(of) = self.clockwork(tree)? {
            return Ok((Value::computed(of, false), Refs::None));
        }
        match node.kind {
            "ColumnRef" => self.column(node, view),
            // Read as it was bound.
            "ParamRef" => Ok((Value::computed(self.parameter_type(node.int("number")?), false), Refs::None)),
            "SqlValueFunction" => Ok((Value::computed(shapes::of_keyword(node.int("op")?), false), Refs::None)),
            "BoolExpr" => {
                let (values, refs) = self.all(node.list("args")?, view, ctes)?;
                Ok((Value::truth(values.iter().any(|value| value.governed)), refs))
            }
            "NullTest" | "BooleanTest" => {
                let (value, refs) = self.expression(node.field("arg")?, view, ctes)?;
                Ok((Value::truth(value.governed), refs))
            }
            "CoalesceExpr" | "MinMaxExpr" | "AArrayExpr" => self.together(node, view, ctes),
            "CaseExpr" => self.case(node, view, ctes),
            "AExpr" => self.operator(node, view, ctes),
            "SubLink" => self.sublink(node, view, ctes),
            "FuncCall" => self.function(tree, node, view, ctes),
            "TypeCast" => self.cast(tree, node, view, ctes),
            other => self.doubtful(&format!("{other} in a condition"), tree, view, ctes),
        }
    }

    fn column(&mut self, node: &Node, view: &View<'_>) -> Result<(Value, Refs), Misread> {
        let found = view.resolve(node)?;
        if found.computed {
            self.doubt(COMPUTED);
        }
        if found.leaky {
            self.doubt("a masked column in a condition");
        }
        if !found.known {
            self.doubt("a name in a condition that is no known column");
        }
        Ok((found.value, found.refs))
    }

    /// COALESCE, GREATEST, LEAST, ARRAY: values that come to one type.
    fn together(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let parts = node.field(if node.kind == "AArrayExpr" { "elements" } else { "args" })?.items();
        let (values, refs) = self.all(parts, view, ctes)?;
        let of = shapes::common(values.iter().map(|value| value.of));
        let value = Value {
            of,
            collation: values.iter().fold(Collation::None, |so_far, value| so_far.and(value.collation)),
            governed: values.iter().any(|value| value.governed),
            folded: false,
        };
        if of == Type::Opaque {
            self.doubt(format!("{} of different types", if node.kind == "AArrayExpr" { "ARRAY" } else { "COALESCE" }));
        }
        if node.kind == "MinMaxExpr" && !leakproof(self.catalog, "<", value, value) {
            self.doubt("GREATEST or LEAST of what is not known to compare leakproof");
        }
        if node.kind == "AArrayExpr" {
            return Ok((Value { of: self.array_of(of), ..value }, refs));
        }
        Ok((value, refs))
    }

    /// Records a doubt and still looks at the subqueries inside.
    fn doubtful(&mut self, why: &str, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        self.doubt(format!("{why} is not known to be leakproof"));
        self.sweep(tree, view, ctes)?;
        Ok((Value::OPAQUE, Refs::Many))
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
        let mut results: Vec<Value> = Vec::new();
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
            results.push(result);
        }
        if *node.field("defresult")? != Tree::Null {
            let (result, read) = self.expression(node.field("defresult")?, view, ctes)?;
            refs = refs.and(read);
            results.push(result);
        }
        let of = shapes::common(results.iter().map(|result| result.of));
        if of == Type::Opaque {
            // Branches of different types are cast to a common one, by a cast that is not known here.
            self.doubt("CASE with branches of different types");
        }
        let collation = results.iter().fold(Collation::None, |so_far, result| so_far.and(result.collation));
        Ok((Value { of, collation, governed: true, folded: false }, refs))
    }

    fn compares(&self, operator: &str, left: Value, right: Value) -> bool {
        leakproof(self.catalog, operator, left, right)
    }

    fn operator(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let names = node.names("name")?;
        let name = names.last().copied().unwrap_or_default();
        let kind = node.int("kind")?;
        let is = |wanted: AExprKind| kind == i64::from(wanted as i32);
        let (left, mut refs) = match node.field("lexpr")? {
            Tree::Null => (Value { governed: false, ..Value::OPAQUE }, Refs::None),
            tree @ (Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_)) => {
                self.expression(tree, view, ctes)?
            }
        };
        let right = node.field("rexpr")?;
        let (rights, read) = self.all(right.items(), view, ctes)?;
        refs = refs.and(read);
        let each = |operator: &str| rights.iter().all(|right| self.compares(operator, left, *right));
        let leakproof = if is(AExprKind::AexprOp) || is(AExprKind::AexprLike) || is(AExprKind::AexprIlike) {
            each(name) || self.pattern(name, left, node)? || json(name, left, &rights)
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
            _ if is(AExprKind::AexprNullif) => shapes::common([left.of].into_iter().chain(rights.iter().map(|right| right.of))),
            "=" | "<>" | "<" | ">" | "<=" | ">=" | "~~" | "!~~" | "~~*" | "!~~*" | "@>" | "<@" | "&&" | "?" => Type::Known(BOOL),
            _ => Type::Opaque,
        };
        // What takes text hands its collation on: `j ->> key` has the key's, and the type's own only where the operands have none.
        let operands = rights.iter().fold(left.collation, |so_far, right| so_far.and(right.collation));
        let collation = match (Collation::of_type(of), operands) {
            (Collation::None, _) if !is(AExprKind::AexprNullif) => Collation::None,
            (own, Collation::None) => own,
            (_, known) => known,
        };
        Ok((Value { of, collation, governed: true, folded: false }, refs))
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
        self.compares(operator, left, Value { of, ..right })
    }

    /// LIKE and its kin with a constant pattern.
    fn pattern(&mut self, name: &str, left: Value, node: &Node) -> Result<bool, Misread> {
        let Type::Known(of) = left.of else { return Ok(false) };
        let Some(constant) = node.field("rexpr")?.of_kind("AConst") else { return Ok(false) };
        let Some(pattern) = constant.field("val")?.string() else { return Ok(false) };
        self.found.looked_at_values = true;
        let known = allow::leakproof_pattern(name, self.catalog.base_type(of), TEXT);
        Ok(left.collation.is_deterministic() && known && allow::well_formed_pattern(pattern))
    }

    /// A subquery in a condition runs when the first row gets to it: everything in it is in a qual position.
    fn sublink(&mut self, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let unread = Misread { kind: "SubLink", field: "subselect" };
        let select = node.node("subselect")?.ok_or(unread)?;
        if !self.is_quiet(node, select)? {
            self.doubt("a subquery in a condition that may raise an error of its own");
        }
        let runs = sublink_runs(node)?;
        let outputs = self.within((true, false), |this| this.subquery((select, runs), Some(view), ctes))?;
        let output = outputs.as_deref().and_then(<[Column]>::first);
        let kind = node.int("sub_link_type")?;
        let is = |wanted: SubLinkType| kind == i64::from(wanted as i32);
        let value = output.map_or(Value::OPAQUE, |column| Value { governed: true, folded: false, ..column.value });
        if is(SubLinkType::ExistsSublink) {
            return Ok((Value::truth(true), Refs::Many));
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
            return Ok((Value::truth(true), Refs::Many));
        }
        self.doubt("a subquery of this form in a condition");
        Ok((Value::OPAQUE, Refs::Many))
    }

    fn function(&mut self, tree: &Tree, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let names = node.names("funcname")?;
        let name = names.last().copied().unwrap_or_default();
        let plain = node.field("over")? == &Tree::Null && node.field("agg_filter")? == &Tree::Null && !node.flag("func_variadic")?;
        let built_in = matches!(names.as_slice(), [_] | ["pg_catalog", _]);
        // Answered from the virtual session, by a parameter.
        if built_in && plain && is_answered(&names, node) {
            let of = match name {
                "current_setting" | "version" => Type::Known(TEXT),
                "pg_backend_pid" => Type::Known(INT4),
                "current_database" | "current_schema" | "current_user" | "session_user" => Type::Known(NAME),
                _ => Type::Opaque,
            };
            return Ok((Value::computed(of, false), Refs::None));
        }
        if self.lazy && built_in && is_quiet_aggregate(node)? {
            return self.quiet_aggregate(node, view, ctes);
        }
        if plain && built_in && !is_aggregate(node)? {
            let before = self.raised;
            let (values, refs) = self.all(node.list("args")?, view, ctes)?;
            // An untyped literal is taken as text.
            let types = values.iter().map(|value| match value.of {
                Type::Known(oid) => Some(oid),
                Type::Unknown => Some(TEXT),
                Type::Opaque => None,
            });
            let types: Option<Vec<Oid>> = types.collect();
            if self.raised == before && types.is_some_and(|types| allow::leakproof_function(name, &types)) {
                let collation = values.iter().fold(Collation::None, |so_far, value| so_far.and(value.collation));
                let value = match name {
                    // They take the collation, and hand it on.
                    "lower" | "upper" => Value { collation, ..Value::computed(Type::Known(TEXT), true) },
                    _ => Value::computed(Type::Known(INT4), true),
                };
                if collation != Collation::Unknown {
                    return Ok((value, refs));
                }
            }
        }
        self.doubtful(&format!("{name}(…)"), tree, view, ctes)
    }

    /// Casts that run no function: to the type it has, and `varchar` to `text`.
    fn cast(&mut self, tree: &Tree, node: &Node, view: &View<'_>, ctes: &Ctes) -> Result<(Value, Refs), Misread> {
        let target = self.cast_target(node)?;
        if let Some(elements) = node.field("arg")?.of_kind("AArrayExpr") {
            return self.cast_of_elements(tree, (elements, target), view, ctes);
        }
        let (value, refs) = self.expression(node.field("arg")?, view, ctes)?;
        match (value.of, target) {
            // A parameter takes its type from the cast that is its only place.
            (Type::Unknown, Type::Known(_)) if node.field("arg")?.of_kind("ParamRef").is_some() => {
                Ok((Value::computed(target, false), refs))
            }
            (Type::Known(from), Type::Known(to)) if from == to || (from == shapes::VARCHAR && to == TEXT) => {
                Ok((Value { of: target, ..value }, refs))
            }
            (Type::Known(from), Type::Known(to)) if shapes::common([value.of, target]) == target && from != to => {
                Ok((Value::computed(target, value.governed), refs))
            }
            _ => self.doubtful("a cast of a column", tree, view, ctes),
        }
    }

    /// `ARRAY[…]::type[]` casts each element by itself (`transformArrayExpr`).
    fn cast_of_elements(
        &mut self,
        tree: &Tree,
        (elements, target): (&Node, Type),
        view: &View<'_>,
        ctes: &Ctes,
    ) -> Result<(Value, Refs), Misread> {
        let known = if let Type::Known(array) = target { self.catalog.types.get(&array).filter(|known| known.array) } else { None };
        let element = known.map_or(Type::Opaque, |known| Type::Known(known.base));
        let (values, refs) = self.all(elements.list("elements")?, view, ctes)?;
        if element == Type::Opaque || values.iter().any(|value| shapes::common([value.of, element]) != element) {
            return self.doubtful("a cast of an array", tree, view, ctes);
        }
        let governed = values.iter().any(|value| value.governed);
        let collation = values.iter().fold(Collation::None, |so_far, value| so_far.and(value.collation));
        Ok((Value { collation, ..Value::computed(target, governed) }, refs))
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
        && matches!(rights, [Value { of: Type::Unknown, governed: false, .. }])
        && matches!(name, "->" | "->>" | "#>" | "#>>" | "?" | "?|" | "?&")
        && allow::leakproof_operator(name, shapes::JSONB, key)
}
