//! The states of a body that is being split, and the values of its envelope.

use std::ops::Range;

use super::super::json::unescape;

/// The values of a batch's envelope, as they are written in the body.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Heading {
    pub(in crate::rewrite) context: Option<Vec<u8>>,
    pub(in crate::rewrite) integrations: Option<Vec<u8>>,
    pub(in crate::rewrite) sent_at: Option<Vec<u8>>,
    pub(in crate::rewrite) write_key: Option<Vec<u8>>,
}

impl Heading {
    /// Whether the envelope has none of these values.
    pub(in crate::rewrite) fn is_empty(&self) -> bool {
        self.is_silent() && self.write_key.is_none()
    }

    /// Whether the envelope has no value that changes its messages.
    pub(in crate::rewrite) fn is_silent(&self) -> bool {
        self.context.is_none() && self.integrations.is_none() && self.sent_at.is_none()
    }
}

/// The next part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rewrite) enum NextPart {
    /// A message with exactly this range.
    Message(Range<usize>),
    /// The whole body. Its path names one message, but it may be a batch. The caller answers with
    /// [`SplitBody::is_message`], or lets the body look for a batch with [`SplitBody::seek_batch`].
    MessageOrBatch(Range<usize>),
    /// A message that starts with this range and ends within it. The caller states its length with
    /// [`SplitBody::consumed`].
    MessageWithin(Range<usize>),
    /// A message that starts with this range and may end within it. The caller states its length with
    /// [`SplitBody::consumed`], or calls [`SplitBody::follow_item`] if it does not end there.
    MessagePerhapsWithin(Range<usize>),
    /// The guess of the end of `batch` was wrong. The body restarts, and the caller must discard every
    /// result of its messages.
    Misjudged,
    /// A message that was too large to be held, and was discarded.
    TooLarge,
    /// More bytes are needed.
    Starved,
    /// The body has no more parts.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyState {
    /// Before the body's opening brace.
    Open,
    KeyOrEnd,
    Key,
    Colon,
    Value,
    CommaOrEnd,
    /// Within `batch`, before its first message or its end.
    ItemOrEnd,
    Item,
    ItemCommaOrEnd,
    /// After the closing brace.
    Trailing,
    /// The body itself is one message.
    Single,
    Done,
}

/// A key of a batch's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvelopeKey {
    Messages,
    Context,
    Integrations,
    SentAt,
    WriteKey,
    Other,
}

/// The guess of where `batch` ends in a held body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// No guess has been made yet.
    Open,
    /// `batch` probably ends at the bracket at this position; no message has been returned yet.
    Made(usize),
    /// Like `Made`, and messages have been returned.
    Relied(usize),
    /// The guess was right.
    Right,
    /// No guess is allowed: `batch` is followed to its end.
    Forbidden,
}

/// How the end of a message is found in a body that streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// The caller scans the message, if all of it has arrived.
    Scanned,
    /// The body follows the message to its end.
    Followed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streaming {
    /// The whole body is held.
    No,
    /// The body is larger than the window; `batch` has not been found yet.
    BeforeBatch,
    /// `batch` has been found, and its messages are returned as they arrive.
    Yes,
}

/// Whether the body may be the envelope of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvelopeGuess {
    /// The path names a batch.
    Expected,
    /// The path names one message, but the body may still be a batch: it is not checked yet.
    Possible,
    /// The body is being searched for a `batch`.
    Sought,
    /// The body is no envelope.
    Absent,
}

pub(super) fn key_of(string: &[u8]) -> EnvelopeKey {
    let text = unescape(string.trim_ascii());
    match text.as_ref() {
        "batch" => EnvelopeKey::Messages,
        "context" => EnvelopeKey::Context,
        "integrations" => EnvelopeKey::Integrations,
        "sentAt" => EnvelopeKey::SentAt,
        "writeKey" => EnvelopeKey::WriteKey,
        _ => EnvelopeKey::Other,
    }
}
