//! What kind of statement a text is, before anything else looks at it.

use pg_query::protobuf::{DiscardMode, TransactionStmtKind, VariableSetKind};

use super::{
    copy::{self, Copy, CopyKind},
    cursor::{self, Declare, Fetch},
    explain::{self, Explain},
    parse::{ParseError, parse},
    prepared::{self, Execute, Prepare},
    tree::{Misread, Node, Tree},
};

/// One statement, by what pgwicket does with it. Made by [`classify`] from `pg_query`'s tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Nothing but white space, comments and semicolons.
    Empty,
    /// A SELECT or VALUES: governed.
    Read,
    /// INSERT, UPDATE, DELETE or MERGE of rows, which changes nothing else on the way: may be proposed.
    Write,
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// The modes given.
        modes: TransactionModes,
        /// Spelled `START TRANSACTION`, which is its command tag too.
        start: bool,
    },
    /// `COMMIT`, `END`.
    Commit {
        /// `AND CHAIN`
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`.
    Rollback {
        /// `AND CHAIN`
        chain: bool,
    },
    /// `SAVEPOINT name`
    Savepoint(String),
    /// `RELEASE name`
    Release(String),
    /// `ROLLBACK TO name`
    RollbackTo(String),
    /// `SET TRANSACTION modes`
    SetTransaction(TransactionModes),
    /// `SET SESSION CHARACTERISTICS AS TRANSACTION modes`
    SetSessionCharacteristics(TransactionModes),
    /// `SET [LOCAL] name = value`; `None` is DEFAULT.
    Set {
        /// Setting, lower case.
        name: String,
        /// The values as text. An interval, which only a time zone can be, is `INTERVAL '…'` with its fields.
        value: Option<Vec<String>>,
        /// `SET LOCAL`
        local: bool,
    },
    /// `RESET name`
    Reset(String),
    /// `RESET ALL`
    ResetAll,
    /// `SHOW name`
    Show(String),
    /// `SHOW ALL`
    ShowAll,
    /// `DISCARD ALL`
    DiscardAll,
    /// `DISCARD PLANS | SEQUENCES | TEMP`: nothing to do here.
    DiscardPart(&'static str),
    /// `PREPARE`
    Prepare(Prepare),
    /// `EXECUTE`
    Execute(Execute),
    /// `DEALLOCATE ALL` / `DEALLOCATE name`, over protocol-level statements.
    Deallocate(Option<String>),
    /// `COPY … TO STDOUT`: its query is governed.
    Copy(Copy),
    /// `EXPLAIN` of a read.
    Explain(Explain),
    /// `DECLARE CURSOR`: its query is governed.
    Declare(Declare),
    /// `FETCH`, `MOVE`
    Fetch(Fetch),
    /// `CLOSE name`
    Close(String),
    /// `CLOSE ALL`
    CloseAll,
    /// `UNLISTEN`: nothing is listened to.
    Unlisten,
    /// A write, DDL or side effect: refused with evidence.
    Refused(Refused),
}

/// A statement that is refused by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `UPDATE`, `CREATE TABLE`, `COPY`, ...
    pub verb: String,
    /// Why.
    pub kind: RefusedKind,
}

/// Why a kind of statement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// It writes rows: 25006.
    Write,
    /// It changes the schema, privileges or the server: 42501.
    Administration,
    /// Not supported (yet): 0A000.
    Unsupported,
}

/// Transaction modes as written; `None` where not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionModes {
    /// `ISOLATION LEVEL`
    pub isolation: Option<Isolation>,
    /// `READ ONLY` (true) or `READ WRITE` (false)
    pub read_only: Option<bool>,
    /// `[NOT] DEFERRABLE`
    pub deferrable: Option<bool>,
}

/// Isolation levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// `READ UNCOMMITTED`, which PostgreSQL runs as READ COMMITTED.
    ReadUncommitted,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`
    Serializable,
}

/// Reads the kind of the one statement in `text`.
pub fn classify(text: &str) -> Result<Statement, ParseError> {
    let tree = parse(text)?;
    let within = tree.as_ref().and_then(Tree::as_node).and_then(|node| statement_within(text, node));
    Ok(within.unwrap_or_else(|| classify_tree(tree.as_ref())))
}

/// A statement around another one, whose text has to be cut out. `None`: it is none, or not of a form that is understood.
fn statement_within(text: &str, node: &Node) -> Option<Statement> {
    match node.kind {
        "PrepareStmt" => prepared::prepare(text, node).ok()?.map(Statement::Prepare),
        "DeclareCursorStmt" if changes_within(node).is_none() => cursor::declare(text, node).ok()?.map(Statement::Declare),
        "CopyStmt" if node.flag("is_from") == Ok(false) && changes_within(node).is_none() => Some(match copy::copy(text, node).ok()? {
            CopyKind::Out(copy) => Statement::Copy(copy),
            CopyKind::File => refused("COPY to a file or program", RefusedKind::Administration),
            CopyKind::Unknown => refused("COPY of this form", RefusedKind::Unsupported),
        }),
        "ExplainStmt" if changes_within(node).is_none() => explain::explain(text, node).ok()?.map(Statement::Explain),
        // Every other kind is classified by its tree alone.
        _ => None,
    }
}

/// The kind of a parsed statement.
pub fn classify_tree(tree: Option<&Tree>) -> Statement {
    let Some(tree) = tree else { return Statement::Empty };
    // A field that is not there means a grammar this code was not written for: refused.
    tree.as_node().and_then(|node| read(node).ok()).unwrap_or_else(|| refused("this statement", RefusedKind::Unsupported))
}

fn read(node: &Node) -> Result<Statement, Misread> {
    use RefusedKind::{Administration, Unsupported, Write};
    Ok(match node.kind {
        "SelectStmt" => select(node),
        "TransactionStmt" => transaction(node)?,
        "VariableSetStmt" => variable_set(node)?,
        "VariableShowStmt" if node.text("name")? == "all" => Statement::ShowAll,
        "VariableShowStmt" => Statement::Show(node.text("name")?.to_owned()),
        "DiscardStmt" => match node.int("target")? {
            all if all == i64::from(DiscardMode::DiscardAll as i32) => Statement::DiscardAll,
            plans if plans == i64::from(DiscardMode::DiscardPlans as i32) => Statement::DiscardPart("DISCARD PLANS"),
            sequences if sequences == i64::from(DiscardMode::DiscardSequences as i32) => Statement::DiscardPart("DISCARD SEQUENCES"),
            temp if temp == i64::from(DiscardMode::DiscardTemp as i32) => Statement::DiscardPart("DISCARD TEMP"),
            _ => refused("DISCARD", Unsupported),
        },
        "DeallocateStmt" if node.flag("isall")? => Statement::Deallocate(None),
        "DeallocateStmt" => Statement::Deallocate(Some(node.text("name")?.to_owned())),
        "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
            changes_within(node).map_or(Statement::Write, |verb| refused(verb, Write))
        }
        "TruncateStmt" => refused("TRUNCATE", Write),
        "CopyStmt" if node.flag("is_from")? => refused("COPY FROM", Write),
        "CopyStmt" => changes_within(node).map_or_else(|| refused("COPY of this form", Unsupported), |verb| refused(verb, Write)),
        "ExplainStmt" => {
            changes_within(node).map_or_else(|| refused("EXPLAIN of this form", Unsupported), |_| refused("EXPLAIN of a write", Write))
        }
        "PrepareStmt" => refused("PREPARE of this form", Unsupported),
        "ExecuteStmt" => {
            prepared::execute(node)?.map_or_else(|| refused("EXECUTE with other values than constants", Unsupported), Statement::Execute)
        }
        "DeclareCursorStmt" => {
            changes_within(node).map_or_else(|| refused("DECLARE CURSOR of this form", Unsupported), |verb| refused(verb, Write))
        }
        "FetchStmt" => cursor::fetch(node)?.map_or_else(|| refused("FETCH of this form", Unsupported), Statement::Fetch),
        "ClosePortalStmt" if node.text("portalname")?.is_empty() => Statement::CloseAll,
        "ClosePortalStmt" => Statement::Close(node.text("portalname")?.to_owned()),
        "LockStmt" => refused("LOCK", Administration),
        "DoStmt" => refused("DO", Administration),
        "CallStmt" => refused("CALL", Administration),
        "ListenStmt" => refused("LISTEN", Administration),
        "UnlistenStmt" => Statement::Unlisten,
        "NotifyStmt" => refused("NOTIFY", Administration),
        "LoadStmt" => refused("LOAD", Administration),
        "ConstraintsSetStmt" => refused("SET CONSTRAINTS", Unsupported),
        // Everything else of the grammar is DDL or administration; the verb comes from the node's name.
        other => Statement::Refused(Refused { verb: verb(other), kind: Administration }),
    })
}

/// `CreateTableAsStmt` → `CREATE TABLE AS`
fn verb(kind: &str) -> String {
    let mut words = String::new();
    for letter in kind.strip_suffix("Stmt").unwrap_or(kind).chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_uppercase());
    }
    match words.as_str() {
        "CREATE" => "CREATE TABLE".to_owned(),
        "VIEW" | "INDEX" | "RULE" => format!("CREATE {words}"),
        _ => words,
    }
}

fn refused(verb: &str, kind: RefusedKind) -> Statement {
    Statement::Refused(Refused { verb: verb.to_owned(), kind })
}

fn select(node: &Node) -> Statement {
    changes_within(node).map_or(Statement::Read, |verb| refused(verb, RefusedKind::Write))
}

/// What below this statement changes or locks something.
fn changes_within(node: &Node) -> Option<&'static str> {
    let mut found = None;
    let mut visit = |inner: &Node| {
        let verb = match inner.kind {
            "IntoClause" => Some("SELECT INTO"),
            "LockingClause" => Some("SELECT FOR UPDATE / SHARE"),
            "InsertStmt" => Some("INSERT in WITH"),
            "UpdateStmt" => Some("UPDATE in WITH"),
            "DeleteStmt" => Some("DELETE in WITH"),
            "MergeStmt" => Some("MERGE in WITH"),
            // Only what writes is named here; every other kind of node meets the gate's own list.
            _ => None,
        };
        found = found.or(verb);
    };
    node.fields.iter().for_each(|(_, tree)| tree.each(&mut visit));
    found
}

fn transaction(node: &Node) -> Result<Statement, Misread> {
    let kind = node.int("kind")?;
    let is = |wanted: TransactionStmtKind| kind == i64::from(wanted as i32);
    let chain = node.flag("chain")?;
    let savepoint = || node.text("savepoint_name").map(str::to_owned);
    Ok(if is(TransactionStmtKind::TransStmtBegin) || is(TransactionStmtKind::TransStmtStart) {
        let start = is(TransactionStmtKind::TransStmtStart);
        modes(node.list("options")?)?
            .map_or_else(|| refused("BEGIN with this mode", RefusedKind::Unsupported), |modes| Statement::Begin { modes, start })
    } else if is(TransactionStmtKind::TransStmtCommit) {
        Statement::Commit { chain }
    } else if is(TransactionStmtKind::TransStmtRollback) {
        Statement::Rollback { chain }
    } else if is(TransactionStmtKind::TransStmtSavepoint) {
        Statement::Savepoint(savepoint()?)
    } else if is(TransactionStmtKind::TransStmtRelease) {
        Statement::Release(savepoint()?)
    } else if is(TransactionStmtKind::TransStmtRollbackTo) {
        Statement::RollbackTo(savepoint()?)
    } else {
        refused("two-phase commit", RefusedKind::Administration)
    })
}

/// `None` when a mode is not understood.
fn modes(options: &[Tree]) -> Result<Option<TransactionModes>, Misread> {
    let mut modes = TransactionModes::default();
    for option in options {
        let Some(option) = option.of_kind("DefElem") else { return Ok(None) };
        let argument = option.field("arg")?.as_node().map(constant).transpose()?.flatten();
        match (option.text("defname")?, argument.as_deref()) {
            ("transaction_isolation", Some("read uncommitted")) => modes.isolation = Some(Isolation::ReadUncommitted),
            ("transaction_isolation", Some("read committed")) => modes.isolation = Some(Isolation::ReadCommitted),
            ("transaction_isolation", Some("repeatable read")) => modes.isolation = Some(Isolation::RepeatableRead),
            ("transaction_isolation", Some("serializable")) => modes.isolation = Some(Isolation::Serializable),
            ("transaction_read_only", Some(flag)) => modes.read_only = Some(flag != "0"),
            ("transaction_deferrable", Some(flag)) => modes.deferrable = Some(flag != "0"),
            _ => return Ok(None),
        }
    }
    Ok(Some(modes))
}

fn variable_set(node: &Node) -> Result<Statement, Misread> {
    let kind = node.int("kind")?;
    let is = |wanted: VariableSetKind| kind == i64::from(wanted as i32);
    let name = node.text("name")?.to_ascii_lowercase();
    let arguments = node.list("args")?;
    Ok(if is(VariableSetKind::VarSetValue) {
        let values: Option<Vec<String>> =
            arguments.iter().map(|item| item.as_node().and_then(|node| constant(node).ok().flatten())).collect();
        match values {
            Some(values) => Statement::Set { name, value: Some(values), local: node.flag("is_local")? },
            None => refused("SET with this value", RefusedKind::Unsupported),
        }
    } else if is(VariableSetKind::VarSetDefault) {
        Statement::Set { name, value: None, local: node.flag("is_local")? }
    } else if is(VariableSetKind::VarReset) {
        Statement::Reset(name)
    } else if is(VariableSetKind::VarResetAll) {
        Statement::ResetAll
    } else if is(VariableSetKind::VarSetMulti) && name == "transaction" {
        modes(arguments)?.map_or_else(|| refused("SET TRANSACTION with this mode", RefusedKind::Unsupported), Statement::SetTransaction)
    } else if is(VariableSetKind::VarSetMulti) && name == "session characteristics" {
        let set = modes(arguments)?.map(Statement::SetSessionCharacteristics);
        set.unwrap_or_else(|| refused("SET SESSION CHARACTERISTICS with this mode", RefusedKind::Unsupported))
    } else {
        refused("SET of this form", RefusedKind::Unsupported)
    })
}

/// A constant's text as SET reads it: strings as they are, numbers as written, `INTERVAL '...'` its string.
fn constant(node: &Node) -> Result<Option<String>, Misread> {
    Ok(match node.kind {
        "AConst" if node.flag("isnull")? => None,
        "AConst" => node.field("val")?.as_node().map(constant).transpose()?.flatten(),
        "Integer" => Some(node.int("ival")?.to_string()),
        "Float" => Some(node.text("fval")?.to_owned()),
        "String" => Some(node.text("sval")?.to_owned()),
        "Boolean" => Some(if node.flag("boolval")? { "on" } else { "off" }.to_owned()),
        "TypeCast" => interval(node)?,
        _ => None,
    })
}

/// `INTERVAL '…'` of SET TIME ZONE, whose fields say what a number without a unit counts.
fn interval(node: &Node) -> Result<Option<String>, Misread> {
    /// `INTERVAL_MASK(HOUR)`, and with MINUTE, of utils/timestamp.h.
    const HOUR: i64 = 1 << 10;
    const HOUR_TO_MINUTE: i64 = HOUR | 1 << 11;
    let Some(text) = node.field("arg")?.as_node().map(constant).transpose()?.flatten() else { return Ok(None) };
    let Some(kind) = node.node("type_name")? else { return Ok(None) };
    if kind.names("names")?.last() != Some(&"interval") {
        return Ok(None);
    }
    let fields = kind.list("typmods")?.first().and_then(Tree::as_node).map(constant).transpose()?.flatten();
    let fields = match fields.map(|mask| mask.parse::<i64>()) {
        Some(Ok(HOUR)) => " HOUR",
        Some(Ok(HOUR_TO_MINUTE)) => " HOUR TO MINUTE",
        Some(Ok(_) | Err(_)) | None => "",
    };
    Ok(Some(format!("INTERVAL '{text}'{fields}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Statement {
        classify(text).unwrap()
    }

    #[test]
    fn a_statement_that_writes_is_never_a_read() {
        for text in [
            "insert into t values (1)",
            "update t set a = 1",
            "delete from t",
            "merge into t using s on true when matched then delete",
            "/* select */ delete from t",
            "with x as (select 1) insert into t select * from x on conflict do nothing returning *",
        ] {
            assert_eq!(kind(text), Statement::Write, "{text}");
        }
        for text in [
            "truncate t",
            "copy t from stdin",
            "select 1 into t",
            "select * from t for update",
            "select * from (select * from t for share) s",
            "with x as (delete from t returning *) select * from x",
            "select * from (with x as (insert into t values (1) returning 1) select * from x) y",
            "with x as (delete from t returning *) update t set a = 1",
            "insert into t select * from t for update",
            "explain analyze delete from t",
        ] {
            assert!(matches!(kind(text), Statement::Refused(Refused { kind: RefusedKind::Write, .. })), "{text}: {:?}", kind(text));
        }
        for text in [
            "create table t(a int)",
            "drop table t",
            "grant select on t to x",
            "do $$begin end$$",
            "call f()",
            "vacuum",
            "alter system set x = 1",
            "listen x",
            "lock t",
            "checkpoint",
            "prepare transaction 'x'",
        ] {
            assert!(
                matches!(kind(text), Statement::Refused(Refused { kind: RefusedKind::Administration, .. })),
                "{text}: {:?}",
                kind(text)
            );
        }
        assert_eq!(kind("create table t(a int)"), refused("CREATE TABLE", RefusedKind::Administration));
        assert_eq!(kind("create view v as select 1"), refused("CREATE VIEW", RefusedKind::Administration));
    }

    #[test]
    fn session_statements_are_read_from_the_tree() {
        assert_eq!(kind(""), Statement::Empty);
        assert_eq!(
            kind(
                "-- x
;"
            ),
            Statement::Empty
        );
        assert_eq!(kind("table t"), Statement::Read);
        assert_eq!(kind("values (1)"), Statement::Read);
        assert_eq!(
            kind("begin isolation level repeatable read, read only, not deferrable"),
            Statement::Begin {
                modes: TransactionModes { isolation: Some(Isolation::RepeatableRead), read_only: Some(true), deferrable: Some(false) },
                start: false
            }
        );
        assert_eq!(kind("start transaction"), Statement::Begin { modes: TransactionModes::default(), start: true });
        assert_eq!(kind("commit and chain"), Statement::Commit { chain: true });
        assert_eq!(kind("end"), Statement::Commit { chain: false });
        assert_eq!(kind("rollback to savepoint \"A\""), Statement::RollbackTo("A".to_owned()));
        assert_eq!(
            kind("set local Work_Mem = '4MB'"),
            Statement::Set { name: "work_mem".to_owned(), value: Some(vec!["4MB".to_owned()]), local: true }
        );
        assert_eq!(
            kind("set search_path to a, \"B\""),
            Statement::Set { name: "search_path".to_owned(), value: Some(vec!["a".to_owned(), "B".to_owned()]), local: false }
        );
        assert_eq!(
            kind("set time zone 'UTC'"),
            Statement::Set { name: "timezone".to_owned(), value: Some(vec!["UTC".to_owned()]), local: false }
        );
        assert_eq!(
            kind("set time zone interval '-08:00' hour to minute"),
            Statement::Set { name: "timezone".to_owned(), value: Some(vec!["INTERVAL '-08:00' HOUR TO MINUTE".to_owned()]), local: false }
        );
        assert_eq!(kind("set x.y to default"), Statement::Set { name: "x.y".to_owned(), value: None, local: false });
        assert_eq!(kind("show all"), Statement::ShowAll);
        assert_eq!(kind("show transaction isolation level"), Statement::Show("transaction_isolation".to_owned()));
        assert_eq!(kind("reset all"), Statement::ResetAll);
        assert_eq!(kind("discard all"), Statement::DiscardAll);
        assert_eq!(
            kind("set session characteristics as transaction read only"),
            Statement::SetSessionCharacteristics(TransactionModes { read_only: Some(true), ..TransactionModes::default() })
        );
    }
}
