//! What a client has said since a Bind that the source may refuse because its schema has changed under a statement that a
//! connection had prepared. PostgreSQL would not refuse it, where the client's own Parse came after the change: so it is said again.

use super::{
    prepared::PortalNumber,
    session::{Ended, Interrupts, Session},
};

/// Bytes of messages that are kept at most; past them, the client is told of the change.
const KEPT: usize = 64 << 10;

/// The messages since the first Bind of the batch that may be refused so.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    messages: Vec<u8>,
    /// Where the Binds stand in them.
    binds: Vec<(PortalNumber, usize)>,
    /// From where on they are to be said again.
    due: Option<usize>,
    /// They are being said again: every statement is prepared anew, so that this is once.
    again: bool,
}

impl Repeat {
    /// The source may refuse this Bind: the message at hand, and those after it up to the Sync, are kept.
    pub(super) fn keep_from(&mut self, portal: PortalNumber) {
        if !self.again {
            self.binds.push((portal, self.messages.len()));
        }
    }

    /// Whether messages are being said again.
    pub(super) fn is_again(&self) -> bool {
        self.again
    }

    /// The source has refused the Bind of this portal. `true`: it will be said again.
    pub(super) fn begin(&mut self, portal: Option<PortalNumber>) -> bool {
        let place = self.binds.iter().find(|(bind, _)| Some(*bind) == portal).map(|(_, place)| *place);
        self.due = self.due.or(place);
        place.is_some()
    }

    /// The batch is over. The buffer stays.
    pub(super) fn end(&mut self) {
        self.messages.clear();
        self.binds.clear();
        self.due = None;
        self.again = false;
    }
}

impl<I: Interrupts> Session<I> {
    /// Keeps a message that was taken, if it may have to be said again.
    pub fn keep(&mut self, tag: u8, body: &[u8]) {
        let Repeat { messages, binds, due, .. } = &mut self.repeat;
        if binds.is_empty() {
            return;
        }
        if messages.len() + body.len() + 5 > KEPT && due.is_none() {
            self.repeat.end();
            return;
        }
        messages.push(tag);
        messages.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        messages.extend_from_slice(body);
    }

    /// Before a message that the client waits for an answer to: the messages that are to be said again, in the form that
    /// [`Self::keep`] gave them. `ends`: the message ends the batch.
    pub async fn repeats(&mut self, ends: bool) -> Result<Option<Vec<u8>>, Ended> {
        if self.repeat.binds.is_empty() {
            return Ok(None);
        }
        if ends {
            self.sync_upstream().await?;
        } else {
            self.drain().await?;
        }
        let Some(from) = self.repeat.due.take() else { return Ok(None) };
        // The source takes nothing more before a Sync. No block is open, so that nothing is lost by it.
        self.sync_upstream().await?;
        self.release_upstream();
        self.skipping = false;
        let messages = self.repeat.messages.split_off(from);
        self.repeat.end();
        self.repeat.again = true;
        Ok(Some(messages))
    }
}
