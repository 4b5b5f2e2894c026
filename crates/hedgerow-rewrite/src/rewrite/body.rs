//! A body taken apart: one message, or a batch and what its envelope says about all of them.
//!
//! A body is held until it ends, because Go and Java put `context` behind `batch`, and most put
//! `sentAt` there. One that outgrows the window gives its messages away as they complete. What
//! would have changed what is in those that are gone is refused (`late_batch_key`); a `sentAt`
//! only moves their times, and no batch is worth losing for that.
//!
//! A held batch is not passed over to see what stands behind it: its last bracket is taken for its
//! end, and what comes behind that is read first. Its messages then show, by where they end, whether
//! that was right ([`SplitBody::is_provisional`]). Where it was not, which takes an envelope with another
//! array in it, all of it is done again, and `batch` is followed to its end.

mod parts;
mod states;

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::arrival::Bounds;
use super::json::{Ended, Skim, Skimmed};
use super::outcome::RewriteError;
use crate::segment::Call;

use parts::{BodyState, EnvelopeGuess, Guess, Item, Means, Streaming};
pub(super) use parts::{Heading, NextPart};

/// A body that is being taken apart.
#[derive(Debug)]
pub(super) struct SplitBody {
    buffer: Vec<u8>,
    /// So much of the buffer has been written to.
    touched: usize,
    /// What lies before it in the buffer has been dealt with.
    at: usize,
    state: BodyState,
    key: Means,
    skim: Skim,
    guess: Guess,
    item: Item,
    ended: Ended,
    streaming: Streaming,
    envelope: EnvelopeGuess,
    bounds: Bounds,
    /// A body that is not longer is held to its end.
    held_up_to: usize,
    heading: Heading,
    /// Where `batch` stands, once it has been passed over in a held body.
    batch: Option<Range<usize>>,
    oversized: bool,
    /// Whether a `sentAt` came behind messages that had left by then.
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
            key: Means::Nothing,
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

    /// The same, held in memory that has been used before.
    pub(super) fn in_memory(self, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            touched: buffer.capacity(),
            buffer,
            ..self
        }
    }

    /// Takes out the memory of a body that has ended; it is freed if it is not worth keeping for the
    /// next one.
    pub(super) fn take_memory(&mut self) -> Vec<u8> {
        /// In bytes. Most bodies are of one message.
        const LARGEST: usize = 16 * 1024;
        let memory = std::mem::take(&mut self.buffer);
        self.touched = 0;
        match memory.capacity() {
            ..=LARGEST => memory,
            _ => Vec::new(),
        }
    }

    /// The same, with `batch` followed to its end whatever it costs.
    pub(super) fn followed(call: Call, bounds: Bounds) -> Self {
        Self {
            guess: Guess::Forbidden,
            ..Self::new(call, bounds)
        }
    }

    /// Says how long the body is, before it comes.
    pub(super) fn is_of(&mut self, length: usize) {
        if length <= self.bounds.window {
            self.held_up_to = self.bounds.window;
        }
    }

    /// Makes room for this many bytes, so that the buffer need not grow to them step by step.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.buffer.reserve_exact(bytes);
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), RewriteError> {
        if self.streaming == Streaming::Yes && self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        // In pieces that the C library copies with vector moves. One string instruction for all of it
        // is no quicker, and Valgrind counts one instruction for each of its bytes.
        const PIECE: usize = 1024;
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

    /// Makes room for so many more bytes. A body that is a good part of the window already gets room for all of
    /// it: to grow to it step by step would leave as much memory behind. What has not been written to is
    /// no memory yet.
    fn make_room(&mut self, bytes: usize) {
        let (length, window) = (self.buffer.len(), self.bounds.window);
        let needed = length.saturating_add(bytes);
        // What comes last may reach beyond the window.
        let whole = window.saturating_add(window / 16);
        if needed > self.buffer.capacity() && needed > window / 4 && needed <= whole {
            self.buffer.reserve_exact(whole - length);
        }
        self.buffer.reserve(bytes);
    }

    /// Looks whether a body whose path names one message is a batch.
    fn seek(&mut self) {
        self.envelope = EnvelopeGuess::Sought;
        self.state = BodyState::Open;
    }

    /// Says that a [`NextPart::MessageOrBatch`] is a message.
    pub(super) fn is_message(&mut self) {
        self.envelope = EnvelopeGuess::Absent;
        self.state = BodyState::Done;
    }

    /// Says that a [`NextPart::MessageOrBatch`] cannot be told as it stands.
    pub(super) fn seek_batch(&mut self) {
        match self.may_be_batch() {
            true => self.seek(),
            false => self.envelope = EnvelopeGuess::Absent,
        }
    }

    /// Whether it is worth looking: the name of the key stands in the body, or might in disguise.
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

    /// Whether what has not been found in the envelope or in the first message may yet come.
    pub(super) fn may_tell_more(&self) -> bool {
        self.ended == Ended::No && !self.oversized
    }

    pub(super) fn end(&mut self) {
        self.ended = Ended::Yes;
    }

    /// Whether messages can be asked for.
    pub(super) fn is_open(&self) -> bool {
        self.ended == Ended::Yes || self.streaming != Streaming::No
    }

    /// The bytes held now. Room that has not been written to takes no memory yet.
    pub(super) fn held(&self) -> usize {
        self.touched
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// What the envelope says; complete once a message has come out.
    pub(super) fn heading(&self) -> &Heading {
        &self.heading
    }

    /// Whether a `sentAt` came too late for the messages. Says so once.
    pub(super) fn take_late_sent_at(&mut self) -> bool {
        std::mem::take(&mut self.late_sent_at)
    }

    /// A message or a value of the envelope is held up to this size: room for one event at its
    /// limit, spelled as wastefully as can be taken for meant.
    fn unit(&self) -> usize {
        self.bounds.window.max(self.bounds.event.saturating_mul(2))
    }

    /// Whether `batch` has been seen.
    pub(super) fn is_batch(&self) -> bool {
        self.batch.is_some() || self.streaming == Streaming::Yes
    }

    /// Says how much of what came out was the message, where that was not known.
    pub(super) fn consumed(&mut self, length: usize) {
        if self.state == BodyState::Item {
            self.at += length;
            self.state = BodyState::ItemCommaOrEnd;
            self.item = Item::Scanned;
        }
    }

    /// Says that a [`NextPart::MessagePerhapsWithin`] cannot be scanned to its end.
    pub(super) fn follow_item(&mut self) {
        self.item = Item::Followed;
    }

    /// Whether what has come out so far may have to be taken back.
    pub(super) fn is_provisional(&self) -> bool {
        matches!(self.guess, Guess::Made(_) | Guess::Relied(_))
    }

    /// Bytes of the buffer whose messages have come out.
    pub(super) fn taken(&self) -> usize {
        self.at
    }

    /// Settles whether the messages that have come out stand, by following the rest of `batch`.
    /// Says [`NextPart::Misjudged`] if they do not.
    pub(super) fn settle(&mut self) -> Option<NextPart> {
        let (Guess::Made(end) | Guess::Relied(end)) = self.guess else {
            return None;
        };
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let found = Skim::inside_of_one().follow(rest, Ended::Yes);
        if found == Skimmed::End((end + 1).saturating_sub(self.at)) {
            self.guess = Guess::Right;
            return None;
        }
        self.restart();
        Some(NextPart::Misjudged)
    }

    /// Begins with the body again, and follows `batch` to its end this time.
    pub(super) fn restart(&mut self) {
        self.at = 0;
        self.state = BodyState::Open;
        self.key = Means::Nothing;
        self.skim = Skim::default();
        self.guess = Guess::Forbidden;
        self.heading = Heading::default();
        self.batch = None;
    }

    /// The next message. Without one that can be found, the state stays and the question can be
    /// asked again after a push.
    pub(super) fn next(&mut self) -> Result<NextPart, RewriteError> {
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
