//! Functions that speak of the session: answered from the virtual session, never by the source.

use pg_query::protobuf::SqlValueFunctionOp as Op;

use super::{
    Form, Parameters,
    derived::{TEXT, identifier},
};
use crate::{
    govern::{Appended, AppendedValue, Refusal, RefusalCode, SessionValue},
    sql::{Node, catalog::Oid},
};

/// `name`, `int4` in `pg_type`.
const NAME: Oid = 19;
const INT4: Oid = 23;

/// What stands for a node that asks about the session, and whether a constant's value decided it; `None` for
/// every other node. A scalar subquery keeps the column name that the function would have given.
pub(super) fn replacement(node: &Node, parameters: &mut Parameters) -> Result<Option<(Form, String, bool)>, Refusal> {
    match node.kind {
        "SqlValueFunction" => {
            Ok(keyword(node.int("op")?).map(|(name, value)| (Form::Word, bound(name, NAME, "name", value, parameters), false)))
        }
        "FuncCall" => call(node, parameters),
        // Every other node is not about the session.
        _ => Ok(None),
    }
}

fn bound(column: &str, type_oid: Oid, type_name: &str, value: SessionValue, parameters: &mut Parameters) -> String {
    let number = parameters.number(Appended { type_oid, value: AppendedValue::Session(value) });
    format!("(SELECT ${number}::pg_catalog.{type_name} AS {})", identifier(column))
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
            let sql = bound(name, TEXT, "text", SessionValue::Setting(setting.to_ascii_lowercase().into()), parameters);
            return Ok(Some((Form::Call, sql, true)));
        }
        _ => return Ok(None),
    };
    Ok(Some((Form::Call, sql, false)))
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
    )
}

/// The refusal for a virtual function in a place where it has no answer.
pub(in crate::govern) fn unanswered(name: &str) -> Refusal {
    Refusal::new(RefusalCode::Unsupported, format!("function {name} is not supported here"))
        .hint("call it in a select list: SELECT current_user")
}
