//! Rewrites one request body: the caller pushes bytes as they arrive and pulls batches of events.

mod rewriter;
mod steps;

use std::ops::Range;
use std::sync::Arc;

use super::arrival::{Arrival, Bounds, Recipient};
use super::body::{NextPart, SplitBody};
use super::convert::{BatchDefaults, ClientSlot, Converter, TextEnd};
use super::enrich::edge_session::Transport;
use super::enrich::meta_ids::MetaIds;
use super::explain::Trace;
use super::held_back::HeldBack;
use super::json::unescape;
use super::outcome::{RewriteError, Watch};
use super::repeats::Tag;
use super::session::RequestSessions;
use crate::posthog::{Batch, Mark};
use crate::segment::Call;

pub use rewriter::Rewriter;

/// A request body that is being rewritten.
///
/// Feed it with [`push`](Self::push) and [`end`](Self::end). While the flow is [`Flow::Held`],
/// [`pull`](Self::pull) returns no events; once it is [`Flow::Open`], it writes events into batches.
#[derive(Debug)]
pub struct Rewrite {
    rewriter: Arc<Rewriter>,
    arrival: Arrival,
    recipient: Arc<Recipient>,
    sessions: RequestSessions,
    group_cookie: Option<String>,
    meta_ids: Option<MetaIds>,
    unconfirmed: Vec<Tag>,
    /// Messages whose times have been recorded; a restart deletes these records.
    noted: Vec<Tag>,
    trace: Option<Trace>,
    body: SplitBody,
    /// Returned to the spare buffers when the body has ended.
    converter: Option<Box<Converter>>,
    /// The slot that stores the client's context between requests.
    client: Option<ClientSlot>,
    shared: Heads,
    /// The next message, which has been found and perhaps scanned.
    pending: Option<Found>,
    /// Reports that are sent once it is certain where the array `batch` ends.
    held_back: HeldBack,
    /// The state of the output before the first message, for a restart.
    mark: Option<Mark>,
    refused: usize,
    index: usize,
    /// The bytes of the body that have been pushed so far.
    pushed: usize,
    /// The size of the output so far, in bytes. A message counts at least as much as the batch-level values
    /// that are read for it, even if it is refused.
    grown: usize,
}

/// The values of the envelope that apply to all messages.
#[derive(Debug)]
enum Heads {
    /// The envelope has not been read.
    Unread,
    /// There are none, for example because the body is a single message.
    Silent,
    Read(Box<BatchDefaults>),
}

/// The result of the search for the next message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Next(NextPart),
    /// A message that begins at the start of this range.
    Message(Range<usize>, TextEnd),
}

/// Whether events can be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The body is held until it ends or is larger than the window.
    Held,
    /// The body has ended or is larger than the window: pull until starved before the next push.
    Open,
}

/// The write key that a body names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenKey {
    /// The key in the body.
    Named(String),
    /// The body has no key.
    Missing,
    /// More of the envelope or of the first message is needed.
    NotYetKnown,
}

/// Why `pull` returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// The batch holds at least as many bytes as requested.
    Full,
    /// More can be pulled at once, but other work should run first.
    Paused,
    /// More of the body is needed.
    Starved,
    /// The body has no further events.
    Done,
}

impl Rewrite {
    /// Reserves memory for a body of this many bytes; more or fewer may arrive. The caller must limit the
    /// number, because a client may announce bytes that it never sends.
    pub fn expect(&mut self, bytes: usize) {
        self.body.expect(bytes);
    }

    /// Sets the length of the (inflated) body, in bytes, before the first push. A body that fits into the
    /// window is then held to its end ([`Bounds::window`]).
    pub fn announce(&mut self, length: usize) {
        self.body.is_of(length);
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

    /// Returns the write key of the body: the one at its top level, otherwise that of its first message.
    /// Call it before the first pull. The key is not yet known while the body is held. In a streaming body
    /// only the keys before `batch` and the first message are read.
    pub fn write_key(&mut self) -> Result<WrittenKey, RewriteError> {
        if !self.body.is_open() {
            return Ok(WrittenKey::NotYetKnown);
        }
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
        let starved = found == Found::Next(NextPart::Starved);
        if !starved {
            self.pending = Some(found);
        }
        Ok(match key.filter(|key| !key.is_empty()) {
            Some(key) => WrittenKey::Named(key),
            None if starved && self.body.may_tell_more() => WrittenKey::NotYetKnown,
            None => WrittenKey::Missing,
        })
    }

    /// Returns the next message, or why there is none.
    fn find(&mut self) -> Result<Found, RewriteError> {
        if let Some(found) = self.pending.take() {
            return Ok(found);
        }
        loop {
            return Ok(match self.body.next()? {
                NextPart::Message(range) => Found::Message(range, TextEnd::Whole),
                NextPart::MessageOrBatch(range) => {
                    let converter = self.converter.get_or_insert_default();
                    let Some(seen) = converter.scan_single(self.body.bytes(range.clone())) else {
                        self.body.seek_batch();
                        continue;
                    };
                    self.body.is_message();
                    Found::Message(range, TextEnd::Scanned(seen))
                }
                NextPart::MessageWithin(range) => Found::Message(range, TextEnd::Open),
                NextPart::MessagePerhapsWithin(range) => {
                    let converter = self.converter.get_or_insert_default();
                    let Some(seen) = converter.see(self.body.bytes(range.clone())) else {
                        self.body.follow_item();
                        continue;
                    };
                    Found::Message(range, TextEnd::Scanned(seen))
                }
                next => Found::Next(next),
            });
        }
    }

    /// Sets the recipient of the events. Call it before the first pull; without a recipient, events lack
    /// everything that depends on it (a cookie's name, constant properties, ids of version 7).
    pub fn address_to(&mut self, recipient: Arc<Recipient>) {
        self.recipient = recipient;
    }

    /// Records the origin of each property of an event; see [`explanation`](Self::explanation).
    pub fn explain(&mut self) {
        self.trace = Some(Trace::default());
    }

    /// Returns the origins of the last event's properties: a JSON object from property to origin. It is
    /// empty unless [`explain`](Self::explain) has been called.
    pub fn explanation(&self) -> String {
        let mut out = Vec::new();
        if let Some(trace) = &self.trace {
            trace.write(&mut out);
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// Returns the `Set-Cookie` header that stores the visitor's session, if there is one to store. Call
    /// it after the last pull.
    pub fn set_cookie(&self, transport: Transport) -> Option<String> {
        let keeper = self.rewriter.sessions.as_ref()?;
        let value = self.sessions.cookie()?;
        Some(keeper.cookie.header(value, transport))
    }

    /// Records that everything pulled so far is safe: PostHog has accepted it, or it is stored and will be
    /// delivered later. Only such messages are ever suppressed as repeats.
    pub fn confirm(&mut self) {
        let repeats = self.rewriter.conversion.repeats.as_ref();
        if let (Some(repeats), Some(now)) = (repeats, self.arrival.received_at) {
            for content in self.unconfirmed.drain(..) {
                repeats.accept(content, now);
            }
        }
    }

    /// Writes events into `batch` until it holds `limit` bytes, more of the body is needed, the body is
    /// done, or it is time to yield ([`Pulled::Paused`]). Reports each message and its outcome to `watch`.
    /// Returns [`Pulled::Starved`] for a body that is held, because keys after its messages may change
    /// them.
    pub fn pull(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        watch: &mut dyn Watch,
    ) -> Result<Pulled, RewriteError> {
        if !self.body.is_open() {
            return Ok(Pulled::Starved);
        }
        loop {
            let pulled = self.step(batch, limit, watch);
            if let (Ok(PullEnd::Pulled(Pulled::Paused)), true) =
                (&pulled, self.may_stay_provisional())
            {
                return Ok(Pulled::Paused);
            }
            let misjudged = match &pulled {
                Ok(PullEnd::Misjudged) => true,
                Ok(PullEnd::Pulled(_)) => self.body.settle().is_some(),
                Err(_) if self.body.is_provisional() => {
                    self.body.restart();
                    true
                }
                Err(_) => false,
            };
            if misjudged {
                self.restart(batch);
                continue;
            }
            self.noted.clear();
            if !self.held_back.is_empty() {
                let body = &self.body;
                self.held_back.tell(batch, |came| body.bytes(came), watch);
            }
            match pulled? {
                PullEnd::Pulled(pulled) => {
                    if pulled == Pulled::Done {
                        self.put_back();
                    }
                    return Ok(pulled);
                }
                PullEnd::Misjudged => {}
            }
        }
    }

    /// Whether the guess about where the array `batch` ends may stay unchecked for another step. A check
    /// costs a pass over the rest of the body, and a wrong guess costs all the work so far. Few bodies
    /// exceed the limits below.
    fn may_stay_provisional(&self) -> bool {
        /// The most messages that stay unchecked, because their outcomes are stored until the check.
        /// `BYTES` limits the bytes of these messages.
        const MESSAGES: usize = 1000;
        const BYTES: usize = 512 << 10;
        self.body.is_provisional() && self.index < MESSAGES && self.body.taken() < BYTES
    }

    /// Returns the number of bytes held now, for the memory limit of all requests together.
    pub fn held(&self) -> usize {
        self.body.held()
    }

    /// Returns memory that is no longer needed to the spare buffers: sending the batch may take long, and
    /// other requests need the memory.
    fn put_back(&mut self) {
        if let Some(mut converter) = self.converter.take() {
            converter.body = self.body.take_memory();
            if let (Some(client), Some(context)) = (self.client, converter.end()) {
                self.rewriter.contexts.put(client, context);
            }
            self.rewriter.spare.put_back(converter);
        }
    }

    /// Discards all output so far and resets the state, so that the body is read again.
    fn restart(&mut self, batch: &mut Batch) {
        if let Some(mark) = self.mark.take() {
            batch.rewind(mark);
        }
        if let Some(converter) = &mut self.converter {
            converter.forget();
        }
        self.pending = None;
        self.trace = self.trace.take().map(|_| Trace::default());
        self.held_back.forget();
        self.sessions = RequestSessions::new(self.rewriter.sessions.clone());
        self.unconfirmed.clear();
        for tag in self.noted.drain(..) {
            if let Some(repeats) = &self.rewriter.conversion.repeats {
                repeats.forget(tag);
            }
        }
        self.shared = Heads::Unread;
        self.refused = 0;
        self.index = 0;
        self.grown = 0;
    }
}

/// How a pull ended.
enum PullEnd {
    Pulled(Pulled),
    /// The written events must be discarded.
    Misjudged,
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if self.converter.is_some() {
            self.put_back();
        }
    }
}

/// Whether a complete body is a batch (an object with a key `batch`) and not a single message.
pub fn is_batch(body: &[u8]) -> bool {
    let bounds = Bounds {
        window: usize::MAX,
        event: 0,
    };
    let mut body_alone = SplitBody::followed(Call::Batch, bounds);
    if body_alone.push(body).is_err() {
        return false;
    }
    body_alone.end();
    body_alone.next().is_ok() && body_alone.is_batch()
}
