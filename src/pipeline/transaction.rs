//! The transaction as the client sees it. The source's own follows it lazily: its BEGIN is sent with the
//! first statement, and a refusal here fails this one while the source's would still be fine.

use std::time::Duration;

use crate::{
    error::TransactionError,
    sql::{Isolation, TransactionModes},
    types::SourceName,
};

/// What ReadyForQuery tells the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Outside a block.
    Idle,
    /// In a block.
    Open,
    /// In a block that failed.
    Failed,
}

impl Status {
    /// The byte in ReadyForQuery.
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }
}

/// How far the source followed the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Upstream {
    /// No statement has needed it yet.
    NotBegun,
    /// BEGIN was sent to this source.
    Begun(SourceName),
    /// The connection that held it is gone; only ROLLBACK helps.
    Lost,
}

/// A transaction block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Modes of BEGIN and SET TRANSACTION, defaults filled in.
    pub(super) modes: TransactionModes,
    /// What `default_transaction_read_only` was when it began.
    pub(super) read_only: bool,
    /// How far the source followed.
    pub(super) upstream: Upstream,
    /// Whether it failed.
    pub(super) failed: bool,
    /// It was open for longer than this, and is not at the source any more.
    expired: Option<Duration>,
    /// No BEGIN started it: it is around the statements of one message.
    implicit: bool,
    savepoints: Vec<Savepoint>,
    numbers: u32,
}

#[derive(Debug, Clone)]
struct Savepoint {
    name: Box<str>,
    number: u32,
}

/// The client's transaction, or none.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    block: Option<Block>,
}

/// Savepoints of one block at most.
const SAVEPOINTS: usize = 1024;

impl Transaction {
    /// For ReadyForQuery.
    pub(super) fn status(&self) -> Status {
        match &self.block {
            None => Status::Idle,
            Some(block) if block.failed => Status::Failed,
            Some(_) => Status::Open,
        }
    }

    /// The block, if there is one.
    pub(super) fn block(&self) -> Option<&Block> {
        self.block.as_ref()
    }

    /// The block, to note what the source did.
    pub(super) fn block_mut(&mut self) -> Option<&mut Block> {
        self.block.as_mut()
    }

    /// BEGIN outside a block.
    pub(super) fn begin(&mut self, modes: TransactionModes, read_only: bool) {
        let (savepoints, numbers) = (Vec::new(), 0);
        self.block = Some(Block {
            modes,
            read_only,
            upstream: Upstream::NotBegun,
            failed: false,
            expired: None,
            implicit: false,
            savepoints,
            numbers,
        });
    }

    /// The block is around the statements of one message, which end it.
    pub(super) fn set_implicit(&mut self, implicit: bool) {
        if let Some(block) = &mut self.block {
            block.implicit = implicit;
        }
    }

    /// Whether BEGIN started a block.
    pub(super) fn is_explicit(&self) -> bool {
        self.block.as_ref().is_some_and(|block| !block.implicit)
    }

    /// Whether the block is around the statements of one message.
    pub(super) fn is_implicit(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.implicit)
    }

    /// The block is over; answers it, so that the caller can end the source's.
    pub(super) fn end(&mut self) -> Option<Block> {
        self.block.take()
    }

    /// A statement failed or was refused.
    pub(super) fn fail(&mut self) {
        if let Some(block) = &mut self.block {
            block.failed = true;
        }
    }

    /// Refuses what a failed block refuses.
    pub(super) fn check(&self) -> Result<(), TransactionError> {
        match &self.block {
            Some(block) if block.failed => Err(block.expired.map_or(TransactionError::Failed, TransactionError::TooOld)),
            Some(_) | None => Ok(()),
        }
    }

    /// SET TRANSACTION in a block; BEGIN in a block changes modes the same way.
    pub(super) fn set_modes(&mut self, modes: TransactionModes) -> Result<(), TransactionError> {
        let Some(block) = &mut self.block else { return Ok(()) };
        if modes.read_only == Some(false) && block.modes.read_only == Some(true) {
            if !block.savepoints.is_empty() {
                return Err(TransactionError::ReadOnlyOutside);
            }
            if block.upstream != Upstream::NotBegun {
                return Err(TransactionError::ReadWriteTooLate);
            }
        }
        block.modes.read_only = modes.read_only.or(block.modes.read_only);
        if block.upstream != Upstream::NotBegun {
            let changes = modes.isolation.is_some_and(|isolation| block.modes.isolation != Some(isolation));
            return if changes || modes.deferrable.is_some() { Err(TransactionError::TooLate) } else { Ok(()) };
        }
        block.modes.isolation = modes.isolation.or(block.modes.isolation);
        block.modes.deferrable = modes.deferrable.or(block.modes.deferrable);
        Ok(())
    }

    /// SAVEPOINT: its number for the source.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<u32, TransactionError> {
        self.check()?;
        let block = self.explicit("SAVEPOINT")?;
        if block.savepoints.len() >= SAVEPOINTS {
            return Err(TransactionError::TooManySavepoints);
        }
        block.numbers = block.numbers.wrapping_add(1);
        block.savepoints.push(Savepoint { name: name.into(), number: block.numbers });
        Ok(block.numbers)
    }

    /// RELEASE: the savepoint's depth and number. It and those after it are gone.
    pub(super) fn release(&mut self, name: &str) -> Result<(usize, u32), TransactionError> {
        self.check()?;
        let block = self.explicit("RELEASE SAVEPOINT")?;
        let (depth, number) = block.find(name)?;
        block.savepoints.truncate(depth);
        Ok((depth, number))
    }

    /// ROLLBACK TO: the savepoint's depth and number. It stays, those after it are gone, and a failed block is whole again.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<(usize, u32), TransactionError> {
        let block = self.explicit("ROLLBACK TO SAVEPOINT")?;
        if block.upstream == Upstream::Lost {
            return Err(block.expired.map_or(TransactionError::Failed, TransactionError::TooOld));
        }
        let (depth, number) = block.find(name)?;
        block.savepoints.truncate(depth + 1);
        block.failed = false;
        Ok((depth, number))
    }

    fn explicit(&mut self, command: &'static str) -> Result<&mut Block, TransactionError> {
        self.block.as_mut().filter(|block| !block.implicit).ok_or(TransactionError::NoBlock(command))
    }
}

impl Block {
    /// The numbers of its savepoints, oldest first.
    pub(super) fn savepoints(&self) -> impl Iterator<Item = u32> {
        self.savepoints.iter().map(|savepoint| savepoint.number)
    }

    /// The connection that held it is gone.
    pub(super) fn lose(&mut self) {
        if matches!(self.upstream, Upstream::Begun(_)) {
            self.upstream = Upstream::Lost;
            self.failed = true;
        }
    }

    /// It was open at the source for longer than allowed, and was ended there.
    pub(super) fn expire(&mut self, bound: Duration) {
        self.lose();
        self.expired = Some(bound);
    }

    fn find(&self, name: &str) -> Result<(usize, u32), TransactionError> {
        let depth = self.savepoints.iter().rposition(|savepoint| *savepoint.name == *name);
        let found = depth.and_then(|depth| self.savepoints.get(depth).map(|savepoint| (depth, savepoint.number)));
        found.ok_or_else(|| TransactionError::NoSavepoint(name.into()))
    }
}

/// The name of an isolation level as SHOW prints it.
pub(super) fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadUncommitted => "read uncommitted",
        Isolation::ReadCommitted => "read committed",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::Serializable => "serializable",
    }
}

/// The isolation level that SHOW prints so.
pub(super) fn isolation_named(name: &str) -> Option<Isolation> {
    [Isolation::ReadUncommitted, Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable]
        .into_iter()
        .find(|isolation| isolation_name(*isolation) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savepoints_nest_by_name_and_shadow_each_other() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.savepoint("a"), Err(TransactionError::NoBlock("SAVEPOINT")));
        transaction.begin(TransactionModes::default(), true);
        assert_eq!(transaction.savepoint("a"), Ok(1));
        assert_eq!(transaction.savepoint("b"), Ok(2));
        assert_eq!(transaction.savepoint("a"), Ok(3));
        assert_eq!(transaction.rollback_to("a"), Ok((2, 3)));
        assert_eq!(transaction.release("a"), Ok((2, 3)));
        assert_eq!(transaction.rollback_to("a"), Ok((0, 1)));
        assert_eq!(transaction.release("b"), Err(TransactionError::NoSavepoint("b".into())));
    }

    #[test]
    fn a_failed_block_takes_nothing_but_its_end_or_a_rollback_to() {
        let mut transaction = Transaction::default();
        transaction.begin(TransactionModes::default(), true);
        transaction.savepoint("a").unwrap();
        transaction.fail();
        assert_eq!(transaction.status().byte(), b'E');
        assert_eq!(transaction.savepoint("b"), Err(TransactionError::Failed));
        assert_eq!(transaction.rollback_to("a"), Ok((0, 1)));
        assert_eq!(transaction.status(), Status::Open);
        transaction.fail();
        assert!(transaction.end().is_some());
        assert_eq!(transaction.status(), Status::Idle);
    }

    #[test]
    fn a_block_keeps_its_modes_and_its_isolation_after_the_first_statement() {
        let mut transaction = Transaction::default();
        let write = TransactionModes { read_only: Some(false), ..TransactionModes::default() };
        transaction.begin(write, true);
        assert_eq!(transaction.block().unwrap().modes.read_only, Some(false));
        transaction.begin(TransactionModes::default(), true);
        let serializable = TransactionModes { isolation: Some(Isolation::Serializable), ..TransactionModes::default() };
        transaction.set_modes(serializable).unwrap();
        transaction.block_mut().unwrap().upstream = Upstream::Begun("s".parse().unwrap());
        assert_eq!(transaction.set_modes(serializable), Ok(()));
        let other = TransactionModes { isolation: Some(Isolation::ReadCommitted), ..TransactionModes::default() };
        assert_eq!(transaction.set_modes(other), Err(TransactionError::TooLate));
        assert_eq!(transaction.set_modes(write), Ok(()));
        let read = TransactionModes { read_only: Some(true), ..TransactionModes::default() };
        assert_eq!(transaction.set_modes(read), Ok(()));
        assert_eq!(transaction.set_modes(write), Err(TransactionError::ReadWriteTooLate));
        transaction.savepoint("a").unwrap();
        assert_eq!(transaction.set_modes(write), Err(TransactionError::ReadOnlyOutside));
    }
}
