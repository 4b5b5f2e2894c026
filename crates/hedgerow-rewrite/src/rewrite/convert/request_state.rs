//! What is known of one request besides its body, and what is found out from message to message.

use std::sync::Arc;

use super::super::arrival::{Arrival, Explanations};
use super::super::enrich::ids::group_in_cookie;
use super::super::enrich::meta_ids::MetaIds;
use super::super::explain::Trace;
use super::super::mapping::Mode;
use super::super::outcome::Notice;
use super::super::repeats::Tag;
use super::super::session::{RequestSessions, SessionKeeper};
use crate::segment::Call;

/// The most tags whose memory is kept for the next request.
const KEPT_TAGS: usize = 512;

/// The state of a request that all its messages share.
#[derive(Debug)]
pub(in crate::rewrite) struct RequestState {
    pub(in crate::rewrite) arrival: Arrival,
    pub(in crate::rewrite) sessions: RequestSessions,
    /// The visitor's group, as analytics.js stores it in its cookie.
    pub(super) group_cookie: Option<String>,
    /// The ids that Meta's pixel stores in the visitor's cookies.
    pub(super) meta_ids: Option<MetaIds>,
    /// The messages whose events PostHog has not accepted yet.
    pub(in crate::rewrite) unconfirmed: Vec<Tag>,
    /// The messages whose times have been recorded; a restart deletes these records.
    pub(in crate::rewrite) noted: Vec<Tag>,
    /// Records the source of each property, if an explanation was requested.
    pub(in crate::rewrite) trace: Option<Trace>,
    /// Notices about the last message for the operator.
    pub(in crate::rewrite) notices: Vec<Notice<'static>>,
}

impl RequestState {
    pub(in crate::rewrite) fn new(sessions: Option<Arc<SessionKeeper>>) -> Self {
        Self {
            arrival: Arrival::new(Call::Batch),
            sessions: RequestSessions::new(sessions),
            group_cookie: None,
            meta_ids: None,
            unconfirmed: Vec::new(),
            noted: Vec::new(),
            trace: None,
            notices: Vec::new(),
        }
    }

    /// Begins a request. The state is new or cleared.
    #[inline]
    pub(in crate::rewrite) fn begin(&mut self, mode: Mode, arrival: Arrival) {
        if let (Mode::Enriched, Some(cookies)) = (mode, arrival.cookies.as_deref()) {
            self.read_cookies(cookies);
        }
        if arrival.explanations == Explanations::On {
            self.trace = Some(Trace::default());
        }
        self.arrival = arrival;
    }

    #[inline(never)]
    fn read_cookies(&mut self, cookies: &str) {
        self.group_cookie = group_in_cookie(cookies);
        self.meta_ids = MetaIds::in_cookies(cookies);
    }

    /// Forgets the request, and keeps the memory.
    #[inline]
    pub(in crate::rewrite) fn clear(&mut self) {
        if self.arrival.cookies.take().is_some() {
            (self.group_cookie, self.meta_ids) = (None, None);
        }
        self.arrival.user_agent = None;
        self.sessions.forget();
        for tags in [&mut self.unconfirmed, &mut self.noted] {
            match tags.capacity() {
                ..=KEPT_TAGS => tags.clear(),
                _ => *tags = Vec::new(),
            }
        }
        self.trace = None;
        self.notices.clear();
    }

    /// The memory that the state holds between two requests, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        let tags = self.unconfirmed.capacity() + self.noted.capacity();
        tags * size_of::<Tag>() + self.notices.capacity() * size_of::<Notice<'_>>()
    }
}
