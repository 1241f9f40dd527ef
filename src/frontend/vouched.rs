//! The client certificate that let a session in: it is looked at again, for as long as the session lasts.

use std::{future::pending, sync::Arc, time::Duration};

use rustls_pki_types::CertificateDer;
use tokio::{sync::watch, time::sleep};

use super::ServerTls;

/// How long after its end a certificate may go unnoticed; a reload is noticed at once.
const OFTEN: Duration = Duration::from_secs(30);

/// What vouches for clients: replaced at reload.
pub type Vouching = watch::Sender<Option<Arc<ServerTls>>>;

/// The certificate of a session.
#[derive(Debug)]
pub struct Vouched {
    chain: Vec<CertificateDer<'static>>,
    vouching: watch::Receiver<Option<Arc<ServerTls>>>,
}

impl Vouched {
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, vouching: &Vouching) -> Self {
        Self { chain, vouching: vouching.subscribe() }
    }

    /// The client's own certificate (DER).
    pub(super) fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], AsRef::as_ref)
    }

    /// Waits until nobody vouches for the certificate: it is over, was revoked, or its authority is one no more. Cancel safe.
    pub(super) async fn ended(&mut self) {
        loop {
            let counts = self.vouching.borrow_and_update().as_ref().is_some_and(|tls| tls.vouches_for(&self.chain));
            if !counts {
                return;
            }
            tokio::select! {
                changed = self.vouching.changed() => if changed.is_err() {
                    // The process is going away, and ends its sessions by itself.
                    pending::<()>().await;
                },
                () = sleep(OFTEN) => {}
            }
        }
    }
}
