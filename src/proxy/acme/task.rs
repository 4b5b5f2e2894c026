//! Manages one certificate: serves one that another process has ordered, and orders one when it is
//! due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use tokio::time::{sleep, timeout, Instant};

use crate::proxy::random::random_bits;

use super::challenge_responses::ChallengeResponses;
use super::client::AcmeHttpClient;
use super::order::{OrderContext, OrderRefusal};
use super::ordered_certificate::{OrderedCertificate, ServedCertificate};
use super::schedule::{AttemptReason, FailureKind};
use super::storage::Attempts;

/// How often this process checks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// How long a whole order may take.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How often an authority is asked when to renew, unless it sets the interval; and the limits for
/// that interval.
const SUGGESTED_EVERY: Duration = Duration::from_secs(6 * 3600);
const SUGGESTED_AT_LEAST: Duration = Duration::from_secs(3600);
const SUGGESTED_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// The pause before writing a certificate is tried again after a failure.
const SAVED_EVERY: Duration = Duration::from_secs(60);

/// Manages one certificate until it is aborted.
pub(super) struct CertificateTask {
    pub(super) ordered: Arc<OrderedCertificate>,
    pub(super) responses: Arc<ChallengeResponses>,
    /// Whether the process is shutting down: no order is begun then.
    pub(super) leaving: Arc<AtomicBool>,
    pub(super) renewal_plan: RenewalPlan,
    /// A certificate that could not be written yet, and when to try again.
    pub(super) unsaved: Option<(String, Instant)>,
}

/// When the authority suggests to renew the served certificate.
#[derive(Default)]
pub(super) struct RenewalPlan {
    /// The identifier of the certificate, and when to renew it, in seconds since 1970.
    at: Option<(String, i64)>,
    /// When to ask again; at once if unset.
    ask_again: Option<Instant>,
}

impl CertificateTask {
    pub(super) async fn run(mut self) {
        let settings = &self.ordered.settings;
        if self.ordered.served().is_none() {
            log::warn!(
                "there is no certificate for {} yet: TLS connections for it fail until {} has \
                 issued one",
                settings.domains.join(", "),
                settings.directory
            );
        }
        // An attempt that failed with other settings may succeed with these.
        if self.ordered.attempts().settings != self.settings_in_short() {
            self.ordered.request_attempt();
        }
        loop {
            self.ordered.reload_if_changed();
            self.save();
            self.ask_when_to_renew().await;
            if self.is_due() && !self.leaving.load(Ordering::Relaxed) {
                self.attempt().await;
            }
            sleep(LOOK).await;
        }
    }

    fn settings_in_short(&self) -> String {
        let settings = &self.ordered.settings;
        let challenges = settings.challenges.iter().map(|one| one.name());
        let external = settings.external_account.as_ref();
        format!(
            "{}; {}; {}; {}",
            settings.domains.join(","),
            challenges.collect::<Vec<_>>().join(","),
            settings.email.as_deref().unwrap_or_default(),
            external.map_or("", |account| &account.key_id)
        )
    }

    /// Whether a certificate has to be ordered, and may be ordered now.
    fn is_due(&self) -> bool {
        let (now, attempts) = (now(), self.ordered.attempts());
        if !self.is_wanted(now, &attempts) {
            return false;
        }
        let reason = match self.ordered.is_attempt_requested() {
            true => AttemptReason::Asked,
            false => AttemptReason::Scheduled,
        };
        attempts.may_begin(now, reason)
    }

    fn is_wanted(&self, now: u64, attempts: &Attempts) -> bool {
        let Some(served) = self.ordered.served() else {
            return true;
        };
        // A time that was written with a wrong clock is ignored.
        let issued = (1..=now).contains(&attempts.last).then_some(attempts.last);
        let issued = issued.filter(|_| attempts.failures == 0);
        let issued = issued.and_then(|issued| i64::try_from(issued).ok());
        let from = served
            .validity
            .renewed_after(self.renewal_plan.of(&served), issued);
        !self.ordered.is_complete() || i64::try_from(now).is_ok_and(|now| now >= from)
    }

    /// Returns the inputs of an order.
    fn order_context<'a>(&'a self, http_client: &'a AcmeHttpClient) -> OrderContext<'a> {
        OrderContext {
            settings: &self.ordered.settings,
            storage: &self.ordered.storage,
            responses: &self.responses,
            http_client,
        }
    }

    /// Makes one attempt, unless another process makes it.
    async fn attempt(&mut self) {
        let name = self.ordered.settings.name().to_owned();
        let _lock = match self.ordered.storage.try_lock() {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(error) => return self.cannot_keep(&error),
        };
        // Another process may have ordered before the lock was taken.
        self.ordered.reload_if_changed();
        if !self.is_due() {
            return;
        }
        self.ordered.clear_request();
        let before = self.ordered.attempts();
        let mut attempts = before.clone();
        attempts.begin(&self.settings_in_short(), now(), random_bits());
        if let Err(error) = self.ordered.set_attempts(attempts.clone()) {
            // A certificate that cannot be stored would be ordered again after each start.
            return self.failed(attempts, self.storage_failed(&error), None);
        }
        self.ordered.storage.clear();
        let http_client = AcmeHttpClient::new(&self.ordered.settings);
        let order_context = self.order_context(&http_client);
        log::info!(
            "{name}: Hedgerow orders a certificate for {} from {}",
            self.ordered.settings.domains.join(", "),
            self.ordered.settings.directory
        );
        let served = self.ordered.served();
        let replaced = served.and_then(|served| served.identifier.clone());
        // Only an authority that suggests renewal times knows the identifier.
        let replaced = replaced.filter(|_| self.renewal_plan.at.is_some());
        let order = order_context.order(attempts.failures, replaced);
        let outcome = match timeout(TIMEOUT, order).await {
            Ok(outcome) => outcome,
            Err(_) => Err(OrderRefusal::new(
                FailureKind::Refused,
                "the order took too long",
            )),
        };
        let outcome = outcome.and_then(|pem| self.take(&pem).map(|served| (served, pem)));
        match outcome {
            Ok((served, pem)) => self.succeeded(&before, &served, pem),
            Err(refusal) => self.failed(attempts, refusal, http_client.retry_after()),
        }
    }

    /// Serves the issued certificate if it is for all configured names.
    fn take(&self, pem: &str) -> Result<Arc<ServedCertificate>, OrderRefusal> {
        let useless = |reason: String| {
            let reason = format!("the certificate from the authority cannot be used: {reason}");
            OrderRefusal::new(FailureKind::Refused, reason)
        };
        let found =
            ServedCertificate::of(pem.as_bytes()).map_err(|error| useless(error.to_string()))?;
        let domains = &self.ordered.settings.domains;
        if let Some(missing) = domains.iter().find(|domain| !found.names.contains(domain)) {
            return Err(useless(format!("{missing} is not in it")));
        }
        Ok(self.ordered.serve(found))
    }

    fn succeeded(&mut self, before: &Attempts, served: &ServedCertificate, pem: String) {
        let name = self.ordered.settings.name();
        let now = now();
        self.ordered.issued.fetch_add(1, Ordering::Relaxed);
        self.renewal_plan = RenewalPlan::default();
        let from = served.validity.renewed_after(None, i64::try_from(now).ok());
        let (ends, from) = (date(served.validity.ends), date(from));
        let after = match before.failures {
            0 => String::new(),
            1 => "after 1 failed attempt ".to_owned(),
            many => format!("after {many} failed attempts "),
        };
        log::info!(
            "{name}: the authority has issued the certificate {after}and Hedgerow serves it. It \
             expires {ends}, and Hedgerow renews it from {from}"
        );
        if let Err(error) = self.ordered.storage.keep_certificate(&pem) {
            log::error!(
                "{name}: Hedgerow serves the new certificate, but could not write it to {}: \
                 {error}. It will try again",
                self.ordered.storage.certificate().display()
            );
            self.unsaved = Some((pem, Instant::now() + SAVED_EVERY));
        }
        let attempts = Attempts {
            settings: self.settings_in_short(),
            last: now,
            ..Attempts::default()
        };
        if let Err(error) = self.ordered.set_attempts(attempts) {
            log::warn!("{name}: {}", self.storage_failed(&error).reason);
        }
    }

    fn failed(&self, mut attempts: Attempts, refusal: OrderRefusal, wait_until: Option<u64>) {
        let name = self.ordered.settings.name();
        self.ordered.failed.fetch_add(1, Ordering::Relaxed);
        let (reason, now) = (refusal.reason, now());
        let bits = random_bits();
        attempts.fail(refusal.failure, reason.clone(), wait_until, now, bits);
        let next = attempts.next_at();
        let pause = Duration::from_secs(next.saturating_sub(now));
        let serves = match self.ordered.served() {
            None => "TLS connections for it fail".to_owned(),
            Some(served) if served.validity.ends <= now as i64 => {
                "the certificate in use has expired".to_owned()
            }
            Some(served) => format!(
                "the certificate in use expires {}",
                date(served.validity.ends)
            ),
        };
        let attempt = attempts.failures.saturating_add(1);
        let stored = self.ordered.set_attempts(attempts);
        log::error!(
            "{name}: no certificate could be ordered: {reason}. {serves}; Hedgerow makes \
             attempt {attempt} in {}",
            format_pause(pause)
        );
        if let Err(error) = stored {
            let storage_error = self.storage_failed(&error).reason;
            if storage_error != reason {
                log::warn!("{name}: {storage_error}");
            }
        }
    }

    /// Records a failure because nothing can be written. No order is begun, because its certificate
    /// could not be stored.
    fn cannot_keep(&self, error: &std::io::Error) {
        self.ordered.clear_request();
        let mut attempts = self.ordered.attempts();
        attempts.begin(&self.settings_in_short(), now(), random_bits());
        self.failed(attempts, self.storage_failed(error), None);
    }

    fn storage_failed(&self, error: &std::io::Error) -> OrderRefusal {
        let storage = self.ordered.settings.storage.display();
        let reason = format!("nothing can be written to {storage}: {error}");
        OrderRefusal::new(FailureKind::Unreachable, reason)
    }

    /// Writes a certificate that could not be written before.
    fn save(&mut self) {
        let Some((pem, at)) = self.unsaved.take() else {
            return;
        };
        if at > Instant::now() {
            self.unsaved = Some((pem, at));
            return;
        }
        match self.ordered.storage.keep_certificate(&pem) {
            Ok(()) => log::info!(
                "{}: Hedgerow has now stored the certificate",
                self.ordered.settings.name()
            ),
            Err(_) => self.unsaved = Some((pem, Instant::now() + SAVED_EVERY)),
        }
    }

    /// Asks the authority when to renew the certificate (RFC 9773).
    async fn ask_when_to_renew(&mut self) {
        let again = self.renewal_plan.ask_again;
        if again.is_some_and(|again| again > Instant::now()) {
            return;
        }
        let Some(served) = self.ordered.served() else {
            return;
        };
        let Some(identifier) = &served.identifier else {
            return;
        };
        // This is set before the question, so that the authority is not asked again at once if the
        // question fails.
        self.renewal_plan.ask_again = Some(Instant::now() + SUGGESTED_EVERY);
        let http_client = AcmeHttpClient::new(&self.ordered.settings);
        let order_context = self.order_context(&http_client);
        let name = self.ordered.settings.name();
        match timeout(TIMEOUT, order_context.suggestion(identifier)).await {
            Ok(Ok(Some(suggestion))) => {
                let pause = suggestion.ask_again;
                let pause = pause.clamp(SUGGESTED_AT_LEAST, SUGGESTED_AT_MOST);
                self.renewal_plan.ask_again = Some(Instant::now() + pause);
                self.renewal_plan.choose(&served, suggestion.window);
            }
            Ok(Ok(None)) => {}
            Ok(Err(refusal)) => {
                log::debug!(
                    "{name}: the authority did not say when to renew: {}",
                    refusal.reason
                );
            }
            Err(_) => log::debug!("{name}: the authority did not say in time when to renew"),
        }
    }
}

impl RenewalPlan {
    /// Chooses a random time in the window. A time that was chosen before stays while it is in the
    /// window.
    fn choose(&mut self, served: &ServedCertificate, window: (i64, i64)) {
        let (start, end) = window;
        let identifier = served.identifier.as_ref().map(ToString::to_string);
        let Some(identifier) = identifier else { return };
        let chosen = self.of(served);
        if chosen.is_some_and(|chosen| (start..=end).contains(&chosen)) {
            return;
        }
        let length = u128::try_from(end.saturating_sub(start).max(0)).unwrap_or(0);
        let into = i64::try_from(random_bits() % (length + 1)).unwrap_or(0);
        self.at = Some((identifier, start.saturating_add(into)));
    }

    /// Returns when to renew this certificate, if the authority has suggested a time.
    fn of(&self, served: &ServedCertificate) -> Option<i64> {
        let (known, at) = self.at.as_ref()?;
        let identifier = served.identifier.as_ref()?.to_string();
        (*known == identifier).then_some(*at)
    }
}

/// Returns the current time in seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn date(seconds: i64) -> String {
    let date = DateTime::from_timestamp(seconds, 0);
    date.map_or_else(
        || seconds.to_string(),
        |date| date.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

/// Returns a pause in words: `45 s`, `5 min`, `2 h 10 min`.
fn format_pause(pause: Duration) -> String {
    let seconds = pause.as_secs();
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_said_in_words() {
        for (seconds, text) in [
            (0, "0 s"),
            (45, "45 s"),
            (359, "5 min"),
            (7_800, "2 h 10 min"),
            (10_800, "3 h"),
        ] {
            assert_eq!(format_pause(Duration::from_secs(seconds)), text);
        }
    }
}
