//! A statement that shall end: the source is asked until it does.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::SessionError;

/// How long the source has to end a statement before it is asked once more. A server forgets a request that comes before the
/// statement which it is for (`ProcessInterrupts`, PostgreSQL's `postgres.c`: an idle backend ignores it).
const PATIENCE: Duration = Duration::from_millis(250);

/// Why the statement in hand shall end, if it shall.
#[derive(Debug, Default)]
pub(super) struct Interruption(Option<(SessionError, Instant)>);

impl Interruption {
    /// The source is asked now.
    pub(super) fn begin(&mut self, reason: SessionError) {
        self.0 = Some((reason, Instant::now() + PATIENCE));
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// The reason, when the statement has ended.
    pub(super) fn take(&mut self) -> Option<SessionError> {
        self.0.take().map(|(reason, _)| reason)
    }

    /// Waits until the source is to be asked once more; without end when nothing shall end. Cancel safe.
    pub(super) async fn again(&mut self) {
        let Some((_, at)) = &mut self.0 else { return std::future::pending().await };
        sleep_until(*at).await;
        *at = Instant::now() + PATIENCE;
    }
}
