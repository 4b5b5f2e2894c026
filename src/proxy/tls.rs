//! The certificates of listeners.

use std::path::Path;

use pingora::listeners::tls::{Acceptor, TlsSettings};

use crate::config::Tls;

use super::ServerError;

/// What answers TLS handshakes at a listener.
///
/// # Errors
///
/// When the certificate and the key cannot be used. The framework would panic when it is too late to
/// say which.
pub(super) fn acceptor(tls: &Tls) -> Result<Acceptor, ServerError> {
    let refuse = |reason: String| ServerError::Certificate {
        certificate: tls.certificate.display().to_string(),
        reason,
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (certificate, key) = (text(&tls.certificate), text(&tls.key));
    check_pair(&certificate, &key).map_err(refuse)?;
    let mut settings =
        TlsSettings::intermediate(&certificate, &key).map_err(|error| refuse(error.to_string()))?;
    settings.enable_h2();
    Ok(settings.build())
}

fn check_pair(certificate: &str, key: &str) -> Result<(), String> {
    pingora::tls::install_default_crypto_provider();
    let loaded = pingora::tls::load_certs_and_key_files(certificate, key)
        .map_err(|error| error.to_string())?;
    let (certificates, key) = loaded.ok_or("no certificate or no private key in the files")?;
    pingora::tls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map(drop)
        .map_err(|error| error.to_string())
}
