//! Channel binding data of type `tls-server-end-point` (RFC 5929, section 4).

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::{
    Certificate,
    der::{Decode as _, asn1::ObjectIdentifier},
};

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// Signature algorithms whose hash is SHA-256, or MD5 or SHA-1, for which the RFC says SHA-256.
const SHA256: [ObjectIdentifier; 7] = [
    oid("1.2.840.113549.1.1.4"),   // md5WithRSAEncryption
    oid("1.2.840.113549.1.1.5"),   // sha1WithRSAEncryption
    oid("1.2.840.113549.1.1.11"),  // sha256WithRSAEncryption
    oid("1.2.840.10045.4.1"),      // ecdsa-with-SHA1
    oid("1.2.840.10045.4.3.2"),    // ecdsa-with-SHA256
    oid("1.2.840.10040.4.3"),      // dsa-with-sha1
    oid("2.16.840.1.101.3.4.3.2"), // dsa-with-sha256
];
const SHA384: [ObjectIdentifier; 2] = [oid("1.2.840.113549.1.1.12"), oid("1.2.840.10045.4.3.3")];
const SHA512: [ObjectIdentifier; 2] = [oid("1.2.840.113549.1.1.13"), oid("1.2.840.10045.4.3.4")];

/// The hash of a DER certificate by the hash of its signature algorithm. `None` where the algorithm has none
/// that clients agree on (Ed25519; RSA-PSS, which libpq cannot bind to): PLUS is then not offered.
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = Certificate::from_der(certificate).ok()?.signature_algorithm.oid;
    if SHA256.contains(&algorithm) {
        Some(Sha256::digest(certificate).to_vec())
    } else if SHA384.contains(&algorithm) {
        Some(Sha384::digest(certificate).to_vec())
    } else if SHA512.contains(&algorithm) {
        Some(Sha512::digest(certificate).to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(tls_server_end_point(&p256), Some(Sha256::digest(&p256).to_vec()));
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(tls_server_end_point(&p384), Some(Sha384::digest(&p384).to_vec()));
        assert_eq!(tls_server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
        assert_eq!(tls_server_end_point(b"not a certificate"), None);
    }
}
