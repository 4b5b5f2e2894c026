//! The flow of one body through the rewriting: pushed in as it arrives, pulled out as batches.

use std::ops::Range;
use std::sync::Arc;

use super::body::{Body, Next};
use super::convert::{
    Converted, Converter, Extent, Gathered, Request, Shared, SpareBuffers, Unreadable,
};
use super::enrich::cache::{Capacity, UserAgents};
use super::enrich::edge_session::Transport;
use super::enrich::ids::group_in_cookie;
use super::enrich::meta_ids::MetaIds;
use super::explain::Trace;
use super::group_types::GroupTypes;
use super::held_back::{HeldBack, HeldFate};
use super::json::unescape;
use super::normalise::{Naming, SentAt};
use super::repeats::{Repeats, Tag};
use super::session::{SessionKeeper, Sessions};
use super::{
    Arrival, Bounds, Fate, Fault, Mapping, Mode, Notice, Recipient, RewriteError, Verdict, Watch,
};
use crate::posthog::{Batch, Keep, Mark};
use crate::segment::Call;

/// The rewriting of one configuration.
#[derive(Debug)]
pub struct Rewriter {
    pub(super) mapping: Mapping,
    pub(super) bounds: Bounds,
    pub(super) user_agents: UserAgents,
    pub(super) group_types: GroupTypes,
    sessions: Option<Arc<SessionKeeper>>,
    pub(super) repeats: Option<Arc<Repeats>>,
    spare: SpareBuffers,
    nobody: Arc<Recipient>,
}

/// What one request may grow to, in bytes: so much, and so many for each byte of its body. A small
/// body whose batch-level values are looked at, and copied, for very many messages must not keep a
/// worker busy; the smallest messages there are grow fourfold.
const GROWTH_FREE: usize = 32 << 20;
const GROWTH_PER_BYTE: usize = 8;

/// How much is done at one pull, so that no body keeps a worker much longer than a millisecond: so
/// many messages, and so many bytes of them.
const STEP_MESSAGES: usize = 1000;
const STEP_BYTES: usize = 512 << 10;

/// More refused messages than this are no mistake of a sender who means well, and each costs more
/// than its bytes.
const MOST_REFUSED: usize = 500;

impl Rewriter {
    /// A rewriter with this mapping and these bounds.
    pub fn new(mapping: Mapping, bounds: Bounds) -> Self {
        // Only the enriched mode looks into user agents.
        let user_agents = match mapping.mode {
            Mode::Enriched => UserAgents::default(),
            Mode::Reference => UserAgents::new(Capacity {
                entries: 0,
                bytes: 0,
            }),
        };
        Self {
            mapping,
            bounds,
            user_agents,
            group_types: GroupTypes::default(),
            sessions: None,
            repeats: None,
            spare: SpareBuffers::default(),
            nobody: Arc::default(),
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
            Mode::Enriched => Some(Arc::new(Repeats::new(self.mapping.repeats))),
            Mode::Reference => None,
        };
        self
    }

    /// Remembers on what another one remembers, where both remember in the same way: a message that
    /// came before the configuration changed is known again.
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
        Rewrite {
            rewriter: Arc::clone(self),
            group_cookie: cookies.and_then(group_in_cookie),
            meta_ids: cookies.and_then(MetaIds::in_cookies),
            body: Body::new(arrival.call, self.bounds),
            arrival,
            recipient: Arc::clone(&self.nobody),
            sessions: Sessions::new(self.sessions.clone()),
            unconfirmed: Vec::new(),
            noted: Vec::new(),
            trace: None,
            converter: Some(self.spare.take()),
            shared: None,
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

/// One request body on its way through.
///
/// Feed it with [`push`](Self::push) and [`end`](Self::end). While it is [`Flow::Held`] nothing
/// comes out; from [`Flow::Open`] on, [`pull`](Self::pull) writes events into batches.
#[derive(Debug)]
pub struct Rewrite {
    rewriter: Arc<Rewriter>,
    arrival: Arrival,
    recipient: Arc<Recipient>,
    sessions: Sessions,
    group_cookie: Option<String>,
    meta_ids: Option<MetaIds>,
    unconfirmed: Vec<Tag>,
    /// Messages whose times have been noted, and would have to be forgotten.
    noted: Vec<Tag>,
    trace: Option<Trace>,
    body: Body,
    /// Given back when the body is through.
    converter: Option<Box<Converter>>,
    shared: Option<Shared>,
    /// A message that was found, and perhaps scanned, and whose turn comes next.
    pending: Option<Found>,
    /// What is told once it is certain where the messages of a held batch end.
    held_back: HeldBack,
    /// How far the batch had come before the first of them.
    mark: Option<Mark>,
    refused: usize,
    index: usize,
    /// Bytes of the body so far.
    pushed: usize,
    /// What the body has grown to; a message that is refused counts with its batch's values.
    grown: usize,
}

/// What was found of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Next(Next),
    /// It begins with this range.
    Message(Range<usize>, Extent),
}

/// Whether events can be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The body is held until it ends or outgrows the window.
    Held,
    /// The body has ended or outgrown the window: pull until starved before the next push.
    Open,
}

/// The write key that a body names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenKey {
    /// This one.
    Named(String),
    /// None.
    Missing,
    /// Neither the envelope nor the first message has come far enough.
    NotYetKnown,
}

/// Why `pull` came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// The batch holds at least as many bytes as asked for.
    Full,
    /// Nothing is wrong, and more can be done at once; but others should have their turn first.
    Paused,
    /// More of the body is needed.
    Starved,
    /// That was the last event.
    Done,
}

impl Rewrite {
    /// Makes room for a body of so many bytes; more or fewer may come. The caller has to keep
    /// it within bounds, because a client may announce what it never sends.
    pub fn expect(&mut self, bytes: usize) {
        self.body.expect(bytes);
    }

    /// Takes the next bytes of the (inflated) body.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Flow, RewriteError> {
        self.pushed += bytes.len();
        self.body.push(bytes)?;
        Ok(if self.body.is_open() {
            Flow::Open
        } else {
            Flow::Held
        })
    }

    /// Ends the body; from here on the flow is open.
    pub fn end(&mut self) {
        self.body.end();
    }

    /// The write key in the body: of its top level, else of its first message. To be asked once
    /// the flow is open and before the first pull. In a streaming body only what stands before
    /// `batch`, and in the first message, can be known.
    pub fn write_key(&mut self) -> Result<WrittenKey, RewriteError> {
        let mut found = self.find()?;
        if self.body.settle().is_some() {
            found = self.find()?;
        }
        let top = self.body.heading().write_key.as_deref();
        let top = top.filter(|key| key.len() > 2 && key.starts_with(b"\""));
        let key = match (top, &mut found) {
            (Some(key), _) => Some(unescape(key).into_owned()),
            (None, Found::Message(range, extent)) => {
                let converter = self.converter.get_or_insert_default();
                let text = self.body.bytes(range.clone());
                let (seen, key) = converter.write_key(text, *extent);
                *extent = seen;
                key
            }
            (None, Found::Next(_)) => None,
        };
        let starved = found == Found::Next(Next::Starved);
        if !starved {
            self.pending = Some(found);
        }
        Ok(match key.filter(|key| !key.is_empty()) {
            Some(key) => WrittenKey::Named(key),
            None if starved && self.body.may_tell_more() => WrittenKey::NotYetKnown,
            None => WrittenKey::Missing,
        })
    }

    /// The next message, or why there is none.
    fn find(&mut self) -> Result<Found, RewriteError> {
        if let Some(found) = self.pending.take() {
            return Ok(found);
        }
        loop {
            return Ok(match self.body.next()? {
                Next::Message(range) => Found::Message(range, Extent::Whole),
                Next::MessageOrBatch(range) => {
                    let converter = self.converter.get_or_insert_default();
                    let Some(seen) = converter.see_alone(self.body.bytes(range.clone())) else {
                        self.body.seek_batch();
                        continue;
                    };
                    self.body.is_message();
                    Found::Message(range, Extent::Scanned(seen))
                }
                Next::MessageWithin(range) => Found::Message(range, Extent::Open),
                Next::MessagePerhapsWithin(range) => {
                    let converter = self.converter.get_or_insert_default();
                    let Some(seen) = converter.see(self.body.bytes(range.clone())) else {
                        self.body.follow_item();
                        continue;
                    };
                    Found::Message(range, Extent::Scanned(seen))
                }
                next => Found::Next(next),
            });
        }
    }

    /// Says whom the events are for. To be said before the first pull; what depends on it (a
    /// cookie's name, constant properties, ids of version 7) is left out otherwise.
    pub fn address_to(&mut self, recipient: Arc<Recipient>) {
        self.recipient = recipient;
    }

    /// Notes for each event where its properties came from; see [`explanation`](Self::explanation).
    pub fn explain(&mut self) {
        self.trace = Some(Trace::default());
    }

    /// Where the properties of the last event came from: a JSON object from property to origin.
    /// Empty unless [`explain`](Self::explain) has been asked for.
    pub fn explanation(&self) -> String {
        let mut out = Vec::new();
        if let Some(trace) = &self.trace {
            trace.write(&mut out);
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// The `Set-Cookie` header that keeps the visitor's session; none if there is nothing to keep.
    /// To be asked for after the last pull.
    pub fn set_cookie(&self, transport: Transport) -> Option<String> {
        let keeper = self.rewriter.sessions.as_ref()?;
        let value = self.sessions.cookie()?;
        Some(keeper.cookie.header(value, transport))
    }

    /// Says that everything pulled so far is safe: PostHog has accepted it, or will get it from
    /// where it is kept now. Only such messages are ever suppressed as repeats.
    pub fn confirm(&mut self) {
        let repeats = self.rewriter.repeats.as_ref();
        if let (Some(repeats), Some(now)) = (repeats, self.arrival.received_at) {
            for content in self.unconfirmed.drain(..) {
                repeats.accept(content, now);
            }
        }
    }

    /// Writes events into `batch` until it holds `limit` bytes, the body starves, or all is done;
    /// or until it is time to let others do something ([`Pulled::Paused`]). Each message is shown to
    /// `watch`, with what became of it.
    pub fn pull(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        watch: &mut dyn Watch,
    ) -> Result<Pulled, RewriteError> {
        loop {
            let pulled = self.step(batch, limit, watch);
            let misjudged = match &pulled {
                Ok(Step::Misjudged) => true,
                Ok(Step::Pulled(_)) => self.body.settle().is_some(),
                Err(_) if self.body.is_provisional() => {
                    self.body.begin_anew();
                    true
                }
                Err(_) => false,
            };
            if misjudged {
                self.begin_anew(batch);
                continue;
            }
            self.noted.clear();
            let body = &self.body;
            self.held_back.tell(batch, |came| body.bytes(came), watch);
            match pulled? {
                Step::Pulled(pulled) => return Ok(pulled),
                Step::Misjudged => {}
            }
        }
    }

    /// Takes back all that came of the messages so far.
    fn begin_anew(&mut self, batch: &mut Batch) {
        if let Some(mark) = self.mark.take() {
            batch.rewind(mark);
        }
        if let Some(converter) = &mut self.converter {
            converter.forget();
        }
        self.pending = None;
        self.trace = self.trace.take().map(|_| Trace::default());
        self.held_back.forget();
        self.sessions = Sessions::new(self.rewriter.sessions.clone());
        self.unconfirmed.clear();
        for tag in self.noted.drain(..) {
            if let Some(repeats) = &self.rewriter.repeats {
                repeats.forget(tag);
            }
        }
        self.shared = None;
        self.refused = 0;
        self.index = 0;
        self.grown = 0;
    }

    fn step(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        watch: &mut dyn Watch,
    ) -> Result<Step, RewriteError> {
        let (mut messages, mut bytes) = (0, 0);
        loop {
            if batch.held() >= limit && batch.events() > 0 {
                return Ok(Step::Pulled(Pulled::Full));
            }
            if self.grown > GROWTH_FREE + self.pushed.saturating_mul(GROWTH_PER_BYTE) {
                return Err(RewriteError::TooLarge);
            }
            if self.refused > MOST_REFUSED {
                return Err(RewriteError::TooManyRefused);
            }
            match self.find()? {
                Found::Next(Next::Done) => {
                    if self.body.take_late_sent_at() {
                        watch.notice(Notice::LateSentAt);
                    }
                    return Ok(Step::Pulled(Pulled::Done));
                }
                Found::Next(Next::TooLarge) => {
                    watch.message(self.index, b"", Fate::Refused(Fault::TooLarge));
                    self.refused += 1;
                    self.index += 1;
                }
                Found::Next(Next::Misjudged) => return Ok(Step::Misjudged),
                Found::Next(_) => return Ok(Step::Pulled(Pulled::Starved)),
                found @ Found::Message(..) if messages >= STEP_MESSAGES || bytes >= STEP_BYTES => {
                    self.pending = Some(found);
                    return Ok(Step::Pulled(Pulled::Paused));
                }
                Found::Message(range, extent) => {
                    if self.index == 0 {
                        self.mark = Some(batch.mark());
                    }
                    let length = self.message((range, extent), (batch, limit), watch)?;
                    self.body.consumed(length);
                    messages += 1;
                    bytes += length;
                }
            }
        }
    }

    /// Bytes held at the moment, for a budget over all requests.
    pub fn held(&self) -> usize {
        self.body.held()
    }

    fn message(
        &mut self,
        (range, extent): (Range<usize>, Extent),
        (batch, limit): (&mut Batch, usize),
        watch: &mut dyn Watch,
    ) -> Result<usize, RewriteError> {
        let shared = match &mut self.shared {
            Some(shared) => &*shared,
            none => {
                let converter = self.converter.get_or_insert_default();
                let shared = Shared::new(self.body.heading(), &mut converter.scratch)?;
                if shared.said_sent_at == SentAt::Unreadable {
                    match self.body.is_provisional() {
                        true => self.held_back.notice(Notice::UnreadableSentAt),
                        false => watch.notice(Notice::UnreadableSentAt),
                    }
                }
                none.insert(shared)
            }
        };
        let text = self.body.bytes(range.clone());
        if let Some(trace) = &mut self.trace {
            *trace = Trace::default();
        }
        let converter = self.converter.get_or_insert_default();
        let mut request = Request {
            rewriter: &self.rewriter,
            arrival: &self.arrival,
            naming: match (self.arrival.call, self.body.is_batch()) {
                (Call::One(kind), false) => Naming::ByPath(kind),
                (Call::One(kind), true) => Naming::ByMessage(Some(kind)),
                (Call::Batch, _) => Naming::ByMessage(None),
            },
            recipient: &self.recipient,
            room: limit.saturating_sub(batch.held()),
            shared,
            sessions: &mut self.sessions,
            group_cookie: self.group_cookie.as_deref(),
            meta_ids: self.meta_ids.as_ref(),
            unconfirmed: &mut self.unconfirmed,
            noted: &mut self.noted,
            trace: self.trace.as_mut(),
            sixth_group_type: None,
            unreadable: Unreadable::default(),
            bearing: if batch.gathers() {
                Gathered::Yes(None)
            } else {
                Gathered::No
            },
            parts: None,
        };
        let index = self.index;
        let grown = &mut self.grown;
        let refused = &mut self.refused;
        let held_back = &mut self.held_back;
        let provisional = self.body.is_provisional();
        let result = batch.append(|out| {
            let before = out.len();
            *grown += shared.weight();
            let converted = converter.convert(&mut request, (text, extent, index), out);
            let mut notice = |notice: Notice<'_>| match provisional {
                true => held_back.notice(notice),
                false => watch.notice(notice),
            };
            if let Some(group_type) = &request.sixth_group_type {
                notice(Notice::SixthGroupType { group_type });
            }
            if request.unreadable.time {
                notice(Notice::UnreadableTime);
            }
            if request.unreadable.sent_at {
                notice(Notice::UnreadableSentAt);
            }
            let Ok(Converted { length, verdict }) = &converted else {
                return (Keep::Nothing, converted);
            };
            if let Some(Verdict::Refused(_)) = verdict {
                *refused += 1;
            }
            let keep = match verdict {
                None => {
                    *grown += (out.len() - before).saturating_sub(shared.weight());
                    Keep::Event
                }
                Some(_) => Keep::Nothing,
            };
            if let (None, Some(trace)) = (verdict, request.trace.as_deref()) {
                let mut explanation = Vec::new();
                trace.write(&mut explanation);
                watch.explained(index, &explanation);
            }
            if provisional {
                let fate = match verdict {
                    None => HeldFate::Event(before..out.len()),
                    Some(verdict) => HeldFate::Verdict(*verdict),
                };
                held_back.message(index, range.start..range.start + length, fate);
            } else {
                let fate = match verdict {
                    None => Fate::Event(out.get(before..).unwrap_or_default()),
                    Some(verdict) => verdict.fate(),
                };
                watch.message(index, text.get(..*length).unwrap_or_default(), fate);
            }
            (keep, converted)
        });
        if let Gathered::Yes(Some(event)) = request.bearing {
            batch.bear(event);
        }
        if let Some((parts, behind)) = request.parts {
            batch.outline(parts, behind);
        }
        self.index += 1;
        result.map(|converted| converted.length)
    }
}

/// How a pull ended.
enum Step {
    Pulled(Pulled),
    /// What has been written must be taken back.
    Misjudged,
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if let Some(converter) = self.converter.take() {
            self.rewriter.spare.give_back(converter);
        }
    }
}

/// Whether a whole body is a batch, an object with a key `batch`, rather than one message.
pub fn is_batch(body: &[u8]) -> bool {
    let bounds = Bounds {
        window: usize::MAX,
        event: 0,
    };
    let mut body_alone = Body::followed(Call::Batch, bounds);
    if body_alone.push(body).is_err() {
        return false;
    }
    body_alone.end();
    body_alone.next().is_ok() && body_alone.is_batch()
}
