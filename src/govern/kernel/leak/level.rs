//! One query level: its range table, its qual positions, what it gives to the level above.

use std::collections::{BTreeSet, HashMap};

use pg_query::protobuf::{JoinType, SetOperation};

use super::{
    collation::Collation,
    correlated::{Runs, lateral_runs, tied},
    expression::Analyzer,
    planned::holds_parameter,
    printer,
    reads::{holds_no_equality, is_over_groups, is_passed},
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
    /// Whether an error may come or not by how the source plans the statement for its parameters.
    pub(in crate::govern) by_plan: bool,
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
    analyzer.found.by_plan |= !analyzer.found.doubts.is_empty();
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
        self.distances(select)?;
        self.planned(select, &view, &ctes, outermost)?;
        self.extremes(select, &view, &ctes)?;
        if self.lazy {
            self.sorts(select, &view)?;
        }
        if !select.list("values_lists")?.is_empty() {
            return self.values(select, &view, &ctes, outermost);
        }
        // A level with LIMIT or OFFSET is neither flattened nor has quals pushed into it (is_simple_subquery, subquery_is_pushdown_safe),
        // so what it computes is computed on rows that passed, and has no statistics. A column that it hands on as it is has.
        let closed = *select.field("limit_count")? != Tree::Null || *select.field("limit_offset")? != Tree::Null;
        self.targets(select, &view, &ctes, (outermost || closed) && !self.lazy, closed)
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
                // MATERIALIZED or not, its columns are looked up in the statistics (examine_simple_variable, since 17).
                let renamed = rename(outputs, &aliases(cte.list("aliascolnames")?));
                inner.0.push((cte.text("ctename")?.into(), renamed));
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
        // Arms of different types are cast to a common one.
        let alike = |left: &Vec<Column>, right: &Vec<Column>| left.iter().zip(right).all(|(left, right)| left.value.of == right.value.of);
        self.found.by_plan |= !left.as_ref().zip(right.as_ref()).is_some_and(|(left, right)| alike(left, right));
        Ok(left.zip(right).map(|(left, right)| {
            left.into_iter()
                .zip(right)
                .map(|(mut column, other)| {
                    if column.value.of != other.value.of {
                        column.value.of = Type::Opaque;
                    }
                    column.value.governed |= other.value.governed;
                    column.value.folded &= other.value.folded;
                    if column.value.collation != other.value.collation {
                        column.value.collation = Collation::Unknown;
                    }
                    column.leaky |= other.leaky;
                    column.computed |= other.computed;
                    column
                })
                .collect()
        }))
    }

    /// `VALUES`: a single row is flattened into the level above, so a column inside one is in a qual position.
    fn values(&mut self, select: &Node, view: &View<'_>, ctes: &Ctes, outermost: bool) -> Result<Option<Vec<Column>>, Misread> {
        let lists = select.field("values_lists")?;
        self.found.by_plan |= holds_parameter(lists);
        let mut reads = false;
        lists.each(&mut |node| reads |= matches!(node.kind, "ColumnRef" | "SubLink"));
        if reads {
            self.doubt("VALUES that reads a column or a subquery");
            self.sweep(lists, view, ctes)?;
        } else if !outermost {
            for value in lists.items().iter().flat_map(Tree::items) {
                self.expression(value, view, ctes)?;
            }
        }
        Ok(None)
    }

    /// `ORDER BY point <-> '(0,0)'`: an index that orders by a distance computes it on rows of everybody, and distances overflow. Which
    /// operators these are the source's operator classes say (`pg_amop`).
    fn distances(&mut self, select: &Node) -> Result<(), Misread> {
        let mut distance = false;
        for clause in ["target_list", "group_clause", "sort_clause", "distinct_clause", "window_clause"] {
            select.field(clause)?.each(&mut |node| {
                let names = if node.kind == "AExpr" { node.names("name").unwrap_or_default() } else { Vec::new() };
                distance |= names.last().is_some_and(|name| may_order(self.catalog, name));
            });
        }
        if distance {
            self.doubt("a distance, by which an index may order rows");
        }
        Ok(())
    }

    fn targets(&mut self, select: &Node, view: &View<'_>, ctes: &Ctes, safe: bool, closes: bool) -> Result<Option<Vec<Column>>, Misread> {
        let mut outputs = Vec::new();
        let mut known = true;
        for target in select.list("target_list")?.iter().filter_map(Tree::as_node) {
            let expression = target.field("val")?;
            if let Some(star) = expression.of_kind("ColumnRef").filter(|_| is_star(expression)) {
                self.sweep(expression, view, ctes)?;
                match view.star(star)? {
                    Some(columns) => outputs.extend(columns),
                    None => known = false,
                }
                continue;
            }
            let explicit = target.text("name")?;
            let name = if explicit.is_empty() { output_name(expression) } else { explicit.into() };
            let over_groups = is_over_groups(expression, view)? && !self.lazy;
            let value = if safe || (over_groups && has_window(expression)) {
                self.sweep(expression, view, ctes)?;
                self.type_only(expression, view)?
            } else {
                // What holds an aggregate may become a HAVING of this level.
                self.within((self.lazy, over_groups), |this| this.qual(expression, view, ctes))?
            };
            // Computed above rows that passed, and without statistics.
            let passed = over_groups || (closes && !self.lazy && expression.of_kind("ColumnRef").is_none());
            let value = Value { governed: value.governed && !passed, folded: false, ..value };
            outputs.push(Column { name, value, real: None, leaky: false, computed: false });
        }
        Ok(known.then_some(outputs))
    }

    /// A conjunct as it stands inside the fence of its relation.
    fn printed(&self, tree: &Tree, rte: &Rte, occurrence: usize, view: &View<'_>) -> Option<String> {
        let relation = self.occurrences.values().find(|(number, _)| *number == occurrence)?.1?;
        printer::conjunct(tree, (rte, &relation.real_name), view)
    }

    /// Splits by AND; each conjunct is a qual. One that is leakproof and reads one relation that it filters is copied, in a level that runs
    /// for each outer row also one that compares a column of that relation with an outer one.
    fn conjuncts(&mut self, tree: &Tree, view: &View<'_>, first: usize, filters: &[usize], ctes: &Ctes) -> Result<(), Misread> {
        if *tree == Tree::Null {
            return Ok(());
        }
        if let Some(node) = tree.of_kind("BoolExpr")
            && node.int("boolop")? == i64::from(pg_query::protobuf::BoolExprType::AndExpr as i32)
        {
            return node.list("args")?.iter().try_for_each(|part| self.conjuncts(part, view, first, filters, ctes));
        }
        if self.runs_elsewhere(tree, view)? {
            self.planned_part(tree, view, ctes)?;
            return self.sweep(tree, view, ctes);
        }
        let before = self.raised;
        let refs = self.qual_refs(tree, view, ctes)?;
        if self.raised > before {
            return Ok(());
        }
        let place = match refs {
            Refs::One(place) => Some(place),
            Refs::Many if self.runs == Runs::ForEachRow => tied(tree, view)?,
            Refs::None | Refs::Many => None,
        };
        if let Some(place) = place
            && filters.contains(&(first + place))
            && let Some(rte) = view.rtes.get(place)
            && !rte.nullable
            && !self.trying
            && let Some(occurrence) = rte.occurrence
            && self.copyable(tree)
            && let Some(text) = self.printed(tree, rte, occurrence, view)
        {
            self.found.copies.entry(occurrence).or_default().push(text);
        }
        Ok(())
    }

    /// Whether a conjunct runs on rows of one function, group or relation that hides none, and nowhere else: no scan of governed rows takes
    /// it up, and no statistics of theirs are behind it. An equality may be carried to another relation (`equivclass.c`), so a conjunct
    /// is one only where every operator in it is on the list of those that are none.
    fn runs_elsewhere(&self, tree: &Tree, view: &View<'_>) -> Result<bool, Misread> {
        if self.lazy || !is_passed(tree, view, false)? || !holds_no_equality(tree)? {
            return Ok(false);
        }
        let (mut refs, mut misread) = (Refs::None, None);
        tree.each(&mut |node| {
            if node.kind == "ColumnRef" {
                match view.resolve(node) {
                    Ok(found) => refs = refs.and(found.refs),
                    Err(error) => misread = Some(error),
                }
            }
        });
        misread.map_or(Ok(matches!(refs, Refs::One(_))), Err)
    }

    /// HAVING: a conjunct without an aggregate becomes a WHERE (`subquery_planner`), one with an aggregate never does; but it is tried on
    /// the statistics of the columns that it reads besides (`cost_agg`).
    fn having(&mut self, tree: &Tree, view: &View<'_>, ctes: &Ctes) -> Result<(), Misread> {
        match tree {
            Tree::Null => Ok(()),
            Tree::Node(node) if node.kind == "BoolExpr" => node.list("args")?.iter().try_for_each(|part| self.having(part, view, ctes)),
            Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => {
                let over_groups = is_over_groups(tree, view)? && !self.lazy;
                self.within((self.lazy, over_groups), |this| this.qual(tree, view, ctes)).map(|_| ())
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
            "RangeTableSample" => {
                self.found.by_plan = true;
                self.item(node.field("relation")?, from, outer, ctes)?;
            }
            "RangeSubselect" => {
                let query = node.node("subquery")?.ok_or(unread)?;
                let outputs = if node.flag("lateral")? {
                    let left = View { rtes: &from.rtes, merged: &from.merged, outer };
                    self.subquery((query, lateral_runs(query)?), Some(&left), ctes)?
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
                self.found.by_plan = true;
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
                    value: Value { collation: shown_collation(column), governed, folded: false, of: shown_type(column) },
                    real: (column.mask.is_none() && column.stored).then(|| column.name.clone()),
                    leaky: column.mask.is_some(),
                    computed: !column.stored,
                });
                let computed = relation.columns.iter().any(|column| !column.stored);
                let columns = rename(Some(all.collect()), &columns);
                Ok(Rte { name: Some(name), columns, governed, occurrence: governed.then_some(*number), nullable: false, computed })
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
        let computed = from.rtes.get(start..end).is_some_and(|sides| sides.iter().any(|rte| rte.computed));
        if let Some(name) = alias(node)?.0 {
            // The alias hides the names below it; its own columns are not tracked.
            from.rtes.get_mut(start..end).unwrap_or_default().iter_mut().for_each(Rte::hide);
            from.rtes.push(Rte { governed, computed, ..Rte::function(Some(name)) });
        }
        if let Some(using) = node.node("join_using_alias")? {
            from.rtes.push(Rte { governed, computed, columns: None, ..Rte::function(Some(using.text("aliasname")?.into())) });
        }
        Ok(())
    }

    fn using(&mut self, name: &str, from: &From, (start, middle, end): (usize, usize, usize)) {
        let one = |range: std::ops::Range<usize>| {
            let rtes = from.rtes.get(range).unwrap_or_default();
            let mut found =
                rtes.iter().filter(|rte| rte.columns.is_some()).flat_map(|rte| rte.columns.iter().flatten()).filter(|c| *c.name == *name);
            let first = found.next().filter(|_| rtes.iter().all(|rte| rte.columns.is_some()))?;
            found.next().is_none().then_some((first.value, first.leaky || first.computed))
        };
        match (one(start..middle), one(middle..end)) {
            (Some((left, false)), Some((right, false))) if leakproof(self.catalog, "=", left, right) => {}
            _ => self.doubt(format!("JOIN USING ({name}): its equality is not known to be leakproof")),
        }
    }
}

/// Whether an index may order rows by an operator of that name.
fn may_order(catalog: &CatalogSnapshot, name: &str) -> bool {
    match &catalog.ordering_operators {
        Some(names) => names.iter().any(|known| *known == *name),
        // A snapshot that does not say: by the spellings of all that are known.
        None => (name != "<>" && name.contains('<') && name.contains('>')) || matches!(name, "<#>" | "<=>" | "~>" | "|=|" | "<=|" | "|=>"),
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

/// A mask may change the collation with the type.
fn shown_collation(column: &ExposedColumn) -> Collation {
    match column.mask {
        None => Collation::of_column(shown_type(column), column.collation, column.deterministic_collation),
        Some(Mask::Hash(_) | Mask::Last(_) | Mask::Null | Mask::Constant(_)) => Collation::of_type(shown_type(column)),
    }
}

/// Whether an expression holds a window function.
fn has_window(tree: &Tree) -> bool {
    let mut found = false;
    tree.each(&mut |node| found |= node.kind == "FuncCall" && node.field("over").is_ok_and(|over| *over != Tree::Null));
    found
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
