//! The proofs that Hedgerow shows to a certificate authority during an order: a text over HTTP (RFC 8555,
//! 8.3), or a certificate over TLS (RFC 8737).
//!
//! The authority's request may reach a different process than the one that orders: the successor in a
//! hand-over, or another machine of the same load balancer. So the proofs are also stored in the shared
//! folder, and each process looks them up there.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use pingora::tls::sign::CertifiedKey;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use tokio::sync::Semaphore;

use super::ordered_certificate::{certified, UnusableCertificate};
use super::storage::Storage;

/// The proofs of the current orders.
#[derive(Default)]
pub(crate) struct ChallengeResponses {
    by_token: Mutex<HashMap<String, String>>,
    by_name: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    /// The folders in which other processes store their proofs.
    shared: ArcSwap<Vec<Storage>>,
}

impl std::fmt::Debug for ChallengeResponses {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ChallengeResponses")
            .finish_non_exhaustive()
    }
}

/// One proof. It is available until this value is dropped.
pub(super) struct ChallengeResponse {
    responses: Arc<ChallengeResponses>,
    storage: Storage,
    challenge_key: ChallengeKey,
}

enum ChallengeKey {
    Token(String),
    Name(String),
}

/// Limits how many requests read the shared folders at once.
static LOOKING: Semaphore = Semaphore::const_new(4);

impl ChallengeResponses {
    /// Sets the shared folders, which are also searched from now on.
    pub(super) fn share(&self, storages: Vec<Storage>) {
        self.shared.store(Arc::new(storages));
    }

    /// Returns the text for this token, if there is a current order with it.
    pub(crate) async fn answer(&self, token: &str) -> Option<Vec<u8>> {
        if let Some(text) = locked(&self.by_token).get(token) {
            return Some(text.clone().into_bytes());
        }
        let shared = self.shared.load_full();
        if shared.is_empty() || !is_token(token) {
            return None;
        }
        let token = token.to_owned();
        // Any client may send such requests, and the disk may be slow.
        let _permit = LOOKING.acquire().await;
        let found = hedgerow_spool::run_blocking(move || {
            let mut storages = shared.iter();
            storages.find_map(|storage| storage.shown(&token))
        });
        found.await.ok().flatten()
    }

    /// Returns the challenge certificate for this name.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        if let Some(key) = locked(&self.by_name).get(&name) {
            return Some(Arc::clone(key));
        }
        let shared = self.shared.load();
        let file = tls_file(&name);
        let pem = shared.iter().find_map(|storage| storage.shown(&file))?;
        Some(Arc::new(certified(&pem).ok()?))
    }

    /// Makes a text available for a token, until the returned value is dropped.
    pub(super) fn show_text(
        self: &Arc<Self>,
        storage: &Storage,
        token: &str,
        text: &str,
    ) -> io::Result<ChallengeResponse> {
        if !is_token(token) {
            return Err(io::Error::other("the token has invalid characters"));
        }
        storage.show(token, text.as_bytes())?;
        locked(&self.by_token).insert(token.to_owned(), text.to_owned());
        Ok(self.shown(storage, ChallengeKey::Token(token.to_owned())))
    }

    /// Makes a certificate with this digest available for a name, until the returned value is dropped.
    pub(super) fn show_certificate(
        self: &Arc<Self>,
        storage: &Storage,
        name: &str,
        digest: &[u8],
    ) -> Result<ChallengeResponse, UnusableCertificate> {
        let pem = challenge_certificate(name, digest).map_err(UnusableCertificate::new)?;
        let key = Arc::new(certified(pem.as_bytes())?);
        let shown = storage.show(&tls_file(name), pem.as_bytes());
        shown.map_err(UnusableCertificate::Unreadable)?;
        locked(&self.by_name).insert(name.to_owned(), key);
        Ok(self.shown(storage, ChallengeKey::Name(name.to_owned())))
    }

    fn shown(
        self: &Arc<Self>,
        storage: &Storage,
        challenge_key: ChallengeKey,
    ) -> ChallengeResponse {
        ChallengeResponse {
            responses: Arc::clone(self),
            storage: storage.clone(),
            challenge_key,
        }
    }
}

impl Drop for ChallengeResponse {
    fn drop(&mut self) {
        match &self.challenge_key {
            ChallengeKey::Token(token) => {
                locked(&self.responses.by_token).remove(token);
                self.storage.hide(token);
            }
            ChallengeKey::Name(name) => {
                locked(&self.responses.by_name).remove(name);
                self.storage.hide(&tls_file(name));
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a text has the form of a token (RFC 8555, 8.3).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(fits)
}

fn tls_file(name: &str) -> String {
    format!("{name}.pem")
}

/// Creates a certificate that proves the control of a name, and its key, as PEM (RFC 8737, 3).
fn challenge_certificate(name: &str, digest: &[u8]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let signed = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), signed.pem()))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;
    use crate::config;

    fn settings(storage: &std::path::Path) -> config::AcmeConfig {
        config::AcmeConfig {
            domains: vec!["shop.example".to_owned()],
            email: None,
            directory: "https://ca.example/directory".to_owned(),
            storage: storage.to_owned(),
            challenges: vec![config::Challenge::Http01],
            ca_file: None,
            external_account: None,
        }
    }

    #[tokio::test]
    async fn a_process_answers_the_challenges_of_another_ones_order() {
        pingora::tls::install_default_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::of(&settings(folder.path()));
        storage.keep_certificate("none").unwrap();
        let [orders, other] = [(); 2].map(|()| Arc::<ChallengeResponses>::default());
        other.share(vec![storage.clone()]);
        let token = "token-1_";
        assert_eq!(orders.answer(token).await, None);
        let responses = [
            orders
                .show_text(&storage, "token-1_", "token-1_.thumb")
                .unwrap(),
            orders
                .show_certificate(&storage, "shop.example", &[7; 32])
                .unwrap(),
        ];
        for responses in [&orders, &other] {
            let answer = responses.answer(token).await.unwrap();
            assert_eq!(answer, b"token-1_.thumb");
            let key = responses.certificate("Shop.example").unwrap();
            let (_, shown) = X509Certificate::from_der(&key.cert[0]).unwrap();
            let identifier = x509_parser::oid_registry::asn1_rs::oid!(1.3.6 .1 .5 .5 .7 .1 .31);
            let extension = shown.get_extension_unique(&identifier).unwrap().unwrap();
            assert!(extension.critical);
            assert_eq!(extension.value[..2], [4, 32]);
            assert_eq!(extension.value[2..], [7; 32]);
            for token in ["", "other", "shop.example.pem", "../account.json"] {
                assert_eq!(responses.answer(token).await, None, "{token}");
            }
            assert!(responses.certificate("other.example").is_none());
        }
        drop(responses);
        for responses in [&orders, &other] {
            assert_eq!(responses.answer(token).await, None);
            assert!(responses.certificate("shop.example").is_none());
        }
        assert!(orders.show_text(&storage, "../x", "text").is_err());
    }
}
