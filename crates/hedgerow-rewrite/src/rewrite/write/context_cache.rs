//! Caches the properties that a context gives an event, for the next event with the same context.
//!
//! The messages of a batch usually have the same context, and most properties of an event follow from
//! the context alone. So these properties are written once and then copied, unless the caller has given
//! a property that changes them. If a message has its own context, the properties are also cached for
//! the next request of its client.

use std::net::IpAddr;

use super::presence::Mapped;
use super::{Mode, Prefixed, Properties};
use crate::rewrite::enrich::url::PARAMETER_NAMES;
use crate::rewrite::json::{Name, Names, Output};
use crate::segment::Kind;

/// Identifies the context of a message. In one request, equal ids mean contexts with the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum ContextId {
    /// The message has no context.
    Absent,
    /// The batch's context.
    Shared,
    /// The message's own context, with its generation.
    Own(u64),
    /// The message's own context, into which the batch's context is merged.
    Merged(u64),
}

/// What the cached properties depend on, besides the recipient and the request's user agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContextUse {
    context_id: ContextId,
    calls: Calls,
    /// The client's address, if the context has none.
    ip: Option<IpAddr>,
    /// The caller's properties that replace cached ones.
    given: Names,
}

/// A set of calls that all get the same properties from a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// Every call, in the reference mode.
    All,
    Page,
    /// Calls other than page that carry properties of the caller.
    Events,
    /// Calls that carry no properties of the caller.
    Ids,
}

impl Calls {
    fn of(kind: Kind, mode: Mode) -> Self {
        match (mode, kind) {
            (Mode::Reference, _) => Self::All,
            (Mode::Enriched, Kind::Page) => Self::Page,
            (Mode::Enriched, kind) if kind.has_properties() => Self::Events,
            (Mode::Enriched, _) => Self::Ids,
        }
    }
}

/// The cached properties of a context.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct ContextCache {
    /// The context of the last use.
    last: Option<ContextId>,
    /// The use for which the properties are cached.
    context_use: Option<ContextUse>,
    bytes: Vec<u8>,
    taken: Names,
    mapped: Mapped,
    constants: u64,
}

/// The largest cached text, in bytes: larger contexts are not shared by many messages.
const LARGEST: usize = 32 * 1024;

impl ContextCache {
    /// Returns the memory that the cache holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all properties.
    pub(in crate::rewrite) fn forget(&mut self) {
        (self.last, self.context_use) = (None, None);
    }

    /// Forgets the properties if they depend on the batch's context.
    pub(in crate::rewrite) fn forget_batch(&mut self) {
        let is_own = |context_id: ContextId| matches!(context_id, ContextId::Own(_));
        if !self.last.is_some_and(is_own) {
            self.last = None;
        }
        if !self
            .context_use
            .as_ref()
            .is_some_and(|context_use| is_own(context_use.context_id))
        {
            self.context_use = None;
        }
    }
}

/// The caller's properties whose values change the context's properties.
const USED_BY_VALUE: Names = Names::of(&[
    "$browser",
    "$current_url",
    "$ip",
    "$referrer",
    "browser",
    "path",
    "referrer",
    "url",
    "utm_campaign",
    "utm_name",
    "viewport_height",
    "viewport_width",
]);

/// The properties that the context gives, unless the caller has given them.
const USED_BY_PRESENCE: Names = Names::of(&[
    "$app_build",
    "$app_name",
    "$app_namespace",
    "$app_version",
    "$browser",
    "$browser_language",
    "$browser_language_prefix",
    "$browser_version",
    "$current_url",
    "$device",
    "$device_manufacturer",
    "$device_model",
    "$device_name",
    "$device_type",
    "$host",
    "$ip",
    "$lib_version",
    "$locale",
    "$network_bluetooth",
    "$network_carrier",
    "$network_cellular",
    "$network_wifi",
    "$os",
    "$os_version",
    "$pathname",
    "$raw_user_agent",
    "$referrer",
    "$referring_domain",
    "$screen_density",
    "$screen_height",
    "$screen_width",
    "$search_engine",
    "$timezone",
    "$viewport_height",
    "$viewport_width",
    "$webview_app",
    "$webview_app_version",
    "ph_keyword",
    "segment_ip",
    "segment_library_name",
    "segment_library_version",
    "segment_userAgent",
    "title",
])
.or(&PARAMETER_NAMES);

/// Whether the context's properties depend on the presence of this caller's property.
pub(super) fn depends_on_presence(key: Name) -> bool {
    USED_BY_PRESENCE.has(key)
}

/// Whether the context's properties depend on the value of this caller's property.
pub(super) fn depends_on_value(key: Name) -> bool {
    USED_BY_VALUE.has(key)
}

/// Whether the written properties follow from the context alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextWriting {
    No,
    Yes,
}

impl Properties<'_, '_, '_, '_> {
    /// Writes the properties that follow from the context alone, if possible by copying those of an
    /// earlier event with the same context.
    pub(super) fn write_cached(&mut self) {
        let Some(context_use) = self.context_use() else {
            return self.write_of_context();
        };
        let context_cache = &mut *self.scratch.context_cache.1;
        if context_cache.context_use == Some(context_use) {
            self.out.extend_from_slice(&context_cache.bytes);
            self.taken = context_cache.taken;
            self.mapped = context_cache.mapped;
            self.constants |= context_cache.constants;
            return;
        }
        // The first use of a context is not cached, because many contexts are used only once.
        let is_second =
            context_cache.last.replace(context_use.context_id) == Some(context_use.context_id);
        if !is_second {
            return self.write_of_context();
        }
        let (start, constants) = (self.out.at(), std::mem::take(&mut self.constants));
        self.caching = ContextWriting::Yes;
        self.write_of_context();
        self.caching = ContextWriting::No;
        let written = self.out.since(start);
        let is_settled = !self.mapped.has_left() && self.campaign_left.is_none();
        let context_cache = &mut *self.scratch.context_cache.1;
        context_cache.context_use = None;
        if is_settled && written.len() <= LARGEST {
            context_cache.bytes.clear();
            context_cache.bytes.extend_from_slice(written);
            context_cache.taken = self.taken;
            context_cache.mapped = self.mapped;
            context_cache.constants = self.constants;
            context_cache.context_use = Some(context_use);
        }
        self.constants |= constants;
    }

    /// Returns the use of the cache for this message, or none if the message changes the properties in
    /// a way that the use does not describe.
    fn context_use(&self) -> Option<ContextUse> {
        let changes_properties = self.callers.intersects(&USED_BY_VALUE)
            || self.prefixed == Prefixed::Some
            || self.settled.user_agent.is_some()
            || self.trace.is_some();
        (!changes_properties).then_some(ContextUse {
            context_id: self.scratch.context_cache.0,
            calls: Calls::of(self.plan.kind, self.inputs.mapping.mode),
            ip: self.settled.ip,
            given: self.callers.common(&USED_BY_PRESENCE),
        })
    }

    fn write_of_context(&mut self) {
        self.write_campaign();
        self.write_mapped();
        self.write_context();
        if self.inputs.mapping.mode == Mode::Enriched {
            self.write_enriched_of_context();
        }
    }
}
