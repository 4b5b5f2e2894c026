//! What the context gives an event, kept for the next event that has the same context.
//!
//! The messages of a batch mostly have one context, and most of what an event says follows from it
//! alone. So it is written once and copied from then on, as long as the caller has given nothing
//! that bears on it. It is forgotten with the request.

use super::presence::Mapped;
use super::{Mode, Prefixed, Properties};
use crate::rewrite::enrich::url::PARAMETER_NAMES;
use crate::rewrite::json::{Name, Names, Sink};
use crate::segment::Kind;

/// Which context a message has. Two of the same request that are equal here are the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Which {
    /// None.
    Absent,
    /// The batch's.
    Shared,
    /// Its own, of this generation, with the batch's merged into it.
    Own(u64),
}

/// What a gift depends on besides what is the same for all messages of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Occasion {
    which: Which,
    kind: Kind,
    /// What the caller has given of what gives way to it.
    given: Names,
}

/// What a context gave.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Gift {
    /// The occasion that there was last.
    last: Option<Occasion>,
    /// The one that it was kept for.
    kept: Option<Occasion>,
    bytes: Vec<u8>,
    taken: Names,
    mapped: Mapped,
    constants: u64,
}

/// Larger ones are no context that many messages have. In bytes.
const LARGEST: usize = 32 * 1024;

impl Gift {
    /// The memory it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets it with its request.
    pub(in crate::rewrite) fn forget(&mut self) {
        (self.last, self.kept) = (None, None);
    }
}

/// The caller's properties that what the context gives depends on by their values.
const WEIGHED: Names = Names::of(&[
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
const ASKED: Names = Names::of(&[
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

/// Whether what the context gives depends on whether the caller has given this.
pub(super) fn is_asked(key: Name) -> bool {
    ASKED.has(key)
}

/// Whether it depends on its value.
pub(super) fn is_weighed(key: Name) -> bool {
    WEIGHED.has(key)
}

/// Whether what is written follows from the context alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Giving {
    No,
    Yes,
}

impl Properties<'_, '_, '_, '_> {
    /// What follows from the context alone: it is the same for the next event with this context.
    pub(super) fn write_gift(&mut self) {
        let Some(occasion) = self.occasion() else {
            return self.write_of_context();
        };
        let gift = &mut *self.aside.gift.1;
        if gift.kept == Some(occasion) {
            self.out.extend_from_slice(&gift.bytes);
            self.taken = gift.taken;
            self.mapped = gift.mapped;
            self.constants |= gift.constants;
            return;
        }
        // The first of them is not kept: most bodies have no second one.
        let is_second = gift.last.replace(occasion) == Some(occasion);
        if !is_second {
            return self.write_of_context();
        }
        let (start, constants) = (self.out.at(), std::mem::take(&mut self.constants));
        self.giving = Giving::Yes;
        self.write_of_context();
        self.giving = Giving::No;
        let written = self.out.since(start);
        let is_settled = !self.mapped.has_left() && self.campaign_left.is_none();
        let gift = &mut *self.aside.gift.1;
        gift.kept = None;
        if is_settled && written.len() <= LARGEST {
            gift.bytes.clear();
            gift.bytes.extend_from_slice(written);
            gift.taken = self.taken;
            gift.mapped = self.mapped;
            gift.constants = self.constants;
            gift.kept = Some(occasion);
        }
        self.constants |= constants;
    }

    /// On which occasion the context gives; none if the message bears on it otherwise.
    fn occasion(&self) -> Option<Occasion> {
        let bears =
            self.callers.meets(&WEIGHED) || self.prefixed == Prefixed::Some || self.trace.is_some();
        (!bears).then_some(Occasion {
            which: self.aside.gift.0,
            kind: self.plan.kind,
            given: self.callers.common(&ASKED),
        })
    }

    fn write_of_context(&mut self) {
        self.write_campaign();
        self.write_mapped();
        self.write_context();
        if self.desk.mapping.mode == Mode::Enriched {
            self.write_enriched_of_context();
        }
    }
}
