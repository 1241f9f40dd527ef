//! Tells sources of proposals that were canceled after they were approved. Whoever can write to the store can call such a
//! proposal approved again; a receipt in the source is out of that one's reach.

use std::time::Duration;

use tokio::time;

use super::{Workshop, backoff, clock, handle::Appliers};

/// How often it looks, at most.
const OFTEN: Duration = Duration::from_secs(1);

impl Workshop {
    /// Looks without end.
    pub(super) async fn seal_canceled(&self) {
        let mut appliers = Appliers::default();
        loop {
            self.seal_batch(&mut appliers).await;
            time::sleep(backoff::near(self.options.poll.max(OFTEN))).await;
        }
    }

    async fn seal_batch(&self, appliers: &mut Appliers) {
        let sources: Vec<_> = self.sources.iter().map(|source| source.name.clone()).collect();
        let canceled = match self.store.unsealed(&sources).await {
            Ok(canceled) => canceled,
            Err(error) => return tracing::warn!(%error, "the store did not say what was canceled"),
        };
        for record in canceled {
            let (id, source) = (record.id(), &record.content.proposal().target.source);
            let sealed = match appliers.of(source, self) {
                Ok(applier) => applier.seal(&record.content).await,
                Err(error) => Err(error.into()),
            };
            match sealed {
                Ok(true) => match self.store.sealed(id, clock::now()).await {
                    Ok(()) => tracing::info!(proposal = %id, %source, "the source knows that it was canceled"),
                    Err(error) => tracing::warn!(%error, proposal = %id, "the store did not take that the source knows of a cancel"),
                },
                // Without a table nothing is applied, or the policy does without receipts.
                Ok(false) => {}
                Err(error) => return tracing::warn!(proposal = %id, %source, "the source does not know of a cancel yet: {error}"),
            }
        }
    }
}
