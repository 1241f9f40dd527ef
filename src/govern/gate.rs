//! What a statement may be made of: kinds of nodes, functions, operators, types. What is not listed is refused.

use super::{Refusal, RefusalCode, kernel};
use crate::{
    policy::{Agent, ExposedRelation},
    sql::{Node, Tree, allow, catalog::CatalogSnapshot, character, extensions::Resolution},
};

/// The kinds of nodes a read is made of. The grammar's other kinds (writes, DDL, locking, what a newer
/// grammar adds) are refused by not being here.
const KINDS: [&str; 49] = [
    "AArrayExpr",
    "AConst",
    "AExpr",
    "AIndices",
    "AIndirection",
    "AStar",
    "Alias",
    "BitString",
    "BoolExpr",
    "Boolean",
    "BooleanTest",
    "CaseExpr",
    "CaseWhen",
    "CoalesceExpr",
    "CollateClause",
    "ColumnDef",
    "ColumnRef",
    "CommonTableExpr",
    "CteCycleClause",
    "CteSearchClause",
    "Float",
    "FuncCall",
    "GroupingFunc",
    "GroupingSet",
    "Integer",
    "JoinExpr",
    "List",
    "MinMaxExpr",
    "NamedArgExpr",
    "NullTest",
    "ParamRef",
    "RangeFunction",
    "RangeSubselect",
    "RangeTableFunc",
    "RangeTableFuncCol",
    "RangeTableSample",
    "RangeVar",
    "ResTarget",
    "RowExpr",
    "SelectStmt",
    "SortBy",
    "SqlValueFunction",
    "String",
    "SubLink",
    "TypeCast",
    "TypeName",
    "WindowDef",
    "WithClause",
    "XmlExpr",
];

/// Constructs that PostgreSQL 15 reads otherwise than the parser does: allowed from the version that has them.
const NEWER: [(&str, u32); 9] = [
    ("JsonIsPredicate", 160_000),
    ("JsonObjectConstructor", 160_000),
    ("JsonArrayConstructor", 160_000),
    ("JsonKeyValue", 160_000),
    ("JsonValueExpr", 160_000),
    ("JsonFormat", 160_000),
    ("JsonOutput", 160_000),
    ("JsonReturning", 160_000),
    ("MergeSupportFunc", u32::MAX),
];

/// What the gate checks against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate<'a> {
    pub(super) text: &'a str,
    pub(super) agent: &'a Agent,
    pub(super) catalog: &'a CatalogSnapshot,
    /// Off only where the structure alone is measured; never in a proxy.
    pub(super) lists: bool,
}

impl Gate<'_> {
    /// Whether every node is of a kind that a read is made of. Runs first: later steps know these kinds only.
    pub(super) fn kinds(&self, tree: &Tree) -> Result<(), Refusal> {
        self.all(tree, &mut |node| {
            if KINDS.contains(&node.kind) || NEWER.iter().any(|(kind, since)| *kind == node.kind && self.catalog.server_version >= *since) {
                Ok(())
            } else {
                Err(Refusal::unsupported(construct(node.kind)).hint("rewrite the statement without it"))
            }
        })
    }

    /// Whether every function, operator, type and attribute is on the reviewed lists or added by the policy.
    /// `relations` are those the statement reads: a column of theirs is a column, whatever it is called. `types` are the places where
    /// the kernel found a type of the source that the client can see.
    pub(super) fn names(
        &self,
        tree: &Tree,
        relations: &[std::sync::Arc<ExposedRelation>],
        types: &std::collections::BTreeSet<usize>,
    ) -> Result<(), Refusal> {
        if !self.lists {
            return Ok(());
        }
        let column = |name: &str| relations.iter().any(|relation| relation.columns.iter().any(|column| *column.name == *name));
        self.all(tree, &mut |node| match node.kind {
            "FuncCall" => self.function(node),
            "AExpr" => self.operator(node, "name"),
            "SubLink" => self.operator(node, "oper_name"),
            "SortBy" => self.operator(node, "use_op"),
            "TypeName" if node.location().is_some_and(|at| types.contains(&at)) => Ok(()),
            "TypeName" => type_name(node),
            "ColumnRef" => match node.list("fields")? {
                [_, last] if last.string().is_some_and(|name| NO_CAST_FROM_A_ROW.contains(&name)) => Ok(()),
                [_, .., last] => last.string().map_or(Ok(()), |name| if column(name) { Ok(()) } else { self.attribute(name) }),
                _ => Ok(()),
            },
            "AIndirection" => {
                let names = node.list("indirection")?.iter().filter_map(Tree::string);
                names.filter(|name| !(column(name) && NO_CAST_FROM_A_ROW.contains(name))).try_for_each(|name| self.attribute(name))
            }
            "RangeFunction" if kernel::is_answered_in_from(node) => Ok(()),
            "RangeFunction" => in_from(node, |name, arguments| matches!(allow::function(name, arguments), allow::FunctionRule::Virtual(_))),
            "CollateClause" => match node.names("collname")?.as_slice() {
                [_] | ["pg_catalog", _] => Ok(()),
                _ => Err(Refusal::new(RefusalCode::UndefinedObject, "collation does not exist").hint("use a collation of pg_catalog")),
            },
            // Kinds that name nothing.
            _ => Ok(()),
        })
    }

    /// As [`Self::names`], for a statement over the virtual catalog.
    pub(super) fn catalog_names(&self, tree: &Tree) -> Result<(), Refusal> {
        if !self.lists {
            return Ok(());
        }
        self.all(tree, &mut |node| match node.kind {
            "FuncCall" => self.catalog_function(node),
            "AExpr" => operator(node, "name"),
            "SubLink" => operator(node, "oper_name"),
            "SortBy" => operator(node, "use_op"),
            "TypeName" => self.catalog_type(node),
            "ColumnRef" => match node.list("fields")? {
                [_, .., last] => last.string().map_or(Ok(()), catalog_attribute),
                _ => Ok(()),
            },
            "AIndirection" => node.list("indirection")?.iter().filter_map(Tree::string).try_for_each(catalog_attribute),
            "RangeTableSample" => Err(Refusal::unsupported("TABLESAMPLE of the catalog").hint("write WHERE random() < 0.01")),
            // What the session does not answer, the catalog's own server does.
            "RangeFunction" if kernel::is_answered_in_from(node) => Ok(()),
            "RangeFunction" => in_from(node, kernel::answers),
            // Kinds that name nothing, or what is in every catalog.
            _ => Ok(()),
        })
    }

    fn catalog_function(&self, node: &Node) -> Result<(), Refusal> {
        let arguments = node.list("args")?.len();
        match node.names("funcname")?.as_slice() {
            [name] | ["pg_catalog", name] => match allow::catalog_function(name, arguments) {
                Some(allow::FunctionRule::Allowed(..)) => Ok(()),
                Some(_) | None => self.function(node),
            },
            // The helpers that the standard's views are written with.
            ["information_schema", name] if name.starts_with("_pg_") => Ok(()),
            [.., name] => Err(undefined(name).hint("a statement over the catalog calls functions of pg_catalog only")),
            [] => Err(undefined("")),
        }
    }

    fn catalog_type(&self, node: &Node) -> Result<(), Refusal> {
        match node.names("names")?.as_slice() {
            [name] | ["pg_catalog", name] if allow::catalog_type(name) => Ok(()),
            ["information_schema", _] => Ok(()),
            [schema, name] if self.agent.visible.types.iter().any(|known| *known.schema == **schema && known.name == **name) => Ok(()),
            _ => type_name(node),
        }
    }

    fn all(&self, tree: &Tree, check: &mut dyn FnMut(&Node) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut refused = Ok(());
        tree.each(&mut |node| {
            if refused.is_ok()
                && let Err(refusal) = check(node)
            {
                refused = Err(match (refusal.position, node.location()) {
                    (None, Some(byte)) => refusal.at(character(self.text, byte)),
                    (Some(_), _) | (None, None) => refusal,
                });
            }
        });
        refused
    }

    fn function(&self, node: &Node) -> Result<(), Refusal> {
        let names = node.names("funcname")?;
        let arguments = node.list("args")?.len();
        let added = |schema: Option<&str>, name: &str| {
            self.agent
                .functions
                .iter()
                .any(|known| *known.name == *name && known.arguments == arguments && schema.is_none_or(|schema| *known.schema == *schema))
        };
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            [schema, name] if added(Some(schema), name) => return Ok(()),
            [.., name] => return Err(undefined(name).hint("only functions of pg_catalog and those the policy adds exist")),
            [] => return Err(undefined("")),
        };
        if kernel::answers(name, arguments) {
            return Ok(());
        }
        match allow::function(name, arguments) {
            allow::FunctionRule::Allowed(..) => Ok(()),
            allow::FunctionRule::Virtual(_) => Err(kernel::unanswered(&format!("{name}()"))),
            allow::FunctionRule::Denied(class) => Err(denied(name, class)),
            allow::FunctionRule::Unknown if added(None, name) => {
                Err(undefined(name).hint("call it with its schema, as the policy names it"))
            }
            allow::FunctionRule::Unknown if names.len() == 1 && self.extensions().function(name).is_some() => Ok(()),
            allow::FunctionRule::Unknown => Err(undefined(name)),
        }
    }

    fn extensions(&self) -> &Resolution {
        self.catalog.extensions.resolution()
    }

    /// An operator of `pg_catalog` or of an extension that is used.
    fn operator(&self, node: &Node, field: &'static str) -> Result<(), Refusal> {
        match node.names(field)?.as_slice() {
            [name] if self.extensions().operator(name) => Ok(()),
            _ => operator(node, field),
        }
    }

    /// `(x).f` calls `f(x)` where no column has that name.
    fn attribute(&self, name: &str) -> Result<(), Refusal> {
        attribute(name)?;
        if self.extensions().is_closed(name) {
            return Err(Refusal::new(
                RefusalCode::Denied,
                format!("attribute {name} is not available: at the source it could call a function"),
            )
            .hint("give the column another name with AS"));
        }
        Ok(())
    }
}

/// A function that speaks of the session has no rows to give.
fn in_from(node: &Node, of_session: impl Fn(&str, usize) -> bool) -> Result<(), Refusal> {
    for item in node.list("functions")? {
        // The function, and the columns that are declared for it.
        let Some(function) = item.items().first().and_then(Tree::as_node) else { continue };
        if let Some(name) = kernel::keyword_of_session(function) {
            return Err(kernel::unanswered(name));
        }
        if function.kind == "FuncCall"
            && let Some(name) = function.names("funcname")?.last()
            && of_session(name, function.list("args")?.len())
        {
            return Err(kernel::unanswered(&format!("{name}()")));
        }
    }
    Ok(())
}

fn operator(node: &Node, field: &'static str) -> Result<(), Refusal> {
    match node.names(field)?.as_slice() {
        [] => Ok(()),
        [name] | ["pg_catalog", name] if allow::operator(name) || keyword_operator(name) => Ok(()),
        [.., name] => Err(Refusal::new(RefusalCode::UndefinedFunction, format!("operator {name} is not available"))
            .hint("only operators of pg_catalog exist")),
    }
}

/// `BETWEEN` and its kin stand in the tree under their own name.
fn keyword_operator(name: &str) -> bool {
    matches!(name, "BETWEEN" | "NOT BETWEEN" | "BETWEEN SYMMETRIC" | "NOT BETWEEN SYMMETRIC")
}

fn type_name(node: &Node) -> Result<(), Refusal> {
    let names = node.names("names")?;
    if node.flag("pct_type")? || node.flag("setof")? {
        return Err(Refusal::unsupported("%TYPE or SETOF"));
    }
    match names.as_slice() {
        // An absent type name (a column definition list of XMLTABLE's FOR ORDINALITY).
        [] => Ok(()),
        [name] | ["pg_catalog", name] => allow::cast_type(name).map_err(|class| {
            let refusal = Refusal::new(RefusalCode::UndefinedObject, format!("type \"{name}\" is not available: {}", class.reason));
            class.hint.map_or(refusal.clone(), |hint| refusal.hint(hint))
        }),
        [.., name] => Err(Refusal::new(RefusalCode::UndefinedObject, format!("type \"{name}\" is not available"))
            .hint("cast to text or another built-in type")),
    }
}

/// Types that no row is cast to (`find_coercion_pathway`): in `t.cid` the name is a column's, or nothing's.
const NO_CAST_FROM_A_ROW: [&str; 12] =
    ["any", "cid", "cstring", "internal", "record", "refcursor", "tid", "trigger", "unknown", "void", "xid", "xid8"];

/// `(x).f` calls `f(x)` where no column has that name. A function without arguments is never called so.
fn attribute(name: &str) -> Result<(), Refusal> {
    if kernel::answers(name, 0) {
        return Ok(());
    }
    allow::attribute(name).map_err(|class| denied(name, class))
}

fn catalog_attribute(name: &str) -> Result<(), Refusal> {
    allow::catalog_attribute(name).map_err(|class| denied(name, class))
}

fn denied(name: &str, class: &allow::Class) -> Refusal {
    let refusal = Refusal::new(RefusalCode::Denied, format!("function {name} is not available: {}", class.reason));
    class.hint.map_or(refusal.clone(), |hint| refusal.hint(hint))
}

fn undefined(name: &str) -> Refusal {
    Refusal::new(RefusalCode::UndefinedFunction, format!("function {name} does not exist"))
}

/// A grammar's name for a construct, for people.
fn construct(kind: &str) -> &str {
    match kind {
        "LockingClause" => "FOR UPDATE / SHARE",
        "IntoClause" => "SELECT INTO",
        "JsonFuncExpr" => "JSON_VALUE, JSON_QUERY, JSON_EXISTS",
        "JsonTable" => "JSON_TABLE",
        "CurrentOfExpr" => "WHERE CURRENT OF",
        "SetToDefault" => "DEFAULT",
        other => other,
    }
}
