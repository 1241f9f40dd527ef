//! Looks at every source from time to time: whether it answers, and whether its catalog is the one that the policy was compiled from.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time};

use super::{drift, lane::Shared};
use crate::{
    control::{Recorder, SourceState},
    source::{self, SourceAddress},
};

/// How often a source is looked at: while it answers, and while it does not.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3));

/// How soon a source is looked at after an error that a changed catalog would explain. Clients cause such errors as they like.
const SOON: Duration = Duration::from_secs(1);

/// Looks until the process ends. Logs only what is news; says when a catalog is another one.
pub(super) async fn monitor(shared: Shared, recorder: Recorder, changed: Arc<Notify>) {
    let Shared { policy, status, surprise, .. } = shared;
    let mut interval = INTERVAL.0;
    loop {
        tokio::select! {
            () = time::sleep(interval) => {}
            () = surprise.notified() => time::sleep(SOON).await,
        }
        recorder.upkeep();
        interval = INTERVAL.0;
        let in_force = policy.load_full();
        for (name, source) in &in_force.sources {
            let answer = source::look(&SourceAddress::from(source.as_ref())).await;
            let state = if answer.is_ok() { SourceState::Reachable } else { SourceState::Unreachable };
            metrics::gauge!("pgwicket_source_reachable", "source" => name.to_string()).set(f64::from(u8::from(answer.is_ok())));
            let news = status.source(name, state);
            match answer {
                Ok(look) => {
                    if news {
                        tracing::info!(source = %name, "source answers again");
                    }
                    let filtered = drift::aliases(&in_force, name, &look.filtered);
                    if status.filtered(name, filtered.clone()) && !filtered.is_empty() {
                        tracing::warn!(source = %name, "row-level security of the source filters {}", filtered.join(", "));
                    }
                    if status.is_other_catalog(name, &look.digest) {
                        tracing::info!(source = %name, "the source's catalog has changed: it is read again");
                        changed.notify_one();
                    }
                }
                Err(error) => {
                    interval = INTERVAL.1;
                    if news {
                        tracing::warn!(source = %name, %error, "source does not answer");
                    }
                }
            }
        }
    }
}
