//! One certificate that Hedgerow orders: the served certificate, and the attempts so far.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use instant_acme::CertificateIdentifier;
use pingora::tls::sign::CertifiedKey;
use pingora::tls::{CryptoProvider, PrivateKeyDer};
use thiserror::Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::admin::CertificateState;
use crate::config;

use crate::proxy::certificate::{names, CertificateMatch};

use super::schedule::Validity;
use super::storage::{file_stamp, Attempts, FileStamp, Storage};

/// A certificate that Hedgerow orders from an authority.
pub(crate) struct OrderedCertificate {
    pub(super) settings: config::AcmeConfig,
    pub(super) storage: Storage,
    served: ArcSwapOption<ServedCertificate>,
    file_state: Mutex<FileState>,
    /// Whether an operator has asked for another attempt.
    attempt_requested: AtomicBool,
    /// Orders of this process, by how they ended.
    pub(super) issued: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// The state of the files when they were last read.
#[derive(Default)]
struct FileState {
    certificate: FileStamp,
    attempts_file: FileStamp,
    attempts: Attempts,
}

/// The served certificate.
#[derive(Debug)]
pub(super) struct ServedCertificate {
    key: Arc<CertifiedKey>,
    /// The host names, in lower case.
    pub(super) names: Vec<String>,
    pub(super) validity: Validity,
    /// Its identifier at the authority (RFC 9773, 4.1).
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, Error)]
pub(super) enum UnusableCertificate {
    #[error("{0}")]
    Unreadable(io::Error),
    #[error("{0}")]
    Wrong(String),
}

impl UnusableCertificate {
    pub(super) fn new(why: impl fmt::Display) -> Self {
        Self::Wrong(why.to_string())
    }
}

impl OrderedCertificate {
    /// Creates the certificate's state, with the certificate from its folder if one is stored.
    pub(super) fn new(settings: config::AcmeConfig) -> Self {
        let ordered = Self {
            storage: Storage::of(&settings),
            settings,
            served: ArcSwapOption::empty(),
            file_state: Mutex::default(),
            attempt_requested: AtomicBool::new(false),
            issued: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        ordered.reload_if_changed();
        ordered
    }

    /// Returns the certificate for a name, which must be in lower case.
    pub(crate) fn holding(&self, name: &str) -> CertificateMatch {
        let served = self.served.load();
        match served.as_ref() {
            Some(served) if served.names.iter().any(|known| known == name) => {
                CertificateMatch::Key(Arc::clone(&served.key))
            }
            _ if self.settings.domains.iter().any(|known| known == name) => {
                CertificateMatch::Awaited
            }
            _ => CertificateMatch::Foreign,
        }
    }

    /// Returns the served certificate, whatever names it is for.
    pub(crate) fn key(&self) -> Option<Arc<CertifiedKey>> {
        let served = self.served.load();
        served.as_ref().map(|served| Arc::clone(&served.key))
    }

    pub(super) fn served(&self) -> Option<Arc<ServedCertificate>> {
        self.served.load_full()
    }

    /// Whether the served certificate covers all configured names.
    pub(super) fn is_complete(&self) -> bool {
        let served = self.served.load();
        served.as_ref().is_some_and(|served| {
            let mut domains = self.settings.domains.iter();
            domains.all(|domain| served.names.contains(domain))
        })
    }

    /// Reads the certificate and the attempts again if their files have changed: another process
    /// may have ordered a certificate.
    pub(super) fn reload_if_changed(&self) {
        let file = self.storage.certificate();
        let found = file_stamp(&file);
        let mut file_state = self.file_state();
        if found.is_some() && found != file_state.certificate {
            let read = std::fs::read(&file).map_err(UnusableCertificate::Unreadable);
            match read.and_then(|pem| ServedCertificate::of(&pem)) {
                Ok(served) => self.served.store(Some(Arc::new(served))),
                Err(error) => {
                    log::warn!("{} cannot be used: {error}", file.display());
                }
            }
        }
        file_state.certificate = found;
        let found = file_stamp(&self.storage.attempts_file());
        if found != file_state.attempts_file {
            file_state.attempts = self.storage.attempts();
            file_state.attempts_file = found;
        }
    }

    /// Serves a certificate that was just issued.
    pub(super) fn serve(&self, served: ServedCertificate) -> Arc<ServedCertificate> {
        let served = Arc::new(served);
        self.served.store(Some(Arc::clone(&served)));
        served
    }

    /// Returns how many orders of this process succeeded, and how many failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.issued), count(&self.failed))
    }

    /// Whether the last attempt of any process has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.file_state().attempts.failures > 0
    }

    pub(super) fn attempts(&self) -> Attempts {
        self.file_state().attempts.clone()
    }

    /// Records the attempts in this process and in the folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written. This process still remembers the attempts.
    pub(super) fn set_attempts(&self, attempts: Attempts) -> io::Result<()> {
        let mut file_state = self.file_state();
        file_state.attempts = attempts;
        let kept = self.storage.keep_attempts(&file_state.attempts);
        file_state.attempts_file = file_stamp(&self.storage.attempts_file());
        kept
    }

    /// Requests another attempt soon, even if the last one has failed.
    pub(super) fn request_attempt(&self) {
        self.attempt_requested.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_attempt_requested(&self) -> bool {
        self.attempt_requested.load(Ordering::Relaxed)
    }

    pub(super) fn clear_request(&self) {
        self.attempt_requested.store(false, Ordering::Relaxed);
    }

    /// Returns the certificate's file and when it expires; `None` while there is no certificate.
    pub(super) fn state(&self) -> Option<CertificateState> {
        Some(CertificateState {
            file: self.storage.certificate().display().to_string(),
            expires: self.served()?.validity.ends,
        })
    }

    fn file_state(&self) -> MutexGuard<'_, FileState> {
        self.file_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OrderedCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.settings.name();
        formatter.debug_tuple("Ordered").field(&name).finish()
    }
}

impl ServedCertificate {
    pub(super) fn of(pem: &[u8]) -> Result<Self, UnusableCertificate> {
        let key = Arc::new(pair(pem)?);
        let validities: Vec<Validity> = key
            .cert
            .iter()
            .filter_map(|der| {
                let (_, parsed) = X509Certificate::from_der(der).ok()?;
                let valid = parsed.validity();
                Some(Validity {
                    begins: valid.not_before.timestamp(),
                    ends: valid.not_after.timestamp(),
                })
            })
            .collect();
        // The validity ends when the first certificate of the chain expires. It begins with the
        // leaf's validity, because a root in the chain may be much older.
        let begins = validities.first().map(|validity| validity.begins);
        let ends = validities.iter().map(|validity| validity.ends).min();
        let validity = begins
            .zip(ends)
            .map(|(begins, ends)| Validity { begins, ends });
        Ok(Self {
            names: names(&key),
            validity: validity.ok_or_else(|| UnusableCertificate::new("no certificate"))?,
            identifier: identifier(&key),
            key,
        })
    }
}

/// Returns the identifier of a certificate at its authority.
fn identifier(key: &CertifiedKey) -> Option<CertificateIdentifier<'static>> {
    let (_, leaf) = X509Certificate::from_der(key.cert.first()?).ok()?;
    let authority =
        leaf.iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
                _ => None,
            })?;
    let identifier = CertificateIdentifier::new(authority.0.into(), leaf.raw_serial().into());
    Some(identifier.into_owned())
}

/// Reads a key and its chain from PEM, and checks that the key belongs to the certificate.
fn pair(pem: &[u8]) -> Result<CertifiedKey, UnusableCertificate> {
    let key = certified(pem)?;
    key.keys_match().map_err(UnusableCertificate::new)?;
    Ok(key)
}

/// Reads a key and its chain from PEM.
pub(super) fn certified(pem: &[u8]) -> Result<CertifiedKey, UnusableCertificate> {
    let (mut chain, mut key) = (Vec::new(), None);
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(UnusableCertificate::new)?;
        match block.label.as_str() {
            "CERTIFICATE" => chain.push(block.contents.into()),
            label if label.ends_with("PRIVATE KEY") => key = Some(block.contents),
            _ => {}
        }
    }
    let key = key.ok_or_else(|| UnusableCertificate::new("no private key"))?;
    let key = PrivateKeyDer::try_from(key).map_err(UnusableCertificate::new)?;
    let provider = CryptoProvider::get_default();
    let provider = provider.ok_or_else(|| UnusableCertificate::new("no cryptography is there"))?;
    let key = provider.key_provider.load_private_key(key);
    Ok(CertifiedKey::new(
        chain,
        key.map_err(UnusableCertificate::new)?,
    ))
}
