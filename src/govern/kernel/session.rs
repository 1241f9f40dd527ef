//! Functions that speak of the session: answered from the virtual session, never by the source.

use pg_query::protobuf::SqlValueFunctionOp as Op;

use super::{
    Form, Parameters,
    derived::{TEXT, identifier},
};
use crate::{
    govern::{Appended, AppendedValue, ConfigArgument, Refusal, RefusalCode, SessionValue},
    sql::{Node, Tree, catalog::Oid, character},
};

/// `name`, `int4` in `pg_type`.
const NAME: Oid = 19;
const INT4: Oid = 23;

/// What stands for a node that asks about the session, and whether a constant's value decided it; `None` for
/// every other node. A scalar subquery keeps the column name that the function would have given.
pub(super) fn replacement(text: &str, node: &Node, parameters: &mut Parameters) -> Result<Option<(Form, String, bool)>, Refusal> {
    match node.kind {
        "SqlValueFunction" => {
            Ok(keyword(node.int("op")?).map(|(name, value)| (Form::Word, bound(name, NAME, "name", value, parameters), false)))
        }
        "FuncCall" => {
            let replaced = call(node, parameters)?;
            if replaced.is_some() {
                plain(text, node)?;
            }
            Ok(replaced)
        }
        // Every other node is not about the session.
        _ => Ok(None),
    }
}

/// Refuses what only an aggregate or a window function takes.
fn plain(text: &str, node: &Node) -> Result<(), Refusal> {
    let name = column_name(node).unwrap_or_default();
    let over = node.node("over")?.is_some();
    let wrong = [
        (node.flag("agg_within_group")?, "WITHIN GROUP", "an ordered-set aggregate function"),
        (node.flag("agg_star")?, "*", "an aggregate function"),
        (node.flag("agg_distinct")?, "DISTINCT", "an aggregate function"),
        (!node.list("agg_order")?.is_empty(), "ORDER BY", "an aggregate function"),
        (node.node("agg_filter")?.is_some(), "FILTER", "an aggregate function"),
        (over, "OVER", "a window function nor an aggregate function"),
    ];
    let Some((_, what, wanted)) = wrong.into_iter().find(|(is, _, _)| *is) else { return Ok(()) };
    let message = match what {
        "*" => format!("{name}(*) specified, but {name} is not {wanted}"),
        "OVER" => format!("OVER specified, but {name} is not {wanted}"),
        _ => format!("{what} specified, but {name} is not {wanted}"),
    };
    let refusal = Refusal::new(RefusalCode::WrongObjectType, message);
    Err(node.location().map_or(refusal.clone(), |at| refusal.at(character(text, at))))
}

/// The name that a call's column gets.
pub(super) fn column_name(node: &Node) -> Option<&str> {
    match node.kind {
        "FuncCall" => node.names("funcname").ok()?.last().copied(),
        "SqlValueFunction" => keyword(node.int("op").ok()?).map(|(name, _)| name),
        // Nothing else is called.
        _ => None,
    }
}

/// The one function of a FROM item that says no more than an alias, and the alias.
pub(super) fn function_in_from(node: &Node) -> Result<Option<(&Node, Option<&Node>)>, Refusal> {
    if node.kind != "RangeFunction" || node.flag("ordinality")? || node.flag("is_rowsfrom")? || !node.list("coldeflist")?.is_empty() {
        return Ok(None);
    }
    let [function] = node.list("functions")? else { return Ok(None) };
    let Some(function) = function.items().first().and_then(Tree::as_node) else { return Ok(None) };
    Ok(Some((function, node.node("alias")?)))
}

/// Whether a FROM item is such a function, and one that [`replacement`] answers. What sets something is not for FROM.
pub(in crate::govern) fn is_answered_in_from(node: &Node) -> bool {
    let Ok(Some((function, _))) = function_in_from(node) else { return false };
    match function.kind {
        "SqlValueFunction" => function.int("op").is_ok_and(|op| keyword(op).is_some()),
        "FuncCall" => {
            let arguments = function.list("args").map_or(0, <[Tree]>::len);
            matches!(function.names("funcname").as_deref(), Ok([name] | ["pg_catalog", name]) if *name != "set_config" && answers(name, arguments))
                && !is_open_setting(function)
        }
        // Nothing else is called.
        _ => false,
    }
}

fn bound(column: &str, type_oid: Oid, type_name: &str, value: SessionValue, parameters: &mut Parameters) -> String {
    let number = parameters.number(Appended { type_oid, value: AppendedValue::Session(value) });
    format!("(SELECT ${number}::pg_catalog.{type_name} AS {})", identifier(column))
}

/// `current_user` and its kin: keywords that speak of the session. Those that speak of the time do not.
pub(in crate::govern) fn keyword_of_session(node: &Node) -> Option<&'static str> {
    let op = if node.kind == "SqlValueFunction" { node.int("op").ok()? } else { return None };
    // SVFOP_CURRENT_DATE (1) to SVFOP_LOCALTIMESTAMP_N (9).
    (!(1..=9).contains(&op)).then(|| keyword(op).map_or("this keyword", |(name, _)| name))
}

fn keyword(op: i64) -> Option<(&'static str, SessionValue)> {
    let is = |wanted: Op| op == i64::from(wanted as i32);
    if is(Op::SvfopCurrentUser) {
        Some(("current_user", SessionValue::User))
    } else if is(Op::SvfopSessionUser) {
        Some(("session_user", SessionValue::User))
    } else if is(Op::SvfopUser) {
        Some(("user", SessionValue::User))
    } else if is(Op::SvfopCurrentRole) {
        Some(("current_role", SessionValue::User))
    } else if is(Op::SvfopCurrentCatalog) {
        Some(("current_catalog", SessionValue::Database))
    } else if is(Op::SvfopCurrentSchema) {
        Some(("current_schema", SessionValue::Schema))
    } else {
        None
    }
}

fn call(node: &Node, parameters: &mut Parameters) -> Result<Option<(Form, String, bool)>, Refusal> {
    let names = node.names("funcname")?;
    let name = match names.as_slice() {
        [name] | ["pg_catalog", name] => *name,
        _ => return Ok(None),
    };
    let arguments = node.list("args")?;
    let sql = match (name, arguments) {
        ("current_database", []) => bound(name, NAME, "name", SessionValue::Database, parameters),
        ("current_schema", []) => bound(name, NAME, "name", SessionValue::Schema, parameters),
        ("current_user" | "session_user" | "getpgusername", []) => bound(name, NAME, "name", SessionValue::User, parameters),
        ("version", []) => bound(name, TEXT, "text", SessionValue::Version, parameters),
        ("pg_backend_pid", []) => bound(name, INT4, "int4", SessionValue::BackendPid, parameters),
        ("inet_client_addr" | "inet_server_addr", []) => format!("(SELECT NULL::pg_catalog.inet AS {})", identifier(name)),
        ("pg_advisory_unlock_all", []) => format!("(SELECT ''::pg_catalog.void AS {})", identifier(name)),
        ("inet_client_port" | "inet_server_port", []) => format!("(SELECT NULL::pg_catalog.int4 AS {})", identifier(name)),
        ("current_setting", [setting, ..]) if arguments.len() <= 2 => {
            let constant = setting.of_kind("AConst").map(|constant| constant.field("val")).transpose()?.and_then(|value| value.string());
            let setting = constant.ok_or_else(|| {
                Refusal::unsupported("current_setting of a name that is not a plain string").hint("write current_setting('name')")
            })?;
            let missing_ok = arguments.get(1).map_or(Some(false), flag).ok_or_else(|| {
                Refusal::unsupported("current_setting with a flag that is not written out").hint("write current_setting('name', true)")
            })?;
            let value = SessionValue::Setting { name: setting.into(), missing_ok };
            return Ok(Some((Form::Call, bound(name, TEXT, "text", value, parameters), true)));
        }
        ("set_config", [setting, value, local]) => {
            return Ok(Some((Form::Call, configured(setting, value, local, parameters)?, true)));
        }
        _ => return Ok(None),
    };
    Ok(Some((Form::Call, sql, false)))
}

/// A flag that is written out: `true`, `'t'`, `'on'::bool`.
fn flag(tree: &Tree) -> Option<bool> {
    let constant = match tree.of_kind("TypeCast") {
        Some(cast) => {
            let names = cast.node("type_name").ok()??.names("names").ok()?;
            matches!(names.as_slice(), ["pg_catalog", "bool"] | ["bool"]).then_some(())?;
            cast.field("arg").ok()?.of_kind("AConst")?
        }
        None => tree.of_kind("AConst")?,
    };
    let value = constant.field("val").ok()?;
    match (value.of_kind("Boolean"), value.string()) {
        (Some(boolean), _) => boolean.flag("boolval").ok(),
        (None, Some("t" | "true" | "on" | "yes" | "1")) => Some(true),
        (None, Some("f" | "false" | "off" | "no" | "0")) => Some(false),
        (None, Some(_) | None) => None,
    }
}

/// `set_config`: what it sets is told by constants and parameters, so that it can be set when the statement is bound.
fn configured(setting: &Tree, value: &Tree, local: &Tree, parameters: &mut Parameters) -> Result<String, Refusal> {
    let unsupported = || {
        Refusal::unsupported("set_config of what is not a plain string or parameter")
            .hint("write set_config('name', 'value', false), or SET")
    };
    let Some(ConfigArgument::Text(name)) = argument(setting) else { return Err(unsupported()) };
    let value = argument(value).ok_or_else(unsupported)?;
    let local = argument(local).ok_or_else(unsupported)?;
    let typed = [(&value, "text"), (&local, "bool")].into_iter().filter_map(|(argument, of)| match argument {
        ConfigArgument::Parameter(number) => Some(format!("${number}::pg_catalog.{of} IS NULL")),
        ConfigArgument::Null | ConfigArgument::Text(_) => None,
    });
    let typed: Vec<String> = typed.collect();
    let number = parameters.number(Appended { type_oid: TEXT, value: AppendedValue::Session(SessionValue::Config { name, value, local }) });
    let result = format!("${number}::pg_catalog.text");
    if typed.is_empty() {
        return Ok(format!("(SELECT {result} AS set_config)"));
    }
    // The client's parameters stay in the text, which says of what type they are.
    Ok(format!("(SELECT CASE WHEN {} THEN {result} ELSE {result} END AS set_config)", typed.join(" OR ")))
}

/// A constant, with or without a cast to text or a flag; or a parameter.
fn argument(tree: &Tree) -> Option<ConfigArgument> {
    let tree = match tree.of_kind("TypeCast") {
        Some(cast) => {
            let names = cast.node("type_name").ok()??.names("names").ok()?;
            matches!(names.as_slice(), ["pg_catalog", "bool" | "text" | "varchar"] | ["bool" | "text" | "varchar"]).then_some(())?;
            cast.field("arg").ok()?
        }
        None => tree,
    };
    if let Some(parameter) = tree.of_kind("ParamRef") {
        return usize::try_from(parameter.int("number").ok()?).ok().map(ConfigArgument::Parameter);
    }
    let constant = tree.of_kind("AConst")?;
    if constant.flag("isnull").ok()? {
        return Some(ConfigArgument::Null);
    }
    let value = constant.field("val").ok()?;
    match (value.of_kind("Boolean"), value.string()) {
        (Some(flag), _) => Some(ConfigArgument::Text(if flag.flag("boolval").ok()? { "on" } else { "off" }.into())),
        (None, text) => text.map(|text| ConfigArgument::Text(text.into())),
    }
}

/// Refuses `set_config` where it might run never, or more than once: it is for the select list of a statement of one row.
pub(in crate::govern) fn check_configs(tree: &Tree) -> Result<(), Refusal> {
    let is_config = |node: &Node| {
        node.kind == "FuncCall" && matches!(node.names("funcname").as_deref(), Ok(["set_config"] | ["pg_catalog", "set_config"]))
    };
    let (mut all, mut listed) = (0, 0);
    tree.each(&mut |node| all += usize::from(is_config(node)));
    if all == 0 {
        return Ok(());
    }
    if let Some(select) = tree.of_kind("SelectStmt")
        && is_one_row(select)?
    {
        for target in select.list("target_list")?.iter().filter_map(Tree::as_node) {
            listed += usize::from(target.node("val")?.is_some_and(is_config));
        }
    }
    if listed == all {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::Denied, "function set_config is not available here: it changes the session")
        .hint("call it in a select list of its own, SELECT set_config('name', 'value', false), or use SET"))
}

/// Whether a SELECT makes one row, whatever there is: nothing in FROM, or the row of `pg_settings` that some clients look for.
fn is_one_row(select: &Node) -> Result<bool, crate::sql::Misread> {
    let absent = ["where_clause", "having_clause", "limit_offset", "limit_count", "with_clause", "larg", "rarg"];
    let empty = ["distinct_clause", "group_clause", "window_clause", "values_lists", "locking_clause"];
    for field in empty {
        if !select.list(field)?.is_empty() {
            return Ok(false);
        }
    }
    let of_settings = matches!(select.list("from_clause")?, [from] if is_settings(from)?);
    for field in absent {
        if *select.field(field)? != Tree::Null && !(field == "where_clause" && of_settings) {
            return Ok(false);
        }
    }
    Ok(of_settings || select.list("from_clause")?.is_empty())
}

fn is_settings(from: &Tree) -> Result<bool, crate::sql::Misread> {
    if let Some(relation) = from.of_kind("RangeVar") {
        return Ok(relation.text("relname")? == "pg_settings" && matches!(relation.text("schemaname")?, "" | "pg_catalog"));
    }
    let Some(function) = from.of_kind("RangeFunction") else { return Ok(false) };
    let mut named = false;
    function.each(&mut |node| {
        named |= matches!(node.names("funcname").as_deref(), Ok(["pg_show_all_settings"] | ["pg_catalog", "pg_show_all_settings"]));
    });
    Ok(named)
}

/// Whether this is `current_setting` of a name that only running it tells.
pub(in crate::govern) fn is_open_setting(node: &Node) -> bool {
    let named = matches!(node.names("funcname").as_deref(), Ok(["current_setting"] | ["pg_catalog", "current_setting"]));
    let constant = |tree: &Tree| tree.of_kind("AConst").is_some();
    node.kind == "FuncCall" && named && node.list("args").is_ok_and(|arguments| !arguments.first().is_some_and(constant))
}

/// Whether [`replacement`] answers a virtual function of this name and arity; the gate refuses the others.
pub(in crate::govern) fn answers(name: &str, arguments: usize) -> bool {
    matches!(
        (name, arguments),
        (
            "current_database"
                | "current_schema"
                | "current_user"
                | "session_user"
                | "getpgusername"
                | "version"
                | "pg_backend_pid"
                | "inet_client_addr"
                | "inet_server_addr"
                | "inet_client_port"
                | "inet_server_port"
                | "pg_advisory_unlock_all",
            0
        ) | ("current_setting", 1 | 2)
            | ("set_config", 3)
    )
}

/// The refusal for a virtual function, as it is called, in a place where it has no answer.
pub(in crate::govern) fn unanswered(name: &str) -> Refusal {
    let function = name.trim_end_matches("()");
    Refusal::new(RefusalCode::Unsupported, format!("function {function} is not supported here"))
        .hint(format!("call it in a select list: SELECT {name}"))
}
