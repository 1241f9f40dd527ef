//! The certificate of the control API.

use std::{fmt, sync::Arc};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// A certificate with its key, ready for handshakes.
#[derive(Clone)]
pub struct ControlTls(Arc<ServerConfig>);

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlTlsError {
    /// One of the files.
    #[error("the control API's TLS certificate or key is not PEM")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// They do not fit, or the algorithm is not supported.
    #[error("the control API's TLS certificate and key cannot be used together")]
    Rejected(#[from] rustls::Error),
}

impl ControlTls {
    /// TLS 1.2 and 1.3 with this chain (the server's certificate first) and key, both PEM.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, ControlTlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>()?;
        if chain.is_empty() {
            return Err(rustls_pki_types::pem::Error::NoItemsFound.into());
        }
        let key = PrivateKeyDer::from_pem_slice(key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ControlTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlTls(..)")
    }
}
