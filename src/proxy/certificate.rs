//! A certificate and the names that it is for.

use std::sync::Arc;

use pingora::tls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Whether a certificate that Hedgerow orders can be used for a name.
#[cfg_attr(not(feature = "acme"), allow(dead_code))]
pub(crate) enum CertificateMatch {
    /// The certificate is for the name. Holds its key and its chain.
    Key(Arc<CertifiedKey>),
    /// The certificate is ordered for the name, but not issued yet.
    Awaited,
    /// The certificate is for other names.
    Foreign,
}

/// Returns the host names that a certificate is for, in lower case.
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
