//! One request of a Segment client, from its header to its answer.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Instant, UNIX_EPOCH};

use http::{header, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::Session;
use pingora::Result;

use crate::admin::{Answered, Asked};
use crate::config::Action;
use crate::doctor::is_inner;
use crate::rewrite::enrich::edge_session::Transport;
use crate::rewrite::privacy::{Signals, Treatment};
use crate::rewrite::{Arrival, Timestamp};
use crate::segment::{
    message_from_query, recognise, single_slashes, Answer, Call, Cors, Decoder, Kind, Recognised,
    Refusal, Reply, WriteKey,
};

use crate::site::forward::path_for;
use crate::site::head::split_target;
use crate::site::SiteFile;

use crate::proxy::first_party::files::joined;
use crate::proxy::intake::account::{Copy, Fate, Original};
use crate::proxy::intake::body::Incoming;
use crate::proxy::intake::refusals::{of_refusal, Asking};
use crate::proxy::intake::reply;
use crate::proxy::intake::upload::{KeySearch, Keys, Stop, Upload};
use crate::proxy::intake::visitor;
use crate::proxy::limits::rates::{Pace, RETRY_AFTER};
use crate::proxy::{client, random_bits, Inner};

/// A chunk is inflated in slices of this many bytes. Gzip turns one byte into at most 1032, so
/// this bounds what a hostile slice can become before the budget is asked again.
const SLICE: usize = 4 * 1024;

/// So much room is made at once for a body that is announced; what is larger grows as it comes.
const EXPECTED: usize = 64 * 1024;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Inner {
    /// Answers the request if it stands on a Segment route; otherwise leaves it untouched.
    pub(crate) async fn intercept(&self, session: &mut Session) -> Result<bool> {
        let head = session.req_header();
        let path = head.uri.path();
        let Some((number, tail)) = self.route_table.find(authority(head), path) else {
            return Ok(false);
        };
        let action = self.config.routes.get(number).map(|route| &route.action);
        let Some(Action::Segment { write_keys, .. }) = action else {
            return Ok(false);
        };
        let began = Instant::now();
        let tail = &*single_slashes(tail);
        let files = self.files.get(&number);
        let tail = match files.map(|files| (files, files.recognise(tail))) {
            None => tail,
            Some((_, SiteFile::Call { tail } | SiteFile::Other { tail })) => tail,
            Some((files, file)) => {
                // Boxed, as are pixels: calls go without the room that these need.
                let answer = Box::pin(self.file(session, files, write_keys, file)).await;
                let asking = Asking {
                    route: Some(number),
                    asked: Asked::File,
                };
                let answered = match answer.status.as_u16() {
                    503 => Answered::NotYet,
                    status => Answered::of_status(status),
                };
                self.answered(session, asking, answered, None);
                self.answer(session, answer).await;
                self.ended(session, asking, answered, began, 0);
                return Ok(true);
            }
        };
        let recognised = recognise(head.method.as_str(), tail);
        let asking = Asking {
            route: Some(number),
            asked: recognised.into(),
        };
        if self.is_too_fast(session, recognised) {
            self.answered(session, asking, Answered::ClientRate, None);
            let too_many = Reply::TooMany {
                retry_after: RETRY_AFTER,
            };
            let cors = Cors::from_origin(session.get_header(header::ORIGIN));
            let limits = &self.config.limits;
            let mut incoming = Incoming::begin(session, self.idle_seconds, limits);
            incoming.discard(session, limits.body).await;
            self.answer(session, too_many.answer(&cors)).await;
            self.ended(session, asking, Answered::ClientRate, began, 0);
            return Ok(true);
        }
        let account = files.and_then(|files| files.account.as_ref());
        let mut copy = account
            .filter(|_| path_for(recognised).is_some())
            .map(Copy::new);
        let cors = Cors::from_origin(head.headers.get(header::ORIGIN));
        let query = head.uri.query().map(str::to_owned);
        let keys = Keys {
            route: write_keys,
            header: session
                .get_header(header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .and_then(WriteKey::from_authorization),
            query: query.as_deref().and_then(key_in_query),
            search: match account.and_then(|account| account.write_key()) {
                Some(_) => KeySearch::ForTheAccount,
                None => KeySearch::ForTheProject,
            },
            asking,
        };
        let begun = Instant::now();
        let mut incoming = Incoming::begin(session, self.idle_seconds, &self.config.limits);
        let Ended {
            reply,
            answered,
            set_cookie,
            key,
        } = match recognised {
            Recognised::Ingest(call) => {
                let copy = copy.as_mut();
                self.ingest(session, &mut incoming, call, keys, copy).await
            }
            Recognised::Pixel(kind) => {
                let message = query.as_deref().and_then(message_from_query);
                Box::pin(self.pixel(session, kind, keys, message, copy.as_mut())).await
            }
            Recognised::PixelHead => Ended::well(Reply::Pixel),
            Recognised::Telemetry => Ended::well(Reply::Accepted),
            Recognised::Preflight => {
                let requested_headers = session
                    .get_header(header::ACCESS_CONTROL_REQUEST_HEADERS)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned);
                Ended {
                    answered: Answered::NoContent,
                    ..Ended::well(Reply::Preflight { requested_headers })
                }
            }
            Recognised::MethodNotAllowed(methods) => {
                Ended::refused(Refusal::MethodNotAllowed(methods))
            }
            Recognised::Unknown => Ended::refused(Refusal::UnknownPath),
        };
        self.answered(session, asking, answered, key.as_ref());
        if let Some(admin) = &self.admin {
            admin.took(begun.elapsed());
        }
        let Some(reply) = reply else {
            session.set_keepalive(None);
            self.ended(session, asking, answered, began, incoming.received());
            return Ok(true);
        };
        // Twice the limit, as capture does for its own clients (posthog-ingestion 5.1).
        let bound = self.config.limits.body.saturating_mul(2);
        incoming.discard(session, bound).await;
        if matches!(reply, Reply::Busy { .. }) {
            self.counters.busy();
        }
        // What the client will send again goes on when it is taken.
        let taken = matches!(reply, Reply::Accepted | Reply::Pixel);
        if let (Some(account), Some(copy), true) = (account, copy, taken) {
            let headers = &session.req_header().headers;
            let signals = self.signals(session);
            let client = self.shown(session);
            let query = query.as_deref();
            // What goes on cannot be made anonymous, so it stays here.
            if self.config.mapping.privacy.treatment(signals) != Treatment::Send {
                account.count(Fate::Withheld);
            } else if let Some(original) =
                Original::new(account, recognised, query, headers, client, copy)
            {
                account.send(original);
            }
        }
        let mut answer = reply.answer(&cors);
        if taken {
            if set_cookie.is_some() {
                self.counters.session_cookie();
            }
            answer.headers.extend(set_cookie);
        }
        self.answer(session, answer).await;
        self.ended(session, asking, answered, began, incoming.received());
        Ok(true)
    }

    /// Whether this is an event of a client that sends too many.
    fn is_too_fast(&self, session: &Session, recognised: Recognised) -> bool {
        let limited = self.config.limits.requests_per_client.is_some();
        let counts = matches!(recognised, Recognised::Ingest(_) | Recognised::Pixel(_));
        limited
            && counts
            && self.rates.of_client(&self.config, self.client(session)) == Pace::TooFast
    }

    async fn answer(&self, session: &mut Session, answer: Answer) {
        self.close_when_leaving(session);
        if let Err(error) = reply::write(session, answer).await {
            // The events are safe or the client will send them again: its hanging up is no
            // failure of the host proxy's.
            log::debug!("the client was gone before its answer: {error}");
            session.set_keepalive(None);
        }
    }

    /// Lets the connection end with this answer when the process is about to leave, whether the
    /// server is ours or another's.
    pub(crate) fn close_when_leaving(&self, session: &mut Session) {
        if self.leaving.load(Ordering::Relaxed) || session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
    }

    /// Reads, rewrites and delivers a body.
    async fn ingest(
        &self,
        session: &mut Session,
        incoming: &mut Incoming,
        call: Call,
        keys: Keys<'_>,
        mut copy: Option<&mut Copy>,
    ) -> Ended {
        let limit = self.config.limits.body;
        if Incoming::announced(session).is_some_and(|length| length > limit) {
            return Ended::refused(Refusal::TooLarge);
        }
        let encoding = joined(&session.req_header().headers, &header::CONTENT_ENCODING);
        let mut decoder = match Decoder::new(encoding.as_deref(), limit) {
            Ok(decoder) => decoder,
            Err(error) => return Ended::stopped(Stop::Encoding(error)),
        };
        let mut upload = self.upload(session, call, keys);
        let through = through(
            session,
            incoming,
            &mut decoder,
            &mut upload,
            copy.as_deref_mut(),
        );
        let outcome = through.await;
        upload.time();
        if let Some(copy) = copy {
            copy.found(upload.key());
        }
        let mut ended = match outcome {
            Ok(()) if upload.only_message_too_large() => Ended::refused(Refusal::TooLarge),
            Ok(()) => Ended::well(Reply::Accepted),
            Err(stop) => {
                upload.abort(stop).await;
                if stop == Stop::Memory {
                    self.report_memory();
                }
                Ended {
                    key: upload.key_of_refusal(stop),
                    ..Ended::stopped(stop)
                }
            }
        };
        ended.set_cookie = set_cookie(&upload, self.transport(session));
        ended
    }

    /// The way of a body, before its first byte. Apart from what waits for the body, whose future
    /// would carry the parts beside the whole.
    fn upload<'a>(&'a self, session: &Session, call: Call, keys: Keys<'a>) -> Upload<'a> {
        let client = self.client(session);
        let arrival = self.arrival(session, call, client);
        let forwarded = self.forwarded(client, arrival.signals);
        let mut rewrite = self.rewriter.begin(arrival);
        let expected = Incoming::announced(session).unwrap_or_default();
        rewrite.expect(expected.min(EXPECTED));
        Upload::new(self, keys, forwarded, rewrite)
    }

    /// Delivers the message of a pixel. Whatever becomes of it, the answer is the picture.
    async fn pixel(
        &self,
        session: &Session,
        kind: Kind,
        keys: Keys<'_>,
        message: Option<Vec<u8>>,
        copy: Option<&mut Copy>,
    ) -> Ended {
        let Some(message) = message else {
            return Ended {
                answered: Answered::PixelLost,
                ..Ended::well(Reply::Pixel)
            };
        };
        let client = self.client(session);
        let user_agent = session
            .get_header(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let arrival = Arrival {
            user_agent,
            ..self.arrival(session, Call::One(kind), client)
        };
        let forwarded = self.forwarded(client, arrival.signals);
        let mut upload = Upload::new(self, keys, forwarded, self.rewriter.begin(arrival));
        let mut outcome = upload.push(&message);
        if outcome.is_ok() {
            outcome = upload.finish().await;
        }
        upload.time();
        if let Some(copy) = copy {
            copy.found(upload.key());
        }
        if let Err(stop) = outcome {
            upload.abort(stop).await;
            if let Some(more) = self.log_limit.pass("pixel", "pixel") {
                let reason = stop.refusal_code().unwrap_or("not delivered");
                log::warn!("a pixel's message was lost: {reason}{more}");
            }
            return Ended {
                answered: match stop {
                    Stop::UnknownWriteKey => Answered::PixelUnknownKey,
                    _ => Answered::PixelLost,
                },
                key: upload.key_of_refusal(stop),
                ..Ended::well(Reply::Pixel)
            };
        }
        Ended {
            set_cookie: set_cookie(&upload, self.transport(session)),
            ..Ended::well(Reply::Pixel)
        }
    }

    /// What is known of a request before its body.
    fn arrival(&self, session: &Session, call: Call, client_ip: Option<IpAddr>) -> Arrival {
        let millis = (self.clock)()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Arrival {
            received_at: Some(Timestamp::from_millis(millis as i64)),
            client_ip,
            cookies: visitor::cookies(&session.req_header().headers),
            signals: self.signals(session),
            nonce: random_bits(),
            ..Arrival::new(call)
        }
    }

    /// The client's address; none over a Unix socket.
    pub(crate) fn client(&self, session: &Session) -> Option<IpAddr> {
        let peer = session
            .client_addr()
            .and_then(SocketAddr::as_inet)
            .map(|address| address.ip())?;
        let forwarded = session.req_header().headers.get_all(X_FORWARDED_FOR);
        let values: Vec<&str> = forwarded
            .iter()
            .map(|value| value.to_str().unwrap_or("not an address"))
            .collect();
        if !values.is_empty() {
            self.tell_of_untrusted(peer.to_canonical());
        }
        Some(client::address(
            peer,
            values.into_iter(),
            &self.config.trusted_proxies,
        ))
    }

    /// Says once that a proxy in front seems not to be believed. Clients on the open network write
    /// that header as they like; from an inner one it is most often the proxy's.
    fn tell_of_untrusted(&self, peer: IpAddr) {
        let trusted = client::is_trusted(peer, &self.config.trusted_proxies);
        if !trusted && is_inner(peer) && self.log_limit.first("", "untrusted_proxy") {
            log::warn!(
                "X-Forwarded-For comes from {peer}, which is not in `trusted_proxies`: if that is the \
                 proxy in front, every visitor has its address in PostHog, for good. Add it there; \
                 this is said once"
            );
        }
    }

    /// The client's address as it may be shown to the receiver of this request.
    pub(crate) fn shown(&self, session: &Session) -> Option<IpAddr> {
        self.forwarded(self.client(session), self.signals(session))
    }

    /// The client's address as PostHog may see it in a header.
    fn forwarded(&self, client: Option<IpAddr>, signals: Signals) -> Option<IpAddr> {
        let privacy = &self.config.mapping.privacy;
        client.map(|client| privacy.forwarded(client, signals))
    }

    fn report_memory(&self) {
        if let Some(more) = self.log_limit.pass("", "memory") {
            log::warn!(
                "requests hold {} bytes, so one was told to try again later; \
                 `limits.memory` is the bound{more}",
                self.budget.held()
            );
        }
    }
}

/// Brings the body through, piece by piece. The client is read only as fast as PostHog takes.
async fn through(
    session: &mut Session,
    incoming: &mut Incoming,
    decoder: &mut Decoder,
    upload: &mut Upload<'_>,
    mut copy: Option<&mut Copy>,
) -> Result<(), Stop> {
    loop {
        let chunk = tokio::select! {
            biased; // what has come is taken first
            chunk = incoming.next(session) => chunk?,
            stop = upload.refused() => return Err(stop),
        };
        let Some(chunk) = chunk else { break };
        if let Some(copy) = &mut copy {
            copy.push(&chunk);
        }
        for slice in chunk.chunks(SLICE) {
            decoder.decode(slice, &mut |piece: &[u8]| upload.push(piece))?;
            upload.flow().await?;
        }
    }
    decoder.finish(&mut |piece: &[u8]| upload.push(piece))?;
    upload.flow().await?;
    upload.finish().await
}

/// How a request ended.
struct Ended {
    /// What the client is told; nothing when it is gone.
    reply: Option<Reply>,
    answered: Answered,
    set_cookie: Option<SetCookie>,
    /// The write key of a request that was refused for it.
    key: Option<WriteKey>,
}

impl Ended {
    fn well(reply: Reply) -> Self {
        Self {
            reply: Some(reply),
            answered: Answered::Well,
            set_cookie: None,
            key: None,
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self {
            answered: of_refusal(refusal),
            ..Self::well(Reply::Refused(refusal))
        }
    }

    fn stopped(stop: Stop) -> Self {
        Self {
            reply: stop.reply(),
            answered: stop.answered(),
            set_cookie: None,
            key: None,
        }
    }
}

/// A `Set-Cookie` header.
type SetCookie = (HeaderName, HeaderValue);

/// The cookie that keeps the visitor's session, if it has to be set.
fn set_cookie(upload: &Upload<'_>, transport: Transport) -> Option<SetCookie> {
    let value = HeaderValue::try_from(upload.set_cookie(transport)?).ok()?;
    Some((header::SET_COOKIE, value))
}

/// The authority that was asked for: of the target (HTTP/2, or a whole address in HTTP/1), else of
/// the header. The framework keeps a whole address out of `uri`.
pub(crate) fn authority(head: &RequestHeader) -> Option<&str> {
    if let Some(authority) = head.uri.authority() {
        return Some(authority.as_str());
    }
    if let Some((Some(authority), _)) = split_target(head.raw_path()) {
        return std::str::from_utf8(authority).ok();
    }
    head.headers.get(header::HOST)?.to_str().ok()
}

fn key_in_query(query: &str) -> Option<WriteKey> {
    let value = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name == "writeKey").then_some(value)
    })?;
    let text = percent_encoding::percent_decode_str(value)
        .decode_utf8()
        .ok()?;
    WriteKey::new(&text)
}
