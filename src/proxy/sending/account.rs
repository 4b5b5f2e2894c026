//! A real Segment account in addition to PostHog: Hedgerow forwards the original requests to it and
//! downloads its settings. Delivery to PostHog never waits for the account. Only a request for settings
//! that are not cached yet waits for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::admin::ForwardCounts;
use crate::config::Forward;
use crate::segment::{Answer, KeyFrom, Recognised, WriteKey};
use crate::site::forward::{
    headers_for, path_for, settings_copy, settings_path, AfterAttempt, AttemptOutcome,
    QueueAdmission, QueueBounds, QueueLoad, SettingsCopy,
};
use crate::site::{keeps_response_header, DeviceMode};

use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::outbound::fetch::FetchHost;
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::outbound::ConnectionPool;
use crate::proxy::random::random_bits;
use crate::proxy::reply;

/// The maximum number of requests to Segment in flight at once.
const AT_ONCE: usize = 64;
/// The time limit for a request to Segment.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for the account's settings if they are not cached.
const FIRST: Duration = Duration::from_secs(2);
/// The maximum number of write keys whose settings are cached. With `write_keys: any` each client may send
/// another key.
const COPIES: usize = 64;
/// The limit for any answer of the account, such as settings or the code of a destination, in bytes.
const LARGEST: usize = 4 << 20;

/// The outcome of a request that was forwarded to Segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyOutcome {
    Delivered,
    Refused,
    Expired,
    Full,
    Withheld,
}

/// The outcomes of the requests of all accounts, including the accounts of earlier configurations.
#[derive(Debug, Default)]
pub(crate) struct SegmentAccounts {
    counts: [AtomicU64; 5],
    under_way: AtomicUsize,
}

impl SegmentAccounts {
    pub(crate) fn counts(&self) -> ForwardCounts {
        let count = |outcome: CopyOutcome| {
            let counter = self.counts.get(outcome as usize);
            counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        ForwardCounts {
            delivered: count(CopyOutcome::Delivered),
            refused: count(CopyOutcome::Refused),
            expired: count(CopyOutcome::Expired),
            full: count(CopyOutcome::Full),
            withheld: count(CopyOutcome::Withheld),
        }
    }

    /// Returns the number of requests that are neither delivered nor dropped yet.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }
}

/// One account.
pub(crate) struct SegmentAccount {
    forward: Forward,
    api: FetchHost,
    cdn: FetchHost,
    bounds: QueueBounds,
    load: Mutex<QueueLoad>,
    permits: Semaphore,
    connect: Duration,
    accounts: Arc<SegmentAccounts>,
    log_limit: Arc<LogLimit>,
    copies: Mutex<HashMap<String, CopiedSettings>>,
}

#[derive(Clone, Default)]
struct CopiedSettings {
    settings: Option<Value>,
    fetched: Option<Instant>,
    failed: Option<Instant>,
}

/// A request as the client sent it.
pub(crate) struct OriginalRequest {
    method: &'static str,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    arrived: Instant,
    _permit: QueuePermit,
}

/// A place in the queue for one request and this number of bytes. Dropping it releases the place.
struct QueuePermit {
    account: Arc<SegmentAccount>,
    bytes: usize,
}

impl QueuePermit {
    fn take(account: &Arc<SegmentAccount>) -> Option<Self> {
        let mut load = lock(&account.load);
        if account.bounds.admit(*load, 0) == QueueAdmission::Full {
            return None;
        }
        load.requests += 1;
        account.accounts.under_way.fetch_add(1, Ordering::AcqRel);
        Some(Self {
            account: Arc::clone(account),
            bytes: 0,
        })
    }

    fn grow(&mut self, bytes: usize) -> QueueAdmission {
        let mut load = lock(&self.account.load);
        let without_requests = QueueLoad {
            requests: 0,
            ..*load
        };
        let admission = self.account.bounds.admit(without_requests, bytes);
        if admission == QueueAdmission::Queued {
            load.bytes += bytes;
            self.bytes += bytes;
        }
        admission
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let mut load = lock(&self.account.load);
        load.requests = load.requests.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(self.bytes);
        let accounts = &self.account.accounts;
        accounts.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of a request that may be forwarded. It is collected while the request is rewritten. A body that
/// does not fit into the queue is dropped at once, so that slow uploads cannot hold more than the queue
/// allows.
pub(crate) struct RequestCopy {
    /// The place in the queue; `None` if the queue is full.
    permit: Option<QueuePermit>,
    pieces: Vec<Bytes>,
    /// Where the request has its write key. A request without one gets the account's key.
    key_from: KeyFrom,
}

impl RequestCopy {
    /// Creates an empty copy of a request that may be forwarded to this account.
    pub(crate) fn new(account: &Arc<SegmentAccount>) -> Self {
        Self {
            permit: QueuePermit::take(account),
            pieces: Vec::new(),
            key_from: KeyFrom::Nowhere,
        }
    }

    /// Appends a piece of the body. It shares the bytes that were read and does not copy them.
    pub(crate) fn push(&mut self, piece: &Bytes) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        match permit.grow(piece.len()) {
            QueueAdmission::Queued => self.pieces.push(piece.clone()),
            QueueAdmission::Full => {
                self.permit = None;
                self.pieces = Vec::new();
            }
        }
    }

    /// Records where the request had its write key.
    pub(crate) fn set_key_from(&mut self, key_from: KeyFrom) {
        self.key_from = key_from;
    }
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.as_slice() {
        [_] => pieces.pop().unwrap_or_default(),
        pieces => {
            let mut body = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in pieces {
                body.extend_from_slice(piece);
            }
            body.freeze()
        }
    }
}

impl OriginalRequest {
    /// Creates the request to forward for this call. `client` is the visitor's address, masked if
    /// configured. Returns `None` if the call is not forwarded, or if the queue is full; a full queue is
    /// counted.
    pub(crate) fn new(
        account: &SegmentAccount,
        call: Recognised,
        query: Option<&str>,
        headers: &HeaderMap,
        client: Option<IpAddr>,
        copy: RequestCopy,
    ) -> Option<Self> {
        let mut path = path_for(call)?;
        let Some(permit) = copy.permit else {
            account.count(CopyOutcome::Full);
            return None;
        };
        if let Some(query) = query {
            path = format!("{path}?{query}");
        }
        let method = match call {
            Recognised::Pixel(_) => "GET",
            _ => "POST",
        };
        let write_key = account.write_key().map(WriteKey::expose);
        let mut headers = headers_for(headers, copy.key_from, write_key);
        let client = client.and_then(|client| HeaderValue::from_str(&client.to_string()).ok());
        if let Some(client) = client {
            headers.insert(HeaderName::from_static("x-forwarded-for"), client);
        }
        Some(Self {
            method,
            path,
            headers,
            body: joined(copy.pieces),
            arrived: Instant::now(),
            _permit: permit,
        })
    }
}

impl SegmentAccount {
    /// Creates an account with the connections to its two hosts.
    pub(crate) fn new(
        forward: &Forward,
        [api, cdn]: [Arc<ConnectionPool>; 2],
        connect: Duration,
        accounts: Arc<SegmentAccounts>,
        log_limit: Arc<LogLimit>,
    ) -> Self {
        let timeouts = Timeouts {
            connect,
            exchange: TIMEOUT,
        };
        Self {
            forward: forward.clone(),
            api: FetchHost::new(&forward.api, api, timeouts),
            cdn: FetchHost::new(&forward.cdn, cdn, timeouts),
            bounds: QueueBounds::default(),
            load: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
            connect,
            accounts,
            copies: Mutex::default(),
            log_limit,
        }
    }

    /// Returns the account's own write key, if it is configured. The account's settings are requested with
    /// it, and requests that have no key get it.
    pub(crate) fn write_key(&self) -> Option<&WriteKey> {
        self.forward.write_key.as_ref()
    }

    /// Returns whether an account with these settings would behave the same.
    pub(crate) fn behaves_the_same(&self, forward: &Forward, connect: Duration) -> bool {
        self.forward == *forward && self.connect == connect
    }

    pub(crate) fn device_mode(&self) -> DeviceMode {
        self.forward.device_mode
    }

    /// Counts the outcome of a request. Logs it if Segment did not accept the request.
    pub(crate) fn count(&self, outcome: CopyOutcome) {
        if let Some(counter) = self.accounts.counts.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let (kind, reason) = match outcome {
            CopyOutcome::Delivered | CopyOutcome::Withheld => return,
            CopyOutcome::Refused => ("forward_refused", "Segment refused it"),
            CopyOutcome::Expired => ("forward_expired", "Segment did not accept it in time"),
            CopyOutcome::Full => ("forward_full", "too many requests wait for Segment"),
        };
        if let Some(more) = self.log_limit.pass("", kind) {
            log::warn!("a request was not forwarded to the Segment account: {reason}{more}");
        }
    }

    /// Forwards a request in a separate task. The client does not wait for it.
    pub(crate) fn send(self: &Arc<Self>, original: OriginalRequest) {
        let account = Arc::clone(self);
        tokio::spawn(async move { account.deliver(&original).await });
    }

    async fn deliver(&self, original: &OriginalRequest) {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = self.attempt(original).await;
            let age = original.arrived.elapsed();
            match self
                .bounds
                .next(attempt, age, outcome, random_bits() as u32)
            {
                AfterAttempt::Delivered => return self.count(CopyOutcome::Delivered),
                AfterAttempt::Refused => return self.count(CopyOutcome::Refused),
                AfterAttempt::Expired => return self.count(CopyOutcome::Expired),
                AfterAttempt::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    async fn attempt(&self, original: &OriginalRequest) -> AttemptOutcome {
        let Ok(_permit) = self.permits.acquire().await else {
            return AttemptOutcome::Failed;
        };
        let OriginalRequest {
            method,
            path,
            headers,
            body,
            ..
        } = original;
        let fetch = self.api.fetch(method, path, headers, body.clone(), LARGEST);
        match fetch.await {
            Ok(fetched) => AttemptOutcome::Answered {
                status: fetched.status(),
                retry_after: fetched
                    .headers()
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok()),
            },
            Err(_) => AttemptOutcome::Failed,
        }
    }

    /// Returns the account's settings for a key: the cached copy, which is refreshed in the background. If
    /// there is no copy yet, waits up to `FIRST` for it. If this returns `None`, the caller generates
    /// settings itself.
    pub(crate) async fn settings(self: &Arc<Self>, write_key: &str) -> Option<Value> {
        let copy = {
            let mut copies = lock(&self.copies);
            if !copies.contains_key(write_key) && copies.len() >= COPIES {
                copies.retain(|_, copy| copy.settings.is_some());
                if copies.len() >= COPIES {
                    return None;
                }
            }
            let copy = copies.entry(write_key.to_owned()).or_default();
            let before = copy.clone();
            let age = copy.fetched.map_or(Duration::MAX, |at| at.elapsed());
            let failed = copy.failed.map(|at| at.elapsed());
            if settings_copy(age, failed) == SettingsCopy::Fresh {
                return before.settings;
            }
            // Marked as failed until the download succeeds, so that only one runs at a time. Requests that
            // arrive meanwhile get the cached copy.
            copy.failed = Some(Instant::now());
            before
        };
        let account = Arc::clone(self);
        let key = write_key.to_owned();
        let fetch = tokio::spawn(async move { account.fetch_settings(&key).await });
        if copy.settings.is_some() {
            return copy.settings;
        }
        tokio::time::timeout(FIRST, fetch).await.ok()?.ok()?
    }

    async fn fetch_settings(&self, write_key: &str) -> Option<Value> {
        let encoded =
            percent_encoding::utf8_percent_encode(write_key, percent_encoding::NON_ALPHANUMERIC);
        let path = settings_path(&encoded.to_string());
        let headers = HeaderMap::new();
        let fetched = self
            .cdn
            .fetch("GET", &path, &headers, Bytes::new(), LARGEST);
        let settings = match fetched.await {
            Ok(answer) if answer.status().is_success() => {
                serde_json::from_slice::<Value>(answer.body()).ok()
            }
            _ => None,
        };
        let Some(settings) = settings else {
            if let Some(more) = self.log_limit.pass("", "account_settings") {
                log::warn!("the settings of a Segment account could not be fetched{more}");
            }
            return None;
        };
        let mut copies = lock(&self.copies);
        let copy = copies.entry(write_key.to_owned()).or_default();
        *copy = CopiedSettings {
            settings: Some(settings.clone()),
            fetched: Some(Instant::now()),
            failed: None,
        };
        Some(settings)
    }

    /// Fetches the code of a destination that runs in the page from Segment's CDN.
    pub(crate) async fn destination(&self, path: &str, request: &HeaderMap) -> Option<Answer> {
        if self.forward.device_mode == DeviceMode::Removed {
            return None;
        }
        let mut headers = HeaderMap::new();
        for name in [header::ACCEPT_ENCODING, header::IF_NONE_MATCH] {
            if let Some(value) = request.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let path = format!("/{}", path.trim_start_matches('/'));
        let fetch = self
            .cdn
            .fetch("GET", &path, &headers, Bytes::new(), LARGEST);
        let answer = fetch.await.ok()?;
        let (parts, body) = answer.into_parts();
        let kept = parts.headers.iter().filter(|(name, value)| {
            value
                .to_str()
                .is_ok_and(|value| keeps_response_header(name.as_str(), value))
        });
        let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
        Some(reply::answer(parts.status, kept.collect(), body))
    }
}

impl std::fmt::Debug for SegmentAccount {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Account")
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
