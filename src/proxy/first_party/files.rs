//! The first-party files of a Segment route: analytics.js, its chunks and its settings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::config::{Project, SegmentFiles};
use crate::rewrite::enrich::edge_session::Transport;
use crate::segment::{Answer, Cors, Refusal, Reply, WriteKey, WriteKeys};
use crate::site::{
    merge_account, PageProtocol, PageSessions, RequestHost, Served, Settings, SiteFile,
};

use crate::proxy::first_party::library::Script;
use crate::proxy::intake::account::Account;
use crate::proxy::intake::intercept::authority;
use crate::proxy::intake::visitor::Word;
use crate::proxy::{client, BuildError, Inner};

/// What a Segment route serves besides calls.
pub(crate) struct Files {
    settings: SegmentFiles,
    script: Option<Arc<Script>>,
    pub(crate) account: Option<Arc<Account>>,
}

/// How the browser reached us.
struct Home {
    host: RequestHost,
    protocol: PageProtocol,
    kept_by: KeptBy,
}

/// Who may keep the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptBy {
    /// A CDN in front too: what stands in them follows from the address.
    Anybody,
    /// The browser alone. Not every CDN takes out an `X-Forwarded-Host` or `X-Forwarded-Proto` that
    /// a client made up, and one that kept the answer would send the events of all visitors there.
    Browser,
}

impl Files {
    /// Reads and rewrites the library, if the route has one. That of `known` is taken where nothing
    /// has changed: compressing it takes a second or so.
    ///
    /// # Errors
    ///
    /// When its folder or archive cannot be read or holds an unknown version.
    pub(crate) fn new(
        settings: &SegmentFiles,
        account: Option<Arc<Account>>,
        sessions: PageSessions,
        connect: Duration,
        known: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let known = known.and_then(|known| known.script.as_ref());
        let script = match &settings.library {
            None => None,
            Some(library) => {
                let marks = Script::marks(library);
                let layout = &settings.layout;
                let same = known.filter(|known| known.is_of(library, layout, sessions, &marks));
                Some(match same {
                    Some(script) => Arc::clone(script),
                    None => Arc::new(Script::new(library, layout, sessions, connect, marks)?),
                })
            }
        };
        Ok(Self {
            settings: settings.clone(),
            script,
            account,
        })
    }

    /// What a path below the route's prefix asks for.
    pub(crate) fn recognise<'t>(&self, tail: &'t str) -> SiteFile<'t> {
        self.settings.layout.recognise(tail)
    }

    /// A script or a chunk; `None` where there is none.
    fn served(&self, head: &RequestHeader, file: SiteFile<'_>) -> Option<Answer> {
        let Some(library) = self.script.as_ref()?.get() else {
            return Some(not_yet());
        };
        let asset = match file {
            SiteFile::Script { .. } => library.script(),
            SiteFile::Chunk { name } => library.chunk(name)?,
            _ => return None,
        };
        let accepted = joined(&head.headers, &header::ACCEPT_ENCODING);
        let known = joined(&head.headers, &header::IF_NONE_MATCH);
        let Served {
            status,
            headers,
            body,
        } = asset.choose(accepted.as_deref(), known.as_deref());
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    async fn settings(&self, write_key: &str, home: &Home) -> Bytes {
        let Home { host, protocol, .. } = home;
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

impl Inner {
    /// The answer to a request for a file.
    pub(crate) async fn file(
        &self,
        session: &Session,
        files: &Files,
        keys: &WriteKeys<Arc<Project>>,
        file: SiteFile<'_>,
    ) -> Answer {
        let head = session.req_header();
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
            _ => return refused(Refusal::MethodNotAllowed("GET, HEAD, OPTIONS")),
        }
        match file {
            SiteFile::Script { .. } | SiteFile::Chunk { .. } => files
                .served(head, file)
                .unwrap_or_else(|| refused(Refusal::UnknownPath)),
            SiteFile::Settings { write_key } => {
                let key = percent_encoding::percent_decode_str(write_key).decode_utf8();
                let key = key.ok().and_then(|key| WriteKey::new(&key));
                let known = key.filter(|key| keys.target(Some(key)).is_some());
                match (known, self.home(session)) {
                    (Some(key), Some(home)) => Answer {
                        status: StatusCode::OK,
                        headers: settings_headers(home.kept_by),
                        body: files.settings(key.expose(), &home).await,
                    },
                    _ => refused(Refusal::UnknownPath),
                }
            }
            SiteFile::Destination { path } => match &files.account {
                Some(account) => match account.destination(path, &head.headers).await {
                    Some(answer) => answer,
                    None => refused(Refusal::UnknownPath),
                },
                None => refused(Refusal::UnknownPath),
            },
            SiteFile::Call { .. } | SiteFile::Other { .. } => refused(Refusal::UnknownPath),
        }
    }

    /// Host and scheme as the browser has them: what a trusted proxy says, else our own sight.
    fn home(&self, session: &Session) -> Option<Home> {
        let head = session.req_header();
        let peer = session.client_addr().and_then(|peer| peer.as_inet());
        let trusted = peer.is_some_and(|peer| {
            client::is_trusted(peer.ip().to_canonical(), &self.config.trusted_proxies)
        });
        // The last value is the nearest proxy's own.
        let said = |name: &HeaderName| -> Option<String> {
            let values = joined(&head.headers, name).filter(|_| trusted)?;
            Some(values.rsplit(',').next()?.trim().to_owned())
        };
        let asked = authority(head).and_then(|host| RequestHost::new(host).ok());
        let told = said(&crate::proxy::site::X_FORWARDED_HOST);
        let told = told.and_then(|host| RequestHost::new(&host).ok());
        let (_, word) = self.told_transport(session);
        let kept_by = match &told {
            Some(told) if Some(told) != asked.as_ref() => KeptBy::Browser,
            _ if word == Word::Several => KeptBy::Browser,
            _ => KeptBy::Anybody,
        };
        let host = told.or(asked)?;
        let protocol = match self.transport(session) {
            Transport::Tls => PageProtocol::Https,
            Transport::Plain => PageProtocol::Http,
        };
        Some(Home {
            host,
            protocol,
            kept_by,
        })
    }
}

/// For a library that is still to be fetched: no cache may keep this answer.
fn not_yet() -> Answer {
    Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers: vec![
            (header::RETRY_AFTER, HeaderValue::from_static("10")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
        body: Bytes::new(),
    }
}

fn settings_headers(kept_by: KeptBy) -> Vec<(HeaderName, HeaderValue)> {
    let fixed = Settings::HEADERS.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        let value = match kept_by {
            KeptBy::Browser if name == header::CACHE_CONTROL => Settings::PRIVATE,
            _ => value,
        };
        (name, HeaderValue::from_static(value))
    });
    fixed.collect()
}

/// Several lines of one header as one list.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}
