//! A body taken apart: one message, or a batch and what its envelope says about all of them.
//!
//! A body is held until it ends, because Go and Java put `context` behind `batch`, and most put
//! `sentAt` there. One that outgrows the window gives its messages away as they complete. What
//! would have changed what is in those that are gone is refused (`late_batch_key`); a `sentAt`
//! only moves their times, and no batch is worth losing for that.
//!
//! A held batch is not passed over to see what stands behind it: its last bracket is taken for its
//! end, and what comes behind that is read first. Its messages then show, by where they end, whether
//! that was right ([`Body::is_provisional`]). Where it was not, which takes an envelope with another
//! array in it, all of it is done again, and `batch` is followed to its end.

mod parts;

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::json::{Ended, Skim, Skimmed};
use super::{Bounds, RewriteError};
use crate::segment::Call;

use parts::{key_of, Envelope, Guess, Item, Means, State, Streaming};
pub(super) use parts::{Heading, Next};

/// A body that is being taken apart.
#[derive(Debug)]
pub(super) struct Body {
    buffer: Vec<u8>,
    /// What lies before it in the buffer has been dealt with.
    at: usize,
    state: State,
    key: Means,
    skim: Skim,
    guess: Guess,
    item: Item,
    ended: Ended,
    streaming: Streaming,
    envelope: Envelope,
    bounds: Bounds,
    heading: Heading,
    /// Where `batch` stands, once it has been passed over in a held body.
    batch: Option<Range<usize>>,
    oversized: bool,
    /// Whether a `sentAt` came behind messages that had left by then.
    late_sent_at: bool,
}

impl Body {
    pub(super) fn new(call: Call, bounds: Bounds) -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            state: match call {
                Call::One(_) => State::Single,
                Call::Batch => State::Open,
            },
            key: Means::Nothing,
            skim: Skim::default(),
            guess: Guess::Open,
            item: Item::Scanned,
            ended: Ended::No,
            streaming: Streaming::No,
            envelope: match call {
                Call::One(_) => Envelope::Possible,
                Call::Batch => Envelope::Expected,
            },
            bounds,
            heading: Heading::default(),
            batch: None,
            oversized: false,
            late_sent_at: false,
        }
    }

    /// The same, with `batch` followed to its end whatever it costs.
    pub(super) fn followed(call: Call, bounds: Bounds) -> Self {
        Self {
            guess: Guess::Forbidden,
            ..Self::new(call, bounds)
        }
    }

    /// Makes room for so many bytes, so that the buffer need not grow to them step by step.
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
        self.buffer.reserve(bytes.len());
        for piece in bytes.chunks(PIECE) {
            self.buffer.extend_from_slice(piece);
        }
        if self.streaming != Streaming::No || self.buffer.len() <= self.bounds.window {
            return Ok(());
        }
        if self.envelope == Envelope::Possible {
            self.seek();
        }
        self.streaming = Streaming::BeforeBatch;
        Ok(())
    }

    /// Looks whether a body whose path names one message is a batch.
    fn seek(&mut self) {
        self.envelope = Envelope::Sought;
        self.state = State::Open;
    }

    /// Says that a [`Next::MessageOrBatch`] is a message.
    pub(super) fn is_message(&mut self) {
        self.envelope = Envelope::Absent;
        self.state = State::Done;
    }

    /// Says that a [`Next::MessageOrBatch`] cannot be told as it stands.
    pub(super) fn seek_batch(&mut self) {
        match self.may_be_batch() {
            true => self.seek(),
            false => self.envelope = Envelope::Absent,
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
        self.envelope = Envelope::Absent;
        self.state = State::Single;
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

    /// The bytes held at the moment, the unused ones of the buffer included.
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
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
        if self.state == State::Item {
            self.at += length;
            self.state = State::ItemCommaOrEnd;
            self.item = Item::Scanned;
        }
    }

    /// Says that a [`Next::MessagePerhapsWithin`] cannot be scanned to its end.
    pub(super) fn follow_item(&mut self) {
        self.item = Item::Followed;
    }

    /// Whether what has come out so far may have to be taken back.
    pub(super) fn is_provisional(&self) -> bool {
        matches!(self.guess, Guess::Made(_) | Guess::Relied(_))
    }

    /// Settles whether the messages that have come out stand, by following the rest of `batch`.
    /// Says [`Next::Misjudged`] if they do not.
    pub(super) fn settle(&mut self) -> Option<Next> {
        let (Guess::Made(end) | Guess::Relied(end)) = self.guess else {
            return None;
        };
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let found = Skim::inside_of_one().follow(rest, Ended::Yes);
        if found == Skimmed::End((end + 1).saturating_sub(self.at)) {
            self.guess = Guess::Right;
            return None;
        }
        self.begin_anew();
        Some(Next::Misjudged)
    }

    /// Begins with the body anew, and follows `batch` to its end this time.
    pub(super) fn begin_anew(&mut self) {
        self.at = 0;
        self.state = State::Open;
        self.key = Means::Nothing;
        self.skim = Skim::default();
        self.guess = Guess::Forbidden;
        self.heading = Heading::default();
        self.batch = None;
    }

    /// The next message. Without one that can be found, the state stays and the question can be
    /// asked again after a push.
    pub(super) fn next(&mut self) -> Result<Next, RewriteError> {
        let next = self.advance();
        match (self.guess, &next) {
            (Guess::Made(_), Err(_)) => {
                self.begin_anew();
                self.advance()
            }
            (Guess::Relied(_), Err(_)) => {
                self.begin_anew();
                Ok(Next::Misjudged)
            }
            (Guess::Made(end), Ok(Next::MessageWithin(_))) => {
                self.guess = Guess::Relied(end);
                next
            }
            _ => next,
        }
    }

    fn advance(&mut self) -> Result<Next, RewriteError> {
        loop {
            match self.state {
                State::Done => return Ok(Next::Done),
                State::Single if self.ended == Ended::No => return self.starved(),
                State::Single => return self.single(),
                State::Item => {
                    if let Some(next) = self.item()? {
                        return Ok(next);
                    }
                }
                State::Key | State::Value => {
                    if let Some(next) = self.key_or_value()? {
                        return Ok(next);
                    }
                }
                _ => {
                    let Some(byte) = self.peek() else {
                        if let Some(next) = self.out_of_bytes()? {
                            return Ok(next);
                        }
                        continue;
                    };
                    self.punctuation(byte)?;
                }
            }
        }
    }

    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.buffer.get(self.at).copied()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn out_of_bytes(&mut self) -> Result<Option<Next>, RewriteError> {
        match (self.ended, self.state) {
            (Ended::No, _) => self.starved().map(Some),
            (Ended::Yes, State::Trailing) => {
                self.leave_envelope();
                Ok(None)
            }
            (Ended::Yes, State::Open) => Err(RewriteError::Empty),
            (Ended::Yes, _) => Err(RewriteError::InvalidJson),
        }
    }

    fn starved(&self) -> Result<Next, RewriteError> {
        if self.streaming == Streaming::BeforeBatch && self.buffer.len() > self.unit() {
            return Err(RewriteError::TooLarge);
        }
        Ok(Next::Starved)
    }

    /// Behind the closing brace and all there is: on to the messages of a held body, or the end.
    fn leave_envelope(&mut self) {
        match (&self.batch, self.streaming) {
            (Some(batch), _) => {
                self.at = batch.start + 1;
                self.state = State::ItemOrEnd;
            }
            (None, Streaming::Yes) => self.state = State::Done,
            // A second `batch`, which is no array, stands behind what was taken for the first.
            (None, _) if self.is_provisional() => self.begin_anew(),
            (None, _) => {
                // What looked like an envelope is the message: nothing stands above it.
                self.heading = Heading {
                    write_key: self.heading.write_key.take(),
                    ..Heading::default()
                };
                self.is_not_an_envelope();
            }
        }
    }

    fn single(&mut self) -> Result<Next, RewriteError> {
        const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
        let from = if self.buffer.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let body = self.bytes(from..self.buffer.len());
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(RewriteError::Empty);
        }
        if self.envelope == Envelope::Possible {
            return Ok(Next::MessageOrBatch(from..self.buffer.len()));
        }
        self.state = State::Done;
        Ok(Next::Message(from..self.buffer.len()))
    }

    fn punctuation(&mut self, byte: u8) -> Result<(), RewriteError> {
        use State as S;
        let next = match (self.state, byte) {
            (S::Open, 0xef) if self.bytes(self.at..self.at + 3) == [0xef, 0xbb, 0xbf] => {
                self.at += 3;
                return Ok(());
            }
            (S::Open, b'{') => S::KeyOrEnd,
            (S::Open, _) if self.envelope == Envelope::Sought => {
                self.is_not_an_envelope();
                return Ok(());
            }
            (S::Open, _) => return Err(RewriteError::NotAnObject),
            (S::KeyOrEnd, b'}') | (S::CommaOrEnd, b'}') => S::Trailing,
            (S::KeyOrEnd, b'"') => {
                self.state = S::Key;
                return Ok(());
            }
            (S::Colon, b':') => S::Value,
            (S::CommaOrEnd, b',') => {
                self.at += 1;
                self.state = S::Key;
                return Ok(());
            }
            (S::ItemOrEnd | S::ItemCommaOrEnd, b']') => {
                if let Guess::Made(end) | Guess::Relied(end) = self.guess {
                    if self.at != end {
                        return Err(RewriteError::InvalidJson);
                    }
                    self.guess = Guess::Right;
                }
                self.state = self.after_batch();
                self.at += 1;
                return Ok(());
            }
            (S::ItemOrEnd, _) => {
                self.state = S::Item;
                return Ok(());
            }
            (S::ItemCommaOrEnd, b',') => S::Item,
            _ => return Err(RewriteError::InvalidJson),
        };
        self.at += 1;
        self.state = next;
        Ok(())
    }

    /// In a held body the envelope has been read before its messages.
    fn after_batch(&self) -> State {
        match self.streaming {
            Streaming::Yes => State::CommaOrEnd,
            Streaming::No | Streaming::BeforeBatch => State::Done,
        }
    }

    /// Follows the value at `at`. Its range once it has ended; none if it needs more bytes.
    fn follow(&mut self) -> Result<Option<Range<usize>>, RewriteError> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        match self.skim.follow(rest, self.ended) {
            Skimmed::End(length) => {
                self.skim = Skim::default();
                Ok(Some(self.at..self.at + length))
            }
            Skimmed::More => Ok(None),
            Skimmed::Malformed => Err(RewriteError::InvalidJson),
        }
    }

    fn key_or_value(&mut self) -> Result<Option<Next>, RewriteError> {
        let Some(byte) = self.peek() else {
            return match self.ended {
                Ended::Yes => Err(RewriteError::InvalidJson),
                Ended::No => self.starved().map(Some),
            };
        };
        if self.state == State::Key {
            if byte != b'"' {
                return Err(RewriteError::InvalidJson);
            }
            let Some(range) = self.follow()? else {
                return self.starved_in_envelope().map(Some);
            };
            self.key = key_of(self.bytes(range.clone()));
            self.at = range.end;
            self.state = State::Colon;
            return Ok(None);
        }
        if self.key == Means::Messages && self.begins_streaming(byte)? {
            return Ok(None);
        }
        let range = match self.guessed() {
            Some(range) => range,
            None => match self.follow()? {
                Some(range) => range,
                None => return self.starved_in_envelope().map(Some),
            },
        };
        self.keep(range.clone())?;
        self.at = range.end;
        self.state = State::CommaOrEnd;
        Ok(None)
    }

    /// Where `batch` seems to end, if it is `batch` that stands here in a body that is all there.
    fn guessed(&mut self) -> Option<Range<usize>> {
        let held = self.streaming == Streaming::No && self.ended == Ended::Yes;
        if !held || self.key != Means::Messages || self.guess != Guess::Open {
            return None;
        }
        let rest = self.buffer.get(self.at..)?;
        if rest.first() != Some(&b'[') {
            return None;
        }
        let end = self.at + rest.iter().rposition(|byte| *byte == b']')?;
        self.guess = Guess::Made(end);
        Some(self.at..end + 1)
    }

    /// A value of the envelope that goes on: behind the messages nothing of it is needed, so that
    /// it is let go as it comes.
    fn starved_in_envelope(&mut self) -> Result<Next, RewriteError> {
        if self.streaming == Streaming::Yes && self.state == State::Value {
            self.let_go();
            return Ok(Next::Starved);
        }
        if self.buffer.len() - self.at > self.unit() {
            return Err(RewriteError::TooLarge);
        }
        self.starved()
    }

    fn let_go(&mut self) {
        let rest = self.buffer.len() - self.at;
        self.skim.forget(rest);
        self.at = self.buffer.len();
    }

    fn begins_streaming(&mut self, byte: u8) -> Result<bool, RewriteError> {
        if byte != b'[' {
            return match self.envelope {
                // One message that has something of this name.
                Envelope::Sought => Ok(false),
                _ => Err(RewriteError::BatchNotAnArray),
            };
        }
        match self.streaming {
            Streaming::No => Ok(false),
            Streaming::BeforeBatch => {
                self.streaming = Streaming::Yes;
                self.at += 1;
                self.state = State::ItemOrEnd;
                Ok(true)
            }
            Streaming::Yes => Err(RewriteError::LateBatchKey),
        }
    }

    /// Remembers a value of the envelope. The last one of a key counts.
    fn keep(&mut self, range: Range<usize>) -> Result<(), RewriteError> {
        let late = self.streaming == Streaming::Yes;
        let value = || {
            let bytes = self.buffer.get(range.clone()).unwrap_or_default();
            Some(bytes.trim_ascii().to_vec())
        };
        match self.key {
            Means::Context | Means::Integrations if late => {
                return Err(RewriteError::LateBatchKey);
            }
            Means::SentAt if late => self.late_sent_at = true,
            Means::Context => self.heading.context = value(),
            Means::Integrations => self.heading.integrations = value(),
            Means::SentAt => self.heading.sent_at = value(),
            Means::Writer if !late => self.heading.write_key = value(),
            Means::Messages => {
                let is_array = self
                    .bytes(range.clone())
                    .trim_ascii_start()
                    .starts_with(b"[");
                self.batch = Some(range).filter(|_| is_array);
            }
            Means::Writer | Means::Nothing => {}
        }
        Ok(())
    }

    fn item(&mut self) -> Result<Option<Next>, RewriteError> {
        let Some(byte) = self.peek() else {
            return match self.ended {
                Ended::Yes => Err(RewriteError::InvalidJson),
                Ended::No => Ok(Some(Next::Starved)),
            };
        };
        if let (Some(batch), false) = (&self.batch, self.streaming == Streaming::Yes) {
            if byte == b']' {
                return Err(RewriteError::InvalidJson);
            }
            return Ok(Some(Next::MessageWithin(self.at..batch.end)));
        }
        if self.item == Item::Scanned && byte == b'{' && !self.oversized {
            return Ok(Some(Next::MessagePerhapsWithin(self.at..self.buffer.len())));
        }
        match self.follow()? {
            Some(range) => {
                self.at = range.end;
                self.state = State::ItemCommaOrEnd;
                self.item = Item::Scanned;
                if std::mem::take(&mut self.oversized) {
                    return Ok(Some(Next::TooLarge));
                }
                Ok(Some(Next::Message(range)))
            }
            None => {
                if self.oversized || self.buffer.len() - self.at > self.unit() {
                    self.oversized = true;
                    self.let_go();
                }
                Ok(Some(Next::Starved))
            }
        }
    }
}
