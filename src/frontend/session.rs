//! A client session: reads one message after the other and hands each to the pipeline.

use std::{rc::Rc, time::Duration};

use bytes::Buf as _;
use tokio::time::{Instant, sleep_until};

use super::{
    Accepted, CancelSlot, CancelTicket, Drain, DrainWatch,
    message::{LARGE_MESSAGE, LONGEST_MESSAGE, Message, body_limit, decode},
    vouched::Vouched,
};
use crate::{
    error::{Error, ProtocolError, Report, SessionError, Severity},
    pipeline::{Ended, Interrupt, Interrupts, Lane, Session, Start},
    wire::{FrameError, Header, header},
};

/// Bytes queued for a client above which they are sent before its next message is taken.
const WRITE_BEHIND: usize = 64 << 10;

/// Serves an accepted connection until it ends. Every end is orderly: what ran has its outcome recorded.
pub async fn run(accepted: Accepted, lane: Rc<Lane>) {
    let Accepted { channel, principal, parameters, database, process_id, secret_key, cancel, drain, vouched, .. } = accepted;
    let ticket = cancel.ticket();
    let session = format!("{process_id}.{:08x}", rand::random::<u32>());
    let start = Start { channel, principal, parameters, database, process_id, secret_key, session };
    let outside = Outside { cancel, ticket, drain, vouched };
    let mut session = match Session::start(start, lane, outside) {
        Ok(session) => session,
        Err(refused) => {
            let (mut channel, error) = *refused;
            let report = Report { severity: Severity::Fatal, ..error.report() };
            report.write(channel.outgoing());
            // The client may be gone already.
            drop(channel.flush().await);
            return;
        }
    };
    let ended = serve(&mut session).await;
    session.end(ended).await;
}

/// Takes messages until the connection ends.
async fn serve(session: &mut Session<Outside>) -> Ended {
    let mut types = Vec::new();
    loop {
        let message = match next_message(session).await {
            Ok(message) => message,
            Err(ended) => return ended,
        };
        let (tag, body) = message;
        let decoded = body.as_ref().map_err(Clone::clone).and_then(|body| decode(tag, body));
        let taken = match decoded {
            Ok(Message::Terminate) => {
                // What came before it is answered, though the client may not be there to read it.
                drop(session.client().flush().await);
                return Ended::Gone;
            }
            Ok(message) => {
                let taken = take(session, message, &mut types).await;
                if let (b'P' | b'B' | b'D' | b'E' | b'C', Ok(body)) = (tag, &body) {
                    session.keep(tag, body);
                }
                taken
            }
            Err(error) => session.refuse_message(error, matches!(tag, b'Q' | b'F')).await,
        };
        if let Err(ended) = taken {
            return ended;
        }
    }
}

async fn take(session: &mut Session<Outside>, message: Message<'_>, types: &mut Vec<u32>) -> Result<(), Ended> {
    if let Message::Query(_) | Message::Flush | Message::Sync = message
        && let Some(messages) = session.repeats(matches!(message, Message::Sync)).await?
    {
        repeat(session, &messages, types).await?;
    }
    match message {
        Message::Query(text) => session.query(text).await,
        Message::Parse { name, text, types: declared } => {
            types.clear();
            types.extend(declared.iter());
            session.parse(name, text, types).await
        }
        Message::Bind(bind) => session.bind(&bind).await,
        Message::Describe(target, name) => session.describe(target, name).await,
        Message::Execute { portal, max_rows } => session.execute(portal, max_rows).await,
        Message::Close(target, name) => session.close(target, name).await,
        Message::Flush => {
            session.flush().await?;
            session.client().flush().await.map_err(|_gone| Ended::Gone)
        }
        Message::Sync => session.sync().await,
        Message::Terminate | Message::CopyRemains => Ok(()),
    }
}

/// Takes messages again that the session has kept.
async fn repeat(session: &mut Session<Outside>, messages: &[u8], types: &mut Vec<u32>) -> Result<(), Ended> {
    let mut rest = messages;
    while let Some(([tag, length @ ..], after)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((body, after)) = after.split_at_checked(length) else { return Ok(()) };
        rest = after;
        match decode(*tag, body) {
            Ok(message) => Box::pin(take(session, message, types)).await?,
            Err(error) => session.refuse_message(error, false).await?,
        }
    }
    Ok(())
}

/// How long the client may stay silent until its idle cursors end, and when that is.
type Patience = Option<(Duration, Instant)>;

/// Waits for a whole message. What is queued for the client is sent before waiting, not before each message. One that is too long
/// to be kept is read to its end all the same, so that the client, which sends it first, hears of it.
async fn next_message(session: &mut Session<Outside>) -> Result<(u8, Result<bytes::Bytes, ProtocolError>), Ended> {
    let mut patience: Patience = session.idle_bound().map(|bound| (bound, Instant::now() + bound));
    loop {
        let (client, _) = session.parts();
        let tag = client.incoming().first().copied();
        // Nothing read yet is a Sync's length at most.
        let limit = body_limit(tag.unwrap_or(b'S')).map_err(|unknown| fatal(&unknown.into()))?;
        if client.outgoing().len() > WRITE_BEHIND {
            client.flush().await.map_err(|_gone| Ended::Gone)?;
        }
        match header(client.incoming(), limit) {
            Ok(Some(head)) if client.incoming().len() >= head.total() => {
                let mut message = client.incoming().split_to(head.total()).freeze();
                let body = message.split_off(5);
                return Ok((head.tag, Ok(body)));
            }
            Ok(Some(head)) => {
                let missing = head.total() - client.incoming().len();
                client.incoming().reserve(missing);
            }
            Ok(None) => {}
            Err(FrameError::TooLong { body, limit: LARGE_MESSAGE }) if body <= LONGEST_MESSAGE => {
                pass_over(session, Header::SIZE + body, &mut patience).await?;
                return Ok((tag.unwrap_or_default(), Err(ProtocolError::PassedOver { body, limit })));
            }
            Err(error) => return Err(fatal(&frame(error))),
        }
        read(session, &mut patience).await?;
    }
}

/// Reads so many bytes and keeps none of them.
async fn pass_over(session: &mut Session<Outside>, mut left: usize, patience: &mut Patience) -> Result<(), Ended> {
    loop {
        let (client, _) = session.parts();
        let here = left.min(client.incoming().len());
        client.incoming().advance(here);
        left -= here;
        if left == 0 {
            return Ok(());
        }
        read(session, patience).await?;
    }
}

/// Waits for more of the client's bytes, at most until its idle cursors end.
async fn read(session: &mut Session<Outside>, patience: &mut Patience) -> Result<(), Ended> {
    let stage = if session.is_in_transaction() { Drain::Closing } else { Drain::Draining };
    let ends = session.transaction_ends();
    let (client, outside) = session.parts();
    client.flush().await.map_err(|_gone| Ended::Gone)?;
    let aged = async {
        match ends {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let waited = async {
        match *patience {
            Some((bound, end)) => {
                sleep_until(end).await;
                bound
            }
            None => std::future::pending().await,
        }
    };
    let waited = tokio::select! {
        biased;
        read = client.fill() => match read {
            Ok(0) | Err(_) => return Err(Ended::Gone),
            Ok(_) => None,
        },
        () = outside.drain.reached(stage) => return Err(fatal(&SessionError::ShuttingDown.into())),
        () = certificate_ended(&mut outside.vouched) => return Err(fatal(&SessionError::CertificateEnded.into())),
        () = aged => return session.end_old_transaction(),
        bound = waited => Some(bound),
    };
    if let Some(bound) = waited {
        session.end_idle_cursors(bound);
        *patience = None;
    }
    Ok(())
}

fn frame(error: FrameError) -> Error {
    match error {
        FrameError::TooShort => ProtocolError::Malformed("invalid message length").into(),
        FrameError::TooLong { body, limit } => ProtocolError::TooLong { body, limit }.into(),
    }
}

fn fatal(error: &Error) -> Ended {
    Ended::Fatal(Box::new(error.report()))
}

/// What interrupts a session from outside its connection.
#[derive(Debug)]
struct Outside {
    cancel: CancelSlot,
    ticket: CancelTicket,
    drain: DrainWatch,
    vouched: Option<Vouched>,
}

/// Waits until nobody vouches for the session's certificate; without end where there is none.
async fn certificate_ended(vouched: &mut Option<Vouched>) {
    match vouched {
        Some(vouched) => vouched.ended().await,
        None => std::future::pending().await,
    }
}

impl Interrupts for Outside {
    fn arm(&mut self) {
        self.ticket = self.cancel.ticket();
    }

    async fn interrupted(&mut self) -> Interrupt {
        tokio::select! {
            biased;
            () = self.cancel.requested(self.ticket) => {
                self.ticket = self.cancel.ticket();
                Interrupt::Cancel
            }
            () = self.drain.reached(Drain::Closing) => Interrupt::Close,
            () = certificate_ended(&mut self.vouched) => Interrupt::Close,
        }
    }
}
