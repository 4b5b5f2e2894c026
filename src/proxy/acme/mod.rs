//! Orders and renews certificates (`acme` of a listener's `tls`).
//!
//! `instant-acme` implements the protocol, and `rcgen` creates requests and challenge certificates. The
//! modules here decide when to order, store the results, and show the proofs to authorities. Listeners look
//! up the certificate at each handshake, so open connections continue when it changes.

mod challenge_responses;
mod client;
mod order;
mod ordered_certificate;
mod schedule;
mod storage;
mod task;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::admin::{CertificateOrders, CertificateState};
use crate::config::{self, Config};
use crate::doctor::{self, Finding};
use crate::proxy::build_error::{check_authorities, BuildError};

pub(crate) use challenge_responses::ChallengeResponses;
pub(crate) use ordered_certificate::OrderedCertificate;

use task::{CertificateTask, RenewalPlan};

/// Manages the ordered certificates and the proofs for authorities.
#[derive(Default)]
pub(crate) struct CertificateManager {
    responses: Arc<ChallengeResponses>,
    certificates: Mutex<CertificateTasks>,
    /// The runtime of the tasks that order certificates, set when the server runs.
    runtime: OnceLock<Handle>,
    leaving: Arc<AtomicBool>,
    /// The successful and failed orders of the certificates that are no longer managed.
    issued_before: AtomicU64,
    failed_before: AtomicU64,
}

#[derive(Default)]
struct CertificateTasks {
    managed: Vec<ManagedCertificate>,
    /// The certificates of a configuration that may become active.
    planned: Vec<Weak<OrderedCertificate>>,
}

struct ManagedCertificate {
    ordered: Arc<OrderedCertificate>,
    task: Option<AbortHandle>,
}

impl CertificateManager {
    /// Creates a manager. `leaving` becomes true when the process shuts down.
    pub(crate) fn leaving_with(leaving: &Arc<AtomicBool>) -> Self {
        Self {
            leaving: Arc::clone(leaving),
            ..Self::default()
        }
    }

    /// Returns the proofs for authorities.
    pub(crate) fn responses(&self) -> &Arc<ChallengeResponses> {
        &self.responses
    }

    /// Returns the certificate with these settings, for a configuration that may become active. Listeners
    /// with the same settings share it.
    ///
    /// # Errors
    ///
    /// Returns an error if there are no authorities to verify the directory with.
    pub(crate) fn certificate(
        &self,
        settings: &config::AcmeConfig,
    ) -> Result<Arc<OrderedCertificate>, BuildError> {
        let authorities = settings.ca_file.as_ref().map(|file| file.path.as_path());
        check_authorities(authorities, &settings.directory)?;
        let mut certificates = self.certificates();
        let planned = certificates.planned.iter().filter_map(Weak::upgrade);
        let managed = certificates.managed.iter();
        let mut known = managed.map(|one| Arc::clone(&one.ordered)).chain(planned);
        if let Some(known) = known.find(|known| known.settings == *settings) {
            return Ok(known);
        }
        drop(known);
        let ordered = Arc::new(OrderedCertificate::new(settings.clone()));
        certificates.planned.retain(|one| one.strong_count() > 0);
        certificates.planned.push(Arc::downgrade(&ordered));
        Ok(ordered)
    }

    /// Manages only the certificates of this configuration from now on. Failed attempts become due again.
    pub(crate) fn activate(&self, config: &Config) {
        let listeners = config.listen.iter();
        let wanted = listeners.flat_map(|listener| listener.ordered_certificates());
        let wanted: Vec<&config::AcmeConfig> = wanted.collect();
        let mut certificates = self.certificates();
        let planned = std::mem::take(&mut certificates.planned);
        let previous = std::mem::take(&mut certificates.managed);
        for certificate in previous {
            if wanted.contains(&&certificate.ordered.settings) {
                certificate.ordered.request_attempt();
                certificates.managed.push(certificate);
                continue;
            }
            if let Some(task) = certificate.task {
                task.abort();
            }
            let (issued, failed) = certificate.ordered.counts();
            self.issued_before.fetch_add(issued, Ordering::Relaxed);
            self.failed_before.fetch_add(failed, Ordering::Relaxed);
        }
        for ordered in planned.iter().filter_map(Weak::upgrade) {
            let is_known = |one: &ManagedCertificate| one.ordered.settings == ordered.settings;
            let known = certificates.managed.iter().any(is_known);
            if !known && wanted.contains(&&ordered.settings) {
                // The changed settings, such as `ca_file`, may have been the reason for a failure.
                if self.runtime.get().is_some() {
                    ordered.request_attempt();
                }
                let task = None;
                certificates
                    .managed
                    .push(ManagedCertificate { ordered, task });
            }
        }
        let storages = certificates.managed.iter();
        let storages = storages.map(|one| one.ordered.storage.clone()).collect();
        self.responses.share(storages);
        self.start_tasks(&mut certificates);
    }

    /// Starts the tasks that order certificates, on this runtime.
    pub(crate) fn begin(&self, runtime: &Handle) {
        self.runtime.get_or_init(|| runtime.clone());
        self.start_tasks(&mut self.certificates());
    }

    fn start_tasks(&self, certificates: &mut CertificateTasks) {
        let Some(runtime) = self.runtime.get() else {
            return;
        };
        for one in &mut certificates.managed {
            if one.task.is_none() {
                let task = CertificateTask {
                    ordered: Arc::clone(&one.ordered),
                    responses: Arc::clone(&self.responses),
                    leaving: Arc::clone(&self.leaving),
                    renewal_plan: RenewalPlan::default(),
                    unsaved: None,
                };
                one.task = Some(runtime.spawn(task.run()).abort_handle());
            }
        }
    }

    /// Stops the tasks. This also releases their locks and removes their proofs.
    pub(crate) fn end(&self) {
        for one in &mut self.certificates().managed {
            if let Some(task) = one.task.take() {
                task.abort();
            }
        }
    }

    /// Returns the states of the issued certificates, with the times when they expire.
    pub(crate) fn states(&self) -> Vec<CertificateState> {
        let certificates = self.certificates();
        let states = certificates.managed.iter();
        states.filter_map(|one| one.ordered.state()).collect()
    }

    /// Returns the numbers of successful and failed orders, and of certificates whose last order failed.
    pub(crate) fn orders(&self) -> CertificateOrders {
        let certificates = self.certificates();
        let mut orders = CertificateOrders {
            issued: self.issued_before.load(Ordering::Relaxed),
            failed: self.failed_before.load(Ordering::Relaxed),
            failing: 0,
        };
        for one in &certificates.managed {
            let (issued, failed) = one.ordered.counts();
            orders.issued += issued;
            orders.failed += failed;
            orders.failing += u64::from(one.ordered.is_failing());
        }
        orders
    }

    fn certificates(&self) -> MutexGuard<'_, CertificateTasks> {
        let certificates = self.certificates.lock();
        certificates.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the findings of `hedgerow doctor` about an ordered certificate. It only reads the folder, which
/// another process may be using.
pub(crate) fn examine(settings: &config::AcmeConfig) -> Vec<Finding> {
    let ordered = OrderedCertificate::new(settings.clone());
    let attempts = ordered.attempts();
    let now = task::now();
    let validity = ordered.served().map(|served| served.validity);
    let facts = doctor::acme::CertificateFacts {
        domains: &settings.domains,
        directory: &settings.directory,
        storage: &settings.storage,
        unwritable: unwritable(&settings.storage),
        life: validity.map(|validity| (validity.begins, validity.ends)),
        complete: ordered.is_complete(),
        failures: attempts.failures,
        error: attempts.error.as_deref(),
        next: attempts.next.max(attempts.retry_after),
        now,
    };
    doctor::acme::certificate(&facts)
}

/// Returns why a folder cannot store certificates, or `None` if it can.
pub(crate) fn unwritable(storage: &Path) -> Option<String> {
    let result = storage::check_folder(storage);
    result.err().map(|error| error.to_string())
}
