//! One order: from the account to the certificate (RFC 8555, 7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, CertificateIdentifier,
    ChallengeStatus, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::config::{self, Challenge};

use super::challenge_responses::{ChallengeResponse, ChallengeResponses};
use super::client::{AcmeHttpClient, ClientFailure};
use super::schedule::FailureKind;
use super::storage::{Storage, StorageLock, StoredAccount};

/// How often the authority is asked whether it has validated the names or issued the certificate,
/// and for how long at most: 180 seconds each.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(200))
    .backoff(1.4)
    .timeout(Duration::from_secs(180));
/// How often this process checks whether the account's lock is free.
const LOOK: Duration = Duration::from_millis(100);
/// The most characters of an authority's reason that are kept.
const REASON: usize = 600;

/// The inputs of an order.
pub(super) struct OrderContext<'a> {
    pub(super) settings: &'a config::AcmeConfig,
    pub(super) storage: &'a Storage,
    pub(super) responses: &'a Arc<ChallengeResponses>,
    pub(super) http_client: &'a AcmeHttpClient,
}

/// Why an order brought no certificate.
#[derive(Debug)]
pub(super) struct OrderRefusal {
    pub(super) failure: FailureKind,
    pub(super) reason: String,
}

impl OrderRefusal {
    pub(super) fn new(failure: FailureKind, reason: impl std::fmt::Display) -> Self {
        // An authority may have written the text: it must not control a terminal or fill the log.
        let reason = reason.to_string();
        let printable = reason
            .chars()
            .map(|sign| if sign.is_control() { ' ' } else { sign });
        Self {
            failure,
            reason: printable.take(REASON).collect(),
        }
    }

    fn refused(reason: impl std::fmt::Display) -> Self {
        Self::new(FailureKind::Refused, reason)
    }

    fn local(reason: impl std::fmt::Display) -> Self {
        Self::new(FailureKind::Unreachable, reason)
    }
}

impl From<Error> for OrderRefusal {
    fn from(error: Error) -> Self {
        let failure = match &error {
            error if is(error, "accountDoesNotExist") => FailureKind::AccountGone,
            // The library has already retried the request.
            error if is(error, "badNonce") => FailureKind::Unreachable,
            Error::Other(cause) if cause.is::<ClientFailure>() => FailureKind::Unreachable,
            Error::Json(_) | Error::Str(_) | Error::InvalidUri(_) => FailureKind::Unreachable,
            Error::Api(problem) if problem.status.is_some_and(|status| status >= 500) => {
                FailureKind::Unreachable
            }
            _ => FailureKind::Refused,
        };
        match error {
            Error::Json(_) => Self::new(
                failure,
                "`directory` is not an ACME server: its answer has another form",
            ),
            Error::Api(problem) => {
                let detail = problem.detail.as_deref().unwrap_or("without a reason");
                let kind = problem.r#type.as_deref().unwrap_or_default();
                let kind = kind.rsplit(':').next().unwrap_or_default();
                let subs = problem.subproblems.iter().map(|sub| format!("; {sub}"));
                let subs: String = subs.collect();
                Self::new(
                    failure,
                    format!("the authority refuses: {detail} ({kind}){subs}"),
                )
            }
            error => Self::new(failure, error),
        }
    }
}

/// An authority's suggestion for a renewal: the window, in seconds since 1970, and how long to wait
/// before asking again.
pub(super) struct RenewalSuggestion {
    pub(super) window: (i64, i64),
    pub(super) ask_again: Duration,
}

impl OrderContext<'_> {
    /// Orders a certificate. Returns its key and its chain as PEM. `turn` chooses the type of
    /// challenge, so that after a failure the next attempt uses another type.
    pub(super) async fn order(
        &self,
        turn: u32,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<String, OrderRefusal> {
        let account = self.account().await?;
        let opened = self.open(&account, replaced.clone()).await;
        let (_account, mut order) = match opened {
            Err(error) if is(&error, "accountDoesNotExist") => {
                self.storage.forget_account().map_err(OrderRefusal::local)?;
                let name = self.settings.name();
                log::warn!(
                    "{name}: the authority does not know this account: Hedgerow creates \
                    another"
                );
                let account = self.account().await?;
                let order = self.open(&account, replaced).await?;
                (account, order)
            }
            opened => (account, opened?),
        };
        let responses = self.prove(&mut order, turn).await?;
        let ready = order.poll_ready(&POLLING).await;
        drop(responses);
        match ready {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
            Ok(_) | Err(Error::Api(_)) => return Err(self.unproven(&mut order, ready.err()).await),
            Err(error) => return Err(error.into()),
        }
        let key = KeyPair::generate().map_err(OrderRefusal::local)?;
        let domains = self.settings.domains.clone();
        let mut params = CertificateParams::new(domains).map_err(OrderRefusal::local)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params
            .serialize_request(&key)
            .map_err(OrderRefusal::local)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// Returns the authority's suggestion for the renewal of a certificate, if it gives one.
    pub(super) async fn suggestion(
        &self,
        identifier: &CertificateIdentifier<'static>,
    ) -> Result<Option<RenewalSuggestion>, OrderRefusal> {
        let Some(account) = self.known_account().await? else {
            return Ok(None);
        };
        match account.renewal_info(identifier).await {
            Ok((info, ask_again)) => {
                let window = info.suggested_window;
                Ok(Some(RenewalSuggestion {
                    window: (window.start.unix_timestamp(), window.end.unix_timestamp()),
                    ask_again,
                }))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(self.http_client.clone()))
    }

    /// Returns the stored account, if there is one, and updates its contact if `email` has changed.
    async fn known_account(&self) -> Result<Option<Account>, OrderRefusal> {
        let stored = self.storage.account();
        let stored = stored.map_err(|error| self.storage_failed("account.json", &error))?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let credentials = serde_json::from_value::<AccountCredentials>(stored.credentials.clone());
        let credentials =
            credentials.map_err(|error| self.storage_failed("account.json", &error))?;
        let account = self.builder().from_credentials(credentials).await?;
        if stored.email != self.settings.email {
            let contact = self.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            account.update_contacts(&contact).await?;
            let stored = StoredAccount {
                email: self.settings.email.clone(),
                ..stored
            };
            let kept = self.storage.keep_account(&stored);
            kept.map_err(|error| self.storage_failed("account.json", &error))?;
        }
        Ok(Some(account))
    }

    /// Returns the stored account, or creates one.
    async fn account(&self) -> Result<Account, OrderRefusal> {
        let _lock = self.account_lock().await?;
        match self.known_account().await {
            Ok(None) => {}
            Ok(Some(account)) => return Ok(account),
            Err(refusal) if refusal.failure == FailureKind::AccountGone => {
                self.storage.forget_account().map_err(OrderRefusal::local)?;
            }
            Err(refusal) => return Err(refusal),
        }
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.settings.external_account.as_ref();
        let external = external
            .map(|account| ExternalAccountKey::new(account.key_id.clone(), &account.hmac_key));
        let directory = self.settings.directory.clone();
        let created = self.builder().create(&new, directory, external.as_ref());
        let (account, credentials) = created.await?;
        let stored = StoredAccount {
            email: self.settings.email.clone(),
            credentials: serde_json::to_value(credentials).map_err(OrderRefusal::local)?,
        };
        let kept = self.storage.keep_account(&stored);
        kept.map_err(|error| self.storage_failed("account.json", &error))?;
        Ok(account)
    }

    async fn account_lock(&self) -> Result<StorageLock, OrderRefusal> {
        loop {
            match self.storage.try_lock_account() {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(self.storage_failed("account.lock", &error)),
            }
        }
    }

    fn storage_failed(&self, file: &str, error: &dyn std::fmt::Display) -> OrderRefusal {
        let storage = self.settings.storage.display();
        OrderRefusal::local(format!("{file} in {storage}: {error}"))
    }

    fn contact(&self) -> Option<String> {
        let email = self.settings.email.as_ref();
        email.map(|email| format!("mailto:{email}"))
    }

    async fn open(
        &self,
        account: &Account,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<Order, Error> {
        let domains = self.settings.domains.iter().cloned();
        let identifiers: Vec<Identifier> = domains.map(Identifier::Dns).collect();
        if let Some(replaced) = replaced {
            let order = NewOrder::new(&identifiers).replaces(replaced);
            match account.new_order(&order).await {
                // A renewal has its own rate limit. If the authority does not support that, an
                // ordinary order follows.
                Err(Error::Unsupported(_)) => {}
                Err(error @ Error::Api(_)) if is(&error, "rateLimited") => return Err(error),
                Err(Error::Api(problem)) => log::debug!("not taken as a renewal: {problem}"),
                opened => return opened,
            }
        }
        account.new_order(&NewOrder::new(&identifiers)).await
    }

    /// Proves to the authority that this server controls each name, and asks it to validate.
    async fn prove(
        &self,
        order: &mut Order,
        turn: u32,
    ) -> Result<Vec<ChallengeResponse>, OrderRefusal> {
        let challenges = &self.settings.challenges;
        let first = turn as usize % challenges.len().max(1);
        let in_turn = || challenges.iter().cycle().skip(first).take(challenges.len());
        let mut responses = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => {
                    return Err(OrderRefusal::refused(format!(
                        "the authority does not allow a proof for {name}"
                    )))
                }
            }
            let offered = |chosen: &&Challenge| {
                let mut offered = authorization.challenges.iter();
                offered.any(|challenge| challenge.r#type == challenge_type(**chosen))
            };
            let chosen = in_turn().find(offered).copied().ok_or_else(|| {
                let wanted: Vec<_> = challenges.iter().map(|one| one.name()).collect();
                let wanted = wanted.join(" or ");
                OrderRefusal::refused(format!("the authority does not offer {wanted} for {name}"))
            })?;
            let Some(mut challenge) = authorization.challenge(challenge_type(chosen)) else {
                continue;
            };
            let answer = challenge.key_authorization();
            let storage = self.storage;
            let proof = match chosen {
                Challenge::Http01 => self
                    .responses
                    .show_text(storage, &challenge.token, answer.as_str())
                    .map_err(|error| self.storage_failed("challenges", &error))?,
                Challenge::TlsAlpn01 => self
                    .responses
                    .show_certificate(storage, &name, answer.digest().as_ref())
                    .map_err(|error| self.storage_failed("challenges", &error))?,
            };
            responses.push(proof);
            challenge.set_ready().await?;
        }
        Ok(responses)
    }

    /// Returns why an order did not become ready: the authority's message about each name that it
    /// could not verify.
    async fn unproven(&self, order: &mut Order, error: Option<Error>) -> OrderRefusal {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let Ok(mut authorization) = authorization else {
                continue;
            };
            if authorization.refresh().await.is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let failed = authorization.challenges.iter().filter_map(|challenge| {
                let failed = challenge.status == ChallengeStatus::Invalid;
                let error = challenge.error.as_ref().filter(|_| failed)?;
                let kind = match &challenge.r#type {
                    ChallengeType::Http01 => "http-01",
                    ChallengeType::TlsAlpn01 => "tls-alpn-01",
                    _ => "another challenge",
                };
                let detail = error.detail.as_deref().unwrap_or("without a reason");
                Some(format!(
                    "{name} could not be verified with {kind}: {detail}"
                ))
            });
            reasons.extend(failed);
        }
        match (reasons.is_empty(), error) {
            (false, _) => OrderRefusal::refused(reasons.join("; ")),
            (true, Some(error)) => error.into(),
            (true, None) => OrderRefusal::refused("the authority ended the order without a reason"),
        }
    }
}

fn challenge_type(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// Whether an authority's problem is of this kind (RFC 8555, 6.7).
fn is(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let found = problem.r#type.as_deref().unwrap_or_default();
    found.strip_prefix("urn:ietf:params:acme:error:") == Some(kind)
}
