//! The rewriter of one configuration, and its state that outlives requests.

use std::sync::Arc;

use super::super::arrival::{Arrival, Bounds, Recipient};
use super::super::body::SplitBody;
use super::super::convert::{ClientContexts, Conversion, SpareBuffers};
use super::super::enrich::ids::group_in_cookie;
use super::super::enrich::meta_ids::MetaIds;
use super::super::held_back::HeldBack;
use super::super::mapping::{Mapping, Mode};
use super::super::repeats::SeenMessages;
use super::super::session::{RequestSessions, SessionKeeper};
use super::{Heads, Rewrite};

/// Rewrites the request bodies of one configuration.
#[derive(Debug)]
pub struct Rewriter {
    pub(super) conversion: Conversion,
    pub(super) sessions: Option<Arc<SessionKeeper>>,
    pub(super) spare: SpareBuffers,
    pub(in crate::rewrite) contexts: ClientContexts,
    pub(super) default_recipient: Arc<Recipient>,
}

impl Rewriter {
    /// Creates a rewriter with this mapping and these bounds.
    pub fn new(mapping: Mapping, bounds: Bounds) -> Self {
        Self {
            conversion: Conversion::new(mapping, bounds),
            sessions: None,
            spare: SpareBuffers::default(),
            contexts: ClientContexts::default(),
            default_recipient: Arc::default(),
        }
    }

    /// Stores sessions in a cookie (`sessions: cookie`).
    #[must_use]
    pub fn with_sessions(mut self, keeper: SessionKeeper) -> Self {
        self.sessions = Some(Arc::new(keeper));
        self
    }

    /// Remembers messages, so that a message that arrives twice gets the same time both times, and
    /// `repeats: suppress` can leave out the second. Takes 1 MiB, or 2 MiB with `repeats: suppress`. Does
    /// nothing in the reference mode, in which the event depends on the message alone.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.conversion.repeats = match self.conversion.mapping.mode {
            Mode::Enriched => Some(Arc::new(SeenMessages::new(self.conversion.mapping.repeats))),
            Mode::Reference => None,
        };
        self
    }

    /// Shares the remembered messages of another rewriter if both have the same setting `repeats`, so that
    /// a message from before a change of the configuration is still recognised.
    #[must_use]
    pub fn with_memory_of(mut self, before: &Self) -> Self {
        let (own, before) = (&mut self.conversion, &before.conversion);
        let same = own.mapping.repeats == before.mapping.repeats;
        if let (true, Some(_), Some(known)) = (same, &own.repeats, &before.repeats) {
            own.repeats = Some(Arc::clone(known));
        }
        self
    }

    /// Begins to rewrite one request body.
    pub fn begin(self: &Arc<Self>, arrival: Arrival) -> Rewrite {
        let cookies = arrival.cookies.as_deref();
        let cookies = cookies.filter(|_| self.conversion.mapping.mode == Mode::Enriched);
        let mut converter = self.spare.take();
        let memory = std::mem::take(&mut converter.body);
        let client = arrival.client_ip.map(ClientContexts::slot);
        converter.begin(client.and_then(|client| self.contexts.take(client)));
        Rewrite {
            rewriter: Arc::clone(self),
            group_cookie: cookies.and_then(group_in_cookie),
            meta_ids: cookies.and_then(MetaIds::in_cookies),
            body: SplitBody::new(arrival.call, self.conversion.bounds).in_memory(memory),
            arrival,
            recipient: Arc::clone(&self.default_recipient),
            sessions: RequestSessions::new(self.sessions.clone()),
            unconfirmed: Vec::new(),
            noted: Vec::new(),
            trace: None,
            converter: Some(converter),
            client,
            shared: Heads::Unread,
            pending: None,
            held_back: HeldBack::default(),
            mark: None,
            refused: 0,
            index: 0,
            pushed: 0,
            grown: 0,
        }
    }
}
