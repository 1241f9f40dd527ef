//! A statement that shall end: the source is asked until it does.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::SessionError;

/// How long the source has to end a statement before it is asked once more. A server forgets a request that comes before the
/// statement which it is for (`ProcessInterrupts`, PostgreSQL's `postgres.c`: an idle backend ignores it).
const PATIENCE: Duration = Duration::from_millis(250);

/// How often it is asked. A source that has said nothing after that many does not read or write any more: its connection is given up.
const ASKED: u32 = 40;

/// Why the statement in hand shall end, if it shall.
#[derive(Debug, Default)]
pub(super) struct Interruption(Option<(SessionError, Asked)>);

/// How often the source was asked, and when it is asked next.
#[derive(Debug)]
struct Asked {
    times: u32,
    next: Instant,
}

/// What there is to do about a source that is still at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insist {
    /// It is asked once more.
    Ask,
    /// Its connection is given up.
    GiveUp,
}

impl Interruption {
    /// The source is asked now. The first reason is the one that is told, and who asks again and again does not put off the end.
    pub(super) fn begin(&mut self, reason: SessionError) {
        if self.0.is_none() {
            self.0 = Some((reason, Asked { times: 1, next: Instant::now() + PATIENCE }));
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// The reason, when the statement has ended.
    pub(super) fn take(&mut self) -> Option<SessionError> {
        self.0.take().map(|(reason, _)| reason)
    }

    /// Waits until the source is to be asked once more, or given up; without end when nothing shall end. Cancel safe.
    pub(super) async fn again(&mut self) -> Insist {
        let Some((_, asked)) = &mut self.0 else { return std::future::pending().await };
        sleep_until(asked.next).await;
        if asked.times >= ASKED {
            return Insist::GiveUp;
        }
        *asked = Asked { times: asked.times + 1, next: Instant::now() + PATIENCE };
        Insist::Ask
    }
}
