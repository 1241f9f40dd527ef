//! TLS for clients: the certificate, its channel binding, the handshake.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem::PemObject as _};

use crate::auth;

/// The protocol id that libpq 17 and later offer; who starts TLS without asking first must.
pub(super) const ALPN: &[u8] = b"postgresql";

/// A certificate with its key, ready for handshakes. Replaced as a whole on reload.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// Who vouches for clients, and what they have taken back.
#[derive(Debug, Clone, Copy)]
pub struct ClientAuthorities<'a> {
    /// PEM certificates.
    pub authorities: &'a [u8],
    /// PEM revocation lists (RFC 5280): when there is one, every authority in a client's chain needs one that is in force.
    pub revocations: &'a [Vec<u8>],
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("the TLS certificate file is not PEM certificates")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    /// The key file.
    #[error("the TLS key file is not a PEM private key")]
    Key(#[source] rustls_pki_types::pem::Error),
    /// The file of who vouches for clients.
    #[error("the TLS client CA file is not PEM certificates that can be trusted")]
    ClientAuthority,
    /// A file of revocation lists.
    #[error("a TLS client CRL file is not PEM revocation lists")]
    Revocations,
    /// They do not fit, or the algorithm is not supported.
    #[error("the TLS certificate and key cannot be used together")]
    Rejected(#[source] rustls::Error),
}

impl ServerTls {
    /// TLS 1.2 and 1.3 with this chain (the server's certificate first) and key, both PEM. A client may show a certificate
    /// that one of `client_authorities` vouches for; one that none does, or that was revoked, ends the handshake.
    pub fn from_pem(certificates: &[u8], key: &[u8], client_authorities: Option<ClientAuthorities<'_>>) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>().map_err(TlsError::Certificate)?;
        let leaf = chain.first().ok_or(TlsError::Certificate(rustls_pki_types::pem::Error::NoItemsFound))?;
        let end_point = auth::tls_server_end_point(leaf).map(Arc::from);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Rejected)?;
        let verifier = client_authorities.map(|authorities| client_verifier(authorities, provider)).transpose()?;
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Rejected)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would take the client's certificate from memory and not look whether it has expired, was revoked or
        // lost its authority since: every connection shows it anew, as PostgreSQL wants it (be-secure-openssl.c,
        // `SSL_OP_NO_TICKET`, `SSL_SESS_CACHE_OFF`).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), end_point, verifier })
    }

    /// Whether a client's certificate (the first) and those that it came with would be taken now.
    pub(super) fn vouches_for(&self, chain: &[CertificateDer<'static>]) -> bool {
        let (Some(verifier), Some((leaf, others))) = (&self.verifier, chain.split_first()) else { return false };
        verifier.verify_client_cert(leaf, others, UnixTime::now()).is_ok()
    }

    /// For `tokio_rustls`.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Channel binding data; `None` where clients could not compute it, and PLUS is not offered.
    pub(super) fn end_point(&self) -> Option<Arc<[u8]>> {
        self.end_point.clone()
    }
}

/// Takes a certificate that one of these vouches for and has not revoked, or none.
fn client_verifier(client: ClientAuthorities<'_>, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(client.authorities) {
        roots.add(authority.map_err(|_error| TlsError::ClientAuthority)?).map_err(|_error| TlsError::ClientAuthority)?;
    }
    let mut lists = Vec::new();
    for file in client.revocations {
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(file) {
            lists.push(list.map_err(|_error| TlsError::Revocations)?);
        }
        if lists.len() == before {
            return Err(TlsError::Revocations);
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
    // A list that is past its next update says nothing of what was revoked since; an authority without one says nothing at all.
    let builder = builder.with_crls(lists).enforce_revocation_expiration();
    builder.build().map_err(|_error| TlsError::ClientAuthority)
}
