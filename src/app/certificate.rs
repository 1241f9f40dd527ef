//! The server's certificate, read at start and again on SIGHUP.

use std::sync::Arc;

use super::{ServeError, TlsFiles};
use crate::{
    config::{Environment as _, Process},
    frontend::{ClientAuthorities, Front, ServerTls},
};

/// The certificate's files, and where it is in force.
#[derive(Debug)]
pub(super) struct Certificate {
    files: TlsFiles,
    front: Arc<Front>,
}

impl Certificate {
    pub(super) fn new(files: TlsFiles, front: Arc<Front>) -> Self {
        Self { files, front }
    }

    /// Reads the files and puts the certificate in force for handshakes to come.
    pub(super) fn load(&self) -> Result<(), ServeError> {
        let read =
            |path: &std::path::Path| Process.read(path).map_err(|error| ServeError::Unreadable { path: path.display().to_string(), error });
        let authorities = self.files.client_authorities.as_deref().map(read).transpose()?;
        let revocations = self.files.client_revocations.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let client = authorities.as_deref().map(|authorities| ClientAuthorities { authorities, revocations: &revocations });
        let tls = Arc::new(ServerTls::from_pem(&read(&self.files.certificate)?, &read(&self.files.key)?, client)?);
        self.front.tls.store(Some(Arc::clone(&tls)));
        // Sessions that a client certificate let in look at it again.
        self.front.vouching.send_replace(Some(tls));
        Ok(())
    }

    /// As [`Self::load`]; a certificate that cannot be used does not replace the one in force.
    pub(super) fn reload(&self) {
        match self.load() {
            Ok(()) => tracing::info!("certificate in force"),
            Err(error) => tracing::error!(%error, "certificate not replaced"),
        }
    }
}
