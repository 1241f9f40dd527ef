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
    /// `BEGIN`, always READ ONLY.
    Begin {
        /// `ISOLATION LEVEL`; the server's default when not given.
        isolation: Option<Isolation>,
        /// `[NOT] DEFERRABLE`
        deferrable: Option<bool>,
    },
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
            Self::Begin { isolation, deferrable } => {
                let mut text = String::from("BEGIN");
                match isolation {
                    None => {}
                    Some(Isolation::ReadUncommitted) => text.push_str(" ISOLATION LEVEL READ UNCOMMITTED,"),
                    Some(Isolation::ReadCommitted) => text.push_str(" ISOLATION LEVEL READ COMMITTED,"),
                    Some(Isolation::RepeatableRead) => text.push_str(" ISOLATION LEVEL REPEATABLE READ,"),
                    Some(Isolation::Serializable) => text.push_str(" ISOLATION LEVEL SERIALIZABLE,"),
                }
                text.push_str(" READ ONLY");
                match deferrable {
                    None => {}
                    Some(true) => text.push_str(", DEFERRABLE"),
                    Some(false) => text.push_str(", NOT DEFERRABLE"),
                }
                text
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
        let begin = |isolation, deferrable| TransactionCommand::Begin { isolation, deferrable }.text();
        assert_eq!(begin(None, None), "BEGIN READ ONLY");
        assert_eq!(begin(Some(Isolation::Serializable), Some(true)), "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE");
        assert_eq!(TransactionCommand::RollbackTo(7).text(), "ROLLBACK TO s7");
    }
}
