//! Several statements in one Query message: parsed whole first, then each goes its own way, in one implicit transaction.

use std::ops::Range;

use super::{
    session::{Ended, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::Error,
    source::TransactionCommand,
    sql::{self, TransactionModes},
};

impl<I: Interrupts> Session<I> {
    /// Where the statements stand, when there are several.
    pub(super) fn several(&self, text: &str) -> Result<Option<Vec<Range<usize>>>, Error> {
        let most = text.trim_end_matches(|character: char| character == ';' || character.is_whitespace());
        // A text that is held was found to be one statement.
        if !most.contains(';') || self.lane.plans().find(self.derived.scope, text, &[]).is_some() {
            return Ok(None);
        }
        let statements = sql::statements(text).map_err(Error::Parse)?;
        Ok((statements.len() > 1).then_some(statements))
    }

    /// Runs statements one after the other up to the first that fails. Those outside a block of the client's own are one
    /// transaction, which a failure takes back; a BEGIN among them makes it the client's, from its start.
    pub(super) async fn run_several(&mut self, text: &str, statements: &[Range<usize>]) -> Result<(), Ended> {
        let mut before = 0;
        for statement in statements {
            if self.transaction.block().is_none() {
                self.start_block(TransactionModes::default());
                self.transaction.set_implicit(true);
            }
            self.characters_before += text.get(before..statement.start).map_or(0, |between| between.chars().count());
            before = statement.start;
            let ran = self.run_or_refuse(text.get(statement.clone()).unwrap_or_default()).await;
            if self.skipping || ran.is_err() {
                self.characters_before = 0;
                ran?;
                self.was_not_run(Some(text)).await?;
                break;
            }
        }
        self.characters_before = 0;
        self.end_implicit_block().await
    }

    /// The message is over, and the transaction around its statements with it.
    async fn end_implicit_block(&mut self) -> Result<(), Ended> {
        if !self.transaction.is_implicit() {
            return Ok(());
        }
        self.sync_upstream().await?;
        let failed = self.skipping;
        let command = if failed { TransactionCommand::Rollback } else { TransactionCommand::Commit };
        match self.end_block(command, !failed, false).await {
            Ok(()) | Err(Failure::PassedOver) => Ok(()),
            Err(failure) => self.refuse(failure, None).await,
        }
    }
}
