//! What Segment's servers would have added before a destination saw the message (mapping 1.11).

use std::borrow::Cow;
use std::net::IpAddr;

use super::arrival::{Arrival, Recipient};
use super::enrich::uuid7::{event_uuid, Uuid7};
use super::identity::Id;
use super::json::{is_truthy, name, unescape, Shape, Value};
use super::library::LibraryKind;
use super::mapping::{EventUuidForm, Mapping, Mode};
use super::message::{Message, MessagePart};
use super::message_id::{given, made, EventUuid, MessagePosition};
use super::message_source::MessageSource;
use super::moment::{has_content, moment};
use super::outcome::Fault;
use super::repeats::{SeenMessages, Tag};
use super::session::{RequestSessions, SenderClock};
use super::time::Reading;
use super::time::Timestamp;
use super::usable;
use crate::segment::Kind;

/// What is settled about a message before it is mapped.
#[derive(Debug)]
pub(super) struct Settled<'t> {
    pub(super) kind: Kind,
    pub(super) message_id: Cow<'t, str>,
    pub(super) time: HappenedAt,
    /// A time that could not be used, to be kept as a property.
    pub(super) unusable_time: Option<Value>,
    pub(super) sent_at: SentAt,
    pub(super) future: FutureCheck,
    pub(super) uuid: EventUuid,
    pub(super) user_id: Id,
    pub(super) anonymous_id: Id,
    /// The other id of an alias call.
    pub(super) previous_id: Id,
    /// The group of a group call.
    pub(super) group_id: Id,
    /// The session and where it was found.
    pub(super) session: Option<(Uuid7, &'static str)>,
    /// The window of that session.
    pub(super) window: Option<Uuid7>,
    /// The client's address, where the context has none and the client cannot know it.
    pub(super) ip: Option<IpAddr>,
    /// The request's user agent, where the context has none.
    pub(super) user_agent: Option<&'t str>,
}

/// When an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HappenedAt {
    /// Not said, and no arrival to go by.
    Unknown,
    /// As the client wrote it.
    AsWritten(Value),
    /// Worked out here.
    At(Timestamp),
}

/// What the sender's clock says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SentAt {
    /// It can be read, or is not there.
    #[default]
    Fine,
    /// It is there and cannot be read.
    Unreadable,
}

/// What PostHog makes of a time that is ahead of its own (posthog-ingestion 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FutureCheck {
    /// It takes it, or there is no arrival to go by.
    Taken,
    /// It puts that of the arrival in its place.
    TooFarAhead,
}

impl FutureCheck {
    const MOST_MILLIS: i64 = 23 * 3_600_000;

    fn of(moment: Option<Timestamp>, received_at: Option<Timestamp>) -> Self {
        let (Some(moment), Some(received_at)) = (moment, received_at) else {
            return Self::Taken;
        };
        match moment.millis().saturating_sub(received_at.millis()) > Self::MOST_MILLIS {
            true => Self::TooFarAhead,
            false => Self::Taken,
        }
    }
}

/// What says which call a message makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// The path, of its one message.
    ByPath(Kind),
    /// Each message of a batch itself; the path, if it names a call, where the message does not.
    ByMessage(Option<Kind>),
}

/// What a message is settled with.
pub(super) struct Settling<'d> {
    pub(super) mapping: &'d Mapping,
    pub(super) arrival: &'d Arrival,
    pub(super) recipient: &'d Recipient,
    /// The batch's, for messages without a `sentAt` of their own.
    pub(super) batch_sent_at: Option<Timestamp>,
    /// Where the message stands in its body, from 0.
    pub(super) index: usize,
    pub(super) sessions: &'d mut RequestSessions,
    pub(super) repeats: Option<&'d SeenMessages>,
    /// The messages whose times have been noted.
    pub(super) noted: &'d mut Vec<Tag>,
}

/// Settles a message that makes this call.
#[inline(always)]
pub(super) fn settle<'t>(
    kind: Kind,
    source: MessageSource<'t>,
    settling: &mut Settling<'t>,
) -> Settled<'t> {
    let MessageSource { text, message, .. } = source;
    let arrival = settling.arrival;
    let message_id = match given(message.message_id, source.utf8, settling.mapping.mode) {
        Some(id) => id,
        None => Cow::Owned(made(
            message,
            text,
            MessagePosition {
                index: settling.index,
                nonce: arrival.nonce,
            },
        )),
    };
    let mut timing = timing(message, text, arrival.received_at, settling.batch_sent_at);
    if let (Some(repeats), Some(now)) = (settling.repeats, arrival.received_at) {
        let message = (&settling.recipient.project, kind, message_id.as_ref());
        let noted = &mut *settling.noted;
        timing.recall(|time| repeats.first_time(message, source, (now, noted), time));
    }
    let uuid = match settling.mapping.event_uuid {
        EventUuidForm::V5 => EventUuid::v5(&message_id),
        EventUuidForm::V7 => v7(settling, &timing, &message_id, kind),
    };
    let mode = settling.mapping.mode;
    let mut settled = Settled {
        kind,
        message_id,
        time: timing.time,
        unusable_time: timing.unusable,
        sent_at: timing.sent_at,
        future: FutureCheck::of(timing.moment, arrival.received_at),
        uuid,
        user_id: Id::of_utf8(message.user_id, source.utf8, mode),
        anonymous_id: Id::of_utf8(message.anonymous_id, source.utf8, mode),
        previous_id: match kind {
            Kind::Alias => other_id(message.previous_id, text, mode),
            _ => Id::default(),
        },
        group_id: match kind {
            Kind::Group => other_id(message.group_id, text, mode),
            _ => Id::default(),
        },
        session: None,
        window: None,
        ip: arrival
            .client_ip
            .filter(|_| wants_ip(source, arrival, mode)),
        user_agent: arrival
            .user_agent
            .as_deref()
            .filter(|_| !has_user_agent(source, mode)),
    };
    if mode == Mode::Enriched {
        settled.session = settling.sessions.find(
            source,
            || {
                settled
                    .visitor(source.utf8)
                    .or_else(|| settled.user(source.utf8))
            },
            (timing.clock, timing.moment),
            arrival,
            settling.recipient,
        );
        let window = |(session, _)| super::session::window(source, session);
        settled.window = settled.session.and_then(window);
    }
    settled
}

impl<'t> Settled<'t> {
    /// The anonymous id as a text, if there is a usable one.
    pub(super) fn visitor(&self, text: &'t str) -> Option<Cow<'t, str>> {
        self.anonymous_id.text(text)
    }

    /// The user id as a text, if there is a usable one.
    pub(super) fn user(&self, text: &'t str) -> Option<Cow<'t, str>> {
        self.user_id.text(text)
    }
}

/// An id that does not have to be there: the reference takes it as it is.
fn other_id(id: Option<Value>, text: &[u8], mode: Mode) -> Id {
    match mode {
        Mode::Reference => Id::as_written(id, text),
        Mode::Enriched => Id::of(id, text, mode),
    }
}

/// The uuid that PostHog recommends (posthog-ingestion 3.4). Without any time there is none to
/// put into it, and version 5 is taken.
fn v7(settling: &Settling<'_>, timing: &EventTiming, message_id: &str, kind: Kind) -> EventUuid {
    let project = settling.recipient.project.as_bytes();
    let id = message_id.as_bytes();
    timing
        .moment
        .and_then(|moment| event_uuid(timing.own, moment, project, id, kind.name().as_bytes()))
        .map_or_else(|| EventUuid::v5(message_id), EventUuid::from)
}

/// Which call a message makes.
pub(super) fn kind(source: MessageSource<'_>, naming: Naming) -> Result<Kind, Fault> {
    let MessageSource {
        message,
        utf8: said,
        ..
    } = source;
    let named = match (naming, message.kind) {
        (Naming::ByPath(kind), _) | (Naming::ByMessage(Some(kind)), None) => return Ok(kind),
        (Naming::ByMessage(None), None) => return Err(Fault::MissingType),
        (Naming::ByMessage(_), Some(named)) => named,
    };
    if !named.is_string() {
        return Err(Fault::UnknownType);
    }
    Kind::of_type(named.decode_str(said).as_ref()).ok_or(Fault::UnknownType)
}

/// When an event happened, and how that is known.
struct EventTiming {
    time: HappenedAt,
    /// A time that could not be used.
    unusable: Option<Value>,
    /// Whether the sender's clock was to correct it and could not be read.
    sent_at: SentAt,
    /// The client's own time, not corrected.
    own: Option<Timestamp>,
    /// The moment that `time` says.
    moment: Option<Timestamp>,
    /// The message in the sender's own clock.
    clock: Option<SenderClock>,
}

impl EventTiming {
    /// Takes the time that the message had when it came first.
    fn recall(&mut self, first: impl FnOnce(Timestamp) -> Timestamp) {
        let Some(moment) = self.moment else {
            return;
        };
        let first = first(moment);
        if first != moment {
            self.moment = Some(first);
            self.time = HappenedAt::At(first);
        }
    }
}

/// The time of an event (segment-tracking 4.2). Without an arrival nothing is corrected or judged:
/// what the client wrote stays, unless capture would refuse the whole batch for it.
fn timing(
    message: &Message,
    text: &[u8],
    received_at: Option<Timestamp>,
    batch_sent_at: Option<Timestamp>,
) -> EventTiming {
    let given = |value: Option<Value>| value.filter(|value| has_content(*value, text));
    let said = |value: Value| moment(value, text).map(Reading::timestamp);
    let original = given(message.original_timestamp);
    let written = given(message.timestamp).or(original);
    let reading = written.and_then(|written| moment(written, text));
    let own = reading.map(Reading::timestamp);
    // A message with both of these has been through Segment's servers: its time is corrected.
    let is_settled = original.is_some() && given(message.received_at).is_some();
    let own_sent_at = given(message.sent_at);
    let sent = own_sent_at.and_then(said).or(batch_sent_at);
    let made = match original {
        Some(original) if is_settled => said(original),
        _ => own,
    };
    let clock = SenderClock::new(made, sent, received_at);
    let sent_at = match own_sent_at {
        Some(_) if sent.is_none() && !is_settled => SentAt::Unreadable,
        _ => SentAt::Fine,
    };
    let Some(received_at) = received_at else {
        let (time, unusable) = match (message.timestamp, reading) {
            (Some(time), _) if time.is_string() || time.shape == Shape::Null => {
                (HappenedAt::AsWritten(time), None)
            }
            (Some(_), Some(reading)) => (HappenedAt::At(reading.timestamp()), None),
            (time, _) => (HappenedAt::Unknown, time),
        };
        let own = given(message.timestamp).and(own);
        return EventTiming {
            time,
            unusable,
            sent_at: SentAt::Fine,
            own,
            moment: own,
            clock,
        };
    };
    let at = |timestamp, unusable| EventTiming {
        time: HappenedAt::At(timestamp),
        unusable,
        sent_at,
        own,
        moment: Some(timestamp),
        clock,
    };
    let (Some(written), Some(reading)) = (written, reading) else {
        return at(received_at, written);
    };
    match (sent.filter(|_| !is_settled), reading) {
        (None, Reading::Exact(timestamp)) => EventTiming {
            time: HappenedAt::AsWritten(written),
            ..at(timestamp, None)
        },
        (None, Reading::Loose(timestamp)) => at(timestamp, None),
        (Some(sent), reading) => match reading.timestamp().corrected(sent, received_at) {
            Some(timestamp) => at(timestamp, None),
            None => EventTiming {
                own: None,
                ..at(received_at, Some(written))
            },
        },
    }
}

/// Whether the client's address is to be filled in: Segment does it for what runs on a visitor's
/// own device, and for senders that ask by `context.direct`; a server's address would move all of its
/// users to a data centre (segment-tracking 4.3).
fn wants_ip(source: MessageSource<'_>, arrival: &Arrival, mode: Mode) -> bool {
    let MessageSource {
        context_text,
        context,
        ..
    } = source;
    let says_ip = |ip: Value| match mode {
        Mode::Reference => is_truthy(ip, context_text),
        // A text that is no address stays: many a site writes one there to keep the real one out.
        Mode::Enriched => usable::is_text(ip, context_text),
    };
    if context.named(name!("ip")).is_some_and(says_ip) {
        return false;
    }
    if arrival.user_agent.is_some() {
        return true;
    }
    if context
        .named(name!("direct"))
        .is_some_and(|direct| direct.shape == Shape::True)
    {
        return true;
    }
    LibraryKind::of(context, context_text).runs_on_a_device()
}

/// Whether the context has a user agent of its own.
fn has_user_agent(source: MessageSource<'_>, mode: Mode) -> bool {
    let text = source.context_text;
    let user_agent = source.context.named(name!("userAgent"));
    user_agent.is_some_and(|user_agent| match mode {
        Mode::Reference => true,
        Mode::Enriched => usable::is_text(user_agent, text),
    })
}

/// Whether a message may go to PostHog by its `integrations`, the batch's where it says nothing
/// itself (segment-tracking 4.5; mapping 1.11, point 5).
///
/// As Segment's own reader has it (`enabled` of its package segmentio-facade): `All` in any
/// spelling, the first one if there are several; the name of the destination exactly.
pub(super) fn is_enabled_for_posthog(
    own: (&MessagePart, &[u8]),
    batch: Option<(&MessagePart, &[u8])>,
) -> bool {
    let both = [Some(own), batch];
    let switch = |is: fn(&[u8]) -> bool| {
        both.into_iter().flatten().find_map(|(part, text)| {
            let mut entries = part.entries.iter();
            let found = entries.find(|entry| is(entry.key.of(text)))?;
            Some((found.value, text))
        })
    };
    if let Some((posthog, text)) = switch(|key| key == b"PostHog") {
        if posthog.shape == Shape::False {
            return false;
        }
        if is_truthy(posthog, text) {
            return true;
        }
    }
    !switch(is_all).is_some_and(|(all, _)| all.shape == Shape::False)
}

/// Whether a key is `All` to a reader that looks at letters, digits and dots alone, in any case.
#[inline(always)]
fn is_all(key: &[u8]) -> bool {
    // Nearly every key begins with another letter: one that is read, whatever comes behind it, since
    // no letter is written as an escape in a clean text.
    match key.first() {
        Some(b'a' | b'A') => {}
        Some(first) if first.is_ascii_alphanumeric() => return false,
        _ => {}
    }
    is_all_after_all(key)
}

#[inline(never)]
fn is_all_after_all(key: &[u8]) -> bool {
    let plain = match key.contains(&b'\\') {
        true => unescape(key),
        false => String::from_utf8_lossy(key),
    };
    let read = plain
        .chars()
        .filter(|sign| sign.is_ascii_alphanumeric() || *sign == '.');
    read.map(|sign| sign.to_ascii_lowercase()).eq("all".chars())
}
