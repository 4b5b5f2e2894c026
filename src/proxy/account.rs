//! A real Segment account beside PostHog: the original requests go on to it, and its settings are
//! fetched. Nothing here is ever waited for by PostHog's side, but a page's very first settings.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pingora::connectors::http::Connector;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::config::Forward;
use crate::segment::{Answer, Recognised};
use crate::site::forward::{
    headers_for, path_for, settings_copy, settings_path, Admission, Bounds, Load, Next, Outcome,
    SettingsCopy,
};
use crate::site::{keeps_response_header, DeviceMode};

use super::fetch::Source;
use super::random_bits;
use super::upstream::Timeouts;

/// Requests to Segment that are on their way at once.
const AT_ONCE: usize = 64;
/// Segment's own limit of time, its own as well.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a page's first settings wait for the account's.
const FIRST: Duration = Duration::from_secs(2);
/// Write keys whose settings are kept: with `write_keys: any` everybody may name one.
const COPIES: usize = 64;
/// The largest settings and the largest code of a destination, in bytes.
const LARGEST: usize = 4 << 20;

/// What became of the requests that went on to Segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForwardCounts {
    /// Segment took them.
    pub delivered: u64,
    /// Segment refused them for good.
    pub refused: u64,
    /// Tried too often or too old.
    pub expired: u64,
    /// The queue was full.
    pub full: u64,
}

/// One account.
pub(super) struct Account {
    forward: Forward,
    api: Source,
    cdn: Source,
    bounds: Bounds,
    load: Mutex<Load>,
    places: Semaphore,
    counts: [AtomicU64; 4],
    copies: Mutex<HashMap<String, Copied>>,
}

#[derive(Clone, Default)]
struct Copied {
    settings: Option<Value>,
    fetched: Option<Instant>,
    failed: Option<Instant>,
}

/// A request as it came.
pub(super) struct Original {
    method: &'static str,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    arrived: Instant,
}

/// The body of a request that may go on, collected beside its rewriting.
#[derive(Default)]
pub(super) struct Copy {
    pieces: Vec<Bytes>,
}

impl Copy {
    /// Keeps a piece; it shares the bytes that were read anyway.
    pub(super) fn push(&mut self, piece: &Bytes) {
        self.pieces.push(piece.clone());
    }

    fn into_body(mut self) -> Bytes {
        match self.pieces.as_slice() {
            [_] => self.pieces.pop().unwrap_or_default(),
            pieces => {
                let mut body = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
                for piece in pieces {
                    body.extend_from_slice(piece);
                }
                body.freeze()
            }
        }
    }
}

impl Original {
    /// The request that goes on for this call; none where nothing does.
    pub(super) fn new(
        call: Recognised,
        query: Option<&str>,
        headers: &HeaderMap,
        client: Option<IpAddr>,
        body: Copy,
    ) -> Option<Self> {
        let mut path = path_for(call)?;
        let method = match (call, query) {
            (Recognised::Pixel(_), Some(query)) => {
                path = format!("{path}?{query}");
                "GET"
            }
            (Recognised::Pixel(_), None) => "GET",
            _ => "POST",
        };
        let mut headers = headers_for(headers, None);
        let client = client.and_then(|client| HeaderValue::from_str(&client.to_string()).ok());
        if let Some(client) = client {
            headers.insert(HeaderName::from_static("x-forwarded-for"), client);
        }
        Some(Self {
            method,
            path,
            headers,
            body: body.into_body(),
            arrived: Instant::now(),
        })
    }
}

impl Account {
    pub(super) fn new(forward: &Forward, connector: &Arc<Connector>, connect: Duration) -> Self {
        let timeouts = Timeouts {
            connect,
            exchange: PATIENCE,
        };
        let source = |host| Source::new(host, Arc::clone(connector), timeouts);
        Self {
            forward: forward.clone(),
            api: source(&forward.api),
            cdn: source(&forward.cdn),
            bounds: Bounds::default(),
            load: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            counts: Default::default(),
            copies: Mutex::default(),
        }
    }

    pub(super) fn device_mode(&self) -> DeviceMode {
        self.forward.device_mode
    }

    pub(super) fn counts(&self) -> ForwardCounts {
        let [delivered, refused, expired, full] =
            [0, 1, 2, 3].map(|at| self.counts.get(at).map_or(0, |n| n.load(Ordering::Relaxed)));
        ForwardCounts {
            delivered,
            refused,
            expired,
            full,
        }
    }

    /// Requests that are neither delivered nor given up yet.
    pub(super) fn under_way(&self) -> usize {
        lock(&self.load).requests
    }

    fn count(&self, at: usize) {
        if let Some(counter) = self.counts.get(at) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets a request go on, behind the back of its client. Never waits.
    pub(super) fn send(self: &Arc<Self>, original: Original) {
        let length = original.body.len();
        {
            let mut load = lock(&self.load);
            if self.bounds.admit(*load, length) == Admission::Full {
                drop(load);
                self.count(3);
                return;
            }
            load.requests += 1;
            load.bytes += length;
        }
        let account = Arc::clone(self);
        tokio::spawn(async move {
            account.deliver(&original).await;
            let mut load = lock(&account.load);
            load.requests = load.requests.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(length);
        });
    }

    async fn deliver(&self, original: &Original) {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = self.attempt(original).await;
            let age = original.arrived.elapsed();
            match self
                .bounds
                .next(attempt, age, outcome, random_bits() as u32)
            {
                Next::Delivered => return self.count(0),
                Next::Refused => return self.count(1),
                Next::Expired => return self.count(2),
                Next::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    async fn attempt(&self, original: &Original) -> Outcome {
        let Ok(_place) = self.places.acquire().await else {
            return Outcome::Failed;
        };
        let Original {
            method,
            path,
            headers,
            body,
            ..
        } = original;
        let fetch = self.api.fetch(method, path, headers, body.clone(), LARGEST);
        match fetch.await {
            Ok(fetched) => Outcome::Answered {
                status: fetched.status,
                retry_after: fetched
                    .headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok()),
            },
            Err(_) => Outcome::Failed,
        }
    }

    /// The account's settings for a key: the copy, which is refreshed beside that. The first time
    /// it is waited for, a little; without any, the caller makes settings of its own.
    pub(super) async fn settings(self: &Arc<Self>, write_key: &str) -> Option<Value> {
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
            // One fetch at a time: whoever comes meanwhile takes what is there.
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
            Ok(answer) if answer.status.is_success() => {
                serde_json::from_slice::<Value>(&answer.body).ok()
            }
            _ => None,
        };
        let Some(settings) = settings else {
            log::warn!("the settings of a Segment account could not be fetched");
            return None;
        };
        let mut copies = lock(&self.copies);
        let copy = copies.entry(write_key.to_owned()).or_default();
        *copy = Copied {
            settings: Some(settings.clone()),
            fetched: Some(Instant::now()),
            failed: None,
        };
        Some(settings)
    }

    /// The code of a destination that runs in the page, from Segment's CDN.
    pub(super) async fn destination(&self, path: &str, request: &HeaderMap) -> Option<Answer> {
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
        let kept = answer.headers.iter().filter(|(name, value)| {
            value
                .to_str()
                .is_ok_and(|value| keeps_response_header(name.as_str(), value))
        });
        Some(Answer {
            status: answer.status,
            headers: kept
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: answer.body,
        })
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Account")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
