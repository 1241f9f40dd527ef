//! What a store says by itself: that something was approved. PostgreSQL has LISTEN and NOTIFY for it
//! (<https://www.postgresql.org/docs/current/sql-notify.html>); SQLite has nothing, so there only looking helps.
//! A word that is lost costs a waiting worker its next look and nothing else.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgListener;
use tokio::{sync::watch, time::sleep};

use super::backend::Database;

/// The channel, in the database of the store.
pub(super) const CHANNEL: &str = "pgwicket_approved";

/// The pause before a connection that was lost is made again.
const AGAIN: Duration = Duration::from_secs(2);

/// Tells when something was approved. A hint: it may come twice, late, or not at all.
#[derive(Debug)]
pub struct Approvals(Option<watch::Receiver<u64>>);

impl Approvals {
    /// Waits for the next one since the last time that this was asked; for ever where the store does not tell.
    pub async fn next(&mut self) {
        let told = match &mut self.0 {
            Some(receiver) => receiver.changed().await.is_ok(),
            None => false,
        };
        if !told {
            self.0 = None; // whoever told is gone
            std::future::pending::<()>().await;
        }
    }
}

/// Listens, on the runtime that this is called on, for as long as somebody hears it.
pub(super) fn listen(database: &Arc<Database>) -> Approvals {
    let Some(url) = database.postgres_url() else { return Approvals(None) };
    let (teller, hears) = watch::channel(0);
    tokio::spawn(async move {
        let ears = teller.clone();
        tokio::select! {
            () = tell(url.expose(), &teller) => {}
            () = ears.closed() => {}
        }
    });
    Approvals(Some(hears))
}

/// Passes on what is announced. After a gap whoever waits looks once: what was announced meanwhile is lost.
async fn tell(url: &str, teller: &watch::Sender<u64>) {
    let told = || teller.send_modify(|count| *count += 1);
    loop {
        if let Err(error) = attend(url, &told).await {
            tracing::warn!(%error, "the store's announcements are not heard; approved proposals are found by looking");
        }
        sleep(AGAIN).await;
    }
}

async fn attend(url: &str, told: &impl Fn()) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    told();
    while listener.try_recv().await?.is_some() {
        told();
    }
    Ok(())
}
