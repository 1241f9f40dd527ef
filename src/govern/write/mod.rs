//! A write as a governed read: which rows it would change, what they hold now, and what they would hold.
//!
//! The client's expressions, FROM and WHERE are moved, node by node, into a SELECT that PostgreSQL's grammar made from
//! pgwicket's own text; what is printed is parsed again and must be that very tree; and the result goes the way of every
//! other read, through the gate, the kernel and the verifier. So an agent cannot propose to what it cannot see.

mod apart;
mod arbiter;
mod assigned;
mod checks;
mod conflict;
mod delete;
mod draft;
mod excluded;
mod form;
mod formula;
mod insert;
mod literal;
mod merge;
mod part;
mod rows;
mod types;
mod update;
mod withdraw;

pub use checks::Check;
pub use rows::DraftRow;

use std::sync::Arc;

use pg_query::{NodeEnum, protobuf::MergeMatchKind};

use super::{GovernedStatement, Refusal, RefusalCode, Request, kernel::Scope, names};
use crate::{
    policy::{ExposedRelation, ForeignGuard, Source, Visible, Writes},
    proposal::{Operation, Verb},
    sql::{
        self, Tree,
        catalog::{CatalogSnapshot, Oid},
        rules::TableRules,
    },
};
use apart::Apart;
use assigned::Assigned;
use literal::Literal;

/// What a write becomes. Either way only its read goes to the source.
#[derive(Debug)]
pub enum Write {
    /// What it would change is proposed.
    Proposal(Box<WriteDraft>),
    /// The agent takes back those of its own proposals whose ids the read gives, in one column.
    Withdrawal(Arc<GovernedStatement>),
}

impl Write {
    /// What the source is asked.
    pub fn read(&self) -> &Arc<GovernedStatement> {
        match self {
            Self::Proposal(draft) => &draft.read,
            Self::Withdrawal(read) => read,
        }
    }
}

/// A write that may be proposed: the read that says what it would do, and how its rows are changes.
#[derive(Debug)]
pub struct WriteDraft {
    read: Arc<GovernedStatement>,
    verb: Verb,
    relation: Arc<ExposedRelation>,
    layout: Layout,
    returning: bool,
    catalog: Arc<CatalogSnapshot>,
    foreign: Vec<ForeignGuard>,
    /// Columns that are arrays of values of a greatest length.
    limited_arrays: Vec<Box<str>>,
    /// What keeps two rows apart, as far as the agent sees it.
    apart: Vec<Apart>,
}

/// How a row of the draft's read is a change.
#[derive(Debug, Default)]
struct Layout {
    /// The output that says which action a row takes, by number; NULL takes none. Without it, the first.
    choice: Option<usize>,
    actions: Vec<Action>,
    /// An output that must be the tenant.
    tenant: Option<usize>,
    /// How many outputs a row must have, when the client's own `*` is among them.
    width: Option<usize>,
    /// What is assigned to columns, by outputs that have its type and no value.
    assigned: Vec<Assigned>,
    /// What is assigned as it is written, and may run for no row.
    literals: Vec<Literal>,
    /// Outputs that say of a row that a part of this column is not assigned as PostgreSQL would.
    doubted: Vec<(usize, Box<str>)>,
    /// Of an upsert, what its new rows meet.
    met: Option<Met>,
}

/// What the new rows of an upsert meet, by outputs.
#[derive(Debug)]
struct Met {
    /// The place of a new row among them.
    order: usize,
    /// Whether a row is in its way.
    hit: usize,
    /// For each arbiter a number that new rows share which are in each other's way.
    groups: Vec<usize>,
    /// Whether a check of the table fails.
    broken: Option<usize>,
    /// Columns that must have a value.
    required: Vec<Place>,
    /// DO UPDATE.
    updates: bool,
    /// An arbiter is checked later than rows are written.
    deferrable: bool,
    /// The update changes what the arbiters compare.
    moves: bool,
}

/// What happens to a row.
#[derive(Debug)]
struct Action {
    operation: Operation,
    key: Vec<Place>,
    before: Vec<Place>,
    conflict: Option<Place>,
    after: Vec<Place>,
}

/// A column, and where its value stands in a row of the read.
#[derive(Debug, Clone)]
struct Place {
    column: Box<str>,
    type_name: Box<str>,
    /// How long it may be.
    limit: Option<types::Limit>,
    /// The output, or the column's default.
    output: Option<usize>,
}

impl WriteDraft {
    /// The read that takes the before-images. Its rows go to [`Self::changes`], never to the client.
    pub fn read(&self) -> &Arc<GovernedStatement> {
        &self.read
    }

    /// What the agent wrote.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// The relation that would change.
    pub fn relation(&self) -> &Arc<ExposedRelation> {
        &self.relation
    }

    /// Whether the statement has a RETURNING clause, which a stored proposal cannot answer.
    pub fn has_returning(&self) -> bool {
        self.returning
    }
}

/// What the parts of this room make: a SELECT, and what its outputs are.
struct Draft {
    select: pg_query::protobuf::SelectStmt,
    layout: Layout,
}

/// What a write is turned with.
#[derive(Clone, Copy)]
struct Context<'a> {
    relation: &'a ExposedRelation,
    writes: &'a Writes,
    source: &'a Source,
    /// The name by which the statement knows the relation.
    name: &'a str,
    /// Whether the name is an alias.
    aliased: bool,
    /// `ONLY`: without the tables that inherit from it.
    only: bool,
    /// The types that the client declared for its parameters.
    declared: &'a [Oid],
    /// What the agent sees: types of the source's own by the names that it knows them by.
    visible: &'a Visible,
    /// What the table does by itself; `None`: the catalog snapshot does not say.
    rules: Option<&'a TableRules>,
}

impl<'a> Context<'a> {
    /// What the table does by itself.
    fn known_rules(&self) -> Result<&'a TableRules, Refusal> {
        self.rules.ok_or_else(|| {
            Refusal::unsupported("ON CONFLICT under a catalog that was saved before unique indexes were read")
                .hint("save the catalog again: pgwicket policy check --live --save-catalog")
        })
    }
}

/// Turns one INSERT, UPDATE, DELETE or MERGE into the read that says what it would do. Pure: equal requests give equal answers.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the grammar has is not proposed")]
pub fn propose(request: &Request<'_>) -> Result<Arc<Write>, Refusal> {
    // The bounds on what is parsed at all are in there.
    let tree = sql::parse(request.text)?.ok_or_else(|| unread("an empty statement"))?;
    let mut statement = statement(request.text)?;
    older_server(&statement, &tree, request)?;
    let named = target_name(&statement)?;
    let Some(relation) = target(&statement, &tree, request)? else {
        let text = withdraw::read(statement, &named)?;
        return Ok(Arc::new(Write::Withdrawal(read(&text, request)?)));
    };
    let writes = relation.writes.as_ref().ok_or_else(|| not_writable(&relation))?;
    let source = request.policy.sources.get(&relation.source).ok_or_else(|| unread("a relation without a source"))?;
    let (written, alias) = named;
    let name = alias.as_deref().unwrap_or(&written);
    let rules = source.catalog.rules(&relation.real_schema, &relation.real_name);
    let (aliased, only) = (alias.is_some(), !range_var(&statement)?.inh);
    let (declared, rules) = (request.declared_types, rules.as_ref());
    let context = Context { relation: &relation, writes, source, name, aliased, only, declared, visible: &request.agent.visible, rules };
    let returning = returning(&mut statement);
    let (verb, draft) = match statement {
        NodeEnum::UpdateStmt(update) => (Verb::Update, update::draft(context, *update)?),
        NodeEnum::DeleteStmt(delete) => (Verb::Delete, delete::draft(context, *delete)?),
        NodeEnum::InsertStmt(insert) if insert.on_conflict_clause.is_some() => (Verb::Upsert, conflict::draft(context, *insert)?),
        NodeEnum::InsertStmt(insert) => (Verb::Insert, insert::draft(context, *insert)?),
        NodeEnum::MergeStmt(merge) => (Verb::Merge, merge::draft(context, *merge)?),
        _ => return Err(Refusal::unsupported("proposing this statement")),
    };
    let apart = context.apart();
    let limited_arrays =
        relation.columns.iter().filter(|column| context.is_limited_array(column)).map(|column| column.name.clone()).collect();
    let text = draft::print(&draft.select)?;
    let read = read(&text, request)?;
    Ok(Arc::new(Write::Proposal(Box::new(WriteDraft {
        read,
        verb,
        relation: Arc::clone(&relation),
        layout: draft.layout,
        returning,
        catalog: Arc::clone(&source.catalog),
        foreign: request.policy.foreign_guards(request.agent, &relation),
        limited_arrays,
        apart,
    }))))
}

/// Governs the read, as any other.
fn read(text: &str, request: &Request<'_>) -> Result<Arc<GovernedStatement>, Refusal> {
    let read = super::decide(&Request { text, ..*request }, true).map_err(|refusal| Refusal { position: None, ..refusal })?;
    Ok(Arc::new(read.for_write(request.text)))
}

/// The one statement of a text, to be taken apart.
fn statement(text: &str) -> Result<NodeEnum, Refusal> {
    let parsed = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).map_err(|_unreadable| unread("a text that parsed before"))?;
    let mut statements = parsed.protobuf.stmts;
    let statement = statements.pop().filter(|_| statements.is_empty()).and_then(|statement| statement.stmt);
    statement.and_then(|node| node.node).ok_or_else(|| unread("not one statement"))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the grammar has is not proposed")]
fn range_var(statement: &NodeEnum) -> Result<&pg_query::protobuf::RangeVar, Refusal> {
    let relation = match statement {
        NodeEnum::UpdateStmt(statement) => statement.relation.as_ref(),
        NodeEnum::DeleteStmt(statement) => statement.relation.as_ref(),
        NodeEnum::InsertStmt(statement) => statement.relation.as_ref(),
        NodeEnum::MergeStmt(statement) => statement.relation.as_ref(),
        _ => None,
    };
    relation.ok_or_else(|| unread("a write without a relation"))
}

/// The relation as written, and its alias.
fn target_name(statement: &NodeEnum) -> Result<(String, Option<String>), Refusal> {
    let relation = range_var(statement)?;
    Ok((relation.relname.clone(), relation.alias.as_ref().map(|alias| alias.aliasname.clone())))
}

/// The relation a write is for; nothing for the agent's own proposals. A CTE is never meant, as in PostgreSQL.
fn target(statement: &NodeEnum, tree: &Tree, request: &Request<'_>) -> Result<Option<Arc<ExposedRelation>>, Refusal> {
    let relation = range_var(statement)?;
    if relation.alias.as_ref().is_some_and(|alias| !alias.colnames.is_empty()) {
        return Err(Refusal::unsupported("column names in the alias of the relation that is written to"));
    }
    let node = tree.as_node().ok_or_else(|| unread("not a statement"))?;
    let mut node = node.node("relation")?.ok_or_else(|| unread("a write without a relation"))?.clone();
    if node.text("catalogname")? == request.database
        && let Some((_, catalog)) = node.fields.iter_mut().find(|(field, _)| *field == "catalogname")
    {
        *catalog = Tree::Text("".into());
    }
    match names::resolve(&node, &Scope::default(), request.agent, request.search_path)? {
        names::Target::Exposed(relation) => Ok(Some(relation)),
        names::Target::OwnProposals => Ok(None),
        names::Target::OwnRelations | names::Target::OwnColumns | names::Target::OwnChanges | names::Target::Cte => {
            Err(Refusal::new(RefusalCode::Denied, "the relations of schema pgwicket are read only"))
        }
    }
}

/// What PostgreSQL before 17 does not read, and what no read has.
fn older_server(statement: &NodeEnum, tree: &Tree, request: &Request<'_>) -> Result<(), Refusal> {
    let mut cursor = false;
    tree.each(&mut |node| cursor |= node.kind == "CurrentOfExpr");
    if cursor {
        return Err(Refusal::unsupported("WHERE CURRENT OF").hint("name the row by its key: WHERE id = …"));
    }
    let mut sources = request.agent.schemas.iter().filter_map(|schema| request.policy.sources.get(&schema.source));
    let NodeEnum::MergeStmt(merge) = statement else { return Ok(()) };
    if sources.all(|source| source.catalog.server_version >= 170_000) {
        return Ok(());
    }
    let by_source = merge.merge_when_clauses.iter().any(|clause| match &clause.node {
        Some(NodeEnum::MergeWhenClause(clause)) => clause.match_kind == MergeMatchKind::MergeWhenNotMatchedBySource as i32,
        _ => false,
    });
    let word = if by_source { "BY" } else { "RETURNING" };
    let newer = by_source || merge.returning_clause.is_some();
    if newer { Err(Refusal::new(RefusalCode::Syntax, format!("syntax error at or near \"{word}\""))) } else { Ok(()) }
}

/// Takes the RETURNING clause out.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the grammar has is not proposed")]
fn returning(statement: &mut NodeEnum) -> bool {
    let clause = match statement {
        NodeEnum::UpdateStmt(statement) => statement.returning_clause.take(),
        NodeEnum::DeleteStmt(statement) => statement.returning_clause.take(),
        NodeEnum::InsertStmt(statement) => statement.returning_clause.take(),
        NodeEnum::MergeStmt(statement) => statement.returning_clause.take(),
        _ => None,
    };
    clause.is_some()
}

fn not_writable(relation: &ExposedRelation) -> Refusal {
    Refusal::new(RefusalCode::ReadOnly, format!("the policy lets nothing be proposed in {}.{}", relation.schema, relation.name))
        .hint("the relation is read only; ask for `writes` in its policy")
}

fn unread(what: &str) -> Refusal {
    Refusal::new(RefusalCode::Unverified, format!("the write was not read: {what}")).hint("write it in another way, and report it")
}

#[cfg(test)]
mod tests;
