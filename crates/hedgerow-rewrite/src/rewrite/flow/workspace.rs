//! The state of one body, and the memory that it uses.

use std::ops::Range;
use std::sync::Arc;

use super::super::arrival::{Arrival, Bounds};
use super::super::body::{NextPart, SplitBody};
use super::super::convert::{
    BatchDefaults, ClientContext, ClientSlot, Converter, RequestState, TextEnd,
};
use super::super::held_back::HeldBack;
use super::super::json::unescape;
use super::super::mapping::Mode;
use super::super::outcome::RewriteError;
use super::super::session::SessionKeeper;
use super::{Flow, WrittenKey};
use crate::posthog::Mark;
use crate::segment::Call;

/// Everything that the rewriting of one body reads and writes. When the body has ended, it is
/// [cleared](Self::clear) and used for another body.
#[derive(Debug)]
pub(in crate::rewrite) struct Workspace {
    pub(in crate::rewrite) converter: Converter,
    pub(super) body: SplitBody,
    pub(super) request: RequestState,
    /// The slot that stores the client's context between requests.
    pub(super) client: Option<ClientSlot>,
    pub(super) shared: Heads,
    /// The next message, which has been found and perhaps scanned.
    pub(super) pending: Option<Found>,
    /// Reports that are sent once it is certain where the array `batch` ends.
    pub(super) held_back: HeldBack,
    /// The state of the output before the first message, for a restart.
    pub(super) mark: Option<Mark>,
    pub(super) refused: usize,
    pub(super) index: usize,
    /// The bytes of the body that have been pushed so far.
    pub(super) pushed: usize,
    /// The size of the output so far, in bytes. A message counts at least as much as the batch-level values
    /// that are read for it, even if it is refused.
    pub(super) output_size: usize,
}

/// The values of the envelope that apply to all messages.
#[derive(Debug)]
pub(super) enum Heads {
    /// The envelope has not been read.
    Unread,
    /// There are none, for example because the body is a single message.
    Silent,
    Read(Box<BatchDefaults>),
}

/// The result of the search for the next message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Next(NextPart),
    /// A message that begins at the start of this range.
    Message(Range<usize>, TextEnd),
}

impl Workspace {
    /// Creates a workspace for the bodies of a rewriter with these bounds and sessions.
    pub(super) fn new(bounds: Bounds, sessions: Option<Arc<SessionKeeper>>) -> Self {
        Self {
            converter: Converter::default(),
            body: SplitBody::new(Call::Batch, bounds),
            request: RequestState::new(sessions),
            client: None,
            shared: Heads::Unread,
            pending: None,
            held_back: HeldBack::default(),
            mark: None,
            refused: 0,
            index: 0,
            pushed: 0,
            output_size: 0,
        }
    }

    /// Begins a body. The workspace is new or cleared.
    pub(super) fn begin(&mut self, mode: Mode, arrival: Arrival) {
        self.body.begin(arrival.call, arrival.length);
        self.request.begin(mode, arrival);
        (self.refused, self.index) = (0, 0);
        (self.pushed, self.output_size) = (0, 0);
    }

    /// Forgets the body and all that was found in it, and keeps the memory. Returns the context that the
    /// client's next request may reuse.
    pub(super) fn clear(&mut self) -> Option<ClientContext> {
        let context = self.converter.end();
        self.converter.forget();
        self.body.clear();
        self.request.clear();
        self.shared = Heads::Unread;
        self.pending = None;
        self.held_back.clear();
        self.mark = None;
        context
    }

    /// The memory that the workspace holds between two bodies, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        self.converter.held() + self.body.capacity() + self.request.held() + self.held_back.held()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Flow, RewriteError> {
        self.pushed += bytes.len();
        self.body.push(bytes)?;
        Ok(match self.body.is_open() {
            true => Flow::Open,
            false => Flow::Held,
        })
    }

    /// See [`Body::write_key`](super::Body::write_key).
    pub(super) fn write_key(&mut self) -> Result<WrittenKey, RewriteError> {
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
            (None, Found::Message(range, text_end)) => {
                let text = self.body.bytes(range.clone());
                let (seen, key) = self.converter.write_key(text, *text_end);
                *text_end = seen;
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
            None if starved && self.body.may_bring_more() => WrittenKey::NotYetKnown,
            None => WrittenKey::Missing,
        })
    }

    /// Returns the next message, or why there is none.
    pub(super) fn find(&mut self) -> Result<Found, RewriteError> {
        if let Some(found) = self.pending.take() {
            return Ok(found);
        }
        loop {
            return Ok(match self.body.next()? {
                NextPart::Message(range) => Found::Message(range, TextEnd::Whole),
                NextPart::MessageOrBatch(range) => {
                    let text = self.body.bytes(range.clone());
                    let Some(seen) = self.converter.scan_single(text) else {
                        self.body.seek_batch();
                        continue;
                    };
                    self.body.is_message();
                    Found::Message(range, TextEnd::Scanned(seen))
                }
                NextPart::MessageWithin(range) => Found::Message(range, TextEnd::Open),
                NextPart::MessagePerhapsWithin(range) => {
                    let text = self.body.bytes(range.clone());
                    let Some(seen) = self.converter.see(text) else {
                        self.body.follow_item();
                        continue;
                    };
                    Found::Message(range, TextEnd::Scanned(seen))
                }
                next => Found::Next(next),
            });
        }
    }
}
