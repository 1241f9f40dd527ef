//! One claimed proposal, from the permit to the report.

use std::{collections::HashMap, time::Duration};

use tokio::time::{self, Instant, MissedTickBehavior};

use super::{Workshop, WriteSource, backoff, clock, report, run::Stop};
use crate::{
    policy::{ApprovedChange, NotPermitted, PolicySet},
    proposal::Outcome,
    source::{Applier, ApplyOptions, Ending, Failure, SourceAddress, SourceError, Undecided},
    store::{Claim, Holder, Report, StoreError},
    types::SourceName,
};

/// The connections of one slot: one a source, opened when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Appliers(HashMap<SourceName, Applier>);

/// What became of a claim.
#[derive(Debug)]
pub(super) enum Handled {
    /// It was reported.
    Reported,
    /// It was given back: the source answered, and could not do it now.
    Released,
    /// It was given back: the source does not answer.
    Away,
    /// Somebody else has it.
    Lost,
}

/// What is to be told to the store.
enum Verdict {
    Report(Box<Report>),
    Release(Undecided),
}

impl Workshop {
    /// What applies changes to a source; it connects when it is first needed.
    ///
    /// # Errors
    /// [`SourceError::Configuration`] for a URL or roots that cannot be used.
    pub fn applier(&self, source: &WriteSource) -> Result<Applier, SourceError> {
        let options = ApplyOptions {
            receipts_schema: self.options.receipts_schema.clone(),
            worker: self.options.name.clone(),
            // A statement may wait for a lock and then run; several may follow each other. Longer than this is a network that is gone.
            limit: source.statement_timeout.saturating_mul(4).saturating_add(Duration::from_secs(10)),
        };
        Applier::new(&SourceAddress::from(source), options)
    }

    /// Applies a claimed proposal and tells the store.
    pub(super) async fn handle(&self, claim: &Claim, appliers: &mut Appliers, stop: Stop) -> Handled {
        let began = Instant::now();
        let source = claim.record.content.proposal().target.source.clone();
        let policy = self.policy.load_full();
        let verdict = tokio::select! {
            verdict = self.decide(claim, &policy, appliers) => verdict,
            () = self.hold(claim) => {
                // The connection may be in the middle of a transaction; whoever has the lease now finds out how it ends.
                appliers.0.remove(&source);
                tracing::warn!(proposal = %claim.record.id(), "the lease was lost; another worker goes on");
                return Handled::Lost;
            }
        };
        match verdict {
            Verdict::Report(report) => self.tell(claim, &report, began.elapsed(), stop).await,
            Verdict::Release(why) => self.release(claim, &why).await,
        }
    }

    /// Extends the lease for as long as it is ours; ends when it is not.
    async fn hold(&self, claim: &Claim) {
        let mut beat = time::interval(self.options.lease / 3);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            beat.tick().await;
            match self.store.extend(claim, self.options.lease, clock::now()).await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => tracing::warn!(%error, proposal = %claim.record.id(), "the lease was not extended"),
                Err(_) => return,
            }
        }
    }

    async fn decide(&self, claim: &Claim, policy: &PolicySet, appliers: &mut Appliers) -> Verdict {
        let record = &claim.record;
        let source = &record.content.proposal().target.source;
        let applier = match appliers.of(source, self) {
            Ok(applier) => applier,
            Err(error) => return Verdict::Release(error.into()),
        };
        let change = match policy.permit(record.content.clone(), &record.approvals, &policy.occasion(self.store.id(), clock::now())) {
            Ok(change) => change,
            Err(why) => return self.not_permitted(claim, &why, applier).await,
        };
        let outcome = match applier.apply(&change).await {
            Err(busy) if busy.source_answered() && record.attempts + 1 >= self.options.attempts => {
                let failure = Failure::given_up(record.attempts + 1, &busy);
                applier.give_up(&change, failure).await
            }
            other => other,
        };
        match outcome {
            Ok(ending) => self.report(&change, &ending, applier).await,
            Err(why) => Verdict::Release(why),
        }
    }

    async fn report(&self, change: &ApprovedChange, ending: &Ending, applier: &mut Applier) -> Verdict {
        // The session stands, so this is a look at what it found when it was opened.
        let receipt = applier.has_receipts().await.unwrap_or(false);
        Verdict::Report(Box::new(report::ended(&self.options.name, change, ending, receipt)))
    }

    /// A proposal that must not be applied has failed, unless an earlier attempt, which was permitted, has applied it.
    async fn not_permitted(&self, claim: &Claim, why: &NotPermitted, applier: &mut Applier) -> Verdict {
        let content = &claim.record.content;
        let proposal = content.proposal();
        let mut refusal = report::refused(&self.options.name, proposal, why);
        if claim.record.attempts > 0 {
            match applier.receipt(proposal.id, content.digest()).await {
                Ok(Some(Ending::Applied { rows, .. })) => {
                    refusal.outcome = Outcome::Applied;
                    refusal.affected_rows = Some(rows);
                    refusal.error = None;
                }
                Ok(_) => {}
                Err(undecided) => return Verdict::Release(undecided),
            }
        }
        tracing::warn!(proposal = %proposal.id, source = %proposal.target.source, "{why}");
        Verdict::Report(Box::new(refusal))
    }

    /// Reports until the store knows, or until it is time to stop: then once more.
    async fn tell(&self, claim: &Claim, report: &Report, took: Duration, mut stop: Stop) -> Handled {
        let proposal = claim.record.content.proposal();
        let (id, source) = (proposal.id, &proposal.target.source);
        let mut stopping = *stop.borrow();
        for failures in 0.. {
            match self.store.report(id, Holder::Token(claim.token), report, clock::now()).await {
                Ok(_) => break,
                Err(error) if error.is_retryable() && stopping => {
                    tracing::warn!(%error, proposal = %id, "the outcome could not be reported; the next worker finds the receipt");
                    return Handled::Lost;
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, proposal = %id, "the outcome could not be reported; it is tried again");
                    tokio::select! {
                        () = time::sleep(backoff::wait((Duration::from_millis(50), Duration::from_secs(5)), failures)) => {}
                        _ = stop.wait_for(|stop| *stop) => stopping = true,
                    }
                }
                Err(StoreError::LeaseLost(_)) => {
                    tracing::warn!(proposal = %id, "the lease was lost before the report; whoever has it finds the receipt");
                    return Handled::Lost;
                }
                Err(error) => {
                    tracing::error!(%error, proposal = %id, "the store did not take the report");
                    return Handled::Lost;
                }
            }
        }
        let outcome = report.outcome.status().word();
        let (attempts, milliseconds) = (claim.record.attempts + 1, took.as_millis());
        match report.outcome {
            Outcome::Applied => tracing::info!(proposal = %id, %source, attempts, milliseconds, rows = report.affected_rows, "applied"),
            Outcome::Conflict | Outcome::Failed => {
                let reason = report.error.as_deref().unwrap_or_default();
                tracing::warn!(proposal = %id, %source, attempts, milliseconds, reason, "{outcome}");
            }
        }
        Handled::Reported
    }

    async fn release(&self, claim: &Claim, why: &Undecided) -> Handled {
        let wait = backoff::wait(self.options.retry, claim.record.attempts);
        let now = clock::now();
        let retry_at = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let proposal = claim.record.content.proposal();
        tracing::warn!(proposal = %proposal.id, source = %proposal.target.source, attempts = claim.record.attempts + 1, "not decided yet: {why}");
        if let Err(error) = self.store.release(claim, &told(why), retry_at, now).await {
            // Then its lease runs out.
            tracing::warn!(%error, proposal = %proposal.id, "a proposal could not be given back");
        }
        if why.source_answered() { Handled::Released } else { Handled::Away }
    }
}

/// What a proposer may read of it: the source's own words stay in the log.
fn told(why: &Undecided) -> String {
    match why {
        Undecided::Busy { sqlstate, .. } => format!("the source could not do it now (SQLSTATE {sqlstate})"),
        Undecided::Source(_) => "the source was not reached".to_owned(),
        Undecided::Lost | Undecided::Timeout(_) | Undecided::ReceiptVanished => why.to_string(),
        Undecided::NoReceiptTable => "the source has no receipt table yet".to_owned(),
    }
}

impl Appliers {
    pub(super) fn of(&mut self, source: &SourceName, workshop: &Workshop) -> Result<&mut Applier, SourceError> {
        if !self.0.contains_key(source) {
            let known = workshop.sources.iter().find(|known| known.name == *source);
            let known = known.ok_or_else(|| SourceError::Configuration("this worker has no write credential for it".into()))?;
            self.0.insert(source.clone(), workshop.applier(known)?);
        }
        self.0.get_mut(source).ok_or(SourceError::Draining)
    }
}
