//! Adds what Segment's servers would have added before a destination received the message (mapping 1.11).

use std::borrow::Cow;
use std::net::IpAddr;

use super::arrival::{Arrival, Recipient};
use super::enrich::uuid7::{event_uuid, Uuid7};
use super::identity::Id;
use super::json::{is_truthy, name, unescape, Name, Shape, Value};
use super::library::LibraryKind;
use super::mapping::{EventUuidForm, Mapping, Mode};
use super::message::{Message, MessagePart};
use super::message_id::{given, made, EventUuid, MessagePosition};
use super::message_source::MessageSource;
use super::moment::{has_content, moment_near};
use super::outcome::Fault;
use super::repeats::{SeenMessages, Tag};
use super::session::{RequestSessions, SenderClock};
use super::time::{KnownDate, Reading, Timestamp};
use super::usable;
use crate::segment::Kind;

/// The facts about a message that are determined before it is mapped.
#[derive(Debug)]
pub(super) struct Settled<'t> {
    pub(super) kind: Kind,
    pub(super) message_id: Cow<'t, str>,
    pub(super) time: HappenedAt,
    /// A time that could not be used; the event keeps it as a property.
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
    /// The client's address, if the context has none and it is the user's address.
    pub(super) ip: Option<IpAddr>,
    /// The request's user agent, if the context has none.
    pub(super) user_agent: Option<&'t str>,
}

/// When an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HappenedAt {
    /// The message has no usable `timestamp`, and the time of its arrival is not known.
    Unknown,
    /// As the client wrote it.
    AsWritten(Value),
    /// As Hedgerow determined it.
    At(Timestamp),
}

/// Whether the message's `sentAt` can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SentAt {
    /// It can be read, is absent, or is not needed.
    #[default]
    Fine,
    /// It is present and needed, but cannot be read.
    Unreadable,
}

/// Whether PostHog accepts a time that is ahead of its own clock (posthog-ingestion 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FutureCheck {
    /// PostHog accepts it, or the time of the arrival is not known.
    Taken,
    /// PostHog replaces it with the time of the event's arrival.
    TooFarAhead,
}

impl FutureCheck {
    const MOST_MICROS: i64 = 23 * 3_600_000_000;

    fn of(moment: Option<Timestamp>, received_at: Option<Timestamp>) -> Self {
        let (Some(moment), Some(received_at)) = (moment, received_at) else {
            return Self::Taken;
        };
        match moment.micros().saturating_sub(received_at.micros()) > Self::MOST_MICROS {
            true => Self::TooFarAhead,
            false => Self::Taken,
        }
    }
}

/// How the call of a message is determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// By the path, which names the call of the one message.
    ByPath(Kind),
    /// By each message of a batch. If a message has no `type`, the call that the path names counts, if any.
    ByMessage(Option<Kind>),
}

/// The inputs of [`settle`].
pub(super) struct Settling<'d> {
    pub(super) mapping: &'d Mapping,
    pub(super) arrival: &'d Arrival,
    pub(super) recipient: &'d Recipient,
    /// The batch's `sentAt`, for messages without a readable `sentAt` of their own.
    pub(super) batch_sent_at: Option<Timestamp>,
    /// The index of the message in its body, from 0.
    pub(super) index: usize,
    pub(super) sessions: &'d mut RequestSessions,
    pub(super) repeats: Option<&'d SeenMessages>,
    /// The tags of the messages whose times were recorded.
    pub(super) noted: &'d mut Vec<Tag>,
}

/// Determines the facts about a message whose call is `kind`.
///
/// They are written where they stay, into facts of which none is known yet: in most messages most of them are
/// absent.
#[inline(always)]
pub(super) fn settle<'t>(
    kind: Kind,
    source: &MessageSource<'t>,
    (settling, known_date): (&mut Settling<'t>, &mut KnownDate),
    settled: &mut Settled<'t>,
) {
    let MessageSource { text, message, .. } = *source;
    let (arrival, mode) = (settling.arrival, settling.mapping.mode);
    settled.kind = kind;
    settled.message_id = match given(message.message_id(), source.utf8, mode) {
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
    let mut timing = timing(
        (message, text),
        known_date,
        (arrival.received_at, settling.batch_sent_at),
        settled,
    );
    let message_id = settled.message_id.as_ref();
    let seen = (settling.repeats, arrival.received_at, timing.moment);
    if let (Some(repeats), Some(now), Some(moment)) = seen {
        let message = (&settling.recipient.project, kind, message_id);
        let noted = &mut *settling.noted;
        // The time that the message had when it first arrived.
        let first = repeats.first_time(message, source, (now, noted), moment);
        if first != moment {
            timing.moment = Some(first);
            settled.time = HappenedAt::At(first);
        }
    }
    settled.uuid = match settling.mapping.event_uuid {
        EventUuidForm::V5 => EventUuid::v5(message_id),
        EventUuidForm::V7 => v7(settling, &timing, message_id, kind),
    };
    settled.future = FutureCheck::of(timing.moment, arrival.received_at);
    settled
        .user_id
        .read_utf8(message.user_id(), source.utf8, mode);
    settled
        .anonymous_id
        .read_utf8(message.anonymous_id(), source.utf8, mode);
    if mode == Mode::Enriched {
        let (anonymous_id, user_id) = (&settled.anonymous_id, &settled.user_id);
        let visitor = || {
            let anonymous = anonymous_id.text(source.utf8);
            anonymous.or_else(|| user_id.text(source.utf8))
        };
        settled.session = settling.sessions.find(
            *source,
            visitor,
            (timing.clock, timing.moment),
            arrival,
            settling.recipient,
        );
        if let Some((session, _)) = settled.session {
            settled.window = super::session::window(*source, session);
        }
    }
    match kind {
        Kind::Alias => settled.previous_id = other_id(message.previous_id(), text, mode),
        Kind::Group => settled.group_id = other_id(message.group_id(), text, mode),
        _ => {}
    }
    if arrival.client_ip.is_some() && wants_ip(source, arrival, mode) {
        settled.ip = arrival.client_ip;
    }
    if arrival.user_agent.is_some() && !has_user_agent(source, mode) {
        settled.user_agent = arrival.user_agent.as_deref();
    }
}

impl Default for Settled<'_> {
    /// Nothing is known yet.
    #[inline(always)]
    fn default() -> Self {
        Self {
            kind: Kind::Track,
            message_id: Cow::Borrowed(""),
            time: HappenedAt::Unknown,
            unusable_time: None,
            sent_at: SentAt::Fine,
            future: FutureCheck::Taken,
            uuid: EventUuid::default(),
            user_id: Id::default(),
            anonymous_id: Id::default(),
            previous_id: Id::default(),
            group_id: Id::default(),
            session: None,
            window: None,
            ip: None,
            user_agent: None,
        }
    }
}

impl<'t> Settled<'t> {
    /// Returns the anonymous id as text, if it is usable.
    pub(super) fn visitor(&self, text: &'t str) -> Option<Cow<'t, str>> {
        self.anonymous_id.text(text)
    }

    /// Returns the user id as text, if it is usable.
    pub(super) fn user(&self, text: &'t str) -> Option<Cow<'t, str>> {
        self.user_id.text(text)
    }
}

/// Reads an optional id. The reference mode accepts it as it is.
fn other_id(id: Option<Value>, text: &[u8], mode: Mode) -> Id {
    match mode {
        Mode::Reference => Id::as_written(id, text),
        Mode::Enriched => Id::of(id, text, mode),
    }
}

/// Returns the uuid of version 7 that PostHog recommends (posthog-ingestion 3.4). It contains a time, so a
/// message without any time gets version 5.
fn v7(settling: &Settling<'_>, timing: &EventTiming, message_id: &str, kind: Kind) -> EventUuid {
    let project = settling.recipient.project.as_bytes();
    let id = message_id.as_bytes();
    timing
        .moment
        .and_then(|moment| event_uuid(timing.own, moment, project, id, kind.name().as_bytes()))
        .map_or_else(|| EventUuid::v5(message_id), EventUuid::from)
}

/// Returns the call that a message makes.
pub(super) fn kind(source: MessageSource<'_>, naming: Naming) -> Result<Kind, Fault> {
    let MessageSource { message, utf8, .. } = source;
    let named = match (naming, message.kind()) {
        (Naming::ByPath(kind), _) | (Naming::ByMessage(Some(kind)), None) => return Ok(kind),
        (Naming::ByMessage(None), None) => return Err(Fault::MissingType),
        (Naming::ByMessage(_), Some(named)) => named,
    };
    if !named.is_string() {
        return Err(Fault::UnknownType);
    }
    Kind::of_type(named.decode_str(utf8).as_ref()).ok_or(Fault::UnknownType)
}

/// The times of a message besides that of its event.
struct EventTiming {
    /// The time that the client sent, not corrected.
    own: Option<Timestamp>,
    /// The moment at which the event happened.
    moment: Option<Timestamp>,
    /// The message's times by the sender's own clock.
    clock: Option<SenderClock>,
}

/// Determines the time of an event (segment-tracking 4.2). Without the time of arrival, nothing is
/// corrected or checked: the event keeps what the client wrote, unless capture would refuse the whole
/// batch because of it.
fn timing<'t>(
    (message, text): (&'t Message, &'t [u8]),
    known: &mut KnownDate,
    (received_at, batch_sent_at): (Option<Timestamp>, Option<Timestamp>),
    settled: &mut Settled<'t>,
) -> EventTiming {
    // References, because copies of the values cost more.
    let given = |field: Name| {
        let value = message.field(field).as_ref();
        value.filter(|value| has_content(**value, text))
    };
    let mut read = |value: &Value| moment_near(value, text, known);
    let original = given(name!("originalTimestamp"));
    let written = given(name!("timestamp")).or(original);
    let reading = written.and_then(&mut read);
    let own = reading.map(Reading::timestamp);
    // A message with both fields has passed through Segment's servers, which have corrected its time.
    let is_settled = original.is_some() && given(name!("receivedAt")).is_some();
    let own_sent_at = given(name!("sentAt"));
    let sent = own_sent_at.and_then(&mut read).map(Reading::timestamp);
    let sent = sent.or(batch_sent_at);
    let made = match original {
        Some(original) if is_settled => read(original).map(Reading::timestamp),
        _ => own,
    };
    let clock = SenderClock::new(made, sent, received_at);
    let Some(received_at) = received_at else {
        match (message.timestamp(), reading) {
            (Some(time), _) if time.is_string() || time.shape == Shape::Null => {
                settled.time = HappenedAt::AsWritten(time);
            }
            (Some(_), Some(reading)) => settled.time = HappenedAt::At(reading.timestamp()),
            (time, _) => settled.unusable_time = time,
        }
        let own = given(name!("timestamp")).and(own);
        return EventTiming {
            own,
            moment: own,
            clock,
        };
    };
    if own_sent_at.is_some() && sent.is_none() && !is_settled {
        settled.sent_at = SentAt::Unreadable;
    }
    let mut at = |timestamp| {
        settled.time = HappenedAt::At(timestamp);
        EventTiming {
            own,
            moment: Some(timestamp),
            clock,
        }
    };
    let (Some(written), Some(reading)) = (written, reading) else {
        let timing = at(received_at);
        settled.unusable_time = written.copied();
        return timing;
    };
    match (sent.filter(|_| !is_settled), reading) {
        (None, Reading::Exact(timestamp)) => {
            let timing = at(timestamp);
            settled.time = HappenedAt::AsWritten(*written);
            timing
        }
        (None, Reading::Loose(timestamp)) => at(timestamp),
        (Some(sent), reading) => match reading.timestamp().corrected(sent, received_at) {
            Some(timestamp) => at(timestamp),
            None => {
                let timing = at(received_at);
                settled.unusable_time = Some(*written);
                EventTiming {
                    own: None,
                    ..timing
                }
            }
        },
    }
}

/// Returns whether the event gets the client's address. Segment adds it for libraries that run on a
/// visitor's device, for pixels, and for senders that set `context.direct`. A server's address would
/// move all of its users to a data centre (segment-tracking 4.3).
fn wants_ip(source: &MessageSource<'_>, arrival: &Arrival, mode: Mode) -> bool {
    let MessageSource {
        context_text,
        context,
        ..
    } = *source;
    let has_ip = |ip: Value| match mode {
        Mode::Reference => is_truthy(ip, context_text),
        // A text that is not an address stays: sites write one here to hide the real address.
        Mode::Enriched => usable::is_text(ip, context_text),
    };
    if context.named(name!("ip")).is_some_and(has_ip) {
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

/// Returns whether the context has its own user agent.
fn has_user_agent(source: &MessageSource<'_>, mode: Mode) -> bool {
    let text = source.context_text;
    let user_agent = source.context.named(name!("userAgent"));
    user_agent.is_some_and(|user_agent| match mode {
        Mode::Reference => true,
        Mode::Enriched => usable::is_text(user_agent, text),
    })
}

/// Returns whether a message's `integrations` allow it to go to PostHog. The batch's `integrations` count
/// for the switches that the message does not have (segment-tracking 4.5; mapping 1.11, point 5).
///
/// The keys are matched as in Segment's own code (`enabled` of its package segmentio-facade): `All` in any
/// spelling, and the first one if there are several; the name of the destination exactly.
#[inline(always)]
pub(super) fn is_enabled_for_posthog(
    own: (&MessagePart, &[u8]),
    batch: Option<(&MessagePart, &[u8])>,
) -> bool {
    let mut switches = Switches::default();
    switches.read(own);
    if let Some(batch) = batch {
        switches.read(batch);
    }
    match switches.posthog {
        Some(Switch::Off) => false,
        Some(Switch::On) => true,
        Some(Switch::Neither) | None => switches.all != Some(Switch::Off),
    }
}

/// The switches of `integrations` that concern PostHog.
#[derive(Debug, Default)]
struct Switches {
    posthog: Option<Switch>,
    all: Option<Switch>,
}

impl Switches {
    /// Reads the switches that have not been found before.
    #[inline(always)]
    fn read(&mut self, (part, text): (&MessagePart, &[u8])) {
        for entry in &part.entries {
            let key = entry.key.of(text);
            let switch = match key {
                b"PostHog" => &mut self.posthog,
                key if is_all(key) => &mut self.all,
                _ => continue,
            };
            switch.get_or_insert(Switch::of(entry.value, text));
        }
    }
}

/// What the value of a key in `integrations` switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Off,
    On,
    Neither,
}

impl Switch {
    #[inline(never)]
    fn of(value: Value, text: &[u8]) -> Self {
        match value.shape {
            Shape::False => Self::Off,
            Shape::True => Self::On,
            _ if is_truthy(value, text) => Self::On,
            _ => Self::Neither,
        }
    }
}

/// Returns whether a key is `All` if only its letters, digits and dots are compared, in any case.
#[inline(always)]
fn is_all(key: &[u8]) -> bool {
    // Nearly every key begins with another letter or a digit, which is compared and decides at once. No
    // letter is written as an escape in a clean text.
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
        .filter(|character| character.is_ascii_alphanumeric() || *character == '.');
    read.map(|character| character.to_ascii_lowercase())
        .eq("all".chars())
}
