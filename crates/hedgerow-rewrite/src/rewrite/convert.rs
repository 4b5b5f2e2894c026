//! Converts one message through all its steps, with memory that is reused for the next message.

mod client_contexts;
mod conversion;
mod event;
mod request_state;
mod shared;

use std::sync::Arc;

use simdutf8::basic::from_utf8;

use super::arrival::Recipient;
use super::group_types::NotedGroups;
use super::json::Shape;
use super::json::{repair, Cleanliness, Malformed, RepairBuffers, Scratch};
use super::mapping::Integrations;
use super::merge::{merge, MergeTree};
use super::message::{Context, Message, MessagePart};
use super::message_source::MessageSource;
use super::normalise::is_enabled_for_posthog;
use super::outcome::{Fault, NoEvent, Omission, RewriteError};
use super::time::KnownDate;
use super::write::{ContextCache, ContextId};

pub(super) use client_contexts::{ClientContext, ClientContexts, ClientSlot};
pub(super) use conversion::Conversion;
use event::{event, EventBuffers};
pub(super) use event::{Grouping, RequestContext};
pub(super) use request_state::RequestState;
pub(super) use shared::BatchDefaults;

/// The memory that is reused from message to message.
#[derive(Debug, Default)]
pub(super) struct Converter {
    pub(super) scratch: Scratch,
    message: Message,
    /// The properties that the previous context gave its event. The client's next request may reuse them.
    context_cache: Box<ContextCache>,
    recipient: Option<Arc<Recipient>>,
    /// The converter's own context memory, while the memory of a client's context is in use.
    idle: Option<ClientContext>,
    /// The empty context of messages that have none.
    none: Context,
    merged: Context,
    /// The generation of the message's context from which `merged` was built.
    merged_with: Option<u64>,
    own_context: MergeTree,
    repaired: Vec<u8>,
    repair_buffers: RepairBuffers,
    merged_text: String,
    spare_part: MessagePart,
    noted_groups: NotedGroups,
    known_date: KnownDate,
    /// The copy of an event from which values had to be removed.
    scrubbed: Vec<u8>,
}

/// Whether a text may continue after its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextEnd {
    /// The message is the whole text.
    Whole,
    /// Other messages may follow.
    Open,
    /// The converter has just scanned the message, with this result.
    Scanned(ScanResult),
}

/// The result of the scan of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanResult {
    /// The length of the message in the scanned text, in bytes.
    pub(super) length: usize,
    scanned: Scanned,
}

impl Converter {
    /// The memory that the converter holds, in bytes.
    pub(super) fn held(&self) -> usize {
        let texts =
            self.repaired.capacity() + self.merged_text.capacity() + self.scrubbed.capacity();
        texts
            + self.repair_buffers.held()
            + self.context_cache.held()
            + self.idle.as_ref().map_or(0, ClientContext::held)
            + self.scratch.held()
            + self.message.held()
            + self.merged.held()
            + self.spare_part.held()
            + self.noted_groups.held()
    }

    /// Begins a request. `known` is the context of the client's last request, if it is stored.
    pub(super) fn begin(&mut self, known: Option<ClientContext>) {
        if let Some(mut known) = known {
            self.exchange(&mut known);
            self.idle = Some(known);
        }
    }

    /// Sets the recipient of the events.
    pub(super) fn address_to(&mut self, recipient: &Arc<Recipient>) {
        let before = self.recipient.as_ref();
        if !before.is_some_and(|before| Arc::ptr_eq(before, recipient)) {
            self.context_cache.forget();
            self.recipient = Some(Arc::clone(recipient));
        }
    }

    /// Ends the request. Returns the context that the client's next request may reuse.
    #[inline(always)]
    pub(super) fn end(&mut self) -> Option<ClientContext> {
        if !self.message.context.is_kept() {
            return None;
        }
        self.context_cache.forget_batch();
        let mut ended = self.idle.take().unwrap_or_default();
        self.exchange(&mut ended);
        ended.fits().then_some(ended)
    }

    fn exchange(&mut self, other: &mut ClientContext) {
        self.message.context.exchange_parts(&mut other.context);
        std::mem::swap(&mut self.message.context, &mut other.context);
        std::mem::swap(&mut self.context_cache, &mut other.cache);
        std::mem::swap(&mut self.recipient, &mut other.recipient);
    }

    /// Forgets the state that is valid only from one message of a body to the next.
    pub(super) fn forget(&mut self) {
        self.message.context.forget();
        self.merged_with = None;
        self.context_cache.forget();
    }

    /// Scans the message at the start of `text`, unless it has just been scanned.
    #[inline]
    pub(super) fn scanned(
        &mut self,
        text: &[u8],
        text_end: TextEnd,
    ) -> Result<ScanResult, RewriteError> {
        match text_end {
            TextEnd::Scanned(scan_result) => Ok(scan_result),
            _ => {
                let (length, scanned) = self.scan(text, text_end)?;
                Ok(ScanResult { length, scanned })
            }
        }
    }

    /// Converts a message that has just been scanned, and appends its event to `out`. `behind` is the number
    /// of bytes of other messages that follow. Returns the reason if there is no event; `out` may then end
    /// with a part of one.
    #[inline(always)]
    pub(super) fn convert(
        &mut self,
        request: &mut RequestContext<'_>,
        (text, scan_result): (&[u8], ScanResult),
        (index, behind): (usize, usize),
        out: &mut Vec<u8>,
    ) -> Result<Option<NoEvent>, RewriteError> {
        let (conversion, shared) = (request.conversion, request.shared);
        let clean = match scan_result.scanned {
            Scanned::NotAnObject => return Ok(Some(Fault::NotAnObject.into())),
            Scanned::TooDeep => return Ok(Some(Fault::TooDeep.into())),
            Scanned::Clean => from_utf8(text).ok(),
            Scanned::Unclean => None,
        };
        let utf8 = match clean {
            Some(utf8) => {
                self.message.keep_parts(utf8);
                utf8
            }
            None => {
                // The parts that the context has kept may not be UTF-8.
                self.message.context.forget();
                if text.len() > conversion.bounds.event.saturating_mul(2) {
                    return Ok(Some(Fault::TooLarge.into()));
                }
                self.repaired.clear();
                let lossy = String::from_utf8_lossy(text);
                match repair(&lossy, &mut self.repaired, &mut self.repair_buffers) {
                    Ok(()) => {}
                    Err(Malformed::TooDeep) => return Ok(Some(Fault::TooDeep.into())),
                    Err(Malformed::Syntax) => return Err(RewriteError::InvalidJson),
                }
                self.message.scan(&self.repaired, &mut self.scratch)?;
                from_utf8(&self.repaired).map_err(|_| RewriteError::InvalidJson)?
            }
        };
        let text = utf8.as_bytes();
        if conversion.mapping.integrations == Integrations::Respect
            && !is_enabled_for_posthog(
                (&self.message.integrations, text),
                shared.map(|shared| (&shared.integrations, &*shared.integrations_text)),
            )
        {
            return Ok(Some(Omission::Integrations.into()));
        }
        let own = match self.message.context.value {
            Some(_) => &self.message.context,
            None => &self.none,
        };
        let own_utf8 = own.text(utf8);
        let own_text = own_utf8.as_bytes();
        let (context_utf8, context, context_id) =
            match (own.value, shared.filter(|shared| shared.has_context())) {
                (Some(_), None) => (own_utf8, own, ContextId::Own(own.generation())),
                (None, None) => (own_utf8, own, ContextId::Absent),
                (Some(_), Some(_)) if self.merged_with == Some(own.generation()) => (
                    self.merged_text.as_str(),
                    &self.merged,
                    ContextId::Merged(own.generation()),
                ),
                (Some(value), Some(shared)) if value.shape == Shape::Object => {
                    self.merged_with = None;
                    let mut merged = std::mem::take(&mut self.merged_text).into_bytes();
                    merged.clear();
                    self.own_context.read(own_text, &mut self.scratch)?;
                    merge(
                        (shared.context_text.as_bytes(), &shared.context_tree),
                        (own_text, &self.own_context),
                        &mut merged,
                    );
                    self.merged.scan_text(&merged, &mut self.scratch)?;
                    // The merged text is built from two texts that are UTF-8.
                    let merged = String::from_utf8(merged);
                    self.merged_text = merged.map_err(|_| RewriteError::InvalidJson)?;
                    self.merged_with = Some(own.generation());
                    let context_id = ContextId::Merged(own.generation());
                    (self.merged_text.as_str(), &self.merged, context_id)
                }
                (_, Some(shared)) => (
                    shared.context_text.as_str(),
                    &shared.context,
                    ContextId::Shared,
                ),
            };
        let source = MessageSource {
            text,
            message: &self.message,
            context_text: context_utf8.as_bytes(),
            context,
            utf8,
            context_utf8,
        };
        let buffers = EventBuffers {
            behind,
            known_date: &mut self.known_date,
            scrubbed: &mut self.scrubbed,
            context_cache: (context_id, &mut self.context_cache),
            spare_part: &mut self.spare_part,
            scratch: &mut self.scratch,
            noted_groups: &mut self.noted_groups,
        };
        Ok(event(request, source, index, out, buffers).err())
    }

    /// Scans the message at the start of `text`, and returns its write key, if it has one.
    pub(super) fn write_key(
        &mut self,
        text: &[u8],
        text_end: TextEnd,
    ) -> (TextEnd, Option<String>) {
        let text_end = match text_end {
            TextEnd::Scanned(_) => text_end,
            _ => match self.scan(text, text_end) {
                Ok((length, scanned)) => TextEnd::Scanned(ScanResult { length, scanned }),
                Err(_) => return (text_end, None),
            },
        };
        let key = self.message.write_key().filter(|key| key.is_string());
        let key = key.map(|key| key.decode(text).into_owned());
        (text_end, key)
    }

    /// Scans the message at the start of `text`. Returns `None` unless it is an object and complete.
    pub(super) fn see(&mut self, text: &[u8]) -> Option<ScanResult> {
        let (cleanliness, length) = self.message.scan_first(text, &mut self.scratch).ok()?;
        let scanned = self.finish_scan(text, (cleanliness, length));
        Some(ScanResult { length, scanned })
    }

    /// Scans a whole body. Returns `None` unless it is one clean message without a key that could make
    /// it a batch.
    #[inline(always)]
    pub(super) fn scan_single(&mut self, text: &[u8]) -> Option<ScanResult> {
        let (cleanliness, length) = self.message.scan_first(text, &mut self.scratch).ok()?;
        let rest = text.get(length..).unwrap_or_default();
        // An unclean message may have a key that spells `batch` in another way.
        if cleanliness == Cleanliness::Unclean
            || self.message.batch().is_some()
            || !rest.iter().all(u8::is_ascii_whitespace)
        {
            return None;
        }
        let scanned = self.finish_scan(text, (cleanliness, length));
        Some(ScanResult { length, scanned })
    }

    fn finish_scan(&mut self, text: &[u8], (cleanliness, length): (Cleanliness, usize)) -> Scanned {
        if cleanliness == Cleanliness::Unclean {
            return Scanned::Unclean;
        }
        self.message.keep(text.get(..length).unwrap_or_default());
        Scanned::Clean
    }

    fn scan(&mut self, text: &[u8], text_end: TextEnd) -> Result<(usize, Scanned), RewriteError> {
        match self.message.scan_first(text, &mut self.scratch) {
            Ok((cleanliness, length)) => {
                let rest = text.get(length..).unwrap_or_default();
                if text_end == TextEnd::Whole && !rest.iter().all(u8::is_ascii_whitespace) {
                    return Err(RewriteError::InvalidJson);
                }
                Ok((length, self.finish_scan(text, (cleanliness, length))))
            }
            Err(malformed) => self.not_a_message(text, text_end, malformed),
        }
    }

    /// Finds the end of an item that is not a usable message: a value that is not an object, or an
    /// object that is nested too deeply.
    fn not_a_message(
        &mut self,
        text: &[u8],
        text_end: TextEnd,
        malformed: Malformed,
    ) -> Result<(usize, Scanned), RewriteError> {
        use super::json::{Ended, Skim, Skimmed};
        let begins = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let Skimmed::End(length) = Skim::default().follow(text, Ended::Yes) else {
            return Err(RewriteError::InvalidJson);
        };
        let rest = text.get(length..).unwrap_or_default();
        if text_end == TextEnd::Whole && !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(RewriteError::InvalidJson);
        }
        match (malformed, begins) {
            (Malformed::TooDeep, _) => Ok((length, Scanned::TooDeep)),
            (Malformed::Syntax, Some(b'{')) => Err(RewriteError::InvalidJson),
            (Malformed::Syntax, _) => {
                let mut part = MessagePart::default();
                let value = text.get(..length).unwrap_or_default();
                match part.scan_text(value, &mut self.scratch) {
                    Ok(_) => Ok((length, Scanned::NotAnObject)),
                    Err(Malformed::TooDeep) => Ok((length, Scanned::TooDeep)),
                    Err(Malformed::Syntax) => Err(RewriteError::InvalidJson),
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scanned {
    /// The text is clean, provided that it is UTF-8.
    Clean,
    Unclean,
    TooDeep,
    NotAnObject,
}

#[cfg(test)]
#[path = "convert_tests/mod.rs"]
mod tests;
