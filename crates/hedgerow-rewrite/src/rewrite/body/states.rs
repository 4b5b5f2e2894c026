//! The transitions between the states of a body, byte by byte and value by value.

use std::ops::Range;

use super::super::json::{Ended, Malformed, Scanner, Scratch, Skim, Skimmed};
use super::super::outcome::RewriteError;
use super::parts::{
    key_of, BodyState, EnvelopeGuess, EnvelopeKey, Guess, Heading, Item, NextPart, Streaming,
};
use super::SplitBody;

impl SplitBody {
    pub(super) fn advance(&mut self) -> Result<NextPart, RewriteError> {
        loop {
            match self.state {
                BodyState::Done => return Ok(NextPart::Done),
                BodyState::Single if self.ended == Ended::No => return self.starved(),
                BodyState::Single => return self.single(),
                BodyState::Item => {
                    if let Some(next) = self.item()? {
                        return Ok(next);
                    }
                }
                BodyState::Key | BodyState::Value => {
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

    fn out_of_bytes(&mut self) -> Result<Option<NextPart>, RewriteError> {
        match (self.ended, self.state) {
            (Ended::No, _) => self.starved().map(Some),
            (Ended::Yes, BodyState::Trailing) => {
                self.leave_envelope();
                Ok(None)
            }
            (Ended::Yes, BodyState::Open) => Err(RewriteError::Empty),
            (Ended::Yes, _) => Err(RewriteError::InvalidJson),
        }
    }

    fn starved(&self) -> Result<NextPart, RewriteError> {
        if self.streaming == Streaming::BeforeBatch && self.buffer.len() > self.unit() {
            return Err(RewriteError::TooLarge);
        }
        Ok(NextPart::Starved)
    }

    /// Leaves the envelope after its closing brace and the rest of the body: goes to the messages of a
    /// held body, or to the end.
    fn leave_envelope(&mut self) {
        match (&self.batch, self.streaming) {
            (Some(batch), _) => {
                self.at = batch.start + 1;
                self.state = BodyState::ItemOrEnd;
            }
            (None, Streaming::Yes) => self.state = BodyState::Done,
            // A second `batch`, which is not an array, follows the guessed end of the first.
            (None, _) if self.is_provisional() => self.restart(),
            (None, _) => {
                // The object that looked like an envelope is the message itself, so no envelope's
                // values apply to it.
                self.heading = Heading {
                    write_key: self.heading.write_key.take(),
                    ..Heading::default()
                };
                self.is_not_an_envelope();
            }
        }
    }

    pub(super) fn single(&mut self) -> Result<NextPart, RewriteError> {
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
        if self.envelope == EnvelopeGuess::Possible {
            return Ok(NextPart::MessageOrBatch(from..self.buffer.len()));
        }
        self.state = BodyState::Done;
        Ok(NextPart::Message(from..self.buffer.len()))
    }

    fn punctuation(&mut self, byte: u8) -> Result<(), RewriteError> {
        use BodyState as S;
        let next = match (self.state, byte) {
            (S::Open, 0xef) if self.bytes(self.at..self.at + 3) == [0xef, 0xbb, 0xbf] => {
                self.at += 3;
                return Ok(());
            }
            (S::Open, b'{') => S::KeyOrEnd,
            (S::Open, _) if self.envelope == EnvelopeGuess::Sought => {
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

    /// Returns the state after `batch`. In a held body the envelope has been read before the messages.
    fn after_batch(&self) -> BodyState {
        match self.streaming {
            Streaming::Yes => BodyState::CommaOrEnd,
            Streaming::No | Streaming::BeforeBatch => BodyState::Done,
        }
    }

    /// Follows the value at `at`. Returns its range once it has ended; `None` if it needs more bytes.
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

    fn key_or_value(&mut self) -> Result<Option<NextPart>, RewriteError> {
        let Some(byte) = self.peek() else {
            return match self.ended {
                Ended::Yes => Err(RewriteError::InvalidJson),
                Ended::No => self.starved().map(Some),
            };
        };
        if self.state == BodyState::Key {
            if byte != b'"' {
                return Err(RewriteError::InvalidJson);
            }
            let Some(range) = self.follow()? else {
                return self.starved_in_envelope().map(Some);
            };
            self.key = key_of(self.bytes(range.clone()));
            self.at = range.end;
            self.state = BodyState::Colon;
            return Ok(None);
        }
        if self.key == EnvelopeKey::Messages && self.begins_streaming(byte)? {
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
        self.state = BodyState::CommaOrEnd;
        Ok(None)
    }

    /// Returns the guessed range of `batch`, if this value is `batch` and the whole body is held.
    fn guessed(&mut self) -> Option<Range<usize>> {
        let held = self.streaming == Streaming::No && self.ended == Ended::Yes;
        if !held || self.key != EnvelopeKey::Messages || self.guess != Guess::Open {
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

    /// Handles a value of the envelope that needs more bytes. After the messages no value is needed, so
    /// its bytes are discarded as they arrive.
    fn starved_in_envelope(&mut self) -> Result<NextPart, RewriteError> {
        if self.streaming == Streaming::Yes && self.state == BodyState::Value {
            self.discard_rest();
            return Ok(NextPart::Starved);
        }
        if self.buffer.len() - self.at > self.unit() {
            return Err(RewriteError::TooLarge);
        }
        self.starved()
    }

    fn discard_rest(&mut self) {
        let rest = self.buffer.len() - self.at;
        self.skim.forget(rest);
        self.at = self.buffer.len();
    }

    fn begins_streaming(&mut self, byte: u8) -> Result<bool, RewriteError> {
        if byte != b'[' {
            return match self.envelope {
                // The body is one message that has a key of this name.
                EnvelopeGuess::Sought => Ok(false),
                _ => Err(RewriteError::BatchNotAnArray),
            };
        }
        match self.streaming {
            Streaming::No => Ok(false),
            Streaming::BeforeBatch => {
                self.streaming = Streaming::Yes;
                self.at += 1;
                self.state = BodyState::ItemOrEnd;
                Ok(true)
            }
            Streaming::Yes => Err(RewriteError::LateBatchKey),
        }
    }

    /// Stores a value of the envelope. If a key is repeated, its last value counts.
    fn keep(&mut self, range: Range<usize>) -> Result<(), RewriteError> {
        let late = self.streaming == Streaming::Yes;
        let value = || {
            let bytes = self.buffer.get(range.clone()).unwrap_or_default();
            Some(bytes.trim_ascii().to_vec())
        };
        match self.key {
            EnvelopeKey::Context | EnvelopeKey::Integrations if late => {
                return Err(RewriteError::LateBatchKey);
            }
            EnvelopeKey::SentAt if late => self.late_sent_at = true,
            EnvelopeKey::Context => self.heading.context = value(),
            EnvelopeKey::Integrations => self.heading.integrations = value(),
            EnvelopeKey::SentAt => self.heading.sent_at = value(),
            EnvelopeKey::WriteKey if !late => self.heading.write_key = value(),
            EnvelopeKey::Messages => {
                if let Some(before) = self.batch.take() {
                    check_replaced(self.bytes(before))?;
                }
                let is_array = self
                    .bytes(range.clone())
                    .trim_ascii_start()
                    .starts_with(b"[");
                self.batch = Some(range).filter(|_| is_array);
            }
            EnvelopeKey::WriteKey | EnvelopeKey::Other => {}
        }
        Ok(())
    }

    fn item(&mut self) -> Result<Option<NextPart>, RewriteError> {
        let Some(byte) = self.peek() else {
            return match self.ended {
                Ended::Yes => Err(RewriteError::InvalidJson),
                Ended::No => Ok(Some(NextPart::Starved)),
            };
        };
        if let (Some(batch), false) = (&self.batch, self.streaming == Streaming::Yes) {
            if byte == b']' {
                return Err(RewriteError::InvalidJson);
            }
            return Ok(Some(NextPart::MessageWithin(self.at..batch.end)));
        }
        if self.item == Item::Scanned && byte == b'{' && !self.oversized {
            return Ok(Some(NextPart::MessagePerhapsWithin(
                self.at..self.buffer.len(),
            )));
        }
        match self.follow()? {
            Some(range) => {
                self.at = range.end;
                self.state = BodyState::ItemCommaOrEnd;
                self.item = Item::Scanned;
                if std::mem::take(&mut self.oversized) {
                    return Ok(Some(NextPart::TooLarge));
                }
                Ok(Some(NextPart::Message(range)))
            }
            None => {
                if self.oversized || self.buffer.len() - self.at > self.unit() {
                    self.oversized = true;
                    self.discard_rest();
                }
                Ok(Some(NextPart::Starved))
            }
        }
    }
}

/// Checks that a `batch` which another one replaces is JSON. Only its brackets were read when it was
/// skipped, and a streaming body would have been rejected at the first message that is not JSON.
fn check_replaced(batch: &[u8]) -> Result<(), RewriteError> {
    let mut scratch = Scratch::default();
    let mut scanner = Scanner::new(batch, &mut scratch);
    match (scanner.value(), scanner.at_end()) {
        (Ok(_), true) | (Err(Malformed::TooDeep), _) => Ok(()),
        _ => Err(RewriteError::InvalidJson),
    }
}
