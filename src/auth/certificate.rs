//! The names in a client certificate. That it is to be believed, TLS has checked.

use x509_cert::{
    Certificate,
    der::{
        Decode as _,
        asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef},
    },
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::policy::{CertificateName, NameKind};

/// `id-at-commonName`
const COMMON_NAME: x509_cert::der::asn1::ObjectIdentifier = x509_cert::der::asn1::ObjectIdentifier::new_unwrap("2.5.4.3");

/// Whether a certificate (DER) carries the name. A subject with several common names has none (RFC 6125, 2.3.1: which one
/// is meant cannot be told).
pub(super) fn carries(certificate: &[u8], name: &CertificateName) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else { return false };
    match name {
        CertificateName::CommonName(wanted) => common_name(&certificate).is_some_and(|found| found == **wanted),
        CertificateName::AlternativeName(kind, wanted) => {
            alternative_names(&certificate).iter().any(|(found, name)| found == kind && **name == **wanted)
        }
    }
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let mut names = parts.filter(|part| part.oid == COMMON_NAME).map(|part| {
        let text = part.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
        let text = text.or_else(|_other| part.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()));
        text.or_else(|_other| part.value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned())).ok()
    });
    let first = names.next()?;
    if names.next().is_some() { None } else { first }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a name of another kind is not one that a policy can name")]
fn alternative_names(certificate: &Certificate) -> Vec<(NameKind, String)> {
    let Ok(Some((_critical, SubjectAltName(names)))) = certificate.tbs_certificate.get::<SubjectAltName>() else { return Vec::new() };
    let texts = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(text) => Some((NameKind::Dns, text.as_str().to_owned())),
        GeneralName::Rfc822Name(text) => Some((NameKind::Email, text.as_str().to_owned())),
        GeneralName::UniformResourceIdentifier(text) => Some((NameKind::Uri, text.as_str().to_owned())),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(common_names: &[&str], alternatives: &[rcgen::SanType]) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            parameters.distinguished_name.push(rcgen::DnType::CommonName, *name);
        }
        parameters.subject_alt_names = alternatives.to_vec();
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_name_is_carried_exactly_or_not_at_all() {
        let uri = rcgen::SanType::URI("spiffe://corp/support".try_into().unwrap());
        let dns = rcgen::SanType::DnsName("support.corp".try_into().unwrap());
        let der = certificate(&["support"], &[uri, dns]);
        let common = |name: &str| CertificateName::CommonName(name.into());
        let of = |kind, name: &str| CertificateName::AlternativeName(kind, name.into());
        let alternative = |name: &str| of(if name.contains("://") { NameKind::Uri } else { NameKind::Dns }, name);
        // Who may have an address as a name is not who may have that URI or that host.
        let mail = rcgen::SanType::Rfc822Name("spiffe://corp/support".try_into().unwrap());
        let odd = certificate(&[], &[mail, rcgen::SanType::DnsName("a@corp".try_into().unwrap())]);
        assert!(carries(&odd, &of(NameKind::Email, "spiffe://corp/support")) && carries(&odd, &of(NameKind::Dns, "a@corp")));
        assert!(!carries(&odd, &of(NameKind::Uri, "spiffe://corp/support")) && !carries(&odd, &of(NameKind::Email, "a@corp")));
        assert!(!carries(&der, &of(NameKind::Dns, "spiffe://corp/support")) && !carries(&der, &of(NameKind::Uri, "support.corp")));
        assert!(carries(&der, &common("support")));
        assert!(carries(&der, &alternative("spiffe://corp/support")) && carries(&der, &alternative("support.corp")));
        for name in ["suppor", "support ", "Support", "support.corp", ""] {
            assert!(!carries(&der, &common(name)), "{name}");
        }
        assert!(!carries(&der, &alternative("support")) && !carries(&der, &alternative("corp")));
        assert!(!carries(&certificate(&[], &[]), &common("")));
        assert!(!carries(b"not a certificate", &common("support")));
    }
}
