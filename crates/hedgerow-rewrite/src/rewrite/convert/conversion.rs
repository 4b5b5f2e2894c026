//! What all messages of a configuration are converted with.

use std::sync::Arc;

use super::super::arrival::Bounds;
use super::super::enrich::cache::{CacheCapacity, UserAgents};
use super::super::enrich::privacy::PatternMatcher;
use super::super::group_types::GroupTypes;
use super::super::mapping::{Mapping, Mode};
use super::super::repeats::SeenMessages;

/// The settings, and what is remembered from message to message because of them.
#[derive(Debug)]
pub(in crate::rewrite) struct Conversion {
    pub(in crate::rewrite) mapping: Mapping,
    pub(in crate::rewrite) bounds: Bounds,
    /// The patterns of `privacy`.
    pub(super) patterns: PatternMatcher,
    pub(super) user_agents: UserAgents,
    pub(super) group_types: GroupTypes,
    pub(in crate::rewrite) repeats: Option<Arc<SeenMessages>>,
}

impl Conversion {
    /// With this mapping and these bounds; messages are not remembered.
    pub(in crate::rewrite) fn new(mapping: Mapping, bounds: Bounds) -> Self {
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
            repeats: None,
        }
    }
}
