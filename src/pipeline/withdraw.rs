//! DELETE on `pgwicket.proposals`: an agent takes its own proposals back.

use std::rc::Rc;

use super::{
    draft::Bound,
    plan::Plan,
    reply,
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, WriteError},
    govern::DraftRow,
    journal::Status,
    source::SourceError,
    store::{Acting, StoreError},
    types::ProposalId,
};

/// Rows that the read may give: a join may name a proposal more than once.
const MOST: u64 = 10_000;

impl<I: Interrupts> Session<I> {
    /// All that the read names are canceled, or none. It holds at once: a block that is rolled back does not bring them back,
    /// as it does not take back what was proposed in it.
    pub(super) async fn withdraw(&mut self, plan: &Rc<Plan>, bound: &Bound) -> Result<(), Failure> {
        let (open, rows) = self.read_write(plan, bound, MOST, || WriteError::TooMany).await?;
        let canceled = match named(&rows) {
            Ok(ids) if ids.is_empty() => Ok(0),
            Ok(ids) => {
                let store = self.lane.store().clone();
                let now = jiff::Timestamp::now().as_millisecond();
                let acting = Acting(self.who.principal.tenant.clone());
                store.cancel(&ids, &self.who.principal.agent, &acting, now).await.map_err(|error| refused(&error).into())
            }
            Err(error) => Err(error),
        };
        match canceled {
            Ok(count) => {
                self.outcome(open, Status::Completed).await?;
                tracing::info!(agent = %self.who.principal.agent, count, "proposals taken back");
                reply::command_complete(self.client.outgoing(), &format!("DELETE {count}"));
                Ok(())
            }
            Err(error) => {
                let report = error.report();
                self.outcome(open, Status::Failed { sqlstate: &report.sqlstate, message: &report.message }).await?;
                Err(error.into())
            }
        }
    }
}

fn named(rows: &[DraftRow]) -> Result<Vec<ProposalId>, Error> {
    let id = |row: &DraftRow| row.first().and_then(Option::as_deref).and_then(|id| id.parse().ok());
    rows.iter().map(|row| id(row).ok_or_else(|| SourceError::Protocol("a proposal without an id").into())).collect()
}

/// What is not the store's trouble is the proposal's, and said as it is.
fn refused(error: &StoreError) -> WriteError {
    if matches!(error, StoreError::Move { .. } | StoreError::Begun(_)) {
        return WriteError::NotCanceled(error.to_string().into());
    }
    tracing::error!(%error, "proposals were not taken back");
    WriteError::Unstored
}
