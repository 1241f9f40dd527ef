//! Expressions of the source's own: what fills a column in, what an index is over, what a check asks. A draft may compute one where it
//! reads columns that the agent sees, and calls functions of the reviewed list.

use pg_query::{Node, NodeEnum, protobuf::SqlValueFunctionOp};

use super::{
    Context,
    draft::{print, skeleton},
};
use crate::{
    govern::kernel::identifier,
    policy::{ExposedColumn, TenantRule},
    sql::{
        self, Tree, allow,
        rules::{ColumnRule, Fill, TableRules},
    },
};

/// Such an expression, with the columns that it reads.
#[derive(Debug, Clone)]
pub(super) struct Formula {
    pub(super) text: String,
    pub(super) tree: Tree,
    pub(super) columns: Vec<Box<str>>,
}

/// Why an expression is not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoFormula {
    /// It reads a column that the agent does not see as it is.
    Hidden,
    /// It calls something that no draft calls, or has a form that is not read.
    Unread,
}

/// What a column holds when no value is given for it.
#[derive(Debug, Clone)]
pub(super) enum Filled {
    Null,
    /// This.
    By(Formula),
    /// This, computed of the row's other columns.
    Generated(Formula),
    /// A value that no row has yet: of a sequence, or at random.
    Fresh,
    /// What only the source knows.
    Unknown,
}

/// Functions whose values no row has yet.
const FRESH: [&str; 8] =
    ["nextval", "gen_random_uuid", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "uuidv4", "uuidv7", "gen_random_bytes"];

impl Formula {
    /// A client's own expression, which is compared and never computed.
    pub(super) fn of_target(tree: Tree) -> Self {
        Self { text: String::new(), tree, columns: Vec::new() }
    }

    /// The value over a row whose columns are written `column(name)`: in a scope of its own, so that names mean that row's columns.
    pub(super) fn over(&self, column: impl Fn(&str) -> String) -> String {
        if self.columns.is_empty() {
            return self.text.clone();
        }
        let columns = self.columns.iter().map(|name| format!("{} AS {}", column(name), identifier(name))).collect::<Vec<_>>().join(", ");
        format!("(SELECT {} FROM (SELECT {columns}) AS \"pgwicket_of\")", self.text)
    }
}

impl Context<'_> {
    /// What a column holds when no value is given for it.
    pub(super) fn filled(&self, rules: &TableRules, column: &ExposedColumn) -> Filled {
        let Some(rule) = rules.column(&column.name) else { return Filled::Null };
        match (rule.fill, &rule.expression) {
            (Fill::IdentityAlways | Fill::IdentityByDefault, _) => Filled::Fresh,
            (Fill::Default | Fill::Generated, None) => Filled::Unknown,
            (Fill::Default, Some(_)) if is_fresh(rule) => Filled::Fresh,
            (Fill::Default, Some(text)) => self.formula(text).map_or(Filled::Unknown, Filled::By),
            (Fill::Generated, Some(text)) => self.formula(text).map_or(Filled::Unknown, Filled::Generated),
        }
    }

    /// An expression of the source's own, where a draft may compute it.
    pub(super) fn formula(&self, text: &str) -> Result<Formula, NoFormula> {
        let target = skeleton(&format!("SELECT {text}")).map_err(|_unread| NoFormula::Unread)?.target_list.pop();
        let Some(Node { node: Some(NodeEnum::ResTarget(target)) }) = target else { return Err(NoFormula::Unread) };
        let mut expression = *target.val.ok_or(NoFormula::Unread)?;
        without_own_types(&mut expression);
        let tree = sql::tree(&expression).ok_or(NoFormula::Unread)?;
        let columns = self.read_by(&tree)?;
        let mut select = skeleton("SELECT NULL").map_err(|_unread| NoFormula::Unread)?;
        if let Some(Node { node: Some(NodeEnum::ResTarget(target)) }) = select.target_list.first_mut() {
            target.val = Some(Box::new(expression));
        }
        let printed = print(&select).map_err(|_unread| NoFormula::Unread)?;
        let text = printed.strip_prefix("SELECT ").ok_or(NoFormula::Unread)?;
        Ok(Formula { text: format!("({text})"), tree, columns })
    }

    /// The columns that it reads, where it reads and calls only what a draft may.
    fn read_by(&self, tree: &Tree) -> Result<Vec<Box<str>>, NoFormula> {
        let mut columns: Vec<Box<str>> = Vec::new();
        let mut found = Ok(());
        let (mut ordered, mut own) = (false, false);
        tree.each(&mut |node| {
            let checked = match node.kind {
                "ColumnRef" => match node.names("fields").as_deref() {
                    Ok([name]) => self.plain_column(name).map(|column| {
                        own |= self.is_text_form(column);
                        if !columns.iter().any(|known| **known == **name) {
                            columns.push((*name).into());
                        }
                    }),
                    Ok(_) | Err(_) => Err(NoFormula::Unread),
                },
                "FuncCall" => match (node.names("funcname").as_deref(), node.list("args")) {
                    (Ok([name] | ["pg_catalog", name]), Ok(args))
                        if matches!(allow::function(name, args.len()), allow::FunctionRule::Allowed(..)) =>
                    {
                        ordered = true;
                        Ok(())
                    }
                    (_, _) => Err(NoFormula::Unread),
                },
                "AExpr" => match node.names("name").as_deref() {
                    Ok(names) => {
                        ordered |= !matches!(names.last(), Some(&"=" | &"<>"));
                        Ok(())
                    }
                    Err(_) => Err(NoFormula::Unread),
                },
                "TypeName" => match node.names("names").as_deref() {
                    Ok([name] | ["pg_catalog", name]) if allow::cast_type(name).is_ok() => Ok(()),
                    Ok(_) | Err(_) => Err(NoFormula::Unread),
                },
                "SqlValueFunction" if node.int("op").is_ok_and(|op| op <= SqlValueFunctionOp::SvfopLocaltimestampN as i64) => Ok(()),
                "CollateClause" => Ok(()),
                // A subquery, a parameter, and whatever else is not known to be nothing but its parts.
                _ if node.is_plain() => Ok(()),
                _ => Err(NoFormula::Unread),
            };
            if found.is_ok() {
                found = checked;
            }
        });
        found?;
        // A value of a type of the source's own stands as its text, which is equal where the value is, and orders otherwise.
        if own && ordered { Err(NoFormula::Unread) } else { Ok(columns) }
    }

    /// A column that the agent sees as it is. The tenant's is not among them: it holds the same in every row.
    fn plain_column(&self, name: &str) -> Result<&ExposedColumn, NoFormula> {
        let column = self.relation.columns.iter().find(|column| *column.name == *name && column.mask.is_none());
        column.filter(|column| !self.is_tenant(&column.name)).ok_or(NoFormula::Hidden)
    }

    /// Whether the column is the tenant's.
    pub(super) fn is_tenant(&self, column: &str) -> bool {
        matches!(&self.relation.tenant, TenantRule::Column { name, .. } if **name == *column)
    }
}

/// Takes casts of constants to types of the source's own away: their text is what stands for their values.
fn without_own_types(expression: &mut Node) {
    let Some(inner) = &mut expression.node else { return };
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left as it is, is refused by its type's name")]
    match inner {
        NodeEnum::TypeCast(cast) => {
            if let Some(arg) = cast.arg.as_deref_mut() {
                without_own_types(arg);
            }
            let names = cast.type_name.as_ref().map(|name| name.names.len()).unwrap_or_default();
            let constant = cast.arg.as_deref().filter(|arg| matches!(arg.node, Some(NodeEnum::AConst(_) | NodeEnum::AArrayExpr(_))));
            let own = cast.type_name.as_ref().is_some_and(|name| {
                let first = name.names.first().and_then(|part| part.node.as_ref());
                names == 2 && !matches!(first, Some(NodeEnum::String(part)) if part.sval == "pg_catalog")
            });
            if let (true, Some(constant)) = (own, constant) {
                *expression = constant.clone();
            }
        }
        NodeEnum::AExpr(of) => {
            for side in [&mut of.lexpr, &mut of.rexpr].into_iter().flatten() {
                without_own_types(side);
            }
        }
        NodeEnum::BoolExpr(of) => of.args.iter_mut().for_each(without_own_types),
        NodeEnum::FuncCall(of) => of.args.iter_mut().for_each(without_own_types),
        NodeEnum::CoalesceExpr(of) => of.args.iter_mut().for_each(without_own_types),
        NodeEnum::AArrayExpr(of) => of.elements.iter_mut().for_each(without_own_types),
        NodeEnum::List(of) => of.items.iter_mut().for_each(without_own_types),
        NodeEnum::NullTest(of) => of.arg.iter_mut().for_each(|arg| without_own_types(arg)),
        NodeEnum::BooleanTest(of) => of.arg.iter_mut().for_each(|arg| without_own_types(arg)),
        _ => {}
    }
}

/// Whether the default gives a value that no row has yet.
fn is_fresh(rule: &ColumnRule) -> bool {
    let Some(text) = rule.expression.as_deref() else { return false };
    let Some(select) = sql::parse_select(&format!("SELECT {text}")) else { return false };
    let mut fresh = false;
    select.each(&mut |node| {
        if node.kind == "FuncCall"
            && let Ok(names) = node.names("funcname")
        {
            fresh |= names.last().is_some_and(|name| FRESH.contains(name));
        }
    });
    fresh
}
