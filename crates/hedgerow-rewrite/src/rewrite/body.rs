//! Splits a body into its messages. The body is one message, or an envelope with a `batch` of messages
//! and values that apply to all of them.
//!
//! A body is held until it ends, because the libraries for Go and Java write `context` after `batch`,
//! and most libraries write `sentAt` there. A body that grows beyond the window streams: it returns
//! each message as soon as it is complete. If a value that would have changed the messages arrives
//! after them, the body is rejected (`late_batch_key`). A late `sentAt` would only have changed their
//! times, so it is not worth the loss of the batch.
//!
//! A held `batch` is not skipped value by value to find its end: the last `]` of the body is assumed to
//! end it, and the rest of the envelope is read before the messages. The ends of the messages then show
//! whether this was right ([`SplitBody::is_provisional`]). It is wrong if the envelope has another `]`
//! after `batch`. Then the body is read again from its start, and `batch` is followed to its end.

mod parts;
mod states;

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::arrival::{AnnouncedLength, Bounds};
use super::json::{Ended, Skim, Skimmed};
use super::outcome::RewriteError;
use crate::segment::Call;

use parts::{BodyState, EnvelopeGuess, EnvelopeKey, Guess, Item, Streaming};
pub(super) use parts::{Heading, NextPart};

/// A body that is being split into its messages.
#[derive(Debug)]
pub(super) struct SplitBody {
    buffer: Vec<u8>,
    /// The number of bytes of the buffer that were ever written to.
    touched: usize,
    /// The position in the buffer up to which the body has been processed.
    at: usize,
    state: BodyState,
    key: EnvelopeKey,
    skim: Skim,
    guess: Guess,
    item: Item,
    ended: Ended,
    streaming: Streaming,
    envelope: EnvelopeGuess,
    bounds: Bounds,
    /// The number of bytes up to which a body is held to its end.
    held_up_to: usize,
    heading: Heading,
    /// The range of `batch` in a held body, once it has been skipped.
    batch: Option<Range<usize>>,
    oversized: bool,
    /// Whether a `sentAt` arrived after messages that had already left.
    late_sent_at: bool,
}

impl SplitBody {
    pub(super) fn new(call: Call, bounds: Bounds) -> Self {
        Self {
            buffer: Vec::new(),
            touched: 0,
            at: 0,
            state: match call {
                Call::One(_) => BodyState::Single,
                Call::Batch => BodyState::Open,
            },
            key: EnvelopeKey::Other,
            skim: Skim::default(),
            guess: Guess::Open,
            item: Item::Scanned,
            ended: Ended::No,
            streaming: Streaming::No,
            envelope: match call {
                Call::One(_) => EnvelopeGuess::Possible,
                Call::Batch => EnvelopeGuess::Expected,
            },
            bounds,
            held_up_to: bounds.window - bounds.window / 8,
            heading: Heading::default(),
            batch: None,
            oversized: false,
            late_sent_at: false,
        }
    }

    /// Begins a body in the memory of the one before, which has been [cleared](Self::clear).
    #[inline]
    pub(super) fn begin(&mut self, call: Call, length: AnnouncedLength) {
        /// The most bytes that are reserved for an announced length: a client may announce bytes that it
        /// never sends.
        const RESERVED: usize = 64 * 1024;
        let window = self.bounds.window;
        (self.state, self.envelope) = match call {
            Call::One(_) => (BodyState::Single, EnvelopeGuess::Possible),
            Call::Batch => (BodyState::Open, EnvelopeGuess::Expected),
        };
        self.held_up_to = match length {
            AnnouncedLength::OfBody(length) if length <= window => window,
            _ => window - window / 8,
        };
        let reserved = length.sent().unwrap_or_default().min(RESERVED);
        // Memory that is only reserved costs nothing until it is written to.
        self.touched = self.buffer.capacity();
        self.buffer.reserve_exact(reserved);
        self.at = 0;
        self.key = EnvelopeKey::Other;
        self.skim = Skim::default();
        self.guess = Guess::Open;
        self.item = Item::Scanned;
        self.ended = Ended::No;
        self.streaming = Streaming::No;
        self.batch = None;
        self.oversized = false;
        self.late_sent_at = false;
    }

    /// Forgets the body. Memory that is too large to keep for the next body is freed.
    #[inline]
    pub(super) fn clear(&mut self) {
        /// In bytes. Most bodies have one message.
        const LARGEST: usize = 16 * 1024;
        match self.buffer.capacity() {
            ..=LARGEST => self.buffer.clear(),
            _ => self.buffer = Vec::new(),
        }
        if !self.heading.is_empty() {
            self.heading = Heading::default();
        }
    }

    /// The size of the memory for the body, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Creates a body whose `batch` is always followed to its end, without a guess.
    pub(super) fn followed(call: Call, bounds: Bounds) -> Self {
        Self {
            guess: Guess::Forbidden,
            ..Self::new(call, bounds)
        }
    }

    /// Appends bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), RewriteError> {
        if self.streaming == Streaming::Yes && self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        // The C library copies pieces of this size with vector moves. For all bytes at once it would
        // use one string instruction, which is no faster and which Valgrind counts as one instruction
        // per byte.
        const PIECE: usize = 1984;
        self.make_room(bytes.len());
        for piece in bytes.chunks(PIECE) {
            self.buffer.extend_from_slice(piece);
        }
        self.touched = self.touched.max(self.buffer.len());
        if self.streaming != Streaming::No || self.buffer.len() <= self.held_up_to {
            return Ok(());
        }
        if self.envelope == EnvelopeGuess::Possible {
            self.seek();
        }
        self.streaming = Streaming::BeforeBatch;
        Ok(())
    }

    /// Reserves room for this many more bytes. A body that needs more than a quarter of the window gets
    /// room for all of the window at once: if the buffer grew step by step, the smaller buffers that it
    /// leaves would take as much memory. Room that is never written to takes no physical memory.
    fn make_room(&mut self, bytes: usize) {
        let (length, window) = (self.buffer.len(), self.bounds.window);
        let needed = length.saturating_add(bytes);
        // The bytes of the last push may reach beyond the window.
        let whole = window.saturating_add(window / 16);
        if needed > self.buffer.capacity() && needed > window / 4 && needed <= whole {
            self.buffer.reserve_exact(whole - length);
        }
        self.buffer.reserve(bytes);
    }

    /// Starts to look for `batch` in a body whose path names one message.
    fn seek(&mut self) {
        self.envelope = EnvelopeGuess::Sought;
        self.state = BodyState::Open;
    }

    /// Tells the body that a [`NextPart::MessageOrBatch`] is a message.
    pub(super) fn is_message(&mut self) {
        self.envelope = EnvelopeGuess::Absent;
        self.state = BodyState::Done;
    }

    /// Tells the body that the caller could not decide whether a [`NextPart::MessageOrBatch`] is a message.
    pub(super) fn seek_batch(&mut self) {
        match self.may_be_batch() {
            true => self.seek(),
            false => self.envelope = EnvelopeGuess::Absent,
        }
    }

    /// Whether the body may have the key `batch`: it contains the key, or escapes that could spell it.
    fn may_be_batch(&self) -> bool {
        static PLAIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"batch\""));
        static DISGUISED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\\u00"));
        let has = |name: &Finder<'_>| name.find(&self.buffer).is_some();
        has(&PLAIN) || has(&DISGUISED)
    }

    fn is_not_an_envelope(&mut self) {
        self.envelope = EnvelopeGuess::Absent;
        self.state = BodyState::Single;
    }

    /// Whether later bytes may still bring a value that was not found in the envelope or in the first
    /// message.
    pub(super) fn may_bring_more(&self) -> bool {
        self.ended == Ended::No && !self.oversized
    }

    pub(super) fn end(&mut self) {
        self.ended = Ended::Yes;
    }

    /// Whether messages can be requested.
    pub(super) fn is_open(&self) -> bool {
        self.ended == Ended::Yes || self.streaming != Streaming::No
    }

    /// The number of bytes held now. Room that was never written to takes no physical memory.
    pub(super) fn held(&self) -> usize {
        self.touched
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// The values of the envelope that apply to all messages. They are complete once a message has been
    /// returned.
    pub(super) fn heading(&self) -> &Heading {
        &self.heading
    }

    /// Returns whether a `sentAt` arrived too late for the messages, and clears this flag.
    pub(super) fn take_late_sent_at(&mut self) -> bool {
        std::mem::take(&mut self.late_sent_at)
    }

    /// The largest size, in bytes, up to which a message or a value of the envelope is held. It is at
    /// least twice the limit of an event, because a message may spell the same event with more bytes.
    fn unit(&self) -> usize {
        self.bounds.window.max(self.bounds.event.saturating_mul(2))
    }

    /// Whether a `batch` has been found.
    pub(super) fn is_batch(&self) -> bool {
        self.batch.is_some() || self.streaming == Streaming::Yes
    }

    /// Tells the body the length of the message, after a part that did not state the message's end.
    pub(super) fn consumed(&mut self, length: usize) {
        if self.state == BodyState::Item {
            self.at += length;
            self.state = BodyState::ItemCommaOrEnd;
            self.item = Item::Scanned;
        }
    }

    /// Tells the body that a [`NextPart::MessagePerhapsWithin`] cannot be scanned to its end.
    pub(super) fn follow_item(&mut self) {
        self.item = Item::Followed;
    }

    /// Whether the messages that were returned so far may have to be discarded.
    pub(super) fn is_provisional(&self) -> bool {
        matches!(self.guess, Guess::Made(_) | Guess::Relied(_))
    }

    /// The number of bytes of the buffer whose messages were returned.
    pub(super) fn taken(&self) -> usize {
        self.at
    }

    /// Follows the rest of `batch` to check that the guess of its end was right. Returns
    /// [`NextPart::Misjudged`] if it was wrong: the messages that were returned must be discarded.
    #[inline]
    pub(super) fn settle(&mut self) -> Option<NextPart> {
        match self.guess {
            Guess::Made(end) | Guess::Relied(end) => self.settle_at(end),
            Guess::Open | Guess::Right | Guess::Forbidden => None,
        }
    }

    #[inline(never)]
    fn settle_at(&mut self, end: usize) -> Option<NextPart> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let found = Skim::inside_of_one().follow(rest, Ended::Yes);
        if found == Skimmed::End((end + 1).saturating_sub(self.at)) {
            self.guess = Guess::Right;
            return None;
        }
        self.restart();
        Some(NextPart::Misjudged)
    }

    /// Restarts the body from its beginning. This time `batch` is followed to its end.
    pub(super) fn restart(&mut self) {
        self.at = 0;
        self.state = BodyState::Open;
        self.key = EnvelopeKey::Other;
        self.skim = Skim::default();
        self.guess = Guess::Forbidden;
        self.heading = Heading::default();
        self.batch = None;
    }

    /// Returns the next message of a held batch if it is an object that directly follows the comma, as nearly
    /// every message does.
    #[inline]
    fn adjacent_item(&mut self) -> Option<NextPart> {
        let batch = self.batch.as_ref()?;
        let next = self.buffer.get(self.at..)?.first_chunk();
        if self.streaming == Streaming::Yes || next != Some(b",{") {
            return None;
        }
        self.at += 1;
        self.state = BodyState::Item;
        Some(NextPart::MessageWithin(self.at..batch.end))
    }

    /// Returns the next part. If it needs more bytes, the caller can call this again after a push.
    #[inline]
    pub(super) fn next(&mut self) -> Result<NextPart, RewriteError> {
        match (self.state, self.ended) {
            (BodyState::Done, _) => return Ok(NextPart::Done),
            // Most bodies are one message. Such a body makes no guess.
            (BodyState::Single, Ended::Yes) => return self.single(),
            (BodyState::ItemCommaOrEnd, _) => {
                if let Some(next) = self.adjacent_item() {
                    return Ok(next);
                }
            }
            _ => {}
        }
        let next = self.advance();
        match (self.guess, &next) {
            (Guess::Made(_), Err(_)) => {
                self.restart();
                self.advance()
            }
            (Guess::Relied(_), Err(_)) => {
                self.restart();
                Ok(NextPart::Misjudged)
            }
            (Guess::Made(end), Ok(NextPart::MessageWithin(_))) => {
                self.guess = Guess::Relied(end);
                next
            }
            _ => next,
        }
    }
}
