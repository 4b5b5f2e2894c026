//! The rewriting of one configuration, and its state that outlives requests.

use std::sync::Arc;

use super::super::body::SplitBody;
use super::super::convert::{ClientContexts, SpareBuffers};
use super::super::enrich::cache::{CacheCapacity, UserAgents};
use super::super::enrich::ids::group_in_cookie;
use super::super::enrich::meta_ids::MetaIds;
use super::super::enrich::privacy::PatternMatcher;
use super::super::group_types::GroupTypes;
use super::super::held_back::HeldBack;
use super::super::repeats::SeenMessages;
use super::super::session::{RequestSessions, SessionKeeper};
use super::super::{Arrival, Bounds, Mapping, Mode, Recipient};
use super::{Heads, Rewrite};

/// The rewriting of one configuration.
#[derive(Debug)]
pub struct Rewriter {
    pub(in crate::rewrite) mapping: Mapping,
    pub(in crate::rewrite) bounds: Bounds,
    /// The patterns of `privacy`.
    pub(in crate::rewrite) patterns: PatternMatcher,
    pub(in crate::rewrite) user_agents: UserAgents,
    pub(in crate::rewrite) group_types: GroupTypes,
    pub(super) sessions: Option<Arc<SessionKeeper>>,
    pub(in crate::rewrite) repeats: Option<Arc<SeenMessages>>,
    pub(super) spare: SpareBuffers,
    pub(in crate::rewrite) contexts: ClientContexts,
    pub(super) default_recipient: Arc<Recipient>,
}

impl Rewriter {
    /// A rewriter with this mapping and these bounds.
    pub fn new(mapping: Mapping, bounds: Bounds) -> Self {
        // Only the enriched mode looks into user agents.
        let user_agents = match mapping.mode {
            Mode::Enriched => UserAgents::default(),
            Mode::Reference => UserAgents::new(CacheCapacity {
                entries: 0,
                bytes: 0,
            }),
        };
        let privacy = &mapping.privacy;
        Self {
            patterns: PatternMatcher::new(&privacy.drop, &privacy.hash),
            mapping,
            bounds,
            user_agents,
            group_types: GroupTypes::default(),
            sessions: None,
            repeats: None,
            spare: SpareBuffers::default(),
            contexts: ClientContexts::default(),
            default_recipient: Arc::default(),
        }
    }

    /// Keeps sessions in a cookie (`sessions: cookie`).
    #[must_use]
    pub fn with_sessions(mut self, keeper: SessionKeeper) -> Self {
        self.sessions = Some(Arc::new(keeper));
        self
    }

    /// Remembers messages, so that one that comes twice leaves with the same time both times, and
    /// `repeats: suppress` can leave out the second. Takes 1 MiB, or 2 MiB to suppress them. Does
    /// nothing in the reference mode, which is a function of the message alone.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.repeats = match self.mapping.mode {
            Mode::Enriched => Some(Arc::new(SeenMessages::new(self.mapping.repeats))),
            Mode::Reference => None,
        };
        self
    }

    /// Takes over the memory of another rewriter if both remember in the same way: a message from before a
    /// change of the configuration is still recognised.
    #[must_use]
    pub fn with_memory_of(mut self, before: &Self) -> Self {
        let same = self.mapping.repeats == before.mapping.repeats;
        if let (true, Some(_), Some(known)) = (same, &self.repeats, &before.repeats) {
            self.repeats = Some(Arc::clone(known));
        }
        self
    }

    /// Begins with one request body.
    pub fn begin(self: &Arc<Self>, arrival: Arrival) -> Rewrite {
        let cookies = arrival.cookies.as_deref();
        let cookies = cookies.filter(|_| self.mapping.mode == Mode::Enriched);
        let mut converter = self.spare.take();
        let memory = std::mem::take(&mut converter.body);
        let client = arrival.client_ip.map(ClientContexts::slot);
        converter.begin(client.and_then(|client| self.contexts.take(client)));
        Rewrite {
            rewriter: Arc::clone(self),
            group_cookie: cookies.and_then(group_in_cookie),
            meta_ids: cookies.and_then(MetaIds::in_cookies),
            body: SplitBody::new(arrival.call, self.bounds).in_memory(memory),
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
