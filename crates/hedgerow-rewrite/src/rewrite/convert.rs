//! One message through all its steps, with memory that is used again for the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use simdutf8::basic::from_utf8;

use super::bearing::bearing;
use super::body::Heading;
use super::enrich::meta_ids::MetaIds;
use super::explain::Trace;
use super::json::{repair, Cleanliness, Malformed, Scratch, Shape, Sheet};
use super::merge::{merge, Tree};
use super::message::{Context, Message, Part};
use super::normalise::{is_said, moment, passes_gate, settle, Naming, SentAt, Settling, Source};
use super::plan::{Piece, Plan};
use super::privacy::{ClickIds, Scrub, Subject, Treatment};
use super::repeats::Tag;
use super::session::Sessions;
use super::spread::spreads_beyond;
use super::time::Reading;
use super::write::{write_event, Aside, Gift, Which, WriteBuffers, Written};
use super::{
    Arrival, Fault, Integrations, Mode, Omission, Recipient, RewriteError, Rewriter, Timestamp,
    Verdict,
};
use crate::posthog::{Address, EventBearing, EventParts};

/// The batch's own values, ready to be used for every message of it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    context_text: String,
    context: Context,
    context_tree: Tree,
    integrations_text: Vec<u8>,
    integrations: Part,
    sent_at: Option<Timestamp>,
    /// Whether there is one that cannot be read.
    pub(super) said_sent_at: SentAt,
}

/// Values of the envelope that are larger than this are refused: they would be copied into every
/// event of the batch.
const HEADING_LIMIT: usize = 64 * 1024;

impl Shared {
    pub(super) fn new(heading: &Heading, scratch: &mut Scratch) -> Result<Self, RewriteError> {
        let mut shared = Self::default();
        if let Some(text) = &heading.context {
            let tidy = String::from_utf8(tidy(text, scratch)?);
            // A clean text is UTF-8.
            shared.context_text = tidy.map_err(|_| RewriteError::InvalidJson)?;
            let text = shared.context_text.as_bytes();
            shared.context.scan_text(text, scratch)?;
            shared.context_tree.read(text, scratch)?;
        }
        if let Some(text) = &heading.integrations {
            shared.integrations_text = tidy(text, scratch)?;
            shared
                .integrations
                .scan_text(&shared.integrations_text, scratch)?;
        }
        if let Some(text) = &heading.sent_at {
            let mut part = Part::default();
            let text = tidy(text, scratch)?;
            part.scan_text(&text, scratch)?;
            let said = part.value.filter(|value| is_said(*value, &text));
            shared.sent_at = said
                .and_then(|value| moment(value, &text))
                .map(Reading::timestamp);
            if said.is_some() && shared.sent_at.is_none() {
                shared.said_sent_at = SentAt::Unreadable;
            }
        }
        Ok(shared)
    }

    /// How many bytes there are to look at anew for every message of the batch.
    pub(super) fn weight(&self) -> usize {
        self.context_text.len() + self.integrations_text.len()
    }

    fn has_context(&self) -> bool {
        self.context
            .value
            .is_some_and(|value| value.shape == Shape::Object)
    }
}

/// A clean text of one value.
fn tidy(text: &[u8], scratch: &mut Scratch) -> Result<Vec<u8>, RewriteError> {
    if text.len() > HEADING_LIMIT {
        return Err(RewriteError::TooLarge);
    }
    let mut part = Part::default();
    let valid = std::str::from_utf8(text).is_ok();
    if part.scan_text(text, scratch)? == Cleanliness::Clean && valid {
        return Ok(text.to_vec());
    }
    let mut repaired = Vec::with_capacity(text.len());
    repair(&String::from_utf8_lossy(text), &mut repaired)?;
    Ok(repaired)
}

/// What is used again from message to message.
#[derive(Debug, Default)]
pub(super) struct Converter {
    pub(super) scratch: Scratch,
    message: Message,
    /// The context of messages that have none.
    none: Context,
    merged: Context,
    /// The generation of the context that is merged in it.
    merged_with: Option<u64>,
    own_context: Tree,
    repaired: Vec<u8>,
    merged_text: String,
    aside: Part,
    /// An event as it is written.
    sheet: Sheet,
    /// What the context gave the event before.
    gift: Gift,
    /// An event out of which something had to be taken.
    scrubbed: Vec<u8>,
}

/// Converters of requests that are through, for those that come: their memory has grown to what
/// messages need.
///
/// A converter is large, and moves from hand to hand as a pointer.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)]
pub(super) struct SpareBuffers(Mutex<Vec<Box<Converter>>>);

impl SpareBuffers {
    /// As many as are worth their memory: 2 MiB at most.
    const MOST: usize = 32;
    /// One that had to grow further is let go, or it would hold the memory for ever. In bytes.
    const LARGEST: usize = 64 * 1024;

    pub(super) fn take(&self) -> Box<Converter> {
        self.list().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut converter: Box<Converter>) {
        converter.forget();
        if converter.held() <= Self::LARGEST {
            let mut list = self.list();
            if list.len() < Self::MOST {
                list.push(converter);
            }
        }
    }

    /// The list is whole between any two statements, whatever became of a thread.
    #[allow(clippy::vec_box)]
    fn list(&self) -> MutexGuard<'_, Vec<Box<Converter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a message ended, and what came of it.
pub(super) struct Converted {
    /// The length of the message in the text that was handed in.
    pub(super) length: usize,
    /// Nothing, if an event was written.
    pub(super) verdict: Option<Verdict>,
}

/// How far a text may go on behind the message that begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Not at all.
    Whole,
    /// Other messages follow.
    Open,
    /// The converter has just scanned it.
    Scanned(Seen),
}

/// What follows a message in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Following {
    Nothing,
    Messages,
}

/// What came of scanning a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    length: usize,
    scanned: Scanned,
}

impl Converter {
    /// The memory it holds, in bytes.
    fn held(&self) -> usize {
        let texts =
            self.repaired.capacity() + self.merged_text.capacity() + self.scrubbed.capacity();
        texts
            + self.sheet.held()
            + self.gift.held()
            + self.scratch.held()
            + self.message.held()
            + self.merged.held()
            + self.aside.held()
    }

    /// Forgets what is only kept from one message of a body to the next.
    pub(super) fn forget(&mut self) {
        self.message.context.forget();
        self.merged_with = None;
        self.gift.forget();
    }

    /// Converts the message at the start of `text`, and appends its event to `out`.
    pub(super) fn convert(
        &mut self,
        request: &mut Request<'_>,
        (text, extent, index): (&[u8], Extent, usize),
        out: &mut Vec<u8>,
    ) -> Result<Converted, RewriteError> {
        let (rewriter, shared) = (request.rewriter, request.shared);
        let (length, scanned) = match extent {
            Extent::Scanned(seen) => (seen.length, seen.scanned),
            _ => self.scan(text, extent)?,
        };
        let behind = text.len().saturating_sub(length);
        let text = text.get(..length).unwrap_or_default();
        let clean = match scanned {
            Scanned::NotAnObject => return Ok(refused(length, Fault::NotAnObject)),
            Scanned::TooDeep => return Ok(refused(length, Fault::TooDeep)),
            Scanned::Clean => from_utf8(text).ok(),
            Scanned::Unclean => None,
        };
        let said = match clean {
            Some(said) => said,
            None => {
                // What it has kept may be no text.
                self.message.context.forget();
                if text.len() > rewriter.bounds.event.saturating_mul(2) {
                    return Ok(refused(length, Fault::TooLarge));
                }
                self.repaired.clear();
                match repair(&String::from_utf8_lossy(text), &mut self.repaired) {
                    Ok(()) => {}
                    Err(Malformed::TooDeep) => return Ok(refused(length, Fault::TooDeep)),
                    Err(Malformed::Syntax) => return Err(RewriteError::InvalidJson),
                }
                self.message.scan(&self.repaired, &mut self.scratch)?;
                from_utf8(&self.repaired).map_err(|_| RewriteError::InvalidJson)?
            }
        };
        let text = said.as_bytes();
        if rewriter.mapping.integrations == Integrations::Respect
            && !passes_gate(
                &self.message.integrations,
                text,
                &shared.integrations,
                &shared.integrations_text,
            )
        {
            return Ok(Converted {
                length,
                verdict: Some(Omission::Integrations.into()),
            });
        }
        let own = match self.message.context.value {
            Some(_) => &self.message.context,
            None => &self.none,
        };
        let own_said = own.text(said);
        let own_text = own_said.as_bytes();
        let (context_said, context, which) = match (own.value, shared.has_context()) {
            (Some(_), false) => (own_said, own, Which::Own(own.generation())),
            (None, false) => (own_said, own, Which::Absent),
            (Some(_), true) if self.merged_with == Some(own.generation()) => (
                self.merged_text.as_str(),
                &self.merged,
                Which::Own(own.generation()),
            ),
            (Some(value), true) if value.shape == Shape::Object => {
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
                // Made of two that are UTF-8.
                let merged = String::from_utf8(merged);
                self.merged_text = merged.map_err(|_| RewriteError::InvalidJson)?;
                self.merged_with = Some(own.generation());
                let which = Which::Own(own.generation());
                (self.merged_text.as_str(), &self.merged, which)
            }
            (_, true) => (shared.context_text.as_str(), &shared.context, Which::Shared),
        };
        let source = Source {
            text,
            message: &self.message,
            context_text: context_said.as_bytes(),
            context,
            said,
            context_said,
        };
        let memory = Memory {
            behind,
            sheet: &mut self.sheet,
            scrubbed: &mut self.scrubbed,
            gift: (which, &mut self.gift),
            aside: &mut self.aside,
            scratch: &mut self.scratch,
        };
        let verdict = event(request, source, index, out, memory).err();
        Ok(Converted { length, verdict })
    }

    /// Scans the message at the start of `text`, and says what it names as its write key.
    pub(super) fn write_key(&mut self, text: &[u8], extent: Extent) -> (Extent, Option<String>) {
        let extent = match extent {
            Extent::Scanned(_) => extent,
            _ => match self.scan(text, extent) {
                Ok((length, scanned)) => Extent::Scanned(Seen { length, scanned }),
                Err(_) => return (extent, None),
            },
        };
        let key = self.message.write_key.filter(|key| key.is_string());
        let key = key.map(|key| key.says(text).into_owned());
        (extent, key)
    }

    /// Scans the message at the start of `text`, if it is an object and all of it is there.
    pub(super) fn see(&mut self, text: &[u8]) -> Option<Seen> {
        let (cleanliness, length) = self.message.scan_first(text, &mut self.scratch).ok()?;
        let scanned = self.judge(text, (cleanliness, length), Following::Messages);
        Some(Seen { length, scanned })
    }

    /// Scans a whole body, if it is one clean message and has no key that could make it a batch.
    pub(super) fn see_alone(&mut self, text: &[u8]) -> Option<Seen> {
        let (cleanliness, length) = self.message.scan_first(text, &mut self.scratch).ok()?;
        let rest = text.get(length..).unwrap_or_default();
        // A key that is not clean may say anything.
        if cleanliness == Cleanliness::Unclean
            || self.message.batch.is_some()
            || !rest.iter().all(u8::is_ascii_whitespace)
        {
            return None;
        }
        let scanned = self.judge(text, (cleanliness, length), Following::Nothing);
        Some(Seen { length, scanned })
    }

    fn judge(
        &mut self,
        text: &[u8],
        (cleanliness, length): (Cleanliness, usize),
        following: Following,
    ) -> Scanned {
        let message = text.get(..length).unwrap_or_default();
        if cleanliness == Cleanliness::Unclean {
            return Scanned::Unclean;
        }
        if following == Following::Messages {
            self.message.keep(message);
        }
        Scanned::Clean
    }

    fn scan(&mut self, text: &[u8], extent: Extent) -> Result<(usize, Scanned), RewriteError> {
        match self.message.scan_first(text, &mut self.scratch) {
            Ok((cleanliness, length)) => {
                let rest = text.get(length..).unwrap_or_default();
                if extent == Extent::Whole && !rest.iter().all(u8::is_ascii_whitespace) {
                    return Err(RewriteError::InvalidJson);
                }
                let following = match extent {
                    Extent::Whole => Following::Nothing,
                    Extent::Open | Extent::Scanned(_) => Following::Messages,
                };
                Ok((length, self.judge(text, (cleanliness, length), following)))
            }
            Err(malformed) => self.not_a_message(text, extent, malformed),
        }
    }

    /// A message that is none: another value, or one that nests too deeply. Where it ends must be
    /// found all the same.
    fn not_a_message(
        &mut self,
        text: &[u8],
        extent: Extent,
        malformed: Malformed,
    ) -> Result<(usize, Scanned), RewriteError> {
        use super::json::{Ended, Skim, Skimmed};
        let begins = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let Skimmed::End(length) = Skim::default().follow(text, Ended::Yes) else {
            return Err(RewriteError::InvalidJson);
        };
        let rest = text.get(length..).unwrap_or_default();
        if extent == Extent::Whole && !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(RewriteError::InvalidJson);
        }
        match (malformed, begins) {
            (Malformed::TooDeep, _) => Ok((length, Scanned::TooDeep)),
            (Malformed::Syntax, Some(b'{')) => Err(RewriteError::InvalidJson),
            (Malformed::Syntax, _) => {
                let mut part = Part::default();
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
    /// If it is UTF-8.
    Clean,
    Unclean,
    TooDeep,
    NotAnObject,
}

fn refused(length: usize, fault: Fault) -> Converted {
    Converted {
        length,
        verdict: Some(fault.into()),
    }
}

/// Whether events leave together with those of other requests, and what was noted of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    No,
    Yes(Option<EventBearing>),
}

/// What is the same for all messages of a body.
pub(super) struct Request<'r> {
    pub(super) rewriter: &'r Rewriter,
    pub(super) arrival: &'r Arrival,
    pub(super) naming: Naming,
    pub(super) recipient: &'r Recipient,
    /// How many bytes more of events are wanted.
    pub(super) room: usize,
    pub(super) shared: &'r Shared,
    pub(super) sessions: &'r mut Sessions,
    /// The visitor's group, as analytics.js keeps it in its cookie.
    pub(super) group_cookie: Option<&'r str>,
    /// The ids that Meta's pixel keeps in the visitor's cookies.
    pub(super) meta_ids: Option<&'r MetaIds>,
    /// The messages whose events PostHog has not accepted yet.
    pub(super) unconfirmed: &'r mut Vec<Tag>,
    /// The messages whose times have been noted.
    pub(super) noted: &'r mut Vec<Tag>,
    /// Notes where each property came from, if an explanation is asked for.
    pub(super) trace: Option<&'r mut Trace>,
    /// The type of groups that is one too many.
    pub(super) sixth_group_type: Option<String>,
    /// What its times had that could not be read.
    pub(super) unreadable: Unreadable,
    /// What has to be known of the event to send it together with others', where that is done.
    pub(super) bearing: Gathered,
    /// Where the event's parts stand, once it has been written, and how many bytes of other messages
    /// follow.
    pub(super) parts: Option<(EventParts, usize)>,
}

/// Times of one message that could not be read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unreadable {
    pub(super) time: bool,
    pub(super) sent_at: bool,
}

/// Where one message's event is made.
struct Memory<'m> {
    /// How many bytes of other messages follow.
    behind: usize,
    sheet: &'m mut Sheet,
    scrubbed: &'m mut Vec<u8>,
    gift: (Which, &'m mut Gift),
    aside: &'m mut Part,
    scratch: &'m mut Scratch,
}

/// The steps behind the scan: normalise, map, check, write, and take out what must not leave.
fn event(
    request: &mut Request<'_>,
    source: Source<'_>,
    index: usize,
    out: &mut Vec<u8>,
    memory: Memory<'_>,
) -> Result<(), Verdict> {
    let mapping = &request.rewriter.mapping;
    let decision = mapping.privacy.of_message(request.arrival.signals, source);
    let subject = match decision.treatment {
        Treatment::Send => Subject::Kept,
        Treatment::Anonymise => Subject::Removed,
        Treatment::Drop => return Err(decision.reason.into()),
    };
    // A visitor who stays anonymous has no session, and gets no cookie.
    let mut no_sessions = Sessions::default();
    let repeats = request.rewriter.repeats.as_deref();
    let settled = settle(
        source,
        &mut Settling {
            mapping,
            arrival: request.arrival,
            naming: request.naming,
            recipient: request.recipient,
            batch_sent_at: request.shared.sent_at,
            index,
            sessions: match subject {
                Subject::Kept => &mut *request.sessions,
                Subject::Removed => &mut no_sessions,
            },
            repeats,
            noted: &mut *request.noted,
        },
    )?;
    let content = repeats.and_then(|repeats| {
        let message = (
            request.recipient.posthog_cookie.as_str(),
            settled.kind,
            settled.message_id.as_ref(),
        );
        let shared = request.shared;
        let texts = [shared.context_text.as_bytes(), &shared.integrations_text];
        let content = repeats.content(message, source, texts)?;
        Some((
            content,
            repeats.is_accepted(content, request.arrival.received_at?),
        ))
    });
    if let Some((_, true)) = content {
        return Err(Omission::Repeat.into());
    }
    let stranger;
    let mut plan = Plan::reference(source, &settled);
    if mapping.mode == Mode::Enriched {
        plan.enrich(source, &settled, mapping)?;
    }
    plan.check(source)?;
    let values = [source.message.properties.value, source.context.value];
    if values
        .into_iter()
        .flatten()
        .any(|value| spreads_beyond(value, request.rewriter.bounds.event))
    {
        return Err(Fault::TooLarge.into());
    }
    if !mapping.rules.is_empty() {
        plan.follow_rules(source, &mapping.rules)?;
    }
    plan.check_profiles(source, mapping)?;
    if subject == Subject::Removed {
        plan.check_anonymous(source)?;
        let moment = plan.moment(source);
        stranger = settled.stranger(source, mapping, request.recipient, moment);
        plan.distinct_id = Piece::Spelled(&stranger);
        plan.distinct_id_from = "privacy: the visitor stays anonymous";
    }
    let Memory {
        behind,
        sheet,
        scrubbed,
        gift,
        aside,
        scratch,
    } = memory;
    let desk = WriteBuffers {
        mapping,
        user_agents: &request.rewriter.user_agents,
        recipient: request.recipient,
        group_types: (subject == Subject::Kept).then_some(&request.rewriter.group_types),
        group_cookie: request.group_cookie.filter(|_| subject == Subject::Kept),
        // They are what `click_ids` is about.
        meta_ids: request
            .meta_ids
            .filter(|_| subject == Subject::Kept && mapping.privacy.click_ids == ClickIds::Keep),
    };
    let written = write_event(
        (
            &mut *sheet,
            Aside {
                part: aside,
                scratch: &mut *scratch,
                gift,
            },
        ),
        desk,
        &plan,
        &settled,
        source,
        request.trace.as_deref_mut(),
    );
    let Written {
        mut parts,
        sixth_group_type,
    } = written;
    request.sixth_group_type = sixth_group_type;
    let mut written = sheet.written(parts.length as usize);
    if subject == Subject::Removed || mapping.privacy.scrubs() {
        let trace = request.trace.as_deref_mut();
        let shape = (plan.kind, request.rewriter.bounds.event);
        let scrub = Scrub::new(&mapping.privacy, subject, shape, trace);
        parts = scrub.run((written, parts), scrubbed, scratch)?;
        written = scrubbed;
    }
    if is_too_large(written, request.rewriter.bounds.event) {
        return Err(Fault::TooLarge.into());
    }
    if out.capacity() - out.len() < written.len() {
        // Those that are still to come grow as this one did, more or less; few grow fourfold.
        let following = behind / source.text.len().max(1);
        let following = (written.len() + 1).saturating_mul(following);
        let most = request.room.min(behind.saturating_mul(4));
        // And what ends the batch.
        const BEHIND_ALL: usize = 64;
        let following = following.saturating_add(following / 16).min(most);
        out.reserve(written.len() + following + BEHIND_ALL);
    }
    out.extend_from_slice(written);
    request.parts = Some((parts, behind));
    request.unreadable = Unreadable {
        time: settled.unusable_time.is_some(),
        sent_at: settled.sent_at == SentAt::Unreadable,
    };
    if let Gathered::Yes(noted) = &mut request.bearing {
        let mut event = bearing(&plan, &settled, source);
        if subject == Subject::Removed || mapping.privacy.scrubs() {
            event.address = Address::OfTheRequest;
        }
        *noted = Some(event);
    }
    request
        .unconfirmed
        .extend(content.map(|(content, _)| content));
    Ok(())
}

/// Capture's queue holds an event as a JSON string, in which each quote and backslash takes one
/// byte more (posthog-ingestion 5.1).
fn is_too_large(event: &[u8], limit: usize) -> bool {
    const ENVELOPE: usize = 2048;
    if event.len() * 2 + ENVELOPE <= limit {
        return false;
    }
    let escaped = event.iter().filter(|byte| matches!(byte, b'"' | b'\\'));
    event.len() + escaped.count() + ENVELOPE > limit
}

#[cfg(test)]
#[path = "convert_tests/mod.rs"]
mod tests;
