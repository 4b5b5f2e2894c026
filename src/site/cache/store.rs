//! The stored copies of answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::StatusCode;

use super::super::library::etag_matches;
use super::policy::{freshness, Freshness, Storability};

/// The approximate cost of one copy beyond its body and headers, in bytes.
const OVERHEAD: usize = 512;

/// The most variants of one address: remote config varies on `Referer`, which every page of a
/// site sends with its own value.
const MAX_VARIANTS: usize = 64;

/// The address of an answer: the upstream host, and the whole path and query. The query is a part of
/// it, because the toolbar's script holds a token whose date is in the query (posthog-ingestion 6.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey {
    authority: String,
    path_and_query: String,
}

impl CacheKey {
    /// The key for this upstream host and this path and query, as they are sent.
    pub fn new(authority: &str, path_and_query: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            path_and_query: path_and_query.to_owned(),
        }
    }
}

impl fmt::Debug for CacheKey {
    /// Omits the path, because it holds the project key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("CacheKey")
            .field(&self.authority)
            .finish()
    }
}

/// The headers of a request, as they are sent upstream.
pub type RequestHeaders = HeaderMap;

/// A stored answer.
pub struct CachedAnswer {
    headers: HeaderMap,
    body: Bytes,
    vary: Vec<(String, Option<HeaderValue>)>,
    freshness: Freshness,
    arrived: Instant,
}

impl fmt::Debug for CachedAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Stored")
            .field("bytes", &self.body.len())
            .field("freshness", &self.freshness)
            .finish_non_exhaustive()
    }
}

impl CachedAnswer {
    /// The headers of the answer with `Age` brought up to date (RFC 9111, 5.1).
    pub fn headers(&self, now: Instant) -> HeaderMap {
        let mut headers = self.headers.clone();
        let age = self.freshness.age + now.saturating_duration_since(self.arrived);
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        headers
    }

    /// The body, in its original encoding.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether a request with this `If-None-Match` has this answer already and gets a 304.
    pub fn is_known_to(&self, if_none_match: &str) -> bool {
        self.headers
            .get(header::ETAG)
            .is_some_and(|etag| etag_matches(if_none_match, etag))
    }

    /// The headers that ask PostHog whether the copy is still good: `If-None-Match`,
    /// `If-Modified-Since`.
    pub fn conditions(&self) -> Vec<(header::HeaderName, HeaderValue)> {
        [
            (header::ETAG, header::IF_NONE_MATCH),
            (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
        ]
        .into_iter()
        .filter_map(|(from, to)| Some((to, self.headers.get(from)?.clone())))
        .collect()
    }

    fn cost(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        self.body.len() + headers + OVERHEAD
    }

    /// Returns how many of the headers in `Vary` differ from the request's; `None` if the answer must
    /// not be used for it at all.
    fn distance(&self, request: &RequestHeaders) -> Option<usize> {
        let mut distance = 0;
        for (name, value) in &self.vary {
            let requested = request.get(name.as_str());
            if requested == value.as_ref() {
                continue;
            }
            let same_site = name == "referer" && origin(requested) == origin(value.as_ref());
            if !same_site {
                return None;
            }
            distance += 1;
        }
        Some(distance)
    }
}

/// The cache's result for a request.
#[derive(Debug, Clone)]
pub enum CacheLookup {
    /// A copy that may be used as it is.
    Fresh(Arc<CachedAnswer>),
    /// A copy that PostHog must confirm first; [`CachedAnswer::conditions`] are the headers for that.
    Stale(Arc<CachedAnswer>),
    /// No copy.
    Nothing,
}

/// The stored answers, up to a limit in bytes.
#[derive(Debug)]
pub struct Cache {
    entries: BTreeMap<CacheKey, Vec<CacheSlot>>,
    held: usize,
    limit: usize,
    clock: u64,
}

#[derive(Debug)]
struct CacheSlot {
    stored: Arc<CachedAnswer>,
    used: u64,
}

impl Cache {
    /// Creates an empty cache that holds at most `limit` bytes, including headers and bookkeeping.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            held: 0,
            limit,
            clock: 0,
        }
    }

    /// The bytes that the cache holds now.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Returns the copy for a GET with these headers.
    pub fn find(&mut self, key: &CacheKey, request: &RequestHeaders, now: Instant) -> CacheLookup {
        self.clock += 1;
        let clock = self.clock;
        let slot = self.entries.get_mut(key).and_then(|slots| {
            slots
                .iter_mut()
                .find(|slot| slot.stored.distance(request) == Some(0))
        });
        let Some(slot) = slot else {
            return CacheLookup::Nothing;
        };
        slot.used = clock;
        let age = now.saturating_duration_since(slot.stored.arrived);
        if age < slot.stored.freshness.fresh {
            CacheLookup::Fresh(Arc::clone(&slot.stored))
        } else {
            CacheLookup::Stale(Arc::clone(&slot.stored))
        }
    }

    /// Returns the last good copy, for when PostHog cannot be reached or answers with a 5xx: the
    /// exact variant, otherwise a variant that another page of the same site got.
    pub fn last_good(
        &self,
        key: &CacheKey,
        request: &RequestHeaders,
        now: Instant,
    ) -> Option<Arc<CachedAnswer>> {
        self.entries
            .get(key)?
            .iter()
            .filter(|slot| {
                let limits = slot.stored.freshness;
                let age = now.saturating_duration_since(slot.stored.arrived);
                age < limits.fresh + limits.stale_if_error
            })
            .filter_map(|slot| Some((slot.stored.distance(request)?, slot)))
            .min_by_key(|(distance, slot)| (*distance, std::cmp::Reverse(slot.used)))
            .map(|(_, slot)| Arc::clone(&slot.stored))
    }

    /// Stores an answer to a GET, if its headers allow it and it fits. `request` are the headers
    /// that were sent upstream. The caller must remove the connection headers first.
    pub fn store(
        &mut self,
        key: CacheKey,
        request: &RequestHeaders,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        now: Instant,
    ) {
        self.remove(&key, request);
        let Storability::For(freshness) = freshness(status, &headers) else {
            return;
        };
        let vary = vary(&headers, request);
        self.insert(
            key,
            CachedAnswer {
                headers,
                body,
                vary,
                freshness,
                arrived: now,
            },
        );
    }

    /// Renews a copy after PostHog has answered 304, with the headers of that answer
    /// (RFC 9111, 4.3.4). Returns the renewed copy; `None` if it is no longer stored.
    pub fn renew(
        &mut self,
        key: &CacheKey,
        request: &RequestHeaders,
        answer: &HeaderMap,
        now: Instant,
    ) -> Option<Arc<CachedAnswer>> {
        let old = self.remove(key, request)?;
        let mut headers = old.headers.clone();
        // The stored `Age` belongs to the earlier answer.
        headers.remove(header::AGE);
        for name in answer.keys() {
            if name == header::CONTENT_LENGTH || name == header::CONTENT_ENCODING {
                continue;
            }
            headers.remove(name);
            for value in answer.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let storing = freshness(StatusCode::OK, &headers);
        let stored = CachedAnswer {
            vary: vary(&headers, request),
            body: old.body.clone(),
            headers,
            freshness: match storing {
                Storability::For(freshness) => freshness,
                Storability::Never => Freshness::default(),
            },
            arrived: now,
        };
        if storing == Storability::Never {
            // Used for this one request and not stored.
            return Some(Arc::new(stored));
        }
        Some(self.insert(key.clone(), stored))
    }

    fn insert(&mut self, key: CacheKey, stored: CachedAnswer) -> Arc<CachedAnswer> {
        let cost = stored.cost();
        let stored = Arc::new(stored);
        // One answer takes at most a quarter of the cache, or it would displace all others.
        if cost > self.limit / 4 {
            return stored;
        }
        self.clock += 1;
        self.held += cost;
        let slots = self.entries.entry(key).or_default();
        slots.push(CacheSlot {
            stored: Arc::clone(&stored),
            used: self.clock,
        });
        if slots.len() > MAX_VARIANTS {
            if let Some(position) = oldest(slots) {
                self.held -= slots.swap_remove(position).stored.cost();
            }
        }
        while self.held > self.limit && self.evict() {}
        stored
    }

    fn remove(&mut self, key: &CacheKey, request: &RequestHeaders) -> Option<Arc<CachedAnswer>> {
        let slots = self.entries.get_mut(key)?;
        let position = slots
            .iter()
            .position(|slot| slot.stored.distance(request) == Some(0))?;
        let stored = slots.swap_remove(position).stored;
        self.held -= stored.cost();
        if slots.is_empty() {
            self.entries.remove(key);
        }
        Some(stored)
    }

    /// Removes the least recently used copy. There are few addresses, so looking at all of
    /// them is cheap enough for something that happens only when the cache is full.
    fn evict(&mut self) -> bool {
        let found = self
            .entries
            .iter()
            .filter_map(|(key, slots)| {
                let position = oldest(slots)?;
                Some((slots.get(position)?.used, key.clone(), position))
            })
            .min_by_key(|(used, _, _)| *used);
        let Some((_, key, position)) = found else {
            return false;
        };
        if let Some(slots) = self.entries.get_mut(&key) {
            self.held -= slots.swap_remove(position).stored.cost();
            if slots.is_empty() {
                self.entries.remove(&key);
            }
        }
        true
    }
}

fn oldest(slots: &[CacheSlot]) -> Option<usize> {
    slots
        .iter()
        .enumerate()
        .min_by_key(|(_, slot)| slot.used)
        .map(|(position, _)| position)
}

/// Returns the request's values of the headers in the answer's `Vary`. `Accept-Encoding` is always
/// included, because the body is stored in the encoding in which it arrived.
fn vary(headers: &HeaderMap, request: &RequestHeaders) -> Vec<(String, Option<HeaderValue>)> {
    let mut names: Vec<String> = headers
        .get_all(header::VARY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    names.push("accept-encoding".to_owned());
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let value = request.get(name.as_str()).cloned();
            (name, value)
        })
        .collect()
}

/// Returns the scheme and host of a `Referer`.
fn origin(value: Option<&HeaderValue>) -> Option<String> {
    let text = value?.to_str().ok()?;
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests;
