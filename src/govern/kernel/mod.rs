//! The verifier: decides what a statement must become, and passes only text that is exactly that.
//!
//! [`expect`] reads the client's tree and computes the tree that may be sent: each relation replaced by its
//! governed derived table, each virtual function by a bind parameter, fenced when a qual position is not
//! leakproof, everything else untouched. [`Expectation::verify`] parses the text that somebody (the
//! rewriter, who is not trusted) wants to send and compares the two trees, every field of every node.
//! May use: `types`, `sql`, `policy`. Never: the rewriter, I/O.
//! Invariant: [`Verified`] is made here only, from text that parses to the expected tree.

mod database;
mod derived;
mod foreign;
mod functions;
mod grouped;
mod leak;
mod lifted;
mod sample;
mod scope;
mod session;
mod types;
mod wrapped;

pub(super) use database::{Unqualified, unqualified};
pub(super) use derived::{Parameters, identifier};
pub(super) use functions::qualify;
pub(super) use lifted::is_lifted;
pub(super) use scope::{Scope, walk};
pub(super) use session::{answers, check_configs, is_answered_in_from, is_open_setting, keyword_of_session, unanswered};
pub(super) use wrapped::{EXPLAIN, is_declared, is_explained};

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use derived::{Fence, derived, hides_rows, own_changes, own_columns, own_proposals, own_relations};
use sample::Sample;
use types::SourceTypes;

use super::{
    Refusal, RefusalCode, Request,
    names::{Target, resolve},
};
use crate::{
    policy::{ExposedRelation, Source},
    sql::{Literals, Misread, Node, ParseError, Tree, character, holds_time, parse, parse_select},
};

/// Text that parses to the expected tree.
#[derive(Debug)]
pub(super) struct Verified {
    text: Box<str>,
    literals: Literals,
}

impl Verified {
    /// The text.
    pub(super) fn into_text(self) -> Box<str> {
        self.text
    }

    /// What its literals may read.
    pub(super) fn literals(&self) -> Literals {
        self.literals
    }
}

/// What must be sent, and where the client's text must change for it.
#[derive(Debug)]
pub(super) struct Expectation {
    tree: Tree,
    /// In the order of the client's text.
    pub(super) replacements: Vec<Replacement>,
    /// The parameters, the client's and the appended ones.
    pub(super) parameters: Parameters,
    /// The source all relations live in.
    pub(super) source: Arc<Source>,
    /// The relations, each once, in order of appearance.
    pub(super) relations: Vec<Arc<ExposedRelation>>,
    /// Whether the relations are fenced.
    pub(super) fenced: bool,
    /// Why.
    pub(super) doubts: Vec<String>,
    /// The conjuncts copied inside fences, with the relation.
    pub(super) copies: Vec<String>,
    /// Whether an error may come or not by how the source plans the statement for its parameters.
    pub(super) by_plan: bool,
    /// Whether another value of a constant might have been decided otherwise.
    pub(super) looked_at_values: bool,
    /// Where the client's text names a type of the source that it may.
    pub(super) types: BTreeSet<usize>,
}

/// A place in the client's text, and what must stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacement {
    /// Byte offset of the first token.
    pub(super) at: usize,
    /// What stands there now.
    pub(super) form: Form,
    /// What must stand there.
    pub(super) sql: String,
}

/// What stands in the client's text at a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A relation name, up to three parts, and `*` after it; with ONLY before it, and its parentheses.
    Relation,
    /// A call: name, parentheses and all between.
    Call,
    /// One keyword.
    Word,
    /// A name and its dot in front of more: the schema of `schema.relation.column`.
    SchemaPrefix,
    /// Two of them.
    DatabasePrefix,
    /// A type's name, one or two parts.
    TypeName,
    /// A column's name, with what qualifies it.
    Column,
    /// TABLESAMPLE to its end; the method's name is the place.
    Sample,
}

/// A relation in FROM.
#[derive(Debug)]
struct Occurrence {
    at: usize,
    target: Target,
    aliased: bool,
    /// `ONLY`: without the tables that inherit from it.
    only: bool,
}

/// Decides what `tree`, which the gate has passed, must become.
pub(super) fn expect(
    request: &Request<'_>,
    tree: &Tree,
    unqualified: &Unqualified,
    client_parameters: usize,
) -> Result<Expectation, Refusal> {
    let source = collect(request, tree)?.iter().find_map(Occurrence::exposed).map(|relation| relation.source.clone());
    let types = SourceTypes::named(request, tree, source.as_ref())?;
    let grouped = grouped::complete(request, &types.rewritten(tree)?)?;
    let mut tree = grouped.tree;
    let occurrences = collect(request, &tree)?;
    let source = source_of(request, &occurrences, &types)?;
    foreign::refuse(request.text, &tree, occurrences.iter().filter_map(Occurrence::exposed), &request.agent.functions, &source.catalog)?;
    let analysis = {
        let by_place = occurrences.iter().enumerate().map(|(number, occurrence)| (occurrence.at, (number, occurrence.exposed())));
        let by_place: HashMap<_, _> = by_place.collect();
        if by_place.len() != occurrences.len() {
            return Err(unverified("two relations at one place"));
        }
        let select = tree.of_kind("SelectStmt").ok_or_else(|| unverified("not a SELECT"))?;
        leak::analyze(select, &source.catalog, request.declared_types, types.converting(), &by_place)?
    };
    let hidden = occurrences.iter().filter_map(Occurrence::exposed).any(hides_rows);
    let fenced = hidden && !analysis.doubts.is_empty();

    let mut expected = Expectation {
        tree: Tree::Null,
        replacements: types.replacements().chain(grouped.replacements).chain(unqualified.texts.iter().cloned()).collect(),
        parameters: Parameters::after(client_parameters),
        source: Arc::clone(&source),
        relations: Vec::new(),
        fenced,
        doubts: analysis.doubts,
        copies: Vec::new(),
        by_plan: analysis.by_plan && occurrences.iter().any(|occurrence| occurrence.exposed().is_some()),
        looked_at_values: analysis.looked_at_values,
        types: types.places(),
    };
    let by_schema: Vec<_> = occurrences.iter().filter(|occurrence| !occurrence.aliased).filter_map(Occurrence::exposed).collect();
    let mut order = 0;
    let mut visit = |node: &Node, scope: &Scope| -> Result<Option<Tree>, Refusal> {
        let (node, sample) = match node.kind {
            "RangeTableSample" => {
                let relation = node.node("relation")?.filter(|relation| relation.kind == "RangeVar");
                (relation.ok_or_else(sample::not_a_table)?, Some(expected.sample(request, node)?))
            }
            _ => (node, None),
        };
        if node.kind == "RangeVar" {
            if matches!(resolve(node, scope, request.agent, request.search_path)?, Target::Cte) {
                return if sample.is_some() { Err(sample::not_a_table()) } else { Ok(None) };
            }
            let occurrence = occurrences.get(order).filter(|next| Some(next.at) == node.location());
            let occurrence = occurrence.ok_or_else(|| unverified("relations in another order"))?;
            let copies = analysis.copies.get(&order).map_or(&[][..], Vec::as_slice);
            order += 1;
            return expected.relation(request, occurrence, node, copies, sample).map(Some);
        }
        if let Some(subselect) = expected.session_in_from(request.text, node)? {
            return Ok(Some(subselect));
        }
        if let Some((form, sql, looked)) = session::replacement(request.text, node, &mut expected.parameters)? {
            let at = node.location().ok_or_else(|| unverified("a function without a place"))?;
            expected.looked_at_values |= looked;
            let tree = target_of(&sql).ok_or_else(|| unverified("a virtual function's replacement"))?;
            expected.replacements.push(Replacement { at, form, sql });
            return Ok(Some(tree));
        }
        if node.kind == "ColumnRef" {
            return expected.without_schema(node, &by_schema, &unqualified.columns);
        }
        Ok(None)
    };
    walk(&mut tree, &Scope::default(), &mut visit)?;
    if order != occurrences.len() {
        return Err(unverified("a relation that was not governed"));
    }
    expected.tree = tree;
    expected.order();
    Ok(expected)
}

/// Decides what a statement over the virtual catalog must become: itself, but for the functions that speak of the session.
pub(super) fn expect_catalog(
    request: &Request<'_>,
    tree: &Tree,
    unqualified: &Unqualified,
    client_parameters: usize,
) -> Result<Expectation, Refusal> {
    let prefix = |at: &usize| Replacement { at: *at, form: Form::SchemaPrefix, sql: String::new() };
    let prefixes = unqualified.relations.iter().chain(&unqualified.columns).map(prefix);
    let mut expected = Expectation {
        tree: tree.clone(),
        replacements: prefixes.chain(unqualified.texts.iter().cloned()).collect(),
        parameters: Parameters::after(client_parameters),
        source: source_of(request, &[], &SourceTypes::default())?,
        relations: Vec::new(),
        fenced: false,
        doubts: Vec::new(),
        copies: Vec::new(),
        by_plan: false,
        looked_at_values: true,
        types: BTreeSet::new(),
    };
    let mut tree = tree.clone();
    let mut visit = |node: &Node, _: &Scope| -> Result<Option<Tree>, Refusal> {
        if is_open_setting(node) {
            return Ok(None);
        }
        if let Some(subselect) = expected.session_in_from(request.text, node)? {
            return Ok(Some(subselect));
        }
        let Some((form, sql, _)) = session::replacement(request.text, node, &mut expected.parameters)? else { return Ok(None) };
        let at = node.location().ok_or_else(|| unverified("a function without a place"))?;
        let tree = target_of(&sql).ok_or_else(|| unverified("a virtual function's replacement"))?;
        expected.replacements.push(Replacement { at, form, sql });
        Ok(Some(tree))
    };
    walk(&mut tree, &Scope::default(), &mut visit)?;
    expected.tree = tree;
    expected.order();
    Ok(expected)
}

impl Expectation {
    /// Replacements by place. One of a whole name takes the database before the name with it.
    fn order(&mut self) {
        let is_prefix = |replacement: &Replacement| replacement.form == Form::SchemaPrefix && replacement.sql.is_empty();
        self.replacements.sort_by_key(|replacement| (replacement.at, is_prefix(replacement)));
        self.replacements.dedup_by(|later, earlier| later.at == earlier.at && is_prefix(later));
    }

    /// Passes `text` if it is one statement and exactly the expected tree.
    pub(super) fn verify(&self, text: &str) -> Result<Verified, Refusal> {
        match parse(text) {
            Ok(Some(tree)) if tree == self.tree => Ok(Verified { text: text.into(), literals: Literals::of(&tree, self.holds_time()) }),
            Ok(_) => Err(unverified("the governed text is not what the policy asks for")),
            Err(ParseError::TooLong { .. } | ParseError::TooManyTokens | ParseError::TooComplex) => Err(Refusal::too_complex()),
            Err(_) => Err(unverified("the governed text does not parse to one statement")),
        }
    }

    /// Whether a column of its relations holds a `time` or a `timetz`.
    fn holds_time(&self) -> bool {
        let mut columns = self.relations.iter().flat_map(|relation| &relation.columns);
        columns.any(|column| holds_time(&self.source.catalog, column.type_oid))
    }

    /// A sample is decided by its constants, and taken out of the client's text.
    fn sample(&mut self, request: &Request<'_>, node: &Node) -> Result<Sample, Refusal> {
        let at = node.location().ok_or_else(|| unverified("a sample without a place"))?;
        self.looked_at_values = true;
        self.replacements.push(Replacement { at, form: Form::Sample, sql: String::new() });
        Sample::read(node).map_err(|refusal| refusal.at(character(request.text, at)))
    }

    fn relation(
        &mut self,
        request: &Request<'_>,
        occurrence: &Occurrence,
        node: &Node,
        copies: &[String],
        sample: Option<Sample>,
    ) -> Result<Tree, Refusal> {
        let derived = match &occurrence.target {
            Target::Cte => return Err(unverified("a CTE as a relation")),
            Target::OwnRelations | Target::OwnColumns | Target::OwnProposals | Target::OwnChanges if sample.is_some() => {
                return Err(sample::not_a_table());
            }
            Target::OwnRelations => own_relations(request.agent),
            Target::OwnColumns => own_columns(request.agent, &self.source.catalog),
            Target::OwnProposals => own_proposals(&mut self.parameters),
            Target::OwnChanges => own_changes(&mut self.parameters),
            Target::Exposed(relation) => {
                if !self.relations.iter().any(|known| Arc::ptr_eq(known, relation)) {
                    self.relations.push(Arc::clone(relation));
                }
                let fence = if self.fenced && hides_rows(relation) { Fence::Closed(copies) } else { Fence::Open };
                if matches!(fence, Fence::Closed(_)) {
                    self.copies.extend(copies.iter().map(|copy| format!("{copy} on {}.{}", relation.schema, relation.name)));
                }
                match sample {
                    None => derived(relation, occurrence.only, &self.source.catalog, fence, &mut self.parameters)?,
                    Some(sample) => {
                        // What draws the rows stands above a fence, whatever the rest of the statement needs.
                        let fence = if let Fence::Open = fence { Fence::Closed(&[]) } else { fence };
                        sample.of(&derived(relation, occurrence.only, &self.source.catalog, fence, &mut self.parameters)?, relation)?
                    }
                }
            }
        };
        let name = node.text("relname")?;
        let sql = if occurrence.aliased { derived } else { format!("{derived} AS {}", identifier(name)) };
        let parsed =
            if occurrence.aliased { parse_select(&format!("SELECT FROM {sql} AS x")) } else { parse_select(&format!("SELECT FROM {sql}")) };
        let parsed = parsed.ok_or_else(|| unverified("the derived table does not parse"))?;
        let [Tree::Node(subselect)] = parsed.list("from_clause")? else { return Err(unverified("the derived table is not one")) };
        let mut subselect = subselect.clone();
        if occurrence.aliased {
            // The client's own alias, with its column names, stays as it is.
            let alias = node.field("alias")?.clone();
            let field = subselect.fields.iter_mut().find(|(name, _)| *name == "alias");
            field.ok_or_else(|| unverified("the derived table has no alias"))?.1 = alias;
        }
        self.replacements.push(Replacement { at: occurrence.at, form: Form::Relation, sql });
        Ok(Tree::Node(subselect))
    }

    /// A function in FROM that speaks of the session: a derived table of one row.
    fn session_in_from(&mut self, text: &str, node: &Node) -> Result<Option<Tree>, Refusal> {
        let Some((function, alias)) = session::function_in_from(node)? else { return Ok(None) };
        let Some((form, call, looked)) = session::replacement(text, function, &mut self.parameters)? else { return Ok(None) };
        let at = function.location().ok_or_else(|| unverified("a function without a place"))?;
        let name = session::column_name(function).ok_or_else(|| unverified("a function without a name"))?;
        // Without columns of its own, the alias of a function is its column's name, too.
        let column = match alias {
            Some(alias) if alias.list("colnames")?.is_empty() => alias.text("aliasname")?,
            Some(_) | None => name,
        };
        let derived = format!("(SELECT {call} AS {})", identifier(column));
        let sql = if alias.is_some() { derived } else { format!("{derived} AS {}", identifier(name)) };
        let parsed = parse_select(&format!("SELECT FROM {sql}{}", if alias.is_some() { " AS x" } else { "" }));
        let parsed = parsed.ok_or_else(|| unverified("the derived table does not parse"))?;
        let [Tree::Node(subselect)] = parsed.list("from_clause")? else { return Err(unverified("the derived table is not one")) };
        let mut subselect = subselect.clone();
        for (field, tree) in &mut subselect.fields {
            match *field {
                "alias" if alias.is_some() => *tree = node.field("alias")?.clone(),
                "lateral" => *tree = node.field("lateral")?.clone(),
                _ => {}
            }
        }
        self.looked_at_values |= looked;
        self.replacements.push(Replacement { at, form, sql });
        Ok(Some(Tree::Node(subselect)))
    }

    /// `schema.relation.column`: the derived table goes by the relation's name alone. `databases`: where the database stands before it.
    fn without_schema(
        &mut self,
        node: &Node,
        by_schema: &[&ExposedRelation],
        databases: &BTreeSet<usize>,
    ) -> Result<Option<Tree>, Refusal> {
        let database = node.location().filter(|at| databases.contains(at));
        let cut = self.replacements.len();
        if let Some(at) = database {
            self.replacements.push(Replacement { at, form: Form::SchemaPrefix, sql: String::new() });
        }
        let [schema, relation, rest @ ..] = node.list("fields")? else { return Ok(None) };
        if rest.is_empty() {
            return Ok(None);
        }
        let (Some(schema), Some(name)) = (schema.string(), relation.string()) else { return Ok(None) };
        if !by_schema.iter().any(|known| *known.schema == *schema && *known.name == *name) {
            return Ok(None);
        }
        let at = node.location().ok_or_else(|| unverified("a column without a place"))?;
        self.replacements.truncate(cut);
        let fields = node.fields.iter().map(|(field, tree)| match *field {
            "fields" => (*field, Tree::List(std::iter::once(relation).chain(rest).cloned().collect())),
            _ => (*field, tree.clone()),
        });
        let tree = Tree::Node(Box::new(Node { kind: node.kind, fields: fields.collect() }));
        let form = if database.is_some() { Form::DatabasePrefix } else { Form::SchemaPrefix };
        self.replacements.push(Replacement { at, form, sql: String::new() });
        Ok(Some(tree))
    }
}

impl Occurrence {
    fn exposed(&self) -> Option<&ExposedRelation> {
        match &self.target {
            Target::Exposed(relation) => Some(relation),
            Target::Cte | Target::OwnRelations | Target::OwnColumns | Target::OwnProposals | Target::OwnChanges => None,
        }
    }
}

/// The relations that are not CTEs, in the walk's order.
fn collect(request: &Request<'_>, tree: &Tree) -> Result<Vec<Occurrence>, Refusal> {
    let mut found = Vec::new();
    let mut visit = |node: &Node, scope: &Scope| -> Result<Option<Tree>, Refusal> {
        if node.kind == "RangeVar" {
            let target = resolve(node, scope, request.agent, request.search_path)?;
            if !matches!(target, Target::Cte) {
                let at = node.location().ok_or(Misread { kind: "RangeVar", field: "location" })?;
                found.push(Occurrence { at, target, aliased: node.node("alias")?.is_some(), only: !node.flag("inh")? });
            }
        }
        Ok(None)
    };
    walk(&mut tree.clone(), &Scope::default(), &mut visit)?;
    Ok(found)
}

/// The one source behind a statement; without relations and types of a source, the agent's first.
fn source_of(request: &Request<'_>, occurrences: &[Occurrence], types: &SourceTypes) -> Result<Arc<Source>, Refusal> {
    let relations = occurrences.iter().filter_map(Occurrence::exposed).map(|relation| &relation.source);
    let mut names = relations.chain(types.sources());
    let first = names.next().or_else(|| request.agent.schemas.first().map(|schema| &schema.source));
    let first =
        first.ok_or_else(|| Refusal::new(RefusalCode::Denied, "this agent has no relations").hint("ask for a schema in its policy"))?;
    if names.any(|name| name != first) {
        return Err(Refusal::unsupported("one statement over relations of two databases").hint("read them one after the other"));
    }
    request.policy.sources.get(first).cloned().ok_or_else(|| unverified("a relation of a source that the policy does not have"))
}

/// The tree of an expression that pgwicket wrote.
fn target_of(sql: &str) -> Option<Tree> {
    let parsed = parse_select(&format!("SELECT {sql}"))?;
    let [target] = parsed.list("target_list").ok()? else { return None };
    target.as_node()?.field("val").ok().cloned()
}

fn unverified(what: &str) -> Refusal {
    Refusal::new(RefusalCode::Unverified, format!("the statement was not verified: {what}"))
        .hint("write it in another way, and report this statement")
}

#[cfg(test)]
mod tests;
