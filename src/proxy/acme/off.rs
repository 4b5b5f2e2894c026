//! Replaces the module `acme` if the cargo feature `acme` is off. Such a build refuses a configuration that
//! orders certificates, so it never orders one.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use pingora::tls::sign::CertifiedKey;
use tokio::runtime::Handle;

use crate::admin::{CertificateOrders, CertificateState};
use crate::config::{self, Config};
use crate::doctor::Finding;
use crate::proxy::build_error::BuildError;
use crate::proxy::certificate::CertificateMatch;

/// Manages no certificates.
#[derive(Default)]
pub(crate) struct CertificateManager {
    responses: Arc<ChallengeResponses>,
}

/// Has no proofs for authorities.
#[derive(Debug, Default)]
pub(crate) struct ChallengeResponses;

/// An ordered certificate, which cannot exist in this build.
#[derive(Debug)]
pub(crate) enum OrderedCertificate {}

impl OrderedCertificate {
    pub(crate) fn holding(&self, _name: &str) -> CertificateMatch {
        match *self {}
    }

    pub(crate) fn key(&self) -> Option<Arc<CertifiedKey>> {
        match *self {}
    }
}

impl ChallengeResponses {
    pub(crate) async fn answer(&self, _token: &str) -> Option<Vec<u8>> {
        None
    }

    pub(crate) fn certificate(&self, _name: &str) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl CertificateManager {
    pub(crate) fn leaving_with(_leaving: &Arc<AtomicBool>) -> Self {
        Self::default()
    }

    pub(crate) fn responses(&self) -> &Arc<ChallengeResponses> {
        &self.responses
    }

    /// # Errors
    ///
    /// Always returns an error.
    pub(crate) fn certificate(
        &self,
        _settings: &config::AcmeConfig,
    ) -> Result<Arc<OrderedCertificate>, BuildError> {
        Err(BuildError::NoAcme)
    }

    pub(crate) fn activate(&self, _config: &Config) {}

    pub(crate) fn begin(&self, _runtime: &Handle) {}

    pub(crate) fn end(&self) {}

    pub(crate) fn states(&self) -> Vec<CertificateState> {
        Vec::new()
    }

    pub(crate) fn orders(&self) -> CertificateOrders {
        CertificateOrders::default()
    }
}

pub(crate) fn examine(_settings: &config::AcmeConfig) -> Vec<Finding> {
    Vec::new()
}

pub(crate) fn unwritable(_storage: &Path) -> Option<String> {
    None
}
