//! The first-party files of a Segment route: analytics.js, its chunks and its settings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::config::SegmentFiles;
use crate::rewrite::enrich::edge_session::Transport;
use crate::segment::{Answer, Cors, Reply, RequestRefusal, WriteKey, WriteKeys};
use crate::site::forwarding_headers::PeerTrust;
use crate::site::{merge_account, PageProtocol, PageSessions, RequestHost, Settings, SiteFile};

use crate::proxy::build_error::BuildError;
use crate::proxy::client::X_FORWARDED_HOST;
use crate::proxy::first_party::library::ServedLibrary;
use crate::proxy::reply;
use crate::proxy::request::visitor::{Caller, ProxyAgreement};
use crate::proxy::sending::account::SegmentAccount;

/// The files that a Segment route serves.
pub(crate) struct Files {
    settings: SegmentFiles,
    script: Option<Arc<ServedLibrary>>,
    pub(crate) account: Option<Arc<SegmentAccount>>,
}

/// The host and the scheme as the browser sees them.
pub(crate) struct BrowserOrigin {
    host: RequestHost,
    protocol: PageProtocol,
    cache_scope: CacheScope,
}

/// Which caches may store the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CacheScope {
    /// CDNs too: the settings depend only on the URL.
    Public,
    /// Only the browser. Not every CDN removes an `X-Forwarded-Host` or `X-Forwarded-Proto` that a
    /// client invented. A CDN that stored such an answer would send the events of all visitors to
    /// the invented host.
    Private,
}

impl Files {
    /// Reads and rewrites the library, if the route has one. If nothing has changed, the library of
    /// `known`, the previous files, is used again: compressing a library takes about a second.
    ///
    /// # Errors
    ///
    /// When its folder or archive cannot be read or holds an unknown version.
    pub(crate) fn new(
        settings: &SegmentFiles,
        account: Option<Arc<SegmentAccount>>,
        sessions: PageSessions,
        connect: Duration,
        known: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let known = known.and_then(|known| known.script.as_ref());
        let script = match &settings.library {
            None => None,
            Some(library) => {
                let marks = ServedLibrary::marks(library);
                let layout = &settings.layout;
                let same = known.filter(|known| known.is_of(library, layout, sessions, &marks));
                Some(match same {
                    Some(script) => Arc::clone(script),
                    None => Arc::new(ServedLibrary::new(
                        library, layout, sessions, connect, marks,
                    )?),
                })
            }
        };
        Ok(Self {
            settings: settings.clone(),
            script,
            account,
        })
    }

    /// Returns the file that a path below the route's prefix requests.
    pub(crate) fn recognise<'t>(&self, tail: &'t str) -> SiteFile<'t> {
        self.settings.layout.recognise(tail)
    }

    /// Returns the answer for a script or a chunk; `None` if the route does not have it.
    fn served(&self, headers: &HeaderMap, file: SiteFile<'_>) -> Option<Answer> {
        let Some(library) = self.script.as_ref()?.get() else {
            return Some(not_yet());
        };
        let asset = match file {
            SiteFile::Script { .. } => library.script(),
            SiteFile::Chunk { name } => library.chunk(name)?,
            _ => return None,
        };
        let accepted = joined(headers, &header::ACCEPT_ENCODING);
        let known = joined(headers, &header::IF_NONE_MATCH);
        Some(asset.choose(accepted.as_deref(), known.as_deref()))
    }

    /// Returns the answer to a request for a file.
    pub(crate) async fn answer<T>(
        &self,
        head: &Parts,
        keys: &WriteKeys<T>,
        browser_origin: Option<BrowserOrigin>,
        file: SiteFile<'_>,
    ) -> Answer {
        let cors = Cors::from_origin(head.headers.get(header::ORIGIN));
        let refused = |refusal| Reply::Refused(refusal).answer(&cors);
        match head.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => {
                let requested = joined(&head.headers, &header::ACCESS_CONTROL_REQUEST_HEADERS);
                return Reply::Preflight {
                    requested_headers: requested,
                }
                .answer(&cors);
            }
            _ => return refused(RequestRefusal::MethodNotAllowed("GET, HEAD, OPTIONS")),
        }
        match file {
            SiteFile::Script { .. } | SiteFile::Chunk { .. } => self
                .served(&head.headers, file)
                .unwrap_or_else(|| refused(RequestRefusal::UnknownPath)),
            SiteFile::Settings { write_key } => {
                let key = percent_encoding::percent_decode_str(write_key).decode_utf8();
                let key = key.ok().and_then(|key| WriteKey::new(&key));
                let known = key.filter(|key| keys.target(Some(key)).is_some());
                match (known, browser_origin) {
                    (Some(key), Some(browser_origin)) => {
                        let body = self.settings(key.expose(), &browser_origin).await;
                        reply::answer(
                            StatusCode::OK,
                            settings_headers(browser_origin.cache_scope),
                            body,
                        )
                    }
                    _ => refused(RequestRefusal::UnknownPath),
                }
            }
            SiteFile::Destination { path } => match &self.account {
                Some(account) => match account.destination(path, &head.headers).await {
                    Some(answer) => answer,
                    None => refused(RequestRefusal::UnknownPath),
                },
                None => refused(RequestRefusal::UnknownPath),
            },
            SiteFile::Call { .. } | SiteFile::Other { .. } => refused(RequestRefusal::UnknownPath),
        }
    }

    async fn settings(&self, write_key: &str, browser_origin: &BrowserOrigin) -> Bytes {
        let BrowserOrigin { host, protocol, .. } = browser_origin;
        let SegmentFiles {
            layout, settings, ..
        } = &self.settings;
        let account = self.account.as_ref();
        let write_key = account
            .and_then(|account| account.write_key())
            .map_or(write_key, WriteKey::expose);
        let own = || settings.render(layout, write_key, host, *protocol);
        let Some(account) = account else {
            return own();
        };
        let mode = account.device_mode();
        let copy = account.settings(write_key).await;
        copy.and_then(|copy| {
            merge_account(copy, settings, mode, layout, write_key, host, *protocol)
        })
        .map_or_else(own, |merged| Bytes::from(merged.to_string()))
    }
}

/// Returns the host and the scheme as the browser sees them: as a trusted proxy reports them,
/// otherwise as this process sees them.
pub(crate) fn browser_origin(
    headers: &HeaderMap,
    requested: Option<&str>,
    caller: &Caller,
) -> Option<BrowserOrigin> {
    // The last value was added by the nearest proxy.
    let reported = match caller.trust {
        PeerTrust::Trusted => joined(headers, &X_FORWARDED_HOST),
        PeerTrust::Untrusted => None,
    };
    let reported =
        reported.and_then(|hosts| RequestHost::new(hosts.rsplit(',').next()?.trim()).ok());
    let requested = requested.and_then(|host| RequestHost::new(host).ok());
    let cache_scope = match &reported {
        Some(reported) if Some(reported) != requested.as_ref() => CacheScope::Private,
        _ if caller.agreement == ProxyAgreement::Several => CacheScope::Private,
        _ => CacheScope::Public,
    };
    Some(BrowserOrigin {
        host: reported.or(requested)?,
        protocol: match caller.transport {
            Transport::Tls => PageProtocol::Https,
            Transport::Plain => PageProtocol::Http,
        },
        cache_scope,
    })
}

/// Returns the answer while the library is still being fetched. No cache may store it.
fn not_yet() -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply::answer(StatusCode::SERVICE_UNAVAILABLE, headers, Bytes::new())
}

fn settings_headers(cache_scope: CacheScope) -> HeaderMap {
    let fixed = Settings::HEADERS.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        let value = match cache_scope {
            CacheScope::Private if name == header::CACHE_CONTROL => Settings::PRIVATE,
            _ => value,
        };
        (name, HeaderValue::from_static(value))
    });
    fixed.collect()
}

/// Joins the values of all lines of one header into one list; `None` if there are none.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}
