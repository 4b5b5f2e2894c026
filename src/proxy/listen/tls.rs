//! The certificates of listeners, chosen by the name that a client asks for.

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
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::Tls;

use crate::proxy::ServerError;

/// What is offered to clients, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What answers TLS handshakes at a listener. The first certificate is for clients that name no host,
/// or one that no certificate has.
///
/// # Errors
///
/// When a certificate and its key cannot be used.
pub(crate) fn acceptor<'t>(
    certificates: impl Iterator<Item = &'t Tls>,
) -> Result<Acceptor, ServerError> {
    install_default_crypto_provider();
    let mut chosen = Certificates::default();
    for tls in certificates {
        let key = load(tls).map_err(|reason| ServerError::Certificate {
            certificate: tls.certificate.display().to_string(),
            reason,
        })?;
        chosen.add(Arc::new(key));
    }
    let versions = [&version::TLS12, &version::TLS13];
    let mut config = ServerConfig::builder_with_protocol_versions(&versions)
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chosen));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

fn load(tls: &Tls) -> Result<CertifiedKey, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let loaded = load_certs_and_key_files(&text(&tls.certificate), &text(&tls.key))
        .map_err(|error| error.to_string())?;
    let (chain, key) = loaded.ok_or("no certificate or no private key in the files")?;
    let provider = CryptoProvider::get_default().ok_or("no cryptography is there")?;
    let key = signing(provider, key)?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) => Ok(key),
        Err(error) => Err(error.to_string()),
    }
}

fn signing(
    provider: &CryptoProvider,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<dyn pingora::tls::sign::SigningKey>, String> {
    let loaded = provider.key_provider.load_private_key(key);
    loaded.map_err(|error| error.to_string())
}

/// Certificates by the names in them, lower case.
#[derive(Debug, Default)]
struct Certificates {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    fn add(&mut self, key: Arc<CertifiedKey>) {
        for name in names(&key) {
            let named = self.by_name.entry(name).or_default();
            named.push(Arc::clone(&key));
        }
        self.all.push(key);
    }

    /// Those for a name: its own, else those for every name beside it (RFC 9525, 6.3), else all.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let name = name.map(str::to_ascii_lowercase);
        let wild = name.as_deref().and_then(|name| name.split_once('.'));
        let wild = wild.map(|(_, domain)| format!("*.{domain}"));
        let mut named = [name, wild].into_iter().flatten();
        let found = named.find_map(|name| self.by_name.get(&name));
        found.map_or(&self.all, |found| found)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = self.of(hello.server_name());
        // Of an RSA and an ECDSA certificate for one name, the client may know one only.
        let signs = |key: &&Arc<CertifiedKey>| {
            let scheme = key.key.choose_scheme(hello.signature_schemes());
            scheme.is_some()
        };
        fitting.iter().find(signs).or(fitting.first()).cloned()
    }
}

/// The host names that a certificate is for.
fn names(key: &CertifiedKey) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(folder: &Path, names: &[&str]) -> Tls {
        let key = rcgen::KeyPair::generate().unwrap();
        let owned: Vec<String> = names.iter().map(ToString::to_string).collect();
        let signed = rcgen::CertificateParams::new(owned).unwrap();
        let signed = signed.self_signed(&key).unwrap();
        let tls = Tls {
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
        let mut chosen = Certificates::default();
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
            let found = chosen.of(name).first().unwrap();
            assert!(Arc::ptr_eq(found, &chosen.all[expected]), "{name:?}");
        }
        let mixed = Tls {
            key: all[1].key.clone(),
            ..all[0].clone()
        };
        assert!(load(&mixed).is_err());
    }
}
