//! How sessions hear that the server is going away.

use tokio::sync::watch;

/// What the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Serving.
    Serving,
    /// No new connections. A session that is idle outside a transaction ends now with 57P01; the others
    /// finish their statement or transaction first.
    Draining,
    /// The drain timeout is over: every session ends now with 57P01, whatever it does.
    Closing,
}

/// A session's view of [`Drain`].
#[derive(Debug, Clone)]
pub struct DrainWatch(watch::Receiver<Drain>);

impl DrainWatch {
    /// A sender for the server, and a watch to clone for each session.
    pub fn channel() -> (watch::Sender<Drain>, Self) {
        let (sender, receiver) = watch::channel(Drain::Serving);
        (sender, Self(receiver))
    }

    /// What the server is doing now.
    pub fn now(&self) -> Drain {
        *self.0.borrow()
    }

    /// Waits until the server does at least `stage`. Cancel safe. A server that is gone is closing.
    pub async fn reached(&mut self, stage: Drain) {
        // An error means that the sender is gone with the server.
        drop(self.0.wait_for(|now| *now >= stage).await);
    }
}
