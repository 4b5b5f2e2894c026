//! The states of a body that is taken apart, and what its envelope says.

use std::ops::Range;

use super::super::json::unescape;

/// The batch's own values, as they stand in the body.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Heading {
    pub(in crate::rewrite) context: Option<Vec<u8>>,
    pub(in crate::rewrite) integrations: Option<Vec<u8>>,
    pub(in crate::rewrite) sent_at: Option<Vec<u8>>,
    pub(in crate::rewrite) write_key: Option<Vec<u8>>,
}

impl Heading {
    /// Whether it says nothing of the messages.
    pub(in crate::rewrite) fn is_silent(&self) -> bool {
        self.context.is_none() && self.integrations.is_none() && self.sent_at.is_none()
    }
}

/// What the body has next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rewrite) enum NextPart {
    /// A message that ends with this range.
    Message(Range<usize>),
    /// The whole body, whose path names one message, and which may be a batch all the same: say so
    /// with [`Body::is_message`], or have it looked for with [`Body::seek_batch`].
    MessageOrBatch(Range<usize>),
    /// A message that begins with this range and ends somewhere in it: say where with
    /// [`Body::consumed`].
    MessageWithin(Range<usize>),
    /// A message that begins with this range, and perhaps ends in it: say where with
    /// [`Body::consumed`], or that it must be followed with [`Body::follow_item`].
    MessagePerhapsWithin(Range<usize>),
    /// What was taken for the end of `batch` was not. The body begins again, and so must everything
    /// that came of its messages.
    Misjudged,
    /// A message that was too large to be held; it is gone.
    TooLarge,
    /// More bytes are needed.
    Starved,
    /// Nothing more.
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
    /// Within `batch`.
    ItemOrEnd,
    Item,
    ItemCommaOrEnd,
    /// Behind the closing brace.
    Trailing,
    /// One message, the body itself.
    Single,
    Done,
}

/// The keys of a batch's envelope that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Messages,
    Context,
    Integrations,
    SentAt,
    /// The write key.
    Writer,
    Nothing,
}

/// Where `batch` ends in a held body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// It has not been asked.
    Open,
    /// At this bracket, it seems; no message has come out yet.
    Made(usize),
    /// The same, and messages have come out.
    Relied(usize),
    /// Where it was thought to end.
    Right,
    /// It is to be followed.
    Forbidden,
}

/// How a message of a stream is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// By scanning it, if all of it is there.
    Scanned,
    /// By following it to its end.
    Followed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streaming {
    /// The whole body is held.
    No,
    /// The window is outgrown; `batch` has not been seen.
    BeforeBatch,
    /// Messages go out, or have gone.
    Yes,
}

/// Whether the body may be the envelope of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvelopeGuess {
    /// The path says so.
    Expected,
    /// The path names one message, and it has not been looked yet whether it is a batch all the
    /// same.
    Possible,
    /// It is being looked.
    Sought,
    /// There is none.
    Absent,
}

pub(super) fn key_of(string: &[u8]) -> Means {
    let text = unescape(string.trim_ascii());
    match text.as_ref() {
        "batch" => Means::Messages,
        "context" => Means::Context,
        "integrations" => Means::Integrations,
        "sentAt" => Means::SentAt,
        "writeKey" => Means::Writer,
        _ => Means::Nothing,
    }
}
