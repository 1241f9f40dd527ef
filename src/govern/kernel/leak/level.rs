//! One query level: its range table, its qual positions, what it gives to the level above.

use std::collections::{BTreeSet, HashMap};

use pg_query::protobuf::{CteMaterialize, JoinType, SetOperation};

use super::{
    expression::{Analyzer, is_over_groups},
    printer,
    resolve::{Column, Refs, Rte, View, output_name},
    shapes::{TEXT, Type, Value, leakproof},
};
use crate::{
    govern::kernel::{derived::hides_rows, scope::cte_names},
    policy::{ExposedColumn, ExposedRelation, Mask},
    sql::{
        Misread, Node, Tree,
        catalog::{CatalogSnapshot, Oid},
    },
};

/// What the analysis found.
#[derive(Debug, Default)]
pub(in crate::govern) struct Analysis {
    /// Why the statement must be fenced, in words; empty when every qual position is leakproof.
    pub(in crate::govern) doubts: Vec<String>,
    /// Conjuncts to copy inside the fence of an occurrence, by its number, printed over real column names.
    pub(in crate::govern) copies: HashMap<usize, Vec<String>>,
    /// Whether a constant's value was looked at, so that another value might be decided otherwise.
    pub(in crate::govern) looked_at_values: bool,
}

/// Analyses a SELECT. `occurrences` maps the byte offset of each relation that is not a CTE to its number
/// and, when it is a relation of the policy, what the policy says; `converting` the names of types that a cast converts to as rows are read.
pub(in crate::govern) fn analyze(
    select: &Node,
    catalog: &CatalogSnapshot,
    declared: &[Oid],
    converting: BTreeSet<usize>,
    occurrences: &HashMap<usize, (usize, Option<&ExposedRelation>)>,
) -> Result<Analysis, Misread> {
    let mut analyzer = Analyzer::new(select, catalog, declared, converting, occurrences);
    analyzer.query(select, None, &Ctes::default(), true)?;
    Ok(analyzer.found)
}

/// The CTEs in scope, the innermost last.
#[derive(Debug, Clone, Default)]
pub(super) struct Ctes(Vec<(Box<str>, Option<Vec<Column>>)>);

impl Ctes {
    /// The columns of the innermost CTE of that name; `None` when they are not known.
    fn columns(&self, name: &str) -> Option<Vec<Column>> {
        self.0.iter().rev().find(|(known, _)| **known == *name).and_then(|(_, columns)| columns.clone())
    }
}

/// What one level's FROM clause came to.
#[derive(Debug, Default)]
struct From {
    rtes: Vec<Rte>,
    merged: Vec<Box<str>>,
}

impl Analyzer<'_> {
    /// Analyses a query level and returns its output columns; `None` when they are not known by name.
    pub(super) fn query(
        &mut self,
        select: &Node,
        outer: Option<&View<'_>>,
        ctes: &Ctes,
        outermost: bool,
    ) -> Result<Option<Vec<Column>>, Misread> {
        let ctes = self.with_clause(select, outer, ctes)?;
        if select.int("op")? != i64::from(SetOperation::SetopNone as i32) {
            return self.set_operation(select, outer, &ctes, outermost);
        }
        let mut from = From::default();
        for item in select.list("from_clause")? {
            self.item(item, &mut from, outer, &ctes)?;
        }
        let view = View { rtes: &from.rtes, merged: &from.merged, outer };
        let all: Vec<usize> = (0..from.rtes.len()).collect();
        self.conjuncts(select.field("where_clause")?, &view, 0, &all, &ctes)?;
        self.having(select.field("having_clause")?, &view, &ctes)?;
        for safe in ["distinct_clause", "group_clause", "window_clause", "sort_clause", "limit_offset", "limit_count"] {
            self.sweep(select.field(safe)?, &view, &ctes)?;
        }
        if !select.list("values_lists")?.is_empty() {
            return self.values(select, &view, &ctes);
        }
        // A level with LIMIT or OFFSET is neither flattened nor has quals pushed into it (is_simple_subquery,
        // subquery_is_pushdown_safe), so what uses its output runs on rows that passed.
        let closed = *select.field("limit_count")? != Tree::Null || *select.field("limit_offset")? != Tree::Null;
        self.targets(select, &view, &ctes, outermost || closed, closed)
    }

    fn with_clause(&mut self, select: &Node, outer: Option<&View<'_>>, ctes: &Ctes) -> Result<Ctes, Misread> {
        let mut inner = ctes.clone();
        let Some(with) = select.node("with_clause")? else { return Ok(inner) };
        let recursive = with.flag("recursive")?;
        if recursive {
            // Never inlined, and their columns are typed by their first arm only: not known, not a leak above.
            inner.0.extend(cte_names(with)?.into_iter().map(|name| (name, None)));
        }
        for cte in with.list("ctes")?.iter().filter_map(Tree::as_node) {
            let unread = Misread { kind: "CommonTableExpr", field: "ctequery" };
            let query = cte.node("ctequery")?.filter(|query| query.kind == "SelectStmt").ok_or(unread)?;
            let outputs = self.query(query, outer, &inner, false)?;
            if !recursive {
                let materialized = cte.int("ctematerialized")? == i64::from(CteMaterialize::Always as i32);
                let renamed = rename(outputs, &aliases(cte.list("aliascolnames")?));
                inner.0.push((cte.text("ctename")?.into(), renamed.map(|columns| if materialized { closed(columns) } else { columns })));
            }
        }
        Ok(inner)
    }

    fn set_operation(
        &mut self,
        select: &Node,
        outer: Option<&View<'_>>,
        ctes: &Ctes,
        outermost: bool,
    ) -> Result<Option<Vec<Column>>, Misread> {
        let unread = Misread { kind: "SelectStmt", field: "larg" };
        let left = self.query(select.node("larg")?.ok_or_else(|| unread.clone())?, outer, ctes, outermost)?;
        let right = self.query(select.node("rarg")?.ok_or(unread)?, outer, ctes, outermost)?;
        for safe in ["sort_clause", "limit_offset", "limit_count"] {
            self.sweep(select.field(safe)?, &View { rtes: &[], merged: &[], outer }, ctes)?;
        }
        Ok(left.zip(right).map(|(left, right)| {
            left.into_iter()
                .zip(right)
                .map(|(mut column, other)| {
                    if column.value.of != other.value.of {
                        column.value.of = Type::Opaque;
                    }
                    column.value.governed |= other.value.governed;
                    column.leaky |= other.leaky;
                    column
                })
                .collect()
        }))
    }

    /// `VALUES`: a single row is flattened into the level above, so a column inside one is in a qual position.
    fn values(&mut self, select: &Node, view: &View<'_>, ctes: &Ctes) -> Result<Option<Vec<Column>>, Misread> {
        let lists = select.field("values_lists")?;
        let mut reads = false;
        lists.each(&mut |node| reads |= matches!(node.kind, "ColumnRef" | "SubLink"));
        if reads {
            self.doubt("VALUES that reads a column or a subquery");
            self.sweep(lists, view, ctes)?;
        }
        Ok(None)
    }

    fn targets(&mut self, select: &Node, view: &View<'_>, ctes: &Ctes, safe: bool, closes: bool) -> Result<Option<Vec<Column>>, Misread> {
        let mut outputs = Vec::new();
        let mut known = true;
        for target in select.list("target_list")?.iter().filter_map(Tree::as_node) {
            let expression = target.field("val")?;
            if let Some(star) = expression.of_kind("ColumnRef").filter(|_| is_star(expression)) {
                match view.star(star)? {
                    Some(columns) => outputs.extend(columns),
                    None => known = false,
                }
                continue;
            }
            let explicit = target.text("name")?;
            let name = if explicit.is_empty() { output_name(expression) } else { explicit.into() };
            let over_groups = is_over_groups(expression, view)?;
            let value = if safe || over_groups {
                self.sweep(expression, view, ctes)?;
                self.type_only(expression, view)?
            } else {
                self.qual(expression, view, ctes)?
            };
            let value = Value { governed: value.governed && !over_groups, ..value };
            outputs.push(Column { name, value, real: None, leaky: false, deterministic: false });
        }
        if !known {
            return Ok(None);
        }
        Ok(Some(if closes { closed(outputs) } else { outputs }))
    }

    /// Splits by AND; each conjunct is a qual. One that is leakproof and reads one relation that it filters is copied.
    fn conjuncts(&mut self, tree: &Tree, view: &View<'_>, first: usize, filters: &[usize], ctes: &Ctes) -> Result<(), Misread> {
        if *tree == Tree::Null {
            return Ok(());
        }
        if let Some(node) = tree.of_kind("BoolExpr")
            && node.int("boolop")? == i64::from(pg_query::protobuf::BoolExprType::AndExpr as i32)
        {
            return node.list("args")?.iter().try_for_each(|part| self.conjuncts(part, view, first, filters, ctes));
        }
        let before = self.raised;
        let refs = self.qual_refs(tree, view, ctes)?;
        if self.raised > before {
            return Ok(());
        }
        if let Refs::One(place) = refs
            && filters.contains(&(first + place))
            && let Some(rte) = view.rtes.get(place)
            && !rte.nullable
            && let Some(occurrence) = rte.occurrence
            && self.copyable(tree)
            && let Some(text) = printer::conjunct(tree, rte)
        {
            self.found.copies.entry(occurrence).or_default().push(text);
        }
        Ok(())
    }

    /// HAVING: a conjunct without an aggregate becomes a WHERE (`subquery_planner`), one with an aggregate never does.
    fn having(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(), Misread> {
        match tree {
            Tree::Null => Ok(()),
            Tree::Node(node) if node.kind == "BoolExpr" => node.list("args")?.iter().try_for_each(|part| self.having(part, view, ctes)),
            Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => {
                if is_over_groups(tree, view)? { self.sweep(tree, view, ctes) } else { self.qual(tree, view, ctes).map(|_| ()) }
            }
        }
    }

    fn item(&mut self, item: &Tree, from: &mut From, outer: Option<&View<'_>>, ctes: &Ctes) -> Result<(), Misread> {
        let unread = Misread { kind: "SelectStmt", field: "from_clause" };
        let node = item.as_node().ok_or_else(|| unread.clone())?;
        match node.kind {
            "RangeVar" => {
                let rte = self.range_var(node, ctes)?;
                from.rtes.push(rte);
            }
            // The sample is drawn inside, from the rows that pass: a relation like any other.
            "RangeTableSample" => self.item(node.field("relation")?, from, outer, ctes)?,
            "RangeSubselect" => {
                let query = node.node("subquery")?.ok_or(unread)?;
                let outputs = if node.flag("lateral")? {
                    self.query(query, Some(&View { rtes: &from.rtes, merged: &from.merged, outer }), ctes, false)?
                } else {
                    self.query(query, outer, ctes, false)?
                };
                let (name, columns) = alias(node)?;
                from.rtes.push(Rte::query(name, rename(outputs, &columns)));
            }
            "RangeFunction" | "RangeTableFunc" | "JsonTable" => {
                // A function in FROM runs once for each row that passed, on what it is given.
                self.sweep(item, &View { rtes: &from.rtes, merged: &from.merged, outer }, ctes)?;
                self.only_reviewed(item);
                from.rtes.push(Rte::function(alias(node)?.0.or_else(|| function_name(node))));
            }
            "JoinExpr" => self.join(node, from, outer, ctes)?,
            _ => return Err(unread),
        }
        Ok(())
    }

    fn range_var(&mut self, node: &Node, ctes: &Ctes) -> Result<Rte, Misread> {
        let (name, columns) = alias(node)?;
        let name = name.unwrap_or_else(|| node.text("relname").unwrap_or_default().into());
        match node.location().and_then(|location| self.occurrences.get(&location)) {
            Some((number, Some(relation))) => {
                let governed = hides_rows(relation);
                let all = relation.columns.iter().map(|column| Column {
                    name: column.name.clone(),
                    value: Value { of: shown_type(column), governed },
                    real: column.mask.is_none().then(|| column.name.clone()),
                    leaky: column.mask.is_some() && governed,
                    deterministic: column.deterministic_collation,
                });
                let columns = rename(Some(all.collect()), &columns);
                Ok(Rte { name: Some(name), columns, governed, occurrence: governed.then_some(*number), nullable: false })
            }
            Some((_, None)) => Ok(Rte::function(Some(name))),
            None => {
                let outputs = ctes.columns(node.text("relname")?);
                Ok(Rte::query(Some(name), rename(outputs, &columns)))
            }
        }
    }

    fn join(&mut self, node: &Node, from: &mut From, outer: Option<&View<'_>>, ctes: &Ctes) -> Result<(), Misread> {
        let start = from.rtes.len();
        let merged_start = from.merged.len();
        self.item(node.field("larg")?, from, outer, ctes)?;
        let middle = from.rtes.len();
        self.item(node.field("rarg")?, from, outer, ctes)?;
        let end = from.rtes.len();

        let kind = node.int("jointype")?;
        let is = |wanted: JoinType| kind == i64::from(wanted as i32);
        let filters: Vec<usize> = if is(JoinType::JoinInner) {
            (start..end).collect()
        } else if is(JoinType::JoinLeft) {
            (middle..end).collect()
        } else if is(JoinType::JoinRight) {
            (start..middle).collect()
        } else {
            Vec::new()
        };
        if node.flag("is_natural")? {
            self.doubt("NATURAL JOIN, whose columns are not written out");
        }
        for name in node.list("using_clause")?.iter().filter_map(Tree::string) {
            self.using(name, from, (start, middle, end));
            from.merged.push(name.into());
        }
        // In ON, only the two sides are visible at this level (transformFromClauseItem).
        let sides = from.rtes.get(start..end).unwrap_or_default();
        let merged = from.merged.get(merged_start..).unwrap_or_default();
        self.conjuncts(node.field("quals")?, &View { rtes: sides, merged, outer }, start, &filters, ctes)?;

        let nullable = if is(JoinType::JoinInner) {
            0..0
        } else if is(JoinType::JoinLeft) {
            middle..end
        } else if is(JoinType::JoinRight) {
            start..middle
        } else {
            start..end
        };
        for rte in from.rtes.get_mut(nullable).unwrap_or_default() {
            rte.nullable = true;
        }
        let governed = from.rtes.get(start..end).is_some_and(|sides| sides.iter().any(|rte| rte.governed));
        if let Some(name) = alias(node)?.0 {
            // The alias hides the names below it; its own columns are not tracked.
            from.rtes.get_mut(start..end).unwrap_or_default().iter_mut().for_each(Rte::hide);
            from.rtes.push(Rte { governed, ..Rte::function(Some(name)) });
        }
        if let Some(using) = node.node("join_using_alias")? {
            from.rtes.push(Rte { governed, columns: None, ..Rte::function(Some(using.text("aliasname")?.into())) });
        }
        Ok(())
    }

    fn using(&mut self, name: &str, from: &From, (start, middle, end): (usize, usize, usize)) {
        let one = |range: std::ops::Range<usize>| {
            let rtes = from.rtes.get(range).unwrap_or_default();
            let mut found =
                rtes.iter().filter(|rte| rte.columns.is_some()).flat_map(|rte| rte.columns.iter().flatten()).filter(|c| *c.name == *name);
            let first = found.next().filter(|_| rtes.iter().all(|rte| rte.columns.is_some()))?;
            found.next().is_none().then_some((first.value, first.leaky))
        };
        match (one(start..middle), one(middle..end)) {
            (Some((left, false)), Some((right, false))) if leakproof(self.catalog, "=", left, right) => {}
            (Some((left, _)), Some((right, _))) if !left.governed && !right.governed => {}
            _ => self.doubt(format!("JOIN USING ({name}): its equality is not known to be leakproof")),
        }
    }
}

/// `*` or `t.*`.
pub(super) fn is_star(tree: &Tree) -> bool {
    let last = |node: &Node| node.list("fields").is_ok_and(|fields| fields.last().is_some_and(|last| last.of_kind("AStar").is_some()));
    tree.of_kind("ColumnRef").is_some_and(last)
}

/// A mask may change the type.
fn shown_type(column: &ExposedColumn) -> Type {
    match column.mask {
        Some(Mask::Hash(_) | Mask::Last(_)) => Type::Known(TEXT),
        None | Some(Mask::Null | Mask::Constant(_)) => Type::Known(column.base_type_oid),
    }
}

/// A name for a range table entry, and names for its columns.
type Alias = (Option<Box<str>>, Vec<Box<str>>);

/// An alias node's name and column names.
fn alias(node: &Node) -> Result<Alias, Misread> {
    match node.node("alias")? {
        Some(alias) => Ok((Some(alias.text("aliasname")?.into()), aliases(alias.list("colnames")?))),
        None => Ok((None, Vec::new())),
    }
}

fn aliases(names: &[Tree]) -> Vec<Box<str>> {
    names.iter().filter_map(Tree::string).map(Into::into).collect()
}

fn function_name(node: &Node) -> Option<Box<str>> {
    let mut name = None;
    node.each(&mut |inner| {
        if inner.kind == "FuncCall" && name.is_none() {
            name = inner.list("funcname").ok().and_then(|names| names.last()).and_then(Tree::string).map(Into::into);
        }
    });
    name
}

fn rename(columns: Option<Vec<Column>>, names: &[Box<str>]) -> Option<Vec<Column>> {
    columns.map(|mut columns| {
        columns.iter_mut().zip(names).for_each(|(column, name)| column.name = name.clone());
        columns
    })
}

/// Columns of a level that nothing is pushed into: what uses them runs on rows that passed.
fn closed(columns: Vec<Column>) -> Vec<Column> {
    columns.into_iter().map(|column| Column { value: Value { governed: false, ..column.value }, leaky: false, ..column }).collect()
}
