//! The settings and the memory with which all messages of a configuration are converted.

use std::sync::Arc;

use super::super::arrival::Bounds;
use super::super::enrich::cache::{CacheCapacity, UserAgents};
use super::super::enrich::privacy::PatternMatcher;
use super::super::group_types::GroupTypes;
use super::super::mapping::{Mapping, Mode};
use super::super::repeats::SeenMessages;

/// The settings, and the state that they require from message to message.
#[derive(Debug)]
pub(in crate::rewrite) struct Conversion {
    pub(in crate::rewrite) mapping: Mapping,
    pub(in crate::rewrite) bounds: Bounds,
    /// The `drop` and `hash` patterns of `privacy`.
    pub(super) patterns: PatternMatcher,
    pub(super) user_agents: UserAgents,
    pub(super) group_types: GroupTypes,
    pub(in crate::rewrite) repeats: Option<Arc<SeenMessages>>,
}

impl Conversion {
    /// Creates a conversion with this mapping and these bounds. It does not remember messages.
    pub(in crate::rewrite) fn new(mapping: Mapping, bounds: Bounds) -> Self {
        // Only the enriched mode parses user agents.
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
            repeats: None,
        }
    }
}
