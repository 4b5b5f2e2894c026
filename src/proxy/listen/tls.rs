//! The certificates of listeners, which are chosen by the name that a client requests.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use pingora::listeners::tls::Acceptor;
use pingora::tls::sign::CertifiedKey;
use pingora::tls::{
    install_default_crypto_provider, load_certs_and_key_files, version, CryptoProvider,
    PrivateKeyDer, ServerConfig,
};
use pingora::tls::{ClientHello, ResolvesServerCert};

use crate::config::{Certificate, Challenge, TlsFiles};

use crate::proxy::acme::{CertificateManager, ChallengeResponses, OrderedCertificate};
use crate::proxy::certificate::{names, CertificateMatch};
use crate::proxy::server_error::ServerError;

/// The protocols offered to clients, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The protocol by which an authority validates a name (RFC 8737, 6.2).
pub(crate) const CHALLENGE: &[u8] = b"acme-tls/1";

/// Returns an acceptor for the TLS handshakes of a listener. Clients that name no host, or a host that no
/// certificate has, get the first certificate that they support.
///
/// # Errors
///
/// When a certificate and its key cannot be used.
pub(crate) fn acceptor<'t>(
    certificates: impl Iterator<Item = &'t Certificate>,
    acme: &CertificateManager,
) -> Result<Acceptor, ServerError> {
    install_default_crypto_provider();
    let mut chosen = ListenerCertificates::default();
    let mut protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    for certificate in certificates {
        match certificate {
            Certificate::Files(tls) => chosen.add(Arc::new(load(tls)?)),
            Certificate::Acme(settings) => {
                let ordered = acme.certificate(settings)?;
                chosen.all.push(CertificateSource::Ordered(ordered));
                if settings.challenges.contains(&Challenge::TlsAlpn01) && chosen.responses.is_none()
                {
                    chosen.responses = Some(Arc::clone(acme.responses()));
                    protocols.push(CHALLENGE.to_vec());
                }
            }
        }
    }
    let versions = [&version::TLS12, &version::TLS13];
    let mut config = ServerConfig::builder_with_protocol_versions(&versions)
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chosen));
    config.alpn_protocols = protocols;
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

/// Checks whether a certificate and its key can be used.
///
/// # Errors
///
/// When they cannot be used.
pub(crate) fn check(tls: &TlsFiles) -> Result<(), ServerError> {
    install_default_crypto_provider();
    load(tls).map(drop)
}

fn load(tls: &TlsFiles) -> Result<CertifiedKey, ServerError> {
    read(tls).map_err(|reason| ServerError::Certificate {
        certificate: tls.certificate.display().to_string(),
        reason,
    })
}

fn read(tls: &TlsFiles) -> Result<CertifiedKey, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let loaded = load_certs_and_key_files(&text(&tls.certificate), &text(&tls.key))
        .map_err(|error| error.to_string())?;
    let (chain, key) = loaded.ok_or("no certificate or no private key in the files")?;
    let provider = CryptoProvider::get_default().ok_or("no cryptography is there")?;
    let key = signing(provider, key)?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) => Ok(key),
        Err(_) => Err(format!("{} is not its private key", text(&tls.key))),
    }
}

fn signing(
    provider: &CryptoProvider,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<dyn pingora::tls::sign::SigningKey>, String> {
    let loaded = provider.key_provider.load_private_key(key);
    loaded.map_err(|error| error.to_string())
}

/// The certificates of a listener.
#[derive(Debug, Default)]
struct ListenerCertificates {
    /// The certificates from files, by the names in them, in lower case.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<CertificateSource>,
    /// The responses to the challenges of authorities, if a name is validated over TLS.
    responses: Option<Arc<ChallengeResponses>>,
}

/// The source of a certificate.
#[derive(Debug)]
enum CertificateSource {
    File(Arc<CertifiedKey>),
    Ordered(Arc<OrderedCertificate>),
}

impl CertificateSource {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::File(key) => Some(Arc::clone(key)),
            Self::Ordered(ordered) => ordered.key(),
        }
    }
}

/// Which certificates fit a name.
#[derive(Debug)]
enum CertificateChoice<'a> {
    /// These certificates, which all have the name.
    Files(&'a [Arc<CertifiedKey>]),
    /// This certificate.
    One(Arc<CertifiedKey>),
    /// A certificate that is not issued yet: a client would refuse every other certificate.
    Awaited,
    /// Every certificate equally.
    Any,
}

impl ListenerCertificates {
    fn add(&mut self, key: Arc<CertifiedKey>) {
        for name in names(&key) {
            let named = self.by_name.entry(name).or_default();
            named.push(Arc::clone(&key));
        }
        self.all.push(CertificateSource::File(key));
    }

    /// Returns the certificates for a name: its own, otherwise the wildcard ones that match it (RFC 9525,
    /// 6.3), otherwise all. While the name's own certificate is not issued yet, it returns `Awaited`
    /// instead of all.
    fn of(&self, name: Option<&str>) -> CertificateChoice<'_> {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return CertificateChoice::Any;
        };
        if let Some(found) = self.by_name.get(&name) {
            return CertificateChoice::Files(found);
        }
        let mut awaited = false;
        for source in &self.all {
            let CertificateSource::Ordered(ordered) = source else {
                continue;
            };
            match ordered.holding(&name) {
                CertificateMatch::Key(key) => return CertificateChoice::One(key),
                CertificateMatch::Awaited => awaited = true,
                CertificateMatch::Foreign => {}
            }
        }
        let wild = name
            .split_once('.')
            .map(|(_, domain)| format!("*.{domain}"));
        match wild.and_then(|wild| self.by_name.get(&wild)) {
            Some(found) => CertificateChoice::Files(found),
            None if awaited => CertificateChoice::Awaited,
            None => CertificateChoice::Any,
        }
    }
}

impl ResolvesServerCert for ListenerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let (Some(responses), true) = (&self.responses, is_tls_alpn_challenge(&hello)) {
            return responses.certificate(hello.server_name()?);
        }
        // Of an RSA and an ECDSA certificate for one name, the client may support only one.
        let signs = |key: &Arc<CertifiedKey>| {
            let scheme = key.key.choose_scheme(hello.signature_schemes());
            scheme.is_some()
        };
        match self.of(hello.server_name()) {
            CertificateChoice::Files(keys) => {
                let mut fitting = keys.iter();
                fitting.find(|key| signs(key)).or(keys.first()).cloned()
            }
            CertificateChoice::One(key) => Some(key),
            CertificateChoice::Awaited => None,
            CertificateChoice::Any => {
                let mut keys = self.all.iter().filter_map(CertificateSource::key);
                let found = keys.find(signs);
                found.or_else(|| self.all.iter().find_map(CertificateSource::key))
            }
        }
    }
}

/// Returns whether a client offers the challenge protocol and neither HTTP protocol. Other clients never
/// get a challenge certificate.
fn is_tls_alpn_challenge(hello: &ClientHello<'_>) -> bool {
    let mut challenge = false;
    for protocol in hello.alpn().into_iter().flatten() {
        match protocol {
            protocol if PROTOCOLS.contains(&protocol) => return false,
            protocol => challenge |= protocol == CHALLENGE,
        }
    }
    challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(folder: &Path, names: &[&str]) -> TlsFiles {
        let key = rcgen::KeyPair::generate().unwrap();
        let owned: Vec<String> = names.iter().map(ToString::to_string).collect();
        let signed = rcgen::CertificateParams::new(owned).unwrap();
        let signed = signed.self_signed(&key).unwrap();
        let tls = TlsFiles {
            certificate: folder.join(format!("{}.pem", names[0])),
            key: folder.join(format!("{}.key", names[0])),
        };
        std::fs::write(&tls.certificate, signed.pem()).unwrap();
        std::fs::write(&tls.key, key.serialize_pem()).unwrap();
        tls
    }

    #[test]
    fn a_certificate_is_chosen_by_its_own_name_then_by_its_domain() {
        install_default_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let all = [
            &["first.example"][..],
            &["*.shop.example", "shop.example"],
            &["Exact.shop.example"],
        ];
        let all = all.map(|names| certificate(folder.path(), names));
        let mut chosen = ListenerCertificates::default();
        for tls in &all {
            chosen.add(Arc::new(load(tls).unwrap()));
        }
        for (name, expected) in [
            (None, 0),
            (Some("unknown.example"), 0),
            (Some("shop.example"), 1),
            (Some("WWW.shop.example"), 1),
            (Some("exact.shop.example"), 2),
            (Some("a.b.shop.example"), 0),
        ] {
            let found = match chosen.of(name) {
                CertificateChoice::Files(keys) => Arc::clone(&keys[0]),
                CertificateChoice::Any => chosen.all[0].key().unwrap(),
                other => panic!("{name:?}: {other:?}"),
            };
            let expected = chosen.all[expected].key().unwrap();
            assert!(Arc::ptr_eq(&found, &expected), "{name:?}");
        }
        let mixed = TlsFiles {
            key: all[1].key.clone(),
            ..all[0].clone()
        };
        assert!(load(&mixed).is_err());
    }
}
