//! Proposals that nobody decided on in time.

use std::time::Duration;

use tokio::time;

use crate::store::Store;

/// How often they are looked for. A proposal past its time is expired for whoever reads it before that.
const EVERY: Duration = Duration::from_secs(30);

/// Moves them, again and again.
pub(super) async fn expire(store: Store) {
    let mut every = time::interval(EVERY);
    every.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match store.expire(jiff::Timestamp::now().as_millisecond()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "proposals expired"),
            Err(error) => tracing::warn!(%error, "proposals could not be expired"),
        }
    }
}
