//! Passes the requests of posthog-js through: chooses the upstream and the headers, and caches
//! scripts and remote config (posthog-ingestion 6).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{parse_x509, WrappedX509};
use pingora::Result;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::CertificateDer;

use crate::config::{CaFile, PostHogPassThrough, UpstreamHttp};
use crate::posthog::Host;
use crate::segment::Answer;
use crate::site::cache::{Cache, CacheKey, CacheLookup, CachedAnswer};
use crate::site::{
    keeps_request_header, keeps_response_header, method_rule, posthog_route, Authorization,
    Caching, HostPrefix, MethodRule, PathPrefix, PostHogRoute, TargetHost as To,
};

use crate::proxy::client::X_FORWARDED_FOR;
use crate::proxy::first_party::files::joined;
use crate::proxy::outbound::fetch::{FetchFailure, FetchHost};
use crate::proxy::outbound::hops::end_to_end;
use crate::proxy::outbound::upstream::{Timeouts, UpstreamHost, SITE_TIMEOUT};
use crate::proxy::outbound::{Client, ConnectionPool};
use crate::proxy::reply;

/// The largest request body, in bytes, as PostHog's documentation requires (posthog-ingestion 6.3).
pub(crate) const BODY: usize = 64 << 20;
/// The largest script, in bytes; the largest real script has less than 1 MB.
const SCRIPT: usize = 16 << 20;

/// An active `posthog:` route.
pub(crate) struct PostHogProxy {
    settings: PostHogPassThrough,
    prefix: PathPrefix,
    timeouts: Timeouts,
    /// Translates PostHog's addresses into paths on the site's host.
    host_prefix: HostPrefix,
    pub(crate) upstream: UpstreamHost,
    /// The client for requests that a host's call passes on.
    pub(crate) client: Client,
    authority: String,
    base_path: String,
    authorities: Option<Arc<[WrappedX509]>>,
    api: FetchHost,
    assets: FetchHost,
    cache: Mutex<Cache>,
}

/// One request that is forwarded.
#[derive(Debug)]
pub(crate) struct ForwardedRequest {
    /// Path and query with their real names, below the project's host.
    path_and_query: String,
    authorization: Authorization,
}

impl ForwardedRequest {
    /// Returns the path and the query as PostHog gets them.
    pub(crate) fn path_and_query(&self) -> &str {
        &self.path_and_query
    }
}

/// How a request is handled.
pub(crate) enum RequestPlan {
    /// It is streamed through.
    Pass(ForwardedRequest),
    /// It is answered by this process.
    Answer(Answer),
}

impl PostHogProxy {
    /// Creates a route with this prefix.
    pub(crate) fn new(
        prefix: &PathPrefix,
        settings: &PostHogPassThrough,
        connections: Arc<ConnectionPool>,
        timeouts: Timeouts,
    ) -> Self {
        let host = &settings.project.host;
        let http = match settings.project.http {
            // With one connection for each request, uploads do not share flow control.
            UpstreamHttp::Auto | UpstreamHttp::Http1 => UpstreamHttp::Http1,
            UpstreamHttp::Http2 => UpstreamHttp::Http2,
        };
        let site_timeouts = Timeouts {
            exchange: SITE_TIMEOUT,
            ..timeouts
        };
        Self {
            settings: settings.clone(),
            prefix: prefix.clone(),
            timeouts,
            host_prefix: HostPrefix::new(prefix, host, settings.names.as_ref()),
            upstream: UpstreamHost::new(host, http, site_timeouts),
            client: Client::new(
                UpstreamHost::new(host, http, site_timeouts),
                Arc::clone(&connections),
            ),
            authority: host.authority(),
            base_path: host.base_path().to_owned(),
            authorities: settings.project.ca_file.as_ref().map(certificates),
            api: FetchHost::new(host, Arc::clone(&connections), timeouts),
            assets: FetchHost::new(&host.assets(), connections, timeouts),
            cache: Mutex::new(Cache::new(settings.cache)),
        }
    }

    /// Returns the host of the route's project.
    pub(crate) fn host(&self) -> &Host {
        &self.settings.project.host
    }

    /// Whether a route with these settings would behave the same.
    pub(crate) fn behaves_the_same(
        &self,
        prefix: &PathPrefix,
        settings: &PostHogPassThrough,
        timeouts: Timeouts,
    ) -> bool {
        self.prefix == *prefix && self.settings == *settings && self.timeouts == timeouts
    }

    /// Chooses the action for a request whose path below the prefix, without its slash, is `tail`.
    pub(crate) async fn plan(
        &self,
        session: &Session,
        tail: &str,
        client: Option<IpAddr>,
    ) -> RequestPlan {
        let head = session.req_header();
        let error =
            |status, head: &RequestHeader| RequestPlan::Answer(own_answer(status, &head.headers));
        if method_rule(head.method.as_str()) == MethodRule::Refused {
            return error(StatusCode::METHOD_NOT_ALLOWED, head);
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.trim().parse::<usize>().ok());
        if length.is_some_and(|length| length > BODY) {
            return error(StatusCode::PAYLOAD_TOO_LARGE, head);
        }
        let requested_path = match head.uri.query() {
            Some(query) => format!("/{tail}?{query}"),
            None => format!("/{tail}"),
        };
        let path_and_query = match &self.settings.names {
            Some(names) => names.to_real(&requested_path).into_owned(),
            None => requested_path,
        };
        let route = posthog_route(head.method.as_str(), &path_and_query);
        match route.caching {
            Caching::Never => RequestPlan::Pass(ForwardedRequest {
                path_and_query,
                authorization: route.authorization,
            }),
            Caching::AsItsHeadersSay => {
                let answer = self
                    .cached_or_fetched(head, &path_and_query, route, client)
                    .await;
                match answer {
                    Ok(answer) => RequestPlan::Answer(answer),
                    Err(FetchFailure::Failed) => error(StatusCode::BAD_GATEWAY, head),
                    Err(FetchFailure::Late) => error(StatusCode::SERVICE_UNAVAILABLE, head),
                }
            }
        }
    }

    /// Returns a script or remote config: the copy while it is fresh, otherwise PostHog's answer,
    /// or the last good copy if PostHog fails.
    async fn cached_or_fetched(
        &self,
        head: &RequestHeader,
        path_and_query: &str,
        route: PostHogRoute,
        client: Option<IpAddr>,
    ) -> Result<Answer, FetchFailure> {
        let mut request = HeaderMap::new();
        for (name, value) in &end_to_end(&head.headers) {
            let conditional = name.as_str().starts_with("if-") || name == header::RANGE;
            let ours = *name == header::HOST || *name == header::EXPECT;
            let keeps = keeps_request_header(name.as_str(), value.as_bytes(), route.authorization);
            if keeps && !conditional && !ours {
                request.append(name.clone(), value.clone());
            }
        }
        let key = CacheKey::new(self.api.authority(), path_and_query);
        let found = lock(&self.cache).find(&key, &request, Instant::now());
        let mut conditional_request = request.clone();
        let stale = match found {
            CacheLookup::Fresh(stored) => return Ok(copy_of(head, &stored)),
            CacheLookup::Stale(stored) => {
                for (name, value) in stored.conditions() {
                    conditional_request.insert(name, value);
                }
                true
            }
            CacheLookup::Nothing => false,
        };
        if let Some(client) = client.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok()) {
            conditional_request.insert(X_FORWARDED_FOR, client);
        }
        let fetched = self
            .fetch(path_and_query, route.upstream, &conditional_request)
            .await;
        let now = Instant::now();
        match fetched {
            Ok(fetched) if fetched.status() == StatusCode::NOT_MODIFIED && stale => {
                let renewed = self.filtered(path_and_query, fetched.headers());
                let stored = lock(&self.cache).renew(&key, &request, &renewed, now);
                // The copy was removed in the meantime, which happens only when the cache is full.
                stored.map_or(Err(FetchFailure::Failed), |stored| {
                    Ok(copy_of(head, &stored))
                })
            }
            Ok(fetched) if !fetched.status().is_server_error() => {
                let (
                    Parts {
                        status, headers, ..
                    },
                    body,
                ) = fetched.into_parts();
                let headers = self.filtered(path_and_query, &headers);
                let mut cache = lock(&self.cache);
                cache.store(
                    key.clone(),
                    &request,
                    status,
                    headers.clone(),
                    body.clone(),
                    now,
                );
                Ok(match cache.find(&key, &request, now) {
                    CacheLookup::Fresh(stored) if status == StatusCode::OK => {
                        copy_of(head, &stored)
                    }
                    _ => reply::answer(status, headers, body),
                })
            }
            failure => {
                if let Some(stored) = lock(&self.cache).last_good(&key, &request, now) {
                    return Ok(copy_of(head, &stored));
                }
                let (parts, body) = failure?.into_parts();
                let headers = self.filtered(path_and_query, &parts.headers);
                Ok(reply::answer(parts.status, headers, body))
            }
        }
    }

    async fn fetch(
        &self,
        path_and_query: &str,
        to: To,
        headers: &HeaderMap,
    ) -> Result<Answer, FetchFailure> {
        let first = match to {
            To::Api => &self.api,
            To::Assets | To::AssetsThenApi => &self.assets,
        };
        let none = Bytes::new();
        let answer = first.fetch("GET", path_and_query, headers, none.clone(), SCRIPT);
        let answer = answer.await;
        let missing = matches!(&answer, Ok(answer) if answer.status() == StatusCode::NOT_FOUND);
        let same = self.api.authority() == self.assets.authority();
        if to == To::AssetsThenApi && missing && !same {
            let again = self.api.fetch("GET", path_and_query, headers, none, SCRIPT);
            return again.await;
        }
        answer
    }

    /// Returns how to connect to one of the project's addresses.
    pub(crate) fn peer(&self, address: std::net::SocketAddr) -> HttpPeer {
        let mut peer = self.upstream.peer(address);
        peer.options.ca.clone_from(&self.authorities);
        peer
    }

    /// Changes the request into the one that PostHog gets.
    pub(crate) fn request(
        &self,
        forwarded: &ForwardedRequest,
        request: &mut RequestHeader,
        client: Option<IpAddr>,
    ) -> Result<()> {
        let keeps = |name: &HeaderName, value: &HeaderValue| {
            let value = value.as_bytes();
            keeps_request_header(name.as_str(), value, forwarded.authorization)
        };
        for name in names(&request.headers) {
            let values: Vec<HeaderValue> = request.headers.get_all(&name).iter().cloned().collect();
            if !values.iter().all(|value| keeps(&name, value)) {
                request.remove_header(&name);
            }
        }
        let path = format!("{}{}", self.base_path, forwarded.path_and_query);
        request.set_raw_path(path.as_bytes())?;
        request.insert_header(header::HOST, self.authority.as_str())?;
        if let Some(client) = client {
            request.insert_header(X_FORWARDED_FOR, client.to_string())?;
        }
        Ok(())
    }
}

impl PostHogProxy {
    /// Removes headers from PostHog's answer that do not belong on the site's host, and rewrites
    /// its addresses to paths below the route.
    pub(crate) fn clean(
        &self,
        forwarded: &ForwardedRequest,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        for name in names(&response.headers) {
            let values: Vec<HeaderValue> =
                response.headers.get_all(&name).iter().cloned().collect();
            let kept = values
                .iter()
                .filter_map(|value| self.for_page(&forwarded.path_and_query, &name, value));
            let kept: Vec<HeaderValue> = kept.collect();
            if kept != values {
                response.remove_header(&name);
                for value in kept {
                    response.append_header(&name, value)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the headers of PostHog's answer to this path and query as the page sees them.
    pub(crate) fn filtered(&self, path_and_query: &str, headers: &HeaderMap) -> HeaderMap {
        let kept = headers.iter().filter_map(|(name, value)| {
            Some((name.clone(), self.for_page(path_and_query, name, value)?))
        });
        kept.collect()
    }

    /// Returns a header of PostHog's answer to this path and query as the page sees it; `None` if
    /// it is removed.
    fn for_page(
        &self,
        path_and_query: &str,
        name: &HeaderName,
        value: &HeaderValue,
    ) -> Option<HeaderValue> {
        let text = String::from_utf8_lossy(value.as_bytes());
        if matches!(*name, header::LOCATION | header::CONTENT_LOCATION) {
            if let Some(location) = self.host_prefix.location(path_and_query, &text) {
                return HeaderValue::try_from(location).ok();
            }
        }
        keeps_response_header(name.as_str(), &text).then(|| value.clone())
    }
}

fn names(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.keys().cloned().collect()
}

/// Returns a cached copy as the answer to this request, or status 304 if the client already has it.
fn copy_of(head: &RequestHeader, stored: &Arc<CachedAnswer>) -> Answer {
    let mut headers = stored.headers(Instant::now());
    let known = joined(&head.headers, &header::IF_NONE_MATCH);
    if known.is_some_and(|known| stored.is_known_to(&known)) {
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::CONTENT_ENCODING);
        return reply::answer(StatusCode::NOT_MODIFIED, headers, Bytes::new());
    }
    reply::answer(StatusCode::OK, headers, stored.body().clone())
}

/// Returns an answer of Hedgerow's own. A page on another host can read it too: if the browser
/// hides an answer, posthog-js assumes a broken network and gives up sooner (posthog-ingestion
/// 6.5).
pub(crate) fn own_answer(status: StatusCode, request: &HeaderMap) -> Answer {
    let mut headers = HeaderMap::new();
    let fixed = |text| HeaderValue::from_static(text);
    headers.insert(header::CONTENT_TYPE, fixed("application/json"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    if let Some(origin) = request.get(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true"));
        headers.insert(header::VARY, fixed("Origin"));
    }
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = Bytes::from(format!("{{\"error\":\"{reason}\"}}"));
    reply::answer(status, headers, body)
}

/// Returns the certificates of a PEM file, which was decoded once when the configuration was read.
fn certificates(file: &CaFile) -> Arc<[WrappedX509]> {
    let decoded = CertificateDer::pem_slice_iter(&file.pem).filter_map(Result::ok);
    decoded
        .map(|certificate| WrappedX509::new(certificate.to_vec(), parse_x509))
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for PostHogProxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Passed")
            .field("to", &self.authority)
            .finish_non_exhaustive()
    }
}
