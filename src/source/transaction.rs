//! Transaction control as the pipeline asks for it, and the status the source reports.

use crate::{govern::cursor_name, sql::Isolation};

/// What ReadyForQuery says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block.
    Failed,
}

impl TransactionStatus {
    /// From the byte of ReadyForQuery.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte of ReadyForQuery.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// Transaction control. It carries no text of a client: savepoints are numbers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionCommand {
    /// `BEGIN`, always READ ONLY, at this `ISOLATION LEVEL` or at the server's default. SERIALIZABLE becomes REPEATABLE READ: a
    /// serializable reader takes part in the conflicts of others, so their commits fail for it, and it learns of their rows.
    /// Without that level, DEFERRABLE means nothing.
    Begin(Option<Isolation>),
    /// `COMMIT`
    Commit,
    /// `ROLLBACK`
    Rollback,
    /// `SAVEPOINT s<n>`
    Savepoint(u32),
    /// `RELEASE s<n>`
    Release(u32),
    /// `ROLLBACK TO s<n>`
    RollbackTo(u32),
    /// `CLOSE` of a cursor.
    Close(u32),
}

impl TransactionCommand {
    /// The command as SQL.
    pub(super) fn text(self) -> String {
        match self {
            Self::Begin(isolation) => {
                let level = match isolation {
                    None => "",
                    Some(Isolation::ReadUncommitted) => " ISOLATION LEVEL READ UNCOMMITTED,",
                    Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED,",
                    Some(Isolation::RepeatableRead | Isolation::Serializable) => " ISOLATION LEVEL REPEATABLE READ,",
                };
                format!("BEGIN{level} READ ONLY")
            }
            Self::Commit => "COMMIT".into(),
            Self::Rollback => "ROLLBACK".into(),
            Self::Savepoint(n) => format!("SAVEPOINT s{n}"),
            Self::Release(n) => format!("RELEASE s{n}"),
            Self::RollbackTo(n) => format!("ROLLBACK TO s{n}"),
            Self::Close(n) => format!("CLOSE {}", cursor_name(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transaction_is_read_only() {
        let begin = |isolation| TransactionCommand::Begin(isolation).text();
        assert_eq!(begin(None), "BEGIN READ ONLY");
        assert_eq!(begin(Some(Isolation::ReadCommitted)), "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY");
        assert_eq!(begin(Some(Isolation::Serializable)), "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
        assert_eq!(TransactionCommand::RollbackTo(7).text(), "ROLLBACK TO s7");
    }
}
