//! TLS to a source: whom to trust by the policy's `ssl`, the SSLRequest, and the channel binding of SCRAM.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use x509_cert::{Certificate, der::Decode as _};

use crate::{policy::SourceTls, wire::Socket};

use super::{SourceError, error::Step};

/// The client side of TLS by the policy's `ssl`; `None` is no TLS.
pub(super) fn client_config(tls: SourceTls, roots: Option<&[u8]>) -> Result<Option<Arc<ClientConfig>>, SourceError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier: Arc<dyn ServerCertVerifier> = match tls {
        SourceTls::Disable => return Ok(None),
        SourceTls::Require => Arc::new(AnyCertificate(algorithms)),
        SourceTls::VerifyCa => Arc::new(ChainOnly(chain_verifier(roots, &provider)?)),
        SourceTls::VerifyFull => chain_verifier(roots, &provider)?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| configuration(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

fn chain_verifier(roots: Option<&[u8]>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, SourceError> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| configuration(&format!("root_certificates: {error:?}")))?;
                store.add(certificate).map_err(|error| configuration(&format!("root_certificates: {error}")))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        return Err(configuration(&"there is no root certificate to trust; name a PEM file in root_certificates"));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider)).build().map_err(|error| configuration(&error))
}

fn configuration(error: &dyn std::fmt::Display) -> SourceError {
    SourceError::Configuration(error.to_string().into())
}

/// Asks for TLS and shakes hands.
pub(super) async fn start(mut stream: TcpStream, config: &Arc<ClientConfig>, name: &ServerName<'static>) -> Result<Socket, SourceError> {
    let failed = SourceError::step(Step::Tls);
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.map_err(&failed)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await.map_err(&failed)?;
    if answer != *b"S" {
        return Err(SourceError::connect(Step::Tls, "the server does not offer TLS"));
    }
    // What came with the answer in plaintext, before the handshake, is not the server's word (CVE-2021-23222).
    if !matches!(stream.try_read(&mut answer), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock) {
        return Err(SourceError::connect(Step::Tls, "bytes before the handshake"));
    }
    let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
    tls.map(|stream| Socket::TlsClient(Box::new(stream))).map_err(|error| SourceError::connect(Step::Tls, handshake_reason(&error)))
}

/// rustls's own words, which name no address, where there are any.
fn handshake_reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(reason) => reason.to_string(),
        None => error.kind().to_string(),
    }
}

/// The `tls-server-end-point` channel binding (RFC 5929) of the server's certificate: its hash by the hash of its
/// signature, SHA-256 where that is MD5 or SHA-1. `None` where the signature has no such hash (Ed25519, RSA-PSS).
pub(super) fn server_end_point(socket: &Socket) -> Option<Vec<u8>> {
    let certificate = socket.client_tls()?.peer_certificates()?.first()?;
    let signature = Certificate::from_der(certificate).ok()?.signature_algorithm.oid.to_string();
    match signature.as_str() {
        // md5, sha1 and sha256 WithRSAEncryption; ecdsa-with-SHA1 and SHA256
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" | "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => {
            Some(Sha256::digest(certificate).to_vec())
        }
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Sha384::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// `ssl: require`: encrypted against a listener on the wire, but anybody may be at the other end, as in libpq.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// `ssl: verify-ca`: the chain must lead to a root, the name is not looked at.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // rustls looks at the name last, so the chain has passed.
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
