//! Asks every source from time to time whether it answers.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time;

use crate::{
    control::{Recorder, SourceState, Status},
    policy::PolicySet,
    source::{self, SourceAddress},
};

/// How often a source is asked: while it answers, and while it does not.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(3));

/// Asks until the process ends. Logs only what is news.
pub(super) async fn monitor(policy: Arc<ArcSwap<PolicySet>>, status: Arc<Status>, recorder: Recorder) {
    let mut interval = INTERVAL.0;
    loop {
        time::sleep(interval).await;
        recorder.upkeep();
        interval = INTERVAL.0;
        let in_force = policy.load_full();
        for (name, source) in &in_force.sources {
            let answer = source::probe(&SourceAddress::from(source.as_ref())).await;
            let state = if answer.is_ok() { SourceState::Reachable } else { SourceState::Unreachable };
            metrics::gauge!("pgwicket_source_reachable", "source" => name.to_string()).set(f64::from(u8::from(answer.is_ok())));
            let news = status.source(name, state);
            match answer {
                Ok(()) if news => tracing::info!(source = %name, "source answers again"),
                Ok(()) => {}
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
