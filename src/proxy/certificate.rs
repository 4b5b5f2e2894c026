//! A certificate and the names that it is for.

use std::sync::Arc;

use pingora::tls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The state of an ordered certificate for a name.
#[cfg_attr(not(feature = "acme"), allow(dead_code))]
pub(crate) enum CertificateMatch {
    /// It is for the name.
    Key(Arc<CertifiedKey>),
    /// It is ordered for the name, and not issued yet.
    Awaited,
    /// It is for other names.
    Foreign,
}

/// The host names that a certificate is for.
pub(crate) fn names(key: &CertifiedKey) -> Vec<String> {
    let certificate = key.cert.first().map(|der| X509Certificate::from_der(der));
    let Some(Ok((_, certificate))) = certificate else {
        return Vec::new();
    };
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &extension.value.general_names);
    let names = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}
