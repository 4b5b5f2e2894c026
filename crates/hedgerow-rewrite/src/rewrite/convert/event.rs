//! The steps after the scan: from a message to its event.

use super::super::arrival::Recipient;
use super::super::event_facts::event_facts;
use super::super::event_plan::{EventPlan, Piece};
use super::super::group_types::NotedGroups;
use super::super::json::Scratch;
use super::super::mapping::Mode;
use super::super::message::MessagePart;
use super::super::message_source::MessageSource;
use super::super::normalise::{kind, settle, FutureCheck, Naming, SentAt, Settled, Settling};
use super::super::outcome::{Fault, NoEvent, Notice, Omission};
use super::super::privacy::{ClickIds, Treatment};
use super::super::scrub::{Scrub, Subject};
use super::super::session::RequestSessions;
use super::super::spread::spreads_beyond;
use super::super::time::KnownDate;
use super::super::write::{write_event, ContextCache, ContextId, WriteInputs, WriteScratch};
use super::conversion::Conversion;
use super::request_state::RequestState;
use super::BatchDefaults;
use crate::posthog::{Address, EventFacts, EventParts};
use crate::segment::Kind;

/// Whether events are sent together with those of other requests, and the facts about the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Grouping {
    No,
    Yes(Option<EventFacts>),
}

/// What the conversion of a message needs besides the message, and what it tells about the event.
pub(in crate::rewrite) struct RequestContext<'r> {
    pub(in crate::rewrite) conversion: &'r Conversion,
    pub(in crate::rewrite) naming: Naming,
    pub(in crate::rewrite) recipient: &'r Recipient,
    /// The number of bytes of events that the caller still wants.
    pub(in crate::rewrite) room: usize,
    /// The values of the batch's envelope that apply to all messages, if it has any.
    pub(in crate::rewrite) shared: Option<&'r BatchDefaults>,
    pub(in crate::rewrite) state: &'r mut RequestState,
    /// The group type of the event that is beyond the five types of the project, if there is one.
    pub(in crate::rewrite) sixth_group_type: Option<String>,
    /// The facts about the event that are needed to send it together with others, if that is done.
    pub(in crate::rewrite) grouping: Grouping,
    /// The positions of the written event's parts, and the number of bytes of other messages that follow.
    pub(in crate::rewrite) parts: Option<(EventParts, usize)>,
}

/// The memory in which the event of one message is built.
pub(super) struct EventBuffers<'m> {
    /// The number of bytes of other messages that follow.
    pub(super) behind: usize,
    pub(super) known_date: &'m mut KnownDate,
    pub(super) scrubbed: &'m mut Vec<u8>,
    pub(super) context_cache: (ContextId, &'m mut ContextCache),
    pub(super) spare_part: &'m mut MessagePart,
    pub(super) scratch: &'m mut Scratch,
    pub(super) noted_groups: &'m mut NotedGroups,
}

/// Runs the steps after the scan: normalises, maps, checks and writes the message, and removes the
/// values that must not leave. If it returns an error, `out` may end with a part of an event.
pub(super) fn event(
    request: &mut RequestContext<'_>,
    source: MessageSource<'_>,
    index: usize,
    out: &mut Vec<u8>,
    buffers: EventBuffers<'_>,
) -> Result<(), NoEvent> {
    let mapping = &request.conversion.mapping;
    let decision = mapping
        .privacy
        .of_message(request.state.arrival.signals, source);
    let subject = match decision.treatment {
        Treatment::Send => Subject::Kept,
        Treatment::Anonymise => Subject::Removed,
        Treatment::Drop => return Err(decision.reason.into()),
    };
    // A visitor who stays anonymous has no session, and gets no cookie.
    let mut no_sessions = None;
    let repeats = request.conversion.repeats.as_deref();
    let kind = kind(source, request.naming)?;
    let mut settled = Settled::default();
    settle(
        kind,
        &source,
        (
            &mut Settling {
                mapping,
                arrival: &request.state.arrival,
                recipient: request.recipient,
                batch_sent_at: request.shared.and_then(|shared| shared.sent_at),
                index,
                sessions: match subject {
                    Subject::Kept => &mut request.state.sessions,
                    Subject::Removed => no_sessions.insert(RequestSessions::default()),
                },
                repeats,
                noted: &mut request.state.noted,
            },
            buffers.known_date,
        ),
        &mut settled,
    );
    let content = repeats.and_then(|repeats| {
        let message = (
            &request.recipient.project,
            settled.kind,
            settled.message_id.as_ref(),
        );
        let texts = request.shared.map_or([&[][..]; 2], |shared| {
            [shared.context_text.as_bytes(), &shared.integrations_text]
        });
        let content = repeats.content(message, source, texts)?;
        Some((
            content,
            repeats.is_accepted(content, request.state.arrival.received_at?),
        ))
    });
    if let Some((_, true)) = content {
        return Err(Omission::Repeat.into());
    }
    let anonymised_id;
    let mut plan = EventPlan::reference(&source, &settled);
    if mapping.mode == Mode::Enriched {
        plan.enrich(source, &settled, mapping)?;
    }
    plan.check(source)?;
    let values = [source.message.properties.value, source.context.value];
    if values
        .into_iter()
        .flatten()
        .any(|value| spreads_beyond(value, request.conversion.bounds.event))
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
        anonymised_id = settled.anonymised_id(source, mapping, request.recipient, moment);
        plan.distinct_id = Piece::Spelled(&anonymised_id);
        plan.distinct_id_from = "privacy: the visitor stays anonymous";
    }
    let EventBuffers {
        behind,
        known_date,
        scrubbed,
        context_cache,
        spare_part,
        scratch,
        noted_groups,
    } = buffers;
    let inputs =
        WriteInputs {
            mapping,
            user_agents: &request.conversion.user_agents,
            recipient: request.recipient,
            group_types: (subject == Subject::Kept).then_some(&request.conversion.group_types),
            group_cookie: request
                .state
                .group_cookie
                .as_deref()
                .filter(|_| subject == Subject::Kept),
            // The setting `click_ids` applies to these ids.
            meta_ids: request.state.meta_ids.as_ref().filter(|_| {
                subject == Subject::Kept && mapping.privacy.click_ids == ClickIds::Keep
            }),
        };
    let start = out.len();
    let written = write_event(
        (
            &mut *out,
            WriteScratch {
                part: spare_part,
                scan_scratch: &mut *scratch,
                noted_groups,
                context_cache,
            },
            known_date,
        ),
        &inputs,
        &plan,
        &settled,
        &source,
        request.state.trace.as_mut(),
    );
    if written.sixth_group_type.is_some() {
        request.sixth_group_type = written.sixth_group_type;
    }
    let mut changed = None;
    if subject == Subject::Removed || mapping.privacy.scrubs() {
        let trace = request.state.trace.as_mut();
        let shape = (plan.kind, request.conversion.bounds.event);
        let settings = (&mapping.privacy, &request.conversion.patterns);
        let scrub = Scrub::new(settings, subject, shape, trace);
        let event = out.get(start..).unwrap_or_default();
        changed = Some(scrub.run((event, written.parts), scrubbed, scratch)?);
        out.truncate(start);
        out.extend_from_slice(scrubbed);
    }
    let event = out.get(start..).unwrap_or_default();
    if is_too_large(event, request.conversion.bounds.event) {
        return Err(Fault::TooLarge.into());
    }
    if behind > 0 && out.capacity() - out.len() < event.len() {
        // Assumes that the following messages grow by about the same factor as this one; few grow fourfold.
        let following = behind / source.text.len().max(1);
        let following = (event.len() + 1).saturating_mul(following);
        let most = request.room.min(behind.saturating_mul(4));
        // Room for the bytes that end the batch.
        const BEHIND_ALL: usize = 64;
        let following = following.saturating_add(following / 16).min(most);
        out.reserve(following + BEHIND_ALL);
    }
    let parts = match changed {
        Some(parts) => parts,
        None => written.parts,
    };
    request.parts = Some((parts, behind));
    note(&mut request.state.notices, source, &settled, &plan);
    if let Grouping::Yes(noted) = &mut request.grouping {
        let mut event = event_facts(&plan, &settled, source);
        if subject == Subject::Removed || mapping.privacy.scrubs() {
            event.address = Address::OfTheRequest;
        }
        *noted = Some(event);
    }
    if let Some((content, _)) = content {
        request.state.unconfirmed.push(content);
    }
    Ok(())
}

/// Records the notices for the operator about a message whose event is sent.
#[inline(always)]
fn note(
    notices: &mut Vec<Notice<'static>>,
    source: MessageSource<'_>,
    settled: &Settled<'_>,
    plan: &EventPlan<'_>,
) {
    if settled.unusable_time.is_some() {
        notices.push(Notice::UnreadableTime);
    }
    if settled.sent_at == SentAt::Unreadable {
        notices.push(Notice::UnreadableSentAt);
    }
    if settled.future == FutureCheck::TooFarAhead {
        notices.push(Notice::FutureTime);
    }
    let is_empty = |id: Piece<'_>| {
        let id = id.digits();
        id.text(source.text).is_none_or(|id| id.is_empty())
    };
    match plan.kind {
        Kind::Group if is_empty(Piece::of(&settled.group_id)) => {
            notices.push(Notice::GroupWithoutId);
        }
        Kind::Alias if is_empty(plan.alias) => notices.push(Notice::AliasWithoutPreviousId),
        _ => {}
    }
}

/// Whether an event exceeds the limit of capture's queue. The queue stores the event as a JSON string,
/// in which each quote and each backslash takes one more byte (posthog-ingestion 5.1).
fn is_too_large(event: &[u8], limit: usize) -> bool {
    const ENVELOPE: usize = 2048;
    if event.len() * 2 + ENVELOPE <= limit {
        return false;
    }
    // Each piece is counted in a `u8`, so that the compiler can compare many bytes at once.
    let escaped = event.chunks(usize::from(u8::MAX)).map(|piece| {
        let count = piece
            .iter()
            .map(|byte| u8::from(matches!(byte, b'"' | b'\\')));
        usize::from(count.fold(0, u8::wrapping_add))
    });
    event.len() + escaped.sum::<usize>() + ENVELOPE > limit
}
