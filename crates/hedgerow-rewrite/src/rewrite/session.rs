//! Finds the session of a message (mapping 5.3): the session that the client already knows, else the
//! session that the edge stores in a cookie of its own.

use std::borrow::Cow;

use super::arrival::{Arrival, Recipient};
use super::enrich::edge_session::{CookieValue, EdgeSessions, SessionCookie};
pub(super) use super::enrich::session::SenderClock;
use super::enrich::session::{
    explicit_session, posthog_js_cookie, posthog_js_session, PosthogJsSession,
};
use super::enrich::uuid7::Uuid7;
use super::json::{name, Scratch, Shape, Value};
use super::library::LibraryKind;
use super::message::MessagePart;
use super::message_source::MessageSource;
use super::time::Timestamp;

/// Manages the sessions that the edge itself creates (`sessions: cookie`).
#[derive(Debug)]
pub struct SessionKeeper {
    /// Creates and checks the cookie's value.
    pub sessions: EdgeSessions,
    /// The cookie's name and scope.
    pub cookie: SessionCookie,
}

/// The sessions of one request.
#[derive(Debug, Default)]
pub(super) struct RequestSessions {
    keeper: Option<std::sync::Arc<SessionKeeper>>,
    /// The session of posthog-js's cookie. The outer option is none until the cookie has been read.
    posthog_js: Option<Option<PosthogJsSession>>,
    /// The visitor whose session was looked up last, and that session.
    current: Option<(String, Uuid7)>,
    /// The cookie to set.
    cookie: Option<CookieValue>,
}

impl RequestSessions {
    pub(super) fn new(keeper: Option<std::sync::Arc<SessionKeeper>>) -> Self {
        Self {
            keeper,
            ..Self::default()
        }
    }

    /// Takes out the cookie to set.
    pub(super) fn take_cookie(&mut self) -> Option<CookieValue> {
        self.cookie.take()
    }

    /// Forgets the sessions of the request.
    pub(super) fn forget(&mut self) {
        self.posthog_js = None;
        self.current = None;
        self.cookie = None;
    }

    /// Returns the session of a message and where it was found. Returns none if the message's own
    /// properties name a session, if no session is known, or if the session does not cover the
    /// message's time.
    ///
    /// A session from the client is compared with the client's own clock, even if that clock is wrong.
    /// Only a session of the edge itself is compared with the corrected `moment`.
    pub(super) fn find<'t>(
        &mut self,
        source: MessageSource<'t>,
        visitor: impl Fn() -> Option<Cow<'t, str>>,
        (clock, moment): (Option<SenderClock>, Option<Timestamp>),
        arrival: &Arrival,
        recipient: &Recipient,
    ) -> Option<(Uuid7, &'static str)> {
        let own = source.message.properties.named(name!("$session_id"));
        if own.is_some_and(|own| own.shape != Shape::Null) {
            return None;
        }
        let library = LibraryKind::of(source.context, source.context_text);
        let (clock, moment) = (clock?, moment?);
        if library != LibraryKind::Server {
            let posthog_js = self.posthog_js(arrival, recipient);
            let session = posthog_js.and_then(|session| session.of(clock));
            if let Some(session) = session.filter(|session| session.is_found_at(moment)) {
                return Some((session, "posthog-js's cookie"));
            }
        }
        let named = explicit(source, &visitor, clock);
        if let Some(found) = named.filter(|(session, _)| session.is_found_at(moment)) {
            return Some(found);
        }
        if library != LibraryKind::Browser {
            return None;
        }
        self.keeper.as_ref()?;
        self.edge_session(&visitor()?, moment, arrival)
            .map(|session| (session, "the edge's session cookie"))
    }

    /// Returns the session of posthog-js's cookie, which is read once per request.
    fn posthog_js(&mut self, arrival: &Arrival, recipient: &Recipient) -> Option<PosthogJsSession> {
        let find = || {
            let cookies = arrival.cookies.as_deref()?;
            posthog_js_session(posthog_js_cookie(cookies, &recipient.project)?)
        };
        *self.posthog_js.get_or_insert_with(find)
    }

    fn edge_session(
        &mut self,
        visitor: &str,
        moment: Timestamp,
        arrival: &Arrival,
    ) -> Option<Uuid7> {
        let keeper = self.keeper.clone()?;
        let now = arrival.received_at?;
        // An event cannot happen after it has arrived; if its time is later, the sender's clock is ahead.
        let moment = moment.min(now);
        let current = self.current.as_ref().filter(|(known, _)| known == visitor);
        let session = match current {
            Some((_, session)) => *session,
            None => {
                let cookies = arrival.cookies.as_deref().unwrap_or_default();
                let value = keeper.cookie.find(cookies);
                let session = value.and_then(|value| keeper.sessions.read(value, visitor, now));
                let renewal = keeper.sessions.renew(session, visitor, now)?;
                if renewal.cookie.is_some() {
                    self.cookie = renewal.cookie;
                }
                self.current = Some((visitor.to_owned(), renewal.session.id));
                renewal.session.id
            }
        };
        if session.covers(moment) {
            return Some(session);
        }
        keeper.sessions.begin(visitor, moment)
    }
}

/// Returns the session that another library names (mapping 5.3, points 3 and 4).
fn explicit<'t>(
    source: MessageSource<'t>,
    visitor: impl Fn() -> Option<Cow<'t, str>>,
    clock: SenderClock,
) -> Option<(Uuid7, &'static str)> {
    let text = source.text;
    let amplitude = source
        .message
        .integrations
        .named(name!("Actions Amplitude"));
    if let Some(options) = amplitude.filter(|options| options.shape == Shape::Object) {
        let options_text = options.of(text);
        let mut part = MessagePart::default();
        part.scan_text(options_text, &mut Scratch::default()).ok()?;
        let named = part.get(options_text, "session_id");
        let session = named.and_then(|id| id_text(id, options_text));
        if let Some(session) = session.and_then(|id| explicit_session(&id, &visitor()?, clock)) {
            return Some((session, "integrations.Actions Amplitude.session_id"));
        }
    }
    let context_text = source.context_text;
    let named = source.context.named(name!("sessionId"))?;
    let session = explicit_session(&id_text(named, context_text)?, &visitor()?, clock)?;
    Some((session, "context.sessionId"))
}

/// Returns the window of a message. The scripts that Hedgerow serves write it to `context.windowId`
/// next to `context.sessionId`. Returns none if `context.sessionId` is not `session`.
pub(super) fn window(source: MessageSource<'_>, session: Uuid7) -> Option<Uuid7> {
    let named = |key| {
        let text = source.context_text;
        Uuid7::parse(&id_text(source.context.named(key)?, text)?)
    };
    (named(name!("sessionId"))? == session).then(|| named(name!("windowId")))?
}

fn id_text(value: Value, text: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    match value.shape {
        Shape::Plain | Shape::Escaped => Some(value.decode(text)),
        Shape::Number => Some(String::from_utf8_lossy(value.of(text))),
        _ => None,
    }
}
