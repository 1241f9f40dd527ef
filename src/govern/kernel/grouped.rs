//! GROUP BY a primary key. PostgreSQL then takes every other column of that table as grouped (`check_functional_grouping`), which it
//! cannot see through a derived table. So the clause is completed: the columns that the level names beside the key are grouped, too.
//! A row's key decides its other columns, and a NULL key of an outer join has NULLs beside it, so the groups stay the same.
//!
//! Only the whole key of a table (not of a view) completes it, every column of it exposed as it is, and known to the source's catalog
//! as the primary key. GROUPING SETS and what is like them are left as they are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use pg_query::protobuf::SetOperation;

use super::{Form, Replacement, Scope, identifier, target_of, unverified, walk};
use crate::{
    govern::{
        Refusal, Request,
        names::{Target, resolve},
    },
    policy::{ExposedColumn, ExposedRelation},
    sql::{Misread, Node, Tree, allow},
};

/// Types of `pg_type` that have no equality to group by: `json`, `xml`, their arrays, `point`, `lseg`, `path`, `box`, `polygon`, `line`,
/// `circle`, `jsonpath`.
const UNGROUPED: [u32; 12] = [114, 142, 143, 199, 600, 601, 602, 603, 604, 628, 718, 4072];

/// The completed tree, and where the client's text must change for it.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) tree: Tree,
    pub(super) replacements: Vec<Replacement>,
}

/// What stands after a grouped expression, by its place.
type Additions = HashMap<usize, Vec<Tree>>;

/// Completes every level of a statement.
pub(super) fn complete(request: &Request<'_>, tree: &Tree) -> Result<Completed, Refusal> {
    let mut levels = Vec::new();
    tree.each(&mut |node| {
        let grouped = node.kind == "SelectStmt" && node.list("group_clause").is_ok_and(|items| !items.is_empty());
        if grouped {
            levels.push(node);
        }
    });
    let mut completed = Completed { tree: tree.clone(), replacements: Vec::new() };
    if levels.is_empty() {
        return Ok(completed);
    }
    let relations = relations(request, tree)?;
    let mut additions = Additions::new();
    for level in levels {
        if level.int("op")? == i64::from(SetOperation::SetopNone as i32) && !level.flag("group_distinct")? {
            completed.level(request, level, &relations, &mut additions)?;
        }
    }
    let wanted = additions.len();
    if wanted > 0 && add(&mut completed.tree, &mut additions)? != wanted {
        return Err(unverified("a grouped expression that was not found again"));
    }
    Ok(completed)
}

impl Completed {
    fn level(
        &mut self,
        request: &Request<'_>,
        level: &Node,
        relations: &HashMap<usize, Arc<ExposedRelation>>,
        additions: &mut Additions,
    ) -> Result<(), Refusal> {
        let group = level.list("group_clause")?;
        let from = From::read(level, relations)?;
        let mut items = Vec::new();
        for item in group {
            let Some(node) = item.as_node() else { return Ok(()) };
            let column = match node.kind {
                "GroupingSet" => return Ok(()),
                "ColumnRef" => from.column(node)?,
                // A number of a column, which no other number takes the place of (`Template`).
                "AConst" => match target(level, node)? {
                    Some(target) => from.column(target)?,
                    None => None,
                },
                // Other expressions are no columns.
                _ => None,
            };
            items.push((node, column));
        }
        for (alias, relation) in from.items.iter().filter_map(|(alias, relation)| Some((alias, relation.as_ref()?))) {
            let of_it = |column: &&str| items.iter().any(|(_, grouped)| grouped.as_ref() == Some(&(alias.clone(), (*column).to_owned())));
            let Some(key) = key(request, relation) else { continue };
            if !key.iter().all(|column| of_it(&&**column)) {
                continue;
            }
            let named = Named::read(level)?;
            let more = relation.columns.iter().filter(|column| named.has(alias, column) && !UNGROUPED.contains(&column.base_type_oid));
            let more: Vec<String> = more
                .filter(|column| !of_it(&&*column.name))
                .map(|column| format!("{}.{}", identifier(alias), identifier(&column.name)))
                .collect();
            let last = items.iter().rev().find(|(_, grouped)| grouped.as_ref().is_some_and(|(of, _)| of == alias));
            let Some(((node, _), false)) = last.map(|last| (last, more.is_empty())) else { continue };
            let at = node.location().ok_or_else(|| unverified("a grouped expression without a place"))?;
            let (form, written) = written(node)?;
            let trees = more.iter().map(|sql| target_of(sql).ok_or_else(|| unverified("a column"))).collect::<Result<Vec<_>, _>>()?;
            if additions.insert(at, trees).is_some() {
                return Err(unverified("two grouped expressions at one place"));
            }
            self.replacements.push(Replacement { at, form, sql: format!("{written}, {}", more.join(", ")) });
        }
        Ok(())
    }
}

/// What one level's FROM clause names.
#[derive(Debug, Default)]
struct From {
    /// Names, and what is a relation under its own column names.
    items: Vec<(String, Option<Arc<ExposedRelation>>)>,
    /// Whether columns of two relations are one, or something has columns that are not known.
    vague: bool,
}

impl From {
    fn read(level: &Node, relations: &HashMap<usize, Arc<ExposedRelation>>) -> Result<Self, Misread> {
        let mut from = Self::default();
        for item in level.list("from_clause")? {
            from.item(item, relations)?;
        }
        Ok(from)
    }

    fn item(&mut self, tree: &Tree, relations: &HashMap<usize, Arc<ExposedRelation>>) -> Result<(), Misread> {
        let Some(node) = tree.as_node() else {
            self.vague = true;
            return Ok(());
        };
        match node.kind {
            "JoinExpr" if node.node("alias")?.is_none() && node.node("join_using_alias")?.is_none() => {
                self.vague |= node.flag("is_natural")? || !node.list("using_clause")?.is_empty();
                self.item(node.field("larg")?, relations)?;
                self.item(node.field("rarg")?, relations)
            }
            "RangeVar" => {
                let alias = node.node("alias")?;
                let renamed = alias.is_some_and(|alias| alias.list("colnames").is_ok_and(|names| !names.is_empty()));
                let name = alias.map_or_else(|| node.text("relname"), |alias| alias.text("aliasname"))?;
                let relation = node.location().and_then(|at| relations.get(&at)).filter(|_| !renamed).cloned();
                self.vague |= relation.is_none();
                self.items.push((name.to_owned(), relation));
                Ok(())
            }
            // What it is called does not matter: nothing of it is completed.
            _ => {
                self.vague = true;
                if let Ok(Some(alias)) = node.node("alias") {
                    self.items.push((alias.text("aliasname")?.to_owned(), None));
                }
                Ok(())
            }
        }
    }

    /// Which column of which relation this is, when that is beyond doubt.
    fn column(&self, node: &Node) -> Result<Option<(String, String)>, Misread> {
        if node.kind != "ColumnRef" {
            return Ok(None);
        }
        let has = |relation: &Option<Arc<ExposedRelation>>, column: &str| {
            relation.as_ref().is_some_and(|relation| relation.columns.iter().any(|known| *known.name == *column))
        };
        let found = match node.list("fields")? {
            [alias, column] => {
                let (Some(alias), Some(column)) = (alias.string(), column.string()) else { return Ok(None) };
                let mut named = self.items.iter().filter(|(name, _)| name == alias);
                match (named.next(), named.next()) {
                    (Some((_, relation)), None) if has(relation, column) => Some((alias.to_owned(), column.to_owned())),
                    _ => None,
                }
            }
            [column] if !self.vague => {
                let Some(column) = column.string() else { return Ok(None) };
                let mut having = self.items.iter().filter(|(_, relation)| has(relation, column));
                match (having.next(), having.next()) {
                    (Some((alias, _)), None) => Some((alias.clone(), column.to_owned())),
                    _ => None,
                }
            }
            _ => None,
        };
        Ok(found)
    }
}

/// The columns that a level names outside of its aggregates' arguments.
#[derive(Debug, Default)]
struct Named {
    /// `c`, and `t` as a row.
    bare: BTreeSet<String>,
    /// `t.c`
    qualified: BTreeSet<(String, String)>,
    /// `t.*`
    rows: BTreeSet<String>,
    /// `*`
    all: bool,
}

impl Named {
    fn read(level: &Node) -> Result<Self, Misread> {
        let mut named = Self::default();
        for field in ["target_list", "having_clause", "sort_clause", "window_clause", "distinct_clause"] {
            named.tree(level.field(field)?)?;
        }
        Ok(named)
    }

    fn tree(&mut self, tree: &Tree) -> Result<(), Misread> {
        match tree {
            Tree::List(items) => items.iter().try_for_each(|item| self.tree(item)),
            Tree::Node(node) if node.kind == "ColumnRef" => self.column(node),
            Tree::Node(node) => {
                let aggregates = node.kind == "FuncCall" && is_aggregate(node)?;
                let below = node.fields.iter().filter(|(field, _)| !(aggregates && matches!(*field, "args" | "agg_order" | "agg_filter")));
                below.map(|(_, tree)| tree).try_for_each(|tree| self.tree(tree))
            }
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => Ok(()),
        }
    }

    fn column(&mut self, node: &Node) -> Result<(), Misread> {
        let fields = node.list("fields")?;
        let star = fields.last().is_some_and(|last| last.of_kind("AStar").is_some());
        let names: Vec<&str> = fields.iter().filter_map(Tree::string).collect();
        match (names.as_slice(), star) {
            ([], _) => self.all = true,
            ([.., row], true) => {
                self.rows.insert((*row).to_owned());
            }
            ([name], false) => {
                self.bare.insert((*name).to_owned());
            }
            ([.., row, name], false) => {
                self.qualified.insert(((*row).to_owned(), (*name).to_owned()));
                // `(t.c).d`, or `schema.t.c`: the first two may be the column.
                if let [row, name, _] = names.as_slice() {
                    self.qualified.insert(((*row).to_owned(), (*name).to_owned()));
                }
            }
        }
        Ok(())
    }

    fn has(&self, alias: &str, column: &ExposedColumn) -> bool {
        self.all
            || self.rows.contains(alias)
            || self.bare.contains(&*column.name)
            || self.qualified.contains(&(alias.to_owned(), column.name.to_string()))
    }
}

/// Whether a call is an aggregate, and not a window function: its arguments need not be grouped.
fn is_aggregate(call: &Node) -> Result<bool, Misread> {
    let (names, arguments) = (call.names("funcname")?, call.list("args")?.len());
    let ([name] | ["pg_catalog", name]) = names.as_slice() else { return Ok(false) };
    let aggregate = matches!(allow::function(name, arguments), allow::FunctionRule::Allowed(_, allow::Kind::Aggregate));
    Ok(aggregate && call.node("over")?.is_none())
}

/// The relations of the policy by where they stand; what cannot be resolved is told elsewhere.
fn relations(request: &Request<'_>, tree: &Tree) -> Result<HashMap<usize, Arc<ExposedRelation>>, Refusal> {
    let mut found = HashMap::new();
    let mut visit = |node: &Node, scope: &Scope| -> Result<Option<Tree>, Refusal> {
        if node.kind == "RangeVar"
            && let (Ok(Target::Exposed(relation)), Some(at)) = (resolve(node, scope, request.agent, request.search_path), node.location())
        {
            found.insert(at, relation);
        }
        Ok(None)
    };
    walk(&mut tree.clone(), &Scope::default(), &mut visit)?;
    Ok(found)
}

/// The primary key of a table, where all of it is exposed as it is.
fn key(request: &Request<'_>, relation: &ExposedRelation) -> Option<Vec<String>> {
    let catalog = &request.policy.sources.get(&relation.source)?.catalog;
    let real = |known: &&crate::sql::catalog::Relation| known.schema == *relation.real_schema && known.name == *relation.real_name;
    let table = catalog.relations.iter().find(real).filter(|table| matches!(table.kind, 'r' | 'p') && !table.primary_key.is_empty())?;
    let as_it_is = |key: &String| relation.columns.iter().any(|column| *column.name == **key && column.mask.is_none());
    table.primary_key.iter().all(as_it_is).then(|| table.primary_key.clone())
}

/// The select list's expression that a number in GROUP BY stands for.
fn target<'l>(level: &'l Node, number: &Node) -> Result<Option<&'l Node>, Misread> {
    let Some(number) = number.field("val")?.of_kind("Integer") else { return Ok(None) };
    let place = usize::try_from(number.int("ival")? - 1).ok();
    let targets = level.list("target_list")?;
    let is_row = |target: &Tree| {
        let value = target.of_kind("ResTarget").and_then(|target| target.node("val").ok().flatten());
        value.is_none_or(|value| {
            value.kind == "ColumnRef" && value.list("fields").is_ok_and(|fields| fields.iter().any(|field| field.string().is_none()))
        })
    };
    // A star before it stands for several columns.
    let Some(place) = place.filter(|place| !targets.iter().take(*place + 1).any(is_row)) else { return Ok(None) };
    targets.get(place).and_then(|target| target.of_kind("ResTarget")).map_or(Ok(None), |target| target.node("val"))
}

/// What stands in the client's text, as it is written again.
fn written(node: &Node) -> Result<(Form, String), Refusal> {
    if node.kind == "ColumnRef" {
        return Ok((Form::Column, node.names("fields")?.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(".")));
    }
    let number = node.field("val")?.of_kind("Integer").ok_or_else(|| unverified("a number"))?;
    Ok((Form::Word, number.int("ival")?.to_string()))
}

/// Puts the additions after the expressions that they belong to; answers how many were.
fn add(tree: &mut Tree, additions: &mut Additions) -> Result<usize, Refusal> {
    let mut added = 0;
    match tree {
        Tree::List(items) => {
            for item in items {
                added += add(item, additions)?;
            }
        }
        Tree::Node(node) => {
            let select = node.kind == "SelectStmt";
            for (name, field) in &mut node.fields {
                if let (true, "group_clause", Tree::List(items)) = (select, *name, &mut *field) {
                    let mut completed = Vec::with_capacity(items.len());
                    for item in std::mem::take(items) {
                        let more = item.as_node().and_then(Node::location).and_then(|at| additions.remove(&at));
                        added += usize::from(more.is_some());
                        completed.push(item);
                        completed.extend(more.into_iter().flatten());
                    }
                    *items = completed;
                }
                added += add(field, additions)?;
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => {}
    }
    Ok(added)
}
