//! One request of a Segment client, from its header to its answer.

use std::sync::atomic::Ordering;
use std::time::{Instant, UNIX_EPOCH};

use http::header::{self, HeaderMap};

use crate::admin::{RequestKind, RequestOutcome};
use crate::delivery::Received;
use crate::rewrite::privacy::Treatment;
use crate::rewrite::{AnnouncedLength, Arrival, Timestamp};
use crate::segment::{
    message_from_query, recognise, single_slashes, Answer, Call, Cors, Decoder, Kind, Recognised,
    Reply, RequestRefusal, WriteKey,
};

use crate::site::forward::path_for;
use crate::site::SiteFile;

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::first_party::files::{self, joined};
use crate::proxy::intake::keys::{KeySearch, RequestKeys};
use crate::proxy::intake::request_end::{set_cookie, RequestEnd};
use crate::proxy::intake::upload::Upload;
use crate::proxy::limits::rates::{RateDecision, RETRY_AFTER};
use crate::proxy::long_lived_state::LongLivedState;
use crate::proxy::random::random_bits;
use crate::proxy::request::body::announced_length;
use crate::proxy::request::exchange::{ClientGone, Exchange};
use crate::proxy::request::visitor::{self, Caller};
use crate::proxy::request_records::{FinishedRequest, RoutedRequest};
use crate::proxy::routes::SegmentRoute;
use crate::proxy::sending::account::{CopyOutcome, OriginalRequest, RequestCopy};
use crate::proxy::sending::upload_error::UploadError;

/// A chunk is inflated in slices of this many bytes. Gzip turns one byte into at most 1032, so
/// this bounds how far a hostile slice can grow before the budget is checked again.
const SLICE: usize = 4 * 1024;

/// Serves the requests of one Segment route.
#[derive(Clone, Copy)]
pub(crate) struct Intake<'s> {
    active: &'s ActiveConfig,
    long_lived: &'s LongLivedState,
    route: &'s SegmentRoute,
    /// The route's place in the configuration.
    number: usize,
}

impl<'s> Intake<'s> {
    pub(crate) fn new(active: &'s ActiveConfig, route: &'s SegmentRoute, number: usize) -> Self {
        Self {
            active,
            long_lived: &active.long_lived,
            route,
            number,
        }
    }

    /// Answers a request on the route; the part of its path below the route begins at `tail_at`.
    pub(crate) async fn serve<E: Exchange>(self, exchange: &mut E, tail_at: usize) {
        let Self {
            active,
            route,
            number,
            ..
        } = self;
        let began = Instant::now();
        let head = exchange.head();
        let caller = active.caller(exchange.connection_facts(), &head.headers);
        let tail = head.uri.path().get(tail_at..).unwrap_or_default();
        let tail = &*single_slashes(tail);
        let tail = match route.files.recognise(tail) {
            SiteFile::Call { tail } | SiteFile::Other { tail } => tail,
            file => {
                // Boxed, as pixels are: the future of a plain call stays small.
                let browser_origin =
                    files::browser_origin(&head.headers, exchange.authority(), &caller);
                let answer = route.files.answer(head, &route.keys, browser_origin, file);
                let answer = Box::pin(answer).await;
                let routed = RoutedRequest {
                    route: Some(number),
                    asked: RequestKind::File,
                };
                let answered = match answer.status().as_u16() {
                    503 => RequestOutcome::NotYet,
                    status => RequestOutcome::of_status(status),
                };
                active.records().record(head, routed, answered, None);
                self.answer(exchange, answer).await;
                return active.records().record_end(
                    &FinishedRequest::exchange(exchange),
                    routed,
                    answered,
                    began,
                );
            }
        };
        let recognised = recognise(head.method.as_str(), tail);
        let routed = RoutedRequest {
            route: Some(number),
            asked: recognised.into(),
        };
        let cors = Cors::from_origin(head.headers.get(header::ORIGIN));
        if self.is_too_fast(&caller, recognised) {
            active
                .records()
                .record(head, routed, RequestOutcome::ClientRate, None);
            let too_many = Reply::TooMany {
                retry_after: RETRY_AFTER,
            };
            exchange.discard(active.config.limits.body).await;
            self.answer(exchange, too_many.answer(&cors)).await;
            let finished = FinishedRequest::exchange(exchange);
            return active.records().record_end(
                &finished,
                routed,
                RequestOutcome::ClientRate,
                began,
            );
        }
        let account = route.files.account.as_ref();
        let mut copy = account
            .filter(|_| path_for(recognised).is_some())
            .map(RequestCopy::new);
        let keys = RequestKeys {
            route: &route.keys,
            header: head
                .headers
                .get(header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .and_then(WriteKey::from_authorization),
            query: head.uri.query().and_then(key_in_query),
            search: match account.and_then(|account| account.write_key()) {
                Some(_) => KeySearch::ForTheAccount,
                None => KeySearch::ForTheProject,
            },
            routed,
        };
        let RequestEnd {
            reply,
            answered,
            set_cookie,
            key,
        } = match recognised {
            Recognised::Ingest(call) => {
                let copy = copy.as_mut();
                self.ingest(exchange, &caller, call, keys, copy).await
            }
            Recognised::Pixel(kind) => {
                let message = head.uri.query().and_then(message_from_query);
                let pixel = self.pixel(&head.headers, &caller, kind, keys, message, copy.as_mut());
                Box::pin(pixel).await
            }
            Recognised::PixelHead => RequestEnd::ok(Reply::Pixel),
            Recognised::Telemetry => RequestEnd::ok(Reply::Accepted),
            Recognised::Preflight => {
                let requested_headers = head
                    .headers
                    .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned);
                RequestEnd {
                    answered: RequestOutcome::NoContent,
                    ..RequestEnd::ok(Reply::Preflight { requested_headers })
                }
            }
            Recognised::MethodNotAllowed(methods) => {
                RequestEnd::refused(RequestRefusal::MethodNotAllowed(methods))
            }
            Recognised::Unknown => RequestEnd::refused(RequestRefusal::UnknownPath),
        };
        active
            .records()
            .record(exchange.head(), routed, answered, key.as_ref());
        if let Some(admin) = &active.admin {
            admin.took(began.elapsed());
        }
        let Some(reply) = reply else {
            exchange.end_connection();
            return active.records().record_end(
                &FinishedRequest::exchange(exchange),
                routed,
                answered,
                began,
            );
        };
        // At most twice the limit is read and discarded, as capture does for its own clients
        // (posthog-ingestion 5.1).
        let bound = self.active.config.limits.body.saturating_mul(2);
        exchange.discard(bound).await;
        if matches!(reply, Reply::Busy { .. }) {
            self.long_lived.counters.busy();
        }
        // A request that the client will send again is forwarded when it is accepted.
        let accepted = matches!(reply, Reply::Accepted | Reply::Pixel);
        if let (Some(account), Some(copy), true) = (account, copy, accepted) {
            let head = exchange.head();
            // A forwarded request cannot be made anonymous, so it is not forwarded.
            if self.active.config.mapping.privacy.treatment(caller.signals) != Treatment::Send {
                account.count(CopyOutcome::Withheld);
            } else if let Some(original) = OriginalRequest::new(
                account,
                recognised,
                head.uri.query(),
                &head.headers,
                caller.shown,
                copy,
            ) {
                account.send(original);
            }
        }
        match (&reply, set_cookie.filter(|_| accepted)) {
            (Reply::Accepted, None) => {
                self.before_answer(exchange);
                let written = exchange.accepted(&cors).await;
                after_answer(exchange, written);
            }
            (reply, set_cookie) => {
                let mut answer = reply.answer(&cors);
                if set_cookie.is_some() {
                    self.long_lived.counters.session_cookie();
                }
                answer.headers_mut().extend(set_cookie);
                self.answer(exchange, answer).await;
            }
        }
        active.records().record_end(
            &FinishedRequest::exchange(exchange),
            routed,
            answered,
            began,
        );
    }

    /// Whether this request carries events, and its client sends too many requests.
    fn is_too_fast(&self, caller: &Caller, recognised: Recognised) -> bool {
        let has_events = matches!(recognised, Recognised::Ingest(_) | Recognised::Pixel(_));
        let (config, rates) = (&self.active.config, &self.long_lived.rates);
        has_events && rates.of_client(config, caller.address) == RateDecision::TooFast
    }

    async fn answer<E: Exchange>(&self, exchange: &mut E, answer: Answer) {
        self.before_answer(exchange);
        let written = exchange.answer(answer).await;
        after_answer(exchange, written);
    }

    /// Makes the answer the last one of its connection if the process or the server shuts down.
    fn before_answer<E: Exchange>(&self, exchange: &mut E) {
        if self.long_lived.leaving.load(Ordering::Relaxed) || exchange.is_leaving() {
            exchange.end_connection();
        }
    }

    /// Reads, rewrites and delivers a body.
    async fn ingest<E: Exchange>(
        self,
        exchange: &mut E,
        caller: &Caller,
        call: Call,
        keys: RequestKeys<'s>,
        mut copy: Option<&mut RequestCopy>,
    ) -> RequestEnd {
        let limit = self.active.config.limits.body;
        let encoding = joined(&exchange.head().headers, &header::CONTENT_ENCODING);
        let length = announced_length(&exchange.head().headers, encoding.as_deref());
        if length.sent().is_some_and(|length| length > limit) {
            return RequestEnd::refused(RequestRefusal::TooLarge);
        }
        let mut decoder = match Decoder::new(encoding.as_deref(), limit) {
            Ok(decoder) => decoder,
            Err(error) => return RequestEnd::stopped(UploadError::Encoding(error)),
        };
        let mut upload = self.upload(&exchange.head().headers, caller, (call, length), keys);
        let transferred = transfer(exchange, &mut decoder, &mut upload, copy.as_deref_mut());
        let outcome = transferred.await;
        upload.record_time();
        if let Some(copy) = copy {
            copy.set_key_from(upload.key_from());
        }
        let mut end = match outcome {
            Ok(()) if upload.only_message_too_large() => {
                RequestEnd::refused(RequestRefusal::TooLarge)
            }
            Ok(()) => RequestEnd::ok(Reply::Accepted),
            Err(error) => {
                upload.abort(error).await;
                if error == UploadError::Memory {
                    self.report_memory();
                }
                RequestEnd {
                    key: upload.key_of_refusal(error),
                    ..RequestEnd::stopped(error)
                }
            }
        };
        end.set_cookie = set_cookie(&upload, caller.transport);
        end
    }

    /// Prepares the upload of a body, before its first byte. It is a separate function because
    /// otherwise the future that waits for the body would hold these values as well.
    fn upload(
        self,
        headers: &HeaderMap,
        caller: &Caller,
        (call, length): (Call, AnnouncedLength),
        keys: RequestKeys<'s>,
    ) -> Upload<'s> {
        let arrived = self.received(caller);
        let arrival = Arrival {
            length,
            ..self.arrival(headers, caller, call, arrived)
        };
        Upload::new(self.active, keys, arrived, arrival)
    }

    /// Delivers the message of a pixel. The answer is always the picture.
    async fn pixel(
        self,
        headers: &HeaderMap,
        caller: &Caller,
        kind: Kind,
        keys: RequestKeys<'s>,
        message: Option<Vec<u8>>,
        copy: Option<&mut RequestCopy>,
    ) -> RequestEnd {
        let Some(message) = message else {
            if let Some(more) = self.long_lived.log_limit.pass("pixel", "query") {
                log::warn!(
                    "a pixel's message was lost: its query is missing or larger than 64 KiB, or its \
                     `data` is not base64{more}"
                );
            }
            return RequestEnd {
                answered: RequestOutcome::PixelLost,
                ..RequestEnd::ok(Reply::Pixel)
            };
        };
        let user_agent = headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let arrived = self.received(caller);
        let arrival = Arrival {
            user_agent,
            ..self.arrival(headers, caller, Call::One(kind), arrived)
        };
        let mut upload = Upload::new(self.active, keys, arrived, arrival);
        let mut outcome = upload.push(&message);
        if outcome.is_ok() {
            outcome = upload.finish().await;
        }
        upload.record_time();
        if let Some(copy) = copy {
            copy.set_key_from(upload.key_from());
        }
        if let Err(error) = outcome {
            upload.abort(error).await;
            if let Some(more) = self.long_lived.log_limit.pass("pixel", "pixel") {
                let reason = error.refusal_code().unwrap_or("not delivered");
                log::warn!("a pixel's message was lost: {reason}{more}");
            }
            return RequestEnd {
                answered: match error {
                    UploadError::UnknownWriteKey => RequestOutcome::PixelUnknownKey,
                    _ => RequestOutcome::PixelLost,
                },
                key: upload.key_of_refusal(error),
                ..RequestEnd::ok(Reply::Pixel)
            };
        }
        RequestEnd {
            set_cookie: set_cookie(&upload, caller.transport),
            ..RequestEnd::ok(Reply::Pixel)
        }
    }

    /// Returns the present time, and the client's address as PostHog may see it.
    fn received(&self, caller: &Caller) -> Received {
        Received {
            at: (self.long_lived.clock)(),
            from: caller.shown,
        }
    }

    /// Returns the facts about a request that are known before its body.
    fn arrival(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        call: Call,
        arrived: Received,
    ) -> Arrival {
        let millis = arrived
            .at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Arrival {
            received_at: Some(Timestamp::from_millis(millis as i64)),
            client_ip: caller.address,
            cookies: visitor::cookies(headers),
            signals: caller.signals,
            nonce: random_bits(),
            ..Arrival::new(call)
        }
    }

    fn report_memory(&self) {
        if let Some(more) = self.long_lived.log_limit.pass("", "memory") {
            log::warn!(
                "requests hold {} bytes, which is near `limits.memory`: one request got 503, and its \
                 client retries{more}",
                self.long_lived.budget.held()
            );
        }
    }
}

/// Ends the connection of a client that hung up before its answer. Its events are safe, or it will send
/// them again: this is no failure of the host proxy.
fn after_answer<E: Exchange>(exchange: &mut E, written: Result<(), ClientGone>) {
    if let Err(ClientGone(error)) = written {
        log::debug!("the client hung up before its answer: {error}");
        exchange.end_connection();
    }
}

/// Reads, rewrites and sends the body piece by piece. It reads from the client only as fast as
/// PostHog takes the events.
async fn transfer<E: Exchange>(
    exchange: &mut E,
    decoder: &mut Decoder,
    upload: &mut Upload<'_>,
    mut copy: Option<&mut RequestCopy>,
) -> Result<(), UploadError> {
    loop {
        let chunk = tokio::select! {
            biased; // bytes that have arrived are taken first
            chunk = exchange.next() => chunk?,
            error = upload.refused() => return Err(error),
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
